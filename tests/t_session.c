/* t_session.c - one text in progress: rewinding to where a ring of the KV cache just holds what is needed, any
 * order of evaluating, rewinding and syncing, and drafts that keep their limits. What a session computes is
 * compared bit by bit with one that read the same text token by token and never went back. */
#include "family_texts.h"

/* ---- rewinding --------------------------------------------------------------------------------------- */

/* The first position that n tokens in a ring leave, for which a token there still finds what it sees. */
static int nearest(const pith_session *s, int n, int window) {
    int lost = n - s->n_slot_window; /* positions */
    return lost > 0 ? lost + window - 1 : 0;
}

/* n tokens, back to position, and the text goes on. */
static void go_back(pith_session *s, const pith_token *t, const float *rows, int n, int position, int want) {
    pith_rewind(s, 0);
    EQ(pith_eval(s, t, n, NULL), PITH_OK);
    EQ(pith_known(s, t, position + 1), position + 1 < n ? want : n);
    int got = pith_rewind(s, position);
    if (got != want) FAIL("%d tokens, back to %d: %d, want %d", n, position, got, want);
    for (int i = got; i < n && i < got + 3; i++) {
        EQ(pith_eval(s, t + i, 1, NULL), PITH_OK);
        if (!as_row(s, rows)) FAIL("%d tokens, back to %d: token %d differs", n, position, i);
    }
}

static void rings_edge(const char *name, int window) {
    static const int batches[] = { 1, 5, 8, 13, 16 };
    bytes b;
    pith_token text[2][N];
    pith_model *m = open_family(golden_named(name), window, &b);
    REQUIRE(m);
    make_texts(pith_model_shape(m)->n_vocab, text);
    float *rows = rows_of(m, text[0], NULL);
    int edges = 0;
    for (size_t i = 0; rows && i < sizeof batches / sizeof *batches; i++) {
        pith_context c = { .n_ctx = N, .n_batch = batches[i] };
        pith_session *s = pith_session_new(m, &c, NULL);
        REQUIRE(s);
        for (int n = N; n >= 20; n -= BRIEF ? 38 : 19) {
            int edge = nearest(s, n, window);
            edges += edge > 0 && edge < n;
            if (edge < n) go_back(s, text[0], rows, n, edge, edge);
            if (edge > 0 && edge <= n) go_back(s, text[0], rows, n, edge - 1, 0);
            go_back(s, text[0], rows, n, n - 1, edge < n ? n - 1 : 0);
        }
        pith_session_free(s);
    }
    CHECK(edges >= 10);
    pith_context c = { .n_ctx = N, .n_batch = 8 };
    size_t size = pith_session_size(m, &c);
    c.swa_full = 1; /* then nothing is forgotten */
    CHECK(pith_session_size(m, &c) > size);
    pith_session *s = pith_session_new(m, &c, NULL);
    REQUIRE(s && rows);
    for (int back = N - 1; back > 0; back -= 13) go_back(s, text[0], rows, N, back, back);
    pith_session_free(s);
    free(rows);
    pith_close(m);
    free(b.p);
}

TEST(back_to_where_a_ring_just_holds_what_is_seen) {
    static const int windows[] = { 2, 5, 11, 16, 31 };
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i += 1 + BRIEF) {
        rings_edge("mistral_window", windows[i]); /* all layers */
        rings_edge("gemma3", windows[i]);         /* and those that see everything */
    }
}

/* ---- whatever is done to a session ------------------------------------------------------------------- */

typedef struct {
    pith_session *s;
    pith_token text[2][N];
    float *rows[2];
    int now; /* the text that the session has a beginning of */
    uint64_t rng;
} walk;

static int dice(walk *w, int n) { return (int)(pith_random(&w->rng) * (float)n); }

/* n more tokens of the text, at once or one by one. */
static int go_on(walk *w, int n) {
    int at = pith_position(w->s), each = dice(w, 2) ? n : 1;
    for (int i = 0; i < n && i < N - at; i += each) {
        int count = each < N - at - i ? each : N - at - i;
        if (pith_eval(w->s, w->text[w->now] + at + i, count, NULL) || !as_row(w->s, w->rows[w->now])) return 0;
    }
    return 1;
}

