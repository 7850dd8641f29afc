/* folderrope.c - how an open model rotates, as config.json says it: the way back of formats/hfrope.c. */
#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int is_near_to(double a, double b) { return fabs(a - b) <= 1e-6 * fabs(b); }

static void say_factors(pith__saying *c, const char *field, const char *tensor) {
    const pith__tensor *t = pith__store_tensor(&c->m->store, tensor);
    float *y = t && t->rows == 1 ? malloc(t->cols * sizeof *y) : NULL;
    if (!y) pith__no_field(c, tensor);
    else pith__row_floats(t, 0, y);
    pith__say(c->to, ", \"%s\": [", field);
    for (size_t i = 0; y && i < t->cols; i++) {
        if (i) pith__say(c->to, ", ");
        pith__say_decimal(c->to, pith__short_decimal((double)y[i]));
    }
    pith__say(c->to, "]");
    free(y);
}

/* Llama 3.1: see rope_llama3 in formats/hfrope.c. */
typedef struct {
    double context, factor, low, high;
} llama3_rope;

static double llama3_turns(const llama3_rope *p, double theta, int i, int n) { /* of pair i within the context */
    return p->context * pow(theta, -1.0 * i / n) / (2 * 3.14159265358979323846);
}

static int is_llama3(const llama3_rope *p, double theta, const float *y, int n) {
    for (int i = 0; i < n; i++) {
        double blend = (llama3_turns(p, theta, i, n) - p->low) / (p->high - p->low);
        blend = blend < 0 ? 0 : blend > 1 ? 1 : blend;
        if (!(fabs(1 / ((1 - blend) / p->factor + blend) / (double)y[i] - 1) < 1e-5)) return 0;
    }
    return 1;
}

/* A divisor y blends: 1 / y = (1 - b) / factor + b, where b grows with the turns from 0 at low to 1 at high. These are 1
 * and 4 in all models, so a pair between the ends tells the context; where there is none, another that fits does. */
static int solve_llama3(llama3_rope *p, double theta, const float *y, int n) {
    *p = (llama3_rope){ 1, 1, 1, 4 };
    for (int i = 0; i < n; i++) p->factor = (double)y[i] > p->factor ? (double)y[i] : p->factor;
    double context = 0;
    for (int i = 0; i < n; i++) {
        double b = (1 / (double)y[i] - 1 / p->factor) / (1 - 1 / p->factor), turns = llama3_turns(p, theta, i, n);
        if (b > 1e-3 && b < 1 - 1e-3) context = round((1 + 3 * b) / turns);
        if (context > 0) break;
    }
    p->context = context;
    for (double c = 8; context < 1 && c < 1e7 && !is_llama3(p, theta, y, n); c *= 1.1) p->context = round(c);
    return is_llama3(p, theta, y, n);
}

static void say_llama3(pith__saying *c, double theta) {
    const pith__tensor *t = pith__store_tensor(&c->m->store, "rope_freqs.weight");
    float y[512];
    int n = c->m->hyper.n_rot / 2;
    llama3_rope p;
    if (n > 512 || t->cols != (size_t)n) {
        pith__no_field(c, "rope_freqs.weight");
        return;
    }
    pith__row_floats(t, 0, y);
    if (!solve_llama3(&p, theta, y, n)) pith__no_field(c, "rope_freqs.weight");
    pith__say(c->to, ",\n  \"rope_scaling\": {\"rope_type\": \"llama3\", \"original_max_position_embeddings\": %.0f, \"factor\": ",
              p.context);
    pith__say_decimal(c->to, p.factor);
    pith__say(c->to, ", \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0}");
}

/* How much cosines and sines grow: formats/hfrope.c's rope_yarn, backwards. With a log multiplier GGUF says how much
 * less that is. */
static void say_growth(pith__saying *c, double factor) {
    double growth = pith__saying_float(c, "rope.scaling.attn_factor", 1), more = 0.1 * log(factor > 1 ? factor : 1);
    double all = pith__short_decimal(pith__saying_float(c, "rope.scaling.yarn_log_multiplier", 0));
    int latent = c->m->hyper.latent.rank > 0, grows = !is_near_to(growth, 1);
    if (latent) all = pith__short_decimal(10 * all);
    if (all > 0) {
        pith__say(c->to, ", \"mscale\": ");
        pith__say_decimal(c->to, latent ? all : 1);
        pith__say(c->to, ", \"mscale_all_dim\": ");
        pith__say_decimal(c->to, all);
    }
    if (all > 0 && !latent && !(c->is->says & PITH__SAYS_TEMPERATURE))
        pith__no_field(c, "rope.scaling.yarn_log_multiplier");
    if (!grows && (all > 0 || !latent)) return;
    pith__say(c->to, ", \"attention_factor\": ");
    pith__say_decimal(c->to, growth * (latent ? 1 : (more + 1) / (all * more + 1)));
}

