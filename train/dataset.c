/* dataset.c - text files -> tokens to learn from.
 *
 * A text file holds documents with <|endoftext|> between them; a file whose name ends in .jsonl
 * has one a line, {"text": "..."}. All are made tokens once, BOS before each, and written to one
 * file that is then mapped, so a text may be larger than memory. A part is held out: never
 * learned from, only scored.
 *
 * Training reads windows of n_ctx + 1 tokens. Which one comes when is a function of the seed and
 * of how many came before, and of nothing else, so that a run can go on where it stopped. */
#include "../tools/tools.h"
#include "train.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* ---- random numbers by counting -------------------------------------------------------------- */

/* The finalizer of splitmix64: Steele, Lea and Flood 2014, doi:10.1145/2714064.2660195. */
static uint64_t scramble(uint64_t z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t random_at(uint64_t seed, uint64_t i) {
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
            i = right << half | (left ^ (random_at(seed + round, right) & mask));
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

int add_text(list *texts, const char *path) {
    enum { MOST = sizeof texts->item / sizeof *texts->item };
    if (path && texts->n == MOST) return complain(USAGE, "%s: is one text more than %d", path, MOST);
    if (path) texts->item[texts->n++] = path;
    return texts->n ? 0 : complain(USAGE, "no text given, see --help");
}

int documents_open(documents *d, const char *path) {
    pith_error e = { 0, "" };
    memset(d, 0, sizeof *d);
    d->path = path;
    if (pith__file_open(&d->file, path, 0, &e)) return complain(BAD_DATA, "%s", e.text);
    d->p = (const char *)d->file.data;
    d->end = d->p + d->file.size;
    d->jsonl = ends_in(path, ".jsonl");
    const char *zero = memchr(d->p, 0, d->file.size);
    if (!zero) return 0;
    int code = complain(BAD_DATA, "%s: byte %zu is 0, need a text", path, (size_t)(zero - d->p));
    documents_close(d);
    return code;
}

void documents_close(documents *d) {
    pith__file_close(&d->file);
    pith__arena_free(&d->arena);
}

static pith__str trimmed(const char *p, const char *end) {
    while (p < end && (*p == ' ' || (*p >= '\t' && *p <= '\r'))) p++;
    while (p < end && (end[-1] == ' ' || (end[-1] >= '\t' && end[-1] <= '\r'))) end--;
    return (pith__str){ p, (size_t)(end - p) };
}

static pith__str next_text(documents *d) {
    const char *p = d->p, *at = p;
    size_t n = sizeof separator - 1;
    for (; (at = memchr(at, '<', (size_t)(d->end - at))); at++)
        if ((size_t)(d->end - at) >= n && !memcmp(at, separator, n)) break;
    d->p = at ? at + n : d->end;
    return trimmed(p, at ? at : d->end);
}

static pith__str next_line(documents *d) {
    const char *p = d->p, *line_end = memchr(p, '\n', (size_t)(d->end - p));
    pith_error e = { 0, "" };
    pith__json j = { NULL, NULL };
    pith__str line = trimmed(p, line_end ? line_end : d->end), text = { line.p, 0 };
    d->p = line_end ? line_end + 1 : d->end;
    d->line++;
    if (line.n == 0) return line;
    if (pith__json_read(&j, line.p, line.n, d->path, &e)) {
        d->code = complain(BAD_DATA, "line %zu: %s", d->line, e.text);
        return text;
    }
    pith__json value = pith__json_type(j) == '{' ? pith__json_get(j, "text") : (pith__json){ 0 };
    if (pith__json_type(value) != '"')
        d->code = complain(BAD_DATA, "%s: line %zu is no object with a string \"text\"", d->path,
                           d->line);
    else if (pith__json_string(value, &d->arena, &text))
        d->code = complain(BAD_DATA, "%s: line %zu: \"text\" cannot be read", d->path, d->line);
    return d->code ? (pith__str){ line.p, 0 } : trimmed(text.p, text.p + text.n);
}

int documents_next(documents *d, pith__str *text) {
    pith__arena_free(&d->arena);
    while (d->p < d->end && !d->code) {
        *text = d->jsonl ? next_line(d) : next_text(d);
        if (text->n && !d->code) return 1;
    }
    return 0;
}

/* ---- tokens on disk -------------------------------------------------------------------------- */

typedef struct { /* what the file begins with; then the tokens to learn from, and those held out */
    char magic[8];
    uint64_t key;      /* of texts and vocabulary: another key, other tokens */
    uint64_t n_train, n_eval, eval_bytes;
    uint32_t width, order; /* bytes of a token; 1, as this machine writes it */
    uint64_t unused[2];
} token_header;
_Static_assert(sizeof(token_header) == 64, "as it lies in the file");

static const char token_magic[8] = "pithtok1";

enum { FEW_DOCUMENTS = 100 }; /* so few are held out not as a whole but each one's end */

typedef struct { /* at work */
    const pith_model *m;
    const text_choice *texts;
    output out;
    token_header head;
    pith_token *token;
    int room;
    int counting;      /* 1: nothing is written */
    progress shown;
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
    uint64_t h = (uint64_t)v->n;
    for (int i = 0; i < v->n; i++) {
        pith__str piece = pith__tokenizer_piece(m->tokenizer, i);
        if (i != v->unk && i != v->bos && i != v->eos) h = hash_bytes(h, piece.p, piece.n);
    }
    return h;
}

static int texts_key(const pith_model *m, const text_choice *c, uint64_t *key) {
    float hold[1] = { c->hold_out };
    *key = hash_bytes(vocab_key(m), hold, sizeof hold);
    for (int i = 0; i <= c->train.n; i++) {
        const char *path = i < c->train.n ? c->train.item[i] : c->eval;
        pith_error e = { 0, "" };
        pith__file f;
        if (!path) continue;
        if (pith__file_open(&f, path, 0, &e)) return complain(BAD_DATA, "%s", e.text);
        *key = hash_bytes(*key + (uint64_t)(i == c->train.n), f.data, f.size);
        pith__file_close(&f);
    }
    return 0;
}

static void put_tokens(token_writer *w, const pith_token *t, int n) {
    for (int i = 0; i < n && !w->counting; i++) {
        uint16_t narrow = (uint16_t)t[i];
        if (w->head.width == 2) output_bytes(&w->out, &narrow, 2);
        else output_bytes(&w->out, &t[i], 4);
    }
}

static int put_document(token_writer *w, const char *path, pith__str text, int held_out) {
    const pith__vocab *v = &w->m->store.vocab;
    pith_token begin = v->bos >= 0 ? v->bos : v->eos;
    if (text.n == 0) return 0;
    if (text.n > INT_MAX / 4)
        return complain(BAD_DATA, "%s: a document of %zu bytes, need %d or less: separate them by %s",
                        path, text.n, INT_MAX / 4, separator);
    if (w->room < (int)text.n + 2) {
        free(w->token);
        w->room = 2 * (int)text.n + 2;
        w->token = malloc((size_t)w->room * sizeof *w->token);
        if (!w->token)
            return complain(FAILED, "%s: no memory for the tokens of %zu bytes", path, text.n);
    }
    int n = pith_encode(w->m, text.p, text.n, 0, w->token + 1, w->room - 1);
    if (n < 0 || n >= w->room)
        return complain(FAILED, "%s: %zu bytes of text cannot be made tokens", path, text.n);
    w->token[0] = begin;
    put_tokens(w, begin >= 0 ? w->token : w->token + 1, n + (begin >= 0));
    *(held_out ? &w->head.n_eval : &w->head.n_train) += (uint64_t)(n + (begin >= 0));
    if (held_out) w->head.eval_bytes += text.n;
    return w->out.code > 0 ? w->out.code : 0;
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
    documents d;
    pith__str text;
    int code = documents_open(&d, path);
    if (code) return code;
    while (!code && !stopped() && documents_next(&d, &text)) {
        uint64_t i = (*count)++;
        int all = path == w->texts->eval, chosen = random_at(1, i) < (double)part * 0x1p64;
        size_t cut = few ? tail_of(text, part) : chosen ? 0 : text.n;
        pith__str head = { text.p, all ? 0 : cut }, tail = { text.p + head.n, text.n - head.n };
        code = put_document(w, path, held_out ? tail : head, held_out);
        show_progress(&w->shown, w->done + (size_t)(d.p - (const char *)d.file.data), w->all + 1);
    }
    w->done += d.file.size;
    if (!code) code = d.code ? d.code : stopped();
    documents_close(&d);
    return code;
}

/* How many there are, or FEW_DOCUMENTS if that is less. */
static int count_documents(token_writer *w, int *n) {
    const list *texts = &w->texts->train;
    *n = 0;
    for (int i = 0; i < texts->n; i++) {
        documents d;
        pith__str text;
        int code = documents_open(&d, texts->item[i]);
        if (code) return code;
        w->all += 2 * d.file.size;
        while (*n < FEW_DOCUMENTS && documents_next(&d, &text)) ++*n;
        code = d.code;
        documents_close(&d);
        if (code) return code;
    }
    return *n ? 0 : complain(BAD_DATA, "%s: has no text", texts->item[0]);
}

static int put_all(token_writer *w) {
    uint64_t count = 0;
    int n, code = count_documents(w, &n);
    w->shown.what = "text to tokens: byte";
    for (int held_out = 0; held_out < 2; held_out++) {
        count = 0;
        for (int i = 0; !code && i < w->texts->train.n; i++)
            code = put_documents(w, w->texts->train.item[i], held_out, n < FEW_DOCUMENTS, &count);
    }
    if (!code && w->texts->eval) {
        code = put_documents(w, w->texts->eval, 1, 0, &count);
        if (!code && !w->head.n_eval) code = complain(BAD_DATA, "%s: has no text", w->texts->eval);
    }
    show_progress(&w->shown, 1, 1);
    free(w->token);
    return code;
}

static int write_tokens(const pith_model *m, const text_choice *c, const char *path, uint64_t key) {
    token_writer w = { .m = m, .texts = c };
    memcpy(w.head.magic, token_magic, sizeof token_magic);
    w.head.key = key;
    w.head.order = 1;
    w.head.width = m->store.vocab.n > 65536 ? 4 : 2;
    int code = output_open(&w.out, path, NULL);
    if (code) return code;
    output_bytes(&w.out, &w.head, sizeof w.head);
    code = put_all(&w);
    if (!code && fseek(w.out.file, 0, SEEK_SET) != 0)
        code = complain(FAILED, "%s: cannot be written", path);
    output_bytes(&w.out, &w.head, sizeof w.head); /* again, now that the counts are known */
    int closed = output_close(&w.out, code == 0);
    return code ? code : closed;
}

/* ---- a dataset ------------------------------------------------------------------------------- */

/* GO_ON: there is none, or of other texts. */
static int open_tokens(dataset *d, const char *path, uint64_t key, const pith__vocab *v) {
    token_header h;
    memset(d, 0, sizeof *d);
    if (pith__file_open(&d->file, path, 0, NULL)) return GO_ON;
    size_t size = d->file.size;
    if (size >= sizeof h) memcpy(&h, d->file.data, sizeof h);
    if (size < sizeof h || memcmp(h.magic, token_magic, sizeof token_magic) != 0 || h.key != key ||
        h.order != 1 || h.width != (v->n > 65536 ? 4 : 2) || h.n_train > size || h.n_eval > size ||
        (h.n_train + h.n_eval) * h.width != size - sizeof h) {
        dataset_close(d);
        return GO_ON;
    }
    d->key = key;
    d->width = (int)h.width;
    d->n_train = (size_t)h.n_train;
    d->n_eval = (size_t)h.n_eval;
    d->eval_bytes = h.eval_bytes;
    d->n_vocab = v->n;
    return 0;
}

int dataset_open(dataset *d, const pith_model *m, const text_choice *c, const char *path) {
    uint64_t key;
    int code = texts_key(m, c, &key);
    if (code) return code;
    code = open_tokens(d, path, key, &m->store.vocab);
    if (code != GO_ON) return code;
    code = write_tokens(m, c, path, key);
    if (code) return code;
    code = open_tokens(d, path, key, &m->store.vocab);
    return code == GO_ON ? complain(FAILED, "%s: changed while it was in use", path) : code;
}

int dataset_count(dataset *d, const pith_model *m, const text_choice *c) {
    token_writer w = { .m = m, .texts = c, .counting = 1 };
    memset(d, 0, sizeof *d);
    int code = put_all(&w);
    d->n_train = (size_t)w.head.n_train;
    d->n_eval = (size_t)w.head.n_eval;
    return code;
}

void dataset_close(dataset *d) { pith__file_close(&d->file); }

/* Tokens i to i + n of the file. One that is none (somebody wrote to the file) becomes 0. */
static void copy_tokens(const dataset *d, size_t i, size_t n, pith_token *t) {
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
uint64_t dataset_windows(const dataset *d, int n_ctx) {
    size_t n = d->n_train > (size_t)n_ctx ? (d->n_train - 1) / (size_t)n_ctx : 0;
    return n > 1 ? n - 1 : n;
}

void dataset_window(const dataset *d, int n_ctx, uint64_t seed, uint64_t i, pith_token *t) {
    uint64_t n = dataset_windows(d, n_ctx), epoch = i / n;
    uint64_t slack = d->n_train - n * (uint64_t)n_ctx; /* at least 1 */
    uint64_t offset = random_at(seed, 2 * epoch) % slack;
    uint64_t window = shuffled(random_at(seed, 2 * epoch + 1), n, i % n);
    copy_tokens(d, (size_t)(offset + window * (uint64_t)n_ctx), (size_t)n_ctx + 1, t);
}

int dataset_eval_windows(const dataset *d, int n_ctx) {
    size_t n = d->n_eval > 1 ? (d->n_eval - 2) / (size_t)n_ctx + 1 : 0;
    return n > INT_MAX ? INT_MAX : (int)n;
}

int dataset_eval_window(const dataset *d, int n_ctx, int i, pith_token *t) {
    size_t from = (size_t)i * (size_t)n_ctx, left = d->n_eval - from;
    size_t n = left > (size_t)n_ctx + 1 ? (size_t)n_ctx + 1 : left;
    copy_tokens(d, d->n_train + from, n, t);
    return (int)n - 1;
}
