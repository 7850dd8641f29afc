/* folderconfig.c - an open model -> config.json and generation_config.json of a Hugging Face folder.
 *
 * The way back from GGUF: what families.c made of the keys is said as transformers' classes have it, so that reading the
 * folder (formats/hfconfig.c) gives the same values. What a class has no field for is refused. */
#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { /* the rules that several classes have */
    GEMMA_SAYS = PITH__SAYS_GELU | PITH__SAYS_BIAS | PITH__SAYS_WINDOW | PITH__SAYS_TYPES | PITH__SAYS_SCALAR |
            PITH__SAYS_CAPS,
    DEEPSEEK_SAYS = PITH__SAYS_LATENT
};

static const pith__hf_class hf_classes[] = {
    { "llama", "llama", "LlamaForCausalLM", 0, PITH__SAYS_BIAS | PITH__SAYS_FFN_BIAS },
    { "llama", "mistral", "MistralForCausalLM", 0, PITH__SAYS_WINDOW },
    { "llama", "mixtral", "MixtralForCausalLM", 1, PITH__SAYS_WINDOW },
    { "mistral3", "ministral3", "Ministral3ForCausalLM", 0, PITH__SAYS_WINDOW | PITH__SAYS_TEMPERATURE },
    { "qwen2", "qwen2", "Qwen2ForCausalLM", 0, PITH__SAYS_WINDOW | PITH__SAYS_TYPES | PITH__SAYS_QKV_BIAS },
    { "qwen3", "qwen3", "Qwen3ForCausalLM", 0, PITH__SAYS_WINDOW | PITH__SAYS_TYPES | PITH__SAYS_BIAS },
    { "qwen2moe", "qwen2_moe", "Qwen2MoeForCausalLM", 1, PITH__SAYS_WINDOW | PITH__SAYS_TYPES | PITH__SAYS_QKV_BIAS },
    { "qwen3moe", "qwen3_moe", "Qwen3MoeForCausalLM", 1, PITH__SAYS_WINDOW | PITH__SAYS_BIAS },
    { "qwen35", "qwen3_5_text", "Qwen3_5ForCausalLM", 0, PITH__SAYS_BIAS | PITH__SAYS_DELTA },
    { "qwen35moe", "qwen3_5_moe_text", "Qwen3_5MoeForCausalLM", 1, PITH__SAYS_BIAS | PITH__SAYS_DELTA },
    { "gemma", "gemma", "GemmaForCausalLM", 0, PITH__SAYS_GELU | PITH__SAYS_BIAS },
    { "gemma2", "gemma2", "Gemma2ForCausalLM", 0, GEMMA_SAYS },
    { "gemma3", "gemma3_text", "Gemma3ForCausalLM", 0, GEMMA_SAYS | PITH__SAYS_LOCAL },
    { "gemma4", "gemma4_text", "Gemma4ForCausalLM", -1,
      PITH__SAYS_GELU | PITH__SAYS_BIAS | PITH__SAYS_WINDOW | PITH__SAYS_TYPES | PITH__SAYS_GEMMA4 | PITH__SAYS_CAP |
      PITH__SAYS_TWO_ROPES },
    { "phi3", "phi3", "Phi3ForCausalLM", 0, PITH__SAYS_WINDOW | PITH__SAYS_PART },
    { "smollm3", "smollm3", "SmolLM3ForCausalLM", 0,
      PITH__SAYS_BIAS | PITH__SAYS_FFN_BIAS | PITH__SAYS_WINDOW | PITH__SAYS_TYPES | PITH__SAYS_NOPE },
    { "olmo2", "olmo2", "Olmo2ForCausalLM", 0, PITH__SAYS_BIAS },
    { "olmo2", "olmo3", "Olmo3ForCausalLM", 0, PITH__SAYS_BIAS | PITH__SAYS_WINDOW | PITH__SAYS_TYPES },
    { "olmoe", "olmoe", "OlmoeForCausalLM", 1, PITH__SAYS_BIAS },
    { "llama4", "llama4_text", "Llama4ForCausalLM", 1,
      PITH__SAYS_BIAS | PITH__SAYS_WINDOW | PITH__SAYS_TYPES | PITH__SAYS_LLAMA4 | PITH__SAYS_OWN_NOPE },
    { "glm4moe", "glm4_moe", "Glm4MoeForCausalLM", 1,
      PITH__SAYS_BIAS | PITH__SAYS_NO_O_BIAS | PITH__SAYS_PART | PITH__SAYS_QK_NORM },
    { "gpt-oss", "gpt_oss", "GptOssForCausalLM", 1,
      PITH__SAYS_BIAS | PITH__SAYS_WINDOW | PITH__SAYS_TYPES | PITH__SAYS_OSS },
    { "arcee", "arcee", "ArceeForCausalLM", 0, PITH__SAYS_BIAS | PITH__SAYS_FFN_BIAS | PITH__SAYS_RELU2 },
    { "hunyuan-dense", "hunyuan_v1_dense", "HunYuanDenseV1ForCausalLM", 0, PITH__SAYS_BIAS | PITH__SAYS_QK_NORM },
    { "ernie4_5", "ernie4_5", "Ernie4_5ForCausalLM", 0, PITH__SAYS_ALL_BIAS },
    { "glm4", "glm4", "Glm4ForCausalLM", 0, PITH__SAYS_BIAS | PITH__SAYS_NO_O_BIAS | PITH__SAYS_PART },
    { "cohere2", "cohere2", "Cohere2ForCausalLM", 0,
      PITH__SAYS_BIAS | PITH__SAYS_WINDOW | PITH__SAYS_TYPES | PITH__SAYS_LOGIT_SCALE | PITH__SAYS_OWN_NOPE },
    { "seed_oss", "seed_oss", "SeedOssForCausalLM", 0, PITH__SAYS_BIAS | PITH__SAYS_OUT_BIAS | PITH__SAYS_FFN_BIAS },
    { "exaone4", "exaone4", "Exaone4ForCausalLM", 0, PITH__SAYS_WINDOW | PITH__SAYS_TYPES | PITH__SAYS_OWN_NOPE },
    { "nanochat", "nanochat", "NanoChatForCausalLM", 0, PITH__SAYS_BIAS | PITH__SAYS_CAP | PITH__SAYS_RELU2 },
    { "granite", "granite", "GraniteForCausalLM", 0, PITH__SAYS_BIAS | PITH__SAYS_FFN_BIAS | PITH__SAYS_MULTIPLIERS },
    { "granitehybrid", "granitemoehybrid", "GraniteMoeHybridForCausalLM", -1,
      PITH__SAYS_BIAS | PITH__SAYS_MULTIPLIERS | PITH__SAYS_GRANITE4 | PITH__SAYS_OWN_NOPE },
    { "lfm2", "lfm2", "Lfm2ForCausalLM", 0, PITH__SAYS_LFM },
    { "lfm2moe", "lfm2_moe", "Lfm2MoeForCausalLM", 1, PITH__SAYS_LFM },
    { "lfm3", "lfm3", "Lfm3ForCausalLM", 0, PITH__SAYS_LFM | PITH__SAYS_TWO_ROPES },
    { "deepseek2", "deepseek_v2", "DeepseekV2ForCausalLM", 1, DEEPSEEK_SAYS },
    { "deepseek2", "deepseek_v3", "DeepseekV3ForCausalLM", 1, DEEPSEEK_SAYS },
    { "mistral4", "mistral4", "Mistral4ForCausalLM", 1, DEEPSEEK_SAYS | PITH__SAYS_TEMPERATURE },
};

