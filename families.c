/* families.c - a family of models is one row; the file's keys become hyper-parameters.
 *
 * Gets the keys of the store, under GGUF's names; gives pith__hyper, the tables of rotation (RoPE: Su et
 * al. 2021, arXiv:2104.09864) and which layers see only a window. bind.c binds the weights. */
#include "internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- families -------------------------------------------------------------------------------------- */

enum { GEMMA = PITH__HALF | PITH__GELU_FFN | PITH__SCALE_EMBD, /* what the Gemmas share, */
       DECODER = PITH__PRE_NORM | PITH__LAYER_NORM | PITH__UNGATED, /* GPT-2 and GPT-NeoX, */
       QWEN35 = PITH__HEAD_GATES | PITH__FFN_POST_NAME,
       ENCODER = PITH__OUT_NORM | PITH__LAYER_NORM | PITH__TYPES | PITH__EMBD_NORM | PITH__BOTH_WAYS }; /* and BERTs */

static const pith__family families[] = {
    { "llama", PITH__PRE_NORM | PITH__EXPERTS, .window_period = 1 },
    { "mistral3", PITH__PRE_NORM | PITH__EXPERTS, .window_period = 1 },
    { "qwen2", PITH__PRE_NORM | PITH__HALF, .window_period = 1 },
    { "qwen3", PITH__PRE_NORM | PITH__HALF | PITH__QK_NORM, .window_period = 1 },
    { "qwen2moe", PITH__PRE_NORM | PITH__HALF | PITH__EXPERTS, .window_period = 1, .experts = PITH__PLAIN_EXPERTS },
    { "qwen3moe", PITH__PRE_NORM | PITH__HALF | PITH__QK_NORM | PITH__EXPERTS, .window_period = 1 },
    { "gemma", GEMMA | PITH__PRE_NORM, .window_period = 1 },
    { "gemma2", GEMMA | PITH__PRE_NORM | PITH__POST_NORM | PITH__SOFTCAP,
      .window_period = 2, .window = 4096, .wide_layers = 46 },
    { "gemma3", GEMMA | PITH__PRE_NORM | PITH__POST_NORM | PITH__QK_NORM,
      .window_period = 6, .window = 1024, .local_base = 10000, .wide_layers = 62 },
    { "gemma-embedding", GEMMA | PITH__PRE_NORM | PITH__POST_NORM | PITH__QK_NORM | PITH__BOTH_WAYS,
      .window_period = 6, .window = 512, .local_base = 10000 },
    { "gemma4", GEMMA | PITH__PRE_NORM | PITH__POST_NORM | PITH__QK_NORM | PITH__V_NORM | PITH__PLE | PITH__EXPERTS,
      .experts = PITH__EXPERTS_BESIDE, .attn_scale = 1 },
    { "phi3", PITH__PRE_NORM | PITH__HALF | PITH__FUSED, .window_period = 1 },
    { "smollm3", PITH__PRE_NORM, .window_period = 1, .rope_period = 4 },
    { "olmo2", PITH__POST_NORM | PITH__HALF | PITH__QK_NORM | PITH__QK_NORM_WHOLE,
      .window_period = 4, .local_base = -1 },
    { "olmoe", PITH__PRE_NORM | PITH__HALF | PITH__QK_NORM | PITH__QK_NORM_WHOLE | PITH__EXPERTS, .window_period = 1,
      .experts = PITH__PLAIN_EXPERTS },
    { "llama4", PITH__PRE_NORM | PITH__EXPERTS | PITH__QK_NORM_LATE, .window_period = 4, .window = 8192, .chunked = 1, .rope_period = 4,
      .temperature = 0.1, .experts = PITH__SIGMOID_EXPERTS | PITH__PLAIN_EXPERTS | PITH__EXPERTS_BEFORE },
    { "glm4moe", PITH__PRE_NORM | PITH__FFN_POST_NAME | PITH__HALF | PITH__MAYBE_QK_NORM | PITH__EXPERTS, .window_period = 1,
      .experts = PITH__SIGMOID_EXPERTS, .expert_eps = 1e-20f },
    { "seed_oss", PITH__PRE_NORM | PITH__FFN_POST_NAME | PITH__HALF, .window_period = 1 },
    { "exaone4", PITH__POST_NORM | PITH__HALF | PITH__QK_NORM, .window_period = 4, .rope_windowed = 1 },
    { "starcoder2", DECODER | PITH__HALF | PITH__GELU_FFN, .window_period = 1 },
    { "stablelm", PITH__PRE_NORM | PITH__LAYER_NORM | PITH__HALF | PITH__QK_NORM | PITH__MAYBE_QK_NORM, .window_period = 1,
      .one_norm = 2 },
    { "phi2", DECODER | PITH__HALF | PITH__GELU_FFN, .window_period = 1, .one_norm = 1 },
    { "olmo", PITH__PRE_NORM | PITH__LAYER_NORM | PITH__BARE_NORMS, .window_period = 1 },
    { "helium", PITH__PRE_NORM, .window_period = 1, .same_order = 1 },
    { "apertus", PITH__PRE_NORM | PITH__UNGATED | PITH__HALF | PITH__QK_NORM, .window_period = 1, .act = PITH__XIELU },
    { "arcee", PITH__PRE_NORM | PITH__UNGATED | PITH__RELU2_FFN, .window_period = 1 },
    { "hunyuan-dense", PITH__PRE_NORM | PITH__HALF | PITH__QK_NORM | PITH__QK_NORM_LATE, .window_period = 1 },
    { "ernie4_5", PITH__PRE_NORM, .window_period = 1, .same_order = 1 },
    { "glm4", PITH__PRE_NORM | PITH__POST_NORM | PITH__FUSED, .window_period = 1, .same_order = 1 },
    { "cohere2", PITH__PRE_NORM | PITH__LAYER_NORM | PITH__PARALLEL, .window_period = 4, .same_order = 1, .one_norm = 1,
      .rope_windowed = 1, .logit_times = 1 },
    { "nanochat", PITH__PRE_NORM | PITH__EMBD_NORM | PITH__QK_NORM | PITH__QK_NORM_LATE | PITH__BARE_NORMS | PITH__HALF |
      PITH__UNGATED | PITH__RELU2_FFN, .window_period = 1, .rope_back = 1 },
    { "granite", PITH__PRE_NORM, .window_period = 1, .may_not_rotate = 1 },
    { "granitehybrid", PITH__PRE_NORM | PITH__EXPERTS, .window_period = 1, .mixer = PITH__MAMBA, .may_not_rotate = 1 },
    { "lfm2moe", PITH__PRE_NORM | PITH__HALF | PITH__QK_NORM | PITH__EXPERTS, .window_period = 1, .mixer = PITH__SHORTCONV,
      .out_norm = "token_embd_norm", .experts = PITH__SIGMOID_EXPERTS, .expert_eps = 1e-6f },
    { "lfm2", PITH__PRE_NORM | PITH__HALF | PITH__QK_NORM, .window_period = 1, .mixer = PITH__SHORTCONV, .out_norm = "token_embd_norm" },
    { "lfm3", PITH__PRE_NORM | PITH__POST_NORM | PITH__HALF | PITH__QK_NORM, .mixer = PITH__SHORTCONV, .out_norm = "token_embd_norm",
      .one_gate = 1 },
    { "qwen35", PITH__PRE_NORM | PITH__HALF | PITH__QK_NORM | QWEN35, .window_period = 1, .mixer = PITH__DELTA },
    { "qwen35moe", PITH__PRE_NORM | PITH__HALF | PITH__QK_NORM | QWEN35 | PITH__EXPERTS, .window_period = 1,
      .mixer = PITH__DELTA },
    { "qwen3next", PITH__PRE_NORM | PITH__HALF | PITH__QK_NORM | QWEN35 | PITH__EXPERTS, .window_period = 1,
      .mixer = PITH__DELTA, .delta_grouped = 1 },
    { "gpt-oss", PITH__PRE_NORM | PITH__FFN_POST_NAME | PITH__HALF | PITH__EXPERTS, .window_period = 2, .window = 128,
      .yarn_exact = 1, .act_limit = 7, .act_alpha = 1.702f },
    { "deepseek2", PITH__PRE_NORM | PITH__EXPERTS | PITH__LATENTS, .window_period = 1, .experts = PITH__PLAIN_EXPERTS,
      .expert_eps = 1e-20f },
    { "mistral4", PITH__PRE_NORM | PITH__EXPERTS | PITH__LATENTS, .window_period = 1, .expert_eps = 1e-20f },
    { "gpt2", DECODER | PITH__POSITIONS | PITH__NO_ROPE | PITH__GELU_FFN, .window_period = 1 },
    { "gptneox", DECODER | PITH__HALF | PITH__PARALLEL | PITH__ERF_FFN, .window_period = 1 },
    { "bert", ENCODER | PITH__POSITIONS | PITH__NO_ROPE | PITH__UNGATED | PITH__ERF_FFN, .window_period = 1 },
    { "nomic-bert", ENCODER | PITH__HALF, .window_period = 1 },
    { "mpnet", (ENCODER & ~PITH__TYPES) | PITH__POSITIONS | PITH__NO_ROPE | PITH__UNGATED | PITH__ERF_FFN | PITH__RELATIVE,
      .window_period = 1 },
    { "modern-bert", PITH__PRE_NORM | PITH__LAYER_NORM | PITH__EMBD_NORM | PITH__BOTH_WAYS | PITH__HALF | PITH__FUSED |
      PITH__ERF_FFN, .window_period = 3, .window_later = 1, .window = 128, .local_base = 10000 },
};

