/* t_slots.c - many texts in slots, of families with windows, experts and soft caps: each has the tokens and the
 * logprobs that it has alone, whichever texts it shares its beginning and its passes with. */
#include "../tools/request.h"
#include "family_texts.h"

enum { MANY = 14, MOST_NEW = 20 };

static pith_model *model;
static request asked[MANY];
static choice texts[MANY];

/* Texts of two kinds that begin in the same way, some of them short, with seeds of their own. */
static void ask(int n) {
    pith_token t[2][N];
    char text[2000];
    make_texts(pith_model_shape(model)->n_vocab, t);
    request_rules rules = { .m = model, .how = pith_sampling_default(model), .n_ctx = N };
    for (int i = 0; i < n; i++) {
        int len = i % 5 == 4 ? 3 + i : SHARED + 5 + i % 4 * 7;
        char *p = text + sprintf(text, "{\"max_tokens\": %d, \"logprobs\": true, \"top_logprobs\": 2, \"prompt\": [", 1 + i * 7 % MOST_NEW);
        for (int k = 0; k < len; k++) p += sprintf(p, "%s%d", k ? "," : "", (int)t[i & 1][k]);
        sprintf(p, "]}");
        pith__json j;
        request_error e;
        if (pith__json_read(&j, text, strlen(text), "", NULL) || request_read(&asked[i], &rules, j, &e)) FAIL("%s", e.error.text);
        if (choice_begin(&texts[i], model, &asked[i], 0, 100 + (uint64_t)i)) FAIL("no memory");
    }
}

static void forget(int n) {
    for (int i = 0; i < n; i++) choice_free(&texts[i]), request_free(&asked[i]);
}

/* Is the text what its prompt becomes alone? */
static int as_alone(const choice *c) {
    pith_context context = { .n_ctx = N, .n_batch = 1 };
    pith_session *s = pith_session_new(model, &context, NULL);
    pith_generation g = { .how = c->r->how, .rng = c->seed, .n_predict = c->r->n_predict };
    int same = s && !pith_eval(s, c->prompt->t, c->prompt->n, NULL), ended = 0;
    for (size_t i = 0; same && !ended; i++) {
        ended = pith_generate(s, &g, NULL);
        if (ended < 0 || ended == PITH_END) break;
        const float *x = pith_logits(s);
        same = i < c->n_told && c->told[i].is.token == g.token &&
               c->told[i].is.logprob == x[g.token] - log_total(x, pith_model_shape(model)->n_vocab);
    }
    same = same && ended == c->g.ended && c->g.n_token == g.n_token;
    pith_generation_free(&g);
    pith_session_free(s);
    return same;
}

/* All n texts, as many at once as there are slots; in sessions of room bytes. Prompt tokens shared, or -1. */
static long long write_all(int n, int at_once, int n_batch, size_t room) {
    pith_context c = { .n_ctx = N, .n_batch = n_batch };
    pith_error e = { 0, "" };
    slots k;
    choice *ended[MANY];
    int begun = 0, over = 0;
    ask(n);
    if (slots_open(&k, model, &c, at_once, room, &e)) return FAIL("%s", e.text), -1;
    for (int i = 0; i < 2000 && over < n; i++) {
        while (begun < n && k.n_busy < k.n) slots_start(&k, &texts[begun++]);
        int got = slots_step(&k, ended, &e);
        if (got < 0) return FAIL("%s", e.text), -1;
        over += got;
        if (k.used > room) FAIL("%zu bytes of sessions, may be %zu", k.used, room);
    }
    long long shared = (long long)k.n_shared;
    slots_close(&k);
    if (over != n) FAIL("%d of %d texts ended", over, n);
    return shared;
}

static int n_as_alone(int n) {
    int same = 0;
    for (int i = 0; i < n; i++) same += as_alone(&texts[i]);
    return same;
}

TEST(texts_of_all_families_are_as_alone) {
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        const struct golden *g = &goldens[i];
        bytes b;
        model = open_family(g, 0, &b);
        REQUIRE(model);
        for (int at_once = BRIEF ? 9 : 2; at_once <= 9; at_once += 7) {
            CHECK(write_all(MANY, at_once, 32, SIZE_MAX) >= 0);
            if (n_as_alone(MANY) != MANY) FAIL("%s: %d of %d, %d at once", g->name, n_as_alone(MANY), MANY, at_once);
            forget(MANY);
        }
        pith_close(model);
        free(b.p);
    }
}

TEST(what_a_window_would_forget_is_kept) {
    bytes b;
    model = open_family(golden_named("gemma3"), 8, &b);
    REQUIRE(model);
    for (int at_once = 1; at_once <= 5; at_once += 2) {
        long long shared = write_all(MANY, at_once, 8, SIZE_MAX);
        EQ(n_as_alone(MANY), MANY);
        if (shared < (MANY - MANY / 5 - 2) * (SHARED - 1LL)) /* two of the long ones have it from none */ FAIL("%lld tokens shared, %d at once", shared, at_once);
        forget(MANY);
    }
    pith_close(model);
    free(b.p);
}

TEST(texts_wait_for_memory) {
    bytes b;
    model = open_family(golden_named("llama"), 0, &b);
    REQUIRE(model);
    pith_context c = { .n_ctx = N, .n_batch = 32 };
    pith_pass *p = pith_pass_new(model, &c, NULL);
    c.pass = p;
    size_t size = pith_session_size(model, &c);
    pith_pass_free(p);
    CHECK(write_all(MANY, 6, 32, 2 * size + size / 2) >= 0); /* room for two sessions */
    EQ(n_as_alone(MANY), MANY);
    forget(MANY);
    CHECK(write_all(3, 2, 32, size / 2) >= 0); /* and for none */
    for (int i = 0; i < 3; i++) {
        EQ(texts[i].g.ended, PITH_EMEMORY);
        CHECK(strstr(texts[i].error.text, "no memory for a text of 96 tokens"));
    }
    forget(3);
    pith_close(model);
    free(b.p);
}

int main(void) {
    RUN(texts_of_all_families_are_as_alone);
    RUN(what_a_window_would_forget_is_kept);
    RUN(texts_wait_for_memory);
    return DONE();
}
