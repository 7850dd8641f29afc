/* t_golden.c - every family of models, in shapes and with settings that no shared fixture has,
 * against scripts/reference.py: the same random weights, through numpy in float64. */
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>
#include <time.h>

#include "golden_families.h"

enum { N = GOLDEN_TOKENS };

static pith_model *open_gguf(const bytes *b, const char *name, int code) {
    static const pith_options one_thread = { .n_threads = 1 };
    pith_error e = { 0, "" };
    pith_model *m = pith_open_memory(b->p, b->n, &one_thread, &e);
    if (e.code != code || !m != (code != 0))
        FAIL("%s: code %d, want %d: %s", name, e.code, code, e.text);
    return m;
}

static void tokens_of(int n_vocab, pith_token *t) {
    for (int i = 0; i < N; i++) t[i] = (7 + 31 * i + 13 * i * i) % n_vocab;
}

/* Logits (N, n_vocab) of at_once tokens a call, of which n_batch go through the layers together. n_text: how
 * long the text is said to be. */
static float *logits_of(const pith_model *m, int at_once, int n_batch, int n_text) {
    pith_error e = { 0, "" };
    pith_context c = { .n_ctx = 0, .n_batch = n_batch, .cache_k = "f32", .cache_v = "f32" };
    pith_session *s = pith_session_new(m, &c, &e);
    int n_vocab = pith_model_shape(m)->n_vocab;
    float *y = calloc((size_t)N * (size_t)n_vocab, sizeof *y);
    pith_token t[N];
    tokens_of(n_vocab, t);
    for (int i = 0; s && y && i < N; i += at_once) {
        int n = N - i < at_once ? N - i : at_once;
        if (pith__eval_part(s, t + i, n, n_text, y + (size_t)i * (size_t)n_vocab, &e)) break;
    }
    if (e.code) FAIL("%s", e.text);
    pith_session_free(s);
    return y;
}

/* Relative, as lengths of vectors: of what was kept of the rows, and of all. */
static void compare(const struct golden *g, const pith_model *m, const float *y) {
    int n_vocab = pith_model_shape(m)->n_vocab;
    double d = 0, w = 0, all = 0, most = pith_model_shape(m)->n_layer > 40 ? 1e-5 : 2e-6;
    for (int t = 0; t < N; t++) {
        double x = y[t * n_vocab + (37 * t + 11) % n_vocab] - g->logits[t];
        d += x * x;
        w += g->logits[t] * g->logits[t];
    }
    for (int i = 0; i < N * n_vocab; i++) all += (double)y[i] * y[i];
    d = sqrt(d / w), all = sqrt(all);
    if (!(d <= most)) FAIL("%s: error %.3g, want %g", g->name, d, most);
    if (!(fabs(all / g->norm - 1) <= most)) FAIL("%s: norm %.9g, want %.9g", g->name, all, g->norm);
}

/* In one batch, one by one, and in batches for which the rings of windows hold just enough. Longrope: the
 * length of the whole text decides, whatever its parts. */
static void family(const struct golden *g) {
    static const int ways[][2] = { { N, 5 }, { N, 13 }, { 9, 9 }, { 1, 1 } };
    bytes b = fixture_gguf(g->keys, g->tensors, g->seed);
    pith_model *m = open_gguf(&b, g->name, PITH_OK);
    float *all = m ? logits_of(m, N, 0, 0) : NULL;
    if (all) compare(g, m, all);
    for (size_t i = 0; all && i < sizeof ways / sizeof *ways; i++) {
        size_t row = (size_t)pith_model_shape(m)->n_vocab * sizeof *all;
        float *y = logits_of(m, ways[i][0], ways[i][1], N);
        if (y && memcmp(all, y, N * row) != 0)
            FAIL("%s: %d at once, %d a batch: the bits differ", g->name, ways[i][0], ways[i][1]);
        free(y);
    }
    free(all);
    pith_close(m);
    free(b.p);
}

TEST(families) {
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) family(&goldens[i]);
}

static const struct golden *golden_named(const char *name) {
    const struct golden *g = goldens;
    while (strcmp(g->name, name) != 0) g++;
    return g;
}

/* phi3_short and phi3_long have the same weights; for phi3_long's short factors the last token is
 * one too many. Up to it, token by token, they are one model; with it, all of the text turns. */
TEST(longrope_turns_the_whole_text) {
    const struct golden *sg = golden_named("phi3_short"), *lg = golden_named("phi3_long");
    bytes sb = fixture_gguf(sg->keys, sg->tensors, sg->seed);
    bytes lb = fixture_gguf(lg->keys, lg->tensors, lg->seed);
    pith_model *sm = open_gguf(&sb, sg->name, 0), *lm = open_gguf(&lb, lg->name, 0);
    REQUIRE(sm && lm);
    size_t row = (size_t)pith_model_shape(lm)->n_vocab;
    float *near = logits_of(sm, N, 0, 0), *far = logits_of(lm, N, 0, 0), *one = logits_of(lm, 1, 1, 0);
    CHECK(memcmp(one, near, (N - 1) * row * sizeof *one) == 0);
    CHECK(memcmp(one + (N - 1) * row, far + (N - 1) * row, row * sizeof *one) == 0);

    pith_token t[N];
    pith_context c = { .n_ctx = 0, .n_batch = 7, .cache_k = "f32", .cache_v = "f32" };
    tokens_of((int)row, t);
    pith_session *s = pith_session_new(lm, &c, NULL);
    EQ(pith_sync(s, t, N, NULL), PITH_OK);
    CHECK(memcmp(pith_logits(s), far + (N - 1) * row, row * sizeof *far) == 0);
    EQ(pith_sync(s, t, 20, NULL), PITH_OK); /* back to a short text, and over the limit again */
    CHECK(memcmp(pith_logits(s), near + 19 * row, row * sizeof *far) == 0);
    EQ(pith_position(s), 20);
    EQ(pith_eval(s, t + 20, N - 20, NULL), PITH_OK);
    CHECK(memcmp(pith_logits(s), far + (N - 1) * row, row * sizeof *far) == 0);
    pith_session_free(s);
    free(near), free(far), free(one);
    pith_close(sm), pith_close(lm);
    free(sb.p), free(lb.p);
}

