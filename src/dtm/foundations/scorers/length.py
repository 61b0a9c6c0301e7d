"""By length in tokens: the plainest stand-in for difficulty, which every other scorer has to beat."""

from __future__ import annotations

from typing import Literal

import numpy as np

from dtm.foundations.registry import registry
from dtm.foundations.types import Examples


@registry("scorer").register("length", needs=("tokens",))
def length(
    examples_N: Examples,
    *,
    tokens: tuple[np.ndarray, np.ndarray],
    of: Literal["response", "instruction", "both"] = "response",
) -> np.ndarray:
    """Tokens of the response, of what stands around it, or of the whole row, float64 [N]."""
    lengths_N, trained_N = tokens
    counts = {"response": trained_N, "instruction": lengths_N - trained_N, "both": lengths_N}
    return counts[of].astype(np.float64)
