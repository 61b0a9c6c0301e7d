"""The kernels compiled with numba: loops over one block, without the interpreter's lock.

No fastmath: the compiler may vectorise, and may not reorder or fuse, so the bytes are plain's.
Inner loops run over values and not over models, so that they vectorise.
"""

from __future__ import annotations

import numba
import numpy as np

compiled = numba.njit(nogil=True, cache=True, error_model="numpy")
STRIP = 1024  # values whose fp64 sums stay in the first-level cache


@compiled
def decode_bf16(raw, out):
    bits = out.view(np.uint32)
    infinite = 0
    for i in range(raw.size):
        bits[i] = np.uint32(raw[i]) << np.uint32(16)
        infinite |= (raw[i] & np.uint16(0x7F80)) == np.uint16(0x7F80)
    return infinite == 0


@compiled
def encode_bf16(values, out):
    bits = values.view(np.uint32)
    infinite = 0
    for i in range(bits.size):
        b = bits[i]
        odd = (b >> np.uint32(16)) & np.uint32(1)
        rounded = (b + np.uint32(0x7FFF) + odd) >> np.uint32(16)
        quiet = (b >> np.uint32(16)) | np.uint32(0x40)
        short = np.uint16(quiet if (b & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000) else rounded)
        infinite |= (short & np.uint16(0x7F80)) == np.uint16(0x7F80)
        out[i] = short
    return infinite == 0


@compiled
def finite(values):
    bits = values.view(np.uint32)
    infinite = 0
    for i in range(bits.size):
        infinite |= (bits[i] & np.uint32(0x7F800000)) == np.uint32(0x7F800000)
    return infinite == 0


@compiled
def weighted_sum(rows_K, weights_K, out):
    total = np.empty(STRIP, np.float64)
    for start in range(0, out.size, STRIP):
        length = min(STRIP, out.size - start)
        for i in range(length):
            total[i] = weights_K[0] * np.float64(rows_K[0, start + i])
        for k in range(1, weights_K.size):
            weight = weights_K[k]
            for i in range(length):
                total[i] += weight * np.float64(rows_K[k, start + i])
        for i in range(length):
            out[start + i] = np.float32(total[i])


@compiled
def uniform(key, start, out):
    for i in range(out.size):
        z = key + (start + np.uint64(i + 1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
        out[i] = np.float32(z >> np.uint64(40)) * np.float32(2.0**-24)
