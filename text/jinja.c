/* jinja.c - a template, parsed once, and what it makes of variables, within limits. */
#include "jinja.h"

#include <stdlib.h>
#include <string.h>

enum {
    JINJA_MOST_TEXT = 1 << 19,       /* bytes of a template: the longest known has 20,000 */
    JINJA_MOST_PARSED = 24 << 20,    /* bytes of memory for its tree */
    JINJA_MOST_MEMORY = 32 << 20,    /* of a run, and for each byte of its variables */
    JINJA_MEMORY_PER_BYTE = 64,
    JINJA_MOST_WORK = 12000000,      /* steps of a run: a conversation of 200 turns takes 20,000; */
    JINJA_WORK_PER_BYTE = 12         /* some templates look back over all messages for each */
};

struct pith__jinja {
    pith__jrun run; /* whose arena the tree is in */
    const pith__jnode *first;
    pith__str text;
};

PITH_SHARED pith__jinja *pith__jinja_new(const char *text, size_t n, const char *what, pith_error *err) {
    pith__jinja *j = calloc(1, sizeof *j);
    if (!j) {
        pith__fail(err, PITH_EMEMORY, "%s: no memory", what);
        return NULL;
    }
    j->run = (pith__jrun){ .most = JINJA_MOST_PARSED, .work = INT64_MAX, .line = 1, .err = err, .what = what };
    j->run.what = pith__arena_text(&j->run.arena, what, strlen(what));
    if (!j->run.what) j->run.what = what, j->run.code = pith__fail(err, PITH_EMEMORY, "%s: no memory", what);
    else if (n > JINJA_MOST_TEXT)
        j->run.code = pith__fail(err, PITH_EFORMAT, "%s: has %zu bytes, need at most %d", what, n,
                                 (int)JINJA_MOST_TEXT);
    if (!j->run.code) j->text = (pith__str){ pith__j_new(&j->run, n + 1, 1), n };
    if (!j->run.code && n) memcpy((char *)(uintptr_t)j->text.p, text, n);
    if (!j->run.code) j->first = pith__j_parse(&j->run, j->text.p, n);
    if (!j->run.code) return j;
    pith__jinja_free(j);
    return NULL;
}

PITH_SHARED void pith__jinja_free(pith__jinja *j) {
    if (!j) return;
    pith__arena_free(&j->run.arena);
    free(j);
}

PITH_SHARED pith__str pith__jinja_text(const pith__jinja *j) { return j->text; }
PITH_SHARED const char *pith__jinja_what(const pith__jinja *j) { return j->run.what; }

static int jinja_check_moment(const pith_time *m) {
    return !m || (m->year >= 1 && m->year <= 9999 && m->month >= 1 && m->month <= 12 && m->day >= 1 && m->day <= 31 &&
                  m->hour >= 0 && m->hour < 24 && m->minute >= 0 && m->minute < 60 && m->second >= 0 && m->second < 61);
}

/* A message; what an assistant said is marked as such. */
static pith__jvalue jinja_message(pith__jrun *r, pith__json j, uint8_t mark) {
    pith__json role = pith__json_get(j, "role"), key, value;
    if (!pith__json_is(role, "assistant") && !pith__json_is(role, "model")) return pith__j_of_json(r, j, mark);
    pith__jvalue v = pith__j_dict(r, PITH__T_DICT);
    while (!r->code && pith__json_next(&j, &key, &value)) {
        uint8_t said = pith__json_is(key, "role") ? 0 : pith__json_is(key, "content") ? PITH__CONTENT : PITH__ASIDE;
        pith__jvalue k = pith__j_of_json(r, key, mark);
        pith__j_set(r, v.as.dict, k, pith__j_of_json(r, value, said ? mark | said : 0));
    }
    return v;
}

static pith__jvalue jinja_messages(pith__jrun *r, pith__json j, uint8_t mark) {
    pith__json value;
    if (pith__json_type(j) != '[') return pith__j_of_json(r, j, mark);
    pith__jvalue v = pith__j_list(r, PITH__T_LIST, 0);
    while (!r->code && pith__json_next(&j, NULL, &value)) pith__j_append(r, v.as.list, jinja_message(r, value, mark));
    return v;
}

static void jinja_render_in(pith__jrun *r, const pith__jinja *j, const pith__jinja_variables *vars, int n_vars) {
    pith__jdict *given = pith__j_dict(r, PITH__T_DICT).as.dict;
    for (int i = 0; i < n_vars; i++) {
        pith__json it = vars[i].json, key, value;
        pith__str name = { "", 0 };
        while (!r->code && pith__json_next(&it, &key, &value)) {
            if (pith__json_string(key, &r->arena, &name) == PITH_EMEMORY)
                r->code = pith__fail(r->err, PITH_EMEMORY, "%s: no memory", r->what);
            pith__jvalue k = pith__j_text(r, name.p, name.n, 0);
            uint8_t mark = vars[i].own ? 0 : PITH__DATA;
            pith__jvalue v = pith__str_is(name, "messages") ? jinja_messages(r, value, mark) : pith__j_of_json(r, value, mark);
            if (!r->code) pith__j_set_named(r, given, k.as.s, v);
        }
    }
    pith__j_run(r, j->first, given);
}

PITH_SHARED int pith__jinja_render(const pith__jinja *j, const pith__jinja_variables *vars, int n_vars,
                                   const pith_time *now, pith__rendered *out, pith_error *err) {
    pith__jrun r = { .most = JINJA_MOST_MEMORY, .work = JINJA_MOST_WORK, .line = 1, .err = err, .what = j->run.what,
                     .now = now, .effects = 1 };
    *out = (pith__rendered){ 0 };
    if (!jinja_check_moment(now)) return pith__fail(err, PITH_EARG, "%s: there is no such time", r.what);
    for (int i = 0; i < n_vars; i++) {
        size_t bytes = pith__json_raw(vars[i].json).n;
        if (bytes < SIZE_MAX / 64)
            r.most += JINJA_MEMORY_PER_BYTE * bytes, r.work += JINJA_WORK_PER_BYTE * (int64_t)bytes;
    }
    jinja_render_in(&r, j, vars, n_vars);
    if (!r.code) out->text = malloc(2 * r.out->n + 1);
    if (!r.code && !out->text) r.code = pith__fail(err, PITH_EMEMORY, "%s: no memory for the text", r.what);
    if (!r.code) {
        out->n = r.out->n;
        out->mark = (uint8_t *)out->text + out->n + 1;
        if (out->n) memcpy(out->text, r.out->p, out->n), memcpy(out->mark, r.out->marks, out->n);
        out->text[out->n] = 0;
    }
    pith__arena_free(&r.arena);
    return r.code;
}

PITH_SHARED void pith__rendered_free(pith__rendered *out) {
    free(out->text);
    *out = (pith__rendered){ 0 };
}
