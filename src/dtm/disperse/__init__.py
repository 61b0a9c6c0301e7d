"""Dispersing: which row goes into which of the K portions.

A method is one file with one pure function `f(examples_N, k, seed, *, settings) -> int [N]` in `[0, k)`.
`assign` calls it so that families stay whole and no portion is empty; `grow` keeps the portions of known rows;
`card` says what each portion holds.
"""

from dtm.disperse import (  # noqa: F401 - registers the methods
    birch,
    by_difficulty,
    by_length,
    by_source,
    gradient,
    gradient_kmeans,
    hierarchical,
    kmeans,
    loss_profile,
    mini_batch,
    random,
    stratified,
    topic,
)
from dtm.disperse.cards import card
from dtm.disperse.growing import grow
from dtm.disperse.portions import assign, needed

__all__ = ["assign", "card", "grow", "needed"]
