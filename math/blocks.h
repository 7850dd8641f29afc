/* blocks.h - how blocks of quantised weights lie on disk: encode.c and encode_k.c write them, quant.c reads them.
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

/* ---- math/fit.c: the search for scales ------------------------------------------------------- */

enum { PITH__RUNS = 16, PITH__RUN = 32 }; /* runs that are fitted side by side; weights of the longest run */

typedef struct {
    float lo, hi;        /* q is an integer from lo to hi */
    const int8_t *table; /* or one of these 16 numbers, from lo to hi; NULL: none */
    int has_min, any_min; /* there is an m; it may be negative */
    float step;          /* between guesses where the ends are */
    int inside, guesses; /* how many of them cut nothing off, and how many do */
    int again;           /* how often rounding and solving alternate */
} pith__grid;

typedef struct {
    pith__grid run;
    int length;                       /* of a run: 16 or 32 */
    int scale_lo, scale_hi, min_hi;   /* of the integers that are the scales and minima of runs */
    int reach, again;
} pith__super_grid;

typedef struct { /* a block of 32 before it is packed: d * (lo + q) + m, or d * table[q] */
    uint8_t d[2], m[2];
    uint8_t q[32];
    int bad; /* a weight was not finite */
} pith__block32;

typedef struct { /* a super-block before it is packed: run j has the scale d * scale and the minimum dmin * min */
    uint8_t d[2], dmin[2];
    int scale[16], min[16];
    uint8_t q[256];
    int bad;
} pith__super;

PITH_SHARED void pith__fit_blocks(pith__block32 *y, const float *x, const float *importance, int n,
                                  const pith__grid *g);
PITH_SHARED void pith__fit_super(pith__super *y, const float *x, const float *importance, int n,
                                 const pith__super_grid *g);

/* ---- encoders, the rows of the table in quant.c ------------------------------------------------ */

PITH_SHARED int pith__f32_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__f16_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__bf16_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__q8_0_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__q4_0_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__q4_1_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__q5_0_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__q5_1_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__q2_k_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__q3_k_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__q4_k_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__q5_k_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__q6_k_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__iq4_nl_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__iq4_xs_encode(void *y, const float *x, size_t n, const float *importance);
PITH_SHARED int pith__mxfp4_encode(void *y, const float *x, size_t n, const float *importance);

#endif
