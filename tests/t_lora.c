/* t_lora.c - adapters: against logits that peft computed (../shared/tuning), against models whose matrices were
 * added to, beside sessions without; what is no adapter, or no adapter of this model, is refused by name. */
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

static void write_bytes(const char *name, const void *p, size_t n) {
    FILE *f = fopen(in_folder(name), "wb");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f)) exit(99);
}

static pith_token text_token(const pith_model *m, int t) { return (7 + 31 * t + 13 * t * t) % m->hyper.n_vocab; }

/* Logits of all n tokens of a text in a session with these adapters. */
static float *logits_of(const pith_model *m, const pith_token *t, int n, const pith_adapter *const *list,
                        const float *scales, int n_list) {
    pith_context c = { .n_ctx = n, .cache_k = "f32", .cache_v = "f32", .adapters = list, .scales = scales, .n_adapter = n_list };
    pith_error e = { 0, "" };
    pith_session *s = pith_session_new(m, &c, &e);
    float *y = calloc((size_t)n * (size_t)m->hyper.n_vocab, sizeof *y);
    if (!s || pith__eval_all(s, t, n, y, &e)) FAIL("%s", e.text);
    pith_session_free(s);
    return y;
}

static double distance(const float *a, const float *b, size_t n) { /* relative, l2 */
    double d = 0, all = 0;
    for (size_t i = 0; i < n; i++) d += ((double)a[i] - b[i]) * ((double)a[i] - b[i]), all += (double)b[i] * b[i];
    return sqrt(d / all);
}

/* ---- what peft computes ---------------------------------------------------------------------------- */

static int read_numbers(const char *path, pith_token *ids, float *x, size_t n) {
    FILE *f = fopen(path, "rb");
    size_t got = 0;
    while (f && got < n && (ids ? fscanf(f, "%d", ids + got) == 1 : fread(x + got, sizeof *x, 1, f) == 1)) got++;
    if (f) fclose(f);
    return got == n;
}

/* Base and adapters in either container. */
static void same_as_peft(const char *family, int base_gguf, int adapter_gguf) {
    static const struct { const char *want, *one, *two; float s1, s2; } cases[] = {
        { "base", NULL, NULL, 0, 0 }, { "a1", "a1", NULL, 1, 0 }, { "a2", "a2", NULL, 1, 0 },
        { "a1_rslora", "a1_rslora", NULL, 1, 0 }, { "a1_half", "a1", NULL, 0.5f, 0 }, { "a1_merged", "a1", NULL, 1, 0 },
        { "mix_a1x0.7_a2x0.4", "a1", "a2", 0.7f, 0.4f }, { "base", "start", NULL, 1, 0 },
    };
    enum { IDS = 24 };
    pith_token ids[IDS];
    pith_model *m = pith_open(fixture_tuning(family, base_gguf ? "base.gguf" : "base"), NULL, NULL);
    REQUIRE(m && read_numbers(fixture_tuning(family, "lora/ids.txt"), ids, NULL, IDS));
    size_t n = (size_t)(IDS * m->hyper.n_vocab);
    float *want = malloc(n * sizeof *want);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *names[] = { cases[i].one, cases[i].two };
        const float scales[] = { cases[i].s1, cases[i].s2 };
        pith_adapter *a[2] = { NULL, NULL };
        char file[64];
        int count = 0;
        pith_error e = { 0, "" };
        for (; count < 2 && names[count]; count++) {
            snprintf(file, sizeof file, "lora/%s%s", names[count], adapter_gguf ? ".gguf" : "");
            if (!*fixture_tuning(family, file)) break; /* not all are there as GGUF */
            if (!(a[count] = pith_adapter_open(m, fixture_tuning(family, file), &e))) FAIL("%s", e.text);
        }
        snprintf(file, sizeof file, "lora/%s.logits.f32", cases[i].want);
        if (!read_numbers(fixture_tuning(family, file), NULL, want, n)) FAIL("no %s", file);
        if (count == (names[0] != NULL) + (names[1] != NULL)) {
            float *y = logits_of(m, ids, IDS, (const pith_adapter *const *)a, scales, count);
            double d = distance(y, want, n);
            if (!(d < 1e-5)) FAIL("%s %s, base %d, adapter %d: %g", family, cases[i].want, base_gguf, adapter_gguf, d);
            free(y);
        }
        pith_adapter_close(a[0]), pith_adapter_close(a[1]);
    }
    free(want);
    pith_close(m);
}

TEST(same_logits_as_peft) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int i = 0; i < 4; i++) same_as_peft("llama", i & 1, i >> 1), same_as_peft("qwen2", i & 1, i >> 1);
}

/* ---- the same as a merged model -------------------------------------------------------------------- */

static pith_model *open_golden(const struct golden *g, bytes *b) {
    *b = fixture_gguf(g->keys, g->tensors, g->seed);
    pith_error e = { 0, "" };
    pith_model *m = pith_open_memory(b->p, b->n, &(pith_options){ .n_threads = 1 }, &e);
    if (!m) FAIL("%s", e.text);
    return m;
}

