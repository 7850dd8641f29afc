/* blocks.h - how blocks of quantised weights lie on disk: quant.c reads them, encode.c and encode_k.c write them.
 *
 * The layouts are from ggml-common.h of llama.cpp; the K formats are its pull request 1684, IQ4_NL 5590,
 * IQ4_XS 5747; MXFP4 is in the OCP Microscaling Formats specification 1.0. Numbers on disk are
 * little-endian, as are the processors this runs on. The structs consist of bytes, so blocks may lie at
 * any address. */
#ifndef PITH_BLOCKS_H
#define PITH_BLOCKS_H

#include "kernels.h"

#include <string.h>

static inline uint16_t half_bits(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return h;
}

static inline float half_at(const uint8_t p[2]) { return pith__f16_to_f32(half_bits(p)); }

/* Writes f as an F16, and returns the value that was written. */
static inline float put_half(uint8_t p[2], float f) {
    uint16_t h = pith__f32_to_f16(f);
    memcpy(p, &h, sizeof h);
    return pith__f16_to_f32(h);
}

/* ---- blocks of 32 ---------------------------------------------------------------------------- */

typedef struct {
    uint8_t d[2];
    int8_t q[32];
} q8_0_block;
_Static_assert(sizeof(q8_0_block) == PITH__Q8_0_BYTES, "layout on disk");

typedef struct {
    uint8_t d[2];
    uint8_t q[16];
} q4_0_block, iq4_nl_block;
_Static_assert(sizeof(q4_0_block) == PITH__Q4_0_BYTES, "layout on disk");
_Static_assert(sizeof(iq4_nl_block) == PITH__IQ4_NL_BYTES, "layout on disk");

typedef struct {
    uint8_t d[2], m[2]; /* this m is added */
    uint8_t q[16];
} q4_1_block;
_Static_assert(sizeof(q4_1_block) == PITH__Q4_1_BYTES, "layout on disk");

typedef struct {
    uint8_t d[2];
    uint8_t fifth[4];
    uint8_t q[16];
} q5_0_block;
_Static_assert(sizeof(q5_0_block) == PITH__Q5_0_BYTES, "layout on disk");

typedef struct {
    uint8_t d[2], m[2]; /* this m is added */
    uint8_t fifth[4];
    uint8_t q[16];
} q5_1_block;
_Static_assert(sizeof(q5_1_block) == PITH__Q5_1_BYTES, "layout on disk");

typedef struct {
    uint8_t exponent;
    uint8_t q[16];
} mxfp4_block;
_Static_assert(sizeof(mxfp4_block) == PITH__MXFP4_BYTES, "layout on disk");

/* ---- super-blocks of 256 --------------------------------------------------------------------- */

/* A super-block has eight groups g of 32 weights. Their bits lie in planes of 32 bytes: byte i holds bits of
 * weight i of several groups. */

typedef struct {
    uint8_t scale[16]; /* one for 16 weights; lower 4 bits: scale, upper 4 bits: minimum */
    uint8_t q[64];     /* 2 planes of 4 groups by 2 bits */
    uint8_t d[2], dmin[2];
} q2_k_block;
_Static_assert(sizeof(q2_k_block) == PITH__Q2_K_BYTES, "layout on disk");

typedef struct {
    uint8_t high[32];  /* a plane of 8 groups by 1 bit */
    uint8_t q[64];     /* 2 planes of 4 groups by 2 bits */
    uint8_t scale[12]; /* 16 of 6 bits: lower 4 bits in 8 bytes as in Q4_0, then upper 2 bits in 4 bytes */
    uint8_t d[2];
} q3_k_block;
_Static_assert(sizeof(q3_k_block) == PITH__Q3_K_BYTES, "layout on disk");

typedef struct {
    uint8_t d[2], dmin[2];
    uint8_t scale[12];
    uint8_t q[128]; /* 4 planes of 2 groups by 4 bits */
} q4_k_block;
_Static_assert(sizeof(q4_k_block) == PITH__Q4_K_BYTES, "layout on disk");

typedef struct {
    uint8_t d[2], dmin[2];
    uint8_t scale[12];
    uint8_t high[32]; /* a plane of 8 groups by 1 bit */
    uint8_t q[128];   /* 4 planes of 2 groups by 4 bits */
} q5_k_block;
_Static_assert(sizeof(q5_k_block) == PITH__Q5_K_BYTES, "layout on disk");

typedef struct {
    uint8_t q[128];   /* 4 planes of 2 groups by 4 bits: 0 and 2, 1 and 3, 4 and 6, 5 and 7 */
    uint8_t high[64]; /* 2 planes of 4 groups by 2 bits */
    int8_t scale[16]; /* of 16 weights each */
    uint8_t d[2];
} q6_k_block;
_Static_assert(sizeof(q6_k_block) == PITH__Q6_K_BYTES, "layout on disk");

typedef struct {
    uint8_t d[2];
    uint8_t high[2]; /* 8 scales of 6 bits: their upper 2 bits; low: their lower 4 */
    uint8_t low[4];
    uint8_t q[128];  /* 16 bytes a group, as in IQ4_NL */
} iq4_xs_block;
_Static_assert(sizeof(iq4_xs_block) == PITH__IQ4_XS_BYTES, "layout on disk");

/* ---- encoders, the rows of the table in quant.c ------------------------------------------------ */

PITH_SHARED int pith__f32_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__f16_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__bf16_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__q8_0_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__q4_0_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__q4_1_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__q5_0_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__q5_1_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__q4_k_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__q6_k_encode(void *y, const float *x, size_t n, const float *importance);

#endif
