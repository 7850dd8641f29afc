/* t_quant.c - number formats: decoding bit for bit. t_encode.c has the way back. */
#include "../internal.h"
#include "test.h"

#include <stdlib.h>

/* ---- golden blocks --------------------------------------------------------------------------- */

/* A block of each format, the first four numbers it stands for and a hash of all of them as floats
 * in memory. From ../shared/fixtures/quant, made by llama.cpp; MXFP4 from its specification. */
static const struct {
    int id, n;
    uint32_t hash; /* FNV-1a */
    float first[4];
    uint8_t block[210];
} golden[] = {
    { PITH__F16, 32, 0xca7fc8ff,
      { -0.00320625305f, -0.0341796875f, -0.0576477051f, -0.0318908691f }, {
        145, 154, 96, 168, 97, 171, 21, 168, 8, 172, 138, 167, 134, 43, 138, 172, 240, 173,
        59, 45, 32, 145, 32, 44, 165, 26, 176, 36, 2, 47, 236, 13, 93, 157, 16, 172,
        39, 165, 216, 169, 24, 43, 71, 34, 199, 30, 51, 36, 90, 42, 186, 166, 126, 33,
        211, 28, 95, 39, 192, 158, 40, 36, 188, 168,
    } },
    { PITH__BF16, 32, 0xde8cbe48,
      { -0.0032043457f, -0.0341796875f, -0.0576171875f, -0.0319824219f }, {
        82, 187, 12, 189, 108, 189, 3, 189, 129, 189, 241, 188, 113, 61, 145, 189, 190, 189,
        167, 61, 36, 186, 132, 61, 85, 59, 150, 60, 224, 61, 189, 57, 172, 187, 130, 189,
        165, 188, 59, 189, 99, 61, 73, 60, 217, 59, 134, 60, 75, 61, 215, 188, 48, 60,
        154, 59, 236, 60, 216, 187, 133, 60, 23, 189,
    } },
    { PITH__Q8_0, 32, 0x4830ddfc,
      { -0.00344848633f, -0.0344848633f, -0.057762146f, -0.0318984985f }, {
        16, 19, 252, 216, 189, 219, 183, 222, 68, 174, 148, 95, 255, 75, 4, 21, 127, 0,
        250, 182, 233, 203, 64, 14, 8, 19, 58, 226, 12, 5, 33, 248, 19, 213,
    } },
    { PITH__Q4_0, 32, 0xe4a5807e,
      { -0.0f, -0.0273742676f, -0.0547485352f, -0.0273742676f }, {
        2, 163, 136, 218, 156, 186, 77, 122, 132, 125, 79, 162, 120, 131, 104, 135, 112, 184,
    } },
    { PITH__Q4_1, 32, 0xc03e6bed,
      { 0.00159454346f, -0.038848877f, -0.0523300171f, -0.0253677368f }, {
        231, 34, 240, 173, 103, 36, 83, 53, 178, 133, 123, 130, 176, 93, 135, 124, 151, 104,
        143, 71,
    } },
    { PITH__Q5_0, 32, 0x5c508de6,
      { -0.0f, -0.0342178345f, -0.0547485352f, -0.0342178345f }, {
        2, 159, 191, 149, 15, 162, 16, 149, 56, 117, 137, 228, 247, 234, 158, 68, 224, 247,
        192, 29, 224, 80,
    } },
    { PITH__Q5_1, 32, 0xca13a03d,
      { -0.00144958496f, -0.0340652466f, -0.0601577759f, -0.0340652466f }, {
        174, 30, 240, 173, 64, 106, 176, 85, 222, 73, 181, 121, 117, 10, 247, 19, 96, 171,
        14, 248, 63, 209, 31, 158,
    } },
    { PITH__Q2_K, 256, 0x43067261,
      { 0.0451545715f, 0.0f, 0.0f, 0.0451545715f }, {
        119, 255, 104, 118, 105, 136, 88, 55, 86, 88, 119, 86, 155, 138, 102, 101, 87, 230,
        18, 171, 177, 26, 103, 161, 39, 164, 10, 27, 78, 25, 126, 91, 90, 70, 38, 174,
        254, 90, 62, 85, 146, 107, 54, 110, 42, 170, 88, 175, 233, 38, 231, 184, 210, 104,
        170, 73, 182, 110, 86, 238, 149, 81, 149, 85, 104, 125, 167, 157, 121, 236, 22, 152,
        114, 169, 190, 66, 233, 149, 85, 225, 155, 30, 155, 34,
    } },
    { PITH__Q3_K, 256, 0x192460db,
      { 0.0223588943f, 0.0f, 0.0223588943f, 0.0447177887f }, {
        205, 89, 213, 107, 152, 103, 121, 40, 209, 122, 23, 247, 15, 70, 11, 7, 123, 81,
        109, 23, 87, 209, 47, 56, 97, 253, 205, 35, 253, 49, 56, 247, 45, 236, 97, 162,
        150, 129, 41, 102, 42, 96, 116, 135, 61, 134, 13, 202, 97, 200, 88, 200, 37, 236,
        164, 54, 161, 30, 105, 244, 76, 124, 60, 134, 158, 28, 203, 240, 117, 196, 192, 130,
        56, 148, 233, 94, 234, 131, 253, 174, 147, 117, 200, 244, 124, 67, 58, 226, 173, 16,
        39, 142, 80, 246, 184, 92, 81, 224, 18, 193, 209, 239, 32, 48, 29, 32, 85, 109,
        27, 150,
    } },
    { PITH__Q4_K, 256, 0x5f60e841,
      { 0.0220348835f, 0.00279378891f, 0.0220348835f, 0.0605170727f }, {
        1, 13, 42, 26, 191, 166, 234, 103, 127, 94, 161, 94, 146, 195, 113, 205, 107, 122,
        27, 141, 40, 139, 75, 55, 76, 133, 169, 173, 219, 151, 234, 188, 140, 73, 90, 201,
        171, 106, 170, 54, 11, 110, 76, 155, 122, 91, 96, 175, 116, 252, 37, 204, 190, 72,
        139, 155, 11, 156, 34, 55, 113, 56, 127, 104, 100, 160, 90, 167, 252, 149, 59, 133,
        179, 138, 92, 166, 88, 214, 134, 199, 101, 88, 92, 129, 25, 145, 120, 132, 56, 168,
        88, 234, 53, 6, 99, 100, 130, 213, 95, 215, 151, 240, 91, 130, 44, 135, 201, 59,
        135, 100, 88, 54, 234, 10, 248, 142, 213, 105, 136, 80, 173, 106, 116, 218, 116, 71,
        135, 100, 105, 61, 136, 119, 61, 199, 22, 133, 108, 154, 156, 97, 202, 135, 86, 202,
    } },
    { PITH__Q5_K, 256, 0x9ffe84b7,
      { 0.0260528326f, 0.00714218616f, 0.0165975094f, 0.0544188023f }, {
        235, 8, 57, 26, 191, 163, 172, 104, 127, 95, 162, 94, 146, 211, 92, 189, 193, 93,
        209, 239, 157, 103, 221, 44, 213, 126, 19, 243, 3, 6, 135, 3, 99, 105, 213, 43,
        111, 233, 23, 168, 89, 237, 245, 27, 231, 9, 24, 203, 215, 245, 54, 42, 80, 55,
        167, 127, 153, 27, 99, 122, 214, 79, 245, 152, 56, 146, 180, 178, 119, 228, 117, 124,
        23, 237, 153, 86, 4, 198, 208, 110, 217, 216, 74, 136, 123, 128, 6, 38, 6, 56,
        84, 126, 243, 96, 238, 207, 217, 64, 147, 78, 247, 58, 101, 10, 103, 3, 167, 61,
        160, 172, 12, 126, 218, 176, 170, 18, 50, 51, 240, 40, 96, 96, 161, 196, 122, 13,
        199, 200, 20, 186, 206, 191, 62, 240, 183, 5, 89, 15, 163, 119, 31, 216, 177, 125,
        181, 7, 242, 15, 171, 195, 2, 144, 60, 198, 216, 166, 249, 143, 15, 184, 195, 109,
        1, 239, 109, 112, 45, 10, 186, 37, 27, 177, 134, 254, 158, 118,
    } },
    { PITH__Q6_K, 256, 0x6819d9f4,
      { 0.02835989f, 0.011343956f, 0.019851923f, 0.053883791f }, {
        234, 212, 215, 211, 115, 248, 57, 47, 32, 209, 156, 52, 199, 15, 4, 30, 38, 29,
        112, 204, 244, 64, 193, 83, 228, 125, 247, 178, 16, 163, 128, 208, 197, 218, 160, 16,
        4, 34, 48, 89, 29, 127, 185, 250, 248, 197, 238, 144, 66, 112, 196, 96, 9, 152,
        56, 252, 49, 249, 161, 134, 172, 149, 232, 248, 116, 162, 42, 144, 88, 67, 35, 15,
        83, 148, 246, 157, 20, 219, 204, 0, 69, 121, 241, 193, 114, 237, 144, 36, 27, 143,
        55, 16, 159, 189, 172, 163, 233, 21, 68, 176, 182, 84, 189, 2, 13, 73, 116, 197,
        158, 225, 184, 72, 48, 154, 203, 121, 155, 128, 29, 177, 25, 241, 220, 37, 158, 152,
        237, 134, 102, 198, 34, 203, 193, 90, 150, 144, 19, 132, 57, 43, 126, 40, 78, 110,
        154, 69, 166, 93, 42, 86, 234, 81, 66, 102, 166, 90, 166, 22, 84, 27, 165, 38,
        231, 120, 146, 104, 102, 72, 178, 106, 70, 174, 81, 17, 84, 85, 107, 50, 88, 82,
        54, 147, 25, 91, 124, 105, 113, 77, 165, 90, 25, 174, 196, 128, 205, 194, 63, 187,
        194, 63, 212, 54, 195, 51, 180, 184, 199, 205, 25, 131,
    } },
    { PITH__IQ4_NL, 32, 0x23771baf,
      { -0.000836849213f, -0.0318002701f, -0.0577425957f, -0.0318002701f }, {
        219, 146, 136, 219, 173, 203, 61, 123, 115, 110, 63, 161, 120, 114, 88, 150, 96, 184,
    } },
    { PITH__IQ4_XS, 256, 0x9cc58e8d,
      { 0.0196380615f, 0.0196380615f, 0.0196380615f, 0.0574035645f }, {
        24, 131, 196, 70, 16, 30, 45, 62, 169, 121, 137, 123, 150, 137, 137, 69, 154, 195,
        167, 155, 137, 149, 9, 218, 149, 54, 65, 216, 177, 89, 180, 34, 3, 104, 59, 171,
        110, 73, 95, 188, 68, 13, 164, 125, 206, 72, 188, 76, 60, 173, 194, 103, 129, 104,
        95, 120, 153, 81, 190, 83, 3, 108, 215, 134, 79, 118, 189, 93, 184, 45, 121, 58,
        235, 183, 2, 143, 150, 254, 55, 236, 39, 135, 86, 52, 139, 201, 125, 156, 133, 228,
        84, 232, 145, 249, 71, 121, 34, 139, 212, 46, 130, 80, 69, 37, 154, 235, 136, 111,
        228, 121, 89, 48, 222, 187, 211, 11, 179, 103, 102, 179, 76, 32, 110, 86, 44, 164,
        6, 99, 56, 132, 117, 76, 181, 98, 54, 164,
    } },
    { PITH__MXFP4, 32, 0x72a85c4e,
      { 0.0f, -0.0234375f, 0.03125f, -0.015625f }, {
        121, 120, 155, 52, 202, 245, 79, 46, 34, 10, 205, 148, 30, 113, 184, 141, 88,
    } },
};
enum { N_GOLDEN = sizeof golden / sizeof *golden, MOST = 512 };

