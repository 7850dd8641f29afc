/* hfconfig.c - config.json of a Hugging Face folder becomes the keys that a GGUF file would have.
 *
 * Also what its readers share (opening the folder's files) and generation_config.json. What the
 * fields mean, and what holds where one is missing, is written in transformers' configuration_*.py
 * and modeling_rope_utils.py; the keys in gguf-py/gguf/constants.py. What is not known is refused:
 * to ignore it would give text that is silently wrong. */
#include "formats.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the files of a folder ------------------------------------------------------------------- */

enum { JSON_FILE_MAX = 256 << 20 }; /* tokenizer.json of 262,144 tokens has 33 MB */

PITH_SHARED const char *pith__folder_path(pith__folder *f, pith__str name) {
    size_t n = strlen(f->dir);
    char *path = pith__arena_new(&f->s->arena, n + name.n + 2, 1);
    if (!path) {
        pith__fail(f->err, PITH_EMEMORY, "%s: no memory", f->dir);
        return NULL;
    }
    memcpy(path, f->dir, n);
    path[n] = '/';
    memcpy(path + n + 1, name.p, name.n);
    return path;
}

/* The store's table of files doubles when the count is a power of two. */
static pith__file *folder_slot(pith__store *s) {
    size_t n = (size_t)s->n_file;
    if ((n & (n - 1)) == 0) {
        pith__file *more = pith__arena_new(&s->arena, n ? 2 * n : 1, sizeof *more);
        if (!more) return NULL;
        if (n) memcpy(more, s->file, n * sizeof *more);
        s->file = more;
    }
    return &s->file[s->n_file];
}

PITH_SHARED int pith__folder_open(pith__folder *f, const char *path, int needed,
                                  const pith__file **file) {
    *file = NULL;
    if (!needed && pith__path_kind(path) == 0) return PITH_OK;
    pith__file *slot = folder_slot(f->s);
    if (!slot) return pith__fail(f->err, PITH_EMEMORY, "%s: no memory", path);
    int code = pith__file_open(slot, path, f->no_mmap, f->err);
    if (code) return code;
    f->s->n_file++;
    *file = slot;
    return PITH_OK;
}

PITH_SHARED int pith__folder_json(pith__folder *f, const char *name, int needed, pith__json *j,
                                  const char **path) {
    const pith__file *file;
    memset(j, 0, sizeof *j);
    *path = pith__folder_path(f, pith__str_of(name));
    if (!*path) return PITH_EMEMORY;
    int code = pith__folder_open(f, *path, needed, &file);
    if (code || !file) return code;
    if (file->size > JSON_FILE_MAX)
        return pith__fail(f->err, PITH_EFORMAT, "%s: has %zu bytes, need at most %d", *path,
                          file->size, JSON_FILE_MAX);
    code = pith__json_read(j, file->data, file->size, *path, f->err);
    if (code || pith__json_type(*j) == '{') return code;
    return pith__fail(f->err, PITH_EFORMAT, "%s: is not a JSON object", *path);
}

/* ---- families -------------------------------------------------------------------------------- */

enum { /* what a family's config.json leaves unsaid, or means in its own way */
    HF_TIED = 1,      /* lm_head is the embedding unless it says otherwise */
    HF_GELU_TANH = 2, /* the activation; else SiLU */
    HF_POST_LAYERNORM = 4, /* post_attention_layernorm comes behind attention */
    HF_QKV_BIAS = 8,
    HF_GEMMA = 16,    /* norms are stored as w, not 1 + w */
    HF_SCALAR = 32,   /* query_pre_attn_scalar instead of head_dim */
    HF_SOFTCAP = 64,
    HF_MULTIPLIERS = 128,
    HF_EXPERT_FIELDS = 256,
    HF_OFTEN_BARE = 512 /* Gemma 3's nested text_config lists only what differs from the 4B model */
};
/* Which layers may have one. */
enum { HF_NO_WINDOW, HF_WINDOW, HF_WINDOW_IF_USED, HF_WINDOW_PERIOD, HF_WINDOW_NOPE };