static const struct golden *golden_named(const char *name) {
    const struct golden *g = goldens;
    while (strcmp(g->name, name) != 0) g++;
    return g;
}

/* A linear layer's matrix, or a stack of them. */
static int is_linear(const pith__tensor *t) {
    return t->n_dim >= 2 && t->name.n > 4 && !memcmp(t->name.p, "blk.", 4) && !strstr(t->name.p, "norm");
}

/* An adapter in GGUF of rank r for every linear layer; odd: of every other one. */
static void write_adapter(const pith_model *m, const char *name, int r, const char *alpha, int odd, uint64_t seed) {
    char *list = calloc(m->store.n_tensor, 400), *p = list, keys[200];
    for (size_t i = 0, k = 0; i < m->store.n_tensor; i++) {
        const pith__tensor *t = &m->store.tensor[i];
        char stack[16] = "";
        if (!is_linear(t) || (k++ % 2 && odd)) continue;
        if (t->n_dim == 3) snprintf(stack, sizeof stack, "%d ", (int)t->shape[0]);
        p += sprintf(p, "%.*s.lora_a %s%d %d; ", (int)t->name.n, t->name.p, stack, r, (int)t->cols);
        p += sprintf(p, "%.*s.lora_b %s%d %d; ", (int)t->name.n, t->name.p, stack, (int)t->shape[t->n_dim - 2], r);
    }
    snprintf(keys, sizeof keys, "general.architecture %s; general.type adapter; adapter.type lora; adapter.lora.alpha %s",
             m->hyper.arch, alpha);
    bytes b = fixture_gguf(keys, list, seed);
    write_bytes(name, b.p, b.n);
    free(list), free(b.p);
}

static pith_adapter *open_adapter(const pith_model *m, const char *name) {
    pith_error e = { 0, "" };
    pith_adapter *a = pith_adapter_open(m, in_folder(name), &e);
    if (!a) FAIL("%s", e.text);
    return a;
}

/* W += s alpha / r B A, in the memory of an open model of floats. */
static void merge(pith_model *m, const char *name, double alpha, double s) {
    pith__store from;
    REQUIRE(pith__adapter_read(&from, in_folder(name), 0, NULL) == PITH_OK);
    for (size_t i = 0; i < from.n_tensor; i += 2) {
        const pith__tensor *a = &from.tensor[i], *b = a + 1;
        char base[100];
        snprintf(base, sizeof base, "%.*s", (int)a->name.n - 7, a->name.p);
        const pith__tensor *w = pith__store_tensor(&m->store, base);
        size_t stack = w->n_dim == 3 ? (size_t)w->shape[0] : 1, r = a->rows / stack, rows = w->rows / stack;
        const float *fa = (const float *)(const void *)a->data, *fb = (const float *)(const void *)b->data;
        float *y = (float *)(uintptr_t)w->data;
        for (size_t row = 0; row < w->rows; row++)
            for (size_t col = 0; col < w->cols; col++) {
                double sum = 0;
                for (size_t k = 0; k < r; k++) sum += (double)fb[row * r + k] * fa[(row / rows * r + k) * w->cols + col];
                y[row * w->cols + col] += (float)(s * alpha / (double)r * sum);
            }
    }
    pith__store_free(&from);
}

static void as_merged(const struct golden *g, int r, int more) {
    bytes b, b2;
    pith_model *m = open_golden(g, &b), *merged = open_golden(g, &b2);
    REQUIRE(m && merged);
    pith_token t[N];
    for (int i = 0; i < N; i++) t[i] = text_token(m, i);
    write_adapter(m, "one", r, "0.5", 0, 5);
    write_adapter(m, "two", 3, "0.75", 1, 6);
    merge(merged, "one", 0.5, 1);
    if (more) merge(merged, "two", 0.75, -0.5);
    const pith_adapter *list[] = { open_adapter(m, "one"), open_adapter(m, "two") };
    const float scales[] = { 1, -0.5f };
    REQUIRE(list[0] && list[1]);
    float *base = logits_of(m, t, N, NULL, NULL, 0), *y = logits_of(m, t, N, list, scales, 1 + more);
    float *want = logits_of(merged, t, N, NULL, NULL, 0);
    size_t n = (size_t)(N * m->hyper.n_vocab);
    double d = distance(y, want, n);
    if (!(d < 2e-5)) FAIL("%s, rank %d: %g from the merged model", g->name, r, d);
    if (!(distance(base, want, n) > 1e-3)) FAIL("%s: the adapter does nothing", g->name);
    free(base), free(y), free(want);
    for (int i = 0; i < 2; i++) pith_adapter_close((pith_adapter *)(uintptr_t)list[i]);
    pith_close(m), pith_close(merged);
    free(b.p), free(b2.p);
}

TEST(same_as_merged) {
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) as_merged(goldens + i, 5, i % 2);
    as_merged(golden_named("llama"), 1, 1);
    as_merged(golden_named("llama"), 2 * PITH__LOW + 3, 0);
}

/* ---- PEFT folders ---------------------------------------------------------------------------------- */

