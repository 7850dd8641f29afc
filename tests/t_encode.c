/* t_encode.c - encoders: the bytes of llama.cpp's where a rule is plain, no more than their error where there is a
 * search. The goldens are hashes of what ggml_quantize_chunk of ggml 0.21 (d99724f, August 2026) wrote for the rows of
 * fill(), and errors of it. */
#include "../internal.h"
#include "test.h"

#include <stdlib.h>

/* ---- what is encoded --------------------------------------------------------------------------- */

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static float uniform(uint32_t *state) { return (float)next_random(state) * 0x1p-23f - 1; } /* -1 to 1 */

static float gauss(uint32_t *state) { /* near enough: twelve uniform numbers */
    float s = -6;
    for (int i = 0; i < 12; i++) s += (float)next_random(state) * 0x1p-24f;
    return s;
}

enum { N_ROW = 2048 };

/* Rows of weights by name; every number comes from exact operations. */
static const char *const inputs[] = { "normal", "heavy", "positive", "negative", "zero", "minus zero", "one huge",
                                      "denormal", "tiny", "alike", "ties", "integers", "steps", "large", "one in a row",
                                      "outliers" };
enum { N_INPUT = sizeof inputs / sizeof *inputs };

static void fill(float *x, int kind) {
    uint32_t seed = (uint32_t)kind + 1;
    for (int i = 0; i < N_ROW; i++) {
        float g = gauss(&seed), u = uniform(&seed);
        switch (kind) {
        case 0: x[i] = 0.02f * g; break;
        case 1: x[i] = 0.02f * g * g * g; break;
        case 2: x[i] = fabsf(g); break;
        case 3: x[i] = -1 - fabsf(g); break;
        case 4: x[i] = 0; break;
        case 5: x[i] = u > 0 ? 0.0f : -0.0f; break;
        case 6: x[i] = i % 256 == 77 ? -60000 : g; break;
        case 7: x[i] = u * 0x1p-128f; break;
        case 8: x[i] = u * 1e-6f; break;
        case 9: x[i] = -0.375f; break;
        case 10: x[i] = (float)((i * 7 % 17) - 8) * (i % 64 < 32 ? 0.5f : -0.5f); break; /* 4 and -4 */
        case 11: x[i] = (float)(next_random(&seed) % 255) - 127; break;
        case 12: x[i] = ((float)(next_random(&seed) % 32) - 15.5f) * 0.25f; break; /* halves of steps */
        case 13: x[i] = g * 3000; break;
        case 14: x[i] = i % 32 == 5 ? u : 0; break;
        default: x[i] = i % 256 == 77 ? -60 : i % 100 == 13 ? 15 : g; break;
        }
    }
}

static uint32_t hash_of(const void *p, size_t n) {
    const uint8_t *c = p;
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < n; i++) h = (h ^ c[i]) * 16777619u;
    return h;
}

/* ---- the same bytes ------------------------------------------------------------------------------ */

