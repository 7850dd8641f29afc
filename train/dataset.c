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

/* ---- an order that is shuffled ---------------------------------------------------------------- */

/* Number i of a permutation of 0 to n - 1 that takes no memory: four rounds of Feistel's
 * construction shuffle the numbers of 2 * half bits; those that come out too large go through it
 * again. */
PITH_SHARED uint64_t pith__shuffled(uint64_t seed, uint64_t n, uint64_t i) {
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

static int ends_in(const char *s, const char *end) { /* whatever its capitals */
    size_t n = strlen(s), m = strlen(end), i = 0;
    if (n < m) return 0;
    for (const char *p = s + n - m; i < m && (p[i] == end[i] || p[i] == end[i] - 'a' + 'A'); i++) continue;
    return i == m;
}

static pith__str trimmed(const char *p, const char *end) {
    while (p < end && (*p == ' ' || (*p >= '\t' && *p <= '\r'))) p++;
    while (p < end && (end[-1] == ' ' || (end[-1] >= '\t' && end[-1] <= '\r'))) end--;
    return (pith__str){ p, (size_t)(end - p) };
}

static pith__str line_at(const char *p, const char *end) {
    const char *line_end = memchr(p, '\n', (size_t)(end - p));
    return trimmed(p, line_end ? line_end : end);
}

/* JSON is told by its name, or by what it begins with: a line that is an object, or an array of objects or
 * of strings. Prose may begin with a brace, but not so. */
static int find_kind(pith__documents *d, pith_error *err) {
    pith_error e = { 0, "" };
    pith__json j, first = { NULL, NULL };
    pith__str whole = trimmed(d->p, d->end), line = line_at(whole.p, d->end);
    int array = whole.n && *whole.p == '[';
    d->kind = PITH__PROSE;
    if (array && !pith__json_read(&j, whole.p, whole.n, d->path, &e)) {
        d->array = j;
        int empty = !pith__json_next(&j, NULL, &first);
        char type = pith__json_type(first);
        if (empty || type == '{' || type == '"' || ends_in(d->path, ".json")) d->kind = PITH__JSON_ARRAY;
    }
    if (d->kind == PITH__JSON_ARRAY) return PITH_OK;
    if (ends_in(d->path, ".jsonl") || ends_in(d->path, ".ndjson")) {
        d->kind = PITH__JSON_LINES;
    } else if (line.n && *line.p == '{' && !pith__json_read(&j, line.p, line.n, d->path, NULL)) {
        d->kind = PITH__JSON_LINES;
    } else if (ends_in(d->path, ".json")) {
        return pith__fail(err, PITH_EDATA, "%s: is JSON by its name, need an array of {\"text\": ...} or one a line"
                          "%s%s", d->path, e.code ? ": " : "", e.code ? e.text : "");
    }
    return PITH_OK;
}

PITH_SHARED int pith__documents_open(pith__documents *d, const char *path, pith_error *err) {
    pith_error e = { 0, "" };
    memset(d, 0, sizeof *d);
    d->path = path;
    if (pith__file_open(&d->file, path, 0, &e)) return pith__fail(err, PITH_EDATA, "%s", e.text);
    d->p = (const char *)d->file.data;
    d->end = d->p + d->file.size;
    const char *zero = memchr(d->p, 0, d->file.size);
    int code = zero ? pith__fail(err, PITH_EDATA, "%s: byte %zu is 0, need a text in UTF-8", path,
                                 (size_t)(zero - d->p)) : PITH_OK;
    if (d->file.size >= 3 && !memcmp(d->p, "\xef\xbb\xbf", 3)) d->p += 3; /* a byte order mark */
    if (!code) code = find_kind(d, err);
    if (code) pith__documents_close(d);
    return code;
}

PITH_SHARED void pith__documents_close(pith__documents *d) {
    pith__file_close(&d->file);
    pith__arena_free(&d->arena);
}

static pith__str next_text(pith__documents *d) {
    const char *p = d->p, *at = p;
    size_t n = sizeof separator - 1;
    for (; (at = memchr(at, '<', (size_t)(d->end - at))); at++)
        if ((size_t)(d->end - at) >= n && !memcmp(at, separator, n)) break;
    d->p = at ? at + n : d->end;
    return trimmed(p, at ? at : d->end);
}

/* The text of one value: an object's "text", or a string that is a whole item of an array. */
static int text_of(pith__documents *d, pith__json j, pith__str *text, pith_error *err) {
    const char *what = d->kind == PITH__JSON_ARRAY ? "item" : "line";
    pith__json value = pith__json_type(j) == '{' ? pith__json_get(j, "text") : (pith__json){ 0 };
    if (d->kind == PITH__JSON_ARRAY && pith__json_type(j) == '"') value = j;
    if (pith__json_type(value) != '"')
        return pith__fail(err, PITH_EDATA, "%s: %s %zu is no object with a string \"text\"", d->path, what,
                          d->count);
    if (pith__json_string(value, &d->arena, text))
        return pith__fail(err, PITH_EDATA, "%s: %s %zu: \"text\" cannot be read", d->path, what, d->count);
    *text = trimmed(text->p, text->p + text->n);
    return PITH_OK;
}

/* The value of the next line that is not blank. */
static int next_line(pith__documents *d, pith__json *j, pith_error *err) {
    pith_error e = { 0, "" };
    pith__str line = { d->p, 0 };
    while (d->p < d->end && !line.n) {
        const char *line_end = memchr(d->p, '\n', (size_t)(d->end - d->p));
        line = line_at(d->p, d->end);
        d->p = line_end ? line_end + 1 : d->end;
        d->count++;
    }
    if (line.n && pith__json_read(j, line.p, line.n, "JSON", &e))
        return pith__fail(err, PITH_EDATA, "%s: line %zu: %s", d->path, d->count, e.text);
    return PITH_OK;
}

static int next_item(pith__documents *d, pith__json *j) {
    int more = pith__json_next(&d->array, NULL, j);
    if (!more) *j = (pith__json){ NULL, NULL };
    d->p = more ? j->p : d->end;
    d->count += (size_t)more;
    return PITH_OK;
}

PITH_SHARED int pith__documents_row(pith__documents *d, pith__json *row, pith_error *err) {
    *row = (pith__json){ NULL, NULL };
    return d->kind == PITH__JSON_ARRAY ? next_item(d, row) : next_line(d, row, err);
}

/* Lines that end as Windows has them are as all others. */
static int without_returns(pith__documents *d, pith__str *text, pith_error *err) {
    const char *end = text->p + text->n, *at = text->n ? memchr(text->p, '\r', text->n) : NULL;
    if (!at) return PITH_OK;
    char *copy = pith__arena_new(&d->arena, text->n, 1);
    if (!copy) return pith__fail(err, PITH_EMEMORY, "%s: no memory for a document of %zu bytes", d->path, text->n);
    size_t n = 0;
    for (const char *p = text->p; p < end; p++)
        if (*p != '\r' || p + 1 == end || p[1] != '\n') copy[n++] = *p;
    *text = (pith__str){ copy, n };
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
        pith__json row = { NULL, NULL };
        if (d->kind == PITH__PROSE) *text = next_text(d);
        else code = pith__documents_row(d, &row, err);
        if (!code && row.p) code = text_of(d, row, text, err);
    }
    if (!code) code = without_returns(d, text, err);
    return code ? code : normalise(d, text, err);
}

