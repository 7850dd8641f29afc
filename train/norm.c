/* norm.c - the backward pass of norms.
 *
 * The gradient of a norm's factors is a sum over the rows, the first to the last; a thread has some columns of it. */
#include "train.h"

#include <math.h>

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
    size_t cols, n, groups; /* of so many rows each has factors of its own */
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
    d_rmsnorm(dx, dy, x, j->w + t % j->groups * j->cols, j->cols, *scale, j->add);
}

static void d_norm_span(const void *data, size_t span, uint8_t *scratch) {
    const d_norm_job *j = data;
    size_t i0 = span * SPAN, i1 = pith__least(j->cols, i0 + SPAN);
    (void)scratch;
    for (size_t t = 0; t < j->n; t++) {
        const float *dy = j->dy + t * j->cols, *x = j->x + t * j->cols;
        float scale = j->tape->scale[t], mean = j->tape->mean[t]; /* 0: of RMSNorm */
        float *dw = j->dw ? j->dw + t % j->groups * j->cols : NULL;
        for (size_t i = i0; dw && i < i1; i++) dw[i] += dy[i] * (scale * (x[i] - mean));
        for (size_t i = i0; j->db && i < i1; i++) j->db[i] += dy[i];
    }
}

PITH_SHARED void pith__d_norm(const pith__tape *tape, float *dx, const float *dy, const float *x,
                              const pith__norm *w, size_t n, int add) {
    size_t cols = w->w.floats ? w->w.tensor.cols : (size_t)tape->s->model->hyper.n_embd;
    d_norm_job job = { tape, dx, dy, x, w->w.floats, pith__grad(tape->g, &w->w), pith__grad(tape->g, &w->b), cols, n, 1, add };
    if (w->w.tensor.rows > 1) job.groups = w->w.tensor.rows;
    int worth_it = pith__worth_it(n * cols);
    for (size_t i = 0; !w->w.floats && i < n * cols; i++) dx[i] = add ? dx[i] + dy[i] : dy[i];
    if (!w->w.floats) return;
    pith__share(&tape->s->pass->team, n, worth_it, d_norm_row, &job);
    if (job.dw || job.db) pith__share(&tape->s->pass->team, (cols + SPAN - 1) / SPAN, worth_it, d_norm_span, &job);
}
