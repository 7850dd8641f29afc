/* safetensors.c - the tensors of a Hugging Face folder, and the folder as a whole.
 *
 * A .safetensors file is 8 bytes of header length, the header (a JSON object: name -> dtype, shape,
 * data_offsets) and the numbers, one tensor behind the other without a hole
 * (https://github.com/huggingface/safetensors, "Format"). A large model is spread over several,
 * listed in model.safetensors.index.json. The numbers stay where they are, mapped; names become
 * GGUF's. */
#include "formats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ST_HEADER_MAX = 100000000, ST_NAME_SHOWN = 80 };

/* ---- one file: the header -------------------------------------------------------------------- */

typedef struct {
    pith__str name;
    int format;          /* of the numbers, or -1: none that a model here may have */
    pith__json dtype;
    int n_dim;           /* as many as the file says; shape has the first four */
    uint64_t shape[4];
    size_t begin, end;   /* from the first byte behind the header */
} st_entry;

typedef struct {
    pith__store *s;
    const char *path;
    pith_error *err;
    const uint8_t *data; /* (size) what is behind the header */
    size_t size;
    st_entry *entry;     /* (n), by name in the end */
    size_t n;
} st_file;

static int st_shown(pith__str s) { return s.n < ST_NAME_SHOWN ? (int)s.n : ST_NAME_SHOWN; }

/* "PATH: shape of 'model.norm.weight' is [1.5], need ..." */
static int st_refuse(st_file *f, const st_entry *e, int code, pith__json j, const char *field,
                     const char *need) {
    char name[ST_NAME_SHOWN + 32];
    snprintf(name, sizeof name, "%s of '%.*s'", field, st_shown(e->name), e->name.p);
    return pith__json_fail(j, code, f->path, name, need, f->err);
}

static int st_wrong(st_file *f, const st_entry *e, pith__json j, const char *field,
                    const char *need) {
    return st_refuse(f, e, PITH_EFORMAT, j, field, need);
}

/* Item: bytes of a number, 0: not known. Other types are refused only where the tensor is used. */
static int st_dtype(st_file *f, st_entry *e, pith__json j, size_t *item) {
    static const struct {
        const char *name;
        int format;
        size_t item;
    } known[] = { { "F32", PITH__F32, 4 }, { "F16", PITH__F16, 2 }, { "BF16", PITH__BF16, 2 },
                  { "I64", -1, 8 }, { "I32", -1, 4 }, { "I16", -1, 2 }, { "I8", -1, 1 },
                  { "U64", -1, 8 }, { "U32", -1, 4 }, { "U16", -1, 2 }, { "U8", -1, 1 },
                  { "F64", -1, 8 }, { "F8_E4M3", -1, 1 }, { "F8_E5M2", -1, 1 }, { "BOOL", -1, 1 } };
    e->dtype = j;
    e->format = -1;
    *item = 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!pith__json_is(j, known[i].name)) continue;
        e->format = known[i].format;
        *item = known[i].item;
    }
    return pith__json_type(j) == '"' ? PITH_OK : st_wrong(f, e, j, "dtype", "a string");
}

static int st_shape(st_file *f, st_entry *e, pith__json j, size_t *count) {
    pith__json it = j, item;
    *count = 1;
    if (pith__json_type(j) != '[') return st_wrong(f, e, j, "shape", "an array");
    for (e->n_dim = 0; pith__json_next(&it, NULL, &item); e->n_dim++) {
        int64_t i;
        if (!pith__json_int(item, &i) || i < 0)
            return st_wrong(f, e, item, "a size in the shape", "an integer that is not negative");
        if (e->n_dim < 4) e->shape[e->n_dim] = (uint64_t)i;
        if ((uint64_t)i > SIZE_MAX || pith__mul(count, *count, (size_t)i))
            return st_wrong(f, e, j, "shape", "sizes whose product is an address");
        if (e->n_dim == 64) return st_wrong(f, e, j, "shape", "at most 64 dimensions");
    }
    return PITH_OK;
}

