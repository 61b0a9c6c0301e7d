"""Gradient k-means: rows that would push the model the same way go into one portion.

Gradients of single rows, projected at random, tell which rows teach alike: Xia et al. 2024, "LESS", arXiv:2402.04333,
who select by them. Parting by their clusters, with our balanced k-means, is ours.
"""

from __future__ import annotations

import numpy as np

from dtm.disperse.balance import Balance
from dtm.disperse.kmeans import kmeans
from dtm.disperse.sphere import unit_rows
from dtm.foundations.registry import registry
from dtm.foundations.settings import Count
from dtm.foundations.types import Examples


@registry("disperse").register("gradient_kmeans", needs=("gradient", "rows", "tokens"))
def gradient_kmeans(
    examples_N: Examples,
    k: int,
    seed: int,
    *,
    gradient: np.ndarray,
    rows: np.ndarray | None = None,
    tokens: np.ndarray | None = None,
    centre: bool = True,
    balanced: bool = True,
    balance: Balance = "rows",
    restarts: Count = 4,
    max_iterations: Count = 300,
) -> np.ndarray:
    """Spherical k-means of the rows' gradients, sketched, each of unit norm; settings as of `kmeans`.

    `gradient` float [N, D]. `centre` takes off the mean of the unit gradients first: what all rows teach
    alike - to answer in this format - would hide what they teach apart. Rows without a gradient stay zero.

    Raises DataError on a gradient that is not finite.
    """
    points_ND, zero_N = unit_rows(gradient)
    if centre and not zero_N.all():
        mean_D = points_ND[~zero_N].mean(axis=0, dtype=np.float64).astype(np.float32)
        points_ND = np.where(zero_N[:, None], np.float32(0), points_ND - mean_D)
    return kmeans(
        examples_N, k, seed, embedding=points_ND, rows=rows, tokens=tokens, balanced=balanced,
        balance=balance, restarts=restarts, max_iterations=max_iterations,
    )  # fmt: skip
