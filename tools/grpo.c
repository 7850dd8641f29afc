/* grpo.c - run grpo: a policy learns from rewards (group relative policy optimization: Shao et al. 2024, arXiv:2402.03300).
 *
 *     run grpo MODEL PROMPTS.jsonl --reward RULE --output_dir OUT
 *
 * Each prompt is completed several times by the model as it is now. Completions that got a greater reward than the others
 * of their prompt become likelier, the others less likely (train/policy.c). Flags and the log have the names of TRL. */
#include "grpo.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- flags ----------------------------------------------------------------------------------- */

static const char grpo_usage[] =
    "run grpo MODEL PROMPTS.jsonl... --reward RULE --output_dir OUT [options]\n"
    "Teach a model by rewards. A row is {\"prompt\": ...}, a text or messages, and what the rewards need, such as an\n"
    "answer. Each prompt is completed --num_generations times, and what got more reward than the others becomes\n"
    "likelier. What is taught is a LoRA, for PEFT and llama.cpp; the reference is the model without it.\n"
    "Defaults stand in brackets.\n\n";

enum { OTHERS = 7 };
static const char *const other_samplers[OTHERS] = { "top-p", "top-k", "min-p", "repetition-penalty", "presence-penalty",
                                                    "frequency-penalty", "typical-p" };

#define REFUSED(k) { 0, other_samplers[k], TEXT, &other[k], 0, 0, "X", "" }

static int check_sampling(const grpo_options *o, const char *const *other) {
    for (int i = 0; i < OTHERS; i++)
        if (other[i])
            return complain(USAGE, "--%s: completions are drawn by temperature alone, for another sampler would not be the "
                            "policy that is scored", other_samplers[i]);
    if (!(o->temperature > 1e-4f))
        return complain(USAGE, "--temperature is %g, need more than 0: all completions of a prompt would be the same",
                        (double)o->temperature);
    if (o->tuning.dropout > 0)
        return complain(USAGE, "--lora_dropout: the policy that learns would not be the one that wrote the completions");
    return 0;
}

/* A name, or true or false for the first and the last of them, as TRL has it too. */
static int scale_named(const char *s) {
    if (!strcmp(s, "true") || !strcmp(s, "True")) return PITH__SCALE_GROUP;
    if (!strcmp(s, "false") || !strcmp(s, "False")) return PITH__SCALE_NONE;
    return pith__reward_scale_named(s);
}

static int check_loss(grpo_options *o, grpo_run *r) {
    if (o->n_each < 2)
        return complain(USAGE, "--num_generations is %d, need 2 or more: a completion is compared with others of its prompt",
                        o->n_each);
    if (!(o->epsilon > 0))
        return complain(USAGE, "--epsilon is %g, need more than 0: no token could change", (double)o->epsilon);
    if (o->epsilon_high < 0) o->epsilon_high = o->epsilon;
    if (!(o->epsilon_high > 0))
        return complain(USAGE, "--epsilon_high is %g, need more than 0", (double)o->epsilon_high);
    r->how = (pith__policy){ .loss = pith__policy_loss_named(o->loss), .epsilon = (double)o->epsilon,
                             .epsilon_high = (double)o->epsilon_high, .beta = (double)o->beta,
                             .kl_times_ratio = o->kl_times_ratio, .max_length = o->max_completion };
    r->scale = scale_named(o->scale);
    if (r->how.loss < 0) return complain(USAGE, "--loss_type is '%s', need grpo, dr_grpo, bnpo or dapo", o->loss);
    if (r->scale < 0) return complain(USAGE, "--scale_rewards is '%s', need group, batch or none", o->scale);
    return 0;
}

/* How the completions of a batch and the sequences of a step divide. */
static int check_sizes(grpo_options *o) {
    const train_options *t = &o->tuning.train;
    if (!o->per_generation) o->per_generation = t->accumulate;
    if (o->per_generation % t->accumulate)
        return complain(USAGE, "--steps_per_generation is %d, need a multiple of --gradient_accumulation_steps %d",
                        o->per_generation, t->accumulate);
    if (o->per_generation > INT_MAX / t->batch || (t->batch * o->per_generation) % o->n_each)
        return complain(USAGE, "%lld completions are sampled at once (--per_device_train_batch_size %d, times "
                        "--gradient_accumulation_steps or --steps_per_generation %d), need a multiple of "
                        "--num_generations %d", (long long)t->batch * o->per_generation, t->batch, o->per_generation,
                        o->n_each);
    return 0;
}