static int st_offsets(st_file *f, st_entry *e, pith__json j, size_t count, size_t item) {
    pith__json it = j, first, second, third;
    int64_t begin, end;
    size_t bytes;
    if (pith__json_type(j) != '[' || !pith__json_next(&it, NULL, &first) ||
        !pith__json_next(&it, NULL, &second) || pith__json_next(&it, NULL, &third) ||
        !pith__json_int(first, &begin) || !pith__json_int(second, &end) || begin < 0)
        return st_wrong(f, e, j, "data_offsets", "two integers");
    if (end < begin || (uint64_t)end > f->size) {
        char need[64];
        snprintf(need, sizeof need, "begin <= end <= %zu", f->size);
        return st_wrong(f, e, j, "data_offsets", need);
    }
    e->begin = (size_t)begin;
    e->end = (size_t)end;
    if (!item || (!pith__mul(&bytes, count, item) && bytes == e->end - e->begin)) return PITH_OK;
    char need[64];
    snprintf(need, sizeof need, "%zu numbers of %zu bytes between them", count, item);
    return st_wrong(f, e, j, "data_offsets", need);
}

static int st_tensor(st_file *f, st_entry *e, pith__json key, pith__json at) {
    static const char *const fields[] = { "dtype", "shape", "data_offsets" };
    pith__json found[3] = { { NULL, NULL }, { NULL, NULL }, { NULL, NULL } }, it = at, name, value;
    size_t count, item;
    if (pith__json_string(key, &f->s->arena, &e->name))
        return pith__fail(f->err, PITH_EMEMORY, "%s: no memory", f->path);
    if (pith__json_type(at) != '{') return st_wrong(f, e, at, "the entry", "an object");
    while (pith__json_next(&it, &name, &value))
        for (int i = 0; i < 3; i++) {
            if (!pith__json_is(name, fields[i])) continue;
            if (pith__json_type(found[i]))
                return st_wrong(f, e, value, fields[i], "only one of it");
            found[i] = value;
        }
    int code = st_dtype(f, e, found[0], &item);
    if (!code) code = st_shape(f, e, found[1], &count);
    return code ? code : st_offsets(f, e, found[2], count, item);
}

/* What run merge wrote of the adapters that are in these weights becomes a key, as it is in GGUF; and what a reward model
 * says of its base. */
static int st_said(st_file *f, const char *name, pith__json value) {
    pith__str s = { "", 0 };
    char *text = pith__json_string(value, &f->s->arena, &s) ? NULL : pith__arena_text(&f->s->arena, s.p, s.n);
    for (size_t i = 0; i < f->s->n_key; i++)
        if (pith__str_is(f->s->key[i].name, name)) return PITH_OK; /* one of several files has said so */
    if (text && !pith__store_add_string(f->s, name, text)) return PITH_OK;
    return pith__fail(f->err, PITH_EMEMORY, "%s: no memory", f->path);
}

static int st_metadata(st_file *f, pith__json at, int *seen) {
    static const char *const known[] = { "pith.merged", "pith.base" };
    pith__json it = at, key, value;
    int wrong = (*seen)++ || pith__json_type(at) != '{';
    while (!wrong && pith__json_next(&it, &key, &value)) {
        wrong = pith__json_type(value) != '"';
        for (int i = 0; i < 2 && !wrong; i++)
            if (pith__json_is(key, known[i]) && st_said(f, known[i], value)) return PITH_EMEMORY;
    }
    return wrong ? pith__json_fail(at, PITH_EFORMAT, f->path, "__metadata__",
                                   "one object of strings", f->err)
                 : PITH_OK;
}

/* ---- one file: the rules for all entries ----------------------------------------------------- */

static int st_by_name(const void *a, const void *b) {
    return pith__str_cmp(((const st_entry *)a)->name, ((const st_entry *)b)->name);
}

static int st_by_place(const void *a, const void *b) {
    const st_entry *x = a, *y = b;
    int order = (x->begin > y->begin) - (x->begin < y->begin);
    return order ? order : (x->end > y->end) - (x->end < y->end);
}

