/* trainer.c - the loop of a training: steps, the log, evaluation, checkpoints, and what is left when it is stopped.
 *
 * What step n learns from is a function of the seed and n, and a checkpoint holds everything else, so that a run
 * that was stopped, however it was, goes on to the very bits it would have come to. What is saved has been looked
 * at: weights that diverged never replace good ones. */
#define _POSIX_C_SOURCE 200809L
#include "trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the log --------------------------------------------------------------------------------- */

/* A step's loss on what is held out. 1: it stays above the lowest before, by more than chance moves it. */
static int note_score(trainer *t, int64_t step, double loss) {
    if (t->best_step >= 0 && !(loss < t->best)) return ++t->n_worse > 1 && loss > 1.01 * t->best;
    t->best = loss;
    t->best_step = step;
    t->n_worse = 0;
    return 0;
}

static int note_probe(trainer *t, probe p) {
    probe *more = realloc(t->history, ((size_t)t->n_history + 1) * sizeof *more);
    if (!more) return complain(FAILED, "no memory for the evaluations");
    t->history = more;
    t->history[t->n_history++] = p;
    return 0;
}

/* Lines of an earlier run up to the step that this one begins with are kept. */
static int keep_log(trainer *t, const char *path) {
    char *text = NULL, *line;
    size_t n = 0, length;
    output o;
    FILE *f = t->o->resume ? fopen(path, "rb") : NULL;
    if (f) fclose(f);
    int code = f ? read_text(path, &text, &n) : 0;
    if (!code) code = output_open(&o, path, NULL);
    if (code) return free(text), code;
    for (line = text; line && line < text + n; line += length) {
        const char *end = memchr(line, '\n', (size_t)(text + n - line));
        length = end ? (size_t)(end + 1 - line) : (size_t)(text + n - line);
        pith__json j;
        int64_t step = INT64_MAX;
        if (end && !pith__json_read(&j, line, length, path, NULL) && pith__json_type(j) == '{')
            pith__json_int(pith__json_get(j, "step"), &step);
        if (step > t->adam.step) continue;
        output_bytes(&o, line, length);
        double loss = NAN, general = NAN;
        if (pith__json_float(pith__json_get(j, "eval_loss"), &loss)) note_score(t, step, loss);
        if (pith__json_float(pith__json_get(j, "forget_loss"), &general) || !isnan(loss))
            if ((code = note_probe(t, (probe){ step, loss, general }))) break;
    }
    free(text);
    return code ? code : output_close(&o, 1);
}

int trainer_open_log(trainer *t) {
    const char *path = trainer_path(t, "train.log.jsonl");
    int code = path ? keep_log(t, path) : FAILED;
    if (code) return code;
    t->log.file = fopen(path, "ab");
    t->log.path = path; /* for messages */
    return t->log.file ? 0 : complain(FAILED, "%s: cannot be written", path);
}

/* JSON has no word for what is not a number. */
void log_number(trainer *t, const char *name, double x) {
    if (isfinite(x)) output_line(&t->log, ", \"%s\": %.9g", name, x);
    else output_line(&t->log, ", \"%s\": null", name);
}

static int log_end(trainer *t) {
    output_line(&t->log, "}\n");
    output_flush(&t->log);
    return t->log.code > 0 ? t->log.code : 0;
}

/* The line of a step: on a terminal it is overwritten by the next, so it must fit into 80 columns. */
static int log_step(trainer *t) {
    double spent = seconds() - t->start, loss = t->loss_n ? t->loss_sum / t->loss_n : t->smooth;
    int64_t done = t->adam.step - t->start_step;
    double per_step = done ? spent / (double)done : 0;
    double speed = spent > 0 ? (double)(t->seen - t->seen_before) / spent : 0;
    fprintf(stderr, "%sstep %lld/%lld loss %.3f lr %.1e |grad| %.2f %.0f tok/s ",
            t->terminal ? "\r\033[K" : "", (long long)t->adam.step, (long long)t->total, loss,
            t->rate, t->norm, speed);
    print_duration(spent);
    fprintf(stderr, ", ETA ");
    print_duration(per_step * (double)(t->total - t->adam.step));
    if (!t->terminal) fprintf(stderr, "\n");
    output_line(&t->log, "{\"step\": %lld", (long long)t->adam.step);
    log_number(t, "epoch", (double)t->adam.step / t->per_epoch);
    log_number(t, "loss", loss);
    log_number(t, "learning_rate", t->rate);
    log_number(t, "grad_norm", t->norm);
    output_line(&t->log, ", \"num_tokens\": %lld", (long long)t->seen);
    if (t->since.n && !t->what->learned) log_number(t, "mean_token_accuracy", (double)t->since.n_right / (double)t->since.n);
    for (int i = 0; t->what->figures && t->what->figures[i]; i++)
        log_number(t, t->what->figures[i], t->loss_n ? t->sum[i] / t->loss_n : (double)NAN);
    if (t->what->fields) t->what->fields(t);
    log_number(t, "tokens_per_second", speed);
    t->loss_sum = 0;
    t->loss_n = 0;
    t->since = (pith__loss){ 0, 0, 0 };
    memset(t->sum, 0, sizeof t->sum);
    return log_end(t);
}

