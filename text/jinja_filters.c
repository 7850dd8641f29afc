/* jinja_filters.c - what stands behind '|' and behind "is".
 *
 * A filter gets the value before '|' as self, a test the value before "is"; both their arguments bound to names. Left
 * out of Jinja2's: filters for web pages (urlize, xmlattr, striptags, pprint, filesizeformat, wordwrap), and random. */
#include "jinja.h"

#include <math.h>
#include <string.h>

static int64_t jinja_number_or(pith__jrun *r, pith__jvalue v, int64_t otherwise) {
    if (v.type == PITH__T_ABSENT || v.type == PITH__T_NONE) return otherwise;
    if (v.type == PITH__T_INT || v.type == PITH__T_BOOL) return v.as.i;
    if (pith__j_defined(r, v)) pith__j_fail(r, "needs an integer, not a %s", pith__j_type(v));
    return otherwise;
}

static pith__jvalue jinja_or(pith__jvalue v, pith__jvalue otherwise) { return v.type ? v : otherwise; }

/* ---- attributes: "function.name", "0.role" ------------------------------------------------------------ */

static pith__jvalue jinja_follow(pith__jrun *r, pith__jvalue v, pith__jvalue path, pith__jvalue otherwise) {
    if (path.type == PITH__T_ABSENT || path.type == PITH__T_NONE) return v;
    if (path.type != PITH__T_STR) return pith__j_item(r, v, path);
    const pith__jstr *s = path.as.s;
    for (size_t from = 0, n; from <= s->n && !r->code; from += n + 1) {
        const char *dot = memchr(s->p + from, '.', s->n - from);
        n = (dot ? (size_t)(dot - s->p) : s->n) - from;
        pith__jvalue key = pith__j_part(r, s, from, n);
        int64_t i;
        int digits = n > 0;
        for (size_t k = 0; k < n; k++) digits &= s->p[from + k] >= '0' && s->p[from + k] <= '9';
        if (digits && pith__j_read_int(s->p + from, n, 10, &i)) key = pith__j_int(i);
        v = pith__j_item(r, v, key);
        if (v.type == PITH__T_UNDEFINED && otherwise.type > PITH__T_NONE) v = otherwise;
    }
    return v;
}

static pith__jvalue jinja_no_case(pith__jrun *r, pith__jvalue v) {
    return v.type == PITH__T_STR ? pith__j_case(r, v, 'l') : v;
}

/* What to sort by: a list of the values of "a,b". */
static pith__jvalue jinja_sort_key(pith__jrun *r, pith__jvalue v, pith__jvalue paths, int no_case) {
    pith__jvalue l = pith__j_list(r, PITH__T_LIST, 1), none = { 0 };
    if (paths.type != PITH__T_STR) {
        v = jinja_follow(r, v, paths, none);
        pith__j_append(r, l.as.list, no_case ? jinja_no_case(r, v) : v);
        return l;
    }
    const pith__jstr *s = paths.as.s;
    for (size_t from = 0, n; from <= s->n && !r->code; from += n + 1) {
        const char *comma = memchr(s->p + from, ',', s->n - from);
        n = (comma ? (size_t)(comma - s->p) : s->n) - from;
        pith__jvalue x = jinja_follow(r, v, pith__j_part(r, s, from, n), none);
        pith__j_append(r, l.as.list, no_case ? jinja_no_case(r, x) : x);
    }
    return l;
}

/* ---- sorting --------------------------------------------------------------------------------------- */

typedef struct {
    pith__jvalue key, value;
} jinja_keyed;

/* Merge sort: equal ones keep their order, in reverse too. */
static void jinja_merge_sort(pith__jrun *r, jinja_keyed *x, jinja_keyed *room, size_t n, int reverse) {
    for (size_t width = 1; width < n && !r->code; width *= 2)
        for (size_t from = 0; from + width < n && !r->code; from += 2 * width) {
            size_t middle = from + width, end = n - middle < width ? n : middle + width, i = from, j = middle;
            memcpy(room + from, x + from, (end - from) * sizeof *x);
            for (size_t k = from; k < end && !r->code; k++) {
                int second = i == middle;
                if (!second && j < end) {
                    int c = pith__j_compare(r, room[j].key, room[i].key);
                    second = reverse ? c == 1 : c < 0;
                }
                x[k] = room[second ? j++ : i++];
            }
        }
}

static pith__jvalue jinja_sorted(pith__jrun *r, const pith__jlist *l, const pith__jvalue *keys, int reverse) {
    size_t n = l ? l->n : 0;
    jinja_keyed *x = pith__j_new(r, 2 * n, sizeof *x);
    for (size_t i = 0; x && i < n; i++) x[i] = (jinja_keyed){ keys[i], l->v[i] };
    if (x) jinja_merge_sort(r, x, x + n, n, reverse);
    pith__jvalue to = pith__j_list(r, PITH__T_LIST, n);
    for (size_t i = 0; i < n && !r->code; i++) pith__j_append(r, to.as.list, x[i].value);
    return to;
}

