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
static void put_st_header(hf_text *to, const pith__out *const *out, size_t n) {
    size_t at = 0;
    put_format(to, "{\"__metadata__\":{\"format\":\"pt\"}");
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

static int put_safetensors(pith__writer *w, const pith__out *const *out, size_t n, pith_error *err) {
    hf_text top = { NULL, 0 };
    uint8_t length[8];
    put_st_header(&top, out, n);
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)top.n >> 8 * i);
    pith__writer_put(w, length, sizeof length);
    top = (hf_text){ w, 0 };
    put_st_header(&top, out, n);
    int code = PITH_OK;
    for (size_t i = 0; i < n && !code; i++) code = pith__out_put(w, out[i], err);
    return code;
}

PITH_SHARED int pith__safetensors_write(const pith__out *out, size_t n, const char *path, pith_error *err) {
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
    if (!code) code = pith__writer_close(&w, put_safetensors(&w, order, n, err), err);
    free(order);
    return code;
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
    put_format(to, ",\n  \"bias\": \"none\",\n  \"fan_in_fan_out\": false,\n  \"inference_mode\": true,\n"
                   "  \"init_lora_weights\": true,\n  \"lora_alpha\": %.17g,\n  \"lora_dropout\": %.9g,\n"
                   "  \"modules_to_save\": null,\n  \"peft_type\": \"LORA\",\n  \"r\": %d", p->alpha, p->dropout, p->r);
    put_pattern(to, p, 1);
    put_pattern(to, p, 0);
    put_format(to, ",\n  \"target_modules\": [");
    for (size_t i = 0; i < p->n_target; i++) {
        put_format(to, "%s\n    ", i ? "," : "");
        put_json_text(to, pith__str_of(p->target[i]));
    }
    put_format(to, "\n  ],\n  \"task_type\": \"CAUSAL_LM\",\n  \"use_dora\": false,\n  \"use_rslora\": %s\n}\n",
               p->rslora ? "true" : "false");
}

static char *path_in(const char *folder, const char *name, pith_error *err) { /* to be freed */
    size_t n = strlen(folder) + strlen(name) + 2;
    char *path = malloc(n);
    if (path) snprintf(path, n, "%s/%s", folder, name);
    else pith__fail(err, PITH_EMEMORY, "%s: no memory to write it", folder);
    return path;
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
    pith__new_folder f;
    int code = pith__new_folder_open(&f, folder, err);
    if (code) return code;
    char *path = path_in(f.at, "adapter_model.safetensors", err);
    code = path ? pith__safetensors_write(out, n, path, err) : PITH_EMEMORY;
    free(path);
    if (!code) code = write_small(f.at, "adapter_config.json", p, none, err);
    if (!code && p->chat_template.n) code = write_small(f.at, "chat_template.jinja", NULL, p->chat_template, err);
    if (!code) return pith__new_folder_commit(&f, err);
    pith__new_folder_drop(&f);
    return code;
}
