/* batch.c - the sequences of a step, several at once.
 *
 * A thread works best on a sequence of its own: it waits for nobody until the end. But two threads cannot
 * add to the same gradient without their order showing in its last bits. So a step has a few lanes, each with
 * a gradient of its own: sequence i goes to lane i % n_lane, a lane is the work of one thread at a time, and
 * in the end the lanes are summed, the first one first. How many there are depends on the model and the step
 * and not on the threads, and neither do the bits. A large model has one lane: there its sequences come one
 * after the other, and threads share each matrix instead. */
#include "train.h"

#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#define OMP(text) _Pragma(#text)
#else
#define OMP(text)
#define omp_get_thread_num() 0
#endif

enum { LANE_PIECE = 1 << 12 };

static void move_to_lane(float **g, size_t by) {
    if (*g) *g += by;
}

/* Where lane 0 has its gradients, by numbers further on. */
static int make_lane(pith__d_model *to, const pith__d_model *from, const pith_model *m, size_t by,
                     pith__arena *arena) {
    size_t n_layer = (size_t)m->hyper.n_layer;
    *to = *from;
    to->layer = pith__arena_new(arena, n_layer, sizeof *to->layer);
    if (!to->layer) return PITH_EMEMORY;
    move_to_lane(&to->embd, by), move_to_lane(&to->head, by), move_to_lane(&to->out_norm, by);
    for (size_t l = 0; l < n_layer; l++) {
        pith__d_layer *g = &to->layer[l];
        size_t n_ffn = m->layer[l].router.data ? (size_t)m->hyper.n_expert : 1;
        *g = from->layer[l];
        float **all[] = { &g->attn_norm, &g->attn_post_norm, &g->ffn_norm, &g->ffn_post_norm, &g->q_norm,
                          &g->k_norm, &g->q_bias, &g->k_bias, &g->v_bias, &g->o_bias, &g->q, &g->k, &g->v,
                          &g->o, &g->router };
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) move_to_lane(all[i], by);
        g->ffn = pith__arena_new(arena, n_ffn, sizeof *g->ffn);
        if (!g->ffn) return PITH_EMEMORY;
        for (size_t e = 0; e < n_ffn; e++) {
            g->ffn[e] = from->layer[l].ffn[e];
            move_to_lane(&g->ffn[e].gate, by), move_to_lane(&g->ffn[e].up, by);
            move_to_lane(&g->ffn[e].down, by);
        }
    }
    return PITH_OK;
}

static int lanes_used(const pith__params *p, int n_sequence) {
    return n_sequence < 1 ? 1 : n_sequence < p->n_lane ? n_sequence : p->n_lane;
}

PITH_SHARED void pith__batch_free(pith__batch *b) {
    if (!b) return;
    for (int i = 0; i < b->n_tape; i++) pith__tape_free(b->tape[i]);
    pith__arena_free(&b->arena);
    free(b);
}

PITH_SHARED pith__batch *pith__batch_new(const pith_model *m, pith__params *p, int n_ctx, int n_sequence,
                                         int recompute, pith_error *err) {
    pith__batch *b = calloc(1, sizeof *b);
    int code = b ? PITH_OK : PITH_EMEMORY;
    if (b) b->p = p, b->n_lane = lanes_used(p, n_sequence);
    for (int i = 0; !code && i < b->n_lane; i++)
        code = make_lane(&b->d[i], &p->d, m, (size_t)i * p->n, &b->arena);
    if (code) {
        pith__fail(err, PITH_EMEMORY, "%s: no memory to train", m->store.path);
        pith__batch_free(b);
        return NULL;
    }
    int n_thread = m->n_threads < b->n_lane ? m->n_threads : b->n_lane;
    for (; b->n_tape < n_thread; b->n_tape++) {
        pith__tape *y = pith__tape_new(m, &b->d[0], n_ctx, recompute, err);
        if (!y) {
            pith__batch_free(b);
            return NULL;
        }
        if (n_thread > 1) y->s->team.n_threads = 1;
        b->tape[b->n_tape] = y;
    }
    return b;
}

PITH_SHARED size_t pith__batch_size(const pith_model *m, const pith__params *p, int n_ctx, int n_sequence,
                                    int recompute) {
    int n_lane = lanes_used(p, n_sequence), n_thread = m->n_threads < n_lane ? m->n_threads : n_lane;
    return (size_t)n_lane * p->n * sizeof(float) + (size_t)n_thread * pith__tape_size(m, n_ctx, recompute);
}

PITH_SHARED void pith__batch_begin(pith__batch *b) {
    memset(b->loss, 0, sizeof b->loss);
    b->taken = 0;
    OMP(omp parallel for num_threads(b->n_tape))
    for (int i = 0; i < b->n_lane; i++) memset(b->p->g + (size_t)i * b->p->n, 0, b->p->n * sizeof(float));
}

/* The lane's part of n sequences. */
static int run_lane(pith__batch *b, int lane, const pith__sequence *s, int n, float scale, pith__loss *loss,
                    pith_error *err) {
    pith__tape *y = b->tape[omp_get_thread_num()];
    int code = PITH_OK, first = (int)((lane - b->taken % b->n_lane + b->n_lane) % b->n_lane);
    y->g = &b->d[lane];
    for (int i = first; i < n && !code; i += b->n_lane)
        code = scale == 0 ? pith__score(y, s[i].t, s[i].target, s[i].n, loss, err)
                          : pith__learn(y, s[i].t, s[i].target, s[i].n, scale, loss, err);
    return code;
}

static int run_lanes(pith__batch *b, const pith__sequence *s, int n, float scale, pith__loss *loss,
                     pith_error *err) {
    int code[PITH__LANES], first = PITH_OK;
    pith_error e[PITH__LANES];
    OMP(omp parallel for schedule(dynamic) num_threads(b->n_tape))
    for (int i = 0; i < b->n_lane; i++) code[i] = run_lane(b, i, s, n, scale, &loss[i], &e[i]);
    for (int i = 0; i < b->n_lane && !first; i++)
        if ((first = code[i]) != PITH_OK && err) *err = e[i];
    return first;
}

PITH_SHARED int pith__batch_learn(pith__batch *b, const pith__sequence *s, int n, float scale,
                                  pith_error *err) {
    int code = run_lanes(b, s, n, scale, b->loss, err);
    b->taken += n;
    return code;
}

PITH_SHARED int pith__batch_score(pith__batch *b, const pith__sequence *s, int n, pith__loss *loss,
                                  pith_error *err) {
    pith__loss each[PITH__LANES] = { { 0, 0 } };
    b->taken = 0;
    int code = run_lanes(b, s, n, 0, each, err);
    for (int i = 0; i < b->n_lane && !code; i++) loss->sum += each[i].sum, loss->n += each[i].n;
    return code;
}

PITH_SHARED void pith__batch_end(pith__batch *b, pith__loss *loss) {
    size_t n = b->p->n;
    for (int i = 0; i < b->n_lane; i++) loss->sum += b->loss[i].sum, loss->n += b->loss[i].n;
    if (b->n_lane == 1) return;
    OMP(omp parallel for num_threads(b->n_tape))
    for (size_t j = 0; j < n; j += LANE_PIECE)
        for (int i = 1; i < b->n_lane; i++) {
            float *to = b->p->g + j, *from = to + (size_t)i * n;
            for (size_t k = 0; k < LANE_PIECE && j + k < n; k++) to[k] += from[k];
        }
}

#undef OMP
#undef omp_get_thread_num
