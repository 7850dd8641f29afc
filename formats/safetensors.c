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
    int format;          /* of the numbers */
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

static int st_dtype(st_file *f, st_entry *e, pith__json j) {
    static const struct {
        const char *name;
        int format;
    } known[] = { { "F32", PITH__F32 }, { "F16", PITH__F16 }, { "BF16", PITH__BF16 } };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!pith__json_is(j, known[i].name)) continue;
        e->format = known[i].format;
        return PITH_OK;
    }
    int code = pith__json_type(j) == '"' ? PITH_EARCH : PITH_EFORMAT;
    return st_refuse(f, e, code, j, "dtype", "F32, F16 or BF16");
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

static int st_offsets(st_file *f, st_entry *e, pith__json j, size_t count) {
    pith__json it = j, first, second, third;
    int64_t begin, end;
    size_t bytes, item = e->format == PITH__F32 ? 4 : 2;
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
    if (!pith__mul(&bytes, count, item) && bytes == e->end - e->begin) return PITH_OK;
    char need[64];
    snprintf(need, sizeof need, "%zu numbers of %zu bytes between them", count, item);
    return st_wrong(f, e, j, "data_offsets", need);
}

static int st_tensor(st_file *f, st_entry *e, pith__json key, pith__json at) {
    static const char *const fields[] = { "dtype", "shape", "data_offsets" };
    pith__json found[3] = { { NULL, NULL }, { NULL, NULL }, { NULL, NULL } }, it = at, name, value;
    size_t count;
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
    int code = st_dtype(f, e, found[0]);
    if (!code) code = st_shape(f, e, found[1], &count);
    return code ? code : st_offsets(f, e, found[2], count);
}

static int st_metadata(st_file *f, pith__json at, int *seen) {
    pith__json it = at, key, value;
    int wrong = (*seen)++ || pith__json_type(at) != '{';
    while (!wrong && pith__json_next(&it, &key, &value)) wrong = pith__json_type(value) != '"';
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

/* ---- names ----------------------------------------------------------------------------------- */

static const struct {
    const char *hf, *gguf;
} st_outer[] = {
    { "embed_tokens.weight", "token_embd.weight" },
    { "norm.weight", "output_norm.weight" },
    { "lm_head.weight", "output.weight" },
}, st_inner[] = { /* behind "layers.7.", before .weight or .bias */
    { "input_layernorm", "attn_norm" },
    { "self_attn.q_proj", "attn_q" },
    { "self_attn.k_proj", "attn_k" },
    { "self_attn.v_proj", "attn_v" },
    { "self_attn.o_proj", "attn_output" },
    { "self_attn.qkv_proj", "attn_qkv" },
    { "self_attn.q_norm", "attn_q_norm" },
    { "self_attn.k_norm", "attn_k_norm" },
    { "post_attention_layernorm", "ffn_norm" }, /* two meanings of one name: see post_norm */
    { "pre_feedforward_layernorm", "ffn_norm" },
    { "post_feedforward_layernorm", "post_ffw_norm" },
    { "mlp.gate_proj", "ffn_gate" },
    { "mlp.up_proj", "ffn_up" },
    { "mlp.down_proj", "ffn_down" },
    { "mlp.gate_up_proj", "ffn_up" },
    { "mlp.gate", "ffn_gate_inp" },
};

static int str_begins(pith__str *s, const char *with) { /* and step behind it */
    size_t n = strlen(with);
    if (s->n < n || memcmp(s->p, with, n)) return 0;
    s->p += n;
    s->n -= n;
    return 1;
}

static int str_ends(pith__str *s, const char *with) { /* and cut it off */
    size_t n = strlen(with);
    if (s->n < n || memcmp(s->p + s->n - n, with, n)) return 0;
    s->n -= n;
    return 1;
}

/* Digits and a point. They stay digits: a layer number that no integer holds is just another name.
 */
static int str_number(pith__str *s, pith__str *number) {
    size_t n = 0;
    while (n < s->n && s->p[n] >= '0' && s->p[n] <= '9') n++;
    if (n == 0 || n > 20 || n == s->n || s->p[n] != '.') return 0;
    number->p = s->p;
    number->n = n;
    s->p += n + 1;
    s->n -= n + 1;
    return 1;
}

enum { ST_GGUF_NAME = 80 };

/* A bias is used only where config.json says so. */
static int st_has_bias(const pith__folder *f, pith__str part) {
    if (str_begins(&part, "mlp.")) return f->ffn_bias;
    return pith__str_is(part, "self_attn.o_proj") ? f->bias == 2 : f->bias;
}

/* What is behind "layers.7.". */
static int st_rename_inner(const pith__folder *f, pith__str layer, pith__str s, char *name) {
    pith__str expert;
    int bias = str_ends(&s, ".bias"), part = 0;
    const char *inner = NULL, *kind = bias ? "bias" : "weight";
    if (!bias && !str_ends(&s, ".weight")) return 0;
    if (bias && !st_has_bias(f, s)) return 0;
    if (str_begins(&s, "mlp.experts.")) {
        if (!str_number(&s, &expert) || !str_ends(&s, "_proj") || s.n > 8) return 0;
        snprintf(name, ST_GGUF_NAME, "blk.%.*s.ffn_%.*s.%.*s.%s", (int)layer.n, layer.p, (int)s.n,
                 s.p, (int)expert.n, expert.p, kind);
        return 1;
    }
    for (; part < (int)(sizeof st_inner / sizeof *st_inner) && !inner; part++)
        if (pith__str_is(s, st_inner[part].hf)) inner = st_inner[part].gguf;
    if (!inner) return 0;
    if (f->post_norm && pith__str_is(s, "post_attention_layernorm")) inner = "post_attention_norm";
    snprintf(name, ST_GGUF_NAME, "blk.%.*s.%s.%s", (int)layer.n, layer.p, inner, kind);
    return 1;
}

/* GGUF's name for s; 0: not a tensor that is used here. With a vision tower the text model stands
 * behind "language_model.", and a bare model was saved without "model.". */
static int st_rename(const pith__folder *f, pith__str s, char *name) {
    pith__str layer;
    while (str_begins(&s, "model.") || str_begins(&s, "language_model.")) continue;
    if (str_begins(&s, "layers."))
        return str_number(&s, &layer) && st_rename_inner(f, layer, s, name);
    for (size_t i = 0; i < sizeof st_outer / sizeof *st_outer; i++) {
        if (!pith__str_is(s, st_outer[i].hf)) continue;
        snprintf(name, ST_GGUF_NAME, "%s", st_outer[i].gguf);
        return !(f->tied && !strcmp(name, "output.weight"));
    }
    return 0;
}

/* ---- entries -> tensors ---------------------------------------------------------------------- */

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
        char gguf[ST_GGUF_NAME];
        if (f) {
            if (!st_rename(f, e->name, gguf)) continue;
            char *copy = pith__arena_new(&s->arena, strlen(gguf) + 1, 1);
            if (!copy) {
                code = pith__fail(st->err, PITH_EMEMORY, "%s: no memory", st->path);
                break;
            }
            name = pith__str_of(strcpy(copy, gguf));
        }
        code = pith__tensor_set(&s->tensor[s->n_tensor], s, name, e->format, e->n_dim, e->shape,
                                st->data + e->begin, e->end - e->begin, st->err);
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

/* A name that leads nowhere but into the folder. */
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
    if (pith__store_tensor(f->s, name)) return PITH_OK;
    return pith__fail(f->err, PITH_EFORMAT, "%s: no tensor '%s', need it as %s", f->dir, name, why);
}

