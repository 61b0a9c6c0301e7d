"""Diversity: rows that leave none of the others far from all of them.

Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", arXiv:1708.00489: the
greedy algorithm takes the row that is farthest from those taken; its radius is at most twice the best (Gonzalez 1985).
Time is rows x kept x dimensions.
"""

from __future__ import annotations

import numpy as np

from dtm.curate.choosing import Choice
from dtm.foundations.registry import registry
from dtm.foundations.types import Examples


@registry("curate").register("k_center", paper="arXiv:1708.00489", needs=("embedding",))
def k_center(examples_N: Examples, count: int, seed: int, *, embedding: np.ndarray) -> Choice:
    """The first row is drawn; the score of a row is its distance from the nearest that is kept, when it was taken."""
    points_ND = np.asarray(embedding, np.float32)
    squares_N = np.einsum("nd,nd->n", points_ND, points_ND)
    kept_N = np.zeros(len(points_ND), bool)
    distance_N = np.full(len(points_ND), np.inf, np.float32)
    score_N = np.full(len(points_ND), np.nan)
    row = int(np.random.default_rng(seed).integers(len(points_ND)))
    for _ in range(min(count, len(points_ND))):
        kept_N[row] = True
        score_N[row] = np.sqrt(distance_N[row])
        reached_N = squares_N - 2 * (points_ND @ points_ND[row]) + squares_N[row]
        np.minimum(distance_N, np.maximum(reached_N, 0), out=distance_N)
        row = int(np.where(kept_N, -1.0, distance_N).argmax())
    score_N[~kept_N] = np.sqrt(distance_N[~kept_N])
    score_N[~np.isfinite(score_N)] = np.nan  # of the first, which was taken before there was any
    return Choice(kept_N, np.where(kept_N, "", "near a row that is kept"), score_N)
