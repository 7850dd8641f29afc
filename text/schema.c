/* schema.c - what a JSON Schema asks for (draft 2020-12), as cases.
 *
 * A schema becomes a list of cases, each of one type: strings of some set, objects with such properties. All
 * keywords of a schema must hold, so their cases are joined, each with each of the other's; anyOf lists cases.
 * Sets of strings and of numbers are automata (automaton.c), so that pattern, enum, not and bounds join exactly.
 * What cannot be enforced is refused by the name of its keyword, with a JSON pointer to it; nothing is ignored.
 * What values inside a value must be is a want: a list of schemas, whose cases are made when they are asked for,
 * so that a schema may refer to itself. */
#include "text.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_WORK = 1 << 20, MOST_CASES = 2000, MOST_WANTS = 20000 };

/* ---- errors ------------------------------------------------------------------------------------------- */

/* The JSON pointer of the value at p: the way down to it. */
static void schema_pointer(const pith__schema *r, const char *p, char *to, size_t room) {
    pith__json at = r->root;
    size_t n = (size_t)snprintf(to, room, "#");
    while (at.p && at.p != p && n + 80 < room) {
        pith__json it = at, key = { NULL, NULL }, value, inside = { NULL, NULL }, name = key;
        int is_object = pith__json_type(at) == '{';
        int i = 0, found = 0;
        while (pith__json_next(&it, is_object ? &key : NULL, &value)) {
            if ((is_object ? key.p : value.p) > p) break;
            inside = value, name = key, found = i++;
        }
        if (!inside.p) break;
        if (is_object) {
            size_t k = 0;
            for (const char *c = name.p + 1; c < name.end && (*c != '"' || c[-1] == '\\') && k < 60; c++) k++;
            n += (size_t)snprintf(to + n, room - n, "/%.*s", (int)k, name.p + 1);
        } else {
            n += (size_t)snprintf(to + n, room - n, "/%d", found);
        }
        if (name.p && p >= name.p && p < inside.p) break; /* the key itself */
        at = inside;
    }
}

PITH_SHARED void pith__schema_fail(pith__schema *r, const char *at, const char *fmt, ...) {
    char pointer[400], what[300];
    va_list args;
    if (r->code) return;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    schema_pointer(r, at ? at : r->text, pointer, sizeof pointer);
    r->code = pith__fail(r->err, PITH_EDATA, "schema: %s: %s", pointer, what);
}

static void schema_no_memory(pith__schema *r) {
    if (!r->code) r->code = pith__fail(r->err, PITH_EMEMORY, "no memory for a schema");
}

PITH_SHARED void *pith__schema_new(pith__schema *r, size_t n, size_t size) {
    void *p = r->code ? NULL : pith__arena_new(&r->arena, n, size);
    if (!p) schema_no_memory(r);
    return p;
}

static void schema_work(pith__schema *r, const char *at, size_t n) {
    r->work += n;
    if (r->work > MOST_WORK) pith__schema_fail(r, at, "the schema is too large, or has too many combinations");
}

PITH_SHARED pith__dfa *pith__schema_dfa(pith__schema *r, const char *at, pith__dfa *d, const pith_error *e) {
    if (d && d->too_large) pith__schema_fail(r, at, "this needs too many states");
    else if (d) schema_work(r, at, 16 + d->n + d->first[d->n] + d->work);
    else if (e && e->code && e->code != PITH_EMEMORY) pith__schema_fail(r, at, "%s", e->text);
    else schema_no_memory(r);
    return d;
}

PITH_SHARED pith__dfa *pith__schema_join(pith__schema *r, const pith__dfa *x, const pith__dfa *y, int how) {
    return r->code || !x || !y ? NULL : pith__schema_dfa(r, NULL, pith__dfa_join(x, y, how, &r->arena), NULL);
}

PITH_SHARED pith__dfa *pith__schema_any(pith__schema *r) {
    if (!r->any && !r->code) r->any = pith__schema_dfa(r, NULL, pith__dfa_any(&r->arena), NULL);
    return r->any;
}

