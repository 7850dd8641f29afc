/* t_backward.c - the backward pass: gradients against finite differences and against a reference
 * written apart. */
#include "../train/attention.c" /* for the functions that are their own */
#include "../train/backward.c"
#include "../train/norm.c"
#include "pupil.h"
#include "reference_grad.h"
#include "slopes.h"

/* ---- finite differences of whole models -------------------------------------------------- */

TEST(every_weight_of_every_family) {
    for (int i = 0; i < N_FAMILY; i++) {
        pupil u;
        REQUIRE(!pupil_new(&u, &all_families[i], 1, NULL, PITH__KEEP_ALL));
        NEAR(pupil_learn(&u, 1), pupil_score(&u), 0);
        EQ(u.p.n_param, u.m->store.n_tensor);
        for (size_t j = 0; j < u.p.n_param; j++)
            check_param(&u, &u.p.param[j], all_families[i].name);
        pupil_free(&u);
    }
}

/* Ways to choose experts and to weigh them that no family above has; the bias for choosing has no gradient. */
TEST(ways_to_weigh_experts) {
    static const family ways[] = {
        { "softmax, shared", "qwen2moe", BIAS | SHARES | SHARE_GATE, 2, 4, { { 0 } } },
        { "softmax, factor", "qwen3moe", NORM_QK | SHARES, 2, 4, { { "expert_weights_scale", 1.5, 1 } } },
        { "sigmoid, not normed", "qwen3moe", NORM_QK | SHARE_GATE | SHARES, 2, 4,
          { { "expert_gating_func", 2, 0 }, { "expert_weights_norm", 0, 0 }, { "expert_weights_scale", 0.7, 1 } } },
        { "sigmoid, groups", "qwen3moe", NORM_QK | SHARES | ROUTER_BIAS, 2, 6,
          { { "expert_gating_func", 2, 0 }, { "expert_weights_scale", 1.5, 1 }, { "expert_group_count", 3, 0 },
            { "expert_group_used_count", 2, 0 } } },
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        pupil u;
        REQUIRE(!pupil_new(&u, &ways[i], 1, NULL, i % 2 ? PITH__KEEP_ALL : PITH__KEEP_STREAM));
        NEAR(pupil_learn(&u, 1), pupil_score(&u), 0);
        for (size_t j = 0; j < u.p.n_param; j++)
            if (!strstr(u.p.param[j].tensor->name.p, "exp_probs_b")) check_param(&u, &u.p.param[j], ways[i].name);
        pupil_free(&u);
    }
}

/* Attention and the network of Command R7B share a norm; its other layers have a window, and rotation only there. */
TEST(one_norm_for_two) {
    static const family cohere = { "cohere2", "cohere2", LAYER_NORM, 4, 0, { { "attention.sliding_window", 7, 0 }, { "logit_scale", 0.7, 1 } } };
    for (int keep = 0; keep < 2; keep++) {
        pupil u;
        REQUIRE(!pupil_new(&u, &cohere, 1, NULL, keep ? PITH__KEEP_ALL : PITH__KEEP_STREAM));
        NEAR(pupil_learn(&u, 1), pupil_score(&u), 0);
        for (size_t j = 0; j < u.p.n_param; j++) check_param(&u, &u.p.param[j], "cohere2");
        pupil_free(&u);
    }
}

/* Gemma 2 has layers with a window and layers without; here each token sees both sides. */
TEST(masks_that_are_not_causal) {
    const family *f = all_families;
    while (strcmp(f->name, "gemma2") != 0) f++;
    pupil u;
    REQUIRE(!pupil_new(&u, f, 1, NULL, PITH__KEEP_ALL));
    for (int l = 0; l < u.m->hyper.n_layer; l++) u.m->layer[l].mask.causal = 0;
    NEAR(pupil_learn(&u, 1), pupil_score(&u), 0);
    for (size_t j = 0; j < u.p.n_param; j++) check_param(&u, &u.p.param[j], "both ways");
    pupil_free(&u);
}