/* By one attribute, or an item of each. */
static pith__jvalue jinja_sort_by(pith__jrun *r, const pith__jlist *l, pith__jvalue by, int no_case, int reverse) {
    pith__jvalue *key = l ? pith__j_new(r, l->n, sizeof *key) : NULL, none = { 0 };
    for (size_t i = 0; key && i < l->n && !r->code; i++) {
        key[i] = jinja_follow(r, l->v[i], by, none);
        if (no_case) key[i] = jinja_no_case(r, key[i]);
    }
    return jinja_sorted(r, l, key, reverse);
}

PITH__T_BUILTIN(jinja_sort) {
    const pith__jlist *l = pith__j_items(r, v);
    pith__jvalue *key = l ? pith__j_new(r, l->n, sizeof *key) : NULL;
    (void)all;
    for (size_t i = 0; key && i < l->n && !r->code; i++) key[i] = jinja_sort_key(r, l->v[i], a[2], !pith__j_true(a[1]));
    return jinja_sorted(r, l, key, pith__j_true(a[0]));
}

PITH__T_BUILTIN(jinja_dictsort) {
    int by_value = pith__j_is(a[1], "value");
    (void)all;
    if (a[1].type && !by_value && !pith__j_is(a[1], "key"))
        return pith__j_fail(r, "dictsort by 'key' or 'value', nothing else");
    if (v.type != PITH__T_DICT) return pith__j_fail(r, "dictsort of a %s, need a dictionary", pith__j_type(v));
    pith__jvalue items = pith__j_list(r, PITH__T_LIST, v.as.dict->n);
    for (size_t i = 0; i < v.as.dict->n && !r->code; i++)
        pith__j_append(r, items.as.list, pith__j_pair(r, v.as.dict->pair[2 * i], v.as.dict->pair[2 * i + 1]));
    return jinja_sort_by(r, items.as.list, pith__j_int(by_value), !pith__j_true(a[0]), pith__j_true(a[2]));
}

PITH__T_BUILTIN(jinja_groupby) {
    const pith__jlist *l = jinja_sort_by(r, pith__j_items(r, v), a[0], !pith__j_true(a[2]), 0).as.list;
    pith__jvalue groups = pith__j_list(r, PITH__T_LIST, 0), last = { 0 }, members = { 0 };
    (void)all;
    for (size_t i = 0; !r->code && i < l->n; i++) {
        pith__jvalue key = jinja_follow(r, l->v[i], a[0], a[1]);
        pith__jvalue same = pith__j_true(a[2]) ? key : jinja_no_case(r, key);
        if (!i || !pith__j_equal(r, same, last)) {
            members = pith__j_list(r, PITH__T_LIST, 0);
            pith__jvalue group = pith__j_pair(r, key, members);
            group.what = 'g';
            pith__j_append(r, groups.as.list, group);
            last = same;
        }
        pith__j_append(r, members.as.list, l->v[i]);
    }
    return groups;
}

PITH__T_BUILTIN(jinja_unique_now) {
    const pith__jlist *l = pith__j_items(r, v);
    pith__jvalue to = pith__j_list(r, PITH__T_ITER, 0), seen = pith__j_dict(r, PITH__T_DICT), none = { 0 };
    (void)all;
    for (size_t i = 0; l && i < l->n && !r->code; i++) {
        pith__jvalue key = jinja_follow(r, l->v[i], a[1], none);
        if (!pith__j_true(a[0])) key = jinja_no_case(r, key);
        if (r->code || pith__j_get(seen.as.dict, key)) continue;
        pith__j_set(r, seen.as.dict, key, pith__j_none());
        pith__j_append(r, to.as.list, l->v[i]);
    }
    return to;
}

static pith__jvalue jinja_extreme(pith__jrun *r, pith__jvalue v, const pith__jvalue *a, int want) {
    const pith__jlist *l = pith__j_items(r, v);
    pith__jvalue best = { 0 }, best_key = { 0 }, none = { 0 };
    for (size_t i = 0; l && i < l->n && !r->code; i++) {
        pith__jvalue key = jinja_follow(r, l->v[i], a[1], none);
        if (!pith__j_true(a[0])) key = jinja_no_case(r, key);
        if (i && pith__j_compare(r, key, best_key) != want) continue;
        best = l->v[i];
        best_key = key;
    }
    return jinja_or(best, pith__j_undefined(PITH__T_NOTHING, NULL));
}

PITH__T_BUILTIN(jinja_min) { (void)all; return jinja_extreme(r, v, a, -1); }
PITH__T_BUILTIN(jinja_max) { (void)all; return jinja_extreme(r, v, a, 1); }

PITH__T_BUILTIN(jinja_sum) {
    const pith__jlist *l = pith__j_items(r, v);
    pith__jvalue total = jinja_or(a[1], pith__j_int(0)), none = { 0 };
    (void)all;
    for (size_t i = 0; l && i < l->n && !r->code; i++)
        total = pith__j_arithmetic(r, '+', total, jinja_follow(r, l->v[i], a[0], none));
    return total;
}

/* ---- many values ----------------------------------------------------------------------------------- */