static const struct {
    int id;
    uint32_t hash[N_INPUT];
} golden[] = {
    { PITH__F16, { 0x9ba7e034u, 0x29d13ef1u, 0xb2d6cfdcu, 0x8e5253c9u, 0x76efddc5u, 0x713d3b45u,
            0xb5ad4638u, 0xf7a43a45u, 0x20235007u, 0x7e4d1dc5u, 0x5e1f2fe5u, 0xddba61fcu,
            0x84b790deu, 0xf34b5b86u, 0x322fad4fu, 0x8b7fc5e7u } },
    { PITH__BF16, { 0x8c3125e9u, 0x464583b6u, 0x94c2d798u, 0x6e1d384eu, 0x76efddc5u, 0x713d3b45u,
            0x28f7bde5u, 0x1c187b04u, 0x81e4f484u, 0xe352ddc5u, 0x1607f3adu, 0x9c974eecu,
            0x33a3674du, 0x585823f0u, 0xfc0a1614u, 0x3494c0aau } },
    { PITH__Q8_0, { 0x37bd44f2u, 0xafb7417eu, 0x3c191e98u, 0x858c2fc0u, 0x3dded7c5u, 0x3dded7c5u,
            0x220a69c9u, 0x3dded7c5u, 0xd1cc3fefu, 0xd3e419c5u, 0x8395a2b5u, 0xa72ee383u,
            0x7f1d7566u, 0x0efe362cu, 0x3697cbafu, 0xd7b6886fu } },
    { PITH__Q4_0, { 0xe3dc7ccau, 0x1903560du, 0xdf1cf2a8u, 0x65ef317du, 0x4fc207c5u, 0x4fc207c5u,
            0xc4150fecu, 0x63cbed45u, 0x36db766au, 0x8e41abc5u, 0x04944a58u, 0xc5a351f3u,
            0x015502aeu, 0x060b7279u, 0x0889c0b7u, 0x0d7004fdu } },
    { PITH__Q4_1, { 0x91737138u, 0xe7af40b2u, 0xe536247bu, 0x1001e51du, 0x09d6a1c5u, 0x80931d45u,
            0x6c7c0845u, 0xc896a1c5u, 0x50392131u, 0x828ac1c5u, 0xedf2179du, 0xaf7acb5cu,
            0x9d2ff243u, 0x814ae23eu, 0xffbf8738u, 0xc14c2c01u } },
    { PITH__Q5_0, { 0xec6a6bd4u, 0x086f06a6u, 0x65d344f8u, 0x34b96627u, 0x8178b8c5u, 0x8178b8c5u,
            0x091c78d7u, 0xbe53be45u, 0x5a21ef1du, 0xda12adc5u, 0x29681695u, 0x379b4bfdu,
            0x484e0559u, 0x9d77d4d6u, 0x1b7c9c67u, 0x2fa68abdu } },
    { PITH__Q5_1, { 0x7ccccfdbu, 0xc3fcb4c0u, 0x925b8214u, 0x3e5e4c2du, 0xf5ebd5c5u, 0x45706745u,
            0x8e42b2c3u, 0x1da7d5c5u, 0x1d839a66u, 0x3efbe5c5u, 0x4c43e192u, 0xf4096c62u,
            0x376caf60u, 0x3d76aa46u, 0x70bb131fu, 0xadf50e93u } },
};
enum { N_GOLDEN = sizeof golden / sizeof *golden };

TEST(plain_rules_write_llama_cpps_bytes) {
    static float x[N_ROW];
    static uint8_t y[4 * N_ROW];
    for (int k = 0; k < N_GOLDEN; k++)
        for (int i = 0; i < N_INPUT; i++) {
            const pith__format *f = pith__format_of(golden[k].id);
            fill(x, i);
            EQ(f->encode(y, x, N_ROW, NULL), 0);
            if (hash_of(y, N_ROW / (size_t)f->length * (size_t)f->bytes) != golden[k].hash[i])
                FAIL("%s of %s differs", f->name, inputs[i]);
        }
}

/* ---- no more than their error -------------------------------------------------------------------- */

static void weigh(float *w, int kind) { /* importance, for fill()'s rows */
    uint32_t seed = (uint32_t)kind + 100;
    for (int i = 0; i < N_ROW; i++) {
        float u = uniform(&seed) + 1.001f;
        w[i] = u * u * u * u;
    }
}

static double error_of(const float *x, const float *y, const float *w, size_t n) {
    double e = 0;
    for (size_t i = 0; i < n; i++) e += (w ? w[i] : 1) * ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
    return e;
}

enum { MOST = 16384 };

static float weight[MOST], once[MOST], twice[MOST];
static uint8_t store[2 * MOST];

static int weighed(const pith__format *f, const float *x, const float *importance, float *y, size_t n) {
    pith__tensor w = { .format = f, .rows = 1, .cols = n, .data = store };
    w.row_bytes = n / (size_t)f->length * (size_t)f->bytes;
    int bad = f->encode(store, x, n, importance);
    pith__row_floats(&w, 0, y);
    return bad;
}

static int through(const pith__format *f, const float *x, float *y, size_t n) { return weighed(f, x, NULL, y, n); }

