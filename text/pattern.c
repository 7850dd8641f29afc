/* pattern.c - regular expressions, as "pattern" in a JSON Schema has them (ECMA-262), become automata.
 *
 * Alternatives, groups, classes, counts, and ^ and $ wherever they stand. A pattern is searched for: what stands
 * before and behind it does not matter. What is not regular, or what JSON Schema's readers differ in, is refused
 * by name: looking ahead or behind, references to groups, \b, \p. \d, \w and \s are of ASCII, and \D, \W, \S leave
 * out the digits, letters and blanks of all scripts, so that every reader finds what is written by it. */
#include "text.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_PATTERN_NESTED = 100, MOST_PATTERN_COUNT = 1000 };

typedef struct {
    const char *p, *end;
    pith__nfa m;
    const char *why;     /* what is wrong, or NULL */
    int nested, whole;   /* whole: the pattern is of a whole text, and . of any character */
} pattern_reader;

typedef struct {
    uint32_t first, last; /* nodes: last is a fork that goes on nowhere yet */
} pattern_part;

static void pattern_wrong(pattern_reader *r, const char *why) {
    if (!r->why) r->why = why;
    r->p = r->end;
}

static char pattern_at(const pattern_reader *r, size_t i) { return i < (size_t)(r->end - r->p) ? r->p[i] : 0; }

static uint32_t pattern_fork(pattern_reader *r, uint32_t a, uint32_t b) {
    return pith__nfa_add(&r->m, PITH__NFA_FORK, a, b);
}

static void pattern_link(pattern_reader *r, uint32_t last, uint32_t next) {
    if (!r->m.failed) r->m.node[last].a = r->m.node[last].b = next;
}

static pattern_part pattern_set(pattern_reader *r, pith__charset *s) {
    uint32_t last = pattern_fork(r, 0, 0);
    return (pattern_part){ pith__nfa_set(&r->m, s, last), last };
}

/* ---- characters ------------------------------------------------------------------------------------- */

static uint32_t pattern_hex(pattern_reader *r, int digits) {
    uint32_t c = 0;
    for (int i = 0; i < digits; i++, r->p++) {
        char d = pattern_at(r, 0);
        int v = d >= '0' && d <= '9' ? d - '0' : d >= 'a' && d <= 'f' ? d - 'a' + 10
              : d >= 'A' && d <= 'F' ? d - 'A' + 10 : -1;
        if (v < 0) {
            pattern_wrong(r, "\\x and \\u need two and four hexadecimal digits");
            return 0;
        }
        c = c << 4 | (uint32_t)v;
    }
    return c;
}

/* \u1234, \u{12345}, and two of them that are one character. */
static uint32_t pattern_unicode(pattern_reader *r) {
    if (pattern_at(r, 0) == '{') {
        uint32_t c = 0;
        const char *close = memchr(r->p, '}', (size_t)(r->end - r->p));
        r->p++;
        if (!close || close == r->p || close - r->p > 6) return pattern_wrong(r, "\\u{} needs up to six digits"), 0;
        c = pattern_hex(r, (int)(close - r->p));
        r->p += r->p < r->end;
        return c;
    }
    uint32_t c = pattern_hex(r, 4);
    if (c >= 0xd800 && c < 0xdc00 && pattern_at(r, 0) == '\\' && pattern_at(r, 1) == 'u') {
        r->p += 2;
        c = 0x10000 + ((c - 0xd800) << 10) + ((pattern_hex(r, 4) - 0xdc00) & 0x3ff);
    }
    return c;
}

static void add_ascii_class(pith__charset *s, char c) {
    static const pith__range digit[] = { { '0', '9' } };
    static const pith__range word[] = { { '0', '9' }, { 'A', 'Z' }, { '_', '_' }, { 'a', 'z' } };
    static const pith__range space[] = { { '\t', '\r' }, { ' ', ' ' } };
    const pith__range *r = c == 'd' ? digit : c == 'w' ? word : space;
    for (int n = c == 'd' ? 1 : c == 'w' ? 4 : 2; n > 0; n--, r++) pith__charset_add(s, r->from, r->to);
}

