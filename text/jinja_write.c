/* jinja_write.c - values as text, as Python writes them: str() and repr(), JSON, "%5.1f" %, format(), strftime().
 *
 * What is written of a value has the value's marks; brackets, quotes, and digits of computed numbers are the
 * template's. */
#include "jinja.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void jinja_puts(pith__jrun *r, pith__jbuffer *b, const char *s, uint8_t mark) {
    pith__j_put(r, b, s, strlen(s), mark);
}

/* ---- numbers ------------------------------------------------------------------------------------- */

/* printf's text with a '.' where a locale has something else. */
static size_t jinja_point(char *s) {
    size_t n = 0;
    int point = 0;
    for (const char *p = s; *p; p++) {
        if (strchr("+-eE", *p) || (*p >= '0' && *p <= '9')) s[n++] = *p, point = 0;
        else if (!point) s[n++] = '.', point = 1;
    }
    s[n] = 0;
    return n;
}

PITH_SHARED size_t pith__j_fixed(double f, int digits, char to[400]) {
    snprintf(to, 400, "%.*f", digits < 0 ? 0 : digits > 80 ? 80 : digits, f);
    return jinja_point(to);
}

static size_t jinja_not_finite(double f, char *to) {
    strcpy(to, f != f ? "nan" : f < 0 ? "-inf" : "inf");
    return strlen(to);
}

/* The fewest digits that are read as f again, as repr() of Python. */
static size_t jinja_shortest(double f, char to[400]) {
    char digits[40];
    if (!(f - f == 0)) return jinja_not_finite(f, to);
    for (int n = 0; n < 17; n++) {
        snprintf(digits, sizeof digits, "%.*e", n, f);
        if (strtod(digits, NULL) == f) break;
    }
    jinja_point(digits);
    char *e = strchr(digits, 'e');
    int exponent = atoi(e + 1), minus = *digits == '-', n = 0;
    char d[20];
    for (const char *p = digits + minus; p < e; p++)
        if (*p != '.' && n < 19) d[n++] = *p;
    while (n > 1 && d[n - 1] == '0') n--;
    char *p = to;
    if (minus) *p++ = '-';
    if (exponent < -4 || exponent >= 16) {
        *p++ = d[0];
        if (n > 1) *p++ = '.', memcpy(p, d + 1, (size_t)n - 1), p += n - 1;
        return (size_t)(p - to) + (size_t)sprintf(p, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
    }
    for (int i = exponent < 0 ? exponent : 0; i < n || i <= exponent + 1; i++) { /* digit i of the number */
        if (i == exponent + 1) *p++ = '.';
        *p++ = i >= 0 && i < n ? d[i] : '0';
    }
    *p = 0;
    return (size_t)(p - to);
}

static size_t jinja_trim_number(const char **p, size_t n) {
    while (n && pith__j_space((unsigned char)(*p)[0])) ++*p, n--;
    while (n && pith__j_space((unsigned char)(*p)[n - 1])) n--;
    return n;
}

/* The digits without '_', which may only stand between two of them; 0: none or wrong. */
static size_t jinja_digits(const char *p, size_t n, char *to, size_t room) {
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '_') {
            if (!i || i + 1 == n || p[i - 1] == '_') return 0;
        } else if (m + 1 >= room) {
            return 0;
        } else {
            to[m++] = p[i];
        }
    }
    to[m] = 0;
    return m;
}

PITH_SHARED int pith__j_read_int(const char *p, size_t n, int base, int64_t *i) {
    char d[80];
    int minus = 0;
    n = jinja_trim_number(&p, n);
    if (n && (*p == '+' || *p == '-')) minus = *p == '-', p++, n--;
    int prefix = n > 1 && *p == '0' ? (p[1] | 32) == 'x' ? 16 : (p[1] | 32) == 'o' ? 8 : (p[1] | 32) == 'b' ? 2 : 0 : 0;
    if (prefix && (base == prefix || !base)) base = prefix, p += 2, n -= 2;
    if (!base) base = 10;
    if (base < 2 || base > 36 || !(n = jinja_digits(p, n, d, sizeof d))) return 0;
    uint64_t v = 0;
    for (size_t k = 0; k < n; k++) {
        char c = d[k] >= 'A' && d[k] <= 'Z' ? (char)(d[k] + 32) : d[k];
        int x = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'z' ? c - 'a' + 10 : 99;
        if (x >= base || v > ((uint64_t)INT64_MAX - (uint64_t)x) / (uint64_t)base) return 0;
        v = v * (uint64_t)base + (uint64_t)x;
    }
    *i = minus ? -(int64_t)v : (int64_t)v;
    return 1;
}

