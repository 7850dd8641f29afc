/* jinja_value.c - the values that a template works with: strings whose bytes have marks, lists, dictionaries.
 *
 * Values are Python's, as far as templates see them: what is true, equal, less, contained, how slices count. Memory
 * comes from an arena with a limit and is never given back before the end, so nothing here frees. Strings and lists
 * do not change; a string or list at the end of its buffer grows in place, so that adding to it in a loop costs what is
 * added. A failure is kept in the run, and what is returned then means nothing. */
#include "jinja.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- failing, memory, work --------------------------------------------------------------------- */

PITH_SHARED pith__jvalue pith__j_fail(pith__jrun *r, const char *fmt, ...) {
    const pith__jvalue none = { 0 };
    char text[400];
    if (r->code) return none;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    r->code = pith__fail(r->err, PITH_EDATA, "%s: line %d: %s", r->what, r->line, text);
    return none;
}

PITH_SHARED void *pith__j_new(pith__jrun *r, size_t n, size_t size) {
    size_t want;
    if (r->code) return NULL;
    if (pith__mul(&want, n, size) || want > r->most - r->used) {
        pith__j_fail(r, "needs more than %zu MB of memory", r->most >> 20);
        return NULL;
    }
    void *p = pith__arena_new(&r->arena, n, size);
    r->used += want + 16 < r->most - r->used ? want + 16 : r->most - r->used;
    if (!p) r->code = pith__fail(r->err, PITH_EMEMORY, "%s: line %d: no memory", r->what, r->line);
    return p;
}

PITH_SHARED int pith__j_work(pith__jrun *r, size_t steps) {
    if (r->code) return 0;
    if (steps < (size_t)r->work) {
        r->work -= (int64_t)steps;
        return 1;
    }
    pith__j_fail(r, "takes too long: more steps than any conversation needs");
    return 0;
}

/* ---- strings ------------------------------------------------------------------------------------- */

PITH_SHARED pith__jvalue pith__j_none(void) { return (pith__jvalue){ .type = PITH__T_NONE }; }
PITH_SHARED pith__jvalue pith__j_bool(int i) { return (pith__jvalue){ .type = PITH__T_BOOL, .as.i = i != 0 }; }
PITH_SHARED pith__jvalue pith__j_int(int64_t i) { return (pith__jvalue){ .type = PITH__T_INT, .as.i = i }; }
PITH_SHARED pith__jvalue pith__j_float(double f) { return (pith__jvalue){ .type = PITH__T_FLOAT, .as.f = f }; }

PITH_SHARED pith__jvalue pith__j_undefined(int what, const pith__jstr *name) {
    return (pith__jvalue){ .type = PITH__T_UNDEFINED, .what = (uint16_t)what, .as.s = name };
}

PITH_SHARED int pith__j_shown(const pith__jstr *s) { return s->n < 60 ? (int)s->n : 60; }

PITH_SHARED int pith__j_defined(pith__jrun *r, pith__jvalue v) {
    if (v.type != PITH__T_UNDEFINED) return 1;
    int n = v.as.s ? pith__j_shown(v.as.s) : 0;
    if (v.what == PITH__T_NOTHING || !v.as.s) pith__j_fail(r, "there is nothing where a value is needed");
    else if (v.what == PITH__T_NAME) pith__j_fail(r, "'%.*s' is undefined", n, v.as.s->p);
    else if (v.what == PITH__T_UNSAFE)
        pith__j_fail(r, "'%.*s' is not for templates: they change nothing", n, v.as.s->p);
    else pith__j_fail(r, "there is no attribute '%.*s'", n, v.as.s->p);
    return 0;
}

static pith__jvalue jinja_value_of(const pith__jstr *s) {
    return s ? (pith__jvalue){ .type = PITH__T_STR, .as.s = s } : (pith__jvalue){ 0 };
}

PITH_SHARED pith__jvalue pith__j_text(pith__jrun *r, const char *p, size_t n, uint8_t mark) {
    pith__jstr *s = pith__j_new(r, 1, sizeof *s);
    if (s) *s = (pith__jstr){ .p = n ? p : "", .n = n, .mark = mark };
    return jinja_value_of(s);
}

