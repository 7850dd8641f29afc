/* adapt.c - an adapter that learns, over a model that does not.
 *
 * A new adapter has random A and B = 0, so that it changes nothing yet (lora.c says what A and B are). Its numbers are
 * parameters as those of a model are, and the optimizer does not know the difference. The base is frozen: it
 * may have any number format, and takes no memory for gradients.
 *     Hu et al. 2021, arXiv:2106.09685; Kalajdzievski 2023, arXiv:2312.03732 (rslora);
 *     Dettmers et al. 2023, arXiv:2305.14314 (over a base of four bits). */
#include "train.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the linear layers of a model ---------------------------------------------------------------- */

enum { Q, K, V, O, ROUTER, GATE, UP, DOWN, SHARED_GATE, SHARED_UP, SHARED_DOWN, HEAD_GATE, PLE_GATE, PLE_OUT, STATE,
       PLE_PROJ = STATE + PITH__STATE_MATRICES, KINDS }; /* in one order: numbers depend on it */
static const char *const parts[STATE] = { "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate_inp",
                                          "ffn_gate", "ffn_up", "ffn_down", "ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp",
                                          "attn_gate", "inp_gate", "proj" };

typedef struct {
    const pith__weight *w;
    const char *part;    /* its name, without .weight */
    int layer, kind, expert, routed;
} linear;

/* What x stands for now; NULL: nothing. That of all layers comes with the first. */
static const pith__weight *weight_of(const pith_model *m, linear *x) {
    const pith__layer *l = m->layer + x->layer;
    const pith__ffn *f = &l->ffn[x->expert];
    const pith__weight *const all[STATE] = { &l->q, &l->k, &l->v, &l->o, &l->router, &f->gate, &f->up, &f->down,
                                             &l->shared.gate, &l->shared.up, &l->shared.down, &l->gate, &l->ple_gate, &l->ple_out };
    if (x->kind == PLE_PROJ) return x->layer ? NULL : &m->ple_proj;
    if (x->kind >= STATE) return pith__state_matrix(l, x->kind - STATE, &x->part);
    x->part = parts[x->kind];
    return all[x->kind];
}

/* From one to the next; w NULL: to the first. 0: no more. */
static int next_linear(const pith_model *m, linear *x) {
    if (!x->w) *x = (linear){ .kind = -1 };
    do {
        const pith__layer *l = m->layer + x->layer;
        x->routed = l->router.tensor.data != NULL;
        if (++x->kind == SHARED_GATE && x->routed && x->expert + 1 < m->hyper.n_expert) x->expert++, x->kind = GATE;
        if (x->kind == KINDS) x->layer++, x->kind = x->expert = 0, l++;
        if (x->layer == m->hyper.n_layer) return 0;
        x->routed = l->router.tensor.data != NULL;
        x->w = weight_of(m, x);
    } while (!x->w || !x->w->tensor.data);
    return 1;
}

/* A matrix that is one with others in the file has A in common with the first of them: NULL, or that one. */
static const pith__weight *shares_with(const pith_model *m, const linear *x) {
    const pith__layer *l = m->layer + x->layer;
    const pith__weight *first = x->kind <= V ? &l->q : x->kind == UP ? &l->ffn[x->expert].gate :
                                x->kind == SHARED_UP ? &l->shared.gate : x->w;
    return first != x->w && first->tensor.name.p == x->w->tensor.name.p ? first : NULL;
}

static int is_part(const pith_model *m, const linear *x) { /* of a matrix that is one in the file */
    const pith__layer *l = m->layer + x->layer;
    const pith__str *name = &x->w->tensor.name;
    return shares_with(m, x) || (x->kind == Q && l->k.tensor.name.p == name->p) ||
           (x->kind == GATE && l->ffn[x->expert].up.tensor.name.p == name->p) ||
           (x->kind == SHARED_GATE && l->shared.up.tensor.name.p == name->p);
}

/* As GGUF has it: "blk.0.attn_q.weight"; one that is a part of another, or of a stack of experts, has a name too. */
static void name_linear(const linear *x, char *room, size_t n) {
    int expert = x->routed && x->kind >= GATE && x->kind < SHARED_GATE;
    if (x->kind == PLE_PROJ) snprintf(room, n, "per_layer_model_proj.weight");
    else if (expert) snprintf(room, n, "blk.%d.%s.%d.weight", x->layer, x->part, x->expert);
    else snprintf(room, n, "blk.%d.%s.weight", x->layer, x->part);
}