static uint32_t hash_of(const void *p, size_t n) {
    const uint8_t *c = p;
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++) h = (h ^ c[i]) * 16777619u;
    return h;
}

static uint32_t bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static float gauss(uint32_t *state) { /* near enough: twelve uniform numbers */
    float s = -6;
    for (int i = 0; i < 12; i++) s += (float)next_random(state) * 0x1p-24f;
    return s;
}

static pith__tensor matrix(const pith__format *f, const uint8_t *data, size_t rows, size_t cols) {
    pith__tensor w;
    memset(&w, 0, sizeof w);
    w.format = f;
    w.rows = rows;
    w.cols = cols;
    w.data = data;
    w.row_bytes = cols / (size_t)f->length * (size_t)f->bytes;
    return w;
}

static void decode(const pith__format *f, const uint8_t *data, float *y, size_t n) {
    pith__tensor w = matrix(f, data, 1, n);
    pith__row_floats(&w, 0, y);
}

TEST(golden_blocks) {
    for (int k = 0; k < N_GOLDEN; k++) {
        const pith__format *f = pith__format_of(golden[k].id);
        REQUIRE(f != NULL);
        float y[256];
        decode(f, golden[k].block, y, (size_t)golden[k].n);
        for (int i = 0; i < 4; i++)
            if (bits(y[i]) != bits(golden[k].first[i]))
                FAIL("%s [%d] is %.9g, want %.9g", f->name, i, y[i], golden[k].first[i]);
        if (hash_of(y, (size_t)golden[k].n * sizeof *y) != golden[k].hash)
            FAIL("%s: another hash", f->name);
    }
}

