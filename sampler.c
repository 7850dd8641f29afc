/* sampler.c - logits -> the next token.
 *
 * Gets a session's logits and a pith_sampling, gives one token. The stages in their order: bias, penalties,
 * the tokens that a grammar allows, temperature, softmax, top-k, top-p (Holtzman et al. 2019,
 * arXiv:1904.09751), min-p (Nguyen et al. 2024, arXiv:2407.01082), one draw. Each filter sees what the one
 * before it left, and probabilities among those. With temperature and top-p alone this is llama2.c's
 * sampler to the last bit: same generator, same sums in the same order, so a seed tells the same story.
 *
 * A NaN among the logits counts as -INFINITY; when nothing else is left the answer is the first token that
 * is allowed. Nothing is allocated: the session's pass brings (n_vocab) probabilities and (n_vocab) candidates. */
#include "internal.h"

#include <math.h>

/* ---- what a model recommends ------------------------------------------------------------------ */

/* A setting that the model's file brings along (GGUF's name, a Hugging Face folder's), if it makes sense. */
static float model_says(const pith_model *m, const char *gguf, const char *folder, float most,
                        float otherwise) {
    const pith__key *k = pith__store_key(&m->store, gguf);
    if (!k) k = pith__store_key(&m->store, folder);
    int number = k && (k->type == PITH__FLOAT || k->type == PITH__INT);
    return number && k->f >= 0 && k->f <= (double)most ? (float)k->f : otherwise;
}

pith_sampling pith_sampling_default(const pith_model *m) {
    static const pith_sampling llama2c = { .repeat_last_n = 64, .repeat_penalty = 1, .temperature = 1,
                                           .top_p = 0.9f };
    static const pith_sampling others = PITH_SAMPLING_DEFAULT;
    pith_sampling how = m && m->store.llama2c ? llama2c : others;
    if (!m) return how;
#define MODEL_SAYS(field, gguf, folder, most) how.field = \
    model_says(m, "general.sampling." gguf, "pith." folder, most, how.field)
    MODEL_SAYS(temperature, "temp", "temperature", 1e6f);
    MODEL_SAYS(top_p, "top_p", "top_p", 1);
    MODEL_SAYS(min_p, "min_p", "min_p", 1);
    MODEL_SAYS(repeat_penalty, "penalty_repeat", "repeat_penalty", 100);
#undef MODEL_SAYS
    how.top_k = (int)model_says(m, "general.sampling.top_k", "pith.top_k", 1e6f, (float)how.top_k);
    return how;
}

/* ---- the generator --------------------------------------------------------------------------- */

/* xorshift64* (Vigna 2014, arXiv:1402.6246): 24 random bits as a float in [0, 1). State 0 would
 * stay 0, so it is replaced; xorshift never reaches it from another state. */
float pith_random(uint64_t *state) {
    if (!*state) *state = 0x9E3779B97F4A7C15u;
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (float)(*state * 0x2545F4914F6CDD1Du >> 40) / 16777216.0f;
}

/* ---- what is done to the logits -------------------------------------------------------------- */

/* Tokens of the last few positions become less likely (Keskar et al. 2019, arXiv:1909.05858; but
 * dividing a negative logit would make it likelier, so those are multiplied). */
static void penalise(float *x, const pith_session *s, const pith_sampling *how) {
    float repeat = how->repeat_penalty > 0 ? how->repeat_penalty : 1;
    if (repeat == 1 && how->frequency_penalty == 0 && how->presence_penalty == 0) return;
    int n = how->repeat_last_n;
    if (n < 0 || n > s->position) n = s->position;
    const pith_token *last = s->tokens + (s->position - n);
    int32_t *uses = s->pass->order; /* counted only where a token was used: the rest is never looked at */
    for (int u = 0; u < n; u++) uses[last[u]] = 0;
    for (int u = 0; u < n; u++) uses[last[u]]++;
    for (int u = 0; u < n; u++) {
        pith_token t = last[u];
        if (!uses[t]) continue;
        x[t] = x[t] > 0 ? x[t] / repeat : x[t] * repeat;
        x[t] -= (float)uses[t] * how->frequency_penalty + how->presence_penalty;
        uses[t] = 0; /* once a token, however often it comes */
    }
}

