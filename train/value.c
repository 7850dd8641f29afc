/* value.c - a value head on disk: one row of weights, which gives of a token's last normed state what PPO expects from
 * there on. A .safetensors file of one tensor, value.weight (1, n_embd). */
#include "train.h"

#include <math.h>

PITH_SHARED int pith__value_head_write(const float *w, size_t n, const char *path, pith_error *err) {
    const pith__format *f32 = pith__format_of(PITH__F32);
    const pith__tensor t = { .name = pith__str_of(PITH__VALUE_HEAD), .format = f32, .n_dim = 2, .rows = 1, .cols = n,
                             .shape = { 1, n }, .data = (const uint8_t *)w, .row_bytes = n * sizeof *w };
    const pith__out out = { .tensor = &t, .to = f32 };
    return pith__safetensors_write(&out, 1, NULL, path, err);
}

static int read_head(const pith__store *s, const char *path, float *w, size_t n, pith_error *err) {
    const pith__tensor *t = NULL;
    for (size_t i = 0; i < s->n_tensor; i++)
        if (pith__str_is(s->tensor[i].name, PITH__VALUE_HEAD)) t = &s->tensor[i];
    if (!t) return pith__fail(err, PITH_EFORMAT, "%s: no tensor '" PITH__VALUE_HEAD "'", path);
    if (t->rows != 1 || t->cols != n)
        return pith__fail(err, PITH_EARCH, "%s: tensor '" PITH__VALUE_HEAD "' is %zu x %zu, need 1 x %zu: it is of another"
                          " model", path, t->rows, t->cols, n);
    pith__row_floats(t, 0, w);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(w[i]))
            return pith__fail(err, PITH_EFORMAT, "%s: number %zu of tensor '" PITH__VALUE_HEAD "' is %g", path, i,
                              (double)w[i]);
    return PITH_OK;
}

PITH_SHARED int pith__value_head_read(float *w, size_t n, const char *path, pith_error *err) {
    pith__file file;
    pith__store s = { .path = path };
    int code = pith__file_open(&file, path, 0, err);
    if (code) return code;
    code = pith__safetensors_read(&s, &file, path, err);
    if (!code) code = read_head(&s, path, w, n, err);
    pith__store_free(&s);
    pith__file_close(&file);
    return code;
}
