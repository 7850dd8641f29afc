/* The order of every sum of floats, written out here in plain C and compared bit by bit with all kernel sets: a sum
 * of many floats depends on its order, and results must depend on nothing but the text (math/kernels.c). */
#include "kernel_cases.h"

enum { N_TOKEN = 131, ROWS = 37, CHUNK = 256 }; /* whole tiles of many tokens, and three tokens more */

static int fused; /* portable rounds a product and then its sum; all others round a * b + c once */

static float mul_add(float a, float b, float c) { return fused ? fmaf(a, b, c) : c + a * b; }

/* 16 lanes as a fixed tree: i + i+8, then +4, +2, +1. */
static float tree(const float lane[16]) {
    float a[8], b[4];
    for (int i = 0; i < 8; i++) a[i] = lane[i] + lane[i + 8];
    for (int i = 0; i < 4; i++) b[i] = a[i] + a[i + 4];
    return (b[0] + b[2]) + (b[1] + b[3]);
}

/* Number i goes to lane i % 16. */
static float right_dot(const float *a, const float *b, size_t n) {
    float lane[16] = {0};
    for (size_t i = 0; i < n; i++) lane[i % 16] = mul_add(a[i], b[i], lane[i % 16]);
    return tree(lane);
}

static int differs(const float *got, const float *want, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (memcmp(got + i, want + i, sizeof *got)) {
            printf("# [%zu] is %.9g, want %.9g\n", i, got[i], want[i]);
            return 1;
        }
    return 0;
}

/* The exponential of all sets but portable, see exp in math/twins/vector.inc. */
static float right_exp(float given) {
    if (!fused) return expf(given);
    if (given < -87.0f) return 0;
    float x = fminf(89.0f, given), n = rintf(x * 1.44269504f);
    float r = fmaf(n, 2.12194440e-4f, fmaf(-n, 0.693359375f, x));
    float p = fmaf(1.3926184e-3f, r, 8.3631791e-3f);
    p = fmaf(p, r, 4.1666555e-2f);
    p = fmaf(p, r, 1.6666577e-1f);
    p = fmaf(p, r, 0.5f);
    return ldexpf(fmaf(r * r, p, r) + 1.0f, (int)n);
}

/* ---- one vector -------------------------------------------------------------------------------- */

TEST(dot) {
    float a[300], b[300];
    for (int s = 0; s < n_set; s++)
        for (size_t n = 0; n <= 300; n++) {
            fused = s > 0;
            for (size_t i = 0; i < n; i++) a[i] = uniform(), b[i] = uniform();
            float got = sets[s]->dot(a, b, n), want = right_dot(a, b, n);
            if (differs(&got, &want, 1)) FAIL("%s: %zu numbers", sets[s]->name, n);
        }
}

/* Each vector's product and the sum of its bits, whichever are asked for together. */
TEST(scan) {
    enum { MOST = 70, VECTORS = 11 };
    float x[VECTORS * MOST], q[MOST], y[VECTORS], want[VECTORS];
    uint32_t bits[VECTORS], sum[VECTORS];
    for (int s = 0; s < n_set; s++)
        for (size_t n = 1; n <= MOST; n++) {
            fused = s > 0;
            memset(sum, 0, sizeof sum);
            for (size_t i = 0; i < n; i++) q[i] = uniform();
            for (size_t i = 0; i < VECTORS * n; i++) x[i] = uniform(), sum[i / n] += pith__bits_of(x[i]);
            for (size_t r = 0; r < VECTORS; r++) want[r] = right_dot(x + r * n, q, n), y[r] = 7, bits[r] = 7;
            pith__scan all = { x, q, n, y, bits };
            for (size_t r0 = 1; r0 < 3; r0++) {
                sets[s]->scan(&all, 0, r0);
                sets[s]->scan(&all, r0, VECTORS);
                if (differs(y, want, VECTORS) || memcmp(bits, sum, sizeof bits)) FAIL("%s: %zu numbers", sets[s]->name, n);
            }
        }
}

