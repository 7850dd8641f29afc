/* experts.c - the backward pass of feed-forward networks: of the one of a block, or of the few of many that a token used. */
#include "train.h"

#include <math.h>
#include <string.h>

typedef struct { /* rows of one network, and what they compute */
    const pith__d_block *b;
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
static void d_network(const pith__d_block *b, const pith__ffn *w, const float *x, size_t rows,
                      size_t at, const float *dy, float *dx) {
    size_t n_ff = w->up.tensor.rows;
    d_ffn_rows f = { b, w, NULL, b->a.up + at, b->a.act + at, NULL, b->d.up + at, b->d.act + at };
    const pith_pass *p = b->tape->s->pass;
    int gated = b->h->gated;
    if (gated) f.gate = b->a.gate + at, f.d_gate = b->d.gate + at;
    if (p->again) pith__share(&p->team, rows, pith__worth_it(rows * n_ff), gate_again_row, &f);
    pith__d_add_bias(b, dy, &w->down_bias, rows);
    pith__d_project(b, f.d_act, dy, &w->down, f.act, rows, 0);
    pith__share(&p->team, rows, pith__worth_it(rows * n_ff), d_gate_row, &f);
    if (gated) pith__d_add_bias(b, f.d_gate, &w->gate_bias, rows);
    pith__d_add_bias(b, f.d_up, &w->up_bias, rows);
    if (gated) pith__d_project(b, dx, f.d_gate, &w->gate, x, rows, 0);
    pith__d_project(b, dx, f.d_up, &w->up, x, rows, gated);
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
static void d_softmax_of(const pith__d_block *b, float *dp, float *s, const float *p) {
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
static void d_route(const pith__d_block *b, const float *x, float *dx) {
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
    pith__d_add_bias(b, b->d.route, &w->router_bias, b->n);
    pith__d_project(b, dx, b->d.route, &w->router, x, b->n, 1);
}

/* Forward: f += share y, y the network that all tokens use and share 1, or the sigmoid of gate x. Its rows stand behind the
 * experts', whose inputs nobody needs any more. */
static void d_shared_expert(const pith__d_block *b, const float *x, float *dx) {
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
    if (w->shared_gate.tensor.data) pith__d_project(b, dx, d->share, &w->shared_gate, x, b->n, 1);
}

/* Forward: f = sum of p[e] * network e of x, over the experts that the token chose. */
static void d_experts(const pith__d_block *b, const float *x, float *dx) {
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

PITH_SHARED void pith__d_run_ffn(const pith__d_block *b, const float *x, float *dx) {
    if (b->layer->router.tensor.data) d_experts(b, x, dx);
    else d_network(b, b->layer->ffn, x, b->n, 0, b->d.f, dx);
}
