/* hfdelta.c - config.json of Qwen3.5 and Qwen3-Next, whose layers are of two kinds, and its tensors laid out as GGUF has them.
 *
 * In three of four layers a state takes the place of keys and values (delta.c). A folder has the value heads of one key
 * head one after the other; GGUF has first those that are the first of their key head, then the second ones, and so on. Of Qwen3-Next
 * GGUF has them as the folder does. */
#include "formats.h"

#include <stdio.h>
#include <string.h>

/* ---- fields ------------------------------------------------------------------------------------------- */

/* Every so many layers the last one is of attention. 0: layer_types is there and says something else. */
static int delta_period(pith__hf *c) {
    pith__json types = pith__hf_get(c->at, "layer_types"), it = types, type;
    int period = pith__hf_int(c, c->at, "full_attention_interval", 1, 4), n = c->f->n_layer, l = 0;
    if (!pith__json_type(types)) return period;
    for (l = 0; pith__json_next(&it, NULL, &type) && !pith__json_is(type, "full_attention");) l++;
    period = l + 1;
    it = types;
    for (l = 0; l < n && pith__json_next(&it, NULL, &type); l++)
        if (!pith__json_is(type, (l + 1) % period ? "linear_attention" : "full_attention")) break;
    return l < n || period > n || pith__json_count(types) != (size_t)n ? 0 : period;
}

/* How many pairs turn by which of three positions, which are one where there is only text; llama.cpp asks for them. */
static void delta_sections(pith__hf *c) {
    pith__json rope = pith__hf_get(c->at, "rope_parameters"), it, item;
    if (!pith__json_type(rope)) rope = pith__hf_get(c->at, "rope_scaling");
    enum { GGUF_TYPE_INT32 = 5, N = 4 };
    static const int32_t usual[N] = { 11, 11, 10, 0 };
    char full[64];
    int i = 0;
    uint8_t *y = c->code ? NULL : pith__arena_new(&c->f->s->arena, N, 4);
    snprintf(full, sizeof full, "%s.rope.dimension_sections", c->arch);
    pith__hf_added(c, y ? pith__store_add_int(c->f->s, full, 0) : PITH_EMEMORY);
    if (c->code) return;
    int32_t section[N];
    memcpy(section, usual, sizeof section);
    for (it = pith__hf_get(rope, "mrope_section"); i < N && pith__json_next(&it, NULL, &item); i++) {
        int64_t said = 0;
        section[i] = pith__json_int(item, &said) && said >= 0 && said <= INT32_MAX ? (int32_t)said : 0;
    }
    for (i = 0; i < N; i++)
        for (int b = 0; b < 4; b++) y[4 * i + b] = (uint8_t)((uint32_t)section[i] >> 8 * b);
    pith__key *k = &c->f->s->key[c->f->s->n_key - 1];
    k->type = PITH__ARRAY, k->item = PITH__INT, k->gguf_item = GGUF_TYPE_INT32;
    k->n = N, k->at.left = 4 * N, k->at.p = y;
}

PITH_SHARED void pith__hf_delta(pith__hf *c) {
    enum { MOST = 1 << 14 };
    pith__folder *f = c->f;
    f->delta_keys = pith__hf_int(c, c->at, "linear_num_key_heads", 1, 16);
    f->delta_values = pith__hf_int(c, c->at, "linear_num_value_heads", 1, 32);
    f->delta_dk = pith__hf_int(c, c->at, "linear_key_head_dim", 1, 128);
    f->delta_dv = pith__hf_int(c, c->at, "linear_value_head_dim", 1, 128);
    if (!c->code && f->delta_values > MOST)
        pith__hf_wrong(c, pith__hf_get(c->at, "linear_num_value_heads"), PITH_EFORMAT, "linear_num_value_heads", "at most 16384");
    if (!c->code && f->delta_dv > MOST)
        pith__hf_wrong(c, pith__hf_get(c->at, "linear_value_head_dim"), PITH_EFORMAT, "linear_value_head_dim", "at most 16384");
    if (!pith__hf_bool(c, c->at, "attn_output_gate", 1))
        pith__hf_wrong(c, pith__hf_get(c->at, "attn_output_gate"), PITH_EARCH, "attn_output_gate", "true");
    pith__hf_put_int(c, "ssm.conv_kernel", pith__hf_int(c, c->at, "linear_conv_kernel_dim", 1, 4));
    pith__hf_put_int(c, "ssm.state_size", f->delta_dk);
    pith__hf_put_int(c, "ssm.group_count", f->delta_keys);
    pith__hf_put_int(c, "ssm.time_step_rank", f->delta_values);
    pith__hf_put_int(c, "ssm.inner_size", c->code ? 1 : f->delta_values * f->delta_dv);
    int period = delta_period(c);
    pith__hf_put_int(c, "full_attention_interval", period ? period : 1);
    if (!period) pith__hf_hybrid(c, PITH__HF_DELTA);
    if (!strncmp(c->arch, "qwen35", 6)) delta_sections(c);
}