PITH_SHARED pith__jvalue pith__j_part(pith__jrun *r, const pith__jstr *s, size_t from, size_t n) {
    pith__jstr *t = from || n < s->n ? pith__j_new(r, 1, sizeof *t) : NULL;
    if (!from && n == s->n) return jinja_value_of(s);
    if (!t) return (pith__jvalue){ 0 };
    *t = *s;
    t->p += from;
    t->n = n;
    t->hash = 0;
    t->plain = 0;
    if (t->marks) t->marks += from;
    return jinja_value_of(t);
}

PITH_SHARED int pith__j_is(pith__jvalue v, const char *s) {
    return v.type == PITH__T_STR && v.as.s->n == strlen(s) && !memcmp(v.as.s->p, s, v.as.s->n);
}

PITH_SHARED uint32_t pith__j_hash(const char *p, size_t n) { /* FNV-1a */
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)p[i]) * 16777619u;
    return h ? h : 1;
}

PITH_SHARED uint8_t pith__j_mark(const pith__jstr *s, size_t i) { return s->marks ? s->marks[i] : s->mark; }

PITH_SHARED pith__jbuffer *pith__j_buffer(pith__jrun *r) { return pith__j_new(r, 1, sizeof(pith__jbuffer)); }

/* Older strings keep what they had: the old memory stays. */
static int jinja_grow(pith__jrun *r, pith__jbuffer *b, size_t more) {
    r->effects++;
    if (!b || more > SIZE_MAX / 4 - b->n) return 0;
    if (b->cap >= b->n + more) return 1;
    size_t cap = b->n + more + (b->n + more) / 2 + 32;
    char *p = pith__j_new(r, cap, 2);
    if (!p) return 0;
    if (b->n) memcpy(p, b->p, b->n), memcpy(p + cap, b->marks, b->n);
    b->p = p;
    b->marks = (uint8_t *)p + cap;
    b->cap = cap;
    return 1;
}

PITH_SHARED void pith__j_put(pith__jrun *r, pith__jbuffer *b, const char *p, size_t n, uint8_t mark) {
    if (!n || !pith__j_work(r, n / 64) || !jinja_grow(r, b, n)) return;
    memcpy(b->p + b->n, p, n);
    memset(b->marks + b->n, mark, n);
    b->n += n;
}

PITH_SHARED void pith__j_put_part(pith__jrun *r, pith__jbuffer *b, const pith__jstr *s, size_t from, size_t n) {
    if (!s || !n) return;
    if (!s->marks) {
        pith__j_put(r, b, s->p + from, n, s->mark);
    } else if (pith__j_work(r, n / 64) && jinja_grow(r, b, n)) {
        memcpy(b->p + b->n, s->p + from, n);
        memcpy(b->marks + b->n, s->marks + from, n);
        b->n += n;
    }
}

PITH_SHARED pith__jvalue pith__j_done(pith__jrun *r, pith__jbuffer *b) {
    pith__jstr *s = b ? pith__j_new(r, 1, sizeof *s) : NULL;
    if (s) *s = (pith__jstr){ .p = b->n ? b->p : "", .marks = b->marks, .n = b->n, .in = b };
    return jinja_value_of(s);
}

PITH_SHARED pith__jvalue pith__j_concat(pith__jrun *r, pith__jvalue a, pith__jvalue b) {
    const pith__jstr *s = a.as.s, *t = b.as.s;
    if (r->code) return a;
    if (!t->n) return a;
    if (!s->n && !s->safe) return b;
    pith__jbuffer *to = s->in;
    if (!to || s->p + s->n != to->p + to->n) {
        to = pith__j_buffer(r);
        pith__j_put_part(r, to, s, 0, s->n);
    }
    size_t from = to ? to->n - s->n : 0;
    pith__j_put_part(r, to, t, 0, t->n);
    pith__jstr *sum = pith__j_new(r, 1, sizeof *sum);
    if (sum)
        *sum = (pith__jstr){ .p = to->p + from, .marks = to->marks + from, .n = s->n + t->n, .in = to,
                             .safe = s->safe };
    return jinja_value_of(sum);
}

PITH_SHARED size_t pith__j_offset(const pith__jstr *s, size_t i) {
    size_t at = 0;
    uint32_t c;
    for (; i && at < s->n; i--) at += pith__utf8_read((const uint8_t *)s->p + at, s->n - at, &c);
    return at;
}

PITH_SHARED size_t pith__j_length(const pith__jstr *s) {
    size_t n = 0;
    uint32_t c;
    for (size_t at = 0; at < s->n; n++) at += pith__utf8_read((const uint8_t *)s->p + at, s->n - at, &c);
    return n;
}

