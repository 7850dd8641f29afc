/* t_tokenizer.c - text to tokens and back: made-up vocabularies with known answers, and a slow one to
 * compare with. */
#include "made_vocab.h"

/* ---- made-up vocabularies -------------------------------------------------------------------- */

TEST(joins_by_score) {
    made m;
    int first = start_llama(&m, PITH__RAW);
    enum { SPACE, A, B, C, AB, BC, AA, _A, ABC };
    const char *const p[] = { " ", "a", "b", "c", "ab", "bc", "aa", " a", "abc" };
    const float score[] = { 0, 0, 0, 0, -2, -1, -3, -9, -8 };
    for (int i = 0; i < 9; i++) EQ(add(&m, p[i], score[i]), first + i);
    NEW(k, m);
    EXPECT(k, "", 0, -1); /* no space for no text */
    EXPECT(k, "", PITH_BOS | PITH_EOS, 1, 2, -1);
    EXPECT(k, "abc", 0, first + SPACE, first + ABC, -1); /* bc first, then a + bc */
    EXPECT(k, "ab", PITH_BOS, 1, first + SPACE, first + AB, -1);
    EXPECT(k, "aaa", 0, first + SPACE, first + AA, first + A, -1); /* the left of two equals */
    EXPECT(k, "ac", PITH_EOS, first + _A, first + C, 2, -1);
    pith__tokenizer_free(k);
}

TEST(bytes_stand_in) {
    made m;
    int first = start_llama(&m, PITH__RAW);
    add(&m, " ", 0);
    add(&m, "\xc3\xa9", 0); /* e with acute */
    NEW(k, m);
    EXPECT(k, "\xc3\xa9", 0, first, first + 1, -1);
    EXPECT(k, "\xc3\xa8", 0, first, 3 + 0xc3, 3 + 0xa8, -1);
    EXPECT(k, "\xa9\xff", 0, first, 3 + 0xa9, 3 + 0xff, -1); /* the space stays alone */
    EXPECT(k, "\n", 0, first, 3 + '\n', -1);
    EQ(pith__tokenizer_find(k, "\n", 1), 3 + '\n');
    pith__str newline = pith__tokenizer_piece(k, 3 + '\n');
    CHECK(newline.n == 1 && *newline.p == '\n');
    CHECK(pith__tokenizer_piece(k, -1).p == NULL && pith__tokenizer_piece(k, m.v.n).p == NULL);
    pith__tokenizer_free(k);
}

TEST(unknown_without_bytes) {
    made m;
    made_start(&m, PITH__SPM, PITH__RAW);
    m.v.unk = add_view(&m, pith__str_of("<unk>"), 0, PITH__UNKNOWN);
    add(&m, "a", 0);
    m.v.add_space = 1; /* but no piece " " */
    for (int unk = 0; unk >= -1; unk--) {
        m.v.unk = unk;
        NEW(k, m);
        if (unk == 0) EXPECT(k, "a\xc3\xa9x", 0, 1, 0, 0, -1); /* one for each character */
        else EXPECT(k, "a\xc3\xa9x", 0, 1, -1);
        pith__tokenizer_free(k);
    }
}

/* Id 0 is a token as any other: a byte's, and one that joining makes. */
TEST(token_zero) {
    made m;
    made_start(&m, PITH__SPM, PITH__RAW);
    add(&m, "ab", -1);
    add(&m, "a", 0);
    add(&m, "b", 0);
    NEW(k, m);
    EXPECT(k, "bab", 0, 2, 0, -1);
    pith__tokenizer_free(k);
    made_start(&m, PITH__SPM, PITH__RAW);
    m.v.unk = 1;
    add_view(&m, pith__str_of("<0x0A>"), 0, PITH__BYTE);
    add_view(&m, pith__str_of("<unk>"), 0, PITH__UNKNOWN);
    pith__tokenizer *t = pith__tokenizer_new(&m.v, &err);
    REQUIRE(t != NULL);
    EXPECT(t, "\n\t", 0, 0, 1, -1);
    pith__tokenizer_free(t);
}

