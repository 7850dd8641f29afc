/* t_merge.c - adapters merged into models: logits and norms as peft computes them (../shared/tuning), every container
 * and family; sums rounded once; what an adapter does not change is copied; what cannot be merged is refused. */
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

static float *logits_of(const pith_model *m, const pith_token *t, int n, const pith__adapted *by) {
    pith_context c = { .n_ctx = n, .cache_k = "f32", .cache_v = "f32" };
    const pith_adapter *list[PITH_ADAPTERS];
    float scale[PITH_ADAPTERS];
    for (int i = 0; by && i < by->n; i++) list[i] = by->of[i].adapter, scale[i] = by->of[i].scale;
    if (by) c.adapters = list, c.scales = scale, c.n_adapter = by->n;
    pith_session *s = pith_session_new(m, &c, &error);
    float *y = calloc((size_t)n * (size_t)m->hyper.n_vocab, sizeof *y);
    if (!s || pith__eval_all(s, t, n, y, &error)) FAIL("%s", error.text);
    pith_session_free(s);
    return y;
}

static double distance(const float *a, const float *b, size_t n) { /* relative, l2 */
    double d = 0, all = 0;
    for (size_t i = 0; i < n; i++) d += ((double)a[i] - b[i]) * ((double)a[i] - b[i]), all += (double)b[i] * b[i];
    return sqrt(d / all);
}

/* Merges into "out", or "out.gguf", and opens that. */
static pith_model *merged(pith__merge *plan, int gguf) {
    const char *out = in_folder(gguf ? "out.gguf" : "out");
    if (gguf ? pith__merge_gguf(plan, out, &error) : pith__merge_folder(plan, out, &error)) return FAIL("%s", error.text), NULL;
    pith_model *m = pith_open(out, &(pith_options){ .n_threads = 1 }, &error);
    if (!m) FAIL("%s", error.text);
    return m;
}

/* ---- what peft computes ---------------------------------------------------------------------------- */

static const char *tuning(const char *family, const char *file) {
    static char path[2][512];
    static int turn;
    char name[200], *to = path[turn++ % 2];
    snprintf(name, sizeof name, "tuning/%s/%s", family, file);
    const char *p = fixture_shared(name);
    snprintf(to, sizeof path[0], "%s", p ? p : "");
    return to;
}

static int read_numbers(const char *path, pith_token *ids, float *x, size_t n) {
    FILE *f = fopen(path, "rb");
    size_t got = 0;
    while (f && got < n && (ids ? fscanf(f, "%d", ids + got) == 1 : fread(x + got, sizeof *x, 1, f) == 1)) got++;
    if (f) fclose(f);
    return got == n;
}

/* l2 and the sum of every tensor of a folder, by the names of the table. */
static void norms_as(const pith_model *m, const char *path) {
    char line[300], name[120];
    int n = 0;
    FILE *f = fopen(path, "r");
    pith__folder to_gguf = { .s = (pith__store *)(uintptr_t)&m->store, .bias = 2 };
    for (long count; f && fgets(line, sizeof line, f);) {
        double l2, sum, want_l2, want_sum;
        if (sscanf(line, "%119s %ld %lf %lf", name, &count, &want_l2, &want_sum) != 4) continue;
        char gguf[PITH__HF_NAME];
        const pith__tensor *t = pith__hf_to_gguf(&to_gguf, pith__str_of(name), gguf) ? pith__store_tensor(&m->store, gguf) : NULL;
        if (!t || (long)(t->rows * t->cols) != count) {
            FAIL("no %s", name);
            continue;
        }
        float *x = malloc(t->cols * sizeof *x);
        l2 = sum = 0;
        for (size_t r = 0; r < t->rows; r++) {
            pith__row_floats(t, r, x);
            for (size_t i = 0; i < t->cols; i++) l2 += (double)x[i] * x[i], sum += (double)x[i];
        }
        free(x);
        if (!(fabs(sqrt(l2) / want_l2 - 1) < 1e-6) || !(fabs(sum - want_sum) < 1e-4)) FAIL("%s: %g %g", name, sqrt(l2), sum);
        n++;
    }
    if (f) fclose(f);
    CHECK(n > 20);
}

enum { IDS = 24 };

