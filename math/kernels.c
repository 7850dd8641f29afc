/* kernels.c - the arithmetic of a Transformer in portable C: matmul, attention, RMSNorm, RoPE, softmax, the
 * gated activation. Inputs are arrays of floats, and weights as they lie in the file; results are arrays of
 * floats. This is the text to read: the files of twins/ compute the same faster, behind the same table, and
 * the program works without them.
 *
 * A sum of many floats depends on its order, but a result must not depend on how many tokens or threads were
 * computed together. So every dot product has one order: number i is added to lane i % 16, and the lanes are
 * added as a fixed tree. A compiler makes one vector instruction of sixteen lanes.
 *
 * Quantised weights are multiplied by inputs that are quantised to 8 bits (LLM.int8, arXiv:2208.07339, explains
 * why 8 bits are enough). Within a block of 32 the sum is one of integers, exact in any order; block b is added
 * to lane b % 16. */
#include <math.h>
#include <string.h>
#include "kernels.h"

enum {
    LANES = 16,
    TASK_QUERIES = 48,       /* of a task of attention: some tokens, all heads of each that read the same kv head */
    TASK_NUMBERS = 1 << 17,  /* weights that are worth a task of their own */
    THREAD_NUMBERS = 1 << 16 /* so many weights or cached numbers are worth more than one thread */
};

/* ---- dot products -------------------------------------------------------------------------------- */

static float sum_of_lanes(float *s) { /* (LANES); overwrites s */
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) s[i] += s[i + half];
    return s[0];
}

static float dot_portable(const float *a, const float *b, size_t n) {
    float s[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) s[k] += a[i + k] * b[i + k];
    for (int k = 0; i < n; i++, k++) s[k] += a[i] * b[i];
    return sum_of_lanes(s);
}

/* A weight is d * q - m, an input is d' * q'. So the sum over half a block is d d' sum(q q') - m d' sum(q'). */
static float dot_blocks(const pith__q32 *w, const int8_t *q, const float *d, const int32_t *sum,
                        size_t n_block) {
    float s[LANES] = {0};
    for (size_t b = 0; b < n_block; b++, q += 32)
        for (int h = 0; h < 2; h++) {
            int dot = 0;
            for (int i = 16 * h; i < 16 * h + 16; i++) dot += w[b].q[i] * q[i];
            float part = (float)dot * (w[b].d[h] * d[b]) -
                         (float)sum[h * n_block + b] * (w[b].m[h] * d[b]);
            s[b % LANES] += part;
        }
    return sum_of_lanes(s);
}

/* ---- matmul --------------------------------------------------------------------------------------- */

static size_t blocks_in(size_t cols) { return cols / 32 + (cols % 32 != 0); }

/* How many inputs share a scale when they are quantised for w; 0: they stay floats. */
static size_t input_group(const pith__tensor *w) {
    return w->format->id == PITH__I8 ? w->group : w->format->unpack ? 32 : 0;
}

/* Quantises n numbers as llama2.c's runq.c does: rounded half away from zero. Returns their scale. If a number
 * is not finite, the scale is NaN, and so is every result: a wrong result must not look right. */
static float quantize_run(int8_t *q, const float *x, size_t n) {
    float most = 0, zero = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmaxf(most, fabsf(x[i]));
        zero += x[i] * 0; /* NaN if x[i] is NaN or infinite */
    }
    float scale = most / 127.0f;
    for (size_t i = 0; i < n; i++) {
        float v = scale > 0 && zero == 0 ? roundf(x[i] / scale) : 0;
        q[i] = (int8_t)fmaxf(-127, fminf(v, 127)); /* v may be over 127 if scale is a denormal number */
    }
    return scale + zero;
}

/* Blocks of 32, and the sums of their halves. */
static void quantize_blocks(pith__input *in, int t) {
    size_t n_block = blocks_in(in->cols);
    int8_t *q = in->q + t * n_block * 32;
    int32_t *sum = in->sum + t * n_block * 2;
    for (size_t i = in->cols; i < n_block * 32; i++) q[i] = 0;
    for (size_t b = 0; b < n_block; b++) {
        size_t left = in->cols - b * 32;
        in->d[t * n_block + b] = quantize_run(q + b * 32, in->x + t * in->cols + b * 32, left < 32 ? left : 32);
    }
    for (size_t i = 0; i < 2 * n_block; i++) {
        int s = 0;
        for (int k = 0; k < 16; k++) s += q[16 * i + k];
        sum[i % 2 * n_block + i / 2] = s;
    }
}

/* llama2.c's int8 files have groups of any size. From the same seed, pith writes the same text as llama2.c's
 * runq.c; a single input that is rounded differently can change it. So every operation is runq.c's, in the same
 * order: the groups of a row are added one after the other (matmul_groups). */
static void quantize_groups(pith__input *in, int t) {
    size_t group = in->group, n_group = in->cols / group;
    int8_t *q = in->q + t * blocks_in(in->cols) * 32;
    for (size_t g = 0; g < n_group; g++)
        in->d[t * n_group + g] = quantize_run(q + g * group, in->x + t * in->cols + g * group, group);
}

static void quantize_portable(pith__input *in, int t) {
    if (in->group == 32) quantize_blocks(in, t);
    else quantize_groups(in, t);
}

/* Each row is unpacked once, to scratch, and used for all tokens. */
static void matmul_blocks(const pith__product *p, size_t r0, size_t r1, pith__q32 *row) {
    const pith__input *in = p->in;
    size_t n_block = blocks_in(in->cols);
    for (size_t r = r0; r < r1; r++) {
        for (size_t b = 0; b < n_block; b++) pith__row_q32(p->w, r, b, &row[b]);
        for (size_t t = 0; t < (size_t)in->n; t++)
            p->y[t * p->stride + r] = dot_blocks(row, in->q + t * n_block * 32, in->d + t * n_block,
                                                 in->sum + t * n_block * 2, n_block);
    }
}