PITH_SHARED pith__dfa *pith__schema_numbers(pith__schema *r) {
    pith_error e = { 0, "" };
    if (!r->numbers && !r->code) r->numbers = pith__schema_dfa(r, NULL, pith__numbers(&r->arena, &e), &e);
    return r->numbers;
}

PITH_SHARED pith__dfa *pith__schema_whole(pith__schema *r) {
    pith_error e = { 0, "" };
    if (!r->whole && !r->code) r->whole = pith__schema_dfa(r, NULL, pith__numbers_whole(&r->arena, &e), &e);
    return r->whole;
}

/* ---- wants -------------------------------------------------------------------------------------------- */

static int demand_order(const void *a, const void *b) {
    const pith__demand *x = a, *y = b;
    if (x->at != y->at) return x->at < y->at ? -1 : 1;
    return (x->how > y->how) - (x->how < y->how);
}

PITH_SHARED pith__want *pith__want_of(pith__schema *r, const pith__demand *demand, size_t n) {
    for (size_t i = 0; i < r->n_want; i++) {
        pith__want *w = r->want[i];
        if (w->n == n && (!n || !memcmp(w->demand, demand, n * sizeof *demand))) return w;
    }
    pith__want **more = r->code ? NULL : pith__more(r->want, &r->want_room, r->n_want + 1, sizeof *more);
    if (more) r->want = more;
    if (r->n_want >= MOST_WANTS) pith__schema_fail(r, NULL, "the schema has too many combinations");
    pith__want *w = pith__schema_new(r, 1, sizeof *w);
    if (w) w->demand = pith__schema_new(r, n, sizeof *demand);
    if (!more || !w || !w->demand) {
        schema_no_memory(r);
        return NULL;
    }
    if (n) memcpy(w->demand, demand, n * sizeof *demand);
    w->n = n;
    w->id = (uint32_t)r->n_want;
    return r->want[r->n_want++] = w;
}

PITH_SHARED pith__want *pith__want_at(pith__schema *r, const char *at, int how) {
    pith__demand d;
    memset(&d, 0, sizeof d); /* compared byte by byte */
    d.at = at;
    d.how = how;
    return pith__want_of(r, &d, 1);
}

PITH_SHARED pith__want *pith__want_any(pith__schema *r) { return pith__want_of(r, NULL, 0); }
PITH_SHARED pith__want *pith__want_nothing(pith__schema *r) { return pith__want_at(r, NULL, PITH__SATISFY); }

PITH_SHARED int pith__want_never(const pith__want *w) { return w->n == 1 && !w->demand[0].at; }

PITH_SHARED pith__want *pith__want_both(pith__schema *r, const pith__want *a, const pith__want *b) {
    if (r->code || !a || !b) return NULL;
    if (!b->n || pith__want_never(a)) return (pith__want *)(uintptr_t)a;
    if (!a->n || pith__want_never(b)) return (pith__want *)(uintptr_t)b;
    pith__demand *all = pith__schema_new(r, a->n + b->n, sizeof *all);
    size_t n = 0;
    if (!all) return NULL;
    memcpy(all, a->demand, a->n * sizeof *all);
    memcpy(all + a->n, b->demand, b->n * sizeof *all);
    qsort(all, a->n + b->n, sizeof *all, demand_order);
    for (size_t i = 0; i < a->n + b->n; i++)
        if (!n || demand_order(&all[i], &all[n - 1]) != 0) all[n++] = all[i];
    schema_work(r, all[0].at, n);
    return pith__want_of(r, all, n);
}

/* The schema at a place; true and false are simple. */
PITH_SHARED pith__want *pith__want_schema(pith__schema *r, pith__json j, int violate) {
    char type = pith__json_type(j);
    if (type == 't' || type == 'f') return (type == 't') == !violate ? pith__want_any(r) : pith__want_nothing(r);
    return pith__want_at(r, j.p, violate ? PITH__VIOLATE : PITH__SATISFY);
}

/* ---- cases -------------------------------------------------------------------------------------------- */

