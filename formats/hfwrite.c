/* hfwrite.c - what Hugging Face's programs read: .safetensors files, and a LoRA as a PEFT folder.
 *
 * The formats are described where they are read: safetensors.c and adapter.c. Files are written beside their names
 * and renamed, and so is a folder that was not there (base/os.c). */
#include "formats.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- JSON ------------------------------------------------------------------------------------ */

typedef struct {         /* text on its way to a file */
    pith__writer *w;     /* NULL: it is only counted */
    size_t n;            /* bytes so far */
} hf_text;

static void put_bytes(hf_text *to, const void *p, size_t n) {
    if (to->w) pith__writer_put(to->w, p, n);
    to->n += n;
}

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static void put_format(hf_text *to, const char *fmt, ...) { /* up to 400 bytes */
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    put_bytes(to, text, n < 0 ? 0 : n < (int)sizeof text ? (size_t)n : sizeof text - 1);
}

/* A byte that is no UTF-8 becomes U+FFFD, for JSON has only characters. */
static void put_json_text(hf_text *to, pith__str s) {
    put_bytes(to, "\"", 1);
    for (size_t i = 0, n; i < s.n; i += n) {
        uint32_t c;
        char utf8[4];
        n = pith__utf8_read((const uint8_t *)s.p + i, s.n - i, &c);
        if (c == '"' || c == '\\') put_format(to, "\\%c", (char)c);
        else if (c < ' ') put_format(to, "\\u%04x", (unsigned)c);
        else put_bytes(to, utf8, pith__utf8_write(c, utf8));
    }
    put_bytes(to, "\"", 1);
}

/* ---- .safetensors ---------------------------------------------------------------------------- */

static int out_by_name(const void *a, const void *b) {
    return pith__str_cmp((*(const pith__out *const *)a)->tensor->name, (*(const pith__out *const *)b)->tensor->name);
}

/* Spaces fill it up to a multiple of 8 bytes. */
static void put_st_header(hf_text *to, const pith__out *const *out, size_t n, const char *const *said) {
    size_t at = 0;
    put_format(to, "{\"__metadata__\":{\"format\":\"pt\"");
    if (said) put_format(to, ",\"%s\":", said[0]), put_json_text(to, pith__str_of(said[1]));
    put_format(to, "}");
    for (size_t i = 0; i < n; i++) {
        const pith__tensor *t = out[i]->tensor;
        put_format(to, ",");
        put_json_text(to, t->name);
        put_format(to, ":{\"dtype\":\"%s\",\"shape\":[", out[i]->to->name);
        for (int d = 0; d < t->n_dim; d++) put_format(to, "%s%llu", d ? "," : "", (unsigned long long)t->shape[d]);
        size_t end = at + pith__out_bytes(out[i]);
        put_format(to, "],\"data_offsets\":[%zu,%zu]}", at, end);
        at = end;
    }
    put_format(to, "}");
    while (to->n % 8) put_bytes(to, " ", 1);
}

static int put_safetensors(pith__writer *w, const pith__out *const *out, size_t n, const char *const *said,
                           pith_error *err) {
    hf_text top = { NULL, 0 };
    uint8_t length[8];
    put_st_header(&top, out, n, said);
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)top.n >> 8 * i);
    pith__writer_put(w, length, sizeof length);
    top = (hf_text){ w, 0 };
    put_st_header(&top, out, n, said);
    int code = PITH_OK;
    for (size_t i = 0; i < n && !code; i++) code = pith__out_put(w, out[i], err);
    return code;
}