#define LAYERS "base_model.model.model.layers."
static const char config[] =
    "{'peft_type': 'LORA', 'task_type': 'CAUSAL_LM', 'r': 4, 'lora_alpha': 2, 'use_dora': false, 'bias': 'none',"
    " 'target_modules': ['q_proj', 'down_proj'], 'modules_to_save': null, 'rank_pattern': {}, 'alpha_pattern': {},"
    " 'init_lora_weights': true, 'loftq_config': {}, 'unheard_of': [1, {}]}";
static const char tensors[] =
    LAYERS "1.self_attn.q_proj.lora_A.weight 4 72;" LAYERS "1.self_attn.q_proj.lora_B.weight 72 4;"
    LAYERS "2.mlp.down_proj.lora_A.weight 4 100;" LAYERS "2.mlp.down_proj.lora_B.weight 72 4";

/* text with each from replaced by to; from NULL: as it is. */
static const char *with(const char *text, const char *from, const char *to) {
    static char buffer[2][4000];
    static int turn;
    char *b = buffer[turn++ % 2], *p = b;
    if (from && !strstr(text, from)) FAIL("no %s in %s", from, text);
    for (const char *at; from && (at = strstr(text, from)); text = at + strlen(from))
        p += sprintf(p, "%.*s%s", (int)(at - text), text, to);
    strcpy(p, text);
    return b;
}

static void write_peft(const char *json, const char *list) {
    char text[4000];
    snprintf(text, sizeof text, "%s", json);
    for (char *p = text; *p; p++)
        if (*p == '\'') *p = '"';
    bytes b = fixture_safetensors(list, 3);
    mkdir(in_folder("peft"), 0777);
    write_bytes("peft/adapter_config.json", text, strlen(text));
    write_bytes("peft/adapter_model.safetensors", b.p, b.n);
    free(b.p);
}

/* What a PEFT folder is for layer l's matrix: its scale; 0: nothing. */
static float scale_of(const pith_adapter *a, const pith__weight *w) {
    return a && a->pair[w->index].r ? a->pair[w->index].scale : 0;
}

TEST(scales) {
    static const struct { const char *from, *to; float q, down; } cases[] = {
        { NULL, NULL, 0.5f, 0.5f }, { "'lora_alpha': 2", "'lora_alpha': 6.5", 1.625f, 1.625f },
        { "'use_dora'", "'use_rslora': true, 'use_dora'", 1, 1 },
        { "'alpha_pattern': {}", "'alpha_pattern': {'down_proj': 8}", 0.5f, 2 },
        { "'alpha_pattern': {}", "'alpha_pattern': {'model.layers.1.self_attn.q_proj': 1, 'own_proj': 9}", 0.25f, 0.5f },
        { "'alpha_pattern': {}", "'alpha_pattern': {'^q_proj': 9, 'layers.2.mlp.down_proj': 4}", 0.5f, 1 },
        { "'alpha_pattern': {}", "'alpha_pattern': {'q_proj': 8}, 'use_rslora': true", 4, 1 },
        { "'rank_pattern': {}", "'rank_pattern': {'q_proj': 4, 'k_proj': 9}", 0.5f, 0.5f },
        { "['q_proj', 'down_proj']", "'all-linear'", 0.5f, 0.5f },
        { "['q_proj', 'down_proj']", "['v_proj', 'model.layers.2.mlp.down_proj']", 0.5f, 0.5f },
        { "'init_lora_weights': true", "'init_lora_weights': 'gaussian'", 0.5f, 0.5f },
        { "'CAUSAL_LM'", "null", 0.5f, 0.5f },
    };
    bytes b;
    pith_model *m = open_golden(golden_named("llama"), &b);
    REQUIRE(m);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_peft(with(config, cases[i].from, cases[i].to), tensors);
        pith_adapter *a = open_adapter(m, "peft");
        NEAR(scale_of(a, &m->layer[1].q), cases[i].q, 1e-7);
        NEAR(scale_of(a, &m->layer[2].ffn->down), cases[i].down, 1e-7);
        EQ(scale_of(a, &m->layer[1].k) != 0, 0);
        pith_adapter_close(a);
    }
    pith_close(m);
    free(b.p);
}

TEST(other_names_of_tensors) {
    static const char *const cases[][2] = {
        { "base_model.model.", "" }, { "base_model.model.model.", "base_model.model.language_model.model." },
        { "lora_A.weight", "lora_A.default.weight" }, { "lora_B.weight", "lora_B.default.weight" },
    };
    bytes b;
    pith_model *m = open_golden(golden_named("llama"), &b);
    REQUIRE(m);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_peft(config, with(tensors, cases[i][0], cases[i][1]));
        pith_adapter *a = open_adapter(m, "peft");
        CHECK(scale_of(a, &m->layer[1].q) > 0 && scale_of(a, &m->layer[2].ffn->down) > 0);
        pith_adapter_close(a);
    }
    pith_close(m);
    free(b.p);
}

