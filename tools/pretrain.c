/* pretrain.c - run pretrain: from a text file to a model.
 *
 *     run pretrain TEXT --output_dir OUT --dim 288 --layers 6 ...
 *
 * Learns a vocabulary from the text (or takes one), makes a Llama of the given shape with random
 * weights, and teaches it to predict the next token. In OUT then are checkpoint-N.gguf as
 * training goes on, train.log.jsonl, and at the end model.gguf, model.bin and tokenizer.bin.
 * Flags have the names that Hugging Face's trainers give them. The steps are in trainer.c. */
#define _POSIX_C_SOURCE 200809L
#include "trainer.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- flags ----------------------------------------------------------------------------------- */

static const train_options pretrain_defaults = {
    .hold_out = 0.05f, .schedule = "cosine", .out_type = "f32", .batch = 8,
    .accumulate = 1, .warmup = -1, .eval_steps = -1, .save_steps = 500, .log_steps = 10,
    .max_eval = 64, .keep = 2, .epochs = 3, .lr = 1e-3f, .min_lr = -1, .decay = 0.1f, .max_norm = 1,
    .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .seed = 42
};

static const char pretrain_usage[] =
    "run pretrain TEXT --output_dir OUT [options]\n"
    "Make a model from a text: documents separated by <|endoftext|>, or a .jsonl file of\n"
    "{\"text\": ...}. --resume_from_checkpoint last goes on where a run stopped, to the same\n"
    "bits. Defaults stand in brackets.\n\n";

/* --resume_from_checkpoint: a file, or the last one in the folder (what Hugging Face calls True). */
static int is_last(const char *resume) {
    return resume && (!strcmp(resume, "last") || !strcmp(resume, "true") || !strcmp(resume, "True"));
}

