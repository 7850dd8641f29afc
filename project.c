/* project.c - what layers of every kind are made of: a product with a weight, to which adapters add, and a norm. */
#include "internal.h"

#include <math.h>

/* What the adapters of each row's session add. Rows that follow one another and have the same adapters go
 * together; part_of: the part of each row. */
static void adapt_rows(const pith_pass *p, float *y, const pith__weight *w, const pith__input *in, const int *part_of) {
    for (int t = 0, n; t < in->n; t += n) {
        const pith__adapted *by = &p->part[part_of[t]].s->adapted;
        for (n = 1; t + n < in->n && pith__same_adapters(&p->part[part_of[t + n]].s->adapted, by); n++) continue;
        pith__adapt(p, by, y + (size_t)t * w->tensor.rows, w, in->x + (size_t)t * in->cols, n);
    }
}

/* y (n, rows of w) = x (n, cols of w) through w. Matrices that share an input share its rounding to int8,
 * which in keeps. */
PITH_SHARED void pith__project_all(pith_pass *p, const pith__projection *all, int n, pith__input *in, const int *part_of) {
    pith__output out[PITH__TOGETHER] = { { 0 } };
    int n_out = 0;
    for (int i = 0; i < n; i++) {
        const pith__tensor *w = &all[i].w->tensor;
        if (w->data) out[n_out++] = (pith__output){ all[i].y, w->rows, w };
    }
    pith__matmul_all(p->kernels, &p->team, out, n_out, in);
    for (int i = 0; i < n && p->adapted; i++)
        if (all[i].w->tensor.data) adapt_rows(p, all[i].y, all[i].w, in, part_of);
}

PITH_SHARED void pith__project(pith_pass *p, float *y, const pith__weight *w, pith__input *in, const int *part_of) {
    pith__projection one = { y, w };
    pith__project_all(p, &one, 1, in, part_of);
}

PITH_SHARED pith__input pith__input_of(const pith_pass *p, const float *x, int n, size_t cols) {
    pith__input in = p->in;
    in.x = x;
    in.n = n;
    in.cols = cols;
    in.group = 0;
    return in;
}

PITH_SHARED void pith__add_bias(const pith_pass *p, float *y, const float *bias, size_t n) {
    if (bias) p->kernels->add(y, y, bias, 1, n);
}

/* y = the norm of x, as many numbers as the norm has weights. All norms of all models. A family has a norm where
 * its file has the weights. */
PITH_SHARED void pith__run_norm(const pith_pass *p, float *y, const float *x, const pith__norm *n) {
    const pith__hyper *h = &p->model->hyper;
    const float *w = n->w.floats, *b = n->b.floats;
    switch (h->norm) {
    case PITH__RMSNORM: p->kernels->rmsnorm(y, x, w, n->w.tensor.cols, h->eps); break;
    case PITH__LAYERNORM: p->kernels->layernorm(y, x, w, b, n->w.tensor.cols, h->eps); break;
    }
}

PITH_SHARED void pith__temper(const pith_pass *p, float *q, size_t n, size_t t) {
    const pith__hyper *h = &p->model->hyper;
    const pith__part *part = p->part + p->part_of[t];
    if (!(fabsf(h->temperature) > 0)) return;
    int turns = (part->position + (int)t - part->first + h->temper_plain) / h->temperature_length;
    float scale = 1 + h->temperature * logf(1 + (float)turns);
    for (size_t i = 0; i < n; i++) q[i] *= scale;
}

/* Work that goes token by token, between the matmuls, is shared out over the threads. */
PITH_SHARED void pith__each_token(const pith__block *b, pith__task *work) {
    size_t n = (size_t)b->n;
    pith__share(&b->pass->team, n, pith__worth_it(n * (size_t)b->h->n_embd), work, b);
}
