/* merge.c - a model with other weights -> files: with adapters merged into it, or as training left it.
 *
 * W' = W + s B A for each matrix: rows are added up in float64 and rounded once, a few at a time, so that memory is
 * bounded. What an adapter does not change is copied. The files are a .gguf, or, of a Hugging Face folder, such a
 * folder; llamas' q and k are brought into the order that the file wants (see pith__row_where). What rounding loses
 * is measured on the way: a delta of less than half a step of a 4-bit format is gone. */
#include "internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct merging merging;

typedef struct {         /* rows of an output tensor that come from one place */
    const pith__tensor *from;
    const pith__weight *w; /* adapters may have a pair for it; NULL: it is no matrix of the model */
    size_t row0, out0, rows; /* the first row in from, and in the output */
} merge_part;

typedef struct {         /* a tensor of the file */
    merging *g;
    pith__tensor tensor; /* its name and shape */
    const pith__format *to;
    merge_part *part;    /* (n_part) */
    size_t n_part;
    const pith__tensor *copy; /* the same with its numbers, should they be copied */
    int touched;         /* an adapter changes it */
    int stacked;         /* of several tensors */
    int reorder;         /* its rows, of a bias its numbers, are brought into GGUF's order */
    int laid;            /* the folder has it in another way than the model: PITH__ACROSS or PITH__BY_HEAD */
    int sums;            /* its numbers are new ones, and are made in float64 */
    const float *importance; /* (rows / rows_each, cols) how much a squared error counts; NULL: all alike */
    size_t rows_each;    /* of an expert, where it is a stack of these; else all */
    float plus;          /* added to each number: norms of the Gemmas */
    pith__merged *report; /* or NULL */
} merge_tensor;

struct merging {
    pith__merge *plan;
    const pith_model *m;
    int gguf;            /* else a folder */
    const pith__weight **weight; /* (n_weight) its matrices by the tensors' names */
    size_t n_weight;
    size_t *order;       /* (head_dim) where a row of q or k comes from; NULL: where it is */
    size_t widest;       /* columns */
    pith__arena arena;
    merge_tensor *tensor; /* (n) */
    pith__out *out;      /* (n) */
    size_t n, done, all; /* bytes, for the progress */
    pith_error *err;
    pith__team team;
};

/* ---- rows ------------------------------------------------------------------------------------------ */

typedef struct {         /* of a row: squares of W, of the delta, of what rounding moved it */
    double weights, delta, moved;
    int wrong;           /* 1: it has what is no number, infinite, or too large for the format */
} row_sums;

typedef struct {         /* rows on their way */
    const merge_tensor *t;
    size_t r0;
    uint8_t *y;
    row_sums *sum;       /* (rows) */
} merge_rows;

/* The float next to x that is odd where x is no float, so that rounding it again to fewer bits is as rounding once. */
static float round_to_odd(double x) {
    float y = (float)x;
    uint32_t u;
    if (!(fabs(x) < HUGE_VAL) || !((double)y < x || (double)y > x)) return y;
    memcpy(&u, &y, sizeof u);
    if (fabs((double)y) > fabs(x)) u--;
    u |= 1;
    memcpy(&y, &u, sizeof y);
    return y;
}

PITH_SHARED void pith__add_deltas(const pith__adapted *by, const pith__weight *w, size_t r, size_t c0, size_t n, double *d) {
    size_t cols = w->tensor.cols, rows = w->tensor.rows;
    for (int i = 0; by && i < by->n; i++) {
        const pith__pair *p = by->of[i].adapter->pair + w->index;
        double s = (double)p->scale * (double)by->of[i].scale;
        for (size_t k = 0; k < (size_t)p->r; k++) {
            double b = s * (double)p->b[k * rows + r];
            const float *a = p->a + k * cols + c0;
            for (size_t c = 0; c < n; c++) d[c] += b * (double)a[c];
        }
    }
}

PITH_SHARED void pith__sums_for(const pith__format *to, const double *d, float *x, size_t n) {
    int halves = to->id == PITH__F16 || to->id == PITH__BF16;
    for (size_t c = 0; c < n; c++) x[c] = halves ? round_to_odd(d[c]) : (float)d[c];
}

