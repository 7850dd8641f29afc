/* ppo.c - run ppo: proximal policy optimization, from prompts and a reward model to an adapter (Schulman et al. 2017,
 * arXiv:1707.06347; for texts Stiennon et al. 2020, arXiv:2009.01325).
 *
 *     run ppo MODEL PROMPTS.jsonl --reward_model DIR --output_dir OUT
 *
 * The policy completes some prompts. What the reward model finds of a completion, less a penalty for going away from the
 * reference, is laid on its tokens. A head on the policy's last state has learned to expect that, so a token's advantage is
 * known (train/ppo.c), and some steps make the better tokens likelier. Then others are drawn. Policy, reference and reward
 * model are one model: with an adapter, without, and with another. Flags and the log have the names of TRL. */
#include "ppo.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- flags ----------------------------------------------------------------------------------- */

static const char ppo_usage[] =
    "run ppo MODEL PROMPTS.jsonl... --reward_model DIR --output_dir OUT [options]\n"
    "Teach a model by what a reward model (run reward) finds of its texts. A row is {\"prompt\": ...}, a text or\n"
    "messages. A batch of completions is of --per_device_train_batch_size times --gradient_accumulation_steps\n"
    "prompts, and --num_ppo_epochs times --num_mini_batches steps learn from it. What is taught is a LoRA, for\n"
    "PEFT and llama.cpp, and a value head beside it; the reference is the model without them.\n"
    "Defaults stand in brackets.\n\n";

/* What --rollouts is instead of. */
static int check_given(ppo_options *o) {
    tuning_options *t = &o->tuning;
    if (!o->rollouts) return o->reward_model ? 0 : complain(USAGE, "no --reward_model given, see --help");
    if (t->files.n) return complain(USAGE, "%s: --rollouts has prompts and completions, need no file of prompts", t->files.item[0]);
    const char *flag_name = o->reward_model ? "--reward_model" : o->dump ? "--dump_rollouts" : t->train.eval ? "--eval_file" :
                            t->train.hold_out > 0 ? "--validation_split" : NULL;
    if (flag_name) return complain(USAGE, "%s is of no use with --rollouts: nothing is drawn, and its lines have rewards", flag_name);
    return add_text(&t->files, o->rollouts);
}

static int check_dump(const ppo_options *o) {
    const list *files = &o->tuning.files;
    for (int i = 0; i < files->n && o->dump; i++)
        if (same_file(o->dump, files->item[i])) return complain(USAGE, "%s: is read, and --dump_rollouts would write it", o->dump);
    return 0;
}

/* --total_episodes: completions in all. */
static void count_steps(ppo_options *o) {
    train_options *t = &o->tuning.train;
    double rows = (double)t->batch * t->accumulate, steps = ceil(o->episodes / rows) * o->epochs * o->minibatches;
    if (o->episodes > 0 && t->max_steps <= 0) t->max_steps = steps < INT_MAX ? (int)steps : INT_MAX;
}

static int check_ppo(ppo_options *o) {
    tuning_options *t = &o->tuning;
    int code = check_given(o);
    if (!code) code = check_tuning(t, "ppo");
    t->reads[0] = o->reward_model, t->reads[1] = o->value_head;
    if (!code) code = check_dump(o);
    if (!code) code = one_of("--kl_estimator", o->estimator, "k1", "k3");
    if (!code) code = one_of("--value_gradient", o->value_gradient, "head", "shared");
    if (!code && t->dropout > 0)
        code = complain(USAGE, "--lora_dropout: the policy that learns would not be the one that wrote the completions");
    if (!(o->temperature > 0)) o->temperature = o->rollouts ? 1 : 0.7f;
    if (t->train.lr < 0) t->train.lr = t->full ? 3e-6f : 3e-5f; /* TRL's, and ten times as much for LoRA */
    if (t->train.hold_out < 0) t->train.hold_out = 0;
    if (!code) count_steps(o);
    return code ? code : GO_ON;
}

