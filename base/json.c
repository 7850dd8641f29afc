/* json.c - a small strict JSON reader (RFC 8259).
 *
 * A text is checked once, whole: grammar, UTF-8, depth. After that a value is nothing but the place
 * where it is, so reading needs no tree and no memory: containers are walked item by item,
 * strings are views of the text unless they hold an escape. Where long containers end may be noted
 * during the check: a walk over what is around them does not go through them. Nothing here recurses. */
#include "base.h"

#include <stdio.h>
#include <string.h>

enum { JSON_DEPTH = 64, JSON_LONG = 1 << 14 }; /* bytes of a container whose end is worth a note */

/* ---- eight bytes at once ---------------------------------------------------------------------- */

static uint64_t in_each(uint8_t b) { return b * 0x0101010101010101u; }

/* Bit 7 of the bytes of x that are b, and perhaps of some behind the first of them. */
static uint64_t bytes_like(uint64_t x, uint8_t b) {
    x ^= in_each(b);
    return (x - in_each(1)) & ~x & in_each(0x80);
}

/* Which byte is the first that has bit 7. */
static size_t first_mark(uint64_t marks) {
#ifdef __GNUC__
    return (size_t)__builtin_ctzll(marks) / 8;
#else
    size_t i = 0;
    for (; !(marks & 0x80); marks >>= 8) i++;
    return i;
#endif
}

/* ---- the check ------------------------------------------------------------------------------- */

typedef struct {
    const char *p, *end;
    const char *why; /* NULL, or what is wrong at p */
    pith__json_ends *ends; /* or NULL */
    struct { const char *p; size_t n; } in[JSON_DEPTH]; /* containers around p, and their items so far */
} json_check;

static int json_wrong(json_check *c, const char *why) {
    c->why = why;
    return 0;
}

static const char *json_blank(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) p++;
    return p;
}

static int json_hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static int check_escape(json_check *c) {
    if (c->end - c->p < 2 || !strchr("\"\\/bfnrtu", c->p[1]) || !c->p[1])
        return json_wrong(c, "an escape that JSON does not have");
    int n = c->p[1] == 'u' ? 6 : 2;
    for (int i = 2; i < n; i++)
        if (c->end - c->p <= i || json_hex(c->p[i]) < 0)
            return json_wrong(c, "\\u without four hexadecimal digits");
    c->p += n;
    return 1;
}

/* Past what needs no second look in a string: letters of ASCII, and characters of two bytes. */
static const char *check_plain(const char *p, const char *end) {
    while (p < end) {
        uint8_t b = (uint8_t)*p;
        uint64_t x, odd;
        if (b >= 0xc2 && b <= 0xdf && end - p > 1 && ((uint8_t)p[1] & 0xc0) == 0x80) {
            p += 2;
        } else if (b < 0x20 || b >= 0x80 || b == '"' || b == '\\') {
            return p;
        } else if (end - p < (ptrdiff_t)sizeof x) {
            p++;
        } else {
            memcpy(&x, p, sizeof x);
            odd = bytes_like(x, '"') | bytes_like(x, '\\') | (((x - in_each(0x20)) | x) & in_each(0x80));
            p += odd ? first_mark(odd) : sizeof x;
        }
    }
    return p;
}

static int check_string(json_check *c) {
    if (c->p == c->end || *c->p != '"') return json_wrong(c, "no string where one must be");
    for (c->p++; (c->p = check_plain(c->p, c->end)) < c->end;) {
        unsigned char b = (unsigned char)*c->p;
        if (b == '"') {
            c->p++;
            return 1;
        }
        if (b < 0x20) return json_wrong(c, "a control character in a string");
        if (b == '\\') {
            if (!check_escape(c)) return 0;
        } else {
            int n = pith__utf8_length((const uint8_t *)c->p, (size_t)(c->end - c->p));
            if (n <= 0) return json_wrong(c, "bytes that are not UTF-8");
            c->p += n;
        }
    }
    return json_wrong(c, "the end inside a string");
}

