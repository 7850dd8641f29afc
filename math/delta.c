/* delta.c - the gated delta rule: a layer's state learns, token by token, which value belongs to which key.
 *
 * Columns of a state do not depend on each other, so vectors are of columns and threads share out heads and columns: the
 * bits of a token depend neither on how many tokens are computed together nor on the threads. */
#include <math.h>
#include <string.h>
#include "kernels.h"

enum { COLUMNS = PITH__DELTA_COLUMNS, ROW_SUMS = 4 };

PITH_SHARED void pith__unit(const pith__kernels *k, float *x, size_t n, float eps, float scale) {
    scale /= sqrtf(k->dot(x, x, n) + eps);
    for (size_t i = 0; i < n; i++) x[i] *= scale;
}

/* y = x^T s, for some columns of s. Row i is added to sum i % 4, so that a sum need not wait for the one before. */
static void weigh_rows(float *y, const float *s, const float *x, int rows) {
    float sum[ROW_SUMS][COLUMNS] = { { 0 } };
    for (int i = 0; i < rows; i++, s += COLUMNS)
        for (int j = 0; j < COLUMNS; j++) sum[i % ROW_SUMS][j] += x[i] * s[j];
    for (int j = 0; j < COLUMNS; j++) y[j] = (sum[0][j] + sum[2][j]) + (sum[1][j] + sum[3][j]);
}

/* The state is a memory that a key is looked up in, S^T k. It fades, then learns how far what it finds is from the value,
 * as far as beta says; the query looks up what it holds now:
 *     S *= decay;  d = beta (v - S^T k);  S += k d^T;  y = S^T q
 * Schlag et al. 2021, arXiv:2102.11174; Yang et al. 2024, arXiv:2412.06464. */
PITH_SHARED void pith__delta_portable(const pith__delta *d, size_t head, size_t block) {
    float *s = pith__delta_block(d, head, block), found[COLUMNS], learn[COLUMNS];
    size_t j0 = block * COLUMNS, at = head * (size_t)d->dv + j0;
    int n = d->dv - (int)j0 < COLUMNS ? d->dv - (int)j0 : COLUMNS;
    for (size_t t = 0; t < (size_t)d->n; t++) {
        const float *q = d->q + t * d->stride + pith__delta_key(d, head), *v = d->v + t * d->stride + at;
        const float *k = d->k + t * d->stride + pith__delta_key(d, head);
        float decay = d->decay[t * (size_t)d->n_head + head], beta = d->beta[t * (size_t)d->n_head + head];
        weigh_rows(found, s, k, d->dk);
        for (int j = 0; j < COLUMNS; j++) learn[j] = beta * ((j < n ? v[j] : 0) - decay * found[j]);
        for (int i = 0; i < d->dk; i++)
            for (int j = 0; j < COLUMNS; j++) s[i * COLUMNS + j] = decay * s[i * COLUMNS + j] + k[i] * learn[j];
        weigh_rows(found, s, q, d->dk);
        memcpy(d->y + t * (size_t)d->n_head * (size_t)d->dv + at, found, (size_t)n * sizeof *found);
    }
}
