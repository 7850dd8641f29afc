/* Every kernel set this machine runs: against sums in double, for every number format and awkward
 * lengths; and against itself, bit for bit, however tokens and threads share the work. */
#include "../internal.h"
#include "test.h"

#include <stdlib.h>

enum { N_FORMAT = 17, MANY = 27, MAX_THREADS = 4 };

static const int formats[N_FORMAT] = {
    PITH__F32,  PITH__F16,    PITH__BF16,   PITH__Q4_0,  PITH__Q4_1, PITH__Q5_0,
    PITH__Q5_1, PITH__Q8_0,   PITH__Q2_K,   PITH__Q3_K,  PITH__Q4_K, PITH__Q5_K,
    PITH__Q6_K, PITH__IQ4_NL, PITH__IQ4_XS, PITH__MXFP4, PITH__I8,
};

static const pith__kernels *sets[5];
static int n_set;
static uint32_t seed = 1;

static uint32_t next_random(void) {
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

static float uniform(void) {
    return (float)(next_random() % 20001) / 10000.0f - 1.0f;
} /* -1 to 1 */

static void *take(size_t bytes) { /* at multiples of 64, as the scratch must lie */
    void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (!p) exit(1);
    memset(p, 0, (bytes + 127) / 64 * 64);
    return p;
}

/* ---- matmul ---------------------------------------------------------------------------------- */

static int is_float(int format) {
    return format == PITH__F32 || format == PITH__F16 || format == PITH__BF16;
}

enum { POOL = 40 }; /* good blocks to choose from */

/* Blocks of random bytes, thrown again until their weights are moderate, so that every bit is met.
 * */
static void make_pool(uint8_t *pool, const pith__format *f) {
    pith__tensor one = {
        .format = f, .n_dim = 1, .rows = 1, .cols = (size_t)f->length, .row_bytes = (size_t)f->bytes
    };
    for (int i = 0, good; i < POOL; i++)
        do {
            float y[256];
            one.data = pool + i * f->bytes;
            for (int k = 0; k < f->bytes; k++) pool[i * f->bytes + k] = (uint8_t)next_random();
            pith__row_floats(&one, 0, y);
            good = 1;
            for (int k = 0; k < f->length; k++) good = good && fabsf(y[k]) < 50;
        } while (!good);
}

static void random_blocks(pith__tensor *w, uint8_t *data) {
    static uint8_t pool[N_FORMAT][POOL * 256];
    int f = 0;
    size_t bytes = (size_t)w->format->bytes;
    while (formats[f] != w->format->id) f++;
    if (!pool[f][0] && !pool[f][1] && !pool[f][2]) make_pool(pool[f], w->format);
    for (size_t i = 0; i < w->rows * (w->cols / w->format->length); i++)
        memcpy(data + i * bytes, pool[f] + next_random() % POOL * bytes, bytes);
}

static void random_floats(pith__tensor *w, uint8_t *data) {
    for (size_t i = 0; i < w->rows * w->cols; i++) {
        float x = uniform();
        w->format->encode(data + i * w->format->bytes, &x, 1);
    }
}

static size_t aside; /* weights lie so many bytes after a multiple of 64 */

static pith__tensor random_weights(int format, size_t rows, size_t cols, size_t group) {
    pith__tensor w = {
        .format = pith__format_of(format), .n_dim = 2, .rows = rows, .cols = cols, .group = group
    };
    w.row_bytes = format == PITH__I8 ? cols : cols / w.format->length * w.format->bytes;
    uint8_t *data = (uint8_t *)take(aside + rows * w.row_bytes) + aside;
    w.data = data;
    if (format == PITH__I8) {
        for (size_t i = 0; i < rows * cols; i++) data[i] = (uint8_t)next_random();
        uint8_t *scale = take(rows * cols / group * 4);
        for (size_t i = 0; i < rows * cols / group; i++) {
            float d = uniform() * 0.01f;
            memcpy(scale + 4 * i, &d, 4);
        }
        w.scale = scale;
    } else if (is_float(format)) {
        random_floats(&w, data);
    } else {
        random_blocks(&w, data);
    }
    return w;
}

static void free_weights(pith__tensor *w) {
    free((uint8_t *)w->data - aside);
    free((void *)w->scale);
}

static pith__input new_input(int n, size_t cols) {
    size_t n_block = (cols + 31) / 32;
    float *x = take(n * cols * sizeof *x);
    for (size_t i = 0; i < n * cols; i++) x[i] = uniform() * (i % 37 ? 1 : 5);
    return (pith__input){
        x, n, cols, take(n * n_block * 32), take(n * cols * 4), take(n * n_block * 8), 0,
        take(pith__tiles_bytes(n, cols)), NULL
    };
}

static void free_input(pith__input *in) {
    free((void *)in->x);
    free(in->q);
    free(in->d);
    free(in->sum);
    free(in->tiles);
}

static pith__team new_team(int n_threads, size_t bytes) {
    return (pith__team){n_threads, take(bytes * n_threads), bytes, NULL};
}

typedef struct { /* a product or an attention, for all threads of a team together */
    const pith__kernels *k;
    pith__team *team;
    float *y;
    size_t stride;
    const pith__tensor *w;
    pith__input *in;
    const pith__attention *a;
} shared_work;

static void work_together(void *data) {
    const shared_work *x = data;
    if (x->a) pith__attend(x->k, x->team, x->a);
    else pith__matmul(x->k, x->team, x->y, x->stride, x->w, x->in);
}

static void matmul_together(const pith__kernels *k, pith__team *team, float *y, size_t stride, const pith__tensor *w,
                            pith__input *in) {
    shared_work x = {k, team, y, stride, w, in, NULL};
    pith__together(team, work_together, &x);
}

static void attend_together(const pith__kernels *k, pith__team *team, const pith__attention *a) {
    shared_work x = {k, team, NULL, 0, NULL, NULL, a};
    pith__together(team, work_together, &x);
}

static double rounded_to_bf16(float x) {
    const pith__format *f = pith__format_of(PITH__BF16);
    uint8_t bytes[2];
    f->encode(bytes, &x, 1);
    f->floats(&x, bytes, 1);
    return x;
}

/* What the product should be, in double, from the numbers the kernel was given; bound: how far off
 * it may be. */
static double right_product(const pith__kernels *k, const pith__tensor *w, const float *row, const pith__input *in, int t,
                            size_t r, double *bound) {
    double sum = 0, size = 0;
    size_t n_block = (in->cols + 31) / 32;
    for (size_t i = 0; i < in->cols; i++) {
        double x = in->x[t * in->cols + i], most = fabs(row[i]);
        if (w->format->id == PITH__BF16 && in->cols % 2 == 0 && strstr(k->name, "bf16"))
            x = rounded_to_bf16((float)x);
        if (in->group) {
            size_t at = w->format->id == PITH__I8 ? t * (in->cols / w->group) + i / w->group
                                                  : t * n_block + i / 32;
            x = (double)in->q[t * n_block * 32 + i] * in->d[at];
        }
        if (in->group &&
            w->format->id != PITH__I8) { /* d q and m may be large and their difference small */
            pith__block b;
            pith__row_block(w, r, i / 32, &b);
            most = fabs((double)b.d[i % 32 / 16] * b.q[i % 32]) + fabs(b.m[i % 32 / 16]) +
                   128 * fabs(b.d[i % 32 / 16]);
        }
        sum += row[i] * x;
        size += most * fabs(x);
    }
    *bound = size * 4e-7 + 1e-30;
    return sum;
}

static void check_product(const pith__kernels *k, const pith__tensor *given, pith__input in) {
    pith__tensor w = *given;
    size_t rows = w.rows, cols = w.cols, stride = rows + 3;
    pith__team team = new_team(1, pith__matmul_scratch(cols));
    float *y = take(MANY * stride * 4), *row = take(cols * 4);
    pith__matmul(k, &team, y, stride, &w, &in);
    for (size_t r = 0; r < rows; r++) {
        pith__row_floats(&w, r, row);
        for (int t = 0; t < MANY; t++) {
            double bound, want = right_product(k, &w, row, &in, t, r, &bound), got = y[t * stride + r];
            if (!(fabs(got - want) <= bound))
                FAIL("%s %s %zux%zu token %d row %zu is %.9g, want %.9g", k->name, w.format->name,
                     rows, cols, t, r, got, want);
            if (t_bad > 5) return;
        }
    }
    for (int n = 1; n <= MANY; n += 1 + n / 2) { /* the last n tokens alone */
        int t = MANY - n;
        pith__input few = {in.x + t * cols, n, cols, in.q, in.d, in.sum, 0, in.tiles, NULL};
        float *z = take(n * stride * 4);
        pith__matmul(k, &team, z, stride, &w, &few);
        for (int i = 0; i < n; i++)
            if (memcmp(z + i * stride, y + (t + i) * stride, rows * 4))
                FAIL("%s %s %zux%zu: %d tokens give other bits than many", k->name, w.format->name,
                     rows, cols, n);
        free(z);
    }
    for (int i = 0; i < MANY; i++)
        CHECK(y[i * stride + rows] == 0); /* nothing beside the rows is written */
    free(y), free(row), free(team.scratch);
}

static void check_matmul(const pith__kernels *k, int format, size_t rows, size_t cols,
                         size_t group) {
    pith__tensor w = random_weights(format, rows, cols, group);
    pith__input in = new_input(MANY, cols);
    check_product(k, &w, in);
    free_input(&in);
    free_weights(&w);
}

TEST(matmul_of_floats) {
    static const size_t rows[] = {1, 5, 16, 47}, cols[] = {1, 7, 16, 31, 33, 48, 64, 172, 288, 520};
    for (int s = 0; s < n_set; s++)
        for (int f = 0; f < 3; f++)
            for (size_t i = 0; i < sizeof cols / sizeof *cols; i++)
                for (aside = 0; aside < 64; aside += 32) /* GGUF's tensors begin at multiples of 32 */
                    check_matmul(sets[s], formats[f], rows[(i + aside / 32) % 4], cols[i], 0);
    aside = 0;
}

TEST(matmul_of_blocks) {
    static const size_t rows[] = {1, 5, 16, 47, 33}, cols[] = {32, 64, 288, 512, 544, 768, 1056};
    for (int s = 0; s < n_set; s++)
        for (int f = 3; f < N_FORMAT - 1; f++)
            for (size_t i = 0; i < sizeof cols / sizeof *cols; i++) {
                const pith__format *format = pith__format_of(formats[f]);
                if (format && cols[i] % format->length == 0)
                    check_matmul(sets[s], formats[f], rows[i % 5], cols[i], 0);
            }
}

/* Sets all bits of the weights to those of value, and leaves the scales: what they are is seen from d and m. */
static void fill_weights(pith__tensor *w, size_t r, uint8_t value) {
    uint8_t *row = (uint8_t *)w->data + r * w->row_bytes;
    for (size_t i = 0; i < w->row_bytes; i++) {
        uint8_t was = row[i];
        int is_scale = 0;
        for (size_t b = 0; b < w->cols / 32; b++) {
            pith__block before, after;
            pith__row_block(w, r, b, &before);
            row[i] = (uint8_t)~was;
            pith__row_block(w, r, b, &after);
            row[i] = was;
            is_scale |= memcmp(before.d, after.d, sizeof after.d) || memcmp(before.m, after.m, sizeof after.m);
        }
        if (!is_scale) row[i] = value;
    }
}

TEST(matmul_of_the_largest_numbers) { /* sums in 16 bits have just enough room */
    static const uint8_t value[] = {0xff, 0, 0x80, 0x7f, 0x55};
    for (int s = 0; s < n_set; s++)
        for (int f = 3; f < N_FORMAT - 1; f++) {
            pith__tensor w = random_weights(formats[f], 10, 512, 0);
            pith__input in = new_input(MANY, 512);
            for (size_t i = 0; i < (size_t)MANY * 512; i++) /* one sign, or one for each half, fourth ... */
                ((float *)in.x)[i] = (i % 512 >> i / 512 % 9 & 1) ? -1.0f : 1.0f;
            for (size_t r = 0; r < 10; r++) fill_weights(&w, r, value[r / 2]);
            check_product(sets[s], &w, in);
            free_input(&in);
            free_weights(&w);
        }
}

TEST(matmul_of_llama2c_groups) {
    static const size_t shape[][3] = { { 5, 64, 64 }, { 18, 288, 32 }, { 33, 512, 128 },
                                       { 7, 172, 4 }, { 16, 48, 16 },  { 3, 96, 96 } };
    for (int s = 0; s < n_set; s++)
        for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
            check_matmul(sets[s], PITH__I8, shape[i][0], shape[i][1], shape[i][2]);
}

TEST(threads_give_the_same_bits) {
    static const int some[] = {
        PITH__F32, PITH__F16, PITH__BF16, PITH__Q8_0, PITH__Q4_K, PITH__Q6_K
    };
    for (int s = 0; s < n_set; s++)
        for (int f = 0; f < 6; f++) {
            size_t rows = 517, cols = 512;
            pith__tensor w = random_weights(some[f], rows, cols, 0);
            pith__input in = new_input(5, cols);
            float *y[MAX_THREADS];
            for (int n = 0; n < MAX_THREADS; n++) {
                pith__team team = new_team(n + 1, pith__matmul_scratch(cols));
                y[n] = take(5 * rows * 4);
                in.group = 0, in.arranged = NULL;
                matmul_together(sets[s], &team, y[n], rows, &w, &in);
                CHECK(memcmp(y[0], y[n], 5 * rows * 4) == 0);
                free(team.scratch);
            }
            for (int n = 0; n < MAX_THREADS; n++) free(y[n]);
            free_input(&in);
            free_weights(&w);
        }
}

TEST(llama2c_groups_have_the_bits_of_portable) { /* on which runq.c's words hang */
    static const size_t shape[][3] = {{37, 512, 64}, {16, 288, 32}, {23, 1056, 96}, {4, 2048, 512}, {9, 768, 256}};
    for (int s = 1; s < n_set; s++)
        for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
            size_t rows = shape[i][0], cols = shape[i][1];
            pith__tensor w = random_weights(PITH__I8, rows, cols, shape[i][2]);
            pith__input in = new_input(5, cols);
            float *y[2];
            for (int k = 0; k < 2; k++) {
                pith__team team = new_team(1, pith__matmul_scratch(cols));
                y[k] = take(5 * rows * 4);
                in.group = 0;
                pith__matmul(sets[k ? s : 0], &team, y[k], rows, &w, &in);
                free(team.scratch);
            }
            if (memcmp(y[0], y[1], 5 * rows * 4))
                FAIL("%s: rows %zu cols %zu in groups of %zu", sets[s]->name, rows, cols, shape[i][2]);
            free(y[0]), free(y[1]);
            free_input(&in);
            free_weights(&w);
        }
}

