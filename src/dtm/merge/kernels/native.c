/* The kernels in C: loops over one block, called through ctypes without the interpreter's lock.
 *
 * Each does, value by value, the same sequence of IEEE operations as its twin in plain.py. Compiled without fused
 * multiply-add and without fast-math, so a compiler may vectorise and may not reorder: the bytes are plain's.
 * Inner loops run over values and not over models, in strips that stay in the first-level cache.
 */
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && defined(__linux__)
#define KERNEL __attribute__((target_clones("avx2", "default")))
#else
#define KERNEL
#endif
#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

enum { F32 = 0, F16 = 1, BF16 = 2 };
enum { STRIP = 512, LANES = 16 };
static const int64_t ITEM[] = {4, 2, 2};

INLINE float as_float(uint32_t bits) { float value; memcpy(&value, &bits, 4); return value; }
INLINE uint32_t as_bits(float value) { uint32_t bits; memcpy(&bits, &value, 4); return bits; }
INLINE double chosen(int condition, double value) {  /* value or 0.0, without a branch */
    uint64_t bits; memcpy(&bits, &value, 8); bits &= -(uint64_t)(condition != 0); memcpy(&value, &bits, 8); return value;
}

/* One value of a half to fp32: the exponent moves by a multiplication, which is exact for denormals too. */
INLINE float from_half(uint16_t half) {
    uint32_t magnitude = (uint32_t)(half & 0x7FFF) << 13;
    uint32_t bits = as_bits(as_float(magnitude) * 0x1p112f);
    bits |= magnitude >= 0x0F800000u ? 0x7F800000u : 0;
    return as_float(bits | (uint32_t)(half & 0x8000) << 16);
}

/* One fp32 to a half, to nearest even, as numpy does it. */
INLINE uint16_t to_half(float value) {
    uint32_t bits = as_bits(value), sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7FFFFFFF;
    uint32_t small = as_bits(as_float(magnitude) + 0.5f) - 0x3F000000u;  /* the sum rounds a denormal half */
    uint32_t normal = (magnitude - 0x38000000u + 0xFFF + ((magnitude >> 13) & 1)) >> 13;
    uint32_t large = magnitude > 0x7F800000u ? 0x7E00 | ((magnitude >> 13) & 0x3FF) : 0x7C00;
    uint32_t half = magnitude < 0x38800000u ? small : magnitude >= 0x47800000u ? large : normal;
    return (uint16_t)(sign | half);
}

/* n values of that dtype to fp32; whether all are finite. */
INLINE int decode_strip(const void *source, int dtype, int64_t n, float *restrict out) {
    uint32_t infinite = 0;
    if (dtype == BF16) {
        const uint16_t *restrict from = source;
        for (int64_t i = 0; i < n; i++) {
            infinite |= (from[i] & 0x7F80) == 0x7F80;
            out[i] = as_float((uint32_t)from[i] << 16);
        }
    } else if (dtype == F16) {
        const uint16_t *restrict from = source;
        for (int64_t i = 0; i < n; i++) {
            infinite |= (from[i] & 0x7C00) == 0x7C00;
            out[i] = from_half(from[i]);
        }
    } else {
        const float *restrict from = source;
        for (int64_t i = 0; i < n; i++) {
            infinite |= (as_bits(from[i]) & 0x7F800000u) == 0x7F800000u;
            out[i] = from[i];
        }
    }
    return !infinite;
}

/* n bf16 less the base's values; whether all that was read is finite. */
INLINE int decode_less_strip(const uint16_t *restrict from, const float *restrict base, int64_t n, float *restrict out) {
    uint32_t infinite = 0;
    for (int64_t i = 0; i < n; i++) {
        infinite |= (from[i] & 0x7F80) == 0x7F80;
        out[i] = as_float((uint32_t)from[i] << 16) - base[i];
    }
    return !infinite;
}

/* n fp32 to that dtype, to nearest even; whether all results are finite. A NaN stays one. */
INLINE int encode_strip(const float *restrict values, int dtype, int64_t n, void *target) {
    uint32_t infinite = 0;
    if (dtype == BF16) {
        uint16_t *restrict out = target;
        for (int64_t i = 0; i < n; i++) {
            uint32_t bits = as_bits(values[i]);
            uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
            uint32_t both = (bits & 0x7FFFFFFF) > 0x7F800000u ? (bits >> 16) | 0x40 : rounded;
            infinite |= (both & 0x7F80) == 0x7F80;
            out[i] = (uint16_t)both;
        }
    } else if (dtype == F16) {
        uint16_t *restrict out = target;
        for (int64_t i = 0; i < n; i++) {
            uint16_t half = to_half(values[i]);
            infinite |= (half & 0x7C00) == 0x7C00;
            out[i] = half;
        }
    } else {
        float *restrict out = target;
        for (int64_t i = 0; i < n; i++) {
            infinite |= (as_bits(values[i]) & 0x7F800000u) == 0x7F800000u;
            out[i] = values[i];
        }
    }
    return !infinite;
}