/* What --rollouts is instead of. */
static int check_rollouts(grpo_options *o) {
    tuning_options *t = &o->tuning;
    if (!o->rollouts) return 0;
    if (t->files.n)
        return complain(USAGE, "%s: --rollouts has prompts and completions, need no file of prompts", t->files.item[0]);
    if (o->rewards.rules.n || o->rewards.commands.n || o->reward_model)
        return complain(USAGE, "%s is of no use with --rollouts, whose lines have rewards", o->rewards.rules.n ?
                        "--reward" : o->rewards.commands.n ? "--reward_command" : "--reward_model");
    if (t->train.eval || t->train.hold_out > 0 || o->dump)
        return complain(USAGE, "%s is of no use with --rollouts: nothing is sampled", o->dump ? "--dump_rollouts" :
                        t->train.eval ? "--eval_file" : "--validation_split");
    if (o->iterations > 1 || o->per_generation)
        return complain(USAGE, "%s is of no use with --rollouts: every step learns from all of its lines",
                        o->per_generation ? "--steps_per_generation" : "--num_iterations");
    return add_text(&t->files, o->rollouts);
}

/* Flags of all verbs that teach which say nothing here. */
static int check_unused(const grpo_options *o) {
    const tuning_options none = TUNING_DEFAULTS(10), *t = &o->tuning;
    int cuts = t->max_length != none.max_length || strcmp(t->truncation, none.truncation) != 0;
    if (cuts) return complain(USAGE, "--max_length and --truncation: a prompt is never cut, and --max_completion_length is of completions");
    if (t->show && o->rollouts) return complain(USAGE, "--show is of no use with --rollouts");
    return 0;
}

static int check_grpo(grpo_options *o, grpo_run *r, const char *const *other) {
    tuning_options *t = &o->tuning;
    int said = t->train.batch > 0, code = check_sampling(o, other);
    if (!code) code = check_unused(o);
    if (!code) code = check_loss(o, r);
    if (!code) code = check_rollouts(o);
    if (!said) t->train.batch = 8;
    if (!code) code = check_tuning(t, "grpo");
    if (!code && !o->rollouts) code = check_sizes(o);
    if (!said && o->rollouts) t->train.batch = 0; /* all of its lines */
    if (t->train.lr < 0) t->train.lr = t->full ? 1e-6f : 1e-5f; /* TRL's, and ten times as much for LoRA */
    if (t->train.hold_out < 0) t->train.hold_out = 0;
    return code;
}

