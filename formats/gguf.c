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

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the parts of a file --------------------------------------------------------------------- */

enum { /* types of values */
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING,
    GGUF_ARRAY, GGUF_U64, GGUF_I64, GGUF_F64, GGUF_TYPES
};
enum { GGUF_DEPTH = 64, GGUF_KEY_MAX = 65535, GGUF_TENSOR_MAX = 64 };
enum { GGUF_KEY_BYTES = 13, GGUF_INFO_BYTES = 32 }; /* the least that one takes in the file */

static const struct {
    int type, bytes; /* bytes: the least that one takes; exact for all but strings and arrays */
} gguf_types[GGUF_TYPES] = {
    [GGUF_U8] = { PITH__INT, 1 },        [GGUF_I8] = { PITH__INT, 1 },
    [GGUF_U16] = { PITH__INT, 2 },       [GGUF_I16] = { PITH__INT, 2 },
    [GGUF_U32] = { PITH__INT, 4 },       [GGUF_I32] = { PITH__INT, 4 },
    [GGUF_F32] = { PITH__FLOAT, 4 },     [GGUF_BOOL] = { PITH__BOOL, 1 },
    [GGUF_STRING] = { PITH__STRING, 8 }, [GGUF_ARRAY] = { PITH__ARRAY, 12 },
    [GGUF_U64] = { PITH__INT, 8 },       [GGUF_I64] = { PITH__INT, 8 },
    [GGUF_F64] = { PITH__FLOAT, 8 }
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

static pith__str gguf_string(pith__cursor *c) {
    uint64_t n = pith__u64(c);
    const uint8_t *p = pith__take(c, n);
    pith__str s = { p ? (const char *)p : "", p ? (size_t)n : 0 };
    return s;
}

static void *gguf_new(pith__store *s, size_t n, size_t size, int *code, pith_error *err) {
    void *p = pith__arena_new(&s->arena, n ? n : 1, size);
    *code = p ? PITH_OK : pith__fail(err, PITH_EMEMORY, "%s: no memory", s->path);
    return p;
}

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
    if (type >= GGUF_TYPES)
        return pith__fail(err, PITH_EFORMAT, "%s: key '%.*s' has type %lu, need 0 to 12", p->path,
                          gguf_shown(key), key.p, (unsigned long)type);
    if (n > p->at.left / (size_t)gguf_types[type].bytes)
        return pith__fail(err, PITH_EFORMAT, "%s: key '%.*s' has %llu values, %zu bytes are left",
                          p->path, gguf_shown(key), key.p, (unsigned long long)n, p->at.left);
    if (type != GGUF_STRING && type != GGUF_ARRAY) {
        pith__take(&p->at, n * (uint64_t)gguf_types[type].bytes);
        return PITH_OK;
    }
    for (uint64_t i = 0; i < n; i++) {
        if (type == GGUF_STRING) {
            gguf_string(&p->at);
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
    case GGUF_U8: k->i = pith__u8(c); break;
    case GGUF_I8: k->i = (int8_t)pith__u8(c); break;
    case GGUF_U16: k->i = pith__u16(c); break;
    case GGUF_I16: k->i = (int16_t)pith__u16(c); break;
    case GGUF_U32: k->i = pith__u32(c); break;
    case GGUF_I32: k->i = (int32_t)pith__u32(c); break;
    case GGUF_BOOL: k->i = pith__u8(c) != 0; break;
    case GGUF_F32: k->f = pith__f32(c); break;
    case GGUF_STRING: k->s = gguf_string(c); break;
    case GGUF_I64: k->i = (int64_t)pith__u64(c); break;
    case GGUF_U64:
        u = pith__u64(c);
        k->i = u > INT64_MAX ? INT64_MAX : (int64_t)u;
        break;
    case GGUF_F64:
        u = pith__u64(c);
        memcpy(&k->f, &u, sizeof k->f);
        break;
    case GGUF_ARRAY:
        k->gguf_item = (int)pith__u32(c);
        k->item = gguf_types[k->gguf_item].type;
        k->n = (size_t)pith__u64(c);
        k->at = *c;
        break;
    }
    if (k->type == PITH__INT) k->f = (double)k->i;
}

static int gguf_read_key(gguf_part *p, pith__key *k, pith_error *err) {
    k->name = gguf_string(&p->at);
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
    t->name = gguf_string(&p->at);
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
    if (!code) p->key = gguf_new(s, p->n_key, sizeof *p->key, &code, err);
    for (size_t i = 0; !code && i < p->n_key; i++) code = gguf_read_key(p, &p->key[i], err);
    if (!code) p->info = gguf_new(s, p->n_info, sizeof *p->info, &code, err);
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
    s->tensor = gguf_new(s, n, sizeof *s->tensor, &code, err);
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
    char *path = gguf_new(s, len + 1, 1, &code, err);
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
    pith__file *file = gguf_new(s, n, sizeof *file, &code, err);
    if (code) return code;
    file[0] = s->file[0];
    s->file = file;
    s->n_file = 1;
    for (size_t i = 1; !code && i < n; i++)
        code = gguf_open_part(s, &part[i], i, n, no_mmap, err);
    return code;
}

/* ---- vocabulary: the values of its keys ------------------------------------------------------ */

/* *k is the key, or NULL where there is none; of another type it is an error. */
static int gguf_get(const pith__store *s, const char *name, int type, const pith__key **k,
                    pith_error *err) {
    static const char *const need[] = { "", "an integer", "a float", "a bool", "a string",
                                        "an array" };
    *k = pith__store_key(s, name);
    if (*k && (*k)->type != type)
        return pith__fail(err, PITH_EFORMAT, "%s: key '%s' is %s, need %s", s->path, name,
                          need[(*k)->type], need[type]);
    return PITH_OK;
}

/* The same for an array, of at least n values of one of GGUF's types. */
static int gguf_get_array(const pith__store *s, const char *name, int item, size_t n,
                          const pith__key **k, pith_error *err) {
    int code = gguf_get(s, name, PITH__ARRAY, k, err);
    if (code || !*k) return code;
    if ((*k)->gguf_item != item)
        return pith__fail(err, PITH_EFORMAT, "%s: key '%s' is an array of type %d, need type %d",
                          s->path, name, (*k)->gguf_item, item);
    if ((*k)->n < n || (*k)->n > INT_MAX)
        return pith__fail(err, PITH_EFORMAT, "%s: key '%s' has %zu values, need %zu", s->path, name,
                          (*k)->n, n);
    return PITH_OK;
}

static int gguf_get_flag(const pith__store *s, const char *name, int *flag, pith_error *err) {
    const pith__key *k;
    int code = gguf_get(s, name, PITH__BOOL, &k, err);
    if (!code && k) *flag = (int)k->i;
    return code;
}

/* A token that the vocabulary does not have is none. */
static int gguf_get_id(const pith__store *s, const char *name, int otherwise, int *id,
                       pith_error *err) {
    const pith__key *k;
    int code = gguf_get(s, name, PITH__INT, &k, err);
    int64_t i = !code && k ? k->i : otherwise;
    *id = i >= 0 && i < s->vocab.n ? (int)i : -1;
    return code;
}

/* ---- vocabulary: pieces, merges, ends -------------------------------------------------------- */

static int gguf_read_pieces(pith__store *s, pith_error *err) {
    pith__vocab *v = &s->vocab;
    const pith__key *piece, *score, *type;
    int code = gguf_get_array(s, "tokenizer.ggml.tokens", GGUF_STRING, 1, &piece, err);
    if (code) return code;
    if (!piece)
        return pith__fail(err, PITH_EFORMAT, "%s: has no key 'tokenizer.ggml.tokens'", s->path);
    code = gguf_get_array(s, "tokenizer.ggml.scores", GGUF_F32, piece->n, &score, err);
    if (!code)
        code = gguf_get_array(s, "tokenizer.ggml.token_type", GGUF_I32, piece->n, &type, err);
    if (!code) v->piece = gguf_new(s, piece->n, sizeof *v->piece, &code, err);
    if (!code) v->score = gguf_new(s, piece->n, sizeof *v->score, &code, err);
    if (!code) v->type = gguf_new(s, piece->n, sizeof *v->type, &code, err);
    if (code) return code;
    v->n = (int)piece->n;
    pith__cursor pieces = piece->at, scores = { 0 }, types = { 0 };
    if (score) scores = score->at;
    if (type) types = type->at;
    for (int i = 0; i < v->n; i++) {
        v->piece[i] = gguf_string(&pieces);
        v->score[i] = pith__f32(&scores);
        uint32_t t = pith__u32(&types);
        v->type[i] = (uint8_t)(t >= PITH__NORMAL && t <= PITH__BYTE ? t : PITH__NORMAL);
    }
    return PITH_OK;
}

/* "left right"; the space is looked for behind the first character, for that one may be a space. An
 * entry that is no pair can never apply: it is left out, and the others keep their order. */
static int gguf_read_merges(pith__store *s, pith_error *err) {
    pith__vocab *v = &s->vocab;
    const pith__key *k;
    int code = gguf_get_array(s, "tokenizer.ggml.merges", GGUF_STRING, 0, &k, err);
    if (code) return code;
    if (!k) return pith__fail(err, PITH_EFORMAT, "%s: has no key 'tokenizer.ggml.merges'", s->path);
    v->left = gguf_new(s, k->n, sizeof *v->left, &code, err);
    if (!code) v->right = gguf_new(s, k->n, sizeof *v->right, &code, err);
    if (code) return code;
    pith__cursor c = k->at;
    for (size_t i = 0; i < k->n; i++) {
        pith__str m = gguf_string(&c);
        const char *space = m.n > 1 ? memchr(m.p + 1, ' ', m.n - 1) : NULL;
        size_t left = space ? (size_t)(space - m.p) : m.n;
        if (left + 1 >= m.n) continue;
        v->left[v->n_merge].p = m.p;
        v->left[v->n_merge].n = left;
        v->right[v->n_merge].p = space + 1;
        v->right[v->n_merge].n = m.n - left - 1;
        v->n_merge++;
    }
    return PITH_OK;
}

static void gguf_add_end(pith__vocab *v, int id) {
    int known = id < 0 || v->n_end == sizeof v->end / sizeof *v->end;
    for (int i = 0; i < v->n_end && !known; i++) known = v->end[i] == id;
    if (!known) v->end[v->n_end++] = id;
}

/* gpt-oss: with both of these, tokens that tell whose turn is over, "<|end|>" ends a message, and what the model thinks is
 * one. */
static void gguf_ends_of_turns(pith__vocab *v, int call, int back) {
    if (call < 0 || back < 0) return;
    for (int i = v->n_end - 1; i >= 0; i--)
        if (pith__str_is(v->piece[v->end[i]], "<|end|>")) v->end[i] = v->end[--v->n_end];
    v->type[call] = v->type[back] = PITH__CONTROL;
    gguf_add_end(v, call);
    gguf_add_end(v, back);
}

/* The keys name one or two of the tokens that end a turn; the rest are known by their spelling, as
 * in llama.cpp, which also takes them for control tokens when the file forgot to say so. */
static void gguf_find_ends(pith__vocab *v) {
    static const char *const text[] = {
        "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>", "<|end|>",
        "<end_of_turn>", "<turn|>", "<EOT>", "_<EOT>", "<end_of_utterance>", "<|fim_pad|>", "<|repo_name|>",
        "<|file_sep|>", "<\uff5cend\u2581of\u2581sentence\uff5c>"
    };
    int call = -1, back = -1;
    for (int i = 0; i < v->n; i++) {
        pith__str p = v->piece[i];
        if (p.n < 5 || p.p[p.n - 1] != '>') continue; /* all of them end so: seldom go on */
        if (pith__str_is(p, "<|call|>")) call = i;
        if (pith__str_is(p, "<|return|>")) back = i;
        for (size_t j = 0; j < sizeof text / sizeof *text; j++) {
            if (!pith__str_is(p, text[j])) continue;
            v->type[i] = PITH__CONTROL;
            gguf_add_end(v, i);
        }
    }
    gguf_ends_of_turns(v, call, back);
}

/* Phi-3's special tokens take the white space after them along; its files do not say so. */
static int gguf_strip_phi3(pith__store *s, pith_error *err) {
    static const char *const keep[] = { "<unk>", "<s>", "<|endoftext|>" };
    pith__vocab *v = &s->vocab;
    const pith__key *arch;
    int code = gguf_get(s, "general.architecture", PITH__STRING, &arch, err);
    if (code || !arch || !pith__str_is(arch->s, "phi3")) return code;
    v->added = gguf_new(s, (size_t)v->n, sizeof *v->added, &code, err);
    for (int i = 0; !code && i < v->n; i++) {
        int special = v->type[i] == PITH__CONTROL || v->type[i] == PITH__USER ||
                      pith__str_is(v->piece[i], "</s>");
        for (size_t j = 0; j < sizeof keep / sizeof *keep; j++)
            special = special && !pith__str_is(v->piece[i], keep[j]);
        v->added[i] = special ? PITH__RSTRIP : 0;
    }
    return code;
}

/* ---- vocabulary ------------------------------------------------------------------------------ */

/* SentencePiece's BPE, whose pieces have scores and spell a space U+2581. */
static int gguf_read_spm(pith__store *s, pith_error *err) {
    pith__vocab *v = &s->vocab;
    v->model = PITH__SPM;
    v->spelling = PITH__METASPACE;
    v->byte_fallback = v->add_space = v->add_bos = 1;
    const pith__key *k = pith__store_key(s, "pith.space_prefix"); /* which space: see PITH__SPACE_ALWAYS */
    int code = gguf_get_flag(s, "tokenizer.ggml.add_space_prefix", &v->add_space, err);
    if (k && v->add_space && k->type == PITH__INT && k->i >= PITH__SPACE_ALWAYS && k->i <= PITH__SPACE_FIRST) v->add_space = (int)k->i;
    return code;
}

/* Byte-level BPE, whose merges have ranks and whose bytes are spelled as letters. What files do not
 * say of BOS, of whole words that need no merges and of normal form C goes with the pre-tokeniser's name. */
static int gguf_read_bpe(pith__store *s, pith_error *err) {
    static const struct {
        const char *pre;
        int add_bos, ignore_merges, nfc;
    } habits[] = {
        { "llama3", 1, 1, 0 }, { "llama-v3", 1, 1, 0 }, { "llama-bpe", 1, 1, 0 }, { "falcon3", 1, 1, 0 },
        { "falcon-h1", 1, 1, 0 }, { "pixtral", 1, 1, 0 }, { "midm-2.0", 1, 1, 0 }, { "lfm2", 1, 1, 0 },
        { "tekken", 1, 1, 0 }, { "youtu", 0, 1, 0 }, { "chameleon", 1, 0, 0 },
        { "olmo", 0, 0, 1 }, { "modern-bert", 0, 0, 1 } /* GPT-NeoX's, too */
    };
    pith__vocab *v = &s->vocab;
    const pith__key *pre;
    int code = gguf_get(s, "tokenizer.ggml.pre", PITH__STRING, &pre, err);
    if (code) return code;
    v->model = PITH__BPE;
    v->spelling = PITH__BYTE_LETTERS;
    if (!v->pre.n) v->pre = pre ? pre->s : pith__str_of("default"); /* or what --pretokenizer said */
    for (size_t i = 0; i < sizeof habits / sizeof *habits; i++) {
        if (!pith__str_is(v->pre, habits[i].pre)) continue;
        v->add_bos = habits[i].add_bos;
        v->ignore_merges = habits[i].ignore_merges;
        v->nfc = habits[i].nfc;
    }
    return gguf_read_merges(s, err);
}

/* Gemma 4: the pieces and bytes of SentencePiece, and merges by rank. llama.cpp cuts text at runs of newlines, which no
 * piece of the vocabulary crosses. */
static int gguf_read_gemma4(pith__store *s, pith_error *err) {
    pith__vocab *v = &s->vocab;
    v->model = PITH__BPE;
    v->spelling = PITH__METASPACE;
    v->byte_fallback = v->add_bos = 1;
    return gguf_read_merges(s, err);
}

/* WordPiece. Files of 2024 name [CLS] and [SEP] only, later ones name them BOS and EOS too. */
static int gguf_read_words(pith__store *s, pith_error *err) {
    pith__vocab *v = &s->vocab;
    v->model = PITH__WORDPIECE;
    v->spelling = PITH__RAW;
    v->add_bos = v->add_eos = 1;
    int code = pith__bert_from_gguf(v, &s->arena);
    if (code) return pith__fail(err, code, "%s: no memory", s->path);
    const pith__key *flags, *longest = NULL; /* pith's own keys */
    code = gguf_get(s, "pith.bert_normalizer", PITH__INT, &flags, err);
    if (!code) code = gguf_get(s, "pith.longest_word", PITH__INT, &longest, err);
    if (code) return code;
    if (flags) v->bert.clean = flags->i & 1, v->bert.chinese = flags->i >> 1 & 1;
    if (flags) v->bert.strip = flags->i >> 2 & 1, v->bert.lower = flags->i >> 3 & 1;
    if (longest && longest->i > 0 && longest->i <= INT32_MAX) v->bert.longest = (int)longest->i;
    return PITH_OK;
}

static int gguf_named(const pith__vocab *v, const char *name) { /* or -1 */
    int i = v->n - 1;
    while (i >= 0 && !pith__str_is(v->piece[i], name)) i--;
    return i;
}

/* What goes around a pair of texts, and what WordPiece cannot be without. */
static int gguf_read_around(pith__store *s, pith_error *err) {
    pith__vocab *v = &s->vocab;
    int words = v->model == PITH__WORDPIECE, sep = -1, cls = -1, add_sep = 0;
    const pith__key *types;
    int code = gguf_get_id(s, "tokenizer.ggml.seperator_token_id", -1, &sep, err); /* spelled so */
    if (!code && sep < 0) code = gguf_get_id(s, "tokenizer.ggml.separator_token_id", -1, &sep, err);
    if (!code) code = gguf_get_id(s, "tokenizer.ggml.cls_token_id", -1, &cls, err);
    if (!code) code = gguf_get_id(s, "tokenizer.ggml.mask_token_id", -1, &v->mask, err);
    if (!code) code = gguf_get_flag(s, "tokenizer.ggml.add_sep_token", &add_sep, err);
    if (!code) code = gguf_get(s, "tokenizer.ggml.token_type_count", PITH__INT, &types, err);
    if (code) return code;
    if (words && v->bos < 0) v->bos = cls >= 0 ? cls : gguf_named(v, "[CLS]");
    if (words && v->eos < 0) v->eos = sep >= 0 ? sep : gguf_named(v, "[SEP]");
    if (words && v->unk < 0) v->unk = gguf_named(v, "[UNK]");
    if (words && v->unk < 0)
        return pith__fail(err, PITH_EFORMAT, "%s: tokenizer.ggml.tokens has no token for unknown words, [UNK]", s->path);
    int second = types ? types->i > 1 : words;
    if (v->add_bos || v->add_eos) pith__usual_pair(v, add_sep ? sep : -1, second);
    return PITH_OK;
}

/* pith's own keys, for a vocabulary that was a tokenizer.json: three strings for each step of its normalizer, and where words
 * end. Text is cut as "tokenizers" does it then. */
static int gguf_read_rewrite(pith__store *s, pith__str map, pith_error *err) {
    pith__vocab *v = &s->vocab;
    const pith__key *k, *exact = NULL, *space = pith__store_key(s, "pith.space_prefix");
    int code = gguf_get_array(s, "pith.rewrite", GGUF_STRING, 0, &k, err);
    if (code || !k) return code;
    code = gguf_get_flag(s, "pith.split_white", &v->split_white, err);
    if (!code) code = gguf_get_flag(s, "pith.split_words", &v->split_words, err);
    if (!code) code = gguf_get_array(s, "pith.scores", GGUF_F64, (size_t)v->n, &exact, err);
    if (!code) v->rewrite = gguf_new(s, k->n / 3 + 1, sizeof *v->rewrite, &code, err);
    if (!code) v->log_prob = gguf_new(s, (size_t)v->n, sizeof *v->log_prob, &code, err);
    if (code) return code;
    if (v->add_space && space && space->i >= PITH__SPACE_ALWAYS && space->i <= PITH__SPACE_FIRST) v->add_space = (int)space->i;
    pith__cursor c = k->at, scores = { 0 };
    if (exact) scores = exact->at;
    for (int i = 0; i < v->n; i++) {
        uint64_t bits = pith__u64(&scores);
        v->log_prob[i] = v->score[i];
        if (exact) memcpy(&v->log_prob[i], &bits, sizeof bits);
    }
    for (v->n_rewrite = 0; (size_t)v->n_rewrite < k->n / 3; v->n_rewrite++) {
        pith__rewrite *step = &v->rewrite[v->n_rewrite];
        pith__str name = gguf_string(&c);
        while (pith__rewrite_name(step->kind) && !pith__str_is(name, pith__rewrite_name(step->kind))) step->kind++;
        if (!pith__rewrite_name(step->kind))
            return pith__fail(err, PITH_EARCH, "%s: pith.rewrite has the step '%.*s', which is not known", s->path,
                              gguf_shown(name), name.p);
        step->find = gguf_string(&c);
        step->put = gguf_string(&c);
        if (step->kind == PITH__MAP_GRAPHEMES || step->kind == PITH__MAP_LONGEST) step->find = map;
    }
    return PITH_OK;
}

/* SentencePiece's Unigram, whose scores are logarithms of probabilities. Text goes through a map of characters first, loses
 * spaces that are too many, and gets one in front. What a file does not say is as SentencePiece has it. */
static int gguf_read_unigram(pith__store *s, pith_error *err) {
    pith__vocab *v = &s->vocab;
    const pith__key *map;
    int trim = 1, space = 1, code = gguf_get(s, "tokenizer.ggml.precompiled_charsmap", PITH__ARRAY, &map, err);
    if (!code && map && map->gguf_item != GGUF_U8 && map->gguf_item != GGUF_I8)
        code = pith__fail(err, PITH_EFORMAT, "%s: key 'tokenizer.ggml.precompiled_charsmap' is an array of type %d, need bytes",
                          s->path, map->gguf_item);
    if (!code) code = gguf_get_flag(s, "tokenizer.ggml.add_space_prefix", &space, err);
    if (!code) code = gguf_get_flag(s, "tokenizer.ggml.remove_extra_whitespaces", &trim, err);
    if (!code) v->rewrite = gguf_new(s, 2, sizeof *v->rewrite, &code, err);
    if (code) return code;
    v->model = PITH__UNIGRAM;
    v->spelling = PITH__METASPACE;
    v->fuse_unk = v->late_spaces = v->add_eos = 1;
    v->add_space = space ? PITH__SPACE_ALWAYS : 0;
    for (int i = 0; i < v->n; i++) v->byte_fallback |= v->type[i] == PITH__BYTE;
    pith__str bytes = { map ? (const char *)map->at.p : NULL, map ? map->n : 0 };
    if (map) v->rewrite[v->n_rewrite++] = (pith__rewrite){ .kind = PITH__MAP_LONGEST, .find = bytes };
    if (trim) v->rewrite[v->n_rewrite++].kind = PITH__TRIM;
    return gguf_read_rewrite(s, bytes, err);
}

/* RoBERTa's, XLM-R's and ModernBERT's mask takes the white space before it along; their files do not say so. */
static int gguf_strip_mask(pith__store *s, pith_error *err) {
    pith__vocab *v = &s->vocab;
    int code = PITH_OK;
    if (v->mask < 0 || v->model == PITH__WORDPIECE) return code;
    v->added = gguf_new(s, (size_t)v->n, sizeof *v->added, &code, err);
    if (!code) v->added[v->mask] = PITH__LSTRIP;
    return code;
}

/* Special tokens and flags. SentencePiece's first three tokens have a meaning without a key. */
static int gguf_read_special(pith__store *s, pith_error *err) {
    pith__vocab *v = &s->vocab;
    int spm = v->model == PITH__SPM, uni = v->model == PITH__UNIGRAM, eot = -1, eom = -1;
    const pith__key *chat, *tools = NULL;
    int code = gguf_get_id(s, "tokenizer.ggml.bos_token_id", spm ? 1 : -1, &v->bos, err);
    if (!code) code = gguf_get_id(s, "tokenizer.ggml.eos_token_id", spm ? 2 : uni ? 1 : -1, &v->eos, err);
    if (!code) code = gguf_get_id(s, "tokenizer.ggml.unknown_token_id", spm ? 0 : uni ? 2 : -1, &v->unk, err);
    if (!code) code = gguf_get_id(s, "tokenizer.ggml.eot_token_id", -1, &eot, err);
    if (!code) code = gguf_get_id(s, "tokenizer.ggml.eom_token_id", -1, &eom, err);
    if (!code) code = gguf_get_flag(s, "tokenizer.ggml.add_bos_token", &v->add_bos, err);
    if (!code) code = gguf_get_flag(s, "tokenizer.ggml.add_eos_token", &v->add_eos, err);
    if (!code) code = gguf_get(s, "tokenizer.chat_template", PITH__STRING, &chat, err);
    if (!code) code = gguf_get(s, "tokenizer.chat_template.tool_use", PITH__STRING, &tools, err);
    if (code) return code;
    if (chat) v->chat_template = chat->s;
    if (tools) v->tool_template = tools->s;
    gguf_add_end(v, v->eos);
    gguf_add_end(v, eot);
    gguf_add_end(v, eom);
    gguf_find_ends(v);
    return PITH_OK;
}

/* pith's own key: text is brought into this form before it becomes tokens. */
static int gguf_read_normalizer(pith__store *s, pith_error *err) {
    const pith__key *k;
    int code = gguf_get(s, "pith.normalizer", PITH__STRING, &k, err);
    if (code || !k) return code;
    if (!pith__str_is(k->s, "NFC"))
        return pith__fail(err, PITH_EARCH, "%s: pith.normalizer is '%.*s', need NFC", s->path,
                          gguf_shown(k->s), k->s.p);
    s->vocab.nfc = 1;
    return PITH_OK;
}

static int gguf_read_vocab(pith__store *s, pith_error *err) {
    const pith__key *model;
    s->vocab.bos = s->vocab.eos = s->vocab.unk = s->vocab.mask = -1;
    int code = gguf_get(s, "tokenizer.ggml.model", PITH__STRING, &model, err);
    if (code || !model || pith__str_is(model->s, "none") || pith__str_is(model->s, "no_vocab"))
        return code;
    static const struct {
        const char *name;
        int (*read)(pith__store *s, pith_error *err);
    } known[] = { { "llama", gguf_read_spm }, { "gpt2", gguf_read_bpe }, { "gemma4", gguf_read_gemma4 }, { "bert", gguf_read_words }, { "t5", gguf_read_unigram } };
    size_t i = 0, n = sizeof known / sizeof *known;
    while (i < n && !pith__str_is(model->s, known[i].name)) i++;
    if (i == n)
        return pith__fail(err, PITH_EARCH, "%s: tokenizer.ggml.model is '%.*s', need llama, gpt2, gemma4, bert or t5",
                          s->path, gguf_shown(model->s), model->s.p);
    code = gguf_read_pieces(s, err);
    if (!code) code = known[i].read(s, err);
    if (!code) code = gguf_read_special(s, err);
    if (!code) code = gguf_read_around(s, err);
    if (!code) code = gguf_read_normalizer(s, err);
    return code ? code : s->vocab.model == PITH__SPM ? gguf_strip_phi3(s, err) : gguf_strip_mask(s, err);
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
    if (!code) part = gguf_new(s, n, sizeof *part, &code, err);
    if (code) return code;
    part[0] = first;
    s->kind = first.version == 2 ? "GGUF version 2" : "GGUF version 3";
    s->key = first.key;
    s->n_key = first.n_key;
    if (n > 1) code = gguf_open_parts(s, part, n, no_mmap, err);
    if (!code) code = gguf_set_tensors(s, part, n, err);
    if (!code) code = pith__store_sort(s, err);
    return code ? code : gguf_read_vocab(s, err);
}
