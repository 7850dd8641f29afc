/* t_export.c - adapters written as peft and llama.cpp have them: the files of peft again, the same numbers whatever
 * file the base is, and the same logits when they are opened again. */
#define _POSIX_C_SOURCE 200809L
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "golden_families.h"

enum { N = 32 }; /* tokens of a text */

static char folder[64];

static const char *in_folder(const char *name) {
    static char path[4][200];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static const char *tuning(const char *file) {
    static char path[2][512];
    static int turn;
    char name[200], *to = path[turn++ % 2];
    snprintf(name, sizeof name, "tuning/%s", file);
    const char *p = fixture_shared(name);
    snprintf(to, sizeof path[0], "%s", p ? p : "");
    return to;
}

static char *bytes_of(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    char *p = malloc(1 << 20);
    *n = f ? fread(p, 1, 1 << 20, f) : 0;
    if (f) fclose(f);
    return p;
}

static int same_bytes(const char *a, const char *b) {
    size_t n, n2;
    char *p = bytes_of(a, &n), *p2 = bytes_of(b, &n2);
    int same = n > 0 && n == n2 && !memcmp(p, p2, n);
    free(p), free(p2);
    return same;
}

static int holds(const char *path, const char *text) {
    size_t n;
    char *p = bytes_of(path, &n);
    p[n] = 0;
    int found = strstr(p, text) != NULL;
    free(p);
    return found;
}

static float *logits_of(const pith_model *m, const pith_adapter *a) {
    pith_context c = { .n_ctx = N, .cache_k = "f32", .cache_v = "f32", .adapters = &a, .n_adapter = a != NULL };
    pith_error e = { 0, "" };
    pith_token t[N];
    for (int i = 0; i < N; i++) t[i] = (7 + 31 * i + 13 * i * i) % m->hyper.n_vocab;
    pith_session *s = pith_session_new(m, &c, &e);
    float *y = calloc((size_t)N * (size_t)m->hyper.n_vocab, sizeof *y);
    if (!s || pith__eval_all(s, t, N, y, &e)) FAIL("%s", e.text);
    pith_session_free(s);
    return y;
}

/* How far, relative, the logits with the adapter of that file are from y. */
static double off_by(const pith_model *m, const char *path, const float *y) {
    pith_error e = { 0, "" };
    pith_adapter *a = pith_adapter_open(m, path, &e);
    if (!a) return FAIL("%s", e.text), INFINITY;
    float *z = logits_of(m, a);
    double d = 0, all = 0;
    for (size_t i = 0; i < (size_t)N * (size_t)m->hyper.n_vocab; i++)
        d += ((double)z[i] - y[i]) * ((double)z[i] - y[i]), all += (double)y[i] * y[i];
    pith_adapter_close(a);
    free(z);
    return sqrt(d / all);
}

static void write_both(const pith_adapter *a, const pith__adapter_about *about, const char *peft, const char *gguf) {
    pith_error e = { 0, "" };
    if (pith__adapter_write_peft(a, about, in_folder(peft), &e)) FAIL("%s", e.text);
    if (pith__adapter_write_gguf(a, about, in_folder(gguf), &e)) FAIL("%s", e.text);
}

static void clear(const char *name) {
    char path[200];
    snprintf(path, sizeof path, "%s", in_folder(name));
    pith__remove_named(path, "", "");
    if (rmdir(path)) unlink(path);
}

/* ---- what peft wrote ------------------------------------------------------------------------------- */

/* Read from either file over either base: peft's own bytes come out, and llama.cpp's tensors. */
static void written_again(const char *family, const char *name, int base_gguf, int adapter_gguf) {
    char path[100];
    pith_error e = { 0, "" };
    snprintf(path, sizeof path, "%s/base%s", family, base_gguf ? ".gguf" : "");
    pith_model *m = pith_open(tuning(path), NULL, NULL);
    snprintf(path, sizeof path, "%s/lora/%s%s", family, name, adapter_gguf ? ".gguf" : "");
    pith_adapter *a = m ? pith_adapter_open(m, tuning(path), &e) : NULL;
    REQUIRE(m && a);
    pith__adapter_about about = { .base = "base", .rslora = strstr(name, "rslora") != NULL };
    write_both(a, &about, "peft", "gguf");
    float *y = logits_of(m, a);
    snprintf(path, sizeof path, "%s/lora/%s/adapter_model.safetensors", family, name);
    if (!same_bytes(in_folder("peft/adapter_model.safetensors"), tuning(path))) FAIL("%s %s: not as peft has it", family, name);
    if (!(off_by(m, in_folder("peft"), y) <= 0)) FAIL("%s %s: peft", family, name);
    if (!(off_by(m, in_folder("gguf"), y) <= 0)) FAIL("%s %s: gguf", family, name);
    if (base_gguf + adapter_gguf == 0) rename(in_folder("gguf"), in_folder("gguf0"));
    else if (!same_bytes(in_folder("gguf"), in_folder("gguf0"))) FAIL("%s %s: another GGUF file", family, name);
    snprintf(path, sizeof path, "\"use_rslora\": %s", about.rslora ? "true" : "false");
    CHECK(holds(in_folder("peft/adapter_config.json"), path));
    CHECK(holds(in_folder("peft/adapter_config.json"), "\"base_model_name_or_path\": \"base\""));
    pith_adapter_close(a);
    pith_close(m);
    free(y);
    clear("peft");
}

TEST(as_peft_wrote_it) {
    static const char *const families[] = { "llama", "qwen2" };
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int f = 0; f < 2; f++) {
        for (int i = 0; i < 4; i++) written_again(families[f], "a1", i & 1, i >> 1);
        for (int i = 0; i < 2; i++) written_again(families[f], "a1_rslora", i, 0);
        for (int i = 0; i < 4; i++) written_again(families[f], "a2", i & 1, i >> 1);
    }
}