PITH_SHARED size_t pith__j_find(pith__jrun *r, const pith__jstr *s, size_t from, const pith__jstr *part) {
    if (part->n > s->n) return SIZE_MAX;
    for (size_t last = s->n - part->n; from <= last; from++) {
        if (!part->n) return from;
        const char *p = memchr(s->p + from, *part->p, last - from + 1);
        if (!pith__j_work(r, ((p ? (size_t)(p - s->p) : last) - from) / 64 + part->n / 64 + 1) || !p) return SIZE_MAX;
        from = (size_t)(p - s->p);
        if (!memcmp(p, part->p, part->n)) return from;
    }
    return SIZE_MAX;
}

PITH_SHARED int pith__j_space(uint32_t c) {
    if (c < 128) return c == ' ' || (c >= 9 && c <= 13) || (c >= 28 && c <= 31);
    return (pith__unicode_class(c) & PITH__SPACE) != 0;
}

/* ---- lists and dictionaries ------------------------------------------------------------------------ */

PITH_SHARED pith__jvalue pith__j_list(pith__jrun *r, int type, size_t room) {
    pith__jlist *l = pith__j_new(r, 1, sizeof *l);
    if (l && room) l->v = pith__j_new(r, room, sizeof *l->v);
    if (!l || r->code) return (pith__jvalue){ 0 };
    l->cap = room;
    return (pith__jvalue){ .type = (uint8_t)type, .as.list = l };
}

PITH_SHARED void pith__j_append(pith__jrun *r, pith__jlist *l, pith__jvalue v) {
    if (r->code || !l) return;
    if (l->n >= l->cap) {
        size_t cap = l->n + l->n / 2 + 4;
        pith__jvalue *more = pith__j_new(r, cap, sizeof *more);
        if (!more) return;
        if (l->n) memcpy(more, l->v, l->n * sizeof *more);
        l->v = more;
        l->cap = cap;
    }
    l->v[l->n++] = v;
}

PITH_SHARED pith__jvalue pith__j_nth(pith__jvalue list, size_t i) {
    const pith__jlist *l = list.as.list;
    return list.type == PITH__T_RANGE ? pith__j_int(l->from + (int64_t)i * l->step) : l->v[i];
}

PITH_SHARED pith__jvalue pith__j_pair(pith__jrun *r, pith__jvalue a, pith__jvalue b) {
    pith__jvalue t = pith__j_list(r, PITH__T_TUPLE, 2);
    if (!r->code) pith__j_append(r, t.as.list, a), pith__j_append(r, t.as.list, b);
    return t;
}

PITH_SHARED pith__jvalue pith__j_later(pith__jrun *r, pith__jvalue v) {
    if (r->code != PITH_EDATA || !r->err) return v;
    r->code = 0;
    v = pith__j_list(r, PITH__T_ITER, 0);
    if (!r->code) v.as.list->why = pith__j_new(r, 1, sizeof r->err->text);
    if (!r->code) strcpy((char *)(uintptr_t)v.as.list->why, r->err->text);
    if (!r->code) *r->err = (pith_error){ 0, "" };
    return v;
}

PITH_SHARED pith__jvalue pith__j_dict(pith__jrun *r, int type) {
    pith__jdict *d = pith__j_new(r, 1, sizeof *d);
    return d ? (pith__jvalue){ .type = (uint8_t)type, .as.dict = d } : (pith__jvalue){ 0 };
}

static uint32_t jinja_hash_value(pith__jvalue v) {
    double f;
    if (v.type == PITH__T_STR) return v.as.s->hash ? v.as.s->hash : pith__j_hash(v.as.s->p, v.as.s->n);
    if (pith__j_number(v, &f)) return f >= -1e9 && f <= 1e9 ? (uint32_t)(int64_t)f : 3; /* equal numbers, one hash */
    return v.type;
}

static int jinja_same_key(pith__jvalue a, pith__jvalue b) { /* never walks deep: keys of tuples are one another's */
    double f, g;
    if (a.type == PITH__T_STR && b.type == PITH__T_STR)
        return a.as.s == b.as.s || (a.as.s->n == b.as.s->n && !memcmp(a.as.s->p, b.as.s->p, a.as.s->n));
    if (pith__j_number(a, &f) && pith__j_number(b, &g)) return f == g;
    if (a.type == PITH__T_TUPLE && b.type == PITH__T_TUPLE) {
        if (a.as.list->n != b.as.list->n) return 0;
        for (size_t i = 0; i < a.as.list->n; i++) {
            pith__jvalue x = a.as.list->v[i], y = b.as.list->v[i];
            if (x.type == PITH__T_TUPLE || y.type == PITH__T_TUPLE || !jinja_same_key(x, y)) return 0;
        }
        return 1;
    }
    return a.type == b.type && a.type == PITH__T_NONE;
}

