"""Spherical k-means over an embedding: portions that are alike inside and of equal size.

Dispersing by clusters: Fu et al. 2024, "Disperse-Then-Merge", arXiv:2405.13432 (their K is 4).
Spherical k-means: Dhillon and Modha 2001, "Concept decompositions for large sparse text data using
clustering". Start: greedy k-means++, Arthur and Vassilvitskii 2007.
Sizes: Bradley, Bennett, Demiriz 2000, "Constrained k-means clustering"; each assignment step is solved
to its optimum by `transport`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np

from dtm.disperse.sphere import add_moved, similarities, unit_rows
from dtm.disperse.transport import assign_balanced
from dtm.foundations.errors import ConfigError
from dtm.foundations.registry import registry
from dtm.foundations.settings import Count
from dtm.foundations.types import Examples

ROUGH = 1e-4  # restarts are compared once an iteration gains less than this share of the total

Step = Callable[[np.ndarray], np.ndarray]  # similarity [N, K] -> portions [N]


@registry("disperse").register("kmeans", paper="arXiv:2405.13432", needs=("embedding",))
def kmeans(
    examples_N: Examples,
    k: int,
    seed: int,
    *,
    embedding: np.ndarray,
    balanced: bool = True,
    restarts: Count = 4,
    max_iterations: Count = 300,
) -> np.ndarray:
    """Lloyd's iteration from the best of `restarts` starts, until no row moves (or `max_iterations`).

    `embedding` is float [N, D]; its rows are scaled to unit norm. What the iteration raises is the total
    similarity sum_i <x_i, c_a(i)> with unit centres c, that is sum_k |sum of the rows of portion k|.

    `balanced`: sizes differ by at most one, and each step takes the best assignment of such sizes; rows
    whose embedding is zero fill up. Otherwise each row goes to its nearest centre, an emptied portion
    takes the row farthest from its own centre, and zero rows go to the smallest portions in the end.
    BLAS runs on one thread here, so the answer does not depend on how many there are.

    Raises ConfigError on settings below 1, DataError on an embedding that is not finite.
    """
    from threadpoolctl import threadpool_limits

    for name, value in (("restarts", restarts), ("max_iterations", max_iterations)):
        if value < 1:
            raise ConfigError(f"{name} is {value}, and must be 1 or more", where=f"disperse.{name}")
    points_ND, zero_N = unit_rows(embedding)
    generator = np.random.default_rng(seed)
    with threadpool_limits(1, user_api="blas"):
        if balanced:
            return _best_fit(points_ND, k, generator, restarts, max_iterations, _balanced_step)
        portions_N = np.full(len(points_ND), -1)
        portions_N[~zero_N] = _best_fit(
            points_ND[~zero_N], min(k, int((~zero_N).sum())), generator, restarts, max_iterations, _free_step
        )
        return _fill(portions_N, k)


def _best_fit(
    points_ND: np.ndarray,
    k: int,
    generator: np.random.Generator,
    restarts: int,
    max_iterations: int,
    new_step: Callable[[], Step],
) -> np.ndarray:
    """Run each restart until its gain is small, and the best one to the end."""
    if k <= 1:
        return np.zeros(len(points_ND), np.int64)
    fits = []
    for _ in range(restarts):
        start = Fit(_spread(points_ND, k, generator), len(points_ND))
        fits.append(_lloyd(points_ND, start, new_step(), max_iterations, ROUGH if restarts > 1 else 0.0))
    best = max(fits, key=lambda fit: fit.total)  # the first of equals
    if restarts > 1:
        best = _lloyd(points_ND, best, new_step(), max_iterations - best.iterations, 0.0)
    return best.portions_N


class Fit:
    """Where Lloyd's iteration stands: centres, and the portions that they came from."""

    def __init__(self, centres_KD: np.ndarray, count: int) -> None:
        self.centres_KD = centres_KD
        self.sums_KD = np.zeros(centres_KD.shape)
        self.portions_N = np.full(count, -1)
        self.total, self.iterations = 0.0, 0

    def moved(self, points_ND: np.ndarray, portions_N: np.ndarray) -> Fit:
        """The fit after one more step; a centre whose rows cancel stays where it was."""
        after = copy.copy(self)
        after.sums_KD = add_moved(self.sums_KD, points_ND, portions_N, self.portions_N)
        norms_K1 = np.linalg.norm(after.sums_KD, axis=1, keepdims=True)
        units_KD = after.sums_KD / np.where(norms_K1 == 0, 1, norms_K1)
        after.centres_KD = np.where(norms_K1 == 0, self.centres_KD, units_KD).astype(np.float32)
        after.portions_N, after.total = portions_N, float(norms_K1.sum())
        after.iterations += 1
        return after