static double square_sum(const double *x, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i++) s += x[i] * x[i];
    return s;
}

static void decode_row(const merge_tensor *t, const uint8_t *y, float *x) {
    const pith__tensor back = { .format = t->to, .n_dim = 1, .rows = 1, .cols = t->tensor.cols, .data = y,
                                .row_bytes = t->tensor.row_bytes };
    pith__row_floats(&back, 0, x);
}

/* Encodes d (cols), the exact row, and measures what that moves it by. x: scratch. 1: it is wrong. */
static int round_row(const merge_tensor *t, const double *d, float *x, uint8_t *y, double *moved) {
    size_t cols = t->tensor.cols;
    pith__sums_for(t->to, d, x, cols);
    int wrong = t->to->encode(y, x, cols, NULL);
    if (!moved) return wrong;
    decode_row(t, y, x);
    for (size_t c = 0; c < cols; c++) *moved += ((double)x[c] - d[c]) * ((double)x[c] - d[c]);
    return wrong;
}

/* Where row r of the file, of a bias number r, is in the model. */
static size_t row_from(const merge_tensor *t, size_t r) {
    size_t dim = (size_t)t->g->m->hyper.head_dim, n_head = (size_t)t->g->m->hyper.n_head;
    if (t->reorder) return r - r % dim + t->g->order[r % dim];
    return t->laid == PITH__BY_HEAD ? (r / dim % 3 * n_head + r / dim / 3) * dim + r % dim : r;
}

/* Row r of the model's w, x (cols), with all that is added to it. d: scratch. */
static void sum_row(const merge_tensor *t, const pith__weight *w, size_t r, float *x, double *d, uint8_t *y, row_sums *sum) {
    size_t cols = t->tensor.cols;
    memset(d, 0, cols * sizeof *d);
    if (w) pith__add_deltas(t->g->plan->by, w, r, 0, cols, d);
    if (t->touched) sum->delta = square_sum(d, cols);
    for (size_t c = 0; c < cols; c++) {
        sum->weights += (double)x[c] * (double)x[c];
        d[c] += (double)x[c] + (double)t->plus;
    }
    if ((t->reorder || t->laid) && t->tensor.n_dim == 1) {
        for (size_t c = 0; c < cols; c++) x[c] = (float)d[row_from(t, c)];
        for (size_t c = 0; c < cols; c++) d[c] = (double)x[c];
    }
    sum->wrong = round_row(t, d, x, y, t->touched ? &sum->moved : NULL);
}

static void merge_row(const void *data, size_t i, uint8_t *scratch) {
    const merge_rows *j = data;
    const merge_tensor *t = j->t;
    const merge_part *p = t->part;
    size_t cols = t->tensor.cols, r = t->tensor.n_dim > 1 ? row_from(t, j->r0 + i) : j->r0 + i;
    double *d = (double *)(void *)scratch;
    float *x = (float *)(void *)(d + t->g->widest);
    uint8_t *y = j->y + i * t->tensor.row_bytes;
    while (r >= p->out0 + p->rows) p++;
    r -= p->out0;
    pith__row_floats(p->from, p->row0 + r, x);
    if (t->sums) {
        sum_row(t, p->w, r, x, d, y, &j->sum[i]);
    } else if (t->to == p->from->format) {
        pith__row_blocks(p->from, p->row0 + r, y);
        j->sum[i].wrong = !(pith__magnitude(x, cols) < INFINITY);
    } else {
        j->sum[i].wrong = t->to->encode(y, x, cols, t->importance ? t->importance + (j->r0 + i) / t->rows_each * cols : NULL);
    }
}

