/* experience.c - what run grpo learns from: completions of prompts, what they are worth, and what is said about them.
 *
 * A batch of completions is a function of the seed, its number and the weights, so it is never saved: it is sampled
 * again. But where several steps learn from one batch, the weights are others after the first of them, and a checkpoint
 * then has the batch beside it. */
#define _POSIX_C_SOURCE 200809L
#include "grpo.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int64_t grpo_steps_once(const grpo_run *r) {
    return r->o->rollouts ? 1 : r->o->per_generation / r->s.t.o->accumulate;
}

int64_t grpo_steps_each(const grpo_run *r) { return grpo_steps_once(r) * (r->o->rollouts ? 1 : r->o->iterations); }

static void free_texts(const pith__str *text, int n) {
    for (int i = 0; text && i < n; i++) free((char *)(uintptr_t)text[i].p);
}

void grpo_free_batch(grpo_batch *b) {
    free_texts(b->text, b->now.n);
    rollouts_free(&b->now);
    memset(b, 0, sizeof *b);
}

static int no_memory(int n) { return complain(FAILED, "no memory for %d completions", n); }

/* ---- prompts ------------------------------------------------------------------------------------- */

/* Prompt number j of a batch: all in turn, each time in another order. */
static const task *task_of(const grpo_run *r, int64_t generation, int j) {
    const trainer *t = &r->s.t;
    int64_t n_prompt = (int64_t)t->o->batch * r->o->per_generation / r->o->n_each, at = generation * n_prompt + j;
    uint64_t n = (uint64_t)r->n_task, i = (uint64_t)at % n;
    if (strcmp(r->s.o->sampling, "sequential") != 0) i = pith__shuffled(pith__random_at(t->o->seed, (uint64_t)at / n), n, i);
    return &r->tasks.task[i];
}

/* ---- what completions are worth ---------------------------------------------------------------------- */

/* Rewards of the completions x, whose rows are given: each (rewards.n, x->n), and their sums, into x. text: (x->n). */
static int reward_all(grpo_run *r, rollouts *x, const task *const *row, pith__str *text, double *each) {
    rewarded *c = calloc((size_t)x->n, sizeof *c);
    double *total = calloc((size_t)x->n, sizeof *total);
    int code = c && total ? 0 : complain(FAILED, "no memory for %d completions", x->n);
    for (int i = 0; i < x->n && !code; i++) {
        const rollout *k = &x->r[i];
        char *shown = NULL;
        size_t size = 0;
        code = shown_text(r->s.t.m, k->t + k->n_prompt, k->n, &shown, &size);
        text[i] = (pith__str){ shown, size };
        c[i] = (rewarded){ shown, size, k->n, k->truncated, row[i]->row };
    }
    if (!code && r->judge.a) code = reward_model_score(&r->judge, x, each + (size_t)(r->rewards.n - 1) * (size_t)x->n, NULL);
    if (!code) code = rewards_score(&r->rewards, c, x->n, each, total);
    for (int i = 0; i < x->n && !code; i++) x->r[i].reward = total[i];
    free(c), free(total);
    return code;
}

/* ---- sampling ------------------------------------------------------------------------------------ */

enum { TRIED = 16 }; /* tokens of a completion in a dry run */

rollout_plan grpo_plan(grpo_run *r, int64_t number, uint64_t kind) {
    trainer *t = &r->s.t;
    return (rollout_plan){
        .m = t->m, .adapter = r->s.adapter, .temperature = r->o->temperature, .n_each = r->o->n_each,
        .max_length = t->o->dry_run && r->o->max_completion > TRIED ? TRIED : r->o->max_completion,
        .seed = pith__random_at(pith__random_at(t->o->seed, kind), (uint64_t)number), .shown = &t->shown
    };
}