/* The number of the pair, or n. */
static size_t jinja_find_key(const pith__jdict *d, pith__jvalue key) {
    const pith__jstr *s = key.type == PITH__T_STR ? key.as.s : NULL;
    for (size_t i = 0; !d->slot && i < d->n; i++) {
        const pith__jvalue other = d->pair[2 * i];
        if (s && other.type == PITH__T_STR) { /* mostly names, whose hashes are known */
            const pith__jstr *t = other.as.s;
            if (s == t || (s->n == t->n && (s->hash == t->hash || !s->hash || !t->hash) && !memcmp(s->p, t->p, s->n)))
                return i;
        } else if (jinja_same_key(other, key)) {
            return i;
        }
    }
    if (!d->slot) return d->n;
    for (size_t at = jinja_hash_value(key) & (d->n_slot - 1);; at = (at + 1) & (d->n_slot - 1)) {
        if (!d->slot[at]) return d->n;
        if (jinja_same_key(d->pair[2 * (d->slot[at] - 1)], key)) return d->slot[at] - 1;
    }
}

static void jinja_add_slot(pith__jdict *d, size_t i) {
    size_t at = jinja_hash_value(d->pair[2 * i]) & (d->n_slot - 1);
    while (d->slot[at]) at = (at + 1) & (d->n_slot - 1);
    d->slot[at] = (uint32_t)i + 1;
}

static int jinja_dict_room(pith__jrun *r, pith__jdict *d) {
    if (d->n < d->cap) return 1;
    size_t cap = d->cap ? 2 * d->cap : 4;
    pith__jvalue *pair = pith__j_new(r, cap, 2 * sizeof *pair);
    if (!pair) return 0;
    if (d->n) memcpy(pair, d->pair, 2 * d->n * sizeof *pair);
    if (cap > 8) {
        uint32_t *slot = pith__j_new(r, 2 * cap, sizeof *slot);
        if (!slot) return 0;
        d->slot = slot;
        d->n_slot = 2 * cap;
    }
    d->pair = pair;
    d->cap = cap;
    for (size_t i = 0; d->slot && i < d->n; i++) jinja_add_slot(d, i);
    return 1;
}

PITH_SHARED const pith__jvalue *pith__j_get(const pith__jdict *d, pith__jvalue key) {
    size_t i = jinja_find_key(d, key);
    return i < d->n ? &d->pair[2 * i + 1] : NULL;
}

PITH_SHARED const pith__jvalue *pith__j_get_named(const pith__jdict *d, const pith__jstr *key) {
    return pith__j_get(d, jinja_value_of(key));
}

PITH_SHARED void pith__j_set(pith__jrun *r, pith__jdict *d, pith__jvalue key, pith__jvalue v) {
    if (r->code || !d) return;
    if (key.type == PITH__T_LIST || key.type == PITH__T_DICT) {
        pith__j_fail(r, "a %s cannot be the key of a dictionary", pith__j_type(key));
        return;
    }
    size_t i = jinja_find_key(d, key);
    if (i == d->n) {
        if (!jinja_dict_room(r, d)) return;
        d->pair[2 * i] = key;
        d->n++;
        if (d->slot) jinja_add_slot(d, i);
    }
    d->pair[2 * i + 1] = v;
}

PITH_SHARED void pith__j_set_named(pith__jrun *r, pith__jdict *d, const pith__jstr *key, pith__jvalue v) {
    pith__j_set(r, d, jinja_value_of(key), v);
}

/* ---- from JSON --------------------------------------------------------------------------------------- */

/* Templates write "<|" + role + "|>", so the names of roles that are known count as the template's own: they are
 * not what somebody may write into a text, and none of them ends a turn. */
static int jinja_known_role(pith__json j) {
    static const char *const role[] = { "user", "assistant", "system", "tool", "developer", "model", "ipython",
                                        "observation", "function", "tool_call", "tool_response", "environment" };
    for (size_t i = 0; i < sizeof role / sizeof *role; i++)
        if (pith__json_is(j, role[i])) return 1;
    return 0;
}