static int read_train_options(int argc, char **argv, train_options *o) {
    const flag flags[] = {
        { 'o', "output-dir", TEXT, &o->folder, 0, 0, "DIR", "where everything is written" },
        { 0, "train-file", LIST, &o->texts, 0, 0, "FILE",
          "one more text; may be given often" },
        { 0, "eval-file", TEXT, &o->eval, 0, 0, "FILE", "a text to score the model on" },
        { 0, "validation-split", REAL, &o->hold_out, 0, 0.9, "P",
          "else this part of the text is held out (0.05)" },
        { 'z', "tokenizer", TEXT, &o->tokenizer, 0, 0, "FILE", "a .gguf or tokenizer.bin" },
        { 0, "vocab-size", INTEGER, &o->vocab_size, 1, 1 << 24, "N",
          "else learn so many pieces (4096)" },
        { 0, "normalizer", TEXT, &o->normalizer, 0, 0, "NAME",
          "from text in Unicode's normal form C: nfc, or none (nfc)" },
        { 0, "dim", INTEGER, &o->dim, 1, 1 << 16, "N", "channels of the stream (288)" },
        { 0, "layers", INTEGER, &o->layers, 1, 1 << 10, "N", "blocks (6)" },
        { 0, "heads", INTEGER, &o->heads, 1, 1 << 12, "N", "heads of attention (6)" },
        { 0, "kv-heads", INTEGER, &o->kv_heads, 1, 1 << 12, "N", "key and value heads (as heads)" },
        { 0, "ffn", INTEGER, &o->ffn, 1, 1 << 20, "N",
          "width of the feed-forward network (8/3 dim)" },
        { 0, "context", INTEGER, &o->context, 1, 1 << 20, "N", "tokens of a sequence (256)" },
        { 0, "untied", SWITCH, &o->untied, 0, 0, "", "an output matrix apart from the embedding" },
        { 0, "learning-rate", REAL, &o->lr, 0, 1e6, "X", "(1e-3)" },
        { 0, "lr-scheduler-type", TEXT, &o->schedule, 0, 0, "NAME",
          "constant, linear, cosine, cosine_with_min_lr (cosine)" },
        { 0, "min-lr-rate", REAL, &o->min_lr, 0, 1, "X", "part of the rate left at the end (0)" },
        { 0, "warmup-steps", INTEGER, &o->warmup, 0, INT_MAX, "N", "(a twentieth)" },
        { 0, "max-steps", INTEGER, &o->max_steps, -1, INT_MAX, "N",
          "0 or -1: as --num_train_epochs gives (-1)" },
        { 0, "num-train-epochs", REAL, &o->epochs, 0, 1e6, "X", "times through the text (3)" },
        { 0, "per-device-train-batch-size", INTEGER, &o->batch, 1, 1 << 20, "N", "sequences (8)" },
        { 0, "gradient-accumulation-steps", INTEGER, &o->accumulate, 1, 1 << 20, "N",
          "as many times that make a step (1)" },
        { 0, "gradient-checkpointing", SWITCH, &o->recompute, 0, 0, "",
          "less memory, a third more time" },
        { 0, "weight-decay", REAL, &o->decay, 0, 100, "X", "(0.1)" },
        { 0, "max-grad-norm", REAL, &o->max_norm, 0, 1e9, "X", "(1; 0: any)" },
        { 0, "adam-beta1", REAL, &o->beta1, 0, 0.9999, "X", "(0.9)" },
        { 0, "adam-beta2", REAL, &o->beta2, 0, 0.999999, "X", "(0.95)" },
        { 0, "adam-epsilon", REAL, &o->eps, 1e-30, 1, "X", "(1e-8)" },
        { 's', "seed", SEED, &o->seed, 0, 0, "N", "(42)" },
        { 0, "eval-steps", INTEGER, &o->eval_steps, 0, INT_MAX, "N",
          "score every N steps (a tenth of all, at most 500; 0: never)" },
        { 0, "max-eval-samples", INTEGER, &o->max_eval, 1, INT_MAX, "N",
          "on at most N sequences (64)" },
        { 0, "save-steps", INTEGER, &o->save_steps, 0, INT_MAX, "N",
          "checkpoints (500; 0: never)" },
        { 0, "save-total-limit", INTEGER, &o->keep, 0, 1000, "N", "keep the last N (2; 0: all)" },
        { 0, "logging-steps", INTEGER, &o->log_steps, 1, INT_MAX, "N", "a line of the log (10)" },
        { 0, "resume-from-checkpoint", TEXT, &o->resume, 0, 0, "FILE", "or last" },
        { 0, "overwrite-output-dir", SWITCH, &o->overwrite, 0, 0, "",
          "begin anew where a run was" },
        { 0, "load-best-model-at-end", SWITCH, &o->load_best, 0, 0, "",
          "write the model that scored best, not the last" },
        { 0, "outtype", TEXT, &o->out_type, 0, 0, "TYPE", "of model.gguf: f32, f16, q8_0 (f32)" },
        { 0, "threads", INTEGER, &o->threads, 0, MOST_THREADS, "N", "(one a physical core)" },
        { 0, "dry-run", SWITCH, &o->dry_run, 0, 0, "", "say what it would take and stop" },
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    const char *text = NULL;
    *o = pretrain_defaults;
    int code = read_flags(argc, argv, pretrain_usage, flags, &text);
    if (code != GO_ON) return code;
    if ((code = add_text(&o->texts, text))) return code;
    if (!o->folder) return complain(USAGE, "no --output_dir given");
    o->last = is_last(o->resume);
    if (o->accumulate > INT_MAX / o->batch)
        return complain(USAGE, "--gradient_accumulation_steps is %d, need %d or less with %d sequences",
                        o->accumulate, INT_MAX / o->batch, o->batch);
    if (o->normalizer && wants_nfc(o->normalizer) < 0) return USAGE;
    if (pith__schedule_named(o->schedule) < 0)
        return complain(USAGE,
                        "--lr_scheduler_type is '%s', need constant, constant_with_warmup, linear, "
                        "cosine or cosine_with_min_lr",
                        o->schedule);
    if (o->min_lr < 0) o->min_lr = strcmp(o->schedule, "cosine_with_min_lr") ? 0 : 0.1f;
    const pith__format *f = pith__format_named(o->out_type);
    if (!f || (f->id != PITH__F32 && f->id != PITH__F16 && f->id != PITH__Q8_0))
        return complain(USAGE, "--outtype is '%s', need f32, f16 or q8_0", o->out_type);
    return GO_ON;
}

/* ---- the shape ------------------------------------------------------------------------------- */

/* A size is what the flag says (0: nothing), else what the checkpoint has, else otherwise. Only the context
 * may be another than the checkpoint's: no weight has its size. */
static int size_said(trainer *t, const char *shown, int *said, const char *name, int otherwise) {
    const pith__key *k = t->o->resume ? pith__store_key(&t->from, name) : NULL;
    if (t->o->resume && (!k || k->type != PITH__INT || k->i < 1 || k->i > 1 << 24))
        return complain(BAD_DATA, "%s: is no checkpoint of this program: %s", t->from.path, name);
    if (k && *said && *said != k->i && said != &t->o->context)
        return complain(BAD_DATA, "%s: has another shape: %s is %d there, not %d", t->from.path,
                        shown, (int)k->i, *said);
    if (!*said) *said = k ? (int)k->i : otherwise;
    return 0;
}

static int check_shape(const train_options *o) {
    if (o->dim % o->heads)
        return complain(USAGE, "--heads is %d, need a divisor of --dim %d", o->heads, o->dim);
    if (o->dim / o->heads % 2)
        return complain(USAGE, "--heads %d of --dim %d have %d channels each, need an even number",
                        o->heads, o->dim, o->dim / o->heads);
    if (o->heads % o->kv_heads)
        return complain(USAGE, "--kv-heads is %d, need a divisor of --heads %d", o->kv_heads,
                        o->heads);
    return 0;
}

static int choose_sizes(trainer *t, train_options *o) {
    const char *const names[] = { "embedding_length", "block_count", "attention.head_count",
                                  "attention.head_count_kv", "feed_forward_length",
                                  "context_length" };
    const char *const flags[] = { "--dim", "--layers", "--heads", "--kv-heads", "--ffn",
                                  "--context" };
    int *const said[] = { &o->dim, &o->layers, &o->heads, &o->kv_heads, &o->ffn, &o->context };
    for (int i = 0; i < 6; i++) {
        const int otherwise[] = { 288, 6, 6, o->heads, (o->dim * 8 / 3 + 31) / 32 * 32, 256 };
        char name[64];
        snprintf(name, sizeof name, "llama.%s", names[i]);
        int code = size_said(t, flags[i], said[i], name, otherwise[i]);
        if (code) return code;
    }
    return check_shape(o);
}

/* A document ends with the token that begins the next one, so that token becomes the model's end token. */
static int end_documents(trainer *t) {
    pith_token end = pith__document_token(&t->vocab);
    if (end < 0)
        return complain(BAD_DATA, "%s: its vocabulary has neither BOS nor EOS, so no document could begin or end",
                        t->from.path);
    t->vocab.end[0] = end, t->vocab.n_end = 1;
    return 0;
}

static int choose_shape(trainer *t, train_options *o) {
    int code = end_documents(t);
    if (!code) code = choose_sizes(t, o);
    if (code) return code;
    int apart = o->resume && pith__store_tensor(&t->from, "output.weight");
    if (o->resume && o->untied && !apart)
        return complain(BAD_DATA, "%s: has another shape: it is not --untied", t->from.path);
    if (o->resume) o->untied = apart;
    if (o->vocab_size && o->vocab_size != t->vocab.n)
        return complain(BAD_DATA, "%s: --vocab_size is %d, its vocabulary has %d pieces",
                        t->from.path ? t->from.path : "the text", o->vocab_size, t->vocab.n);
    if (o->normalizer && wants_nfc(o->normalizer) != t->vocab.nfc)
        return complain(BAD_DATA, "%s: --normalizer is %s, its vocabulary has %s", t->from.path, o->normalizer,
                        t->vocab.nfc ? "nfc" : "none");
    return 0;
}

/* ---- the vocabulary -------------------------------------------------------------------------- */

static int find_checkpoint(trainer *t, train_options *o) {
    if (!o->last) return 0;
    enum { MOST = 4096 };
    int64_t step[MOST];
    size_t n = pith__numbered(o->folder, "checkpoint-", ".gguf", step, MOST);
    char name[64];
    if (n == 0) { /* what was stopped before it saved anything goes on from the beginning */
        fprintf(stderr, "no checkpoint in %s yet: beginning with step 0\n", o->folder);
        o->resume = NULL;
        return 0;
    }
    snprintf(name, sizeof name, "checkpoint-%lld.gguf", (long long)step[(n < MOST ? n : MOST) - 1]);
    o->resume = trainer_path(t, name);
    return o->resume ? 0 : FAILED;
}

/* The last checkpoint cannot be read: say so, and which one before it can. */
static int bad_checkpoint(trainer *t, const pith_error *e, int code) {
    enum { MOST = 4096 };
    int64_t step[MOST];
    size_t n = t->o->last ? pith__numbered(t->o->folder, "checkpoint-", ".gguf", step, MOST) : 0;
    for (size_t i = n < MOST ? n : MOST; i > 0; i--) {
        char name[64];
        pith__store s;
        snprintf(name, sizeof name, "checkpoint-%lld.gguf", (long long)step[i - 1]);
        const char *path = trainer_path(t, name);
        if (!path) return FAILED;
        if (!strcmp(path, t->o->resume) || pith__open(&s, path, NULL, NULL)) continue;
        pith__store_free(&s);
        return complain(code, "%s; the one before it can be read: --resume_from_checkpoint %s", e->text, path);
    }
    return complain(code, "%s", e->text);
}

/* --tokenizer beside a checkpoint, which has one itself: its pieces must stand for the same bytes. */
static int same_vocab(const trainer *t, const char *path) {
    pith__store s;
    pith_error e = { 0, "" };
    int code = open_vocab_file(&s, path);
    if (code) return code;
    pith__tokenizer *a = pith__tokenizer_new(&t->vocab, &e), *b = pith__tokenizer_new(&s.vocab, &e);
    int same = a && b && t->vocab.n == s.vocab.n;
    for (int i = 3; i < s.vocab.n && same; i++) /* the first three are spelled in many ways */
        same = !pith__str_cmp(pith__tokenizer_piece(a, i), pith__tokenizer_piece(b, i));
    if (!a || !b) code = complain(FAILED, "%s: %s", path, e.text);
    else if (!same)
        code = complain(BAD_DATA, "%s: has another vocabulary than --tokenizer %s", t->from.path, path);
    pith__tokenizer_free(a);
    pith__tokenizer_free(b);
    pith__store_free(&s);
    return code;
}

static int get_vocab(trainer *t, train_options *o) {
    int code = 0;
    if (o->resume) code = find_checkpoint(t, o);
    const char *path = o->resume ? o->resume : o->tokenizer;
    pith_error e = { 0, "" };
    if (code) return code;
    if (path) {
        if (t->o->last && pith__open(&t->from, path, NULL, &e)) return bad_checkpoint(t, &e, NOT_LOADED);
        if (!o->last) code = open_vocab_file(&t->from, path);
        t->vocab = t->from.vocab;
        return code || !o->resume || !o->tokenizer ? code : same_vocab(t, o->tokenizer);
    }
    if (!o->vocab_size) o->vocab_size = 4096;
    double start = seconds();
    pith__texts texts = { o->texts.item, o->texts.n };
    pith__progress watch = progress_of(&t->shown);
    pith__vocab_plan plan = { .model = PITH__SPM, .size = o->vocab_size,
                              .nfc = !o->normalizer || wants_nfc(o->normalizer) };
    if (pith__learn_vocab(&t->vocab, &t->arena, &texts, &plan, &watch, &e)) return report(&e);
    fprintf(stderr, "vocabulary   %d pieces, learned in %.1f s\n", t->vocab.n, seconds() - start);
    return 0;
}

static int new_model(trainer *t) {
    const train_options *o = t->o;
    pith__llama shape = { o->dim, o->layers, o->heads, o->kv_heads, o->ffn, o->context, o->untied };
    pith_options opt = { .n_threads = threads_wanted(o->threads) };
    pith_error e = { 0, "" };
    if (!opt.n_threads) opt.n_threads = pith__may_use("").cores;
    t->m = pith__new_llama(&shape, &t->vocab, o->seed, &opt, &e);
    return t->m ? 0 : complain(FAILED, "%s", e.text);
}

/* ---- everything a run needs ------------------------------------------------------------------ */

/* Some systems promise more memory than they have, and end the process when it is used. */
static int check_memory(double bytes, const char *what) {
    double all = pith__may_use("").memory;
    if (bytes <= all) return 0;
    return complain(FAILED, "%s would take %.1f GB of memory, this process may use %.1f: need a smaller "
                    "--dim, --layers, --ffn or --context", what, bytes * 1e-9, all * 1e-9);
}

/* Before any of it is there: weights, gradients, and the optimizer's two means. */
static int check_weights_fit(const trainer *t) {
    const train_options *o = t->o;
    double dim = o->dim, kv = dim / o->heads * o->kv_heads;
    double layer = 2 * dim + 2 * dim * dim + 2 * dim * kv + 3 * dim * o->ffn;
    double n = (double)t->vocab.n * dim * (o->untied ? 2 : 1) + dim + o->layers * layer;
    return check_memory(4 * 4 * n, "training this shape");
}

static int keep_of(const train_options *o) { return o->recompute ? PITH__KEEP_STREAM : PITH__KEEP_ALL; }

static int training_memory(trainer *t) {
    pith_error e = { 0, "" };
    const train_options *o = t->o;
    if (pith__params_new(&t->params, t->m, &e)) return complain(FAILED, "%s", e.text);
    size_t n = t->params.n;
    t->n_ctx = o->context;
    t->adam = (pith__adamw){ .beta1 = o->beta1,
                             .beta2 = o->beta2,
                             .eps = o->eps,
                             .weight_decay = o->decay,
                             .m = calloc(n, sizeof(float)),
                             .v = calloc(n, sizeof(float)) };
    t->token = calloc(PITH__SHARDS * ((size_t)t->n_ctx + 1), sizeof *t->token);
    if (!t->adam.m || !t->adam.v || !t->token)
        return complain(FAILED, "no memory to train %zu parameters", n);
    int n_sequence = o->batch * o->accumulate; /* fits, see read_train_options */
    double bytes = (double)pith__step_size(t->m, &t->params, t->n_ctx, n_sequence, keep_of(o));
    int code = check_memory(bytes + 12.0 * (double)n, "training with this context");
    if (code) return code;
    t->step = pith__step_new(t->m, &t->params, t->n_ctx, n_sequence, keep_of(o), &e);
    return t->step ? 0 : complain(FAILED, "%s", e.text);
}

static const char *const outputs[] = { "model.gguf", "model.bin", "tokenizer.bin", "best.gguf", "train.tokens",
                                       "train.log.jsonl" };
enum { N_MODEL = 3, N_OUTPUT = sizeof outputs / sizeof *outputs }; /* the first are what the run is for */

/* Beside a checkpoint --tokenizer is only compared, and written again as it was. */
static int check_inputs(trainer *t) {
    const train_options *o = t->o;
    const char *const one[] = { o->resume ? NULL : o->tokenizer, o->eval };
    for (int i = 0; i < N_OUTPUT; i++) {
        const char *path = trainer_path(t, outputs[i]);
        if (!path) return FAILED;
        for (int k = 0; k < 2 + o->texts.n; k++) {
            const char *in = k < 2 ? one[k] : o->texts.item[k - 2];
            if (in && same_file(in, path))
                return complain(USAGE, "%s: is read, and the run would write %s: need another --output_dir", in, path);
        }
    }
    return 0;
}

/* A model where no run was is somebody's, made elsewhere. */
static int check_models(trainer *t) {
    const char *model = NULL;
    int64_t step;
    int run = t->o->overwrite || pith__numbered(t->o->folder, "checkpoint-", ".gguf", &step, 1) > 0;
    for (int i = 0; i < N_OUTPUT && !run; i++) {
        const char *path = trainer_path(t, outputs[i]);
        if (!path) return FAILED;
        if (access(path, F_OK) != 0) continue;
        if (i < N_MODEL) model = model ? model : path;
        else run = strcmp(outputs[i], "best.gguf") != 0;
    }
    if (run || !model) return 0;
    return complain(USAGE, "%s: is there, but no run's log: need another --output_dir, or --overwrite_output_dir to "
                    "write over it", model);
}

/* Fresh: the folder has no run in it, or the user wants to lose it. */
static int check_folder(trainer *t) {
    enum { MOST = 4096 };
    int64_t step[MOST];
    const train_options *o = t->o;
    size_t n = pith__numbered(o->folder, "checkpoint-", ".gguf", step, MOST);
    if (o->resume || n == 0) return 0;
    if (!o->overwrite)
        return complain(
            USAGE,
            "%s: a run has %zu checkpoints there: --resume_from_checkpoint last goes on, "
            "--overwrite_output_dir begins anew",
            o->folder, n);
    char name[64];
    for (size_t i = 0; i <= n && i < MOST; i++) {
        if (i < n) snprintf(name, sizeof name, "checkpoint-%lld.gguf", (long long)step[i]);
        const char *path = trainer_path(t, i < n ? name : "best.gguf");
        if (!path) return FAILED;
        pith__remove(path);
    }
    return 0;
}

static int open_folder(trainer *t) {
    static const char *const ours[] = { "checkpoint-", "model.gguf.", "model.bin.", "tokenizer.bin.",
                                        "best.gguf.", "train.tokens.", "train.log.jsonl." };
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
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) /* of a run that was killed while it saved */
        pith__remove_named(t->o->folder, ours[i], ".part");
    return check_folder(t);
}

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