static void matmul_floats(const pith__product *p, size_t r0, size_t r1, float *row) {
    const pith__input *in = p->in;
    for (size_t r = r0; r < r1; r++) {
        pith__row_floats(p->w, r, row);
        for (size_t t = 0; t < (size_t)in->n; t++)
            p->y[t * p->stride + r] = dot_portable(row, in->x + t * in->cols, in->cols);
    }
}

static void matmul_groups(const pith__product *p, size_t r0, size_t r1) {
    const pith__input *in = p->in;
    size_t group = p->w->group, n_group = in->cols / group;
    for (size_t r = r0; r < r1; r++)
        for (size_t t = 0; t < (size_t)in->n; t++) {
            const int8_t *w = (const int8_t *)p->w->data + r * in->cols;
            const int8_t *q = in->q + t * blocks_in(in->cols) * 32;
            float sum = 0, scale;
            for (size_t g = 0; g < n_group; g++, w += group, q += group) {
                int dot = 0;
                for (size_t i = 0; i < group; i++) dot += w[i] * q[i];
                memcpy(&scale, p->w->scale + (r * n_group + g) * sizeof scale, sizeof scale);
                sum += (float)dot * scale * in->d[t * n_group + g];
            }
            p->y[t * p->stride + r] = sum;
        }
}

static void matmul_portable(const pith__product *p, size_t r0, size_t r1, void *scratch) {
    if (p->w->format->id == PITH__I8) matmul_groups(p, r0, r1);
    else if (p->w->format->unpack) matmul_blocks(p, r0, r1, scratch);
    else matmul_floats(p, r0, r1, scratch);
}

/* ---- one vector ------------------------------------------------------------------------------------ */

/* Zhang and Sennrich 2019, arXiv:1910.07467. The squares are added one after the other, as in llama2.c. */
static void rmsnorm_portable(float *y, const float *x, const float *w, size_t n, float eps) {
    float sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
    float scale = 1.0f / sqrtf(sum / (float)n + eps);
    for (size_t i = 0; i < n; i++) y[i] = (w ? w[i] : 1.0f) * (scale * x[i]);
}

/* Ba et al. 2016, arXiv:1607.06450: less the mean, over the standard deviation. The mean is subtracted before numbers
 * are squared, so nothing cancels. x may be y. */
static void layernorm_portable(float *y, const float *x, const float *w, const float *b, size_t n, float eps) {
    float mean = 0, sum = 0;
    for (size_t i = 0; i < n; i++) mean += x[i];
    mean /= (float)n;
    for (size_t i = 0; i < n; i++) {
        y[i] = x[i] - mean;
        sum += y[i] * y[i];
    }
    float scale = 1.0f / sqrtf(sum / (float)n + eps);
    for (size_t i = 0; i < n; i++) y[i] = scale * y[i] * w[i] + (b ? b[i] : 0);
}

/* y = x + scale f: what a block adds to the stream, or a bias (scale 1). x may be y. */
static void add_portable(float *y, const float *x, const float *f, float scale, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = x[i] + scale * f[i];
}

/* RoPE rotates pairs of channels by angles that grow with the position: Su et al. 2021, arXiv:2104.09864. Trap:
 * in llama2.c's files and GGUF's llama a pair is two neighbours; elsewhere it is half a head apart. */
static void rope_portable(float *x, const float *cs, int n_rot, int half) {
    int step = half ? 1 : 2, apart = half ? n_rot / 2 : 1;
    for (int i = 0; i < n_rot / 2; i++) {
        float *a = x + i * step, *b = a + apart;
        float c = cs[2 * i], s = cs[2 * i + 1], a0 = *a, b0 = *b;
        *a = a0 * c - b0 * s;
        *b = a0 * s + b0 * c;
    }
}

static float activate(float x, int act) {
    switch (act) {
    case PITH__SILU: return x * (1.0f / (1.0f + expf(-x)));
    case PITH__GELU: return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    case PITH__GELU_ERF: return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    case PITH__RELU2: return x <= 0 ? 0 : x * x;
    case PITH__TANH: return tanhf(x);
    default: return x <= 0 ? 0 : x; /* ReLU; NaN stays */
    }
}

/* Gated units, SwiGLU (with SiLU) and GeGLU (with GELU): Shazeer 2020, arXiv:2002.05202 */
static void gate_portable(float *y, const float *gate, const float *up, size_t n, int act) {
    for (size_t i = 0; i < n; i++) y[i] = activate(gate[i], act) * (up ? up[i] : 1.0f);
}

/* The largest number is subtracted first, so that no exponential overflows. The exponentials are added one after
 * the other, as in llama2.c. All results are NaN if one number is NaN, or if all are -infinity. weight gets the largest
 * number and the sum. */
static void softmax_weighed(float *x, size_t n, float *weight) {
    float most = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        if (x[i] > most) most = x[i];
    for (size_t i = 0; i < n; i++) {
        x[i] = expf(x[i] - most);
        sum += x[i];
    }
    for (size_t i = 0; i < n; i++) x[i] /= sum;
    weight[0] = most, weight[1] = sum;
}

static void softmax_portable(float *x, size_t n) {
    float weight[2];
    softmax_weighed(x, n, weight);
}

/* ---- attention ------------------------------------------------------------------------------------- */

enum { Q8_0_KEYS = LANES * PITH__Q8_0_BYTES }; /* bytes of 32 channels of 16 keys */

static size_t value_bytes(const pith__format *f, int head_dim) {
    return (size_t)head_dim / f->length * f->bytes;
}

/* Channel i of 16 keys: where it lies, or dequantized in y. */
static const float *key_channel(float *y, const pith__format *f, const uint8_t *keys, int i) { /* (LANES) */
    if (f->floats) {
        const void *channel = keys + (size_t)i * LANES * f->bytes;
        if (f->id == PITH__F32) return channel;
        f->floats(y, channel, LANES);
        return y;
    }
    keys += (size_t)(i / 32) * Q8_0_KEYS;
    for (int u = 0; u < LANES; u++) {
        uint16_t d;
        memcpy(&d, keys + 2 * u, 2);
        y[u] = pith__f16_to_f32(d) * (float)(int8_t)keys[2 * LANES + i % 32 * LANES + u];
    }
    return y;
}

