/* t_lookup.c - guessing ahead (pith_draft) changes nothing but the number of passes: two sessions of one
 * model, one that guesses and one that does not, are compared bit by bit after every token. */
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>

#include "golden_families.h"

enum { MOST = 512, CONTEXT = 96 }; /* the families' context */

typedef struct { /* the two, side by side */
    const pith_model *m;
    pith_session *plain, *guessing;
    float *room;
    int n_vocab;
} pair;

static pith_model *open_bytes(const bytes *b, int threads) {
    pith_options opt = { 0 };
    pith_error e = { 0, "" };
    opt.n_threads = threads;
    pith_model *m = pith_open_memory(b->p, b->n, &opt, &e);
    if (!m) FAIL("%s", e.text);
    return m;
}

/* 0: this model has no such cache. */
static int open_pair(pair *p, const pith_model *m, const char *cache, int n_batch, int n_draft) {
    pith_context c = { .n_ctx = 0, .n_batch = n_batch, .cache_k = cache, .cache_v = cache };
    p->m = m;
    p->n_vocab = pith_model_shape(m)->n_vocab;
    p->plain = pith_session_new(m, &c, NULL);
    p->guessing = pith_session_new(m, &c, NULL);
    p->room = calloc((size_t)n_draft + 1, (size_t)p->n_vocab * sizeof *p->room);
    if (!p->plain || !p->guessing || !p->room) return 0;
    pith_draft(p->guessing, n_draft, p->room);
    return 1;
}

static void close_pair(pair *p) {
    pith_session_free(p->plain), pith_session_free(p->guessing);
    free(p->room);
}

static int same(const pair *p) {
    int n = pith_position(p->plain);
    return n == pith_position(p->guessing) &&
           !memcmp(p->plain->tokens, p->guessing->tokens, (size_t)n * sizeof(pith_token)) &&
           !memcmp(pith_logits(p->plain), pith_logits(p->guessing), (size_t)p->n_vocab * sizeof(float));
}

/* ---- writing --------------------------------------------------------------------------------------- */

/* Up to the end of the context, in three tokens, so that the last two or three often came before, and what
 * followed them is often wrong. How many tokens were guessed right, -1 where the two differ. */
static int write_both(pair *p, float temperature) {
    static const pith_bias three[] = { { 5, 1000 }, { 11, 1000 }, { 17, 1000 } };
    pith_sampling how = PITH_SAMPLING_DEFAULT;
    pith_token prompt[5] = { 1, 7, 5, 11, 17 };
    uint64_t a = 42, b = 42;
    int n_ctx = p->plain->n_ctx;
    how.bias = three, how.n_bias = 3;
    how.temperature = temperature;
    how.frequency_penalty = 0.3f;
    if (pith_eval(p->plain, prompt, 5, NULL) || pith_eval(p->guessing, prompt, 5, NULL)) return -1;
    while (same(p)) {
        pith_token t = pith_sample(p->plain, &how, &a), u = pith_sample(p->guessing, &how, &b);
        if (t != u || a != b) return -1;
        if (pith_position(p->plain) == n_ctx) return p->guessing->draft.n_accepted;
        if (pith_eval(p->plain, &t, 1, NULL) || pith_eval(p->guessing, &t, 1, NULL)) return -1;
    }
    return -1;
}

/* Batches of 5 and 9: the rings of windows go round several times. */
static void writes_the_same(const struct golden *g, const char *cache) {
    static const int ways[][2] = { { 4, 5 }, { MOST, 9 }, { 20, 0 } };
    bytes b = fixture_gguf(g->keys, g->tensors, g->seed);
    pith_model *m = open_bytes(&b, 1);
    int right = 0;
    for (size_t i = 0; m && i < 2 * sizeof ways / sizeof *ways; i += BRIEF ? 3 : 1) {
        pair p;
        if (!open_pair(&p, m, cache, ways[i / 2][1], ways[i / 2][0])) FAIL("%s: no session", g->name);
        else {
            int n = write_both(&p, (float)(i % 2));
            if (n < 0) FAIL("%s, %s, %d ahead, temperature %d: differs at %d", g->name,
                            cache ? cache : "default", ways[i / 2][0], (int)i % 2, pith_position(p.plain));
            right += n;
        }
        close_pair(&p);
    }
    if (right < 20) FAIL("%s: only %d guesses were right, and little was tested", g->name, right);
    pith_close(m);
    free(b.p);
}

TEST(every_family_writes_the_same) {
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) writes_the_same(&goldens[i], NULL);
}

TEST(every_cache_writes_the_same) {
    static const char *const names[] = { "gemma3", "gemma2" };
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++)
        for (int k = 0; k < 2; k++) {
            if (strcmp(goldens[i].name, names[k]) != 0) continue;
            writes_the_same(&goldens[i], "f32");
            writes_the_same(&goldens[i], "q8_0");
        }
}

