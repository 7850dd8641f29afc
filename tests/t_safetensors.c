/* t_safetensors.c - Hugging Face folders: made here, whole and wrong in every way, and the
 * fixtures. */
#define _POSIX_C_SOURCE 200809L
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- folders --------------------------------------------------------------------------------- */

static char folder[64]; /* the one of this test */

static const char *in_folder(const char *name) {
    static char path[4][400];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static void make_folder(void) {
    strcpy(folder, "/tmp/pith-hf-XXXXXX");
    if (!mkdtemp(folder)) exit(99);
}

static void clear_folder(void) {
    DIR *d = opendir(folder);
    struct dirent *e;
    while (d && (e = readdir(d)))
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && unlink(in_folder(e->d_name)))
            rmdir(in_folder(e->d_name));
    if (d) closedir(d);
}

static void drop_folder(void) {
    clear_folder();
    rmdir(folder);
}

static void write_bytes(const char *name, const void *p, size_t n) {
    FILE *f = fopen(in_folder(name), "wb");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f)) exit(99);
}

static void write_text(const char *name, const char *text) {
    write_bytes(name, text, strlen(text));
}

/* A safetensors file of this header with n bytes of numbers behind it. */
static void write_tensors(const char *name, const char *header, size_t n) {
    bytes b = { 0 };
    put_u64(&b, strlen(header));
    put(&b, header, strlen(header));
    for (size_t i = 0; i < n; i += 4) put_f32(&b, (float)((int)(i / 4 % 97) - 48) / 100);
    write_bytes(name, b.p, b.n - (n % 4 ? 4 - n % 4 : 0));
    free(b.p);
}

/* text with the first from in it replaced by to; in a buffer of its own. */
static const char *with(const char *text, const char *from, const char *to) {
    static char buffer[4][20000];
    static int turn;
    char *b = buffer[turn++ % 4];
    const char *at = strstr(text, from);
    if (!at) FAIL("no %s in the text", from);
    snprintf(b, sizeof buffer[0], "%.*s%s%s", at ? (int)(at - text) : 0, text, to,
             at ? at + strlen(from) : "");
    return b;
}

/* ---- a model of one layer -------------------------------------------------------------------- */

static const char config[] =
    "{\"model_type\": \"llama\", \"hidden_size\": 8, \"intermediate_size\": 12, "
    "\"num_hidden_layers\": 1,\n"
    " \"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"head_dim\": 4, \"vocab_size\": "
    "16,\n"
    " \"max_position_embeddings\": 32, \"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0,\n"
    " \"tie_word_embeddings\": true, \"hidden_act\": \"silu\", \"bos_token_id\": 1, "
    "\"eos_token_id\": 2,\n"
    " \"rope_scaling\": null, \"unheard_of\": {\"a\": [1, {}]}}";

static const struct weight {
    const char *name, *shape;
    size_t count;
} weights[] = {
    { "model.embed_tokens.weight", "[16, 8]", 128 },
    { "model.layers.0.input_layernorm.weight", "[8]", 8 },
    { "model.layers.0.self_attn.q_proj.weight", "[8, 8]", 64 },
    { "model.layers.0.self_attn.k_proj.weight", "[4, 8]", 32 },
    { "model.layers.0.self_attn.v_proj.weight", "[4, 8]", 32 },
    { "model.layers.0.self_attn.o_proj.weight", "[8, 8]", 64 },
    { "model.layers.0.post_attention_layernorm.weight", "[8]", 8 },
    { "model.layers.0.mlp.gate_proj.weight", "[12, 8]", 96 },
    { "model.layers.0.mlp.up_proj.weight", "[12, 8]", 96 },
    { "model.layers.0.mlp.down_proj.weight", "[8, 12]", 96 },
    { "model.norm.weight", "[8]", 8 },
};
enum { WEIGHTS = sizeof weights / sizeof *weights };

typedef struct { /* how a header is to be made */
    const char *dtype;       /* F32 */
    size_t size;             /* 4 */
    const char *between;     /* white space between tokens */
    size_t first, last;      /* weights [first, last) only */
    size_t skip;             /* not this one */
    int backwards;           /* the entries in reverse order, each at its place */
} how;
static const how plain = { "F32", 4, "", 0, WEIGHTS, 99, 0 };

static size_t header_text(const how *h, char *text) {
    size_t at[WEIGHTS], end = 0;
    for (size_t i = h->first; i < h->last; i++) {
        at[i] = end;
        if (i != h->skip) end += weights[i].count * h->size;
    }
    char *p = text;
    const char *s = h->between;
    p += sprintf(p, "{%s\"__metadata__\"%s:%s{%s\"format\"%s:%s\"pt\"%s}", s, s, s, s, s, s, s);
    for (size_t k = h->first; k < h->last; k++) {
        size_t i = h->backwards ? h->last - 1 - (k - h->first) : k;
        if (i == h->skip) continue;
        p += sprintf(
            p,
            ",%s\"%s\"%s:%s{%s\"dtype\"%s:%s\"%s\",%s\"shape\":%s,\"data_offsets\":[%zu,%s%zu]%s}",
            s, weights[i].name, s, s, s, s, s, h->dtype, s, weights[i].shape, at[i], s,
            at[i] + weights[i].count * h->size, s);
    }
    sprintf(p, "%s}", s);
    return end;
}

static void write_model(const char *name, const how *h) {
    char text[20000];
    size_t n = header_text(h, text);
    write_tensors(name, text, n);
}

static void write_whole(void) {
    clear_folder();
    write_text("config.json", config);
    write_model("model.safetensors", &plain);
}

/* ---- opening --------------------------------------------------------------------------------- */

static pith_error error;

static int opens_at(const char *path) {
    memset(&error, 0, sizeof error);
    pith_options opt = { .n_threads = 1 };
    pith_model *m = pith_open(path, &opt, &error);
    if (m) {
        pith_context c = { .n_ctx = 16 };
        pith_session *s = pith_session_new(m, &c, &error);
        pith_token t[] = { 1, 5, 9 };
        if (!s || pith_eval(s, t, 3, &error)) FAIL("%s", error.text);
        pith_session_free(s);
    } else if (!error.code || !error.text[0] || strchr(error.text, '\n')) {
        FAIL("no error of one line but %d \"%s\"", error.code, error.text);
    }
    pith_close(m);
    return m != NULL;
}

static int opens(void) { return opens_at(folder); }

#define OPENS() do { if (!opens()) FAIL("%s", error.text); } while (0)
/* The error must name what is at fault; %s in the condition of a table is the case. */
static void refused(const char *what, const char *naming) {
    if (opens()) FAIL("taken: %s", what);
    else if (!strstr(error.text, naming))
        FAIL("%s: \"%s\" does not name %s", what, error.text, naming);
}

static void refused_config(const char *text, const char *naming) {
    write_text("config.json", text);
    refused(text, naming);
    if (!strstr(error.text, naming) || !strstr(error.text, folder))
        FAIL("no file in \"%s\"", error.text);
}

/* ---- what must run --------------------------------------------------------------------------- */

TEST(a_folder_runs) {
    write_whole();
    OPENS();
    CHECK(opens_at(in_folder("")));
    CHECK(opens_at(in_folder("model.safetensors")));
    char old[200];
    REQUIRE(getcwd(old, sizeof old));
    REQUIRE(!chdir(folder));
    CHECK(opens_at("."));
    CHECK(opens_at("model.safetensors"));
    REQUIRE(!chdir(old));
    pith_options opt = { .no_mmap = 1 };
    pith_model *m = pith_open(folder, &opt, &error);
    CHECK(m);
    pith_close(m);
}

TEST(headers_of_any_looks) {
    write_whole();
    how h = plain;
    h.between = " \n\t ";
    write_model("model.safetensors", &h);
    OPENS();
    h = plain;
    h.backwards = 1;
    write_model("model.safetensors", &h);
    OPENS();
    char text[20000];
    size_t n = header_text(&plain, text);
    for (int pad = 0; pad < 9; pad++) { /* the numbers then begin at any address */
        memset(text + strlen(text), 0, 2);
        text[strlen(text)] = ' ';
        write_tensors("model.safetensors", text, n);
        OPENS();
    }
    header_text(&plain, text);
    size_t len = strlen(text);
    memset(text + len, ' ', 9000);
    text[len + 9000] = 0;
    write_tensors("model.safetensors", text, n);
    OPENS();
    header_text(&plain, text);
    write_tensors("model.safetensors", with(text, "model.norm", "mod\\u0065l\\u002enorm"), n);
    OPENS();
    write_tensors("model.safetensors",
                  with(text, "\"shape\":[8],", "\"sh\\u0061pe\":[8],\"more\":[1],"), n);
    OPENS();
    header_text(&plain, text);
    write_tensors("model.safetensors",
                  with(text, "{\"__meta",
                       "{\"empty\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},"
                       "\"rank5\":{\"dtype\":\"F16\",\"shape\":[1,1,1,1,0],\"data_offsets\":[0,0]},"
                       "\"__meta"),
                  n);
    OPENS();
}

TEST(names_without_a_model_and_behind_a_language_model) {
    char text[20000];
    write_whole();
    size_t n = header_text(&plain, text);
    for (char *p; (p = strstr(text, "\"model.")) != NULL;) memmove(p + 1, p + 7, strlen(p + 7) + 1);
    write_tensors("model.safetensors", text, n);
    OPENS();
}

TEST(half_floats) {
    write_whole();
    how h = plain;
    h.size = 2;
    h.dtype = "BF16";
    write_model("model.safetensors", &h);
    OPENS();
    h.dtype = "F16";
    write_model("model.safetensors", &h);
    OPENS();
}

static void write_shards(const char *first, const char *second) {
    how h = plain;
    h.last = 5;
    write_model("model-00001-of-00002.safetensors", &h);
    h.first = 5;
    h.last = WEIGHTS;
    write_model("model-00002-of-00002.safetensors", &h);
    bytes b = { 0 };
    char line[300];
    put(&b, "{\"metadata\":{\"total_size\":1},\"weight_map\":{", 43);
    for (size_t i = 0; i < WEIGHTS; i++) {
        sprintf(line, "%s\"%s\":\"%s\"", i ? "," : "", weights[i].name, i < 5 ? first : second);
        put(&b, line, strlen(line));
    }
    put(&b, "}}", 2);
    write_bytes("model.safetensors.index.json", b.p, b.n);
    free(b.p);
}

