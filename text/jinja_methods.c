/* jinja_methods.c - v.name, v[key], and the methods of strings, lists and dictionaries, as Python's but for those that
 * change what they belong to: a template cannot. */
#include "jinja.h"

#include <string.h>

/* ---- calling ----------------------------------------------------------------------------------------- */

/* A parameter whose name begins with '_' is given by position only, as many of Python's are. */

/* Parameter i of "width first blank"; no bytes: there are no more. */
static pith__str jinja_param(const char *params, int i) {
    for (; i > 0 && *params; i--) {
        params += strcspn(params, " ");
        params += strspn(params, " ");
    }
    return (pith__str){ params, strcspn(params, " ") };
}

PITH_SHARED pith__jvalue pith__j_apply(pith__jrun *r, const pith__jbuiltin *f, pith__jvalue self,
                                       const pith__jargs *args) {
    enum { MOST = 8 };
    pith__jvalue a[MOST] = { { 0 } };
    int n = 0;
    if (r->code) return a[0];
    if (*f->params == '*') return f->call(r, self, a, args);
    while (n < MOST && jinja_param(f->params, n).n) n++;
    if (args->n > n) return pith__j_fail(r, "%s takes at most %d arguments, not %d", f->name, n, args->n);
    for (int i = 0; i < args->n; i++) a[i] = args->v[i];
    for (int k = 0; k < args->n_named; k++) {
        const pith__jstr *name = args->name[k];
        int i = 0;
        while (i < n && pith__str_cmp(jinja_param(f->params, i), (pith__str){ name->p, name->n }) != 0) i++;
        if (i == n || a[i].type || *name->p == '_') /* or given twice */
            return pith__j_fail(r, "%s takes no argument '%.*s' here", f->name, pith__j_shown(name),
                                name->p);
        a[i] = args->named[k];
    }
    for (int i = 0; i < f->need; i++)
        if (!a[i].type) return pith__j_fail(r, "%s needs %d argument%s", f->name, f->need, f->need == 1 ? "" : "s");
    return f->call(r, self, a, args);
}

PITH_SHARED const pith__jbuiltin *pith__j_named(const pith__jbuiltin *table, size_t n, const pith__jstr *name) {
    for (size_t i = 0; i < n; i++)
        if (name->n && table[i].name[0] == name->p[0] && pith__str_is((pith__str){ name->p, name->n }, table[i].name))
            return &table[i];
    return NULL;
}

/* A string that an argument must be, or else a failure. */
static const pith__jstr *jinja_need_text(pith__jrun *r, pith__jvalue v, const char *of) {
    if (v.type == PITH__T_STR) return v.as.s;
    if (pith__j_defined(r, v)) pith__j_fail(r, "%s needs a string, not a %s", of, pith__j_type(v));
    return NULL;
}

static int64_t jinja_int_or(pith__jrun *r, pith__jvalue v, int64_t otherwise) {
    if (v.type == PITH__T_ABSENT || v.type == PITH__T_NONE) return otherwise;
    if (v.type == PITH__T_INT || v.type == PITH__T_BOOL) return v.as.i;
    if (pith__j_defined(r, v)) pith__j_fail(r, "needs an integer, not a %s", pith__j_type(v));
    return otherwise;
}

/* ---- strings: case ------------------------------------------------------------------------------------- */

static int jinja_cased(uint32_t c) { return (pith__unicode_class(c) & (PITH__UPPER | PITH__LOWER)) != 0; }

/* Greek has another small sigma at the end of a word. */
static int jinja_last_sigma(const pith__jstr *s, size_t i, int after_letter) {
    uint32_t c;
    if (!after_letter || i + 2 >= s->n) return after_letter;
    pith__utf8_read((const uint8_t *)s->p + i + 2, s->n - i - 2, &c);
    return !jinja_cased(c);
}

