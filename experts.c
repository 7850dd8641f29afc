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

/* gpt-oss: (up + 1) gate sigmoid(alpha gate), where gate is at most the limit and |up| too. With SiLU that is
 * silu(alpha gate) (up + 1) / alpha. NaN stays. */
PITH_SHARED void pith__clamp_row(float *gate, float *up, size_t n, float limit, float alpha) {
    for (size_t i = 0; i < n; i++) {
        gate[i] = alpha * (gate[i] > limit ? limit : gate[i]);
        up[i] = ((up[i] > limit ? limit : up[i] < -limit ? -limit : up[i]) + 1) / alpha;
    }
}

/* xIELU of what up gives: more x^2 + beta x over 0, and less (e^x - 1 - x) + beta x under it, with numbers that each layer has
 * learned. Huang and Schlag 2024, arXiv:2411.13010 */
static void xielu_row(float *y, const float *x, size_t n, const pith__layer *w) {
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] > 0 ? w->xielu.more * x[i] * x[i] + w->xielu.beta * x[i]
                        : (expm1f(x[i] > w->xielu.eps ? w->xielu.eps : x[i]) - x[i]) * w->xielu.less + w->xielu.beta * x[i];
}

/* SwiGLU: act(gate x) * up x of one row. With GELU instead of SiLU it is GeGLU. Without a gate: act(up x). */
static void gate_row(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const ffn_rows *f = data;
    size_t n_ff = f->w->up.tensor.rows, at = t * n_ff;
    int gated = f->b->h->gated;
    if (gated) pith__add_bias(f->b->pass, f->gate + at, f->w->gate_bias.floats, n_ff);
    pith__add_bias(f->b->pass, f->up + at, f->w->up_bias.floats, n_ff);
    if (f->b->h->act == PITH__XIELU) {
        xielu_row(f->act + at, f->up + at, n_ff, f->b->layer);
        return;
    }
    if (f->b->h->act_limit > 0) pith__clamp_row(f->gate + at, f->up + at, n_ff, f->b->h->act_limit, f->b->h->act_alpha);
    f->b->pass->kernels->gate(f->act + at, (gated ? f->gate : f->up) + at, gated ? f->up + at : NULL, n_ff, f->b->h->act);
}

/* Rows of a network, whose activations begin so many floats behind those of the first one. */
static ffn_rows rows_at(const pith__block *b, const pith__ffn *w, size_t at, const int *part_of) {
    return (ffn_rows){ b, w, b->h->gated ? b->a.gate + at : NULL, b->a.up + at, b->a.act + at, part_of };
}

/* y = down(act(gate x) * up x), for rows of x: SwiGLU or GeGLU; without a gate down(act(up x)). */
static void network(const ffn_rows *f, float *y, const float *x, size_t rows) {
    pith_pass *p = f->b->pass;
    const pith__ffn *w = f->w;
    size_t n_ff = w->up.tensor.rows, n_embd = w->up.tensor.cols;
    pith__input in = pith__input_of(p, x, (int)rows, n_embd);
    pith__projection all[] = { { f->up, &w->up }, { f->gate, &w->gate } };
    pith__project_all(p, all, f->b->h->gated ? 2 : 1, &in, f->part_of);
    pith__share(&p->team, rows, pith__worth_it(rows * n_ff), gate_row, f);
    in = pith__input_of(p, f->act, (int)rows, n_ff);
    pith__project(p, y, &w->down, &in, f->part_of);
    for (size_t t = 0; t < rows; t++) pith__add_bias(p, y + t * n_embd, w->down_bias.floats, n_embd);
}

/* ---- routing --------------------------------------------------------------------------------------- */

/* Experts may stand in groups, and only those of the best few groups may be chosen (DeepSeek). A group is as good as its
 * two best experts together, or as its best one. Others get a score of -INFINITY. */