TEST(shards) {
    clear_folder();
    write_text("config.json", config);
    const char *one = "model-00001-of-00002.safetensors", *two = "model-00002-of-00002.safetensors";
    write_shards(one, two);
    OPENS();
    CHECK(opens_at(in_folder(two)));
    write_shards("model-00001-of-00002\\u002esafetensors", two);
    OPENS();
    static const char *const outside[] = {
        "../../etc/passwd", "/etc/passwd",        "..", ".", "", "a/../b", "x\\\\y",
        "a\\u0000b",        "no-such.safetensors"
    };
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        write_shards(one, outside[i]);
        refused(outside[i], i < 8 ? "model.safetensors.index.json: weight_map names" : "no-such");
    }
    write_shards(two, one);
    refused("shards changed about", "has no tensor");
    write_shards(one, two);
    unlink(in_folder(two));
    refused("a shard missing", two);
    static const char *const bad[] = { "[]",
                                       "{}",
                                       "{\"weight_map\":[]}",
                                       "{\"weight_map\":{\"a\":5}}",
                                       "{\"weight_map\":{}}",
                                       "{\"weight_map\":{\"a\":null}}",
                                       "{" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_text("model.safetensors.index.json", bad[i]);
        refused(bad[i], i == 4 ? "embed_tokens" : "model.safetensors.index.json");
    }
    unlink(in_folder("model.safetensors.index.json"));
    refused("neither file nor index", "no model.safetensors.index.json");
}

/* ---- headers that must not run --------------------------------------------------------------- */

TEST(header_lengths) {
    write_whole();
    char text[20000];
    size_t n = header_text(&plain, text), len = strlen(text);
    static const uint64_t bad[] = {
        0, 1, 7, 100000001, (uint64_t)1 << 62, (uint64_t)1 << 63, UINT64_MAX, UINT64_MAX - 7
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad + 4; i++) {
        uint64_t length = i < 8     ? bad[i]
                          : i == 8  ? len - 1
                          : i == 9  ? len + 1
                          : i == 10 ? len + n + 1
                                    : len + n;
        bytes b = { 0 };
        put_u64(&b, length);
        put(&b, text, len);
        for (size_t k = 0; k < n / 4; k++) put_f32(&b, 0.5f);
        write_bytes("model.safetensors", b.p, b.n);
        free(b.p);
        refused("a header length", "model.safetensors");
    }
    for (size_t i = 0; i < 16; i++) { /* shorter than the length itself, or than its header */
        write_bytes("model.safetensors", "\x08\0\0\0\0\0\0\0{       ", i);
        refused("a short file", "model.safetensors");
    }
}

TEST(header_entries) {
    static const struct {
        const char *from, *to, *naming;
    } cases[] = {
        { "\"F32\"", "\"I32\"", "dtype" },
        { "\"F32\"", "\"F64\"", "data_offsets" },
        { "\"F32\"", "\"F16\"", "data_offsets" },
        { "\"F32\"", "32", "dtype" },
        { "\"F32\"", "null", "dtype" },
        { "\"F32\"", "\"\"", "dtype" },
        { "\"F32\"", "\"F32x\"", "dtype" },
        { "\"dtype\":\"F32\",", "", "dtype" },
        { "\"dtype\":", "\"dtype\":\"F32\",\"dtype\":", "dtype" },
        { "[16, 8]", "[16, -8]", "shape" },
        { "[16, 8]", "[16, 8.0]", "shape" },
        { "[16, 8]", "[16, 1.5]", "shape" },
        { "[16, 8]", "[16, 18446744073709551616]", "shape" },
        { "[16, 8]", "[16, 18446744073709551624]", "shape" },
        { "[16, 8]", "[16, 4294967304]", "data_offsets" },
        { "[16, 8]", "[16, 1e400]", "shape" },
        { "[16, 8]", "[16, null]", "shape" },
        { "[16, 8]", "[[16], 8]", "shape" },
        { "[16, 8]", "[16, \"8\"]", "shape" },
        { "[16, 8]", "null", "shape" },
        { "[16, 8]", "128", "shape" },
        { "[16, 8]", "{}", "shape" },
        { "[16, 8]", "[4611686018427387904, 4, 32]", "shape" },
        { "[16, 8]", "[4294967296, 4294967296, 128]", "shape" },
        { "[16, 8]", "[9223372036854775807, 9223372036854775807]", "shape" },
        { "[16, 8]", "[]", "data_offsets" },
        { "[16, 8]", "[128]", "embedding" },
        { "[16, 8]", "[8, 16]", "vocab_size" },
        { "[16, 8]", "[1,1,1,1,128]", "embed_tokens" },
        { "[16, 8]", "[2, 64]", "vocab_size" },
        { "\"shape\":[16, 8],", "", "shape" },
        { "[16, 8],", "[16, 8],\"shape\":[16, 8],", "shape" },
        { "[0,512]", "[512,0]", "data_offsets" },
        { "[0,512]", "[-4,508]", "data_offsets" },
        { "[0,512]", "[0]", "data_offsets" },
        { "[0,512]", "[]", "data_offsets" },
        { "[0,512]", "[0,512,1024]", "data_offsets" },
        { "[0,512]", "[1,513]", "begins at" },
        { "[0,512]", "[0,18446744073709551616]", "data_offsets" },
        { "[0,512]", "[0,512.0]", "data_offsets" },
        { "[0,512]", "[9223372036854775300,9223372036854775807]", "data_offsets" },
        { "[0,512]", "[4,516]", "begins at" },
        { "[0,512]", "[0,511]", "data_offsets" },
        { "[0,512]", "\"0,512\"", "data_offsets" },
        { "[0,512]", "[544,1056]", "begins at" },
        { ",\"data_offsets\":[0,512]", "", "data_offsets" },
        { "{\"format\":\"pt\"}", "{\"format\":5}", "__metadata__" },
        { "{\"format\":\"pt\"}", "\"pt\"", "__metadata__" },
        { "{\"format\":\"pt\"}", "{},\"__metadata__\":{}", "__metadata__" },
        { "\"model.norm.weight\"", "\"model.layers.0.input_layernorm.weight\"", "comes twice" },
        { "\"model.norm.weight\"", "\"norm.weight\":5,\"model.norm.weight\"", "norm.weight" },
        { "}}", "}},", "byte" },
        { "}}", "},}", "byte" },
        { "}}", "}", "byte" },
        { "}}", "}}x", "byte" },
        { "{\"", "[\"", "header" },
        { "{\"", " {\"", "header" },
        { "{\"", "//\n{\"", "header" },
        { "[0,512]", "[NaN,512]", "byte" },
        { "model.norm", "model\\q", "byte" },
        { "model.norm", "model\x01", "byte" },
        { "model.norm", "model\xff", "byte" },
        { "model.norm", "model\xc3\xa9", "model.norm.weight" },
    };
    write_whole();
    char text[20000];
    size_t n = header_text(&plain, text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_tensors("model.safetensors", with(text, cases[i].from, cases[i].to), n);
        refused(cases[i].to, cases[i].naming);
    }
    write_tensors("model.safetensors", text, n + 4);
    refused("bytes behind the last tensor", "last tensor ends");
    write_tensors("model.safetensors", text, n - 4);
    refused("cut by a number", "data_offsets");
    char digits[5100] = "[16, 8";
    memset(digits + 6, '0', 5000);
    strcpy(digits + 5006, "]");
    write_tensors("model.safetensors", with(text, "[16, 8]", digits), n);
    refused("5000 digits", "shape");
}

TEST(each_weight_missing_or_of_another_shape) {
    write_whole();
    char text[20000];
    for (size_t i = 0; i < WEIGHTS; i++) {
        how h = plain;
        h.skip = i;
        write_model("model.safetensors", &h);
        refused(weights[i].name, "no tensor");
        size_t n = header_text(&plain, text);
        char flat[32], name[80], head[20000];
        sprintf(flat, "[2, %zu]", weights[i].count / 2);
        sprintf(name, "\"%s\":", weights[i].name);
        const char *at = strstr(text, name);
        REQUIRE(at);
        sprintf(head, "%.*s%s", (int)(at - text), text, with(at, weights[i].shape, flat));
        write_tensors("model.safetensors", head, n);
        refused(weights[i].name, "need");
    }
    size_t n = header_text(&plain, text);
    write_tensors("model.safetensors",
                  with(text, "layers.0.input", "layers.18446744073709551616.input"), n);
    refused("a layer number that wraps", "no tensor");
    write_tensors("model.safetensors", with(text, "layers.0.input", "layers.00.input"), n);
    refused("a layer number of two digits", "no tensor");
}

/* In the order of their places or not, many tensors take no more than moments. */
TEST(hundred_thousand_tensors) {
    write_whole();
    bytes b = { 0 };
    char line[200], text[20000];
    size_t n = header_text(&plain, text);
    put(&b, "{", 1);
    for (int i = 0; i < 100000; i++)
        put(&b, line,
            (size_t)sprintf(line,
                            "\"x.%d\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},",
                            i * 7919 % 100000));
    put(&b, text + 1, strlen(text + 1));
    put(&b, "", 1);
    clock_t start = clock();
    write_tensors("model.safetensors", (const char *)b.p, n);
    OPENS();
    CHECK((double)(clock() - start) / CLOCKS_PER_SEC < 5); /* also under a sanitizer */
    free(b.p);
}

/* ---- config.json ----------------------------------------------------------------------------- */