def _lloyd(points_ND: np.ndarray, fit: Fit, step: Step, max_iterations: int, gain: float) -> Fit:
    """Assign and re-centre until no row moves, or the total rises by no more than a share `gain`."""
    for _ in range(max_iterations):
        portions_N = step(similarities(points_ND, fit.centres_KD))
        if np.array_equal(portions_N, fit.portions_N):
            break
        after = fit.moved(points_ND, portions_N)
        if fit.iterations and after.total <= fit.total:
            break  # rows of equal worth change places, or fp32 rounds
        fit, before = after, fit.total
        if fit.total - before <= gain * fit.total:
            break
    return fit


def _balanced_step() -> Step:
    """Optimal assignment of equal sizes; prices carry over, as centres move little between steps."""
    prices_K: np.ndarray | None = None

    def step(similarity_NK: np.ndarray) -> np.ndarray:
        nonlocal prices_K
        portions_N, prices_K = assign_balanced(similarity_NK, prices_K)
        return portions_N

    return step


def _free_step() -> Step:
    def step(similarity_NK: np.ndarray) -> np.ndarray:
        """Nearest centre; each emptied portion takes the row farthest from its centre."""
        portions_N = similarity_NK.argmax(axis=1)
        own_N = similarity_NK.max(axis=1)
        sizes_K = np.bincount(portions_N, minlength=similarity_NK.shape[1])
        for empty in np.flatnonzero(sizes_K == 0):
            row = int(np.where(sizes_K[portions_N] > 1, own_N, np.inf).argmin())
            sizes_K[portions_N[row]] -= 1
            sizes_K[empty] += 1
            portions_N[row], own_N[row] = empty, np.inf
        return portions_N

    return step


def _spread(points_ND: np.ndarray, k: int, generator: np.random.Generator) -> np.ndarray:
    """Greedy k-means++ centres [K, D]: of 2 + log K draws by squared distance, the one that helps most.

    On the sphere the squared distance is twice 1 - similarity. Where all rows are met already, the draw is
    uniform.
    """
    candidates = 2 + int(np.log(k))
    distance_N = np.where(points_ND.any(axis=1), 1.0, 0.0)
    chosen: list[int] = []
    while len(chosen) < k:
        mass_N = np.cumsum(distance_N)
        draws = generator.random(candidates if chosen else 1)
        if mass_N[-1] > 0:
            drawn = np.searchsorted(mass_N, draws * mass_N[-1], side="right").clip(max=len(points_ND) - 1)
        else:
            drawn = (draws * len(points_ND)).astype(np.int64)
        apart_NC = 1 - similarities(points_ND, points_ND[drawn]).astype(np.float64)
        after_NC = np.minimum(distance_N[:, None], apart_NC.clip(min=0))
        best = int(after_NC.sum(axis=0).argmin())
        chosen.append(int(drawn[best]))
        distance_N = after_NC[:, best]
    return points_ND[chosen]


def _fill(portions_N: np.ndarray, k: int) -> np.ndarray:
    """Put the rows marked -1 one by one into the smallest portion, the first of equals."""
    placed_N = portions_N >= 0
    sizes_K = np.bincount(portions_N[placed_N], minlength=k)
    for row in np.flatnonzero(~placed_N):
        portions_N[row] = sizes_K.argmin()
        sizes_K[portions_N[row]] += 1
    return portions_N
