"""Elastic weight consolidation: what the base needs for what it knew is held more firmly.

Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", arXiv:1612.00796:
lambda / 2 sum_i F_i (w_i - w_0i)^2, F the diagonal of the base's Fisher information. F is a mean over rows, of the
gradient of a row's whole log likelihood, squared: half the sum is about how far, in nats a row, the model has moved
from the base on such rows, so that `weight: 1` pays one nat a row with one nat a token of loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dtm.foundations.registry import registry
from dtm.foundations.settings import Positive
from dtm.train.regularise.widening import wide


@registry("regularise").register("ewc", paper="arXiv:1612.00796", needs=("updates", "fisher"))
def ewc(*, updates: Iterable[tuple[str, Any]], fisher: Mapping[str, Any], weight: Positive) -> Any:
    """weight / 2 times the squared update, each weight's share times its Fisher information."""
    return weight / 2 * sum((fisher[name] * wide(update).square()).sum() for name, update in updates)