/* ---- sizes ------------------------------------------------------------------------------------------------- */

static void say_eps(pith__saying *c) {
    int lfm = c->is->says & PITH__SAYS_LFM, layer = c->m->hyper.norm == PITH__LAYERNORM;
    pith__say_single(c, lfm ? "norm_eps" : layer ? "layer_norm_eps" : "rms_norm_eps", (double)c->m->hyper.eps);
}

static void say_sizes(pith__saying *c) {
    const pith__hyper *h = &c->m->hyper;
    unsigned says = c->is->says;
    const pith__routing *r = pith__hf_routing_of(c->is->type);
    pith__say_int(c, "vocab_size", h->n_vocab);
    pith__say_int(c, "hidden_size", h->n_embd);
    pith__say_int(c, "num_hidden_layers", h->n_layer);
    pith__say_int(c, "num_attention_heads", h->n_head);
    pith__say_int(c, "max_position_embeddings", h->n_ctx);
    if (!(says & (PITH__SAYS_LATENT | PITH__SAYS_GEMMA4))) pith__say_int(c, "head_dim", h->head_dim);
    if (!(says & PITH__SAYS_GEMMA4)) pith__say_int(c, "num_key_value_heads", h->latent.rank ? h->n_head : h->n_kv_head);
    int of_experts = r && h->n_expert && !r->wide, n_ff = of_experts ? h->n_ff_expert : h->n_ff;
    if (!(says & (PITH__SAYS_GEMMA4 | PITH__SAYS_LLAMA4))) pith__say_int(c, "intermediate_size", n_ff);
    for (int l = 0; l < h->n_layer; l++)
        if (!(says & PITH__SAYS_GEMMA4) && !c->m->layer[l].router.tensor.data && c->m->layer[l].n_ff != h->n_ff)
            pith__no_field(c, "the widths of its networks");
    say_eps(c);
    const char *act = says & PITH__SAYS_GELU ? "gelu_pytorch_tanh" : says & PITH__SAYS_RELU2 ? "relu2" : "silu";
    pith__say_word(c, "hidden_act", act);
    if (says & PITH__SAYS_GELU) pith__say_word(c, "hidden_activation", act);
    pith__say_flag(c, "tie_word_embeddings", !pith__saying_has(c, "output.weight"));
}

