/* jinja_run.c - runs the tree of a template: statements write into r->out, expressions give values.
 *
 * Names are looked up in frames, one around the other: a loop's body, a macro and a few blocks have one of their own,
 * so what is set there is gone behind them; if has none. The outermost frame holds the variables of the caller. */
#include "jinja.h"

#include <string.h>

enum {
    JINJA_SEEN = 64,                 /* characters that a loop over a text remembers, if it has half as many bytes */
    JINJA_DEEPEST_RUN = 700          /* calls of evaluate and run within each other */
};

typedef struct pith__jframe {
    pith__jdict *vars; /* NULL: none yet */
    struct pith__jframe *up;
    int kept;          /* 1: a macro still needs it */
} jinja_frame;

typedef struct {
    const pith__jstr *text; /* a character, or NULL */
    int64_t since;          /* r->effects when the loop's body did nothing for it, or 0 */
} jinja_seen;

typedef struct pith__jloop {
    const pith__jnode *node;
    jinja_frame *outer, *test; /* around the loop; where its condition is asked */
    pith__jvalue items;        /* a list, a range or a text */
    size_t raw;                /* how many of them were looked at; bytes of a text */
    jinja_seen *seen;          /* (JINJA_SEEN) over a text: by character; or NULL */
    int chosen;                /* 1: the loop's condition holds for all of them */
    pith__jvalue ahead, now, before, changed; /* ABSENT: none */
    int64_t index, depth;      /* from 0 */
} jinja_a_loop;

enum { JINJA_GO_ON, JINJA_BREAK, JINJA_CONTINUE };

static pith__jvalue jinja_evaluate(pith__jrun *r, const pith__jnode *n, jinja_frame *f);
static int jinja_run(pith__jrun *r, const pith__jnode *n, jinja_frame *f);

/* ---- names ------------------------------------------------------------------------------------------- */

static jinja_frame *jinja_new_frame(pith__jrun *r, jinja_frame *up) {
    jinja_frame *f = pith__j_new(r, 1, sizeof *f);
    if (f) f->up = up;
    return f;
}

static void jinja_assign_name(pith__jrun *r, jinja_frame *f, const pith__jstr *name, pith__jvalue v) {
    if (r->code || !f) return;
    if (!f->vars) f->vars = pith__j_dict(r, PITH__T_DICT).as.dict;
    if (!r->code) pith__j_set_named(r, f->vars, name, v);
}

static const pith__jstr jinja_the_loop = { .p = "loop", .n = 4 }, jinja_the_caller = { .p = "caller", .n = 6 },
                        jinja_the_varargs = { .p = "varargs", .n = 7 }, jinja_the_kwargs = { .p = "kwargs", .n = 6 };

static pith__jvalue jinja_bind(pith__jrun *r, const pith__jbuiltin *f, pith__jvalue self) {
    pith__jbound *b = pith__j_new(r, 1, sizeof *b);
    if (b) *b = (pith__jbound){ f, self };
    return (pith__jvalue){ .type = b ? PITH__T_CALLABLE : PITH__T_ABSENT, .as.bound = b };
}

static pith__jvalue jinja_look_up(pith__jrun *r, const jinja_frame *f, const pith__jstr *name) {
    const pith__jvalue none = { 0 };
    for (; f; f = f->up) {
        const pith__jvalue *v = f->vars ? pith__j_get_named(f->vars, name) : NULL;
        if (v) return *v;
    }
    const pith__jbuiltin *b = pith__j_function(name);
    if (b && b->call == pith__j_strftime && !r->now) b = NULL; /* templates ask whether it is defined */
    return b ? jinja_bind(r, b, none) : pith__j_undefined(PITH__T_NAME, name);
}

static void jinja_assign(pith__jrun *r, const pith__jnode *target, pith__jvalue v, jinja_frame *f) {
    if (r->code) return;
    if (target->kind == PITH__T_VARIABLE) {
        jinja_assign_name(r, f, target->name, v);
    } else if (target->kind == PITH__T_NS_TARGET) {
        pith__jvalue space = jinja_look_up(r, f, target->name);
        if (space.type != PITH__T_SPACE) pith__j_fail(r, "only a namespace has attributes that can be set");
        pith__j_check_attribute(r, target->value);
        if (!r->code) pith__j_set(r, space.as.dict, target->value, v);
    } else {
        const pith__jlist *l = pith__j_items(r, v);
        size_t n = 0;
        for (const pith__jnode *t = target->a; t; t = t->next) n++;
        if (l && l->n != n) pith__j_fail(r, "%zu values for %zu names", l->n, n);
        for (const pith__jnode *t = target->a; t && !r->code; t = t->next)
            jinja_assign(r, t, *(l->v + (l->n - n--)), f);
    }
}