static void choose_groups(const pith__hyper *h, float *score) {
    float best[PITH__EXPERT_GROUPS];
    int n = h->n_expert_group, size = h->n_expert / n;
    for (int g = 0; g < n; g++) {
        float first = -INFINITY, second = -INFINITY;
        for (int e = g * size; e < (g + 1) * size; e++) {
            if (score[e] > first) second = first, first = score[e];
            else if (score[e] > second) second = score[e];
        }
        best[g] = h->group_by_one ? first : first + second;
    }
    for (int g = 0; g < n; g++) {
        int better = 0; /* groups; of those that are as good, the ones before it */
        for (int i = 0; i < n; i++) better += best[i] > best[g] || (best[i] == best[g] && i < g);
        for (int e = g * size; better >= h->n_group_used && e < (g + 1) * size; e++) score[e] = -INFINITY;
    }
}

/* From the router's logits p (n_expert) to the scores of all experts, softmax or sigmoids, and those by which they are
 * chosen: logits have the order of their scores, but sums need these. */
static void score_experts(const pith__block *b, float *p, float *score) {
    const pith__hyper *h = b->h;
    const float *bias = b->layer->choice_bias.floats;
    pith__add_bias(b->pass, p, b->layer->router_bias.floats, (size_t)h->n_expert);
    memcpy(score, p, (size_t)h->n_expert * sizeof *p);
    if (!h->expert_sigmoid) b->pass->kernels->softmax(p, (size_t)h->n_expert);
    for (int e = 0; h->expert_sigmoid && e < h->n_expert; e++) p[e] = 1 / (1 + expf(-p[e]));
    for (int e = 0; e < h->n_expert; e++) {
        if (bias || h->n_expert_group) score[e] = p[e] + (bias ? bias[e] : 0);
        if (isnan(score[e])) score[e] = -INFINITY; /* which is never chosen: NaN marks those that are */
    }
    if (h->n_expert_group) choose_groups(h, score);
}

/* The n_expert_used experts of one token with the highest scores get their weights, the others get 0. */
static void choose_experts(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const pith__block *b = data;
    const pith__hyper *h = b->h;
    const float *scale = b->layer->expert_scale.floats;
    float *p = b->a.route + t * (size_t)h->n_expert, *score = b->a.score + t * (size_t)h->n_expert, sum = 0;
    score_experts(b, p, score);
    for (int k = 0; k < h->n_expert_used; k++) {
        int best = -1;
        for (int e = 0; e < h->n_expert; e++)
            if (score[e] > (best < 0 ? -INFINITY : score[best])) best = e;
        if (best < 0) break;
        sum += p[best];
        score[best] = NAN;
    }
    for (int e = 0; e < h->n_expert; e++) {
        float weight = (h->expert_norm ? p[e] / (sum + h->expert_eps) : p[e]) * h->expert_factor;
        p[e] = !isnan(score[e]) ? 0 : scale ? weight * scale[e] : weight;
    }
}

/* The weight of every expert for every token, of rows x (n, n_embd). */
static void route(const pith__block *b, const float *x) {
    pith__input in = pith__input_of(b->pass, x, b->n, (size_t)b->h->n_embd);
    pith__project(b->pass, b->a.route, &b->layer->router, &in, b->pass->part_of);
    pith__each_token(b, choose_experts);
}

/* ---- experts --------------------------------------------------------------------------------------- */

/* Mixture of experts: each token uses a few of many networks. Tokens of the same expert go through it
 * together; a token's sum runs over its experts in their order, however many tokens there are.
 * Shazeer et al. 2017, arXiv:1701.06538; Jiang et al. 2024, arXiv:2401.04088. */