/* Each tensor begins where the one before it ends, and the last ends where the file does. */
static int st_check_places(st_file *f) {
    size_t at = 0;
    if (f->n) qsort(f->entry, f->n, sizeof *f->entry, st_by_place);
    for (size_t i = 0; i < f->n; i++) {
        const st_entry *e = &f->entry[i];
        if (e->begin != at)
            return pith__fail(f->err, PITH_EFORMAT,
                              "%s: '%.*s' begins at %zu, need %zu: tensors may not"
                              " overlap or leave a hole",
                              f->path, st_shown(e->name), e->name.p, e->begin, at);
        at = e->end;
    }
    if (at != f->size)
        return pith__fail(f->err, PITH_EFORMAT,
                          "%s: the last tensor ends at %zu, need %zu as there are"
                          " bytes",
                          f->path, at, f->size);
    return PITH_OK;
}

static int st_check_names(st_file *f) {
    if (f->n) qsort(f->entry, f->n, sizeof *f->entry, st_by_name);
    for (size_t i = 1; i < f->n; i++)
        if (st_by_name(&f->entry[i - 1], &f->entry[i]) == 0)
            return pith__fail(f->err, PITH_EFORMAT, "%s: tensor '%.*s' comes twice", f->path,
                              st_shown(f->entry[i].name), f->entry[i].name.p);
    return PITH_OK;
}

static int st_header(st_file *f, const pith__file *file) {
    pith__cursor c = { file->data, file->size, 0 };
    uint64_t n = pith__u64(&c);
    if (!c.bad && n > ST_HEADER_MAX)
        return pith__fail(f->err, PITH_EFORMAT, "%s: header length is %llu, need at most %d",
                          f->path, (unsigned long long)n, ST_HEADER_MAX);
    const uint8_t *text = pith__take(&c, n);
    if (!text || n == 0 || *text != '{')
        return pith__fail(f->err, PITH_EFORMAT,
                          "%s: header length is %llu of %zu bytes, need a JSON"
                          " object of that length",
                          f->path, (unsigned long long)n, file->size);
    f->data = c.p;
    f->size = c.left;
    pith__json it, key, value;
    int code = pith__json_read(&it, text, (size_t)n, f->path, f->err), seen = 0;
    if (code) return code;
    pith__json count = it;
    size_t room = 0;
    while (pith__json_next(&count, &key, &value)) room++;
    f->entry = pith__arena_new(&f->s->arena, room, sizeof *f->entry);
    if (!f->entry) return pith__fail(f->err, PITH_EMEMORY, "%s: no memory", f->path);
    while (!code && pith__json_next(&it, &key, &value)) {
        if (pith__json_is(key, "__metadata__")) code = st_metadata(f, value, &seen);
        else code = st_tensor(f, &f->entry[f->n++], key, value);
    }
    if (!code) code = st_check_places(f);
    return code ? code : st_check_names(f);
}

/* ---- entries -> tensors ---------------------------------------------------------------------- */

/* Towers are counted by themselves. Old files hold the rotation's frequencies, numbers of positions and masks, which everyone
 * computes. */
static void st_drop(pith__store *s, pith__str name) {
    unsigned tower = pith__hf_tower(name);
    s->tower |= tower, s->n_tower += tower != 0;
    if (tower) return;
    static const char *const known[] = { "rotary_emb.inv_freq", "embeddings.position_ids", "attn.bias", "attn.masked_bias",
                                         "attention.bias", "attention.masked_bias",
                                         /* of BERT what no head needs, and the embedding again: */
                                         "pooler.dense.weight", "pooler.dense.bias", "seq_relationship.weight",
                                         "seq_relationship.bias", "predictions.decoder.weight", "predictions.decoder.bias",
                                         "lm_head.decoder.weight", "lm_head.decoder.bias", "vocab_projector.weight" };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t n = strlen(known[i]);
        if (name.n >= n && !memcmp(name.p + name.n - n, known[i], n)) return;
    }
    if (s->n_dropped++ == 0) s->dropped = name;
}

