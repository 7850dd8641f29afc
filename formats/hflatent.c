/* hflatent.c - config.json of models with latent attention (latent.c) -> keys.
 *
 * DeepSeek V2 and V3, GLM-4.7-Flash, Mistral Small 4. Fields as in transformers' configuration_deepseek_v3.py and its
 * relatives, keys as llama.cpp has them. */
#include "formats.h"

#include <math.h>
#include <string.h>

/* The head size by which transformers makes angles must be what is rotated; published files mostly leave it out. */
static void check_rotated(pith__hf *c, int n_rot) {
    pith__json rope = pith__hf_get(c->at, "rope_parameters"), head = pith__hf_get(c->at, "head_dim");
    double part = pith__hf_positive(c, rope, "partial_rotary_factor", pith__hf_positive(c, c->at, "partial_rotary_factor", 1));
    double width = pith__hf_positive(c, c->at, "head_dim", n_rot / part);
    if (fabs(width * part - n_rot) > 0.5)
        pith__hf_wrong(c, head, PITH_EARCH, "head_dim", "qk_rope_head_dim, or that over partial_rotary_factor");
    if (!pith__hf_bool(c, c->at, "rope_interleave", 1))
        pith__hf_wrong(c, pith__hf_get(c->at, "rope_interleave"), PITH_EARCH, "rope_interleave", "true");
    if (n_rot % 2)
        pith__hf_wrong(c, pith__hf_get(c->at, "qk_rope_head_dim"), PITH_EARCH, "qk_rope_head_dim", "an even number");
}

/* The class defaults, for what config.json leaves unsaid. */
static const struct latent_sizes {
    const char *type;    /* model_type */
    int rank, q_rank, n_nope, n_rot, n_value;
} latent_sizes[] = {
    { "deepseek_v2", 512, 1536, 128, 64, 128 },
    { "deepseek_v3", 512, 1536, 128, 64, 128 },
    { "glm4_moe_lite", 512, 768, 192, 64, 256 },
    { "mistral4", 256, 1024, 64, 64, 128 },
};

PITH_SHARED void pith__hf_latent(pith__hf *c, const char *type, double eps) {
    const struct latent_sizes *d = latent_sizes;
    for (size_t i = 0; i < sizeof latent_sizes / sizeof *latent_sizes; i++)
        if (!strcmp(latent_sizes[i].type, type)) d = &latent_sizes[i];
    pith__json at = c->at, q = pith__json_get(at, "q_lora_rank");
    int q_rank = pith__json_type(q) == 'n' ? 0 : pith__hf_int(c, at, "q_lora_rank", 1, d->q_rank); /* null: one matrix */
    int rank = pith__hf_int(c, at, "kv_lora_rank", 1, d->rank), n_rot = pith__hf_int(c, at, "qk_rope_head_dim", 1, d->n_rot);
    int n_nope = pith__hf_int(c, at, "qk_nope_head_dim", 1, d->n_nope);
    if (rank > INT32_MAX - n_rot) pith__hf_wrong(c, pith__hf_get(at, "kv_lora_rank"), PITH_EFORMAT, "kv_lora_rank", "less");
    if (n_nope > INT32_MAX - n_rot) pith__hf_wrong(c, pith__hf_get(at, "qk_nope_head_dim"), PITH_EFORMAT, "qk_nope_head_dim", "less");
    if (c->code) return;
    check_rotated(c, n_rot);
    if (q_rank) pith__hf_put_int(c, "attention.q_lora_rank", q_rank);
    pith__hf_put_int(c, "attention.kv_lora_rank", rank);
    pith__hf_put_int(c, "attention.key_length", rank + n_rot);
    pith__hf_put_int(c, "attention.value_length", rank);
    pith__hf_put_int(c, "attention.key_length_mla", n_nope + n_rot);
    pith__hf_put_int(c, "attention.value_length_mla", pith__hf_int(c, at, "v_head_dim", 1, d->n_value));
    pith__hf_put_int(c, "attention.head_count_kv", 1);
    /* transformers builds the norms of latents with the eps of their class, whatever rms_norm_eps says */
    if (eps < 1e-6 || eps > 1e-6) pith__hf_added(c, pith__store_add_float(c->f->s, "pith.latent_norm_epsilon", 1e-6));
    c->head_dim = c->latent_rot = n_rot;
}