static int read_grpo_options(int argc, char **argv, grpo_options *o, grpo_run *r) {
    tuning_options *t = &o->tuning;
    const char *other[OTHERS] = { NULL };
    const flag flags[] = {
        REWARD_FLAGS(o->rewards),
        { 0, "reward-model", TEXT, &o->reward_model, 0, 0, "DIR", "what run reward wrote: its score of prompt and completion" },
        { 0, "num-generations", INTEGER, &o->n_each, 1, 1 << 16, "N", "completions of a prompt, which are compared (%)" },
        { 0, "max-completion-length", INTEGER, &o->max_completion, 1, 1 << 20, "N", "tokens of one (%)" },
        { 0, "temperature", REAL, &o->temperature, 0, 1e4, "T", "that they are drawn with, and nothing else (%)" },
        REFUSED(0), REFUSED(1), REFUSED(2), REFUSED(3), REFUSED(4), REFUSED(5), REFUSED(6),
        { 0, "loss-type", TEXT, &o->loss, 0, 0, "NAME", "what tokens are divided by: grpo, dr_grpo, bnpo, dapo (%)" },
        { 0, "scale-rewards", TEXT, &o->scale, 0, 0, "NAME", "by the deviation of the group, of the batch, or none (%)" },
        { 0, "beta", REAL, &o->beta, 0, 1e6, "X", "so many times the KL divergence from the reference is added (%)" },
        { 0, "use-bias-correction-kl", BOOLEAN, &o->kl_times_ratio, 0, 0, "", "of each token times its ratio" },
        { 0, "epsilon", REAL, &o->epsilon, 0, 1, "X", "a token's ratio counts from 1 - X (%)" },
        { 0, "epsilon-high", REAL, &o->epsilon_high, 0, 1e6, "X", "to 1 + X (as --epsilon)" },
        { 0, "num-iterations", INTEGER, &o->iterations, 1, 1 << 16, "N", "times that a batch of completions is learned from (%)" },
        { 0, "steps-per-generation", INTEGER, &o->per_generation, 1, 1 << 16, "N",
          "--per_device_train_batch_size N times is sampled at once (as --gradient_accumulation_steps)" },
        { 0, "mask-truncated-completions", BOOLEAN, &o->mask_truncated, 0, 0, "", "completions that were cut do not count" },
        { 0, "rollouts", TEXT, &o->rollouts, 0, 0, "FILE", "learn from these completions instead of sampling" },
        { 0, "dump-rollouts", TEXT, &o->dump, 0, 0, "FILE", "write those that are sampled, in the same form" },
        { 0, "log-completions", BOOLEAN, &o->log_completions, 0, 0, "",
          "show some every --logging_steps; all go to OUT/completions.jsonl" },
        { 0, "num-completions-to-print", INTEGER, &o->to_print, 0, 1 << 16, "N", "so many (%)" },
        TUNING_FLAGS(t, "1e-5; with --full 1e-6", "0")
    };
    *o = (grpo_options){ .tuning = TUNING_DEFAULTS(10), .rewards = REWARD_OPTIONS, .n_each = 8, .iterations = 1,
                         .max_completion = 256, .epsilon = 0.2f, .epsilon_high = -1, .temperature = 1, .loss = "dapo",
                         .scale = "group", .to_print = 4 };
    t->train.batch = 0;
    int code = read_flags_and_files(argc, argv, grpo_usage, flags, &t->model.path, &t->files);
    if (code != GO_ON) return code;
    if (!t->model.path) return complain(USAGE, "no model given, see --help");
    code = check_grpo(o, r, other);
    return code ? code : GO_ON;
}

/* ---- the objective --------------------------------------------------------------------------- */

/* Which completion of the batch sequence i of a step is. Where a batch has several steps, they share it out at random. */
static int row_at(const grpo_run *r, int64_t step, int64_t i) {
    int64_t once = grpo_steps_once(r), n = r->b.now.n, at = (step < 0 ? 0 : step % once) * r->s.t.batch_size + i;
    if (once == 1) return (int)i;
    return (int)pith__shuffled(pith__random_at(r->s.t.o->seed, (uint64_t)(step / once)), (uint64_t)n, (uint64_t)at);
}

static int counted(const grpo_run *r, int row) {
    const rollout *x = &r->b.now.r[row];
    return x->truncated && r->o->mask_truncated ? 0 : x->n;
}

static void grpo_size(const trainer *t, int64_t step, step_size *size) {
    const grpo_run *r = grpo_of(t);
    int64_t tokens = 0;
    for (int i = 0; i < r->b.now.n; i++) tokens += r->b.now.r[i].n_prompt + r->b.now.r[i].n;
    (void)step; /* a later one is about as long */
    *size = (step_size){ r->b.now.n ? t->batch_size : 0, 1, tokens / grpo_steps_once(r) }; /* slopes have the tokens' weights */
}

static void grpo_sequence(trainer *t, int64_t step, int64_t i, const sequence_room *room, pith__sequence *to) {
    const grpo_run *r = grpo_of(t);
    int row = row_at(r, step, i), n_count = counted(r, row);
    const rollout *x = &r->b.now.r[row];
    size_t n = (size_t)t->n_ctx + 1;
    *to = (pith__sequence){ .t = x->t, .target = room->token, .n = x->n_prompt + x->n - 1, .slope = room->number,
                            .logp = room->number + n, .entropy = room->number + 2 * n, .temperature = r->o->temperature };
    for (int k = 0; k < to->n; k++) room->token[k] = n_count && k >= x->n_prompt - 1 ? x->t[k + 1] : -1;
    memset(room->number, 0, n * sizeof *room->number);
}

