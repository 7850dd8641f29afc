/* jinja_lex.c - a template as tokens: text, names, numbers, strings, operators.
 *
 * White space goes as transformers sets it: the line break behind a statement or comment is dropped, and so is the
 * white space before one that stands first in its line; '-' takes all white space on its side, '+' none. */
#include "jinja.h"

#include <string.h>

enum { JINJA_MOST_BRACKETS = 200 };

static size_t jinja_blank_at(const pith__jlexer *x, size_t at) { /* bytes of white space from at on */
    size_t i = at, n;
    uint32_t c;
    for (; i < x->n; i += n) {
        n = pith__utf8_read((const uint8_t *)x->p + i, x->n - i, &c);
        if (!pith__j_space(c)) break;
    }
    return i - at;
}

static void jinja_move(pith__jlexer *x, size_t to) {
    for (; x->at < to; x->at++) x->line += x->p[x->at] == '\n';
}

static int jinja_here(const pith__jlexer *x, size_t at, const char *s) {
    size_t n = strlen(s);
    return at <= x->n && x->n - at >= n && !memcmp(x->p + at, s, n);
}

/* ---- text and the beginnings of tags ------------------------------------------------------------------ */

/* Bytes of the tag's end at at, with the white space that it takes along; 0: it does not end here. */
static size_t jinja_end_of_tag(const pith__jlexer *x, size_t at, const char *end, int line_break) {
    int minus = at < x->n && x->p[at] == '-', plus = line_break && at < x->n && x->p[at] == '+';
    size_t sign = (size_t)(minus || plus), stop = at + sign + 2;
    if (!jinja_here(x, at + sign, end)) return 0;
    if (minus) return sign + 2 + jinja_blank_at(x, stop);
    return sign + 2 + (size_t)(!plus && line_break && stop < x->n && x->p[stop] == '\n');
}

static void jinja_end_tag(pith__jlexer *x, size_t n) {
    jinja_move(x, x->at + n);
    x->line_begins = x->p[x->at - 1] == '\n';
    x->mode = 0;
}

/* Where the text from x->at to the tag at end ends when the white space before the tag is gone. */
static size_t jinja_text_end(const pith__jlexer *x, size_t end, char sign, int lstrip) {
    size_t i = end;
    if (sign == '-') {
        while (i > x->at) {
            size_t n = 1;
            uint32_t c;
            while (n < 4 && n < i - x->at && ((unsigned char)x->p[i - n] & 0xc0) == 0x80) n++;
            pith__utf8_read((const uint8_t *)x->p + i - n, n, &c);
            if (!pith__j_space(c)) break;
            i -= n;
        }
        return i;
    }
    if (sign == '+' || !lstrip) return end;
    while (i > x->at && x->p[i - 1] != '\n') i--;
    if (i == x->at && !x->line_begins) return end;
    return i + jinja_blank_at(x, i) >= end ? i : end;
}

/* The length of "{% raw %}", or 0. */
static size_t jinja_raw_tag(const pith__jlexer *x, size_t at, const char *word, char *sign) {
    size_t from = at;
    if (!jinja_here(x, at, "{%")) return 0;
    at += 2;
    *sign = at < x->n && (x->p[at] == '-' || x->p[at] == '+') ? x->p[at++] : 0;
    at += jinja_blank_at(x, at);
    if (!jinja_here(x, at, word)) return 0;
    at += strlen(word);
    at += jinja_blank_at(x, at);
    size_t n = jinja_end_of_tag(x, at, "%}", word[0] == 'e');
    return n ? at - from + n : 0;
}

static pith__jtoken jinja_token(const pith__jlexer *x, int type, size_t from, size_t end) {
    return (pith__jtoken){ .type = type, .line = x->line, .p = x->p + from, .n = end - from };
}

static pith__jtoken jinja_wrong_token(pith__jlexer *x, const char *why) {
    x->r->line = x->line;
    pith__j_fail(x->r, "%s", why);
    return jinja_token(x, PITH__T_END, x->n, x->n);
}

static pith__jtoken jinja_raw(pith__jlexer *x) { /* behind the raw tag */
    char sign = 0;
    size_t at = x->at, n = 0;
    for (; at < x->n && !(n = jinja_raw_tag(x, at, "endraw", &sign)); at++) {
        const char *next = memchr(x->p + at + 1, '{', x->n - at - 1);
        at = next ? (size_t)(next - x->p) - 1 : x->n - 1;
    }
    x->mode = 0;
    if (!n) return jinja_wrong_token(x, "a raw block without {% endraw %}");
    pith__jtoken t = jinja_token(x, PITH__T_DATA, x->at, jinja_text_end(x, at, sign, 1));
    jinja_move(x, at);
    jinja_end_tag(x, n);
    return t;
}

