/* t_heads_folders.c - the heads that folders of ModernBERT, MPNet and decoders have, against transformers' logits: bodies are those
 * of ../shared/encoders, heads are made here as scripts/heads_reference.py made them. */
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "heads_numbers.h"

enum { MOST = 256, SEED = 7 };

static char folder[] = "/tmp/t_heads_folders.XXXXXX";

static const char *in_folder(const char *name) {
    static char path[2][100];
    static int turn;
    char *p = path[turn++ % 2];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static void clear_folder(void) {
    static const char *const files[] = { "config.json", "body.safetensors", "head.safetensors", "model.safetensors.index.json" };
    for (int i = 0; i < 4; i++) unlink(in_folder(files[i]));
}

/* A tensor of a safetensors file: the name of its first matrix. */
static void first_name(const char *path, char *name, size_t room) {
    static char head[1 << 16];
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(head, 1, sizeof head - 1, f) : 0;
    if (f) fclose(f);
    head[n] = 0;
    char *end = n > 8 ? strstr(head + 8, ".weight\"") : NULL, *begin = end;
    while (begin && begin[-1] != '"') begin--;
    snprintf(name, room, "%.*s", end ? (int)(end + 7 - begin) : 0, begin ? begin : "");
}

static void write_text(const char *name, const char *text) {
    bytes b = { NULL, 0, 0 };
    put(&b, text, strlen(text));
    if (save(&b, in_folder(name))) FAIL("%s was not written", name);
    free(b.p);
}

/* config.json of the body, as one of this class with these fields. */
static void write_config(const char *path, const char *class, const char *fields) {
    char text[4000], *at, *from, all[4400];
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) fclose(f);
    text[n] = 0;
    for (at = text; *fields && (at = strstr(at, "\"classifier_")); at++) memcpy(at, "\"other", 6); /* the case says it */
    at = strstr(fields, "hidden_act") ? strstr(text, "\"hidden_act\"") : NULL;
    if (at) memcpy(at, "\"other", 6);
    at = strstr(text, "\"architectures\": [");
    from = at ? strchr(at, ']') : NULL;
    if (!from) FAIL("%s names no class", path);
    else snprintf(all, sizeof all, "%.*s\"architectures\": [\"%s\"]%s%s", (int)(at - text), text, class, fields, from + 1);
    if (from) write_text("config.json", all);
}

static int link_shared(const char *folder_name, const char *file, const char *to) {
    char path[200], from[PATH_MAX];
    snprintf(path, sizeof path, "encoders/%s-hf/%s", folder_name, file);
    const char *at = fixture_shared(path);
    return at && realpath(at, from) && !symlink(from, in_folder(to));
}

static pith_model *open_case(const struct heads_case *c, const char *fields, pith_error *e) {
    char path[200], name[100], index[400], head[100];
    bytes b = fixture_safetensors(c->tensors, SEED);
    clear_folder();
    snprintf(path, sizeof path, "encoders/%s-hf/config.json", c->folder);
    write_config(fixture_shared(path), c->class, fields);
    if (!link_shared(c->folder, "model.safetensors", "body.safetensors") || save(&b, in_folder("head.safetensors"))) FAIL("no folder");
    free(b.p);
    first_name(in_folder("body.safetensors"), name, sizeof name);
    snprintf(head, sizeof head, "%.*s", (int)strcspn(c->tensors, " "), c->tensors);
    snprintf(index, sizeof index, "{\"weight_map\": {\"%s\": \"body.safetensors\", \"%s\": \"head.safetensors\"}}", name, head);
    write_text("model.safetensors.index.json", index);
    return pith_open(folder, NULL, e);
}

static int read_ids(FILE *f, pith_token *t) { /* of the next text; -1: there is none */
    char line[4096];
    int n = 0;
    if (!f || !fgets(line, sizeof line, f)) return -1;
    for (char *p = line, *end; n < MOST; p = end, n++) {
        long id = strtol(p, &end, 10);
        if (end == p) break;
        t[n] = (pith_token)id;
    }
    return n;
}

/* What the head says of a text, or of its tokens; of words, of the first few behind the second token. */
static int says(const pith_model *m, const pith_token *t, int n, float *y) {
    enum { WORDS = 8 };
    static float words[4096];
    pith_error e = { 0, "" };
    pith_session *s = pith_session_new(m, &(pith_context){ .n_ctx = n, .n_batch = n, .cache_k = "f32", .cache_v = "f32" }, &e);
    int part = 0, kind = m->task.kind, n_said = kind == PITH_TASK_WORD ? WORDS : kind == PITH_TASK_TOKEN ? n * m->task.n : m->task.n;
    if (!s || pith_eval(s, t, n, &e)) FAIL("%s", e.text);
    else if (kind == PITH_TASK_WORD) {
        pith__out_norm(s->pass, 0, n > 1);
        pith__task_rows(s->pass, 1, &part, words);
        memcpy(y, words, WORDS * sizeof *y);
    } else pith__task_of_parts(s->pass, y);
    pith_session_free(s);
    return n_said;
}