TEST(config_fields_of_wrong_types) {
    static const char *const sizes[] = { "hidden_size",         "intermediate_size",
                                         "num_hidden_layers",   "num_attention_heads",
                                         "vocab_size",          "max_position_embeddings",
                                         "num_key_value_heads", "head_dim" };
    static const char *const class_size[] = { "embed_tokens", "gate_proj", "num_hidden_layers",
                                              "o_proj", "vocab_size" }; /* Llama's own do not fit */
    static const char *const wrong[] = { "0",
                                         "-1",
                                         "4294967304",
                                         "4294967297",
                                         "1.5",
                                         "8.0",
                                         "1e400",
                                         "\"8\"",
                                         "\"big\"",
                                         "[8]",
                                         "{}",
                                         "true",
                                         "18446744073709551624",
                                         "2147483648",
                                         "9999999999999999999999",
                                         "1e1" };
    write_whole();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char from[64], to[128];
        const char *at = strstr(config, sizes[i]);
        REQUIRE(at);
        sprintf(from, "%.*s", (int)strcspn(at, ",}"), at);
        for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
            sprintf(to, "%s\": %s", sizes[i], wrong[k]);
            refused_config(with(config, from, to), sizes[i]);
        }
        sprintf(to, "x\": 1");
        if (i < 5) refused_config(with(config, from, to), class_size[i]);
    }
    static const char *const cases[][3] = {
        { "\"llama\"", "\"lama\"", "model_type" },
        { "\"llama\"", "5", "model_type" },
        { "\"model_type\"", "\"x\"", "model_type" },
        { "\"llama\"", "null", "model_type" },
        { "1e-05", "\"x\"", "rms_norm_eps" },
        { "1e-05", "1e400", "rms_norm_eps" },
        { "10000.0", "0", "rope_theta" },
        { "10000.0", "-1", "rope_theta" },
        { "10000.0", "\"1e4\"", "rope_theta" },
        { "10000.0", "1e400", "rope_theta" },
        { "\"silu\"", "\"relu\"", "hidden_act" },
        { "\"silu\"", "\"gelu\"", "hidden_act" },
        { "\"silu\"", "7", "hidden_act" },
        { "true", "1", "tie_word_embeddings" },
        { "true", "false", "lm_head.weight" },
        { "true", "\"yes\"", "tie_word_embeddings" },
        { "\"rope_scaling\": null", "\"rope_scaling\": 5", "rope_scaling" },
        { "\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"alien\", \"factor\": 2}",
          "rope_scaling" },
        { "\"rope_scaling\": null", "\"rope_scaling\": {\"factor\": 2}", "rope_scaling" },
        { "\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"linear\"}", "factor" },
        { "\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 0}",
          "factor" },
        { "\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"linear\", \"factor\": \"2\"}",
          "factor" },
        { "\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8}",
          "low_freq_factor" },
        { "\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"longrope\"}",
          "short_factor" },
        { "\"rope_scaling\": null",
          "\"rope_scaling\": {\"rope_type\": \"longrope\", \"short_factor\": [1], \"long_factor\": "
          "[1, 2]}",
          "short_factor" },
        { "\"rope_scaling\": null",
          "\"rope_scaling\": {\"rope_type\": \"longrope\", \"short_factor\": [1, 1], "
          "\"long_factor\": [1, 0]}",
          "long_factor" },
        { "\"rope_scaling\": null", "\"attention_bias\": true", "bias" },
        { "\"rope_scaling\": null", "\"mlp_bias\": true", "layers.0.mlp.gate_proj.bias" },
        { "\"rope_scaling\": null", "\"use_bidirectional_attention\": true",
          "use_bidirectional_attention" },
        { "\"rope_scaling\": null", "\"attention_bias\": \"no\"", "attention_bias" },
        { "\"rope_scaling\": null", "\"quantization_config\": {\"quant_method\": \"gptq\"}",
          "quantization_config" },
        { "\"rope_scaling\": null", "\"layer_types\": [\"linear_attention\"]", "layer_types" },
        { "\"rope_scaling\": null", "\"layer_types\": [\"full_attention\", \"full_attention\"]",
          "layer_types" },
        { "\"rope_scaling\": null", "\"layer_types\": [\"sliding_attention\"]", "layer_types" },
        { "\"rope_scaling\": null", "\"partial_rotary_factor\": 2", "partial_rotary_factor" },
        { "\"eos_token_id\": 2", "\"eos_token_id\": \"2\"", "eos_token_id" },
        { "\"eos_token_id\": 2", "\"eos_token_id\": [1.5]", "eos_token_id" },
        { "\"head_dim\": 4", "\"head_dim\": 8", "layers.0.self_attn.o_proj" },
        { "\"head_dim\": 4", "\"head_dim\": 2", "layers.0.self_attn.o_proj" },
        { "\"vocab_size\": 16", "\"vocab_size\": 17", "vocab_size" },
        { "heads\": 2", "heads\": 3", "self_attn.o_proj" },
        { "\"hidden_size\": 8", "\"hidden_size\": 16", "embed_tokens" },
        { "layers\": 1", "layers\": 2", "model.layers.1" },
        { "layers\": 1", "layers\": 2147483647", "num_hidden_layers" },
        { "value_heads\": 1", "value_heads\": 2", "self_attn.k_proj" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused_config(with(config, cases[i][0], cases[i][1]), cases[i][2]);
    static const char *const texts[] = { "[]", "5", "\"x\"", "null", "{", "{}}", "{\"a\":NaN}" };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        refused_config(texts[i], "config.json");
    write_text("config.json", "");
    refused("an empty config", "config.json");
    size_t much = 10 << 20;
    char *p = malloc(much);
    REQUIRE(p);
    memset(p, '[', much);
    write_bytes("config.json", p, much);
    refused("10 MB of [", "config.json");
    free(p);
    unlink(in_folder("config.json"));
    refused("no config", "config.json");
    REQUIRE(!symlink("config.json", in_folder("config.json")));
    refused("a link to itself", "config.json");
    unlink(in_folder("config.json"));
    REQUIRE(!mkfifo(in_folder("config.json"), 0600));
    refused("a pipe", "config.json");
    unlink(in_folder("config.json"));
    REQUIRE(!mkdir(in_folder("config.json"), 0700));
    refused("a folder", "config.json");
}

TEST(config_that_must_run) {
    static const char *const cases[][2] = {
        { "{", "\xef\xbb\xbf{" },
        { "\"head_dim\": 4,", "" },
        { "\"head_dim\": 4", "\"head_dim\": null" },
        { "\"silu\"", "\"swish\"" },
        { "\"hidden_act\"", "\"x\"" },
        { "\"rope_theta\"", "\"x\"" },
        { "\"hidden_size\": 8", "\"hidden_size\": 9, \"hidden_size\": 8" },
        { "hidden_size", "h\\u0069dden_size" },
        { "\"eos_token_id\": 2", "\"eos_token_id\": [2, 3, -1, 99999, 4]" },
        { "\"eos_token_id\": 2", "\"eos_token_id\": null" },
        { "\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"default\"}" },
        { "\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2.0}" },
        { "\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}" },
        { "\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4.0, "
                                    "\"original_max_position_embeddings\": 16}" },
        { "\"rope_scaling\": null",
          "\"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 10000.0}" },
        { "\"rope_scaling\": null", "\"attention_bias\": false, \"mlp_bias\": false" },
        { "\"rope_scaling\": null", "\"layer_types\": [\"full_attention\"]" },
        { "\"llama\"", "\"mistral\", \"sliding_window\": 4" },
    };
    write_whole();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text("config.json", with(config, cases[i][0], cases[i][1]));
        if (!opens()) FAIL("%s: %s", cases[i][1], error.text);
    }
    char *p = malloc((10 << 20) + 100); /* a field of 10 MB that nobody reads */
    REQUIRE(p);
    size_t n = (size_t)sprintf(p, "{\"x\":\"");
    memset(p + n, 'y', 10 << 20);
    n += 10 << 20;
    n += (size_t)sprintf(p + n, "\",");
    p = realloc(p, n + sizeof config);
    REQUIRE(p);
    memcpy(p + n, config + 1, sizeof config - 1);
    write_bytes("config.json", p, n + sizeof config - 2);
    OPENS();
    free(p);
}

/* ---- config.json -> keys --------------------------------------------------------------------- */

static pith__store store;

/* The keys of a config, with an embedding of (16, 8) for company. */
static void read_keys(const char *text) {
    char header[400];
    sprintf(header,
            "{\"model.embed_tokens.weight\":{\"dtype\":\"F32\",\"shape\":[16,8],\"data_offsets\":["
            "0,512]},"
            "\"lm_head.weight\":{\"dtype\":\"F32\",\"shape\":[16,8],\"data_offsets\":[512,1024]}}");
    clear_folder();
    write_text("config.json", text);
    write_tensors("model.safetensors", header, 1024);
    pith__store_free(&store);
    store.path = folder;
    if (pith__folder_read(&store, folder, 0, &error)) FAIL("%s: %s", text, error.text);
}

static double number(const char *name) {
    const pith__key *k = pith__store_key(&store, name);
    return k && (k->type == PITH__INT || k->type == PITH__FLOAT) ? k->f : NAN;
}

static int absent(const char *name) { return !pith__store_key(&store, name); }

static int says(const char *name, const char *want) {
    const pith__key *k = pith__store_key(&store, name);
    return k && k->type == PITH__STRING && pith__str_is(k->s, want);
}

static int pattern(const char *name, const char *want) { /* "1101" */
    const pith__key *k = pith__store_key(&store, name);
    if (!k || k->type != PITH__ARRAY || k->n != strlen(want)) return 0;
    for (size_t i = 0; i < k->n; i++)
        if (pith__key_item(k, i) != want[i] - '0') return 0;
    return 1;
}

static const char *shaped(const char *type, const char *more) { /* a config of 6 layers */
    static char text[2000];
    snprintf(
        text, sizeof text,
        "{\"model_type\":\"%s\",\"hidden_size\":8,\"intermediate_size\":12,\"num_hidden_layers\":6,"
        "\"num_attention_heads\":2,\"vocab_size\":16,\"max_position_embeddings\":64,\"rms_norm_"
        "eps\":1e-5,%s}",
        type, more);
    return text;
}

TEST(sizes_become_keys) {
    read_keys(shaped("qwen3", "\"num_key_value_heads\":1,\"tie_word_embeddings\":true"));
    CHECK(says("general.architecture", "qwen3"));
    EQ(number("qwen3.embedding_length"), 8);
    EQ(number("qwen3.block_count"), 6);
    EQ(number("qwen3.feed_forward_length"), 12);
    EQ(number("qwen3.attention.head_count"), 2);
    EQ(number("qwen3.attention.head_count_kv"), 1);
    EQ(number("qwen3.attention.key_length"), 128); /* what the family has when nothing is said */
    EQ(number("qwen3.context_length"), 64);
    NEAR(number("qwen3.attention.layer_norm_rms_epsilon"), 1e-5, 0);
    NEAR(number("qwen3.rope.freq_base"), 10000, 0);
    CHECK(store.rope_half && !store.norm_plus_one);
    CHECK(pattern("qwen3.attention.sliding_window_pattern", "000000"));
    read_keys(shaped("llama", "\"head_dim\":null"));
    EQ(number("llama.attention.key_length"), 4);
    EQ(number("llama.attention.head_count_kv"), 2);
    CHECK(pith__store_tensor(&store, "output.weight"));
    EQ(store.vocab.model, PITH__NONE);
    EQ(store.vocab.bos, -1);
}

