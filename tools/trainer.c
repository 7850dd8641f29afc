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

/* OUT/NAME in memory of the trainer; NULL: none left, complained. */
const char *trainer_path(trainer *t, const char *name) {
    size_t n = strlen(t->o->folder) + strlen(name) + 2;
    char *path = pith__arena_new(&t->arena, n, 1);
    if (path) snprintf(path, n, "%s/%s", t->o->folder, name);
    else complain(FAILED, "no memory for the name of %s", name);
    return path;
}

void trainer_numbers(const trainer *t, double *x) {
    const train_options *o = t->o;
    const double all[PITH__MARK_NUMBERS] = {
        [PITH__MARK_LR] = (double)o->lr, [PITH__MARK_MIN_LR] = (double)o->min_lr,
        [PITH__MARK_WARMUP] = (double)t->warmup, [PITH__MARK_TOTAL] = (double)t->total,
        [PITH__MARK_SCHEDULE] = t->schedule, [PITH__MARK_DECAY] = (double)o->decay,
        [PITH__MARK_BETA1] = (double)o->beta1, [PITH__MARK_BETA2] = (double)o->beta2,
        [PITH__MARK_EPS] = (double)o->eps, [PITH__MARK_MAX_NORM] = (double)o->max_norm,
        [PITH__MARK_CONTEXT] = t->n_ctx,
    };
    memcpy(x, all, sizeof all);
}

void print_duration(double s) {
    if (s < 120) fprintf(stderr, "%.0f s", s);
    else if (s < 6000) fprintf(stderr, "%.0f min", s / 60);
    else fprintf(stderr, "%.0fh%02d", floor(s / 3600), (int)(fmod(s, 3600) / 60));
}

/* Sequences that are learned from at once, of so many that are left. */
int trainer_wave(const trainer *t, int64_t left) {
    return left < t->step->n_shard ? (int)left : t->step->n_shard;
}

/* ---- the log --------------------------------------------------------------------------------- */

/* A step's loss on what is held out. 1: it stays above the lowest before, by more than chance moves it. */
static int note_score(trainer *t, int64_t step, double loss) {
    if (t->best_step >= 0 && !(loss < t->best)) return ++t->n_worse > 1 && loss > 1.01 * t->best;
    t->best = loss;
    t->best_step = step;
    t->n_worse = 0;
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
        double loss;
        if (pith__json_float(pith__json_get(j, "eval_loss"), &loss)) note_score(t, step, loss);
    }
    free(text);
    return output_close(&o, 1);
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
static void log_number(trainer *t, const char *name, double x) {
    if (isfinite(x)) output_line(&t->log, ", \"%s\": %.9g", name, x);
    else output_line(&t->log, ", \"%s\": null", name);
}

static int log_end(trainer *t) {
    output_line(&t->log, "}\n");
    output_flush(&t->log);
    return t->log.code > 0 ? t->log.code : 0;
}

static double epoch_of(const trainer *t) {
    return (double)t->adam.step * (double)t->batch_size * t->n_ctx / (double)t->data.n_train;
}

/* The line of a step: on a terminal it is overwritten by the next, so it must fit into 80 columns. */
static int log_step(trainer *t) {
    double spent = seconds() - t->start, loss = t->loss_n ? t->loss_sum / t->loss_n : t->smooth;
    int64_t done = t->adam.step - t->start_step;
    double per_step = done ? spent / (double)done : 0;
    double speed = per_step > 0 ? (double)t->batch_size * t->n_ctx / per_step : 0;
    fprintf(stderr, "%sstep %lld/%lld loss %.3f lr %.1e |grad| %.2f %.0f tok/s ",
            t->terminal ? "\r\033[K" : "", (long long)t->adam.step, (long long)t->total, loss,
            t->rate, t->norm, speed);
    print_duration(spent);
    fprintf(stderr, ", ETA ");
    print_duration(per_step * (double)(t->total - t->adam.step));
    if (!t->terminal) fprintf(stderr, "\n");
    output_line(&t->log, "{\"step\": %lld", (long long)t->adam.step);
    log_number(t, "epoch", epoch_of(t));
    log_number(t, "loss", loss);
    log_number(t, "learning_rate", t->rate);
    log_number(t, "grad_norm", t->norm);
    log_number(t, "tokens_per_second", speed);
    t->loss_sum = 0;
    t->loss_n = 0;
    return log_end(t);
}