/* BERT's attention with windows on both sides; with RoPE and without. */
TEST(windows_on_both_sides) {
    for (int i = N_DECODER; i < N_FAMILY; i++) {
        pupil u;
        pith_error e = { 0, "" };
        REQUIRE(!pupil_new(&u, &all_families[i], 1, NULL, PITH__KEEP_ALL));
        for (int l = 0; l < u.m->hyper.n_layer; l++) u.m->layer[l].mask.window = 4 + 2 * l;
        pith__tape_free(u.tape);
        u.tape = pith__tape_new(u.m, u.p.g, N, PITH__KEEP_ALL, &e); /* whose session has rings for the windows */
        REQUIRE(u.tape != NULL);
        NEAR(pupil_learn(&u, 1), pupil_score(&u), 0);
        for (size_t j = 0; j < u.p.n_param; j++) check_param(&u, &u.p.param[j], all_families[i].name);
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
        if (!(off <= 2e-5 * want + 2e-6)) /* that of BERT's bias of keys is 0 */
            FAIL("%s: %s is off by %g of its length", name, text, off / want);
    }
}

static void all_against_reference(const char *kernels) {
    for (int i = 0; i < N_FAMILY; i++) {
        pupil u;
        REQUIRE(!pupil_new(&u, &all_families[i], 1, kernels, PITH__KEEP_ALL));
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

static double f_layernorm(const double *x, int out, const float *w) {
    double mean = 0, s = 0;
    for (int i = 0; i < SMALL; i++) mean += x[i] / SMALL;
    for (int i = 0; i < SMALL; i++) s += (x[i] - mean) * (x[i] - mean);
    return w[out] * (x[out] - mean) / sqrt(s / SMALL + 1e-3);
}

static double f_softmax(const double *x, int out, const float *fixed) {
    double s = 0;
    (void)fixed;
    for (int i = 0; i < SMALL; i++) s += exp(x[i]);
    return exp(x[out]) / s;
}

static double silu(double z) { return z / (1 + exp(-z)); }
static double gelu(double z) {
    return 0.5 * z * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (z + 0.044715 * z * z * z)));
}
static double gelu_erf(double z) { return 0.5 * z * (1 + erf(z / sqrt(2))); }
static double relu(double z) { return z > 0 ? z : 0; }
static double relu2(double z) { return z > 0 ? z * z : 0; }
static double f_silu(const double *x, int out, const float *up) { return silu(x[out]) * (up ? up[out] : 1); }
static double f_gelu(const double *x, int out, const float *up) { return gelu(x[out]) * (up ? up[out] : 1); }
static double f_erf(const double *x, int out, const float *up) { return gelu_erf(x[out]) * (up ? up[out] : 1); }
static double f_relu(const double *x, int out, const float *up) { return relu(x[out]) * (up ? up[out] : 1); }
static double f_relu2(const double *x, int out, const float *up) { return relu2(x[out]) * (up ? up[out] : 1); }

static const struct { double (*act)(double); function f; } activations[] = {
    [PITH__SILU] = { silu, f_silu }, [PITH__GELU] = { gelu, f_gelu }, [PITH__GELU_ERF] = { gelu_erf, f_erf },
    [PITH__RELU] = { relu, f_relu }, [PITH__RELU2] = { relu2, f_relu2 },
};

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

    differences(want, f_layernorm, x, dy, w);
    d_layernorm(dx, dy, x, w, SMALL, by_of_layernorm(x, SMALL, 1e-3f), 0);
    near_doubles(dx, want, 2e-6);

    differences(want, f_softmax, x, dy, NULL);
    memcpy(p, x, sizeof p), memcpy(dx, dy, sizeof dx);
    k->softmax(p, SMALL);
    pith__d_softmax(k, dx, p, SMALL);
    near_doubles(dx, want, 1e-6);

    for (int act = 0; act < (int)(sizeof activations / sizeof *activations); act++) {
        differences(want, activations[act].f, x, dy, w);
        k->d_gate(dx, d_up, dy, x, w, SMALL, act);
        near_doubles(dx, want, 5e-6);
        for (int i = 0; i < SMALL; i++) NEAR(d_up[i], dy[i] * activations[act].act(x[i]), 2e-6);
        differences(want, activations[act].f, x, dy, NULL);
        k->d_gate(dx, NULL, dy, x, NULL, SMALL, act);
        near_doubles(dx, want, 5e-6);
    }
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
    pith__outer p = { y, 80, a, down ? 1 : 40, down ? 40 : 1, b, 80, m, n, n_k, add_to, 0 };
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

