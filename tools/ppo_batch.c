/* ppo_batch.c - what run ppo learns from: completions of prompts, their scores, and what their tokens brought.
 *
 * A batch is a function of the seed, its number and the weights, so between two batches a checkpoint has none of it. In the
 * middle of one the weights are others than those that drew it, and the checkpoint has its completions, with the
 * log-probabilities and the values as they were then. */
#define _POSIX_C_SOURCE 200809L
#include "ppo.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void ppo_free_batch(ppo_batch *b) {
    rollouts_free(&b->x);
    *b = (ppo_batch){ .number = -1 };
}

static int no_memory(int n) { return complain(FAILED, "no memory for %d completions", n); }

/* ---- what is known of completions -------------------------------------------------------------- */

static int make_room(ppo_batch *b) {
    b->a = pith__arena_new(&b->x.arena, (size_t)b->x.n, sizeof *b->a);
    b->e = pith__arena_new(&b->x.arena, (size_t)b->x.n, sizeof *b->e);
    for (int i = 0; i < b->x.n && b->a && b->e; i++) {
        size_t k = (size_t)b->x.r[i].n;
        float *room = pith__arena_new(&b->x.arena, 5 * k, sizeof *room);
        if (!room) return no_memory(b->x.n);
        b->a[i] = (ppo_answer){ room, room + k, room + 2 * k, room + 3 * k, room + 4 * k };
    }
    return b->a && b->e ? 0 : no_memory(b->x.n);
}

/* Only the completion's own tokens count. */
void ppo_row(const ppo_run *p, const rollout *r, const sequence_room *room, pith__sequence *to) {
    int n = r->n_prompt + r->n - 1;
    size_t each = (size_t)p->s.t.n_ctx + 1;
    float *x = room->number;
    for (int i = 0; i < n; i++) room->token[i] = i < r->n_prompt - 1 ? -1 : r->t[i + 1];
    memset(x + 3 * each, 0, 2 * each * sizeof *x);
    *to = (pith__sequence){ .t = r->t, .target = room->token, .n = n, .temperature = p->o->temperature, .head = &p->head,
                            .logp = x, .value = x + each, .entropy = x + 2 * each, .slope = x + 3 * each,
                            .value_slope = x + 4 * each };
}

/* All completions through step: log-probabilities into ref, or, of the policy, values into value. *off: the first one with
 * other log-probabilities than it was drawn with, or -1. */
static int run_rows(ppo_run *p, pith__step *step, const ppo_batch *b, int values, int *off) {
    trainer *t = &p->s.t;
    pith_error e = { 0, "" };
    *off = -1;
    for (int i = 0, wave; i < b->x.n; i += wave) {
        pith__sequence s[WAVE];
        pith__loss loss = { 0, 0, 0 };
        wave = trainer_wave(t, b->x.n - i);
        for (int k = 0; k < wave; k++) {
            const sequence_room room = trainer_room(t, k);
            ppo_row(p, &b->x.r[i + k], &room, &s[k]);
        }
        if (pith__step_score(step, s, wave, &loss, &e)) return complain(FAILED, "%s", e.text);
        if (stopped()) return stopped();
        for (int k = 0; k < wave; k++) {
            const rollout *r = &b->x.r[i + k];
            const ppo_answer *a = &b->a[i + k];
            size_t from = (size_t)r->n_prompt - 1, bytes = (size_t)r->n * sizeof(float);
            memcpy(values ? a->value : a->ref, (values ? s[k].value : s[k].logp) + from, bytes);
            if (*off < 0 && memcmp(s[k].logp + from, r->logp, bytes) != 0) *off = i + k;
        }
    }
    return 0;
}

static int has_values(const ppo_batch *b) {
    for (int i = 0; i < b->x.n; i++)
        if (!b->x.r[i].value) return 0;
    return 1;
}

/* What the reference and the values find. drawn: by the policy as it is now, which must find what it was drawn with. */
static int look_at(ppo_run *p, const ppo_batch *b, int drawn) {
    trainer *t = &p->s.t;
    int off = -1, known = has_values(b);
    if (!p->base) pith__step_adapter(t->step, NULL);
    int code = run_rows(p, p->base ? p->ref : t->step, b, 0, &off);
    if (!p->base) pith__step_adapter(t->step, p->s.adapter);
    if (!code && !known) code = run_rows(p, t->step, b, 1, &off);
    for (int i = 0; i < b->x.n && !code; i++) {
        if (known) memcpy(b->a[i].value, b->x.r[i].value, (size_t)b->x.r[i].n * sizeof(float));
        b->x.r[i].value = b->a[i].value; /* to be written */
    }
    if (!code && drawn && off >= 0)
        code = complain(FAILED, "completion %d of batch %lld: training finds other probabilities than it was drawn with", off,
                        (long long)b->number);
    return code;
}

