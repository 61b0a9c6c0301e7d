"""Spherical k-means over an embedding: portions that are alike inside and of equal size.

Dispersing by clusters: Fu et al. 2024, "Disperse-Then-Merge", arXiv:2405.13432 (their K is 4).
Spherical k-means: Dhillon and Modha 2001, "Concept decompositions for large sparse text data using
clustering". Sizes: Bradley, Bennett, Demiriz 2000, "Constrained k-means clustering"; each assignment step
is solved to its optimum by `transport`, or by `balance` where units weigh differently.
"""

from __future__ import annotations

import numpy as np

from dtm.disperse.balance import Balance, assign_even, weights_of
from dtm.disperse.joining import nearest
from dtm.disperse.lloyd import balanced_step, best_fit, free_step
from dtm.disperse.sphere import similarities, threads, unit_rows
from dtm.foundations.registry import registry
from dtm.foundations.settings import Count
from dtm.foundations.types import Examples


@registry("disperse").register(
    "kmeans", paper="arXiv:2405.13432", version=2, needs=("embedding", "rows", "tokens"), join=nearest
)
def kmeans(
    examples_N: Examples,
    k: int,
    seed: int,
    *,
    embedding: np.ndarray,
    rows: np.ndarray | None = None,
    tokens: np.ndarray | None = None,
    balanced: bool = True,
    balance: Balance = "rows",
    restarts: Count = 4,
    max_iterations: Count = 300,
) -> np.ndarray:
    """Lloyd's iteration from the best of `restarts` starts, until it gains no more than 1e-5 of the total.

    `embedding` is float [N, D]; its rows are scaled to unit norm, and a unit weighs as many as it has rows,
    or tokens (`balance`). `balanced`: portions weigh the same, exactly where units do: then sizes differ by
    at most one and each step takes the best assignment of such sizes. Rows whose embedding is zero fill up.
    Otherwise each row goes to its nearest centre, an emptied portion takes the row farthest from its own
    centre, and zero rows go to the smallest portions in the end. Above 65,536 rows the starts are compared
    on a seeded sample of so many.

    The answer does not depend on the number of threads. Raises DataError on an embedding that is not finite.
    """
    weights_N = weights_of(balance, len(embedding), rows, tokens)
    points_ND, zero_N = unit_rows(embedding)
    if k == 1:
        return np.zeros(len(points_ND), np.int64)
    generator = np.random.default_rng(seed)
    how = {"restarts": restarts, "max_iterations": max_iterations}
    with threads() as count:
        if balanced:
            fit = best_fit(points_ND, weights_N, k, generator, new_step=balanced_step, threads=count, **how)
            if (weights_N == weights_N[0]).all():
                return fit.portions_N
            return assign_even(similarities(points_ND, fit.centres_KD, count), weights_N)
        portions_N = np.full(len(points_ND), -1)
        placed = np.flatnonzero(~zero_N) if zero_N.any() else slice(None)  # a slice copies nothing
        if not zero_N.all():
            most = min(k, int((~zero_N).sum()))
            fit = best_fit(points_ND[placed], weights_N[placed], most, generator, new_step=free_step,
                           threads=count, **how)  # fmt: skip
            portions_N[placed] = fit.portions_N
        return _fill(portions_N, k)


def _fill(portions_N: np.ndarray, k: int) -> np.ndarray:
    """Put the rows marked -1 one by one into the smallest portion, the first of equals."""
    placed_N = portions_N >= 0
    sizes_K = np.bincount(portions_N[placed_N], minlength=k)
    for row in np.flatnonzero(~placed_N):
        portions_N[row] = sizes_K.argmin()
        sizes_K[portions_N[row]] += 1
    return portions_N
