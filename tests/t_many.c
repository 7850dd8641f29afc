/* t_many.c - many texts evaluated together: each session's logits are, bit for bit, those that it would have had
 * alone, whatever stands beside it, and a call that is refused changes nothing. */
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>

#include "golden_families.h"

enum { N = 96, TEXTS = 6, MOST = 12 }; /* the families' context; texts; tokens of a piece of work */

static const struct golden *golden_named(const char *name) {
    const struct golden *g = goldens;
    while (strcmp(g->name, name) != 0) g++;
    return g;
}

static pith_model *open_bytes(const bytes *b, int n_threads, const char *kernels) {
    pith_options opt = { .n_threads = n_threads, .kernels = kernels };
    pith_error e = { 0, "" };
    pith_model *m = pith_open_memory(b->p, b->n, &opt, &e);
    if (!m) FAIL("%s", e.text);
    return m;
}

static pith_model *open_family(const struct golden *g, bytes *b) {
    *b = fixture_gguf(g->keys, g->tensors, g->seed);
    return open_bytes(b, 1, NULL);
}

/* ---- a crowd: sessions that are evaluated together, and for each one that is alone ----------------- */

typedef struct {
    const pith_model *m;
    pith_pass *pass;
    pith_session *s[TEXTS], *alone[TEXTS];
    float *room, *rows, *rows_alone; /* drafts; logits of one piece of work, together and alone */
    pith_token text[TEXTS][N];
    pith_work work[TEXTS];
    int n_work, of[TEXTS]; /* the text of each piece */
    uint64_t rng;
} crowd;

static int dice(crowd *c, int n) { return (int)(pith_random(&c->rng) * (float)n); }

/* Few tokens that often come in the same order, so that drafts come true. */
static void make_texts(crowd *c) {
    for (int k = 0; k < TEXTS; k++)
        for (int i = 0; i < N; i++) c->text[k][i] = (7 + k + 31 * (i % (3 + k)) + i / 11) % c->m->hyper.n_vocab;
}

/* Contexts, batches, caches and drafts of all sessions differ; n_row: of the pass that the even ones share, 0: each
 * has its own. */
static void crowd_new(crowd *c, const pith_model *m, int n_row, uint64_t seed) {
    static const char *const caches[] = { "f16", "f32", "q8_0" };
    const size_t row = (size_t)m->hyper.n_vocab;
    const int n_cache = m->hyper.head_dim % 32 ? 2 : 3;
    memset(c, 0, sizeof *c);
    c->m = m, c->rng = seed;
    make_texts(c);
    if (n_row) c->pass = pith_pass_new(m, &(pith_context){ .n_ctx = N, .n_batch = n_row }, NULL);
    if (n_row && !c->pass) FAIL("no pass of %d rows", n_row);
    c->room = calloc(5 * TEXTS * row, sizeof(float));
    c->rows = calloc(2 * MOST * TEXTS * row, sizeof(float));
    c->rows_alone = c->rows + MOST * TEXTS * row;
    for (int k = 0; k < TEXTS; k++) {
        pith_context how = { .n_ctx = N - 5 * k, .n_batch = 1 + 3 * k + (k == 0) * 30, .cache_k = caches[k % n_cache],
                             .cache_v = caches[(k + 1) % n_cache] };
        c->alone[k] = pith_session_new(m, &how, NULL);
        if (k % 2 == 0) how.pass = c->pass;
        if (how.pass && how.n_batch > n_row) how.n_batch = n_row;
        c->s[k] = pith_session_new(m, &how, NULL);
        if (!c->s[k] || !c->alone[k]) FAIL("no session");
        if (k % 3 == 1) pith_draft(c->s[k], 4, c->room + (size_t)k * 5 * row);
    }
}

static void crowd_free(crowd *c) {
    for (int k = 0; k < TEXTS; k++) {
        pith_session_free(c->s[k]);
        pith_session_free(c->alone[k]);
    }
    pith_pass_free(c->pass);
    free(c->room), free(c->rows);
}

static int same_logits(const pith_session *a, const pith_session *b) {
    return a->position == b->position &&
           !memcmp(a->logits, b->logits, (size_t)a->model->hyper.n_vocab * sizeof *a->logits);
}

