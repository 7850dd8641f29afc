/* trie.c - which tokens of a vocabulary a grammar allows.
 *
 * The pieces are a trie, a node for each beginning of some piece, in the order of a walk through it: a byte that the
 * grammar refuses takes all pieces that begin so with it. A token that crosses several parts of a grammar, or holds
 * a part of a character, is judged by its bytes like any other.
 *
 * Most pieces are plain: whole characters without quotes, backslashes and control characters. Within a JSON string
 * all of them are allowed, or those of up to so many characters, and no walk is needed to know that: it is enough
 * that every plain character leads from the state to one and the same. So plain pieces have a trie of their own. */
#include "text.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    uint32_t behind;     /* the first node that does not begin like this one */
    uint32_t token;      /* token[token .. token + ends) are these bytes */
    uint32_t depth;      /* from 1 */
    uint32_t ends : 24, byte : 8;
} trie_node;

typedef struct {
    trie_node *node;     /* (n) */
    int32_t *token;      /* (n_token) sorted by their bytes */
    size_t n, n_token;
    uint32_t deepest;
} trie_part;

struct pith__trie {
    trie_part plain, other;
    int32_t *by_chars;   /* the plain tokens by their number of characters: by_chars[before[k] ..] have k */
    size_t *before;      /* (most_chars + 2) */
    uint32_t most_chars;
    uint32_t *all_plain; /* (n_word) bits */
    size_t n_word;
};

typedef struct {
    pith__str s;
    int32_t token;
    uint32_t chars;      /* 0: it is not plain */
} trie_piece;

/* ---- made ------------------------------------------------------------------------------------------------- */

static int piece_order(const void *a, const void *b) {
    const trie_piece *x = a, *y = b;
    if ((x->chars > 0) != (y->chars > 0)) return x->chars ? -1 : 1;
    int order = pith__str_cmp(x->s, y->s);
    return order ? order : (x->token > y->token) - (x->token < y->token);
}

/* How many characters a plain piece has, or 0. */
static uint32_t plain_chars(pith__str s) {
    uint32_t n = 0;
    for (size_t i = 0; i < s.n; n++) {
        uint8_t c = (uint8_t)s.p[i];
        int size = pith__utf8_length((const uint8_t *)s.p + i, s.n - i);
        if (size <= 0 || c < ' ' || c == '"' || c == '\\' || c == 0x7f) return 0;
        i += (size_t)size;
    }
    return n;
}

static size_t same_bytes(pith__str a, pith__str b) {
    size_t n = 0;
    while (n < a.n && n < b.n && a.p[n] == b.p[n]) n++;
    return n;
}

/* Of n sorted pieces. 0: no memory. */
static int make_part(trie_part *t, const trie_piece *piece, size_t n) {
    pith__str last = { "", 0 };
    uint32_t *open = NULL; /* (depth) the nodes of the last piece */
    for (size_t i = 0; i < n; i++) {
        size_t same = same_bytes(piece[i].s, last);
        t->n += piece[i].s.n - same;
        last = piece[i].s;
        if (last.n > t->deepest) t->deepest = (uint32_t)last.n;
    }
    t->n_token = n;
    if (t->n > UINT32_MAX / 2) return 0;
    t->node = malloc((t->n + 1) * sizeof *t->node);
    t->token = malloc((n + 1) * sizeof *t->token);
    open = malloc(((size_t)t->deepest + 1) * sizeof *open);
    if (!t->node || !t->token || !open) return free(open), 0;
    uint32_t made = 0, depth = 0;
    last.n = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t same = (uint32_t)same_bytes(piece[i].s, last);
        while (depth > same) t->node[open[--depth]].behind = made;
        for (; depth < piece[i].s.n; depth++) {
            open[depth] = made;
            t->node[made++] = (trie_node){ 0, (uint32_t)i, depth + 1, 0, (uint8_t)piece[i].s.p[depth] };
        }
        t->node[open[depth - 1]].ends++;
        t->token[i] = piece[i].token;
        last = piece[i].s;
    }
    while (depth > 0) t->node[open[--depth]].behind = made;
    free(open);
    return 1;
}

static int count_chars(pith__trie *t, const trie_piece *piece, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (piece[i].chars > t->most_chars) t->most_chars = piece[i].chars;
    t->before = calloc((size_t)t->most_chars + 2, sizeof *t->before);
    t->by_chars = malloc((n + 1) * sizeof *t->by_chars);
    t->all_plain = calloc(t->n_word + 1, sizeof *t->all_plain);
    if (!t->before || !t->by_chars || !t->all_plain) return 0;
    for (size_t i = 0; i < n; i++) t->before[piece[i].chars]++; /* ends of each number's tokens, then their begins */
    for (size_t k = 1; k <= (size_t)t->most_chars + 1; k++) t->before[k] += t->before[k - 1];
    for (size_t i = n; i-- > 0;) t->by_chars[--t->before[piece[i].chars]] = piece[i].token;
    for (size_t i = 0; i < n; i++) t->all_plain[piece[i].token / 32] |= 1u << piece[i].token % 32;
    return 1;
}