static const struct hf_family {
    const char *type, *arch; /* model_type, and GGUF's name */
    unsigned has;
    int window;
    int period;              /* every so many layers one sees everything, or is not rotated */
    int head_dim;            /* 0: hidden_size / num_attention_heads */
    double theta;
} hf_families[] = {
    { "llama", "llama", 0, HF_NO_WINDOW, 0, 0, 1e4 },
    { "mistral", "llama", 0, HF_WINDOW, 0, 0, 1e4 },
    { "qwen2", "qwen2", HF_QKV_BIAS, HF_WINDOW_IF_USED, 0, 0, 1e4 },
    { "qwen3", "qwen3", 0, HF_WINDOW_IF_USED, 0, 128, 1e4 },
    { "qwen3_moe", "qwen3moe", HF_EXPERT_FIELDS, HF_WINDOW_IF_USED, 0, 0, 1e4 },
    { "gemma", "gemma", HF_TIED | HF_GELU_TANH | HF_GEMMA, HF_NO_WINDOW, 0, 256, 1e4 },
    { "gemma2", "gemma2",
      HF_TIED | HF_GELU_TANH | HF_POST_LAYERNORM | HF_GEMMA | HF_SCALAR | HF_SOFTCAP,
      HF_WINDOW_PERIOD, 2, 256, 1e4 },
    { "gemma3_text", "gemma3",
      HF_TIED | HF_GELU_TANH | HF_POST_LAYERNORM | HF_GEMMA | HF_SCALAR | HF_OFTEN_BARE,
      HF_WINDOW_PERIOD, 6, 256, 1e6 },
    { "phi3", "phi3", 0, HF_WINDOW, 0, 0, 1e4 },
    { "smollm3", "smollm3", HF_TIED, HF_WINDOW_NOPE, 4, 0, 2e6 },
    { "olmo2", "olmo2", HF_POST_LAYERNORM, HF_NO_WINDOW, 0, 0, 1e4 },
    { "granite", "granite", HF_MULTIPLIERS, HF_NO_WINDOW, 0, 0, 1e4 },
};

/* ---- fields -> keys -------------------------------------------------------------------------- */

typedef struct {
    pith__folder *f;
    const char *path;
    pith__json at;           /* the object with the fields: the whole file, or its text_config */
    const struct hf_family *family;
    int head_dim, n_rot, n_ctx;
    int code;                /* the first error */
} hf_config;

static void config_wrong(hf_config *c, pith__json j, int code, const char *name, const char *need) {
    if (!c->code) c->code = pith__json_fail(j, code, c->path, name, need, c->f->err);
}

static pith__json config_get(pith__json object, const char *name) { /* null is as good as absent */
    pith__json j = pith__json_get(object, name), none = { NULL, NULL };
    return pith__json_type(j) == 'n' ? none : j;
}

/* An integer from lo to 2^31 - 1; absent: otherwise, or, where that is below lo, an error. */
static int config_int(hf_config *c, pith__json object, const char *name, int lo, int otherwise) {
    pith__json j = config_get(object, name);
    int64_t i = 0;
    if (!pith__json_type(j) && otherwise >= lo) return otherwise;
    if (pith__json_int(j, &i) && i >= lo && i <= INT32_MAX) return (int)i;
    char need[48];
    snprintf(need, sizeof need, "an integer from %d to 2147483647", lo);
    config_wrong(c, j, PITH_EFORMAT, name, need);
    return lo;
}

/* otherwise NAN: there is no default. */
static double config_float(hf_config *c, pith__json object, const char *name, double otherwise) {
    pith__json j = config_get(object, name);
    double y = 0;
    if (!pith__json_type(j) && !isnan(otherwise)) return otherwise;
    if (!pith__json_float(j, &y)) config_wrong(c, j, PITH_EFORMAT, name, "a number");
    return y;
}