/* One token for most texts, several for others, in any order; some texts rest. A text that is full goes back. */
static void choose_work(crowd *c) {
    int first = dice(c, TEXTS), step = dice(c, 2) ? 1 : TEXTS - 1;
    c->n_work = 0;
    for (int i = 0; i < TEXTS; i++) {
        int k = (first + i * step) % TEXTS, n = dice(c, 3) ? 1 : 1 + dice(c, MOST), logits = dice(c, 4) == 0;
        pith_session *s = c->s[k];
        if (s->n_ctx - s->position < n || dice(c, 16) == 0) {
            int to = pith_rewind(s, s->position > MOST ? dice(c, s->position - MOST) : 0);
            pith_rewind(c->alone[k], to);
        }
        if (dice(c, 5) == 0) continue;
        c->of[c->n_work] = k;
        c->work[c->n_work++] = (pith_work){ s, c->text[k] + s->position, n,
                                            logits ? c->rows + (size_t)(k * MOST * c->m->hyper.n_vocab) : NULL };
    }
}

/* The same for the session that is alone. Its rings may have had to go back further. */
static int same_alone(crowd *c, int i) {
    const pith_work *w = c->work + i;
    pith_session *alone = c->alone[c->of[i]];
    int at = w->session->position - w->n;
    if (alone->position != at) EQ(pith_sync(alone, c->text[c->of[i]], at, NULL), PITH_OK);
    EQ(pith__eval_all(alone, w->tokens, w->n, w->logits ? c->rows_alone : NULL, NULL), PITH_OK);
    size_t size = (size_t)w->n * (size_t)c->m->hyper.n_vocab * sizeof(float);
    return same_logits(w->session, alone) && (!w->logits || !memcmp(w->logits, c->rows_alone, size));
}

static int crowd_steps(crowd *c, int n) {
    for (int k = 0; k < n; k++) {
        choose_work(c);
        if (!c->n_work) continue;
        EQ(pith_eval_many(c->work, c->n_work, NULL), PITH_OK);
        for (int i = 0; i < c->n_work; i++)
            if (!same_alone(c, i)) return FAIL("step %d: text %d differs", k, c->of[i]), 0;
    }
    return 1;
}

/* ---- the same bits --------------------------------------------------------------------------------- */

TEST(every_family) {
    enum { STEPS = BRIEF ? 5 : 16 };
    static const int rows[] = { 0, 1, 5, 64 };
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        bytes b;
        pith_model *m = open_family(goldens + i, &b);
        REQUIRE(m);
        for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
            crowd c;
            crowd_new(&c, m, rows[k], 11 * i + k + 1);
            if (!crowd_steps(&c, STEPS)) FAIL("%s, %d rows", goldens[i].name, rows[k]);
            crowd_free(&c);
        }
        pith_close(m);
        free(b.p);
    }
}

TEST(any_threads_kernels_and_int8) {
    static const fixture_shape s = { 256, 512, 2, 4, 2, FIXTURE_VOCAB, N, 0, 32 };
    for (int version = 1; version <= 2; version++) {
        bytes b = fixture_llama2c(&s, version, 3);
        for (int n_threads = 1; n_threads <= 4; n_threads += BRIEF ? 3 : 1)
            for (int portable = 0; portable < 2; portable++) {
                pith_model *m = open_bytes(&b, n_threads, portable ? "portable" : NULL);
                crowd c;
                crowd_new(&c, m, 7 * n_threads, (uint64_t)n_threads);
                if (!crowd_steps(&c, 10)) FAIL("version %d, %d threads", version, n_threads);
                crowd_free(&c);
                pith_close(m);
            }
        free(b.p);
    }
}

TEST(quantised_weights) {
    static const char *const names[] = { "Q8_0", "Q6_K", "Q4_K_M" };
    for (int i = 0; i < 3; i++) {
        char name[64];
        snprintf(name, sizeof name, "fixtures/quant/mistral-%s.gguf", names[i]);
        const char *path = fixture_shared(name);
        if (!path) SKIP("no ../shared");
        pith_model *m = pith_open(path, &(pith_options){ .n_threads = 2 }, NULL);
        REQUIRE(m);
        for (int rows = 0; rows <= 40; rows += 20) {
            crowd c;
            crowd_new(&c, m, rows, (uint64_t)(rows + i + 1));
            if (!crowd_steps(&c, 16)) FAIL("%s, %d rows", names[i], rows);
            crowd_free(&c);
        }
        pith_close(m);
    }
}

