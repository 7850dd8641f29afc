/* loss.c - how unlikely the model finds the text: the number that training makes small.
 *
 * It runs a sequence and gives the sum of -log p(what came next) over the tokens that count, and, when it is
 * to learn, the gradient of that by every weight. The logits of a long sequence would be the largest array
 * there is, larger than the model: so the output matrix is part of this file, and a few tokens at a time go
 * through it and back at once. */
#include "train.h"

#include <math.h>
#include <string.h>

#ifdef _OPENMP
#define OMP(text) _Pragma(#text)
#else
#define OMP(text)
#endif

static float largest(const float *x, size_t n) {
    float most[16], all = -INFINITY;
    for (size_t k = 0; k < 16; k++) most[k] = -INFINITY;
    for (; n >= 16; x += 16, n -= 16)
        for (size_t k = 0; k < 16; k++) most[k] = x[k] > most[k] ? x[k] : most[k];
    for (size_t k = 0; k < n; k++) most[k] = x[k] > most[k] ? x[k] : most[k];
    for (size_t k = 0; k < 16; k++) all = most[k] > all ? most[k] : all;
    return all;
}

/* Gives -log softmax(x)[target]; x becomes its softmax. The largest of that is 1 / sum(exp(x - most)), so the
 * logarithm of the sum is there without a pass for it. */
static double cross_entropy(const pith__kernels *k, float *x, size_t n, pith_token target) {
    double below = (double)largest(x, n) - x[target];
    k->softmax(x, n);
    return below - log(largest(x, n));
}

/* was loss = cross_entropy(cap(logit_scale * product)). p is the softmax and becomes the gradient by the
 * product; capped: the logits as they came out of the cap. */
static void d_cross_entropy(const pith__hyper *h, float *p, const float *slope, size_t n, pith_token target,
                            float scale) {
    p[target] -= 1;
    for (size_t i = 0; i < n; i++) p[i] *= scale * h->logit_scale;
    for (size_t i = 0; slope && i < n; i++) p[i] *= slope[i];
}

/* One token's logits become their gradient. */
static double token_loss(const pith__tape *y, int i, pith_token target, float scale) {
    const pith__hyper *h = &y->s->model->hyper;
    size_t n = (size_t)h->n_vocab;
    float *x = y->logits + (size_t)i * n, *slope = NULL, c = h->logit_softcap;
    if (target < 0) {
        memset(x, 0, n * sizeof *x);
        return 0;
    }
    if (c > 0) {
        slope = y->slope + (size_t)i * n;
        for (size_t j = 0; j < n; j++) slope[j] = 1 - x[j] / c * (x[j] / c);
    }
    double loss = cross_entropy(y->s->team.kernels, x, n, target);
    if (scale != 0) d_cross_entropy(h, x, slope, n, target, scale);
    return loss;
}

/* Rows t0 to t0 + n of what the last block gave, through the output matrix and back; scale 0: not back. */
static void rows_loss(const pith__tape *y, const pith_token *target, int t0, int n, float scale,
                      pith__loss *loss) {
    const pith_model *m = y->s->model;
    double each[PITH__LOSS_ROWS];
    int n_threads = y->s->team.n_threads, counted = 0;
    (void)n_threads; /* not asked for without OpenMP */
    size_t at = (size_t)t0 * (size_t)m->hyper.n_embd;
    float *xn = pith__acts_at(y->s, m->hyper.n_layer).xn + at, *d_xn = y->d.xn + at;
    for (int i = 0; i < n; i++) counted += target[t0 + i] >= 0;
    if (!counted) {
        memset(d_xn, 0, (size_t)n * (size_t)m->hyper.n_embd * sizeof *d_xn);
        return;
    }
    pith__logits_of(y->s, t0, n, y->logits);
    OMP(omp parallel for num_threads(n_threads))
    for (int i = 0; i < n; i++) each[i] = token_loss(y, i, target[t0 + i], scale);
    for (int i = 0; i < n; i++) loss->sum += each[i];
    loss->n += counted;
    if (scale == 0) return;
    pith__d_input(y, d_xn, y->logits, &m->head, (size_t)n, 0);
    pith__d_weight(y, y->g->head, y->logits, &m->head, xn, (size_t)n);
}

static int check_targets(const pith__tape *y, const pith_token *target, int n, pith_error *err) {
    int n_vocab = y->s->model->hyper.n_vocab;
    if (n > y->s->n_batch)
        return pith__fail(err, PITH_EARG, "a sequence of %d tokens, need %d at most", n, y->s->n_batch);
    for (int i = 0; i < n; i++)
        if (target[i] >= n_vocab)
            return pith__fail(err, PITH_EARG, "target %d is not in the vocabulary of %d", target[i], n_vocab);
    return PITH_OK;
}

/* Everything up to the loss, and back through the output matrix unless scale is 0. */
static int run(const pith__tape *y, const pith_token *t, const pith_token *target, int n, float scale,
               pith__loss *loss, pith_error *err) {
    int code = check_targets(y, target, n, err);
    pith_rewind(y->s, 0);
    if (!code) code = pith__eval_all(y->s, t, n, NULL, err);
    for (int i = 0; i < n && !code; i += y->rows)
        rows_loss(y, target, i, n - i < y->rows ? n - i : y->rows, scale, loss);
    return code;
}

PITH_SHARED int pith__score(const pith__tape *y, const pith_token *t, const pith_token *target, int n,
                            pith__loss *loss, pith_error *err) {
    return run(y, t, target, n, 0, loss, err);
}

PITH_SHARED int pith__learn(const pith__tape *y, const pith_token *t, const pith_token *target, int n,
                            float scale, pith__loss *loss, pith_error *err) {
    const pith_model *m = y->s->model;
    int code = scale == 0 ? pith__fail(err, PITH_EARG, "a gradient taken 0 times")
                          : run(y, t, target, n, scale, loss, err);
    if (code) return code;
    pith__d_norm(y, y->d.x, y->d.xn, pith__acts_at(y->s, m->hyper.n_layer).x, m->out_norm, y->g->out_norm,
                 (size_t)m->hyper.n_embd, (size_t)n, 0);
    pith__backward(y, t, n);
    return PITH_OK;
}

#undef OMP
