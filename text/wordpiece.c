/* wordpiece.c - BERT's tokenizer: text in its normal form, words, and the longest pieces of each.
 *
 * WordPiece (Schuster and Nakajima 2012; BERT: Devlin et al. 2019, arXiv:1810.04805) knows no merges: of a word, the
 * longest piece that it begins with is taken, then the longest that goes on from there. Pieces within a word begin
 * with "##" in the vocabulary. A word that is left with a rest without a piece is one unknown token, whole.
 *
 * The normal form is that of the library "tokenizers" (its BertNormalizer), step by step, and each step is a value of
 * the vocabulary: characters that nobody sees are removed, and white space becomes a blank; Chinese characters stand
 * alone; letters lose their accents, by NFD, which also writes a Korean syllable as its two or three letters; capitals
 * become small. */
#include "../formats/formats.h"
#include "text.h"

#include <string.h>

/* ---- the normal form --------------------------------------------------------------------------------------- */

/* Blanks go around these: Unicode's blocks of ideographs. BERT's own list ends one of them at U+2B81F; the library
 * begins the next one at U+2B920, not U+2B820, and vocabularies were made with that. */
static int is_chinese(uint32_t c) {
    static const uint32_t block[][2] = {
        { 0x3400, 0x4dbf }, { 0x4e00, 0x9fff }, { 0xf900, 0xfaff }, { 0x20000, 0x2a6df }, { 0x2a700, 0x2b73f },
        { 0x2b740, 0x2b81f }, { 0x2b920, 0x2ceaf }, { 0x2f800, 0x2fa1f }
    };
    for (size_t i = 0; i < sizeof block / sizeof *block && c >= block[i][0]; i++)
        if (c <= block[i][1]) return 1;
    return 0;
}

typedef struct { /* text that is being brought into its normal form */
    const pith__bert *how;
    char *out;
    size_t n;
    size_t fixed;  /* out[0 .. fixed) stays in its order: behind it are marks only, sorted by their order */
} bert_text;

/* A mark goes before marks of a higher order, as in NFD. Seldom: most marks are gone. */
static void sort_mark(bert_text *t, size_t from, int order) {
    char mark[4];
    size_t size = t->n - from, at = from, before;
    uint32_t c;
    memcpy(mark, t->out + from, size);
    for (int moved = 0; at > t->fixed && moved < 64; at = before, moved++) { /* of more marks, the rest stays as it is */
        for (before = at - 1; before > t->fixed && (t->out[before] & 0xc0) == 0x80;) before--;
        pith__utf8_read((const uint8_t *)t->out + before, at - before, &c);
        if (pith__unicode_order(c) <= order) break;
        memmove(t->out + before + size, t->out + before, at - before);
    }
    memcpy(t->out + at, mark, size);
}

static void put_small(bert_text *t, uint32_t c) {
    uint32_t small[3] = { c };
    size_t count = t->how->lower ? pith__unicode_case(c, 'l', small) : 1;
    for (size_t i = 0; i < count; i++) t->n += pith__utf8_write(small[i], t->out + t->n);
}

/* The character without its accents: what is left when marks are gone. */
static void put_letters(bert_text *t, uint32_t c) {
    uint32_t part[PITH__NFD_CHARS];
    if (!t->how->strip || c < 0xc0) {
        put_small(t, c);
        t->fixed = t->n;
        return;
    }
    size_t count = pith__nfd_char(c, part);
    for (size_t i = 0; i < count; i++) {
        int order = pith__unicode_order(part[i]);
        size_t from = t->n;
        if (pith__bert_class(part[i]) != PITH__BERT_MARK) put_small(t, part[i]);
        if (order == 0) t->fixed = t->n;
        else if (t->n > from) sort_mark(t, from, order);
    }
}

PITH_SHARED size_t pith__bert_normal(const pith__bert *how, const char *p, size_t n, char *out) {
    bert_text t = { .how = how, .out = out };
    uint32_t c;
    for (size_t i = 0; i < n;) {
        i += pith__utf8_read((const uint8_t *)p + i, n - i, &c);
        int white = pith__unicode_class(c) == PITH__SPACE;
        if (how->clean && !(c == '\t' || c == '\n' || c == '\r') && pith__bert_class(c) == PITH__BERT_GONE) continue;
        if (how->clean && white) c = ' ';
        int alone = how->chinese && is_chinese(c);
        if (alone) out[t.n++] = ' ';
        put_letters(&t, c);
        if (alone) out[t.n++] = ' ', t.fixed = t.n;
    }
    return t.n;
}