/* What the tokens of sequence i of a step share a mean with. */
static pith__policy_batch batch_of(const grpo_run *r, int64_t step, int64_t i) {
    const train_options *o = r->s.t.o;
    pith__policy_batch b = { r->s.t.batch_size, 0 };
    int64_t first = 0, n = r->b.now.n, micro = r->how.loss == PITH__BNPO ? o->batch : 0;
    if (micro) first = i / micro * micro, n = micro;
    for (int64_t k = first; k < first + n; k++) b.n_token += counted(r, micro ? row_at(r, step, k) : (int)k);
    /* BNPO: the mean of the micro-batches' means. DAPO: of what was sampled a step has its part. */
    if (micro) b.n_token *= r->s.t.batch_size / micro;
    else b.n_token /= grpo_steps_once(r);
    if (b.n_token < 1) b.n_token = 1;
    return b;
}

static void grpo_judge(void *of, int64_t first, const pith__sequence *s, int n) {
    const trainer *t = of;
    grpo_run *r = grpo_of(t);
    int64_t step = t->adam.step;
    int row = row_at(r, step, first), from = r->b.now.r[row].n_prompt - 1, n_count = counted(r, row);
    const pith__policy_batch batch = batch_of(r, step, first);
    const pith__policy_row x = { s->logp + from, r->b.now.r[row].logp, r->b.ref ? r->b.ref[row] : NULL, n_count,
                                 r->b.advantage[row], pith__policy_weight(&r->how, &batch, n_count) };
    grpo_found *found = &r->found[first];
    *found = (grpo_found){ .entropy = 0 };
    pith__policy_learn(&r->how, &x, s->slope + from, &found->sums);
    for (int i = 0; i < s->n; i++) s->slope[i] = -s->slope[i]; /* of -log p */
    for (int i = 0; i < n_count; i++) found->entropy += (double)s->entropy[from + i];
    (void)n;
}

/* Sums of the step's sequences. */
static grpo_found sum_found(const grpo_run *r, int64_t n) {
    grpo_found all = { .entropy = 0 };
    for (int64_t i = 0; i < n; i++) {
        const pith__policy_sums *x = &r->found[i].sums;
        pith__policy_sums *to = &all.sums;
        to->loss += x->loss, to->off = fmax(to->off, x->off), all.entropy += r->found[i].entropy;
        if (!x->n) continue;
        if (!to->n || x->low_min < to->low_min) to->low_min = x->low_min;
        if (!to->n || x->high_max > to->high_max) to->high_max = x->high_max;
        to->kl += x->kl, to->n += x->n, to->n_low += x->n_low, to->n_high += x->n_high;
    }
    return all;
}

static double grpo_learned(trainer *t, const pith__loss *loss, double *figure) {
    grpo_run *r = grpo_of(t);
    const grpo_found all = sum_found(r, t->batch_size);
    double n = all.sums.n ? (double)all.sums.n : 1, x[FIGURES];
    (void)loss;
    memcpy(x, r->b.figure, sizeof r->b.figure);
    x[ENTROPY] = all.entropy / n, x[KL] = all.sums.kl / n, x[LOGP_OFF] = all.sums.off;
    x[LOW_MEAN] = (double)all.sums.n_low / n, x[HIGH_MEAN] = (double)all.sums.n_high / n;
    x[CLIPPED] = x[LOW_MEAN] + x[HIGH_MEAN];
    x[LOW_MIN] = all.sums.low_min, x[HIGH_MAX] = all.sums.high_max;
    int n_own = r->how.beta > 0 ? FIGURES : KL;
    for (int i = 0; i < n_own; i++) figure[i] = x[i];
    for (int i = 0; r->figures[n_own + i]; i++) figure[n_own + i] = r->b.of_reward[i];
    if ((t->adam.step + 1) % t->o->log_steps == 0)
        fprintf(stderr, "%sstep %lld: reward %.4f (deviation %.4f, without spread %.0f %% of the prompts), length %.1f, "
                "cut %.0f %%\n", t->terminal ? "\r\033[K" : "", (long long)t->adam.step + 1, x[REWARD], x[REWARD_STD],
                100 * x[NO_SPREAD], x[MEAN_LENGTH], 100 * x[CUT]);
    grpo_warn(t, x);
    return all.sums.loss;
}

static int grpo_measure(trainer *t, const pith__loss *loss) {
    if (t->n_eval) fprintf(stderr, "  reward %.4f", grpo_of(t)->eval_reward);
    if (t->n_eval) log_number(t, "eval_reward", grpo_of(t)->eval_reward);
    return tuning_measure(t, loss);
}