static int read_ppo_options(int argc, char **argv, ppo_options *o) {
    tuning_options *t = &o->tuning;
    const flag flags[] = {
        { 0, "reward-model", TEXT, &o->reward_model, 0, 0, "DIR", "what run reward wrote, of the same model" },
        { 0, "reward-model-path", TEXT, &o->reward_model, 0, 0, "DIR", "" },
        { 0, "response-length", INTEGER, &o->max_completion, 1, 1 << 20, "N", "tokens of a completion, at most (%)" },
        { 0, "max-completion-length", INTEGER, &o->max_completion, 1, 1 << 20, "N", "" },
        { 0, "temperature", REAL, &o->temperature, 0.001, 1e4, "T", "that they are drawn with, and nothing else (0.7; of --rollouts 1)" },
        { 0, "missing-eos-penalty", REAL, &o->penalty, 0, 1e6, "X", "off the score of a completion that does not end (0)" },
        { 0, "total-episodes", INTEGER, &o->episodes, 1, INT_MAX, "N", "completions in all, instead of --num_train_epochs" },
        { 0, "num-ppo-epochs", INTEGER, &o->epochs, 1, 1000, "N", "times that a batch is learned from (%)" },
        { 0, "num-mini-batches", INTEGER, &o->minibatches, 1, 1 << 20, "N", "in so many steps each time (%)" },
        { 0, "kl-coef", REAL, &o->kl_coef, 0, 1e6, "X", "penalty for going away from the reference (%)" },
        { 0, "kl-estimator", TEXT, &o->estimator, 0, 0, "NAME", "k1 or k3 (%)" },
        { 0, "cliprange", REAL, &o->clip, 1e-6, 1e6, "X", "a token's ratio counts from 1 - X to 1 + X (%)" },
        { 0, "cliprange-value", REAL, &o->clip_value, 1e-6, 1e6, "X", "a value counts up to so far from what it was (%)" },
        { 0, "vf-coef", REAL, &o->vf_coef, 0, 1e6, "X", "of the values' loss (%)" },
        { 0, "gamma", REAL, &o->gamma, 0, 1, "X", "what a reward counts, for each token that it comes later (%)" },
        { 0, "lam", REAL, &o->lam, 0, 1, "X", "of advantages: 0 trusts the values, 1 the rewards that came (%)" },
        { 0, "whiten-rewards", BOOLEAN, &o->whiten_rewards, 0, 0, "", "the rewards of a batch get a variance of 1" },
        { 0, "value-head", TEXT, &o->value_head, 0, 0, "FILE", "go on from this value_head.safetensors (all 0)" },
        { 0, "value-gradient", TEXT, &o->value_gradient, 0, 0, "NAME", "the values' loss teaches head, or shared: the adapter too (%)" },
        { 0, "rollouts", TEXT, &o->rollouts, 0, 0, "FILE", "learn from these completions, all one batch, instead of drawing" },
        { 0, "dump-rollouts", TEXT, &o->dump, 0, 0, "FILE", "write those that are drawn, in the same form" },
        TUNING_FLAGS(t, "3e-5; with --full 3e-6", "0")
    };
    *o = (ppo_options){ .tuning = TUNING_DEFAULTS(10), .value_gradient = "head", .estimator = "k1", .epochs = 4, .minibatches = 1,
                        .max_completion = 53, .kl_coef = 0.05f, .clip = 0.2f, .clip_value = 0.2f, .vf_coef = 0.1f, .gamma = 1,
                        .lam = 0.95f };
    int code = read_flags_and_files(argc, argv, ppo_usage, flags, &t->model.path, &t->files);
    if (code != GO_ON) return code;
    return t->model.path ? check_ppo(o) : complain(USAGE, "no model given, see --help");
}

/* ---- the objective --------------------------------------------------------------------------- */