/* Portable adds the squares one after the other, as llama2.c does; the others have lanes. */
TEST(rmsnorm) {
    float x[300], w[300], y[300], want[300];
    for (int s = 0; s < n_set; s++)
        for (size_t n = 1; n <= 300; n++) {
            float sum = 0;
            fused = s > 0;
            for (size_t i = 0; i < n; i++) x[i] = uniform(), w[i] = uniform(), sum += x[i] * x[i];
            if (fused) sum = right_dot(x, x, n);
            float scale = 1.0f / sqrtf(sum / (float)n + 1e-5f);
            for (size_t i = 0; i < n; i++) want[i] = w[i] * (scale * x[i]);
            sets[s]->rmsnorm(y, x, w, n, 1e-5f);
            if (differs(y, want, n)) FAIL("%s: %zu numbers", sets[s]->name, n);
        }
}

TEST(softmax) { /* the same: one after the other, and in lanes */
    float x[300], want[300];
    for (int s = 0; s < n_set; s++)
        for (size_t n = 1; n <= 300; n++) {
            float most = -INFINITY, sum = 0, lane[16] = {0};
            fused = s > 0;
            for (size_t i = 0; i < n; i++) x[i] = uniform() * 20, most = fmaxf(most, x[i]);
            for (size_t i = 0; i < n; i++) {
                want[i] = right_exp(x[i] - most);
                sum += want[i], lane[i % 16] += want[i];
            }
            for (size_t i = 0; i < n; i++) want[i] /= fused ? tree(lane) : sum;
            sets[s]->softmax(x, n);
            if (differs(x, want, n)) FAIL("%s: %zu numbers", sets[s]->name, n);
        }
}

/* ---- matmul ------------------------------------------------------------------------------------ */

static float through_bf16(float x) {
    const pith__format *f = pith__format_of(PITH__BF16);
    uint8_t bytes[2];
    f->encode(bytes, &x, 1, NULL);
    f->floats(&x, bytes, 1);
    return x;
}

/* a + b rounded to odd: cut off, and if that is not exact the last bit is set. What the sum of doubles lost is not lost. */
static float add_to_odd(float a, float b) {
    double sum = (double)a + b, of_b = sum - a, lost = (a - (sum - of_b)) + (b - of_b);
    if (lost && (lost < 0) != (sum < 0)) sum = nextafter(sum, 0);
    float y = (float)sum;
    if (fabs(y) > fabs(sum)) y = nextafterf(y, 0);
    return lost || y != sum ? pith__float_of(pith__bits_of(y) | 1) : y;
}

/* BF16 with BF16: lane l has numbers 2 l and 2 l + 1 of every 32. On x86 the second of them is added first; on arm64 both
 * are added, and then their sum. */
static float right_pairs(const float *w, const float *x, size_t n, int to_odd) {
    float lane[16] = {0};
    for (size_t i = 0; i < n; i += 2) {
        float *s = &lane[i / 2 % 16], first = w[i] * through_bf16(x[i]), second = w[i + 1] * through_bf16(x[i + 1]);
        *s = to_odd ? add_to_odd(*s, add_to_odd(first, second)) : *s + second + first;
    }
    return tree(lane);
}

/* Formats in which 16 weights have a scale of their own, not 32. */
static int has_halves(const pith__format *f) {
    return f->id == PITH__Q2_K || f->id == PITH__Q3_K || f->id == PITH__Q6_K;
}

/* Block b goes to lane b % 16. Portable adds each half with its minimum; the others the products, of halves only
 * where their scales differ, and then the minima. */
static float right_blocks(const pith__tensor *w, size_t r, const pith__input *in, size_t t) {
    float lane[16] = {0};
    size_t n_block = (in->cols + 31) / 32;
    for (size_t b = 0; b < n_block; b++) {
        float *s = &lane[b % 16], d = in->d[t * n_block + b];
        const int8_t *q = in->q + (t * n_block + b) * 32;
        int dot[2] = {0}, sum[2] = {0}, n_half = has_halves(w->format) ? 2 : 1;
        pith__q32 x;
        pith__row_q32(w, r, b, &x);
        for (int i = 0; i < 32; i++) dot[i / 16] += x.q[i] * q[i], sum[i / 16] += q[i];
        for (int h = 0; h < 2 && !fused; h++)
            *s += (float)dot[h] * (x.d[h] * d) - (float)sum[h] * (x.m[h] * d);
        if (!fused) continue;
        if (n_half == 1) dot[0] += dot[1], sum[0] += sum[1];
        for (int h = 0; h < n_half; h++) *s = fmaf((float)dot[h], x.d[h] * d, *s);
        for (int h = 0; h < n_half; h++) *s = fmaf(-x.m[h], d * (float)sum[h], *s);
    }
    return tree(lane);
}

