/* generate.c - the loop that writes a text: sample, show, stop, evaluate.
 *
 * Gets a session that has read a prompt, and gives one token a call with the text that is certain by then.
 * Text is held back while it may be the beginning of a stop text or of a character. The loop itself is the
 * caller's: between two calls it prints, asks whether to go on, or moves a grammar (pith_sampling.allow).
 * Each position gives a token, as in llama2.c: the last one is shown and never evaluated. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    int ended;           /* why, or 0 */
    size_t given, n;     /* bytes of text, and of text and what is held back behind it */
    char text[];         /* room for the longest stop text and the longest piece */
} writing;

static size_t longest_piece(const pith_model *m) {
    size_t most = 0, n;
    for (pith_token t = 0; t < m->hyper.n_vocab; t++) {
        pith_piece(m, t, &n);
        if (n > most) most = n;
    }
    return most;
}

static int begin(const pith_session *s, pith_generation *g, pith_error *err) {
    size_t size = sizeof(writing) + 4, longest = 0;
    for (int i = 0; i < g->n_stop; i++) {
        size_t n = g->stop[i] ? strlen(g->stop[i]) : 0;
        if (n > longest) longest = n;
    }
    int over = pith__add(&size, size, longest) || pith__add(&size, size, longest_piece(s->model));
    writing *w = over ? NULL : malloc(size);
    if (!w) return pith__fail(err, PITH_EMEMORY, "%s: no memory to write a text", s->model->store.path);
    w->ended = 0;
    w->given = w->n = 0;
    g->state = w;
    g->token = -1;
    return PITH_OK;
}

/* How many bytes of a stop text the text ends with. The first stop text that is there as a whole is cut off
 * with all that follows, and *found set. */
static size_t hold_back(const pith_generation *g, writing *w, int *found) {
    size_t most = 0, end = w->n;
    for (int i = 0; i < g->n_stop; i++) {
        size_t n = g->stop[i] ? strlen(g->stop[i]) : 0; /* 0: not looked for */
        for (size_t at = 0; n && at < end; at++) {
            size_t left = w->n - at, k = left < n ? left : n;
            if (memcmp(w->text + at, g->stop[i], k) != 0) continue;
            if (k == n) *found = 1, end = at;
            else if (left > most) most = left;
        }
    }
    if (!*found) return most;
    w->n = end;
    return 0;
}

/* Gives the text that is certain. At the end that is all of it, but for half a character. */
static int give(pith_generation *g, writing *w, int ended) {
    int found = 0;
    size_t held = hold_back(g, w, &found), tail = pith_utf8_tail(w->text, w->n);
    w->ended = found ? PITH_STOP : ended;
    w->given = w->n - (held > tail && !w->ended ? held : tail);
    g->text = w->text;
    g->n_text = w->given;
    return w->ended;
}

static int is_end(const pith_session *s, const pith_generation *g, pith_token t) {
    for (int i = 0; i < g->n_end; i++)
        if (g->end[i] == t) return 1;
    return pith_is_end(s->model, t);
}

static int next_token(pith_session *s, pith_generation *g, writing *w, pith_error *err) {
    size_t n;
    pith_token before = s->tokens[s->position - 1], t = pith_sample(s, &g->how, &g->rng);
    if (t < 0) return pith__fail(err, PITH_EARG, "no token is allowed to come next");
    g->token = t;
    g->n_token++;
    if (is_end(s, g, t)) return give(g, w, PITH_END);
    const char *text = pith_text(s->model, before, t, &n);
    if (n) memcpy(w->text + w->n, text, n);
    w->n += n;
    int all = g->n_predict > 0 && g->n_token >= g->n_predict;
    return give(g, w, all ? PITH_LIMIT : s->position == s->n_ctx ? PITH_FULL : 0);
}

/* Evaluates what the next token is sampled after: the last token given, or where there is none and the session
 * was rewound, the text's own last token again. */
static int get_logits(pith_session *s, const pith_generation *g, pith_error *err) {
    if (g->token >= 0) return pith_eval(s, &g->token, 1, err);
    return s->logits_at == s->position ? PITH_OK : pith_sync(s, s->tokens, s->position, err);
}

static int check(const pith_generation *g, pith_error *err) {
    if (g->n_predict < 0) return pith__fail(err, PITH_EARG, "n_predict is %d, need 0 or more", g->n_predict);
    if (g->n_stop < 0) return pith__fail(err, PITH_EARG, "n_stop is %d, need 0 or more", g->n_stop);
    if (g->n_end < 0) return pith__fail(err, PITH_EARG, "n_end is %d, need 0 or more", g->n_end);
    if (g->n_stop > 0 && !g->stop) return pith__fail(err, PITH_EARG, "stop is NULL, need %d texts", g->n_stop);
    if (g->n_end > 0 && !g->end) return pith__fail(err, PITH_EARG, "end is NULL, need %d tokens", g->n_end);
    return PITH_OK;
}

int pith_generate(pith_session *s, pith_generation *g, pith_error *err) {
    if (!g) return pith__fail(err, PITH_EARG, "the pith_generation is NULL");
    g->text = "", g->n_text = 0; /* of a call that fails */
    if (s->position == 0) return pith__fail(err, PITH_EARG, "no token was evaluated that a text could go on from");
    int code = check(g, err);
    if (!code && !g->state) code = begin(s, g, err);
    if (code) return code;
    writing *w = g->state;
    int ended = w->ended ? w->ended : g->cancel ? PITH_CANCEL : 0;
    if (!ended && (code = get_logits(s, g, err)) != PITH_OK) return code;
    memmove(w->text, w->text + w->given, w->n - w->given);
    w->n -= w->given;
    w->given = 0;
    if (ended) return give(g, w, ended);
    g->token = -1;
    return next_token(s, g, w, err);
}

void pith_generation_free(pith_generation *g) {
    if (!g) return;
    free(g->state);
    g->state = NULL;
    g->token = -1;
    g->n_token = 0;
    g->text = "", g->n_text = 0;
}
