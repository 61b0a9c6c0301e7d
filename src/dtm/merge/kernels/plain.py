"""The kernels in numpy: what they compute, and the fallback where nothing was compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
LANES = 16  # running sums of an inner product


def decode(raw: NDArray[Any], dtype: str, out: Floats) -> bool:
    """Stored values [n] (BF16 as its bits) to fp32, exactly; whether all are finite."""
    if dtype == "BF16":
        np.left_shift(raw, np.uint32(16), out=out.view(np.uint32), dtype=np.uint32)
        return bool(((raw & 0x7F80) != 0x7F80).all())
    out[:] = raw
    return bool(np.isfinite(out).all())


def encode(values: Floats, dtype: str, out: NDArray[Any]) -> bool:
    """fp32 to stored values [n], to nearest even; whether all results are finite. A NaN stays one."""
    if dtype != "BF16":
        with np.errstate(over="ignore", under="ignore"):  # an overflow is told by the result
            out[:] = values
        return bool(np.isfinite(out).all())
    bits = values.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    quiet = (bits >> np.uint32(16)) | np.uint32(0x40)
    out[:] = np.where((bits & 0x7FFFFFFF) > 0x7F800000, quiet, rounded)
    return bool(((out & 0x7F80) != 0x7F80).all())


def weighted_sum(rows_K: Floats, weights_K: Doubles, out: Floats) -> None:
    """out[n] = sum over k of weights[k] rows[k, n]: added in fp64 in the order of k, rounded once."""
    total = weights_K[0] * rows_K[0].astype(np.float64)
    for weight, row in zip(weights_K[1:], rows_K[1:], strict=True):
        total += weight * row.astype(np.float64)
    out[:] = total


def uniform(key: np.uint64, start: np.uint64, out: Floats) -> None:
    """out[i] = the top 24 bits of splitmix64(key, start + i), in [0, 1)."""
    with np.errstate(over="ignore"):
        z = key + (start + np.arange(1, out.size + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    out[:] = (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def histogram(values: Floats, out: NDArray[np.int64]) -> None:
    """Add to out[32768] how many magnitudes have these top 15 bits (exponent and 7 bits of mantissa)."""
    out += np.bincount((values.view(np.uint32) & 0x7FFFFFFF) >> np.uint32(16), minlength=out.size)


def in_bucket(values: Floats, bucket: int) -> NDArray[np.uint16]:
    """The low 16 bits of the magnitudes whose top 15 bits are `bucket`, in index order."""
    magnitudes = values.view(np.uint32) & np.uint32(0x7FFFFFFF)
    return (magnitudes[(magnitudes >> np.uint32(16)) == bucket] & 0xFFFF).astype(np.uint16)


def trim(values: Floats, threshold: int, quota: int, out: Floats) -> None:
    """out = values whose magnitude's bits exceed `threshold`, and the first `quota` that equal it; else 0.

    A `quota` of -1 keeps all that equal it.
    """
    magnitudes = values.view(np.uint32) & np.uint32(0x7FFFFFFF)
    if quota < 0:
        kept = magnitudes >= threshold
    else:
        kept = magnitudes > threshold
        kept[np.flatnonzero(magnitudes == threshold)[:quota]] = True
    out[:] = np.where(kept, values, np.float32(0))


def elect(rows_K: Floats, weights_K: Doubles, normalize: bool, out: Floats) -> None:
    """The weighted sum, or mean, of the rows' values that have the sign of the weighted sum of all.

    Zeros take no part. Sums are in fp64 in the order of k; where all cancel, the positive ones stay.
    """
    scaled_K = [weight * row.astype(np.float64) for weight, row in zip(weights_K, rows_K, strict=True)]
    total = np.zeros(out.size)
    for scaled in scaled_K:
        total += scaled
    agreed, share = np.zeros(out.size), np.zeros(out.size)
    for weight, scaled in zip(weights_K, scaled_K, strict=True):
        agree = np.where(total >= 0, scaled > 0, scaled < 0)
        agreed += np.where(agree, scaled, 0.0)
        share += np.where(agree, weight, 0.0)
    if normalize:
        agreed = agreed / np.where(share == 0, 1.0, share)
    out[:] = agreed


def thin(values: Floats, uniform: Floats, density: float, scale: float, out: Floats) -> None:
    """out = values * scale where uniform < density, else 0."""
    out[:] = np.where(uniform < np.float32(density), values * np.float32(scale), np.float32(0))


def variance(rows_K: Floats, out: Floats) -> None:
    """out[n] = the variance over k (dividing by K - 1), in fp64 in the order of k."""
    count = len(rows_K)
    mean = np.zeros(out.size)
    for row in rows_K:
        mean += row.astype(np.float64)
    mean /= count
    total = np.zeros(out.size)
    for row in rows_K:
        away = row.astype(np.float64) - mean
        total += away * away
    out[:] = total / max(count - 1, 1)


def majority_mean(rows_K: Floats, weights_K: Doubles, out: Floats) -> None:
    """The weighted mean of the values that have the sign of the rows' plain sum; 0 where that is 0."""
    total = np.zeros(out.size)
    for row in rows_K:
        total += row.astype(np.float64)
    agreed, share = np.zeros(out.size), np.zeros(out.size)
    for weight, row in zip(weights_K, rows_K, strict=True):
        value = row.astype(np.float64)
        agree = value * total > 0
        agreed += np.where(agree, weight * value, 0.0)
        share += np.where(agree, weight, 0.0)
    out[:] = agreed / np.where(share == 0, 1.0, share)


def products(rows_K: Floats, own: bool) -> Doubles:
    """Inner products of rows [K, n] in fp64, each as LANES sums of every LANES-th value: [pairs, LANES].

    Pairs are (i, j) for j <= i, or with `own` (i, i) alone.
    """
    count, n = rows_K.shape
    wide_K = np.zeros((count, -(-n // LANES) * LANES))
    wide_K[:, :n] = rows_K
    pairs = [(a, b) for a in range(count) for b in range(a if own else 0, a + 1)]
    return np.stack([np.add.reduce((wide_K[a] * wide_K[b]).reshape(-1, LANES), axis=0) for a, b in pairs])