/* Goes on, goes back a little or anywhere, or syncs; 0: the logits are not those of the text. */
static int step(walk *w) {
    int at = pith_position(w->s), kind = dice(w, 8);
    if (kind == 0) {
        int to = 1 + dice(w, N);
        w->now = dice(w, 2);
        return pith_sync(w->s, w->text[w->now], to, NULL) == PITH_OK && pith_position(w->s) == to &&
               as_row(w->s, w->rows[w->now]);
    }
    if (kind <= 4) {
        int to = kind == 1 ? dice(w, at + 1) : at - dice(w, 16);
        if (pith_rewind(w->s, to) > (to > 0 ? to : 0)) return 0;
        if (pith_position(w->s) <= SHARED) w->now = dice(w, 2);
    }
    return go_on(w, dice(w, 12));
}

/* The two texts in turns, without drafts and with: those stay in the cache, behind the text. */
static void walk_family(const struct golden *g) {
    static const int ways[][2] = { { 1, 0 }, { 7, 0 }, { 7, 5 }, { 0, 5 } }; /* n_batch, drafted */
    bytes b;
    walk w = { .rng = 5 };
    pith_model *m = open_family(g, 0, &b);
    REQUIRE(m);
    size_t n_vocab = (size_t)pith_model_shape(m)->n_vocab;
    make_texts((int)n_vocab, w.text);
    for (int i = 0; i < 2; i++) w.rows[i] = rows_of(m, w.text[i], NULL);
    float *room = malloc(6 * n_vocab * sizeof *room);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        pith_context c = { .n_ctx = N, .n_batch = ways[i][0] };
        w.s = pith_session_new(m, &c, NULL);
        w.now = 0;
        if (w.s) pith_draft(w.s, ways[i][1], room);
        for (int k = 0; w.s && k < (BRIEF ? 15 : 60); k++) {
            if (step(&w)) continue;
            FAIL("%s, batch %d: step %d differs at %d", g->name, ways[i][0], k, pith_position(w.s));
            break;
        }
        pith_session_free(w.s);
    }
    free(w.rows[0]), free(w.rows[1]), free(room);
    pith_close(m);
    free(b.p);
}

TEST(two_texts_in_turns) {
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) walk_family(&goldens[i]);
}

/* ---- drafts ------------------------------------------------------------------------------------------ */

/* A text of three tokens that repeats itself here and there, so that drafts are accepted, rejected and grow.
 * Never are more tokens drafted than was said, than a batch or the context has room for. */
static void draft_limits(const pith_model *m, int most, int n_batch) {
    size_t n_vocab = (size_t)pith_model_shape(m)->n_vocab, row = n_vocab * sizeof(float);
    pith_context c = { .n_ctx = N, .n_batch = n_batch };
    pith_session *s = pith_session_new(m, &c, NULL);
    uint64_t rng = (uint64_t)most * 7 + 1;
    float *room = malloc((size_t)(most + 2) * row), *guard = room + (size_t)(most + 1) * n_vocab;
    int largest = 0, limit = most < n_batch ? most : n_batch - 1;
    REQUIRE(s && room);
    memset(guard, 0xa5, row);
    pith_draft(s, most, room);
    for (int i = 0; i < N; i++) {
        pith_token t = 3 + (i + (pith_random(&rng) < 0.1f)) % 3;
        EQ(pith_eval(s, &t, 1, NULL), PITH_OK);
        if (s->draft.made > largest) largest = s->draft.made;
        CHECK(s->position + s->draft.made - s->draft.accepted <= N);
    }
    EQ(largest, limit);
    for (size_t i = 0; i < row; i++)
        if (((unsigned char *)guard)[i] != 0xa5) {
            FAIL("%d drafted, %d a batch: written beyond the room", most, n_batch);
            break;
        }
    pith_session_free(s);
    free(room);
}

TEST(drafts_keep_their_limits) {
    bytes b;
    pith_model *m = open_family(golden_named("llama"), 0, &b);
    REQUIRE(m);
    for (int most = 1; most < 12; most++) {
        draft_limits(m, most, N);
        draft_limits(m, most, 5);
    }
    draft_limits(m, 4, 2);
    draft_limits(m, 4, 1);
    pith_close(m);
    free(b.p);
}