/* The sums of squared errors of what ggml wrote for some of fill()'s rows, without importance and with. */
static const int tried[] = { 0, 1, 2, 3, 11, 13, 15 };
static const struct {
    int id;
    double error[2][7];
} theirs[] = {
    { PITH__Q4_0, { { 0.0056982, 0.15291, 13.862, 30.321, 47027, 1.3245e+08, 430.62 },
            { 0.014413, 0.37291, 34.522, 66.326, 1.0066e+05, 3.2327e+08, 1726.2 } } },
    { PITH__Q4_1, { { 0.0047466, 0.15216, 3.8468, 4.0958, 42061, 1.0937e+08, 481.27 },
            { 0.0091344, 0.23935, 9.4576, 7.4972, 75116, 2.0727e+08, 886.33 } } },
    { PITH__Q5_0, { { 0.0014116, 0.041569, 3.4705, 7.5541, 11061, 3.3049e+07, 267.71 },
            { 0.0037327, 0.11763, 9.4143, 16.63, 23690, 7.7549e+07, 1094.8 } } },
    { PITH__Q5_1, { { 0.0011252, 0.032806, 0.88568, 0.98567, 9533.3, 2.5547e+07, 101.62 },
            { 0.0022636, 0.052242, 2.1204, 1.6838, 17223, 4.7705e+07, 240.03 } } },
    { PITH__Q2_K, { { 0.072628, 1.723, 70.903, 53.389, 6.0266e+05, 1.5376e+09, 1836.9 },
            { 0.12777, 1.8314, 159.71, 111.78, 1.0737e+06, 2.8586e+09, 5288.6 } } },
    { PITH__Q3_K, { { 0.018488, 0.28694, 40.511, 87.6, 1.7481e+05, 4.1269e+08, 428.12 },
            { 0.041761, 0.6111, 95.555, 185.57, 3.5773e+05, 1.0055e+09, 1604.1 } } },
    { PITH__Q4_K, { { 0.0040466, 0.097658, 3.5057, 3.561, 34055, 9.1596e+07, 305.19 },
            { 0.0095743, 0.26443, 9.46, 8.3462, 77389, 2.151e+08, 973.84 } } },
    { PITH__Q5_K, { { 0.001024, 0.027377, 0.81606, 0.99975, 8373.5, 2.2513e+07, 87.94 },
            { 0.0025723, 0.067619, 2.2113, 2.8531, 18676, 5.8796e+07, 282.22 } } },
    { PITH__Q6_K, { { 0.00025973, 0.0066997, 0.60325, 1.2726, 1965.9, 5.6044e+06, 46.519 },
            { 0.00066508, 0.01771, 1.6206, 3.0427, 4493.6, 1.3833e+07, 135.62 } } },
    { PITH__IQ4_NL, { { 0.0046734, 0.097974, 10.938, 30.834, 46628, 1.0752e+08, 405.2 },
            { 0.013336, 0.24566, 29.645, 81.427, 1.1312e+05, 2.8002e+08, 1324.9 } } },
    { PITH__IQ4_XS, { { 0.0047693, 0.10012, 11.138, 31.293, 47368, 1.0998e+08, 415.23 },
            { 0.013654, 0.2592, 30.183, 83.149, 1.1568e+05, 2.851e+08, 1361.1 } } },
    { PITH__MXFP4, { { 0.010644, 0.24127, 25.846, 88.307, 2.4125e+05, 2.447e+08, 1622.7 },
            { 0.038, 0.73812, 86.509, 281.71, 7.1308e+05, 8.3682e+08, 3190.8 } } },
};
enum { N_THEIRS = sizeof theirs / sizeof *theirs };

