/* hfconfig.c - config.json of a Hugging Face folder becomes the keys that a GGUF file would have.
 *
 * Also generation_config.json. What the fields mean, and what holds where one is missing, is written in
 * transformers' configuration_*.py; the keys in gguf-py/gguf/constants.py. What is not known is refused:
 * to ignore it would give text that is silently wrong. A new family is a row here, one in families.c, and
 * a case in scripts/reference_hf.py. */
#include "formats.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- families -------------------------------------------------------------------------------- */

enum { /* what a family means in its own way */
    HF_TIED = 1,           /* lm_head is the embedding unless config.json says otherwise */
    HF_GELU_TANH = 2,      /* the activation; else SiLU */
    HF_QKV_BIAS = 4,
    HF_GEMMA = 8,          /* norms are stored as w, not 1 + w (also Qwen3.5) */
    HF_CAPPED = 16,        /* caps of 50 and 30 where config.json has none */
    HF_NO_O_BIAS = 32,     /* attention_bias is of q, k and v alone */
    HF_WINDOW_PERIOD = 64, /* every so many layers one sees everything */
    HF_WINDOW_EVEN = 128,  /* of the first max_window_layers every other one sees only a window, the others everything */
    HF_SCALED_FULL = 256,  /* layers with a window have the rotation of the others, but unscaled */
    HF_RELU2 = 512,        /* the activation, of a network without a gate */
    HF_LLAMA4 = 1024,      /* layers with rotation see chunks; sizes and queries have fields of their own */
    HF_BIAS = 2048,        /* attention_bias is true unless config.json says otherwise */
    HF_QK_NORM = 4096,     /* q and k are normed, which use_qk_norm may say */
    HF_LAYER_NORM = 8192,
    HF_NORM_BIAS = 1 << 14, /* whose norms have biases */
    HF_ALL_BIAS = 1 << 15, /* everything has biases, which no field says */
    HF_XIELU = 1 << 17,    /* the activation, of a network without a gate */
    HF_OLMO = 1 << 16      /* norms have no weights, and an eps that no field says */
};

enum { /* config.json's fields that only some families read */
    READS_BIAS = 1, READS_FFN_BIAS = 2, READS_PART = 4, READS_SCALAR = 8, READS_CAP = 16,
    READS_ATTN_CAP = 32, READS_MULTIPLIERS = 64, READS_EXPERTS = 128, READS_WINDOW = 256,
    READS_CHUNK = 1 << 25, READS_HYBRID = 1 << 24, /* layers that are not of attention */
    READS_USE = 512, READS_FROM = 1024, READS_TYPES = 2048, READS_PERIOD = 4096, READS_NOPE = 8192,
    READS_LOCAL = 16384, READS_BOTH_WAYS = 32768, READS_QK_NORM = 1 << 16, READS_QKV_BIAS = 1 << 17,
    READS_TEMPERATURE = 1 << 18, READS_OUT_BIAS = 1 << 19, READS_LINEAR = 1 << 20, READS_GEMMA4 = 1 << 21, /* hfgemma4.c */
    READS_LATENT = 1 << 22, READS_ALL_BIAS = 1 << 23, READS_LOGIT_SCALE = 1 << 26,
    READS_USE_QKV_BIAS = 1 << 27, READS_PARALLEL = 1 << 28, READS_CLIP = 1 << 29
};

