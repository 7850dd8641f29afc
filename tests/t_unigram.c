/* t_unigram.c - Unigram vocabularies: text to tokens as "tokenizers" and SentencePiece do it. */
#include "gguf_doc.h"

/* ---- vocabularies of ../shared ----------------------------------------------------------------- */

static const char *shared(const char *name) {
    static char path[4][512];
    static int turn;
    char *p = path[turn++ % 4];
    const char *root = getenv("PITH_SHARED");
    snprintf(p, sizeof path[0], "%s/encoders/%s", root ? root : "../shared", name);
    return p;
}

static int has_shared(void) {
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
static void open_text(vocabulary *y, const char *text, size_t n) {
    pith__json at;
    *y = (vocabulary){ 0 };
    error = (pith_error){ 0, "" };
    y->s.vocab.bos = y->s.vocab.eos = y->s.vocab.unk = -1;
    pith__folder f = { .s = &y->s, .dir = ".", .err = &error, .n_vocab = 10000 };
    if (!pith__json_read(&at, text, n, "tokenizer.json", &error) && !pith__hf_vocab(&f, at, "tokenizer.json"))
        y->k = pith__tokenizer_new(&y->s.vocab, &error);
}

static void open_json(vocabulary *y, const char *path) {
    pith__file f;
    REQUIRE(!pith__file_open(&f, path, 0, &error));
    open_text(y, (const char *)f.data, f.size);
    if (!y->k) FAIL("%s", error.text);
    y->f = f;
}

static void close_vocabulary(vocabulary *y) {
    pith__tokenizer_free(y->k);
    pith__store_free(&y->s);
    if (y->f.data) pith__file_close(&y->f);
}

static void text_is(const pith__tokenizer *k, const char *name, int line, pith__str text, unsigned flags, pith__str want) {
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
static void lines_are(const vocabulary *y, const char *name, unsigned flags) {
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

TEST(folders_give_the_ids_of_tokenizers) {
    if (!has_shared()) SKIP("no ../shared");
    vocabulary y;
    open_json(&y, shared("vocab/unigram-xlmr/tokenizer.json"));
    lines_are(&y, "vocab/unigram-xlmr.out", PITH_BOS | PITH_EOS | PITH_SPECIAL);
    lines_are(&y, "vocab/unigram-xlmr.plain.out", PITH_BOS | PITH_EOS);
    close_vocabulary(&y);
}

/* text[0..n), a copy with the first from in it replaced by to; freed by the caller. */
static char *with(const char *text, const char *from, const char *to) {
    const char *at = strstr(text, from);
    char *p = malloc(strlen(text) + strlen(to) + 1);
    if (!at || !p) exit(98);
    sprintf(p, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return p;
}

/* The conversion of 2025: the map is followed by steps of its own, and Metaspace alone cuts. */
TEST(newer_folders_strip_and_squeeze) {
    if (!has_shared()) SKIP("no ../shared");
    vocabulary y;
    pith__file f;
    REQUIRE(!pith__file_open(&f, shared("vocab/unigram-xlmr/tokenizer.json"), 0, NULL));
    char *text = calloc(f.size + 1, 1);
    REQUIRE(text != NULL);
    memcpy(text, f.data, f.size);
    pith__file_close(&f);
    char *a = with(text, "\"normalizer\":{", "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{");
    char *b = with(a, "},\"pre_tokenizer\":", "},{\"type\":\"Strip\",\"strip_left\":false,\"strip_right\":true},"
                      "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\"\u2581\"}]},\"pre_tokenizer\":");
    char *c = with(b, "{\"type\":\"WhitespaceSplit\"},", "");
    open_text(&y, c, strlen(c));
    if (!y.k) FAIL("%s", error.text);
    else lines_are(&y, "vocab/unigram-xlmr.new.out", PITH_BOS | PITH_EOS | PITH_SPECIAL);
    close_vocabulary(&y);
    free(text);
    free(a);
    free(b);
    free(c);
}

/* The vocabulary of y as a GGUF file has it. */
static void put_vocabulary(doc *d, const pith__vocab *v) {
    key_str(d, "tokenizer.ggml.model", "t5");
    bytes *b = key_array(d, "tokenizer.ggml.tokens", STR, (uint64_t)v->n);
    for (int i = 0; i < v->n; i++) put_int(b, v->piece[i].n, 8), put(b, v->piece[i].p, v->piece[i].n);
    b = key_array(d, "tokenizer.ggml.scores", F32, (uint64_t)v->n);
    for (int i = 0; i < v->n; i++) put_f32(b, (float)v->log_prob[i]);
    b = key_array(d, "tokenizer.ggml.token_type", I32, (uint64_t)v->n);
    for (int i = 0; i < v->n; i++) put_int(b, i == v->unk ? PITH__UNKNOWN : v->type[i], 4);
    key_int(d, "tokenizer.ggml.bos_token_id", U32, (uint64_t)v->bos, 4);
    key_int(d, "tokenizer.ggml.eos_token_id", U32, (uint64_t)v->eos, 4);
    key_int(d, "tokenizer.ggml.unknown_token_id", U32, (uint64_t)v->unk, 4);
    key_int(d, "tokenizer.ggml.mask_token_id", U32, (uint64_t)v->n - 1, 4);
    key_int(d, "tokenizer.ggml.add_bos_token", BOOL, 1, 1);
    b = key_array(d, "tokenizer.ggml.precompiled_charsmap", U8, v->rewrite[0].find.n);
    put(b, v->rewrite[0].find.p, v->rewrite[0].find.n);
}

TEST(gguf_gives_the_ids_of_sentencepiece) {
    if (!has_shared()) SKIP("no ../shared");
    vocabulary y;
    open_json(&y, shared("vocab/unigram-xlmr/tokenizer.json"));
    REQUIRE(y.k != NULL);
    doc d = new_doc();
    put_vocabulary(&d, &y.s.vocab);
    REQUIRE(works(read_doc(&d)));
    close_vocabulary(&y);
    y = (vocabulary){ .k = pith__tokenizer_new(&store.vocab, &error) };
    lines_are(&y, "vocab/unigram-xlmr.spm.out", PITH_BOS | PITH_EOS);
    close_vocabulary(&y);
    close_store();
}

int main(void) {
    RUN(folders_give_the_ids_of_tokenizers);
    RUN(newer_folders_strip_and_squeeze);
    RUN(gguf_gives_the_ids_of_sentencepiece);
    return DONE();
}