/* llama2.c's groups: one after the other, whichever the kernels. */
static float right_groups(const pith__tensor *w, size_t r, const pith__input *in, size_t t) {
    size_t n_group = in->cols / w->group, n_block = (in->cols + 31) / 32;
    float sum = 0;
    for (size_t g = 0; g < n_group; g++) {
        int dot = 0;
        float scale;
        for (size_t i = g * w->group; i < (g + 1) * w->group; i++)
            dot += (int8_t)w->data[r * in->cols + i] * in->q[t * n_block * 32 + i];
        memcpy(&scale, w->scale + 4 * (r * n_group + g), 4);
        sum += (float)dot * scale * in->d[t * n_group + g];
    }
    return sum;
}

static void right_product(const pith__kernels *k, float *y, const pith__tensor *w, const pith__input *in) {
    int pairs = w->format->id == PITH__BF16 && in->cols % 2 == 0 && rounds_inputs(k);
    float *row = take(in->cols * 4);
    for (size_t r = 0; r < w->rows; r++) {
        if (w->format->floats) w->format->floats(row, w->data + r * w->row_bytes, in->cols);
        for (size_t t = 0; t < (size_t)in->n; t++) {
            const float *x = in->x + t * in->cols;
            y[t * w->rows + r] = w->format->unpack  ? right_blocks(w, r, in, t)
                                 : !w->format->floats ? right_groups(w, r, in, t)
                                 : pairs              ? right_pairs(row, x, in->cols, !strcmp(k->name, "bf16"))
                                                      : right_dot(row, x, in->cols);
        }
    }
    free(row);
}

/* One token, few and many: all have the same order. */
static void check_order(const pith__kernels *k, const pith__format *f, size_t cols, size_t group) {
    static const int n_token[] = {N_TOKEN, 1, 2, 3, 7, 15, 16, 24, PITH__FEW, PITH__FEW + 2};
    pith__tensor w = random_weights(f, ROWS, cols, group);
    pith__input in = new_input(N_TOKEN, cols);
    float *want = take(N_TOKEN * ROWS * 4), *y = take(N_TOKEN * ROWS * 4);
    fused = k != sets[0];
    for (size_t i = 0; i < sizeof n_token / sizeof *n_token; i++) {
        in.n = n_token[i], in.group = 0, in.arranged = NULL;
        product(k, y, ROWS, &w, &in);
        if (i == 0) right_product(k, want, &w, &in); /* with the numbers that the inputs were rounded to */
        if (differs(y, want, (size_t)in.n * ROWS))
            FAIL("%s %s: %zu columns, %d tokens", k->name, f->name, cols, in.n);
    }
    free(want), free(y);
    free_input(&in);
    free_weights(&w);
}

TEST(matmul) {
    static const size_t of_floats[] = {1, 7, 16, 33, 62, 100, 256, 521}, of_blocks[] = {32, 288, 544, 768, 1312};
    for (int s = 0; s < n_set; s++)
        for (int f = 0; f < n_format; f++) {
            for (size_t i = BRIEF; i < 8 && formats[f]->floats; i += 1 + BRIEF) check_order(sets[s], formats[f], of_floats[i], 0);
            for (size_t i = 0; i < 5 && formats[f]->unpack; i += 1 + BRIEF)
                if (of_blocks[i] % (size_t)formats[f]->length == 0)
                    check_order(sets[s], formats[f], of_blocks[i], 0);
        }
}

TEST(matmul_of_llama2c_groups) {
    static const size_t shape[][2] = {{64, 64}, {288, 32}, {1056, 96}, {172, 4}}; /* columns, in groups of */
    for (int s = 0; s < n_set; s++)
        for (int i = 0; i < 4; i++)
            check_order(sets[s], pith__format_of(PITH__I8), shape[i][0], shape[i][1]);
}

/* ---- attention --------------------------------------------------------------------------------- */

