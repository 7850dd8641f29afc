/* forward.c - the Transformer: tokens in, logits out.
 *
 * A token becomes a vector (its row of the embedding) that flows through the blocks of the model: the
 * residual stream. Each block adds to it twice: attention brings in what earlier tokens hold, the
 * feed-forward network works on what is there. After the last block a norm and one matmul give a number
 * for every token of the vocabulary, how likely it comes next: the logits.
 *     Vaswani et al. 2017, arXiv:1706.03762; Touvron et al. 2023, arXiv:2302.13971.
 *
 * Many tokens go through at once (a prompt: each weight is read once for all of them) or one (writing);
 * the bits of the result are the same. What earlier tokens contributed, keys and values, stays in the
 * session's cache. All memory is laid out when the session is made. */
#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the block ------------------------------------------------------------------------------------- */

typedef struct { /* one layer, at work on n tokens */
    pith_session *s;
    const pith__layer *layer;
    const pith__hyper *h;
    pith__acts a;
    float *next; /* (n, n_embd) the stream as the next block gets it */
    int l, n;
} block;

/* y (n, rows of w) = x (n, cols of w) through w. Matrices that share an input share its rounding: in
 * remembers it. */
static void project(const block *b, float *y, const pith__tensor *w, pith__input *in) {
    pith__matmul(&b->s->team, y, w->rows, w, in);
}

static pith__input input_of(const pith_session *s, const float *x, int n, size_t cols) {
    pith__input in = s->in;
    in.x = x;
    in.n = n;
    in.cols = cols;
    in.group = 0;
    return in;
}

static void add_bias(float *y, const float *bias, size_t n) {
    for (size_t i = 0; bias && i < n; i++) y[i] += bias[i];
}

/* RMSNorm of token t's row; a family without this norm takes the rows as they are. */
static void norm_row(const block *b, float *y, const float *x, const float *w, size_t t) {
    size_t n_embd = (size_t)b->h->n_embd;
    if (w) b->s->team.kernels->rmsnorm(y + t * n_embd, x + t * n_embd, w, n_embd, b->h->eps);
}

/* What is done token by token, between the matmuls, is shared out over the threads. */
static void each_token(const block *b, pith__piece *work) {
    size_t n = (size_t)b->n;
    pith__share(&b->s->team, n, pith__worth_it(n * (size_t)b->h->n_embd), work, b);
}

/* out = stream + what was added, which a post-norm (Gemma 2, OLMo 2) may shape first. */
static void add_to_stream(const block *b, float *out, const float *stream, const float *added,
                          const float *post_norm, size_t t) {
    size_t n_embd = (size_t)b->h->n_embd, at = t * n_embd;
    const float *f = added + at;
    if (post_norm) {
        b->s->team.kernels->rmsnorm(out + at, f, post_norm, n_embd, b->h->eps);
        f = out + at;
    }
    for (size_t i = 0; i < n_embd; i++) out[at + i] = stream[at + i] + b->h->residual_scale * f[i];
}

/* ---- attention ------------------------------------------------------------------------------------- */

/* Pairs (i, i + half) of a head become neighbours; channels that are not rotated stay. */
static void gather_pairs(float *x, const float *x0, size_t n_rot, size_t dim) {
    for (size_t i = 0; i < n_rot / 2; i++) {
        x[2 * i] = x0[i];
        x[2 * i + 1] = x0[i + n_rot / 2];
    }
    for (size_t i = n_rot; i < dim; i++) x[i] = x0[i];
}

/* One token's queries or keys, (heads, head_dim): biased, normed (Qwen 3, Gemma 3: head by head; OLMo 2:
 * as a whole), and turned by the angles of the token's position. */
static void finish_heads(const block *b, float *x, float *x0, const float *bias, const float *w,
                         int heads, size_t t) {
    const pith__kernels *k = b->s->team.kernels;
    size_t dim = (size_t)b->h->head_dim, n = (size_t)heads * dim;
    x += t * n, x0 += t * n;
    add_bias(x0, bias, n);
    size_t width = b->h->qk_norm_whole ? n : dim;
    for (size_t at = 0; w && at < n; at += width) k->rmsnorm(x + at, x0 + at, w, width, b->h->eps);
    for (size_t at = 0; b->h->rope_gather && at < n; at += dim)
        gather_pairs(x + at, x0 + at, (size_t)b->h->n_rot, dim);
    if (b->layer->rope < 0) return;
    const float *turn = b->s->turn[b->layer->rope] + t * (size_t)b->h->n_rot;
    for (int h = 0; h < heads; h++) k->rope(x + (size_t)h * dim, turn, b->h->n_rot, b->h->rope_half);
}

