/* panels.c - a model's matrices once more, in the order in which the kernels read them.
 *
 * A product of many tokens turns 16 rows of a matrix to a panel before it uses them (math/twins/), in every pass
 * again. Who makes many passes keeps the panels: a copy of the model's layers whose matrices have them. The copy
 * shares everything else with the model, which stays as it is. The results have the same bits. */
#include "internal.h"

#include <stdlib.h>

enum { MATRICES = 7 };

typedef struct {
    const pith__kernels *kernels;
    pith__tensor *w;
    uint8_t *to;
    size_t bytes;         /* of a panel */
} packing;

/* The matrices of a layer that all tokens meet; of layers of other kinds none. */
static int matrices_of(pith__layer *l, pith__tensor *w[MATRICES]) {
    pith__weight *of[MATRICES] = { &l->q, &l->k, &l->v, &l->o, &l->ffn->gate, &l->ffn->up, &l->ffn->down };
    int n = 0;
    for (int i = 0; i < MATRICES; i++) {
        int used = i < 4 ? l->mixer == PITH__ATTENTION : !l->router.tensor.data;
        if (used && of[i]->tensor.data && !pith__is_apart(&of[i]->tensor)) w[n++] = &of[i]->tensor;
    }
    return n;
}

static void pack_panel(const void *data, size_t i, uint8_t *scratch) {
    const packing *k = data;
    (void)scratch;
    k->kernels->pack(k->w, 16 * i, k->to + i * k->bytes);
}

/* The copy and its layers; then, in the second round, their panels. */
static pith_model *place_copy(const pith_model *m, pith__room *r, const pith__team *team) {
    size_t n = (size_t)m->hyper.n_layer;
    pith_model *copy = pith__take_room(r, 1, sizeof *copy);
    pith__layer *layer = pith__take_room(r, n, sizeof *layer);
    pith__ffn *ffn = pith__take_room(r, n, sizeof *ffn);
    if (copy) *copy = *m, copy->layer = layer;
    for (size_t l = 0; l < n; l++) {
        pith__layer as_it_is = m->layer[l];
        pith__tensor *w[MATRICES];
        if (layer) layer[l] = as_it_is, ffn[l] = *as_it_is.ffn, layer[l].ffn = as_it_is.router.tensor.data ? as_it_is.ffn : &ffn[l];
        int n_matrix = matrices_of(layer ? &layer[l] : &as_it_is, w);
        for (int i = 0; i < n_matrix; i++) {
            size_t bytes = m->kernels->panel_bytes(w[i]), n_panel = bytes ? w[i]->rows / 16 : 0;
            packing k = { m->kernels, w[i], pith__take_room(r, n_panel, bytes), bytes };
            if (!copy || !n_panel) continue;
            pith__share(team, n_panel, 1, pack_panel, &k);
            w[i]->panels = k.to;
        }
    }
    return copy;
}

PITH_SHARED pith_model *pith__in_panels(const pith_model *m, const pith__team *team, size_t most, void **memory) {
    pith__room r = { 0 };
    place_copy(m, &r, team);
    size_t size = pith__room_size(&r);
    *memory = size && size <= most ? malloc(size) : NULL;
    if (!*memory) return NULL;
    r = pith__room_in(*memory);
    return place_copy(m, &r, team);
}