/* Completions of tasks row (n), which stand each n_each times in the batch. */
static int sample_tasks(rollouts *to, const rollout_plan *plan, const task *const *row, int n) {
    request_prompt *prompt = calloc((size_t)n, sizeof *prompt);
    if (!prompt) return complain(FAILED, "no memory for %d prompts", n);
    for (int i = 0; i < n; i++) prompt[i] = row[i * plan->n_each]->prompt;
    int code = rollouts_sample(to, plan, prompt, n);
    free(prompt);
    return code;
}

static int sample_batch(grpo_run *r, grpo_batch *b, int64_t generation) {
    trainer *t = &r->s.t;
    int n = t->o->batch * r->o->per_generation, n_prompt = n / r->o->n_each;
    double start = seconds(), tokens = 0;
    rollout_plan plan = grpo_plan(r, generation, 0x6772706f);
    plan.first_group = generation * n_prompt;
    const task **row = calloc((size_t)n, sizeof *row);
    if (!row) return no_memory(n);
    for (int i = 0; i < n; i++) row[i] = task_of(r, generation, i / r->o->n_each);
    t->shown.what = "completions";
    int code = sample_tasks(&b->now, &plan, row, n_prompt);
    for (int i = 0; i < b->now.n; i++) tokens += b->now.r[i].n;
    b->figure[SAMPLED_SPEED] = tokens / (seconds() - start + 1e-9);
    if (!code && !t->o->dry_run) {
        b->text = pith__arena_new(&b->now.arena, (size_t)n, sizeof *b->text);
        b->each = pith__arena_new(&b->now.arena, (size_t)n * (size_t)r->rewards.n, sizeof *b->each);
        code = b->text && b->each ? reward_all(r, &b->now, row, b->text, b->each) : no_memory(n);
    }
    free(row);
    b->own = 1;
    return code;
}

int grpo_score_held_out(trainer *t, double *loss) {
    grpo_run *r = grpo_of(t);
    const tasks *from = t->o->eval ? &r->held_out : &r->tasks;
    int n = t->n_eval < t->o->max_eval ? t->n_eval : t->o->max_eval, first = t->o->eval ? 0 : r->n_task, code;
    rollouts x = { .n = 0 };
    double sum = 0;
    *loss = (double)NAN;
    if (!n) return 0;
    const task **row = calloc((size_t)n, sizeof *row);
    pith__str *text = calloc((size_t)n, sizeof *text);
    double *each = calloc((size_t)n * (size_t)r->rewards.n, sizeof *each);
    rollout_plan plan = grpo_plan(r, 0, 0x6576616c); /* at every evaluation the same random numbers */
    plan.n_each = 1, plan.shown = NULL;
    for (int i = 0; row && i < n; i++) row[i] = &from->task[first + (int)((int64_t)i * t->n_eval / n)];
    code = row && text && each ? sample_tasks(&x, &plan, row, n) : complain(FAILED, "no memory for %d completions", n);
    if (!code) code = reward_all(r, &x, row, text, each);
    for (int i = 0; i < x.n; i++) sum += x.r[i].reward;
    r->eval_reward = sum / n;
    if (!code) *loss = -r->eval_reward;
    free_texts(text, n);
    free(row), free(text), free(each), rollouts_free(&x);
    return code;
}

/* ---- figures of a batch ------------------------------------------------------------------------------- */

static double mean_of(const double *x, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += x[i];
    return n ? sum / n : 0;
}

/* Mean, least and largest length of the completions, all or those that ended, at to[0] to [2]; how many. */
static int lengths(const rollouts *b, int ended, double *to) {
    int n = 0;
    to[0] = to[1] = to[2] = 0;
    for (int i = 0; i < b->n; i++) {
        double length = b->r[i].n;
        if (ended && b->r[i].truncated) continue;
        to[0] += length;
        if (!n || length < to[1]) to[1] = length;
        if (length > to[2]) to[2] = length;
        n++;
    }
    if (n) to[0] /= n;
    return n;
}

