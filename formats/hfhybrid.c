/* hfhybrid.c - config.json of models some of whose layers are not of attention becomes the keys that a GGUF file would have.
 *
 * layer_types names the kind of each layer. GGUF says it by attention.head_count_kv: 0 in the layers that have a state
 * instead of keys and values. */
#include "formats.h"

#include <math.h>
#include <stdio.h>

/* ---- the kinds of layers ----------------------------------------------------------------------- */

/* 1: the layer has a state. Other kinds than attention that families have, by their names. */
static int hybrid_is_state(pith__hf *c, int style, pith__json type) {
    if (pith__json_is(type, "full_attention") || pith__json_is(type, "attention")) return 0;
    const char *other = style & PITH__HF_LFM ? "conv" : style & PITH__HF_DELTA ? "linear_attention" : "mamba";
    char need[64];
    int lfm3 = style & PITH__HF_LFM && !(style & PITH__HF_LFM2);
    if (lfm3 && pith__json_is(type, "sliding_attention")) return 0;
    snprintf(need, sizeof need, "%s%s or %s", other, lfm3 ? ", sliding_attention" : "", style & PITH__HF_GRANITE4 ? "attention" : "full_attention");
    int known = pith__json_is(type, other) || (style & PITH__HF_GRANITE4 && pith__json_is(type, "linear_attention"));
    if (!known) pith__hf_wrong(c, type, PITH_EARCH, "layer_types", need);
    return 1;
}

/* Without layer_types: LFM2's older full_attn_idxs, or attention in all layers; Granite 4: in none. */
static int hybrid_is_listed(pith__json list, int l) {
    pith__json item;
    int64_t i;
    while (pith__json_next(&list, NULL, &item))
        if (pith__json_int(item, &i) && i == l) return 1;
    return 0;
}

/* Without layer_types LFM3 has a window in every fourth layer but the first, and attention two layers behind each. */
enum { CONVOLVED, ATTENDING, SLIDING };
static int hybrid_usual(int l) { return l % 4 == 2 ? ATTENDING : l % 4 == 0 && l > 0 ? SLIDING : CONVOLVED; }