/* ---- which of them learn ------------------------------------------------------------------------- */

/* The name of the module as Hugging Face has it: "model.layers.0.self_attn.q_proj". style -1: in the model's own. */
static void name_module(const pith_model *m, const linear *x, int style, char *room) {
    int own = pith__hf_arch_style(m->hyper.arch, m->hyper.n_expert > 0), elder = own & PITH__HF_ELDERS;
    pith__store as = { .is_folder = 1, .hf_style = style < 0 || elder ? own : style };
    char name[PITH__HF_NAME];
    name_linear(x, name, sizeof name);
    int together = own & PITH__HF_GRANITE4 && (x->kind == SHARED_GATE || x->kind == SHARED_UP || (!x->routed && (x->kind == GATE || x->kind == UP)));
    if (is_part(m, x) || together) { /* in its folders Granite 4 has these as one */
        as.hf_style = elder ? own : own | PITH__HF_FUSED;
        snprintf(name, sizeof name, "blk.%d.%s.weight", x->layer, x->kind <= V ? "attn_qkv" : x->kind >= SHARED_GATE ? "ffn_up_shexp" : "ffn_up");
    }
    const char *shown = pith__shown_name(&as, name, room);
    if (shown != room) snprintf(room, PITH__HF_NAME, "%s", shown);
    char *end = strstr(room, ".weight");
    if (end) *end = 0;
}

/* PEFT: the module's name, or as much of its end as begins behind a point. */
static int is_named(const pith_model *m, const linear *x, const char *target) {
    static const int styles[] = { -1, 0, PITH__HF_MIXTRAL, PITH__HF_SHARED }; /* the same expert may be up_proj or w3 */
    char module[PITH__HF_NAME];
    size_t n = strlen(target), size;
    if (!strcmp(target, "all-linear")) return x->kind != ROUTER;
    for (int i = 0; i < 4; i++) {
        name_module(m, x, styles[i], module);
        size = strlen(module);
        if (size < n || strcmp(module + size - n, target) != 0) continue;
        if (size == n || module[size - n - 1] == '.') return 1;
    }
    return 0;
}

static int is_target(const pith_model *m, const linear *x, const pith__lora_plan *plan) {
    int found = plan->n_target == 0 && x->kind != ROUTER;
    for (int i = 0; i < plan->n_target && !found; i++) found = is_named(m, x, plan->target[i]);
    return found;
}

static int no_such_target(const pith_model *m, const char *target, pith_error *err) {
    char module[PITH__HF_NAME], nearest[PITH__HF_NAME] = "all-linear";
    int best = INT_MAX;
    for (linear x = { 0 }; next_linear(m, &x);) {
        name_module(m, &x, -1, module);
        const char *last = strrchr(module, '.');
        last = last ? last + 1 : module;
        int apart = pith__letters_apart(target, last);
        if (apart < best) best = apart, snprintf(nearest, sizeof nearest, "%s", last);
    }
    return pith__fail(err, PITH_EARG, "%s has no linear layer '%.40s', is it '%s'?", m->store.path, target, nearest);
}

static int check_plan(const pith_model *m, const pith__lora_plan *plan, pith_error *err) {
    if (plan->r < 1 || plan->r > 1 << 16)
        return pith__fail(err, PITH_EARG, "the rank of an adapter is %d, need 1 to %d", plan->r, 1 << 16);
    if (!(plan->alpha > 0) || !isfinite(plan->alpha))
        return pith__fail(err, PITH_EARG, "the alpha of an adapter is %g, need a number over 0", (double)plan->alpha);
    for (int i = 0; i < plan->n_target; i++) {
        int found = 0;
        for (linear x = { 0 }; !found && next_linear(m, &x);) found = is_named(m, &x, plan->target[i]);
        if (!found) return no_such_target(m, plan->target[i], err);
    }
    return PITH_OK;
}

/* ---- a new adapter ------------------------------------------------------------------------------- */

