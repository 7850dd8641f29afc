/* attention.c - the backward pass of attention: gradients of queries, keys and values.
 *
 * Forward: y = softmax(scale * q k^T) v, under a mask (causal, perhaps a window), perhaps with a softcap. The probabilities
 * are not kept but computed again, for a few queries at a time, as flash attention does: Dao et al. 2022,
 * arXiv:2205.14135, appendix B. A thread works on one query head. */
#include "train.h"

#include <math.h>
#include <string.h>

/* Forward: p = softmax(x) = exp(x) / sum(exp(x)). dp becomes dx = p (dp - sum(p dp)). */
PITH_SHARED void pith__d_softmax(const pith__kernels *k, float *dp, const float *p, size_t n) {
    float sum = k->dot(dp, p, n);
    for (size_t i = 0; i < n; i++) dp[i] = p[i] * (dp[i] - sum);
}

/* Queries at a time: so many that their scores with all n positions stay in the second-level cache. */
static size_t queries_at_once(size_t n) {
    size_t most = (1 << 16) / (n + 1) / 16 * 16;
    return most < 16 ? 16 : most > 64 ? 64 : most;
}

/* The length of a row of n scores. It is no power of two: reading down a column would be slow, as all
 * its numbers would share few lines of the cache. */
static size_t score_row(size_t n) { return (n + 15) / 16 * 16 + 16; }

PITH_SHARED size_t pith__d_attend_scratch(size_t n, size_t head_dim) {
    return (2 * head_dim + 2 * queries_at_once(n) + 1) * score_row(n);
}

/* to (cols, to_row) = scale * from (n, from_row), transposed. */
static void transpose(float *to, size_t to_row, const float *from, size_t from_row, size_t n,
                      size_t cols, float scale) {
    for (size_t u = 0; u < n; u++)
        for (size_t i = 0; i < cols; i++) to[i * to_row + u] = scale * from[u * from_row + i];
}

/* One token's n scores. Forward: p = softmax(c * tanh(x / c)), or softmax(x) where c, the softcap, is 0.
 * x becomes p, and dp becomes dx. */
static void softcap_softmax_and_back(const pith__kernels *k, float *x, float *dp, float *slope,
                                     size_t n, float c) {
    for (size_t u = 0; c > 0 && u < n; u++) {
        float th = tanhf(x[u] / c);
        x[u] = c * th;
        slope[u] = 1 - th * th;
    }
    k->softmax(x, n);
    pith__d_softmax(k, dp, x, n);
    for (size_t u = 0; c > 0 && u < n; u++) dp[u] *= slope[u];
}

/* Positions that the token does not see, before first and from end on, have probability 0. */
static void clear_unseen(float *x, size_t first, size_t end, size_t n) {
    memset(x, 0, first * sizeof *x);
    memset(x + end, 0, (n - end) * sizeof *x);
}

static pith__span sees(const pith__d_attention *a, size_t t) { return pith__sees(a->mask, (int)t, (int)a->n); }

/* Queries t0 to t0 + m of head h, transposed keys kt (scaled) and values vt: (head_dim, score_row). A
 * query sees positions u0 + first to u0 + end. */