/* ---- rounding of inputs ---------------------------------------------------------------------- */

TEST(quantize_rounds_like_llama2c) {
    enum { COLS = 288 };
    for (int s = 0; s < n_set; s++) {
        pith__input in = new_input(2, COLS);
        float *x = (float *)in.x;
        for (int i = 0; i < 32; i++) x[i] = (float)i + 0.5f; /* halves go away from zero */
        x[0] = 127, x[1] = -x[1];
        for (int i = 96; i < 128; i++) x[i] = 0;
        in.group = 32;
        sets[s]->quantize(&in, 1);
        sets[s]->quantize(&in, 0);
        for (int b = 0; b < 2 * COLS / 32; b++) {
            float most = 0;
            int sum[2] = {0, 0}, t = b / (COLS / 32);
            for (int i = 32 * b; i < 32 * b + 32; i++) most = fmaxf(most, fabsf(x[i]));
            CHECK(in.d[b] == most / 127.0f);
            for (int i = 32 * b; i < 32 * b + 32; i++) {
                EQ(in.q[i], most > 0 ? (int)roundf(x[i] / (most / 127.0f)) : 0);
                sum[i % 32 / 16] += in.q[i];
            }
            for (int h = 0; h < 2; h++)
                EQ(in.sum[(2 * t + h) * (COLS / 32) + b % (COLS / 32)], sum[h]);
        }
        free_input(&in);
    }
}