PITH__T_BUILTIN(jinja_map_now) {
    pith__jvalue to = pith__j_list(r, PITH__T_ITER, 0), path = { 0 }, otherwise = { 0 };
    const pith__jlist *l = pith__j_true(v) ? pith__j_items(r, v) : NULL;
    const pith__jbuiltin *f = NULL;
    (void)a;
    if (!all->n) {
        for (int i = 0; i < all->n_named; i++) {
            pith__str name = { all->name[i]->p, all->name[i]->n };
            if (pith__str_is(name, "attribute")) path = all->named[i];
            else if (pith__str_is(name, "default")) otherwise = all->named[i];
            else return pith__j_fail(r, "map takes no argument '%.*s' here", pith__j_shown(all->name[i]), name.p);
        }
        if (!path.type) return pith__j_fail(r, "map needs the name of a filter, or attribute=");
    } else if (all->v->type != PITH__T_STR || !(f = pith__j_filter(all->v->as.s))) {
        return pith__j_fail(r, "map by a filter that there is not");
    }
    const pith__jargs rest = { all->v + 1, all->n - 1, all->name, all->named, all->n_named };
    for (size_t i = 0; l && i < l->n && pith__j_work(r, 1); i++)
        pith__j_append(r, to.as.list,
                       f ? pith__j_apply(r, f, l->v[i], &rest) : jinja_follow(r, l->v[i], path, otherwise));
    return to;
}

static int jinja_is_chosen(pith__jrun *r, pith__jvalue item, const pith__jargs *all, int by_attribute,
                           const pith__jbuiltin *test) {
    const pith__jvalue none = { 0 };
    int n = all->n - by_attribute - 1;
    const pith__jargs rest = { n > 0 ? all->v + by_attribute + 1 : NULL, n > 0 ? n : 0, all->name, all->named,
                               all->n_named };
    if (by_attribute) item = jinja_follow(r, item, *all->v, none);
    return pith__j_true(test ? pith__j_apply(r, test, item, &rest) : item);
}

/* selectattr('type', 'equalto', 'image') of a text, where a template expects parts: no character has such an
 * attribute, so what holds for one holds for all. */
static int jinja_are_alike(pith__jvalue v, pith__jvalue attribute) {
    return v.type == PITH__T_STR && v.as.s->n && attribute.type == PITH__T_STR && attribute.as.s->plain &&
           !(*attribute.as.s->p >= '0' && *attribute.as.s->p <= '9');
}

static pith__jvalue jinja_choose_now(pith__jrun *r, pith__jvalue v, const pith__jargs *all, int by_attribute,
                                     int want) {
    pith__jvalue to = pith__j_list(r, PITH__T_ITER, 0);
    const pith__jbuiltin *test = NULL;
    if (by_attribute && !all->n) return pith__j_fail(r, "needs the name of an attribute");
    int alike = by_attribute && jinja_are_alike(v, *all->v), named = all->n > by_attribute;
    const pith__jlist *l = pith__j_true(v) && !alike ? pith__j_items(r, v) : NULL;
    if (named) {
        pith__jvalue name = all->v[by_attribute];
        test = name.type == PITH__T_STR ? pith__j_test(name.as.s) : NULL;
        if (!test && (alike || (l && l->n))) return pith__j_fail(r, "chooses by a test that there is not");
    }
    if (alike && jinja_is_chosen(r, pith__j_item(r, v, pith__j_int(0)), all, by_attribute, test) == want)
        l = pith__j_items(r, v);
    for (size_t i = 0; l && i < l->n && pith__j_work(r, 1); i++)
        if (jinja_is_chosen(r, l->v[i], all, by_attribute, test) == want) pith__j_append(r, to.as.list, l->v[i]);
    return to;
}

static pith__jvalue jinja_choose(pith__jrun *r, pith__jvalue v, const pith__jargs *all, int by_attribute, int want) {
    return pith__j_later(r, jinja_choose_now(r, v, all, by_attribute, want));
}

PITH__T_BUILTIN(jinja_select) { (void)a; return jinja_choose(r, v, all, 0, 1); }
PITH__T_BUILTIN(jinja_reject) { (void)a; return jinja_choose(r, v, all, 0, 0); }
PITH__T_BUILTIN(jinja_selectattr) { (void)a; return jinja_choose(r, v, all, 1, 1); }
PITH__T_BUILTIN(jinja_rejectattr) { (void)a; return jinja_choose(r, v, all, 1, 0); }

PITH__T_BUILTIN(jinja_join_filter) {
    const pith__jlist *l = pith__j_items(r, v);
    pith__jbuffer *b = pith__j_buffer(r);
    pith__jvalue none = { 0 };
    (void)all;
    for (size_t i = 0; l && i < l->n && pith__j_work(r, 1); i++) {
        if (i) pith__j_put_value(r, b, a[0]);
        pith__j_put_value(r, b, jinja_follow(r, l->v[i], a[1], none));
    }
    return pith__j_done(r, b);
}

PITH__T_BUILTIN(jinja_list) {
    const pith__jlist *l = pith__j_items(r, v);
    pith__jvalue to = pith__j_list(r, PITH__T_LIST, l ? l->n : 0);
    PITH__T_UNUSED;
    for (size_t i = 0; l && i < l->n && !r->code; i++) pith__j_append(r, to.as.list, l->v[i]);
    return to;
}