/* The same for numbers i to i + n of a row of values, n up to 32. */
static const float *value_channels(float *y, const pith__format *f, const uint8_t *value, int i, int n) {
    if (f->floats) {
        const void *channels = value + (size_t)i * f->bytes;
        if (f->id == PITH__F32) return channels;
        f->floats(y, channels, n);
        return y;
    }
    pith__q32 b;
    f->unpack(&b, value, i / 32);
    for (int k = 0; k < n; k++) y[k] = b.d[0] * b.q[k];
    return y;
}

/* y: the sum of rows first to last of values, each times its weight; 32 channels at a time. */
static void add_values(float *y, const pith__attention *a, const uint8_t *v, const float *weight, int first, int last) {
    size_t bytes = value_bytes(a->v_format, a->head_dim);
    int dim = pith__value_dim(a);
    for (int i0 = 0; i0 < dim; i0 += 32) {
        int n = dim - i0 < 32 ? dim - i0 : 32;
        float sum[32] = {0}, room[32];
        for (int u = first; u <= last; u++) {
            const float *x = value_channels(room, a->v_format, v + (size_t)(u % a->n_slot) * bytes, i0, n);
            for (int i = 0; i < n; i++) sum[i] += weight[u - first] * x[i];
        }
        memcpy(y + i0, sum, (size_t)n * sizeof *y);
    }
}

/* Scores of 16 keys that lie side by side, or as rows. */
static void score_keys(float *s, const pith__attention *a, const float *q, const uint8_t *keys) {
    float room[32], sum[LANES] = {0};
    for (int i = 0; i < a->head_dim && !a->latent; i++) {
        const float *key = key_channel(room, a->k_format, keys, i);
        for (int j = 0; j < LANES; j++) sum[j] += q[i] * key[j];
    }
    memcpy(s, sum, sizeof sum);
    size_t bytes = a->latent ? value_bytes(a->v_format, a->head_dim) : 0;
    for (int j = 0; j < LANES && a->latent; j++, keys += bytes)
        for (int i = 0; i < a->head_dim; i += 32) {
            int n = a->head_dim - i < 32 ? a->head_dim - i : 32;
            const float *key = value_channels(room, a->v_format, keys, i, n);
            s[j] += dot_portable(q + i, key, (size_t)n);
        }
}

/* Attention of head h of token t, to what it sees of a part: the scores, their softmax, and the sum of the values with these
 * weights. 16 keys lie side by side; scores of other positions are computed but not used. Query head h reads kv head
 * h / n_rep (grouped queries: Ainslie et al. 2023, arXiv:2305.13245). A sink (gpt-oss; Xiao et al. 2023, arXiv:2309.17453)
 * is one more score, of the first part; its share is of nothing. */
static void attend_one(const pith__attention *a, pith__span within, int t, int h, float *y, float *weight, float *scores) {
    int kv_head = h / (a->n_head / a->n_kv_head), position = a->position + t;
    const uint8_t *v = a->v + kv_head * a->v_plane, *k = a->latent ? v : a->k + kv_head * a->k_plane;
    size_t bytes = value_bytes(a->latent ? a->v_format : a->k_format, a->head_dim);
    pith__span seen = pith__sees(a->mask, position, a->position + a->n);
    int first = seen.first > within.first ? seen.first : within.first, last = seen.last < within.last ? seen.last : within.last;
    int begin = first / LANES * LANES, n = last - first + 1, sink = a->sinks && n > 0 && seen.first == first;
    const float *q = a->q + ((size_t)t * a->n_head + h) * a->head_dim;
    float over = (float)(1 / a->scale);

    for (int u = begin; u <= last; u += LANES) {
        float *s = scores + (u - begin);
        score_keys(s, a, q, k + (size_t)(u % a->n_slot) * bytes);
        for (int j = 0; j < LANES; j++) {
            s[j] /= over;
            if (a->bias) s[j] += pith__biases(a, h, position, u)[j];
            if (a->softcap > 0) s[j] = a->softcap * tanhf(s[j] / a->softcap);
        }
    }
    scores += first - begin;
    if (sink) scores[n] = a->sinks[h];
    softmax_weighed(scores, n > 0 ? (size_t)(n + sink) : 0, weight);
    add_values(y, a, v, scores, first, last);
}

static void attend_portable(const pith__attention *a, const pith__attend_part *part, float *scores) {
    int n_rep = a->n_head / a->n_kv_head, dim = pith__value_dim(a);
    for (int t = part->t0; t < part->t1; t++)
        for (int r = 0; r < n_rep; r++) {
            int i = t - part->t0;
            attend_one(a, part->within, t, part->kv_head * n_rep + r, part->y + (size_t)i * part->stride + (size_t)(r * dim),
                       part->weight + 2 * (i * n_rep + r), scores);
        }
}

/* The means of two parts become one, in y and w. A part of which nothing is seen (its weight is 0) has none. */
static void join_means(float *y, float *w, const float *x, const float *v, int dim) {
    if (v[1] == 0) return;
    if (w[1] == 0) {
        memcpy(y, x, (size_t)dim * sizeof *y);
        w[0] = v[0], w[1] = v[1];
        return;
    }
    float most = v[0] > w[0] ? v[0] : w[0], a = w[1] * expf(w[0] - most), b = v[1] * expf(v[0] - most);
    w[0] = most, w[1] = a + b;
    a /= w[1], b /= w[1];
    for (int i = 0; i < dim; i++) y[i] = a * y[i] + b * x[i];
}

PITH_SHARED size_t pith__cache_plane(const pith__format *f, int head_dim, int n_slot) {
    size_t bytes;
    if (head_dim % f->length) return 0;
    return pith__mul(&bytes, value_bytes(f, head_dim), n_slot) ? 0 : bytes;
}

