/* t_forward.c - the forward pass: against a reference written apart, and against itself bit for bit. */
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>

enum { N = 40, N_VOCAB = FIXTURE_VOCAB };
static const fixture_shape untied = { 48, 80, 3, 6, 2, FIXTURE_VOCAB, 64, 0, 16 };

static pith_model *open_bytes(const bytes *b, int threads, const char *kernels) {
    pith_options opt = { 0 };
    pith_error e = { 0, "" };
    opt.n_threads = threads;
    opt.kernels = kernels;
    pith_model *m = pith_open_memory(b->p, b->n, &opt, &e);
    if (!m) FAIL("%s", e.text);
    return m;
}

static void tokens_of(pith_token *t, uint64_t seed) {
    for (int i = 0; i < N; i++) t[i] = (int)((fixture_random(&seed) + 1) / 2 * (N_VOCAB - 1));
}

/* Logits (N, N_VOCAB) of N tokens, in batches of n_batch. */
static float *logits_of(const pith_model *m, int n_batch, const char *cache) {
    pith_token t[N];
    pith_context c = { .n_batch = n_batch, .cache_k = cache, .cache_v = cache };
    float *y = malloc(sizeof *y * N * N_VOCAB);
    pith_session *s = pith_session_new(m, &c, NULL);
    tokens_of(t, 7);
    if (!s || !y || pith__eval_all(s, t, N, y, NULL) != PITH_OK) FAIL("no logits");
    pith_session_free(s);
    return y;
}

static float *logits_of_bytes(const bytes *b, int threads, int n_batch, const char *kernels) {
    pith_model *m = open_bytes(b, threads, kernels);
    float *y = logits_of(m, n_batch, NULL);
    pith_close(m);
    return y;
}

static double distance(const float *got, const float *want) { /* relative L2 */
    double d = 0, n = 0;
    for (int i = 0; i < N * N_VOCAB; i++) {
        d += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        n += (double)want[i] * want[i];
    }
    return sqrt(d / n);
}

#define SAME(a, b) CHECK(memcmp((a), (b), sizeof(float) * N * N_VOCAB) == 0)

/* ---- a reference in double precision, from the paper's formulas and version 0's layout ----------------- */

typedef struct {
    const float *embd, *attn_norm, *q, *k, *v, *o, *ffn_norm, *w1, *w2, *w3, *out_norm, *head;
} reference;

static void ref_norm(double *y, const double *x, const float *w, int n) {
    double ss = 0;
    for (int i = 0; i < n; i++) ss += x[i] * x[i];
    for (int i = 0; i < n; i++) y[i] = x[i] / sqrt(ss / n + 1e-5) * w[i];
}

static void ref_matmul(double *y, const float *w, const double *x, int rows, int cols) {
    for (int r = 0; r < rows; r++) {
        y[r] = 0;
        for (int i = 0; i < cols; i++) y[r] += (double)w[(size_t)r * (size_t)cols + (size_t)i] * x[i];
    }
}

static void ref_rope(double *x, int heads, int dim, int p) {
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < dim; i += 2) {
            double a = p * pow(10000, -(double)i / dim), *v = x + h * dim + i, v0 = v[0];
            v[0] = v0 * cos(a) - v[1] * sin(a);
            v[1] = v0 * sin(a) + v[1] * cos(a);
        }
}

static void ref_attend(double *y, const double *q, double (*k)[64], double (*v)[64], int p,
                       const fixture_shape *s) {
    int dim = s->dim / s->heads;
    for (int h = 0; h < s->heads; h++) {
        int g = h / (s->heads / s->kv_heads) * dim;
        double w[N], sum = 0;
        for (int u = 0; u <= p; u++) {
            w[u] = 0;
            for (int i = 0; i < dim; i++) w[u] += q[h * dim + i] * k[u][g + i];
            sum += w[u] = exp(w[u] / sqrt(dim));
        }
        for (int i = 0; i < dim; i++) {
            y[h * dim + i] = 0;
            for (int u = 0; u <= p; u++) y[h * dim + i] += w[u] / sum * v[u][g + i];
        }
    }
}

