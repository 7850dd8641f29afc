/* mamba.c - the backward pass of Mamba-2: from what the heads brought in to a token's products.
 *
 * Forward (mamba.c of the root, math/recurrent.c): x, b and c are a convolution of a part of the token's product, and silu;
 * then, head by head and token by token, S = e^(rate step) S + step b x^T and y = S^T c + skip x; what comes out is y silu(z),
 * normed group by group. A thread works on some heads of a group, one block of 16 columns after the other. What heads have in
 * common, b and c, gets a sum for each PART of them first, so threads change no bit. */
#include "train.h"

#include <math.h>
#include <string.h>

enum { PARTS = 8, BLOCK_ = PITH__DELTA_COLUMNS }; /* of a group's heads */

PITH_SHARED size_t pith__d_mamba_room(const pith__recurrent *w, size_t n) {
    size_t shared = PARTS * (size_t)w->n_k_head * 2 * (size_t)w->dk, inner = (size_t)w->n_inner;
    return n * (shared > inner ? shared : inner);
}

typedef struct {           /* one head, one block of its columns */
    const pith__d_state *j;
    size_t head, group, part, at; /* at: its first number in a row of x, or of inner */
    int n;                 /* columns */
} columns;

static size_t wide_of(const pith__recurrent *w) { return (size_t)(w->n_inner / w->n_head); }
static const float *x_of(const columns *p, size_t t) { return p->j->a->conv + t * (size_t)p->j->w->n_conv + p->at; }
static const float *b_of(const columns *p, size_t t) {
    const pith__recurrent *w = p->j->w;
    return p->j->a->conv + t * (size_t)w->n_conv + (size_t)w->n_inner + p->group * (size_t)w->dk;
}
static const float *c_of(const columns *p, size_t t) { return b_of(p, t) + (size_t)(p->j->w->n_k_head * p->j->w->dk); }
static float step_of(const columns *p, size_t t) {
    const pith__recurrent *w = p->j->w;
    return p->j->a->mix_in[t * (size_t)w->n_in + (size_t)(w->n_inner + w->n_conv) + p->head];
}

/* next = the state after token t. */
static void scan_on(const void *data, size_t t, const float *s, float *next) {
    const columns *p = data;
    const float *b = b_of(p, t), *x = x_of(p, t);
    float step = step_of(p, t), fade = expf(p->j->w->rate.floats[p->head] * step), own[BLOCK_] = { 0 };
    memcpy(own, x, (size_t)p->n * sizeof *x);
    for (int i = 0; i < p->j->w->dk; i++)
        for (int c = 0; c < BLOCK_; c++) next[i * BLOCK_ + c] = fade * s[i * BLOCK_ + c] + step * b[i] * own[c];
}

/* y (BLOCK_) of the state after token t. */
static void read_state(const columns *p, size_t t, const float *s, float *y) {
    const float *c = c_of(p, t), *x = x_of(p, t);
    float skip = p->j->w->skip.floats[p->head];
    for (int k = 0; k < BLOCK_; k++) y[k] = k < p->n ? skip * x[k] : 0;
    for (int i = 0; i < p->j->w->dk; i++)
        for (int k = 0; k < BLOCK_; k++) y[k] += c[i] * s[i * BLOCK_ + k];
}

/* Token t, with the state s before it: ds, the gradient of the state after it, becomes that of s. */
static void d_scan(const void *data, size_t t, const float *s, float *ds) {
    const columns *p = data;
    const pith__recurrent *w = p->j->w;
    const float *b = b_of(p, t), *c = c_of(p, t);
    size_t dk = (size_t)w->dk, at = t * (size_t)w->n_head + p->head;
    float *db = p->j->room + ((t * (size_t)w->n_k_head + p->group) * PARTS + p->part) * 2 * dk, *dc = db + dk;
    float step = step_of(p, t), fade = expf(w->rate.floats[p->head] * step);
    float x[BLOCK_] = { 0 }, dy[BLOCK_] = { 0 }, dx[BLOCK_] = { 0 }, d_step = 0, d_fade = 0, d_skip = 0;
    memcpy(x, x_of(p, t), (size_t)p->n * sizeof *x);
    memcpy(dy, p->j->dy + t * (size_t)w->n_inner + p->at, (size_t)p->n * sizeof *dy);
    for (size_t i = 0; i < dk; i++) {
        float sum_b = 0, sum_c = 0, sum_s = 0;
        for (int k = 0; k < BLOCK_; k++) {
            float before = s[i * BLOCK_ + (size_t)k], *g = &ds[i * BLOCK_ + (size_t)k];
            sum_c += (fade * before + step * b[i] * x[k]) * dy[k];
            *g += c[i] * dy[k];
            sum_b += *g * x[k];
            sum_s += *g * before;
            dx[k] += b[i] * *g;
            *g *= fade;
        }
        db[i] += step * sum_b, dc[i] += sum_c;
        d_step += b[i] * sum_b, d_fade += sum_s;
    }
    float *to = p->j->d_conv + t * (size_t)w->n_conv + p->at;
    for (int k = 0; k < p->n; k++) {
        to[k] = step * dx[k] + w->skip.floats[p->head] * dy[k];
        d_skip += x[k] * dy[k];
    }
    p->j->d_beta[at] += d_step;
    p->j->d_decay[at] += d_fade * fade;
    p->j->d_skip[at] += d_skip;
}

