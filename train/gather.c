/* gather.c - q and k of a llama from a Hugging Face folder, in memory in GGUF's order.
 *
 * RoPE's pairs are neighbours in GGUF and half a head apart in folders (pith__row_where). A forward pass has the same bits
 * either way, for it brings each q and k into one order. Gradients are sums over the rows of q and k, whose last bits
 * depend on their order: so an adapter that learns over a folder would not be the one that learns over the GGUF file
 * of the same weights, were the rows not in one order before. */
#include "train.h"

#include <stdio.h>
#include <string.h>

/* The n rows of a tensor of the store, or numbers of a bias, of so many bytes each. NULL: no memory. */
static const uint8_t *gather_tensor(pith_model *m, const pith__weight *w, pith__str name, size_t n, size_t bytes) {
    char text[PITH__HF_NAME];
    snprintf(text, sizeof text, "%.*s", name.n < sizeof text ? (int)name.n : 0, name.p);
    const pith__tensor *t = pith__store_tensor(&m->store, text);
    uint8_t *to = pith__arena_new(&m->store.arena, n, bytes);
    if (!to || !t) return NULL;
    for (size_t r = 0; r < n; r++) memcpy(to + pith__row_where(m, w, 0, r) * bytes, t->data + r * bytes, bytes);
    m->store.tensor[t - m->store.tensor].data = to; /* what is written from now on has that order */
    return to;
}

static int gather_matrix(pith_model *m, pith__weight *w) {
    if (!w->tensor.data) return 1;
    w->tensor.data = gather_tensor(m, w, w->tensor.name, w->tensor.rows, w->tensor.row_bytes);
    return w->tensor.data != NULL;
}

static int gather_bias(pith_model *m, pith__weight *bias, const pith__weight *w) {
    size_t n = bias->tensor.cols;
    if (!bias->floats) return 1;
    float *to = pith__arena_new(&m->store.arena, n, sizeof *to);
    bias->tensor.data = gather_tensor(m, w, bias->tensor.name, n, (size_t)bias->tensor.format->bytes);
    for (size_t i = 0; to && i < n; i++) to[pith__row_where(m, w, 0, i)] = bias->floats[i];
    bias->floats = to;
    return to && bias->tensor.data;
}

PITH_SHARED int pith__gather(pith_model *m, pith_error *err) {
    int good = 1;
    if (!m->hyper.rope_gather) return PITH_OK;
    for (int l = 0; l < m->hyper.n_layer && good; l++) {
        pith__layer *y = &m->layer[l];
        good = gather_matrix(m, &y->q) && gather_matrix(m, &y->k) && gather_bias(m, &y->q_bias, &y->q) &&
               gather_bias(m, &y->k_bias, &y->k);
    }
    if (!good) return pith__fail(err, PITH_EMEMORY, "%s: no memory to train", m->store.path);
    m->hyper.rope_gather = m->store.qk_halves = 0;
    return PITH_OK;
}
