/* t_drift.c - how far two models are from each other: against logits that peft computed, against a plain computation;
 * the same bits for any number of threads. */
#define _POSIX_C_SOURCE 200809L
#include "../train/train.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>

enum { VOCAB = 300, N = 150 };

static pith_token text[N];

static void make_text(void) {
    uint64_t state = 11;
    for (int i = 0; i < N; i++) text[i] = (pith_token)((fixture_random(&state) + 1) / 2 * (VOCAB - 1));
}

static pith_session *session_of(const pith_model *m) {
    pith_context c = { .n_ctx = 128, .cache_k = "f32", .cache_v = "f32" };
    pith_error e = { 0, "" };
    pith_session *s = pith_session_new(m, &c, &e);
    if (!s) FAIL("%s", e.text);
    return s;
}

static pith_model *open_made(const bytes *b, int n_threads) {
    pith_error e = { 0, "" };
    pith_model *m = pith_open_memory(b->p, b->n, &(pith_options){ .n_threads = n_threads }, &e);
    if (!m) FAIL("%s", e.text);
    return m;
}

/* ---- a plain computation ------------------------------------------------------------------------------ */

static double log_sum(const float *x, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += exp(x[i]);
    return log(sum);
}

static int top_of(const float *x, int n) {
    int top = 0;
    for (int i = 0; i < n; i++) top = x[i] > x[top] ? i : top;
    return top;
}

/* Logits a and b (n_vocab) before the token t. Returns KL. */
static double add_plain(pith__drift_sums *s, const float *a, const float *b, int n_vocab, pith_token t) {
    double kl = 0, all_a = log_sum(a, n_vocab), all_b = log_sum(b, n_vocab);
    for (int i = 0; i < n_vocab; i++) kl += exp(a[i] - all_a) * (a[i] - all_a - (b[i] - all_b));
    s->n++;
    s->kl += kl;
    if (kl > s->most_kl) s->most_kl = kl;
    s->nll_a -= a[t] - all_a;
    s->nll_b -= b[t] - all_b;
    s->same_top += top_of(a, n_vocab) == top_of(b, n_vocab);
    return kl;
}

static void near_sums(const pith__drift_sums *got, const pith__drift_sums *want, double part) {
    EQ(got->n, want->n);
    EQ(got->same_top, want->same_top);
    NEAR(got->kl, want->kl, part * want->kl);
    NEAR(got->most_kl, want->most_kl, part * want->most_kl);
    NEAR(got->nll_a, want->nll_a, part * want->nll_a);
    NEAR(got->nll_b, want->nll_b, part * want->nll_b);
}

/* Windows are read one after the other, each from its beginning, with all logits there at once. */
static void plain_windows(pith_session *a, pith_session *b, pith_token begin, int window, double *each,
                          pith__drift_sums *s) {
    for (int from = begin < 0, n; from < N; from += n) {
        static float x[N * VOCAB], y[N * VOCAB];
        pith_token in[N];
        n = N - from < window ? N - from : window;
        for (int i = 0; i < n; i++) in[i] = i || begin < 0 ? text[from + i - 1] : begin;
        pith_rewind(a, 0), pith_rewind(b, 0);
        EQ(pith__eval_all(a, in, n, x, NULL), PITH_OK);
        EQ(pith__eval_all(b, in, n, y, NULL), PITH_OK);
        for (int i = 0; i < n; i++)
            each[from + i] = add_plain(s, x + i * VOCAB, y + i * VOCAB, VOCAB, text[from + i]);
    }
}

