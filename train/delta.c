/* delta.c - the backward pass of linear attention: from what the heads brought in to what a token's products gave.
 *
 * Forward (delta.c of the root, math/delta.c): q, k and v are a convolution of conv_in, and silu; q and k become unit
 * vectors; then, head by head and token by token, S = decay S + k d^T with d = beta (v - decay S^T k), and o = S^T q; what
 * comes out is rms(o) times silu(z). A
 * thread works on a key head and all value heads that read it, one block of 16 columns after the other, so every sum has
 * one order. */
#include "train.h"

#include <math.h>
#include <string.h>

enum { BLOCK = PITH__DELTA_COLUMNS };

static size_t state_size(const pith__recurrent *w) { return (size_t)w->dk * BLOCK; }

typedef struct {           /* one head, one block of its columns */
    const pith__d_state *j;
    size_t head, key, at;  /* where its query is in a row of conv, and its first value in one of inner */
    int n;                 /* columns */
} part_of_head;

static const float *q_of(const part_of_head *p, size_t t) { return p->j->a->conv + t * (size_t)p->j->w->n_conv + p->key; }

static size_t keys_of(const part_of_head *p) { return (size_t)p->j->w->n_k_head * (size_t)p->j->w->dk; }

/* e = v - decay s^T k, and found = s^T k. */
static void look_up(const part_of_head *p, size_t t, const float *s, float *found, float *e) {
    const pith__recurrent *w = p->j->w;
    const float *k = q_of(p, t) + keys_of(p), *v = p->j->a->conv + t * (size_t)w->n_conv + 2 * keys_of(p) + p->at;
    float decay = p->j->decay[t * (size_t)w->n_head + p->head];
    memset(found, 0, BLOCK * sizeof *found);
    for (int i = 0; i < w->dk; i++)
        for (int c = 0; c < BLOCK; c++) found[c] += k[i] * s[i * BLOCK + c];
    for (int c = 0; c < BLOCK; c++) e[c] = (c < p->n ? v[c] : 0) - decay * found[c];
}

/* next = the state after token t. */
static void step_on(const void *data, size_t t, const float *s, float *next) {
    const part_of_head *p = data;
    const pith__recurrent *w = p->j->w;
    const float *k = q_of(p, t) + keys_of(p);
    float found[BLOCK], e[BLOCK], decay = p->j->decay[t * (size_t)w->n_head + p->head];
    float beta = p->j->beta[t * (size_t)w->n_head + p->head];
    look_up(p, t, s, found, e);
    for (int i = 0; i < w->dk; i++)
        for (int c = 0; c < BLOCK; c++) next[i * BLOCK + c] = decay * s[i * BLOCK + c] + k[i] * (beta * e[c]);
}

/* Token t, with the state s before it: ds, the gradient of the state after it, becomes that of s. */
static void d_step(const void *data, size_t t, const float *s, float *ds) {
    const part_of_head *p = data;
    const pith__recurrent *w = p->j->w;
    size_t row = t * (size_t)w->n_conv + p->key, gate = t * (size_t)w->n_head + p->head;
    const float *q = q_of(p, t), *k = q + keys_of(p), *dy = p->j->dy + t * (size_t)w->n_inner + p->at;
    float *dq = p->j->d_conv + row, *dk = dq + keys_of(p), *dv = p->j->d_conv + t * (size_t)w->n_conv + 2 * keys_of(p) + p->at;
    float decay = p->j->decay[gate], beta = p->j->beta[gate], found[BLOCK], e[BLOCK], dd[BLOCK] = { 0 }, de[BLOCK];
    float d_decay = 0, d_beta = 0, out[BLOCK] = { 0 };
    look_up(p, t, s, found, e);
    memcpy(out, dy, (size_t)p->n * sizeof *out);
    for (int i = 0; i < w->dk; i++) {
        float sum_q = 0, sum_k = 0;
        for (int c = 0; c < BLOCK; c++) {
            float d = beta * e[c], after = decay * s[i * BLOCK + c] + k[i] * d, *g = &ds[i * BLOCK + c];
            *g += q[i] * out[c];
            sum_q += after * out[c];
            sum_k += *g * d;
            dd[c] += *g * k[i];
        }
        dq[i] += sum_q, dk[i] += sum_k;
    }
    for (int c = 0; c < BLOCK; c++) {
        de[c] = beta * dd[c];
        d_beta += dd[c] * e[c];
        d_decay -= de[c] * found[c];
    }
    for (int c = 0; c < p->n; c++) dv[c] += de[c];
    for (int i = 0; i < w->dk; i++) {
        float sum_k = 0, sum = 0;
        for (int c = 0; c < BLOCK; c++) {
            float *g = &ds[i * BLOCK + c], before = s[i * BLOCK + c];
            sum += *g * before;
            sum_k -= decay * before * de[c];
            *g = decay * (*g - k[i] * de[c]);
        }
        d_decay += sum, dk[i] += sum_k;
    }
    p->j->d_beta[gate] += d_beta;
    p->j->d_decay[gate] += d_decay;
}

