/* importance.c - what comes into each matrix while a text goes through a model: sums of squares, channel by channel.
 *
 * Gets a model and its text in chunks. Gives an importance matrix, as formats/imatrix.c reads it: where large numbers come
 * in, rounding a column of weights costs much. A watcher of the session (pith_session.watch) sees a block's
 * activations when the block is done, so that the forward pass knows nothing of this. Sums of a pass are made in float64
 * and in the order of the tokens, and each is then added once to the float32 that a file holds: whoever goes on from
 * a file after any chunk has the same bits as who never stopped, with any number of threads. */
#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {             /* where inputs of a weight are summed */
    pith__inputs *in;        /* NULL: nowhere */
    size_t m;                /* which of its matrices */
} weigh_place;

struct pith__weighing {
    pith__imatrix im;
    const pith_model *m;
    pith_session *s;
    weigh_place *place;     /* (n_weight) by pith__weight.index */
    double *sum;             /* (widest) */
    int head;                /* 1: what comes into the output matrix counts, too */
    const pith__inputs *bad; /* sums of these are no numbers, or NULL */
};

/* ---- sums ------------------------------------------------------------------------------------------ */

enum { WEIGH_COLUMNS = 64 };

typedef struct {
    const float *x;          /* (n, cols) */
    size_t n, cols;
    double *sum;             /* (cols) */
} weigh_sums;

static void sum_columns(const void *data, size_t i, uint8_t *scratch) {
    const weigh_sums *j = data;
    size_t from = i * WEIGH_COLUMNS, to = pith__least(from + WEIGH_COLUMNS, j->cols);
    (void)scratch;
    memset(j->sum + from, 0, (to - from) * sizeof *j->sum);
    for (size_t t = 0; t < j->n; t++)
        for (size_t c = from; c < to; c++) j->sum[c] += (double)j->x[t * j->cols + c] * (double)j->x[t * j->cols + c];
}

static void add_sums(pith__weighing *g, const weigh_place *at, const weigh_sums *j) {
    float *sum2 = at->in->sum2 + at->m * j->cols, *count = at->in->count + at->m;
    *count = (float)((double)*count + (double)j->n);
    for (size_t c = 0; c < j->cols; c++) {
        sum2[c] = (float)((double)sum2[c] + j->sum[c]);
        if (!isfinite(sum2[c]) && !g->bad) g->bad = at->in;
    }
}

/* Rows x (n, cols) came into these weights. Several may lie in one tensor, which they came into once. */
static void weigh_inputs(pith__weighing *g, const pith__weight *const *w, int n_weight, const float *x, size_t n) {
    const weigh_sums j = { x, n, w[0]->tensor.cols, g->sum };
    if (!n) return;
    pith__share(&g->s->pass->team, (j.cols + WEIGH_COLUMNS - 1) / WEIGH_COLUMNS, pith__worth_it(n * j.cols), sum_columns, &j);
    for (int i = 0; i < n_weight; i++) {
        const weigh_place *at = &g->place[w[i]->index];
        int before = !w[i]->tensor.data || !at->in; /* Gemma 4: a layer may have no keys of its own */
        for (int k = 0; k < i && !before; k++)
            before = g->place[w[k]->index].in == at->in && g->place[w[k]->index].m == at->m;
        if (!before) add_sums(g, at, &j);
    }
}

/* The expert that all tokens use, whose rows stand behind the others'. */
static void weigh_shared(pith__weighing *g, const pith__layer *w, const pith__acts *a, const float *yn, size_t n) {
    const pith__weight *in[] = { &w->shared.gate, &w->shared.up, &w->shared_gate }, *down = &w->shared.down;
    int gate = w->shared_gate.tensor.data != NULL;
    weigh_inputs(g, in + !g->m->hyper.gated, 1 + g->m->hyper.gated + gate, yn, n);
    weigh_inputs(g, &down, 1, a->act + n * (size_t)g->m->hyper.n_expert_used * (size_t)g->m->hyper.n_ff_expert, n);
}

