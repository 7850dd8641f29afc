/* init.c - what begins at random: a new Llama, its shape as keys and its weights, and a score head. */
#include "train.h"

#include <math.h>
#include <stdio.h>

/* Normal numbers by Box and Muller's way, one for each i of the sequence called seed. */
static double normal_at(uint64_t seed, uint64_t i) {
    double u = ((double)(pith__random_at(seed, 2 * i) >> 11) + 1) * 0x1p-53; /* never 0 */
    double v = (double)(pith__random_at(seed, 2 * i + 1) >> 11) * 0x1p-53;
    return sqrt(-2 * log(u)) * cos(6.28318530717958647692 * v);
}

typedef struct { /* the store being filled; code as of the first failure */
    pith__store s;
    const pith__llama *o;
    uint64_t seed;
    pith_error *err;
    int code;
} maker;

/* Norms are ones, deviation 0. A matrix's numbers depend on the seed and its name, not on
 * others. */
static void make_weight(maker *k, int l, const char *name, int rows, int cols, double deviation) {
    uint64_t seed = k->seed;
    size_t n = (size_t)rows * (size_t)cols;
    char *full = pith__arena_new(&k->s.arena, 64, 1);
    float *x = pith__arena_new(&k->s.arena, n + 16, sizeof *x);
    if (!full || !x) k->code = PITH_EMEMORY;
    if (k->code) return;
    x += (64 - (uintptr_t)x % 64) % 64 / sizeof *x; /* to a cache line */
    if (l >= 0) snprintf(full, 64, "blk.%d.%s", l, name);
    else snprintf(full, 64, "%s", name);
    for (const char *p = full; *p; p++) seed = pith__random_at(seed, (unsigned char)*p);
    for (size_t i = 0; i < n; i++)
        x[i] = deviation > 0 ? (float)(deviation * normal_at(seed, i)) : 1;
    int vector = rows == 1 && !(deviation > 0);
    pith__tensor *t = &k->s.tensor[k->s.n_tensor++];
    *t = (pith__tensor){ .name = pith__str_of(full), .n_dim = vector ? 1 : 2,
                         .shape = { (uint64_t)(vector ? cols : rows), (uint64_t)cols } };
    k->code = pith__tensor_set(t, &k->s, PITH__F32,
                               (pith__cursor){ (const uint8_t *)x, n * sizeof *x, 0 }, k->err);
}

/* As GPT-2 begins: deviation 0.02, less where every block adds to the stream. */
static void make_weights(maker *k, int n_vocab) {
    const pith__llama *o = k->o;
    int kv = o->dim / o->heads * o->kv_heads;
    double deviation = 0.02, residual = 0.02 / sqrt(2.0 * o->layers);
    k->s.tensor = pith__arena_new(&k->s.arena, 3 + 9 * (size_t)o->layers, sizeof *k->s.tensor);
    if (!k->s.tensor) k->code = PITH_EMEMORY;
    if (k->code) return;
    make_weight(k, -1, "token_embd.weight", n_vocab, o->dim, deviation);
    make_weight(k, -1, "output_norm.weight", 1, o->dim, 0);
    if (o->untied) make_weight(k, -1, "output.weight", n_vocab, o->dim, deviation);
    for (int l = 0; l < o->layers; l++) {
        make_weight(k, l, "attn_norm.weight", 1, o->dim, 0);
        make_weight(k, l, "attn_q.weight", o->dim, o->dim, deviation);
        make_weight(k, l, "attn_k.weight", kv, o->dim, deviation);
        make_weight(k, l, "attn_v.weight", kv, o->dim, deviation);
        make_weight(k, l, "attn_output.weight", o->dim, o->dim, residual);
        make_weight(k, l, "ffn_norm.weight", 1, o->dim, 0);
        make_weight(k, l, "ffn_gate.weight", o->ffn, o->dim, deviation);
        make_weight(k, l, "ffn_up.weight", o->ffn, o->dim, deviation);
        make_weight(k, l, "ffn_down.weight", o->dim, o->ffn, residual);
    }
}

static void make_keys(maker *k, int n_vocab) {
    const pith__llama *o = k->o;
    const struct { const char *name; int v; } keys[] = {
        { "llama.block_count", o->layers }, { "llama.embedding_length", o->dim },
        { "llama.feed_forward_length", o->ffn }, { "llama.attention.head_count", o->heads },
        { "llama.attention.head_count_kv", o->kv_heads }, { "llama.context_length", o->context },
        { "llama.rope.dimension_count", o->dim / o->heads }, { "llama.vocab_size", n_vocab },
    };
    k->code = pith__store_add_string(&k->s, "general.architecture", "llama") ||
              pith__store_add_string(&k->s, "general.name", "pith") ||
              pith__store_add_float(&k->s, "llama.attention.layer_norm_rms_epsilon", 1e-5f) ||
              pith__store_add_float(&k->s, "llama.rope.freq_base", 10000) ? PITH_EMEMORY : 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !k->code; i++)
        k->code = pith__store_add_int(&k->s, keys[i].name, keys[i].v);
}

PITH_SHARED pith_model *pith__new_llama(const pith__llama *shape, const pith__vocab *v, uint64_t seed,
                                        const pith_options *opt, pith_error *err) {
    maker k = { .s = { .kind = "made by run pretrain", .path = "the new model" }, .o = shape, .seed = seed,
                .err = err };
    k.s.vocab = *v;
    make_keys(&k, v->n);
    if (!k.code) make_weights(&k, v->n);
    if (!k.code) return pith__model_of(&k.s, opt, err);
    if (k.code == PITH_EMEMORY) pith__fail(err, k.code, "no memory for the weights");
    pith__store_free(&k.s);
    return NULL;
}

PITH_SHARED int pith__score_new(pith_adapter *a, uint64_t seed, pith_error *err) {
    size_t n = (size_t)a->model->hyper.n_embd;
    float *w = pith__arena_new(&a->store.arena, n, sizeof *w);
    if (!w) return pith__fail(err, PITH_EMEMORY, "no memory for a score head");
    for (size_t i = 0; i < n; i++) w[i] = (float)(0.02 * normal_at(pith__random_at(seed, 0x5c02e), i)); /* initializer_range */
    a->score = w;
    return PITH_OK;
}
