/* pretrain.c - run pretrain: from a text file to a model.
 *
 *     run pretrain TEXT --output_dir OUT --dim 288 --layers 6 ...
 *
 * Learns a vocabulary from the text (or takes one), makes a Llama of the given shape with random
 * weights, and teaches it to foretell the next token. In OUT then are checkpoint-N.gguf as
 * training goes on, train.log.jsonl, and at the end model.gguf, model.bin and tokenizer.bin.
 * Flags have the names that Hugging Face's trainers give them.
 *
 * What step n learns from is a function of the seed and n, and a checkpoint holds everything
 * else, so that a run that was stopped, however it was, goes on to the very bits it would have
 * come to. What is saved has been looked at: weights that diverged never replace good ones. */
#define _POSIX_C_SOURCE 200809L
#include "verbs.h"
#include "../train/train.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { /* what the user asks for */
    list texts;
    const char *eval;
    float hold_out;
    const char *tokenizer, *normalizer, *folder, *schedule, *resume, *out_type;
    int dim, layers, heads, kv_heads, ffn, context, vocab_size, untied; /* 0: not said */
    int batch, accumulate, max_steps, warmup, threads, recompute;
    int eval_steps, save_steps, log_steps, max_eval, keep;
    int dry_run, overwrite, load_best, last; /* last: to go on from the last checkpoint */
    float epochs, lr, min_lr, decay, max_norm, beta1, beta2, eps;
    uint64_t seed;
} options;

typedef struct {
    const options *o;
    pith__store from;      /* the checkpoint, or where the vocabulary is from */
    pith__arena arena;     /* a vocabulary that was learned */
    pith__vocab vocab;
    pith_model *m;
    pith__params params;
    pith__adamw adam;      /* its step is the number of steps taken */
    pith__step *step;
    pith__dataset data;
    pith_token *token;     /* (PITH__SHARDS, n_ctx + 1) */
    int lock, n_ctx, terminal, schedule;
    int64_t batch_size;    /* sequences in a step */
    int64_t total, warmup; /* steps */
    int64_t eval_steps;    /* from one evaluation to the next; 0: none */
    double best;           /* the lowest loss on what is held out, and */
    int64_t best_step;     /* the step that had it, -1: none had any */
    int n_worse;           /* evaluations since then */
    output log;
    progress shown;        /* of long work before the first step */
    double untrained;      /* the loss of one who knows nothing: log of the vocabulary's size */
    double loss_sum;       /* of the steps since the last line of the log, */
    int loss_n;            /* and how many */
    double smooth;         /* loss, averaged over the last steps; -1: none yet */
    double norm, rate;     /* gradient's norm and learning rate of the last step */
    double start;          /* when, */
    int64_t start_step;    /* and with what step this process began */
    int64_t saved;         /* the step of the last checkpoint in the folder, -1: none */
    int64_t checked;       /* the last step whose weights were found to be good, -1: none */
    double began;          /* when everything did */
} trainer;

/* ---- flags ----------------------------------------------------------------------------------- */

