/* t_recall.c - what a model says by heart: the same as when it writes, token by token; and what it was taught. */
#include "../train/train.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>

enum { VOCAB = FIXTURE_VOCAB, N = 300 };

typedef struct {
    pith_model *m;
    pith_session *s;
    bytes b;
} speaker;

static int speaker_new(speaker *p) {
    pith_error e = { 0, "" };
    p->b = fixture_llama2c(&fixture_tiny, 1, 3);
    p->m = pith_open_memory(p->b.p, p->b.n, &(pith_options){ .n_threads = 1 }, &e);
    p->s = p->m ? pith_session_new(p->m, &(pith_context){ .n_ctx = N }, &e) : NULL;
    if (!p->s) FAIL("%s", e.text);
    return !p->s;
}

static void speaker_free(speaker *p) {
    pith_session_free(p->s);
    pith_close(p->m);
    free(p->b.p);
}

typedef struct {
    pith_token t[N + 1], target[N];
    pith__sequence s;
} example;

/* A text, token by token: of each the token, whether it is taught, and whether it is what the model says. */
enum { ANY = 1, TAUGHT = 2, SAID = 4 };

static void make_example(speaker *p, example *e, const int *how, int n) {
    uint64_t rng = 0, state = 77;
    pith_rewind(p->s, 0);
    for (int i = 0; i < n; i++) {
        pith_token said = i ? pith_sample(p->s, NULL, &rng) : 1;
        pith_token other = (pith_token)((fixture_random(&state) + 1) / 2 * (VOCAB - 1));
        if (other == said) other++;
        e->t[i] = how[i] & SAID ? said : other;
        if (i) e->target[i - 1] = how[i] & TAUGHT ? e->t[i] : -1;
        EQ(pith_eval(p->s, &e->t[i], 1, NULL), PITH_OK);
    }
    e->s = (pith__sequence){ .t = e->t, .target = e->target, .n = n - 1 };
}

static pith__recall_sums recall_of(speaker *p, const int *how, int n) {
    static example e;
    pith__recall_sums got = { 0 };
    make_example(p, &e, how, n);
    EQ(pith__recall(p->s, &e.s, 1, NULL, &got, NULL), PITH_OK);
    return got;
}

static int *put_tokens(int *how, int kind, int n) {
    while (n--) *how++ = kind;
    return how;
}

/* 5 tokens of a prompt, first taught ones that the model does not say, then said ones, then others. */
static void check_recall(speaker *p, int first, int said, int others) {
    int how[N], *at = put_tokens(how, ANY, 5), half = first + said + others - (first + said + others) / 2;
    at = put_tokens(at, TAUGHT, first);
    at = put_tokens(at, TAUGHT | SAID, said);
    at = put_tokens(at, TAUGHT, others);
    pith__recall_sums got = recall_of(p, how, (int)(at - how));
    int before = first + said + others - half; /* taught tokens that are given */
    int repeated = before < first ? 0 : first + said - before;
    if (half > 64) half = 64;
    if (repeated > half) repeated = half;
    if (repeated < 0) repeated = 0;
    EQ(got.n_example, 1);
    EQ(got.n, half);
    EQ(got.n_repeated, repeated);
    EQ(got.n_whole, repeated == half);
}

TEST(as_far_as_it_is_said) {
    speaker p;
    REQUIRE(!speaker_new(&p));
    check_recall(&p, 1, 1, 0), check_recall(&p, 2, 3, 0), check_recall(&p, 10, 10, 0), check_recall(&p, 10, 7, 3);
    check_recall(&p, 10, 0, 10), check_recall(&p, 11, 10, 0), check_recall(&p, 11, 10, 1), check_recall(&p, 20, 17, 3);
    check_recall(&p, 20, 16, 4), check_recall(&p, 30, 40, 3), check_recall(&p, 2, 1, 0), check_recall(&p, 2, 0, 1);
    check_recall(&p, 4, 100, 0), check_recall(&p, 4, 90, 10), check_recall(&p, 4, 111, 0), check_recall(&p, 50, 60, 5);
    check_recall(&p, 100, 190, 0), check_recall(&p, 100, 120, 60), check_recall(&p, 100, 80, 100);
    speaker_free(&p);
}

