/* t_sampler.c - the sampler against llama2.c's rules written out plainly, and each filter alone. */
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>
#include <time.h>

static pith_model model;
static pith_pass pass;
static pith_session session;

static void set_up(int n_vocab, const pith_token *tokens, int n) {
    free(session.logits);
    free(pass.adjusted);
    free(pass.probs);
    free(pass.order);
    free(session.tokens);
    memset(&session, 0, sizeof session);
    model.hyper.n_vocab = n_vocab;
    session.model = &model;
    session.pass = &pass;
    session.logits = calloc((size_t)n_vocab, sizeof(float));
    pass.adjusted = calloc((size_t)n_vocab, sizeof(float));
    pass.probs = calloc((size_t)n_vocab, sizeof(float));
    pass.order = calloc((size_t)n_vocab * 3, sizeof(int32_t));
    session.tokens = calloc((size_t)n + 1, sizeof(pith_token));
    if (n) memcpy(session.tokens, tokens, (size_t)n * sizeof *tokens);
    session.position = n;
}

static pith_sampling plain(float temperature, float top_p) {
    pith_sampling how = PITH_SAMPLING_DEFAULT;
    how.temperature = temperature;
    how.top_p = top_p;
    how.top_k = 0;
    how.min_p = 0;
    return how;
}

/* About normal, by the sum of uniform numbers. */
static void random_logits(float *x, int n, float spread, uint64_t *rng) {
    for (int i = 0; i < n; i++) {
        float sum = 0;
        for (int j = 0; j < 6; j++) sum += pith_random(rng) - 0.5f;
        x[i] = sum * spread;
    }
}

/* ---- llama2.c's sampler, straight down ------------------------------------------------------- */

typedef struct {
    float p;
    int i;
} pair;

static int by_probability(const void *a, const void *b) {
    const pair *x = a, *y = b;
    if (x->p != y->p) return x->p > y->p ? -1 : 1;
    return x->i - y->i;
}

static float coin_of(uint64_t *s) {
    *s ^= *s >> 12;
    *s ^= *s << 25;
    *s ^= *s >> 27;
    uint32_t u = (uint32_t)((*s * 0x2545F4914F6CDD1Dull) >> 32);
    return (float)(u >> 8) / 16777216.0f;
}

static int reference(const float *logits, int n, float temperature, float top_p, uint64_t *rng) {
    float *p = malloc((size_t)n * sizeof *p), max, sum = 0, cdf = 0;
    pair *q = malloc((size_t)n * sizeof *q);
    int m = 0, last, token = -1;
    for (int i = 0; i < n; i++) p[i] = logits[i] / temperature;
    max = p[0];
    for (int i = 1; i < n; i++) max = p[i] > max ? p[i] : max;
    for (int i = 0; i < n; i++) sum += p[i] = expf(p[i] - max);
    for (int i = 0; i < n; i++) p[i] /= sum;
    float coin = coin_of(rng), weight = 0, cutoff = (1.0f - top_p) / (float)(n - 1);
    if (top_p <= 0 || top_p >= 1) {
        for (int i = 0; i < n && token < 0; i++)
            if (coin < (cdf += p[i])) token = i;
        if (token < 0) token = n - 1;
    } else {
        for (int i = 0; i < n; i++)
            if (p[i] >= cutoff) q[m].p = p[i], q[m++].i = i;
        if (m == 0) /* llama2.c reads what is not there; the nucleus is the likeliest alone */
            for (q[m++].i = 0, last = 1; last < n; last++)
                if (p[last] > p[q[0].i]) q[0].i = last;
        qsort(q, (size_t)m, sizeof *q, by_probability);
        for (last = 0; last < m - 1; last++)
            if ((weight += q[last].p) > top_p) break;
        if (last == m - 1 && !(weight > top_p)) weight += q[last].p;
        for (int i = 0; i <= last && token < 0; i++)
            if (coin * weight < (cdf += q[i].p)) token = q[i].i;
        if (token < 0) token = q[last].i;
    }
    free(p);
    free(q);
    return token;
}

