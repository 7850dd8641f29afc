/* t_gguf.c - the GGUF reader: files written here, whole, wrong and cut, and the fixtures. */
#define _POSIX_C_SOURCE 200809L
#include "../internal.h"
#include "test.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 };

/* ---- writing --------------------------------------------------------------------------------- */

typedef struct {
    uint8_t *p;
    size_t n, room;
} bytes;

static void put(bytes *b, const void *p, size_t n) {
    if (b->n + n > b->room) {
        b->room = 2 * (b->n + n) + 64;
        b->p = realloc(b->p, b->room);
        if (!b->p) exit(99);
    }
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
}

static void put_int(bytes *b, uint64_t v, int n) { /* little-endian, n bytes */
    for (int i = 0; i < n; i++, v >>= 8) put(b, &(uint8_t){ (uint8_t)v }, 1);
}

static void put_f32(bytes *b, float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    put_int(b, u, 4);
}

static void put_str(bytes *b, const char *s) {
    put_int(b, strlen(s), 8);
    put(b, s, strlen(s));
}

typedef struct { /* a file in the making */
    uint32_t version;
    uint64_t n_key, n_tensor; /* as the header says; counted by key() and tensor() */
    bytes key, tensor;
    size_t align, data;
} doc;

static doc new_doc(void) { return (doc){ .version = 3, .align = 32 }; }

static bytes *key(doc *d, const char *name, uint32_t type) { /* the caller puts its value */
    d->n_key++;
    put_str(&d->key, name);
    put_int(&d->key, type, 4);
    return &d->key;
}

static void key_int(doc *d, const char *name, uint32_t type, uint64_t v, int n) {
    put_int(key(d, name, type), v, n);
}

static void key_str(doc *d, const char *name, const char *v) { put_str(key(d, name, STR), v); }

static bytes *key_array(doc *d, const char *name, uint32_t item, uint64_t n) {
    bytes *b = key(d, name, ARR);
    put_int(b, item, 4);
    put_int(b, n, 8);
    return b;
}

static void key_strs(doc *d, const char *name, const char *const *v, size_t n) {
    bytes *b = key_array(d, name, STR, n);
    for (size_t i = 0; i < n; i++) put_str(b, v[i]);
}

/* ne as GGUF has it: fastest first; 0 ends it. */
static void tensor(doc *d, const char *name, const uint64_t *ne, uint32_t n_dim, uint32_t type,
                   uint64_t offset) {
    d->n_tensor++;
    put_str(&d->tensor, name);
    put_int(&d->tensor, n_dim, 4);
    for (uint32_t i = 0; i < n_dim && i < 4; i++) put_int(&d->tensor, ne[i], 8);
    put_int(&d->tensor, type, 4);
    put_int(&d->tensor, offset, 8);
}

static bytes finish(doc *d) {
    bytes b = { 0 };
    put(&b, "GGUF", 4);
    put_int(&b, d->version, 4);
    put_int(&b, d->n_tensor, 8);
    put_int(&b, d->n_key, 8);
    put(&b, d->key.p, d->key.n);
    put(&b, d->tensor.p, d->tensor.n);
    if (d->data)
        while (b.n % d->align) put_int(&b, 0, 1);
    for (size_t i = 0; i < d->data; i++) put_int(&b, i, 1);
    free(d->key.p);
    free(d->tensor.p);
    return b;
}

/* ---- reading --------------------------------------------------------------------------------- */

static pith__store store;
static pith_error error;
static pith__file files[2];
static uint8_t *image;

static void close_store(void) {
    pith__store_free(&store);
    free(image);
    image = NULL;
}

/* From an allocation of just that size, so that a sanitizer sees one byte too many. */
static int read_bytes(const uint8_t *p, size_t n) {
    close_store();
    image = malloc(n ? n : 1);
    if (!image) exit(99);
    if (n) memcpy(image, p, n);
    files[0] = (pith__file){ image, n, -1 };
    store.path = "made.gguf";
    store.file = files;
    store.n_file = 1;
    memset(&error, 0, sizeof error);
    return pith__gguf_read(&store, 0, &error);
}

static int read_doc(doc *d) {
    bytes b = finish(d);
    int code = read_bytes(b.p, b.n);
    free(b.p);
    return code;
}

static int read_path(const char *path) {
    close_store();
    memset(&error, 0, sizeof error);
    store.path = path;
    store.file = files;
    int code = pith__file_open(&files[0], path, 0, &error);
    if (code) return code;
    store.n_file = 1;
    return pith__gguf_read(&store, 0, &error);
}

static int refused(int code, const char *with) { /* one line that names the file and says with */
    int ok = code < 0 && code == error.code && !strncmp(error.text, store.path, 9) &&
             strstr(error.text, with) && !strchr(error.text, '\n');
    if (!ok) printf("# code %d, said '%s', want '%s'\n", code, error.text, with);
    return ok;
}

static int works(int code) {
    if (code) printf("# code %d, said '%s'\n", code, error.text);
    return code == PITH_OK;
}

/* ---- keys ------------------------------------------------------------------------------------ */

static int64_t int_of(const char *name) {
    const pith__key *k = pith__store_key(&store, name);
    return k && (k->type == PITH__INT || k->type == PITH__BOOL) ? k->i : -12345;
}

static double float_of(const char *name) {
    const pith__key *k = pith__store_key(&store, name);
    return k && (k->type == PITH__FLOAT || k->type == PITH__INT) ? k->f : -12345;
}

