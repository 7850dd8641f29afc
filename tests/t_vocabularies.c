/* t_vocabularies.c - text to tokens with the real vocabularies of ../shared. */
#include "made_vocab.h"

/* ---- real vocabularies ----------------------------------------------------------------------- */

static const char *shared(const char *name) {
    static char path[512];
    const char *root = getenv("PITH_SHARED");
    snprintf(path, sizeof path, "%s/%s", root ? root : "../shared", name);
    return path;
}

static int open_shared(pith__file *f, const char *name) {
    return pith__file_open(f, shared(name), 0, NULL) == PITH_OK;
}

/* The strings of name.inp have the ids of name.out, a line each. */
static void check_lines(const pith__tokenizer *k, const char *name) {
    static const char between[] = "\n__ggml_vocab_test__\n";
    char path[256];
    pith__file in, out;
    snprintf(path, sizeof path, "%s.inp", name);
    REQUIRE(open_shared(&in, path));
    snprintf(path, sizeof path, "%s.out", name);
    REQUIRE(open_shared(&out, path));
    const char *p = (const char *)in.data, *end = p + in.size;
    const char *w = (const char *)out.data, *w_end = w + out.size;
    int n_line = 0;
    for (; w < w_end; n_line++) {
        const char *q = p;
        size_t size = sizeof between - 1;
        while (q < end && ((size_t)(end - q) < size || memcmp(q, between, size) != 0)) q++;
        int want[512], n = 0;
        for (; w < w_end && *w != '\n'; w++) {
            if (*w == ' ') want[n++] = 0;
            else want[n - 1] = want[n - 1] * 10 + (*w - '0');
        }
        w++;
        want[n] = -1;
        expect(name, n_line, k, p, (size_t)(q - p), 0, want);
        p = q < end ? q + size : end;
    }
    CHECK(n_line >= 46);
    pith__file_close(&in);
    pith__file_close(&out);
}

static void check_gguf(const char *name) {
    char path[512];
    pith_error err = { 0 };
    pith__store s = { .n_file = 1 };
    s.file = pith__arena_new(&s.arena, 1, sizeof *s.file);
    snprintf(path, sizeof path, "%s", shared(name));
    s.path = path;
    REQUIRE(pith__file_open(s.file, path, 0, &err) == PITH_OK);
    REQUIRE(pith__gguf_read(&s, 0, &err) == PITH_OK);
    pith__tokenizer *k = pith__tokenizer_new(&s.vocab, &err);
    if (!k) FAIL("%s", err.text);
    else check_lines(k, name);
    pith__tokenizer_free(k);
    pith__store_free(&s);
}

TEST(gguf_vocabularies) {
    pith__file f;
    if (!open_shared(&f, "data/gguf/ggml-vocab-gpt-2.gguf")) SKIP("no ../shared");
    pith__file_close(&f);
    check_gguf("data/gguf/ggml-vocab-gpt-2.gguf");
    check_gguf("data/gguf/ggml-vocab-deepseek-llm.gguf");
    check_gguf("data/gguf/ggml-vocab-llama-spm.gguf");
}

/* llama2.c's own tokens for these, from its run.c */
TEST(llama2c_tokenizer) {
    pith__file f;
    if (!open_shared(&f, "data/llama2c/tokenizer.bin")) SKIP("no ../shared");
    enum { N = 32000 };
    pith__str *piece = calloc(N, sizeof *piece);
    float *score = calloc(N, sizeof *score);
    uint8_t *type = calloc(N, 1);
    REQUIRE(piece && score && type);
    pith__cursor c = { f.data + 4, f.size - 4, 0 };
    for (int i = 0; i < N; i++) {
        score[i] = pith__f32(&c);
        piece[i].n = pith__u32(&c);
        piece[i].p = (const char *)pith__take(&c, piece[i].n);
        type[i] = i == 0 ? PITH__UNKNOWN : i < 3 ? PITH__CONTROL : PITH__NORMAL;
    }
    REQUIRE(!c.bad);
    made m = { .v = { .model = PITH__SPM, .spelling = PITH__RAW, .n = N, .piece = piece,
                      .score = score, .type = type, .bos = 1, .eos = 2, .unk = 0, .add_bos = 1,
                      .add_eos = 1, .add_space = 1, .byte_fallback = 1 } };
    NEW(k, m);
    EXPECT(k, "I believe the meaning of life is", PITH_BOS, 1, 306, 4658, 278, 6593, 310, 2834,
           338, -1);
    EXPECT(k, "Simply put, the theory of relativity states that ", PITH_BOS, 1, 3439, 17632, 1925,
           29892, 278, 6368, 310, 14215, 537, 5922, 393, 29871, -1);
    EXPECT(k, "Translate English to French:\n\n        sea otter => loutre de mer\n", PITH_BOS, 1,
           4103, 9632, 4223, 304, 5176, 29901, 13, 13, 4706, 7205, 4932, 357, 1149, 301, 449, 276,
           316, 2778, 13, -1);
    pith__tokenizer_free(k);
    free(piece);
    free(score);
    free(type);
    pith__file_close(&f);
}

int main(void) {
    RUN(gguf_vocabularies);
    RUN(llama2c_tokenizer);
    return DONE();
}
