/* hfrope.c - how a config.json stretches the rotation (RoPE) for longer texts, as GGUF's keys and tensors.
 *
 * What the fields mean is written in transformers' modeling_rope_utils.py. */
#include "formats.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- rotation -------------------------------------------------------------------------------- */

/* A tensor of n_rot / 2 divisors of the frequencies, under the name that GGUF has for it. */
static float *rope_new_factors(pith__hf *c, const char *name) {
    uint64_t n = (uint64_t)c->n_rot / 2;
    if (c->code || n < 1) return NULL;
    float *y = pith__arena_new(&c->f->s->arena, (size_t)n, sizeof *y);
    if (!y) {
        pith__hf_added(c, PITH_EMEMORY);
        return NULL;
    }
    c->code = pith__tensor_set(&c->f->made[c->f->n_made], c->f->s, pith__str_of(name), PITH__F32, 1,
                               &n, (const uint8_t *)y, (size_t)n * sizeof *y, c->f->err);
    if (c->code) return NULL;
    c->f->n_made++;
    return y;
}

/* Llama 3.1: slow pairs are slowed by factor, fast ones stay, those between are blended. */
static void rope_llama3(pith__hf *c, pith__json rope, double theta) {
    double factor = pith__hf_positive(c, rope, "factor", NAN);
    double low = pith__hf_positive(c, rope, "low_freq_factor", NAN);
    double high = pith__hf_positive(c, rope, "high_freq_factor", NAN);
    double n_ctx = pith__hf_int(c, rope, "original_max_position_embeddings", 1, 0);
    if (!(high > low))
        pith__hf_wrong(c, pith__hf_get(rope, "high_freq_factor"), PITH_EFORMAT, "high_freq_factor",
                     "more than low_freq_factor");
    float *y = rope_new_factors(c, "rope_freqs.weight");
    for (int i = 0; y && i < c->n_rot / 2; i++) {
        double turns = n_ctx * pow(theta, -2.0 * i / c->n_rot) / (2 * 3.14159265358979323846);
        double blend = (turns - low) / (high - low); /* turns within the original context */
        if (blend < 0) blend = 0;
        if (blend > 1) blend = 1;
        y[i] = (float)(1 / ((1 - blend) / factor + blend));
    }
}

static void rope_list(pith__hf *c, pith__json rope, const char *field, const char *tensor) {
    pith__json list = pith__hf_get(rope, field), it = list, item;
    float *y = NULL;
    if (pith__json_type(list) != '[' || pith__json_count(list) != (size_t)c->n_rot / 2) {
        char need[64];
        snprintf(need, sizeof need, "an array of %d numbers", c->n_rot / 2);
        pith__hf_wrong(c, list, PITH_EFORMAT, field, need);
    } else {
        y = rope_new_factors(c, tensor);
    }
    for (int i = 0; y && pith__json_next(&it, NULL, &item); i++) {
        double x = 0;
        if (!pith__json_float(item, &x) || !((float)x > 0) || x > 1e30)
            pith__hf_wrong(c, item, PITH_EFORMAT, field, "numbers over 0");
        y[i] = (float)x;
    }
}

/* Phi 3: one list of divisors for contexts up to the original one, another for longer ones. */
static void rope_longrope(pith__hf *c, pith__json rope) {
    pith__json at = c->at;
    if (!pith__json_type(pith__hf_get(at, "original_max_position_embeddings"))) at = rope;
    double factor = pith__hf_positive(c, rope, "factor", 1);
    int original = pith__hf_int(c, at, "original_max_position_embeddings", 1, c->n_ctx);
    if (original != c->n_ctx) factor = (double)c->n_ctx / original;
    double attention = factor > 1 && original > 1 ? sqrt(1 + log(factor) / log(original)) : 1;
    rope_list(c, rope, "short_factor", "rope_factors_short.weight");
    rope_list(c, rope, "long_factor", "rope_factors_long.weight");
    pith__hf_put_string(c, "rope.scaling.type", "longrope");
    pith__hf_put_int(c, "rope.scaling.original_context_length", original);
    pith__hf_put_float(c, "rope.scaling.attn_factor",
                     pith__hf_positive(c, rope, "attention_factor", attention));
}

