/* store.c - one table of tensors, keys and vocabulary, whatever the file on disk was.
 *
 * Every reader in this folder fills a pith__store under GGUF's names, so that what stands above knows
 * one kind of model. Memory is the store's arena; tensors are views into the mapped files. */
#include "formats.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

PITH_SHARED void pith__store_free(pith__store *s) {
    for (int i = 0; i < s->n_file; i++) pith__file_close(&s->file[i]);
    pith__arena_free(&s->arena);
    memset(s, 0, sizeof *s);
}

/* A note that finds no memory is not worth an error. */
PITH_SHARED void pith__note(pith__store *s, const char *fmt, ...) {
    char text[240];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    size_t bytes = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n + 1 : sizeof text;
    pith__note_line *note = pith__arena_new(&s->arena, 1, sizeof *note);
    char *copy = note && bytes ? pith__arena_new(&s->arena, bytes, 1) : NULL;
    if (!copy) return;
    memcpy(copy, text, bytes);
    note->text = copy;
    pith__note_line **end = &s->note;
    while (*end) end = &(*end)->next;
    *end = note;
}

/* ---- keys ------------------------------------------------------------------------------------------ */

static pith__key *add_key(pith__store *s, const char *name, int type) {
    if (s->n_key >= s->key_room) {
        size_t room = 2 * s->n_key + 16;
        pith__key *more = pith__arena_new(&s->arena, room, sizeof *more);
        if (!more) return NULL;
        if (s->n_key) memcpy(more, s->key, s->n_key * sizeof *more);
        s->key = more;
        s->key_room = room;
    }
    pith__key *k = &s->key[s->n_key];
    size_t n = strlen(name);
    char *copy = pith__arena_text(&s->arena, name, n);
    if (!copy) return NULL;
    memset(k, 0, sizeof *k);
    k->name.p = copy;
    k->name.n = n;
    k->type = type;
    s->n_key++;
    return k;
}

PITH_SHARED int pith__store_add_int(pith__store *s, const char *name, int64_t i) {
    pith__key *k = add_key(s, name, PITH__INT);
    if (!k) return PITH_EMEMORY;
    k->i = i;
    k->f = (double)i;
    return PITH_OK;
}

PITH_SHARED int pith__store_add_float(pith__store *s, const char *name, double f) {
    pith__key *k = add_key(s, name, PITH__FLOAT);
    if (!k) return PITH_EMEMORY;
    k->f = f;
    return PITH_OK;
}

PITH_SHARED int pith__store_add_string(pith__store *s, const char *name, const char *v) {
    pith__key *k = add_key(s, name, PITH__STRING);
    size_t n = strlen(v);
    char *copy = k ? pith__arena_text(&s->arena, v, n) : NULL;
    if (!copy) return PITH_EMEMORY;
    k->s.p = copy;
    k->s.n = n;
    return PITH_OK;
}

/* An array is there as the bytes it has in a file. */
PITH_SHARED int pith__store_add_strings(pith__store *s, const char *name, const pith__str *v, size_t n) {
    enum { GGUF_STRING = 8 };
    size_t bytes = 0, at = 0;
    for (size_t i = 0; i < n; i++) bytes += 8 + v[i].n;
    pith__key *k = add_key(s, name, PITH__ARRAY);
    uint8_t *p = k ? pith__arena_new(&s->arena, bytes ? bytes : 1, 1) : NULL;
    if (!p) return PITH_EMEMORY;
    for (size_t i = 0; i < n; i++) {
        for (int b = 0; b < 8; b++) p[at++] = (uint8_t)((uint64_t)v[i].n >> 8 * b);
        if (v[i].n) memcpy(p + at, v[i].p, v[i].n);
        at += v[i].n;
    }
    k->item = PITH__STRING, k->gguf_item = GGUF_STRING, k->n = n;
    k->at = (pith__cursor){ p, bytes, 0 };
    return PITH_OK;
}

PITH_SHARED double pith__key_float(const pith__key *k, size_t i) {
    float y = NAN;
    if (k->type == PITH__FLOAT || k->type == PITH__INT) return k->f;
    if (k->type != PITH__ARRAY || k->gguf_item != PITH__GGUF_F32 || i >= k->n) return NAN;
    pith__cursor c = k->at;
    pith__take(&c, (uint64_t)i * sizeof y);
    uint32_t bits = pith__u32(&c);
    memcpy(&y, &bits, sizeof y);
    return (double)y;
}

