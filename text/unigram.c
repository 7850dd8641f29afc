/* unigram.c - a text is cut into the pieces that are likeliest together: Kudo 2018, arXiv:1804.10959.
 *
 * Each piece has a probability, and a text's is the product of those of its pieces. Of all ways to cut, the best is found in
 * one walk (Viterbi 1967): for each place in the text, the best way to get there, which is the best way to where its last
 * piece begins and that piece. Logarithms are added instead of multiplying.
 *
 * A character that no piece begins with alone may be unknown, at 10 less than the unlikeliest piece. Of equal sums the first
 * one found stays, as in SentencePiece and "tokenizers". These differ in what they add with: SentencePiece keeps sums as
 * floats, and where ways tie but for rounding, that decides. */
#include "text.h"

#include <math.h>
#include <string.h>

enum { LONGEST = 256 }; /* bytes; longer pieces are not looked for: a walk takes linear time in all texts */

#define NOT_YET UINT32_MAX /* a place that nothing leads to so far */

PITH_SHARED int pith__unigram_build(pith__unigram *u, const double *score, pith__arena *arena) {
    size_t n = 0;
    double least = INFINITY;
    for (size_t i = 0; i < u->piece.n; i++) {
        const pith__added *t = &u->piece.token[i];
        if (score[t->id] < least) least = score[t->id];
        if (t->s.n > 0 && t->s.n <= LONGEST) u->piece.token[n++] = *t;
    }
    u->score = score;
    u->unknown = u->single ? (double)(float)(least - 10) : least - 10;
    u->piece.n = n;
    pith__added_sort(&u->piece);
    return pith__added_build(&u->piece, arena);
}

/* One more way to get to end: best ways to begin have this sum, and then comes piece id, or -1. */
static void offer(const pith__unigram *u, pith__unigram_cut *end, size_t begin, int32_t id, double sum) {
    if (u->single) sum = (float)sum;
    if (end->at == NOT_YET || sum > end->sum) *end = (pith__unigram_cut){ sum, (uint32_t)begin, id };
}

/* All pieces that begin at p[at], and the unknown one where there is none of just one character. Returns where that ends. */
static size_t go_from(const pith__unigram *u, const char *p, size_t n, size_t at, pith__unigram_cut *cut) {
    uint32_t c;
    size_t one = at + pith__utf8_read((const uint8_t *)p + at, n - at, &c);
    const pith__added_node *node = u->piece.begin[(uint8_t)p[at]];
    int known = 0;
    for (size_t end = at + 1; node; end++) {
        if (node->is_token) {
            int32_t id = u->piece.token[node->first].id;
            offer(u, &cut[end], at, id, cut[at].sum + u->score[id]);
            known |= end == one;
        }
        node = end < n ? pith__added_step(&u->piece, node, (uint8_t)p[end]) : NULL;
    }
    if (!known) offer(u, &cut[one], at, -1, cut[at].sum + u->unknown);
    return one;
}

PITH_SHARED int pith__unigram_walk(const pith__unigram *u, const char *p, size_t n, pith__unigram_cut *cut,
                                   const pith__progress *progress) {
    enum { OFTEN = 1 << 16 };
    if (n >= NOT_YET) return PITH_EARG;
    for (size_t i = 0; i <= n; i++) cut[i] = (pith__unigram_cut){ 0, NOT_YET, -1 };
    for (size_t at = 0, next = OFTEN; at < n;) {
        at = go_from(u, p, n, at, cut);
        if (at < next || !progress) continue;
        int code = pith__tell(progress, "text to tokens", at, n, NULL);
        if (code) return code;
        next += OFTEN;
    }
    pith__unigram_cut last = cut[n];
    for (size_t end = n, from; end > 0; end = from) { /* links back become links forward */
        from = last.at;
        pith__unigram_cut before = cut[from];
        cut[from].at = (uint32_t)end;
        cut[from].id = last.id;
        last = before;
    }
    return PITH_OK;
}

#undef NOT_YET