/* ---- evaluating ------------------------------------------------------------------------------ */

enum { SAMPLE = 100 }; /* tokens */

/* A text as the model writes it now, to the terminal and the log. */
static int write_sample(trainer *t) {
    const pith_shape *shape = pith_model_shape(t->m);
    pith_session *s = t->step->tape[0]->s;
    pith_token first = shape->bos >= 0 ? shape->bos : shape->eos;
    pith_generation g = { .how = PITH_SAMPLING_DEFAULT, .rng = t->o->seed * 2 + 1, .n_predict = SAMPLE };
    pith_error e = { 0, "" };
    char text[SAMPLE * 64];
    size_t n = 0;
    if (first < 0) return 0;
    pith_rewind(s, 0);
    int code = pith_eval(s, &first, 1, &e);
    while (!code && !stopped()) {
        code = pith_generate(s, &g, &e);
        if (code < 0 || n + g.n_text > sizeof text) break;
        memcpy(text + n, g.text, g.n_text);
        n += g.n_text;
    }
    pith_generation_free(&g);
    if (code < 0) return complain(FAILED, "%s", e.text);
    for (size_t i = 0; i < n; i++) /* nothing that a terminal might obey */
        if (((unsigned char)text[i] < ' ' && text[i] != '\n') || text[i] == 127) text[i] = ' ';
    output say = { .file = stderr };
    output_text(&say, text, n);
    output_text(&say, "\n", 1);
    output_line(&t->log, ", \"sample\": ");
    output_json(&t->log, text, n);
    return 0;
}

/* The loss on what is held out: at most so many windows, spread over it. */
static int score_held_out(trainer *t, pith__loss *loss) {
    pith_error e = { 0, "" };
    int all = pith__dataset_eval_windows(&t->data, t->n_ctx),
        n = all < t->o->max_eval ? all : t->o->max_eval;
    *loss = (pith__loss){ 0, 0 };
    for (int i = 0, wave; i < n && !stopped(); i += wave) {
        pith__sequence s[PITH__SHARDS];
        wave = trainer_wave(t, n - i);
        for (int k = 0; k < wave; k++) {
            int window = (int)((int64_t)(i + k) * all / n);
            pith_token *token = t->token + (size_t)k * ((size_t)t->n_ctx + 1);
            int tokens = pith__dataset_eval_window(&t->data, t->n_ctx, window, token);
            s[k] = (pith__sequence){ token, token + 1, tokens };
        }
        if (pith__step_score(t->step, s, wave, loss, &e)) return complain(FAILED, "%s", e.text);
    }
    return stopped();
}

/* The model that scored best so far is kept beside the checkpoints: a long run may learn its text by heart
 * (overfitting). */
static int keep_best(trainer *t) {
    pith_error e = { 0, "" };
    const char *path = trainer_path(t, "best.gguf");
    pith__tensor *tensor = path ? pith__learned_tensors(&t->params, &t->arena) : NULL;
    if (!tensor) return path ? complain(FAILED, "%s: no memory to write it", path) : FAILED;
    const pith__format *to = pith__format_of(PITH__F32);
    return pith__gguf_write(&t->m->store, tensor, t->params.n_param, to, path, &e) ? report(&e) : 0;
}

static int evaluate_now(trainer *t) {
    pith__loss loss;
    int code = score_held_out(t, &loss);
    if (code) return code == stopped() ? 0 : code;
    output_line(&t->log, "{\"step\": %lld", (long long)t->adam.step);
    fprintf(stderr, "%s", t->terminal ? "\r\033[K" : "");
    if (loss.n) {
        double mean = loss.sum / (double)loss.n;
        double bits = mean / log(2) * (double)t->data.n_eval / (double)t->data.eval_bytes;
        fprintf(stderr, "step %lld/%lld  eval loss %.4f  bits/byte %.4f\n", (long long)t->adam.step,
                (long long)t->total, mean, bits);
        if (note_score(t, t->adam.step, mean)) /* overfitting */
            fprintf(stderr, "held-out loss rises since step %lld (%.4f): the text is being learned by heart\n",
                    (long long)t->best_step, t->best);
        log_number(t, "eval_loss", mean);
        log_number(t, "eval_bits_per_byte", bits);
        if (t->best_step == t->adam.step && (code = keep_best(t))) return code;
    }
    code = write_sample(t);
    int logged = log_end(t);
    return code ? code : logged;
}