KERNEL int decode(const void *source, int dtype, int64_t n, float *out) {
    return decode_strip(source, dtype, n, out);
}

KERNEL int encode(const float *values, int dtype, int64_t n, void *out) {
    return encode_strip(values, dtype, n, out);
}

/* Rows of K stored tensors to fp32 [K, n], less the base's row if `less`; its own row goes to `base_row` if that is
 * not NULL. Returns -1, or the first row that is not finite (K: the base's). */
KERNEL int64_t decode_rows(int64_t models, const void *const *sources, const int32_t *dtypes, const void *base,
                           int base_dtype, float *base_row, int less, int64_t n, float *restrict rows) {
    int64_t wrong = -1;
    if (base && !decode_strip(base, base_dtype, n, base_row)) wrong = models;
    for (int64_t k = models - 1; k >= 0; k--) {
        float *restrict row = rows + k * n;
        if (less && dtypes[k] == BF16) {
            if (!decode_less_strip(sources[k], base_row, n, row)) wrong = k;
            continue;
        }
        if (!decode_strip(sources[k], dtypes[k], n, row)) wrong = k;
        if (less)
            for (int64_t i = 0; i < n; i++) row[i] -= base_row[i];
    }
    return wrong;
}

INLINE void sum_strip(const float *restrict row, double weight, int first, int64_t n, double *restrict total) {
    if (first)
        for (int64_t i = 0; i < n; i++) total[i] = weight * (double)row[i];
    else
        for (int64_t i = 0; i < n; i++) total[i] += weight * (double)row[i];
}

/* out[n] = sum over k of weights[k] rows[k, n]. */
KERNEL void weighted_sum(int64_t models, int64_t n, const float *rows, const double *weights, float *restrict out) {
    double total[STRIP];
    for (int64_t start = 0; start < n; start += STRIP) {
        int64_t length = n - start < STRIP ? n - start : STRIP;
        for (int64_t k = 0; k < models; k++) sum_strip(rows + k * n + start, weights[k], k == 0, length, total);
        for (int64_t i = 0; i < length; i++) out[start + i] = (float)total[i];
    }
}

/* Four bf16 rows at once, in the same order, so that the sums stay in registers; which of them are not finite. */
INLINE int sum_four(const void *const *sources, int64_t start, const double *weights, const float *restrict base_row,
                    int first, int64_t n, double *restrict total) {
    const uint16_t *restrict a = (const uint16_t *)sources[0] + start, *restrict b = (const uint16_t *)sources[1] + start;
    const uint16_t *restrict c = (const uint16_t *)sources[2] + start, *restrict d = (const uint16_t *)sources[3] + start;
    double wa = weights[0], wb = weights[1], wc = weights[2], wd = weights[3];
    uint32_t wrong = 0;
    for (int64_t i = 0; i < n; i++) {
        float less = base_row ? base_row[i] : 0.0f;
        float va = as_float((uint32_t)a[i] << 16), vb = as_float((uint32_t)b[i] << 16);
        float vc = as_float((uint32_t)c[i] << 16), vd = as_float((uint32_t)d[i] << 16);
        if (base_row) va -= less, vb -= less, vc -= less, vd -= less;
        double sum = first ? wa * (double)va : total[i] + wa * (double)va;
        total[i] = ((sum + wb * (double)vb) + wc * (double)vc) + wd * (double)vd;
        wrong |= ((a[i] & 0x7F80) == 0x7F80) | ((b[i] & 0x7F80) == 0x7F80) | ((c[i] & 0x7F80) == 0x7F80)
               | ((d[i] & 0x7F80) == 0x7F80);
    }
    return wrong != 0;
}

/* The same sum from stored tensors to a stored tensor in one go, on the updates and added to the base if `less`.
 * Returns -1, or the first input that is not finite (K: the base), or K + 1 if the result is not. */
