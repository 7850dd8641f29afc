/* folderconfig.c - an open model -> config.json and generation_config.json of a Hugging Face folder.
 *
 * The way back from GGUF: what families.c made of the keys is said as transformers' classes have it, so that reading the
 * folder (formats/hfconfig.c) gives the same values. What a class has no field for is refused. */
#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { /* what a class reads, beyond the common fields */
    SAYS_SCALAR = 1, SAYS_CAPS = 2, SAYS_TYPES = 4, SAYS_WINDOW = 8, SAYS_NOPE = 16, SAYS_MULTIPLIERS = 32, SAYS_LOCAL = 64,
    SAYS_PART = 128, SAYS_BIAS = 256, SAYS_QKV_BIAS = 512, SAYS_GELU = 1024, SAYS_FFN_BIAS = 2048
};

static const struct pith__hf_class {
    const char *arch, *type, *name; /* GGUF's, model_type, the class */
    int experts;
    unsigned says;
} hf_classes[] = {
    { "llama", "llama", "LlamaForCausalLM", 0, SAYS_BIAS | SAYS_FFN_BIAS },
    { "llama", "mistral", "MistralForCausalLM", 0, SAYS_WINDOW },
    { "llama", "mixtral", "MixtralForCausalLM", 1, SAYS_WINDOW },
    { "qwen2", "qwen2", "Qwen2ForCausalLM", 0, SAYS_WINDOW | SAYS_TYPES | SAYS_QKV_BIAS },
    { "qwen3", "qwen3", "Qwen3ForCausalLM", 0, SAYS_WINDOW | SAYS_TYPES | SAYS_BIAS },
    { "qwen3moe", "qwen3_moe", "Qwen3MoeForCausalLM", 1, SAYS_WINDOW | SAYS_BIAS },
    { "gemma", "gemma", "GemmaForCausalLM", 0, SAYS_GELU | SAYS_BIAS },
    { "gemma2", "gemma2", "Gemma2ForCausalLM", 0,
      SAYS_GELU | SAYS_BIAS | SAYS_WINDOW | SAYS_TYPES | SAYS_SCALAR | SAYS_CAPS },
    { "gemma3", "gemma3_text", "Gemma3ForCausalLM", 0,
      SAYS_GELU | SAYS_BIAS | SAYS_WINDOW | SAYS_TYPES | SAYS_SCALAR | SAYS_CAPS | SAYS_LOCAL },
    { "phi3", "phi3", "Phi3ForCausalLM", 0, SAYS_WINDOW | SAYS_PART },
    { "smollm3", "smollm3", "SmolLM3ForCausalLM", 0, SAYS_BIAS | SAYS_FFN_BIAS | SAYS_WINDOW | SAYS_TYPES | SAYS_NOPE },
    { "olmo2", "olmo2", "Olmo2ForCausalLM", 0, SAYS_BIAS },
    { "granite", "granite", "GraniteForCausalLM", 0, SAYS_BIAS | SAYS_FFN_BIAS | SAYS_MULTIPLIERS },
};

typedef struct {         /* config.json on its way */
    const pith_model *m;
    const struct pith__hf_class *is;
    const char *folder;
    pith__said *to;
    pith_error *err;
    int code;
} hf_config;

static void no_field(hf_config *c, const char *what) {
    if (!c->code) c->code = pith__fail(c->err, PITH_EARCH, "%s: the class %s has no field for %s of %s", c->folder, c->is->name,
                                       what, c->m->store.path);
}

static void say_int(hf_config *c, const char *name, long long i) { pith__say(c->to, ",\n  \"%s\": %lld", name, i); }
static void say_flag(hf_config *c, const char *name, int yes) { pith__say(c->to, ",\n  \"%s\": %s", name, yes ? "true" : "false"); }
static void say_word(hf_config *c, const char *name, const char *s) { pith__say(c->to, ",\n  \"%s\": \"%s\"", name, s); }

/* With as many digits as give the same number again. An integer has a point, as Python's floats have. */
static void say_decimal(pith__said *to, double y) {
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, y);
        double again = strtod(text, NULL);
        if (!(again < y || again > y)) break;
    }
    pith__say(to, "%s%s", text, strpbrk(text, ".en") ? "" : ".0");
}