/* ---- the pieces of a word ---------------------------------------------------------------------------------- */

/* Give the pieces of a word to put(), if there is one, and say whether all of it has pieces: 1, or 0, or an error. */
static int word_pieces(const pith__wordpiece *w, pith__str word, pith__put_id *put, void *to) {
    size_t at = 0, size = 0;
    const pith__added *piece = pith__added_longest(&w->piece, NULL, word.p, word.n, &size);
    while (piece) {
        int code = put ? put(to, piece->id) : 0;
        if (code) return code;
        if ((at += size) == word.n) return 1;
        piece = w->inside ? pith__added_longest(&w->piece, w->inside, word.p + at, word.n - at, &size) : NULL;
    }
    return 0;
}

static int put_word(const pith__wordpiece *w, pith__str word, size_t chars, pith__put_id *put, void *to) {
    if (!word.n) return 0;
    if (chars > w->longest || !word_pieces(w, word, NULL, NULL)) return put(to, w->unk);
    int code = word_pieces(w, word, put, to);
    return code < 0 ? code : 0;
}

PITH_SHARED int pith__wordpiece_encode(const pith__wordpiece *w, const char *p, size_t n, pith__put_id *put, void *to) {
    size_t start = 0, chars = 0, size;
    int code = 0;
    uint32_t c;
    for (size_t i = 0; i < n && !code; i += size) {
        size = pith__utf8_read((const uint8_t *)p + i, n - i, &c);
        int white = pith__unicode_class(c) == PITH__SPACE, alone = pith__bert_class(c) == PITH__BERT_PUNCT;
        chars++;
        if (!white && !alone) continue;
        code = put_word(w, (pith__str){ p + start, i - start }, chars - 1, put, to);
        if (alone && !code) code = put_word(w, (pith__str){ p + i, size }, 1, put, to);
        start = i + size;
        chars = 0;
    }
    return code ? code : put_word(w, (pith__str){ p + start, n - start }, chars, put, to);
}

/* ---- made -------------------------------------------------------------------------------------------------- */

/* Text in its normal form is UTF-8, and so are the pieces that are found in it: none ends within a character. */
static int is_utf8(pith__str s) {
    for (size_t i = 0; i < s.n;) {
        int size = pith__utf8_length((const uint8_t *)s.p + i, s.n - i);
        if (size <= 0) return 0;
        i += (size_t)size;
    }
    return 1;
}

PITH_SHARED int pith__wordpiece_build(pith__wordpiece *w, pith__str inside, pith__arena *arena) {
    pith__added_set *set = &w->piece;
    size_t n = 0;
    for (size_t i = 0; i < set->n; i++)
        if (is_utf8(set->token[i].s)) set->token[n++] = set->token[i];
    set->n = n;
    pith__added_sort(set);
    if (pith__added_build(set, arena)) return PITH_EMEMORY;
    w->inside = set->node;
    for (size_t i = 0; w->inside && i < inside.n; i++)
        w->inside = pith__added_step(set, w->inside, (uint8_t)inside.p[i]);
    return PITH_OK;
}

/* ---- back to text ------------------------------------------------------------------------------------------ */

/* Blanks that BERT's words have and texts do not: " ." and so on. */
static pith__str without_blank(pith__str s) {
    static const char *const closes[] = { " .", " ?", " !", " ,", " n't", " 'm", " 's", " 've", " 're" };
    for (size_t i = 0; i < sizeof closes / sizeof *closes; i++) {
        size_t n = strlen(closes[i]);
        if (s.n >= n && !memcmp(s.p, closes[i], n)) return (pith__str){ s.p + 1, s.n - 1 };
    }
    return s;
}

PITH_SHARED pith__str pith__wordpiece_text(const pith__bert *how, pith__str piece, int first, char *out) {
    size_t inside = how->inside.n;
    if (first) return piece;
    if (inside && piece.n >= inside && !memcmp(piece.p, how->inside.p, inside))
        return (pith__str){ piece.p + inside, piece.n - inside };
    *out = ' ';
    memcpy(out + 1, piece.p, piece.n);
    pith__str s = { out, piece.n + 1 };
    return how->cleanup ? without_blank(s) : s;
}
