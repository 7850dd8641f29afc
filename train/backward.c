/* backward.c - the backward pass through forward.c: how the loss changes with every weight.
 *
 * It gets the activations that the forward pass left on the tape, and the gradient of the loss by what
 * came out of the last block. It adds the gradient of every weight that learns to where pith__grad
 * says. A function d_f here goes back through the function f of forward.c or of the kernels, and its
 * comment begins with what f does. It reads the gradient dy and gives dx: where y = f(x), dx = f'(x)
 * dy, and what was read twice gets the sum of two gradients (Rumelhart, Hinton and Williams 1986).
 *
 * Every sum has one order, whoever computes it: a weight's gradient runs over the tokens from the
 * first to the last, one sequence after the other. So the bits depend neither on the number of
 * threads nor on how many sequences are learned from at a time. */
#include "train.h"

#include <math.h>
#include <string.h>

/* ---- RoPE -------------------------------------------------------------------------------- */

/* Forward: a, b = a c - b s, a s + b c. Backward is the rotation by the negative angle. */
static void d_rope(float *dx, const float *cs, int n_rot, int half) {
    int step = half ? 1 : 2, apart = half ? n_rot / 2 : 1;
    for (int i = 0; i < n_rot / 2; i++) {
        float *a = dx + i * step, *b = a + apart;
        float c = cs[2 * i], s = cs[2 * i + 1], a0 = *a, b0 = *b;
        *a = a0 * c + b0 * s;
        *b = b0 * c - a0 * s;
    }
}

/* ---- the block --------------------------------------------------------------------------- */

/* Forward: out = norm(x, w), where x is the stream with what was added to it (BERT). d.x comes in as the gradient of out
 * and goes out as that of x. d_out is room. */
static void d_out_norm(const pith__d_block *b, float *d_out, const float *x, const pith__norm *w) {
    if (!w->w.floats) return;
    memcpy(d_out, b->d.x, b->n * b->n_embd * sizeof *d_out);
    pith__d_norm(b->tape, b->d.x, d_out, x, w, b->n, 0);
}

/* Forward: x[2 i], x[2 i + 1] = x0[i], x0[i + n_rot / 2]; channels that are not rotated stay. */
static void d_gather_pairs(float *dx0, const float *dx, size_t n_rot, size_t dim) {
    for (size_t i = 0; i < n_rot / 2; i++) {
        dx0[i] = dx[2 * i];
        dx0[i + n_rot / 2] = dx[2 * i + 1];
    }
    for (size_t i = n_rot; i < dim; i++) dx0[i] = dx[i];
}

/* Forward: rotate() of n rows of cols numbers. */
static void d_rotate(const pith__d_block *b, float *dx, size_t cols) {
    size_t dim = (size_t)b->layer->head_dim, n_rot = (size_t)b->layer->n_rot;
    if (b->layer->rope < 0) return;
    const float *angles = b->tape->s->pass->rope_table[b->layer->rope];
    for (size_t at = 0; at < b->n * cols; at += dim)
        d_rope(dx + at, angles + at / cols * n_rot, (int)n_rot, b->h->rope_half);
}

/* Forward: queries or keys, (n, heads, head_dim), get their bias, their norm and RoPE, in this order.
 * dx holds the gradient of the result. dx0, the same memory where there is no norm, gets the gradient of
 * the product with the weights. */
static void d_bias_norm_rope(const pith__d_block *b, float *dx, float *dx0, const float *x0,
                             const pith__weight *bias, const pith__norm *w, int heads) {
    size_t dim = (size_t)b->layer->head_dim, n_rot = (size_t)b->layer->n_rot, cols = (size_t)heads * dim;
    if (!b->h->qk_norm_late) d_rotate(b, dx, cols);
    if (w->w.floats) pith__d_norm(b->tape, dx0, dx, x0, w, b->n * cols / w->w.tensor.cols, 0);
    for (size_t at = 0; b->h->rope_gather && at < b->n * cols; at += dim)
        d_gather_pairs(dx0 + at, dx + at, n_rot, dim);
    if (b->h->qk_norm_late) d_rotate(b, dx0, cols);
    pith__d_add_bias(b, dx0, bias, b->n);
}

/* Forward: inner = attn * sigmoid(gate), where mix_in is, head by head, a query and its gates, or one gate a head. d.inner
 * becomes d.attn, and the gradients of gates stand where those are. */