TEST(quantize_of_what_is_not_a_number) {
    static const float odd[] = {NAN, INFINITY, -INFINITY};
    for (int s = 0; s < n_set; s++)
        for (int k = 0; k < 3; k++) {
            pith__input in = new_input(1, 96);
            ((float *)in.x)[40] = odd[k];
            ((float *)in.x)[70] = 1e-44f;
            for (int i = 71; i < 96; i++)
                ((float *)in.x)[i] = ((float *)in.x)[i - 71 + 64] = 190 * 1.4e-45f;
            in.group = 32;
            sets[s]->quantize(&in, 0);
            CHECK(in.d[1] != in.d[1]);
            CHECK(in.d[0] > 0 && in.d[2] >= 0);
            for (int i = 32; i < 64; i++) EQ(in.q[i], 0);
            for (int i = 0; i < 96; i++) CHECK(in.q[i] >= -127);
            free_input(&in);
        }
}

/* ---- one vector ------------------------------------------------------------------------------ */

TEST(dot_and_rmsnorm) {
    float x[300], y[300], w[300];
    for (int s = 0; s < n_set; s++)
        for (size_t n = 1; n <= 300; n += n < 70 ? 1 : 23) {
            double dot = 0, size = 0, square = 0;
            for (size_t i = 0; i < n; i++) {
                x[i] = uniform(), w[i] = uniform();
                dot += (double)x[i] * w[i], size += fabs((double)x[i] * w[i]),
                    square += (double)x[i] * x[i];
            }
            NEAR(sets[s]->dot(x, w, n), dot, size * 1e-6);
            double scale = 1 / sqrt(square / n + 1e-5);
            sets[s]->rmsnorm(y, x, w, n, 1e-5f);
            for (size_t i = 0; i < n; i++) NEAR(y[i], w[i] * scale * x[i], 1e-5);
            sets[s]->rmsnorm(y, x, NULL, n, 1e-5f);
            for (size_t i = 0; i < n; i++) NEAR(y[i], scale * x[i], 1e-5);
            sets[s]->rmsnorm(x, x, w, n, 1e-5f); /* in place */
            for (size_t i = 0; i < n; i++) NEAR(x[i], y[i] * w[i], 1e-5);
        }
}