PITH_SHARED pith_token pith__document_token(const pith__vocab *v) { return v->bos >= 0 ? v->bos : v->eos; }

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
enum { HOW_READ = 2 }; /* counts the changes of this file that make other tokens of the same text */

enum { FEW_DOCUMENTS = 100 }; /* With fewer documents than this, the end of each is held out, not whole documents. */

typedef struct { /* at work */
    const pith_model *m;
    const pith__text_choice *texts;
    pith__writer *out; /* NULL: they are only counted */
    token_header head;
    pith_token *token;
    int room;
    const pith__progress *progress;
    pith_error *err;
    int kinds;
    size_t longest;
    size_t done, at, all; /* bytes of text: files done, and so far, and in all; those of train come twice */
} token_writer;

static uint64_t hash_str(uint64_t h, pith__str s) { return pith__hash(h + s.n, s.p, s.n); }

/* Of all that makes tokens of a text: what ordinary pieces stand for (not how the file they came from spells
 * them), in what order they join, and the rules. */
static uint64_t vocab_key(const pith_model *m) {
    const pith__vocab *v = &m->store.vocab;
    const int rules[] = { v->model, v->bos, v->eos, v->unk, v->ignore_merges, v->byte_fallback, v->nfc, v->add_space,
                          v->late_spaces, v->split_words, v->split_white, v->fuse_unk };
    uint64_t h = pith__hash((uint64_t)v->n, rules, sizeof rules);
    for (int i = 0; i < v->n; i++) {
        if (i == v->unk || i == v->bos || i == v->eos) continue;
        h = hash_str(h + v->type[i] + (v->added ? 256u * v->added[i] : 0), pith__tokenizer_piece(m->tokenizer, i));
        if (v->model == PITH__SPM || v->model == PITH__UNIGRAM) h = pith__hash(h, &v->score[i], sizeof *v->score);
    }
    for (int i = 0; i < v->n_rewrite; i++)
        h = hash_str(hash_str(h + (uint64_t)v->rewrite[i].kind, v->rewrite[i].find), v->rewrite[i].put);
    for (int i = 0; i < v->n_merge; i++) h = hash_str(hash_str(h, v->left[i]), v->right[i]);
    return v->model == PITH__BPE ? hash_str(h, v->pre) : h;
}

