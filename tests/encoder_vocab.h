/* encoder_vocab.h - what the tests of encoders' vocabularies share: tokenizer.json and GGUF files as vocabularies, and the
 * ids that texts must have. */
#ifndef ENCODER_VOCAB_H
#define ENCODER_VOCAB_H
#include "gguf_doc.h"

/* ---- vocabularies of ../shared ----------------------------------------------------------------- */

static inline const char *shared(const char *name) {
    static char path[4][512];
    static int turn;
    char *p = path[turn++ % 4];
    const char *root = getenv("PITH_SHARED");
    snprintf(p, sizeof path[0], "%s/encoders/%s", root ? root : "../shared", name);
    return p;
}

static inline int has_shared(void) {
    pith__file f;
    int has = pith__file_open(&f, shared("texts.json"), 0, NULL) == PITH_OK;
    if (has) pith__file_close(&f);
    return has;
}

typedef struct {
    pith__store s;
    pith__file f;
    pith__tokenizer *k;
} vocabulary;

/* text: a tokenizer.json, which outlives y. error says what is wrong with it. */
static inline void open_text(vocabulary *y, const char *text, size_t n) {
    pith__json at;
    *y = (vocabulary){ 0 };
    error = (pith_error){ 0, "" };
    y->s.vocab.bos = y->s.vocab.eos = y->s.vocab.unk = y->s.vocab.mask = -1;
    pith__folder f = { .s = &y->s, .dir = ".", .err = &error, .n_vocab = 10000 };
    if (!pith__json_read(&at, text, n, "tokenizer.json", &error) && !pith__hf_vocab(&f, at, "tokenizer.json"))
        y->k = pith__tokenizer_new(&y->s.vocab, &error);
}

static inline void open_json(vocabulary *y, const char *path) {
    pith__file f;
    REQUIRE(!pith__file_open(&f, path, 0, &error));
    open_text(y, (const char *)f.data, f.size);
    if (!y->k) FAIL("%s", error.text);
    y->f = f;
}

/* store holds it until close_store. */
static inline void open_gguf(vocabulary *y, const char *path) {
    *y = (vocabulary){ 0 };
    if (works(read_path(path))) y->k = pith__tokenizer_new(&store.vocab, &error);
    if (!y->k) FAIL("%s", error.text);
}

static inline void close_vocabulary(vocabulary *y) {
    pith__tokenizer_free(y->k);
    pith__store_free(&y->s);
    if (y->f.data) pith__file_close(&y->f);
}

static inline void text_is(const pith__tokenizer *k, const char *name, int line, pith__str text, unsigned flags, pith__str want) {
    static pith_token t[4096];
    static char got[30000];
    int n = pith__tokenizer_encode(k, text.p, text.n, flags, t, 4096);
    size_t size = 0;
    for (int i = 0; i < n && i < 4096; i++) size += (size_t)sprintf(got + size, " %d", t[i]);
    if (n >= 0 && size == want.n && !memcmp(got, want.p, size)) return;
    FAIL("%s, line %d: \"%.*s\" is %d: %.*s, want %.*s", name, line, (int)text.n, text.p, n, (int)size, got, (int)want.n,
         want.p);
}

/* The strings of lines.inp have the ids of a file, a line each. */
static inline void lines_are(const vocabulary *y, const char *name, unsigned flags) {
    static const char between[] = "\n__ggml_vocab_test__\n";
    enum { SIZE = sizeof between - 1 };
    pith__file in, out;
    REQUIRE(y->k != NULL);
    REQUIRE(!pith__file_open(&in, shared("vocab/lines.inp"), 0, NULL));
    REQUIRE(!pith__file_open(&out, shared(name), 0, NULL));
    const char *p = (const char *)in.data, *end = p + in.size, *w = (const char *)out.data, *w_end = w + out.size;
    int line = 0;
    for (; w < w_end; line++) {
        const char *q = p, *stop = memchr(w, '\n', (size_t)(w_end - w));
        while (q < end && ((size_t)(end - q) < SIZE || memcmp(q, between, SIZE) != 0)) q++;
        text_is(y->k, name, line, (pith__str){ p, (size_t)(q - p) }, flags, (pith__str){ w, (size_t)(stop - w) });
        p = q < end ? q + SIZE : end;
        w = stop + 1;
    }
    CHECK(line >= 300);
    pith__file_close(&in);
    pith__file_close(&out);
}

#endif