static const struct pith__hf_family {
    const char *type, *arch; /* model_type, and GGUF's name */
    unsigned is, reads;
    int style;               /* of its tensors' names */
    int period;              /* of windows, or of layers without rotation */
    /* The class defaults of transformers' configuration_TYPE.py, for what config.json leaves unsaid. */
    int n_vocab, n_embd, n_ff, n_layer, n_head;
    int n_kv_head;           /* 0: n_head */
    int head_dim;            /* 0: n_embd / n_head */
    int n_ctx, window;
    double eps, theta;
} hf_families[] = {
    { "llama", "llama", 0, READS_BIAS | READS_FFN_BIAS, 0, 0,
      32000, 4096, 11008, 32, 32, 0, 0, 2048, 0, 1e-6, 1e4 },
    { "mistral", "llama", 0, READS_WINDOW, 0, 0,
      32000, 4096, 14336, 32, 32, 8, 0, 131072, 4096, 1e-6, 1e4 },
    { "ministral3", "mistral3", 0, READS_WINDOW | READS_TEMPERATURE, 0, 0,
      131072, 4096, 14336, 34, 32, 8, 128, 262144, 0, 1e-5, 1e6 },
    { "mixtral", "llama", 0, READS_WINDOW | READS_EXPERTS, PITH__HF_MIXTRAL, 0,
      32000, 4096, 14336, 32, 32, 8, 0, 131072, 0, 1e-5, 1e6 },
    { "qwen2", "qwen2", HF_QKV_BIAS, READS_WINDOW | READS_USE | READS_FROM | READS_TYPES, 0, 0,
      151936, 4096, 22016, 32, 32, 32, 0, 32768, 4096, 1e-6, 1e4 },
    { "qwen3", "qwen3", 0, READS_BIAS | READS_WINDOW | READS_USE | READS_FROM | READS_TYPES, 0, 0,
      151936, 4096, 22016, 32, 32, 32, 128, 32768, 4096, 1e-6, 1e4 },
    { "qwen2_moe", "qwen2moe", HF_WINDOW_EVEN | HF_QKV_BIAS,
      READS_WINDOW | READS_USE | READS_FROM | READS_TYPES | READS_EXPERTS | READS_QKV_BIAS, 0, 0,
      151936, 2048, 5632, 24, 16, 16, 0, 32768, 4096, 1e-6, 1e4 },
    { "qwen3_moe", "qwen3moe", 0, READS_BIAS | READS_WINDOW | READS_USE | READS_EXPERTS, 0, 0,
      151936, 2048, 6144, 24, 32, 4, 0, 32768, 4096, 1e-6, 1e4 },
    { "qwen3_5_text", "qwen35", HF_GEMMA, READS_PART | READS_LINEAR, PITH__HF_DELTA, 0,
      248320, 4096, 12288, 32, 16, 4, 256, 32768, 0, 1e-6, 1e4 },
    { "qwen3_5_moe_text", "qwen35moe", HF_GEMMA, READS_PART | READS_LINEAR | READS_EXPERTS, PITH__HF_DELTA, 0,
      248320, 2048, 512, 40, 16, 2, 256, 32768, 0, 1e-6, 1e4 },
    { "qwen3_next", "qwen3next", HF_GEMMA, READS_PART | READS_LINEAR | READS_EXPERTS, PITH__HF_DELTA | PITH__HF_NEXT, 0,
      151936, 2048, 5632, 48, 16, 2, 256, 32768, 0, 1e-6, 1e4 },
    { "deepseek_v2", "deepseek2", 0, READS_LATENT | READS_EXPERTS, PITH__HF_SHARED, 0,
      102400, 4096, 11008, 32, 32, 0, 0, 2048, 0, 1e-6, 1e4 },
    { "deepseek_v3", "deepseek2", 0, READS_LATENT | READS_EXPERTS, PITH__HF_SHARED, 0,
      129280, 7168, 18432, 61, 128, 0, 0, 4096, 0, 1e-6, 1e4 },
    { "glm4_moe_lite", "deepseek2", 0, READS_LATENT | READS_EXPERTS, PITH__HF_SHARED, 0,
      154880, 2048, 10240, 47, 20, 0, 0, 202752, 0, 1e-5, 1e4 },
    { "mistral4", "mistral4", 0, READS_LATENT | READS_EXPERTS | READS_TEMPERATURE, PITH__HF_SHARED, 0,
      131072, 4096, 12288, 36, 32, 0, 0, 1048576, 0, 1e-6, 1e4 },
    { "gemma", "gemma", HF_TIED | HF_GELU_TANH | HF_GEMMA, READS_BIAS, 0, 0,
      256000, 3072, 24576, 28, 16, 16, 256, 8192, 0, 1e-6, 1e4 },
    { "gemma2", "gemma2", HF_TIED | HF_GELU_TANH | HF_GEMMA | HF_CAPPED | HF_WINDOW_PERIOD,
      READS_BIAS | READS_WINDOW | READS_TYPES | READS_SCALAR | READS_CAP | READS_ATTN_CAP,
      PITH__HF_POST_NORM, 2,
      256000, 2304, 9216, 26, 8, 4, 256, 8192, 4096, 1e-6, 1e4 },
    { "gemma3_text", "gemma3", HF_TIED | HF_GELU_TANH | HF_GEMMA | HF_WINDOW_PERIOD,
      READS_BIAS | READS_WINDOW | READS_TYPES | READS_PERIOD | READS_SCALAR | READS_CAP | READS_LOCAL |
      READS_BOTH_WAYS,
      PITH__HF_POST_NORM, 6, 262208, 2304, 9216, 26, 8, 4, 256, 131072, 4096, 1e-6, 1e6 },
    { "gemma4_text", "gemma4", HF_TIED | HF_GELU_TANH | HF_WINDOW_PERIOD,
      READS_BIAS | READS_WINDOW | READS_TYPES | READS_CAP | READS_LOCAL | READS_GEMMA4,
      PITH__HF_POST_NORM | PITH__HF_GEMMA4, 6, 262144, 2304, 9216, 30, 8, 4, 256, 131072, 512, 1e-6, 1e6 },
    { "phi3", "phi3", 0, READS_WINDOW | READS_PART, PITH__HF_FUSED, 0,
      32064, 3072, 8192, 32, 32, 0, 0, 4096, 0, 1e-5, 1e4 },
    { "smollm3", "smollm3", HF_TIED,
      READS_BIAS | READS_FFN_BIAS | READS_WINDOW | READS_USE | READS_TYPES | READS_NOPE, 0, 4,
      128256, 2048, 11008, 36, 16, 4, 0, 32768, 0, 1e-6, 2e6 },
    { "olmo2", "olmo2", 0, READS_BIAS, PITH__HF_POST_NORM, 0,
      50304, 4096, 11008, 32, 32, 0, 0, 2048, 0, 1e-5, 1e4 },
    { "olmoe", "olmoe", 0, READS_BIAS | READS_EXPERTS, 0, 0,
      50304, 2048, 2048, 16, 16, 0, 0, 4096, 0, 1e-5, 1e4 },
    { "glm4_moe", "glm4moe", HF_NO_O_BIAS, READS_BIAS | READS_PART | READS_EXPERTS | READS_QK_NORM,
      PITH__HF_SHARED | PITH__HF_POST_NORM, 0,
      151552, 4096, 10944, 46, 96, 8, 0, 131072, 0, 1e-5, 1e4 },
    { "gpt_oss", "gpt-oss", HF_WINDOW_PERIOD | HF_BIAS, READS_BIAS | READS_WINDOW | READS_TYPES | READS_EXPERTS,
      PITH__HF_POST_NORM | PITH__HF_GPTOSS, 2, 201088, 2880, 2880, 36, 64, 8, 64, 131072, 128, 1e-5, 150000 },
    { "llama4_text", "llama4", HF_LLAMA4, READS_BIAS | READS_WINDOW | READS_TYPES | READS_NOPE | READS_EXPERTS | READS_QK_NORM |
      READS_CHUNK, PITH__HF_LLAMA4, 4, 202048, 5120, 16384, 48, 40, 8, 128, 131072, 8192, 1e-5, 5e5 },
    { "starcoder2", "starcoder2", HF_TIED | HF_GELU_TANH | HF_BIAS | HF_LAYER_NORM | HF_NORM_BIAS, READS_ALL_BIAS | READS_WINDOW,
      PITH__HF_CFC, 0, 49152, 3072, 12288, 30, 24, 2, 0, 4096, 0, 1e-5, 1e4 },
    { "stablelm", "stablelm", HF_LAYER_NORM | HF_NORM_BIAS | HF_NO_O_BIAS, READS_USE_QKV_BIAS | READS_PART | READS_PARALLEL, 0, 0,
      50304, 2560, 6912, 32, 32, 32, 0, 4096, 0, 1e-5, 1e4 },
    { "phi", "phi2", HF_GELU_TANH | HF_LAYER_NORM | HF_NORM_BIAS | HF_ALL_BIAS, READS_PART, PITH__HF_PHI | PITH__HF_FC, 0,
      51200, 2048, 8192, 24, 32, 0, 0, 2048, 0, 1e-5, 1e4 },
    { "olmo", "olmo", HF_LAYER_NORM | HF_OLMO, READS_BIAS | READS_CLIP, 0, 0,
      50304, 4096, 11008, 32, 32, 0, 0, 2048, 0, 1e-5, 1e4 },
    { "helium", "helium", HF_NO_O_BIAS, READS_BIAS | READS_FFN_BIAS, 0, 0,
      48000, 2560, 7040, 24, 20, 20, 128, 4096, 0, 1e-8, 1e5 },
    { "apertus", "apertus", HF_XIELU, READS_BIAS, PITH__HF_APERTUS, 0,
      131072, 4096, 14336, 32, 32, 0, 0, 65536, 0, 1e-5, 1.2e7 },
    { "arcee", "arcee", HF_RELU2, READS_BIAS | READS_FFN_BIAS, 0, 0,
      32000, 2560, 18432, 32, 32, 0, 0, 4096, 0, 1e-5, 1e4 },
    { "hunyuan_v1_dense", "hunyuan-dense", HF_QK_NORM, READS_BIAS, PITH__HF_HUNYUAN, 0,
      290943, 4096, 11008, 32, 32, 0, 0, 2048, 0, 1e-5, 1e4 },
    { "ernie4_5", "ernie4_5", HF_TIED, READS_ALL_BIAS, 0, 0,
      103424, 1024, 3072, 18, 16, 2, 128, 131072, 0, 1e-5, 5e5 },
    { "glm4", "glm4", HF_BIAS | HF_NO_O_BIAS, READS_BIAS | READS_PART, PITH__HF_GLM4 | PITH__HF_FUSED, 0,
      151552, 4096, 13696, 40, 32, 2, 128, 131072, 0, 1.5625e-7, 1e4 },
    { "cohere2", "cohere2", HF_TIED | HF_WINDOW_PERIOD | HF_LAYER_NORM,
      READS_BIAS | READS_WINDOW | READS_TYPES | READS_PERIOD | READS_LOGIT_SCALE, 0, 4,
      256000, 8192, 22528, 40, 64, 0, 0, 8192, 4096, 1e-5, 1e4 },
    { "seed_oss", "seed_oss", HF_BIAS, READS_BIAS | READS_OUT_BIAS | READS_FFN_BIAS, PITH__HF_POST_NORM, 0,
      155136, 4096, 27648, 64, 80, 8, 128, 524288, 0, 1e-6, 1e4 },
    { "exaone4", "exaone4", HF_WINDOW_PERIOD, READS_WINDOW | READS_TYPES | READS_PERIOD, PITH__HF_POST_NORM, 4,
      102400, 4096, 16384, 32, 32, 32, 0, 2048, 4096, 1e-5, 1e4 },
    { "nanochat", "nanochat", HF_RELU2 | HF_CAPPED, READS_BIAS | READS_CAP, PITH__HF_FC, 0,
      50304, 768, 8192, 12, 6, 0, 0, 2048, 0, 1e-6, 1e4 },
    { "olmo3", "olmo2", HF_WINDOW_PERIOD | HF_SCALED_FULL, READS_BIAS | READS_WINDOW | READS_TYPES, PITH__HF_POST_NORM, 4,
      50304, 4096, 11008, 32, 32, 0, 0, 2048, 4096, 1e-5, 5e5 },
    { "granite", "granite", 0, READS_BIAS | READS_FFN_BIAS | READS_MULTIPLIERS, 0, 0,
      32000, 4096, 11008, 32, 32, 0, 0, 2048, 0, 1e-6, 1e4 },
    { "granitemoehybrid", "granitehybrid", 0, READS_BIAS | READS_MULTIPLIERS | READS_HYBRID | READS_EXPERTS, PITH__HF_GRANITE4, 0,
      32000, 4096, 11008, 32, 32, 0, 0, 2048, 0, 1e-6, 1e4 },
    { "lfm2_moe", "lfm2moe", HF_TIED, READS_HYBRID | READS_EXPERTS, PITH__HF_LFM | PITH__HF_LFM2, 0,
      65536, 2048, 7168, 32, 32, 8, 0, 128000, 0, 1e-5, 1e6 },
    { "lfm3", "lfm3", HF_TIED, READS_HYBRID | READS_LOCAL, PITH__HF_LFM, 0,
      128000, 2048, 7680, 24, 16, 4, 128, 128000, 256, 1e-5, 1e6 },
    { "lfm2", "lfm2", HF_TIED, READS_HYBRID, PITH__HF_LFM | PITH__HF_LFM2, 0,
      65536, 2560, 12288, 32, 32, 8, 0, 128000, 0, 1e-5, 1e6 },
};

