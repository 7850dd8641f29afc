/* foldersay.c - fields of a config.json on their way: what the files that make one share. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

PITH_SHARED void pith__no_field(pith__saying *c, const char *what) {
    if (!c->code)
        c->code = pith__fail(c->err, PITH_EARCH, "%s: the class %s has no field for %s of %s", c->folder, c->is->name,
                                       what, c->m->store.path);
}

PITH_SHARED void pith__say_int(pith__saying *c, const char *name, long long i) {
    pith__say(c->to, ",\n  \"%s\": %lld", name, i);
}

PITH_SHARED void pith__say_flag(pith__saying *c, const char *name, int yes) {
    pith__say(c->to, ",\n  \"%s\": %s", name, yes ? "true" : "false");
}

PITH_SHARED void pith__say_word(pith__saying *c, const char *name, const char *s) {
    pith__say(c->to, ",\n  \"%s\": \"%s\"", name, s);
}

/* With as many digits as give the same number again. An integer has a point, as Python's floats have. */
PITH_SHARED void pith__say_decimal(pith__said *to, double y) {
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, y);
        double again = strtod(text, NULL);
        if (!(again < y || again > y)) break;
    }
    pith__say(to, "%s%s", text, strpbrk(text, ".en") ? "" : ".0");
}

PITH_SHARED void pith__say_float(pith__saying *c, const char *name, double y) {
    pith__say(c->to, ",\n  \"%s\": ", name);
    pith__say_decimal(c->to, y);
}

PITH_SHARED const pith__key *pith__saying_key(const pith__saying *c, const char *name) {
    char full[128];
    snprintf(full, sizeof full, "%s.%s", c->m->hyper.arch, name);
    return pith__store_key(&c->m->store, full);
}

PITH_SHARED double pith__saying_float(const pith__saying *c, const char *name, double otherwise) {
    const pith__key *k = pith__saying_key(c, name);
    return k && (k->type == PITH__FLOAT || k->type == PITH__INT) && k->f != 0 ? k->f : otherwise;
}

/* A float32 of the file, as the shortest decimal that gives it again. */
PITH_SHARED double pith__short_decimal(double y) {
    char text[40];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, y);
        double again = strtod(text, NULL);
        if (!((float)again < (float)y || (float)again > (float)y)) return again;
    }
    return y;
}

PITH_SHARED void pith__say_single(pith__saying *c, const char *name, double y) {
    pith__say_float(c, name, pith__short_decimal(y));
}

PITH_SHARED int pith__saying_has(const pith__saying *c, const char *name) {
    return pith__store_tensor(&c->m->store, name) != NULL;
}

PITH_SHARED void pith__say_layers(pith__saying *c, const char *name, const char *(*of)(const pith_model *m, int l)) {
    pith__say(c->to, ",\n  \"%s\": [", name);
    for (int l = 0; l < c->m->hyper.n_layer; l++) pith__say(c->to, "%s%s", l ? ", " : "", of(c->m, l));
    pith__say(c->to, "]");
}
