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
def decode_bf16_less(raw, base, out):
    bits = out.view(np.uint32)
    infinite = 0
    for i in range(raw.size):
        bits[i] = np.uint32(raw[i]) << np.uint32(16)
        out[i] -= base[i]
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
        done = 1
        if weights_K.size >= 4:  # the common count: four at once, in the same order, stay in registers
            a, b, c, d = weights_K[0], weights_K[1], weights_K[2], weights_K[3]
            for i in range(length):
                first = a * np.float64(rows_K[0, start + i]) + b * np.float64(rows_K[1, start + i])
                total[i] = first + c * np.float64(rows_K[2, start + i]) + d * np.float64(rows_K[3, start + i])
            done = 4
        else:
            for i in range(length):
                total[i] = weights_K[0] * np.float64(rows_K[0, start + i])
        for k in range(done, weights_K.size):
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


@compiled
def histogram(values, out):
    bits = values.view(np.uint32)
    for i in range(bits.size):
        out[(bits[i] & np.uint32(0x7FFFFFFF)) >> np.uint32(16)] += 1


@compiled
def in_bucket(values, bucket):
    bits = values.view(np.uint32)
    count = 0
    for i in range(bits.size):
        count += ((bits[i] & np.uint32(0x7FFFFFFF)) >> np.uint32(16)) == np.uint32(bucket)
    found = np.empty(count, np.uint16)
    if count == 0:
        return found
    place = 0
    for i in range(bits.size):
        magnitude = bits[i] & np.uint32(0x7FFFFFFF)
        if (magnitude >> np.uint32(16)) == np.uint32(bucket):
            found[place] = np.uint16(magnitude & np.uint32(0xFFFF))
            place += 1
    return found


@compiled
def trim(values, threshold, quota, out):
    bits = values.view(np.uint32)
    limit = np.uint32(threshold)
    if quota < 0:
        for i in range(bits.size):
            out[i] = values[i] if (bits[i] & np.uint32(0x7FFFFFFF)) >= limit else np.float32(0)
        return
    for i in range(bits.size):
        out[i] = values[i] if (bits[i] & np.uint32(0x7FFFFFFF)) > limit else np.float32(0)
    for i in range(bits.size):
        if quota == 0:
            return
        if (bits[i] & np.uint32(0x7FFFFFFF)) == limit:
            out[i] = values[i]
            quota -= 1


@compiled
def elect(rows_K, weights_K, normalize, out):
    total = np.empty(STRIP, np.float64)
    agreed = np.empty(STRIP, np.float64)
    share = np.empty(STRIP, np.float64)
    for start in range(0, out.size, STRIP):
        length = min(STRIP, out.size - start)
        for i in range(length):
            total[i] = 0.0
            agreed[i] = 0.0
            share[i] = 0.0
        for k in range(weights_K.size):
            weight = weights_K[k]
            for i in range(length):
                total[i] += weight * np.float64(rows_K[k, start + i])
        for k in range(weights_K.size):
            weight = weights_K[k]
            for i in range(length):
                scaled = weight * np.float64(rows_K[k, start + i])
                agree = (scaled > 0.0) if total[i] >= 0.0 else (scaled < 0.0)
                agreed[i] += scaled if agree else 0.0
                share[i] += weight if agree else 0.0
        for i in range(length):
            value = agreed[i]
            if normalize:
                value = value / (share[i] if share[i] != 0.0 else 1.0)
            out[start + i] = np.float32(value)


@compiled
def thin(values, uniform, density, scale, out):
    bound, factor = np.float32(density), np.float32(scale)
    for i in range(values.size):
        out[i] = values[i] * factor if uniform[i] < bound else np.float32(0)


@compiled
def variance(rows_K, out):
    count = rows_K.shape[0]
    below = np.float64(max(count - 1, 1))
    mean = np.empty(STRIP, np.float64)
    total = np.empty(STRIP, np.float64)
    for start in range(0, out.size, STRIP):
        length = min(STRIP, out.size - start)
        for i in range(length):
            mean[i] = 0.0
            total[i] = 0.0
        for k in range(count):
            for i in range(length):
                mean[i] += np.float64(rows_K[k, start + i])
        for i in range(length):
            mean[i] /= count
        for k in range(count):
            for i in range(length):
                away = np.float64(rows_K[k, start + i]) - mean[i]
                total[i] += away * away
        for i in range(length):
            out[start + i] = np.float32(total[i] / below)


@compiled
def majority_mean(rows_K, weights_K, out):
    total = np.empty(STRIP, np.float64)
    agreed = np.empty(STRIP, np.float64)
    share = np.empty(STRIP, np.float64)
    for start in range(0, out.size, STRIP):
        length = min(STRIP, out.size - start)
        for i in range(length):
            total[i] = 0.0
            agreed[i] = 0.0
            share[i] = 0.0
        for k in range(weights_K.size):
            for i in range(length):
                total[i] += np.float64(rows_K[k, start + i])
        for k in range(weights_K.size):
            weight = weights_K[k]
            for i in range(length):
                value = np.float64(rows_K[k, start + i])
                agree = value * total[i] > 0.0
                agreed[i] += weight * value if agree else 0.0
                share[i] += weight if agree else 0.0
        for i in range(length):
            out[start + i] = np.float32(agreed[i] / (share[i] if share[i] != 0.0 else 1.0))