static size_t check_digits(json_check *c) {
    const char *from = c->p;
    while (c->p < c->end && *c->p >= '0' && *c->p <= '9') c->p++;
    return (size_t)(c->p - from);
}

static int check_number(json_check *c) {
    if (c->p < c->end && *c->p == '-') c->p++;
    const char *from = c->p;
    size_t n = check_digits(c);
    if (!n || (n > 1 && *from == '0')) return json_wrong(c, "something that is no JSON value");
    if (c->p < c->end && *c->p == '.') {
        c->p++;
        if (!check_digits(c)) return json_wrong(c, "a number without digits behind its point");
    }
    if (c->p < c->end && (*c->p == 'e' || *c->p == 'E')) {
        c->p++;
        if (c->p < c->end && (*c->p == '+' || *c->p == '-')) c->p++;
        if (!check_digits(c)) return json_wrong(c, "a number without digits in its exponent");
    }
    return 1;
}

static int check_word(json_check *c, const char *word) {
    size_t n = strlen(word);
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n))
        return json_wrong(c, "something that is no JSON value");
    c->p += n;
    return 1;
}

static int check_key(json_check *c) {
    if (!check_string(c)) return 0;
    c->p = json_blank(c->p, c->end);
    if (c->p == c->end || *c->p != ':') return json_wrong(c, "no ':' behind a name");
    c->p = json_blank(c->p + 1, c->end);
    return 1;
}

static int check_scalar(json_check *c) {
    switch (c->p < c->end ? *c->p : 0) {
    case '"': return check_string(c);
    case 't': return check_word(c, "true");
    case 'f': return check_word(c, "false");
    case 'n': return check_word(c, "null");
    default: return check_number(c);
    }
}

/* A container ends before p. */
static void note_end(json_check *c, int depth) {
    const char *from = c->in[depth].p;
    pith__json_ends *e = c->ends;
    if (!e || c->p - from < JSON_LONG || e->n == sizeof e->of / sizeof *e->of) return;
    e->of[e->n].p = from, e->of[e->n].end = c->p, e->of[e->n].items = c->in[depth].n;
    e->n++;
}

/* One value and nothing behind it. Bit d - 1 of object: the container at depth d is an object. */
static int check_text(json_check *c) {
    uint64_t object = 0;
    int depth = 0;
    for (c->p = json_blank(c->p, c->end);;) {
        char open = c->p < c->end ? *c->p : 0;
        int empty = 0;
        if (open == '{' || open == '[') {
            if (depth == JSON_DEPTH) return json_wrong(c, "more than 64 values inside each other");
            object = open == '{' ? object | (uint64_t)1 << depth : object & ~((uint64_t)1 << depth);
            c->in[depth].p = c->p;
            c->p = json_blank(c->p + 1, c->end);
            empty = c->p < c->end && *c->p == (open == '{' ? '}' : ']');
            c->in[depth++].n = !empty;
            if (!empty && open == '{' && !check_key(c)) return 0;
            if (!empty) continue;
        } else if (!check_scalar(c)) {
            return 0;
        }
        for (;;) { /* behind a value (or in an empty container): close what ends here */
            c->p = json_blank(c->p, c->end);
            if (!depth) return c->p == c->end ? 1 : json_wrong(c, "something behind the value");
            int is_object = (int)(object >> (depth - 1) & 1);
            char next = c->p < c->end ? *c->p : 0;
            if (next == (is_object ? '}' : ']')) {
                c->p++;
                note_end(c, --depth);
            } else if (next == ',') {
                c->in[depth - 1].n++;
                c->p = json_blank(c->p + 1, c->end);
                if (is_object && !check_key(c)) return 0;
                break;
            } else {
                return json_wrong(c, next ? "no ',' between two values" : "the end inside a value");
            }
        }
    }
}

PITH_SHARED int pith__json_read(pith__json *j, const void *text, size_t n, const char *path,
                                pith_error *err) {
    return pith__json_read_long(j, NULL, text, n, path, err);
}

