/* recurrent.c - layers that remember in another way than attention: in a state of fixed size, which each token changes.
 *
 * A state belongs to a session and a layer, and holds what all tokens so far have left. Attention keeps every token's key
 * and value, so a text is taken back by lowering its position; a state cannot forget. So copies of all states are kept at
 * some places of the text (marks), a rewind comes back to one of these, and the tokens behind it are evaluated again.
 * A text begins with zeros, which its first token writes. */
#include "internal.h"

#include <string.h>

/* ---- the states of a session -------------------------------------------------------------------------- */

PITH_SHARED size_t pith__state_floats(const pith_model *m, int l) {
    const pith__recurrent *r = &m->layer[l].recurrent;
    if (m->layer[l].mixer == PITH__MAMBA) return pith__conv_floats(r) + (size_t)r->n_inner * (size_t)r->dk;
    if (m->layer[l].mixer != PITH__DELTA) return r->n_tap ? (size_t)(r->n_tap - 1) * (size_t)r->n_conv : 0;
    return pith__conv_floats(r) + (size_t)r->n_head * pith__delta_blocks(r->n_inner / r->n_head) * (size_t)r->dk * PITH__DELTA_COLUMNS;
}

PITH_SHARED size_t pith__conv_floats(const pith__recurrent *r) { /* in whole vectors */
    return ((size_t)(r->n_tap - 1) * (size_t)r->n_conv + 15) / 16 * 16;
}

PITH_SHARED size_t pith__states_floats(const pith_model *m) {
    size_t sum = 0;
    for (int l = 0; l < m->hyper.n_layer; l++) sum += (pith__state_floats(m, l) + 15) / 16 * 16;
    return sum;
}

/* As many as MARK_BYTES has room for, within limits: states are from some KB to some 10 MB. */
PITH_SHARED int pith__most_marks(const pith_model *m) {
    enum { LEAST = 4, MOST = 32, MARK_BYTES = 64 << 20 };
    size_t bytes = pith__states_floats(m) * sizeof(float), n = bytes ? MARK_BYTES / bytes : 0;
    return !bytes ? 0 : n < LEAST ? LEAST : n > MOST ? MOST : (int)n;
}

/* A place for a mark behind all others. Where there is none, that one goes whose place the others leave the smallest gap
 * at, measured by how far back it lies: marks become rarer towards the beginning. */
static void add_mark(pith_session *s, int position) {
    if (s->n_mark == s->most_mark) {
        int out = 0;
        double least = 0;
        for (int i = 0; i < s->n_mark; i++) {
            int before = i ? s->mark[i - 1].position : 0, behind = i + 1 < s->n_mark ? s->mark[i + 1].position : position;
            double gap = (double)(behind - before) / (position - s->mark[i].position);
            if (!i || gap < least) out = i, least = gap;
        }
        pith__state_mark freed = s->mark[out];
        memmove(s->mark + out, s->mark + out + 1, (size_t)(s->n_mark - 1 - out) * sizeof *s->mark);
        s->mark[--s->n_mark] = freed;
    }
    s->mark[s->n_mark++].position = position;
}

/* Every so many tokens, and before the last one of a prompt: with its logits wanted, that one is evaluated again. */
PITH_SHARED void pith__plan_marks(pith_session *s, int end, int goal) {
    enum { EVERY = 64 };
    int prompt = goal - s->position > 1;
    for (int u = s->position + 1; s->most_mark && u <= end; u++)
        if (u % EVERY == 0 || (prompt && u == goal - 1)) add_mark(s, u);
}

PITH_SHARED int pith__marked(const pith_session *s, int position) {
    if (!s->states || position >= s->position) return position;
    int i = s->n_mark;
    while (i > 0 && s->mark[i - 1].position > position) i--;
    return i ? s->mark[i - 1].position : 0;
}

PITH_SHARED void pith__restore_states(pith_session *s, int position) {
    while (s->n_mark && s->mark[s->n_mark - 1].position > position) s->n_mark--;
    if (s->n_mark && position) memcpy(s->states, s->mark[s->n_mark - 1].states, pith__states_floats(s->model) * sizeof(float));
}

/* ---- tokens one after the other ------------------------------------------------------------------------ */

PITH_SHARED size_t pith__until_mark(const pith_session *s, int position, size_t n, pith__state_mark **mark) {
    for (int i = 0; i < s->n_mark; i++) {
        int ahead = s->mark[i].position - position;
        if (ahead < 1 || (size_t)ahead > n) continue;
        *mark = &s->mark[i];
        return (size_t)ahead;
    }
    *mark = NULL;
    return n;
}