static int slots_of(const block *b) {
    return b->layer->window ? b->s->n_slot_window : b->s->n_slot;
}

/* Keys and values go to the cache, where this and all later tokens find them. */
static void remember(const block *b, size_t t) {
    pith_session *s = b->s;
    int n_slot = slots_of(b), dim = b->h->head_dim, slot = (s->position + (int)t) % n_slot;
    size_t k_plane = pith__cache_plane(s->k_format, dim, n_slot);
    size_t v_plane = pith__cache_plane(s->v_format, dim, n_slot);
    for (int h = 0; h < b->h->n_kv_head; h++) {
        size_t at = (t * (size_t)b->h->n_kv_head + (size_t)h) * (size_t)dim;
        pith__cache_key(s->k_format, s->k[b->l] + (size_t)h * k_plane, dim, slot, b->a.k + at);
        pith__cache_value(s->v_format, s->v[b->l] + (size_t)h * v_plane, dim, slot, b->a.v + at);
    }
}

static void before_attention(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const block *b = data;
    norm_row(b, b->a.xn, b->a.x, b->layer->attn_norm, t);
}

static void finish_token(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const block *b = data;
    const pith__layer *w = b->layer;
    finish_heads(b, b->a.q, b->a.q0, w->q_bias, w->q_norm, b->h->n_head, t);
    finish_heads(b, b->a.k, b->a.k0, w->k_bias, w->k_norm, b->h->n_kv_head, t);
    add_bias(b->a.v + t * w->v.rows, w->v_bias, w->v.rows);
    remember(b, t);
}

static void after_attention(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const block *b = data;
    add_bias(b->a.o + t * b->layer->o.rows, b->layer->o_bias, b->layer->o.rows);
    add_to_stream(b, b->a.y, b->a.x, b->a.o, b->layer->attn_post_norm, t);
}

/* y = x + the attention of every head, each on its own channels. */
static void attention(const block *b) {
    const pith__hyper *h = b->h;
    const pith__layer *w = b->layer;
    pith_session *s = b->s;
    pith__acts a = b->a;
    int n_slot = slots_of(b);

    each_token(b, before_attention);
    pith__input in = input_of(s, w->attn_norm ? a.xn : a.x, b->n, (size_t)h->n_embd);
    project(b, a.q0, &w->q, &in);
    project(b, a.k0, &w->k, &in);
    project(b, a.v, &w->v, &in);
    each_token(b, finish_token);
    pith__attention job = {
        .q = a.q, .y = a.mix, .k = s->k[b->l], .v = s->v[b->l],
        .k_plane = pith__cache_plane(s->k_format, h->head_dim, n_slot),
        .v_plane = pith__cache_plane(s->v_format, h->head_dim, n_slot),
        .k_format = s->k_format, .v_format = s->v_format, .n = b->n, .position = s->position,
        .n_head = h->n_head, .n_kv_head = h->n_kv_head, .head_dim = h->head_dim, .n_slot = n_slot,
        .window = w->window, .scale = h->attn_scale, .softcap = h->attn_softcap,
    };
    pith__attend(&s->team, &job);
    in = input_of(s, a.mix, b->n, w->o.cols);
    project(b, a.o, &w->o, &in);
    each_token(b, after_attention);
}

/* ---- feed-forward ---------------------------------------------------------------------------------- */

typedef struct { /* rows on their way through one network; all pointers are to the first row */
    const block *b;
    const pith__ffn *w;
    float *gate, *up, *act; /* (rows, n_ff) */
} ffn_rows;

static void gate_row(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const ffn_rows *f = data;
    size_t n_ff = f->w->gate.rows, at = t * n_ff;
    add_bias(f->gate + at, f->w->gate_bias, n_ff);
    add_bias(f->up + at, f->w->up_bias, n_ff);
    f->b->s->team.kernels->gate(f->act + at, f->gate + at, f->up + at, n_ff, f->b->h->act);
}

/* y = down(act(gate x) * up x), for rows of x. */
static void network(const ffn_rows *f, float *y, const float *x, size_t rows) {
    pith_session *s = f->b->s;
    const pith__ffn *w = f->w;
    pith__input in = input_of(s, x, (int)rows, w->gate.cols);
    project(f->b, f->gate, &w->gate, &in);
    project(f->b, f->up, &w->up, &in);
    pith__share(&s->team, rows, pith__worth_it(rows * w->gate.rows), gate_row, f);
    in = input_of(s, f->act, (int)rows, w->gate.rows);
    project(f->b, y, &w->down, &in);
    for (size_t t = 0; t < rows; t++) add_bias(y + t * w->down.rows, w->down_bias, w->down.rows);
}