TEST(windows_become_keys) {
    read_keys(shaped("mistral", "\"sliding_window\":4"));
    EQ(number("llama.attention.sliding_window"), 4);
    CHECK(pattern("llama.attention.sliding_window_pattern", "111111"));
    read_keys(shaped("mistral", "\"sliding_window\":null"));
    EQ(number("llama.attention.sliding_window"), 0);
    CHECK(pattern("llama.attention.sliding_window_pattern", "000000"));
    read_keys(shaped("phi3", "\"sliding_window\":7"));
    CHECK(pattern("phi3.attention.sliding_window_pattern", "111111"));
    read_keys(shaped("llama", "\"sliding_window\":4,\"use_sliding_window\":false"));
    CHECK(absent("llama.attention.sliding_window"));
    read_keys(shaped("mistral", "\"max_position_embeddings\":9000"));
    EQ(number("llama.attention.sliding_window"), 4096);
    static const char window[] =
        "\"sliding_window\":4,\"max_window_layers\":4,\"use_sliding_window\":%s";
    char more[200];
    sprintf(more, window, "false");
    read_keys(shaped("qwen3", more));
    EQ(number("qwen3.attention.sliding_window"), 0);
    sprintf(more, window, "true");
    read_keys(shaped("qwen3", more));
    EQ(number("qwen3.attention.sliding_window"), 4);
    CHECK(pattern("qwen3.attention.sliding_window_pattern", "000011"));
    read_keys(shaped(
        "qwen3",
        "\"sliding_window\":4,\"use_sliding_window\":true,\"layer_types\":[\"full_attention\","
        "\"sliding_attention\",\"full_attention\",\"full_attention\",\"full_attention\",\"sliding_"
        "attention\"]"));
    CHECK(pattern("qwen3.attention.sliding_window_pattern", "010001"));
    read_keys(shaped("gemma2", "\"sliding_window\":4,\"query_pre_attn_scalar\":16"));
    CHECK(pattern("gemma2.attention.sliding_window_pattern", "101010"));
    NEAR(number("gemma2.attention.scale"), 0.25, 0);
    NEAR(number("gemma2.attn_logit_softcapping"), 50, 0);
    NEAR(number("gemma2.final_logit_softcapping"), 30, 0);
    EQ(number("gemma2.attention.key_length"), 256);
    CHECK(store.norm_plus_one);
    read_keys(shaped("gemma2", "\"attn_logit_softcapping\":null,\"final_logit_softcapping\":20"));
    NEAR(number("gemma2.attn_logit_softcapping"), 0, 0);
    NEAR(number("gemma2.final_logit_softcapping"), 20, 0);
    read_keys(shaped("gemma3_text", "\"sliding_window\":4"));
    CHECK(pattern("gemma3.attention.sliding_window_pattern", "111110"));
    NEAR(number("gemma3.rope.freq_base"), 1e6, 0);
    NEAR(number("gemma3.rope.freq_base_swa"), 1e4, 0);
    NEAR(number("gemma3.final_logit_softcapping"), 0, 0);
    read_keys(shaped("gemma3_text", "\"sliding_window\":4,\"sliding_window_pattern\":3"));
    CHECK(pattern("gemma3.attention.sliding_window_pattern", "110110"));
    read_keys(shaped("smollm3", "\"x\":0"));
    CHECK(pattern("pith.no_rope_layers", "000100"));
    NEAR(number("smollm3.rope.freq_base"), 2e6, 0);
    read_keys(shaped("smollm3", "\"no_rope_layers\":[1,0,1,1,0,1,1,1]"));
    CHECK(pattern("pith.no_rope_layers", "010010"));
    read_keys(
        shaped("smollm3",
               "\"no_rope_layer_interval\":2,\"use_sliding_window\":true,\"sliding_window\":9"));
    CHECK(pattern("pith.no_rope_layers", "010101"));
    CHECK(pattern("smollm3.attention.sliding_window_pattern", "010101"));
}

TEST(gemma3_with_a_nested_text_config) {
    read_keys("{\"architectures\":[\"Gemma3ForConditionalGeneration\"],\"model_type\":\"gemma3\","
              "\"eos_token_id\":[1,7],"
              "\"text_config\":{\"hidden_size\":8,\"intermediate_size\":12,\"model_type\":\"gemma3_"
              "text\",\"num_hidden_layers\":2,"
              "\"rope_scaling\":{\"factor\":8.0,\"rope_type\":\"linear\"},\"sliding_window\":1024,"
              "\"vocab_size\":16},"
              "\"vision_config\":{\"hidden_size\":1152}}");
    CHECK(says("general.architecture", "gemma3"));
    EQ(number("gemma3.attention.head_count"), 8);
    EQ(number("gemma3.attention.head_count_kv"), 4);
    EQ(number("gemma3.attention.key_length"), 256);
    EQ(number("gemma3.context_length"), 131072);
    CHECK(says("gemma3.rope.scaling.type", "linear"));
    NEAR(number("gemma3.rope.scaling.factor"), 8, 0);
    NEAR(number("gemma3.attention.scale"), 1 / 16.0, 0);
    EQ(store.vocab.n_end, 2);
    EQ(store.vocab.end[1], 7);
    read_keys(shaped(
        "gemma3_text",
        "\"rope_parameters\":{\"sliding_attention\":{\"rope_type\":\"default\",\"rope_theta\":5000}"
        ","
        "\"full_attention\":{\"rope_type\":\"linear\",\"factor\":2.0,\"rope_theta\":70000}}"));
    NEAR(number("gemma3.rope.freq_base"), 70000, 0);
    NEAR(number("gemma3.rope.freq_base_swa"), 5000, 0);
    NEAR(number("gemma3.rope.scaling.factor"), 2, 0);
}

TEST(multipliers_and_experts_become_keys) {
    read_keys(shaped("granite", "\"attention_multiplier\":0.5,\"embedding_multiplier\":12,"
                                "\"residual_multiplier\":0.22,\"logits_scaling\":8"));
    NEAR(number("granite.attention.scale"), 0.5, 0);
    NEAR(number("granite.embedding_scale"), 12, 0);
    NEAR(number("granite.residual_scale"), 0.22, 0);
    NEAR(number("granite.logit_scale"), 8, 0);
    read_keys(shaped("qwen3_moe", "\"num_experts\":4,\"num_experts_per_tok\":2,\"moe_intermediate_"
                                  "size\":6,\"norm_topk_prob\":true"));
    CHECK(says("general.architecture", "qwen3moe"));
    EQ(number("qwen3moe.expert_count"), 4);
    EQ(number("qwen3moe.expert_used_count"), 2);
    EQ(number("qwen3moe.expert_feed_forward_length"), 6);
    EQ(number("qwen3moe.expert_weights_norm"), 1);
    EQ(number("qwen3moe.attention.key_length"), 4);
    read_keys(
        shaped("qwen3_moe",
               "\"num_local_experts\":3,\"num_experts_per_tok\":2,\"moe_intermediate_size\":6"));
    EQ(number("qwen3moe.expert_count"), 3);
    EQ(number("qwen3moe.expert_weights_norm"), 0);
}

TEST(rotations_become_keys) {
    static const char *const old[] = { "rope_scaling", "type" }, *const new[] = { "rope_parameters",
                                                                                  "rope_type" };
    for (int spelling = 0; spelling < 2; spelling++) {
        const char *const *s = spelling ? new : old;
        char more[300];
        sprintf(more, "\"rope_theta\":5000,\"%s\":{\"%s\":\"linear\",\"factor\":2.5}", s[0], s[1]);
        read_keys(shaped("llama", more));
        CHECK(says("llama.rope.scaling.type", "linear"));
        NEAR(number("llama.rope.scaling.factor"), 2.5, 0);
        NEAR(number("llama.rope.freq_base"), 5000, 0);
        sprintf(more,
                "\"%s\":{\"%s\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":32,"
                "\"rope_theta\":70000}",
                s[0], s[1]);
        read_keys(shaped("qwen3", more));
        CHECK(says("qwen3.rope.scaling.type", "yarn"));
        NEAR(number("qwen3.rope.scaling.factor"), 4, 0);
        EQ(number("qwen3.rope.scaling.original_context_length"), 32);
        NEAR(number("qwen3.rope.freq_base"), 70000, 0);
        CHECK(absent("qwen3.rope.scaling.attn_factor"));
        sprintf(more, "\"%s\":{\"%s\":\"dynamic\",\"factor\":4.0}", s[0], s[1]);
        read_keys(shaped("llama", more));
        CHECK(absent("llama.rope.scaling.type"));
    }
    read_keys(shaped("qwen3", "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4.0,\"attention_"
                              "factor\":1.0,\"beta_fast\":16}"));
    NEAR(number("qwen3.rope.scaling.attn_factor"), 1 / (0.1 * log(4) + 1), 1e-15);
    NEAR(number("qwen3.rope.scaling.yarn_beta_fast"), 16, 0);
    EQ(number("qwen3.rope.scaling.original_context_length"), 64);
    read_keys(shaped("phi3", "\"partial_rotary_factor\":0.5"));
    EQ(number("phi3.rope.dimension_count"), 2);
}

static const float *factors(const char *name, size_t n) {
    const pith__tensor *t = pith__store_tensor(&store, name);
    static float y[64];
    if (!t || t->rows != 1 || t->cols != n || t->format->id != PITH__F32) {
        FAIL("no tensor %s of %zu", name, n);
        return y;
    }
    memcpy(y, t->data, n * sizeof *y);
    return y;
}

