/* t_gguf.c - the GGUF reader: files written here, whole, wrong and cut, and the fixtures. */
#define _POSIX_C_SOURCE 200809L
#include "gguf_doc.h"

#include <time.h>
#include <unistd.h>

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
    pith__file f = { .data = (const uint8_t *)"GGUF", .size = 4, .mapped = -1 }, g = { .data = (const uint8_t *)"GGU", .size = 3, .mapped = -1 };
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
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* other programs run beside this one */
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
    RUN(cut_anywhere);
    RUN(any_byte_wrong);
    RUN(split_files);
    RUN(many_keys);
    RUN(large_vocabulary);
    RUN(fixtures);
    close_store();
    return DONE();
}