static int has_bias_of(const pith__saying *c, const char *part) { /* in some layer */
    char name[48];
    int has = 0;
    for (int l = 0; l < c->m->hyper.n_layer && !has; l++)
        snprintf(name, sizeof name, "blk.%d.%s.bias", l, part), has = pith__saying_has(c, name);
    return has;
}

static void say_biases(pith__saying *c) {
    unsigned says = c->is->says;
    int qkv = has_bias_of(c, "attn_q") || has_bias_of(c, "attn_qkv"), o = has_bias_of(c, "attn_output"),
        ffn = has_bias_of(c, "ffn_down");
    int free = says & PITH__SAYS_OUT_BIAS, never = says & PITH__SAYS_NO_O_BIAS;
    if (says & PITH__SAYS_QKV_BIAS) {
        if (!qkv || o) pith__no_field(c, "the biases of attention");
    } else if (says & PITH__SAYS_ALL_BIAS) {
        if (qkv != o || qkv != ffn) pith__no_field(c, "its biases");
        pith__say_flag(c, "use_bias", qkv);
    } else if ((never ? o : !free && qkv != o) || ((qkv || o) && !(says & PITH__SAYS_BIAS))) {
        pith__no_field(c, "the biases of attention");
    } else {
        pith__say_flag(c, "attention_bias", qkv);
    }
    if (free) pith__say_flag(c, "attention_out_bias", o);
    if (ffn && !(says & (PITH__SAYS_FFN_BIAS | PITH__SAYS_ALL_BIAS)))
        pith__no_field(c, "the biases of the feed-forward network");
    if (says & PITH__SAYS_FFN_BIAS) pith__say_flag(c, "mlp_bias", ffn);
    if (says & PITH__SAYS_QK_NORM) pith__say_flag(c, "use_qk_norm", c->m->layer->q_norm.w.floats != NULL);
}

