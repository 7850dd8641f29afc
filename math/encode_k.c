/* encode_k.c - quantise: floats to super-blocks of 256. Each is the twin of an unpack of quant.c. */
#include "blocks.h"

#include <math.h>
#include <string.h>

typedef struct {
    pith__super_grid grid;
    void (*pack)(void *block, const pith__super *y);
    size_t bytes;
} super_coder;

static int encode_super(void *to, const float *x, size_t n, const float *importance, const super_coder *c) {
    uint8_t *block = to;
    int bad = 0, at_once = PITH__RUNS * c->grid.length / 256;
    while (n > 0) {
        pith__super y[2];
        int n_block = n / 256 < (size_t)at_once ? (int)(n / 256) : at_once;
        pith__fit_super(y, x, importance, n_block, &c->grid);
        for (int k = 0; k < n_block; k++, block += c->bytes) {
            if (y[k].bad) put_half(y[k].d, NAN);
            bad |= y[k].bad;
            c->pack(block, &y[k]);
        }
        x += 256 * n_block;
        if (importance) importance += 256 * n_block;
        n -= 256 * (size_t)n_block;
    }
    return bad;
}

/* Some bits of a group's 32 numbers become bits of a plane, which begins with zeros. */
static void join_plane(uint8_t p[32], const uint8_t q[32], int from, int mask, size_t shift) {
    for (int i = 0; i < 32; i++) p[i] = (uint8_t)(p[i] | (q[i] >> from & mask) << shift);
}

static void q2_k_pack(void *to, const pith__super *y) {
    q2_k_block *block = to;
    memset(block->q, 0, sizeof block->q);
    for (size_t g = 0; g < 8; g++) join_plane(block->q + g / 4 * 32, y->q + 32 * g, 0, 3, g % 4 * 2);
    for (int j = 0; j < 16; j++) block->scale[j] = (uint8_t)(y->scale[j] | y->min[j] << 4);
    memcpy(block->d, y->d, 2);
    memcpy(block->dmin, y->dmin, 2);
}

static void q3_k_pack(void *to, const pith__super *y) {
    q3_k_block *block = to;
    memset(block, 0, sizeof *block);
    for (size_t g = 0; g < 8; g++) {
        join_plane(block->q + g / 4 * 32, y->q + 32 * g, 0, 3, g % 4 * 2);
        join_plane(block->high, y->q + 32 * g, 2, 1, g);
    }
    for (int j = 0; j < 16; j++) {
        int scale = y->scale[j] + 32;
        block->scale[j % 8] = (uint8_t)(block->scale[j % 8] | (scale & 15) << j / 8 * 4);
        block->scale[8 + j % 4] = (uint8_t)(block->scale[8 + j % 4] | scale >> 4 << j / 4 * 2);
    }
    memcpy(block->d, y->d, 2);
}

static void put_k_scales(uint8_t p[12], const pith__super *y) { /* see set_k_scale */
    for (int g = 0; g < 4; g++) {
        int scale = y->scale[g + 4], min = y->min[g + 4];
        p[g]     = (uint8_t)(y->scale[g] | scale >> 4 << 6);
        p[g + 4] = (uint8_t)(y->min[g] | min >> 4 << 6);
        p[g + 8] = (uint8_t)((scale & 15) | (min & 15) << 4);
    }
}

static void q4_k_pack(void *to, const pith__super *y) {
    q4_k_block *block = to;
    memset(block->q, 0, sizeof block->q);
    for (size_t g = 0; g < 8; g++) join_plane(block->q + g / 2 * 32, y->q + 32 * g, 0, 15, g % 2 * 4);
    put_k_scales(block->scale, y);
    memcpy(block->d, y->d, 2);
    memcpy(block->dmin, y->dmin, 2);
}

