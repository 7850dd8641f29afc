/* pupil.h - small random models of every family, made in memory, and what they learn from. */
#ifndef PUPIL_H
#define PUPIL_H

#include "../train/train.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>

/* ---- models ------------------------------------------------------------------------------ */

enum {
    POST = 1,
    NO_PRE = 2,
    NORM_QK = 4,
    NORM_QK_WHOLE = 8,
    FUSED = 16,
    UNTIED = 32,
    BIAS = 64,
    BIAS_ALL = 128,
    HALF_STORED = 256,
    APART = 512, /* each expert's matrices are tensors of their own */
    LAYER_NORM = 1024, /* norms have biases, where BIAS_ALL has them */
    UNGATED = 2048,
    POSITIONS = 4096,
    RELU = 16384,
    BARE = 32768, /* norms have no weights */
    SHARES = 1 << 16, SHARE_GATE = 1 << 17, ROUTER_BIAS = 1 << 18, /* a shared expert, its gate; biases, also for choosing */
    ENCODER = 8192 /* norms where BERT has them, and types of tokens: from SECOND on they are of type 1 */
};

typedef struct {
    const char *name, *arch;
    int has, n_layer, n_expert;
    struct {
        const char *key;
        double value;
        int real;
    } keys[6];
} family;

static const family all_families[] = {
    { "llama", "llama", BIAS | BIAS_ALL, 2, 0, { { 0 } } },
    { "llama untied", "llama", UNTIED, 2, 0, { { 0 } } },
    { "llama of a folder", "llama", HALF_STORED, 2, 0, { { "rope.dimension_count", 6, 0 } } },
    { "mixtral", "llama", UNTIED, 2, 4, { { 0 } } },
    { "mixtral of old", "llama", UNTIED | APART, 2, 4, { { 0 } } },
    { "qwen2", "qwen2", BIAS, 2, 0, { { 0 } } },
    { "qwen3", "qwen3", NORM_QK, 2, 0, { { 0 } } },
    { "qwen3moe", "qwen3moe", NORM_QK, 2, 4, { { 0 } } },
    { "moe, not normed", "qwen3moe", NORM_QK, 2, 4, { { "expert_weights_norm", 0, 0 } } },
    { "gemma", "gemma", 0, 2, 0, { { 0 } } },
    { "gemma2",
      "gemma2",
      POST,
      2,
      0,
      { { "attn_logit_softcapping", 3, 1 },
        { "final_logit_softcapping", 4, 1 },
        { "attention.sliding_window", 7, 0 } } },
    { "gemma3", "gemma3", POST | NORM_QK, 6, 0, { { "attention.sliding_window", 5, 0 } } },
    { "mistral3",
      "mistral3",
      0,
      2,
      0,
      { { "attention.temperature_scale", 0.5, 1 }, { "attention.temperature_length", 3, 0 } } },
    { "phi3",
      "phi3",
      FUSED | UNTIED,
      2,
      0,
      { { "rope.dimension_count", 4, 0 }, { "attention.sliding_window", 9, 0 } } },
    { "phi3 with biases", "phi3", FUSED | BIAS, 2, 0, { { 0 } } },
    { "smollm3", "smollm3", 0, 4, 0, { { 0 } } },
    { "olmo2", "olmo2", POST | NO_PRE | NORM_QK | NORM_QK_WHOLE | UNTIED, 2, 0, { { 0 } } },
    { "granite",
      "granite",
      0,
      2,
      0,
      { { "embedding_scale", 3, 1 },
        { "residual_scale", 0.4, 1 },
        { "attention.scale", 0.2, 1 },
        { "logit_scale", 2.5, 1 } } },
    { "nanochat", "nanochat", BARE | UNGATED | UNTIED, 2, 0, { { "final_logit_softcapping", 4, 1 } } },
    { "gpt2", "gpt2", LAYER_NORM | UNGATED | POSITIONS | FUSED | BIAS | BIAS_ALL, 2, 0, { { 0 } } },
    { "gptneox", "gptneox", LAYER_NORM | UNGATED | UNTIED | FUSED | BIAS | BIAS_ALL, 2, 0, { { "rope.dimension_count", 4, 0 } } },
    { "gptneox in turn",
      "gptneox",
      LAYER_NORM | UNGATED | UNTIED | FUSED | RELU,
      2,
      0,
      { { "use_parallel_residual", 0, 0 } } },
    { "bert", "bert", LAYER_NORM | UNGATED | POSITIONS | ENCODER | BIAS | BIAS_ALL, 2, 0, { { 0 } } },
    { "nomic-bert", "nomic-bert", LAYER_NORM | ENCODER | BIAS_ALL, 2, 0, { { 0 } } },
};
enum { N_FAMILY = sizeof all_families / sizeof *all_families, N_DECODER = N_FAMILY - 2, SECOND = 13 };
enum { EMBD = 24, HEAD = 4, KV_HEAD = 2, DIM = 8, FF = 20, FF_EXPERT = 12, VOCAB = 37, N = 20, N_POSITION = 64 };