TEST(same_generator_as_llama2c) {
    uint64_t a = 42, b = 42;
    for (int i = 0; i < 1000; i++) {
        float x = pith_random(&a), y = coin_of(&b);
        REQUIRE(x == y && x >= 0 && x < 1);
    }
    CHECK(a == b);
}

TEST(same_tokens_as_llama2c) {
    static const int sizes[] = { 2, 3, 512, 2048, 32000 };
    static const float top_p[] = { 0.9f, 0.95f, 0.5f, 0.05f, 1.0f, 0.0f };
    uint64_t rng = 7, a = 42, b = 42;
    int seen = 0;
    for (int k = 0; k < 5; k++)
        for (int j = 0; j < 6; j++) {
            set_up(sizes[k], NULL, 0);
            int draws = sizes[k] > 10000 ? 5 : 100;
            for (int i = 0; i < draws; i++) {
                float temperature = 0.3f + pith_random(&rng);
                random_logits(session.logits, sizes[k], i % 5 == 3 ? 0.1f : 3.0f + (float)i, &rng);
                if (i % 5 == 2) session.logits[sizes[k] / 2] = 20; /* and one that is nearly sure */
                if (i % 4 == 0) /* ties */
                    for (int t = 0; t < sizes[k]; t++)
                        session.logits[t] = floorf(session.logits[t]);
                pith_sampling how = plain(temperature, top_p[j]);
                int got = pith_sample(&session, &how, &a);
                int want = reference(session.logits, sizes[k], temperature, top_p[j], &b);
                if (got != want || a != b) {
                    FAIL("n %d top_p %g draw %d: %d, want %d", sizes[k], (double)top_p[j], i, got,
                         want);
                    return;
                }
                seen += got != 0;
            }
        }
    CHECK(seen > 1000);
}

TEST(greedy_takes_the_first_of_the_largest_and_no_coin) {
    set_up(5, NULL, 0);
    float x[5] = { -3, 2, 7, 7, 1 };
    memcpy(session.logits, x, sizeof x);
    pith_sampling how = plain(0, 0.9f);
    uint64_t rng = 9;
    EQ(pith_sample(&session, &how, &rng), 2);
    EQ((long long)rng, 9);
    CHECK(!memcmp(session.logits, x, sizeof x));
}

/* ---- each field alone ------------------------------------------------------------------------ */

TEST(bias_comes_first_and_ignores_tokens_that_are_not) {
    set_up(4, NULL, 0);
    pith_bias bias[] = { { 3, 5 }, { 0, -INFINITY }, { -1, 99 }, { 4, 99 }, { INT32_MAX, 99 } };
    pith_sampling how = plain(0, 1);
    how.bias = bias;
    how.n_bias = 5;
    uint64_t rng = 1;
    EQ(pith_sample(&session, &how, &rng), 3);
    how.temperature = 1;
    bias[0].bias = 0;
    for (int i = 0; i < 200; i++) CHECK(pith_sample(&session, &how, &rng) != 0);
}

TEST(penalties_count_in_their_window) {
    static const pith_token text[] = { 0, 1, 1, 2, 2, 2 };
    set_up(4, text, 6);
    float x[4] = { 4, 4, -4, 1 };
    memcpy(session.logits, x, sizeof x);
    pith_sampling how = plain(0, 1);
    uint64_t rng = 1;
    how.repeat_penalty = 2;
    how.frequency_penalty = 0.25f;
    how.presence_penalty = 0.5f;
    how.repeat_last_n = -1;
    pith_sample(&session, &how, &rng);
    NEAR(pass.adjusted[0], 4 / 2.0 - 0.25 - 0.5, 1e-6);
    NEAR(pass.adjusted[1], 4 / 2.0 - 2 * 0.25 - 0.5, 1e-6);
    NEAR(pass.adjusted[2], -4 * 2.0 - 3 * 0.25 - 0.5, 1e-6);
    NEAR(pass.adjusted[3], 1, 0);
    how.repeat_last_n = 4; /* 1 2 2 2 */
    pith_sample(&session, &how, &rng);
    NEAR(pass.adjusted[0], 4, 0);
    NEAR(pass.adjusted[1], 4 / 2.0 - 0.25 - 0.5, 1e-6);
    how.repeat_last_n = 0;
    pith_sample(&session, &how, &rng);
    for (int i = 0; i < 4; i++) NEAR(pass.adjusted[i], x[i], 0);
    how.repeat_last_n = 1000;
    EQ(pith_sample(&session, &how, &rng), 1 > 2 ? 1 : 0);
}

