/* pooling.c - the hidden states of a text's tokens become one vector, the embedding.
 *
 * How, the model's files say: which tokens count (pooling), which matrices come next (Dense), whether the vector gets
 * the length 1 (Normalize), and which prompts the model was trained with. Sentence-BERT: Reimers and Gurevych 2019,
 * arXiv:1908.10084. Matryoshka, where the first numbers alone will do: Kusupati et al. 2022, arXiv:2205.13147. */
#include "internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- what the files say ---------------------------------------------------------------------------- */

/* GGUF has a number, which names one; formats/sentence.c has a key of its own, which may name several. */
static unsigned pooling_said(pith__opening *o) {
    static const unsigned kinds[] = { 0, PITH_MEAN, PITH_CLS, PITH_LAST, PITH_CLS };
    char name[64];
    snprintf(name, sizeof name, "%s.pooling_type", o->family->arch);
    const pith__key *all = pith__store_key(&o->m->store, "pith.pooling"), *one = pith__store_key(&o->m->store, name);
    int n_kind = sizeof kinds / sizeof *kinds;
    if (all && all->type == PITH__INT && all->i > 0 && all->i < 2 * PITH_LAST) return (unsigned)all->i;
    if (one && (one->type != PITH__INT || one->i < 0 || one->i >= n_kind))
        pith__fail_hyper(o, name, one->type == PITH__INT ? one->i : -1, "0 (none), 1 (mean), 2 (cls), 3 (last) or 4 (rank)");
    return one && !o->code ? kinds[one->i] : 0;
}

static int flag_said(const pith_model *m, const char *name, int otherwise) {
    const pith__key *k = pith__store_key(&m->store, name);
    return k && (k->type == PITH__BOOL || k->type == PITH__INT) ? k->i != 0 : otherwise;
}

/* The matrix and the bias dense_2, dense_3, ...: one that takes what the one before gives. */
static void read_dense(pith__opening *o, int number, size_t cols) {
    pith__store *s = &o->m->store;
    pith__pooling *p = &o->m->pooling;
    char name[64];
    snprintf(name, sizeof name, "dense_%d.weight", number);
    const pith__tensor *w = pith__store_tensor(s, name);
    if (!w || o->code) return;
    snprintf(name, sizeof name, "dense_%d.bias", number);
    const pith__tensor *bias = pith__store_tensor(s, name);
    if (w->cols != cols || (bias && (bias->rows != 1 || bias->cols != w->rows))) {
        o->code = pith__fail(o->err, PITH_EFORMAT, "%s: tensor 'dense_%d.weight' is %zu x %zu, need %zu columns, and a bias"
                             " of as many numbers as it has rows", s->path, number, w->rows, w->cols, cols);
        return;
    }
    float *numbers = bias ? pith__arena_new(&s->arena, bias->cols, sizeof *numbers) : NULL;
    if (bias && !numbers) o->code = pith__fail(o->err, PITH_EMEMORY, "%s: no memory", s->path);
    if (numbers) pith__row_floats(bias, 0, numbers);
    snprintf(name, sizeof name, "pith.dense_%d.tanh", number);
    p->dense[p->n_dense++] = (pith__dense){ w, numbers, flag_said(o->m, name, 0) };
    s->tensor[w - s->tensor].used = 1;
    if (bias) s->tensor[bias - s->tensor].used = 1;
}

static const char prompt_key[] = "pith.prompt.";

static int is_prompt(const pith__key *k) {
    size_t n = sizeof prompt_key - 1;
    return k->type == PITH__STRING && k->name.n > n && !memcmp(k->name.p, prompt_key, n);
}

/* Texts that end with a NUL, which keys do not. */
static void read_prompts(pith__opening *o) {
    pith__store *s = &o->m->store;
    pith__pooling *p = &o->m->pooling;
    const pith__key *usual = pith__store_key(s, "pith.default_prompt");
    size_t n = 0;
    for (size_t i = 0; i < s->n_key; i++) n += (size_t)is_prompt(&s->key[i]);
    p->prompt = n ? pith__arena_new(&s->arena, n, sizeof *p->prompt) : NULL;
    for (size_t i = 0; p->prompt && i < s->n_key; i++) {
        const pith__key *k = &s->key[i];
        if (!is_prompt(k)) continue;
        size_t begin = sizeof prompt_key - 1;
        char *name = pith__arena_text(&s->arena, k->name.p + begin, k->name.n - begin);
        char *text = pith__arena_text(&s->arena, k->s.p, k->s.n);
        if (!name || !text) break;
        p->prompt[p->n_prompt].name = name;
        p->prompt[p->n_prompt++].text = text;
        if (usual && usual->type == PITH__STRING && pith__str_is(usual->s, name)) p->how.prompt = text;
    }
    if ((size_t)p->n_prompt < n && !o->code) o->code = pith__fail(o->err, PITH_EMEMORY, "%s: no memory", s->path);
    if (usual && !p->how.prompt && !o->code)
        o->code = pith__fail(o->err, PITH_EFORMAT, "%s: default_prompt_name is '%.*s', which is none of its prompts", s->path,
                             usual->type == PITH__STRING && usual->s.n < 100 ? (int)usual->s.n : 0, usual->s.p);
}