/* ---- the table ------------------------------------------------------------------------------- */

TEST(sizes_of_blocks) {
    static const struct { int id, length, bytes; } want[] = {
        { PITH__F32, 1, 4 }, { PITH__F16, 1, 2 }, { PITH__BF16, 1, 2 }, { PITH__Q8_0, 32, 34 },
        { PITH__Q4_0, 32, 18 }, { PITH__Q4_1, 32, 20 }, { PITH__Q5_0, 32, 22 },
        { PITH__Q5_1, 32, 24 }, { PITH__Q2_K, 256, 84 }, { PITH__Q3_K, 256, 110 },
        { PITH__Q4_K, 256, 144 }, { PITH__Q5_K, 256, 176 }, { PITH__Q6_K, 256, 210 },
        { PITH__IQ4_NL, 32, 18 }, { PITH__IQ4_XS, 256, 136 }, { PITH__MXFP4, 32, 17 },
        { PITH__I8, 1, 1 },
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const pith__format *f = pith__format_of(want[i].id);
        REQUIRE(f != NULL);
        EQ(f->id, want[i].id);
        EQ(f->length, want[i].length);
        EQ(f->bytes, want[i].bytes);
        CHECK(pith__format_named(f->name) == f);
        CHECK(!f->floats || !f->unpack);
    }
}

