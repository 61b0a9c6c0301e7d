"""The kernels in numpy: what they compute, and the fallback where numba is missing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


def decode_bf16(raw: NDArray[np.uint16], out: Floats) -> bool:
    """bfloat16 bits to fp32, exactly; whether all are finite."""
    np.left_shift(raw, np.uint32(16), out=out.view(np.uint32), dtype=np.uint32)
    return bool(((raw & 0x7F80) != 0x7F80).all())


def encode_bf16(values: Floats, out: NDArray[np.uint16]) -> bool:
    """fp32 to bfloat16 bits, to nearest even; whether all results are finite. A NaN stays one."""
    bits = values.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    quiet = (bits >> np.uint32(16)) | np.uint32(0x40)
    out[:] = np.where((bits & 0x7FFFFFFF) > 0x7F800000, quiet, rounded)
    return bool(((out & 0x7F80) != 0x7F80).all())


def finite(values: Floats) -> bool:
    return bool(np.isfinite(values).all())


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