/* As peft does, Kaiming's uniform numbers with a = sqrt(5): between -1 / sqrt(n) and 1 / sqrt(n) for n inputs. They
 * depend on the seed and on which layer it is, not on its name in the file, and not on other layers. */
static void fill_a(float *a, const linear *x, size_t n, size_t cols, uint64_t seed) {
    double most = 1 / sqrt((double)cols);
    seed = pith__random_at(pith__random_at(pith__random_at(seed, (uint64_t)x->layer), (uint64_t)x->kind), (uint64_t)x->expert);
    for (size_t i = 0; i < n; i++) a[i] = (float)(most * ((double)(pith__random_at(seed, i) >> 11) * 0x1p-52 - 1));
}

static int make_pair(pith_adapter *a, const linear *x, const pith__lora_plan *plan) {
    const pith__weight *like = shares_with(a->model, x);
    size_t r = (size_t)plan->r, cols = x->w->tensor.cols;
    pith__pair *p = a->pair + x->w->index;
    p->r = plan->r;
    p->scale = (float)(plan->alpha / (plan->rslora ? sqrt((double)plan->r) : plan->r));
    p->at_a = p->at_b = PITH__FROZEN;
    p->a = like ? a->pair[like->index].a : pith__arena_new(&a->store.arena, r, cols * sizeof *p->a);
    p->b = pith__arena_new(&a->store.arena, r, x->w->tensor.rows * sizeof *p->b);
    if (!p->a || !p->b) return PITH_EMEMORY;
    if (!like) fill_a(p->a, x, r * cols, cols, plan->seed);
    return PITH_OK;
}

PITH_SHARED pith_adapter *pith__adapter_new(const pith_model *m, const pith__lora_plan *plan, pith_error *err) {
    int code = check_plan(m, plan, err);
    if (code) return NULL;
    pith_adapter *a = calloc(1, sizeof *a);
    if (a) a->pair = pith__arena_new(&a->store.arena, (size_t)m->n_weight, sizeof *a->pair);
    if (!a || !a->pair) code = PITH_EMEMORY;
    else a->model = m, a->store.path = "the new adapter";
    for (linear x = { 0 }; !code && next_linear(m, &x);)
        if (is_target(m, &x, plan)) code = make_pair(a, &x, plan);
    if (!code) return a;
    pith_adapter_close(a);
    pith__fail(err, code, "%s: no memory for an adapter of rank %d", m->store.path, plan->r);
    return NULL;
}

/* ---- its numbers as parameters ------------------------------------------------------------------- */

/* NAME.lora_a or NAME.lora_b: n rows that lie at w. */
static int add_param(pith__params *p, const char *name, char which, float *w, size_t rows, size_t cols) {
    char text[PITH__HF_NAME + 8];
    int n = snprintf(text, sizeof text, "%s.lora_%c", name, which);
    char *copy = pith__arena_text(&p->arena, text, (size_t)n);
    pith__tensor *t = pith__arena_new(&p->arena, 1, sizeof *t);
    if (!copy || !t) return PITH_EMEMORY;
    *t = (pith__tensor){ .name = { copy, (size_t)n }, .format = pith__format_of(PITH__F32), .n_dim = 2, .rows = rows,
                         .cols = cols, .shape = { rows, cols }, .data = (const uint8_t *)w,
                         .row_bytes = cols * sizeof *w };
    p->param[p->n_param++] = (pith__param){ .tensor = t, .n = rows * cols, .w = w, .decay = 1 };
    return PITH_OK;
}

PITH_SHARED int pith__adapter_params(pith__params *p, pith_adapter *a, const pith_model *m, pith_error *err) {
    char name[PITH__HF_NAME];
    int code = PITH_OK;
    memset(p, 0, sizeof *p);
    p->param = pith__arena_new(&p->arena, 2 * (size_t)m->n_weight, sizeof *p->param);
    if (!p->param) code = PITH_EMEMORY;
    size_t at = 0;
    for (linear x = { 0 }; !code && next_linear(m, &x);) {
        pith__pair *pair = a->pair + x.w->index;
        const pith__weight *like = shares_with(m, &x);
        size_t r = (size_t)pair->r, rows = x.w->tensor.rows, cols = x.w->tensor.cols;
        if (!r) continue;
        name_linear(&x, name, sizeof name);
        pair->at_a = at;
        if (like && a->pair[like->index].a == pair->a) pair->at_a = a->pair[like->index].at_a;
        else code = add_param(p, name, 'a', pair->a, r, cols), at += r * cols;
        if (!code) code = add_param(p, name, 'b', pair->b, r, rows);
        pair->at_b = at, at += r * rows;
    }
    if (!code) code = pith__params_place(p, m);
    if (!code) return PITH_OK;
    pith__params_free(p);
    return pith__fail(err, code, "%s: no memory to train an adapter", m->store.path);
}

