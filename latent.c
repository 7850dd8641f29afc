/* latent.c - multi-head latent attention: a token's keys and values of all heads are one short row of numbers.
 *
 * DeepSeek-AI 2024, arXiv:2405.04434. A matrix makes of a token a latent of R numbers and o numbers more, which are
 * rotated by its position; they are all that the cache holds. Head h has a matrix K (n, R) that would make n numbers
 * of a key of the latent, and V (v, R) that would make a value. Neither is ever made:
 *     (K latent) . q = latent . (K' q)    and    sum p (V latent) = V (sum p latent)
 * so a query goes through K' ("absorbed"), and meets latents as if all heads had one key of R + o numbers, whose first
 * R are the value; V comes after the sum. The same for one token and for many: the bits are the same. */
#include "internal.h"

#include <string.h>

PITH_SHARED int pith__latent_groups(int n_head) {
    int n = 4; /* heads: as many as a kernel reads a key for at once */
    while (n_head % n) n--;
    return n_head / n;
}

static void norm_latent(const pith__block *b, float *x, const pith__norm *w) { /* in place */
    b->pass->kernels->rmsnorm(x, x, w->w.floats, w->w.tensor.cols, b->h->latent.eps);
}

static void norm_low_q(const void *data, size_t t, uint8_t *scratch) {
    const pith__block *b = data;
    (void)scratch;
    norm_latent(b, b->a.low_q + t * (size_t)b->h->latent.q_rank, &b->layer->latent.q_a_norm);
}

/* The latent of row t is normed, what is beside it rotated, and both go to the cache. */
static void finish_key(const pith__block *b, size_t t) {
    const pith__layer *w = b->layer;
    const pith__part *part = b->pass->part + b->pass->part_of[t];
    const pith_session *s = part->s;
    float *k = b->a.k + t * (size_t)w->head_dim;
    norm_latent(b, k, &w->latent.kv_a_norm);
    b->pass->kernels->rope(k + b->h->latent.rank, b->pass->rope_table[w->rope] + t * (size_t)w->n_rot, w->n_rot, 0);
    pith__cache_value(s->v_format, s->v[b->l], w->head_dim, (part->position + (int)t - part->first) % s->n_slot, k);
}

/* Of each head the first n numbers of a query go to where the product with K' has its input, the others, rotated, to
 * behind its output. */
static void finish_query(const pith__block *b, size_t t) {
    const pith__layer *w = b->layer;
    size_t n_head = (size_t)w->n_head, n_rot = (size_t)w->n_rot, n = (size_t)b->h->latent.n_nope, rank = (size_t)b->h->latent.rank;
    const float *angles = b->pass->rope_table[w->rope] + t * n_rot;
    float *q = b->a.heads_q + t * n_head * (n + n_rot), *to = b->a.q + t * n_head * (rank + n_rot);
    pith__temper(b->pass, q, n_head * (n + n_rot), t);
    for (size_t h = 0; h < n_head; h++, q += n + n_rot, to += rank + n_rot) {
        memcpy(b->a.k_in + (h * (size_t)b->n + t) * n, q, n * sizeof *q);
        memcpy(to + rank, q + n, n_rot * sizeof *q);
        b->pass->kernels->rope(to + rank, angles, (int)n_rot, 0);
    }
}

static void finish_latent_row(const void *data, size_t t, uint8_t *scratch) {
    (void)scratch;
    finish_key(data, t);
    finish_query(data, t);
}

/* What attention gives, head by head. */
static void gather_heads(const void *data, size_t t, uint8_t *scratch) {
    const pith__block *b = data;
    size_t n_head = (size_t)b->layer->n_head, rank = (size_t)b->h->latent.rank;
    (void)scratch;
    for (size_t h = 0; h < n_head; h++)
        memcpy(b->a.v_in + (h * (size_t)b->n + t) * rank, b->a.attn + (t * n_head + h) * rank, rank * sizeof(float));
}

/* y, of a token (n_head, width) of which each head writes the first numbers, = each head's x through its rows of w. */
static void multiply_heads(const pith__block *b, float *y, size_t width, const pith__weight *w, const float *x) {
    size_t n_head = (size_t)b->layer->n_head;
    pith__input in = pith__input_of(b->pass, x, b->n * (int)n_head, w->tensor.cols);
    pith__heads heads = { y, width, n_head * width, &w->tensor, &in, (int)n_head };
    pith__matmul_heads(b->pass->kernels, &b->pass->team, &heads);
}

/* The attention of a part of the pass, on its own text. Groups of heads are separate work, though they read the same. */
static pith__attention latent_attention(const pith__block *b, const pith__part *part) {
    const pith__layer *w = b->layer;
    const pith_session *s = part->s;
    size_t at = (size_t)part->first * (size_t)w->n_head, rank = (size_t)b->h->latent.rank;
    return (pith__attention){
        .q = b->a.q + at * (size_t)w->head_dim, .y = b->a.attn + at * rank, .v = s->v[b->l], .latent = (int)rank,
        .k_format = s->k_format, .v_format = s->v_format, .n = part->n, .position = part->position,
        .n_head = w->n_head, .n_kv_head = pith__latent_groups(w->n_head), .head_dim = w->head_dim, .n_slot = s->n_slot,
        .mask = w->mask, .scale = b->h->attn_scale,
    };
}

PITH_SHARED void pith__run_latent(const pith__block *b, const float *x) {
    const pith__layer *w = b->layer;
    pith_pass *p = b->pass;
    pith__acts a = b->a;
    pith__input in = pith__input_of(p, x, b->n, (size_t)b->h->n_embd);
    pith__project(p, a.k, &w->latent.kv_a, &in, p->part_of);
    if (b->h->latent.q_rank) {
        pith__project(p, a.low_q, &w->latent.q_a, &in, p->part_of);
        pith__each_token(b, norm_low_q);
        in = pith__input_of(p, a.low_q, b->n, (size_t)b->h->latent.q_rank);
    }
    pith__project(p, a.heads_q, &w->q, &in, p->part_of);
    pith__each_token(b, finish_latent_row);
    multiply_heads(b, a.q, (size_t)w->head_dim, &w->latent.k_b, a.k_in);
    for (int i = 0; i < p->n_part; i++) p->attend[i] = latent_attention(b, p->part + i);
    pith__attend(p->kernels, &p->team, p->attend, p->n_part, p->attend_parts);
    pith__each_token(b, gather_heads);
    multiply_heads(b, a.heads, (size_t)b->h->latent.n_value, &w->latent.v_b, a.v_in);
    in = pith__input_of(p, a.heads, b->n, w->o.tensor.cols);
    pith__project(p, a.o, &w->o, &in, p->part_of);
}
