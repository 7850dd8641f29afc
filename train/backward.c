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
#include <stdlib.h>
#include <string.h>

/* ---- RoPE and norms ---------------------------------------------------------------------- */

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

/* Number i is added to lane i % 16, and the lanes are added as a fixed tree, as in every dot product. */
static float sum_of_lanes(float *sum) {
    for (size_t half = 8; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++) sum[i] += sum[i + half];
    return sum[0];
}

/* Forward: y[i] = w[i] * scale * x[i], where scale = 1 / sqrt(mean(x^2) + eps) depends on every x. */
static void d_rmsnorm(float *dx, const float *dy, const float *x, const float *w, size_t n,
                      float scale, int add) {
    float sum[16] = { 0 };
    for (size_t i = 0; i < n; i++) sum[i % 16] += dy[i] * w[i] * x[i];
    float pull = scale * scale / (float)n * sum_of_lanes(sum);
    for (size_t i = 0; i < n; i++) {
        float d = scale * (dy[i] * w[i] - pull * x[i]);
        dx[i] = add ? dx[i] + d : d;
    }
}

typedef struct { float mean, scale; } row_of_norm; /* of numbers: they become scale * (x - mean) */

/* Forward: y[i] = w[i] * scale * (x[i] - mean) + b[i], where scale = 1 / sqrt(mean((x - mean)^2) + eps). Every x moves
 * the mean, too: what is the same for all x gets no gradient. */
static void d_layernorm(float *dx, const float *dy, const float *x, const float *w, size_t n,
                        row_of_norm by, int add) {
    float sum[16] = { 0 }, all[16] = { 0 };
    for (size_t i = 0; i < n; i++) {
        all[i % 16] += dy[i] * w[i];
        sum[i % 16] += dy[i] * w[i] * (x[i] - by.mean);
    }
    float pull = by.scale * by.scale / (float)n * sum_of_lanes(sum), same = sum_of_lanes(all) / (float)n;
    for (size_t i = 0; i < n; i++) {
        float d = by.scale * (dy[i] * w[i] - same - pull * (x[i] - by.mean));
        dx[i] = add ? dx[i] + d : d;
    }
}

static row_of_norm by_of_layernorm(const float *x, size_t n, float eps) {
    float sum[16] = { 0 }, squares[16] = { 0 };
    for (size_t i = 0; i < n; i++) sum[i % 16] += x[i];
    float mean = sum_of_lanes(sum) / (float)n;
    for (size_t i = 0; i < n; i++) squares[i % 16] += (x[i] - mean) * (x[i] - mean);
    return (row_of_norm){ mean, 1.0f / sqrtf(sum_of_lanes(squares) / (float)n + eps) };
}

enum { SPAN = 64 }; /* columns of dw that a thread sums over all tokens */

typedef struct { /* a norm of every row */
    const pith__tape *tape;
    float *dx;
    const float *dy, *x, *w;
    float *dw, *db; /* db NULL: nothing was added */
    size_t cols, n;
    int add;
} d_norm_job;

static void d_norm_row(const void *data, size_t t, uint8_t *scratch) {
    const d_norm_job *j = data;
    const pith__hyper *h = &j->tape->s->model->hyper;
    const float *x = j->x + t * j->cols, *dy = j->dy + t * j->cols;
    float *dx = j->dx + t * j->cols, *scale = j->tape->scale + t;
    (void)scratch;
    if (h->norm == PITH__LAYERNORM) {
        row_of_norm by = by_of_layernorm(x, j->cols, h->eps);
        j->tape->mean[t] = by.mean, *scale = by.scale;
        d_layernorm(dx, dy, x, j->w, j->cols, by, j->add);
        return;
    }
    *scale = 1.0f / sqrtf(j->tape->s->pass->kernels->dot(x, x, j->cols) / (float)j->cols + h->eps);
    d_rmsnorm(dx, dy, x, j->w, j->cols, *scale, j->add);
}

static void d_norm_span(const void *data, size_t span, uint8_t *scratch) {
    const d_norm_job *j = data;
    size_t i0 = span * SPAN, i1 = pith__least(j->cols, i0 + SPAN);
    (void)scratch;
    for (size_t t = 0; t < j->n; t++) {
        const float *dy = j->dy + t * j->cols, *x = j->x + t * j->cols;
        float scale = j->tape->scale[t], mean = j->tape->mean[t]; /* 0: of RMSNorm */
        for (size_t i = i0; j->dw && i < i1; i++) j->dw[i] += dy[i] * (scale * (x[i] - mean));
        for (size_t i = i0; j->db && i < i1; i++) j->db[i] += dy[i];
    }
}