/* Advantages, and what the log says of the batch. */
static int compare_batch(const grpo_run *r, grpo_batch *b) {
    size_t n = (size_t)b->now.n, n_group = n / (size_t)r->o->n_each;
    double *got = pith__arena_new(&b->now.arena, n, sizeof *got), *x = b->figure;
    b->advantage = pith__arena_new(&b->now.arena, n, sizeof *b->advantage);
    if (!got || !b->advantage) return no_memory(b->now.n);
    for (size_t i = 0; i < n; i++) got[i] = b->now.r[i].reward;
    size_t n_equal = pith__advantages(got, n, (size_t)r->o->n_each, r->scale, b->advantage);
    lengths(&b->now, 0, x + MEAN_LENGTH);
    x[CUT] = 1 - lengths(&b->now, 1, x + MEAN_ENDED) / (double)n;
    x[REWARD] = mean_of(got, (int)n), x[REWARD_STD] = pith__deviation(got, n);
    x[NO_SPREAD] = (double)n_equal / (double)n_group;
    for (int k = 0; b->each && k < r->rewards.n; k++) {
        b->of_reward[2 * k] = mean_of(b->each + (size_t)k * n, (int)n);
        b->of_reward[2 * k + 1] = pith__deviation(b->each + (size_t)k * n, n);
    }
    return 0;
}

static int ask_reference(const grpo_run *r, grpo_batch *b) {
    const trainer *t = &r->s.t;
    if (!(r->how.beta > 0)) return 0;
    b->ref = pith__arena_new(&b->now.arena, (size_t)b->now.n, sizeof *b->ref);
    if (!b->ref) return no_memory(b->now.n);
    return rollouts_score(&b->now, r->base ? r->base : t->m, NULL, r->o->temperature, b->ref);
}

/* ---- what is written of a batch ----------------------------------------------------------------------- */

static int append(const char *path, output *o) {
    *o = (output){ .file = fopen(path, "ab"), .path = path };
    return o->file ? 0 : complain(FAILED, "%s: cannot be written", path);
}

static int end_append(output *o) {
    if (fclose(o->file) != 0 && !o->code) return complain(FAILED, "%s: cannot be written", o->path);
    return o->code > 0 ? o->code : 0;
}

static int dump_batch(const grpo_run *r) {
    output o;
    int code = append(r->o->dump, &o);
    if (code) return code;
    code = rollouts_write(&r->b.now, &o);
    int ended = end_append(&o);
    return code ? code : ended;
}

int grpo_try_dump(const grpo_run *r) {
    output o;
    if (!r->o->dump) return 0;
    int code = append(r->o->dump, &o);
    return code ? code : end_append(&o);
}

/* All completions of the batch, with their texts; some on the terminal. */
static int log_completions(grpo_run *r, int64_t step) {
    trainer *t = &r->s.t;
    output o;
    const char *path = trainer_path(t, "completions.jsonl");
    int code = path ? append(path, &o) : FAILED;
    for (int i = 0; i < r->b.now.n && !code; i++) {
        const rollout *x = &r->b.now.r[i];
        char *prompt = NULL;
        size_t size = 0;
        if ((code = shown_text(t->m, x->t, x->n_prompt, &prompt, &size))) break;
        output_line(&o, "{\"step\": %lld, \"prompt\": ", (long long)step + 1);
        output_json(&o, prompt, size);
        output_line(&o, ", \"completion\": ");
        output_json(&o, r->b.text[i].p, r->b.text[i].n);
        output_line(&o, ", \"reward\": %.9g, \"advantage\": %.9g, \"truncated\": %s}\n", x->reward, r->b.advantage[i],
                    x->truncated ? "true" : "false");
        free(prompt);
        if (i >= r->o->to_print) continue;
        output shown = { .file = stderr };
        fprintf(stderr, "%s  reward %.3f%s: ", i || !t->terminal ? "" : "\r\033[K", x->reward, x->truncated ? ", cut" : "");
        output_json(&shown, r->b.text[i].p, r->b.text[i].n); /* in one line */
        fputc('\n', stderr);
    }
    if (!path || !o.file) return code;
    int ended = end_append(&o);
    return code ? code : ended;
}

