/* values.c - the values in a request: texts, and what is said of those that are wrong. */
#include "request.h"

#include <string.h>

/* ---- what is wrong --------------------------------------------------------------------------- */

static const char here[] = "request";

int request_wrong(request_error *e, pith__json value, const char *name, const char *need) {
    snprintf(e->param, sizeof e->param, "%s", name);
    pith__json_fail(value, PITH_EDATA, here, name, need, &e->error);
    return 1;
}

int request_refuse(request_error *e, const char *name, const char *code, const char *text) {
    snprintf(e->param, sizeof e->param, "%s", name);
    e->code = code;
    pith__fail(&e->error, PITH_EDATA, "%s: %s", here, text);
    return 1;
}

int request_no_memory(request_error *e) {
    pith__fail(&e->error, PITH_EMEMORY, "%s: no memory", here);
    return 1;
}

/* ---- texts ----------------------------------------------------------------------------------- */

int request_text(pith__json value, const char *name, pith__arena *a, pith__str *s, request_error *e) {
    if (pith__json_type(value) != '"') return request_wrong(e, value, name, "a string");
    if (pith__json_half(value)) return request_wrong(e, value, name, "whole characters, not half a surrogate pair");
    return pith__json_string(value, a, s) ? request_no_memory(e) : 0;
}

int request_plain(request_reader *k, pith__json value, const char *name, const char **text) {
    pith__str s;
    if (request_text(value, name, &k->r->arena, &s, k->e)) return 1;
    if (memchr(s.p, 0, s.n)) return request_wrong(k->e, value, name, "a text without NUL");
    *text = pith__arena_text(&k->r->arena, s.p, s.n);
    return *text ? 0 : request_no_memory(k->e);
}

int request_neutral(pith__json v) {
    static const char *const words[] = { "", "none", "auto", "text", "default" };
    pith__json item = v;
    switch (pith__json_type(v)) {
    case 'f': return 1;
    case '[': return pith__json_count(v) == 0 || (pith__json_count(v) == 1 && pith__json_next(&v, NULL, &item) &&
                                                  pith__json_is(item, "text"));
    case '{': return pith__json_is(pith__json_get(v, "type"), "text");
    default:
        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
            if (pith__json_is(v, words[i])) return 1;
        return 0;
    }
}