KERNEL int64_t merge_sum(int64_t models, const void *const *sources, const int32_t *dtypes, const double *weights,
                         const void *base, int base_dtype, int less, int64_t n, void *out, int out_dtype) {
    double total[STRIP];
    float row[STRIP], base_row[STRIP];
    int64_t wrong = models + 2;
    for (int64_t start = 0; start < n; start += STRIP) {
        int64_t length = n - start < STRIP ? n - start : STRIP, k = 0;
        if (less && !decode_strip((const char *)base + start * ITEM[base_dtype], base_dtype, length, base_row))
            wrong = wrong < models ? wrong : models;
        for (; k + 4 <= models; k += 4) {
            int same = dtypes[k] == BF16 && dtypes[k + 1] == BF16 && dtypes[k + 2] == BF16 && dtypes[k + 3] == BF16;
            if (!same) break;
            int bad = less ? sum_four(sources + k, start, weights + k, base_row, k == 0, length, total)
                           : sum_four(sources + k, start, weights + k, 0, k == 0, length, total);
            for (int64_t j = k; bad && j < k + 4; j++)
                if (!decode_strip((const char *)sources[j] + start * 2, BF16, length, row)) wrong = wrong < j ? wrong : j;
        }
        for (; k < models; k++) {
            if (!decode_strip((const char *)sources[k] + start * ITEM[dtypes[k]], dtypes[k], length, row))
                wrong = wrong < k ? wrong : k;
            if (less)
                for (int64_t i = 0; i < length; i++) row[i] -= base_row[i];
            sum_strip(row, weights[k], k == 0, length, total);
        }
        for (int64_t i = 0; i < length; i++) row[i] = (float)total[i];
        if (less)
            for (int64_t i = 0; i < length; i++) row[i] = base_row[i] + row[i];
        if (!encode_strip(row, out_dtype, length, (char *)out + start * ITEM[out_dtype]))
            wrong = wrong < models + 1 ? wrong : models + 1;
    }
    return wrong == models + 2 ? -1 : wrong;
}

KERNEL void uniform(uint64_t key, uint64_t start, int64_t n, float *restrict out) {
    for (int64_t i = 0; i < n; i++) {
        uint64_t z = key + (start + (uint64_t)i + 1) * 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        z ^= z >> 31;
        out[i] = (float)(int32_t)(z >> 40) * 0x1p-24f;
    }
}

void histogram(int64_t n, const float *values, int64_t *counts) {
    for (int64_t i = 0; i < n; i++) counts[(as_bits(values[i]) & 0x7FFFFFFF) >> 16]++;
}

/* The low 16 bits of the magnitudes whose top 15 bits are `bucket`, in index order, into out[n]; how many. */
KERNEL int64_t in_bucket(int64_t n, const float *values, uint32_t bucket, uint16_t *out) {
    int64_t found = 0;
    for (int64_t start = 0; start < n; start += 32) {
        int64_t length = n - start < 32 ? n - start : 32;
        uint32_t any = 0;
        for (int64_t i = start; i < start + length; i++) any |= ((as_bits(values[i]) & 0x7FFFFFFF) >> 16) == bucket;
        if (!any) continue;
        for (int64_t i = start; i < start + length; i++) {
            uint32_t magnitude = as_bits(values[i]) & 0x7FFFFFFF;
            out[found] = (uint16_t)magnitude;
            found += (magnitude >> 16) == bucket;
        }
    }
    return found;
}

KERNEL void trim(int64_t n, const float *restrict values, uint32_t limit, int64_t quota, float *restrict out) {
    uint32_t lowest = quota < 0 ? limit : limit + 1;
    for (int64_t i = 0; i < n; i++)
        out[i] = as_float((as_bits(values[i]) & 0x7FFFFFFF) >= lowest ? as_bits(values[i]) : 0);
    for (int64_t i = 0; i < n && quota > 0; i++)
        if ((as_bits(values[i]) & 0x7FFFFFFF) == limit) {
            out[i] = values[i];
            quota--;
        }
}

/* With a number of models that the compiler knows, a value's sums stay in registers. */
INLINE void elect_fixed(int64_t models, int64_t n, const float *rows, const double *weights, int normalize,
                        float *restrict out) {
    for (int64_t i = 0; i < n; i++) {
        double total = 0.0, agreed = 0.0, share = 0.0;
        for (int64_t k = 0; k < models; k++) total += weights[k] * (double)rows[k * n + i];
        for (int64_t k = 0; k < models; k++) {
            double scaled = weights[k] * (double)rows[k * n + i];
            int agree = (total >= 0.0) ? scaled > 0.0 : scaled < 0.0;
            agreed += chosen(agree, scaled);
            share += chosen(agree, weights[k]);
        }
        if (normalize) agreed /= share != 0.0 ? share : 1.0;
        out[i] = (float)agreed;
    }
}