PITH_SHARED int pith__safetensors_write(const pith__out *out, size_t n, const char *const *said, const char *path,
                                        pith_error *err) {
    const pith__out **order = calloc(n ? n : 1, sizeof *order);
    if (!order) return pith__fail(err, PITH_EMEMORY, "%s: no memory to write it", path);
    pith__writer w;
    int code = PITH_OK;
    for (size_t i = 0; i < n && !code; i++) {
        int id = out[i].to->id;
        order[i] = &out[i];
        if (id != PITH__F32 && id != PITH__F16 && id != PITH__BF16)
            code = pith__fail(err, PITH_EARG, "%s: %s cannot be written", path, out[i].to->name);
    }
    if (!code) qsort(order, n, sizeof *order, out_by_name);
    if (!code) code = pith__writer_open(&w, path, err);
    if (!code) code = pith__writer_close(&w, put_safetensors(&w, order, n, said, err), err);
    free(order);
    return code;
}

/* ---- files of a folder ----------------------------------------------------------------------- */

static char *path_in(const char *folder, const char *name, pith_error *err) { /* to be freed */
    size_t n = strlen(folder) + strlen(name) + 2;
    char *path = malloc(n);
    if (path) snprintf(path, n, "%s/%s", folder, name);
    else pith__fail(err, PITH_EMEMORY, "%s: no memory to write it", folder);
    return path;
}

/* ---- a PEFT folder --------------------------------------------------------------------------- */

static void put_pattern(hf_text *to, const pith__peft *p, int ranks) {
    size_t n = 0;
    put_format(to, ",\n  \"%s\": {", ranks ? "rank_pattern" : "alpha_pattern");
    for (size_t i = 0; i < p->n_pattern; i++) {
        const struct pith__peft_pattern *q = &p->pattern[i];
        if (ranks ? q->r == p->r : !(q->alpha < p->alpha || q->alpha > p->alpha)) continue;
        put_format(to, "%s\n    ", n++ ? "," : "");
        put_json_text(to, pith__str_of(q->module));
        if (ranks) put_format(to, ": %d", q->r);
        else put_format(to, ": %.17g", q->alpha);
    }
    put_format(to, "%s}", n ? "\n  " : "");
}

/* What peft has no default for, or what a reader may ask about. */
static void put_peft_config(hf_text *to, const pith__peft *p) {
    put_format(to, "{\n  \"base_model_name_or_path\": ");
    if (p->base) put_json_text(to, pith__str_of(p->base));
    else put_format(to, "null");
    put_format(to, ",\n  \"bias\": \"none\",\n  \"fan_in_fan_out\": %s,\n  \"inference_mode\": true,\n"
                   "  \"init_lora_weights\": true,\n  \"lora_alpha\": %.17g,\n  \"lora_dropout\": %.9g,\n"
                   "  \"modules_to_save\": %s,\n  \"peft_type\": \"LORA\",\n  \"r\": %d", p->transposed ? "true" : "false", p->alpha, p->dropout,
               p->scores ? "[\n    \"classifier\",\n    \"score\"\n  ]" : "null", p->r);
    put_pattern(to, p, 1);
    put_pattern(to, p, 0);
    put_format(to, ",\n  \"target_modules\": [");
    for (size_t i = 0; i < p->n_target; i++) {
        put_format(to, "%s\n    ", i ? "," : "");
        put_json_text(to, pith__str_of(p->target[i]));
    }
    put_format(to, "\n  ],\n  \"task_type\": \"%s\",\n  \"use_dora\": false,\n  \"use_rslora\": %s\n}\n",
               p->scores ? "SEQ_CLS" : "CAUSAL_LM", p->rslora ? "true" : "false");
}

/* One small file: adapter_config.json of p, or the text s. */
static int write_small(const char *folder, const char *name, const pith__peft *p, pith__str s, pith_error *err) {
    char *path = path_in(folder, name, err);
    pith__writer w;
    int code = path ? pith__writer_open(&w, path, err) : PITH_EMEMORY;
    if (!code && p) put_peft_config(&(hf_text){ &w, 0 }, p);
    if (!code && !p) pith__writer_put(&w, s.p, s.n);
    if (!code) code = pith__writer_commit(&w, err);
    free(path);
    return code;
}

