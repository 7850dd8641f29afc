/* t_merge_folders.c - Hugging Face folders written as GGUF files and as folders again: the same bits of logits, of every
 * family that scripts/reference_hf.py makes; their small files; weights as training leaves them. */
#define _POSIX_C_SOURCE 200809L
#include "../internal.h"
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
    static char path[4][200];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static void clear(const char *name) {
    char path[200];
    snprintf(path, sizeof path, "%s", in_folder(name));
    pith__remove_named(path, "", "");
    if (rmdir(path)) unlink(path);
}

static void write_text(const char *name, const char *text) { /* ' becomes " */
    FILE *f = fopen(in_folder(name), "wb");
    for (; f && *text; text++) fputc(*text == '\'' ? '"' : *text, f);
    if (!f || fclose(f)) exit(99);
}

static int holds(const char *name, const char *text) {
    static char got[1 << 16];
    FILE *f = fopen(in_folder(name), "rb");
    size_t n = f ? fread(got, 1, sizeof got - 1, f) : 0;
    if (f) fclose(f);
    got[n] = 0;
    return strstr(got, text) != NULL;
}

static pith_model *open_made(const char *name) {
    pith_model *m = pith_open(in_folder(name), &(pith_options){ .n_threads = 1 }, &error);
    if (!m) FAIL("%s", error.text);
    return m;
}

static const struct golden_folder *named(const char *name) {
    const struct golden_folder *g = goldens;
    while (strcmp(g->name, name) != 0) g++;
    return g;
}

static pith_model *open_golden(const struct golden_folder *g) {
    mkdir(in_folder("in"), 0777);
    bytes b = fixture_safetensors(g->tensors, GOLDEN_SEED);
    if (save(&b, in_folder("in/model.safetensors"))) exit(99);
    free(b.p);
    write_text("in/config.json", g->config);
    return open_made("in");
}

static float *logits_of(const pith_model *m) {
    pith_context c = { .cache_k = "f32", .cache_v = "f32" };
    pith_session *s = m ? pith_session_new(m, &c, &error) : NULL;
    size_t n = m ? (size_t)m->hyper.n_vocab : 0;
    float *y = calloc((size_t)N * n + 1, sizeof *y);
    pith_token t[N];
    for (int i = 0; i < N && n; i++) t[i] = (7 + 31 * i + 13 * i * i) % (int)n;
    if (s && pith__eval_all(s, t, N, y, &error)) FAIL("%s", error.text);
    pith_session_free(s);
    return y;
}

static int same_logits(const pith_model *m, const char *out) {
    pith_model *other = open_made(out);
    float *y = logits_of(m), *z = logits_of(other);
    int same = other && !memcmp(y, z, (size_t)N * (size_t)m->hyper.n_vocab * sizeof *y);
    free(y), free(z);
    pith_close(other);
    return same;
}

TEST(the_same_model_in_other_files) {
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        pith_model *m = open_golden(&goldens[i]);
        REQUIRE(m);
        pith__merge plan = { .m = m };
        if (pith__merge_gguf(&plan, in_folder("out.gguf"), &error) || !same_logits(m, "out.gguf"))
            FAIL("%s as GGUF: %s", goldens[i].name, error.text);
        int code = pith__merge_folder(&plan, in_folder("out"), &error);
        int laid = m->store.hf_style & (PITH__HF_DELTA | PITH__HF_LFM | PITH__HF_GPTOSS | PITH__HF_APERTUS); /* in memory as GGUF has it */
        if (!m->store.qk_halves || laid) EQ(code, PITH_EARG); /* or Llama 4: its experts have been turned */
        else if (code || !same_logits(m, "out")) FAIL("%s as a folder: %s", goldens[i].name, error.text);
        pith_close(m);
        clear("out"), clear("in");
    }
    clear("out.gguf");
}

