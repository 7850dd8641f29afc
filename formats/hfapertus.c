/* hfapertus.c - Apertus in a Hugging Face folder: the numbers of its layers' activations, which GGUF has as keys. */
#include "formats.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* "xielu.WHICH" of all layers; usual: where a layer has none, or NAN. */
static int xielu_key(pith__folder *f, const char *which, double usual) {
    char name[48];
    pith__store *s = f->s;
    float *y = pith__arena_new(&s->arena, (size_t)f->n_layer, sizeof *y);
    snprintf(name, sizeof name, "xielu.%s", which);
    if (!y || pith__store_add_int(s, name, 0)) return pith__fail(f->err, PITH_EMEMORY, "%s: no memory", f->dir);
    for (int l = 0; l < f->n_layer; l++) {
        char room[PITH__HF_NAME];
        snprintf(name, sizeof name, "blk.%d.xielu_%s", l, which);
        const pith__tensor *t = pith__store_tensor(s, name);
        y[l] = (float)usual;
        if (t && t->rows * t->cols == 1) pith__row_floats(t, 0, y + l);
        else if (t || isnan(usual))
            return pith__fail(f->err, PITH_EFORMAT, "%s: no tensor '%s' of one number", f->dir, pith__shown_name(s, name, room));
    }
    pith__key *k = &s->key[s->n_key - 1];
    k->type = PITH__ARRAY, k->item = PITH__FLOAT, k->gguf_item = PITH__GGUF_F32;
    k->n = (size_t)f->n_layer, k->at.left = k->n * sizeof *y, k->at.p = (const uint8_t *)y;
    return PITH_OK;
}

PITH_SHARED int pith__hf_xielu(pith__folder *f) {
    static const struct { const char *which; double usual; } numbers[] = {
        { "alpha_p", NAN }, { "alpha_n", NAN }, { "beta", 0.5 }, { "eps", -1e-6 },
    };
    pith__store *s = f->s;
    size_t n = 0;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        int code = xielu_key(f, numbers[i].which, numbers[i].usual);
        if (code) return code;
    }
    for (size_t i = 0; i < s->n_tensor; i++) {
        char name[PITH__HF_NAME];
        snprintf(name, sizeof name, "%.*s", s->tensor[i].name.n < sizeof name ? (int)s->tensor[i].name.n : 0, s->tensor[i].name.p);
        if (!strstr(name, ".xielu_")) s->tensor[n++] = s->tensor[i];
    }
    s->n_tensor = n;
    return PITH_OK;
}
