/* t_embed.c - embeddings: pooling by hand-made numbers; hidden states as a session has them; the vectors of many texts
 * are, bit for bit, those of each alone, whatever the batch and the threads; and against sentence-transformers. */
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "golden_families.h"

enum { TEXTS = 23, LONGEST = 90 };

/* ---- the arithmetic ---------------------------------------------------------------------------------- */

TEST(pooling) {
    static const float x[] = { 1, -2, 3, 4, -5, 6, 9, 0 }; /* 4 tokens of 2 channels */
    static const float want[] = { 1, -2, 9, 6, 2, 2, 4, 4, 2.8f, 2.4f, 9, 0 }; /* numpy, in the order of the enum */
    float y[12];
    pith__pool(2 * PITH_LAST - 1, x, 0, 4, 2, y);
    NEAR_ARRAY(y, want, 12, 1e-6);
    for (int i = 0; i < 6; i++) {
        pith__pool(1u << i, x, 0, 4, 2, y);
        NEAR_ARRAY(y, want + 2 * i, 2, 1e-6);
    }
    pith__pool(PITH_MEAN | PITH_MAX | PITH_LAST, x, 0, 0, 2, y);
    for (int i = 0; i < 6; i++) NEAR(y[i], 0, 0);
    static const float rest[] = { 3, 4, 7 / 3.f, 10 / 3.f, 3, 26 / 9.f, 9, 0 }; /* without the first; its weights stay */
    pith__pool(PITH_CLS | PITH_MEAN | PITH_WEIGHTED | PITH_LAST, x, 1, 4, 2, y);
    NEAR_ARRAY(y, rest, 8, 1e-6);
}

/* Dense (2 -> 3, bias, tanh), cut to 2, length 1. */
TEST(matrices) {
    static const float w[] = { 1, 2, -0.5f, 0.25f, 3, 0 }, bias[] = { 0.5f, 0, -1 }, x[] = { 0.5f, -0.25f, 1, 1 };
    pith__tensor t = { .format = pith__format_of(PITH__F32), .n_dim = 2, .shape = { 3, 2 }, .rows = 3, .cols = 2,
                       .data = (const uint8_t *)w, .row_bytes = 8 };
    pith_model m = { .hyper.n_embd = 2, .kernels = pith__portable(NULL) };
    m.pooling.dense[0] = (pith__dense){ &t, bias, 1 };
    m.pooling.n_dense = 1;
    pith_embedding how = { .pooling = PITH_MEAN };
    float out[6], room[15];
    const float plain[] = { 0.46211716f, -0.30270973f, 0.46211716f, 0.9981779f, -0.24491866f, 0.96402758f };
    const float unit[] = { 0.83650816f, -0.54795446f, 0.97119225f, -0.23829731f };
    EQ(pith__embedding_size(&m, &how), 3);
    pith__finish_vectors(&m, &how, x, 2, out, room);
    NEAR_ARRAY(out, plain, 6, 1e-6);
    how.dimensions = 2, how.normalize = 1;
    pith__finish_vectors(&m, &how, x, 2, out, room);
    NEAR_ARRAY(out, unit, 4, 1e-6);
}

/* ---- many texts, one by one, threads ------------------------------------------------------------------- */

typedef struct {
    pith_token t[TEXTS][LONGEST];
    pith_passage p[TEXTS];
} texts;

static void make_texts(texts *x, int n_vocab) {
    for (int i = 0; i < TEXTS; i++) {
        int n = i == 5 ? 0 : i == 9 ? LONGEST : 1 + (i * 7) % 40;
        for (int t = 0; t < n; t++) x->t[i][t] = (3 + 7 * i + t * (5 + i)) % n_vocab;
        x->p[i] = (pith_passage){ .tokens = x->t[i], .n_tokens = n };
    }
}

static pith_model *open_with(const bytes *b, int n_threads) {
    pith_options opt = { .n_threads = n_threads };
    pith_error e = { 0, "" };
    pith_model *m = pith_open_memory(b->p, b->n, &opt, &e);
    if (!m) FAIL("%s", e.text);
    return m;
}

static int embed(const pith_model *m, const pith_embedding *how, int n_batch, pith_passage *p, int n, float *out, int cap) {
    pith_error err = { 0, "" };
    pith_embedder *e = pith_embedder_new(m, &(pith_context){ .n_batch = n_batch }, how, &err);
    int made = e ? pith_embed(e, p, n, out, cap, &err) : -1;
    if (made < 0) FAIL("%s", err.text);
    pith_embedder_free(e);
    return made;
}

