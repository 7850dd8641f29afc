/* gguf_doc.h - what the tests of the GGUF reader share: files made in memory, and what reading them says. */
#ifndef GGUF_DOC_H
#define GGUF_DOC_H
#include "../internal.h"
#include "test.h"

#include <stdlib.h>

enum { U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 };

/* ---- writing --------------------------------------------------------------------------------- */

typedef struct {
    uint8_t *p;
    size_t n, room;
} bytes;

static inline void put(bytes *b, const void *p, size_t n) {
    if (b->n + n > b->room) {
        b->room = 2 * (b->n + n) + 64;
        b->p = realloc(b->p, b->room);
        if (!b->p) exit(99);
    }
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
}

static inline void put_int(bytes *b, uint64_t v, int n) { /* little-endian, n bytes */
    for (int i = 0; i < n; i++, v >>= 8) put(b, &(uint8_t){ (uint8_t)v }, 1);
}

static inline void put_f32(bytes *b, float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    put_int(b, u, 4);
}

static inline void put_str(bytes *b, const char *s) {
    put_int(b, strlen(s), 8);
    put(b, s, strlen(s));
}

typedef struct { /* a file in the making */
    uint32_t version;
    uint64_t n_key, n_tensor; /* as the header says; counted by key() and tensor() */
    bytes key, tensor;
    size_t align, data;
} doc;

static inline doc new_doc(void) { return (doc){ .version = 3, .align = 32 }; }

static inline bytes *key(doc *d, const char *name, uint32_t type) { /* the caller puts its value */
    d->n_key++;
    put_str(&d->key, name);
    put_int(&d->key, type, 4);
    return &d->key;
}

static inline void key_int(doc *d, const char *name, uint32_t type, uint64_t v, int n) {
    put_int(key(d, name, type), v, n);
}

static inline void key_str(doc *d, const char *name, const char *v) { put_str(key(d, name, STR), v); }

static inline bytes *key_array(doc *d, const char *name, uint32_t item, uint64_t n) {
    bytes *b = key(d, name, ARR);
    put_int(b, item, 4);
    put_int(b, n, 8);
    return b;
}

static inline void key_strs(doc *d, const char *name, const char *const *v, size_t n) {
    bytes *b = key_array(d, name, STR, n);
    for (size_t i = 0; i < n; i++) put_str(b, v[i]);
}

/* ne as GGUF has it: fastest first; 0 ends it. */
static inline void tensor(doc *d, const char *name, const uint64_t *ne, uint32_t n_dim, uint32_t type,
                   uint64_t offset) {
    d->n_tensor++;
    put_str(&d->tensor, name);
    put_int(&d->tensor, n_dim, 4);
    for (uint32_t i = 0; i < n_dim && i < 4; i++) put_int(&d->tensor, ne[i], 8);
    put_int(&d->tensor, type, 4);
    put_int(&d->tensor, offset, 8);
}

static inline bytes finish(doc *d) {
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

static inline void close_store(void) {
    pith__store_free(&store);
    free(image);
    image = NULL;
}

/* From an allocation of just that size, so that a sanitizer sees one byte too many. */
static inline int read_bytes(const uint8_t *p, size_t n) {
    close_store();
    image = malloc(n ? n : 1);
    if (!image) exit(99);
    if (n) memcpy(image, p, n);
    files[0] = (pith__file){ .data = image, .size = n, .mapped = -1 };
    store.path = "made.gguf";
    store.file = files;
    store.n_file = 1;
    memset(&error, 0, sizeof error);
    return pith__gguf_read(&store, 0, &error);
}

static inline int read_doc(doc *d) {
    bytes b = finish(d);
    int code = read_bytes(b.p, b.n);
    free(b.p);
    return code;
}

static inline int read_path(const char *path) {
    close_store();
    memset(&error, 0, sizeof error);
    store.path = path;
    store.file = files;
    int code = pith__file_open(&files[0], path, 0, &error);
    if (code) return code;
    store.n_file = 1;
    return pith__gguf_read(&store, 0, &error);
}

static inline int refused(int code, const char *with) { /* one line that names the file and says with */
    int ok = code < 0 && code == error.code && !strncmp(error.text, store.path, 9) &&
             strstr(error.text, with) && !strchr(error.text, '\n');
    if (!ok) printf("# code %d, said '%s', want '%s'\n", code, error.text, with);
    return ok;
}

static inline int works(int code) {
    if (code) printf("# code %d, said '%s'\n", code, error.text);
    return code == PITH_OK;
}

/* ---- a small vocabulary ---------------------------------------------------------------------- */

static const char *const spm_pieces[] = { "<unk>", "<s>", "</s>", "<0x00>", "\u2581", "a",
                                          "\xff\xfe", "<|im_end|>", "<|eot_id|>" };
enum { N_SPM = 9 };

static inline doc spm_doc(void) {
    doc d = new_doc();
    key_str(&d, "tokenizer.ggml.model", "llama");
    key_strs(&d, "tokenizer.ggml.tokens", spm_pieces, N_SPM);
    return d;
}

static inline void spm_scores(doc *d, size_t n) {
    bytes *b = key_array(d, "tokenizer.ggml.scores", F32, n);
    for (size_t i = 0; i < n; i++) put_f32(b, -0.5f * (float)i);
}

static inline void spm_types(doc *d, size_t n) {
    static const int type[] = { 2, 3, 3, 6, -1, 99, 5, 4, 1, 7 };
    bytes *b = key_array(d, "tokenizer.ggml.token_type", I32, n);
    for (size_t i = 0; i < n; i++) put_int(b, (uint64_t)(int64_t)type[i], 4);
}

#endif