/* Bytes that hfgptoss.c knows what to do with. */
static int st_is_mxfp4(const char *gguf) {
    size_t n = strlen(gguf);
    return n > 7 && (!strcmp(gguf + n - 7, ".blocks") || !strcmp(gguf + n - 7, ".scales"));
}

/* f NULL: all of them, under the names they have. */
static int st_add(const pith__folder *f, st_file *st) {
    pith__store *s = st->s;
    pith__tensor *more = pith__arena_new(&s->arena, s->n_tensor + st->n, sizeof *more);
    if (!more) return pith__fail(st->err, PITH_EMEMORY, "%s: no memory", st->path);
    if (s->n_tensor) memcpy(more, s->tensor, s->n_tensor * sizeof *more);
    s->tensor = more;
    const char *path = s->path;
    s->path = st->path; /* for messages */
    int code = PITH_OK;
    for (size_t i = 0; i < st->n && !code; i++) {
        const st_entry *e = &st->entry[i];
        pith__str name = e->name;
        char gguf[PITH__HF_NAME];
        if (f && !pith__hf_to_gguf(f, e->name, gguf)) {
            st_drop(s, e->name);
            continue;
        }
        int bytes = f && st_is_mxfp4(gguf) && pith__json_is(e->dtype, "U8");
        if (e->format < 0 && !bytes) {
            code = st_refuse(st, e, PITH_EARCH, e->dtype, "dtype", "F32, F16 or BF16");
            break;
        }
        if (f) {
            char *copy = pith__arena_new(&s->arena, strlen(gguf) + 1, 1);
            if (!copy) {
                code = pith__fail(st->err, PITH_EMEMORY, "%s: no memory", st->path);
                break;
            }
            name = pith__str_of(strcpy(copy, gguf));
        }
        pith__tensor *to = &s->tensor[s->n_tensor];
        *to = (pith__tensor){ .name = e->name, .n_dim = e->n_dim }; /* messages have the file's name */
        memcpy(to->shape, e->shape, sizeof to->shape);
        if (!e->n_dim && f && strstr(gguf, ".xielu_")) to->n_dim = 1, to->shape[0] = 1; /* a number by itself */
        code = pith__tensor_set(to, s, bytes ? PITH__I8 : e->format,
                                (pith__cursor){ st->data + e->begin, e->end - e->begin, 0 }, st->err);
        to->name = name;
        if (!code) s->n_tensor++;
    }
    s->path = path;
    return code;
}

PITH_SHARED int pith__safetensors_read(pith__store *s, const pith__file *file, const char *path,
                                       pith_error *err) {
    st_file st = { .s = s, .path = path, .err = err };
    int code = st_header(&st, file);
    return code ? code : st_add(NULL, &st);
}

/* ---- shards ---------------------------------------------------------------------------------- */

typedef struct { /* one line of weight_map: this tensor is in that file */
    pith__str tensor, file;
} st_place;

static int st_place_order(const void *a, const void *b) {
    const st_place *x = a, *y = b;
    int order = pith__str_cmp(x->file, y->file);
    return order ? order : pith__str_cmp(x->tensor, y->tensor);
}

/* A file name without a path. */
static int st_is_plain(pith__str s) {
    return s.n > 0 && s.n < 256 && !memchr(s.p, '/', s.n) && !memchr(s.p, '\\', s.n) &&
           !memchr(s.p, 0, s.n) && s.p[0] != '.';
}

/* Read the file that the places name, n of them, all of which must be tensors there. */
static int st_shard(pith__folder *f, const char *index, const st_place *place, size_t n) {
    pith__str name = place[0].file;
    if (index && !st_is_plain(name))
        return pith__fail(f->err, PITH_EFORMAT,
                          "%s: weight_map names '%.*s', need a file in the folder", index,
                          st_shown(name), name.p);
    st_file st = { .s = f->s, .path = pith__folder_path(f, name), .err = f->err };
    const pith__file *file;
    if (!st.path) return PITH_EMEMORY;
    int code = pith__folder_open(f, st.path, 1, &file);
    if (!code) code = st_header(&st, file);
    for (size_t i = 0, j = 0; index && i < n && !code; i++) { /* both are sorted */
        while (j < st.n && pith__str_cmp(st.entry[j].name, place[i].tensor) < 0) j++;
        if (j == st.n || pith__str_cmp(st.entry[j].name, place[i].tensor) != 0)
            code = pith__fail(f->err, PITH_EFORMAT,
                              "%s: has no tensor '%.*s', which weight_map of"
                              " model.safetensors.index.json says",
                              st.path, st_shown(place[i].tensor), place[i].tensor.p);
    }
    return code ? code : st_add(f, &st);
}