TEST(value_types) {
    for (uint32_t version = 2; version <= 3; version++) {
        doc d = new_doc();
        d.version = version;
        key_int(&d, "z.u8", U8, 255, 1); /* any order */
        key_int(&d, "i8", I8, 0x80, 1);
        key_int(&d, "u16", U16, 65535, 2);
        key_int(&d, "i16", I16, 0xfffe, 2);
        key_int(&d, "u32", U32, 0xffffffffu, 4);
        key_int(&d, "i32", I32, 0x80000000u, 4);
        put_f32(key(&d, "f32", F32), 1.5f);
        key_int(&d, "true", BOOL, 255, 1);
        key_int(&d, "false", BOOL, 0, 1);
        key_str(&d, "string", "bl\xc3\xa5 \xff");
        key_int(&d, "u64", U64, UINT64_MAX, 8);
        key_int(&d, "i64", I64, (uint64_t)INT64_MIN, 8);
        key_int(&d, "f64", F64, 0xbfe0000000000000u, 8);
        key_int(&d, "", U8, 7, 1);
        bytes *b = key_array(&d, "array", I16, 3);
        put_int(b, 1, 2), put_int(b, 2, 2), put_int(b, 0xffff, 2);
        key_int(&d, "after", U8, 1, 1);
        REQUIRE(works(read_doc(&d)));
        CHECK(strstr(store.kind, version == 2 ? "GGUF version 2" : "GGUF version 3") != NULL);
        EQ(store.n_key, 16);
        EQ(int_of("z.u8"), 255);
        EQ(int_of("i8"), -128);
        EQ(int_of("u16"), 65535);
        EQ(int_of("i16"), -2);
        EQ(int_of("u32"), 0xffffffffLL);
        EQ(int_of("i32"), -2147483647LL - 1);
        EQ(int_of("true"), 1);
        EQ(int_of("false"), 0);
        EQ(int_of("u64"), INT64_MAX);
        EQ(int_of("i64"), INT64_MIN);
        EQ(int_of(""), 7);
        NEAR(float_of("f32"), 1.5, 0);
        NEAR(float_of("f64"), -0.5, 0);
        NEAR(float_of("u16"), 65535, 0);
        const pith__key *k = pith__store_key(&store, "string");
        CHECK(k && k->type == PITH__STRING && pith__str_is(k->s, "bl\xc3\xa5 \xff"));
        k = pith__store_key(&store, "array");
        REQUIRE(k && k->type == PITH__ARRAY && k->item == PITH__INT && k->gguf_item == I16);
        EQ(k->n, 3);
        EQ(k->at.left, 6);
        pith__cursor c = k->at;
        EQ(pith__u16(&c), 1);
        CHECK(pith__store_key(&store, "none") == NULL);
    }
}

static doc nest(int depth) { /* an array of one array of one array of ... two bytes */
    doc d = new_doc();
    bytes *b = key(&d, "nest", ARR);
    for (int i = 0; i < depth; i++) put_int(b, ARR, 4), put_int(b, 1, 8);
    put_int(b, U8, 4), put_int(b, 2, 8), put_int(b, 0, 2);
    key_int(&d, "after", U8, 1, 1);
    return d;
}

TEST(nested_arrays) {
    doc d = nest(1);
    REQUIRE(works(read_doc(&d)));
    const pith__key *k = pith__store_key(&store, "nest");
    CHECK(k && k->item == PITH__ARRAY && k->n == 1);
    EQ(int_of("after"), 1);
    d = nest(40);
    REQUIRE(works(read_doc(&d)));
    EQ(int_of("after"), 1);
    d = nest(1000);
    CHECK(refused(read_doc(&d), "nest"));
    d = nest(1000000);
    CHECK(refused(read_doc(&d), "nest"));

    d = new_doc(); /* 2^40 arrays of nothing are not in the file */
    key_array(&d, "leaves", ARR, (uint64_t)1 << 40);
    CHECK(refused(read_doc(&d), "leaves"));
    d = new_doc();
    bytes *b = key_array(&d, "leaves", ARR, 2);
    put_int(b, U64, 4), put_int(b, (uint64_t)1 << 61, 8); /* x 8 is 0 in 64 bits */
    put_int(b, U64, 4), put_int(b, 0, 8);
    CHECK(refused(read_doc(&d), "leaves"));
    d = new_doc();
    b = key_array(&d, "mixed", ARR, 3);
    put_int(b, STR, 4), put_int(b, 2, 8), put_str(b, ""), put_str(b, "x");
    put_int(b, F64, 4), put_int(b, 0, 8);
    put_int(b, 13, 4), put_int(b, 0, 8);
    CHECK(refused(read_doc(&d), "type 13"));
}

TEST(header_errors) {
    static const uint32_t versions[] = { 0, 1, 4, 0x02000000, 0x03000000, 0xffffffffu };
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        doc d = new_doc();
        d.version = versions[i];
        CHECK(refused(read_doc(&d), "version"));
    }
    static const uint64_t counts[] = { 1, 3, (uint64_t)1 << 31, (uint64_t)1 << 63, UINT64_MAX };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        for (int which = 0; which < 2; which++) {
            doc d = new_doc();
            key_int(&d, "k", U8, 1, 1);
            key_int(&d, "l", U8, 1, 1);
            tensor(&d, "t", (uint64_t[]){ 8 }, 1, 0, 0);
            tensor(&d, "u", (uint64_t[]){ 8 }, 1, 0, 32);
            d.data = 64;
            *(which ? &d.n_key : &d.n_tensor) = counts[i];
            int code = read_doc(&d);
            if (which == 0 && counts[i] == 1) continue; /* a row fewer can be a sound file */
            CHECK(refused(code, ""));
            CHECK(counts[i] < 1000 || strstr(error.text, which ? "keys" : "tensors"));
        }
    }
    static const char *const junk[] = { "", "G", "GGUF", "GGUF\3\0\0", "GGML\3\0\0\0", "FUGG" };
    for (size_t i = 0; i < sizeof junk / sizeof *junk; i++)
        CHECK(refused(read_bytes((const uint8_t *)junk[i], strlen(junk[i])), ""));
    pith__file f = { (const uint8_t *)"GGUF", 4, -1 }, g = { (const uint8_t *)"GGU", 3, -1 };
    CHECK(pith__gguf_is(&f) && !pith__gguf_is(&g));
}

