/* drift.c - how far one model is from another on a text, token by token.
 *
 * Gets two sessions and a text. Gives, over the tokens of the text, the Kullback-Leibler divergence of what the two
 * expect next, KL(A || B) = sum of p_A (log p_A - log p_B), how often they find the same token likeliest, and how
 * likely each finds the token that came. Training watches with it how far it moves from the model it began with;
 * what is merged or quantised is compared with what it was, token by token (run drift). */
#include "train.h"

#include <math.h>
#include <stdlib.h>

enum { DRIFT_ROWS = 64, DRIFT_LOGITS = 1 << 23 }; /* tokens, and logits of each model, at once */

typedef struct {
    const pith__drift_plan *plan;
    const pith_token *t; /* (n) */
    int n;
    pith__drift_row *each;
    pith__drift_sums *sums;
    size_t n_vocab;
    size_t rows, count;  /* tokens at once: at most, and now */
    pith_token input[DRIFT_ROWS]; /* (count) these, */
    const pith_token *came; /*    (count) what came after each, */
    float *a, *b;        /* (rows, n_vocab) the logits between them */
    pith__drift_row row[DRIFT_ROWS];
} drifting;

/* The first of the largest logits, and the log of the sum of exp of all. */
static double log_of_sum(const float *x, size_t n, size_t *top) {
    double sum = 0;
    *top = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[*top]) *top = i;
    for (size_t i = 0; i < n; i++) sum += exp((double)x[i] - (double)x[*top]);
    return (double)x[*top] + log(sum);
}

/* A sum over a whole vocabulary has errors of rounding: where the two are almost the same it may come out below 0. */
static void compare_row(const void *data, size_t i, uint8_t *scratch) {
    drifting *d = (drifting *)(uintptr_t)data; /* to write row[i] */
    const float *a = d->a + i * d->n_vocab, *b = d->b + i * d->n_vocab;
    size_t top_a, top_b, came = (size_t)d->came[i];
    double all_a = log_of_sum(a, d->n_vocab, &top_a), all_b = log_of_sum(b, d->n_vocab, &top_b), kl = 0;
    (void)scratch;
    for (size_t k = 0; k < d->n_vocab; k++) {
        double log_p = (double)a[k] - all_a, p = exp(log_p);
        if (p > 0 || p != p) kl += p * (log_p - ((double)b[k] - all_b)); /* 0 log 0 is 0 */
    }
    d->row[i] = (pith__drift_row){ kl < 0 ? 0 : kl, all_a - (double)a[came], all_b - (double)b[came], (pith_token)top_a,
                                  (pith_token)top_b };
}

static int evaluate_both(const drifting *d, int whole, pith_error *err) {
    pith_session *a = d->plan->a, *b = d->plan->b;
    int n = (int)d->count;
    if (a->model != b->model) {
        int code = pith__eval_part(a, d->input, n, whole, d->a, err);
        return code ? code : pith__eval_part(b, d->input, n, whole, d->b, err);
    }
    const pith_work work[] = { { a, d->input, n, d->a }, { b, d->input, n, d->b } };
    a->n_text = b->n_text = whole;
    int code = pith_eval_many(work, 2, err);
    a->n_text = b->n_text = 0;
    return code;
}

/* Both read the input, and nobody asks what they make of it. */
static int read_both(const drifting *d, int whole, pith_error *err) {
    int n = (int)d->count, code = pith__eval_part(d->plan->a, d->input, n, whole, NULL, err);
    return code ? code : pith__eval_part(d->plan->b, d->input, n, whole, NULL, err);
}

static void share_rows(void *data) {
    const drifting *d = data;
    int worth_it = pith__worth_it(8 * d->count * d->n_vocab); /* an exp costs more than a product */
    pith__share(&d->plan->a->pass->team, d->count, worth_it, compare_row, d);
}

static void add_row(const drifting *d, const pith__drift_row *r, size_t at) {
    pith__drift_sums *s = d->sums;
    s->n++;
    s->kl += r->kl;
    if (r->kl > s->most_kl || r->kl != r->kl) s->most_kl = r->kl;
    s->nll_a += r->nll_a;
    s->nll_b += r->nll_b;
    s->same_top += r->top_a == r->top_b;
    if (d->each) d->each[at] = *r;
}