static uint64_t hash_of(const char *name) { /* FNV-1a */
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *name; name++) hash = (hash ^ (uint8_t)*name) * 0x100000001b3u;
    return hash;
}

/* The same numbers as scripts/reference_grad.py has, from the tensor's name alone. */
static void fill(float *x, const char *name, size_t n, size_t cols) {
    uint64_t state = hash_of(name);
    int bias = strstr(name, "bias") != NULL, norm = !bias && strstr(name, "norm") != NULL;
    for (size_t i = 0; i < n; i++) {
        float u = fixture_random(&state);
        x[i] = norm ? 1 + 0.3f * u : bias ? 0.3f * u : u * 1.5f / sqrtf((float)cols);
        if (!strcmp(name, "token_embd.weight") || !strcmp(name, "position_embd.weight")) x[i] = u;
    }
}

static void add(pith__store *s, int l, const char *part, size_t experts, size_t rows, size_t cols) {
    char name[96];
    if (l < 0) snprintf(name, sizeof name, "%s", part);
    else snprintf(name, sizeof name, "blk.%d.%s", l, part);
    size_t n = (experts ? experts : 1) * rows * cols;
    char *copy = pith__arena_new(&s->arena, strlen(name) + 1, 1);
    float *x = pith__arena_new(&s->arena, n, sizeof *x);
    memcpy(copy, name, strlen(name));
    fill(x, name, n, cols);
    uint64_t shape[3] = { experts, rows, cols };
    int from = experts ? 0 : rows > 1 ? 1 : 2;
    pith__tensor *t = &s->tensor[s->n_tensor++];
    *t = (pith__tensor){ .name = pith__str_of(copy), .n_dim = 3 - from };
    memcpy(t->shape, shape + from, (size_t)(3 - from) * sizeof *shape);
    if (pith__tensor_set(t, s, PITH__F32, (pith__cursor){ (const uint8_t *)x, n * sizeof *x, 0 }, NULL))
        FAIL("%s", name);
}

static void add_norm(pith__store *s, const family *f, int l, const char *name, size_t cols) {
    char part[64];
    snprintf(part, sizeof part, "%s.weight", name);
    add(s, l, part, 0, 1, cols);
    snprintf(part, sizeof part, "%s.bias", name);
    if (f->has & LAYER_NORM && f->has & BIAS_ALL) add(s, l, part, 0, 1, cols);
}

static void add_attention(pith__store *s, const family *f, int l) {
    size_t heads = HEAD * DIM, kv = KV_HEAD * DIM, qk = f->has & NORM_QK_WHOLE ? 0 : DIM;
    if (f->has & NORM_QK)
        add(s, l, "attn_q_norm.weight", 0, 1, qk ? qk : heads),
            add(s, l, "attn_k_norm.weight", 0, 1, qk ? qk : kv);
    if (f->has & BIAS && f->has & FUSED)
        add(s, l, "attn_qkv.bias", 0, 1, heads + 2 * kv);
    else if (f->has & BIAS)
        add(s, l, "attn_q.bias", 0, 1, heads), add(s, l, "attn_k.bias", 0, 1, kv),
            add(s, l, "attn_v.bias", 0, 1, kv);
    if (f->has & FUSED) {
        add(s, l, "attn_qkv.weight", 0, heads + 2 * kv, EMBD);
    } else {
        add(s, l, "attn_q.weight", 0, heads, EMBD);
        add(s, l, "attn_k.weight", 0, kv, EMBD);
        add(s, l, "attn_v.weight", 0, kv, EMBD);
    }
    add(s, l, "attn_output.weight", 0, EMBD, heads);
    if (f->has & BIAS_ALL) add(s, l, "attn_output.bias", 0, 1, EMBD);
}

