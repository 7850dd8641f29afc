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
    pith__tensor *t = &c->f->made[c->f->n_made];
    *t = (pith__tensor){ .name = pith__str_of(name), .n_dim = 1, .shape = { n } };
    c->code = pith__tensor_set(t, c->f->s, PITH__F32,
                               (pith__cursor){ (const uint8_t *)y, (size_t)n * sizeof *y, 0 }, c->f->err);
    if (c->code) return NULL;
    c->f->n_made++;
    return y;
}

/* The context that the model began with. transformers prefers the field beside rope_scaling to the one in
 * it, and Phi 3's class brings one. */
static int rope_original(pith__hf *c, pith__json rope) {
    static const char name[] = "original_max_position_embeddings";
    int inner = pith__hf_int(c, rope, name, 1, c->n_ctx);
    return pith__hf_int(c, c->at, name, 1, c->is_phi3 ? 4096 : inner);
}

/* Llama 3.1: slow pairs are slowed by factor, fast ones stay, those between are blended. */
static void rope_llama3(pith__hf *c, pith__json rope, double theta) {
    double factor = pith__hf_positive(c, rope, "factor", NAN);
    double low = pith__hf_positive(c, rope, "low_freq_factor", NAN);
    double high = pith__hf_positive(c, rope, "high_freq_factor", NAN);
    double n_ctx = rope_original(c, rope);
    if (!(high > low))
        pith__hf_wrong(c, pith__hf_get(rope, "high_freq_factor"), PITH_EFORMAT, "high_freq_factor",
                     "more than low_freq_factor");
    float *y = rope_new_factors(c, "rope_freqs.weight");
    for (int i = 0; y && i < c->n_rot / 2; i++) {
        double rotations = n_ctx * pow(theta, -2.0 * i / c->n_rot) / (2 * 3.14159265358979323846);
        double blend = (rotations - low) / (high - low); /* rotations within the original context */
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
    int original = rope_original(c, rope);
    double factor = pith__hf_positive(c, rope, "factor", (double)c->n_ctx / original);
    double attention = factor > 1 && original > 1 ? sqrt(1 + log(factor) / log(original)) : 1;
    rope_list(c, rope, "short_factor", "rope_factors_short.weight");
    rope_list(c, rope, "long_factor", "rope_factors_long.weight");
    pith__hf_put_string(c, "rope.scaling.type", "longrope");
    pith__hf_put_int(c, "rope.scaling.original_context_length", original);
    pith__hf_put_float(c, "rope.scaling.attn_factor",
                     pith__hf_positive(c, rope, "attention_factor", attention));
}

/* GGUF's attn_factor comes on top of the 1 + 0.1 ln(factor) that belongs to YaRN, or, with a log multiplier a, to
 * (1 + 0.1 ln(factor)) / (1 + 0.1 a ln(factor)). With latent attention it is scores that grow (families.c). */
static void rope_yarn(pith__hf *c, pith__json rope) {
    int original = rope_original(c, rope);
    double factor = pith__hf_positive(c, rope, "factor", (double)c->n_ctx / original);
    double usual = factor > 1 ? 0.1 * log(factor) + 1 : 1, attention = usual;
    double m = pith__hf_float(c, rope, "mscale", 0), all = pith__hf_float(c, rope, "mscale_all_dim", 0);
    if (m != 0 && all != 0 && factor > 1)
        attention = (0.1 * m * log(factor) + 1) / (0.1 * all * log(factor) + 1);
    if (c->has_temperature && all != 0 && !c->latent_rot) { /* as llama.cpp has Ministral 3 */
        usual /= 0.1 * all * log(factor > 1 ? factor : 1) + 1;
        pith__hf_put_float(c, "rope.scaling.yarn_log_multiplier", all);
    }
    attention = pith__hf_positive(c, rope, "attention_factor", attention);
    if (c->latent_rot) {
        usual = 1;
        pith__hf_put_float(c, "rope.scaling.yarn_log_multiplier", 0.1 * all);
    }
    pith__hf_put_string(c, "rope.scaling.type", "yarn");
    pith__hf_put_float(c, "rope.scaling.factor", factor);
    pith__hf_put_int(c, "rope.scaling.original_context_length", original);
    int whole = pith__hf_bool(c, rope, "truncate", 1);
    if (!whole || !strcmp(c->arch, "gpt-oss")) pith__hf_put_int(c, "rope.scaling.yarn_truncate", whole);
    if (attention != usual) pith__hf_put_float(c, "rope.scaling.attn_factor", attention / usual);
    pith__hf_put_float(c, "rope.scaling.yarn_beta_fast", pith__hf_positive(c, rope, "beta_fast", 32));
    pith__hf_put_float(c, "rope.scaling.yarn_beta_slow", pith__hf_positive(c, rope, "beta_slow", 1));
}

/* Gemma 4: only the first pairs of a head rotate; the others have frequencies of nearly 0. */
static void rope_proportional(pith__hf *c, pith__json rope, double part) {
    double factor = pith__hf_positive(c, rope, "factor", 1);
    float *y = rope_new_factors(c, "rope_freqs.weight");
    int n = (int)(part * c->head_dim / 2);
    for (int i = 0; y && i < c->n_rot / 2; i++) y[i] = i < n ? (float)factor : 1e30f;
}

static pith__json rope_type(pith__json rope) {
    pith__json type = pith__hf_get(rope, "rope_type");
    return pith__json_type(type) ? type : pith__hf_get(rope, "type"); /* as older files have it */
}

/* Hunyuan's "dynamic" with an alpha: the base is larger, for texts of any length. 0: there is none. */
static double rope_alpha(pith__hf *c, pith__json rope) {
    int there = c->has_alpha && pith__json_is(rope_type(rope), "dynamic") && pith__json_type(pith__hf_get(rope, "alpha"));
    return there ? pith__hf_positive(c, rope, "alpha", 1) : 0;
}

/* "dynamic" changes nothing as long as a text is no longer than max_position_embeddings; what it would do
 * then is not built here. */
static void rope_scaling(pith__hf *c, pith__json rope, double theta) {
    pith__json type = rope_type(rope);
    if (!pith__json_type(rope) || pith__json_is(type, "default")) return;
    if (!pith__json_type(type) && !pith__json_type(pith__hf_get(rope, "factor"))) return;
    if (pith__json_is(type, "longrope") || pith__json_is(type, "su") ||
        (c->is_phi3 && pith__json_is(type, "yarn"))) { /* its "yarn" was never YaRN */
        rope_longrope(c, rope);
    } else if (pith__json_is(type, "llama3")) {
        rope_llama3(c, rope, theta);
    } else if (pith__json_is(type, "yarn")) {
        rope_yarn(c, rope);
    } else if (pith__json_is(type, "linear")) {
        pith__hf_put_string(c, "rope.scaling.type", "linear");
        pith__hf_put_float(c, "rope.scaling.factor", pith__hf_positive(c, rope, "factor", NAN));
    } else if (rope_alpha(c, rope) > 0) {
        return; /* its base has it */
    } else if (pith__json_is(type, "dynamic")) {
        pith__hf_added(c, pith__store_add_int(c->f->s, "pith.context_limit", c->n_ctx));
    } else {
        pith__hf_wrong(c, type, PITH_EARCH, "the type of rope_scaling",
                       "default, linear, dynamic, yarn, llama3 or longrope");
    }
}

/* Ministral 3: how queries grow with their position. Where there is YaRN, its original context is the length of a step. */
static void rope_temperature(pith__hf *c, pith__json rope) {
    pith__json beta = pith__hf_get(rope, "llama_4_scaling_beta");
    if (c->has_temperature)
        pith__hf_put_float(c, "attention.temperature_scale", pith__hf_float(c, rope, "llama_4_scaling_beta", NAN));
    if (c->has_temperature && (c->latent_rot || !pith__json_is(rope_type(rope), "yarn")))
        pith__hf_put_int(c, "attention.temperature_length", rope_original(c, rope));
    if (c->has_temperature) return;
    if (pith__json_type(beta))
        pith__hf_wrong(c, beta, PITH_EARCH, "llama_4_scaling_beta", "null in this family");
}

/* transformers lets mscale_all_dim make the scores of latents larger under any scaling; here it does under YaRN. */
static void rope_latents(pith__hf *c, pith__json rope) {
    pith__json type = rope_type(rope);
    int plain = !pith__json_type(type) || pith__json_is(type, "default") || pith__json_is(type, "yarn");
    if (pith__json_is(type, "proportional"))
        pith__hf_wrong(c, type, PITH_EARCH, "rope_type", "another one, where keys are latents");
    if (!plain && fabs(pith__hf_float(c, rope, "mscale_all_dim", 0)) > 0)
        pith__hf_wrong(c, pith__hf_get(rope, "mscale_all_dim"), PITH_EARCH, "mscale_all_dim", "null or 0 without YaRN");
}

/* Gemma 3: layers with a window have a base of their own, and no scaling. OLMo 3: theirs is that of the others. */
static void rope_local(pith__hf *c, pith__json parameters, double common, double theta) {
    pith__json local = pith__hf_get(parameters, "sliding_attention");
    double base = c->local_theta > 0 ? pith__hf_positive(c, c->at, "rope_local_base_freq", c->local_theta) : common;
    base = pith__hf_positive(c, local, "rope_theta", base);
    if (c->local_theta > 0 || base < theta || base > theta) pith__hf_put_float(c, "rope.freq_base_swa", base);
    pith__json type = pith__hf_get(local, "rope_type");
    if (pith__json_type(type) && !pith__json_is(type, "default"))
        pith__hf_wrong(c, type, PITH_EARCH, "rope_type of sliding_attention", "default");
}

/* Since transformers 5 all of it is in rope_parameters, for Gemma 3 in one object for layers that see
 * everything and one for those with a window. A rope_scaling beside it counts more. */
PITH_SHARED void pith__hf_rope(pith__hf *c) {
    pith__json rope = pith__hf_get(c->at, "rope_scaling");
    pith__json parameters = pith__hf_get(c->at, "rope_parameters"), outer = parameters;
    int nested = pith__json_type(pith__hf_get(parameters, "full_attention")) ||
                 pith__json_type(pith__hf_get(parameters, "sliding_attention"));
    if (pith__json_count(parameters) && nested != (fabs(c->local_theta) > 0))
        pith__hf_wrong(c, parameters, PITH_EARCH, "rope_parameters",
                       nested ? "one set for all layers" : "full_attention and sliding_attention");
    if (nested) outer = pith__hf_get(parameters, "full_attention");
    if (pith__json_type(rope) && pith__json_type(rope) != '{')
        pith__hf_wrong(c, rope, PITH_EFORMAT, "rope_scaling", "an object");
    if (pith__json_type(parameters) && pith__json_type(parameters) != '{')
        pith__hf_wrong(c, parameters, PITH_EFORMAT, "rope_parameters", "an object");
    if (!pith__json_count(rope)) rope = outer;
    double common = pith__hf_positive(c, c->at, "rope_theta", c->theta);
    double theta = nested ? pith__hf_positive(c, outer, "rope_theta", common) : common;
    theta = pith__hf_positive(c, rope, "rope_theta", theta);
    int lfm3 = !strcmp(c->arch, "lfm3") && !pith__json_count(rope); /* without a word, half of its heads' pairs */
    double part = pith__hf_positive(c, c->at, "partial_rotary_factor", lfm3 ? 0.5 : c->part > 0 ? c->part : 1);
    part = pith__hf_positive(c, rope, "partial_rotary_factor", part);
    if (c->latent_rot) part = 1, rope_latents(c, rope);
    int some = lfm3 || pith__json_is(pith__hf_get(rope, "rope_type"), "proportional"), may = c->is_phi3 || c->part > 0 || some;
    if (part > 1 || (part < 1 && !may))
        pith__hf_wrong(c, pith__hf_get(rope, "partial_rotary_factor"), PITH_EARCH,
                       "partial_rotary_factor", may ? "at most 1" : "1 in this family");
    c->n_rot = some ? c->head_dim : (int)(c->head_dim * part);
    if (part < 1 && c->n_rot % 2)
        pith__hf_wrong(c, pith__hf_get(c->at, "partial_rotary_factor"), PITH_EARCH,
                       "partial_rotary_factor", "an even number of channels");
    double alpha = rope_alpha(c, rope);
    if (alpha > 0 && c->head_dim > 2) theta *= pow(alpha, c->head_dim / (c->head_dim - 2.0));
    pith__hf_put_int(c, "rope.dimension_count", c->n_rot);
    pith__hf_put_float(c, "rope.freq_base", theta);
    if (fabs(c->local_theta) > 0) rope_local(c, parameters, common, theta);
    if (some) rope_proportional(c, rope, part);
    else rope_scaling(c, rope, theta);
    rope_temperature(c, rope);
}