/* Share of draws that give each token. */
static void shares(const pith_sampling *how, int n_vocab, int draws, double *share) {
    uint64_t rng = 12345;
    for (int t = 0; t < n_vocab; t++) share[t] = 0;
    for (int i = 0; i < draws; i++) share[pith_sample(&session, how, &rng)] += 1.0 / draws;
}

TEST(top_k_keeps_k_and_their_proportions) {
    set_up(6, NULL, 0);
    double p[6] = { 0.05, 0.4, 0.1, 0.25, 0.15, 0.05 }, got[6];
    for (int i = 0; i < 6; i++) session.logits[i] = (float)log(p[i]);
    pith_sampling how = plain(1, 1);
    how.top_k = 3;
    shares(&how, 6, 40000, got);
    double want[6] = { 0, 0.5, 0, 0.3125, 0.1875, 0 };
    for (int i = 0; i < 6; i++) NEAR(got[i], want[i], want[i] > 0 ? 0.01 : 0);
    how.top_k = 1; /* greedy, but for the coin */
    for (int i = 0; i < 20; i++) {
        uint64_t rng = (uint64_t)i + 1;
        EQ(pith_sample(&session, &how, &rng), 1);
    }
    for (how.top_k = 6; how.top_k < 9; how.top_k++) { /* no fewer than there are: off */
        uint64_t a = 5, b = 5;
        pith_sampling off = plain(1, 1);
        for (int i = 0; i < 100; i++)
            EQ(pith_sample(&session, &how, &a), pith_sample(&session, &off, &b));
    }
}

TEST(top_p_after_top_k_sees_what_top_k_left) {
    set_up(4, NULL, 0);
    double p[4] = { 0.4, 0.3, 0.2, 0.1 }, got[4];
    for (int i = 0; i < 4; i++) session.logits[i] = (float)log(p[i]);
    pith_sampling how = plain(1, 0.55f);
    shares(&how, 4, 4000, got);
    CHECK(got[1] > 0 && got[2] == 0); /* 0.4 + 0.3 > 0.55 */
    how.top_k = 2; /* 4/7 > 0.55 */
    shares(&how, 4, 4000, got);
    CHECK(got[0] == 1 || fabs(got[0] - 1) < 1e-9);
}

TEST(min_p_is_relative_to_the_likeliest) {
    set_up(4, NULL, 0);
    double p[4] = { 0.1, 0.5, 0.26, 0.14 }, got[4];
    for (int i = 0; i < 4; i++) session.logits[i] = (float)log(p[i]);
    pith_sampling how = plain(1, 1);
    how.min_p = 0.5f; /* at least 0.25 */
    for (int k = 0; k < 3; k++) { /* alone, after top-k, after top-p */
        how.top_k = k == 1 ? 3 : 0;
        how.top_p = k == 2 ? 0.99f : 1;
        shares(&how, 4, 20000, got);
        NEAR(got[0] + got[3], 0, 0);
        NEAR(got[1], 0.5 / 0.76, 0.02);
    }
    how.top_p = 1;
    how.min_p = 1;
    shares(&how, 4, 100, got);
    NEAR(got[1], 1, 1e-9);
}

/* ---- ties, NaN, and what may not come -------------------------------------------------------- */

/* Which tokens ever come, as bits. */
static unsigned seen(const pith_sampling *how) {
    unsigned set = 0;
    uint64_t rng = 77;
    for (int i = 0; i < 400; i++) {
        pith_token t = pith_sample(&session, how, &rng);
        if (t < 0 || t > 31) return 0;
        set |= 1u << t;
    }
    return set;
}