PITH_SHARED void pith__cache_key(const pith__format *f, uint8_t *plane, int head_dim, int slot, const float *k) {
    uint8_t *keys = plane + (size_t)(slot / LANES * LANES) * value_bytes(f, head_dim);
    int u = slot % LANES;
    enum { SOME = 64 }; /* are encoded together */
    for (int i = 0; f->floats && i < head_dim; i += SOME) {
        uint8_t some[4 * SOME];
        int n = head_dim - i < SOME ? head_dim - i : SOME;
        if (f->id == PITH__F32) memcpy(some, k + i, (size_t)n * sizeof *k);
        else f->encode(some, k + i, (size_t)n, NULL);
        uint8_t *to = keys + ((size_t)i * LANES + (size_t)u) * (size_t)f->bytes;
        for (int j = 0; j < n && f->bytes == 4; j++) memcpy(to + 4 * LANES * j, some + 4 * j, 4); /* constants: no calls */
        for (int j = 0; j < n && f->bytes == 2; j++) memcpy(to + 2 * LANES * j, some + 2 * j, 2);
    }
    for (int i = 0; !f->floats && i < head_dim; i += 32, keys += Q8_0_KEYS) {
        uint8_t block[PITH__Q8_0_BYTES];
        f->encode(block, k + i, 32, NULL);
        memcpy(keys + 2 * u, block, 2);
        for (int j = 0; j < 32; j++) keys[2 * LANES + j * LANES + u] = block[2 + j];
    }
}

PITH_SHARED void pith__cache_copy_key(const pith__format *f, int head_dim, uint8_t *to, int to_slot,
                                      const uint8_t *from, int from_slot) {
    int a = to_slot % LANES, b = from_slot % LANES;
    to += (size_t)(to_slot - a) * value_bytes(f, head_dim);
    from += (size_t)(from_slot - b) * value_bytes(f, head_dim);
    for (size_t i = 0, n = f->bytes; f->floats && i < (size_t)head_dim; i++)
        memcpy(to + (i * LANES + (size_t)a) * n, from + (i * LANES + (size_t)b) * n, n);
    for (int i = 0; !f->floats && i < head_dim; i += 32, to += Q8_0_KEYS, from += Q8_0_KEYS) {
        memcpy(to + 2 * a, from + 2 * b, 2);
        for (int j = 2; j < PITH__Q8_0_BYTES; j++) to[j * LANES + a] = from[j * LANES + b];
    }
}

PITH_SHARED void pith__cache_value(const pith__format *f, uint8_t *plane, int head_dim, int slot, const float *v) {
    uint8_t *to = plane + (size_t)slot * value_bytes(f, head_dim);
    if (f->id == PITH__F32) memcpy(to, v, (size_t)head_dim * sizeof *v);
    else f->encode(to, v, (size_t)head_dim, NULL);
}

/* ---- for search (nearest.c) ---------------------------------------------------------------------------- */

static void scan_portable(const pith__scan *s, size_t r0, size_t r1) {
    for (size_t r = r0; r < r1; r++) {
        const float *x = s->x + r * s->cols;
        uint32_t bits = 0;
        for (size_t i = 0; i < s->cols; i++) bits += pith__bits_of(x[i]);
        s->y[r] = dot_portable(x, s->question, s->cols);
        s->bits[r] = bits;
    }
}

/* ---- for gradients (train/backward.c) ---------------------------------------------------------------- */

enum { OUTER_COLUMNS = 32 };

static inline void sums_of_floats(float *s, const pith__outer *p, size_t i, size_t j0, size_t n) {
    const float *a = (const float *)p->a + i * p->a_row, *b = (const float *)p->b + j0;
    for (size_t k = 0; k < p->n_k; k++, a += p->a_col, b += p->b_row)
        for (size_t j = 0; j < n; j++) s[j] += *a * b[j];
}

static inline float lower_half(uint32_t pair) { return pith__float_of(pair << 16); }
static inline float upper_half(uint32_t pair) { return pith__float_of(pair & 0xffff0000); }

static inline void sums_of_pairs(float *s, const pith__outer *p, size_t i, size_t j0, size_t n) {
    const uint32_t *a = (const uint32_t *)p->a + i * p->a_row, *b = (const uint32_t *)p->b + j0;
    for (size_t k = 0; k < p->n_k; k++, a += p->a_col, b += p->b_row)
        for (size_t j = 0; j < n; j++) s[j] = s[j] + upper_half(*a) * upper_half(b[j]) + lower_half(*a) * lower_half(b[j]);
}

/* n columns of a row of the product. The products of a sum are added from k = 0 on. */
static inline void outer_row(const pith__outer *p, size_t i, size_t j0, size_t n) {
    float s[OUTER_COLUMNS] = {0}, *y = p->y + i * p->y_row + j0;
    if (p->pairs) sums_of_pairs(s, p, i, j0, n);
    else sums_of_floats(s, p, i, j0, n);
    for (size_t j = 0; j < n; j++) y[j] = p->add ? y[j] + s[j] : s[j];
}

static void outer_portable(const pith__outer *p) {
    for (size_t j = 0; j < p->n; j += OUTER_COLUMNS)
        for (size_t i = 0; i < p->m; i++) {
            if (p->n - j >= OUTER_COLUMNS) outer_row(p, i, j, OUTER_COLUMNS); /* a constant: sums stay in registers */
            else outer_row(p, i, j, p->n - j);
        }
}

/* Rounds to BF16 as that instruction's companion does: to nearest even; numbers under 2^-126 become 0. */
static uint32_t bf16_of(float x) {
    return fabsf(x) < 0x1p-126f ? pith__bits_of(x) >> 16 & 0x8000 : pith__f32_to_bf16(x);
}

static void pair_row_portable(uint32_t *to, const float *x, size_t n) {
    for (size_t i = 0; i < n; i += 2) *to++ = bf16_of(x[i]) | (i + 1 < n ? bf16_of(x[i + 1]) << 16 : 0);
}

static void pair_rows_portable(uint32_t *to, size_t apart, const void *x, const void *next, size_t n, const pith__format *f) {
    const uint16_t *half = x, *next_half = next;
    const float *number = x, *next_number = next;
    for (size_t i = 0; i < n; i++) {
        uint32_t *word = to + i / PITH__PANEL * apart + i % PITH__PANEL;
        if (f->id == PITH__BF16) *word = half[i] | (next ? (uint32_t)next_half[i] << 16 : 0);
        else *word = bf16_of(number[i]) | (next ? bf16_of(next_number[i]) << 16 : 0);
    }
}

