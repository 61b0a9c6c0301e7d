"""Random portions of equal size: the uniform dispersal of Disperse-Then-Merge.

Paper: Fu et al. 2024, "Disperse-Then-Merge: Pushing the Limits of Instruction Tuning via Alignment Tax
Reduction", arXiv:2405.13432. The paper's K is 4.
"""

from __future__ import annotations

import numpy as np

from dtm.foundations.registry import registry
from dtm.foundations.types import Examples


@registry("disperse").register("random", paper="arXiv:2405.13432", needs=("rows",), balanced=True)
def random(examples_N: Examples, k: int, seed: int, *, rows: np.ndarray | None = None) -> np.ndarray:
    """Deal a seeded shuffle in turn, so that portions differ by at most one unit.

    `rows` int64 [N] is how many rows each unit stands for (1 by default). Units are dealt largest first,
    and then the rows of two portions differ by at most those of the largest unit: what one round gives
    to the first portion beyond the last is less than what the round before took away.
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(examples_N))
    if rows is not None:
        order = order[np.argsort(-rows[order], kind="stable")]
    portions_N = np.empty(len(examples_N), np.int64)
    portions_N[order] = generator.permutation(k)[np.arange(len(order)) % k]
    return portions_N
