/* probes.h - what training shows while it goes on: curves, and where it forgets or learns by heart. */
#ifndef PITH_PROBES_H
#define PITH_PROBES_H

#include "verbs.h"
#include "../train/train.h"

/* ---- curves.c ---------------------------------------------------------------------------------------- */

/* A picture of the log, written beside svg and renamed. */
int curves_write(const char *log, const char *svg);

/* ---- probes.c ---------------------------------------------------------------------------------------- */

/* Up to most tokens of a general text: of the file at path, which is read as pretrain reads texts, or of the one that is
 * built in. The caller frees *t. */
int general_tokens(const pith_model *m, const char *path, int most, pith_token **t, int *n);

typedef struct {         /* what an evaluation found; NAN: it did not look */
    int64_t step;
    double eval_loss;    /* on examples that are held out */
    double forget_loss;  /* on general text */
} probe;

/* What is to be said after the last of n evaluations, a line each; how many lines. */
int probe_warning(const probe *p, int n, char *text, size_t size);

#endif