/* All that is known of a batch before it is learned from. */
static int weigh(ppo_run *p, ppo_batch *b, int drawn) {
    int code = make_room(b);
    if (!code) code = look_at(p, b, drawn);
    if (code) return code;
    b->n_ended = 0;
    for (int i = 0; i < b->x.n; i++) {
        const rollout *r = &b->x.r[i];
        const ppo_answer *a = &b->a[i];
        double score = r->reward - (r->truncated ? (double)p->o->penalty : 0);
        b->n_ended += !r->truncated;
        b->e[i] = (pith__episode){ r->n, r->n, score, r->logp, a->ref, a->value, a->reward, a->advantage, a->ret };
    }
    pith__ppo_advantages(&p->how, b->e, (size_t)b->x.n, &b->mean);
    return 0;
}

/* ---- drawing ----------------------------------------------------------------------------------- */

/* The prompt of completion i, counted from the run's first on: all in turn, each time in another order. */
static const task *task_of(const ppo_run *p, int64_t i) {
    uint64_t n = (uint64_t)p->s.n_unit, at = (uint64_t)i % n, seed = pith__random_at(p->s.t.o->seed, (uint64_t)i / n);
    return &p->tasks.task[strcmp(p->s.o->sampling, "sequential") ? pith__shuffled(seed, n, at) : at];
}

/* Completions of n prompts, each by random numbers of its own, and their scores. */
static int complete(ppo_run *p, rollouts *to, const request_prompt *prompt, int n, const rollout_plan *plan) {
    double *score = calloc((size_t)n, sizeof *score);
    p->s.t.shown.what = "completions";
    int code = score ? rollouts_sample(to, plan, prompt, n) : no_memory(n);
    if (!code) code = reward_model_score(&p->judge, to, score, plan->shown);
    for (int i = 0; i < n && !code; i++) to->r[i].reward = score[i];
    free(score);
    return code;
}

enum { TRIED = 16 }; /* tokens of a completion in a dry run */

static rollout_plan plan_of(ppo_run *p, int64_t number, uint64_t kind) {
    trainer *t = &p->s.t;
    int most = p->o->max_completion, rows = t->o->batch * t->o->accumulate;
    return (rollout_plan){ .m = t->m, .adapter = p->s.adapter, .temperature = p->o->temperature, .n_each = 1,
                           .max_length = t->o->dry_run && most > TRIED ? TRIED : most, .first_group = number * rows,
                           .seed = pith__random_at(pith__random_at(t->o->seed, kind), (uint64_t)number), .shown = &t->shown };
}

static int draw(ppo_run *p, ppo_batch *b) {
    int n = p->s.t.o->batch * p->s.t.o->accumulate;
    const rollout_plan plan = plan_of(p, b->number, PPO_DRAWS);
    if (p->o->rollouts) {
        b->x = p->given;
        p->given = (rollouts){ 0 };
        return 0;
    }
    request_prompt *prompt = calloc((size_t)n, sizeof *prompt);
    if (!prompt) return no_memory(n);
    for (int i = 0; i < n; i++) prompt[i] = task_of(p, b->number * n + i)->prompt;
    int code = complete(p, &b->x, prompt, n, &plan);
    free(prompt);
    return code;
}

/* At every evaluation the same prompts and random numbers. */
int ppo_score_held_out(trainer *t, double *loss) {
    ppo_run *p = ppo_of(t);
    const task *from = t->o->eval ? p->held_out.task : p->tasks.task + p->s.n_unit;
    int n = t->n_eval < t->o->max_eval ? t->n_eval : t->o->max_eval;
    rollout_plan plan = plan_of(p, 0, PPO_EVAL);
    rollouts x = { .n = 0 };
    *loss = (double)NAN;
    if (!n) return 0;
    request_prompt *prompt = calloc((size_t)n, sizeof *prompt);
    plan.shown = NULL;
    for (int i = 0; prompt && i < n; i++) prompt[i] = from[(int64_t)i * t->n_eval / n].prompt;
    int code = prompt ? complete(p, &x, prompt, n, &plan) : no_memory(n);
    p->eval_score = 0;
    for (int i = 0; i < x.n; i++) p->eval_score += x.r[i].reward / n;
    if (!code) *loss = -p->eval_score;
    rollouts_free(&x), free(prompt);
    return code;
}

