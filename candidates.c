/* candidates.c - the tokens that may come next: what narrows them down, and their probabilities.
 *
 * Gets the logits of all tokens. Each filter keeps some of what the one before it left: top-k; top-p (Holtzman
 * et al. 2019, arXiv:1904.09751); min-p (Nguyen et al. 2024, arXiv:2407.01082); typical (Meister et al. 2022,
 * arXiv:2202.00666); top-n-sigma (Tang et al. 2024, arXiv:2411.07641). Temperature divides the logits.
 * As long as all tokens are candidates, no list of them is made; top-k and top-p of a large vocabulary find the
 * few that they keep without sorting the rest. Probabilities are computed where a filter needs them. */
#include "internal.h"

#include <math.h>
#include <string.h>

/* ---- the likeliest first --------------------------------------------------------------------- */

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

/* Of n tokens, kept ones were popped: they become the list, in the order in which they left the heap. */
static void keep_popped(pith__candidates *c, int kept) {
    c->t += c->n - kept; /* they were put to the end, best last */
    c->n = kept;
    for (int i = 0, j = kept - 1; i < j; i++, j--) {
        int32_t t = c->t[i];
        c->t[i] = c->t[j];
        c->t[j] = t;
    }
}

/* Sorts a list that is in the order of the tokens by p, the likeliest first, of equals the lowest token: by three digits of
 * the bits, the last first. Floats from 0 on are in the order of their bits. */
static void sort_likeliest(pith__candidates *c) {
    enum { DIGITS = 3, BITS = 11, DIGIT_VALUES = 1 << BITS };
    int32_t *t = c->t, *to_t = t + c->s->model->hyper.n_vocab;
    float *p = c->p, *to_p = (float *)(void *)(to_t + c->s->model->hyper.n_vocab);
    int place[DIGITS][DIGIT_VALUES] = { { 0 } }, n = c->n;
    for (int i = 0; i < n; i++) {
        p[i] = p[t[i]]; /* they are no longer read there: t[i] >= i */
        for (int d = 0; d < DIGITS; d++) place[d][pith__bits_of(p[i]) >> (d * BITS) & (DIGIT_VALUES - 1)]++;
    }
    for (int d = 0; d < DIGITS; d++) {
        for (int v = DIGIT_VALUES - 1, sum = 0; v >= 0; v--) {
            sum += place[d][v];
            place[d][v] = sum - place[d][v];
        }
        for (int i = 0; i < n; i++) {
            int to = place[d][pith__bits_of(p[i]) >> (d * BITS) & (DIGIT_VALUES - 1)]++;
            to_p[to] = p[i], to_t[to] = t[i];
        }
        float *was_p = p;
        int32_t *was_t = t;
        p = to_p, to_p = was_p;
        t = to_t, to_t = was_t;
    }
    for (int i = 0; i < n; i++) c->t[i] = t[i];
    for (int i = 0; i < n; i++) c->p[t[i]] = p[i];
    c->sorted = 1;
}

/* llama2.c keeps what together has more than top_p, llama.cpp what has as much. */
static int is_enough(const pith__candidates *c, double sum, float top_p) {
    return top_p <= 1 && (c->llama2c ? sum > top_p : sum >= top_p);
}

/* The likeliest by v (logits or probabilities), best first: k of them, or as many as together have top_p. */
static void keep_likeliest(pith__candidates *c, const float *v, int k, float top_p) {
    float sum = 0;
    int n = c->n, kept = 0;
    heap_likeliest(c->t, n, v);
    while (kept < n && kept < k && (kept < c->how->min_keep || !is_enough(c, sum, top_p)))
        sum += v[pop_likeliest(c->t, n - kept++, v)];
    keep_popped(c, kept);
    c->sorted = 1;
}

/* ---- lists ----------------------------------------------------------------------------------- */

PITH_SHARED void pith__list(pith__candidates *c) {
    if (c->all)
        for (int i = 0; i < c->n; i++) c->t[i] = i;
    c->all = 0;
}

static int best_of(const pith__candidates *c, const float *v) {
    if (c->all) return pith__first_largest(v, c->n);
    int best = c->t[0];
    for (int i = 1; i < c->n; i++)
        if (likelier(v, c->t[i], best)) best = c->t[i];
    return best;
}

