/* forecast.c - a run before it begins: its memory, its steps and their sequences, and the time that they take. */
#include "trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void print_duration(double s) {
    if (s < 120) fprintf(stderr, "%.0f s", s);
    else if (s < 6000) fprintf(stderr, "%.0f min", s / 60);
    else fprintf(stderr, "%.0fh%02d", floor(s / 3600), (int)(fmod(s, 3600) / 60));
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Some systems promise more memory than they have, and end the process when it is used. */
int check_memory(double bytes, const char *what) {
    double all = pith__may_use("").memory;
    if (bytes <= all) return 0;
    return complain(FAILED, "%s would take %.1f GB of memory, this process may use %.1f: need a smaller model, "
                    "or shorter sequences", what, bytes * 1e-9, all * 1e-9);
}

static pith__step_plan plan_of(const trainer *t) {
    const train_options *o = t->o;
    int pairs = t->what->group > 1 ? t->what->group : 1;
    return (pith__step_plan){ .n_ctx = t->n_ctx, .n_sequence = o->batch * o->accumulate * pairs, .group = pairs,
                              .keep = o->recompute ? PITH__KEEP_STREAM : PITH__KEEP_ALL }; /* fits, see check_training */
}

/* 1: its products are in BF16. */
static int wants_bf16(const trainer *t) {
    const char *name = t->o->precision ? t->o->precision : t->o->bf16 ? "bf16" : "fp32";
    return !strcmp(name, "bf16") || (!strcmp(name, "auto") && t->m->kernels->fast_pairs && !t->o->qat);
}

