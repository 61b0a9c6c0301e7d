"""Instruction-following difficulty: how little the instruction helps the base to the response.

Li et al., "From Quantity to Quality: Boosting LLM Performance with Self-Guided Data Selection for Instruction Tuning",
arXiv:2308.12032: the ratio of the losses on the response with and without the instruction. Above 1 the instruction
makes the response less likely; the paper drops such rows, here they are the hardest. Not checked against its code.
"""

from __future__ import annotations

import numpy as np

from dtm.foundations.registry import registry
from dtm.foundations.types import Examples


@registry("scorer").register("ifd", paper="arXiv:2308.12032", needs=("loss", "alone"))
def ifd(examples_N: Examples, *, loss: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """Loss with the instruction over loss without it, float64 [N]; NaN where the response alone costs nothing."""
    loss, alone = np.asarray(loss, np.float64), np.asarray(alone, np.float64)
    return np.divide(loss, alone, out=np.full(len(loss), np.nan), where=alone > 0)
