"""The rows with the longest responses.

Zhao et al., "Long Is More for Alignment: A Simple but Tough-to-Beat Baseline for Instruction Fine-Tuning",
arXiv:2402.04833: the 1,000 longest responses of Alpaca and Dolly, in tokens.
"""

from __future__ import annotations

import numpy as np

from dtm.curate.choosing import Choice, highest
from dtm.foundations.registry import registry
from dtm.foundations.types import Examples


@registry("curate").register("longest", paper="arXiv:2402.04833", needs=("tokens",))
def longest(examples_N: Examples, count: int, seed: int, *, tokens: tuple[np.ndarray, np.ndarray]) -> Choice:
    """The rows with the most tokens of response; the score is their number."""
    _, trained_N = tokens
    return highest(trained_N.astype(np.float64), count, seed, lower="shorter response")
