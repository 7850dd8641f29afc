/* added.c - added tokens: those that are found in a text before all else.
 *
 * Hugging Face's tokenizer.json and GGUF list tokens that no merge makes, "<|im_start|>" and the like.
 * A text is searched for them from left to right; of those that begin at the same place the longest is
 * taken. A token's flags (formats.h) say what must stand beside it and what it takes along. All of this
 * is as the library "tokenizers" does it (its added_vocabulary.rs), also where flags collide: white
 * space that a token took along is searched, too, and a match that does not count hides what is in it. */
#include "../formats/formats.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

static int added_order(const void *a, const void *b) {
    const pith__added *x = a, *y = b;
    int order = pith__str_cmp(x->s, y->s);
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

/* The first of token[lo..hi) whose byte number n is c or more. */
static size_t added_bound(const pith__added *t, size_t lo, size_t hi, size_t n, int c) {
    while (lo < hi) {
        size_t middle = (lo + hi) / 2;
        if ((unsigned char)t[middle].s.p[n] < c) lo = middle + 1;
        else hi = middle;
    }
    return lo;
}

PITH_SHARED void pith__added_sort(pith__added_set *a) {
    size_t n = 0;
    if (a->n) qsort(a->token, a->n, sizeof *a->token, added_order);
    for (size_t i = 0; i < a->n; i++)
        if (i == 0 || pith__str_cmp(a->token[i].s, a->token[n - 1].s) != 0) a->token[n++] = a->token[i];
    a->n = n;
    for (int c = 0; c <= 256; c++) a->first[c] = added_bound(a->token, 0, n, 0, c);
}

PITH_SHARED const pith__added *pith__added_at(const pith__added_set *a, const char *p, size_t left,
                                              int skip) {
    size_t lo = a->first[(unsigned char)*p], hi = a->first[(unsigned char)*p + 1];
    const pith__added *found = NULL;
    for (size_t n = 1; lo < hi; n++) { /* token[lo..hi) begin with the n bytes at p */
        if (a->token[lo].s.n == n) {
            if (!(a->token[lo].flags & skip)) found = &a->token[lo];
            lo++;
        }
        if (n == left) break;
        int c = (unsigned char)p[n];
        lo = added_bound(a->token, lo, hi, n, c);
        hi = added_bound(a->token, lo, hi, n, c + 1);
    }
    return found;
}

/* ---- what stands beside a token -------------------------------------------------------------- */

/* The character that ends at p[n], and its bytes: 0 at the beginning. */
static size_t char_before(const char *p, size_t n, uint32_t *c) {
    const uint8_t *q = (const uint8_t *)p;
    *c = 0;
    for (size_t size = n < 4 ? n : 4; size > 0; size--)
        if (pith__utf8_read(q + n - size, size, c) == size) return size;
    return 0;
}

static int word_before(const char *p, size_t n) {
    uint32_t c;
    return char_before(p, n, &c) && pith__unicode_word(c);
}

static int word_at(const char *p, size_t left) {
    uint32_t c;
    if (left == 0) return 0;
    pith__utf8_read((const uint8_t *)p, left, &c);
    return pith__unicode_word(c);
}

/* Where a space stands for U+2581, it is no white space. */
static int is_white(uint32_t c, int metaspace) {
    return pith__unicode_class(c) == PITH__SPACE && !(c == ' ' && metaspace);
}

static size_t white_before(const char *p, size_t n, int metaspace) {
    uint32_t c;
    size_t i = n;
    for (size_t size; (size = char_before(p, i, &c)) && is_white(c, metaspace);) i -= size;
    return n - i;
}

static size_t white_at(const char *p, size_t n, int metaspace) {
    uint32_t c;
    size_t i = 0;
    for (size_t size; i < n; i += size) {
        size = pith__utf8_read((const uint8_t *)p + i, n - i, &c);
        if (!is_white(c, metaspace)) break;
    }
    return i;
}

PITH_SHARED size_t pith__white_before(const char *p, size_t n) { return white_before(p, n, 0); }
PITH_SHARED size_t pith__white_at(const char *p, size_t n) { return white_at(p, n, 0); }

/* ---- searching a text ------------------------------------------------------------------------ */

PITH_SHARED int pith__added_split(const pith__added_set *a, const char *p, size_t n, int skip,
                                  int control, pith__added_part *part, void *to) {
    size_t start = 0;       /* behind the last token and what it took along */
    size_t white_end = 0;   /* white space was looked at up to here: many tokens may take the same */
    int code = 0;
    for (size_t i = 0; a->n && i < n && !code;) {
        const pith__added *t = pith__added_at(a, p + i, n - i, skip);
        size_t begin = i;
        i += t ? t->s.n : 1;
        if (!t || (t->flags & PITH__SPECIAL && !control)) continue;
        if (t->flags & PITH__SINGLE_WORD && (word_before(p, begin) || word_at(p + i, n - i))) continue;
        if (t->flags & PITH__LSTRIP && begin > start)
            begin -= white_before(p + start, begin - start, a->metaspace);
        if (t->flags & PITH__RSTRIP && i >= white_end)
            white_end = i + white_at(p + i, n - i, a->metaspace);
        if (start < begin) code = part(to, p + start, begin - start, -1);
        if (!code) code = part(to, p + begin, 0, t->id);
        start = t->flags & PITH__RSTRIP ? white_end : i;
    }
    return code || start == n ? code : part(to, p + start, n - start, -1);
}