static void say_float(hf_config *c, const char *name, double y) {
    pith__say(c->to, ",\n  \"%s\": ", name);
    say_decimal(c->to, y);
}

static const pith__key *own_key(const hf_config *c, const char *name) {
    char full[128];
    snprintf(full, sizeof full, "%s.%s", c->m->hyper.arch, name);
    return pith__store_key(&c->m->store, full);
}

static double own_float(const hf_config *c, const char *name, double otherwise) {
    const pith__key *k = own_key(c, name);
    return k && (k->type == PITH__FLOAT || k->type == PITH__INT) && k->f != 0 ? k->f : otherwise;
}

/* A float32 of the file, as the shortest decimal that gives it again. */
static double short_decimal(double y) {
    char text[40];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, y);
        double again = strtod(text, NULL);
        if (!((float)again < (float)y || (float)again > (float)y)) return again;
    }
    return y;
}

static void say_single(hf_config *c, const char *name, double y) { say_float(c, name, short_decimal(y)); }

/* ---- sizes ------------------------------------------------------------------------------------------------- */

static int has_tensor(const hf_config *c, const char *name) { return pith__store_tensor(&c->m->store, name) != NULL; }

static void say_sizes(hf_config *c) {
    const pith__hyper *h = &c->m->hyper;
    say_int(c, "vocab_size", h->n_vocab);
    say_int(c, "hidden_size", h->n_embd);
    say_int(c, "intermediate_size", h->n_ff);
    say_int(c, "num_hidden_layers", h->n_layer);
    say_int(c, "num_attention_heads", h->n_head);
    say_int(c, "num_key_value_heads", h->n_kv_head);
    say_int(c, "head_dim", h->head_dim);
    say_int(c, "max_position_embeddings", h->n_ctx);
    say_single(c, "rms_norm_eps", (double)h->eps);
    const char *act = c->is->says & SAYS_GELU ? "gelu_pytorch_tanh" : "silu";
    say_word(c, "hidden_act", act);
    if (c->is->says & SAYS_GELU) say_word(c, "hidden_activation", act);
    say_flag(c, "tie_word_embeddings", !has_tensor(c, "output.weight"));
}

static void say_biases(hf_config *c) {
    int qkv = has_tensor(c, "blk.0.attn_q.bias") || has_tensor(c, "blk.0.attn_qkv.bias");
    int o = has_tensor(c, "blk.0.attn_output.bias"), ffn = has_tensor(c, "blk.0.ffn_down.bias");
    if (c->is->says & SAYS_QKV_BIAS) {
        if (!qkv || o) no_field(c, "the biases of attention");
    } else if (qkv != o || (qkv && !(c->is->says & SAYS_BIAS))) {
        no_field(c, "the biases of attention");
    } else {
        say_flag(c, "attention_bias", qkv);
    }
    if (ffn && !(c->is->says & SAYS_FFN_BIAS)) no_field(c, "the biases of the feed-forward network");
    if (c->is->says & SAYS_FFN_BIAS) say_flag(c, "mlp_bias", ffn);
}

static void say_experts(hf_config *c) {
    const pith__hyper *h = &c->m->hyper;
    int mixtral = !strcmp(c->is->type, "mixtral");
    if (!c->is->experts) return;
    say_int(c, mixtral ? "num_local_experts" : "num_experts", h->n_expert);
    say_int(c, "num_experts_per_tok", h->n_expert_used);
    if (mixtral && (!h->expert_norm || h->n_ff_expert != h->n_ff)) no_field(c, "its experts");
    if (mixtral) return;
    say_int(c, "moe_intermediate_size", h->n_ff_expert);
    say_flag(c, "norm_topk_prob", h->expert_norm);
    say_int(c, "decoder_sparse_step", 1);
    pith__say(c->to, ",\n  \"mlp_only_layers\": []");
}

static int is_near_to(double a, double b) { return fabs(a - b) <= 1e-6 * fabs(b); }

