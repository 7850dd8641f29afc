/* gguf.c - GGUF, the file format of llama.cpp (github.com/ggml-org/ggml, docs/gguf.md).
 *
 *     "GGUF", version, n_tensor, n_key; n_key keys; n_tensor tensors; padding; the tensors' data
 *     a key:     name, type, value            a string: length, bytes
 *     a tensor:  name, n_dim, shape, number format, offset into the data
 *
 * Numbers are little-endian, lengths and counts 64 bits wide; versions 2 and 3 are laid out alike.
 * A large model may be split over files NAME-00001-of-00003.gguf: the first has the keys, each has
 * some of the tensors. What is read becomes a pith__store: keys and tensors under their own names,
 * and the vocabulary from the keys tokenizer.*. Nothing of the file is copied but numbers. */
#include "formats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the parts of a file --------------------------------------------------------------------- */

enum { GGUF_DEPTH = 64, GGUF_KEY_MAX = 65535, GGUF_TENSOR_MAX = 64 };
enum { GGUF_KEY_BYTES = 13, GGUF_INFO_BYTES = 32 }; /* the least that one takes in the file */

static const struct {
    int type, bytes; /* bytes: the least that one takes; exact for all but strings and arrays */
} gguf_types[PITH__GGUF_TYPES] = {
    [PITH__GGUF_U8] = { PITH__INT, 1 },        [PITH__GGUF_I8] = { PITH__INT, 1 },
    [PITH__GGUF_U16] = { PITH__INT, 2 },       [PITH__GGUF_I16] = { PITH__INT, 2 },
    [PITH__GGUF_U32] = { PITH__INT, 4 },       [PITH__GGUF_I32] = { PITH__INT, 4 },
    [PITH__GGUF_F32] = { PITH__FLOAT, 4 },     [PITH__GGUF_BOOL] = { PITH__BOOL, 1 },
    [PITH__GGUF_STRING] = { PITH__STRING, 8 }, [PITH__GGUF_ARRAY] = { PITH__ARRAY, 12 },
    [PITH__GGUF_U64] = { PITH__INT, 8 },       [PITH__GGUF_I64] = { PITH__INT, 8 },
    [PITH__GGUF_F64] = { PITH__FLOAT, 8 }
};

typedef struct { /* a row of the tensor table */
    pith__str name;
    uint32_t n_dim, format;
    uint64_t shape[4]; /* slowest first, as everywhere here; the file has the fastest first */
    uint64_t offset;
} gguf_info;

typedef struct { /* one file of a model */
    const char *path;
    pith__file file;
    pith__cursor at;
    uint32_t version;
    pith__key *key;
    size_t n_key;
    gguf_info *info;
    size_t n_info;
    size_t alignment, data; /* where the data begins; offsets are multiples of alignment */
} gguf_part;

/* How much of a name goes into a message. */
static int gguf_shown(pith__str s) { return s.n < 64 ? (int)s.n : 64; }

/* ---- header and keys ------------------------------------------------------------------------- */

/* Counts are held against the bytes that are there before any memory is taken for them. */
static int gguf_header(gguf_part *p, pith_error *err) {
    const uint8_t *magic = pith__take(&p->at, 4);
    p->version = pith__u32(&p->at);
    uint64_t n_info = pith__u64(&p->at), n_key = pith__u64(&p->at);
    if (!magic || memcmp(magic, "GGUF", 4) != 0)
        return pith__fail(err, PITH_EFORMAT, "%s: does not begin with GGUF", p->path);
    if (p->at.bad) return pith__fail(err, PITH_EFORMAT, "%s: ends inside its header", p->path);
    if (p->version != 2 && p->version != 3)
        return pith__fail(err, PITH_EFORMAT, "%s: GGUF version is %lu, need 2 or 3%s", p->path,
                          (unsigned long)p->version,
                          p->version > 0xffff ? " (is it a big-endian file?)" : "");
    if (n_key > p->at.left / GGUF_KEY_BYTES)
        return pith__fail(err, PITH_EFORMAT, "%s: it has %llu keys, more than %zu bytes hold",
                          p->path, (unsigned long long)n_key, p->at.left);
    if (n_info > p->at.left / GGUF_INFO_BYTES)
        return pith__fail(err, PITH_EFORMAT, "%s: it has %llu tensors, more than %zu bytes hold",
                          p->path, (unsigned long long)n_info, p->at.left);
    p->n_key = (size_t)n_key;
    p->n_info = (size_t)n_info;
    return PITH_OK;
}