/* ---- the order of every sum ------------------------------------------------------------ */

/* Written out in plain C and compared bit by bit, with the portable kernels. tests/t_order.c compares
 * these with all others. */

enum { LONG = 1000, WIDE = 45, FEW = 5 }; /* more rows than are in floats at once, no whole panels */

/* y[j] of one row: a sum of products in equal parts of at most 384, each from its first to its last. */
static void product_row(float *y, const float *a, size_t a_col, const float *b, size_t n, int add_to) {
    size_t n_part = (n + 383) / 384, part = (n + n_part - 1) / n_part;
    for (size_t j = 0; j < WIDE; j++)
        for (size_t k0 = 0; k0 < n; k0 += part) {
            float s = 0;
            for (size_t k = k0; k < k0 + part && k < n; k++) s += a[k * a_col] * b[k * WIDE + j];
            y[j] = add_to || k0 ? y[j] + s : s;
        }
}

TEST(order_of_products) {
    static float w[LONG * WIDE], dy[FEW * LONG], got[LONG * WIDE], want[LONG * WIDE];
    pupil u;
    REQUIRE(!pupil_new(&u, &all_families[0], 1, "portable", PITH__KEEP_ALL));
    float *panel = malloc(pith__panel_floats(WIDE) * sizeof *panel), *own = u.tape->panel, *g = u.tape->g;
    random_floats(w, LONG * WIDE, 1), random_floats(dy, FEW * LONG, 2), random_floats(got, FEW * WIDE, 3);
    memcpy(want, got, sizeof want);
    pith__weight weight = { .tensor = { .format = pith__format_of(PITH__F32), .rows = LONG, .cols = WIDE,
                                        .data = (const uint8_t *)w, .row_bytes = WIDE * sizeof *w } };
    u.tape->panel = panel;
    for (int add_to = 1; add_to >= 0; add_to--) {
        pith__d_input(u.tape, got, dy, &weight.tensor, FEW, add_to);
        for (size_t t = 0; t < FEW; t++)
            product_row(want + t * WIDE, dy + t * LONG, 1, w, LONG, add_to);
        CHECK(memcmp(got, want, FEW * WIDE * sizeof *got) == 0);
    }
    weight.tensor.rows = FEW; /* and now dy^T x of many tokens: dy (LONG, FEW), x (LONG, WIDE) is w */
    u.tape->g = got;
    pith__d_weight(u.tape, &weight, dy, w, LONG);
    for (size_t r = 0; r < FEW; r++) product_row(want + r * WIDE, dy + r, FEW, w, LONG, 1);
    CHECK(memcmp(got, want, FEW * WIDE * sizeof *got) == 0);
    u.tape->panel = own, u.tape->g = g;
    free(panel), pupil_free(&u);
}

/* In 16 lanes and a tree for one row, over the rows from the first to the last for a weight. */
TEST(order_of_norms_and_biases) {
    float x[N * EMBD], dy[N * EMBD], dx[N * EMBD], w[EMBD], got[EMBD] = { 0 }, want[EMBD] = { 0 };
    float bias[EMBD] = { 0 };
    pupil u;
    REQUIRE(!pupil_new(&u, &all_families[0], 1, "portable", PITH__KEEP_ALL));
    const pith__kernels *k = u.tape->s->pass->kernels;
    random_floats(x, N * EMBD, 1), random_floats(dy, N * EMBD, 2), random_floats(w, EMBD, 3);
    pith__norm weight = { .w = { .tensor = { .data = (const uint8_t *)w, .rows = 1, .cols = EMBD }, .floats = w } };
    float *g = u.tape->g;
    u.tape->g = got;
    pith__d_norm(u.tape, dx, dy, x, &weight, N, 0);
    for (size_t t = 0; t < N; t++) {
        const float *xt = x + t * EMBD, *dyt = dy + t * EMBD;
        float s[16] = { 0 }, scale = 1.0f / sqrtf(k->dot(xt, xt, EMBD) / EMBD + u.m->hyper.eps);
        for (size_t i = 0; i < EMBD; i++) s[i % 16] += dyt[i] * w[i] * xt[i];
        for (size_t i = 0; i < 8; i++) s[i] += s[i + 8];
        for (size_t i = 0; i < 4; i++) s[i] += s[i + 4];
        float pull = scale * scale / EMBD * ((s[0] + s[2]) + (s[1] + s[3]));
        for (size_t i = 0; i < EMBD; i++) CHECK(dx[t * EMBD + i] == scale * (dyt[i] * w[i] - pull * xt[i]));
        for (size_t i = 0; i < EMBD; i++) want[i] += dyt[i] * (scale * xt[i]), bias[i] += dyt[i];
    }
    CHECK(memcmp(got, want, sizeof want) == 0);
    memset(got, 0, sizeof got);
    pith__d_block b = { .tape = u.tape };
    pith__d_add_bias(&b, dy, &weight.w, N);
    CHECK(memcmp(got, bias, sizeof bias) == 0);
    u.tape->g = g;
    pupil_free(&u);
}

