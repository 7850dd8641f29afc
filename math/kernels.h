/* kernels.h - number formats and the arithmetic. The letters and rules are in base/base.h. */
#ifndef PITH_KERNELS_H
#define PITH_KERNELS_H

#include "../base/base.h"

#include <string.h>

/* ---- 16-bit floats ------------------------------------------------------------------------------- */

static inline float pith__float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline uint32_t pith__bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

/* binary16: sign, 5 bits of exponent with bias 15, 10 of fraction. */
static inline float pith__f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023;
    if (exponent == 0) /* zero and denormals: fraction * 2^-24 */
        return pith__float_of(sign | pith__bits_of((float)(int)fraction * 0x1p-24f));
    exponent = exponent == 31 ? 255 : exponent + 127 - 15; /* 31: infinity and NaN */
    return pith__float_of(sign | exponent << 23 | fraction << 13);
}

static inline uint16_t pith__f32_to_f16(float f) { /* to nearest even */
    uint32_t u = pith__bits_of(f), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    if (a > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff)); /* NaN, made quiet */
    if (a >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 and more: infinity */
    if (a < 0x38800000) { /* under 2^-14: when 0.5 is added, the processor rounds to units of 2^-24 */
        uint32_t units = pith__bits_of(pith__float_of(a) + 0.5f) - pith__bits_of(0.5f);
        return (uint16_t)(sign | units);
    }
    a += 0xfff + (a >> 13 & 1); /* adds just under one half of the last place; at half, an odd last bit rounds up */
    return (uint16_t)(sign | (a - ((127u - 15) << 23)) >> 13);
}

/* bfloat16: the upper 16 bits of a float. */
static inline float pith__bf16_to_f32(uint16_t h) { return pith__float_of((uint32_t)h << 16); }

static inline uint16_t pith__f32_to_bf16(float f) { /* to nearest even */
    uint32_t u = pith__bits_of(f);
    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 64); /* NaN stays one */
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* ---- math/fit.c, encode.c, encode_k.c: quantise (blocks.h has the rest) --------------------------- */

PITH_SHARED float pith__magnitude(const float *x, size_t n); /* the largest of |x|; NaN where there is one */

/* ---- math/quant.c: number formats, one row each -------------------------------------------------- */

/* GGUF's type numbers, and PITH__I8 for llama2.c's version 2. The scales of PITH__I8 do not lie beside its
 * integers, so it has neither floats nor unpack: read it with pith__row_floats or pith__row_q32. */
enum {
    PITH__F32 = 0, PITH__F16 = 1, PITH__Q4_0 = 2, PITH__Q4_1 = 3, PITH__Q5_0 = 6, PITH__Q5_1 = 7,
    PITH__Q8_0 = 8, PITH__Q2_K = 10, PITH__Q3_K = 11, PITH__Q4_K = 12, PITH__Q5_K = 13,
    PITH__Q6_K = 14, PITH__IQ4_NL = 20, PITH__IQ4_XS = 23, PITH__BF16 = 30, PITH__MXFP4 = 39,
    PITH__I8 = 1000
};

/* Bytes of a block on disk; blocks.h has the structs. */
enum {
    PITH__Q4_0_BYTES = 18, PITH__Q4_1_BYTES = 20, PITH__Q5_0_BYTES = 22, PITH__Q5_1_BYTES = 24,
    PITH__Q8_0_BYTES = 34, PITH__IQ4_NL_BYTES = 18, PITH__MXFP4_BYTES = 17, /* 32 numbers each */
    PITH__Q2_K_BYTES = 84, PITH__Q3_K_BYTES = 110, PITH__Q4_K_BYTES = 144, PITH__Q5_K_BYTES = 176,
    PITH__Q6_K_BYTES = 210, PITH__IQ4_XS_BYTES = 136 /* 256 numbers each */
};

/* The integers that 4 bits stand for. */
PITH_SHARED_DATA const int8_t pith__iq4_values[16], pith__mxfp4_values[16];

/* 32 quantised weights of any format: weight i is d[i / 16] * q[i] - m[i / 16]. */
typedef struct {
    int8_t q[32];
    float  d[2], m[2];
} pith__q32;