/* The likeliest n_expert_used experts of one token keep their probability, the others get 0. */
static void choose_experts(const block *b, float *p) {
    const pith__hyper *h = b->h;
    b->s->team.kernels->softmax(p, (size_t)h->n_expert);
    float sum = 0;
    for (int k = 0; k < h->n_expert_used; k++) { /* mark each choice by turning it negative */
        int best = -1;
        for (int e = 0; e < h->n_expert; e++)
            if (p[e] >= 0 && !signbit(p[e]) && (best < 0 || p[e] > p[best])) best = e;
        if (best < 0) break; /* NaN: nothing can be compared */
        sum += p[best];
        p[best] = -p[best];
    }
    for (int e = 0; e < h->n_expert; e++)
        p[e] = signbit(p[e]) ? (h->expert_norm ? -p[e] / sum : -p[e]) : 0;
}

/* Mixture of experts: each token uses a few of many networks. Tokens of the same expert go through it
 * together; a token's sum runs over its experts in their order, however many tokens there are.
 * Shazeer et al. 2017, arXiv:1701.06538; Jiang et al. 2024, arXiv:2401.04088. */
static void experts(const block *b, const float *x) {
    const pith__hyper *h = b->h;
    const pith__acts *a = &b->a;
    size_t n_embd = (size_t)h->n_embd, n_ff = (size_t)h->n_ff_expert, row = 0;
    pith__input in = input_of(b->s, x, b->n, n_embd);
    project(b, a->route, &b->layer->router, &in);
    for (int t = 0; t < b->n; t++) choose_experts(b, a->route + (size_t)t * (size_t)h->n_expert);
    memset(a->f, 0, (size_t)b->n * n_embd * sizeof *a->f);
    for (int e = 0; e < h->n_expert; e++) {
        const float *p = a->route + e; /* of token t: p[t * n_expert] */
        size_t first = row;
        for (int t = 0; t < b->n; t++)
            if (p[t * h->n_expert] > 0)
                memcpy(a->pick + row++ * n_embd, x + (size_t)t * n_embd, n_embd * sizeof *x);
        if (row == first) continue;
        float *y = a->down + first * n_embd;
        ffn_rows f = { b, &b->layer->ffn[e], a->gate + first * n_ff, a->up + first * n_ff,
                       a->act + first * n_ff };
        network(&f, y, a->pick + first * n_embd, row - first);
        for (int t = 0; t < b->n; t++) {
            if (!(p[t * h->n_expert] > 0)) continue;
            float *to = a->f + (size_t)t * n_embd;
            for (size_t i = 0; i < n_embd; i++) to[i] += p[t * h->n_expert] * y[i];
            y += n_embd;
        }
    }
}

static void before_ffn(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const block *b = data;
    norm_row(b, b->a.yn, b->a.y, b->layer->ffn_norm, t);
}

static void after_ffn(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const block *b = data;
    add_to_stream(b, b->next, b->a.y, b->a.f, b->layer->ffn_post_norm, t);
}

/* next = y + the feed-forward network of every token. */
static void feed_forward(const block *b) {
    const pith__acts *a = &b->a;
    ffn_rows f = { b, b->layer->ffn, a->gate, a->up, a->act };
    each_token(b, before_ffn);
    const float *yn = b->layer->ffn_norm ? a->yn : a->y;
    if (b->layer->router.data) experts(b, yn);
    else network(&f, a->f, yn, (size_t)b->n);
    each_token(b, after_ffn);
}

/* ---- all blocks ------------------------------------------------------------------------------------ */

/* Cosine and sine of every pair's angle at every new position, for both sets of angles. */
static void make_turns(pith_session *s, int n) {
    const pith_model *m = s->model;
    int pairs = m->hyper.n_rot / 2;
    for (int set = 0; set < 2; set++) {
        const pith__rope *r = &m->rope[set];
        const float *freq = r->freq_long && s->turned_long ? r->freq_long : r->freq;
        float *to = s->turn[set];
        for (int t = 0; freq && t < n; t++) {
            for (int i = 0; i < pairs; i++) {
                float angle = (float)(s->position + t) * freq[i]; /* rounded as models were trained */
                *to++ = cosf(angle) * r->mscale;
                *to++ = sinf(angle) * r->mscale;
            }
        }
    }
}

