/* heads.c - what stands on a model's hidden states.
 *
 * BERT was taught to fill gaps: what it leaves of a text, a vector a token, knows what the text is about. A small head
 * on these vectors, taught for one task, makes numbers of them:
 *
 *     of a text       a label's (run classify) or one score (run rank), from the vector of the first token; of ModernBERT
 *                     also from the mean of all, of a decoder from the last token's
 *     of each token   a label's: what is a name in this text?
 *     of each word    that a mask may stand for (run fill), by the embedding, whose rows are the words
 *
 * The step before the labels or words is one of its own: dense, an activation, perhaps a norm. BERT calls it the pooler.
 *     Devlin et al. 2018, arXiv:1810.04805; Nogueira and Cho 2019, arXiv:1901.04085, for scores of pairs. */
#include "internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Each row y (rows, n) plus the bias. */
static void add_to_rows(float *y, const float *bias, size_t rows, size_t n) {
    for (size_t t = 0; bias && t < rows; t++)
        for (size_t i = 0; i < n; i++) y[t * n + i] += bias[i];
}

PITH_SHARED void pith__task_rows(pith_pass *p, int n, const int *part_of, float *y) {
    const pith__task_head *k = &p->model->task;
    pith__acts a = pith__acts_at(p, p->model->hyper.n_layer);
    size_t rows = (size_t)n, width = (size_t)p->model->hyper.n_embd;
    const float *x = a.xn;
    if (k->dense.tensor.data) {
        pith__input raw = pith__input_of(p, x, n, width);
        pith__project(p, a.y, &k->dense, &raw, part_of); /* y of the last block is not needed any more */
        add_to_rows(a.y, k->dense_bias.floats, rows, width);
        p->kernels->gate(a.y, a.y, NULL, rows * width, k->act);
        for (size_t t = 0; t < rows && k->norm.w.floats; t++)
            pith__run_norm(p, a.y + t * width, a.y + t * width, &k->norm);
        x = a.y;
    }
    pith__input in = pith__input_of(p, x, n, width);
    pith__project(p, y, k->kind == PITH_TASK_WORD ? &p->model->head : &k->out, &in, part_of);
    add_to_rows(y, k->out_bias.floats, rows, (size_t)k->n);
}

/* The vector of part i becomes row i of xn, which is not behind the part's first row. */
static void pool_part(pith_pass *p, int i) {
    const pith__part *part = p->part + i;
    size_t width = (size_t)p->model->hyper.n_embd, first = (size_t)part->first;
    pith__acts a = pith__acts_at(p, p->model->hyper.n_layer);
    p->part_of[i] = i;
    if (p->model->task.pooling != PITH_MEAN) {
        pith__out_norm(p, i, p->model->task.pooling == PITH_LAST ? part->first + part->n - 1 : part->first);
        return;
    }
    for (int t = part->first; t < part->first + part->n; t++) pith__out_norm(p, t, t);
    pith__pool(PITH_MEAN, a.xn + first * width, 0, part->n, width, a.y); /* y of the last block is not needed any more */
    memcpy(a.xn + (size_t)i * width, a.y, width * sizeof *a.y);
}

PITH_SHARED void pith__task_of_parts(pith_pass *p, float *y) {
    int tokens = p->model->task.kind == PITH_TASK_TOKEN, n = tokens ? p->n_row : p->n_part;
    for (int i = 0; i < n; i++)
        if (tokens) pith__out_norm(p, i, i);
        else pool_part(p, i);
    pith__task_rows(p, n, p->part_of, y);
}

/* ---- labels and probabilities ------------------------------------------------------------------------ */

int pith_task(const pith_model *m, int *n) {
    *n = m->task.n;
    return m->task.kind;
}

const char *pith_label(const pith_model *m, int i, size_t *len) {
    char name[64];
    snprintf(name, sizeof name, "%s.classifier.output_labels", m->hyper.arch);
    const pith__key *k = pith__store_key(&m->store, name);
    const char *label = NULL;
    *len = 0;
    if (!k || k->type != PITH__ARRAY || k->item != PITH__STRING || k->n != (size_t)m->task.n || i < 0 || i >= m->task.n)
        return NULL;
    pith__cursor c = k->at;
    for (int at = 0; at <= i; at++) {
        *len = (size_t)pith__u64(&c);
        label = (const char *)pith__take(&c, *len);
    }
    return label;
}

/* One label alone, and labels of which several may be right: each by the logistic function. Else one is right: softmax. */
void pith_probabilities(const pith_model *m, const float *x, double *y) {
    const pith__key *k = pith__store_key(&m->store, "pith.task.problem");
    pith__str problem = k && k->type == PITH__STRING ? k->s : (pith__str){ "", 0 };
    int n = m->task.n, one = n == 1 && m->task.kind == PITH_TASK_TEXT;
    double most = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        if (x[i] > most) most = x[i];
    if (pith__str_is(problem, "regression")) {
        for (int i = 0; i < n; i++) y[i] = x[i];
    } else if (one || pith__str_is(problem, "multi_label_classification")) {
        for (int i = 0; i < n; i++) y[i] = 1 / (1 + exp(-(double)x[i]));
    } else {
        for (int i = 0; i < n; i++) sum += y[i] = exp(x[i] - most);
        for (int i = 0; i < n; i++) y[i] /= sum;
    }
}
