/* shapes.c - models of a named shape, made up in memory, for run bench --shape: their numbers do not matter to the clock,
 * except that they must be numbers. */
#include "verbs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct shape {
    const char *name, *arch;
    int n_layer, n_embd, n_head, n_kv_head, head_dim, n_ff, n_vocab, n_ctx, tied;
    int n_expert, n_used; /* 0: networks are dense */
} shapes[] = {
    { "stories260K", "llama", 5, 64, 8, 4, 8, 172, 512, 512, 1, 0, 0 },
    { "llama-15m", "llama", 6, 288, 6, 6, 48, 768, 32000, 256, 1, 0, 0 },
    { "llama-110m", "llama", 12, 768, 12, 12, 64, 2048, 32000, 1024, 1, 0, 0 },
    { "smollm2-135m", "llama", 30, 576, 9, 3, 64, 1536, 49152, 8192, 1, 0, 0 },
    { "qwen3-0.6b", "qwen3", 28, 1024, 16, 8, 128, 3072, 151936, 40960, 1, 0, 0 },
    { "llama-1b", "llama", 16, 2048, 32, 8, 64, 8192, 32000, 8192, 1, 0, 0 },
    { "qwen3.5-0.8b", "qwen35", 24, 1024, 8, 2, 256, 3584, 248320, 262144, 1, 0, 0 },
    { "qwen3.5-2b", "qwen35", 24, 2048, 8, 2, 256, 6144, 248320, 262144, 1, 0, 0 },
    { "gemma4-e2b", "gemma4", 35, 1536, 8, 1, 256, 6144, 262144, 131072, 1, 0, 0 },
    { "gpt-oss-4-layers", "gpt-oss", 4, 2880, 64, 8, 64, 2880, 201088, 131072, 0, 32, 4 }, /* of the 24 of gpt-oss 20B */
    { "lfm2-1.2b", "lfm2", 16, 2048, 32, 8, 64, 8192, 65536, 128000, 1, 0, 0 },
    { "granite-4-h-1b", "granitehybrid", 40, 1536, 12, 4, 128, 4096, 100352, 131072, 1, 0, 0 },
    { "glm-4.7-flash-4-layers", "deepseek2", 4, 2048, 20, 1, 576, 10240, 154880, 202752, 1, 64, 4 }, /* of its 47 */
};

enum { GLM_Q_RANK = 768, GLM_RANK = 512, GLM_NOPE = 192, GLM_ROT = 64, GLM_VALUE = 256, GLM_EXPERT = 1536 };

enum { MAMBA_HEADS = 48, MAMBA_ROWS = 128, MAMBA_WIDE = 3072 }; /* of Granite 4 H 1B */

enum { DELTA_HEADS = 16, DELTA_DIM = 128, DELTA_WIDE = DELTA_HEADS * DELTA_DIM }; /* of Qwen3.5's layers with a state */

enum { E2B_OWN = 15, E2B_PERIOD = 5, E2B_PLE = 256, E2B_WINDOW = 512 }; /* of Gemma 4: layers with keys of their own; the rest are twice as wide */

enum { PATTERN = 4096 }; /* numbers that are repeated over a tensor: a whole number of any format's blocks */

typedef struct { /* the store being filled; code as of the first failure */
    pith__store s;
    const char *type;
    uint64_t rng;
    pith_error e;
    int code;
} shape_maker;

/* The mixture called Q4_K_M gives half of the values and of the ffn_downs, and the output, more bits. Rows that are no whole
 * blocks of a format are in Q8_0. */
static const pith__format *format_for(const shape_maker *k, const char *name, int l, int vector, int cols) {
    if (vector || cols == 1 || strstr(name, "conv1d") || strstr(name, "conv.weight")) return pith__format_named("F32");
    const pith__format *f = pith__format_named(k->type);
    int more = l % 2 == 0 && (strstr(name, "attn_v") || strstr(name, "ffn_down"));
    if (strcasecmp(k->type, "q4_k_m") == 0) f = pith__format_named(more || strstr(name, "token_embd") ? "Q6_K" : "Q4_K");
    return f && cols % f->length ? pith__format_named("Q8_0") : f;
}