typedef struct {
    int id;            /* PITH__Q4_K */
    const char *name;  /* "Q4_K" */
    int length, bytes; /* numbers in a block on disk, and its bytes */
    void (*floats)(float *y, const void *x, size_t n); /* formats without integers: n numbers */
    void (*unpack)(pith__q32 *y, const void *row, size_t b); /* dequantize: with integers, 32 numbers from 32 b on */
    /* Quantise n numbers, a multiple of length. importance: (n), how much each squared error counts; NULL: all alike.
     * 1: a number was not finite or too large, and its block is NaN now. NULL: the format is read only. */
    int (*encode)(void *y, const float *x, size_t n, const float *importance);
} pith__format;

/* A named array of numbers, where it lies in the file. A vector is a matrix of one row. */
typedef struct {
    pith__str name;            /* GGUF's name, whatever the file: "blk.0.attn_q.weight" */
    const pith__format *format;
    int n_dim;
    uint64_t shape[4];         /* slowest first: (rows, cols), (experts, rows, cols) */
    size_t rows, cols;         /* the product of all dimensions but the last; the last */
    const uint8_t *data;       /* rows * row_bytes bytes */
    size_t row_bytes;          /* from one row to the next */
    /* PITH__I8: a little-endian float32 for each group numbers. MXFP4 of a Hugging Face folder: the exponents of blocks,
     * row_bytes / 16 from one row to the next; in 16 bytes of data numbers 2 i and 2 i + 1 share byte i. Else NULL. */
    const uint8_t *scale;
    size_t group;
    const uint8_t *panels;     /* its rows once more, 16 by 16, as a kernel set's matmul of many tokens has them; NULL: not kept */
    int used;                  /* 1: a model has it for a part of its own */
} pith__tensor;

PITH_SHARED const pith__format *pith__format_of(int id);       /* NULL: unknown */
PITH_SHARED const pith__format *pith__format_named(const char *name); /* any case; NULL: unknown */
PITH_SHARED size_t   pith__tensor_bytes(const pith__tensor *t); /* in the file, scales too */
PITH_SHARED size_t   pith__row_size(const pith__tensor *t); /* bytes of the numbers of a row; others may lie before the next one */
PITH_SHARED int      pith__is_apart(const pith__tensor *t); /* 1: MXFP4 of a Hugging Face folder */
PITH_SHARED void pith__row_blocks(const pith__tensor *w, size_t r, void *y); /* as GGUF has them */
PITH_SHARED void pith__row_floats(const pith__tensor *w, size_t r, float *y); /* y: (cols) */
/* Numbers 32 b to 32 b + 31 of row r; zeros follow the last column. For formats of integers, and for I8 whose
 * groups are a multiple of 16. */
PITH_SHARED void pith__row_q32(const pith__tensor *w, size_t r, size_t b, pith__q32 *y);

/* ---- math/kernels.c, math/twins/: the arithmetic ------------------------------------------------- */

typedef struct pith__kernels pith__kernels;

enum { PITH__FEW = 63 }; /* the most tokens that twins/panels.inc multiplies as few */

/* The inputs (activations) of one or more matmuls. Quantised weights need quantised inputs: 32 numbers share a
 * scale, the largest magnitude among them over 127. n_block = cols / 32, rounded up. With PITH__I8 weights, group
 * numbers share a scale and d is (n, cols / group); unless group is 32, each kernel uses sum in its own way. */
typedef struct {
    const float *x; /* (n, cols) */
    int n;
    size_t cols;
    int8_t *q;      /* (n, n_block, 32) with zeros past cols; the caller provides the room, also of d and sum */
    float *d;       /* (n, n_block) scales */
    int32_t *sum;   /* (n, 2, n_block) sums of q over half blocks; they multiply the minima m of the weights */
    size_t group;   /* what q was quantised with; 0: not yet */
    void *tiles;    /* inputs of many tokens in a kernel's own layout; room for pith__tiles_bytes */
    const pith__format *arranged; /* the weights' format that tiles are for; NULL: none yet */
} pith__input;

typedef struct {
    float *y;       /* (n, stride), columns from r on */
    size_t stride;
    const pith__tensor *w;
    const pith__input *in;
} pith__product;