/* ---- loops ----------------------------------------------------------------------------------------- */

static void jinja_empty_frame(pith__jrun *r, jinja_frame **f) { /* what was set there is gone */
    if ((*f)->kept) {
        *f = jinja_new_frame(r, (*f)->up);
    } else if ((*f)->vars) {
        (*f)->vars->n = 0;
        if ((*f)->vars->slot) memset((*f)->vars->slot, 0, (*f)->vars->n_slot * sizeof *(*f)->vars->slot);
    }
}

/* Templates for contents of parts ask of each character of a text whether it is a part, and then do nothing. Where the
 * body did nothing for a character, and nothing has changed since, it does nothing for this character again. */
static jinja_seen *jinja_seen_of(const jinja_a_loop *l, const pith__jstr *s, size_t at, size_t *n) {
    uint32_t c;
    *n = pith__utf8_read((const uint8_t *)s->p + at, s->n - at, &c);
    jinja_seen *seen = l->seen ? &l->seen[c % JINJA_SEEN] : NULL;
    if (seen && (!seen->text || seen->text->n != *n || memcmp(seen->text->p, s->p + at, *n) != 0))
        *seen = (jinja_seen){ NULL, 0 };
    return seen;
}

static int jinja_is_left(const jinja_a_loop *l) {
    return l->raw < (l->items.type == PITH__T_STR ? l->items.as.s->n : l->items.as.list->n);
}

static pith__jvalue jinja_next_raw(pith__jrun *r, jinja_a_loop *l) {
    if (l->items.type != PITH__T_STR) return pith__j_nth(l->items, l->raw++);
    const pith__jstr *s = l->items.as.s;
    size_t n, at = l->raw;
    jinja_seen *seen = jinja_seen_of(l, s, at, &n);
    l->raw += n;
    if (seen && seen->text) return (pith__jvalue){ .type = PITH__T_STR, .as.s = seen->text };
    pith__jvalue v = pith__j_part(r, s, at, n);
    if (seen && !r->code) seen->text = v.as.s;
    return v;
}

static void jinja_pass_quiet(pith__jrun *r, jinja_a_loop *l) {
    while (l->seen && !l->ahead.type && jinja_is_left(l) && pith__j_work(r, 1)) {
        size_t n;
        const jinja_seen *seen = jinja_seen_of(l, l->items.as.s, l->raw, &n);
        if (!seen->text || seen->since != r->effects) break;
        l->raw += n;
        l->index++;
        l->before = l->now;
        l->now = (pith__jvalue){ .type = PITH__T_STR, .as.s = seen->text };
    }
}

/* The next item for which the loop's condition holds, or ABSENT. It waits in ahead until it is taken. */
static pith__jvalue jinja_peek_item(pith__jrun *r, jinja_a_loop *l) {
    while (!l->ahead.type && jinja_is_left(l) && pith__j_work(r, 1)) {
        pith__jvalue v = jinja_next_raw(r, l);
        if (r->code) break;
        if (l->node->c && !l->chosen) {
            jinja_empty_frame(r, &l->test);
            if (r->code) break;
            jinja_assign(r, l->node->a, v, l->test);
            if (!pith__j_true(jinja_evaluate(r, l->node->c, l->test))) continue;
        }
        l->ahead = v;
    }
    return r->code ? (pith__jvalue){ 0 } : l->ahead;
}

/* Of all that the loop walks over. With a condition, all items are asked for now. */
static int64_t jinja_loop_length(pith__jrun *r, jinja_a_loop *l) {
    const int64_t so_far = l->index + 1 + (l->ahead.type != 0);
    if ((!l->node->c || l->chosen) && l->items.type != PITH__T_STR)
        return so_far + (int64_t)(l->items.as.list->n - l->raw);
    if (!l->node->c)
        return so_far + pith__j_count(r, pith__j_part(r, l->items.as.s, l->raw, l->items.as.s->n - l->raw));
    pith__jvalue rest = pith__j_list(r, PITH__T_LIST, 0);
    while (!r->code && jinja_peek_item(r, l).type) {
        pith__j_append(r, rest.as.list, l->ahead);
        l->ahead.type = PITH__T_ABSENT;
    }
    if (r->code) return 0;
    l->items = rest;
    l->raw = 0;
    l->chosen = 1;
    return l->index + 1 + (int64_t)rest.as.list->n;
}