/* The slope of activate() at x; *y is what it gives. SiLU and GELU are x / (1 + exp(-z)). For SiLU z is x; for GELU z is
 * 2 sqrt(2 / pi) (x + 0.044715 x^3), because (1 + tanh(v)) / 2 = 1 / (1 + exp(-2 v)). The exact GELU is x times the
 * normal distribution, whose slope is exp(-x^2 / 2) / sqrt(2 pi). */
static float d_activate(float x, int act, float *y) {
    float z = x, dz = 1;
    if (act == PITH__RELU2) return *y = x <= 0 ? 0 : x * x, x <= 0 ? 0 : 2 * x;
    if (act == PITH__RELU) return *y = x <= 0 ? 0 : x, x <= 0 ? 0 : 1.0f;
    if (act == PITH__GELU_ERF) {
        float below = 0.5f * (1.0f + erff(x * 0.70710678f));
        return *y = x * below, below + x * (0.39894228f * expf(-0.5f * x * x));
    }
    if (act == PITH__GELU) {
        z = 1.5957691f * (x + 0.044715f * x * x * x);
        dz = 1.5957691f * (1 + 0.134145f * x * x);
    }
    float s = 1.0f / (1.0f + expf(-z));
    *y = x * s;
    return s + x * s * (1.0f - s) * dz;
}

/* The gradient of gate_portable, which was y = act(gate) * up. Without a gate up and d_up are NULL. */
static void d_gate_portable(float *d_gate, float *d_up, const float *dy, const float *gate, const float *up,
                            size_t n, int act) {
    for (size_t i = 0; i < n; i++) {
        float y, slope = d_activate(gate[i], act, &y);
        if (up) d_up[i] = dy[i] * y;
        d_gate[i] = dy[i] * (up ? up[i] : 1.0f) * slope;
    }
}

/* Sixteen sums side by side, as in dot_portable. */
static float peak_flops_portable(const pith__format *f, size_t *n) {
    enum { ROUNDS = 1 << 14 };
    float x[LANES] = {0}, sum = 0;
    int32_t y[LANES] = {0};
    *n = (size_t)ROUNDS * LANES;
    for (int i = 0; i < ROUNDS && f->unpack; i++)
        for (int k = 0; k < LANES; k++) y[k] = (y[k] & 0xffff) * 3 + k;
    for (int i = 0; i < ROUNDS && !f->unpack; i++)
        for (int k = 0; k < LANES; k++) x[k] = x[k] * 0.5f + 0.5f;
    for (int k = 0; k < LANES; k++) sum += x[k] + (float)y[k];
    return sum;
}

static size_t tile_size_portable(const pith__tensor *w, size_t n) { /* no tiles, and no arrange */
    (void)w, (void)n;
    return 0;
}

static size_t panel_bytes_portable(const pith__tensor *w) { /* no panels, and no pack */
    (void)w;
    return 0;
}

/* ---- the table, and the work shared out over threads ---------------------------------------------------- */

static const pith__kernels portable_kernels = {
    .name = "portable", .quantize = quantize_portable, .tile_size = tile_size_portable,
    .panel_bytes = panel_bytes_portable, .matmul = matmul_portable,
    .attend = attend_portable, .dot = dot_portable, .scan = scan_portable, .rmsnorm = rmsnorm_portable,
    .layernorm = layernorm_portable, .add = add_portable, .rope = rope_portable,
    .gate = gate_portable, .softmax = softmax_portable, .delta = pith__delta_portable, .convolve = pith__convolve_portable, .mamba = pith__mamba_portable, .outer = outer_portable, .d_gate = d_gate_portable,
    .pair_row = pair_row_portable, .pair_rows = pair_rows_portable,
    .peak_flops = peak_flops_portable,
};

PITH_SHARED const pith__kernels *pith__portable(const char *name) {
    return !name || !strcmp(name, portable_kernels.name) ? &portable_kernels : NULL;
}

enum { ROWS_AT_ONCE = 32 };

static size_t blocks_scratch(size_t cols) { return (ROWS_AT_ONCE * PITH__MXFP4_BYTES * (cols / 32) + 63) / 64 * 64; }

/* Room for a row as pith__q32; in twins/ for 16 rows as floats, or for (17, PITH__FEW, 16) sums, a block of 8 and the
 * scales of 16 blocks, 4 each. And for some rows as GGUF has them. */
PITH_SHARED size_t pith__matmul_scratch(size_t cols) {
    return 16 * sizeof(float) * (cols + 17 * PITH__FEW + 8 + 16 * 4) + blocks_scratch(cols);
}

/* Very many tokens meet a matrix in turns, so that their inputs stay in the second cache meanwhile. Turns are alike in
 * size, and begin at whole tiles. */
enum { TOKENS_IN_TURN = 256 };

static size_t turns_of(size_t n) { return n < 2 * TOKENS_IN_TURN ? 1 : n / TOKENS_IN_TURN; }

static size_t turn_start(size_t n, size_t i) {
    size_t n_turn = turns_of(n);
    return i == n_turn ? n : i * n / n_turn / 16 * 16;
}

static size_t longest_turn(size_t n) { return turns_of(n) == 1 ? n : (n / turns_of(n) + 31) / 16 * 16; }

/* A tile has at most 16 tokens, and at most a float for each number; the last tile is a whole one. */
static size_t turn_bytes(size_t n, size_t cols) { return (longest_turn(n) + 16) * (cols + 32) * sizeof(float); }

PITH_SHARED size_t pith__tiles_bytes(size_t n, size_t cols) { return turns_of(n) * turn_bytes(n, cols); }