static void say_yarn(pith__saying *c, double factor) {
    const pith__key *truncate = pith__saying_key(c, "rope.scaling.yarn_truncate");
    int whole = truncate ? truncate->i != 0
        : !(c->is->says & PITH__SAYS_OSS); /* gpt-oss: false where GGUF says nothing */
    pith__say(c->to, ", \"original_max_position_embeddings\": %d, \"beta_fast\": ", c->m->n_ctx_original);
    pith__say_decimal(c->to, pith__short_decimal(pith__saying_float(c, "rope.scaling.yarn_beta_fast", 32)));
    pith__say(c->to, ", \"beta_slow\": ");
    pith__say_decimal(c->to, pith__short_decimal(pith__saying_float(c, "rope.scaling.yarn_beta_slow", 1)));
    if (!whole) pith__say(c->to, ", \"truncate\": false");
    say_growth(c, factor);
}

/* Queries that grow with their position: a length of its own has no field. */
static void say_temperature(pith__saying *c) {
    const pith__hyper *h = &c->m->hyper;
    pith__say(c->to, ", \"llama_4_scaling_beta\": ");
    pith__say_decimal(c->to, pith__short_decimal((double)h->temperature));
    if (h->temperature_length != c->m->n_ctx_original) pith__no_field(c, "attention.temperature_length");
}

static void say_longrope(pith__saying *c) {
    if (strcmp(c->is->type, "phi3") != 0) pith__no_field(c, "its rotation");
    pith__say_int(c, "original_max_position_embeddings", c->m->n_ctx_original);
    pith__say(c->to, ",\n  \"rope_scaling\": {\"type\": \"longrope\"");
    say_factors(c, "short_factor", "rope_factors_short.weight");
    say_factors(c, "long_factor", "rope_factors_long.weight");
    pith__say(c->to, ", \"attention_factor\": ");
    pith__say_decimal(c->to, pith__saying_float(c, "rope.scaling.attn_factor", 1));
    pith__say(c->to, "}");
}

static void say_scaling(pith__saying *c, double theta) {
    const pith__key *k = pith__saying_key(c, "rope.scaling.type"), *limit = pith__store_key(&c->m->store,
            "pith.context_limit");
    double factor = pith__short_decimal(pith__saying_float(c, "rope.scaling.factor",
                                                           pith__saying_float(c, "rope.scale_linear", 1)));
    int longrope = (k && pith__str_is(k->s, "longrope")) || pith__saying_has(c, "rope_factors_long.weight"),
        yarn = k && pith__str_is(k->s, "yarn");
    int linear = !longrope && !yarn && !is_near_to(factor, 1) && (!k || pith__str_is(k->s, "linear")),
        heats = c->is->says & PITH__SAYS_TEMPERATURE;
    int llama3 = pith__saying_has(c, "rope_freqs.weight"), scaled = linear || yarn || longrope,
        latent = c->m->hyper.latent.rank > 0;
    if (llama3 && !scaled) say_llama3(c, theta);
    else if (limit) pith__say(c->to, ",\n  \"rope_scaling\": {\"rope_type\": \"dynamic\", \"factor\": 1.0}");
    if ((llama3 && scaled) || (heats && !yarn)) pith__no_field(c, "its rotation");
    if (latent && !yarn && pith__saying_float(c, "rope.scaling.yarn_log_multiplier", 0) > 0)
        pith__no_field(c, "rope.scaling.yarn_log_multiplier");
    if (longrope) say_longrope(c);
    if (!scaled || longrope || c->code) return;
    pith__say(c->to, ",\n  \"%s\": {\"rope_type\": \"%s\", \"rope_theta\": ",
              heats ? "rope_parameters" : "rope_scaling", yarn ? "yarn" : "linear");
    pith__say_decimal(c->to, pith__short_decimal(theta));
    pith__say(c->to, ", \"factor\": ");
    pith__say_decimal(c->to, factor);
    if (yarn) say_yarn(c, factor);
    if (heats) say_temperature(c);
    if (heats && latent) { /* the head that transformers takes it of has both parts of a key */
        pith__say(c->to, ", \"partial_rotary_factor\": ");
        pith__say_decimal(c->to, (double)c->m->hyper.n_rot / (c->m->hyper.latent.n_nope + c->m->hyper.n_rot));
    }
    pith__say(c->to, "}");
}