static void check_case(const struct heads_case *c, const pith_model *m) {
    static float got[4000];
    pith_token t[MOST];
    char path[100];
    double off = 0, all = 0;
    int n = 0, n_said = 0;
    snprintf(path, sizeof path, "encoders/%s.ids", c->folder);
    const char *at = fixture_shared(path);
    FILE *f = at ? fopen(at, "r") : NULL;
    while ((n = read_ids(f, t)) >= 0 && n_said < c->n)
        if (n) n_said += says(m, t, n, got + n_said);
    if (f) fclose(f);
    for (int i = 0; i < c->n; i++) {
        double d = (double)got[i] - (double)c->logits[i];
        off += d * d, all += (double)c->logits[i] * (double)c->logits[i];
    }
    CHECK(n_said >= c->n && m->task.n == (m->task.kind == PITH_TASK_WORD ? m->hyper.n_vocab : m->task.n));
    NEAR(sqrt(off / all), 0, 1e-5);
    if (t_bad) printf("# (%s%s)\n", c->class, c->fields);
}

TEST(heads_say_what_those_of_transformers_say) {
    if (!fixture_shared("encoders/README.md")) SKIP("no ../shared/encoders");
    for (size_t i = 0; i < sizeof heads_cases / sizeof *heads_cases; i++) {
        pith_error e = { 0, "" };
        pith_model *m = open_case(&heads_cases[i], heads_cases[i].fields, &e);
        if (!m) FAIL("%s: %s", heads_cases[i].class, e.text);
        if (!m) continue;
        check_case(&heads_cases[i], m);
        if (pith_model_note(m, 0)) FAIL("%s: %s", heads_cases[i].class, pith_model_note(m, 0));
        pith_close(m);
    }
}

TEST(words_that_are_not_known) {
    static const char *const wrong[] = { ", \"classifier_pooling\": \"max\"", ", \"classifier_activation\": \"selu\"" };
    static const char *const said[] = { "classifier_pooling is \"max\", need cls or mean", "classifier_activation is \"selu\", need one of" };
    if (!fixture_shared("encoders/README.md")) SKIP("no ../shared/encoders");
    for (int i = 0; i < 2; i++) {
        pith_error e = { 0, "" };
        pith_model *m = open_case(&heads_cases[1], wrong[i], &e);
        if (m || !strstr(e.text, said[i])) FAIL("said '%s', want '%s'", e.text, said[i]);
        pith_close(m);
    }
}

/* Texts beside each other in a pass have the numbers that each has alone. */
TEST(many_texts) {
    if (!fixture_shared("encoders/README.md")) SKIP("no ../shared/encoders");
    static const int cases[] = { 2, 7 }; /* the mean; the last token */
    for (int k = 0; k < 2; k++) {
        pith_error e = { 0, "" };
        pith_model *m = open_case(&heads_cases[cases[k]], heads_cases[cases[k]].fields, &e);
        pith_embedding as = { .pooling = PITH_TASK };
        pith_embedder *by = m ? pith_embedder_new(m, NULL, &as, &e) : NULL;
        pith_token t[20];
        pith_passage x[5];
        float all[5 * 3], one[3];
        for (int i = 0; i < 20; i++) t[i] = 5 + 7 * i % 90;
        for (int i = 0; i < 5; i++) x[i] = (pith_passage){ .tokens = t + i, .n_tokens = 1 + 3 * i };
        REQUIRE(by);
        size_t n = (size_t)m->task.n;
        EQ(pith_embed(by, x, 5, all, 5, &e), 5);
        for (size_t i = 0; i < 5; i++) {
            EQ(pith_embed(by, x + i, 1, one, 1, &e), 1);
            CHECK(!memcmp(one, all + i * n, n * sizeof *one));
        }
        pith_embedder_free(by);
        pith_close(m);
    }
}

int main(void) {
    if (!mkdtemp(folder)) return 99;
    RUN(heads_say_what_those_of_transformers_say);
    RUN(words_that_are_not_known);
    RUN(many_texts);
    clear_folder();
    rmdir(folder);
    return DONE();
}