/* An attention mask is a value: which positions a token sees. */
typedef struct {
    int causal; /* 1: none after its own; 0: those after it as well as those before it */
    int window; /* at most so many to one side, its own included; 0: all */
    int chunk;  /* 1: none outside its own chunk of the text, each of window positions (Llama 4) */
} pith__mask;

typedef struct { /* positions of a text; both ends are included */
    int first, last;
} pith__span;

/* What the token at a position sees of a text of n positions. Which positions these are is decided only here; who
 * sizes caches and scratch memory, or rewinds, reads mask.window too. */
static inline pith__span pith__sees(pith__mask m, int position, int n) {
    pith__span s = { 0, m.causal ? position : n - 1 };
    if (m.window && m.window <= position) s.first = position - m.window + 1;
    if (m.chunk) s.first = position - position % m.window;
    if (m.window && !m.causal && m.window < n - position) s.last = position + m.window - 1;
    return s;
}

/* Attention of n new tokens over the KV cache of one layer. A kv head has two planes in the cache:
 *   keys    (n_slot / 16, head_dim, 16): 16 positions side by side, so that a kernel computes 16 scores at once;
 *   values  (n_slot, head_dim).
 * Position u lies in slot u % n_slot. n_slot is a multiple of 16; it holds the whole text, or the window and n - 1
 * positions more. Unwritten slots hold zeros. In Q8_0, head_dim is a multiple of 32, values are plain Q8_0 blocks,
 * and every 32 channels of 16 keys are 16 f16 scales followed by (32, 16) int8.
 * Where a value is a part of its key (latent attention: DeepSeek-AI 2024, arXiv:2405.04434), there is one plane, of rows. */
typedef struct {
    const float *q;      /* (n, n_head, head_dim) */
    float *y;            /* (n, n_head, head_dim or latent) */
    const uint8_t *k, *v; /* (n_kv_head, plane bytes) */
    int latent;          /* 0, or: there is no k. A key is a row of v, (n_slot, head_dim), whose first latent numbers are the value */
    size_t k_plane, v_plane;
    const pith__format *k_format, *v_format; /* F32, F16 or Q8_0 */
    int n, position;     /* how many new tokens; the position of the first */
    int n_head, n_kv_head, head_dim, n_slot;
    pith__mask mask;
    double scale;        /* a score is q.k * scale */
    float softcap;       /* c > 0: a score becomes c * tanh(score / c) */
    const float *bias;   /* (n_head, PITH__BIASES) added to a score, by how far the key is from the query; NULL: none */
    const float *sinks;  /* (n_head) a score that takes part in the softmax, for a key without a value; NULL: none */
    /* Set by pith__attend: the number of its first task, of all attentions together; which parts its tokens see; and room for
     * what they give, where they are tasks of their own, or NULL. */
    size_t first_task;
    int first_part, n_part;
    float *parts;
} pith__attention;

/* What a token sees is taken in parts, which begin at multiples of PITH__PART. Each has a softmax of its own, and then the
 * parts are joined, the earliest first, by what their scores add up to (Flash-Decoding: Dao et al. 2023). So the bits are the
 * same whoever computes which of them. */
enum { PITH__PART = 1024 }; /* positions */

typedef struct { /* tokens t0 to t1, all query heads of one kv head, and no positions but these */
    int t0, t1, kv_head;
    pith__span within;
    float *y;            /* (t1 - t0, stride): the mean values of their heads */
    size_t stride;
    float *weight;       /* (t1 - t0, n_rep, 2): the largest score m, and the sum of e^(score - m); that is 0 where none is seen */
} pith__attend_part;

/* A row of biases is for keys from PITH__FAR + 16 before the query to PITH__FAR + 15 behind it; those that are further than
 * PITH__FAR are all alike, so sixteen keys have sixteen biases side by side wherever they are. */
enum { PITH__FAR = 128, PITH__BIASES = 2 * PITH__FAR + 32 };

