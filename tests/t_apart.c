/* t_apart.c - how far the weights of two models are apart: the same weights in a folder and in a GGUF file, made by
 * others, are not; a number that was changed shows where it is. */
#define _POSIX_C_SOURCE 200809L
#include "../train/train.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>

static pith_error e;

static pith_model *open_shared(const char *family, const char *end) {
    char name[64];
    snprintf(name, sizeof name, "fixtures/%s%s", family, end);
    pith_model *m = pith_open(fixture_shared(name), NULL, &e);
    if (!m) FAIL("%s", e.text);
    return m;
}

/* q and k in two orders, norms as w and as 1 + w, fused matrices, experts alone and in a stack. */
TEST(a_folder_and_its_gguf_are_one) {
    static const char *const family[] = { "llama", "llama3", "mistral", "phi3", "gemma", "gemma3", "qwen2", "qwen3moe" };
    if (!fixture_shared("fixtures/README.md")) SKIP("no ../shared/fixtures");
    for (size_t i = 0; i < sizeof family / sizeof *family; i++) {
        pith_model *a = open_shared(family[i], "-hf"), *b = open_shared(family[i], ".gguf");
        REQUIRE(a && b);
        pith__apart *to = calloc((size_t)a->n_weight, sizeof *to);
        size_t n = 0, numbers = 0, other;
        REQUIRE(to);
        EQ(pith__weights_apart(a, b, to, &n, &e), PITH_OK);
        CHECK(n > 10);
        for (size_t k = 0; k < n; k++) {
            if (!(to[k].difference == 0 && to[k].square > 0)) FAIL("%s: %s %g", family[i], to[k].name, to[k].difference);
            if (!pith__store_tensor(&b->store, to[k].name)) FAIL("%s: no tensor %s", family[i], to[k].name);
            numbers += to[k].n;
        }
        for (size_t k = 0; k < b->store.n_tensor; k++) { /* factors of the rotation are no weights */
            const pith__tensor *t = &b->store.tensor[k];
            if (memcmp(t->name.p, "rope_", 5)) numbers -= t->rows * t->cols;
        }
        EQ(numbers, 0);
        pith_model *c = open_shared(i < 7 ? "qwen3moe" : "llama", ".gguf");
        EQ(pith__weights_apart(a, c, to, &other, &e), PITH_OK);
        EQ(other, 0);
        free(to);
        pith_close(a), pith_close(b), pith_close(c);
    }
}

TEST(what_was_changed_shows) {
    bytes b = fixture_llama2c(&fixture_tiny, 1, 3), c = fixture_llama2c(&fixture_tiny, 1, 3);
    for (size_t t = 1; t < 4; t++) {
        float x;
        const size_t at = 256 + (b.n - 256) / 4 * t / 4 * 4; /* somewhere behind the header */
        memcpy(&x, c.p + at, sizeof x);
        x += 0.25f;
        memcpy(c.p + at, &x, sizeof x);
    }
    for (int threads = 1; threads < 4; threads++) {
        pith_options o = { .n_threads = threads };
        pith_model *m = pith_open_memory(b.p, b.n, &o, &e), *n = pith_open_memory(c.p, c.n, &o, &e);
        REQUIRE(m && n);
        pith__apart *to = calloc((size_t)m->n_weight, sizeof *to);
        size_t count;
        double sum = 0;
        int touched = 0;
        REQUIRE(to);
        EQ(pith__weights_apart(m, n, to, &count, &e), PITH_OK);
        for (size_t k = 0; k < count; k++) sum += to[k].difference, touched += to[k].difference > 0;
        NEAR(sum, 3 * 0.25 * 0.25, 1e-6);
        EQ(touched, 3);
        free(to);
        pith_close(m), pith_close(n);
    }
    free(b.p), free(c.p);
}

int main(void) {
    RUN(a_folder_and_its_gguf_are_one);
    RUN(what_was_changed_shows);
    return DONE();
}
