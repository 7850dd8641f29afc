/* t_models.c - open models against the float32 logits that transformers computed (../shared/families): 72 tokens, which is
 * more than every window and original context there. A folder and a GGUF file of the same weights give them; read at once,
 * token by token or in pieces they are the same to the bit. */
#define _POSIX_C_SOURCE 200809L
#include "fixture.h"
#include "test.h"

#include "../internal.h"

#include <stdlib.h>
#include <unistd.h>

enum { MOST = 96, WIDE = 320 };

static const struct {
    const char *name;
    double tol;      /* relative L2 distance of all logits; 0: there is no folder */
    double gguf;     /* the same of NAME.gguf; 0: there is none */
} models[] = {
    { "gpt2", 1e-5, 5e-4 }, /* its folder is in F32 and not rounded to F16 */
    { "gptneox", 1e-5, 0 },
    { "qwen35", 2e-5, 2e-5 },
    { "qwen35moe", 2e-5, 0 },
    { "ministral3", 1e-5, 0 },
    { "olmo3", 1e-5, 0 },
    { "seedoss", 1e-5, 0 },
    { "exaone4", 1e-5, 0 },
    { "nanochat", 1e-5, 0 },
    { "deepseek2", 1e-5, 0 },
    { "deepseek3", 1e-5, 1e-5 },
    { "glm4moelite", 1e-5, 0 },
    { "mistral4", 1e-5, 0 },
    { "phi4mini", 1e-5, 0 },
    { "lfm2", 1e-5, 1e-5 },
    { "gptoss", 1e-5, 1e-5 },
    { "gptossmx", 2e-2, 0 }, /* experts in MXFP4 are multiplied by activations of 8 bits */
    { "gemma4e", 1e-5, 1e-5 },
    { "gemma4", 1e-5, 0 },
    { "gemma4moe", 1e-5, 0 },
    { "llama4", 1e-5, 0 },
    { "lfm2moe", 1e-5, 0 },
    { "lfm3", 1e-5, 0 },
    { "granite4", 1e-5, 0 },
    { "granite4h", 1e-5, 0 },
};
enum { N_MODEL = sizeof models / sizeof *models };

static const char *shared(const char *name, const char *what) {
    char path[80];
    snprintf(path, sizeof path, "families/%s%s", name, what);
    return fixture_shared(path);
}

typedef struct {
    pith_token t[MOST];
    int n;
    float logits[MOST * WIDE]; /* (n, WIDE) as they should be */
} wanted;

static int read_wanted(wanted *w, const char *name) {
    long id;
    const char *path = shared(name, ".ids");
    FILE *f = path ? fopen(path, "rb") : NULL;
    for (w->n = 0; f && w->n < MOST && fscanf(f, "%ld%*[, \n]", &id) == 1;) w->t[w->n++] = (pith_token)id;
    if (f) fclose(f);
    path = shared(name, ".logits");
    f = path ? fopen(path, "rb") : NULL;
    size_t got = f ? fread(w->logits, sizeof *w->logits * WIDE, MOST, f) : 0;
    if (f) fclose(f);
    return w->n > 0 && got == (size_t)w->n;
}

/* Logits of all tokens, read at most step at a time, in a session that holds no more than this needs. The last third of
 * them, or more where the session cannot come back to there, is taken back and read again. */
static int evaluate(const pith_model *m, const wanted *w, int step, float *logits) {
    pith_error e = { 0, "" };
    pith_context c = { .n_ctx = w->n, .n_batch = step, .cache_k = "f32", .cache_v = "f32" };
    pith_session *s = pith_session_new(m, &c, &e);
    for (int t = 0; s && !e.code && t < w->n; t += step) {
        int n = w->n - t < step ? w->n - t : step;
        const pith_work part = { s, w->t + t, n, logits + (size_t)t * WIDE };
        pith_eval_many(&part, 1, &e);
    }
    if (s && !e.code) {
        int back = pith_rewind(s, 2 * w->n / 3);
        const pith_work again = { s, w->t + back, w->n - back, logits + (size_t)back * WIDE };
        CHECK(back <= 2 * w->n / 3);
        memset(again.logits, 0, (size_t)again.n * WIDE * sizeof *logits);
        pith_eval_many(&again, 1, &e);
    }
    if (e.code) FAIL("%s", e.text);
    pith_session_free(s);
    return e.code == 0;
}

static double distance(const float *x, const float *want, size_t n) {
    double off = 0, all = 0;
    for (size_t i = 0; i < n; i++) off += pow((double)x[i] - (double)want[i], 2), all += pow((double)want[i], 2);
    return sqrt(off / all);
}

