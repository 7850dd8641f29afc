/* precision.c - products in BF16: their operands are rounded, and everything else stays a float.
 *
 * The weights that learn, their gradients and the optimizer's means are floats; so are sums, activations, norms, softmax and
 * attention. Only what goes into a product of two matrices is rounded to 8 bits of mantissa, which half as many steps of a
 * processor's BF16 instruction multiply (Kalamkar et al. 2019, arXiv:1905.12322; Micikevicius et al. 2018,
 * arXiv:1710.03740, on why the weights themselves must stay floats: a step is smaller than their last bit).
 *
 * The model gets its matrices as rows in BF16, made anew after each step. So whatever runs it, the forward pass, an
 * evaluation or a rollout, has the same numbers by the kernels for BF16 weights; backward.c multiplies as product.c says. */
#include "train.h"

typedef struct {
    const pith__params *p;
    const pith__narrow *of;
    const pith__kernels *kernels;
    int all; /* 1: also what does not learn */
} narrow_job;

static void narrow_row(const void *data, size_t r, uint8_t *scratch) {
    enum { SOME = 512 };
    const narrow_job *j = data;
    const pith__tensor *t = &j->of->base;
    uint32_t *to = j->of->to + r * ((t->cols + 1) / 2);
    const uint8_t *row = t->data + r * t->row_bytes;
    (void)scratch;
    for (size_t i = 0, n; i < t->cols; i += n, to += n / 2) {
        float x[SOME];
        n = pith__least(t->cols - i, SOME);
        t->format->floats(x, row + i * (size_t)t->format->bytes, n);
        j->kernels->pair_row(to, x, n);
    }
}

static void narrow_all(void *data) {
    narrow_job *j = data;
    for (size_t i = 0; i < j->p->n_narrow; i++) {
        j->of = &j->p->narrow[i];
        if (j->all || j->of->learns) pith__share(&j->p->team, j->of->base.rows, 1, narrow_row, j);
    }
}

static void round_narrow(pith__params *p, int all) {
    narrow_job job = { p, NULL, p->kernels, all };
    if (p->n_narrow) pith__together(&p->team, narrow_all, &job);
}

PITH_SHARED void pith__params_round(pith__params *p) {
    pith__qat_round(p);
    round_narrow(p, 0);
}

/* Products with w are in BF16. A row of an embedding is read, not multiplied; a router chooses, and stays as exact as it is;
 * and integers have kernels of their own. */
static int becomes_bf16(const pith_model *m, const pith__weight *w) {
    int id = w->tensor.data && !w->floats ? w->tensor.format->id : -1;
    if (w == &m->embd || w == &m->positions || w == &m->types) return 0;
    for (int l = 0; l < m->hyper.n_layer; l++)
        if (w == &m->layer[l].router) return 0;
    return id == PITH__F32 || id == PITH__F16;
}

PITH_SHARED int pith__bf16_begin(pith__params *p, pith_model *m, pith_error *err) {
    for (size_t i = 0; i < p->n_param; i++)
        if (p->param[i].to) return pith__fail(err, PITH_EARG, "weights that are rounded to %s are not multiplied in BF16", p->param[i].to->name);
    if (p->n_rounded) return pith__fail(err, PITH_EARG, "matrices that are rounded with an adapter are not multiplied in BF16");
    p->narrow = pith__arena_new(&p->arena, (size_t)m->n_weight, sizeof *p->narrow);
    if (!p->narrow) return pith__fail(err, PITH_EMEMORY, "%s: no memory to train", m->store.path);
    p->bf16 = 1, p->kernels = m->kernels;
    for (pith__weight *w = m->weights; w; w = w->next) {
        size_t words = (w->tensor.cols + 1) / 2;
        if (!becomes_bf16(m, w)) continue;
        pith__narrow *q = &p->narrow[p->n_narrow++];
        *q = (pith__narrow){ .base = w->tensor, .learns = w->at != PITH__FROZEN };
        q->to = pith__arena_new(&p->arena, w->tensor.rows, words * sizeof *q->to);
        if (!q->to) return pith__fail(err, PITH_EMEMORY, "%s: no memory to train", m->store.path);
        w->tensor.format = pith__format_of(PITH__BF16);
        w->tensor.row_bytes = words * sizeof *q->to;
        w->tensor.data = (const uint8_t *)q->to;
    }
    round_narrow(p, 1);
    return PITH_OK;
}

PITH_SHARED size_t pith__bf16_size(const pith__params *p) {
    size_t n = 0;
    for (size_t i = 0; i < p->n_narrow; i++)
        n += p->narrow[i].base.rows * ((p->narrow[i].base.cols + 1) / 2) * sizeof(uint32_t);
    return n;
}
