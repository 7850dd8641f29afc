/* quant.c - number formats: how weights lie on disk, and how to dequantize them.
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
 * encoder. With that it works with all kernels; twins/unpack.inc makes it fast. blocks.h has the layouts on disk. */
#include "blocks.h"
#include "wide.h"

#include <math.h>
#include <string.h>

/* ---- 16-bit floats --------------------------------------------------------------------------- */

static void f32_floats(float *y, const void *x, size_t n) { memcpy(y, x, n * sizeof *y); }

/* Without a branch, so that compilers vectorise it. A multiplication moves the exponent, also that of denormals; for
 * infinity and NaN all its bits are set. */
static void f16_floats(float *y, const void *x, size_t n) {
    const uint8_t *p = x;
    for (size_t i = 0; i < n; i++) {
        uint32_t h = half_bits(p + 2 * i), a = (h & 0x7fff) << 13, over = a >= 0x0f800000 ? 0x7f800000 : 0;
        y[i] = pith__float_of(pith__bits_of(pith__float_of(a) * 0x1p112f) | over | (h & 0x8000) << 16);
    }
}

static void bf16_floats(float *y, const void *x, size_t n) {
    const uint8_t *p = x;
    for (size_t i = 0; i < n; i++) y[i] = pith__bf16_to_f32(half_bits(p + 2 * i));
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

static void q8_0_unpack(pith__q32 *y, const void *row, size_t b) {
    const q8_0_block *x = (const q8_0_block *)row + b;
    memcpy(y->q, x->q, 32);
    set_scale(y, half_at(x->d), 0);
}

static void q4_0_unpack(pith__q32 *y, const void *row, size_t b) {
    const q4_0_block *x = (const q4_0_block *)row + b;
    split_nibbles(y->q, x->q, -8);
    set_scale(y, half_at(x->d), 0);
}

static void q4_1_unpack(pith__q32 *y, const void *row, size_t b) {
    const q4_1_block *x = (const q4_1_block *)row + b;
    split_nibbles(y->q, x->q, 0);
    set_scale(y, half_at(x->d), -half_at(x->m));
}

static void q5_0_unpack(pith__q32 *y, const void *row, size_t b) {
    const q5_0_block *x = (const q5_0_block *)row + b;
    split_nibbles(y->q, x->q, -16);
    add_fifth_bits(y->q, x->fifth);
    set_scale(y, half_at(x->d), 0);
}

static void q5_1_unpack(pith__q32 *y, const void *row, size_t b) {
    const q5_1_block *x = (const q5_1_block *)row + b;
    split_nibbles(y->q, x->q, 0);
    add_fifth_bits(y->q, x->fifth);
    set_scale(y, half_at(x->d), -half_at(x->m));
}

static void iq4_nl_unpack(pith__q32 *y, const void *row, size_t b) {
    const iq4_nl_block *x = (const iq4_nl_block *)row + b;
    look_up_nibbles(y->q, x->q, pith__iq4_values);
    set_scale(y, half_at(x->d), 0);
}

static void mxfp4_unpack(pith__q32 *y, const void *row, size_t b) {
    const mxfp4_block *x = (const mxfp4_block *)row + b;
    look_up_nibbles(y->q, x->q, pith__mxfp4_values);
    set_scale(y, ldexpf(1.0f, x->exponent - 128), 0);
}

/* ---- super-blocks of 256 --------------------------------------------------------------------- */

/* Adds unit times the bits of one group of 32 weights in a plane. */
static void add_plane(int8_t q[32], const uint8_t p[32], size_t shift, int mask, int unit) {
    for (int i = 0; i < 32; i++) q[i] = (int8_t)(q[i] + (p[i] >> shift & mask) * unit);
}

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

static void q4_k_unpack(pith__q32 *y, const void *row, size_t b) {
    const q4_k_block *x = (const q4_k_block *)row + b / 8;
    size_t g = b % 8;
    memset(y->q, 0, 32);
    add_plane(y->q, x->q + g / 2 * 32, g % 2 * 4, 15, 1);
    set_k_scale(y, x->d, x->dmin, x->scale, g);
}

static void q5_k_unpack(pith__q32 *y, const void *row, size_t b) {
    const q5_k_block *x = (const q5_k_block *)row + b / 8;
    size_t g = b % 8;
    memset(y->q, 0, 32);
    add_plane(y->q, x->q + g / 2 * 32, g % 2 * 4, 15, 1);
    add_plane(y->q, x->high, g, 1, 16);
    set_k_scale(y, x->d, x->dmin, x->scale, g);
}

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

static void iq4_xs_unpack(pith__q32 *y, const void *row, size_t b) {
    const iq4_xs_block *x = (const iq4_xs_block *)row + b / 8;
    size_t g = b % 8;
    int scale = (x->low[g / 2] >> g % 2 * 4 & 15) | (x->high[g / 4] >> g % 4 * 2 & 3) << 4;
    look_up_nibbles(y->q, x->q + 16 * g, pith__iq4_values);
    set_scale(y, half_at(x->d) * (float)(scale - 32), 0);
}

/* ---- the table ------------------------------------------------------------------------------- */

static const pith__format number_formats[] = {
    { PITH__F32,    "F32",      1, 4, f32_floats,  NULL, pith__f32_encode },
    { PITH__F16,    "F16",      1, 2, f16_floats,  NULL, pith__f16_encode },
    { PITH__BF16,   "BF16",     1, 2, bf16_floats, NULL, pith__bf16_encode },
    { PITH__Q8_0,   "Q8_0",    32, PITH__Q8_0_BYTES,   NULL, q8_0_unpack,   pith__q8_0_encode },
    { PITH__Q4_0,   "Q4_0",    32, PITH__Q4_0_BYTES,   NULL, q4_0_unpack,   pith__q4_0_encode },
    { PITH__Q4_1,   "Q4_1",    32, PITH__Q4_1_BYTES,   NULL, q4_1_unpack,   pith__q4_1_encode },
    { PITH__Q5_0,   "Q5_0",    32, PITH__Q5_0_BYTES,   NULL, q5_0_unpack,   pith__q5_0_encode },
    { PITH__Q5_1,   "Q5_1",    32, PITH__Q5_1_BYTES,   NULL, q5_1_unpack,   pith__q5_1_encode },
    { PITH__Q2_K,   "Q2_K",   256, PITH__Q2_K_BYTES,   NULL, q2_k_unpack,   pith__q2_k_encode },
    { PITH__Q3_K,   "Q3_K",   256, PITH__Q3_K_BYTES,   NULL, q3_k_unpack,   pith__q3_k_encode },
    { PITH__Q4_K,   "Q4_K",   256, PITH__Q4_K_BYTES,   NULL, q4_k_unpack,   pith__q4_k_encode },
    { PITH__Q5_K,   "Q5_K",   256, PITH__Q5_K_BYTES,   NULL, q5_k_unpack,   pith__q5_k_encode },
    { PITH__Q6_K,   "Q6_K",   256, PITH__Q6_K_BYTES,   NULL, q6_k_unpack,   pith__q6_k_encode },
    { PITH__IQ4_NL, "IQ4_NL",  32, PITH__IQ4_NL_BYTES, NULL, iq4_nl_unpack, pith__iq4_nl_encode },
    { PITH__IQ4_XS, "IQ4_XS", 256, PITH__IQ4_XS_BYTES, NULL, iq4_xs_unpack, pith__iq4_xs_encode },
    { PITH__MXFP4,  "MXFP4",   32, PITH__MXFP4_BYTES,  NULL, mxfp4_unpack,  pith__mxfp4_encode },
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

/* Scales need not lie beside their integers.
 *
 * In llama2.c's version 2 a tensor is first its integers, then its float32 scales, one for each group of
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

PITH_SHARED int pith__is_apart(const pith__tensor *t) { return t->scale && t->format->unpack; }

/* Bytes 0 to 3 of x to bytes 0, 2, 4, 6. */
static inline uint64_t every_other_byte(uint64_t x) {
    x = (x | x << 16) & 0x0000ffff0000ffff;
    return (x | x << 8) & 0x00ff00ff00ff00ff;
}

enum { GATHERED = 16 }; /* blocks that are gathered together */

/* Neighbours share a byte; in a block of GGUF number i and number i + 16 do. Eight bytes at a time, so that compilers make
 * vectors of them. y, exponent: (GATHERED), p: 16 bytes each. */
PITH__LOOPS void gather_blocks(mxfp4_block *y, const uint8_t *p, const uint8_t *exponent) {
    const uint64_t lower = 0x0f0f0f0f0f0f0f0f, half = 0xffffffff;
    uint64_t x[GATHERED][2], q[GATHERED][2];
    memcpy(x, p, sizeof x);
    for (int k = 0; k < GATHERED; k++) {
        uint64_t even = (x[k][0] & lower) | (x[k][1] & lower) << 4, odd = (x[k][0] >> 4 & lower) | (x[k][1] & ~lower);
        q[k][0] = every_other_byte(even & half) | every_other_byte(odd & half) << 8;
        q[k][1] = every_other_byte(even >> 32) | every_other_byte(odd >> 32) << 8;
    }
    for (int k = 0; k < GATHERED; k++) {
        y[k].exponent = exponent[k];
        memcpy(y[k].q, q[k], 16);
    }
}

PITH__WIDE static void gather_wide(mxfp4_block *y, const uint8_t *p, const uint8_t *exponent) { gather_blocks(y, p, exponent); }

/* n blocks: GATHERED at a time, and the rest in memory that has as many. */
static void gather_mxfp4(mxfp4_block *y, const uint8_t *p, const uint8_t *exponent, size_t n) {
    uint8_t last[16 * GATHERED] = { 0 }, exponents[GATHERED] = { 0 };
    mxfp4_block room[GATHERED];
    int wide = PITH__HAS_WIDE();
    for (size_t b = 0; b < n; b += GATHERED) {
        size_t rest = n - b < GATHERED ? n - b : 0;
        if (rest) {
            memcpy(last, p + 16 * b, 16 * rest);
            memcpy(exponents, exponent + b, rest);
        }
        mxfp4_block *to = rest ? room : y + b;
        if (wide) gather_wide(to, rest ? last : p + 16 * b, rest ? exponents : exponent + b);
        else gather_blocks(to, rest ? last : p + 16 * b, rest ? exponents : exponent + b);
        if (rest) memcpy(y + b, room, rest * sizeof *y);
    }
}

PITH_SHARED size_t pith__row_size(const pith__tensor *t) {
    return t->cols / (size_t)t->format->length * (size_t)(pith__is_apart(t) ? t->format->bytes - 1 : t->format->bytes);
}

PITH_SHARED void pith__row_blocks(const pith__tensor *w, size_t r, void *y) {
    const uint8_t *row = w->data + r * w->row_bytes;
    if (!pith__is_apart(w)) memcpy(y, row, w->row_bytes);
    else gather_mxfp4(y, row, w->scale + r * (w->row_bytes / 16), w->cols / 32);
}

/* Numbers 32 b to 32 b + 31 of row r, of a format of blocks. */
static void unpack_block(pith__q32 *y, const pith__tensor *w, size_t r, size_t b) {
    mxfp4_block x;
    if (!pith__is_apart(w)) {
        w->format->unpack(y, w->data + r * w->row_bytes, b);
        return;
    }
    gather_mxfp4(&x, w->data + r * w->row_bytes + 16 * b, w->scale + r * (w->row_bytes / 16) + b, 1);
    w->format->unpack(y, &x, 0);
}

/* Dequantizes, with the operations in ggml's order, so with ggml's bits. */
static void block_floats(float y[32], const pith__q32 *x) {
    for (int h = 0; h < 2; h++, y += 16)
        for (int i = 0; i < 16; i++) y[i] = x->d[h] * (float)x->q[16 * h + i] - x->m[h];
}

PITH_SHARED void pith__row_q32(const pith__tensor *w, size_t r, size_t b, pith__q32 *y) {
    if (w->format->unpack) unpack_block(y, w, r, b);
    else i8_block(w, r, b, y);
}

PITH_SHARED size_t pith__tensor_bytes(const pith__tensor *t) {
    if (pith__is_apart(t)) return t->rows * (t->cols / 32) * PITH__MXFP4_BYTES;
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
            unpack_block(&x, w, r, b);
            block_floats(y + 32 * b, &x);
        }
    } else {
        for (size_t i = 0; i < w->cols; i++)
            y[i] = (float)(int8_t)row[i] * i8_scale(w, r * w->cols + i);
    }
}
