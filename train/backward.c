/* backward.c - the way back through forward.c and kernels.c: how the loss changes with every
 * weight.
 *
 * It gets the activations that forward.c left on the tape and the gradient of the loss by what came
 * out of the last block, and adds the gradient by every weight that learns to where pith__grad
 * says. Each d_x here is the twin of an x there, in the same order and with the same arguments; its
 * comment begins with what the forward line was. d_x reads y's gradient and gives x's: what was y =
 * f(x) is dx = f'(x) dy, and what was read twice gets the sum of two gradients (Rumelhart, Hinton
 * and Williams 1986).
 *
 * Every sum has one order, whoever computes it: a weight's gradient runs over the tokens from the
 * first to the last, one sequence after the other. So the bits depend neither on the number of
 * threads nor on how sequences were put together into batches. */
#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PANEL = 32,            /* columns of a matrix that are made ready side by side */
    DEPTH = 384,           /* rows of it at once: these products are summed apart, then added */
    GROUP = 12,            /* rows of the result whose sums a processor has at once, see x86.c */
    ROWS = 4 * GROUP,      /* rows of it that are one task for a thread, and */
    COLUMNS = 12 * PANEL,  /* its columns */
    SPAN = 64,             /* columns that a thread sums over all tokens */
    BUNDLE = 8,            /* rows that are made ready together */
    LANE_NUMBERS = 1 << 26 /* gradients in memory, if there is more than one lane */
};

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* ---- products of two matrices ------------------------------------------------------------ */

typedef struct { /* y (m, n) = a (m, k) w (k, n), or y += */
    const pith__tape *tape;
    float *y;
    const float *a;
    size_t m, a_row, a_col; /* number (i, k) of a is a[i * a_row + k * a_col]; one of them is 1 */
    const pith__tensor *w;
    int add;
    size_t k0, n_k; /* rows of w that are being worked on */
} product;

/* Row k0 + k of w, of whatever format, as floats: PANEL of them to each panel. whole: (cols) */
static void make_panels(const product *p, size_t k, float *whole) {
    const pith__tensor *w = p->w;
    const pith__format *f = w->format;
    const uint8_t *row = w->data + (p->k0 + k) * w->row_bytes;
    float *to = p->tape->panel + k * PANEL;
    int apart = f->id == PITH__I8; /* its scales are not with the row */
    if (apart) pith__row_floats(w, p->k0 + k, whole);
    for (size_t j = 0; j < w->cols; j += PANEL, to += p->n_k * PANEL) {
        size_t n = least(w->cols - j, PANEL);
        if (f->id == PITH__F32 && n == PANEL) {
            memcpy(to, row + j * sizeof *to, PANEL * sizeof *to); /* a size known to the compiler */
        } else if (apart) {
            memcpy(to, whole + j, n * sizeof *to);
        } else if (f->floats) {
            f->floats(to, row + j * (size_t)f->bytes, n);
        } else {
            pith__q32 b;
            pith__row_q32(w, p->k0 + k, j / PANEL, &b);
            for (size_t i = 0; i < n; i++) to[i] = b.d[i / 16] * b.q[i] - b.m[i / 16];
        }
        for (size_t i = n; i < PANEL; i++) to[i] = 0;
    }
}

static void panel_task(const void *data, size_t task, uint8_t *scratch) {
    const product *p = data;
    for (size_t k = task * BUNDLE; k < p->n_k && k < (task + 1) * BUNDLE; k++)
        make_panels(p, k, (float *)(void *)scratch);
}

/* Rows of a that are columns in memory, laid GROUP by GROUP: (m / GROUP, n_k, GROUP). */
static void lay_rows(float *to, const float *a, size_t a_col, size_t m, size_t n_k) {
    for (size_t i = 0; i < m; i += GROUP, to += n_k * GROUP) {
        size_t n = least(m - i, GROUP);
        for (size_t k = 0; k < n_k; k++)
            if (n == GROUP) memcpy(to + k * GROUP, a + i + k * a_col, GROUP * sizeof *to);
            else memcpy(to + k * GROUP, a + i + k * a_col, n * sizeof *to);
    }
}