/* Fields that change the arithmetic, who reads them, and the value that changes nothing (null always
 * does so): in a family that does not read it, another value is refused, for nobody here knows what the
 * text would be with it. Fields that are not listed change nothing. Windows: config_window. */
enum { NEUTRAL_NONE, NEUTRAL_ONE, NEUTRAL_HEAD }; /* 0, false or empty; 1; head_dim */

static const struct {
    const char *name;
    unsigned reads;
    int neutral;
} hf_fields[] = {
    { "attention_bias", READS_BIAS, NEUTRAL_NONE },
    { "use_bias", READS_ALL_BIAS, NEUTRAL_NONE },
    { "use_qkv_bias", READS_USE_QKV_BIAS, NEUTRAL_NONE },
    { "attention_out_bias", READS_OUT_BIAS, NEUTRAL_NONE },
    { "mlp_bias", READS_FFN_BIAS, NEUTRAL_NONE },
    { "partial_rotary_factor", READS_PART | READS_LATENT, NEUTRAL_ONE }, /* hflatent.c checks it */
    { "rotary_pct", 0, NEUTRAL_ONE },
    { "query_pre_attn_scalar", READS_SCALAR, NEUTRAL_HEAD },
    { "attn_logit_softcapping", READS_ATTN_CAP, NEUTRAL_NONE },
    { "final_logit_softcapping", READS_CAP, NEUTRAL_NONE },
    { "attention_multiplier", READS_MULTIPLIERS, NEUTRAL_NONE },
    { "embedding_multiplier", READS_MULTIPLIERS, NEUTRAL_ONE },
    { "residual_multiplier", READS_MULTIPLIERS, NEUTRAL_ONE },
    { "logits_scaling", READS_MULTIPLIERS, NEUTRAL_ONE },
    { "logit_scale", READS_LOGIT_SCALE, NEUTRAL_ONE },
    { "num_experts", READS_EXPERTS | READS_GEMMA4, NEUTRAL_NONE },
    { "num_local_experts", READS_EXPERTS, NEUTRAL_NONE },
    { "n_routed_experts", READS_EXPERTS, NEUTRAL_NONE },
    { "n_shared_experts", READS_EXPERTS, NEUTRAL_NONE },
    { "shared_expert_intermediate_size", READS_EXPERTS, NEUTRAL_NONE },
    { "no_rope_layers", READS_NOPE, NEUTRAL_ONE },
    { "clip_qkv", READS_CLIP, NEUTRAL_NONE },
    { "conv_bias", 0, NEUTRAL_NONE },
    { "use_qk_norm", READS_QK_NORM, NEUTRAL_NONE },
    { "qk_layernorm", 0, NEUTRAL_NONE },
    { "alibi", 0, NEUTRAL_NONE },
    { "parallel_attn", 0, NEUTRAL_NONE },
    { "use_parallel_residual", READS_PARALLEL, NEUTRAL_NONE },
    { "attention_chunk_size", READS_CHUNK, NEUTRAL_NONE },
    { "use_bidirectional_attention", READS_BOTH_WAYS | READS_GEMMA4, NEUTRAL_NONE },
    { "is_encoder_decoder", 0, NEUTRAL_NONE },
    { "add_cross_attention", 0, NEUTRAL_NONE },
    { "per_layer_config", READS_GEMMA4, NEUTRAL_NONE },
    { "attention_k_eq_v", READS_GEMMA4, NEUTRAL_NONE },
    { "num_kv_shared_layers", READS_GEMMA4, NEUTRAL_NONE },
    { "use_double_wide_mlp", READS_GEMMA4, NEUTRAL_NONE },
    { "hidden_size_per_layer_input", READS_GEMMA4, NEUTRAL_NONE },
    { "enable_moe_block", READS_GEMMA4, NEUTRAL_NONE },
};