static float *ref_logits(const bytes *b, const fixture_shape *s) {
    static double keys[3][N][64], values[3][N][64];
    const float *f = (const float *)(const void *)(b->p + 28);
    size_t d = (size_t)s->dim, n_ff = (size_t)s->hidden, l = (size_t)s->layers;
    size_t kv = d / (size_t)s->heads * (size_t)s->kv_heads;
    reference w;
    w.embd = f, f += (size_t)s->vocab * d;
    w.attn_norm = f, f += l * d;
    w.q = f, f += l * d * d;
    w.k = f, f += l * kv * d;
    w.v = f, f += l * kv * d;
    w.o = f, f += l * d * d;
    w.ffn_norm = f, f += l * d;
    w.w1 = f, f += l * n_ff * d;
    w.w2 = f, f += l * d * n_ff;
    w.w3 = f, f += l * n_ff * d;
    w.out_norm = f, f += d;
    w.head = s->shared ? w.embd : f + (size_t)s->context * (d / (size_t)s->heads);

    float *y = malloc(sizeof *y * N * N_VOCAB);
    pith_token t[N];
    tokens_of(t, 7);
    for (int p = 0; p < N; p++) {
        double x[64], xn[64], q[64], mix[64], o[64], gate[128], up[128], logits[N_VOCAB];
        for (size_t i = 0; i < d; i++) x[i] = w.embd[(size_t)t[p] * d + i];
        for (size_t j = 0; j < l; j++) {
            ref_norm(xn, x, w.attn_norm + j * d, s->dim);
            ref_matmul(q, w.q + j * d * d, xn, s->dim, s->dim);
            ref_matmul(keys[j][p], w.k + j * kv * d, xn, (int)kv, s->dim);
            ref_matmul(values[j][p], w.v + j * kv * d, xn, (int)kv, s->dim);
            ref_rope(q, s->heads, s->dim / s->heads, p);
            ref_rope(keys[j][p], s->kv_heads, s->dim / s->heads, p);
            ref_attend(mix, q, keys[j], values[j], p, s);
            ref_matmul(o, w.o + j * d * d, mix, s->dim, s->dim);
            for (size_t i = 0; i < d; i++) x[i] += o[i];
            ref_norm(xn, x, w.ffn_norm + j * d, s->dim);
            ref_matmul(gate, w.w1 + j * n_ff * d, xn, s->hidden, s->dim);
            ref_matmul(up, w.w3 + j * n_ff * d, xn, s->hidden, s->dim);
            for (size_t i = 0; i < n_ff; i++) gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
            ref_matmul(o, w.w2 + j * d * n_ff, gate, s->dim, s->hidden);
            for (size_t i = 0; i < d; i++) x[i] += o[i];
        }
        ref_norm(xn, x, w.out_norm, s->dim);
        ref_matmul(logits, w.head, xn, s->vocab, s->dim);
        for (int i = 0; i < N_VOCAB; i++) y[p * N_VOCAB + i] = (float)logits[i];
    }
    return y;
}

static void against_reference(const fixture_shape *s, const char *kernels) {
    bytes b = fixture_llama2c(s, 0, 3);
    float *want = ref_logits(&b, s), *got = logits_of_bytes(&b, 1, 0, kernels);
    NEAR(distance(got, want), 0, 2e-6);
    free(want);
    free(got);
    free(b.p);
}

TEST(reference_tied) { against_reference(&fixture_tiny, NULL); }
TEST(reference_untied) { against_reference(&untied, NULL); }
TEST(reference_portable) { against_reference(&untied, "portable"); }

/* ---- the same bits --------------------------------------------------------------------------------- */

TEST(versions_0_and_1_are_equal) {
    bytes v0 = fixture_llama2c(&untied, 0, 3), v1 = fixture_llama2c(&untied, 1, 3);
    float *a = logits_of_bytes(&v0, 1, 0, NULL), *b = logits_of_bytes(&v1, 1, 0, NULL);
    SAME(a, b);
    free(a), free(b), free(v0.p), free(v1.p);
}

TEST(version_2_is_near) {
    static const int groups[] = { 64, 32, 16, 4, 1 };
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        fixture_shape s = { 64, 128, 2, 4, 2, FIXTURE_VOCAB, 64, 0, groups[i] };
        bytes v1 = fixture_llama2c(&s, 1, 3), v2 = fixture_llama2c(&s, 2, 3);
        float *a = logits_of_bytes(&v1, 1, 0, NULL), *b = logits_of_bytes(&v2, 1, 0, NULL);
        float *c = logits_of_bytes(&v2, 2, 7, NULL);
        NEAR(distance(b, a), 0, 0.03);
        SAME(b, c);
        free(a), free(b), free(c), free(v1.p), free(v2.p);
    }
}