/* ---- evaluating ------------------------------------------------------------------------------ */

/* The loss on what is held out: at most so many sequences, spread over it. */
static int score_held_out(trainer *t, pith__loss *loss) {
    pith_error e = { 0, "" };
    int n = t->n_eval < t->o->max_eval ? t->n_eval : t->o->max_eval;
    for (int i = 0, wave; i < n && !stopped(); i += wave) {
        pith__sequence s[WAVE];
        wave = trainer_wave(t, n - i);
        for (int k = 0; k < wave; k++) {
            const sequence_room room = trainer_room(t, k);
            t->what->held_out(t, (int)((int64_t)(i + k) * t->n_eval / n), &room, &s[k]);
        }
        if (pith__step_score(t->step, s, wave, loss, &e)) return complain(FAILED, "%s", e.text);
    }
    return stopped();
}

/* What evaluations so far are to be warned of. */
static void warn_of_history(const trainer *t, int rises) {
    char text[512];
    if (t->what->at_start && probe_warning(t->history, t->n_history, text, sizeof text)) fprintf(stderr, "%s", text);
    if (!t->what->at_start && rises) /* overfitting */
        fprintf(stderr, "held-out loss rises since step %lld (%.4f): the text is being learned by heart\n",
                (long long)t->best_step, t->best);
}

static int draw_log(trainer *t) {
    const char *log = trainer_path(t, "train.log.jsonl"), *svg = trainer_path(t, "train.svg");
    return log && svg ? curves_write(log, svg) : FAILED;
}

static int evaluate_now(trainer *t) {
    pith__loss loss = { 0, 0, 0 };
    double mean = NAN;
    int rises = 0, code = t->what->score ? t->what->score(t, &mean) : score_held_out(t, &loss);
    if (code) return code == stopped() ? 0 : code;
    if (loss.n) mean = loss.sum / (double)loss.n;
    if (isnan(mean) && !t->what->at_start) return 0;
    output_line(&t->log, "{\"step\": %lld", (long long)t->adam.step);
    fprintf(stderr, "%sstep %lld/%lld", t->terminal ? "\r\033[K" : "", (long long)t->adam.step, (long long)t->total);
    if (!isnan(mean)) {
        fprintf(stderr, "  eval loss %.4f", mean);
        log_number(t, "eval_loss", mean);
        rises = note_score(t, t->adam.step, mean);
    }
    t->forget_loss = NAN;
    code = t->what->measure(t, &loss);
    fprintf(stderr, "\n");
    if (code && code == stopped()) return 0;
    if (!code) code = note_probe(t, (probe){ t->adam.step, mean, t->forget_loss });
    if (!code) warn_of_history(t, rises);
    if (!code && !isnan(mean) && t->best_step == t->adam.step) code = t->what->keep_best(t);
    if (!code && t->what->show) code = t->what->show(t);
    int logged = log_end(t);
    if (!code && !logged) code = draw_log(t);
    return code ? code : logged;
}

/* ---- saving ---------------------------------------------------------------------------------- */