static pith__jvalue jinja_of_string(pith__jrun *r, pith__json j, uint8_t mark) {
    pith__str s = { "", 0 };
    size_t left = (size_t)(j.end - j.p);
    if (left > r->most) left = r->most; /* an escape may take a copy, which counts; a view does not */
    int code = pith__json_string(j, &r->arena, &s);
    if (code == PITH_EMEMORY) r->code = pith__fail(r->err, code, "%s: no memory", r->what);
    if (s.n && (s.p < j.p || s.p > j.end)) r->used += s.n < r->most - r->used ? s.n : r->most - r->used;
    return pith__j_text(r, s.p, s.n, mark);
}

static pith__jvalue jinja_of_number(pith__jrun *r, pith__json j, uint8_t mark) {
    pith__jvalue v = { .type = PITH__T_INT, .mark = mark };
    if (pith__json_int(j, &v.as.i)) return v;
    size_t n = 0;
    int fraction = 0;
    for (const char *p = j.p; p < j.end && (strchr("+-.eE", *p) || (*p >= '0' && *p <= '9')) && *p; p++, n++)
        if (strchr(".eE", *p)) fraction = 1;
    if (!fraction) { /* an integer that is too large to work with can still be written down */
        v = pith__j_text(r, j.p, n, mark);
        v.type = PITH__T_BIG;
    } else {
        v.type = PITH__T_FLOAT;
        if (!pith__json_float(j, &v.as.f)) v.as.f = *j.p == '-' ? -HUGE_VAL : HUGE_VAL;
    }
    v.mark = mark;
    return v;
}

PITH_SHARED pith__jvalue pith__j_of_json(pith__jrun *r, pith__json j, uint8_t mark) { /* no deeper than JSON may be */
    pith__jvalue v = { .type = PITH__T_NONE, .mark = mark };
    pith__json it = j, key, value;
    if (r->code) return v;
    switch (pith__json_type(j)) {
    case '"': return jinja_of_string(r, j, mark);
    case '0': return jinja_of_number(r, j, mark);
    case 't': case 'f':
        v = pith__j_bool(*j.p == 't');
        v.mark = mark;
        return v;
    case '[':
        v = pith__j_list(r, PITH__T_LIST, 0);
        while (!r->code && pith__json_next(&it, NULL, &value))
            pith__j_append(r, v.as.list, pith__j_of_json(r, value, mark));
        return v;
    case '{':
        v = pith__j_dict(r, PITH__T_DICT);
        while (!r->code && pith__json_next(&it, &key, &value)) {
            int own = pith__json_is(key, "role") && jinja_known_role(value);
            pith__jvalue k = jinja_of_string(r, key, mark), x = pith__j_of_json(r, value, own ? 0 : mark);
            pith__j_set(r, v.as.dict, k, x);
        }
        return v;
    default: return v;
    }
}

/* ---- what is true, equal, less ----------------------------------------------------------------------- */

PITH_SHARED const char *pith__j_type(pith__jvalue v) {
    switch (v.type) {
    case PITH__T_UNDEFINED: return "Undefined";
    case PITH__T_NONE: return "NoneType";
    case PITH__T_BOOL: return "bool";
    case PITH__T_INT: case PITH__T_BIG: return "int";
    case PITH__T_FLOAT: return "float";
    case PITH__T_STR: return "str";
    case PITH__T_LIST: return "list";
    case PITH__T_TUPLE: return "tuple";
    case PITH__T_RANGE: return "range";
    case PITH__T_VIEW: return v.what == 'k' ? "dict_keys" : v.what == 'v' ? "dict_values" : "dict_items";
    case PITH__T_ITER: return "generator";
    case PITH__T_DICT: return "dict";
    case PITH__T_SPACE: return "namespace";
    case PITH__T_LOOP: return "loop";
    case PITH__T_MACRO: return "macro";
    default: return "function";
    }
}

static int jinja_is_list(pith__jvalue v) { return v.type >= PITH__T_LIST && v.type <= PITH__T_ITER; }

PITH_SHARED int pith__j_true(pith__jvalue v) {
    switch (v.type) {
    case PITH__T_ABSENT: case PITH__T_UNDEFINED: case PITH__T_NONE: return 0;
    case PITH__T_BOOL: case PITH__T_INT: return v.as.i != 0;
    case PITH__T_FLOAT: return v.as.f != 0;
    case PITH__T_STR: return v.as.s->n > 0;
    case PITH__T_LIST: case PITH__T_TUPLE: case PITH__T_RANGE: case PITH__T_VIEW: return v.as.list->n > 0;
    case PITH__T_DICT: return v.as.dict->n > 0;
    default: return 1;
    }
}

