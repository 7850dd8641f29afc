/* hfrouting.c - how config.json says that a family chooses experts and weighs them, as llama.cpp's keys.
 *
 * What the fields mean, and what holds where one is missing, is written in transformers' configuration_*.py and in the
 * routers of its modeling_*.py. A new family is a row here. */
#include "formats.h"

#include <math.h>
#include <string.h>

enum { SUMS = PITH__ROUTE_SUMS, MAY_SUM = PITH__ROUTE_MAY_SUM, DOES_SUM = PITH__ROUTE_DOES_SUM, NEVER_SUM = PITH__ROUTE_NEVER_SUM,
       SIGMOIDS = PITH__ROUTE_SIGMOIDS, FACTOR = PITH__ROUTE_FACTOR, GROUPS = PITH__ROUTE_GROUPS, METHODS = PITH__ROUTE_METHODS,
       MAY_BE_NONE = PITH__ROUTE_MAY_BE_NONE, FIRST_DENSE = PITH__ROUTE_FIRST_DENSE,
       LISTED = PITH__ROUTE_LISTED };

static const pith__routing routings[] = {
    { "mixtral", "num_local_experts", NULL, NULL, SUMS, 8, 2, 0, 0, 1 },
    { "qwen2_moe", "num_experts", "moe_intermediate_size", "shared_expert_intermediate_size", MAY_SUM, 60, 4, 1408, 5632, 1 },
    { "qwen3_moe", "num_experts", "moe_intermediate_size", NULL, MAY_SUM, 128, 8, 768, 0, 1 },
    { "qwen3_5_moe_text", "num_experts", "moe_intermediate_size", "shared_expert_intermediate_size", SUMS, 256, 8, 512, 512, 1 },
    { "qwen3_next", "num_experts", "moe_intermediate_size", "shared_expert_intermediate_size", DOES_SUM, 512, 10, 512, 512, 1 },
    { "gpt_oss", "num_local_experts", NULL, NULL, SUMS, 128, 4, 2880, 0, 1 },
    { "llama4_text", "num_local_experts", "intermediate_size", NULL, MAY_SUM | SIGMOIDS | LISTED, 16, 1, 8192, 0, 1 },
    { "olmoe", "num_experts", NULL, NULL, MAY_SUM, 64, 8, 0, 0, 1 },
    { "granitemoehybrid", "num_local_experts", NULL, "shared_intermediate_size", SUMS | MAY_BE_NONE, 8, 2, 0, 1024, 1 },
    { "lfm2_moe", "num_experts", "moe_intermediate_size", NULL, DOES_SUM | SIGMOIDS | FACTOR, 32, 4, 1792, 0, 1 },
    { "glm4_moe", "n_routed_experts", "moe_intermediate_size", "n_shared_experts",
      DOES_SUM | SIGMOIDS | FACTOR | GROUPS | FIRST_DENSE, 128, 8, 1408, 1, 1 },
    { "deepseek_v2", "n_routed_experts", "moe_intermediate_size", "n_shared_experts", NEVER_SUM | FACTOR | FIRST_DENSE | METHODS,
      64, 0, 1407, 2, 1 },
    { "deepseek_v3", "n_routed_experts", "moe_intermediate_size", "n_shared_experts",
      DOES_SUM | SIGMOIDS | FACTOR | GROUPS | FIRST_DENSE | METHODS, 256, 8, 2048, 1, 2.5 },
    { "glm4_moe_lite", "n_routed_experts", "moe_intermediate_size", "n_shared_experts",
      DOES_SUM | SIGMOIDS | FACTOR | GROUPS | METHODS, 64, 4, 1536, 1, 1.8 },
    { "mistral4", "n_routed_experts", "moe_intermediate_size", "n_shared_experts", DOES_SUM | FACTOR | GROUPS | FIRST_DENSE,
      128, 4, 2048, 1, 1 },
};

/* Fields of experts that change the arithmetic, and the only value that is known of one that a family does not read. */
static const struct { const char *name; unsigned is; double value; } routing_fields[] = {
    { "norm_topk_prob", SUMS | MAY_SUM | DOES_SUM | NEVER_SUM, 1 }, { "routed_scaling_factor", FACTOR, 1 }, { "n_group", GROUPS | METHODS, 1 },
    { "topk_group", GROUPS | METHODS, 1 }, { "first_k_dense_replace", FIRST_DENSE, 0 },
};

