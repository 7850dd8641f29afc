/* t_keep.c - a text that was copied to another session, or saved and loaded, goes on to the bits of one that was
 * evaluated: whatever the context lengths, rings, types of cache. What cannot be is refused, and the session stays
 * as it was. */
#include "family_texts.h"

/* ---- copying ----------------------------------------------------------------------------------------- */

static const char *const caches[] = { "f16", "f32", "q8_0" };

static pith_session *session_of(const pith_model *m, int n_ctx, int n_batch, const char *cache) {
    pith_context c = { .n_ctx = n_ctx, .n_batch = n_batch, .cache_k = cache, .cache_v = cache };
    return pith_session_new(m, &c, NULL);
}

/* All that a session knows of its text. */
static int same_text(const pith_session *a, const pith_session *b) {
    return a->position == b->position && a->logits_at == b->logits_at && a->long_rope == b->long_rope &&
           !memcmp(a->tokens, b->tokens, (size_t)a->position * sizeof *a->tokens) &&
           !memcmp(a->logits, b->logits, (size_t)a->model->hyper.n_vocab * sizeof *a->logits);
}

/* Back to position, and on to the end of the text. */
static int goes_on(pith_session *s, int position, const pith_token *t, const float *rows) {
    int n = pith_rewind(s, position);
    for (; n < s->n_ctx && n < N; n += 3) {
        int k = s->n_ctx - n < 3 ? s->n_ctx - n : 3;
        if (pith_eval(s, t + n, k, NULL) != PITH_OK || !as_row(s, rows)) return 0;
    }
    return 1;
}

/* A text of n tokens, which was longer by so many, into a session that has another text. */
static void copy_text(pith_session *from, pith_session *to, pith_token text[2][N], const float *rows, int n,
                      int longer) {
    EQ(pith_sync(to, text[1], to->n_ctx, NULL), PITH_OK);
    pith_rewind(from, 0);
    EQ(pith_eval(from, text[0], n + longer, NULL), PITH_OK);
    pith_rewind(from, n);
    EQ(pith_session_copy(to, from, NULL), PITH_OK);
    CHECK(same_text(to, from));
    int most = from->lost > from->position - to->n_slot_window ? from->lost : from->position - to->n_slot_window;
    EQ(to->lost, most);
    for (int back = 0; back < 40 && back <= n; back += 13) {
        EQ(pith_session_copy(to, from, NULL), PITH_OK);
        if (to->n_slot_window == from->n_slot_window)
            EQ(pith_known(to, text[0], n - back), pith_known(from, text[0], n - back));
        if (!goes_on(to, n - back, text[0], rows)) FAIL("%d tokens and %d, %d back: other logits", n, longer, back);
    }
    if (!goes_on(from, n, text[0], rows)) FAIL("%d tokens and %d: the text that was copied differs", n, longer);
}

/* From every so many sessions of a shape to one of another. 0: the model cannot have such a cache. */
static int copies_of(const struct golden *g, int window, const char *cache, int every) {
    static const int shape[][2] = { { N, 1 }, { N, 16 }, { N, 70 }, { 70, 7 }, { 70, 30 } }; /* n_ctx, n_batch */
    enum { SHAPES = sizeof shape / sizeof *shape };
    bytes b;
    pith_token text[2][N];
    pith_model *m = open_family(g, window, &b);
    pith_session *probe = m ? session_of(m, N, 1, cache) : NULL;
    int can = probe != NULL, n = 0;
    pith_session_free(probe);
    if (can) make_texts(m->hyper.n_vocab, text);
    float *rows = can ? rows_of(m, text[0], cache) : NULL;
    for (int i = 0; rows && i < SHAPES * SHAPES; i += every) {
        pith_session *from = session_of(m, shape[i / SHAPES][0], shape[i / SHAPES][1], cache);
        pith_session *to = session_of(m, shape[i % SHAPES][0], shape[i % SHAPES][1], cache);
        if (from && to) copy_text(from, to, text, rows, 16 + (n = (n + 29) % 49), i % 6);
        else FAIL("%s: no session", g->name);
        pith_session_free(to);
        pith_session_free(from);
    }
    free(rows);
    pith_close(m);
    free(b.p);
    return can;
}

TEST(a_copied_text_goes_on_to_the_same_bits) {
    int n_q8 = 0;
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        copies_of(&goldens[i], 0, caches[i % 2], 7);
        n_q8 += copies_of(&goldens[i], 0, "q8_0", 7);
    }
    CHECK(n_q8 >= 3);
    for (int window = 2; window < 40; window = 3 * window + 1)
        for (int i = 0; i < 3; i++) copies_of(golden_named("gemma3"), window, caches[i], 2);
}

