/* t_delta_learn.c - models of the shapes of Qwen3.5, of linear attention and gated attention, and of LFM2, of short
 * convolutions and attention, learn: gradients against finite differences of the loss, and a LoRA over their layers. */
#include "../train/train.h"
#include "test.h"

#include <stdlib.h>

enum { LAYERS = 3, EMBD = 24, HEADS = 2, DIM = 8, FF = 20, VOCAB = 29, N = 37, KEYS = 2, VALUES = 4, DK = 6, DV = 20, TAPS = 3 };

static uint64_t state = 1;
static int lfm; /* 1: LFM2, 0: Qwen3.5 */

static float uniform(void) { return 2 * pith_random(&state) - 1; }

static void add(pith__store *s, int l, const char *part, size_t rows, size_t cols) {
    char *name = pith__arena_new(&s->arena, 64, 1);
    float *x = pith__arena_new(&s->arena, rows * cols, sizeof *x);
    if (l < 0) snprintf(name, 64, "%s", part);
    else snprintf(name, 64, "blk.%d.%s", l, part);
    for (size_t i = 0; i < rows * cols; i++) {
        float u = uniform();
        x[i] = strstr(part, "norm") ? 1 + 0.3f * u : strstr(part, "ssm_a") && !part[5] ? -1 + 0.5f * u : rows == 1 ? 0.3f * u : u * 1.5f / sqrtf((float)cols);
        if (strstr(part, "token_embd.")) x[i] = u;
    }
    pith__tensor *t = &s->tensor[s->n_tensor++];
    *t = (pith__tensor){ .name = pith__str_of(name), .n_dim = rows > 1 ? 2 : 1, .shape = { rows > 1 ? rows : cols, cols } };
    if (pith__tensor_set(t, s, PITH__F32, (pith__cursor){ (const uint8_t *)x, rows * cols * sizeof *x, 0 }, NULL)) FAIL("%s", name);
}

static void add_layer(pith__store *s, int l) {
    size_t conv = 2 * KEYS * DK + VALUES * DV;
    add(s, l, "attn_norm.weight", 1, EMBD), add(s, l, lfm ? "ffn_norm.weight" : "post_attention_norm.weight", 1, EMBD);
    add(s, l, "ffn_gate.weight", FF, EMBD), add(s, l, "ffn_up.weight", FF, EMBD), add(s, l, "ffn_down.weight", EMBD, FF);
    if (l == 1) {
        add(s, l, "attn_q.weight", (lfm ? 1 : 2) * HEADS * DIM, EMBD), add(s, l, "attn_k.weight", DIM, EMBD), add(s, l, "attn_v.weight", DIM, EMBD);
        add(s, l, "attn_q_norm.weight", 1, DIM), add(s, l, "attn_k_norm.weight", 1, DIM), add(s, l, "attn_output.weight", EMBD, HEADS * DIM);
        return;
    }
    if (lfm) {
        add(s, l, "shortconv.in_proj.weight", 3 * EMBD, EMBD), add(s, l, "shortconv.conv.weight", EMBD, TAPS);
        add(s, l, "shortconv.out_proj.weight", EMBD, EMBD);
        return;
    }
    add(s, l, "attn_qkv.weight", conv, EMBD), add(s, l, "attn_gate.weight", VALUES * DV, EMBD);
    add(s, l, "ssm_beta.weight", VALUES, EMBD), add(s, l, "ssm_alpha.weight", VALUES, EMBD), add(s, l, "ssm_conv1d.weight", conv, TAPS);
    add(s, l, "ssm_dt.bias", 1, VALUES), add(s, l, "ssm_a", 1, VALUES), add(s, l, "ssm_norm.weight", 1, DV);
    add(s, l, "ssm_out.weight", EMBD, VALUES * DV);
}