/* Lines of the file up to some: so many, or, counted by their "step", up to that. */
static int keep_lines(const char *path, int64_t most, int by_step) {
    line_reader l;
    output o;
    int code, got;
    int64_t n = 0, step;
    if (access(path, F_OK) != 0) return 0;
    if ((code = lines_open(&l, path))) return code;
    if ((code = output_open(&o, path, NULL))) return lines_close(&l), code;
    while ((got = lines_next(&l)) == GO_ON && n < most) {
        pith__json j;
        int read = by_step && !pith__json_read(&j, l.p, l.n, path, NULL) && pith__json_int(pith__json_get(j, "step"), &step);
        if (by_step && (!read || step > most)) break;
        output_line(&o, "%s\n", l.p);
        n += !by_step;
    }
    lines_close(&l);
    return output_close(&o, 1);
}

int grpo_keep_lines(grpo_run *r, int64_t step) {
    const char *shown = trainer_path(&r->s.t, "completions.jsonl");
    int64_t each = grpo_steps_each(r), batches = (step + each - 1) / each;
    int64_t n = (int64_t)r->s.t.o->batch * r->o->per_generation;
    int code = shown && r->o->log_completions ? keep_lines(shown, step, 1) : shown ? 0 : FAILED;
    if (!code && r->o->dump) code = keep_lines(r->o->dump, batches * n, 0);
    return code;
}

/* ---- a batch --------------------------------------------------------------------------------------- */

int grpo_write_batch(const grpo_batch *b, const char *path) {
    output o;
    int code = output_open(&o, path, NULL);
    if (!code) code = rollouts_write(&b->now, &o);
    return code ? code : output_close(&o, 1);
}

/* Of each prompt there must be n_each completions. */
static int check_groups(const grpo_run *r, const rollouts *b, const char *path) {
    for (int i = 0, n; i < b->n; i += n) {
        for (n = 1; i + n < b->n && b->r[i + n].group == b->r[i].group;) n++;
        if (n != r->o->n_each)
            return complain(BAD_DATA, "%s: group %lld has %d completions, need %d (--num_generations)", path,
                            (long long)b->r[i].group, n, r->o->n_each);
    }
    return 0;
}

int grpo_read_batch(const grpo_run *r, grpo_batch *b, const char *path) {
    const rollouts *x = &b->now;
    int n_ctx = r->s.t.m->hyper.n_ctx_most;
    int code = rollouts_read(&b->now, path, r->s.t.m->hyper.n_vocab);
    if (!code) code = check_groups(r, x, path);
    if (!code && n_ctx && x->longest > n_ctx)
        code = complain(BAD_DATA, "%s: the longest prompt and completion have %d tokens, the model's context is %d", path, x->longest,
                        n_ctx);
    for (int i = 0; i < x->n && !code; i++)
        if (x->r[i].n > r->o->max_completion)
            code = complain(BAD_DATA, "%s: a completion of group %lld has %d tokens, need %d at most "
                            "(--max_completion_length)", path, (long long)x->r[i].group, x->r[i].n, r->o->max_completion);
    if (code) grpo_free_batch(b);
    return code;
}

static int is_logged(const grpo_run *r, int64_t step) { /* one of the steps that learn from this batch */
    for (int64_t k = step; k < step + grpo_steps_each(r); k++)
        if ((k + 1) % r->s.t.o->log_steps == 0) return 1;
    return 0;
}

/* The batch of before stays until the new one is whole: whoever stops the run in between has still something to check. */
static int next_batch(grpo_run *r, int64_t generation) {
    grpo_batch b;
    memset(&b, 0, sizeof b);
    int code = sample_batch(r, &b, generation);
    if (!code) code = compare_batch(r, &b);
    if (!code) code = ask_reference(r, &b);
    if (code) return grpo_free_batch(&b), code;
    grpo_free_batch(&r->b);
    r->b = b;
    r->generation = generation;
    return 0;
}