static double config_positive(hf_config *c, pith__json object, const char *name, double otherwise) {
    double y = config_float(c, object, name, otherwise);
    if (!(y > 0)) config_wrong(c, config_get(object, name), PITH_EFORMAT, name, "a number over 0");
    return y > 0 ? y : 1;
}

static int config_bool(hf_config *c, pith__json object, const char *name, int otherwise) {
    pith__json j = config_get(object, name);
    char type = pith__json_type(j);
    if (type && type != 't' && type != 'f') config_wrong(c, j, PITH_EFORMAT, name, "true or false");
    return type ? type == 't' : otherwise;
}

static const char *config_key(hf_config *c, const char *name, char *full, size_t size) {
    snprintf(full, size, "%s.%s", c->family->arch, name);
    return full;
}

static void config_added(hf_config *c, int code) { /* the store says nothing about its one error */
    if (code && !c->code) c->code = pith__fail(c->f->err, code, "%s: no memory", c->path);
}

static void config_put_int(hf_config *c, const char *name, int i) {
    char full[96];
    config_added(c, pith__store_add_int(c->f->s, config_key(c, name, full, sizeof full), i));
}

static void config_put_float(hf_config *c, const char *name, double y) {
    char full[96];
    config_added(c, pith__store_add_float(c->f->s, config_key(c, name, full, sizeof full), y));
}

static void config_put_string(hf_config *c, const char *name, const char *s) {
    char full[96];
    config_added(c, pith__store_add_string(c->f->s, config_key(c, name, full, sizeof full), s));
}

/* An array of booleans, one a layer, as GGUF lays them out. */
static void config_put_layers(hf_config *c, const char *full, const uint8_t *layer) {
    config_added(c, pith__store_add_int(c->f->s, full, 0));
    if (c->code) return;
    pith__key *k = &c->f->s->key[c->f->s->n_key - 1];
    enum { GGUF_TYPE_BOOL = 7 };
    k->type = PITH__ARRAY;
    k->item = PITH__BOOL;
    k->gguf_item = GGUF_TYPE_BOOL;
    k->n = k->at.left = (size_t)c->f->n_layer;
    k->at.p = layer;
}

static uint8_t *config_new_layers(hf_config *c) {
    uint8_t *y = c->code ? NULL : pith__arena_new(&c->f->s->arena, (size_t)c->f->n_layer, 1);
    if (!y) config_added(c, PITH_EMEMORY);
    return y;
}

/* ---- which layers differ --------------------------------------------------------------------- */

/* SmolLM 3: no_rope_layers has a 1 for every layer that does rotate. */
static const uint8_t *config_nope(hf_config *c) {
    pith__json it = config_get(c->at, "no_rope_layers"), list = it, item;
    uint8_t *plain = config_new_layers(c);
    if (!plain) return NULL;
    int period = config_int(c, c->at, "no_rope_layer_interval", 1, c->family->period), n = 0;
    for (; n < c->f->n_layer && pith__json_next(&it, NULL, &item); n++) {
        int64_t rotated = 0;
        if (!pith__json_int(item, &rotated) || rotated < 0 || rotated > 1)
            config_wrong(c, item, PITH_EFORMAT, "no_rope_layers", "an array of 0 and 1");
        plain[n] = rotated == 0;
    }
    if (pith__json_type(list) && n < c->f->n_layer)
        config_wrong(c, list, PITH_EFORMAT, "no_rope_layers", "a 0 or 1 for every layer");
    for (; n < c->f->n_layer; n++) plain[n] = (n + 1) % period == 0;
    config_put_layers(c, "pith.no_rope_layers", plain);
    return plain;
}

/* 1: layer l sees only a window. layer_types says it layer by layer; older files leave it to the
 * rule of their family. */