static void make_tensor(shape_maker *k, int l, const char *name, int rows, int cols) {
    if (k->code) return;
    int vector = rows == 1, small = vector || strstr(name, ".bias");
    const pith__format *f = format_for(k, name, l, small || strstr(name, "ffn_gate_inp"), cols);
    uint64_t shape[2] = { (uint64_t)rows, (uint64_t)cols };
    char *full = pith__arena_new(&k->s.arena, 64, 1);
    size_t bytes = f ? (size_t)rows * (size_t)cols / (size_t)f->length * (size_t)f->bytes : 0;
    uint8_t *data = full ? pith__arena_new(&k->s.arena, bytes + 64, 1) : NULL;
    if (!f || !f->encode) {
        k->code = complain(USAGE, "--type %s: not a format that can be written", k->type);
        return;
    }
    if (!data) {
        k->code = complain(FAILED, "no memory for a tensor of %zu bytes", bytes);
        return;
    }
    if (l >= 0) snprintf(full, 64, "blk.%d.%s", l, name);
    else snprintf(full, 64, "%s", name);
    float x[PATTERN];
    uint8_t pattern[PATTERN * sizeof(float)];
    float size = small ? 0 : 1.7f / sqrtf((float)cols);
    for (int i = 0; i < PATTERN; i++) x[i] = (strstr(name, "norm") != NULL) + size * (2 * pith_random(&k->rng) - 1);
    f->encode(pattern, x, PATTERN, NULL);
    size_t whole = (size_t)(PATTERN / f->length) * (size_t)f->bytes;
    for (size_t at = 0; at < bytes; at += whole)
        memcpy(data + at, pattern, bytes - at < whole ? bytes - at : whole);
    pith__tensor *t = &k->s.tensor[k->s.n_tensor++];
    *t = (pith__tensor){ .name = pith__str_of(full), .n_dim = vector ? 1 : 2,
                         .shape = { shape[vector], shape[1] } };
    if (pith__tensor_set(t, &k->s, f->id, (pith__cursor){ data, bytes, 0 }, &k->e))
        k->code = complain(USAGE, "--type %s: %s", k->type, k->e.text);
}

static int is_qwen35(const struct shape *h) { return !strcmp(h->arch, "qwen35"); }
static int is_lfm2(const struct shape *h) { return !strcmp(h->arch, "lfm2"); }
static int is_granite(const struct shape *h) { return !strcmp(h->arch, "granitehybrid"); }
static int is_glm(const struct shape *h) { return !strcmp(h->arch, "deepseek2"); }
static int is_gpt_oss(const struct shape *h) { return !strcmp(h->arch, "gpt-oss"); }

static int is_gemma4(const struct shape *h) { return !strcmp(h->arch, "gemma4"); }
static int attends(const struct shape *h, int l) { /* other layers have a state */
    if (is_lfm2(h)) return l >= 10 ? l % 2 == 0 : l % 3 == 2;
    return is_granite(h) ? l % 10 == 5 : !is_qwen35(h) || l % 4 == 3;
}
static int width_of(const struct shape *h, int l) { return is_gemma4(h) && l >= E2B_OWN ? 2 * h->n_ff : h->n_ff; }

/* Gate, up and down, of which rows are those of n networks. */
static void make_parts(shape_maker *k, int l, const char *suffix, int n, int n_ff, int n_embd) {
    static const char *const parts[] = { "ffn_gate", "ffn_up", "ffn_down" };
    char name[32];
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s%s.weight", parts[i], suffix);
        make_tensor(k, l, name, n * (i < 2 ? n_ff : n_embd), i < 2 ? n_embd : n_ff);
    }
}

/* The network of a layer, or its experts in stacks and their router. */
static void make_network(shape_maker *k, const struct shape *h, int l) {
    if (!h->n_expert || (is_glm(h) && l == 0)) {
        make_parts(k, l, "", 1, width_of(h, l), h->n_embd);
        return;
    }
    make_parts(k, l, "_exps", h->n_expert, is_glm(h) ? GLM_EXPERT : h->n_ff, h->n_embd);
    make_tensor(k, l, "ffn_gate_inp.weight", h->n_expert, h->n_embd);
    if (is_glm(h)) {
        make_parts(k, l, "_shexp", 1, GLM_EXPERT, h->n_embd);
        make_tensor(k, l, "exp_probs_b.bias", 1, h->n_expert);
        return;
    }
    make_tensor(k, l, "ffn_gate_inp.bias", 1, h->n_expert);
    make_tensor(k, l, "ffn_gate_exps.bias", h->n_expert, h->n_ff);
    make_tensor(k, l, "ffn_up_exps.bias", h->n_expert, h->n_ff);
    make_tensor(k, l, "ffn_down_exps.bias", h->n_expert, h->n_embd);
}

