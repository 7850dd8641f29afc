/* t_backward.c - the way back: against finite differences, against a reference written apart, and
 * against itself bit for bit. Small random models of every family are made in memory. */
#include "../train/backward.c" /* for the functions that are its own */
#include "fixture.h"
#include "reference_grad.h"
#include "test.h"

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
    HALF_STORED = 256
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
    { "phi3",
      "phi3",
      FUSED | UNTIED,
      2,
      0,
      { { "rope.dimension_count", 4, 0 }, { "attention.sliding_window", 9, 0 } } },
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
};
enum { N_FAMILY = sizeof all_families / sizeof *all_families };
enum { EMBD = 24, HEAD = 4, KV_HEAD = 2, DIM = 8, FF = 20, FF_EXPERT = 12, VOCAB = 37, N = 20 };

static uint64_t hash_of(const char *name) { /* FNV-1a */
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *name; name++) hash = (hash ^ (uint8_t)*name) * 0x100000001b3u;
    return hash;
}

/* The same numbers as scripts/reference_grad.py has, from the tensor's name alone. */
static void fill(float *x, const char *name, size_t n, size_t cols) {
    uint64_t state = hash_of(name);
    int norm = strstr(name, "norm") != NULL, bias = strstr(name, "bias") != NULL;
    for (size_t i = 0; i < n; i++) {
        float u = fixture_random(&state);
        x[i] = norm ? 1 + 0.3f * u : bias ? 0.3f * u : u * 1.5f / sqrtf((float)cols);
        if (!strcmp(name, "token_embd.weight")) x[i] = u;
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
    if (pith__tensor_set(&s->tensor[s->n_tensor++], s, pith__str_of(copy), PITH__F32, 3 - from,
                         shape + from, (const uint8_t *)x, n * sizeof *x, NULL))
        FAIL("%s", name);
}

static void add_layer(pith__store *s, const family *f, int l) {
    size_t heads = HEAD * DIM, kv = KV_HEAD * DIM, e = (size_t)f->n_expert, qk = DIM;
    if (!(f->has & NO_PRE))
        add(s, l, "attn_norm.weight", 0, 1, EMBD), add(s, l, "ffn_norm.weight", 0, 1, EMBD);
    if (f->has & POST)
        add(s, l, "post_attention_norm.weight", 0, 1, EMBD),
            add(s, l, "post_ffw_norm.weight", 0, 1, EMBD);
    if (f->has & NORM_QK_WHOLE) qk = 0;
    if (f->has & NORM_QK)
        add(s, l, "attn_q_norm.weight", 0, 1, qk ? qk : heads),
            add(s, l, "attn_k_norm.weight", 0, 1, qk ? qk : kv);
    if (f->has & BIAS)
        add(s, l, "attn_q.bias", 0, 1, heads), add(s, l, "attn_k.bias", 0, 1, kv),
            add(s, l, "attn_v.bias", 0, 1, kv);
    if (f->has & BIAS_ALL) {
        add(s, l, "attn_output.bias", 0, 1, EMBD), add(s, l, "ffn_down.bias", 0, 1, EMBD);
        add(s, l, "ffn_gate.bias", 0, 1, FF), add(s, l, "ffn_up.bias", 0, 1, FF);
    }
    if (f->has & FUSED) {
        add(s, l, "attn_qkv.weight", 0, heads + 2 * kv, EMBD);
        add(s, l, "ffn_up.weight", 0, 2 * FF, EMBD);
    } else {
        add(s, l, "attn_q.weight", 0, heads, EMBD);
        add(s, l, "attn_k.weight", 0, kv, EMBD);
        add(s, l, "attn_v.weight", 0, kv, EMBD);
    }
    add(s, l, "attn_output.weight", 0, EMBD, heads);
    if (e) {
        add(s, l, "ffn_gate_inp.weight", 0, e, EMBD);
        add(s, l, "ffn_gate_exps.weight", e, FF_EXPERT, EMBD);
        add(s, l, "ffn_up_exps.weight", e, FF_EXPERT, EMBD);
        add(s, l, "ffn_down_exps.weight", e, EMBD, FF_EXPERT);
        return;
    }
    if (!(f->has & FUSED))
        add(s, l, "ffn_gate.weight", 0, FF, EMBD), add(s, l, "ffn_up.weight", 0, FF, EMBD);
    add(s, l, "ffn_down.weight", 0, EMBD, FF);
}

static pith_model *make(const family *f, int threads, const char *kernels) {
    pith__store s = { .path = f->name, .kind = "made", .rope_half = f->has & HALF_STORED };
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
        { "context_length", 64 },
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
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", f->arch);
    pith__store_add_float(&s, key, 1e-3);
    for (int i = 0; i < 6 && f->keys[i].key; i++) {
        snprintf(key, sizeof key, "%s.%s", f->arch, f->keys[i].key);
        if (f->keys[i].real) pith__store_add_float(&s, key, f->keys[i].value);
        else pith__store_add_int(&s, key, (int)f->keys[i].value);
    }
    s.tensor = pith__arena_new(&s.arena, 3 + 20 * (size_t)f->n_layer, sizeof *s.tensor);
    add(&s, -1, "token_embd.weight", 0, VOCAB, EMBD);
    add(&s, -1, "output_norm.weight", 0, 1, EMBD);
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

static int pupil_new(pupil *u, const family *f, int threads, const char *kernels, int recompute) {
    pith_error e = { 0, "" };
    memset(u, 0, sizeof *u);
    u->m = make(f, threads, kernels);
    if (!u->m) return 1;
    if (pith__params_new(&u->p, u->m, &e)) FAIL("%s", e.text);
    u->tape = pith__tape_new(u->m, u->p.g, N, recompute, &e);
    if (!u->tape) FAIL("%s", e.text);
    for (int i = 0; i < N; i++) u->t[i] = (i * i * 7 + 3 * i + 5) % VOCAB;
    for (int i = 0; i < N; i++) u->target[i] = i % 7 == 3 ? -100 : (i * 11 + 2) % VOCAB;
    return !u->tape;
}

static void pupil_free(pupil *u) {
    pith__tape_free(u->tape);
    pith__params_free(&u->p);
    pith_close(u->m);
}

static double pupil_learn(pupil *u, float scale) {
    pith__loss loss = { 0, 0 };
    pith_error e = { 0, "" };
    if (pith__learn(u->tape, u->t, u->target, N, scale, &loss, &e)) FAIL("%s", e.text);
    return loss.sum;
}

static double pupil_score(pupil *u) {
    pith__loss loss = { 0, 0 };
    if (pith__score(u->tape, u->t, u->target, N, &loss, NULL)) FAIL("no loss");
    return loss.sum;
}

/* ---- finite differences of whole models -------------------------------------------------- */

/* Which experts were chosen, as one number: where that changes the loss has a step and no slope. */
static uint64_t choices(const pupil *u) {
    uint64_t hash = 0;
    for (int l = 0; l < u->m->hyper.n_layer; l++)
        for (int i = 0; i < N * u->m->hyper.n_expert; i++)
            hash = hash * 0x9e3779b97f4a7c15u + (pith__acts_at(u->tape->s, l).route[i] > 0);
    return hash;
}

static double loss_at(pupil *u, const pith__param *q, const float *w, const double *v, double h,
                      int *same) {
    uint64_t before = choices(u);
    for (size_t i = 0; i < q->n; i++) q->w[i] = (float)(w[i] + h * v[i]);
    double loss = pupil_score(u);
    *same &= choices(u) == before;
    return loss;
}

/* The loss's slope along v, from four points *h apart: what is left out is of order h^4. */
static double slope_along(pupil *u, const pith__param *q, const double *v, double *h) {
    float *w = malloc(q->n * sizeof *w);
    double slope = 0;
    memcpy(w, q->w, q->n * sizeof *w);
    for (int same = 0; !same && *h > 1e-4; *h /= 2) {
        same = 1;
        loss_at(u, q, w, v, 0, &same), same = 1;
        double near = loss_at(u, q, w, v, *h, &same) - loss_at(u, q, w, v, -*h, &same);
        double far = loss_at(u, q, w, v, 2 * *h, &same) - loss_at(u, q, w, v, -2 * *h, &same);
        slope = (8 * near - far) / (12 * *h);
    }
    memcpy(q->w, w, q->n * sizeof *w);
    free(w);
    return slope;
}

static double length(const double *v, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i++) s += v[i] * v[i];
    return sqrt(s);
}

/* Along the gradient, where the slope is its length, and along a random direction. */
static void check_param(pupil *u, const pith__param *q, const char *family_name) {
    double *v = malloc(q->n * sizeof *v), size = 0;
    uint64_t state = 77;
    for (size_t i = 0; i < q->n; i++) size += (double)q->g[i] * q->g[i];
    size = sqrt(size);
    if (!(size > 1e-4))
        FAIL("%s: %.*s has no gradient", family_name, (int)q->tensor->name.n, q->tensor->name.p);
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < q->n; i++) v[i] = k ? fixture_random(&state) : q->g[i];
        double l = length(v, q->n), want = 0;
        for (size_t i = 0; i < q->n; i++) v[i] /= l, want += v[i] * q->g[i];
        double h = 0.01, got = slope_along(u, q, v, &h);
        if (!(fabs(got - want) <= 1e-3 * size + 4e-6 / h)) /* a loss has errors of 1e-6 */
            FAIL("%s: %.*s direction %d: %.7f, slope %.7f, length %.7f", family_name,
                 (int)q->tensor->name.n, q->tensor->name.p, k, want, got, size);
    }
    free(v);
}