static void set_logits(int n, const float *x) {
    set_up(n, NULL, 0);
    memcpy(session.logits, x, (size_t)n * sizeof *x);
}

TEST(of_equals_the_lowest_tokens_are_kept) {
    static const float x[7] = { 1, 2, 2, -9, 2, 2, 2 };
    set_logits(7, x);
    pith_sampling how = plain(1, 1);
    how.top_k = 3;
    EQ(seen(&how), 1 << 1 | 1 << 2 | 1 << 4);
    how.top_k = 1;
    EQ(seen(&how), 1 << 1);
    how.top_k = 0;
    how.top_p = 0.3f; /* each has 0.186: two of them are 0.372 */
    EQ(seen(&how), 1 << 1 | 1 << 2);
    how.top_p = 1;
    how.min_p = 1; /* all that are as likely as the likeliest */
    EQ(seen(&how), 0x7f & ~(1 << 0 | 1 << 3));
    how.top_k = 4;
    EQ(seen(&how), 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5);
}

TEST(nan_is_the_least_likely) {
    static const float x[6] = { NAN, 1, NAN, 2, 1.5f, NAN };
    static const float none[4] = { NAN, -INFINITY, NAN, -INFINITY };
    pith_sampling how = plain(1, 1);
    set_logits(6, x);
    EQ(seen(&how), 1 << 1 | 1 << 3 | 1 << 4);
    how.top_k = 5;
    EQ(seen(&how), 1 << 1 | 1 << 3 | 1 << 4);
    how.top_k = 2;
    EQ(seen(&how), 1 << 3 | 1 << 4);
    how.top_k = 0, how.top_p = 0.99f;
    EQ(seen(&how), 1 << 1 | 1 << 3 | 1 << 4);
    how.top_p = 1, how.min_p = 0.01f;
    EQ(seen(&how), 1 << 1 | 1 << 3 | 1 << 4);
    how.temperature = 0;
    EQ(seen(&how), 1 << 3);
    set_logits(4, none);
    EQ(seen(&how), 1 << 0);
    how.temperature = 1;
    EQ(seen(&how), 1 << 0);
}

TEST(near_zero_is_greedy) {
    static const float cold[] = { 9e-6f, 1e-30f, 1e-37f, 1e-38f, 1e-40f, 1e-45f };
    static const float x[5] = { 90, 100, 100, 3e38f, -3e38f };
    set_logits(5, x);
    for (int i = 0; i < 6; i++) {
        pith_sampling how = plain(cold[i], i % 2 ? 1 : 0.9f);
        uint64_t rng = 5;
        how.top_k = i / 2;
        session.logits[3] = 3e38f;
        EQ(pith_sample(&session, &how, &rng), 3);
        session.logits[3] = 0;
        EQ(pith_sample(&session, &how, &rng), 1);
        EQ((long long)rng, 5);
    }
}

TEST(only_what_is_allowed_comes) {
    uint32_t allow[2] = { 1u << 1 | 1u << 31, 1u << 1 }, none[2] = { 0, 0 };
    set_up(40, NULL, 0);
    for (int t = 0; t < 40; t++) session.logits[t] = t == 7 ? 50 : 0;
    for (int way = 0; way < 6; way++) {
        pith_sampling how = plain(way ? 1 : 0, way == 3 ? 0.95f : 1);
        uint64_t rng = 3;
        int counts[3] = { 0, 0, 0 };
        how.allow = allow;
        how.top_k = way == 2 ? 10 : way == 5 ? 2 : 0;
        how.min_p = way == 4 ? 0.1f : 0;
        for (int i = 0; i < 300; i++) {
            pith_token t = pith_sample(&session, &how, &rng);
            if (t != 1 && t != 31 && t != 33) FAIL("way %d: %d", way, t);
            else counts[t == 1 ? 0 : t == 31 ? 1 : 2]++;
        }
        CHECK(way == 0 ? counts[0] == 300 : way == 5 ? counts[0] > 100 && counts[1] > 100
                       : counts[0] > 60 && counts[1] > 60 && counts[2] > 60);
        how.allow = none;
        EQ(pith_sample(&session, &how, &rng), -1);
    }
    for (int t = 0; t < 40; t++) session.logits[t] = NAN;
    pith_sampling how = plain(1, 0.9f);
    uint64_t rng = 3;
    how.allow = allow;
    EQ(pith_sample(&session, &how, &rng), 1);
}