/* ROWS by COLUMNS of the result. */
static void product_task(const void *data, size_t task, uint8_t *scratch) {
    const product *p = data;
    size_t cols = p->w->cols, wide = (cols + COLUMNS - 1) / COLUMNS;
    size_t i = task / wide * ROWS, m = least(p->m - i, ROWS), j = task % wide * COLUMNS;
    size_t end = least(cols, j + COLUMNS), step = p->a_col == 1 ? m : GROUP;
    const float *a = p->a + i * p->a_row + p->k0 * p->a_col;
    pith__outer o = { .n_k = p->n_k, .y_row = cols, .b_row = PANEL, .add = p->add || p->k0 > 0 };
    o.a_row = p->a_row, o.a_col = p->a_col;
    if (p->a_col != 1) {
        float *side = (float *)(void *)scratch;
        lay_rows(side, a, p->a_col, m, p->n_k);
        a = side, o.a_row = 1, o.a_col = GROUP;
    }
    for (; j < end; j += PANEL)
        for (size_t r = 0; r < m; r += step) {
            o.y = p->y + (i + r) * cols + j;
            o.a = p->a_col == 1 ? a : a + r * p->n_k;
            o.b = p->tape->panel + j * p->n_k;
            o.m = least(m - r, step), o.n = least(end - j, PANEL);
            p->tape->s->kernels->outer(&o);
        }
}

static void multiply(product *p) {
    const pith__team *team = &p->tape->s->team;
    size_t rows = p->w->rows, cols = p->w->cols, n_part = (rows + DEPTH - 1) / DEPTH;
    size_t n_task = (p->m + ROWS - 1) / ROWS * ((cols + COLUMNS - 1) / COLUMNS);
    int worth_it = pith__worth_it(p->m * cols);
    p->n_k = (rows + n_part - 1) / n_part;
    for (p->k0 = 0; p->k0 < rows; p->k0 += p->n_k) {
        p->n_k = least(p->n_k, rows - p->k0);
        pith__share(team, (p->n_k + BUNDLE - 1) / BUNDLE, worth_it, panel_task, p);
        pith__share(team, n_task, worth_it, product_task, p);
    }
}

/* was y (n, rows) = x (n, cols) through w. dx (n, cols) = dy w, or, with add, dx += dy w. */
PITH_SHARED void pith__d_input(const pith__tape *tape, float *dx, const float *dy,
                               const pith__tensor *w, size_t n, int add) {
    product p = { tape, dx, dy, n, w->rows, 1, w, add, 0, 0 };
    multiply(&p);
}

PITH_SHARED float *pith__grad(const pith__tape *tape, const pith__weight *w) {
    return !w->tensor.data || w->at == PITH__FROZEN ? NULL : tape->g + w->at;
}

/* The gradient of w, (rows, cols) += dy^T x, summed over the tokens. */
PITH_SHARED void pith__d_weight(const pith__tape *tape, const pith__weight *w, const float *dy,
                                const float *x, size_t n) {
    float *dw = pith__grad(tape, w);
    if (!dw || !n) return;
    size_t rows = w->tensor.rows, cols = w->tensor.cols;
    pith__tensor in = { .format = pith__format_of(PITH__F32), .rows = n, .cols = cols };
    in.data = (const uint8_t *)x;
    in.row_bytes = cols * sizeof *x;
    product p = { tape, dw, dy, rows, 1, rows, &in, 1, 0, 0 };
    multiply(&p);
}

/* ---- one vector -------------------------------------------------------------------------- */

/* was y[i] = w[i] * scale * x[i], scale = 1 / sqrt(mean(x^2) + eps), which depends on every x. */
static void d_rmsnorm(float *dx, const float *dy, const float *x, const float *w, size_t n,
                      float scale, int add) {
    float sum[16] = { 0 };
    for (size_t i = 0; i < n; i++) sum[i % 16] += dy[i] * w[i] * x[i];
    for (size_t half = 8; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++) sum[i] += sum[i + half];
    float pull = scale * scale / (float)n * sum[0];
    for (size_t i = 0; i < n; i++) {
        float d = scale * (dy[i] * w[i] - pull * x[i]);
        dx[i] = add ? dx[i] + d : d;
    }
}

/* was a, b = a c - b s, a s + b c: the way back turns the other way. */
static void d_rope(float *dx, const float *cs, int n_rot, int half) {
    int step = half ? 1 : 2, apart = half ? n_rot / 2 : 1;
    for (int i = 0; i < n_rot / 2; i++) {
        float *a = dx + i * step, *b = a + apart;
        float c = cs[2 * i], s = cs[2 * i + 1], a0 = *a, b0 = *b;
        *a = a0 * c + b0 * s;
        *b = b0 * c - a0 * s;
    }
}