static void as_peft(const char *family, int base_gguf, int out_gguf, int mix) {
    pith_token ids[IDS];
    pith_model *m = pith_open(tuning(family, base_gguf ? "base.gguf" : "base"), NULL, NULL);
    pith_adapter *a = m ? pith_adapter_open(m, tuning(family, "lora/a1"), NULL) : NULL;
    pith_adapter *a2 = m ? pith_adapter_open(m, tuning(family, "lora/a2.gguf"), NULL) : NULL;
    REQUIRE(m && a && a2 && read_numbers(tuning(family, "lora/ids.txt"), ids, NULL, IDS));
    size_t n = (size_t)(IDS * m->hyper.n_vocab);
    float *want = malloc(n * sizeof *want);
    const char *logits = mix ? "lora/mix_a1x0.7_a2x0.4.logits.f32" : "lora/a1_merged.logits.f32";
    REQUIRE(read_numbers(tuning(family, logits), NULL, want, n));
    pith__adapted by = { .n = 1 + mix, .of = { { a, mix ? 0.7f : 1 }, { a2, 0.4f } } };
    pith__merged report[64];
    pith__merge plan = { .m = m, .by = &by, .report = report };
    pith_model *out = merged(&plan, out_gguf);
    REQUIRE(out);
    float *y = logits_of(out, ids, IDS, NULL);
    double d = distance(y, want, n);
    if (!(d < 1e-5)) FAIL("%s, base %d, out %d, mix %d: %g", family, base_gguf, out_gguf, mix, d);
    if (!out_gguf && !mix) norms_as(out, tuning(family, "lora/a1_merged.norms.txt"));
    EQ(plan.n_report, 14);
    for (size_t i = 0; i < plan.n_report; i++) CHECK(report[i].delta > 0 && report[i].moved < 1e-12 * report[i].weights);
    CHECK(!pith__str_cmp(out->store.vocab.chat_template, m->store.vocab.chat_template));
    const char text[] = "<|im_start|>The  caf\xc3\xa9's\n\n 12345 rows<|eot_id|>";
    pith_token t[64], t2[64];
    int n_t = pith_encode(m, text, strlen(text), PITH_BOS | PITH_SPECIAL, t, 64);
    CHECK(n_t > 8 && pith_encode(out, text, strlen(text), PITH_BOS | PITH_SPECIAL, t2, 64) == n_t && !memcmp(t, t2, (size_t)n_t * sizeof *t));
    free(want), free(y);
    pith_close(out), pith_adapter_close(a), pith_adapter_close(a2), pith_close(m);
    clear("out"), clear("out.gguf");
}

TEST(logits_and_norms_as_peft_has_them) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int i = 0; i < 4; i++) as_peft("llama", 0, i & 1, i >> 1), as_peft("qwen2", 0, i & 1, i >> 1);
    for (int i = 0; i < 2; i++) as_peft("llama", 1, 1, i), as_peft("qwen2", 1, 1, i);
}

/* ---- families and types ---------------------------------------------------------------------------- */

static pith_model *open_golden(const char *name, bytes *b) {
    const struct golden *g = goldens;
    while (strcmp(g->name, name) != 0) g++;
    *b = fixture_gguf(g->keys, g->tensors, g->seed);
    pith_model *m = pith_open_memory(b->p, b->n, &(pith_options){ .n_threads = 1 }, &error);
    if (!m) FAIL("%s", error.text);
    return m;
}

static float next_number(uint64_t *x) {
    *x = *x * 6364136223846793005u + 1442695040888963407u;
    return (float)(*x >> 40) / 1e8f - 0.08f;
}

/* Of rank 2 for each matrix whose name has this in it. */
static pith_adapter *made_adapter(const pith_model *m, const char *part) {
    pith_adapter *a = calloc(1, sizeof *a);
    uint64_t x = 1;
    if (!a) exit(99);
    a->model = m;
    a->store.path = "made";
    a->pair = pith__arena_new(&a->store.arena, (size_t)m->n_weight, sizeof *a->pair);
    for (const pith__weight *w = m->weights; w && a->pair; w = w->next) {
        pith__pair *p = a->pair + w->index;
        char name[100];
        snprintf(name, sizeof name, "%.*s", (int)w->tensor.name.n, w->tensor.name.p);
        if (w->floats || w == &m->embd || w == &m->head || !strstr(name, part)) continue;
        p->r = 2, p->scale = 1.5f;
        p->a = pith__arena_new(&a->store.arena, 2 * w->tensor.cols, sizeof *p->a);
        p->b = pith__arena_new(&a->store.arena, 2 * w->tensor.rows, sizeof *p->b);
        for (size_t i = 0; i < 2 * w->tensor.cols; i++) p->a[i] = next_number(&x);
        for (size_t i = 0; i < 2 * w->tensor.rows; i++) p->b[i] = next_number(&x);
    }
    return a;
}

