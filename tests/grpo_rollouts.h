/* grpo_rollouts.h - the rollouts of ../shared/tuning/FAMILY/grpo: their table, as numbers and as the lines of --rollouts. */
#ifndef GRPO_ROLLOUTS_H
#define GRPO_ROLLOUTS_H
#include "fixture.h"
#include "test.h"
#include "../model.h"

#include <stdlib.h>

enum { ROLLOUTS = 12, GENERATIONS = 4, LONGEST = 96, COMPLETION = 16 };

typedef struct {
    double reward;
    int group, n_prompt, n; /* n: of the completion */
    pith_token prompt[LONGEST], t[COMPLETION];
    float old[COMPLETION]; /* log p when it was drawn */
    int truncated;
} table_rollout;

/* "group ; completion ; reward ; prompt ids ; completion ids ; old log-probabilities", ROLLOUTS of them. */
static inline int read_rollouts(const char *family, table_rollout *r) {
    char line[4096];
    int n = 0;
    FILE *f = fopen(fixture_tuning(family, "grpo/rollouts.txt"), "r");
    while (f && n < ROLLOUTS && fgets(line, sizeof line, f)) {
        table_rollout *x = &r[n];
        char *p = line;
        if (*line == '#') continue;
        *x = (table_rollout){ .group = (int)strtol(p, &p, 10) };
        x->truncated = strtol(p + 2, &p, 10) == 1;
        x->reward = strtod(p + 2, &p);
        for (p += 2; *p && *p != ';' && x->n_prompt < LONGEST; p += strspn(p, " ")) x->prompt[x->n_prompt++] = (int)strtol(p, &p, 10);
        for (p += 2; *p && *p != ';' && x->n < COMPLETION; p += strspn(p, " ")) x->t[x->n++] = (int)strtol(p, &p, 10);
        p++;
        for (int i = 0; i < x->n; i++) x->old[i] = strtof(p, &p);
        n++;
    }
    if (f) fclose(f);
    return n;
}

#endif
