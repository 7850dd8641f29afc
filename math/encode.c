/* encode.c - quantise: floats to blocks. quant.c has the way back, and the table that names both.
 *
 * An encoder takes n numbers, a multiple of its block, and perhaps the importance of each: how much its squared error
 * counts. It returns 0, or 1 where a number is not finite, or too large for the block's scale; all numbers of such a
 * block become NaN, as a wrong result must not look right. A sum has its order, and nothing is fused: the
 * bytes are the same on every processor. */
#include "blocks.h"

#include <math.h>
#include <string.h>

/* Most weights are near zero, so these 16 values are closer together there. */
PITH_SHARED const int8_t pith__iq4_values[16] = { -127, -104, -83, -65, -49, -35, -22, -10,
                                                   1, 13, 25, 38, 53, 69, 89, 113 };

/* Floats of 4 bits: sign, 2 bits of exponent, 1 of fraction. The table has them times two, as integers, and
 * no minus zero. So the scale is halved; it is a power of two, stored as its exponent with bias 127. */
PITH_SHARED const int8_t pith__mxfp4_values[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

/* Without their signs, floats are in the order of their bits, and NaN is above all others. */
PITH_SHARED float pith__magnitude(const float *x, size_t n) {
    int32_t most = 0; /* as an int: SSE2 has no other maximum, and the compiler no other way to compare */
    for (size_t i = 0; i < n; i++) {
        int32_t a = (int32_t)(pith__bits_of(x[i]) & 0x7fffffff);
        most = a > most ? a : most;
    }
    return pith__float_of((uint32_t)most);
}

/* ---- floats ---------------------------------------------------------------------------------- */

PITH_SHARED int pith__f32_encode(void *y, const float *x, size_t n, const float *importance) {
    (void)importance;
    memcpy(y, x, n * sizeof *x);
    return !(pith__magnitude(x, n) < INFINITY);
}

PITH_SHARED int pith__f16_encode(void *y, const float *x, size_t n, const float *importance) {
    uint8_t *p = y;
    uint16_t bad = 0;
    (void)importance;
    for (size_t i = 0; i < n; i++) {
        uint16_t h = pith__f32_to_f16(x[i]);
        memcpy(p + 2 * i, &h, sizeof h);
        bad |= (h & 0x7c00) == 0x7c00;
    }
    return bad;
}

PITH_SHARED int pith__bf16_encode(void *y, const float *x, size_t n, const float *importance) {
    uint8_t *p = y;
    uint16_t bad = 0;
    (void)importance;
    for (size_t i = 0; i < n; i++) {
        uint16_t h = pith__f32_to_bf16(x[i]);
        memcpy(p + 2 * i, &h, sizeof h);
        bad |= (h & 0x7f80) == 0x7f80;
    }
    return bad;
}

/* ---- blocks of 32 ---------------------------------------------------------------------------- */

/* These have plain rules, those of llama.cpp: the bytes are the same. The divisions are made before d and m are
 * rounded to 16 bits. */

typedef struct {
    float min, max, most; /* most: the largest magnitude */
    int bad;              /* a number is not finite */
} block_range;

static block_range range_of(const float *x) {
    block_range y = { x[0], x[0], pith__magnitude(x, 32), 0 };
    for (int i = 0; i < 32; i++) y.min = x[i] < y.min ? x[i] : y.min;
    for (int i = 0; i < 32; i++) y.max = x[i] > y.max ? x[i] : y.max;
    y.bad = !(y.most < INFINITY);
    return y;
}

/* Where 1 / d would be infinite, d is 0 in 16 bits too: all weights are 0, whatever their q. */
static int no_inverse(float d) { return d != 0 && !(fabsf(1 / d) < INFINITY); }

static float inverse_of(float d) { return d == 0 || no_inverse(d) ? 0 : 1 / d; }

/* Writes the scale. Returns 1, and makes the block NaN, if it cannot hold its numbers. */
static int put_scale(uint8_t d[2], float scale, int bad) {
    float written = put_half(d, scale);
    if (!bad && fabsf(written) < INFINITY) return 0;
    put_half(d, NAN);
    return 1;
}

PITH_SHARED int pith__q8_0_encode(void *y, const float *x, size_t n, const float *importance) {
    q8_0_block *block = y;
    int bad = 0;
    (void)importance; /* 255 steps are fine enough without a search, and the KV cache needs speed */
    for (; n; n -= 32, x += 32, block++) {
        block_range r = range_of(x);
        float d = r.most / 127, inverse = inverse_of(d), v[32];
        bad |= put_scale(block->d, d, r.bad);
        for (int i = 0; i < 32; i++) v[i] = r.bad ? 0 : x[i] * inverse;
        for (int i = 0; i < 32; i++) { /* to nearest, halves away from 0 */
            int q = (int)v[i];
            float rest = v[i] - (float)q;
            block->q[i] = (int8_t)(q + (rest >= 0.5f) - (rest <= -0.5f));
        }
    }
    return bad;
}

/* q from 0 to most: what is nearest to (x - start) * inverse + from. */
static void round_block(uint8_t q[32], const float *x, float start, float inverse, float from, int most) {
    float v[32];
    for (int i = 0; i < 32; i++) v[i] = (x[i] - start) * inverse + (from + 0.5f);
    for (int i = 0; i < 32; i++) v[i] = v[i] > 0 ? v[i] : 0; /* NaN too */
    for (int i = 0; i < 32; i++) v[i] = v[i] < (float)most ? v[i] : (float)most;
    for (int i = 0; i < 32; i++) q[i] = (uint8_t)(int)v[i];
}

static void join_nibbles(uint8_t p[16], const uint8_t q[32]) {
    for (int i = 0; i < 16; i++) p[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
}

static void join_fifth_bits(uint8_t p[4], const uint8_t q[32]) {
    memset(p, 0, 4);
    for (int i = 0; i < 32; i++) p[i / 8] = (uint8_t)(p[i / 8] | q[i] >> 4 << i % 8);
}

/* d * (q - half): the weight furthest out, the first of them, becomes -half. Returns 1 if the block is NaN. */
static int signed_block(uint8_t d[2], uint8_t q[32], const float *x, int half) {
    block_range r = range_of(x);
    float far = r.max == r.most ? r.max : r.min;
    if (r.most == 0) far = 0; /* not -0 */
    else if (r.min == -r.max) /* the first of them */
        for (int i = 32; i-- > 0;) far = fabsf(x[i]) == r.most ? x[i] : far;
    float scale = far / (float)-half;
    round_block(q, x, 0, inverse_of(scale), no_inverse(scale) ? 0 : (float)half, 2 * half - 1);
    return put_scale(d, scale, r.bad);
}

/* d * q + m: from the least to the largest weight. */
static int ranged_block(uint8_t d[2], uint8_t m[2], uint8_t q[32], const float *x, int most) {
    block_range r = range_of(x);
    float scale = (r.max - r.min) / (float)most;
    round_block(q, x, r.min, inverse_of(scale), 0, most);
    return put_scale(m, r.min, r.bad) | put_scale(d, scale, r.bad);
}

PITH_SHARED int pith__q4_0_encode(void *y, const float *x, size_t n, const float *importance) {
    q4_0_block *block = y;
    uint8_t q[32];
    int bad = 0;
    (void)importance;
    for (; n; n -= 32, x += 32, block++) {
        bad |= signed_block(block->d, q, x, 8);
        join_nibbles(block->q, q);
    }
    return bad;
}

PITH_SHARED int pith__q5_0_encode(void *y, const float *x, size_t n, const float *importance) {
    q5_0_block *block = y;
    uint8_t q[32];
    int bad = 0;
    (void)importance;
    for (; n; n -= 32, x += 32, block++) {
        bad |= signed_block(block->d, q, x, 16);
        join_nibbles(block->q, q);
        join_fifth_bits(block->fifth, q);
    }
    return bad;
}

PITH_SHARED int pith__q4_1_encode(void *y, const float *x, size_t n, const float *importance) {
    q4_1_block *block = y;
    uint8_t q[32];
    int bad = 0;
    (void)importance;
    for (; n; n -= 32, x += 32, block++) {
        bad |= ranged_block(block->d, block->m, q, x, 15);
        join_nibbles(block->q, q);
    }
    return bad;
}

PITH_SHARED int pith__q5_1_encode(void *y, const float *x, size_t n, const float *importance) {
    q5_1_block *block = y;
    uint8_t q[32];
    int bad = 0;
    (void)importance;
    for (; n; n -= 32, x += 32, block++) {
        bad |= ranged_block(block->d, block->m, q, x, 31);
        join_nibbles(block->q, q);
        join_fifth_bits(block->fifth, q);
    }
    return bad;
}

/* ---- a search for scales --------------------------------------------------------------------- */

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

/* ---- super-blocks of 256 --------------------------------------------------------------------- */

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
static int fit_super(super_block *best, const float *x, const super_grid *g) {
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
    if (least < INFINITY) return 0;
    put_half(best->d, NAN);
    return 1;
}

PITH_SHARED int pith__q4_k_encode(void *y, const float *x, size_t n, const float *importance) {
    int bad = 0;
    (void)importance;
    static const super_grid grid = { { 0, 15, 1, 0, 0.5f }, 32, 0, 63, 63 };
    q4_k_block *block = y;
    for (; n; n -= 256, x += 256, block++) {
        super_block s;
        bad |= fit_super(&s, x, &grid);
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
    return bad;
}

PITH_SHARED int pith__q6_k_encode(void *y, const float *x, size_t n, const float *importance) {
    int bad = 0;
    (void)importance;
    static const super_grid grid = { { -32, 31, 0, 0, 2 }, 16, -128, 127, 0 };
    q6_k_block *block = y;
    for (; n; n -= 256, x += 256, block++) {
        super_block s;
        bad |= fit_super(&s, x, &grid);
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
    return bad;
}