TEST(same_as_plain) {
    static const int windows[] = { 1, 2, 63, 64, 65, 100, 0 };
    bytes b = fixture_llama2c(&fixture_tiny, 1, 3), c = fixture_llama2c(&fixture_tiny, 1, 4);
    pith_model *m = open_made(&b, 1), *o = open_made(&c, 1);
    REQUIRE(m && o);
    for (int i = 0; i < 14; i++) {
        pith__drift_plan p = { session_of(m), session_of(o), i % 2 ? 1 : -1, windows[i / 2], NULL, 0 };
        pith__drift_sums got = { 0 }, want = { 0 };
        pith__drift_row each[N];
        double plain[N];
        int most = p.a->n_ctx;
        each[0].kl = plain[0] = -1;
        EQ(pith__drift(&p, text, N, each, &got, NULL), PITH_OK);
        plain_windows(p.a, p.b, p.begin, p.window ? p.window : most, plain, &want);
        EQ(want.n, N - (p.begin < 0));
        CHECK(want.kl > 0.01 * N);
        near_sums(&got, &want, 1e-6);
        for (int k = 0; k < N; k++) NEAR(each[k].kl, plain[k], 1e-6 * want.most_kl);
        pith_session_free(p.a), pith_session_free(p.b);
    }
    pith_close(m), pith_close(o);
    free(b.p), free(c.p);
}

/* What is only read is what comes before: the tokens that count are predicted as if all did. */
TEST(the_first_of_a_window_may_be_only_read) {
    static const int skips[] = { 1, 63, 64, 70, 99, 100, 200 };
    bytes b = fixture_llama2c(&fixture_tiny, 1, 3), c = fixture_llama2c(&fixture_tiny, 1, 4);
    pith_model *m = open_made(&b, 1), *o = open_made(&c, 1);
    REQUIRE(m && o);
    pith__drift_plan all = { session_of(m), session_of(o), 1, 100, NULL, 0 };
    pith__drift_sums sums = { 0 };
    pith__drift_row each[N], some[N];
    EQ(pith__drift(&all, text, N, each, &sums, NULL), PITH_OK);
    for (int i = 0; i < 7; i++) {
        pith__drift_sums s = { 0 };
        pith__drift_plan p = all;
        p.skip = skips[i];
        memset(some, 0, sizeof some);
        EQ(pith__drift(&p, text, N, some, &s, NULL), PITH_OK);
        int n = 0;
        for (int k = 0; k < N; k++) { /* windows of 100 and 50 tokens */
            int counts = k % 100 >= p.skip;
            if (counts) CHECK(some[k].kl == each[k].kl && some[k].nll_b == each[k].nll_b && some[k].top_b == each[k].top_b);
            else CHECK(some[k].kl == 0 && some[k].nll_a == 0);
            n += counts;
        }
        EQ(s.n, n);
    }
    pith_session_free(all.a), pith_session_free(all.b);
    pith_close(m), pith_close(o);
    free(b.p), free(c.p);
}

/* ---- equal models, threads ---------------------------------------------------------------------------- */

TEST(no_drift_of_equal_models) {
    bytes b = fixture_llama2c(&fixture_tiny, 1, 3);
    pith_model *m = open_made(&b, 1), *o = open_made(&b, 1);
    REQUIRE(m && o);
    for (int two = 0; two < 2; two++) { /* sessions of one model, and of two */
        pith__drift_plan p = { session_of(m), session_of(two ? o : m), 1, 50, NULL, 0 };
        pith__drift_sums s = { 0 };
        pith__drift_row each[N];
        EQ(pith__drift(&p, text, N, each, &s, NULL), PITH_OK);
        CHECK(s.kl == 0 && s.most_kl == 0 && s.nll_a == s.nll_b && s.nll_a > N);
        EQ(s.n, N);
        EQ(s.same_top, N);
        for (int i = 0; i < N; i++) CHECK(each[i].kl == 0 && each[i].nll_a == each[i].nll_b && each[i].top_a == each[i].top_b);
        pith_session_free(p.a), pith_session_free(p.b);
    }
    pith_close(m), pith_close(o);
    free(b.p);
}

TEST(same_bits_for_any_threads) {
    bytes b = fixture_llama2c(&fixture_tiny, 1, 3), c = fixture_llama2c(&fixture_tiny, 1, 4);
    pith__drift_sums first = { 0 };
    pith__drift_row want[N];
    for (int threads = 1; threads < 5; threads++) {
        pith_model *m = open_made(&b, threads), *o = open_made(&c, threads);
        REQUIRE(m && o);
        pith__drift_plan p = { session_of(m), session_of(o), 1, 0, NULL, 0 };
        pith__drift_sums s = { 0 };
        pith__drift_row each[N];
        EQ(pith__drift(&p, text, N, each, &s, NULL), PITH_OK);
        if (threads == 1) first = s, memcpy(want, each, sizeof want);
        CHECK(!memcmp(&s, &first, sizeof s) && !memcmp(each, want, sizeof want));
        pith_session_free(p.a), pith_session_free(p.b);
        pith_close(m), pith_close(o);
    }
    free(b.p), free(c.p);
}