static void say_scales(hf_config *c) {
    const pith__hyper *h = &c->m->hyper;
    double scalar = 1 / (h->attn_scale * h->attn_scale), usual = h->head_dim;
    if (fabs(scalar - round(scalar)) < 1e-4 * scalar) scalar = round(scalar);
    int whole = !(scalar < round(scalar) || scalar > round(scalar)) && scalar < 1e9;
    if (c->is->says & SAYS_SCALAR && whole) say_int(c, "query_pre_attn_scalar", (long long)scalar);
    else if (c->is->says & SAYS_SCALAR) say_float(c, "query_pre_attn_scalar", scalar);
    else if (!(c->is->says & SAYS_MULTIPLIERS) && !is_near_to(scalar, usual)) no_field(c, "attention.scale");
    if (c->is->says & SAYS_CAPS) {
        const char *const names[] = { "attn_logit_softcapping", "final_logit_softcapping" };
        const float caps[] = { h->attn_softcap, h->logit_softcap };
        for (int i = 0; i < 2; i++)
            if (caps[i] > 0) say_single(c, names[i], (double)caps[i]);
            else pith__say(c->to, ",\n  \"%s\": null", names[i]);
    }
    if (c->is->says & SAYS_MULTIPLIERS) {
        say_single(c, "attention_multiplier", h->attn_scale);
        say_single(c, "embedding_multiplier", (double)h->embd_scale);
        say_single(c, "residual_multiplier", (double)h->residual_scale);
        say_single(c, "logits_scaling", own_float(c, "logit_scale", 1));
    } else if (!is_near_to((double)h->residual_scale, 1) || !is_near_to((double)h->logit_scale, 1) ||
               (!(c->is->says & SAYS_GELU) && !is_near_to((double)h->embd_scale, 1))) {
        no_field(c, "its scales");
    }
}

/* ---- which layers differ ------------------------------------------------------------------------------- */

static void say_windows(hf_config *c) {
    const pith_model *m = c->m;
    int n = m->hyper.n_layer, window = 0, n_windowed = 0;
    for (int l = 0; l < n; l++)
        if (m->layer[l].mask.window) window = m->layer[l].mask.window, n_windowed++;
    if (!(c->is->says & SAYS_WINDOW) ? n_windowed : !(c->is->says & SAYS_TYPES) && n_windowed && n_windowed < n)
        no_field(c, "its windows");
    if (!(c->is->says & SAYS_WINDOW)) return;
    if (window) say_int(c, "sliding_window", window);
    else pith__say(c->to, ",\n  \"sliding_window\": null");
    say_flag(c, "use_sliding_window", window > 0 || (c->is->says & SAYS_GELU));
    if (!(c->is->says & SAYS_TYPES)) return;
    pith__say(c->to, ",\n  \"layer_types\": [");
    for (int l = 0; l < n; l++)
        pith__say(c->to, "%s\"%s_attention\"", l ? ", " : "", m->layer[l].mask.window ? "sliding" : "full");
    pith__say(c->to, "]");
    if (window && (c->is->says & SAYS_TYPES) && !(c->is->says & (SAYS_GELU | SAYS_NOPE))) say_int(c, "max_window_layers", n);
}

static void say_unrotated(hf_config *c) {
    const pith_model *m = c->m;
    int n_plain = 0;
    for (int l = 0; l < m->hyper.n_layer; l++) n_plain += m->layer[l].rope < 0;
    if (n_plain && !(c->is->says & SAYS_NOPE)) no_field(c, "layers without rotation");
    if (!(c->is->says & SAYS_NOPE)) return;
    pith__say(c->to, ",\n  \"no_rope_layers\": [");
    for (int l = 0; l < m->hyper.n_layer; l++) pith__say(c->to, "%s%d", l ? ", " : "", m->layer[l].rope >= 0);
    pith__say(c->to, "]");
}

/* ---- rotation --------------------------------------------------------------------------------------------- */