/* ---- other families -------------------------------------------------------------------------------- */

static pith_model *open_golden(const char *name, bytes *b) {
    const struct golden *g = goldens;
    while (strcmp(g->name, name) != 0) g++;
    *b = fixture_gguf(g->keys, g->tensors, g->seed);
    pith_error e = { 0, "" };
    pith_model *m = pith_open_memory(b->p, b->n, &(pith_options){ .n_threads = 1 }, &e);
    if (!m) FAIL("%s", e.text);
    return m;
}

/* An adapter of pairs of its own for each matrix, of rank r, or r + 1 where other says so by the matrix's number. */
static pith_adapter *made_adapter(const pith_model *m, int r, int (*other)(const pith__weight *w)) {
    pith_adapter *a = calloc(1, sizeof *a);
    uint64_t x = 1;
    if (!a) exit(99);
    a->model = m;
    a->pair = pith__arena_new(&a->store.arena, (size_t)m->n_weight, sizeof *a->pair);
    for (const pith__weight *w = m->weights; w && a->pair; w = w->next) {
        pith__pair *p = a->pair + w->index;
        if (w->floats || w == &m->embd || w == &m->head) continue;
        p->r = other ? other(w) : r;
        p->scale = 2.0f / (float)r;
        p->a = pith__arena_new(&a->store.arena, (size_t)p->r * w->tensor.cols, sizeof *p->a);
        p->b = pith__arena_new(&a->store.arena, (size_t)p->r * w->tensor.rows, sizeof *p->b);
        for (size_t i = 0; i < (size_t)p->r * w->tensor.cols; i++)
            p->a[i] = (float)((x = x * 6364136223846793005u + 1442695040888963407u) >> 40) / 1e8f - 0.08f;
        for (size_t i = 0; i < (size_t)p->r * w->tensor.rows; i++)
            p->b[i] = (float)((x = x * 6364136223846793005u + 1442695040888963407u) >> 40) / 1e8f - 0.08f;
    }
    return a;
}