/* ---- what peft computes ------------------------------------------------------------------------------ */

enum { IDS = 24 };

static float *read_logits(const char *family, const char *file, int n_vocab) {
    size_t n = (size_t)IDS * (size_t)n_vocab;
    float *x = calloc(n, sizeof *x);
    FILE *f = fopen(fixture_tuning(family, file), "rb");
    if (!f || fread(x, sizeof *x, n, f) != n) FAIL("%s", file);
    if (f) fclose(f);
    return x;
}

static void drift_of_adapter(const char *family, const char *adapter, const char *logits) {
    char name[64];
    pith_token ids[IDS];
    pith_error e = { 0, "" };
    pith_model *m = pith_open(fixture_tuning(family, "base"), NULL, &e);
    FILE *f = fopen(fixture_tuning(family, "lora/ids.txt"), "r");
    REQUIRE(m && f);
    for (int i = 0; i < IDS; i++) EQ(fscanf(f, "%d", &ids[i]), 1);
    fclose(f);
    snprintf(name, sizeof name, "lora/%s", adapter);
    pith_adapter *a = pith_adapter_open(m, fixture_tuning(family, name), &e);
    if (!a) FAIL("%s", e.text);
    float *x = read_logits(family, "lora/base.logits.f32", m->hyper.n_vocab), *y = read_logits(family, logits, m->hyper.n_vocab);
    pith__drift_plan p = { session_of(m), session_of(m), -1, 0, NULL, 0 };
    pith__drift_sums got = { 0 }, want = { 0 };
    size_t width = (size_t)m->hyper.n_vocab;
    EQ(pith_session_adapters(p.b, (const pith_adapter *const *)&a, NULL, 1, &e), PITH_OK);
    for (int i = 1; i < IDS; i++)
        add_plain(&want, x + (size_t)(i - 1) * width, y + (size_t)(i - 1) * width, (int)width, ids[i]);
    EQ(pith__drift(&p, ids, IDS, NULL, &got, &e), PITH_OK);
    near_sums(&got, &want, 1e-4);
    CHECK(want.kl > 1e-3);
    pith_session_free(p.a), pith_session_free(p.b);
    free(x), free(y);
    pith_adapter_close(a);
    pith_close(m);
}

TEST(same_as_from_peft) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int i = 0; i < 2; i++) {
        drift_of_adapter(i ? "qwen2" : "llama", "a1", "lora/a1.logits.f32");
        drift_of_adapter(i ? "qwen2" : "llama", "a2", "lora/a2.logits.f32");
    }
}

/* ---- what is refused, sums that add up ---------------------------------------------------------------- */

static int stop_at(void *data, const char *what, size_t done, size_t all) {
    (void)what, (void)all;
    return done >= *(size_t *)data;
}

