/* t_heads.c - what stands on an encoder's hidden states: scores of pairs, labels of texts and tokens, words behind masks. Against
 * transformers' logits (../shared/encoders) and, of random models made here, against the formulas in double. */
#include "fixture.h"
#include "test.h"

#include "../internal.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

enum { MOST = 256, TEXTS = 8 };

/* ---- transformers' numbers --------------------------------------------------------------------------- */

typedef struct {
    pith_token t[TEXTS][MOST];
    int n[TEXTS], second[TEXTS], n_text;
} texts;

static FILE *open_shared(const char *name, const char *what) {
    char path[100];
    snprintf(path, sizeof path, "encoders/%s%s", name, what);
    const char *at = fixture_shared(path);
    return at ? fopen(at, "rb") : NULL;
}

static int read_line(FILE *f, pith_token *t) {
    char line[4096];
    int n = 0;
    if (!fgets(line, sizeof line, f)) return -1;
    for (char *p = line, *end; n < MOST; p = end, n++) {
        long id = strtol(p, &end, 10);
        if (end == p) break;
        t[n] = (pith_token)id;
    }
    return n;
}

static void read_texts(texts *x, const char *name, const char *ids, const char *types) {
    pith_token type[MOST];
    FILE *f = open_shared(name, ids), *g = types ? open_shared(name, types) : NULL;
    memset(x, 0, sizeof *x);
    while (f && x->n_text < TEXTS && (x->n[x->n_text] = read_line(f, x->t[x->n_text])) >= 0) {
        int n = g ? read_line(g, type) : 0, i = 0;
        while (i < n && !type[i]) i++;
        x->second[x->n_text++] = i < n ? i : 0;
    }
    if (f) fclose(f);
    if (g) fclose(g);
}

static float *read_floats(const char *name, const char *what, size_t *n) {
    FILE *f = open_shared(name, what);
    float *y = malloc(1 << 20);
    *n = f && y ? fread(y, sizeof *y, (1 << 20) / sizeof *y, f) : 0;
    if (f) fclose(f);
    return y;
}

/* A folder's config.json and tensors alone: only ids go into it. What comes back is to be removed. */
static const char *without_words(const char *name) {
    static const char *const file[] = { "config.json", "model.safetensors" };
    static char dir[40];
    char path[200], from[PATH_MAX];
    strcpy(dir, "/tmp/t_heads.XXXXXX");
    if (!mkdtemp(dir)) return NULL;
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "encoders/%s-hf/%s", name, file[i]);
        const char *at = fixture_shared(path);
        snprintf(path, sizeof path, "%s/%s", dir, file[i]);
        if (!at || !realpath(at, from) || symlink(from, path)) return NULL;
    }
    return dir;
}

