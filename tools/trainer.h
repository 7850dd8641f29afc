/* trainer.h - a training as run pretrain makes it: what the user asks for, what it works with, and its loop. */
#ifndef PITH_TRAINER_H
#define PITH_TRAINER_H

#include "verbs.h"
#include "../train/train.h"

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
} train_options;

typedef struct {
    const train_options *o;
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

const char *trainer_path(trainer *t, const char *name); /* OUT/NAME, in its memory; NULL: none left, complained */
int  trainer_wave(const trainer *t, int64_t left); /* sequences that are learned from at once, of those left */
void trainer_numbers(const trainer *t, double *x); /* (PITH__MARK_NUMBERS) */
void print_duration(double s);

int trainer_open_log(trainer *t);
int trainer_run(trainer *t); /* all steps that are left, with log, evaluation and checkpoints; then the model */

#endif