static int st_index(pith__folder *f, pith__json index, const char *path) {
    pith__json map = pith__json_get(index, "weight_map"), it = map, key, value;
    size_t n = 0;
    if (pith__json_type(map) != '{')
        return pith__json_fail(map, PITH_EFORMAT, path, "weight_map", "an object", f->err);
    while (pith__json_next(&it, &key, &value)) n++;
    st_place *place = pith__arena_new(&f->s->arena, n, sizeof *place);
    if (!place) return pith__fail(f->err, PITH_EMEMORY, "%s: no memory", path);
    it = map;
    for (size_t i = 0; i < n && pith__json_next(&it, &key, &value); i++) {
        int code = pith__json_string(key, &f->s->arena, &place[i].tensor);
        if (!code) code = pith__json_string(value, &f->s->arena, &place[i].file);
        if (code == PITH_EFORMAT)
            return pith__json_fail(value, code, path, "a file in weight_map", "a string", f->err);
        if (code) return pith__fail(f->err, code, "%s: no memory", path);
    }
    if (n) qsort(place, n, sizeof *place, st_place_order);
    for (size_t i = 0, next; i < n; i = next) {
        for (next = i; next < n && !pith__str_cmp(place[next].file, place[i].file);) next++;
        int code = st_shard(f, path, place + i, next - i);
        if (code) return code;
    }
    return PITH_OK;
}

static int st_names(pith__json index, pith__str file) { /* is this one of the shards? */
    pith__json it = pith__json_get(index, "weight_map"), key, value;
    char name[256];
    if (file.n >= sizeof name) return 0;
    memcpy(name, file.p, file.n);
    name[file.n] = 0;
    while (pith__json_next(&it, &key, &value))
        if (pith__json_is(value, name)) return 1;
    return 0;
}

/* single: the file that the caller named, else model.safetensors if there is one, else shards. */
static int st_weights(pith__folder *f, pith__str single) {
    pith__json index;
    const char *path, *whole = pith__folder_path(f, pith__str_of("model.safetensors"));
    if (!whole) return PITH_EMEMORY;
    int code = pith__folder_json(f, "model.safetensors.index.json", 0, &index, &path);
    if (code) return code;
    if (single.n && !st_names(index, single))
        return st_shard(f, NULL, &(st_place){ single, single }, 1);
    if (pith__json_type(index) && (single.n || !pith__path_kind(whole)))
        return st_index(f, index, path);
    single = pith__str_of("model.safetensors");
    return st_shard(f, NULL, &(st_place){ single, single }, 1);
}

/* ---- the folder ------------------------------------------------------------------------------ */

static int st_need(pith__folder *f, const char *name, const char *why) {
    char room[PITH__HF_NAME];
    if (pith__store_tensor(f->s, name)) return PITH_OK;
    return pith__fail(f->err, PITH_EFORMAT, "%s: no tensor '%s', need it as %s", f->dir,
                      pith__shown_name(f->s, name, room), why);
}

/* What was saved as a base class, whose names have no prefix, or with labels on it has no matrix for logits: it makes vectors,
 * or says labels. */
static int st_need_output(pith__folder *f) {
    pith__str prefix = f->s->hf_prefix;
    int may_lack = (prefix.p && !prefix.n) || f->s->hf_style & (PITH__HF_TEXT_HEAD | PITH__HF_TOKEN_HEAD);
    if (f->tied || pith__store_tensor(f->s, "output.weight")) return PITH_OK;
    if (!may_lack) return st_need(f, "output.weight", "tie_word_embeddings is not true");
    int code = pith__store_add_int(f->s, "pith.no_output", 1);
    return code ? pith__fail(f->err, code, "%s: no memory", f->dir) : PITH_OK;
}

