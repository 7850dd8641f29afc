/* t_value.c - a value head on disk: what torch wrote (../shared/tuning), what is written here, and files that are wrong. */
#define _POSIX_C_SOURCE 200809L
#include "../train/train.h"
#include "fixture.h"
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

enum { N = 64 };

static char path[64];

static int file_of(const char *header, const float *x, size_t n) {
    bytes b = { 0 };
    put_u64(&b, strlen(header));
    put(&b, header, strlen(header));
    put(&b, x, n * sizeof *x);
    int code = save(&b, path);
    free(b.p);
    return code;
}

TEST(head_of_torch) {
    static const char *const families[] = { "llama", "qwen2" };
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int i = 0; i < 2; i++) {
        float raw[N], w[N];
        FILE *f = fopen(fixture_tuning(families[i], "ppo/head.f32"), "rb");
        REQUIRE(f && fread(raw, sizeof raw, 1, f) == 1);
        fclose(f);
        EQ(pith__value_head_read(w, N, fixture_tuning(families[i], "ppo/head.safetensors"), NULL), PITH_OK);
        CHECK(!memcmp(w, raw, sizeof w));
    }
}

TEST(written_and_read) {
    float w[N], back[N];
    uint64_t state = 3;
    for (int i = 0; i < N; i++) w[i] = fixture_random(&state);
    EQ(pith__value_head_write(w, N, path, NULL), PITH_OK);
    EQ(pith__value_head_read(back, N, path, NULL), PITH_OK);
    CHECK(!memcmp(w, back, sizeof w));
}

TEST(wrong_files) {
    static const struct { const char *header, *says; } rows[] = {
        { "{\"value.weight\":{\"dtype\":\"F32\",\"shape\":[1,4],\"data_offsets\":[0,16]}}", NULL },
        { "{\"value.weight\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", NULL },
        { "{\"value.weight\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}", "is 2 x 2, need 1 x 4" },
        { "{\"value.weight\":{\"dtype\":\"F32\",\"shape\":[1,3],\"data_offsets\":[0,12]}}", "" },
        { "{\"score.weight\":{\"dtype\":\"F32\",\"shape\":[1,4],\"data_offsets\":[0,16]}}", "no tensor 'value.weight'" },
        { "{\"value.weight\":{\"dtype\":\"F32\",\"shape\":[1,8],\"data_offsets\":[0,32]}}", "" },
        { "{}", "" },
    };
    float x[4] = { 1, 2, 3, 4 }, w[4];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pith_error e = { 0, "" };
        EQ(file_of(rows[i].header, x, 4), 0);
        int code = pith__value_head_read(w, 4, path, &e);
        if ((code == PITH_OK) != !rows[i].says) FAIL("%s: code %d, %s", rows[i].header, code, e.text);
        if (rows[i].says && (!strstr(e.text, rows[i].says) || !strstr(e.text, path))) FAIL("%s: %s", rows[i].header, e.text);
    }
    pith_error e = { 0, "" };
    x[2] = NAN;
    EQ(file_of(rows[0].header, x, 4), 0);
    CHECK(pith__value_head_read(w, 4, path, &e) == PITH_EFORMAT && strstr(e.text, "number 2 of tensor"));
    CHECK(pith__value_head_read(w, 4, "/there is none", &e) && strstr(e.text, "/there is none"));
    unlink(path);
}

int main(void) {
    snprintf(path, sizeof path, "/tmp/pith-value-%ld.safetensors", (long)getpid());
    RUN(head_of_torch);
    RUN(written_and_read);
    RUN(wrong_files);
    return DONE();
}