TEST(odd_byte_names_are_text) {
    made m;
    made_start(&m, PITH__SPM, PITH__RAW);
    const char *const p[] = { "<0x-1>", "<0xZZ>", "<0x100>", "<0xA>", "<0x0a>", "" };
    for (int i = 0; i < 6; i++) add(&m, p[i], 0);
    NEW(k, m);
    EQ(pith__tokenizer_find(k, "<0x-1>", 6), 0);
    EQ(pith__tokenizer_find(k, "<0x0a>", 6), -1);
    EXPECT(k, "x\n", 0, 4, -1);
    EQ(pith__tokenizer_piece(k, 5).n, 0);
    pith__tokenizer_free(k);
}

TEST(scores_that_never_join) {
    const float never[] = { NAN, -INFINITY, -1e10f, -2e10f };
    for (int i = 0; i < 5; i++) {
        made m;
        made_start(&m, PITH__SPM, PITH__RAW);
        add(&m, "a", 0);
        add(&m, "b", NAN);
        add(&m, "ab", i < 4 ? never[i] : -9e9f);
        NEW(k, m);
        if (i < 4) EXPECT(k, "ab", 0, 0, 1, -1);
        else EXPECT(k, "ab", 0, 2, -1);
        pith__tokenizer_free(k);
    }
}

TEST(lowest_id_of_equal_pieces) {
    made m;
    made_start(&m, PITH__SPM, PITH__RAW);
    add(&m, "b", 0);
    add(&m, "a", 0);
    add(&m, "a", 5);
    add_view(&m, pith__str_of("b"), 0, PITH__CONTROL);
    NEW(k, m);
    EXPECT(k, "ab", 0, 1, 0, -1);
    EXPECT(k, "ab", PITH_SPECIAL, 1, 3, -1);
    EQ(pith__tokenizer_find(k, "b", 1), 3); /* the special one is what is asked for by name */
    pith__tokenizer_free(k);
}

TEST(metaspaces) {
    made m;
    int first = start_llama(&m, PITH__METASPACE);
    add(&m, "\xe2\x96\x81", 0);
    add(&m, "a", 0);
    add(&m, "\xe2\x96\x81" "a", -1);
    add(&m, "\xe2\x96\x81\xe2\x96\x81", -2);
    NEW(k, m);
    EXPECT(k, "a a", 0, first + 2, first + 2, -1);
    EXPECT(k, "a\xe2\x96\x81" "a", 0, first + 2, first + 2, -1); /* reads as a space */
    EXPECT(k, "  a", 0, first + 3, first + 2, -1);
    CHECK(pith__str_is(pith__tokenizer_piece(k, first + 2), " a"));
    CHECK(pith__str_is(pith__tokenizer_piece(k, first + 3), "  "));
    pith__tokenizer_free(k);
}

TEST(capacity) {
    made m;
    start_llama(&m, PITH__RAW);
    NEW(k, m);
    pith_token t[4] = { -7, -7, -7, -7 };
    EQ(pith__tokenizer_encode(k, "abc", 3, PITH_BOS, t, 2), 4);
    EQ(t[1], 3 + 'a');
    EQ(t[2], -7);
    EQ(pith__tokenizer_encode(k, "abc", 3, PITH_BOS, NULL, 0), 4);
    EQ(pith__tokenizer_encode(k, "abc", 3, PITH_BOS, t, -5), 4);
    EQ(pith__tokenizer_encode(k, NULL, 0, 0, NULL, 0), 0);
    EQ(pith__tokenizer_encode(k, "abc", SIZE_MAX, 0, NULL, 0), PITH_EARG);
    m.v.add_bos = 0; /* a copy: the tokenizer has its own */
    EQ(pith__tokenizer_encode(k, "abc", 3, PITH_BOS, NULL, 0), 4);
    pith__tokenizer_free(k);
    pith__tokenizer_free(NULL);
}