PITH_SHARED int pith__json_read_long(pith__json *j, pith__json_ends *ends, const void *text, size_t n, const char *path,
                                     pith_error *err) {
    const char *from = text;
    json_check c;
    c.p = from, c.end = from + n, c.why = NULL, c.ends = ends;
    if (n >= 3 && !memcmp(from, "\xef\xbb\xbf", 3)) c.p += 3; /* a byte order mark: let it pass */
    c.p = json_blank(c.p, c.end);
    *j = (pith__json){ c.p, c.end };
    if (ends) ends->n = 0;
    if (check_text(&c)) {
        while (json_blank(j->end - 1, j->end) == j->end) j->end--;
        return PITH_OK;
    }
    j->p = NULL;
    char line[40] = ""; /* for those who wrote the text by hand */
    size_t number = 1;
    for (const char *p = from; p < c.p; p++) number += *p == '\n';
    if (number > 1) snprintf(line, sizeof line, ", line %zu", number);
    return pith__fail(err, PITH_EFORMAT, "%s: byte %zu%s: %s", path, (size_t)(c.p - from), line, c.why);
}

/* ---- walking --------------------------------------------------------------------------------- */

/* The text was checked, so what follows needs no errors; it still never passes the end. */

PITH_SHARED char pith__json_type(pith__json j) {
    if (!j.p || j.p >= j.end) return 0;
    return *j.p == '-' || (*j.p >= '0' && *j.p <= '9') ? '0' : *j.p;
}

/* Behind the string that begins at p. escapes: becomes 1 where it has any. */
static const char *json_past(const char *p, const char *end, int *escapes) {
    for (p++; p < end && *p != '"'; p++) {
        uint64_t x, odd;
        if (end - p >= (ptrdiff_t)sizeof x) {
            memcpy(&x, p, sizeof x);
            odd = bytes_like(x, '"') | bytes_like(x, '\\');
            p += odd ? first_mark(odd) : sizeof x - 1;
            if (*p == '"') break;
        }
        if (*p == '\\') *escapes = 1, p++;
    }
    return p < end ? p + 1 : end;
}

/* What is known of the container that begins at p. */
static int json_known(const pith__json_ends *e, const char *p) { /* or -1 */
    int i = e ? e->n - 1 : -1;
    while (i >= 0 && e->of[i].p != p) i--;
    return i;
}

/* Where the value that begins at p ends. */
static const char *json_skip(const char *p, const char *end, const pith__json_ends *ends) {
    int depth = 0, escapes;
    do {
        if (p >= end) return end;
        if (*p == '"') {
            p = json_past(p, end, &escapes);
        } else if (*p == '{' || *p == '[') {
            int known = json_known(ends, p);
            depth += known < 0;
            p = known < 0 ? p + 1 : ends->of[known].end;
        } else if (*p == '}' || *p == ']') {
            depth--;
            p++;
        } else if (depth) {
            p++;
        } else {
            while (p < end && *p != ',' && *p != ']' && *p != '}' && *p > ' ') p++;
        }
    } while (depth > 0);
    return p;
}

PITH_SHARED pith__json pith__json_at(const char *p, const char *end) { return (pith__json){ p, json_skip(p, end, NULL) }; }

PITH_SHARED pith__str pith__json_raw(pith__json j) {
    return (pith__str){ j.p, j.p ? (size_t)(j.end - j.p) : 0 };
}

static int json_step(pith__json *it, const pith__json_ends *ends, pith__json *key, pith__json *value) {
    if (!it->p || it->p >= it->end) return 0;
    if (*it->p != ',' && *it->p != '[' && *it->p != '{') return 0; /* it was the last one, or is no container */
    const char *end = it->end, *p = json_blank(it->p + 1, end);
    it->p = p;
    if (p >= end || *p == '}' || *p == ']') return 0;
    if (key) {
        *key = (pith__json){ p, json_skip(p, end, NULL) };
        p = json_blank(key->end, end);
        if (p >= end || *p != ':') return 0;
        p = json_blank(p + 1, end);
    }
    *value = (pith__json){ p, json_skip(p, end, ends) };
    it->p = json_blank(value->end, end);
    return 1;
}