/* Of each text: the state that a session has after its last token. */
static void same_as_session(const pith_model *m, const texts *x, const float *out) {
    size_t n_embd = (size_t)m->hyper.n_embd;
    pith_session *s = pith_session_new(m, &(pith_context){ .n_batch = 7, .cache_k = "f32", .cache_v = "f32" }, NULL);
    float *hidden = calloc(n_embd, sizeof *hidden);
    REQUIRE(s && hidden);
    s->hidden = hidden;
    for (int i = 0; i < TEXTS; i++) {
        pith_rewind(s, 0);
        if (!x->p[i].n_tokens) continue;
        EQ(pith_eval(s, x->p[i].tokens, x->p[i].n_tokens, NULL), PITH_OK);
        if (memcmp(hidden, out + (size_t)i * n_embd, n_embd * sizeof *hidden)) FAIL("text %d differs", i);
    }
    free(hidden);
    pith_session_free(s);
}

static void check_family(const struct golden *g, int n_threads) {
    bytes b = fixture_gguf(g->keys, g->tensors, g->seed);
    pith_model *m = open_with(&b, 1);
    REQUIRE(m);
    texts x;
    make_texts(&x, m->hyper.n_vocab);
    size_t n = (size_t)m->hyper.n_embd;
    float *one = calloc(TEXTS * n, sizeof *one), *many = calloc(TEXTS * n, sizeof *many);
    pith_embedding how = { .pooling = PITH_LAST };
    for (int i = 0; i < TEXTS; i++) EQ(embed(m, &how, 0, &x.p[i], 1, one + (size_t)i * n, 1), 1);
    same_as_session(m, &x, one);
    pith_close(m);
    for (int threads = 1; threads <= n_threads; threads++) {
        static const int batches[] = { 0, 64, 17, 1 };
        m = open_with(&b, threads);
        for (int k = 0; k < (BRIEF ? 1 : threads == 1 ? 4 : 2); k++) {
            memset(many, 0, TEXTS * n * sizeof *many);
            EQ(embed(m, &how, batches[k], x.p, TEXTS, many, TEXTS), TEXTS);
            if (memcmp(one, many, TEXTS * n * sizeof *one)) FAIL("%s, %d threads, batch %d", g->name, threads, batches[k]);
        }
        pith_close(m);
    }
    free(one), free(many);
    free(b.p);
}

TEST(every_family) {
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) check_family(goldens + i, i ? 1 : BRIEF ? 2 : 4);
}

/* So many texts in a call that their matrices get panels, and that texts change places: the same bits. */
TEST(many_calls_of_many_texts) {
    enum { TIMES = 9 };
    const struct golden *g = goldens + 6; /* whose queries have 96 rows: whole panels */
    bytes b = fixture_gguf(g->keys, g->tensors, g->seed);
    pith_model *m = open_with(&b, 2);
    REQUIRE(m);
    texts x;
    pith_passage p[TIMES * TEXTS];
    pith__team alone = { .n_threads = 1 };
    pith_error err;
    size_t n = (size_t)m->hyper.n_embd;
    float *few = calloc(TEXTS * n, sizeof *few), *many = calloc(TIMES * TEXTS * n, sizeof *many);
    pith_embedding how = { .pooling = PITH_MEAN };
    void *memory;
    make_texts(&x, m->hyper.n_vocab);
    for (int i = 0; i < TIMES * TEXTS; i++) p[i] = x.p[i % TEXTS];
    EQ(embed(m, &how, 0, x.p, TEXTS, few, TEXTS), TEXTS);
    pith_embedder *e = pith_embedder_new(m, NULL, &how, &err);
    for (int again = 0; e && again < 2; again++) {
        memset(many, 0, TIMES * TEXTS * n * sizeof *many);
        EQ(pith_embed(e, p, TIMES * TEXTS, many, TIMES * TEXTS, &err), TIMES * TEXTS);
        for (int i = 0; i < TIMES; i++)
            if (memcmp(few, many + (size_t)i * TEXTS * n, TEXTS * n * sizeof *few)) FAIL("round %d of call %d differs", i, again);
    }
    pith_embedder_free(e);
    CHECK(!pith__in_panels(m, &alone, 100, &memory)); /* more than 100 bytes */
    pith_model *in_panels = pith__in_panels(m, &alone, SIZE_MAX, &memory);
    CHECK(in_panels && (!in_panels->layer->q.tensor.panels) == !strcmp(m->kernels->name, "portable"));
    CHECK(!m->layer->q.tensor.panels);
    free(memory), free(few), free(many), free(b.p);
    pith_close(m);
}