int say_diverged(trainer *t, int64_t step, const char *what, double x) {
    char name[64];
    const char *good = t->o->resume ? t->from.path : NULL;
    snprintf(name, sizeof name, "checkpoint-%lld%s", (long long)t->saved, t->what->form.tail);
    if (t->saved >= 0) good = name;
    fprintf(stderr, "%s", t->terminal ? "\n" : "");
    return complain(FAILED,
                    "training diverged: at step %lld %s is %g (learning rate %g); %s%s; "
                    "try a smaller --learning_rate",
                    (long long)step, what, x, t->rate, good ? good : "no checkpoint was saved yet",
                    good ? " is good" : "");
}

/* Diverged: the loss is NaN, or far above that of uniform guessing. */
static int is_diverged(const trainer *t, double loss) { return !(loss <= 1.5 * t->untrained + 1); }

/* The step's loss belongs to the weights before it. Save the new ones only if finite and good on the next sequences;
 * where these are not known yet, on some that are. */
static int check_learned(trainer *t) {
    pith_error e = { 0, "" };
    pith__loss loss = { 0, 0, 0 };
    pith__sequence s[WAVE];
    int64_t step = t->what->prepare ? t->adam.step - 1 : t->adam.step;
    if (t->checked == t->adam.step) return 0;
    for (size_t i = 0; i < t->params.n_param; i++)
        for (size_t k = 0; k < t->params.param[i].n; k++)
            if (!isfinite(t->params.param[i].w[k]))
                return say_diverged(t, t->adam.step, "a weight", (double)t->params.param[i].w[k]);
    step_size next;
    t->what->size(t, step, &next);
    int wave = trainer_wave(t, next.n_sequence);
    trainer_sequences(t, step, 0, wave, s);
    if (pith__step_score(t->step, s, wave, &loss, &e)) return complain(FAILED, "%s", e.text);
    double mean = loss.n ? loss.sum / (double)loss.n : 0;
    if (is_diverged(t, mean)) return say_diverged(t, t->adam.step, "the loss", mean);
    t->checked = t->adam.step;
    return 0;
}

static int save_progress(trainer *t) {
    if (t->saved == t->adam.step) return 0;
    int code = check_learned(t);
    return code ? code : trainer_save(t);
}

/* ---- training -------------------------------------------------------------------------------- */

/* What a step is learned from. Where it cannot be had, as a program that gives rewards has ended, what was learned until
 * then is kept. */
static int prepare_step(trainer *t) {
    int code = t->what->prepare ? t->what->prepare(t, t->adam.step) : 0;
    int keep = code && code != stopped() && t->adam.step > t->start_step && t->saved != t->adam.step;
    if (keep && !save_progress(t))
        fprintf(stderr, "the state after step %lld is kept; to go on, give the same command%s\n", (long long)t->adam.step,
                t->o->last ? "" : " with --resume_from_checkpoint last");
    return code;
}

/* One step. Asked to stop in the middle of it, it is as if it had not begun. */
static int take_step(trainer *t) {
    pith_error e = { 0, "" };
    pith__loss loss = { 0, 0, 0 };
    step_size size;
    int code = prepare_step(t);
    if (code) return code;
    t->what->size(t, t->adam.step, &size);
    float scale = 1.0f / (float)size.n_count;
    pith__step_dropout(t->step, t->dropout, pith__random_at(t->o->seed, (uint64_t)t->adam.step));
    pith__step_begin(t->step);
    for (int64_t i = 0, wave; i < size.n_sequence; i += wave) {
        pith__sequence s[WAVE];
        wave = trainer_wave(t, size.n_sequence - i);
        trainer_sequences(t, t->adam.step, i, (int)wave, s);
        if (pith__step_learn(t->step, s, (int)wave, scale, &e))
            return complain(FAILED, "%s", e.text);
        if (stopped()) return stopped();
    }
    pith__step_end(t->step, &loss);
    double figure[PITH__MARK_SUMS] = { 0 };
    double mean = t->what->learned ? t->what->learned(t, &loss, figure) : loss.sum / (double)loss.n;
    t->norm = pith__grad_norm(&t->params);
    t->rate = (double)t->o->lr * pith__schedule(t->schedule, t->adam.step, t->warmup, t->total,
                                                (double)t->o->min_lr);
    t->smooth = t->smooth < 0 ? mean : 0.8 * t->smooth + 0.2 * mean;
    if (t->adam.step == t->start_step && mean > t->untrained) t->untrained = mean; /* worse than knowing nothing */
    int64_t step = t->adam.step + 1;
    if (!isfinite(mean) && t->adam.step == 0)
        return complain(FAILED, "the loss is %g before anything was learned: the model computes what is no number", mean);
    if (!isfinite(mean)) return say_diverged(t, step, "the loss", mean);
    if (!isfinite(t->norm)) return say_diverged(t, step, "the gradient's norm", t->norm);
    if (t->norm <= 0 && mean > 0.5 * (isfinite(t->untrained) ? t->untrained : log(2))) /* nothing is learned any more */
        return say_diverged(t, step, "the gradient's norm", t->norm);
    if (is_diverged(t, t->smooth)) return say_diverged(t, step, "the loss", t->smooth);
    double most = (double)t->o->max_norm, clip = most > 0 ? most / (t->norm + 1e-6) : 1; /* as PyTorch clips */
    pith__adamw_step(&t->adam, &t->params, t->rate, clip < 1 ? clip : 1);
    t->loss_sum += mean;
    t->loss_n++;
    for (int i = 0; i < PITH__MARK_SUMS; i++) t->sum[i] += figure[i];
    t->since.n += loss.n, t->since.n_right += loss.n_right;
    t->seen += size.n_token;
    return 0;
}

