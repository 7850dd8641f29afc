/* folder.c - what the readers of a Hugging Face folder share: its files, what to say of a folder that is
 * none, and the fields of a JSON object, which become keys of the store. */
#include "formats.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the files of a folder ------------------------------------------------------------------- */

enum { JSON_FILE_MAX = 256 << 20 }; /* tokenizer.json of 262,144 tokens has 33 MB */

PITH_SHARED const char *pith__folder_path(pith__folder *f, pith__str name) {
    size_t n = strlen(f->dir);
    char *path = pith__arena_new(&f->s->arena, n + name.n + 2, 1);
    if (!path) {
        pith__fail(f->err, PITH_EMEMORY, "%s: no memory", f->dir);
        return NULL;
    }
    memcpy(path, f->dir, n);
    path[n] = '/';
    memcpy(path + n + 1, name.p, name.n);
    return path;
}

/* The store's table of files doubles when the count is a power of two. */
static pith__file *folder_slot(pith__store *s) {
    size_t n = (size_t)s->n_file;
    if ((n & (n - 1)) == 0) {
        pith__file *more = pith__arena_new(&s->arena, n ? 2 * n : 1, sizeof *more);
        if (!more) return NULL;
        if (n) memcpy(more, s->file, n * sizeof *more);
        s->file = more;
    }
    return &s->file[s->n_file];
}

PITH_SHARED int pith__check_content(const pith__file *f, const char *path, pith_error *err) {
    static const char lfs[] = "version https://git-lfs";
    if (f->size < sizeof lfs || f->size > 1024 || memcmp(f->data, lfs, sizeof lfs - 1) != 0) return PITH_OK;
    return pith__fail(err, PITH_EFORMAT, "%s: is a pointer of Git LFS and not the file itself: git lfs pull"
                      " brings it", path);
}

PITH_SHARED int pith__folder_has(const char *folder, const char *name) {
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    return n < (int)sizeof path && pith__path_kind(path) != 0;
}

PITH_SHARED int pith__folder_open(pith__folder *f, const char *path, int needed,
                                  const pith__file **file) {
    *file = NULL;
    if (!needed && pith__path_kind(path) == 0) return PITH_OK;
    pith__file *slot = folder_slot(f->s);
    if (!slot) return pith__fail(f->err, PITH_EMEMORY, "%s: no memory", path);
    int code = pith__file_open(slot, path, f->no_mmap, f->err);
    if (code) return code;
    f->s->n_file++;
    *file = slot;
    return pith__check_content(slot, path, f->err);
}

