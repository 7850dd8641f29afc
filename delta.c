/* delta.c - linear attention by the gated delta rule (Qwen3.5): a layer whose state learns which value belongs to which key.
 *
 * What a token brings is a query and a key a key head, and a value, a gate z and two numbers a value head: how much of the
 * value is learned (beta), and how much of the state stays (decay). Query, key and value are convolved with those of the
 * tokens just before (recurrent.c), the rule itself is in math/delta.c, and what comes out of a head is normed and gated.
 *     Yang et al. 2024, arXiv:2412.06464 */
#include "internal.h"

#include <math.h>
#include <string.h>

/* mix_in of a pass is z (n, n_inner), then beta, decay, and what decay is made of, all (n, n_head). */
static float *betas(const pith__block *b) { return b->a.mix_in + (size_t)b->n * (size_t)b->layer->recurrent.n_inner; }
static float *decays(const pith__block *b) { return betas(b) + (size_t)b->n * (size_t)b->layer->recurrent.n_head; }
static float *raw_decays(const pith__block *b) { return decays(b) + (size_t)b->n * (size_t)b->layer->recurrent.n_head; }

/* ln(1 + e^x) */
static float softplus(float x) { return x > 20 ? x : log1pf(expf(x)); }

/* Qwen3-Next has one matrix for both gates: for each key head the betas of its value heads, and then what their decays are
 * made of. Its rows lie where betas and decays will, twice as wide as a row of these, and so are read in time. */
static void part_gates(const pith__block *b) {
    const pith__recurrent *w = &b->layer->recurrent;
    size_t heads = (size_t)w->n_head, rep = heads / (size_t)w->n_k_head;
    const float *both = betas(b);
    for (size_t i = 0; i < (size_t)b->n * heads; i++) {
        size_t at = i / rep * 2 * rep + i % rep;
        raw_decays(b)[i] = both[at + rep];
        betas(b)[i] = both[at];
    }
}

/* A token's queries and keys become unit vectors, and its numbers of each head what they stand for. */
static void before_rule(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const pith__block *b = data;
    const pith__recurrent *w = &b->layer->recurrent;
    const pith__kernels *k = b->pass->kernels;
    size_t dk = (size_t)w->dk, keys = (size_t)w->n_k_head, heads = (size_t)w->n_head;
    float *x = b->a.conv + t * (size_t)w->n_conv, *beta = betas(b) + t * heads, *decay = decays(b) + t * heads;
    const float *raw = raw_decays(b) + t * heads;
    k->gate(x, x, NULL, (size_t)w->n_conv, PITH__SILU);
    for (size_t h = 0; h < 2 * keys; h++) pith__unit(k, x + h * dk, dk, 1e-6f, h < keys ? 1 / sqrtf((float)dk) : 1);
    for (size_t h = 0; h < heads; h++) {
        beta[h] = 1 / (1 + expf(-beta[h]));
        decay[h] = expf(w->rate.floats[h] * softplus(raw[h] + w->dt_bias.floats[h]));
    }
}

enum { TURN_TOKENS = 32 };

/* One head, of one text: a.inner = what the queries find. Blocks of its columns take turns every few tokens, whose queries
 * and keys are still in a cache near by then: a row of a.conv is a long way from the next. */
static void run_rule(const void *data, size_t i, uint8_t *scratch) {
    (void)scratch;
    const pith__block *b = data;
    const pith__recurrent *w = &b->layer->recurrent;
    size_t heads = (size_t)w->n_head, head = i % heads, keys = (size_t)(w->n_k_head * w->dk);
    const pith__part *part = b->pass->part + i / heads;
    pith_session *s = part->s;
    pith__delta d = { .stride = (size_t)w->n_conv, .state = s->state[b->l] + pith__conv_floats(w), .n_head = w->n_head,
                      .n_k_head = w->n_k_head, .dk = w->dk, .dv = w->n_inner / w->n_head, .in_turn = !w->grouped };
    float *own = pith__delta_block(&d, head, 0);
    size_t n_block = pith__delta_blocks(d.dv), bytes = n_block * (size_t)d.dk * PITH__DELTA_COLUMNS * sizeof *own;
    if (part->position == 0) memset(own, 0, bytes);
    for (size_t t = 0, n; t < (size_t)part->n; t += n) {
        pith__state_mark *mark;
        size_t row = (size_t)part->first + t, left = (size_t)part->n - t;
        n = pith__until_mark(s, part->position + (int)t, left < TURN_TOKENS ? left : TURN_TOKENS, &mark);
        d.q = b->a.conv + row * d.stride, d.k = d.q + keys, d.v = d.k + keys;
        d.beta = betas(b) + row * heads, d.decay = decays(b) + row * heads;
        d.y = b->a.inner + row * (size_t)w->n_inner, d.n = (int)n;
        for (size_t block = 0; block < n_block; block++) b->pass->kernels->delta(&d, head, block);
        if (mark) memcpy(mark->states + (own - s->states), own, bytes);
    }
}

/* a.inner of a token: every head is normed, and gated by z. */
static void after_rule(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const pith__block *b = data;
    const pith__recurrent *w = &b->layer->recurrent;
    const pith__kernels *k = b->pass->kernels;
    size_t n = (size_t)w->n_inner, dv = n / (size_t)w->n_head;
    float *y = b->a.inner + t * n;
    for (size_t at = 0; at < n; at += dv) k->rmsnorm(y + at, y + at, w->norm.floats, dv, b->h->eps);
    k->gate(y, b->a.mix_in + t * n, y, n, PITH__SILU);
}

PITH_SHARED void pith__run_delta(const pith__block *b, const float *x) {
    pith_pass *p = b->pass;
    const pith__recurrent *w = &b->layer->recurrent;
    pith__input in = pith__input_of(p, x, b->n, (size_t)b->h->n_embd);
    pith__projection all[] = { { b->a.conv_in, &w->in }, { b->a.mix_in, &w->z }, { betas(b), &w->beta }, { raw_decays(b), &w->decay } };
    pith__project_all(p, all, w->grouped ? 3 : 4, &in, p->part_of);
    if (w->grouped) part_gates(b);
    pith__convolve_parts(b, before_rule);
    size_t numbers = (size_t)b->n * (size_t)w->n_inner * (size_t)w->dk;
    pith__share(&p->team, (size_t)p->n_part * (size_t)w->n_head, pith__worth_it(numbers), run_rule, b);
    pith__each_token(b, after_rule);
    in = pith__input_of(p, b->a.inner, b->n, w->out.tensor.cols);
    pith__project(p, b->a.o, &w->out, &in, p->part_of);
}