/* n rows of the file, which are columns of the model's rows: these are read one after the other. */
static int merge_columns(const merge_rows *j, size_t n) {
    const merge_tensor *t = j->t;
    const merge_part *p = t->part;
    size_t rows = t->tensor.cols, cols = t->tensor.rows;
    double *d = malloc((rows + 1) * n * sizeof *d), *delta = d + rows * n;
    float *x = malloc((rows > cols ? rows : cols) * sizeof *x);
    for (size_t r = 0; d && x && r < rows; r++) {
        while (r >= p->out0 + p->rows) p++;
        pith__row_floats(p->from, p->row0 + r - p->out0, x);
        memset(delta, 0, n * sizeof *delta);
        if (p->w) pith__add_deltas(t->g->plan->by, p->w, r - p->out0, j->r0, n, delta);
        for (size_t i = 0; i < n; i++) {
            double w = (double)x[j->r0 + i];
            j->sum[i].weights += w * w, j->sum[i].delta += delta[i] * delta[i];
            d[i * rows + r] = w + delta[i];
        }
    }
    for (size_t i = 0; d && x && i < n; i++)
        j->sum[i].wrong = round_row(t, d + i * rows, x, j->y + i * t->tensor.row_bytes, t->touched ? &j->sum[i].moved : NULL);
    int code = d && x ? PITH_OK : PITH_EMEMORY;
    free(d), free(x);
    return code;
}

static int fail_number(const merge_tensor *t, size_t r) {
    pith__str name = t->tensor.name;
    return pith__fail(t->g->err, PITH_EFORMAT, "%s: tensor '%.*s' has a number in row %zu that is NaN, infinite or too large for"
                      " %s (--allow-nan)", t->g->m->store.path, name.n < 100 ? (int)name.n : 100, name.p, r, t->to->name);
}

static int merge_some_rows(void *data, size_t r0, size_t n, uint8_t *y) {
    merge_tensor *t = data;
    merging *g = t->g;
    merge_rows j = { .t = t, .r0 = r0, .y = y, .sum = calloc(n, sizeof *j.sum) };
    if (!j.sum) return PITH_EMEMORY;
    int across = t->laid == PITH__ACROSS, code = across ? merge_columns(&j, n) : PITH_OK;
    if (!across) pith__share(&g->team, n, pith__worth_it(n * t->tensor.cols * 16), merge_row, &j);
    for (size_t i = 0; i < n && !code; i++) {
        if (j.sum[i].wrong && g->plan->finite) code = fail_number(t, r0 + i);
        if (!t->report) continue;
        t->report->weights += j.sum[i].weights;
        t->report->delta += j.sum[i].delta;
        t->report->moved += j.sum[i].moved;
    }
    free(j.sum);
    g->done += n * t->tensor.row_bytes;
    if (code || !g->plan->progress) return code;
    return pith__tell(g->plan->progress, g->plan->what ? g->plan->what : "merging", g->done, g->all, g->err);
}

/* ---- what is written ------------------------------------------------------------------------------- */

static int tensor_order(const void *name, const void *t) {
    return pith__str_cmp(*(const pith__str *)name, ((const pith__tensor *)t)->name);
}

/* The tensor's numbers: what was learned, or the model's own. */
static const pith__tensor *numbers_of(const merging *g, const pith__tensor *t) {
    const pith__merge *p = g->plan;
    if (!p->n_learned) return t;
    const pith__tensor *own = bsearch(&t->name, p->learned, p->n_learned, sizeof *own, tensor_order);
    return own ? own : t;
}

static int ends_with(pith__str s, const char *end) {
    size_t n = strlen(end);
    return s.n >= n && !memcmp(s.p + s.n - n, end, n);
}

static int weight_order(const void *a, const void *b) {
    const pith__weight *x = *(const pith__weight *const *)a, *y = *(const pith__weight *const *)b;
    int order = pith__str_cmp(x->tensor.name, y->tensor.name);
    return order ? order : (x->from > y->from) - (x->from < y->from);
}

static int list_weights(merging *g) {
    g->weight = pith__arena_new(&g->arena, (size_t)g->m->n_weight, sizeof *g->weight);
    for (const pith__weight *w = g->m->weights; w && g->weight; w = w->next)
        if (!w->floats && w != &g->m->head) g->weight[g->n_weight++] = w; /* a head may be the embedding again */
    if (g->weight) qsort(g->weight, g->n_weight, sizeof *g->weight, weight_order);
    return g->weight != NULL;
}

/* The first matrix that lies in the tensor of that name, and how many do. */
static const pith__weight *const *weights_in(const merging *g, pith__str name, size_t *n) {
    size_t lo = 0, hi = g->n_weight;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (pith__str_cmp(g->weight[mid]->tensor.name, name) < 0) lo = mid + 1;
        else hi = mid;
    }
    for (*n = 0; lo + *n < g->n_weight && !pith__str_cmp(g->weight[lo + *n]->tensor.name, name);) ++*n;
    return g->weight + lo;
}

