"""BIRCH: many small clusters in one pass, then k portions of them.

Zhang, Ramakrishnan, Livny 1996, "BIRCH: an efficient data clustering method for very large databases", as
scikit-learn's Birch does it. Its clusters are joined by weighted spherical k-means, and rows are assigned
to the k centres as evenly as k-means does it.
"""

from __future__ import annotations

import numpy as np

from dtm.disperse.balance import Balance, assign_even, weights_of
from dtm.disperse.joining import nearest
from dtm.disperse.lloyd import best_fit, free_step
from dtm.disperse.sphere import blocks, similarities, threads, unit_rows
from dtm.foundations.registry import registry
from dtm.foundations.settings import Count, Positive
from dtm.foundations.types import Examples


@registry("disperse").register("birch", needs=("embedding", "rows", "tokens"), join=nearest)
def birch(
    examples_N: Examples,
    k: int,
    seed: int,
    *,
    embedding: np.ndarray,
    rows: np.ndarray | None = None,
    tokens: np.ndarray | None = None,
    balance: Balance = "rows",
    threshold: Positive = 0.5,
    branching: Count = 50,
    restarts: Count = 4,
) -> np.ndarray:
    """Portions of equal weight around k centres of BIRCH's clusters.

    `threshold` is the radius up to which a cluster takes rows of unit norm: the smaller, the more clusters.
    Where it leaves fewer than k, it is halved until it does not. The tree depends on the order of rows, so
    they come in a seeded shuffle. A unit weighs as many as it has rows, or tokens (`balance`).

    `embedding` float [N, D]. Raises DataError on an embedding that is not finite.
    """
    weights_N = weights_of(balance, len(embedding), rows, tokens)
    points_ND, _ = unit_rows(embedding)
    generator = np.random.default_rng(seed)
    order_N = generator.permutation(len(points_ND))
    with threads() as count:
        centres_SD, weights_S = _clusters(points_ND, weights_N, order_N, k, threshold, branching)
        centres_KD = points_ND[order_N[:k]]
        if len(centres_SD) >= k:
            centres_KD = best_fit(
                centres_SD, weights_S, k, generator, restarts=restarts, max_iterations=300, new_step=free_step,
                threads=count,
            ).centres_KD  # fmt: skip
        return assign_even(similarities(points_ND, centres_KD, count), weights_N)


def _clusters(
    points_ND: np.ndarray,
    weights_N: np.ndarray,
    order_N: np.ndarray,
    k: int,
    threshold: float,
    branching: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Unit centres [S, D] of BIRCH's clusters and the weight of the rows nearest to each [S].

    There may be fewer than k where the rows are fewer than k different ones.
    """
    from sklearn.cluster import Birch

    for _ in range(6):
        model = Birch(threshold=threshold, branching_factor=max(branching, 2), n_clusters=None)
        for rows in blocks(len(points_ND)):
            model.partial_fit(points_ND[order_N[rows]])
        if len(model.subcluster_centers_) >= k:
            break
        threshold /= 2
    centres_SD, _ = unit_rows(np.asarray(model.subcluster_centers_, np.float32))
    weights_S = np.zeros(len(centres_SD))
    for rows in blocks(len(points_ND)):
        nearest = similarities(points_ND[rows], centres_SD).argmax(axis=1)
        weights_S += np.bincount(nearest, weights=weights_N[rows], minlength=len(centres_SD))
    kept = weights_S > 0
    return centres_SD[kept], weights_S[kept]
