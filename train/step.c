/* step.c - the sequences of one step of training, several of them at once.
 *
 * A thread works best on a sequence of its own: it does not wait for others until the end. But when
 * two threads add to the same gradient, its last bits show which came first. So a step has a few
 * shards, each with a gradient of its own. Sequence i goes to shard i % n_shard, one thread at a time
 * works on a shard, and in the end the shards are summed, the first one first. How many there are
 * depends on the model and the step, not on the threads, so the bits do not depend on the threads.
 * A large model has one shard, or one tape for all of them: its sequences are learned one after the
 * other, and the threads share the rows of each matrix instead.
 *
 * Where two answers are compared they stay together: a thread has a tape for each, runs both forward, has
 * them judged, and only then goes back through both. */
#include "train.h"

#include <stdlib.h>
#include <string.h>

enum { SHARD_PART = 1 << 14, TAPE_BYTES = 1 << 30 };

static int group_of(const pith__step_plan *plan) { return plan->group > 1 ? PITH__GROUP : 1; }

static int shards_used(const pith__params *p, const pith__step_plan *plan) {
    int n = plan->n_sequence / group_of(plan);
    return n < 1 ? 1 : n < p->n_shard ? n : p->n_shard;
}

static size_t tapes_size(const pith_model *m, const pith__step_plan *plan) { /* of a thread */
    return (size_t)group_of(plan) * pith__tape_size(m, plan->n_ctx, plan->keep);
}

/* One for each thread; or, where these would take more than TAPE_BYTES, one, whose matrices the threads share. */
static int tapes_used(const pith_model *m, int n_shard, size_t bytes) {
    int n = m->n_threads < n_shard ? m->n_threads : n_shard;
    return n > 1 && bytes > (size_t)TAPE_BYTES / (size_t)n ? 1 : n;
}

static pith__tape *tape_at(const pith__step *step, int i) { return step->tape[i / step->group][i % step->group]; }

PITH_SHARED void pith__step_free(pith__step *step) {
    if (!step) return;
    for (int i = 0; i < step->n_tape * step->group; i++) pith__tape_free(tape_at(step, i));
    free(step);
}

PITH_SHARED pith__step *pith__step_new(const pith_model *m, pith__params *p, const pith__step_plan *plan, pith_error *err) {
    pith__step *step = calloc(1, sizeof *step);
    if (!step) {
        pith__fail(err, PITH_EMEMORY, "%s: no memory to train", m->store.path);
        return NULL;
    }
    step->p = p;
    step->group = group_of(plan);
    step->n_shard = shards_used(p, plan);
    step->n_tape = tapes_used(m, step->n_shard, tapes_size(m, plan));
    for (int i = 0; i < step->n_tape * step->group; i++) {
        pith__tape *tape = pith__tape_new(m, p->g, plan->n_ctx, plan->keep, err);
        if (!tape) {
            pith__step_free(step);
            return NULL;
        }
        if (step->n_tape > 1) tape->s->pass->team.n_threads = 1;
        tape->bf16 = p->bf16;
        step->tape[i / step->group][i % step->group] = tape;
    }
    step->team = (pith__team){ .n_threads = step->n_tape, .scratch = (uint8_t *)step->tape, .scratch_bytes = sizeof *step->tape };
    return step;
}

PITH_SHARED void pith__step_adapter(pith__step *step, const pith_adapter *a) {
    pith__adapted by = { .n = a != NULL, .of = { { a, 1 } }, .merged = step->p->n_rounded > 0 };
    for (int i = 0; i < step->n_tape * step->group; i++) tape_at(step, i)->s->adapted = by;
}

PITH_SHARED void pith__step_judge(pith__step *step, pith__judge *judge, void *of) {
    step->judge = judge;
    step->judge_of = of;
}

PITH_SHARED void pith__step_dropout(pith__step *step, float dropout, uint64_t seed) {
    step->dropout = dropout;
    step->dropout_seed = seed;
}

PITH_SHARED size_t pith__step_size(const pith_model *m, const pith__params *p, const pith__step_plan *plan) {
    int n_shard = shards_used(p, plan);
    size_t tapes = tapes_size(m, plan);
    return (size_t)n_shard * p->n * sizeof(float) + (size_t)tapes_used(m, n_shard, tapes) * tapes;
}

static void add_loss(pith__loss *to, const pith__loss *l) {
    to->sum += l->sum;
    to->n += l->n, to->n_right += l->n_right;
}

/* ---- a step ------------------------------------------------------------------------------ */

typedef struct {
    pith__step *step;
    const pith__sequence *s;
    int n;
    float scale;      /* 0: nothing is learned */
    pith__loss *loss; /* (n_shard) */
    int code[PITH__SHARDS];
    pith_error err[PITH__SHARDS];
    pith__task *work;
    size_t n_task;
} shards_job;

static void share_shards(void *data) {
    const shards_job *j = data;
    pith__share(&j->step->team, j->n_task, 1, j->work, j);
}

