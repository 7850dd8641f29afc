/* kvb.c - latent attention: attn_kv_b becomes attn_k_b and attn_v_b.
 *
 * Hugging Face, and GGUF files of before 2025, have one matrix that makes keys and values of latents: of each head n rows
 * for a key, then v rows for a value. latent.c multiplies queries by the transpose of the former, so they are stored as
 * newer GGUF files have them: attn_k_b (n_head, rank, n) and attn_v_b (n_head, v, rank). Floats keep their format; what a
 * block rounded together along a row has no transpose in its format, and becomes F32. */
#include "formats.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    pith__store *s;
    const pith__kv_b *of;
    pith__tensor *table;  /* the new one, */
    size_t n;             /* filled so far */
    pith_error *err;
} kv_split;

static int split_memory(const kv_split *x) { return pith__fail(x->err, PITH_EMEMORY, "%s: no memory", x->s->path); }

/* The name of t with another end than "kv_b.weight"; rows of each head. */
static int add_split(kv_split *x, const pith__tensor *t, const char *end, const pith__format *f, size_t rows, size_t cols) {
    size_t heads = (size_t)x->of->n_head, stem = t->name.n - strlen("kv_b.weight");
    char name[PITH__HF_NAME];
    int n = snprintf(name, sizeof name, "%.*s%s", (int)stem, t->name.p, end);
    pith__tensor *to = x->table + x->n++;
    *to = (pith__tensor){ .format = f, .n_dim = 3, .shape = { heads, rows, cols }, .rows = heads * rows, .cols = cols };
    to->row_bytes = cols / (size_t)f->length * (size_t)f->bytes;
    to->name.p = pith__arena_text(&x->s->arena, name, (size_t)n);
    to->name.n = (size_t)n;
    uint8_t *data = pith__arena_new(&x->s->arena, to->rows * to->row_bytes, 1);
    to->data = data;
    return to->name.p && data ? PITH_OK : split_memory(x);
}

/* y (cols, n) = the transpose of rows r0 to r0 + n of t. */
static void transpose_rows(uint8_t *y, const pith__tensor *t, size_t r0, size_t n, float *row) {
    size_t size = t->format->floats ? (size_t)t->format->bytes : sizeof *row;
    for (size_t r = 0; r < n; r++) {
        const uint8_t *from = t->data + (r0 + r) * t->row_bytes;
        if (!t->format->floats) pith__row_floats(t, r0 + r, row), from = (const uint8_t *)row;
        for (size_t i = 0; i < t->cols; i++) memcpy(y + (i * n + r) * size, from + i * size, size);
    }
}

static int split_one(kv_split *x, const pith__tensor *t) {
    size_t heads = (size_t)x->of->n_head, n = (size_t)x->of->n_nope, v = (size_t)x->of->n_value, rank = (size_t)x->of->rank;
    const pith__format *f = t->format->floats ? t->format : pith__format_of(PITH__F32);
    char name[PITH__HF_NAME], room[PITH__HF_NAME];
    snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.p);
    if (t->cols != rank || t->rows != heads * (n + v))
        return pith__fail(x->err, PITH_EFORMAT, "%s: tensor '%s' is %zu x %zu, need %zu x %zu", x->s->path,
                          pith__shown_name(x->s, name, room), t->rows, t->cols, heads * (n + v), rank);
    float *row = pith__arena_new(&x->s->arena, t->cols, sizeof *row);
    if (!row) return split_memory(x);
    int code = add_split(x, t, "k_b.weight", f, rank, n);
    if (!code) code = add_split(x, t, "v_b.weight", t->format, v, rank);
    if (code) return code;
    uint8_t *k = (uint8_t *)(uintptr_t)x->table[x->n - 2].data, *to = (uint8_t *)(uintptr_t)x->table[x->n - 1].data;
    for (size_t h = 0; h < heads; h++) {
        transpose_rows(k + h * rank * x->table[x->n - 2].row_bytes, t, h * (n + v), n, row);
        memcpy(to + h * v * t->row_bytes, t->data + (h * (n + v) + n) * t->row_bytes, v * t->row_bytes);
    }
    return PITH_OK;
}

static int is_kv_b(const pith__tensor *t) {
    static const char end[] = ".attn_kv_b.weight";
    size_t n = sizeof end - 1;
    return t->name.n > n && t->name.n < 64 && !memcmp(t->name.p + t->name.n - n, end, n);
}

PITH_SHARED int pith__split_kv_b(pith__store *s, const pith__kv_b *of, pith_error *err) {
    kv_split x = { .s = s, .of = of, .err = err };
    size_t found = 0;
    int code = PITH_OK;
    for (size_t i = 0; i < s->n_tensor; i++) found += is_kv_b(&s->tensor[i]) != 0;
    if (!found) return PITH_OK;
    x.table = pith__arena_new(&s->arena, s->n_tensor + found, sizeof *x.table);
    if (!x.table) return split_memory(&x);
    for (size_t i = 0; i < s->n_tensor && !code; i++) {
        if (is_kv_b(&s->tensor[i])) code = split_one(&x, &s->tensor[i]);
        else x.table[x.n++] = s->tensor[i];
    }
    if (code) return code;
    s->tensor = x.table, s->n_tensor = x.n;
    return pith__store_sort(s, err);
}
