/* t_many.c - many texts evaluated together: each session's logits are, bit for bit, those that it would have had
 * alone, and a call that is refused changes nothing. */
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>

#include "golden_families.h"

enum { N = 40, TEXTS = 4 };

static pith_model *open_family(const struct golden *g, bytes *b) {
    static const pith_options one_thread = { .n_threads = 1 };
    pith_error e = { 0, "" };
    *b = fixture_gguf(g->keys, g->tensors, g->seed);
    pith_model *m = pith_open_memory(b->p, b->n, &one_thread, &e);
    if (!m) FAIL("%s: %s", g->name, e.text);
    return m;
}

static void make_texts(int n_vocab, pith_token text[TEXTS][N]) {
    for (int k = 0; k < TEXTS; k++)
        for (int i = 0; i < N; i++) text[k][i] = (7 * (k + 1) + 31 * (i % (5 + k)) + i / 11) % n_vocab;
}

static int same_logits(const pith_session *a, const pith_session *b) {
    return a->position == b->position &&
           !memcmp(a->logits, b->logits, (size_t)a->model->hyper.n_vocab * sizeof *a->logits);
}

/* ---- the same bits --------------------------------------------------------------------------------- */

/* Texts of several lengths, read in pieces that differ. */
static void evaluate_together(const pith_model *m, const pith_context *c) {
    pith_token text[TEXTS][N];
    pith_session *alone[TEXTS], *s[TEXTS];
    pith_work work[TEXTS];
    make_texts(m->hyper.n_vocab, text);
    for (int k = 0; k < TEXTS; k++) {
        alone[k] = pith_session_new(m, NULL, NULL);
        s[k] = pith_session_new(m, c, NULL);
    }
    for (int step = 0; step < 4; step++) {
        for (int k = 0; k < TEXTS; k++) {
            int at = s[k]->position, n = (step + k) % 3 ? 1 : 5 + k;
            work[k] = (pith_work){ s[k], text[k] + at, n, NULL };
            EQ(pith_eval(alone[k], text[k] + at, n, NULL), PITH_OK);
        }
        EQ(pith_eval_many(work, TEXTS, NULL), PITH_OK);
        for (int k = 0; k < TEXTS; k++)
            if (!same_logits(s[k], alone[k])) FAIL("text %d differs", k);
    }
    for (int k = 0; k < TEXTS; k++) {
        pith_session_free(s[k]);
        pith_session_free(alone[k]);
    }
}

TEST(texts_keep_their_bits_with_a_shared_pass_and_their_own) {
    bytes b;
    pith_model *m = open_family(goldens, &b);
    pith_context c = { .n_ctx = N };
    c.pass = pith_pass_new(m, &c, NULL);
    CHECK(c.pass && pith_pass_size(m, NULL));
    evaluate_together(m, &c);
    evaluate_together(m, NULL);
    pith_pass_free(c.pass);
    pith_close(m);
    free(b.p);
}

/* ---- what is refused --------------------------------------------------------------------------------- */

static void refuse(const pith_work *work, int n_work, int code, const char *says) {
    pith_error e = { 0, "" };
    EQ(pith_eval_many(work, n_work, &e), code);
    if (!strstr(e.text, says)) FAIL("'%s' does not say '%s'", e.text, says);
}

TEST(refused_work_changes_nothing) {
    bytes b, b2;
    pith_model *m = open_family(goldens, &b), *other = open_family(goldens + 1, &b2);
    pith_token text[TEXTS][N], none[] = { 1, m->hyper.n_vocab };
    pith_session *alone = pith_session_new(m, NULL, NULL), *s = pith_session_new(m, NULL, NULL);
    pith_session *full = pith_session_new(m, &(pith_context){ .n_ctx = 4 }, NULL);
    pith_session *stranger = pith_session_new(other, NULL, NULL);
    make_texts(m->hyper.n_vocab, text);
    EQ(pith_eval(full, text[0], 3, NULL), PITH_OK);
    for (int k = 0; k < 2; k++) EQ(pith_eval(k ? s : alone, text[0], 7, NULL), PITH_OK);
    const pith_work good = { s, text[0] + 7, 3, NULL };
    const struct { pith_work last; int code; const char *says; } bad[] = {
        { { NULL, text[1], 3, NULL }, PITH_EARG, "work[1]: there is no session" },
        { { s, text[1], 3, NULL }, PITH_EARG, "work[1]: its session comes twice" },
        { { stranger, text[1], 3, NULL }, PITH_EARG, "work[1]: the session is of another model" },
        { { full, text[1], 0, NULL }, PITH_EARG, "work[1]: 0 tokens" },
        { { full, text[1], -1, NULL }, PITH_EARG, "work[1]: -1 tokens" },
        { { full, NULL, 1, NULL }, PITH_EARG, "work[1]: 1 tokens" },
        { { full, text[1], 2, NULL }, PITH_EFULL, "work[1]: the context of 4 tokens is full" },
        { { full, none + 1, 1, NULL }, PITH_EARG, "work[1]: token" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pith_work work[] = { good, bad[i].last };
        refuse(work, 2, bad[i].code, bad[i].says);
        CHECK(same_logits(s, alone));
        EQ(full->position, 3);
        EQ(stranger->position, 0);
    }
    refuse(&good, 0, PITH_EARG, "0 texts");
    refuse(NULL, 1, PITH_EARG, "0 texts");
    EQ(pith_eval(alone, text[0] + 7, 3, NULL), PITH_OK);
    EQ(pith_eval_many(&good, 1, NULL), PITH_OK);
    CHECK(same_logits(s, alone));
    pith_session_free(alone), pith_session_free(s), pith_session_free(full), pith_session_free(stranger);
    pith_close(m), pith_close(other);
    free(b.p), free(b2.p);
}

TEST(a_pass_serves_what_it_was_made_for) {
    bytes b, b2;
    pith_model *m = open_family(goldens, &b), *other = open_family(goldens + 1, &b2);
    pith_context most = { .n_ctx = 32, .n_batch = 8 };
    pith_error e = { 0, "" };
    pith_pass *p = pith_pass_new(m, &most, NULL);
    const pith_context long_one = { .n_ctx = 33, .n_batch = 8, .pass = p };
    const pith_context wide = { .n_ctx = 32, .n_batch = 9, .pass = p };
    const pith_context in_another = { .n_ctx = 32, .n_batch = 8, .pass = p };
    CHECK(!pith_session_new(m, &long_one, &e) && e.code == PITH_EARG && strstr(e.text, "was made for 32 and 8"));
    CHECK(!pith_session_new(m, &wide, &e) && e.code == PITH_EARG && strstr(e.text, "was made for 32 and 8"));
    CHECK(!pith_session_new(other, &in_another, &e) && e.code == PITH_EARG && strstr(e.text, "another model"));
    CHECK(!pith_pass_new(m, &in_another, &e) && e.code == PITH_EARG && !pith_pass_size(m, &in_another));
    pith_pass_free(p);
    pith_pass_free(NULL);
    pith_close(m), pith_close(other);
    free(b.p), free(b2.p);
}

int main(void) {
    RUN(texts_keep_their_bits_with_a_shared_pass_and_their_own);
    RUN(refused_work_changes_nothing);
    RUN(a_pass_serves_what_it_was_made_for);
    return DONE();
}
