/* rollouts.h - what a policy is taught with by rewards: prompts, and how it completes them.
 *
 *     tasks.c          rows of a file -> prompts
 *     rollouts.c       prompts -> completions, drawn from the model as it is now
 *     rollout_rows.c   completions as lines of JSON: --dump_rollouts, --rollouts */
#ifndef PITH_ROLLOUTS_H
#define PITH_ROLLOUTS_H

#include "request.h"

typedef struct {         /* how a prompt was completed */
    pith_token *t;       /* (n_prompt + n) the prompt, and behind it what was drawn */
    float *logp;         /* (n) log p of each token that was drawn, when it was */
    float *value;        /* (n) what PPO expected before each, then; NULL: not said */
    int n_prompt, n;
    int64_t group;       /* completions of one prompt */
    double reward;       /* the caller's */
    int truncated;       /* 1: no token ends it */
} rollout;

typedef struct {
    rollout *r;          /* (n) those of a group side by side */
    int n, longest;      /* longest: tokens of prompt and completion together */
    pith__arena arena;
} rollouts;

/* ---- rollouts.c ------------------------------------------------------------------------------ */

typedef struct {
    const pith_model *m;
    const pith_adapter *adapter; /* that learns; NULL: the model does */
    float temperature;   /* of the draws, over 0: nothing else takes part in them */
    int n_each;          /* completions of a prompt */
    int max_length;      /* tokens of a completion, at most */
    int parallel;        /* texts that are written at once; 0: all */
    uint64_t seed;       /* completion k of prompt i is a function of it, i, k and the weights */
    int64_t first_group; /* of the first prompt */
    progress *shown;     /* how many are whole; or NULL */
} rollout_plan;

/* Each prompt n_each times. The keys and values are floats, as in training, so what training finds of the same weights
 * is the same bits. *to is empty after anything but 0; stopped(): the user asked to stop. */
int  rollouts_sample(rollouts *to, const rollout_plan *plan, const request_prompt *prompt, int n_prompt);
double rollouts_memory(const rollout_plan *plan, int longest, int n); /* bytes while n of prompts up to longest tokens are
                                                                      * written */
void rollouts_free(rollouts *r);
/* log p of each token of the completions for another policy, a reference: to[i] (n of completion i), in memory of r.
 * adapter NULL: of the model alone. The same bits as training would find. */
int  rollouts_score(rollouts *r, const pith_model *m, const pith_adapter *adapter, float temperature, float **to);

/* ---- rollout_rows.c -------------------------------------------------------------------------- */

int rollouts_write(const rollouts *r, output *o); /* a line each */
int rollouts_read(rollouts *to, const char *path, int n_vocab); /* all lines of a file. *to is empty after anything but 0 */

/* ---- tasks.c --------------------------------------------------------------------------------- */

typedef struct {         /* a row that asks for something */
    request_prompt prompt;
    pith__json row;      /* all of it, for rewards */
} task;

typedef struct {
    task *task;          /* (n) */
    int n, longest;      /* longest: tokens of a prompt */
    uint64_t key;        /* of all rows: the same, the same training */
    pith__arena arena;
} tasks;

typedef struct {
    const pith_model *m;
    const pith_template *form; /* of prompts that are messages; NULL: there is none */
    const char *variables; /* for it, a JSON object; or NULL */
    const pith_time *now;
    int parse_special;   /* 1: in prompts that are texts, names of special tokens are read */
    int most, room;      /* tokens that a prompt may have: most, for room are for its completion */
    int (*check)(void *of, pith__json row, const char *where); /* what else a row must have: an exit code; or NULL */
    void *of;
} task_plan;

/* Rows of files that have a prompt, a text or messages. *to is empty after anything but 0. */
int  tasks_open(tasks *to, const task_plan *plan, const list *files);
void tasks_free(tasks *t);

#endif
