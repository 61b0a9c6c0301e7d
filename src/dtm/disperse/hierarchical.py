"""Hierarchical: portions by repeated halving, so that neighbours in number are neighbours in subject.

Bisecting k-means: Steinbach, Karypis, Kumar 2000, "A comparison of document clustering techniques".
"""

from __future__ import annotations

import numpy as np

from dtm.disperse.balance import Balance, level, weights_of
from dtm.disperse.joining import nearest
from dtm.disperse.lloyd import Step, best_fit
from dtm.disperse.sphere import centres_of, similarities, threads, unit_rows
from dtm.foundations.registry import registry
from dtm.foundations.settings import Count
from dtm.foundations.types import Examples


@registry("disperse").register("hierarchical", needs=("embedding", "rows", "tokens"), join=nearest)
def hierarchical(
    examples_N: Examples,
    k: int,
    seed: int,
    *,
    embedding: np.ndarray,
    rows: np.ndarray | None = None,
    tokens: np.ndarray | None = None,
    balance: Balance = "rows",
    restarts: Count = 4,
    max_iterations: Count = 300,
) -> np.ndarray:
    """Part the rows in two by 2-means, and each side again, until there are k portions of equal weight.

    A side that will hold m of k portions gets that share of the weight, and each assignment step is the
    best of such weights: the rows that lean most to one side are there. Portions 2i and 2i + 1 are two
    halves of one whole where k is a power of 2. Units that weigh the same give sizes that differ by one at
    most; others are levelled in the end, as k-means does.

    `embedding` float [N, D]. Raises DataError on an embedding that is not finite.
    """
    weights_N = weights_of(balance, len(embedding), rows, tokens)
    points_ND, _ = unit_rows(embedding)
    generator = np.random.default_rng(seed)
    portions_N = np.zeros(len(points_ND), np.int64)

    def part(members: np.ndarray, first: int, count: int) -> None:
        """Give `members` the portions from `first` on, `count` of them."""
        if count == 1:
            portions_N[members] = first
            return
        left = (count + 1) // 2
        here = members if len(members) < len(points_ND) else slice(None)  # a slice copies nothing
        fit = best_fit(
            points_ND[here], weights_N[here], 2, generator, restarts=restarts, threads=threads_,
            max_iterations=max_iterations, new_step=lambda weights_M: two_sides(weights_M, left, count),
        )  # fmt: skip
        part(members[fit.portions_N == 0], first, left)
        part(members[fit.portions_N == 1], first + left, count - left)

    with threads() as threads_:
        part(np.arange(len(points_ND)), 0, k)
        if (weights_N == weights_N[0]).all():
            return portions_N
        return level(similarities(points_ND, centres_of(points_ND, portions_N, k)), weights_N, portions_N)


def two_sides(weights_M: np.ndarray, left: int, count: int) -> Step:
    """The best assignment to two centres of which the first gets `left` of `count` equal shares.

    Units in order of how much nearer they are to the first, cut where the weight is nearest to the share,
    and with as many units on each side as portions. Of units of one weight the first side gets what makes
    final sizes differ by at most one.
    """
    size = len(weights_M)
    even = (weights_M == weights_M[0]).all()
    exact = left * (size // count) + min(left, size % count)

    def step(similarity_M2: np.ndarray) -> np.ndarray:
        order_M = np.argsort(similarity_M2[:, 1] - similarity_M2[:, 0], kind="stable")
        if even:
            end = exact
        else:
            reached = np.cumsum(weights_M[order_M])
            end = int(np.abs(reached - reached[-1] * left / count).argmin()) + 1
        sides_M = np.ones(size, np.int64)
        sides_M[order_M[: np.clip(end, left, size - (count - left))]] = 0
        return sides_M

    return step