/* Between two answers stands what the model does not say and is not taught: it is given. */
TEST(turns_between_are_given) {
    int how[N], *at = put_tokens(how, ANY, 3), *turn;
    speaker p;
    REQUIRE(!speaker_new(&p));
    at = put_tokens(at, TAUGHT, 4);
    at = turn = put_tokens(at, TAUGHT | SAID, 2);
    at = put_tokens(at, ANY, 6);
    at = put_tokens(at, TAUGHT | SAID, 2);
    at = put_tokens(at, ANY, 2); /* the end, which nobody teaches */
    pith__recall_sums got = recall_of(&p, how, (int)(at - how));
    EQ(got.n, 4);
    EQ(got.n_whole, 1);
    turn[7] = TAUGHT; /* a wrong token in the second answer */
    got = recall_of(&p, how, (int)(at - how));
    EQ(got.n_repeated, 3);
    EQ(got.n_whole, 0);
    speaker_free(&p);
}

static int stop_at(void *data, const char *what, size_t done, size_t all) {
    (void)what, (void)all;
    return done == *(size_t *)data;
}

TEST(sums_and_errors) {
    static const int how[] = { ANY, ANY, TAUGHT, TAUGHT, TAUGHT | SAID, TAUGHT | SAID };
    speaker p;
    example e, none;
    REQUIRE(!speaker_new(&p));
    make_example(&p, &e, how, 6);
    make_example(&p, &none, how, 3); /* teaches one token, which has no halves */
    pith__sequence all[] = { e.s, none.s, e.s };
    pith__recall_sums got = { .n = 10, .n_repeated = 5, .n_example = 1 }, before = got;
    size_t stop = 2;
    pith__progress stops = { stop_at, &stop };
    pith_error err;
    EQ(pith__recall(p.s, all, 3, &stops, &got, &err), PITH_ESTOP);
    CHECK(!memcmp(&got, &before, sizeof got));
    EQ(pith__recall(p.s, all, 3, NULL, &got, &err), PITH_OK);
    EQ(got.n, 14);
    EQ(got.n_repeated, 9);
    EQ(got.n_example, 3);
    EQ(got.n_whole, 2);
    before = got;
    e.t[1] = VOCAB;
    EQ(pith__recall(p.s, all, 3, NULL, &got, &err), PITH_EARG);
    CHECK(!memcmp(&got, &before, sizeof got));
    speaker_free(&p);
}

/* What was learned by heart is said, and nothing of it was before. */
TEST(taught) {
    enum { LONG = 40 };
    speaker p;
    pith__params params;
    pith__recall_sums got = { 0 };
    static example e;
    int how[LONG];
    REQUIRE(!speaker_new(&p));
    put_tokens(how, TAUGHT, LONG);
    make_example(&p, &e, how, LONG);
    EQ(pith__recall(p.s, &e.s, 1, NULL, &got, NULL), PITH_OK);
    EQ(got.n_repeated, 0);
    REQUIRE(!pith__params_new(&params, p.m, NULL));
    pith__adamw adam = { .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f };
    float *memory = calloc(2 * params.n, sizeof *memory);
    pith__tape *tape = pith__tape_new(p.m, params.g, LONG, PITH__KEEP_ALL, NULL);
    REQUIRE(tape && memory);
    adam.m = memory, adam.v = memory + params.n;
    for (int i = 0; i < 60; i++) {
        pith__loss loss = { 0 };
        pith__params_zero(&params);
        EQ(pith__learn(tape, e.t, e.target, LONG - 1, 1.0f / (LONG - 1), &loss, NULL), PITH_OK);
        pith__adamw_step(&adam, &params, 1e-2, 1);
    }
    EQ(pith__recall(p.s, &e.s, 1, NULL, &got, NULL), PITH_OK);
    EQ(got.n_repeated, 20);
    EQ(got.n_whole, 1);
    pith__tape_free(tape);
    pith__params_free(&params);
    free(memory);
    speaker_free(&p);
}

int main(void) {
    RUN(as_far_as_it_is_said);
    RUN(turns_between_are_given);
    RUN(sums_and_errors);
    RUN(taught);
    return DONE();
}