static void d_key_head(const void *data, size_t key, uint8_t *scratch) {
    const pith__d_state *j = data;
    const pith__recurrent *w = j->w;
    size_t dv = (size_t)(w->n_inner / w->n_head), keys = (size_t)w->n_k_head;
    for (size_t head = key; head < (size_t)w->n_head; head += keys)
        for (size_t at = 0; at < dv; at += BLOCK) {
            part_of_head p = { j, head, key * (size_t)w->dk, head * dv + at, dv - at < BLOCK ? (int)(dv - at) : BLOCK };
            pith__d_states walk = { step_on, d_step, &p, state_size(w), j->n };
            pith__d_walk(&walk, (float *)(void *)scratch);
        }
}

static void d_rule(const pith__d_state *j) {
    const pith__recurrent *w = j->w;
    size_t gates = j->n * (size_t)w->n_head, conv = j->n * (size_t)w->n_conv;
    memset(j->d_conv, 0, conv * sizeof *j->d_conv);
    memset(j->d_beta, 0, gates * sizeof *j->d_beta);
    memset(j->d_decay, 0, gates * sizeof *j->d_decay);
    int worth_it = pith__worth_it(conv * (size_t)w->dk);
    pith__share(j->team, (size_t)w->n_k_head, worth_it, d_key_head, j);
}

/* ---- the convolution, silu and unit vectors -------------------------------------------------------------- */

/* Forward: x = scale s / |s| for a head of a query or key. dx becomes ds. */
static void d_unit(float *dx, const float *s, size_t n, float scale) {
    float squares = 1e-6f, along = 0;
    for (size_t i = 0; i < n; i++) squares += s[i] * s[i], along += s[i] * dx[i];
    float by = scale / sqrtf(squares);
    for (size_t i = 0; i < n; i++) dx[i] = by * (dx[i] - s[i] * along / squares);
}

/* Row t: d_conv becomes the gradient of the convolution, whose result is in c (n_conv). */
static void d_silu_units(const pith__d_state *j, float *c, float *d) {
    const pith__recurrent *w = j->w;
    size_t dk = (size_t)w->dk, keys = (size_t)w->n_k_head;
    for (size_t h = 0; h < 2 * keys; h++) {
        float *s = (float *)(void *)j->team->scratch;
        for (size_t i = 0; i < dk; i++) s[i] = c[h * dk + i] / (1 + expf(-c[h * dk + i]));
        d_unit(d + h * dk, s, dk, h < keys ? 1 / sqrtf((float)dk) : 1);
    }
    for (size_t i = 0; i < (size_t)w->n_conv; i++) {
        float g = 1 / (1 + expf(-c[i]));
        d[i] *= g * (1 + c[i] * (1 - g));
    }
}

static void d_conv(const pith__d_state *j, float *dw) {
    size_t cols = (size_t)j->w->n_conv;
    for (size_t c = 0; c < cols; c++) pith__convolve_again(j, c, j->d_in + c);
    for (size_t t = 0; t < j->n; t++) d_silu_units(j, j->d_in + t * cols, j->d_conv + t * cols);
    pith__d_taps(j, dw);
}

/* ---- what stands around the rule -------------------------------------------------------------------------- */

/* o again, which was normed in its place: the states go once more through the text. */
static void rule_again(const pith__d_state *j, float *o) {
    const pith__recurrent *w = j->w;
    size_t dv = (size_t)(w->n_inner / w->n_head);
    float *s = (float *)(void *)j->team->scratch, found[BLOCK];
    for (size_t head = 0; head < (size_t)w->n_head; head++)
        for (size_t at = 0; at < dv; at += BLOCK) {
            part_of_head p = { j, head, head % (size_t)w->n_k_head * (size_t)w->dk, head * dv + at, dv - at < BLOCK ? (int)(dv - at) : BLOCK };
            memset(s, 0, state_size(w) * sizeof *s);
            for (size_t t = 0; t < j->n; t++) {
                const float *q = q_of(&p, t);
                step_on(&p, t, s, s);
                memset(found, 0, sizeof found);
                for (int i = 0; i < w->dk; i++)
                    for (int c = 0; c < BLOCK; c++) found[c] += q[i] * s[i * BLOCK + c];
                memcpy(o + t * (size_t)w->n_inner + p.at, found, (size_t)p.n * sizeof *o);
            }
        }
}