static double jinja_big(const pith__jstr *s) {
    double f = 0;
    for (size_t i = 0; i < s->n; i++)
        if (s->p[i] != '-') f = 10 * f + (s->p[i] - '0');
    return s->n && *s->p == '-' ? -f : f;
}

PITH_SHARED int pith__j_number(pith__jvalue v, double *f) {
    if (v.type == PITH__T_BOOL || v.type == PITH__T_INT) *f = (double)v.as.i;
    else if (v.type == PITH__T_FLOAT) *f = v.as.f;
    else if (v.type == PITH__T_BIG) *f = jinja_big(v.as.s);
    else return 0;
    return 1;
}

static int jinja_is_int(pith__jvalue v) { return v.type == PITH__T_BOOL || v.type == PITH__T_INT; }

static int jinja_nested(pith__jrun *r) { /* the caller takes one off again */
    if (++r->depth > 200 && !r->code) pith__j_fail(r, "values lie too deep in each other");
    return r->code == 0;
}

static int jinja_equal_dicts(pith__jrun *r, const pith__jdict *a, const pith__jdict *b) {
    if (a->n != b->n) return 0;
    for (size_t i = 0; i < a->n; i++) {
        const pith__jvalue *v = pith__j_get(b, a->pair[2 * i]);
        if (!v || !pith__j_equal(r, a->pair[2 * i + 1], *v)) return 0;
    }
    return 1;
}

PITH_SHARED int pith__j_equal(pith__jrun *r, pith__jvalue a, pith__jvalue b) {
    double f, g;
    if (!pith__j_work(r, 1)) return 0;
    if (a.type == PITH__T_STR && b.type == PITH__T_STR)
        return pith__j_work(r, a.as.s->n / 64) && a.as.s->n == b.as.s->n && !memcmp(a.as.s->p, b.as.s->p, a.as.s->n);
    if (jinja_is_int(a) && jinja_is_int(b)) return a.as.i == b.as.i;
    if (a.type == PITH__T_BIG && b.type == PITH__T_BIG)
        return a.as.s->n == b.as.s->n && !memcmp(a.as.s->p, b.as.s->p, a.as.s->n);
    if (a.type != b.type) return pith__j_number(a, &f) && pith__j_number(b, &g) && f == g;
    if (pith__j_number(a, &f) && pith__j_number(b, &g)) return f == g;
    if (a.type == PITH__T_UNDEFINED || a.type == PITH__T_NONE) return 1;
    if (a.type != PITH__T_LIST && a.type != PITH__T_TUPLE && a.type != PITH__T_RANGE && a.type != PITH__T_DICT)
        return a.as.list == b.as.list; /* the same thing */
    int same = 1;
    if (jinja_nested(r) && a.type == PITH__T_DICT) {
        same = jinja_equal_dicts(r, a.as.dict, b.as.dict);
    } else if (!r->code) {
        same = a.as.list->n == b.as.list->n;
        for (size_t i = 0; same && i < a.as.list->n; i++) same = pith__j_equal(r, pith__j_nth(a, i), pith__j_nth(b, i));
    }
    r->depth--;
    return same;
}

static int jinja_compare_lists(pith__jrun *r, const pith__jlist *a, const pith__jlist *b) {
    int c = 0;
    if (jinja_nested(r))
        for (size_t i = 0; !c && !r->code; i++) {
            if (i >= a->n || i >= b->n) {
                c = (a->n > b->n) - (a->n < b->n);
                break;
            }
            if (!pith__j_equal(r, a->v[i], b->v[i])) c = pith__j_compare(r, a->v[i], b->v[i]);
        }
    r->depth--;
    return c;
}

PITH_SHARED int pith__j_compare(pith__jrun *r, pith__jvalue a, pith__jvalue b) {
    double f, g;
    if (!pith__j_work(r, 1)) return 0;
    if (a.type == PITH__T_STR && b.type == PITH__T_STR) {
        int c = pith__str_cmp((pith__str){ a.as.s->p, a.as.s->n }, (pith__str){ b.as.s->p, b.as.s->n });
        return (c > 0) - (c < 0); /* bytes of UTF-8 have the order of characters */
    }
    if (jinja_is_int(a) && jinja_is_int(b)) return (a.as.i > b.as.i) - (a.as.i < b.as.i);
    if (pith__j_number(a, &f) && pith__j_number(b, &g)) return f != f || g != g ? 2 : (f > g) - (f < g);
    if (a.type == b.type && (a.type == PITH__T_LIST || a.type == PITH__T_TUPLE))
        return jinja_compare_lists(r, a.as.list, b.as.list);
    if (pith__j_defined(r, a) && pith__j_defined(r, b))
        pith__j_fail(r, "a %s and a %s have no order", pith__j_type(a), pith__j_type(b));
    return 0;
}