TEST(rope_turns_pairs) {
    for (int s = 0; s < n_set; s++)
        for (int n = 2; n <= 132; n += n < 40 ? 2 : 46)
            for (int half = 0; half < 2; half++) {
                float x[140], y[140], cs[140];
                for (int i = 0; i < n; i++) cs[i] = uniform();
                for (int i = 0; i < 140; i++) x[i] = y[i] = uniform();
                sets[s]->rope(y, cs, n, half);
                for (int i = 0; i < n / 2; i++) {
                    int a = half ? i : 2 * i, b = half ? i + n / 2 : 2 * i + 1;
                    NEAR(y[a], (double)x[a] * cs[2 * i] - (double)x[b] * cs[2 * i + 1], 3e-7);
                    NEAR(y[b], (double)x[a] * cs[2 * i + 1] + (double)x[b] * cs[2 * i], 3e-7);
                }
                for (int i = n; i < 140; i++) CHECK(x[i] == y[i]);
            }
}

TEST(gate_is_silu_or_gelu) {
    enum { N = 4001 };
    static float x[N], up[N], y[N];
    for (int i = 0; i < N; i++) x[i] = (float)(i - N / 2) * 0.05f, up[i] = uniform();
    for (int s = 0; s < n_set; s++)
        for (int n = 1; n <= N; n = n < 40 ? n + 1 : N + (n == N)) {
            sets[s]->gate(y, x, up, n, PITH__SILU);
            for (int i = 0; i < n; i++)
                NEAR(y[i], x[i] / (1 + exp(-(double)x[i])) * up[i], fabs(x[i]) * 5e-7 + 1e-37);
            sets[s]->gate(y, x, up, n, PITH__GELU);
            for (int i = 0; i < n; i++) {
                double z = x[i], t = tanh(0.7978845608028654 * (z + 0.044715 * z * z * z));
                NEAR(y[i], 0.5 * z * (1 + t) * up[i], fabs(z) * 5e-7 + 1e-30);
            }
        }
    for (int s = 0; s < n_set; s++) {
        float odd[] = {NAN, INFINITY, -1e30f, 1e30f}, ones[] = {1, 1, 1, 1};
        sets[s]->gate(y, odd, ones, 4, PITH__SILU);
        CHECK(y[0] != y[0] && y[1] == INFINITY && y[2] == 0 && y[3] == 1e30f);
        sets[s]->gate(y, odd, ones, 4, PITH__GELU);
        CHECK(y[0] != y[0] && y[1] == INFINITY && y[2] == 0 && y[3] == 1e30f);
    }
}