/* Rows of the activations stand by experts, each expert's in the order of the tokens. */
static void weigh_experts(pith__weighing *g, const pith__layer *w, const pith__acts *a, size_t n) {
    const pith__hyper *h = &g->m->hyper;
    size_t n_expert = (size_t)h->n_expert, row = 0;
    for (size_t e = 0; e < n_expert; e++) {
        const pith__weight *in[] = { &w->ffn[e].gate, &w->ffn[e].up }, *down = &w->ffn[e].down;
        size_t count = 0;
        for (size_t t = 0; t < n; t++) count += a->route[t * n_expert + e] != 0;
        weigh_inputs(g, in, 2, a->pick + row * (size_t)h->n_embd, count);
        weigh_inputs(g, &down, 1, a->act + row * (size_t)h->n_ff_expert, count);
        row += count;
    }
}

static void weigh_head(pith__weighing *g, size_t n) {
    const pith__weight *w = &g->m->head;
    for (int t = 0; t < (int)n; t++) pith__out_norm(g->s->pass, t, t);
    weigh_inputs(g, &w, 1, pith__acts_at(g->s->pass, g->m->hyper.n_layer).xn, n);
}

/* The rows of each head have their own inputs x (n_head, n, cols). */
static void weigh_heads(pith__weighing *g, const pith__weight *w, const float *x, size_t n_head, size_t n) {
    weigh_place at = g->place[w->index];
    weigh_sums j = { x, n, w->tensor.cols, g->sum };
    for (at.m = 0; at.m < n_head; at.m++, j.x += n * j.cols) {
        pith__share(&g->s->pass->team, (j.cols + WEIGH_COLUMNS - 1) / WEIGH_COLUMNS, pith__worth_it(n * j.cols), sum_columns, &j);
        add_sums(g, &at, &j);
    }
}

static void weigh_latent(pith__weighing *g, const pith__layer *w, const pith__acts *a, size_t n) {
    const pith__weight *in[] = { &w->latent.kv_a, w->latent.q_a.tensor.data ? &w->latent.q_a : &w->q }, *q = &w->q, *o = &w->o;
    weigh_inputs(g, in, 2, w->attn_norm.w.floats ? a->xn : a->x, n);
    if (in[1] != q) weigh_inputs(g, &q, 1, a->low_q, n);
    weigh_inputs(g, &o, 1, a->heads, n);
    weigh_heads(g, &w->latent.k_b, a->k_in, (size_t)w->n_head, n);
    weigh_heads(g, &w->latent.v_b, a->v_in, (size_t)w->n_head, n);
}

static void weigh_block(void *data, int l, const pith__acts *a, int n_row) {
    pith__weighing *g = data;
    const pith__layer *w = &g->m->layer[l];
    const pith__hyper *h = &g->m->hyper;
    const pith__recurrent *r = &w->recurrent; /* a layer has these, or those of attention */
    const pith__weight *in_attn[] = { &w->q, &w->k, &w->v, &w->gate }, *in_state[] = { &r->in, &r->z, &r->beta, &r->decay };
    const pith__weight *o = &w->o, *out = &r->out, *router = &w->router;
    const pith__weight *in[] = { &w->ffn->gate, &w->ffn->up }, *down = &w->ffn->down;
    const float *yn = w->ffn_norm.w.floats ? a->yn : h->parallel == 2 ? a->xn : h->parallel ? a->x : a->y;
    size_t n = (size_t)n_row;
    if (w->mixer == PITH__LATENT) {
        weigh_latent(g, w, a, n);
    } else {
        weigh_inputs(g, w->n_kv_head ? in_attn : in_state, 4, w->attn_norm.w.floats ? a->xn : a->x, n);
        if (w->n_kv_head) weigh_inputs(g, &o, 1, w->one_gate || w->head_gates ? a->inner : a->attn, n);
        else weigh_inputs(g, &out, 1, a->inner, n);
    }
    const pith__weight *ple_gate = &w->ple_gate, *ple_out = &w->ple_out;
    if (w->ple_gate.tensor.data) {
        weigh_inputs(g, &ple_gate, 1, a->z0, n);
        weigh_inputs(g, &ple_out, 1, a->ple_act, n);
    }
    if (w->router.tensor.data) {
        if (!w->router_norm.w.floats) weigh_inputs(g, &router, 1, yn, n);
        weigh_experts(g, w, a, n);
        if (w->shared.up.tensor.data) weigh_shared(g, w, a, yn, n);
    } else {
        weigh_inputs(g, in + !h->gated, 1 + h->gated, yn, n);
        weigh_inputs(g, &down, 1, a->act, n);
    }
    if (g->head && l + 1 == h->n_layer) weigh_head(g, n);
}