TEST(rotations_become_tensors) {
    read_keys(shaped("llama", "\"head_dim\":16,\"rope_theta\":500000,\"rope_scaling\":{\"rope_"
                              "type\":\"llama3\",\"factor\":32.0,"
                              "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,\"original_max_"
                              "position_embeddings\":64}"));
    const float *y = factors("rope_freqs.weight", 8);
    NEAR(y[0], 1, 0);  /* turns 64 / 2 pi times: fast, stays */
    NEAR(y[7], 32, 0); /* slow */
    double turns = 64 * pow(500000, -2.0 / 16) / (2 * 3.14159265358979323846),
           blend = (turns - 1) / 3;
    CHECK(blend > 0 && blend < 1);
    NEAR(y[1], 1 / ((1 - blend) / 32 + blend), 1e-6);
    CHECK(absent("llama.rope.scaling.type"));
    static const char *const names[] = { "su", "longrope", "yarn" }; /* the first files said yarn */
    for (int i = 0; i < 3; i++) {
        char more[300];
        sprintf(more,
                "\"original_max_position_embeddings\":16,\"rope_scaling\":{\"type\":\"%s\",\"short_"
                "factor\":[1.0,1.25],"
                "\"long_factor\":[2,40.5]}",
                names[i]);
        read_keys(shaped("phi3", more));
        CHECK(says("phi3.rope.scaling.type", "longrope"));
        EQ(number("phi3.rope.scaling.original_context_length"), 16);
        NEAR(number("phi3.rope.scaling.attn_factor"), sqrt(1 + log(4) / log(16)), 1e-15);
        NEAR(factors("rope_factors_short.weight", 2)[1], 1.25, 0);
        NEAR(factors("rope_factors_long.weight", 2)[1], 40.5, 0);
    }
}

TEST(generation_config) {
    clear_folder();
    read_keys(shaped("llama", "\"eos_token_id\":3"));
    EQ(store.vocab.n_end, 1);
    EQ(store.vocab.end[0], 3);
    CHECK(absent("pith.temperature"));
    size_t n_plain = store.n_key;
    static const struct {
        const char *text, *naming; /* NULL: runs */
        double temperature;
    } cases[] = {
        { "{\"eos_token_id\":[5,6],\"temperature\":0.6,\"top_k\":20,\"top_p\":0.95,\"min_p\":0,"
          "\"repetition_penalty\":1.1,\"do_sample\":true}",
          NULL, 0.6 },
        { "{\"eos_token_id\":[5,6],\"temperature\":1}", NULL, 1 },
        { "{\"eos_token_id\":[5,6],\"do_sample\":false}", NULL, 0 },
        { "{\"eos_token_id\":\"5\"}", "eos_token_id", 0 },
        { "[]", "object", 0 },
        { "{", "byte", 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text("generation_config.json", cases[i].text);
        pith__store_free(&store);
        store.path = folder;
        int code = pith__folder_read(&store, folder, 0, &error);
        if (!cases[i].naming && code) FAIL("%s: %s", cases[i].text, error.text);
        if (cases[i].naming && (!code || !strstr(error.text, cases[i].naming) ||
                                !strstr(error.text, "generation_config.json")))
            FAIL("%s: %d %s", cases[i].text, code, error.text);
        if (code) continue;
        EQ(store.vocab.n_end, 2);
        EQ(store.vocab.end[0], 5);
        NEAR(number("pith.temperature"), cases[i].temperature, 0);
        if (i == 0) {
            NEAR(number("pith.top_k"), 20, 0);
            NEAR(number("pith.top_p"), 0.95, 0);
            NEAR(number("pith.min_p"), 0, 0);
            NEAR(number("pith.repeat_penalty"), 1.1, 0);
        }
    }
    static const char *const senseless[][2] = { /* advice does not stop a model */
        { "\"temperature\":\"hot\"", "temperature" }, { "\"temperature\":-1", "temperature" },
        { "\"top_p\":1e400", "top_p" }, { "\"top_p\":0", "top_p" }, { "\"top_p\":2", "top_p" },
        { "\"top_k\":[]", "top_k" }, { "\"top_k\":-2", "top_k" }, { "\"min_p\":-0.5", "min_p" },
        { "\"repetition_penalty\":0", "repetition_penalty" },
    };
    for (size_t i = 0; i < sizeof senseless / sizeof *senseless; i++) {
        char text[100];
        sprintf(text, "{\"do_sample\":1,\"eos_token_id\":5,%s}", senseless[i][0]);
        write_text("generation_config.json", text);
        pith__store_free(&store);
        store.path = folder;
        EQ(pith__folder_read(&store, folder, 0, &error), PITH_OK);
        if (!store.note || !strstr(store.note->text, senseless[i][1]) ||
            !strstr(store.note->text, "generation_config.json"))
            FAIL("%s: no note", text);
        EQ(store.n_key, n_plain);
    }
    write_text("generation_config.json", "{\"top_k\":-1,\"eos_token_id\":null}");
    pith__store_free(&store);
    store.path = folder;
    EQ(pith__folder_read(&store, folder, 0, &error), PITH_OK);
    CHECK(!store.note && !absent("pith.top_k"));
    NEAR(number("pith.top_k"), 0, 0);
}

/* ---- tokenizer.json -------------------------------------------------------------------------- */

static const char byte_level[] =
    "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\n"
    " \"added_tokens\":[{\"id\":7,\"content\":\"<s>\",\"single_word\":false,\"lstrip\":false,"
    "\"rstrip\":false,\"normalized\":false,\"special\":true},\n"
    "  "
    "{\"id\":8,\"content\":\"</"
    "s>\",\"special\":true},{\"id\":9,\"content\":\"<t>\",\"lstrip\":true,\"special\":false}],\n"
    " \"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
    "\"trim_offsets\":true,\"use_regex\":true},\n"
    " \"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\"},\n"
    " \"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_"
    "prefix\":\"\",\"end_of_word_suffix\":\"\",\n"
    "  \"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":false,\n"
    "  "
    "\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"\xc4\xa0\":3,\"ab\":4,\"\\u0120a\":5,\"abc\":6},"
    "\"merges\":[\"a b\",\"\xc4\xa0 a\",\"ab c\"]}}";

/* The tokens of text as a string "5 4", with the special ones in text taken as such. */
static const char *tokens(const char *text, unsigned flags) {
    static char line[400];
    pith_options opt = { .n_threads = 1 };
    pith_model *m = pith_open(folder, &opt, &error);
    pith_token t[64];
    int n = m ? pith_encode(m, text, strlen(text), flags, t, 64) : -1;
    sprintf(line, "%s", m ? "" : error.text);
    for (int i = 0; i < n; i++) sprintf(line + strlen(line), "%s%d", i ? " " : "", t[i]);
    pith_close(m);
    return line;
}

static void tokens_are(const char *text, unsigned flags, const char *want) {
    const char *got = tokens(text, flags);
    if (strcmp(got, want)) FAIL("\"%s\" is \"%s\", want \"%s\"", text, got, want);
}

TEST(byte_level_tokenizer) {
    write_whole();
    write_text("tokenizer.json", byte_level);
    tokens_are("abc aab", 0, "6 5 4");
    tokens_are("ab<s>", PITH_SPECIAL | PITH_BOS, "4 7");
    tokens_are("ab <t>c", 0, "4 9 2"); /* lstrip takes the space along */
    write_text("tokenizer.json", with(with(with(byte_level, "\"a b\"", "[\"a\",\"b\"]"),
                                           "\"\xc4\xa0 a\"", "[\"\xc4\xa0\",\"a\"]"),
                                      "\"ab c\"", "[\"ab\",\"c\"]"));
    tokens_are("abc aab", 0, "6 5 4");
    write_text("tokenizer.json",
               with(byte_level, "\"ab c\"", "\"b c\"")); /* its result is no piece */
    refused("a merge to nowhere", "merge");
    write_text("tokenizer.json", with(byte_level, "\"merges\":[", "\"merges\":[\"z a\","));
    refused("a merge from nowhere", "merge");
    write_text("tokenizer.json", with(with(byte_level, ",\"ab c\"", ""), "\"ignore_merges\":false",
                                      "\"ignore_merges\":true"));
    tokens_are("abc aab", 0, "6 5 4");
    write_text("tokenizer.json",
               with(byte_level, "\"post_processor\":null",
                    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":["
                    "{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\","
                    "\"type_id\":0}},{\"SpecialToken\":{\"id\":\"</s>\",\"type_id\":0}}],"
                    "\"pair\":[],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[7],"
                    "\"tokens\":[\"<s>\"]}}}"));
    tokens_are("ab", PITH_BOS | PITH_EOS, "7 4 8");
    write_text("tokenizer_config.json", "{\"add_bos_token\":false,\"add_eos_token\":null}");
    tokens_are("ab", PITH_BOS | PITH_EOS, "4 8");
    write_text("tokenizer.json", byte_level);
    write_text("tokenizer_config.json", "{\"add_bos_token\":true,\"bos_token\":{\"content\":\"<s>"
                                        "\",\"special\":true},\"eos_token\":\"</s>\"}");
    tokens_are("ab", PITH_BOS | PITH_EOS, "7 4");
    write_text("tokenizer_config.json", "{\"add_bos_token\":true}");
    tokens_are("ab", PITH_BOS, "4");
    write_text("special_tokens_map.json",
               "{\"bos_token\":\"<s>\",\"eos_token\":{\"content\":\"</s>\"}}");
    write_text("tokenizer_config.json", "{\"add_bos_token\":true,\"bos_token\":null}");
    tokens_are("ab", PITH_BOS, "7 4");
}

/* Token 0 may end texts; of two tokens of a name the added one is meant. */
TEST(special_tokens_by_name) {
    write_whole();
    write_text("tokenizer.json", byte_level);
    write_text("tokenizer_config.json", "{\"add_eos_token\":true,\"eos_token\":\"a\"}");
    tokens_are("b", PITH_EOS, "1 0");
    pith__store_free(&store);
    store.path = folder;
    REQUIRE(!pith__folder_read(&store, folder, 0, &error));
    int ends = 0;
    for (int i = 0; i < store.vocab.n_end; i++) ends += store.vocab.end[i] == 0;
    EQ(ends, 1);
    write_text("tokenizer.json", with(with(byte_level, "\"id\":7", "\"id\":10"), "\"abc\":6", "\"abc\":6,\"<s>\":7"));
    write_text("tokenizer_config.json", "{\"add_bos_token\":true,\"bos_token\":\"<s>\"}");
    tokens_are("b", PITH_BOS, "10 1");
}

static const char *known_pre(const char *pre_tokenizer) {
    static char name[32];
    char text[20000];
    sprintf(text, "\"pre_tokenizer\":%s", pre_tokenizer);
    write_text("tokenizer.json",
               with(byte_level,
                    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                    "\"trim_offsets\":true,\"use_regex\":true}",
                    text));
    pith__store_free(&store);
    store.path = folder;
    int code = pith__folder_read(&store, folder, 0, &error);
    snprintf(name, sizeof name, "%.*s", code ? 1 : (int)store.vocab.pre.n,
             code                ? "!"
             : store.vocab.pre.p ? store.vocab.pre.p
                                 : "");
    return name;
}

#define BYTES "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"
#define SPLIT(regex)                                                                               \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex                                          \
    "\"},\"behavior\":\"Isolated\",\"invert\":false}"
#define SEQUENCE(...) "{\"type\":\"Sequence\",\"pretokenizers\":[" __VA_ARGS__ "]}"
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"

TEST(regexes_are_known_by_their_text) {
    static const char *const cases[][2] = {
        { "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}", "gpt-2" },
        { SEQUENCE("{\"type\":\"Digits\",\"individual_digits\":true},{\"type\":\"ByteLevel\",\"add_"
                   "prefix_space\":false}"),
          "smollm" },
        { SEQUENCE(SPLIT(CONTRACTIONS "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| "
                                      "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|"
                                      "\\\\s+(?!\\\\S)|\\\\s+") "," BYTES),
          "llama-bpe" },
        { SEQUENCE(SPLIT("'(?i:[sdmt]|ll|ve|re)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?+\\\\p{L}+|\\\\p{N}{"
                         "1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]++[\\\\r\\\\n]*|"
                         "\\\\s*[\\\\r\\\\n]|\\\\s+(?!\\\\S)|\\\\s+") "," BYTES),
          "llama-bpe" },
        { SEQUENCE("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" CONTRACTIONS
                   "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+"
                   "[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},\"behavior\":"
                   "\"Removed\",\"invert\":true}," BYTES),
          "qwen2" },
        { SEQUENCE(SPLIT("[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{"
                         "M}]*[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+|"
                         "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{"
                         "M}]+[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*|\\\\p{N}| ?"
                         "[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n/"
                         "]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+") "," BYTES),
          "tekken" },
        { SEQUENCE(
              SPLIT("[\\r\\n]") "," SPLIT("\\\\s?\\\\p{L}+") "," SPLIT("\\\\s?\\\\p{P}+") "," SPLIT(
                  "[\\u4e00-\\u9fa5\\u0800-\\u4e00\\uac00-\\ud7ff]+") ",{\"type\":\"Digits\","
                                                                      "\"individual_digits\":true}"
                                                                      "," BYTES),
          "deepseek-coder" },
        { SEQUENCE(SPLIT("a+") "," BYTES), "!" },
        { SEQUENCE(SPLIT("(a+)+b") "," BYTES), "!" },
        { BYTES, "!" },
        { "null", "" },
        { SPLIT("\\\\p{N}"), "!" },
        { "{\"type\":\"Whitespace\"}", "!" },
        { "{\"type\":5}", "!" },
        { "5", "!" },
        { SEQUENCE("5"), "!" },
        { "{\"type\":\"Sequence\"}", "!" },
        { "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}", "!" },
        { "{\"type\":\"ByteLevel\"}", "!" },
        { "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\p{N}\"},\"behavior\":\"Removed\","
          "\"invert\":false}",
          "!" },
        { "{\"type\":\"Metaspace\",\"replacement\":\"_\"}", "!" },
        { SEQUENCE(BYTES "," BYTES), "!" },
        { SEQUENCE(BYTES "," SPLIT(CONTRACTIONS)), "!" },
        { SEQUENCE("{\"type\":\"ByteLevel\",\"add_prefix_space\":false},{\"type\":\"Digits\"}"), "!" },
        { "{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":"
          "\"sometimes\"}",
          "!" },
    };
    write_whole();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *got = known_pre(cases[i][0]);
        if (strcmp(got, cases[i][1]))
            FAIL("%s is %s, want %s (%s)", cases[i][0], got, cases[i][1], error.text);
        if (*got == '!' && !strstr(error.text, "tokenizer.json"))
            FAIL("no file in \"%s\"", error.text);
    }
    CHECK(!strcmp(known_pre(SEQUENCE(SPLIT("[abc]+") "," BYTES)), "!") &&
          strstr(error.text, "[abc]+"));
}