/* ---- reading keys ---------------------------------------------------------------------------------- */

/* The value of "llama.NAME" for this family, or NULL. */
static const pith__key *key_of(pith__opening *o, const char *name, int required) {
    char full[128];
    snprintf(full, sizeof full, "%s.%s", o->family->arch, name);
    const pith__key *k = pith__store_key(&o->m->store, full);
    if (!k && required && !o->code)
        o->code = pith__fail(o->err, PITH_EFORMAT, "%s: no key '%s'", o->m->store.path, full);
    return k;
}

static int wrong_type(pith__opening *o, const pith__key *k, const char *need) {
    if (!o->code)
        o->code = pith__fail(o->err, PITH_EFORMAT, "%s: key '%.*s' is not %s", o->m->store.path,
                             (int)k->name.n, k->name.p, need);
    return 0;
}

static int in_range(pith__opening *o, const pith__key *k, int64_t i, int lo) {
    if (i >= lo && i <= INT32_MAX) return (int)i;
    if (!o->code)
        o->code = pith__fail(o->err, PITH_EFORMAT, "%s: key '%.*s' is %lld, need %d to %d",
                             o->m->store.path, (int)k->name.n, k->name.p, (long long)i, lo, INT32_MAX);
    return lo;
}

/* An integer from lo to INT32_MAX, or an array that has it for every layer; absent: otherwise, or an
 * error when otherwise is below lo. */
static int int_key(pith__opening *o, const char *name, int lo, int otherwise) {
    const pith__key *k = key_of(o, name, otherwise < lo);
    if (!k) return otherwise;
    int64_t i = k->i;
    if (k->type == PITH__ARRAY && k->n == (size_t)o->m->hyper.n_layer && k->n > 0) {
        i = pith__key_item(k, 0);
        for (size_t l = 0; l < k->n; l++)
            if (k->item != PITH__INT || pith__key_item(k, l) != i)
                return wrong_type(o, k, "the same integer for every layer");
    } else if (k->type != PITH__INT) {
        return wrong_type(o, k, "an integer");
    }
    return in_range(o, k, i, lo);
}

/* The size of layer l, from 1 on: one for all, or an array, where 0 is of a layer that has no such thing. Absent:
 * otherwise, or an error when that is 0. */
static int layer_key(pith__opening *o, const char *name, int l, int otherwise) {
    const pith__key *k = key_of(o, name, otherwise < 1);
    if (!k || k->type != PITH__ARRAY || k->n != (size_t)o->m->hyper.n_layer) return int_key(o, name, 1, otherwise);
    if (k->item != PITH__INT) return wrong_type(o, k, "an integer for every layer");
    return in_range(o, k, pith__key_item(k, (size_t)l), 0);
}