TEST(special_tokens) {
    made m;
    int first = start_llama(&m, PITH__RAW);
    add(&m, " ", 0);
    int im = add_view(&m, pith__str_of("<|im|>"), 0, PITH__CONTROL);
    int im_end = add_view(&m, pith__str_of("<|im|>x"), 0, PITH__CONTROL);
    int user = add_view(&m, pith__str_of("<u>"), 0, PITH__USER);
    int strip = add_view(&m, pith__str_of("<mask>"), 0, PITH__USER);
    m.added[strip] = PITH__LSTRIP | PITH__RSTRIP;
    NEW(k, m);
    EXPECT(k, "<|im|><|im|>x", PITH_SPECIAL, im, im_end, -1); /* the longest */
    EXPECT(k, "y<s>z", PITH_SPECIAL, first, 3 + 'y', 1, first, 3 + 'z', -1);
    EXPECT(k, "<s>", 0, first, 3 + '<', 3 + 's', 3 + '>', -1);
    EXPECT(k, "<u>", 0, user, -1);
    EXPECT(k, "<u", 0, first, 3 + '<', 3 + 'u', -1);
    EXPECT(k, "y \n<mask>\t z", 0, first, 3 + 'y', strip, first, 3 + 'z', -1);
    EXPECT(k, " <mask> ", 0, strip, -1);
    EQ(pith__tokenizer_find(k, "<|im|>", 6), im);
    EQ(pith__tokenizer_find(k, "<|im|", 5), -1);
    pith__tokenizer_free(k);
}

/* ---- byte-level BPE -------------------------------------------------------------------------- */

TEST(joins_by_rank) {
    made m;
    start_letters(&m, "gpt-2");
    const char *const p[] = { "ll", "he", "hell", "lo", "\xc4\xa0h", "\xc4\xa0he" };
    for (int i = 0; i < 6; i++) add(&m, p[i], 0);
    add_merge(&m, "l", "l");
    add_merge(&m, "\xc4\xa0", "h"); /* space, h */
    add_merge(&m, "h", "e");
    add_merge(&m, "he", "ll");
    add_merge(&m, "l", "o");
    NEW(k, m);
    EXPECT(k, "hello", 0, 258, 'o', -1);
    EXPECT(k, "hello hello", 0, 258, 'o', 260, 'e', 256, 'o', -1);
    EXPECT(k, "lllo", 0, 256, 259, -1); /* ll before lo, and the left one */
    EXPECT(k, "lo", PITH_BOS | PITH_EOS, 259, -1); /* neither exists */
    CHECK(pith__str_is(pith__tokenizer_piece(k, 260), " h"));
    char all[256];
    for (int c = 0; c < 256; c++) all[c] = (char)c;
    pith_token t[256];
    int n = pith__tokenizer_encode(k, all, 256, 0, t, 256);
    EQ(n, 256);
    for (int i = 0; i < n; i++) CHECK(t[i] == i && pith__tokenizer_piece(k, i).p[0] == all[i]);
    pith__tokenizer_free(k);
}

TEST(merges_in_any_order) {
    made m;
    start_letters(&m, "gpt-2");
    const char *const p[] = { "abc", "ab", "bc", "abcabcabcabc", "abcabcabcabd", "abcabc", "bd", "abcabcabd" };
    for (int i = 0; i < 8; i++) add(&m, p[i], 0);
    const char *const merge[][2] = { { "b", "c" }, { "a", "bc" }, { "a", "b" }, { "b", "c" }, { "b", "d" }, { "abc", "abc" },
                                     { "abcabc", "abcabc" }, { "ab", "c" } };
    for (int i = 0; i < 8; i++) add_merge(&m, merge[i][0], merge[i][1]);
    NEW(k, m);
    EXPECT(k, "abc", 0, 256, -1); /* b and c first, though they come again behind a and b */
    EXPECT(k, "abd", 0, 257, 'd', -1);
    EXPECT(k, "abcabcabcabc", 0, 259, -1);
    EXPECT(k, "abcabcabcabd", 0, 261, 256, 257, 'd', -1); /* a piece, which no merge makes */
    pith__tokenizer_free(k);
}

TEST(a_merge_within_a_letter) {
    made m;
    start_letters(&m, "gpt-2");
    add(&m, "he", 0);
    add(&m, "\xc4\xa0h", 0);
    for (int i = 0; i < 40; i++) add_merge(&m, "h", "e"); /* more than a turn, so that the next piece is expected */
    add_merge(&m, "\xc4", "\xa0h"); /* together a piece, but the second is none */
    pith_error err = { 0 };
    CHECK(pith__tokenizer_new(&m.v, &err) == NULL);
    CHECK(strstr(err.text, "merge 40") && strstr(err.text, "the second is not a piece"));
}

