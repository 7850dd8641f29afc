/* product.c - the backward pass of a matmul: the gradients of its input and of its weight.
 *
 * Both are products of two matrices in floats, y = a w. The rows of w may have any number format: a few
 * hundred of them at a time are dequantized and laid out in panels, PANEL columns side by side, as the
 * kernel (pith__outer) reads them. Then the threads share tiles of the result. A sum over k runs from
 * the first to the last, whoever computes it.
 *
 * With tape->bf16 both matrices are rounded to BF16, and sums stay floats: pairs of rows of w are words in the panels, and so
 * are pairs of numbers of a (pith__outer's pairs). There are half as many steps, each as long as one of floats. */
#include "train.h"

#include <string.h>

enum {
    PANEL = PITH__PANEL,   /* columns of w that lie side by side */
    DEPTH = 384,           /* rows of w at a time, at most: their products are added to y */
    STRIP = 12,            /* rows of y whose sums fit a processor's registers, see math/twins */
    ROWS = 4 * STRIP,      /* rows and */
    COLUMNS = 12 * PANEL,  /* columns of the tile of y that is one task for a thread */
    BUNDLE = 8             /* rows of w that one task lays out */
};

/* Of one panel. The same row of all panels lies on other lines of the cache for each: powers of two apart they would not. */
static size_t panel_size(size_t n_k) { return (n_k + 1) * PANEL; }

PITH_SHARED size_t pith__panel_floats(size_t cols) { return (cols + PANEL - 1) / PANEL * panel_size(DEPTH); }
PITH_SHARED size_t pith__product_scratch(void) { return ROWS * DEPTH; }

typedef struct { /* y (m, n) = a (m, k) w (k, n), or y += */
    const pith__tape *tape;
    float *y;
    const float *a;
    size_t m, a_row, a_col; /* number (i, k) of a is a[i * a_row + k * a_col]; one of them is 1 */
    const pith__tensor *w;
    int add;
    size_t k0, n_k; /* rows of w that are being worked on */
    size_t n_pair;  /* and pairs of them; 0: floats */
} product;

/* Numbers j to j + PANEL of row k0 + k of w. whole: that row where its scales do not lie in it, else NULL. */
static void dequantize(const product *p, size_t k, size_t j, const float *whole, float *to) {
    const pith__tensor *w = p->w;
    const pith__format *f = w->format;
    const uint8_t *row = w->data + (p->k0 + k) * w->row_bytes;
    size_t n = pith__least(w->cols - j, PANEL);
    if (f->id == PITH__F32 && n == PANEL) {
        memcpy(to, row + j * sizeof *to, PANEL * sizeof *to); /* a size known to the compiler */
    } else if (whole) {
        memcpy(to, whole + j, n * sizeof *to);
    } else if (f->floats) {
        f->floats(to, row + j * (size_t)f->bytes, n);
    } else {
        pith__q32 b; /* past the last column it has zeros, and the panel has room */
        pith__row_q32(w, p->k0 + k, j / PANEL, &b);
        for (size_t i = 0; i < 16; i++) to[i] = b.d[0] * b.q[i] - b.m[0];
        for (size_t i = 16; i < PANEL; i++) to[i] = b.d[1] * b.q[i] - b.m[1];
    }
}

/* Row k0 + k of w: PANEL floats to each panel. whole: (cols) scratch. */
static void make_panels(const product *p, size_t k, float *whole) {
    float *to = p->tape->panel + k * PANEL;
    if (p->w->format->id != PITH__I8) whole = NULL;
    else pith__row_floats(p->w, p->k0 + k, whole);
    for (size_t j = 0; j < p->w->cols; j += PANEL, to += panel_size(p->n_k)) dequantize(p, k, j, whole, to);
}

/* Rows k and k + 1, or zeros behind the last: PANEL pairs to each panel. */
static void make_pair_panels(const product *p, size_t k, float *whole) {
    const pith__tensor *w = p->w;
    const pith__format *f = w->format, *floats = pith__format_of(PITH__F32);
    const pith__kernels *kernels = p->tape->s->pass->kernels;
    size_t size = panel_size(p->n_pair);
    uint32_t *to = (uint32_t *)(void *)p->tape->panel + k / 2 * PANEL;
    int both = k + 1 < p->n_k;
    const uint8_t *row = w->data + (p->k0 + k) * w->row_bytes;
    if (f->id == PITH__F32 || f->id == PITH__BF16) {
        kernels->pair_rows(to, size, row, both ? row + w->row_bytes : NULL, w->cols, f);
        return;
    }
    if (f->id != PITH__I8) whole = NULL;
    else pith__row_floats(w, p->k0 + k, whole);
    float *next_whole = whole ? whole + w->cols : NULL;
    if (whole && both) pith__row_floats(w, p->k0 + k + 1, next_whole);
    for (size_t j = 0; j < w->cols; j += PANEL, to += size) {
        float x[2][PANEL];
        dequantize(p, k, j, whole, x[0]);
        if (both) dequantize(p, k + 1, j, next_whole, x[1]);
        kernels->pair_rows(to, PANEL, x[0], both ? x[1] : NULL, pith__least(w->cols - j, PANEL), floats);
    }
}

static void panel_task(const void *data, size_t task, uint8_t *scratch) {
    const product *p = data;
    float *whole = (float *)(void *)scratch;
    for (size_t k = task * BUNDLE; k < p->n_k && k < (task + 1) * BUNDLE; k += p->n_pair ? 2 : 1)
        if (p->n_pair) make_pair_panels(p, k, whole);
        else make_panels(p, k, whole);
}