static int largest_key(pith__opening *o, const char *name, int otherwise) {
    int most = 0;
    for (int l = 0; l < o->m->hyper.n_layer && !o->code; l++) {
        int n = layer_key(o, name, l, otherwise);
        most = n > most ? n : most;
    }
    return most;
}

static int flag_key(pith__opening *o, const char *name, int otherwise) {
    const pith__key *k = key_of(o, name, 0);
    if (!k) return otherwise;
    if (k->type != PITH__BOOL && k->type != PITH__INT) return wrong_type(o, k, "true or false");
    return k->i != 0;
}

/* Absent: otherwise, or an error when that is NAN. */
static double float_key(pith__opening *o, const char *name, double otherwise) {
    const pith__key *k = key_of(o, name, isnan(otherwise));
    if (!k) return otherwise;
    if (k->type != PITH__FLOAT && k->type != PITH__INT) wrong_type(o, k, "a number");
    return k->f;
}

/* A factor: 0 is written by some files that mean none. */
static double factor_key(pith__opening *o, const char *name, double otherwise) {
    double y = float_key(o, name, otherwise);
    return y != 0 ? y : otherwise;
}

PITH_SHARED int pith__fail_hyper(pith__opening *o, const char *what, long long is,
                                 const char *need) {
    char room[PITH__HF_NAME];
    if (!o->code)
        o->code = pith__fail(o->err, PITH_EFORMAT, "%s: %s is %lld, need %s", o->m->store.path,
                             pith__shown_name(&o->m->store, what, room), is, need);
    return o->code;
}

PITH_SHARED int pith__find_family(pith__opening *o) {
    pith__store *s = &o->m->store;
    const pith__key *k = pith__store_key(s, "general.architecture");
    if (!k || k->type != PITH__STRING)
        return o->code = pith__fail(o->err, PITH_EFORMAT, "%s: no key 'general.architecture'", s->path);
    char known[240] = "";
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        if (pith__str_is(k->s, families[i].arch)) o->family = &families[i];
        size_t n = strlen(known);
        snprintf(known + n, sizeof known - n, " %s", families[i].arch);
    }
    if (!o->family)
        return o->code = pith__fail(o->err, PITH_EARCH, "%s: architecture '%.*s' is not one of:%s",
                                    s->path, k->s.n < 40 ? (int)k->s.n : 40, k->s.p, known);
    return PITH_OK;
}

/* A folder may say that it has another activation than its family. */
static int activation_of(pith__opening *o, int otherwise) {
    static const char *const names[] = { [PITH__SILU] = "silu", [PITH__GELU] = "gelu_new", [PITH__GELU_ERF] = "gelu", [PITH__RELU] = "relu",
                                         [PITH__RELU2] = "relu2" };
    const pith__key *k = pith__store_key(&o->m->store, "pith.activation");
    if (!k) return otherwise;
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++)
        if (k->type == PITH__STRING && pith__str_is(k->s, names[i])) return i;
    if (!o->code) o->code = pith__fail(o->err, PITH_EARCH, "%s: pith.activation is not one of: silu gelu_new gelu relu relu2", o->m->store.path);
    return otherwise;
}

/* The width of the network beside the experts: a file may say it, or a number of them that is as wide together; else it is
 * the tensors'. */
static int shared_width(pith__opening *o) {
    const pith__hyper *h = &o->m->hyper;
    char name[64];
    if (o->family->experts & PITH__EXPERTS_BESIDE) return h->n_ff;
    int wide = int_key(o, "expert_shared_feed_forward_length", 0, 0), n = int_key(o, "expert_shared_count", 0, 0);
    if (n > INT32_MAX / h->n_ff_expert) pith__fail_hyper(o, "expert_shared_count", n, "fewer");
    else if (!wide) wide = n * h->n_ff_expert;
    for (int l = 0; !wide && l < h->n_layer && (size_t)l < o->m->store.n_tensor; l++) {
        snprintf(name, sizeof name, "blk.%d.ffn_up_shexp.weight", l);
        const pith__tensor *t = pith__store_tensor(&o->m->store, name);
        if (t && t->rows <= INT32_MAX) wide = (int)t->rows;
    }
    return wide;
}

/* As pith__hyper.parallel. GGUF's files of StableLM tell by the norms that there are. */
static int parallel_of(pith__opening *o) {
    const pith__family *f = o->family;
    int two = pith__store_tensor(&o->m->store, "blk.0.ffn_norm.weight") != NULL;
    if (f->one_norm == 2) return (o->m->store.is_folder ? flag_key(o, "use_parallel_residual", 0) : !two) ? 2 : 0;
    return f->one_norm ? 2 : f->has & PITH__PARALLEL ? flag_key(o, "use_parallel_residual", 1) : 0;
}

/* How many experts there are, and how they are chosen. */
/* Files of deepseek2 may not say how their router scores: only with sigmoids was there ever a bias for choosing (V3,
 * GLM-4.7-Flash). */
static int has_choice_bias(const pith__opening *o) {
    char name[48];
    snprintf(name, sizeof name, "blk.%d.exp_probs_b.bias", o->m->hyper.n_layer - 1);
    return o->family->has & PITH__LATENTS && pith__store_tensor(&o->m->store, name);
}

