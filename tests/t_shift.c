/* t_shift.c - a text that is longer than its context (pith_generation.shift): each token is drawn from the logits, bit
 * for bit, that a new session has after what is left of the text, with the same state of the random numbers. */
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>

#include "golden_families.h"

enum { CONTEXT = 24, LENGTH = 90 };

static pith_model *open_family(size_t i, bytes *b) {
    pith_options one_thread = { .n_threads = 1 };
    pith_error e = { 0, "" };
    *b = fixture_gguf(goldens[i].keys, goldens[i].tensors, goldens[i].seed);
    pith_model *m = pith_open_memory(b->p, b->n, &one_thread, &e);
    if (!m) printf("Bail out! %s\n", e.text), exit(1);
    return m;
}

/* The text by hand: what of it is left, in a session of its own. */
typedef struct {
    pith_session *s;
    pith_token t[CONTEXT];
    int n, keep;
} rest;

static void begin_again(rest *r, const pith_model *m) {
    pith_session_free(r->s);
    r->s = pith_session_new(m, &(pith_context){ .n_ctx = CONTEXT }, NULL);
    EQ(pith_eval(r->s, r->t, r->n, NULL), PITH_OK);
}

static void append(rest *r, const pith_model *m, pith_token t) {
    int full = r->n == CONTEXT, half = (CONTEXT - r->keep) / 2;
    if (full) {
        for (int i = r->keep; i + half < CONTEXT; i++) r->t[i] = r->t[i + half];
        r->n -= half;
    }
    r->t[r->n++] = t;
    if (full) begin_again(r, m);
    else EQ(pith_eval(r->s, &t, 1, NULL), PITH_OK);
}

static const pith_sampling sampling = { .repeat_last_n = 10, .repeat_penalty = 1.2f, .temperature = 1, .top_p = 0.9f };

/* Through several rounds; n_batch: how much of the text is read again in one call. */
static void write_and_compare(const char *name, const pith_model *m, int keep, int n_batch, int n_draft) {
    pith_context c = { .n_ctx = CONTEXT, .n_batch = n_batch };
    pith_session *s = pith_session_new(m, &c, NULL);
    size_t row = (size_t)pith_model_shape(m)->n_vocab * sizeof(float);
    float *drafts = calloc((size_t)n_draft + 1, row);
    rest r = { .n = 9, .keep = keep };
    uint64_t rng = 5;
    for (int i = 0; i < r.n; i++) r.t[i] = 3 + 5 * i % 7;
    begin_again(&r, m);
    if (n_draft) pith_draft(s, n_draft, drafts);
    pith_token prompt[9];
    memcpy(prompt, r.t, sizeof prompt);
    pith_generation g = { .how = sampling, .rng = 5, .shift = 1, .keep = keep, .prompt = prompt, .n_prompt = 9 };
    int n = 0, code = 0;
    for (int calls = 0; n < LENGTH && !code && calls < 20 * LENGTH; calls++) {
        code = pith_generate(s, &g, NULL);
        if (g.token < 0) continue; /* it reads */
        n++;
        int same_logits = !memcmp(pith_logits(s), pith_logits(r.s), row);
        pith_token want = pith_sample(r.s, &sampling, &rng);
        if (!same_logits || g.token != want || g.rng != rng || code != (pith_is_end(m, want) ? PITH_END : 0)) {
            FAIL("%s, keep %d, batch %d: token %d is %d, want %d, code %d", name, keep, n_batch, n, g.token, want, code);
            break;
        }
        EQ(pith_position(s), r.n);
        append(&r, m, want);
    }
    if (!code) EQ(n, LENGTH);
    pith_generation_free(&g);
    pith_session_free(s), pith_session_free(r.s);
    free(drafts);
}

TEST(a_text_goes_on_as_one_that_had_begun_there) {
    static const int keep[] = { 0, 1, 5, 9, 15, CONTEXT - 2 };
    bytes b;
    pith_model *m = open_family(0, &b);
    for (size_t i = 0; i < sizeof keep / sizeof *keep; i++)
        for (int n_batch = 0; n_batch < 20; n_batch += 7) write_and_compare("llama", m, keep[i], n_batch, i % 2 ? 4 : 0);
    pith_close(m);
    free(b.p);
}

TEST(in_all_families) { /* a window may have forgotten what stays */
    for (size_t i = 1; i < sizeof goldens / sizeof *goldens; i++) {
        bytes b;
        pith_model *m = open_family(i, &b);
        write_and_compare(goldens[i].name, m, (int)i % 6, (int)i % 3 * 4, i % 4 == 1 ? 3 : 0);
        pith_close(m);
        free(b.p);
    }
}

TEST(others_get_their_tokens_while_one_reads_again) {
    bytes b;
    pith_model *m = open_family(0, &b);
    pith_context c = { .n_ctx = CONTEXT, .n_batch = 4 };
    pith_token first[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    pith_session *s[2] = { pith_session_new(m, &c, NULL), NULL };
    pith_generation a = { .prompt = first, .n_prompt = 8, .shift = 1, .keep = 2 };
    pith_generation other = { .prompt = first, .n_prompt = 1 };
    pith_generation *g[2] = { &a, &other };
    int waited = 0;
    c.n_ctx = 96;
    s[1] = pith_session_new(m, &c, NULL);
    for (int calls = 1; calls <= 60; calls++) {
        EQ(pith_generate_many(s, g, 2, NULL), 2);
        EQ(other.n_token, calls);
        waited += a.token < 0;
    }
    CHECK(waited > 5 && a.n_token == 60 - waited);
    for (int i = 0; i < 2; i++) pith_generation_free(g[i]), pith_session_free(s[i]);
    pith_close(m);
    free(b.p);
}

TEST(what_cannot_be_kept_is_named) {
    static const int wrong[] = { -1, CONTEXT - 1, CONTEXT, INT32_MAX };
    bytes b;
    pith_model *m = open_family(0, &b);
    pith_token first = 1;
    pith_session *s = pith_session_new(m, &(pith_context){ .n_ctx = CONTEXT }, NULL);
    for (int i = 0; i < 4; i++) {
        pith_error e = { 0, "" };
        pith_generation g = { .prompt = &first, .n_prompt = 1, .shift = 1, .keep = wrong[i] };
        EQ(pith_generate(s, &g, &e), PITH_EARG);
        CHECK(strstr(e.text, "keep is ") && !g.state);
    }
    pith_generation g = { .prompt = &first, .n_prompt = 1, .keep = CONTEXT }; /* of no use, and no matter */
    EQ(pith_generate(s, &g, NULL), 0);
    g.shift = 1; /* too late */
    int code = 0;
    while (!code) code = pith_generate(s, &g, NULL);
    EQ(code, PITH_FULL);
    pith_generation_free(&g);
    pith_session_free(s);
    pith_close(m);
    free(b.p);
}

int main(void) {
    RUN(a_text_goes_on_as_one_that_had_begun_there);
    RUN(in_all_families);
    RUN(others_get_their_tokens_while_one_reads_again);
    RUN(what_cannot_be_kept_is_named);
    return DONE();
}
