/* rewards.h - what a text that a model wrote is worth: rules, programs of the user's, and their weighted sum.
 *
 *     reward_options o = REWARD_OPTIONS;                       with REWARD_FLAGS(o)
 *     rewards_open(&r, &o, NULL, 0);                           says what is wrong with the flags
 *     rewards_check(&r, row, "data.jsonl: line 3");            each row, before anything is learned
 *     rewards_start(&r);                                       not for a dry run
 *     rewards_score(&r, c, n, each, total);                    any number of times
 *     rewards_close(&r);                                       whatever open gave */
#ifndef PITH_REWARDS_H
#define PITH_REWARDS_H

#include "verbs.h"

typedef struct {
    list rules, commands;
    const char *weights;
    float timeout;
} reward_options;

#define REWARD_OPTIONS { .timeout = 60 }
#define REWARD_FLAGS(o) \
    { 0, "reward", LIST, &(o).rules, 0, 0, "RULE", \
      "exact: its answer is the row's; format:PATTERN: all of it matches; length:N: it has about N tokens; may be given often" }, \
    { 0, "reward-command", LIST, &(o).commands, 0, 0, "CMD", \
      "a program that reads a JSON line a completion and answers a number a line" }, \
    { 0, "reward-timeout", REAL, &(o).timeout, 0.1, 1e6, "S", "seconds in which it must go on (%)" }, \
    { 0, "reward-weights", TEXT, &(o).weights, 0, 0, "X,...", \
      "of all --reward, --reward_command and --reward_model, in this order (1)" }

typedef struct {             /* a text that a model wrote */
    const char *completion;  /* (n_completion) bytes */
    size_t n_completion;
    int n_token;             /* the same in tokens, with the one that ended it */
    int truncated;           /* 1: none did */
    pith__json row;          /* whose prompt it answers */
} rewarded;

typedef struct reward reward;

typedef struct {
    reward *reward;          /* (n), the last n_other of them are the caller's */
    int n, n_other;
    pith__arena arena;
} rewards;

/* other: names of rewards that the caller computes, a reward model's. One reward there must be. */
int  rewards_open(rewards *r, const reward_options *o, const char *const *other, int n_other);
const char *rewards_name(const rewards *r, int k); /* as TRL's log has it: rewards/NAME/mean */
/* Has the row what they need? where: its place, for the message. */
int  rewards_check(const rewards *r, pith__json row, const char *where);
int  rewards_start(rewards *r); /* the programs; later ones wait for them no more */
/* n completions: each (r->n, n), whose last n_other rows are given; total (n) the weighted sums. All are finite.
 * FAILED: a program did not answer as it should, and that was said; stopped(): the user asked to stop. */
int  rewards_score(rewards *r, const rewarded *c, int n, double *each, double *total);
void rewards_close(rewards *r);

/* ---- tools/program.c: a program that answers a number a line ------------------------------------------- */

typedef struct program program;

/* By /bin/sh -c, in a process group of its own, so Ctrl-C is ours alone. NULL: complained. */
program *program_start(const char *command, double timeout);
/* n lines, which are text (n_text), and their answers x (n). An exit code; after another than 0 only to be ended. */
int  program_ask(program *p, const char *text, size_t n_text, int n, double *x);
void program_end(program *p); /* its input ends; if it then does not, it is ended. p may be NULL */

#endif
