/* adapters.c - --lora and --lora-scaled: the adapters that a command's sessions have. */
#include "verbs.h"

#include <stdlib.h>
#include <string.h>

static int open_adapter(model_choice *c, const pith_model *m, const char *path, double scale) {
    pith_error e = { 0, "" };
    int n = c->context.n_adapter;
    if (n == PITH_ADAPTERS) return complain(USAGE, "--lora %s: is one adapter more than %d", path, PITH_ADAPTERS);
    c->adapter[n] = pith_adapter_open(m, path, &e);
    if (!c->adapter[n]) return complain(NOT_LOADED, "%s", e.text);
    c->scale[n] = (float)scale;
    c->context.n_adapter++;
    return 0;
}

/* "PATH", or, scaled, "PATH:X"; in a buffer of ours. */
static int open_one(model_choice *c, const pith_model *m, char *item, int scaled) {
    double scale = 1;
    char *colon = scaled ? strrchr(item, ':') : NULL;
    if (scaled && (!colon || !read_real(colon + 1, -1e6, 1e6, &scale)))
        return complain(USAGE, "--lora-scaled is '%s', need PATH:X with a number X", item);
    if (colon) *colon = 0;
    if (!*item) return complain(USAGE, "--lora%s has an empty path", scaled ? "-scaled" : "");
    return open_adapter(c, m, item, scale);
}

/* Several with commas, unless all of it is a path that is there. */
static int open_list(model_choice *c, const pith_model *m, const char *value, int scaled) {
    size_t size = strlen(value) + 1;
    char *copy = malloc(size);
    if (!copy) return complain(FAILED, "no memory for --lora");
    memcpy(copy, value, size);
    int code = 0, whole = pith__path_kind(value) != 0;
    for (char *item = copy, *next; item && !code; item = next) {
        next = whole ? NULL : strchr(item, ',');
        if (next) *next++ = 0;
        code = open_one(c, m, item, scaled);
    }
    free(copy);
    return code;
}

int open_adapters(model_choice *c, const pith_model *m) {
    int code = 0;
    c->context.adapters = (const pith_adapter *const *)c->adapter;
    c->context.scales = c->scale;
    for (int i = 0; i < c->lora.n && !code; i++) code = open_list(c, m, c->lora.item[i], 0);
    for (int i = 0; i < c->lora_scaled.n && !code; i++) code = open_list(c, m, c->lora_scaled.item[i], 1);
    return code;
}

static pith__str without_blanks(pith__str s) { /* at its end */
    while (s.n && (s.p[s.n - 1] == '\n' || s.p[s.n - 1] == ' ')) s.n--;
    return s;
}

void note_templates(const model_choice *c, const pith_model *m) {
    pith__str own = without_blanks(m->store.vocab.chat_template);
    for (int i = 0; i < c->context.n_adapter && !c->options.chat_template; i++) {
        pith__str its = without_blanks(c->adapter[i]->store.vocab.chat_template);
        if (its.n && pith__str_cmp(its, own) != 0)
            note(c->quiet, "%s: was taught with another chat template than the model's", c->adapter[i]->store.path);
    }
}

void close_model(model_choice *c, pith_model *m) {
    while (c->context.n_adapter > 0) pith_adapter_close(c->adapter[--c->context.n_adapter]);
    pith_close(m);
}

int open_adapted(model_choice *c, int need_text, pith_model **m) {
    *m = NULL;
    int code = open_model(c, need_text, m);
    if (!code) code = open_adapters(c, *m);
    if (!code) return 0;
    close_model(c, *m);
    *m = NULL;
    return code;
}

uint64_t adapters_hash(const pith_model *m, const model_choice *c) {
    pith__adapted by = { .n = c->context.n_adapter };
    for (int i = 0; i < by.n; i++) by.of[i].adapter = c->adapter[i], by.of[i].scale = c->scale[i];
    return pith__hash_adapters(m, &by);
}