static void read_experts(pith__opening *o) {
    pith__hyper *h = &o->m->hyper;
    const pith__family *f = o->family;
    enum { SOFTMAX = 1, SIGMOID, SOFTMAX_OF_CHOSEN }; /* GGUF's numbers; the last is softmax whose chosen ones become a sum of 1 */
    h->n_expert_used = int_key(o, "expert_used_count", 1, 0);
    h->n_ff_expert = int_key(o, "expert_feed_forward_length", 1, h->n_ff);
    if (o->code) return;
    h->n_ff_shared = shared_width(o);
    int gating = int_key(o, "expert_gating_func", 0, 0);
    if (gating > SOFTMAX_OF_CHOSEN) pith__fail_hyper(o, "expert_gating_func", gating, "1, 2 or 3");
    h->expert_sigmoid = gating ? gating == SIGMOID : f->experts & PITH__SIGMOID_EXPERTS || has_choice_bias(o);
    h->expert_norm = gating == SOFTMAX_OF_CHOSEN || flag_key(o, "expert_weights_norm", !(f->experts & PITH__PLAIN_EXPERTS));
    h->n_dense = key_of(o, "leading_dense_block_count", 0) ? int_key(o, "leading_dense_block_count", 0, 0) : -1;
    h->expert_before = (f->experts & PITH__EXPERTS_BEFORE) != 0;
    h->expert_eps = f->expert_eps;
    h->expert_factor = (float)factor_key(o, "expert_weights_scale", 1);
    if (h->n_expert_used > h->n_expert)
        pith__fail_hyper(o, "expert_used_count", h->n_expert_used, "no more than there are experts");
    int groups = int_key(o, "expert_group_count", 0, 0), used = int_key(o, "expert_group_used_count", 0, groups);
    if (groups < 2 || used == groups) return; /* as if there were none */
    h->group_by_one = f->experts & PITH__PLAIN_EXPERTS && !h->expert_sigmoid; /* DeepSeek V2 */
    if (groups > PITH__EXPERT_GROUPS || h->n_expert % groups)
        pith__fail_hyper(o, "expert_group_count", groups, "a divisor of the number of experts, of 64 at most");
    else if (!h->group_by_one && h->n_expert == groups)
        pith__fail_hyper(o, "expert_group_count", groups, "groups of two experts or more");
    else if (used < 1 || used > groups || h->n_expert / groups * used < h->n_expert_used)
        pith__fail_hyper(o, "expert_group_used_count", used, "groups that have the experts of a token");
    h->n_expert_group = groups, h->n_group_used = used;
}

/* The size of a head, and how much of it is rotated; kind "_swa": of layers with a window. What is set holds where no
 * key says otherwise. */
static void read_heads(pith__opening *o, const char *kind, int *head_dim, int *n_rot) {
    char key[40], value[40], rot[40];
    snprintf(key, sizeof key, "attention.key_length%s", kind);
    snprintf(value, sizeof value, "attention.value_length%s", kind);
    snprintf(rot, sizeof rot, "rope.dimension_count%s", kind);
    *head_dim = int_key(o, key, 1, *head_dim);
    if (*head_dim < 1 || *head_dim % 2) pith__fail_hyper(o, "the head size", *head_dim, "an even number");
    int values = int_key(o, value, 1, *head_dim);
    if (values != *head_dim) {
        char need[64];
        snprintf(need, sizeof need, "the same as %s", key);
        pith__fail_hyper(o, value, values, need);
    }
    *n_rot = o->family->has & PITH__NO_ROPE ? 0 : int_key(o, rot, 0, *kind ? *n_rot : *head_dim);
    if (*n_rot > *head_dim || *n_rot % 2) pith__fail_hyper(o, rot, *n_rot, "an even number up to the head size");
}

/* The same of latent attention. The answer is the size that a head's keys would have. Newer files call that
 * key_length_mla, and key_length is what the cache holds: a latent and what is rotated beside it. */
static int read_latents(pith__opening *o) {
    pith__hyper *h = &o->m->hyper;
    int newer = key_of(o, "attention.key_length_mla", 0) != NULL;
    int width = int_key(o, newer ? "attention.key_length_mla" : "attention.key_length", 1, 0);
    const pith__key *eps = pith__store_key(&o->m->store, "pith.latent_norm_epsilon");
    h->latent.rank = int_key(o, "attention.kv_lora_rank", 1, 0);
    h->latent.q_rank = int_key(o, "attention.q_lora_rank", 0, 0);
    h->latent.n_value = int_key(o, newer ? "attention.value_length_mla" : "attention.value_length", 1, 0);
    h->n_rot = int_key(o, "rope.dimension_count", 1, 0);
    if (o->code) return 1;
    if (h->n_rot % 2 || h->n_rot >= width)
        pith__fail_hyper(o, "rope.dimension_count", h->n_rot, "an even number, less than a head has channels");
    if (h->latent.rank > INT32_MAX - h->n_rot) return pith__fail_hyper(o, "attention.kv_lora_rank", h->latent.rank, "less");
    h->head_dim = h->latent.rank + h->n_rot;
    h->latent.n_nope = width - h->n_rot;
    if (newer && int_key(o, "attention.key_length", 1, h->head_dim) != h->head_dim)
        pith__fail_hyper(o, "attention.key_length", int_key(o, "attention.key_length", 1, 0),
                         "attention.kv_lora_rank and rope.dimension_count together");
    h->latent.eps = (float)(eps ? eps->f : float_key(o, "attention.layer_norm_rms_epsilon", NAN));
    return width;
}

/* Where the file does not say how wide a network without experts is, there is none: as wide as an expert, then. 0: it must say. */
static int network_width(pith__opening *o) {
    return o->m->hyper.n_expert ? int_key(o, "expert_feed_forward_length", 0, 0) : 0;
}