PITH_SHARED int pith__likeliest(pith__candidates *c) {
    if (c->best < 0) c->best = c->sorted ? c->t[0] : best_of(c, c->x);
    return c->best;
}

/* Those of at least this v stay, in the order in which they stand; where there is none, the largest. */
static void keep_from(pith__candidates *c, const float *v, double least) {
    int32_t *t = c->t;
    int n = 0, before = c->n;
    if (c->all) {
        for (int i = 0; (i = pith__next_block(v, i, before, least)) < before;)
            for (int end = pith__block_end(i, before); i < end; i++)
                if (v[i] >= least) t[n++] = i;
    } else {
        for (int i = 0; i < before; i++)
            if (v[t[i]] >= least) t[n++] = t[i];
    }
    if (n == 0) t[n++] = best_of(c, v);
    c->n = n;
    c->all = 0;
    if (c->has_p) c->has_p = 1;
}

PITH_SHARED void pith__keep_from(pith__candidates *c, double least) { keep_from(c, c->p, least); }

PITH_SHARED void pith__keep(pith__candidates *c, int k) { keep_likeliest(c, c->p, k, INFINITY); }

/* ---- probabilities --------------------------------------------------------------------------- */

PITH_SHARED float pith__sum(const pith__candidates *c) {
    const float *p = c->p;
    float sum = 0;
    if (c->all)
        for (int i = 0; i < c->n; i++) sum += p[i];
    else
        for (int i = 0; i < c->n; i++) sum += p[c->t[i]];
    return sum;
}

PITH_SHARED void pith__probabilities(pith__candidates *c) {
    if (c->has_p == 2) return;
    const float *x = c->x;
    float *p = c->p, max = x[pith__likeliest(c)], sum = 0;
    int n = c->n;
    if (c->all) {
        for (int i = 0; i < n; i++) sum += p[i] = pith__odds(x[i], max);
        for (int i = 0; i < n; i++) p[i] /= sum;
    } else {
        for (int i = 0; i < n; i++) sum += p[c->t[i]] = pith__odds(x[c->t[i]], max);
        for (int i = 0; i < n; i++) p[c->t[i]] /= sum;
    }
    c->has_p = 2;
}

/* Of all tokens; afterwards p has them. */
static pith__odds_table all_odds(const pith__candidates *c, float max) {
    pith__odds_table o = { .x = c->x, .y = c->p, .max = max, .n = c->n };
    pith__all_odds(&o);
    return o;
}

/* Of all tokens those stay whose probability is at least least, of those whose odds are about from or more. 0: none. */
static int keep_by_odds(pith__candidates *c, pith__odds_table *o, float from, float least) {
    int found = pith__find_likely(o, from, c->t), n = 0;
    for (int i = 0; i < found; i++) {
        c->t[n] = c->t[i];
        n += c->p[c->t[i]] >= least;
    }
    if (n == 0) return 0;
    c->n = n;
    c->all = 0;
    c->has_p = 1;
    return 1;
}

/* No token with this probability has odds below these. Those below 1e-26 are not known so well (odds.c). */
static float odds_from(const pith__odds_table *o, double p) {
    double from = p * o->sum * (1 - 1.0 / (1 << 18));
    return from < 1e-26 ? 0 : (float)from;
}

/* ln of the probability of each candidate is x less this. Infinite: so is the largest logit. */
static double log_sum(pith__candidates *c, double *entropy) {
    double max = c->x[pith__likeliest(c)], sum = 0, all;
    for (int i = 0; i < c->n; i++) sum += exp(c->x[c->t[i]] - max);
    all = max + log(sum);
    *entropy = 0;
    for (int i = 0; i < c->n; i++) {
        double log_p = c->x[c->t[i]] - all;
        if (log_p > -700) *entropy -= exp(log_p) * log_p; /* others weigh nothing, -INFINITY among them */
    }
    return all;
}

/* ---- the filters ----------------------------------------------------------------------------- */

/* At least k numbers are no less than the least of the largest of k stretches. */
static double least_of_top_k(const float *x, int n, int k) {
    float least = INFINITY;
    for (int i = 0; i < k; i++) {
        int from = (int)((int64_t)n * i / k), to = (int)((int64_t)n * (i + 1) / k);
        float most = x[from + pith__first_largest(x + from, to - from)];
        if (most < least) least = most;
    }
    return least;
}

