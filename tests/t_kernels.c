/* Every kernel set this machine runs: against sums in double, for every number format and awkward
 * lengths; and against itself, bit for bit, however tokens and threads share the work. */
#include "kernel_cases.h"

enum { MANY = 27 };

/* ---- matmul ---------------------------------------------------------------------------------- */

static double rounded_to_bf16(float x) {
    const pith__format *f = pith__format_of(PITH__BF16);
    uint8_t bytes[2];
    f->encode(bytes, &x, 1, NULL);
    f->floats(&x, bytes, 1);
    return x;
}

/* Row r, and how large each number may have been before it was rounded: d q and m may be large and their difference small. */
static void row_of(const pith__tensor *w, size_t r, float *row, double *most) {
    pith__row_floats(w, r, row);
    for (size_t i = 0; i < w->cols; i++) most[i] = fabs(row[i]);
    for (size_t b = 0; b < w->cols / 32 && w->format->unpack; b++) {
        pith__q32 x;
        pith__row_q32(w, r, b, &x);
        for (int i = 0; i < 32; i++)
            most[32 * b + i] = fabs((double)x.d[i / 16] * x.q[i]) + fabs(x.m[i / 16]) + 128 * fabs(x.d[i / 16]);
    }
}

/* What the product should be, in double, from the numbers the kernel was given; bound: how far off
 * it may be. */
static double right_product(const pith__kernels *k, const pith__tensor *w, const float *row, const double *most,
                            const pith__input *in, int t, double *bound) {
    double sum = 0, size = 0;
    size_t n_block = (in->cols + 31) / 32;
    for (size_t i = 0; i < in->cols; i++) {
        double x = in->x[t * in->cols + i];
        if (w->format->id == PITH__BF16 && in->cols % 2 == 0 && rounds_inputs(k))
            x = rounded_to_bf16((float)x);
        if (in->group) {
            size_t at = w->format->id == PITH__I8 ? t * (in->cols / w->group) + i / w->group
                                                  : t * n_block + i / 32;
            x = (double)in->q[t * n_block * 32 + i] * in->d[at];
        }
        sum += row[i] * x;
        size += most[i] * fabs(x);
    }
    *bound = size * 4e-7 + 1e-30;
    return sum;
}