/* Go past n values, and find out on the way that they are sound. An array in an array takes 12
 * bytes of the file, so no nest of counts keeps this busy for longer than the file is long. */
static int gguf_skip(gguf_part *p, pith__str key, uint32_t type, uint64_t n, int depth,
                     pith_error *err) {
    if (depth > GGUF_DEPTH)
        return pith__fail(err, PITH_EFORMAT, "%s: key '%.*s' has arrays inside arrays over %d deep",
                          p->path, gguf_shown(key), key.p, GGUF_DEPTH);
    if (type >= PITH__GGUF_TYPES)
        return pith__fail(err, PITH_EFORMAT, "%s: key '%.*s' has type %lu, need 0 to 12", p->path,
                          gguf_shown(key), key.p, (unsigned long)type);
    if (n > p->at.left / (size_t)gguf_types[type].bytes)
        return pith__fail(err, PITH_EFORMAT, "%s: key '%.*s' has %llu values, %zu bytes are left",
                          p->path, gguf_shown(key), key.p, (unsigned long long)n, p->at.left);
    if (type != PITH__GGUF_STRING && type != PITH__GGUF_ARRAY) {
        pith__take(&p->at, n * (uint64_t)gguf_types[type].bytes);
        return PITH_OK;
    }
    for (uint64_t i = 0; i < n; i++) {
        if (type == PITH__GGUF_STRING) {
            pith__gguf_string(&p->at);
        } else {
            uint32_t item = pith__u32(&p->at);
            uint64_t count = pith__u64(&p->at);
            int code = gguf_skip(p, key, item, count, depth + 1, err);
            if (code) return code;
        }
        if (p->at.bad)
            return pith__fail(err, PITH_EFORMAT, "%s: ends inside key '%.*s'", p->path,
                              gguf_shown(key), key.p);
    }
    return PITH_OK;
}

/* The value of k from its bytes, which gguf_skip has been over. */
static void gguf_decode(pith__key *k, uint32_t type, pith__cursor *c) {
    uint64_t u = 0;
    k->type = gguf_types[type].type;
    switch (type) {
    case PITH__GGUF_U8: k->i = pith__u8(c); break;
    case PITH__GGUF_I8: k->i = (int8_t)pith__u8(c); break;
    case PITH__GGUF_U16: k->i = pith__u16(c); break;
    case PITH__GGUF_I16: k->i = (int16_t)pith__u16(c); break;
    case PITH__GGUF_U32: k->i = pith__u32(c); break;
    case PITH__GGUF_I32: k->i = (int32_t)pith__u32(c); break;
    case PITH__GGUF_BOOL: k->i = pith__u8(c) != 0; break;
    case PITH__GGUF_F32: k->f = pith__f32(c); break;
    case PITH__GGUF_STRING: k->s = pith__gguf_string(c); break;
    case PITH__GGUF_I64: k->i = (int64_t)pith__u64(c); break;
    case PITH__GGUF_U64:
        u = pith__u64(c);
        k->i = u > INT64_MAX ? INT64_MAX : (int64_t)u;
        break;
    case PITH__GGUF_F64:
        u = pith__u64(c);
        memcpy(&k->f, &u, sizeof k->f);
        break;
    case PITH__GGUF_ARRAY:
        k->gguf_item = (int)pith__u32(c);
        k->item = gguf_types[k->gguf_item].type;
        k->n = (size_t)pith__u64(c);
        k->at = *c;
        break;
    }
    if (k->type == PITH__INT) k->f = (double)k->i;
}