PITH_SHARED pith__jvalue pith__j_case(pith__jrun *r, pith__jvalue v, char how) {
    const pith__jstr *s = v.as.s;
    pith__jbuffer *b = r->code ? NULL : pith__j_buffer(r);
    int inside = 0, cased = 0; /* of a word: behind its first character; behind a letter that has case */
    uint32_t c, to[3];
    pith__j_work(r, b ? s->n / 8 : 0);
    for (size_t i = 0, n; b && i < s->n && !r->code; i += n) {
        char text[12];
        size_t bytes = 0;
        n = pith__utf8_read((const uint8_t *)s->p + i, s->n - i, &c);
        char act = how == 't' ? cased ? 'l' : 't' : how;
        if (how == 'c' || how == 'f') act = inside ? 'l' : how == 'c' ? 't' : 'u';
        if (how == 's') act = pith__unicode_class(c) & PITH__UPPER ? 'l' : 'u';
        size_t count = pith__unicode_case(c, act, to);
        if (act == 'l' && c == 0x3a3 && jinja_last_sigma(s, i, cased)) *to = 0x3c2;
        for (size_t k = 0; k < count; k++) bytes += pith__utf8_write(to[k], text + bytes);
        if (count == 1 && *to == c) pith__j_put_part(r, b, s, i, n);
        else pith__j_put(r, b, text, bytes, pith__j_mark(s, i));
        cased = jinja_cased(c);
        inside = how != 'f' || !(pith__j_space(c) || (c < 128 && c && strchr("-({[<", (int)c)));
    }
    v = pith__j_done(r, b);
    return !r->code && s->safe ? pith__j_safe(r, v) : v;
}

PITH__T_BUILTIN(jinja_upper) { PITH__T_UNUSED; return pith__j_case(r, v, 'u'); }
PITH__T_BUILTIN(jinja_lower) { PITH__T_UNUSED; return pith__j_case(r, v, 'l'); }
PITH__T_BUILTIN(jinja_capitalize) { PITH__T_UNUSED; return pith__j_case(r, v, 'c'); }
PITH__T_BUILTIN(jinja_title) { PITH__T_UNUSED; return pith__j_case(r, v, 't'); }
PITH__T_BUILTIN(jinja_swapcase) { PITH__T_UNUSED; return pith__j_case(r, v, 's'); }

/* ---- strings: ends and parts ----------------------------------------------------------------------- */

static int jinja_in_set(const pith__jstr *set, const char *p, size_t n, uint32_t c) {
    if (!set) return pith__j_space(c);
    uint32_t x;
    for (size_t i = 0, k; i < set->n; i += k) {
        k = pith__utf8_read((const uint8_t *)set->p + i, set->n - i, &x);
        if (k == n && !memcmp(set->p + i, p, n)) return 1;
    }
    return 0;
}

PITH_SHARED pith__jvalue pith__j_strip(pith__jrun *r, pith__jvalue v, pith__jvalue set, int left, int right) {
    const pith__jstr *s = v.as.s, *of = set.type > PITH__T_NONE ? jinja_need_text(r, set, "strip") : NULL;
    if (r->code) return v;
    size_t from = 0, end = s->n, n;
    uint32_t c;
    for (; left && from < end; from += n) {
        n = pith__utf8_read((const uint8_t *)s->p + from, end - from, &c);
        if (!jinja_in_set(of, s->p + from, n, c)) break;
    }
    for (; right && end > from; end -= n) {
        n = 1;
        while (n < 4 && n < end - from && ((unsigned char)s->p[end - n] & 0xc0) == 0x80) n++;
        if (pith__utf8_read((const uint8_t *)s->p + end - n, n, &c) != n) /* no UTF-8: a byte is a character */
            n = pith__utf8_read((const uint8_t *)s->p + end - 1, 1, &c);
        if (!jinja_in_set(of, s->p + end - n, n, c)) break;
    }
    pith__j_work(r, (s->n - (end - from)) / 8);
    return pith__j_part(r, s, from, end - from);
}

PITH__T_BUILTIN(jinja_strip) { PITH__T_UNUSED; return pith__j_strip(r, v, *a, 1, 1); }
PITH__T_BUILTIN(jinja_lstrip) { PITH__T_UNUSED; return pith__j_strip(r, v, *a, 1, 0); }
PITH__T_BUILTIN(jinja_rstrip) { PITH__T_UNUSED; return pith__j_strip(r, v, *a, 0, 1); }

/* The part from a[1] to a[2], in bytes from the beginning of s. */
static const pith__jstr *jinja_within(pith__jrun *r, const pith__jstr *s, const pith__jvalue *a, size_t *from) {
    pith__jvalue part[3] = { pith__j_none(), pith__j_none(), pith__j_none() };
    if (a[1].type) part[0] = a[1];
    if (a[2].type) part[1] = a[2];
    *from = 0;
    if (!a[1].type && !a[2].type) return s;
    pith__jvalue v = pith__j_slice(r, (pith__jvalue){ .type = PITH__T_STR, .as.s = s }, part);
    if (r->code) return NULL;
    *from = v.as.s->n ? (size_t)(v.as.s->p - s->p) : 0;
    return v.as.s;
}

static int jinja_at_end(const pith__jstr *s, const pith__jstr *part, int end) {
    return part->n <= s->n && !memcmp(s->p + (end ? s->n - part->n : 0), part->p, part->n);
}