static void routing_refuse(pith__hf *c, const pith__routing *r) {
    static const char *const shared[] = { "n_shared_experts", "num_shared_experts", "shared_expert_intermediate_size" };
    double y = 0;
    for (size_t i = 0; i < sizeof routing_fields / sizeof *routing_fields; i++) {
        pith__json j = pith__hf_get(c->at, routing_fields[i].name);
        if (r->is & routing_fields[i].is || !pith__json_type(j)) continue;
        int flag = pith__json_type(j) == (routing_fields[i].value != 0 ? 't' : 'f');
        if (!flag && !(pith__json_float(j, &y) && y == routing_fields[i].value))
            pith__hf_wrong(c, j, PITH_EARCH, routing_fields[i].name, "null in this family");
    }
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) {
        pith__json j = pith__hf_get(c->at, shared[i]);
        if ((r->shared && !strcmp(r->shared, shared[i])) || !pith__json_type(j) || (pith__json_float(j, &y) && y == 0)) continue;
        pith__hf_wrong(c, j, PITH_EARCH, shared[i], "null or 0: this family has no such part");
    }
}

/* The experts that are beside the others: their width, or their number. */
static void routing_shared(pith__hf *c, const pith__routing *r) {
    int counts = r->shared && !strncmp(r->shared, "n_", 2);
    if (!r->shared) return;
    pith__hf_put_int(c, counts ? "expert_shared_count" : "expert_shared_feed_forward_length",
                     pith__hf_int(c, c->at, r->shared, 0, r->n_shared));
}

/* DeepSeek's files name how experts are chosen. V2's larger one chooses groups by their best expert. */
static void routing_method(pith__hf *c, const pith__routing *r) {
    int sigmoids = (r->is & SIGMOIDS) != 0;
    pith__json method = pith__hf_get(c->at, "topk_method"), score = pith__hf_get(c->at, "scoring_func");
    const char *known = sigmoids ? "noaux_tc" : "greedy", *scores = sigmoids ? "sigmoid" : "softmax";
    if (!sigmoids && pith__json_is(method, "group_limited_greedy")) {
        pith__hf_put_int(c, "expert_group_count", pith__hf_int(c, c->at, "n_group", 1, 0));
        pith__hf_put_int(c, "expert_group_used_count", pith__hf_int(c, c->at, "topk_group", 1, 0));
    } else if (pith__json_type(method) && !pith__json_is(method, known)) {
        pith__hf_wrong(c, method, PITH_EARCH, "topk_method", sigmoids ? known : "greedy or group_limited_greedy");
    }
    if (pith__json_type(score) && !pith__json_is(score, scores)) pith__hf_wrong(c, score, PITH_EARCH, "scoring_func", scores);
}

PITH_SHARED const pith__routing *pith__hf_routing_of(const char *type) {
    for (size_t i = 0; i < sizeof routings / sizeof *routings; i++)
        if (!strcmp(routings[i].type, type)) return &routings[i];
    return NULL;
}

static int first_dense(pith__hf *c, const char *type) {
    pith__json types = pith__hf_get(c->at, "mlp_layer_types"), item; /* GLM-4.7-Flash, as transformers 5 has it */
    int n = 0, listed = pith__json_type(types) != 0;
    while (listed && pith__json_next(&types, NULL, &item) && pith__json_is(item, "dense")) n++;
    return listed ? n : pith__hf_int(c, c->at, "first_k_dense_replace", 0, !strcmp(type, "deepseek_v3") ? 3 : !strncmp(type, "glm4_moe", 8));
}

/* Llama 4: the layers with experts are listed, or they are the last of every so many. */
static int routing_listed(pith__hf *c) {
    pith__json layers = pith__hf_get(c->at, "moe_layers");
    if (pith__json_type(layers)) return pith__json_count(layers) > 0;
    return pith__hf_int(c, c->at, "interleave_moe_layer_step", 1, 1) <= c->f->n_layer;
}

/* 1: some layer has experts. Which ones, the tensors say. */
static int routing_somewhere(pith__hf *c, const pith__routing *r) {
    pith__json only = pith__hf_get(c->at, "mlp_only_layers"), types = pith__hf_get(c->at, "mlp_layer_types"), it, item;
    int n = c->f->n_layer, some = 0, step = pith__hf_int(c, c->at, "decoder_sparse_step", 1, 1);
    if (r->is & FIRST_DENSE) return first_dense(c, r->type) < n;
    if (!strcmp(r->type, "lfm2_moe")) return pith__hf_int(c, c->at, "num_dense_layers", 0, 2) < n;
    if (r->is & LISTED) return routing_listed(c);
    while (pith__json_next(&types, NULL, &item)) some |= pith__json_is(item, "sparse");
    if (pith__json_type(pith__hf_get(c->at, "mlp_layer_types"))) return some;
    for (int l = step - 1; l < n; l += step) {
        int64_t i = -1;
        for (it = only; pith__json_next(&it, NULL, &item) && !(pith__json_int(item, &i) && i == l);) i = -1;
        if (i != l) return 1;
    }
    return 0;
}