PITH_SHARED int64_t pith__key_item(const pith__key *k, size_t i) {
    static const int sizes[] = { 1, 1, 2, 2, 4, 4, 0, 1, 0, 0, 8, 8 }; /* of GGUF's types */
    static const int is_signed[] = { 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1 };
    if (k->type != PITH__ARRAY || k->gguf_item < 0 || k->gguf_item > 11 || i >= k->n) return 0;
    int size = sizes[k->gguf_item];
    pith__cursor c = k->at;
    pith__take(&c, (uint64_t)i * (uint64_t)size);
    int64_t u = 0;
    if (size == 1) u = is_signed[k->gguf_item] ? (int8_t)pith__u8(&c) : pith__u8(&c);
    if (size == 2) u = is_signed[k->gguf_item] ? (int16_t)pith__u16(&c) : pith__u16(&c);
    if (size == 4) u = is_signed[k->gguf_item] ? (int32_t)pith__u32(&c) : (int64_t)pith__u32(&c);
    if (size == 8) u = (int64_t)pith__u64(&c);
    return u;
}

/* ---- sorting and finding --------------------------------------------------------------------------- */

/* Keys and tensors both begin with their name, so one comparison serves both tables. */
static int by_name(const void *a, const void *b) {
    return pith__str_cmp(*(const pith__str *)a, *(const pith__str *)b);
}

static const void *find(const void *table, size_t n, size_t size, const char *name) {
    pith__str s = pith__str_of(name);
    return n ? bsearch(&s, table, n, size, by_name) : NULL;
}

PITH_SHARED int pith__store_sort(pith__store *s, pith_error *err) {
    if (s->n_key) qsort(s->key, s->n_key, sizeof *s->key, by_name);
    if (s->n_tensor) qsort(s->tensor, s->n_tensor, sizeof *s->tensor, by_name);
    for (size_t i = 1; i < s->n_key; i++) {
        pith__str n = s->key[i].name;
        if (by_name(&n, &s->key[i - 1].name) == 0)
            return pith__fail(err, PITH_EFORMAT, "%s: key '%.*s' comes twice", s->path,
                              n.n < 100 ? (int)n.n : 100, n.p);
    }
    for (size_t i = 1; i < s->n_tensor; i++) {
        pith__str n = s->tensor[i].name;
        if (by_name(&n, &s->tensor[i - 1].name) == 0)
            return pith__fail(err, PITH_EFORMAT, "%s: tensor '%.*s' comes twice", s->path,
                              n.n < 100 ? (int)n.n : 100, n.p);
    }
    return PITH_OK;
}

PITH_SHARED const pith__key *pith__store_key(const pith__store *s, const char *name) {
    return find(s->key, s->n_key, sizeof *s->key, name);
}

PITH_SHARED const pith__tensor *pith__store_tensor(const pith__store *s, const char *name) {
    return find(s->tensor, s->n_tensor, sizeof *s->tensor, name);
}

/* ---- tensors --------------------------------------------------------------------------------------- */

PITH_SHARED int pith__tensor_set(pith__tensor *t, const pith__store *s, int format, pith__cursor data,
                                 pith_error *err) {
    pith__str name = t->name;
    int len = name.n < 100 ? (int)name.n : 100, n_dim = t->n_dim;
    t->format = pith__format_of(format);
    if (!t->format)
        return pith__fail(err, PITH_EARCH, "%s: tensor '%.*s' has number format %d, not known here",
                          s->path, len, name.p, format);
    if (n_dim < 1 || n_dim > 4)
        return pith__fail(err, PITH_EFORMAT, "%s: tensor '%.*s' has %d dimensions, need 1 to 4",
                          s->path, len, name.p, n_dim);
    size_t rows = 1, total, bytes;
    for (int i = 0; i < n_dim; i++) {
        uint64_t n = t->shape[i];
        if (n < 1 || n > SIZE_MAX / 2 || (i + 1 < n_dim && pith__mul(&rows, rows, (size_t)n)))
            return pith__fail(err, PITH_EFORMAT, "%s: tensor '%.*s' has %llu in dimension %d",
                              s->path, len, name.p, (unsigned long long)n, i);
    }
    t->rows = rows;
    t->cols = (size_t)t->shape[n_dim - 1];
    size_t length = (size_t)t->format->length;
    if (t->cols % length)
        return pith__fail(err, PITH_EFORMAT,
                          "%s: tensor '%.*s' has rows of %zu numbers, need a multiple of %zu for %s",
                          s->path, len, name.p, t->cols, length, t->format->name);
    if (pith__mul(&total, rows, t->cols) ||
        pith__mul(&t->row_bytes, t->cols / length, (size_t)t->format->bytes) ||
        pith__mul(&bytes, t->row_bytes, rows) || bytes > data.left)
        return pith__fail(err, PITH_EFORMAT,
                          "%s: tensor '%.*s' of %zu x %zu %s needs more bytes than the %zu there",
                          s->path, len, name.p, rows, t->cols, t->format->name, data.left);
    t->data = data.p;
    return PITH_OK;
}

PITH_SHARED int pith__layer_of(pith__str name) {
    int l = 0;
    size_t i = 4;
    if (name.n < 5 || memcmp(name.p, "blk.", 4) != 0) return -1;
    for (; i < name.n && name.p[i] >= '0' && name.p[i] <= '9' && l < 1000000; i++) l = 10 * l + (name.p[i] - '0');
    return i < name.n && name.p[i] == '.' ? l : -1;
}
