/* t_samplers.c - each stage of the sampler, and chains of them, against distributions that others computed: those of
 * tests/samplers.jsonl, and ../shared/chat/samplers.json. Then what a vocabulary, memory and chance are needed for. */
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>

enum { MOST = 64 };

static pith_model model;
static pith_pass pass;
static pith_session session;

static void set_up(int n_vocab) {
    static float logits[MOST], adjusted[MOST], probs[MOST];
    static int32_t order[3 * MOST];
    static pith_token tokens[MOST];
    model.hyper.n_vocab = n_vocab;
    pass.adjusted = adjusted, pass.probs = probs, pass.order = order;
    session = (pith_session){ .model = &model, .pass = &pass, .logits = logits, .tokens = tokens };
}

/* ---- vectors ------------------------------------------------------------------------------------ */

static int read_numbers(pith__json array, float *to) {
    pith__json v;
    double f = 0;
    int n = 0;
    while (n < MOST && pith__json_next(&array, NULL, &v)) {
        if (!pith__json_float(v, &f)) f = -INFINITY; /* null */
        to[n++] = (float)f;
    }
    return n;
}

static float number(pith__json params, const char *name, float otherwise) {
    double f;
    return pith__json_float(pith__json_get(params, name), &f) ? (float)f : otherwise;
}

typedef struct {
    const char *sampler, *order, *param; /* one stage alone, and its parameter */
    size_t field;
} single;
#define FIELD(f) offsetof(pith_sampling, f)

/* The fields of how by the names of a vector's parameters. */
static void set_how(const char *sampler, pith__json p, pith_sampling *how, pith_drawn *drawn, char *order) {
    static const single some[] = {
        { "top_p", "p", "p", FIELD(top_p) }, { "min_p", "m", "p", FIELD(min_p) }, { "typical_p", "y", "p", FIELD(typical_p) },
        { "top_n_sigma", "s", "n", FIELD(top_n_sigma) }, { "temperature", "t", "t", FIELD(temperature) },
        { "dynamic_temperature", "t", "t", FIELD(temperature) }, { "xtc", "x", "probability", FIELD(xtc_probability) },
        { "penalties", "e", "repeat", FIELD(repeat_penalty) }, { "dry", "d", "multiplier", FIELD(dry_multiplier) },
        { "adaptive_p", "a", "target", FIELD(adaptive_target) }, { "top_k", "k", NULL, 0 } };
    *how = (pith_sampling){ .temperature = 1, .order = order, .drawn = drawn };
    *order = 0;
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        if (strcmp(some[i].sampler, sampler)) continue;
        strcpy(order, some[i].order);
        if (some[i].param) *(float *)(void *)((char *)how + some[i].field) = number(p, some[i].param, 0);
    }
    how->top_k = (int)number(p, "k", 0);
    how->min_keep = (int)number(p, "min_keep", 0);
    how->dynatemp_range = number(p, "range", 0), how->dynatemp_exponent = number(p, "exponent", 1);
    how->xtc_threshold = number(p, "threshold", 0);
    how->repeat_last_n = how->dry_last_n = (int)number(p, "last_n", 0);
    how->frequency_penalty = number(p, "frequency", 0), how->presence_penalty = number(p, "presence", 0);
    how->dry_base = number(p, "base", 0), how->dry_allowed_length = (int)number(p, "allowed_length", 0);
    how->mirostat = !strcmp(sampler, "mirostat1") ? 1 : !strcmp(sampler, "mirostat2") ? 2 : 0;
    *drawn = (pith_drawn){ .n = 1, .mu = number(p, "mu", 0), .sum = number(p, "weighted_sum", 0),
                           .weight = number(p, "total_weight", 0) };
    how->adaptive_decay = 0.9f;
}

/* A chain's parameters are fields. */
static int set_chain(pith__json p, pith_sampling *how, char *order) {
    pith__arena a = { 0 };
    pith__str s = { "", 0 };
    pith_sampling d = PITH_SAMPLING_DEFAULT;
    pith__json_string(pith__json_get(p, "order"), &a, &s);
    char names[256];
    snprintf(names, sizeof names, "%.*s", (int)s.n, s.p);
    pith__arena_free(&a);
    *how = d;
    how->top_k = (int)number(p, "top_k", 0);
    how->repeat_last_n = (int)number(p, "repeat_last_n", d.repeat_last_n);
    how->dry_allowed_length = (int)number(p, "dry_allowed_length", d.dry_allowed_length);
    how->dry_last_n = -1;
#define SET(f, otherwise) how->f = number(p, #f, otherwise)
    SET(temperature, d.temperature), SET(top_p, 1), SET(min_p, 0), SET(typical_p, 1), SET(top_n_sigma, 0);
    SET(xtc_probability, 0), SET(xtc_threshold, d.xtc_threshold), SET(dynatemp_range, 0), SET(dynatemp_exponent, 1);
    SET(dry_multiplier, 0), SET(dry_base, d.dry_base), SET(repeat_penalty, 1), SET(frequency_penalty, 0);
    SET(presence_penalty, 0);
    how->order = s.n ? order : NULL;
    return pith_samplers(names, order, 16, NULL);
}