TEST(whole_words_without_merges) {
    for (int ignore = 0; ignore < 2; ignore++) {
        made m;
        start_letters(&m, "llama-bpe");
        add(&m, "whole", 0);
        m.v.ignore_merges = ignore;
        NEW(k, m);
        if (ignore) EXPECT(k, "whole.", 0, 256, '.', -1);
        else EXPECT(k, "whole.", 0, 'w', 'h', 'o', 'l', 'e', '.', -1);
        pith__tokenizer_free(k);
    }
}

TEST(added_tokens_are_plain_text) {
    made m;
    start_letters(&m, "gpt-2");
    int spaces = add_view(&m, pith__str_of("  "), 0, PITH__USER); /* not spelled in letters */
    int end = add_view(&m, pith__str_of("<\xef\xbd\x9c end>"), 0, PITH__CONTROL);
    NEW(k, m);
    EXPECT(k, "a  b", 0, 'a', spaces, 'b', -1);
    EXPECT(k, "<\xef\xbd\x9c end>", PITH_SPECIAL, end, -1);
    CHECK(pith__str_is(pith__tokenizer_piece(k, end), "<\xef\xbd\x9c end>"));
    pith__tokenizer_free(k);
}

/* Over 256 bytes an added token has its id by name, but no text is searched for it. */
TEST(the_longest_added_token) {
    static char text[257];
    memset(text, 'a', sizeof text);
    for (size_t n = 256; n <= 257; n++) {
        made m;
        start_letters(&m, "gpt-2");
        int added = add_view(&m, (pith__str){ text, n }, 0, PITH__USER);
        NEW(k, m);
        EQ(pith__tokenizer_find(k, text, n), added);
        EQ(pith__tokenizer_encode(k, text, n, 0, NULL, 0), n == 256 ? 1 : 257);
        pith__tokenizer_free(k);
    }
}

/* Letters stand for bytes in pieces that were learned; an added token is the text itself. */
TEST(an_added_token_is_no_letter) {
    made m;
    start_letters(&m, "llama-bpe");
    int added = add_view(&m, pith__str_of("\u00e9"), 0, PITH__USER); /* as a letter it is byte 0xe9 */
    m.added[added] = PITH__SINGLE_WORD;
    m.v.ignore_merges = 1;
    m.v.bos = m.v.eos = m.v.n; /* there are none */
    m.v.add_bos = m.v.add_eos = 1;
    NEW(k, m);
    EXPECT(k, "\u00e9", PITH_BOS | PITH_EOS, added, -1);
    EXPECT(k, "\u00e9_", 0, 0xc3, 0xa9, '_', -1); /* not found, and no merge makes it */
    EXPECT(k, "\xe9", 0, 0xe9, -1);
    pith__tokenizer_free(k);
    made plain;
    start_letters(&plain, "gpt-2");
    const char *const p[] = { "!!", "~~", "\u00a1\u00a1", "\u00ac\u00ae", "\u00ff\u00ff", "\u0120\u0121\u0142\u0143" };
    const char *const bytes[] = { "!!", "~~", "\xa1\xa1", "\xac\xae", "\xff\xff", " \x7f\xa0\xad" };
    for (int i = 0; i < 6; i++) add(&plain, p[i], 0);
    plain.v.added = NULL;
    int user = add_view(&plain, pith__str_of("<u>"), 0, PITH__USER);
    pith__tokenizer *t = pith__tokenizer_new(&plain.v, &err);
    REQUIRE(t != NULL);
    for (int i = 0; i < 6; i++)
        if (!pith__str_is(pith__tokenizer_piece(t, 256 + i), bytes[i])) FAIL("piece %s", p[i]);
    EXPECT(t, "a <u> b", 0, 'a', ' ', user, ' ', 'b', -1); /* no flags: it takes nothing along */
    pith__tokenizer_free(t);
}

