/* trainer.h - a training: what the user asks for, what it works with, its loop, and what an objective gives to it. */
#ifndef PITH_TRAINER_H
#define PITH_TRAINER_H

#include "probes.h"
#include "verbs.h"
#include "../train/train.h"

typedef struct { /* what the user asks of any training: TRAINING_FLAGS */
    const char *folder, *schedule, *resume, *eval;
    float hold_out;
    int batch, accumulate, max_steps, warmup, threads, recompute;
    int eval_steps, save_steps, log_steps, max_eval, keep, patience;
    int dry_run, overwrite, load_best, last; /* last: to go on from the last checkpoint */
    float epochs, lr, min_lr, decay, max_norm, beta1, beta2, eps;
    uint64_t seed;
    const char *qat, *embedding_type, *output_type;
    int qat_only;
    const char *precision; /* NULL: as bf16 says */
    int bf16;
} train_options;

/* Names and defaults as Hugging Face's trainers have them; help shows a default where it has (%), and in rate and part
 * those of the verb. */
#define TRAINING_FLAGS(o, rate, part) \
    { 'o', "output-dir", TEXT, &(o)->folder, 0, 0, "DIR", "where everything is written" }, \
    { 0, "eval-file", TEXT, &(o)->eval, 0, 0, "FILE", "what the model is scored on" }, \
    { 0, "validation-split", REAL, &(o)->hold_out, 0, 0.9, "P", "else this part of the data is held out (" part ")" }, \
    { 0, "learning-rate", REAL, &(o)->lr, 0, 1e6, "X", "(" rate ")" }, \
    { 0, "lr-scheduler-type", TEXT, &(o)->schedule, 0, 0, "NAME", \
      "constant, linear, cosine, cosine_with_min_lr (%)" }, \
    { 0, "min-lr-rate", REAL, &(o)->min_lr, 0, 1, "X", "part of the rate left at the end (0)" }, \
    { 0, "warmup-steps", INTEGER, &(o)->warmup, -1, INT_MAX, "N", "to the full rate; -1: a twentieth of all (%)" }, \
    { 0, "max-steps", INTEGER, &(o)->max_steps, -1, INT_MAX, "N", "0 or -1: as --num_train_epochs gives (-1)" }, \
    { 0, "num-train-epochs", REAL, &(o)->epochs, 0, 1e6, "X", "times through the data (%)" }, \
    { 0, "per-device-train-batch-size", INTEGER, &(o)->batch, 1, 1 << 20, "N", "sequences (%)" }, \
    { 0, "gradient-accumulation-steps", INTEGER, &(o)->accumulate, 1, 1 << 20, "N", \
      "as many times that make a step (%)" }, \
    { 0, "gradient-checkpointing", BOOLEAN, &(o)->recompute, 0, 0, "", "less memory, a third more time" }, \
    { 0, "weight-decay", REAL, &(o)->decay, 0, 100, "X", "(%)" }, \
    { 0, "max-grad-norm", REAL, &(o)->max_norm, 0, 1e9, "X", "(%; 0: any)" }, \
    { 0, "adam-beta1", REAL, &(o)->beta1, 0, 0.9999, "X", "(%)" }, \
    { 0, "adam-beta2", REAL, &(o)->beta2, 0, 0.999999, "X", "(%)" }, \
    { 0, "adam-epsilon", REAL, &(o)->eps, 1e-30, 1, "X", "(%)" }, \
    { 's', "seed", SEED, &(o)->seed, 0, 0, "N", "(%)" }, \
    { 0, "eval-steps", INTEGER, &(o)->eval_steps, -1, INT_MAX, "N", \
      "score every N steps (-1: a tenth of all, at most 500; 0: never)" }, \
    { 0, "max-eval-samples", INTEGER, &(o)->max_eval, 1, INT_MAX, "N", "on at most N sequences (%)" }, \
    { 0, "save-steps", INTEGER, &(o)->save_steps, 0, INT_MAX, "N", "checkpoints (%; 0: never)" }, \
    { 0, "save-total-limit", INTEGER, &(o)->keep, 0, 1000, "N", "keep the last N (%; 0: all)" }, \
    { 0, "logging-steps", INTEGER, &(o)->log_steps, 1, INT_MAX, "N", "a line of the log (%)" }, \
    { 0, "resume-from-checkpoint", TEXT, &(o)->resume, 0, 0, "NAME", "a checkpoint, or last" }, \
    { 0, "overwrite-output-dir", BOOLEAN, &(o)->overwrite, 0, 0, "", "begin anew where a run was" }, \
    { 0, "load-best-model-at-end", BOOLEAN, &(o)->load_best, 0, 0, "", \
      "write the model that scored best, not the last" }, \
    { 0, "early-stopping-patience", INTEGER, &(o)->patience, 0, INT_MAX, "N", \
      "end after N evaluations without a better one (0: never)" }, \
    { 0, "precision", TEXT, &(o)->precision, 0, 0, "NAME", "of matrix products: fp32, bf16; auto: what is faster (fp32)" }, \
    { 0, "bf16", BOOLEAN, &(o)->bf16, 0, 0, "", "the same as --precision bf16" }, \
    { 0, "threads", INTEGER, &(o)->threads, 0, MOST_THREADS, "N", "(one a physical core)" }, \
    { 0, "dry-run", BOOLEAN, &(o)->dry_run, 0, 0, "", "say what it would take and stop" }