static const char block[] =
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"special\":true},{\"id\":1,\"content\":\"<"
    "s>\",\"special\":true},{\"id\":2,\"content\":\"</s>\",\"special\":true}],"
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"
    "\"\xe2\x96\x81\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},"
    "\"content\":\"\xe2\x96\x81\"}]},\"pre_tokenizer\":null,\"post_processor\":{\"type\":"
    "\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\","
    "\"ids\":[1],\"tokens\":[\"<s>\"]}}},"
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{"
    "\"String\":\"\xe2\x96\x81\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},"
    "{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]},"
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":true,"
    "\"vocab\":{\"<unk>\":0,\"<s>\":1,\"</s>\":2,\"<0x0A>\":3,\"<0x62>\":4,"
    "\"\xe2\x96\x81\":5,\"a\":6,\"\xe2\x96\x81"
    "a\":7,\"aa\":8,\"\xe2\x96\x81"
    "aa\":9},\"merges\":[\"a a\",\"\xe2\x96\x81 a\",\"\xe2\x96\x81 aa\"]}}";

TEST(metaspace_tokenizer) {
    write_whole();
    write_text("tokenizer.json", block);
    tokens_are("a aa\n", PITH_BOS, "1 7 9 3");
    tokens_are("ba", 0, "5 4 6");
    tokens_are("z", 0, "5 0");
    write_text("tokenizer.json", with(block, "\"byte_fallback\":true,", ""));
    tokens_are("a\nb", 0, "7 0"); /* without a word of it there is none, and unknown ones are fused */
    /* Gemma: no space in front, a pre_tokenizer that finds nothing, and the tab under the id of its
     * byte */
    write_text("tokenizer.json",
               with(with(with(block,
                              "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\","
                              "\"prepend\":\"\xe2\x96\x81\"},",
                              ""),
                         "\"content\":\"\xe2\x96\x81\"}]}", "\"content\":\"\xe2\x96\x81\"}"),
                    "\"pre_tokenizer\":null",
                    "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\" "
                    "\"},\"behavior\":\"MergedWithPrevious\",\"invert\":false}"));
    tokens_are("a aa\n", PITH_BOS, "1 6 9 3");
    /* Metaspace */
    char bare[sizeof block];
    strcpy(
        bare,
        with(block,
             "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"
             "\"\xe2\x96\x81\"},"
             "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"}]}",
             "null"));
    static const char *const schemes[][2] = {
        { "\"prepend_scheme\":\"first\",\"split\":false", "7 9" },
        { "\"prepend_scheme\":\"always\"", "7 9" },
        { "\"prepend_scheme\":\"never\",\"split\":true", "6 9" },
        { "\"add_prefix_space\":true", "7 9" },
        { "\"add_prefix_space\":false", "6 9" }
    };
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        char text[300];
        sprintf(text,
                "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",%s}",
                schemes[i][0]);
        write_text("tokenizer.json", with(bare, "\"pre_tokenizer\":null", text));
        tokens_are("a aa", 0, schemes[i][1]);
    }
    write_text("tokenizer.json", with(block, "\"pre_tokenizer\":null",
                                      "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\"}"));
    refused("two steps that prepend", "normalizer");
    write_text("tokenizer.json", with(block, "\"pattern\":{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"}]",
                                      "\"pattern\":{\"String\":\"x\"},\"content\":\"\xe2\x96\x81\"}]"));
    refused("another Replace", "normalizer");
    write_text("tokenizer.json", with(block, ",{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"}]}", "]}"));
    refused("Prepend without Replace", "Replace beside Prepend");
    /* a merge across two words counts only where they are not split */
    for (int split = 0; split < 2; split++) {
        char text[200];
        sprintf(text, "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\","
                      "\"split\":%s}", split ? "true" : "false");
        write_text("tokenizer.json", with(with(with(bare, "\"pre_tokenizer\":null", text),
                                               "\"merges\":[", "\"merges\":[\"a \xe2\x96\x81" "a\","),
                                          "\"aa\":8,", "\"aa\":8,\"a\xe2\x96\x81" "a\":10,"));
        tokens_are("ba a", 0, split ? "5 4 6 7" : "5 4 10");
    }
}