/* A token that comes often: its row's gradient is summed in the order of the text. */
TEST(order_of_the_embedding) {
    pupil u;
    float want[EMBD] = { 0 };
    pith_token t[N];
    REQUIRE(!pupil_new(&u, &all_families[0], 1, "portable", PITH__KEEP_ALL));
    random_floats(u.tape->d.x, N * EMBD, 1);
    for (int i = 0; i < N; i++) t[i] = i % 3 ? 7 : 8;
    d_embed(u.tape, t, N);
    for (size_t i = 0; i < N * EMBD; i++)
        if (t[i / EMBD] == 7) want[i % EMBD] += u.tape->d.x[i];
    CHECK(memcmp(pith__grad(u.p.g, &u.m->embd) + 7 * EMBD, want, sizeof want) == 0);
    pupil_free(&u);
}

/* Query heads that share keys add to their gradient from the first to the last. */
TEST(order_of_query_heads) {
    enum { HEADS = 10, KV = 2 };
    float d[3 * HEADS * DIM], want[3 * KV * DIM];
    random_floats(d, 3 * HEADS * DIM, 1);
    for (size_t i = 0; i < 3 * KV * DIM; i++) {
        const float *from = d + i / DIM * (HEADS / KV) * DIM + i % DIM;
        want[i] = from[0];
        for (size_t r = 1; r < HEADS / KV; r++) want[i] += from[r * DIM];
    }
    sum_query_heads(d, 3, HEADS, KV, DIM);
    CHECK(memcmp(d, want, sizeof want) == 0);
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
    REQUIRE(!pupil_new(&u, &all_families[0], 1, NULL, PITH__KEEP_ALL));
    float *panel = malloc(sizeof *panel * pith__panel_floats(COLS)), *own = u.tape->panel;
    random_floats(w, ROWS_ * COLS, 1), random_floats(dy, TOKENS * ROWS_, 2);
    u.tape->panel = panel;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        const pith__format *f = pith__format_of(formats[i]);
        if (!f || !f->encode) continue;
        pith__tensor t = { .format = f, .rows = ROWS_, .cols = COLS, .data = packed };
        t.row_bytes = COLS / (size_t)f->length * (size_t)f->bytes;
        for (size_t r = 0; r < ROWS_; r++) f->encode(packed + r * t.row_bytes, w + r * COLS, COLS, NULL);
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
    REQUIRE(!pupil_new(&u, f, 1, NULL, PITH__KEEP_ALL));
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

int main(void) {
    RUN(norm_softmax_and_gate);
    RUN(rotation);
    RUN(products);
    RUN(every_weight_of_every_family);
    RUN(ways_to_weigh_experts);
    RUN(one_norm_for_two);
    RUN(masks_that_are_not_causal);
    RUN(windows_on_both_sides);
    RUN(reference_of_every_family);
    RUN(reference_portable);
    RUN(order_of_products);
    RUN(order_of_norms_and_biases);
    RUN(order_of_the_embedding);
    RUN(order_of_query_heads);
    RUN(through_any_format);
    RUN(frozen_weights);
    return DONE();
}
