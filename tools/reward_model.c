/* reward_model.c - what a reward model finds of completions.
 *
 * It is the policy's own base with another adapter, so there is one copy of the weights. A completion is scored as the answers
 * were that it learned from: behind the token that ends an answer a template may put more (ChatML: a line's end), and the
 * score is that of the last token. One that was cut ends where it was cut. */
#include "reward_model.h"
#include "../train/train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What follows the last token that ends a turn in a conversation that ends in an answer. A template that refuses one, or has
 * no such token, puts nothing there. */
static void find_tail(reward_model *r, const pith_model *m, const pith_template *form) {
    static const char talk[] = "[{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"}]";
    const pith_conversation c = { .messages = talk, .no_prompt = 1 };
    pith_rendering text;
    r->end = -1;
    if (!form || pith_render(form, &c, &text, NULL)) return;
    int at = text.n_token - 1;
    while (at >= 0 && !pith_is_end(m, text.token[at])) at--;
    if (at >= 0 && text.n_token - 1 - at <= TAIL) {
        r->end = text.token[at];
        r->n_tail = text.n_token - 1 - at;
        memcpy(r->tail, text.token + at + 1, (size_t)r->n_tail * sizeof *r->tail);
    }
    pith_rendering_free(&text);
}

int reward_model_open(reward_model *r, const pith_model *m, const pith_template *form, const char *path) {
    pith_error e = { 0, "" };
    memset(r, 0, sizeof *r);
    r->a = pith__adapter_open(m, path, 1, &e);
    if (!r->a) return complain(NOT_LOADED, "%s", e.text);
    if (!r->a->score) return complain(NOT_LOADED, "%s: is no reward model: it has no score head", path);
    find_tail(r, m, form);
    return 0;
}

int reward_model_score(const reward_model *r, const rollouts *x, double *score, progress *shown) {
    pith_error e = { 0, "" };
    pith__arena a = { NULL, 0 };
    const pith__progress watch = shown ? progress_of(shown) : (pith__progress){ NULL, NULL };
    pith__text_ids *text = pith__arena_new(&a, (size_t)x->n, sizeof *text);
    int code = text ? PITH_OK : PITH_EMEMORY;
    for (int i = 0; i < x->n && !code; i++) {
        const rollout *c = &x->r[i];
        int n = c->n_prompt + c->n, ended = r->n_tail && n > 0 && c->t[n - 1] == r->end;
        text[i] = (pith__text_ids){ c->t, n };
        if (!ended) continue;
        pith_token *t = pith__arena_new(&a, (size_t)n + TAIL, sizeof *t);
        if (!t) code = PITH_EMEMORY;
        else memcpy(t, c->t, (size_t)n * sizeof *t), memcpy(t + n, r->tail, (size_t)r->n_tail * sizeof *t);
        text[i] = (pith__text_ids){ t, n + r->n_tail };
    }
    if (code) code = complain(FAILED, "no memory to score completions");
    else if (pith__reward(r->a, text, (size_t)x->n, score, shown ? &watch : NULL, &e)) code = report(&e);
    for (int i = 0; i < x->n && !code; i++)
        if (!isfinite(score[i])) code = complain(FAILED, "the reward model's score of completion %d is %g", i, score[i]);
    pith__arena_free(&a);
    return code;
}

void reward_model_close(reward_model *r) {
    pith_adapter_close(r->a);
    memset(r, 0, sizeof *r);
}