/* Many texts are one pass as long as there are rows, and prompts fill the rows that are left. */
TEST(passes_are_full) {
    bytes b;
    crowd c;
    pith_model *m = open_family(golden_named("mixtral_stacked"), &b);
    REQUIRE(m);
    crowd_new(&c, m, 8, 1);
    pith_context how = { .n_ctx = N, .n_batch = 8, .pass = c.pass };
    for (int k = 0; k < TEXTS; k++) {
        pith_session_free(c.s[k]);
        c.s[k] = pith_session_new(m, &how, NULL);
        c.work[k] = (pith_work){ c.s[k], c.text[k], 1, NULL };
    }
    EQ(pith_eval_many(c.work, TEXTS, NULL), PITH_OK);
    EQ(c.pass->n_row, TEXTS);
    EQ(c.pass->n_part, TEXTS);
    c.work[1].n = 5;
    EQ(pith_eval_many(c.work, TEXTS, NULL), PITH_OK); /* 10 rows: 8 and 2 */
    EQ(c.pass->n_row, 2);
    EQ(c.pass->n_part, 2);
    crowd_free(&c);
    pith_close(m);
    free(b.p);
}

/* Its scratch memory is enough for all. Of two that were made for the same context, the one of more rows. */
TEST(the_pass_for_the_longest_context_is_used) {
    static const int ctx[] = { 40, 60, 60, 50 }, batch[] = { 20, 4, 5, 50 };
    bytes b;
    crowd c;
    pith_model *m = open_family(golden_named("llama"), &b);
    REQUIRE(m);
    crowd_new(&c, m, 0, 1);
    for (int k = 0; k < 4; k++) {
        pith_session_free(c.s[k]), pith_session_free(c.alone[k]);
        c.s[k] = pith_session_new(m, &(pith_context){ .n_ctx = ctx[k], .n_batch = batch[k] }, NULL);
        c.alone[k] = pith_session_new(m, NULL, NULL);
        c.of[k] = k, c.work[k] = (pith_work){ c.s[k], c.text[k], 1, NULL };
    }
    EQ(pith_eval_many(c.work, 4, NULL), PITH_OK);
    for (int k = 0; k < 4; k++) {
        EQ(c.s[k]->pass->n_row, k == 2 ? 4 : 0);
        CHECK(same_alone(&c, k));
    }
    crowd_free(&c);
    pith_close(m);
    free(b.p);
}

/* ---- texts that are not like others -------------------------------------------------------------------- */

/* A text that grows over the limit is computed again with other angles, in the passes of others. */
TEST(a_text_that_becomes_long) {
    bytes b;
    crowd c;
    pith_model *m = open_family(golden_named("phi3_long"), &b);
    REQUIRE(m);
    for (int n_row = 3; n_row < 80; n_row += 19) {
        crowd_new(&c, m, n_row, 1);
        for (int k = 0; k < 4; k++) { /* 0 becomes long, 1 with a draft is one short of it, 2 and 3 stay short */
            int n = k == 0 ? 39 : k == 1 ? 37 : 3 * k;
            EQ(pith_eval(c.s[k], c.text[k], n, NULL), PITH_OK);
            EQ(pith_eval(c.alone[k], c.text[k], n, NULL), PITH_OK);
            c.of[k] = k;
            c.work[k] = (pith_work){ c.s[k], c.text[k] + n, k == 2 ? 7 : 1, NULL };
        }
        CHECK(!c.s[0]->long_rope);
        EQ(pith_eval_many(c.work, 4, NULL), PITH_OK);
        CHECK(c.s[0]->long_rope && !c.s[1]->long_rope && !c.s[3]->long_rope);
        for (int k = 0; k < 4; k++)
            if (!same_alone(&c, k)) FAIL("%d rows, text %d", n_row, k);
        crowd_free(&c);
    }
    pith_close(m);
    free(b.p);
}

