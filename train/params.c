/* params.c - the weights that learn: their numbers as floats, and where their gradients are.
 *
 * A parameter is one tensor of the file. The model's weights are the whole of it, or, where a file
 * stores several matrices as one, some of its numbers (pith__weight's from). All gradients lie in one
 * array, one parameter after the other, and a weight's place in it is its at. */
#include "train.h"

#include <stdlib.h>
#include <string.h>

enum { SHARD_NUMBERS = 1 << 26 }; /* most numbers in all shards together, if there are several */

/* Fewer where the model is large. */
static int shards_of(size_t n) {
    int n_shard = PITH__SHARDS;
    while (n_shard > 1 && n > (size_t)SHARD_NUMBERS / (size_t)n_shard) n_shard--;
    return n_shard;
}

static pith__param *param_named(const pith__params *p, pith__str name) {
    for (size_t lo = 0, hi = p->n_param; lo < hi;) {
        size_t mid = (lo + hi) / 2;
        int c = pith__str_cmp(name, p->param[mid].tensor->name);
        if (c == 0) return &p->param[mid];
        if (c < 0) hi = mid;
        else lo = mid + 1;
    }
    return NULL;
}

/* Mark the parameters that the model uses: w is set to where their numbers are now. For norms and biases
 * these are the floats that model.c has made. */
static void mark_used(pith__params *p, const pith_model *m) {
    for (const pith__weight *w = m->weights; w; w = w->next) {
        pith__param *q = param_named(p, w->tensor.name);
        if (!q) continue;
        q->decay = !w->floats;
        q->w = w->floats ? (float *)(uintptr_t)(w->floats - w->from)
                         : (float *)(uintptr_t)q->tensor->data;
    }
}

/* Give every weight its place in the gradient; matrices become floats. */
PITH_SHARED void pith__params_point(const pith__params *p, pith_model *m) {
    for (pith__weight *w = m->weights; w; w = w->next) {
        const pith__param *q = param_named(p, w->tensor.name);
        if (!q) {
            w->at = PITH__FROZEN;
            continue;
        }
        w->at = (size_t)(q->g - p->g) + w->from;
        if (w->floats) continue;
        w->tensor.format = pith__format_of(PITH__F32);
        w->tensor.scale = NULL, w->tensor.group = 0;
        w->tensor.row_bytes = w->tensor.cols * sizeof(float);
        w->tensor.data = (const uint8_t *)((q->to ? q->seen : q->w) + w->from);
    }
}

PITH_SHARED int pith__params_place(pith__params *p, const pith_model *m) {
    p->team.n_threads = m->n_threads;
    p->team.scratch = (uint8_t *)p->param; /* no bytes of it are used, but NULL + 0 is undefined in C */
    p->n = 0;
    for (size_t i = 0; i < p->n_param; i++) p->n += p->param[i].n;
    p->n_shard = shards_of(p->n);
    free(p->g);
    p->g = p->n <= SIZE_MAX / sizeof *p->g / PITH__SHARDS ? calloc(p->n * (size_t)p->n_shard + 1, sizeof *p->g) : NULL;
    float *g = p->g;
    for (size_t i = 0; g && i < p->n_param; g += p->param[i++].n) p->param[i].g = g;
    return g ? PITH_OK : PITH_EMEMORY;
}

/* Keep the parameters that are marked, and take memory for their gradients. Matrices of a file become
 * floats. */
static int make_params(pith__params *p, const pith_model *m, pith_error *err) {
    size_t n = 0;
    for (size_t i = 0; i < p->n_param; i++)
        if (p->param[i].w) p->param[n++] = p->param[i];
    p->n_param = n;
    int code = pith__params_place(p, m);
    for (size_t i = 0; i < n && !code; i++) {
        pith__param *q = &p->param[i];
        const pith__tensor *t = q->tensor;
        if (!q->decay) continue; /* its floats are there */
        if (!m->store.n_file && t->format->id == PITH__F32) continue;
        q->w = pith__arena_new(&p->arena, q->n, sizeof *q->w);
        if (!q->w) return pith__fail(err, PITH_EMEMORY, "%s: no memory to train", m->store.path);
        for (size_t r = 0; r < t->rows; r++) pith__row_floats(t, r, q->w + r * t->cols);
    }
    return code ? pith__fail(err, code, "%s: no memory to train", m->store.path) : PITH_OK;
}

PITH_SHARED int pith__params_add(pith__params *p, const char *name, float *w, size_t n, const pith_model *m, size_t *at,
                                 pith_error *err) {
    pith__param *more = pith__arena_new(&p->arena, p->n_param + 1, sizeof *more);
    pith__tensor *t = pith__arena_new(&p->arena, 1, sizeof *t);
    char *copy = pith__arena_text(&p->arena, name, strlen(name));
    int code = more && t && copy ? PITH_OK : PITH_EMEMORY;
    if (!code) {
        *t = (pith__tensor){ .name = pith__str_of(copy), .format = pith__format_of(PITH__F32), .n_dim = 2, .rows = 1, .cols = n,
                             .shape = { 1, n }, .data = (const uint8_t *)w, .row_bytes = n * sizeof *w };
        if (p->n_param) memcpy(more, p->param, p->n_param * sizeof *more);
        more[p->n_param++] = (pith__param){ .tensor = t, .n = n, .w = w, .decay = 1 };
        p->param = more;
        *at = p->n;
        code = pith__params_place(p, m);
    }
    return code ? pith__fail(err, code, "%s: no memory to train '%s'", m->store.path, name) : PITH_OK;
}

PITH_SHARED void pith__params_free(pith__params *p) {
    free(p->g);
    pith__arena_free(&p->arena);
    memset(p, 0, sizeof *p);
}

PITH_SHARED int pith__params_new(pith__params *p, pith_model *m, pith_error *err) {
    const pith__store *s = &m->store;
    int code = PITH_OK;
    memset(p, 0, sizeof *p);
    p->param = pith__arena_new(&p->arena, s->n_tensor, sizeof *p->param);
    if (!p->param) code = pith__fail(err, PITH_EMEMORY, "%s: no memory to train", s->path);
    for (size_t i = 0; !code && i < s->n_tensor; i++, p->n_param++) {
        const pith__tensor *t = &s->tensor[i];
        p->param[i] = (pith__param){ .tensor = t, .n = t->rows * t->cols };
    }
    if (!code) mark_used(p, m);
    if (!code) code = make_params(p, m, err);
    if (!code) pith__params_point(p, m);
    else pith__params_free(p);
    return code;
}

PITH_SHARED void pith__params_zero(pith__params *p) { memset(p->g, 0, p->n * sizeof *p->g); }

PITH_SHARED float *pith__grad(float *g, const pith__weight *w) {
    return !g || !w->tensor.data || w->at == PITH__FROZEN ? NULL : g + w->at;
}