static void d_attend_queries(const pith__d_attention *a, size_t h, size_t t0, size_t m,
                             const float *kt, const float *vt, float *p) {
    const pith__kernels *k = a->tape->s->pass->kernels;
    size_t dim = a->head_dim, row = score_row(a->n), q_row = a->n_head * dim,
           k_row = a->n_kv_head * dim;
    size_t u0 = (size_t)sees(a, t0).first, n = (size_t)sees(a, t0 + m - 1).last + 1 - u0;
    float *dp = p + queries_at_once(a->n) * row, *slope = dp + queries_at_once(a->n) * row;
    size_t at = t0 * q_row + h * dim, at_u = u0 * q_row + h * dim;
    size_t at_k = u0 * k_row + h / (a->n_head / a->n_kv_head) * dim;

    pith__outer scores = { p, row, a->q + at, q_row, 1, kt + u0, row, m, n, dim, 0, 0 };
    k->outer(&scores);
    pith__outer by_p = { dp, row, a->dy + at, q_row, 1, vt + u0, row, m, n, dim, 0, 0 };
    k->outer(&by_p); /* forward: y = sum of p[u] v[u] */
    for (size_t t = t0; t < t0 + m; t++) {
        float *pt = p + (t - t0) * row, *dt = dp + (t - t0) * row;
        size_t first = (size_t)sees(a, t).first - u0, end = (size_t)sees(a, t).last + 1 - u0;
        softcap_softmax_and_back(k, pt + first, dt + first, slope, end - first, a->softcap);
        clear_unseen(pt, first, end, n);
        clear_unseen(dt, first, end, n);
    }
    pith__outer by_v = { a->dv + at_u, q_row, p, 1, row, a->dy + at, q_row, n, dim, m, 1, 0 };
    k->outer(&by_v);
    pith__outer by_q = { a->dq + at, q_row, dp, row, 1, a->k + at_k, k_row, m, dim, n, 0, 0 };
    k->outer(&by_q);
    pith__outer by_k = { a->dk + at_u, q_row, dp, 1, row, a->q + at, q_row, n, dim, m, 1, 0 };
    k->outer(&by_k);
}

static void d_attend_head(const void *data, size_t h, uint8_t *scratch) {
    const pith__d_attention *a = data;
    size_t dim = a->head_dim, row = score_row(a->n), step = queries_at_once(a->n);
    size_t q_row = a->n_head * dim, k_row = a->n_kv_head * dim;
    size_t at = h / (a->n_head / a->n_kv_head) * dim;
    float *kt = (float *)(void *)scratch, *vt = kt + dim * row, *p = vt + dim * row;
    transpose(kt, row, a->k + at, k_row, a->n, dim, a->scale);
    transpose(vt, row, a->v + at, k_row, a->n, dim, 1);
    for (size_t t = 0; t < a->n; t++) {
        memset(a->dk + t * q_row + h * dim, 0, dim * sizeof(float));
        memset(a->dv + t * q_row + h * dim, 0, dim * sizeof(float));
    }
    for (size_t t = 0; t < a->n; t += step)
        d_attend_queries(a, h, t, pith__least(a->n - t, step), kt, vt, p);
    for (size_t t = 0; t < a->n; t++)
        for (size_t i = t * q_row + h * dim; i < t * q_row + (h + 1) * dim; i++)
            a->dq[i] *= a->scale, a->dk[i] *= a->scale; /* forward: score = scale * q.k */
}

/* Grouped-query attention: n_rep query heads read the same keys and values, whose gradient is the sum
 * of what comes back from each. In place: (n, n_head, head_dim) becomes (n, n_kv_head, head_dim). */
static void sum_query_heads(float *d, size_t n, size_t n_head, size_t n_kv_head, size_t dim) {
    size_t n_rep = n_head / n_kv_head;
    if (n_rep == 1) return;
    for (size_t i = 0; i < n * n_kv_head; i++) {
        float *to = d + i * dim, *from = d + i * n_rep * dim;
        memmove(to, from, dim * sizeof *d);
        for (size_t r = 1; r < n_rep; r++)
            for (size_t j = 0; j < dim; j++) to[j] += from[r * dim + j];
    }
}

PITH_SHARED void pith__d_attend(const pith__d_attention *a) {
    int worth_it = pith__worth_it(a->n * a->n_head * a->head_dim);
    pith__share(&a->tape->s->pass->team, a->n_head, worth_it, d_attend_head, a);
    sum_query_heads(a->dk, a->n, a->n_head, a->n_kv_head, a->head_dim);
    sum_query_heads(a->dv, a->n, a->n_head, a->n_kv_head, a->head_dim);
}
