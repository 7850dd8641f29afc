/* t_frame.c - special tokens around a text and a pair, token types, and what a limit leaves. */
#include "made_vocab.h"

enum { CLS, SEP, A, B }; /* [CLS] [SEP] a b */

static pith__tokenizer *make(made *m, int n_pair) {
    static const char *const piece[] = { "[CLS]", "[SEP]", "a", "b" };
    static const pith__place pair[] = { { CLS, 0 }, { PITH__FIRST_TEXT, 0 }, { SEP, 0 }, { PITH__SECOND_TEXT, 1 },
                                        { SEP, 1 } };
    pith_error err;
    made_start(m, PITH__SPM, PITH__RAW);
    for (int i = 0; i < 4; i++) add_view(m, pith__str_of(piece[i]), 0, i < A ? PITH__CONTROL : PITH__NORMAL);
    m->v.bos = CLS;
    m->v.eos = SEP;
    m->v.add_bos = m->v.add_eos = 1;
    m->v.n_pair = n_pair;
    memcpy(m->v.pair, pair, sizeof pair);
    return pith__tokenizer_new(&m->v, &err);
}

/* The tokens and their types, as "0a2b": of "a" and so on, in letters; or how many were cut. */
static void framed_is(const pith__tokenizer *k, const char *a, const char *b, int limit, const char *want, int cut) {
    static pith__framed f; /* that one call's memory serves the next is a part of the test */
    pith__to_frame in = { pith__str_of(a), { b, b ? strlen(b) : 0 }, PITH_SPECIAL | PITH_BOS, limit };
    char got[100] = "";
    EQ(pith__frame(k, &in, &f), PITH_OK);
    for (int i = 0; i < f.n && i < 40; i++) sprintf(got + strlen(got), "%c%d", "[]ab"[f.token[i]], f.type[i]);
    if (strcmp(got, want) || f.cut != cut) FAIL("'%s' '%s' to %d is %s, cut %d", a, b ? b : "", limit, got, f.cut);
    if (strlen(a) > 20) pith__framed_free(&f);
}

TEST(around_one_text) {
    made m;
    pith__tokenizer *k = make(&m, 5);
    REQUIRE(k);
    framed_is(k, "ab", NULL, 0, "[0a0b0]0", 0);
    framed_is(k, "", NULL, 0, "[0]0", 0);
    framed_is(k, "a[SEP]b", NULL, 0, "[0a0]0b0]0", 0);
    framed_is(k, "abab", NULL, 5, "[0a0b0a0]0", 1);
    framed_is(k, "abab", NULL, 1, "[0]0", 4); /* no limit takes the special tokens */
    framed_is(k, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL, 3, "[0a0]0", 29);
    m.v.add_eos = 0;
    pith__tokenizer_free(k);
    pith_error err;
    REQUIRE((k = pith__tokenizer_new(&m.v, &err)) != NULL);
    framed_is(k, "ab", NULL, 2, "[0a0", 1);
    pith__tokenizer_free(k);
}

/* Lengths as the library "tokenizers" cuts them: its truncate_encodings, LongestFirst. */
TEST(around_a_pair) {
    made m;
    pith__tokenizer *k = make(&m, 5);
    REQUIRE(k);
    framed_is(k, "a", "b", 0, "[0a0]0b1]1", 0);
    framed_is(k, "", "", 0, "[0]0]1", 0);
    framed_is(k, "aaaa", "bb", 8, "[0a0a0a0]0b1b1]1", 1);
    framed_is(k, "aa", "bbbb", 8, "[0a0a0]0b1b1b1]1", 1);
    framed_is(k, "aaaa", "bbbb", 8, "[0a0a0]0b1b1b1]1", 3); /* of two equals the second one keeps more */
    framed_is(k, "aaaaa", "bbbb", 8, "[0a0a0a0]0b1b1]1", 4);
    framed_is(k, "aaa", "bbb", 4, "[0]0b1]1", 5);
    framed_is(k, "aaa", "bbb", 2, "[0]0]1", 6);
    pith__tokenizer_free(k);
    REQUIRE((k = make(&m, 0)) != NULL); /* nothing is said of pairs */
    framed_is(k, "a", "b", 0, "[0a0]0[1b1]1", 0);
    framed_is(k, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "b", 6, "[0a0]0[1b1]1", 30);
    pith__tokenizer_free(k);
}

int main(void) {
    RUN(around_one_text);
    RUN(around_a_pair);
    return DONE();
}