TEST(tokenizers_that_must_not_run) {
    static const struct {
        const char *from, *to, *naming;
    } cases[] = {
        { "\"a\":0", "\"a\":-1", "model.vocab" },
        { "\"a\":0", "\"a\":16", "model.vocab" },
        { "\"a\":0", "\"a\":4294967296", "model.vocab" },
        { "\"a\":0", "\"a\":1.5", "model.vocab" },
        { "\"a\":0", "\"a\":\"5\"", "model.vocab" },
        { "\"a\":0", "\"a\":null", "model.vocab" },
        { "\"a\":0", "\"a\":18446744073709551616", "model.vocab" },
        { "\"a\":0", "\"a\":[0]", "model.vocab" },
        { "\"id\":7", "\"id\":-1", "added_tokens" },
        { "\"id\":7", "\"id\":\"7\"", "added_tokens" },
        { "\"id\":7", "\"id\":7.0", "added_tokens" },
        { "\"id\":7,", "", "added_tokens" },
        { "\"content\":\"<s>\"", "\"content\":5", "content" },
        { "\"content\":\"<s>\",", "", "content" },
        { "\"single_word\":false", "\"single_word\":\"yes\"", "single_word" },
        { "\"normalized\":false", "\"normalized\":2", "normalized" },
        { "\"lstrip\":false", "\"lstrip\":1", "lstrip" },
        { "\"special\":true", "\"special\":\"yes\"", "special" },
        { "\"type\":\"BPE\"", "\"type\":\"Unigram\"", "model.type" },
        { "\"type\":\"BPE\"", "\"type\":5", "model.type" },
        { "\"dropout\":null", "\"dropout\":0.1", "dropout" },
        { "\"continuing_subword_prefix\":\"\"", "\"continuing_subword_prefix\":\"##\"",
          "continuing_subword_prefix" },
        { "\"end_of_word_suffix\":\"\"", "\"end_of_word_suffix\":\"</w>\"", "end_of_word_suffix" },
        { "\"byte_fallback\":false", "\"byte_fallback\":0", "byte_fallback" },
        { "\"ignore_merges\":false", "\"ignore_merges\":\"\"", "ignore_merges" },
        { "\"merges\":[", "\"merges\":5,\"x\":[", "merges" },
        { "\"merges\":[", "\"x\":[", "merges" },
        { "\"a b\"", "\"ab\"", "merges" },
        { "\"a b\"", "\"a b c\"", "merges" },
        { "\"a b\"", "\"\"", "merges" },
        { "\"a b\"", "[\"a\"]", "merges" },
        { "\"a b\"", "[\"a\",\"b\",\"c\"]", "merges" },
        { "\"a b\"", "5", "merges" },
        { "\"a b\"", "[\"a\",5]", "merges" },
        { "\"a b\"", "\" b\"", "merge" },
        { "\"a b\"", "\"a \"", "merge" },
        { "\"vocab\":{", "\"x\":{", "model.vocab" },
        { "\"vocab\":{", "\"vocab\":[],\"x\":{", "model.vocab" },
        { "\"model\":{", "\"x\":{", "model" },
        { "\"model\":{", "\"model\":[],\"x\":{", "model" },
        { "\"normalizer\":null", "\"normalizer\":{\"type\":\"Lowercase\"}", "Lowercase" },
        { "\"normalizer\":null",
          "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":"
          "\"Strip\"}]}",
          "Strip" },
        { "\"normalizer\":null", "\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"x\"}",
          "normalizer" },
        { "\"normalizer\":null", "\"normalizer\":\"NFC\"", "normalizer" },
        { "\"normalizer\":null",
          "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"_\"}",
          "normalizer" },
        { "\"post_processor\":null", "\"post_processor\":{\"type\":\"BertProcessing\"}",
          "post_processor" },
        { "\"post_processor\":null",
          "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}", "post_processor" },
        { "\"post_processor\":null",
          "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{"
          "\"id\":\"<x>\"}},{\"Sequence\":{\"id\":\"A\"}}]}",
          "post_processor" },
        { "\"post_processor\":null",
          "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{"
          "\"id\":\"<s>\"}},{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}]}",
          "post_processor" },
        { "\"post_processor\":null",
          "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{"
          "\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":["
          "99]}}}",
          "post_processor" },
        { "\"decoder\":{\"type\":\"ByteLevel\"}", "\"decoder\":{\"type\":\"WordPiece\"}",
          "decoder" },
        { "\"added_tokens\":[", "\"added_tokens\":5,\"x\":[", "added_tokens" },
        { "\"added_tokens\":[", "\"added_tokens\":[5,", "added_tokens" },
        { "]}}", "]}},", "byte" },
        { "]}}", "]}", "byte" },
        { "{\"version\"", "[{\"version\"", "byte" },
    };
    write_whole();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text("tokenizer.json", with(byte_level, cases[i].from, cases[i].to));
        refused(cases[i].to, cases[i].naming);
        if (!strstr(error.text, "tokenizer.json") && !strstr(error.text, "tokenizer: merge"))
            FAIL("no file in \"%s\"", error.text);
    }
    write_text("tokenizer.json", "[]");
    refused("an array", "tokenizer.json");
    write_text("tokenizer.json", byte_level);
    static const char *const beside[] = { "tokenizer_config.json", "special_tokens_map.json" };
    for (int i = 0; i < 2; i++) {
        write_text(beside[i], "{\"add_bos_token\":\"yes\"}");
        refused("a flag of another type", "add_bos_token");
        write_text(beside[i], "{\"chat_template\":5}");
        OPENS();
        write_text(beside[i], "[");
        refused("half a file", beside[i]);
        unlink(in_folder(beside[i]));
    }
    REQUIRE(!symlink("tokenizer.json", in_folder("link.json")));
    unlink(in_folder("tokenizer.json"));
    REQUIRE(!rename(in_folder("link.json"), in_folder("tokenizer.json")));
    refused("a link to itself", "tokenizer.json");
    unlink(in_folder("tokenizer.json"));
    FILE *f =
        fopen(in_folder("tokenizer.json"), "wb"); /* a gigabyte, of which the disk has nothing */
    REQUIRE(f && !fseek(f, 1 << 30, SEEK_SET) && fputc('"', f) == '"' && !fclose(f));
    refused("a gigabyte", "tokenizer.json");
    write_whole(); /* an added token past the embedding's rows cannot come out of the model */
    write_text("tokenizer.json", with(byte_level, "\"id\":9", "\"id\":16"));
    OPENS();
    pith_model *m = pith_open(folder, NULL, &error);
    REQUIRE(m);
    CHECK(pith_model_note(m, 0) && strstr(pith_model_note(m, 0), "'<t>'"));
    pith_token t[8];
    CHECK(pith_encode(m, "<t>", 3, PITH_SPECIAL, t, 8) != 1 || t[0] < 16);
    pith_close(m);
}

TEST(tokenizers_that_may_run) {
    static const char *const cases[][2] = {
        { "\"content\":\"<t>\"", "\"content\":\"\"" },
        { "\"content\":\"<t>\"", "\"content\":\"\\ud800\"" },
        { "\"content\":\"<t>\"", "\"content\":\"a\"" },
        { "\"content\":\"<t>\"", "\"content\":\"<s>\"" },
        { "\"a\":0", "\"a\":0,\"x\":0" },
        { "\"a\":0", "\"a\":0,\"a\":10" },
        { "\"a\":0", "\"a\":0,\"\":10" },
        { "\"type\":\"BPE\",", "" },
        { "\"merges\":[", "\"merges\":[\"a b\"," },
        { "{\"version\"", "\xef\xbb\xbf{\"version\"" },
        { "\"normalizer\":null", "\"normalizer\":{\"type\":\"NFC\"}" },
        { "\"added_tokens\":[", "\"added_tokens\":null,\"x\":[" },
        { "\"decoder\":{\"type\":\"ByteLevel\"}", "\"decoder\":null" },
        { "\"post_processor\":null",
          "\"post_processor\":{\"type\":\"ByteLevel\",\"trim_offsets\":false}" },
    };
    write_whole();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text("tokenizer.json", with(byte_level, cases[i][0], cases[i][1]));
        if (!opens()) FAIL("%s: %s", cases[i][1], error.text);
        tokens("a<s>b", PITH_SPECIAL);
    }
}

TEST(chat_templates) {
    static const struct {
        const char *name, *text;
    } cases[] = {
        { "tokenizer_config.json", "{\"chat_template\":\"{{ a }}\"}" },
        { "tokenizer_config.json", "{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"x\"},"
                                   "{\"name\":\"default\",\"template\":\"{{ \\u0061 }}\"}]}" },
        { "chat_template.json", "{\"chat_template\":\"{{ a }}\"}" },
        { "chat_template.jinja", "{{ a }}" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_whole();
        write_text("tokenizer.json", byte_level);
        write_text(cases[i].name, cases[i].text);
        pith__store_free(&store);
        store.path = folder;
        if (pith__folder_read(&store, folder, 0, &error)) FAIL("%s", error.text);
        CHECK(pith__str_is(store.vocab.chat_template, "{{ a }}"));
    }
}

/* ---- biases ---------------------------------------------------------------------------------- */

TEST(biases) {
    write_whole();
    char text[20000], more[1000];
    size_t n = header_text(&plain, text);
    static const char *const part[] = { "q", "k", "v", "o" };
    for (int count = 0; count <= 4; count++) {
        size_t at = n;
        strcpy(more, "");
        for (int i = 0; i < count; i++) {
            size_t size = i == 1 || i == 2 ? 4 : 8;
            sprintf(more + strlen(more),
                    ",\"model.layers.0.self_attn.%s_proj.bias\":{\"dtype\":\"F32\",\"shape\":[%zu],"
                    "\"data_offsets\":[%zu,%zu]}",
                    part[i], size, at, at + 4 * size);
            at += 4 * size;
        }
        strcat(more, "}");
        char head[20000];
        sprintf(head, "%.*s%s", (int)strlen(text) - 1, text, more);
        write_tensors("model.safetensors", head, at);
        static const char *const kinds[][2] = { { "llama", "\"attention_bias\": false" },
                                                { "llama", "\"attention_bias\": true" },
                                                { "qwen2", "\"attention_bias\": false" } };
        for (int k = 0; k < 3; k++) {
            char type[20];
            sprintf(type, "\"%s\"", kinds[k][0]);
            write_text("config.json", with(with(config, "\"llama\"", type),
                                           "\"rope_scaling\": null", kinds[k][1]));
            int need = k == 0 ? 0 : k == 1 ? 4 : 3;
            if (count < need) refused("a bias missing", "bias");
            else OPENS();
        }
    }
    write_text("config.json", with(config, "\"llama\"", "\"qwen2\""));
    pith__store_free(&store);
    store.path = folder;
    EQ(pith__folder_read(&store, folder, 0, &error), PITH_OK);
    CHECK(pith__store_tensor(&store, "blk.0.attn_v.bias") &&
          !pith__store_tensor(&store, "blk.0.attn_output.bias"));
    write_text("config.json", config);
    pith__store_free(&store);
    store.path = folder;
    EQ(pith__folder_read(&store, folder, 0, &error), PITH_OK);
    CHECK(!pith__store_tensor(&store, "blk.0.attn_v.bias")); /* HF would not use it either */
}

/* ---- the fixtures: folder and GGUF file of the same weights ---------------------------------- */

/* Row r of a (heads, 2, d / 2, cols) matrix is row (heads, d / 2, 2, cols) of GGUF's: the pairs
 * that turn together stand side by side there. */
static size_t paired(size_t r, size_t d) {
    size_t h = r / d, i = r % d;
    return h * d + (i < d / 2 ? 2 * i : 2 * (i - d / 2) + 1);
}

static int same_rows(const pith__tensor *a, const pith__tensor *b, size_t head, int plus_one) {
    if (a->rows != b->rows || a->cols != b->cols) return 0;
    float *x = malloc(2 * a->cols * sizeof *x), *y = x + a->cols;
    int same = x != NULL;
    for (size_t r = 0; same && r < a->rows; r++) {
        pith__row_floats(a, r, x);
        pith__row_floats(b, head ? paired(r, head) : r, y);
        for (size_t i = 0; i < a->cols; i++) same &= x[i] + (plus_one ? 1.0f : 0.0f) == y[i];
    }
    free(x);
    return same;
}

/* The tensor of the GGUF file that has t's numbers; an expert is a plane of a stack there. */
static int counterpart(const pith__store *gguf, const pith__tensor *t, pith__tensor *out) {
    char name[100], kind[20];
    int l, e;
    snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.p);
    const pith__tensor *found = pith__store_tensor(gguf, name);
    if (!found && sscanf(name, "blk.%d.ffn_%19[a-z].%d.weight", &l, kind, &e) == 3) {
        sprintf(name, "blk.%d.ffn_%s_exps.weight", l, kind);
        found = pith__store_tensor(gguf, name);
        if (!found || (size_t)e * t->rows + t->rows > found->rows) return 0;
        *out = *found;
        out->data += (size_t)e * t->rows * t->row_bytes;
        out->rows = t->rows;
        return 1;
    }
    if (found) *out = *found;
    return found != NULL;
}