static void both_ways(const char *name, int (*rank)(const pith__weight *w), double most) {
    bytes b;
    pith_model *m = open_golden(name, &b);
    REQUIRE(m);
    pith_adapter *a = made_adapter(m, 3, rank);
    write_both(a, &(pith__adapter_about){ .rslora = !rank }, "peft", "gguf");
    CHECK(rank || holds(in_folder("peft/adapter_config.json"), "\"r\": 3,")); /* not that of a module of several parts */
    float *y = logits_of(m, a), *base = logits_of(m, NULL);
    double d = off_by(m, in_folder("peft"), y), d2 = off_by(m, in_folder("gguf"), y), moved = 0;
    for (size_t i = 0; i < (size_t)N * (size_t)m->hyper.n_vocab; i++) moved += fabs((double)y[i] - base[i]);
    if (!(d <= most) || !(d2 <= most) || !(moved > 1)) FAIL("%s: %g as PEFT, %g as GGUF", name, d, d2);
    pith_adapter_close(a);
    pith_close(m);
    free(b.p), free(y), free(base);
    clear("peft");
}

static int rank_by_layer(const pith__weight *w) { return 2 + w->index % 3; }
static int rank_of_some(const pith__weight *w) { return w->index % 2 * 2; }

TEST(families_ranks_and_layers) {
    both_ways("llama", NULL, 0);
    both_ways("qwen3moe", NULL, 0);
    both_ways("phi3", NULL, 1e-6);
    both_ways("qwen2_fused", NULL, 1e-6);
    both_ways("mixtral_apart", NULL, 0);
    both_ways("smollm3", NULL, 0);
    both_ways("llama", rank_by_layer, 1e-6);
    both_ways("mixtral_stacked", rank_by_layer, 1e-6);
    both_ways("qwen3moe", rank_of_some, 1e-6);
    both_ways("phi3", rank_by_layer, 1e-6);
    both_ways("gemma2", rank_of_some, 0);
}

/* peft joins the experts' gate and up: with alpha / sqrt(r) it would have another scale than is meant. */
TEST(rslora_of_experts) {
    bytes b;
    pith_model *m = open_golden("qwen3moe", &b);
    REQUIRE(m);
    pith_adapter *a = made_adapter(m, 4, NULL);
    for (const pith__weight *w = m->weights; w; w = w->next) a->pair[w->index].scale = 16;
    write_both(a, &(pith__adapter_about){ .rslora = 1 }, "peft", "gguf");
    CHECK(holds(in_folder("peft/adapter_config.json"), "\"use_rslora\": false"));
    CHECK(holds(in_folder("peft/adapter_config.json"), "\"lora_alpha\": 64"));
    pith_adapter_close(a);
    pith_close(m);
    free(b.p);
    clear("peft");
}

/* One A for the parts of what is one matrix in the file: it stays one, so that it can go on learning as one. */
TEST(a_that_is_shared) {
    bytes b;
    pith_error e = { 0, "" };
    pith_model *m = open_golden("phi3", &b);
    REQUIRE(m);
    pith_adapter *a = made_adapter(m, 3, NULL);
    const pith__layer *l = m->layer;
    for (int i = 0; i < m->hyper.n_layer; i++, l++) {
        a->pair[l->k.index].a = a->pair[l->v.index].a = a->pair[l->q.index].a;
        a->pair[l->ffn->up.index].a = a->pair[l->ffn->gate.index].a;
    }
    const pith__adapter_about about = { .base = NULL };
    write_both(a, &about, "peft", "gguf");
    rename(in_folder("gguf"), in_folder("gguf0"));
    CHECK(holds(in_folder("peft/adapter_config.json"), "\"rank_pattern\": {},"));
    CHECK(holds(in_folder("peft/adapter_config.json"), "\"qkv_proj\"") && holds(in_folder("peft/adapter_config.json"), "\"gate_up_proj\""));
    pith_adapter *back = pith_adapter_open(m, in_folder("peft"), &e);
    REQUIRE(back);
    CHECK(back->pair[m->layer->k.index].a == back->pair[m->layer->q.index].a && back->pair[m->layer->v.index].r == 3);
    write_both(back, &about, "peft", "gguf");
    CHECK(same_bytes(in_folder("gguf"), in_folder("gguf0")));
    pith_adapter_close(back), pith_adapter_close(a);
    pith_close(m);
    free(b.p);
    clear("peft");
}