/* Those of 16 keys from u on, for head h of the query at this position. */
static inline const float *pith__biases(const pith__attention *a, int h, int position, int u) {
    int apart = u - position;
    apart = apart < -PITH__FAR - 16 ? -PITH__FAR - 16 : apart > PITH__FAR ? PITH__FAR : apart;
    return a->bias + (size_t)h * PITH__BIASES + (apart + PITH__FAR + 16);
}

/* math/recurrent.c: a depthwise convolution of a text's tokens: y[t][c] = bias[c] + the sum of w[c][j] x[t - n_tap + 1 + j][c],
 * from j = 0 on. Inputs before the first token are in state: tokens one by one give the same bits. y is not x. */
typedef struct {
    const float *x;      /* (n, x_row), of which n_channel are convolved */
    float *y;            /* (n, n_channel) */
    size_t x_row, n_channel, n_tap;
    const float *w;      /* (n_channel, n_tap) */
    const float *bias;   /* (n_channel) or NULL */
    float *state;        /* (n_tap - 1, n_channel) the oldest first */
} pith__convolution;
PITH_SHARED void pith__convolve_portable(const pith__convolution *v, size_t t0, size_t t1);
/* to becomes what state must be after n tokens; it may be state. */
PITH_SHARED void pith__convolution_state(const pith__convolution *v, size_t n, float *to);

/* Input t of the tokens at hand; before the first of them (t < 0) of those that the state has. */
static inline const float *pith__input_at(const pith__convolution *v, ptrdiff_t t) {
    if (t >= 0) return v->x + (size_t)t * v->x_row;
    return v->state + (size_t)(t + (ptrdiff_t)v->n_tap - 1) * v->n_channel;
}

/* n tokens of one head of Mamba-2: with fade = e^(rate step), S = fade S + step b x^T; y = S^T c + skip x. */
typedef struct {
    const float *x, *b, *c; /* (n, x_row): wide, rows and rows numbers of it */
    const float *step;   /* (n, step_row): one number of it */
    float *y;            /* (n, y_row): wide numbers of it */
    size_t x_row, step_row, y_row, n, rows, wide;
    float rate, skip;
    float *state;        /* S (rows, wide) */
} pith__scan_head;
PITH_SHARED void pith__mamba_portable(const pith__scan_head *h);

/* math/delta.c: the gated delta rule, of n new tokens of a text: pith__delta_portable. A head has a state (dk, dv), which lies in blocks of
 * 16 columns, so that one stays in the nearest cache for all tokens. The columns that fill up the last block stay 0. */
enum { PITH__DELTA_COLUMNS = 16 };

typedef struct {
    const float *q, *k;  /* (n, stride) each row begins with (n_k_head, dk) */
    const float *v;      /* (n, stride) each row begins with (n_head, dv) */
    size_t stride;
    const float *decay, *beta; /* (n, n_head) */
    float *y;            /* (n, n_head, dv) */
    float *state;        /* (n_head, blocks, dk, 16); zeros before the first token of a text */
    int n, n_head, n_k_head, dk, dv;
    int in_turn;         /* 1: head h reads key head h % n_k_head (GGUF), 0: as in grouped queries (Hugging Face) */
} pith__delta;

static inline size_t pith__delta_blocks(int dv) { return ((size_t)dv + PITH__DELTA_COLUMNS - 1) / PITH__DELTA_COLUMNS; }

static inline float *pith__delta_block(const pith__delta *d, size_t head, size_t block) {
    return d->state + (head * pith__delta_blocks(d->dv) + block) * (size_t)d->dk * PITH__DELTA_COLUMNS;
}

static inline size_t pith__delta_key(const pith__delta *d, size_t head) { /* where its query and key are in a row */
    size_t n = (size_t)d->n_k_head;
    return (d->in_turn ? head % n : head / ((size_t)d->n_head / n)) * (size_t)d->dk;
}
PITH_SHARED void pith__delta_portable(const pith__delta *d, size_t head, size_t block);
/* x (n) becomes scale x / sqrt(the sum of its squares + eps). */
PITH_SHARED void pith__unit(const pith__kernels *k, float *x, size_t n, float eps, float scale);