static void make_latent(shape_maker *k, int l, const struct shape *h) {
    make_tensor(k, l, "attn_q_a.weight", GLM_Q_RANK, h->n_embd);
    make_tensor(k, l, "attn_q_a_norm.weight", 1, GLM_Q_RANK);
    make_tensor(k, l, "attn_q_b.weight", h->n_head * (GLM_NOPE + GLM_ROT), GLM_Q_RANK);
    make_tensor(k, l, "attn_kv_a_mqa.weight", GLM_RANK + GLM_ROT, h->n_embd);
    make_tensor(k, l, "attn_kv_a_norm.weight", 1, GLM_RANK);
    make_tensor(k, l, "attn_k_b.weight", h->n_head * GLM_RANK, GLM_NOPE);
    make_tensor(k, l, "attn_v_b.weight", h->n_head * GLM_VALUE, GLM_RANK);
    make_tensor(k, l, "attn_output.weight", h->n_embd, h->n_head * GLM_VALUE);
}

static void make_shortconv(shape_maker *k, int l, const struct shape *h) {
    make_tensor(k, l, "shortconv.conv.weight", h->n_embd, 3);
    make_tensor(k, l, "shortconv.in_proj.weight", 3 * h->n_embd, h->n_embd);
    make_tensor(k, l, "shortconv.out_proj.weight", h->n_embd, h->n_embd);
}

static void make_attention(shape_maker *k, int l, const struct shape *h) {
    int q = h->n_head * h->head_dim, kv = h->n_kv_head * h->head_dim;
    make_tensor(k, l, "attn_q.weight", is_qwen35(h) ? 2 * q : q, h->n_embd); /* with gates */
    make_tensor(k, l, "attn_k.weight", kv, h->n_embd);
    make_tensor(k, l, "attn_v.weight", kv, h->n_embd);
    make_tensor(k, l, "attn_output.weight", h->n_embd, q);
    if (is_gpt_oss(h)) {
        make_tensor(k, l, "attn_sinks.weight", 1, h->n_head);
        make_tensor(k, l, "attn_q.bias", 1, q);
        make_tensor(k, l, "attn_k.bias", 1, kv);
        make_tensor(k, l, "attn_v.bias", 1, kv);
        make_tensor(k, l, "attn_output.bias", 1, h->n_embd);
    }
    if (strncmp(h->arch, "qwen3", 5) != 0 && !is_lfm2(h)) return;
    make_tensor(k, l, "attn_q_norm.weight", 1, h->head_dim);
    make_tensor(k, l, "attn_k_norm.weight", 1, h->head_dim);
}

/* Layers of Gemma 4 that see everything have heads twice as large. */
static void make_gemma4(shape_maker *k, int l, const struct shape *h) {
    int dim = (l + 1) % E2B_PERIOD ? h->head_dim : 2 * h->head_dim;
    make_tensor(k, l, "attn_q.weight", h->n_head * dim, h->n_embd);
    make_tensor(k, l, "attn_output.weight", h->n_embd, h->n_head * dim);
    make_tensor(k, l, "attn_q_norm.weight", 1, dim);
    if (l < E2B_OWN) {
        make_tensor(k, l, "attn_k.weight", h->n_kv_head * dim, h->n_embd);
        make_tensor(k, l, "attn_v.weight", h->n_kv_head * dim, h->n_embd);
        make_tensor(k, l, "attn_k_norm.weight", 1, dim);
    }
    make_tensor(k, l, "post_attention_norm.weight", 1, h->n_embd);
    make_tensor(k, l, "post_ffw_norm.weight", 1, h->n_embd);
    make_tensor(k, l, "inp_gate.weight", E2B_PLE, h->n_embd);
    make_tensor(k, l, "proj.weight", h->n_embd, E2B_PLE);
    make_tensor(k, l, "post_norm.weight", 1, h->n_embd);
}

/* The last tensor was numbers of heads: states fade. */
static void all_minus_one(shape_maker *k, int n) {
    const float rate = -1;
    for (int i = 0; i < n && !k->code; i++)
        memcpy((uint8_t *)k->s.tensor[k->s.n_tensor - 1].data + sizeof rate * (size_t)i, &rate, sizeof rate);
}