/* attention.head_count_kv becomes an array of int32, in the order of bytes that GGUF has. */
static void hybrid_heads(pith__hf *c, int style) {
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
        int state = style & PITH__HF_LFM ? pith__json_type(list) && !hybrid_is_listed(list, (int)l) : 1;
        if (style & PITH__HF_LFM && !(style & PITH__HF_LFM2)) state = hybrid_usual((int)l) == CONVOLVED;
        if (pith__json_next(&it, NULL, &type)) state = hybrid_is_state(c, style, type);
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

static void hybrid_lfm(pith__hf *c, int style) {
    pith__json dense = pith__hf_get(c->at, "num_dense_layers");
    pith__hf_put_int(c, "shortconv.l_cache", pith__hf_int(c, c->at, "conv_L_cache", 2, style & PITH__HF_LFM2 ? 3 : 7));
    if (pith__json_type(dense)) pith__hf_put_int(c, "leading_dense_block_count", pith__hf_int(c, c->at, "num_dense_layers", 0, 0));
    if (!pith__hf_bool(c, c->at, "use_expert_bias", 1))
        pith__hf_wrong(c, pith__hf_get(c->at, "use_expert_bias"), PITH_EARCH, "use_expert_bias", "true");
}

/* LFM3: which layers of attention see only a window, and what each layer must have. */
static void hybrid_lfm3(pith__hf *c) {
    static const char *const needed[] = { "use_sandwich_norm", "use_attention_gate" };
    pith__json types = pith__hf_get(c->at, "layer_types"), it = types, type;
    uint8_t *slides = c->code ? NULL : pith__arena_new(&c->f->s->arena, (size_t)c->f->n_layer, 1);
    char full[96];
    for (int i = 0; i < 2; i++)
        if (!pith__hf_bool(c, c->at, needed[i], 1)) pith__hf_wrong(c, pith__hf_get(c->at, needed[i]), PITH_EARCH, needed[i], "true");
    if (!slides) { pith__hf_added(c, PITH_EMEMORY); return; }
    for (int l = 0; l < c->f->n_layer; l++)
        slides[l] = pith__json_next(&it, NULL, &type) ? pith__json_is(type, "sliding_attention") : hybrid_usual(l) == SLIDING;
    pith__json size = pith__json_get(c->at, "sliding_window");
    if (pith__json_type(size) == 'n') pith__hf_wrong(c, size, PITH_EARCH, "sliding_window", "a length");
    pith__hf_put_int(c, "attention.sliding_window", pith__hf_int(c, c->at, "sliding_window", 1, 256));
    snprintf(full, sizeof full, "%s.attention.sliding_window_pattern", c->arch);
    pith__hf_put_flags(c, full, slides);
}

/* ---- tensors as GGUF has them ----------------------------------------------------------------------- */

/* A_log becomes how fast a state fades: -e^A_log, in F32. */
PITH_SHARED int pith__hf_fade_rates(pith__folder *f, pith__tensor *t) {
    float *y = pith__arena_new(&f->s->arena, t->cols + 1, sizeof *y);
    if (!y) return pith__fail(f->err, PITH_EMEMORY, "%s: no memory", f->dir);
    if (t->rows != 1) return PITH_OK;
    pith__row_floats(t, 0, y);
    for (size_t i = 0; i < t->cols; i++) y[i] = -expf(y[i]);
    return pith__tensor_set(t, f->s, PITH__F32, (pith__cursor){ (const uint8_t *)y, t->cols * sizeof *y, 0 }, f->err);
}

/* ---- Granite 4 ------------------------------------------------------------------------------------- */

static void hybrid_granite(pith__hf *c) {
    pith__json at = c->at, rotates = pith__hf_get(at, "position_embedding_type"), limit = pith__hf_get(at, "time_step_limit");
    int64_t wide = (int64_t)pith__hf_int(c, at, "mamba_expand", 1, 2) * pith__hf_int(c, at, "hidden_size", 1, 4096);
    int heads = pith__hf_int(c, at, "mamba_n_heads", 1, 128), n = wide > INT32_MAX ? INT32_MAX : (int)wide;
    pith__json dim = pith__hf_get(at, "mamba_d_head"), item;
    c->f->n_group = pith__hf_int(c, at, "mamba_n_groups", 1, 1);
    if (pith__json_type(dim) && !pith__json_is(dim, "auto") && (int64_t)pith__hf_int(c, at, "mamba_d_head", 1, 1) * heads != n)
        pith__hf_wrong(c, dim, PITH_EFORMAT, "mamba_d_head", "mamba_expand times hidden_size, over mamba_n_heads");
    c->f->no_conv_bias = !pith__hf_bool(c, at, "mamba_conv_bias", 1);
    if (pith__hf_bool(c, at, "mamba_proj_bias", 0))
        pith__hf_wrong(c, pith__hf_get(at, "mamba_proj_bias"), PITH_EARCH, "mamba_proj_bias", "false");
    double y = 0;
    for (int i = 0; pith__json_next(&limit, NULL, &item); i++) /* 0 and infinity, which JSON has no number for */
        if (pith__json_float(item, &y) && (i == 0 ? y > 0 : y < 1e30))
            pith__hf_wrong(c, item, PITH_EARCH, "time_step_limit", "from 0 on, without an end");
    if (pith__json_type(rotates) && !pith__json_is(rotates, "rope") && !pith__json_is(rotates, "nope"))
        pith__hf_wrong(c, rotates, PITH_EARCH, "position_embedding_type", "rope, nope or null");
    pith__hf_put_flag(c, "rope.scaling.finetuned", pith__json_is(rotates, "rope"));
    pith__hf_put_int(c, "ssm.conv_kernel", pith__hf_int(c, at, "mamba_d_conv", 2, 4));
    pith__hf_put_int(c, "ssm.state_size", pith__hf_int(c, at, "mamba_d_state", 1, 256));
    pith__hf_put_int(c, "ssm.group_count", c->f->n_group);
    pith__hf_put_int(c, "ssm.time_step_rank", heads);
    pith__hf_put_int(c, "ssm.inner_size", n);
}

/* A vector becomes a matrix of so many rows, as GGUF has it. */
static void as_rows(pith__tensor *t, size_t rows) {
    if (t->rows != 1 || t->cols % rows) return; /* model.c will say so */
    t->row_bytes /= rows, t->rows = rows, t->cols /= rows;
    t->n_dim = 2, t->shape[0] = rows, t->shape[1] = t->cols;
}

PITH_SHARED int pith__hf_granite_layout(pith__folder *f, pith__tensor *t) {
    int code = PITH_OK;
    if (pith__name_ends(t->name, ".ssm_conv1d.weight") && t->n_dim == 3 && t->shape[1] == 1) t->n_dim = 2, t->shape[1] = t->shape[2];
    if (pith__name_ends(t->name, ".ssm_a")) code = pith__hf_fade_rates(f, t);
    if (pith__name_ends(t->name, ".ssm_a") || pith__name_ends(t->name, ".ssm_d")) as_rows(t, t->cols);
    if (pith__name_ends(t->name, ".ssm_norm.weight")) as_rows(t, (size_t)f->n_group);
    return code;
}

/* ---- all of it --------------------------------------------------------------------------------------- */

PITH_SHARED void pith__hf_hybrid(pith__hf *c, int style) {
    hybrid_heads(c, style);
    if (style & PITH__HF_LFM) hybrid_lfm(c, style);
    if (style & PITH__HF_LFM && !(style & PITH__HF_LFM2)) hybrid_lfm3(c);
    if (style & PITH__HF_GRANITE4) hybrid_granite(c);
}