/* Completions of a step: one part of the batch after the other. *from: the first. */
static int step_rows(const ppo_run *p, int64_t step, int64_t *from) {
    int64_t n = p->b.x.n, of = p->o->minibatches, i = step % of;
    *from = i * n / of;
    return (int)((i + 1) * n / of - *from);
}

/* Number i of them: each time through the batch they come in another order. */
static int row_at(const ppo_run *p, int64_t step, int64_t i) {
    int64_t from, time = step / p->o->minibatches;
    step_rows(p, step, &from);
    if (!strcmp(p->s.o->sampling, "sequential")) return (int)(from + i);
    uint64_t seed = pith__random_at(pith__random_at(p->s.t.o->seed, PPO_SHUFFLE), (uint64_t)time);
    return (int)pith__shuffled(seed, (uint64_t)p->b.x.n, (uint64_t)(from + i));
}

static void ppo_size(const trainer *t, int64_t step, step_size *size) {
    const ppo_run *p = ppo_of(t);
    int64_t from;
    *size = (step_size){ p->b.number < 0 || step < 0 ? 0 : step_rows(p, step, &from), 0, 0 };
    for (int64_t i = 0; i < size->n_sequence; i++) {
        const rollout *r = &p->b.x.r[row_at(p, step, i)];
        size->n_count += r->n, size->n_token += r->n_prompt + r->n;
    }
}

static void ppo_sequence(trainer *t, int64_t step, int64_t i, const sequence_room *room, pith__sequence *to) {
    const ppo_run *p = ppo_of(t);
    ppo_row(p, &p->b.x.r[row_at(p, step, i)], room, to);
}

static void ppo_judge(void *of, int64_t first, const pith__sequence *s, int n) {
    const trainer *t = of;
    ppo_run *p = ppo_of(t);
    int row = row_at(p, t->adam.step, first), from = p->b.x.r[row].n_prompt - 1;
    const pith__ppo_now now = { s->logp + from, s->value + from, s->slope + from, s->value_slope + from };
    ppo_found *found = &p->found[first];
    (void)n; /* 1 */
    found->entropy = 0;
    for (int i = 0; i < p->b.x.r[row].n; i++) found->entropy += (double)s->entropy[from + i];
    pith__ppo_judge(&p->how, &p->b.e[row], &now, &found->sums);
}

static const char *const ppo_figures[] = {
    "objective/kl", "objective/entropy", "objective/non_score_reward", "objective/rlhf_reward", "objective/scores",
    "policy/approxkl_avg", "policy/clipfrac_avg", "loss/policy_avg", "loss/value_avg", "val/clipfrac_avg",
    "policy/entropy_avg", "val/ratio", "val/ratio_var", "val/num_eos_tokens", "completions/mean_length", NULL
};

static double ppo_learned(trainer *t, const pith__loss *loss, double *x) {
    const ppo_run *p = ppo_of(t);
    const ppo_batch *b = &p->b;
    pith__ppo_sums s = { 0 };
    double entropy = 0, length = 0;
    int64_t from, n_row = step_rows(p, t->adam.step, &from);
    (void)loss;
    for (int i = 0; i < n_row; i++) pith__ppo_add(&s, &p->found[i].sums), entropy += p->found[i].entropy;
    for (int i = 0; i < b->x.n; i++) length += (double)b->x.r[i].n / b->x.n;
    double n = (double)s.n, ratio = s.ratio / n;
    const double got[] = {
        b->mean.kl, b->mean.entropy, b->mean.non_score_reward, b->mean.non_score_reward + b->mean.score, b->mean.score,
        s.square / n, (double)s.clipped / n, s.policy / n, s.value / n, (double)s.value_clipped / n,
        entropy / n, ratio, n > 1 ? fmax(0, s.ratio_square - n * ratio * ratio) / (n - 1) : 0, b->n_ended, length
    };
    memcpy(x, got, sizeof got);
    if ((t->adam.step + 1) % t->o->log_steps == 0)
        fprintf(stderr, "%sstep %lld: score %.4f, KL %.4f, length %.1f, ended %.0f %%\n", t->terminal ? "\r\033[K" : "",
                (long long)t->adam.step + 1, b->mean.score, b->mean.kl, length, 100.0 * b->n_ended / b->x.n);
    return (s.policy + p->how.vf_coef * s.value) / n;
}

