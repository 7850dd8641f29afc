/* family_texts.h - models of all families, two texts, and the logits of a session that read them token by token and
 * never went back. */
#ifndef FAMILY_TEXTS_H
#define FAMILY_TEXTS_H
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>

#include "golden_families.h"

enum { N = 96, SHARED = 41 }; /* the families' context; tokens that both texts begin with */

static const struct golden *golden_named(const char *name) {
    const struct golden *g = goldens;
    while (strcmp(g->name, name) != 0) g++;
    return g;
}

/* The family's model; layers with a window have this one, where it is not 0. */
static pith_model *open_family(const struct golden *g, int window, bytes *b) {
    static const pith_options one_thread = { .n_threads = 1 };
    pith_error e = { 0, "" };
    *b = fixture_gguf(g->keys, g->tensors, g->seed);
    pith_model *m = pith_open_memory(b->p, b->n, &one_thread, &e);
    if (!m) FAIL("%s: %s", g->name, e.text);
    for (int l = 0; m && window && l < m->hyper.n_layer; l++)
        if (m->layer[l].mask.window) m->layer[l].mask.window = window;
    return m;
}

/* Of few tokens that often come in the same order: drafts of several tokens are right, and others wrong. */
static void make_texts(int n_vocab, pith_token text[2][N]) {
    for (int i = 0; i < N; i++) {
        text[0][i] = (7 + 31 * (i % 5) + i / 11) % n_vocab;
        text[1][i] = i < SHARED ? text[0][i] : (7 + 31 * (i % 4) + i / 13) % n_vocab;
    }
}

/* Row i: the logits after i + 1 tokens of a text, evaluated one by one. (N, n_vocab) */
static inline float *rows_of(const pith_model *m, const pith_token *t, const char *cache) {
    size_t n_vocab = (size_t)pith_model_shape(m)->n_vocab;
    pith_context c = { .n_ctx = N, .n_batch = 1, .cache_k = cache, .cache_v = cache };
    pith_session *s = pith_session_new(m, &c, NULL);
    float *y = malloc(N * n_vocab * sizeof *y);
    for (int i = 0; s && y && i < N; i++) {
        if (pith_eval(s, t + i, 1, NULL)) FAIL("token %d", i);
        memcpy(y + (size_t)i * n_vocab, pith_logits(s), n_vocab * sizeof *y);
    }
    pith_session_free(s);
    return y;
}

static inline int as_row(const pith_session *s, const float *rows) {
    size_t n_vocab = (size_t)pith_model_shape(s->model)->n_vocab;
    return !memcmp(pith_logits(s), rows + (size_t)(s->position - 1) * n_vocab, n_vocab * sizeof *rows);
}

#endif
