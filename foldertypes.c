/* foldertypes.c - what only some classes of transformers have in config.json: experts, layers of several kinds.
 *
 * The way back of formats/hfrouting.c, hfdelta.c, hfhybrid.c, hflatent.c and hfgemma4.c. */
#include "internal.h"

#include <math.h>
#include <string.h>

/* ---- experts ------------------------------------------------------------------------------------------- */

static int is_dense(const pith_model *m, int l) { return !m->layer[l].router.tensor.data; }

/* So many layers at the beginning have no experts. Others without them have a field in a few classes only. */
static int dense_layers(pith__saying *c, int anywhere) {
    int n = 0, last = c->m->hyper.n_layer;
    while (n < last && is_dense(c->m, n)) n++;
    for (int l = n; l < last && !anywhere; l++)
        if (is_dense(c->m, l)) pith__no_field(c, "layers without experts behind others");
    return n;
}

static void say_which_dense(pith__saying *c, unsigned is) {
    int listed = !strncmp(c->is->type, "qwen", 4) && strncmp(c->is->type, "qwen3_5", 7) != 0,
        llama4 = c->is->says & PITH__SAYS_LLAMA4;
    int n = dense_layers(c, listed || llama4), lfm = c->is->says & PITH__SAYS_LFM, count = 0;
    if (listed) pith__say_int(c, "decoder_sparse_step", 1);
    if (listed || llama4) {
        pith__say(c->to, ",\n  \"%s\": [", listed ? "mlp_only_layers" : "moe_layers");
        for (int l = 0; l < c->m->hyper.n_layer; l++)
            if (is_dense(c->m, l) == listed) pith__say(c->to, "%s%d", count++ ? ", " : "", l);
        pith__say(c->to, "]");
    } else if (is & PITH__ROUTE_FIRST_DENSE || lfm) {
        pith__say_int(c, lfm ? "num_dense_layers" : "first_k_dense_replace", n);
    } else if (n) {
        pith__no_field(c, "layers without experts");
    }
}

/* The network beside the experts: its width, or how many experts are as wide. */
static void say_beside(pith__saying *c, const pith__routing *r) {
    const pith__hyper *h = &c->m->hyper;
    int counts = r->shared && !strncmp(r->shared, "n_", 2), llama4 = c->is->says & PITH__SAYS_LLAMA4;
    if (!r->shared && (llama4 ? h->n_ff_shared != h->n_ff_expert : h->n_ff_shared > 0))
        pith__no_field(c, "the network beside its experts");
    if (counts && h->n_ff_shared % h->n_ff_expert) pith__no_field(c, "the width of the network beside its experts");
    if (r->shared) pith__say_int(c, r->shared, counts ? h->n_ff_shared / h->n_ff_expert : h->n_ff_shared);
}

PITH_SHARED void pith__say_experts(pith__saying *c) {
    const pith__hyper *h = &c->m->hyper;
    const pith__routing *r = pith__hf_routing_of(c->is->type);
    if (!r || !h->n_expert) return;
    int sums = r->is & PITH__ROUTE_SUMS, never = r->is & PITH__ROUTE_NEVER_SUM;
    pith__say_int(c, r->count, h->n_expert);
    pith__say_int(c, "num_experts_per_tok", h->n_expert_used);
    if (r->wide) pith__say_int(c, r->wide, h->n_ff_expert);
    if ((sums && !h->expert_norm) || (never && h->expert_norm)) pith__no_field(c, "expert_weights_norm");
    if (h->expert_sigmoid != ((r->is & PITH__ROUTE_SIGMOIDS) != 0)) pith__no_field(c, "expert_gating_func");
    if (!sums && !never) pith__say_flag(c, "norm_topk_prob", h->expert_norm);
    if (r->is & PITH__ROUTE_FACTOR) pith__say_single(c, "routed_scaling_factor", (double)h->expert_factor);
    else if (h->expert_factor < 1 || h->expert_factor > 1) pith__no_field(c, "expert_weights_scale");
    if (r->is & PITH__ROUTE_GROUPS) {
        pith__say_int(c, "n_group", h->n_expert_group ? h->n_expert_group : 1);
        pith__say_int(c, "topk_group", h->n_expert_group ? h->n_group_used : 1);
    } else if (h->n_expert_group) {
        pith__no_field(c, "expert_group_count");
    }
    if (r->is & PITH__ROUTE_METHODS) pith__say_word(c, "topk_method", h->expert_sigmoid ? "noaux_tc" : "greedy");
    say_beside(c, r);
    say_which_dense(c, r->is);
}

/* ---- layers with a state ----------------------------------------------------------------------------------- */

static const pith__layer *first_of(const pith_model *m, int mixer) {
    const pith__layer *l = m->layer;
    while (l < m->layer + m->hyper.n_layer && l->mixer != mixer) l++;
    return l < m->layer + m->hyper.n_layer ? l : NULL;
}

