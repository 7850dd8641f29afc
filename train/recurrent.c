/* recurrent.c - the backward pass of what layers with a state have in common, the convolution, and of the short convolution. */
#include "train.h"

/* Forward: y[t] = sum of w[i] x[t - n_tap + 1 + i], of channel c. dx, and the gradient of w where it learns. */
static void d_convolve(const pith__d_delta *j, size_t c, float *dw) {
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

PITH_SHARED void pith__d_taps(const pith__d_delta *j, float *dw) {
    for (size_t c = 0; c < (size_t)j->w->n_conv; c++) d_convolve(j, c, dw);
}

/* Forward: y = x + the short convolution: mix_in of a token is b, c and u, conv_in = b u, inner = c conv. */
PITH_SHARED void pith__d_run_shortconv(const pith__d_block *b) {
    const pith__recurrent *w = &b->layer->recurrent;
    const pith__tape *tape = b->tape;
    pith__acts a = b->a, d = b->d;
    size_t n_embd = (size_t)b->h->n_embd;
    pith__d_delta j = { .w = w, .a = &b->a, .d_conv = d.conv, .d_in = d.conv_in, .n = b->n };
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