static void over_shards(shards_job *j, pith__task *work, size_t n_task) {
    j->work = work, j->n_task = n_task;
    pith__together(&j->step->team, share_shards, j);
}

static void clear_shard(const void *data, size_t shard, uint8_t *scratch) {
    const shards_job *j = data;
    pith__params *p = j->step->p;
    (void)scratch;
    memset(p->g + shard * p->n, 0, p->n * sizeof *p->g);
}

PITH_SHARED void pith__step_begin(pith__step *step) {
    shards_job job = { .step = step };
    memset(step->loss, 0, sizeof step->loss);
    step->taken = 0;
    over_shards(&job, clear_shard, (size_t)step->n_shard);
}

/* What is left out of what adapters get is a function of the sequence's number in the step. */
static void drop_for(const pith__step *step, pith__tape *tape, int64_t number, int learns) {
    tape->s->adapted.dropout = learns ? step->dropout : 0;
    tape->s->adapted.seed = pith__random_at(step->dropout_seed, (uint64_t)number);
}

/* The n sequences of a group forward, judged, and back. */
static int learn_group(const shards_job *j, pith__tape *const *tape, const pith__sequence *s, int n, int64_t number, size_t shard,
                       pith_error *err) {
    const pith__step *step = j->step;
    for (int k = 0; k < n; k++) {
        drop_for(step, tape[k], number + k, 1);
        int code = pith__forward_sequence(tape[k], &s[k], j->scale, &j->loss[shard], err);
        if (code) return code;
    }
    step->judge(step->judge_of, number, s, n);
    for (int k = 0; k < n; k++) pith__backward_sequence(tape[k], &s[k], j->scale);
    return PITH_OK;
}

/* The shard's part of n sequences. A thread's scratch memory is where it finds its tapes. */
static void run_shard(const void *data, size_t shard, uint8_t *scratch) {
    shards_job *j = (shards_job *)(uintptr_t)data; /* to write code[shard] and err[shard] */
    pith__step *step = j->step;
    pith__tape *tape[PITH__GROUP];
    memcpy(tape, scratch, sizeof tape);
    for (int k = 0; k < step->group; k++) tape[k]->g = step->p->g + shard * step->p->n;
    for (int i = 0, n; i < j->n && !j->code[shard]; i += n) {
        const pith__sequence *s = &j->s[i];
        int64_t number = step->taken + i;
        n = step->group < j->n - i ? step->group : j->n - i;
        if (number / step->group % step->n_shard != (int64_t)shard) continue;
        if (step->judge && j->scale != 0) {
            j->code[shard] = learn_group(j, tape, s, n, number, shard, &j->err[shard]);
            continue;
        }
        for (int k = 0; k < n && !j->code[shard]; k++) {
            drop_for(step, tape[k], number + k, j->scale != 0);
            j->code[shard] = pith__run_sequence(tape[k], &s[k], j->scale, &j->loss[shard], &j->err[shard]);
        }
    }
}

static int run_shards(shards_job *j, pith_error *err) {
    int code = PITH_OK;
    over_shards(j, run_shard, (size_t)j->step->n_shard);
    for (int i = 0; i < j->step->n_shard && !code; i++)
        if ((code = j->code[i]) != PITH_OK && err) *err = j->err[i];
    return code;
}

PITH_SHARED int pith__step_learn(pith__step *step, const pith__sequence *s, int n, float scale,
                                 pith_error *err) {
    shards_job job = { .step = step, .s = s, .n = n, .scale = scale, .loss = step->loss };
    if (scale == 0) return pith__fail(err, PITH_EARG, "a gradient taken 0 times");
    int code = run_shards(&job, err);
    step->taken += n;
    return code;
}

PITH_SHARED int pith__step_score(pith__step *step, const pith__sequence *s, int n, pith__loss *loss,
                                 pith_error *err) {
    pith__loss each[PITH__SHARDS] = { { 0, 0, 0 } };
    shards_job job = { .step = step, .s = s, .n = n, .loss = each };
    step->taken = 0;
    int code = run_shards(&job, err);
    for (int i = 0; i < step->n_shard && !code; i++) add_loss(loss, &each[i]);
    return code;
}

static void sum_shards(const void *data, size_t task, uint8_t *scratch) {
    const shards_job *j = data;
    size_t n = j->step->p->n, from = task * SHARD_PART,
           end = n - from < SHARD_PART ? n : from + SHARD_PART;
    float *g = j->step->p->g;
    (void)scratch;
    for (int shard = 1; shard < j->step->n_shard; shard++)
        for (size_t i = from; i < end; i++) g[i] += g[(size_t)shard * n + i];
}

PITH_SHARED void pith__step_end(pith__step *step, pith__loss *loss) {
    shards_job job = { .step = step };
    for (int i = 0; i < step->n_shard; i++) add_loss(loss, &step->loss[i]);
    if (step->n_shard > 1) over_shards(&job, sum_shards, (step->p->n + SHARD_PART - 1) / SHARD_PART);
}