TEST(softmax_sums_to_one) {
    static float x[700], y[700];
    for (int s = 0; s < n_set; s++)
        for (int n = 1; n <= 700; n += n < 40 ? 1 : 66) {
            double sum = 0;
            float most = -INFINITY;
            for (int i = 0; i < n; i++) {
                x[i] = y[i] = uniform() * 60;
                most = fmaxf(most, x[i]);
            }
            for (int i = 0; i < n; i++) sum += exp((float)(x[i] - most));
            sets[s]->softmax(y, n);
            for (int i = 0; i < n; i++) {
                double want = exp((float)(x[i] - most)) / sum;
                NEAR(y[i], want, want * 3e-6 + 1e-37);
            }
        }
}

TEST(exp_is_right_to_the_last_place) { /* e / (1 + e) with e = exp(x): a sum and a division besides */
    for (int s = 0; s < n_set; s++)
        for (float x = -86; x < 0; x += 0.00917f) {
            float y[2] = {0, x};
            sets[s]->softmax(y, 2);
            double want = exp(x) / (1 + exp(x));
            NEAR(y[1], want, want * 2.2 * 0x1p-23);
        }
}

TEST(softmax_at_the_edges) {
    for (int s = 0; s < n_set; s++) {
        float a[] = { -INFINITY, 0, -INFINITY, -1e30f }, b[] = { 1, NAN, 2 },
              c[] = { 1e38f, -1e38f, -3e38f };
        float d[20];
        sets[s]->softmax(a, 4);
        CHECK(a[0] == 0 && a[1] == 1 && a[2] == 0 && a[3] == 0);
        sets[s]->softmax(b, 3);
        CHECK(b[0] != b[0] && b[1] != b[1] && b[2] != b[2]);
        sets[s]->softmax(c, 3);
        CHECK(c[0] == 1 && c[1] == 0 && c[2] == 0);
        for (int i = 0; i < 20; i++) d[i] = -INFINITY;
        sets[s]->softmax(d, 20);
        for (int i = 0; i < 20; i++) CHECK(d[i] != d[i]);
    }
}