PITH__T_BUILTIN(jinja_cycle) {
    (void)a;
    if (!all->n) return pith__j_fail(r, "cycle of nothing");
    return all->v[v.as.loop->index % all->n];
}

PITH__T_BUILTIN(jinja_changed) {
    (void)a;
    pith__jvalue now = pith__j_list(r, PITH__T_TUPLE, (size_t)all->n);
    for (int i = 0; i < all->n && !r->code; i++) pith__j_append(r, now.as.list, all->v[i]);
    int same = !r->code && v.as.loop->changed.type && pith__j_equal(r, v.as.loop->changed, now);
    v.as.loop->changed = now;
    r->effects++;
    return pith__j_bool(!same);
}

static const pith__jbuiltin jinja_loop_method[] = { { "cycle", "*", 0, jinja_cycle },
                                                    { "changed", "*", 0, jinja_changed } };

static pith__jvalue jinja_loop_attribute(pith__jrun *r, pith__jvalue v, const pith__jstr *name) {
    static const char *const known[] = { "index", "index0", "first", "last", "length", "revindex", "revindex0",
                                         "previtem", "nextitem", "depth", "depth0" };
    jinja_a_loop *l = v.as.loop;
    const pith__jbuiltin *method = pith__j_named(jinja_loop_method,
                                                 sizeof jinja_loop_method / sizeof *jinja_loop_method, name);
    size_t i = 0, n = sizeof known / sizeof *known;
    if (method) return jinja_bind(r, method, v);
    while (i < n && !pith__str_is((pith__str){ name->p, name->n }, known[i])) i++;
    const pith__jvalue nothing = pith__j_undefined(PITH__T_ATTRIBUTE, name);
    switch (i) {
    case 0: return pith__j_int(l->index + 1);
    case 1: return pith__j_int(l->index);
    case 2: return pith__j_bool(l->index == 0);
    case 3: return pith__j_bool(!jinja_peek_item(r, l).type);
    case 4: return pith__j_int(jinja_loop_length(r, l));
    case 5: return pith__j_int(jinja_loop_length(r, l) - l->index);
    case 6: return pith__j_int(jinja_loop_length(r, l) - l->index - 1);
    case 7: return l->before.type ? l->before : nothing;
    case 8: return jinja_peek_item(r, l).type ? l->ahead : nothing;
    case 9: return pith__j_int(l->depth + 1);
    case 10: return pith__j_int(l->depth);
    default: return nothing;
    }
}

static int jinja_walk(pith__jrun *r, jinja_a_loop *l) { /* 1: the body ran to its end at least once: as Jinja2 has it */
    const pith__jnode *n = l->node;
    jinja_frame *inner = jinja_new_frame(r, l->outer);
    const pith__jvalue self = { .type = PITH__T_LOOP, .as.loop = l };
    int control = JINJA_GO_ON, any = 0;
    size_t bytes;
    while (control != JINJA_BREAK && !r->code && jinja_peek_item(r, l).type) {
        l->before = l->now;
        l->now = l->ahead;
        l->ahead.type = PITH__T_ABSENT;
        l->index++;
        jinja_empty_frame(r, &inner);
        jinja_assign_name(r, inner, &jinja_the_loop, self);
        jinja_assign(r, n->a, l->now, inner);
        const int64_t before = r->effects;
        control = r->code ? JINJA_BREAK : jinja_run(r, n->d->a, inner);
        any |= control == JINJA_GO_ON;
        const jinja_seen seen = { l->now.as.s, r->effects == before ? before : 0 };
        if (l->seen) *jinja_seen_of(l, l->now.as.s, 0, &bytes) = seen;
        jinja_pass_quiet(r, l);
    }
    return any;
}

static int jinja_loop(pith__jrun *r, const pith__jnode *n, jinja_frame *f, pith__jvalue over, int64_t depth) {
    jinja_a_loop *l = pith__j_new(r, 1, sizeof *l);
    if (!l) return JINJA_GO_ON;
    if (over.type == PITH__T_STR && !over.as.s->marks && over.as.s->n >= JINJA_SEEN / 2 && !n->c)
        l->seen = pith__j_new(r, JINJA_SEEN, sizeof *l->seen);
    if (over.type != PITH__T_RANGE && over.type != PITH__T_STR)
        over = (pith__jvalue){ .type = PITH__T_LIST, .as.list = pith__j_items(r, over) };
    *l = (jinja_a_loop){ .node = n, .outer = f, .index = -1, .depth = depth, .items = over, .seen = l->seen };
    if (n->c) l->test = jinja_new_frame(r, f);
    if (r->code || jinja_walk(r, l) || r->code) return JINJA_GO_ON;
    return n->d->b ? jinja_run(r, n->d->b, jinja_new_frame(r, f)) : JINJA_GO_ON;
}