/* Twelve times 1/12 is less than 1 in float, and this seed's first number is the largest below 1. */
TEST(rounding_gives_no_token_that_cannot_come) {
    uint64_t rng = 1574392;
    pith_sampling how = plain(1, 1);
    set_up(14, NULL, 0);
    session.logits[12] = -INFINITY;
    session.logits[13] = NAN;
    EQ(pith_sample(&session, &how, &rng), 11);
}

TEST(any_seed_draws) {
    static const float x[8] = { 0 };
    pith_sampling how = plain(1, 1);
    uint64_t rng = 0;
    unsigned set = 0;
    set_logits(8, x);
    for (int i = 0; i < 400; i++) set |= 1u << pith_sample(&session, &how, &rng);
    EQ(set, 0xff);
    CHECK(rng != 0);
}

TEST(zero_is_off) {
    static const pith_token text[] = { 2, 2, 1 };
    static const pith_sampling zero;
    set_up(4, text, 3);
    session.logits[2] = 5;
    uint64_t rng = 9;
    EQ(pith_sample(&session, &zero, &rng), 2);
    pith_sampling how = { .temperature = 1, .repeat_last_n = -1 };
    pith_sample(&session, &how, &rng);
    float p[4];
    pith_distribution(&session, &how, &rng, p);
    NEAR(p[2], exp(5) / (exp(5) + 3), 1e-6);
}

/* ---- what a model recommends ----------------------------------------------------------------- */

static void same_sampling(pith_sampling a, pith_sampling b) {
    NEAR(a.temperature, b.temperature, 0);
    NEAR(a.top_p, b.top_p, 0);
    NEAR(a.min_p, b.min_p, 0);
    NEAR(a.repeat_penalty, b.repeat_penalty, 0);
    EQ(a.top_k, b.top_k);
    EQ(a.repeat_last_n, b.repeat_last_n);
    NEAR(a.frequency_penalty + a.presence_penalty, 0, 0);
    CHECK(!a.bias && !a.n_bias && !a.allow);
}

static pith_sampling recommended(const char *keys) {
    char all[1024];
    static const char *const tensors = "token_embd.weight 16 8; output_norm.weight 8; blk.0.attn_norm.weight 8;"
        "blk.0.attn_q.weight 8 8; blk.0.attn_k.weight 8 8; blk.0.attn_v.weight 8 8; blk.0.attn_output.weight 8 8;"
        "blk.0.ffn_norm.weight 8; blk.0.ffn_gate.weight 8 8; blk.0.ffn_up.weight 8 8; blk.0.ffn_down.weight 8 8";
    snprintf(all, sizeof all, "general.architecture llama; llama.block_count 1; llama.embedding_length 8;"
             "llama.feed_forward_length 8; llama.attention.head_count 1; llama.context_length 8;"
             "llama.attention.layer_norm_rms_epsilon 1e-5; %s", keys);
    bytes b = fixture_gguf(all, tensors, 1);
    pith_error e = { 0, "" };
    pith_model *m = pith_open_memory(b.p, b.n, NULL, &e);
    if (!m) FAIL("%s", e.text);
    pith_sampling how = pith_sampling_default(m);
    pith_close(m);
    free(b.p);
    return how;
}