static void ppo_fields(trainer *t) {
    const ppo_run *p = ppo_of(t);
    int64_t n = ((t->adam.step - 1) / p->steps + 1) * p->b.x.n, before = (t->start_step + p->steps - 1) / p->steps * p->b.x.n;
    log_number(t, "lr", t->rate);
    output_line(&t->log, ", \"episode\": %lld", (long long)n);
    log_number(t, "eps", n > before ? (double)(n - before) / (seconds() - t->start) : 0);
}

static int ppo_measure(trainer *t, const pith__loss *loss) {
    if (t->n_eval) fprintf(stderr, "  score %.4f", ppo_of(t)->eval_score);
    if (t->n_eval) log_number(t, "eval_score", ppo_of(t)->eval_score);
    return tuning_measure(t, loss);
}

static void ppo_numbers(const trainer *t, double *x) {
    const ppo_run *p = ppo_of(t);
    tuning_numbers(t, x);
    x[PITH__MARK_KL_COEF] = p->how.kl_coef, x[PITH__MARK_KL_ESTIMATOR] = p->how.estimator, x[PITH__MARK_CLIP] = p->how.clip;
    x[PITH__MARK_CLIP_VALUE] = p->how.clip_value, x[PITH__MARK_VF_COEF] = p->how.vf_coef, x[PITH__MARK_GAMMA] = p->how.gamma;
    x[PITH__MARK_LAM] = p->how.lam, x[PITH__MARK_WHITEN] = p->how.whiten_rewards;
    x[PITH__MARK_VALUE_GRADIENT] = p->head.detached, x[PITH__MARK_PENALTY] = (double)p->o->penalty;
    x[PITH__MARK_PPO_EPOCHS] = p->o->epochs, x[PITH__MARK_MINIBATCHES] = p->o->minibatches;
    x[PITH__MARK_TEMPERATURE] = (double)p->o->temperature, x[PITH__MARK_COMPLETION] = p->o->max_completion;
}

static const objective ppo_objective = {
    .prepare = ppo_prepare, .size = ppo_size, .sequence = ppo_sequence, .judge = ppo_judge, .learned = ppo_learned,
    .figures = ppo_figures, .fields = ppo_fields, .own_texts = 1, .score = ppo_score_held_out, .numbers = ppo_numbers,
    .measure = ppo_measure
};

/* ---- a run ------------------------------------------------------------------------------------- */

/* --full: the model as it was is mapped from its file, and has a step of its own, in which nothing learns. */
static int open_base(ppo_run *p) {
    pith_error e = { 0, "" };
    const pith__step_plan plan = { .n_ctx = p->s.t.n_ctx, .n_sequence = WAVE, .keep = PITH__KEEP_STREAM };
    int code = open_model(&p->s.o->model, 0, &p->base);
    if (code) return code;
    p->nothing = (pith__params){ .n_shard = PITH__SHARDS, .g = p->w };
    p->ref = pith__step_new(p->base, &p->nothing, &plan, &e);
    return p->ref ? 0 : complain(FAILED, "%s", e.text);
}