static const options pretrain_defaults = {
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

static int read_options(int argc, char **argv, options *o) {
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

/* OUT/NAME in memory of the trainer; NULL: none left, complained. */
static const char *path_in(trainer *t, const char *name) {
    size_t n = strlen(t->o->folder) + strlen(name) + 2;
    char *path = pith__arena_new(&t->arena, n, 1);
    if (path) snprintf(path, n, "%s/%s", t->o->folder, name);
    else complain(FAILED, "no memory for the name of %s", name);
    return path;
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

static int check_shape(const options *o) {
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

static int choose_sizes(trainer *t, options *o) {
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

/* What is learned: a document ends with the token that begins the next. So that is what ends a text, whatever the
 * vocabulary had for it; llama2.c's files know no other, and a .gguf file names it. */
static int end_documents(trainer *t) {
    pith_token end = pith__document_token(&t->vocab);
    if (end < 0)
        return complain(BAD_DATA, "%s: its vocabulary has neither BOS nor EOS, so no document could begin or end",
                        t->from.path);
    t->vocab.end[0] = end, t->vocab.n_end = 1;
    return 0;
}

static int choose_shape(trainer *t, options *o) {
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

static int find_checkpoint(trainer *t, options *o) {
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
    o->resume = path_in(t, name);
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
        const char *path = path_in(t, name);
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

static int get_vocab(trainer *t, options *o) {
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

/* ---- a model with random weights ------------------------------------------------------------- */

/* Normal numbers by Box and Muller's way, one for each i of the sequence called seed. */
static double normal_at(uint64_t seed, uint64_t i) {
    double u = ((double)(pith__random_at(seed, 2 * i) >> 11) + 1) * 0x1p-53; /* never 0 */
    double v = (double)(pith__random_at(seed, 2 * i + 1) >> 11) * 0x1p-53;
    return sqrt(-2 * log(u)) * cos(6.28318530717958647692 * v);
}

typedef struct { /* the store being filled; code as of the first failure */
    pith__store s;
    const options *o;
    pith_error e;
    int code;
} maker;

/* Norms are ones, deviation 0. A matrix's numbers depend on the seed and its name, not on
 * others. */
static void make_weight(maker *k, int l, const char *name, int rows, int cols, double deviation) {
    uint64_t seed = k->o->seed;
    size_t n = (size_t)rows * (size_t)cols;
    char *full = pith__arena_new(&k->s.arena, 64, 1);
    float *x = pith__arena_new(&k->s.arena, n + 16, sizeof *x);
    if (!full || !x) k->code = PITH_EMEMORY;
    if (k->code) return;
    x += (64 - (uintptr_t)x % 64) % 64 / sizeof *x; /* to a cache line */
    if (l >= 0) snprintf(full, 64, "blk.%d.%s", l, name);
    else snprintf(full, 64, "%s", name);
    for (const char *p = full; *p; p++) seed = pith__random_at(seed, (unsigned char)*p);
    for (size_t i = 0; i < n; i++)
        x[i] = deviation > 0 ? (float)(deviation * normal_at(seed, i)) : 1;
    int vector = rows == 1 && !(deviation > 0);
    pith__tensor *t = &k->s.tensor[k->s.n_tensor++];
    *t = (pith__tensor){ .name = pith__str_of(full), .n_dim = vector ? 1 : 2,
                         .shape = { (uint64_t)(vector ? cols : rows), (uint64_t)cols } };
    k->code = pith__tensor_set(t, &k->s, PITH__F32,
                               (pith__cursor){ (const uint8_t *)x, n * sizeof *x, 0 }, &k->e);
}

/* As GPT-2 begins: deviation 0.02, less where every block adds to the stream. */
static void make_weights(maker *k, int n_vocab) {
    const options *o = k->o;
    int kv = o->dim / o->heads * o->kv_heads;
    double deviation = 0.02, residual = 0.02 / sqrt(2.0 * o->layers);
    k->s.tensor = pith__arena_new(&k->s.arena, 3 + 9 * (size_t)o->layers, sizeof *k->s.tensor);
    if (!k->s.tensor) k->code = PITH_EMEMORY;
    if (k->code) return;
    make_weight(k, -1, "token_embd.weight", n_vocab, o->dim, deviation);
    make_weight(k, -1, "output_norm.weight", 1, o->dim, 0);
    if (o->untied) make_weight(k, -1, "output.weight", n_vocab, o->dim, deviation);
    for (int l = 0; l < o->layers; l++) {
        make_weight(k, l, "attn_norm.weight", 1, o->dim, 0);
        make_weight(k, l, "attn_q.weight", o->dim, o->dim, deviation);
        make_weight(k, l, "attn_k.weight", kv, o->dim, deviation);
        make_weight(k, l, "attn_v.weight", kv, o->dim, deviation);
        make_weight(k, l, "attn_output.weight", o->dim, o->dim, residual);
        make_weight(k, l, "ffn_norm.weight", 1, o->dim, 0);
        make_weight(k, l, "ffn_gate.weight", o->ffn, o->dim, deviation);
        make_weight(k, l, "ffn_up.weight", o->ffn, o->dim, deviation);
        make_weight(k, l, "ffn_down.weight", o->dim, o->ffn, residual);
    }
}

static void make_keys(maker *k, int n_vocab) {
    const options *o = k->o;
    const struct { const char *name; int v; } keys[] = {
        { "llama.block_count", o->layers }, { "llama.embedding_length", o->dim },
        { "llama.feed_forward_length", o->ffn }, { "llama.attention.head_count", o->heads },
        { "llama.attention.head_count_kv", o->kv_heads }, { "llama.context_length", o->context },
        { "llama.rope.dimension_count", o->dim / o->heads }, { "llama.vocab_size", n_vocab },
    };
    k->code = pith__store_add_string(&k->s, "general.architecture", "llama") ||
              pith__store_add_string(&k->s, "general.name", "pith") ||
              pith__store_add_float(&k->s, "llama.attention.layer_norm_rms_epsilon", 1e-5f) ||
              pith__store_add_float(&k->s, "llama.rope.freq_base", 10000) ? PITH_EMEMORY : 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !k->code; i++)
        k->code = pith__store_add_int(&k->s, keys[i].name, keys[i].v);
}

static int new_model(trainer *t) {
    maker k = { .s = { .kind = "made by run pretrain", .path = "the new model" }, .o = t->o };
    pith_options opt = { .n_threads = threads_wanted(t->o->threads) };
    if (!opt.n_threads) opt.n_threads = pith__may_use("").cores;
    k.s.vocab = t->vocab;
    make_keys(&k, t->vocab.n);
    make_weights(&k, t->vocab.n);
    if (!k.code && (t->m = pith__model_of(&k.s, &opt, &k.e))) return 0;
    pith__store_free(&k.s);
    return complain(FAILED, "%s", k.e.code ? k.e.text : "no memory for the weights");
}

/* ---- everything a run needs ------------------------------------------------------------------ */

/* Some systems promise more memory than they have, and end the process when it is used. */
static int check_memory(double bytes, const char *what) {
    double all = pith__may_use("").memory;
    if (bytes <= all) return 0;
    return complain(FAILED, "%s would take %.1f GB of memory, this process may use %.1f: need a smaller "
                    "--dim, --layers, --ffn or --context", what, bytes * 1e-9, all * 1e-9);
}

/* Before any of it is there: weights, gradients, and the optimiser's two means. */
static int check_weights_fit(const trainer *t) {
    const options *o = t->o;
    double dim = o->dim, kv = dim / o->heads * o->kv_heads;
    double layer = 2 * dim + 2 * dim * dim + 2 * dim * kv + 3 * dim * o->ffn;
    double n = (double)t->vocab.n * dim * (o->untied ? 2 : 1) + dim + o->layers * layer;
    return check_memory(4 * 4 * n, "training this shape");
}

static int keep_of(const options *o) { return o->recompute ? PITH__KEEP_STREAM : PITH__KEEP_ALL; }

static int training_memory(trainer *t) {
    pith_error e = { 0, "" };
    const options *o = t->o;
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
    int n_sequence = o->batch * o->accumulate; /* fits, see read_options */
    double bytes = (double)pith__step_size(t->m, &t->params, t->n_ctx, n_sequence, keep_of(o));
    int code = check_memory(bytes + 12.0 * (double)n, "training with this context");
    if (code) return code;
    t->step = pith__step_new(t->m, &t->params, t->n_ctx, n_sequence, keep_of(o), &e);
    return t->step ? 0 : complain(FAILED, "%s", e.text);
}

/* Fresh: the folder has no run in it, or the user wants to lose it. */
static int check_folder(trainer *t) {
    enum { MOST = 4096 };
    int64_t step[MOST];
    const options *o = t->o;
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
        const char *path = path_in(t, i < n ? name : "best.gguf");
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
    const char *path = path_in(t, "train.lock");
    if (!path) return FAILED;
    t->lock = pith__lock(path, &e);
    if (t->lock < 0) return complain(FAILED, "%s", e.text);
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) /* of a run that was killed while it saved */
        pith__remove_named(t->o->folder, ours[i], ".part");
    return check_folder(t);
}

/* A run that learns nothing writes no model, and one that never comes to its rate says so. */
static int check_schedule(const trainer *t) {
    const options *o = t->o;
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
    const options *o = t->o;
    const char *path = o->dry_run ? NULL : path_in(t, "train.tokens");
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

static void numbers_of(const trainer *t, double *x) {
    const options *o = t->o;
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

/* A checkpoint of another run can be gone on from, but not to the same bits: say what is other. */
static void say_differences(const trainer *t, const pith__mark *mark) {
    double now[PITH__MARK_NUMBERS];
    const char *path = t->from.path;
    numbers_of(t, now);
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
    const char *here = path_in(t, name);
    if (!here) return FAILED;
    if (!strcmp(here, t->from.path)) t->saved = mark.step; /* else it is saved here when it must be */
    if (!t->o->dry_run) say_differences(t, &mark);
    fprintf(stderr, "going on from %s\n", t->from.path);
    return 0;
}

/* ---- the forecast ---------------------------------------------------------------------------- */

static void print_duration(double s) {
    if (s < 120) fprintf(stderr, "%.0f s", s);
    else if (s < 6000) fprintf(stderr, "%.0f min", s / 60);
    else fprintf(stderr, "%.0f h %02d min", floor(s / 3600), (int)(s / 60) % 60);
}

/* Muennighoff et al. 2023, arXiv:2305.16264: what is read again is worth less each time, after 16 times little. */
static void say_epochs(double epochs) {
    if (epochs > 16)
        fprintf(stderr, "pith: the text is read %.0f times: after about 16 it is learned by heart: need more text or "
                "fewer steps\n", epochs);
}

/* Sequences that are learned from at once, of so many that are left. */
static int wave_of(const trainer *t, int64_t left) {
    return left < t->step->n_shard ? (int)left : t->step->n_shard;
}

/* Seconds that a step takes, by the clock: sequences of made-up tokens are learned from for half
 * a second, and forgotten. */
static int time_a_step(trainer *t, double *step) {
    pith_error e = { 0, "" };
    pith__loss loss = { 0, 0 };
    double start = 0;
    int wave = wave_of(t, t->batch_size);
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
        "memory       weights %.0f MB, gradients %.0f, optimiser %.0f, activations %.0f, program and "
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

static int open_log(trainer *t) {
    const char *path = path_in(t, "train.log.jsonl");
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

/* The line of a step: on a terminal it is overwritten by the next. */
static int log_step(trainer *t) {
    double spent = seconds() - t->start, loss = t->loss_n ? t->loss_sum / t->loss_n : t->smooth;
    int64_t done = t->adam.step - t->start_step;
    double per_step = done ? spent / (double)done : 0;
    double speed = per_step > 0 ? (double)t->batch_size * t->n_ctx / per_step : 0;
    fprintf(stderr, "%sstep %lld/%lld  loss %.4f  lr %.1e  |grad| %.2f  %.0f tok/s  ",
            t->terminal ? "\r\033[K" : "", (long long)t->adam.step, (long long)t->total, loss,
            t->rate, t->norm, speed);
    print_duration(spent);
    fprintf(stderr, "  ETA ");
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
        wave = wave_of(t, n - i);
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

/* The model that scored best so far is kept beside the checkpoints: a long run may learn its text by heart. */
static int keep_best(trainer *t) {
    pith_error e = { 0, "" };
    const char *path = path_in(t, "best.gguf");
    pith__tensor *tensor = path ? pith__learned_tensors(&t->params, &t->arena) : NULL;
    if (!tensor) return path ? complain(FAILED, "%s: no memory to write it", path) : FAILED;
    const pith__format *to = pith__format_of(PITH__F32);
    return pith__gguf_write(&t->m->store, tensor, t->params.n_param, to, path, &e) ? report(&e) : 0;
}

static int evaluate(trainer *t) {
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
        if (note_score(t, t->adam.step, mean))
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

/* A loss that no model has which learns: far above that of one who knows nothing, or none at all. */
static int is_diverged(const trainer *t, double loss) { return !(loss <= 1.5 * t->untrained + 1); }

/* The step's loss was that of the weights before it. Those it made are saved only if they are
 * numbers, and foretell the sequences that come next. */
static int check_learned(trainer *t) {
    pith_error e = { 0, "" };
    pith__loss loss = { 0, 0 };
    pith__sequence s[PITH__SHARDS];
    if (t->checked == t->adam.step) return 0;
    for (size_t i = 0; i < t->params.n_param; i++)
        for (size_t k = 0; k < t->params.param[i].n; k++)
            if (!isfinite(t->params.param[i].w[k]))
                return say_diverged(t, t->adam.step, "a weight", (double)t->params.param[i].w[k]);
    int wave = wave_of(t, t->batch_size);
    next_sequences(t, 0, wave, s);
    if (pith__step_score(t->step, s, wave, &loss, &e)) return complain(FAILED, "%s", e.text);
    double mean = loss.sum / (double)loss.n;
    if (is_diverged(t, mean)) return say_diverged(t, t->adam.step, "the loss", mean);
    t->checked = t->adam.step;
    return 0;
}

static int save_progress(trainer *t) {
    pith__mark mark = { t->adam.step, (int64_t)t->o->seed, t->batch_size, (int64_t)t->data.key, { 0 } };
    numbers_of(t, mark.number);
    char name[64];
    enum { MOST = 64 };
    int64_t step[MOST];
    if (t->saved == t->adam.step) return 0;
    int code = check_learned(t);
    if (code) return code;
    snprintf(name, sizeof name, "checkpoint-%lld.gguf", (long long)t->adam.step);
    const char *path = path_in(t, name);
    pith_error e = { 0, "" };
    if (!path) return FAILED;
    if (pith__checkpoint_save(t->m, &t->params, &t->adam, &mark, path, &e)) return report(&e);
    t->saved = t->adam.step;
    size_t n = pith__numbered(t->o->folder, "checkpoint-", ".gguf", step, MOST);
    for (size_t i = 0; t->o->keep && i + (size_t)t->o->keep < n && i < MOST; i++) {
        if (step[i] >= t->saved) break;
        snprintf(name, sizeof name, "checkpoint-%lld.gguf", (long long)step[i]);
        if (!(path = path_in(t, name))) return FAILED;
        pith__remove(path);
    }
    return 0;
}

static int save_model(trainer *t) {
    const char *gguf = path_in(t, "model.gguf"), *bin = path_in(t, "model.bin");
    const char *tokenizer = path_in(t, "tokenizer.bin");
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
        wave = wave_of(t, t->batch_size - i);
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
    const char *path = path_in(t, "best.gguf");
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

static int train(trainer *t) {
    const options *o = t->o;
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
        if (!code && t->eval_steps && (every(step, t->eval_steps) || last)) code = evaluate(t);
        if (!code && o->save_steps && (every(step, o->save_steps) || last)) code = save_progress(t);
    }
    if (t->terminal) fprintf(stderr, "\n");
    if (!code) code = check_learned(t);
    if (!code) code = choose_best(t);
    if (!code) return save_model(t);
    if (code != stopped()) return code;
    int saved = save_progress(t);
    if (saved) return saved;
    fprintf(stderr, "stopped after step %lld; to try it: run %s/checkpoint-%lld.gguf; to go on, give the same command%s\n",
            (long long)t->adam.step, o->folder, (long long)t->adam.step,
            o->last ? "" : " with --resume_from_checkpoint last");
    return code;
}

static int pretrain(trainer *t, options *o) {
    t->began = seconds();
    int code = o->resume ? 0 : choose_sizes(t, o); /* before anything is made or learned */
    if (!code && !o->resume) code = check_weights_fit(t);
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
    code = open_log(t);
    return code ? code : train(t);
}

int verb_pretrain(int argc, char **argv) {
    options o;
    int code = read_options(argc, argv, &o);
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