static void embed(pith_session *s, const pith_token *tokens, int n, float *x) {
    const pith__hyper *h = &s->model->hyper;
    for (int t = 0; t < n; t++, x += h->n_embd) {
        pith__row_floats(&s->model->embd, (size_t)tokens[t], x);
        for (int i = 0; h->embd_scale != 1 && i < h->n_embd; i++) x[i] *= h->embd_scale;
    }
}

/* n tokens at the session's position through block l. */
PITH_SHARED void pith__run_block(pith_session *s, int l, int n) {
    const pith_model *m = s->model;
    block b = { s, &m->layer[l], &m->hyper, pith__acts_at(s, l), pith__acts_at(s, l + 1).x, l, n };
    attention(&b);
    feed_forward(&b);
    if (s->watch) s->watch(s->watch_data, l, &b.a, n);
}

/* n tokens through all blocks; what comes out is pith__acts_at(s, n_layer).x. */
static void forward(pith_session *s, const pith_token *tokens, int n) {
    const pith_model *m = s->model;
    embed(s, tokens, n, pith__acts_at(s, 0).x);
    make_turns(s, n);
    for (int l = 0; l < m->hyper.n_layer; l++) pith__run_block(s, l, n);
    memmove(s->tokens + s->position, tokens, (size_t)n * sizeof *tokens);
    s->position += n;
    if (s->written < s->position) s->written = s->position;
}

/* Logits (n, n_vocab) of rows t to t + n of what came out last. */
PITH_SHARED void pith__logits_of(pith_session *s, int t, int n, float *logits) {
    const pith_model *m = s->model;
    const pith__hyper *h = &m->hyper;
    size_t n_embd = (size_t)h->n_embd;
    pith__acts a = pith__acts_at(s, h->n_layer);
    float *x = a.x + (size_t)t * n_embd, *xn = a.xn + (size_t)t * n_embd;
    for (int i = 0; i < n; i++)
        s->team.kernels->rmsnorm(xn + (size_t)i * n_embd, x + (size_t)i * n_embd, m->out_norm, n_embd,
                                 h->eps);
    pith__input in = input_of(s, xn, n, n_embd);
    pith__matmul(&s->team, logits, m->head.rows, &m->head, &in);
    for (size_t i = 0; h->logit_scale != 1 && i < (size_t)n * m->head.rows; i++)
        logits[i] *= h->logit_scale;
    for (size_t i = 0; h->logit_softcap > 0 && i < (size_t)n * m->head.rows; i++)
        logits[i] = h->logit_softcap * tanhf(logits[i] / h->logit_softcap);
}

/* ---- the session's memory -------------------------------------------------------------------------- */

typedef struct { /* hands out pieces of memory one after the other; base NULL: only counts them */
    uint8_t *base;
    size_t used;
    int overflow;
} layout;

static void *piece(layout *y, size_t n, size_t size) {
    size_t bytes, end;
    if (pith__mul(&bytes, n, size) || bytes > SIZE_MAX / 2 ||
        pith__add(&end, y->used, (bytes + 63) / 64 * 64)) {
        y->overflow = 1;
        return NULL;
    }
    void *p = y->base ? y->base + y->used : NULL;
    y->used = end;
    return p;
}

/* A layer's activations from tape on, or only their floats: pieces of whole cache lines. */
PITH_SHARED size_t pith__acts_place(const pith_session *s, pith__acts *a, float *tape) {
    const pith__hyper *h = &s->model->hyper;
    const pith__layer *w = s->model->layer;
    size_t n = (size_t)s->n_batch, n_embd = (size_t)h->n_embd, dim = (size_t)h->head_dim;
    size_t heads = (size_t)h->n_head * dim, kv = (size_t)h->n_kv_head * dim;
    size_t rows = h->n_expert ? n * (size_t)h->n_expert_used : n, e = h->n_expert ? rows : 0;
    size_t wide = (size_t)h->n_ff * n, wide_e = (size_t)h->n_ff_expert * rows, used = 0;
    size_t ff = wide > wide_e ? wide : wide_e;
    int apart = w->q_norm != NULL || h->rope_gather; /* q and k take two steps */
    const struct { float **to; size_t size; } pieces[] = {
        { &a->x, n * n_embd }, { &a->xn, n * n_embd }, { &a->q, n * heads }, { &a->k, n * kv },
        { &a->q0, apart ? n * heads : 0 }, { &a->k0, apart ? n * kv : 0 },
        { &a->v, n * kv }, { &a->mix, n * heads }, { &a->o, n * n_embd }, { &a->y, n * n_embd },
        { &a->yn, n * n_embd }, { &a->gate, ff }, { &a->up, ff }, { &a->act, ff },
        { &a->f, n * n_embd }, { &a->down, e * n_embd }, { &a->pick, e * n_embd },
        { &a->route, n * (size_t)h->n_expert },
    };
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        *pieces[i].to = tape ? tape + used : NULL;
        used += (pieces[i].size + 15) / 16 * 16;
    }
    if (!apart) a->q0 = a->q, a->k0 = a->k;
    return used;
}