PITH_SHARED int pith__j_read_float(const char *p, size_t n, double *f) {
    static const struct { const char *name; int kind; } named[] = { { "inf", 1 }, { "infinity", 1 }, { "nan", 0 } };
    char d[400], low[12] = "";
    n = jinja_trim_number(&p, n);
    int minus = n && *p == '-', sign = n && (*p == '-' || *p == '+');
    for (size_t i = 0; i + (size_t)sign < n && i < 11; i++) low[i] = (char)(p[i + (size_t)sign] | 32);
    for (size_t i = 0; i < 3; i++)
        if (!strcmp(low, named[i].name)) {
            *f = named[i].kind ? minus ? -HUGE_VAL : HUGE_VAL : (double)NAN;
            return 1;
        }
    d[0] = '0'; /* ".5" is a number too, and JSON's is not */
    n = jinja_digits(p + sign, n - (size_t)sign, d + 1, sizeof d - 1);
    size_t i = 1, whole, fraction = 0;
    while (d[i] >= '0' && d[i] <= '9' && n) i++;
    whole = i - 1;
    if (n && d[i] == '.') for (i++; d[i] >= '0' && d[i] <= '9'; i++) fraction++;
    if (!n || !(whole + fraction)) return 0;
    if ((d[i] | 32) == 'e') {
        size_t e = i + 1 + (d[i + 1] == '-' || d[i + 1] == '+');
        for (i = e; d[i] >= '0' && d[i] <= '9'; i++) continue;
        if (i == e) return 0;
    }
    if (d[i]) return 0;
    if (!pith__json_float((pith__json){ d, d + n + 1 }, f)) *f = HUGE_VAL;
    if (minus) *f = -*f;
    return 1;
}

/* ---- str() and repr() ------------------------------------------------------------------------------ */

static void jinja_put_number(pith__jrun *r, pith__jbuffer *b, pith__jvalue v) {
    char to[400];
    size_t n;
    if (v.type == PITH__T_BIG) {
        pith__j_put(r, b, v.as.s->p, v.as.s->n, v.mark);
        return;
    }
    if (v.type == PITH__T_FLOAT) n = jinja_shortest(v.as.f, to);
    else n = (size_t)sprintf(to, "%lld", (long long)v.as.i);
    pith__j_put(r, b, to, n, v.mark);
}