/* Characters that any reader takes for a digit, a letter or a blank. */
static void add_wide_class(pith__charset *s, char c) {
    const int word = PITH__UPPER | PITH__LOWER | PITH__LETTER | PITH__MARK | PITH__NUMBER | PITH__PUNCT;
    int classes = c == 'd' ? PITH__NUMBER : c == 'w' ? word : PITH__SPACE;
    add_ascii_class(s, c);
    for (uint32_t u = 0x80, from = 0; u <= 0x30000; u++) {
        int is = u < 0x30000 && (pith__unicode_class(u) & classes) != 0;
        if (is && !from) from = u;
        if (!is && from) pith__charset_add(s, from, u - 1), from = 0;
    }
    if (c != 's') return;
    pith__charset_add(s, 0x1c, 0x1f); /* Python's, */
    pith__charset_add(s, 0x85, 0x85);
    pith__charset_add(s, 0xfeff, 0xfeff); /* and ECMA's */
}

/* \d and its like: 1, and it is in *s. */
static int class_escape(pith__charset *s, char c) {
    if (!strchr("dwsDWS", c) || !c) return 0;
    if (c >= 'a') {
        add_ascii_class(s, c);
        return 1;
    }
    pith__charset not = { 0 };
    add_wide_class(&not, (char)(c - 'A' + 'a'));
    pith__charset_tidy(&not);
    pith__charset_invert(&not);
    pith__charset_join(s, &not);
    pith__charset_free(&not);
    return 1;
}

/* What stands behind a backslash, if it is one character. */
static uint32_t char_escape(pattern_reader *r, int in_class) {
    char c = pattern_at(r, 0);
    r->p += r->p < r->end;
    switch (c) {
    case 't': return '\t';
    case 'n': return '\n';
    case 'r': return '\r';
    case 'f': return '\f';
    case 'v': return '\v';
    case '0': return 0;
    case 'x': return pattern_hex(r, 2);
    case 'u': return pattern_unicode(r);
    case 'c':
        c = pattern_at(r, 0);
        r->p += r->p < r->end;
        return (uint32_t)c & 31;
    case 'b':
        if (in_class) return '\b';
        pattern_wrong(r, "\\b, the edge of a word, is not enforced");
        return 0;
    case 'B': pattern_wrong(r, "\\B is not enforced"); return 0;
    case 'p': case 'P': pattern_wrong(r, "\\p is not enforced"); return 0;
    case 'k': pattern_wrong(r, "a reference to a group is not regular"); return 0;
    default: break;
    }
    if (c >= '1' && c <= '9') pattern_wrong(r, "a reference to a group is not regular");
    else if (!c || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) pattern_wrong(r, "an unknown escape");
    return (uint8_t)c;
}

static uint32_t pattern_char(pattern_reader *r, int in_class) {
    uint32_t c;
    if (*r->p == '\\') {
        r->p++;
        c = char_escape(r, in_class);
        if (c > PITH__LAST_CHAR || (c >= 0xd800 && c <= 0xdfff))
            pattern_wrong(r, "an escape that stands for no character");
        return c;
    }
    r->p += pith__utf8_read((const uint8_t *)r->p, (size_t)(r->end - r->p), &c);
    return c;
}

/* One thing in [], which may be a class itself. 0: it was a class, and *c is of no use. */
static int class_item(pattern_reader *r, pith__charset *s, uint32_t *c) {
    if (*r->p == '\\' && class_escape(s, pattern_at(r, 1))) {
        r->p += 2;
        return 0;
    }
    *c = pattern_char(r, 1);
    return 1;
}

static pattern_part pattern_class(pattern_reader *r) {
    pith__charset s = { 0 };
    r->p++;
    int not = pattern_at(r, 0) == '^';
    r->p += not;
    while (r->p < r->end && *r->p != ']' && !r->why) {
        uint32_t from = 0, to = 0;
        int one = class_item(r, &s, &from);
        if (pattern_at(r, 0) == '-' && pattern_at(r, 1) && pattern_at(r, 1) != ']') {
            r->p++;
            int other = class_item(r, &s, &to);
            if (!one || !other) pattern_wrong(r, "a range of classes in []");
            else if (to < from) pattern_wrong(r, "a range in [] that ends before it begins");
        } else {
            to = from;
        }
        if (one) pith__charset_add(&s, from, to);
    }
    if (r->p == r->end) pattern_wrong(r, "a [ without its ]");
    r->p += r->p < r->end;
    pith__charset_tidy(&s);
    if (not) pith__charset_invert(&s);
    return pattern_set(r, &s);
}