/* was p = exp(x) / sum(exp(x)). dp becomes dx. */
static void d_softmax(const pith__kernels *k, float *dp, const float *p, size_t n) {
    float sum = k->dot(dp, p, n);
    for (size_t i = 0; i < n; i++) dp[i] = p[i] * (dp[i] - sum);
}

/* ---- attention --------------------------------------------------------------------------- */

/* Attention of a whole sequence, in f32, every query head apart: heads that share keys and values
 * have gradients of their own, (n, n_head, head_dim), which are summed afterwards. */
typedef struct {
    const pith__tape *tape;
    const float *q, *k, *v; /* (n, n_head, head_dim), (n, n_kv_head, head_dim) */
    const float *dy;        /* (n, n_head, head_dim) */
    float *dq, *dk, *dv;    /* (n, n_head, head_dim) */
    size_t n, n_head, n_kv_head, head_dim, window;
    float scale, softcap;
} d_attention_job;

/* Queries go by so many that their scores with all positions stay in the second-level cache. */
static size_t query_block(size_t n) {
    size_t most = (1 << 16) / (n + 1) / 16 * 16;
    return most < 16 ? 16 : most > 64 ? 64 : most;
}

/* Not a power of two, which would be slow to walk across. */
static size_t turned_row(size_t n) { return (n + 15) / 16 * 16 + 16; }

static size_t d_attend_floats(size_t n, size_t head_dim) {
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
    d_softmax(k, dp, x, n);
    for (size_t u = 0; c > 0 && u < n; u++) dp[u] *= slope[u];
}

/* What a token does not see has no weight. */
static void clear_unseen(float *x, size_t first, size_t end, size_t n) {
    memset(x, 0, first * sizeof *x);
    memset(x + end, 0, (n - end) * sizeof *x);
}