/* What is drafted stands behind the text, and is not copied; what the other session has drafted is forgotten. */
TEST(drafts_are_not_copied) {
    bytes b;
    pith_token text[2][N];
    pith_model *m = open_family(golden_named("gemma3"), 5, &b);
    REQUIRE(m);
    size_t n_vocab = (size_t)m->hyper.n_vocab;
    pith_session *from = session_of(m, N, 9, NULL), *to = session_of(m, N, 9, NULL);
    float *room = malloc(12 * n_vocab * sizeof *room), *rows;
    REQUIRE(from && to && room);
    make_texts((int)n_vocab, text);
    rows = rows_of(m, text[0], NULL);
    pith_draft(from, 5, room);
    pith_draft(to, 5, room + 6 * n_vocab);
    int ahead = 0;
    for (int i = 0; i < N - 4; i++) {
        EQ(pith_eval(from, text[0] + i, 1, NULL), PITH_OK);
        ahead += from->draft.made > from->draft.accepted;
        EQ(pith_session_copy(to, from, NULL), PITH_OK);
        for (int k = 1; k < 4; k++) {
            EQ(pith_eval(to, text[0] + i + k, 1, NULL), PITH_OK);
            CHECK(as_row(to, rows));
        }
    }
    CHECK(ahead > 10);
    free(rows), free(room);
    pith_session_free(from), pith_session_free(to);
    pith_close(m);
    free(b.p);
}

/* A session that holds 20 tokens of the first text, and has room for 40. */
static pith_session *with_text(const pith_model *m, const char *k, const char *v, pith_token text[2][N]) {
    pith_context c = { .n_ctx = 40, .n_batch = 8, .cache_k = k, .cache_v = v };
    pith_session *s = pith_session_new(m, &c, NULL);
    if (!s || pith_eval(s, text[0], 20, NULL)) FAIL("no session");
    return s;
}

static void refused(pith_session *to, const pith_session *from, int code, const char *word, const pith_token *t,
                    const float *rows) {
    pith_error e = { 0, "" };
    EQ(pith_session_copy(to, from, &e), code);
    EQ(e.code, code);
    if (!strstr(e.text, word)) FAIL("no '%s' in: %s", word, e.text);
    CHECK(to->position == 20 && as_row(to, rows) && goes_on(to, 20, t, rows));
    pith_rewind(to, 20);
    pith_sync(to, t, 20, NULL);
}

TEST(what_cannot_be_copied_is_refused) {
    bytes b, b2;
    pith_token text[2][N];
    pith_model *m = open_family(golden_named("qwen3"), 0, &b), *other = open_family(golden_named("llama"), 0, &b2);
    REQUIRE(m && other);
    make_texts(m->hyper.n_vocab, text);
    float *rows = rows_of(m, text[0], NULL);
    pith_session *s = with_text(m, NULL, NULL, text), *k = with_text(m, "f32", NULL, text);
    pith_session *v = with_text(m, NULL, "f32", text), *o = with_text(other, NULL, NULL, text);
    pith_session *longer = session_of(m, N, 0, NULL);
    REQUIRE(s && k && v && o && longer && rows);
    EQ(pith_eval(longer, text[0], 41, NULL), PITH_OK);
    refused(s, o, PITH_EARG, "another model", text[0], rows);
    refused(s, k, PITH_EARG, "F32 and F16, need F16 and F16", text[0], rows);
    refused(s, v, PITH_EARG, "F16 and F32, need F16 and F16", text[0], rows);
    refused(s, longer, PITH_EFULL, "context of 40 tokens has no room for the 41", text[0], rows);
    EQ(pith_session_copy(s, s, NULL), PITH_OK);
    CHECK(s->position == 20 && as_row(s, rows) && goes_on(s, 20, text[0], rows));
    pith_rewind(longer, 40);
    EQ(pith_session_copy(s, longer, NULL), PITH_OK);
    EQ(s->position, 40);
    pith_rewind(longer, 0);
    EQ(pith_session_copy(s, longer, NULL), PITH_OK); /* no text */
    CHECK(s->position == 0 && goes_on(s, 0, text[0], rows));
    free(rows);
    pith_session_free(s), pith_session_free(k), pith_session_free(v), pith_session_free(o);
    pith_session_free(longer);
    pith_close(m), pith_close(other);
    free(b.p), free(b2.p);
}

int main(void) {
    RUN(a_copied_text_goes_on_to_the_same_bits);
    RUN(drafts_are_not_copied);
    RUN(what_cannot_be_copied_is_refused);
    return DONE();
}