/* After a wrong draft one token more than was right, and then twice as many while all are right. */
TEST(drafts_grow_again) {
    bytes b;
    pith_model *m = open_family(golden_named("llama"), 0, &b);
    pith_session *s = m ? pith_session_new(m, NULL, NULL) : NULL;
    int made[N], n = 0;
    float *room = m ? calloc(9 * (size_t)pith_model_shape(m)->n_vocab, sizeof *room) : NULL;
    REQUIRE(s && room);
    pith_draft(s, 8, room);
    for (int i = 0; i < N; i++) {
        pith_token t = i == 40 ? 200 : 3 + i % 4; /* one token breaks the row */
        int before = s->draft.n_pass;
        EQ(pith_eval(s, &t, 1, NULL), PITH_OK);
        if (i > 40 && s->draft.n_pass > before && s->draft.made) made[n++] = s->draft.made;
    }
    static const int want[] = { 8, 2, 4, 8, 8 }; /* of the first 8, one was right */
    REQUIRE(n >= 5);
    for (int i = 0; i < 5; i++) EQ(made[i], want[i]);
    NEAR(pith_draft_rate(s), (double)N / s->draft.n_pass, 1e-9);
    pith_session_free(s);
    pith_close(m);
    free(room), free(b.p);
}

/* ---- sizes, and what is evaluated -------------------------------------------------------------------- */

TEST(sizes_of_sessions) {
    bytes b;
    pith_model *m = open_family(golden_named("gemma3"), 5, &b);
    REQUIRE(m);
    static const pith_context all = { .n_ctx = 1024 }, same = { .n_ctx = 1024, .n_batch = 256 };
    static const pith_context few = { .n_ctx = 64, .n_batch = 1000 }, fit = { .n_ctx = 64, .n_batch = 64 };
    static const pith_context bad[] = { { .n_ctx = -1 }, { .n_batch = -1 } };
    CHECK(pith_session_size(m, &all) > 0);
    EQ(pith_session_size(m, &all), pith_session_size(m, &same)); /* 256 tokens a batch, if none are said */
    EQ(pith_session_size(m, &few), pith_session_size(m, &fit));  /* never more than the context */
    for (int i = 0; i < 2; i++) {
        pith_error e = { 0, "" };
        EQ(pith_session_size(m, &bad[i]), 0);
        CHECK(!pith_session_new(m, &bad[i], &e) && e.code == PITH_EARG && strstr(e.text, "-1"));
    }
    for (int n_batch = 1; n_batch <= 96; n_batch++) { /* a ring is never longer than the context */
        pith_context c = { .n_ctx = 96, .n_batch = n_batch };
        pith_session *s = pith_session_new(m, &c, NULL);
        REQUIRE(s);
        CHECK(s->n_slot_window <= s->n_slot && s->n_slot == 96);
        pith_session_free(s);
    }
    pith_close(m);
    free(b.p);
}

static void count_tokens(void *data, int l, const pith__acts *a, int n) {
    (void)a;
    if (l == 0) *(int *)data += n;
}

TEST(sync_evaluates_what_is_new) {
    bytes b;
    pith_token text[2][N];
    int seen = 0, common = 0;
    pith_model *m = open_family(golden_named("llama"), 0, &b);
    pith_session *s = m ? pith_session_new(m, NULL, NULL) : NULL;
    REQUIRE(s);
    s->watch = count_tokens, s->watch_data = &seen;
    make_texts(pith_model_shape(m)->n_vocab, text);
    while (text[0][common] == text[1][common]) common++;
    const int steps[][3] = { /* text, its tokens, and how many of them are evaluated */
        { 0, 50, 50 }, { 0, 50, 0 }, { 0, 60, 10 }, { 1, 60, 60 - common }, { 1, 30, 1 }, { 0, 96, 66 }
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        seen = 0;
        EQ(pith_known(s, text[steps[i][0]], steps[i][1]), steps[i][1] - steps[i][2]);
        EQ(pith_sync(s, text[steps[i][0]], steps[i][1], NULL), PITH_OK);
        EQ(seen, steps[i][2]);
    }
    CHECK(pith_logprob(s, pith_model_shape(m)->n_vocab) == -INFINITY && pith_logprob(s, -1) == -INFINITY);
    pith_session_free(s);
    pith_close(m);
    free(b.p);
}

/* ---- logits after a rewind --------------------------------------------------------------------------- */

/* The logits are those of the old end until the text's last token is evaluated again. */
static void read_back(pith_session *s, const pith_token *t, const float *rows) {
    EQ(pith_sync(s, t, 60, NULL), PITH_OK);
    for (int n = 59; n > 0; n -= 7) {
        pith_rewind(s, n);
        EQ(pith_sync(s, t, n, NULL), PITH_OK);
        EQ(pith_position(s), n);
        if (!as_row(s, rows)) FAIL("back to %d: other logits", n);
        EQ(pith_rewind(s, n), n); /* which forgets nothing */
        EQ(pith_rewind(s, n + 1), n);
        CHECK(s->logits_at == n && as_row(s, rows));
    }
    EQ(pith_rewind(s, 0), 0);
    EQ(pith_sync(s, t, 0, NULL), PITH_OK);
}

