"""Superfiltering: instruction-following difficulty as a smaller model sees it.

Li et al., "Superfiltering: Weak-to-Strong Data Filtering for Fast Instruction-Tuning", arXiv:2402.00530: GPT-2 ranks
rows by IFD much as a larger model does, at a fraction of the cost. `curate.model` names the smaller model.
"""

from __future__ import annotations

import numpy as np

from dtm.curate.choosing import Choice
from dtm.curate.ifd import ifd
from dtm.foundations.registry import registry
from dtm.foundations.types import Examples


@registry("curate").register(
    "superfiltering", paper="arXiv:2402.00530", needs=("loss", "alone"), model="needed"
)
def superfiltering(
    examples_N: Examples, count: int, seed: int, *, loss: np.ndarray, alone: np.ndarray
) -> Choice:
    """The highest ratios below 1 under the smaller model."""
    return ifd(examples_N, count, seed, loss=loss, alone=alone)
