/* logps.c - how likely a model finds whole answers, which is what preferences and rewards are about. */
#include "train.h"

#include <stdlib.h>

PITH_SHARED int pith__logps(pith__step *step, const pith__examples *x, const size_t *example, size_t n, double *sum,
                            pith_error *err) {
    size_t room = (size_t)x->longest;
    pith_token *target = calloc(PITH__SHARDS * room, sizeof *target);
    float *logp = calloc(PITH__SHARDS * room, sizeof *logp);
    int code = target && logp ? PITH_OK : pith__fail(err, PITH_EMEMORY, "no memory to score answers");
    for (size_t from = 0, wave; from < n && !code; from += wave) {
        pith__sequence s[PITH__SHARDS];
        pith__loss loss = { 0, 0, 0 };
        wave = pith__least(n - from, PITH__SHARDS);
        for (size_t i = 0; i < wave; i++) {
            const pith__example e = pith__examples_get(x, example[from + i]);
            pith__example_targets(&e, target + i * room);
            s[i] = (pith__sequence){ .t = e.t, .target = target + i * room, .n = e.n - 1, .logp = logp + i * room };
        }
        code = pith__step_score(step, s, (int)wave, &loss, err);
        for (size_t i = 0; i < wave && !code; i++) {
            sum[from + i] = 0;
            for (int k = 0; k < s[i].n; k++) sum[from + i] += (double)s[i].logp[k];
        }
    }
    free(target), free(logp);
    return code;
}