static int ppo_parameters(tuning *s) {
    ppo_run *p = s->t.of;
    trainer *t = &s->t;
    pith_error e = { 0, "" };
    size_t n = (size_t)t->m->hyper.n_embd;
    p->w = pith__arena_new(&t->arena, n, sizeof *p->w);
    p->head = (pith__score_head){ .w = p->w, .detached = !strcmp(p->o->value_gradient, "head") };
    if (!p->w) return complain(FAILED, "no memory for a value head");
    if (p->o->value_head && pith__value_head_read(p->w, n, p->o->value_head, &e)) return complain(NOT_LOADED, "%s", e.text);
    if (pith__params_add(&t->params, PITH__VALUE_HEAD, p->w, n, t->m, &p->head.at, &e)) return complain(FAILED, "%s", e.text);
    int code = s->adapter ? 0 : open_base(p);
    return code || !p->o->reward_model ? code : reward_model_open(&p->judge, s->adapter ? t->m : p->base, s->form, p->o->reward_model);
}

/* n_unit: prompts, or given completions. */
static int count_units(ppo_run *p, int n_unit, int longest) {
    trainer *t = &p->s.t;
    int64_t rows = (int64_t)t->o->batch * t->o->accumulate, n = p->o->minibatches;
    if (rows % n)
        return complain(USAGE, "--num_mini_batches is %lld, need a divisor of %lld, the completions of a batch", (long long)n,
                        (long long)rows);
    t->n_ctx = longest - 1;
    p->steps = p->o->epochs * n;
    p->s.n_unit = n_unit;
    t->per_epoch = (double)((n_unit + rows - 1) / rows * p->steps);
    p->found = pith__arena_new(&t->arena, (size_t)(rows / n), sizeof *p->found);
    return p->found ? 0 : complain(FAILED, "no memory for %lld completions", (long long)rows);
}

static int read_given(ppo_run *p) {
    trainer *t = &p->s.t;
    int n_ctx = pith_model_shape(t->m)->n_ctx, code = rollouts_read(&p->given, p->o->rollouts, t->m->hyper.n_vocab);
    if (code) return code;
    if (p->given.longest > n_ctx)
        return complain(BAD_DATA, "%s: a prompt with its completion has %d tokens, need %d at most, the model's context",
                        p->o->rollouts, p->given.longest, n_ctx);
    for (int i = 0; i < p->given.n; i++) {
        const rollout *r = &p->given.r[i];
        t->key = pith__hash(t->key + (uint64_t)r->n, r->t, (size_t)(r->n_prompt + r->n) * sizeof *r->t);
    }
    t->o->batch = p->given.n, t->o->accumulate = 1;
    return count_units(p, p->given.n, p->given.longest);
}

static int ppo_data(tuning *s) {
    ppo_run *p = s->t.of;
    trainer *t = &s->t;
    const tuning_options *o = s->o;
    int n_ctx = pith_model_shape(t->m)->n_ctx, room = p->o->max_completion;
    const pith_time now = time_now();
    const list eval = { { t->o->eval }, t->o->eval != NULL };
    if (p->o->rollouts) return read_given(p);
    const task_plan plan = { .m = t->m, .form = s->form, .variables = o->variables, .now = &now, .parse_special = o->parse_special,
                             .most = (o->max_length < n_ctx ? o->max_length : n_ctx) - room, .room = room };
    int code = tasks_open(&p->tasks, &plan, &o->files);
    if (!code && eval.n) code = tasks_open(&p->held_out, &plan, &eval);
    if (code) return code;
    int out = eval.n ? 0 : (int)((double)p->tasks.n * (double)t->o->hold_out), n = p->tasks.n - out;
    t->n_eval = eval.n ? p->held_out.n : out;
    t->key = pith__hash(p->tasks.key, &n, sizeof n);
    return count_units(p, n, (p->tasks.longest > p->held_out.longest ? p->tasks.longest : p->held_out.longest) + room);
}

/* The last checkpoint is in the middle of a batch; --rollouts: there is but one. */
static int is_half(const ppo_run *p) {
    int64_t step = p->s.t.adam.step;
    return step > 0 && (p->o->rollouts || step % p->steps);
}