PITH__T_BUILTIN(jinja_first) {
    const size_t at = v.type == PITH__T_ITER ? v.as.list->at : 0;
    PITH__T_UNUSED;
    if (v.type == PITH__T_STR)
        return v.as.s->n ? pith__j_item(r, v, pith__j_int(0)) : pith__j_undefined(PITH__T_NOTHING, NULL);
    const pith__jlist *l = pith__j_items(r, v);
    if (v.type == PITH__T_ITER && v.as.list->n > at) v.as.list->at = at + 1; /* the others are still there */
    return l && l->n ? l->v[0] : pith__j_undefined(PITH__T_NOTHING, NULL);
}

PITH__T_BUILTIN(jinja_last) {
    PITH__T_UNUSED;
    if (v.type == PITH__T_ITER) return pith__j_fail(r, "a generator has no last item (| list has one)");
    const pith__jlist *l = pith__j_items(r, v);
    return l && l->n ? l->v[l->n - 1] : pith__j_undefined(PITH__T_NOTHING, NULL);
}

PITH__T_BUILTIN(jinja_reverse) {
    const pith__jlist *l = pith__j_items(r, v);
    pith__jvalue to = pith__j_list(r, v.type == PITH__T_ITER ? PITH__T_LIST : PITH__T_ITER, l ? l->n : 0);
    PITH__T_UNUSED;
    for (size_t i = l ? l->n : 0; i > 0 && !r->code; i--) pith__j_append(r, to.as.list, l->v[i - 1]);
    if (v.type != PITH__T_STR || r->code) return to;
    pith__jbuffer *b = pith__j_buffer(r);
    for (size_t i = 0; i < to.as.list->n && !r->code; i++) pith__j_put_value(r, b, to.as.list->v[i]);
    return pith__j_done(r, b);
}

PITH__T_BUILTIN(jinja_length) { (void)a, (void)all; return pith__j_int(pith__j_count(r, v)); }

PITH__T_BUILTIN(jinja_items_filter_now) {
    pith__jvalue to = pith__j_list(r, PITH__T_ITER, 0);
    PITH__T_UNUSED;
    if (v.type == PITH__T_UNDEFINED) return to;
    if (v.type != PITH__T_DICT) return pith__j_fail(r, "items of a %s, need a dictionary", pith__j_type(v));
    for (size_t i = 0; i < v.as.dict->n && !r->code; i++)
        pith__j_append(r, to.as.list, pith__j_pair(r, v.as.dict->pair[2 * i], v.as.dict->pair[2 * i + 1]));
    return to;
}

PITH__T_BUILTIN(jinja_batch_now) {
    const pith__jlist *l = pith__j_items(r, v);
    pith__jvalue to = pith__j_list(r, PITH__T_ITER, 0), row = { 0 };
    int64_t n = jinja_number_or(r, a[0], 1);
    (void)all;
    for (size_t i = 0; l && i < l->n && !r->code; i++) {
        if (!row.type || (int64_t)row.as.list->n == n)
            row = pith__j_list(r, PITH__T_LIST, 0), pith__j_append(r, to.as.list, row);
        pith__j_append(r, row.as.list, l->v[i]);
    }
    while (row.type && a[1].type > PITH__T_NONE && !r->code && (int64_t)row.as.list->n < n && pith__j_work(r, 1))
        pith__j_append(r, row.as.list, a[1]);
    return to;
}

PITH__T_BUILTIN(jinja_slice_filter_now) {
    const pith__jlist *l = pith__j_items(r, v);
    pith__jvalue to = pith__j_list(r, PITH__T_ITER, 0);
    int64_t n = jinja_number_or(r, a[0], 1), at = 0;
    (void)all;
    if (n < 1) return pith__j_fail(r, "slice into %d, need 1 or more", (int)n);
    for (int64_t i = 0; l && i < n && pith__j_work(r, 1); i++) {
        pith__jvalue row = pith__j_list(r, PITH__T_LIST, 0);
        int64_t more = (int64_t)l->n / n + (i < (int64_t)l->n % n);
        for (int64_t k = 0; k < more && !r->code; k++) pith__j_append(r, row.as.list, l->v[at++]);
        if (a[1].type > PITH__T_NONE && (int64_t)l->n % n && i >= (int64_t)l->n % n)
            pith__j_append(r, row.as.list, a[1]);
        pith__j_append(r, to.as.list, row);
    }
    return to;
}

/* ---- one value ------------------------------------------------------------------------------------- */

PITH__T_BUILTIN(jinja_default) {
    PITH__T_UNUSED;
    int keep = v.type != PITH__T_UNDEFINED && (pith__j_true(v) || !pith__j_true(a[1]));
    return keep ? v : jinja_or(a[0], pith__j_text(r, "", 0, 0));
}

PITH__T_BUILTIN(jinja_int) {
    pith__jvalue to = v;
    int64_t base = jinja_number_or(r, a[1], 10);
    double f = 0;
    (void)all;
    if (v.type == PITH__T_INT || v.type == PITH__T_BIG) return v;
    if (!pith__j_defined(r, v)) return v;
    to.type = PITH__T_INT;
    if (v.type == PITH__T_BOOL) return to;
    if (v.type == PITH__T_STR) to.mark = v.as.s->n ? pith__j_mark(v.as.s, 0) : 0;
    if (v.type == PITH__T_STR && pith__j_read_int(v.as.s->p, v.as.s->n, (int)base, &to.as.i)) return to;
    int known = v.type == PITH__T_STR ? pith__j_read_float(v.as.s->p, v.as.s->n, &f) : pith__j_number(v, &f);
    if (!known || !(f > -9.2e18 && f < 9.2e18)) return jinja_or(a[0], pith__j_int(0));
    to.as.i = (int64_t)f;
    return to;
}