/* The rows of the model's tensor own are the next ones of t, which has room for its parts; or, step 2, those of every other
 * matrix in it from the first one on. */
static void add_parts(const merging *g, merge_tensor *t, const pith__tensor *own, size_t first, size_t step) {
    size_t n, row = 0;
    const pith__weight *const *w = weights_in(g, own->name, &n);
    if (t->n_part) row = t->part[t->n_part - 1].out0 + t->part[t->n_part - 1].rows;
    const merge_part whole = { .from = numbers_of(g, own), .out0 = row, .rows = own->rows };
    if (!n) t->part[t->n_part++] = whole;
    for (size_t k = first; k < n; k += step) {
        merge_part *p = &t->part[t->n_part++];
        *p = whole;
        p->w = w[k], p->row0 = w[k]->from / own->cols, p->rows = w[k]->tensor.rows;
        p->out0 += step > 1 ? k / step * p->rows : p->row0;
        for (int i = 0; g->plan->by && i < g->plan->by->n; i++)
            t->touched |= g->plan->by->of[i].adapter->pair[p->w->index].r > 0;
    }
}

/* The format that the tensor has in the file: what was asked for, or its own. */
static const pith__format *format_of(const merging *g, const merge_tensor *t, const pith__tensor *own) {
    const pith__format *to = g->plan->to, *f = own->format;
    if (!g->gguf) return to ? to : f;
    if (to || own->n_dim < 2) return pith__gguf_format(own, to ? to : f);
    int computed = t->touched || t->reorder || t->n_part > 1 || own->scale; /* the last: llama2.c's int8 */
    return computed && !f->encode ? pith__format_of(PITH__F16) : f;
}

static int is_part(pith__str name, const char *q, const char *k) {
    return name.n > 4 && !memcmp(name.p, "blk.", 4) && (ends_with(name, q) || ends_with(name, k));
}

static int has_norm(pith__str s) { /* that may be stored as w for 1 + w */
    size_t at = ends_with(s, ".ssm_norm.weight") ? s.n : 0;
    while (at + 4 <= s.n && memcmp(s.p + at, "norm", 4) != 0) at++;
    return at + 4 <= s.n;
}

/* How its numbers differ from those of own, adapters apart. */
static void set_change(const merging *g, merge_tensor *t, const pith__tensor *own) {
    pith__str name = own->name;
    int q_or_k = is_part(name, ".attn_q.weight", ".attn_k.weight") || is_part(name, ".attn_q.bias", ".attn_k.bias");
    int learned = numbers_of(g, own) != own; /* a norm then is 1 + w */
    t->reorder = g->order && q_or_k;
    if (!g->gguf) t->laid = pith__hf_laid(g->m->store.hf_style, name);
    if (g->m->store.norm_plus_one && has_norm(name) && learned == !g->gguf) t->plus = g->gguf ? 1 : -1;
}

/* RoBERTa's table of positions has rows before them, which lie in the folder's file still. */
static void add_rows_before(const merging *g, merge_tensor *t, pith__tensor *before, const pith__tensor *own) {
    size_t n = (size_t)g->m->store.skip_positions;
    *before = *own;
    before->data -= n * own->row_bytes, before->rows = n;
    t->part[t->n_part++] = (merge_part){ .from = before, .rows = n };
    t->tensor.rows += n, t->tensor.shape[0] += n;
    t->stacked = 1;
}

