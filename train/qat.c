/* qat.c - quantisation-aware training: the model computes with weights as a block format will hold them.
 *
 * The weights that learn stay floats, w. Before each forward pass every matrix that the file will have in a few bits is
 * decode(encode(w)), by the encoders that write the file, so what is written is what training saw. The gradient of the
 * rounded weights moves w as it is (straight-through: Bengio et al. 2013, arXiv:1308.3432; Jacob et al. 2017,
 * arXiv:1712.05877). Nothing is held back where a weight is cut off: its block's scale follows the weights. */
#include "train.h"

#include <string.h>

/* ---- rounding ------------------------------------------------------------------------------------------ */

enum { ROUND_AT_ONCE = 512, ROUND_PART = 64 * ROUND_AT_ONCE }; /* numbers: whole blocks; those of a task */

/* y = decode(encode(x)). Rows are whole blocks, and a block does not know of its neighbours, so all rows are as one. */
static void round_numbers(float *y, const float *x, size_t n, const pith__format *to) {
    uint8_t block[ROUND_AT_ONCE * sizeof(float)];
    for (size_t i = 0, some; i < n; i += some) {
        some = pith__least(n - i, ROUND_AT_ONCE);
        const pith__tensor t = { .format = to, .n_dim = 1, .rows = 1, .cols = some, .data = block };
        to->encode(block, x + i, some, NULL);
        pith__row_floats(&t, 0, y + i);
    }
}

typedef struct {
    pith__params *p;
    const pith__param *q;
    const pith__rounded *r;
} round_job;

static void round_task(const void *data, size_t task, uint8_t *scratch) {
    const pith__param *q = ((const round_job *)data)->q;
    size_t from = task * ROUND_PART;
    (void)scratch;
    round_numbers(q->seen + from, q->w + from, pith__least(q->n - from, ROUND_PART), q->to);
}

/* A row of a matrix that does not learn: what merge.c writes, by the same sums. */
static void round_row_task(const void *data, size_t task, uint8_t *scratch) {
    const round_job *j = data;
    const pith__rounded *q = j->r;
    const pith__tensor *t = &q->base;
    (void)scratch;
    for (size_t c = 0, n; c < t->cols; c += n) {
        float x[ROUND_AT_ONCE];
        double d[ROUND_AT_ONCE] = { 0 };
        n = pith__least(t->cols - c, ROUND_AT_ONCE);
        const uint8_t *row = t->data + task * t->row_bytes;
        const pith__tensor part = { .format = t->format, .n_dim = 1, .rows = 1, .cols = n,
                                    .data = row + c / (size_t)t->format->length * (size_t)t->format->bytes };
        pith__row_floats(&part, 0, x);
        pith__add_deltas(&j->p->by, q->w, task, c, n, d);
        for (size_t i = 0; i < n; i++) d[i] += (double)x[i];
        pith__sums_for(q->to, d, x, n);
        round_numbers(q->seen + task * t->cols + c, x, n, q->to);
    }
}

static void round_all(void *data) {
    round_job *j = data;
    for (size_t i = 0; i < j->p->n_param; i++) {
        j->q = &j->p->param[i];
        if (j->q->to) pith__share(&j->p->team, (j->q->n + ROUND_PART - 1) / ROUND_PART, 1, round_task, j);
    }
    for (size_t i = 0; i < j->p->n_rounded; i++) {
        j->r = &j->p->rounded[i];
        pith__share(&j->p->team, j->r->base.rows, 1, round_row_task, j);
    }
}

PITH_SHARED void pith__qat_round(pith__params *p) {
    round_job job = { p, NULL, NULL };
    int any = p->n_rounded > 0;
    for (size_t i = 0; i < p->n_param; i++) any |= p->param[i].to != NULL;
    if (any) pith__together(&p->team, round_all, &job);
}

PITH_SHARED size_t pith__qat_size(const pith__params *p) {
    size_t n = 0;
    for (size_t i = 0; i < p->n_param; i++) n += p->param[i].to ? p->param[i].n : 0;
    for (size_t i = 0; i < p->n_rounded; i++) n += p->rounded[i].base.rows * p->rounded[i].base.cols;
    return n * sizeof(float);
}

/* ---- which weights ----------------------------------------------------------------------------------- */

typedef struct {
    pith__params *p;
    const pith_model *m;
} rounded_list;

