/* The gated delta rule, by every kernel set: against the formulas in double; against the order of
 * their sums written out in plain C, bit by bit; and however the tokens of a text are split. Mamba-2 and the convolution, of
 * which every set has the same bits. */
#include "kernel_cases.h"

enum { N_TOKEN = 23 };

static int fused; /* portable rounds a product and then its sum; all others round a * b + c once */

static float mul_add(float a, float b, float c) { return fused ? fmaf(a, b, c) : c + a * b; }

static float *numbers(size_t n, float size) {
    float *x = take(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = uniform() * size;
    return x;
}

/* Runs something over parts of a text, of n0 tokens and then of one more each time. */
static int next_part(int t, int n0) { return t == 0 ? n0 : t + 1 + t / 3 < N_TOKEN ? t + 1 + t / 3 : N_TOKEN; }

/* ---- the gated delta rule ---------------------------------------------------------------------------- */

typedef struct {
    pith__delta d;
    float *qkv, *decay, *beta;
    size_t state;        /* numbers of it */
} case_of_delta;

static case_of_delta new_delta(int n_k_head, int n_head, int dk, int dv, int in_turn) {
    size_t stride = (size_t)(2 * n_k_head * dk + n_head * dv), gates = (size_t)N_TOKEN * (size_t)n_head;
    case_of_delta c = { .qkv = numbers(N_TOKEN * stride, 1), .decay = numbers(gates, 0.5f), .beta = numbers(gates, 0.5f) };
    c.state = (size_t)n_head * pith__delta_blocks(dv) * (size_t)dk * PITH__DELTA_COLUMNS;
    for (size_t i = 0; i < gates; i++) c.decay[i] += 0.5f, c.beta[i] += 0.5f;
    for (int t = 0; t < N_TOKEN; t++)
        for (int h = 0; h < 2 * n_k_head; h++)
            pith__unit(sets[0], c.qkv + (size_t)t * stride + (size_t)(h * dk), (size_t)dk, 1e-6f, 1);
    c.d = (pith__delta){ .q = c.qkv, .k = c.qkv + n_k_head * dk, .v = c.qkv + 2 * n_k_head * dk, .stride = stride, .decay = c.decay,
                         .beta = c.beta, .y = take(gates * (size_t)dv * 4), .state = take(c.state * 4), .n = N_TOKEN, .n_head = n_head,
                         .n_k_head = n_k_head, .dk = dk, .dv = dv, .in_turn = in_turn };
    return c;
}

static void free_delta(case_of_delta *c) {
    free(c->qkv), free(c->decay), free(c->beta), free(c->d.y), free(c->d.state);
}

static void delta_parts(const pith__kernels *k, const case_of_delta *c, int n0) {
    memset(c->d.state, 0, c->state * sizeof *c->d.state);
    for (int t = 0, end; t < N_TOKEN; t = end) {
        pith__delta part = c->d;
        size_t heads = (size_t)t * (size_t)part.n_head;
        end = next_part(t, n0);
        part.n = end - t, part.q += (size_t)t * part.stride, part.k += (size_t)t * part.stride, part.v += (size_t)t * part.stride;
        part.decay += heads, part.beta += heads, part.y += heads * (size_t)part.dv;
        for (size_t h = 0; h < (size_t)part.n_head; h++)
            for (size_t b = 0; b < pith__delta_blocks(part.dv); b++) k->delta(&part, h, b);
    }
}

static int key_head(const pith__delta *d, int h) { return d->in_turn ? h % d->n_k_head : h / (d->n_head / d->n_k_head); }

/* Column j of head h over all tokens, as the formula has it: S *= decay; d = beta (v - S^T k); S += k d^T; y = S^T q. */
static void right_column(const pith__delta *d, int h, int j, double *y) {
    double s[256] = { 0 };
    for (int t = 0; t < d->n; t++) {
        const float *q = d->q + (size_t)t * d->stride + key_head(d, h) * d->dk, *k = d->k + (size_t)t * d->stride + key_head(d, h) * d->dk;
        double found = 0, decay = d->decay[t * d->n_head + h], v = d->v[(size_t)t * d->stride + (size_t)(h * d->dv + j)];
        for (int i = 0; i < d->dk; i++) s[i] *= decay, found += s[i] * k[i];
        double learn = d->beta[t * d->n_head + h] * (v - found);
        y[t] = 0;
        for (int i = 0; i < d->dk; i++) s[i] += k[i] * learn, y[t] += s[i] * q[i];
    }
}

/* The same in floats, in the order that all kernel sets have. */
static float weighed(const float *s, const float *x, int n) {
    float sum[4] = { 0 };
    for (int i = 0; i < n; i++) sum[i % 4] = mul_add(x[i], s[i], sum[i % 4]);
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

static void ordered_column(const pith__delta *d, int h, int j, float *y) {
    float s[256] = { 0 };
    for (int t = 0; t < d->n; t++) {
        const float *q = d->q + (size_t)t * d->stride + key_head(d, h) * d->dk, *k = d->k + (size_t)t * d->stride + key_head(d, h) * d->dk;
        float decay = d->decay[t * d->n_head + h], v = d->v[(size_t)t * d->stride + (size_t)(h * d->dv + j)];
        float learn = d->beta[t * d->n_head + h] * mul_add(-decay, weighed(s, k, d->dk), v);
        for (int i = 0; i < d->dk; i++) s[i] = mul_add(k[i], learn, decay * s[i]);
        y[t] = weighed(s, q, d->dk);
    }
}

static void check_delta(int n_k_head, int n_head, int dk, int dv, int in_turn) {
    case_of_delta c = new_delta(n_k_head, n_head, dk, dv, in_turn);
    size_t size = (size_t)N_TOKEN * (size_t)n_head * (size_t)dv;
    float *first = take(size * 4), order[N_TOKEN];
    double right[N_TOKEN];
    for (int s = 0; s < n_set && t_bad < 6; s++) {
        fused = s > 0;
        delta_parts(sets[s], &c, N_TOKEN);
        memcpy(first, c.d.y, size * 4);
        for (int h = 0; h < n_head; h++)
            for (int j = 0; j < dv && t_bad < 6; j++) {
                right_column(&c.d, h, j, right);
                ordered_column(&c.d, h, j, order);
                for (int t = 0; t < N_TOKEN; t++) {
                    float got = first[(t * n_head + h) * dv + j];
                    NEAR(got, right[t], 2e-6);
                    if (memcmp(&got, &order[t], 4)) FAIL("%s: order of sums: head %d column %d token %d", sets[s]->name, h, j, t);
                }
            }
        for (int n0 = 1; n0 < 6; n0++) {
            delta_parts(sets[s], &c, n0);
            if (memcmp(c.d.y, first, size * 4)) FAIL("%s: %d tokens first give other bits", sets[s]->name, n0);
        }
    }
    free(first);
    free_delta(&c);
}

TEST(delta_rule) {
    static const int shape[][4] = { { 1, 1, 1, 1 }, { 2, 4, 16, 16 }, { 1, 3, 7, 20 }, { 2, 2, 18, 15 }, { 2, 6, 64, 40 }, { 1, 2, 128, 128 } };
    for (int i = 0; i < 6; i++)
        for (int in_turn = 0; in_turn < 2; in_turn++) check_delta(shape[i][0], shape[i][1], shape[i][2], shape[i][3], in_turn);
}

/* A head of Mamba-2: S = e^(rate step) S + step b x^T; y = S^T c + skip x. Tokens are split after n0. */
static void scan_parts(const pith__kernels *k, const pith__scan_head *h, size_t n0) {
    memset(h->state, 0, h->rows * h->wide * sizeof *h->state);
    for (size_t t = 0; t < N_TOKEN; t += n0) {
        pith__scan_head part = *h;
        part.n = N_TOKEN - t < n0 ? N_TOKEN - t : n0;
        part.x += t * h->x_row, part.b += t * h->x_row, part.c += t * h->x_row, part.step += t * h->step_row, part.y += t * h->y_row;
        k->mamba(&part);
    }
}

static void check_scan(size_t rows, size_t wide) {
    size_t row = wide + 2 * rows, size = N_TOKEN * wide;
    float *x = numbers(N_TOKEN * row, 1), *step = numbers(2 * N_TOKEN, 0.4f), *state = take(rows * wide * 4), *y = take(size * 4);
    float *first = take(size * 4);
    double s[256], right;
    for (int t = 0; t < 2 * N_TOKEN; t++) step[t] += 0.5f;
    pith__scan_head h = { .x = x, .b = x + wide, .c = x + wide + rows, .step = step, .y = y, .x_row = row, .step_row = 2, .y_row = wide,
                          .n = N_TOKEN, .rows = rows, .wide = wide, .rate = -0.7f, .skip = 0.3f, .state = state };
    scan_parts(sets[0], &h, N_TOKEN);
    memcpy(first, y, size * 4);
    for (size_t j = 0; j < wide && t_bad < 6; j++) {
        memset(s, 0, sizeof s);
        for (size_t t = 0; t < N_TOKEN; t++) {
            const float *in = x + t * row;
            right = 0.3f * in[j];
            for (size_t i = 0; i < rows; i++) {
                s[i] = exp(-0.7f * step[2 * t]) * s[i] + (double)step[2 * t] * in[wide + i] * in[j];
                right += s[i] * in[wide + rows + i];
            }
            NEAR(first[t * wide + j], right, 2e-6);
        }
    }
    for (int k = 0; k < n_set; k++)
        for (size_t n0 = 1; n0 <= N_TOKEN; n0 += 11) {
            scan_parts(sets[k], &h, n0);
            if (memcmp(y, first, size * 4)) FAIL("%s: %zu rows of %zu, %zu tokens at once: other bits", sets[k]->name, rows, wide, n0);
        }
    free(x), free(step), free(state), free(y), free(first);
}

TEST(mamba) {
    static const size_t shape[][2] = { { 1, 1 }, { 16, 16 }, { 7, 20 }, { 18, 33 }, { 64, 40 }, { 128, 64 } };
    for (int i = 0; i < 6; i++) check_scan(shape[i][0], shape[i][1]);
}

static void check_convolution(size_t n_tap, size_t n_channel, int with_bias) {
    size_t size = N_TOKEN * n_channel, n_state = (n_tap - 1) * n_channel;
    float *x = numbers(size + n_state, 1), *w = numbers(n_tap * n_channel, 1), *bias = numbers(n_channel, 1);
    float *y = take(size * 4), *state = take((n_state + 1) * 4);
    for (int k = 0; k < n_set; k++)
        for (size_t n0 = 1; n0 <= N_TOKEN && t_bad < 6; n0 += 11) { /* tokens that come together; x begins with what was before */
            memcpy(state, x, n_state * 4);
            for (size_t t = 0, n; t < N_TOKEN; t += n) {
                n = N_TOKEN - t < n0 ? N_TOKEN - t : n0;
                pith__convolution v = { .x = x + n_state + t * n_channel, .y = y + t * n_channel, .x_row = n_channel, .n_channel = n_channel,
                                        .n_tap = n_tap, .w = w, .bias = with_bias ? bias : NULL, .state = state };
                sets[k]->convolve(&v, 0, n / 2);
                sets[k]->convolve(&v, n / 2, n);
                pith__convolution_state(&v, n, state);
            }
            for (size_t i = 0; i < size; i++) {
                float sum = with_bias ? bias[i % n_channel] : 0;
                for (size_t j = 0; j < n_tap; j++) sum += w[i % n_channel * n_tap + j] * x[i + j * n_channel];
                if (memcmp(&sum, &y[i], 4)) FAIL("%s: %zu taps, %zu channels: number %zu", sets[k]->name, n_tap, n_channel, i);
            }
        }
    free(x), free(w), free(bias), free(y), free(state);
}

TEST(convolution) {
    static const size_t shape[][2] = { { 1, 5 }, { 2, 16 }, { 3, 77 }, { 4, 64 }, { 4, 150 }, { 17, 70 } };
    for (int i = 0; i < 12; i++) check_convolution(shape[i / 2][0], shape[i / 2][1], i % 2);
}

TEST(unit_vectors) {
    float x[37], y[37];
    for (int s = 0; s < n_set; s++)
        for (int n = 1; n <= 37; n++) {
            double sum = 0;
            for (int i = 0; i < n; i++) x[i] = y[i] = uniform(), sum += (double)x[i] * x[i];
            pith__unit(sets[s], y, (size_t)n, 1e-6f, 0.25f);
            for (int i = 0; i < n; i++) NEAR(y[i], 0.25 * x[i] / sqrt(sum + 1e-6), 1e-6);
        }
    memset(y, 0, sizeof y);
    pith__unit(sets[0], y, 37, 1e-6f, 1);
    for (int i = 0; i < 37; i++) EQ(y[i] == 0, 1);
}

int main(void) {
    find_kernels_and_formats();
    keep_other_attention();
    RUN(delta_rule);
    RUN(mamba);
    RUN(convolution);
    RUN(unit_vectors);
    return DONE();
}