PITH_SHARED void pith__d_norm(const pith__tape *tape, float *dx, const float *dy, const float *x,
                              const pith__norm *w, size_t n, int add) {
    size_t cols = w->w.floats ? w->w.tensor.cols : (size_t)tape->s->model->hyper.n_embd;
    d_norm_job job = { tape, dx, dy, x, w->w.floats, pith__grad(tape->g, &w->w), pith__grad(tape->g, &w->b), cols, n, add };
    int worth_it = pith__worth_it(n * cols);
    for (size_t i = 0; !w->w.floats && i < n * cols; i++) dx[i] = add ? dx[i] + dy[i] : dy[i];
    if (!w->w.floats) return;
    pith__share(&tape->s->pass->team, n, worth_it, d_norm_row, &job);
    if (job.dw || job.db) pith__share(&tape->s->pass->team, (cols + SPAN - 1) / SPAN, worth_it, d_norm_span, &job);
}

/* ---- the block --------------------------------------------------------------------------- */

typedef struct { /* one layer, for n tokens */
    const pith__tape *tape;
    const pith__hyper *h;
    const pith__layer *layer;
    pith__acts a, d;        /* what it computed, and the gradients of that */
    size_t n, n_embd;
} d_block;

/* Forward: y += bias, for each of n tokens. */
static void d_add_bias(const d_block *b, const float *dy, const pith__weight *bias, size_t n) {
    float *d_bias = pith__grad(b->tape->g, bias);
    size_t cols = bias->tensor.cols;
    for (size_t t = 0; d_bias && t < n; t++)
        for (size_t i = 0; i < cols; i++) d_bias[i] += dy[t * cols + i];
}

/* Forward: y = x through w, and through the adapters. */
static void d_project(const d_block *b, float *dx, const float *dy, const pith__weight *w,
                      const float *x, size_t n, int add) {
    pith__d_input(b->tape, dx, dy, &w->tensor, n, add);
    pith__d_weight(b->tape, w, dy, x, n);
    pith__d_adapt(b->tape, dx, dy, w, x, n);
}

typedef struct { /* rows that are computed once more, with the bits they had */
    const d_block *b;
    const pith__norm *w;
    const float *x;
    float *y;
} norm_again;

static void norm_again_row(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const norm_again *j = data;
    size_t at = t * j->b->n_embd;
    pith__run_norm(j->b->tape->s->pass, j->y + at, j->x + at, j->w);
}

/* What the block's norm of x gave, in y; x itself in a family without this norm. */
static const float *normed(const d_block *b, float *y, const float *x, const pith__norm *w) {
    norm_again job = { b, w, x, y };
    const pith_pass *p = b->tape->s->pass;
    if (w->w.floats && p->again) pith__share(&p->team, b->n, pith__worth_it(b->n * b->n_embd), norm_again_row, &job);
    return w->w.floats ? y : x;
}

/* Forward: out = norm(x, w), where x is the stream with what was added to it (BERT). d.x comes in as the gradient of out
 * and goes out as that of x. d_out is room. */
static void d_out_norm(const d_block *b, float *d_out, const float *x, const pith__norm *w) {
    if (!w->w.floats) return;
    memcpy(d_out, b->d.x, b->n * b->n_embd * sizeof *d_out);
    pith__d_norm(b->tape, b->d.x, d_out, x, w, b->n, 0);
}

/* Forward: out = stream + residual_scale * post_norm(added). The gradient of out, d.x, is also that of
 * the stream, and stays. */