static void grpo_numbers(const trainer *t, double *x) {
    const grpo_run *r = grpo_of(t);
    tuning_numbers(t, x);
    x[PITH__MARK_LOSS] = r->how.loss, x[PITH__MARK_BETA] = r->how.beta;
    x[PITH__MARK_SCALE_REWARDS] = r->scale;
    x[PITH__MARK_EPSILON] = r->how.epsilon, x[PITH__MARK_EPSILON_HIGH] = r->how.epsilon_high;
    x[PITH__MARK_TEMPERATURE] = (double)r->o->temperature, x[PITH__MARK_GENERATIONS] = r->o->n_each;
    x[PITH__MARK_COMPLETION] = r->o->max_completion, x[PITH__MARK_ITERATIONS] = r->o->iterations;
    x[PITH__MARK_PER_GENERATION] = r->o->per_generation;
}

/* A checkpoint between two steps that learn from one batch has the batch too. */
static int grpo_save(trainer *t, int64_t step) {
    grpo_run *r = grpo_of(t);
    char name[80];
    int code = r->save(t, step);
    if (code || r->o->rollouts || step % grpo_steps_each(r) == 0) return code;
    snprintf(name, sizeof name, "checkpoint-%lld/rollouts.jsonl", (long long)step);
    const char *path = trainer_path(t, name);
    return path ? grpo_write_batch(&r->b, path) : FAILED;
}

static const objective grpo_objective = {
    .prepare = grpo_prepare, .size = grpo_size, .sequence = grpo_sequence, .group = 1, .judge = grpo_judge,
    .learned = grpo_learned, .score = grpo_score_held_out, .numbers = grpo_numbers, .measure = grpo_measure
};

/* ---- a run ----------------------------------------------------------------------------------- */

static const char *const own_figures[FIGURES] = {
    "completions/mean_length", "completions/min_length", "completions/max_length", "completions/clipped_ratio",
    "completions/mean_terminated_length", "completions/min_terminated_length", "completions/max_terminated_length", "reward",
    "reward_std", "frac_reward_zero_std", "entropy", "clip_ratio/low_mean", "clip_ratio/low_min", "clip_ratio/high_mean",
    "clip_ratio/high_max", "clip_ratio/region_mean", "sampling/ratio_off_max", "sampling/tokens_per_second", "kl"
};

static int name_figures(grpo_run *r) {
    int n = r->how.beta > 0 ? FIGURES : KL;
    memcpy(r->figures, own_figures, (size_t)n * sizeof *r->figures);
    for (int k = 0; k < r->rewards.n && k < GRPO_REWARDS; k++)
        for (int std = 0; std < 2; std++) {
            char name[100];
            snprintf(name, sizeof name, "rewards/%s/%s", rewards_name(&r->rewards, k), std ? "std" : "mean");
            r->figures[n] = pith__arena_text(&r->s.t.arena, name, strlen(name));
            if (!r->figures[n++]) return complain(FAILED, "no memory for the names of rewards");
        }
    r->s.what.figures = r->figures;
    return 0;
}

/* Beside what any checkpoint has. */
static int name_files(grpo_run *r) {
    const char *const *others = r->s.what.form.others;
    int n = 0;
    for (; others[n]; n++) r->others[n] = others[n];
    r->others[n] = "rollouts.jsonl";
    r->s.what.form.others = r->others;
    r->save = r->s.what.save;
    r->s.what.save = grpo_save;
    return 0;
}

static int check_row(void *of, pith__json row, const char *where) {
    const grpo_run *r = of;
    return rewards_check(&r->rewards, row, where);
}

/* --show: prompts token by token, as they are completed. */
static int show_prompts(const grpo_run *r) {
    output o;
    int code = r->s.o->show ? output_open(&o, NULL, NULL) : 0;
    if (code || !r->s.o->show) return code;
    output_line(&o, "id\tpiece\n");
    for (int i = 0; i < r->s.o->show && i < r->n_task && !o.code; i++) {
        const request_prompt *p = &r->tasks.task[i].prompt;
        output_line(&o, "# prompt %d: %d tokens\n", i + 1, p->n);
        for (int k = 0; k < p->n; k++) {
            size_t n;
            const char *piece = pith_piece(r->s.t.m, p->t[k], &n);
            output_line(&o, "%d\t", (int)p->t[k]);
            output_json(&o, piece, n);
            output_line(&o, "\n");
        }
    }
    return output_close(&o, 1);
}