PITH__T_BUILTIN(jinja_float) {
    pith__jvalue to = { .type = PITH__T_FLOAT, .mark = v.mark };
    (void)all;
    if (!pith__j_defined(r, v)) return v;
    if (v.type == PITH__T_STR ? pith__j_read_float(v.as.s->p, v.as.s->n, &to.as.f) : pith__j_number(v, &to.as.f))
        return to;
    return jinja_or(a[0], pith__j_float(0));
}

PITH__T_BUILTIN(jinja_abs) {
    PITH__T_UNUSED;
    double f;
    if (pith__j_number(v, &f)) return pith__j_sign(r, v, f < 0);
    return pith__j_defined(r, v) ? pith__j_fail(r, "abs of a %s, need a number", pith__j_type(v)) : v;
}

PITH__T_BUILTIN(jinja_attr) {
    PITH__T_UNUSED;
    if (a->type != PITH__T_STR) return pith__j_fail(r, "attr needs the name of an attribute");
    if (v.type == PITH__T_DICT && !pith__j_method(v, a->as.s)) return pith__j_undefined(PITH__T_ATTRIBUTE, a->as.s);
    return pith__j_attribute(r, v, a->as.s);
}

PITH__T_BUILTIN(jinja_string) { PITH__T_UNUSED; return pith__j_string(r, v); }
PITH__T_BUILTIN(jinja_escape) { PITH__T_UNUSED; return pith__j_escape(r, v); }
PITH__T_BUILTIN(jinja_safe) { PITH__T_UNUSED; return pith__j_safe(r, pith__j_string(r, v)); }

PITH__T_BUILTIN(jinja_forceescape) {
    PITH__T_UNUSED;
    pith__jbuffer *b = pith__j_buffer(r);
    pith__j_put_value(r, b, v);
    return pith__j_escape(r, pith__j_done(r, b));
}

static pith__jvalue jinja_cased_text(pith__jrun *r, pith__jvalue v, char how) {
    v = pith__j_string(r, v);
    return r->code ? v : pith__j_case(r, v, how);
}

PITH__T_BUILTIN(jinja_upper_filter) { PITH__T_UNUSED; return jinja_cased_text(r, v, 'u'); }
PITH__T_BUILTIN(jinja_lower_filter) { PITH__T_UNUSED; return jinja_cased_text(r, v, 'l'); }
PITH__T_BUILTIN(jinja_capitalize_filter) { PITH__T_UNUSED; return jinja_cased_text(r, v, 'c'); }
PITH__T_BUILTIN(jinja_title_filter) { PITH__T_UNUSED; return jinja_cased_text(r, v, 'f'); }

PITH__T_BUILTIN(jinja_trim) {
    (void)all;
    v = pith__j_string(r, v);
    return r->code ? v : pith__j_strip(r, v, a[0], 1, 1);
}

PITH__T_BUILTIN(jinja_replace_filter) {
    pith__jbuffer *b = pith__j_buffer(r);
    pith__j_put_value(r, b, v);
    v = pith__j_done(r, b); /* a plain string, even of HTML */
    const pith__jvalue as_text[3] = { pith__j_string(r, a[0]), pith__j_string(r, a[1]), a[2] };
    (void)all;
    return r->code ? v : pith__j_replace(r, v, as_text);
}

PITH__T_BUILTIN(jinja_center_filter) {
    const pith__jvalue none = { 0 };
    (void)all;
    v = pith__j_string(r, v);
    return r->code ? v : pith__j_pad(r, v, jinja_number_or(r, a[0], 80), '^', none);
}

PITH__T_BUILTIN(jinja_format_filter) {
    pith__jvalue args = pith__j_list(r, PITH__T_TUPLE, (size_t)all->n);
    (void)a;
    v = pith__j_string(r, v);
    if (all->n_named && all->n) return pith__j_fail(r, "format by position and by name at once");
    if (all->n_named) args = pith__j_dict(r, PITH__T_DICT);
    for (int i = 0; i < all->n && !r->code; i++) pith__j_append(r, args.as.list, all->v[i]);
    for (int i = 0; i < all->n_named && !r->code; i++) pith__j_set_named(r, args.as.dict, all->name[i], all->named[i]);
    return r->code ? v : pith__j_percent(r, v, args);
}

PITH__T_BUILTIN(jinja_indent) {
    pith__jvalue by = a[0], fill = pith__j_text(r, " ", 1, 0);
    int blank = pith__j_true(a[2]);
    (void)all;
    if (v.type != PITH__T_STR)
        return pith__j_defined(r, v) ? pith__j_fail(r, "indent of a %s, need a string", pith__j_type(v)) : v;
    if (by.type != PITH__T_STR)
        by = r->code ? by : pith__j_pad(r, pith__j_text(r, "", 0, 0), jinja_number_or(r, by, 4), '<', fill);
    const pith__jvalue newline = pith__j_text(r, "\n", 1, 0);
    if (r->code) return v;
    v = pith__j_concat(r, v, newline);
    const pith__jlist *l = r->code ? NULL : pith__j_lines(r, v, 0).as.list;
    pith__jbuffer *b = pith__j_buffer(r);
    if (pith__j_true(a[1])) pith__j_put_value(r, b, by);
    for (size_t i = 0; !r->code && i < l->n; i++) {
        if (i) pith__j_put(r, b, "\n", 1, 0);
        if (i && (blank || l->v[i].as.s->n)) pith__j_put_value(r, b, by);
        pith__j_put_value(r, b, l->v[i]);
    }
    v = pith__j_done(r, b);
    return v;
}