/* For search: what a question needs of vectors, found in one reading of them, because memory is the limit. */
typedef struct {
    const float *x;      /* (n, cols) */
    const float *question; /* (cols) */
    size_t cols;
    float *y;            /* (n) their dot products with the question */
    uint32_t *bits;      /* (n) the sums of their numbers taken as integers: no change of one number leaves its sum */
} pith__scan;

enum { PITH__SILU, PITH__GELU, PITH__GELU_ERF, PITH__RELU, PITH__RELU2, PITH__TANH, PITH__XIELU }; /* the last is no kernel: experts.c;  GELU in its tanh form, as in Gemma; and the exact one, as in BERT. RELU2: ReLU squared */

/* y (m, n) = a (m, n_k) b (n_k, n), or, with add, y += a b: the products of the backward pass. Number (i, k) of a
 * is a[i * a_row + k * a_col], so a may be a transpose. A sum over k runs from the first to the last.
 *
 * With pairs, a and b hold words of two numbers in BF16, those of k = 2 p and, in the upper half, 2 p + 1; n_k and the
 * rows count words. Of a pair the second product is added first, as the instruction of avx512bf16 does. A product of two
 * BF16 numbers is exact in a float, so all kernel sets give the same sums, but where a number is under 2^-126. */
enum { PITH__PANEL = 32 }; /* columns of b that lie side by side where it is laid out anew */

typedef struct {
    float *y;
    size_t y_row;
    const void *a; /* floats, or words */
    size_t a_row, a_col;
    const void *b;
    size_t b_row;
    size_t m, n, n_k;
    int add, pairs;
} pith__outer;

/* A kernel set: one for each family of processors. Portable C is the text to read; the others compute the same,
 * faster. Within a set the result for a token does not depend on how many tokens are computed together, because
 * every sum has one order (tests/t_order.c). In a dot product number i (for integers block i of 32) is added to
 * lane i % 16, and the lanes are added as a fixed tree: i + i+8, then +4, +2, +1. */
struct pith__kernels {
    const char *name;
    void (*quantize)(pith__input *in, int t); /* row t of x to q, d and sum, in groups of in->group */
    size_t (*tile_size)(const pith__tensor *w, size_t n); /* tokens in a tile; 0: n tokens need no tiles */
    void (*arrange)(pith__input *in, const pith__format *f, size_t i); /* fills tile i */
    size_t (*panel_bytes)(const pith__tensor *w); /* of 16 rows as w->panels has them; 0: they cannot be kept */
    void (*pack)(const pith__tensor *w, size_t r, uint8_t *to); /* fills the panel of rows r to r + 16 */
    void (*matmul)(const pith__product *p, size_t r0, size_t r1, void *scratch); /* rows r0 to r1 */
    void (*attend)(const pith__attention *a, const pith__attend_part *part, float *scratch); /* scratch: room for pith__attend_scratch */
    float (*dot)(const float *a, const float *b, size_t n);
    void (*scan)(const pith__scan *s, size_t r0, size_t r1); /* vectors r0 to r1 */
    void (*rmsnorm)(float *y, const float *x, const float *w, size_t n, float eps); /* w NULL: ones */
    void (*layernorm)(float *y, const float *x, const float *w, const float *b, size_t n, float eps); /* b NULL: zeros */
    void (*add)(float *y, const float *x, const float *f, float scale, size_t n); /* y = x + scale f */
    void (*rope)(float *x, const float *cs, int n_rot, int half); /* one head; cs: (n_rot / 2, 2) cos, sin */
    void (*gate)(float *y, const float *gate, const float *up, size_t n, int act); /* act(gate) * up; up NULL: ones */
    void (*softmax)(float *x, size_t n);
    void (*delta)(const pith__delta *d, size_t head, size_t block); /* a block of columns of one head, and its state */
    void (*convolve)(const pith__convolution *v, size_t t0, size_t t1); /* tokens t0 to t1 */
    void (*mamba)(const pith__scan_head *h);
    void (*outer)(const pith__outer *p);
    /* Words of pairs: of n numbers of a row, (n + 1) / 2 words; or n words of two rows, in f (F32 or BF16); next NULL: zeros.
     * Of those, PITH__PANEL lie side by side, and the next ones are apart words further. */
    void (*pair_row)(uint32_t *to, const float *x, size_t n);
    void (*pair_rows)(uint32_t *to, size_t apart, const void *x, const void *next, size_t n, const pith__format *f);
    void (*d_gate)(float *d_gate, float *d_up, const float *dy, const float *gate, const float *up, size_t n,
                   int act); /* the gradient of gate */
    /* Peak benchmark: *n multiply-adds on registers, of the kind that matmul uses for this format. The return
     * value only stops the compiler from removing the loop. */
    float (*peak_flops)(const pith__format *f, size_t *n);
    int fast_pairs;      /* 1: products of pairs take half as long as those of floats */
};

