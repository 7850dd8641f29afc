/* hfabout.c - what a folder says of its model beside what is computed: keys of the GGUF file that it was made from.
 *
 * config.json has them in an object of its own, "gguf" (foldersay.c writes it), which transformers keeps and does not use:
 * name, license, languages. So they are there again when the folder becomes a GGUF file. */
#include "formats.h"

#include <stdio.h>
#include <string.h>

/* An array of strings, as a key of that name. */
static int about_texts(pith__hf *c, const char *name, pith__json list) {
    pith__store *s = c->f->s;
    size_t n = pith__json_count(list), i = 0;
    pith__str *text = pith__arena_new(&s->arena, n ? n : 1, sizeof *text);
    pith__json item;
    while (text && pith__json_next(&list, NULL, &item)) {
        int code = pith__json_string(item, &s->arena, &text[i++]);
        if (code == PITH_EMEMORY) return code;
        if (code) pith__hf_wrong(c, item, PITH_EFORMAT, name, "an array of strings");
        if (code) return PITH_OK;
    }
    return text ? pith__store_add_strings(s, name, text, n) : PITH_EMEMORY;
}

static void about_key(pith__hf *c, const char *name, pith__json value) {
    pith__store *s = c->f->s;
    char type = pith__json_type(value);
    int code = PITH_EFORMAT;
    int64_t i;
    double y;
    pith__str text;
    if (type == '"' && !(code = pith__json_string(value, &s->arena, &text))) {
        const char *copy = pith__arena_text(&s->arena, text.p, text.n);
        code = copy ? pith__store_add_string(s, name, copy) : PITH_EMEMORY;
    } else if (type == '[') {
        code = about_texts(c, name, value);
    } else if (type == 't' || type == 'f') {
        code = pith__store_add_int(s, name, type == 't');
        if (!code) s->key[s->n_key - 1].type = PITH__BOOL;
    } else if (pith__json_int(value, &i)) {
        code = pith__store_add_int(s, name, i);
    } else if (pith__json_float(value, &y)) {
        code = pith__store_add_float(s, name, y);
    }
    if (code == PITH_EFORMAT) pith__hf_wrong(c, value, code, name, "a text, a number, true, false, or an array of texts");
    else pith__hf_added(c, code);
}

/* The token that fills up a batch, which nothing here uses: a GGUF file is to have it still. */
static void about_padding(pith__hf *c, pith__json config) {
    int64_t id;
    if (pith__json_int(pith__hf_get(config, "pad_token_id"), &id) && id >= 0 && id < c->f->n_vocab)
        pith__hf_added(c, pith__store_add_int(c->f->s, "tokenizer.ggml.padding_token_id", id));
}

/* What is not of the numbers, which may change on the way. */
PITH_SHARED int pith__hf_is_about(pith__str key) {
    static const char *const made[] = { "general.architecture", "general.alignment", "general.file_type",
                                        "general.quantization_version" };
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        if (pith__str_is(key, made[i])) return 0;
    return key.n > 8 && !memcmp(key.p, "general.", 8);
}

PITH_SHARED void pith__hf_about(pith__hf *c, pith__json config) {
    pith__json it = pith__hf_get(config, "gguf"), name, value;
    about_padding(c, config);
    if (pith__json_type(it) && pith__json_type(it) != '{') pith__hf_wrong(c, it, PITH_EFORMAT, "gguf", "an object");
    while (!c->code && pith__json_next(&it, &name, &value)) {
        pith__str key;
        int code = pith__json_string(name, &c->f->s->arena, &key);
        if (code) pith__hf_added(c, PITH_EMEMORY);
        if (code || !pith__hf_is_about(key)) continue;
        const char *copy = pith__arena_text(&c->f->s->arena, key.p, key.n);
        if (copy) about_key(c, copy, value);
        else pith__hf_added(c, PITH_EMEMORY);
    }
}
