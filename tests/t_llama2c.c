/* t_llama2c.c - llama2.c checkpoints and tokenizer.bin that are not what they claim. */
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static pith_error last;

/* Opens a copy that ends where the allocation ends, so that a sanitizer sees every step beyond it. */
static int opens(const bytes *b, size_t n, const char *tokenizer) {
    uint8_t *copy = malloc(n ? n : 1);
    pith_options opt = { 0 };
    if (!copy) exit(99);
    memcpy(copy, b->p, n);
    opt.tokenizer = tokenizer;
    memset(&last, 0, sizeof last);
    pith_model *m = pith_open_memory(copy, n, &opt, &last);
    pith_session *s = m ? pith_session_new(m, NULL, NULL) : NULL;
    pith_token t[2] = { 1, 0 };
    if (s) pith_eval(s, t, 2, NULL);
    pith_session_free(s);
    pith_close(m);
    free(copy);
    return m != NULL;
}

static bytes made(int version) {
    fixture_shape s = fixture_tiny;
    s.shared = version != 1;
    return fixture_llama2c(&s, version, 1);
}

TEST(cut_at_every_byte) {
    for (int version = 0; version <= 2; version++) {
        bytes b = made(version);
        size_t need = version == 0 ? b.n - 64 * 8 * 4 : b.n; /* without the angles nobody reads */
        size_t step = b.n / 500;
        for (size_t n = 0; n < b.n; n += n < 300 || n + 300 > b.n ? 1 : step) {
            int ok = opens(&b, n, NULL);
            if (ok != (n >= need)) FAIL("version %d of %zu bytes, cut to %zu: %s", version, b.n, n, last.text);
            if (!ok && (!last.text[0] || strchr(last.text, '\n'))) FAIL("cut to %zu: no one-line error", n);
        }
        CHECK(opens(&b, b.n, NULL));
        put(&b, "trailing", 8);
        CHECK(opens(&b, b.n, NULL));
        free(b.p);
    }
}

/* Field number f of the header set to v must be refused with a word that names it. */
static void refuses(int version, size_t at, int32_t v, const char *word) {
    bytes b = made(version);
    memcpy(b.p + at, &v, 4);
    if (opens(&b, b.n, NULL)) FAIL("version %d: %d at byte %zu was taken", version, v, at);
    if (!strstr(last.text, word)) FAIL("version %d, %d at %zu: \"%s\" lacks \"%s\"", version, v, at, last.text, word);
    free(b.p);
}

TEST(fields_of_the_header) {
    static const char *const names[] = { "dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads",
                                         "vocab_size", "seq_len" };
    static const int32_t bad[] = { 0, -1, -2147483647 - 1 };
    for (int version = 0; version <= 2; version++)
        for (size_t f = 0; f < 7; f++)
            for (size_t i = 0; i < 3; i++)
                if (version || f != 5 || bad[i] == 0)
                    refuses(version, (version ? 8 : 0) + 4 * f, bad[i], names[f]);
    for (int version = 0; version <= 2; version++) {
        size_t at = version ? 8 : 0;
        for (size_t f = 0; f < 6; f++) refuses(version, at + 4 * f, 0x7fffffff, "");
        refuses(version, at + 8, 65537, "n_layers");
        refuses(version, at + 12, 3, "n_heads");
        refuses(version, at + 16, 3, "n_kv_heads");
        refuses(version, at + 16, 8, "n_kv_heads");
        refuses(version, at + 12, 32, "head size");
        refuses(version, at + 4, 1 << 30, "blk.0.ffn");
    }
    refuses(0, 20, -2147483647 - 1, "");
    refuses(1, 0, 0x32346b61, "");
    refuses(1, 4, 0, "version");
    refuses(1, 4, 3, "version");
    refuses(1, 4, -1, "version");
    refuses(1, 4, 2, "group_size");
    refuses(2, 4, 1, "bytes");
    refuses(2, 37, 0, "group_size");
    refuses(2, 37, -32, "group_size");
    refuses(2, 37, 24, "group_size");
    refuses(2, 37, 0x7fffffff, "group_size");
    bytes b = made(2);
    b.p[36] = 0; /* an output matrix that is not there */
    CHECK(!opens(&b, b.n, NULL));
    CHECK(strstr(last.text, "output.weight") != NULL);
    b.p[36] = 255;
    CHECK(opens(&b, b.n, NULL));
    free(b.p);
}

TEST(a_huge_context_is_the_sessions_matter) {
    bytes b = made(1);
    int32_t huge = 0x7fffffff;
    memcpy(b.p + 8 + 24, &huge, 4);
    pith_error e = { 0, "" };
    pith_model *m = pith_open_memory(b.p, b.n, NULL, &e);
    REQUIRE(m);
    pith_context c = { .n_ctx = 16 };
    pith_session *s = pith_session_new(m, &c, &e);
    CHECK(s != NULL);
    pith_session_free(s);
    pith_close(m);
    free(b.p);
}