/* All columns of the heads of part i % PARTS of group i / PARTS. */
static void each_columns(const pith__d_state *j, size_t i, void (*work)(const columns *p, float *scratch), float *scratch) {
    const pith__recurrent *w = j->w;
    size_t in_group = (size_t)(w->n_head / w->n_k_head), group = i / PARTS, part = i % PARTS, wide = wide_of(w);
    for (size_t h = in_group * part / PARTS; h < in_group * (part + 1) / PARTS; h++)
        for (size_t at = 0; at < wide; at += BLOCK_) {
            size_t head = group * in_group + h;
            columns p = { j, head, group, part, head * wide + at, wide - at < BLOCK_ ? (int)(wide - at) : BLOCK_ };
            work(&p, scratch);
        }
}

static void read_columns(const columns *p, float *s) {
    float y[BLOCK_];
    memset(s, 0, (size_t)p->j->w->dk * BLOCK_ * sizeof *s);
    for (size_t t = 0; t < p->j->n; t++) {
        scan_on(p, t, s, s);
        read_state(p, t, s, y);
        memcpy(p->j->d_in + t * (size_t)p->j->w->n_inner + p->at, y, (size_t)p->n * sizeof *y);
    }
}

static void d_columns(const columns *p, float *scratch) {
    pith__d_states walk = { scan_on, d_scan, p, (size_t)p->j->w->dk * BLOCK_, p->j->n };
    pith__d_walk(&walk, scratch);
}

static void read_part(const void *data, size_t i, uint8_t *scratch) { each_columns(data, i, read_columns, (float *)(void *)scratch); }
static void d_part_of_group(const void *data, size_t i, uint8_t *scratch) { each_columns(data, i, d_columns, (float *)(void *)scratch); }

/* The parts' sums of b and c become one, from the first to the last. */
static void sum_parts(const pith__d_state *j) {
    const pith__recurrent *w = j->w;
    size_t dk = (size_t)w->dk, groups = (size_t)w->n_k_head;
    for (size_t i = 0; i < j->n * groups; i++) {
        float *to = j->d_conv + i / groups * (size_t)w->n_conv + (size_t)w->n_inner + i % groups * dk;
        for (size_t k = 0; k < 2 * dk; k++) {
            float sum = 0;
            for (size_t part = 0; part < PARTS; part++) sum += j->room[(i * PARTS + part) * 2 * dk + k];
            to[k < dk ? k : k - dk + groups * dk] = sum;
        }
    }
}

/* Forward: step = softplus(raw + dt_bias), fade = e^(rate step). d_beta, the gradient of step, becomes that of raw, which
 * stands in a token's product behind d_conv's place. Those of weights are sums over the tokens. */
static void d_steps(const pith__d_block *b, const pith__d_state *j) {
    const pith__recurrent *w = j->w;
    float *g = b->tape->g, *d_rate = pith__grad(g, &w->rate), *d_bias = pith__grad(g, &w->dt_bias), *d_skip = pith__grad(g, &w->skip);
    size_t heads = (size_t)w->n_head;
    for (size_t i = 0; i < j->n * heads; i++) {
        size_t h = i % heads, at = i / heads * (size_t)w->n_in + (size_t)(w->n_inner + w->n_conv) + h;
        float step = b->a.mix_in[at], d = (j->d_beta[i] + j->d_decay[i] * w->rate.floats[h]) * -expm1f(-step);
        if (d_rate) d_rate[h] += j->d_decay[i] * step;
        if (d_skip) d_skip[h] += j->d_skip[i];
        if (d_bias) d_bias[h] += d;
        b->d.mix_in[at] = d;
    }
}