static const char *delta_kind(const pith_model *m, int l) {
    return m->layer[l].mixer == PITH__DELTA ? "\"linear_attention\"" : "\"full_attention\"";
}

static void say_delta(pith__saying *c) {
    const pith__layer *l = first_of(c->m, PITH__DELTA);
    pith__say_layers(c, "layer_types", delta_kind);
    if (!l) { pith__no_field(c, "no layer with a state"); return; }
    const pith__recurrent *r = &l->recurrent;
    pith__say_int(c, "linear_num_key_heads", r->n_k_head);
    pith__say_int(c, "linear_num_value_heads", r->n_head);
    pith__say_int(c, "linear_key_head_dim", r->dk);
    pith__say_int(c, "linear_value_head_dim", r->n_inner / r->n_head);
    pith__say_int(c, "linear_conv_kernel_dim", r->n_tap);
}

static const char *lfm_kind(const pith_model *m, int l) {
    return m->layer[l].mixer == PITH__SHORTCONV ? "\"conv\"" : m->layer[l].mask.window ? "\"sliding_attention\""
        : "\"full_attention\"";
}

static void say_lfm(pith__saying *c) {
    const pith__layer *l = first_of(c->m, PITH__SHORTCONV);
    int third = !strcmp(c->is->type, "lfm3"), window = 0;
    for (int i = 0; i < c->m->hyper.n_layer; i++)
        window = c->m->layer[i].mask.window ? c->m->layer[i].mask.window : window;
    pith__say_layers(c, "layer_types", lfm_kind);
    if (l) pith__say_int(c, "conv_L_cache", l->recurrent.n_tap);
    pith__say_flag(c, "conv_bias", 0);
    if (c->m->hyper.n_expert) pith__say_flag(c, "use_expert_bias", 1);
    if (!third) pith__say_flag(c, "block_auto_adjust_ff_dim", 0);
    if (third) pith__say_flag(c, "use_sandwich_norm", 1), pith__say_flag(c, "use_attention_gate", 1);
    if (third) pith__say_int(c, "sliding_window", window ? window : 256);
    else if (window) pith__no_field(c, "its windows");
}

static const char *granite_kind(const pith_model *m, int l) {
    return m->layer[l].mixer == PITH__MAMBA ? "\"mamba\"" : "\"attention\"";
}

static void say_granite(pith__saying *c) {
    const pith__layer *l = first_of(c->m, PITH__MAMBA);
    const pith__hyper *h = &c->m->hyper;
    static const pith__recurrent usual = { .n_tap = 4, .n_head = 1, .n_k_head = 1, .dk = 16 };
    const pith__recurrent *r = l ? &l->recurrent : &usual;
    int inner = l ? r->n_inner : 2 * h->n_embd, rotates = 0;
    for (int i = 0; i < h->n_layer; i++) rotates |= c->m->layer[i].rope >= 0;
    pith__say_layers(c, "layer_types", granite_kind);
    pith__say_word(c, "position_embedding_type", rotates ? "rope" : "nope");
    if (!h->n_expert) pith__say_int(c, "num_local_experts", 0), pith__say_int(c, "num_experts_per_tok", 0);
    if (!h->n_expert) pith__say_int(c, "shared_intermediate_size", h->n_ff);
    if (inner % h->n_embd) pith__no_field(c, "ssm.inner_size");
    pith__say_int(c, "mamba_expand", inner / h->n_embd);
    pith__say_int(c, "mamba_n_heads", r->n_head);
    pith__say_int(c, "mamba_d_head", inner / r->n_head);
    pith__say_int(c, "mamba_n_groups", r->n_k_head);
    pith__say_int(c, "mamba_d_state", r->dk);
    pith__say_int(c, "mamba_d_conv", r->n_tap);
    pith__say_flag(c, "mamba_conv_bias", !l || r->conv_bias.floats != NULL);
    pith__say_flag(c, "mamba_proj_bias", 0);
}

/* ---- attention of other kinds ------------------------------------------------------------------------------ */

/* transformers has 1e-6 for norms of latents, whatever rms_norm_eps is. */
static void say_latents(pith__saying *c) {
    const pith__hyper *h = &c->m->hyper;
    if (h->latent.q_rank) pith__say_int(c, "q_lora_rank", h->latent.q_rank);
    else pith__say(c->to, ",\n  \"q_lora_rank\": null");
    pith__say_int(c, "kv_lora_rank", h->latent.rank);
    pith__say_int(c, "qk_nope_head_dim", h->latent.n_nope);
    pith__say_int(c, "qk_rope_head_dim", h->n_rot);
    pith__say_int(c, "v_head_dim", h->latent.n_value);
    pith__say_int(c, "head_dim", h->n_rot + (c->is->says & PITH__SAYS_TEMPERATURE ? h->latent.n_nope : 0));
    if (!(fabs((double)h->latent.eps - 1e-6) < 1e-12)) pith__no_field(c, "an eps of latents other than 1e-6");
}

