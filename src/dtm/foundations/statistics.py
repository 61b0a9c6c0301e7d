"""Intervals and paired tests for scores of items.

Two models that answered the same items are compared item by item: their errors are correlated, and tests
for independent samples would waste that. Intervals are two-sided at `level`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Values = Sequence[float] | Any  # what numpy makes a float64 array [N] of
LEVEL, RESAMPLES = 0.95, 10_000
FEW = 16  # distinct values; up to here a resample is drawn as their counts
BLOCK = 1 << 22  # random numbers in memory at a time


def wilson(successes: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Low and high of Wilson's score interval for a share (Wilson 1927); (0, 1) where n is 0."""
    from scipy.special import ndtri

    if not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is no share")
    if n == 0:
        return 0.0, 1.0
    z, share = float(ndtri((1 + level) / 2)), successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the formula is exactly 0 or 1, which rounding must not miss.
    return (0.0 if successes == 0 else middle - half), (1.0 if successes == n else middle + half)


def bootstrap_mean(
    values_N: Values, seed: int, level: float = LEVEL, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Low and high of the percentile bootstrap interval of a mean (Efron 1979)."""
    import numpy as np

    values_N = _finite(values_N)
    distinct, counts = np.unique(values_N, return_counts=True)
    if len(distinct) <= FEW:
        # How often each distinct value is drawn is multinomial: the same distribution, N times faster.
        drawn = np.random.default_rng(seed).multinomial(len(values_N), counts / len(values_N), resamples)
        return _percentiles(drawn @ distinct / len(values_N), level)
    means = [values_N[indices].mean(axis=1) for indices in _resamples(len(values_N), seed, resamples)]
    return _percentiles(np.concatenate(means), level)


def bootstrap_ratio(
    numerators_N: Values, denominators_N: Values, seed: int, level: float = LEVEL, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Low and high of the percentile bootstrap interval of sum / sum, as of a loss a token over rows."""
    import numpy as np

    above_N, below_N = _finite(numerators_N), _finite(denominators_N)
    _same_length(above_N, below_N)
    if (below_N <= 0).any():
        raise ValueError("denominators must be positive")
    ratios = [above_N[indices].sum(axis=1) / below_N[indices].sum(axis=1)
              for indices in _resamples(len(above_N), seed, resamples)]  # fmt: skip
    return _percentiles(np.concatenate(ratios), level)


def paired_bootstrap(
    a_N: Values, b_N: Values, seed: int, level: float = LEVEL, resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """Mean of a - b over the same items, and low and high of its percentile bootstrap interval."""
    a_N, b_N = _finite(a_N), _finite(b_N)
    _same_length(a_N, b_N)
    return float((a_N - b_N).mean()), *bootstrap_mean(a_N - b_N, seed, level, resamples)


def mcnemar(a_N: Values, b_N: Values) -> tuple[int, int, float]:
    """Items that only a, and only b, got right, and the exact two-sided p that this is chance.

    Values are 0 or 1. Under the null hypothesis each discordant item falls to either side with one half;
    p is 1 where there is none (McNemar 1947, exact form).
    """
    import numpy as np
    from scipy.special import bdtr

    a_N, b_N = _finite(a_N), _finite(b_N)
    _same_length(a_N, b_N)
    if not np.isin((a_N, b_N), (0, 1)).all():
        raise ValueError("McNemar's test needs values that are 0 or 1")
    only_a, only_b = int((a_N > b_N).sum()), int((b_N > a_N).sum())
    if only_a == only_b:
        return only_a, only_b, 1.0
    return only_a, only_b, min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def sign_flip(a_N: Values, b_N: Values, seed: int, resamples: int = RESAMPLES) -> float:
    """Two-sided p that the mean of a - b is 0, by random signs of the differences (Fisher 1935).

    For values that are not 0 or 1. The observed signs count as one draw, so p is at least
    1 / (resamples + 1).
    """
    import numpy as np

    a_N, b_N = _finite(a_N), _finite(b_N)
    _same_length(a_N, b_N)
    differences_N = a_N - b_N
    # A flipped sum that equals the observed one but for rounding is as extreme.
    bound = abs(differences_N.sum()) - 1e-12 * np.abs(differences_N).sum()
    random, extreme, left = np.random.default_rng(seed), 0, resamples
    block = max(1, BLOCK // len(differences_N))
    while left > 0:
        signs = random.integers(0, 2, (min(block, left), len(differences_N)), dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs @ differences_N) >= bound).sum())
        left -= block
    return (extreme + 1) / (resamples + 1)


def holm(p_values: Values) -> list[float]:
    """p values corrected for their number, so that the chance of any false finding stays (Holm 1979)."""
    import numpy as np

    p_M = _shares(p_values)
    order = np.argsort(p_M, kind="stable")
    raised = np.maximum.accumulate(p_M[order] * np.arange(len(p_M), 0, -1))
    return _unsorted(raised, order)


def benjamini_hochberg(p_values: Values) -> list[float]:
    """p values corrected so that the share of false findings stays (Benjamini and Hochberg 1995)."""
    import numpy as np

    p_M = _shares(p_values)
    order = np.argsort(p_M, kind="stable")
    raised = p_M[order] * len(p_M) / np.arange(1, len(p_M) + 1)
    return _unsorted(np.minimum.accumulate(raised[::-1])[::-1], order)


def _resamples(n: int, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """Blocks of rows of n indices below n, drawn with replacement; `resamples` rows in all."""
    import numpy as np

    random = np.random.default_rng(seed)
    block = max(1, BLOCK // n)
    for start in range(0, resamples, block):
        yield random.integers(0, n, (min(block, resamples - start), n), dtype=np.int32)


def _percentiles(draws: np.ndarray, level: float) -> tuple[float, float]:
    import numpy as np

    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _finite(values: Values) -> np.ndarray:
    import numpy as np

    values_N = np.asarray(values, dtype=np.float64)
    if values_N.ndim != 1 or not len(values_N) or not np.isfinite(values_N).all():
        raise ValueError("a statistic needs at least one value, and finite values only")
    return values_N


def _same_length(a_N: np.ndarray, b_N: np.ndarray) -> None:
    if len(a_N) != len(b_N):
        raise ValueError(f"{len(a_N)} and {len(b_N)} values are not paired")


def _shares(p_values: Values) -> np.ndarray:
    import numpy as np

    p_M = np.asarray(p_values, dtype=np.float64)
    if p_M.ndim != 1 or not ((p_M >= 0) & (p_M <= 1)).all():
        raise ValueError("p values lie between 0 and 1")
    return p_M


def _unsorted(sorted_M: np.ndarray, order: np.ndarray) -> list[float]:
    import numpy as np

    result = np.empty(len(order))
    result[order] = np.minimum(sorted_M, 1.0)
    return result.tolist()
