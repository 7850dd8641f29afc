/* recall.c - how much of what it learned from a model says by heart.
 *
 * Gets examples. The tokens that an example teaches are cut in the middle. The model is given everything before the
 * cut, and always takes the likeliest token (greedy): how far does it repeat the example? As long as it does, its text
 * is the example's, so the example itself is evaluated, which takes one pass and not a pass a token; what counts is all
 * up to the first token that is not the likeliest. Tokens that the example does not teach (a user's turn between two
 * answers) are given. Carlini et al. 2023, arXiv:2202.07646. */
#include "train.h"

#include <stdlib.h>

enum { RECALL_ROWS = 16, RECALL_LOGITS = 1 << 21 }; /* tokens, and logits, at once: most examples end in the first */

static pith_token likeliest_of(const float *x, size_t n) {
    size_t top = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[top]) top = i;
    return (pith_token)top;
}

/* How many tokens the second half teaches; it begins at *first. 0: there are no two halves. */
static int second_half(const pith__sequence *e, int *first) {
    int n = 0, seen = 0;
    for (int i = 0; i < e->n; i++) n += e->target[i] >= 0;
    for (*first = 0; seen < n / 2; ++*first) seen += e->target[*first] >= 0;
    return n < 2 ? 0 : n - n / 2;
}

/* Of the next most tokens of e that teach, from first on: how many are repeated before one is not. < 0: an error.
 * logits: (rows, n_vocab). */
static int repeated(pith_session *s, const pith__sequence *e, int first, int most, float *logits, int rows,
                    pith_error *err) {
    size_t n_vocab = (size_t)s->model->hyper.n_vocab;
    int count = 0;
    for (int i = first, n; count < most; i += n) {
        n = e->n - i < rows ? e->n - i : rows;
        int code = pith__eval_part(s, e->t + i, n, e->n, logits, err);
        if (code) return code;
        for (int k = 0; k < n && count < most; k++) {
            if (e->target[i + k] < 0) continue;
            if (likeliest_of(logits + (size_t)k * n_vocab, n_vocab) != e->target[i + k]) return count;
            count++;
        }
    }
    return count;
}

static int add_example(pith_session *s, const pith__sequence *e, float *logits, int rows, pith__recall_sums *sums,
                       pith_error *err) {
    int first, most = second_half(e, &first);
    if (!most) return PITH_OK;
    if (most > PITH__RECALL_MOST) most = PITH__RECALL_MOST;
    pith_rewind(s, 0);
    int code = pith__eval_part(s, e->t, first, e->n, NULL, err);
    if (code) return code;
    int n = repeated(s, e, first, most, logits, rows, err);
    if (n < 0) return n;
    sums->n_example++;
    sums->n_whole += n == most;
    sums->n += most;
    sums->n_repeated += n;
    return PITH_OK;
}

PITH_SHARED int pith__recall(pith_session *s, const pith__sequence *e, int n, const pith__progress *progress,
                             pith__recall_sums *sums, pith_error *err) {
    size_t n_vocab = (size_t)s->model->hyper.n_vocab, rows = pith__least(RECALL_ROWS, RECALL_LOGITS / n_vocab + 1);
    pith__recall_sums all = *sums;
    float *logits = malloc(rows * n_vocab * sizeof *logits);
    int code = logits ? PITH_OK : pith__fail(err, PITH_EMEMORY, "no memory for %zu x %zu logits", rows, n_vocab);
    for (int i = 0; i < n && !code; i++) {
        code = pith__tell(progress, "example", (size_t)i, (size_t)n, err);
        if (!code) code = add_example(s, &e[i], logits, (int)rows, &all, err);
    }
    free(logits);
    if (!code) *sums = all;
    return code;
}