static int is_same_scale(double a, double b) { return fabs(a - b) <= 1e-6 * fabs(b); }

static void say_cap(pith__saying *c, const char *name, double cap) {
    if (cap > 0) pith__say_single(c, name, cap);
    else pith__say(c->to, ",\n  \"%s\": null", name);
}

static void say_scales(pith__saying *c) {
    const pith__hyper *h = &c->m->hyper;
    unsigned says = c->is->says;
    double scalar = 1 / (h->attn_scale * h->attn_scale), usual = says & PITH__SAYS_GEMMA4 ? 1 : h->head_dim;
    if (fabs(scalar - round(scalar)) < 1e-4 * scalar) scalar = round(scalar);
    int whole = !(scalar < round(scalar) || scalar > round(scalar)) && scalar < 1e9,
        said = pith__saying_key(c, "attention.scale") != NULL;
    if (says & PITH__SAYS_SCALAR && whole) pith__say_int(c, "query_pre_attn_scalar", (long long)scalar);
    else if (says & PITH__SAYS_SCALAR) pith__say_float(c, "query_pre_attn_scalar", scalar);
    else if (!(says & PITH__SAYS_MULTIPLIERS) && said && !is_same_scale(scalar, usual))
        pith__no_field(c, "attention.scale");
    if (says & PITH__SAYS_CAPS) say_cap(c, "attn_logit_softcapping", (double)h->attn_softcap);
    if (says & (PITH__SAYS_CAPS | PITH__SAYS_CAP)) say_cap(c, "final_logit_softcapping", (double)h->logit_softcap);
    else if (h->logit_softcap > 0) pith__no_field(c, "final_logit_softcapping");
    if (says & PITH__SAYS_LOGIT_SCALE) pith__say_single(c, "logit_scale", (double)h->logit_scale);
    if (says & PITH__SAYS_MULTIPLIERS) {
        pith__say_single(c, "attention_multiplier", h->attn_scale);
        pith__say_single(c, "embedding_multiplier", (double)h->embd_scale);
        pith__say_single(c, "residual_multiplier", (double)h->residual_scale);
        pith__say_single(c, "logits_scaling", pith__saying_float(c, "logit_scale", 1));
    } else if (!is_same_scale((double)h->residual_scale, 1) || (!(says & PITH__SAYS_LOGIT_SCALE) &&
                                                             !is_same_scale((double)h->logit_scale, 1)) ||
               (!(says & PITH__SAYS_GELU) && !is_same_scale((double)h->embd_scale, 1))) {
        pith__no_field(c, "its scales");
    }
}

/* ---- which layers differ ------------------------------------------------------------------------------- */

static const char *kind_of_window(const pith_model *m, int l) {
    const pith__mask *mask = &m->layer[l].mask;
    return !mask->window ? "\"full_attention\"" : mask->chunk ? "\"chunked_attention\"" : "\"sliding_attention\"";
}

static void say_windows(pith__saying *c) {
    const pith_model *m = c->m;
    unsigned says = c->is->says, hybrid = PITH__SAYS_LFM | PITH__SAYS_TYPES;
    int n = m->hyper.n_layer, window = 0, n_windowed = 0, chunks = says & PITH__SAYS_LLAMA4;
    for (int l = 0; l < n; l++)
        if (m->layer[l].mask.window) window = m->layer[l].mask.window, n_windowed++;
    if (!(says & (PITH__SAYS_WINDOW | PITH__SAYS_LFM)) ? n_windowed : !(says & hybrid) && n_windowed && n_windowed < n)
        pith__no_field(c, "its windows");
    if (!(says & PITH__SAYS_WINDOW)) return;
    if (window) pith__say_int(c, chunks ? "attention_chunk_size" : "sliding_window", window);
    else pith__say(c->to, ",\n  \"%s\": null", chunks ? "attention_chunk_size" : "sliding_window");
    if (!chunks) pith__say_flag(c, "use_sliding_window", window > 0 || (says & PITH__SAYS_GELU));
    if (!(says & PITH__SAYS_TYPES)) return;
    pith__say_layers(c, "layer_types", kind_of_window);
    if (window && !(says & (PITH__SAYS_GELU | PITH__SAYS_NOPE))) pith__say_int(c, "max_window_layers", n);
}

