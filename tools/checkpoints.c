/* checkpoints.c - the folder of a run: who may write there, its checkpoints, and what a run goes on from.
 *
 * One process at a time holds the folder. A checkpoint is whole or is none: a file is renamed when all of it is
 * there, and a folder counts once it has its state, which is written last and removed first. */
#define _POSIX_C_SOURCE 200809L
#include "trainer.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 4096, ROUNDED = 200 }; /* checkpoints that are looked at; bytes that say what --qat asks for */

const char *trainer_path(trainer *t, const char *name) {
    size_t n = strlen(t->o->folder) + strlen(name) + 2;
    char *path = pith__arena_new(&t->arena, n, 1);
    if (path) snprintf(path, n, "%s/%s", t->o->folder, name);
    else complain(FAILED, "no memory for the name of %s", name);
    return path;
}

/* ---- what is asked for ----------------------------------------------------------------------- */

/* --resume_from_checkpoint: a file, or the last one in the folder (what Hugging Face calls True). */
static int is_last(const char *resume) {
    return resume && (!strcmp(resume, "last") || !strcmp(resume, "true") || !strcmp(resume, "True"));
}

static int check_precision(const train_options *o) {
    const char *name = o->precision;
    int bf16 = name && !strcmp(name, "bf16");
    if (name && !bf16 && strcmp(name, "fp32") != 0 && strcmp(name, "auto") != 0)
        return complain(USAGE, "--precision is '%s', need fp32, bf16 or auto", name);
    if (o->bf16 && name && !bf16) return complain(USAGE, "--bf16 and --precision %s: need one of them", name);
    if (o->qat && (bf16 || o->bf16))
        return complain(USAGE, "--qat and --precision bf16 both say what products see of the weights: need one of them");
    return 0;
}

int check_training(train_options *o) {
    if (!o->folder) return complain(USAGE, "no --output_dir given");
    int code = check_qat(o);
    if (!code) code = check_precision(o);
    if (code) return code;
    o->last = is_last(o->resume);
    if (o->accumulate > INT_MAX / o->batch)
        return complain(USAGE, "--gradient_accumulation_steps is %d, need %d or less with %d sequences",
                        o->accumulate, INT_MAX / o->batch, o->batch);
    if (pith__schedule_named(o->schedule) < 0)
        return complain(USAGE,
                        "--lr_scheduler_type is '%s', need constant, constant_with_warmup, linear, "
                        "cosine or cosine_with_min_lr",
                        o->schedule);
    if (o->min_lr < 0) o->min_lr = strcmp(o->schedule, "cosine_with_min_lr") ? 0 : 0.1f;
    return 0;
}

int trainer_check_input(trainer *t, const char *in) {
    if (in && pith__path_kind(in) == 'd' && same_file(in, t->o->folder))
        return complain(USAGE, "%s: is read, and the run would write into it: need another --output_dir", in);
    for (const char *const *name = t->what->outputs; in && *name; name++) {
        const char *path = trainer_path(t, *name);
        if (!path) return FAILED;
        if (same_file(in, path))
            return complain(USAGE, "%s: is read, and the run would write %s: need another --output_dir", in, path);
    }
    return 0;
}

/* ---- the folder ------------------------------------------------------------------------------ */

/* "checkpoint-N" and what follows it. */
static const char *checkpoint_name(const trainer *t, int64_t step, char name[64]) {
    snprintf(name, 64, "checkpoint-%lld%s", (long long)step, t->what->form.tail);
    return name;
}

/* The steps of the folder's checkpoints, sorted; n may be over MOST. */
static size_t checkpoints(trainer *t, int64_t *step) {
    const char *tail = t->what->form.tail;
    if (*tail != '/') return pith__numbered(t->o->folder, "checkpoint-", tail, step, MOST);
    size_t n = pith__numbered(t->o->folder, "checkpoint-", "", step, MOST), whole = 0;
    for (size_t i = 0; i < n && i < MOST; i++) {
        char name[64];
        const char *path = trainer_path(t, checkpoint_name(t, step[i], name));
        if (path && access(path, F_OK) == 0) step[whole++] = step[i];
    }
    return whole;
}