static int open_data(trainer *t) {
    const train_options *o = t->o;
    const char *path = o->dry_run ? NULL : trainer_path(t, "train.tokens");
    if (!o->dry_run && !path) return FAILED;
    pith__text_choice texts = { { o->texts.item, o->texts.n }, o->eval, o->hold_out };
    pith__progress watch = progress_of(&t->shown);
    pith_error e = { 0, "" };
    int code = o->dry_run ? pith__dataset_count(&t->data, t->m, &texts, &watch, &e)
                          : pith__dataset_open(&t->data, t->m, &texts, path, &watch, &e);
    if (code) return report(&e);
    say_hangul_apart(o->texts.item[0], (size_t)t->data.hangul_apart, t->vocab.nfc);
    double step = (double)o->batch * o->accumulate * t->n_ctx; /* tokens */
    if (!pith__dataset_windows(&t->data, t->n_ctx))
        return complain(BAD_DATA, "%s: has %zu tokens to learn from, need %d: more than --context",
                        o->texts.item[0], t->data.n_train, t->n_ctx + 1);
    t->batch_size = (int64_t)o->batch * o->accumulate;
    t->total = o->max_steps > 0 ? o->max_steps
                                : (int64_t)ceil((double)o->epochs * (double)t->data.n_train / step);
    t->eval_steps = o->eval_steps >= 0 ? o->eval_steps : t->total < 5000 ? (t->total + 9) / 10 : 500;
    t->warmup = o->warmup >= 0 ? o->warmup : t->total / 20;
    t->schedule = pith__schedule_named(o->schedule);
    return check_schedule(t);
}