TEST(every_weight_of_every_family) {
    for (int i = 0; i < N_FAMILY; i++) {
        pupil u;
        REQUIRE(!pupil_new(&u, &all_families[i], 1, NULL, 0));
        NEAR(pupil_learn(&u, 1), pupil_score(&u), 0);
        EQ(u.p.n_param, u.m->store.n_tensor);
        for (size_t j = 0; j < u.p.n_param; j++)
            check_param(&u, &u.p.param[j], all_families[i].name);
        pupil_free(&u);
    }
}

/* ---- a reference written apart ----------------------------------------------------------- */

static void against_reference(const pupil *u, int family_index, double loss) {
    const char *name = all_families[family_index].name;
    CHECK(!strcmp(reference_grads[family_index].family, name));
    REQUIRE((size_t)reference_grads[family_index].n == u->p.n_param);
    NEAR(loss, reference_grads[family_index].loss, 2e-6 * loss);
    for (size_t j = 0; j < u->p.n_param; j++) {
        const pith__param *q = &u->p.param[j];
        double size = 0, along = 0, want = reference_grads[family_index].grad[j].length;
        char text[96];
        snprintf(text, sizeof text, "%.*s", (int)q->tensor->name.n, q->tensor->name.p);
        uint64_t state = hash_of(text) + 1;
        for (size_t i = 0; i < q->n; i++) {
            size += (double)q->g[i] * q->g[i];
            along += (double)q->g[i] * fixture_random(&state);
        }
        double off = fmax(fabs(sqrt(size) - want),
                          fabs(along - reference_grads[family_index].grad[j].product));
        if (!(off <= 2e-5 * want))
            FAIL("%s: %s is off by %g of its length", name, text, off / want);
    }
}

