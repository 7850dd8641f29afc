/* team.c - threads that share out work, task by task.
 *
 * OpenMP starts the threads, once for each call of pith_eval; who works on what is settled here. A job is n
 * tasks; whoever is free takes the next one, and the job is done when all tasks are. So nobody waits for a
 * thread that another process keeps from running, only for the tasks it has begun: with OpenMP's own loops,
 * which wait for every thread at every loop, a busy second core cost a large model 98 % of its speed.
 *
 * Where the processors have other work, or are fewer than the threads, a call still waits until each thread has come and has
 * gone. What that takes is weighed against what the tasks of the others would have taken: where the team loses, the
 * caller works alone, ten times as long as was lost, and then tries again.
 *
 * Tasks do not know who works on them: what they compute depends on their number alone. */
#include "base.h"

#include <stdatomic.h>
#ifdef _OPENMP
#include <omp.h>
#endif

enum {
    SPIN = 1 << 17, /* looks for work, a fraction of a millisecond, before the processor is offered to others */
    LONG = 1 << 10  /* looks, some microseconds, after which a wait is timed */
};

struct pith__crew {
    _Atomic uint64_t ticket; /* number of the job << 32 | its next task */
    _Atomic size_t n, done;  /* tasks of the job, and how many of them are finished */
    _Atomic(pith__task *) work;
    _Atomic(const void *) data;
    atomic_int over;
    size_t n_own, n_all; /* tasks that the caller took; of all jobs */
    double waited;       /* seconds that the caller waited for the last tasks of jobs */
};

/* Takes a task and works on it; 0: there is none. The ticket only ever grows: if it is still the same when
 * the task is taken, then n, work and data were those of its job. */
static int take_task(pith__crew *c, uint8_t *scratch) {
    uint64_t t = atomic_load(&c->ticket);
    size_t i = (uint32_t)t;
    if (i >= atomic_load(&c->n)) return 0;
    pith__task *work = atomic_load(&c->work);
    const void *data = atomic_load(&c->data);
    if (!atomic_compare_exchange_strong(&c->ticket, &t, t + 1)) return 1; /* somebody was faster */
    work(data, i, scratch);
    atomic_fetch_add(&c->done, 1);
    return 1;
}

static void wait_a_little(int *looks) {
    if (++*looks > SPIN) pith__yield();
}

static void do_job(pith__crew *c, uint8_t *scratch, size_t n, pith__task *work, const void *data) {
    uint64_t job = (atomic_load(&c->ticket) >> 32) + 1;
    int looks = 0;
    atomic_store(&c->ticket, job << 32 | UINT32_MAX); /* nothing to take while it is written down */
    atomic_store(&c->n, n);
    atomic_store(&c->work, work);
    atomic_store(&c->data, data);
    atomic_store(&c->done, 0);
    atomic_store(&c->ticket, job << 32);
    while (take_task(c, scratch)) c->n_own++;
    c->n_all += n;
    double since = 0;
    while (atomic_load(&c->done) < n) {
        wait_a_little(&looks);
        if (looks == LONG) since = pith__seconds();
    }
    if (looks >= LONG) c->waited += pith__seconds() - since;
}

PITH_SHARED void pith__share(const pith__team *team, size_t n, int worth_it, pith__task *work,
                             const void *data) {
    if (team->crew && worth_it && n > 1 && n < UINT32_MAX) {
        do_job(team->crew, team->scratch, n, work, data);
        return;
    }
    for (size_t i = 0; i < n; i++) work(data, i, team->scratch);
}

#ifdef _OPENMP
/* The caller was at work for so many seconds of all that the call took. With the balance of earlier calls, which forgives
 * threads that are late now and then, that was a gain, or the caller works alone for a while. */
static void settle(pith__team *team, const pith__crew *c, double at_work, double all) {
    const double forgiven = 0.01, times = 10, nothing_to_share = 1;
    double own = at_work - c->waited, n_own = c->n_own ? (double)c->n_own : 1, n_others = (double)c->n_all - n_own;
    team->gain += (n_others > 0 ? own * n_others / n_own : 0) - (all - own);
    if (team->gain > forgiven) team->gain = forgiven;
    if (team->gain >= 0) return;
    team->alone = c->n_all ? -times * team->gain : nothing_to_share;
    team->gain = 0;
}

static void work_together(pith__team *team, void (*work)(void *), void *data) {
    pith__crew crew = { 0 };
    double start = pith__seconds(), at_work = 0;
    team->crew = &crew;
#pragma omp parallel num_threads(team->n_threads)
    {
        int me = omp_get_thread_num(), looks = 0;
        if (me == 0) {
            double begun = pith__seconds();
            work(data);
            atomic_store(&crew.over, 1);
            at_work = pith__seconds() - begun;
        }
        while (!atomic_load(&crew.over))
            if (take_task(&crew, team->scratch + (size_t)me * team->scratch_bytes)) looks = 0;
            else wait_a_little(&looks);
    }
    team->crew = NULL;
    settle(team, &crew, at_work, pith__seconds() - start);
}
#endif

PITH_SHARED void pith__together(pith__team *team, void (*work)(void *), void *data) {
    double start = 0;
#ifdef _OPENMP
    if (team->n_threads > 1 && !team->crew) {
        if (!(team->alone > 0)) {
            work_together(team, work, data);
            return;
        }
        start = pith__seconds();
    }
#endif
    work(data); /* the only way without OpenMP */
    if (start > 0) team->alone -= pith__seconds() - start;
}
