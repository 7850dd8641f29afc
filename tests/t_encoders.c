/* t_encoders.c - models whose tokens see each other, and the decoders that LayerNorm came from, against the hidden states that
 * transformers computed in float64 (../shared/encoders), from GGUF files and from Hugging Face folders. */
#include "fixture.h"
#include "test.h"

#include "../train/train.h"

#include <stdlib.h>

enum { TEXTS = 8, WIDE = 32, MOST = 256 };

typedef struct { /* the ids of a line each, and the hidden states (all tokens, WIDE) that they give */
    pith_token t[TEXTS][MOST];
    int n[TEXTS], n_text;
    float *hidden;
} wanted;

static const char *shared(const char *name, const char *what) {
    char path[80];
    snprintf(path, sizeof path, "encoders/%s%s", name, what);
    return fixture_shared(path);
}

static int read_wanted(wanted *w, const char *name) {
    const char *path = shared(name, ".ids");
    FILE *f = path ? fopen(path, "rb") : NULL;
    char line[4096];
    for (w->n_text = 0; f && w->n_text < TEXTS && fgets(line, sizeof line, f); w->n_text++) {
        int n = 0;
        for (char *p = line, *end; n < MOST; p = end) {
            long id = strtol(p, &end, 10);
            if (end == p) break;
            w->t[w->n_text][n++] = (pith_token)id;
        }
        w->n[w->n_text] = n;
    }
    if (f) fclose(f);
    size_t n = 0;
    for (int i = 0; i < w->n_text; i++) n += (size_t)w->n[i] * WIDE;
    w->hidden = calloc(n + 1, sizeof *w->hidden);
    path = shared(name, ".hidden");
    f = path && w->hidden ? fopen(path, "rb") : NULL;
    size_t got = f ? fread(w->hidden, sizeof *w->hidden, n + 1, f) : 0;
    if (f) fclose(f);
    return n && got == n;
}

/* Relative L2 distance of the hidden states of all tokens of all texts; -1: a text could not be evaluated. take: they become
 * what is wanted. */
static double compare(const pith_model *m, wanted *w, int take) {
    pith_error e = { 0, "" };
    float *want = w->hidden;
    double off = 0, all = 0;
    for (int i = 0; i < w->n_text; i++) {
        int n = w->n[i];
        if (!n) continue;
        pith_context c = { .n_ctx = n, .n_batch = n, .cache_k = "f32", .cache_v = "f32" };
        pith_session *s = pith_session_new(m, &c, &e);
        if (!s || pith_eval(s, w->t[i], n, &e)) return FAIL("%s", e.text), -1;
        for (int t = 0; t < n; t++, want += WIDE) {
            pith__out_norm(s->pass, 0, t);
            const float *got = pith__acts_at(s->pass, m->hyper.n_layer).xn;
            for (int k = 0; k < WIDE; k++) {
                off += ((double)got[k] - want[k]) * ((double)got[k] - want[k]), all += (double)want[k] * want[k];
                if (take) want[k] = got[k];
            }
        }
        pith_session_free(s);
    }
    return sqrt(off / all);
}

static double distance(const pith_model *m, wanted *w) { return compare(m, w, 0); }
static void take_hidden(const pith_model *m, wanted *w) { compare(m, w, 1); }

/* The README of the fixtures asks for 3e-6. */
static void hidden_states(const char *name, const char *form, double tol) {
    static wanted w;
    const char *path = shared(name, form);
    if (!path) SKIP("no ../shared/encoders");
    char at[512];
    snprintf(at, sizeof at, "%s", path);
    REQUIRE(read_wanted(&w, name));
    for (int portable = 0; portable < 2; portable++) {
        pith_error e = { 0, "" };
        pith_options o = { .kernels = portable ? "portable" : NULL };
        pith_model *m = pith_open(at, &o, &e);
        if (!m) FAIL("%s", e.text);
        else NEAR(distance(m, &w), 0, tol);
        pith_close(m);
    }
    free(w.hidden);
}

static const struct { const char *name, *form; } models[] = {
    { "gpt2", ".gguf" }, { "gptneox", ".gguf" }, { "bert", ".gguf" }, { "bert-rank", ".gguf" }, { "xlmr", ".gguf" },
    { "nomic-bert", ".gguf" }, { "modernbert", ".gguf" }, { "gpt2", "-hf" }, { "gptneox", "-hf" }, { "bert", "-hf" }, { "bert-mlm", "-hf" },
    { "bert-rank", "-hf" }, { "bert-ner", "-hf" }, { "distilbert-cls", "-hf" }, { "roberta-mlm", "-hf" }, { "xlmr", "-hf" },
    { "xlmr-rank", "-hf" }, { "nomic-bert", "-hf" }, { "modernbert", "-hf" }, { "mpnet", "-hf" },
};
TEST(hidden_states_are_those_of_transformers) {
    for (size_t i = 0; i < sizeof models / sizeof *models && !t_skip; i++) {
        int bad = t_bad;
        hidden_states(models[i].name, models[i].form, 3e-6);
        if (t_bad > bad) printf("#  (%s%s)\n", models[i].name, models[i].form);
    }
}

/* The same arithmetic comes out of either file, so the same bits. */
static const char *const twice[] = { "gpt2", "gptneox", "bert", "xlmr", "nomic-bert", "modernbert" };
TEST(a_folder_gives_the_bits_of_its_gguf) {
    for (size_t i = 0; i < sizeof twice / sizeof *twice; i++) {
        static wanted w;
        pith_error e = { 0, "" };
        if (!shared(twice[i], ".gguf")) SKIP("no ../shared/encoders");
        REQUIRE(read_wanted(&w, twice[i]));
        for (int folder = 0; folder < 2; folder++) {
            pith_model *m = pith_open(shared(twice[i], folder ? "-hf" : ".gguf"), NULL, &e);
            if (!m) FAIL("%s", e.text);
            else if (!folder) take_hidden(m, &w);
            else CHECK(distance(m, &w) == 0);
            pith_close(m);
        }
        free(w.hidden);
    }
}

TEST(mpnet_is_not_trained) {
    pith_error e = { 0, "" };
    const char *path = shared("mpnet", "-hf");
    if (!path) SKIP("no ../shared/encoders");
    pith_model *m = pith_open(path, NULL, &e);
    REQUIRE(m);
    CHECK(!pith__tape_new(m, NULL, 8, PITH__KEEP_ALL, &e) && e.code == PITH_EARCH);
    pith_close(m);
}

int main(void) {
    RUN(hidden_states_are_those_of_transformers);
    RUN(a_folder_gives_the_bits_of_its_gguf);
    RUN(mpnet_is_not_trained);
    return DONE();
}