static void all_against_reference(const char *kernels) {
    for (int i = 0; i < N_FAMILY; i++) {
        pupil u;
        REQUIRE(!pupil_new(&u, &all_families[i], 1, kernels, 0));
        against_reference(&u, i, pupil_learn(&u, 1));
        pupil_free(&u);
    }
}

TEST(reference_of_every_family) { all_against_reference(NULL); }
TEST(reference_portable) { all_against_reference("portable"); }

/* ---- one function at a time: finite differences in double precision ---------------------- */

enum { SMALL = 37 };
typedef double (*function)(const double *x, int out, const float *fixed); /* y[out] of x (SMALL) */

static double f_rmsnorm(const double *x, int out, const float *w) {
    double s = 0;
    for (int i = 0; i < SMALL; i++) s += x[i] * x[i];
    return w[out] * x[out] / sqrt(s / SMALL + 1e-3);
}

static double f_softmax(const double *x, int out, const float *fixed) {
    double s = 0;
    (void)fixed;
    for (int i = 0; i < SMALL; i++) s += exp(x[i]);
    return exp(x[out]) / s;
}

static double f_silu(const double *x, int out, const float *up) {
    return x[out] / (1 + exp(-x[out])) * up[out];
}

static double f_gelu(const double *x, int out, const float *up) {
    double z = x[out];
    return 0.5 * z * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (z + 0.044715 * z * z * z))) *
           up[out];
}

/* The gradient by x[i] of the sum of dy[out] * y[out]. */
static void differences(double *dx, function f, const float *x, const float *dy,
                        const float *fixed) {
    double at[SMALL];
    for (int i = 0; i < SMALL; i++) at[i] = x[i];
    for (int i = 0; i < SMALL; i++) {
        dx[i] = 0;
        for (int out = 0; out < SMALL; out++) {
            at[i] = x[i] + 1e-4;
            double y = f(at, out, fixed);
            at[i] = x[i] - 1e-4;
            dx[i] += dy[out] * (y - f(at, out, fixed)) / 2e-4;
            at[i] = x[i];
        }
    }
}

static void random_floats(float *x, size_t n, uint64_t seed) {
    for (size_t i = 0; i < n; i++) x[i] = 2 * fixture_random(&seed);
}

static void near_doubles(const float *got, const double *want, double tol) {
    for (int i = 0; i < SMALL; i++) NEAR(got[i], want[i], tol);
}