TEST(a_vector_a_token) {
    bytes b = fixture_gguf(goldens->keys, goldens->tensors, goldens->seed);
    pith_model *m = open_with(&b, 1);
    REQUIRE(m);
    texts x;
    make_texts(&x, m->hyper.n_vocab);
    size_t n = (size_t)m->hyper.n_embd;
    float *last = calloc(TEXTS * n, sizeof *last), *all = calloc(TEXTS * LONGEST * n, sizeof *all);
    pith_embedding how = { .pooling = PITH_LAST }, none = { .normalize = 1 };
    REQUIRE(last && all);
    embed(m, &how, 0, x.p, TEXTS, last, TEXTS);
    int rows = 0, made = embed(m, &none, 0, x.p, TEXTS, NULL, 0); /* how many there would be */
    for (int i = 0; i < TEXTS; i++) rows += x.p[i].n_tokens;
    EQ(made, rows);
    EQ(embed(m, &none, 0, x.p, TEXTS, all, rows), rows);
    for (int i = 0, row = 0; i < TEXTS; i++) {
        row += x.p[i].n_tokens;
        if (x.p[i].n_tokens) EQ(memcmp(all + (size_t)(row - 1) * n, last + (size_t)i * n, n * sizeof *all), 0);
    }
    free(all), free(last);
    pith_close(m);
    free(b.p);
}

/* ---- sentence-transformers ------------------------------------------------------------------------------ */

typedef struct { /* ../shared/encoders: 8 texts */
    pith_token t[8][256];
    pith_passage p[8];
    float embd[8][32];
} reference;

static int read_reference(const char *name, reference *r) {
    char path[64];
    pith__file ids = { 0 }, embd = { 0 };
    snprintf(path, sizeof path, "encoders/%s.ids", name);
    const char *found = fixture_shared(path);
    int ok = found && !pith__file_open(&ids, found, 1, NULL);
    snprintf(path, sizeof path, "encoders/%s.embd", name);
    found = fixture_shared(path);
    ok = ok && found && !pith__file_open(&embd, found, 1, NULL) && embd.size == sizeof r->embd;
    if (ok) memcpy(r->embd, embd.data, sizeof r->embd);
    const char *p = (const char *)ids.data;
    for (int i = 0; ok && i < 8; i++, p++) {
        int n = 0;
        char *end = (char *)(uintptr_t)p;
        for (; *p != '\n'; p = end) r->t[i][n++] = (pith_token)strtol(p, &end, 10);
        r->p[i] = (pith_passage){ .tokens = r->t[i], .n_tokens = n };
    }
    pith__file_close(&ids), pith__file_close(&embd);
    return ok;
}

static pith_model *open_reference(const char *name, const char *end) {
    char path[64];
    pith_error e = { 0, "" };
    snprintf(path, sizeof path, "encoders/%s%s", name, end);
    pith_model *m = pith_open(fixture_shared(path), NULL, &e);
    if (!m) FAIL("%s", e.text);
    return m;
}

static void near_reference(const char *name, const reference *r, const float *out, int lengths) {
    for (int i = 0; i < 8; i++) {
        double ab = 0, aa = 0, bb = 0;
        for (int j = 0; j < 32; j++) {
            double a = out[i * 32 + j], b = r->embd[i][j];
            ab += a * b, aa += a * a, bb += b * b;
        }
        if (!(fabs(ab / sqrt(aa * bb) - 1) <= 1e-6)) FAIL("%s, text %d: cosine %.9g", name, i, ab / sqrt(aa * bb));
        if (lengths && !(fabs(sqrt(aa / bb) - 1) <= 1e-5)) FAIL("%s, text %d: length %.9g", name, i, sqrt(aa / bb));
    }
}

enum { FOLDER = 1, GGUF = 2 };

/* A folder, and the same as GGUF, which does not say whether a vector is normalised. */
static void check_reference(const char *name, int forms) {
    reference r;
    float out[8 * 32], other[8 * 32];
    REQUIRE(read_reference(name, &r));
    pith_model *m = forms & FOLDER ? open_reference(name, "-hf") : NULL, *g = forms & GGUF ? open_reference(name, ".gguf") : NULL;
    if (m) {
        EQ(embed(m, NULL, 0, r.p, 8, out, 8), 8);
        near_reference(name, &r, out, 1);
    }
    if (g) {
        pith_embedding how = pith_embedding_default(g);
        if (m) how.normalize = pith_embedding_default(m).normalize;
        EQ(embed(g, &how, 0, r.p, 8, other, 8), 8);
        near_reference(name, &r, other, m != NULL);
        if (m && memcmp(out, other, sizeof out)) FAIL("%s: the folder and the GGUF differ", name);
    }
    pith_close(m), pith_close(g);
}

TEST(sentence_transformers) {
    static const struct { const char *name; int forms; } models[] = {
        { "qwen3-emb", FOLDER | GGUF }, { "embgemma", FOLDER | GGUF }, { "bert", FOLDER | GGUF },
        { "nomic-bert", FOLDER | GGUF }, { "xlmr", GGUF }, { "modernbert", GGUF },
    };
    if (!fixture_shared("encoders/README.md")) SKIP("no ../shared/encoders");
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) check_reference(models[i].name, models[i].forms);
}

