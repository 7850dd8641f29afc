/* encode.c - quantise: floats to blocks. quant.c has the way back, and the table that names both.
 *
 * An encoder takes n numbers, a multiple of its block, and perhaps the importance of each: how much its squared error
 * counts. It returns 0, or 1 where a number is not finite, or too large for the block's scale; all numbers of such a
 * block become NaN, as a wrong result must not look right. A sum has its order, and nothing is fused: the
 * bytes are the same on every processor. */
#include "blocks.h"
#include "wide.h"

#include <math.h>
#include <string.h>

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

/* Without importance most have plain rules, those of llama.cpp: the bytes are the same. The divisions are made before
 * d and m are rounded to 16 bits. With importance there is a search (fit.c). */

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

/* Writes the scale. Returns 1, and makes the block NaN, if it is infinite or NaN, as it is where a weight is. */
static int put_scale(uint8_t d[2], float scale) {
    if (fabsf(put_half(d, scale)) < INFINITY) return 0;
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
        bad |= put_scale(block->d, d);
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

/* d * (lo + q): the weight furthest out, the first of them, becomes lo. */
static void plain_signed(pith__block32 *y, const float *x, const pith__grid *g) {
    block_range r = range_of(x);
    float far = r.max == r.most ? r.max : r.min;
    if (r.most == 0) far = 0; /* not -0 */
    else if (r.min == -r.max)
        for (int i = 32; i-- > 0;) far = fabsf(x[i]) == r.most ? x[i] : far;
    float d = far / g->lo;
    round_block(y->q, x, 0, inverse_of(d), no_inverse(d) ? 0 : -g->lo, (int)(g->hi - g->lo));
    put_half(y->d, d);
    put_half(y->m, 0);
    y->bad = r.bad;
}

/* d * q + m: from the least to the largest weight. */
static void plain_ranged(pith__block32 *y, const float *x, const pith__grid *g) {
    block_range r = range_of(x);
    float d = (r.max - r.min) / g->hi;
    round_block(y->q, x, r.min, inverse_of(d), 0, (int)g->hi);
    put_half(y->d, d);
    put_half(y->m, r.min);
    y->bad = r.bad;
}

typedef struct {
    pith__grid grid;
    void (*plain)(pith__block32 *y, const float *x, const pith__grid *g); /* NULL: always a search */
    void (*pack)(void *block, const pith__block32 *y);
    size_t bytes;
} block_coder;

static int encode_blocks(void *to, const float *x, size_t n, const float *importance, const block_coder *c) {
    uint8_t *block = to;
    int bad = 0;
    while (n > 0) {
        pith__block32 y[PITH__RUNS];
        int n_block = n / 32 < PITH__RUNS ? (int)(n / 32) : PITH__RUNS;
        if (!c->plain || importance) pith__fit_blocks(y, x, importance, n_block, &c->grid);
        else c->plain(y, x, &c->grid), n_block = 1;
        for (int k = 0; k < n_block; k++, block += c->bytes) {
            if (!(fabsf(half_at(y[k].d)) < INFINITY && fabsf(half_at(y[k].m)) < INFINITY)) y[k].bad = 1;
            if (y[k].bad) put_half(y[k].d, NAN);
            bad |= y[k].bad;
            c->pack(block, &y[k]);
        }
        x += 32 * n_block;
        if (importance) importance += 32 * n_block;
        n -= 32 * (size_t)n_block;
    }
    return bad;
}

static void q4_0_pack(void *to, const pith__block32 *y) {
    q4_0_block *block = to;
    memcpy(block->d, y->d, 2);
    join_nibbles(block->q, y->q);
}

static void q4_1_pack(void *to, const pith__block32 *y) {
    q4_1_block *block = to;
    memcpy(block->d, y->d, 2);
    memcpy(block->m, y->m, 2);
    join_nibbles(block->q, y->q);
}

static void q5_0_pack(void *to, const pith__block32 *y) {
    q5_0_block *block = to;
    memcpy(block->d, y->d, 2);
    join_nibbles(block->q, y->q);
    join_fifth_bits(block->fifth, y->q);
}

static void q5_1_pack(void *to, const pith__block32 *y) {
    q5_1_block *block = to;
    memcpy(block->d, y->d, 2);
    memcpy(block->m, y->m, 2);
    join_nibbles(block->q, y->q);
    join_fifth_bits(block->fifth, y->q);
}

PITH_SHARED int pith__q4_0_encode(void *y, const float *x, size_t n, const float *importance) {
    static const block_coder c = { { -8, 7, NULL, 0, 0, 0.5f, 2, 2, 2 }, plain_signed, q4_0_pack, PITH__Q4_0_BYTES };
    return encode_blocks(y, x, n, importance, &c);
}

PITH_SHARED int pith__q4_1_encode(void *y, const float *x, size_t n, const float *importance) {
    static const block_coder c = { { 0, 15, NULL, 1, 1, 0.5f, 2, 2, 2 }, plain_ranged, q4_1_pack, PITH__Q4_1_BYTES };
    return encode_blocks(y, x, n, importance, &c);
}

PITH_SHARED int pith__q5_0_encode(void *y, const float *x, size_t n, const float *importance) {
    static const block_coder c = { { -16, 15, NULL, 0, 0, 0.5f, 2, 2, 2 }, plain_signed, q5_0_pack, PITH__Q5_0_BYTES };
    return encode_blocks(y, x, n, importance, &c);
}

PITH_SHARED int pith__q5_1_encode(void *y, const float *x, size_t n, const float *importance) {
    static const block_coder c = { { 0, 31, NULL, 1, 1, 0.5f, 2, 2, 2 }, plain_ranged, q5_1_pack, PITH__Q5_1_BYTES };
    return encode_blocks(y, x, n, importance, &c);
}

PITH_SHARED int pith__iq4_nl_encode(void *y, const float *x, size_t n, const float *importance) {
    static const block_coder c = { { -127, 113, pith__iq4_values, 0, 0, 6, 3, 3, 2 },
                                   NULL, q4_0_pack, PITH__IQ4_NL_BYTES };
    return encode_blocks(y, x, n, importance, &c);
}

static const float mxfp4_edge[7] = { 0.5f, 1.5f, 2.5f, 3.5f, 5, 7, 10 }; /* between the magnitudes of the table */

/* The error of 32 weights for a scale. Loops without conditions, so that compilers make vectors of them. */
PITH__LOOPS float mxfp4_squares(const float *x, const float *importance, float d) {
    static const float step[7] = { 1, 1, 1, 1, 2, 2, 4 };
    float e[32], error[8] = { 0 };
    for (int i = 0; i < 32; i++) {
        float a = fabsf(x[i]) / d, q = 0;
        for (int j = 0; j < 7; j++) q += a > mxfp4_edge[j] ? step[j] : 0;
        e[i] = d * (q - a);
    }
    for (int i = 0; i < 32; i += 8)
        for (int k = 0; k < 8; k++) error[k] += (importance ? importance[i + k] : 1) * e[i + k] * e[i + k];
    return ((error[0] + error[4]) + (error[1] + error[5])) + ((error[2] + error[6]) + (error[3] + error[7]));
}

PITH__WIDE static float mxfp4_error_wide(const float *x, const float *importance, float d) {
    return mxfp4_squares(x, importance, d);
}

static float mxfp4_error(const float *x, const float *importance, float d) {
    return PITH__HAS_WIDE() ? mxfp4_error_wide(x, importance, d) : mxfp4_squares(x, importance, d);
}

static void mxfp4_round(uint8_t q[32], const float *x, float d) {
    for (int i = 0; i < 32; i++) {
        float a = fabsf(x[i]) / d;
        int k = 0;
        for (int j = 0; j < 7; j++) k += a > mxfp4_edge[j];
        q[i] = (uint8_t)(k && x[i] < 0 ? k + 8 : k);
    }
}

/* The largest weight lies between 2^(power-1) and 2^power. Three scales are tried: the first cuts nothing off. */
PITH_SHARED int pith__mxfp4_encode(void *y, const float *x, size_t n, const float *importance) {
    mxfp4_block *block = y;
    int bad = 0;
    for (; n; n -= 32, x += 32, block++) {
        float most = pith__magnitude(x, 32), least = INFINITY;
        int power = 0, wrong = !(most < INFINITY);
        uint8_t q[32];
        memset(q, wrong ? 7 : 0, sizeof q);
        if (wrong) most = 0;
        frexpf(most, &power);
        block->exponent = wrong ? 255 : 0; /* there is no NaN here: all weights become infinite */
        for (int e = power + 125; most > 0 && e > power + 122; e--) {
            int code = e < 0 ? 0 : e;
            float error = mxfp4_error(x, importance, ldexpf(1, code - 128));
            if (!(error < least) && e < power + 125) continue;
            least = error;
            block->exponent = (uint8_t)code;
        }
        if (most > 0) mxfp4_round(q, x, ldexpf(1, block->exponent - 128));
        join_nibbles(block->q, q);
        bad |= wrong;
        if (importance) importance += 32;
    }
    return bad;
}