#define QAT_FLAGS(o) \
    { 0, "qat", TEXT, &(o)->qat, 0, 0, "TYPE", "learn for a file of this type: q4_0, q4_k_m, ... (all of run quantize)" }, \
    { 0, "qat-train-only-quantized", BOOLEAN, &(o)->qat_only, 0, 0, "", "what --qat leaves in floats stays as it is" }, \
    { 0, "token-embedding-type", TEXT, &(o)->embedding_type, 0, 0, "TYPE", "of the embedding with --qat (f32)" }, \
    { 0, "output-tensor-type", TEXT, &(o)->output_type, 0, 0, "TYPE", "of the output matrix with --qat (f32)" }

typedef struct trainer trainer;

typedef struct { /* a step, before it is taken */
    int64_t n_sequence;
    int64_t n_count, n_token; /* tokens that count, and all */
} step_size;

typedef struct { /* a checkpoint is OUT/checkpoint-N and this */
    const char *tail;    /* ".gguf": a file; or "/state.gguf": a folder, whole once it has this */
    const char *const *others; /* what else is in such a folder; ends with NULL */
} checkpoint_form;

typedef struct { /* what a sequence of a step may use while it is learned from */
    pith_token *token;   /* (2, n_ctx + 1) */
    float *number;       /* (ROOM_NUMBERS, n_ctx + 1) */
} sequence_room;

enum { ROOM_NUMBERS = 6, WAVE = PITH__SHARDS * PITH__GROUP }; /* WAVE: sequences that are learned from at once, at most */

/* What a verb teaches. One loop teaches them all: an objective is a value. A function that returns an int gives an
 * exit code, or 0. */
typedef struct {
    checkpoint_form form;
    const char *const *outputs;  /* names of what the run writes into OUT; ends with NULL */
    int n_model;                 /* the first so many are what the run is for */
    /* Step is a number from 0 on, or of a checkpoint: what is learned from depends on it, the seed and the weights alone. */
    int  (*prepare)(trainer *t, int64_t step); /* before anything else is asked of the next step, perhaps
                                                * more than once; or NULL */
    void (*size)(const trainer *t, int64_t step, step_size *s);
    /* Sequence i of a step. */
    void (*sequence)(trainer *t, int64_t step, int64_t i, const sequence_room *room, pith__sequence *s);
    int  group;          /* 2: sequences come in pairs, which are judged together */
    pith__judge *judge;  /* finds slopes, of = the trainer; NULL: they are known, or there are none */
    /* After the step: its loss, and a number for each name of figures, which the log has the mean of; NULL: the mean of *loss,
     * and none. */
    double (*learned)(trainer *t, const pith__loss *loss, double *figure);
    const char *const *figures; /* at most PITH__MARK_SUMS, ends with NULL; or NULL */
    void (*fields)(trainer *t);  /* what else a line of the log has; or NULL */
    void (*held_out)(trainer *t, int i, const sequence_room *room, pith__sequence *s); /* of t->n_eval */
    int  (*score)(trainer *t, double *loss); /* of what is held out, instead of held_out; or NULL */
    void (*numbers)(const trainer *t, double *x); /* those of a mark that it alone has; or NULL */
    int  own_texts;      /* 1: what is learned from was written by what learns */
    int  at_start;       /* 1: evaluate before the first step, and also where nothing is held out */
    int  (*measure)(trainer *t, const pith__loss *loss); /* what else an evaluation finds: for the terminal's line and the log's */
    int  (*show)(trainer *t);    /* after that line; or NULL */
    int  (*save)(trainer *t, int64_t step); /* what stands beside the state of a checkpoint that is a folder; or NULL */
    int  (*keep_best)(trainer *t);
    int  (*load_best)(trainer *t, const char **path); /* *path: where it is; without load_best, only that */
    int  (*finish)(trainer *t);  /* write what the run is for */
    const char *tried;   /* what stands before a checkpoint that is a folder, to try it: "MODEL --lora " */
} objective;