PITH_SHARED int pith__peft_write(const pith__peft *p, const pith__out *out, size_t n, const char *folder,
                                 pith_error *err) {
    const pith__str none = { NULL, 0 };
    const char *const base[] = { "pith.base", p->print };
    pith__new_folder f;
    int code = pith__new_folder_open(&f, folder, err);
    if (code) return code;
    char *path = path_in(f.at, "adapter_model.safetensors", err);
    code = path ? pith__safetensors_write(out, n, p->print ? base : NULL, path, err) : PITH_EMEMORY;
    free(path);
    if (!code) code = write_small(f.at, "adapter_config.json", p, none, err);
    if (!code && p->chat_template.n) code = write_small(f.at, "chat_template.jinja", NULL, p->chat_template, err);
    if (!code) return pith__new_folder_commit(&f, err);
    pith__new_folder_drop(&f);
    return code;
}

/* ---- a model's folder ------------------------------------------------------------------------ */

/* config.json, which names the type of the weights in up to four places. */
static int write_config(const pith__folder_files *f, const pith__file *config, const char *path, pith_error *err) {
    static const char *const names[] = { "torch_dtype", "dtype" };
    const char *type = f->dtype->id == PITH__F32 ? "float32" : f->dtype->id == PITH__F16 ? "float16" : "bfloat16";
    pith__json top, at[4];
    int code = pith__json_read(&top, config->data, config->size, path, err);
    if (code) return code;
    size_t n = 0;
    for (int i = 0; i < 4; i++) {
        pith__json object = i < 2 ? top : pith__json_get(top, "text_config");
        pith__json j = pith__json_type(object) == '{' ? pith__json_get(object, names[i % 2]) : object;
        if (pith__json_type(j) != '"') continue;
        size_t k = n++;
        for (; k > 0 && at[k - 1].p > j.p; k--) at[k] = at[k - 1];
        at[k] = j;
    }
    pith__writer w;
    const char *p = (const char *)config->data, *end = p + config->size;
    code = pith__writer_open(&w, path, err);
    for (size_t i = 0; i < n && !code; i++) {
        pith__str raw = pith__json_raw(at[i]);
        pith__writer_put(&w, p, (size_t)(raw.p - p));
        put_json_text(&(hf_text){ &w, 0 }, pith__str_of(type));
        p = raw.p + raw.n;
    }
    if (!code) pith__writer_put(&w, p, (size_t)(end - p));
    return code ? code : pith__writer_commit(&w, err);
}

/* A file of the old folder; none is copied where there is none. */
static int copy_file(const pith__folder_files *f, const char *old, const char *name, const char *folder,
                     pith_error *err) {
    char *from = path_in(old, name, err), *to = from ? path_in(folder, name, err) : NULL;
    pith__file file;
    int code = to ? PITH_OK : PITH_EMEMORY;
    if (!code && pith__path_kind(from)) {
        code = pith__file_open(&file, from, 0, err);
        if (!code && f->dtype && !strcmp(name, "config.json")) {
            code = write_config(f, &file, to, err);
        } else if (!code) {
            code = write_small(folder, name, NULL, (pith__str){ (const char *)file.data, file.size }, err);
        }
        if (file.data) pith__file_close(&file);
    }
    free(from);
    free(to);
    return code;
}

/* One step of sentence-transformers: its folder's two files. */
static int copy_step(const pith__folder_files *f, const char *old, const char *step, const char *folder, pith_error *err) {
    static const char *const files[] = { "config.json", "model.safetensors" };
    const pith__folder_files as_is = { .from = f->from };
    char name[160], *to = path_in(folder, step, err);
    int code = to ? pith__make_folder(to, err) : PITH_EMEMORY;
    for (int i = 0; i < 2 && !code; i++) {
        snprintf(name, sizeof name, "%s/%s", step, files[i]);
        code = copy_file(&as_is, old, name, folder, err);
    }
    free(to);
    return code;
}