/* The pairs of a head that rotate, of which "proportional" takes so many: formats/hfrope.c's rope_proportional. */
static void say_proportional(pith__saying *c) {
    const pith__tensor *t = pith__store_tensor(&c->m->store, "rope_freqs.weight");
    size_t pairs = (size_t)c->m->rope[0].n_rot / 2, n = 0;
    float *y = t && t->rows == 1 && t->cols == pairs ? malloc(pairs * sizeof *y) : NULL;
    if (y) pith__row_floats(t, 0, y);
    else n = pairs;
    while (y && n < pairs && y[n] < 1e29f) n++;
    for (size_t i = 0; y && i < pairs; i++)
        if (i < n ? !is_near_to((double)y[i], (double)y[0]) : y[i] < 1e29f) pith__no_field(c, "rope_freqs.weight");
    double part = (double)n / (double)pairs;
    while ((size_t)(part * (double)(2 * pairs) / 2) < n) part = nextafter(part, 2);
    pith__say(c->to, "\"rope_type\": \"proportional\", \"partial_rotary_factor\": ");
    pith__say_decimal(c->to, part);
    if (y && n && !is_near_to((double)y[0], 1)) {
        pith__say(c->to, ", \"factor\": ");
        pith__say_decimal(c->to, pith__short_decimal((double)y[0]));
    }
    if (pith__saying_key(c, "rope.scaling.type")) pith__no_field(c, "its rotation");
    free(y);
}

/* As transformers 5 has it of classes that came with it: layers that see everything, and those with a window. */
static void say_two_ropes(pith__saying *c, double theta) {
    pith__say(c->to, ",\n  \"rope_parameters\": {\"full_attention\": {");
    say_proportional(c);
    pith__say(c->to, ", \"rope_theta\": ");
    pith__say_decimal(c->to, pith__short_decimal(theta));
    pith__say(c->to, "}, \"sliding_attention\": {\"rope_type\": \"default\", \"rope_theta\": ");
    pith__say_decimal(c->to, pith__short_decimal(pith__saying_float(c, "rope.freq_base_swa", 10000)));
    pith__say(c->to, "}}");
}

/* Qwen3.5: so many pairs are of each of three positions, which are one where there is only text. */
static void say_sections(pith__saying *c, double theta) {
    const pith__key *k = pith__saying_key(c, "rope.dimension_sections");
    pith__say(c->to, ",\n  \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": ");
    pith__say_decimal(c->to, pith__short_decimal(theta));
    pith__say(c->to, ", \"partial_rotary_factor\": ");
    pith__say_decimal(c->to, (double)c->m->hyper.n_rot / c->m->hyper.head_dim);
    if (k && k->type == PITH__ARRAY && k->n >= 3)
        pith__say(c->to, ", \"mrope_interleaved\": true, \"mrope_section\": [%lld, %lld, %lld]",
                  (long long)pith__key_item(k, 0),
                  (long long)pith__key_item(k, 1), (long long)pith__key_item(k, 2));
    pith__say(c->to, "}");
    if (pith__saying_key(c, "rope.scaling.type") || pith__saying_has(c, "rope_freqs.weight"))
        pith__no_field(c, "its rotation");
}

PITH_SHARED void pith__say_rope(pith__saying *c) {
    const pith__hyper *h = &c->m->hyper;
    unsigned says = c->is->says;
    double theta = pith__saying_float(c, "rope.freq_base", 10000);
    if (says & PITH__SAYS_DELTA) { say_sections(c, theta); return; }
    if (says & PITH__SAYS_TWO_ROPES) { say_two_ropes(c, theta); return; }
    pith__say_single(c, "rope_theta", theta);
    if (says & PITH__SAYS_LOCAL)
        pith__say_single(c, "rope_local_base_freq", pith__saying_float(c, "rope.freq_base_swa", 10000));
    if (!(says & PITH__SAYS_PART) && !h->latent.rank && h->n_rot != h->head_dim)
        pith__no_field(c, "a part of the head that is rotated");
    if (says & PITH__SAYS_PART) pith__say_float(c, "partial_rotary_factor", (double)h->n_rot / h->head_dim);
    say_scaling(c, theta);
}