/* ---- tensors as GGUF has them ---------------------------------------------------------------------------- */

/* Value heads of so many bytes each, from x to y, in GGUF's order. */
static void order_heads(const pith__folder *f, uint8_t *y, const uint8_t *x, size_t bytes) {
    size_t keys = (size_t)f->delta_keys, rep = (size_t)f->delta_values / keys;
    for (size_t i = 0; i < keys; i++)
        for (size_t m = 0; m < rep; m++) memcpy(y + (m * keys + i) * bytes, x + (i * rep + m) * bytes, bytes);
}

/* A tensor whose value heads begin at some byte of it, and have so many; or, per_row, of each of its rows. One of another
 * size stays as it is: model.c will say so. */
static int order_tensor(pith__folder *f, pith__tensor *t, size_t first, size_t bytes, int per_row) {
    size_t rows = per_row ? t->rows : 1, all = t->rows * t->row_bytes, row = all / (rows ? rows : 1);
    if (row != first + bytes * (size_t)f->delta_values) return PITH_OK;
    uint8_t *y = pith__arena_new(&f->s->arena, all + 1, 1);
    if (!y) return pith__fail(f->err, PITH_EMEMORY, "%s: no memory", f->dir);
    for (size_t r = 0; r < rows; r++) {
        memcpy(y + r * row, t->data + r * row, first);
        order_heads(f, y + r * row + first, t->data + r * row + first, bytes);
    }
    t->data = y;
    return PITH_OK;
}

/* Which tensors have value heads, and where. */
PITH_SHARED int pith__hf_delta_heads(pith__str name) {
    static const struct { const char *name; int at; } ordered[] = {
        { ".attn_qkv.weight", PITH__HEADS_BEHIND | PITH__HEADS_WIDE }, { ".ssm_conv1d.weight", PITH__HEADS_BEHIND | PITH__HEADS_WIDE },
        { ".attn_gate.weight", PITH__HEADS_WIDE }, { ".ssm_beta.weight", 0 }, { ".ssm_alpha.weight", 0 }, { ".ssm_a", PITH__HEADS_COLUMNS },
        { ".ssm_dt.bias", PITH__HEADS_COLUMNS }, { ".ssm_out.weight", PITH__HEADS_WIDE | PITH__HEADS_COLUMNS },
    };
    for (size_t i = 0; i < sizeof ordered / sizeof *ordered; i++)
        if (pith__name_ends(name, ordered[i].name)) return PITH__HEADS | ordered[i].at;
    return 0;
}

PITH_SHARED int pith__hf_delta_layout(pith__folder *f, pith__tensor *t) {
    int code = PITH_OK, at = pith__hf_delta_heads(t->name);
    if (pith__name_ends(t->name, ".ssm_a")) code = pith__hf_fade_rates(f, t);
    if (pith__name_ends(t->name, ".ssm_conv1d.weight") && t->n_dim == 3 && t->shape[1] == 1) t->n_dim = 2, t->shape[1] = t->shape[2];
    if (f->s->hf_style & PITH__HF_NEXT) return code;
    if (code || !at || !t->cols || f->delta_values % f->delta_keys || f->delta_values == f->delta_keys) return code;
    size_t unit = at & PITH__HEADS_COLUMNS ? t->row_bytes / t->cols : t->row_bytes, dv = at & PITH__HEADS_WIDE ? (size_t)f->delta_dv : 1;
    size_t first = at & PITH__HEADS_BEHIND ? 2 * (size_t)f->delta_keys * (size_t)f->delta_dk * unit : 0;
    return order_tensor(f, t, first, dv * unit, (at & PITH__HEADS_COLUMNS) != 0);
}