PITH_SHARED int pith__j_contains(pith__jrun *r, pith__jvalue in, pith__jvalue v) {
    if (in.type == PITH__T_STR) {
        if (v.type == PITH__T_STR) return pith__j_find(r, in.as.s, 0, v.as.s) != SIZE_MAX;
        pith__j_fail(r, "'in' a string needs a string on its left, not a %s", pith__j_type(v));
        return 0;
    }
    if (in.type == PITH__T_DICT) {
        if (v.type == PITH__T_LIST || v.type == PITH__T_DICT)
            pith__j_fail(r, "a %s cannot be the key of a dictionary", pith__j_type(v));
        return pith__j_get(in.as.dict, v) != NULL;
    }
    if (in.type == PITH__T_UNDEFINED) return 0;
    if (!jinja_is_list(in)) {
        pith__j_fail(r, "nothing can be 'in' a %s", pith__j_type(in));
        return 0;
    }
    if (in.as.list->why) pith__j_items(r, in);
    size_t *at = &in.as.list->at, i = in.type == PITH__T_ITER ? *at : 0;
    int found = 0;
    for (; !found && !r->code && i < in.as.list->n; i++) found = pith__j_equal(r, pith__j_nth(in, i), v);
    if (in.type == PITH__T_ITER) *at = i;
    return found;
}

/* ---- walking and slicing ----------------------------------------------------------------------------- */

PITH_SHARED int pith__j_can_iterate(pith__jvalue v) {
    return v.type == PITH__T_STR || jinja_is_list(v) || v.type == PITH__T_DICT || v.type == PITH__T_UNDEFINED;
}

/* Each character of s as a string. */
static void jinja_characters(pith__jrun *r, const pith__jstr *s, pith__jlist *l) {
    size_t n = pith__j_length(s);
    pith__jstr *one = pith__j_new(r, n, sizeof *one);
    l->v = pith__j_new(r, n, sizeof *l->v);
    uint32_t c;
    for (size_t at = 0; !r->code && at < s->n; at += one++->n) {
        *one = (pith__jstr){ .p = s->p + at, .marks = s->marks ? s->marks + at : NULL, .mark = s->mark,
                             .safe = s->safe };
        one->n = pith__utf8_read((const uint8_t *)s->p + at, s->n - at, &c);
        l->v[l->n++] = jinja_value_of(one);
    }
}

PITH_SHARED pith__jlist *pith__j_items(pith__jrun *r, pith__jvalue v) {
    if (!pith__j_can_iterate(v)) {
        pith__j_fail(r, "a %s has no items to walk over", pith__j_type(v));
        return NULL;
    }
    if (v.type == PITH__T_LIST || v.type == PITH__T_TUPLE || v.type == PITH__T_VIEW) return r->code ? NULL : v.as.list;
    pith__jlist *l = pith__j_list(r, PITH__T_LIST, 0).as.list;
    if (!l || r->code || v.type == PITH__T_UNDEFINED) return r->code ? NULL : l;
    if (v.type == PITH__T_ITER) {
        if (v.as.list->why) r->code = pith__fail(r->err, PITH_EDATA, "%s", v.as.list->why);
        if (v.as.list->n) l->v = v.as.list->v + v.as.list->at;
        l->n = v.as.list->n - v.as.list->at;
        v.as.list->at = v.as.list->n;
    } else if (v.type == PITH__T_RANGE) {
        for (size_t i = 0; i < v.as.list->n && !r->code; i++) pith__j_append(r, l, pith__j_nth(v, i));
    } else if (v.type == PITH__T_DICT) {
        for (size_t i = 0; i < v.as.dict->n; i++) pith__j_append(r, l, v.as.dict->pair[2 * i]);
    } else {
        jinja_characters(r, v.as.s, l);
    }
    return r->code ? NULL : l;
}