static void count_tokens(void *data, int l, const pith__acts *a, int n) {
    (void)a;
    if (l == 0) *(int *)data += n;
}

TEST(a_watcher_sees_its_own_text) {
    bytes b;
    crowd c;
    int seen = 0;
    pith_model *m = open_family(golden_named("gemma3"), &b);
    REQUIRE(m);
    crowd_new(&c, m, 8, 1);
    c.s[2]->watch = count_tokens, c.s[2]->watch_data = &seen;
    for (int k = 0; k < TEXTS; k++) c.of[k] = k, c.work[k] = (pith_work){ c.s[k], c.text[k], 3 + k, NULL };
    EQ(pith_eval_many(c.work, TEXTS, NULL), PITH_OK);
    EQ(seen, 5);
    for (int k = 0; k < TEXTS; k++)
        if (!same_alone(&c, k)) FAIL("text %d", k);
    crowd_free(&c);
    pith_close(m);
    free(b.p);
}

/* Such a text is in one pass, the next one where the rows that are left are too few. The pass used has 6 rows:
 * it was made for the longest context. */
TEST(texts_that_are_not_causal) {
    bytes b;
    pith_model *m = open_family(golden_named("llama"), &b);
    REQUIRE(m);
    crowd c;
    m->layer[0].mask.causal = 0;
    crowd_new(&c, m, 6, 1);
    for (int k = 0; k < TEXTS; k++) {
        pith_session_free(c.s[k]);
        pith_context how = { .n_ctx = k % 2 ? 30 : N, .n_batch = k % 2 ? 16 : 6, .pass = k % 2 ? NULL : c.pass };
        c.s[k] = pith_session_new(m, &how, NULL);
        pith_session_free(c.alone[k]);
        c.alone[k] = pith_session_new(m, &(pith_context){ .n_ctx = N }, NULL);
        c.of[k] = k, c.work[k] = (pith_work){ c.s[k], c.text[k], k % 2 ? 9 + k : 2 + k, NULL };
    }
    EQ(pith_eval_many(c.work, TEXTS, NULL), PITH_OK);
    for (int k = 0; k < TEXTS; k++)
        if (!same_alone(&c, k)) FAIL("text %d", k);
    pith_rewind(c.s[1], 0), c.work[0].session = c.s[1], c.work[0].n = 17;
    EQ(pith_eval_many(c.work, 1, NULL), PITH_EARG);
    crowd_free(&c);
    pith_close(m);
    free(b.p);
}

/* ---- what is refused --------------------------------------------------------------------------------- */

static void refuse(const pith_work *work, int n_work, int code, const char *says) {
    pith_error e = { 0, "" };
    EQ(pith_eval_many(work, n_work, &e), code);
    EQ(e.code, code);
    if (!strstr(e.text, says)) FAIL("'%s' does not say '%s'", e.text, says);
}