static pith__jvalue jinja_is_at(pith__jrun *r, pith__jvalue v, const pith__jvalue *a, int end) {
    size_t from;
    int found = 0;
    const pith__jstr *s = jinja_within(r, v.as.s, a, &from);
    const pith__jlist one = { .v = (pith__jvalue *)(uintptr_t)a, .n = 1 };
    const pith__jlist *l = a->type == PITH__T_TUPLE ? a->as.list : &one;
    for (size_t i = 0; i < l->n && !r->code; i++) {
        const pith__jstr *part = jinja_need_text(r, l->v[i], end ? "endswith" : "startswith");
        if (part) found |= jinja_at_end(s, part, end);
    }
    return pith__j_bool(found);
}

PITH__T_BUILTIN(jinja_startswith) { PITH__T_UNUSED; return jinja_is_at(r, v, a, 0); }
PITH__T_BUILTIN(jinja_endswith) { PITH__T_UNUSED; return jinja_is_at(r, v, a, 1); }

static size_t jinja_find_last(pith__jrun *r, const pith__jstr *s, const pith__jstr *part) {
    if (part->n > s->n) return SIZE_MAX;
    for (size_t at = s->n - part->n + 1; at-- > 0 && pith__j_work(r, part->n / 64 + 1);)
        if (!memcmp(s->p + at, part->p, part->n)) return at;
    return SIZE_MAX;
}

static pith__jvalue jinja_find_any(pith__jrun *r, pith__jvalue v, const pith__jvalue *a, int last, int must) {
    size_t from;
    const pith__jstr *s = jinja_within(r, v.as.s, a, &from), *part = jinja_need_text(r, *a, "find");
    if (r->code) return v;
    size_t at = last ? jinja_find_last(r, s, part) : pith__j_find(r, s, 0, part);
    if (at == SIZE_MAX && must) return pith__j_fail(r, "the substring was not found");
    if (at == SIZE_MAX || r->code) return pith__j_int(-1);
    const pith__jstr before = { .p = v.as.s->p, .n = from + at };
    return pith__j_int((int64_t)pith__j_length(&before));
}

PITH__T_BUILTIN(jinja_find) { PITH__T_UNUSED; return jinja_find_any(r, v, a, 0, 0); }
PITH__T_BUILTIN(jinja_rfind) { PITH__T_UNUSED; return jinja_find_any(r, v, a, 1, 0); }
PITH__T_BUILTIN(jinja_index) { PITH__T_UNUSED; return jinja_find_any(r, v, a, 0, 1); }
PITH__T_BUILTIN(jinja_rindex) { PITH__T_UNUSED; return jinja_find_any(r, v, a, 1, 1); }

PITH__T_BUILTIN(jinja_count) {
    size_t from, n = 0, at = 0;
    const pith__jstr *s = jinja_within(r, v.as.s, a, &from), *part = jinja_need_text(r, *a, "count");
    (void)all;
    if (r->code) return v;
    if (!part->n) return pith__j_int((int64_t)pith__j_length(s) + 1);
    for (; (at = pith__j_find(r, s, at, part)) != SIZE_MAX; at += part->n) n++;
    return pith__j_int((int64_t)n);
}

static pith__jvalue jinja_remove(pith__jrun *r, pith__jvalue v, const pith__jvalue *a, int end) {
    const pith__jstr *part = jinja_need_text(r, *a, "removeprefix");
    if (r->code || !jinja_at_end(v.as.s, part, end)) return v;
    return pith__j_part(r, v.as.s, end ? 0 : part->n, v.as.s->n - part->n);
}

PITH__T_BUILTIN(jinja_removeprefix) { PITH__T_UNUSED; return jinja_remove(r, v, a, 0); }
PITH__T_BUILTIN(jinja_removesuffix) { PITH__T_UNUSED; return jinja_remove(r, v, a, 1); }

static pith__jvalue jinja_partition_at(pith__jrun *r, pith__jvalue v, const pith__jvalue *a, int last) {
    const pith__jstr *s = v.as.s, *part = jinja_need_text(r, *a, "partition");
    if (part && !part->n) return pith__j_fail(r, "partition by an empty string");
    size_t at = r->code ? 0 : last ? jinja_find_last(r, s, part) : pith__j_find(r, s, 0, part);
    pith__jvalue t = pith__j_list(r, PITH__T_TUPLE, 3);
    if (r->code) return v;
    int none = at == SIZE_MAX;
    size_t before = none ? last ? 0 : s->n : at, width = none ? 0 : part->n, after = none && last ? 0 : before + width;
    pith__j_append(r, t.as.list, pith__j_part(r, s, 0, before));
    pith__j_append(r, t.as.list, pith__j_part(r, s, before, width));
    pith__j_append(r, t.as.list, pith__j_part(r, s, after, s->n - after));
    return t;
}

