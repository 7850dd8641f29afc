/* hf_folder.h - what the tests of Hugging Face folders share: a folder of this test, a model of one layer
 * in it, and what opening it says. */
#ifndef HF_FOLDER_H
#define HF_FOLDER_H
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- folders --------------------------------------------------------------------------------- */

static char folder[64]; /* the one of this test */

static inline const char *in_folder(const char *name) {
    static char path[4][400];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static inline void make_folder(void) {
    strcpy(folder, "/tmp/pith-hf-XXXXXX");
    if (!mkdtemp(folder)) exit(99);
}

static inline void clear_folder(void) {
    DIR *d = opendir(folder);
    struct dirent *e;
    while (d && (e = readdir(d)))
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && unlink(in_folder(e->d_name)))
            rmdir(in_folder(e->d_name));
    if (d) closedir(d);
}

static inline void drop_folder(void) {
    clear_folder();
    rmdir(folder);
}

static inline void write_bytes(const char *name, const void *p, size_t n) {
    FILE *f = fopen(in_folder(name), "wb");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f)) exit(99);
}

static inline void write_text(const char *name, const char *text) {
    write_bytes(name, text, strlen(text));
}

/* A safetensors file of this header with n bytes of numbers behind it. */
static inline void write_tensors(const char *name, const char *header, size_t n) {
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

static inline size_t header_text(const how *h, char *text) {
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

static inline void write_model(const char *name, const how *h) {
    char text[20000];
    size_t n = header_text(h, text);
    write_tensors(name, text, n);
}

static inline void write_whole(void) {
    clear_folder();
    write_text("config.json", config);
    write_model("model.safetensors", &plain);
}

/* ---- opening --------------------------------------------------------------------------------- */

static pith_error error;
static pith__store store;

static inline int opens_at(const char *path) {
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

static inline int opens(void) { return opens_at(folder); }

#define OPENS() do { if (!opens()) FAIL("%s", error.text); } while (0)
/* The error must name what is at fault; %s in the condition of a table is the case. */
static inline void refused(const char *what, const char *naming) {
    if (opens()) FAIL("taken: %s", what);
    else if (!strstr(error.text, naming))
        FAIL("%s: \"%s\" does not name %s", what, error.text, naming);
}

static inline void refused_config(const char *text, const char *naming) {
    write_text("config.json", text);
    refused(text, naming);
    if (!strstr(error.text, naming) || !strstr(error.text, folder))
        FAIL("no file in \"%s\"", error.text);
}

#endif
