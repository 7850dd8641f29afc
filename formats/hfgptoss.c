/* hfgptoss.c - gpt-oss in a Hugging Face folder: fields of config.json that no other family has, and its experts as
 * GGUF has them.
 *
 * The experts of a layer lie in stacks, with gate and up as even and odd outputs of one matrix. Published files have
 * them in MXFP4 (OCP Microscaling Formats 1.0), 16 bytes of numbers and their exponents as two tensors, the rows being
 * outputs: they stay where they are, mapped, and gate is every other row (math/quant.c puts numbers into GGUF's order
 * when a row is read). Files in 16 bits have the rows as inputs; these are copied. */
#include "formats.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- config.json ------------------------------------------------------------------------------------ */

PITH_SHARED void pith__hf_gptoss(pith__hf *c, pith__json outer) {
    pith__json quant = pith__hf_get(c->at, "quantization_config"), method;
    if (!pith__json_type(quant)) quant = pith__hf_get(outer, "quantization_config");
    method = pith__hf_get(quant, "quant_method");
    if (pith__json_type(quant) && !pith__json_is(method, "mxfp4"))
        pith__hf_wrong(c, method, PITH_EARCH, "quantization_config.quant_method",
                       "mxfp4, or weights in F32, F16 or BF16");
    if (!pith__json_type(pith__hf_get(c->at, "rope_scaling")) && !pith__json_type(pith__hf_get(c->at, "rope_parameters")))
        pith__hf_wrong(c, pith__hf_get(c->at, "rope_scaling"), PITH_EARCH, "rope_scaling",
                       "an object, as gpt-oss has YaRN");
    double limit = pith__hf_positive(c, c->at, "swiglu_limit", 7);
    double alpha = pith__hf_positive(c, c->at, "swiglu_alpha", 1.702);
    if (limit != 7) pith__hf_put_float(c, "pith.swiglu_limit", limit); /* GGUF has no key for them */
    if (alpha != 1.702) pith__hf_put_float(c, "pith.swiglu_alpha", alpha);
}

/* ---- experts ---------------------------------------------------------------------------------------- */

typedef struct { /* the tensors of the folder as they become those of GGUF */
    pith__folder *f;
    pith__tensor *out;   /* (n) */
    size_t n;
    int code;
} oss_stacks;

static int oss_named(const pith__tensor *t, const char *end, pith__str *begin) { /* begin: what stands before end */
    size_t n = strlen(end);
    *begin = (pith__str){ t->name.p, t->name.n > n ? t->name.n - n : 0 };
    return t->name.n > n && !memcmp(t->name.p + t->name.n - n, end, n);
}

/* A new tensor "blk.3." "ffn_gate_exps.weight" of rows and cols for each expert; rows 0: of a vector for each. */
static pith__tensor *oss_add(oss_stacks *s, pith__str begin, const char *name, const pith__tensor *like, size_t rows,
                             size_t cols) {
    size_t n = begin.n + strlen(name);
    char *text = pith__arena_new(&s->f->s->arena, n + 1, 1);
    pith__tensor *t = &s->out[s->n];
    if (!text) {
        s->code = pith__fail(s->f->err, PITH_EMEMORY, "%s: no memory", s->f->dir);
        return NULL;
    }
    memcpy(text, begin.p, begin.n);
    memcpy(text + begin.n, name, n - begin.n);
    *t = (pith__tensor){ .name = { text, n }, .format = like->format, .cols = cols };
    t->n_dim = 2, t->shape[0] = like->shape[0], t->shape[1] = cols;
    if (rows) t->n_dim = 3, t->shape[1] = rows, t->shape[2] = cols;
    t->rows = (size_t)like->shape[0] * (rows ? rows : 1);
    s->n++;
    return t;
}

/* Where the numbers of a part lie: number (r, c) of matrix e is number first + r * step_r + c * step_c of matrix e. */
typedef struct { size_t first, step_r, step_c; } oss_order;

static void oss_copy(oss_stacks *s, pith__tensor *t, const pith__tensor *from, oss_order at) {
    size_t item = (size_t)t->format->bytes, n = (size_t)t->shape[0], rows = t->rows / n;
    size_t size = from->rows * from->cols / n;
    t->row_bytes = t->cols * item;
    uint8_t *y = pith__arena_new(&s->f->s->arena, t->rows, t->row_bytes);
    t->data = y;
    if (!y) s->code = pith__fail(s->f->err, PITH_EMEMORY, "%s: no memory", s->f->dir);
    for (size_t e = 0; y && e < n; e++)
        for (size_t r = 0; r < rows; r++) {
            const uint8_t *p = from->data + (e * size + at.first + r * at.step_r) * item;
            for (size_t c = 0; c < t->cols; c++, y += item) memcpy(y, p + c * at.step_c * item, item);
        }
}

static void oss_wrong(oss_stacks *s, const pith__tensor *t, const char *need) {
    char name[PITH__HF_NAME], room[PITH__HF_NAME];
    snprintf(name, sizeof name, "%.*s", t->name.n < sizeof name ? (int)t->name.n : 0, t->name.p);
    if (!s->code)
        s->code = pith__fail(s->f->err, PITH_EFORMAT, "%s: tensor '%s' has %d dimensions and rows of %zu, need %s",
                             s->f->dir, pith__shown_name(s->f->s, name, room), t->n_dim, t->cols, need);
}

