/* t_sampler.c - the sampler against llama2.c's rules written out plainly, and each filter alone. */
#include "../internal.h"
#include "test.h"

#include <stdlib.h>
#include <time.h>

static pith_model model;
static pith_session session;

static void set_up(int n_vocab, const pith_token *tokens, int n) {
    free(session.logits);
    free(session.probs);
    free(session.order);
    free(session.tokens);
    memset(&session, 0, sizeof session);
    model.hyper.n_vocab = n_vocab;
    session.model = &model;
    session.logits = calloc((size_t)n_vocab, sizeof(float));
    session.probs = calloc((size_t)n_vocab, sizeof(float));
    session.order = calloc((size_t)n_vocab, sizeof(int32_t));
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
        for (int j = 0; j < 6; j++) sum += pith__random(rng) - 0.5f;
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
        float x = pith__random(&a), y = coin_of(&b);
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
                float temperature = 0.3f + pith__random(&rng);
                random_logits(session.logits, sizes[k], 3.0f + (float)i, &rng);
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
    NEAR(session.probs[0], 4 / 2.0 - 0.25 - 0.5, 1e-6);
    NEAR(session.probs[1], 4 / 2.0 - 2 * 0.25 - 0.5, 1e-6);
    NEAR(session.probs[2], -4 * 2.0 - 3 * 0.25 - 0.5, 1e-6);
    NEAR(session.probs[3], 1, 0);
    how.repeat_last_n = 4; /* 1 2 2 2 */
    pith_sample(&session, &how, &rng);
    NEAR(session.probs[0], 4, 0);
    NEAR(session.probs[1], 4 / 2.0 - 0.25 - 0.5, 1e-6);
    how.repeat_last_n = 0;
    pith_sample(&session, &how, &rng);
    for (int i = 0; i < 4; i++) NEAR(session.probs[i], x[i], 0);
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

/* ---- what must never happen ------------------------------------------------------------------ */

TEST(any_logits_give_a_token_in_range) {
    static const float odd[] = { NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 0, 1, 1e-45f };
    static const float temperatures[] = { 0, 1e-45f, 1, 1e30f, INFINITY, NAN, -1 };
    uint64_t rng = 3;
    for (int n = 1; n < 20; n++) {
        set_up(n, NULL, 0);
        for (int i = 0; i < 700; i++) {
            for (int t = 0; t < n; t++) session.logits[t] = odd[(int)(pith__random(&rng) * 8)];
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

TEST(a_large_vocabulary_is_not_sorted) {
    int n = 150000;
    set_up(n, NULL, 0);
    uint64_t rng = 11;
    random_logits(session.logits, n, 20, &rng); /* about what a language model gives */
    pith_sampling ways[3] = { plain(1, 0.9f), plain(0.8f, 0.95f), plain(1, 1) };
    ways[1].top_k = 40;
    for (int k = 0; k < 3; k++) {
        clock_t start = clock();
        for (int i = 0; i < 20; i++) pith_sample(&session, &ways[k], &rng);
        double ms = 1e3 * (double)(clock() - start) / CLOCKS_PER_SEC / 20;
        printf("# way %d: %.3f ms a token\n", k, ms);
        CHECK(ms < 1000); /* sorting takes about 15 without a sanitizer; this is about 1 */
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
    RUN(any_logits_give_a_token_in_range);
    RUN(a_large_vocabulary_is_not_sorted);
    set_up(1, NULL, 0);
    return DONE();
}