/* Queries t0 to t0 + m of head h. They see nothing after themselves, nor before the window. */
static void d_attend_queries(const d_attention_job *a, size_t h, size_t t0, size_t m,
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
    const d_attention_job *a = data;
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
        d_attend_queries(a, h, t, least(a->n - t, step), kt, vt, p);
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
static void d_attend(const d_attention_job *a) {
    int worth_it = pith__worth_it(a->n * a->n_head * a->head_dim);
    pith__share(&a->tape->s->team, a->n_head, worth_it, d_attend_head, a);
    sum_groups(a->dk, a->n, a->n_head, a->n_kv_head, a->head_dim);
    sum_groups(a->dv, a->n, a->n_head, a->n_kv_head, a->head_dim);
}

/* ---- one vector of every token ----------------------------------------------------------- */

typedef struct {
    const pith__tape *tape;
    float *dx;
    const float *dy, *x, *w;
    float *dw;
    size_t cols, n;
    int add;
} d_norm_job;

static void d_norm_row(const void *data, size_t t, uint8_t *scratch) {
    const d_norm_job *j = data;
    const float *x = j->x + t * j->cols;
    float mean = j->tape->s->kernels->dot(x, x, j->cols) / (float)j->cols;
    float scale = 1.0f / sqrtf(mean + j->tape->s->model->hyper.eps);
    (void)scratch;
    j->tape->scale[t] = scale;
    d_rmsnorm(j->dx + t * j->cols, j->dy + t * j->cols, x, j->w, j->cols, scale, j->add);
}

static void d_norm_span(const void *data, size_t span, uint8_t *scratch) {
    const d_norm_job *j = data;
    size_t i0 = span * SPAN, i1 = least(j->cols, i0 + SPAN);
    (void)scratch;
    for (size_t t = 0; t < j->n; t++)
        for (size_t i = i0; i < i1; i++)
            j->dw[i] += j->dy[t * j->cols + i] * (j->tape->scale[t] * j->x[t * j->cols + i]);
}

/* was y (n, cols) = rmsnorm(x, w), row by row. dx = its gradient, or, with add, dx += it. */
PITH_SHARED void pith__d_norm(const pith__tape *tape, float *dx, const float *dy, const float *x,
                              const pith__weight *w, size_t n, int add) {
    size_t cols = w->tensor.cols;
    float *dw = pith__grad(tape, w);
    d_norm_job job = { tape, dx, dy, x, w->floats, dw, cols, n, add };
    int worth_it = pith__worth_it(n * cols);
    pith__share(&tape->s->team, n, worth_it, d_norm_row, &job);
    if (dw) pith__share(&tape->s->team, (cols + SPAN - 1) / SPAN, worth_it, d_norm_span, &job);
}

/* ---- the block --------------------------------------------------------------------------- */

typedef struct { /* one layer, on the way back for n tokens */
    const pith__tape *tape;
    const pith__hyper *h;
    const pith__layer *layer;
    pith__acts a, d;        /* what it computed, and the gradients of that */
    size_t n, n_embd;
} d_block;

/* was y += bias, for each of n tokens. */
static void d_add_bias(const d_block *b, const float *dy, const pith__weight *bias, size_t n) {
    float *d_bias = pith__grad(b->tape, bias);
    size_t cols = bias->tensor.cols;
    for (size_t t = 0; d_bias && t < n; t++)
        for (size_t i = 0; i < cols; i++) d_bias[i] += dy[t * cols + i];
}

/* was y = x through w. */
static void d_project(const d_block *b, float *dx, const float *dy, const pith__weight *w,
                      const float *x, size_t n, int add) {
    pith__d_input(b->tape, dx, dy, &w->tensor, n, add);
    pith__d_weight(b->tape, w, dy, x, n);
}

/* was y = norm(x, w) of the stream, or x itself in a family without this norm. d.x += what comes
 * back. */
static void d_norm_stream(const d_block *b, const float *dy, const float *x,
                          const pith__weight *w) {
    float *dx = b->d.x;
    if (w->floats) pith__d_norm(b->tape, dx, dy, x, w, b->n, 1);
    for (size_t i = 0; !w->floats && i < b->n * b->n_embd; i++) dx[i] += dy[i];
}

/* was out = stream + residual_scale * added, which a post-norm had shaped first. The gradient of
 * out, d.x, goes on as that of the stream. */
static void d_add_to_stream(const d_block *b, const float *added, float *d_added,
                            const pith__weight *post_norm) {
    float *to = post_norm->floats ? b->d.y : d_added;
    for (size_t i = 0; i < b->n * b->n_embd; i++) to[i] = b->h->residual_scale * b->d.x[i];
    if (post_norm->floats) pith__d_norm(b->tape, d_added, to, added, post_norm, b->n, 0);
}

/* was x[2 i], x[2 i + 1] = x0[i], x0[i + half]; the other channels stayed. */
static void d_gather_pairs(float *dx0, const float *dx, size_t n_rot, size_t dim) {
    for (size_t i = 0; i < n_rot / 2; i++) {
        dx0[i] = dx[2 * i];
        dx0[i + n_rot / 2] = dx[2 * i + 1];
    }
    for (size_t i = n_rot; i < dim; i++) dx0[i] = dx[i];
}

/* was: queries or keys, (n, heads, head_dim), biased, normed and turned, in this order. dx holds
 * the gradient of what came out, dx0 (the same where there is no norm) gets that of the product
 * with the weights. */
static void d_bias_norm_rope(const d_block *b, float *dx, float *dx0, const float *x0,
                             const pith__weight *bias, const pith__weight *w, int heads) {
    size_t dim = (size_t)b->h->head_dim, cols = (size_t)heads * dim;
    const float *angles = b->layer->rope < 0 ? NULL : b->tape->s->rope_table[b->layer->rope];
    for (size_t t = 0; angles && t < b->n; t++)
        for (int h = 0; h < heads; h++)
            d_rope(dx + t * cols + (size_t)h * dim, angles + t * (size_t)b->h->n_rot, b->h->n_rot,
                   b->h->rope_half);
    if (w->floats) pith__d_norm(b->tape, dx0, dx, x0, w, b->n * cols / w->tensor.cols, 0);
    for (size_t at = 0; b->h->rope_gather && at < b->n * cols; at += dim)
        d_gather_pairs(dx0 + at, dx + at, (size_t)b->h->n_rot, dim);
    d_add_bias(b, dx0, bias, b->n);
}

/* was y = x + the attention of every head. */
static void d_attention(const d_block *b) {
    const pith__hyper *h = b->h;
    const pith__layer *w = b->layer;
    pith__acts a = b->a, d = b->d;

    d_add_to_stream(b, a.o, d.o, &w->attn_post_norm);
    d_add_bias(b, d.o, &w->o_bias, b->n);
    d_project(b, d.mix, d.o, &w->o, a.mix, b->n, 0);
    d_attention_job job = {
        .tape = b->tape,
        .q = a.q,
        .k = a.k,
        .v = a.v,
        .dy = d.mix,
        .dq = d.q,
        .dk = d.k,
        .dv = d.v,
        .n = b->n,
        .n_head = (size_t)h->n_head,
        .n_kv_head = (size_t)h->n_kv_head,
        .head_dim = (size_t)h->head_dim,
        .window = (size_t)w->window,
        .scale = h->attn_scale,
        .softcap = h->attn_softcap,
    };
    d_attend(&job);
    d_bias_norm_rope(b, d.q, d.q0, a.q0, &w->q_bias, &w->q_norm, h->n_head);
    d_bias_norm_rope(b, d.k, d.k0, a.k0, &w->k_bias, &w->k_norm, h->n_kv_head);
    d_add_bias(b, d.v, &w->v_bias, b->n);
    const float *xn = w->attn_norm.floats ? a.xn : a.x;
    d_project(b, d.xn, d.q0, &w->q, xn, b->n, 0);
    d_project(b, d.xn, d.k0, &w->k, xn, b->n, 1);
    d_project(b, d.xn, d.v, &w->v, xn, b->n, 1);
    d_norm_stream(b, d.xn, a.x, &w->attn_norm);
}

typedef struct { /* rows of one network, and what they compute */
    const d_block *b;
    const pith__ffn *w;
    float *gate, *up, *act, *d_gate, *d_up, *d_act;
} d_ffn_rows;

/* was act = act(gate) * up of a row. */
static void d_gate_row(const void *data, size_t t, uint8_t *scratch) {
    const d_ffn_rows *f = data;
    size_t n_ff = f->w->gate.tensor.rows, at = t * n_ff;
    (void)scratch;
    f->b->tape->s->kernels->d_gate(f->d_gate + at, f->d_up + at, f->d_act + at, f->gate + at,
                                        f->up + at, n_ff, f->b->h->act);
}

/* was y = down(act(gate x) * up x), rows of it from row first on of what the layer keeps. */
static void d_network(const d_block *b, const pith__ffn *w, const float *x, size_t rows,
                      size_t first, const float *dy, float *dx) {
    size_t n_ff = w->gate.tensor.rows, at = first * n_ff;
    d_ffn_rows f = { b,
                     w,
                     b->a.gate + at,
                     b->a.up + at,
                     b->a.act + at,
                     b->d.gate + at,
                     b->d.up + at,
                     b->d.act + at };
    d_add_bias(b, dy, &w->down_bias, rows);
    d_project(b, f.d_act, dy, &w->down, f.act, rows, 0);
    pith__share(&b->tape->s->team, rows, pith__worth_it(rows * n_ff), d_gate_row, &f);
    d_add_bias(b, f.d_gate, &w->gate_bias, rows);
    d_add_bias(b, f.d_up, &w->up_bias, rows);
    d_project(b, dx, f.d_gate, &w->gate, x, rows, 0);
    d_project(b, dx, f.d_up, &w->up, x, rows, 1);
}

/* was p = softmax(x) of one token, then 0 for the experts not chosen, and the others made to sum to
 * 1 where expert_norm: which is their softmax among themselves. dp becomes dx; s is the whole
 * softmax. */
static void d_choose_experts(const d_block *b, float *dp, const float *p, const float *s) {
    const pith__kernels *k = b->tape->s->kernels;
    size_t n = (size_t)b->h->n_expert;
    for (size_t e = 0; e < n; e++)
        if (!(p[e] > 0)) dp[e] = 0;
    d_softmax(k, dp, b->h->expert_norm ? p : s, n);
}

/* The router: its gradient, and what comes back through it to x. */
static void d_route(const d_block *b, const float *x, float *dx) {
    const pith__tape *y = b->tape;
    size_t n = (size_t)b->h->n_expert;
    if (!b->h->expert_norm) { /* the tape has only what was chosen */
        pith__input in = y->s->in;
        in.x = x, in.n = (int)b->n, in.cols = b->n_embd, in.group = 0;
        pith__matmul(y->s->kernels, &y->s->team, y->route, n, &b->layer->router.tensor, &in);
    }
    for (size_t i = 0; i < b->n * n; i += n) {
        if (!b->h->expert_norm) y->s->kernels->softmax(y->route + i, n);
        d_choose_experts(b, b->d.route + i, b->a.route + i, y->route + i);
    }
    d_project(b, dx, b->d.route, &b->layer->router, x, b->n, 1);
}

/* was f = sum of p[e] * network e of x, over the experts that the token chose. */
static void d_experts(const d_block *b, const float *x, float *dx) {
    const pith__acts *a = &b->a, *d = &b->d;
    size_t n_expert = (size_t)b->h->n_expert, n_embd = b->n_embd, row = 0;
    memset(dx, 0, b->n * n_embd * sizeof *dx);
    memset(d->route, 0, b->n * n_expert * sizeof *dx);
    for (size_t e = 0; e < n_expert; e++) {
        const float *p = a->route + e; /* of token t: p[t * n_expert] */
        size_t first = row;
        for (size_t t = 0; t < b->n; t++) {
            if (!(p[t * n_expert] > 0)) continue;
            const float *df = d->f + t * n_embd;
            float *d_down = d->down + row * n_embd;
            d->route[t * n_expert + e] =
                b->tape->s->kernels->dot(df, a->down + row * n_embd, n_embd);
            for (size_t i = 0; i < n_embd; i++) d_down[i] = p[t * n_expert] * df[i];
            row++;
        }
        if (row == first) continue;
        d_network(b, &b->layer->ffn[e], a->pick + first * n_embd, row - first, first,
                  d->down + first * n_embd, d->pick + first * n_embd);
        const float *from = d->pick + first * n_embd;
        for (size_t t = 0; t < b->n; t++) {
            if (!(p[t * n_expert] > 0)) continue;
            for (size_t i = 0; i < n_embd; i++) dx[t * n_embd + i] += from[i];
            from += n_embd;
        }
    }
    d_route(b, x, dx);
}

/* was next = y + the feed-forward network of every token. */
static void d_feed_forward(const d_block *b) {
    const pith__layer *w = b->layer;
    const float *yn = w->ffn_norm.floats ? b->a.yn : b->a.y;
    d_add_to_stream(b, b->a.f, b->d.f, &w->ffn_post_norm);
    if (w->router.tensor.data) d_experts(b, yn, b->d.yn);
    else d_network(b, w->ffn, yn, b->n, 0, b->d.f, b->d.yn);
    d_norm_stream(b, b->d.yn, b->a.y, &w->ffn_norm);
}

/* ---- all blocks -------------------------------------------------------------------------- */

/* was x = embd_scale * the token's row of the embedding. */
static void d_embed(const pith__tape *y, const pith_token *tokens, size_t n) {
    const pith__hyper *h = &y->s->model->hyper;
    size_t n_embd = (size_t)h->n_embd;
    float *g = pith__grad(y, &y->s->model->embd);
    for (size_t t = 0; g && t < n; t++) {
        float *to = g + (size_t)tokens[t] * n_embd;
        for (size_t i = 0; i < n_embd; i++) to[i] += h->embd_scale * y->d.x[t * n_embd + i];
    }
}

PITH_SHARED void pith__backward(const pith__tape *y, const pith_token *tokens, int n) {
    const pith_model *m = y->s->model;
    pith_rewind(y->s, 0); /* where blocks are run again */
    for (int l = m->hyper.n_layer - 1; l >= 0; l--) {
        if (y->s->streams) pith__run_block(y->s, l, n);
        d_block b = { y, &m->hyper, &m->layer[l], pith__acts_at(y->s, l), y->d, (size_t)n,
                      (size_t)m->hyper.n_embd };
        d_feed_forward(&b);
        d_attention(&b);
    }
    d_embed(y, tokens, (size_t)n);
}

/* ---- the tape's memory ------------------------------------------------------------------- */

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

static size_t widest_input(const pith__hyper *h) {
    size_t ff = most((size_t)h->n_ff, (size_t)h->n_ff_expert);
    return most(most((size_t)h->n_embd, ff), (size_t)h->n_head * (size_t)h->head_dim);
}

/* Logits that exist at once: a few MB of them, but of 16 tokens at least. */
static size_t logits_rows(const pith__hyper *h, size_t n) {
    size_t rows = ((size_t)1 << 20) / (size_t)h->n_vocab / 16 * 16;
    return least(rows < 16 ? 16 : rows > PITH__LOSS_ROWS ? PITH__LOSS_ROWS : rows, n);
}

/* Pieces of y from memory on, or only how many floats they take. None is larger than a few times
 * what the session or the model already has in memory. */
static size_t place_tape(pith__tape *y, const pith_session *s, float *memory) {
    const pith__hyper *h = &s->model->hyper;
    size_t n = (size_t)s->n_batch, head_dim = (size_t)h->head_dim,
           heads = (size_t)h->n_head * head_dim;
    size_t n_threads = (size_t)s->team.n_threads, used = 0;
    pith__acts a;
    y->rows = (int)logits_rows(h, n);
    size_t logits = (size_t)y->rows * (size_t)h->n_vocab;
    y->scratch_floats =
        most(most(ROWS * DEPTH, d_attend_floats(n, head_dim)), s->team.scratch_bytes / 4);
    y->scratch_floats = (y->scratch_floats + 15) / 16 * 16;
    const struct {
        float **to;
        size_t size;
    } pieces[] = {
        { &y->acts, pith__acts_place(s, &a, NULL) },
        { &y->dk, n * heads },
        { &y->dv, n * heads },
        { &y->scale, n * (size_t)h->n_head },
        { &y->route, n * (size_t)h->n_expert },
        { &y->panel, DEPTH * (widest_input(h) + PANEL) },
        { &y->logits, logits },
        { &y->slope, h->logit_softcap > 0 ? logits : 0 },
        { &y->scratch, n_threads * y->scratch_floats },
    };
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        *pieces[i].to = memory ? memory + used : NULL;
        used += (pieces[i].size + 15) / 16 * 16;
    }
    if (!memory) return used;
    pith__acts_place(s, &y->d, y->acts);
    y->d.k = y->dk, y->d.v = y->dv; /* have room for every query head's */
    if (y->d.q0 == y->d.q) y->d.k0 = y->d.k;
    return used;
}