PITH_SHARED pith__acts pith__acts_at(const pith_session *s, int l) {
    pith__acts a;
    pith__acts_place(s, &a, s->tape + (size_t)l * s->stride);
    if (s->streams) a.x = s->streams + (size_t)l * (size_t)s->n_batch * (size_t)s->model->hyper.n_embd;
    return a;
}

static size_t widest(const pith__hyper *h) {
    size_t most = (size_t)h->n_embd, heads = (size_t)h->n_head * (size_t)h->head_dim;
    if (heads > most) most = heads;
    if ((size_t)h->n_ff > most) most = (size_t)h->n_ff;
    if ((size_t)h->n_ff_expert > most) most = (size_t)h->n_ff_expert;
    return most;
}

static size_t smallest_group(const pith_model *m) { /* that share an input's scale */
    const pith__ffn *ffn = m->layer->ffn; /* llama2.c's int8 files have one group size */
    return ffn->up.group && ffn->up.group < 32 ? ffn->up.group : 32;
}

static int round_to_16(int n) { return n > INT32_MAX - 15 ? INT32_MAX / 16 * 16 : (n + 15) / 16 * 16; }

static void place_cache(pith_session *s, layout *y) {
    const pith_model *m = s->model;
    size_t n_kv = (size_t)m->hyper.n_kv_head;
    s->k = piece(y, (size_t)m->hyper.n_layer, sizeof *s->k);
    s->v = piece(y, (size_t)m->hyper.n_layer, sizeof *s->v);
    for (int l = 0; l < m->hyper.n_layer; l++) {
        int n_slot = m->layer[l].window ? s->n_slot_window : s->n_slot;
        size_t k = pith__cache_plane(s->k_format, m->hyper.head_dim, n_slot);
        size_t v = pith__cache_plane(s->v_format, m->hyper.head_dim, n_slot);
        if (!k || !v) y->overflow = 1;
        void *kp = piece(y, n_kv, k), *vp = piece(y, n_kv, v);
        if (y->base) s->k[l] = kp, s->v[l] = vp;
    }
}

/* Everything a session has, after the session itself. The sizes are checked by arithmetic on the whole:
 * an activation is at most a few times the largest matrix of the model, which is in memory already. */
static void place(pith_session *s, layout *y, int keep) {
    const pith_model *m = s->model;
    const pith__hyper *h = &m->hyper;
    size_t n_vocab = (size_t)h->n_vocab, n_batch = (size_t)s->n_batch, wide = widest(h);
    size_t rows = n_batch * (size_t)(h->n_expert ? h->n_expert_used : 1), blocks = (wide + 31) / 32;
    pith__acts a;
    int n_slot = s->n_slot;
    for (int l = 0; l < h->n_layer; l++) /* the window may be set and still see everything */
        if (m->layer[l].window && s->n_slot_window > n_slot) n_slot = s->n_slot_window;

    s->tokens = piece(y, (size_t)s->n_ctx, sizeof *s->tokens);
    s->logits = piece(y, n_vocab, sizeof *s->logits);
    s->probs = piece(y, n_vocab, sizeof *s->probs);
    s->order = piece(y, n_vocab, sizeof *s->order);
    size_t layer_floats = pith__acts_place(s, &a, NULL), n_act = (size_t)h->n_layer + 1;
    s->stride = keep == 1 ? layer_floats : 0;
    s->tape = piece(y, keep == 1 ? n_act : 1, layer_floats * sizeof *s->tape);
    s->streams = keep == 2 ? piece(y, n_act, n_batch * (size_t)h->n_embd * sizeof *s->streams) : NULL;
    for (int set = 0; set < 2; set++)
        s->turn[set] = piece(y, m->rope[set].freq ? n_batch : 0, (size_t)h->n_rot * sizeof(float));
    s->in.q = piece(y, rows, blocks * 32);
    s->in.d = piece(y, rows, (wide / smallest_group(m) + 1) * sizeof *s->in.d);
    s->in.sum = piece(y, rows, 2 * blocks * sizeof *s->in.sum);
    s->in.tiles = piece(y, 1, pith__tiles_bytes(rows, wide));
    size_t matmul = pith__matmul_scratch(wide);
    size_t attend = pith__attend_scratch(h->n_head / h->n_kv_head, h->head_dim, n_slot);
    s->team.scratch_bytes = ((matmul > attend ? matmul : attend) + 63) / 64 * 64;
    s->team.scratch = piece(y, (size_t)s->team.n_threads, s->team.scratch_bytes);
    place_cache(s, y);
}