/* Where a folder says which chat template it was taught with. */
TEST(chat_templates) {
    static const char *const cases[][3] = { /* file, content, template */
        { "peft/chat_template.jinja", "{{ x }}", "{{ x }}" }, { "peft/tokenizer_config.json", "{\"chat_template\": \"a\\nb\"}", "a\nb" },
        { "peft/tokenizer_config.json", "{\"chat_template\": null}", "" },
    };
    bytes b;
    pith_model *m = open_golden(golden_named("llama"), &b);
    REQUIRE(m);
    write_peft(config, tensors);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_bytes(cases[i][0], cases[i][1], strlen(cases[i][1]));
        pith_adapter *a = open_adapter(m, "peft");
        CHECK(a && pith__str_is(a->store.vocab.chat_template, cases[i][2]));
        pith_adapter_close(a);
        unlink(in_folder(cases[i][0]));
    }
    pith_close(m);
    free(b.p);
}

/* Hugging Face's names of single experts, on a GGUF model that has them stacked; fused matrices as well. */
TEST(experts_and_fused_matrices) {
    bytes b;
    pith_model *m = open_golden(golden_named("qwen3moe"), &b);
    REQUIRE(m && m->layer[1].router.tensor.data);
    const pith__ffn *ffn = m->layer[1].ffn + 1;
    char list[1000];
    snprintf(list, sizeof list, LAYERS "1.mlp.experts.1.down_proj.lora_A.weight 4 %d;" LAYERS
             "1.mlp.experts.1.down_proj.lora_B.weight %d 4;" LAYERS "1.mlp.gate.lora_A.weight 4 %d;" LAYERS
             "1.mlp.gate.lora_B.weight %d 4", (int)ffn->down.tensor.cols, (int)ffn->down.tensor.rows, m->hyper.n_embd,
             m->hyper.n_expert);
    write_peft(config, list);
    pith_adapter *a = open_adapter(m, "peft");
    CHECK(scale_of(a, &ffn->down) > 0 && scale_of(a, &m->layer[1].router) > 0);
    CHECK(scale_of(a, &ffn->up) == 0 && scale_of(a, &m->layer[1].ffn[0].down) == 0);
    pith_adapter_close(a), pith_close(m), free(b.p);

    m = open_golden(golden_named("phi3"), &b);
    REQUIRE(m);
    const pith__layer *l = m->layer;
    int n_embd = m->hyper.n_embd, n_q = (int)l->q.tensor.rows, n_kv = (int)l->k.tensor.rows, n_ff = m->hyper.n_ff;
    snprintf(list, sizeof list, LAYERS "0.self_attn.qkv_proj.lora_A.weight 4 %d;" LAYERS
             "0.self_attn.qkv_proj.lora_B.weight %d 4;" LAYERS "0.mlp.gate_up_proj.lora_A.weight 4 %d;" LAYERS
             "0.mlp.gate_up_proj.lora_B.weight %d 4", n_embd, n_q + 2 * n_kv, n_embd, 2 * n_ff);
    write_peft(with(config, "'q_proj', 'down_proj'", "'qkv_proj', 'gate_up_proj'"), list);
    a = open_adapter(m, "peft");
    CHECK(scale_of(a, &l->q) > 0 && scale_of(a, &l->k) > 0 && scale_of(a, &l->v) > 0);
    CHECK(scale_of(a, &l->ffn->gate) > 0 && scale_of(a, &l->ffn->up) > 0 && scale_of(a, &l->ffn->down) == 0);
    pith_adapter_close(a), pith_close(m), free(b.p);
}

/* As PEFT names them over transformers' MPNetModel and ModernBertModel. */
TEST(names_of_encoders) {
    static const struct { const char *folder, *o, *down, *targets; } want[] = {
        { "encoders/mpnet-hf", "encoder.layer.1.attention.attn.o", "encoder.layer.0.output.dense", "'attn.o', 'output.dense'" },
        { "encoders/modernbert-hf", "layers.1.attn.Wo", "layers.0.mlp.Wo", "'Wo'" },
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const char *path = fixture_shared(want[i].folder);
        pith_error e = { 0, "" };
        if (!path) SKIP("no ../shared/encoders");
        pith_model *m = pith_open(path, NULL, &e);
        REQUIRE(m);
        char list[1000];
        const pith__weight *w[] = { &m->layer[1].o, &m->layer[0].ffn->down };
        int n = 0;
        for (int k = 0; k < 2; k++)
            for (int b = 0; b < 2; b++)
                n += snprintf(list + n, sizeof list - (size_t)n, "%sbase_model.model.%s.lora_%c.weight %d %d", n ? ";" : "", k ? want[i].down : want[i].o,
                              "AB"[b], b ? (int)w[k]->tensor.rows : 4, b ? 4 : (int)w[k]->tensor.cols);
        write_peft(with(config, "'q_proj', 'down_proj'", want[i].targets), list);
        pith_adapter *a = open_adapter(m, "peft");
        CHECK(a && scale_of(a, w[0]) > 0 && scale_of(a, w[1]) > 0 && scale_of(a, &m->layer[0].o) == 0);
        pith_adapter_close(a), pith_close(m);
    }
}