/* The logits of this file; those of its batch stay in to. */
static void check_file(const char *path, const wanted *w, double tol, const char *kernels, float *to) {
    static const int steps[] = { 1, 7, 50 };
    static float logits[MOST * WIDE];
    pith_error e = { 0, "" };
    const pith_options o = { .kernels = kernels };
    pith_model *m = pith_open(path, &o, &e);
    if (!m) { FAIL("%s", e.text); return; }
    if (pith_model_shape(m)->n_vocab == WIDE && evaluate(m, w, w->n, to)) {
        NEAR(distance(to, w->logits, (size_t)w->n * WIDE), 0, tol);
        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
            if (evaluate(m, w, steps[i], logits)) CHECK(!memcmp(to, logits, (size_t)w->n * WIDE * sizeof *to));
    } else {
        EQ(pith_model_shape(m)->n_vocab, WIDE);
    }
    pith_close(m);
}

/* The GGUF file as a folder again, of the folder's own format: logits to the bit; or, of MXFP4, which becomes F16,
 * near to it. */
static void check_folder_of(const pith_model *gguf, const pith__format *to, const wanted *w, const float *want,
                            double tol) {
    static float got[MOST * WIDE];
    char at[] = "/tmp/pith-models-XXXXXX", path[64];
    pith_error e = { 0, "" };
    if (!mkdtemp(at)) exit(99);
    snprintf(path, sizeof path, "%s/x", at);
    const pith__requant q = { .m = gguf };
    pith_model *m = pith__requant_folder(&q, to, path, &e) ? NULL : pith_open(path, NULL, &e);
    if (!m) FAIL("%s", e.text);
    else if (evaluate(m, w, w->n, got)) NEAR(distance(got, want, (size_t)w->n * WIDE), 0, tol);
    if (m) CHECK(m->store.is_folder && !m->store.n_dropped);
    pith_close(m);
    pith__remove_named(path, "", "");
    rmdir(path), rmdir(at);
}

/* A folder's weights in a GGUF file of ours: llama.cpp's names, its order of rows; and back. */
TEST(a_folder_as_gguf_gives_the_same_bits) {
    static wanted w;
    static float folder[MOST * WIDE], gguf[MOST * WIDE];
    char path[512], to[] = "/tmp/pith-models-XXXXXX";
    if (!shared(models[0].name, ".ids")) SKIP("no ../shared/families");
    int file = mkstemp(to);
    REQUIRE(file >= 0);
    close(file);
    for (int i = 0; i < N_MODEL; i++) {
        int bad = t_bad;
        pith_error e = { 0, "" };
        const char *at = shared(models[i].name, "-hf");
        snprintf(path, sizeof path, "%s", at ? at : "");
        if (!at || !read_wanted(&w, models[i].name)) continue;
        pith_model *m = pith_open(path, NULL, &e);
        if (!m) { FAIL("%s", e.text); continue; }
        const pith__requant q = { .m = m, .mix = pith__mix_named(m->embd.tensor.format->name) };
        EQ(pith__requant_gguf(&q, to, &e), PITH_OK);
        pith_model *again = pith_open(to, NULL, &e);
        if (!again) FAIL("%s", e.text);
        if (again && evaluate(m, &w, w.n, folder) && evaluate(again, &w, w.n, gguf))
            CHECK(!memcmp(folder, gguf, (size_t)w.n * WIDE * sizeof *gguf));
        if (again && !pith__hf_elder_of(again->hyper.arch))
            check_folder_of(again, m->embd.tensor.format, &w, gguf, models[i].tol > 1e-3 ? models[i].tol : 0);
        for (size_t k = 0; again && k < again->store.n_tensor; k++) { /* floats, as llama.cpp wants them */
            const pith__tensor *t = &again->store.tensor[k];
            CHECK(strncmp(again->hyper.arch, "granite", 7) != 0 || !pith__name_ends(t->name, "ffn_gate_up_exps.weight"));
            if (pith__name_ends(t->name, "conv.weight") || pith__name_ends(t->name, "conv1d.weight"))
                EQ(t->format->id, PITH__F32);
        }
        pith_close(again);
        pith_close(m);
        if (t_bad > bad) printf("#  (%s)\n", path);
    }
    remove(to);
}

/* What sees in a folder is known by its names, and no note calls it unknown. */
TEST(towers_are_left_out) {
    const char *at = shared("ministral3", "-hf");
    pith_error e = { 0, "" };
    if (!at) SKIP("no ../shared/families");
    pith_model *m = pith_open(at, NULL, &e);
    REQUIRE(m);
    EQ(m->store.n_tower, 15);
    EQ(m->store.n_dropped, 0);
    CHECK(!pith_model_note(m, 0));
    CHECK(m->store.tower & pith__hf_tower(pith__str_of("model.vision_tower.x")));
    CHECK(!(m->store.tower & pith__hf_tower(pith__str_of("model.visual.x"))));
    EQ(pith__hf_tower(pith__str_of("vision_towers.x")), 0);
    EQ(pith__hf_tower(pith__str_of("model.layers.0.mlp.visual.weight")), 0);
    const pith__requant q = { .m = m };
    EQ(pith__requant_folder(&q, pith__format_of(PITH__F16), "/tmp/pith-models-none", &e), PITH_EARCH);
    CHECK(strstr(e.text, "15 tensors that see or hear"));
    pith_close(m);
}