static int head_path(const char *folder, char *path, size_t size) {
    int n = snprintf(path, size, "%s/value_head.safetensors", folder);
    return n > 0 && (size_t)n < size ? 0 : complain(FAILED, "%s: the name is too long", folder);
}

static int ppo_beside(tuning *s, const char *folder, int is_checkpoint) {
    const ppo_run *p = s->t.of;
    char path[4096];
    pith_error e = { 0, "" };
    int code = head_path(folder, path, sizeof path);
    if (!code && pith__value_head_write(p->w, (size_t)s->t.m->hyper.n_embd, path, &e)) code = report(&e);
    return !code && is_checkpoint && is_half(p) ? ppo_write_batch(p, folder) : code;
}

static int ppo_reload(tuning *s, const char *folder) {
    const ppo_run *p = s->t.of;
    char path[4096];
    pith_error e = { 0, "" };
    int code = head_path(folder, path, sizeof path);
    if (!code && pith__value_head_read(p->w, (size_t)s->t.m->hyper.n_embd, path, &e)) code = report(&e);
    return code;
}

static int ppo_ready(tuning *s) {
    ppo_run *p = s->t.of;
    int code = s->t.o->resume && is_half(p) ? ppo_read_batch(p) : 0;
    if (code || !p->o->dump || s->t.o->dry_run) return code;
    p->dump = (output){ .file = fopen(p->o->dump, s->t.o->resume ? "ab" : "wb"), .path = p->o->dump };
    return p->dump.file ? 0 : complain(FAILED, "%s: cannot be written", p->o->dump);
}

static int ppo_forecast(tuning *s) {
    const ppo_run *p = s->t.of;
    trainer *t = &s->t;
    double rows = (double)t->o->batch * t->o->accumulate, scored = t->n_eval < t->o->max_eval ? t->n_eval : t->o->max_eval;
    say_learned(s);
    if (!p->o->rollouts)
        fprintf(stderr, "prompts      %lld to learn from, %d held out; the longest has %d tokens\n", (long long)s->n_unit, t->n_eval,
                t->n_ctx + 1 - p->o->max_completion);
    fprintf(stderr, "completions  %.0f at once, of at most %d tokens; %lld steps learn from them\n", rows,
            p->o->rollouts ? p->b.x.longest : p->o->max_completion, (long long)p->steps);
    return trainer_forecast(t, s->adapter ? "model and adapter" : "weights", (double)tuning_held(s), 40.0 * rows * t->n_ctx,
                            scored * t->n_ctx + 2.0 * s->watch.n_text);
}

int verb_ppo(int argc, char **argv) {
    static const lesson ppo_lesson = { .data = ppo_data, .parameters = ppo_parameters, .ready = ppo_ready,
                                       .forecast = ppo_forecast, .beside = ppo_beside, .reload = ppo_reload };
    ppo_options o;
    int code = read_ppo_options(argc, argv, &o);
    if (code != GO_ON) return code;
    ppo_run p = { .o = &o, .b = { .number = -1 } };
    p.how = (pith__ppo){ .estimator = strcmp(o.estimator, "k1") ? PITH__K3 : PITH__K1, .whiten_rewards = o.whiten_rewards,
                         .kl_coef = (double)o.kl_coef, .gamma = (double)o.gamma, .lam = (double)o.lam, .clip = (double)o.clip,
                         .clip_value = (double)o.clip_value, .vf_coef = (double)o.vf_coef };
    code = tuning_run(&p.s, &o.tuning, &ppo_objective, &ppo_lesson);
    if (p.dump.file && fclose(p.dump.file) != 0 && !code) code = complain(FAILED, "%s: cannot be written", o.dump);
    ppo_free_batch(&p.b);
    rollouts_free(&p.given), tasks_free(&p.tasks), tasks_free(&p.held_out);
    reward_model_close(&p.judge);
    pith__step_free(p.ref);
    pith_close(p.base);
    return code;
}