TEST(key_errors) {
    static const uint64_t lengths[] = { 65536, (uint64_t)1 << 32, (uint64_t)1 << 63, UINT64_MAX };
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        doc d = new_doc(); /* the length of a key's name, then of its value */
        put_int(&d.key, lengths[i], 8);
        for (int j = 0; j < 70000; j++) put_int(&d.key, 'x', 1);
        d.n_key = 1;
        CHECK(refused(read_doc(&d), "key 0"));
        if (lengths[i] == 65536) continue;
        d = new_doc();
        put_int(key(&d, "long", STR), lengths[i], 8);
        CHECK(refused(read_doc(&d), "'long'"));
        for (uint32_t type = U8; type <= F64; type++) {
            d = new_doc();
            key_array(&d, "many", type, lengths[i]);
            CHECK(refused(read_doc(&d), "'many'"));
        }
    }
    doc d = new_doc();
    key_int(&d, "odd", 13, 0, 8);
    CHECK(refused(read_doc(&d), "type 13"));
    d = new_doc();
    key_int(&d, "odd", 0xffffffffu, 0, 8);
    CHECK(refused(read_doc(&d), "'odd'"));
    d = new_doc();
    key_array(&d, "odd", 77, 0);
    CHECK(refused(read_doc(&d), "type 77"));
    d = new_doc();
    key_int(&d, "twice", U8, 1, 1);
    key_int(&d, "once", U8, 1, 1);
    key_str(&d, "twice", "x");
    CHECK(refused(read_doc(&d), "'twice'"));
    d = new_doc();
    key_int(&d, "new\nline %s%n", 99, 0, 1);
    CHECK(refused(read_doc(&d), "new?line %s%n"));
}

/* ---- tensors --------------------------------------------------------------------------------- */

TEST(tensors) {
    doc d = new_doc();
    d.align = 64;
    key_int(&d, "general.alignment", U32, 64, 4);
    tensor(&d, "cube", (uint64_t[]){ 4, 3, 2 }, 3, 0, 128); /* not in the order of their data */
    tensor(&d, "row", (uint64_t[]){ 5 }, 1, 1, 0);
    tensor(&d, "q", (uint64_t[]){ 64, 1 }, 2, 8, 256);
    tensor(&d, "index", (uint64_t[]){ 3 }, 1, 26, 17); /* int32: of no use, and in nobody's way */
    d.data = 256 + 68;
    REQUIRE(works(read_doc(&d)));
    EQ(store.n_tensor, 3);
    const pith__tensor *t = pith__store_tensor(&store, "cube");
    REQUIRE(t != NULL);
    EQ(t->n_dim, 3);
    EQ(t->shape[0], 2);
    EQ(t->shape[1], 3);
    EQ(t->shape[2], 4);
    EQ(t->rows, 6);
    EQ(t->cols, 4);
    EQ(t->data[0], 128); /* the data counts its own bytes */
    EQ((t->data - image) % 64, 0);
    t = pith__store_tensor(&store, "row");
    REQUIRE(t != NULL);
    EQ(t->rows, 1);
    EQ(t->cols, 5);
    EQ(t->data[1], 1);
    t = pith__store_tensor(&store, "q");
    REQUIRE(t != NULL);
    EQ(t->row_bytes, 68);
    EQ(t->data[0], 0);
    CHECK(pith__store_tensor(&store, "index") == NULL);
}

TEST(alignment_errors) {
    static const uint64_t bad[] = { 0, 1, 3, 4, 31, 48, 1 << 20, (uint64_t)1 << 32,
                                    (uint64_t)1 << 40, (uint64_t)1 << 63, UINT64_MAX };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        doc d = new_doc();
        key_int(&d, "general.alignment", U64, bad[i], 8);
        CHECK(refused(read_doc(&d), "general.alignment"));
    }
    doc d = new_doc();
    key_str(&d, "general.alignment", "32");
    CHECK(refused(read_doc(&d), "general.alignment"));
    d = new_doc();
    put_f32(key(&d, "general.alignment", F32), 32);
    CHECK(refused(read_doc(&d), "general.alignment"));
    d = new_doc();
    key_int(&d, "general.alignment", I32, 0xfffffff8u, 4);
    CHECK(refused(read_doc(&d), "general.alignment"));
    d = new_doc(); /* the largest that is taken; the table's end is far from the data then */
    key_int(&d, "general.alignment", U32, d.align = 1 << 19, 4);
    tensor(&d, "t", (uint64_t[]){ 8 }, 1, 0, 0);
    d.data = 32;
    CHECK(works(read_doc(&d)));
}

