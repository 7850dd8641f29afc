/* peft_numbers.h - gradients and numbers of an adapter against those that peft computed (../shared/tuning). */
#ifndef PEFT_NUMBERS_H
#define PEFT_NUMBERS_H
#include "test.h"
#include "../train/train.h"

/* How far the gradients, or with weights 1 the numbers, of an adapter are from a file that has them as peft does. */
static inline double off_from(const pith__params *p, const char *path, int weights) {
    FILE *f = fopen(path, "rb");
    double off = 0, all = 0;
    for (size_t j = 0; f && j < p->n_param; j++) {
        const pith__param *q = &p->param[j];
        size_t rows = q->tensor->rows, cols = q->tensor->cols, turned = q->tensor->name.p[q->tensor->name.n - 1] == 'b';
        for (size_t i = 0; i < q->n; i++) {
            float want, got = (weights ? q->w : q->g)[turned ? i % rows * cols + i / rows : i];
            if (fread(&want, sizeof want, 1, f) != 1) FAIL("%s is short", path);
            off += ((double)got - want) * ((double)got - want), all += (double)want * want;
        }
    }
    if (!f || fgetc(f) != EOF) FAIL("%s is longer", path);
    if (f) fclose(f);
    return sqrt(off / all);
}

#endif