PITH_SHARED int pith__json_next(pith__json *it, pith__json *key, pith__json *value) {
    return json_step(it, NULL, key, value);
}

PITH_SHARED int pith__json_next_plain(pith__json *it, pith__str *s) {
    if (!it->p || it->p >= it->end || (*it->p != '[' && *it->p != ',')) return 0;
    const char *end = it->end, *p = json_blank(it->p + 1, end);
    int escapes = 0;
    if (p >= end || *p != '"') return 0;
    const char *past = json_past(p, end, &escapes);
    if (escapes) return 0;
    *s = (pith__str){ p + 1, (size_t)(past - p - 2) };
    it->p = json_blank(past, end);
    return 1;
}

PITH_SHARED size_t pith__json_count(pith__json j) { return pith__json_count_long(j, NULL); }

PITH_SHARED size_t pith__json_count_long(pith__json j, const pith__json_ends *ends) {
    pith__json value;
    size_t n = 0;
    int known = json_known(ends, j.p);
    if (known >= 0) return ends->of[known].items;
    while (pith__json_next(&j, NULL, &value)) n++;
    return n;
}

/* A short error about the value of name in the file at path: "config.json: hidden_size is "big",
 * need a positive integer". */
PITH_SHARED int pith__json_fail(pith__json j, int code, const char *path, const char *name,
                                const char *need, pith_error *err) {
    if (!pith__json_type(j))
        return pith__fail(err, code, "%s: has no %s, need %s", path, name, need);
    size_t n = (size_t)(j.end - j.p), cut = n < 60 ? n : 60;
    while (cut < n && cut > 0 && ((unsigned char)j.p[cut] & 0xc0) == 0x80) cut--;
    return pith__fail(err, code, "%s: %s is %.*s%s, need %s", path, name, (int)cut, j.p,
                      cut < n ? "..." : "", need);
}

/* ---- strings --------------------------------------------------------------------------------- */

static uint32_t json_u16(const char *p) { /* the digits of \u, which were checked */
    uint32_t c = 0;
    for (int i = 2; i < 6; i++) c = c << 4 | (uint32_t)(json_hex(p[i]) & 15);
    return c;
}

/* The bytes that the character at *p stands for, up to 4; half a surrogate pair becomes U+FFFD. */
static size_t json_decode(const char **p, const char *end, char *to) {
    if (**p != '\\' || end - *p < 2) {
        to[0] = *(*p)++;
        return 1;
    }
    char e = (*p)[1];
    if (e != 'u' || end - *p < 6) {
        static const char from[] = "bfnrt", into[] = "\b\f\n\r\t";
        const char *at = memchr(from, e, sizeof from - 1);
        *p += 2;
        to[0] = at ? into[at - from] : e;
        return 1;
    }
    uint32_t c = json_u16(*p);
    *p += 6;
    if (c < 0xd800 || c > 0xdfff) return pith__utf8_write(c, to);
    if (c < 0xdc00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
        uint32_t low = json_u16(*p);
        if (low >= 0xdc00 && low <= 0xdfff) {
            *p += 6;
            return pith__utf8_write(0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00), to);
        }
    }
    return pith__utf8_write(0xfffd, to);
}

PITH_SHARED int pith__json_is(pith__json j, const char *s) {
    if (pith__json_type(j) != '"') return 0;
    const char *p = j.p + 1, *end = j.end - 1;
    while (p < end) {
        char c[4];
        size_t n = json_decode(&p, end, c);
        for (size_t i = 0; i < n; i++)
            if (!*s || *s++ != c[i]) return 0;
    }
    return !*s;
}