TEST(tensor_errors) {
    enum { K = 1 << 20 };
    const uint64_t big = (uint64_t)1 << 62;
    static const char long_name[] =
        "a name of sixty-five bytes, that is to say one more than allowed!";
    const struct {
        const char *name;
        uint64_t ne[4];
        uint32_t n_dim, type;
        uint64_t offset;
    } bad[] = {
        { long_name, { 8 }, 1, 0, 0 },          { "t", { 0 }, 0, 0, 0 },
        { "t", { 8, 1, 1, 1 }, 5, 0, 0 },       { "t", { 8, 1, 1, 1 }, 64, 0, 0 },
        { "t", { 8, 1, 1, 1 }, 0xffffffffu, 0, 0 }, { "t", { 0 }, 1, 0, 0 },
        { "t", { 8, 0 }, 2, 0, 0 },             { "t", { UINT64_MAX }, 1, 0, 0 },
        { "t", { big }, 1, 0, 0 },              { "t", { big, 4 }, 2, 0, 0 },
        { "t", { 2, big, 2, 1 }, 4, 0, 0 },     { "t", { 4, big }, 2, 0, 0 },
        { "t", { (uint64_t)1 << 32, (uint64_t)1 << 32 }, 2, 0, 0 }, { "t", { 64, 1 }, 2, 0, 32 },
        { "t", { 33 }, 1, 8, 0 },               { "t", { 64 }, 1, 12, 0 },
        { "t", { 8 }, 1, 4, 0 },                { "t", { 8 }, 1, 5, 0 },
        { "t", { 8 }, 1, 31, 0 },               { "t", { 8 }, 1, 40, 0 },
        { "t", { 8 }, 1, PITH__I8, 0 },         { "t", { 8 }, 1, 0xffffffffu, 0 },
        { "t", { 8 }, 1, 0, 1 },                { "t", { 8 }, 1, 0, 16 },
        { "t", { 8 }, 1, 0, 256 },              { "t", { 8 }, 1, 0, K },
        { "t", { 8 }, 1, 0, big },              { "t", { 8 }, 1, 0, UINT64_MAX - 31 },
        { "u", { 8 }, 1, 0, 0 }
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        doc d = new_doc();
        tensor(&d, "u", (uint64_t[]){ 8 }, 1, 0, 224);
        tensor(&d, bad[i].name, bad[i].ne, bad[i].n_dim, bad[i].type, bad[i].offset);
        d.data = 256;
        if (!refused(read_doc(&d), i == 0 ? "name of tensor 1" : bad[i].name)) FAIL("case %zu", i);
    }
    doc d = new_doc();
    put_int(&d.tensor, UINT64_MAX, 8);
    put(&d.tensor, long_name, 64);
    d.n_tensor = 1;
    CHECK(refused(read_doc(&d), "tensor"));
    d = new_doc(); /* 64 bytes of name are allowed */
    tensor(&d, long_name + 1, (uint64_t[]){ 8 }, 1, 0, 0);
    d.data = 32;
    CHECK(works(read_doc(&d)));
}

TEST(overlap) {
    doc d = new_doc();
    tensor(&d, "later", (uint64_t[]){ 8 }, 1, 0, 32);
    tensor(&d, "early", (uint64_t[]){ 9 }, 1, 0, 0); /* 36 bytes */
    d.data = 128;
    CHECK(refused(read_doc(&d), "'later' begins inside tensor 'early'"));
    d = new_doc();
    tensor(&d, "one", (uint64_t[]){ 8 }, 1, 0, 0);
    tensor(&d, "two", (uint64_t[]){ 8 }, 1, 0, 0);
    d.data = 128;
    CHECK(refused(read_doc(&d), "begins inside"));
    d = new_doc();
    tensor(&d, "whole", (uint64_t[]){ 32 }, 1, 0, 0);
    tensor(&d, "a", (uint64_t[]){ 8 }, 1, 0, 96);
    d.data = 128;
    CHECK(refused(read_doc(&d), "'a' begins inside tensor 'whole'"));
}

/* ---- vocabulary ------------------------------------------------------------------------------ */

static const char *const spm_pieces[] = { "<unk>", "<s>", "</s>", "<0x00>", "\u2581", "a",
                                          "\xff\xfe", "<|im_end|>", "<|eot_id|>" };
enum { N_SPM = 9 };

static doc spm_doc(void) {
    doc d = new_doc();
    key_str(&d, "tokenizer.ggml.model", "llama");
    key_strs(&d, "tokenizer.ggml.tokens", spm_pieces, N_SPM);
    return d;
}

static void spm_scores(doc *d, size_t n) {
    bytes *b = key_array(d, "tokenizer.ggml.scores", F32, n);
    for (size_t i = 0; i < n; i++) put_f32(b, -0.5f * (float)i);
}

static void spm_types(doc *d, size_t n) {
    static const int type[] = { 2, 3, 3, 6, -1, 99, 5, 4, 1, 7 };
    bytes *b = key_array(d, "tokenizer.ggml.token_type", I32, n);
    for (size_t i = 0; i < n; i++) put_int(b, (uint64_t)(int64_t)type[i], 4);
}

