"""By the perplexity of the response under the base: the lowest, the middle or the highest.

Marion et al., "When Less is More: Investigating Data Pruning for Pretraining LLMs at Scale", arXiv:2309.04564, of
pre-training data, where the middle did best. Here of the response given its instruction.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from dtm.curate.choosing import NO_SCORE, Choice, ranked
from dtm.foundations.registry import registry
from dtm.foundations.types import Examples


@registry("curate").register("perplexity", paper="arXiv:2309.04564", needs=("loss",))
def perplexity(
    examples_N: Examples,
    count: int,
    seed: int,
    *,
    loss: np.ndarray,
    keep: Literal["low", "mid", "high"] = "mid",
) -> Choice:
    """The rows at one end or around the median; the score is exp(mean loss of a response token)."""
    loss_N = np.asarray(loss, np.float64)
    down = ranked(loss_N, seed)
    first = {"high": 0, "mid": max(0, len(down) - count) // 2, "low": max(0, len(down) - count)}[keep]
    reason_N = np.full(len(loss_N), NO_SCORE, dtype=object)
    reason_N[down[:first]] = "higher perplexity"
    reason_N[down[first : first + count]] = ""
    reason_N[down[first + count :]] = "lower perplexity"
    return Choice(reason_N == "", reason_N, np.exp(loss_N))
