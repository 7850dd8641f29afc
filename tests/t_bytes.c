/* t_bytes.c - base/bytes.c: sizes that overflow, memory that is freed together, views, and the cursor. */
#include "../base/base.h"
#include "test.h"

TEST(sizes_that_overflow_are_told) {
    size_t r = 7;
    CHECK(pith__mul(&r, SIZE_MAX / 2 + 1, 2) && r == 7);
    CHECK(pith__mul(&r, 2, SIZE_MAX / 2 + 1) && r == 7);
    CHECK(pith__mul(&r, SIZE_MAX / 3 + 1, 3) && r == 7);
    CHECK(!pith__mul(&r, SIZE_MAX / 3, 3) && r == SIZE_MAX / 3 * 3);
    CHECK(!pith__mul(&r, SIZE_MAX, 0) && r == 0);
    CHECK(!pith__mul(&r, 0, SIZE_MAX) && r == 0);
    CHECK(pith__add(&r, SIZE_MAX, 1) && r == 0);
    CHECK(!pith__add(&r, SIZE_MAX - 1, 1) && r == SIZE_MAX);
}

TEST(an_arena_gives_zeroed_memory_of_its_own) {
    pith__arena a = { 0 };
    unsigned char *piece[200];
    for (size_t i = 0; i < 200; i++) {
        size_t n = i * 37 % 3000;
        piece[i] = pith__arena_new(&a, n, 1);
        REQUIRE(piece[i] != NULL);
        CHECK((uintptr_t)piece[i] % 16 == 0);
        for (size_t k = 0; k < n; k++) CHECK(piece[i][k] == 0);
        memset(piece[i], (int)i, n);
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t k = 0; k < i * 37 % 3000; k++) CHECK(piece[i][k] == i);
    CHECK(pith__arena_new(&a, SIZE_MAX / 2, 4) == NULL);
    CHECK(pith__arena_new(&a, SIZE_MAX, 1) == NULL);
    pith__arena_free(&a);
    pith__arena_free(&a);
}

TEST(a_cursor_stops_at_the_end_and_stays_bad) {
    static const uint8_t bytes[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0, 0xc0, 0x3f, 0xff };
    pith__cursor c = { bytes, sizeof bytes, 0 };
    EQ(pith__u8(&c), 1);
    EQ(pith__u16(&c), 0x0302);
    EQ(pith__u32(&c), 0x07060504);
    CHECK(pith__take(&c, 3) == bytes + 7);
    CHECK(pith__f32(&c) == 1.5f);
    EQ(c.left, 1);
    CHECK(!c.bad && pith__take(&c, 0) == bytes + 14);
    CHECK(pith__take(&c, 2) == NULL && c.bad);
    CHECK(pith__take(&c, 1) == NULL && c.bad); /* though one is there */
    EQ(pith__u8(&c), 0);
    pith__cursor d = { bytes, 8, 0 };
    CHECK(pith__u64(&d) == 0x0807060504030201u && d.left == 0 && !d.bad);
    pith__cursor e = { bytes, sizeof bytes, 0 };
    CHECK(pith__take(&e, UINT64_MAX) == NULL && e.bad);
    pith__cursor f = { bytes, 3, 0 };
    CHECK(pith__u32(&f) == 0 && f.bad);
}

TEST(views_compare_as_bytes) {
    CHECK(pith__str_cmp(pith__str_of("ab"), pith__str_of("abc")) < 0);
    CHECK(pith__str_cmp(pith__str_of("b"), pith__str_of("abc")) > 0);
    CHECK(pith__str_cmp(pith__str_of("\xff"), pith__str_of("a")) > 0);
    CHECK(pith__str_cmp(pith__str_of(""), (pith__str){ NULL, 0 }) == 0);
    CHECK(pith__str_is(pith__str_of("abc"), "abc") && !pith__str_is(pith__str_of("abc"), "ab"));
}

TEST(an_error_is_one_line_and_keeps_its_end) {
    pith_error e = { 0, "" };
    char path[1000];
    memset(path, 'p', sizeof path);
    path[sizeof path - 1] = 0;
    EQ(pith__fail(&e, PITH_EIO, "a\nb\x1b%s", "c\x7f"), PITH_EIO);
    EQ(e.code, PITH_EIO);
    CHECK(!strcmp(e.text, "a?b?c?"));
    pith__fail(&e, PITH_EIO, "%s: what is wrong", path);
    EQ(strlen(e.text), sizeof e.text - 1);
    CHECK(!strncmp(e.text, "pppp", 4) && strstr(e.text, "...") && strstr(e.text, "p: what is wrong"));
    EQ(pith__fail(NULL, PITH_EARG, "nobody listens"), PITH_EARG);
}

/* Any byte, in the whole blocks of 32 and of 8 and after them, and the length. */
TEST(a_hash_differs_where_a_byte_does) {
    enum { LONGEST = 75 };
    uint8_t x[LONGEST + 1] = { 0 };
    for (int n = 0; n <= LONGEST; n++) {
        uint64_t h = pith__hash(7, x, (size_t)n);
        CHECK(h != pith__hash(7, x, (size_t)n + 1) && h != pith__hash(8, x, (size_t)n));
        CHECK(h == pith__hash(7, x, (size_t)n));
        for (int i = 0; i < n; i++)
            for (int bit = 0; bit < 8; bit++) {
                x[i] ^= (uint8_t)(1 << bit);
                CHECK(pith__hash(7, x, (size_t)n) != h);
                x[i] ^= (uint8_t)(1 << bit);
            }
    }
    uint64_t h = pith__hash(7, x, LONGEST);
    for (int i = 7; i < LONGEST; i += 8) /* two highest bits, which multiplying keeps where they are */
        for (int k = 7; k < i; k += 8) {
            x[i] ^= 128, x[k] ^= 128;
            if (pith__hash(7, x, LONGEST) == h) FAIL("bytes %d and %d", k, i);
            x[i] ^= 128, x[k] ^= 128;
        }
}

int main(void) {
    RUN(sizes_that_overflow_are_told);
    RUN(a_hash_differs_where_a_byte_does);
    RUN(an_arena_gives_zeroed_memory_of_its_own);
    RUN(a_cursor_stops_at_the_end_and_stays_bad);
    RUN(views_compare_as_bytes);
    RUN(an_error_is_one_line_and_keeps_its_end);
    return DONE();
}