/* ---- what is refused ------------------------------------------------------------------------------- */

static void refused(const pith_model *m, const char *name, const char *what, const char *word) {
    pith_error e = { 0, "" };
    pith_adapter *a = pith_adapter_open(m, in_folder(name), &e);
    if (a) FAIL("%s: opened", what);
    else if (!strstr(e.text, word) || strstr(e.text, "(null)")) FAIL("%s: '%s' has no '%s'", what, e.text, word);
    pith_adapter_close(a);
}

TEST(configs_that_are_refused) {
    static const char *const cases[][3] = {
        { "'LORA'", "'IA3'", "peft_type is" }, { "'peft_type': 'LORA',", "", "has no peft_type" },
        { "'CAUSAL_LM'", "'TOKEN_CLS'", "task_type is" }, { "'r': 4", "'r': 0", "r is 0" }, { "'r': 4", "'r': -4", "r is -4" },
        { "'r': 4", "'r': 1.5", "r is 1.5" }, { "'r': 4", "'r': '4'", "r is \"4\"" }, { "'r': 4,", "", "has no r" },
        { "'r': 4", "'r': 8", "need rank 8" }, { "'lora_alpha': 2,", "", "has no lora_alpha" },
        { "'lora_alpha': 2", "'lora_alpha': 0", "lora_alpha is 0" }, { "'lora_alpha': 2", "'lora_alpha': 1e999", "lora_alpha" },
        { "'use_dora': false", "'use_dora': true", "DoRA" }, { "'bias': 'none'", "'bias': 'all'", "bias is" },
        { "'use_dora'", "'fan_in_fan_out': true, 'use_dora'", "fan_in_fan_out" },
        { "'use_dora'", "'layer_replication': [[0, 3]], 'use_dora'", "layer_replication" },
        { "'use_dora'", "'trainable_token_indices': [1], 'use_dora'", "embeddings" },
        { "'use_dora'", "'target_parameters': ['x'], 'use_dora'", "target_parameters" },
        { "'modules_to_save': null", "'modules_to_save': ['lm_head']", "modules_to_save" },
        { "'init_lora_weights': true", "'init_lora_weights': 'pissa'", "init_lora_weights" },
        { "'rank_pattern': {}", "'rank_pattern': {'q_proj': 8}", "need rank 8" },
        { "'rank_pattern': {}", "'rank_pattern': {'.*q_proj': 4}", "regular expressions" },
        { "'alpha_pattern': {}", "'alpha_pattern': {'q_proj': 0}", "numbers over 0" },
        { "'alpha_pattern': {}", "'alpha_pattern': []", "an object" },
        { "['q_proj', 'down_proj']", "['k_proj']", "target_modules" }, { "{'peft_type'", "['peft_type'", "adapter_config.json" },
    };
    bytes b;
    pith_model *m = open_golden(golden_named("llama"), &b);
    REQUIRE(m);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_peft(with(config, cases[i][0], cases[i][1]), tensors);
        refused(m, "peft", cases[i][1], cases[i][2]);
    }
    pith_close(m);
    free(b.p);
}

#define Q "1.self_attn.q_proj.lora_"
TEST(tensors_that_are_refused) {
    static const char *const cases[][3] = {
        { Q "A.weight 4 72", Q "A.weight 4 71", "q_proj.lora_A' is 4 x 71, need r x 72" },
        { Q "B.weight 72 4", Q "B.weight 71 4", "q_proj.lora_B' is 71 x 4, need 72 x 4" },
        { Q "B.weight 72 4", Q "B.weight 72 3", "need rank 4" }, { Q "B.weight 72 4;", "x.bias 4;", "biases" },
        { ";" LAYERS Q "B.weight 72 4", "", "q_proj.lora_A' has no lora_b" },
        { LAYERS Q "A.weight 4 72;", "", "q_proj.lora_B' has no lora_a" },
        { LAYERS "1.", LAYERS "3.", "layers.3.self_attn.q_proj.lora_A' is of no matrix" },
        { LAYERS "1.", LAYERS "x.", "no linear layer" }, { "q_proj.lora_A", "z_proj.lora_A", "no linear layer" },
        { LAYERS Q, LAYERS "1.input_layernorm.lora_", "lora_A" }, { "q_proj.lora_A", "q_proj.lora_magnitude_vector", "DoRA" },
        { LAYERS Q, "base_model.model.model.embed_tokens.lora_embedding_", "embeddings" },
        { LAYERS Q, "base_model.model.lm_head.lora_", "output matrix" }, { LAYERS Q, LAYERS "1.mlp.experts.0.up_proj.lora_", "is of no matrix" },
        { LAYERS Q, LAYERS "2.mlp.down_proj.lora_A.weight 4 100;" LAYERS Q, "comes twice" },
        { LAYERS Q, "model.layers.2.mlp.down_proj.lora_A.weight 4 100;" LAYERS Q, "comes twice" },
    };
    bytes b;
    pith_model *m = open_golden(golden_named("llama"), &b);
    REQUIRE(m);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_peft(config, with(tensors, cases[i][0], cases[i][1]));
        refused(m, "peft", cases[i][1], cases[i][2]);
    }
    pith_close(m);
    free(b.p);
}