/* A folder that says so has no matrix of values in layers that see everything, though there may be a tensor. */
TEST(values_may_be_keys) {
    const char *at = shared("gemma4e", "-hf");
    char dir[] = "/tmp/pith-models-XXXXXX", from[600], weights[600], config[600];
    static char text[20000];
    pith_error e = { 0, "" };
    if (!at) SKIP("no ../shared/families");
    REQUIRE(mkdtemp(dir));
    snprintf(from, sizeof from, "%s/config.json", at);
    snprintf(config, sizeof config, "%s/config.json", dir);
    snprintf(weights, sizeof weights, "%s/model.safetensors", dir);
    FILE *f = fopen(from, "rb");
    REQUIRE(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    char *field = strstr(text, "\"attention_k_eq_v\": false"), *full = realpath(at, NULL);
    REQUIRE(field && full);
    memcpy(strstr(field, "false"), "true ", 5);
    snprintf(from, sizeof from, "%s/model.safetensors", full);
    free(full);
    REQUIRE(!symlink(from, weights) && (f = fopen(config, "wb")));
    CHECK(fwrite(text, 1, n, f) == n);
    fclose(f);
    pith_model *m = pith_open(dir, NULL, &e);
    if (!m) FAIL("%s", e.text);
    for (int l = 0; m && l < m->hyper.n_layer; l++) {
        const pith__layer *w = &m->layer[l];
        EQ(w->v.tensor.data != NULL, w->mask.window && w->kv_from == l);
    }
    pith_close(m);
    remove(config), remove(weights), remove(dir);
}

/* As in llama.cpp's files of GLM-4.7-Flash: the key is missing, and a bias for choosing experts tells what it would say. */
TEST(a_router_with_a_bias_for_choosing_has_sigmoids) {
    static const struct { const char *name; int sigmoid; } want[] = { { "deepseek2", 0 }, { "deepseek3", 1 }, { "glm4moelite", 1 } };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const char *at = shared(want[i].name, "-hf");
        pith_error e = { 0, "" };
        pith__store s;
        if (!at) SKIP("no ../shared/families");
        REQUIRE(pith__open(&s, at, NULL, &e) == PITH_OK);
        int found = 0;
        for (size_t k = 0; k < s.n_key; k++)
            if (pith__str_is(s.key[k].name, "deepseek2.expert_gating_func")) s.key[k].name = pith__str_of("deepseek2.forgotten"), found = 1;
        EQ(found, want[i].sigmoid);
        pith_model *m = pith__model_of(&s, NULL, &e);
        REQUIRE(m);
        EQ(m->hyper.expert_sigmoid, want[i].sigmoid);
        pith_close(m);
    }
}

static void check_model(int i, const char *kernels) {
    static wanted w;
    static float got[MOST * WIDE];
    char path[512];
    REQUIRE(read_wanted(&w, models[i].name));
    for (int gguf = !(models[i].tol > 0); gguf <= (models[i].gguf > 0); gguf++) {
        int bad = t_bad;
        const char *at = shared(models[i].name, gguf ? ".gguf" : "-hf");
        REQUIRE(at);
        snprintf(path, sizeof path, "%s", at);
        check_file(path, &w, gguf ? models[i].gguf : models[i].tol, kernels, got);
        if (t_bad > bad) printf("#  (%s, %s)\n", path, kernels ? kernels : "the processor's own");
    }
}

TEST(logits_are_those_of_transformers) {
    if (!shared(models[0].name, ".ids")) SKIP("no ../shared/families");
    for (int i = 0; i < N_MODEL; i++) check_model(i, NULL);
}

TEST(plain_c_gives_them_too) {
    if (!shared(models[0].name, ".ids")) SKIP("no ../shared/families");
    for (int i = 0; i < N_MODEL; i += BRIEF ? 3 : 1) check_model(i, "portable");
}

int main(void) {
    RUN(logits_are_those_of_transformers);
    RUN(plain_c_gives_them_too);
    RUN(a_folder_as_gguf_gives_the_same_bits);
    RUN(towers_are_left_out);
    RUN(values_may_be_keys);
    RUN(a_router_with_a_bias_for_choosing_has_sigmoids);
    return DONE();
}