PITH_SHARED void pith__top_k(pith__candidates *c) {
    int k = c->how->top_k;
    if (k <= 0 || k >= c->n) return;
    if (c->has_p) c->has_p = 1;
    if (c->all) keep_from(c, c->x, least_of_top_k(c->x, c->n, k));
    if (c->sorted) c->n = k;
    else keep_likeliest(c, c->x, k, INFINITY);
}

/* Of a sorted list so many as together have top_p. 0: all have less. */
static int take_top_p(pith__candidates *c) {
    float sum = 0;
    int kept = 0;
    while (kept < c->n && (kept < c->how->min_keep || !is_enough(c, sum, c->how->top_p))) sum += c->p[c->t[kept++]];
    c->n = kept;
    return is_enough(c, sum, c->how->top_p);
}

/* A token below (1 - top_p) / (n - 1) cannot be among the likeliest that together have more than
 * top_p: it and all less likely ones weigh less than 1 - top_p, so those before it are enough. */
static float unlikely(const pith__candidates *c) { return (1.0f - c->how->top_p) / (float)(c->n - 1); }

/* Of all tokens, by their odds: only those are looked at that together have top_p, and by the way a few more. 0: they were
 * too few. */
static int nucleus(pith__candidates *c) {
    int n = c->n;
    float least = unlikely(c);
    pith__odds_table o = all_odds(c, c->x[pith__likeliest(c)]);
    float lowest = odds_from(&o, least), from = pith__odds_of_mass(&o, lowest, 1.001 * c->how->top_p * o.sum);
    if (!keep_by_odds(c, &o, from, least)) return 0;
    sort_likeliest(c);
    int enough = take_top_p(c);
    if (from == lowest || (enough && odds_from(&o, c->p[c->t[c->n - 1]]) > from)) return 1;
    c->n = n;
    c->all = 1;
    c->sorted = c->has_p = 0;
    return 0;
}

PITH_SHARED void pith__top_p(pith__candidates *c) {
    float top_p = c->how->top_p;
    if (!(top_p > 0 && top_p < 1) || (c->all && c->how->min_keep < 2 && nucleus(c))) return;
    pith__probabilities(c);
    if (c->all && c->how->min_keep < 2) keep_from(c, c->p, unlikely(c)); /* or the likeliest */
    pith__list(c);
    c->has_p = 1;
    if (c->sorted) take_top_p(c);
    else keep_likeliest(c, c->p, c->n, top_p);
}

/* What keeps fewer than min_keep keeps so many instead. */
static int keep_least(pith__candidates *c, const float *v, double least) {
    int n = 0, most = c->how->min_keep < c->n ? c->how->min_keep : c->n;
    if (most < 1) return 0;
    for (int i = 0; i < c->n && n < most; i++) n += v[c->all ? i : c->t[i]] >= least;
    if (n == most) return 0;
    pith__list(c);
    keep_likeliest(c, v, most, INFINITY);
    return 1;
}

PITH_SHARED void pith__min_p(pith__candidates *c) {
    float min_p = c->how->min_p;
    if (!(min_p > 0 && min_p <= 1)) return;
    if (c->all && c->how->min_keep < 2) {
        pith__odds_table o = all_odds(c, c->x[pith__likeliest(c)]);
        float of_all = min_p * (1 / o.sum);
        keep_by_odds(c, &o, odds_from(&o, of_all), of_all);
        return;
    }
    if (!c->has_p) pith__probabilities(c);
    float least = min_p * c->p[best_of(c, c->p)];
    if (!keep_least(c, c->p, least)) keep_from(c, c->p, least);
    c->has_p = 1;
}