static pith_context context_of(int n_ctx) {
    pith_context c = { n_ctx, n_ctx, "f32", "f32" };
    return c;
}

PITH_SHARED pith__tape *pith__tape_new(const pith_model *m, float *g, int n_ctx, int recompute,
                                       pith_error *err) {
    pith_context c = context_of(n_ctx);
    pith_session *s = pith__session_new(m, &c, recompute ? PITH__KEEP_STREAM : PITH__KEEP_ALL, err);
    if (!s) return NULL;
    pith__tape *y = calloc(1, sizeof *y), plan;
    size_t floats = place_tape(&plan, s, NULL);
    float *memory = y ? calloc(floats + 16, sizeof *memory) : NULL;
    if (!memory) {
        pith__fail(err, PITH_EMEMORY, "%s: no memory for the gradients of %d tokens (%.1f MB)",
                   m->store.path, n_ctx, (double)floats * 4e-6);
        pith_session_free(s);
        free(y);
        return NULL;
    }
    y->s = s;
    y->g = g;
    y->memory = memory;
    place_tape(y, s, memory + (64 - (uintptr_t)memory % 64) % 64 / sizeof *memory);
    s->team.scratch = (uint8_t *)y->scratch; /* more than the session needs by itself */
    s->team.scratch_bytes = y->scratch_floats * sizeof *memory;
    return y;
}

