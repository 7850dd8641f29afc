/* mamba.c - Mamba-2 (Granite 4): a layer whose state fades as fast as each token says.
 *
 * What a token brings is a gate z, an x of each head, a b and a c of each group of heads, and a step of each head. x, b and c
 * are convolved with those of the tokens just before (recurrent.c). The state of a head is a matrix to which a step adds
 * b x^T, and which c reads: S = e^(rate step) S + step b x^T; y = S^T c + skip x. What comes out is gated by z, and then
 * normed group by group.
 *     Gu and Dao 2023, arXiv:2312.00752; Dao and Gu 2024, arXiv:2405.21060 */
#include "internal.h"

#include <math.h>
#include <string.h>

/* mix_in of a token is z (n_inner), x, b and c (n_conv), steps (n_head). */
static float *steps_of(const pith__block *b, size_t t) {
    const pith__recurrent *w = &b->layer->recurrent;
    return b->a.mix_in + t * (size_t)w->n_in + (size_t)w->n_inner + (size_t)w->n_conv;
}

static void before_convolution(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const pith__block *b = data;
    const pith__recurrent *w = &b->layer->recurrent;
    size_t n = (size_t)w->n_conv;
    float *step = steps_of(b, t);
    memcpy(b->a.conv_in + t * n, step - n, n * sizeof *step);
    for (int h = 0; h < w->n_head; h++) { /* softplus */
        float x = step[h] + w->dt_bias.floats[h];
        step[h] = x > 20 ? x : log1pf(expf(x));
    }
}

static void after_convolution(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const pith__block *b = data;
    size_t n = (size_t)b->layer->recurrent.n_conv;
    float *x = b->a.conv + t * n;
    b->pass->kernels->gate(x, x, NULL, n, PITH__SILU);
}

/* One head, of one text. */
static void scan_head(const void *data, size_t i, uint8_t *scratch) {
    (void)scratch;
    const pith__block *b = data;
    const pith__recurrent *w = &b->layer->recurrent;
    size_t heads = (size_t)w->n_head, head = i % heads, wide = (size_t)w->n_inner / heads, rows = (size_t)w->dk;
    const pith__part *part = b->pass->part + i / heads;
    pith_session *s = part->s;
    float *own = s->state[b->l] + pith__conv_floats(w) + head * rows * wide;
    if (part->position == 0) memset(own, 0, rows * wide * sizeof *own);
    for (size_t t = 0, n; t < (size_t)part->n; t += n) {
        pith__state_mark *mark;
        n = pith__until_mark(s, part->position + (int)t, (size_t)part->n - t, &mark);
        size_t row = (size_t)part->first + t, group = head / (heads / (size_t)w->n_k_head);
        const float *x = b->a.conv + row * (size_t)w->n_conv, *bs = x + w->n_inner + group * rows;
        pith__scan_head h = { .x = x + head * wide, .b = bs, .c = bs + (size_t)w->n_k_head * rows, .x_row = (size_t)w->n_conv,
                              .step = steps_of(b, row) + head, .step_row = (size_t)w->n_in,
                              .y = b->a.inner + row * (size_t)w->n_inner + head * wide, .y_row = (size_t)w->n_inner,
                              .n = n, .rows = rows, .wide = wide, .rate = w->rate.floats[head], .skip = w->skip.floats[head],
                              .state = own };
        b->pass->kernels->mamba(&h);
        if (mark) memcpy(mark->states + (own - s->states), own, rows * wide * sizeof *own);
    }
}

static void after_scan(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const pith__block *b = data;
    const pith__recurrent *w = &b->layer->recurrent;
    const pith__kernels *k = b->pass->kernels;
    size_t n = (size_t)w->n_inner, group = n / (size_t)w->n_k_head;
    float *y = b->a.inner + t * n;
    k->gate(y, b->a.mix_in + t * (size_t)w->n_in, y, n, PITH__SILU);
    for (size_t at = 0; at < n; at += group) k->rmsnorm(y + at, y + at, w->norm.floats + at, group, b->h->eps);
}

PITH_SHARED void pith__run_mamba(const pith__block *b, const float *x) {
    pith_pass *p = b->pass;
    const pith__recurrent *w = &b->layer->recurrent;
    pith__input in = pith__input_of(p, x, b->n, (size_t)b->h->n_embd);
    pith__project(p, b->a.mix_in, &w->in, &in, p->part_of);
    pith__each_token(b, before_convolution);
    pith__convolve_parts(b, after_convolution);
    size_t numbers = (size_t)b->n * (size_t)w->n_inner * (size_t)w->dk;
    pith__share(&p->team, (size_t)p->n_part * (size_t)w->n_head, pith__worth_it(numbers), scan_head, b);
    pith__each_token(b, after_scan);
    in = pith__input_of(p, b->a.inner, b->n, w->out.tensor.cols);
    pith__project(p, b->a.o, &w->out, &in, p->part_of);
}
