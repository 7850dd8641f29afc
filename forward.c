/* forward.c - the Transformer: tokens in, logits out.
 *
 * A token becomes a vector (its row of the embedding) that flows through the blocks of the model: the
 * residual stream. Each block adds to it twice: attention brings in what the tokens that it sees hold (the
 * mask says which; in a causal model those before it), the feed-forward network works on each token alone.
 * After the last block a norm and one matmul give a number for every token of the vocabulary, how likely it
 * comes next: the logits. Generation is autoregressive: a token chosen by them is the next input (generate.c).
 *     Vaswani et al. 2017, arXiv:1706.03762; Touvron et al. 2023, arXiv:2302.13971.
 *
 * Many tokens go through at once (prefill: each weight is read once for all of them) or one (decode); the
 * bits of the result are the same. Keys and values of earlier tokens are in the session's KV cache. */
#include "internal.h"

#include <math.h>
#include <string.h>

/* ---- activations -------------------------------------------------------------------------------- */

/* The first layer of attention, whose parts all others have; or, where none is, the first. */
static const pith__layer *attention_layer(const pith_model *m) {
    for (int l = 0; l < m->hyper.n_layer; l++)
        if (m->layer[l].mixer == PITH__ATTENTION) return &m->layer[l];
    return m->layer;
}

/* A layer's activations from to[0] on, and, where divide is 1, those that are cheap to compute again from to[1] on; or,
 * NULL, only count their floats: parts of whole cache lines. */
static void lay_acts(const pith_pass *p, pith__acts *a, int divide, float *const to[2], size_t used[2]) {
    const pith__hyper *h = &p->model->hyper;
    const pith__layer *w = attention_layer(p->model);
    size_t n = (size_t)p->n_batch, n_embd = (size_t)h->n_embd, heads = (size_t)h->n_q, kv = (size_t)h->n_kv;
    size_t rows = h->n_expert ? n * (size_t)h->n_expert_used : n, e = h->n_expert ? rows : 0;
    size_t shared = h->n_ff_shared ? n : 0;
    size_t wide = (size_t)h->n_ff * n, wide_e = (size_t)h->n_ff_expert * rows + (size_t)h->n_ff_shared * n;
    size_t ff = wide > wide_e ? wide : wide_e;
    int two_steps = w->q_norm.w.floats != NULL || h->rope_gather; /* for q and k */
    int post_attn = w->attn_post_norm.w.floats != NULL, post_ffn = w->ffn_post_norm.w.floats != NULL;
    size_t latent = (size_t)h->latent.rank, nope = (size_t)h->latent.n_nope, n_head = n * (size_t)h->n_head; /* of all rows */
    size_t outs = w->attn_out_norm.w.floats ? n * n_embd : 0, gate = h->gated ? ff : 0, ple = n * (size_t)h->n_ple;
    const struct { float **at; size_t size; int keep; } pieces[] = {
        { &a->x, n * n_embd, 1 }, { &a->xn, n * n_embd, 0 }, { &a->q, n * heads, 1 }, { &a->k, n * kv, 1 },
        { &a->q0, two_steps ? n * heads : 0, 1 }, { &a->k0, two_steps ? n * kv : 0, 1 },
        { &a->v, n * kv, 1 }, { &a->v0, w->v_norm.w.floats ? n * kv : 0, 1 }, { &a->attn, n * heads, 1 },
        { &a->low_q, n * (size_t)h->latent.q_rank, 1 }, { &a->heads_q, latent ? n_head * (nope + (size_t)h->n_rot) : 0, 1 },
        { &a->k_in, n_head * nope, 1 }, { &a->v_in, n_head * latent, 1 }, { &a->heads, n_head * (size_t)h->latent.n_value, 1 },
        { &a->mix_in, n * (size_t)h->n_mix_in, 1 },
        { &a->conv_in, n * (size_t)h->n_conv, 1 }, { &a->conv, n * (size_t)h->n_conv, 1 }, { &a->inner, n * (size_t)h->n_inner, 1 },
        { &a->o, n * n_embd, post_attn }, { &a->y, n * n_embd, 1 },
        { &a->y0, outs, 1 }, { &a->z0, ple ? n * n_embd : outs, 1 }, { &a->yn, n * n_embd, 0 },
        { &a->gate, gate, 1 }, { &a->up, ff, 1 }, { &a->act, ff, 0 },
        { &a->f, n * n_embd, post_ffn }, { &a->down, (e + shared) * n_embd, 1 }, { &a->pick, e * n_embd, 1 },
        { &a->route, n * (size_t)h->n_expert, 1 }, { &a->score, n * (size_t)h->n_expert, 0 }, { &a->share, shared, 1 },
        { &a->rx, w->router_norm.w.floats ? n * n_embd : 0, 0 },
        { &a->ple_gate, ple, 1 }, { &a->ple_act, ple, 1 }, { &a->ple_out, ple ? n * n_embd : 0, 1 },
    };
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        int which = divide && !pieces[i].keep;
        *pieces[i].at = to[which] ? to[which] + used[which] : NULL;
        used[which] += (pieces[i].size + 15) / 16 * 16;
    }
    if (!two_steps) a->q0 = a->q, a->k0 = a->k;
    if (!w->v_norm.w.floats) a->v0 = a->v;
    if (!outs) a->y0 = a->y;
}