static int cache_format(const pith_model *m, const char *name, const pith__format **f,
                        pith_error *err) {
    *f = name ? pith__format_named(name) : pith__format_of(m->cache_format);
    int id = *f ? (*f)->id : -1;
    if (id != PITH__F32 && id != PITH__F16 && id != PITH__Q8_0)
        return pith__fail(err, PITH_EARG, "cache type '%s' is not f32, f16 or q8_0", name);
    if (!pith__cache_plane(*f, m->hyper.head_dim, 16))
        return pith__fail(err, PITH_EARG, "cache type %s needs heads of a multiple of %d channels, "
                          "these have %d", (*f)->name, (*f)->length, m->hyper.head_dim);
    return PITH_OK;
}

/* The numbers of a session before it has memory. */
static int plan(pith_session *s, const pith_model *m, const pith_context *c, pith_error *err) {
    static const pith_context defaults;
    if (!c) c = &defaults;
    memset(s, 0, sizeof *s);
    if (c->n_ctx < 0 || c->n_batch < 0)
        return pith__fail(err, PITH_EARG, "the context is %d and the batch %d tokens, need 0 or more",
                          c->n_ctx, c->n_batch);
    s->model = m;
    s->n_ctx = c->n_ctx ? c->n_ctx : m->hyper.n_ctx;
    s->n_batch = c->n_batch ? c->n_batch : 256;
    if (s->n_batch > s->n_ctx) s->n_batch = s->n_ctx;
    s->n_slot = s->n_slot_window = round_to_16(s->n_ctx);
    for (int l = 0; l < m->hyper.n_layer; l++) { /* the window of a batch's first token, and the batch */
        int w = m->layer[l].window;
        if (w && w < s->n_ctx - s->n_batch) s->n_slot_window = round_to_16(w + s->n_batch);
    }
    s->team.kernels = m->kernels;
    s->team.n_threads = m->n_threads;
    int code = cache_format(m, c->cache_k, &s->k_format, err);
    return code ? code : cache_format(m, c->cache_v, &s->v_format, err);
}

/* Bytes for a session as planned, itself included and room to align it; 0: more than can be counted. */
static size_t planned_size(pith_session *s, int keep) {
    layout y = { NULL, 64 + (sizeof *s + 63) / 64 * 64, 0 };
    place(s, &y, keep);
    return y.overflow ? 0 : y.used;
}

static pith_session *settle(const pith_session *planned, void *mem, int keep) {
    uint8_t *base = (uint8_t *)mem + (64 - (uintptr_t)mem % 64) % 64;
    pith_session *s = (pith_session *)(void *)base;
    *s = *planned;
    layout y = { base, (sizeof *s + 63) / 64 * 64, 0 };
    place(s, &y, keep);
    if (s->team.n_threads > 1) s->team.n_threads = pith__threads(s->team.n_threads);
    return s;
}

PITH_SHARED pith_session *pith__session_new(const pith_model *m, const pith_context *c, int keep,
                                            pith_error *err) {
    pith_session planned;
    if (plan(&planned, m, c, err)) return NULL;
    size_t size = planned_size(&planned, keep);
    void *mem = size ? calloc(1, size) : NULL;
    if (!mem) {
        pith__fail(err, PITH_EMEMORY, "%s: no memory for a session of %d tokens (%.1f MB)",
                   m->store.path, planned.n_ctx, (double)size / 1e6);
        return NULL;
    }
    pith_session *s = settle(&planned, mem, keep);
    s->memory = mem;
    return s;
}

pith_session *pith_session_new(const pith_model *m, const pith_context *c, pith_error *err) {
    return pith__session_new(m, c, 0, err);
}

PITH_SHARED size_t pith__session_bytes(const pith_model *m, const pith_context *c, int keep) {
    pith_session planned;
    return plan(&planned, m, c, NULL) ? 0 : planned_size(&planned, keep);
}

size_t pith_session_size(const pith_model *m, const pith_context *c) {
    return pith__session_bytes(m, c, 0);
}