static int only_some_rows(const pith__weight *w) { return w->tensor.name.p[4] == '0' ? 2 : 0; } /* layer 0 */
static int none(const pith__weight *w) { return (void)w, 0; }

TEST(what_the_files_say) {
    bytes b;
    pith_error e = { 0, "" };
    pith_model *m = open_golden("llama", &b);
    REQUIRE(m);
    pith_adapter *a = made_adapter(m, 2, NULL), *some = made_adapter(m, 2, only_some_rows), *empty = made_adapter(m, 2, none);
    const char template[] = "{% for m in messages %}\"\n{{ m.content }}{% endfor %}";
    write_both(a, &(pith__adapter_about){ .base = "C:\\my \"model\"", .dropout = 0.05, .chat_template = pith__str_of(template) },
               "peft", "gguf");
    CHECK(holds(in_folder("peft/adapter_config.json"), "C:\\\\my \\\"model\\\""));
    CHECK(holds(in_folder("peft/adapter_config.json"), "\"lora_dropout\": 0.05"));
    CHECK(holds(in_folder("peft/adapter_config.json"), "\"lora_alpha\": 2,"));
    CHECK(holds(in_folder("peft/adapter_config.json"), "\n    \"q_proj\""));
    CHECK(holds(in_folder("peft/chat_template.jinja"), template));
    for (int i = 0; i < 2; i++) {
        pith_adapter *back = pith_adapter_open(m, in_folder(i ? "gguf" : "peft"), NULL);
        CHECK(back && pith__str_is(back->store.vocab.chat_template, template));
        pith_adapter_close(back);
    }
    CHECK(!pith__adapter_write_peft(some, &(pith__adapter_about){ .base = NULL }, in_folder("peft"), &e)); /* into the old one */
    CHECK(holds(in_folder("peft/adapter_config.json"), "\"model.layers.0.self_attn.q_proj\""));
    CHECK(holds(in_folder("peft/adapter_config.json"), "\"base_model_name_or_path\": null"));
    EQ(pith__adapter_write_peft(empty, &(pith__adapter_about){ .base = NULL }, in_folder("new"), &e), PITH_EARG);
    CHECK(strstr(e.text, "its adapter is empty"));
    EQ(pith__adapter_write_peft(a, &(pith__adapter_about){ .base = NULL }, in_folder("no/such"), &e), PITH_EIO);
    CHECK(strstr(e.text, "no/such: cannot be made a folder"));
    EQ(pith__adapter_write_peft(a, &(pith__adapter_about){ .base = NULL }, in_folder("gguf"), &e), PITH_EIO);
    CHECK(strstr(e.text, "gguf: cannot be made a folder") && holds(in_folder("gguf"), "GGUF"));
    pith_adapter_close(a), pith_adapter_close(some), pith_adapter_close(empty);
    pith_close(m);
    free(b.p);
    clear("peft");
}

int main(void) {
    strcpy(folder, "/tmp/pith-export-XXXXXX");
    if (!mkdtemp(folder)) exit(99);
    RUN(as_peft_wrote_it);
    RUN(families_ranks_and_layers);
    RUN(rslora_of_experts);
    RUN(a_that_is_shared);
    RUN(what_the_files_say);
    static const char *const made[] = { "peft", "gguf", "gguf0" };
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) clear(made[i]);
    rmdir(folder);
    return DONE();
}