/* A single row may be a little worse, the mean may not. */
TEST(searches_err_no_more_than_llama_cpps) {
    static float importance[N_ROW];
    for (int k = 0; k < N_THEIRS; k++) {
        double ratios[2] = { 0, 0 };
        for (int j = 0; j < 14; j++) {
            const pith__format *f = pith__format_of(theirs[k].id);
            const float *w = j < 7 ? NULL : importance;
            double limit = theirs[k].error[j / 7][j % 7] * 1.02;
            fill(weight, tried[j % 7]);
            weigh(importance, tried[j % 7]);
            EQ(weighed(f, weight, w, once, N_ROW), 0);
            double e = error_of(weight, once, w, N_ROW);
            const char *name = inputs[tried[j % 7]];
            if (!(e <= limit)) FAIL("%s of %s%s: %g over %g", f->name, name, w ? ", weighed" : "", e, limit);
            ratios[j / 7] += e / theirs[k].error[j / 7][j % 7] / 7;
        }
        int plain = theirs[k].id < PITH__Q8_0; /* the same bytes without importance */
        if (!(ratios[0] < (plain ? 1.0001 : 0.98) && ratios[1] < 0.98))
            FAIL("%s: %g, weighed %g times their error", pith__format_of(theirs[k].id)->name, ratios[0], ratios[1]);
    }
}

/* Root mean square errors relative to the weights, of normal numbers and of their magnitudes. The bounds lie a hair
 * above what was measured. */
static const struct {
    int id;
    double bound[2];
} coded[] = {
    { PITH__Q8_0, { 0.00525, 0.00525 } },   { PITH__Q4_0, { 0.0845, 0.0834 } },   { PITH__Q4_1, { 0.0770, 0.0432 } },
    { PITH__Q5_0, { 0.0421, 0.0419 } },     { PITH__Q5_1, { 0.0373, 0.0210 } },   { PITH__Q2_K, { 0.258, 0.171 } },
    { PITH__Q3_K, { 0.1412, 0.135 } },      { PITH__Q4_K, { 0.06867, 0.0401 } }, { PITH__Q5_K, { 0.0341, 0.0196 } },
    { PITH__Q6_K, { 0.01646, 0.01645 } },   { PITH__IQ4_NL, { 0.0728, 0.0717 } }, { PITH__IQ4_XS, { 0.0734, 0.0723 } },
    { PITH__MXFP4, { 0.1111, 0.1111 } },
};
enum { N_CODED = sizeof coded / sizeof *coded };

TEST(errors_on_normal_weights) {
    for (int positive = 0; positive < 2; positive++) {
        uint32_t seed = 1;
        for (int i = 0; i < MOST; i++) {
            weight[i] = 0.02f * gauss(&seed);
            if (positive) weight[i] = fabsf(weight[i]);
        }
        memset(twice, 0, sizeof twice);
        double power = error_of(weight, twice, NULL, MOST);
        for (int k = 0; k < N_CODED; k++) {
            const pith__format *f = pith__format_of(coded[k].id);
            EQ(through(f, weight, once, MOST), 0);
            double error = sqrt(error_of(weight, once, NULL, MOST) / power);
            if (!(error <= coded[k].bound[positive])) FAIL("%s: relative error %.6f", f->name, error);
        }
    }
}

static float *read_fixture(const char *name, size_t *n) {
    const char *shared = getenv("PITH_SHARED");
    char path[512];
    snprintf(path, sizeof path, "%s/fixtures/quant/%s.f32", shared ? shared : "../shared", name);
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    float *p = malloc(16384);
    *n = p ? fread(p, sizeof *p, 16384 / sizeof *p, file) : 0;
    fclose(file);
    return p;
}

TEST(no_block_is_much_worse_than_llama_cpps) {
    size_t n, size;
    float *source = read_fixture("source", &n);
    if (!source) SKIP("no ../shared/fixtures/quant");
    for (int k = 0; k < N_CODED; k++) {
        const pith__format *f = pith__format_of(coded[k].id);
        size_t length = (size_t)f->length;
        float *fixture = read_fixture(f->name, &size);
        if (f->id != PITH__MXFP4 && (!fixture || size != n)) FAIL("%s: no fixture", f->name);
        through(f, source, once, n);
        for (size_t i = 0; fixture && size == n && i < n; i += length) {
            double e = error_of(source + i, once + i, NULL, length);
            double limit = error_of(source + i, fixture + i, NULL, length);
            if (!(e <= limit * 1.01)) FAIL("%s [%d]: %g over %g", f->name, (int)i, e, limit);
        }
        free(fixture);
    }
    free(source);
}

