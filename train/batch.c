/* batch.c - the sequences of a step, several at once.
 *
 * A thread works best on a sequence of its own: it waits for nobody until the end. But two threads
 * cannot add to the same gradient without their order showing in its last bits. So a step has a few
 * lanes, each with a gradient of its own: sequence i goes to lane i % n_lane, a lane is the work of
 * one thread at a time, and in the end the lanes are summed, the first one first. How many there
 * are depends on the model and the step and not on the threads, and neither do the bits. A large
 * model has one lane: there its sequences come one after the other, and threads share each matrix
 * instead. */
#include "train.h"

#include <stdlib.h>
#include <string.h>

enum { LANE_PART = 1 << 14 };

static int lanes_used(const pith__params *p, int n_sequence) {
    return n_sequence < 1 ? 1 : n_sequence < p->n_lane ? n_sequence : p->n_lane;
}

PITH_SHARED void pith__batch_free(pith__batch *b) {
    if (!b) return;
    for (int i = 0; i < b->n_tape; i++) pith__tape_free(b->tape[i]);
    free(b);
}

PITH_SHARED pith__batch *pith__batch_new(const pith_model *m, pith__params *p, int n_ctx,
                                         int n_sequence, int recompute, pith_error *err) {
    pith__batch *b = calloc(1, sizeof *b);
    if (!b) {
        pith__fail(err, PITH_EMEMORY, "%s: no memory to train", m->store.path);
        return NULL;
    }
    b->p = p;
    b->n_lane = lanes_used(p, n_sequence);
    int n_thread = m->n_threads < b->n_lane ? m->n_threads : b->n_lane;
    for (; b->n_tape < n_thread; b->n_tape++) {
        pith__tape *y = pith__tape_new(m, p->g, n_ctx, recompute, err);
        if (!y) {
            pith__batch_free(b);
            return NULL;
        }
        if (n_thread > 1) y->s->team.n_threads = 1;
        b->tape[b->n_tape] = y;
    }
    b->team = (pith__team){ b->n_tape, (uint8_t *)b->tape, sizeof *b->tape, NULL };
    return b;
}

PITH_SHARED size_t pith__batch_size(const pith_model *m, const pith__params *p, int n_ctx,
                                    int n_sequence, int recompute) {
    int n_lane = lanes_used(p, n_sequence),
        n_thread = m->n_threads < n_lane ? m->n_threads : n_lane;
    return (size_t)n_lane * p->n * sizeof(float) +
           (size_t)n_thread * pith__tape_size(m, n_ctx, recompute);
}

/* ---- a step ------------------------------------------------------------------------------ */

typedef struct {
    pith__batch *b;
    const pith__sequence *s;
    int n;
    float scale;      /* 0: nothing is learned */
    pith__loss *loss; /* (n_lane) */
    int code[PITH__LANES];
    pith_error err[PITH__LANES];
    pith__task *work;
    size_t n_task;
} lanes_job;

static void share_lanes(void *data) {
    const lanes_job *j = data;
    pith__share(&j->b->team, j->n_task, 1, j->work, j);
}

static void over_lanes(lanes_job *j, pith__task *work, size_t n_task) {
    j->work = work, j->n_task = n_task;
    pith__together(&j->b->team, share_lanes, j);
}

static void clear_lane(const void *data, size_t lane, uint8_t *scratch) {
    const lanes_job *j = data;
    pith__params *p = j->b->p;
    (void)scratch;
    memset(p->g + lane * p->n, 0, p->n * sizeof *p->g);
}

PITH_SHARED void pith__batch_begin(pith__batch *b) {
    lanes_job job = { .b = b };
    memset(b->loss, 0, sizeof b->loss);
    b->taken = 0;
    over_lanes(&job, clear_lane, (size_t)b->n_lane);
}

/* The lane's part of n sequences. A thread's scratch memory is where it finds its tape. */
static void run_lane(const void *data, size_t lane, uint8_t *scratch) {
    lanes_job *j = (lanes_job *)(uintptr_t)data; /* to write code[lane] and err[lane] */
    pith__batch *b = j->b;
    pith__tape *y;
    memcpy(&y, scratch, sizeof y);
    y->g = b->p->g + lane * b->p->n;
    for (int i = 0; i < j->n && !j->code[lane]; i++) {
        const pith__sequence *s = &j->s[i];
        if ((b->taken + i) % b->n_lane != (int64_t)lane) continue;
        j->code[lane] =
            j->scale == 0
                ? pith__score(y, s->t, s->target, s->n, &j->loss[lane], &j->err[lane])
                : pith__learn(y, s->t, s->target, s->n, j->scale, &j->loss[lane], &j->err[lane]);
    }
}

static int run_lanes(lanes_job *j, pith_error *err) {
    int code = PITH_OK;
    over_lanes(j, run_lane, (size_t)j->b->n_lane);
    for (int i = 0; i < j->b->n_lane && !code; i++)
        if ((code = j->code[i]) != PITH_OK && err) *err = j->err[i];
    return code;
}

PITH_SHARED int pith__batch_learn(pith__batch *b, const pith__sequence *s, int n, float scale,
                                  pith_error *err) {
    lanes_job job = { .b = b, .s = s, .n = n, .scale = scale, .loss = b->loss };
    int code = run_lanes(&job, err);
    b->taken += n;
    return code;
}

PITH_SHARED int pith__batch_score(pith__batch *b, const pith__sequence *s, int n, pith__loss *loss,
                                  pith_error *err) {
    pith__loss each[PITH__LANES] = { { 0, 0 } };
    lanes_job job = { .b = b, .s = s, .n = n, .loss = each };
    b->taken = 0;
    int code = run_lanes(&job, err);
    for (int i = 0; i < b->n_lane && !code; i++) loss->sum += each[i].sum, loss->n += each[i].n;
    return code;
}

static void sum_lanes(const void *data, size_t task, uint8_t *scratch) {
    const lanes_job *j = data;
    size_t n = j->b->p->n, from = task * LANE_PART,
           end = n - from < LANE_PART ? n : from + LANE_PART;
    float *g = j->b->p->g;
    (void)scratch;
    for (int lane = 1; lane < j->b->n_lane; lane++)
        for (size_t i = from; i < end; i++) g[i] += g[(size_t)lane * n + i];
}

PITH_SHARED void pith__batch_end(pith__batch *b, pith__loss *loss) {
    lanes_job job = { .b = b };
    for (int i = 0; i < b->n_lane; i++) loss->sum += b->loss[i].sum, loss->n += b->loss[i].n;
    if (b->n_lane > 1) over_lanes(&job, sum_lanes, (b->p->n + LANE_PART - 1) / LANE_PART);
}