/* ---- calls ----------------------------------------------------------------------------------------- */

/* What a part of the template writes, as a value. */
static pith__jbuffer *jinja_capture(pith__jrun *r) {
    pith__jbuffer *before = r->out;
    r->out = pith__j_buffer(r);
    return before;
}

static pith__jvalue jinja_captured(pith__jrun *r, pith__jbuffer *before) {
    pith__jvalue v = pith__j_done(r, r->out);
    r->out = before;
    return v;
}

static int jinja_named_argument(const pith__jargs *all, const pith__jstr *name) { /* or -1 */
    for (int i = 0; i < all->n_named; i++)
        if (all->name[i]->n == name->n && !memcmp(all->name[i]->p, name->p, name->n)) return i;
    return -1;
}

/* varargs, kwargs and caller: what a macro gets beside its parameters, of which it has n. */
static void jinja_bind_rest(pith__jrun *r, const pith__jmacro *m, jinja_frame *f, const pith__jargs *all, int n) {
    int given = jinja_named_argument(all, &jinja_the_caller);
    if (m->uses & 1) {
        pith__jvalue none = pith__j_undefined(PITH__T_NAME, &jinja_the_caller);
        jinja_assign_name(r, f, &jinja_the_caller, given >= 0 ? all->named[given] : none);
    }
    pith__jvalue rest = pith__j_list(r, PITH__T_TUPLE, 0), named = pith__j_dict(r, PITH__T_DICT);
    for (int i = n; i < all->n && !r->code; i++) pith__j_append(r, rest.as.list, all->v[i]);
    for (int i = 0; i < all->n_named && !r->code; i++) {
        int known = i == given && m->uses & 1, k = 0;
        for (const pith__jnode *p = m->parameters; p && !known; p = p->next, k++)
            known = k >= all->n && p->name->n == all->name[i]->n && !memcmp(p->name->p, all->name[i]->p, p->name->n);
        if (!known) pith__j_set_named(r, named.as.dict, all->name[i], all->named[i]);
    }
    if (r->code) return;
    int length = pith__j_shown(m->name);
    if (m->uses & 2) jinja_assign_name(r, f, &jinja_the_varargs, rest);
    else if (rest.as.list->n) pith__j_fail(r, "macro %.*s takes at most %d arguments", length, m->name->p, n);
    if (m->uses & 4) jinja_assign_name(r, f, &jinja_the_kwargs, named);
    else if (!r->code && named.as.dict->n) {
        const pith__jstr *name = named.as.dict->pair->as.s;
        pith__j_fail(r, "macro %.*s takes no argument '%.*s' here", length, m->name->p, pith__j_shown(name), name->p);
    }
}

static pith__jvalue jinja_call_macro(pith__jrun *r, const pith__jmacro *m, const pith__jargs *all) {
    jinja_frame *f = jinja_new_frame(r, m->frame);
    int i = 0, line = r->line;
    for (const pith__jnode *p = m->parameters; p && !r->code; p = p->next, i++) {
        int named = i < all->n ? -1 : jinja_named_argument(all, p->name);
        pith__jvalue v = i < all->n ? all->v[i] : named >= 0 ? all->named[named]
                       : p->a ? jinja_evaluate(r, p->a, f) : pith__j_undefined(PITH__T_NAME, p->name);
        jinja_assign_name(r, f, p->name, v);
    }
    jinja_bind_rest(r, m, f, all, i);
    pith__jbuffer *before = jinja_capture(r);
    r->effects++;
    if (!r->code) jinja_run(r, m->body, f);
    if (!r->code) r->line = line;
    return jinja_captured(r, before);
}

static pith__jvalue jinja_call(pith__jrun *r, pith__jvalue f, const pith__jargs *args) {
    switch (f.type) {
    case PITH__T_CALLABLE: return pith__j_apply(r, f.as.bound->builtin, f.as.bound->self, args);
    case PITH__T_MACRO: return jinja_call_macro(r, f.as.macro, args);
    case PITH__T_LOOP:
        if (f.as.loop->node->op && args->n == 1 && !args->n_named) {
            pith__jbuffer *before = jinja_capture(r);
            if (!r->code) jinja_loop(r, f.as.loop->node, f.as.loop->outer, *args->v, f.as.loop->depth + 1);
            return jinja_captured(r, before);
        }
        return pith__j_fail(r, "loop() needs a loop that is 'recursive', and one argument");
    default: return pith__j_defined(r, f) ? pith__j_fail(r, "a %s cannot be called", pith__j_type(f)) : f;
    }
}