/* Those come first whose surprise is nearest to what is expected, the entropy. */
PITH_SHARED void pith__typical(pith__candidates *c) {
    float typical_p = c->how->typical_p;
    double entropy, sum = 0;
    int kept = 0;
    if (!(typical_p > 0 && typical_p < 1)) return;
    pith__list(c);
    double all = log_sum(c, &entropy);
    if (!isfinite(all)) return;
    for (int i = 0; i < c->n; i++) c->p[c->t[i]] = (float)-fabs(all - c->x[c->t[i]] - entropy);
    heap_likeliest(c->t, c->n, c->p);
    while (kept < c->n && (kept < c->how->min_keep || !(sum > typical_p)))
        sum += exp(c->x[pop_likeliest(c->t, c->n - kept++, c->p)] - all);
    keep_popped(c, kept);
    c->sorted = c->has_p = 0;
    c->best = -1;
}

PITH_SHARED void pith__top_n_sigma(pith__candidates *c) {
    float n_sigma = c->how->top_n_sigma;
    double sum = 0, squares = 0, n = 0;
    if (!(n_sigma > 0)) return;
    for (int i = 0; i < c->n; i++) {
        float x = c->x[c->all ? i : c->t[i]];
        if (isfinite(x)) sum += x, n++;
    }
    for (int i = 0; i < c->n; i++) {
        float x = c->x[c->all ? i : c->t[i]];
        if (isfinite(x)) squares += (x - sum / n) * (x - sum / n);
    }
    double max = c->x[pith__likeliest(c)];
    keep_from(c, c->x, n > 0 ? max - n_sigma * sqrt(squares / n) : max);
}

/* ---- temperature ----------------------------------------------------------------------------- */

/* Under this temperature only the likeliest can come, and dividing by it may overflow. */
static const float coldest = 1e-5f;

PITH_SHARED int pith__is_greedy(const pith_sampling *how) {
    return !(how->temperature >= coldest) && !(how->dynatemp_range > 0);
}

/* The surer the model is, the colder: from temperature - range to temperature + range, by the share of the
 * largest possible entropy (Zhang et al. 2024, arXiv:2403.14541). */
static double dynamic_temperature(pith__candidates *c) {
    double t = c->how->temperature, range = c->how->dynatemp_range, low = t > range ? t - range : 0, entropy;
    int n = 0;
    pith__list(c);
    for (int i = 0; i < c->n; i++) n += c->x[c->t[i]] > -INFINITY;
    if (n < 2 || !isfinite(log_sum(c, &entropy))) return 1;
    return low + (t + range - low) * pow(entropy / log(n), c->how->dynatemp_exponent);
}

static inline void divide_some(float *x, int n, float t) {
    for (int i = 0; i < n; i++) {
        float y = x[i] / t;
        x[i] = isnan(y) ? -INFINITY : y;
    }
}

static void divide(pith__candidates *c, float t) {
    float *x = c->x;
    int n = c->n;
    if (c->best >= 0 && !isfinite(x[c->best])) c->best = -1; /* infinity over infinity */
    if (c->all && t == 1) return;
    if (c->all) {
        for (int i = 0; i + PITH__BLOCK <= n; i += PITH__BLOCK) divide_some(x + i, PITH__BLOCK, t);
        divide_some(x + n / PITH__BLOCK * PITH__BLOCK, n % PITH__BLOCK, t);
        return;
    }
    for (int i = 0; i < n; i++) {
        float y = x[c->t[i]] / t;
        x[c->t[i]] = isnan(y) ? -INFINITY : y;
    }
}

PITH_SHARED void pith__temperature(pith__candidates *c) {
    float t = c->how->dynatemp_range > 0 ? (float)dynamic_temperature(c) : c->how->temperature;
    c->has_p = 0;
    if (!(t >= coldest)) {
        c->t[0] = pith__likeliest(c);
        c->n = c->sorted = 1;
        c->all = 0;
        return;
    }
    divide(c, t);
}

/* ---- the draw -------------------------------------------------------------------------------- */

PITH_SHARED pith_token pith__draw(pith__candidates *c, float coin) {
    if (c->all) {
        pith__odds_table o = all_odds(c, c->x[pith__likeliest(c)]);
        return pith__draw_by_odds(&o, coin);
    }
    if (!c->has_p) pith__probabilities(c);
    const float *p = c->p;
    float r = coin * pith__sum(c), cdf = 0;
    pith_token last = 0;
    for (int i = 0; i < c->n; i++) {
        pith_token t = c->t[i];
        cdf += p[t];
        if (r < cdf) return t;
        if (p[t] > 0) last = t;
    }
    return last; /* rounding */
}