/* Completions that were read: nobody knows how fast they were sampled, or each of their rewards. */
static int take_read(grpo_run *r, grpo_batch *b) {
    int code = compare_batch(r, b);
    b->figure[SAMPLED_SPEED] = (double)NAN;
    for (int i = 0; i < 2 * GRPO_REWARDS; i++) b->of_reward[i] = (double)NAN;
    return code ? code : ask_reference(r, b);
}

int grpo_prepare(trainer *t, int64_t step) {
    grpo_run *r = grpo_of(t);
    int64_t generation = r->o->rollouts ? 0 : step / grpo_steps_each(r);
    if (r->broken) return complain(FAILED, "training stops, for what is sampled is not what is trained");
    if (r->generation == generation) return 0;
    if (r->generation < 0 && r->b.now.n) { /* read from a file */
        r->generation = generation;
        return take_read(r, &r->b);
    }
    int code = next_batch(r, generation);
    if (code || t->o->dry_run) return code;
    grpo_follow(r, r->b.figure[MEAN_LENGTH], r->b.figure[REWARD]);
    if (r->o->dump) code = dump_batch(r);
    return !code && r->o->log_completions && is_logged(r, step) ? log_completions(r, step) : code;
}

/* ---- what goes wrong in practice ------------------------------------------------------------------------ */

enum { SAID_SPREAD = 1, SAID_KL = 2, SAID_CUT = 4, SAID_LONGER = 8, SAID_NOTHING = 16, SAID_OFF = 32 };
enum { SOME = 10 }; /* batches that a trend is of */

static int first_time(grpo_run *r, int what) {
    if (r->said & what) return 0;
    r->said |= what;
    fprintf(stderr, "%spith: step %lld: ", r->s.t.terminal ? "\n" : "", (long long)r->s.t.adam.step + 1);
    return 1;
}

void grpo_follow(grpo_run *r, double length, double reward_of) {
    grpo_trend *now = &r->trend[0], *before = &r->trend[1];
    now->length += length, now->reward += reward_of, now->n++;
    if (now->n < SOME) return;
    int longer = before->n && now->length > 1.2 * before->length && now->reward <= before->reward;
    if (longer && first_time(r, SAID_LONGER))
        fprintf(stderr, "completions grow longer (%.0f tokens, before %.0f) while their reward does not (%.3f, before %.3f): a "
                "reward may be had by length alone, or --loss_type grpo spares long wrong ones\n", now->length / SOME,
                before->length / SOME, now->reward / SOME, before->reward / SOME);
    *before = *now;
    *now = (grpo_trend){ 0, 0, 0 };
}

void grpo_warn(trainer *t, const double *x) {
    grpo_run *r = grpo_of(t);
    int64_t n = 0;
    for (int64_t i = 0; i < t->batch_size; i++) n += r->found[i].sums.n;
    if (x[NO_SPREAD] > 0.999 && first_time(r, SAID_SPREAD))
        fprintf(stderr, "in each group all rewards are equal, so nothing is learned from them: need rewards with a spread, prompts "
                "that are neither too easy nor too hard, or a larger --num_generations\n");
    if (r->how.beta > 0 && x[KL] > 1 && first_time(r, SAID_KL))
        fprintf(stderr, "the policy runs away from the reference (KL %.2f a token): need a smaller --learning_rate or a larger "
                "--beta\n", x[KL]);
    if (x[CUT] > 0.5 && first_time(r, SAID_CUT))
        fprintf(stderr, "%.0f %% of the completions were cut: need a larger --max_completion_length, or a model that ends its "
                "texts\n", 100 * x[CUT]);
    if (!n && first_time(r, SAID_NOTHING))
        fprintf(stderr, "all completions were cut, and --mask_truncated_completions leaves nothing to learn from\n");
    if (r->b.own && t->adam.step % grpo_steps_each(r) == 0 && x[LOGP_OFF] > 0 && first_time(r, SAID_OFF)) {
        fprintf(stderr, "tokens were sampled with other probabilities than they are trained with, by a factor of up to %.9g\n",
                1 + x[LOGP_OFF]);
        r->broken = 1;
    }
}