static int is_allowed(const pith_sampling *how, int t) {
    return !how->allow || (how->allow[t / 32] >> (t % 32) & 1);
}

/* Under this temperature only the likeliest can come, and dividing by it may overflow. */
static const float coldest = 1e-5f;

static int is_greedy(const pith_sampling *how) { return !(how->temperature >= coldest); }

/* The pass's probs become the session's logits: biased, penalised, allowed, over the temperature, free of NaN. */
static void adjust_logits(pith_session *s, const pith_sampling *how) {
    int n = s->model->hyper.n_vocab;
    float *x = s->pass->probs, over = is_greedy(how) ? 1 : how->temperature;
    for (int i = 0; i < n; i++) x[i] = s->logits[i];
    for (int i = 0; how->bias && i < how->n_bias; i++)
        if (how->bias[i].token >= 0 && how->bias[i].token < n)
            x[how->bias[i].token] += how->bias[i].bias;
    penalise(x, s, how);
    for (int i = 0; how->allow && i < n; i++)
        if (!is_allowed(how, i)) x[i] = -INFINITY;
    for (int i = 0; i < n; i++) {
        float y = x[i] / over;
        x[i] = isnan(y) ? -INFINITY : y;
    }
}

static int first_largest(const float *x, int n) {
    float most = x[0];
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > most) {
            most = x[i];
            best = i;
        }
    return best;
}

/* ---- candidates, the likeliest first --------------------------------------------------------- */

/* A heap gives the likeliest few of many without sorting the rest: its top is the largest p, of
 * equals the lowest token. */
static int likelier(const float *p, int32_t a, int32_t b) {
    return p[a] > p[b] || (p[a] == p[b] && a < b);
}

static void sift_likeliest(int32_t *heap, int n, int top, const float *p) {
    int32_t t = heap[top];
    for (int child; (child = 2 * top + 1) < n; top = child) {
        if (child + 1 < n && likelier(p, heap[child + 1], heap[child])) child++;
        if (!likelier(p, heap[child], t)) break;
        heap[top] = heap[child];
    }
    heap[top] = t;
}

static void heap_likeliest(int32_t *heap, int n, const float *p) {
    for (int top = n / 2 - 1; top >= 0; top--) sift_likeliest(heap, n, top, p);
}

/* Take the top off a heap of n; what leaves stands at heap[n - 1], where the heap no longer is. */
static int32_t pop_likeliest(int32_t *heap, int n, const float *p) {
    int32_t t = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = t;
    sift_likeliest(heap, n - 1, 0, p);
    return t;
}

/* The tokens a draw may give, n of them. */
typedef struct {
    int32_t *t;
    int n;
} shortlist;

/* All tokens of at least this p, in their own order. */
static shortlist keep_from(const float *p, int32_t *order, int n, float least) {
    shortlist c = { order, 0 };
    for (int i = 0; i < n; i++)
        if (p[i] >= least) order[c.n++] = i;
    return c;
}

/* The likeliest of c, best first: k of them, or as many as together have more than top_p. */
static void keep_likeliest(shortlist *c, const float *p, int k, float top_p) {
    float sum = 0;
    int n = c->n, kept = 0;
    heap_likeliest(c->t, n, p);
    while (kept < n && kept < k && !(sum > top_p)) sum += p[pop_likeliest(c->t, n - kept++, p)];
    c->t += n - kept; /* they were put to the end, best last */
    c->n = kept;
    for (int i = 0, j = kept - 1; i < j; i++, j--) {
        int32_t t = c->t[i];
        c->t[i] = c->t[j];
        c->t[j] = t;
    }
}

/* At least k numbers are no less than the least of the largest of k stretches. */
static shortlist keep_top_k(const float *x, int32_t *order, int n, int k) {
    float least = INFINITY;
    for (int i = 0; i < k; i++) {
        int from = (int)((int64_t)n * i / k), to = (int)((int64_t)n * (i + 1) / k);
        float most = x[from + first_largest(x + from, to - from)];
        if (most < least) least = most;
    }
    shortlist c = keep_from(x, order, n, least);
    keep_likeliest(&c, x, k, INFINITY);
    return c;
}