/* ---- which layers differ --------------------------------------------------------------------- */

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
    if (pith__json_count(list) && n < c->f->n_layer)
        pith__hf_wrong(c, list, PITH_EFORMAT, "no_rope_layers", "a 0 or 1 for every layer");
    for (; n < c->f->n_layer; n++) plain[n] = (n + 1) % period == 0;
    pith__hf_put_flags(c, "pith.no_rope_layers", plain);
    return plain;
}

/* 1: layer l sees only a window by the rule of the family. */
static int config_slides(const pith__hf *c, int l, int window, int from, const uint8_t *nope) {
    unsigned reads = c->family->reads;
    if (c->family->is & HF_WINDOW_PERIOD) return (l + 1) % from != 0;
    if (!window) return 0;
    if (c->family->is & HF_LLAMA4) return nope && !nope[l];
    if (reads & READS_NOPE) return nope && nope[l];
    if (c->family->is & HF_WINDOW_EVEN) return l % 2 == 0 && l < from;
    return reads & READS_FROM ? l >= from : (reads & READS_WINDOW) != 0;
}

/* The length of the window that some layers may have; 0: none. null: none; absent: the family's. */
static int config_window_size(pith__hf *c) {
    const char *name = c->family->is & HF_LLAMA4 ? "attention_chunk_size" : "sliding_window";
    pith__json size = pith__json_get(c->at, name);
    int window = c->family->window, reads = (c->family->reads & READS_WINDOW) != 0;
    int used = pith__hf_bool(c, c->at, "use_sliding_window", !(c->family->reads & READS_USE));
    if (pith__json_type(size) == 'n') window = 0;
    else if (pith__json_type(size)) window = pith__hf_int(c, c->at, name, used, 0);
    pith__json period = pith__hf_get(c->at, "sliding_window_pattern");
    int64_t is = 0;
    if (used && reads && window && !(c->family->reads & READS_PERIOD) && pith__json_type(period) &&
        (!pith__json_int(period, &is) || is != (c->family->period ? c->family->period : 1)))
        pith__hf_wrong(c, period, PITH_EARCH, "sliding_window_pattern", "null in this family");
    if (reads && !used && !(c->family->reads & READS_USE) && window && window < c->n_ctx)
        pith__hf_wrong(c, pith__hf_get(c->at, "use_sliding_window"), PITH_EARCH, "use_sliding_window",
                       "true: this family does not read it");
    if (!reads && used && window && window < c->n_ctx)
        pith__hf_wrong(c, size, PITH_EARCH, "sliding_window", "null in this family");
    return used && reads ? window : 0;
}

