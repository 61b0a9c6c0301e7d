"""Dispersing: which row goes into which of the K portions.

A method is one file with one pure function `f(examples_N, k, seed, *, settings) -> int [N]` in `[0, k)`.
`assign` calls it so that families stay whole and no portion is empty; `card` says what each portion holds.
"""

from dtm.disperse import by_source, kmeans, random  # noqa: F401 - registers the methods
from dtm.disperse.cards import card
from dtm.disperse.portions import assign

__all__ = ["assign", "card"]