TEST(merges_that_cannot_be) {
    const char *const bad[][2] = { { "a", "qq" }, { "qq", "a" }, { "a", "b" }, { "", "a" } };
    for (int i = 0; i < 4; i++) {
        made m;
        start_letters(&m, "gpt-2");
        add_merge(&m, bad[i][0], bad[i][1]);
        pith_error err = { 0 };
        CHECK(pith__tokenizer_new(&m.v, &err) == NULL);
        EQ(err.code, PITH_EFORMAT);
        CHECK(strstr(err.text, "merge 0") && strstr(err.text, bad[i][1]));
    }
}

TEST(unknown_pretokenizer) {
    made m;
    start_letters(&m, "gpt-9");
    pith_error err = { 0 };
    CHECK(pith__tokenizer_new(&m.v, &err) == NULL);
    EQ(err.code, PITH_EARCH);
    CHECK(strstr(err.text, "gpt-9") && strstr(err.text, "--pretokenizer"));
    m.v.pre = (pith__str){ NULL, 0 };
    CHECK(pith__tokenizer_new(&m.v, &err) == NULL);
    m.v.model = PITH__NONE;
    CHECK(pith__tokenizer_new(&m.v, &err) == NULL);
}

/* Llama 2 as Hugging Face writes it: merges by rank, but from characters, with byte fallback. */
TEST(merges_of_characters) {
    made m;
    int first = start_llama(&m, PITH__METASPACE);
    m.v.model = PITH__BPE;
    const char *const p[] = { "\u2581", "a", "b", "\u2581a", "ab", "\u00e9" };
    for (int i = 0; i < 6; i++) add(&m, p[i], 0);
    add_merge(&m, "a", "b");
    add_merge(&m, "\xe2\x96\x81", "a");
    NEW(k, m);
    EXPECT(k, "a ab\xc3\xa9\xc3\xa8", PITH_BOS, 1, first + 3, first, first + 4, first + 5, 3 + 0xc3,
           3 + 0xa8, -1);
    pith__tokenizer_free(k);
}

/* A space without a piece becomes the bytes of U+2581, as in SentencePiece. */
TEST(spaces_without_a_piece) {
    for (int model = PITH__SPM; model <= PITH__BPE; model++) {
        made m;
        int first = start_llama(&m, PITH__METASPACE);
        m.v.model = model;
        add(&m, "a", 0);
        NEW(k, m);
        EXPECT(k, "a", 0, 3 + 0xe2, 3 + 0x96, 3 + 0x81, first, -1);
        pith__tokenizer_free(k);
    }
}

TEST(where_spaces_go) {
    const int mode[] = { 0, PITH__SPACE_ALWAYS, PITH__SPACE_NONE_YET, PITH__SPACE_FIRST };
    for (int i = 0; i < 4; i++) {
        made m;
        int first = start_llama(&m, PITH__METASPACE), space = first;
        add(&m, "\u2581", 0);
        m.v.add_space = mode[i];
        NEW(k, m);
        if (i == 0) EXPECT(k, "a<s>b", PITH_SPECIAL, 3 + 'a', 1, 3 + 'b', -1);
        else if (i < 3) EXPECT(k, "a<s>b", PITH_SPECIAL, space, 3 + 'a', 1, space, 3 + 'b', -1);
        else EXPECT(k, "a<s>b", PITH_SPECIAL, space, 3 + 'a', 1, 3 + 'b', -1);
        if (i == 1) EXPECT(k, " a", 0, space, space, 3 + 'a', -1);
        else EXPECT(k, " a", 0, space, 3 + 'a', -1);
        pith__tokenizer_free(k);
    }
}