/* The same where layer_types says it (type), which must be what the family can do. */
static int config_typed(pith__hf *c, pith__json type, int window, int rule) {
    const char *window_type = c->family->is & HF_LLAMA4 ? "chunked_attention" : "sliding_attention";
    int slides = pith__json_type(type) ? pith__json_is(type, window_type) : rule;
    if (pith__json_type(type) && !slides && !pith__json_is(type, "full_attention"))
        pith__hf_wrong(c, type, PITH_EARCH, "layer_types",
                       c->family->is & HF_LLAMA4 ? "full_attention or chunked_attention" : "full_attention or sliding_attention");
    if (!(c->family->reads & READS_TYPES) && slides != rule)
        pith__hf_wrong(c, type, PITH_EARCH, "layer_types",
                       rule ? "sliding_attention, as sliding_window is for all layers"
                            : "full_attention, as the family has it");
    if (slides && !window && !pith__json_type(type))
        pith__hf_wrong(c, pith__json_get(c->at, "sliding_window"), PITH_EFORMAT, "sliding_window",
                       "a length");
    if (slides && !window)
        pith__hf_wrong(c, type, PITH_EFORMAT, "layer_types", "full_attention, as no sliding_window is used");
    return slides;
}

static void config_wrong_count(pith__hf *c, pith__json types) {
    if (pith__json_type(types) != '[')
        pith__hf_wrong(c, types, PITH_EFORMAT, "layer_types", "an array, one string a layer");
    else if (!c->code)
        c->code = pith__fail(c->f->err, PITH_EFORMAT, "%s: layer_types has %zu, need %d", c->path,
                             pith__json_count(types), c->f->n_layer);
}

/* layer_types says layer by layer who has a window; older files leave it to the rule of their family. */
static void config_window(pith__hf *c, const uint8_t *nope) {
    pith__json types = pith__hf_get(c->at, "layer_types"), type = { NULL, NULL };
    unsigned reads = c->family->reads;
    int window = config_window_size(c), from = c->family->period;
    if (reads & READS_PERIOD && !pith__json_type(types)) from = pith__hf_int(c, c->at, "sliding_window_pattern", 1, from);
    if (reads & READS_FROM) from = pith__hf_int(c, c->at, "max_window_layers", 0, 28);
    if (pith__json_type(types) && pith__json_count(types) != (size_t)c->f->n_layer)
        config_wrong_count(c, types);

    uint8_t *slides = config_new_layers(c);
    for (int l = 0; slides && l < c->f->n_layer; l++) {
        pith__json_next(&types, NULL, &type);
        slides[l] = config_typed(c, type, window, config_slides(c, l, window, from, nope)) != 0;
    }
    if (!slides || !(reads & READS_WINDOW)) return;
    char full[96];
    snprintf(full, sizeof full, "%s.attention.sliding_window_pattern", c->arch);
    pith__hf_put_int(c, "attention.sliding_window", window);
    pith__hf_put_flags(c, full, slides);
    if (reads & READS_GEMMA4) pith__hf_gemma4(c, slides);
}

/* ---- config.json ----------------------------------------------------------------------------- */

/* Models that see or hear: the text model in them is an object of its own, text_config. What stands around it changes nothing
 * where only text goes in. */
static const char *const hf_seeing[] = { "gemma3", "mistral3", "gemma4", "llama4", "qwen3_5", "qwen3_5_moe" };

static void config_family(pith__hf *c) {
    pith__json outer = pith__hf_get(c->at, "model_type"), type = outer, text = pith__hf_get(c->at, "text_config");
    for (size_t i = 0; i < sizeof hf_seeing / sizeof *hf_seeing && pith__json_type(text) == '{'; i++) {
        if (!pith__json_is(outer, hf_seeing[i])) continue;
        c->at = text;
        type = pith__hf_get(text, "model_type");
    }
    for (size_t i = 0; i < sizeof hf_families / sizeof *hf_families; i++)
        if (pith__json_is(type, hf_families[i].type)) c->family = &hf_families[i];
    if (!c->family) pith__hf_wrong(c, type, PITH_EARCH, "model_type", "a family that is known here (README.md lists them)");
}

/* The activation, under one name or the other. */
static void config_activation(pith__hf *c, const char *name) {
    pith__json act = pith__hf_get(c->at, name);
    if (!pith__json_type(act)) return;
    if (c->family->is & (HF_RELU2 | HF_XIELU)) {
        const char *one = c->family->is & HF_XIELU ? "xielu" : "relu2";
        if (!pith__json_is(act, one)) pith__hf_wrong(c, act, PITH_EARCH, name, one);
        return;
    }
    if (!(c->family->is & HF_GELU_TANH)) {
        if (!pith__json_is(act, "silu") && !pith__json_is(act, "swish"))
            pith__hf_wrong(c, act, PITH_EARCH, name, "silu");
        return;
    }
    /* Gemma's first files say "gelu" and mean the tanh formula */
    int old = c->family->is & HF_GEMMA && !(c->family->reads & READS_SCALAR) && pith__json_is(act, "gelu");
    if (!old && !pith__json_is(act, "gelu_pytorch_tanh") && !pith__json_is(act, "gelu_new"))
        pith__hf_wrong(c, act, PITH_EARCH, name, "gelu_pytorch_tanh");
}