static void say_unrotated(pith__saying *c) {
    const pith_model *m = c->m;
    int n_plain = 0;
    for (int l = 0; l < m->hyper.n_layer; l++) n_plain += m->layer[l].rope < 0;
    if (n_plain && !(c->is->says & (PITH__SAYS_NOPE | PITH__SAYS_OWN_NOPE)))
        pith__no_field(c, "layers without rotation");
    if (!(c->is->says & PITH__SAYS_NOPE)) return;
    pith__say(c->to, ",\n  \"no_rope_layers\": [");
    for (int l = 0; l < m->hyper.n_layer; l++) pith__say(c->to, "%s%d", l ? ", " : "", m->layer[l].rope >= 0);
    pith__say(c->to, "]");
}

/* ---- both files --------------------------------------------------------------------------------------------- */

static void say_ids(pith__saying *c) {
    const pith__vocab *v = &c->m->store.vocab;
    const pith__key *pad = pith__store_key(&c->m->store, "tokenizer.ggml.padding_token_id");
    if (pad && pad->type == PITH__INT && pad->i >= 0 && pad->i < c->m->hyper.n_vocab)
        pith__say_int(c, "pad_token_id", (long long)pad->i);
    else pith__say(c->to, ",\n  \"pad_token_id\": null"); /* the default of a class may be no token here */
    if (v->model == PITH__NONE) return;
    if (v->bos >= 0) pith__say_int(c, "bos_token_id", v->bos);
    if (v->n_end == 0) return;
    pith__say(c->to, ",\n  \"eos_token_id\": %s", v->n_end > 1 ? "[" : "");
    for (int i = 0; i < v->n_end; i++) pith__say(c->to, "%s%d", i ? ", " : "", v->end[i]);
    if (v->n_end > 1) pith__say(c->to, "]");
}

/* Of classes for one architecture the one that computes this. */
static int is_of_class(const pith_model *m, const pith__hf_class *k) {
    int windows = 0, plain = 0;
    for (int l = 0; l < m->hyper.n_layer; l++) windows |= m->layer[l].mask.window, plain |= m->layer[l].rope < 0;
    if (!strcmp(k->type, "llama") || !strcmp(k->type, "olmo2")) return !windows;
    if (!strcmp(k->type, "mistral") || !strcmp(k->type, "olmo3")) return windows != 0;
    if (!strcmp(k->type, "deepseek_v2"))
        return !m->hyper.expert_sigmoid; /* V3's class can do what GLM-4.7-Flash does */
    return strcmp(k->type, "granite") != 0 || !plain;
}

static int find_class(pith__saying *c) {
    for (size_t i = 0; i < sizeof hf_classes / sizeof *hf_classes && !c->is; i++) {
        const pith__hf_class *k = &hf_classes[i];
        int experts = k->experts < 0 || k->experts == (c->m->hyper.n_expert > 0);
        if (!strcmp(k->arch, c->m->hyper.arch) && experts && is_of_class(c->m, k)) c->is = k;
    }
    if (c->is) return PITH_OK;
    return c->code = pith__fail(c->err, PITH_EARCH, "%s: no class of transformers is known here for %s", c->folder,
                                c->m->store.path);
}