TEST(names_in_any_case) {
    CHECK(pith__format_named("q4_k") == pith__format_of(PITH__Q4_K));
    CHECK(pith__format_named("bf16") == pith__format_of(PITH__BF16));
    CHECK(pith__format_named("Iq4_nL") == pith__format_of(PITH__IQ4_NL));
    CHECK(pith__format_named("Q4") == NULL);
    CHECK(pith__format_named("Q4_K_M") == NULL);
    CHECK(pith__format_named("") == NULL);
    CHECK(pith__format_of(4) == NULL); /* Q4_2, removed in 2023 */
    CHECK(pith__format_of(24) == NULL); /* GGUF's 8-bit integers are no weights */
    CHECK(pith__format_of(-1) == NULL);
}

/* ---- 16-bit floats --------------------------------------------------------------------------- */

static double half_value(int h) { /* of a finite one, from the definition */
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double v = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return h & 0x8000 ? -v : v;
}

TEST(f16_every_value_round_trips) {
    for (int h = 0; h < 65536; h++) {
        float f = pith__f16_to_f32((uint16_t)h);
        int back = pith__f32_to_f16(f), nan = (h & 0x7c00) == 0x7c00 && (h & 0x3ff);
        if ((h & 0x7fff) == 0x7c00) CHECK(isinf(f) && !signbit(f) == !(h & 0x8000));
        else if (nan) CHECK(isnan(f));
        else if (f != half_value(h) || !signbit(f) != !(h & 0x8000)) FAIL("%04x is %.9g", h, f);
        if (back != (nan ? h | 0x200 : h)) FAIL("%04x comes back as %04x", h, back);
    }
}

