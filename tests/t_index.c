/* t_index.c - the file of a text's vectors: cut and altered ones, those of another model, and what is taken over. */
#include "kernel_cases.h"
#include "fixture.h"
#include "../tools/search.h"

#include <unistd.h>

static char path[] = "build/pith_index_XXXXXX"; /* or in /tmp */
enum { N = 7, DIM = 5 };

static line_vectors made_vectors(const uint64_t *line, size_t n, size_t dim, uint32_t from) {
    line_vectors v;
    float x[64];
    seed = from;
    if (vectors_new(&v, n, dim, line)) FAIL("no memory");
    for (size_t r = 0; r < n; r++) {
        for (size_t i = 0; i < dim; i++) x[i] = uniform();
        vectors_set(&v, r, x, sets[0]);
    }
    return v;
}

static const uint64_t lines[] = { 11, 22, 33, 44, 55, 66, 77 };

static bytes saved_bytes(const index_key *key) {
    bytes b = { 0 };
    pith_error e = { 0, "" };
    line_vectors v = made_vectors(lines, N, key->dim, 1);
    if (index_save(&v, path, key, &e)) FAIL("%s", e.text);
    vectors_free(&v);
    pith__file f;
    if (pith__file_open(&f, path, 0, &e)) FAIL("%s", e.text);
    put(&b, f.data, f.size);
    pith__file_close(&f);
    return b;
}

TEST(what_was_saved_is_read) {
    for (size_t dim = 1; dim < 9; dim++) {
        index_key key = { 1, 2, dim, 0 };
        pith_error e = { 0, "" };
        line_vectors v, made = made_vectors(lines, N, dim, 1);
        bytes b = saved_bytes(&key);
        EQ(index_open(&v, path, &key, &e), PITH_OK);
        EQ(v.n, N);
        EQ(v.dim, dim);
        EQ((uintptr_t)v.x % 64, 0);
        CHECK(!memcmp(v.x, made.x, N * dim * sizeof *v.x) && !memcmp(v.line, lines, sizeof lines) &&
              !memcmp(v.bits, made.bits, N * sizeof *v.bits));
        vectors_free(&v), vectors_free(&made);
        free(b.p);
    }
}

/* What opening says of a file with these bytes. */
static int opened(const uint8_t *p, size_t n, const index_key *key, pith_error *e) {
    line_vectors v;
    bytes b = { (uint8_t *)(uintptr_t)p, n, n };
    if (save(&b, path)) FAIL("cannot write");
    int code = index_open(&v, path, key, e);
    if (code && (v.x || v.file.data)) FAIL("something is left to free");
    if (!code) vectors_free(&v);
    return code;
}

TEST(cut_at_any_byte) {
    index_key key = { 1, 2, DIM, 0 };
    bytes b = saved_bytes(&key);
    for (size_t n = 0; n < b.n; n++) {
        pith_error e = { 0, "" };
        if (opened(b.p, n, &key, &e) != PITH_EFORMAT || !strstr(e.text, path)) FAIL("%zu bytes: %s", n, e.text);
    }
    put(&b, "x", 1); /* and one too many */
    pith_error e = { 0, "" };
    EQ(opened(b.p, b.n, &key, &e), PITH_EFORMAT);
    free(b.p);
}

/* Outside of the vectors it is refused; within, a vector is missing, and no other. */
TEST(any_byte_altered) {
    index_key key = { 1, 2, DIM, 0 };
    bytes b = saved_bytes(&key);
    size_t first = 128, last = first + N * DIM * sizeof(float), missing[N];
    for (size_t at = 0; at < b.n; at++) {
        pith_error e = { 0, "" };
        line_vectors old, v;
        b.p[at] ^= (uint8_t)(1 << at % 8);
        int code = opened(b.p, b.n, &key, &e);
        if (at < first || at >= last) {
            int padding = at >= last && at < (last + 7) / 8 * 8;
            if ((code == 0) != padding || (at < 8 && code != PITH_EARCH)) FAIL("byte %zu: %d", at, code);
        } else if (code) {
            FAIL("byte %zu: %s", at, e.text);
        } else {
            index_open(&old, path, &key, &e);
            vectors_new(&v, N, DIM, lines);
            EQ(vectors_take(&v, &old, sets[n_set - 1], missing), 1);
            EQ(missing[0], (at - first) / (DIM * sizeof(float)));
            vectors_free(&v), vectors_free(&old);
        }
        b.p[at] ^= (uint8_t)(1 << at % 8);
    }
    free(b.p);
}