/* Numbers as training has them: floats, and norms of the Gemmas as 1 + w. */
static pith__tensor *learned_of(const pith_model *m, pith__arena *a) {
    pith__tensor *t = pith__arena_new(a, m->store.n_tensor, sizeof *t);
    for (size_t i = 0; i < m->store.n_tensor; i++) {
        t[i] = m->store.tensor[i];
        float *x = pith__arena_new(a, t[i].rows * t[i].cols, sizeof *x);
        int plus = m->store.norm_plus_one && strstr(t[i].name.p, "norm") != NULL;
        for (size_t r = 0; r < t[i].rows; r++) pith__row_floats(&t[i], r, x + r * t[i].cols);
        for (size_t k = 0; k < t[i].rows * t[i].cols; k++) x[k] = 2 * x[k] + (float)plus; /* "learned": twice as large */
        t[i].data = (const uint8_t *)x;
    }
    return t;
}

TEST(what_was_learned) {
    static const char *const names[] = { "llama", "gemma2", "qwen3_moe" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        pith__arena a = { NULL, 0 };
        pith_model *m = open_golden(named(names[i]));
        REQUIRE(m);
        pith__merge plan = { .m = m, .learned = learned_of(m, &a), .n_learned = m->store.n_tensor };
        EQ(pith__merge_gguf(&plan, in_folder("out.gguf"), &error), PITH_OK);
        EQ(pith__merge_folder(&plan, in_folder("out"), &error), PITH_OK);
        pith_model *out = open_made("out");
        if (!out || !same_logits(out, "out.gguf") || same_logits(m, "out")) FAIL("%s", names[i]);
        for (size_t k = 0; out && k < m->store.n_tensor; k++) {
            float x, y;
            if (!strncmp(m->store.tensor[k].name.p, "rope_", 5)) continue;
            memcpy(&x, m->store.tensor[k].data, sizeof x), memcpy(&y, out->store.tensor[k].data, sizeof y);
            if (!(fabs((double)y - 2 * (double)x) < 1e-6)) FAIL("%s: tensor %zu", names[i], k);
        }
        pith_close(out), pith_close(m);
        pith__arena_free(&a);
        clear("out"), clear("in"), clear("out.gguf");
    }
}

TEST(the_small_files) {
    pith_model *m = open_golden(named("llama"));
    REQUIRE(m);
    write_text("in/config.json", "{'model_type': 'llama', 'torch_dtype': 'float32', 'x': [1], 'text_config': {'dtype': 'float32'}, 'dtype':'auto'}\n");
    write_text("in/generation_config.json", "{'temperature': 0.5}");
    write_text("in/chat_template.jinja", "old");
    write_text("in/vocab.json", "{}");
    write_text("in/notes.txt", "not of the model");
    pith__merge plan = { .m = m };
    EQ(pith__merge_folder(&plan, in_folder("out/"), &error), PITH_OK);
    CHECK(holds("out/config.json", "\"torch_dtype\": \"float32\", ") && holds("out/config.json", "\"dtype\":\"auto\"}\n") && holds("out/generation_config.json", "0.5"));
    CHECK(holds("out/chat_template.jinja", "old") && holds("out/vocab.json", "{}") && !pith__path_kind(in_folder("out/notes.txt")));
    plan.to = pith__format_named("bf16"), plan.chat_template = pith__str_of("new");
    EQ(pith__merge_folder(&plan, in_folder("out"), &error), PITH_OK); /* over the old one */
    CHECK(holds("out/config.json", "\"torch_dtype\": \"bfloat16\", \"x\": [1], \"text_config\": {\"dtype\": \"bfloat16\"}, \"dtype\":\"bfloat16\"}\n"));
    CHECK(holds("out/chat_template.jinja", "new") && !holds("out/chat_template.jinja", "old"));
    pith_model *out = pith_open(in_folder("out"), NULL, &error);
    CHECK(!out && strstr(error.text, "vocab_size 32000, need 96")); /* this config.json says too little */
    pith_close(m);
    clear("out"), clear("in");
}

int main(void) {
    strcpy(folder, "/tmp/pith-merge-XXXXXX");
    if (!mkdtemp(folder)) exit(99);
    RUN(the_same_model_in_other_files);
    RUN(what_was_learned);
    RUN(the_small_files);
    rmdir(folder);
    return DONE();
}