static void d_gate_heads(const pith__d_block *b) {
    size_t dim = (size_t)b->layer->head_dim;
    int one = b->layer->one_gate;
    for (size_t h = 0; h < b->n * (size_t)b->layer->n_head; h++) {
        float all = 0;
        for (size_t i = 0; i < dim; i++) {
            size_t at = h * dim + i, gate = one ? h : (2 * h + 1) * dim + i;
            float s = 1 / (1 + expf(-b->a.mix_in[gate])), d = b->d.inner[at], dg = d * b->a.attn[at] * s * (1 - s);
            b->d.attn[at] = d * s;
            if (one) all += dg;
            else b->d.mix_in[gate] = dg;
        }
        if (one) b->d.mix_in[h] = all;
    }
}

/* Forward: q0 is taken from mix_in. */
static void d_take_queries(const pith__d_block *b) {
    size_t dim = (size_t)b->layer->head_dim;
    for (size_t h = 0; h < b->n * (size_t)b->layer->n_head; h++)
        memcpy(b->d.mix_in + 2 * h * dim, b->d.q0 + h * dim, dim * sizeof *b->d.q0);
}

/* Forward: keys and values are what their products gave, normed, and keys rotated. Values may be keys before that. */
static void d_keys_and_values(const pith__d_block *b) {
    const pith__layer *w = b->layer;
    size_t rows = b->n * (size_t)w->n_kv_head;
    int own = w->v.tensor.data != NULL;
    d_bias_norm_rope(b, b->d.k, b->d.k0, b->a.k0, &w->k_bias, &w->k_norm, w->n_kv_head);
    if (w->v_norm.w.floats)
        pith__d_norm(b->tape, own ? b->d.v0 : b->d.k0, b->d.v, own ? b->a.v0 : b->a.k0, &w->v_norm, rows, !own);
    pith__d_add_bias(b, b->d.v0, &w->v_bias, b->n);
}

static void add_numbers(float *to, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) to[i] += x[i];
}

/* Keys and values that several layers see: their gradient is a sum, and the last layer's part comes first. */
static void d_seen(const pith__d_block *b) {
    const pith__layer *w = b->layer;
    size_t n = b->n * (size_t)w->n_kv_head * (size_t)w->head_dim;
    int own = w->kv_from == b->l;
    if (own && !w->kv_seen) return;
    pith__seen s = pith__seen_of(b->tape, w->kv_from);
    add_numbers(own ? b->d.k : s.dk, own ? s.dk : b->d.k, n);
    add_numbers(own ? b->d.v : s.dv, own ? s.dv : b->d.v, n);
}

/* Forward: y = x + the attention of every head. */
static void d_attention(const pith__d_block *b) {
    const pith__hyper *h = b->h;
    const pith__layer *w = b->layer;
    pith__acts a = b->a, d = b->d;
    int own = w->kv_from == b->l, gated = w->head_gates || w->one_gate;

    d_out_norm(b, d.y0, a.y0, &w->attn_out_norm);
    pith__d_add_to_stream(b, a.o, d.o, &w->attn_post_norm);
    pith__d_add_bias(b, d.o, &w->o_bias, b->n);
    pith__d_project(b, gated ? d.inner : d.attn, d.o, &w->o, gated ? a.inner : a.attn, b->n, 0);
    if (gated) d_gate_heads(b);
    if (!own) a.k = pith__seen_of(b->tape, w->kv_from).k, a.v = pith__seen_of(b->tape, w->kv_from).v;
    pith__d_attention job = {
        .tape = b->tape,
        .q = a.q,
        .k = a.k,
        .v = a.v,
        .dy = d.attn,
        .dq = d.q,
        .dk = d.k,
        .dv = d.v,
        .n = b->n,
        .n_head = (size_t)w->n_head,
        .n_kv_head = (size_t)w->n_kv_head,
        .head_dim = (size_t)w->head_dim,
        .mask = w->mask,
        .scale = h->attn_scale,
        .softcap = h->attn_softcap,
    };
    pith__d_attend(&job);
    d_seen(b);
    size_t n_q = (size_t)w->n_head * (size_t)w->head_dim;
    for (size_t t = 0; t < b->n; t++) pith__temper(b->tape->s->pass, d.q + t * n_q, n_q, t);
    d_bias_norm_rope(b, d.q, d.q0, a.q0, &w->q_bias, &w->q_norm, w->n_head);
    if (own) d_keys_and_values(b);
    const float *xn = pith__d_normed(b, a.xn, a.x, &w->attn_norm);
    if (w->head_gates) d_take_queries(b);
    pith__d_project(b, d.xn, w->head_gates ? d.mix_in : d.q0, &w->q, xn, b->n, 0);
    if (own) pith__d_project(b, d.xn, d.k0, &w->k, xn, b->n, 1);
    if (w->v.tensor.data) pith__d_project(b, d.xn, d.v0, &w->v, xn, b->n, 1);
    if (w->one_gate) pith__d_project(b, d.xn, d.mix_in, &w->gate, xn, b->n, 1);
    pith__d_norm(b->tape, d.x, d.xn, a.x, &w->attn_norm, b->n, 1);
}

