/* recurrent.c - what layers with a state do with it, token by token in the order of the text.
 *
 * Channels do not depend on each other, so it is they that vectors and threads share out: the bits of a token are the
 * same however many tokens come with it. */
#include "kernels.h"

#include <math.h>

enum { SIDE_BY_SIDE = 64, MOST_TAPS = 16 }; /* channels; taps of weights that are turned */

/* One token, n channels from c on; weight j of channel c + i is w[j * tap + i * step]. */
static inline void convolve_token(const pith__convolution *v, size_t t, size_t c, size_t n, const float *w, size_t tap, size_t step) {
    float sum[SIDE_BY_SIDE];
    for (size_t i = 0; i < n; i++) sum[i] = v->bias ? v->bias[c + i] : 0;
    for (size_t j = 0; j < v->n_tap; j++) {
        const float *x = pith__input_at(v, (ptrdiff_t)(t + j) - (ptrdiff_t)v->n_tap + 1) + c;
        for (size_t i = 0; i < n; i++) sum[i] += w[j * tap + i * step] * x[i];
    }
    memcpy(v->y + t * v->n_channel + c, sum, n * sizeof *sum);
}

/* Up to SIDE_BY_SIDE channels: their weights are turned first, so that vectors are of channels. */
static void convolve_channels(const pith__convolution *v, size_t t0, size_t t1, size_t c, size_t n) {
    float turned[MOST_TAPS * SIDE_BY_SIDE];
    const float *w = v->w + c * v->n_tap;
    int turn = v->n_tap <= MOST_TAPS;
    for (size_t i = 0; turn && i < n; i++)
        for (size_t j = 0; j < v->n_tap; j++) turned[j * SIDE_BY_SIDE + i] = w[i * v->n_tap + j];
    for (size_t t = t0; t < t1; t++) {
        if (turn && n == SIDE_BY_SIDE) convolve_token(v, t, c, SIDE_BY_SIDE, turned, SIDE_BY_SIDE, 1); /* constants: no loop is left */
        else if (turn) convolve_token(v, t, c, n, turned, SIDE_BY_SIDE, 1);
        else convolve_token(v, t, c, n, w, 1, v->n_tap);
    }
}

PITH_SHARED void pith__convolve_portable(const pith__convolution *v, size_t t0, size_t t1) {
    for (size_t c = 0, n; c < v->n_channel; c += n) {
        n = v->n_channel - c < SIDE_BY_SIDE ? v->n_channel - c : SIDE_BY_SIDE;
        convolve_channels(v, t0, t1, c, n);
    }
}

PITH_SHARED void pith__convolution_state(const pith__convolution *v, size_t n, float *to) {
    for (size_t j = 0; j + 1 < v->n_tap; j++) /* a row comes from itself or from one behind it */
        memmove(to + j * v->n_channel, pith__input_at(v, (ptrdiff_t)(n + j) - (ptrdiff_t)v->n_tap + 1), v->n_channel * sizeof *to);
}

/* ---- Mamba-2 -------------------------------------------------------------------------------------------- */

enum { COLUMNS_OF_HEAD = 16 }; /* that are computed side by side */

/* One token, some columns of a head: S = fade S + b x^T, y = S^T c + skip x. Row i of S is added to sum i % 4. */
static void scan_columns(float *s, size_t stride, const float *x, const float *b, const float *c, float *y, size_t rows,
                         size_t n, float fade, float step, float skip) {
    float sum[4][COLUMNS_OF_HEAD] = { { 0 } };
    for (size_t i = 0; i < rows; i++, s += stride) {
        float add = step * b[i], *to = sum[i % 4];
        for (size_t j = 0; j < n; j++) {
            s[j] = fade * s[j] + add * x[j];
            to[j] += c[i] * s[j];
        }
    }
    for (size_t j = 0; j < n; j++) y[j] = (sum[0][j] + sum[2][j]) + (sum[1][j] + sum[3][j]) + skip * x[j];
}

PITH_SHARED void pith__mamba_portable(const pith__scan_head *h) {
    for (size_t t = 0; t < h->n; t++) {
        const float *x = h->x + t * h->x_row, *b = h->b + t * h->x_row, *c = h->c + t * h->x_row;
        float step = h->step[t * h->step_row], fade = expf(h->rate * step), *y = h->y + t * h->y_row;
        for (size_t j = 0; j < h->wide; j += COLUMNS_OF_HEAD) {
            size_t n = h->wide - j < COLUMNS_OF_HEAD ? h->wide - j : COLUMNS_OF_HEAD;
            scan_columns(h->state + j, h->wide, x + j, b, c, y + j, h->rows, n, fade, step, h->skip);
        }
    }
}