PITH_SHARED pith__case *pith__case_new(pith__schema *r, int type) {
    pith__case *c = pith__schema_new(r, 1, sizeof *c);
    schema_work(r, NULL, 1);
    if (!c) return NULL;
    c->type = type;
    c->bools = 3;
    c->max = c->contains_max = UINT32_MAX;
    c->rest = type == PITH__J_ARRAY ? pith__want_any(r) : NULL;
    if (type == PITH__J_OBJECT && (c->other = pith__schema_new(r, 1, sizeof *c->other)) != NULL) {
        c->other[0].want = pith__want_any(r);
        c->n_other = 1;
    }
    return c;
}

PITH_SHARED int pith__case_free(const pith__case *c) {
    if (c->set || c->whole || c->min || c->max != UINT32_MAX || c->n) return 0;
    if (c->contains || c->unique || c->bools != 3) return 0;
    if (c->type == PITH__J_ARRAY) return c->rest && !c->rest->n;
    if (c->type != PITH__J_OBJECT) return 1;
    return c->n_other == 1 && !c->other[0].keys && c->other[0].want && !c->other[0].want->n;
}

/* One more for a list, unless a case there has all of its values. */
PITH_SHARED void pith__case_add(pith__case **list, pith__case *c) {
    pith__case **at = list;
    for (; *at; at = &(*at)->next)
        if ((*at)->type == c->type && pith__case_free(*at)) return;
    *at = c;
}

static pith__case *copy_case(pith__schema *r, const pith__case *c) {
    pith__case *copy = pith__schema_new(r, 1, sizeof *copy);
    if (copy) *copy = *c, copy->next = NULL;
    return copy;
}

PITH_SHARED void pith__cases_add(pith__schema *r, pith__case **list, const pith__case *more) {
    for (; more && !r->code; more = more->next) {
        pith__case *c = copy_case(r, more);
        if (c) pith__case_add(list, c);
    }
}

/* Any value, but for those of type but. */
PITH_SHARED pith__case *pith__cases_but(pith__schema *r, int but) {
    pith__case *list = NULL;
    for (int type = 0; type < PITH__J_TYPES; type++) {
        pith__case *c = type == but ? NULL : pith__case_new(r, type);
        if (c) pith__case_add(&list, c);
    }
    return list;
}

PITH_SHARED pith__dfa *pith__schema_strings(pith__schema *r, const pith__case *c) {
    pith__dfa *d = c->set ? c->set : pith__schema_any(r);
    if (!c->min && c->max == UINT32_MAX) return d;
    if (c->min > PITH__MOST_STATES || (c->max != UINT32_MAX && c->max > PITH__MOST_STATES)) {
        pith__schema_fail(r, NULL, "a length over %d together with a pattern", PITH__MOST_STATES);
        return NULL;
    }
    pith__dfa *length = pith__schema_dfa(r, NULL, pith__dfa_length(c->min, c->max, &r->arena), NULL);
    return pith__schema_join(r, d, length, PITH__AND);
}

/* ---- two cases at once ---------------------------------------------------------------------------------- */

static pith__want *item_want(const pith__case *c, size_t i) { return i < c->n ? c->item[i] : c->rest; }

static int join_arrays(pith__schema *r, pith__case *to, const pith__case *a, const pith__case *b) {
    to->n = a->n > b->n ? a->n : b->n;
    to->item = pith__schema_new(r, to->n, sizeof *to->item);
    for (size_t i = 0; to->item && i < to->n; i++)
        to->item[i] = pith__want_both(r, item_want(a, i), item_want(b, i));
    to->rest = pith__want_both(r, a->rest, b->rest);
    to->unique = a->unique | b->unique;
    const pith__case *c = a->contains ? a : b;
    if (a->contains && b->contains)
        pith__schema_fail(r, a->contains->n ? a->contains->demand[0].at : NULL, "two contains for one array are not enforced");
    to->contains = c->contains;
    to->contains_min = c->contains_min;
    to->contains_max = c->contains_max;
    for (size_t i = 0; i < to->n && !r->code; i++) /* no array goes beyond an item that nothing is */
        if (pith__want_never(to->item[i]) && to->max > i) to->max = (uint32_t)i;
    if (!r->code && pith__want_never(to->rest) && to->max > to->n) to->max = (uint32_t)to->n;
    return !r->code && to->min <= to->max;
}