/* Session 1 drafts; 0 and 1 are evaluated, and come first in each call that is refused. */
TEST(refused_work_changes_nothing) {
    bytes b, b2;
    crowd c;
    pith_model *m = open_family(golden_named("llama"), &b), *other = open_family(golden_named("qwen3"), &b2);
    REQUIRE(m && other);
    const pith_token none[] = { m->hyper.n_vocab, -1 };
    crowd_new(&c, m, 8, 1);
    pith_session *full = pith_session_new(m, &(pith_context){ .n_ctx = 4 }, NULL);
    pith_session *stranger = pith_session_new(other, NULL, NULL);
    EQ(pith_eval(full, c.text[0], 3, NULL), PITH_OK);
    for (int k = 0; k < 2; k++) {
        c.of[k] = k, c.work[k] = (pith_work){ c.s[k], c.text[k] + 20, 1, NULL };
        EQ(pith_eval(c.s[k], c.text[k], 19, NULL), PITH_OK);
        EQ(pith_eval(c.s[k], c.text[k] + 19, 1, NULL), PITH_OK);
        EQ(pith_eval(c.alone[k], c.text[k], 20, NULL), PITH_OK);
    }
    CHECK(c.s[1]->draft.made > 0);
    const struct { pith_work last; int code; const char *says; } bad[] = {
        { { NULL, c.text[1], 3, NULL }, PITH_EARG, "work[2]: there is no session" },
        { { c.s[1], c.text[1], 3, NULL }, PITH_EARG, "work[2]: its session comes twice" },
        { { stranger, c.text[1], 3, NULL }, PITH_EARG, "work[2]: the session is of another model" },
        { { full, c.text[1], 0, NULL }, PITH_EARG, "work[2]: 0 tokens" },
        { { full, c.text[1], -1, NULL }, PITH_EARG, "work[2]: -1 tokens" },
        { { full, NULL, 1, NULL }, PITH_EARG, "work[2]: 1 tokens" },
        { { full, c.text[1], 2, NULL }, PITH_EFULL, "work[2]: the context of 4 tokens is full" },
        { { full, none, 1, NULL }, PITH_EARG, "work[2]: token 515 is not" },
        { { full, none + 1, 1, NULL }, PITH_EARG, "work[2]: token -1 is not" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        c.work[2] = bad[i].last;
        refuse(c.work, 3, bad[i].code, bad[i].says);
        CHECK(same_logits(c.s[0], c.alone[0]) && same_logits(c.s[1], c.alone[1]));
        EQ(full->position + stranger->position, 3);
    }
    refuse(c.work, 0, PITH_EARG, "0 texts");
    refuse(c.work, -1, PITH_EARG, "-1 texts");
    refuse(NULL, 1, PITH_EARG, "0 texts");
    int passes = c.s[1]->draft.n_pass;
    EQ(pith_eval_many(c.work, 2, NULL), PITH_OK); /* none is marked any more, and what was drafted is there */
    CHECK(same_alone(&c, 0) && same_alone(&c, 1));
    EQ(c.s[1]->draft.n_pass, passes);
    pith_session_free(full), pith_session_free(stranger);
    crowd_free(&c);
    pith_close(m), pith_close(other);
    free(b.p), free(b2.p);
}

TEST(a_pass_serves_what_it_was_made_for) {
    bytes b, b2;
    pith_model *m = open_family(golden_named("llama"), &b), *other = open_family(golden_named("qwen3"), &b2);
    pith_context most = { .n_ctx = 32, .n_batch = 8 };
    pith_error e = { 0, "" };
    pith_pass *p = pith_pass_new(m, &most, NULL);
    const pith_context long_one = { .n_ctx = 33, .n_batch = 8, .pass = p };
    const pith_context wide = { .n_ctx = 32, .n_batch = 9, .pass = p };
    const pith_context fits = { .n_ctx = 32, .n_batch = 8, .pass = p };
    CHECK(!pith_session_new(m, &long_one, &e) && e.code == PITH_EARG && strstr(e.text, "was made for 32 and 8"));
    CHECK(!pith_session_new(m, &wide, &e) && e.code == PITH_EARG && strstr(e.text, "was made for 32 and 8"));
    CHECK(!pith_session_new(other, &fits, &e) && e.code == PITH_EARG && strstr(e.text, "another model"));
    CHECK(!pith_pass_new(m, &fits, &e) && e.code == PITH_EARG && !pith_pass_size(m, &fits));
    EQ(pith_session_size(m, &fits), pith__session_bytes(m, &most, PITH__KEEP_NONE));
    CHECK(pith_session_size(m, &fits) + pith_pass_size(m, &most) / 2 < pith_session_size(m, &most));
    pith_pass_free(p);
    pith_pass_free(NULL);
    pith_close(m), pith_close(other);
    free(b.p), free(b2.p);
}

int main(void) {
    RUN(every_family);
    RUN(any_threads_kernels_and_int8);
    RUN(quantised_weights);
    RUN(passes_are_full);
    RUN(the_pass_for_the_longest_context_is_used);
    RUN(a_text_that_becomes_long);
    RUN(a_watcher_sees_its_own_text);
    RUN(texts_that_are_not_causal);
    RUN(refused_work_changes_nothing);
    RUN(a_pass_serves_what_it_was_made_for);
    return DONE();
}