/* What is computed with the sizes, and with which numbers. width: channels of a head's queries, which scores are scaled by. */
static void read_arithmetic(pith__opening *o, int width) {
    pith__hyper *h = &o->m->hyper;
    const pith__family *f = o->family;

    /* RoPE pairing: channel i with i + n_rot / 2, or with its neighbour. Llamas are stored by Hugging Face for the
     * former and by GGUF for the latter. Both become the latter, so that both give the same bits. */
    h->rope_half = (f->has & PITH__HALF) != 0;
    h->rope_as_is = f->same_order;
    h->rope_gather = o->m->store.qk_halves && !h->rope_half && !h->rope_as_is;
    h->qk_norm_whole = (f->has & PITH__QK_NORM_WHOLE) != 0;
    h->qk_norm_late = (f->has & PITH__QK_NORM_LATE) != 0;
    h->act = f->has & PITH__GELU_FFN ? PITH__GELU : f->has & PITH__ERF_FFN ? PITH__GELU_ERF : f->has & PITH__RELU2_FFN ? PITH__RELU2 : f->act;
    h->act = activation_of(o, h->act);
    h->gated = !(f->has & PITH__UNGATED);
    h->act_limit = (float)factor_key(o, "pith.swiglu_limit", f->act_limit);
    h->act_alpha = (float)factor_key(o, "pith.swiglu_alpha", f->act_alpha);
    h->norm = f->has & PITH__LAYER_NORM ? PITH__LAYERNORM : PITH__RMSNORM;
    h->parallel = parallel_of(o);
    const char *eps = h->norm == PITH__LAYERNORM ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon";
    h->eps = (float)float_key(o, eps, NAN);
    h->embd_scale = (float)factor_key(o, "embedding_scale", 1);
    if (f->has & PITH__SCALE_EMBD) h->embd_scale = sqrtf((float)h->n_embd);
    h->residual_scale = (float)factor_key(o, "residual_scale", 1);
    double scale = (float)factor_key(o, "attention.scale", 0); /* as GGUF has it */
    h->attn_scale = scale < 0 || scale > 0 ? scale : f->attn_scale > 0 ? f->attn_scale : 1 / sqrt((double)width);
    double times = factor_key(o, "logit_scale", 1); /* Granite divides by it */
    h->logit_scale = (float)(f->logit_times ? times : 1 / times);
    h->attn_softcap = (float)float_key(o, "attn_logit_softcapping", f->has & PITH__SOFTCAP ? 50 : 0);
    h->logit_softcap = (float)float_key(o, "final_logit_softcapping", f->has & PITH__SOFTCAP ? 30 : 0);
    h->temperature = (float)float_key(o, "attention.temperature_scale", f->temperature);
    h->temper_plain = f->chunked;
    h->qkv_limit = (float)float_key(o, "attention.clamp_kqv", 0);
    const pith__key *norms = pith__store_key(&o->m->store, "pith.qk_norm"); /* GGUF: all but the one with 128 experts */
    h->qk_norm_bare = f->chunked && (norms ? norms->i != 0 : h->n_expert != 128);
    int length = int_key(o, "rope.scaling.original_context_length", 0, 0);
    h->temperature_length = int_key(o, "attention.temperature_length", 1, f->chunked ? 8192 : length ? length : h->n_ctx);
}

PITH_SHARED void pith__read_hyper(pith__opening *o) {
    pith__hyper *h = &o->m->hyper;
    const pith__family *f = o->family;
    snprintf(h->arch, sizeof h->arch, "%s", f->arch);
    h->n_layer = int_key(o, "block_count", 1, 0);
    if ((size_t)h->n_layer > o->m->store.n_tensor) /* before time and memory are taken for them */
        pith__fail_hyper(o, "block_count", h->n_layer, "no more than there are tensors");
    int ahead = int_key(o, "nextn_predict_layers", 0, 0); /* of them; they guess further tokens, and are not built */
    if (ahead >= h->n_layer) pith__fail_hyper(o, "nextn_predict_layers", ahead, "fewer than block_count");
    else h->n_layer -= ahead;
    h->n_embd = int_key(o, "embedding_length", 1, 0);
    h->n_head = largest_key(o, "attention.head_count", 0);
    if (!h->n_head) pith__fail_hyper(o, "attention.head_count", 0, "heads in some layer");
    h->n_kv_head = largest_key(o, "attention.head_count_kv", h->n_head);
    h->n_ctx = int_key(o, "context_length", 1, 0);
    const pith__key *most = pith__store_key(&o->m->store, "pith.context_limit");
    if (most && most->type == PITH__INT && most->i > 0 && most->i < INT32_MAX)
        h->n_ctx_most = (int)most->i;
    h->n_expert = f->has & PITH__EXPERTS ? int_key(o, "expert_count", 0, 0) : 0;
    h->n_ff = largest_key(o, "feed_forward_length", network_width(o));
    if (h->n_expert) read_experts(o);
    if (o->code) return;

    h->head_dim = h->n_embd / h->n_head;
    int width = f->has & PITH__LATENTS ? read_latents(o) : 0;
    if (!width) read_heads(o, "", &h->head_dim, &h->n_rot), width = h->head_dim;
    if (h->n_layer == f->wide_layers) width = h->n_embd / h->n_head;
    h->n_ple = f->has & PITH__PLE ? int_key(o, "embedding_length_per_layer_input", 0, 0) : 0;
    read_arithmetic(o, width);
}

/* ---- rotation -------------------------------------------------------------------------------------- */

typedef struct { /* how a model was taught longer texts than it began with */
    const char *type;
    double factor, fast, slow;
    int truncate;        /* YaRN: the range to blend begins and ends at whole pairs */
} rope_stretch;

/* How YaRN blends pair i: 0 keeps its frequency, 1 divides it by the factor. Pairs that rotate more than
 * 32 times (fast) within the original context keep it, those that rotate less than once (slow) do not:
 * Peng et al. 2023, arXiv:2309.00071, with the rounding of its authors' code. */