/* A number that is none, and a file that ends anywhere. */
/* A reward model, task SEQ_CLS: its head may have several names, and only who asks for scores gets it. */
static const char *const score_names[] = {
    "base_model.model.score", "base_model.model.classifier", "score", "base_model.model.score.modules_to_save",
    "base_model.model.score.modules_to_save.default",
};

static void write_reward(const char *saved, const char *score) {
    char text[600], all[1000];
    snprintf(text, sizeof text, "%s", with(with(config, "'CAUSAL_LM'", "'SEQ_CLS'"), "'modules_to_save': null", saved));
    snprintf(all, sizeof all, "%s;%s", tensors, score);
    write_peft(text, *score ? all : tensors);
}

TEST(score_heads) {
    static const char *const wrong[][3] = {
        { "'modules_to_save': ['lm_head']", "score.weight 1 72", "modules_to_save" },
        { "'modules_to_save': ['score', 'embed_tokens']", "score.weight 1 72", "modules_to_save" },
        { "'modules_to_save': ['score']", "", "no tensor 'base_model.model.score.weight'" },
        { "'modules_to_save': ['score']", "score.weight 2 72", "'score.weight' is 2 x 72, need 1 x 72" },
        { "'modules_to_save': ['score']", "base_model.model.score.weight 1 71", "'score.weight' is 1 x 71, need 1 x 72" },
        { "'modules_to_save': ['score']", "score.weight 1 72;score.bias 1 1", "biases" },
        { "'modules_to_save': ['score']", "score.weight 1 72;classifier.weight 1 72", "score.weight" },
    };
    bytes b;
    char tensor[100];
    pith_model *m = open_golden(golden_named("llama"), &b);
    REQUIRE(m);
    for (size_t i = 0; i < sizeof score_names / sizeof *score_names; i++) {
        snprintf(tensor, sizeof tensor, "%s.weight 1 72", score_names[i]);
        write_reward("'modules_to_save': ['classifier', 'score']", tensor);
        pith_adapter *a = pith__adapter_open(m, in_folder("peft"), 1, NULL);
        CHECK(a && a->score && scale_of(a, &m->layer[1].q) > 0);
        for (int k = 0; a && k < 72; k++) CHECK(fabsf(a->score[k]) > 0);
        pith_adapter_close(a);
        refused(m, "peft", "no scores wanted", "is a reward model");
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        pith_error e = { 0, "" };
        write_reward(wrong[i][0], wrong[i][1]);
        if (pith__adapter_open(m, in_folder("peft"), 1, &e)) FAIL("%s: opened", wrong[i][1]);
        else if (!strstr(e.text, wrong[i][2])) FAIL("'%s' has no '%s'", e.text, wrong[i][2]);
    }
    static const float bad[] = { NAN, -INFINITY };
    for (int i = 0; i < 2; i++) {
        char all[1000];
        snprintf(all, sizeof all, "%s;score.weight 1 72", tensors);
        write_reward("'modules_to_save': ['score']", "score.weight 1 72");
        bytes f = fixture_safetensors(all, 3);
        memcpy(f.p + f.n - 4, bad + i, 4);
        write_bytes("peft/adapter_model.safetensors", f.p, f.n);
        pith_error e = { 0, "" };
        CHECK(!pith__adapter_open(m, in_folder("peft"), 1, &e) && strstr(e.text, "'score.weight' has a number that is infinite or NaN"));
        free(f.p);
    }
    write_peft(config, with(tensors, LAYERS Q "B.weight 72 4", "base_model.model.score.weight 1 72"));
    refused(m, "peft", "a head without the task", "score.weight': is of no linear layer");
    pith_close(m);
    free(b.p);
}

TEST(files_that_are_refused) {
    bytes b, f = fixture_safetensors(tensors, 3);
    pith_model *m = open_golden(golden_named("llama"), &b);
    REQUIRE(m);
    write_peft(config, tensors);
    for (size_t n = 0; n < f.n; n += n < 700 ? 1 : 97) {
        write_bytes("peft/adapter_model.safetensors", f.p, n);
        refused(m, "peft", "cut", "adapter_model.safetensors");
    }
    static const float bad[] = { NAN, INFINITY };
    for (int i = 0; i < 2; i++) {
        memcpy(f.p + f.n - 4, bad + i, 4);
        write_bytes("peft/adapter_model.safetensors", f.p, f.n);
        refused(m, "peft", "NaN", "down_proj.lora_B' has a number");
    }
    unlink(in_folder("peft/adapter_model.safetensors"));
    refused(m, "peft", "none", "adapter_model.safetensors");
    write_bytes("peft/adapter_model.bin", "x", 1);
    refused(m, "peft", "a pickle", "a pickle");
    unlink(in_folder("peft/adapter_model.bin"));
    unlink(in_folder("peft/adapter_config.json"));
    refused(m, "peft", "an empty folder", "adapter_config.json");
    rmdir(in_folder("peft"));
    refused(m, "peft", "nothing", "peft");
    pith_close(m);
    free(b.p), free(f.p);
}

