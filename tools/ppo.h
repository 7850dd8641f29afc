/* ppo.h - run ppo, in two files.
 *
 *     ppo_batch.c   what is learned from: completions, their scores, advantages, what is said and kept of them
 *     ppo.c         flags, the objective, a run */
#ifndef PITH_PPO_H
#define PITH_PPO_H

#include "reward_model.h"
#include "tuning.h"

typedef struct { /* what the user asks for */
    tuning_options tuning;
    const char *reward_model, *rollouts, *dump, *value_head, *value_gradient, *estimator;
    int epochs, minibatches, max_completion, whiten_rewards, episodes;
    float kl_coef, clip, clip_value, vf_coef, gamma, lam, temperature, penalty;
} ppo_options;

typedef struct { /* what is known of a completion beside its tokens, (n) each */
    float *ref, *value, *reward, *advantage, *ret;
} ppo_answer;

typedef struct {
    rollouts x;          /* its memory has the next two */
    ppo_answer *a;       /* (x.n) */
    pith__episode *e;    /* (x.n) */
    pith__ppo_objective mean;
    int64_t number;      /* -1: there is none */
    int n_ended;
} ppo_batch;

typedef struct { /* what was found of a sequence in a step */
    pith__ppo_sums sums;
    double entropy;
} ppo_found;

typedef struct { /* the objective */
    tuning s;
    const ppo_options *o;
    pith__ppo how;
    reward_model judge;
    pith_model *base;    /* --full: the model as it was, */
    pith__step *ref;     /*         what runs it, */
    pith__params nothing; /*        and what learns in it */
    pith__score_head head;
    float *w;            /* (n_embd) the head */
    tasks tasks, held_out; /* held_out: of --eval_file; else the last of tasks are held out */
    rollouts given;      /* of --rollouts, before the first step */
    ppo_batch b;
    ppo_found *found;    /* (sequences of a step) */
    output dump;         /* --dump_rollouts */
    int64_t steps;       /* that learn from a batch */
    double eval_score;   /* of what is held out */
    int said;            /* warnings, a bit each */
} ppo_run;

static inline ppo_run *ppo_of(const trainer *t) { return t->of; }

/* What random numbers of the run's seed are for, beside the order of the prompts. */
enum { PPO_DRAWS = 1, PPO_SHUFFLE = 2, PPO_EVAL = 3 };

/* ---- ppo_batch.c ----------------------------------------------------------------------------- */

void ppo_row(const ppo_run *p, const rollout *r, const sequence_room *room, pith__sequence *to); /* to learn from */
int  ppo_prepare(trainer *t, int64_t step);      /* the batch of a step is there: drawn, scored, compared. An exit code */
int  ppo_score_held_out(trainer *t, double *loss); /* minus the mean score */
/* The batch of a checkpoint in the middle of it, with what the values were when it was drawn. */
int  ppo_write_batch(const ppo_run *p, const char *folder);
int  ppo_read_batch(ppo_run *p);
void ppo_free_batch(ppo_batch *b);

#endif