static int config_is_neutral(const pith__hf *c, pith__json value, int neutral) {
    double y = 0;
    char type = pith__json_type(value);
    if (pith__json_float(value, &y))
        return y == (neutral == NEUTRAL_ONE ? 1 : neutral == NEUTRAL_HEAD ? c->head_dim : 0);
    if (type == '[') { /* each of them */
        pith__json item;
        while (pith__json_next(&value, NULL, &item))
            if (!pith__json_float(item, &y) || y != (neutral == NEUTRAL_ONE)) return 0;
        return 1;
    }
    return !type || type == 'f' || (type == '{' && !pith__json_count(value)) || pith__json_is(value, "");
}

/* What changes the arithmetic and is not known here, or not in this family. */
static void config_refuse(pith__hf *c, pith__json outer) {
    config_activation(c, "hidden_activation");
    config_activation(c, "hidden_act");
    pith__json quant = pith__hf_get(c->at, "quantization_config");
    if (!pith__json_type(quant)) quant = pith__hf_get(outer, "quantization_config");
    if (pith__json_type(quant) && !(c->family->style & PITH__HF_GPTOSS))
        pith__hf_wrong(c, pith__hf_get(quant, "quant_method"), PITH_EARCH,
                       "quantization_config.quant_method", "weights in F32, F16 or BF16");
    for (size_t i = 0; i < sizeof hf_fields / sizeof *hf_fields; i++) {
        static const char *const need[] = { "null or 0", "1", "head_dim" };
        pith__json value = pith__hf_get(c->at, hf_fields[i].name);
        if (c->family->reads & hf_fields[i].reads) continue;
        if (c->family->is & HF_QK_NORM && !strcmp(hf_fields[i].name, "use_qk_norm") && pith__json_type(value) == 't') continue;
        if (config_is_neutral(c, value, hf_fields[i].neutral)) continue;
        char text[80];
        snprintf(text, sizeof text, "%s: %s has no such part", need[hf_fields[i].neutral],
                 c->family->type);
        pith__hf_wrong(c, value, PITH_EARCH, hf_fields[i].name, text);
    }
}

