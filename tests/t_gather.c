/* t_gather.c - q and k of a folder in GGUF's order: the same bits of logits, and the weights of the GGUF file. */
#define _POSIX_C_SOURCE 200809L
#include "../train/train.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "golden_folders.h"

enum { N = GOLDEN_TOKENS };

static char folder[64];
static pith_error error;

static const char *in_folder(const char *name) {
    static char path[2][200];
    static int turn;
    char *p = path[turn++ % 2];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static pith_model *open_made(const char *path) {
    pith_model *m = pith_open(path, &(pith_options){ .n_threads = 1 }, &error);
    if (!m) FAIL("%s", error.text);
    return m;
}

static pith_model *open_golden(const struct golden_folder *g) {
    bytes b = fixture_safetensors(g->tensors, GOLDEN_SEED);
    if (save(&b, in_folder("model.safetensors"))) exit(99);
    free(b.p);
    FILE *f = fopen(in_folder("config.json"), "wb");
    for (const char *p = g->config; f && *p; p++) fputc(*p == '\'' ? '"' : *p, f);
    if (!f || fclose(f)) exit(99);
    return open_made(folder);
}

static float *logits_of(const pith_model *m) {
    pith_session *s = pith_session_new(m, &(pith_context){ .cache_k = "f32", .cache_v = "f32" }, &error);
    float *y = calloc((size_t)N * (size_t)m->hyper.n_vocab, sizeof *y);
    pith_token t[N];
    for (int i = 0; i < N; i++) t[i] = (7 + 31 * i + 13 * i * i) % m->hyper.n_vocab;
    if (!s || pith__eval_all(s, t, N, y, &error)) FAIL("%s", error.text);
    pith_session_free(s);
    return y;
}

TEST(the_same_bits) {
    int n_gathered = 0;
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        pith_model *m = open_golden(&goldens[i]);
        REQUIRE(m);
        float *y = logits_of(m);
        n_gathered += m->hyper.rope_gather;
        EQ(pith__gather(m, &error), PITH_OK);
        EQ(m->hyper.rope_gather, 0);
        float *z = logits_of(m);
        if (memcmp(y, z, (size_t)N * (size_t)m->hyper.n_vocab * sizeof *y)) FAIL("%s", goldens[i].name);
        free(z);
        EQ(pith__merge_gguf(&(pith__merge){ .m = m }, in_folder("out.gguf"), &error), PITH_OK);
        pith_model *out = open_made(in_folder("out.gguf"));
        z = logits_of(out);
        if (memcmp(y, z, (size_t)N * (size_t)m->hyper.n_vocab * sizeof *y)) FAIL("%s, written", goldens[i].name);
        free(y), free(z);
        pith_close(out);
        unlink(in_folder("out.gguf"));
        pith_close(m);
    }
    CHECK(n_gathered > 3);
}

TEST(the_weights_of_the_gguf_file) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    pith_model *m = open_made(fixture_shared("tuning/llama/base")), *gguf = open_made(fixture_shared("tuning/llama/base.gguf"));
    REQUIRE(m && gguf);
    EQ(pith__gather(m, &error), PITH_OK);
    for (int l = 0; l < m->hyper.n_layer; l++) {
        const pith__weight *w[] = { &m->layer[l].q, &m->layer[l].k, &gguf->layer[l].q, &gguf->layer[l].k };
        for (int i = 0; i < 2; i++) CHECK(!memcmp(w[i]->tensor.data, w[i + 2]->tensor.data, pith__tensor_bytes(&w[i]->tensor)));
    }
    pith_adapter *a = pith_adapter_open(m, fixture_shared("tuning/llama/lora/a1"), &error);
    pith_adapter *b = pith_adapter_open(gguf, fixture_shared("tuning/llama/lora/a1"), &error);
    REQUIRE(a && b);
    const pith__pair *p = a->pair + m->layer->q.index, *q = b->pair + gguf->layer->q.index;
    CHECK(!memcmp(p->b, q->b, (size_t)p->r * m->layer->q.tensor.rows * sizeof *p->b));
    pith_adapter_close(a), pith_adapter_close(b);
    pith_close(m), pith_close(gguf);
}

int main(void) {
    strcpy(folder, "/tmp/pith-gather-XXXXXX");
    if (!mkdtemp(folder)) exit(99);
    RUN(the_same_bits);
    RUN(the_weights_of_the_gguf_file);
    pith__remove_named(folder, "", "");
    rmdir(folder);
    return DONE();
}