TEST(vocab_spm) {
    const pith__vocab *v = &store.vocab;
    doc d = spm_doc();
    spm_types(&d, 10); /* one too many is no harm */
    spm_scores(&d, N_SPM);
    key_str(&d, "tokenizer.chat_template", "{{ messages }}");
    REQUIRE(works(read_doc(&d)));
    EQ(v->model, PITH__SPM);
    EQ(v->spelling, PITH__METASPACE);
    EQ(v->n, N_SPM);
    for (int i = 0; i < N_SPM; i++) {
        CHECK(pith__str_is(v->piece[i], spm_pieces[i]));
        NEAR(v->score[i], -0.5 * i, 0);
    }
    EQ(v->type[0], PITH__UNKNOWN);
    EQ(v->type[3], PITH__BYTE);
    EQ(v->type[4], PITH__NORMAL); /* what a number unknown stands for */
    EQ(v->type[5], PITH__NORMAL);
    EQ(v->type[6], PITH__UNUSED);
    EQ(v->type[7], PITH__CONTROL); /* it ends a turn, whatever the file calls it */
    EQ(v->bos, 1);
    EQ(v->eos, 2);
    EQ(v->unk, 0);
    CHECK(v->add_bos && !v->add_eos && v->add_space && v->byte_fallback && !v->ignore_merges);
    REQUIRE(v->n_end == 3);
    CHECK(v->end[0] == 2 && v->end[1] == 7 && v->end[2] == 8);
    CHECK(pith__str_is(v->chat_template, "{{ messages }}"));
    CHECK(v->added == NULL);

    d = spm_doc();
    key_int(&d, "tokenizer.ggml.add_bos_token", BOOL, 0, 1);
    key_int(&d, "tokenizer.ggml.add_eos_token", BOOL, 1, 1);
    key_int(&d, "tokenizer.ggml.add_space_prefix", BOOL, 0, 1);
    key_int(&d, "tokenizer.ggml.bos_token_id", U32, 4, 4);
    key_int(&d, "tokenizer.ggml.eos_token_id", U32, N_SPM, 4); /* outside: none */
    key_int(&d, "tokenizer.ggml.unknown_token_id", I32, 0xffffffffu, 4);
    key_int(&d, "tokenizer.ggml.eot_token_id", U32, 5, 4);
    REQUIRE(works(read_doc(&d)));
    EQ(v->bos, 4);
    EQ(v->eos, -1);
    EQ(v->unk, -1);
    CHECK(!v->add_bos && v->add_eos && !v->add_space);
    REQUIRE(v->n_end == 3);
    CHECK(v->end[0] == 5 && v->end[1] == 7);
    EQ(v->type[0], PITH__NORMAL);
}

TEST(vocab_normalizer) {
    doc d = spm_doc();
    REQUIRE(works(read_doc(&d)) && !store.vocab.nfc);
    d = spm_doc();
    key_str(&d, "pith.normalizer", "NFC");
    REQUIRE(works(read_doc(&d)) && store.vocab.nfc);
    d = spm_doc();
    key_str(&d, "pith.normalizer", "NFD");
    EQ(read_doc(&d), PITH_EARCH);
    CHECK(strstr(error.text, "pith.normalizer is 'NFD'") != NULL);
}

TEST(vocab_phi3_strips) {
    doc d = spm_doc();
    key_str(&d, "general.architecture", "phi3");
    spm_types(&d, N_SPM);
    REQUIRE(works(read_doc(&d)));
    REQUIRE(store.vocab.added != NULL);
    static const uint8_t want[N_SPM] = { 0, 0, 2, 0, 0, 0, 0, 2, 2 };
    for (int i = 0; i < N_SPM; i++) EQ(store.vocab.added[i], want[i]);
}

static doc bpe_doc(const char *pre, int merges) {
    static const char *const piece[] = { "a", "b", "ab", "\u0120", "\u0120a", "<|end|>" };
    static const char *const merge[] = { "a b", "nothing", "", " ", "\u0120 a", " x y", "z " };
    doc d = new_doc();
    if (merges) key_strs(&d, "tokenizer.ggml.merges", merge, 7);
    if (pre) key_str(&d, "tokenizer.ggml.pre", pre);
    key_str(&d, "tokenizer.ggml.model", "gpt2");
    key_strs(&d, "tokenizer.ggml.tokens", piece, 6);
    return d;
}

/* What llama.cpp takes for said when a file says nothing of BOS and of words that are pieces. */
TEST(habits_of_pretokenizers) {
    static const struct {
        const char *pre;
        int add_bos, ignore_merges;
    } habits[] = { { "llama3", 1, 1 },   { "llama-v3", 1, 1 }, { "llama-bpe", 1, 1 }, { "falcon3", 1, 1 },
                   { "falcon-h1", 1, 1 }, { "pixtral", 1, 1 },  { "midm-2.0", 1, 1 },  { "lfm2", 1, 1 },
                   { "tekken", 1, 1 },   { "youtu", 0, 1 },    { "chameleon", 1, 0 }, { "gpt-2", 0, 0 },
                   { "qwen2", 0, 0 },    { "falcon", 0, 0 },   { "gpt-4o", 0, 0 },    { "deepseek-llm", 0, 0 },
                   { "dbrx", 0, 0 },     { "smollm", 0, 0 },   { "default", 0, 0 } };
    for (size_t i = 0; i < sizeof habits / sizeof *habits; i++) {
        doc d = bpe_doc(habits[i].pre, 1);
        REQUIRE(works(read_doc(&d)));
        if (store.vocab.add_bos != habits[i].add_bos || store.vocab.ignore_merges != habits[i].ignore_merges)
            FAIL("%s: BOS %d, whole words %d", habits[i].pre, store.vocab.add_bos, store.vocab.ignore_merges);
    }
}