static void compare(const char *name) {
    char path[200];
    const char *found;
    pith__store hf = { 0 }, gguf = { 0 };
    pith__file file[2] = { { 0 } };
    sprintf(path, "fixtures/%s-hf", name);
    if (!(found = fixture_shared(path))) return;
    hf.path = found;
    if (pith__folder_read(&hf, found, 0, &error)) FAIL("%s", error.text);
    char kept[400];
    sprintf(path, "fixtures/%s.gguf", name);
    snprintf(kept, sizeof kept, "%s", (found = fixture_shared(path)) ? found : "");
    gguf.path = kept;
    gguf.file = file;
    gguf.n_file = 1;
    if (pith__file_open(file, kept, 0, &error) || pith__gguf_read(&gguf, 0, &error))
        FAIL("%s", error.text);
    for (size_t i = 0; i < gguf.n_key; i++) { /* every number that GGUF says, the folder says too */
        const pith__key *k = &gguf.key[i];
        char key[100];
        snprintf(key, sizeof key, "%.*s", (int)k->name.n, k->name.p);
        if (strncmp(key, "tokenizer.", 10) == 0 || strncmp(key, "general.", 8) == 0) continue;
        if (strstr(key, "context_length")) continue; /* the fixtures' folders say 256 */
        const pith__key *h = pith__store_key(&hf, key);
        if (!h || h->type != k->type || (float)h->f != (float)k->f) FAIL("%s: key %s", name, key);
    }
    const pith__key *dim = NULL;
    for (size_t i = 0; i < hf.n_key; i++)
        if (strstr(hf.key[i].name.p, "attention.key_length")) dim = &hf.key[i];
    int permuted = pith__store_key(&hf, "llama.block_count") != NULL;
    size_t used = 0;
    for (size_t i = 0; i < hf.n_tensor && dim; i++) {
        const pith__tensor *t = &hf.tensor[i];
        pith__tensor g;
        int qk = permuted && (strstr(t->name.p, "attn_q.") || strstr(t->name.p, "attn_k."));
        int norm = hf.norm_plus_one && strstr(t->name.p, "norm") != NULL;
        if (!counterpart(&gguf, t, &g) || !same_rows(t, &g, qk ? (size_t)dim->i : 0, norm))
            FAIL("%s: tensor %s", name, t->name.p);
        used += t->rows * t->row_bytes;
    }
    for (size_t i = 0; i < gguf.n_tensor; i++)
        used -= gguf.tensor[i].rows * gguf.tensor[i].row_bytes;
    EQ((long long)used, 0); /* and nothing is left over on either side */
    pith__store_free(&hf);
    pith__store_free(&gguf);
}

static const char *const families[] = { "llama",    "llama3", "mistral", "qwen2",  "qwen3",
                                        "qwen3moe", "gemma",  "gemma2",  "gemma3", "phi3" };

TEST(fixtures_have_the_numbers_of_their_gguf) {
    if (!fixture_shared("fixtures/llama-hf")) SKIP("no ../shared/fixtures");
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) compare(families[i]);
}

/* ids: room for 64; the logits of each, (64, 512). */
static int logits_of(const char *path, const pith_token *ids, int n, float *out) {
    pith_options opt = { .n_threads = 1 };
    pith_context c = { .cache_k = "f32", .cache_v = "f32" };
    pith_model *m = pith_open(path, &opt, &error);
    pith_session *s = m ? pith_session_new(m, &c, &error) : NULL;
    int ok = s != NULL;
    for (int i = 0; i < n && ok; i++) {
        ok = pith_eval(s, ids + i, 1, &error) == PITH_OK;
        if (ok) memcpy(out + 512 * i, pith_logits(s), 512 * sizeof *out);
    }
    pith_session_free(s);
    pith_close(m);
    return ok;
}

TEST(fixtures_give_the_logits) {
    if (!fixture_shared("fixtures/llama-hf")) SKIP("no ../shared/fixtures");
    static float want[64 * 512], hf[64 * 512], gguf[64 * 512];
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        char path[200];
        pith_token ids[64];
        int n = 0;
        sprintf(path, "fixtures/%s.ids", families[i]);
        FILE *f = fopen(fixture_shared(path), "r");
        REQUIRE(f);
        while (n < 64 && fscanf(f, "%d%*[, \n]", &ids[n]) >= 1) n++;
        fclose(f);
        sprintf(path, "fixtures/%s.logits", families[i]);
        f = fopen(fixture_shared(path), "rb");
        REQUIRE(f);
        EQ(fread(want, 512 * sizeof *want, 64, f), n);
        fclose(f);
        sprintf(path, "fixtures/%s-hf", families[i]);
        if (!logits_of(fixture_shared(path), ids, n, hf)) FAIL("%s", error.text);
        sprintf(path, "fixtures/%s.gguf", families[i]);
        if (!logits_of(fixture_shared(path), ids, n, gguf)) FAIL("%s", error.text);
        double off = 0, all = 0;
        for (int k = 0; k < 512 * n; k++) {
            off += (hf[k] - (double)want[k]) * (hf[k] - (double)want[k]);
            all += (double)want[k] * want[k];
        }
        if (!(sqrt(off / all) < 1e-5)) FAIL("%s: relative error %g", families[i], sqrt(off / all));
        /* The llamas too, whose q and k are stored in another order here (rope_gather). */
        if (memcmp(hf, gguf, 512 * sizeof *hf * (size_t)n))
            FAIL("%s: not the bits of the GGUF file", families[i]);
    }
}

/* ---- the published vocabularies -------------------------------------------------------------- */

static char *read_file(const char *path, size_t *n) {
    FILE *f = path ? fopen(path, "rb") : NULL;
    char *p = f ? malloc(1 << 20) : NULL;
    *n = p ? fread(p, 1, (1 << 20) - 1, f) : 0;
    if (p) p[*n] = 0;
    if (f) fclose(f);
    return p;
}

static void compare_ids(const char *name) {
    static const char between[] = "\n__ggml_vocab_test__\n";
    char path[200];
    size_t n;
    pith__json j;
    pith__file file;
    pith__store s = { .path = name };
    pith__folder f = { .s = &s, .err = &error, .n_vocab = 200000 };
    sprintf(path, "data/tokenizers/%s/tokenizer.json", name);
    const char *found = fixture_shared(path);
    REQUIRE(found);
    clock_t start = clock();
    REQUIRE(!pith__file_open(&file, found, 0, &error));
    if (pith__json_read(&j, file.data, file.size, found, &error) || pith__hf_vocab(&f, j, found))
        FAIL("%s", error.text);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    if (!(seconds < 1)) FAIL("%s took %g s", name, seconds); /* 0.05 where nothing else runs */
    pith__tokenizer *k = pith__tokenizer_new(&s.vocab, &error);
    REQUIRE(k);
    sprintf(path, "data/tokenizers/%s/lines.inp", name);
    char *text = read_file(fixture_shared(path), &n), *ids, *at = text, *line;
    sprintf(path, "data/tokenizers/%s/lines.out", name);
    line = ids = read_file(fixture_shared(path), &n);
    REQUIRE(text && ids);
    int count = 0;
    for (; line && *line; count++) {
        char *end = strstr(at, between), *next = strchr(line, '\n');
        if (next) *next++ = 0;
        pith_token t[1000];
        size_t len = end ? (size_t)(end - at) : strlen(at);
        int m = pith__tokenizer_encode(k, at, len, 0, t, 1000), same = 1;
        for (int i = 0; i < m; i++) same &= strtol(line, &line, 10) == t[i];
        if (!same || line[strspn(line, " ")]) FAIL("%s: \"%.*s\"", name, (int)len, at);
        if (!end) break;
        at = end + strlen(between);
        line = next;
    }
    CHECK(count > 40);
    free(text);
    free(ids);
    pith__tokenizer_free(k);
    pith__store_free(&s);
    pith__file_close(&file);
}

TEST(published_vocabularies_give_the_ids) {
    if (!fixture_shared("data/tokenizers/qwen2/lines.inp")) SKIP("no ../shared/data");
    compare_ids("qwen2");
    compare_ids("llama3");
}

int main(void) {
    make_folder();
    RUN(a_folder_runs);
    RUN(headers_of_any_looks);
    RUN(names_without_a_model_and_behind_a_language_model);
    RUN(half_floats);
    RUN(shards);
    RUN(header_lengths);
    RUN(header_entries);
    RUN(each_weight_missing_or_of_another_shape);
    RUN(hundred_thousand_tensors);
    RUN(config_fields_of_wrong_types);
    RUN(config_that_must_run);
    RUN(sizes_become_keys);
    RUN(windows_become_keys);
    RUN(gemma3_with_a_nested_text_config);
    RUN(multipliers_and_experts_become_keys);
    RUN(rotations_become_keys);
    RUN(rotations_become_tensors);
    RUN(generation_config);
    RUN(byte_level_tokenizer);
    RUN(special_tokens_by_name);
    RUN(regexes_are_known_by_their_text);
    RUN(metaspace_tokenizer);
    RUN(tokenizers_that_must_not_run);
    RUN(tokenizers_that_may_run);
    RUN(chat_templates);
    RUN(biases);
    RUN(fixtures_have_the_numbers_of_their_gguf);
    RUN(fixtures_give_the_logits);
    RUN(published_vocabularies_give_the_ids);
    pith__store_free(&store);
    drop_folder();
    return DONE();
}