static void make_mamba(shape_maker *k, int l, const struct shape *h) {
    int n_conv = MAMBA_WIDE + 2 * MAMBA_ROWS;
    make_tensor(k, l, "ssm_in.weight", MAMBA_WIDE + n_conv + MAMBA_HEADS, h->n_embd);
    make_tensor(k, l, "ssm_conv1d.weight", n_conv, 4);
    make_tensor(k, l, "ssm_conv1d.bias", 1, n_conv);
    make_tensor(k, l, "ssm_dt.bias", 1, MAMBA_HEADS);
    make_tensor(k, l, "ssm_d", MAMBA_HEADS, 1);
    make_tensor(k, l, "ssm_a", MAMBA_HEADS, 1);
    all_minus_one(k, MAMBA_HEADS);
    make_tensor(k, l, "ssm_norm.weight", 1, MAMBA_WIDE);
    make_tensor(k, l, "ssm_out.weight", h->n_embd, MAMBA_WIDE);
}

/* A layer of Qwen3.5's that has a state. */
static void make_delta(shape_maker *k, int l, const struct shape *h) {
    make_tensor(k, l, "attn_qkv.weight", 3 * DELTA_WIDE, h->n_embd);
    make_tensor(k, l, "attn_gate.weight", DELTA_WIDE, h->n_embd);
    make_tensor(k, l, "ssm_beta.weight", DELTA_HEADS, h->n_embd);
    make_tensor(k, l, "ssm_alpha.weight", DELTA_HEADS, h->n_embd);
    make_tensor(k, l, "ssm_conv1d.weight", 3 * DELTA_WIDE, 4);
    make_tensor(k, l, "ssm_dt.bias", 1, DELTA_HEADS);
    make_tensor(k, l, "ssm_a", 1, DELTA_HEADS);
    all_minus_one(k, DELTA_HEADS);
    make_tensor(k, l, "ssm_norm.weight", 1, DELTA_DIM);
    make_tensor(k, l, "ssm_out.weight", h->n_embd, DELTA_WIDE);
}

static void make_tensors(shape_maker *k, const struct shape *h) {
    make_tensor(k, -1, "token_embd.weight", h->n_vocab, h->n_embd);
    make_tensor(k, -1, is_lfm2(h) ? "token_embd_norm.weight" : "output_norm.weight", 1, h->n_embd);
    if (!h->tied) make_tensor(k, -1, "output.weight", h->n_vocab, h->n_embd);
    if (is_gemma4(h)) {
        make_tensor(k, -1, "per_layer_token_embd.weight", h->n_vocab, h->n_layer * E2B_PLE);
        make_tensor(k, -1, "per_layer_model_proj.weight", h->n_layer * E2B_PLE, h->n_embd);
        make_tensor(k, -1, "per_layer_proj_norm.weight", 1, E2B_PLE);
    }
    for (int l = 0; l < h->n_layer; l++) {
        make_tensor(k, l, "attn_norm.weight", 1, h->n_embd);
        if (is_qwen35(h) && !attends(h, l)) make_delta(k, l, h);
        else if (is_lfm2(h) && !attends(h, l)) make_shortconv(k, l, h);
        else if (is_granite(h) && !attends(h, l)) make_mamba(k, l, h);
        else if (is_glm(h)) make_latent(k, l, h);
        else if (is_gemma4(h)) make_gemma4(k, l, h);
        else make_attention(k, l, h);
        make_tensor(k, l, is_qwen35(h) || is_gpt_oss(h) ? "post_attention_norm.weight" : "ffn_norm.weight", 1, h->n_embd);
        make_network(k, h, l);
    }
}

/* A number of each layer: the widths of Gemma 4's networks; the kv heads of layers, 0 where these have a state. */
static int add_of_layers(pith__store *s, const struct shape *h, const char *name) {
    int32_t *y = pith__arena_new(&s->arena, (size_t)h->n_layer, sizeof *y);
    if (!y || pith__store_add_int(s, name, 0)) return 1;
    for (int l = 0; l < h->n_layer; l++) y[l] = is_gemma4(h) ? width_of(h, l) : attends(h, l) * h->n_kv_head;
    pith__key *k = &s->key[s->n_key - 1];
    k->type = PITH__ARRAY, k->item = PITH__INT, k->gguf_item = 5, k->n = (size_t)h->n_layer;
    k->at = (pith__cursor){ (const uint8_t *)y, (size_t)h->n_layer * sizeof *y, 0 };
    return 0;
}