/* Tensor name of the model is in o of the file, or is in a stack of experts that is. */
static int is_of(const pith_model *m, pith__str name, const pith__out *o) {
    char stack[PITH__HF_NAME];
    if (m->store.is_folder && pith__stack_name(name, stack) >= 0) name = pith__str_of(stack);
    return !pith__str_cmp(name, o->tensor->name);
}

static void note_format(void *data, const pith__out *o, const pith__format *want) {
    const rounded_list *l = data;
    (void)want;
    for (size_t i = 0; i < l->p->n_param; i++) {
        pith__param *q = &l->p->param[i];
        if (q->decay && is_of(l->m, q->tensor->name, o)) q->to = o->to->id == PITH__F32 ? NULL : o->to;
    }
}

static int is_quantised(const pith__param *q) { return q->to && q->to->length > 1; }

PITH_SHARED int pith__qat_begin(pith__params *p, pith_model *m, const pith__requant *as, int only, pith_error *err) {
    rounded_list list = { p, m };
    pith__requant plan = *as;
    size_t n = 0;
    plan.plan_only = 1, plan.tell = note_format, plan.data = &list;
    int code = pith__requant_gguf(&plan, NULL, err);
    if (code) return code;
    for (size_t i = 0; i < p->n_param; i++) {
        pith__param q = p->param[i];
        if (!only || is_quantised(&q)) p->param[n++] = q;
        else if (q.to) round_numbers(q.w, q.w, q.n, q.to); /* for good, to 16 bits */
    }
    p->n_param = n;
    if (pith__params_place(p, m)) return pith__fail(err, PITH_EMEMORY, "%s: no memory to train", m->store.path);
    for (size_t i = 0; i < n; i++) {
        pith__param *q = &p->param[i];
        if (!q->to) continue;
        q->seen = pith__arena_new(&p->arena, q->n, sizeof *q->seen);
        if (!q->seen) return pith__fail(err, PITH_EMEMORY, "%s: no memory to train", m->store.path);
    }
    pith__params_point(p, m);
    pith__qat_round(p);
    return PITH_OK;
}

/* ---- the same of a model with an adapter --------------------------------------------------------------- */

static void note_matrix(void *data, const pith__out *o, const pith__format *want) {
    const rounded_list *l = data;
    (void)want;
    if (o->to->id == PITH__F32) return;
    for (const pith__weight *w = l->m->weights; w; w = w->next)
        if (w->tensor.data && !w->floats && is_of(l->m, w->tensor.name, o))
            l->p->rounded[l->p->n_rounded++] = (pith__rounded){ .w = w, .base = w->tensor, .to = o->to };
}

PITH_SHARED int pith__qat_adapt(pith__params *p, pith_model *m, const pith_adapter *a, const pith__requant *as,
                                pith_error *err) {
    rounded_list list = { p, m };
    pith__requant plan = *as;
    plan.plan_only = 1, plan.tell = note_matrix, plan.data = &list;
    p->by = (pith__adapted){ .n = 1, .of = { { a, 1 } } };
    p->rounded = pith__arena_new(&p->arena, (size_t)m->n_weight, sizeof *p->rounded);
    int code = p->rounded ? pith__requant_gguf(&plan, NULL, err)
                          : pith__fail(err, PITH_EMEMORY, "%s: no memory to train", m->store.path);
    for (size_t i = 0; i < p->n_rounded && !code; i++) {
        pith__rounded *q = &p->rounded[i];
        if (q->base.scale) return pith__fail(err, PITH_EARG, "%s: '%.*s' has its scales apart", m->store.path,
                                             (int)q->base.name.n, q->base.name.p);
        q->seen = pith__arena_new(&p->arena, q->base.rows, q->base.cols * sizeof *q->seen);
        if (!q->seen) return pith__fail(err, PITH_EMEMORY, "%s: no memory to train", m->store.path);
    }
    if (code) return code;
    pith__qat_round(p);
    for (pith__weight *w = m->weights; w; w = w->next)
        for (size_t i = 0; i < p->n_rounded; i++) {
            if (p->rounded[i].w != w) continue;
            w->tensor.format = pith__format_of(PITH__F32);
            w->tensor.row_bytes = w->tensor.cols * sizeof(float);
            w->tensor.data = (const uint8_t *)p->rounded[i].seen;
        }
    return PITH_OK;
}
