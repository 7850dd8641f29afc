/* purpose.c - what a model is for, said where it was given to a verb that it is not for. */
#include "verbs.h"

#include <stdio.h>

/* "an encoder (bert), for one score of a text or a pair: run rank" */
static const char *describe_model(const pith_model *m, char *room, size_t size) {
    int n, kind = pith_task(m, &n), decoder = pith__is_causal(m);
    const char *arch = m->hyper.arch, *is = decoder ? "a decoder" : "an encoder";
    if (kind == PITH_TASK_TEXT && n == 1 && decoder) snprintf(room, size, "a decoder (%s) that gives texts a score: run classify", arch);
    else if (kind == PITH_TASK_TEXT && n == 1) snprintf(room, size, "an encoder (%s) that gives a pair of texts a score: run rank", arch);
    else if (kind == PITH_TASK_TEXT) snprintf(room, size, "%s (%s) that gives texts one of %d labels: run classify", is, arch, n);
    else if (kind == PITH_TASK_TOKEN) snprintf(room, size, "%s (%s) that gives tokens one of %d labels: run classify", is, arch, n);
    else if (m->has_no_output) snprintf(room, size, "a decoder (%s) without an output matrix, which makes vectors of texts: run embed", arch);
    else if (decoder) snprintf(room, size, "a decoder (%s), which goes on with a text: run MODEL -i TEXT", arch);
    else if (kind == PITH_TASK_WORD) snprintf(room, size, "an encoder (%s) that finds words for masks: run fill, or run embed", arch);
    else snprintf(room, size, "an encoder (%s), which makes vectors of texts: run embed", arch);
    return room;
}

int need_task(const pith_model *m, const int *kinds) {
    char is[160];
    int n, kind = pith_task(m, &n);
    const char *need = *kinds == PITH_TASK_WORD ? "an encoder that was taught to fill masks" : "an encoder that was taught labels";
    for (int i = 0; kinds[i]; i++)
        if (kind == kinds[i]) return 0;
    return complain(NOT_LOADED, "%s: is %s; this needs %s", m->store.path, describe_model(m, is, sizeof is), need);
}

int need_score(const pith_model *m) {
    char is[160];
    int n, kind = pith_task(m, &n);
    if (kind == PITH_TASK_TEXT && n == 1) return 0;
    return complain(NOT_LOADED, "%s: is %s; this needs a cross-encoder, which gives a pair of texts one score", m->store.path,
                    describe_model(m, is, sizeof is));
}

int need_decoder(const pith_model *m) {
    char is[160];
    int n;
    if (pith__is_causal(m) && !pith_task(m, &n) && !m->has_no_output) return 0;
    return complain(NOT_LOADED, "%s: is %s; it cannot go on with a text", m->store.path, describe_model(m, is, sizeof is));
}
