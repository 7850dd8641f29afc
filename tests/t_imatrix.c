/* t_imatrix.c - importance matrices are read as llama.cpp writes them, in GGUF and as .dat; what is wrong with one is
 * said by name. */
#define _XOPEN_SOURCE 700
#include "gguf_doc.h"

#include <unistd.h>

static char path[] = "/tmp/pith-imatrix-XXXXXX";
static pith_error e;

static int save_bytes(bytes b) { /* and free them */
    FILE *f = fopen(path, "wb");
    int good = f && (!b.n || fwrite(b.p, 1, b.n, f) == b.n);
    if (f && fclose(f)) good = 0;
    free(b.p);
    return good;
}

/* Two matrices: of 3 inputs, which 4 tokens came into; of two experts, of which the second one had no token. */
static const float sums[] = { 4, 8, 0.5f }, counts[] = { 4 };
static const float expert_sums[] = { 1, 2, 3, 4, 0, 0, 0, 0 }, expert_counts[] = { 2, 0 };

typedef struct {
    const char *type, *no; /* no: a tensor that is left out */
    float first;           /* instead of the first sum */
    uint64_t wide;         /* instead of 3 */
} made_how;

static bytes made(made_how how) {
    static const char *const texts[] = { "a.txt", "b.txt" };
    const struct { const char *name; uint64_t ne[2]; const float *x; size_t n; } t[] = {
        { "blk.0.ffn_up.weight.in_sum2", { how.wide, 1 }, sums, 3 }, { "blk.0.ffn_up.weight.counts", { 1, 1 }, counts, 1 },
        { "blk.1.ffn_up_exps.weight.in_sum2", { 4, 2 }, expert_sums, 8 },
        { "blk.1.ffn_up_exps.weight.counts", { 1, 2 }, expert_counts, 2 },
        { "blk.1.ffn_up_exps.weight.in_sum", { 4, 2 }, expert_sums, 8 }, /* of newer programs: not needed */
    };
    doc d = new_doc();
    if (how.type) key_str(&d, "general.type", how.type);
    key_strs(&d, "imatrix.datasets", texts, 2);
    key_int(&d, "imatrix.chunk_count", U32, 7, 4);
    key_int(&d, "imatrix.chunk_size", U32, 512, 4);
    float data[5 * 8] = { 0 };
    for (size_t i = 0; i < 5; i++) {
        memcpy(data + 8 * i, t[i].x, t[i].n * sizeof *data);
        if (!how.no || strcmp(how.no, t[i].name)) tensor(&d, t[i].name, t[i].ne, 2, 0, 32 * i);
    }
    d.data = sizeof data;
    if (how.first < 0 || how.first > 0) data[0] = how.first;
    bytes b = finish(&d);
    memcpy(b.p + b.n - sizeof data, data, sizeof data);
    return b;
}

static const made_how plain = { "imatrix", NULL, 0, 3 };

static bytes made_dat(int tail) {
    static const float means[] = { 14, 21, 7 };
    bytes b = { 0 };
    put_int(&b, 2, 4);
    for (int i = 0; i < 2; i++) { /* in an order that is not the alphabet's */
        const char *name = i ? "blk.0.attn_q.weight" : "blk.0.ffn_up.weight";
        put_int(&b, strlen(name), 4);
        put(&b, name, strlen(name));
        put_int(&b, i ? 1 : 7, 4);
        put_int(&b, 3, 4);
        for (int k = 0; k < 3; k++) put_f32(&b, means[k]);
    }
    if (!tail) return b;
    put_int(&b, 9, 4);
    put_int(&b, 5, 4);
    put(&b, "c.txt", 5);
    return b;
}

static pith__str named(const char *s) { return (pith__str){ s, strlen(s) }; }

static pith__tensor tensor_of(const char *name, size_t n_mat, size_t rows, size_t cols) {
    pith__tensor t = { .name = named(name), .n_dim = n_mat > 1 ? 3 : 2, .rows = n_mat * rows, .cols = cols };
    uint64_t shape[3] = { n_mat, rows, cols };
    memcpy(t.shape, n_mat > 1 ? shape : shape + 1, (size_t)t.n_dim * sizeof *shape);
    return t;
}

TEST(gguf) {
    pith__imatrix im;
    const float *w;
    REQUIRE(save_bytes(made(plain)));
    if (pith__imatrix_read(&im, path, &e)) FAIL("%s", e.text);
    EQ(im.n, 2);
    EQ(im.n_chunk, 7);
    EQ(im.chunk_size, 512);
    CHECK(im.n_dataset == 2 && pith__str_is(im.dataset[0], "a.txt") && pith__str_is(im.dataset[1], "b.txt") && !im.is_dat);
    const pith__inputs *in = pith__imatrix_of(&im, named("blk.0.ffn_up.weight"));
    REQUIRE(in && in->n_mat == 1 && in->cols == 3);
    CHECK(in->sum2[1] == 8 && in->count[0] == 4);
    pith__tensor t = tensor_of("blk.0.ffn_up.weight", 1, 5, 3);
    EQ(pith__importance(&im, &t, &w, &e), PITH_OK);
    CHECK(w && w[0] == 1 && w[1] == 2 && w[2] == 0.125f);
    pith__tensor stack = tensor_of("blk.1.ffn_up_exps.weight", 2, 5, 4);
    EQ(pith__importance(&im, &stack, &w, &e), PITH_OK);
    CHECK(w && w[0] == 0.5f && w[3] == 2 && w[4] == 1 && w[7] == 1); /* no token: all channels alike */
    t.name = named("blk.0.ffn_down.weight");
    EQ(pith__importance(&im, &t, &w, &e), PITH_OK);
    CHECK(w == NULL);
    pith__imatrix_free(&im);
}