/* a, whose rows are columns in memory, laid out as (m / STRIP, n_k, STRIP). */
static void lay_rows(float *to, const float *a, size_t a_col, size_t m, size_t n_k) {
    for (size_t i = 0; i < m; i += STRIP, to += n_k * STRIP) {
        size_t n = pith__least(m - i, STRIP);
        for (size_t k = 0; k < n_k; k++)
            if (n == STRIP) memcpy(to + k * STRIP, a + i + k * a_col, STRIP * sizeof *to);
            else memcpy(to + k * STRIP, a + i + k * a_col, n * sizeof *to);
    }
}

/* One tile of y, ROWS by COLUMNS, of pairs. */
static void pairs_task(const void *data, size_t task, uint8_t *scratch) {
    const product *p = data;
    const pith__kernels *k = p->tape->s->pass->kernels;
    size_t cols = p->w->cols, wide = (cols + COLUMNS - 1) / COLUMNS;
    size_t i = task / wide * ROWS, m = pith__least(p->m - i, ROWS), j = task % wide * COLUMNS;
    size_t end = pith__least(cols, j + COLUMNS);
    const float *from = p->a + i * p->a_row + p->k0 * p->a_col;
    uint32_t *a = (uint32_t *)(void *)scratch;
    pith__outer o = { .a = a, .n_k = p->n_pair, .m = m, .y_row = cols, .b_row = PANEL, .add = p->add || p->k0 > 0,
                      .pairs = 1 };
    if (p->a_col == 1) {
        o.a_row = p->n_pair, o.a_col = 1;
        for (size_t r = 0; r < m; r++) k->pair_row(a + r * p->n_pair, from + r * p->a_row, p->n_k);
    } else {
        o.a_row = 1, o.a_col = ROWS;
        for (size_t t = 0; t < p->n_k; t += 2, from += 2 * p->a_col, a += ROWS)
            k->pair_rows(a, PANEL, from, t + 1 < p->n_k ? from + p->a_col : NULL, m, pith__format_of(PITH__F32));
    }
    for (; j < end; j += PANEL) {
        o.y = p->y + i * cols + j;
        o.b = (const uint32_t *)(const void *)p->tape->panel + j / PANEL * panel_size(p->n_pair);
        o.n = pith__least(end - j, PANEL);
        k->outer(&o);
    }
}

/* The same of floats. */
static void product_task(const void *data, size_t task, uint8_t *scratch) {
    const product *p = data;
    size_t cols = p->w->cols, wide = (cols + COLUMNS - 1) / COLUMNS;
    size_t i = task / wide * ROWS, m = pith__least(p->m - i, ROWS), j = task % wide * COLUMNS;
    size_t end = pith__least(cols, j + COLUMNS), step = p->a_col == 1 ? m : STRIP;
    const float *a = p->a + i * p->a_row + p->k0 * p->a_col;
    pith__outer o = { .n_k = p->n_k, .y_row = cols, .b_row = PANEL, .add = p->add || p->k0 > 0 };
    o.a_row = p->a_row, o.a_col = p->a_col;
    if (p->a_col != 1) {
        float *side = (float *)(void *)scratch;
        lay_rows(side, a, p->a_col, m, p->n_k);
        a = side, o.a_row = 1, o.a_col = STRIP;
    }
    for (; j < end; j += PANEL)
        for (size_t r = 0; r < m; r += step) {
            o.y = p->y + (i + r) * cols + j;
            o.a = p->a_col == 1 ? a : a + r * p->n_k;
            o.b = p->tape->panel + j / PANEL * panel_size(p->n_k);
            o.m = pith__least(m - r, step), o.n = pith__least(end - j, PANEL);
            p->tape->s->pass->kernels->outer(&o);
        }
}

static void multiply(product *p) {
    const pith__team *team = &p->tape->s->pass->team;
    size_t rows = p->w->rows, cols = p->w->cols, n_part = (rows + DEPTH - 1) / DEPTH;
    size_t n_task = (p->m + ROWS - 1) / ROWS * ((cols + COLUMNS - 1) / COLUMNS);
    int worth_it = pith__worth_it(p->m * cols);
    p->n_k = (rows + n_part - 1) / n_part;
    if (p->tape->bf16) p->n_k += p->n_k % 2;
    for (p->k0 = 0; p->k0 < rows; p->k0 += p->n_k) {
        p->n_k = pith__least(p->n_k, rows - p->k0);
        p->n_pair = p->tape->bf16 ? (p->n_k + 1) / 2 : 0;
        pith__share(team, (p->n_k + BUNDLE - 1) / BUNDLE, worth_it, panel_task, p);
        pith__share(team, n_task, worth_it, p->n_pair ? pairs_task : product_task, p);
    }
}

/* Forward: y (n, rows) = x (n, cols) w^T. dx (n, cols) = dy w, or, with add, dx += dy w. */
PITH_SHARED void pith__d_input(const pith__tape *tape, float *dx, const float *dy,
                               const pith__tensor *w, size_t n, int add) {
    product p = { tape, dx, dy, n, w->rows, 1, w, add, 0, 0, 0 };
    multiply(&p);
}

/* The gradient of w, (rows, cols) += dy^T x: a sum over the tokens, the first to the last. */
PITH_SHARED void pith__d_weight(const pith__tape *tape, const pith__weight *w, const float *dy,
                                const float *x, size_t n) {
    float *dw = pith__grad(tape->g, w);
    if (!dw || !n) return;
    size_t rows = w->tensor.rows, cols = w->tensor.cols;
    pith__tensor in = { .format = pith__format_of(PITH__F32), .rows = n, .cols = cols };
    in.data = (const uint8_t *)x;
    in.row_bytes = cols * sizeof *x;
    product p = { tape, dw, dy, rows, 1, rows, &in, 1, 0, 0, 0 };
    multiply(&p);
}
