/* reward.c - what a reward model finds of texts: one number each, its score.
 *
 * A reward model is an adapter with a score head, one row of weights. The score of a text is their product with the
 * normed state of its last token, which has seen all of the text. Some texts go through the model together, each in a
 * session of its own; a session has several, one after the other, and what two of these begin with alike (a prompt) is
 * read once. Keys and values are kept as f32, as training has them. A score depends on nothing but the text.
 *     Ouyang et al. 2022, arXiv:2203.02155. */
#include "train.h"

#include <stdlib.h>

enum { TOGETHER = 2048, MOST_SESSIONS = 64, ROWS = 256 }; /* TOGETHER: tokens that sessions have room for, unless one
                                                           * text is longer; ROWS: that go through the model at once */

static const char what[] = "texts scored: text";

typedef struct {         /* sessions at work */
    const pith_adapter *a;
    const pith__text_ids *text; /* (n) */
    double *score;       /* (n) */
    size_t n, each;      /* each: texts of a session: number i has i * each, i * each + 1, ... */
    pith_pass *pass;
    pith_session *s[MOST_SESSIONS];
    float *hidden;       /* (n_session, n_embd) */
    int n_session;
    pith_error *err;
} scorer;

static int open_sessions(scorer *k, int longest) {
    const pith_adapter *const adapter[] = { k->a };
    pith_context c = { .n_ctx = longest, .cache_k = "f32", .cache_v = "f32", .adapters = adapter, .n_adapter = 1 };
    size_t most = pith__least(k->n, MOST_SESSIONS), n_embd = (size_t)k->a->model->hyper.n_embd;
    while (most > 1 && most * (size_t)longest > TOGETHER) most--;
    k->each = (k->n + most - 1) / most;
    k->hidden = calloc(most, n_embd * sizeof *k->hidden);
    if (!k->hidden) return pith__fail(k->err, PITH_EMEMORY, "no memory to score texts");
    int wide = longest < ROWS && most > 1 && !k->a->model->hyper.n_ctx_most;
    if (wide) c.n_ctx = ROWS; /* a pass has no more rows than its context has tokens */
    k->pass = pith_pass_new(k->a->model, &c, k->err);
    c.pass = k->pass, c.n_ctx = longest;
    for (; k->pass && (size_t)k->n_session < most; k->n_session++) {
        pith_session *s = k->s[k->n_session] = pith_session_new(k->a->model, &c, k->err);
        if (!s) return PITH_EMEMORY;
        s->hidden = k->hidden + (size_t)k->n_session * n_embd;
    }
    return k->pass ? PITH_OK : PITH_EMEMORY;
}

/* Some tokens of the sessions' texts, as many as go through the model at once; *left: 1 while there are more. A text
 * that comes in parts has its length from the first on (session.c, longrope). */
static int read_some(scorer *k, size_t turn, int *left) {
    pith_work work[MOST_SESSIONS];
    int n = 0, rows = ROWS;
    for (int i = 0; i < k->n_session; i++) {
        size_t at = (size_t)i * k->each + turn;
        int rest = at < k->n ? k->text[at].n - pith_position(k->s[i]) : 0, some = rest < rows ? rest : rows;
        if (!some) continue;
        k->s[i]->n_text = k->text[at].n;
        work[n++] = (pith_work){ k->s[i], k->text[at].t + pith_position(k->s[i]), some, NULL };
        rows -= some;
    }
    *left = n > 0;
    int code = n ? pith_eval_many(work, n, k->err) : PITH_OK;
    for (int i = 0; i < k->n_session; i++) k->s[i]->n_text = 0;
    return code;
}

/* Text number turn of each session, as far as they have one. */
static int score_turn(scorer *k, size_t turn, const pith__progress *progress) {
    const pith_model *m = k->a->model;
    int code = PITH_OK, left = 1;
    for (int i = 0; i < k->n_session; i++) {
        size_t at = (size_t)i * k->each + turn;
        if (at < k->n) pith_rewind(k->s[i], pith_known(k->s[i], k->text[at].t, k->text[at].n));
    }
    while (left && !code) {
        code = read_some(k, turn, &left);
        if (!code) code = pith__tell(progress, what, turn * k->n / k->each, k->n, k->err);
    }
    for (int i = 0; i < k->n_session && !code; i++) {
        size_t at = (size_t)i * k->each + turn;
        if (at < k->n) k->score[at] = (double)m->kernels->dot(k->a->score, k->s[i]->hidden, (size_t)m->hyper.n_embd);
    }
    return code;
}

static int check_texts(scorer *k, int *longest) {
    if (!k->a->score) return pith__fail(k->err, PITH_EARG, "%s: is no reward model: it has no score head", k->a->store.path);
    for (size_t i = 0; i < k->n; i++) {
        if (k->text[i].n < 1) return pith__fail(k->err, PITH_EARG, "text %zu to be scored is empty", i);
        if (k->text[i].n > *longest) *longest = k->text[i].n;
    }
    return PITH_OK;
}

PITH_SHARED int pith__reward(const pith_adapter *a, const pith__text_ids *text, size_t n, double *score,
                             const pith__progress *progress, pith_error *err) {
    scorer k = { .a = a, .text = text, .score = score, .n = n, .err = err };
    int longest = 0, code = check_texts(&k, &longest);
    if (!code && n) code = open_sessions(&k, longest);
    for (size_t turn = 0; turn < k.each && !code; turn++) code = score_turn(&k, turn, progress);
    pith__tell(progress, what, 1, 1, NULL);
    while (k.n_session > 0) pith_session_free(k.s[--k.n_session]);
    pith_pass_free(k.pass);
    free(k.hidden);
    return code;
}