PITH__T_BUILTIN(jinja_partition) { PITH__T_UNUSED; return jinja_partition_at(r, v, a, 0); }
PITH__T_BUILTIN(jinja_rpartition) { PITH__T_UNUSED; return jinja_partition_at(r, v, a, 1); }

/* ---- strings: split, join, replace ----------------------------------------------------------------- */

static size_t jinja_white(const pith__jstr *s, size_t at, int white) { /* bytes of (no) white space from at on */
    size_t i = at, n;
    uint32_t c;
    for (; i < s->n; i += n) {
        n = pith__utf8_read((const uint8_t *)s->p + i, s->n - i, &c);
        if (pith__j_space(c) != white) break;
    }
    return i - at;
}

static pith__jvalue jinja_split_white(pith__jrun *r, const pith__jstr *s, int64_t most) {
    pith__jvalue l = pith__j_list(r, PITH__T_LIST, 0);
    for (size_t at = jinja_white(s, 0, 1), n; at < s->n && !r->code; most--) {
        n = most ? jinja_white(s, at, 0) : s->n - at;
        pith__j_append(r, l.as.list, pith__j_part(r, s, at, n));
        at += n + jinja_white(s, at + n, 1);
    }
    return l;
}

/* The words of rsplit() with a limit: s.split() from behind. */
static pith__jvalue jinja_rsplit_white(pith__jrun *r, const pith__jstr *s, int64_t most) {
    pith__jvalue all = jinja_split_white(r, s, -1), l = pith__j_list(r, PITH__T_LIST, 0);
    if (r->code || most < 0 || (uint64_t)most >= all.as.list->n) return all;
    size_t first = all.as.list->n - (size_t)most;
    pith__jvalue last = all.as.list->v[first - 1];
    pith__jvalue rest = pith__j_part(r, s, 0, (size_t)(last.as.s->p - s->p) + last.as.s->n);
    if (r->code) return l;
    pith__j_append(r, l.as.list, rest);
    for (size_t i = first; i < all.as.list->n; i++) pith__j_append(r, l.as.list, all.as.list->v[i]);
    return l;
}

static pith__jvalue jinja_split_at(pith__jrun *r, const pith__jstr *s, const pith__jstr *by, int64_t most) {
    pith__jvalue l = pith__j_list(r, PITH__T_LIST, 0);
    size_t from = 0, at;
    if (!by->n) return pith__j_fail(r, "split by an empty string");
    for (; most && (at = pith__j_find(r, s, from, by)) != SIZE_MAX && !r->code; from = at + by->n, most--)
        pith__j_append(r, l.as.list, pith__j_part(r, s, from, at - from));
    pith__j_append(r, l.as.list, pith__j_part(r, s, from, s->n - from));
    return l;
}

PITH__T_BUILTIN(jinja_split) {
    int64_t most = jinja_int_or(r, a[1], -1);
    (void)all;
    if (a->type == PITH__T_ABSENT || a->type == PITH__T_NONE) return jinja_split_white(r, v.as.s, most);
    const pith__jstr *by = jinja_need_text(r, *a, "split");
    return by ? jinja_split_at(r, v.as.s, by, most) : v;
}

PITH__T_BUILTIN(jinja_rsplit) {
    int64_t most = jinja_int_or(r, a[1], -1);
    const pith__jstr *s = v.as.s;
    (void)all;
    if (a->type == PITH__T_ABSENT || a->type == PITH__T_NONE) return jinja_rsplit_white(r, s, most);
    const pith__jstr *by = jinja_need_text(r, *a, "rsplit");
    if (!by || most < 0) return by ? jinja_split_at(r, s, by, -1) : v;
    if (!by->n) return pith__j_fail(r, "split by an empty string");
    pith__jvalue back = pith__j_list(r, PITH__T_LIST, 0), l = pith__j_list(r, PITH__T_LIST, 0);
    for (size_t at; most > 0 && !r->code && (at = jinja_find_last(r, s, by)) != SIZE_MAX; most--) {
        pith__j_append(r, back.as.list, pith__j_part(r, s, at + by->n, s->n - at - by->n));
        pith__jvalue rest = pith__j_part(r, s, 0, at);
        if (!r->code) s = rest.as.s;
    }
    pith__j_append(r, l.as.list, pith__j_part(r, s, 0, s->n));
    for (size_t i = r->code ? 0 : back.as.list->n; i > 0; i--) pith__j_append(r, l.as.list, back.as.list->v[i - 1]);
    return l;
}

