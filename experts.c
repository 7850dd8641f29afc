/* experts.c - the feed-forward network of a block, or the few of many that each of its tokens uses. */
#include "internal.h"

#include <math.h>
#include <string.h>

typedef struct { /* rows on their way through one network; all pointers are to the first row */
    const pith__block *b;
    const pith__ffn *w;
    float *gate, *up, *act; /* (rows, n_ff) */
    const int *part_of;     /* (rows) */
} ffn_rows;

/* SwiGLU: act(gate x) * up x of one row. With GELU instead of SiLU it is GeGLU. Without a gate: act(up x). */
static void gate_row(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const ffn_rows *f = data;
    size_t n_ff = f->w->up.tensor.rows, at = t * n_ff;
    int gated = f->b->h->gated;
    if (gated) pith__add_bias(f->gate + at, f->w->gate_bias.floats, n_ff);
    pith__add_bias(f->up + at, f->w->up_bias.floats, n_ff);
    f->b->pass->kernels->gate(f->act + at, (gated ? f->gate : f->up) + at, gated ? f->up + at : NULL, n_ff, f->b->h->act);
}

/* y = down(act(gate x) * up x), for rows of x: SwiGLU or GeGLU; without a gate down(act(up x)). */
static void network(const ffn_rows *f, float *y, const float *x, size_t rows) {
    pith_pass *p = f->b->pass;
    const pith__ffn *w = f->w;
    size_t n_ff = w->up.tensor.rows, n_embd = w->up.tensor.cols;
    pith__input in = pith__input_of(p, x, (int)rows, n_embd);
    if (f->b->h->gated) pith__project(p, f->gate, &w->gate, &in, f->part_of);
    pith__project(p, f->up, &w->up, &in, f->part_of);
    pith__share(&p->team, rows, pith__worth_it(rows * n_ff), gate_row, f);
    in = pith__input_of(p, f->act, (int)rows, n_ff);
    pith__project(p, y, &w->down, &in, f->part_of);
    for (size_t t = 0; t < rows; t++) pith__add_bias(y + t * n_embd, w->down_bias.floats, n_embd);
}

/* The likeliest n_expert_used experts of one token keep their probability, the others get 0. */
static void choose_experts(const pith__block *b, float *p) {
    const pith__hyper *h = b->h;
    b->pass->kernels->softmax(p, (size_t)h->n_expert);
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
static void experts(const pith__block *b, const float *x) {
    const pith__hyper *h = b->h;
    const pith__acts *a = &b->a;
    size_t n_embd = (size_t)h->n_embd, n_ff = (size_t)h->n_ff_expert, row = 0;
    pith__input in = pith__input_of(b->pass, x, b->n, n_embd);
    pith__project(b->pass, a->route, &b->layer->router, &in, b->pass->part_of);
    for (int t = 0; t < b->n; t++) choose_experts(b, a->route + (size_t)t * (size_t)h->n_expert);
    memset(a->f, 0, (size_t)b->n * n_embd * sizeof *a->f);
    for (int e = 0; e < h->n_expert; e++) {
        const float *p = a->route + e; /* of token t: p[t * n_expert] */
        size_t first = row;
        for (int t = 0; t < b->n; t++) {
            if (!(p[t * h->n_expert] > 0)) continue;
            b->pass->picked[row - first] = b->pass->part_of[t];
            memcpy(a->pick + row++ * n_embd, x + (size_t)t * n_embd, n_embd * sizeof *x);
        }
        if (row == first) continue;
        float *y = a->down + first * n_embd;
        ffn_rows f = { b, &b->layer->ffn[e], a->gate + first * n_ff, a->up + first * n_ff,
                       a->act + first * n_ff, b->pass->picked };
        network(&f, y, a->pick + first * n_embd, row - first);
        for (int t = 0; t < b->n; t++) {
            if (!(p[t * h->n_expert] > 0)) continue;
            float *to = a->f + (size_t)t * n_embd;
            for (size_t i = 0; i < n_embd; i++) to[i] += p[t * h->n_expert] * y[i];
            y += n_embd;
        }
    }
}

PITH_SHARED void pith__run_ffn(const pith__block *b, const float *x) {
    const pith__acts *a = &b->a;
    ffn_rows f = { b, b->layer->ffn, a->gate, a->up, a->act, b->pass->part_of };
    if (b->layer->router.tensor.data) experts(b, x);
    else network(&f, a->f, x, (size_t)b->n);
}