PITH_SHARED int pith__json_string(pith__json j, pith__arena *a, pith__str *s) {
    if (pith__json_type(j) != '"') return PITH_EFORMAT;
    const char *p = j.p + 1, *end = j.end - 1;
    s->p = p;
    s->n = (size_t)(end - p);
    if (!s->n || !memchr(p, '\\', s->n)) return PITH_OK;
    char *to = pith__arena_new(a, s->n, 1); /* an escape is never shorter than what it stands for */
    if (!to) return PITH_EMEMORY;
    s->p = to;
    while (p < end) to += json_decode(&p, end, to);
    s->n = (size_t)(to - s->p);
    return PITH_OK;
}

PITH_SHARED int pith__json_half(pith__json j) {
    if (pith__json_type(j) != '"') return 0;
    for (const char *p = j.p + 1, *end = j.end - 1; p < end;) {
        char c[4];
        int u = end - p >= 6 && p[0] == '\\' && p[1] == 'u' ? (int)json_u16(p) : 0;
        size_t n = json_decode(&p, end, c);
        if (u >= 0xd800 && u <= 0xdfff && n == 3) return 1; /* a pair becomes 4 bytes */
    }
    return 0;
}

PITH_SHARED void pith__json_pick(pith__json object, const char *const *names, pith__json *values, size_t n) {
    pith__json_pick_long(object, NULL, names, values, n);
}

PITH_SHARED void pith__json_pick_long(pith__json object, const pith__json_ends *ends, const char *const *names,
                                      pith__json *values, size_t n) {
    pith__json key, value;
    memset(values, 0, n * sizeof *values);
    if (pith__json_type(object) != '{') return;
    while (json_step(&object, ends, &key, &value)) /* of two, the last one counts, as in Python */
        for (size_t i = 0; i < n; i++)
            if (pith__json_is(key, names[i])) values[i] = value;
}

PITH_SHARED pith__json pith__json_get(pith__json object, const char *name) {
    pith__json value;
    pith__json_pick(object, &name, &value, 1);
    return value;
}

/* ---- numbers --------------------------------------------------------------------------------- */

PITH_SHARED int pith__json_int(pith__json j, int64_t *i) {
    if (pith__json_type(j) != '0') return 0;
    const char *p = j.p, *end = j.end;
    int minus = *p == '-';
    uint64_t v = 0, most = (uint64_t)INT64_MAX + (uint64_t)minus;
    for (p += minus; p < end; p++) {
        if (*p < '0' || *p > '9') return 0; /* 1.5, and 1e3 too: not spelled as an integer */
        uint64_t digit = (uint64_t)(*p - '0');
        if (v > (most - digit) / 10) return 0;
        v = 10 * v + digit;
    }
    *i = !minus ? (int64_t)v : v ? -(int64_t)(v - 1) - 1 : 0;
    return 1;
}

/* Not strtod, which wants a NUL and asks the locale for the decimal point. The first 19 digits and
 * a power of ten in long double are within an ulp of the nearest double. */
PITH_SHARED int pith__json_float(pith__json j, double *f) {
    if (pith__json_type(j) != '0') return 0;
    const char *p = j.p, *end = j.end;
    uint64_t digits = 0;
    int minus = *p == '-', fraction = 0;
    long long exponent = 0, ten = 0; /* the number is digits * 10^(exponent + ten) */
    for (p += minus; p < end && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            fraction = 1;
        } else if (digits < 1000000000000000000u) {
            digits = 10 * digits + (uint64_t)(*p - '0');
            ten -= fraction;
        } else {
            ten += !fraction;
        }
    }
    if (p < end) {
        minus |= p + 1 < end && p[1] == '-' ? 2 : 0;
        for (p++; p < end; p++)
            if (*p >= '0' && exponent < 1000000000000) exponent = 10 * exponent + (*p - '0');
    }
    ten += minus & 2 ? -exponent : exponent;
    long double v = (long double)digits, power = 1;
    for (int i = 0; digits && i < 400 && i < (ten < 0 ? -ten : ten); i++) power *= 10;
    double y = (double)(ten < 0 ? v / power : v * power);
    *f = minus & 1 ? -y : y;
    return y <= 1.7976931348623157e308;
}