TEST(gguf_adapters_that_are_refused) {
    static const char keys[] = "general.architecture llama;general.type adapter;adapter.type lora;adapter.lora.alpha 2.0";
    static const char list[] = "blk.0.attn_q.weight.lora_a 4 72;blk.0.attn_q.weight.lora_b 72 4";
    static const char *const cases[][4] = { /* of the keys, of the tensors */
        { "lora.alpha 2.0", "x 1", "", "adapter.lora.alpha" }, { "alpha 2.0", "alpha 0.0", "", "over 0" },
        { "alpha 2.0", "alpha much", "", "adapter.lora.alpha" }, { "type adapter", "type model", "", "general.type" },
        { "type lora", "type control", "", "adapter.type" }, { "architecture llama", "architecture qwen2", "", "is an adapter of a qwen2" },
        { "alpha 2.0", "alpha 2.0;adapter.alora.invocation_tokens [1]", "", "aLoRA" },
        { "", "", "blk.0.attn_q.weight 72 72", "no part of a LoRA" }, { "", "", "output.weight.lora_a 4 72;output.weight.lora_b 515 4", "no matrix" },
        { "", "", "blk.0.attn_q.weight.lora_a 4 72", "has no lora_b" }, { "", "", "blk.0.ffn_up_exps.weight.lora_a 2 4 72;blk.0.ffn_up_exps.weight.lora_b 2 100 4", "no matrix" },
        { "", "", "blk.0.attn_qkv.weight.lora_a 4 72;blk.0.attn_qkv.weight.lora_b 216 4;blk.0.attn_k.weight.lora_a 4 72;blk.0.attn_k.weight.lora_b 72 4", "has another" },
        { "", "", "blk.99999999999.attn_q.weight.lora_a 4 72;blk.99999999999.attn_q.weight.lora_b 72 4", "no matrix" },
        { "", "", ".lora_a 4 72;.lora_b 72 4", "no part" },
    };
    bytes b;
    pith_model *m = open_golden(golden_named("llama"), &b);
    REQUIRE(m);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bytes f = fixture_gguf(with(keys, *cases[i][0] ? cases[i][0] : NULL, cases[i][1]), *cases[i][2] ? cases[i][2] : list, 1);
        write_bytes("one", f.p, f.n);
        refused(m, "one", *cases[i][2] ? cases[i][2] : cases[i][1], cases[i][3]);
        free(f.p);
    }
    bytes f = fixture_gguf(keys, list, 1);
    for (size_t n = 0; n < f.n; n += n < 400 ? 1 : 97) {
        write_bytes("one", f.p, n);
        refused(m, "one", "cut", "/one");
    }
    CHECK(!pith_adapter_open(m, NULL, NULL));
    pith_adapter_close(NULL);
    free(f.p);
    pith_close(m);
    free(b.p);
}

/* ---- sessions -------------------------------------------------------------------------------------- */

/* Sessions with one adapter, another, both, and none go through the same passes, to the bits that each has alone. */
static void beside_others(const struct golden *g, int n_threads) {
    enum { SESSIONS = 6 };
    static const int which[SESSIONS][2] = { { 0, -1 }, { -1, -1 }, { 1, -1 }, { 0, 1 }, { 0, 1 }, { 1, 0 } };
    static const float scales[] = { 1, 0.25f };
    bytes b = fixture_gguf(g->keys, g->tensors, g->seed);
    pith_model *m = pith_open_memory(b.p, b.n, &(pith_options){ .n_threads = n_threads }, NULL);
    REQUIRE(m);
    write_adapter(m, "one", 4, "0.5", 0, 5);
    write_adapter(m, "two", 3, "0.75", 1, 6);
    const pith_adapter *both[] = { open_adapter(m, "one"), open_adapter(m, "two") };
    pith_session *s[SESSIONS];
    pith_token t[N];
    pith_work work[SESSIONS];
    size_t n_vocab = (size_t)m->hyper.n_vocab;
    for (int i = 0; i < N; i++) t[i] = text_token(m, i);
    for (int step = 0; step < 3; step++) {
        for (int i = 0; i < SESSIONS; i++) {
            const pith_adapter *list[2];
            int n = 0;
            for (; n < 2 && which[i][n] >= 0; n++) list[n] = both[which[i][n]];
            if (step == 0) {
                s[i] = pith_session_new(m, &(pith_context){ .n_ctx = N }, NULL);
                EQ(pith_session_adapters(s[i], list, scales, n, NULL), PITH_OK);
            }
            work[i] = (pith_work){ s[i], t + s[i]->position, step == 1 ? 1 : 3 + i % 3, NULL };
        }
        EQ(pith_eval_many(work, SESSIONS, NULL), PITH_OK);
    }
    for (int i = 0; i < SESSIONS; i++) {
        const pith_adapter *list[2];
        int n = 0;
        for (; n < 2 && which[i][n] >= 0; n++) list[n] = both[which[i][n]];
        pith_context c = { .n_ctx = N, .n_batch = 5, .adapters = list, .scales = scales, .n_adapter = n };
        pith_session *alone = pith_session_new(m, &c, NULL);
        EQ(pith_eval(alone, t, s[i]->position, NULL), PITH_OK);
        if (memcmp(alone->logits, s[i]->logits, n_vocab * sizeof *s[i]->logits) != 0) FAIL("%s: text %d differs", g->name, i);
        for (int k = 0; k < i; k++)
            if (i != 4 && s[k]->position == s[i]->position && !memcmp(s[k]->logits, s[i]->logits, n_vocab * sizeof(float)))
                FAIL("%s: texts %d and %d are the same", g->name, k, i);
        pith_session_free(alone);
    }
    for (int i = 0; i < SESSIONS; i++) pith_session_free(s[i]);
    for (int i = 0; i < 2; i++) pith_adapter_close((pith_adapter *)(uintptr_t)both[i]);
    pith_close(m);
    free(b.p);
}