static int gguf_read_key(gguf_part *p, pith__key *k, pith_error *err) {
    k->name = pith__gguf_string(&p->at);
    uint32_t type = pith__u32(&p->at);
    if (p->at.bad)
        return pith__fail(err, PITH_EFORMAT, "%s: ends inside key %zu of %zu", p->path,
                          (size_t)(k - p->key), p->n_key);
    if (k->name.n > GGUF_KEY_MAX)
        return pith__fail(err, PITH_EFORMAT, "%s: name of key %zu has %zu bytes, need at most %d",
                          p->path, (size_t)(k - p->key), k->name.n, GGUF_KEY_MAX);
    pith__cursor value = p->at;
    int code = gguf_skip(p, k->name, type, 1, 0, err);
    if (code) return code;
    value.left -= p->at.left;
    gguf_decode(k, type, &value);
    k->gguf_type = (int)type + 1;
    return PITH_OK;
}

/* A key of a table that is not sorted yet. */
static const pith__key *gguf_find(const gguf_part *p, const char *name) {
    for (size_t i = 0; i < p->n_key; i++)
        if (pith__str_is(p->key[i].name, name)) return &p->key[i];
    return NULL;
}

/* ---- the tensor table ------------------------------------------------------------------------ */

static int gguf_read_info(gguf_part *p, gguf_info *t, pith_error *err) {
    t->name = pith__gguf_string(&p->at);
    t->n_dim = pith__u32(&p->at);
    if (t->name.n > GGUF_TENSOR_MAX)
        return pith__fail(err, PITH_EFORMAT, "%s: name of tensor %zu has %zu bytes, need up to %d",
                          p->path, (size_t)(t - p->info), t->name.n, GGUF_TENSOR_MAX);
    if (!p->at.bad && (t->n_dim < 1 || t->n_dim > 4))
        return pith__fail(err, PITH_EFORMAT, "%s: tensor '%.*s' has %lu dimensions, need 1 to 4",
                          p->path, gguf_shown(t->name), t->name.p, (unsigned long)t->n_dim);
    for (uint32_t i = 0; i < t->n_dim; i++) t->shape[t->n_dim - 1 - i] = pith__u64(&p->at);
    t->format = pith__u32(&p->at);
    t->offset = pith__u64(&p->at);
    if (p->at.bad)
        return pith__fail(err, PITH_EFORMAT, "%s: ends inside its table of %zu tensors", p->path,
                          p->n_info);
    return PITH_OK;
}

/* The table has no mark of its own; the data begins at the next multiple of the alignment. */
static int gguf_find_data(gguf_part *p, pith_error *err) {
    const pith__key *k = gguf_find(p, "general.alignment");
    if (k && k->type != PITH__INT)
        return pith__fail(err, PITH_EFORMAT, "%s: general.alignment is not an integer", p->path);
    int64_t a = k ? k->i : 32;
    if (a < 8 || a > 1 << 19 || (a & (a - 1)))
        return pith__fail(err, PITH_EFORMAT,
                          "%s: general.alignment is %lld, need a power of two from 8 to 524288",
                          p->path, (long long)a);
    p->alignment = (size_t)a;
    p->data = (p->file.size - p->at.left + p->alignment - 1) & ~(p->alignment - 1);
    return PITH_OK;
}

