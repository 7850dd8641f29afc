/* reward_model.h - a reward model beside the policy: an adapter with a score head, of the same base. */
#ifndef PITH_REWARD_MODEL_H
#define PITH_REWARD_MODEL_H

#include "rollouts.h"

enum { TAIL = 8 };

typedef struct {
    pith_adapter *a;
    pith_token end, tail[TAIL]; /* (n_tail) what the template puts behind the token that ends an answer: a reward model has
                                 * learned to score there */
    int n_tail;
} reward_model;

/* m: the base, which is never copied. form: of the prompts, or NULL. */
int  reward_model_open(reward_model *r, const pith_model *m, const pith_template *form, const char *path);
/* score (x->n) of all completions after their prompts. */
int  reward_model_score(const reward_model *r, const rollouts *x, double *score, progress *shown);
void reward_model_close(reward_model *r);

#endif