/* The tensor NAME of the file is tensor own of the model, or a stack of n such tensors. 0: no memory. */
static int add_tensor(merging *g, const char *name, const pith__tensor *const *own, size_t n) {
    merge_tensor *t = &g->tensor[g->n];
    size_t n_weight;
    weights_in(g, own[0]->name, &n_weight);
    char *copy = pith__arena_text(&g->arena, name, strlen(name));
    pith__tensor *from = pith__arena_new(&g->arena, 2, sizeof *from);
    t->part = pith__arena_new(&g->arena, n * (n_weight + 1) + 1, sizeof *t->part);
    if (!copy || !t->part || !from) return 0;
    t->g = g;
    t->tensor = *own[0];
    t->stacked = n > 1;
    int before = !g->gguf && g->m->store.skip_positions && pith__str_is(own[0]->name, "position_embd.weight");
    if (before) add_rows_before(g, t, &from[1], own[0]);
    for (size_t i = 0; i < n; i++) add_parts(g, t, own[i], 0, 1);
    if (n > 1) t->tensor.n_dim = 3, t->tensor.shape[0] = n;
    if (n > 1) t->tensor.shape[1] = own[0]->rows, t->tensor.shape[2] = own[0]->cols;
    t->tensor.rows *= n;
    set_change(g, t, own[0]);
    if (t->laid == PITH__ACROSS) {
        t->tensor.rows = own[0]->cols, t->tensor.cols = own[0]->rows;
        t->tensor.shape[0] = t->tensor.rows, t->tensor.shape[1] = t->tensor.cols;
    }
    t->tensor.name = pith__str_of(copy);
    *from = *t->part->from;
    from->name = t->tensor.name;
    t->copy = from;
    if (t->tensor.cols > g->widest) g->widest = t->tensor.cols;
    if (own[0]->cols > g->widest) g->widest = own[0]->cols;
    g->out[g->n++] = (pith__out){ .tensor = &t->tensor, .to = format_of(g, t, own[0]), .data = t };
    return 1;
}

/* What is written of it, now that its format is sure. */
static void finish_tensor(merging *g, pith__out *o) {
    merge_tensor *t = o->data;
    const pith__merge *p = g->plan;
    pith__str name = t->tensor.name;
    t->to = o->to, t->importance = o->importance;
    t->rows_each = t->tensor.n_dim > 2 ? (size_t)t->tensor.shape[t->tensor.n_dim - 2] : t->tensor.rows;
    t->tensor.row_bytes = t->tensor.cols / (size_t)t->to->length * (size_t)t->to->bytes;
    if (t->touched && p->report) {
        t->report = &p->report[g->plan->n_report++];
        *t->report = (pith__merged){ .from = t->tensor.format, .to = t->to };
        snprintf(t->report->name, sizeof t->report->name, "%.*s", (int)name.n, name.p);
    }
    t->sums = t->touched || t->plus > 0 || t->plus < 0 || ((t->reorder || t->laid) && t->tensor.n_dim == 1);
    if (t->sums || t->reorder || t->laid || t->stacked || p->finite || t->to != t->copy->format) {
        g->all += t->tensor.rows * t->tensor.row_bytes;
        o->rows = merge_some_rows;
    } else {
        o->tensor = t->copy;
    }
}

/* By layers, then by names: as llama.cpp has them. */
static int layer_order(const void *a, const void *b) {
    pith__str x = ((const pith__out *)a)->tensor->name, y = ((const pith__out *)b)->tensor->name;
    int order = pith__layer_of(x) - pith__layer_of(y);
    return order ? order : pith__str_cmp(x, y);
}

/* The experts of a layer in a folder are tensors of their own; in GGUF they are this stack. 0: no memory. */
static int add_stack(merging *g, const char *stack) {
    const pith__store *s = &g->m->store;
    size_t n = (size_t)g->m->hyper.n_expert, end = strlen(stack) - strlen("_exps.weight");
    char name[PITH__HF_NAME + 32];
    const pith__tensor **own = pith__arena_new(&g->arena, n, sizeof *own);
    for (size_t e = 0; own && e < n; e++) {
        snprintf(name, sizeof name, "%.*s.%zu.weight", (int)end, stack, e);
        own[e] = pith__store_tensor(s, name);
    }
    return own && add_tensor(g, stack, own, n);
}

/* Gate and up of one network, or of each expert of a stack, are one tensor in folders of these families; llama.cpp reads them
 * as two. 1: own is such a tensor, and these are their names. */