/* Any character that ends no line. */
static pattern_part pattern_dot(pattern_reader *r) {
    pith__charset s = { 0 };
    r->p++;
    if (r->whole) {
        pith__charset_add(&s, 0, PITH__LAST_CHAR);
        return pattern_set(r, &s);
    }
    pith__charset_add(&s, '\n', '\n');
    pith__charset_add(&s, '\r', '\r');
    pith__charset_add(&s, 0x2028, 0x2029);
    pith__charset_tidy(&s);
    pith__charset_invert(&s);
    return pattern_set(r, &s);
}

/* ---- the whole ------------------------------------------------------------------------------------------ */

static pattern_part pattern_choice(pattern_reader *r);

static pattern_part pattern_group(pattern_reader *r) {
    if (++r->nested > MOST_PATTERN_NESTED) pattern_wrong(r, "more than 100 groups inside each other");
    r->p += r->p < r->end;
    if (pattern_at(r, 0) == '?') {
        char kind = pattern_at(r, 1), behind = pattern_at(r, 2);
        const char *close = r->p < r->end ? memchr(r->p, '>', (size_t)(r->end - r->p)) : NULL;
        if (kind == ':') r->p += 2;
        else if (kind == '<' && behind != '=' && behind != '!' && close) r->p = close + 1;
        else if (kind == '=' || kind == '!') pattern_wrong(r, "looking ahead, (?= or (?!, is not enforced");
        else if (kind == '<') pattern_wrong(r, "looking behind, (?<, is not enforced");
        else pattern_wrong(r, "an unknown group (?");
    }
    pattern_part x = pattern_choice(r);
    if (pattern_at(r, 0) != ')') pattern_wrong(r, "a ( without its )");
    r->p += r->p < r->end;
    r->nested--;
    return x;
}

static pattern_part pattern_atom(pattern_reader *r) {
    char c = *r->p;
    uint32_t last;
    pith__charset s = { 0 };
    if (c == '(') return pattern_group(r);
    if (c == '[') return pattern_class(r);
    if (c == '.') return pattern_dot(r);
    if (c == '^' || c == '$') {
        r->p++;
        last = pattern_fork(r, 0, 0);
        return (pattern_part){ pith__nfa_add(&r->m, c == '^' ? PITH__NFA_BEGIN : PITH__NFA_END, last, last), last };
    }
    if (c == '*' || c == '+' || c == '?') pattern_wrong(r, "nothing stands before * + or ?");
    if (r->why) return (pattern_part){ 0, 0 };
    if (c == '\\' && class_escape(&s, pattern_at(r, 1))) {
        r->p += 2;
        pith__charset_tidy(&s);
        return pattern_set(r, &s);
    }
    uint32_t u = pattern_char(r, 0);
    pith__charset_add(&s, u, u);
    return pattern_set(r, &s);
}

/* {m}, {m,} or {m,n} at p: its length, or 0. max -1: none. */
static size_t pattern_braces(const pattern_reader *r, int *min, int *max) {
    size_t i = 1, digits = 0;
    *min = *max = 0;
    for (char c; (c = pattern_at(r, i)) >= '0' && c <= '9'; i++, digits++)
        if (*min <= MOST_PATTERN_COUNT) *min = 10 * *min + (c - '0');
    *max = *min;
    if (!digits) return 0;
    if (pattern_at(r, i) == ',') {
        digits = 0;
        *max = 0;
        for (char c; (c = pattern_at(r, ++i)) >= '0' && c <= '9'; digits++)
            if (*max <= MOST_PATTERN_COUNT) *max = 10 * *max + (c - '0');
        if (!digits) *max = -1;
    }
    return pattern_at(r, i) == '}' ? i + 1 : 0;
}

static pattern_part pattern_join(pattern_reader *r, pattern_part a, pattern_part b) {
    pattern_link(r, a.last, b.first);
    return (pattern_part){ a.first, b.last };
}

/* The same text once more. */
static pattern_part pattern_again(pattern_reader *r, const char *from) {
    const char *p = r->p;
    r->p = from;
    pattern_part x = pattern_atom(r);
    if (!r->why) r->p = p;
    return x;
}

static pattern_part pattern_nothing(pattern_reader *r) {
    uint32_t f = pattern_fork(r, 0, 0);
    return (pattern_part){ f, f };
}

static pattern_part pattern_star(pattern_reader *r, pattern_part x) {
    uint32_t last = pattern_fork(r, 0, 0), fork = pattern_fork(r, x.first, last);
    pattern_link(r, x.last, fork);
    return (pattern_part){ fork, last };
}