PITH__T_BUILTIN(jinja_truncate) {
    int64_t length = jinja_number_or(r, a[0], 255), leeway = jinja_number_or(r, a[3], 5);
    pith__jvalue end = jinja_or(a[2], pith__j_text(r, "...", 3, 0));
    (void)all;
    if (v.type != PITH__T_STR && pith__j_count(r, v) <= length + leeway && !r->code) return v;
    if (r->code || v.type != PITH__T_STR || end.type != PITH__T_STR)
        return pith__j_fail(r, "truncate of a %s, need a string", pith__j_type(v));
    int64_t cut = length - (int64_t)pith__j_length(end.as.s);
    if (cut < 0 || leeway < 0) return pith__j_fail(r, "truncate to less than its end is long");
    if ((int64_t)pith__j_length(v.as.s) <= length + leeway) return v;
    size_t n = pith__j_offset(v.as.s, (size_t)cut);
    for (size_t i = n; !pith__j_true(a[1]) && i > 0; i--)
        if (v.as.s->p[i - 1] == ' ') {
            n = i - 1;
            break;
        }
    v = pith__j_part(r, v.as.s, 0, n);
    return r->code ? v : pith__j_concat(r, v, end);
}

PITH__T_BUILTIN(jinja_wordcount) {
    int64_t n = 0;
    int inside = 0;
    uint32_t c;
    (void)a, (void)all;
    v = pith__j_string(r, v);
    for (size_t i = 0; !r->code && i < v.as.s->n;) {
        i += pith__utf8_read((const uint8_t *)v.as.s->p + i, v.as.s->n - i, &c);
        int word = pith__unicode_word(c);
        n += word && !inside;
        inside = word;
    }
    return pith__j_int(n);
}

static void jinja_quote_url(pith__jrun *r, pith__jbuffer *b, pith__jvalue v, int query) {
    v = pith__j_string(r, v);
    for (size_t i = 0; !r->code && i < v.as.s->n; i++) {
        unsigned char c = (unsigned char)v.as.s->p[i];
        char to[4];
        int plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
            (c && strchr(query ? "_.-~" : "_.-~/", c));
        if (query && c == ' ') strcpy(to, "+");
        else if (plain) to[0] = (char)c, to[1] = 0;
        else snprintf(to, sizeof to, "%%%02X", c);
        pith__j_put(r, b, to, strlen(to), pith__j_mark(v.as.s, i));
    }
}

PITH__T_BUILTIN(jinja_urlencode) {
    pith__jbuffer *b = pith__j_buffer(r);
    PITH__T_UNUSED;
    if (v.type == PITH__T_STR || !pith__j_can_iterate(v)) {
        jinja_quote_url(r, b, v, 0);
        return pith__j_done(r, b);
    }
    const pith__jlist *l = v.type == PITH__T_DICT ? jinja_items_filter_now(r, v, a, all).as.list : pith__j_items(r, v);
    for (size_t i = 0; l && i < l->n && !r->code; i++) {
        const pith__jlist *pair = pith__j_items(r, l->v[i]);
        if (pair && pair->n != 2) return pith__j_fail(r, "urlencode of what is no pairs");
        if (!pair) break;
        if (i) pith__j_put(r, b, "&", 1, 0);
        jinja_quote_url(r, b, pair->v[0], 1);
        pith__j_put(r, b, "=", 1, 0);
        jinja_quote_url(r, b, pair->v[1], 1);
    }
    return pith__j_done(r, b);
}

/* What Python makes as it is walked, so that an error comes no sooner. */
PITH__T_BUILTIN(jinja_unique) { return pith__j_later(r, jinja_unique_now(r, v, a, all)); }
PITH__T_BUILTIN(jinja_map) { return pith__j_later(r, jinja_map_now(r, v, a, all)); }
PITH__T_BUILTIN(jinja_items_filter) { return pith__j_later(r, jinja_items_filter_now(r, v, a, all)); }
PITH__T_BUILTIN(jinja_batch) { return pith__j_later(r, jinja_batch_now(r, v, a, all)); }
PITH__T_BUILTIN(jinja_slice_filter) { return pith__j_later(r, jinja_slice_filter_now(r, v, a, all)); }

