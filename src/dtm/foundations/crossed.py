"""Differences that were measured on the same items under several seeds: both are drawn, and both vary.

A cell d[s, i] is what one model scored on item i under seed s minus what another did under the same seed. All
seeds meet all items, so seeds and items are crossed, d[s, i] = mean + seed s + item i + rest, and there are
three questions, each with its own error:

    interval, p    other seeds and other items (Clark 1973, whose F' this is for a mean, as a t)
    over seeds     other seeds on these items: Student's t over the seeds' means
    McNemar        other items for these very models (exact, each item counted once for all seeds)

Clark: "The language-as-fixed-effect fallacy", Journal of Verbal Learning and Verbal Behavior 12 (1973) 335-359.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dtm.foundations.statistics import LEVEL, RESAMPLES, sign_flip

if TYPE_CHECKING:
    import numpy as np

BLOCK = 1 << 22  # weights in memory at a time


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error, degrees of freedom, interval and two-sided p that it is 0."""

    value: float
    error: float
    degrees: float
    low: float
    high: float
    p: float

    def detectable(self, tests: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
        """The size of a true mean that would be found with that power, corrected for as many tests."""
        from scipy.special import stdtrit

        wanted = stdtrit(self.degrees, 1 - alpha / (2 * max(tests, 1))) + stdtrit(self.degrees, power)
        return float(wanted) * self.error


def crossed(tables: Sequence[np.ndarray], level: float = LEVEL) -> Estimate:
    """The mean of the tables' means, seeds and items both drawn at random; a table is float64 [S, N].

    Tables are benchmarks: their items are independent, their rows share the seeds. The variance is what the seeds'
    means show, over S, and for every table what its items add to that, from mean squares:
    (MS_items - MS_rest) / (S N), never below 0. Degrees of freedom after Satterthwaite (Biometrics Bulletin 2
    (1946) 110-114). Two or three seeds may agree by luck and show no variance at all: the result is never narrower,
    and its p never smaller, than over items alone, which is what one seed has.
    """
    alone = _over_items(tables, level)
    if len(tables[0]) < 2:
        return alone
    both = _over_both(tables, level)
    wider = max(both, alone, key=lambda one: one.high - one.low)
    return replace(wider, p=max(both.p, alone.p))


def _over_items(tables: Sequence[np.ndarray], level: float) -> Estimate:
    """Items drawn at random, their means over the seeds as they are."""
    means = [table.mean(axis=0) for table in tables]
    terms = [
        (float(one.var(ddof=1)) / (len(one) * len(means) ** 2), len(one) - 1) for one in means if len(one) > 1
    ]
    return _estimate(_mean(tables), math.fsum(part for part, _ in terms), terms, level)


def _over_both(tables: Sequence[np.ndarray], level: float) -> Estimate:
    """Seeds and items drawn at random."""
    import numpy as np

    seeds = len(tables[0])
    rows_S = np.mean([table.mean(axis=1) for table in tables], axis=0)
    variance = float(rows_S.var(ddof=1)) / seeds
    terms = [(variance, seeds - 1)]
    for table in tables:
        n = table.shape[1]
        scale = 1 / (seeds * n * len(tables) ** 2)
        of_items, of_rest = (square * scale for square in _mean_squares(table)) if n > 1 else (0.0, 0.0)
        if of_items > of_rest:
            variance += of_items - of_rest
            terms += [(of_items, n - 1), (of_rest, (seeds - 1) * (n - 1))]
    return _estimate(_mean(tables), variance, terms, level)


def over_seeds(means_S: Sequence[float], level: float = LEVEL) -> tuple[float, float] | None:
    """Student's t interval of a mean over seeds, items taken as they are; None for fewer than two seeds."""
    import numpy as np
    from scipy.special import stdtrit

    means = np.asarray(means_S, dtype=np.float64)
    if len(means) < 2:
        return None
    half = float(stdtrit(len(means) - 1, (1 + level) / 2)) * float(means.std(ddof=1)) / math.sqrt(len(means))
    return float(means.mean()) - half, float(means.mean()) + half


def resampled_means(values_XN: np.ndarray, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Means [resamples, X] of N items drawn with replacement, the same draws for all X rows."""
    import numpy as np

    n = values_XN.shape[1]
    random, block = np.random.default_rng(seed), max(1, BLOCK // n)
    parts = []
    for start in range(0, resamples, block):
        count = min(block, resamples - start)
        drawn = random.integers(0, n, (count, n)) + np.arange(count)[:, None] * n
        times = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n)
        parts.append(times.astype(np.float64) @ values_XN.T / n)
    return np.concatenate(parts)


def pigeonhole(means_BS: np.ndarray, seed: int, level: float = LEVEL) -> tuple[float, float]:
    """Percentile interval of the bootstrap that draws seeds and items, crossed, with replacement.

    `means_BS` are the seeds' differences in each draw of items (`resampled_means`); here the seeds are drawn.
    Owen: "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007) 386-411. With few seeds it is
    narrow where seeds differ, and wide where neither seeds nor items do: `crossed` is the calibrated interval.
    """
    import numpy as np

    resamples, seeds = means_BS.shape
    weights_BS = np.random.default_rng(seed).multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds
    low, high = np.quantile((weights_BS * means_BS).sum(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mcnemar_over_seeds(
    a_SN: np.ndarray, b_SN: np.ndarray, seed: int = 0
) -> tuple[int | None, int | None, float]:
    """Answers that only a, and only b, got right in all seeds, and the p that no item prefers either.

    An item that all seeds share is one observation, not S: under the null hypothesis the names a and b may be
    swapped for an item, in all its seeds at once. So |sum over items of t_i| with t_i = sum over seeds of a - b is
    compared with its exact distribution under random signs. With one seed that is McNemar's exact test;
    its large-sample form is Obuchowski's (Statistics in Medicine 17 (1998) 1495-1507). Values that are not 0 or 1
    have no counts, and their p is from random signs.
    """
    import numpy as np

    if not (np.isin(a_SN, (0, 1)).all() and np.isin(b_SN, (0, 1)).all()):
        return None, None, sign_flip(a_SN.mean(axis=0), b_SN.mean(axis=0), seed)
    difference_SN = a_SN - b_SN
    totals_N = difference_SN.sum(axis=0).astype(np.int64)
    return int((difference_SN > 0).sum()), int((difference_SN < 0).sum()), exact_signs(totals_N)


def exact_signs(totals_N: np.ndarray) -> float:
    """Two-sided p of |sum| of whole numbers whose signs are fair coins, exact."""
    import numpy as np
    from scipy.stats import binom

    sizes, counts = np.unique(np.abs(totals_N[totals_N != 0]), return_counts=True)
    chances, reach = np.ones(1), 0
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        steps = np.zeros(2 * size * count + 1)
        steps[:: 2 * size] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances, reach = _convolve(chances, steps), reach + size * count
    sums = np.arange(-reach, reach + 1)
    return min(1.0, float(chances[np.abs(sums) >= abs(int(totals_N.sum()))].sum()))


def _convolve(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    import numpy as np
    from scipy.signal import fftconvolve

    if min(len(a), len(b)) < 2000:
        return np.convolve(a, b)
    return np.clip(fftconvolve(a, b), 0.0, None)


def _mean_squares(table_SN: np.ndarray) -> tuple[float, float]:
    """Of items, and of what neither seed nor item explains."""
    import numpy as np

    seeds, n = table_SN.shape
    items_N = table_SN.mean(axis=0)
    left = table_SN - table_SN.mean(axis=1, keepdims=True) - items_N + table_SN.mean()
    return seeds * float(items_N.var(ddof=1)), float(np.square(left).sum()) / ((seeds - 1) * (n - 1))


def _mean(tables: Sequence[np.ndarray]) -> float:
    return math.fsum(float(table.mean()) for table in tables) / len(tables)


def _estimate(value: float, variance: float, terms: Sequence[tuple[float, float]], level: float) -> Estimate:
    """Student's t with Satterthwaite's degrees of freedom, which lie above the least of the terms'."""
    from scipy.special import stdtr, stdtrit

    spread = math.fsum(part * part / degrees for part, degrees in terms)
    least = min((degrees for _, degrees in terms), default=1.0)
    degrees = max(variance * variance / spread, least) if spread > 0 else least
    error = math.sqrt(variance)
    half = float(stdtrit(degrees, (1 + level) / 2)) * error
    if error == 0:
        p = 1.0 if value == 0 else 0.0
    else:
        p = 2 * float(stdtr(degrees, -abs(value) / error))
    return Estimate(value, error, degrees, value - half, value + half, p)
