/* foldersay.c - fields of a config.json on their way: what the files that make one share. */
#include "internal.h"

#include <math.h>
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

/* ---- texts -------------------------------------------------------------------------------------------------- */

/* As a JSON string. What is no UTF-8 has no place in one: the piece is refused before. */
PITH_SHARED void pith__say_quoted(pith__said *to, pith__str s) {
    size_t from = 0;
    pith__say(to, "\"");
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= ' ' && c != '"' && c != '\\') continue;
        pith__say_bytes(to, s.p + from, i - from);
        from = i + 1;
        if (c >= ' ') pith__say(to, "\\%c", (char)c);
        else pith__say(to, "\\u%04x", (unsigned)c);
    }
    pith__say_bytes(to, s.p + from, s.n - from);
    pith__say(to, "\"");
}

PITH_SHARED int pith__is_utf8_text(pith__str s) {
    for (size_t i = 0; i < s.n;) {
        int n = pith__utf8_length((const uint8_t *)s.p + i, s.n - i);
        if (n < 1 || !s.p[i]) return 0;
        i += (size_t)n;
    }
    return 1;
}

/* ---- what GGUF says beside the model ---------------------------------------------------------------------------- */

/* An array of texts. */
static void say_texts(pith__said *to, const pith__key *k) {
    pith__cursor at = k->at;
    pith__say(to, "[");
    for (size_t i = 0; i < k->n; i++) {
        pith__str s = pith__gguf_string(&at);
        pith__say(to, i ? ", " : "");
        pith__say_quoted(to, pith__is_utf8_text(s) ? s : pith__str_of("?"));
    }
    pith__say(to, "]");
}

/* "gguf": { "general.name": "A Model", ... }: config.json has no fields for these, and keeps one that it does not know. */
PITH_SHARED void pith__say_about(pith__saying *c) {
    const pith__store *s = &c->m->store;
    int n = 0;
    for (size_t i = 0; i < s->n_key; i++) {
        const pith__key *k = &s->key[i];
        int text = k->type == PITH__STRING && pith__is_utf8_text(k->s), texts = k->type == PITH__ARRAY && k->item == PITH__STRING;
        int number = k->type == PITH__INT || (k->type == PITH__FLOAT && isfinite(k->f)) || k->type == PITH__BOOL;
        if (!pith__hf_is_about(k->name) || !pith__is_utf8_text(k->name) || !(text || texts || number)) continue;
        pith__say(c->to, n++ ? ",\n    " : ",\n  \"gguf\": {\n    ");
        pith__say_quoted(c->to, k->name);
        pith__say(c->to, ": ");
        if (text) pith__say_quoted(c->to, k->s);
        if (texts) say_texts(c->to, k);
        if (k->type == PITH__INT) pith__say(c->to, "%lld", (long long)k->i);
        if (k->type == PITH__FLOAT) pith__say_decimal(c->to, pith__short_decimal(k->f));
        if (k->type == PITH__BOOL) pith__say(c->to, k->i ? "true" : "false");
    }
    if (n) pith__say(c->to, "\n  }");
}
