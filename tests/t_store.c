/* t_store.c - what a path holds is told by its content: a model, a vocabulary, an adapter. */
#define _XOPEN_SOURCE 700
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/pith-store-XXXXXX";

static const char *in_folder(const char *name) {
    static char path[8][128]; /* good for the next seven calls */
    static int next;
    char *p = path[next++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static const char *file_of(const char *name, bytes b) {
    const char *path = in_folder(name);
    if (save(&b, path)) exit(99);
    free(b.p);
    return path;
}

static const char *text_of(const char *name, const char *text) {
    bytes b = { NULL, 0, 0 };
    put(&b, text, strlen(text));
    return file_of(name, b);
}

#define VOCAB "tokenizer.ggml.model llama;tokenizer.ggml.tokens ['<unk>','<s>','</s>','a','b'];" \
              "tokenizer.ggml.scores [0.0,0.0,0.0,-1.0,-2.0];tokenizer.ggml.token_type [2,3,3,1,1];" \
              "tokenizer.ggml.bos_token_id 1;tokenizer.ggml.eos_token_id 2"

static const char tokenizer_json[] = "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},"
                                     "\"merges\":[\"a b\"]},\"pre_tokenizer\":{\"type\":\"ByteLevel\","
                                     "\"add_prefix_space\":false,\"use_regex\":true}}";

/* What the path holds, and how many pieces its vocabulary has; < 0: an error. */
static int holds(const char *path, const char *tokenizer, int *pieces) {
    pith__store s;
    pith_error e = { 0, "" };
    int code = pith__open(&s, path, &(pith_options){ .tokenizer = tokenizer }, &e);
    if (code) return printf("# %s\n", e.text), code;
    int is = s.holds;
    *pieces = s.vocab.n;
    pith__store_free(&s);
    return is;
}

TEST(content_tells_what_it_is) {
    int n = 0;
    const char *tok = file_of("model.gguf", fixture_tokenizer()); /* the name says nothing */
    EQ(holds(tok, NULL, &n), PITH__VOCABULARY);
    EQ(n, FIXTURE_VOCAB);
    const char *bin = file_of("tok.bin", fixture_llama2c(&fixture_tiny, 0, 1));
    EQ(holds(bin, NULL, &n), PITH__MODEL);
    EQ(n, 0);
    EQ(holds(bin, tok, &n), PITH__MODEL);
    EQ(n, FIXTURE_VOCAB);
    EQ(holds(file_of("v1", fixture_llama2c(&fixture_tiny, 1, 1)), NULL, &n), PITH__MODEL);
    EQ(holds(file_of("v", fixture_gguf("general.architecture llama;" VOCAB, "", 1)), NULL, &n), PITH__VOCABULARY);
    EQ(n, 5);
    EQ(holds(file_of("m", fixture_gguf(VOCAB, "x 5 4", 1)), NULL, &n), PITH__MODEL);
    EQ(holds(file_of("l", fixture_gguf("general.type adapter", "x.lora_a 4 4", 1)), NULL, &n), PITH__ADAPTER);
    if (mkdir(in_folder("hf"), 0777)) exit(99);
    text_of("hf/tokenizer.json", tokenizer_json);
    EQ(holds(in_folder("hf"), NULL, &n), PITH__VOCABULARY);
    EQ(n, 3);
    text_of("hf/config.json", "{}");
    CHECK(holds(in_folder("hf"), NULL, &n) < 0); /* a model now, and no good one */
}

TEST(zeros_are_no_vocabulary) {
    bytes b = { calloc(1, 4096), 4096, 4096 };
    int n = 0;
    CHECK(holds(file_of("zeros", b), NULL, &n) < 0);
}

/* Every cut of a tokenizer.bin, and each with a byte more, is refused without a vocabulary. */
TEST(a_tokenizer_that_is_cut) {
    bytes whole = fixture_tokenizer();
    for (size_t n = 1; n < whole.n; n += 13) {
        pith__file f = { .data = whole.p, .size = n, .mapped = -1 };
        pith__store s;
        if (!pith__tokenizer_is(&f)) {
            CHECK(pith__open_memory(&s, whole.p, n, NULL, NULL) < 0);
            continue;
        }
        REQUIRE(!pith__open_memory(&s, whole.p, n, NULL, NULL)); /* between two pieces */
        CHECK(s.vocab.n < FIXTURE_VOCAB);
        pith__store_free(&s);
    }
    free(whole.p);
}

TEST(a_model_is_asked_for) {
    pith_error e = { 0, "" };
    CHECK(!pith_open(in_folder("v"), NULL, &e) && e.code == PITH_EFORMAT);
    CHECK(strstr(e.text, "/v: is a vocabulary without weights, need a model"));
    CHECK(!pith_open(in_folder("l"), NULL, &e) && strstr(e.text, "/l: is an adapter"));
}

int main(void) {
    if (!mkdtemp(folder)) return 99;
    RUN(content_tells_what_it_is);
    RUN(zeros_are_no_vocabulary);
    RUN(a_tokenizer_that_is_cut);
    RUN(a_model_is_asked_for);
    char remove[96];
    snprintf(remove, sizeof remove, "rm -rf %s", folder);
    if (system(remove)) return 99;
    return DONE();
}