/* attention.head_count_kv: only the layer in the middle is of attention. */
static void put_heads(pith__store *s) {
    static const uint8_t heads[4 * LAYERS] = { 0, 0, 0, 0, 1 };
    pith__store_add_int(s, "lfm2.attention.head_count_kv", 0);
    pith__key *k = &s->key[s->n_key - 1];
    k->type = PITH__ARRAY, k->item = PITH__INT, k->gguf_item = 5, k->n = LAYERS;
    k->at.p = heads, k->at.left = sizeof heads;
}

static pith_model *make(int threads) {
    static const struct { const char *key; int value; } keys[] = {
        { "block_count", LAYERS }, { "embedding_length", EMBD }, { "attention.head_count", HEADS }, { "attention.head_count_kv", 1 },
        { "attention.key_length", DIM }, { "attention.value_length", DIM }, { "feed_forward_length", FF }, { "context_length", 64 },
        { "rope.dimension_count", 4 }, { "full_attention_interval", 2 }, { "ssm.conv_kernel", TAPS }, { "ssm.state_size", DK },
        { "ssm.group_count", KEYS }, { "ssm.time_step_rank", VALUES }, { "ssm.inner_size", VALUES * DV },
        { "shortconv.l_cache", TAPS },
    };
    const char *arch = lfm ? "lfm2" : "qwen35";
    pith__store s = { .path = arch, .kind = "made" };
    pith_options opt = { .n_threads = threads };
    pith_error e = { 0, "" };
    char key[64];
    state = 1;
    pith__store_add_string(&s, "general.architecture", arch);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        snprintf(key, sizeof key, "%s.%s", arch, keys[i].key);
        if (lfm && strstr(key, "head_count_kv")) continue;
        pith__store_add_int(&s, key, keys[i].value);
    }
    if (lfm) put_heads(&s);
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", arch);
    pith__store_add_float(&s, key, 1e-3);
    s.tensor = pith__arena_new(&s.arena, 4 + 16 * LAYERS, sizeof *s.tensor);
    add(&s, -1, "token_embd.weight", VOCAB, EMBD), add(&s, -1, lfm ? "token_embd_norm.weight" : "output_norm.weight", 1, EMBD);
    for (int l = 0; l < LAYERS; l++) add_layer(&s, l);
    pith_model *m = pith__model_of(&s, &opt, &e);
    if (!m) FAIL("%s", e.text);
    return m;
}

static pith_token t[N], target[N];

static double score(const pith__tape *tape) {
    pith__loss loss = { 0, 0, 0 };
    if (pith__score(tape, t, target, N, &loss, NULL)) FAIL("no loss");
    return loss.sum;
}

static double learn(const pith__tape *tape) {
    pith__loss loss = { 0, 0, 0 };
    pith_error e = { 0, "" };
    if (pith__learn(tape, t, target, N, 1, &loss, &e)) FAIL("%s", e.text);
    return loss.sum;
}

/* The loss's slope along v, from four points h apart. */
static double slope_along(const pith__tape *tape, const pith__param *q, const float *w, const double *v) {
    const double h = 0.004, at[] = { 1, -1, 2, -2 }, by[] = { 8, -8, -1, 1 };
    double slope = 0;
    for (int k = 0; k < 4; k++) {
        for (size_t i = 0; i < q->n; i++) q->w[i] = (float)(w[i] + at[k] * h * v[i]);
        slope += by[k] * score(tape);
    }
    memcpy(q->w, w, q->n * sizeof *w);
    return slope / (12 * h);
}

static void check_param(const pith__tape *tape, const pith__param *q) {
    double *v = malloc(q->n * sizeof *v), size = 0;
    float *w = malloc(q->n * sizeof *w);
    memcpy(w, q->w, q->n * sizeof *w);
    for (size_t i = 0; i < q->n; i++) size += (double)q->g[i] * q->g[i];
    size = sqrt(size);
    CHECK(size > 1e-4);
    for (int k = 0; k < 2; k++) { /* along the gradient, and along a random direction */
        double length = 0, want = 0;
        for (size_t i = 0; i < q->n; i++) v[i] = k ? uniform() : q->g[i], length += v[i] * v[i];
        for (size_t i = 0; i < q->n; i++) v[i] /= sqrt(length), want += v[i] * q->g[i];
        double got = slope_along(tape, q, w, v);
        if (!(fabs(got - want) <= 1e-3 * size + 1e-3))
            FAIL("%.*s direction %d: %.7f, slope %.7f, length %.7f", (int)q->tensor->name.n, q->tensor->name.p, k, want, got, size);
    }
    free(v), free(w);
}