/* The input goes on with what the sessions have of a window of so many tokens, and predicts t[at] and what follows. */
static int compare_rows(drifting *d, size_t at, int whole, pith_error *err) {
    int code = evaluate_both(d, whole, err);
    if (code) return code;
    d->came = d->t + at;
    pith__together(&d->plan->a->pass->team, share_rows, d);
    for (size_t i = 0; i < d->count; i++) add_row(d, d->row + i, at + i);
    return PITH_OK;
}

/* A window predicts n tokens from t[at] on: from the token before each, but the first from what begins a text, if that
 * is said. */
static int compare_window(drifting *d, size_t at, int n, pith_error *err) {
    pith_token begin = d->plan->begin;
    int code = PITH_OK;
    pith_rewind(d->plan->a, 0);
    pith_rewind(d->plan->b, 0);
    size_t skip = (size_t)d->plan->skip;
    for (size_t done = 0; done < (size_t)n && !code; done += d->count) {
        int counts = done >= skip;
        d->count = counts ? pith__least((size_t)n - done, d->rows) : pith__least(pith__least(skip, (size_t)n) - done, DRIFT_ROWS);
        for (size_t i = 0; i < d->count; i++)
            d->input[i] = done + i == 0 && begin >= 0 ? begin : d->t[at + done + i - 1];
        code = counts ? compare_rows(d, at + done, n, err) : read_both(d, n, err);
    }
    return code;
}

static int check_drift(const pith__drift_plan *p, const pith_token *t, int n, pith_error *err) {
    const pith_model *a = p->a->model, *b = p->b->model;
    if (p->a == p->b) return pith__fail(err, PITH_EARG, "a model is compared with itself: need two sessions");
    if (a->hyper.n_vocab != b->hyper.n_vocab)
        return pith__fail(err, PITH_EARG, "%s has %d tokens, %s has %d: need the same vocabulary", a->store.path,
                          a->hyper.n_vocab, b->store.path, b->hyper.n_vocab);
    for (int i = 0; i < n; i++)
        if (t[i] < 0 || t[i] >= a->hyper.n_vocab)
            return pith__fail(err, PITH_EARG, "token %d is not in the vocabulary of %d", t[i], a->hyper.n_vocab);
    return PITH_OK;
}

/* Of all windows. */
static int compare_all(drifting *d, pith_error *err) {
    const pith__drift_plan *p = d->plan;
    int most = p->window, first = p->begin < 0, code = PITH_OK;
    if (most < 1 || most > p->a->n_ctx) most = p->a->n_ctx;
    if (most > p->b->n_ctx) most = p->b->n_ctx;
    for (int i = first, n; i < d->n && !code; i += n) {
        n = d->n - i < most ? d->n - i : most;
        code = pith__tell(p->progress, "token", (size_t)i, (size_t)d->n, err);
        if (!code) code = compare_window(d, (size_t)i, n, err);
    }
    return code;
}

PITH_SHARED int pith__drift(const pith__drift_plan *p, const pith_token *t, int n, pith__drift_row *each,
                            pith__drift_sums *sums, pith_error *err) {
    pith__drift_sums all = *sums;
    drifting d = { .plan = p, .t = t, .n = n, .each = each, .sums = &all };
    int code = check_drift(p, t, n, err);
    if (code) return code;
    d.n_vocab = (size_t)p->a->model->hyper.n_vocab;
    d.rows = pith__least(DRIFT_ROWS, DRIFT_LOGITS / d.n_vocab + 1);
    d.a = malloc(2 * d.rows * d.n_vocab * sizeof *d.a);
    if (!d.a) return pith__fail(err, PITH_EMEMORY, "no memory for 2 x %zu x %zu logits", d.rows, d.n_vocab);
    d.b = d.a + d.rows * d.n_vocab;
    code = compare_all(&d, err);
    free(d.a);
    if (!code) *sums = all;
    return code;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x != x ? y == y : (x > y) - (x < y); /* NaN comes last */
}

PITH_SHARED double pith__quantile(double *x, size_t n, double q) {
    if (!n) return NAN;
    qsort(x, n, sizeof *x, by_size);
    double at = q * (double)(n - 1);
    size_t i = (size_t)at;
    double part = at - (double)i;
    return part > 0 ? (1 - part) * x[i] + part * x[i + 1] : x[i];
}

PITH_SHARED pith__estimate pith__estimate_of(const double *x, size_t n) {
    double sum = 0, square = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    double mean = n ? sum / (double)n : (double)NAN;
    for (size_t i = 0; i < n; i++) square += (x[i] - mean) * (x[i] - mean);
    return (pith__estimate){ mean, n > 1 ? sqrt(square / (double)n / (double)(n - 1)) : 0 };
}