static void say_factors(hf_config *c, const char *field, const char *tensor) {
    const pith__tensor *t = pith__store_tensor(&c->m->store, tensor);
    float *y = t && t->rows == 1 ? malloc(t->cols * sizeof *y) : NULL;
    if (!y) no_field(c, tensor);
    else pith__row_floats(t, 0, y);
    pith__say(c->to, ", \"%s\": [", field);
    for (size_t i = 0; y && i < t->cols; i++) {
        if (i) pith__say(c->to, ", ");
        say_decimal(c->to, short_decimal((double)y[i]));
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
    for (double c = 64; context < 1 && c < 1e7 && !is_llama3(p, theta, y, n); c *= 1.1) p->context = round(c);
    return is_llama3(p, theta, y, n);
}

static void say_llama3(hf_config *c, double theta) {
    const pith__tensor *t = pith__store_tensor(&c->m->store, "rope_freqs.weight");
    float y[512];
    int n = c->m->hyper.n_rot / 2;
    llama3_rope p;
    if (n > 512 || t->cols != (size_t)n) {
        no_field(c, "rope_freqs.weight");
        return;
    }
    pith__row_floats(t, 0, y);
    if (!solve_llama3(&p, theta, y, n)) no_field(c, "rope_freqs.weight");
    pith__say(c->to, ",\n  \"rope_scaling\": {\"rope_type\": \"llama3\", \"original_max_position_embeddings\": %.0f, \"factor\": ",
              p.context);
    say_decimal(c->to, p.factor);
    pith__say(c->to, ", \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0}");
}

static void say_yarn(hf_config *c, double factor) {
    const pith__key *truncate = own_key(c, "rope.scaling.yarn_truncate");
    double attention = own_float(c, "rope.scaling.attn_factor", 1);
    pith__say(c->to, ", \"beta_fast\": ");
    say_decimal(c->to, short_decimal(own_float(c, "rope.scaling.yarn_beta_fast", 32)));
    pith__say(c->to, ", \"beta_slow\": ");
    say_decimal(c->to, short_decimal(own_float(c, "rope.scaling.yarn_beta_slow", 1)));
    if (truncate && !truncate->i) pith__say(c->to, ", \"truncate\": false");
    if (is_near_to(attention, 1)) return;
    pith__say(c->to, ", \"attention_factor\": ");
    say_decimal(c->to, attention * (factor > 1 ? 0.1 * log(factor) + 1 : 1));
}

static void say_scaling(hf_config *c, double theta) {
    const pith__key *k = own_key(c, "rope.scaling.type"), *limit = pith__store_key(&c->m->store, "pith.context_limit");
    double factor = short_decimal(own_float(c, "rope.scaling.factor", own_float(c, "rope.scale_linear", 1)));
    int longrope = (k && pith__str_is(k->s, "longrope")) || has_tensor(c, "rope_factors_long.weight"), yarn = k && pith__str_is(k->s, "yarn");
    int linear = !longrope && !yarn && !is_near_to(factor, 1) && (!k || pith__str_is(k->s, "linear"));
    int llama3 = has_tensor(c, "rope_freqs.weight"), scaled = linear || yarn || longrope;
    if (llama3 && !scaled) say_llama3(c, theta);
    else if (limit) pith__say(c->to, ",\n  \"rope_scaling\": {\"rope_type\": \"dynamic\", \"factor\": 1.0}");
    if ((llama3 && scaled) || (longrope && strcmp(c->is->type, "phi3") != 0)) no_field(c, "its rotation");
    if (!scaled || c->code) return;
    if (longrope) say_int(c, "original_max_position_embeddings", c->m->n_ctx_original);
    pith__say(c->to, ",\n  \"rope_scaling\": {\"%s\": \"%s\"", longrope ? "type" : "rope_type",
              longrope ? "longrope" : yarn ? "yarn" : "linear");
    if (longrope) {
        say_factors(c, "short_factor", "rope_factors_short.weight");
        say_factors(c, "long_factor", "rope_factors_long.weight");
        pith__say(c->to, ", \"attention_factor\": ");
        say_decimal(c->to, own_float(c, "rope.scaling.attn_factor", 1));
    } else {
        pith__say(c->to, ", \"factor\": ");
        say_decimal(c->to, factor);
        if (yarn) pith__say(c->to, ", \"original_max_position_embeddings\": %d", c->m->n_ctx_original);
        if (yarn) say_yarn(c, factor);
    }
    pith__say(c->to, "}");
}

static void say_rope(hf_config *c) {
    const pith__hyper *h = &c->m->hyper;
    double theta = own_float(c, "rope.freq_base", 10000);
    say_single(c, "rope_theta", theta);
    if (c->is->says & SAYS_LOCAL) say_single(c, "rope_local_base_freq", own_float(c, "rope.freq_base_swa", 10000));
    if (h->n_rot != h->head_dim && !(c->is->says & SAYS_PART)) no_field(c, "a part of the head that is rotated");
    if (c->is->says & SAYS_PART) say_float(c, "partial_rotary_factor", (double)h->n_rot / h->head_dim);
    say_scaling(c, theta);
}

/* ---- both files --------------------------------------------------------------------------------------------- */

static void say_ids(hf_config *c) {
    const pith__vocab *v = &c->m->store.vocab;
    if (v->model == PITH__NONE) return;
    if (v->bos >= 0) say_int(c, "bos_token_id", v->bos);
    if (v->n_end == 0) return;
    pith__say(c->to, ",\n  \"eos_token_id\": %s", v->n_end > 1 ? "[" : "");
    for (int i = 0; i < v->n_end; i++) pith__say(c->to, "%s%d", i ? ", " : "", v->end[i]);
    if (v->n_end > 1) pith__say(c->to, "]");
}

static int find_class(hf_config *c) {
    int windows = 0;
    for (int l = 0; l < c->m->hyper.n_layer; l++) windows |= c->m->layer[l].mask.window;
    for (size_t i = 0; i < sizeof hf_classes / sizeof *hf_classes && !c->is; i++) {
        const struct pith__hf_class *k = &hf_classes[i];
        int mistral = !strcmp(k->type, "mistral"), llama = !strcmp(k->type, "llama");
        if (strcmp(k->arch, c->m->hyper.arch) != 0 || k->experts != (c->m->hyper.n_expert > 0)) continue;
        if ((llama && windows) || (mistral && !windows)) continue;
        c->is = k;
    }
    if (c->is) return PITH_OK;
    return c->code = pith__fail(c->err, PITH_EARCH, "%s: no class of transformers is known here for %s", c->folder,
                                c->m->store.path);
}

PITH_SHARED const char *pith__folder_config(const pith_model *m, const pith__format *dtype, const char *folder, pith__said *to,
                                            pith_error *err) {
    hf_config c = { .m = m, .folder = folder, .to = to, .err = err };
    if (find_class(&c)) return NULL;
    const char *type = dtype->id == PITH__F32 ? "float32" : dtype->id == PITH__F16 ? "float16" : "bfloat16";
    pith__say(to, "{\n  \"architectures\": [\"%s\"]", c.is->name);
    say_word(&c, "model_type", c.is->type);
    say_sizes(&c);
    say_biases(&c);
    say_experts(&c);
    say_scales(&c);
    say_windows(&c);
    say_unrotated(&c);
    say_rope(&c);
    say_ids(&c);
    say_word(&c, "torch_dtype", type);
    pith__say(to, "\n}\n");
    if (to->failed && !c.code) c.code = pith__fail(err, PITH_EMEMORY, "%s: no memory to write it", folder);
    return c.code ? NULL : c.is->type;
}

/* What a model's file advises for sampling; nothing where it does not. */
PITH_SHARED void pith__folder_generation(const pith_model *m, pith__said *to) {
    static const struct { const char *key, *name; int whole; } advice[] = {
        { "pith.temperature", "temperature", 0 }, { "pith.top_k", "top_k", 1 }, { "pith.top_p", "top_p", 0 },
        { "pith.min_p", "min_p", 0 }, { "pith.repeat_penalty", "repetition_penalty", 0 },
    };
    hf_config c = { .m = m, .to = to };
    int n = 0;
    pith__say(to, "{\n  \"transformers_version\": \"4.50.0\"");
    say_ids(&c);
    for (size_t i = 0; i < sizeof advice / sizeof *advice; i++) {
        const pith__key *k = pith__store_key(&m->store, advice[i].key);
        if (!k || (k->type != PITH__FLOAT && k->type != PITH__INT)) continue;
        if (!strcmp(advice[i].name, "temperature")) say_flag(&c, "do_sample", k->f > 0);
        if (!n++ && !(k->f > 0)) continue; /* a temperature of 0 */
        if (advice[i].whole) say_int(&c, advice[i].name, (long long)k->f);
        else say_single(&c, advice[i].name, k->f);
    }
    pith__say(to, "\n}\n");
}