PITH_SHARED int64_t pith__j_count(pith__jrun *r, pith__jvalue v) {
    switch (v.type) {
    case PITH__T_STR:
        pith__j_work(r, v.as.s->n / 64);
        return (int64_t)pith__j_length(v.as.s);
    case PITH__T_LIST: case PITH__T_TUPLE: case PITH__T_RANGE: case PITH__T_VIEW: return (int64_t)v.as.list->n;
    case PITH__T_DICT: return (int64_t)v.as.dict->n;
    case PITH__T_UNDEFINED: return 0;
    default:
        pith__j_fail(r, "a %s has no length%s", pith__j_type(v), v.type == PITH__T_ITER ? " (| list has one)" : "");
        return 0;
    }
}

/* As slice.indices() of Python: which items of n, *from on, in steps; returns how many. */
static size_t jinja_slice_count(pith__jrun *r, int64_t n, const pith__jvalue part[3], int64_t *from, int64_t *step) {
    int64_t end[2];
    for (int i = 0; i < 3; i++)
        if (part[i].type != PITH__T_NONE && !jinja_is_int(part[i])) {
            pith__j_fail(r, "a slice from %s, need integers", pith__j_type(part[i]));
            return 0;
        }
    *step = part[2].type == PITH__T_NONE ? 1 : part[2].as.i;
    if (!*step) pith__j_fail(r, "a slice with a step of 0");
    if (r->code) return 0;
    if (*step < -INT64_MAX) *step = -INT64_MAX;
    int64_t low = *step < 0 ? -1 : 0, high = *step < 0 ? n - 1 : n;
    for (int i = 0; i < 2; i++) {
        end[i] = (*step < 0) == (i == 0) ? high : low; /* where it begins or ends when that is not said */
        if (part[i].type == PITH__T_NONE) continue;
        end[i] = part[i].as.i;
        if (end[i] < 0) end[i] = end[i] < -n ? low : end[i] + n;
        if (end[i] < low) end[i] = low;
        if (end[i] > high) end[i] = high;
    }
    *from = end[0];
    int64_t way = *step < 0 ? end[0] - end[1] : end[1] - end[0], stride = *step < 0 ? -*step : *step;
    return way > 0 ? (size_t)((way - 1) / stride + 1) : 0;
}

static pith__jvalue jinja_slice_text(pith__jrun *r, const pith__jstr *s, const pith__jvalue part[3]) {
    int64_t from, step;
    pith__j_work(r, s->n / 64);
    size_t length = pith__j_length(s), n = jinja_slice_count(r, (int64_t)length, part, &from, &step);
    if (r->code) return (pith__jvalue){ 0 };
    if (!n) return pith__j_part(r, s, 0, 0);
    if (step == 1) {
        size_t begin = length == s->n ? (size_t)from : pith__j_offset(s, (size_t)from);
        const pith__jstr rest = { .p = s->p + begin, .n = s->n - begin };
        return pith__j_part(r, s, begin, length == s->n ? n : pith__j_offset(&rest, n));
    }
    const pith__jlist *l = pith__j_items(r, jinja_value_of(s));
    pith__jbuffer *b = pith__j_buffer(r);
    for (size_t i = 0; i < n && !r->code; i++, from += step)
        pith__j_put_part(r, b, l->v[from].as.s, 0, l->v[from].as.s->n);
    return pith__j_done(r, b);
}

PITH_SHARED pith__jvalue pith__j_slice(pith__jrun *r, pith__jvalue v, const pith__jvalue part[3]) {
    int64_t from, step;
    if (v.type == PITH__T_STR) return jinja_slice_text(r, v.as.s, part);
    if (v.type != PITH__T_LIST && v.type != PITH__T_TUPLE && v.type != PITH__T_RANGE) {
        if (pith__j_defined(r, v)) pith__j_fail(r, "a %s cannot be sliced", pith__j_type(v));
        return v;
    }
    size_t n = jinja_slice_count(r, (int64_t)v.as.list->n, part, &from, &step);
    pith__jvalue to = pith__j_list(r, v.type, v.type == PITH__T_RANGE ? 0 : n);
    if (!r->code && v.type == PITH__T_RANGE) {
        to.as.list->n = n;
        to.as.list->from = v.as.list->from + from * v.as.list->step;
        to.as.list->step = v.as.list->step * step;
        return to;
    }
    for (size_t i = 0; i < n && !r->code; i++, from += step) pith__j_append(r, to.as.list, v.as.list->v[from]);
    return to;
}