static void each_function(const pith__kernels *k) {
    float x[SMALL], dy[SMALL], w[SMALL], dx[SMALL], d_up[SMALL], p[SMALL];
    double want[SMALL];
    random_floats(x, SMALL, 1), random_floats(dy, SMALL, 2), random_floats(w, SMALL, 3);

    differences(want, f_rmsnorm, x, dy, w);
    d_rmsnorm(dx, dy, x, w, SMALL, 1.0f / sqrtf(k->dot(x, x, SMALL) / SMALL + 1e-3f), 0);
    near_doubles(dx, want, 2e-6);

    differences(want, f_softmax, x, dy, NULL);
    memcpy(p, x, sizeof p), memcpy(dx, dy, sizeof dx);
    k->softmax(p, SMALL);
    d_softmax(k, dx, p, SMALL);
    near_doubles(dx, want, 1e-6);

    for (int act = PITH__SILU; act <= PITH__GELU; act++) {
        differences(want, act == PITH__SILU ? f_silu : f_gelu, x, dy, w);
        k->d_gate(dx, d_up, dy, x, w, SMALL, act);
        near_doubles(dx, want, 5e-6);
        for (int i = 0; i < SMALL; i++) {
            double at = x[i];
            double y = act == PITH__SILU ? at / (1 + exp(-at))
                                         : 0.5 * at *
                                               (1 + tanh(sqrt(2 / 3.14159265358979323846) *
                                                         (at + 0.044715 * at * at * at)));
            NEAR(d_up[i], dy[i] * y, 2e-6);
        }
    }
}

static const char *const kernel_names[] = { "portable", "avx2", "avx512", "neon", "dotprod",
                                              "i8mm" };

static const pith__kernels *kernels_named(const char *name) {
    if (!strcmp(name, "portable")) return pith__portable(NULL);
    return pith__x86(name) ? pith__x86(name) : pith__arm(name);
}

TEST(norm_softmax_and_gate) {
    for (size_t i = 0; i < sizeof kernel_names / sizeof *kernel_names; i++)
        if (kernels_named(kernel_names[i])) each_function(kernels_named(kernel_names[i]));
}

/* A rotation keeps lengths and angles: what comes back through it has the same product as what went
 * in. */
TEST(rotation) {
    float x[16], y[16], dy[16], dx[16], cs[12];
    for (int half = 0; half < 2; half++) {
        random_floats(x, 16, 1), random_floats(dy, 16, 2), random_floats(cs, 12, 3);
        memcpy(y, x, sizeof y), memcpy(dx, dy, sizeof dx);
        pith__portable(NULL)->rope(y, cs, 12, half);
        d_rope(dx, cs, 12, half);
        double there = 0, back = 0;
        for (int i = 0; i < 16; i++) there += y[i] * dy[i], back += x[i] * dx[i];
        NEAR(there, back, 1e-5);
        NEAR(dx[12], dy[12], 0);
    }
}

/* All shapes at the edges of a tile, a read along its rows and down its columns, against plain
 * sums. */
static void outer_of(const pith__kernels *k, size_t m, size_t n, size_t n_k, int down, int add_to) {
    float a[40 * 40], b[40 * 80], y[40 * 80], before[40 * 80];
    random_floats(a, 40 * 40, 1), random_floats(b, 40 * 80, 2), random_floats(y, 40 * 80, 3);
    memcpy(before, y, sizeof y);
    pith__outer p = { y, 80, a, down ? 1 : 40, down ? 40 : 1, b, 80, m, n, n_k, add_to };
    k->outer(&p);
    for (size_t i = 0; i < 40; i++)
        for (size_t j = 0; j < 80; j++) {
            double want = before[i * 80 + j];
            if (i < m && j < n) {
                if (!add_to) want = 0;
                for (size_t u = 0; u < n_k; u++)
                    want += (double)a[i * p.a_row + u * p.a_col] * b[u * 80 + j];
            }
            if (!(fabs(y[i * 80 + j] - want) <= (i < m && j < n ? 1e-4 : 0)))
                FAIL("%s: %zu x %zu x %zu: [%zu, %zu] is %g, want %g", k->name, m, n, n_k, i, j,
                     y[i * 80 + j], want);
        }
}

TEST(products) {
    static const size_t ms[] = { 1, 3, 4, 6, 12, 13, 29 },
                        ns[] = { 1, 15, 16, 17, 32, 33, 47, 64, 79 };
    for (size_t i = 0; i < sizeof kernel_names / sizeof *kernel_names; i++) {
        const pith__kernels *k = kernels_named(kernel_names[i]);
        for (size_t m = 0; k && m < sizeof ms / sizeof *ms; m++)
            for (size_t n = 0; n < sizeof ns / sizeof *ns; n++)
                for (int way = 0; way < 4; way++)
                    outer_of(k, ms[m], ns[n], 1 + 3 * m + n, way & 1, way >> 1);
    }
}

/* ---- larger models: the same bits -------------------------------------------------------- */

enum { BIG_N = 70, BIG_VOCAB = 300 };
static const fixture_shape big = { 96, 192, 2, 6, 3, BIG_VOCAB, 128, 1, 32 };

typedef struct {
    pith_model *m;
    pith__params p;
    pith__tape *tape;
    pith_token t[3][BIG_N];
} big_pupil;