static int check_vector(pith__json v, int line) {
    pith__arena a = { 0 };
    pith__str s = { "", 0 };
    pith_sampling how;
    pith_drawn drawn;
    char name[32], order[16];
    float want[MOST], got[MOST], history[MOST];
    pith__json p = pith__json_get(v, "params");
    uint64_t rng = 1;
    pith__json_string(pith__json_get(v, "sampler"), &a, &s);
    snprintf(name, sizeof name, "%.*s", (int)s.n, s.p);
    pith__arena_free(&a);
    if (pith__json_get(p, "breaker_tokens").p) return 0; /* those need a vocabulary: below */
    set_how(name, p, &how, &drawn, order);
    if (!strcmp(name, "chain")) EQ(set_chain(p, &how, order), PITH_OK);
    else CHECK(*order || how.mirostat);
    set_up(read_numbers(pith__json_get(v, "probs_out"), want));
    read_numbers(pith__json_get(v, "logits"), session.logits);
    session.position = read_numbers(pith__json_get(v, "history"), history);
    for (int i = 0; i < session.position; i++) session.tokens[i] = (pith_token)history[i];
    int n = model.hyper.n_vocab, kept = 0, n_kept = pith_distribution(&session, &how, &rng, got);
    for (int i = 0; i < n; i++) {
        if (!(fabs((double)got[i] - want[i]) <= 1e-6) || (want[i] <= 0) != (got[i] <= 0))
            return FAIL("%s %d: token %d is %.9g, want %.9g", name, line, i, (double)got[i], (double)want[i]), 1;
        kept += got[i] > 0;
    }
    EQ(kept, n_kept);
    return 1;
}

TEST(distributions_of_the_tree) {
    pith__file file;
    pith__json v;
    int n = 0, line = 0;
    REQUIRE(!pith__file_open(&file, "tests/samplers.jsonl", 0, NULL));
    const char *p = (const char *)file.data, *end = p + file.size, *next;
    for (; p < end && (next = memchr(p, '\n', (size_t)(end - p))); p = next + 1) {
        REQUIRE(!pith__json_read(&v, p, (size_t)(next - p), "samplers.jsonl", NULL));
        n += check_vector(v, ++line);
    }
    EQ(n, 58);
    pith__file_close(&file);
}

TEST(distributions_of_llama_cpp) {
    const char *path = fixture_shared("chat/samplers.json");
    pith__file file;
    pith__json all, v;
    int n = 0, i = 0;
    if (!path) SKIP("no ../shared");
    REQUIRE(!pith__file_open(&file, path, 0, NULL));
    REQUIRE(!pith__json_read(&all, file.data, file.size, path, NULL));
    while (pith__json_next(&all, NULL, &v)) n += check_vector(v, i++);
    EQ(n, 129);
    pith__file_close(&file);
}

/* ---- DRY's breakers ------------------------------------------------------------------------------ */

enum { BYTE = 3 }; /* token BYTE + b of the fixture's vocabulary is byte b */

/* The logit that DRY leaves to the byte `then`, which had 0, behind a text of bytes. */
static float after_dry(pith_session *s, const char *text, char then, const char *const *breaker, int n_breaker) {
    pith_sampling how = PITH_SAMPLING_DEFAULT;
    static float p[FIXTURE_VOCAB];
    how.dry_multiplier = 1, how.dry_base = 2, how.dry_allowed_length = 2;
    how.dry_breaker = breaker, how.n_dry_breaker = n_breaker;
    uint64_t rng = 1;
    how.order = "d";
    s->position = (int)strlen(text);
    for (int i = 0; text[i]; i++) s->tokens[i] = BYTE + (unsigned char)text[i];
    for (int t = 0; t < FIXTURE_VOCAB; t++) s->logits[t] = 0;
    pith_distribution(s, &how, &rng, p);
    return s->pass->adjusted[BYTE + (unsigned char)then];
}