static int config_slides(hf_config *c, int l, pith__json type, int period, int from, int nope) {
    if (pith__json_type(type)) {
        if (pith__json_is(type, "sliding_attention") && c->family->window != HF_NO_WINDOW) return 1;
        if (!pith__json_is(type, "full_attention"))
            config_wrong(c, type, PITH_EARCH, "layer_types", "full_attention or sliding_attention");
        return 0;
    }
    switch (c->family->window) {
    case HF_WINDOW: return 1;
    case HF_WINDOW_IF_USED: return l >= from;
    case HF_WINDOW_PERIOD: return (l + 1) % period != 0;
    case HF_WINDOW_NOPE: return nope;
    default: return 0;
    }
}

static void config_window(hf_config *c, const uint8_t *nope) {
    int rule = c->family->window, window = 0, period = c->family->period, any = 0;
    pith__json size = config_get(c->at, "sliding_window"), types = config_get(c->at, "layer_types");
    if (pith__json_type(size)) window = config_int(c, c->at, "sliding_window", 1, 0);
    else if (rule == HF_WINDOW_PERIOD) window = 4096;
    if (rule == HF_NO_WINDOW || ((rule == HF_WINDOW_IF_USED || rule == HF_WINDOW_NOPE) &&
                              !config_bool(c, c->at, "use_sliding_window", 0)))
        window = 0;
    if (rule == HF_WINDOW_PERIOD)
        period = config_int(c, c->at, "sliding_window_pattern", 1, period);
    int from = config_int(c, c->at, "max_window_layers", 0, 28);
    if (c->family->has & HF_EXPERT_FIELDS) from = 0;
    if (pith__json_type(types) && pith__json_count(types) != (size_t)c->f->n_layer)
        config_wrong(c, types, PITH_EFORMAT, "layer_types", "an array, one string a layer");

    uint8_t *slides = config_new_layers(c);
    pith__json type = { NULL, NULL };
    for (int l = 0; slides && l < c->f->n_layer; l++) {
        if (pith__json_type(types)) pith__json_next(&types, NULL, &type);
        slides[l] = config_slides(c, l, type, period, from, nope && nope[l]) != 0;
        if (!window && !pith__json_type(type)) slides[l] = 0;
        any |= slides[l];
    }
    if (any && !window) config_wrong(c, size, PITH_EFORMAT, "sliding_window", "a length");
    if (!slides || rule == HF_NO_WINDOW) return;
    char full[96];
    config_put_int(c, "attention.sliding_window", window);
    config_put_layers(c, config_key(c, "attention.sliding_window_pattern", full, sizeof full),
                      slides);
}

/* ---- rotation -------------------------------------------------------------------------------- */

/* A tensor of n_rot / 2 divisors of the frequencies, under the name that GGUF has for it. */
static float *rope_new_factors(hf_config *c, const char *name) {
    uint64_t n = (uint64_t)c->n_rot / 2;
    if (c->code || n < 1) return NULL;
    float *y = pith__arena_new(&c->f->s->arena, (size_t)n, sizeof *y);
    if (!y) {
        config_added(c, PITH_EMEMORY);
        return NULL;
    }
    c->code = pith__tensor_set(&c->f->made[c->f->n_made], c->f->s, pith__str_of(name), PITH__F32, 1,
                               &n, (const uint8_t *)y, (size_t)n * sizeof *y, c->f->err);
    if (c->code) return NULL;
    c->f->n_made++;
    return y;
}