/* A text is written on from where it was rewound to as if it had never been longer. */
static void write_on(pith_session *s, const pith_token *t, const float *rows) {
    for (int n = 59; n > 0; n -= 7) {
        pith_generation g = { .n_predict = 1 };
        const float *row = rows + (size_t)(n - 1) * (size_t)pith_model_shape(s->model)->n_vocab;
        pith_token best = 0;
        for (pith_token i = 0; i < pith_model_shape(s->model)->n_vocab; i++)
            if (row[i] > row[best]) best = i;
        EQ(pith_sync(s, t, 60, NULL), PITH_OK);
        pith_rewind(s, n);
        if (pith_position(s) == n) {
            EQ(pith_generate(s, &g, NULL), PITH_LIMIT);
            EQ(g.token, best);
            CHECK(pith_position(s) == n && as_row(s, rows));
        }
        pith_generation_free(&g);
    }
}

TEST(a_rewound_text_gets_its_own_logits) {
    static const char *const names[] = { "llama", "gemma3" }; /* without and with rings */
    bytes b;
    pith_token text[2][N];
    for (int i = 0; i < 4; i++) {
        pith_model *m = open_family(golden_named(names[i / 2]), 0, &b);
        REQUIRE(m);
        size_t n_vocab = (size_t)pith_model_shape(m)->n_vocab;
        pith_session *s = pith_session_new(m, &(pith_context){ .n_ctx = N, .n_batch = 9 }, NULL);
        float *room = malloc(5 * n_vocab * sizeof *room), *rows;
        REQUIRE(s && room);
        make_texts((int)n_vocab, text);
        rows = rows_of(m, text[0], NULL);
        if (i % 2) pith_draft(s, 4, room);
        read_back(s, text[0], rows);
        write_on(s, text[0], rows);
        free(rows), free(room);
        pith_session_free(s);
        pith_close(m);
        free(b.p);
    }
}

/* Tokens that see those after them: in parts, a text would have other logits than at once. */
TEST(a_text_that_is_not_causal_is_evaluated_at_once) {
    bytes b;
    pith_error e = { 0, "" };
    pith_token text[2][N];
    pith_model *m = open_family(golden_named("llama"), 0, &b);
    REQUIRE(m);
    m->layer[m->hyper.n_layer - 1].mask.causal = 0;
    pith_session *s = pith_session_new(m, &(pith_context){ .n_ctx = N, .n_batch = 16 }, NULL);
    REQUIRE(s);
    make_texts(pith_model_shape(m)->n_vocab, text);
    EQ(pith_eval(s, text[0], 17, &e), PITH_EARG);
    CHECK(strstr(e.text, "a batch of 16 tokens"));
    EQ(pith__eval_part(s, text[0], 8, 16, NULL, NULL), PITH_EARG); /* more is to come */
    EQ(pith_position(s), 0);
    EQ(pith_eval(s, text[0], 12, NULL), PITH_OK);
    EQ(pith_eval(s, text[0] + 12, 0, NULL), PITH_OK);
    EQ(pith_eval(s, text[0] + 12, 1, NULL), PITH_EARG);
    EQ(pith_sync(s, text[0], 17, NULL), PITH_EARG);
    EQ(pith_position(s), 12);
    float before = pith_logits(s)[0];
    EQ(pith_sync(s, text[0], 16, NULL), PITH_OK); /* all of it again */
    EQ(pith_sync(s, text[0], 12, NULL), PITH_OK);
    CHECK(pith_logits(s)[0] == before);
    EQ(pith_rewind(s, 8), 0);
    pith_session_free(s);
    pith_close(m);
    free(b.p);
}

int main(void) {
    RUN(back_to_where_a_ring_just_holds_what_is_seen);
    RUN(two_texts_in_turns);
    RUN(drafts_keep_their_limits);
    RUN(drafts_grow_again);
    RUN(sizes_of_sessions);
    RUN(sync_evaluates_what_is_new);
    RUN(a_rewound_text_gets_its_own_logits);
    RUN(a_text_that_is_not_causal_is_evaluated_at_once);
    return DONE();
}