TEST(a_repetition_begins_anew_at_a_breaker) {
    static char path[] = "/tmp/t_samplers.XXXXXX";
    static const char *const newline[] = { "\n" }, *const word[] = { "x", "<br>" }, *const empty[] = { "", NULL };
    bytes v = fixture_tokenizer(), file = fixture_llama2c(&fixture_tiny, 0, 3);
    pith_error e = { 0, "" };
    pith_options opt = { .tokenizer = path };
    REQUIRE(mkstemp(path) >= 0 && !save(&v, path));
    pith_model *m = pith_open_memory(file.p, file.n, &opt, &e);
    remove(path);
    REQUIRE(m);
    pith_session *s = pith_session_new(m, NULL, &e);
    NEAR(after_dry(s, "abcd abc", 'd', NULL, 0), -2, 1e-6);
    NEAR(after_dry(s, "abcd abc", 'd', newline, 1), -2, 1e-6);
    NEAR(after_dry(s, "abcd abc", 'd', empty, 2), -2, 1e-6);
    NEAR(after_dry(s, "a\nbcd a\nbc", 'd', newline, 1), -1, 1e-6);       /* "bc", not "a\nbc" */
    NEAR(after_dry(s, "ab\ncd ab\nc", 'd', newline, 1), 0, 0);           /* "c" is shorter than allowed */
    NEAR(after_dry(s, "ab\n", 'x', newline, 1), 0, 0);
    NEAR(after_dry(s, "bc\n a bc", '\n', newline, 1), 0, 0);             /* a breaker is never made less likely */
    NEAR(after_dry(s, "bc\n a bc", '\n', NULL, 0), -1, 1e-6);
    NEAR(after_dry(s, "a<br>bcd a<br>bc", 'd', word, 2), -1, 1e-6);      /* over four tokens */
    NEAR(after_dry(s, "a<br bcd a<br bc", 'd', word, 2), -32, 1e-5);     /* seven tokens are the same */
    NEAR(after_dry(s, "br>bcd br>bc", 'd', word, 2), -8, 1e-6);
    pith_session_free(s);
    pith_close(m);
    free(v.p);
    free(file.p);
}

/* ---- chance and memory ------------------------------------------------------------------------- */

static void set_logits(const float *x, int n) {
    set_up(n);
    memcpy(session.logits, x, (size_t)n * sizeof *x);
}

TEST(xtc_comes_as_often_as_it_is_told) {
    const float x[] = { 3, 2.5f, 2, -3 };
    pith_sampling how = PITH_SAMPLING_DEFAULT;
    float p[4];
    uint64_t rng = 3;
    int excluded = 0;
    how.xtc_probability = 0.3f;
    set_logits(x, 4);
    for (int i = 0; i < 2000; i++) excluded += pith_distribution(&session, &how, &rng, p) == 1 && p[2] > 0.9f;
    CHECK(excluded > 540 && excluded < 660);
}

TEST(mirostat_holds_the_surprise) {
    float x[50];
    for (int version = 1; version <= 2; version++)
        for (float tau = 1; tau <= 3; tau++) {
            pith_sampling how = PITH_SAMPLING_DEFAULT;
            pith_drawn drawn = { 0, 0, 0, 0 };
            uint64_t rng = 5;
            double sum = 0;
            float p[50];
            how.temperature = 1, how.mirostat = version, how.mirostat_tau = tau, how.drawn = &drawn;
            for (int i = 0; i < 50; i++) x[i] = -1.2f * logf((float)i + 1);
            set_logits(x, 50);
            for (int i = 0; i < 3000; i++) {
                uint64_t same = rng;
                pith_distribution(&session, &how, &same, p);
                pith_token t = pith_sample(&session, &how, &rng);
                sum -= log2((double)p[t]);
            }
            EQ(drawn.n, 3000);
            NEAR(sum / 3000, tau, 0.1);
        }
}

TEST(adaptive_p_holds_the_probability) {
    float x[20], p[20], first[20];
    pith_sampling how = PITH_SAMPLING_DEFAULT, plain = { .temperature = 1 };
    pith_drawn drawn = { 0, 0, 0, 0 };
    uint64_t rng = 5;
    double sum = 0, without = 0;
    how.order = "a", how.adaptive_target = 0.2f, how.drawn = &drawn;
    for (int i = 0; i < 20; i++) x[i] = -0.7f * (float)i;
    set_logits(x, 20);
    pith_distribution(&session, &plain, &rng, p);
    pith_distribution(&session, &how, &rng, first);
    double d = (p[0] - 0.2) / 0.3, e = (0.2 - p[5]) / 0.3;
    NEAR(first[5] / first[0], exp(-10 * e * e / (1 + e) + 10 * d * d / (1 + d)), 1e-3);
    for (int i = 0; i < 1000; i++) sum += (double)p[pith_sample(&session, &how, &rng)];
    CHECK(drawn.n == 1000 && drawn.weight > 9.9f && drawn.weight < 10.1f);
    how.drawn = NULL;
    for (int i = 0; i < 1000; i++) without += (double)p[pith_sample(&session, &how, &rng)];
    CHECK(fabs(sum / 1000 - 0.2) < 0.7 * fabs(without / 1000 - 0.2)); /* it comes nearer, as far as it may */
}