/* Sequences i to i + n of the next step. */
static void next_sequences(trainer *t, int64_t i, int n, pith__sequence *s) {
    for (int k = 0; k < n; k++) {
        uint64_t window = (uint64_t)(t->adam.step * t->batch_size + i + k);
        pith_token *token = t->token + (size_t)k * ((size_t)t->n_ctx + 1);
        pith__dataset_window(&t->data, t->n_ctx, t->o->seed, window, token);
        s[k] = (pith__sequence){ token, token + 1, t->n_ctx };
    }
}

/* ---- saving ---------------------------------------------------------------------------------- */

static int say_diverged(const trainer *t, int64_t step, const char *what, double x) {
    char name[64];
    const char *good = t->o->resume ? t->from.path : NULL;
    snprintf(name, sizeof name, "checkpoint-%lld.gguf", (long long)t->saved);
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

/* The step's loss belongs to the weights before it. Save the new ones only if finite and good on the next
 * sequences. */
static int check_learned(trainer *t) {
    pith_error e = { 0, "" };
    pith__loss loss = { 0, 0 };
    pith__sequence s[PITH__SHARDS];
    if (t->checked == t->adam.step) return 0;
    for (size_t i = 0; i < t->params.n_param; i++)
        for (size_t k = 0; k < t->params.param[i].n; k++)
            if (!isfinite(t->params.param[i].w[k]))
                return say_diverged(t, t->adam.step, "a weight", (double)t->params.param[i].w[k]);
    int wave = trainer_wave(t, t->batch_size);
    next_sequences(t, 0, wave, s);
    if (pith__step_score(t->step, s, wave, &loss, &e)) return complain(FAILED, "%s", e.text);
    double mean = loss.sum / (double)loss.n;
    if (is_diverged(t, mean)) return say_diverged(t, t->adam.step, "the loss", mean);
    t->checked = t->adam.step;
    return 0;
}

static int save_progress(trainer *t) {
    pith__mark mark = { t->adam.step, (int64_t)t->o->seed, t->batch_size, (int64_t)t->data.key, { 0 } };
    trainer_numbers(t, mark.number);
    char name[64];
    enum { MOST = 64 };
    int64_t step[MOST];
    if (t->saved == t->adam.step) return 0;
    int code = check_learned(t);
    if (code) return code;
    snprintf(name, sizeof name, "checkpoint-%lld.gguf", (long long)t->adam.step);
    const char *path = trainer_path(t, name);
    pith_error e = { 0, "" };
    if (!path) return FAILED;
    if (pith__checkpoint_save(t->m, &t->params, &t->adam, &mark, path, &e)) return report(&e);
    t->saved = t->adam.step;
    size_t n = pith__numbered(t->o->folder, "checkpoint-", ".gguf", step, MOST);
    for (size_t i = 0; t->o->keep && i + (size_t)t->o->keep < n && i < MOST; i++) {
        if (step[i] >= t->saved) break;
        snprintf(name, sizeof name, "checkpoint-%lld.gguf", (long long)step[i]);
        if (!(path = trainer_path(t, name))) return FAILED;
        pith__remove(path);
    }
    return 0;
}

static int save_model(trainer *t) {
    const char *gguf = trainer_path(t, "model.gguf"), *bin = trainer_path(t, "model.bin");
    const char *tokenizer = trainer_path(t, "tokenizer.bin");
    pith__tensor *tensor = pith__learned_tensors(&t->params, &t->arena);
    size_t n = t->params.n_param;
    if (!gguf || !bin || !tokenizer) return FAILED;
    if (!tensor) return complain(FAILED, "%s: no memory to write it", gguf);
    pith_error e = { 0, "" };
    const pith__store *s = &t->m->store;
    int code = pith__gguf_write(s, tensor, n, pith__format_named(t->o->out_type), gguf, &e);
    int spm = t->vocab.model == PITH__SPM; /* llama2.c knows no other */
    if (!code && spm) code = pith__llama2c_write(s, tensor, n, bin, &e);
    if (!code && spm) code = pith__tokenizer_write(&t->vocab, tokenizer, &e);
    if (code) return report(&e);
    fprintf(stderr, "%s%s written; to try it: run %s\n", gguf, spm ? ", model.bin, tokenizer.bin" : "", gguf);
    return 0;
}

/* ---- training -------------------------------------------------------------------------------- */

/* One step. Asked to stop in the middle of it, it is as if it had not begun. */
static int take_step(trainer *t) {
    pith_error e = { 0, "" };
    pith__loss loss = { 0, 0 };
    float scale = 1.0f / ((float)t->batch_size * (float)t->n_ctx);
    pith__step_begin(t->step);
    for (int64_t i = 0, wave; i < t->batch_size; i += wave) {
        pith__sequence s[PITH__SHARDS];
        wave = trainer_wave(t, t->batch_size - i);
        next_sequences(t, i, (int)wave, s);
        if (pith__step_learn(t->step, s, (int)wave, scale, &e))
            return complain(FAILED, "%s", e.text);
        if (stopped()) return stopped();
    }
    pith__step_end(t->step, &loss);
    double mean = loss.sum / (double)loss.n;
    t->norm = pith__grad_norm(&t->params);
    t->rate = (double)t->o->lr * pith__schedule(t->schedule, t->adam.step, t->warmup, t->total,
                                                (double)t->o->min_lr);
    t->smooth = t->smooth < 0 ? mean : 0.8 * t->smooth + 0.2 * mean;
    int64_t step = t->adam.step + 1;
    if (!isfinite(mean)) return say_diverged(t, step, "the loss", mean);
    if (!isfinite(t->norm)) return say_diverged(t, step, "the gradient's norm", t->norm);
    if (t->norm <= 0 && mean > 0.5 * t->untrained) /* nothing is learned any more */
        return say_diverged(t, step, "the gradient's norm", t->norm);
    if (is_diverged(t, t->smooth)) return say_diverged(t, step, "the loss", t->smooth);
    double most = (double)t->o->max_norm;
    pith__adamw_step(&t->adam, &t->params, t->rate,
                     most > 0 && t->norm > most ? most / t->norm : 1);
    t->loss_sum += mean;
    t->loss_n++;
    return 0;
}

/* Which model is the last, and which the best; --load_best_model_at_end. */
static int choose_best(trainer *t) {
    pith_error e = { 0, "" };
    pith__store s;
    const char *path = trainer_path(t, "best.gguf");
    if (!path) return FAILED;
    if (t->best_step < 1 || t->best_step == t->adam.step || access(path, F_OK) != 0) return 0;
    fprintf(stderr, "the best evaluation was at step %lld, with a loss of %.4f: %s%s\n", (long long)t->best_step,
            t->best, path, t->o->load_best ? "" : " (--load_best_model_at_end makes it model.gguf)");
    if (!t->o->load_best) return 0;
    if (pith__open(&s, path, NULL, &e)) return complain(FAILED, "%s", e.text);
    int code = pith__weights_load(&s, &t->params, &e) ? report(&e) : 0;
    pith__store_free(&s);
    return code;
}

static int every(int64_t step, int64_t n) { return n && step % n == 0; }

int trainer_run(trainer *t) {
    const train_options *o = t->o;
    t->start = seconds();
    t->start_step = t->adam.step;
    t->smooth = -1;
    int code = 0;
    while (!code && t->adam.step < t->total) {
        code = take_step(t);
        if (code) break;
        int64_t step = t->adam.step;
        int last = step == t->total;
        if (every(step, o->log_steps) || last) code = log_step(t);
        if (!code && t->eval_steps && (every(step, t->eval_steps) || last)) code = evaluate_now(t);
        if (!code && o->save_steps && (every(step, o->save_steps) || last)) code = save_progress(t);
    }
    if (t->terminal) fprintf(stderr, "\n");
    if (!code) code = check_learned(t);
    if (!code) code = choose_best(t);
    if (!code) return save_model(t);
    if (code != stopped()) return code;
    int saved = save_progress(t);
    if (saved) return saved;
    fprintf(stderr, "stopped after step %lld; to try it: run %s/checkpoint-%lld.gguf; to go on, give the same "
            "command%s\n", (long long)t->adam.step, o->folder, (long long)t->adam.step,
            o->last ? "" : " with --resume_from_checkpoint last");
    return code;
}