/* ---- attention ------------------------------------------------------------------------------- */

typedef struct {
    pith__attention a;
    float *k, *v; /* (n_position, n_kv_head, head_dim) as stored, that is after rounding */
} case_of_attention;

static float round_trip(const pith__format *f, const float *x, int i) {
    uint8_t bytes[34];
    float y[32];
    if (f->floats) {
        f->encode(bytes, x + i, 1);
        f->floats(y, bytes, 1);
        return y[0];
    }
    pith__block b;
    f->encode(bytes, x + i / 32 * 32, 32);
    f->unpack(&b, bytes, 0);
    return b.d[0] * b.q[i % 32];
}

/* A text of position + n tokens, of which the cache holds the last n_slot. */
static void make_case(case_of_attention *c, int format, int n_head, int n_kv_head, int head_dim,
                      int n_slot, int position, int n) {
    const pith__format *f = pith__format_of(format);
    int n_pos = position + n, width = n_kv_head * head_dim;
    size_t plane = pith__cache_plane(f, head_dim, n_slot);
    uint8_t *k = take(plane * n_kv_head), *v = take(plane * n_kv_head);
    float *q = take((size_t)n * n_head * head_dim * 4), *x = take(head_dim * 4);
    c->k = take((size_t)n_pos * width * 4), c->v = take((size_t)n_pos * width * 4);
    for (int i = 0; i < n * n_head * head_dim; i++) q[i] = uniform() * 2;
    for (int u = 0; u < n_pos; u++)
        for (int h = 0; h < n_kv_head; h++)
            for (int both = 0; both < 2; both++) {
                float *to = (both ? c->v : c->k) + (size_t)u * width + h * head_dim;
                for (int i = 0; i < head_dim; i++) x[i] = uniform();
                for (int i = 0; i < head_dim; i++) to[i] = round_trip(f, x, i);
                if (both) pith__cache_value(f, v + h * plane, head_dim, u % n_slot, x);
                else pith__cache_key(f, k + h * plane, head_dim, u % n_slot, x);
            }
    c->a = (pith__attention){ q,        take((size_t)n * n_head * head_dim * 4),
                              k,        v,
                              plane,    plane,
                              f,        f,
                              n,        position,
                              n_head,   n_kv_head,
                              head_dim, n_slot,
                              0,        1 / sqrtf((float)head_dim),
                              0 };
    free(x);
}