TEST(samplers_have_names) {
    char order[12];
    pith_error e = { 0, "" };
    EQ(pith_samplers("penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature", order, 12, &e), PITH_OK);
    CHECK(!strcmp(order, "edskypmxt"));
    EQ(pith_samplers("top-k;topp;nucleus;temp;typical_p;adaptive-p", order, 12, &e), PITH_OK);
    CHECK(!strcmp(order, "kpptya"));
    EQ(pith_samplers("", order, 12, &e), PITH_OK);
    CHECK(!*order);
    EQ(pith_samplers("top_k;tail_free", order, 12, &e), PITH_EARG);
    CHECK(strstr(e.text, "'tail_free'") && strstr(e.text, "top_n_sigma"));
    EQ(pith_samplers("top_k;;top_p", order, 12, &e), PITH_EARG);
    EQ(pith_samplers("xtc;xtc;xtc;xtc;xtc;xtc;xtc;xtc;xtc;xtc;xtc", order, 12, &e), PITH_OK);
    EQ(pith_samplers("xtc;xtc;xtc;xtc;xtc;xtc;xtc;xtc;xtc;xtc;xtc;xtc", order, 12, &e), PITH_EARG);
}

TEST(stages_that_are_not_named_do_nothing) {
    const float x[] = { 3, 2.5f, 2, -3 };
    pith_sampling how = PITH_SAMPLING_DEFAULT;
    float p[4];
    uint64_t rng = 3;
    set_logits(x, 4);
    how.xtc_probability = 1, how.top_k = 1, how.temperature = 0.1f;
    how.order = "?";
    EQ(pith_distribution(&session, &how, &rng, p), 4);
    NEAR(p[0] / p[1], exp(0.5), 1e-5);
    EQ((long long)rng, 3);
    how.temperature = 0; /* nor makes it greedy */
    int seen[4] = { 0, 0, 0, 0 };
    for (int i = 0; i < 200; i++) seen[pith_sample(&session, &how, &rng)]++;
    CHECK(seen[0] > 60 && seen[1] > 30 && seen[2] > 15);
}

/* ---- what must never happen ---------------------------------------------------------------------- */

TEST(any_numbers_give_a_token_in_range) {
    static const float odd[] = { NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 0, 1, 1e-45f, -1, 0.5f };
    static const char *const orders[] = { NULL, "edskypmxt", "txmpyksde", "tttaxxyy", "yyxx", "a", "mpa", "" };
    uint64_t rng = 3;
    for (int i = 0; i < 40000; i++) {
        int n = 1 + i % 19;
        set_up(n);
#define ODD() odd[(int)(pith_random(&rng) * 10)]
        for (int t = 0; t < n; t++) session.logits[t] = ODD();
        session.position = i % 23;
        for (int u = 0; u < session.position; u++) session.tokens[u] = u * u % n;
        pith_drawn drawn = { i % 3, ODD(), ODD(), ODD() };
        pith_sampling how = { .temperature = ODD(), .top_k = (int)(pith_random(&rng) * 6) - 1, .top_p = ODD(), .min_p = ODD(),
            .repeat_last_n = -1, .repeat_penalty = ODD(), .frequency_penalty = ODD(), .order = orders[i % 8],
            .min_keep = i % 4 - 1, .typical_p = ODD(), .top_n_sigma = ODD(), .xtc_probability = ODD(), .xtc_threshold = ODD(),
            .dynatemp_range = ODD(), .dynatemp_exponent = ODD(), .dry_multiplier = ODD(), .dry_base = ODD(),
            .dry_allowed_length = i % 5 - 1, .dry_last_n = -1, .mirostat = i % 11 == 0 ? i % 4 : 0, .mirostat_tau = ODD(),
            .mirostat_eta = ODD(), .adaptive_target = ODD(), .adaptive_decay = ODD(), .drawn = i % 2 ? &drawn : NULL };
        pith_token t = pith_sample(&session, &how, &rng);
        if (t < 0 || t >= n) FAIL("%d: token %d of %d", i, (int)t, n);
        float p[MOST];
        pith_distribution(&session, &how, &rng, p);
        for (int u = 0; u < n; u++)
            if (!(p[u] >= 0 && p[u] <= 1)) FAIL("%d: p[%d] is %g", i, u, (double)p[u]);
        if (t_bad) return;
    }
}

int main(void) {
    RUN(distributions_of_the_tree);
    RUN(distributions_of_llama_cpp);
    RUN(a_repetition_begins_anew_at_a_breaker);
    RUN(xtc_comes_as_often_as_it_is_told);
    RUN(mirostat_holds_the_surprise);
    RUN(adaptive_p_holds_the_probability);
    RUN(samplers_have_names);
    RUN(stages_that_are_not_named_do_nothing);
    RUN(any_numbers_give_a_token_in_range);
    return DONE();
}