INLINE void elect_any(int64_t models, int64_t n, const float *rows, const double *weights, int normalize,
                      float *restrict out) {
    double total[STRIP], agreed[STRIP], share[STRIP];
    for (int64_t start = 0; start < n; start += STRIP) {
        int64_t length = n - start < STRIP ? n - start : STRIP;
        for (int64_t i = 0; i < length; i++) total[i] = agreed[i] = share[i] = 0.0;
        for (int64_t k = 0; k < models; k++) {
            const float *restrict row = rows + k * n + start;
            for (int64_t i = 0; i < length; i++) total[i] += weights[k] * (double)row[i];
        }
        for (int64_t k = 0; k < models; k++) {
            const float *restrict row = rows + k * n + start;
            double weight = weights[k];
            for (int64_t i = 0; i < length; i++) {
                double scaled = weight * (double)row[i];
                int agree = (total[i] >= 0.0) ? scaled > 0.0 : scaled < 0.0;
                agreed[i] += chosen(agree, scaled);
                share[i] += chosen(agree, weight);
            }
        }
        if (normalize)
            for (int64_t i = 0; i < length; i++) agreed[i] /= share[i] != 0.0 ? share[i] : 1.0;
        for (int64_t i = 0; i < length; i++) out[start + i] = (float)agreed[i];
    }
}

KERNEL void elect(int64_t models, int64_t n, const float *rows, const double *weights, int normalize,
                  float *restrict out) {
    switch (models) {
    case 2: elect_fixed(2, n, rows, weights, normalize, out); break;
    case 3: elect_fixed(3, n, rows, weights, normalize, out); break;
    case 4: elect_fixed(4, n, rows, weights, normalize, out); break;
    default: elect_any(models, n, rows, weights, normalize, out);
    }
}

KERNEL void thin(int64_t n, const float *restrict values, const float *restrict uniform, float density, float scale,
                 float *restrict out) {
    for (int64_t i = 0; i < n; i++) out[i] = as_float(uniform[i] < density ? as_bits(values[i] * scale) : 0);
}

KERNEL void variance(int64_t models, int64_t n, const float *rows, float *restrict out) {
    double mean[STRIP], total[STRIP], below = models > 1 ? (double)(models - 1) : 1.0;
    for (int64_t start = 0; start < n; start += STRIP) {
        int64_t length = n - start < STRIP ? n - start : STRIP;
        for (int64_t i = 0; i < length; i++) mean[i] = total[i] = 0.0;
        for (int64_t k = 0; k < models; k++) {
            const float *restrict row = rows + k * n + start;
            for (int64_t i = 0; i < length; i++) mean[i] += (double)row[i];
        }
        for (int64_t i = 0; i < length; i++) mean[i] /= (double)models;
        for (int64_t k = 0; k < models; k++) {
            const float *restrict row = rows + k * n + start;
            for (int64_t i = 0; i < length; i++) {
                double away = (double)row[i] - mean[i];
                total[i] += away * away;
            }
        }
        for (int64_t i = 0; i < length; i++) out[start + i] = (float)(total[i] / below);
    }
}

KERNEL void majority_mean(int64_t models, int64_t n, const float *rows, const double *weights, float *restrict out) {
    double total[STRIP], agreed[STRIP], share[STRIP];
    for (int64_t start = 0; start < n; start += STRIP) {
        int64_t length = n - start < STRIP ? n - start : STRIP;
        for (int64_t i = 0; i < length; i++) total[i] = agreed[i] = share[i] = 0.0;
        for (int64_t k = 0; k < models; k++) {
            const float *restrict row = rows + k * n + start;
            for (int64_t i = 0; i < length; i++) total[i] += (double)row[i];
        }
        for (int64_t k = 0; k < models; k++) {
            const float *restrict row = rows + k * n + start;
            double weight = weights[k];
            for (int64_t i = 0; i < length; i++) {
                int agree = (double)row[i] * total[i] > 0.0;
                agreed[i] += chosen(agree, weight * (double)row[i]);
                share[i] += chosen(agree, weight);
            }
        }
        for (int64_t i = 0; i < length; i++) out[start + i] = (float)(agreed[i] / (share[i] != 0.0 ? share[i] : 1.0));
    }
}

/* Inner products of rows in fp64, each in LANES running sums: out[pairs, LANES]. Pairs are (i, j <= i), or with
 * `own` (i, i) alone. Products of fp32 are exact in fp64, so the order of the sums is all that matters. */
KERNEL void products(int64_t models, int64_t n, const float *rows, int own, double *out) {
    for (int64_t start = 0; start < n; start += STRIP) {
        int64_t length = n - start < STRIP ? n - start : STRIP;
        double *lanes = out;
        for (int64_t a = 0; a < models; a++)
            for (int64_t b = own ? a : 0; b <= a; b++, lanes += LANES) {
                const float *restrict one = rows + a * n + start, *restrict other = rows + b * n + start;
                double sums[LANES];
                memcpy(sums, lanes, sizeof sums);
                int64_t i = 0;
                for (; i + LANES <= length; i += LANES)
                    for (int lane = 0; lane < LANES; lane++)
                        sums[lane] += (double)one[i + lane] * (double)other[i + lane];
                for (int lane = 0; i + lane < length; lane++)
                    sums[lane] += (double)one[i + lane] * (double)other[i + lane];
                memcpy(lanes, sums, sizeof sums);
            }
    }
}