/* x from min to max times; its text begins at from: x x (x (x)?)?, so that what is left out is so with all behind it. */
static pattern_part pattern_repeat(pattern_reader *r, pattern_part x, const char *from, int min, int max) {
    pattern_part all = pattern_nothing(r);
    uint32_t last = pattern_fork(r, 0, 0);
    if (min > MOST_PATTERN_COUNT || max > MOST_PATTERN_COUNT) pattern_wrong(r, "a count over 1000 in {}");
    if (max >= 0 && max < min) pattern_wrong(r, "{} ends before it begins");
    int copies = max < 0 ? min + 1 : max;
    for (int i = 0; i < copies && !r->why && !r->m.failed; i++) {
        pattern_part copy = i ? pattern_again(r, from) : x;
        if (i >= min && max < 0) copy = pattern_star(r, copy);
        else if (i >= min) copy.first = pattern_fork(r, copy.first, last);
        all = pattern_join(r, all, copy);
    }
    pattern_link(r, all.last, last);
    return (pattern_part){ all.first, last };
}

static pattern_part pattern_piece(pattern_reader *r) {
    const char *from = r->p;
    pattern_part x = pattern_atom(r);
    char c = pattern_at(r, 0);
    int min = c == '+', max = c == '?' ? 1 : -1;
    size_t n = c == '{' ? pattern_braces(r, &min, &max) : c == '*' || c == '+' || c == '?';
    if (!n || r->why) return x;
    r->p += n;
    if (pattern_at(r, 0) == '?') r->p++; /* lazy: the same texts */
    return pattern_repeat(r, x, from, min, max);
}

static pattern_part pattern_choice(pattern_reader *r) {
    pattern_part all = { 0, 0 };
    for (int n = 0;; n++, r->p++) {
        pattern_part x = pattern_nothing(r);
        while (r->p < r->end && *r->p != '|' && *r->p != ')' && !r->why) x = pattern_join(r, x, pattern_piece(r));
        if (n) {
            uint32_t last = pattern_fork(r, 0, 0);
            pattern_link(r, all.last, last);
            pattern_link(r, x.last, last);
            all = (pattern_part){ pattern_fork(r, all.first, x.first), last };
        } else {
            all = x;
        }
        if (pattern_at(r, 0) != '|' || r->why) return all;
    }
}

/* From node start on. */
static pith__dfa *pattern_dfa(pattern_reader *r, uint32_t start, pith__arena *a, pith_error *err) {
    pith__dfa *d = r->why ? NULL : pith__dfa_of(&r->m, start, a);
    if (r->why) pith__fail(err, PITH_EDATA, "%s", r->why);
    else if (!d) pith__fail(err, PITH_EMEMORY, "no memory for a pattern");
    else if (d->too_large) pith__fail(err, PITH_EDATA, "the pattern needs too many states");
    pith__nfa_free(&r->m);
    return d && d->too_large ? NULL : d;
}

PITH_SHARED pith__dfa *pith__pattern(pith__str pattern, pith__arena *a, pith_error *err) {
    pattern_reader r = { .p = pattern.p, .end = pattern.p + pattern.n };
    pith__charset all = { 0 };
    pith__charset_add(&all, 0, PITH__LAST_CHAR);
    uint32_t found = pith__nfa_add(&r.m, PITH__NFA_FOUND, 0, 0), start = pattern_fork(&r, 0, 0);
    pattern_part before = pattern_set(&r, &all), x = pattern_choice(&r);
    if (r.p < r.end) pattern_wrong(&r, "a ) without its (");
    pattern_link(&r, before.last, start); /* text before it, as much as there is */
    pattern_link(&r, x.last, found);
    if (!r.m.failed) r.m.node[start].a = x.first, r.m.node[start].b = before.first;
    return pattern_dfa(&r, start, a, err);
}

PITH_SHARED pith__dfa *pith__pattern_whole(pith__str pattern, pith__arena *a, pith_error *err) {
    pattern_reader r = { .p = pattern.p, .end = pattern.p + pattern.n, .whole = 1 };
    uint32_t found = pith__nfa_add(&r.m, PITH__NFA_FOUND, 0, 0), end = pith__nfa_add(&r.m, PITH__NFA_END, found, 0);
    pattern_part x = pattern_choice(&r);
    if (r.p < r.end) pattern_wrong(&r, "a ) without its (");
    pattern_link(&r, x.last, end);
    return pattern_dfa(&r, x.first, a, err);
}