PITH_SHARED size_t pith__acts_place(const pith_pass *p, pith__acts *a, float *tape) {
    float *const to[2] = { tape, NULL };
    size_t used[2] = { 0, 0 };
    lay_acts(p, a, 0, to, used);
    return used[0];
}

PITH_SHARED size_t pith__acts_again(const pith_pass *p, size_t *kept) {
    pith__acts a;
    float *const to[2] = { NULL, NULL };
    size_t used[2] = { 0, 0 };
    lay_acts(p, &a, 1, to, used);
    *kept = used[0];
    return used[1];
}

PITH_SHARED pith__acts pith__acts_at(const pith_pass *p, int l) {
    pith__acts a;
    float *const to[2] = { p->tape + (size_t)l * p->stride, p->again };
    size_t used[2] = { 0, 0 };
    lay_acts(p, &a, p->again != NULL, to, used);
    if (p->streams) a.x = p->streams + (size_t)l * (size_t)p->n_batch * (size_t)p->model->hyper.n_embd;
    return a;
}

/* ---- the block ------------------------------------------------------------------------------------- */

/* The norm of row t; a family without this norm takes the rows as they are. */
static void norm_row(const pith__block *b, float *y, const float *x, const pith__norm *w, size_t t) {
    size_t at = t * (size_t)b->h->n_embd;
    if (w->w.floats) pith__run_norm(b->pass, y + at, x + at, w);
}