static void check_product(const pith__kernels *k, const pith__tensor *given, pith__input in) {
    pith__tensor w = *given;
    size_t rows = w.rows, cols = w.cols, stride = rows + 3;
    pith__team team = new_team(1, pith__matmul_scratch(cols));
    float *y = take(MANY * stride * 4), *row = take(cols * 4);
    double *most = take(cols * sizeof *most);
    pith__matmul(k, &team, y, stride, &w, &in);
    for (size_t r = 0; r < rows; r++) {
        row_of(&w, r, row, most);
        for (int t = 0; t < MANY; t += BRIEF ? 4 : 1) {
            double bound, want = right_product(k, &w, row, most, &in, t, &bound), got = y[t * stride + r];
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
    free(y), free(row), free(most), free(team.scratch);
}

static void check_matmul(const pith__kernels *k, const pith__format *format, size_t rows, size_t cols,
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
        for (int f = 0; f < n_format; f++)
            for (size_t i = 0; i < sizeof cols / sizeof *cols && formats[f]->floats; i++)
                for (aside = 0; aside < 64; aside += BRIEF && i % 2 ? 64 : 32) /* GGUF's tensors begin at multiples of 32 */
                    check_matmul(sets[s], formats[f], rows[(i + aside / 32) % 4], cols[i], 0);
    aside = 0;
}

TEST(matmul_of_blocks) {
    static const size_t rows[] = {1, 5, 16, 47, 33}, cols[] = {32, 64, 288, 512, 544, 768, 640, 928, 1056};
    for (int s = 0; s < n_set; s++)
        for (int f = 0; f < n_format; f++)
            for (size_t i = 0; i < sizeof cols / sizeof *cols && formats[f]->unpack; i++)
                if (cols[i] % formats[f]->length == 0) check_matmul(sets[s], formats[f], rows[i % 5], cols[i], 0);
}

/* A thousand tokens meet the matrix in turns (math/kernels.c), and matrices of one input all together; each token has the
 * bits that it has alone. */
static void check_turns(const pith__kernels *k, const int kind[4], int n) { /* two formats, and their groups */
    enum { ROWS_A = 33, ROWS_B = 17, COLS = 96 };
    const pith__format *first = pith__format_of(kind[0]), *second = pith__format_of(kind[1]);
    pith__tensor a = random_weights(first, ROWS_A, COLS, (size_t)kind[2]), b = random_weights(second, ROWS_B, COLS, (size_t)kind[3]);
    pith__input in = new_input(n, COLS);
    pith__team team = new_team(1, pith__matmul_scratch(COLS));
    float *y = take((size_t)n * ROWS_A * 4), *z = take((size_t)n * ROWS_B * 4), alone[ROWS_A + ROWS_B];
    pith__output all[] = { { y, ROWS_A, &a }, { z, ROWS_B, &b }, { y, ROWS_A, &a } };
    pith__matmul_all(k, &team, all, 3, &in);
    for (int t = 0; t < n; t += t % 16 ? 1 : 15) { /* both sides of where a turn may begin */
        pith__input one = in;
        one.x += (size_t)t * COLS, one.n = 1, one.group = 0, one.arranged = NULL;
        pith__matmul(k, &team, alone, ROWS_A, &a, &one);
        pith__matmul(k, &team, alone + ROWS_A, ROWS_B, &b, &one);
        if (memcmp(alone, y + (size_t)t * ROWS_A, sizeof *y * ROWS_A) || memcmp(alone + ROWS_A, z + (size_t)t * ROWS_B, sizeof *z * ROWS_B))
            FAIL("%s %s %s: %d tokens, token %d", k->name, first->name, second->name, n, t);
    }
    free(y), free(z), free(team.scratch);
    free_input(&in), free_weights(&a), free_weights(&b);
}

TEST(many_tokens_in_turns) {
    static const int kinds[][4] = {
        { PITH__F32, PITH__F32 }, { PITH__F32, PITH__F16 }, { PITH__BF16, PITH__Q8_0 }, { PITH__Q8_0, PITH__Q4_0 },
        { PITH__Q4_1, PITH__Q4_1 }, { PITH__I8, PITH__I8, 32, 32 }, { PITH__I8, PITH__I8, 96, 32 }, { PITH__Q5_0, PITH__Q5_0 },
    };
    static const int n[] = { 3, 531, 1055 };
    for (int s = 0; s < n_set; s++)
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
            for (int j = 0; j < (BRIEF ? 2 : 3); j++)
                check_turns(sets[s], kinds[i], n[j]);
}

/* Panels that are kept (panels.c) give the bits of those that each product makes for itself. */
static void check_panels(const pith__kernels *k, const pith__format *format, size_t rows, size_t cols) {
    enum { TOKENS = 135 }; /* more than the formats of integers take as few */
    pith__tensor w = random_weights(format, rows, cols, 0), kept = w;
    pith__input in = new_input(TOKENS, cols);
    size_t bytes = k->panel_bytes(&w), stride = rows + 1;
    uint8_t *panels = take(rows / 16 * bytes);
    pith__team team = new_team(1, pith__matmul_scratch(cols));
    float *y = take(TOKENS * stride * 4), *z = take(TOKENS * stride * 4);
    for (size_t i = 0; bytes && i < rows / 16; i++) k->pack(&w, 16 * i, panels + i * bytes);
    kept.panels = bytes ? panels : NULL;
    for (int n = 1; n <= TOKENS; n += BRIEF ? 1 + n / 2 : n < 40 ? 1 : 13) {
        in.n = n;
        for (int i = 0; i < 2; i++) {
            in.group = 0, in.arranged = NULL;
            pith__matmul(k, &team, i ? z : y, stride, i ? &kept : &w, &in);
        }
        if (memcmp(y, z, (size_t)n * stride * 4)) FAIL("%s %s %zux%zu: panels change %d tokens", k->name, format->name, rows, cols, n);
    }
    free(y), free(z), free(panels), free(team.scratch);
    free_input(&in);
    free_weights(&w);
}

TEST(panels_that_are_kept) {
    static const size_t cols[] = {32, 384, 544, 768};
    for (int s = 0; s < n_set; s++)
        for (int f = 0; f < n_format; f++)
            for (int i = 0; i < 4; i++)
                if ((formats[f]->floats || formats[f]->unpack) && cols[i] % (size_t)formats[f]->length == 0) check_panels(sets[s], formats[f], 48, cols[i]);
    pith__tensor some = { .format = pith__format_of(PITH__F32), .rows = 40, .cols = 32 };
    for (int s = 0; s < n_set; s++) EQ(sets[s]->panel_bytes(&some), 0); /* not whole panels */
}

/* Sets all bits of the weights to those of value, and leaves the scales: what they are is seen from d and m. */
static void fill_weights(pith__tensor *w, size_t r, uint8_t value) {
    uint8_t *row = (uint8_t *)w->data + r * w->row_bytes;
    for (size_t i = 0; i < w->row_bytes; i++) {
        uint8_t was = row[i];
        int is_scale = 0;
        for (size_t b = 0; b < w->cols / 32; b++) {
            pith__q32 before, after;
            pith__row_q32(w, r, b, &before);
            row[i] = (uint8_t)~was;
            pith__row_q32(w, r, b, &after);
            row[i] = was;
            is_scale |= memcmp(before.d, after.d, sizeof after.d) || memcmp(before.m, after.m, sizeof after.m);
        }
        if (!is_scale) row[i] = value;
    }
}

TEST(matmul_of_the_largest_numbers) { /* sums in 16 bits have just enough room */
    static const uint8_t value[] = {0xff, 0, 0x80, 0x7f, 0x55};
    for (int s = 0; s < n_set; s++)
        for (int f = 0; f < n_format; f++) {
            if (!formats[f]->unpack) continue;
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
            check_matmul(sets[s], pith__format_of(PITH__I8), shape[i][0], shape[i][1], shape[i][2]);
}

/* The same weights with numbers and scales apart, and other rows between its rows. */
static void set_apart(pith__tensor *to, const pith__tensor *w) {
    enum { STEP = 3 };
    size_t n_block = w->cols / 32;
    uint8_t *data = take(w->rows * STEP * n_block * 16), *scale = take(w->rows * STEP * n_block);
    for (size_t i = 0; i < w->rows * STEP * n_block * 16; i++) data[i] = (uint8_t)next_random();
    for (size_t r = 0; r < w->rows; r++)
        for (size_t b = 0; b < n_block; b++) {
            const uint8_t *block = w->data + r * w->row_bytes + b * PITH__MXFP4_BYTES;
            uint8_t *p = data + (r * STEP * n_block + b) * 16;
            scale[r * STEP * n_block + b] = block[0];
            for (int i = 0; i < 32; i++) { /* number i of the block, in the lower half of its byte where i is even */
                uint8_t code = i < 16 ? block[1 + i] & 15 : block[1 + i - 16] >> 4;
                p[i / 2] = (uint8_t)(i % 2 ? (p[i / 2] & 15) | code << 4 : (p[i / 2] & 0xf0) | code);
            }
        }
    *to = *w;
    to->data = data, to->scale = scale, to->row_bytes = STEP * n_block * 16;
}

TEST(blocks_apart_from_their_scales) { /* MXFP4 of a Hugging Face folder has the bits of GGUF's */
    static const size_t shape[][2] = { { 1, 32 }, { 47, 64 }, { 33, 288 }, { 200, 1056 } };
    for (size_t i = 0; i < 4; i++) {
        size_t rows = shape[i][0], cols = shape[i][1];
        pith__tensor w = random_weights(pith__format_of(PITH__MXFP4), rows, cols, 0), apart;
        pith__input in = new_input(MANY, cols);
        float *y = take(rows * MANY * 4), *z = take(rows * MANY * 4);
        uint8_t *row = take(w.row_bytes);
        set_apart(&apart, &w);
        EQ(pith__tensor_bytes(&apart), pith__tensor_bytes(&w));
        EQ(pith__row_size(&apart), cols / 2);
        for (size_t r = 0; r < rows; r++) {
            pith__row_blocks(&apart, r, row);
            CHECK(!memcmp(row, w.data + r * w.row_bytes, w.row_bytes));
            pith__row_floats(&w, r, y), pith__row_floats(&apart, r, z);
            CHECK(!memcmp(y, z, cols * 4));
            pith__q32 a, b;
            pith__row_q32(&w, r, cols / 32 - 1, &a), pith__row_q32(&apart, r, cols / 32 - 1, &b);
            CHECK(!memcmp(&a, &b, sizeof a));
        }
        for (int s = 0; s < n_set; s++)
            for (int n = 1; n <= MANY; n += 13)
                for (int threads = 1; threads <= 3; threads += 2) {
                    pith__team team = new_team(threads, pith__matmul_scratch(cols));
                    pith__input some = in;
                    some.n = n;
                    pith__matmul(sets[s], &team, y, rows, &w, &some);
                    some.group = 0, some.arranged = NULL;
                    matmul_together(sets[s], &team, z, rows, &apart, &some);
                    CHECK(!memcmp(y, z, rows * (size_t)n * 4));
                    free(team.scratch);
                }
        free(y), free(z), free(row);
        free_input(&in);
        free_weights(&w), free_weights(&apart);
    }
}

TEST(threads_give_the_same_bits) {
    static const int some[] = {
        PITH__F32, PITH__F16, PITH__BF16, PITH__Q8_0, PITH__Q4_K, PITH__Q6_K
    };
    for (int s = 0; s < n_set; s++)
        for (int f = 0; f < 6; f++) {
            size_t rows = 517, cols = 512;
            pith__tensor w = random_weights(pith__format_of(some[f]), rows, cols, 0);
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
            pith__tensor w = random_weights(pith__format_of(PITH__I8), rows, cols, shape[i][2]);
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

/* Up to so many tokens: few, many, and many with some that do not fill a tile. */
enum { ANY_NUMBER = 50 };

/* y of the first n tokens; in->n is all that is changed. */
static void first_tokens(const pith__kernels *k, float *y, const pith__tensor *w, const pith__input *in, int n) {
    pith__input some = *in;
    some.n = n, some.group = 0, some.arranged = NULL;
    memset(y, 0xff, (size_t)n * w->rows * 4); /* NaN where nothing is written */
    product(k, y, w->rows, w, &some);
}

/* A row whose end is not a whole run of 16 blocks is read with what follows: another row, whose scales may be NaN. */
TEST(a_row_of_nan_is_no_neighbours_business) {
    static const size_t cols[] = { 256, 288, 384, 768 };
    enum { ROWS = 9, BAD = 4, TOKENS = 3 };
    for (int s = 0; s < n_set; s++)
        for (int f = 0; f < n_format; f++)
            for (size_t i = 0; i < sizeof cols / sizeof *cols && formats[f]->unpack; i++) {
                if (cols[i] % (size_t)formats[f]->length) continue;
                pith__tensor w = random_weights(formats[f], ROWS, cols[i], 0);
                pith__input in = new_input(TOKENS, cols[i]);
                float y[2][TOKENS * ROWS];
                first_tokens(sets[s], y[0], &w, &in, TOKENS);
                memset((uint8_t *)(uintptr_t)w.data + BAD * w.row_bytes, 0xff, w.row_bytes);
                first_tokens(sets[s], y[1], &w, &in, TOKENS);
                for (int k = 0; k < TOKENS * ROWS; k++)
                    if (k % ROWS != BAD && memcmp(&y[0][k], &y[1][k], 4))
                        FAIL("%s %s, %zu columns: row %d changes", sets[s]->name, formats[f]->name, cols[i], k % ROWS);
                free_input(&in), free_weights(&w);
            }
}

/* Tokens one by one, by the first of the twins, are what all twins must give for any number of tokens. */
static void check_any_number(const pith__format *f, size_t rows, size_t cols) {
    pith__tensor w = random_weights(f, rows, cols, 0);
    pith__input in = new_input(ANY_NUMBER, cols);
    float *want = take(ANY_NUMBER * rows * 4), *y = take(ANY_NUMBER * rows * 4);
    for (int s = 1; s < n_set; s++) {
        int rounds = f->id == PITH__BF16 && strstr(sets[s]->name, "bf16"); /* inputs to BF16, see math/twins/bf16.inc */
        for (int t = 0; t < ANY_NUMBER && (s == 1 || rounds); t++) {
            pith__input one = in;
            one.x += (size_t)t * cols;
            first_tokens(sets[s], want + (size_t)t * rows, &w, &one, 1);
        }
        for (int n = 1; n <= ANY_NUMBER; n += BRIEF && n > 4 ? 5 : 1) {
            first_tokens(sets[s], y, &w, &in, n);
            if (memcmp(y, want, (size_t)n * rows * 4))
                FAIL("%s %s %zux%zu: %d tokens together are not what they are alone", sets[s]->name, f->name, rows,
                     cols, n);
        }
    }
    free(want), free(y);
    free_input(&in);
    free_weights(&w);
}

TEST(any_number_of_tokens_gives_the_same_bits) {
    static const size_t rows[] = {7, 16, 37, 64}, of_blocks[] = {32, 256, 288, 512, 768, 1312},
                        of_floats[] = {5, 48, 62, 256, 300, 520};
    for (int f = 0; f < n_format; f++)
        for (size_t i = 0; i < 6; i++) {
            size_t cols = formats[f]->unpack ? of_blocks[i] : of_floats[i];
            if (formats[f]->id == PITH__I8) continue; /* see the tests above */
            if (cols % (size_t)formats[f]->length == 0) check_any_number(formats[f], rows[i % 4], cols);
        }
}

/* ---- a new row of the table ------------------------------------------------------------------ */

/* Two formats that no kernel has heard of: a block of 32 with a scale and a minimum, and floats of one byte. */
static void toy_unpack(pith__q32 *y, const void *row, size_t b) {
    const uint8_t *x = (const uint8_t *)row + b * 35;
    uint16_t d;
    memcpy(&d, x, 2);
    for (int i = 0; i < 32; i++) y->q[i] = (int8_t)(x[3 + i] % 101 - 50);
    for (int h = 0; h < 2; h++) {
        y->d[h] = pith__f16_to_f32(d) * (float)(1 + h);
        y->m[h] = pith__f16_to_f32(d) * (float)(x[2] >> 4 * h & 15);
    }
}

static void toy_floats(float *y, const void *x, size_t n) { /* E5M2: the upper half of an F16 */
    for (size_t i = 0; i < n; i++) y[i] = pith__f16_to_f32((uint16_t)(((const uint8_t *)x)[i] << 8));
}

/* A product for each head is what a product of that head alone is. */
static void check_heads(const pith__kernels *k, const pith__format *f, size_t rows, size_t cols, int n) {
    enum { HEADS = 3 };
    pith__tensor w = random_weights(f, HEADS * rows, cols, 0);
    pith__input in = new_input(HEADS * n, cols);
    size_t stride = HEADS * rows + 5;
    float *y = take((size_t)n * stride * 4), *want = take((size_t)n * stride * 4);
    free(in.tiles);
    in.tiles = take(pith__heads_tiles(HEADS, (size_t)n, cols));
    for (size_t h = 0; h < HEADS; h++) {
        pith__input one = new_input(n, cols);
        pith__tensor part = w;
        memcpy((float *)(uintptr_t)one.x, in.x + h * (size_t)n * cols, (size_t)n * cols * 4);
        part.data += h * rows * w.row_bytes, part.rows = rows;
        product(k, want + h * (rows + 1), stride, &part, &one);
        free_input(&one);
    }
    pith__team team = new_team(1, pith__matmul_scratch(cols));
    pith__heads heads = { y, rows + 1, stride, &w, &in, HEADS };
    pith__matmul_heads(k, &team, &heads);
    if (memcmp(y, want, (size_t)n * stride * 4) != 0) FAIL("%s %s %zu x %zu, %d tokens", k->name, f->name, rows, cols, n);
    free(team.scratch), free(y), free(want), free_input(&in), free_weights(&w);
}

TEST(a_product_for_each_head) {
    static const int n[] = { 1, 2, 7, 16, 70 };
    for (int s = 0; s < n_set; s++)
        for (int f = 0; f < n_format; f++)
            for (int i = 0; i < 5 && formats[f]->id != PITH__I8; i++) {
                check_heads(sets[s], formats[f], 150, 256, n[i]);
                if (formats[f]->length <= 32) check_heads(sets[s], formats[f], 32, 64, n[i]);
                if (formats[f]->length == 1) check_heads(sets[s], formats[f], 20, 22, n[i]);
            }
}

TEST(a_row_of_the_table_is_enough) {
    static const pith__format toys[] = { { 777, "TOY", 32, 35, NULL, toy_unpack, NULL },
                                         { 778, "E5M2", 1, 1, toy_floats, NULL, NULL } };
    static const int n_token[] = {1, 3, 40};
    for (int f = 0; f < 2; f++) {
        size_t rows = 37, cols = 544;
        pith__tensor w = random_weights(&toys[f], rows, cols, 0);
        for (int s = 0; s < n_set; s++) {
            pith__input in = new_input(MANY, cols);
            check_product(sets[s], &w, in);
            free_input(&in);
        }
        for (int i = 0; i < 3; i++) {
            pith__input in = new_input(n_token[i], cols);
            size_t size = (size_t)n_token[i] * rows * 4;
            float *want = take(size), *y = take(size);
            product(sets[0], want, rows, &w, &in);
            for (int s = 1; s < n_set; s++) {
                in.group = 0, in.arranged = NULL;
                memset(y, 0xff, size); /* NaN where nothing is written */
                product(sets[s], y, rows, &w, &in);
                if (memcmp(y, want, size))
                    FAIL("%s: %s with %d tokens is not portable's", sets[s]->name, toys[f].name, n_token[i]);
            }
            free(want), free(y);
            free_input(&in);
        }
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

TEST(layernorm_is_centred_and_scaled) {
    float x[300], y[300], w[300], b[300];
    for (int s = 0; s < n_set; s++)
        for (size_t n = 1; n <= 300; n += n < 70 ? 1 : 23) {
            double mean = 0, square = 0;
            for (size_t i = 0; i < n; i++) mean += x[i] = 3 + uniform(), w[i] = uniform(), b[i] = uniform();
            mean /= n;
            for (size_t i = 0; i < n; i++) square += (x[i] - mean) * (x[i] - mean);
            double scale = 1 / sqrt(square / n + 1e-3);
            sets[s]->layernorm(y, x, w, b, n, 1e-3f);
            for (size_t i = 0; i < n; i++) NEAR(y[i], w[i] * scale * (x[i] - mean) + b[i], 1e-5);
            sets[s]->layernorm(x, x, w, NULL, n, 1e-3f); /* in place */
            for (size_t i = 0; i < n; i++) NEAR(x[i], y[i] - b[i], 1e-6);
        }
}

TEST(add_is_the_same_everywhere) {
    float x[300], f[300], y[300];
    for (int s = 0; s < n_set; s++)
        for (size_t n = 0; n <= 300; n += n < 70 ? 1 : 23) {
            for (size_t i = 0; i < 300; i++) x[i] = uniform(), f[i] = uniform(), y[i] = 7;
            sets[s]->add(y, x, f, 0.22f, n);
            for (size_t i = 0; i < n; i++) CHECK(y[i] == x[i] + 0.22f * f[i]);
            CHECK(y[n < 300 ? n : 0] == (n < 300 ? 7 : y[0]));
            memcpy(y, x, sizeof y);
            sets[s]->add(y, y, f, 1, n); /* in place */
            for (size_t i = 0; i < 300; i++) CHECK(y[i] == (i < n ? x[i] + f[i] : x[i]));
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
        for (int act = PITH__SILU; act <= PITH__RELU; act++) {
            sets[s]->gate(y, odd, act % 2 ? ones : NULL, 4, act);
            CHECK(y[0] != y[0] && y[1] == INFINITY && y[2] == 0 && y[3] == 1e30f);
        }
    }
}

/* The reference's erfc has no error for negative x where 1 + erf would cancel. */
TEST(gate_is_exact_gelu_or_relu) {
    enum { N = 40001 };
    static float x[N], up[N], y[N];
    for (int i = 0; i < N; i++) x[i] = (float)(i - N / 2) * 0.0009f, up[i] = uniform();
    for (int s = 0; s < n_set; s++)
        for (int n = 1; n <= N; n = n < 40 ? n + 1 : N + (n == N)) {
            const float *from = n < 40 ? x + N / 2 - 20 : x;
            for (int with_up = 0; with_up < 2; with_up++) {
                sets[s]->gate(y, from, with_up ? up : NULL, n, PITH__GELU_ERF);
                for (int i = 0; i < n; i++) {
                    double z = from[i], want = 0.5 * z * erfc(-z * 0.70710678118654752) * (with_up ? up[i] : 1);
                    NEAR(y[i], want, fabs(z) * 1.5e-7 + 1e-30);
                }
                sets[s]->gate(y, from, with_up ? up : NULL, n, PITH__RELU);
                for (int i = 0; i < n; i++) CHECK(y[i] == (from[i] > 0 ? from[i] : 0) * (with_up ? up[i] : 1));
                sets[s]->gate(y, from, with_up ? up : NULL, n, PITH__RELU2);
                for (int i = 0; i < n; i++) CHECK(y[i] == (from[i] > 0 ? from[i] * from[i] : 0) * (with_up ? up[i] : 1));
            }
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

int main(void) {
    find_kernels_and_formats();
    RUN(matmul_of_floats);
    RUN(matmul_of_blocks);
    RUN(many_tokens_in_turns);
    RUN(panels_that_are_kept);
    RUN(matmul_of_the_largest_numbers);
    RUN(matmul_of_llama2c_groups);
    RUN(a_row_of_nan_is_no_neighbours_business);
    RUN(any_number_of_tokens_gives_the_same_bits);
    RUN(llama2c_groups_have_the_bits_of_portable);
    RUN(blocks_apart_from_their_scales);
    RUN(threads_give_the_same_bits);
    RUN(a_product_for_each_head);
    RUN(a_row_of_the_table_is_enough);
    RUN(quantize_rounds_like_llama2c);
    RUN(quantize_of_what_is_not_a_number);
    RUN(dot_and_rmsnorm);
    RUN(layernorm_is_centred_and_scaled);
    RUN(add_is_the_same_everywhere);
    RUN(rope_turns_pairs);
    RUN(gate_is_silu_or_gelu);
    RUN(gate_is_exact_gelu_or_relu);
    RUN(softmax_sums_to_one);
    RUN(exp_is_right_to_the_last_place);
    RUN(softmax_at_the_edges);
    return DONE();
}
