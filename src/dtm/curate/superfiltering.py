"""Superfiltering: instruction-following difficulty as a smaller model sees it.

Li et al., "Superfiltering: Weak-to-Strong Data Filtering for Fast Instruction-Tuning", arXiv:2402.00530: GPT-2 ranks
rows by IFD much as a larger model does, at a fraction of the cost. `curate.model` names the smaller model. IFD is here
a ratio of perplexities, where the earlier paper's is one of losses: the same rows are at 1 or above, in another order.
"""

from __future__ import annotations

import numpy as np

from dtm.curate.choosing import Choice, highest
from dtm.curate.ifd import USELESS
from dtm.foundations.registry import registry
from dtm.foundations.types import Examples


@registry("curate").register(
    "superfiltering", paper="arXiv:2402.00530", needs=("loss", "alone"), model="needed", version=2
)
def superfiltering(
    examples_N: Examples, count: int, seed: int, *, loss: np.ndarray, alone: np.ndarray
) -> Choice:
    """The highest ratios below 1 under the smaller model; no score where the response alone costs nothing."""
    with_N, alone_N = np.asarray(loss, np.float64), np.asarray(alone, np.float64)
    ratio_N = np.where(alone_N > 0, np.exp(with_N - alone_N), np.nan)
    return highest(ratio_N, count, seed, lower="lower ifd", barred_N=ratio_N >= 1, why=USELESS)
