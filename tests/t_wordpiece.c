/* t_wordpiece.c - BERT's tokenizer against the library "tokenizers": a vocabulary made up in wordpiece_cases.h, every
 * character of Unicode, and what is no text at all. ../shared/encoders, if it is there, has real vocabularies. */
#include "made_vocab.h"
#include "wordpiece_cases.h"

#include <time.h>

enum { CASES = sizeof wp_case / sizeof *wp_case, PAGES = sizeof wp_page / sizeof *wp_page, LONG = 1 << 20 };

static pith__bert rules(int flags) {
    return (pith__bert){ .clean = flags & 1, .chinese = flags >> 1 & 1, .strip = flags >> 2 & 1, .lower = flags >> 3 & 1,
                         .longest = 100, .inside = { "##", 2 }, .cleanup = 1 };
}

static void start_words(made *m, int flags) {
    made_start(m, PITH__WORDPIECE, PITH__RAW);
    for (size_t i = 0; i < sizeof wp_piece / sizeof *wp_piece; i++)
        add_view(m, pith__str_of(wp_piece[i]), 0, i < 5 ? PITH__CONTROL : PITH__NORMAL);
    m->v.unk = 1;
    m->v.bert = rules(flags);
}

TEST(ids_of_texts) {
    made m;
    pith__tokenizer *k = NULL;
    pith_error err;
    int flags = -1;
    pith_token t[500];
    for (int i = 0; i < CASES; i++) {
        if (wp_case[i].flags != flags) {
            pith__tokenizer_free(k);
            start_words(&m, flags = wp_case[i].flags);
            REQUIRE((k = pith__tokenizer_new(&m.v, &err)) != NULL);
        }
        char line[4000] = "", back[2000] = "", room[100];
        int n = pith__tokenizer_encode(k, wp_case[i].text, (size_t)wp_case[i].n, 0, t, 500);
        for (int j = 0; j < n; j++) {
            sprintf(line + strlen(line), "%s%d", j ? " " : "", t[j]);
            pith__str s = pith__wordpiece_text(&m.v.bert, pith__tokenizer_piece(k, t[j]), j == 0, room);
            strncat(back, s.p, s.n);
        }
        if (strcmp(line, wp_case[i].ids)) FAIL("case %d, '%s', is %s, want %s", i, wp_case[i].text, line, wp_case[i].ids);
        if (strcmp(back, wp_case[i].back)) FAIL("case %d, '%s', comes back as '%s'", i, wp_case[i].text, back);
    }
    pith__tokenizer_free(k);
}

static int count_words(void *to, int32_t id) {
    ++*(int *)to;
    return id < 0;
}

static unsigned fnv(unsigned h, const char *p, size_t n) {
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)p[i]) * 16777619u;
    return h;
}

TEST(every_character) {
    pith__arena arena = { 0 };
    pith__wordpiece w = { .longest = 100, .piece.token = calloc(1, sizeof(pith__added)) };
    int wrong = 0;
    REQUIRE(w.piece.token && pith__wordpiece_build(&w, (pith__str){ "##", 2 }, &arena) == PITH_OK);
    for (int i = 0; i < 2 * PAGES && wrong < 5; i++) {
        unsigned h = 2166136261u;
        pith__bert how = rules(i % 2 ? 0 : 7);
        for (uint32_t c = (uint32_t)(i / 2) * 1024; c < ((uint32_t)(i / 2) + 1) * 1024; c++) {
            char text[6] = "a", normal[18];
            size_t n = 1 + pith__utf8_write(c, text + 1);
            if ((c >= 0xd800 && c < 0xe000) || c == 0x11938) continue; /* no characters; newer than the library's NFD */
            text[n++] = 'b';
            int words = 0;
            n = pith__bert_normal(&how, text, n, normal);
            pith__wordpiece_encode(&w, normal, n, count_words, &words);
            h = fnv(fnv(h, normal, n), (char[]){ (char)words }, 1);
        }
        if (h != wp_page[i / 2][i % 2]) FAIL("characters U+%04x to U+%04x, flags %d", i / 2 * 1024, i / 2 * 1024 + 1023, i % 2 ? 0 : 7), wrong++;
    }
    free(w.piece.token);
    pith__arena_free(&arena);
}