static void remove_folder(const char *dir) {
    char path[80];
    snprintf(path, sizeof path, "%s/config.json", dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    unlink(path);
    rmdir(dir);
}

static pith_model *open_shared_model(const char *name, const char *form, const pith_options *o) {
    char path[100];
    pith_error e = { 0, "" };
    snprintf(path, sizeof path, "encoders/%s%s", name, form);
    int folder = !strcmp(form, "-hf");
    const char *at = folder ? without_words(name) : fixture_shared(path);
    pith_model *m = at ? pith_open(at, o, &e) : NULL;
    if (!m) FAIL("%s%s: %s", name, form, e.text);
    if (at && folder) remove_folder(at);
    return m;
}

/* The text through the model; then its pass has the hidden states. */
static pith_session *read_through(const pith_model *m, const pith_token *t, int n, int second) {
    pith_error e = { 0, "" };
    pith_context c = { .n_ctx = n, .n_batch = n };
    pith_session *s = pith_session_new(m, &c, &e);
    if (s) s->second_from = second;
    if (!s || pith_eval(s, t, n, &e)) FAIL("%s", e.text);
    return s;
}

/* Logits of all texts, or of all their tokens, one after the other; how many. */
static size_t task_logits(const pith_model *m, const texts *x, float *y) {
    size_t n = 0;
    for (int i = 0; i < x->n_text; i++) {
        pith_session *s = read_through(m, x->t[i], x->n[i], x->second[i]);
        pith__task_of_parts(s->pass, y + n);
        n += (size_t)(m->task.n * (m->task.kind == PITH_TASK_TOKEN ? x->n[i] : 1));
        pith_session_free(s);
    }
    return n;
}

static double distance(const float *got, const float *want, size_t n) { /* relative L2 */
    double off = 0, all = 0;
    for (size_t i = 0; i < n; i++)
        off += ((double)got[i] - want[i]) * ((double)got[i] - want[i]), all += (double)want[i] * want[i];
    return sqrt(off / all);
}

static void logits_are(const char *name, const char *form, int kind, const char *ids, const char *types, const char *logits) {
    static texts x;
    static float got[1 << 16];
    size_t n;
    if (!fixture_shared("encoders/README.md")) SKIP("no ../shared/encoders");
    read_texts(&x, name, ids, types);
    float *want = read_floats(name, logits, &n);
    for (int portable = 0; portable < 2; portable++) {
        pith_options o = { .kernels = portable ? "portable" : NULL };
        pith_model *m = open_shared_model(name, form, &o);
        if (!m) continue;
        EQ(m->task.kind, kind);
        CHECK(m->task.kind && n > 0 && task_logits(m, &x, got) == n);
        NEAR(distance(got, want, n), 0, 1e-5);
        if (t_bad) printf("# (%s%s)\n", name, form);
        pith_close(m);
    }
    free(want);
}

TEST(scores_of_pairs_are_those_of_transformers) {
    logits_are("bert-rank", ".gguf", PITH_TASK_TEXT, ".pairs.ids", ".pairs.types", ".pairs.logits");
    logits_are("bert-rank", "-hf", PITH_TASK_TEXT, ".pairs.ids", ".pairs.types", ".pairs.logits");
    logits_are("xlmr-rank", "-hf", PITH_TASK_TEXT, ".pairs.ids", ".pairs.types", ".pairs.logits");
}

TEST(labels_are_those_of_transformers) {
    logits_are("distilbert-cls", "-hf", PITH_TASK_TEXT, ".ids", NULL, ".logits");
    logits_are("bert-ner", "-hf", PITH_TASK_TOKEN, ".ids", NULL, ".logits");
}

/* A row of logits for each mask, in order. mask: the token. */
static void words_are(const char *name, pith_token mask) {
    static texts x;
    static float got[1 << 16];
    size_t n, at = 0;
    if (!fixture_shared("encoders/README.md")) SKIP("no ../shared/encoders");
    read_texts(&x, name, ".masked.ids", NULL);
    float *want = read_floats(name, ".masked.logits", &n);
    pith_model *m = open_shared_model(name, "-hf", NULL);
    for (int i = 0; m && i < x.n_text; i++) {
        pith_session *s = read_through(m, x.t[i], x.n[i], 0);
        for (int t = 0, part = 0; t < x.n[i]; t++) {
            if (x.t[i][t] != mask) continue;
            pith__out_norm(s->pass, 0, t);
            pith__task_rows(s->pass, 1, &part, got + at);
            at += (size_t)m->task.n;
        }
        pith_session_free(s);
    }
    CHECK(n > 0 && at == n);
    NEAR(distance(got, want, n), 0, 1e-5);
    if (t_bad) printf("# (%s)\n", name);
    pith_close(m);
    free(want);
}

TEST(words_are_those_of_transformers) {
    words_are("bert-mlm", 4);
    words_are("roberta-mlm", 420);
}

/* The same from the texts themselves, which go through the model together, and several in a pass. */
TEST(scores_of_texts) {
    static const char berlin[] = "how many people live in Berlin?";
    static const char *const pair[][2] = {
        { berlin, "Berlin had a population of 3,520,031 registered inhabitants in 2016." },
        { berlin, "New York City is famous for its museums." },
        { "\xec\x84\x9c\xec\x9a\xb8\xec\x9d\x98 \xec\x9d\xb8\xea\xb5\xac\xeb\x8a\x94?",
          "\xec\x84\x9c\xec\x9a\xb8\xec\x97\x90\xeb\x8a\x94 \xec\x95\xbd 940\xeb\xa7\x8c \xeb\xaa\x85\xec\x9d\xb4 \xec\x82\xb0\xeb\x8b\xa4." },
        { "", "an empty question" }
    };
    if (!fixture_shared("encoders/README.md")) SKIP("no ../shared/encoders");
    size_t n;
    float *want = read_floats("bert-rank", ".pairs.logits", &n), got[4];
    pith_model *m = open_shared_model("bert-rank", ".gguf", NULL);
    pith_embedding how = { .pooling = PITH_TASK };
    pith_error e = { 0, "" };
    pith_passage x[4];
    pith_embedder *k = m ? pith_embedder_new(m, NULL, &how, &e) : NULL;
    for (int i = 0; i < 4; i++)
        x[i] = (pith_passage){ .text = pair[i][0], .n_text = strlen(pair[i][0]), .second = pair[i][1], .n_second = strlen(pair[i][1]) };
    REQUIRE(k && n == 5);
    EQ(pith_embedder_size(k), 1);
    EQ(pith_embed(k, x, 4, got, 4, &e), 4);
    NEAR(distance(got, want, 4), 0, 1e-5);
    pith_embedder_free(k);
    pith_close(m);
    free(want);
}

/* ---- models made here -------------------------------------------------------------------------------- */

#define BERT "general.architecture bert; bert.context_length 16; bert.embedding_length 8; bert.block_count 1;" \
    "bert.feed_forward_length 12; bert.attention.head_count 2; bert.attention.layer_norm_epsilon 1e-12;" \
    "bert.attention.causal false;"
#define BODY "token_embd.weight 20 8; position_embd.weight 16 8; token_types.weight 2 8; token_embd_norm.weight 8;" \
    "token_embd_norm.bias 8; blk.0.attn_q.weight 8 8; blk.0.attn_k.weight 8 8; blk.0.attn_v.weight 8 8;" \
    "blk.0.attn_output.weight 8 8; blk.0.attn_output_norm.weight 8; blk.0.attn_output_norm.bias 8; blk.0.ffn_up.weight 12 8;" \
    "blk.0.ffn_down.weight 8 12; blk.0.layer_output_norm.weight 8; blk.0.layer_output_norm.bias 8;"

static const pith_token made_text[] = { 3, 1, 4, 1, 5, 9 };
enum { N_MADE = 6, WIDE = 8 };

static pith_model *made_model(const char *keys, const char *tensors, pith_error *e) {
    char all[2000], more[2000];
    snprintf(all, sizeof all, BERT "%s", keys);
    snprintf(more, sizeof more, BODY "%s", tensors);
    static bytes b; /* it stays while a model is open */
    free(b.p);
    b = fixture_gguf(all, more, 7);
    return pith_open_memory(b.p, b.n, NULL, e);
}

static pith_model *made(const char *keys, const char *tensors) {
    pith_error e = { 0, "" };
    pith_model *m = made_model(keys, tensors, &e);
    if (!m) FAIL("%s", e.text);
    return m;
}

static const float *numbers(const pith_model *m, const char *name) { /* of a tensor; NULL: it is not there */
    const pith__tensor *t = pith__store_tensor(&m->store, name);
    return t ? (const float *)(const void *)t->data : NULL;
}

/* y (rows) = W x + b */
static void linear(const pith_model *m, const char *name, int rows, const double *x, double *y) {
    char full[40];
    snprintf(full, sizeof full, "%s.weight", name);
    const float *w = numbers(m, full);
    snprintf(full, sizeof full, "%s.bias", name);
    const float *b = numbers(m, full);
    for (int r = 0; r < rows; r++) {
        y[r] = b ? (double)b[r] : 0;
        for (int i = 0; i < WIDE; i++) y[r] += (double)w[r * WIDE + i] * x[i];
    }
}

static void activate(double *x, int act) {
    for (int i = 0; i < WIDE; i++)
        x[i] = act == PITH__TANH ? tanh(x[i]) : act == PITH__RELU ? (x[i] > 0 ? x[i] : 0)
             : x[i] / 2 * (1 + erf(x[i] / sqrt(2)));
}

static void normalise(const pith_model *m, const char *name, double *x) {
    char full[40];
    double mean = 0, var = 0;
    for (int i = 0; i < WIDE; i++) mean += x[i] / WIDE;
    for (int i = 0; i < WIDE; i++) var += (x[i] - mean) * (x[i] - mean) / WIDE;
    snprintf(full, sizeof full, "%s.weight", name);
    const float *w = numbers(m, full);
    snprintf(full, sizeof full, "%s.bias", name);
    const float *b = numbers(m, full);
    for (int i = 0; i < WIDE; i++) x[i] = (x[i] - mean) / sqrt(var + 1e-12) * (double)w[i] + (b ? (double)b[i] : 0);
}

/* The head's numbers of the hidden state of row t, and what they should be. */
static void is_formula(const char *keys, const char *tensors, int kind, int n, int act, int t) {
    pith_model *m = made(keys, tensors);
    if (!m) return;
    pith_session *s = read_through(m, made_text, N_MADE, 0);
    int words = kind == PITH_TASK_WORD, part = 0;
    double x[WIDE], y[WIDE], want[32];
    float got[32 * N_MADE];
    EQ(m->task.kind, kind);
    EQ(m->task.n, n);
    CHECK(!pith_model_note(m, 0));
    pith__out_norm(s->pass, 0, t);
    const float *hidden = pith__acts_at(s->pass, m->hyper.n_layer).xn;
    for (int i = 0; i < WIDE; i++) x[i] = y[i] = (double)hidden[i];
    if (act >= 0) {
        linear(m, words ? "mlm.dense" : "cls", WIDE, x, y);
        activate(y, act);
        if (words || numbers(m, "cls.norm.weight")) normalise(m, words ? "mlm.norm" : "cls.norm", y);
    }
    linear(m, words ? "token_embd" : "cls.output", n, y, want);
    for (int i = 0; words && i < n; i++) want[i] += (double)numbers(m, "mlm.bias")[i];
    if (words) pith__task_rows(s->pass, 1, &part, got);
    else pith__task_of_parts(s->pass, got);
    for (int i = 0; i < n; i++) NEAR((double)got[kind == PITH_TASK_TOKEN ? t * n + i : i], want[i], 2e-6);
    pith_session_free(s);
    pith_close(m);
}

#define POOLER "cls.weight 8 8; cls.bias 8;"
TEST(heads_are_their_formulas) {
    is_formula("", POOLER "cls.output.weight 1 8; cls.output.bias 1", PITH_TASK_TEXT, 1, PITH__TANH, 0);
    is_formula("", POOLER "cls.output.weight 8; cls.output.bias 1", PITH_TASK_TEXT, 1, PITH__TANH, 0); /* some files have it so */
    is_formula("pith.task.activation relu", POOLER "cls.output.weight 3 8; cls.output.bias 3", PITH_TASK_TEXT, 3, PITH__RELU, 0);
    is_formula("", "cls.weight 8 8; cls.norm.weight 8; cls.output.weight 2 8; cls.output.bias 2", PITH_TASK_TEXT, 2, PITH__GELU_ERF, 0);
    is_formula("pith.task.tokens 1", "cls.output.weight 5 8; cls.output.bias 5", PITH_TASK_TOKEN, 5, -1, 4);
    is_formula("", "mlm.dense.weight 8 8; mlm.dense.bias 8; mlm.norm.weight 8; mlm.norm.bias 8; mlm.bias 20", PITH_TASK_WORD, 20,
               PITH__GELU_ERF, 3);
}

/* Several texts in one pass: each has its own numbers, to the bit. */
TEST(texts_side_by_side) {
    for (int tokens = 0; tokens < 2; tokens++) {
        pith_model *m = made(tokens ? "pith.task.tokens 1" : "", tokens ? "cls.output.weight 5 8" : POOLER "cls.output.weight 5 8");
        if (!m) return;
        pith_error e = { 0, "" };
        pith_context c = { .n_ctx = 16, .n_batch = 16 };
        pith_pass *p = pith_pass_new(m, &c, &e);
        pith_work w[3];
        float all[5 * 16], one[5 * 16];
        c.pass = p;
        for (int i = 0; i < 3; i++) w[i] = (pith_work){ pith_session_new(m, &c, &e), made_text + i, N_MADE - 2 * i, NULL };
        EQ(pith_eval_many(w, 3, &e), PITH_OK);
        EQ(p->n_part, 3);
        pith__task_of_parts(p, all);
        const float *at = all;
        for (int i = 0; i < 3; i++) {
            pith_session *s = read_through(m, w[i].tokens, w[i].n, 0);
            int n = 5 * (tokens ? w[i].n : 1);
            pith__task_of_parts(s->pass, one);
            CHECK(!memcmp(at, one, (size_t)n * sizeof *one));
            at += n;
            pith_session_free(s);
            pith_session_free(w[i].session);
        }
        pith_pass_free(p);
        pith_close(m);
    }
}

/* An embedder, in which pairs stand beside texts and threads share them. */
TEST(an_embedder_says_it) {
    for (int tokens = 0; tokens < 2; tokens++) {
        pith_model *m = made(tokens ? "pith.task.tokens 1" : "", tokens ? "cls.output.weight 5 8" : POOLER "cls.output.weight 5 8");
        if (!m) return;
        pith_error e = { 0, "" };
        pith_embedding how = { .pooling = PITH_TASK, .normalize = 1 };
        pith_embedder *k = pith_embedder_new(m, &(pith_context){ .n_batch = 12 }, &how, &e);
        pith_passage x[5];
        float all[5 * 30], one[5 * 16];
        const float *at = all;
        REQUIRE(k);
        EQ(pith_embedder_size(k), 5);
        for (int i = 0; i < 5; i++) x[i] = (pith_passage){ .tokens = made_text + i, .n_tokens = N_MADE - i, .second_at = i % 2 * 2 };
        x[4].n_tokens = 1;
        int rows = tokens ? 6 + 5 + 4 + 3 + 1 : 5;
        EQ(pith_embed(k, x, 5, all, rows, &e), rows);
        for (int i = 0; i < 5; i++) {
            pith_session *s = read_through(m, x[i].tokens, x[i].n_tokens, x[i].second_at);
            int n = 5 * (tokens ? x[i].n_tokens : 1);
            pith__task_of_parts(s->pass, one);
            CHECK(!memcmp(at, one, (size_t)n * sizeof *one));
            at += n;
            pith_session_free(s);
        }
        x[2].n_tokens = 0;
        EQ(pith_embed(k, x, 5, all, 30, &e), PITH_EARG);
        CHECK(strstr(e.text, "text 2 has no tokens"));
        x[2] = x[1], x[2].second_at = 6;
        EQ(pith_embed(k, x, 5, all, 30, &e), PITH_EARG);
        CHECK(strstr(e.text, "second text begins at token 6 of 5"));
        pith_embedder_free(k);
        how.dimensions = 3;
        CHECK(!pith_embedder_new(m, NULL, &how, &e) && strstr(e.text, "3 dimensions"));
        pith_close(m);
    }
    pith_model *m = made("", "mlm.dense.weight 8 8; mlm.norm.weight 8");
    pith_error e = { 0, "" };
    pith_embedding how = { .pooling = PITH_TASK };
    CHECK(m && !pith_embedder_new(m, NULL, &how, &e) && strstr(e.text, "it has no such head"));
    pith_close(m);
}

TEST(labels_and_probabilities) {
    pith_model *m = made("bert.classifier.output_labels ['no','perhaps','yes']", POOLER "cls.output.weight 3 8");
    REQUIRE(m);
    size_t n;
    const char *label = pith_label(m, 0, &n);
    CHECK(label && n == 2 && !memcmp(label, "no", n));
    label = pith_label(m, 2, &n);
    CHECK(label && n == 3 && !memcmp(label, "yes", n));
    CHECK(!pith_label(m, 3, &n) && !pith_label(m, -1, &n) && n == 0);
    double y[3];
    pith_probabilities(m, (const float[]){ 1, 2, 300 }, y);
    NEAR(y[0] + y[1] + y[2], 1, 1e-12);
    NEAR(y[0] / y[1], exp(-1), 1e-12);
    pith_close(m);
    m = made("bert.classifier.output_labels ['no','yes']; pith.task.problem multi_label_classification", POOLER "cls.output.weight 3 8");
    REQUIRE(m);
    CHECK(!pith_label(m, 0, &n)); /* names of others */
    pith_probabilities(m, (const float[]){ 0, 2, -2 }, y);
    NEAR(y[0], 0.5, 1e-12);
    NEAR(y[1] + y[2], 1, 1e-12);
    NEAR(y[1], 0.8807970779778823, 1e-12);
    pith_close(m);
    m = made("pith.task.problem regression", POOLER "cls.output.weight 1 8");
    REQUIRE(m);
    pith_probabilities(m, (const float[]){ 3.5f }, y);
    NEAR(y[0], 3.5, 0);
    pith_close(m);
    REQUIRE((m = made("", POOLER "cls.output.weight 1 8")) != NULL);
    pith_probabilities(m, (const float[]){ 2 }, y);
    NEAR(y[0], 0.8807970779778823, 1e-12);
    pith_close(m);
}

static void refused(const char *keys, const char *tensors, const char *with) {
    pith_error e = { 0, "" };
    pith_model *m = made_model(keys, tensors, &e);
    if (m || !strstr(e.text, with)) FAIL("said '%s', want '%s'", e.text, with);
    pith_close(m);
}

TEST(heads_that_are_wrong) {
    refused("", POOLER "cls.output.weight 3 7", "tensor 'cls.output.weight' is 3 x 7, need 3 x 8");
    refused("", POOLER "cls.output.weight 3 8; cls.output.bias 2", "tensor 'cls.output.bias' is 1 x 2, need 1 x 3");
    refused("", "cls.weight 4 8; cls.output.weight 3 8", "tensor 'cls.weight' is 4 x 8, need 8 x 8");
    refused("", "mlm.dense.weight 8 8", "no tensor 'mlm.norm.weight'");
    refused("", "mlm.dense.weight 8 8; mlm.norm.weight 8; mlm.bias 21", "tensor 'mlm.bias' is 1 x 21, need 1 x 20");
    refused("pith.task.activation sine", POOLER "cls.output.weight 3 8", "'pith.task.activation' is not one of: tanh relu gelu");
    pith_model *m = made("", "cls.output.weight 3 8");
    CHECK(m && pith_model_note(m, 0) && strstr(pith_model_note(m, 0), "no tensor 'cls.weight'"));
    pith_close(m);
    m = made("", POOLER); /* alone it is no head */
    CHECK(m && !m->task.kind);
    pith_close(m);
}

int main(void) {
    RUN(scores_of_pairs_are_those_of_transformers);
    RUN(scores_of_texts);
    RUN(labels_are_those_of_transformers);
    RUN(words_are_those_of_transformers);
    RUN(heads_are_their_formulas);
    RUN(texts_side_by_side);
    RUN(an_embedder_says_it);
    RUN(labels_and_probabilities);
    RUN(heads_that_are_wrong);
    return DONE();
}