static int gguf_read_part(pith__store *s, gguf_part *p, pith_error *err) {
    p->at.p = p->file.data;
    p->at.left = p->file.size;
    int code = gguf_header(p, err);
    if (!code) p->key = pith__gguf_new(s, p->n_key, sizeof *p->key, &code, err);
    for (size_t i = 0; !code && i < p->n_key; i++) code = gguf_read_key(p, &p->key[i], err);
    if (!code) p->info = pith__gguf_new(s, p->n_info, sizeof *p->info, &code, err);
    for (size_t i = 0; !code && i < p->n_info; i++) code = gguf_read_info(p, &p->info[i], err);
    return code ? code : gguf_find_data(p, err);
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* Plain int8 to int64 and float64, numbers 24 to 28: no weight is stored so, but now and then a
 * table of something else, which must not keep the model from running. */
static int gguf_no_weight(uint32_t format) { return format >= 24 && format <= 28; }

static int gguf_set_tensor(pith__store *s, const gguf_part *p, const gguf_info *t,
                           pith_error *err) {
    if (t->format >= PITH__I8) /* a number of our own for what no GGUF has */
        return pith__fail(err, PITH_EARCH, "%s: tensor '%.*s' has number format %lu, not known",
                          p->path, gguf_shown(t->name), t->name.p, (unsigned long)t->format);
    size_t left = p->data < p->file.size ? p->file.size - p->data : 0;
    if (t->offset % p->alignment || t->offset >= left)
        return pith__fail(err, PITH_EFORMAT,
                          "%s: tensor '%.*s' has offset %llu, need a multiple of %zu below %zu",
                          p->path, gguf_shown(t->name), t->name.p, (unsigned long long)t->offset,
                          p->alignment, left);
    size_t offset = (size_t)t->offset;
    pith__store named = *s; /* its path is what a message says: that of this part */
    named.path = p->path;
    pith__tensor *to = &s->tensor[s->n_tensor];
    *to = (pith__tensor){ .name = t->name, .n_dim = (int)t->n_dim };
    memcpy(to->shape, t->shape, sizeof to->shape);
    pith__cursor data = { p->file.data + p->data + offset, left - offset, 0 };
    int code = pith__tensor_set(to, &named, (int)t->format, data, err);
    s->n_tensor += code == PITH_OK;
    return code;
}

static int gguf_by_data(const void *a, const void *b) {
    const pith__tensor *x = a, *y = b;
    return (x->data > y->data) - (x->data < y->data);
}

/* Tensors of one file, in the order of their data, must follow one another. */
static int gguf_check_overlap(const gguf_part *p, pith__tensor *t, size_t n, pith_error *err) {
    if (n) qsort(t, n, sizeof *t, gguf_by_data);
    for (size_t i = 1; i < n; i++)
        if (t[i].data < t[i - 1].data + t[i - 1].rows * t[i - 1].row_bytes)
            return pith__fail(err, PITH_EFORMAT, "%s: tensor '%.*s' begins inside tensor '%.*s'",
                              p->path, gguf_shown(t[i].name), t[i].name.p,
                              gguf_shown(t[i - 1].name), t[i - 1].name.p);
    return PITH_OK;
}

static int gguf_set_tensors(pith__store *s, const gguf_part *part, size_t n_part, pith_error *err) {
    size_t n = 0;
    int code;
    for (size_t i = 0; i < n_part; i++) n += part[i].n_info;
    const pith__key *k = gguf_find(&part[0], "split.tensors.count");
    if (n_part > 1 && k && (k->type != PITH__INT || k->i < 0 || (uint64_t)k->i != n))
        return pith__fail(err, PITH_EFORMAT, "%s: split.tensors.count is %lld, the files have %zu",
                          s->path, (long long)k->i, n);
    s->tensor = pith__gguf_new(s, n, sizeof *s->tensor, &code, err);
    for (size_t i = 0; !code && i < n_part; i++) {
        size_t first = s->n_tensor;
        for (size_t t = 0; !code && t < part[i].n_info; t++)
            if (!gguf_no_weight(part[i].info[t].format))
                code = gguf_set_tensor(s, &part[i], &part[i].info[t], err);
        if (!code) code = gguf_check_overlap(&part[i], s->tensor + first, s->n_tensor - first, err);
    }
    return code;
}

/* ---- split models ---------------------------------------------------------------------------- */

/* NAME-00001-of-00003.gguf: the end of it, and where the number of the part stands in it. */
enum { GGUF_TAIL = 20, GGUF_DIGITS = 5, GGUF_PARTS_MAX = 99999 };

/* Write five digits over those in a path. */
static void gguf_number_path(char *path, size_t no) {
    char *digit = path + strlen(path) - GGUF_TAIL + 1;
    for (int i = GGUF_DIGITS - 1; i >= 0; i--, no /= 10) digit[i] = (char)('0' + no % 10);
}

/* Does this file say that it is part no, from 0, of n? */
static int gguf_check_part(const gguf_part *p, size_t no, size_t n, pith_error *err) {
    const pith__key *k = gguf_find(p, "split.no"), *count = gguf_find(p, "split.count");
    if (!k || !count || k->type != PITH__INT || count->type != PITH__INT)
        return pith__fail(err, PITH_EFORMAT, "%s: needs the integers split.no and split.count",
                          p->path);
    if (count->i != (int64_t)n)
        return pith__fail(err, PITH_EFORMAT, "%s: split.count is %lld, need %zu", p->path,
                          (long long)count->i, n);
    if (k->i != (int64_t)no && no == 0)
        return pith__fail(err, PITH_EFORMAT,
                          "%s: is part %llu of %zu, open the one that ends in -00001-of-%05zu.gguf",
                          p->path, (unsigned long long)k->i + 1, n, n);
    if (k->i != (int64_t)no)
        return pith__fail(err, PITH_EFORMAT, "%s: split.no is %lld, need %zu", p->path,
                          (long long)k->i, no);
    return PITH_OK;
}

/* How many files the model is split over, this one being the first; 1 for one that is not split. */
static int gguf_count_parts(const gguf_part *p, size_t *n, pith_error *err) {
    const pith__key *count = gguf_find(p, "split.count");
    *n = 1;
    if (!count || (count->type == PITH__INT && count->i >= 0 && count->i <= 1)) return PITH_OK;
    if (count->type != PITH__INT || count->i < 0 || count->i > GGUF_PARTS_MAX)
        return pith__fail(err, PITH_EFORMAT, "%s: split.count is %lld, need an integer up to %d",
                          p->path, (long long)count->i, GGUF_PARTS_MAX);
    *n = (size_t)count->i;
    int code = gguf_check_part(p, 0, *n, err);
    if (code) return code;
    char tail[GGUF_TAIL + 1];
    snprintf(tail, sizeof tail, "-00001-of-%05d.gguf", (int)count->i);
    size_t len = strlen(p->path);
    if (len < GGUF_TAIL || strcmp(p->path + len - GGUF_TAIL, tail) != 0)
        return pith__fail(err, PITH_EFORMAT, "%s: is part 1 of %zu, its name must end in %s",
                          p->path, *n, tail);
    return PITH_OK;
}

static int gguf_open_part(pith__store *s, gguf_part *p, size_t no, size_t n, int no_mmap,
                          pith_error *err) {
    int code;
    size_t len = strlen(s->path);
    char *path = pith__gguf_new(s, len + 1, 1, &code, err);
    if (code) return code;
    memcpy(path, s->path, len);
    gguf_number_path(path, no + 1);
    p->path = path;
    code = pith__file_open(&s->file[s->n_file], path, no_mmap, err);
    if (code) return code;
    p->file = s->file[s->n_file++];
    code = gguf_read_part(s, p, err);
    return code ? code : gguf_check_part(p, no, n, err);
}

static int gguf_open_parts(pith__store *s, gguf_part *part, size_t n, int no_mmap,
                           pith_error *err) {
    int code;
    pith__file *file = pith__gguf_new(s, n, sizeof *file, &code, err);
    if (code) return code;
    file[0] = s->file[0];
    s->file = file;
    s->n_file = 1;
    for (size_t i = 1; !code && i < n; i++)
        code = gguf_open_part(s, &part[i], i, n, no_mmap, err);
    return code;
}

/* ---- all of it ------------------------------------------------------------------------------- */

PITH_SHARED int pith__gguf_is(const pith__file *f) {
    return f->size >= 4 && memcmp(f->data, "GGUF", 4) == 0;
}

PITH_SHARED int pith__gguf_read(pith__store *s, int no_mmap, pith_error *err) {
    gguf_part first = { .path = s->path, .file = s->file[0] }, *part = NULL;
    size_t n = 1;
    int code = gguf_read_part(s, &first, err);
    if (!code) code = gguf_count_parts(&first, &n, err);
    if (!code) part = pith__gguf_new(s, n, sizeof *part, &code, err);
    if (code) return code;
    part[0] = first;
    s->kind = first.version == 2 ? "GGUF version 2" : "GGUF version 3";
    s->key = first.key;
    s->n_key = first.n_key;
    if (n > 1) code = gguf_open_parts(s, part, n, no_mmap, err);
    if (!code) code = gguf_set_tensors(s, part, n, err);
    if (!code) code = pith__store_sort(s, err);
    return code ? code : pith__gguf_vocab(s, err);
}