static int big_new(big_pupil *u, const bytes *b, int threads, const char *kernels, int recompute) {
    pith_options opt = { .n_threads = threads, .kernels = kernels };
    pith_error e = { 0, "" };
    uint64_t state = 5;
    memset(u, 0, sizeof *u);
    u->m = pith_open_memory(b->p, b->n, &opt, &e);
    if (!u->m || pith__params_new(&u->p, u->m, &e)) FAIL("%s", e.text);
    u->tape = pith__tape_new(u->m, u->p.g, BIG_N, recompute, &e);
    if (!u->tape) FAIL("%s", e.text);
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < BIG_N; i++)
            u->t[k][i] = (int)((fixture_random(&state) + 1) / 2 * (BIG_VOCAB - 1));
    return !u->tape;
}

static void big_free(big_pupil *u) {
    pith__tape_free(u->tape);
    pith__params_free(&u->p);
    pith_close(u->m);
}

/* n tokens, each foretelling the next. */
static double big_learn(big_pupil *u, int sequence, int n) {
    pith__loss loss = { 0, 0 };
    const pith_token *t = u->t[sequence];
    EQ(pith__learn(u->tape, t, t + 1, n - 1, 0.01f, &loss, NULL), PITH_OK);
    EQ(loss.n, n - 1);
    return loss.sum;
}

static float *copy_of(const float *x, size_t n) {
    float *y = malloc(n * sizeof *y);
    memcpy(y, x, n * sizeof *y);
    return y;
}

TEST(any_threads_and_recomputation) {
    bytes b = fixture_llama2c(&big, 1, 3);
    float *want = NULL;
    for (size_t k = 0; k < sizeof kernel_names / sizeof *kernel_names; k++) {
        if (!kernels_named(kernel_names[k])) continue;
        double loss = 0;
        for (int i = 0; i < 5; i++) { /* 1 to 4 threads, and 2 with recomputation */
            big_pupil u;
            REQUIRE(!big_new(&u, &b, i < 4 ? 1 + i : 2, kernel_names[k], i == 4));
            double got = big_learn(&u, 0, BIG_N) + big_learn(&u, 1, 33);
            if (i == 0) want = copy_of(u.p.g, u.p.n), loss = got;
            CHECK(got == loss);
            CHECK(memcmp(want, u.p.g, u.p.n * sizeof *want) == 0);
            CHECK(pith__grad_norm(&u.p) > 0);
            big_free(&u);
        }
        free(want);
    }
    free(b.p);
}

/* A sequence leaves nothing behind that the next would see, and the gradient of two is the sum in
 * their order, whatever was computed between. */
TEST(sequences_add_up) {
    bytes b = fixture_llama2c(&big, 1, 3);
    big_pupil u;
    pith__loss loss = { 0, 0 }, again = { 0, 0 };
    REQUIRE(!big_new(&u, &b, 2, NULL, 0));
    big_learn(&u, 0, BIG_N), big_learn(&u, 1, 40), big_learn(&u, 2, 70);
    float *want = copy_of(u.p.g, u.p.n);
    pith__params_zero(&u.p);
    big_learn(&u, 0, BIG_N);
    EQ(pith__score(u.tape, u.t[2], u.t[2] + 1, 60, &loss, NULL), PITH_OK);
    big_learn(&u, 1, 40);
    EQ(pith__score(u.tape, u.t[2], u.t[2] + 1, 60, &again, NULL), PITH_OK);
    big_learn(&u, 2, 70);
    CHECK(memcmp(want, u.p.g, u.p.n * sizeof *want) == 0);
    CHECK(loss.sum == again.sum && loss.n == 60);
    free(want), big_free(&u), free(b.p);
}

/* A step of seven sequences of different lengths: any number of threads, and of sequences at a
 * time. */