/* ---- the table ------------------------------------------------------------------------------------- */

static int weighed(const pith__weighing *g, const pith__weight *w, int head) {
    const pith_model *m = g->m;
    int is_table = w == &m->embd || w == &m->positions || w == &m->types || w == &m->ple_embd; /* rows are taken from it, and
                                                                                        nothing comes in */
    if (w == &m->ple_proj) return 0; /* neither it nor a router with a norm of its own is ever rounded, and what comes in is */
    for (const pith__layer *l = m->layer; l < m->layer + m->hyper.n_layer; l++) /* gone when a block is done */
        if (w == &l->router && l->router_norm.w.floats) return 0;
    return !w->floats && w->tensor.data && !is_table && (head || w != &m->head);
}

static int inputs_order(const void *a, const void *b) {
    return pith__str_cmp(((const pith__inputs *)a)->name, ((const pith__inputs *)b)->name);
}

/* A row for each tensor of GGUF's that has matrices of the model. 0: no memory. */
static int list_inputs(pith__weighing *g, int head) {
    pith__arena *a = &g->im.store.arena;
    size_t n = 0;
    char stack[PITH__HF_NAME];
    g->im.of = pith__arena_new(a, (size_t)g->m->n_weight, sizeof *g->im.of);
    for (const pith__weight *w = g->m->weights; w && g->im.of; w = w->next) {
        if (!weighed(g, w, head)) continue;
        pith__stack_name(w->tensor.name, stack);
        pith__inputs *in = &g->im.of[n++];
        in->name.n = strlen(stack);
        in->name.p = pith__arena_text(a, stack, in->name.n);
        in->cols = w->tensor.cols, in->n_mat = 1;
        if (!in->name.p) return 0;
    }
    if (!g->im.of) return 0;
    qsort(g->im.of, n, sizeof *g->im.of, inputs_order);
    for (size_t i = 0; i < n; i++)
        if (!g->im.n || inputs_order(&g->im.of[g->im.n - 1], &g->im.of[i])) g->im.of[g->im.n++] = g->im.of[i];
    return 1;
}

static void place_weight(pith__weighing *g, const pith__weight *w, size_t m, size_t n_mat) {
    char stack[PITH__HF_NAME];
    pith__stack_name(w->tensor.name, stack);
    pith__inputs *in = (pith__inputs *)(uintptr_t)pith__imatrix_of(&g->im, pith__str_of(stack)); /* it is its own */
    if (in) in->n_mat = n_mat;
    g->place[w->index] = (weigh_place){ in, m };
}