/* Which model is the last, and which the best; --load_best_model_at_end. */
static int choose_best(trainer *t) {
    const char *path = NULL;
    if (t->best_step < 0 || t->best_step == t->adam.step) return 0;
    int code = t->what->load_best(t, &path);
    if (path)
        fprintf(stderr, "the best evaluation was at step %lld, with a loss of %.4f: %s%s\n", (long long)t->best_step,
                t->best, path, t->o->load_best ? "" : " (--load_best_model_at_end writes it at the end)");
    return code;
}

static int every(int64_t step, int64_t n) { return n && step % n == 0; }

int trainer_run(trainer *t) {
    const train_options *o = t->o;
    t->start = seconds();
    t->start_step = t->adam.step;
    t->seen_before = t->seen;
    int code = t->what->at_start && t->eval_steps && !t->adam.step ? evaluate_now(t) : 0;
    while (!code && t->adam.step < t->total) {
        code = take_step(t);
        if (code) break;
        int64_t step = t->adam.step;
        int last = step == t->total;
        if (every(step, o->log_steps) || last) code = log_step(t);
        if (!code && t->eval_steps && (every(step, t->eval_steps) || last)) code = evaluate_now(t);
        if (!code && o->save_steps && (every(step, o->save_steps) || last)) code = save_progress(t);
        if (o->patience && t->n_worse >= o->patience) {
            fprintf(stderr, "%sno better evaluation since step %lld: that is the end (--early_stopping_patience %d)\n",
                    t->terminal ? "\n" : "", (long long)t->best_step, o->patience);
            break;
        }
    }
    if (t->terminal) fprintf(stderr, "\n");
    (void)draw_log(t); /* also where none was evaluated, and where it diverged */
    if (!code) code = check_learned(t);
    if (!code) code = choose_best(t);
    if (!code) return t->what->finish(t);
    if (code != stopped()) return code;
    int saved = save_progress(t);
    if (saved) return saved;
    int is_folder = *t->what->form.tail == '/'; /* of an adapter */
    fprintf(stderr, "stopped after step %lld; to try it: run %s%s/checkpoint-%lld%s; to go on, give the same command%s\n",
            (long long)t->adam.step, is_folder ? t->what->tried : "", o->folder, (long long)t->adam.step,
            is_folder ? "" : t->what->form.tail, o->last ? "" : " with --resume_from_checkpoint last");
    return code;
}

void trainer_begin(trainer *t, train_options *o, const objective *what, void *of) {
    *t = (trainer){ .o = o, .what = what, .of = of, .lock = -1, .terminal = isatty(STDERR_FILENO), .saved = -1,
                    .checked = -1, .best_step = -1, .smooth = -1, .began = seconds() };
}

void trainer_free(trainer *t) {
    if (t->log.file) fclose(t->log.file);
    pith__step_free(t->step);
    free(t->history), free(t->room), free(t->room_numbers), free(t->adam.m), free(t->adam.v);
    pith__params_free(&t->params);
    pith_close(t->m);
    pith__store_free(&t->from);
    pith__arena_free(&t->arena);
    pith__unlock(t->lock);
}