/* Rows t to t + n, whose tiles begin so many bytes behind those of all. */
static pith__input some_rows(const pith__input *all, size_t t, size_t n, size_t tiles) {
    pith__input in = *all;
    size_t n_block = blocks_in(in.cols), group = in.group ? in.group : 32;
    in.n = (int)n, in.x += t * in.cols, in.q += t * n_block * 32, in.sum += t * n_block * 2;
    in.d += t * (group == 32 ? n_block : in.cols / group);
    in.tiles = (uint8_t *)in.tiles + tiles;
    return in;
}

static size_t sixteens(size_t n) { return (n + LANES - 1) / LANES * LANES; }

/* How many tokens share what is read for a kv head. */
static int tokens_of_task(int n_rep) { return n_rep < TASK_QUERIES / 4 ? TASK_QUERIES / n_rep : 4; }

PITH_SHARED size_t pith__attend_scratch(int n_rep, int head_dim) {
    size_t portable = PITH__PART + 3 * LANES, queries = (size_t)n_rep * (size_t)tokens_of_task(n_rep);
    size_t wide = sixteens((size_t)head_dim), parts = sixteens(queries * (wide + 4));
    size_t twins = queries * (256 + wide + 2 * LANES) + 65 * wide; /* attention.inc: queries, and a tile of keys or values */
    return (parts + sixteens(portable > twins ? portable : twins)) * sizeof(float);
}

/* For some tokens: where there are more, threads have enough to do without. */
PITH_SHARED size_t pith__parts_size(int n_head, int head_dim, int n_ctx) {
    enum { TOKENS = 16 };
    return n_ctx <= PITH__PART ? 0 : (size_t)TOKENS * (size_t)n_head * (size_t)(head_dim + 2) * ((size_t)n_ctx / PITH__PART + 1);
}

typedef struct {
    pith__output out;
    size_t rows, n_task; /* in a task; tasks, of a turn */
    size_t n_pile, pile; /* so many piles of so many tasks */
} matmul_part;

typedef struct {
    const pith__kernels *kernels;
    pith__input *in;
    const pith__format *format; /* for which inputs are arranged */
    size_t tile, n_task;        /* tokens of a tile, tasks of all parts in a turn */
    matmul_part part[PITH__TOGETHER];
} matmul_job;

/* The inputs of turn i. */
static pith__input turn_input(const matmul_job *job, size_t i) {
    size_t n = (size_t)job->in->n, t = turn_start(n, i);
    return some_rows(job->in, t, turn_start(n, i + 1) - t, i * turn_bytes(n, job->in->cols));
}

/* Waking a thread takes some microseconds, longer than a small matrix. The size of the matrix decides, not the
 * number of tokens, so a small model always uses one thread. */
PITH_SHARED int pith__worth_it(size_t numbers) { return numbers >= THREAD_NUMBERS; }

static void quantize_task(const void *data, size_t t, uint8_t *scratch) {
    const matmul_job *job = data;
    (void)scratch;
    job->kernels->quantize(job->in, (int)t);
}

static size_t tiles_in(size_t n, size_t tile) { return (n + tile - 1) / tile; }

static void arrange_task(const void *data, size_t i, uint8_t *scratch) {
    const matmul_job *job = data;
    size_t in_turn = tiles_in(longest_turn((size_t)job->in->n), job->tile);
    pith__input in = turn_input(job, i / in_turn);
    (void)scratch;
    if (i % in_turn * job->tile < (size_t)in.n) job->kernels->arrange(&in, job->format, i % in_turn);
}

/* Rows r to end of a weight whose blocks are not as GGUF has them: some rows become so, and are multiplied. */
static void matmul_apart(const pith__kernels *k, const pith__product *all, size_t r, size_t end, uint8_t *scratch) {
    size_t bytes = all->w->cols / 32 * PITH__MXFP4_BYTES;
    for (size_t n; r < end; r += n) {
        n = end - r < ROWS_AT_ONCE ? end - r : ROWS_AT_ONCE;
        pith__tensor some = { .format = all->w->format, .rows = n, .cols = all->w->cols, .data = scratch, .row_bytes = bytes };
        pith__product p = { all->y + r, all->stride, &some, all->in };
        for (size_t i = 0; i < n; i++) pith__row_blocks(all->w, r + i, scratch + i * bytes);
        k->matmul(&p, 0, n, scratch + blocks_scratch(some.cols));
    }
}

/* Tasks are dealt to piles, one for each thread. Threads take them in turns, so each walks along rows that follow one
 * another, and what it fetches ahead (twins/panels.inc) is of use to itself. */
static void matmul_task(const void *data, size_t i, uint8_t *scratch) {
    const matmul_job *job = data;
    const matmul_part *m = job->part;
    size_t turn = i / job->n_task, t = turn_start((size_t)job->in->n, turn);
    for (i %= job->n_task; i >= m->n_task; m++) i -= m->n_task;
    if (i < m->n_pile * m->pile) i = i % m->n_pile * m->pile + i / m->n_pile;
    size_t rows = m->out.w->rows, r = i * m->rows, end = rows - r < m->rows ? rows : r + m->rows;
    pith__input in = turn_input(job, turn);
    pith__product p = { m->out.y + t * m->out.stride, m->out.stride, m->out.w, &in };
    if (pith__is_apart(p.w)) matmul_apart(job->kernels, &p, r, end, scratch);
    else job->kernels->matmul(&p, r, end, scratch);
}

/* A task is some rows: for each thread eight tasks, or as few as three where a small matrix has no more work, because
 * taking one costs a thread a fraction of a microsecond; or, with many tokens, 32 rows (two panels) each. So all threads end
 * at about the same time. */
static size_t rows_of_task(const pith__tensor *w, int n_token, int n_threads) {
    size_t n = w->rows * w->cols / TASK_NUMBERS / (size_t)n_threads;
    size_t n_task = (n < 3 ? 3 : n > 8 ? 8 : n) * (size_t)n_threads, rows = (w->rows + 16 * n_task - 1) / (16 * n_task) * 16;
    return n_token >= 8 && rows > 32 ? 32 : rows;
}