/* In 16 bits: (n_expert, in, out). */
static void oss_transpose(oss_stacks *s, const pith__tensor *t, pith__str begin, int two) {
    if (t->n_dim != 3 || (two && t->cols % 2)) {
        oss_wrong(s, t, two ? "3 and an even number" : "3");
        return;
    }
    size_t in = (size_t)t->shape[1], out = t->cols;
    for (size_t i = 0; i < (two ? 2u : 1u) && !s->code; i++) {
        const char *name = !two ? "ffn_down_exps.weight" : i ? "ffn_up_exps.weight" : "ffn_gate_exps.weight";
        pith__tensor *y = oss_add(s, begin, name, t, two ? out / 2 : out, in);
        if (y) oss_copy(s, y, t, (oss_order){ i, two ? 2 : 1, out });
    }
}

/* Biases of gate and up: (n_expert, out). */
static void oss_biases(oss_stacks *s, const pith__tensor *t, pith__str begin) {
    if (t->n_dim != 2 || t->cols % 2) {
        oss_wrong(s, t, "2 and an even number");
        return;
    }
    for (size_t i = 0; i < 2 && !s->code; i++) {
        pith__tensor *y = oss_add(s, begin, i ? "ffn_up_exps.bias" : "ffn_gate_exps.bias", t, 0, t->cols / 2);
        if (y) oss_copy(s, y, t, (oss_order){ i, t->cols, 2 });
    }
}

/* In MXFP4: (n_expert, out, in / 32, 16) and their exponents (n_expert, out, in / 32). */
static void oss_view(oss_stacks *s, const pith__tensor *t, pith__str begin, int two) {
    char name[PITH__HF_NAME];
    const pith__format *mxfp4 = pith__format_of(PITH__MXFP4);
    snprintf(name, sizeof name, "%.*s%s", begin.n < PITH__HF_NAME / 2 ? (int)begin.n : 0, begin.p,
             two ? "ffn_gate_up_exps.scales" : "ffn_down_exps.scales");
    const pith__tensor *scales = pith__store_tensor(s->f->s, name);
    if (t->n_dim != 4 || t->cols != 16 || (two && t->shape[1] % 2)) {
        oss_wrong(s, t, two ? "4, rows of 16 and an even number of outputs" : "4 and rows of 16");
    } else if (!scales || scales->n_dim != 3 || memcmp(scales->shape, t->shape, 3 * sizeof *t->shape)) {
        oss_wrong(s, t, "scales, one for each row");
    }
    size_t n_block = (size_t)t->shape[2], step = two ? 2 : 1, rows = (size_t)t->shape[1] / step;
    for (size_t i = 0; i < step && !s->code; i++) {
        const char *part = !two ? "ffn_down_exps.weight" : i ? "ffn_up_exps.weight" : "ffn_gate_exps.weight";
        pith__tensor *y = oss_add(s, begin, part, t, rows, n_block * 32);
        if (!y) return;
        y->format = mxfp4;
        y->data = t->data + i * n_block * 16, y->row_bytes = step * n_block * 16;
        y->scale = scales->data + i * n_block;
    }
}

static int oss_has(pith__str begin, const pith__store *s, const char *name) {
    char full[PITH__HF_NAME];
    snprintf(full, sizeof full, "%.*s%s", begin.n < PITH__HF_NAME / 2 ? (int)begin.n : 0, begin.p, name);
    return pith__store_tensor(s, full) != NULL;
}

PITH_SHARED int pith__hf_gptoss_experts(pith__folder *f) {
    pith__store *store = f->s;
    oss_stacks s = { .f = f, .out = pith__arena_new(&store->arena, 2 * store->n_tensor, sizeof *s.out) };
    if (!s.out) return pith__fail(f->err, PITH_EMEMORY, "%s: no memory", f->dir);
    for (size_t i = 0; i < store->n_tensor && !s.code; i++) {
        const pith__tensor *t = &store->tensor[i];
        pith__str begin;
        if (oss_named(t, "ffn_gate_up_exps.weight", &begin)) oss_transpose(&s, t, begin, 1);
        else if (oss_named(t, "ffn_down_exps.weight", &begin)) oss_transpose(&s, t, begin, 0);
        else if (oss_named(t, "ffn_gate_up_exps.bias", &begin)) oss_biases(&s, t, begin);
        else if (oss_named(t, "ffn_gate_up_exps.blocks", &begin)) oss_view(&s, t, begin, 1);
        else if (oss_named(t, "ffn_down_exps.blocks", &begin)) oss_view(&s, t, begin, 0);
        else if (oss_named(t, "ffn_gate_up_exps.scales", &begin)) {
            if (!oss_has(begin, store, "ffn_gate_up_exps.blocks")) oss_wrong(&s, t, "blocks beside them");
        } else if (oss_named(t, "ffn_down_exps.scales", &begin)) {
            if (!oss_has(begin, store, "ffn_down_exps.blocks")) oss_wrong(&s, t, "blocks beside them");
        } else s.out[s.n++] = *t;
    }
    if (s.code) return s.code;
    store->tensor = s.out;
    store->n_tensor = s.n;
    return pith__store_sort(store, f->err); /* names are twice there where a layer has experts in 16 bits and in 4 */
}