/* The folders that modules.json names, which was read when the model was opened. */
static int copy_steps(const pith__folder_files *f, const char *old, const char *folder, pith_error *err) {
    char *path = path_in(old, "modules.json", err);
    pith__arena a = { 0 };
    pith__file file = { .data = NULL };
    pith__json steps = { NULL, NULL }, step;
    int code = path ? PITH_OK : PITH_EMEMORY, n = 0;
    if (path && pith__path_kind(path)) code = pith__file_open(&file, path, 0, err);
    if (!code && file.data) code = pith__json_read(&steps, file.data, file.size, path, err);
    for (; !code && file.data && pith__json_next(&steps, NULL, &step); n++) {
        pith__str s = { "", 0 };
        if (pith__json_string(pith__json_get(step, "path"), &a, &s) || !s.n) continue;
        const char *name = pith__arena_text(&a, s.p, s.n);
        if (!n) code = pith__fail(err, PITH_EARG, "%s: has its model in '%.*s': need a name that ends in .gguf", old, s.n < 100 ? (int)s.n : 100, s.p);
        else code = name && s.n <= 100 ? copy_step(f, old, name, folder, err) : PITH_EMEMORY;
    }
    if (file.data) pith__file_close(&file);
    pith__arena_free(&a);
    free(path);
    return code;
}

static int copy_files(const pith__folder_files *f, const char *folder, pith_error *err) {
    static const char *const names[] = {
        "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
        "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model", "chat_template.json", "chat_template.jinja",
        "vocab.txt", "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json",
    };
    size_t length = strlen(f->from);
    char *old = malloc(length + 2);
    if (!old) return pith__fail(err, PITH_EMEMORY, "%s: no memory to write it", folder);
    memcpy(old, f->from, length + 1);
    char *slash = pith__path_kind(old) == 'd' ? NULL : strrchr(old, '/');
    if (slash) *slash = 0;
    else if (pith__path_kind(old) != 'd') strcpy(old, ".");
    int code = PITH_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names && !code; i++) {
        int template = f->chat_template.n && !strncmp(names[i], "chat_template.", strlen("chat_template."));
        if (!template) code = copy_file(f, old, names[i], folder, err);
    }
    if (!code) code = copy_steps(f, old, folder, err);
    free(old);
    return code;
}

/* A file that was made; one within a folder gets that. */
static int make_small(const char *folder, const struct pith__small_file *file, pith_error *err) {
    const char *slash = strchr(file->name, '/');
    char step[64];
    snprintf(step, sizeof step, "%.*s", slash ? (int)(slash - file->name) : 0, file->name);
    char *to = slash ? path_in(folder, step, err) : NULL;
    int code = slash ? to ? pith__make_folder(to, err) : PITH_EMEMORY : PITH_OK;
    free(to);
    return code ? code : write_small(folder, file->name, NULL, file->text, err);
}

PITH_SHARED int pith__folder_write(const pith__folder_files *f, const pith__out *out, size_t n, const char *folder,
                                   pith_error *err) {
    const char *const merged[] = { "pith.merged", f->merged };
    pith__new_folder to;
    int code = pith__new_folder_open(&to, folder, err);
    if (code) return code;
    char *path = path_in(to.at, "model.safetensors", err);
    code = path ? pith__safetensors_write(out, n, f->merged ? merged : NULL, path, err) : PITH_EMEMORY;
    free(path);
    if (!code && f->from) code = copy_files(f, to.at, err);
    for (size_t i = 0; i < f->n_made && !code; i++) code = make_small(to.at, &f->made[i], err);
    if (!code && f->chat_template.n) code = write_small(to.at, "chat_template.jinja", NULL, f->chat_template, err);
    if (!code) return pith__new_folder_commit(&to, err);
    pith__new_folder_drop(&to);
    return code;
}