static const pith__jbuiltin jinja_filter[] = {
    { "abs", "", 0, jinja_abs }, { "attr", "name", 1, jinja_attr }, { "batch", "linecount fill_with", 1, jinja_batch },
    { "capitalize", "", 0, jinja_capitalize_filter }, { "center", "width", 0, jinja_center_filter },
    { "count", "", 0, jinja_length }, { "d", "default_value boolean", 0, jinja_default },
    { "default", "default_value boolean", 0, jinja_default },
    { "dictsort", "case_sensitive by reverse", 0, jinja_dictsort },
    { "e", "", 0, jinja_escape }, { "escape", "", 0, jinja_escape }, { "first", "", 0, jinja_first },
    { "float", "default", 0, jinja_float }, { "forceescape", "", 0, jinja_forceescape },
    { "format", "*", 0, jinja_format_filter },
    { "groupby", "attribute default case_sensitive", 1, jinja_groupby },
    { "indent", "width first blank", 0, jinja_indent },
    { "int", "default base", 0, jinja_int }, { "items", "", 0, jinja_items_filter },
    { "join", "d attribute", 0, jinja_join_filter },
    { "last", "", 0, jinja_last }, { "length", "", 0, jinja_length }, { "list", "", 0, jinja_list },
    { "lower", "", 0, jinja_lower_filter }, { "map", "*", 0, jinja_map },
    { "max", "case_sensitive attribute", 0, jinja_max },
    { "min", "case_sensitive attribute", 0, jinja_min }, { "reject", "*", 0, jinja_reject },
    { "rejectattr", "*", 0, jinja_rejectattr },
    { "replace", "old new count", 2, jinja_replace_filter }, { "reverse", "", 0, jinja_reverse },
    { "round", "precision method", 0, pith__j_round }, { "safe", "", 0, jinja_safe },
    { "select", "*", 0, jinja_select },
    { "selectattr", "*", 0, jinja_selectattr }, { "slice", "slices fill_with", 1, jinja_slice_filter },
    { "sort", "reverse case_sensitive attribute", 0, jinja_sort }, { "string", "", 0, jinja_string },
    { "sum", "attribute start", 0, jinja_sum }, { "title", "", 0, jinja_title_filter },
    { "tojson", "ensure_ascii indent separators sort_keys", 0, pith__j_tojson }, { "trim", "chars", 0, jinja_trim },
    { "truncate", "length killwords end leeway", 0, jinja_truncate },
    { "unique", "case_sensitive attribute", 0, jinja_unique },
    { "upper", "", 0, jinja_upper_filter }, { "urlencode", "", 0, jinja_urlencode },
    { "wordcount", "", 0, jinja_wordcount },
};

PITH_SHARED const pith__jbuiltin *pith__j_filter(const pith__jstr *name) {
    return pith__j_named(jinja_filter, sizeof jinja_filter / sizeof *jinja_filter, name);
}

/* ---- tests ----------------------------------------------------------------------------------------- */

PITH__T_BUILTIN(jinja_is_boolean) { PITH__T_UNUSED; return pith__j_bool(v.type == PITH__T_BOOL); }
PITH__T_BUILTIN(jinja_is_callable) {
    PITH__T_UNUSED;
    return pith__j_bool(v.type >= PITH__T_LOOP || v.type == PITH__T_UNDEFINED);
}
PITH__T_BUILTIN(jinja_is_defined) { PITH__T_UNUSED; return pith__j_bool(v.type != PITH__T_UNDEFINED); }
PITH__T_BUILTIN(jinja_is_undefined) { PITH__T_UNUSED; return pith__j_bool(v.type == PITH__T_UNDEFINED); }
PITH__T_BUILTIN(jinja_is_none) { PITH__T_UNUSED; return pith__j_bool(v.type == PITH__T_NONE); }
PITH__T_BUILTIN(jinja_is_string) { PITH__T_UNUSED; return pith__j_bool(v.type == PITH__T_STR); }
PITH__T_BUILTIN(jinja_is_mapping) { PITH__T_UNUSED; return pith__j_bool(v.type == PITH__T_DICT); }
PITH__T_BUILTIN(jinja_is_iterable) { PITH__T_UNUSED; return pith__j_bool(pith__j_can_iterate(v)); }
PITH__T_BUILTIN(jinja_is_true) { PITH__T_UNUSED; return pith__j_bool(v.type == PITH__T_BOOL && v.as.i); }
PITH__T_BUILTIN(jinja_is_false) { PITH__T_UNUSED; return pith__j_bool(v.type == PITH__T_BOOL && !v.as.i); }
PITH__T_BUILTIN(jinja_is_integer) {
    PITH__T_UNUSED;
    return pith__j_bool(v.type == PITH__T_INT || v.type == PITH__T_BIG);
}
PITH__T_BUILTIN(jinja_is_float) { PITH__T_UNUSED; return pith__j_bool(v.type == PITH__T_FLOAT); }
PITH__T_BUILTIN(jinja_is_number) {
    PITH__T_UNUSED;
    return pith__j_bool(v.type >= PITH__T_BOOL && v.type <= PITH__T_FLOAT);
}
PITH__T_BUILTIN(jinja_is_escaped) { PITH__T_UNUSED; return pith__j_bool(v.type == PITH__T_STR && v.as.s->safe); }
PITH__T_BUILTIN(jinja_is_equal) { (void)all; return pith__j_bool(pith__j_equal(r, v, *a)); }
PITH__T_BUILTIN(jinja_is_not_equal) { (void)all; return pith__j_bool(!pith__j_equal(r, v, *a)); }
PITH__T_BUILTIN(jinja_is_less) { (void)all; return pith__j_bool(pith__j_compare(r, v, *a) < 0); }
PITH__T_BUILTIN(jinja_is_at_most) { (void)all; return pith__j_bool(pith__j_compare(r, v, *a) <= 0); }
PITH__T_BUILTIN(jinja_is_greater) { (void)all; return pith__j_bool(pith__j_compare(r, v, *a) == 1); }
PITH__T_BUILTIN(jinja_is_at_least) {
    (void)all;
    int c = pith__j_compare(r, v, *a);
    return pith__j_bool(c == 0 || c == 1);
}
PITH__T_BUILTIN(jinja_is_in) { (void)all; return pith__j_bool(pith__j_contains(r, *a, v)); }
PITH__T_BUILTIN(jinja_is_a_filter) {
    PITH__T_UNUSED;
    return pith__j_bool(v.type == PITH__T_STR && pith__j_filter(v.as.s));
}
PITH__T_BUILTIN(jinja_is_a_test) { PITH__T_UNUSED; return pith__j_bool(v.type == PITH__T_STR && pith__j_test(v.as.s)); }