/* Quantises and arranges the inputs as w wants them, if the matmul before did not do it. */
static void prepare_input(const matmul_job *job, const pith__team *team, const pith__tensor *w, int worth_it) {
    pith__input *in = job->in;
    size_t group = input_group(w), n = (size_t)in->n;
    if (group && in->group != group) {
        in->group = group, in->arranged = NULL;
        pith__share(team, n, worth_it && n > 1, quantize_task, job);
    }
    if (job->tile && in->arranged != w->format) {
        in->arranged = w->format;
        pith__share(team, turns_of(n) * tiles_in(longest_turn(n), job->tile), worth_it, arrange_task, job);
    }
}

static size_t tile_of(const pith__kernels *k, const pith__tensor *w, const pith__input *in) {
    return k->tile_size(w, longest_turn((size_t)in->n));
}

/* How many of n matrices want the inputs as the first one does. */
static int count_alike(const pith__kernels *k, const pith__output *out, int n, const pith__input *in) {
    const pith__tensor *first = out->w;
    int i = 1;
    for (; i < n && i < PITH__TOGETHER && input_group(out[i].w) == input_group(first); i++)
        if ((tile_of(k, first, in) || tile_of(k, out[i].w, in)) && out[i].w->format != first->format) break;
    return i;
}

PITH_SHARED void pith__matmul_all(const pith__kernels *k, const pith__team *team, const pith__output *out, int n,
                                  pith__input *in) {
    for (int m; n > 0; out += m, n -= m) {
        matmul_job job = { .kernels = k, .in = in, .format = out->w->format, .tile = tile_of(k, out->w, in) };
        size_t numbers = 0;
        m = count_alike(k, out, n, in);
        for (int i = 0; i < m; i++) numbers += out[i].w->rows * out[i].w->cols;
        int worth_it = team->crew && pith__worth_it(numbers);
        for (int i = 0; i < m; i++) {
            size_t all = out[i].w->rows, n_pile = worth_it && in->n > 1 ? (size_t)team->n_threads : 1;
            size_t rows = worth_it ? rows_of_task(out[i].w, in->n, team->n_threads) : all, n_task = (all + rows - 1) / rows;
            job.part[i] = (matmul_part){ out[i], rows, n_task, n_pile, n_task / n_pile };
            job.n_task += n_task;
        }
        prepare_input(&job, team, out->w, worth_it);
        pith__share(team, turns_of((size_t)in->n) * job.n_task, worth_it, matmul_task, &job);
    }
}

PITH_SHARED void pith__matmul(const pith__kernels *k, const pith__team *team, float *y, size_t stride,
                              const pith__tensor *w, pith__input *in) {
    pith__output one = { y, stride, w };
    pith__matmul_all(k, team, &one, 1, in);
}

/* ---- a product for each head ------------------------------------------------------------------------------ */

enum { HEAD_ROWS = 128 }; /* in a task */

typedef struct {
    const pith__heads *p;
    const pith__kernels *kernels;
    size_t n_tile, n_part; /* of a head: tiles of its inputs, tasks of its rows */
} heads_job;

static size_t head_tiles(size_t n, size_t cols) { return (pith__tiles_bytes(n, cols) + 63) / 64 * 64; }

PITH_SHARED size_t pith__heads_tiles(size_t n_head, size_t n, size_t cols) { return n_head * head_tiles(n, cols); }

/* The inputs of head h. */
static pith__input head_input(const heads_job *job, size_t h) {
    const pith__input *in = job->p->in;
    size_t n = (size_t)(in->n / job->p->n_head);
    return some_rows(in, h * n, n, h * head_tiles(n, in->cols));
}

static void quantize_heads_task(const void *data, size_t t, uint8_t *scratch) {
    const heads_job *job = data;
    (void)scratch;
    job->kernels->quantize(job->p->in, (int)t);
}

static void arrange_heads_task(const void *data, size_t i, uint8_t *scratch) {
    const heads_job *job = data;
    pith__input in = head_input(job, i / job->n_tile);
    (void)scratch;
    job->kernels->arrange(&in, job->p->w->format, i % job->n_tile);
}

static void heads_task(const void *data, size_t i, uint8_t *scratch) {
    const heads_job *job = data;
    size_t h = i / job->n_part, r = i % job->n_part * HEAD_ROWS, rows = job->p->w->rows / (size_t)job->p->n_head;
    pith__input in = head_input(job, h);
    pith__tensor w = *job->p->w;
    w.data += h * rows * w.row_bytes, w.rows = rows;
    pith__product p = { job->p->y + h * job->p->step, job->p->stride, &w, &in };
    job->kernels->matmul(&p, r, rows - r < HEAD_ROWS ? rows : r + HEAD_ROWS, scratch);
}

/* All heads are shared out together: the matrix of one is too small for threads. */
PITH_SHARED void pith__matmul_heads(const pith__kernels *k, const pith__team *team, const pith__heads *p) {
    const pith__tensor *w = p->w;
    size_t n_head = (size_t)p->n_head, n = (size_t)p->in->n / n_head, tile = k->tile_size(w, n);
    int worth_it = pith__worth_it(w->rows * w->cols);
    heads_job job = { p, k, tile ? (n + tile - 1) / tile : 0, (w->rows / n_head + HEAD_ROWS - 1) / HEAD_ROWS };
    p->in->group = input_group(w);
    if (p->in->group) pith__share(team, n * n_head, worth_it, quantize_heads_task, &job);
    if (tile) pith__share(team, n_head * job.n_tile, worth_it, arrange_heads_task, &job);
    pith__share(team, n_head * job.n_part, worth_it, heads_task, &job);
}

/* ---- attention, shared out -------------------------------------------------------------------------------- */

/* A task is some tokens of one text and one kv head, whose keys and values all its query heads share: a group. Where groups
 * are few and texts long, each part of what they see is a task by itself. */
typedef struct {
    const pith__attention *a; /* (n) */
    int n;
    const pith__kernels *kernels;
} attend_job;

enum { ENOUGH_GROUPS = 8 }; /* for each thread */

static int tokens_in_group(const pith__attention *a) {
    int some = tokens_of_task(a->n_head / a->n_kv_head);
    return a->n < some ? a->n : some;
}