/* GGUF's attn_factor comes on top of the 1 + 0.1 ln(factor) that belongs to YaRN. */
static void rope_yarn(pith__hf *c, pith__json rope) {
    int original = pith__hf_int(c, rope, "original_max_position_embeddings", 1, c->n_ctx);
    double factor = pith__hf_positive(c, rope, "factor", (double)c->n_ctx / original);
    double usual = factor > 1 ? 0.1 * log(factor) + 1 : 1, attention = usual;
    double m = pith__hf_float(c, rope, "mscale", 0), all = pith__hf_float(c, rope, "mscale_all_dim", 0);
    if (m != 0 && all != 0 && factor > 1)
        attention = (0.1 * m * log(factor) + 1) / (0.1 * all * log(factor) + 1);
    attention = pith__hf_positive(c, rope, "attention_factor", attention);
    if (!pith__hf_bool(c, rope, "truncate", 1))
        pith__hf_wrong(c, pith__hf_get(rope, "truncate"), PITH_EARCH, "rope truncate", "true");
    pith__hf_put_string(c, "rope.scaling.type", "yarn");
    pith__hf_put_float(c, "rope.scaling.factor", factor);
    pith__hf_put_int(c, "rope.scaling.original_context_length", original);
    if (attention != usual) pith__hf_put_float(c, "rope.scaling.attn_factor", attention / usual);
    pith__hf_put_float(c, "rope.scaling.yarn_beta_fast", pith__hf_positive(c, rope, "beta_fast", 32));
    pith__hf_put_float(c, "rope.scaling.yarn_beta_slow", pith__hf_positive(c, rope, "beta_slow", 1));
}

/* "dynamic" changes nothing as long as a text is no longer than max_position_embeddings. */
static void config_rope_scaling(pith__hf *c, pith__json rope, double theta) {
    pith__json type = pith__hf_get(rope, "rope_type");
    if (!pith__json_type(type)) type = pith__hf_get(rope, "type");
    if (!pith__json_type(rope) || pith__json_is(type, "default") || pith__json_is(type, "dynamic"))
        return;
    if (!pith__json_type(type) && !pith__json_type(pith__hf_get(rope, "factor"))) return;
    if (pith__json_is(type, "longrope") || pith__json_is(type, "su") ||
        (c->yarn_is_longrope && pith__json_is(type, "yarn"))) {
        rope_longrope(c, rope);
    } else if (pith__json_is(type, "llama3")) {
        rope_llama3(c, rope, theta);
    } else if (pith__json_is(type, "yarn")) {
        rope_yarn(c, rope);
    } else if (pith__json_is(type, "linear")) {
        pith__hf_put_string(c, "rope.scaling.type", "linear");
        pith__hf_put_float(c, "rope.scaling.factor", pith__hf_positive(c, rope, "factor", NAN));
    } else {
        pith__hf_wrong(c, type, PITH_EARCH, "the type of rope_scaling",
                     "default, linear, dynamic, yarn, llama3 or longrope");
    }
}

/* Since transformers 5 all of it is in rope_parameters, for Gemma 3 in one object for layers that
 * see everything and one for those with a window. */
PITH_SHARED void pith__hf_rope(pith__hf *c) {
    pith__json rope = pith__hf_get(c->at, "rope_scaling"), local = { NULL, NULL };
    if (!pith__json_type(rope)) rope = pith__hf_get(c->at, "rope_parameters");
    if (pith__json_type(pith__hf_get(rope, "full_attention"))) {
        local = pith__hf_get(rope, "sliding_attention");
        rope = pith__hf_get(rope, "full_attention");
    }
    if (pith__json_type(rope) && pith__json_type(rope) != '{')
        pith__hf_wrong(c, rope, PITH_EFORMAT, "rope_scaling", "an object");
    double theta = pith__hf_positive(c, c->at, "rope_theta", c->theta);
    theta = pith__hf_positive(c, rope, "rope_theta", theta);
    double part = pith__hf_positive(c, c->at, "partial_rotary_factor", 1);
    part = pith__hf_positive(c, rope, "partial_rotary_factor", part);
    if (part > 1) pith__hf_wrong(c, c->at, PITH_EFORMAT, "partial_rotary_factor", "at most 1");
    c->n_rot = (int)(c->head_dim * part);
    pith__hf_put_int(c, "rope.dimension_count", c->n_rot);
    pith__hf_put_float(c, "rope.freq_base", theta);
    if (c->local_theta > 0) { /* Gemma 3: layers with a window have their own base */
        double base = pith__hf_positive(c, c->at, "rope_local_base_freq", c->local_theta);
        pith__hf_put_float(c, "rope.freq_base_swa", pith__hf_positive(c, local, "rope_theta", base));
        pith__json type = pith__hf_get(local, "rope_type");
        if (pith__json_type(type) && !pith__json_is(type, "default"))
            pith__hf_wrong(c, type, PITH_EARCH, "rope_type of sliding_attention", "default");
    }
    config_rope_scaling(c, rope, theta);
}
