/* imatrix.c - how much each input channel of each matrix matters: llama.cpp's "importance matrix".
 *
 * Over a text, the squares of what comes into a matrix are summed channel by channel; their mean is the weight with which
 * rounding errors of that column count. Experts have a row and a count each. Two files have it:
 *     GGUF, general.type imatrix: NAME.in_sum2 (n_mat, cols) and NAME.counts (n_mat, 1) for each matrix NAME, both F32;
 *         imatrix.datasets, imatrix.chunk_count, imatrix.chunk_size
 *     the older .dat, of int32 and float32: how many; for each: length and bytes of its name, calls, how many numbers, the
 *         numbers (means times calls); then perhaps chunks, and length and bytes of the name of the text
 * Keys pith.imatrix.* say how far a run came with which text and model, so that it can go on. */
#include "formats.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int no_memory_for_imatrix(const pith__imatrix *im, pith_error *err) {
    return pith__fail(err, PITH_EMEMORY, "%s: no memory", im->store.path);
}

static int shown_chars(pith__str s) { return s.n < 100 ? (int)s.n : 100; }

PITH_SHARED void pith__imatrix_free(pith__imatrix *im) {
    pith__store_free(&im->store);
    memset(im, 0, sizeof *im);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* The mean of each channel; 1 of experts that no token came to, whose channels are then alike. */
static int find_means(pith__imatrix *im, pith__inputs *in, pith_error *err) {
    in->mean = pith__arena_new(&im->store.arena, in->n_mat * in->cols, sizeof *in->mean);
    if (!in->mean) return no_memory_for_imatrix(im, err);
    for (size_t m = 0; m < in->n_mat; m++) {
        float count = in->count[m];
        if (!(count >= 0) || !isfinite(count))
            return pith__fail(err, PITH_EDATA, "%s: '%.*s' counts %g inputs", im->store.path, shown_chars(in->name),
                              in->name.p, (double)count);
        for (size_t i = m * in->cols; i < (m + 1) * in->cols; i++) {
            if (!(in->sum2[i] >= 0) || !isfinite(in->sum2[i]))
                return pith__fail(err, PITH_EDATA, "%s: '%.*s' has %g for a sum of squares", im->store.path,
                                  shown_chars(in->name), in->name.p, (double)in->sum2[i]);
            in->mean[i] = count > 0 ? in->sum2[i] / count : 1;
        }
    }
    return PITH_OK;
}

static int cut_end_of(pith__str *s, const char *end) {
    size_t n = strlen(end);
    if (s->n <= n || memcmp(s->p + s->n - n, end, n) != 0) return 0;
    s->n -= n;
    return 1;
}

static float *imatrix_floats(pith__imatrix *im, const pith__tensor *t) {
    float *x = pith__arena_new(&im->store.arena, t->rows * t->cols, sizeof *x);
    for (size_t r = 0; x && r < t->rows; r++) pith__row_floats(t, r, x + r * t->cols);
    return x;
}

/* Tensor t has the sums of what it names. */
static int read_gguf_inputs(pith__imatrix *im, const pith__tensor *t, pith__str name, pith_error *err) {
    char counts[128];
    pith__inputs *in = &im->of[im->n];
    snprintf(counts, sizeof counts, "%.*s.counts", shown_chars(name), name.p);
    const pith__tensor *c = pith__store_tensor(&im->store, counts);
    if (!c)
        return pith__fail(err, PITH_EFORMAT, "%s: has no tensor '%s'", im->store.path, counts);
    if (t->format->id != PITH__F32 || c->format->id != PITH__F32)
        return pith__fail(err, PITH_EFORMAT, "%s: '%.*s' is of %s and %s, need F32", im->store.path, shown_chars(name),
                          name.p, t->format->name, c->format->name);
    size_t n = t->rows * t->cols, n_mat = c->rows * c->cols;
    if (n % n_mat)
        return pith__fail(err, PITH_EFORMAT, "%s: '%.*s' has %zu sums and %zu counts", im->store.path, shown_chars(name),
                          name.p, n, n_mat);
    *in = (pith__inputs){ .name = name, .n_mat = n_mat, .cols = n / n_mat };
    in->sum2 = imatrix_floats(im, t);
    in->count = imatrix_floats(im, c);
    if (!in->sum2 || !in->count) return no_memory_for_imatrix(im, err);
    int code = find_means(im, in, err);
    im->n += code == PITH_OK;
    return code;
}

static int64_t imatrix_int(const pith__store *s, const char *name) {
    const pith__key *k = pith__store_key(s, name);
    return k && k->type == PITH__INT && k->i > 0 ? k->i : 0;
}

static int read_datasets(pith__imatrix *im, pith_error *err) {
    const pith__key *k = pith__store_key(&im->store, "imatrix.datasets");
    if (!k || k->type != PITH__ARRAY || k->item != PITH__STRING) return PITH_OK;
    pith__cursor c = k->at;
    im->dataset = pith__arena_new(&im->store.arena, k->n + 1, sizeof *im->dataset);
    if (!im->dataset) return no_memory_for_imatrix(im, err);
    for (; im->n_dataset < k->n; im->n_dataset++) {
        uint64_t n = pith__u64(&c);
        const uint8_t *p = pith__take(&c, n);
        im->dataset[im->n_dataset] = (pith__str){ p ? (const char *)p : "", p ? (size_t)n : 0 };
    }
    return PITH_OK;
}

static int read_gguf_imatrix(pith__imatrix *im, pith_error *err) {
    pith__store *s = &im->store;
    int code = pith__gguf_read(s, 0, err);
    if (code) return code;
    im->of = pith__arena_new(&s->arena, s->n_tensor + 1, sizeof *im->of);
    if (!im->of) return no_memory_for_imatrix(im, err);
    for (size_t i = 0; i < s->n_tensor && !code; i++) {
        pith__str name = s->tensor[i].name;
        if (cut_end_of(&name, ".in_sum2")) code = read_gguf_inputs(im, &s->tensor[i], name, err);
    }
    if (!code && !im->n)
        return pith__fail(err, PITH_EFORMAT, "%s: is no imatrix, it has no tensor NAME.in_sum2", s->path);
    im->n_chunk = imatrix_int(s, "imatrix.chunk_count");
    im->chunk_size = imatrix_int(s, "imatrix.chunk_size");
    im->text = imatrix_int(s, "pith.imatrix.text");
    im->model = imatrix_int(s, "pith.imatrix.model");
    im->done = imatrix_int(s, "pith.imatrix.done");
    return code ? code : read_datasets(im, err);
}

static int32_t i32_of(pith__cursor *c) { return (int32_t)pith__u32(c); }

static int read_dat_inputs(pith__imatrix *im, pith__cursor *c, pith_error *err) {
    pith__inputs *in = &im->of[im->n];
    int32_t length = i32_of(c);
    const uint8_t *name = length > 0 ? pith__take(c, (uint64_t)length) : NULL;
    int32_t calls = i32_of(c), n = i32_of(c);
    if (c->bad || !name || n < 1 || (size_t)n > c->left / sizeof(float))
        return pith__fail(err, PITH_EFORMAT, "%s: is no imatrix, or ends inside matrix %zu of it", im->store.path, im->n);
    *in = (pith__inputs){ .name = { (const char *)name, (size_t)length }, .n_mat = 1, .cols = (size_t)n };
    in->sum2 = pith__arena_new(&im->store.arena, in->cols, sizeof *in->sum2);
    in->count = pith__arena_new(&im->store.arena, 1, sizeof *in->count);
    if (!in->sum2 || !in->count) return no_memory_for_imatrix(im, err);
    for (size_t i = 0; i < in->cols; i++) in->sum2[i] = pith__f32(c);
    in->count[0] = calls > 0 ? (float)calls : 1;
    int code = find_means(im, in, err);
    im->n += code == PITH_OK;
    return code;
}

static int by_name_of(const void *a, const void *b) {
    return pith__str_cmp(((const pith__inputs *)a)->name, ((const pith__inputs *)b)->name);
}

static int read_dat_imatrix(pith__imatrix *im, pith_error *err) {
    enum { LEAST = 3 * 4 + 1 + 4 }; /* bytes that a matrix takes */
    pith__cursor c = { im->store.file->data, im->store.file->size, 0 };
    int32_t n = i32_of(&c);
    int code = PITH_OK;
    im->is_dat = 1;
    if (n < 1 || (size_t)n > c.left / LEAST)
        return pith__fail(err, PITH_EFORMAT, "%s: is no imatrix: neither GGUF nor of %ld matrices", im->store.path, (long)n);
    im->of = pith__arena_new(&im->store.arena, (size_t)n, sizeof *im->of);
    im->dataset = pith__arena_new(&im->store.arena, 1, sizeof *im->dataset);
    if (!im->of || !im->dataset) return no_memory_for_imatrix(im, err);
    while (!code && im->n < (size_t)n) code = read_dat_inputs(im, &c, err);
    if (code) return code;
    qsort(im->of, im->n, sizeof *im->of, by_name_of);
    for (size_t i = 1; i < im->n; i++)
        if (!pith__str_cmp(im->of[i - 1].name, im->of[i].name))
            return pith__fail(err, PITH_EFORMAT, "%s: '%.*s' comes twice", im->store.path, shown_chars(im->of[i].name),
                              im->of[i].name.p);
    int32_t n_chunk = i32_of(&c), length = i32_of(&c); /* what follows may be missing */
    const uint8_t *text = length > 0 ? pith__take(&c, (uint64_t)length) : NULL;
    im->n_chunk = n_chunk > 0 ? n_chunk : 0;
    if (text) im->dataset[im->n_dataset++] = (pith__str){ (const char *)text, (size_t)length };
    return PITH_OK;
}

PITH_SHARED int pith__imatrix_read(pith__imatrix *im, const char *path, pith_error *err) {
    memset(im, 0, sizeof *im);
    pith__store *s = &im->store;
    s->path = pith__arena_text(&s->arena, path, strlen(path));
    s->file = pith__arena_new(&s->arena, 2, sizeof *s->file);
    int code = s->path && s->file ? PITH_OK : pith__fail(err, PITH_EMEMORY, "%s: no memory", path);
    if (!code) code = pith__file_open(s->file, path, 0, err);
    s->n_file = !code;
    if (!code) code = pith__check_content(s->file, s->path, err);
    if (!code) code = pith__gguf_is(s->file) ? read_gguf_imatrix(im, err) : read_dat_imatrix(im, err);
    if (code) pith__imatrix_free(im);
    return code;
}

/* ---- finding --------------------------------------------------------------------------------- */

/* Where gate and up are one tensor, as in some folders, both have its inputs. The name with another end. */
static int other_name(pith__str name, const char *end, const char *other, char to[PITH__HF_NAME]) {
    size_t n = strlen(end);
    if (!pith__name_ends(name, end) || name.n - n + strlen(other) >= PITH__HF_NAME) return 0;
    snprintf(to, PITH__HF_NAME, "%.*s%s", (int)(name.n - n), name.p, other);
    return 1;
}

PITH_SHARED const pith__inputs *pith__imatrix_of(const pith__imatrix *im, pith__str name) {
    static const char *const joined[][2] = { { ".ffn_gate_exps.weight", ".ffn_gate_up_exps.weight" },
        { ".ffn_up_exps.weight", ".ffn_gate_up_exps.weight" }, { ".ffn_gate_shexp.weight", ".ffn_up_shexp.weight" },
        { ".ffn_gate.weight", ".ffn_up.weight" } };
    char other[PITH__HF_NAME];
    pith__inputs key = { .name = name };
    const pith__inputs *in = im->n ? bsearch(&key, im->of, im->n, sizeof *im->of, by_name_of) : NULL;
    for (size_t i = 0; im->n && !in && i < sizeof joined / sizeof *joined; i++) {
        if (!other_name(name, joined[i][0], joined[i][1], other)) continue;
        key.name = pith__str_of(other);
        in = bsearch(&key, im->of, im->n, sizeof *im->of, by_name_of);
    }
    return in;
}

PITH_SHARED int pith__importance(const pith__imatrix *im, const pith__tensor *t, const float **w, pith_error *err) {
    const pith__inputs *in = pith__imatrix_of(im, t->name);
    size_t n_mat = t->n_dim > 2 ? (size_t)t->shape[0] : 1;
    *w = NULL;
    if (!in) return PITH_OK;
    if (in->n_mat * in->cols != n_mat * t->cols)
        return pith__fail(err, PITH_EDATA, "%s: is of another model: its '%.*s' has %zu x %zu inputs, need %zu x %zu",
                          im->store.path, shown_chars(t->name), t->name.p, in->n_mat, in->cols, n_mat, t->cols);
    *w = in->mean;
    return PITH_OK;
}

static int out_order(const void *name, const void *out) {
    return pith__str_cmp(*(const pith__str *)name, (*(const pith__tensor *const *)out)->name);
}

static int by_name_of_tensor(const void *a, const void *b) {
    return out_order(&(*(const pith__tensor *const *)a)->name, b);
}

PITH_SHARED int pith__imatrix_check(const pith__imatrix *im, const pith__out *out, size_t n, const char *model,
                                    pith_error *err) {
    const pith__tensor **t = calloc(n ? n : 1, sizeof *t);
    int code = t ? PITH_OK : no_memory_for_imatrix(im, err);
    for (size_t i = 0; t && i < n; i++) t[i] = out[i].tensor;
    if (t) qsort(t, n, sizeof *t, by_name_of_tensor);
    for (size_t i = 0; i < im->n && !code; i++) {
        pith__str name = im->of[i].name;
        const pith__tensor *const *own = bsearch(&name, t, n, sizeof *t, out_order);
        const float *w;
        char half[PITH__HF_NAME];
        if (!own && other_name(name, ".ffn_gate_up_exps.weight", ".ffn_up_exps.weight", half)) {
            const pith__str up = pith__str_of(half);
            own = bsearch(&up, t, n, sizeof *t, out_order);
        }
        if (own) code = pith__importance(im, *own, &w, err);
        else code = pith__fail(err, PITH_EDATA, "%s: is of another model: it has '%.*s', which %s has not", im->store.path,
                               shown_chars(name), name.p, model);
    }
    free(t);
    return code;
}

/* ---- writing --------------------------------------------------------------------------------- */

static int add_imatrix_keys(pith__store *s, const pith__imatrix *im) {
    int code = pith__store_add_string(s, "general.type", "imatrix");
    if (!code) code = pith__store_add_strings(s, "imatrix.datasets", im->dataset, im->n_dataset);
    if (!code) code = pith__store_add_int(s, "imatrix.chunk_count", im->n_chunk);
    if (!code) code = pith__store_add_int(s, "imatrix.chunk_size", im->chunk_size);
    if (!code && im->text) code = pith__store_add_int(s, "pith.imatrix.text", im->text);
    if (!code && im->text) code = pith__store_add_int(s, "pith.imatrix.model", im->model);
    if (!code && im->text) code = pith__store_add_int(s, "pith.imatrix.done", im->done);
    return code;
}

static int set_imatrix_tensor(pith__store *s, const pith__inputs *in, const char *what, size_t cols, float *x,
                              pith_error *err) {
    char name[PITH__HF_NAME + 16];
    pith__tensor *t = &s->tensor[s->n_tensor++];
    size_t n = (size_t)snprintf(name, sizeof name, "%.*s.%s", shown_chars(in->name), in->name.p, what);
    *t = (pith__tensor){ .name = { pith__arena_text(&s->arena, name, n), n }, .n_dim = 1, .shape = { cols } };
    if (in->n_mat > 1) t->n_dim = 2, t->shape[0] = in->n_mat, t->shape[1] = cols; /* as llama.cpp has it */
    if (!t->name.p) return pith__fail(err, PITH_EMEMORY, "%s: no memory to write it", s->path);
    return pith__tensor_set(t, s, PITH__F32, (pith__cursor){ (const uint8_t *)x, in->n_mat * cols * sizeof *x, 0 }, err);
}

PITH_SHARED int pith__imatrix_write(const pith__imatrix *im, const char *path, pith_error *err) {
    pith__store s = { .path = path };
    int code = add_imatrix_keys(&s, im);
    s.tensor = pith__arena_new(&s.arena, 2 * im->n + 1, sizeof *s.tensor);
    if (code || !s.tensor) code = pith__fail(err, PITH_EMEMORY, "%s: no memory to write it", path);
    for (size_t i = 0; i < im->n && !code; i++) {
        code = set_imatrix_tensor(&s, &im->of[i], "in_sum2", im->of[i].cols, im->of[i].sum2, err);
        if (!code) code = set_imatrix_tensor(&s, &im->of[i], "counts", 1, im->of[i].count, err);
    }
    if (!code) code = pith__store_sort(&s, err);
    if (!code) code = pith__gguf_write(&s, s.tensor, s.n_tensor, pith__format_of(PITH__F32), path, err);
    pith__store_free(&s);
    return code;
}

static void put_i32(pith__writer *w, int64_t i) {
    const uint8_t b[4] = { (uint8_t)i, (uint8_t)(i >> 8), (uint8_t)(i >> 16), (uint8_t)(i >> 24) };
    pith__writer_put(w, b, sizeof b);
}

static void put_dat_inputs(pith__writer *w, const pith__inputs *in, int64_t chunk_size) {
    float most = 0;
    for (size_t m = 0; m < in->n_mat; m++)
        if (in->count[m] > most) most = in->count[m];
    int64_t calls = ((int64_t)most + chunk_size - 1) / chunk_size; /* of the matrix that was used most */
    put_i32(w, (int64_t)in->name.n);
    pith__writer_put(w, in->name.p, in->name.n);
    put_i32(w, calls);
    put_i32(w, (int64_t)(in->n_mat * in->cols));
    for (size_t i = 0; i < in->n_mat * in->cols; i++) {
        float count = in->count[i / in->cols], mean = count > 0 ? in->sum2[i] / count : 1, x = mean * (float)calls;
        uint32_t u;
        memcpy(&u, &x, sizeof u);
        put_i32(w, u);
    }
}

PITH_SHARED int pith__imatrix_write_dat(const pith__imatrix *im, const char *path, pith_error *err) {
    pith__writer w;
    int code = pith__writer_open(&w, path, err);
    if (code) return code;
    put_i32(&w, (int64_t)im->n);
    for (size_t i = 0; i < im->n; i++) put_dat_inputs(&w, &im->of[i], im->chunk_size);
    put_i32(&w, im->n_chunk);
    pith__str text = im->n_dataset ? im->dataset[im->n_dataset - 1] : (pith__str){ "", 0 };
    put_i32(&w, (int64_t)text.n);
    pith__writer_put(&w, text.p, text.n);
    return pith__writer_commit(&w, err);
}