/* What a run that was killed while it saved or removed left of a checkpoint that is a folder: no state, nothing else. */
static void remove_remains(trainer *t) {
    int64_t step[MOST];
    char name[64], begin[64];
    if (*t->what->form.tail != '/') return;
    size_t n = pith__numbered(t->o->folder, "checkpoint-", "", step, MOST);
    snprintf(begin, sizeof begin, "%s.", t->what->form.tail + 1);
    for (size_t i = 0; i < n && i < MOST; i++) {
        snprintf(name, sizeof name, "checkpoint-%lld", (long long)step[i]);
        const char *path = trainer_path(t, name);
        if (!path) return;
        pith__remove_named(path, begin, ".part");
        pith__remove(path); /* if it is empty */
    }
}

/* One checkpoint; of a folder what is not ours stays. */
static int remove_checkpoint(trainer *t, int64_t step) {
    char name[64], file[128];
    const char *path = trainer_path(t, checkpoint_name(t, step, name));
    if (!path) return FAILED;
    pith__remove(path);
    if (*t->what->form.tail != '/') return 0;
    *strchr(name, '/') = 0;
    for (const char *const *other = t->what->form.others; *other; other++) {
        snprintf(file, sizeof file, "%s/%s", name, *other);
        if (!(path = trainer_path(t, file))) return FAILED;
        pith__remove(path);
    }
    if (!(path = trainer_path(t, name))) return FAILED;
    pith__remove(path);
    return 0;
}

/* A model where no run was is somebody's, made elsewhere. */
static int check_models(trainer *t) {
    const char *model = NULL, *const *outputs = t->what->outputs;
    int64_t step[MOST];
    int run = t->o->overwrite || checkpoints(t, step) > 0;
    for (int i = 0; outputs[i] && !run; i++) {
        const char *path = trainer_path(t, outputs[i]);
        if (!path) return FAILED;
        if (access(path, F_OK) != 0) continue;
        if (i < t->what->n_model) model = model ? model : path;
        else run = strcmp(outputs[i], "best.gguf") != 0;
    }
    if (run || !model) return 0;
    return complain(USAGE, "%s: is there, but no run's log: need another --output_dir, or --overwrite_output_dir to "
                    "write over it", model);
}

/* Fresh: the folder has no run in it, or the user wants to lose it. */
static int check_fresh(trainer *t) {
    int64_t step[MOST];
    const train_options *o = t->o;
    size_t n = checkpoints(t, step);
    if (o->resume || n == 0) return 0;
    if (!o->overwrite)
        return complain(
            USAGE,
            "%s: a run has %zu checkpoints there: --resume_from_checkpoint last goes on, "
            "--overwrite_output_dir begins anew",
            o->folder, n);
    for (size_t i = 0; i < n && i < MOST; i++)
        if (remove_checkpoint(t, step[i])) return FAILED;
    const char *best = trainer_path(t, "best.gguf");
    if (best) pith__remove(best);
    return best ? 0 : FAILED;
}

int trainer_open_folder(trainer *t) {
    pith_error e = { 0, "" };
    if (t->o->last && access(t->o->folder, F_OK) != 0)
        return complain(USAGE, "%s: is not there, so it has no checkpoint to go on from", t->o->folder);
    if (pith__make_folder(t->o->folder, &e)) return complain(FAILED, "%s", e.text);
    int code = check_models(t);
    if (code) return code;
    const char *path = trainer_path(t, "train.lock");
    if (!path) return FAILED;
    t->lock = pith__lock(path, &e);
    if (t->lock < 0) return complain(FAILED, "%s", e.text);
    pith__remove_named(t->o->folder, "checkpoint-", ".part"); /* of a run that was killed while it saved */
    pith__remove_named(t->o->folder, "train.svg", ".part");
    for (const char *const *name = t->what->outputs; *name; name++) {
        char begin[64];
        snprintf(begin, sizeof begin, "%s.", *name);
        pith__remove_named(t->o->folder, begin, ".part");
    }
    remove_remains(t);
    return check_fresh(t);
}

/* ---- going on from a checkpoint ---------------------------------------------------------------- */

int trainer_find_checkpoint(trainer *t) {
    train_options *o = t->o;
    int64_t step[MOST];
    char name[64];
    if (!o->last) return 0;
    size_t n = checkpoints(t, step);
    if (n == 0) { /* what was stopped before it saved anything goes on from the beginning */
        fprintf(stderr, "no checkpoint in %s yet: beginning with step 0\n", o->folder);
        o->resume = NULL;
        return 0;
    }
    o->resume = trainer_path(t, checkpoint_name(t, step[(n < MOST ? n : MOST) - 1], name));
    return o->resume ? 0 : FAILED;
}

