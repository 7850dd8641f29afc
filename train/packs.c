/* packs.c - which examples share a step's sequence: packing.
 *
 * Short examples are put together until a sequence is full, first-fit, in the order in which they come: each goes into
 * the first pack that has room for it. A pack is a list. Each of its examples stays a sequence of its own from position
 * 0 on, so no token sees another example, and the first token of one is not learned from the last of another. */
#include "train.h"

#include <stdlib.h>
#include <string.h>

/* A tournament of packs: node i has the most room that is left in the packs below it, node 1 in all. */
typedef struct {
    size_t n;            /* packs there could be: a power of two */
    int *room;           /* (2 n) node n + i is pack i */
} pack_tree;

static size_t first_fit(pack_tree *t, int n) {
    size_t i = 1;
    while (i < t->n) i = 2 * i + (t->room[2 * i] < n);
    size_t pack = i - t->n;
    t->room[i] -= n;
    for (i /= 2; i; i /= 2) t->room[i] = t->room[2 * i] > t->room[2 * i + 1] ? t->room[2 * i] : t->room[2 * i + 1];
    return pack;
}

PITH_SHARED int pith__packs_make(pith__packs *p, const pith__examples *x, int max_length, pith_error *err) {
    pack_tree t = { .n = 1 };
    size_t n = x->n_train;
    int most = max_length > x->longest ? max_length : x->longest;
    while (t.n < n) t.n *= 2;
    *p = (pith__packs){ .first = calloc(n + 1, sizeof *p->first), .example = calloc(n, sizeof *p->example) };
    uint32_t *pack = malloc((n + 1) * sizeof *pack);
    t.room = malloc(2 * t.n * sizeof *t.room);
    if (!p->first || !p->example || !pack || !t.room || n > UINT32_MAX) {
        free(pack);
        free(t.room);
        pith__packs_free(p);
        return pith__fail(err, PITH_EMEMORY, "no memory to pack %zu examples", n);
    }
    for (size_t i = 0; i < 2 * t.n; i++) t.room[i] = most;
    for (size_t i = 0; i < n; i++) {
        pack[i] = (uint32_t)first_fit(&t, pith__examples_get(x, i).n);
        if (pack[i] >= p->n) p->n = pack[i] + 1;
        p->first[pack[i] + 1]++; /* so many are in it; then where it begins */
    }
    for (size_t i = 0; i < p->n; i++) p->first[i + 1] += p->first[i];
    for (size_t i = n; i-- > 0;) p->example[--p->first[pack[i] + 1]] = (uint32_t)i;
    memmove(p->first, p->first + 1, p->n * sizeof *p->first);
    p->first[p->n] = (uint32_t)n;
    free(pack);
    free(t.room);
    return PITH_OK;
}

PITH_SHARED void pith__packs_free(pith__packs *p) {
    free(p->first);
    free(p->example);
    *p = (pith__packs){ 0 };
}