typedef struct { /* arguments while they are gathered */
    pith__jvalue v, named; /* lists */
    pith__jvalue names;    /* strings */
} jinja_gathered;

static void jinja_add_named(pith__jrun *r, jinja_gathered *g, pith__jvalue name, pith__jvalue v) {
    if (r->code) return;
    for (size_t i = 0; i < g->names.as.list->n; i++)
        if (pith__j_equal(r, g->names.as.list->v[i], name)) pith__j_fail(r, "an argument is given twice");
    pith__j_append(r, g->names.as.list, name);
    pith__j_append(r, g->named.as.list, v);
}

static void jinja_gather_one(pith__jrun *r, jinja_gathered *g, const pith__jnode *n, jinja_frame *f) {
    int special = n->kind == PITH__T_KEYWORD || n->kind == PITH__T_STAR || n->kind == PITH__T_STAR_STAR;
    pith__jvalue v = jinja_evaluate(r, special ? n->a : n, f);
    if (r->code) return;
    if (!special) {
        pith__j_append(r, g->v.as.list, v);
    } else if (n->kind == PITH__T_KEYWORD) {
        jinja_add_named(r, g, (pith__jvalue){ .type = PITH__T_STR, .as.s = n->name }, v);
    } else if (n->kind == PITH__T_STAR) {
        const pith__jlist *l = pith__j_items(r, v);
        for (size_t i = 0; l && i < l->n; i++) pith__j_append(r, g->v.as.list, l->v[i]);
    } else if (v.type != PITH__T_DICT) {
        pith__j_fail(r, "** of a %s, need a dictionary", pith__j_type(v));
    } else {
        for (size_t i = 0; i < v.as.dict->n; i++) {
            if (v.as.dict->pair[2 * i].type != PITH__T_STR)
                pith__j_fail(r, "** of a dictionary whose keys are no strings");
            jinja_add_named(r, g, v.as.dict->pair[2 * i], v.as.dict->pair[2 * i + 1]);
        }
    }
}

/* Evaluate a list of arguments; extra, if it has a type, is one more named caller. */
static pith__jargs jinja_arguments_of(pith__jrun *r, const pith__jnode *n, jinja_frame *f, pith__jvalue extra) {
    jinja_gathered g = { pith__j_list(r, PITH__T_LIST, 2), pith__j_list(r, PITH__T_LIST, 0),
                         pith__j_list(r, PITH__T_LIST, 0) };
    for (; n && !r->code; n = n->next) jinja_gather_one(r, &g, n, f);
    if (extra.type && !r->code) jinja_add_named(r, &g, pith__j_text(r, "caller", 6, 0), extra);
    if (r->code) return (pith__jargs){ 0 };
    const pith__jstr **name = pith__j_new(r, g.names.as.list->n, sizeof *name);
    for (size_t i = 0; name && i < g.names.as.list->n; i++) name[i] = g.names.as.list->v[i].as.s;
    return (pith__jargs){ g.v.as.list->v, (int)g.v.as.list->n, name, g.named.as.list->v, (int)g.named.as.list->n };
}

static pith__jvalue jinja_call_node_of(pith__jrun *r, const pith__jnode *n, jinja_frame *f, pith__jvalue caller) {
    pith__jvalue of = jinja_evaluate(r, n->a, f);
    pith__jargs args = jinja_arguments_of(r, n->b, f, caller);
    r->line = r->code ? r->line : n->line;
    return r->code ? of : jinja_call(r, of, &args);
}

/* A filter or a test. */
static pith__jvalue jinja_apply_node(pith__jrun *r, const pith__jnode *n, jinja_frame *f) {
    const pith__jvalue none = { 0 };
    pith__jvalue v = jinja_evaluate(r, n->a, f);
    if (!n->builtin)
        return pith__j_fail(r, "there is no %s named '%.*s'", n->kind == PITH__T_PIPE ? "filter" : "test",
                            pith__j_shown(n->name), n->name->p);
    pith__jargs args = { 0 };
    if (n->b) args = jinja_arguments_of(r, n->b, f, none);
    r->line = r->code ? r->line : n->line;
    return r->code ? v : pith__j_apply(r, n->builtin, v, &args);
}

