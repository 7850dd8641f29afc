/* quant.c - number formats: how weights lie on disk, and how to dequantize and quantise them.
 *
 * A quantised row is a sequence of blocks. A block holds a small integer q for each weight, and a scale d
 * and often a minimum m for all of them. A weight is d * q - m. There are two generations of formats:
 *
 *     blocks of 32         Q4_0 Q5_0 Q8_0 IQ4_NL MXFP4   d * q
 *                          Q4_1 Q5_1                     d * q - m
 *     super-blocks of 256  Q3_K Q6_K IQ4_XS              d * q      d, m: one 16-bit float for all
 *                          Q2_K Q4_K Q5_K                d * q - m  times a small integer for a few
 *
 * The digit is the number of bits of q. In a super-block, each 16 or 32 weights have a d of their own,
 * which takes 4 to 8 bits; altogether a weight of Q4_K takes 4.5 bits.
 *
 * A format has one decoding function, unpack. It gives 32 weights as a pith__q32: q as int8, d and m for
 * each 16. Matrix products work on that, and one function makes floats of it (block_floats). So
 * a new number format is a row of the table near the end, with a struct, its unpack, and perhaps an
 * encoder. With that it works with all kernels; twins/unpack.inc makes it fast.
 *
 * The layouts are from ggml-common.h of llama.cpp; the K formats are its pull request 1684, IQ4_NL 5590,
 * IQ4_XS 5747; MXFP4 is in the OCP Microscaling Formats specification 1.0. Numbers on disk are
 * little-endian, as are the processors this runs on. The structs consist of bytes, so blocks may lie at
 * any address. */
#include "kernels.h"

#include <math.h>
#include <string.h>

/* ---- 16-bit floats --------------------------------------------------------------------------- */

static float float_of_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static uint32_t bits_of_float(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

/* binary16: sign, 5 bits of exponent with bias 15, 10 of fraction. */
PITH_SHARED float pith__f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023;
    if (exponent == 0) /* zero and denormals: fraction * 2^-24 */
        return float_of_bits(sign | bits_of_float((float)(int)fraction * 0x1p-24f));
    exponent = exponent == 31 ? 255 : exponent + 127 - 15; /* 31: infinity and NaN */
    return float_of_bits(sign | exponent << 23 | fraction << 13);
}

PITH_SHARED uint16_t pith__f32_to_f16(float f) {
    uint32_t u = bits_of_float(f), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    if (a > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff)); /* NaN, made quiet */
    if (a >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 and more: infinity */
    if (a < 0x38800000) { /* under 2^-14: when 0.5 is added, the processor rounds to units of 2^-24 */
        uint32_t units = bits_of_float(float_of_bits(a) + 0.5f) - bits_of_float(0.5f);
        return (uint16_t)(sign | units);
    }
    a += 0xfff + (a >> 13 & 1); /* adds just under one half of the last place; at half, an odd last bit rounds up */
    return (uint16_t)(sign | (a - ((127u - 15) << 23)) >> 13);
}

/* bfloat16: the upper 16 bits of a float. */
static float bf16_to_f32(uint16_t h) { return float_of_bits((uint32_t)h << 16); }

static uint16_t f32_to_bf16(float f) {
    uint32_t u = bits_of_float(f);
    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 64); /* NaN stays one */
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static uint16_t half_bits(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return h;
}

static float half_at(const uint8_t p[2]) { return pith__f16_to_f32(half_bits(p)); }

/* Writes f as an F16, and returns the value that was written. */
static float put_half(uint8_t p[2], float f) {
    uint16_t h = pith__f32_to_f16(f);
    memcpy(p, &h, sizeof h);
    return pith__f16_to_f32(h);
}

static void f32_floats(float *y, const void *x, size_t n) { memcpy(y, x, n * sizeof *y); }
static void f32_encode(void *y, const float *x, size_t n) { memcpy(y, x, n * sizeof *x); }

static void f16_floats(float *y, const void *x, size_t n) {
    const uint8_t *p = x;
    for (size_t i = 0; i < n; i++) y[i] = half_at(p + 2 * i);
}

static void f16_encode(void *y, const float *x, size_t n) {
    uint8_t *p = y;
    for (size_t i = 0; i < n; i++) put_half(p + 2 * i, x[i]);
}