PITH_SHARED const char *pith__folder_config(const pith_model *m, const pith__format *dtype, const char *folder,
                                            pith__said *to,
                                            pith_error *err) {
    pith__saying c = { .m = m, .folder = folder, .to = to, .err = err };
    if (find_class(&c)) return NULL;
    const char *type = dtype->id == PITH__F32 ? "float32" : dtype->id == PITH__F16 ? "float16" : "bfloat16";
    pith__say(to, "{\n  \"architectures\": [\"%s\"]", c.is->name);
    pith__say_word(&c, "model_type", c.is->type);
    say_sizes(&c);
    say_biases(&c);
    pith__say_experts(&c);
    say_scales(&c);
    say_windows(&c);
    say_unrotated(&c);
    pith__say_rope(&c);
    pith__say_kinds(&c);
    say_ids(&c);
    pith__say_word(&c, "torch_dtype", type);
    pith__say_about(&c);
    pith__say(to, "\n}\n");
    if (to->failed && !c.code) c.code = pith__fail(err, PITH_EMEMORY, "%s: no memory to write it", folder);
    return c.code ? NULL : c.is->type;
}

/* How the vector of a text is made, as sentence-transformers has it; nothing where the model's file does not say. */
PITH_SHARED void pith__folder_steps(const pith_model *m, pith__said *modules, pith__said *pooling) {
    static const char *const modes[] = { "cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens",
                                         "lasttoken" }; /* as bits 1, 2, 4, ... are in model.h */
    enum { RANK = 4 }; /* GGUF's number for a score instead of a vector */
    const pith__saying c = { .m = m };
    const pith__key *type = pith__saying_key(&c, "pooling_type");
    const pith_embedding *how = &m->pooling.how;
    if (!m->pooling.said || (type && type->i == RANK)) return;
    pith__say(modules, "[\n  {\"idx\": 0, \"name\": \"0\", \"path\": \"\", \"type\": \"sentence_transformers.models.Transformer\"},\n"
              "  {\"idx\": 1, \"name\": \"1\", \"path\": \"1_Pooling\", \"type\": \"sentence_transformers.models.Pooling\"}");
    if (how->normalize)
        pith__say(modules, ",\n  {\"idx\": 2, \"name\": \"2\", \"path\": \"2_Normalize\", \"type\": "
                           "\"sentence_transformers.models.Normalize\"}");
    pith__say(modules, "\n]\n");
    pith__say(pooling, "{\n  \"word_embedding_dimension\": %d", m->hyper.n_embd);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        pith__say(pooling, ",\n  \"pooling_mode_%s\": %s", modes[i], how->pooling >> i & 1 ? "true" : "false");
    pith__say(pooling, ",\n  \"include_prompt\": %s\n}\n", how->skip_prompt ? "false" : "true");
}

/* What a model's file advises for sampling; nothing where it does not. */
PITH_SHARED void pith__folder_generation(const pith_model *m, pith__said *to) {
    static const struct { const char *key, *name; int whole; } advice[] = {
        { "pith.temperature", "temperature", 0 }, { "pith.top_k", "top_k", 1 }, { "pith.top_p", "top_p", 0 },
        { "pith.min_p", "min_p", 0 }, { "pith.repeat_penalty", "repetition_penalty", 0 },
    };
    pith__saying c = { .m = m, .to = to };
    int n = 0;
    pith__say(to, "{\n  \"transformers_version\": \"4.50.0\"");
    say_ids(&c);
    for (size_t i = 0; i < sizeof advice / sizeof *advice; i++) {
        const pith__key *k = pith__store_key(&m->store, advice[i].key);
        if (!k || (k->type != PITH__FLOAT && k->type != PITH__INT)) continue;
        if (!strcmp(advice[i].name, "temperature")) pith__say_flag(&c, "do_sample", k->f > 0);
        if (!n++ && !(k->f > 0)) continue; /* a temperature of 0 */
        if (advice[i].whole) pith__say_int(&c, advice[i].name, (long long)k->f);
        else pith__say_single(&c, advice[i].name, k->f);
    }
    pith__say(to, "\n}\n");
}
