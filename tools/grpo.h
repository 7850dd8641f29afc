/* grpo.h - run grpo, in two files.
 *
 *     experience.c   what is learned from: completions, their rewards, what is said and kept of them
 *     grpo.c         flags, the objective, a run */
#ifndef PITH_GRPO_H
#define PITH_GRPO_H

#include "reward_model.h"
#include "rewards.h"
#include "tuning.h"

enum { GRPO_REWARDS = 8 }; /* that the log has figures of */

typedef struct { /* what the user asks for */
    tuning_options tuning;
    reward_options rewards;
    int n_each, iterations, per_generation, max_completion, mask_truncated, kl_times_ratio, log_completions, to_print;
    float beta, epsilon, epsilon_high, temperature;
    const char *loss, *scale, *rollouts, *dump, *reward_model;
} grpo_options;

enum { /* figures of the log, those of the rewards behind them */
    MEAN_LENGTH, MIN_LENGTH, MAX_LENGTH, CUT, MEAN_ENDED, MIN_ENDED, MAX_ENDED, REWARD, REWARD_STD, NO_SPREAD, ENTROPY,
    LOW_MEAN, LOW_MIN, HIGH_MEAN, HIGH_MAX, CLIPPED, LOGP_OFF, SAMPLED_SPEED, KL, FIGURES
};

typedef struct { /* means over some batches: what a warning compares */
    double length, reward;
    int n;
} grpo_trend;

typedef struct { /* completions that are learned from; memory of the next four is theirs */
    rollouts now;
    double *advantage;       /* (now.n) */
    float **ref;             /* (now.n) log p of their tokens for the reference, or NULL */
    pith__str *text;         /* (now.n) as they are shown, to be freed, or NULL */
    double *each;            /* (rewards.n, now.n) or NULL */
    int own;                 /* 1: sampled by this process from the weights as they were */
    double figure[SAMPLED_SPEED + 1]; /* that are its own */
    double of_reward[2 * GRPO_REWARDS];
} grpo_batch;

typedef struct { /* what was found of a sequence in a step */
    pith__policy_sums sums;
    double entropy;
} grpo_found;

typedef struct { /* the objective */
    tuning s;
    const grpo_options *o;
    pith__policy how;
    int scale;               /* of rewards */
    rewards rewards;
    reward_model judge;      /* --reward_model */
    pith_model *base;        /* --full: the reference, as it lies in its file */
    tasks tasks, held_out;
    int n_task;              /* that are learned from: the others of tasks are held out */
    const char *figures[FIGURES + 2 * GRPO_REWARDS + 1];
    const char *others[8];   /* files of a checkpoint */
    int (*save)(trainer *t, int64_t step); /* what a checkpoint has beside the completions */

    grpo_batch b;            /* what is learned from now */
    int64_t generation;      /* its number, -1: none yet */
    double eval_reward;      /* of what is held out */
    grpo_found *found;       /* (sequences of a step) */
    int said;                /* warnings, a bit each */
    int broken;              /* 1: what was sampled is not what is trained */
    grpo_trend trend[2];     /* of the last batches, and those before */
} grpo_run;

static inline grpo_run *grpo_of(const trainer *t) { return t->of; }

/* Steps of the optimizer that are taken from one batch of completions, and from one reading of it. */
int64_t grpo_steps_each(const grpo_run *r);
int64_t grpo_steps_once(const grpo_run *r);

/* ---- experience.c ---------------------------------------------------------------------------- */

/* Whatever the next step learns from is there: sampled, rewarded, compared. An exit code. */
int  grpo_prepare(trainer *t, int64_t step);
int  grpo_read_batch(const grpo_run *r, grpo_batch *b, const char *path); /* of --rollouts, or of a checkpoint */
int  grpo_write_batch(const grpo_batch *b, const char *path);
int  grpo_keep_lines(grpo_run *r, int64_t step);     /* of --dump_rollouts and --log_completions, up to this step */
int  grpo_try_dump(const grpo_run *r);               /* can it be written? */
int  grpo_score_held_out(trainer *t, double *loss);  /* minus the mean reward */
void grpo_free_batch(grpo_batch *b);
rollout_plan grpo_plan(grpo_run *r, int64_t number, uint64_t kind); /* of batch number; kind: other random numbers */
void grpo_follow(grpo_run *r, double length, double reward); /* means of a batch: warns of what a trend shows */
/* Once each, in words. x: the figures of a step. */
void grpo_warn(trainer *t, const double *x);

#endif