static int make_shape_keys(pith__store *s, const struct shape *h) {
    int gemma = is_gemma4(h), glm = is_glm(h), dim = gemma ? 2 * h->head_dim : h->head_dim;
    int by_layer = is_lfm2(h) || is_granite(h), mamba = is_granite(h);
    const struct { const char *name; int v; } keys[] = {
        { "block_count", h->n_layer }, { "embedding_length", h->n_embd },
        { "feed_forward_length", gemma ? 0 : h->n_ff }, { "attention.head_count", h->n_head },
        { "attention.head_count_kv", by_layer ? 0 : h->n_kv_head }, { "attention.key_length", dim },
        { "attention.value_length", glm ? GLM_RANK : dim }, { "context_length", h->n_ctx },
        { "attention.key_length_swa", gemma * h->head_dim }, { "attention.value_length_swa", gemma * h->head_dim },
        { "rope.dimension_count_swa", gemma * h->head_dim }, { "attention.sliding_window", gemma * E2B_WINDOW },
        { "attention.sliding_window_pattern", gemma * E2B_PERIOD }, { "attention.shared_kv_layers", gemma * (h->n_layer - E2B_OWN) },
        { "embedding_length_per_layer_input", gemma * E2B_PLE },
        { "rope.dimension_count", is_qwen35(h) ? h->head_dim / 4 : glm ? GLM_ROT : dim },
        { "ssm.conv_kernel", 4 }, { "ssm.state_size", mamba ? MAMBA_ROWS : DELTA_DIM }, /* which other families do not read */
        { "ssm.group_count", mamba ? 1 : DELTA_HEADS }, { "ssm.time_step_rank", mamba ? MAMBA_HEADS : DELTA_HEADS },
        { "ssm.inner_size", mamba ? MAMBA_WIDE : DELTA_WIDE }, { "shortconv.l_cache", 3 * is_lfm2(h) },
        { "expert_count", h->n_expert }, { "expert_used_count", h->n_used },
        { "attention.q_lora_rank", glm * GLM_Q_RANK }, { "attention.kv_lora_rank", glm * GLM_RANK },
        { "attention.key_length_mla", glm * (GLM_NOPE + GLM_ROT) }, { "attention.value_length_mla", glm * GLM_VALUE },
        { "expert_feed_forward_length", glm * GLM_EXPERT }, { "expert_gating_func", glm * 2 }, { "expert_shared_count", glm },
        { "expert_weights_norm", glm }, { "leading_dense_block_count", glm },
    };
    char name[64];
    int code = pith__store_add_string(s, "general.architecture", h->arch);
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !code; i++) {
        if (!keys[i].v) continue;
        snprintf(name, sizeof name, "%s.%s", h->arch, keys[i].name);
        code = pith__store_add_int(s, name, keys[i].v);
    }
    snprintf(name, sizeof name, "%s.attention.layer_norm_rms_epsilon", h->arch);
    if (!code) code = pith__store_add_float(s, name, 1e-5);
    if (!code && gemma) code = add_of_layers(s, h, "gemma4.feed_forward_length");
    snprintf(name, sizeof name, "%s.attention.head_count_kv", h->arch);
    return code || !by_layer ? code : add_of_layers(s, h, name);
}

int make_shape_model(const char *name, const char *type, const pith_options *opt, pith_model **m) {
    const struct shape *h = NULL;
    shape_maker k = { .s = { .kind = "made up", .path = name }, .type = type, .rng = 1 };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (!strcasecmp(shapes[i].name, name)) h = &shapes[i];
    if (!h) return complain(USAGE, "--shape %s: not one of stories260K, llama-15m, llama-110m, "
                            "qwen3-0.6b, llama-1b, qwen3.5-0.8b, qwen3.5-2b, gemma4-e2b, gpt-oss-4-layers, lfm2-1.2b, granite-4-h-1b, "
                            "glm-4.7-flash-4-layers", name);
    k.s.tensor = pith__arena_new(&k.s.arena, 3 + 19 * (size_t)h->n_layer, sizeof *k.s.tensor);
    if (!k.s.tensor || make_shape_keys(&k.s, h)) k.code = complain(FAILED, "no memory for %s", name);
    make_tensors(&k, h);
    if (k.code) {
        pith__store_free(&k.s);
        return k.code;
    }
    *m = pith__model_of(&k.s, opt, &k.e);
    return *m ? 0 : complain(FAILED, "%s", k.e.text);
}
