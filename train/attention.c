/* attention.c - the backward pass of attention. */
#include "train.h"

#include <math.h>
#include <string.h>

/* was p = exp(x) / sum(exp(x)). dp becomes dx. */
PITH_SHARED void pith__d_softmax(const pith__kernels *k, float *dp, const float *p, size_t n) {
    float sum = k->dot(dp, p, n);
    for (size_t i = 0; i < n; i++) dp[i] = p[i] * (dp[i] - sum);
}

/* Queries go by so many that their scores with all positions stay in the second-level cache. */
static size_t query_block(size_t n) {
    size_t most = (1 << 16) / (n + 1) / 16 * 16;
    return most < 16 ? 16 : most > 64 ? 64 : most;
}

/* Not a power of two, which would be slow to walk across. */
static size_t turned_row(size_t n) { return (n + 15) / 16 * 16 + 16; }

PITH_SHARED size_t pith__d_attend_scratch(size_t n, size_t head_dim) {
    return (2 * head_dim + 2 * query_block(n) + 1) * turned_row(n);
}

/* to (cols, to_row) = scale * from (n, from_row), turned round. */
static void turn(float *to, size_t to_row, const float *from, size_t from_row, size_t n,
                 size_t cols, float scale) {
    for (size_t u = 0; u < n; u++)
        for (size_t i = 0; i < cols; i++) to[i * to_row + u] = scale * from[u * from_row + i];
}

/* was p = softmax(c * tanh(x / c)), without the cap where c is 0; x becomes p, and dp dx. One
 * token's n scores. */
static void d_weigh(const pith__kernels *k, float *x, float *dp, float *slope, size_t n, float c) {
    for (size_t u = 0; c > 0 && u < n; u++) {
        float th = tanhf(x[u] / c);
        x[u] = c * th;
        slope[u] = 1 - th * th;
    }
    k->softmax(x, n);
    pith__d_softmax(k, dp, x, n);
    for (size_t u = 0; c > 0 && u < n; u++) dp[u] *= slope[u];
}

/* What a token does not see has no weight. */
static void clear_unseen(float *x, size_t first, size_t end, size_t n) {
    memset(x, 0, first * sizeof *x);
    memset(x + end, 0, (n - end) * sizeof *x);
}

/* Queries t0 to t0 + m of head h. They see nothing after themselves, nor before the window. */
static void d_attend_queries(const pith__d_attention *a, size_t h, size_t t0, size_t m,
                             const float *kt, const float *vt, float *p) {
    const pith__kernels *k = a->tape->s->kernels;
    size_t dim = a->head_dim, row = turned_row(a->n), q_row = a->n_head * dim,
           k_row = a->n_kv_head * dim;
    size_t u0 = a->window && t0 >= a->window ? t0 + 1 - a->window : 0, n = t0 + m - u0;
    float *dp = p + query_block(a->n) * row, *slope = dp + query_block(a->n) * row;
    size_t at = t0 * q_row + h * dim, at_u = u0 * q_row + h * dim;
    size_t at_k = u0 * k_row + h / (a->n_head / a->n_kv_head) * dim;

    pith__outer scores = { p, row, a->q + at, q_row, 1, kt + u0, row, m, n, dim, 0 };
    k->outer(&scores); /* kt is scaled, so that the scores are */
    pith__outer by_p = { dp, row, a->dy + at, q_row, 1, vt + u0, row, m, n, dim, 0 };
    k->outer(&by_p); /* was y = sum of p[u] v[u] */
    for (size_t t = t0; t < t0 + m; t++) {
        float *pt = p + (t - t0) * row, *dt = dp + (t - t0) * row;
        size_t first = a->window && t >= a->window ? t + 1 - a->window - u0 : 0, end = t + 1 - u0;
        d_weigh(k, pt + first, dt + first, slope, end - first, a->softcap);
        clear_unseen(pt, first, end, n);
        clear_unseen(dt, first, end, n);
    }
    pith__outer by_v = { a->dv + at_u, q_row, p, 1, row, a->dy + at, q_row, n, dim, m, 1 };
    k->outer(&by_v);
    pith__outer by_q = { a->dq + at, q_row, dp, row, 1, a->k + at_k, k_row, m, dim, n, 0 };
    k->outer(&by_q);
    pith__outer by_k = { a->dk + at_u, q_row, dp, 1, row, a->q + at, q_row, n, dim, m, 1 };
    k->outer(&by_k);
}

static void d_attend_head(const void *data, size_t h, uint8_t *scratch) {
    const pith__d_attention *a = data;
    size_t dim = a->head_dim, row = turned_row(a->n), step = query_block(a->n);
    size_t q_row = a->n_head * dim, k_row = a->n_kv_head * dim;
    size_t at = h / (a->n_head / a->n_kv_head) * dim;
    float *kt = (float *)(void *)scratch, *vt = kt + dim * row, *p = vt + dim * row;
    turn(kt, row, a->k + at, k_row, a->n, dim, a->scale);
    turn(vt, row, a->v + at, k_row, a->n, dim, 1);
    for (size_t t = 0; t < a->n; t++) {
        memset(a->dk + t * q_row + h * dim, 0, dim * sizeof(float));
        memset(a->dv + t * q_row + h * dim, 0, dim * sizeof(float));
    }
    for (size_t t = 0; t < a->n; t += step)
        d_attend_queries(a, h, t, pith__least(a->n - t, step), kt, vt, p);
    for (size_t t = 0; t < a->n; t++)
        for (size_t i = t * q_row + h * dim; i < t * q_row + (h + 1) * dim; i++)
            a->dq[i] *= a->scale, a->dk[i] *= a->scale; /* was score = scale * q.k */
}

/* Heads of a group read the same keys, so the key's gradient is the sum of theirs. In place: (n,
 * n_head, head_dim) becomes (n, n_kv_head, head_dim). */
static void sum_groups(float *d, size_t n, size_t n_head, size_t n_kv_head, size_t dim) {
    size_t n_group = n_head / n_kv_head;
    if (n_group == 1) return;
    for (size_t i = 0; i < n * n_kv_head; i++) {
        float *to = d + i * dim, *from = d + i * n_group * dim;
        memmove(to, from, dim * sizeof *d);
        for (size_t g = 1; g < n_group; g++)
            for (size_t j = 0; j < dim; j++) to[j] += from[g * dim + j];
    }
}

/* was y = softmax(scale * q k^T) v. dk and dv have room for n_head and hold n_kv_head in the end.
 * Dao et al. 2022, arXiv:2205.14135, appendix B. */
PITH_SHARED void pith__d_attend(const pith__d_attention *a) {
    int worth_it = pith__worth_it(a->n * a->n_head * a->head_dim);
    pith__share(&a->tape->s->team, a->n_head, worth_it, d_attend_head, a);
    sum_groups(a->dk, a->n, a->n_head, a->n_kv_head, a->head_dim);
    sum_groups(a->dv, a->n, a->n_head, a->n_kv_head, a->head_dim);
}