/* Forward: decay = e^(rate softplus(x)), x = raw + dt_bias; beta = sigmoid of its own. Their gradients become those of the
 * products. d_rate, d_bias (n_head) or NULL. */
static void d_gates(const pith__d_state *j, float *d_rate, float *d_bias) {
    size_t heads = (size_t)j->w->n_head;
    for (size_t i = 0; i < j->n * heads; i++) {
        float x = j->raw[i] + j->w->dt_bias.floats[i % heads], rate = j->w->rate.floats[i % heads];
        float d = j->d_decay[i] * j->decay[i], soft = x > 20 ? x : log1pf(expf(x));
        if (d_rate) d_rate[i % heads] += d * soft;
        d *= rate / (1 + expf(-x));
        if (d_bias) d_bias[i % heads] += d;
        j->d_decay[i] = d;
        j->d_beta[i] *= j->beta[i] * (1 - j->beta[i]);
    }
}

/* Forward: inner = rms(o) * silu(z), a head at a time. d.inner becomes the gradient of o, the first of d.mix_in that of z;
 * o (n, n_inner), and another such array, are room. */
static void d_gated_norm(const pith__d_block *b, float *o, float *dn) {
    const pith__recurrent *w = &b->layer->recurrent;
    const pith__kernels *k = b->tape->s->pass->kernels;
    size_t dv = (size_t)(w->n_inner / w->n_head), rows = b->n * (size_t)w->n_head;
    const pith__norm norm = { .w = w->norm };
    for (size_t r = 0; r < rows * dv; r += dv) k->rmsnorm(dn + r, o + r, w->norm.floats, dv, b->h->eps);
    for (size_t i = 0; i < rows * dv; i++) {
        float z = b->a.mix_in[i], s = 1 / (1 + expf(-z)), d = b->d.inner[i];
        b->d.mix_in[i] = d * dn[i] * s * (1 + z * (1 - s));
        dn[i] = d * z * s;
    }
    pith__d_norm(b->tape, b->d.inner, dn, o, &norm, rows, 0);
}

/* Forward: y = x + linear attention by the gated delta rule. */
PITH_SHARED void pith__d_run_delta(const pith__d_block *b) {
    const pith__recurrent *w = &b->layer->recurrent;
    const pith__tape *tape = b->tape;
    pith__acts a = b->a, d = b->d;
    size_t gates = b->n * (size_t)w->n_head, inner = b->n * (size_t)w->n_inner;
    pith__d_state j = { .team = &tape->s->pass->team, .w = w, .a = &b->a, .beta = a.mix_in + inner, .decay = a.mix_in + inner + gates,
                        .raw = a.mix_in + inner + 2 * gates, .dy = d.inner, .d_conv = d.conv, .d_in = d.conv_in,
                        .d_beta = d.mix_in + inner, .d_decay = d.mix_in + inner + gates, .n = b->n };
    pith__d_add_to_stream(b, a.o, d.o, &b->layer->attn_post_norm);
    pith__d_project(b, d.inner, d.o, &w->out, a.inner, b->n, 0);
    rule_again(&j, d.conv_in);
    d_gated_norm(b, d.conv_in, d.conv);
    d_rule(&j);
    d_conv(&j, pith__grad(tape->g, &w->conv));
    d_gates(&j, pith__grad(tape->g, &w->rate), pith__grad(tape->g, &w->dt_bias));
    const float *xn = pith__d_normed(b, a.xn, a.x, &b->layer->attn_norm);
    pith__d_project(b, d.xn, d.conv_in, &w->in, xn, b->n, 0);
    pith__d_project(b, d.xn, d.mix_in, &w->z, xn, b->n, 1);
    pith__d_project(b, d.xn, j.d_beta, &w->beta, xn, b->n, 1);
    pith__d_project(b, d.xn, j.d_decay, &w->decay, xn, b->n, 1);
    pith__d_norm(tape, d.x, d.xn, a.x, &b->layer->attn_norm, b->n, 1);
}