PITH_SHARED pith__trie *pith__trie_new(const pith__str *piece, size_t n, pith_error *err) {
    pith__trie *t = calloc(1, sizeof *t);
    trie_piece *sorted = malloc((n + 1) * sizeof *sorted);
    size_t used = 0, plain = 0;
    int ok = t && sorted;
    for (size_t i = 0; ok && i < n; i++)
        if (piece[i].n) sorted[used++] = (trie_piece){ piece[i], (int32_t)i, plain_chars(piece[i]) };
    if (ok && used) qsort(sorted, used, sizeof *sorted, piece_order);
    while (ok && plain < used && sorted[plain].chars) plain++;
    if (ok) t->n_word = (n + 31) / 32;
    ok = ok && make_part(&t->plain, sorted, plain) && make_part(&t->other, sorted + plain, used - plain) &&
         count_chars(t, sorted, plain);
    free(sorted);
    if (ok) return t;
    pith__trie_free(t);
    pith__fail(err, PITH_EMEMORY, "no memory for the tokens of a grammar");
    return NULL;
}

PITH_SHARED void pith__trie_free(pith__trie *t) {
    if (!t) return;
    free(t->plain.node);
    free(t->plain.token);
    free(t->other.node);
    free(t->other.token);
    free(t->by_chars);
    free(t->before);
    free(t->all_plain);
    free(t);
}

PITH_SHARED uint32_t pith__trie_depth(const pith__trie *t) {
    return (t->plain.deepest > t->other.deepest ? t->plain.deepest : t->other.deepest) + 1;
}

/* ---- asked ------------------------------------------------------------------------------------------------ */

/* Sets the bits of the tokens that may come in the state. way: room for pith__trie_depth states. */
static int walk_part(const trie_part *t, pith__matcher *m, int32_t *way, uint32_t *allow) {
    for (size_t i = 0; i < t->n;) {
        const trie_node *node = &t->node[i];
        int32_t next = pith__matcher_next(m, way[node->depth - 1], node->byte);
        if (next < 0) return next;
        if (next == PITH__DEAD) {
            i = node->behind;
            continue;
        }
        way[node->depth] = next;
        i++;
        for (uint32_t k = node->token; k < node->token + node->ends; k++)
            allow[t->token[k] / 32] |= 1u << t->token[k] % 32;
    }
    return PITH_OK;
}

/* Where all bytes from lo to hi lead, if that is one state; else PITH_EARG. */
static int32_t same_next(pith__matcher *m, int32_t state, uint8_t lo, uint8_t hi) {
    int32_t to = pith__matcher_next(m, state, lo);
    for (int c = lo + 1; c <= hi && to >= 0; c++) {
        int32_t next = pith__matcher_next(m, state, (uint8_t)c);
        if (next != to) to = next < 0 ? next : PITH_EARG;
    }
    return to;
}

/* Where every plain character leads, if that is one state; else PITH_EARG. */
static int32_t plain_next(pith__matcher *m, int32_t state) {
    static const uint8_t form[][5] = { /* first bytes, second bytes, how many more: RFC 3629 */
        { ' ', '!', 0, 0, 0 }, { '#', '[', 0, 0, 0 }, { ']', '~', 0, 0, 0 }, { 0xc2, 0xdf, 0x80, 0xbf, 0 },
        { 0xe0, 0xe0, 0xa0, 0xbf, 1 }, { 0xe1, 0xec, 0x80, 0xbf, 1 }, { 0xed, 0xed, 0x80, 0x9f, 1 },
        { 0xee, 0xef, 0x80, 0xbf, 1 }, { 0xf0, 0xf0, 0x90, 0xbf, 2 }, { 0xf1, 0xf3, 0x80, 0xbf, 2 },
        { 0xf4, 0xf4, 0x80, 0x8f, 2 } };
    int32_t to = PITH__DEAD;
    for (size_t i = 0; i < sizeof form / sizeof *form; i++) {
        int32_t next = same_next(m, state, form[i][0], form[i][1]);
        if (form[i][2] && next > PITH__DEAD) next = same_next(m, next, form[i][2], form[i][3]);
        for (int k = 0; k < form[i][4] && next > PITH__DEAD; k++) next = same_next(m, next, 0x80, 0xbf);
        if (next < 0 || (i && next != to)) return next < 0 ? next : PITH_EARG;
        to = next;
    }
    return to;
}

/* The plain tokens, if it depends on their number of characters alone. 0: it does not, or an error. */
static int count_plain(const pith__trie *t, pith__matcher *m, int32_t state, uint32_t *allow) {
    uint32_t n = 0;
    for (; n < t->most_chars && state != PITH__DEAD; n++) {
        int32_t next = plain_next(m, state);
        if (next < 0) return next == PITH_EARG ? 0 : next;
        if (next == state) n = t->most_chars;
        if (next == state || next == PITH__DEAD) break;
        state = next;
    }
    if (n >= t->most_chars)
        for (size_t i = 0; i < t->n_word; i++) allow[i] |= t->all_plain[i];
    else
        for (size_t i = 0; i < t->before[n + 1]; i++) allow[t->by_chars[i] / 32] |= 1u << t->by_chars[i] % 32;
    return 1;
}

PITH_SHARED int pith__trie_mask(const pith__trie *t, pith__matcher *m, int32_t state, int32_t *way, uint32_t *allow) {
    memset(allow, 0, t->n_word * sizeof *allow);
    way[0] = state;
    int counted = count_plain(t, m, state, allow);
    int code = counted < 0 ? counted : counted ? PITH_OK : walk_part(&t->plain, m, way, allow);
    return code ? code : walk_part(&t->other, m, way, allow);
}