TEST(f16_rounds_to_nearest_even) {
    for (int h = 0; h < 0x7c00; h++) { /* between h and h + 1, and the same below zero */
        double next = h + 1 < 0x7c00 ? half_value(h + 1) : 65536;
        float middle = (float)((half_value(h) + next) / 2); /* exact */
        int even = h & 1 ? h + 1 : h;
        if (pith__f32_to_f16(middle) != even || pith__f32_to_f16(-middle) != (even | 0x8000) ||
            pith__f32_to_f16(nextafterf(middle, 0)) != h ||
            pith__f32_to_f16(nextafterf(middle, INFINITY)) != h + 1)
            FAIL("around %.9g", middle);
    }
    EQ(pith__f32_to_f16(1e30f), 0x7c00);
    EQ(pith__f32_to_f16(-INFINITY), 0xfc00);
    EQ(pith__f32_to_f16(1e-40f), 0);
    EQ(pith__f32_to_f16(-1e-10f), 0x8000);
    EQ(pith__f32_to_f16(from_bits(0x7f800001)), 0x7e00); /* NaN though no bit of it is kept */
}

TEST(bf16_rounds_to_nearest_even) {
    const pith__format *f = pith__format_of(PITH__BF16);
    for (uint32_t h = 0; h < 65536; h++) {
        uint16_t in = (uint16_t)h, out;
        float y;
        f->floats(&y, &in, 1);
        f->encode(&out, &y, 1, NULL);
        int nan = (h & 0x7f80) == 0x7f80 && (h & 0x7f);
        if (bits(y) != h << 16) FAIL("%04x is %08x", h, bits(y));
        if (out != (nan ? h | 64 : h)) FAIL("%04x comes back as %04x", h, out);
        if ((h & 0x7f80) == 0x7f80) continue;
        float around[3] = { from_bits(h << 16 | 0x7fff), from_bits(h << 16 | 0x8000),
                            from_bits(h << 16 | 0x8001) };
        uint16_t got[3];
        f->encode(got, around, 3, NULL);
        if (got[0] != h || got[1] != h + (h & 1) || got[2] != h + 1) FAIL("around %04x", h);
    }
}

/* ---- decoding -------------------------------------------------------------------------------- */

/* Random blocks, but with scales that are finite: no exponent of 31 in any two bytes in a row. */
static void random_blocks(uint8_t *p, size_t n, uint32_t seed) {
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(next_random(&seed) & 0xbf);
}

TEST(floats_are_what_unpack_says) {
    for (int k = 0; k < N_GOLDEN; k++) {
        const pith__format *f = pith__format_of(golden[k].id);
        uint8_t data[4 * MOST];
        float y[MOST];
        if (!f->unpack) continue;
        random_blocks(data, sizeof data, (uint32_t)k);
        decode(f, data, y, MOST);
        pith__tensor w = matrix(f, data, 1, MOST);
        for (size_t i = 0; i < MOST; i++) {
            pith__q32 b;
            pith__row_q32(&w, 0, i / 32, &b);
            float want = b.d[i % 32 / 16] * b.q[i % 32] - b.m[i % 32 / 16];
            if (bits(y[i]) != bits(want)) FAIL("%s [%d]", f->name, (int)i);
        }
    }
}

TEST(blocks_at_any_address) {
    for (int k = 0; k < N_GOLDEN; k++) {
        const pith__format *f = pith__format_of(golden[k].id);
        size_t bytes = MOST / (size_t)f->length * (size_t)f->bytes;
        uint8_t data[2 * MOST], *moved = malloc(bytes + 3); /* its end is where a sanitizer looks */
        float want[MOST], y[MOST];
        REQUIRE(moved != NULL);
        random_blocks(data, sizeof data, (uint32_t)k);
        decode(f, data, want, MOST);
        memcpy(moved + 3, data, bytes);
        decode(f, moved + 3, y, MOST);
        CHECK(memcmp(y, want, sizeof y) == 0);
        if (f->encode) {
            f->encode(moved + 3, y, MOST, NULL); /* writes no further either */
            f->encode(data, y, MOST, NULL);
            CHECK(memcmp(moved + 3, data, bytes) == 0);
        }
        free(moved);
    }
}

TEST(rows_of_every_format) {
    enum { COLS = 256, ROWS = 3 };
    for (int k = 0; k < N_GOLDEN; k++) {
        const pith__format *f = pith__format_of(golden[k].id);
        uint8_t data[2 * COLS * ROWS];
        random_blocks(data, sizeof data, (uint32_t)k);
        pith__tensor w = matrix(f, data, ROWS, COLS);
        for (size_t r = 0; r < ROWS; r++) {
            float y[COLS], want[COLS];
            pith__row_floats(&w, r, y);
            decode(f, data + r * w.row_bytes, want, COLS);
            CHECK(memcmp(y, want, sizeof y) == 0);
        }
    }
}