TEST(any_threads_and_int8) {
    fixture_shape s = { 64, 128, 2, 2, 1, FIXTURE_VOCAB, 96, 0, 32 };
    for (int version = 1; version <= 2; version++)
        for (int threads = 1; threads <= 3; threads++) {
            bytes b = fixture_llama2c(&s, version, 3);
            pith_model *m = open_bytes(&b, threads);
            pair p;
            if (m && open_pair(&p, m, NULL, 0, 8)) CHECK(write_both(&p, 1) > 0);
            else FAIL("no session");
            close_pair(&p);
            pith_close(m);
            free(b.p);
        }
}

/* ---- anything else a program does with a session ------------------------------------------------------- */

/* The same step on both, of a kind and with tokens by chance; few tokens, so that guesses come true. */
static int step(pair *p, uint64_t *rng) {
    pith_token t[CONTEXT], bad[2] = { 5, p->n_vocab };
    int n = pith_position(p->plain), kind = (int)(pith_random(rng) * 16), k, code, other;
    for (int i = 0; i < CONTEXT; i++) t[i] = 5 + (i + (pith_random(rng) < 0.1f)) % 3;
    k = (int)(pith_random(rng) * 9);
    if (kind == 0) return pith_rewind(p->plain, n - k) == pith_rewind(p->guessing, n - k);
    if (kind == 1) { /* up to somewhere it is the same text */
        int most = n + k < CONTEXT ? n + k : CONTEXT, from = (int)(pith_random(rng) * (float)n);
        memcpy(t, p->plain->tokens, (size_t)from * sizeof *t);
        code = pith_sync(p->plain, t, most, NULL), other = pith_sync(p->guessing, t, most, NULL);
        return code == other;
    }
    if (kind == 2) return pith_eval(p->plain, bad, 2, NULL) == pith_eval(p->guessing, bad, 2, NULL);
    if (kind == 3) return pith_draft(p->guessing, k, p->room), 1;
    if (kind == 4 && n + k < CONTEXT) { /* all logits: nothing guessed will do */
        float *a = malloc(sizeof *a * 9 * (size_t)p->n_vocab), *b = malloc(sizeof *b * 9 * (size_t)p->n_vocab);
        code = !a || !b || pith__eval_all(p->plain, t + n, k, a, NULL) ||
               pith__eval_all(p->guessing, t + n, k, b, NULL) ||
               memcmp(a, b, sizeof *a * (size_t)k * (size_t)p->n_vocab) != 0;
        free(a), free(b);
        return !code;
    }
    if (kind == 5) return pith_eval(p->plain, t + n, k, NULL) == pith_eval(p->guessing, t + n, k, NULL);
    if (n == CONTEXT) return pith_rewind(p->plain, k) == pith_rewind(p->guessing, k);
    return pith_eval(p->plain, t + n, 1, NULL) == pith_eval(p->guessing, t + n, 1, NULL);
}

TEST(whatever_is_done_to_a_session) {
    fixture_shape s = { 32, 64, 2, 4, 2, FIXTURE_VOCAB, CONTEXT, 1, 32 };
    bytes b = fixture_llama2c(&s, 1, 3);
    pith_model *m = open_bytes(&b, 1);
    pair p;
    uint64_t rng = 99;
    long right = 0;
    REQUIRE(m && open_pair(&p, m, NULL, 0, 8));
    for (int i = 0; i < 4000; i++) {
        int before = p.guessing->draft.n_accepted;
        if (!step(&p, &rng) || !same(&p)) {
            FAIL("differs after step %d", i);
            break;
        }
        if (p.guessing->draft.n_accepted > before) right++;
    }
    CHECK(right > 300);
    close_pair(&p);
    pith_close(m);
    free(b.p);
}

static int seen; /* tokens, by the watcher */

static void watcher(void *data, int l, const pith__acts *a, int n) {
    (void)data, (void)a;
    if (l == 0) seen += n;
}

/* Passes for CONTEXT tokens one by one, each that of period tokens before. */
static int passes(int period, int n_draft, int watch) {
    fixture_shape s = { 32, 64, 2, 4, 2, FIXTURE_VOCAB, CONTEXT, 1, 32 };
    bytes b = fixture_llama2c(&s, 1, 3);
    pith_model *m = open_bytes(&b, 1);
    pair p;
    int n = -1;
    if (m && open_pair(&p, m, NULL, 0, n_draft)) {
        seen = 0;
        if (watch) p.guessing->watch = watcher;
        for (pith_token i = 0; i < CONTEXT; i++) {
            pith_token t = 3 + i % period;
            if (pith_eval(p.guessing, &t, 1, NULL)) FAIL("no room for token %d", i);
        }
        n = p.guessing->draft.n_pass;
        EQ(n + p.guessing->draft.n_accepted, n_draft ? CONTEXT : 0);
    }
    close_pair(&p);
    pith_close(m);
    free(b.p);
    return n;
}

TEST(a_text_that_repeats_itself_takes_few_passes) {
    EQ(passes(200, 8, 0), CONTEXT);       /* nothing came before */
    EQ(passes(8, 8, 0), 9 + 10);          /* with the tenth token a pair is there again: 87 by nines */
    EQ(passes(2, 8, 0), 3 + 11);          /* 93 by nines: guesses go on with what they guessed */
    EQ(passes(8, 3, 0), 9 + 22);          /* 87 by fours */
    EQ(passes(8, 0, 0), 0);
    EQ(passes(8, 8, 1), CONTEXT);
    EQ(seen, CONTEXT);
}