static int jinja_comment(pith__jlexer *x) { /* behind "{#" and its sign; 0: it does not end */
    for (size_t at = x->at; at + 1 < x->n; at++) {
        const char *hash = memchr(x->p + at, '#', x->n - at);
        if (!hash) break;
        at = (size_t)(hash - x->p);
        if (!jinja_here(x, at, "#}")) continue;
        int sign = at > x->at && (x->p[at - 1] == '-' || x->p[at - 1] == '+');
        size_t from = at - (size_t)sign;
        jinja_move(x, from);
        jinja_end_tag(x, jinja_end_of_tag(x, from, "#}", 1));
        return 1;
    }
    return 0;
}

static pith__jtoken jinja_root(pith__jlexer *x) { /* text up to a tag, or, when there is none, the tag's beginning */
    size_t at = x->at;
    char kind = 0;
    for (; at + 1 < x->n; at++) {
        const char *brace = memchr(x->p + at, '{', x->n - at - 1);
        at = brace ? (size_t)(brace - x->p) : x->n;
        kind = brace ? x->p[at + 1] : 0;
        if (kind == '{' || kind == '%' || kind == '#') break;
        kind = 0;
    }
    if (!kind) at = x->n;
    char sign = kind && at + 2 < x->n && (x->p[at + 2] == '-' || x->p[at + 2] == '+') ? x->p[at + 2] : 0;
    size_t end = kind ? jinja_text_end(x, at, sign, kind != '{') : at;
    if (end > x->at) { /* the beginning of the tag comes with the next call */
        pith__jtoken t = jinja_token(x, PITH__T_DATA, x->at, end);
        jinja_move(x, at);
        x->line_begins = 0;
        return t;
    }
    jinja_move(x, at);
    if (!kind) return jinja_token(x, PITH__T_END, x->n, x->n);
    size_t raw = jinja_raw_tag(x, at, "raw", &sign);
    if (raw) {
        jinja_move(x, at + raw);
        x->line_begins = x->p[x->at - 1] == '\n';
        return jinja_raw(x);
    }
    x->at += 2 + (sign != 0);
    if (kind == '#')
        return jinja_comment(x) ? (pith__jtoken){ .type = PITH__T_SKIP } : jinja_wrong_token(x, "a comment without #}");
    x->mode = kind;
    return jinja_token(x, kind == '{' ? PITH__T_PRINT_BEGIN : PITH__T_BLOCK_BEGIN, at, x->at);
}

/* ---- tokens within a tag --------------------------------------------------------------------------- */

static int jinja_digit(const pith__jlexer *x, size_t at) { return at < x->n && x->p[at] >= '0' && x->p[at] <= '9'; }

static size_t jinja_digit_run(const pith__jlexer *x, size_t at) { /* with '_' between digits */
    size_t from = at;
    while (jinja_digit(x, at) || (at > from && at < x->n && x->p[at] == '_' && jinja_digit(x, at + 1))) at++;
    return at - from;
}

static int jinja_digit_of(char c, char base) { /* of 0x1f, 0o17, 0b11 */
    return c == '_' || (c >= '0' && c <= '9') || (base == 'x' && (c | 32) >= 'a' && (c | 32) <= 'f');
}

static pith__jtoken jinja_number(pith__jlexer *x) {
    size_t from = x->at, at = from, fraction = 0;
    int type = PITH__T_INTEGER;
    char base = x->p[at] == '0' && at + 1 < x->n ? (char)(x->p[at + 1] | 32) : 0;
    if (base == 'x' || base == 'o' || base == 'b') {
        for (at += 2; at < x->n && jinja_digit_of(x->p[at], base); at++) continue;
    } else {
        at += jinja_digit_run(x, at);
        int dotted = from > 0 && x->p[from - 1] == '.'; /* "a.0.5": an index of an index, no fraction */
        if (!dotted && at < x->n && x->p[at] == '.') fraction = jinja_digit_run(x, at + 1);
        size_t e = at + (fraction ? fraction + 1 : 0), sign = e;
        if (!dotted && e < x->n && (x->p[e] | 32) == 'e') {
            sign = e + 1 + (e + 1 < x->n && (x->p[e + 1] == '-' || x->p[e + 1] == '+'));
            size_t digits = jinja_digit_run(x, sign);
            if (digits) e = sign + digits;
        }
        if (e > at) type = PITH__T_FLOATING, at = e;
    }
    pith__jtoken t = jinja_token(x, type, from, at);
    x->at = at;
    return t;
}

