/* t_merge_elders.c - folders of BERT, GPT-2 and their relatives written anew: the tensors that transformers wrote, byte for byte,
 * whatever order they lie in here; and the small files of sentence-transformers. */
#define _POSIX_C_SOURCE 200809L
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

static char folder[] = "/tmp/t_merge_elders.XXXXXX";
static pith_error error;

static void read_raw(pith__store *s, pith__file *f, const char *where) {
    char path[400];
    snprintf(path, sizeof path, "%s/model.safetensors", where);
    memset(s, 0, sizeof *s);
    memset(f, 0, sizeof *f);
    if (pith__file_open(f, path, 0, &error) || pith__safetensors_read(s, f, path, &error)) FAIL("%s", error.text);
}

static void same_tensors(const char *shared, const char *made) {
    pith__store a, b;
    pith__file f, g;
    read_raw(&a, &f, shared);
    read_raw(&b, &g, made);
    CHECK(b.n_tensor > 0 && b.n_tensor <= a.n_tensor);
    for (size_t i = 0, j = 0; i < b.n_tensor; i++) { /* both are sorted */
        const pith__tensor *y = &b.tensor[i], *x = NULL;
        for (; j < a.n_tensor && !x; j++)
            if (!pith__str_cmp(a.tensor[j].name, y->name)) x = &a.tensor[j];
        if (!x) FAIL("%s: '%.*s' is new", shared, (int)y->name.n, y->name.p);
        else if (x->n_dim != y->n_dim || memcmp(x->shape, y->shape, sizeof x->shape) || x->rows != y->rows ||
                 memcmp(x->data, y->data, x->rows * x->row_bytes))
            FAIL("%s: '%.*s' differs", shared, (int)y->name.n, y->name.p);
        if (!x) break;
    }
    pith__file_close(&f), pith__file_close(&g);
    pith__arena_free(&a.arena), pith__arena_free(&b.arena);
}

static size_t count_tensors(const char *where) {
    pith__store s;
    pith__file f;
    read_raw(&s, &f, where);
    size_t n = s.n_tensor;
    pith__file_close(&f);
    pith__arena_free(&s.arena);
    return n;
}

TEST(folders_come_back_as_they_were) {
    static const struct { const char *name; size_t lost; } folders[] = { /* lost: poolers and other tensors that nothing reads */
        { "bert", 2 }, { "bert-rank", 0 }, { "bert-ner", 0 }, { "distilbert-cls", 0 }, { "roberta-mlm", 0 }, { "xlmr", 2 },
        { "xlmr-rank", 0 }, { "mpnet", 2 }, { "modernbert", 0 }, { "nomic-bert", 0 }, { "gpt2", 0 }, { "gptneox", 0 }, { "embgemma", 0 },
    };
    if (!fixture_shared("encoders/README.md")) SKIP("no ../shared/encoders");
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char shared[300], made[300], name[100];
        snprintf(name, sizeof name, "encoders/%s-hf/config.json", folders[i].name);
        snprintf(shared, sizeof shared, "%s", fixture_shared(name));
        *strrchr(shared, '/') = 0;
        snprintf(made, sizeof made, "%s/%s", folder, folders[i].name);
        pith_model *m = pith_open(shared, &(pith_options){ .n_threads = 1 }, &error);
        if (!m) FAIL("%s", error.text);
        if (!m) continue;
        pith__requant q = { .m = m };
        if (pith__requant_folder(&q, pith__format_of(PITH__F32), made, &error)) FAIL("%s", error.text);
        else {
            same_tensors(shared, made);
            size_t was = count_tensors(shared), is = count_tensors(made);
            if (is + folders[i].lost != was) FAIL("%s: %zu tensors of %zu", folders[i].name, is, was);
        }
        pith_close(m);
    }
}

int main(void) {
    if (!mkdtemp(folder)) return 99;
    RUN(folders_come_back_as_they_were);
    pith__remove_named(folder, "", "");
    rmdir(folder);
    return DONE();
}
