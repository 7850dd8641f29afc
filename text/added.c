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

PITH_SHARED void pith__added_sort(pith__added_set *a) {
    size_t n = 0;
    if (a->n) qsort(a->token, a->n, sizeof *a->token, added_order);
    for (size_t i = 0; i < a->n; i++)
        if (i == 0 || pith__str_cmp(a->token[i].s, a->token[n - 1].s) != 0) a->token[n++] = a->token[i];
    a->n = n;
}

/* Trie nodes: one for each prefix; prefixes shared with the token before count once. */
static size_t added_nodes(const pith__added_set *a) {
    size_t n = 1; /* the root: the empty prefix */
    for (size_t i = 0; i < a->n; i++) {
        pith__str s = a->token[i].s, last = i ? a->token[i - 1].s : (pith__str){ "", 0 };
        size_t same = 0;
        while (same < s.n && same < last.n && s.p[same] == last.p[same]) same++;
        n += s.n - same;
    }
    return n;
}

/* Nodes in order of their length, so that those that go on from one node stand side by side. */
PITH_SHARED int pith__added_build(pith__added_set *a, pith__arena *arena) {
    size_t n = added_nodes(a), made = 1;
    a->node = n < UINT32_MAX ? pith__arena_new(arena, n, sizeof *a->node) : NULL;
    if (!a->node) return PITH_EMEMORY;
    a->node[0].tokens = (uint32_t)a->n;
    for (size_t i = 0, length = 0, longer = 1; i < made; i++) {
        pith__added_node *node = &a->node[i], *last = NULL;
        if (i == longer) length++, longer = made;
        size_t t = node->first, end = t + node->tokens;
        node->is_token = t < end && a->token[t].s.n == length;
        node->child = (uint32_t)made;
        for (t += node->is_token; t < end; t++) {
            uint8_t byte = (uint8_t)a->token[t].s.p[length];
            if (!last || last->byte != byte) {
                last = &a->node[made++];
                *last = (pith__added_node){ .first = (uint32_t)t, .byte = byte };
                node->children++;
            }
            last->tokens++;
        }
    }
    for (size_t c = 0, i = 0; c < 256; c++) {
        const pith__added_node *next = &a->node[1 + i];
        int begins = i < a->node[0].children && next->byte == c;
        a->begin[c] = begins ? next : NULL;
        i += (size_t)begins;
    }
    return PITH_OK;
}

PITH_SHARED const pith__added_node *pith__added_step(const pith__added_set *a, const pith__added_node *from,
                                                     uint8_t byte) {
    const pith__added_node *lo = a->node + from->child;
    for (size_t n = from->children; n > 0;) {
        const pith__added_node *middle = lo + n / 2;
        if (middle->byte == byte) return middle;
        if (middle->byte < byte) lo = middle + 1, n -= n / 2 + 1;
        else n /= 2;
    }
    return NULL;
}

PITH_SHARED const pith__added *pith__added_longest(const pith__added_set *a, const pith__added_node *from, const char *p,
                                                   size_t n, size_t *size) {
    const pith__added *found = NULL;
    if (n == 0) return NULL;
    const pith__added_node *node = from ? pith__added_step(a, from, (uint8_t)*p) : a->begin[(uint8_t)*p];
    for (size_t i = 1; node; i++) {
        if (node->is_token) found = &a->token[node->first], *size = i;
        node = i < n ? pith__added_step(a, node, (uint8_t)p[i]) : NULL;
    }
    return found;
}

PITH_SHARED int32_t pith__added_named(const pith__added_set *a, pith__str name) {
    size_t lo = 0, hi = a->n;
    while (lo < hi) {
        size_t middle = (lo + hi) / 2;
        int order = pith__str_cmp(a->token[middle].s, name);
        if (order == 0) return a->token[middle].id;
        if (order < 0) lo = middle + 1;
        else hi = middle;
    }
    return -1;
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

PITH_SHARED size_t pith__black_at(const char *p, size_t n) {
    uint32_t c;
    size_t i = 0;
    for (size_t size; i < n; i += size) {
        size = pith__utf8_read((const uint8_t *)p + i, n - i, &c);
        if (is_white(c, 0)) break;
    }
    return i;
}

/* ---- searching a text ------------------------------------------------------------------------ */

static int all_own(const uint8_t *mark, size_t n) {
    size_t i = 0;
    while (i < n && !(mark[i] & PITH__DATA)) i++;
    return i == n;
}

PITH_SHARED int pith__added_split(const pith__added_set *a, const char *p, size_t n, int control, const uint8_t *mark,
                                  pith__added_part *part, void *to) {
    size_t start = 0;       /* behind the last token and what it took along */
    size_t white_end = 0;   /* white space was looked at up to here: many tokens may take the same */
    int code = 0;
    for (size_t i = 0; a->n && i < n && !code;) {
        size_t begin = i, size = 1;
        const pith__added *t = pith__added_longest(a, NULL, p + i, n - i, &size);
        i += size;
        if (!t || (t->flags & PITH__SPECIAL && !control)) continue;
        if (t->flags & PITH__SPECIAL && mark && !all_own(mark + begin, t->s.n)) {
            i = begin + 1;
            continue;
        }
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