PITH_SHARED void pith__read_pooling(pith__opening *o) {
    pith_model *m = o->m;
    pith__pooling *p = &m->pooling;
    unsigned pooling = pooling_said(o);
    const pith__key *limit = pith__store_key(&m->store, "pith.text_limit");
    p->said = pooling != 0;
    if (!pooling) pooling = pith__is_causal(m) ? PITH_LAST : PITH_MEAN;
    p->how = (pith_embedding){ .pooling = pooling, .n_ctx = m->hyper.n_ctx };
    if (limit && limit->type == PITH__INT && limit->i > 0 && limit->i < m->hyper.n_ctx) p->how.n_ctx = (int)limit->i;
    /* GGUF does not say it, and llama.cpp normalises all. */
    p->how.normalize = flag_said(m, "pith.normalize", p->said);
    p->lower = flag_said(m, "pith.lower_text", 0);
    p->how.skip_prompt = flag_said(m, "pith.skip_prompt", 0);
    read_prompts(o);
    size_t cols = (size_t)pith__pooled(m, pooling);
    for (int i = 1; i < PITH__DENSES; i++) {
        int before = p->n_dense;
        read_dense(o, i, cols);
        if (p->n_dense > before) cols = p->dense[before].w->rows;
    }
}

pith_embedding pith_embedding_default(const pith_model *m) { return m->pooling.how; }

int pith_prompt(const pith_model *m, int i, const char **name, const char **text) {
    if (i < 0 || i >= m->pooling.n_prompt) return 0;
    *name = m->pooling.prompt[i].name, *text = m->pooling.prompt[i].text;
    return 1;
}

/* ---- the arithmetic -------------------------------------------------------------------------------- */

static int n_kind(unsigned pooling) {
    int n = 0;
    for (; pooling; pooling &= pooling - 1) n++;
    return n;
}

PITH_SHARED int pith__pooled(const pith_model *m, unsigned pooling) { return m->hyper.n_embd * n_kind(pooling); }

PITH_SHARED int pith__embedding_size(const pith_model *m, const pith_embedding *how) {
    const pith__pooling *p = &m->pooling;
    if (!how->pooling) return m->hyper.n_embd;
    int n = p->n_dense ? (int)p->dense[p->n_dense - 1].w->rows : pith__pooled(m, how->pooling);
    return how->dimensions && how->dimensions < n ? how->dimensions : n;
}

/* Of one column of x, tokens first to n. */
static double pool_column(unsigned kind, const float *x, int first, int n, size_t width) {
    double sum = 0, weights = 0, most = -INFINITY;
    if (kind == PITH_CLS) return x[(size_t)first * width];
    if (kind == PITH_LAST) return x[(size_t)(n - 1) * width];
    for (int t = first; t < n; t++) {
        double y = x[(size_t)t * width], weight = kind == PITH_WEIGHTED ? t + 1 : 1;
        sum += weight * y;
        weights += weight;
        if (!(y <= most)) most = y;
    }
    return kind == PITH_MAX ? most : sum / (kind == PITH_MEAN_SQRT ? sqrt(weights) : weights);
}

PITH_SHARED void pith__pool(unsigned pooling, const float *x, int first, int n, size_t width, float *y) {
    for (unsigned kind = 1; kind <= PITH_LAST; kind *= 2) {
        if (!(pooling & kind)) continue;
        for (size_t i = 0; i < width; i++) y[i] = n > first ? (float)pool_column(kind, x + i, first, n, width) : 0;
        y += width;
    }
}

/* y (n, rows) of x (n, cols): each row of the matrix is read once. */
static void multiply_dense(const pith_model *m, const pith__dense *d, const float *x, int n, float *y, float *row) {
    size_t rows = d->w->rows, cols = d->w->cols;
    for (size_t r = 0; r < rows; r++) {
        pith__row_floats(d->w, r, row);
        for (size_t t = 0; t < (size_t)n; t++) {
            float sum = m->kernels->dot(row, x + t * cols, cols) + (d->bias ? d->bias[r] : 0);
            y[t * rows + r] = d->tanh ? tanhf(sum) : sum;
        }
    }
}

static void make_unit(float *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    double length = sqrt(sum);
    if (length < 1e-12) length = 1e-12; /* as torch has it */
    for (size_t i = 0; i < n; i++) x[i] = (float)(x[i] / length);
}

PITH_SHARED size_t pith__dense_widest(const pith_model *m) {
    const pith__pooling *p = &m->pooling;
    size_t most = 0;
    for (int i = 0; i < p->n_dense; i++) {
        if (p->dense[i].w->rows > most) most = p->dense[i].w->rows;
        if (p->dense[i].w->cols > most) most = p->dense[i].w->cols;
    }
    return most;
}

/* x (n, pooled) becomes out (n, size). room: (2 n + 1, dense_widest). */
PITH_SHARED void pith__finish_vectors(const pith_model *m, const pith_embedding *how, const float *x, int n, float *out,
                                      float *room) {
    const pith__pooling *p = &m->pooling;
    size_t wide = pith__dense_widest(m), width = (size_t)pith__pooled(m, how->pooling);
    size_t size = (size_t)pith__embedding_size(m, how);
    for (int i = 0; i < p->n_dense; i++) {
        float *y = room + wide * (1 + (i % 2 ? (size_t)n : 0));
        multiply_dense(m, &p->dense[i], x, n, y, room);
        x = y, width = p->dense[i].w->rows;
    }
    for (size_t t = 0; t < (size_t)n; t++) {
        memcpy(out + t * size, x + t * width, size * sizeof *x);
        if (how->normalize) make_unit(out + t * size, size);
    }
}