TEST(normal_form) {
    const struct { const char *from, *to; } nfc[] = {
        { "e\u0301", "\u00e9" }, { "\u00e9", "\u00e9" }, { "a\u0301\u0323", "\u1ea1\u0301" },
        { "\u1100\u1161\u11a8", "\uac01" }, { "\uac00\u11a8", "\uac01" }, { "\u212b", "\u00c5" },
        { "\u0958", "\u0915\u093c" }, { "\uf900", "\u8c48" }, { "\u0301", "\u0301" },
        { "\xff" "e\u0301\xcc", "\xff\u00e9\xcc" }, { "\u0344", "\u0308\u0301" },
        { "q\u0307\u0323", "q\u0323\u0307" }, { "\u09c7\u09be", "\u09cb" }
    };
    for (size_t i = 0; i < sizeof nfc / sizeof *nfc; i++) {
        char out[64];
        size_t n = pith__nfc(nfc[i].from, strlen(nfc[i].from), out);
        if (n != strlen(nfc[i].to) || memcmp(out, nfc[i].to, n) != 0)
            FAIL("'%s' becomes '%.*s', want '%s'", nfc[i].from, (int)n, out, nfc[i].to);
    }
    char marks[281] = "a", out[3 * 281]; /* far more than are put in order at once */
    for (int i = 0; i < 140; i++) memcpy(marks + 1 + 2 * i, i % 2 ? "\u0323" : "\u0301", 2);
    CHECK(pith__nfc(marks, 281, out) > 270);
    for (int nfc_wanted = 0; nfc_wanted < 2; nfc_wanted++) {
        made m;
        start_letters(&m, "qwen2");
        m.v.nfc = nfc_wanted;
        NEW(k, m);
        if (nfc_wanted) EXPECT(k, "e\u0301", 0, 0xc3, 0xa9, -1);
        else EXPECT(k, "e\u0301", 0, 'e', 0xcc, 0x81, -1);
        pith__tokenizer_free(k);
    }
}

/* ---- against a slow tokenizer ---------------------------------------------------------------- */

static unsigned dice(unsigned n) {
    static uint64_t state = 88172645463325252u;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (unsigned)(state >> 33) % n;
}

/* What llama2.c does: look at every pair, join the best, begin again. */
static int slow_encode(const made *m, const char *text, int n, int *out) {
    int count = 0;
    for (int i = 0; i < n; i++)
        for (int id = 0; id < m->v.n; id++)
            if (m->piece[id].n == 1 && *m->piece[id].p == text[i]) {
                out[count++] = id;
                break;
            }
    for (;;) {
        int best = -1, made_id = -1;
        float score = -1e10f;
        for (int i = 0; i + 1 < count; i++) {
            char both[64];
            pith__str a = m->piece[out[i]], b = m->piece[out[i + 1]];
            memcpy(both, a.p, a.n);
            memcpy(both + a.n, b.p, b.n);
            for (int id = 0; id < m->v.n; id++) {
                if (pith__str_cmp(m->piece[id], (pith__str){ both, a.n + b.n }) != 0) continue;
                if (m->score[id] > score) best = i, made_id = id, score = m->score[id];
                break;
            }
        }
        if (best < 0) return count;
        out[best] = made_id;
        memmove(out + best + 1, out + best + 2, (size_t)(--count - best - 1) * sizeof *out);
    }
}

TEST(as_the_slow_one) {
    static char text[MOST][8];
    for (int round = 0; round < 60; round++) {
        made m;
        made_start(&m, PITH__SPM, PITH__RAW);
        for (const char *c = "abcd"; *c; c++) add_view(&m, (pith__str){ c, 1 }, 0, PITH__NORMAL);
        for (int i = 0; i < 60; i++) {
            size_t n = 2 + dice(5);
            for (size_t j = 0; j < n; j++) text[i][j] = (char)('a' + dice(4));
            add_view(&m, (pith__str){ text[i], n }, -(float)dice(12), PITH__NORMAL); /* many ties */
        }
        NEW(k, m);
        for (int i = 0; i < 40; i++) {
            char s[80];
            int n = (int)dice(80), want[81];
            for (int j = 0; j < n; j++) s[j] = (char)('a' + dice(4));
            want[slow_encode(&m, s, n, want)] = -1;
            expect(__FILE__, __LINE__, k, s, (size_t)n, 0, want);
        }
        pith__tokenizer_free(k);
    }
}

