/* hfhybrid.c - config.json of models some of whose layers are not of attention becomes the keys that a GGUF file would have.
 *
 * layer_types names the kind of each layer. GGUF says it by attention.head_count_kv: 0 in the layers that have a state
 * instead of keys and values. */
#include "formats.h"

#include <stdio.h>

/* ---- the kinds of layers ----------------------------------------------------------------------- */

/* 1: the layer has a state. Other kinds than attention that families have, by their names. */
static int hybrid_is_state(pith__hf *c, pith__json type) {
    if (pith__json_is(type, "full_attention") || pith__json_is(type, "attention")) return 0;
    if (!pith__json_is(type, "conv")) pith__hf_wrong(c, type, PITH_EARCH, "layer_types", "conv or full_attention");
    return 1;
}

/* Without layer_types: the older full_attn_idxs, or attention in all layers. */
static int hybrid_is_listed(pith__json list, int l) {
    pith__json item;
    int64_t i;
    while (pith__json_next(&list, NULL, &item))
        if (pith__json_int(item, &i) && i == l) return 1;
    return 0;
}

/* attention.head_count_kv becomes an array of int32, in the order of bytes that GGUF has. */
static void hybrid_heads(pith__hf *c) {
    pith__json types = pith__hf_get(c->at, "layer_types"), list = pith__hf_get(c->at, "full_attn_idxs"), it = types, type;
    size_t n = (size_t)c->f->n_layer;
    pith__key *k = NULL;
    char full[96];
    snprintf(full, sizeof full, "%s.attention.head_count_kv", c->arch);
    for (size_t i = 0; i < c->f->s->n_key; i++)
        if (pith__str_is(c->f->s->key[i].name, full)) k = &c->f->s->key[i];
    if (pith__json_type(types) && (pith__json_type(types) != '[' || pith__json_count(types) != n))
        pith__hf_wrong(c, types, PITH_EFORMAT, "layer_types", "an array, one string a layer");
    uint8_t *heads = c->code || !k ? NULL : pith__arena_new(&c->f->s->arena, n, 4);
    if (!heads) { pith__hf_added(c, PITH_EMEMORY); return; }
    for (size_t l = 0; l < n; l++) {
        int state = pith__json_type(list) && !hybrid_is_listed(list, (int)l);
        if (pith__json_next(&it, NULL, &type)) state = hybrid_is_state(c, type);
        for (int i = 0; i < 4; i++) heads[4 * l + (size_t)i] = (uint8_t)(state ? 0 : (uint32_t)k->i >> 8 * i);
    }
    enum { GGUF_TYPE_INT32 = 5 };
    k->type = PITH__ARRAY, k->item = PITH__INT, k->gguf_item = GGUF_TYPE_INT32;
    k->n = n, k->at.left = 4 * n, k->at.p = heads;
}

/* ---- LFM2 ------------------------------------------------------------------------------------------ */

/* What config.json calls intermediate_size (block_ff_dim in older files) may be what Llama's would be, of which two thirds
 * are taken. */
PITH_SHARED int pith__hf_lfm_ff(pith__hf *c, int usual) {
    int n = pith__hf_int(c, c->at, "block_ff_dim", 1, pith__hf_int(c, c->at, "intermediate_size", 1, usual));
    int unit = pith__hf_int(c, c->at, "block_multiple_of", 1, 256);
    if (!pith__hf_bool(c, c->at, "block_auto_adjust_ff_dim", 1)) return n;
    double part = (double)(int)(2 * (double)n / 3) * pith__hf_positive(c, c->at, "block_ffn_dim_multiplier", 1);
    if (part > 1 << 30 || unit > 1 << 30) {
        pith__hf_wrong(c, pith__hf_get(c->at, "block_multiple_of"), PITH_EFORMAT, "block_multiple_of", "a smaller network");
        return n;
    }
    return ((int)part + unit - 1) / unit * unit;
}

static void hybrid_lfm(pith__hf *c) {
    pith__json dense = pith__hf_get(c->at, "num_dense_layers");
    pith__hf_put_int(c, "shortconv.l_cache", pith__hf_int(c, c->at, "conv_L_cache", 2, 3));
    if (pith__json_type(dense)) pith__hf_put_int(c, "leading_dense_block_count", pith__hf_int(c, c->at, "num_dense_layers", 0, 0));
    if (!pith__hf_bool(c, c->at, "use_expert_bias", 1))
        pith__hf_wrong(c, pith__hf_get(c->at, "use_expert_bias"), PITH_EARCH, "use_expert_bias", "true");
}

/* ---- all of it --------------------------------------------------------------------------------------- */

PITH_SHARED void pith__hf_hybrid(pith__hf *c, int style) {
    hybrid_heads(c);
    if (style & PITH__HF_LFM) hybrid_lfm(c);
}