static pith__jtoken jinja_operator(pith__jlexer *x) {
    static const struct { const char *s; char op; } two[] = { { "//", 'f' }, { "**", 'p' }, { "==", 'e' },
                                                              { "!=", 'n' },
                                                              { ">=", 'g' }, { "<=", 'l' } };
    char c = x->p[x->at];
    pith__jtoken t = jinja_token(x, PITH__T_OPERATOR, x->at, x->at + 1);
    t.op = c;
    for (size_t i = 0; i < sizeof two / sizeof *two; i++)
        if (jinja_here(x, x->at, two[i].s)) t.op = two[i].op, t.n = 2;
    if (t.n == 1 && (!c || !strchr("+-/*%~[](){}<>=.:|,;", c)))
        return jinja_wrong_token(x, "a character that is of no expression");
    if (memchr("([{", c, 3)) {
        if (x->n_open == JINJA_MOST_BRACKETS) return jinja_wrong_token(x, "too many brackets within each other");
        x->open[x->n_open++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (memchr(")]}", c, 3)) {
        if (!x->n_open || x->open[x->n_open - 1] != c) return jinja_wrong_token(x, "a bracket that closes none");
        x->n_open--;
    }
    x->at += t.n;
    return t;
}

static pith__jtoken jinja_quoted(pith__jlexer *x) {
    size_t at = x->at + 1;
    while (at < x->n && x->p[at] != x->p[x->at]) at += x->p[at] == '\\' ? 2 : 1;
    if (at >= x->n) return jinja_wrong_token(x, "a string without its closing quote");
    pith__jtoken t = jinja_token(x, PITH__T_QUOTED, x->at + 1, at);
    jinja_move(x, at + 1);
    return t;
}

static pith__jtoken jinja_inside(pith__jlexer *x) {
    jinja_move(x, x->at + jinja_blank_at(x, x->at));
    if (x->at >= x->n) return jinja_token(x, PITH__T_END, x->n, x->n);
    if (!x->n_open) {
        int block = x->mode == '%';
        size_t n = jinja_end_of_tag(x, x->at, block ? "%}" : "}}", block);
        if (n) {
            pith__jtoken t = jinja_token(x, block ? PITH__T_BLOCK_END : PITH__T_PRINT_END, x->at, x->at + n);
            jinja_end_tag(x, n);
            return t;
        }
    }
    char c = x->p[x->at];
    if (c >= '0' && c <= '9') return jinja_number(x);
    if (c == '"' || c == '\'') return jinja_quoted(x);
    size_t at = x->at;
    for (size_t n; at < x->n; at += n) {
        uint32_t u;
        n = pith__utf8_read((const uint8_t *)x->p + at, x->n - at, &u);
        if (u == 0xfffd || !pith__unicode_word(u)) break;
    }
    if (at == x->at) return jinja_operator(x);
    pith__jtoken t = jinja_token(x, PITH__T_WORD, x->at, at);
    x->at = at;
    return t;
}

PITH_SHARED pith__jtoken pith__j_next_token(pith__jlexer *x) {
    pith__jtoken t;
    do t = x->mode ? jinja_inside(x) : jinja_root(x);
    while (t.type == PITH__T_SKIP && !x->r->code);
    if (x->r->code) t = (pith__jtoken){ .type = PITH__T_END };
    return t;
}

/* ---- the escapes of a string ----------------------------------------------------------------------- */

static int jinja_hex_digits(const char *p, size_t n, size_t want, uint32_t *c) {
    *c = 0;
    if (n < want) return 0;
    for (size_t i = 0; i < want; i++) {
        char d = (char)(p[i] | 32);
        if (!(p[i] >= '0' && p[i] <= '9') && !(d >= 'a' && d <= 'f')) return 0;
        *c = *c << 4 | (uint32_t)(p[i] <= '9' ? p[i] - '0' : d - 'a' + 10);
    }
    return 1;
}

/* One escape at p, of n bytes; how many bytes it has, 0: it is wrong. */
static size_t jinja_unescape_one(const char *p, size_t n, char *to, size_t *bytes) {
    static const char from[] = "ntrabfv\\'\"", into[] = "\n\t\r\a\b\f\v\\'\"";
    char kind = n > 1 ? p[1] : 0;
    const char *at = kind ? strchr(from, kind) : NULL;
    uint32_t c = 0;
    size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
    *bytes = 1;
    if (at) return to[0] = into[at - from], 2;
    if (kind == '\n') return *bytes = 0, 2;
    if (digits) {
        if (!jinja_hex_digits(p + 2, n - 2, digits, &c) || c > 0x10ffff) return 0;
        *bytes = pith__utf8_write(c >= 0xd800 && c < 0xe000 ? 0xfffd : c, to);
        return 2 + digits;
    }
    if (kind == 'N') return 0; /* names of characters are too long a list */
    for (digits = 0; digits < 3 && 1 + digits < n && p[1 + digits] >= '0' && p[1 + digits] <= '7'; digits++)
        c = c << 3 | (uint32_t)(p[1 + digits] - '0');
    if (digits) *bytes = pith__utf8_write(c, to);
    else to[0] = '\\'; /* no escape: the backslash stays */
    return 1 + digits;
}

PITH_SHARED pith__jvalue pith__j_unquote(pith__jrun *r, const pith__jtoken *t) {
    if (!memchr(t->p, '\\', t->n)) return pith__j_text(r, t->p, t->n, 0);
    char *to = pith__j_new(r, t->n + 4, 1);
    size_t n = 0, bytes;
    for (size_t i = 0; to && i < t->n;) {
        if (t->p[i] != '\\') {
            to[n++] = t->p[i++];
            continue;
        }
        size_t taken = jinja_unescape_one(t->p + i, t->n - i, to + n, &bytes);
        if (!taken) return pith__j_fail(r, "a string with an escape that stands for nothing");
        i += taken;
        n += bytes;
    }
    return pith__j_text(r, to, n, 0);
}