static void d_mix(const pith__d_block *b) {
    if (b->layer->mixer == PITH__DELTA) pith__d_run_delta(b);
    else if (b->layer->mixer == PITH__MAMBA) pith__d_run_mamba(b);
    else if (b->layer->mixer == PITH__SHORTCONV) pith__d_run_shortconv(b);
    else d_attention(b);
}

/* The stream as the network reads it, see network_input in forward.c, before the norm of it. */
static const float *read_by_network(const pith__d_block *b) { return b->h->parallel ? b->a.x : b->a.y; }
static const pith__norm *norm_of_network(const pith__d_block *b) { /* with one norm for both parts it is attention's */
    return b->h->parallel == 2 ? &b->layer->attn_norm : &b->layer->ffn_norm;
}

/* Forward: next = out_scale (z0 + what per-layer embeddings add), see per_layer_inputs in forward.c. d.x becomes the gradient
 * of z0. The factor does not learn, as it does not in transformers. */
static void d_per_layer_inputs(const pith__d_block *b) {
    const pith__layer *w = b->layer;
    const pith__kernels *k = b->tape->s->pass->kernels;
    size_t n = (size_t)b->h->n_ple, all = n * (size_t)b->h->n_layer;
    const float *by = w->out_scale.floats, *own = b->tape->s->pass->ple + (size_t)b->l * n;
    for (size_t i = 0; by && i < b->n * b->n_embd; i++) b->d.x[i] *= *by;
    if (!w->ple_gate.tensor.data) return;
    pith__d_add_to_stream(b, b->a.ple_out, b->d.ple_out, &w->ple_norm);
    pith__d_project(b, b->d.ple_act, b->d.ple_out, &w->ple_out, b->a.ple_act, b->n, 0);
    for (size_t t = 0; t < b->n; t++)
        k->d_gate(b->d.ple_gate + t * n, b->tape->d_ple + t * all + (size_t)b->l * n, b->d.ple_act + t * n, b->a.ple_gate + t * n,
                  own + t * all, n, b->h->act);
    pith__d_project(b, b->d.x, b->d.ple_gate, &w->ple_gate, b->a.z0, b->n, 1);
}

/* Forward: next = y + the feed-forward network of every token. d.x becomes the gradient of y, but for what comes back
 * from what the network read, which is left in d.yn. */
static void d_feed_forward(const pith__d_block *b) {
    const pith__layer *w = b->layer;
    const float *yn = pith__d_normed(b, b->h->parallel == 2 ? b->a.xn : b->a.yn, read_by_network(b), norm_of_network(b));
    d_out_norm(b, b->d.z0, b->a.z0, &w->ffn_out_norm);
    pith__d_add_to_stream(b, b->a.f, b->d.f, &w->ffn_post_norm);
    pith__d_run_ffn(b, yn, b->d.yn);
}

/* That of the network joins the gradient of y, or, where both parts of a block lie side by side, that of x: not before
 * attention has had its own. */
static void d_run_block(const pith__d_block *b) {
    d_per_layer_inputs(b);
    d_feed_forward(b);
    if (b->h->parallel) d_mix(b);
    pith__d_norm(b->tape, b->d.x, b->d.yn, read_by_network(b), norm_of_network(b), b->n, 1);
    if (!b->h->parallel) d_mix(b);
}

/* ---- all blocks -------------------------------------------------------------------------- */

/* Forward: x += row r of w. */
static void d_add_row(const pith__tape *tape, const float *dx, const pith__weight *w, size_t r, float scale) {
    float *g = pith__grad(tape->g, w);
    for (size_t i = 0, n = w->tensor.cols; g && i < n; i++) g[r * n + i] += scale * dx[i];
}