TEST(every_family) {
    static const char *const names[] = { "llama", "mixtral_stacked", "mixtral_apart", "qwen2_fused", "qwen3moe", "gemma2",
                                         "phi3", "smollm3", "olmo2", "granite" };
    pith_token t[N];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        bytes b;
        pith_model *m = open_golden(names[i], &b);
        REQUIRE(m);
        for (int k = 0; k < N; k++) t[k] = (7 + 31 * k + 13 * k * k) % m->hyper.n_vocab;
        pith__adapted by = { .n = 1, .of = { { made_adapter(m, ""), 0.75f } } };
        pith_model *out = merged(&(pith__merge){ .m = m, .by = &by }, 1);
        REQUIRE(out);
        float *base = logits_of(m, t, N, NULL), *want = logits_of(m, t, N, &by), *y = logits_of(out, t, N, NULL);
        size_t n = (size_t)(N * m->hyper.n_vocab);
        double d = distance(y, want, n), moved = distance(base, want, n);
        if (!(d < 1e-5) || !(moved > 1e-3)) FAIL("%s: %g, %g from the base", names[i], d, moved);
        free(base), free(want), free(y);
        pith_close(out), pith_adapter_close((pith_adapter *)(uintptr_t)by.of[0].adapter), pith_close(m);
        free(b.p);
    }
    clear("out.gguf");
}

/* How far x is from want, in the least distance of two numbers of the format. */
static double off_nearest(const pith__format *f, float x, double want) {
    float near[3];
    uint16_t code[3];
    f->encode(&code[1], &x, 1, NULL);
    code[0] = (uint16_t)(code[1] - 1), code[2] = (uint16_t)(code[1] + 1);
    f->floats(near, code, 3);
    double least = fabs((double)near[1] - want);
    for (int i = 0; i < 3; i++)
        if (fabs((double)near[i] - want) < least) return INFINITY;
    return 0;
}

/* Every number is the nearest one to the sum in float64: sums are rounded once. */
static void rounded_once(const char *type) {
    bytes b;
    pith_model *m = open_golden("llama", &b);
    REQUIRE(m);
    pith_adapter *a = made_adapter(m, "attn_v");
    pith__adapted by = { .n = 1, .of = { { a, 1 } } };
    const pith__format *to = pith__format_named(type);
    pith__merged report[8];
    pith__merge plan = { .m = m, .by = &by, .to = to, .report = report };
    pith_model *out = merged(&plan, 1);
    REQUIRE(out);
    size_t wrong = 0, cols = m->layer->v.tensor.cols, rows = m->layer->v.tensor.rows;
    const pith__pair *p = a->pair + m->layer->v.index;
    float *x = malloc(2 * cols * sizeof *x);
    CHECK(out->layer->v.tensor.format == to && out->layer->q.tensor.format == to);
    for (size_t r = 0; r < rows; r++) {
        pith__row_floats(&m->layer->v.tensor, r, x);
        pith__row_floats(&out->layer->v.tensor, r, x + cols);
        for (size_t c = 0; c < cols; c++) {
            double sum = 0;
            for (size_t k = 0; k < 2; k++) sum += 1.5 * (double)p->b[k * rows + r] * (double)p->a[k * cols + c];
            wrong += off_nearest(to, x[cols + c], (double)x[c] + sum) > 0;
        }
    }
    if (wrong) FAIL("%s: %zu numbers are not the nearest", type, wrong);
    EQ(plan.n_report, (size_t)m->hyper.n_layer);
    CHECK(report[0].moved > 0 && report[0].moved < report[0].delta);
    free(x);
    pith_close(out), pith_adapter_close(a), pith_close(m);
    free(b.p);
}

TEST(sums_are_rounded_once) {
    rounded_once("f16");
    rounded_once("bf16");
    clear("out.gguf");
}