static int read_prompts(grpo_run *r) {
    tuning *s = &r->s;
    trainer *t = &s->t;
    int n_ctx = pith_model_shape(t->m)->n_ctx;
    const pith_time now = time_now();
    const list eval = { { t->o->eval }, t->o->eval != NULL };
    const task_plan plan = { .m = t->m, .form = s->form, .variables = s->o->variables, .now = &now,
                             .parse_special = s->o->parse_special, .most = n_ctx - r->o->max_completion,
                             .room = r->o->max_completion, .check = check_row, .of = r };
    int code = plan.most > 0 ? tasks_open(&r->tasks, &plan, &s->o->files)
             : complain(USAGE, "--max_completion_length is %d, and a context of %d tokens then has no room for a prompt",
                        r->o->max_completion, n_ctx);
    if (!code && eval.n) code = tasks_open(&r->held_out, &plan, &eval);
    if (code) return code;
    int out = eval.n ? 0 : (int)((double)r->tasks.n * (double)t->o->hold_out);
    r->n_task = r->tasks.n - out;
    t->n_eval = eval.n ? r->held_out.n : out;
    t->key = pith__hash(r->tasks.key, &r->n_task, sizeof r->n_task);
    int longest = r->tasks.longest > r->held_out.longest ? r->tasks.longest : r->held_out.longest;
    t->n_ctx = longest + r->o->max_completion - 1;
    t->per_epoch = (double)r->n_task * r->o->n_each / ((double)t->o->batch * r->o->per_generation) * (double)grpo_steps_each(r);
    return 0;
}

/* --rollouts: every step learns from all of its lines. */
static int read_rollouts(grpo_run *r) {
    trainer *t = &r->s.t;
    int code = grpo_read_batch(r, &r->b, r->o->rollouts);
    if (code) return code;
    if (!t->o->batch) t->o->batch = r->b.now.n, t->o->accumulate = 1;
    if ((int64_t)t->o->batch * t->o->accumulate != r->b.now.n)
        return complain(USAGE, "%s has %d completions, and a step takes %lld (--per_device_train_batch_size, "
                        "--gradient_accumulation_steps): need one as many as the other", r->o->rollouts, r->b.now.n,
                        (long long)t->o->batch * t->o->accumulate);
    for (int i = 0; i < r->b.now.n; i++) {
        const rollout *x = &r->b.now.r[i];
        t->key = pith__hash(t->key + (uint64_t)x->n, x->t, (size_t)(x->n_prompt + x->n) * sizeof *x->t);
    }
    t->n_ctx = r->b.now.longest - 1;
    t->per_epoch = 1;
    return 0;
}

static int open_rewards(grpo_run *r) {
    static const char *const judge[] = { "reward_model" };
    int code = rewards_open(&r->rewards, &r->o->rewards, judge, r->o->reward_model != NULL);
    if (!code && r->rewards.n > GRPO_REWARDS)
        code = complain(USAGE, "%d rewards, need %d at most", r->rewards.n, GRPO_REWARDS);
    return code;
}

/* What is read is not written over. */
static int check_dump(grpo_run *r) {
    const char *dump = r->o->dump, *const read[] = { r->s.t.o->eval, r->s.o->model.path, r->o->reward_model, r->s.o->init };
    const list *files = &r->s.o->files;
    if (!dump) return 0;
    int same = 0;
    for (int i = 0; i < 4; i++) same |= read[i] && same_file(dump, read[i]);
    for (int i = 0; i < files->n; i++) same |= same_file(dump, files->item[i]);
    if (same) return complain(USAGE, "--dump_rollouts %s: is read, need another file", dump);
    return trainer_check_input(&r->s.t, dump);
}

static int grpo_data(tuning *s) {
    grpo_run *r = s->t.of;
    int code = check_dump(r);
    r->generation = -1;
    if (!code && !r->o->rollouts) code = open_rewards(r);
    if (!code) code = r->o->rollouts ? read_rollouts(r) : read_prompts(r);
    if (!code) code = show_prompts(r);
    if (!code) code = name_figures(r);
    if (!code) code = name_files(r);
    if (code) return code;
    size_t n = (size_t)s->t.o->batch * (size_t)s->t.o->accumulate;
    r->found = pith__arena_new(&s->t.arena, n, sizeof *r->found);
    return r->found ? 0 : complain(FAILED, "no memory for %zu completions", n);
}

