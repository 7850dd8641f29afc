/* adamw.c - the optimizer, gradients -> better weights: AdamW, Loshchilov and Hutter 2019, arXiv:1711.05101.
 *
 * A weight moves against the running mean of its gradient, divided by the root of the running mean of
 * the gradient's square. So every weight moves by about the learning rate, however large its gradient
 * is. Weight decay also pulls matrices towards zero. Schedules of the learning rate have the names that
 * Hugging Face gives them.
 *
 * A task for a thread is PART numbers; sums run over the tasks in their order. */
#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PART = 1 << 14, TASKS = 256 };

static double sum_of_squares(const float *x, size_t n) {
    double s[16] = { 0 };
    for (; n >= 16; x += 16, n -= 16)
        for (size_t k = 0; k < 16; k++) s[k] += (double)x[k] * x[k];
    for (size_t k = 0; k < n; k++) s[k] += (double)x[k] * x[k];
    for (size_t half = 8; half > 0; half /= 2)
        for (size_t k = 0; k < half; k++) s[k] += s[k + half];
    return s[0];
}

typedef struct {
    const pith__params *p;
    size_t at;
    double each[TASKS], sum;
} norm_job;

static void norm_task(const void *data, size_t i, uint8_t *scratch) {
    norm_job *j = (norm_job *)(uintptr_t)data; /* to write each[i] */
    size_t from = j->at + i * PART, left = j->p->n - from;
    (void)scratch;
    j->each[i] = sum_of_squares(j->p->g + from, left < PART ? left : PART);
}

static void sum_tasks(void *data) {
    norm_job *j = data;
    for (j->at = 0; j->at < j->p->n; j->at += (size_t)PART * TASKS) {
        size_t left = (j->p->n - j->at + PART - 1) / PART, n = left < TASKS ? left : TASKS;
        pith__share(&j->p->team, n, 1, norm_task, j);
        for (size_t i = 0; i < n; i++) j->sum += j->each[i];
    }
}

PITH_SHARED double pith__grad_norm(pith__params *p) {
    norm_job job = { .p = p };
    if (p->n > 2 * PART) pith__together(&p->team, sum_tasks, &job);
    else sum_tasks(&job);
    return sqrt(job.sum);
}

typedef struct { /* one step, the same for every weight: w = keep * w - rate * m / (sqrt(v) + eps) */
    float beta1, beta2, clip;
    float rate, eps; /* with the bias corrections of m and v in them */
    float keep;      /* what weight decay leaves of a weight */
} update;

/* m and v begin at 0, so after t steps they are small by 1 - beta^t: Kingma and Ba 2015,
 * arXiv:1412.6980, section 2, the more efficient order at its end. */
static update update_of(const pith__adamw *a, double lr, double clip) {
    double fix1 = 1 - pow(a->beta1, (double)a->step);
    double fix2 = sqrt(1 - pow(a->beta2, (double)a->step));
    return (update){ .beta1 = a->beta1, .beta2 = a->beta2, .clip = (float)clip,
                     .rate = (float)(lr * fix2 / fix1), .eps = (float)(a->eps * fix2),
                     .keep = (float)(1 - lr * a->weight_decay) };
}

static void move(const update *u, float *w, const float *g, float *m, float *v, size_t n,
                 float keep) {
    for (size_t i = 0; i < n; i++) {
        float d = u->clip * g[i];
        m[i] = u->beta1 * m[i] + (1 - u->beta1) * d;
        v[i] = u->beta2 * v[i] + (1 - u->beta2) * d * d;
        w[i] = keep * w[i] - u->rate * m[i] / (sqrtf(v[i]) + u->eps);
    }
}

typedef struct {
    const pith__adamw *a;
    pith__params *p;
    update u;
    const pith__param *q; /* the parameter being updated */
} step_job;

static void step_task(const void *data, size_t i, uint8_t *scratch) {
    const step_job *j = data;
    const pith__param *q = j->q;
    size_t from = i * PART, n = q->n - from < PART ? q->n - from : PART;
    size_t at = (size_t)(q->g - j->p->g) + from;
    (void)scratch;
    move(&j->u, q->w + from, q->g + from, j->a->m + at, j->a->v + at, n,
         q->decay ? j->u.keep : 1);
}

static void step_all(void *data) {
    step_job *j = data;
    for (size_t i = 0; i < j->p->n_param; i++) {
        j->q = &j->p->param[i];
        pith__share(&j->p->team, (j->q->n + PART - 1) / PART, 1, step_task, j);
    }
}

PITH_SHARED void pith__adamw_step(pith__adamw *a, pith__params *p, double lr, double clip) {
    a->step++;
    step_job job = { a, p, update_of(a, lr, clip), NULL };
    if (p->n > 2 * PART) pith__together(&p->team, step_all, &job);
    else step_all(&job);
    pith__params_round(p);
}

/* ---- the learning rate ------------------------------------------------------------------- */

PITH_SHARED int pith__schedule_named(const char *name) {
    static const struct {
        const char *name;
        int schedule;
    } names[] = {
        { "constant", PITH__CONSTANT },
        { "constant_with_warmup", PITH__CONSTANT },
        { "linear", PITH__LINEAR },
        { "cosine", PITH__COSINE },
        { "cosine_with_min_lr", PITH__COSINE },
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i].name)) return names[i].schedule;
    return -1;
}

PITH_SHARED double pith__schedule(int schedule, int64_t step, int64_t warmup, int64_t total,
                                  double least) {
    if (step < warmup) return (double)step / (double)warmup;
    if (schedule == PITH__CONSTANT) return 1;
    double done = total > warmup ? (double)(step - warmup) / (double)(total - warmup) : 1;
    if (done > 1) done = 1;
    double left =
        schedule == PITH__LINEAR ? 1 - done : 0.5 * (1 + cos(3.14159265358979323846 * done));
    return least + (1 - least) * left;
}