pith_session *pith_session_place(const pith_model *m, const pith_context *c, void *mem, size_t size,
                                 pith_error *err) {
    pith_session planned;
    if (plan(&planned, m, c, err)) return NULL;
    size_t need = planned_size(&planned, 0);
    if (!need || size < need) {
        pith__fail(err, PITH_EMEMORY, "a session of %d tokens needs %zu bytes, given %zu",
                   planned.n_ctx, need, size);
        return NULL;
    }
    memset(mem, 0, need);
    return settle(&planned, mem, 0);
}

void pith_session_free(pith_session *s) {
    if (s) free(s->memory);
}

/* ---- evaluating ------------------------------------------------------------------------------------ */

/* The one gate for tokens: below it nobody asks again. */
static int check_tokens(const pith_session *s, int from, const pith_token *t, int n, pith_error *err) {
    if (n < 0 || (n > 0 && !t)) return pith__fail(err, PITH_EARG, "%d tokens to evaluate", n);
    if (n > s->n_ctx - from)
        return pith__fail(err, PITH_EFULL, "the context of %d tokens is full: %d are there, %d more",
                          s->n_ctx, from, n);
    for (int i = 0; i < n; i++)
        if (t[i] < 0 || t[i] >= s->model->hyper.n_vocab)
            return pith__fail(err, PITH_EARG, "token %d is not in the vocabulary of %d", t[i],
                              s->model->hyper.n_vocab);
    return PITH_OK;
}

/* Longrope (Phi 3): a text longer than the model's first context is turned by other angles, the whole
 * of it. When it grows over that length, or is rewound below, the cache is made again: logits depend on
 * the text alone. Ding et al. 2024, arXiv:2402.13753. */
static void choose_angles(pith_session *s, int n) {
    int known = s->position, turned_long = known + n > s->model->n_ctx_original;
    if (!s->model->rope[0].freq_long || turned_long == s->turned_long) return;
    s->turned_long = turned_long;
    s->position = s->written = 0;
    for (int i = 0; i < known; i += s->n_batch)
        forward(s, s->tokens + i, known - i < s->n_batch ? known - i : s->n_batch);
}

typedef struct {
    pith_session *s;
    const pith_token *t; /* (n) */
    int n;
    float *logits;       /* (n, n_vocab) or NULL */
} eval_job;

static void evaluate(void *data) {
    const eval_job *job = data;
    pith_session *s = job->s;
    size_t n_vocab = (size_t)s->model->hyper.n_vocab;
    choose_angles(s, job->n);
    for (int i = 0; i < job->n; i += s->n_batch) {
        int m = job->n - i < s->n_batch ? job->n - i : s->n_batch;
        float *rows = job->logits ? job->logits + (size_t)i * n_vocab : NULL;
        forward(s, job->t + i, m);
        if (rows) pith__logits_of(s, 0, m, rows);
        if (i + m < job->n) continue;
        if (rows) memcpy(s->logits, rows + (size_t)(m - 1) * n_vocab, n_vocab * sizeof *rows);
        else pith__logits_of(s, m - 1, 1, s->logits);
    }
}

/* ---- guessing ahead -------------------------------------------------------------------------------- */

/* Text that repeats itself says what comes next: what followed where the last tokens stood before. The
 * guesses go through the model with the token before them, whose weights are read anyway, and wait with
 * their logits for whoever evaluates the same tokens. Prompt lookup: Saxena 2023,
 * github.com/apoorvumang/prompt-lookup-decoding; Yang et al. 2023, arXiv:2304.04487. */

/* The latest place after which the last k of n tokens stood before the end, or 0. */
static int stood_before(const pith_token *t, int n, int k) {
    for (int at = n - 1; at >= k; at--)
        if (t[at - 1] == t[n - 1] && !memcmp(t + at - k, t + n - k, (size_t)k * sizeof *t)) return at;
    return 0;
}

/* No more than fit the context, and the angles that the token alone would have. */
static int room_for_guesses(const pith_session *s) {
    int after = s->position + 1, most = s->draft.trust, n_short = s->model->n_ctx_original;
    if (most > s->n_ctx - after) most = s->n_ctx - after;
    if (s->model->rope[0].freq_long && after <= n_short && most > n_short - after) most = n_short - after;
    return s->watch ? 0 : most; /* who watches sees the text, each token once */
}