/* ---- the same model, said otherwise ---------------------------------------------------------- */

static const char *with(const char *keys, const char *more) {
    static char text[4096];
    snprintf(text, sizeof text, "%s; %s", keys, more);
    return text;
}

/* text without the line that begins with name */
static const char *without(const char *text, const char *name) {
    static char less[4096];
    const char *from = strstr(text, name), *to = from ? strchr(from, ';') : NULL;
    snprintf(less, sizeof less, "%.*s%s", from ? (int)(from - text) : 0, text, to ? to + 1 : "");
    return less;
}

/* The model of keys computes what the golden says. */
static void same(const char *name, const char *keys) {
    const struct golden *g = golden_named(name);
    bytes b = fixture_gguf(keys, g->tensors, g->seed);
    pith_model *m = open_gguf(&b, name, PITH_OK);
    float *y = m ? logits_of(m, N, 0, 0) : NULL;
    if (y) compare(g, m, y);
    free(y);
    pith_close(m);
    free(b.p);
}

TEST(sizes_layer_by_layer) {
    const char *keys = golden_named("llama_wide")->keys;
    keys = with(without(keys, "llama.attention.head_count "), "llama.attention.head_count [5,5,5]");
    same("llama_wide", keys);
    keys = with(without(keys, "llama.feed_forward_length"),
                "llama.feed_forward_length [100,100,100]");
    same("llama_wide", keys);
    keys = with(without(keys, "llama.attention.head_count_kv"),
                "llama.attention.head_count_kv [1,1,1]");
    same("llama_wide", keys);
}

TEST(where_all_layers_have_experts_no_other_width_is_said) { /* as llama.cpp writes Qwen3.5 MoE */
    same("qwen3moe", without(golden_named("qwen3moe")->keys, "qwen3moe.feed_forward_length"));
}

TEST(a_factor_alone_is_linear) {
    same("llama_linear", without(golden_named("llama_linear")->keys, "llama.rope.scaling.type"));
    const char *old = with(without(golden_named("llama_linear")->keys, "llama.rope.scaling.factor"),
                           "llama.rope.scale_linear 4.0");
    same("llama_linear", without(old, "llama.rope.scaling.type"));
}

TEST(nothing_said_as_zero) {
    same("llama", with(golden_named("llama")->keys,
                       "llama.rope.scaling.factor 0.0; llama.attention.scale 0.0; "
                       "llama.logit_scale 0.0; llama.residual_scale 0.0; "
                       "llama.embedding_scale 0.0"));
}

static void refused(const char *keys, int code) {
    const struct golden *g = golden_named("llama");
    bytes b = fixture_gguf(keys, g->tensors, g->seed);
    pith_close(open_gguf(&b, keys, code));
    free(b.p);
}

TEST(what_cannot_run_is_refused) {
    static const char *const kv_heads[] = { "[3,1,3]", "[3,3]", "[true,true,true]", "true", "[]" };
    const char *keys = golden_named("llama")->keys;
    for (size_t i = 0; i < sizeof kv_heads / sizeof *kv_heads; i++) {
        char key[64];
        snprintf(key, sizeof key, "llama.attention.head_count_kv %s", kv_heads[i]);
        refused(with(without(keys, "llama.attention.head_count_kv"), key), PITH_EFORMAT);
    }
    refused(without(keys, "llama.attention.layer_norm_rms_epsilon"), PITH_EFORMAT);
    refused(with(keys, "llama.rope.scaling.type dynamic"), PITH_EARCH);
    refused(with(keys, "llama.attention.value_length 20"), PITH_EFORMAT);
    refused(with(keys, "llama.rope.dimension_count 26"), PITH_EFORMAT);
    refused(with(keys, "llama.expert_count 2147483647; llama.expert_used_count 2147483647"), PITH_EFORMAT);
}

/* Sizes are held against the tensors before memory is taken for them: the second one would take 4 GB. */
TEST(sizes_of_no_tensor) {
    clock_t start = clock();
    refused(with(without(golden_named("llama")->keys, "llama.embedding_length"),
                 "llama.embedding_length 2147483640"), PITH_EFORMAT);
    refused(with(golden_named("llama")->keys, "llama.attention.key_length 2147483646"), PITH_EFORMAT);
    CHECK(clock() - start < CLOCKS_PER_SEC / 2);
    const struct golden *moe = golden_named("qwen3moe");
    same(moe->name, with(without(moe->keys, "qwen3moe.feed_forward_length"),
                         "qwen3moe.feed_forward_length 2147483647")); /* all layers have experts */
}

int main(void) {
    RUN(families);
    RUN(longrope_turns_the_whole_text);
    RUN(sizes_layer_by_layer);
    RUN(where_all_layers_have_experts_no_other_width_is_said);
    RUN(a_factor_alone_is_linear);
    RUN(nothing_said_as_zero);
    RUN(what_cannot_run_is_refused);
    RUN(sizes_of_no_tensor);
    return DONE();
}