TEST(vocab_bpe) {
    const pith__vocab *v = &store.vocab;
    doc d = bpe_doc("qwen2", 1);
    REQUIRE(works(read_doc(&d)));
    EQ(v->model, PITH__BPE);
    EQ(v->spelling, PITH__BYTE_LETTERS);
    EQ(v->n, 6);
    CHECK(pith__str_is(v->pre, "qwen2"));
    REQUIRE(v->n_merge == 3); /* what is no pair is left out */
    CHECK(pith__str_is(v->left[0], "a") && pith__str_is(v->right[0], "b"));
    CHECK(pith__str_is(v->left[1], "\u0120") && pith__str_is(v->right[1], "a"));
    CHECK(pith__str_is(v->left[2], " x") && pith__str_is(v->right[2], "y"));
    CHECK(v->bos == -1 && v->eos == -1 && v->unk == -1);
    CHECK(!v->add_bos && !v->add_eos && !v->add_space && !v->ignore_merges && !v->byte_fallback);
    REQUIRE(v->n_end == 1);
    EQ(v->end[0], 5);

    d = bpe_doc("llama-bpe", 1);
    REQUIRE(works(read_doc(&d)));
    CHECK(v->add_bos && v->ignore_merges);
    d = bpe_doc("tekken", 1);
    key_int(&d, "tokenizer.ggml.add_bos_token", BOOL, 0, 1);
    REQUIRE(works(read_doc(&d)));
    CHECK(!v->add_bos && v->ignore_merges);
    d = bpe_doc(NULL, 1);
    REQUIRE(works(read_doc(&d)));
    CHECK(pith__str_is(v->pre, "default"));
    d = bpe_doc("qwen2", 0);
    CHECK(refused(read_doc(&d), "tokenizer.ggml.merges"));
    d = bpe_doc("qwen2", 0);
    key_array(&d, "tokenizer.ggml.merges", U8, 0);
    CHECK(refused(read_doc(&d), "tokenizer.ggml.merges"));
}

/* What a file does not say of BOS and of whole words, the pre-tokenizer's name does: llama.cpp's
 * src/llama-vocab.cpp, read 2026-11. */
TEST(vocab_bpe_habits) {
    static const struct {
        const char *pre;
        int add_bos, ignore_merges;
    } want[] = {
        { "tekken", 1, 1 },   { "pixtral", 1, 1 },   { "llama3", 1, 1 }, { "llama-v3", 1, 1 },
        { "falcon3", 1, 1 },  { "falcon-h1", 1, 1 }, { "lfm2", 1, 1 },   { "midm-2.0", 1, 1 },
        { "youtu", 0, 1 },    { "chameleon", 1, 0 }, { "qwen2", 0, 0 },  { "gpt-2", 0, 0 },
        { "smollm", 0, 0 },   { "default", 0, 0 }
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        doc d = bpe_doc(want[i].pre, 1);
        REQUIRE(works(read_doc(&d)));
        EQ(store.vocab.add_bos, want[i].add_bos);
        EQ(store.vocab.ignore_merges, want[i].ignore_merges);
    }
}

TEST(vocab_none) {
    static const char *const none[] = { NULL, "none", "no_vocab" };
    for (int i = 0; i < 3; i++) {
        doc d = new_doc();
        if (none[i]) key_str(&d, "tokenizer.ggml.model", none[i]);
        REQUIRE(works(read_doc(&d)));
        EQ(store.vocab.model, PITH__NONE);
        EQ(store.vocab.n, 0);
        EQ(store.vocab.bos, -1);
    }
    doc d = new_doc();
    key_str(&d, "tokenizer.ggml.model", "bert");
    EQ(read_doc(&d), PITH_EARCH);
    CHECK(strstr(error.text, "'bert'") != NULL);
}

TEST(vocab_errors) {
    static const struct {
        const char *name;
        uint32_t type;
    } wrong[] = {
        { "tokenizer.chat_template", U32 },        { "tokenizer.ggml.bos_token_id", F32 },
        { "tokenizer.ggml.eos_token_id", BOOL },   { "tokenizer.ggml.unknown_token_id", STR },
        { "tokenizer.ggml.eot_token_id", F64 },    { "tokenizer.ggml.add_bos_token", U8 },
        { "tokenizer.ggml.add_eos_token", STR },   { "tokenizer.ggml.add_space_prefix", U32 },
        { "tokenizer.ggml.scores", F32 },          { "tokenizer.ggml.token_type", I32 },
        { "pith.normalizer", BOOL }
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        doc d = spm_doc();
        key_int(&d, wrong[i].name, wrong[i].type, 0, 8);
        bytes *b = &d.key; /* the value has 8 bytes: take back what the type does not */
        static const int size[] = { 1, 1, 2, 2, 4, 4, 4, 1, 8, 0, 8, 8, 8 };
        b->n -= 8 - (size_t)size[wrong[i].type];
        if (!refused(read_doc(&d), wrong[i].name)) FAIL("case %zu", i);
    }
    doc d = spm_doc();
    spm_scores(&d, N_SPM - 1);
    CHECK(refused(read_doc(&d), "tokenizer.ggml.scores"));
    d = spm_doc();
    spm_types(&d, N_SPM - 1);
    CHECK(refused(read_doc(&d), "tokenizer.ggml.token_type"));
    d = spm_doc();
    for (int i = 0, n = (key_array(&d, "tokenizer.ggml.scores", I32, N_SPM), N_SPM); i < n; i++)
        put_int(&d.key, 0, 4);
    CHECK(refused(read_doc(&d), "tokenizer.ggml.scores"));
    static const char *const model[] = { "llama", "gpt2" };
    for (int i = 0; i < 2; i++) {
        d = new_doc();
        key_str(&d, "tokenizer.ggml.model", model[i]);
        CHECK(refused(read_doc(&d), "tokenizer.ggml.tokens"));
        d = new_doc();
        key_str(&d, "tokenizer.ggml.model", model[i]);
        key_array(&d, "tokenizer.ggml.tokens", STR, 0);
        CHECK(refused(read_doc(&d), "tokenizer.ggml.tokens"));
        d = new_doc();
        key_str(&d, "tokenizer.ggml.model", model[i]);
        put_int(key_array(&d, "tokenizer.ggml.tokens", U32, 1), 0, 4);
        CHECK(refused(read_doc(&d), "tokenizer.ggml.tokens"));
    }
    d = new_doc();
    key_int(&d, "tokenizer.ggml.model", U8, 1, 1);
    CHECK(refused(read_doc(&d), "tokenizer.ggml.model"));
}