TEST(files_that_are_no_models) {
    static const char *const texts[] = { "<!DOCTYPE html><html><head><title>404</title></head></html>",
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "\x1f\x8b\x08", "PK\x03\x04",
        "GG", "a" };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        bytes b = { NULL, 0, 0 };
        put(&b, texts[i], strlen(texts[i]));
        CHECK(!opens(&b, b.n, NULL) && last.text[0]);
        free(b.p);
    }
    for (int v = 0; v < 256; v += 255) {
        bytes b = { NULL, 0, 0 };
        for (int i = 0; i < 5000; i++) put(&b, &(uint8_t){ (uint8_t)v }, 1);
        CHECK(!opens(&b, b.n, NULL) && last.text[0]);
        free(b.p);
    }
    uint64_t seed = 5;
    for (int i = 0; i < 200; i++) {
        bytes b = { NULL, 0, 0 };
        for (int j = 0; j < 300; j++) put_u32(&b, (uint32_t)(int64_t)(fixture_random(&seed) * 2147483647.0f));
        CHECK(!opens(&b, b.n, NULL) && last.text[0]);
        free(b.p);
    }
}

TEST(paths_that_are_no_files) {
    static const char *const paths[] = { "/nonexistent/%s%n", "tests", "/dev/null", "/dev/zero", "" };
    char fifo[] = "/tmp/pith_fifo_XXXXXX", holes[] = "/tmp/pith_holes_XXXXXX", longest[5001];
    pith_error e;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        CHECK(pith_open(paths[i], NULL, &e) == NULL);
        CHECK(e.code == PITH_EIO || e.code == PITH_EFORMAT);
    }
    memset(longest, 'x', 5000), longest[5000] = 0;
    CHECK(pith_open(longest, NULL, &e) == NULL);
    close(mkstemp(fifo));
    unlink(fifo);
    REQUIRE(mkfifo(fifo, 0600) == 0);
    CHECK(pith_open(fifo, NULL, &e) == NULL); /* and does not wait for a writer */
    unlink(fifo);
    int fd = mkstemp(holes);
    if (ftruncate(fd, (off_t)64 << 30) == 0) CHECK(pith_open(holes, NULL, &e) == NULL);
    close(fd);
    unlink(holes);
}

/* ---- tokenizer.bin ----------------------------------------------------------------------------------- */

static int opens_with(const bytes *tokenizer, size_t n) {
    char path[] = "/tmp/pith_tok_XXXXXX";
    bytes model = made(1), cut = *tokenizer;
    close(mkstemp(path));
    cut.n = n;
    int ok = save(&cut, path) == 0 && opens(&model, model.n, path);
    unlink(path);
    free(model.p);
    return ok;
}

TEST(tokenizer_cut_and_broken) {
    bytes b = fixture_tokenizer();
    CHECK(opens_with(&b, b.n));
    for (size_t n = 0; n < b.n; n += n + 40 > b.n ? 1 : 13) {
        if (opens_with(&b, n)) FAIL("cut to %zu of %zu was taken", n, b.n);
        if (!strstr(last.text, "pith_tok")) FAIL("cut to %zu: \"%s\" does not name the file", n, last.text);
    }
    static const int32_t lengths[] = { -1, -2147483647 - 1, 0x7fffffff, 5000 };
    for (size_t i = 0; i < 4; i++) {
        bytes c = fixture_tokenizer();
        memcpy(c.p + 8, lengths + i, 4);
        CHECK(!opens_with(&c, c.n));
        CHECK(strstr(last.text, "length") != NULL);
        free(c.p);
    }
    bytes more = fixture_tokenizer();
    put(&more, "\0\0\0\0\1\0\0\0x", 9);
    CHECK(!opens_with(&more, more.n) && strstr(last.text, "more than the model's 300") != NULL);
    free(more.p);
    bytes zeros = { NULL, 0, 0 };
    for (int i = 0; i < 4 + 300 * 8; i++) put(&zeros, "", 1);
    CHECK(!opens_with(&zeros, zeros.n) && strstr(last.text, "all empty") != NULL);
    free(zeros.p);
    bytes wide = { NULL, 0, 0 };
    put(&wide, "\0\0\0\0\0\0\0\0\0\0\1", 12); /* a piece of 65536 bytes, which are there */
    for (int i = 0; i < 70000; i++) put(&wide, "x", 1);
    CHECK(!opens_with(&wide, wide.n) && strstr(last.text, "piece 0 of 300 has length 65536") != NULL);
    free(wide.p);
    static const uint32_t longest[] = { 0, 1, 0x7fffffff, 0xffffffff };
    for (size_t i = 0; i < 4; i++) { /* of no use to us, so of no harm */
        memcpy(b.p, longest + i, 4);
        CHECK(opens_with(&b, b.n));
    }
    uint32_t nan = 0x7fc00000;
    for (size_t at = 4; at + 4 < 200; at += 13) memcpy(b.p + 4, &nan, 4);
    CHECK(opens_with(&b, b.n));
    free(b.p);
}

int main(void) {
    RUN(cut_at_every_byte);
    RUN(fields_of_the_header);
    RUN(a_huge_context_is_the_sessions_matter);
    RUN(files_that_are_no_models);
    RUN(paths_that_are_no_files);
    RUN(tokenizer_cut_and_broken);
    return DONE();
}