/* Channel i of the key in a slot: the integer (or the float), and its scale, as math/kernels.h says they lie. */
static float key_at(const pith__attention *a, const uint8_t *plane, int slot, int i, float *scale) {
    const pith__format *f = a->k_format;
    const uint8_t *p = plane + (size_t)(slot / 16 * 16) * (a->head_dim / f->length * f->bytes);
    float y = 0;
    uint16_t d;
    *scale = 1;
    if (f->floats) {
        f->floats(&y, p + (size_t)(16 * i + slot % 16) * f->bytes, 1);
        return y;
    }
    p += i / 32 * 16 * 34;
    memcpy(&d, p + 2 * (slot % 16), 2);
    *scale = pith__f16_to_f32(d);
    return (int8_t)p[32 + i % 32 * 16 + slot % 16];
}

/* A score is a sum down the channels. */
static float right_score(const pith__attention *a, const float *q, const uint8_t *plane, int slot) {
    float sum = 0, d;
    for (int i = 0; i < a->head_dim; i++) {
        float k = key_at(a, plane, slot, i, &d);
        sum = mul_add(q[i], k * d, sum);
    }
    sum = fused ? sum * (float)a->scale : sum / (float)(1 / a->scale);
    if (a->softcap > 0 && fused) {
        float e = right_exp(sum * (2.0f / a->softcap));
        return a->softcap * (1.0f - 2.0f / (1.0f + e));
    }
    return a->softcap > 0 ? a->softcap * tanhf(sum / a->softcap) : sum;
}

/* Values are added in the order of the text; with heads of 8, position u first to one of four sums of even and of
 * odd positions. v: (n_position, width) */
static void add_values(const pith__attention *a, float *y, const float *p, const float *v, size_t width, int from,
                       int to) {
    float part[4][2][8] = {{{0}}};
    int narrow = fused && a->head_dim == 8 && a->v_format->id == PITH__F32;
    for (int u = from; u <= to; u++)
        for (int i = 0; i < a->head_dim; i++) {
            float *s = narrow ? &part[u / 2 % 4][u % 2][i] : &y[i];
            *s = mul_add(p[u], v[(size_t)u * width + (size_t)i], *s);
        }
    for (int i = 0; i < 8 && narrow; i++) {
        float both[2];
        for (int k = 0; k < 2; k++) both[k] = (part[0][k][i] + part[2][k][i]) + (part[1][k][i] + part[3][k][i]);
        y[i] += both[0] + both[1];
    }
}

/* Positions first to last, of one part. Portable: all scores, their softmax, the values. The others go by CHUNK positions
 * and keep sums that are relative to the largest score so far, position u's in lane u % 16. */
static void right_part(const case_of_attention *c, int t, int h, int first, int last, float *y, float *weight) {
    const pith__attention *a = &c->a;
    int dim = a->head_dim, kv = h / (a->n_head / a->n_kv_head), chunk = fused ? CHUNK : 1 << 20;
    size_t width = (size_t)(a->n_kv_head * dim);
    const float *q = a->q + ((size_t)t * a->n_head + h) * dim, *v = c->v + kv * dim;
    float *p = take((size_t)(last + 1) * 4), lane[16] = {0}, sum = 0, most = -INFINITY;
    for (int i = 0; i < dim; i++) y[i] = 0;
    for (int c0 = first / chunk * chunk; c0 <= last; c0 += chunk) {
        int from = first > c0 ? first : c0, to = last < c0 + chunk - 1 ? last : c0 + chunk - 1;
        float before = most;
        for (int u = from; u <= to; u++) {
            p[u] = right_score(a, q, a->k + kv * a->k_plane, u % a->n_slot);
            most = fmaxf(most, p[u]);
        }
        float shrink = before > -INFINITY ? right_exp(before - most) : 1;
        for (int i = 0; i < 16; i++) lane[i] *= shrink;
        for (int i = 0; i < dim; i++) y[i] *= shrink;
        for (int u = from; u <= to; u++) {
            p[u] = right_exp(p[u] - most);
            lane[u % 16] += p[u], sum += p[u];
        }
        for (int u = from; u <= to && !fused; u++) p[u] /= sum;
        add_values(a, y, p, v, width, from, to);
    }
    sum = fused ? tree(lane) : sum;
    float scale = fused ? 1.0f / sum : 1;
    for (int i = 0; i < dim; i++) y[i] *= scale;
    weight[0] = most, weight[1] = sum;
    free(p);
}