struct trainer {
    train_options *o;
    const objective *what;
    void *of;              /* the objective's own */
    pith_model *m;
    const pith__store *base; /* whose keys a checkpoint gets */
    pith__store from;      /* the checkpoint */
    pith__arena arena;
    pith__params params;
    pith__adamw adam;      /* its step is the number of steps taken */
    pith__step *step;
    pith_token *room;      /* (WAVE, 2, n_ctx + 1) */
    float *room_numbers;   /* (WAVE, ROOM_NUMBERS, n_ctx + 1) */
    int lock, n_ctx, terminal, schedule;
    int64_t batch_size;    /* sequences in a step, if no end of an epoch cuts it */
    int64_t total, warmup; /* steps */
    double per_epoch;      /* steps in an epoch */
    int64_t eval_steps;    /* from one evaluation to the next; 0: none */
    int n_eval;            /* sequences held out */
    uint64_t key;          /* of the data */
    double best;           /* the lowest loss on what is held out, and */
    int64_t best_step;     /* the step that had it, -1: none had any */
    int n_worse;           /* evaluations since then */
    probe *history;        /* (n_history) all evaluations */
    int n_history;
    double forget_loss;    /* what measure() found on general text, or NAN */
    output log;
    progress shown;        /* of long work before the first step */
    double untrained;      /* the loss of one who knows nothing, log of the vocabulary's size, or of the first step if that is
                            * more; INFINITY: that says nothing of this loss */
    pith__loss since;      /* of the steps since the last line of the log, */
    double loss_sum;       /* the sum of their means, */
    int loss_n;            /* and how many; */
    double sum[PITH__MARK_SUMS]; /* of the objective's figures */
    double smooth;         /* loss, averaged over the last steps; -1: none yet */
    float dropout;         /* of what an adapter gets */
    double norm, rate;     /* gradient's norm and learning rate of the last step */
    int64_t seen;          /* tokens learned from, in all and */
    int64_t seen_before;   /* when this process began */
    double start;          /* when, */
    int64_t start_step;    /* and with what step it began */
    int64_t saved;         /* the step of the last checkpoint in the folder, -1: none */
    int64_t checked;       /* the last step whose weights were found to be good, -1: none */
    double began;          /* when everything did */
};

/* ---- tools/checkpoints.c: the folder of a run ------------------------------------------------- */

const char *trainer_path(trainer *t, const char *name); /* OUT/NAME, in its memory; NULL: none left, complained */
int  check_training(train_options *o);                   /* of TRAINING_FLAGS, before anything is opened */
int  trainer_check_input(trainer *t, const char *in);   /* in, or NULL, is not what the run writes */
int  trainer_open_folder(trainer *t);
int  trainer_find_checkpoint(trainer *t); /* o->resume is a path then, or NULL: there is none yet */
int  trainer_bad_checkpoint(trainer *t, const pith_error *e, int code);
int  trainer_resume(trainer *t);          /* from t->from */
int  trainer_save(trainer *t);            /* a checkpoint, and no more than --save_total_limit stay */
int  trainer_keep_weights(trainer *t);    /* for an objective's keep_best and load_best: best.gguf */
int  trainer_load_weights(trainer *t, const char **path);

/* ---- tools/qat.c: --qat ------------------------------------------------------------------------ */

int  check_qat(const train_options *o);
/* Nothing without --qat; once t->params are those of the model, or of adapter a, before trainer_memory. */
int  trainer_qat(trainer *t, const pith_adapter *a);
/* --qat and the flags beside it, as a checkpoint keeps them; "": no --qat. */
int  trainer_rounded(const trainer *t, char *text, size_t room);
/* The file that --qat is for. */
int  trainer_write_rounded(trainer *t, const pith_adapter *a, pith__str chat_template, const char *path);

/* ---- tools/forecast.c: a run before it begins ------------------------------- */

int  check_memory(double bytes, const char *what);
int  trainer_memory(trainer *t, size_t held); /* takes it; held: bytes of the model that stay in memory */
int  trainer_plan(trainer *t);                /* its steps, of per_epoch, key and n_eval */
/* weights: what is held in memory, in words, and held its bytes; data: bytes of the data; eval_tokens: that an evaluation reads. */
int  trainer_forecast(trainer *t, const char *weights, double held, double data, double eval_tokens);
void print_duration(double s);
int  trainer_wave(const trainer *t, int64_t left); /* sequences that are learned from at once, of those left */
sequence_room trainer_room(const trainer *t, int k); /* for sequence k of a wave */
void trainer_sequences(trainer *t, int64_t step, int64_t i, int n, pith__sequence *s); /* i to i + n of a step */

/* ---- tools/trainer.c: the loop --------------------------------------------------------------- */

void trainer_begin(trainer *t, train_options *o, const objective *what, void *of);
void log_number(trainer *t, const char *name, double x); /* in the log's line: , "name": x */
int  trainer_open_log(trainer *t);
int  trainer_run(trainer *t); /* all steps that are left, with log, evaluation and checkpoints; then the model */
void trainer_free(trainer *t);

/* ---- tools/forgetting.c ---------------------------------------------------------------------- */

typedef struct {
    pith_model *base;      /* --full: the model as it was */
    pith_session *now, *before;
    pith_token *text;      /* (n_text) general */
    int n_text, window;    /* window: tokens of it in one context */
} forgetting;

/* a: the adapter that learns; NULL: the model of *t does, which *c opens as it was. file: a general text, or NULL. */
int  forgetting_open(forgetting *f, trainer *t, const pith_adapter *a, const model_choice *c, const char *file);
int  forgetting_measure(forgetting *f, trainer *t, const pith__sequence *example, int n_example);
void forgetting_close(forgetting *f);

int say_diverged(trainer *t, int64_t step, const char *what, double x);

#endif
