/* hfread.c - what the readers of tokenizer.json share: its values, its pieces, its lists of steps.
 *
 * The first thing that is wrong is kept as the error, and whoever reads on reads nothing more. */
#include "formats.h"

#include <stdio.h>
#include <string.h>

PITH_SHARED void pith__vocab_wrong(pith__vocab_reading *r, pith__json j, int code, const char *name,
                                   const char *need) {
    if (!r->code) r->code = pith__json_fail(j, code, r->path, name, need, r->f->err);
}

PITH_SHARED void pith__vocab_memory(pith__vocab_reading *r) {
    if (!r->code) r->code = pith__fail(r->f->err, PITH_EMEMORY, "%s: no memory", r->path);
}

PITH_SHARED pith__str pith__vocab_string(pith__vocab_reading *r, pith__json j, const char *name) {
    pith__str s = { "", 0 };
    int code = pith__json_string(j, &r->f->s->arena, &s);
    if (code == PITH_EMEMORY) pith__vocab_memory(r);
    else if (code) pith__vocab_wrong(r, j, code, name, "a string");
    return s;
}

PITH_SHARED int pith__vocab_flag(pith__vocab_reading *r, pith__json j, const char *name, int otherwise) {
    char type = pith__json_type(j);
    if (type && type != 't' && type != 'f' && type != 'n')
        pith__vocab_wrong(r, j, PITH_EFORMAT, name, "true or false");
    return type && type != 'n' ? type == 't' : otherwise;
}

PITH_SHARED int pith__vocab_true(pith__vocab_reading *r, pith__json object, const char *name, int otherwise) {
    return pith__vocab_flag(r, pith__json_get(object, name), name, otherwise);
}

PITH_SHARED void pith__vocab_pick(const pith__vocab_reading *r, pith__json object, const char *const *names, pith__json *values, size_t n) {
    pith__json_pick_long(object, &r->f->ends, names, values, n);
}

/* Refuse anything but null, false, "" and 0. */
PITH_SHARED void pith__vocab_absent(pith__vocab_reading *r, pith__json j, const char *name) {
    char type = pith__json_type(j);
    double y;
    if (type && type != 'n' && type != 'f' && !pith__json_is(j, "") &&
        !(pith__json_float(j, &y) && y == 0))
        pith__vocab_wrong(r, j, PITH_EARCH, name, "none");
}

PITH_SHARED int pith__vocab_find(const pith__vocab_reading *r, pith__str s) {
    const pith__vocab *v = r->v;
    int found = -1;
    for (int i = 0; i < v->n; i++) {
        if (v->piece[i].n != s.n || memcmp(v->piece[i].p, s.p, s.n) != 0) continue;
        if (v->type[i] == PITH__CONTROL || v->type[i] == PITH__USER) return i;
        if (found < 0) found = i;
    }
    return found;
}

PITH_SHARED int pith__vocab_id(pith__vocab_reading *r, pith__json j, const char *name) {
    int64_t i;
    if (pith__json_int(j, &i) && i >= 0 && i < r->f->n_vocab) return (int)i;
    char need[64];
    snprintf(need, sizeof need, "an integer from 0 to %d", r->f->n_vocab - 1);
    pith__vocab_wrong(r, j, PITH_EFORMAT, name, need);
    return 0;
}

PITH_SHARED void pith__vocab_put(pith__vocab_reading *r, int id, pith__str s, int type) {
    r->v->piece[id] = s;
    r->v->type[id] = (uint8_t)type;
    if (id >= r->v->n) r->v->n = id + 1;
}

/* Ids that no piece has stay empty and unused. Gemma gives the id of <0x09> to the tab, too. */
PITH_SHARED void pith__vocab_pieces(pith__vocab_reading *r, pith__json vocab) {
    pith__vocab *v = r->v;
    size_t n = (size_t)r->f->n_vocab;
    v->piece = pith__arena_new(&r->f->s->arena, n, sizeof *v->piece);
    v->type = pith__arena_new(&r->f->s->arena, n, sizeof *v->type);
    if (!v->piece || !v->type) {
        pith__vocab_memory(r);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        v->piece[i].p = "";
        v->type[i] = PITH__UNUSED;
    }
    pith__json key, value;
    if (pith__json_type(vocab) != '{') pith__vocab_wrong(r, vocab, PITH_EFORMAT, "model.vocab", "an object");
    while (!r->code && pith__json_next(&vocab, &key, &value)) {
        int id = pith__vocab_id(r, value, "an id in model.vocab");
        pith__str s = pith__vocab_string(r, key, "model.vocab");
        int byte = v->byte_fallback && s.n == 6 && !memcmp(s.p, "<0x", 3);
        if (v->type[id] == PITH__UNUSED || v->type[id] == PITH__BYTE)
            pith__vocab_put(r, id, s, byte ? PITH__BYTE : PITH__NORMAL);
    }
}

/* Call step for every step, also of a Sequence in a Sequence: at most 64 deep, as JSON is here. */
PITH_SHARED void pith__vocab_steps(pith__vocab_reading *r, pith__json at, const char *list,
                                   void (*step)(pith__vocab_reading *r, pith__json at)) {
    char type = pith__json_type(at);
    if (!type || type == 'n' || r->code) return;
    if (!pith__json_is(pith__json_get(at, "type"), "Sequence")) {
        step(r, at);
        return;
    }
    pith__json it = pith__json_get(at, list), item;
    if (pith__json_type(it) != '[') pith__vocab_wrong(r, it, PITH_EFORMAT, list, "an array");
    while (pith__json_next(&it, NULL, &item)) pith__vocab_steps(r, item, list, step);
}

PITH_SHARED int pith__vocab_step_is(pith__json at, const char *type) {
    return pith__json_is(pith__json_get(at, "type"), type);
}