/* A checkpoint of another run can be gone on from, but not to the same bits: say what is other. */
static void say_differences(const trainer *t, const pith__mark *mark) {
    double now[PITH__MARK_NUMBERS];
    const char *path = t->from.path;
    trainer_numbers(t, now);
    for (int i = 0; i < PITH__MARK_NUMBERS; i++) {
        float a = (float)now[i], b = (float)mark->number[i];
        if (isnan(b) || a == b) continue;
        if (i == PITH__MARK_SCHEDULE) fprintf(stderr, "pith: --lr_scheduler_type is another than %s has\n", path);
        else fprintf(stderr, "pith: --%s is %.9g, %s has %.9g\n", pith__mark_name(i), (double)a, path, (double)b);
    }
    if (mark->seed != (int64_t)t->o->seed)
        fprintf(stderr, "pith: --seed is %lld, %s has %lld\n", (long long)t->o->seed, path, (long long)mark->seed);
    if (mark->batch != t->batch_size)
        fprintf(stderr, "pith: a step has %lld sequences, in %s it has %lld\n", (long long)t->batch_size, path,
                (long long)mark->batch);
    if (mark->texts != (int64_t)t->data.key) fprintf(stderr, "pith: the text is another than %s has seen\n", path);
}

static int resume(trainer *t) {
    pith__mark mark = { 0 };
    pith_error e = { 0, "" };
    if (pith__checkpoint_load(&t->from, &t->params, &t->adam, &mark, &e)) return bad_checkpoint(t, &e, BAD_DATA);
    t->checked = mark.step;
    char name[64];
    snprintf(name, sizeof name, "checkpoint-%lld.gguf", (long long)mark.step);
    const char *here = trainer_path(t, name);
    if (!here) return FAILED;
    if (!strcmp(here, t->from.path)) t->saved = mark.step; /* else it is saved here when it must be */
    if (!t->o->dry_run) say_differences(t, &mark);
    fprintf(stderr, "going on from %s\n", t->from.path);
    return 0;
}

