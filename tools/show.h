/* show.h - examples as they are learned, printed. */
#ifndef PITH_SHOW_H
#define PITH_SHOW_H

#include "verbs.h"
#include "../train/train.h"

/* The first n of those to learn from on standard output; packs not NULL: the examples of the first n packs. An exit code. */
int show_examples(const pith_model *m, const pith__examples *x, const pith__packs *packs, const pith__examples_plan *plan,
                  size_t n);

#endif