/* ---- a model that drafts --------------------------------------------------------------------------------- */

/* A model of one layer or two that is sure of what it says: its head is 40 times as large. */
static pith_model *open_sure(bytes *b, int n_layer, uint32_t seed) {
    fixture_shape s = { 32, 64, n_layer, 4, 2, FIXTURE_VOCAB, CONTEXT, 0, 32 };
    *b = fixture_llama2c(&s, 1, seed);
    pith_model *m = open_bytes(b, 1);
    for (size_t i = 0; m && i < (size_t)FIXTURE_VOCAB * 32; i++) ((float *)(uintptr_t)m->head.tensor.data)[i] *= 40;
    return m;
}

/* Writes a context full, a token at a time, by drafts of another model. Tokens that were drafted right; -1: the text
 * or a logit differs from what the model writes alone. Now and then both go back. */
static int write_by(const pith_model *m, const pith_model *small, int n_small, int n_draft, float temperature) {
    pith_context c = { .n_ctx = n_small };
    pith_session *by = pith_session_new(small, &c, NULL);
    pith_sampling how = PITH_SAMPLING_DEFAULT;
    uint64_t a = 7, b = 7;
    pith_token t = 1, u = 1;
    int right = 0, back = 0;
    pair p;
    how.temperature = temperature;
    if (!by || !open_pair(&p, m, NULL, 0, n_draft) || pith_draft_by(p.guessing, n_draft, p.room, by, NULL)) return -1;
    while (right >= 0 && pith_position(p.plain) < CONTEXT) {
        if (pith_eval(p.plain, &t, 1, NULL) || pith_eval(p.guessing, &u, 1, NULL) || !same(&p)) right = -1;
        if (pith_position(p.plain) == 40 && back++ < 2 && pith_rewind(p.plain, 20) != pith_rewind(p.guessing, 20)) right = -1;
        t = pith_sample(p.plain, &how, &a), u = pith_sample(p.guessing, &how, &b);
    }
    if (right == 0) right = p.guessing->draft.n_accepted;
    close_pair(&p);
    pith_session_free(by);
    return right;
}

/* Drafts of its own likeness are right, those of a stranger seldom, and a session that is full drafts no more. */
TEST(a_model_drafts) {
    bytes x, y, z;
    pith_model *m = open_sure(&x, 2, 3), *alike = open_sure(&y, 2, 3), *other = open_sure(&z, 1, 4);
    REQUIRE(m && alike && other);
    alike->shape.n_byte = other->shape.n_byte = m->shape.n_byte / 20; /* or it is not worth its passes */
    int all = write_by(m, alike, 0, 8, 0), one = write_by(m, alike, 0, 1, 0);
    CHECK(all > CONTEXT * 3 / 4), CHECK(all > one), CHECK(one > CONTEXT / 2), CHECK(one <= CONTEXT * 3 / 4);
    CHECK(write_by(m, alike, 0, 8, 1) > CONTEXT / 4);
    int few = write_by(m, other, 0, 8, 0), half = write_by(m, alike, CONTEXT / 2, 8, 0);
    CHECK(few >= 0 && few < all / 2), CHECK(half > all / 4 && half < all);
    CHECK(write_by(m, other, 0, 3, 1) >= 0);
    pith_close(m), pith_close(alike), pith_close(other);
    free(x.p), free(y.p), free(z.p);
}

static void drafts_refused(pith_session *s, pith_session *by, const char *why) {
    pith_error e = { 0, "" };
    EQ(pith_draft_by(s, 4, NULL, by, &e), PITH_EARG);
    if (!strstr(e.text, why)) FAIL("'%s' is not '%s'", e.text, why);
}

TEST(a_model_that_cannot_draft_is_refused) {
    fixture_shape larger = { 32, 64, 1, 4, 2, FIXTURE_VOCAB + 1, CONTEXT, 0, 32 };
    bytes x, y = fixture_llama2c(&larger, 1, 3);
    pith_model *m = open_sure(&x, 1, 3), *more = open_bytes(&y, 1);
    REQUIRE(m && more);
    pith_session *s = pith_session_new(m, NULL, NULL), *of_more = pith_session_new(more, NULL, NULL);
    REQUIRE(s && of_more);
    drafts_refused(s, NULL, "for itself"), drafts_refused(s, s, "for itself");
    drafts_refused(s, of_more, "another vocabulary");
    pith_session_free(s), pith_session_free(of_more);
    pith_close(m), pith_close(more);
    free(x.p), free(y.p);
}

int main(void) {
    RUN(every_family_writes_the_same);
    RUN(every_cache_writes_the_same);
    RUN(any_threads_and_int8);
    RUN(whatever_is_done_to_a_session);
    RUN(a_text_that_repeats_itself_takes_few_passes);
    RUN(a_model_drafts);
    RUN(a_model_that_cannot_draft_is_refused);
    return DONE();
}