static int is_gate_and_up(const merging *g, const char *gguf, const pith__tensor *own, char *gate, char *up) {
    static const char *const ends[][3] = { { "ffn_up.weight", "ffn_gate.weight", "ffn_up.weight" },
        { "ffn_up_shexp.weight", "ffn_gate_shexp.weight", "ffn_up_shexp.weight" },
        { "ffn_gate_up_exps.weight", "ffn_gate_exps.weight", "ffn_up_exps.weight" } };
    const char *arch = g->m->hyper.arch;
    size_t n;
    weights_in(g, own->name, &n);
    if (n < 2 || n % 2 || (strcmp(arch, "granitehybrid") != 0 && strcmp(arch, "llama4") != 0)) return 0;
    for (int i = 0; i < 3; i++) {
        if (!ends_with(own->name, ends[i][0])) continue;
        size_t stem = strlen(gguf) - strlen(ends[i][0]);
        snprintf(gate, PITH__HF_NAME, "%.*s%s", (int)stem, gguf, ends[i][1]);
        snprintf(up, PITH__HF_NAME, "%.*s%s", (int)stem, gguf, ends[i][2]);
        return 1;
    }
    return 0;
}

/* Every other matrix of own, from the first one on, as a tensor NAME. */
static int add_half(merging *g, const char *name, const pith__tensor *own, size_t first) {
    merge_tensor *t = &g->tensor[g->n];
    int d = own->n_dim > 2 ? 1 : 0;
    if (!add_tensor(g, name, &own, 1)) return 0;
    t->n_part = 0, t->stacked = 1, t->touched = 0;
    add_parts(g, t, own, first, 2);
    t->tensor.rows /= 2, t->tensor.shape[d] /= 2;
    return 1;
}

/* Of a checkpoint: where training stood, and its optimizer's means. They are of no use beside other weights. */
static int is_of_training(pith__str name) {
    static const char *const begins[] = { "adam_m.", "adam_v.", "pith.train." };
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++)
        if (name.n > strlen(begins[i]) && !memcmp(name.p, begins[i], strlen(begins[i]))) return 1;
    return 0;
}

/* One tensor of the model, under the name that the file has for it. 0: no memory. */
static int add_own(merging *g, const pith__tensor *own) {
    const pith__store *s = &g->m->store;
    if (is_of_training(own->name)) return 1;
    char gguf[PITH__HF_NAME], room[PITH__HF_NAME], stack[PITH__HF_NAME];
    snprintf(gguf, sizeof gguf, "%.*s", own->name.n < sizeof gguf ? (int)own->name.n : 0, own->name.p);
    if (!g->gguf) { /* rope factors are in config.json there */
        if (!strncmp(gguf, "rope_", 5) || !strncmp(gguf, "dense_", 6)) return 1; /* these are in folders of their own */
        return add_tensor(g, pith__shown_name(s, gguf, room), &own, 1);
    }
    if (is_gate_and_up(g, gguf, own, room, stack)) return add_half(g, room, own, 0) && add_half(g, stack, own, 1);
    int e = s->is_folder ? pith__stack_name(own->name, stack) : -1;
    if (e < 0) return add_tensor(g, gguf, &own, 1);
    return e > 0 || add_stack(g, stack);
}

/* Where the file has a row of q or k, within its head, and where the model has it. */
static int make_order(merging *g) {
    const pith_model *m = g->m;
    if (!g->gguf || !m->hyper.rope_gather) return 1;
    size_t dim = (size_t)m->hyper.head_dim;
    g->order = pith__arena_new(&g->arena, dim, sizeof *g->order);
    for (size_t i = 0; g->order && i < dim; i++) g->order[pith__row_where(m, &m->layer->q, 0, i)] = i;
    return g->order != NULL;
}

static int no_memory_to_merge(merging *g) {
    return pith__fail(g->err, PITH_EMEMORY, "%s: no memory to write it anew", g->m->store.path);
}