static void experts(const pith__block *b, const float *x) {
    const pith__hyper *h = b->h;
    const pith__acts *a = &b->a;
    size_t n_embd = (size_t)h->n_embd, row = 0;
    memset(a->f, 0, (size_t)b->n * n_embd * sizeof *a->f);
    for (int e = 0; e < h->n_expert; e++) {
        const float *p = a->route + e; /* of token t: p[t * n_expert] */
        size_t first = row;
        for (int t = 0; t < b->n; t++) {
            float weight = p[t * h->n_expert], *to = a->pick + row * n_embd;
            if (weight == 0) continue;
            b->pass->picked[row++ - first] = b->pass->part_of[t];
            memcpy(to, x + (size_t)t * n_embd, n_embd * sizeof *x);
            for (size_t i = 0; h->expert_before && i < n_embd; i++) to[i] *= weight;
        }
        if (row == first) continue;
        float *y = a->down + first * n_embd;
        ffn_rows f = rows_at(b, &b->layer->ffn[e], first * (size_t)h->n_ff_expert, b->pass->picked);
        network(&f, y, a->pick + first * n_embd, row - first);
        for (int t = 0; t < b->n; t++) {
            float weight = p[t * h->n_expert], *to = a->f + (size_t)t * n_embd;
            if (weight == 0) continue;
            if (h->expert_before) weight = 1;
            for (size_t i = 0; i < n_embd; i++) to[i] += weight * y[i];
            y += n_embd;
        }
    }
}

typedef struct {         /* rows through a norm; x may be y */
    const pith__block *b;
    const pith__norm *norm;
    const float *x;
    float *y;            /* (n, n_embd) */
} norm_rows;

static void norm_some(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const norm_rows *r = data;
    size_t at = t * (size_t)r->b->h->n_embd;
    pith__run_norm(r->b->pass, r->y + at, r->x + at, r->norm);
}

/* What x is after a norm, in room y; x itself where the layer has no such norm. */
static const float *through(const pith__block *b, const pith__norm *norm, const float *x, float *y) {
    norm_rows r = { b, norm, x, y };
    size_t n = (size_t)b->n;
    if (!norm->w.floats) return x;
    pith__share(&b->pass->team, n, pith__worth_it(n * (size_t)b->h->n_embd), norm_some, &r);
    return y;
}

/* f += the network that all tokens use, times sigmoid(gate x) where it has a gate. Its rows stand behind the experts'. */
static void shared_expert(const pith__block *b, const float *x) {
    const pith__layer *w = b->layer;
    size_t n = (size_t)b->n, n_embd = (size_t)b->h->n_embd, row = n * (size_t)b->h->n_expert_used;
    float *y = b->a.down + row * n_embd, *share = b->a.share;
    ffn_rows f = rows_at(b, &w->shared, row * (size_t)b->h->n_ff_expert, b->pass->part_of);
    network(&f, y, x, n);
    through(b, &w->shared_post_norm, y, y);
    if (w->shared_gate.tensor.data) {
        pith__input in = pith__input_of(b->pass, x, b->n, n_embd);
        pith__project(b->pass, share, &w->shared_gate, &in, b->pass->part_of);
    }
    for (size_t t = 0; t < n; t++) {
        share[t] = w->shared_gate.tensor.data ? 1 / (1 + expf(-share[t])) : 1;
        for (size_t i = t * n_embd; i < (t + 1) * n_embd; i++) b->a.f[i] += share[t] * y[i];
    }
}

PITH_SHARED void pith__run_ffn(const pith__block *b, const float *x, const float *stream) {
    const pith__layer *w = b->layer;
    if (!w->router.tensor.data) {
        ffn_rows f = rows_at(b, w->ffn, 0, b->pass->part_of);
        network(&f, b->a.f, x, (size_t)b->n);
        return;
    }
    const float *own = w->router_norm.w.floats ? stream : x; /* Gemma 4: router and experts have norms of their own */
    route(b, through(b, &w->router_norm, own, b->a.rx));
    experts(b, through(b, &w->expert_norm, own, b->a.rx));
    through(b, &w->expert_post_norm, b->a.f, b->a.f);
    if (w->shared.up.tensor.data) shared_expert(b, x);
}