TEST(many_ends) { /* more tokens that end a text than there is room for */
    const char *piece[40];
    for (int i = 0; i < 40; i++) piece[i] = i % 2 ? "<EOT>" : "<|im_end|>";
    doc d = new_doc();
    key_str(&d, "tokenizer.ggml.model", "llama");
    key_strs(&d, "tokenizer.ggml.tokens", piece, 40);
    REQUIRE(works(read_doc(&d)));
    EQ(store.vocab.n_end, 16);
}

/* ---- damage ---------------------------------------------------------------------------------- */

static bytes small_file(size_t *needed) {
    doc d = spm_doc();
    spm_scores(&d, N_SPM);
    spm_types(&d, N_SPM);
    key_int(&d, "tokenizer.ggml.add_bos_token", BOOL, 1, 1);
    bytes *b = key_array(&d, "nest", ARR, 2);
    put_int(b, STR, 4), put_int(b, 1, 8), put_str(b, "x");
    put_int(b, U16, 4), put_int(b, 1, 8), put_int(b, 1, 2);
    tensor(&d, "b", (uint64_t[]){ 8, 2 }, 2, 0, 32);
    tensor(&d, "a", (uint64_t[]){ 3 }, 1, 0, 0);
    d.data = 96 + 32; /* and 32 that nobody needs */
    bytes f = finish(&d);
    *needed = f.n - 32;
    return f;
}

TEST(cut_anywhere) {
    size_t needed;
    bytes f = small_file(&needed);
    for (size_t n = 0; n <= f.n; n++) {
        int code = read_bytes(f.p, n);
        if (n < needed ? !refused(code, "") : !works(code)) FAIL("cut to %zu of %zu", n, f.n);
    }
    free(f.p);
}

TEST(any_byte_wrong) { /* sound or refused, never more */
    static const uint8_t wrong[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };
    size_t needed, sound = 0;
    bytes f = small_file(&needed);
    for (size_t i = 0; i < needed; i++) {
        uint8_t right = f.p[i];
        for (size_t j = 0; j < sizeof wrong; j++) {
            f.p[i] = wrong[j];
            int code = read_bytes(f.p, f.n);
            if (code && !refused(code, "")) FAIL("byte %zu", i);
            sound += code == PITH_OK;
        }
        f.p[i] = right;
    }
    CHECK(sound > 0);
    free(f.p);
}

/* ---- split files ----------------------------------------------------------------------------- */

static char folder[32], path_of[2][96];

static void write_file(const char *path, bytes b) {
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(b.p, 1, b.n, f) != b.n || fclose(f)) exit(99);
    free(b.p);
}

static doc part_doc(uint64_t no, uint64_t count, uint64_t total) {
    doc d = new_doc();
    key_int(&d, "split.no", U16, no, 2);
    key_int(&d, "split.count", U16, count, 2);
    key_int(&d, "split.tensors.count", I32, total, 4);
    tensor(&d, no ? "second" : "first", (uint64_t[]){ 8 }, 1, 0, 0);
    d.data = 32 + (no ? 0 : 32);
    if (no == 0) tensor(&d, "third", (uint64_t[]){ 8 }, 1, 0, 32);
    if (no == 0) key_str(&d, "general.architecture", "llama");
    return d;
}

static int read_split(doc a, doc b) {
    write_file(path_of[0], finish(&a));
    write_file(path_of[1], finish(&b));
    return read_path(path_of[0]);
}

static void split_cases(void) {
    REQUIRE(works(read_split(part_doc(0, 2, 3), part_doc(1, 2, 3))));
    EQ(store.n_file, 2);
    EQ(store.n_tensor, 3);
    EQ(store.n_key, 4);
    EQ(int_of("split.no"), 0);
    const pith__tensor *t = pith__store_tensor(&store, "second");
    REQUIRE(t != NULL);
    EQ(t->data[5], 5);
    CHECK(t->data > store.file[1].data && t->data < store.file[1].data + store.file[1].size);

    CHECK(refused(read_path(path_of[1]), "is part 2 of 2"));
    CHECK(refused(read_split(part_doc(0, 2, 4), part_doc(1, 2, 4)), "split.tensors.count is 4"));
    CHECK(refused(read_split(part_doc(0, 2, 3), part_doc(1, 3, 3)), "00002.gguf: split.count"));
    CHECK(refused(read_split(part_doc(0, 2, 3), part_doc(2, 2, 3)), "00002.gguf: split.no"));
    CHECK(refused(read_split(part_doc(0, 3, 3), part_doc(1, 3, 3)), "-00001-of-00003.gguf"));
    CHECK(refused(read_split(part_doc(0, 65535, 3), part_doc(1, 2, 3)), "-00001-of-65535.gguf"));
    doc d = part_doc(1, 2, 4);
    tensor(&d, "third", (uint64_t[]){ 8 }, 1, 0, 32);
    d.data = 64;
    CHECK(refused(read_split(part_doc(0, 2, 4), d), "'third' comes twice"));
    d = part_doc(1, 2, 3);
    d.data = 31;
    CHECK(refused(read_split(part_doc(0, 2, 3), d), "00002-of-00002.gguf: tensor 'second'"));
    CHECK(refused(read_split(part_doc(0, 2, 3), new_doc()), "00002-of-00002.gguf: needs"));
    unlink(path_of[1]);
    CHECK(refused(read_path(path_of[0]), "-00002-of-00002.gguf"));
}