static int place_inputs(pith__weighing *g, int head) {
    const pith_model *m = g->m;
    pith__arena *a = &g->im.store.arena;
    g->place = pith__arena_new(a, (size_t)m->n_weight, sizeof *g->place);
    if (!g->place || !list_inputs(g, head)) return 0;
    for (const pith__weight *w = m->weights; w; w = w->next)
        if (weighed(g, w, head)) place_weight(g, w, 0, 1);
    for (int l = 0; l < m->hyper.n_layer; l++) {
        const pith__layer *y = &m->layer[l];
        size_t n = y->router.tensor.data ? (size_t)m->hyper.n_expert : 0;
        if (y->mixer == PITH__LATENT) {
            place_weight(g, &y->latent.k_b, 0, (size_t)y->n_head);
            place_weight(g, &y->latent.v_b, 0, (size_t)y->n_head);
        }
        for (size_t e = 0; e < n; e++) {
            place_weight(g, &y->ffn[e].gate, e, n);
            place_weight(g, &y->ffn[e].up, e, n);
            place_weight(g, &y->ffn[e].down, e, n);
        }
    }
    for (size_t i = 0; i < g->im.n; i++) {
        pith__inputs *in = &g->im.of[i];
        in->sum2 = pith__arena_new(a, in->n_mat * in->cols, sizeof *in->sum2);
        in->count = pith__arena_new(a, in->n_mat, sizeof *in->count);
        if (!in->sum2 || !in->count) return 0;
    }
    return 1;
}

/* ---- from outside ---------------------------------------------------------------------------------- */

PITH_SHARED void pith__weigh_free(pith__weighing *g) {
    if (!g) return;
    pith_session_free(g->s);
    pith__imatrix_free(&g->im);
    free(g->sum);
    free(g);
}

PITH_SHARED pith__weighing *pith__weigh_new(const pith_model *m, const pith_context *c, int head, pith_error *err) {
    const pith__hyper *h = &m->hyper;
    int keep = m->layer->attn_norm.w.floats ? PITH__KEEP_ONE : PITH__KEEP_STREAM; /* without a norm the stream comes in */
    pith__weighing *g = calloc(1, sizeof *g);
    if (!g) return pith__fail(err, PITH_EMEMORY, "%s: no memory", m->store.path), NULL;
    g->m = m;
    g->im.store.path = m->store.path;
    g->sum = malloc(pith__widest(h) * sizeof *g->sum);
    g->s = pith__session_new(m, c, keep, err);
    g->head = head;
    if (g->s && g->sum && place_inputs(g, head)) {
        g->s->watch = weigh_block;
        g->s->watch_data = g;
        return g;
    }
    if (g->s) pith__fail(err, PITH_EMEMORY, "%s: no memory for sums of its inputs", m->store.path);
    pith__weigh_free(g);
    return NULL;
}

PITH_SHARED pith__imatrix *pith__weigh_sums(pith__weighing *g) { return &g->im; }

PITH_SHARED int pith__weigh_chunk(pith__weighing *g, const pith_token *t, int n, pith_error *err) {
    pith_rewind(g->s, 0);
    int code = pith__eval_part(g->s, t, n, n, NULL, err);
    if (code || !g->bad) return code;
    return pith__fail(err, PITH_EDATA, "%s: what comes into '%.*s' is not finite", g->m->store.path, (int)g->bad->name.n,
                      g->bad->name.p);
}

PITH_SHARED int pith__weigh_add(pith__weighing *g, const pith__imatrix *im, pith_error *err) {
    size_t chunk = im->is_dat ? (size_t)g->im.chunk_size : 1; /* .dat counts chunks */
    for (size_t i = 0; i < im->n; i++) {
        const pith__inputs *from = &im->of[i], *to = pith__imatrix_of(&g->im, from->name);
        int known = to && (from->n_mat == to->n_mat || from->n_mat == 1);
        if (!known || from->n_mat * from->cols != to->n_mat * to->cols)
            return pith__fail(err, PITH_EDATA, to ? "%s: is of another model: its '%.*s' has %zu x %zu inputs" :
                              "%s: is of another model: it has '%.*s'", im->store.path, (int)from->name.n, from->name.p,
                              from->n_mat, from->cols);
        for (size_t m = 0; m < to->n_mat; m++) to->count[m] += (float)chunk * from->count[from->n_mat > 1 ? m : 0];
        for (size_t k = 0; k < to->n_mat * to->cols; k++) to->sum2[k] += (float)chunk * from->sum2[k];
    }
    g->im.n_chunk += im->n_chunk;
    return PITH_OK;
}
