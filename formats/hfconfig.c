/* hfconfig.c - config.json of a Hugging Face folder becomes the keys that a GGUF file would have.
 *
 * Also generation_config.json. What the fields mean, and what holds where one is missing, is written in
 * transformers' configuration_*.py; the keys in gguf-py/gguf/constants.py. What is not known is refused:
 * to ignore it would give text that is silently wrong. */
#include "formats.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

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

static const struct pith__hf_family {
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

/* ---- which layers differ --------------------------------------------------------------------- */

/* An array of booleans, one a layer, as GGUF lays them out. */
static void config_put_layers(pith__hf *c, const char *full, const uint8_t *layer) {
    pith__hf_added(c, pith__store_add_int(c->f->s, full, 0));
    if (c->code) return;
    pith__key *k = &c->f->s->key[c->f->s->n_key - 1];
    enum { GGUF_TYPE_BOOL = 7 };
    k->type = PITH__ARRAY;
    k->item = PITH__BOOL;
    k->gguf_item = GGUF_TYPE_BOOL;
    k->n = k->at.left = (size_t)c->f->n_layer;
    k->at.p = layer;
}

static uint8_t *config_new_layers(pith__hf *c) {
    uint8_t *y = c->code ? NULL : pith__arena_new(&c->f->s->arena, (size_t)c->f->n_layer, 1);
    if (!y) pith__hf_added(c, PITH_EMEMORY);
    return y;
}

/* SmolLM 3: no_rope_layers has a 1 for every layer that does rotate. */
static const uint8_t *config_nope(pith__hf *c) {
    pith__json it = pith__hf_get(c->at, "no_rope_layers"), list = it, item;
    uint8_t *plain = config_new_layers(c);
    if (!plain) return NULL;
    int period = pith__hf_int(c, c->at, "no_rope_layer_interval", 1, c->family->period), n = 0;
    for (; n < c->f->n_layer && pith__json_next(&it, NULL, &item); n++) {
        int64_t rotated = 0;
        if (!pith__json_int(item, &rotated) || rotated < 0 || rotated > 1)
            pith__hf_wrong(c, item, PITH_EFORMAT, "no_rope_layers", "an array of 0 and 1");
        plain[n] = rotated == 0;
    }
    if (pith__json_type(list) && n < c->f->n_layer)
        pith__hf_wrong(c, list, PITH_EFORMAT, "no_rope_layers", "a 0 or 1 for every layer");
    for (; n < c->f->n_layer; n++) plain[n] = (n + 1) % period == 0;
    config_put_layers(c, "pith.no_rope_layers", plain);
    return plain;
}

/* 1: layer l sees only a window. layer_types says it layer by layer; older files leave it to the
 * rule of their family. */
static int config_slides(pith__hf *c, int l, pith__json type, int period, int from, int nope) {
    if (pith__json_type(type)) {
        if (pith__json_is(type, "sliding_attention") && c->family->window != HF_NO_WINDOW) return 1;
        if (!pith__json_is(type, "full_attention"))
            pith__hf_wrong(c, type, PITH_EARCH, "layer_types", "full_attention or sliding_attention");
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

static void config_window(pith__hf *c, const uint8_t *nope) {
    int rule = c->family->window, window = 0, period = c->family->period, any = 0;
    pith__json size = pith__hf_get(c->at, "sliding_window"), types = pith__hf_get(c->at, "layer_types");
    if (pith__json_type(size)) window = pith__hf_int(c, c->at, "sliding_window", 1, 0);
    else if (rule == HF_WINDOW_PERIOD) window = 4096;
    if (rule == HF_NO_WINDOW || ((rule == HF_WINDOW_IF_USED || rule == HF_WINDOW_NOPE) &&
                              !pith__hf_bool(c, c->at, "use_sliding_window", 0)))
        window = 0;
    if (rule == HF_WINDOW_PERIOD)
        period = pith__hf_int(c, c->at, "sliding_window_pattern", 1, period);
    int from = pith__hf_int(c, c->at, "max_window_layers", 0, 28);
    if (c->family->has & HF_EXPERT_FIELDS) from = 0;
    if (pith__json_type(types) && pith__json_count(types) != (size_t)c->f->n_layer)
        pith__hf_wrong(c, types, PITH_EFORMAT, "layer_types", "an array, one string a layer");

    uint8_t *slides = config_new_layers(c);
    pith__json type = { NULL, NULL };
    for (int l = 0; slides && l < c->f->n_layer; l++) {
        if (pith__json_type(types)) pith__json_next(&types, NULL, &type);
        slides[l] = config_slides(c, l, type, period, from, nope && nope[l]) != 0;
        if (!window && !pith__json_type(type)) slides[l] = 0;
        any |= slides[l];
    }
    if (any && !window) pith__hf_wrong(c, size, PITH_EFORMAT, "sliding_window", "a length");
    if (!slides || rule == HF_NO_WINDOW) return;
    char full[96];
    snprintf(full, sizeof full, "%s.attention.sliding_window_pattern", c->arch);
    pith__hf_put_int(c, "attention.sliding_window", window);
    config_put_layers(c, full, slides);
}

/* ---- config.json ----------------------------------------------------------------------------- */

static void config_family(pith__hf *c) {
    pith__json type = pith__hf_get(c->at, "model_type"), text = pith__hf_get(c->at, "text_config");
    if (pith__json_is(type, "gemma3") && pith__json_type(text) == '{') {
        c->at = text;
        type = pith__hf_get(text, "model_type");
    }
    char known[200] = "one of";
    for (size_t i = 0; i < sizeof hf_families / sizeof *hf_families; i++) {
        if (pith__json_is(type, hf_families[i].type)) c->family = &hf_families[i];
        size_t n = strlen(known);
        snprintf(known + n, sizeof known - n, " %s", hf_families[i].type);
    }
    if (!c->family) pith__hf_wrong(c, type, PITH_EARCH, "model_type", known);
}

/* What changes the arithmetic and is not known here. */
static void config_refuse(pith__hf *c) {
    unsigned gelu = c->family->has & HF_GELU_TANH;
    pith__json act = pith__hf_get(c->at, "hidden_activation"), quant;
    if (!pith__json_type(act)) act = pith__hf_get(c->at, "hidden_act");
    /* Gemma's first files say "gelu" and mean the tanh formula */
    int known = gelu ? pith__json_is(act, "gelu_pytorch_tanh") || pith__json_is(act, "gelu_new") ||
                           (!(c->family->has & HF_SCALAR) && pith__json_is(act, "gelu"))
                     : pith__json_is(act, "silu") || pith__json_is(act, "swish");
    if (pith__json_type(act) && !known)
        pith__hf_wrong(c, act, PITH_EARCH, "hidden_act", gelu ? "gelu_pytorch_tanh" : "silu");
    quant = pith__hf_get(c->at, "quantization_config");
    if (pith__json_type(quant))
        pith__hf_wrong(c, quant, PITH_EARCH, "quantization_config", "weights that are not quantised");
    static const char two_ways[] = "use_bidirectional_attention";
    if (pith__hf_bool(c, c->at, two_ways, 0))
        pith__hf_wrong(c, pith__hf_get(c->at, two_ways), PITH_EARCH, two_ways, "false");
}

static void config_sizes(pith__hf *c) {
    pith__json at = c->at;
    int bare = c->family->has & HF_OFTEN_BARE ? 1 : 0;
    int n_embd = pith__hf_int(c, at, "hidden_size", 1, 0);
    int n_head = pith__hf_int(c, at, "num_attention_heads", 1, 8 * bare);
    c->f->n_layer = pith__hf_int(c, at, "num_hidden_layers", 1, 0);
    c->f->n_vocab = pith__hf_int(c, at, "vocab_size", 1, 262208 * bare);
    c->n_ctx = pith__hf_int(c, at, "max_position_embeddings", 1, 131072 * bare);
    c->head_dim = pith__hf_int(c, at, "head_dim", 1,
                             c->family->head_dim ? c->family->head_dim
                             : n_embd % n_head   ? 0
                                                 : n_embd / n_head);
    pith__hf_put_int(c, "embedding_length", n_embd);
    pith__hf_put_int(c, "block_count", c->f->n_layer);
    pith__hf_put_int(c, "vocab_size", c->f->n_vocab);
    pith__hf_put_int(c, "context_length", c->n_ctx);
    pith__hf_put_int(c, "feed_forward_length", pith__hf_int(c, at, "intermediate_size", 1, 0));
    pith__hf_put_int(c, "attention.head_count", n_head);
    pith__hf_put_int(c, "attention.head_count_kv",
            pith__hf_int(c, at, "num_key_value_heads", 1, bare ? 4 : n_head));
    pith__hf_put_int(c, "attention.key_length", c->head_dim);
    pith__hf_put_int(c, "attention.value_length", c->head_dim);
    pith__hf_put_float(c, "attention.layer_norm_rms_epsilon",
              pith__hf_float(c, at, "rms_norm_eps", bare ? 1e-6 : NAN));
    enum { LAYERS_MAX = 4096 }; /* arrays of this length are made before a tensor is seen */
    if (c->f->n_layer > LAYERS_MAX)
        pith__hf_wrong(c, pith__hf_get(at, "num_hidden_layers"), PITH_EFORMAT, "num_hidden_layers",
                     "at most 4096");
}

/* What only some families have. */
static void config_extras(pith__hf *c) {
    pith__json at = c->at;
    unsigned has = c->family->has;
    if (has & HF_SCALAR) {
        double scalar = pith__hf_positive(c, at, "query_pre_attn_scalar", 256);
        pith__hf_put_float(c, "attention.scale", 1 / sqrt(scalar));
        /* null means none; a file of Gemma 2 without the fields means the model's own */
        double attn = has & HF_SOFTCAP ? 50 : 0, final = has & HF_SOFTCAP ? 30 : 0;
        if (pith__json_type(pith__json_get(at, "attn_logit_softcapping")) == 'n') attn = 0;
        if (pith__json_type(pith__json_get(at, "final_logit_softcapping")) == 'n') final = 0;
        pith__hf_put_float(c, "attn_logit_softcapping",
                  pith__hf_float(c, at, "attn_logit_softcapping", attn));
        pith__hf_put_float(c, "final_logit_softcapping",
                  pith__hf_float(c, at, "final_logit_softcapping", final));
    }
    if (has & HF_MULTIPLIERS) {
        pith__hf_put_float(c, "attention.scale", pith__hf_positive(c, at, "attention_multiplier", 1));
        pith__hf_put_float(c, "embedding_scale", pith__hf_positive(c, at, "embedding_multiplier", 1));
        pith__hf_put_float(c, "residual_scale", pith__hf_positive(c, at, "residual_multiplier", 1));
        pith__hf_put_float(c, "logit_scale", pith__hf_positive(c, at, "logits_scaling", 1));
    }
    if (has & HF_EXPERT_FIELDS) {
        const char *count = pith__json_type(pith__hf_get(at, "num_experts")) ? "num_experts"
                                                                           : "num_local_experts";
        pith__hf_put_int(c, "expert_count", pith__hf_int(c, at, count, 1, 0));
        pith__hf_put_int(c, "expert_used_count", pith__hf_int(c, at, "num_experts_per_tok", 1, 0));
        pith__hf_put_int(c, "expert_feed_forward_length",
                       pith__hf_int(c, at, "moe_intermediate_size", 1, 0));
        pith__hf_put_int(c, "expert_weights_norm", pith__hf_bool(c, at, "norm_topk_prob", 0));
    }
}

/* ---- ends and sampling ----------------------------------------------------------------------- */

static void config_end(pith__hf *c, pith__json id) {
    pith__vocab *v = &c->f->s->vocab;
    int64_t i;
    if (!pith__json_int(id, &i)) {
        pith__hf_wrong(c, id, PITH_EFORMAT, "eos_token_id", "a token, or an array of tokens");
    } else if (i >= 0 && i < c->f->n_vocab && v->n_end < (int)(sizeof v->end / sizeof *v->end)) {
        v->end[v->n_end++] = (int)i;
    }
}

/* Where both files name tokens that end a text, generation_config.json counts. */
static void config_ends(pith__hf *c, pith__json object) {
    pith__json ends = pith__hf_get(object, "eos_token_id"), item;
    if (!pith__json_type(ends) || c->f->s->vocab.n_end > 0) return;
    if (pith__json_type(ends) != '[') config_end(c, ends);
    while (pith__json_next(&ends, NULL, &item)) config_end(c, item);
}

static void config_sampling(pith__hf *c, pith__json object) {
    static const char *const names[][2] = {
        { "temperature", "pith.temperature" }, { "top_k", "pith.top_k" }, { "top_p", "pith.top_p" },
        { "min_p", "pith.min_p" }, { "repetition_penalty", "pith.repeat_penalty" }
    };
    int greedy = !pith__hf_bool(c, object, "do_sample", 1);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        double y = pith__hf_float(c, object, names[i][0], -1);
        if (pith__json_type(pith__hf_get(object, names[i][0])) && y < 0)
            pith__hf_wrong(c, pith__hf_get(object, names[i][0]), PITH_EFORMAT, names[i][0],
                         "a number that is not negative");
        if (greedy && i == 0) y = 0;
        if (y >= 0) pith__hf_added(c, pith__store_add_float(c->f->s, names[i][1], y));
    }
}

static int config_generation(pith__hf *c, pith__json config) {
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
    pith__hf c = { .f = f };
    int code = pith__folder_json(f, "config.json", 1, &c.at, &c.path);
    if (code) return code;
    pith__json outer = c.at;
    config_family(&c);
    if (c.code) return c.code;
    unsigned has = c.family->has;
    c.arch = c.family->arch;
    c.theta = c.family->theta;
    c.local_theta = has & HF_OFTEN_BARE ? 1e4 : 0;
    c.yarn_is_longrope = !strcmp(c.family->type, "phi3");
    pith__hf_added(&c, pith__store_add_string(f->s, "general.architecture", c.arch));
    config_refuse(&c);
    config_sizes(&c);
    if (c.code) return c.code;
    pith__hf_rope(&c);
    config_window(&c, c.family->window == HF_WINDOW_NOPE ? config_nope(&c) : NULL);
    config_extras(&c);
    f->s->rope_half = 1;
    f->s->norm_plus_one = (has & HF_GEMMA) != 0;
    f->tied = pith__hf_bool(&c, c.at, "tie_word_embeddings",
                          pith__hf_bool(&c, outer, "tie_word_embeddings", (has & HF_TIED) != 0));
    f->post_norm = (has & HF_POST_LAYERNORM) != 0;
    f->bias = has & HF_QKV_BIAS ? 1 : pith__hf_bool(&c, c.at, "attention_bias", 0) ? 2 : 0;
    f->ffn_bias = pith__hf_bool(&c, c.at, "mlp_bias", 0);
    f->drop_tokens = (has & HF_OFTEN_BARE) != 0;
    return c.code ? c.code : config_generation(&c, outer);
}