TEST(split_files) {
    strcpy(folder, "/tmp/t_gguf.XXXXXX");
    REQUIRE(mkdtemp(folder) != NULL);
    for (int i = 0; i < 2; i++)
        snprintf(path_of[i], sizeof path_of[i], "%s/m-%05d-of-00002.gguf", folder, i + 1);
    split_cases();
    close_store();
    unlink(path_of[0]);
    unlink(path_of[1]);
    rmdir(folder);
    doc d = part_doc(0, 1, 2); /* a split of one is a file like any other */
    CHECK(works(read_doc(&d)));
    d = new_doc();
    key_str(&d, "split.count", "2");
    CHECK(refused(read_doc(&d), "split.count"));
}

/* ---- size ------------------------------------------------------------------------------------ */

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

TEST(many_keys) {
    enum { N = 100000 };
    doc d = new_doc();
    char name[32];
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "key.%d", i);
        key_int(&d, name, I32, (uint64_t)i, 4);
    }
    bytes f = finish(&d);
    double start = seconds();
    CHECK(works(read_bytes(f.p, f.n)));
    CHECK(seconds() - start < 1);
    EQ(int_of("key.77777"), 77777);
    free(f.p);
}

TEST(large_vocabulary) {
    enum { N = 150000 };
    doc d = new_doc();
    char text[32];
    key_str(&d, "tokenizer.ggml.model", "gpt2");
    bytes *b = key_array(&d, "tokenizer.ggml.tokens", STR, N);
    for (int i = 0; i < N; i++) snprintf(text, sizeof text, "piece%d", i), put_str(b, text);
    b = key_array(&d, "tokenizer.ggml.merges", STR, N);
    for (int i = 0; i < N; i++) snprintf(text, sizeof text, "piece %d", i), put_str(b, text);
    b = key_array(&d, "tokenizer.ggml.token_type", I32, N);
    for (int i = 0; i < N; i++) put_int(b, 1, 4);
    bytes f = finish(&d);
    double start = seconds();
    CHECK(works(read_bytes(f.p, f.n)));
    double took = seconds() - start;
    CHECK(took < 0.5); /* 0.01 when nobody else is working */
    EQ(store.vocab.n_merge, N);
    CHECK(pith__str_is(store.vocab.right[N - 1], "149999"));
    free(f.p);
}

/* ---- files of others ------------------------------------------------------------------------- */

static const char *shared_path(const char *name) {
    static char path[512];
    const char *root = getenv("PITH_SHARED");
    snprintf(path, sizeof path, "%s/%s", root ? root : "../shared", name);
    return access(path, R_OK) ? NULL : path;
}

TEST(fixtures) {
    static const struct {
        const char *name;
        size_t n_tensor;
        int n_vocab, n_merge;
    } file[] = {
        { "fixtures/llama.gguf", 30, 512, 0 },  { "fixtures/gemma3.gguf", 106, 512, 0 },
        { "fixtures/phi3.gguf", 21, 512, 0 },
        { "fixtures/quant/mistral-Q4_K_M.gguf", 30, 512, 0 },
        { "data/gguf/stories260K.gguf", 48, 512, 0 },
        { "data/gguf/ggml-vocab-gpt-2.gguf", 0, 50257, 50000 },
        { "data/gguf/ggml-vocab-deepseek-llm.gguf", 0, 102400, 99757 },
        { "data/gguf/ggml-vocab-llama-spm.gguf", 0, 32000, 0 }
    };
    size_t n = sizeof file / sizeof *file, found = 0;
    for (size_t i = 0; i < n; i++) {
        const char *path = shared_path(file[i].name);
        if (!path) continue;
        found++;
        CHECK(works(read_path(path)));
        EQ(store.n_tensor, file[i].n_tensor);
        EQ(store.vocab.n, file[i].n_vocab);
        EQ(store.vocab.n_merge, file[i].n_merge);
        CHECK(store.vocab.n_end >= 1 && store.vocab.end[0] == store.vocab.eos);
    }
    if (found < n) SKIP("some or all of ../shared is not here");
}

int main(void) {
    RUN(value_types);
    RUN(nested_arrays);
    RUN(header_errors);
    RUN(key_errors);
    RUN(tensors);
    RUN(alignment_errors);
    RUN(tensor_errors);
    RUN(overlap);
    RUN(vocab_spm);
    RUN(vocab_normalizer);
    RUN(vocab_phi3_strips);
    RUN(habits_of_pretokenizers);
    RUN(vocab_bpe);
    RUN(vocab_bpe_habits);
    RUN(vocab_none);
    RUN(vocab_errors);
    RUN(many_ends);
    RUN(cut_anywhere);
    RUN(any_byte_wrong);
    RUN(split_files);
    RUN(many_keys);
    RUN(large_vocabulary);
    RUN(fixtures);
    close_store();
    return DONE();
}