/* ---- what goes wrong in practice ------------------------------------------------------------------ */

enum { SAID_FAR = 1, SAID_NEGATIVE = 2, SAID_EQUAL = 4, SAID_CUT = 8 };

/* 1: it was not said before; the line then begins with the batch. */
static int first_time(ppo_run *p, int what, const ppo_batch *b) {
    if (p->said & what) return 0;
    p->said |= what;
    fprintf(stderr, "%spith: batch %lld: ", p->s.t.terminal ? "\r\033[K" : "", (long long)b->number + 1);
    return 1;
}

static int same_scores(const ppo_batch *b) {
    for (int i = 1; i < b->x.n; i++)
        if (b->e[i].score < b->e[0].score || b->e[i].score > b->e[0].score) return 0;
    return 1;
}

static void warn_of(ppo_run *p, const ppo_batch *b) {
    double tokens = 0, kl;
    int n = b->x.n, cut = n - b->n_ended;
    for (int i = 0; i < n; i++) tokens += b->x.r[i].n;
    kl = b->mean.kl * n / tokens;
    if (kl > 0.5 && first_time(p, SAID_FAR, b))
        fprintf(stderr, "the policy runs away from the reference (KL %.2f a token, %.1f a completion): need a greater "
                "--kl_coef or a smaller --learning_rate\n", kl, b->mean.kl);
    if (kl < -0.1 && first_time(p, SAID_NEGATIVE, b))
        fprintf(stderr, "KL is %.2f a token, which a policy's own draws do not have: were the completions drawn by another, or "
                "at another --temperature?\n", kl);
    if (n > 1 && same_scores(b) && first_time(p, SAID_EQUAL, b))
        fprintf(stderr, "all %d completions have the same score, %g: nothing is learned from them but the penalty\n", n,
                b->e[0].score);
    if (2 * cut > n && !(p->o->penalty > 0) && first_time(p, SAID_CUT, b))
        fprintf(stderr, "%d of %d completions were cut and are scored as they are: a larger --response_length lets them end, "
                "--missing_eos_penalty teaches them to\n", cut, n);
}

/* ---- batches -------------------------------------------------------------------------------------- */

/* Until the next batch is there, the one before it stays. */
int ppo_prepare(trainer *t, int64_t step) {
    ppo_run *p = ppo_of(t);
    ppo_batch next = { .number = p->o->rollouts ? 0 : step / p->steps };
    if (p->b.number == next.number) return 0;
    int code = draw(p, &next);
    if (!code) code = weigh(p, &next, !p->o->rollouts);
    if (code) return ppo_free_batch(&next), code;
    ppo_free_batch(&p->b);
    p->b = next;
    warn_of(p, &p->b);
    return p->dump.file ? rollouts_write(&p->b.x, &p->dump) : 0;
}

static int batch_path(const char *folder, size_t n, char *path, size_t size) {
    int got = snprintf(path, size, "%.*s/rollouts.jsonl", (int)n, folder);
    return got > 0 && (size_t)got < size ? 0 : complain(FAILED, "%s: the name is too long", folder);
}

int ppo_write_batch(const ppo_run *p, const char *folder) {
    char path[4096];
    output o;
    int code = batch_path(folder, strlen(folder), path, sizeof path);
    if (!code) code = output_open(&o, path, NULL);
    if (code) return code;
    code = rollouts_write(&p->b.x, &o);
    int closed = output_close(&o, !code);
    return code ? code : closed;
}

int ppo_read_batch(ppo_run *p) {
    trainer *t = &p->s.t;
    char path[4096];
    const char *slash = strrchr(t->from.path, '/');
    int rows = t->o->batch * t->o->accumulate;
    ppo_batch b = { .number = p->o->rollouts ? 0 : t->adam.step / p->steps };
    int code = batch_path(slash ? t->from.path : ".", slash ? (size_t)(slash - t->from.path) : 1, path, sizeof path);
    if (!code) code = rollouts_read(&b.x, path, t->m->hyper.n_vocab);
    if (!code && (b.x.n != rows || b.x.longest > t->n_ctx + 1))
        code = complain(BAD_DATA, "%s: has %d completions of up to %d tokens, need %d of %d at most", path, b.x.n, b.x.longest,
                        rows, t->n_ctx + 1);
    if (!code) code = weigh(p, &b, 0);
    if (code) return ppo_free_batch(&b), code;
    rollouts_free(&p->given);
    p->b = b;
    return 0;
}