/* ---- the forecast ---------------------------------------------------------------------------- */

/* Muennighoff et al. 2023, arXiv:2305.16264: what is read again is worth less each time, after 16 times little. */
static void say_epochs(double epochs) {
    if (epochs > 16)
        fprintf(stderr, "pith: the text is read %.0f times: after about 16 it is learned by heart: need more text or "
                "fewer steps\n", epochs);
}

/* Seconds that a step takes, by the clock: sequences of made-up tokens are learned from for half
 * a second, and forgotten. */
static int time_a_step(trainer *t, double *step) {
    pith_error e = { 0, "" };
    pith__loss loss = { 0, 0 };
    double start = 0;
    int wave = trainer_wave(t, t->batch_size);
    for (int i = 0; i <= t->n_ctx; i++)
        t->token[i] = (pith_token)(pith__random_at(1, (uint64_t)i) % (uint64_t)t->vocab.n);
    pith__step_begin(t->step);
    for (int n = 0; n < 2 || (seconds() - start < 0.5 && n < 50); n++) {
        pith__sequence s[PITH__SHARDS];
        int tokens =
            n == 0 && t->n_ctx > 64 ? 64 : t->n_ctx; /* the first find memory for the others */
        for (int k = 0; k < wave; k++) s[k] = (pith__sequence){ t->token, t->token + 1, tokens };
        if (pith__step_learn(t->step, s, wave, 1e-6f, &e)) return complain(FAILED, "%s", e.text);
        if (stopped()) return stopped();
        if (n == 0) start = seconds();
        else
            *step = (seconds() - start) / n / wave * (double)t->batch_size + 3e-9 * (double)t->params.n;
    }
    pith__step_end(t->step, &loss);
    return 0;
}

