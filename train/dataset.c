/* dataset.c - text files -> tokens to learn from.
 *
 * A text file holds documents with <|endoftext|> between them; a file whose name ends in .jsonl
 * has one a line, {"text": "..."}. All are made tokens once, BOS before each, and written to one
 * file that is then mapped, so a text may be larger than memory. A part is held out: never
 * learned from, only scored.
 *
 * Training reads windows of n_ctx + 1 tokens. Which one comes when is a function of the seed and
 * of how many came before, and of nothing else, so that a run can go on where it stopped. */
#include "train.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- random numbers by counting -------------------------------------------------------------- */

/* The finalizer of splitmix64: Steele, Lea and Flood 2014, doi:10.1145/2714064.2660195. */
static uint64_t scramble(uint64_t z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

PITH_SHARED uint64_t pith__random_at(uint64_t seed, uint64_t i) {
    return scramble(scramble(seed + 0x9e3779b97f4a7c15u) + (i + 1) * 0x9e3779b97f4a7c15u);
}

/* Number i of a permutation of 0 to n - 1 that takes no memory: four rounds of Feistel's
 * construction shuffle the numbers of 2 * half bits; those that come out too large go through it
 * again. */
static uint64_t shuffled(uint64_t seed, uint64_t n, uint64_t i) {
    int half = 1;
    while (half < 32 && (uint64_t)1 << 2 * half < n) half++;
    uint64_t mask = ((uint64_t)1 << half) - 1;
    do {
        for (uint64_t round = 0; round < 4; round++) {
            uint64_t left = i >> half, right = i & mask;
            i = right << half | (left ^ (pith__random_at(seed + round, right) & mask));
        }
    } while (i >= n);
    return i;
}

/* ---- documents ------------------------------------------------------------------------------- */

static const char separator[] = "<|endoftext|>";

static int ends_in(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

PITH_SHARED int pith__documents_open(pith__documents *d, const char *path, pith_error *err) {
    pith_error e = { 0, "" };
    memset(d, 0, sizeof *d);
    d->path = path;
    if (pith__file_open(&d->file, path, 0, &e)) return pith__fail(err, PITH_EDATA, "%s", e.text);
    d->p = (const char *)d->file.data;
    d->end = d->p + d->file.size;
    d->jsonl = ends_in(path, ".jsonl");
    const char *zero = memchr(d->p, 0, d->file.size);
    if (!zero) return PITH_OK;
    size_t at = (size_t)(zero - d->p);
    pith__documents_close(d);
    return pith__fail(err, PITH_EDATA, "%s: byte %zu is 0, need a text", path, at);
}

PITH_SHARED void pith__documents_close(pith__documents *d) {
    pith__file_close(&d->file);
    pith__arena_free(&d->arena);
}

static pith__str trimmed(const char *p, const char *end) {
    while (p < end && (*p == ' ' || (*p >= '\t' && *p <= '\r'))) p++;
    while (p < end && (end[-1] == ' ' || (end[-1] >= '\t' && end[-1] <= '\r'))) end--;
    return (pith__str){ p, (size_t)(end - p) };
}

static pith__str next_text(pith__documents *d) {
    const char *p = d->p, *at = p;
    size_t n = sizeof separator - 1;
    for (; (at = memchr(at, '<', (size_t)(d->end - at))); at++)
        if ((size_t)(d->end - at) >= n && !memcmp(at, separator, n)) break;
    d->p = at ? at + n : d->end;
    return trimmed(p, at ? at : d->end);
}

static int next_line(pith__documents *d, pith__str *text, pith_error *err) {
    const char *p = d->p, *line_end = memchr(p, '\n', (size_t)(d->end - p));
    pith_error e = { 0, "" };
    pith__json j = { NULL, NULL };
    pith__str line = trimmed(p, line_end ? line_end : d->end);
    *text = (pith__str){ line.p, 0 };
    d->p = line_end ? line_end + 1 : d->end;
    d->line++;
    if (line.n == 0) return PITH_OK;
    if (pith__json_read(&j, line.p, line.n, d->path, &e))
        return pith__fail(err, PITH_EDATA, "line %zu: %s", d->line, e.text);
    pith__json value = pith__json_type(j) == '{' ? pith__json_get(j, "text") : (pith__json){ 0 };
    if (pith__json_type(value) != '"')
        return pith__fail(err, PITH_EDATA, "%s: line %zu is no object with a string \"text\"", d->path,
                          d->line);
    if (pith__json_string(value, &d->arena, text))
        return pith__fail(err, PITH_EDATA, "%s: line %zu: \"text\" cannot be read", d->path, d->line);
    *text = trimmed(text->p, text->p + text->n);
    return PITH_OK;
}

static int normalise(pith__documents *d, pith__str *text, pith_error *err) {
    d->hangul_apart += pith__hangul_apart(text->p, text->n);
    if (!d->nfc || !pith__may_need_nfc(text->p, text->n)) return PITH_OK;
    char *out = pith__arena_new(&d->arena, text->n, 3);
    if (!out) return pith__fail(err, PITH_EMEMORY, "%s: no memory for a document of %zu bytes", d->path, text->n);
    *text = (pith__str){ out, pith__nfc(text->p, text->n, out) };
    return PITH_OK;
}

PITH_SHARED int pith__documents_next(pith__documents *d, pith__str *text, pith_error *err) {
    int code = PITH_OK;
    pith__arena_free(&d->arena);
    *text = (pith__str){ d->p, 0 };
    while (d->p < d->end && !code && !text->n) {
        if (d->jsonl) code = next_line(d, text, err);
        else *text = next_text(d);
    }
    return code ? code : normalise(d, text, err);
}

/* ---- tokens on disk -------------------------------------------------------------------------- */

typedef struct { /* what the file begins with; then the tokens to learn from, and those held out */
    char magic[8];
    uint64_t key;      /* of texts and vocabulary: another key, other tokens */
    uint64_t n_train, n_eval, eval_bytes;
    uint32_t width, order; /* bytes of a token; 1, as this machine writes it */
    uint64_t hangul_apart;
    uint64_t unused[1];
} token_header;
_Static_assert(sizeof(token_header) == 64, "as it lies in the file");

static const char token_magic[8] = "pithtok1";

enum { FEW_DOCUMENTS = 100 }; /* so few are held out not as a whole but each one's end */

typedef struct { /* at work */
    const pith_model *m;
    const pith__text_choice *texts;
    pith__writer *out; /* NULL: they are only counted */
    token_header head;
    pith_token *token;
    int room;
    const pith__progress *progress;
    pith_error *err;
    size_t done, all;  /* bytes of text; those of train come twice */
} token_writer;

static uint64_t hash_bytes(uint64_t h, const void *p, size_t n) { /* eight at a time */
    const uint8_t *b = p;
    for (; n >= 8; b += 8, n -= 8) {
        uint64_t x;
        memcpy(&x, b, 8);
        h = (h ^ x) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    for (; n; b++, n--) h = (h ^ *b) * 0x100000001b3u;
    return scramble(h ^ 1);
}

/* Of what ordinary pieces stand for, not of how the file they came from spells them. */
static uint64_t vocab_key(const pith_model *m) {
    const pith__vocab *v = &m->store.vocab;
    uint64_t h = (uint64_t)v->n + ((uint64_t)(v->nfc != 0) << 32);
    for (int i = 0; i < v->n; i++) {
        pith__str piece = pith__tokenizer_piece(m->tokenizer, i);
        if (i != v->unk && i != v->bos && i != v->eos) h = hash_bytes(h, piece.p, piece.n);
    }
    return h;
}

static int texts_key(const pith_model *m, const pith__text_choice *c, uint64_t *key, pith_error *err) {
    float hold[1] = { c->hold_out };
    *key = hash_bytes(vocab_key(m), hold, sizeof hold);
    for (int i = 0; i <= c->train.n; i++) {
        const char *path = i < c->train.n ? c->train.path[i] : c->eval;
        pith_error e = { 0, "" };
        pith__file f;
        if (!path) continue;
        if (pith__file_open(&f, path, 0, &e)) return pith__fail(err, PITH_EDATA, "%s", e.text);
        *key = hash_bytes(*key + (uint64_t)(i == c->train.n), f.data, f.size);
        pith__file_close(&f);
    }
    return PITH_OK;
}

static void put_tokens(token_writer *w, const pith_token *t, int n) {
    for (int i = 0; i < n && w->out; i++) {
        uint16_t narrow = (uint16_t)t[i];
        if (w->head.width == 2) pith__writer_put(w->out, &narrow, 2);
        else pith__writer_put(w->out, &t[i], 4);
    }
}

static int put_document(token_writer *w, const char *path, pith__str text, int held_out) {
    const pith__vocab *v = &w->m->store.vocab;
    pith_token begin = v->bos >= 0 ? v->bos : v->eos;
    if (text.n == 0) return PITH_OK;
    if (text.n > INT_MAX / 4)
        return pith__fail(w->err, PITH_EDATA, "%s: a document of %zu bytes, need %d or less: separate them "
                          "by %s", path, text.n, INT_MAX / 4, separator);
    if (w->room < (int)text.n + 2) {
        free(w->token);
        w->room = 2 * (int)text.n + 2;
        w->token = malloc((size_t)w->room * sizeof *w->token);
        if (!w->token)
            return pith__fail(w->err, PITH_EMEMORY, "%s: no memory for the tokens of %zu bytes", path, text.n);
    }
    int n = pith_encode(w->m, text.p, text.n, 0, w->token + 1, w->room - 1);
    if (n < 0 || n >= w->room)
        return pith__fail(w->err, PITH_EMEMORY, "%s: %zu bytes of text cannot be made tokens", path, text.n);
    w->token[0] = begin;
    put_tokens(w, begin >= 0 ? w->token : w->token + 1, n + (begin >= 0));
    *(held_out ? &w->head.n_eval : &w->head.n_train) += (uint64_t)(n + (begin >= 0));
    if (held_out) w->head.eval_bytes += text.n;
    return PITH_OK;
}

/* Where the part of a document that is held out begins: behind a line's end if there is one. */
static size_t tail_of(pith__str text, float part) {
    size_t at = text.n - (size_t)((double)text.n * (double)part);
    const char *line = at < text.n ? memchr(text.p + at, '\n', text.n - at) : NULL;
    if (line && line + 1 < text.p + text.n) return (size_t)(line + 1 - text.p);
    while (at < text.n && (text.p[at] & 0xc0) == 0x80) at++;
    return at;
}

/* Documents of one file that are held out, or those that are not. */
static int put_documents(token_writer *w, const char *path, int held_out, int few,
                         uint64_t *count) {
    float part = w->texts->eval ? 0 : w->texts->hold_out;
    pith__documents d;
    pith__str text;
    int code = pith__documents_open(&d, path, w->err), first = !held_out || path == w->texts->eval;
    if (code) return code;
    d.nfc = w->m->store.vocab.nfc;
    while (!(code = pith__documents_next(&d, &text, w->err)) && text.n) {
        uint64_t i = (*count)++;
        int all = path == w->texts->eval, chosen = pith__random_at(1, i) < (double)part * 0x1p64;
        size_t cut = few ? tail_of(text, part) : chosen ? 0 : text.n;
        pith__str head = { text.p, all ? 0 : cut }, tail = { text.p + head.n, text.n - head.n };
        code = put_document(w, path, held_out ? tail : head, held_out);
        size_t done = w->done + (size_t)(d.p - (const char *)d.file.data);
        if (!code) code = pith__tell(w->progress, "text to tokens: byte", done, w->all + 1, w->err);
        if (code || (w->out && w->out->failed)) break;
    }
    w->done += d.file.size;
    if (first) w->head.hangul_apart += d.hangul_apart; /* not once more for what is held out of it */
    pith__documents_close(&d);
    return code;
}

/* How many there are, or FEW_DOCUMENTS if that is less. */
static int count_documents(token_writer *w, int *n) {
    const pith__texts *texts = &w->texts->train;
    *n = 0;
    for (int i = 0; i < texts->n; i++) {
        pith__documents d;
        pith__str text;
        int code = pith__documents_open(&d, texts->path[i], w->err);
        if (code) return code;
        w->all += 2 * d.file.size;
        while (*n < FEW_DOCUMENTS && !(code = pith__documents_next(&d, &text, w->err)) && text.n) ++*n;
        pith__documents_close(&d);
        if (code) return code;
    }
    return *n ? PITH_OK : pith__fail(w->err, PITH_EDATA, "%s: has no text", texts->path[0]);
}

static int put_all(token_writer *w) {
    uint64_t count = 0;
    int n, code = count_documents(w, &n);
    const pith__text_choice *c = w->texts;
    for (int held_out = 0; held_out < 2; held_out++) {
        count = 0;
        for (int i = 0; !code && i < c->train.n; i++)
            code = put_documents(w, c->train.path[i], held_out, n < FEW_DOCUMENTS, &count);
    }
    if (!code && c->eval) {
        code = put_documents(w, c->eval, 1, 0, &count);
        if (!code && !w->head.n_eval) code = pith__fail(w->err, PITH_EDATA, "%s: has no text", c->eval);
    }
    free(w->token);
    if (!code) return pith__tell(w->progress, "text to tokens: byte", 1, 1, w->err);
    pith__tell(w->progress, "text to tokens: byte", 1, 1, NULL);
    return code;
}

static int write_tokens(token_writer *w, const char *path, uint64_t key) {
    pith__writer out;
    memcpy(w->head.magic, token_magic, sizeof token_magic);
    w->head.key = key;
    w->head.order = 1;
    w->head.width = w->m->store.vocab.n > 65536 ? 4 : 2;
    w->out = &out;
    int code = pith__writer_open(&out, path, w->err);
    if (code) return code;
    pith__writer_put(&out, &w->head, sizeof w->head);
    code = put_all(w);
    pith__writer_rewind(&out);
    pith__writer_put(&out, &w->head, sizeof w->head); /* again, now that the counts are known */
    if (!code) return pith__writer_commit(&out, w->err); /* which knows of a full disk */
    pith__writer_drop(&out);
    return code;
}

/* ---- a dataset ------------------------------------------------------------------------------- */

/* 1: the file has these tokens, and is mapped. */
static int open_tokens(pith__dataset *d, const char *path, uint64_t key, const pith__vocab *v) {
    token_header h;
    memset(d, 0, sizeof *d);
    if (pith__file_open(&d->file, path, 0, NULL)) return 0;
    size_t size = d->file.size;
    if (size >= sizeof h) memcpy(&h, d->file.data, sizeof h);
    if (size < sizeof h || memcmp(h.magic, token_magic, sizeof token_magic) != 0 || h.key != key ||
        h.order != 1 || h.width != (v->n > 65536 ? 4 : 2) || h.n_train > size || h.n_eval > size ||
        (h.n_train + h.n_eval) * h.width != size - sizeof h) {
        pith__dataset_close(d);
        return 0;
    }
    d->key = key;
    d->width = (int)h.width;
    d->n_train = (size_t)h.n_train;
    d->n_eval = (size_t)h.n_eval;
    d->eval_bytes = h.eval_bytes;
    d->hangul_apart = h.hangul_apart;
    d->n_vocab = v->n;
    return 1;
}

PITH_SHARED int pith__dataset_open(pith__dataset *d, const pith_model *m, const pith__text_choice *c,
                                   const char *path, const pith__progress *progress, pith_error *err) {
    token_writer w = { .m = m, .texts = c, .progress = progress, .err = err };
    uint64_t key;
    int code = texts_key(m, c, &key, err);
    if (code || open_tokens(d, path, key, &m->store.vocab)) return code;
    code = write_tokens(&w, path, key);
    if (code || open_tokens(d, path, key, &m->store.vocab)) return code;
    return pith__fail(err, PITH_EIO, "%s: changed while it was in use", path);
}

PITH_SHARED int pith__dataset_count(pith__dataset *d, const pith_model *m, const pith__text_choice *c,
                                    const pith__progress *progress, pith_error *err) {
    token_writer w = { .m = m, .texts = c, .progress = progress, .err = err };
    memset(d, 0, sizeof *d);
    int code = put_all(&w);
    d->hangul_apart = w.head.hangul_apart;
    d->n_train = (size_t)w.head.n_train;
    d->n_eval = (size_t)w.head.n_eval;
    return code;
}

PITH_SHARED void pith__dataset_close(pith__dataset *d) { pith__file_close(&d->file); }

/* Tokens i to i + n of the file. One that is none (somebody wrote to the file) becomes 0. */
static void copy_tokens(const pith__dataset *d, size_t i, size_t n, pith_token *t) {
    const uint8_t *p = d->file.data + sizeof(token_header) + i * (size_t)d->width;
    for (size_t k = 0; k < n; k++) {
        uint16_t narrow;
        if (d->width == 4) memcpy(&t[k], p + 4 * k, 4);
        else memcpy(&narrow, p + 2 * k, 2), t[k] = narrow;
        if (t[k] < 0 || t[k] >= d->n_vocab) t[k] = 0;
    }
}

/* Windows lie side by side. One less than there is room for, so that each epoch can shift them
 * all by another offset and cut the text elsewhere. */
PITH_SHARED uint64_t pith__dataset_windows(const pith__dataset *d, int n_ctx) {
    size_t n = d->n_train > (size_t)n_ctx ? (d->n_train - 1) / (size_t)n_ctx : 0;
    return n > 1 ? n - 1 : n;
}

PITH_SHARED void pith__dataset_window(const pith__dataset *d, int n_ctx, uint64_t seed, uint64_t i, pith_token *t) {
    uint64_t n = pith__dataset_windows(d, n_ctx), epoch = i / n;
    uint64_t slack = d->n_train - n * (uint64_t)n_ctx; /* at least 1 */
    uint64_t offset = pith__random_at(seed, 2 * epoch) % slack;
    uint64_t window = shuffled(pith__random_at(seed, 2 * epoch + 1), n, i % n);
    copy_tokens(d, (size_t)(offset + window * (uint64_t)n_ctx), (size_t)n_ctx + 1, t);
}

PITH_SHARED int pith__dataset_eval_windows(const pith__dataset *d, int n_ctx) {
    size_t n = d->n_eval > 1 ? (d->n_eval - 2) / (size_t)n_ctx + 1 : 0;
    return n > INT_MAX ? INT_MAX : (int)n;
}

PITH_SHARED int pith__dataset_eval_window(const pith__dataset *d, int n_ctx, int i, pith_token *t) {
    size_t from = (size_t)i * (size_t)n_ctx, left = d->n_eval - from;
    size_t n = left > (size_t)n_ctx + 1 ? (size_t)n_ctx + 1 : left;
    copy_tokens(d, d->n_train + from, n, t);
    return (int)n - 1;
}