PITH_SHARED void pith__tape_free(pith__tape *y) {
    if (!y) return;
    pith_session_free(y->s);
    free(y->memory);
    free(y);
}

PITH_SHARED size_t pith__tape_size(const pith_model *m, int n_ctx, int recompute) {
    pith_context c = context_of(n_ctx);
    size_t session = pith__session_bytes(m, &c, recompute ? PITH__KEEP_STREAM : PITH__KEEP_ALL);
    if (!session) return 0;
    pith_session s = { .model = m, .n_batch = n_ctx, .team = { .n_threads = m->n_threads } };
    s.team.scratch_bytes = pith__matmul_scratch(widest_input(&m->hyper));
    pith__tape y;
    return session + (place_tape(&y, &s, NULL) + 16) * sizeof(float) + sizeof y;
}

/* ---- the weights that learn -------------------------------------------------------------- */

static pith__param *param_named(const pith__params *p, pith__str name) {
    for (size_t lo = 0, hi = p->n_param; lo < hi;) {
        size_t mid = (lo + hi) / 2;
        int c = pith__str_cmp(name, p->param[mid].tensor->name);
        if (c == 0) return &p->param[mid];
        if (c < 0) hi = mid;
        else lo = mid + 1;
    }
    return NULL;
}

/* Mark the parameters that the model uses: w is where their numbers are now. Those of norms and
 * biases are floats that model.c has made. */