/* What is quadratic in the length of the text would not end within minutes. */
TEST(long_texts) {
    size_t n = 1 << 20, n_short = 1 << 17;
    char *s = malloc(n);
    REQUIRE(s != NULL);
    const char *const pre[] = { "gpt-2", "llama-bpe", "tekken", "gpt-4o", "deepseek-llm",
                                "deepseek-coder", "deepseek-v3", "default", "falcon", "smollm" };
    const char *const unit[] = { "a", " ", " \n", "A", "'", "1", "\xe4\xb8\xad", "<s>", "\xff",
                                 "<s" };
    made m, b;
    start_llama(&m, PITH__RAW);
    add(&m, "a", 0);
    add(&m, "aa", -1);
    add(&m, "aaaa", -2);
    NEW(k, m);
    for (int u = 0; u < 10; u++) {
        size_t size = strlen(unit[u]);
        for (size_t i = 0; i < n; i++) s[i] = unit[u][i % size];
        s[n - 1] = s[n_short - 1] = '5'; /* so that no rule ends with the text */
        CHECK(pith__tokenizer_encode(k, s, n, PITH_SPECIAL, NULL, 0) > 0);
        for (int i = 0; i < 10; i++) {
            start_letters(&b, pre[i]);
            add(&b, "aa", 0);
            add(&b, "aaaa", 0);
            add_merge(&b, "a", "a");
            add_merge(&b, "aa", "aa");
            pith__tokenizer *t = pith__tokenizer_new(&b.v, &err);
            REQUIRE(t != NULL);
            int count = pith__tokenizer_encode(t, s, n_short, 0, NULL, 0);
            if (u) EQ(count, n_short);
            else CHECK(count > 0 && (size_t)count < n_short / 3);
            pith__tokenizer_free(t);
        }
    }
    pith__tokenizer_free(k);
    free(s);
}

/* Added tokens that share long beginnings, take white space that others took, or are found nowhere. */
TEST(long_texts_with_added_tokens) {
    enum { N = 1 << 18, TOKENS = 200, FLAGS = PITH__LSTRIP | PITH__RSTRIP };
    static char spelled[TOKENS][TOKENS + 2];
    const struct { const char *unit, *token; int flags, count; } texts[] = {
        { "a", "ab", 0, N }, { " ", " ", FLAGS, N }, { " ", "x", FLAGS, N }, { " x", "x", FLAGS, N / 2 },
        { "x ", "x", FLAGS, N / 2 }, { "x", "x", PITH__SINGLE_WORD, N }, { "x ", "x", PITH__SINGLE_WORD, N },
        { " \t", "\t", FLAGS, N / 2 }, { "<s>", "", 0, N }
    };
    char *s = malloc(N);
    REQUIRE(s != NULL);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        made m;
        start_letters(&m, "qwen2");
        add_view(&m, pith__str_of(texts[i].token), 0, PITH__USER);
        m.added[256] = (uint8_t)texts[i].flags;
        for (int k = 0; k < TOKENS - 60 && i == 0; k++) { /* a...ab */
            memset(spelled[k], 'a', (size_t)k + 2);
            spelled[k][k + 2] = 'b';
            add_view(&m, (pith__str){ spelled[k], (size_t)k + 3 }, 0, PITH__USER);
        }
        NEW(k, m);
        for (size_t j = 0; j < N; j++) s[j] = texts[i].unit[j % strlen(texts[i].unit)];
        EQ(pith__tokenizer_encode(k, s, N, PITH_SPECIAL, NULL, 0), texts[i].count);
        pith__tokenizer_free(k);
    }
    free(s);
}

int main(void) {
    RUN(joins_by_score);
    RUN(bytes_stand_in);
    RUN(unknown_without_bytes);
    RUN(token_zero);
    RUN(the_longest_added_token);
    RUN(odd_byte_names_are_text);
    RUN(scores_that_never_join);
    RUN(lowest_id_of_equal_pieces);
    RUN(metaspaces);
    RUN(capacity);
    RUN(special_tokens);
    RUN(joins_by_rank);
    RUN(merges_in_any_order);
    RUN(a_merge_within_a_letter);
    RUN(whole_words_without_merges);
    RUN(added_tokens_are_plain_text);
    RUN(an_added_token_is_no_letter);
    RUN(merges_that_cannot_be);
    RUN(unknown_pretokenizer);
    RUN(merges_of_characters);
    RUN(spaces_without_a_piece);
    RUN(where_spaces_go);
    RUN(normal_form);
    RUN(as_the_slow_one);
    RUN(long_texts);
    RUN(long_texts_with_added_tokens);
    return DONE();
}
