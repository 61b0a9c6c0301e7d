"""Lloyd's iteration on the sphere, which the methods that cluster an embedding share.

What it raises is the total similarity sum_i w_i <x_i, c_a(i)> with unit centres c, that is
sum_k |weighted sum of the rows of portion k|. How rows are assigned to centres is a `Step`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np

from dtm.disperse.balance import weighted
from dtm.disperse.sphere import add_moved, similarities
from dtm.disperse.transport import assign_balanced

ROUGH = 1e-4  # restarts are compared once an iteration gains less than this share of the total
DONE = 1e-5  # and the best of them runs until one gains less than this
SAMPLE = 65_536  # rows that restarts run on, where there are more

Step = Callable[[np.ndarray], np.ndarray]  # similarity [N, K] -> portions [N]


class Fit:
    """Where the iteration stands: centres, and the portions that they came from."""

    def __init__(self, centres_KD: np.ndarray, count: int) -> None:
        self.centres_KD = centres_KD
        self.sums_KD = np.zeros(centres_KD.shape)
        self.portions_N = np.full(count, -1)
        self.total, self.iterations = 0.0, 0

    def moved(
        self, points_ND: np.ndarray, weights_N: np.ndarray, portions_N: np.ndarray, threads: int
    ) -> Fit:
        """The fit after one more step; a centre whose rows cancel stays where it was."""
        after = copy.copy(self)
        after.sums_KD = add_moved(self.sums_KD, points_ND, portions_N, self.portions_N, weights_N, threads)
        norms_K1 = np.linalg.norm(after.sums_KD, axis=1, keepdims=True)
        units_KD = after.sums_KD / np.where(norms_K1 == 0, 1, norms_K1)
        after.centres_KD = np.where(norms_K1 == 0, self.centres_KD, units_KD).astype(np.float32)
        after.portions_N, after.total = portions_N, float(norms_K1.sum())
        after.iterations += 1
        return after


def best_fit(
    points_ND: np.ndarray,
    weights_N: np.ndarray,
    k: int,
    generator: np.random.Generator,
    *,
    restarts: int,
    max_iterations: int,
    new_step: Callable[[np.ndarray], Step],
    threads: int,
) -> Fit:
    """The best of several starts, on a sample of the rows, carried on to the end on all of them.

    `new_step` makes a step from the weights of the rows that it will see.
    """
    count = len(points_ND)
    chosen = np.sort(generator.choice(count, SAMPLE, replace=False)) if count > SAMPLE else slice(None)
    sample_SD, weights_S = points_ND[chosen], weights_N[chosen]
    fits = []
    for _ in range(restarts):
        start, step = Fit(spread(sample_SD, weights_S, k, generator), len(sample_SD)), new_step(weights_S)
        fits.append(lloyd(sample_SD, weights_S, start, step, max_iterations, ROUGH, threads))
    best = max(fits, key=lambda fit: fit.total)  # the first of equals
    if count > SAMPLE:
        best = Fit(best.centres_KD, count)
    left = max(max_iterations - best.iterations, 1)
    return lloyd(points_ND, weights_N, best, new_step(weights_N), left, DONE, threads)


def lloyd(
    points_ND: np.ndarray,
    weights_N: np.ndarray,
    fit: Fit,
    step: Step,
    max_iterations: int,
    gain: float,
    threads: int,
) -> Fit:
    """Assign and re-centre until no row moves, or the total rises by no more than a share `gain`."""
    for _ in range(max_iterations):
        portions_N = step(similarities(points_ND, fit.centres_KD, threads))
        if np.array_equal(portions_N, fit.portions_N):
            break
        after = fit.moved(points_ND, weights_N, portions_N, threads)
        if fit.iterations and after.total <= fit.total:
            break  # rows of equal worth change places, or fp32 rounds
        fit, before = after, fit.total
        if fit.total - before <= gain * fit.total:
            break
    return fit


def balanced_step(weights_N: np.ndarray) -> Step:
    """Assignment of equal weights, optimal where units weigh the same; prices carry over to the next."""
    assign = assign_balanced if (weights_N == weights_N[0]).all() else _by_weight(weights_N)
    prices_K: np.ndarray | None = None

    def step(similarity_NK: np.ndarray) -> np.ndarray:
        nonlocal prices_K
        portions_N, prices_K = assign(similarity_NK, prices_K)
        return portions_N

    return step


def _by_weight(weights_N: np.ndarray) -> Callable:
    return lambda similarity_NK, prices_K: weighted(similarity_NK, weights_N, prices_K)


def free_step(weights_N: np.ndarray) -> Step:
    """Nearest centre; each emptied portion takes the row farthest from its centre."""

    def step(similarity_NK: np.ndarray) -> np.ndarray:
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


def spread(
    points_ND: np.ndarray, weights_N: np.ndarray, k: int, generator: np.random.Generator
) -> np.ndarray:
    """Greedy k-means++ centres [K, D]: of 2 + log K draws by squared distance, the one that helps most.

    Arthur and Vassilvitskii 2007. On the sphere the squared distance is twice 1 - similarity. Where all
    rows are met already, the draw is uniform.
    """
    candidates = 2 + int(np.log(k))
    distance_N = np.where(points_ND.any(axis=1), 1.0, 0.0)
    chosen: list[int] = []
    while len(chosen) < k:
        mass_N = np.cumsum(distance_N * weights_N)
        draws = generator.random(candidates if chosen else 1)
        if mass_N[-1] > 0:
            drawn = np.searchsorted(mass_N, draws * mass_N[-1], side="right").clip(max=len(points_ND) - 1)
        else:
            drawn = (draws * len(points_ND)).astype(np.int64)
        apart_NC = 1 - similarities(points_ND, points_ND[drawn]).astype(np.float64)
        after_NC = np.minimum(distance_N[:, None], apart_NC.clip(min=0))
        best = int((weights_N @ after_NC).argmin())
        chosen.append(int(drawn[best]))
        distance_N = after_NC[:, best]
    return points_ND[chosen]