static size_t groups_in(const pith__attention *a) {
    int some = tokens_in_group(a);
    return (size_t)((a->n + some - 1) / some) * (size_t)a->n_kv_head;
}

static size_t queries_in_group(const pith__attention *a) {
    return (size_t)tokens_in_group(a) * (size_t)(a->n_head / a->n_kv_head);
}

static size_t floats_of_part(const pith__attention *a) { /* y and weights of a group */
    return queries_in_group(a) * (size_t)(pith__value_dim(a) + 2);
}

/* Group i, which sees nothing but this part. What it gives goes to room; or y to where it belongs, and only weights there. */
static pith__attend_part part_at(const pith__attention *a, size_t i, int part, float *room, int belongs) {
    int some = tokens_in_group(a), t0 = (int)(i / (size_t)a->n_kv_head) * some, t1 = a->n - t0 < some ? a->n : t0 + some;
    int kv_head = (int)(i % (size_t)a->n_kv_head), from = part * PITH__PART;
    size_t row = (size_t)(a->n_head / a->n_kv_head) * (size_t)pith__value_dim(a), all = row * (size_t)a->n_kv_head;
    pith__attend_part p = { t0, t1, kv_head, { from, from + PITH__PART - 1 }, room + 2 * queries_in_group(a), row, room };
    if (belongs) p.y = a->y + (size_t)t0 * all + (size_t)kv_head * row, p.stride = all;
    return p;
}

static void join_part(const pith__attention *a, const pith__attend_part *to, const pith__attend_part *from) {
    int n_rep = a->n_head / a->n_kv_head, dim = pith__value_dim(a);
    for (int i = 0; i < (to->t1 - to->t0) * n_rep; i++) {
        size_t t = (size_t)(i / n_rep), at = (size_t)(i % n_rep * dim);
        join_means(to->y + t * to->stride + at, to->weight + 2 * i, from->y + t * from->stride + at, from->weight + 2 * i, dim);
    }
}

/* The attention of a task, whose number becomes one of its own. */
static const pith__attention *attention_at(const attend_job *job, size_t *i) {
    const pith__attention *a = job->a;
    for (int n = job->n; n > 1;) { /* the last that begins at the task or before */
        int half = n / 2;
        if (a[half].first_task <= *i) a += half, n -= half;
        else n = half;
    }
    *i -= a->first_task;
    return a;
}

/* All parts of a group, one after the other. */
static void attend_group(const pith__kernels *k, const pith__attention *a, size_t i, float *scratch) {
    float *next = scratch + 2 * queries_in_group(a), *rest = scratch + sixteens(2 * queries_in_group(a) + floats_of_part(a));
    pith__attend_part to = part_at(a, i, 0, scratch, 1);
    int first = pith__sees(a->mask, a->position + to.t0, a->position + a->n).first / PITH__PART;
    int last = pith__sees(a->mask, a->position + to.t1 - 1, a->position + a->n).last / PITH__PART;
    to = part_at(a, i, first, scratch, 1);
    k->attend(a, &to, rest);
    for (int part = first + 1; part <= last; part++) {
        pith__attend_part from = part_at(a, i, part, next, 0);
        k->attend(a, &from, rest);
        join_part(a, &to, &from);
    }
}

static void attend_task(const void *data, size_t i, uint8_t *scratch) {
    const attend_job *job = data;
    const pith__attention *a = attention_at(job, &i);
    if (!a->parts) {
        attend_group(job->kernels, a, i, (float *)(void *)scratch);
        return;
    }
    int part = (int)(i % (size_t)a->n_part);
    pith__attend_part p = part_at(a, i / (size_t)a->n_part, a->first_part + part, a->parts + i * floats_of_part(a), part == 0);
    job->kernels->attend(a, &p, (float *)(void *)scratch);
}

static void join_task(const void *data, size_t i, uint8_t *scratch) { /* where all groups have parts as tasks */
    const attend_job *job = data;
    (void)scratch;
    for (const pith__attention *a = job->a; a < job->a + job->n; a++, i -= groups_in(a - 1)) {
        if (i >= groups_in(a)) continue;
        float *room = a->parts + i * (size_t)a->n_part * floats_of_part(a);
        pith__attend_part to = part_at(a, i, a->first_part, room, 1);
        for (int part = 1; part < a->n_part; part++) {
            pith__attend_part from = part_at(a, i, a->first_part + part, room + (size_t)part * floats_of_part(a), 0);
            join_part(a, &to, &from);
        }
        return;
    }
}

PITH_SHARED void pith__attend(const pith__kernels *k, const pith__team *team, pith__attention *a, int n, pith__parts_room room) {
    attend_job job = { a, n, k };
    size_t n_task = 0, n_group = 0, n_seen = 0, need = 0;
    int most_parts = 1;
    for (int i = 0; i < n; i++) {
        int end = a[i].position + a[i].n, window = a[i].mask.window;
        n_seen += (size_t)(window && window < end ? window : end);
        a[i].first_part = pith__sees(a[i].mask, a[i].position, end).first / PITH__PART;
        a[i].n_part = pith__sees(a[i].mask, end - 1, end).last / PITH__PART + 1 - a[i].first_part;
        if (a[i].n_part > most_parts) most_parts = a[i].n_part;
        n_group += groups_in(a + i);
        need += groups_in(a + i) * (size_t)a[i].n_part * floats_of_part(a + i);
    }
    int worth_it = team->crew && pith__worth_it(n_seen * (size_t)(a->n_kv_head * a->head_dim));
    int shared = worth_it && most_parts > 1 && need <= room.n && n_group < ENOUGH_GROUPS * (size_t)team->n_threads;
    for (int i = 0; i < n; i++) {
        size_t tasks = groups_in(a + i) * (size_t)(shared ? a[i].n_part : 1);
        a[i].parts = shared ? room.x : NULL;
        a[i].first_task = n_task;
        n_task += tasks;
        if (shared) room.x += tasks * floats_of_part(a + i);
    }
    pith__share(team, n_task, worth_it, attend_task, &job);
    if (shared) pith__share(team, n_group, 1, join_task, &job);
}
