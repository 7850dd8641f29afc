/* split.c - matrices that become two: attn_kv_b of latent attention, and ssm_in of Qwen3-Next.
 *
 * attn_kv_b: Hugging Face, and GGUF files of before 2025, have one matrix that makes keys and values of latents: of each head n rows
 * for a key, then v rows for a value. latent.c multiplies queries by the transpose of the former, so they are stored as
 * newer GGUF files have them: attn_k_b (n_head, rank, n) and attn_v_b (n_head, v, rank). Floats keep their format; what a
 * block rounded together along a row has no transpose in its format, and becomes F32.
 *
 * ssm_in: Hugging Face, and GGUF files of 2025, have the rows of one key head together: those of its query and key, and of
 * the values and gates z of the value heads that read it. Newer files have attn_qkv, all queries, keys and values one after the
 * other, and attn_gate. */
#include "formats.h"

#include <stdio.h>
#include <string.h>

typedef struct split_job split_job;
struct split_job {
    pith__store *s;
    const char *end;      /* of the names of matrices to split, */
    int (*one)(split_job *x, const pith__tensor *t); /* which does that */
    const pith__kv_b *kv_b;
    const pith__qkvz *qkvz;
    pith__tensor *table;  /* the new one, */
    size_t n;             /* filled so far */
    pith_error *err;
};

static int split_memory(const split_job *x) { return pith__fail(x->err, PITH_EMEMORY, "%s: no memory", x->s->path); }

static int wrong_split(const split_job *x, const pith__tensor *t, size_t rows, size_t cols) {
    char name[PITH__HF_NAME], room[PITH__HF_NAME];
    snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.p);
    return pith__fail(x->err, PITH_EFORMAT, "%s: tensor '%s' is %zu x %zu, need %zu x %zu", x->s->path,
                      pith__shown_name(x->s, name, room), t->rows, t->cols, rows, cols);
}

/* A new tensor of x, under the name of t with another end: (heads, rows, cols), or without heads (rows, cols). */
static int add_split(split_job *x, const pith__tensor *t, const char *end, const pith__format *f, size_t heads, size_t rows, size_t cols) {
    char name[PITH__HF_NAME];
    int n = snprintf(name, sizeof name, "%.*s%s", (int)(t->name.n - strlen(x->end)), t->name.p, end);
    pith__tensor *to = x->table + x->n++;
    *to = (pith__tensor){ .format = f, .n_dim = 3, .shape = { heads, rows, cols }, .rows = heads * rows, .cols = cols };
    if (!heads) to->n_dim = 2, to->shape[0] = to->rows = rows, to->shape[1] = cols;
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

static int split_kv_b(split_job *x, const pith__tensor *t) {
    const pith__kv_b *of = x->kv_b;
    size_t heads = (size_t)of->n_head, n = (size_t)of->n_nope, v = (size_t)of->n_value, rank = (size_t)of->rank;
    const pith__format *f = t->format->floats ? t->format : pith__format_of(PITH__F32);
    if (t->cols != rank || t->rows != heads * (n + v)) return wrong_split(x, t, heads * (n + v), rank);
    float *row = pith__arena_new(&x->s->arena, t->cols, sizeof *row);
    if (!row) return split_memory(x);
    int code = add_split(x, t, ".attn_k_b.weight", f, heads, rank, n);
    if (!code) code = add_split(x, t, ".attn_v_b.weight", t->format, heads, v, rank);
    if (code) return code;
    uint8_t *k = (uint8_t *)(uintptr_t)x->table[x->n - 2].data, *to = (uint8_t *)(uintptr_t)x->table[x->n - 1].data;
    for (size_t h = 0; h < heads; h++) {
        transpose_rows(k + h * rank * x->table[x->n - 2].row_bytes, t, h * (n + v), n, row);
        memcpy(to + h * v * t->row_bytes, t->data + (h * (n + v) + n) * t->row_bytes, v * t->row_bytes);
    }
    return PITH_OK;
}

static int split_ssm_in(split_job *x, const pith__tensor *t) {
    const pith__qkvz *of = x->qkvz;
    size_t heads = (size_t)of->n_k_head, dk = (size_t)of->dk, values = (size_t)(of->n_head / of->n_k_head) * (size_t)of->dv;
    const size_t part[] = { dk, dk, values }; /* rows of a key head in attn_qkv; behind them are those of z */
    size_t rows = heads * (2 * dk + 2 * values), bytes = t->row_bytes;
    if (t->rows != rows) return wrong_split(x, t, rows, t->cols);
    int code = add_split(x, t, ".attn_qkv.weight", t->format, 0, heads * (2 * dk + values), t->cols);
    if (!code) code = add_split(x, t, ".attn_gate.weight", t->format, 0, heads * values, t->cols);
    if (code) return code;
    uint8_t *qkv = (uint8_t *)(uintptr_t)x->table[x->n - 2].data, *z = (uint8_t *)(uintptr_t)x->table[x->n - 1].data;
    const uint8_t *from = t->data;
    for (size_t h = 0; h < heads; h++) {
        size_t at = 0;
        for (int i = 0; i < 3; from += part[i] * bytes, at += heads * part[i], i++)
            memcpy(qkv + (at + h * part[i]) * bytes, from, part[i] * bytes);
        memcpy(z + h * values * bytes, from, values * bytes);
        from += values * bytes;
    }
    return PITH_OK;
}

static int is_split(const split_job *x, const pith__tensor *t) { return t->name.n < 64 && pith__name_ends(t->name, x->end); }

static int split_all(split_job *x) {
    pith__store *s = x->s;
    size_t found = 0;
    int code = PITH_OK;
    for (size_t i = 0; i < s->n_tensor; i++) found += is_split(x, &s->tensor[i]) != 0;
    if (!found) return PITH_OK;
    x->table = pith__arena_new(&s->arena, s->n_tensor + found, sizeof *x->table);
    if (!x->table) return split_memory(x);
    for (size_t i = 0; i < s->n_tensor && !code; i++) {
        if (is_split(x, &s->tensor[i])) code = x->one(x, &s->tensor[i]);
        else x->table[x->n++] = s->tensor[i];
    }
    if (code) return code;
    s->tensor = x->table, s->n_tensor = x->n;
    return pith__store_sort(s, x->err);
}

PITH_SHARED int pith__split_kv_b(pith__store *s, const pith__kv_b *of, pith_error *err) {
    split_job x = { .s = s, .end = ".attn_kv_b.weight", .one = split_kv_b, .kv_b = of, .err = err };
    return split_all(&x);
}

PITH_SHARED int pith__split_qkvz(pith__store *s, const pith__qkvz *of, pith_error *err) {
    split_job x = { .s = s, .end = ".ssm_in.weight", .one = split_ssm_in, .qkvz = of, .err = err };
    return split_all(&x);
}