static int begin_merge(merging *g, pith__merge *plan, int gguf, pith_error *err) {
    const pith_model *m = plan->m;
    size_t n = m->store.n_tensor;
    *g = (merging){ .plan = plan, .m = m, .gguf = gguf, .err = err };
    plan->n_report = 0;
    int good = list_weights(g) && make_order(g);
    if (good) g->tensor = pith__arena_new(&g->arena, 2 * n, sizeof *g->tensor); /* some become two */
    if (good) g->out = pith__arena_new(&g->arena, 2 * n, sizeof *g->out);
    good = good && g->tensor && g->out;
    for (size_t i = 0; i < n && good; i++) good = add_own(g, &m->store.tensor[i]);
    if (g->n && gguf) qsort(g->out, g->n, sizeof *g->out, layer_order);
    int code = good && plan->choose ? plan->choose(plan->chooser, g->out, g->n, err) : PITH_OK;
    if (code) return code;
    for (size_t i = 0; i < g->n; i++) finish_tensor(g, &g->out[i]);
    g->team.n_threads = m->n_threads;
    g->team.scratch_bytes = (g->widest * (sizeof(double) + sizeof(float)) + 63) / 64 * 64;
    if (good) g->team.scratch = pith__arena_new(&g->arena, (size_t)m->n_threads, g->team.scratch_bytes);
    return good && g->team.scratch ? PITH_OK : no_memory_to_merge(g);
}

/* ---- the keys -------------------------------------------------------------------------------------- */

static int is_replaced(const pith__merge *p, pith__str name) {
    for (size_t i = 0; i < p->n_key; i++)
        if (!pith__str_cmp(p->key[i].name, name)) return 1;
    return 0;
}

/* The store that GGUF's keys and vocabulary are written from: the model's own, with what is new. */
static int make_keys(merging *g, pith__store *to) {
    const pith__store *s = &g->m->store;
    const pith__merge *p = g->plan;
    pith__str template = p->chat_template;
    *to = (pith__store){ .path = s->path, .vocab = s->vocab };
    to->key = pith__arena_new(&g->arena, s->n_key + p->n_key + 2, sizeof *to->key);
    if (!to->key) return no_memory_to_merge(g);
    for (size_t i = 0; i < s->n_key; i++) {
        pith__key k = s->key[i];
        if ((p->merged && pith__str_is(k.name, "pith.merged")) || is_replaced(p, k.name) || is_of_training(k.name)) continue;
        if (template.n && pith__str_is(k.name, "tokenizer.chat_template")) k.s = template;
        to->key[to->n_key++] = k;
    }
    int in_keys = pith__store_key(s, "tokenizer.chat_template") || !pith__store_key(s, "tokenizer.ggml.model");
    pith__key text = { .name = pith__str_of("tokenizer.chat_template"), .type = PITH__STRING, .s = template };
    if (template.n) to->vocab.chat_template = template;
    if (template.n && !in_keys) to->key[to->n_key++] = text;
    if (p->merged) text.name = pith__str_of("pith.merged"), text.s = pith__str_of(p->merged);
    if (p->merged) to->key[to->n_key++] = text;
    for (size_t i = 0; i < p->n_key; i++) to->key[to->n_key++] = p->key[i];
    return pith__store_sort(to, g->err);
}

/* GGUF has scores where a folder has merges, unless pieces are spelled with letters for bytes. */
static int score_vocab(merging *g, pith__vocab *v) {
    float *score;
    if (v->model != PITH__BPE || v->spelling != PITH__METASPACE || v->split_words) return PITH_OK;
    if (!strcmp(g->m->hyper.arch, "gemma4") && !v->add_space) return PITH_OK; /* whose GGUF files have merges, too */
    int code = pith__scores_of(v, &g->arena, &score);
    if (code == PITH_EMEMORY) return no_memory_to_merge(g);
    if (code) return PITH_OK; /* there are none: writing says so */
    v->model = PITH__SPM, v->score = score;
    return PITH_OK;
}

/* An embedding may have more rows than a folder's vocabulary has pieces; GGUF wants as many. */
static int pad_vocab(merging *g, pith__vocab *v) {
    size_t n = (size_t)g->m->hyper.n_vocab, have = (size_t)v->n;
    if (v->model == PITH__NONE || have >= n) return PITH_OK;
    pith__str *piece = pith__arena_new(&g->arena, n, sizeof *piece);
    uint8_t *type = pith__arena_new(&g->arena, n, 1);
    float *score = pith__arena_new(&g->arena, n, sizeof *score);
    if (!piece || !type || !score) return no_memory_to_merge(g);
    memcpy(piece, v->piece, have * sizeof *piece);
    memcpy(type, v->type, have);
    if (v->score) memcpy(score, v->score, have * sizeof *score);
    for (size_t i = have; i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "[PAD%zu]", i);
        char *copy = pith__arena_text(&g->arena, name, strlen(name));
        if (!copy) return no_memory_to_merge(g);
        piece[i] = pith__str_of(copy), type[i] = PITH__UNUSED;
    }
    v->piece = piece, v->type = type, v->score = score, v->n = (int)n;
    return PITH_OK;
}