static void d_add_to_stream(const d_block *b, const float *added, float *d_added,
                            const pith__norm *post_norm) {
    float *to = post_norm->w.floats ? b->d.y : d_added;
    for (size_t i = 0; i < b->n * b->n_embd; i++) to[i] = b->h->residual_scale * b->d.x[i];
    if (post_norm->w.floats) pith__d_norm(b->tape, d_added, to, added, post_norm, b->n, 0);
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
static void d_rotate(const d_block *b, float *dx, size_t cols) {
    size_t dim = (size_t)b->layer->head_dim, n_rot = (size_t)b->layer->n_rot;
    if (b->layer->rope < 0) return;
    const float *angles = b->tape->s->pass->rope_table[b->layer->rope];
    for (size_t at = 0; at < b->n * cols; at += dim)
        d_rope(dx + at, angles + at / cols * n_rot, (int)n_rot, b->h->rope_half);
}

/* Forward: queries or keys, (n, heads, head_dim), get their bias, their norm and RoPE, in this order.
 * dx holds the gradient of the result. dx0, the same memory where there is no norm, gets the gradient of
 * the product with the weights. */
static void d_bias_norm_rope(const d_block *b, float *dx, float *dx0, const float *x0,
                             const pith__weight *bias, const pith__norm *w, int heads) {
    size_t dim = (size_t)b->layer->head_dim, n_rot = (size_t)b->layer->n_rot, cols = (size_t)heads * dim;
    if (!b->h->qk_norm_late) d_rotate(b, dx, cols);
    if (w->w.floats) pith__d_norm(b->tape, dx0, dx, x0, w, b->n * cols / w->w.tensor.cols, 0);
    for (size_t at = 0; b->h->rope_gather && at < b->n * cols; at += dim)
        d_gather_pairs(dx0 + at, dx + at, n_rot, dim);
    if (b->h->qk_norm_late) d_rotate(b, dx0, cols);
    d_add_bias(b, dx0, bias, b->n);
}

/* Forward: inner = attn * sigmoid(gate), where mix_in is, head by head, a query and its gates. d.inner becomes d.attn, and
 * the gradients of gates stand where those are. */
static void d_gate_heads(const d_block *b) {
    size_t dim = (size_t)b->layer->head_dim;
    for (size_t h = 0; h < b->n * (size_t)b->layer->n_head; h++)
        for (size_t i = 0; i < dim; i++) {
            size_t at = h * dim + i, gate = (2 * h + 1) * dim + i;
            float s = 1 / (1 + expf(-b->a.mix_in[gate])), d = b->d.inner[at];
            b->d.attn[at] = d * s;
            b->d.mix_in[gate] = d * b->a.attn[at] * s * (1 - s);
        }
}

/* Forward: q0 is taken from mix_in. */
static void d_take_queries(const d_block *b) {
    size_t dim = (size_t)b->layer->head_dim;
    for (size_t h = 0; h < b->n * (size_t)b->layer->n_head; h++)
        memcpy(b->d.mix_in + 2 * h * dim, b->d.q0 + h * dim, dim * sizeof *b->d.q0);
}

/* Forward: inner = rms(o) * silu(z), a head at a time. d.inner becomes the gradient of o, the first of d.mix_in that of z;
 * o (n, n_inner), and another such array, are room. */
static void d_gated_norm(const d_block *b, float *o, float *dn) {
    const pith__recurrent *w = &b->layer->recurrent;
    const pith__kernels *k = b->tape->s->pass->kernels;
    size_t dv = (size_t)(w->n_inner / w->n_head), rows = b->n * (size_t)w->n_head;
    const pith__norm norm = { .w = w->norm };
    for (size_t r = 0; r < rows * dv; r += dv) k->rmsnorm(dn + r, o + r, w->norm.floats, dv, b->h->eps);
    for (size_t i = 0; i < rows * dv; i++) {
        float z = b->a.mix_in[i], s = 1 / (1 + expf(-z)), d = b->d.inner[i];
        b->d.mix_in[i] = d * dn[i] * s * (1 + z * (1 - s));
        dn[i] = d * z * s;
    }
    pith__d_norm(b->tape, b->d.inner, dn, o, &norm, rows, 0);
}

/* Forward: y = x + linear attention by the gated delta rule. */
static void d_delta(const d_block *b) {
    const pith__recurrent *w = &b->layer->recurrent;
    const pith__tape *tape = b->tape;
    pith__acts a = b->a, d = b->d;
    size_t gates = b->n * (size_t)w->n_head, inner = b->n * (size_t)w->n_inner;
    pith__d_delta j = { .team = &tape->s->pass->team, .w = w, .a = &b->a, .beta = a.mix_in + inner, .decay = a.mix_in + inner + gates,
                        .raw = a.mix_in + inner + 2 * gates, .dy = d.inner, .d_conv = d.conv, .d_in = d.conv_in,
                        .d_beta = d.mix_in + inner, .d_decay = d.mix_in + inner + gates, .n = b->n };
    d_add_to_stream(b, a.o, d.o, &b->layer->attn_post_norm);
    d_project(b, d.inner, d.o, &w->out, a.inner, b->n, 0);
    pith__rule_again(&j, d.conv_in);
    d_gated_norm(b, d.conv_in, d.conv);
    pith__d_rule(&j);
    pith__d_conv(&j, pith__grad(tape->g, &w->conv));
    pith__d_gates(&j, pith__grad(tape->g, &w->rate), pith__grad(tape->g, &w->dt_bias));
    const float *xn = normed(b, a.xn, a.x, &b->layer->attn_norm);
    d_project(b, d.xn, d.conv_in, &w->in, xn, b->n, 0);
    d_project(b, d.xn, d.mix_in, &w->z, xn, b->n, 1);
    d_project(b, d.xn, j.d_beta, &w->beta, xn, b->n, 1);
    d_project(b, d.xn, j.d_decay, &w->decay, xn, b->n, 1);
    pith__d_norm(tape, d.x, d.xn, a.x, &b->layer->attn_norm, b->n, 1);
}

/* Forward: y = x + the short convolution: mix_in of a token is b, c and u, conv_in = b u, inner = c conv. */
static void d_shortconv(const d_block *b) {
    const pith__recurrent *w = &b->layer->recurrent;
    const pith__tape *tape = b->tape;
    pith__acts a = b->a, d = b->d;
    size_t n_embd = (size_t)b->h->n_embd;
    pith__d_delta j = { .w = w, .a = &b->a, .d_conv = d.conv, .d_in = d.conv_in, .n = b->n };
    d_add_to_stream(b, a.o, d.o, &b->layer->attn_post_norm);
    d_project(b, d.inner, d.o, &w->out, a.inner, b->n, 0);
    for (size_t at = 0; at < b->n * n_embd; at++) {
        size_t c = at / n_embd * 3 * n_embd + n_embd + at % n_embd;
        d.mix_in[c] = d.inner[at] * a.conv[at];
        d.conv[at] = d.inner[at] * a.mix_in[c];
    }
    pith__d_taps(&j, pith__grad(tape->g, &w->conv));
    for (size_t at = 0; at < b->n * n_embd; at++) {
        size_t first = at / n_embd * 3 * n_embd + at % n_embd, u = first + 2 * n_embd;
        d.mix_in[first] = d.conv_in[at] * a.mix_in[u];
        d.mix_in[u] = d.conv_in[at] * a.mix_in[first];
    }
    const float *xn = normed(b, a.xn, a.x, &b->layer->attn_norm);
    d_project(b, d.xn, d.mix_in, &w->in, xn, b->n, 0);
    pith__d_norm(tape, d.x, d.xn, a.x, &b->layer->attn_norm, b->n, 1);
}

/* Forward: y = x + the attention of every head. */
static void d_attention(const d_block *b) {
    const pith__hyper *h = b->h;
    const pith__layer *w = b->layer;
    pith__acts a = b->a, d = b->d;

    d_out_norm(b, d.y0, a.y0, &w->attn_out_norm);
    d_add_to_stream(b, a.o, d.o, &w->attn_post_norm);
    d_add_bias(b, d.o, &w->o_bias, b->n);
    d_project(b, w->head_gates ? d.inner : d.attn, d.o, &w->o, w->head_gates ? a.inner : a.attn, b->n, 0);
    if (w->head_gates) d_gate_heads(b);
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
    size_t n_q = (size_t)w->n_head * (size_t)w->head_dim;
    for (size_t t = 0; t < b->n; t++) pith__temper(b->tape->s->pass, d.q + t * n_q, n_q, t);
    d_bias_norm_rope(b, d.q, d.q0, a.q0, &w->q_bias, &w->q_norm, w->n_head);
    d_bias_norm_rope(b, d.k, d.k0, a.k0, &w->k_bias, &w->k_norm, w->n_kv_head);
    d_add_bias(b, d.v, &w->v_bias, b->n);
    const float *xn = normed(b, a.xn, a.x, &w->attn_norm);
    if (w->head_gates) d_take_queries(b);
    d_project(b, d.xn, w->head_gates ? d.mix_in : d.q0, &w->q, xn, b->n, 0);
    d_project(b, d.xn, d.k0, &w->k, xn, b->n, 1);
    d_project(b, d.xn, d.v, &w->v, xn, b->n, 1);
    pith__d_norm(b->tape, d.x, d.xn, a.x, &w->attn_norm, b->n, 1);
}

static void d_mix(const d_block *b) {
    if (b->layer->mixer == PITH__DELTA) d_delta(b);
    else if (b->layer->mixer == PITH__SHORTCONV) d_shortconv(b);
    else d_attention(b);
}

/* ---- the feed-forward network -------------------------------------------------------------- */

typedef struct { /* rows of one network, and what they compute */
    const d_block *b;
    const pith__ffn *w;
    float *gate, *up, *act, *d_gate, *d_up, *d_act;
} d_ffn_rows;

static void gate_again_row(const void *data, size_t t, uint8_t *scratch) {
    const d_ffn_rows *f = data;
    size_t n_ff = f->w->up.tensor.rows, at = t * n_ff;
    const pith__kernels *k = f->b->tape->s->pass->kernels;
    int gated = f->b->h->gated;
    (void)scratch;
    k->gate(f->act + at, (gated ? f->gate : f->up) + at, gated ? f->up + at : NULL, n_ff, f->b->h->act);
}

/* Forward: act = silu(gate) * up of a row (SwiGLU), or gelu(gate) * up (GeGLU); without a gate act = gelu(up). */
static void d_gate_row(const void *data, size_t t, uint8_t *scratch) {
    const d_ffn_rows *f = data;
    size_t n_ff = f->w->up.tensor.rows, at = t * n_ff;
    const pith__kernels *k = f->b->tape->s->pass->kernels;
    (void)scratch;
    if (f->b->h->gated)
        k->d_gate(f->d_gate + at, f->d_up + at, f->d_act + at, f->gate + at, f->up + at, n_ff, f->b->h->act);
    else k->d_gate(f->d_up + at, NULL, f->d_act + at, f->up + at, NULL, n_ff, f->b->h->act);
}

/* Forward: y = down(act(gate x) * up x), or down(act(up x)), for rows of x. Their activations are on the tape from
 * float at on. */
static void d_network(const d_block *b, const pith__ffn *w, const float *x, size_t rows,
                      size_t at, const float *dy, float *dx) {
    size_t n_ff = w->up.tensor.rows;
    d_ffn_rows f = { b, w, NULL, b->a.up + at, b->a.act + at, NULL, b->d.up + at, b->d.act + at };
    const pith_pass *p = b->tape->s->pass;
    int gated = b->h->gated;
    if (gated) f.gate = b->a.gate + at, f.d_gate = b->d.gate + at;
    if (p->again) pith__share(&p->team, rows, pith__worth_it(rows * n_ff), gate_again_row, &f);
    d_add_bias(b, dy, &w->down_bias, rows);
    d_project(b, f.d_act, dy, &w->down, f.act, rows, 0);
    pith__share(&p->team, rows, pith__worth_it(rows * n_ff), d_gate_row, &f);
    if (gated) d_add_bias(b, f.d_gate, &w->gate_bias, rows);
    d_add_bias(b, f.d_up, &w->up_bias, rows);
    if (gated) d_project(b, dx, f.d_gate, &w->gate, x, rows, 0);
    d_project(b, dx, f.d_up, &w->up, x, rows, gated);
}

/* Forward: s is the sigmoid of each logit, and of the experts chosen p = factor s, divided by the sum of their s where
 * they are normed. dp (n), which is 0 for the others, becomes the gradient of the logits; s comes as these. */
static void d_sigmoids(const pith__hyper *h, float *dp, float *s, const float *p) {
    float sum = h->expert_eps, along = 0;
    for (int e = 0; e < h->n_expert; e++) {
        s[e] = p[e] == 0 ? 0 : 1 / (1 + expf(-s[e]));
        sum += s[e], along += dp[e] * p[e];
    }
    for (int e = 0; e < h->n_expert; e++) {
        float ds = h->expert_norm ? (h->expert_factor * dp[e] - along) / sum : h->expert_factor * dp[e];
        dp[e] = ds * s[e] * (1 - s[e]);
    }
}

/* Forward: s = softmax of all logits, and of the experts chosen p = factor s; or where they are normed s is the softmax
 * among the chosen. The same. */
static void d_softmax_of(const d_block *b, float *dp, float *s, const float *p) {
    const pith__kernels *k = b->tape->s->pass->kernels;
    const pith__hyper *h = b->h;
    if (!h->expert_norm) k->softmax(s, (size_t)h->n_expert);
    for (int e = 0; e < h->n_expert; e++) {
        if (h->expert_norm) s[e] = p[e] / h->expert_factor;
        dp[e] *= h->expert_factor;
    }
    pith__d_softmax(k, dp, s, (size_t)h->n_expert);
}

/* The router of a mixture of experts: its gradient, and what comes back through it to x. d.route holds that of the
 * experts' weights. */
static void d_route(const d_block *b, const float *x, float *dx) {
    const pith__tape *tape = b->tape;
    const pith__layer *w = b->layer;
    size_t n = (size_t)b->h->n_expert;
    if (!b->h->expert_norm || b->h->expert_sigmoid) { /* the logits are not on the tape: compute them again */
        pith__input in = tape->s->pass->in;
        in.x = x, in.n = (int)b->n, in.cols = b->n_embd, in.group = 0;
        pith__matmul(tape->s->pass->kernels, &tape->s->pass->team, tape->route, n, &w->router.tensor, &in);
        pith__adapt(tape->s->pass, &tape->s->adapted, tape->route, &w->router, x, in.n);
        for (size_t t = 0; t < b->n; t++) pith__add_bias(tape->s->pass, tape->route + t * n, w->router_bias.floats, n);
    }
    for (size_t i = 0; i < b->n * n; i += n) {
        if (b->h->expert_sigmoid) d_sigmoids(b->h, b->d.route + i, tape->route + i, b->a.route + i);
        else d_softmax_of(b, b->d.route + i, tape->route + i, b->a.route + i);
    }
    d_add_bias(b, b->d.route, &w->router_bias, b->n);
    d_project(b, dx, b->d.route, &w->router, x, b->n, 1);
}

/* Forward: f += share y, y the network that all tokens use and share 1, or the sigmoid of gate x. Its rows stand behind the
 * experts', whose inputs nobody needs any more. */
static void d_shared_expert(const d_block *b, const float *x, float *dx) {
    const pith__acts *a = &b->a, *d = &b->d;
    const pith__layer *w = b->layer;
    size_t n_embd = b->n_embd, row = b->n * (size_t)b->h->n_expert_used;
    const float *y = a->down + row * n_embd;
    float *dy = d->down + row * n_embd;
    for (size_t t = 0; t < b->n; t++) {
        const float *df = d->f + t * n_embd;
        float share = a->share[t];
        d->share[t] = b->tape->s->pass->kernels->dot(df, y + t * n_embd, n_embd) * share * (1 - share);
        for (size_t i = 0; i < n_embd; i++) dy[t * n_embd + i] = share * df[i];
    }
    d_network(b, &w->shared, x, b->n, row * (size_t)b->h->n_ff_expert, dy, d->pick);
    for (size_t i = 0; i < b->n * n_embd; i++) dx[i] += d->pick[i];
    if (w->shared_gate.tensor.data) d_project(b, dx, d->share, &w->shared_gate, x, b->n, 1);
}

/* Forward: f = sum of p[e] * network e of x, over the experts that the token chose. */
static void d_experts(const d_block *b, const float *x, float *dx) {
    const pith__acts *a = &b->a, *d = &b->d;
    size_t n_expert = (size_t)b->h->n_expert, n_embd = b->n_embd, row = 0;
    memset(dx, 0, b->n * n_embd * sizeof *dx);
    memset(d->route, 0, b->n * n_expert * sizeof *dx);
    for (size_t e = 0; e < n_expert; e++) {
        const float *p = a->route + e; /* of token t: p[t * n_expert] */
        size_t first = row;
        for (size_t t = 0; t < b->n; t++) {
            if (p[t * n_expert] == 0) continue;
            const float *df = d->f + t * n_embd;
            float *d_down = d->down + row * n_embd;
            d->route[t * n_expert + e] =
                b->tape->s->pass->kernels->dot(df, a->down + row * n_embd, n_embd);
            for (size_t i = 0; i < n_embd; i++) d_down[i] = p[t * n_expert] * df[i];
            row++;
        }
        if (row == first) continue;
        d_network(b, &b->layer->ffn[e], a->pick + first * n_embd, row - first, first * (size_t)b->h->n_ff_expert,
                  d->down + first * n_embd, d->pick + first * n_embd);
        const float *from = d->pick + first * n_embd;
        for (size_t t = 0; t < b->n; t++) {
            if (p[t * n_expert] == 0) continue;
            for (size_t i = 0; i < n_embd; i++) dx[t * n_embd + i] += from[i];
            from += n_embd;
        }
    }
    d_route(b, x, dx);
    if (b->layer->shared.up.tensor.data) d_shared_expert(b, x, dx);
}

/* The stream as the network reads it, see network_input in forward.c. */
static const float *read_by_network(const d_block *b) { return b->h->parallel ? b->a.x : b->a.y; }

/* Forward: next = y + the feed-forward network of every token. d.x becomes the gradient of y, but for what comes back
 * from what the network read, which is left in d.yn. */
static void d_feed_forward(const d_block *b) {
    const pith__layer *w = b->layer;
    const float *yn = normed(b, b->a.yn, read_by_network(b), &w->ffn_norm);
    d_out_norm(b, b->d.z0, b->a.z0, &w->ffn_out_norm);
    d_add_to_stream(b, b->a.f, b->d.f, &w->ffn_post_norm);
    if (w->router.tensor.data) d_experts(b, yn, b->d.yn);
    else d_network(b, w->ffn, yn, b->n, 0, b->d.f, b->d.yn);
}

/* That of the network joins the gradient of y, or, where both parts of a block lie side by side, that of x: not before
 * attention has had its own. */
static void d_run_block(const d_block *b) {
    d_feed_forward(b);
    if (b->h->parallel) d_mix(b);
    pith__d_norm(b->tape, b->d.x, b->d.yn, read_by_network(b), &b->layer->ffn_norm, b->n, 1);
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

PITH_SHARED void pith__backward(const pith__tape *tape, const pith_token *tokens, int n) {
    const pith_model *m = tape->s->model;
    for (int l = m->hyper.n_layer - 1; l >= 0; l--) {
        if (tape->s->pass->streams) pith__run_block(tape->s->pass, l);
        d_block b = { tape, &m->hyper, &m->layer[l], pith__acts_at(tape->s->pass, l), tape->d, (size_t)n,
                      (size_t)m->hyper.n_embd };
        d_run_block(&b);
    }
    d_embed(tape, tokens, (size_t)n);
}

/* ---- the tape's memory ------------------------------------------------------------------- */

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

/* Tokens whose logits, of so many floats each, exist at once: as many as have room, but 64 tokens at least. The output
 * matrix is read for each lot. */
static size_t logits_rows(size_t room, size_t size, size_t n) {
    size_t rows = room / size / 16 * 16;
    return pith__least(rows < 64 ? 64 : rows > PITH__LOSS_ROWS ? PITH__LOSS_ROWS : rows, n);
}

/* Lay out the tape's arrays from memory on; NULL: only count their floats. None is larger than a few
 * times what the session or the model already has in memory, so the sum does not overflow. */
static size_t place_tape(pith__tape *tape, const pith_pass *p, float *memory) {
    const pith__hyper *h = &p->model->hyper;
    size_t n = (size_t)p->n_batch, head_dim = (size_t)h->head_dim, heads = (size_t)h->n_q;
    size_t n_threads = (size_t)p->team.n_threads, used = 0, n_vocab = (size_t)h->n_vocab;
    pith__acts a;
    /* Logits and slopes lie where gradients come later: behind d.x and d.xn, which the loss needs too. */
    size_t acts = pith__acts_place(p, &a, NULL), stream = 2 * ((n * (size_t)h->n_embd + 15) / 16 * 16);
    size_t size = h->logit_softcap > 0 ? 2 * n_vocab : n_vocab;
    tape->rows = (int)logits_rows(acts - stream, size, n);
    acts = most(acts, stream + (size_t)tape->rows * size);
    tape->scratch_floats =
        most(most(pith__product_scratch(), pith__d_attend_scratch(n, head_dim)), p->team.scratch_bytes / 4);
    size_t rows = n * (size_t)h->n_head; /* of norms */
    for (const pith__layer *w = p->model->layer; w < p->model->layer + h->n_layer; w++) {
        tape->scratch_floats = most(tape->scratch_floats, pith__d_delta_scratch(&w->recurrent, n));
        rows = most(rows, n * (size_t)w->recurrent.n_head);
    }
    tape->scratch_floats = (tape->scratch_floats + 15) / 16 * 16;
    const struct {
        float **to;
        size_t size;
    } parts[] = {
        { &tape->acts, acts },
        { &tape->dk, n * heads },
        { &tape->dv, n * heads },
        { &tape->scale, rows },
        { &tape->mean, rows },
        { &tape->route, n * (size_t)h->n_expert },
        { &tape->d_low, n * PITH__LOW },
        { &tape->panel, pith__panel_floats(pith__widest(h)) },
        { &tape->scratch, n_threads * tape->scratch_floats },
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        *parts[i].to = memory ? memory + used : NULL;
        used += (parts[i].size + 15) / 16 * 16;
    }
    if (!memory) return used;
    tape->logits = tape->acts + stream;
    tape->slope = tape->logits + (size_t)tape->rows * n_vocab;
    pith__acts_place(p, &tape->d, tape->acts);
    tape->d.k = tape->dk, tape->d.v = tape->dv; /* room for n_head heads, see pith__d_attend */
    if (tape->d.q0 == tape->d.q) tape->d.k0 = tape->d.k;
    return used;
}

static pith_context context_of(int n_ctx) {
    pith_context c = { .n_ctx = n_ctx, .n_batch = n_ctx, .cache_k = "f32", .cache_v = "f32" };
    return c;
}

/* What a model has whose backward is missing; NULL: nothing. */
static const char *not_trained(const pith_model *m) {
    const pith__hyper *h = &m->hyper;
    if (m->biases) return "whose scores have biases";
    if (h->n_expert && h->expert_before) return "whose experts' weights multiply what goes into them";
    if (h->qk_norm_bare) return "whose queries have norms without weights";
    if (h->act_limit > 0) return "whose networks are clamped";
    if (h->n_ple) return "whose layers get an embedding of their own";
    for (const pith__layer *w = m->layer; w < m->layer + h->n_layer; w++) {
        if (w->expert_scale.floats) return "whose experts have scales";
        if (w->one_gate) return "whose heads have a gate each";
        if (w->sinks.floats) return "with attention sinks";
        if (w->mixer == PITH__LATENT) return "of latent attention";
        if (w->mixer == PITH__MAMBA) return "that has layers of Mamba";
        if (w->kv_from != w - m->layer) return "whose layers share keys and values";
        if (w->v_norm.w.floats) return "whose values are normed";
        if (w->out_scale.floats) return "whose blocks have a factor";
    }
    return NULL;
}

PITH_SHARED pith__tape *pith__tape_new(const pith_model *m, float *g, int n_ctx, int keep,
                                       pith_error *err) {
    pith_context c = context_of(n_ctx);
    const char *not_built = not_trained(m);
    if (not_built)
        return pith__fail(err, PITH_EARCH, "%s: training a model %s (%s) is not built", m->store.path, not_built, m->hyper.arch), NULL;
    if (m->hyper.parallel == 2)
        return pith__fail(err, PITH_EARCH, "%s: training a model whose attention and network share a norm (%s) is not built",
                          m->store.path, m->hyper.arch), NULL;
    pith_session *s = pith__session_new(m, &c, keep, err);
    if (!s) return NULL;
    pith__tape *tape = calloc(1, sizeof *tape), plan;
    size_t floats = place_tape(&plan, s->pass, NULL);
    float *memory = tape ? calloc(floats + 16, sizeof *memory) : NULL;
    if (!memory) {
        pith__fail(err, PITH_EMEMORY, "%s: no memory for the gradients of %d tokens (%.1f MB)",
                   m->store.path, n_ctx, (double)floats * 4e-6);
        pith_session_free(s);
        free(tape);
        return NULL;
    }
    tape->s = s;
    tape->g = g;
    tape->memory = memory;
    place_tape(tape, s->pass, memory + (64 - (uintptr_t)memory % 64) % 64 / sizeof *memory);
    s->pass->team.scratch = (uint8_t *)tape->scratch; /* larger than the session's own */
    s->pass->team.scratch_bytes = tape->scratch_floats * sizeof *memory;
    return tape;
}

PITH_SHARED void pith__tape_free(pith__tape *tape) {
    if (!tape) return;
    pith_session_free(tape->s);
    free(tape->memory);
    free(tape);
}

PITH_SHARED size_t pith__tape_size(const pith_model *m, int n_ctx, int keep) {
    pith_context c = context_of(n_ctx);
    size_t session = pith__session_bytes(m, &c, keep);
    if (!session) return 0;
    pith_pass p = { .model = m, .n_batch = n_ctx, .team = { .n_threads = m->n_threads } };
    p.team.scratch_bytes = pith__matmul_scratch(pith__widest(&m->hyper));
    pith__tape plan;
    return session + (place_tape(&plan, &p, NULL) + 16) * sizeof(float) + sizeof plan;
}