/* Parts begin at multiples of PITH__PART, and are joined one after the other. */
static void right_attention(const case_of_attention *c, int t, int h, float *y) {
    pith__span seen = pith__sees(c->a.mask, c->a.position + t, c->a.position + c->a.n);
    float next[512], all[2] = {0}, w[2];
    for (int from = seen.first, to; from <= seen.last; from = to + 1) {
        to = from / PITH__PART * PITH__PART + PITH__PART - 1;
        to = to < seen.last ? to : seen.last;
        right_part(c, t, h, from, to, from == seen.first ? y : next, w);
        if (from > seen.first) {
            float most = fmaxf(all[0], w[0]), mine = all[1] * expf(all[0] - most), others = w[1] * expf(w[0] - most);
            for (int i = 0; i < c->a.head_dim; i++)
                y[i] = mine / (mine + others) * y[i] + others / (mine + others) * next[i];
            w[0] = most, w[1] = mine + others;
        }
        all[0] = w[0], all[1] = w[1];
    }
}

static void check_attention_order(const pith__kernels *k, case_of_attention *c) {
    pith__attention *a = &c->a;
    float want[512];
    pith__team team = new_team(1, pith__attend_scratch(a->n_head / a->n_kv_head, a->head_dim));
    pith__attend(k, &team, a, 1, no_room);
    fused = k != sets[0];
    for (int t = 0; t < a->n; t++)
        for (int h = 0; h < a->n_head; h += BRIEF ? 3 : 1) {
            right_attention(c, t, h, want);
            if (!differs(a->y + ((size_t)t * a->n_head + h) * a->head_dim, want, (size_t)a->head_dim)) continue;
            FAIL("%s %s: head_dim %d position %d token %d head %d window %d", k->name, a->k_format->name, a->head_dim,
                 a->position, t, h, a->mask.window);
            t = a->n, h = a->n_head;
        }
    free(team.scratch);
}

TEST(attention) {
    static const int shape[][6] = { /* n_head, n_kv_head, head_dim, n_slot, position, n */
                                    { 8, 4, 8, 320, 250, 19 },    { 3, 3, 20, 64, 40, 9 },
                                    { 4, 1, 64, 640, 590, 18 },   { 8, 2, 128, 288, 250, 10 },
                                    { 2, 2, 72, 48, 17, 2 },      { 5, 1, 256, 320, 290, 3 },
                                    { 2, 2, 64, 384, 250, 60 },   { 6, 2, 32, 320, 240, 33 },
                                    { 3, 1, 32, 2080, 2046, 5 },  { 4, 2, 8, 1040, 1020, 12 },
                                    { 9, 1, 32, 3104, 3090, 1 } };
    static const int format[] = {PITH__F32, PITH__F16, PITH__Q8_0};
    for (int s = 0; s < n_set; s++)
        for (int f = 0; f < 3; f++)
            for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
                const int *d = shape[i];
                if (format[f] == PITH__Q8_0 && d[2] % 32) continue;
                case_of_attention c;
                make_case(&c, format[f], d[0], d[1], d[2], d[3], d[4], d[5]);
                check_attention_order(sets[s], &c);
                c.a.mask.window = 21, c.a.softcap = 5;
                check_attention_order(sets[s], &c);
                c.a.mask = (pith__mask){0};
                check_attention_order(sets[s], &c);
                free_case(&c);
            }
}

/* ---- gradients --------------------------------------------------------------------------------- */

TEST(outer) { /* from the first product to the last, then what was there before */
    enum { M = 29, N = 75, K = 67 };
    static float a[M * K], b[K * N], y[M * N], want[M * N];
    for (int s = 0; s < n_set; s++)
        for (size_t n = 1; n <= N; n += n < 34 ? 3 : 41)
            for (size_t m = 1; m <= M; m += 4)
                for (int add = 0; add < 2; add++) {
                    size_t n_k = K - n % 7, across = n % 2; /* a as it is, and as a transpose */
                    pith__outer o = {.y = y, .y_row = N, .a = a, .a_row = across ? 1 : K, .a_col = across ? M : 1,
                                     .b = b, .b_row = N, .m = m, .n = n, .n_k = n_k, .add = add};
                    fused = s > 0;
                    for (size_t i = 0; i < M * K; i++) a[i] = uniform();
                    for (size_t i = 0; i < K * N; i++) b[i] = uniform();
                    for (size_t i = 0; i < M * N; i++) y[i] = want[i] = uniform();
                    for (size_t i = 0; i < m; i++)
                        for (size_t j = 0; j < n; j++) {
                            float sum = 0;
                            for (size_t k = 0; k < n_k; k++)
                                sum = mul_add(a[i * o.a_row + k * o.a_col], b[k * N + j], sum);
                            want[i * N + j] = add ? want[i * N + j] + sum : sum;
                        }
                    sets[s]->outer(&o);
                    if (differs(y, want, M * N)) FAIL("%s: %zu by %zu", sets[s]->name, m, n);
                }
}