/* The last checkpoint cannot be read: say so, and which one before it can. */
int trainer_bad_checkpoint(trainer *t, const pith_error *e, int code) {
    int64_t step[MOST];
    size_t n = t->o->last ? checkpoints(t, step) : 0;
    for (size_t i = n < MOST ? n : MOST; i > 0; i--) {
        char name[64];
        pith__store s;
        const char *path = trainer_path(t, checkpoint_name(t, step[i - 1], name));
        if (!path) return FAILED;
        if (!strcmp(path, t->o->resume) || pith__open(&s, path, NULL, NULL)) continue;
        pith__store_free(&s);
        return complain(code, "%s; the one before it can be read: --resume_from_checkpoint %s", e->text, path);
    }
    return complain(code, "%s", e->text);
}

static void numbers_of(const trainer *t, double *x) {
    const train_options *o = t->o;
    const double all[] = {
        [PITH__MARK_LR] = (double)o->lr, [PITH__MARK_MIN_LR] = (double)o->min_lr,
        [PITH__MARK_WARMUP] = (double)t->warmup, [PITH__MARK_TOTAL] = (double)t->total,
        [PITH__MARK_SCHEDULE] = t->schedule, [PITH__MARK_DECAY] = (double)o->decay,
        [PITH__MARK_BETA1] = (double)o->beta1, [PITH__MARK_BETA2] = (double)o->beta2,
        [PITH__MARK_EPS] = (double)o->eps, [PITH__MARK_MAX_NORM] = (double)o->max_norm,
        [PITH__MARK_CONTEXT] = t->n_ctx, [PITH__MARK_BF16] = t->params.bf16
    };
    for (int i = 0; i < PITH__MARK_NUMBERS; i++) x[i] = (double)NAN; /* what only some objectives have */
    memcpy(x, all, sizeof all);
    if (t->what->numbers) t->what->numbers(t, x);
}

/* A checkpoint of another run can be gone on from, but not to the same bits: say what is other. */
static void say_differences(const trainer *t, const pith__mark *mark) {
    double now[PITH__MARK_NUMBERS];
    const char *path = t->from.path;
    numbers_of(t, now);
    for (int i = 0; i < PITH__MARK_NUMBERS; i++) {
        float a = (float)now[i], b = (float)mark->number[i];
        if (i == PITH__MARK_BF16 && isnan(b)) b = 0; /* of a time when all was floats */
        if (isnan(a) || isnan(b) || a == b) continue;
        if (i == PITH__MARK_SCHEDULE || i == PITH__MARK_SEQUENTIAL || i == PITH__MARK_LOSS ||
            i == PITH__MARK_SCALE_REWARDS || i == PITH__MARK_KL_ESTIMATOR || i == PITH__MARK_VALUE_GRADIENT)
            fprintf(stderr, "pith: --%s is another than %s has\n", pith__mark_name(i), path);
        else if (i == PITH__MARK_BF16)
            fprintf(stderr, "pith: products are in %s, in %s they are in %s\n", a > 0 ? "BF16" : "floats", path,
                    b > 0 ? "BF16" : "floats");
        else if (i == PITH__MARK_SCALE)
            fprintf(stderr, "pith: the LoRA counts %.7g times (--lora_alpha, --use_rslora), in %s %.7g times\n",
                    (double)a, path, (double)b);
        else fprintf(stderr, "pith: --%s is %.7g, %s has %.7g\n", pith__mark_name(i), (double)a, path, (double)b);
    }
    if (mark->seed != (int64_t)t->o->seed)
        fprintf(stderr, "pith: --seed is %lld, %s has %lld\n", (long long)t->o->seed, path, (long long)mark->seed);
    if (mark->batch != t->batch_size)
        fprintf(stderr, "pith: a step has %lld sequences, in %s it has %lld\n", (long long)t->batch_size, path,
                (long long)mark->batch);
    if (mark->texts != (int64_t)t->key) fprintf(stderr, "pith: the text is another than %s has seen\n", path);
}