/* A model whose matrices are in this format, of any numbers. */
static pith_model *open_in_format(const char *type, bytes *b, uint8_t **numbers) {
    *b = fixture_gguf("general.architecture llama; llama.block_count 1; llama.embedding_length 256; llama.context_length 64;"
                      "llama.feed_forward_length 256; llama.attention.head_count 4; llama.attention.layer_norm_rms_epsilon 1e-5",
                      "token_embd.weight 32 256; blk.0.attn_norm.weight 256; blk.0.attn_q.weight 256 256; "
                      "blk.0.attn_k.weight 256 256; blk.0.attn_v.weight 256 256; blk.0.attn_output.weight 256 256; "
                      "blk.0.ffn_norm.weight 256; blk.0.ffn_gate.weight 256 256; blk.0.ffn_up.weight 256 256; "
                      "blk.0.ffn_down.weight 256 256; output_norm.weight 256", 3);
    pith_model *m = pith_open_memory(b->p, b->n, &(pith_options){ .n_threads = 1 }, &error);
    const pith__format *f = pith__format_named(type);
    uint8_t *p = *numbers = calloc(256, (size_t)f->bytes);
    for (size_t i = 0; i < 256 * (size_t)f->bytes; i++) p[i] = (uint8_t)(i * i % 251);
    for (size_t i = 0; i < 256; i++) memcpy(p + i * (size_t)f->bytes, "\x00\x04\x00\x00", 4); /* the scales of Q4_K and Q5_K */
    for (size_t i = 0; m && i < m->store.n_tensor; i++) {
        pith__tensor *t = &m->store.tensor[i];
        if (t->n_dim > 1) t->format = f, t->data = p, t->row_bytes = (size_t)f->bytes;
    }
    if (!m) FAIL("%s", error.text);
    return m;
}

/* What the adapter touches keeps its type, or is F16 where that is only read; all else has the bytes that it had. */
static void kept(const char *type, int touched) {
    bytes b;
    uint8_t *numbers;
    pith_model *m = open_in_format(type, &b, &numbers);
    REQUIRE(m);
    pith_adapter *a = made_adapter(m, "attn_");
    pith__adapted by = { .n = 1, .of = { { a, 1 } } };
    pith_model *out = merged(&(pith__merge){ .m = m, .by = &by }, 1);
    REQUIRE(out);
    EQ(out->layer->q.tensor.format->id, touched);
    for (size_t i = 0; i < m->store.n_tensor; i++) {
        const pith__tensor *t = &m->store.tensor[i], *o = &out->store.tensor[i];
        CHECK(!pith__str_cmp(t->name, o->name));
        if (!strncmp(t->name.p, "blk.0.attn_", 11) && t->n_dim > 1) continue;
        if (o->format != t->format || memcmp(o->data, t->data, pith__tensor_bytes(t))) FAIL("%.*s", (int)t->name.n, t->name.p);
    }
    float x[256], y[256], d[256];
    pith__row_floats(pith__store_tensor(&m->store, "blk.0.attn_q.weight"), 9, x);
    pith__row_floats(&out->layer->q.tensor, 9, y);
    const pith__pair *p = a->pair + m->layer->q.index;
    for (int c = 0; c < 256; c++) d[c] = x[c] + 1.5f * (p->b[9] * p->a[c] + p->b[256 + 9] * p->a[256 + c]);
    double off = distance(y, d, 256), moved = distance(x, d, 256);
    if (!(off < moved / 3) || !(moved > 0.03)) FAIL("%s: %g, %g from the base", type, off, moved);
    pith_close(out), pith_adapter_close(a), pith_close(m);
    free(b.p), free(numbers);
    clear("out.gguf");
}

TEST(types_are_kept) {
    kept("q4_k", PITH__Q4_K);
    kept("q5_k", PITH__Q5_K);
}

/* ---- what is said of it ---------------------------------------------------------------------------- */