static void jinja_repr_character(pith__jrun *r, pith__jbuffer *b, const pith__jstr *s, size_t i, size_t n, char quote) {
    static const char from[] = "\n\r\t\\", into[] = "nrt\\";
    char to[16];
    uint32_t c;
    pith__utf8_read((const uint8_t *)s->p + i, s->n - i, &c);
    const char *at = c && c < 128 ? strchr(from, (int)c) : NULL;
    if (at || c == (uint32_t)quote) sprintf(to, "\\%c", at ? into[at - from] : quote);
    else if (c < 32 || c == 127) sprintf(to, "\\x%02x", (unsigned)c);
    else if (c == ' ' || (c < 127 || (pith__unicode_class(c) & ~PITH__SPACE))) *to = 0;
    else if (c < 256) sprintf(to, "\\x%02x", (unsigned)c);
    else sprintf(to, c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
    if (*to) jinja_puts(r, b, to, pith__j_mark(s, i));
    else pith__j_put_part(r, b, s, i, n);
}

static void jinja_repr_text(pith__jrun *r, pith__jbuffer *b, const pith__jstr *s) {
    char quote = memchr(s->p, '\'', s->n) && !memchr(s->p, '"', s->n) ? '"' : '\'';
    uint8_t mark = s->n ? pith__j_mark(s, 0) : s->mark;
    if (s->safe) jinja_puts(r, b, "Markup(", mark);
    pith__j_put(r, b, &quote, 1, mark);
    uint32_t c;
    for (size_t i = 0, n; i < s->n && !r->code; i += n) {
        n = pith__utf8_read((const uint8_t *)s->p + i, s->n - i, &c);
        jinja_repr_character(r, b, s, i, n, quote);
    }
    pith__j_put(r, b, &quote, 1, mark);
    if (s->safe) jinja_puts(r, b, ")", mark);
}

static void jinja_repr_list(pith__jrun *r, pith__jbuffer *b, const pith__jlist *l, const char *brackets) {
    pith__j_put(r, b, brackets, 1, 0);
    for (size_t i = 0; i < l->n && !r->code; i++) {
        if (i) jinja_puts(r, b, ", ", 0);
        pith__j_put_repr(r, b, l->v[i]);
    }
    if (*brackets == '(' && l->n == 1) jinja_puts(r, b, ",", 0);
    pith__j_put(r, b, brackets + 1, 1, 0);
}

static void jinja_repr_dict(pith__jrun *r, pith__jbuffer *b, const pith__jdict *d) {
    jinja_puts(r, b, "{", 0);
    for (size_t i = 0; i < d->n && !r->code; i++) {
        if (i) jinja_puts(r, b, ", ", 0);
        pith__j_put_repr(r, b, d->pair[2 * i]);
        jinja_puts(r, b, ": ", 0);
        pith__j_put_repr(r, b, d->pair[2 * i + 1]);
    }
    jinja_puts(r, b, "}", 0);
}

static void jinja_repr_range(pith__jrun *r, pith__jbuffer *b, const pith__jlist *l) {
    char to[100];
    long long first = (long long)l->from, step = (long long)l->step, end = first + (long long)l->n * step;
    int n = sprintf(to, "range(%lld, %lld", first, end);
    if (step != 1) n += sprintf(to + n, ", %lld", step);
    sprintf(to + n, ")");
    jinja_puts(r, b, to, 0);
}

static void jinja_repr_box(pith__jrun *r, pith__jbuffer *b, pith__jvalue v) { /* what holds other values */
    if (++r->depth > 200) pith__j_fail(r, "values lie too deep in each other");
    switch (v.type) {
    case PITH__T_LIST: jinja_repr_list(r, b, v.as.list, "[]"); break;
    case PITH__T_TUPLE: jinja_repr_list(r, b, v.as.list, "()"); break;
    case PITH__T_RANGE: jinja_repr_range(r, b, v.as.list); break;
    case PITH__T_VIEW:
        jinja_puts(r, b, pith__j_type(v), 0);
        jinja_puts(r, b, "(", 0);
        jinja_repr_list(r, b, v.as.list, "[]");
        jinja_puts(r, b, ")", 0);
        break;
    case PITH__T_SPACE: jinja_puts(r, b, "<Namespace ", 0); /* fall through */
    default:
        jinja_repr_dict(r, b, v.as.dict);
        if (v.type == PITH__T_SPACE) jinja_puts(r, b, ">", 0);
    }
    r->depth--;
}

PITH_SHARED void pith__j_put_repr(pith__jrun *r, pith__jbuffer *b, pith__jvalue v) {
    if (!pith__j_work(r, 1)) return;
    switch (v.type) {
    case PITH__T_UNDEFINED: jinja_puts(r, b, "Undefined", v.mark); break;
    case PITH__T_NONE: jinja_puts(r, b, "None", v.mark); break;
    case PITH__T_BOOL: jinja_puts(r, b, v.as.i ? "True" : "False", v.mark); break;
    case PITH__T_INT: case PITH__T_BIG: case PITH__T_FLOAT: jinja_put_number(r, b, v); break;
    case PITH__T_STR: jinja_repr_text(r, b, v.as.s); break;
    case PITH__T_LIST: case PITH__T_TUPLE: case PITH__T_RANGE: case PITH__T_VIEW: case PITH__T_DICT: case PITH__T_SPACE:
        jinja_repr_box(r, b, v);
        break;
    case PITH__T_MACRO:
        jinja_puts(r, b, "<Macro '", 0);
        pith__j_put_part(r, b, v.as.macro->name, 0, v.as.macro->name->n);
        jinja_puts(r, b, "'>", 0);
        break;
    default: /* Python writes an address, which no two runs have in common */
        pith__j_fail(r, "a %s has no text", pith__j_type(v));
    }
}

PITH_SHARED void pith__j_put_value(pith__jrun *r, pith__jbuffer *b, pith__jvalue v) {
    if (v.type == PITH__T_STR) pith__j_put_part(r, b, v.as.s, 0, v.as.s->n);
    else if (v.type != PITH__T_UNDEFINED && v.type != PITH__T_ABSENT) pith__j_put_repr(r, b, v);
}

PITH_SHARED pith__jvalue pith__j_string(pith__jrun *r, pith__jvalue v) {
    if (v.type == PITH__T_STR) return v;
    pith__jbuffer *b = pith__j_buffer(r);
    pith__j_put_value(r, b, v);
    return pith__j_done(r, b);
}

PITH_SHARED pith__jvalue pith__j_safe(pith__jrun *r, pith__jvalue v) {
    pith__jstr *s = r->code ? NULL : pith__j_new(r, 1, sizeof *s);
    if (!s) return v;
    *s = *v.as.s;
    s->safe = 1;
    v.as.s = s;
    return v;
}

PITH_SHARED pith__jvalue pith__j_escape(pith__jrun *r, pith__jvalue v) {
    static const char from[] = "&<>\"'";
    static const char *const into[] = { "&amp;", "&lt;", "&gt;", "&#34;", "&#39;" };
    v = pith__j_string(r, v);
    if (r->code || v.as.s->safe) return v;
    const pith__jstr *s = v.as.s;
    pith__jbuffer *b = pith__j_buffer(r);
    for (size_t i = 0; i < s->n && !r->code; i++) {
        const char *at = s->p[i] ? strchr(from, s->p[i]) : NULL;
        if (at) jinja_puts(r, b, into[at - from], pith__j_mark(s, i));
        else pith__j_put_part(r, b, s, i, 1);
    }
    return pith__j_safe(r, pith__j_done(r, b));
}

/* ---- JSON -------------------------------------------------------------------------------------------- */

typedef struct {
    pith__jbuffer *b;
    pith__jvalue indent, between, colon; /* strings; indent NONE: all in one line */
    int ascii, sorted, level;
} jinja_json;

static void jinja_json_text(pith__jrun *r, jinja_json *w, const pith__jstr *s) {
    static const char from[] = "\n\r\t\b\f\"\\", into[] = "nrtbf\"\\";
    uint8_t mark = s->n ? pith__j_mark(s, 0) : s->mark;
    pith__j_put(r, w->b, "\"", 1, mark);
    size_t done = 0, i = 0;
    for (size_t n; i < s->n && !r->code; i += n) {
        char to[16];
        unsigned char byte = (unsigned char)s->p[i];
        uint32_t c = byte;
        n = 1;
        if (byte >= 32 && byte != '"' && byte != '\\' && (!w->ascii || byte < 127)) continue;
        if (byte >= 128) n = pith__utf8_read((const uint8_t *)s->p + i, s->n - i, &c);
        const char *at = c && c < 128 ? strchr(from, (int)c) : NULL;
        if (at) sprintf(to, "\\%c", into[at - from]);
        else if (c < 0x10000) sprintf(to, "\\u%04x", (unsigned)c);
        else sprintf(to, "\\u%04x\\u%04x", (unsigned)(0xd7c0 + (c >> 10)), (unsigned)(0xdc00 + (c & 0x3ff)));
        pith__j_put_part(r, w->b, s, done, i - done);
        jinja_puts(r, w->b, to, pith__j_mark(s, i));
        done = i + n;
    }
    pith__j_put_part(r, w->b, s, done, i - done);
    pith__j_put(r, w->b, "\"", 1, s->n ? pith__j_mark(s, s->n - 1) : mark);
}

static void jinja_json_line(pith__jrun *r, jinja_json *w) {
    if (w->indent.type == PITH__T_NONE) return;
    pith__j_put(r, w->b, "\n", 1, 0);
    for (int i = 0; i < w->level; i++) pith__j_put_value(r, w->b, w->indent);
}

static void jinja_json_scalar(pith__jrun *r, jinja_json *w, pith__jvalue v) {
    switch (v.type) {
    case PITH__T_NONE: jinja_puts(r, w->b, "null", v.mark); break;
    case PITH__T_BOOL: jinja_puts(r, w->b, v.as.i ? "true" : "false", v.mark); break;
    case PITH__T_FLOAT:
        if (v.as.f - v.as.f == 0) jinja_put_number(r, w->b, v);
        else jinja_puts(r, w->b, v.as.f != v.as.f ? "NaN" : v.as.f < 0 ? "-Infinity" : "Infinity", v.mark);
        break;
    case PITH__T_INT: case PITH__T_BIG: jinja_put_number(r, w->b, v); break;
    case PITH__T_STR: jinja_json_text(r, w, v.as.s); break;
    default:
        if (pith__j_defined(r, v)) pith__j_fail(r, "a %s cannot be written as JSON", pith__j_type(v));
    }
}

static void jinja_json_key(pith__jrun *r, jinja_json *w, pith__jvalue key) {
    pith__jbuffer *b = w->b;
    if (key.type > PITH__T_STR || key.type < PITH__T_NONE)
        pith__j_fail(r, "a key of JSON cannot be a %s", pith__j_type(key));
    if (key.type != PITH__T_STR) { /* 1: as "1" */
        w->b = pith__j_buffer(r);
        jinja_json_scalar(r, w, key);
        key = pith__j_done(r, w->b);
        w->b = b;
    }
    if (!r->code) jinja_json_text(r, w, key.as.s);
    pith__j_put_value(r, b, w->colon);
}

/* The order in which the pairs are written: their numbers. Insertion, for objects have few members. */
static size_t *jinja_json_order(pith__jrun *r, const jinja_json *w, const pith__jdict *d) {
    size_t *order = pith__j_new(r, d->n, sizeof *order);
    for (size_t i = 0; order && i < d->n; i++) {
        size_t at = i;
        for (; w->sorted && at && !r->code; at--) {
            if (pith__j_compare(r, d->pair[2 * order[at - 1]], d->pair[2 * i]) <= 0) break;
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
    return order;
}

static void jinja_json_value(pith__jrun *r, jinja_json *w, pith__jvalue v) {
    int is_list = v.type == PITH__T_LIST || v.type == PITH__T_TUPLE;
    if (!pith__j_work(r, 1)) return;
    if (!is_list && v.type != PITH__T_DICT) {
        jinja_json_scalar(r, w, v);
        return;
    }
    if (++w->level > 200) pith__j_fail(r, "values lie too deep in each other");
    const pith__jdict *d = v.as.dict;
    size_t n = is_list ? v.as.list->n : d->n, *order = is_list ? NULL : jinja_json_order(r, w, d);
    jinja_puts(r, w->b, is_list ? "[" : "{", 0);
    for (size_t i = 0; i < n && !r->code; i++) {
        if (i) pith__j_put_value(r, w->b, w->between);
        jinja_json_line(r, w);
        if (!is_list) jinja_json_key(r, w, d->pair[2 * order[i]]);
        jinja_json_value(r, w, is_list ? v.as.list->v[i] : d->pair[2 * order[i] + 1]);
    }
    w->level--;
    if (n) jinja_json_line(r, w);
    jinja_puts(r, w->b, is_list ? "]" : "}", 0);
}

PITH_SHARED pith__jvalue pith__j_tojson(pith__jrun *r, pith__jvalue v, const pith__jvalue *a, const pith__jargs *all) {
    jinja_json w = { .b = pith__j_buffer(r), .ascii = pith__j_true(a[0]), .sorted = pith__j_true(a[3]) };
    (void)all;
    w.indent = pith__j_none();
    if (a[1].type == PITH__T_STR) w.indent = a[1];
    if (a[1].type == PITH__T_INT || a[1].type == PITH__T_BOOL) {
        static const char blanks[] = "                                ";
        size_t n = a[1].as.i < 0 ? 0 : (size_t)a[1].as.i;
        if (n > sizeof blanks - 1) return pith__j_fail(r, "tojson with an indent of %zu, need at most 32", n);
        w.indent = pith__j_text(r, blanks, n, 0);
    }
    w.between = w.indent.type == PITH__T_NONE ? pith__j_text(r, ", ", 2, 0) : pith__j_text(r, ",", 1, 0);
    w.colon = pith__j_text(r, ": ", 2, 0);
    if (a[2].type > PITH__T_NONE) {
        const pith__jlist *l = pith__j_items(r, a[2]);
        if (!l || l->n != 2 || l->v[0].type != PITH__T_STR || l->v[1].type != PITH__T_STR)
            return pith__j_fail(r, "tojson's separators, need two strings");
        w.between = l->v[0];
        w.colon = l->v[1];
    }
    jinja_json_value(r, &w, v);
    return pith__j_done(r, w.b);
}