static int jinja_is_line_end(uint32_t c) {
    return (c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

PITH_SHARED pith__jvalue pith__j_lines(pith__jrun *r, pith__jvalue v, int keep_ends) {
    pith__jvalue l = pith__j_list(r, PITH__T_LIST, 0);
    const pith__jstr *s = v.as.s;
    uint32_t c;
    size_t from = 0;
    for (size_t i = 0, n; i < s->n && !r->code; i += n) {
        n = pith__utf8_read((const uint8_t *)s->p + i, s->n - i, &c);
        if (!jinja_is_line_end(c)) continue;
        if (c == '\r' && i + 1 < s->n && s->p[i + 1] == '\n') n = 2;
        pith__j_append(r, l.as.list, pith__j_part(r, s, from, i - from + (keep_ends ? n : 0)));
        from = i + n;
    }
    if (from < s->n) pith__j_append(r, l.as.list, pith__j_part(r, s, from, s->n - from));
    return l;
}

PITH__T_BUILTIN(jinja_splitlines) {
    (void)all;
    return pith__j_lines(r, v, pith__j_true(*a));
}

PITH__T_BUILTIN(jinja_join) {
    const pith__jlist *l = pith__j_items(r, *a);
    pith__jbuffer *b = pith__j_buffer(r);
    (void)all;
    for (size_t i = 0; l && i < l->n && !r->code; i++) {
        if (i) pith__j_put_value(r, b, v);
        if (jinja_need_text(r, l->v[i], "join"))
            pith__j_put_value(r, b, v.as.s->safe ? pith__j_escape(r, l->v[i]) : l->v[i]);
    }
    pith__jvalue all_of = pith__j_done(r, b);
    return !r->code && v.as.s->safe ? pith__j_safe(r, all_of) : all_of;
}

PITH_SHARED pith__jvalue pith__j_replace(pith__jrun *r, pith__jvalue v, const pith__jvalue a[3]) {
    const pith__jstr *s = v.as.s, *old = jinja_need_text(r, a[0], "replace"), *by = jinja_need_text(r, a[1], "replace");
    int64_t most = jinja_int_or(r, a[2], -1);
    pith__jbuffer *b = pith__j_buffer(r);
    if (r->code) return v;
    if (s->safe) by = pith__j_escape(r, a[1]).as.s;
    size_t from = 0, at = 0;
    uint32_t c;
    for (; most && !r->code && (at = pith__j_find(r, s, at, old)) != SIZE_MAX; most--) {
        pith__j_put_part(r, b, s, from, at - from);
        pith__j_put_part(r, b, by, 0, by->n);
        from = at += old->n;
        if (old->n) continue;
        if (at == s->n) break; /* an empty string is before each character, and at the end */
        at += pith__utf8_read((const uint8_t *)s->p + at, s->n - at, &c);
    }
    pith__j_put_part(r, b, s, from, s->n - from);
    v = pith__j_done(r, b);
    return !r->code && s->safe ? pith__j_safe(r, v) : v;
}

PITH__T_BUILTIN(jinja_replace) {
    (void)all;
    return pith__j_replace(r, v, a);
}

/* ---- strings: width and kind ----------------------------------------------------------------------- */

PITH_SHARED pith__jvalue pith__j_pad(pith__jrun *r, pith__jvalue v, int64_t width, char side, pith__jvalue fill) {
    int64_t n = (int64_t)pith__j_length(v.as.s), pad = width > n ? width - n : 0;
    int64_t left = side == '>' ? pad : side == '^' ? pad / 2 + (pad & width & 1) : 0; /* as CPython centers */
    pith__jbuffer *b = pith__j_buffer(r);
    if (fill.type != PITH__T_STR) fill = pith__j_text(r, " ", 1, 0);
    if (!r->code && pith__j_length(fill.as.s) != 1)
        return pith__j_fail(r, "fills with one character, not %zu", pith__j_length(fill.as.s));
    for (int64_t i = 0; i < left && !r->code && pith__j_work(r, 1); i++) pith__j_put_value(r, b, fill);
    pith__j_put_value(r, b, v);
    for (int64_t i = left; i < pad && !r->code && pith__j_work(r, 1); i++) pith__j_put_value(r, b, fill);
    return pith__j_done(r, b);
}

PITH__T_BUILTIN(jinja_ljust) { PITH__T_UNUSED; return pith__j_pad(r, v, jinja_int_or(r, a[0], 0), '<', a[1]); }
PITH__T_BUILTIN(jinja_rjust) { PITH__T_UNUSED; return pith__j_pad(r, v, jinja_int_or(r, a[0], 0), '>', a[1]); }
PITH__T_BUILTIN(jinja_center) { PITH__T_UNUSED; return pith__j_pad(r, v, jinja_int_or(r, a[0], 0), '^', a[1]); }

PITH__T_BUILTIN(jinja_zfill) {
    const pith__jstr *s = v.as.s;
    size_t sign = s->n && (*s->p == '+' || *s->p == '-');
    (void)all;
    pith__jvalue rest = pith__j_part(r, s, sign, s->n - sign);
    if (r->code) return v;
    rest = pith__j_pad(r, rest, jinja_int_or(r, *a, 0) - (int64_t)sign, '>', pith__j_text(r, "0", 1, 0));
    return r->code ? v : pith__j_concat(r, pith__j_part(r, s, 0, sign), rest);
}

/* 1: all characters of s, and there are some, are of these classes. */
static pith__jvalue jinja_all_of(pith__jvalue v, int classes) {
    const pith__jstr *s = v.as.s;
    uint32_t c;
    for (size_t i = 0; i < s->n;) {
        i += pith__utf8_read((const uint8_t *)s->p + i, s->n - i, &c);
        if (classes == PITH__SPACE ? !pith__j_space(c) : !(pith__unicode_class(c) & classes)) return pith__j_bool(0);
    }
    return pith__j_bool(s->n > 0);
}

static pith__jvalue jinja_has_case(pith__jvalue v, int want) {
    const pith__jstr *s = v.as.s;
    int seen = 0;
    uint32_t c;
    for (size_t i = 0; i < s->n;) {
        i += pith__utf8_read((const uint8_t *)s->p + i, s->n - i, &c);
        seen |= pith__unicode_class(c) & (PITH__UPPER | PITH__LOWER);
    }
    return pith__j_bool(seen == want);
}

enum { JINJA_ALPHA = PITH__UPPER | PITH__LOWER | PITH__LETTER };
PITH__T_BUILTIN(jinja_isalpha) { PITH__T_UNUSED; return jinja_all_of(v, JINJA_ALPHA); }
PITH__T_BUILTIN(jinja_isalnum) { PITH__T_UNUSED; return jinja_all_of(v, JINJA_ALPHA | PITH__NUMBER); }
PITH__T_BUILTIN(jinja_isdigit) { PITH__T_UNUSED; return jinja_all_of(v, PITH__NUMBER); }
PITH__T_BUILTIN(jinja_isspace) { PITH__T_UNUSED; return jinja_all_of(v, PITH__SPACE); }
PITH__T_BUILTIN(jinja_isupper) { PITH__T_UNUSED; return jinja_has_case(v, PITH__UPPER); }
PITH__T_BUILTIN(jinja_islower) { PITH__T_UNUSED; return jinja_has_case(v, PITH__LOWER); }

PITH__T_BUILTIN(jinja_isascii) {
    size_t i = 0;
    (void)r, (void)a, (void)all;
    while (i < v.as.s->n && (unsigned char)v.as.s->p[i] < 128) i++;
    return pith__j_bool(i == v.as.s->n);
}

static const pith__jbuiltin jinja_string_method[] = {
    { "capitalize", "", 0, jinja_capitalize }, { "center", "_width _fillchar", 1, jinja_center },
    { "count", "_sub _start _end", 1, jinja_count }, { "endswith", "_suffix _start _end", 1, jinja_endswith },
    { "find", "_sub _start _end", 1, jinja_find }, { "format", "*", 0, pith__j_format },
    { "index", "_sub _start _end", 1, jinja_index }, { "isalnum", "", 0, jinja_isalnum },
    { "isalpha", "", 0, jinja_isalpha }, { "isascii", "", 0, jinja_isascii }, { "isdecimal", "", 0, jinja_isdigit },
    { "isdigit", "", 0, jinja_isdigit }, { "islower", "", 0, jinja_islower }, { "isnumeric", "", 0, jinja_isdigit },
    { "isspace", "", 0, jinja_isspace }, { "isupper", "", 0, jinja_isupper }, { "join", "_iterable", 1, jinja_join },
    { "ljust", "_width _fillchar", 1, jinja_ljust }, { "lower", "", 0, jinja_lower },
    { "lstrip", "_chars", 0, jinja_lstrip },
    { "partition", "_sep", 1, jinja_partition }, { "removeprefix", "_prefix", 1, jinja_removeprefix },
    { "removesuffix", "_suffix", 1, jinja_removesuffix }, { "replace", "_old _new _count", 2, jinja_replace },
    { "rfind", "_sub _start _end", 1, jinja_rfind }, { "rindex", "_sub _start _end", 1, jinja_rindex },
    { "rjust", "_width _fillchar", 1, jinja_rjust }, { "rpartition", "_sep", 1, jinja_rpartition },
    { "rsplit", "sep maxsplit", 0, jinja_rsplit }, { "rstrip", "_chars", 0, jinja_rstrip },
    { "split", "sep maxsplit", 0, jinja_split }, { "splitlines", "keepends", 0, jinja_splitlines },
    { "startswith", "_prefix _start _end", 1, jinja_startswith }, { "strip", "_chars", 0, jinja_strip },
    { "swapcase", "", 0, jinja_swapcase }, { "title", "", 0, jinja_title }, { "upper", "", 0, jinja_upper },
    { "zfill", "_width", 1, jinja_zfill },
};

/* ---- lists and dictionaries ------------------------------------------------------------------------ */

PITH__T_BUILTIN(jinja_list_index) {
    (void)all;
    for (size_t i = 0; i < v.as.list->n && !r->code; i++)
        if (pith__j_equal(r, pith__j_nth(v, i), *a)) return pith__j_int((int64_t)i);
    return pith__j_fail(r, "what index() looks for is not in the list");
}

PITH__T_BUILTIN(jinja_list_count) {
    int64_t n = 0;
    (void)all;
    for (size_t i = 0; i < v.as.list->n && !r->code; i++) n += pith__j_equal(r, pith__j_nth(v, i), *a);
    return pith__j_int(n);
}

PITH__T_BUILTIN(jinja_copy) {
    (void)r, (void)a, (void)all;
    return v; /* nothing changes it */
}

PITH__T_BUILTIN(jinja_dict_get) {
    (void)all;
    if (a->type == PITH__T_LIST || a->type == PITH__T_DICT)
        return pith__j_fail(r, "a %s cannot be the key of a dictionary", pith__j_type(*a));
    const pith__jvalue *found = pith__j_get(v.as.dict, *a);
    return found ? *found : a[1].type ? a[1] : pith__j_none();
}

static pith__jvalue jinja_dict_view(pith__jrun *r, const pith__jdict *d, char what) {
    pith__jvalue l = pith__j_list(r, PITH__T_VIEW, d->n);
    l.what = (uint16_t)what;
    for (size_t i = 0; i < d->n && !r->code; i++)
        pith__j_append(r, l.as.list,
                       what == 'i' ? pith__j_pair(r, d->pair[2 * i], d->pair[2 * i + 1])
                                   : d->pair[2 * i + (what == 'v')]);
    return l;
}

PITH__T_BUILTIN(jinja_dict_items) { PITH__T_UNUSED; return jinja_dict_view(r, v.as.dict, 'i'); }
PITH__T_BUILTIN(jinja_dict_keys) { PITH__T_UNUSED; return jinja_dict_view(r, v.as.dict, 'k'); }
PITH__T_BUILTIN(jinja_dict_values) { PITH__T_UNUSED; return jinja_dict_view(r, v.as.dict, 'v'); }

static const pith__jbuiltin jinja_list_method[] = {
    { "count", "_value", 1, jinja_list_count }, { "index", "_value", 1, jinja_list_index },
    { "copy", "", 0, jinja_copy },
};

static const pith__jbuiltin jinja_dict_method[] = {
    { "get", "_key _default", 1, jinja_dict_get }, { "items", "", 0, jinja_dict_items },
    { "keys", "", 0, jinja_dict_keys },
    { "values", "", 0, jinja_dict_values }, { "copy", "", 0, jinja_copy },
};

/* ---- v.name and v[key] ----------------------------------------------------------------------------- */

#define JINJA_LOOK_UP(table, name) pith__j_named(table, sizeof table / sizeof *table, name)

PITH_SHARED const pith__jbuiltin *pith__j_method(pith__jvalue v, const pith__jstr *name) {
    switch (v.type) {
    case PITH__T_STR: return JINJA_LOOK_UP(jinja_string_method, name);
    case PITH__T_DICT: return JINJA_LOOK_UP(jinja_dict_method, name);
    case PITH__T_LIST: return JINJA_LOOK_UP(jinja_list_method, name);
    case PITH__T_TUPLE: case PITH__T_RANGE:
        return pith__str_is((pith__str){ name->p, name->n }, "copy") ? NULL : JINJA_LOOK_UP(jinja_list_method, name);
    default: return NULL;
    }
}

/* What Python has and the sandbox of transformers does not let through. */
static int jinja_forbidden(pith__jvalue v, const pith__jstr *name) {
    static const char *const of_list[] = { "append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove",
                                           NULL };
    static const char *const of_dict[] = { "clear", "pop", "popitem", "setdefault", "update", NULL };
    const char *const *p = v.type == PITH__T_LIST ? of_list : v.type == PITH__T_DICT ? of_dict : of_list + 8;
    while (*p && !pith__str_is((pith__str){ name->p, name->n }, *p)) p++;
    return *p != NULL;
}

PITH_SHARED int pith__j_is_plain(const pith__jstr *name) {
    static const uint8_t types[] = { PITH__T_STR, PITH__T_DICT, PITH__T_LIST, PITH__T_TUPLE };
    static const char *const of_groups[] = { "grouper", "list" };
    for (size_t i = 0; i < sizeof types; i++) {
        pith__jvalue v = { .type = types[i] };
        if (pith__j_method(v, name) || jinja_forbidden(v, name)) return 0;
    }
    for (int i = 0; i < 2; i++)
        if (pith__str_is((pith__str){ name->p, name->n }, of_groups[i])) return 0;
    return 1;
}

static pith__jvalue jinja_bind_method(pith__jrun *r, pith__jvalue v, const pith__jbuiltin *f) {
    pith__jbound *b = pith__j_new(r, 1, sizeof *b);
    if (b) *b = (pith__jbound){ f, v };
    return (pith__jvalue){ .type = b ? PITH__T_CALLABLE : PITH__T_ABSENT, .as.bound = b };
}

static pith__jvalue jinja_own_attribute(pith__jrun *r, pith__jvalue v, const pith__jstr *name) { /* or ABSENT */
    if (name->plain && v.type != PITH__T_SPACE) return (pith__jvalue){ 0 };
    const pith__jbuiltin *f = pith__j_method(v, name);
    if (f) return jinja_bind_method(r, v, f);
    if (jinja_forbidden(v, name)) return pith__j_undefined(PITH__T_UNSAFE, name);
    if (v.type == PITH__T_TUPLE && v.what == 'g') { /* of groupby */
        if (pith__str_is((pith__str){ name->p, name->n }, "grouper")) return v.as.list->v[0];
        if (pith__str_is((pith__str){ name->p, name->n }, "list")) return v.as.list->v[1];
    }
    const pith__jvalue *found = v.type == PITH__T_SPACE ? pith__j_get_named(v.as.dict, name) : NULL;
    return found ? *found : (pith__jvalue){ 0 };
}

PITH_SHARED pith__jvalue pith__j_attribute(pith__jrun *r, pith__jvalue v, const pith__jstr *name) {
    if (r->code || !pith__j_defined(r, v)) return v;
    pith__jvalue found = jinja_own_attribute(r, v, name);
    if (found.type || r->code) return found;
    const pith__jvalue *item = v.type == PITH__T_DICT ? pith__j_get_named(v.as.dict, name) : NULL;
    return item ? *item : pith__j_undefined(PITH__T_ATTRIBUTE, name);
}

static pith__jvalue jinja_at(pith__jrun *r, pith__jvalue v, int64_t i) {
    if (v.type == PITH__T_STR) {
        const pith__jstr *s = v.as.s;
        pith__j_work(r, s->n / 64);
        int64_t n = (int64_t)pith__j_length(s);
        if (i < 0) i += n;
        if (i < 0 || i >= n) return (pith__jvalue){ 0 };
        size_t from = pith__j_offset(s, (size_t)i);
        uint32_t c;
        return pith__j_part(r, s, from, pith__utf8_read((const uint8_t *)s->p + from, s->n - from, &c));
    }
    int64_t n = (int64_t)v.as.list->n;
    if (i < 0) i += n;
    return i >= 0 && i < n ? pith__j_nth(v, (size_t)i) : (pith__jvalue){ 0 };
}

PITH_SHARED pith__jvalue pith__j_item(pith__jrun *r, pith__jvalue v, pith__jvalue key) {
    pith__jvalue found = { 0 };
    if (r->code || !pith__j_defined(r, v)) return v;
    int indexed = v.type == PITH__T_STR || v.type == PITH__T_LIST || v.type == PITH__T_TUPLE || v.type == PITH__T_RANGE;
    if (v.type == PITH__T_DICT) {
        const pith__jvalue *item = pith__j_get(v.as.dict, key);
        if (item) return *item;
    } else if (indexed && (key.type == PITH__T_INT || key.type == PITH__T_BOOL)) {
        found = jinja_at(r, v, key.as.i);
        if (found.type || r->code) return found;
    }
    if (key.type == PITH__T_STR) found = jinja_own_attribute(r, v, key.as.s);
    if (found.type || r->code) return found;
    key = pith__j_string(r, key);
    return r->code ? key : pith__j_undefined(PITH__T_ATTRIBUTE, key.as.s);
}