/* Who learned for a type of block and does not say so again would go on with another training: that is refused. */
static int check_rounded(const trainer *t, const pith__mark *mark) {
    char now[ROUNDED];
    const char *path = t->from.path;
    int code = trainer_rounded(t, now, sizeof now), n = (int)mark->rounded.n;
    if (code || pith__str_is(mark->rounded, now)) return code;
    if (!*now)
        return complain(USAGE, "%s: its weights learn for %.*s: give --qat and the flags beside it again, or --qat f32 "
                        "to go on without", path, n, mark->rounded.p);
    if (n) fprintf(stderr, "pith: --qat is %s, %s has %.*s\n", now, path, n, mark->rounded.p);
    else fprintf(stderr, "pith: --qat is %s, %s has none\n", now, path);
    return 0;
}

int trainer_resume(trainer *t) {
    pith__mark mark = { 0 };
    pith_error e = { 0, "" };
    char name[64];
    if (pith__checkpoint_load(&t->from, &t->params, &t->adam, &mark, &e))
        return trainer_bad_checkpoint(t, &e, BAD_DATA);
    int code = check_rounded(t, &mark);
    if (code) return code;
    t->checked = mark.step;
    if (mark.since_steps > 0 && mark.since_steps <= t->o->log_steps && isfinite(mark.since_sum))
        t->since = mark.since, t->loss_sum = mark.since_sum, t->loss_n = (int)mark.since_steps,
        memcpy(t->sum, mark.sum, sizeof t->sum);
    if (isfinite(mark.smooth)) t->smooth = mark.smooth;
    const char *here = trainer_path(t, checkpoint_name(t, mark.step, name));
    if (!here) return FAILED;
    if (!strcmp(here, t->from.path)) t->saved = mark.step; /* else it is saved here when it must be */
    if (!t->o->dry_run) say_differences(t, &mark);
    t->seen = mark.seen;
    fprintf(stderr, "going on from %s\n", t->from.path);
    return 0;
}

/* ---- saving ---------------------------------------------------------------------------------- */

int trainer_save(trainer *t) {
    pith__mark mark = { .step = t->adam.step, .seed = (int64_t)t->o->seed, .batch = t->batch_size,
                        .texts = (int64_t)t->key, .since = t->since, .since_sum = t->loss_sum,
                        .since_steps = t->loss_n, .smooth = t->smooth, .seen = t->seen };
    char name[64], rounded[ROUNDED];
    int64_t step[MOST];
    pith_error e = { 0, "" };
    const char *path = trainer_path(t, checkpoint_name(t, t->adam.step, name));
    int code = path ? trainer_rounded(t, rounded, sizeof rounded) : FAILED;
    if (!code) mark.rounded = pith__str_of(rounded);
    if (!code && t->what->save) code = t->what->save(t, t->adam.step);
    if (code) return code;
    numbers_of(t, mark.number);
    memcpy(mark.sum, t->sum, sizeof mark.sum);
    if (pith__checkpoint_save(t->base, &t->params, &t->adam, &mark, path, &e)) return report(&e);
    t->saved = t->adam.step;
    size_t n = checkpoints(t, step);
    for (size_t i = 0; t->o->keep && i + (size_t)t->o->keep < n && i < MOST && step[i] < t->saved; i++)
        if (remove_checkpoint(t, step[i])) return FAILED;
    return 0;
}

/* The model that scored best so far is kept beside the checkpoints: a long run may learn its text by heart
 * (overfitting). */
int trainer_keep_weights(trainer *t) {
    pith_error e = { 0, "" };
    const char *path = trainer_path(t, "best.gguf");
    pith__tensor *tensor = path ? pith__learned_tensors(&t->params, &t->arena) : NULL;
    if (!tensor) return path ? complain(FAILED, "%s: no memory to write it", path) : FAILED;
    const pith__format *to = pith__format_of(PITH__F32);
    return pith__gguf_write(t->base, tensor, t->params.n_param, to, path, &e) ? report(&e) : 0;
}

int trainer_load_weights(trainer *t, const char **path) {
    pith_error e = { 0, "" };
    pith__store s;
    const char *best = trainer_path(t, "best.gguf");
    if (!best) return FAILED;
    if (access(best, F_OK) != 0) return 0;
    *path = best;
    if (!t->o->load_best) return 0;
    if (pith__open(&s, best, NULL, &e)) return complain(FAILED, "%s", e.text);
    int code = pith__weights_load(&s, &t->params, &e) ? report(&e) : 0;
    pith__store_free(&s);
    return code;
}
