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
} round_job;

static void round_task(const void *data, size_t task, uint8_t *scratch) {
    const pith__param *q = ((const round_job *)data)->q;
    size_t from = task * ROUND_PART;
    (void)scratch;
    round_numbers(q->seen + from, q->w + from, pith__least(q->n - from, ROUND_PART), q->to);
}

static void round_all(void *data) {
    round_job *j = data;
    for (size_t i = 0; i < j->p->n_param; i++) {
        j->q = &j->p->param[i];
        if (j->q->to) pith__share(&j->p->team, (j->q->n + ROUND_PART - 1) / ROUND_PART, 1, round_task, j);
    }
}

PITH_SHARED void pith__qat_round(pith__params *p) {
    round_job job = { p, NULL };
    int any = 0;
    for (size_t i = 0; i < p->n_param; i++) any |= p->param[i].to != NULL;
    if (any) pith__together(&p->team, round_all, &job);
}

/* ---- which weights ----------------------------------------------------------------------------------- */

typedef struct {
    pith__params *p;
    const pith_model *m;
} rounded_list;

/* The file will have tensor o: so will the parameter of its name, or, of a stack of experts, each of them. */
static void note_format(void *data, const pith__out *o, const pith__format *want) {
    const rounded_list *l = data;
    (void)want;
    for (size_t i = 0; i < l->p->n_param; i++) {
        pith__param *q = &l->p->param[i];
        char stack[PITH__HF_NAME];
        pith__str name = q->tensor->name;
        if (l->m->store.is_folder && pith__stack_name(name, stack) >= 0) name = pith__str_of(stack);
        if (q->decay && !pith__str_cmp(name, o->tensor->name)) q->to = o->to->id == PITH__F32 ? NULL : o->to;
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