TEST(steps_of_any_shape) {
    bytes b = fixture_llama2c(&big, 1, 3);
    float *want = NULL;
    double loss = 0, scored = 0;
    for (int i = 0; i < 5; i++) {
        static const int at_a_time[] = { 7, 1, 3, 4 };
        big_pupil u;
        pith__sequence s[7];
        pith__loss got = { 0, 0 }, again = { 0, 0 };
        REQUIRE(!big_new(&u, &b, 1 + i, NULL, 0));
        for (int k = 0; k < 7; k++)
            s[k] = (pith__sequence){ u.t[k % 3], u.t[k % 3] + 1, BIG_N - 1 - 5 * k };
        pith__batch *batch = pith__batch_new(u.m, &u.p, BIG_N, 7, i % 2, NULL);
        REQUIRE(batch && batch->n_lane == 4);
        for (int step = 0; step < (i == 1 ? 2 : 1);
             step++) { /* nothing is left from the step before */
            pith__batch_begin(batch);
            got.sum = 0, got.n = 0;
            for (int k = 0, n; k < 7; k += n) {
                n = at_a_time[i % 4] < 7 - k ? at_a_time[i % 4] : 7 - k;
                EQ(pith__batch_learn(batch, s + k, n, 0.01f, NULL), PITH_OK);
            }
            pith__batch_end(batch, &got);
        }
        EQ(pith__batch_score(batch, s, 7, &again, NULL), PITH_OK);
        EQ(got.n, 7 * (BIG_N - 1) - 5 * 21);
        if (i == 0) want = copy_of(u.p.g, u.p.n), loss = got.sum, scored = again.sum;
        CHECK(got.sum == loss && again.sum == scored && again.n == got.n);
        NEAR(got.sum, again.sum, 1e-9 * loss);
        CHECK(memcmp(want, u.p.g, u.p.n * sizeof *want) == 0);
        s[5].n = BIG_N + 1;
        EQ(pith__batch_learn(batch, s, 7, 0.01f, NULL), PITH_EARG);
        pith__batch_free(batch);

        if (i == 0) { /* and one after the other */
            pith__params_zero(&u.p);
            s[5].n = BIG_N - 1 - 25;
            for (int k = 0; k < 7; k++)
                EQ(pith__learn(u.tape, s[k].t, s[k].target, s[k].n, 0.01f, &again, NULL), PITH_OK);
            double off = 0, all = 0;
            for (size_t j = 0; j < u.p.n; j++) {
                off += ((double)u.p.g[j] - want[j]) * ((double)u.p.g[j] - want[j]);
                all += (double)want[j] * want[j];
            }
            NEAR(sqrt(off / all), 0, 1e-6);
        }
        big_free(&u);
    }
    free(want), free(b.p);
}

/* ---- weights that do not learn ----------------------------------------------------------- */

/* A gradient passes through weights of any format as through the floats they stand for. */
TEST(through_any_format) {
    enum { ROWS_ = 70, COLS = 512, TOKENS = 9 };
    static const int formats[] = { PITH__F16,  PITH__BF16, PITH__Q4_0,
                                   PITH__Q8_0, PITH__Q4_K, PITH__Q6_K };
    static float w[ROWS_ * COLS], plain[ROWS_ * COLS], dy[TOKENS * ROWS_], dx[2][TOKENS * COLS];
    static uint8_t packed[ROWS_ * COLS * 4];
    pupil u;
    REQUIRE(!pupil_new(&u, &all_families[0], 1, NULL, 0));
    float *panel = malloc(sizeof *panel * DEPTH * (COLS + PANEL)), *own = u.tape->panel;
    random_floats(w, ROWS_ * COLS, 1), random_floats(dy, TOKENS * ROWS_, 2);
    u.tape->panel = panel;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        const pith__format *f = pith__format_of(formats[i]);
        if (!f || !f->encode) continue;
        pith__tensor t = { .format = f, .rows = ROWS_, .cols = COLS, .data = packed };
        t.row_bytes = COLS / (size_t)f->length * (size_t)f->bytes;
        for (size_t r = 0; r < ROWS_; r++) f->encode(packed + r * t.row_bytes, w + r * COLS, COLS);
        for (size_t r = 0; r < ROWS_; r++) pith__row_floats(&t, r, plain + r * COLS);
        pith__tensor p = { .format = pith__format_of(PITH__F32),
                           .rows = ROWS_,
                           .cols = COLS,
                           .data = (const uint8_t *)plain,
                           .row_bytes = COLS * sizeof(float) };
        pith__d_input(u.tape, dx[0], dy, &t, TOKENS, 0);
        pith__d_input(u.tape, dx[1], dy, &p, TOKENS, 0);
        CHECK(memcmp(dx[0], dx[1], sizeof dx[0]) == 0);
    }
    u.tape->panel = own;
    free(panel), pupil_free(&u);
}

/* llama2.c's int8 files, with groups of any size: their gradients by the embedding are near those
 * of the same weights as floats. */
TEST(through_int8) {
    static const int groups[] = { 32, 4 };
    for (int i = 0; i < 2; i++) {
        fixture_shape shape = big;
        shape.group = groups[i];
        bytes v1 = fixture_llama2c(&shape, 1, 3), v2 = fixture_llama2c(&shape, 2, 3);
        pith_options opt = { .n_threads = 2 };
        pith_model *m = pith_open_memory(v2.p, v2.n, &opt, NULL);
        big_pupil u;
        pith__loss loss = { 0, 0 };
        REQUIRE(m && !big_new(&u, &v1, 1, NULL, 0));
        pith__tape *y = pith__tape_new(m, NULL, BIG_N, 0, NULL);
        REQUIRE(y);
        EQ(pith__learn(y, u.t[0], u.t[0] + 1, 40, 0.01f, &loss, NULL), PITH_OK);
        big_learn(&u, 0, 41);
        double off = 0, all = 0;
        for (int k = 0; k < 40 * shape.dim; k++) {
            double d = (double)y->d.x[k] - u.tape->d.x[k];
            off += d * d, all += (double)u.tape->d.x[k] * u.tape->d.x[k];
        }
        NEAR(sqrt(off / all), 0, 0.05);
        pith__tape_free(y), pith_close(m);
        big_free(&u), free(v1.p), free(v2.p);
    }
}