static const pith__property *find_property(const pith__case *c, pith__str name) {
    for (size_t i = 0; i < c->n; i++)
        if (c->property[i].name.n == name.n && !pith__str_cmp(c->property[i].name, name)) return &c->property[i];
    return NULL;
}

/* What the value of name has to be. */
static pith__want *property_want(pith__schema *r, const pith__case *c, pith__str name) {
    const pith__property *p = find_property(c, name);
    if (p) return p->want;
    for (size_t i = 0; i < c->n_other; i++)
        if (!c->other[i].keys || pith__dfa_has(c->other[i].keys, name)) return c->other[i].want;
    return pith__want_nothing(r);
}

static void join_names(pith__schema *r, pith__case *to, const pith__case *a, const pith__case *b) {
    to->n_other = 0;
    to->other = pith__schema_new(r, a->n_other * b->n_other, sizeof *to->other);
    for (size_t i = 0; i < a->n_other; i++)
        for (size_t j = 0; j < b->n_other && !r->code; j++) {
            pith__dfa *x = a->other[i].keys, *y = b->other[j].keys;
            pith__names_of both = { x && y ? pith__schema_join(r, x, y, PITH__AND) : x ? x : y,
                                    pith__want_both(r, a->other[i].want, b->other[j].want) };
            if (!both.keys || both.keys->n) to->other[to->n_other++] = both;
        }
}

static int join_objects(pith__schema *r, pith__case *to, const pith__case *a, const pith__case *b) {
    to->n = 0;
    to->property = pith__schema_new(r, a->n + b->n, sizeof *to->property);
    schema_work(r, NULL, a->n + b->n);
    size_t required = 0;
    for (size_t i = 0; i < a->n + b->n && !r->code; i++) {
        const pith__property *p = i < a->n ? &a->property[i] : &b->property[i - a->n];
        const pith__property *twin = i < a->n ? find_property(b, p->name) : NULL;
        if (i >= a->n && find_property(a, p->name)) continue;
        pith__property both = { p->name, NULL, p->required || (twin && twin->required) };
        both.want = pith__want_both(r, property_want(r, a, p->name), property_want(r, b, p->name));
        if (!r->code && both.required && pith__want_never(both.want)) return 0;
        required += (size_t)both.required;
        to->property[to->n++] = both;
    }
    if (!r->code) join_names(r, to, a, b);
    return !r->code && to->min <= to->max && required <= to->max;
}

/* The values that two cases share, or NULL: there are none that a look at the two can find. */
PITH_SHARED pith__case *pith__case_both(pith__schema *r, const pith__case *a, const pith__case *b) {
    if (a->type != b->type || r->code) return NULL;
    if (pith__case_free(a)) return copy_case(r, b);
    if (pith__case_free(b)) return copy_case(r, a);
    pith__case *c = pith__case_new(r, a->type);
    if (!c) return NULL;
    c->bools = a->bools & b->bools;
    c->min = a->min > b->min ? a->min : b->min;
    c->max = a->max < b->max ? a->max : b->max;
    c->whole = a->whole | b->whole;
    c->set = a->set && b->set ? pith__schema_join(r, a->set, b->set, PITH__AND) : a->set ? a->set : b->set;
    if (r->code || !c->bools || c->min > c->max || (c->set && !c->set->n)) return NULL;
    if (c->type == PITH__J_ARRAY && !join_arrays(r, c, a, b)) return NULL;
    if (c->type == PITH__J_OBJECT && !join_objects(r, c, a, b)) return NULL;
    if (c->type == PITH__J_NUMBER && c->whole && c->set) { /* has it integers? */
        c->set = pith__schema_join(r, c->set, pith__schema_whole(r), PITH__AND);
        if (!c->set || !c->set->n) return NULL;
    }
    return c;
}

PITH_SHARED pith__case *pith__cases_both(pith__schema *r, const char *at, const pith__case *a, const pith__case *b) {
    pith__case *list = NULL;
    size_t n = 0;
    for (; a && !r->code; a = a->next)
        for (const pith__case *o = b; o && !r->code; o = o->next) {
            pith__case *c = pith__case_both(r, a, o);
            if (c) pith__case_add(&list, c), n++;
            if (n > MOST_CASES) pith__schema_fail(r, at, "too many combinations");
        }
    return list;
}
