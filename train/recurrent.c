/* recurrent.c - the backward pass of what layers with a state have in common: the way through the tokens and the convolution;
 * and of the short convolution. */
#include "train.h"

#include <string.h>

/* ---- states ------------------------------------------------------------------------------------------ */

enum { SPACING = 16 };

/* At every SPACING tokens, of SPACING tokens, the one at work, and its gradient. */
PITH_SHARED size_t pith__d_walk_scratch(const pith__recurrent *w, size_t n) {
    return w->dk ? ((n + SPACING - 1) / SPACING + SPACING + 2) * (size_t)w->dk * PITH__DELTA_COLUMNS : 0;
}

/* States are not kept: they are computed again from places SPACING tokens apart. */
PITH_SHARED void pith__d_walk(const pith__d_states *w, float *scratch) {
    size_t size = w->size, n = w->n, n_place = (n + SPACING - 1) / SPACING;
    float *place = scratch, *run = place + n_place * size, *s = run + SPACING * size, *ds = s + size;
    memset(s, 0, 2 * size * sizeof *s);
    for (size_t t = 0; t < n; t++) {
        if (t % SPACING == 0) memcpy(place + t / SPACING * size, s, size * sizeof *s);
        w->step(w->of, t, s, s);
    }
    for (size_t i = n_place; i-- > 0;) {
        size_t t0 = i * SPACING, m = n - t0 < SPACING ? n - t0 : SPACING;
        memcpy(run, place + i * size, size * sizeof *s);
        for (size_t t = 1; t < m; t++) w->step(w->of, t0 + t - 1, run + (t - 1) * size, run + t * size);
        for (size_t t = m; t-- > 0;) w->d_step(w->of, t0 + t, run + t * size, ds);
    }
}

/* ---- the convolution ---------------------------------------------------------------------------------- */

PITH_SHARED void pith__convolve_again(const pith__d_state *j, size_t c, float *y) {
    size_t n_tap = (size_t)j->w->n_tap, cols = (size_t)j->w->n_conv;
    const float *w = j->w->conv.floats + c * n_tap, *bias = j->w->conv_bias.floats;
    for (size_t t = 0; t < j->n; t++) {
        y[t * cols] = bias ? bias[c] : 0;
        for (size_t i = 0; i < n_tap; i++)
            if (t + i + 1 >= n_tap) y[t * cols] += w[i] * j->a->conv_in[(t + i + 1 - n_tap) * cols + c];
    }
}

/* Forward: y[t] = sum of w[i] x[t - n_tap + 1 + i], of channel c. dx, and the gradient of w where it learns. */
static void d_convolve(const pith__d_state *j, size_t c, float *dw) {
    size_t n_tap = (size_t)j->w->n_tap, cols = (size_t)j->w->n_conv, n = j->n;
    const float *w = j->w->conv.floats + c * n_tap, *x = j->a->conv_in + c, *dy = j->d_conv + c;
    for (size_t i = 0; dw && i < n_tap; i++)
        for (size_t t = n_tap - 1 - i; t < n; t++) dw[c * n_tap + i] += dy[t * cols] * x[(t + i + 1 - n_tap) * cols];
    for (size_t t = 0; t < n; t++) {
        float sum = 0;
        for (size_t i = 0; i < n_tap; i++)
            if (t + n_tap - 1 - i < n) sum += w[i] * dy[(t + n_tap - 1 - i) * cols];
        j->d_in[t * cols + c] = sum;
    }
}

PITH_SHARED void pith__d_taps(const pith__d_state *j, float *dw) {
    for (size_t c = 0; c < (size_t)j->w->n_conv; c++) d_convolve(j, c, dw);
}

/* Forward: y = x + the short convolution: mix_in of a token is b, c and u, conv_in = b u, inner = c conv. */
PITH_SHARED void pith__d_run_shortconv(const pith__d_block *b) {
    const pith__recurrent *w = &b->layer->recurrent;
    const pith__tape *tape = b->tape;
    pith__acts a = b->a, d = b->d;
    size_t n_embd = (size_t)b->h->n_embd;
    pith__d_state j = { .w = w, .a = &b->a, .d_conv = d.conv, .d_in = d.conv_in, .n = b->n };
    pith__d_add_to_stream(b, a.o, d.o, &b->layer->attn_post_norm);
    pith__d_project(b, d.inner, d.o, &w->out, a.inner, b->n, 0);
    for (size_t at = 0; at < b->n * n_embd; at++) {
        size_t c = at / n_embd * 3 * n_embd + n_embd + at % n_embd;
        d.mix_in[c] = d.inner[at] * a.conv[at];
        d.conv[at] = d.inner[at] * a.mix_in[c];
    }
    pith__d_taps(&j, pith__grad(tape->g, &w->conv));
    for (size_t at = 0; at < b->n * n_embd; at++) {
        size_t first = at / n_embd * 3 * n_embd + at % n_embd, u = first + 2 * n_embd;
        d.mix_in[first] = d.conv_in[at] * a.mix_in[u];
        d.mix_in[u] = d.conv_in[at] * a.mix_in[first];
    }
    const float *xn = pith__d_normed(b, a.xn, a.x, &b->layer->attn_norm);
    pith__d_project(b, d.xn, d.mix_in, &w->in, xn, b->n, 0);
    pith__d_norm(tape, d.x, d.xn, a.x, &b->layer->attn_norm, b->n, 1);
}