/* A token below (1 - top_p) / (n - 1) cannot be among the likeliest that together have more than
 * top_p: it and all less likely ones weigh less than 1 - top_p, so those before it are enough. */
static shortlist keep_top_p(const float *p, int32_t *order, int n, float top_p) {
    shortlist c = keep_from(p, order, n, (1.0f - top_p) / (float)(n - 1));
    if (c.n == 0) order[c.n++] = first_largest(p, n); /* top_p under 1 / n */
    keep_likeliest(&c, p, n, top_p);
    return c;
}

/* The same, and min-p, for a list that is sorted already. */
static void cut_top_p(shortlist *c, const float *p, float top_p) {
    float sum = 0;
    int n = 0;
    while (n < c->n && !(sum > top_p)) sum += p[c->t[n++]];
    c->n = n;
}

static void cut_min_p(shortlist *c, const float *p, float min_p) {
    int n = 1;
    while (n < c->n && p[c->t[n]] >= min_p * p[c->t[0]]) n++;
    c->n = n;
}

/* ---- probabilities and the draw -------------------------------------------------------------- */

/* exp(x - max), with max itself exactly 1 even where it is infinite. */
static float exp_below(float x, float max) { return x == max ? 1 : expf(x - max); }

static void softmax_all(float *x, int n, float max) {
    float sum = 0;
    for (int i = 0; i < n; i++) sum += x[i] = exp_below(x[i], max);
    for (int i = 0; i < n; i++) x[i] /= sum;
}

static float prob_sum(const shortlist *c, const float *p) {
    float sum = 0;
    for (int i = 0; i < c->n; i++) sum += p[c->t[i]];
    return sum;
}

static void softmax_of(const shortlist *c, float *x, float max) {
    for (int i = 0; i < c->n; i++) x[c->t[i]] = exp_below(x[c->t[i]], max);
    float sum = prob_sum(c, x);
    for (int i = 0; i < c->n; i++) x[c->t[i]] /= sum;
}

static int draw_of(const shortlist *c, const float *p, float coin) {
    float r = coin * prob_sum(c, p), cdf = 0;
    for (int i = 0; i < c->n; i++) {
        cdf += p[c->t[i]];
        if (r < cdf) return c->t[i];
    }
    return c->t[c->n - 1]; /* rounding */
}

static int draw_of_all(const float *p, int n, float coin) {
    float cdf = 0;
    for (int i = 0; i < n; i++) {
        cdf += p[i];
        if (coin < cdf) return i;
    }
    while (n > 1 && !(p[n - 1] > 0)) n--; /* rounding */
    return n - 1;
}

/* Where every logit is -INFINITY: the first token that may come, or -1. */
static pith_token first_allowed(const pith_sampling *how, int n) {
    for (int t = 0; t < n; t++)
        if (is_allowed(how, t)) return t;
    return -1;
}

pith_token pith_sample(pith_session *s, const pith_sampling *how, uint64_t *rng) {
    static const pith_sampling greedy;
    if (!how) how = &greedy;
    int n = s->model->hyper.n_vocab;
    int use_p = how->top_p > 0 && how->top_p < 1, use_min = how->min_p > 0 && how->min_p <= 1;
    adjust_logits(s, how);
    float *x = s->pass->probs;
    int best = first_largest(x, n);
    float max = x[best], coin = is_greedy(how) ? 0 : pith_random(rng);
    if (max == -INFINITY) return first_allowed(how, n);
    if (is_greedy(how)) return best;

    shortlist c;
    if (how->top_k > 0 && how->top_k < n) {
        c = keep_top_k(x, s->pass->order, n, how->top_k);
        softmax_of(&c, x, max);
        if (use_p) cut_top_p(&c, x, how->top_p);
    } else {
        softmax_all(x, n, max);
        if (!use_p && !use_min) return draw_of_all(x, n, coin);
        c = use_p ? keep_top_p(x, s->pass->order, n, how->top_p)
                  : keep_from(x, s->pass->order, n, how->min_p * x[first_largest(x, n)]);
    }
    if (use_min) cut_min_p(&c, x, how->min_p);
    return draw_of(&c, x, coin);
}