static void q5_k_pack(void *to, const pith__super *y) {
    q5_k_block *block = to;
    memset(block, 0, sizeof *block);
    for (size_t g = 0; g < 8; g++) {
        join_plane(block->q + g / 2 * 32, y->q + 32 * g, 0, 15, g % 2 * 4);
        join_plane(block->high, y->q + 32 * g, 4, 1, g);
    }
    put_k_scales(block->scale, y);
    memcpy(block->d, y->d, 2);
    memcpy(block->dmin, y->dmin, 2);
}

static void q6_k_pack(void *to, const pith__super *y) {
    q6_k_block *block = to;
    memset(block, 0, sizeof *block);
    for (size_t g = 0; g < 8; g++) {
        join_plane(block->q + (g / 4 * 2 + g % 2) * 32, y->q + 32 * g, 0, 15, g % 4 / 2 * 4);
        join_plane(block->high + g / 4 * 32, y->q + 32 * g, 4, 3, g % 4 * 2);
    }
    for (int j = 0; j < 16; j++) block->scale[j] = (int8_t)y->scale[j];
    memcpy(block->d, y->d, 2);
}

static void iq4_xs_pack(void *to, const pith__super *y) {
    iq4_xs_block *block = to;
    memset(block, 0, sizeof *block);
    for (int g = 0; g < 8; g++) {
        int scale = y->scale[g] + 32;
        for (int i = 0; i < 16; i++)
            block->q[16 * g + i] = (uint8_t)(y->q[32 * g + i] | y->q[32 * g + i + 16] << 4);
        block->low[g / 2] = (uint8_t)(block->low[g / 2] | (scale & 15) << g % 2 * 4);
        block->high[g / 4] = (uint8_t)(block->high[g / 4] | scale >> 4 << g % 4 * 2);
    }
    memcpy(block->d, y->d, 2);
}

PITH_SHARED int pith__q2_k_encode(void *y, const float *x, size_t n, const float *importance) {
    static const super_coder c = { { { 0, 3, NULL, 1, 0, 0.5f, 1, 2, 2 }, 16, 0, 15, 15, 1, 2 },
                                   q2_k_pack, PITH__Q2_K_BYTES };
    return encode_super(y, x, n, importance, &c);
}

PITH_SHARED int pith__q3_k_encode(void *y, const float *x, size_t n, const float *importance) {
    static const super_coder c = { { { -4, 3, NULL, 0, 0, 0.25f, 5, 5, 2 }, 16, -32, 31, 0, 1, 2 },
                                   q3_k_pack, PITH__Q3_K_BYTES };
    return encode_super(y, x, n, importance, &c);
}

PITH_SHARED int pith__q4_k_encode(void *y, const float *x, size_t n, const float *importance) {
    static const super_coder c = { { { 0, 15, NULL, 1, 0, 0.5f, 2, 2, 2 }, 32, 0, 63, 63, 1, 2 },
                                   q4_k_pack, PITH__Q4_K_BYTES };
    return encode_super(y, x, n, importance, &c);
}

PITH_SHARED int pith__q5_k_encode(void *y, const float *x, size_t n, const float *importance) {
    static const super_coder c = { { { 0, 31, NULL, 1, 0, 0.5f, 2, 2, 2 }, 32, 0, 63, 63, 1, 2 },
                                   q5_k_pack, PITH__Q5_K_BYTES };
    return encode_super(y, x, n, importance, &c);
}

PITH_SHARED int pith__q6_k_encode(void *y, const float *x, size_t n, const float *importance) {
    static const super_coder c = { { { -32, 31, NULL, 0, 0, 2, 2, 1, 2 }, 16, -128, 127, 0, 1, 2 },
                                   q6_k_pack, PITH__Q6_K_BYTES };
    return encode_super(y, x, n, importance, &c);
}

PITH_SHARED int pith__iq4_xs_encode(void *y, const float *x, size_t n, const float *importance) {
    static const super_coder c = { { { -127, 113, pith__iq4_values, 0, 0, 6, 3, 3, 2 }, 32, -32, 31, 0, 1, 2 },
                                   iq4_xs_pack, PITH__IQ4_XS_BYTES };
    return encode_super(y, x, n, importance, &c);
}