static void free_case(case_of_attention *c) {
    free((void *)c->a.q), free(c->a.y), free((void *)c->a.k), free((void *)c->a.v), free(c->k),
        free(c->v);
}

static void right_attention(const case_of_attention *c, int t, int h, double *y) {
    const pith__attention *a = &c->a;
    int p = a->position + t, lo = a->window && p >= a->window ? p - a->window + 1 : 0,
        D = a->head_dim;
    size_t width = (size_t)a->n_kv_head * D, at = (size_t)(h / (a->n_head / a->n_kv_head)) * D;
    const float *q = a->q + ((size_t)t * a->n_head + h) * D;
    double *s = take((p + 1) * sizeof *s), most = -INFINITY, sum = 0;
    for (int u = lo; u <= p; u++) {
        s[u] = 0;
        for (int i = 0; i < D; i++) s[u] += (double)q[i] * c->k[u * width + at + i];
        s[u] *= a->scale;
        if (a->softcap > 0) s[u] = a->softcap * tanh(s[u] / a->softcap);
        most = fmax(most, s[u]);
    }
    for (int u = lo; u <= p; u++) sum += s[u] = exp(s[u] - most);
    for (int i = 0; i < D; i++) {
        y[i] = 0;
        for (int u = lo; u <= p; u++) y[i] += s[u] / sum * c->v[u * width + at + i];
    }
    free(s);
}

static void check_attention(const pith__kernels *k, case_of_attention *c) {
    pith__attention *a = &c->a;
    int row = a->n_head * a->head_dim;
    size_t bytes = pith__attend_scratch(a->n_head / a->n_kv_head, a->head_dim, a->n_slot);
    double want[512];
    pith__team team = new_team(1, bytes);
    pith__attend(k, &team, a);
    for (int t = 0; t < a->n; t++)
        for (int h = 0; h < a->n_head; h++) {
            right_attention(c, t, h, want);
            for (int i = 0; i < a->head_dim; i++)
                NEAR(a->y[t * row + h * a->head_dim + i], want[i], 1e-5);
            if (t_bad) {
                FAIL("%s %s head_dim %d position %d token %d window %d n_slot %d", k->name,
                     a->k_format->name, a->head_dim, a->position, t, a->window, a->n_slot);
                return;
            }
        }
    for (int piece = 1; piece <= a->n; piece += 4) { /* pieces of the tokens */
        pith__attention b = *a;
        float *y = take((size_t)a->n * row * 4);
        for (int t = 0; t < a->n; t += piece) {
            b.q = a->q + t * row, b.y = y + t * row, b.position = a->position + t;
            b.n = a->n - t < piece ? a->n - t : piece;
            pith__attend(k, &team, &b);
        }
        CHECK(memcmp(y, a->y, (size_t)a->n * row * 4) == 0);
        free(y);
    }
    free(team.scratch);
}

TEST(attention) {
    static const int shape[][6] = { /* n_head, n_kv_head, head_dim, n_slot, position, n */
                                    { 8, 4, 8, 256, 0, 30 },     { 8, 4, 8, 256, 200, 19 },
                                    { 3, 3, 20, 64, 40, 9 },     { 4, 1, 64, 112, 90, 18 },
                                    { 8, 2, 128, 624, 600, 10 }, { 2, 2, 72, 48, 17, 2 },
                                    { 4, 4, 32, 16, 0, 1 },      { 5, 1, 256, 320, 290, 3 }
    };
    static const int format[] = {PITH__F32, PITH__F16, PITH__Q8_0};
    for (int s = 0; s < n_set; s++)
        for (int f = 0; f < 3; f++)
            for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
                const int *d = shape[i];
                if (format[f] == PITH__Q8_0 && d[2] % 32) continue;
                case_of_attention c;
                make_case(&c, format[f], d[0], d[1], d[2], d[3], d[4], d[5]);
                check_attention(sets[s], &c);
                c.a.window = 21;
                check_attention(sets[s], &c);
                c.a.window = 1, c.a.softcap = 5;
                check_attention(sets[s], &c);
                c.a.window = 0;
                check_attention(sets[s], &c);
                free_case(&c);
            }
}