static const char *llama4_rotates(const pith_model *m, int l) { return m->layer[l].rope >= 0 ? "1" : "0"; }

static void say_llama4(pith__saying *c) {
    const pith__hyper *h = &c->m->hyper;
    pith__say_int(c, "intermediate_size_mlp", h->n_ff);
    pith__say_int(c, "interleave_moe_layer_step", 1);
    pith__say_layers(c, "no_rope_layers", llama4_rotates);
    pith__say_flag(c, "attn_temperature_tuning", h->temperature > 0);
    if (h->temperature > 0) pith__say_single(c, "attn_scale", (double)h->temperature);
    pith__say_int(c, "floor_scale", h->temperature_length);
    pith__say_flag(c, "use_qk_norm", h->qk_norm_bare);
}

/* Heads of layers with a window, and of the others, which may be one size only. */
static void say_gemma4_heads(pith__saying *c) {
    const pith_model *m = c->m;
    const pith__layer *narrow = NULL, *wide = NULL;
    int same = 0, n = m->hyper.n_layer;
    for (int l = 0; l < n; l++) {
        const pith__layer *w = &m->layer[l], **of = w->mask.window ? &narrow : &wide;
        if (*of && ((*of)->head_dim != w->head_dim || (*of)->n_kv_head != w->n_kv_head))
            pith__no_field(c, "heads that differ in layers of one kind");
        *of = w;
        if (w->kv_from == l && !w->v.tensor.data) same |= w->mask.window ? 2 : 1;
    }
    for (int l = 0; l < n; l++) /* all that see everything have such values, or none has */
        if (same == 1 && !m->layer[l].mask.window && m->layer[l].kv_from == l && m->layer[l].v.tensor.data) same = 2;
    if (same > 1 || !wide || m->layer[n - 1].mask.window) pith__no_field(c, "its layers");
    if (c->code) return;
    if (!narrow) narrow = wide;
    pith__say_int(c, "num_key_value_heads", narrow->n_kv_head);
    pith__say_int(c, "head_dim", narrow->head_dim);
    pith__say_int(c, "global_head_dim", wide->head_dim);
    pith__say_flag(c, "attention_k_eq_v", same);
    if (same) pith__say_int(c, "num_global_key_value_heads", wide->n_kv_head);
    else if (wide->n_kv_head != narrow->n_kv_head) pith__no_field(c, "its numbers of key heads");
}

static void say_gemma4(pith__saying *c) {
    const pith_model *m = c->m;
    const pith__hyper *h = &m->hyper;
    int n = h->n_layer, shared = 0, narrow = m->layer[0].n_ff, wide = m->layer[n - 1].n_ff > narrow;
    say_gemma4_heads(c);
    for (int l = 0; l < n; l++) shared += m->layer[l].kv_from != l;
    for (int l = 0; l < n; l++) {
        int other = l >= n - shared;
        if ((m->layer[l].kv_from != l) != other || m->layer[l].n_ff != (other && wide ? 2 : 1) * narrow)
            pith__no_field(c, "its layers' sizes");
    }
    const pith__tensor *t = pith__store_tensor(&m->store, "per_layer_token_embd.weight");
    pith__say_int(c, "intermediate_size", narrow);
    pith__say_int(c, "num_kv_shared_layers", shared);
    pith__say_flag(c, "use_double_wide_mlp", wide);
    pith__say_int(c, "hidden_size_per_layer_input", h->n_ple);
    if (t) pith__say_int(c, "vocab_size_per_layer_input", (long long)t->rows);
    pith__say_flag(c, "enable_moe_block", h->n_expert > 0);
    if (!h->n_expert) return;
    pith__say_int(c, "num_experts", h->n_expert);
    pith__say_int(c, "top_k_experts", h->n_expert_used);
    pith__say_int(c, "moe_intermediate_size", h->n_ff_expert);
}

PITH_SHARED void pith__say_kinds(pith__saying *c) {
    static const struct { unsigned says; void (*say)(pith__saying *c); } kinds[] = {
        { PITH__SAYS_DELTA, say_delta }, { PITH__SAYS_LFM, say_lfm }, { PITH__SAYS_GRANITE4, say_granite },
        { PITH__SAYS_LATENT, say_latents }, { PITH__SAYS_LLAMA4, say_llama4 }, { PITH__SAYS_GEMMA4, say_gemma4 },
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (c->is->says & kinds[i].says) kinds[i].say(c);
    int oss = c->is->says & PITH__SAYS_OSS;
    if (oss) pith__say_single(c, "swiglu_limit", (double)c->m->hyper.act_limit);
    if (oss) pith__say_single(c, "swiglu_alpha", (double)c->m->hyper.act_alpha);
}