static void add_network(pith__store *s, const family *f, int l) {
    size_t both = f->has & FUSED && !(f->has & UNGATED);
    if (!both && !(f->has & UNGATED)) add(s, l, "ffn_gate.weight", 0, FF, EMBD);
    add(s, l, "ffn_up.weight", 0, both ? 2 * FF : FF, EMBD);
    add(s, l, "ffn_down.weight", 0, EMBD, FF);
    if (!(f->has & BIAS_ALL)) return;
    add(s, l, "ffn_down.bias", 0, 1, EMBD), add(s, l, "ffn_up.bias", 0, 1, FF);
    if (!(f->has & UNGATED)) add(s, l, "ffn_gate.bias", 0, 1, FF);
}

static void add_experts(pith__store *s, const family *f, int l) {
    size_t e = (size_t)f->n_expert;
    add(s, l, "ffn_gate_inp.weight", 0, e, EMBD);
    if (f->has & ROUTER_BIAS) add(s, l, "ffn_gate_inp.bias", 0, 1, e), add(s, l, "exp_probs_b.bias", 0, 1, e);
    if (f->has & SHARE_GATE) add(s, l, "ffn_gate_inp_shexp.weight", 0, 1, EMBD);
    if (f->has & SHARES)
        add(s, l, "ffn_gate_shexp.weight", 0, FF, EMBD), add(s, l, "ffn_up_shexp.weight", 0, FF, EMBD),
            add(s, l, "ffn_down_shexp.weight", 0, EMBD, FF);
    for (size_t i = 0; f->has & APART && i < e; i++) {
        char name[3][48];
        snprintf(name[0], sizeof *name, "ffn_gate.%zu.weight", i);
        snprintf(name[1], sizeof *name, "ffn_up.%zu.weight", i);
        snprintf(name[2], sizeof *name, "ffn_down.%zu.weight", i);
        for (int k = 0; k < 3; k++)
            add(s, l, name[k], 0, k < 2 ? FF_EXPERT : EMBD, k < 2 ? EMBD : FF_EXPERT);
    }
    if (f->has & APART) return;
    add(s, l, "ffn_gate_exps.weight", e, FF_EXPERT, EMBD);
    add(s, l, "ffn_up_exps.weight", e, FF_EXPERT, EMBD);
    add(s, l, "ffn_down_exps.weight", e, EMBD, FF_EXPERT);
}

static void add_layer(pith__store *s, const family *f, int l) {
    if (!(f->has & (NO_PRE | ENCODER | BARE))) add_norm(s, f, l, "attn_norm", EMBD), add_norm(s, f, l, "ffn_norm", EMBD);
    if (f->has & POST) add_norm(s, f, l, "post_attention_norm", EMBD), add_norm(s, f, l, "post_ffw_norm", EMBD);
    if (f->has & ENCODER) add_norm(s, f, l, "attn_output_norm", EMBD), add_norm(s, f, l, "layer_output_norm", EMBD);
    add_attention(s, f, l);
    if (f->n_expert) add_experts(s, f, l);
    else add_network(s, f, l);
}