/* Forward: x, b and c = silu of the convolution. d_conv becomes the gradient of what is convolved, at its place in a token. */
static void d_silu_conv(const pith__d_block *b, const pith__d_state *j) {
    const pith__recurrent *w = j->w;
    size_t cols = (size_t)w->n_conv;
    float *g = b->tape->g, *d_bias = pith__grad(g, &w->conv_bias);
    for (size_t c = 0; c < cols; c++) pith__convolve_again(j, c, j->d_in + c);
    for (size_t i = 0; i < j->n * cols; i++) {
        float x = j->d_in[i], s = 1 / (1 + expf(-x));
        j->d_conv[i] *= s * (1 + x * (1 - s));
        if (d_bias) d_bias[i % cols] += j->d_conv[i];
    }
    pith__d_taps(j, pith__grad(g, &w->conv));
    for (size_t t = 0; t < j->n; t++)
        memcpy(b->d.mix_in + t * (size_t)w->n_in + (size_t)w->n_inner, j->d_in + t * cols, cols * sizeof *j->d_in);
}

/* Forward: inner = the norm, group by group, of y silu(z). y comes in d_in; d.inner becomes its gradient, and that of z goes
 * to its place. */
static void d_gate_and_norm(const pith__d_block *b, const pith__d_state *j) {
    const pith__recurrent *w = j->w;
    size_t inner = (size_t)w->n_inner, groups = (size_t)w->n_k_head;
    pith__norm norm = { .w = w->norm };
    norm.w.tensor.rows = groups, norm.w.tensor.cols = inner / groups;
    for (size_t i = 0; i < b->n * inner; i++) {
        float z = b->a.mix_in[i / inner * (size_t)w->n_in + i % inner];
        j->d_conv[i] = j->d_in[i] * z / (1 + expf(-z));
    }
    pith__d_norm(b->tape, j->room, b->d.inner, j->d_conv, &norm, b->n * groups, 0);
    for (size_t i = 0; i < b->n * inner; i++) {
        size_t at = i / inner * (size_t)w->n_in + i % inner;
        float z = b->a.mix_in[at], s = 1 / (1 + expf(-z)), d = j->room[i];
        b->d.mix_in[at] = d * j->d_in[i] * s * (1 + z * (1 - s));
        b->d.inner[i] = d * z * s;
    }
}

PITH_SHARED void pith__d_run_mamba(const pith__d_block *b) {
    const pith__recurrent *w = &b->layer->recurrent;
    const pith__tape *tape = b->tape;
    pith__acts a = b->a, d = b->d;
    size_t heads = b->n * (size_t)w->n_head, n_task = PARTS * (size_t)w->n_k_head;
    int worth_it = pith__worth_it(b->n * (size_t)(w->n_inner * w->dk));
    pith__d_state j = { .team = &tape->s->pass->team, .w = w, .a = &b->a, .dy = d.inner, .d_conv = d.conv, .d_in = d.conv_in,
                        .d_beta = tape->d_heads, .d_decay = tape->d_heads + heads, .d_skip = tape->d_heads + 2 * heads,
                        .room = tape->room, .n = b->n };
    pith__d_add_to_stream(b, a.o, d.o, &b->layer->attn_post_norm);
    pith__d_project(b, d.inner, d.o, &w->out, a.inner, b->n, 0);
    pith__share(j.team, n_task, worth_it, read_part, &j);
    d_gate_and_norm(b, &j);
    memset(j.d_beta, 0, 3 * heads * sizeof *j.d_beta);
    memset(j.room, 0, b->n * n_task * 2 * (size_t)w->dk * sizeof *j.room);
    pith__share(j.team, n_task, worth_it, d_part_of_group, &j);
    sum_parts(&j);
    d_steps(b, &j);
    d_silu_conv(b, &j);
    const float *xn = pith__d_normed(b, a.xn, a.x, &b->layer->attn_norm);
    pith__d_project(b, d.xn, d.mix_in, &w->in, xn, b->n, 0);
    pith__d_norm(tape, d.x, d.xn, a.x, &b->layer->attn_norm, b->n, 1);
}