int trainer_memory(trainer *t, size_t held) {
    pith_error e = { 0, "" };
    const train_options *o = t->o;
    size_t n = t->params.n;
    if (wants_bf16(t) && pith__bf16_begin(&t->params, t->m, &e)) return report(&e);
    if (t->params.bf16)
        fprintf(stderr, "precision    products in BF16%s\n", t->m->kernels->fast_pairs ? "" :
                ", which this processor multiplies no faster than floats");
    held += pith__qat_size(&t->params) + pith__bf16_size(&t->params);
    t->adam = (pith__adamw){ .beta1 = o->beta1,
                             .beta2 = o->beta2,
                             .eps = o->eps,
                             .weight_decay = o->decay,
                             .m = calloc(n, sizeof(float)),
                             .v = calloc(n, sizeof(float)) };
    size_t room = (size_t)t->n_ctx + 1;
    t->room = calloc(WAVE * 2 * room, sizeof *t->room);
    t->room_numbers = calloc(WAVE * ROOM_NUMBERS * room, sizeof *t->room_numbers);
    if (!t->adam.m || !t->adam.v || !t->room || !t->room_numbers)
        return complain(FAILED, "no memory to train %zu parameters", n);
    const pith__step_plan plan = plan_of(t);
    double bytes = (double)pith__step_size(t->m, &t->params, &plan);
    int code = check_memory(bytes + 8.0 * (double)n + (double)held, "training with sequences so long");
    if (code) return code;
    t->step = pith__step_new(t->m, &t->params, &plan, &e);
    if (!t->step) return complain(FAILED, "%s", e.text);
    pith__step_judge(t->step, t->what->judge, t);
    return 0;
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* Refuse a run of no steps, or with a rate of 0 throughout; warn when warm-up never reaches the learning rate. */
static int check_schedule(const trainer *t) {
    const train_options *o = t->o;
    int64_t peak = t->warmup < t->total ? t->warmup : t->total - 1; /* the step of the highest rate */
    if (t->total < 1) return complain(USAGE, "no step would be taken: --num_train_epochs is %g", (double)o->epochs);
    double part = pith__schedule(t->schedule, peak, t->warmup, t->total, (double)o->min_lr);
    if (!(part * (double)o->lr > 0))
        return complain(USAGE, "nothing would be learned: the rate is 0 in each of %lld steps (--learning_rate %g, "
                        "--warmup_steps %lld)", (long long)t->total, (double)o->lr, (long long)t->warmup);
    if (t->warmup >= t->total)
        fprintf(stderr, "pith: --warmup_steps %lld is not less than the run's %lld steps: the rate only comes to "
                "%.3g\n", (long long)t->warmup, (long long)t->total, part * (double)o->lr);
    return 0;
}

int trainer_plan(trainer *t) {
    const train_options *o = t->o;
    t->batch_size = (int64_t)o->batch * o->accumulate;
    t->total = o->max_steps > 0 ? o->max_steps : (int64_t)ceil((double)o->epochs * t->per_epoch);
    t->eval_steps = o->eval_steps >= 0 ? o->eval_steps : t->total < 5000 ? (t->total + 9) / 10 : 500;
    t->warmup = o->warmup >= 0 ? o->warmup : t->total / 20;
    t->schedule = pith__schedule_named(o->schedule);
    if ((o->patience || o->load_best) && (!t->eval_steps || !t->n_eval))
        return complain(USAGE, "%s needs evaluations of examples that are held out: --eval_file, or --validation_split "
                        "over 0, and --eval_steps not 0", o->patience ? "--early_stopping_patience" : "--load_best_model_at_end");
    return check_schedule(t);
}

/* ---- sequences ------------------------------------------------------------------------------- */

/* Sequences that are learned from at once, of so many that are left. */
int trainer_wave(const trainer *t, int64_t left) {
    int most = t->step->n_shard * t->step->group;
    return left < most ? (int)left : most;
}

sequence_room trainer_room(const trainer *t, int k) {
    size_t room = (size_t)t->n_ctx + 1;
    return (sequence_room){ t->room + (size_t)k * 2 * room, t->room_numbers + (size_t)k * ROOM_NUMBERS * room };
}

void trainer_sequences(trainer *t, int64_t step, int64_t i, int n, pith__sequence *s) {
    for (int k = 0; k < n; k++) {
        const sequence_room room = trainer_room(t, k);
        t->what->sequence(t, step, i + k, &room, &s[k]);
    }
}

/* ---- time ------------------------------------------------------------------------------------ */

/* Seconds that a token takes, by the clock: the first sequences are learned from for half a second, and
 * forgotten. */
static int time_a_token(trainer *t, double *token) {
    pith_error e = { 0, "" };
    pith__loss loss = { 0, 0, 0 };
    double start = 0;
    step_size size;
    int code = t->what->prepare ? t->what->prepare(t, t->adam.step) : 0;
    if (code) return code;
    t->what->size(t, t->adam.step, &size);
    int64_t i = 0, tokens = 0;
    pith__step_begin(t->step);
    for (int n = 0; n < 2 || (seconds() - start < 0.5 && n < 50); n++) {
        pith__sequence s[WAVE];
        int wave = trainer_wave(t, size.n_sequence - i);
        trainer_sequences(t, t->adam.step, i, wave, s);
        t->step->taken = i;
        for (int k = 0; k < wave && n == 0; k++) s[k].n = s[k].n > 64 ? 64 : s[k].n; /* the first find memory for the others */
        if (pith__step_learn(t->step, s, wave, 1e-6f, &e)) return complain(FAILED, "%s", e.text);
        if (stopped()) return stopped();
        for (int k = 0; k < wave && n > 0; k++) tokens += s[k].n;
        if (n == 0) start = seconds();
        i = i + wave < size.n_sequence ? i + wave : 0;
    }
    *token = (seconds() - start) / (double)tokens;
    pith__step_end(t->step, &loss);
    return 0;
}

/* Tokens that are left to learn from. */
static double tokens_left(const trainer *t) {
    double n = 0;
    for (int64_t step = t->adam.step; step < t->total; step++) {
        step_size s;
        t->what->size(t, step, &s);
        n += (double)s.n_token;
    }
    return n;
}

/* Muennighoff et al. 2023, arXiv:2305.16264: what is read again is worth less each time, after 16 times little. */
static void say_epochs(double epochs) {
    if (epochs > 16)
        fprintf(stderr, "pith: the text is read %.0f times: after about 16 it is learned by heart: need more text or "
                "fewer steps\n", epochs);
}

enum { PROGRAM_MB = 3 }; /* itself, its libraries and the vocabulary, as measured */

int trainer_forecast(trainer *t, const char *weights, double held, double data, double eval_tokens) {
    double n = (double)t->params.n, mb = 4e-6 * n, token = 0, grads = mb * t->step->n_shard;
    const pith__step_plan plan = plan_of(t);
    held += (double)pith__bf16_size(&t->params);
    double acts = 1e-6 * (double)pith__step_size(t->m, &t->params, &plan) - grads;
    double rest = PROGRAM_MB + 1e-6 * data;
    int64_t left = t->total > t->adam.step ? t->total - t->adam.step : 0;
    fprintf(stderr,
            "memory       %s %.0f MB, gradients %.0f, optimizer %.0f, activations %.0f, program and "
            "text %.0f: %.0f MB\n",
            weights, held * 1e-6, grads, 2 * mb, acts, rest, held * 1e-6 + 2 * mb + grads + acts + rest);
    double before = t->o->dry_run ? seconds() - t->began : 0; /* vocabulary and tokens, which the run makes again */
    int code = time_a_token(t, &token);
    if (code) return code;
    double evaluations = t->eval_steps ? (double)(left / t->eval_steps) + (left % t->eval_steps != 0) : 0;
    double tokens = tokens_left(t), epochs = (double)t->total / t->per_epoch;
    double spent = before + tokens * token + evaluations * eval_tokens * token / 3; /* the way back is two thirds */
    fprintf(stderr, "time         about ");
    print_duration(spent + 3e-9 * n * (double)left);
    fprintf(stderr, ": %lld steps of %.0f tokens, %.2f epochs, at %.0f tokens/s\n", (long long)left,
            left ? tokens / (double)left : 0, epochs, 1 / token);
    if (!t->what->own_texts) say_epochs(epochs);
    return 0;
}
