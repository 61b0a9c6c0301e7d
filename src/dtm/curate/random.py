"""Rows drawn at random: what every other way to choose has to beat at the same number of rows."""

from __future__ import annotations

import numpy as np

from dtm.curate.choosing import Choice
from dtm.foundations.registry import registry
from dtm.foundations.types import Examples


@registry("curate").register("random")
def random(examples_N: Examples, count: int, seed: int) -> Choice:
    """A seeded draw without replacement; a larger one of the same seed holds the smaller."""
    kept_N = np.zeros(len(examples_N), bool)
    kept_N[np.random.default_rng(seed).permutation(len(examples_N))[:count]] = True
    return Choice(kept_N, np.where(kept_N, "", "not drawn"))