/* ---- expressions ----------------------------------------------------------------------------------- */

static pith__jvalue jinja_make(pith__jrun *r, const pith__jnode *n, jinja_frame *f) {
    if (n->kind == PITH__T_MAKE_DICT) {
        pith__jvalue d = pith__j_dict(r, PITH__T_DICT);
        for (const pith__jnode *key = n->a; key && key->next && !r->code; key = key->next->next) {
            pith__jvalue k = jinja_evaluate(r, key, f), v = jinja_evaluate(r, key->next, f);
            pith__j_set(r, d.as.dict, k, v);
        }
        return d;
    }
    pith__jvalue l = pith__j_list(r, n->kind == PITH__T_MAKE_LIST ? PITH__T_LIST : PITH__T_TUPLE, 0);
    for (const pith__jnode *x = n->a; x && !r->code; x = x->next) pith__j_append(r, l.as.list, jinja_evaluate(r, x, f));
    return l;
}

static int jinja_holds(pith__jrun *r, char op, pith__jvalue a, pith__jvalue b) {
    int c;
    switch (op) {
    case 'e': return pith__j_equal(r, a, b);
    case 'n': return !pith__j_equal(r, a, b);
    case 'i': return pith__j_contains(r, b, a);
    case 'o': return !pith__j_contains(r, b, a);
    default:
        c = pith__j_compare(r, a, b); /* 2: one is NaN, and nothing holds */
        return op == '<' ? c < 0 : op == 'l' ? c <= 0 : op == '>' ? c == 1 : c == 0 || c == 1;
    }
}

static pith__jvalue jinja_compared(pith__jrun *r, const pith__jnode *n, jinja_frame *f) {
    pith__jvalue left = jinja_evaluate(r, n->a, f);
    for (const pith__jnode *x = n->b; x && !r->code; x = x->next) {
        pith__jvalue right = jinja_evaluate(r, x->a, f);
        if (r->code || !jinja_holds(r, (char)x->op, left, right)) return pith__j_bool(0);
        left = right;
    }
    return pith__j_bool(1);
}

static pith__jvalue jinja_part_of(pith__jrun *r, const pith__jnode *n, jinja_frame *f) {
    pith__jvalue v = jinja_evaluate(r, n->a, f), none = pith__j_none();
    const pith__jvalue part[3] = { n->b ? jinja_evaluate(r, n->b, f) : none, n->c ? jinja_evaluate(r, n->c, f) : none,
                                   n->d ? jinja_evaluate(r, n->d, f) : none };
    return r->code ? v : pith__j_slice(r, v, part);
}

static pith__jvalue jinja_plain_text(pith__jrun *r, pith__jvalue v) { /* str(v), not HTML */
    v = pith__j_string(r, v);
    if (r->code || !v.as.s->safe) return v;
    pith__jbuffer *b = pith__j_buffer(r);
    pith__j_put_value(r, b, v);
    return pith__j_done(r, b);
}

static pith__jvalue jinja_attribute_of(pith__jrun *r, const pith__jnode *n, jinja_frame *f) { /* a.name, a[b] */
    pith__jvalue v = jinja_evaluate(r, n->a, f), key = { 0 };
    const pith__jstr *name = n->name;
    if (n->kind == PITH__T_INDEX) key = jinja_evaluate(r, n->b, f);
    if (key.type == PITH__T_STR) name = key.as.s;
    if (r->code) return v;
    if (v.type == PITH__T_LOOP && name) return jinja_loop_attribute(r, v, name);
    if (v.type == PITH__T_MACRO && name && pith__str_is((pith__str){ name->p, name->n }, "name"))
        return (pith__jvalue){ .type = PITH__T_STR, .as.s = v.as.macro->name };
    return n->kind == PITH__T_INDEX ? pith__j_item(r, v, key) : pith__j_attribute(r, v, name);
}

static pith__jvalue jinja_two(pith__jrun *r, const pith__jnode *n, jinja_frame *f) { /* an operator between two */
    pith__jvalue a = jinja_evaluate(r, n->a, f);
    if (r->code || (n->kind == PITH__T_AND && !pith__j_true(a)) || (n->kind == PITH__T_OR && pith__j_true(a))) return a;
    pith__jvalue b = jinja_evaluate(r, n->b, f);
    if (r->code || n->kind == PITH__T_AND || n->kind == PITH__T_OR) return b;
    if (n->kind == PITH__T_BINARY) return pith__j_arithmetic(r, (char)n->op, a, b);
    a = jinja_plain_text(r, a);
    b = jinja_plain_text(r, b);
    return r->code ? a : pith__j_concat(r, a, b);
}