static void mark_used(pith__params *p, const pith_model *m) {
    for (const pith__weight *w = m->weights; w; w = w->next) {
        pith__param *q = param_named(p, w->tensor.name);
        if (!q) continue;
        q->decay = !w->floats;
        q->w = w->floats ? (float *)(uintptr_t)(w->floats - w->from)
                         : (float *)(uintptr_t)q->tensor->data;
    }
}

/* Give every weight its place in the gradient; matrices become floats. */
static void point_weights(const pith__params *p, const pith_model *m) {
    for (pith__weight *w = m->weights; w; w = w->next) {
        const pith__param *q = param_named(p, w->tensor.name);
        if (!q) continue;
        w->at = (size_t)(q->g - p->g) + w->from;
        if (w->floats) continue;
        w->tensor.format = pith__format_of(PITH__F32);
        w->tensor.row_bytes = w->tensor.cols * sizeof(float);
        w->tensor.data = (const uint8_t *)(q->w + w->from);
    }
}

/* The parameters that are marked, with memory for their gradients and, where they lie in a file,
 * floats. */
static int make_params(pith__params *p, const pith_model *m, pith_error *err) {
    size_t n = 0;
    for (size_t i = 0; i < p->n_param; i++)
        if (p->param[i].w) p->param[n++] = p->param[i];
    p->n_param = n;
    for (size_t i = 0; i < n; i++) p->n += p->param[i].n;
    for (p->n_lane = PITH__LANES; p->n_lane > 1 && p->n > (size_t)LANE_NUMBERS / p->n_lane;)
        p->n_lane--;
    p->g = pith__arena_new(&p->arena, p->n, (size_t)p->n_lane * sizeof *p->g);
    float *g = p->g;
    for (size_t i = 0; i < n && g; i++) {
        pith__param *q = &p->param[i];
        const pith__tensor *t = q->tensor;
        q->g = g;
        g += q->n;
        if (!q->decay) continue; /* its floats are there */
        if (!m->store.n_file && t->format->id == PITH__F32) continue;
        q->w = pith__arena_new(&p->arena, q->n, sizeof *q->w);
        if (!q->w) return pith__fail(err, PITH_EMEMORY, "%s: no memory to train", m->store.path);
        for (size_t r = 0; r < t->rows; r++) pith__row_floats(t, r, q->w + r * t->cols);
    }
    return g ? PITH_OK : pith__fail(err, PITH_EMEMORY, "%s: no memory to train", m->store.path);
}

PITH_SHARED void pith__params_free(pith__params *p) {
    pith__arena_free(&p->arena);
    memset(p, 0, sizeof *p);
}

PITH_SHARED int pith__params_new(pith__params *p, pith_model *m, pith_error *err) {
    const pith__store *s = &m->store;
    int code = PITH_OK;
    memset(p, 0, sizeof *p);
    p->team.n_threads = m->n_threads;
    p->param = pith__arena_new(&p->arena, s->n_tensor, sizeof *p->param);
    p->team.scratch = (uint8_t *)p->param; /* no bytes of it are used, but NULL + 0 is undefined in C */
    if (!p->param) code = pith__fail(err, PITH_EMEMORY, "%s: no memory to train", s->path);
    for (size_t i = 0; !code && i < s->n_tensor; i++, p->n_param++) {
        const pith__tensor *t = &s->tensor[i];
        p->param[i] = (pith__param){ t, t->rows * t->cols, NULL, NULL, 0 };
    }
    if (!code) mark_used(p, m);
    if (!code) code = make_params(p, m, err);
    if (!code) point_weights(p, m);
    else pith__params_free(p);
    return code;
}

PITH_SHARED void pith__params_zero(pith__params *p) { memset(p->g, 0, p->n * sizeof *p->g); }
