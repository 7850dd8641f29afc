/* merged.c - which adapters a model has in its weights: the key pith.merged, by name and by a hash of their numbers. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of an adapter's numbers, whatever files it and its base come from. */
static uint64_t hash_of(const pith_adapter *a, float *room) {
    uint64_t x = 1;
    for (const pith__weight *w = a->model->weights; w; w = w->next) {
        const pith__pair *p = a->pair + w->index;
        size_t rows = w->tensor.rows;
        const float head[] = { (float)w->index, (float)p->r, p->scale };
        if (!p->r) continue;
        x = pith__hash(x, head, sizeof head);
        x = pith__hash(x, p->a, (size_t)p->r * w->tensor.cols * sizeof *p->a);
        for (size_t k = 0; k < (size_t)p->r; k++) {
            for (size_t r = 0; r < rows; r++) room[pith__row_where(a->model, w, 0, r)] = p->b[k * rows + r];
            x = pith__hash(x, room, rows * sizeof *room);
        }
    }
    return x;
}

static const char *name_of_path(const char *path) {
    const char *name = path, *end = path;
    for (; *end; end++)
        if (*end == '/' && end[1] && end[1] != '/') name = end + 1;
    return name;
}

PITH_SHARED int pith__merge_name(const pith_model *m, const pith__adapted *by, char **to, pith__arena *a,
                                 pith_error *err) {
    const pith__key *k = pith__store_key(&m->store, "pith.merged");
    pith__str old = k && k->type == PITH__STRING ? k->s : (pith__str){ "", 0 };
    size_t widest = 1, room = old.n + 1;
    for (const pith__weight *w = m->weights; w; w = w->next)
        if (w->tensor.rows > widest) widest = w->tensor.rows;
    for (int i = 0; i < by->n; i++) room += strlen(by->of[i].adapter->store.path) + 32;
    float *rows = pith__arena_new(a, widest, sizeof *rows);
    char *text = *to = pith__arena_new(a, room, 1);
    if (!rows || !text) return pith__fail(err, PITH_EMEMORY, "%s: no memory to write it anew", m->store.path);
    memcpy(text, old.p, old.n);
    for (int i = 0; i < by->n; i++) {
        const pith_adapter *one = by->of[i].adapter;
        const char *path = one->store.path, *name = name_of_path(path);
        char hash[24];
        snprintf(hash, sizeof hash, "%016llx", (unsigned long long)hash_of(one, rows));
        if (strstr(text, hash))
            return pith__fail(err, PITH_EARG, "%s: the adapter is merged into %s already, or is given twice", path,
                              m->store.path);
        size_t n = strlen(text), length = strcspn(name, "/");
        snprintf(text + n, room - n, "%s%.*s, %s", n ? "; " : "", (int)length, name, hash);
    }
    return PITH_OK;
}
