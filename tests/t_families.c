/* t_families.c - every family of models against logits that others computed (../shared/fixtures): the same
 * random weights as a GGUF file and as a Hugging Face folder. */
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>

enum { MOST = 64 };

static int read_tokens(const char *path, pith_token *t) {
    int n = 0;
    FILE *f = path ? fopen(path, "r") : NULL;
    while (f && n < MOST && fscanf(f, "%d%*[, \n]", &t[n]) >= 1) n++;
    if (f) fclose(f);
    return n;
}

static float *read_floats(const char *path, size_t n) {
    FILE *f = path ? fopen(path, "rb") : NULL;
    float *y = malloc(n * sizeof *y);
    if (!f || !y || fread(y, sizeof *y, n, f) != n) FAIL("%s has not %zu numbers", path, n);
    if (f) fclose(f);
    return y;
}

static const char *fixture(const char *format, const char *name) {
    char path[128];
    snprintf(path, sizeof path, format, name);
    return fixture_shared(path);
}

/* Logits (n, n_vocab) with this cache; NULL and a failure when the model does not open. */
static float *logits_of(const char *path, const pith_token *t, int n, const char *cache, int n_batch,
                        int *n_vocab) {
    pith_error e = { 0, "" };
    pith_context c = { .n_ctx = MOST, .n_batch = n_batch, .cache_k = cache, .cache_v = cache };
    pith_model *m = pith_open(path, NULL, &e);
    pith_session *s = m ? pith_session_new(m, &c, &e) : NULL;
    float *y = NULL;
    if (s) {
        *n_vocab = m->hyper.n_vocab;
        y = malloc((size_t)n * (size_t)*n_vocab * sizeof *y);
        if (y && pith__eval_all(s, t, n, y, &e)) FAIL("%s", e.text);
    } else {
        FAIL("%s", e.text);
    }
    pith_session_free(s);
    pith_close(m);
    return y;
}

static double distance(const float *got, const float *want, size_t n) { /* relative L2 */
    double d = 0, w = 0;
    for (size_t i = 0; i < n; i++) {
        d += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        w += (double)want[i] * want[i];
    }
    return sqrt(d / w);
}

static void family(const char *name) {
    char gguf[512], folder[512];
    pith_token t[MOST];
    if (!fixture("fixtures/%s.gguf", name)) SKIP("no ../shared");
    snprintf(gguf, sizeof gguf, "%s", fixture("fixtures/%s.gguf", name));
    snprintf(folder, sizeof folder, "%s", fixture("fixtures/%s-hf", name));
    int n = read_tokens(fixture("fixtures/%s.ids", name), t), n_vocab = 0;
    EQ(n, 40);
    float *f32 = logits_of(gguf, t, n, "f32", 0, &n_vocab);
    float *one = logits_of(gguf, t, n, "f32", 1, &n_vocab);
    float *f16 = logits_of(gguf, t, n, NULL, 7, &n_vocab);
    float *hf = logits_of(folder, t, n, "f32", 0, &n_vocab);
    size_t size = (size_t)n * (size_t)n_vocab;
    float *want = read_floats(fixture("fixtures/%s.logits", name), size);
    if (f32 && one && f16 && want && hf) {
        NEAR(distance(f32, want, size), 0, 5e-6);
        NEAR(distance(f16, want, size), 0, 1e-3);
        NEAR(distance(hf, want, size), 0, 5e-6);
        CHECK(memcmp(f32, one, size * sizeof *f32) == 0);
    }
    free(f32), free(one), free(f16), free(hf), free(want);
}

TEST(llama) { family("llama"); }
TEST(llama3) { family("llama3"); }
TEST(mistral) { family("mistral"); }
TEST(qwen2) { family("qwen2"); }
TEST(qwen3) { family("qwen3"); }
TEST(qwen3moe) { family("qwen3moe"); }
TEST(gemma) { family("gemma"); }
TEST(gemma2) { family("gemma2"); }
TEST(gemma3) { family("gemma3"); }
TEST(phi3) { family("phi3"); }

/* Against the exact weights that the blocks stand for: what is lost is the rounding of the inputs. */
static void quantised(const char *name, double most) {
    pith_token t[MOST];
    char gguf[512];
    if (!fixture("fixtures/quant/%s.gguf", name)) SKIP("no ../shared");
    snprintf(gguf, sizeof gguf, "%s", fixture("fixtures/quant/%s.gguf", name));
    int n = read_tokens(fixture_shared("fixtures/quant/mistral.ids"), t), n_vocab = 0;
    float *got = logits_of(gguf, t, n, "f32", 0, &n_vocab), *one = logits_of(gguf, t, n, "f32", 1, &n_vocab);
    size_t size = (size_t)n * (size_t)n_vocab;
    float *want = read_floats(fixture("fixtures/quant/%s.logits", name), size);
    if (got && one && want) {
        NEAR(distance(got, want, size), 0, most);
        CHECK(memcmp(got, one, size * sizeof *got) == 0);
    }
    free(got), free(one), free(want);
}

TEST(q8_0) { quantised("mistral-Q8_0", 1.45e-2); }
TEST(q4_k_m) { quantised("mistral-Q4_K_M", 1.45e-2); }
TEST(q6_k) { quantised("mistral-Q6_K", 1.45e-2); }

TEST(gguf_equals_llama2c) {
    char gguf[512];
    const char *path = fixture_shared("data/gguf/stories260K.gguf");
    if (!path) SKIP("no ../shared");
    snprintf(gguf, sizeof gguf, "%s", path);
    pith_token t[MOST];
    int a_vocab = 0, b_vocab = 0;
    for (int i = 0; i < MOST; i++) t[i] = i * 37 % 512;
    float *a = logits_of(gguf, t, MOST, "f32", 0, &a_vocab);
    float *b = logits_of(fixture_shared("data/llama2c/stories260K.bin"), t, MOST, "f32", 0, &b_vocab);
    EQ(a_vocab, b_vocab);
    if (a && b) CHECK(memcmp(a, b, sizeof *a * MOST * (size_t)a_vocab) == 0);
    free(a), free(b);
}

int main(void) {
    RUN(llama);
    RUN(llama3);
    RUN(mistral);
    RUN(qwen2);
    RUN(qwen3);
    RUN(qwen3moe);
    RUN(gemma);
    RUN(gemma2);
    RUN(gemma3);
    RUN(phi3);
    RUN(q8_0);
    RUN(q4_k_m);
    RUN(q6_k);
    RUN(gguf_equals_llama2c);
    return DONE();
}