static pith__jvalue jinja_evaluate_one(pith__jrun *r, const pith__jnode *n, jinja_frame *f) {
    const pith__jvalue none = { 0 };
    switch (n->kind) {
    case PITH__T_VARIABLE: return jinja_look_up(r, f, n->name);
    case PITH__T_MAKE_LIST: case PITH__T_MAKE_TUPLE: case PITH__T_MAKE_DICT: return jinja_make(r, n, f);
    case PITH__T_DOT: case PITH__T_INDEX: return jinja_attribute_of(r, n, f);
    case PITH__T_PART: return jinja_part_of(r, n, f);
    case PITH__T_CALL: return jinja_call_node_of(r, n, f, none);
    case PITH__T_PIPE: case PITH__T_IS: return jinja_apply_node(r, n, f);
    case PITH__T_NOT: return pith__j_bool(!pith__j_true(jinja_evaluate(r, n->a, f)));
    case PITH__T_SIGN: return pith__j_sign(r, jinja_evaluate(r, n->a, f), n->op == '-');
    case PITH__T_CHOICE:
        if (pith__j_true(jinja_evaluate(r, n->a, f))) return jinja_evaluate(r, n->b, f);
        return n->c ? jinja_evaluate(r, n->c, f) : pith__j_undefined(PITH__T_NOTHING, NULL);
    case PITH__T_COMPARE: return jinja_compared(r, n, f);
    case PITH__T_THE_BLOCK: return r->block;
    default: return jinja_two(r, n, f);
    }
}

static pith__jvalue jinja_evaluate(pith__jrun *r, const pith__jnode *n, jinja_frame *f) {
    const pith__jvalue none = { 0 };
    if (n->kind == PITH__T_CONST) return n->value;
    if (!pith__j_work(r, 1)) return none;
    r->line = n->line;
    if (r->depth >= JINJA_DEEPEST_RUN) return pith__j_fail(r, "too much within each other (a macro without end?)");
    r->depth++;
    pith__jvalue v = jinja_evaluate_one(r, n, f);
    r->depth--;
    if (v.type == PITH__T_LOOP || v.type == PITH__T_ITER) r->effects++; /* they differ each time, or may be used up */
    return r->code ? none : v;
}

/* ---- statements ------------------------------------------------------------------------------------ */

static pith__jmacro *jinja_new_macro(pith__jrun *r, const pith__jnode *parameters, const pith__jnode *body,
                                      jinja_frame *f) {
    pith__jmacro *m = pith__j_new(r, 1, sizeof *m);
    if (!m) return NULL;
    *m = (pith__jmacro){ .parameters = parameters, .body = body, .frame = f, .name = &jinja_the_caller };
    for (; f; f = f->up) f->kept = 1;
    return m;
}

static void jinja_define(pith__jrun *r, const pith__jnode *n, jinja_frame *f) {
    pith__jmacro *m = jinja_new_macro(r, n->a, n->b, f);
    if (!m) return;
    m->name = n->name;
    m->uses = n->op;
    jinja_assign_name(r, f, n->name, (pith__jvalue){ .type = PITH__T_MACRO, .as.macro = m });
}

static void jinja_run_call_block(pith__jrun *r, const pith__jnode *n, jinja_frame *f) {
    pith__jmacro *m = jinja_new_macro(r, n->b, n->c, f);
    if (!m) return;
    pith__jvalue v = jinja_call_node_of(r, n->a, f, (pith__jvalue){ .type = PITH__T_MACRO, .as.macro = m });
    pith__j_put_value(r, r->out, v);
}

static pith__jvalue jinja_filtered(pith__jrun *r, const pith__jnode *chain, pith__jvalue text, jinja_frame *f) {
    pith__jvalue before = r->block;
    r->block = text;
    pith__jvalue v = jinja_evaluate(r, chain, f);
    r->block = before;
    return v;
}