TEST(a_model_recommends) {
    pith_sampling ours = PITH_SAMPLING_DEFAULT;
    same_sampling(pith_sampling_default(NULL), ours);
    same_sampling(recommended(""), ours);
    pith_sampling all = { .repeat_last_n = 64, .repeat_penalty = 1.25f, .temperature = 0.5f, .top_k = 7,
                          .top_p = 0.75f, .min_p = 0.125f };
    same_sampling(recommended("general.sampling.temp 0.5; general.sampling.top_k 7; general.sampling.top_p 0.75;"
                              "general.sampling.min_p 0.125; general.sampling.penalty_repeat 1.25"), all);
    same_sampling(recommended("pith.temperature 0.5; pith.top_k 7.0; pith.top_p 0.75; pith.min_p 0.125;"
                              "pith.repeat_penalty 1.25"), all);
    same_sampling(recommended("general.sampling.temp -1.0; general.sampling.top_k -1; general.sampling.top_p 1.5;"
                              "general.sampling.min_p hot; general.sampling.penalty_repeat 101.0"), ours);
    ours.temperature = 0; /* greedy is a recommendation too, and GGUF's word comes first */
    same_sampling(recommended("general.sampling.temp 0.0; pith.temperature 0.5"), ours);
    bytes b = fixture_llama2c(&fixture_tiny, 0, 1);
    pith_model *m = pith_open_memory(b.p, b.n, NULL, NULL);
    REQUIRE(m);
    pith_sampling llama2c = { .repeat_last_n = 64, .repeat_penalty = 1, .temperature = 1, .top_p = 0.9f };
    same_sampling(pith_sampling_default(m), llama2c);
    pith_close(m);
    free(b.p);
}

/* ---- what must never happen ------------------------------------------------------------------ */

TEST(any_logits_give_a_token_in_range) {
    static const float odd[] = { NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 0, 1, 1e-45f };
    static const float temperatures[] = { 0, 1e-45f, 1, 1e30f, INFINITY, NAN, -1 };
    uint64_t rng = 3;
    for (int n = 1; n < 20; n++) {
        set_up(n, NULL, 0);
        for (int i = 0; i < 700; i++) {
            for (int t = 0; t < n; t++) session.logits[t] = odd[(int)(pith_random(&rng) * 8)];
            pith_sampling how = plain(temperatures[i % 7], i % 3 ? 0.9f : 1);
            how.top_k = i % 5 ? 0 : 1 + i % 4;
            how.min_p = i % 2 ? 0.1f : 0;
            int t = pith_sample(&session, &how, &rng);
            REQUIRE(t >= 0 && t < n);
            if (isnan(session.logits[t]) && how.temperature == 1)
                for (int u = 0; u < n; u++)
                    CHECK(isnan(session.logits[u]) || session.logits[u] == -INFINITY);
        }
    }
    set_up(8, NULL, 0);
    for (int t = 0; t < 8; t++) session.logits[t] = NAN;
    for (int k = 0; k < 2; k++) {
        pith_sampling how = plain((float)k, 0.9f);
        EQ(pith_sample(&session, &how, &rng), 0);
    }
}

/* ---- odds.c: in vectors, as if one by one ------------------------------------------------------ */

static double units_off(float got, float x) {
    double want = exp((double)x);
    return fabs(got - want) / ldexp(1, ilogb(want) - 23);
}

TEST(odds_are_nearly_those_of_the_libm) {
    static float x[4096], y[4096];
    pith__odds_table o = { .x = x, .y = y, .n = 4096 };
    for (int k = 0; k < 200; k++) {
        double ours = 0, libm = 0;
        for (int i = 0; i < o.n; i++) x[i] = -64.0f * (float)(i * 200 + k) / (4096 * 200);
        pith__all_odds(&o);
        for (int i = 0; i < o.n; i++) {
            ours = fmax(ours, units_off(y[i], x[i]));
            libm = fmax(libm, units_off(expf(x[i]), x[i]));
        }
        CHECK(ours <= 1.5 && libm <= 1); /* 2.5 together: odds.c */
    }
}