static void bf16_floats(float *y, const void *x, size_t n) {
    const uint8_t *p = x;
    for (size_t i = 0; i < n; i++) y[i] = bf16_to_f32(half_bits(p + 2 * i));
}

static void bf16_encode(void *y, const float *x, size_t n) {
    uint8_t *p = y;
    for (size_t i = 0; i < n; i++) {
        uint16_t h = f32_to_bf16(x[i]);
        memcpy(p + 2 * i, &h, sizeof h);
    }
}

/* ---- blocks of 32 ---------------------------------------------------------------------------- */

/* The block has one scale and one minimum. */
static void set_scale(pith__q32 *y, float d, float m) {
    y->d[0] = y->d[1] = d;
    y->m[0] = y->m[1] = m;
}

/* 16 bytes hold 32 numbers of 4 bits: the first 16 numbers in the lower halves, the others in the upper halves. */
static void split_nibbles(int8_t q[32], const uint8_t p[16], int start) {
    for (int i = 0; i < 16; i++) {
        q[i]      = (int8_t)((p[i] & 15) + start);
        q[i + 16] = (int8_t)((p[i] >> 4) + start);
    }
}

/* The same, but the 4 bits are an index of a table. */
static void look_up_nibbles(int8_t q[32], const uint8_t p[16], const int8_t table[16]) {
    for (int i = 0; i < 16; i++) {
        q[i]      = table[p[i] & 15];
        q[i + 16] = table[p[i] >> 4];
    }
}

/* 4 bytes hold the fifth bits of 32 numbers, in order. */
static void add_fifth_bits(int8_t q[32], const uint8_t p[4]) {
    for (int i = 0; i < 32; i++) q[i] = (int8_t)(q[i] + (p[i / 8] >> i % 8 & 1) * 16);
}

typedef struct {
    uint8_t d[2];
    int8_t q[32];
} q8_0_block;
_Static_assert(sizeof(q8_0_block) == PITH__Q8_0_BYTES, "layout on disk");

static void q8_0_unpack(pith__q32 *y, const void *row, size_t b) {
    const q8_0_block *x = (const q8_0_block *)row + b;
    memcpy(y->q, x->q, 32);
    set_scale(y, half_at(x->d), 0);
}

typedef struct {
    uint8_t d[2];
    uint8_t q[16];
} q4_0_block, iq4_nl_block;
_Static_assert(sizeof(q4_0_block) == PITH__Q4_0_BYTES, "layout on disk");
_Static_assert(sizeof(iq4_nl_block) == PITH__IQ4_NL_BYTES, "layout on disk");

static void q4_0_unpack(pith__q32 *y, const void *row, size_t b) {
    const q4_0_block *x = (const q4_0_block *)row + b;
    split_nibbles(y->q, x->q, -8);
    set_scale(y, half_at(x->d), 0);
}

typedef struct {
    uint8_t d[2], m[2]; /* this m is added */
    uint8_t q[16];
} q4_1_block;
_Static_assert(sizeof(q4_1_block) == PITH__Q4_1_BYTES, "layout on disk");

static void q4_1_unpack(pith__q32 *y, const void *row, size_t b) {
    const q4_1_block *x = (const q4_1_block *)row + b;
    split_nibbles(y->q, x->q, 0);
    set_scale(y, half_at(x->d), -half_at(x->m));
}

typedef struct {
    uint8_t d[2];
    uint8_t fifth[4];
    uint8_t q[16];
} q5_0_block;
_Static_assert(sizeof(q5_0_block) == PITH__Q5_0_BYTES, "layout on disk");

static void q5_0_unpack(pith__q32 *y, const void *row, size_t b) {
    const q5_0_block *x = (const q5_0_block *)row + b;
    split_nibbles(y->q, x->q, -16);
    add_fifth_bits(y->q, x->fifth);
    set_scale(y, half_at(x->d), 0);
}

typedef struct {
    uint8_t d[2], m[2]; /* this m is added */
    uint8_t fifth[4];
    uint8_t q[16];
} q5_1_block;
_Static_assert(sizeof(q5_1_block) == PITH__Q5_1_BYTES, "layout on disk");

static void q5_1_unpack(pith__q32 *y, const void *row, size_t b) {
    const q5_1_block *x = (const q5_1_block *)row + b;
    split_nibbles(y->q, x->q, 0);
    add_fifth_bits(y->q, x->fifth);
    set_scale(y, half_at(x->d), -half_at(x->m));
}