static void batches_and_threads(int version) {
    bytes b = fixture_llama2c(&untied, version, 5);
    static const int batches[] = { 1, 2, 7, 16, 33 };
    float *want = logits_of_bytes(&b, 1, 0, NULL);
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++)
        for (int threads = 1; threads <= 4; threads++) {
            float *got = logits_of_bytes(&b, threads, batches[i], NULL);
            SAME(got, want);
            free(got);
        }
    free(want), free(b.p);
}

TEST(any_batch_any_threads_fp32) { batches_and_threads(1); }
TEST(any_batch_any_threads_int8) { batches_and_threads(2); }

TEST(cache_formats) {
    fixture_shape s = { 64, 128, 2, 2, 1, FIXTURE_VOCAB, 64, 0, 32 };
    bytes b = fixture_llama2c(&s, 1, 3);
    pith_model *m = open_bytes(&b, 1, NULL);
    float *f32 = logits_of(m, 0, "f32"), *f16 = logits_of(m, 0, "f16"), *q8 = logits_of(m, 0, "q8_0");
    float *f16_single = logits_of(m, 1, "f16"), *q8_single = logits_of(m, 1, "q8_0");
    NEAR(distance(f16, f32), 0, 1e-3);
    NEAR(distance(q8, f32), 0, 2e-2);
    CHECK(distance(f16, f32) > 0);
    CHECK(distance(q8, f32) > 0);
    SAME(f16, f16_single);
    SAME(q8, q8_single);
    free(f32), free(f16), free(q8), free(f16_single), free(q8_single);
    pith_close(m);
    free(b.p);
}

/* One layer: a token's logits change with another token if, and only if, it sees that one. */
TEST(a_token_sees_what_the_mask_says) {
    static const pith__mask masks[] = { { .causal = 1 }, { .causal = 1, .window = 5 }, { .causal = 0 }, { .window = 5 } };
    fixture_shape s = { 48, 80, 1, 6, 2, FIXTURE_VOCAB, 64, 0, 16 };
    bytes b = fixture_llama2c(&s, 1, 3);
    pith_model *m = open_bytes(&b, 1, NULL);
    pith_token t[2][N];
    float *y[2] = { malloc(sizeof(float) * N * N_VOCAB), malloc(sizeof(float) * N * N_VOCAB) };
    enum { CHANGED = 19 };
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
        int w = masks[i].window;
        m->layer[0].mask = masks[i];
        for (int k = 0; k < 2; k++) {
            pith_session *one = pith_session_new(m, NULL, NULL);
            tokens_of(t[k], 7);
            t[k][CHANGED] += k;
            EQ(pith__eval_all(one, t[k], N, y[k], NULL), PITH_OK);
            pith_session_free(one);
        }
        for (int p = 0; p < N; p++) {
            int back = p - CHANGED, near = !w || abs(back) < w, seen = near && (back >= 0 || !masks[i].causal);
            EQ(memcmp(y[0] + p * N_VOCAB, y[1] + p * N_VOCAB, sizeof(float) * N_VOCAB) != 0, seen);
        }
    }
    free(y[0]), free(y[1]), free(b.p);
    pith_close(m);
}