typedef struct {
    const pith__block *b;
    size_t n_row;        /* of a task */
    pith__task *then;    /* what is done with a token's row of conv while it is in a cache near by; NULL: nothing */
} rows_to_convolve;

static pith__convolution convolution_of(const pith__block *b, const pith__part *part) {
    const pith__recurrent *w = &b->layer->recurrent;
    size_t n = (size_t)w->n_conv, at = (size_t)part->first * n;
    return (pith__convolution){ .x = b->a.conv_in + at, .y = b->a.conv + at, .x_row = n, .n_channel = n, .n_tap = (size_t)w->n_tap,
                                .w = w->conv.floats, .bias = w->conv_bias.floats, .state = part->s->state[b->l] };
}

/* Some rows, which may be of several texts. */
static void convolve_rows(const void *data, size_t i, uint8_t *scratch) {
    const rows_to_convolve *k = data;
    const pith__block *b = k->b;
    size_t n = (size_t)b->n, r = i * k->n_row, end = n - r < k->n_row ? n : r + k->n_row;
    for (size_t stop; r < end; r = stop) {
        const pith__part *part = b->pass->part + b->pass->part_of[r];
        pith__convolution v = convolution_of(b, part);
        size_t first = (size_t)part->first, last = first + (size_t)part->n;
        stop = last < end ? last : end;
        b->pass->kernels->convolve(&v, r - first, stop - first);
        for (size_t t = r; t < stop && k->then; t++) k->then(b, t, scratch);
    }
}

/* What comes before the tokens of the next pass, and behind marks. */
static void keep_inputs(const pith__block *b, const pith__part *part) {
    pith_session *s = part->s;
    pith__convolution v = convolution_of(b, part);
    for (size_t t = 0; t < (size_t)part->n;) {
        pith__state_mark *mark;
        t += pith__until_mark(s, part->position + (int)t, (size_t)part->n - t, &mark);
        if (mark) pith__convolution_state(&v, t, mark->states + (v.state - s->states));
    }
    pith__convolution_state(&v, (size_t)part->n, v.state);
}

PITH_SHARED void pith__convolve_parts(const pith__block *b, pith__task *then) {
    enum { MOST_ROWS = 16 };
    const pith_pass *p = b->pass;
    const pith__recurrent *w = &b->layer->recurrent;
    size_t n = (size_t)b->n, share = n / (2 * (size_t)p->team.n_threads) + 1;
    rows_to_convolve k = { b, share < MOST_ROWS ? share : MOST_ROWS, then };
    for (int i = 0; i < p->n_part; i++)
        if (p->part[i].position == 0)
            memset(p->part[i].s->state[b->l], 0, (size_t)(w->n_tap - 1) * (size_t)w->n_conv * sizeof(float));
    pith__share(&p->team, (n + k.n_row - 1) / k.n_row, pith__worth_it(n * (size_t)w->n_conv * (size_t)w->n_tap), convolve_rows, &k);
    for (int i = 0; i < p->n_part; i++) keep_inputs(b, &p->part[i]);
}

/* ---- LFM2's short convolution ---------------------------------------------------------------------------- */

/* mix_in of a token is b, c and u, n_embd numbers each: b u is convolved, and c times that comes out. Liquid AI 2025,
 * arXiv:2511.23404. */
static void gate_in(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const pith__block *b = data;
    size_t n = (size_t)b->h->n_embd;
    const float *in = b->a.mix_in + t * 3 * n;
    for (size_t i = 0; i < n; i++) b->a.conv_in[t * n + i] = in[i] * in[2 * n + i];
}

static void gate_out(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    const pith__block *b = data;
    size_t n = (size_t)b->h->n_embd;
    const float *c = b->a.mix_in + t * 3 * n + n;
    for (size_t i = 0; i < n; i++) b->a.inner[t * n + i] = c[i] * b->a.conv[t * n + i];
}

PITH_SHARED void pith__run_shortconv(const pith__block *b, const float *x) {
    pith_pass *p = b->pass;
    const pith__recurrent *w = &b->layer->recurrent;
    pith__input in = pith__input_of(p, x, b->n, (size_t)b->h->n_embd);
    pith__project(p, b->a.mix_in, &w->in, &in, p->part_of);
    pith__each_token(b, gate_in);
    pith__convolve_parts(b, gate_out);
    in = pith__input_of(p, b->a.inner, b->n, w->out.tensor.cols);
    pith__project(p, b->a.o, &w->out, &in, p->part_of);
}