static int is_zero(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (x[i] != 0) return 0;
    return 1;
}

/* Freeze what a name has part of, or everything (NULL). Frozen weights have no gradient, the others
 * have the bits they had before, and so has what comes back to the embedding. */
static void freeze(const family *f, const char *part) {
    pupil u;
    size_t n = (size_t)N * EMBD;
    REQUIRE(!pupil_new(&u, f, 1, NULL, 0));
    pupil_learn(&u, 1);
    float *want = copy_of(u.tape->d.x, n), *g = copy_of(u.p.g, u.p.n);
    for (pith__weight *w = u.m->weights; w; w = w->next)
        if (!part || strstr(w->tensor.name.p, part)) w->at = PITH__FROZEN;
    pith__params_zero(&u.p);
    pupil_learn(&u, 1);
    CHECK(memcmp(want, u.tape->d.x, n * sizeof *want) == 0);
    for (size_t j = 0; j < u.p.n_param; j++) {
        const pith__param *q = &u.p.param[j];
        const float *before = g + (q->g - u.p.g);
        if (!part || strstr(q->tensor->name.p, part)) CHECK(is_zero(q->g, q->n));
        else CHECK(memcmp(q->g, before, q->n * sizeof *g) == 0);
    }
    free(want), free(g), pupil_free(&u);
}

TEST(frozen_weights) {
    for (int i = 0; i < N_FAMILY; i++) {
        freeze(&all_families[i], NULL);
        freeze(&all_families[i], "norm");
        freeze(&all_families[i], "bias");
        freeze(&all_families[i], "token_embd"); /* tied: the output matrix too */
        freeze(&all_families[i], "ffn");
        freeze(&all_families[i], "attn");
    }
}

/* ---- what a loss should be --------------------------------------------------------------- */

static void shrink(pupil *u, float by) {
    for (size_t j = 0; j < u->p.n_param; j++)
        for (size_t i = 0; u->p.param[j].decay && i < u->p.param[j].n; i++)
            u->p.param[j].w[i] *= by;
}

TEST(untrained_is_ln_vocab) {
    for (int i = 0; i < N_FAMILY; i++) {
        pupil u;
        pith__loss loss = { 0, 0 };
        REQUIRE(!pupil_new(&u, &all_families[i], 1, NULL, 0));
        shrink(&u, 0.03f);
        EQ(pith__score(u.tape, u.t, u.target, N, &loss, NULL), PITH_OK);
        EQ(loss.n, 17);
        NEAR(loss.sum / (double)loss.n, log(VOCAB), 0.02 * log(VOCAB));
        pupil_free(&u);
    }
}

TEST(overfits_a_batch) {
    for (int i = 0; i < N_FAMILY; i += 4) {
        pupil u;
        REQUIRE(!pupil_new(&u, &all_families[i], 1, NULL, 0));
        shrink(&u, 0.1f);
        float *means = calloc(2 * u.p.n, sizeof *means);
        pith__adamw how = { 0.9f, 0.99f, 1e-8f, 0.01f, 0, means, means + u.p.n };
        double loss = 0;
        for (int step = 0; step < 150; step++) {
            pith__params_zero(&u.p);
            loss = pupil_learn(&u, 1.0f / 17) / 17;
            double norm = pith__grad_norm(&u.p);
            pith__adamw_step(&how, &u.p, 0.01, norm > 1 ? 1 / norm : 1);
        }
        if (!(loss < 0.05)) FAIL("%s: the loss is still %g", all_families[i].name, loss);
        free(means), pupil_free(&u);
    }
}

TEST(refusals) {
    pupil u;
    pith__loss loss = { 0, 0 };
    pith_error e = { 0, "" };
    REQUIRE(!pupil_new(&u, &all_families[0], 1, NULL, 0));
    u.target[5] = VOCAB;
    EQ(pith__learn(u.tape, u.t, u.target, N, 1, &loss, &e), PITH_EARG);
    CHECK(strstr(e.text, "37") != NULL);
    u.target[5] = 1, u.t[3] = -1;
    EQ(pith__learn(u.tape, u.t, u.target, N, 1, &loss, &e), PITH_EARG);
    EQ(pith__learn(u.tape, u.t, u.target, N + 1, 1, &loss, &e), PITH_EARG);
    CHECK(loss.sum == 0 && loss.n == 0 && pith__grad_norm(&u.p) == 0);
    u.t[3] = 1;
    for (int i = 0; i < N; i++) u.target[i] = -100;
    EQ(pith__learn(u.tape, u.t, u.target, N, 1, &loss, &e), PITH_OK); /* nothing counts */
    CHECK(loss.sum == 0 && loss.n == 0 && pith__grad_norm(&u.p) == 0);
    CHECK(pith__tape_size(u.m, N, 0) > pith__tape_size(u.m, N, 1));
    pupil_free(&u);
}