TEST(beside_other_adapters) {
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) beside_others(goldens + i, 1 + i % 2);
}

/* What changes a session's adapters makes it forget a text that they were not in. */
TEST(adapters_of_a_session) {
    bytes b, b2;
    pith_model *m = open_golden(golden_named("llama"), &b), *other = open_golden(golden_named("llama"), &b2);
    REQUIRE(m && other);
    write_adapter(m, "one", 4, "0.5", 0, 5);
    write_adapter(m, "two", 3, "0.75", 1, 6);
    const pith_adapter *list[] = { open_adapter(m, "one"), open_adapter(m, "two") };
    pith_error e = { 0, "" };
    const pith_token t[] = { 1, 2, 3 };
    pith_session *s = pith_session_new(m, &(pith_context){ .n_ctx = N }, NULL);
    pith_session *with = pith_session_new(m, &(pith_context){ .n_ctx = N, .adapters = list, .n_adapter = 1 }, NULL);
    REQUIRE(s && with && list[0] && list[1]);
    EQ(pith_eval(s, t, 3, NULL), PITH_OK);
    EQ(pith_session_adapters(s, NULL, NULL, 0, NULL), PITH_OK);
    EQ(pith_position(s), 3);
    EQ(pith_session_adapters(s, list, (const float[]){ 1, NAN }, 2, &e), PITH_EARG);
    EQ(pith_session_adapters(s, list, NULL, PITH_ADAPTERS + 1, &e), PITH_EARG);
    EQ(pith_position(s), 3);
    EQ(pith_session_copy(with, s, &e), PITH_EARG);
    CHECK(strstr(e.text, "adapters"));
    EQ(pith_session_adapters(s, list, NULL, 1, NULL), PITH_OK);
    EQ(pith_position(s), 0);
    EQ(pith_eval(s, t, 3, NULL), PITH_OK);
    EQ(pith_session_copy(with, s, &e), PITH_OK);
    EQ(pith_session_adapters(s, list, (const float[]){ 0.5f }, 1, NULL), PITH_OK);
    EQ(pith_session_copy(with, s, &e), PITH_EARG);
    EQ(pith_session_save(s, in_folder("text"), NULL), PITH_OK);
    EQ(pith_session_load(with, in_folder("text"), &e), PITH_EARG);
    CHECK(strstr(e.text, "other adapters"));
    EQ(pith_session_adapters(with, list, (const float[]){ 0.5f }, 1, NULL), PITH_OK);
    EQ(pith_session_load(with, in_folder("text"), NULL), PITH_OK);
    EQ(pith_position(with), 0);
    pith_session *of_other = pith_session_new(other, &(pith_context){ .n_ctx = N }, NULL);
    EQ(pith_session_adapters(of_other, list, NULL, 1, &e), PITH_EARG);
    CHECK(!pith_session_new(other, &(pith_context){ .n_ctx = N, .adapters = list, .n_adapter = 1 }, &e));
    CHECK(strstr(e.text, "another model"));
    pith_session_free(s), pith_session_free(with), pith_session_free(of_other);
    for (int i = 0; i < 2; i++) pith_adapter_close((pith_adapter *)(uintptr_t)list[i]);
    pith_close(m), pith_close(other);
    free(b.p), free(b2.p);
}

int main(void) {
    strcpy(folder, "/tmp/pith-lora-XXXXXX");
    if (!mkdtemp(folder)) exit(99);
    RUN(same_logits_as_peft);
    RUN(same_as_merged);
    RUN(scales);
    RUN(other_names_of_tensors);
    RUN(chat_templates);
    RUN(experts_and_fused_matrices);
    RUN(names_of_encoders);
    RUN(configs_that_are_refused);
    RUN(tensors_that_are_refused);
    RUN(score_heads);
    RUN(files_that_are_refused);
    RUN(gguf_adapters_that_are_refused);
    RUN(beside_other_adapters);
    RUN(adapters_of_a_session);
    static const char *const made[] = { "one", "two", "text" };
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) unlink(in_folder(made[i]));
    rmdir(folder);
    return DONE();
}