/* out = stream + what was added, which a post-norm (Gemma 2, OLMo 2) may shape first. */
static void add_to_stream(const pith__block *b, float *out, const float *stream, const float *added,
                          const pith__norm *post_norm, size_t t) {
    size_t n_embd = (size_t)b->h->n_embd, at = t * n_embd;
    const float *f = added + at;
    if (post_norm->w.floats) {
        pith__run_norm(b->pass, out + at, f, post_norm);
        f = out + at;
    }
    b->pass->kernels->add(out + at, stream + at, f, b->h->residual_scale, n_embd);
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

/* RoPE: n numbers of queries or keys of row t, rotated by the angles of the token's position. */
static void rotate(const pith__block *b, float *x, size_t n, size_t t) {
    size_t n_rot = (size_t)b->layer->n_rot;
    if (b->layer->rope < 0) return;
    const float *angles = b->pass->rope_table[b->layer->rope] + t * n_rot;
    for (size_t at = 0; at < n; at += (size_t)b->layer->head_dim)
        b->pass->kernels->rope(x + at, angles, (int)n_rot, b->h->rope_half);
}

static void clamp_row(const pith__block *b, float *x, size_t n) {
    float most = b->h->qkv_limit;
    for (size_t i = 0; most > 0 && i < n; i++) x[i] = x[i] > most ? most : x[i] < -most ? -most : x[i]; /* NaN stays */
}

/* One token's queries or keys, (heads, head_dim): bias, q/k norm (Qwen 3, Gemma 3: head by head; OLMo 2: as a
 * whole), and the rotation, which in nanochat comes before the norm. */
static void bias_norm_rope(const pith__block *b, float *x, float *x0, const pith__weight *bias,
                           const pith__norm *w, int heads, size_t t) {
    size_t dim = (size_t)b->layer->head_dim, n_rot = (size_t)b->layer->n_rot, n = (size_t)heads * dim;
    x += t * n, x0 += t * n;
    pith__add_bias(b->pass, x0, bias->floats, n);
    clamp_row(b, x0, n);
    if (b->h->qk_norm_late) rotate(b, x0, n, t);
    for (size_t at = 0; w->w.floats && at < n; at += w->w.tensor.cols) pith__run_norm(b->pass, x + at, x0 + at, w);
    if (!w->w.floats && x != x0 && !b->h->rope_gather) memcpy(x, x0, n * sizeof *x); /* other layers have norms (Llama 4) */
    for (size_t at = 0; b->h->rope_gather && at < n; at += dim)
        gather_pairs(x + at, x0 + at, n_rot, dim);
    if (!b->h->qk_norm_late) rotate(b, x, n, t);
}

static int slots_of(const pith__block *b, const pith_session *s) {
    return b->layer->mask.window ? s->n_slot_window : s->n_slot;
}

/* Keys and values go to their text's KV cache, where this and all later tokens find them. */
static void write_kv(const pith__block *b, size_t t) {
    const pith__part *part = b->pass->part + b->pass->part_of[t];
    const pith_session *s = part->s;
    int n_slot = slots_of(b, s), dim = b->layer->head_dim, n_kv = b->layer->n_kv_head;
    int slot = (part->position + (int)t - part->first) % n_slot;
    size_t k_plane = pith__cache_plane(s->k_format, dim, n_slot);
    size_t v_plane = pith__cache_plane(s->v_format, dim, n_slot);
    for (int h = 0; h < n_kv; h++) {
        size_t at = (t * (size_t)n_kv + (size_t)h) * (size_t)dim;
        pith__cache_key(s->k_format, s->k[b->l] + (size_t)h * k_plane, dim, slot, b->a.k + at);
        pith__cache_value(s->v_format, s->v[b->l] + (size_t)h * v_plane, dim, slot, b->a.v + at);
    }
}

static void before_mixer(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const pith__block *b = data;
    norm_row(b, b->a.xn, b->a.x, &b->layer->attn_norm, t);
}

/* mix_in of a token is, head by head, a query and the gates of what its attention brings in. */
static void take_queries(const pith__block *b, size_t t) {
    size_t dim = (size_t)b->layer->head_dim, n = (size_t)b->layer->n_head;
    for (size_t i = t * n; b->layer->head_gates && i < (t + 1) * n; i++)
        memcpy(b->a.q0 + i * dim, b->a.mix_in + 2 * i * dim, dim * sizeof *b->a.q0);
}

/* a.inner = attention times the sigmoid of its gates: of each channel, or one a head, which mix_in is then. */
static void gate_heads(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const pith__block *b = data;
    size_t dim = (size_t)b->layer->head_dim, n = (size_t)b->layer->n_head;
    for (size_t h = t * n; h < (t + 1) * n; h++) {
        int one = b->layer->one_gate;
        const float *gate = b->a.mix_in + (one ? h : (2 * h + 1) * dim), *x = b->a.attn + h * dim;
        for (size_t i = 0; i < dim; i++) b->a.inner[h * dim + i] = x[i] / (1 + expf(-gate[one ? 0 : i]));
    }
}

/* q/k norm, RoPE, then the KV cache; queries may be scaled. */
static void finish_qkv(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const pith__block *b = data;
    const pith__layer *w = b->layer;
    take_queries(b, t);
    bias_norm_rope(b, b->a.q, b->a.q0, &w->q_bias, &w->q_norm, w->n_head, t);
    size_t n_q = (size_t)w->n_head * (size_t)w->head_dim, dim = (size_t)w->head_dim, n = (size_t)w->n_kv_head * dim;
    if (!b->h->temper_plain || w->rope < 0) pith__temper(b->pass, b->a.q + t * n_q, n_q, t);
    if (w->kv_from != b->l) return;
    float *v = b->a.v + t * n, *from = (w->v.tensor.data ? b->a.v0 : b->a.k0) + t * n; /* before keys are normed and rotated */
    pith__add_bias(b->pass, b->a.v0 + t * n, w->v_bias.floats, n);
    clamp_row(b, b->a.v0 + t * n, n);
    for (size_t at = 0; w->v_norm.w.floats && at < n; at += dim) pith__run_norm(b->pass, v + at, from + at, &w->v_norm);
    bias_norm_rope(b, b->a.k, b->a.k0, &w->k_bias, &w->k_norm, w->n_kv_head, t);
    write_kv(b, t);
}

static void after_mixer(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const pith__block *b = data;
    const pith__layer *w = b->layer;
    pith__add_bias(b->pass, b->a.o + t * w->o.tensor.rows, w->o_bias.floats, w->o.tensor.rows);
    add_to_stream(b, b->a.y0, b->a.x, b->a.o, &w->attn_post_norm, t);
    norm_row(b, b->a.y, b->a.y0, &w->attn_out_norm, t);
}

/* The attention of a part of the pass, on its own text. */
static pith__attention attention_of(const pith__block *b, const pith__part *part) {
    const pith__layer *w = b->layer;
    const pith_session *s = part->s;
    int n_slot = slots_of(b, s);
    size_t at = (size_t)part->first * (size_t)(w->n_head * w->head_dim);
    return (pith__attention){
        .q = b->a.q + at, .y = b->a.attn + at, .k = s->k[b->l], .v = s->v[b->l],
        .k_plane = pith__cache_plane(s->k_format, w->head_dim, n_slot),
        .v_plane = pith__cache_plane(s->v_format, w->head_dim, n_slot),
        .k_format = s->k_format, .v_format = s->v_format, .n = part->n, .position = part->position,
        .n_head = w->n_head, .n_kv_head = w->n_kv_head, .head_dim = w->head_dim, .n_slot = n_slot,
        .mask = w->mask, .scale = b->h->attn_scale, .softcap = b->h->attn_softcap, .bias = b->pass->model->biases,
        .sinks = w->sinks.floats,
    };
}

/* a.o = the attention of every head, each on its own channels, to what the tokens of x (n, n_embd) see. */
static void attention(const pith__block *b, const float *x) {
    const pith__layer *w = b->layer;
    pith_pass *p = b->pass;
    pith__acts a = b->a;
    pith__input in = pith__input_of(p, x, b->n, (size_t)b->h->n_embd);
    pith__projection all[] = { { w->head_gates ? a.mix_in : a.q0, &w->q }, { a.k0, &w->k }, { a.v0, &w->v }, { a.mix_in, &w->gate } };
    pith__project_all(p, all, w->one_gate ? 4 : 3, &in, p->part_of);
    pith__each_token(b, finish_qkv);
    for (int i = 0; i < p->n_part; i++) p->attend[i] = attention_of(b, p->part + i);
    pith__attend(p->kernels, &p->team, p->attend, p->n_part, p->attend_parts);
    int gated = w->head_gates || w->one_gate;
    if (gated) pith__each_token(b, gate_heads);
    in = pith__input_of(p, gated ? a.inner : a.attn, b->n, w->o.tensor.cols);
    pith__project(p, a.o, &w->o, &in, p->part_of);
}

/* y = x + what the mixer, by which a token gets something from others, makes of the tokens it sees. */
static void mix(const pith__block *b) {
    const float *x = b->layer->attn_norm.w.floats ? b->a.xn : b->a.x;
    pith__each_token(b, before_mixer);
    switch (b->layer->mixer) {
    case PITH__ATTENTION: attention(b, x); break;
    case PITH__LATENT: pith__run_latent(b, x); break;
    case PITH__SHORTCONV: pith__run_shortconv(b, x); break;
    case PITH__DELTA: pith__run_delta(b, x); break;
    case PITH__MAMBA: pith__run_mamba(b, x); break;
    }
    pith__each_token(b, after_mixer);
}

/* The stream as the network reads it: GPT-NeoX does both parts of a block side by side. */
static const float *network_input(const pith__block *b) {
    return b->h->parallel == 2 && b->layer->attn_norm.w.floats ? b->a.xn : b->h->parallel ? b->a.x : b->a.y;
}

static void before_ffn(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const pith__block *b = data;
    norm_row(b, b->a.yn, network_input(b), &b->layer->ffn_norm, t);
}

/* What the block gives on of row t, times the factor that a layer may have. */
static void scale_row(const pith__block *b, size_t t) {
    const float *by = b->layer->out_scale.floats;
    float *x = b->next + t * (size_t)b->h->n_embd;
    for (int i = 0; by && i < b->h->n_embd; i++) x[i] *= *by;
}

static void after_ffn(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const pith__block *b = data;
    const pith__layer *w = b->layer;
    int ple = w->ple_gate.tensor.data != NULL;
    add_to_stream(b, w->ffn_out_norm.w.floats || ple ? b->a.z0 : b->next, b->a.y, b->a.f, &w->ffn_post_norm, t);
    norm_row(b, b->next, b->a.z0, &w->ffn_out_norm, t);
    if (!ple) scale_row(b, t);
}

/* What a layer gets of a token beside the stream, let through as the stream wants it. */
static void gate_ple(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const pith__block *b = data;
    size_t n = (size_t)b->h->n_ple, at = t * n;
    const float *own = b->pass->ple + (t * (size_t)b->h->n_layer + (size_t)b->l) * n;
    b->pass->kernels->gate(b->a.ple_act + at, b->a.ple_gate + at, own, n, b->h->act);
}

static void after_ple(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const pith__block *b = data;
    add_to_stream(b, b->next, b->a.z0, b->a.ple_out, &b->layer->ple_norm, t);
    scale_row(b, t);
}

/* Per-layer embeddings (Gemma 3n, Gemma 4). */
static void per_layer_inputs(const pith__block *b) {
    const pith__layer *w = b->layer;
    pith_pass *p = b->pass;
    if (!w->ple_gate.tensor.data) return;
    pith__input in = pith__input_of(p, b->a.z0, b->n, (size_t)b->h->n_embd);
    pith__project(p, b->a.ple_gate, &w->ple_gate, &in, p->part_of);
    pith__each_token(b, gate_ple);
    in = pith__input_of(p, b->a.ple_act, b->n, (size_t)b->h->n_ple);
    pith__project(p, b->a.ple_out, &w->ple_out, &in, p->part_of);
    pith__each_token(b, after_ple);
}

/* next = y + the feed-forward network of every token, or the experts that it uses (experts.c). */
static void feed_forward(const pith__block *b) {
    const pith__acts *a = &b->a;
    pith__each_token(b, before_ffn);
    const float *yn = b->layer->ffn_norm.w.floats ? a->yn : network_input(b);
    pith__run_ffn(b, yn, network_input(b));
    pith__each_token(b, after_ffn);
}

/* ---- all blocks ------------------------------------------------------------------------------------ */

/* RoPE: cosine and sine of every pair's angle at every row's position, for both sets of angles. */
static void fill_rope_table(pith_pass *p, const pith__part *part) {
    const pith_model *m = p->model;
    for (int set = 0; set < 2; set++) {
        const pith__rope *r = &m->rope[set];
        const float *freq = r->freq_long && part->s->long_rope ? r->freq_long : r->freq;
        float *to = freq ? p->rope_table[set] + (size_t)part->first * (size_t)r->n_rot : NULL;
        for (int t = 0; freq && t < part->n; t++) {
            for (int i = 0; i < r->n_rot / 2; i++) {
                float angle = (float)(part->position + t) * freq[i]; /* rounded as models were trained */
                *to++ = cosf(angle) * r->mscale;
                *to++ = sinf(angle) * r->mscale;
            }
        }
    }
}

/* x += row r of a matrix that a model may not have. */
static void add_row(const pith_pass *p, float *x, const pith__weight *w, size_t r) {
    if (!w->tensor.data) return;
    pith__row_floats(&w->tensor, r, p->row);
    for (size_t i = 0; i < w->tensor.cols; i++) x[i] += p->row[i];
}

/* The vector of each token: its row of the embedding, and where a model has them the rows of its position and type. */
PITH_SHARED void pith__embed(const pith_pass *p, const pith__part *part, float *x) {
    const pith_model *m = p->model;
    const pith__hyper *h = &m->hyper;
    const pith_session *s = part->s;
    for (int t = part->position; t < part->position + part->n; t++, x += h->n_embd) {
        pith__row_floats(&m->embd.tensor, (size_t)s->tokens[t], x);
        for (int i = 0; h->embd_scale != 1 && i < h->n_embd; i++) x[i] *= h->embd_scale;
        add_row(p, x, &m->positions, (size_t)t);
        add_row(p, x, &m->types, s->second_from && t >= s->second_from);
    }
}

/* What the layers get of row t: half of it is the token's own, half comes from its embedding. */
static void make_ple(const void *data, size_t t, uint8_t *scratch) {
    const pith_pass *p = data;
    const pith_model *m = p->model;
    const pith__part *part = p->part + p->part_of[t];
    size_t n = (size_t)m->hyper.n_ple, all = n * (size_t)m->hyper.n_layer;
    float *x = p->ple + t * all, *own = (float *)(void *)scratch;
    float scale = 1 / sqrtf((float)m->hyper.n_embd), own_scale = sqrtf((float)n), half = 1 / sqrtf(2);
    pith__row_floats(&m->ple_embd.tensor, (size_t)part->s->tokens[part->position + (int)t - part->first], own);
    for (size_t i = 0; i < all; i++) x[i] *= scale;
    for (size_t at = 0; at < all; at += n) pith__run_norm(p, x + at, x + at, &m->ple_norm);
    for (size_t i = 0; i < all; i++) x[i] = (x[i] + own[i] * own_scale) * half;
}

/* Of all rows, once for all layers. */
static void begin_ple(pith_pass *p) {
    const pith__hyper *h = &p->model->hyper;
    if (!h->n_ple) return;
    pith__input in = pith__input_of(p, pith__acts_at(p, 0).x, p->n_row, (size_t)h->n_embd);
    pith__project(p, p->ple, &p->model->ple_proj, &in, p->part_of);
    pith__share(&p->team, (size_t)p->n_row, pith__worth_it((size_t)p->n_row * p->model->ple_proj.tensor.rows), make_ple, p);
}

/* The stream as the first block gets it. */
static void begin_stream(const pith_pass *p, const pith__part *part, float *x) {
    const pith__norm *w = &p->model->embd_norm;
    size_t n_embd = (size_t)p->model->hyper.n_embd, first = (size_t)part->first * n_embd;
    pith__embed(p, part, x + first);
    for (size_t t = 0; w->w.floats && t < (size_t)part->n; t++) pith__run_norm(p, x + first + t * n_embd, x + first + t * n_embd, w);
}

PITH_SHARED void pith__run_block(pith_pass *p, int l) {
    const pith_model *m = p->model;
    const pith_session *s = p->part->s;
    pith__block b = { p, &m->layer[l], &m->hyper, pith__acts_at(p, l), pith__acts_at(p, l + 1).x, l, p->n_row };
    mix(&b);
    feed_forward(&b);
    per_layer_inputs(&b);
    if (s->watch) s->watch(s->watch_data, l, &b.a, b.n); /* it is alone in its passes */
}

/* All rows through all blocks; what comes out is pith__acts_at(p, n_layer).x. */
PITH_SHARED void pith__forward(pith_pass *p) {
    p->adapted = 0;
    for (int i = 0; i < p->n_part; i++) {
        p->adapted |= p->part[i].s->adapted.n > 0;
        begin_stream(p, p->part + i, pith__acts_at(p, 0).x);
        fill_rope_table(p, p->part + i);
    }
    begin_ple(p);
    for (int l = 0; l < p->model->hyper.n_layer; l++) pith__run_block(p, l);
    for (int i = 0; i < p->n_part; i++) {
        pith_session *s = p->part[i].s;
        s->position = p->part[i].position + p->part[i].n;
        if (s->lost < s->position - s->n_slot_window) s->lost = s->position - s->n_slot_window;
    }
}

/* ---- logits ---------------------------------------------------------------------------------------- */

typedef struct {
    const pith__hyper *h;
    float *x; /* (n) */
    size_t n;
} raw_logits;

enum { LOGITS = 1 << 14 }; /* of a task */

static void scale_logits(const void *data, size_t i, uint8_t *scratch) {
    (void)scratch;
    const raw_logits *raw = data;
    float scale = raw->h->logit_scale, cap = raw->h->logit_softcap, *x = raw->x + i * LOGITS;
    size_t n = raw->n - i * LOGITS < LOGITS ? raw->n - i * LOGITS : LOGITS;
    for (size_t k = 0; scale != 1 && k < n; k++) x[k] *= scale;
    for (size_t k = 0; cap > 0 && k < n; k++) x[k] = cap * tanhf(x[k] / cap);
}

/* The first n rows of xn, which are normed, through the output matrix. */
static void multiply_head(pith_pass *p, int n, float *logits) {
    const pith_model *m = p->model;
    const pith__hyper *h = &m->hyper;
    size_t rows = m->head.tensor.rows;
    pith__input in = pith__input_of(p, pith__acts_at(p, h->n_layer).xn, n, (size_t)h->n_embd);
    pith__matmul(p->kernels, &p->team, logits, rows, &m->head.tensor, &in);
    for (size_t i = 0; i < (size_t)n; i++) pith__add_bias(p, logits + i * rows, m->head_bias.floats, rows);
    raw_logits raw = { h, logits, (size_t)n * rows };
    if (h->logit_scale != 1 || h->logit_softcap > 0)
        pith__share(&p->team, (raw.n + LOGITS - 1) / LOGITS, pith__worth_it(raw.n), scale_logits, &raw);
}

/* What came out of row t, normed if the model has a norm there. */
static void norm_last(pith_pass *p, float *to, int t) {
    size_t n_embd = (size_t)p->model->hyper.n_embd;
    const float *x = pith__acts_at(p, p->model->hyper.n_layer).x + (size_t)t * n_embd;
    if (p->model->out_norm.w.floats) pith__run_norm(p, to, x, &p->model->out_norm);
    else memcpy(to, x, n_embd * sizeof *x);
}

PITH_SHARED void pith__out_norm(pith_pass *p, int i, int t) { /* as row i of xn */
    norm_last(p, pith__acts_at(p, p->model->hyper.n_layer).xn + (size_t)i * (size_t)p->model->hyper.n_embd, t);
}

PITH_SHARED void pith__logits_of(pith_pass *p, int t, int n, float *logits) {
    for (int i = 0; i < n; i++) pith__out_norm(p, i, t + i);
    multiply_head(p, n, logits);
}

PITH_SHARED void pith__logits_at(pith_pass *p, const int *t, int n, float *logits) {
    for (int i = 0; i < n; i++) pith__out_norm(p, i, t[i]);
    multiply_head(p, n, logits);
}

static void multiply_product(pith_pass *p, int n) {
    size_t rows = p->model->head.tensor.rows;
    multiply_head(p, n, p->product);
    for (int i = 0; i < n; i++) memcpy(p->product_to[i], p->product + (size_t)i * rows, rows * sizeof *p->product);
}

/* Of one part, logits are computed where they are wanted. Those of several are computed side by side, so that the
 * output matrix is read once, and copied. A session that wants a state instead has that. */
PITH_SHARED void pith__logits_of_parts(pith_pass *p) {
    int n = 0, n_part = 0;
    for (pith__part *part = p->part; part < p->part + p->n_part; part++) {
        if (part->s->hidden && part->n_logits) norm_last(p, part->s->hidden, part->first + part->n - 1), part->n_logits = 0;
        n_part += part->n_logits > 0;
    }
    int side_by_side = n_part > 1 && p->n_product > 1;
    for (const pith__part *part = p->part; part < p->part + p->n_part; part++) {
        int t = part->first + part->n - part->n_logits;
        if (part->n_logits && !side_by_side) pith__logits_of(p, t, part->n_logits, part->logits);
        for (int i = 0; i < part->n_logits && side_by_side; i++) {
            pith__out_norm(p, n, t + i);
            p->product_to[n++] = part->logits + (size_t)i * p->model->head.tensor.rows;
            if (n == p->n_product) multiply_product(p, n), n = 0;
        }
    }
    if (n) multiply_product(p, n);
}