static pith_model *make(const family *f, int threads, const char *kernels) {
    pith__store s = { .path = f->name, .kind = "made", .qk_halves = f->has & HALF_STORED };
    const struct {
        const char *key;
        int value;
    } common[] = {
        { "block_count", f->n_layer },
        { "embedding_length", EMBD },
        { "attention.head_count", HEAD },
        { "attention.head_count_kv", KV_HEAD },
        { "attention.key_length", DIM },
        { "attention.value_length", DIM },
        { "feed_forward_length", FF },
        { "context_length", N_POSITION },
        { "expert_count", f->n_expert },
        { "expert_used_count", 2 },
        { "expert_feed_forward_length", FF_EXPERT },
    };
    char key[96];
    pith_options opt = { .n_threads = threads, .kernels = kernels };
    pith_error e = { 0, "" };
    pith__store_add_string(&s, "general.architecture", f->arch);
    for (size_t i = 0; i < sizeof common / sizeof *common; i++) {
        snprintf(key, sizeof key, "%s.%s", f->arch, common[i].key);
        if (i < 8 || f->n_expert) pith__store_add_int(&s, key, common[i].value);
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_%sepsilon", f->arch, f->has & LAYER_NORM ? "" : "rms_");
    pith__store_add_float(&s, key, 1e-3);
    for (int i = 0; i < 6 && f->keys[i].key; i++) {
        snprintf(key, sizeof key, "%s.%s", f->arch, f->keys[i].key);
        if (f->keys[i].real) pith__store_add_float(&s, key, f->keys[i].value);
        else pith__store_add_int(&s, key, (int)f->keys[i].value);
    }
    if (f->has & RELU) pith__store_add_string(&s, "pith.activation", "relu");
    s.tensor = pith__arena_new(&s.arena, 8 + 24 * (size_t)f->n_layer, sizeof *s.tensor);
    add(&s, -1, "token_embd.weight", 0, VOCAB, EMBD);
    if (f->has & POSITIONS) add(&s, -1, "position_embd.weight", 0, N_POSITION, EMBD);
    if (f->has & ENCODER) add(&s, -1, "token_types.weight", 0, 2, EMBD);
    if (!(f->has & BARE)) add_norm(&s, f, -1, f->has & ENCODER ? "token_embd_norm" : "output_norm", EMBD);
    if (f->has & UNTIED) add(&s, -1, "output.weight", 0, VOCAB, EMBD);
    for (int l = 0; l < f->n_layer; l++) add_layer(&s, f, l);
    pith_model *m = pith__model_of(&s, &opt, &e);
    if (!m) FAIL("%s", e.text);
    return m;
}

typedef struct { /* a model that learns */
    pith_model *m;
    pith__params p;
    pith__tape *tape;
    pith_token t[N], target[N];
} pupil;

static void pupil_texts(pupil *u) {
    for (int i = 0; i < N; i++) u->t[i] = (i * i * 7 + 3 * i + 5) % VOCAB;
    for (int i = 0; i < N; i++) u->target[i] = i % 7 == 3 ? (i % 2 ? -100 : -1) : (i * 11 + 2) % VOCAB;
}

static int pupil_new(pupil *u, const family *f, int threads, const char *kernels, int keep) {
    pith_error e = { 0, "" };
    memset(u, 0, sizeof *u);
    u->m = make(f, threads, kernels);
    if (!u->m) return 1;
    if (pith__params_new(&u->p, u->m, &e)) FAIL("%s", e.text);
    u->tape = pith__tape_new(u->m, u->p.g, N, keep, &e);
    if (!u->tape) FAIL("%s", e.text);
    else if (f->has & ENCODER) u->tape->s->second_from = SECOND;
    pupil_texts(u);
    return !u->tape;
}

static void pupil_free(pupil *u) {
    pith__tape_free(u->tape);
    pith__params_free(&u->p);
    pith_close(u->m);
}

static inline double pupil_learn(pupil *u, float scale) {
    pith__loss loss = { 0, 0, 0 };
    pith_error e = { 0, "" };
    if (pith__learn(u->tape, u->t, u->target, N, scale, &loss, &e)) FAIL("%s", e.text);
    return loss.sum;
}

static inline float *copy_of(const float *x, size_t n) {
    float *y = malloc(n * sizeof *y);
    memcpy(y, x, n * sizeof *y);
    return y;
}

static const char *const kernel_names[] = { "portable", "avx2", "avxvnni", "avx512", "neon", "dotprod",
                                              "i8mm" };

static inline const pith__kernels *kernels_named(const char *name) {
    if (!strcmp(name, "portable")) return pith__portable(NULL);
    return pith__x86(name) ? pith__x86(name) : pith__arm(name);
}

#endif