TEST(special_tokens_in_text) {
    made m;
    start_words(&m, 15);
    m.added[4] = PITH__LSTRIP;
    NEW(k, m);
    EXPECT(k, "a [MASK]b", PITH_SPECIAL, 20, 4, 21, -1);
    EXPECT(k, "a [mask]", PITH_SPECIAL, 20, 15, 88, 16, -1); /* as it is spelled, before any step */
    pith__tokenizer_free(k);
    m.added[4] = PITH__NORMALIZED;
    pith__tokenizer *low = pith__tokenizer_new(&m.v, &err);
    REQUIRE(low);
    EXPECT(low, "a [MaSk]", PITH_SPECIAL, 20, 4, -1); /* as it is normalised */
    EXPECT(low, "a [MaSk]", 0, 20, 15, 88, 16, -1);
    pith__tokenizer_free(low);
}

/* Bytes that are no UTF-8 are U+FFFD, which cleaning removes; pieces that are none are never found. */
TEST(no_utf8) {
    made m;
    start_words(&m, 15);
    add_view(&m, (pith__str){ "\xc3", 1 }, 0, PITH__NORMAL);
    add_view(&m, (pith__str){ "##\xa9", 3 }, 0, PITH__NORMAL);
    add_view(&m, (pith__str){ "a\0b", 3 }, 0, PITH__NORMAL);
    add_view(&m, (pith__str){ "", 0 }, 0, PITH__NORMAL);
    NEW(k, m);
    EXPECT(k, "a\xff""b\xc3", 0, 20, 47, -1);
    EXPECT(k, "\xed\xa0\x80\xf4\x90\x80\x80", 0, -1);
    pith__tokenizer_free(k);
    m.v.bert.clean = m.v.bert.strip = m.v.bert.lower = 0;
    pith__tokenizer *raw = pith__tokenizer_new(&m.v, &err);
    REQUIRE(raw);
    EXPECT(raw, "a\xff""b", 0, 1, -1);
    EXPECT(raw, "\xc3\xa9", 0, 1, -1);
    EXPECT(raw, "a\0b", 0, m.v.n - 2, -1);
    pith__tokenizer_free(raw);
}

/* No pieces within words; the same piece twice: the lower id. No text is longer in its normal form than there is room. */
TEST(odd_vocabularies) {
    made m;
    made_start(&m, PITH__WORDPIECE, PITH__RAW);
    m.v.unk = add(&m, "[UNK]", 0);
    int ab = add(&m, "ab", 0);
    add(&m, "ab", 0);
    m.v.bert = rules(15);
    NEW(k, m);
    EXPECT(k, "ab abab", 0, ab, 0, -1);
    pith__tokenizer_free(k);
    m.v.bert.inside.n = 0; /* then all pieces go on */
    m.v.bert.longest = 4;
    pith__tokenizer *plain = pith__tokenizer_new(&m.v, &err);
    REQUIRE(plain);
    EXPECT(plain, "abab ababab", 0, ab, ab, 0, -1);
    pith__tokenizer_free(plain);
}

/* A megabyte of one character, or two that alternate: the time grows with the text, whatever is in it. */
TEST(a_megabyte) {
    static const char *const part[] = { "a", "\xcc\x81", "\xed\x95\x9c", "\xe4\xb8\xad", "\xff", "\xe3\x80\xae", " ", "un",
                                        "\xf0\x9d\x85\xa5\xe1\xad\x84" };
    made m;
    start_words(&m, 15);
    m.v.bert.longest = 1 << 30;
    char *text = malloc(LONG);
    NEW(k, m);
    REQUIRE(text);
    clock_t begin = clock();
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        size_t n = strlen(part[i]);
        for (size_t at = 0; at < LONG; at++) text[at] = part[i][at % n];
        CHECK(pith__tokenizer_encode(k, text, LONG, PITH_SPECIAL, NULL, 0) >= 0);
    }
    double s = (double)(clock() - begin) / CLOCKS_PER_SEC;
    if (!(s < 20)) FAIL("took %.1f s", s);
    free(text);
    pith__tokenizer_free(k);
}

int main(void) {
    RUN(ids_of_texts);
    RUN(every_character);
    RUN(special_tokens_in_text);
    RUN(no_utf8);
    RUN(odd_vocabularies);
    RUN(a_megabyte);
    return DONE();
}