static double yarn_blend(const rope_stretch *s, int i, int n_rot, double n_ctx, double base) {
    const double pi = 3.14159265358979323846;
    double low = n_rot * log(n_ctx / (s->fast * 2 * pi)) / (2 * log(base));
    double high = n_rot * log(n_ctx / (s->slow * 2 * pi)) / (2 * log(base));
    if (s->truncate) low = floor(low), high = ceil(high);
    if (low < 0) low = 0;
    if (high > n_rot - 1) high = n_rot - 1;
    double x = (i - low) / (high < low || high > low ? high - low : 0.001);
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

/* One divisor a pair from a tensor (Llama 3's rope_freqs, Phi 3's rope_factors_short and _long). */
static const float *rope_factors(pith__opening *o, const char *name, int n_rot) {
    pith_model *m = o->m;
    const pith__tensor *t = pith__store_tensor(&m->store, name);
    if (!t || o->code) return NULL;
    if (t->rows != 1 || t->cols != (size_t)n_rot / 2) {
        o->code = pith__fail(o->err, PITH_EFORMAT, "%s: tensor '%s' has %zu x %zu numbers, need %d",
                             m->store.path, name, t->rows, t->cols, n_rot / 2);
        return NULL;
    }
    float *y = pith__arena_new(&m->store.arena, t->cols, sizeof *y);
    if (y) pith__row_floats(t, 0, y);
    else o->code = pith__fail(o->err, PITH_EMEMORY, "%s: no memory", m->store.path);
    return y;
}

/* Floats, as in the programs that the models were trained with. */
static float *rope_table(pith__opening *o, double base, int n_rot, const rope_stretch *s, const float *divisor) {
    pith_model *m = o->m;
    float *freq = pith__arena_new(&m->store.arena, (size_t)n_rot / 2 + 1, sizeof *freq);
    if (!freq && !o->code) o->code = pith__fail(o->err, PITH_EMEMORY, "%s: no memory", m->store.path);
    for (int i = 0; freq && i < n_rot / 2; i++) {
        double f = 1.0f / powf((float)base, (float)(2 * i) / (float)n_rot);
        if (divisor) f /= divisor[i];
        if (!strcmp(s->type, "linear")) f /= s->factor;
        if (!strcmp(s->type, "yarn")) {
            double b = yarn_blend(s, i, n_rot, m->n_ctx_original, base);
            f = f * (1 - b) + f / s->factor * b;
        }
        freq[i] = (float)(o->family->rope_back ? -f : f);
    }
    return freq;
}

/* A factor without a type, as files of 2023 have it, is of the linear kind. */
static rope_stretch read_stretch(pith__opening *o) {
    static const char *const known[] = { "none", "linear", "yarn", "longrope" };
    const pith__key *k = key_of(o, "rope.scaling.type", 0);
    rope_stretch s = { k ? NULL : "linear", 1, 32, 1, 1 };
    for (size_t i = 0; k && k->type == PITH__STRING && i < sizeof known / sizeof *known; i++)
        if (pith__str_is(k->s, known[i])) s.type = known[i];
    if (!s.type)
        o->code = pith__fail(o->err, PITH_EARCH, "%s: key '%.*s' is not one of: none linear yarn longrope",
                             o->m->store.path, (int)k->name.n, k->name.p);
    s.factor = factor_key(o, "rope.scaling.factor", factor_key(o, "rope.scale_linear", 1));
    s.fast = factor_key(o, "rope.scaling.yarn_beta_fast", 32);
    s.slow = factor_key(o, "rope.scaling.yarn_beta_slow", 1);
    s.truncate = flag_key(o, "rope.scaling.yarn_truncate", !o->family->yarn_exact);
    return s;
}

/* The channels that layers of this set have rotated. */
static int rotated_by(const pith_model *m, int set) {
    for (int l = 0; l < m->hyper.n_layer; l++)
        if (m->layer[l].rope == set) return m->layer[l].n_rot;
    return m->hyper.n_rot;
}

/* Frequency base of layers with a window, if they have angles of their own; else 0. */
static double local_base(pith__opening *o) {
    double base = o->family->local_base;
    return float_key(o, "rope.freq_base_swa", base < 0 ? float_key(o, "rope.freq_base", 10000) : base);
}

/* DeepSeek's YaRN leaves cosines and sines as they are and scales scores instead. */
static void scale_latents(pith__opening *o, double factor, double log_multiplier) {
    double more = 1 + log_multiplier * (factor > 1 ? log(factor) : 0);
    o->m->hyper.attn_scale *= more * more;
}

PITH_SHARED void pith__make_ropes(pith__opening *o) {
    pith_model *m = o->m;
    static const rope_stretch none = { "none", 1, 32, 1, 1 };
    rope_stretch scaling = read_stretch(o);
    if (o->code) return;
    double base = float_key(o, "rope.freq_base", 10000);
    m->n_ctx_original = int_key(o, "rope.scaling.original_context_length", 0, m->hyper.n_ctx);
    if (m->n_ctx_original == 0) m->n_ctx_original = m->hyper.n_ctx;
    float mscale = (float)factor_key(o, "rope.scaling.attn_factor", 1);
    double log_multiplier = (float)float_key(o, "rope.scaling.yarn_log_multiplier", 0); /* as GGUF has it */
    if (m->hyper.latent.rank) scale_latents(o, scaling.factor, log_multiplier);
    else if (!strcmp(scaling.type, "yarn") && scaling.factor > 1)
        mscale *= (float)((1 + 0.1 * log(scaling.factor)) / (1 + 0.1 * log_multiplier * log(scaling.factor)));

    int n_rot = m->rope[0].n_rot = rotated_by(m, 0);
    const float *shared = rope_factors(o, "rope_freqs.weight", n_rot);
    const float *near = rope_factors(o, "rope_factors_short.weight", n_rot);
    const float *far = rope_factors(o, "rope_factors_long.weight", n_rot);
    m->rope[0].mscale = mscale;
    m->rope[0].freq = rope_table(o, base, n_rot, &scaling, near ? near : shared);
    if (far) m->rope[0].freq_long = rope_table(o, base, n_rot, &scaling, far);
    double local = local_base(o);
    m->rope[1].mscale = 1;
    m->rope[1].n_rot = rotated_by(m, 1);
    if (local > 0) m->rope[1].freq = rope_table(o, local, m->rope[1].n_rot, &none, NULL);
}

/* ---- relative positions ------------------------------------------------------------------------------ */

/* T5's buckets of distances, 16 for keys before a query and 16 for those behind it: one for each distance under 8, then
 * two for each doubling. Raffel et al. 2019, arXiv:1910.10683 */
static int bucket_of(int ahead) { /* key less query */
    int far = abs(ahead), b = far;
    if (far >= 8)
        for (b = 8; b < 15 && far * far >= 128 << (b - 8);) b++;
    return ahead > 0 ? b + 16 : b;
}

PITH_SHARED void pith__make_biases(pith__opening *o) {
    pith_model *m = o->m;
    size_t n_head = (size_t)m->hyper.n_head;
    if (!m->far.tensor.data || o->code) return;
    float *row = pith__arena_new(&m->store.arena, n_head, sizeof *row);
    m->biases = pith__arena_new(&m->store.arena, n_head * PITH__BIASES, sizeof *m->biases);
    if (!row || !m->biases) {
        o->code = pith__fail(o->err, PITH_EMEMORY, "%s: no memory", m->store.path);
        return;
    }
    for (int i = 0; i < PITH__BIASES; i++) { /* distances of PITH__FAR and more have one bucket */
        pith__row_floats(&m->far.tensor, (size_t)bucket_of(i - PITH__FAR - 16), row);
        for (size_t h = 0; h < n_head; h++) m->biases[h * PITH__BIASES + (size_t)i] = row[h];
    }
}

/* ---- layers of other kinds ------------------------------------------------------------------------- */

/* Of layers whose state has heads. What comes from a file is small enough that no product here overflows. */
static void ssm_sizes(pith__opening *o, pith__recurrent *r) {
    enum { MOST = 1 << 14 };
    int inner = int_key(o, "ssm.inner_size", 1, 0);
    r->n_tap = int_key(o, "ssm.conv_kernel", 2, 0);
    r->dk = int_key(o, "ssm.state_size", 1, 0);
    r->n_k_head = int_key(o, "ssm.group_count", 1, 0);
    r->n_head = int_key(o, "ssm.time_step_rank", 1, 0);
    if (o->code) return;
    if (r->n_tap > 64) pith__fail_hyper(o, "ssm.conv_kernel", r->n_tap, "at most 64");
    if (r->dk > MOST) pith__fail_hyper(o, "ssm.state_size", r->dk, "at most 16384");
    if (r->n_head > MOST) pith__fail_hyper(o, "ssm.time_step_rank", r->n_head, "at most 16384");
    if (r->n_head % r->n_k_head) pith__fail_hyper(o, "ssm.group_count", r->n_k_head, "a divisor of ssm.time_step_rank");
    if (inner % r->n_head || inner / r->n_head > MOST)
        pith__fail_hyper(o, "ssm.inner_size", inner, "a multiple of ssm.time_step_rank, by 16384 at most");
    if (o->code) return;
    r->n_inner = inner;
    r->grouped = o->family->delta_grouped;
    r->n_conv = 2 * r->n_k_head * r->dk + inner;
    r->n_in = o->family->mixer == PITH__MAMBA ? inner + r->n_conv + r->n_head : inner + 3 * r->n_head;
}

/* Every layer of this mixer has these sizes. */
static pith__recurrent state_sizes(pith__opening *o, int mixer) {
    pith__recurrent r = { 0 };
    int n_embd = o->m->hyper.n_embd;
    switch (mixer) {
    case PITH__SHORTCONV:
        if (n_embd > INT32_MAX / 3) pith__fail_hyper(o, "embedding_length", n_embd, "at most 715827882");
        r.n_tap = int_key(o, "shortconv.l_cache", 2, 0);
        r.n_conv = r.n_inner = n_embd;
        r.n_in = o->code ? 0 : 3 * n_embd;
        break;
    case PITH__DELTA: case PITH__MAMBA: ssm_sizes(o, &r); break;
    }
    return r;
}

PITH_SHARED pith__qkvz pith__qkvz_of(pith__opening *o) {
    pith__recurrent r = { 0 };
    if (o->family->delta_grouped) ssm_sizes(o, &r);
    return (pith__qkvz){ r.n_k_head, r.n_head, r.dk, r.n_head ? r.n_inner / r.n_head : 0 };
}

/* 1: layer l is of attention. Where heads do not say so layer by layer, every so many layers the last one is. */
static int attends(pith__opening *o, int l) {
    if (!o->family->mixer) return 1;
    int period = int_key(o, "full_attention_interval", 1, o->family->mixer == PITH__DELTA ? 4 : 1);
    const pith__key *states = key_of(o, "attention.recurrent_layers", 0); /* of llama.cpp since 2026: 1 where there is a state */
    if (states && states->type == PITH__ARRAY && states->n >= (size_t)o->m->hyper.n_layer)
        return !pith__key_item(states, (size_t)l);
    return layer_key(o, "attention.head_count_kv", l, o->m->hyper.n_head) && (l + 1) % period == 0;
}

static void set_mixers(pith__opening *o) {
    pith__hyper *h = &o->m->hyper;
    int mixer = o->family->mixer;
    for (int l = 0; h->latent.rank && l < h->n_layer; l++) o->m->layer[l].mixer = PITH__LATENT;
    if (h->latent.rank && int_key(o, "attention.sliding_window", 0, 0))
        pith__fail_hyper(o, "attention.sliding_window", int_key(o, "attention.sliding_window", 0, 0), "0: latents have no window");
    for (int l = 0; mixer && l < h->n_layer && !o->code; l++) {
        pith__layer *w = &o->m->layer[l];
        if (attends(o, l)) continue;
        w->mixer = mixer;
        w->recurrent = state_sizes(o, mixer);
        h->n_mix_in = w->recurrent.n_in, h->n_conv = w->recurrent.n_conv, h->n_inner = w->recurrent.n_inner;
    }
}

/* ---- layer by layer ---------------------------------------------------------------------------------- */

/* Which layers see only a window, and which are rotated how. A file may say so layer by layer; else the
 * family's period does. Where tokens see each other, the window of a file is both sides of a token together. */
static void set_pattern(pith__opening *o) {
    const pith__family *f = o->family;
    pith_model *m = o->m;
    int window = int_key(o, "attention.sliding_window", 0, f->window);
    const pith__key *local = key_of(o, "attention.sliding_window_pattern", !f->window_period);
    const pith__key *plain = pith__store_key(&m->store, "pith.no_rope_layers");
    int period = f->window_period ? f->window_period : 1, local_rope = local_base(o) > 0, causal = flag_key(o, "attention.causal", !(f->has & PITH__BOTH_WAYS));
    if (local && local->type == PITH__INT && local->i > 0 && local->i < INT32_MAX)
        period = (int)local->i;
    for (int l = 0; l < m->hyper.n_layer; l++) {
        int windowed = period == 1 || (l + 1) % period != 0; /* if there is a window */
        if (f->window_later) windowed = l % period != 0;
        if (local && local->type == PITH__ARRAY) windowed = pith__key_item(local, (size_t)l) != 0;
        int rotated = f->rope_windowed && window ? windowed : !f->rope_period || (l + 1) % f->rope_period != 0;
        if (f->may_not_rotate) rotated = flag_key(o, "rope.scaling.finetuned", 1);
        if (plain && plain->type == PITH__ARRAY) rotated = pith__key_item(plain, (size_t)l) == 0;
        windowed = windowed && window > 0 && m->layer[l].mixer == PITH__ATTENTION;
        m->layer[l].mask = (pith__mask){ .causal = causal, .window = !windowed ? 0 : causal ? window : window / 2 + 1,
                                         .chunk = windowed && f->chunked };
        m->layer[l].rope = !rotated || m->hyper.n_rot == 0 ? -1 : windowed && local_rope ? 1 : 0;
    }
}

/* The size of a layer that has one of its own, or of all. */
static void fail_size(pith__opening *o, const char *name, int l, long long is, const char *need) {
    char what[80];
    const pith__key *k = key_of(o, name, 0);
    if (k && k->type == PITH__ARRAY) snprintf(what, sizeof what, "%s of layer %d", name, l);
    else snprintf(what, sizeof what, "%s", name);
    pith__fail_hyper(o, what, is, need);
}

static void check_sizes(pith__opening *o, int l, const pith__layer *w) {
    int64_t n = (int64_t)w->n_head * w->head_dim;
    if (!w->n_ff) fail_size(o, "feed_forward_length", l, 0, "1 or more");
    if (n < 1 || n > INT32_MAX) fail_size(o, "attention.head_count", l, w->n_head, "1 to 2147483647 channels in all heads together");
    if (w->mixer != PITH__ATTENTION && w->mixer != PITH__LATENT) return;
    if (!w->n_kv_head || w->n_head % w->n_kv_head)
        fail_size(o, "attention.head_count_kv", l, w->n_kv_head, "a divisor of the number of heads");
}

/* The last layers may have no keys and values of their own: they see those of the last layer before them that has the
 * same window, or none. */
static void share_kv(pith__opening *o, int l, int n_own) {
    pith__layer *all = o->m->layer, *w = &all[l];
    int from = l < n_own ? l : n_own - 1;
    while (from >= 0 && (all[from].mask.window != w->mask.window || all[from].rope != w->rope)) from--;
    if (from < 0 || all[from].n_kv_head != w->n_kv_head || all[from].head_dim != w->head_dim)
        pith__fail_hyper(o, "attention.shared_kv_layers", o->m->hyper.n_layer - n_own,
                         "fewer, so that an earlier layer has the keys and values that each of these sees");
    else if (from < l) all[from].kv_seen = 1;
    w->kv_from = from;
}

/* What a layer's xIELU has learned, of which files keep what softplus makes numbers over 0 of. */
static void read_xielu(pith__opening *o, int l, pith__layer *w) {
    static const char *const names[] = { "xielu.alpha_p", "xielu.alpha_n", "xielu.beta", "xielu.eps" };
    double y[4];
    for (int i = 0; i < 4; i++) {
        const pith__key *k = pith__store_key(&o->m->store, names[i]);
        y[i] = k ? pith__key_float(k, (size_t)l) : NAN;
        if (isnan(y[i]) && !o->code)
            o->code = pith__fail(o->err, PITH_EFORMAT, "%s: key '%s' has no number for layer %d", o->m->store.path, names[i], l);
    }
    for (int i = 0; i < 2; i++) y[i] = y[i] > 20 ? y[i] : (double)log1pf(expf((float)y[i]));
    w->xielu.more = (float)y[0], w->xielu.less = (float)(y[2] + y[1]), w->xielu.beta = (float)y[2], w->xielu.eps = (float)y[3];
}

PITH_SHARED void pith__set_layers(pith__opening *o) {
    pith__hyper *h = &o->m->hyper;
    int dim = h->head_dim, n_rot = h->n_rot, dim_window = dim, n_rot_window = n_rot;
    int shared = int_key(o, "attention.shared_kv_layers", 0, 0);
    if (!h->latent.rank) read_heads(o, "_swa", &dim_window, &n_rot_window);
    set_mixers(o);
    set_pattern(o);
    for (int l = 0; l < h->n_layer && !o->code; l++) {
        pith__layer *w = &o->m->layer[l];
        w->n_head = layer_key(o, "attention.head_count", l, 0);
        w->n_kv_head = w->mixer == PITH__ATTENTION ? layer_key(o, "attention.head_count_kv", l, w->n_head) : w->mixer == PITH__LATENT;
        w->head_gates = w->mixer == PITH__ATTENTION && o->family->has & PITH__HEAD_GATES;
        w->one_gate = w->mixer == PITH__ATTENTION && o->family->one_gate;
        w->head_dim = w->mask.window ? dim_window : dim;
        w->n_rot = w->mask.window ? n_rot_window : n_rot;
        w->n_ff = layer_key(o, "feed_forward_length", l, network_width(o));
        check_sizes(o, l, w);
        if (h->act == PITH__XIELU) read_xielu(o, l, w);
        share_kv(o, l, h->n_layer - shared);
        if (o->code) return;
        h->head_dim = w->head_dim > h->head_dim ? w->head_dim : h->head_dim;
        h->n_rot = w->n_rot > h->n_rot ? w->n_rot : h->n_rot;
        int q = w->n_head * w->head_dim, kv = w->n_kv_head * w->head_dim;
        h->n_q = q > h->n_q ? q : h->n_q;
        h->n_kv = kv > h->n_kv ? kv : h->n_kv;
        if (w->head_gates && q > INT32_MAX / 2) fail_size(o, "attention.head_count", l, w->n_head, "fewer channels in all heads together");
        if (o->code || !(w->head_gates || w->one_gate)) continue;
        int gates = w->one_gate ? w->n_head : 2 * q;
        h->n_mix_in = gates > h->n_mix_in ? gates : h->n_mix_in;
        h->n_inner = q > h->n_inner ? q : h->n_inner;
    }
}

PITH_SHARED int pith__is_causal(const pith_model *m) {
    for (int l = 0; l < m->hyper.n_layer; l++)
        if (!m->layer[l].mask.causal) return 0;
    return 1;
}