/* Token t, and after it guesses, behind the text; how many guesses. */
static int make_guesses(pith_session *s, pith_token t) {
    int n = s->position + 1, most = room_for_guesses(s);
    s->tokens[s->position] = t;
    int from = stood_before(s->tokens, n, 3);
    if (!from) from = stood_before(s->tokens, n, 2);
    if (!from) return 0;
    for (int i = 0; i < most; i++) s->tokens[n + i] = s->tokens[from + i]; /* may go round and round */
    return most;
}

/* How many of n tokens were guessed: their logits are there. */
static int take_guesses(pith_session *s, const pith_token *t, int n) {
    pith__draft *d = &s->draft;
    size_t n_vocab = (size_t)s->model->hyper.n_vocab;
    int k = 0;
    while (k < n && d->right < d->made && t[k] == s->tokens[s->position]) k++, s->position++, d->right++;
    if (k) memcpy(s->logits, d->logits + (size_t)d->right * n_vocab, n_vocab * sizeof *s->logits);
    d->n_right += k;
    return k;
}

/* What is left of the last guesses is wrong. */
static void drop_guesses(pith__draft *d) {
    if (d->made && d->right == d->made) d->trust *= 2;
    else if (d->made) d->trust = d->right + 1;
    if (d->trust > d->most) d->trust = d->most;
    d->made = d->right = 0;
}

static void evaluate_guessing(pith_session *s, pith_token t) {
    pith__draft *d = &s->draft;
    d->made = make_guesses(s, t);
    d->n_pass++;
    eval_job job = { s, s->tokens + s->position, 1 + d->made, d->logits };
    pith__together(&s->team, evaluate, &job);
    s->position -= d->made;
    memcpy(s->logits, d->logits, (size_t)s->model->hyper.n_vocab * sizeof *s->logits);
}

/* A token and its guesses are no more than a batch: the rings of windows have room for one beyond what its
 * first token looks back on, so that all guesses may turn out wrong. */
void pith_draft(pith_session *s, int n, float *room) {
    pith__draft none = { 0 };
    s->draft = none;
    if (n <= 0 || !room) return;
    s->draft.most = s->draft.trust = n < s->n_batch ? n : s->n_batch - 1;
    s->draft.logits = room;
}

/* ---- evaluating, from outside ---------------------------------------------------------------------- */

PITH_SHARED int pith__eval_all(pith_session *s, const pith_token *t, int n, float *logits,
                               pith_error *err) {
    int code = check_tokens(s, s->position, t, n, err);
    if (code) return code;
    int known = logits ? 0 : take_guesses(s, t, n);
    if (known == n) return PITH_OK;
    drop_guesses(&s->draft);
    eval_job job = { s, t + known, n - known, logits };
    if (s->draft.most && job.n == 1 && !logits) evaluate_guessing(s, *job.t);
    else pith__together(&s->team, evaluate, &job);
    return PITH_OK;
}

int pith_eval(pith_session *s, const pith_token *t, int n, pith_error *err) {
    return pith__eval_all(s, t, n, NULL, err);
}

int pith_position(const pith_session *s) { return s->position; }

/* Layers with a window keep no more than n_slot_window positions: those that the token at the new
 * position looks back on must still be there. */
int pith_rewind(pith_session *s, int position) {
    const pith__hyper *h = &s->model->hyper;
    if (position < 0) position = 0;
    if (position >= s->position) return s->position;
    for (int l = 0; l < h->n_layer; l++) {
        int w = s->model->layer[l].window;
        if (w && s->written - s->n_slot_window > (position - w + 1 > 0 ? position - w + 1 : 0)) position = 0;
    }
    s->position = position;
    s->draft.made = s->draft.right = 0;
    if (position == 0) s->written = 0;
    return position;
}

/* The last token is evaluated again even when it is known, unless nothing changes: the logits are not
 * those of an earlier position. */
int pith_sync(pith_session *s, const pith_token *t, int n, pith_error *err) {
    int code = check_tokens(s, 0, t, n, err), same = 0;
    if (code) return code;
    while (same < n && same < s->position && s->tokens[same] == t[same]) same++;
    if (same == n && same == s->position) return PITH_OK;
    same = pith_rewind(s, same < n ? same : n - 1);
    return pith_eval(s, t + same, n - same, err);
}

const float *pith_logits(const pith_session *s) { return s->logits; }

float pith_logprob(const pith_session *s, pith_token t) {
    int n = s->model->hyper.n_vocab;
    if (t < 0 || t >= n) return -INFINITY;
    double most = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        if (s->logits[i] > most) most = s->logits[i];
    for (int i = 0; i < n; i++) sum += exp(s->logits[i] - most);
    return (float)(s->logits[t] - most - log(sum));
}