/* To BF16: to nearest even, and what is under 2^-126 to 0. */
static float narrow(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0, x) : pith__bf16_to_f32(pith__f32_to_bf16(x)); }

/* Words of two numbers, along a row and of two rows, and their products: the second of a pair is added first. All sets give the
 * same sums, for a product of two such numbers is exact. */
TEST(pairs) {
    enum { M = 29, N = 75, K = 67, P = (K + 1) / 2 };
    static float a[M * K], b[K * N], y[M * N], want[M * N];
    static uint32_t along[M * P], down[P * N], spread[3 * 40];
    static uint16_t halves[K * N];
    const pith__format *floats = pith__format_of(PITH__F32), *bf16 = pith__format_of(PITH__BF16);
    for (int s = 0; s < n_set; s++)
        for (size_t n = 1; n <= N; n += n < 34 ? 3 : 41)
            for (size_t m = 1; m <= M; m += 4)
                for (int add = 0; add < 2; add++) {
                    size_t n_k = K - n % 7, n_pair = (n_k + 1) / 2;
                    for (size_t i = 0; i < M * K; i++) a[i] = uniform();
                    for (size_t i = 0; i < K * N; i++) b[i] = uniform(), halves[i] = pith__f32_to_bf16(b[i]);
                    for (size_t i = 0; i < M * N; i++) y[i] = want[i] = uniform();
                    a[0] = 0x1p-130f, a[1] = -0x1p-127f;
                    memset(along, 7, sizeof along), memset(down, 7, sizeof down);
                    for (size_t i = 0; i < m; i++) sets[s]->pair_row(along + i * P, a + i * K, n_k);
                    for (size_t k = 0; k < n_k; k += 2) {
                        const float *next = k + 1 < n_k ? b + (k + 1) * N : NULL;
                        const uint16_t *half = halves + k * N;
                        if (add) sets[s]->pair_rows(down + k / 2 * N, PITH__PANEL, b + k * N, next, n, floats);
                        else sets[s]->pair_rows(down + k / 2 * N, PITH__PANEL, half, next ? half + N : NULL, n, bf16);
                    }
                    for (size_t i = 0; i < m; i++)
                        for (size_t j = 0; j < n; j++) {
                            float sum = 0;
                            for (size_t k = 0; k < n_k; k += 2) {
                                if (k + 1 < n_k) sum += narrow(a[i * K + k + 1]) * narrow(b[(k + 1) * N + j]);
                                sum += narrow(a[i * K + k]) * narrow(b[k * N + j]);
                            }
                            want[i * N + j] = add ? want[i * N + j] + sum : sum;
                        }
                    pith__outer o = {.y = y, .y_row = N, .a = along, .a_row = P, .a_col = 1, .b = down, .b_row = N,
                                     .m = m, .n = n, .n_k = n_pair, .add = add, .pairs = 1};
                    sets[s]->outer(&o);
                    if (differs(y, want, M * N)) FAIL("%s: %zu by %zu", sets[s]->name, m, n);
                    sets[s]->pair_rows(spread, 40, b, b + N, n, floats);
                    for (size_t j = 0; j < n; j++)
                        if (spread[j / PITH__PANEL * 40 + j % PITH__PANEL] != (pith__bits_of(narrow(b[N + j])) | pith__bits_of(narrow(b[j])) >> 16))
                            FAIL("%s: word %zu of %zu, %zu apart", sets[s]->name, j, n, (size_t)40);
                    if (n < N && down[n] != 0x07070707) FAIL("%s: a word behind the row is written", sets[s]->name);
                }
}

int main(void) {
    find_kernels_and_formats();
    RUN(dot);
    RUN(scan);
    RUN(rmsnorm);
    RUN(softmax);
    RUN(matmul);
    RUN(matmul_of_llama2c_groups);
    RUN(attention);
    RUN(outer);
    RUN(pairs);
    return DONE();
}