PITH_SHARED void pith__hf_routing(pith__hf *c, const char *type) {
    const pith__routing *r = pith__hf_routing_of(type);
    pith__json at = c->at;
    if (!r) return;
    if (r->is & MAY_BE_NONE && pith__hf_int(c, at, r->count, 0, r->n) == 0) return;
    routing_refuse(c, r);
    if (!routing_somewhere(c, r)) return;
    /* transformers 5 writes the first name, older files have the family's own */
    const char *count = pith__json_type(pith__hf_get(at, r->count)) ? r->count : "num_local_experts";
    pith__hf_put_int(c, "expert_count", pith__hf_int(c, at, count, 1, r->n));
    pith__hf_put_int(c, "expert_used_count", pith__hf_int(c, at, "num_experts_per_tok", 1, r->n_used));
    const char *wide = r->wide ? r->wide : "intermediate_size";
    if (r->n_wide) pith__hf_put_int(c, "expert_feed_forward_length", pith__hf_int(c, at, wide, 1, r->n_wide));
    routing_shared(c, r);
    if (r->is & METHODS) routing_method(c, r);
    int sums = r->is & SUMS || (!(r->is & NEVER_SUM) && pith__hf_bool(c, at, "norm_topk_prob", (r->is & DOES_SUM) != 0));
    pith__hf_put_flag(c, "expert_weights_norm", sums);
    if (r->is & SIGMOIDS) pith__hf_put_int(c, "expert_gating_func", 2);
    if (r->is & FACTOR) pith__hf_put_float(c, "expert_weights_scale", pith__hf_positive(c, at, "routed_scaling_factor", r->factor));
    int v3 = !strcmp(type, "deepseek_v3");
    if (r->is & GROUPS) {
        pith__hf_put_int(c, "expert_group_count", pith__hf_int(c, at, "n_group", 1, v3 ? 8 : 1));
        pith__hf_put_int(c, "expert_group_used_count", pith__hf_int(c, at, "topk_group", 1, v3 ? 4 : 1));
    }
    if (r->is & LISTED) pith__hf_put_int(c, "interleave_moe_layer_step", pith__hf_int(c, at, "interleave_moe_layer_step", 1, 1));
    if (r->is & (FIRST_DENSE | METHODS)) pith__hf_put_int(c, "leading_dense_block_count", first_dense(c, type));
}

/* ---- stacks ------------------------------------------------------------------------------------ */

static int is_stack(const pith__tensor *t) {
    static const char *const stacks[] = { ".ffn_gate_up_exps.weight", ".ffn_down_exps.weight" };
    for (size_t i = 0; i < 2; i++) {
        size_t n = strlen(stacks[i]);
        if (t->n_dim == 3 && t->name.n > n && !memcmp(t->name.p + t->name.n - n, stacks[i], n)) return 1;
    }
    return 0;
}

static int turn_stack(pith__folder *f, pith__tensor *t) {
    size_t n = (size_t)t->shape[0], rows = (size_t)t->shape[1], cols = t->cols;
    if (!n || !rows || !cols) return PITH_OK;
    size_t size = t->row_bytes / cols;
    uint8_t *y = pith__arena_new(&f->s->arena, t->rows * t->row_bytes, 1), *to = y;
    if (!y) return pith__fail(f->err, PITH_EMEMORY, "%s: no memory", f->dir);
    for (const uint8_t *from = t->data; n > 0; n--, from += rows * t->row_bytes)
        for (size_t i = 0; i < cols; i++)
            for (size_t r = 0; r < rows; r++, to += size) memcpy(to, from + r * t->row_bytes + i * size, size);
    t->data = y;
    t->shape[1] = cols, t->shape[2] = rows;
    t->rows = (size_t)t->shape[0] * cols, t->cols = rows, t->row_bytes = rows * size;
    return PITH_OK;
}

PITH_SHARED int pith__hf_turn_experts(pith__folder *f) {
    int code = PITH_OK;
    for (size_t i = 0; i < f->s->n_tensor && !code; i++)
        if (f->s->hf_style & PITH__HF_LLAMA4 && is_stack(&f->s->tensor[i])) code = turn_stack(f, &f->s->tensor[i]);
    return code;
}
