/* jinja_functions.c - the functions that a template can call, beside its own macros. */
#include "jinja.h"

#include <math.h>
#include <string.h>

enum { JINJA_LONGEST_RANGE = 100000 }; /* as the sandbox of Jinja2 has it */

PITH__T_BUILTIN(jinja_range) {
    pith__jvalue l = pith__j_list(r, PITH__T_RANGE, 0);
    (void)v;
    for (int i = 0; i < all->n; i++)
        if (a[i].type != PITH__T_INT && a[i].type != PITH__T_BOOL)
            return pith__j_defined(r, a[i]) ? pith__j_fail(r, "range of a %s, need integers", pith__j_type(a[i])) : v;
    int64_t from = a[1].type ? a[0].as.i : 0, to = a[1].type ? a[1].as.i : a[0].as.i, step = a[2].type ? a[2].as.i : 1;
    if (!step) return pith__j_fail(r, "range with a step of 0");
    double many = ceil(((double)to - (double)from) / (double)step);
    if (many > JINJA_LONGEST_RANGE) return pith__j_fail(r, "range of more than %d numbers", JINJA_LONGEST_RANGE);
    if (r->code) return l;
    l.as.list->n = many > 0 ? (size_t)many : 0;
    l.as.list->from = from;
    l.as.list->step = step;
    return l;
}

static pith__jvalue jinja_make_dict(pith__jrun *r, int type, const pith__jargs *all) {
    pith__jvalue d = pith__j_dict(r, type);
    if (all->n > 1) return pith__j_fail(r, "takes one argument by position");
    const pith__jdict *of = all->n && all->v->type == PITH__T_DICT ? all->v->as.dict : NULL;
    for (size_t i = 0; of && i < of->n; i++) pith__j_set(r, d.as.dict, of->pair[2 * i], of->pair[2 * i + 1]);
    const pith__jlist *l = all->n && !of ? pith__j_items(r, *all->v) : NULL;
    for (size_t i = 0; l && i < l->n && !r->code; i++) {
        const pith__jlist *pair = pith__j_items(r, l->v[i]);
        if (pair && pair->n != 2) return pith__j_fail(r, "a dictionary is made of pairs, not of %zu values", pair->n);
        if (pair) pith__j_set(r, d.as.dict, pair->v[0], pair->v[1]);
    }
    for (int i = 0; i < all->n_named; i++) pith__j_set_named(r, d.as.dict, all->name[i], all->named[i]);
    return d;
}

PITH__T_BUILTIN(jinja_dict) {
    (void)v, (void)a;
    return jinja_make_dict(r, PITH__T_DICT, all);
}

PITH_SHARED void pith__j_check_attribute(pith__jrun *r, pith__jvalue name) {
    if (name.type == PITH__T_STR && name.as.s->n && *name.as.s->p == '_')
        pith__j_fail(r, "'%.*s' as the attribute of a namespace: none may begin with '_'", pith__j_shown(name.as.s),
                     name.as.s->p);
}

PITH__T_BUILTIN(jinja_namespace) {
    (void)a;
    v = jinja_make_dict(r, PITH__T_SPACE, all);
    for (size_t i = 0; !r->code && i < v.as.dict->n; i++) pith__j_check_attribute(r, v.as.dict->pair[2 * i]);
    return v;
}

PITH__T_BUILTIN(jinja_raise) {
    (void)v, (void)all;
    pith__jvalue text = pith__j_string(r, *a);
    if (r->code) return text;
    return pith__j_fail(r, "the template says: %.*s", text.as.s->n < 300 ? (int)text.as.s->n : 300, text.as.s->p);
}

PITH__T_BUILTIN(jinja_joiner_next) {
    (void)a, (void)all;
    int first = v.as.list->at++ == 0;
    r->effects++;
    return first ? pith__j_text(r, "", 0, 0) : v.as.list->v[0];
}

PITH__T_BUILTIN(jinja_joiner) {
    static const pith__jbuiltin next = { "joiner", "", 0, jinja_joiner_next };
    pith__jbound *b = pith__j_new(r, 1, sizeof *b);
    (void)all;
    v = pith__j_list(r, PITH__T_LIST, 1);
    pith__j_append(r, v.as.list, a->type ? *a : pith__j_text(r, ", ", 2, 0));
    if (r->code) return v;
    *b = (pith__jbound){ &next, v };
    return (pith__jvalue){ .type = PITH__T_CALLABLE, .as.bound = b };
}

static const pith__jbuiltin jinja_function[] = {
    { "dict", "*", 0, jinja_dict }, { "joiner", "sep", 0, jinja_joiner }, { "namespace", "*", 0, jinja_namespace },
    { "raise_exception", "message", 1, jinja_raise }, { "range", "start stop step", 1, jinja_range },
    { "strftime_now", "format", 1, pith__j_strftime },
};

PITH_SHARED const pith__jbuiltin *pith__j_function(const pith__jstr *name) {
    return pith__j_named(jinja_function, sizeof jinja_function / sizeof *jinja_function, name);
}