/* What an encoder wrote it writes again; with super-blocks nearly so. */
TEST(encoding_again_changes_little) {
    uint32_t seed = 2;
    for (int i = 0; i < MOST; i++) weight[i] = 0.02f * gauss(&seed) * gauss(&seed);
    for (int k = 0; k < N_CODED; k++) {
        const pith__format *f = pith__format_of(coded[k].id);
        through(f, weight, once, MOST);
        through(f, once, twice, MOST);
        double error = error_of(weight, once, NULL, MOST), more = error_of(once, twice, NULL, MOST);
        if (!(more <= 0.06 * error)) FAIL("%s: %g after %g", f->name, more, error);
    }
}

/* ---- awkward weights ------------------------------------------------------------------------------- */

TEST(awkward_weights) {
    for (int k = 0; k < N_CODED; k++) {
        const pith__format *f = pith__format_of(coded[k].id);
        for (int i = 0; i < 256; i++) weight[i] = 0;
        through(f, weight, once, 256);
        for (int i = 0; i < 256; i++) CHECK(once[i] == 0);

        for (int i = 0; i < 256; i++) weight[i] = -0.375f; /* all alike */
        through(f, weight, once, 256);
        NEAR_ARRAY(once, weight, 256, 0.0005);

        weight[77] = 3; /* and one far out */
        through(f, weight, once, 256);
        NEAR(once[77], 3, f->id == PITH__Q2_K || f->id == PITH__Q3_K ? 0.8 : 0.3); /* few values: a compromise */
        NEAR(once[200], -0.375, 0.06);

        for (int i = 0; i < 256; i++) weight[i] = (float)(i - 128) * 1e-9f; /* under every half */
        through(f, weight, once, 256);
        NEAR_ARRAY(once, weight, 256, 1.3e-7);
    }
}

/* The best minimum of a block may be more than a 16-bit float holds, though no weight is. */
TEST(minima_have_room) {
    static float importance[N_ROW];
    weigh(importance, 6);
    fill(weight, 6);
    EQ(weighed(pith__format_of(PITH__Q4_1), weight, importance, once, N_ROW), 0);
    EQ(weighed(pith__format_of(PITH__Q5_1), weight, importance, once, N_ROW), 0);
}

/* The caller is told, and the block must not look right: all of it is NaN (MXFP4 has none: infinite). Its neighbour
 * stays. */
TEST(what_is_not_finite_or_too_large) {
    static const float wrong[] = { NAN, -NAN, INFINITY, -INFINITY, 3e38f, -3e38f };
    static const int floats[] = { PITH__F32, PITH__F16, PITH__BF16 };
    for (int k = 0; k < N_CODED; k++)
        for (int j = 0; j < 6; j++) {
            const pith__format *f = pith__format_of(coded[k].id);
            for (int i = 0; i < 512; i++) weight[i] = (float)i;
            EQ(through(f, weight, once, 512), 0);
            weight[259] = wrong[j];
            if (f->id == PITH__MXFP4 && fabsf(wrong[j]) < INFINITY) continue; /* has room for all */
            EQ(through(f, weight, twice, 512), 1);
            CHECK(memcmp(once, twice, 256 * sizeof *once) == 0);
            for (int i = 256; i < 256 + f->length; i++) CHECK(f->id == PITH__MXFP4 ? isinf(twice[i]) : isnan(twice[i]));
        }
    for (int k = 0; k < 3; k++)
        for (int j = 0; j < 6; j++) {
            float x = wrong[j], y;
            EQ(through(pith__format_of(floats[k]), &x, &y, 1), isnan(x) || isinf(x) || floats[k] == PITH__F16);
            CHECK(isnan(x) ? isnan(y) : floats[k] == PITH__F16 ? isinf(y) : isinf(x) == isinf(y));
        }
}

int main(void) {
    RUN(plain_rules_write_llama_cpps_bytes);
    RUN(searches_err_no_more_than_llama_cpps);
    RUN(errors_on_normal_weights);
    RUN(no_block_is_much_worse_than_llama_cpps);
    RUN(encoding_again_changes_little);
    RUN(awkward_weights);
    RUN(minima_have_room);
    RUN(what_is_not_finite_or_too_large);
    return DONE();
}