static void texts(void) {
    for (int i = 0; i < N; i++) t[i] = (i * i * 7 + 3 * i + 5) % VOCAB, target[i] = i % 7 == 3 ? -1 : (i * 11 + 2) % VOCAB;
}

static void check_every_weight(int is_lfm) {
    lfm = is_lfm;
    pith_error e = { 0, "" };
    pith__params p;
    pith_model *m = make(1);
    texts();
    REQUIRE(m);
    EQ(pith__params_new(&p, m, &e), PITH_OK);
    pith__tape *tape = pith__tape_new(m, p.g, N, PITH__KEEP_ALL, &e);
    if (!tape) FAIL("%s", e.text);
    REQUIRE(tape);
    NEAR(learn(tape), score(tape), 0);
    EQ(p.n_param, m->store.n_tensor);
    for (size_t i = 0; i < p.n_param; i++) check_param(tape, &p.param[i]);
    pith__tape_free(tape), pith__params_free(&p), pith_close(m);
}

TEST(every_weight) { check_every_weight(0); }
TEST(every_weight_of_lfm2) { check_every_weight(1); }

static void check_bits(int is_lfm) {
    lfm = is_lfm;
    float *want = NULL;
    size_t n = 0;
    for (int i = 0; i < 4; i++) {
        pith_error e = { 0, "" };
        pith__params p;
        pith_model *m = make(1 + i % 2 * 3);
        texts();
        EQ(pith__params_new(&p, m, &e), PITH_OK);
        pith__tape *tape = pith__tape_new(m, p.g, N, i / 2 ? PITH__KEEP_STREAM : PITH__KEEP_ALL, &e);
        REQUIRE(tape);
        learn(tape);
        if (!want) n = p.n, want = malloc(n * sizeof *want), memcpy(want, p.g, n * sizeof *want);
        CHECK(n == p.n && !memcmp(want, p.g, n * sizeof *want));
        pith__tape_free(tape), pith__params_free(&p), pith_close(m);
    }
    free(want);
}

TEST(threads_and_memory_change_no_bit) { check_bits(0), check_bits(1); }

static void check_lora(int is_lfm) {
    lfm = is_lfm;
    pith_error e = { 0, "" };
    pith__params p;
    pith_model *m = make(1);
    pith__lora_plan plan = { .r = 2, .alpha = 4, .seed = 1 };
    texts();
    pith_adapter *a = pith__adapter_new(m, &plan, &e);
    REQUIRE(a);
    EQ(pith__adapter_params(&p, a, m, &e), PITH_OK);
    pith__tape *tape = pith__tape_new(m, p.g, N, PITH__KEEP_ALL, &e);
    REQUIRE(tape);
    tape->s->adapted = (pith__adapted){ .n = 1, .of = { { a, 1 } } };
    double before = learn(tape);
    for (size_t i = 0; i < p.n_param; i++)
        for (size_t k = 0; k < p.param[i].n; k++) p.param[i].w[k] -= 0.01f * p.param[i].g[k];
    CHECK(score(tape) < before - 0.1);
    pith__tape_free(tape), pith__params_free(&p), pith_adapter_close(a), pith_close(m);
}

TEST(a_lora_learns) { check_lora(0), check_lora(1); }

int main(void) {
    RUN(every_weight);
    RUN(every_weight_of_lfm2);
    RUN(threads_and_memory_change_no_bit);
    RUN(a_lora_learns);
    return DONE();
}