PITH__T_BUILTIN(jinja_is_sequence) {
    PITH__T_UNUSED;
    return pith__j_bool(pith__j_can_iterate(v) && v.type != PITH__T_ITER && v.type != PITH__T_VIEW);
}

PITH__T_BUILTIN(jinja_is_same) {
    (void)all;
    int same = v.type == a->type && (v.type <= PITH__T_STR ? pith__j_equal(r, v, *a) : v.as.list == a->as.list);
    return pith__j_bool(same);
}

static pith__jvalue jinja_remainder_is(pith__jrun *r, pith__jvalue v, pith__jvalue by, int64_t want) {
    return pith__j_bool(pith__j_equal(r, pith__j_arithmetic(r, '%', v, by), pith__j_int(want)));
}

PITH__T_BUILTIN(jinja_is_even) { (void)a, (void)all; return jinja_remainder_is(r, v, pith__j_int(2), 0); }
PITH__T_BUILTIN(jinja_is_odd) { (void)a, (void)all; return jinja_remainder_is(r, v, pith__j_int(2), 1); }
PITH__T_BUILTIN(jinja_is_divisible) { (void)all; return jinja_remainder_is(r, v, *a, 0); }

static pith__jvalue jinja_is_cased(pith__jrun *r, pith__jvalue v, const char *method) {
    const pith__jstr name = { .p = method, .n = strlen(method) };
    const pith__jargs none = { 0 };
    v = pith__j_string(r, v);
    return r->code ? v : pith__j_apply(r, pith__j_method(v, &name), v, &none);
}

PITH__T_BUILTIN(jinja_is_lower) { (void)a, (void)all; return jinja_is_cased(r, v, "islower"); }
PITH__T_BUILTIN(jinja_is_upper) { (void)a, (void)all; return jinja_is_cased(r, v, "isupper"); }

static const pith__jbuiltin jinja_test[] = {
    { "boolean", "", 0, jinja_is_boolean }, { "callable", "", 0, jinja_is_callable },
    { "defined", "", 0, jinja_is_defined },
    { "divisibleby", "num", 1, jinja_is_divisible }, { "eq", "b", 1, jinja_is_equal },
    { "equalto", "b", 1, jinja_is_equal },
    { "==", "b", 1, jinja_is_equal }, { "escaped", "", 0, jinja_is_escaped }, { "even", "", 0, jinja_is_even },
    { "false", "", 0, jinja_is_false }, { "filter", "", 0, jinja_is_a_filter }, { "float", "", 0, jinja_is_float },
    { "ge", "b", 1, jinja_is_at_least }, { ">=", "b", 1, jinja_is_at_least }, { "gt", "b", 1, jinja_is_greater },
    { "greaterthan", "b", 1, jinja_is_greater }, { ">", "b", 1, jinja_is_greater }, { "in", "seq", 1, jinja_is_in },
    { "integer", "", 0, jinja_is_integer }, { "iterable", "", 0, jinja_is_iterable },
    { "le", "b", 1, jinja_is_at_most },
    { "<=", "b", 1, jinja_is_at_most }, { "lt", "b", 1, jinja_is_less }, { "lessthan", "b", 1, jinja_is_less },
    { "<", "b", 1, jinja_is_less }, { "lower", "", 0, jinja_is_lower }, { "mapping", "", 0, jinja_is_mapping },
    { "ne", "b", 1, jinja_is_not_equal }, { "!=", "b", 1, jinja_is_not_equal }, { "none", "", 0, jinja_is_none },
    { "number", "", 0, jinja_is_number }, { "odd", "", 0, jinja_is_odd }, { "sameas", "other", 1, jinja_is_same },
    { "sequence", "", 0, jinja_is_sequence }, { "string", "", 0, jinja_is_string }, { "test", "", 0, jinja_is_a_test },
    { "true", "", 0, jinja_is_true }, { "undefined", "", 0, jinja_is_undefined }, { "upper", "", 0, jinja_is_upper },
};

PITH_SHARED const pith__jbuiltin *pith__j_test(const pith__jstr *name) {
    return pith__j_named(jinja_test, sizeof jinja_test / sizeof *jinja_test, name);
}
