/* apart.c - how far the weights of two models are apart, tensor by tensor.
 *
 * Gets a model and another one of the same architecture, from whatever files: floats and a 4-bit file, a folder and a
 * GGUF file. Gives for each tensor the sum of squares of its numbers, and of their differences. Weights are compared
 * where they mean the same: the rows of llamas' q and k stand in another order in a folder (see pith__row_where), and
 * norms are what the model multiplies by. Experts count for the tensor that GGUF has them in. */
#include "train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {             /* a weight of both, at work */
    const pith__weight *a, *b;
    const size_t *order;     /* (dim) where in b a row of a is, head by head; NULL: where it is in a */
    size_t dim;
    double *sum;             /* (rows, 2) */
} apart_rows;

static void apart_floats(const pith__weight *w, size_t r, float *to) {
    if (w->floats) memcpy(to, w->floats, w->tensor.cols * sizeof *to);
    else pith__row_floats(&w->tensor, r, to);
}

static void compare_weight_row(const void *data, size_t r, uint8_t *scratch) {
    const apart_rows *j = data;
    size_t cols = j->a->tensor.cols, other = j->order && !j->a->floats ? r - r % j->dim + j->order[r % j->dim] : r;
    float *x = (float *)(void *)scratch, *y = x + cols;
    double *sum = j->sum + 2 * r;
    apart_floats(j->a, r, x);
    apart_floats(j->b, other, y);
    sum[0] = sum[1] = 0;
    for (size_t i = 0; i < cols; i++) {
        size_t k = j->order && j->a->floats ? i - i % j->dim + j->order[i % j->dim] : i; /* a bias */
        double d = (double)y[k] - (double)x[i];
        sum[0] += (double)x[i] * (double)x[i];
        sum[1] += d * d;
    }
}

/* Of q and k, where in a head of b each row of a's is; NULL: both have the same order. 0: no memory. */
static int find_order(const pith_model *a, const pith_model *b, size_t **order) {
    size_t dim = (size_t)a->hyper.head_dim, same = 0;
    *order = NULL;
    size_t *to = malloc(2 * dim * sizeof *to), *in_b = to ? to + dim : NULL;
    if (!to) return 0;
    for (size_t i = 0; i < dim; i++) in_b[pith__row_where(b, &b->layer->q, 0, i)] = i;
    for (size_t i = 0; i < dim; i++) to[i] = in_b[pith__row_where(a, &a->layer->q, 0, i)], same += to[i] == i;
    if (same == dim) free(to);
    else *order = to;
    return 1;
}

static int is_rotated(const pith_model *m, const pith__weight *w) {
    for (int l = 0; l < m->hyper.n_layer; l++) {
        const pith__layer *y = &m->layer[l];
        if (w == &y->q || w == &y->k || w == &y->q_bias || w == &y->k_bias) return 1;
    }
    return 0;
}

/* 0: they are not of one architecture, so weight by weight there is nothing to compare. */
static int alike(const pith_model *a, const pith_model *b) {
    const pith__weight *v = a->weights, *w = b->weights;
    if (a->n_weight != b->n_weight || a->hyper.head_dim != b->hyper.head_dim) return 0;
    for (; v && w; v = v->next, w = w->next)
        if (v->index != w->index || !v->floats != !w->floats || v->tensor.rows != w->tensor.rows ||
            v->tensor.cols != w->tensor.cols) return 0;
    return a->hyper.n_layer == b->hyper.n_layer;
}

/* Adds a weight to the entry of its tensor. */
static void add_weight(const apart_rows *j, pith__apart *to, size_t *n) {
    const pith__tensor *a = &j->a->tensor, *b = &j->b->tensor;
    char name[PITH__HF_NAME];
    pith__stack_name(a->name, name);
    pith__apart *p = to;
    while (p < to + *n && strcmp(p->name, name) != 0) p++;
    if (p == to + *n) {
        *p = (pith__apart){ .a = a->format, .b = b->format };
        snprintf(p->name, sizeof p->name, "%s", name);
        ++*n;
    }
    p->n += a->rows * a->cols;
    for (size_t r = 0; r < a->rows; r++) p->square += j->sum[2 * r], p->difference += j->sum[2 * r + 1];
}

typedef struct {
    const pith_model *a, *b;
    pith__team team;
    apart_rows rows;
    const size_t *order;
    pith__apart *to;
    size_t n;
} apart_work;

static void compare_weights(void *data) {
    apart_work *k = data;
    for (const pith__weight *v = k->a->weights, *w = k->b->weights; v; v = v->next, w = w->next) {
        if (v == &k->a->head && v->tensor.data == k->a->embd.tensor.data) continue; /* the embedding again */
        k->rows.a = v, k->rows.b = w, k->rows.order = is_rotated(k->a, v) ? k->order : NULL;
        pith__share(&k->team, v->tensor.rows, pith__worth_it(v->tensor.rows * v->tensor.cols), compare_weight_row, &k->rows);
        add_weight(&k->rows, k->to, &k->n);
    }
}

PITH_SHARED int pith__weights_apart(const pith_model *a, const pith_model *b, pith__apart *to, size_t *n,
                                    pith_error *err) {
    size_t most = 0, wide = 0, *order = NULL;
    *n = 0;
    if (!alike(a, b)) return PITH_OK;
    for (const pith__weight *w = a->weights; w; w = w->next) {
        if (w->tensor.rows > most) most = w->tensor.rows;
        if (w->tensor.cols > wide) wide = w->tensor.cols;
    }
    apart_work k = { .a = a, .b = b, .to = to, .team = { .n_threads = pith__threads(a->n_threads) } };
    k.team.scratch_bytes = (2 * wide * sizeof(float) + 63) / 64 * 64;
    k.team.scratch = malloc((size_t)k.team.n_threads * k.team.scratch_bytes);
    k.rows.dim = (size_t)a->hyper.head_dim;
    k.rows.sum = malloc(2 * most * sizeof *k.rows.sum);
    int good = k.team.scratch && k.rows.sum && find_order(a, b, &order);
    k.order = order;
    if (good) pith__together(&k.team, compare_weights, &k);
    *n = k.n;
    for (size_t i = 0; i < k.n / 2; i++) { /* a model's list has its last weight first */
        pith__apart kept = to[i];
        to[i] = to[k.n - 1 - i], to[k.n - 1 - i] = kept;
    }
    free(order);
    free(k.team.scratch);
    free(k.rows.sum);
    return good ? PITH_OK : pith__fail(err, PITH_EMEMORY, "no memory to compare %s and %s", a->store.path, b->store.path);
}