/* ---- backward ------------------------------------------------------------------------------------ */

typedef struct { /* g (n_k, cols) += low^T x */
    const pith__low_rank *of;
    const float *x;
    float *g;
} d_low;

enum { PART_COLUMNS = 64 }; /* of g, for a task */

static void d_low_task(const void *data, size_t i, uint8_t *scratch) {
    (void)scratch;
    const d_low *d = data;
    const pith__low_rank *j = d->of;
    size_t c = i * PART_COLUMNS;
    pith__outer o = { .y = d->g + c, .y_row = j->cols, .a = j->low, .a_row = 1, .a_col = j->n_k, .b = d->x + c,
                      .b_row = j->cols, .m = j->n_k, .n = pith__least(j->cols - c, PART_COLUMNS), .n_k = j->n, .add = 1 };
    j->kernels->outer(&o);
}

/* The gradient of the rows of m: a sum over the tokens, the first to the last. */
static void add_d_low(const pith__low_rank *j, const float *x, float *g) {
    d_low d = { j, x, g };
    pith__share(j->team, (j->cols + PART_COLUMNS - 1) / PART_COLUMNS, pith__worth_it(j->n * j->n_k * j->cols), d_low_task, &d);
}

/* dx += low m, where the numbers of x that were dropped get nothing. */
static void add_dropped(const pith__low_rank *of, float *dx) {
    pith__low_rank j = *of;
    j.y = j.dropped;
    memset(j.y, 0, j.n * j.cols * sizeof *j.y);
    pith__from_low(&j);
    for (size_t t = 0; t < j.n; t++) {
        float *y = j.y + t * j.cols;
        pith__drop(&j, t, y, y);
        for (size_t i = 0; i < j.cols; i++) dx[t * j.cols + i] += y[i];
    }
}

/* Forward: low = scale x A^T, y += low B^T, for ranks k to k + n_k. With d_low = scale dy B: dA += d_low^T x,
 * dB^T += low^T dy, dx += d_low A. a and b are for x and dy; n_k of both is set. */
static void d_ranks(const pith__tape *tape, const pith__pair *pair, pith__low_rank *a, pith__low_rank *b, size_t k) {
    float *low = a->low;
    int learns = tape->g && pair->at_a != PITH__FROZEN;
    a->m = pair->a + k * a->cols, b->m = pair->b + k * b->cols;
    if (learns) {
        pith__to_low(a);
        b->low = low;
        add_d_low(b, b->x, tape->g + pair->at_b + k * b->cols);
    }
    a->low = b->low = tape->d_low;
    pith__to_low(b);
    if (learns) add_d_low(a, a->dropout > 0 ? a->dropped : a->x, tape->g + pair->at_a + k * a->cols);
    if (a->dropout > 0) add_dropped(a, a->y);
    else if (!tape->s->adapted.merged) pith__from_low(a);
    a->low = low;
}

PITH_SHARED void pith__d_adapt(const pith__tape *tape, float *dx, const float *dy, const pith__weight *w,
                               const float *x, size_t n) {
    const pith__adapted *by = &tape->s->adapted;
    for (int i = 0; i < by->n; i++) {
        const pith__pair *pair = by->of[i].adapter->pair + w->index;
        pith__low_rank a = pith__low_rank_of(tape->s->pass, by, i, w), b = a;
        a.n = b.n = n, a.x = x, a.y = dx, b.x = dy, b.dropout = 0;
        a.cols = w->tensor.cols, b.cols = w->tensor.rows;
        for (size_t k = 0, r = (size_t)pair->r; k < r; k += a.n_k) {
            a.n_k = b.n_k = pith__least(r - k, PITH__LOW);
            d_ranks(tape, pair, &a, &b, k);
        }
    }
}