/* Texts become the ids of the libraries, cut to the limit: then they have the vectors of these. */
static void check_texts(const char *name, const char *end, pith__json list) {
    reference r;
    pith_passage p[8];
    pith__arena a = { 0 };
    float by_ids[8 * 32], by_text[8 * 32];
    REQUIRE(read_reference(name, &r));
    pith_model *m = open_reference(name, end);
    pith__json item;
    for (int i = 0; i < 8 && pith__json_next(&list, NULL, &item); i++) {
        pith__str s = { "", 0 };
        pith__json_string(item, &a, &s);
        p[i] = (pith_passage){ .text = s.p, .n_text = s.n };
    }
    if (m) {
        pith_embedding how = pith_embedding_default(m);
        if (!strcmp(end, ".gguf")) how.n_ctx = r.p[7].n_tokens; /* the folder's limit, of which GGUF does not know */
        EQ(embed(m, &how, 0, r.p, 8, by_ids, 8), 8);
        EQ(embed(m, &how, 0, p, 8, by_text, 8), 8);
        for (int i = 0; i < 8; i++) {
            if (memcmp(by_ids + i * 32, by_text + i * 32, 128)) FAIL("%s%s: text %d has other tokens", name, end, i);
            EQ(p[i].n_cut > 0, i == 7);
        }
    }
    pith_close(m);
    pith__arena_free(&a);
}

TEST(texts) {
    static const char *const models[][2] = { { "qwen3-emb", "-hf" }, { "qwen3-emb", ".gguf" }, { "embgemma", "-hf" },
                                             { "embgemma", ".gguf" }, { "bert", "-hf" }, { "bert", ".gguf" },
                                             { "nomic-bert", "-hf" }, { "nomic-bert", ".gguf" } };
    const char *path = fixture_shared("encoders/texts.json");
    pith__file f;
    pith__json j;
    if (!path) SKIP("no ../shared/encoders");
    REQUIRE(!pith__file_open(&f, path, 1, NULL) && !pith__json_read(&j, f.data, f.size, path, NULL));
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) check_texts(models[i][0], models[i][1], pith__json_get(j, "texts"));
    pith__file_close(&f);
}

/* A folder of sentence-transformers that says so has all texts in small letters. */
static void embed_in(const char *folder, const char *text, float *out) {
    pith_error e = { 0, "" };
    pith_model *m = pith_open(folder, NULL, &e);
    pith_embedder *k = m ? pith_embedder_new(m, NULL, NULL, &e) : NULL;
    if (!k || pith_embed(k, &(pith_passage){ .text = text, .n_text = strlen(text) }, 1, out, 1, &e) != 1) FAIL("%s", e.text);
    pith_embedder_free(k);
    pith_close(m);
}

TEST(small_letters) {
    char folder[] = "/tmp/t_embed.XXXXXX", from[PATH_MAX + 300], to[300], shared[PATH_MAX];
    float x[32], y[32], z[32];
    const char *config = fixture_shared("encoders/xlmr-hf/config.json");
    if (!config) SKIP("no ../shared/encoders");
    REQUIRE(realpath(config, shared) && mkdtemp(folder));
    *strrchr(shared, '/') = 0;
    DIR *d = opendir(shared);
    for (struct dirent *f; d && (f = readdir(d)); ) {
        snprintf(from, sizeof from, "%s/%s", shared, f->d_name);
        snprintf(to, sizeof to, "%s/%s", folder, f->d_name);
        if (f->d_name[0] != '.' && strcmp(f->d_name, "sentence_bert_config.json")) CHECK(!symlink(from, to));
    }
    if (d) closedir(d);
    snprintf(to, sizeof to, "%s/sentence_bert_config.json", folder);
    bytes b = { NULL, 0, 0 };
    put(&b, "{\"max_seq_length\": 48, \"do_lower_case\": true}", 45);
    REQUIRE(!save(&b, to));
    free(b.p);
    embed_in(shared, "query: hello w\xc3\xb6rld", x);
    embed_in(shared, "QUERY: Hello W\xc3\x96RLD", y);
    embed_in(folder, "QUERY: Hello W\xc3\x96RLD", z);
    CHECK(memcmp(x, y, sizeof x) != 0);
    EQ(memcmp(x, z, sizeof x), 0);
    d = opendir(folder);
    for (struct dirent *f; d && (f = readdir(d)); ) {
        snprintf(to, sizeof to, "%s/%s", folder, f->d_name);
        unlink(to);
    }
    if (d) closedir(d);
    rmdir(folder);
}

int main(void) {
    RUN(pooling);
    RUN(matrices);
    RUN(every_family);
    RUN(many_calls_of_many_texts);
    RUN(a_vector_a_token);
    RUN(sentence_transformers);
    RUN(texts);
    RUN(small_letters);
    return DONE();
}