/* ---- AdamW and its schedule -------------------------------------------------------------- */

TEST(adamw_as_the_paper_has_it) {
    pupil u;
    REQUIRE(!pupil_new(&u, &all_families[0], 1, NULL, 0));
    float *means = calloc(2 * u.p.n, sizeof *means);
    pith__adamw how = { 0.9f, 0.95f, 1e-6f, 0.1f, 0, means, means + u.p.n };
    const pith__param *q = NULL, *norm = NULL;
    for (size_t j = 0; j < u.p.n_param; j++) {
        if (pith__str_is(u.p.param[j].tensor->name, "blk.1.ffn_up.weight")) q = &u.p.param[j];
        if (pith__str_is(u.p.param[j].tensor->name, "blk.1.ffn_norm.weight")) norm = &u.p.param[j];
    }
    REQUIRE(q && norm);
    double w = q->w[7], z = norm->w[3], m = 0, v = 0, mz = 0, vz = 0;
    CHECK(q->decay && !norm->decay);
    for (int t = 1; t <= 5; t++) {
        double g = 0.3 * t - 1, lr = 0.01 * t, clip = 0.5;
        q->g[7] = norm->g[3] = (float)g;
        pith__adamw_step(&how, &u.p, lr, clip);
        g *= clip;
        m = 0.9 * m + 0.1 * g, v = 0.95 * v + 0.05 * g * g, mz = m, vz = v;
        w -= lr * 0.1 * w + lr * (m / (1 - pow(0.9, t))) / (sqrt(v / (1 - pow(0.95, t))) + 1e-6);
        z -= lr * (mz / (1 - pow(0.9, t))) / (sqrt(vz / (1 - pow(0.95, t))) + 1e-6);
        NEAR(q->w[7], w, 1e-6);
        NEAR(norm->w[3], z, 1e-6);
    }
    EQ(how.step, 5);
    q->g[7] = 3, norm->g[3] = 4;
    NEAR(pith__grad_norm(&u.p), 5, 1e-12);
    free(means), pupil_free(&u);
}

TEST(schedules) {
    EQ(pith__schedule_named("cosine"), PITH__COSINE);
    EQ(pith__schedule_named("linear"), PITH__LINEAR);
    EQ(pith__schedule_named("constant_with_warmup"), PITH__CONSTANT);
    EQ(pith__schedule_named("cosin"), -1);
    NEAR(pith__schedule(PITH__COSINE, 0, 10, 110, 0), 0, 0);
    NEAR(pith__schedule(PITH__COSINE, 5, 10, 110, 0), 0.5, 0);
    NEAR(pith__schedule(PITH__COSINE, 10, 10, 110, 0), 1, 0);
    NEAR(pith__schedule(PITH__COSINE, 35, 10, 110, 0), 0.8535533906, 1e-9);
    NEAR(pith__schedule(PITH__COSINE, 60, 10, 110, 0.1), 0.55, 1e-12);
    NEAR(pith__schedule(PITH__COSINE, 110, 10, 110, 0.1), 0.1, 1e-12);
    NEAR(pith__schedule(PITH__COSINE, 500, 10, 110, 0), 0, 1e-12);
    NEAR(pith__schedule(PITH__LINEAR, 35, 10, 110, 0), 0.75, 1e-12);
    NEAR(pith__schedule(PITH__LINEAR, 110, 10, 110, 0), 0, 1e-12);
    NEAR(pith__schedule(PITH__CONSTANT, 99, 0, 110, 0), 1, 0);
    NEAR(pith__schedule(PITH__COSINE, 0, 0, 0, 0.2), 0.2, 1e-12);
}

int main(void) {
    RUN(norm_softmax_and_gate);
    RUN(rotation);
    RUN(products);
    RUN(every_weight_of_every_family);
    RUN(reference_of_every_family);
    RUN(reference_portable);
    RUN(any_threads_and_recomputation);
    RUN(sequences_add_up);
    RUN(steps_of_any_shape);
    RUN(through_any_format);
    RUN(through_int8);
    RUN(frozen_weights);
    RUN(untrained_is_ln_vocab);
    RUN(overfits_a_batch);
    RUN(refusals);
    RUN(adamw_as_the_paper_has_it);
    RUN(schedules);
    return DONE();
}