/* Most weights are near zero, so these 16 values are closer together there. */
PITH_SHARED const int8_t pith__iq4_values[16] = { -127, -104, -83, -65, -49, -35, -22, -10,
                                                   1, 13, 25, 38, 53, 69, 89, 113 };

static void iq4_nl_unpack(pith__q32 *y, const void *row, size_t b) {
    const iq4_nl_block *x = (const iq4_nl_block *)row + b;
    look_up_nibbles(y->q, x->q, pith__iq4_values);
    set_scale(y, half_at(x->d), 0);
}

/* Floats of 4 bits: sign, 2 bits of exponent, 1 of fraction. The table has them times two, as integers, and
 * no minus zero. So the scale is halved; it is a power of two, stored as its exponent with bias 127. */
PITH_SHARED const int8_t pith__mxfp4_values[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

typedef struct {
    uint8_t exponent;
    uint8_t q[16];
} mxfp4_block;
_Static_assert(sizeof(mxfp4_block) == PITH__MXFP4_BYTES, "layout on disk");

static void mxfp4_unpack(pith__q32 *y, const void *row, size_t b) {
    const mxfp4_block *x = (const mxfp4_block *)row + b;
    look_up_nibbles(y->q, x->q, pith__mxfp4_values);
    set_scale(y, ldexpf(1.0f, x->exponent - 128), 0);
}

/* ---- super-blocks of 256 --------------------------------------------------------------------- */

/* A super-block has eight groups g of 32 weights. Their bits lie in planes of 32 bytes: byte i holds bits of
 * weight i of several groups. This adds unit times the bits of one group. */
static void add_plane(int8_t q[32], const uint8_t p[32], size_t shift, int mask, int unit) {
    for (int i = 0; i < 32; i++) q[i] = (int8_t)(q[i] + (p[i] >> shift & mask) * unit);
}

typedef struct {
    uint8_t scale[16]; /* one for 16 weights; lower 4 bits: scale, upper 4 bits: minimum */
    uint8_t q[64];     /* 2 planes of 4 groups by 2 bits */
    uint8_t d[2], dmin[2];
} q2_k_block;
_Static_assert(sizeof(q2_k_block) == PITH__Q2_K_BYTES, "layout on disk");

static void q2_k_unpack(pith__q32 *y, const void *row, size_t b) {
    const q2_k_block *x = (const q2_k_block *)row + b / 8;
    size_t g = b % 8;
    memset(y->q, 0, 32);
    add_plane(y->q, x->q + g / 4 * 32, g % 4 * 2, 3, 1);
    for (int h = 0; h < 2; h++) {
        y->d[h] = half_at(x->d) * (float)(x->scale[2 * g + h] & 15);
        y->m[h] = half_at(x->dmin) * (float)(x->scale[2 * g + h] >> 4);
    }
}

typedef struct {
    uint8_t high[32];  /* a plane of 8 groups by 1 bit */
    uint8_t q[64];     /* 2 planes of 4 groups by 2 bits */
    uint8_t scale[12]; /* 16 of 6 bits: lower 4 bits in 8 bytes as in Q4_0, then upper 2 bits in 4 bytes */
    uint8_t d[2];
} q3_k_block;
_Static_assert(sizeof(q3_k_block) == PITH__Q3_K_BYTES, "layout on disk");

static int q3_k_scale(const q3_k_block *x, size_t j) {
    int low = x->scale[j % 8] >> j / 8 * 4 & 15, high = x->scale[8 + j % 4] >> j / 4 * 2 & 3;
    return (low | high << 4) - 32;
}

static void q3_k_unpack(pith__q32 *y, const void *row, size_t b) {
    const q3_k_block *x = (const q3_k_block *)row + b / 8;
    size_t g = b % 8;
    memset(y->q, -4, 32);
    add_plane(y->q, x->q + g / 4 * 32, g % 4 * 2, 3, 1);
    add_plane(y->q, x->high, g, 1, 4);
    for (int h = 0; h < 2; h++) {
        y->d[h] = half_at(x->d) * (float)q3_k_scale(x, 2 * g + h);
        y->m[h] = 0;
    }
}

/* Q4_K and Q5_K: 8 scales and 8 minima of 6 bits in 12 bytes. The scales of groups 0 to 3 are the lower 6 bits
 * of bytes 0 to 3, their minima those of bytes 4 to 7. The lower 4 bits of the scales and minima of groups 4 to
 * 7 are in bytes 8 to 11, the upper 2 bits are the upper bits of bytes 0 to 7. */
static void set_k_scale(pith__q32 *y, const uint8_t d[2], const uint8_t dmin[2],
                        const uint8_t p[12], size_t g) {
    int scale = g < 4 ? p[g] & 63 : (p[g + 4] & 15) | p[g - 4] >> 6 << 4;
    int min   = g < 4 ? p[g + 4] & 63 : p[g + 4] >> 4 | p[g] >> 6 << 4;
    set_scale(y, half_at(d) * (float)scale, half_at(dmin) * (float)min);
}

typedef struct {
    uint8_t d[2], dmin[2];
    uint8_t scale[12];
    uint8_t q[128]; /* 4 planes of 2 groups by 4 bits */
} q4_k_block;
_Static_assert(sizeof(q4_k_block) == PITH__Q4_K_BYTES, "layout on disk");

static void q4_k_unpack(pith__q32 *y, const void *row, size_t b) {
    const q4_k_block *x = (const q4_k_block *)row + b / 8;
    size_t g = b % 8;
    memset(y->q, 0, 32);
    add_plane(y->q, x->q + g / 2 * 32, g % 2 * 4, 15, 1);
    set_k_scale(y, x->d, x->dmin, x->scale, g);
}

typedef struct {
    uint8_t d[2], dmin[2];
    uint8_t scale[12];
    uint8_t high[32]; /* a plane of 8 groups by 1 bit */
    uint8_t q[128];   /* 4 planes of 2 groups by 4 bits */
} q5_k_block;
_Static_assert(sizeof(q5_k_block) == PITH__Q5_K_BYTES, "layout on disk");

static void q5_k_unpack(pith__q32 *y, const void *row, size_t b) {
    const q5_k_block *x = (const q5_k_block *)row + b / 8;
    size_t g = b % 8;
    memset(y->q, 0, 32);
    add_plane(y->q, x->q + g / 2 * 32, g % 2 * 4, 15, 1);
    add_plane(y->q, x->high, g, 1, 16);
    set_k_scale(y, x->d, x->dmin, x->scale, g);
}

typedef struct {
    uint8_t q[128];   /* 4 planes of 2 groups by 4 bits: 0 and 2, 1 and 3, 4 and 6, 5 and 7 */
    uint8_t high[64]; /* 2 planes of 4 groups by 2 bits */
    int8_t scale[16]; /* of 16 weights each */
    uint8_t d[2];
} q6_k_block;
_Static_assert(sizeof(q6_k_block) == PITH__Q6_K_BYTES, "layout on disk");

static void q6_k_unpack(pith__q32 *y, const void *row, size_t b) {
    const q6_k_block *x = (const q6_k_block *)row + b / 8;
    size_t g = b % 8;
    memset(y->q, -32, 32);
    add_plane(y->q, x->q + (g / 4 * 2 + g % 2) * 32, g % 4 / 2 * 4, 15, 1);
    add_plane(y->q, x->high + g / 4 * 32, g % 4 * 2, 3, 16);
    for (int h = 0; h < 2; h++) {
        y->d[h] = half_at(x->d) * (float)x->scale[2 * g + h];
        y->m[h] = 0;
    }
}

typedef struct {
    uint8_t d[2];
    uint8_t high[2]; /* 8 scales of 6 bits: their upper 2 bits; low: their lower 4 */
    uint8_t low[4];
    uint8_t q[128];  /* 16 bytes a group, as in IQ4_NL */
} iq4_xs_block;
_Static_assert(sizeof(iq4_xs_block) == PITH__IQ4_XS_BYTES, "layout on disk");

static void iq4_xs_unpack(pith__q32 *y, const void *row, size_t b) {
    const iq4_xs_block *x = (const iq4_xs_block *)row + b / 8;
    size_t g = b % 8;
    int scale = (x->low[g / 2] >> g % 2 * 4 & 15) | (x->high[g / 4] >> g % 4 * 2 & 3) << 4;
    look_up_nibbles(y->q, x->q + 16 * g, pith__iq4_values);
    set_scale(y, half_at(x->d) * (float)(scale - 32), 0);
}

/* ---- encoders -------------------------------------------------------------------------------- */

/* An encoder looks for the d, m and q with the least squared error, the sum of (d * q - m - x)^2. For given d
 * and m the best q comes from rounding. For given q the best d and m solve two linear equations. The two steps
 * alternate, from several first guesses; the result is within a percent of the optimum. During the search q is
 * kept as floats. A run is the 16 or 32 weights that share a d. */

enum { FIT_STEPS = 2, RUN_MAX = 32 };

typedef struct {
    float lo, hi; /* of q */
    int has_min;  /* there is an m, and it is not negative */
    int is_half;  /* d is a 16-bit float */
    float step;   /* between first guesses */
} quant_grid;

static float dot_run(const float *a, const float *b, int n) { /* n a multiple of 8 */
    float s[8] = { 0 };
    for (int i = 0; i < n; i += 8)
        for (int k = 0; k < 8; k++) s[k] += a[i + k] * b[i + k];
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

/* The best q for d and m; returns the squared error. NaN becomes lo. Each step is a loop of its own, because
 * compilers vectorise such loops and do not vectorise one loop with all steps. */
static float round_run(float *q, const float *x, int n, float d, float m, const quant_grid *g) {
    float error[RUN_MAX], inverse = d != 0 ? 1 / d : 0, lo = g->lo, hi = g->hi;
    for (int i = 0; i < n; i++) q[i] = (x[i] + m) * inverse;
    for (int i = 0; i < n; i++) q[i] = q[i] > lo ? q[i] : lo;
    for (int i = 0; i < n; i++) q[i] = q[i] < hi ? q[i] : hi;
    for (int i = 0; i < n; i++) q[i] = (float)(int)(q[i] - lo + 0.5f) + lo;
    for (int i = 0; i < n; i++) error[i] = d * q[i] - m - x[i];
    return dot_run(error, error, n);
}

/* The best d and m for q: least squares for x = d * u - m * v, m >= 0. v NULL: there is no m. */
static void solve_run(float *d, float *m, const float *u, const float *v, const float *x, int n) {
    float uu = dot_run(u, u, n), ux = dot_run(u, x, n);
    if (v) {
        float uv = dot_run(u, v, n), vv = dot_run(v, v, n), vx = dot_run(v, x, n);
        float det = uu * vv - uv * uv;
        if (!(det > 0)) return; /* all u alike: as good as before */
        *d = (ux * vv - vx * uv) / det;
        *m = (ux * uv - vx * uu) / det;
        if (*m >= 0) return;
    }
    *d = uu > 0 ? ux / uu : 0;
    *m = 0;
}

typedef struct {
    float d, m, error;
} run_fit;

/* Alternates the two steps from the guess d, m on, and replaces best where the error is less. */
static void improve_fit(run_fit *best, float d, float m, const float *x, int n,
                        const quant_grid *g) {
    static const float ones[RUN_MAX] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                         1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
    float q[RUN_MAX];
    for (int step = 0; step <= FIT_STEPS; step++) {
        if (step > 0) solve_run(&d, &m, q, g->has_min ? ones : NULL, x, n);
        if (g->is_half) d = pith__f16_to_f32(pith__f32_to_f16(d));
        float error = round_run(q, x, n, d, m, g);
        if (error < best->error) *best = (run_fit){ d, m, error };
    }
}

/* The best d and m for n weights. The guesses put the outermost weights near the ends of the grid: inside, or
 * outside, where they are cut off and the other weights get finer steps. */
static run_fit fit_run(const float *x, int n, const quant_grid *g) {
    float min = 0, max = x[0];
    for (int i = 0; i < n; i++) {
        min = x[i] < min ? x[i] : min;
        max = x[i] > max ? x[i] : max;
    }
    run_fit best = { 0, 0, INFINITY };
    if (g->has_min) {
        for (float low = -g->step; low <= 2 * g->step; low += g->step)
            for (float high = -g->step; high <= 2 * g->step; high += g->step) {
                float d = (max - min) / (g->hi + high + low), m = -min - low * d;
                improve_fit(&best, d, m > 0 ? m : 0, x, n, g);
            }
    } else { /* d may be negative: then -8, not 7, is the end for the largest weight */
        float far = max > -min ? max : min;
        for (float out = -2 * g->step; out <= 2 * g->step; out += g->step) {
            improve_fit(&best, far / (g->lo - out), 0, x, n, g);
            improve_fit(&best, far / (g->hi + out), 0, x, n, g);
        }
    }
    return best;
}

/* If a weight is not finite, or too large for a 16-bit scale, all weights of the block become NaN: a wrong
 * result must not look right. */
static void spoil_unless_finite(uint8_t d[2], float error) {
    if (!(error < INFINITY)) put_half(d, NAN);
}

static void q8_0_encode(void *y, const float *x, size_t n) {
    static const quant_grid grid = { -127, 127, 0, 1, 0 };
    q8_0_block *block = y;
    for (; n; n -= 32, x += 32, block++) {
        float most = 0, q[32]; /* no search: 255 steps are fine enough, and the KV cache needs speed */
        for (int i = 0; i < 32; i++) most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
        float error = round_run(q, x, 32, put_half(block->d, most / 127), 0, &grid);
        spoil_unless_finite(block->d, error);
        for (int i = 0; i < 32; i++) block->q[i] = (int8_t)q[i];
    }
}

static void q4_0_encode(void *y, const float *x, size_t n) {
    static const quant_grid grid = { -8, 7, 0, 1, 0.5f };
    q4_0_block *block = y;
    for (; n; n -= 32, x += 32, block++) {
        float q[32], d = put_half(block->d, fit_run(x, 32, &grid).d);
        spoil_unless_finite(block->d, round_run(q, x, 32, d, 0, &grid));
        for (int i = 0; i < 16; i++)
            block->q[i] = (uint8_t)((int)q[i] + 8 + ((int)q[i + 16] + 8) * 16);
    }
}

/* A super-block before it is packed. A run of weights has the scale d * scale and the minimum dmin * min. */
typedef struct {
    uint8_t d[2], dmin[2];
    int scale[16], min[16];
    int q[256]; /* from 0 on: lo of the grid is subtracted */
} super_block;

typedef struct {
    quant_grid run;
    int length; /* of a run */
    int scale_lo, scale_hi, min_hi;
} super_grid;

/* The integer i in lo..hi for which unit * i is nearest to x. */
static int nearest_into(float x, float unit, int lo, int hi) {
    float i = unit != 0 ? x / unit : 0;
    if (!(i > (float)lo)) return lo;
    if (i >= (float)hi) return hi;
    return (int)(i - (float)lo + 0.5f) + lo;
}

/* Chooses the scale and the minimum of run j: the pair with the least error, of those next to what is wanted. */
static float choose_run(super_block *y, int j, const float *x, float d, float dmin, run_fit want,
                        const super_grid *g) {
    int m0 = nearest_into(want.m, dmin, 0, g->min_hi);
    float least = INFINITY, q[RUN_MAX];
    for (int m = m0 - 1; m <= m0 + 1; m++) {
        if (m < 0 || m > g->min_hi) continue;
        /* with another minimum, the scale that leaves the upper end of the run where it was */
        float top = want.d + (dmin * (float)m - want.m) / g->run.hi;
        int s0 = nearest_into(top, d, g->scale_lo, g->scale_hi);
        for (int s = s0 - 1; s <= s0 + 1; s++) {
            if (s < g->scale_lo || s > g->scale_hi) continue;
            float error = round_run(q, x, g->length, d * (float)s, dmin * (float)m, &g->run);
            if (!(error < least) && least < INFINITY) continue;
            least = error;
            y->scale[j] = s;
            y->min[j] = m;
            for (int i = 0; i < g->length; i++) y->q[j * g->length + i] = (int)(q[i] - g->run.lo);
        }
    }
    return least;
}

/* Each run is fitted alone; the largest scale and the largest minimum give the units d and dmin. Then two steps
 * alternate, as within a run: the best integers for the units, and the best units for the integers. */
static void fit_super(super_block *best, const float *x, const super_grid *g) {
    int runs = 256 / g->length;
    float d = 0, m = 0, least = INFINITY;
    run_fit want[16];
    for (int j = 0; j < runs; j++) {
        want[j] = fit_run(x + j * g->length, g->length, &g->run);
        if (fabsf(want[j].d) > fabsf(d)) d = want[j].d;
        if (want[j].m > m) m = want[j].m;
    }
    d /= (float)(g->scale_lo ? g->scale_lo : g->scale_hi);
    m /= (float)(g->min_hi ? g->min_hi : 1);
    for (int step = 0; step <= FIT_STEPS; step++) {
        super_block y;
        float error = 0, u[256], v[256];
        d = put_half(y.d, d);
        m = put_half(y.dmin, m);
        for (int j = 0; j < runs; j++)
            error += choose_run(&y, j, x + j * g->length, d, m, want[j], g);
        if (error < least || step == 0) {
            least = error;
            *best = y;
        }
        for (int i = 0; i < 256; i++) {
            u[i] = (float)y.scale[i / g->length] * ((float)y.q[i] + g->run.lo);
            v[i] = (float)y.min[i / g->length];
        }
        solve_run(&d, &m, u, g->min_hi ? v : NULL, x, 256);
    }
    spoil_unless_finite(best->d, least);
}

static void q4_k_encode(void *y, const float *x, size_t n) {
    static const super_grid grid = { { 0, 15, 1, 0, 0.5f }, 32, 0, 63, 63 };
    q4_k_block *block = y;
    for (; n; n -= 256, x += 256, block++) {
        super_block s;
        fit_super(&s, x, &grid);
        memcpy(block->d, s.d, 2);
        memcpy(block->dmin, s.dmin, 2);
        for (int g = 0; g < 4; g++) {
            int scale = s.scale[g + 4], min = s.min[g + 4];
            block->scale[g]     = (uint8_t)(s.scale[g] | scale >> 4 << 6);
            block->scale[g + 4] = (uint8_t)(s.min[g] | min >> 4 << 6);
            block->scale[g + 8] = (uint8_t)((scale & 15) | (min & 15) << 4);
        }
        for (int i = 0; i < 128; i++) {
            const int *q = s.q + i / 32 * 64 + i % 32;
            block->q[i] = (uint8_t)(q[0] | q[32] << 4);
        }
    }
}

static void q6_k_encode(void *y, const float *x, size_t n) {
    static const super_grid grid = { { -32, 31, 0, 0, 2 }, 16, -128, 127, 0 };
    q6_k_block *block = y;
    for (; n; n -= 256, x += 256, block++) {
        super_block s;
        fit_super(&s, x, &grid);
        memcpy(block->d, s.d, 2);
        for (int j = 0; j < 16; j++) block->scale[j] = (int8_t)s.scale[j];
        for (int i = 0; i < 128; i++) {
            const int *q = s.q + i / 64 * 128 + i % 64;
            block->q[i] = (uint8_t)((q[0] & 15) | (q[64] & 15) << 4);
        }
        for (int i = 0; i < 64; i++) {
            const int *q = s.q + i / 32 * 128 + i % 32;
            block->high[i] =
                (uint8_t)(q[0] >> 4 | q[32] >> 4 << 2 | q[64] >> 4 << 4 | q[96] >> 4 << 6);
        }
    }
}

/* ---- the table ------------------------------------------------------------------------------- */

static const pith__format number_formats[] = {
    { PITH__F32,    "F32",      1, 4, f32_floats,  NULL, f32_encode },
    { PITH__F16,    "F16",      1, 2, f16_floats,  NULL, f16_encode },
    { PITH__BF16,   "BF16",     1, 2, bf16_floats, NULL, bf16_encode },
    { PITH__Q8_0,   "Q8_0",    32, PITH__Q8_0_BYTES,   NULL, q8_0_unpack,   q8_0_encode },
    { PITH__Q4_0,   "Q4_0",    32, PITH__Q4_0_BYTES,   NULL, q4_0_unpack,   q4_0_encode },
    { PITH__Q4_1,   "Q4_1",    32, PITH__Q4_1_BYTES,   NULL, q4_1_unpack,   NULL },
    { PITH__Q5_0,   "Q5_0",    32, PITH__Q5_0_BYTES,   NULL, q5_0_unpack,   NULL },
    { PITH__Q5_1,   "Q5_1",    32, PITH__Q5_1_BYTES,   NULL, q5_1_unpack,   NULL },
    { PITH__Q2_K,   "Q2_K",   256, PITH__Q2_K_BYTES,   NULL, q2_k_unpack,   NULL },
    { PITH__Q3_K,   "Q3_K",   256, PITH__Q3_K_BYTES,   NULL, q3_k_unpack,   NULL },
    { PITH__Q4_K,   "Q4_K",   256, PITH__Q4_K_BYTES,   NULL, q4_k_unpack,   q4_k_encode },
    { PITH__Q5_K,   "Q5_K",   256, PITH__Q5_K_BYTES,   NULL, q5_k_unpack,   NULL },
    { PITH__Q6_K,   "Q6_K",   256, PITH__Q6_K_BYTES,   NULL, q6_k_unpack,   q6_k_encode },
    { PITH__IQ4_NL, "IQ4_NL",  32, PITH__IQ4_NL_BYTES, NULL, iq4_nl_unpack, NULL },
    { PITH__IQ4_XS, "IQ4_XS", 256, PITH__IQ4_XS_BYTES, NULL, iq4_xs_unpack, NULL },
    { PITH__MXFP4,  "MXFP4",   32, PITH__MXFP4_BYTES,  NULL, mxfp4_unpack,  NULL },
    { PITH__I8,     "I8",       1, 1, NULL, NULL, NULL }, /* see the next part */
};

enum { N_FORMAT = sizeof number_formats / sizeof *number_formats };

PITH_SHARED const pith__format *pith__format_of(int id) {
    for (int i = 0; i < N_FORMAT; i++)
        if (number_formats[i].id == id) return &number_formats[i];
    return NULL;
}

static int lower_case(char c) { return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c; }

PITH_SHARED const pith__format *pith__format_named(const char *name) {
    for (int i = 0; i < N_FORMAT; i++) {
        const char *a = name, *b = number_formats[i].name;
        while (*a && lower_case(*a) == lower_case(*b)) a++, b++;
        if (!*a && !*b) return &number_formats[i];
    }
    return NULL;
}

/* ---- rows of a tensor ------------------------------------------------------------------------ */

/* In llama2.c's version 2 a tensor is first its integers, then its float32 scales, one for each group of
 * integers in the order of the file. So a row's scales do not lie beside it. */
static float i8_scale(const pith__tensor *w, size_t i) {
    float d;
    memcpy(&d, w->scale + i / w->group * sizeof d, sizeof d);
    return d;
}

static void i8_block(const pith__tensor *w, size_t r, size_t b, pith__q32 *y) {
    size_t n = w->cols - 32 * b < 32 ? w->cols - 32 * b : 32;
    memset(y, 0, sizeof *y);
    memcpy(y->q, w->data + r * w->row_bytes + 32 * b, n);
    for (size_t i = 0; i < n; i += 16) y->d[i / 16] = i8_scale(w, r * w->cols + 32 * b + i);
}

/* Dequantizes, with the operations in ggml's order, so with ggml's bits. */
static void block_floats(float y[32], const pith__q32 *x) {
    for (int h = 0; h < 2; h++, y += 16)
        for (int i = 0; i < 16; i++) y[i] = x->d[h] * (float)x->q[16 * h + i] - x->m[h];
}

PITH_SHARED void pith__row_q32(const pith__tensor *w, size_t r, size_t b, pith__q32 *y) {
    if (w->format->unpack) w->format->unpack(y, w->data + r * w->row_bytes, b);
    else i8_block(w, r, b, y);
}

PITH_SHARED size_t pith__tensor_bytes(const pith__tensor *t) {
    size_t scales = t->scale ? t->rows * (t->cols / t->group) * sizeof(float) : 0;
    return t->rows * t->row_bytes + scales;
}

PITH_SHARED void pith__row_floats(const pith__tensor *w, size_t r, float *y) {
    const uint8_t *row = w->data + r * w->row_bytes;
    if (w->format->floats) {
        w->format->floats(y, row, w->cols);
    } else if (w->format->unpack) {
        for (size_t b = 0; b < w->cols / 32; b++) {
            pith__q32 x;
            w->format->unpack(&x, row, b);
            block_floats(y + 32 * b, &x);
        }
    } else {
        for (size_t i = 0; i < w->cols; i++)
            y[i] = (float)(int8_t)row[i] * i8_scale(w, r * w->cols + i);
    }
}

/* Without their signs, floats are in the order of their bits, and NaN is above all others. */
PITH_SHARED float pith__magnitude(const float *x, size_t n) {
    int32_t most = 0; /* as an int: SSE2 has no other maximum, and the compiler no other way to compare */
    for (size_t i = 0; i < n; i++) {
        int32_t a = (int32_t)(bits_of_float(x[i]) & 0x7fffffff);
        most = a > most ? a : most;
    }
    return float_of_bits((uint32_t)most);
}