TEST(another_key) {
    static const index_key keys[] = { { 3, 2, DIM, 0 }, { 1, 3, DIM, 0 }, { 1, 2, DIM + 1, 0 } };
    static const char *const said[] = { "another model", "another way", "another way" };
    index_key key = { 1, 2, DIM, 0 };
    bytes b = saved_bytes(&key);
    for (int i = 0; i < 3; i++) {
        pith_error e = { 0, "" };
        EQ(opened(b.p, b.n, &keys[i], &e), PITH_EARG);
        CHECK(strstr(e.text, said[i]) != NULL);
    }
    free(b.p);
}

TEST(what_is_no_index) {
    index_key key = { 1, 2, DIM, 0 };
    pith_error e = { 0, "" };
    line_vectors v;
    EQ(opened((const uint8_t *)"My own notes, not to be lost", 28, &key, &e), PITH_EARCH);
    EQ(index_open(&v, "/", &key, &e), PITH_EARCH);
    EQ(index_open(&v, "/tmp/no/such/file", &key, &e), PITH_EIO);
}

/* Of lines in another order, with new ones among them and one twice. */
TEST(vectors_are_found_by_their_lines) {
    static const uint64_t now[] = { 77, 99, 11, 11, 44, 27, 22 };
    size_t missing[N];
    float x[DIM] = { 1, 2, 3, 4, 5 };
    uint64_t line[N];
    line_vectors old = made_vectors(lines, N, DIM, 1), v;
    REQUIRE(!vectors_new(&v, N, DIM, now));
    EQ(vectors_take(&v, &old, sets[0], missing), 2);
    EQ(missing[0], 1);
    EQ(missing[1], 5);
    for (size_t r = 0; r < N; r++)
        for (size_t i = 0; i < N; i++)
            if (now[r] == lines[i]) CHECK(!memcmp(v.x + r * DIM, old.x + i * DIM, DIM * sizeof *x) && v.bits[r] == old.bits[i]);
    vectors_set(&v, 1, x, sets[0]);
    memcpy(line, now, sizeof line);
    vectors_pack(&v, line, missing + 1, 1); /* number 5 is still missing */
    EQ(v.n, N - 1);
    EQ(line[5], 22);
    CHECK(!memcmp(v.x + DIM, x, sizeof x) && !memcmp(v.x + 5 * DIM, old.x + DIM, sizeof x) && v.bits[5] == old.bits[1]);
    vectors_free(&v), vectors_free(&old);
}

TEST(no_old_vectors) {
    size_t missing[N];
    line_vectors none = { 0 }, v;
    REQUIRE(!vectors_new(&v, N, DIM, lines));
    EQ(vectors_take(&v, &none, sets[0], missing), N);
    vectors_pack(&v, (uint64_t[N]){ 0 }, missing, N);
    EQ(v.n, 0);
    vectors_free(&v);
    EQ(vectors_new(&v, SIZE_MAX / 8, 384, lines), PITH_EMEMORY);
}

int main(void) {
    int fd = mkstemp(path);
    if (fd < 0) fd = mkstemp(strcpy(path, "/tmp/pith_index_XXXXXX"));
    close(fd);
    find_kernels_and_formats();
    RUN(what_was_saved_is_read);
    RUN(cut_at_any_byte);
    RUN(any_byte_altered);
    RUN(another_key);
    RUN(what_is_no_index);
    RUN(vectors_are_found_by_their_lines);
    RUN(no_old_vectors);
    unlink(path);
    return DONE();
}