PITH_SHARED int pith__folder_split(pith__folder *f, const char *path, pith__str *name) {
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

static int folder_value(pith__folder *f, const char *name, int needed, char type, pith__json *j, const char **path) {
    const pith__file *file;
    memset(j, 0, sizeof *j);
    *path = pith__folder_path(f, pith__str_of(name));
    if (!*path) return PITH_EMEMORY;
    int code = pith__folder_open(f, *path, needed, &file);
    if (code || !file) return code;
    if (file->size > JSON_FILE_MAX)
        return pith__fail(f->err, PITH_EFORMAT, "%s: has %zu bytes, need at most %d", *path,
                          file->size, JSON_FILE_MAX);
    code = pith__json_read_long(j, &f->ends, file->data, file->size, *path, f->err);
    if (code || pith__json_type(*j) == type) return code;
    return pith__fail(f->err, PITH_EFORMAT, "%s: is not a JSON %s", *path, type == '{' ? "object" : "array");
}

PITH_SHARED int pith__folder_json(pith__folder *f, const char *name, int needed, pith__json *j, const char **path) {
    return folder_value(f, name, needed, '{', j, path);
}

PITH_SHARED int pith__folder_array(pith__folder *f, const char *name, pith__json *j, const char **path) {
    return folder_value(f, name, 0, '[', j, path);
}

/* ---- a folder that cannot be run ------------------------------------------------------------- */

enum { NAME_MAX_SHOWN = 120 };

/* The hub's cache: snapshots/HASH is the model, and refs/main says which HASH. */
static int explain_cache(pith__folder *f) {
    char hash[NAME_MAX_SHOWN];
    const char *snapshots = pith__folder_path(f, pith__str_of("snapshots"));
    const char *refs = pith__folder_path(f, pith__str_of("refs/main"));
    const pith__file *file = NULL;
    if (!snapshots || pith__find_named(snapshots, "", "", hash, sizeof hash) == 0) return PITH_OK;
    if (refs && !pith__folder_open(f, refs, 0, &file) && file && file->size < sizeof hash) {
        memcpy(hash, file->data, file->size);
        hash[file->size] = 0;
        hash[strcspn(hash, " \r\n")] = 0;
    }
    return pith__fail(f->err, PITH_EFORMAT, "%s: is a folder of the hub's cache; the model in it is"
                      " snapshots/%s: give that folder", f->dir, hash);
}

static int explain_adapter(pith__folder *f) {
    pith__json config;
    const char *path;
    if (pith__folder_json(f, "adapter_config.json", 0, &config, &path) || !pith__json_type(config))
        return PITH_OK;
    pith__str base = { "", 0 };
    pith__json_string(pith__json_get(config, "base_model_name_or_path"), &f->s->arena, &base);
    return pith__fail(f->err, PITH_EFORMAT, "%s: is an adapter (adapter_config.json), not a model: need the"
                      " model it was made for%s%.*s", f->dir, base.n ? ", " : "",
                      base.n < NAME_MAX_SHOWN ? (int)base.n : NAME_MAX_SHOWN, base.p);
}

static int explain_weights(pith__folder *f) {
    static const char *const pickles[][2] = { { "pytorch_model", ".bin" }, { "consolidated", ".pth" },
                                              { "", ".pth" }, { "", ".pt" }, { "model", ".bin" } };
    char name[NAME_MAX_SHOWN];
    int n = pith__find_named(f->dir, "", ".gguf", name, sizeof name);
    if (n)
        return pith__fail(f->err, PITH_EFORMAT, "%s: holds %d .gguf file%s: give one of them, as %s", f->dir, n,
                          n > 1 ? "s" : "", name);
    n = pith__find_named(f->dir, "", ".safetensors", name, sizeof name);
    if (n > 1 || (n && strstr(name, "-of-")))
        return pith__fail(f->err, PITH_EFORMAT, "%s: holds %d of several .safetensors files (%s), but no"
                          " model.safetensors.index.json that says what is where", f->dir, n, name);
    if (n && pith__folder_has(f->dir, "config.json"))
        return pith__fail(f->err, PITH_EFORMAT, "%s: has no model.safetensors; it holds %s: give that file",
                          f->dir, name);
    if (n)
        return pith__fail(f->err, PITH_EFORMAT, "%s: holds %s, but no config.json that says what model it is",
                          f->dir, name);
    for (size_t i = 0; i < sizeof pickles / sizeof *pickles; i++)
        if (pith__find_named(f->dir, pickles[i][0], pickles[i][1], name, sizeof name))
            return pith__fail(f->err, PITH_EARCH, "%s: the weights are in %s, a pickle, which can run code and is"
                              " not read here. In Python: AutoModelForCausalLM.from_pretrained(THIS)."
                              "save_pretrained(NEW)", f->dir, name);
    return PITH_OK;
}

PITH_SHARED int pith__folder_explain(pith__folder *f) {
    int code = PITH_OK;
    if (!pith__folder_has(f->dir, "config.json")) {
        code = explain_cache(f);
        if (!code) code = explain_adapter(f);
    }
    return code ? code : explain_weights(f);
}

/* ---- fields of an object ---------------------------------------------------------------------- */

PITH_SHARED void pith__hf_wrong(pith__hf *c, pith__json j, int code, const char *name,
                                const char *need) {
    if (!c->code) c->code = pith__json_fail(j, code, c->path, name, need, c->f->err);
}

PITH_SHARED pith__json pith__hf_get(pith__json object, const char *name) {
    pith__json j = pith__json_get(object, name), none = { NULL, NULL };
    return pith__json_type(j) == 'n' ? none : j;
}

PITH_SHARED int pith__hf_int(pith__hf *c, pith__json object, const char *name, int lo, int otherwise) {
    pith__json j = pith__hf_get(object, name);
    int64_t i = 0;
    if (!pith__json_type(j) && otherwise >= lo) return otherwise;
    if (pith__json_int(j, &i) && i >= lo && i <= INT32_MAX) return (int)i;
    char need[48];
    snprintf(need, sizeof need, "an integer from %d to 2147483647", lo);
    pith__hf_wrong(c, j, PITH_EFORMAT, name, need);
    return lo;
}

PITH_SHARED double pith__hf_float(pith__hf *c, pith__json object, const char *name, double otherwise) {
    pith__json j = pith__hf_get(object, name);
    double y = 0;
    if (!pith__json_type(j) && !isnan(otherwise)) return otherwise;
    if (!pith__json_float(j, &y)) pith__hf_wrong(c, j, PITH_EFORMAT, name, "a number");
    return y;
}

PITH_SHARED double pith__hf_positive(pith__hf *c, pith__json object, const char *name,
                                     double otherwise) {
    double y = pith__hf_float(c, object, name, otherwise);
    if (!(y > 0))
        pith__hf_wrong(c, pith__hf_get(object, name), PITH_EFORMAT, name, "a number over 0");
    return y > 0 ? y : 1;
}

PITH_SHARED int pith__hf_bool(pith__hf *c, pith__json object, const char *name, int otherwise) {
    pith__json j = pith__hf_get(object, name);
    char type = pith__json_type(j);
    if (type && type != 't' && type != 'f')
        pith__hf_wrong(c, j, PITH_EFORMAT, name, "true or false");
    return type ? type == 't' : otherwise;
}

/* ---- keys ------------------------------------------------------------------------------------- */

static const char *key_name(pith__hf *c, const char *name, char *full, size_t size) {
    snprintf(full, size, "%s.%s", c->arch, name);
    return full;
}

PITH_SHARED void pith__hf_added(pith__hf *c, int code) {
    if (code && !c->code) c->code = pith__fail(c->f->err, code, "%s: no memory", c->path);
}

PITH_SHARED void pith__hf_put_int(pith__hf *c, const char *name, int i) {
    char full[96];
    pith__hf_added(c, pith__store_add_int(c->f->s, key_name(c, name, full, sizeof full), i));
}

PITH_SHARED void pith__hf_put_flag(pith__hf *c, const char *name, int yes) {
    pith__hf_put_int(c, name, yes);
    if (!c->code) c->f->s->key[c->f->s->n_key - 1].type = PITH__BOOL;
}

PITH_SHARED void pith__hf_put_float(pith__hf *c, const char *name, double y) {
    char full[96];
    pith__hf_added(c, pith__store_add_float(c->f->s, key_name(c, name, full, sizeof full), y));
}

static void put_layers(pith__hf *c, const char *full, int item, int gguf_item, const void *y) {
    pith__hf_added(c, pith__store_add_int(c->f->s, full, 0));
    if (c->code) return;
    pith__key *k = &c->f->s->key[c->f->s->n_key - 1];
    k->type = PITH__ARRAY;
    k->item = item;
    k->gguf_item = gguf_item;
    k->n = (size_t)c->f->n_layer;
    k->at.p = y;
    k->at.left = k->n * (item == PITH__BOOL ? 1 : sizeof(int32_t));
}

enum { LAYERS_INT = 5, LAYERS_BOOL = 7 }; /* GGUF's types */

PITH_SHARED void pith__hf_put_flags(pith__hf *c, const char *name, const uint8_t *y) {
    put_layers(c, name, PITH__BOOL, LAYERS_BOOL, y);
}

PITH_SHARED void pith__hf_put_ints(pith__hf *c, const char *name, const int32_t *y) {
    char full[96];
    snprintf(full, sizeof full, "%s.%s", c->arch, name);
    put_layers(c, full, PITH__INT, LAYERS_INT, y);
}

PITH_SHARED void pith__hf_put_string(pith__hf *c, const char *name, const char *s) {
    char full[96];
    pith__hf_added(c, pith__store_add_string(c->f->s, key_name(c, name, full, sizeof full), s));
}
