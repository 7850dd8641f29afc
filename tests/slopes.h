/* slopes.h - gradients of a pupil against finite differences of its loss. */
#ifndef SLOPES_H
#define SLOPES_H

#include "pupil.h"

static double pupil_score(pupil *u) {
    pith__loss loss = { 0, 0, 0 };
    if (pith__score(u->tape, u->t, u->target, N, &loss, NULL)) FAIL("no loss");
    return loss.sum;
}

/* Which experts were chosen, and which units of a ReLU are on, as one number: where that changes the loss has a step or a
 * kink. */
static uint64_t choices(const pupil *u) {
    const pith__hyper *h = &u->m->hyper;
    uint64_t hash = 0;
    for (int l = 0; l < h->n_layer; l++) {
        pith__acts a = pith__acts_at(u->tape->s->pass, l);
        for (int i = 0; i < N * h->n_expert; i++) hash = hash * 0x9e3779b97f4a7c15u + (a.route[i] > 0);
        for (int i = 0; h->act == PITH__RELU && i < N * h->n_ff; i++) hash = hash * 0x9e3779b97f4a7c15u + (a.up[i] > 0);
    }
    return hash;
}

static double loss_at(pupil *u, const pith__param *q, const float *w, const double *v, double h,
                      int *same) {
    uint64_t before = choices(u);
    for (size_t i = 0; i < q->n; i++) q->w[i] = (float)(w[i] + h * v[i]);
    double loss = pupil_score(u);
    *same &= choices(u) == before;
    return loss;
}

/* The loss's slope along v, from four points *h apart: what is left out is of order h^4. */
static double slope_along(pupil *u, const pith__param *q, const double *v, double *h) {
    float *w = malloc(q->n * sizeof *w);
    double slope = 0;
    memcpy(w, q->w, q->n * sizeof *w);
    for (int same = 0; !same && *h > 1e-4; *h /= 2) {
        same = 1;
        loss_at(u, q, w, v, 0, &same), same = 1;
        double near = loss_at(u, q, w, v, *h, &same) - loss_at(u, q, w, v, -*h, &same);
        double far = loss_at(u, q, w, v, 2 * *h, &same) - loss_at(u, q, w, v, -2 * *h, &same);
        slope = (8 * near - far) / (12 * *h);
    }
    memcpy(q->w, w, q->n * sizeof *w);
    free(w);
    return slope;
}

static double length(const double *v, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i++) s += v[i] * v[i];
    return sqrt(s);
}

/* Of keys that are not rotated: it adds the same to all scores of a query, and the softmax stays. */
static int is_idle(const pupil *u, const pith__param *q) {
    const char *name = q->tensor->name.p;
    return u->m->layer->rope < 0 && strstr(name, "attn_k.bias") != NULL;
}

/* Along the gradient, where the slope is its length, and along a random direction. */
static void check_param(pupil *u, const pith__param *q, const char *family_name) {
    double *v = malloc(q->n * sizeof *v), size = 0;
    uint64_t state = 77;
    for (size_t i = 0; i < q->n; i++) size += (double)q->g[i] * q->g[i];
    size = sqrt(size);
    if (is_idle(u, q) ? !(size < 1e-4) : !(size > 1e-4))
        FAIL("%s: %.*s has %s gradient", family_name, (int)q->tensor->name.n, q->tensor->name.p, is_idle(u, q) ? "a" : "no");
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < q->n; i++) v[i] = k ? fixture_random(&state) : q->g[i];
        double l = length(v, q->n), want = 0;
        for (size_t i = 0; i < q->n; i++) v[i] /= l, want += v[i] * q->g[i];
        double h = 0.01, got = slope_along(u, q, v, &h);
        if (!(fabs(got - want) <= 1e-3 * size + 4e-6 / h)) /* a loss has errors of 1e-6 */
            FAIL("%s: %.*s direction %d: %.7f, slope %.7f, length %.7f", family_name,
                 (int)q->tensor->name.n, q->tensor->name.p, k, want, got, size);
    }
    free(v);
}

#endif
