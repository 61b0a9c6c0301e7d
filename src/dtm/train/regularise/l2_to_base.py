"""L2-SP: the square of the distance from the base, in place of weight decay's distance from zero.

Li, Grandvalet, Davoine, "Explicit Inductive Bias for Transfer Learning with Convolutional Networks",
arXiv:1802.01483: alpha / 2 |w - w_0|^2. All weights of a language model have a start, so there is no second term.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dtm.foundations.registry import registry
from dtm.foundations.settings import Positive
from dtm.train.regularise.widening import wide


@registry("regularise").register("l2_to_base", paper="arXiv:1802.01483", needs=("updates",))
def l2_to_base(*, updates: Iterable[tuple[str, Any]], weight: Positive) -> Any:
    """weight / 2 times the squared norm of the update, over all weights."""
    return weight / 2 * sum(wide(update).square().sum() for _, update in updates)