/* Forward: x = embd_scale * the token's row of the embedding + the rows of its position and type; normed in BERT. */
static void d_embed(const pith__tape *tape, const pith_token *tokens, size_t n) {
    const pith_session *s = tape->s;
    const pith_model *m = s->model;
    size_t n_embd = (size_t)m->hyper.n_embd;
    float *dx = tape->d.x;
    if (m->embd_norm.w.floats) { /* what came into the norm is not kept */
        pith__embed(s->pass, s->pass->part, tape->d.xn);
        memcpy(tape->d.y, dx, n * n_embd * sizeof *dx);
        pith__d_norm(tape, dx, tape->d.y, tape->d.xn, &m->embd_norm, n, 0);
    }
    for (size_t t = 0; t < n; t++, dx += n_embd) {
        d_add_row(tape, dx, &m->embd, (size_t)tokens[t], m->hyper.embd_scale);
        d_add_row(tape, dx, &m->positions, t, 1);
        d_add_row(tape, dx, &m->types, s->second_from && (int)t >= s->second_from, 1);
    }
}

/* Forward: what layers get of a token is half of it the token's own row, half a norm of its embedding x: make_ple in forward.c.
 * d_ple is the gradient of that. */
static void d_begin_ple(const pith__tape *tape, const pith_token *tokens, size_t n) {
    pith_pass *p = tape->s->pass;
    const pith_model *m = p->model;
    size_t layers = (size_t)m->hyper.n_layer, all = layers * (size_t)m->hyper.n_ple;
    const float *x = pith__acts_at(p, 0).x;
    float scale = 1 / sqrtf((float)m->hyper.n_embd), own_scale = sqrtf((float)m->hyper.n_ple), half = 1 / sqrtf(2);
    if (!all) return;
    pith__d_block b = { .tape = tape };
    pith__input in = pith__input_of(p, x, (int)n, (size_t)m->hyper.n_embd);
    pith__project(p, p->ple, &m->ple_proj, &in, p->part_of); /* nobody reads what was there any more */
    for (size_t i = 0; i < n * all; i++) p->ple[i] *= scale, tape->d_ple[i] *= half;
    for (size_t t = 0; t < n; t++) d_add_row(tape, tape->d_ple + t * all, &m->ple_embd, (size_t)tokens[t], own_scale);
    pith__d_norm(tape, tape->ple, tape->d_ple, p->ple, &m->ple_norm, n * layers, 0);
    for (size_t i = 0; i < n * all; i++) tape->ple[i] *= scale;
    pith__d_project(&b, tape->d.x, tape->ple, &m->ple_proj, x, n, 1);
}

PITH_SHARED pith__seen pith__seen_of(const pith__tape *tape, int l) {
    const pith__layer *w = tape->s->model->layer;
    size_t n = (size_t)tape->s->n_batch;
    float *at = tape->seen;
    for (const pith__layer *x = w; x < w + l; x++) at += x->kv_seen ? 4 * n * (size_t)(x->n_kv_head * x->head_dim) : 0;
    n *= (size_t)(w[l].n_kv_head * w[l].head_dim);
    return (pith__seen){ at, at + n, at + 2 * n, at + 3 * n };
}

/* Layers behind l come first on the way back, and need its keys and values. */
static void keep_seen(const pith__tape *tape, int l, size_t n) {
    const pith__layer *w = &tape->s->model->layer[l];
    if (!w->kv_seen) return;
    if (tape->s->pass->streams) pith__run_block(tape->s->pass, l);
    pith__acts a = pith__acts_at(tape->s->pass, l);
    pith__seen s = pith__seen_of(tape, l);
    size_t bytes = n * (size_t)(w->n_kv_head * w->head_dim) * sizeof *s.k;
    memcpy(s.k, a.k, bytes), memcpy(s.v, a.v, bytes);
    memset(s.dk, 0, bytes), memset(s.dv, 0, bytes);
}

PITH_SHARED void pith__backward(const pith__tape *tape, const pith_token *tokens, int n) {
    const pith_model *m = tape->s->model;
    for (int l = 0; l < m->hyper.n_layer; l++) keep_seen(tape, l, (size_t)n);
    for (int l = m->hyper.n_layer - 1; l >= 0; l--) {
        if (tape->s->pass->streams) pith__run_block(tape->s->pass, l);
        pith__d_block b = { tape, &m->hyper, &m->layer[l], pith__acts_at(tape->s->pass, l), tape->d, (size_t)n,
                      (size_t)m->hyper.n_embd, l };
        d_run_block(&b);
    }
    d_begin_ple(tape, tokens, (size_t)n);
    d_embed(tape, tokens, (size_t)n);
}