static uint8_t *read_fixture(const char *name, const char *end, size_t *size) {
    const char *shared = getenv("PITH_SHARED");
    char path[512];
    snprintf(path, sizeof path, "%s/fixtures/quant/%s%s", shared ? shared : "../shared", name, end);
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    uint8_t *p = malloc(16384);
    *size = p ? fread(p, 1, 16384, file) : 0;
    fclose(file);
    return p;
}

TEST(fixtures_bit_for_bit) {
    int found = 0;
    for (int k = 0; k < N_GOLDEN; k++) {
        const pith__format *f = pith__format_of(golden[k].id);
        size_t n_block = 0, n_float = 0;
        uint8_t *block = read_fixture(f->name, ".blocks", &n_block);
        uint8_t *want = read_fixture(f->name, ".f32", &n_float);
        if (block && want) {
            static float y[4 * 512];
            pith__tensor w = matrix(f, block, 4, 512);
            CHECK(n_block == 4 * w.row_bytes && n_float == sizeof y);
            for (size_t r = 0; r < 4 && n_block == 4 * w.row_bytes; r++)
                pith__row_floats(&w, r, y + 512 * r);
            if (memcmp(y, want, sizeof y) != 0) FAIL("%s differs", f->name);
            found++;
        }
        free(block);
        free(want);
    }
    if (!found) SKIP("no ../shared/fixtures/quant");
    EQ(found, 14);
}

/* ---- llama2.c's integers --------------------------------------------------------------------- */

static void check_i8(size_t rows, size_t cols, size_t group) {
    uint8_t data[400];
    uint8_t scale[4 * 400 + 1]; /* from its second byte on: unaligned */
    uint32_t seed = (uint32_t)(cols + group);
    float y[400];
    for (size_t i = 0; i < rows * cols; i++) data[i] = (uint8_t)next_random(&seed);
    data[0] = 0x80; /* -128 is what no encoder writes, but a file may hold */
    for (size_t i = 0; i < rows * cols / group; i++) {
        float d = gauss(&seed);
        memcpy(scale + 1 + 4 * i, &d, 4);
    }
    pith__tensor w = matrix(pith__format_of(PITH__I8), data, rows, cols);
    w.scale = scale + 1;
    w.group = group;
    for (size_t r = 0; r < rows; r++) {
        pith__row_floats(&w, r, y);
        for (size_t i = 0; i < cols; i++) {
            float d;
            memcpy(&d, scale + 1 + (r * cols + i) / group * 4, 4);
            float want = d * (float)(int8_t)data[r * cols + i];
            if (y[i] != want) FAIL("group %d [%d, %d]", (int)group, (int)r, (int)i);
        }
        for (size_t i = 0; group % 16 == 0 && i < (cols + 31) / 32 * 32; i++) {
            pith__q32 b;
            pith__row_q32(&w, r, i / 32, &b);
            float got = b.d[i % 32 / 16] * b.q[i % 32] - b.m[i % 32 / 16];
            if (got != (i < cols ? y[i] : 0)) FAIL("block, group %d [%d]", (int)group, (int)i);
        }
    }
}

TEST(i8_groups_of_any_size) {
    check_i8(4, 64, 32);
    check_i8(4, 64, 64);
    check_i8(4, 96, 16);
    check_i8(4, 96, 48);
    check_i8(3, 48, 48); /* the last block is half a block */
    check_i8(3, 16, 16);
    check_i8(3, 90, 9);
    check_i8(3, 90, 45);
    check_i8(5, 7, 7);
    check_i8(5, 7, 1);
}

int main(void) {
    RUN(golden_blocks);
    RUN(sizes_of_blocks);
    RUN(names_in_any_case);
    RUN(f16_every_value_round_trips);
    RUN(f16_rounds_to_nearest_even);
    RUN(bf16_rounds_to_nearest_even);
    RUN(floats_are_what_unpack_says);
    RUN(blocks_at_any_address);
    RUN(rows_of_every_format);
    RUN(fixtures_bit_for_bit);
    RUN(i8_groups_of_any_size);
    return DONE();
}