enum { PROGRAM_MB = 3 }; /* itself, its libraries and the vocabulary, as measured */

static int forecast(trainer *t) {
    double n = (double)t->params.n, mb = 4e-6 * n, step = 0, grads = mb * t->step->n_shard;
    double acts = 1e-6 * (double)pith__step_size(t->m, &t->params, t->n_ctx, (int)t->batch_size,
                                                  keep_of(t->o)) - grads;
    double width = t->vocab.n > 65536 ? 4 : 2; /* bytes of a token in the file that is mapped */
    double rest = PROGRAM_MB + 1e-6 * width * (double)(t->data.n_train + t->data.n_eval);
    const pith__hyper *h = &t->m->hyper;
    int64_t left = t->total > t->adam.step ? t->total - t->adam.step : 0;
    fprintf(stderr,
            "shape        dim %d, %d layers, %d heads, %d kv heads, ffn %d, context %d, vocabulary "
            "%d\n",
            h->n_embd, h->n_layer, h->n_head, h->n_kv_head, h->n_ff, t->n_ctx, h->n_vocab);
    fprintf(stderr, "parameters   %.0f\n", n);
    fprintf(
        stderr,
        "memory       weights %.0f MB, gradients %.0f, optimizer %.0f, activations %.0f, program and "
        "text %.0f: %.0f MB\n",
        mb, grads, 2 * mb, acts, rest, 3 * mb + grads + acts + rest);
    int json = t->data.kinds & ~(1 << PITH__PROSE);
    fprintf(stderr, "text         %zu tokens to learn from, %zu held out%s\n", t->data.n_train, t->data.n_eval,
            !json ? "" : json & 1 << PITH__JSON_ARRAY ? ", read as a JSON array" : ", read as JSON, a document a line");
    double before = t->o->dry_run ? seconds() - t->began : 0; /* vocabulary and tokens, which the run makes again */
    double making = 12e-6 * (double)t->data.longest; /* as the tokenizer takes */
    if (making > 3 * mb + grads + acts)
        fprintf(stderr, "             %.0f MB while the longest document becomes tokens\n", making + rest + mb);
    int code = time_a_step(t, &step);
    if (code) return code;
    int n_eval = pith__dataset_eval_windows(&t->data, t->n_ctx);
    int64_t every_n = t->eval_steps;
    if (n_eval > t->o->max_eval) n_eval = t->o->max_eval;
    double evaluations = every_n ? (double)(left / every_n) + (left % every_n != 0) : 0;
    before += evaluations * n_eval * step / (double)t->batch_size / 3; /* the way back is two thirds */
    double tokens = (double)t->batch_size * t->n_ctx;
    double epochs = (double)t->total * tokens / (double)t->data.n_train;
    fprintf(stderr, "time         about ");
    print_duration(before + step * (double)left);
    fprintf(stderr, ": %lld steps of %.0f tokens, %.2f epochs, at %.0f tokens/s\n", (long long)left,
            tokens,
            epochs, tokens / step);
    say_epochs(epochs);
    return 0;
}