/* {% set x %}...{% endset %} and {% filter f %}...{% endfilter %}; a break in the body is that of a loop around. */
static int jinja_run_captured(pith__jrun *r, const pith__jnode *n, jinja_frame *f) {
    int is_set = n->kind == PITH__T_SET_BLOCK;
    const pith__jnode *chain = is_set ? n->b : n->a;
    jinja_frame *inner = jinja_new_frame(r, f);
    pith__jbuffer *before = jinja_capture(r);
    int control = r->code ? JINJA_GO_ON : jinja_run(r, is_set ? n->c : n->b, inner);
    pith__jvalue v = jinja_captured(r, before);
    if (control != JINJA_GO_ON || r->code) return control;
    if (chain) v = jinja_filtered(r, chain, v, inner);
    if (is_set) jinja_assign(r, n->a, v, f);
    else pith__j_put_value(r, r->out, v);
    return JINJA_GO_ON;
}

static int jinja_run_if(pith__jrun *r, const pith__jnode *n, jinja_frame *f) {
    for (; n && !r->code; n = n->c) {
        if (n->kind != PITH__T_IF) return jinja_run(r, n->a, f);
        if (pith__j_true(jinja_evaluate(r, n->a, f))) return r->code ? JINJA_GO_ON : jinja_run(r, n->b, f);
    }
    return JINJA_GO_ON;
}

static int jinja_run_with(pith__jrun *r, const pith__jnode *n, jinja_frame *f) {
    jinja_frame *inner = jinja_new_frame(r, f);
    for (const pith__jnode *x = n->a; x && !r->code; x = x->next)
        jinja_assign(r, x->a, jinja_evaluate(r, x->b, f), inner);
    return r->code ? JINJA_GO_ON : jinja_run(r, n->b, inner);
}

static void jinja_run_generation(pith__jrun *r, const pith__jnode *n, jinja_frame *f) {
    size_t from = r->out->n;
    jinja_run(r, n->a, jinja_new_frame(r, f));
    for (size_t i = from; i < r->out->n && !r->code; i++) r->out->marks[i] |= PITH__GENERATION;
}

static int jinja_run_one(pith__jrun *r, const pith__jnode *n, jinja_frame *f) {
    r->line = n->line;
    r->effects += n->kind != PITH__T_TEXT && n->kind != PITH__T_PRINT && n->kind != PITH__T_IF &&
                  n->kind != PITH__T_CONTINUE;
    switch (n->kind) {
    case PITH__T_TEXT: pith__j_put_value(r, r->out, n->value); return JINJA_GO_ON;
    case PITH__T_PRINT: pith__j_put_value(r, r->out, jinja_evaluate(r, n->a, f)); return JINJA_GO_ON;
    case PITH__T_IF: return jinja_run_if(r, n, f);
    case PITH__T_FOR: return jinja_loop(r, n, f, jinja_evaluate(r, n->b, f), 0);
    case PITH__T_SETTO: jinja_assign(r, n->a, jinja_evaluate(r, n->b, f), f); return JINJA_GO_ON;
    case PITH__T_SET_BLOCK: case PITH__T_FILTER_BLOCK: return jinja_run_captured(r, n, f);
    case PITH__T_DEFINE: jinja_define(r, n, f); return JINJA_GO_ON;
    case PITH__T_CALL_BLOCK: jinja_run_call_block(r, n, f); return JINJA_GO_ON;
    case PITH__T_WITH: return jinja_run_with(r, n, f);
    case PITH__T_GENERATED: jinja_run_generation(r, n, f); return JINJA_GO_ON;
    case PITH__T_BREAK: return JINJA_BREAK;
    case PITH__T_CONTINUE: return JINJA_CONTINUE;
    default: break; /* a scope: of op 2, a block, which sees the names of the template, not those around it */
    }
    while (n->op == 2 && f->up && f->up->up) f = f->up;
    return jinja_run(r, n->a, n->op == 1 ? f : jinja_new_frame(r, f));
}

static int jinja_run(pith__jrun *r, const pith__jnode *n, jinja_frame *f) {
    int control = JINJA_GO_ON;
    if (r->depth >= JINJA_DEEPEST_RUN) pith__j_fail(r, "too much within each other (a macro without end?)");
    r->depth++;
    for (; n && control == JINJA_GO_ON && pith__j_work(r, 1); n = n->next) control = jinja_run_one(r, n, f);
    r->depth--;
    return control;
}

/* Names are looked up in the variables that are given, unless the template sets them. */
PITH_SHARED void pith__j_run(pith__jrun *r, const pith__jnode *first, pith__jdict *given) {
    jinja_frame *outermost = jinja_new_frame(r, NULL), *top = jinja_new_frame(r, outermost);
    r->out = pith__j_buffer(r);
    if (r->code) return;
    outermost->vars = given;
    jinja_run(r, first, top);
}
