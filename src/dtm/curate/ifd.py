"""By instruction-following difficulty: rows whose instruction helps the model least to the response, and still helps.

Li et al., "From Quantity to Quality: Boosting LLM Performance with Self-Guided Data Selection for Instruction Tuning",
arXiv:2308.12032: the ratio of the losses with and without the instruction; rows at 1 or above are dropped, 5 to 10 % of
the rest are kept, from the highest down. The paper measures with a model that a thousand rows have warmed up; here it
is the base itself, as in its successor, or the `model` that the section names. Not checked against its code.
"""

from __future__ import annotations

import numpy as np

from dtm.curate.choosing import Choice, highest
from dtm.foundations.registry import registry
from dtm.foundations.scorers.ifd import ifd as ratio
from dtm.foundations.types import Examples

USELESS = "its instruction does not help (ifd of 1 or more)"


@registry("curate").register("ifd", paper="arXiv:2308.12032", needs=("loss", "alone"))
def ifd(examples_N: Examples, count: int, seed: int, *, loss: np.ndarray, alone: np.ndarray) -> Choice:
    """The highest ratios below 1; no score where the response alone costs nothing."""
    ratio_N = ratio(examples_N, loss=loss, alone=alone)
    return highest(ratio_N, count, seed, lower="lower ifd", barred_N=ratio_N >= 1, why=USELESS)