/* name NULL: the fastest. The answer is NULL if this processor has no such set. */
PITH_SHARED const pith__kernels *pith__portable(const char *name);
PITH_SHARED const pith__kernels *pith__x86(const char *name);
PITH_SHARED const pith__kernels *pith__arm(const char *name);

/* A thread's scratch has room for matmul_scratch of the widest matrix and for attend_scratch of the longest cache,
 * whichever is larger. It begins at a multiple of 64 bytes; both sizes are multiples of 64. */
PITH_SHARED size_t pith__matmul_scratch(size_t cols); /* bytes */
PITH_SHARED size_t pith__tiles_bytes(size_t n, size_t cols); /* of n tokens */
PITH_SHARED size_t pith__attend_scratch(int n_rep, int head_dim); /* n_rep: n_head / n_kv_head */
/* y[t * stride + r] = w[r] . x[t], of each of the matrices that share an input. Those that are alike are shared out
 * together: threads meet once for them, which small matrices feel. */
typedef struct {
    float *y;
    size_t stride;
    const pith__tensor *w;
} pith__output;
enum { PITH__TOGETHER = 4 };
PITH_SHARED void pith__matmul_all(const pith__kernels *k, const pith__team *team, const pith__output *out, int n,
                                  pith__input *in);
PITH_SHARED void pith__matmul(const pith__kernels *k, const pith__team *team, float *y, size_t stride,
                              const pith__tensor *w, pith__input *in);
/* Every head has its own rows of w, (n_head, rows, cols), and they meet its own inputs: row r of head h gives
 * y[h * step + t * stride + r] of x (n_head, n, cols) at (h, t). */
typedef struct {
    float *y;
    size_t step, stride;
    const pith__tensor *w;
    pith__input *in;     /* of n_head * n rows, with room for pith__heads_tiles */
    int n_head;
} pith__heads;
PITH_SHARED void pith__matmul_heads(const pith__kernels *k, const pith__team *team, const pith__heads *heads);
PITH_SHARED size_t pith__heads_tiles(size_t n_head, size_t n, size_t cols); /* bytes */
/* 1: work on so many numbers is worth more than one thread. */
PITH_SHARED int pith__worth_it(size_t numbers);
/* n attentions, of different texts; their model is one. room: for parts that threads share out; with none of it, or too
 * little, a thread takes all parts of its heads. */
typedef struct {
    float *x;
    size_t n;
} pith__parts_room;
PITH_SHARED void pith__attend(const pith__kernels *k, const pith__team *team, pith__attention *a, int n, pith__parts_room room);
PITH_SHARED size_t pith__parts_size(int n_head, int head_dim, int n_ctx); /* floats, enough for some tokens */

static inline int pith__value_dim(const pith__attention *a) { return a->latent ? a->latent : a->head_dim; }

/* Bytes of one plane of the KV cache; 0: this format cannot have such heads, or the plane is too large. */
PITH_SHARED size_t pith__cache_plane(const pith__format *f, int head_dim, int n_slot);
/* Write the key, the value (head_dim) of a slot. */
PITH_SHARED void pith__cache_key(const pith__format *f, uint8_t *plane, int head_dim, int slot,
                                 const float *k);
PITH_SHARED void pith__cache_value(const pith__format *f, uint8_t *plane, int head_dim, int slot,
                                   const float *v);
/* The key of a slot, as it is, to a slot of another plane. A value is head_dim numbers in a row. */
PITH_SHARED void pith__cache_copy_key(const pith__format *f, int head_dim, uint8_t *to, int to_slot,
                                      const uint8_t *from, int from_slot);

#endif