/* What is added below the root of a norm. */
static double config_eps(pith__hf *c) {
    const struct pith__hf_family *d = c->family;
    pith__json at = c->at;
    int layer = (d->is & HF_LAYER_NORM) != 0;
    const char *eps_name = d->style & PITH__HF_CFC ? "norm_epsilon" : layer ? "layer_norm_eps" : d->style & PITH__HF_LFM ? "norm_eps" : "rms_norm_eps";
    int lfm3 = d->style & PITH__HF_LFM && !(d->style & PITH__HF_LFM2); /* to transformers both names are one field there */
    if (lfm3 && pith__json_type(pith__hf_get(at, "rms_norm_eps"))) eps_name = "rms_norm_eps";
    double eps = d->is & HF_OLMO ? d->eps : pith__hf_float(c, at, eps_name, d->eps);
    if (!(eps >= 0 && eps <= FLT_MAX))
        pith__hf_wrong(c, pith__hf_get(at, eps_name), PITH_EFORMAT, eps_name, "a float of 0 or more");
    pith__hf_put_float(c, layer ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", eps);
    return eps;
}

static void config_sizes(pith__hf *c) {
    const struct pith__hf_family *d = c->family;
    pith__json at = c->at, kv = pith__json_get(at, "num_key_value_heads");
    int n_embd = pith__hf_int(c, at, "hidden_size", 1, d->n_embd);
    int n_head = pith__hf_int(c, at, "num_attention_heads", 1, d->n_head);
    int n_kv_head = pith__json_type(kv) || !d->n_kv_head ? n_head : d->n_kv_head;
    c->f->n_layer = pith__hf_int(c, at, "num_hidden_layers", 1, d->n_layer);
    c->f->n_vocab = pith__hf_int(c, at, "vocab_size", 1, d->n_vocab);
    c->n_ctx = pith__hf_int(c, at, "max_position_embeddings", 1, d->n_ctx);
    int equal = d->reads & READS_LATENT ? 1 : n_embd % n_head ? 0 : n_embd / n_head; /* of latents: pith__hf_latent knows */
    c->head_dim = pith__hf_int(c, at, "head_dim", 1, d->head_dim ? d->head_dim : equal);
    pith__hf_put_int(c, "embedding_length", n_embd);
    pith__hf_put_int(c, "block_count", c->f->n_layer);
    pith__hf_put_int(c, "vocab_size", c->f->n_vocab);
    pith__hf_put_int(c, "context_length", c->n_ctx);
    const char *wide = d->is & HF_LLAMA4 ? "intermediate_size_mlp" : "intermediate_size"; /* of layers without experts */
    pith__hf_put_int(c, "attention.head_count", n_head);
    int n_ff = d->style & PITH__HF_LFM2 && !(d->reads & READS_EXPERTS) ? pith__hf_lfm_ff(c, d->n_ff) : pith__hf_int(c, at, wide, 1, d->n_ff);
    if (d->style & PITH__HF_GRANITE4 && pith__hf_int(c, at, "num_local_experts", 0, 8) == 0)
        n_ff = pith__hf_int(c, at, "shared_intermediate_size", 1, 1024); /* without experts it is the one network */
    if (!(d->reads & READS_GEMMA4)) pith__hf_put_int(c, "feed_forward_length", n_ff);
    double eps = config_eps(c);
    if (d->reads & READS_LATENT) {
        pith__hf_latent(c, d->type, eps);
    } else if (!(d->reads & READS_GEMMA4)) {
        pith__hf_put_int(c, "attention.head_count_kv", pith__hf_int(c, at, "num_key_value_heads", 1, n_kv_head));
        pith__hf_put_int(c, "attention.key_length", c->head_dim);
        pith__hf_put_int(c, "attention.value_length", c->head_dim);
    }
    enum { LAYERS_MAX = 4096 }; /* arrays of this length are made before a tensor is seen */
    if (c->f->n_layer > LAYERS_MAX)
        pith__hf_wrong(c, pith__hf_get(at, "num_hidden_layers"), PITH_EFORMAT, "num_hidden_layers",
                       "at most 4096");
}

/* null means no cap; absent, what the family has. */
static void config_cap(pith__hf *c, const char *name, double usual) {
    int none = pith__json_type(pith__json_get(c->at, name)) == 'n' || !(c->family->is & HF_CAPPED);
    int said = pith__json_type(pith__hf_get(c->at, name)) != 0;
    pith__hf_put_float(c, name, said || !none ? pith__hf_positive(c, c->at, name, usual) : 0);
}

/* Llama 4: norms of q and k after the rotation, and queries of layers without it that grow with the position. */
static void config_llama4(pith__hf *c) {
    pith__json tuning = pith__hf_get(c->at, "attn_temperature_tuning");
    double y = 1; /* older files have a number */
    int tunes = pith__json_float(tuning, &y) ? y != 0 : pith__hf_bool(c, c->at, "attn_temperature_tuning", 1);
    pith__hf_put_float(c, "attention.temperature_scale", tunes ? pith__hf_positive(c, c->at, "attn_scale", 0.1) : 0);
    pith__hf_put_int(c, "attention.temperature_length", pith__hf_int(c, c->at, "floor_scale", 1, 8192));
    pith__hf_added(c, pith__store_add_int(c->f->s, "pith.qk_norm", pith__hf_bool(c, c->at, "use_qk_norm", 1)));
}

/* What only some families have. */
static void config_extras(pith__hf *c, pith__json outer) {
    pith__json at = c->at;
    unsigned reads = c->family->reads;
    if (reads & READS_SCALAR)
        pith__hf_put_float(c, "attention.scale",
                           1 / sqrt(pith__hf_positive(c, at, "query_pre_attn_scalar", 256)));
    if (reads & READS_ATTN_CAP) config_cap(c, "attn_logit_softcapping", 50);
    if (reads & READS_LOGIT_SCALE) pith__hf_put_float(c, "logit_scale", pith__hf_positive(c, at, "logit_scale", 0.0625));
    if (reads & READS_CAP) config_cap(c, "final_logit_softcapping", c->family->is & HF_RELU2 ? 15 : 30);
    if (reads & READS_MULTIPLIERS) {
        pith__hf_put_float(c, "attention.scale", pith__hf_positive(c, at, "attention_multiplier", 1));
        pith__hf_put_float(c, "embedding_scale", pith__hf_positive(c, at, "embedding_multiplier", 1));
        pith__hf_put_float(c, "residual_scale", pith__hf_positive(c, at, "residual_multiplier", 1));
        pith__hf_put_float(c, "logit_scale", pith__hf_positive(c, at, "logits_scaling", 1));
    }
    if (c->family->is & HF_XIELU && !pith__json_count(pith__hf_get(at, "rope_scaling")) && !pith__json_count(pith__hf_get(at, "rope_parameters")))
        pith__hf_wrong(c, pith__hf_get(at, "rope_parameters"), PITH_EARCH, "rope_parameters", "an object, as Apertus has Llama 3's");
    if (reads & READS_CLIP && pith__json_type(pith__hf_get(at, "clip_qkv")))
        pith__hf_put_float(c, "attention.clamp_kqv", pith__hf_positive(c, at, "clip_qkv", NAN));
    if (reads & READS_PARALLEL) pith__hf_put_flag(c, "use_parallel_residual", pith__hf_bool(c, at, "use_parallel_residual", 0));
    if (reads & READS_EXPERTS) pith__hf_routing(c, c->family->type);
    if (c->family->style & PITH__HF_GPTOSS) pith__hf_gptoss(c, outer);
    if (c->family->is & HF_LLAMA4) config_llama4(c);
}

/* Which parts of attention have biases, as pith__folder.bias. */
static int config_bias(pith__hf *c) {
    pith__json out = pith__hf_get(c->at, "attention_out_bias");
    unsigned is = c->family->is;
    if (is & HF_QKV_BIAS) return !(c->family->reads & READS_QKV_BIAS) || pith__hf_bool(c, c->at, "qkv_bias", 1);
    int apart = (c->family->reads & READS_OUT_BIAS) != 0, all = pith__hf_bool(c, c->at, "attention_bias", (is & HF_BIAS) != 0);
    if (is & HF_ALL_BIAS) return 2;
    if (c->family->reads & READS_ALL_BIAS) return pith__hf_bool(c, c->at, "use_bias", (is & HF_BIAS) != 0) ? 2 : 0;
    if (c->family->reads & READS_USE_QKV_BIAS) return pith__hf_bool(c, c->at, "use_qkv_bias", 0);
    if (!apart) return !all ? 0 : is & HF_NO_O_BIAS ? 1 : 2;
    int o = pith__hf_bool(c, c->at, "attention_out_bias", 0);
    if (o && !all) pith__hf_wrong(c, out, PITH_EARCH, "attention_out_bias", "false where attention_bias is");
    return all + o;
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

/* Advice: what makes no sense is left out with a note. */
static void config_sampling(pith__hf *c, pith__json object) {
    static const struct {
        const char *name, *key;
        double lo, hi;
    } advice[] = {
        { "temperature", "pith.temperature", 0, 1e6 }, { "top_k", "pith.top_k", -1, 1e6 },
        { "top_p", "pith.top_p", 1e-9, 1 }, { "min_p", "pith.min_p", 0, 1 },
        { "repetition_penalty", "pith.repeat_penalty", 1e-9, 100 }
    };
    int greedy = pith__json_type(pith__hf_get(object, "do_sample")) == 'f';
    for (size_t i = 0; i < sizeof advice / sizeof *advice; i++) {
        pith__json said = pith__hf_get(object, advice[i].name);
        double y = 0;
        int sense = pith__json_float(said, &y) && y >= advice[i].lo && y <= advice[i].hi;
        if (pith__json_type(said) && !sense)
            pith__note(c->f->s, "%s: its %s makes no sense and is not used", c->path, advice[i].name);
        if (y < 0) y = 0; /* top_k -1: all of them */
        if (greedy && i == 0) y = 0, sense = 1;
        if (sense) pith__hf_added(c, pith__store_add_float(c->f->s, advice[i].key, y));
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
    pith__hf_about(c, config);
    return c->code;
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* As pith__hf.part. */
static double config_part(const struct pith__hf_family *f) {
    static const struct { const char *type; double part; } parts[] = {
        { "glm4_moe", 0.5 }, { "glm4", 0.5 }, { "phi", 0.5 }, { "stablelm", 0.25 },
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strcmp(f->type, parts[i].type)) return parts[i].part;
    return f->reads & READS_LINEAR ? 0.25 : 0;
}

PITH_SHARED int pith__hf_config(pith__folder *f) {
    pith__hf c = { .f = f };
    int code = pith__folder_json(f, "config.json", 1, &c.at, &c.path);
    if (code) return code;
    pith__json outer = c.at;
    if (pith__hf_elder(&c)) return c.code ? c.code : config_generation(&c, outer);
    config_family(&c);
    if (c.code) return c.code;
    unsigned is = c.family->is, reads = c.family->reads;
    int both_ways = reads & READS_BOTH_WAYS && pith__hf_bool(&c, c.at, "use_bidirectional_attention", 0);
    c.arch = both_ways ? "gemma-embedding" : c.family->arch; /* EmbeddingGemma is Gemma 3 whose tokens see each other */
    c.theta = c.family->theta;
    c.local_theta = reads & READS_LOCAL ? 1e4 : is & HF_SCALED_FULL ? -1 : 0;
    int gptoss = (c.family->style & PITH__HF_GPTOSS) != 0;
    c.is_phi3 = !strcmp(c.family->type, "phi3");
    c.part = config_part(c.family);
    c.has_alpha = !strcmp(c.family->type, "hunyuan_v1_dense");
    c.has_temperature = (reads & READS_TEMPERATURE) != 0;
    pith__hf_added(&c, pith__store_add_string(f->s, "general.architecture", c.arch));
    config_sizes(&c);
    config_refuse(&c, outer);
    if (c.code) return c.code;
    if (!(reads & (READS_LINEAR | READS_HYBRID))) config_window(&c, reads & READS_NOPE ? config_nope(&c) : NULL);
    if (c.code) return c.code;
    pith__hf_rope(&c);
    if (reads & READS_LINEAR) pith__hf_delta(&c);
    if (reads & READS_HYBRID) pith__hf_hybrid(&c, c.family->style);
    config_extras(&c, outer);
    f->s->is_folder = 1;
    f->s->qk_halves = !(reads & READS_LATENT || is & HF_LLAMA4); /* these pair neighbours everywhere */
    f->s->hf_style = c.family->style;
    if (c.family->style & PITH__HF_GRANITE4 && pith__hf_int(&c, c.at, "num_local_experts", 0, 8))
        f->s->hf_style |= PITH__HF_GRANITE4_MOE;
    f->s->norm_plus_one = (is & HF_GEMMA) != 0;
    f->tied = pith__hf_bool(&c, c.at, "tie_word_embeddings",
                            pith__hf_bool(&c, outer, "tie_word_embeddings", (is & HF_TIED) != 0));
    f->bias = config_bias(&c);
    f->no_qk_norm = reads & READS_QK_NORM && !(is & HF_LLAMA4) && !pith__hf_bool(&c, c.at, "use_qk_norm", 0);
    f->ffn_bias = reads & READS_ALL_BIAS ? f->bias == 2 : is & HF_ALL_BIAS || pith__hf_bool(&c, c.at, "mlp_bias", gptoss);
    f->norm_bias = (is & HF_NORM_BIAS) != 0;
    if (!c.code) f->s->hf_style |= pith__hf_head(&c, c.family->style);
    return c.code ? c.code : config_generation(&c, outer);
}

PITH_SHARED int pith__hf_arch_style(const char *arch, int experts) {
    int more = !experts ? 0 : !strcmp(arch, "llama") ? PITH__HF_MIXTRAL : !strcmp(arch, "granitehybrid") ? PITH__HF_GRANITE4_MOE : 0;
    for (size_t i = 0; i < sizeof hf_families / sizeof *hf_families; i++)
        if (!strcmp(hf_families[i].arch, arch)) return hf_families[i].style | more;
    return pith__hf_elder_of(arch);
}

PITH_SHARED int pith__hf_style_of(const char *type) {
    for (size_t i = 0; i < sizeof hf_families / sizeof *hf_families; i++)
        if (!strcmp(hf_families[i].type, type)) return hf_families[i].style;
    return pith__hf_elder_style(type);
}
