/* pairs.c - what a chosen and a rejected text, or conversation, begin with alike: their prompt, where a row has none.
 *
 * A prompt leaves each side something that answers it, as TRL's extract_prompt does. */
#include "train.h"

#include <string.h>

/* Byte n is not the first of a character. */
static int is_inside(pith__str s, size_t n) { return n < s.n && (s.p[n] & 0xc0) == 0x80; }

/* The space before the first word that differs belongs to the answer, as tokenizers see it. */
PITH_SHARED size_t pith__shared_text(pith__str a, pith__str b) {
    size_t n = 0, least = pith__least(a.n, b.n);
    while (n < least && a.p[n] == b.p[n]) n++;
    if (n && n == least) n--;
    while (n && (is_inside(a, n) || is_inside(b, n))) n--;
    return n && a.p[n - 1] == ' ' ? n - 1 : n;
}

static int is_same(pith__json a, pith__json b, pith__arena *arena);

static int is_same_text(pith__json a, pith__json b, pith__arena *arena) {
    pith__str s, t;
    return !pith__json_string(a, arena, &s) && !pith__json_string(b, arena, &t) && s.n == t.n &&
           (!s.n || !memcmp(s.p, t.p, s.n));
}

static int has_same(pith__json object, pith__json key, pith__json value, pith__arena *arena) {
    pith__json name, other;
    while (pith__json_next(&object, &name, &other))
        if (is_same_text(name, key, arena)) return is_same(other, value, arena);
    return 0;
}

static int is_same(pith__json a, pith__json b, pith__arena *arena) { /* however they are written */
    char type = pith__json_type(a);
    pith__json key, value, other;
    pith__str x = pith__json_raw(a), y = pith__json_raw(b);
    if (x.n == y.n && !memcmp(x.p, y.p, x.n)) return 1;
    if (pith__json_type(b) != type || (type != '"' && type != '[' && type != '{')) return 0;
    if (type == '"') return is_same_text(a, b, arena);
    if (pith__json_count(a) != pith__json_count(b)) return 0;
    if (type == '{') {
        while (pith__json_next(&a, &key, &value))
            if (!has_same(b, key, value, arena)) return 0;
        return 1;
    }
    while (pith__json_next(&a, NULL, &value) && pith__json_next(&b, NULL, &other))
        if (!is_same(value, other, arena)) return 0;
    return 1;
}

PITH_SHARED size_t pith__shared_messages(pith__json a, pith__json b, pith__arena *arena) {
    pith__json x, y;
    size_t n = 0, least = pith__least(pith__json_count(a), pith__json_count(b));
    while (n + 1 < least && pith__json_next(&a, NULL, &x) && pith__json_next(&b, NULL, &y) && is_same(x, y, arena)) n++;
    return n;
}