TEST(dat) {
    for (int tail = 0; tail < 2; tail++) {
        pith__imatrix im;
        const float *w;
        REQUIRE(save_bytes(made_dat(tail)));
        if (pith__imatrix_read(&im, path, &e)) FAIL("%s", e.text);
        CHECK(im.is_dat && im.n == 2 && pith__str_is(im.of[0].name, "blk.0.attn_q.weight"));
        EQ(im.n_chunk, tail ? 9 : 0);
        CHECK(tail ? im.n_dataset == 1 && pith__str_is(im.dataset[0], "c.txt") : im.n_dataset == 0);
        pith__tensor t = tensor_of("blk.0.ffn_up.weight", 1, 5, 3);
        EQ(pith__importance(&im, &t, &w, &e), PITH_OK);
        CHECK(w && w[0] == 2 && w[1] == 3 && w[2] == 1);
        pith__imatrix_free(&im);
    }
}

static void refuses(bytes b, int code, const char *with) {
    pith__imatrix im;
    if (!save_bytes(b)) FAIL("%s is not written", path);
    int got = pith__imatrix_read(&im, path, &e);
    if (got != code || !strstr(e.text, with) || !strstr(e.text, path)) FAIL("%d '%s', want %d '%s'", got, e.text, code, with);
    if (!got) pith__imatrix_free(&im);
}

TEST(what_is_none) {
    refuses(made((made_how){ "imatrix", "blk.1.ffn_up_exps.weight.counts", 0, 3 }), PITH_EFORMAT,
            "has no tensor 'blk.1.ffn_up_exps.weight.counts'");
    refuses(made((made_how){ "imatrix", NULL, -1, 3 }), PITH_EDATA, "'blk.0.ffn_up.weight' has -1 for a sum of squares");
    refuses(made((made_how){ "imatrix", NULL, INFINITY, 3 }), PITH_EDATA, "has inf");
    doc model = new_doc();
    key_str(&model, "general.architecture", "llama");
    refuses(finish(&model), PITH_EFORMAT, "is no imatrix");
    bytes b = { 0 };
    put(&b, "This is a text, not numbers.\n", 29);
    refuses(b, PITH_EFORMAT, "is no imatrix");
    refuses((bytes){ 0 }, PITH_EFORMAT, "");
    remove(path);
    pith__imatrix im;
    CHECK(pith__imatrix_read(&im, path, &e) == PITH_EIO && strstr(e.text, path));
}

TEST(cut_files) {
    for (int dat = 0; dat < 2; dat++) {
        bytes whole = dat ? made_dat(0) : made(plain);
        for (size_t n = 0; n < whole.n; n++) {
            bytes part = { malloc(n + 1), n, n + 1 };
            if (n) memcpy(part.p, whole.p, n);
            pith__imatrix im;
            int code = save_bytes(part) ? pith__imatrix_read(&im, path, &e) : 1;
            if (!code) pith__imatrix_free(&im);
            if (code >= 0 || !strstr(e.text, path)) FAIL("%zu of %zu bytes: %d '%s'", n, whole.n, code, e.text);
        }
        free(whole.p);
    }
}

TEST(of_another_model) {
    pith__imatrix im;
    const float *w;
    REQUIRE(save_bytes(made(plain)));
    REQUIRE(pith__imatrix_read(&im, path, &e) == PITH_OK);
    pith__tensor up = tensor_of("blk.0.ffn_up.weight", 1, 5, 3), stack = tensor_of("blk.1.ffn_up_exps.weight", 2, 5, 4);
    pith__tensor norm = tensor_of("output_norm.weight", 1, 1, 3);
    pith__out out[] = { { .tensor = &norm }, { .tensor = &stack }, { .tensor = &up } };
    EQ(pith__imatrix_check(&im, out, 3, "m.gguf", &e), PITH_OK);
    EQ(pith__imatrix_check(&im, out, 2, "m.gguf", &e), PITH_EDATA);
    CHECK(strstr(e.text, "of another model") && strstr(e.text, "'blk.0.ffn_up.weight'") && strstr(e.text, "m.gguf"));
    up.cols = 4, up.shape[1] = 4;
    EQ(pith__importance(&im, &up, &w, &e), PITH_EDATA);
    CHECK(strstr(e.text, "1 x 3") && strstr(e.text, "1 x 4"));
    EQ(pith__imatrix_check(&im, out, 3, "m.gguf", &e), PITH_EDATA);
    pith__imatrix_free(&im);
}

int main(void) {
    int fd = mkstemp(path);
    if (fd < 0) return 99;
    close(fd);
    RUN(gguf);
    RUN(dat);
    RUN(what_is_none);
    RUN(cut_files);
    RUN(of_another_model);
    remove(path);
    return DONE();
}
