/* t_elders_learn.c - GPT-2 and GPT-NeoX learn as with torch: all weights, and a LoRA that a PEFT folder brings, over their
 * Hugging Face folders and GGUF files (../shared/encoders). Their matrices lie transposed there, or head by head. */
#define _XOPEN_SOURCE 700
#include "../train/train.h"
#include "elders_losses.h"
#include "fixture.h"
#include "known_adapter.h"
#include "test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { N = 24, STEPS = 5, RANK = 3 };

static const char *const gpt2[] = { "c_attn", "c_proj", "c_fc" };
static const char *const neox[] = { "query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h" };
static char folder[] = "/tmp/pith-elders-XXXXXX";

static const char *base_of(const char *name, const char *form) {
    char path[64];
    snprintf(path, sizeof path, "encoders/%s%s", name, form);
    return fixture_shared(path);
}

static pith_adapter *new_adapter(const pith_model *m) {
    int is_gpt2 = !strcmp(m->hyper.arch, "gpt2");
    pith__lora_plan plan = { .r = RANK, .alpha = 2 * RANK, .target = is_gpt2 ? gpt2 : neox, .n_target = is_gpt2 ? 3 : 4, .seed = 1 };
    pith_error e = { 0, "" };
    pith_adapter *a = pith__adapter_new(m, &plan, &e);
    if (!a) FAIL("%s", e.text);
    return a;
}

static void learns_as_with_torch(size_t i, const char *form, int keep) {
    pith_error e = { 0, "" };
    pith__params p;
    pith_token t[N];
    const char *name = elders_losses[i].name;
    pith_model *m = pith_open(base_of(name, form), NULL, &e);
    if (!m) { FAIL("%s", e.text); return; }
    pith_adapter *a = elders_losses[i].lora ? adapter_of_numbers(m, new_adapter(m), folder) : NULL;
    EQ(a ? pith__adapter_params(&p, a, m, &e) : pith__params_new(&p, m, &e), PITH_OK);
    pith__tape *tape = pith__tape_new(m, p.g, N, keep, &e);
    if (!tape) { FAIL("%s", e.text); return; }
    if (a) tape->s->adapted = (pith__adapted){ .n = 1, .of = { { a, 1 } } };
    float *means = calloc(2 * p.n, sizeof *means);
    pith__adamw how = { 0.9f, 0.999f, 1e-8f, 0.01f, 0, means, means + p.n };
    for (int k = 0; k < N; k++) t[k] = (7 * k + 3) % m->hyper.n_vocab;
    for (int k = 0; k < STEPS; k++) {
        pith__loss loss = { 0, 0, 0 };
        double want = elders_losses[i].step[k][0], length = elders_losses[i].step[k][1];
        pith__params_zero(&p);
        EQ(pith__learn(tape, t, t + 1, N - 1, 1.0f / (N - 1), &loss, &e), PITH_OK);
        NEAR(loss.sum / (double)loss.n, want, 2e-6 * want);
        NEAR(pith__grad_norm(&p), length, 2e-5 * length);
        pith__adamw_step(&how, &p, 1e-3, 1);
    }
    free(means), pith__tape_free(tape), pith__params_free(&p), pith_adapter_close(a), pith_close(m);
}

static void learn_all(int lora) {
    if (!base_of("gpt2", ".gguf")) SKIP("no ../shared/encoders");
    for (size_t i = 0; i < sizeof elders_losses / sizeof *elders_losses; i++) {
        if (elders_losses[i].lora != lora) continue;
        int bad = t_bad;
        int tied = !strcmp(elders_losses[i].name, "gpt2") && !lora; /* in GGUF the embedding is there twice, and both learn */
        if (!tied) learns_as_with_torch(i, ".gguf", PITH__KEEP_ALL);
        learns_as_with_torch(i, "-hf", PITH__KEEP_STREAM);
        if (t_bad > bad) printf("#  (%s)\n", elders_losses[i].name);
    }
}

TEST(all_weights) { learn_all(0); }
TEST(a_lora) { learn_all(1); }

/* An adapter of one form of the base is the same numbers over the other, as PEFT folder and as GGUF file. */
TEST(adapters_of_one_base_in_two_forms) {
    static const char *const names[] = { "gpt2", "gptneox" };
    if (!base_of("gpt2", ".gguf")) SKIP("no ../shared/encoders");
    for (int i = 0; i < 2; i++) {
        pith_error e = { 0, "" };
        char path[96];
        pith__adapter_about about = { .base = "base" };
        pith_model *m[2] = { pith_open(base_of(names[i], ".gguf"), NULL, &e), pith_open(base_of(names[i], "-hf"), NULL, &e) };
        REQUIRE(m[0] && m[1]);
        pith_adapter *a[3] = { adapter_of_numbers(m[0], new_adapter(m[0]), folder), adapter_of_numbers(m[1], new_adapter(m[1]), folder), NULL };
        REQUIRE(a[0] && a[1]);
        snprintf(path, sizeof path, "%s/adapter.gguf", folder);
        EQ(pith__adapter_write_gguf(a[1], &about, path, &e), PITH_OK);
        a[2] = pith_adapter_open(m[0], path, &e);
        REQUIRE(a[2]);
        for (const pith__weight *w = m[0]->weights, *v = m[1]->weights; w && v; w = w->next, v = v->next) {
            const pith__pair *x = a[0]->pair + w->index, *y = a[1]->pair + v->index, *z = a[2]->pair + w->index;
            EQ(x->r, y->r);
            EQ(x->r, z->r);
            if (!x->r) continue;
            CHECK(!memcmp(x->a, y->a, (size_t)x->r * w->tensor.cols * 4) && !memcmp(x->b, y->b, (size_t)x->r * w->tensor.rows * 4));
            CHECK(!memcmp(x->a, z->a, (size_t)x->r * w->tensor.cols * 4) && !memcmp(x->b, z->b, (size_t)x->r * w->tensor.rows * 4));
        }
        remove(path);
        for (int k = 0; k < 3; k++) pith_adapter_close(a[k]);
        pith_close(m[0]), pith_close(m[1]);
    }
}

int main(void) {
    if (!mkdtemp(folder)) return 1;
    RUN(all_weights);
    RUN(a_lora);
    RUN(adapters_of_one_base_in_two_forms);
    char path[96];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, i ? "adapter_config.json" : "adapter_model.safetensors");
        remove(path);
    }
    rmdir(folder);
    return DONE();
}