TEST(threads_share_attention) {
    for (int s = 0; s < n_set; s++) {
        case_of_attention c;
        make_case(&c, PITH__F16, 8, 4, 64, 320, 290, 25);
        size_t size = (size_t)25 * 8 * 64 * 4, bytes = pith__attend_scratch(2, 64, 320);
        float *one = take(size);
        for (int n = 1; n <= MAX_THREADS; n++) {
            pith__team team = new_team(n, bytes);
            memset(c.a.y, 0, size);
            attend_together(sets[s], &team, &c.a);
            if (n == 1) memcpy(one, c.a.y, size);
            CHECK(memcmp(one, c.a.y, size) == 0);
            free(team.scratch);
        }
        free(one);
        free_case(&c);
    }
}

TEST(attention_in_a_ring) { /* the cache went round several times */
    static const int format[] = {PITH__F32, PITH__F16, PITH__Q8_0};
    for (int s = 0; s < n_set; s++)
        for (int f = 0; f < 3; f++)
            for (int position = 60; position < 700; position += 91) {
                case_of_attention c;
                make_case(&c, format[f], 4, 2, 64, 48, position, 9);
                c.a.window = 40;
                check_attention(sets[s], &c);
                free_case(&c);
            }
}

TEST(attention_skips_what_it_must_not_see) { /* later positions may hold anything */
    for (int s = 0; s < n_set; s++) {
        case_of_attention c;
        make_case(&c, PITH__F32, 4, 2, 16, 64, 0, 41);
        float bad[16];
        for (int i = 0; i < 16; i++) bad[i] = NAN;
        for (int u = 41; u < 64; u++)
            for (int h = 0; h < 2; h++) {
                pith__cache_key(c.a.k_format, (uint8_t *)c.a.k + h * c.a.k_plane, 16, u, bad);
                pith__cache_value(c.a.k_format, (uint8_t *)c.a.v + h * c.a.v_plane, 16, u, bad);
            }
        check_attention(sets[s], &c);
        free_case(&c);
    }
}

TEST(cache_planes) {
    EQ(pith__cache_plane(pith__format_of(PITH__F32), 20, 32), 20 * 32 * 4);
    EQ(pith__cache_plane(pith__format_of(PITH__F16), 64, 16), 64 * 16 * 2);
    EQ(pith__cache_plane(pith__format_of(PITH__Q8_0), 64, 16), 2 * 16 * 34);
    EQ(pith__cache_plane(pith__format_of(PITH__Q8_0), 80, 16), 0);
}

int main(void) {
    sets[n_set++] = pith__portable(NULL);
    static const char *names[] = {"avx2", "avx512", "avx512bf16"};
    for (int i = 0; i < 3; i++)
        if (pith__x86(names[i])) sets[n_set++] = pith__x86(names[i]);
    static const char *arm_names[] = {"neon", "dotprod", "i8mm"};
    for (int i = 0; i < 3; i++)
        if (pith__arm(arm_names[i])) sets[n_set++] = pith__arm(arm_names[i]);
    for (int s = 0; s < n_set; s++) printf("# kernels: %s\n", sets[s]->name);

    RUN(matmul_of_floats);
    RUN(matmul_of_blocks);
    RUN(matmul_of_the_largest_numbers);
    RUN(matmul_of_llama2c_groups);
    RUN(llama2c_groups_have_the_bits_of_portable);
    RUN(threads_give_the_same_bits);
    RUN(quantize_rounds_like_llama2c);
    RUN(quantize_of_what_is_not_a_number);
    RUN(dot_and_rmsnorm);
    RUN(rope_turns_pairs);
    RUN(gate_is_silu_or_gelu);
    RUN(softmax_sums_to_one);
    RUN(exp_is_right_to_the_last_place);
    RUN(softmax_at_the_edges);
    RUN(attention);
    RUN(threads_share_attention);
    RUN(attention_in_a_ring);
    RUN(attention_skips_what_it_must_not_see);
    RUN(cache_planes);
    return DONE();
}