TEST(interleaved_sessions_rewind_and_sync) {
    bytes b = fixture_llama2c(&untied, 1, 3);
    pith_model *m = open_bytes(&b, 1, NULL);
    float *want = logits_of(m, 0, NULL);
    pith_token t[N], other[N];
    tokens_of(t, 7);
    tokens_of(other, 8);
    pith_session *s = pith_session_new(m, NULL, NULL), *r = pith_session_new(m, NULL, NULL);
    size_t size = pith_session_size(m, NULL);
    void *mem = malloc(size);
    pith_session *placed = pith_session_place(m, NULL, mem, size, NULL);
    REQUIRE(s && r && placed);
    CHECK(pith_session_place(m, NULL, mem, size - 1, NULL) == NULL);
    for (int p = 0; p < N; p++) {
        EQ(pith_eval(s, t + p, 1, NULL), PITH_OK);
        EQ(pith_eval(r, other + p, 1, NULL), PITH_OK);
        EQ(pith_eval(placed, t + p, 1, NULL), PITH_OK);
        CHECK(memcmp(pith_logits(s), want + p * N_VOCAB, sizeof(float) * N_VOCAB) == 0);
        CHECK(memcmp(pith_logits(placed), want + p * N_VOCAB, sizeof(float) * N_VOCAB) == 0);
    }
    EQ(pith_rewind(s, 10), 10);
    EQ(pith_eval(s, t + 10, 5, NULL), PITH_OK);
    CHECK(memcmp(pith_logits(s), want + 14 * N_VOCAB, sizeof(float) * N_VOCAB) == 0);
    EQ(pith_sync(r, t, 20, NULL), PITH_OK); /* another text: all of it is new */
    EQ(pith_position(r), 20);
    CHECK(memcmp(pith_logits(r), want + 19 * N_VOCAB, sizeof(float) * N_VOCAB) == 0);
    EQ(pith_sync(r, t, 8, NULL), PITH_OK); /* a prefix of it */
    CHECK(memcmp(pith_logits(r), want + 7 * N_VOCAB, sizeof(float) * N_VOCAB) == 0);
    double sum = 0;
    for (int i = 0; i < N_VOCAB; i++) sum += exp(pith_logprob(r, i));
    NEAR(sum, 1, 1e-5);
    pith_session_free(s), pith_session_free(r), pith_session_free(placed);
    free(mem), free(want);
    pith_close(m);
    free(b.p);
}

TEST(refusals_change_nothing) {
    bytes b = fixture_llama2c(&fixture_tiny, 1, 3);
    pith_model *m = open_bytes(&b, 1, NULL);
    pith_context c = { .n_ctx = 8 }, bad = { .cache_k = "q4_0" };
    pith_session *s = pith_session_new(m, &c, NULL);
    pith_token t[9] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 }, wrong[2] = { 1, N_VOCAB }, negative[1] = { -1 };
    pith_error e = { 0, "" };
    REQUIRE(s);
    EQ(pith_eval(s, t, 3, &e), PITH_OK);
    float before = pith_logits(s)[0];
    EQ(pith_eval(s, wrong, 2, &e), PITH_EARG);
    CHECK(strstr(e.text, "300") != NULL);
    EQ(pith_eval(s, negative, 1, &e), PITH_EARG);
    EQ(pith_eval(s, t, 6, &e), PITH_EFULL);
    CHECK(strstr(e.text, "8") != NULL);
    EQ(pith_sync(s, t, 9, &e), PITH_EFULL);
    EQ(pith_position(s), 3);
    CHECK(pith_logits(s)[0] == before);
    EQ(pith_eval(s, t, 0, &e), PITH_OK);
    CHECK(pith_session_new(m, &bad, &e) == NULL);
    EQ(e.code, PITH_EARG);
    pith_session_free(s);
    pith_close(m);
    free(b.p);
}

TEST(nan_weights_stay_nan) {
    bytes b = fixture_llama2c(&fixture_tiny, 1, 3);
    uint32_t nan = 0x7fc00000;
    memcpy(b.p + 256, &nan, 4);
    pith_model *m = open_bytes(&b, 1, NULL);
    pith_session *s = pith_session_new(m, NULL, NULL);
    pith_token t = 1;
    uint64_t rng = 1;
    pith_sampling how = PITH_SAMPLING_DEFAULT;
    REQUIRE(s);
    EQ(pith_eval(s, &t, 1, NULL), PITH_OK);
    CHECK(pith_logits(s)[0] != pith_logits(s)[0]);
    t = pith_sample(s, &how, &rng);
    CHECK(t >= 0 && t < N_VOCAB);
    pith_session_free(s);
    pith_close(m);
    free(b.p);
}

int main(void) {
    RUN(reference_tied);
    RUN(reference_untied);
    RUN(reference_portable);
    RUN(versions_0_and_1_are_equal);
    RUN(version_2_is_near);
    RUN(any_batch_any_threads_fp32);
    RUN(any_batch_any_threads_int8);
    RUN(cache_formats);
    RUN(a_token_sees_what_the_mask_says);
    RUN(interleaved_sessions_rewind_and_sync);
    RUN(refusals_change_nothing);
    RUN(nan_weights_stay_nan);
    return DONE();
}