/* Biases that config.json promises must be there. */
static int st_check(pith__folder *f) {
    static const struct {
        const char *name;
        int from; /* which f->bias has it; 3: f->ffn_bias, 4: f->norm_bias */
    } part[] = { { "attn_q", 1 }, { "attn_k", 1 }, { "attn_v", 1 }, { "attn_qkv", 1 }, { "attn_output", 2 },
                 { "ffn_gate", 3 }, { "ffn_up", 3 }, { "ffn_down", 3 }, { "attn_norm", 4 }, { "ffn_norm", 4 } };
    const pith__tensor *embd = pith__store_tensor(f->s, "token_embd.weight");
    int code = st_need(f, "token_embd.weight", "every model has an embedding");
    if (!code && embd->rows != (size_t)f->n_vocab)
        code = pith__fail(f->err, PITH_EFORMAT, "%s: config.json has vocab_size %d, need %zu as the"
                          " embedding has rows", f->dir, f->n_vocab, embd->rows);
    if (!code) code = st_need_output(f);
    if (!code && f->norm_bias) code = st_need(f, "output_norm.bias", "norms of this family have biases");
    if (!code && f->s->hf_style & PITH__HF_PHI) code = st_need(f, "output.bias", "logits of this family have biases");
    for (int l = 0; l < f->n_layer; l++)
        for (size_t i = 0; i < sizeof part / sizeof *part && !code; i++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%d.%s.weight", l, part[i].name);
            if (!pith__store_tensor(f->s, name)) continue;
            snprintf(name, sizeof name, "blk.%d.%s.bias", l, part[i].name);
            if (part[i].from == 3 ? f->ffn_bias : part[i].from == 4 ? f->norm_bias : f->bias >= part[i].from)
                code = st_need(f, name, "config.json has this part with biases");
        }
    return code;
}

static int st_is_name(const char *path) {
    size_t n = strlen(path), tail = strlen(".safetensors");
    return n > tail && !strcmp(path + n - tail, ".safetensors");
}

PITH_SHARED int pith__folder_is(const char *path) {
    char kind = pith__path_kind(path);
    return kind == 'd' || (kind == 'f' && st_is_name(path));
}

PITH_SHARED int pith__folder_read(pith__store *s, const char *path, int no_mmap, pith_error *err) {
    pith__folder f = { .s = s, .dir = path, .no_mmap = no_mmap, .err = err };
    pith__str single = { NULL, 0 };
    s->kind = "Hugging Face folder";
    int code = pith__path_kind(path) == 'd' ? PITH_OK : pith__folder_split(&f, path, &single);
    if (!code && !pith__folder_has(f.dir, "config.json")) code = pith__folder_explain(&f);
    if (!code) code = pith__hf_config(&f);
    if (!code && !single.n && !pith__folder_has(f.dir, "model.safetensors") &&
        !pith__folder_has(f.dir, "model.safetensors.index.json"))
        code = pith__folder_explain(&f);
    if (!code) code = st_weights(&f, single);
    if (code) return code;
    pith__tensor *all = pith__arena_new(&s->arena, s->n_tensor + 2, sizeof *all);
    if (!all) return pith__fail(err, PITH_EMEMORY, "%s: no memory", path);
    if (s->n_tensor) memcpy(all, s->tensor, s->n_tensor * sizeof *all);
    s->tensor = all;
    for (int i = 0; i < f.n_made; i++) s->tensor[s->n_tensor++] = f.made[i];
    code = pith__store_sort(s, err);
    if (!code) code = st_check(&f);
    if (!code) code = pith__hf_layout(&f);
    if (!code && s->hf_style & PITH__HF_APERTUS) code = pith__hf_xielu(&f);
    if (!code && s->hf_style & PITH__HF_GPTOSS) code = pith__hf_gptoss_experts(&f);
    if (!code) code = pith__hf_turn_experts(&f);
    return code ? code : pith__hf_tokenizer(&f);
}
