/* project.c - what the backward pass of layers of every kind is made of: see project.c of the root. */
#include "train.h"

#include <string.h>

/* Forward: y += bias, for each of n tokens. */
PITH_SHARED void pith__d_add_bias(const pith__d_block *b, const float *dy, const pith__weight *bias, size_t n) {
    float *d_bias = pith__grad(b->tape->g, bias);
    size_t cols = bias->tensor.cols;
    for (size_t t = 0; d_bias && t < n; t++)
        for (size_t i = 0; i < cols; i++) d_bias[i] += dy[t * cols + i];
}

/* Forward: y = x through w, and through the adapters. */
PITH_SHARED void pith__d_project(const pith__d_block *b, float *dx, const float *dy, const pith__weight *w,
                      const float *x, size_t n, int add) {
    pith__d_input(b->tape, dx, dy, &w->tensor, n, add);
    pith__d_weight(b->tape, w, dy, x, n);
    pith__d_adapt(b->tape, dx, dy, w, x, n);
}

typedef struct { /* rows that are computed once more, with the bits they had */
    const pith__d_block *b;
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
PITH_SHARED const float *pith__d_normed(const pith__d_block *b, float *y, const float *x, const pith__norm *w) {
    norm_again job = { b, w, x, y };
    const pith_pass *p = b->tape->s->pass;
    if (w->w.floats && p->again) pith__share(&p->team, b->n, pith__worth_it(b->n * b->n_embd), norm_again_row, &job);
    return w->w.floats ? y : x;
}

/* Forward: out = stream + residual_scale * post_norm(added). The gradient of out, d.x, is also that of
 * the stream, and stays. */
PITH_SHARED void pith__d_add_to_stream(const pith__d_block *b, const float *added, float *d_added,
                            const pith__norm *post_norm) {
    float *to = post_norm->w.floats ? b->d.y : d_added;
    for (size_t i = 0; i < b->n * b->n_embd; i++) to[i] = b->h->residual_scale * b->d.x[i];
    if (post_norm->w.floats) pith__d_norm(b->tape, d_added, to, added, post_norm, b->n, 0);
}