static int pretrain(trainer *t, train_options *o) {
    t->began = seconds();
    int code = o->resume ? 0 : choose_sizes(t, o); /* before anything is made or learned */
    if (!code && !o->resume) code = check_weights_fit(t);
    if (!code) code = check_inputs(t);
    if (!code && !o->dry_run) code = open_folder(t);
    if (!code) code = get_vocab(t, o);
    if (!code) code = choose_shape(t, o);
    if (!code) code = check_weights_fit(t);
    if (!code) code = new_model(t);
    if (!code) code = training_memory(t);
    if (!code) code = open_data(t);
    t->saved = t->checked = t->best_step = -1;
    t->untrained = log((double)t->vocab.n);
    if (!code && o->resume) code = resume(t);
    if (!code) code = forecast(t);
    if (code || o->dry_run) return code;
    code = trainer_open_log(t);
    return code ? code : trainer_run(t);
}

int verb_pretrain(int argc, char **argv) {
    train_options o;
    int code = read_train_options(argc, argv, &o);
    if (code != GO_ON) return code;
    trainer t = { .o = &o, .lock = -1, .terminal = isatty(STDERR_FILENO) };
    code = pretrain(&t, &o);
    if (code && code == stopped() && !t.log.file)
        fprintf(stderr, "stopped before the first step; to begin again, give the same command\n");
    if (t.log.file) fclose(t.log.file);
    pith__dataset_close(&t.data);
    pith__step_free(t.step);
    free(t.token), free(t.adam.m), free(t.adam.v);
    pith__params_free(&t.params);
    pith_close(t.m);
    pith__store_free(&t.from);
    pith__arena_free(&t.arena);
    pith__unlock(t.lock);
    return code;
}