TEST(errors_change_nothing) {
    fixture_shape other = fixture_tiny;
    other.vocab = VOCAB - 1;
    bytes b = fixture_llama2c(&fixture_tiny, 1, 3), c = fixture_llama2c(&other, 1, 3);
    pith_model *m = open_made(&b, 1), *o = open_made(&c, 1);
    REQUIRE(m && o);
    pith_session *s = session_of(m), *s2 = session_of(m), *t = session_of(o);
    pith__drift_sums sums = { .n = 5, .kl = 1, .most_kl = 0.5 }, before = sums;
    pith_error e;
    pith_token bad[] = { 1, VOCAB };
    size_t stop = 100;
    pith__progress stops = { stop_at, &stop };
    EQ(pith__drift(&(pith__drift_plan){ s, s, 1, 0, NULL, 0 }, text, N, NULL, &sums, &e), PITH_EARG);
    CHECK(strstr(e.text, "two sessions") != NULL);
    EQ(pith__drift(&(pith__drift_plan){ s, t, 1, 0, NULL, 0 }, text, N, NULL, &sums, &e), PITH_EARG);
    CHECK(strstr(e.text, "300 tokens") && strstr(e.text, "299"));
    EQ(pith__drift(&(pith__drift_plan){ s, s2, 1, 0, NULL, 0 }, bad, 2, NULL, &sums, &e), PITH_EARG);
    CHECK(strstr(e.text, "token 300") != NULL);
    EQ(pith__drift(&(pith__drift_plan){ s, s2, 1, 10, &stops, 0 }, text, N, NULL, &sums, &e), PITH_ESTOP);
    CHECK(!memcmp(&sums, &before, sizeof sums));
    EQ(pith__drift(&(pith__drift_plan){ s, s2, -1, 0, NULL, 0 }, text, 1, NULL, &sums, &e), PITH_OK);
    EQ(sums.n, 5); /* one token predicts nothing */
    EQ(pith__drift(&(pith__drift_plan){ s, s2, 1, 0, NULL, 0 }, text, 7, NULL, &sums, &e), PITH_OK);
    EQ(sums.n, 12);
    CHECK(sums.kl == 1 && sums.most_kl == 0.5);
    pith_session_free(s), pith_session_free(s2), pith_session_free(t);
    pith_close(m), pith_close(o);
    free(b.p), free(c.p);
}

TEST(what_is_no_number_stays_so) {
    const float nan = NAN;
    bytes b = fixture_llama2c(&fixture_tiny, 1, 3), c = fixture_llama2c(&fixture_tiny, 1, 3);
    memcpy(c.p + 256, &nan, sizeof nan); /* the first weight behind the header */
    pith_model *m = open_made(&b, 1), *o = open_made(&c, 1);
    REQUIRE(m && o);
    for (int i = 0; i < 2; i++) { /* of A, of B */
        pith__drift_plan p = { session_of(i ? m : o), session_of(i ? o : m), 1, 0, NULL, 0 };
        pith__drift_sums s = { 0 };
        pith__drift_row each[N];
        EQ(pith__drift(&p, text, N, each, &s, NULL), PITH_OK);
        EQ(s.n, N);
        CHECK(isnan(s.kl) && isnan(s.most_kl) && isnan(i ? s.nll_b : s.nll_a) && isnan(each[0].kl) && isnan(each[N - 1].kl));
        CHECK(isfinite(i ? s.nll_a : s.nll_b));
        pith_session_free(p.a), pith_session_free(p.b);
    }
    pith_close(m), pith_close(o);
    free(b.p), free(c.p);
}

TEST(estimates) {
    const double x[] = { 1, 2, 3, 6 }; /* variance 14 / 3 of a sample */
    pith__estimate e = pith__estimate_of(x, 4), one = pith__estimate_of(x, 1);
    NEAR(e.mean, 3, 1e-15);
    NEAR(e.error, sqrt(14.0 / 4 / 3), 1e-15);
    CHECK(one.mean == 1 && one.error == 0 && isnan(pith__estimate_of(x, 0).mean));
}

TEST(quantiles) {
    double x[] = { 4, 1, 3, 2 }, y[] = { 5, NAN, 1 };
    NEAR(pith__quantile(x, 4, 0.5), 2.5, 1e-15);
    NEAR(pith__quantile(x, 4, 0), 1, 0);
    NEAR(pith__quantile(x, 4, 1), 4, 0);
    NEAR(pith__quantile(x, 3, 0.75), 2.5, 1e-15);
    NEAR(pith__quantile(y, 3, 0.5), 5, 0);
    CHECK(isnan(pith__quantile(y, 3, 1)) && isnan(pith__quantile(x, 0, 0.5)));
}

int main(void) {
    make_text();
    RUN(same_as_plain);
    RUN(the_first_of_a_window_may_be_only_read);
    RUN(no_drift_of_equal_models);
    RUN(same_bits_for_any_threads);
    RUN(same_as_from_peft);
    RUN(errors_change_nothing);
    RUN(what_is_no_number_stays_so);
    RUN(estimates);
    RUN(quantiles);
    return DONE();
}