/* Llama 3.1: slow pairs are slowed by factor, fast ones stay, those between are blended. */
static void rope_llama3(hf_config *c, pith__json rope, double theta) {
    double factor = config_positive(c, rope, "factor", NAN);
    double low = config_positive(c, rope, "low_freq_factor", NAN);
    double high = config_positive(c, rope, "high_freq_factor", NAN);
    double n_ctx = config_int(c, rope, "original_max_position_embeddings", 1, 0);
    if (!(high > low))
        config_wrong(c, config_get(rope, "high_freq_factor"), PITH_EFORMAT, "high_freq_factor",
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

static void rope_list(hf_config *c, pith__json rope, const char *field, const char *tensor) {
    pith__json list = config_get(rope, field), it = list, item;
    float *y = NULL;
    if (pith__json_type(list) != '[' || pith__json_count(list) != (size_t)c->n_rot / 2) {
        char need[64];
        snprintf(need, sizeof need, "an array of %d numbers", c->n_rot / 2);
        config_wrong(c, list, PITH_EFORMAT, field, need);
    } else {
        y = rope_new_factors(c, tensor);
    }
    for (int i = 0; y && pith__json_next(&it, NULL, &item); i++) {
        double x = 0;
        if (!pith__json_float(item, &x) || !((float)x > 0) || x > 1e30)
            config_wrong(c, item, PITH_EFORMAT, field, "numbers over 0");
        y[i] = (float)x;
    }
}

/* Phi 3: one list of divisors for contexts up to the original one, another for longer ones. */
static void rope_longrope(hf_config *c, pith__json rope) {
    pith__json at = c->at;
    if (!pith__json_type(config_get(at, "original_max_position_embeddings"))) at = rope;
    double factor = config_positive(c, rope, "factor", 1);
    int original = config_int(c, at, "original_max_position_embeddings", 1, c->n_ctx);
    if (original != c->n_ctx) factor = (double)c->n_ctx / original;
    double attention = factor > 1 && original > 1 ? sqrt(1 + log(factor) / log(original)) : 1;
    rope_list(c, rope, "short_factor", "rope_factors_short.weight");
    rope_list(c, rope, "long_factor", "rope_factors_long.weight");
    config_put_string(c, "rope.scaling.type", "longrope");
    config_put_int(c, "rope.scaling.original_context_length", original);
    config_put_float(c, "rope.scaling.attn_factor",
                     config_positive(c, rope, "attention_factor", attention));
}

/* GGUF's attn_factor comes on top of the 1 + 0.1 ln(factor) that belongs to YaRN. */
static void rope_yarn(hf_config *c, pith__json rope) {
    int original = config_int(c, rope, "original_max_position_embeddings", 1, c->n_ctx);
    double factor = config_positive(c, rope, "factor", (double)c->n_ctx / original);
    double usual = factor > 1 ? 0.1 * log(factor) + 1 : 1, attention = usual;
    double m = config_float(c, rope, "mscale", 0), all = config_float(c, rope, "mscale_all_dim", 0);
    if (m != 0 && all != 0 && factor > 1)
        attention = (0.1 * m * log(factor) + 1) / (0.1 * all * log(factor) + 1);
    attention = config_positive(c, rope, "attention_factor", attention);
    if (!config_bool(c, rope, "truncate", 1))
        config_wrong(c, config_get(rope, "truncate"), PITH_EARCH, "rope truncate", "true");
    config_put_string(c, "rope.scaling.type", "yarn");
    config_put_float(c, "rope.scaling.factor", factor);
    config_put_int(c, "rope.scaling.original_context_length", original);
    if (attention != usual) config_put_float(c, "rope.scaling.attn_factor", attention / usual);
    config_put_float(c, "rope.scaling.yarn_beta_fast", config_positive(c, rope, "beta_fast", 32));
    config_put_float(c, "rope.scaling.yarn_beta_slow", config_positive(c, rope, "beta_slow", 1));
}

/* "dynamic" changes nothing as long as a text is no longer than max_position_embeddings. */
static void config_rope_scaling(hf_config *c, pith__json rope, double theta) {
    pith__json type = config_get(rope, "rope_type");
    if (!pith__json_type(type)) type = config_get(rope, "type");
    int phi3 = pith__str_is(pith__str_of(c->family->type), "phi3"); /* its "yarn" was never YaRN */
    if (!pith__json_type(rope) || pith__json_is(type, "default") || pith__json_is(type, "dynamic"))
        return;
    if (!pith__json_type(type) && !pith__json_type(config_get(rope, "factor"))) return;
    if (pith__json_is(type, "longrope") || pith__json_is(type, "su") ||
        (phi3 && pith__json_is(type, "yarn"))) {
        rope_longrope(c, rope);
    } else if (pith__json_is(type, "llama3")) {
        rope_llama3(c, rope, theta);
    } else if (pith__json_is(type, "yarn")) {
        rope_yarn(c, rope);
    } else if (pith__json_is(type, "linear")) {
        config_put_string(c, "rope.scaling.type", "linear");
        config_put_float(c, "rope.scaling.factor", config_positive(c, rope, "factor", NAN));
    } else {
        config_wrong(c, type, PITH_EARCH, "the type of rope_scaling",
                     "default, linear, dynamic, yarn, llama3 or longrope");
    }
}

/* Since transformers 5 all of it is in rope_parameters, for Gemma 3 in one object for layers that
 * see everything and one for those with a window. */
static void config_rope(hf_config *c) {
    pith__json rope = config_get(c->at, "rope_scaling"), local = { NULL, NULL };
    if (!pith__json_type(rope)) rope = config_get(c->at, "rope_parameters");
    if (pith__json_type(config_get(rope, "full_attention"))) {
        local = config_get(rope, "sliding_attention");
        rope = config_get(rope, "full_attention");
    }
    if (pith__json_type(rope) && pith__json_type(rope) != '{')
        config_wrong(c, rope, PITH_EFORMAT, "rope_scaling", "an object");
    double theta = config_positive(c, c->at, "rope_theta", c->family->theta);
    theta = config_positive(c, rope, "rope_theta", theta);
    double part = config_positive(c, c->at, "partial_rotary_factor", 1);
    part = config_positive(c, rope, "partial_rotary_factor", part);
    if (part > 1) config_wrong(c, c->at, PITH_EFORMAT, "partial_rotary_factor", "at most 1");
    c->n_rot = (int)(c->head_dim * part);
    config_put_int(c, "rope.dimension_count", c->n_rot);
    config_put_float(c, "rope.freq_base", theta);
    if (c->family->has & HF_OFTEN_BARE) { /* Gemma 3: layers with a window have their own base */
        double base = config_positive(c, c->at, "rope_local_base_freq", 1e4);
        config_put_float(c, "rope.freq_base_swa", config_positive(c, local, "rope_theta", base));
        pith__json type = config_get(local, "rope_type");
        if (pith__json_type(type) && !pith__json_is(type, "default"))
            config_wrong(c, type, PITH_EARCH, "rope_type of sliding_attention", "default");
    }
    config_rope_scaling(c, rope, theta);
}

/* ---- config.json ----------------------------------------------------------------------------- */

static void config_family(hf_config *c) {
    pith__json type = config_get(c->at, "model_type"), text = config_get(c->at, "text_config");
    if (pith__json_is(type, "gemma3") && pith__json_type(text) == '{') {
        c->at = text;
        type = config_get(text, "model_type");
    }
    char known[200] = "one of";
    for (size_t i = 0; i < sizeof hf_families / sizeof *hf_families; i++) {
        if (pith__json_is(type, hf_families[i].type)) c->family = &hf_families[i];
        size_t n = strlen(known);
        snprintf(known + n, sizeof known - n, " %s", hf_families[i].type);
    }
    if (!c->family) config_wrong(c, type, PITH_EARCH, "model_type", known);
}

/* What changes the arithmetic and is not known here. */
static void config_refuse(hf_config *c) {
    unsigned gelu = c->family->has & HF_GELU_TANH;
    pith__json act = config_get(c->at, "hidden_activation"), quant;
    if (!pith__json_type(act)) act = config_get(c->at, "hidden_act");
    /* Gemma's first files say "gelu" and mean the tanh formula */
    int known = gelu ? pith__json_is(act, "gelu_pytorch_tanh") || pith__json_is(act, "gelu_new") ||
                           (!(c->family->has & HF_SCALAR) && pith__json_is(act, "gelu"))
                     : pith__json_is(act, "silu") || pith__json_is(act, "swish");
    if (pith__json_type(act) && !known)
        config_wrong(c, act, PITH_EARCH, "hidden_act", gelu ? "gelu_pytorch_tanh" : "silu");
    quant = config_get(c->at, "quantization_config");
    if (pith__json_type(quant))
        config_wrong(c, quant, PITH_EARCH, "quantization_config", "weights that are not quantised");
    static const char two_ways[] = "use_bidirectional_attention";
    if (config_bool(c, c->at, two_ways, 0))
        config_wrong(c, config_get(c->at, two_ways), PITH_EARCH, two_ways, "false");
}

static void config_sizes(hf_config *c) {
    pith__json at = c->at;
    int bare = c->family->has & HF_OFTEN_BARE ? 1 : 0;
    int n_embd = config_int(c, at, "hidden_size", 1, 0);
    int n_head = config_int(c, at, "num_attention_heads", 1, 8 * bare);
    c->f->n_layer = config_int(c, at, "num_hidden_layers", 1, 0);
    c->f->n_vocab = config_int(c, at, "vocab_size", 1, 262208 * bare);
    c->n_ctx = config_int(c, at, "max_position_embeddings", 1, 131072 * bare);
    c->head_dim = config_int(c, at, "head_dim", 1,
                             c->family->head_dim ? c->family->head_dim
                             : n_embd % n_head   ? 0
                                                 : n_embd / n_head);
    config_put_int(c, "embedding_length", n_embd);
    config_put_int(c, "block_count", c->f->n_layer);
    config_put_int(c, "vocab_size", c->f->n_vocab);
    config_put_int(c, "context_length", c->n_ctx);
    config_put_int(c, "feed_forward_length", config_int(c, at, "intermediate_size", 1, 0));
    config_put_int(c, "attention.head_count", n_head);
    config_put_int(c, "attention.head_count_kv",
            config_int(c, at, "num_key_value_heads", 1, bare ? 4 : n_head));
    config_put_int(c, "attention.key_length", c->head_dim);
    config_put_int(c, "attention.value_length", c->head_dim);
    config_put_float(c, "attention.layer_norm_rms_epsilon",
              config_float(c, at, "rms_norm_eps", bare ? 1e-6 : NAN));
    enum { LAYERS_MAX = 4096 }; /* arrays of this length are made before a tensor is seen */
    if (c->f->n_layer > LAYERS_MAX)
        config_wrong(c, config_get(at, "num_hidden_layers"), PITH_EFORMAT, "num_hidden_layers",
                     "at most 4096");
}

/* What only some families have. */
static void config_extras(hf_config *c) {
    pith__json at = c->at;
    unsigned has = c->family->has;
    if (has & HF_SCALAR) {
        double scalar = config_positive(c, at, "query_pre_attn_scalar", 256);
        config_put_float(c, "attention.scale", 1 / sqrt(scalar));
        /* null means none; a file of Gemma 2 without the fields means the model's own */
        double attn = has & HF_SOFTCAP ? 50 : 0, final = has & HF_SOFTCAP ? 30 : 0;
        if (pith__json_type(pith__json_get(at, "attn_logit_softcapping")) == 'n') attn = 0;
        if (pith__json_type(pith__json_get(at, "final_logit_softcapping")) == 'n') final = 0;
        config_put_float(c, "attn_logit_softcapping",
                  config_float(c, at, "attn_logit_softcapping", attn));
        config_put_float(c, "final_logit_softcapping",
                  config_float(c, at, "final_logit_softcapping", final));
    }
    if (has & HF_MULTIPLIERS) {
        config_put_float(c, "attention.scale", config_positive(c, at, "attention_multiplier", 1));
        config_put_float(c, "embedding_scale", config_positive(c, at, "embedding_multiplier", 1));
        config_put_float(c, "residual_scale", config_positive(c, at, "residual_multiplier", 1));
        config_put_float(c, "logit_scale", config_positive(c, at, "logits_scaling", 1));
    }
    if (has & HF_EXPERT_FIELDS) {
        const char *count = pith__json_type(config_get(at, "num_experts")) ? "num_experts"
                                                                           : "num_local_experts";
        config_put_int(c, "expert_count", config_int(c, at, count, 1, 0));
        config_put_int(c, "expert_used_count", config_int(c, at, "num_experts_per_tok", 1, 0));
        config_put_int(c, "expert_feed_forward_length",
                       config_int(c, at, "moe_intermediate_size", 1, 0));
        config_put_int(c, "expert_weights_norm", config_bool(c, at, "norm_topk_prob", 0));
    }
}

/* ---- ends and sampling ----------------------------------------------------------------------- */

static void config_end(hf_config *c, pith__json id) {
    pith__vocab *v = &c->f->s->vocab;
    int64_t i;
    if (!pith__json_int(id, &i)) {
        config_wrong(c, id, PITH_EFORMAT, "eos_token_id", "a token, or an array of tokens");
    } else if (i >= 0 && i < c->f->n_vocab && v->n_end < (int)(sizeof v->end / sizeof *v->end)) {
        v->end[v->n_end++] = (int)i;
    }
}

/* Where both files name tokens that end a text, generation_config.json counts. */
static void config_ends(hf_config *c, pith__json object) {
    pith__json ends = config_get(object, "eos_token_id"), item;
    if (!pith__json_type(ends) || c->f->s->vocab.n_end > 0) return;
    if (pith__json_type(ends) != '[') config_end(c, ends);
    while (pith__json_next(&ends, NULL, &item)) config_end(c, item);
}

static void config_sampling(hf_config *c, pith__json object) {
    static const char *const names[][2] = {
        { "temperature", "pith.temperature" }, { "top_k", "pith.top_k" }, { "top_p", "pith.top_p" },
        { "min_p", "pith.min_p" }, { "repetition_penalty", "pith.repeat_penalty" }
    };
    int greedy = !config_bool(c, object, "do_sample", 1);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        double y = config_float(c, object, names[i][0], -1);
        if (pith__json_type(config_get(object, names[i][0])) && y < 0)
            config_wrong(c, config_get(object, names[i][0]), PITH_EFORMAT, names[i][0],
                         "a number that is not negative");
        if (greedy && i == 0) y = 0;
        if (y >= 0) config_added(c, pith__store_add_float(c->f->s, names[i][1], y));
    }
}

static int config_generation(hf_config *c, pith__json config) {
    pith__json generation;
    const char *path = c->path;
    int code = pith__folder_json(c->f, "generation_config.json", 0, &generation, &c->path);
    if (code) return code;
    config_ends(c, generation);
    config_sampling(c, generation);
    c->path = path;
    config_ends(c, config);
    return c->code;
}

/* ---- all of it ------------------------------------------------------------------------------- */

PITH_SHARED int pith__hf_config(pith__folder *f) {
    hf_config c = { .f = f };
    int code = pith__folder_json(f, "config.json", 1, &c.at, &c.path);
    if (code) return code;
    pith__json outer = c.at;
    config_family(&c);
    if (c.code) return c.code;
    unsigned has = c.family->has;
    config_added(&c, pith__store_add_string(f->s, "general.architecture", c.family->arch));
    config_refuse(&c);
    config_sizes(&c);
    if (c.code) return c.code;
    config_rope(&c);
    config_window(&c, c.family->window == HF_WINDOW_NOPE ? config_nope(&c) : NULL);
    config_extras(&c);
    f->s->rope_half = 1;
    f->s->norm_plus_one = (has & HF_GEMMA) != 0;
    f->tied = config_bool(&c, c.at, "tie_word_embeddings",
                          config_bool(&c, outer, "tie_word_embeddings", (has & HF_TIED) != 0));
    f->post_norm = (has & HF_POST_LAYERNORM) != 0;
    f->bias = has & HF_QKV_BIAS ? 1 : config_bool(&c, c.at, "attention_bias", 0) ? 2 : 0;
    f->ffn_bias = config_bool(&c, c.at, "mlp_bias", 0);
    f->drop_tokens = (has & HF_OFTEN_BARE) != 0;
    return c.code ? c.code : config_generation(&c, outer);
}