/* What a GGUF file may lack without a word, but not a folder whose config.json speaks of it. */
static int st_check(pith__folder *f) {
    static const struct {
        const char *name;
        int from; /* which f->bias has it; 3: f->ffn_bias */
    } part[] = { { "attn_q", 1 }, { "attn_k", 1 }, { "attn_v", 1 }, { "attn_output", 2 },
                 { "ffn_gate", 3 }, { "ffn_up", 3 }, { "ffn_down", 3 } };
    const pith__tensor *embd = pith__store_tensor(f->s, "token_embd.weight");
    int code = st_need(f, "token_embd.weight", "every model has an embedding");
    if (!code && embd->rows != (size_t)f->n_vocab)
        code = pith__fail(f->err, PITH_EFORMAT, "%s: config.json has vocab_size %d, need %zu as the"
                          " embedding has rows", f->dir, f->n_vocab, embd->rows);
    if (!code && !f->tied) code = st_need(f, "output.weight", "tie_word_embeddings is not true");
    for (int l = 0; l < f->n_layer; l++)
        for (size_t i = 0; i < sizeof part / sizeof *part && !code; i++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%d.%s.bias", l, part[i].name);
            if (part[i].from == 3 ? f->ffn_bias : f->bias >= part[i].from)
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

/* The folder of a file, and the file's name in it. */
static int st_split_path(pith__folder *f, const char *path, pith__str *name) {
    const char *slash = strrchr(path, '/');
    *name = pith__str_of(slash ? slash + 1 : path);
    size_t n = slash ? (size_t)(slash - path) : 0;
    char *dir = pith__arena_new(&f->s->arena, n + 2, 1);
    if (!dir) return pith__fail(f->err, PITH_EMEMORY, "%s: no memory", path);
    memcpy(dir, path, n);
    if (!n) dir[0] = slash ? '/' : '.';
    f->dir = dir;
    return PITH_OK;
}

PITH_SHARED int pith__folder_read(pith__store *s, const char *path, int no_mmap, pith_error *err) {
    pith__folder f = { .s = s, .dir = path, .no_mmap = no_mmap, .err = err };
    pith__str single = { NULL, 0 };
    s->kind = "Hugging Face folder";
    s->file = NULL; /* the table grows here, file by file */
    s->n_file = 0;
    int code = pith__path_kind(path) == 'd' ? PITH_OK : st_split_path(&f, path, &single);
    if (!code) code = pith__hf_config(&f);
    if (!code) code = st_weights(&f, single);
    if (code) return code;
    pith__tensor *all = pith__arena_new(&s->arena, s->n_tensor + 2, sizeof *all);
    if (!all) return pith__fail(err, PITH_EMEMORY, "%s: no memory", path);
    if (s->n_tensor) memcpy(all, s->tensor, s->n_tensor * sizeof *all);
    s->tensor = all;
    for (int i = 0; i < f.n_made; i++) s->tensor[s->n_tensor++] = f.made[i];
    code = pith__store_sort(s, err);
    if (!code) code = st_check(&f);
    return code ? code : pith__hf_tokenizer(&f);
}