static int hash_file(uint64_t *key, const pith__documents *d, int is_eval, const pith__progress *progress,
                     pith_error *err) {
    enum { AT_ONCE = 64 << 20 };
    int code = PITH_OK;
    *key = pith__hash(*key + (uint64_t)is_eval, &d->kind, sizeof d->kind);
    for (size_t at = 0, n; at < d->file.size && !code; at += n) {
        n = d->file.size - at < AT_ONCE ? d->file.size - at : AT_ONCE;
        *key = pith__hash(*key, d->file.data + at, n);
        code = pith__tell(progress, "looking at the text: byte", at + n, d->file.size + 1, err);
    }
    return code;
}

static int texts_key(const pith_model *m, const pith__text_choice *c, uint64_t *key, int *kinds,
                     const pith__progress *progress, pith_error *err) {
    float hold[1] = { c->hold_out };
    *key = pith__hash(vocab_key(m) + HOW_READ, hold, sizeof hold);
    for (int i = 0; i <= c->train.n; i++) {
        const char *path = i < c->train.n ? c->train.path[i] : c->eval;
        if (!path) continue;
        pith__documents d; /* what it is read as is a part of it */
        int code = pith__documents_open(&d, path, err);
        if (code) return code;
        *kinds |= 1 << d.kind;
        code = hash_file(key, &d, i == c->train.n, progress, err);
        pith__documents_close(&d);
        if (code) return code;
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

static const char to_tokens[] = "text to tokens: byte";

static int still_wanted(void *data, const char *what, size_t done, size_t all) {
    const token_writer *w = data;
    (void)what, (void)done, (void)all;
    return pith__tell(w->progress, to_tokens, w->at, w->all + 1, NULL);
}

static int put_document(token_writer *w, const char *path, pith__str text, int held_out) {
    pith_token begin = pith__document_token(&w->m->store.vocab);
    pith__progress asked = { still_wanted, w };
    if (text.n == 0) return PITH_OK;
    if (text.n > w->longest) w->longest = text.n;
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
    int n = pith__tokenizer_encode_long(w->m->tokenizer, text.p, text.n, 0, w->token + 1, w->room - 1, &asked);
    if (n == PITH_ESTOP) return pith__fail(w->err, n, "%s: stopped", path);
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
    w->kinds |= 1 << d.kind;
    while (!(code = pith__documents_next(&d, &text, w->err)) && text.n) {
        uint64_t i = (*count)++;
        int all = path == w->texts->eval, chosen = pith__random_at(1, i) < (double)part * 0x1p64;
        size_t cut = few ? tail_of(text, part) : chosen ? 0 : text.n;
        pith__str head = { text.p, all ? 0 : cut }, tail = { text.p + head.n, text.n - head.n };
        code = put_document(w, path, held_out ? tail : head, held_out);
        w->at = w->done + (size_t)(d.p - (const char *)d.file.data);
        if (!code) code = pith__tell(w->progress, to_tokens, w->at, w->all + 1, w->err);
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
    if (!code) return pith__tell(w->progress, to_tokens, 1, 1, w->err);
    pith__tell(w->progress, to_tokens, 1, 1, NULL);
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
    d->begin = pith__document_token(v);
    d->order = 0, d->offset = 0;
    return 1;
}

PITH_SHARED int pith__dataset_open(pith__dataset *d, const pith_model *m, const pith__text_choice *c,
                                   const char *path, const pith__progress *progress, pith_error *err) {
    token_writer w = { .m = m, .texts = c, .progress = progress, .err = err };
    uint64_t key;
    int kinds = 0, code = texts_key(m, c, &key, &kinds, progress, err);
    if (code) return code;
    int there = open_tokens(d, path, key, &m->store.vocab);
    if (!there) code = write_tokens(&w, path, key);
    if (code) return code;
    if (!there && !open_tokens(d, path, key, &m->store.vocab))
        return pith__fail(err, PITH_EIO, "%s: changed while it was in use", path);
    d->kinds = kinds, d->longest = w.longest;
    return PITH_OK;
}

PITH_SHARED int pith__dataset_count(pith__dataset *d, const pith_model *m, const pith__text_choice *c,
                                    const pith__progress *progress, pith_error *err) {
    token_writer w = { .m = m, .texts = c, .progress = progress, .err = err };
    memset(d, 0, sizeof *d);
    int code = put_all(&w);
    d->hangul_apart = w.head.hangul_apart;
    d->kinds = w.kinds, d->longest = w.longest;
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

/* The tokens to learn from are a ring: after the last document comes the first again, with the token that ends
 * the one and begins the other. Windows lie side by side on it (the last one may come round to what the first
 * one has). Each epoch shifts them all by another offset, which cuts the text elsewhere. Every other epoch starts
 * at a document's beginning; otherwise a model of few long documents hardly sees one at the start of a window. */
PITH_SHARED uint64_t pith__dataset_windows(const pith__dataset *d, int n_ctx) {
    return d->n_train > (size_t)n_ctx ? (d->n_train - 1) / (size_t)n_ctx + 1 : 0;
}

/* The first token of a document, going on from token at. */
static uint64_t document_from(const pith__dataset *d, uint64_t at) {
    for (uint64_t i = 0; i < d->n_train; i++) {
        pith_token t;
        uint64_t k = (at + i) % d->n_train;
        copy_tokens(d, (size_t)k, 1, &t);
        if (t == d->begin) return k;
    }
    return at;
}

PITH_SHARED void pith__dataset_window(pith__dataset *d, int n_ctx, uint64_t seed, uint64_t i,
                                      pith_token *t) {
    uint64_t n = pith__dataset_windows(d, n_ctx), epoch = i / n, order = pith__random_at(seed, 2 * epoch);
    uint64_t window = pith__shuffled(pith__random_at(seed, 2 * epoch + 1), n, i % n);
    if (order != d->order) { /* another epoch: look for its beginning once */
        d->order = order;
        d->offset = order % d->n_train;
        if (epoch % 2 == 0) d->offset = document_from(d, d->offset);
    }
    size_t at = (size_t)((d->offset + window * (uint64_t)n_ctx) % d->n_train);
    for (size_t got = 0, k; got < (size_t)n_ctx + 1; got += k, at = (at + k) % d->n_train) {
        k = d->n_train - at < (size_t)n_ctx + 1 - got ? d->n_train - at : (size_t)n_ctx + 1 - got;
        copy_tokens(d, at, k, t + got);
    }
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