TEST(odds_add_up_as_if_one_by_one) {
    enum { N = 20000 };
    static float x[N], y[N], p[N];
    uint64_t rng = 21;
    for (int k = 0; k < 60; k++) {
        pith__odds_table o = { .x = x, .y = y, .n = N - k, .max = -INFINITY };
        random_logits(x, o.n, 0.1f * (float)(k * k), &rng);
        for (int i = 0; k % 3 == 0 && i < o.n; i++) x[i] = floorf(x[i]);
        for (int i = 0; i < o.n; i++) o.max = x[i] > o.max ? x[i] : o.max;
        pith__all_odds(&o);
        float sum = 0, cdf = 0, coin = 0;
        for (int i = 0; i < o.n; i++) sum += p[i] = x[i] == o.max ? 1 : expf(x[i] - o.max);
        if (sum != o.sum) FAIL("sum %.9g, want %.9g", (double)o.sum, (double)sum);
        for (int i = 0; i < o.n; i++) {
            int drawn = i;
            float before = cdf;
            cdf += p[i] / sum;
            if (i % 97 || cdf == before) continue;
            coin = before; /* the last that does not give the token before */
            if (coin < 1) drawn = pith__draw_by_odds(&o, coin);
            if (drawn != i) FAIL("coin %.9g: %d, want %d", (double)coin, drawn, i);
        }
    }
}

/* How long a draw takes: a table anybody can print. Peaked is about what a language model gives, even one without training. */
TEST(a_large_vocabulary_is_not_sorted) {
    enum { N = 151936, DRAWS = 20 };
    static const char *const names[] = { "plain", "top-p 0.9", "min-p 0.05", "top-k 40", "top-k 40, top-p 0.95" };
    pith_sampling ways[5] = { plain(1, 1), plain(1, 0.9f), plain(1, 1), plain(1, 1), plain(0.8f, 0.95f) };
    ways[2].min_p = 0.05f;
    ways[3].top_k = ways[4].top_k = 40;
    set_up(N, NULL, 0);
    uint64_t rng = 11;
    for (int kind = 0; kind < 3; kind++) {
        random_logits(session.logits, N, kind == 0 ? 3 : kind == 1 ? 3.5f : 0.1f, &rng);
        for (int i = 0; i < 30 && kind == 0; i++) session.logits[(int)(pith_random(&rng) * N)] = 10 + 10 * pith_random(&rng);
        for (int k = 0; k < 5; k++) {
            double least = 1e9;
            for (int i = 0; i < DRAWS; i++) {
                clock_t start = clock();
                pith_sample(&session, &ways[k], &rng);
                least = fmin(least, 1e3 * (double)(clock() - start) / CLOCKS_PER_SEC);
            }
            printf("# %s logits, %s: %.2f ms a token\n", kind == 0 ? "peaked" : kind == 1 ? "flat" : "even", names[k],
                   least);
            CHECK(least < 1000); /* with qsort about 15 without a sanitizer; this is at most 4 */
        }
    }
}

int main(void) {
    RUN(same_generator_as_llama2c);
    RUN(same_tokens_as_llama2c);
    RUN(greedy_takes_the_first_of_the_largest_and_no_coin);
    RUN(bias_comes_first_and_ignores_tokens_that_are_not);
    RUN(penalties_count_in_their_window);
    RUN(top_k_keeps_k_and_their_proportions);
    RUN(top_p_after_top_k_sees_what_top_k_left);
    RUN(min_p_is_relative_to_the_likeliest);
    RUN(of_equals_the_lowest_tokens_are_kept);
    RUN(nan_is_the_least_likely);
    RUN(near_zero_is_greedy);
    RUN(only_what_is_allowed_comes);
    RUN(rounding_gives_no_token_that_cannot_come);
    RUN(any_seed_draws);
    RUN(zero_is_off);
    RUN(a_model_recommends);
    RUN(any_logits_give_a_token_in_range);
    RUN(odds_are_nearly_those_of_the_libm);
    RUN(odds_add_up_as_if_one_by_one);
    RUN(a_large_vocabulary_is_not_sorted);
    set_up(1, NULL, 0);
    return DONE();
}