/* ---- writing --------------------------------------------------------------------------------------- */

typedef struct {
    merging *g;
    const pith__store *s;
    const char *to;
    int code;
} merge_job;

static void write_merged(void *data) {
    merge_job *j = data;
    const pith__merge *p = j->g->plan;
    if (j->g->gguf) {
        j->code = pith__gguf_put(j->s, j->g->out, j->g->n, j->to, j->g->err);
        return;
    }
    const pith__folder_files f = { .from = p->m->store.path, .dtype = p->to, .chat_template = p->chat_template, .merged = p->merged };
    j->code = pith__folder_write(&f, j->g->out, j->g->n, j->to, j->g->err);
}

PITH_SHARED int pith__merge_gguf(pith__merge *p, const char *path, pith_error *err) {
    merging g;
    pith__store s;
    int code = begin_merge(&g, p, 1, err);
    if (!code) code = make_keys(&g, &s);
    if (!code) code = score_vocab(&g, &s.vocab);
    if (!code) code = pad_vocab(&g, &s.vocab);
    merge_job j = { .g = &g, .s = &s, .to = path, .code = code };
    if (!code && path) pith__together(&g.team, write_merged, &j);
    pith__arena_free(&g.arena);
    return j.code;
}

/* Tensors that are not read here would be missing. */
static int check_folder(const pith__merge *p, const char *folder, pith_error *err) {
    const pith__store *s = &p->m->store;
    int id = p->to ? p->to->id : PITH__F32;
    if (!s->is_folder && (!p->to || p->by))
        return pith__fail(err, PITH_EARG, "%s: is to be a Hugging Face folder, for which %s has no config.json: need a"
                          " name that ends in .gguf", folder, s->path);
    const int laid = PITH__HF_DELTA | PITH__HF_LFM | PITH__HF_GPTOSS | PITH__HF_APERTUS; /* pith__hf_layout, pith__hf_xielu */
    if (s->is_folder && s->hf_style & laid)
        return pith__fail(err, PITH_EARG, "%s: a folder of a %s is not written here: need a name that ends in .gguf", s->path,
                          p->m->hyper.arch);
    if (s->is_folder && !s->qk_halves && !(s->hf_style & PITH__HF_ELDERS)) /* pith__gather */
        return pith__fail(err, PITH_EARG, "%s: is in memory as a GGUF file has it: need a name that ends in .gguf", s->path);
    if (s->n_tower)
        return pith__fail(err, PITH_EARCH, "%s: has %zu tensors that see or hear, which are not read here, and %s would lack them:"
                          " need a name that ends in .gguf", s->path, s->n_tower, folder);
    if (s->n_dropped)
        return pith__fail(err, PITH_EARCH, "%s: has %zu tensors that are not read here ('%.*s'), which %s would lack:"
                          " need a name that ends in .gguf", s->path, s->n_dropped,
                          s->dropped.n < 100 ? (int)s->dropped.n : 100, s->dropped.p, folder);
    if (id == PITH__F32 || id == PITH__F16 || id == PITH__BF16) return PITH_OK;
    return pith__fail(err, PITH_EARG, "%s: is to be a Hugging Face folder, which has no %s: need f32, f16 or bf16",
                      folder, p->to->name);
}

PITH_SHARED int pith__merge_folder(pith__merge *p, const char *folder, pith_error *err) {
    int code = check_folder(p, folder, err);
    if (code) return code;
    if (!p->m->store.is_folder) return pith__folder_make(p, folder, err);
    merging g;
    code = begin_merge(&g, p, 0, err);
    merge_job j = { .g = &g, .to = folder, .code = code };
    if (!code) pith__together(&g.team, write_merged, &j);
    pith__arena_free(&g.arena);
    return j.code;
}