/* The batch that a checkpoint has. */
static int go_on(grpo_run *r) {
    trainer *t = &r->s.t;
    char path[4200];
    const char *state = strrchr(t->from.path, '/');
    int code = grpo_keep_lines(r, t->adam.step);
    if (code || r->o->rollouts || t->adam.step % grpo_steps_each(r) == 0) return code;
    int n = state ? (int)(state - t->from.path) : 0;
    if (snprintf(path, sizeof path, "%.*s/rollouts.jsonl", n, t->from.path) >= (int)sizeof path)
        return complain(FAILED, "%s: is too long", t->from.path);
    code = grpo_read_batch(r, &r->b, path);
    if (!code && r->b.now.n != t->o->batch * r->o->per_generation)
        code = complain(BAD_DATA, "%s: has %d completions, need %d", path, r->b.now.n, t->o->batch * r->o->per_generation);
    return code;
}

/* The model as it was, where all weights learn: of the reference, and of the reward model. */
static int open_base(grpo_run *r) {
    const tuning *s = &r->s;
    int code = !s->adapter && (r->how.beta > 0 || r->o->reward_model) ? open_model(&s->o->model, 0, &r->base) : 0;
    if (code || !r->o->reward_model) return code;
    return reward_model_open(&r->judge, r->base ? r->base : s->t.m, s->form, r->o->reward_model);
}

static int grpo_ready(tuning *s) {
    grpo_run *r = s->t.of;
    int code = open_base(r);
    if (!code && s->t.o->resume) code = go_on(r);
    if (!code && !s->t.o->resume && !s->t.o->dry_run) code = grpo_keep_lines(r, 0);
    if (!code && !s->t.o->dry_run) code = grpo_try_dump(r);
    if (!code && !s->t.o->dry_run && !r->o->rollouts) code = rewards_start(&r->rewards);
    return code;
}

static int grpo_forecast(tuning *s) {
    grpo_run *r = s->t.of;
    trainer *t = &s->t;
    int n = r->o->rollouts ? r->b.now.n : t->o->batch * r->o->per_generation;
    say_learned(s);
    if (!r->o->rollouts)
        fprintf(stderr, "prompts      %d to learn from, %d held out; the longest has %d tokens\n", r->n_task, t->n_eval,
                t->n_ctx + 1 - r->o->max_completion);
    long long each = (long long)grpo_steps_each(r);
    fprintf(stderr, "completions  %d of %d prompts at once, of at most %d tokens", n, n / r->o->n_each,
            r->o->max_completion);
    if (!r->o->rollouts) {
        rollout_plan plan = grpo_plan(r, 0, 0);
        plan.max_length = r->o->max_completion;
        fprintf(stderr, ", in %.0f MB while they are written", 1e-6 * rollouts_memory(&plan, r->tasks.longest, n));
    }
    if (each > 1) fprintf(stderr, "; %lld steps learn from them\n", each);
    else fprintf(stderr, "; %s step learns from them\n", r->o->rollouts ? "every" : "one");
    double scored = (t->n_eval < t->o->max_eval ? t->n_eval : t->o->max_eval) * (double)t->n_ctx;
    int code = trainer_forecast(t, s->adapter ? "model and adapter" : "weights", (double)tuning_held(s),
                                8.0 * n * t->n_ctx, scored + 2.0 * s->watch.n_text);
    if (!code && !r->o->rollouts)
        fprintf(stderr, "sampling     %.0f tokens/s, which the time above does not have\n", r->b.figure[SAMPLED_SPEED]);
    return code;
}

int verb_grpo(int argc, char **argv) {
    static const lesson grpo_lesson = { .data = grpo_data, .ready = grpo_ready, .forecast = grpo_forecast };
    grpo_options o;
    grpo_run r = { .o = &o };
    int code = read_grpo_options(argc, argv, &o, &r);
    if (code != GO_ON) return code;
    code = tuning_run(&r.s, &o.tuning, &grpo_objective, &grpo_lesson);
    grpo_free_batch(&r.b);
    tasks_free(&r.tasks), tasks_free(&r.held_out);
    rewards_close(&r.rewards);
    reward_model_close(&r.judge);
    pith_close(r.base);
    return code;
}