TEST(the_same_adapter_is_merged_once) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    pith__arena room = { NULL, 0 };
    char *name = NULL;
    for (int out_gguf = 0; out_gguf < 2; out_gguf++) {
        pith_model *m = pith_open(tuning("llama", "base"), NULL, NULL);
        pith_adapter *a = m ? pith_adapter_open(m, tuning("llama", "lora/a1"), NULL) : NULL;
        REQUIRE(m && a);
        pith__adapted by = { .n = 1, .of = { { a, 1 } } };
        EQ(pith__merge_name(m, &by, &name, &room, &error), PITH_OK);
        CHECK(!strncmp(name, "a1, ", 4) && strlen(name) == 4 + 16);
        pith__adapted twice = { .n = 2, .of = { { a, 1 }, { a, 1 } } };
        char *other;
        EQ(pith__merge_name(m, &twice, &other, &room, &error), PITH_EARG);
        const char template[] = "{{ messages }}";
        pith__merge plan = { .m = m, .by = &by, .merged = name, .chat_template = pith__str_of(template) };
        pith_model *out = merged(&plan, out_gguf);
        REQUIRE(out);
        CHECK(pith__str_is(out->store.vocab.chat_template, template));
        pith_adapter *again = pith_adapter_open(out, tuning("llama", "lora/a1.gguf"), NULL); /* in whatever file */
        pith_adapter *a2 = pith_adapter_open(out, tuning("llama", "lora/a2"), NULL);
        REQUIRE(again && a2);
        EQ(pith__merge_name(out, &(pith__adapted){ .n = 1, .of = { { again, 0.5f } } }, &other, &room, &error), PITH_EARG);
        CHECK(strstr(error.text, "the adapter is merged into"));
        EQ(pith__merge_name(out, &(pith__adapted){ .n = 1, .of = { { a2, 1 } } }, &other, &room, &error), PITH_OK);
        CHECK(!strncmp(other, name, strlen(name)) && !strncmp(other + strlen(name), "; a2, ", 6));
        plan = (pith__merge){ .m = out, .by = &(pith__adapted){ .n = 1, .of = { { a2, 1 } } }, .merged = other };
        pith_model *both = NULL;
        if (pith__merge_gguf(&plan, in_folder("both.gguf"), &error) || !(both = pith_open(in_folder("both.gguf"), NULL, &error)))
            FAIL("%s", error.text);
        const pith__key *key = both ? pith__store_key(&both->store, "pith.merged") : NULL;
        CHECK(key && pith__str_is(key->s, other));
        pith_close(both), clear("both.gguf");
        pith_adapter_close(again), pith_adapter_close(a2), pith_close(out);
        pith_adapter_close(a), pith_close(m);
        clear("out"), clear("out.gguf");
    }
    pith__arena_free(&room);
}

TEST(what_has_no_place) {
    bytes b;
    pith_model *m = open_golden("llama", &b);
    REQUIRE(m);
    EQ(pith__merge_folder(&(pith__merge){ .m = m }, in_folder("out"), &error), PITH_EARG);
    CHECK(strstr(error.text, "out: is to be a Hugging Face folder, for which (memory) has no config.json"));
    EQ(pith__path_kind(in_folder("out")), 0);
    EQ(pith__merge_gguf(&(pith__merge){ .m = m }, in_folder("no/such.gguf"), &error), PITH_EIO);
    pith_close(m);
    free(b.p);
    uint8_t *numbers;
    REQUIRE((m = open_in_format("q4_k", &b, &numbers)));
    EQ(pith__merge_gguf(&(pith__merge){ .m = m, .to = pith__format_named("i8") }, in_folder("out.gguf"), &error), PITH_EARG);
    CHECK(strstr(error.text, "I8 cannot be written") && !pith__path_kind(in_folder("out.gguf")));
    pith_close(m);
    free(b.p), free(numbers);
    if (!fixture_shared("tuning/README.md")) return;
    m = pith_open(tuning("llama", "base"), NULL, NULL);
    REQUIRE(m);
    EQ(pith__merge_folder(&(pith__merge){ .m = m, .to = pith__format_named("q8_0") }, in_folder("out"), &error), PITH_EARG);
    CHECK(strstr(error.text, "has no Q8_0: need f32, f16 or bf16"));
    EQ(pith__path_kind(in_folder("out")), 0);
    pith_close(m);
}

int main(void) {
    strcpy(folder, "/tmp/pith-merge-XXXXXX");
    if (!mkdtemp(folder)) exit(99);
    RUN(logits_and_norms_as_peft_has_them);
    RUN(every_family);
    RUN(sums_are_rounded_once);
    RUN(types_are_kept);
    RUN(the_same_adapter_is_merged_once);
    RUN(what_has_no_place);
    rmdir(folder);
    return DONE();
}
