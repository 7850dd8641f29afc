/* tasks.c - rows of a file -> prompts that a policy is to complete.
 *
 *     {"prompt": "What is 2 + 2?", "answer": "4"}                                    a text, as the tokenizer has it,
 *     {"prompt": [{"role": "user", "content": "What is 2 + 2?"}], "answer": "4"}     or messages, up to where the model speaks
 *
 * What else a row has is for the rewards. */
#include "rollouts.h"
#include "../train/train.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    tasks *to;
    const task_plan *plan;
    char where[160];     /* "FILE: line 3" */
    int room;
} task_reader;

static int no_memory(const task_reader *w) { return complain(FAILED, "%s: no memory for the prompt", w->where); }

static int keep_tokens(task_reader *w, task *x, const pith_token *t, int n) {
    const task_plan *plan = w->plan;
    if (n < 1) return complain(BAD_DATA, "%s: the prompt has no tokens", w->where);
    if (n > plan->most)
        return complain(BAD_DATA, "%s: the prompt has %d tokens, and with %d for its completion need %d at most", w->where, n,
                        plan->room, plan->most);
    pith_token *copy = pith__arena_new(&w->to->arena, (size_t)n, sizeof *copy);
    if (!copy) return no_memory(w);
    memcpy(copy, t, (size_t)n * sizeof *t);
    x->prompt = (request_prompt){ copy, n };
    return 0;
}

static int read_text_prompt(task_reader *w, task *x, pith__str text) {
    pith_token *t = NULL;
    int n = 0;
    if (!w->plan->m->tokenizer) return complain(BAD_DATA, "%s: the prompt is a text, and the model has no vocabulary", w->where);
    int code = encode_with(w->plan->m->tokenizer, text.p, text.n, PITH_BOS | (w->plan->parse_special ? PITH_SPECIAL : 0), &t, &n);
    if (!code) code = keep_tokens(w, x, t, n);
    free(t);
    return code;
}

static int read_messages(task_reader *w, task *x, const char *messages) {
    const pith_conversation c = { .messages = messages, .variables = w->plan->variables, .now = w->plan->now };
    pith_rendering r;
    pith_error e = { 0, "" };
    if (!w->plan->form)
        return complain(BAD_DATA, "%s: the prompt is messages, and the model has no chat template (--chat-template NAME)", w->where);
    if (pith_render(w->plan->form, &c, &r, &e))
        return complain(e.code == PITH_EMEMORY ? FAILED : BAD_DATA, "%s: %s", w->where, e.text);
    int code = keep_tokens(w, x, r.token, r.n_token);
    pith_rendering_free(&r);
    return code;
}

static int add_task(task_reader *w, pith__json j) {
    pith_error e = { 0, "" };
    pith__arena a = { NULL, 0 };
    pith__row row;
    tasks *to = w->to;
    pith__str raw = pith__json_raw(j);
    if (to->n == w->room) { /* the old one is the arena's until the end */
        int room = w->room ? 2 * w->room : 256;
        task *more = pith__arena_new(&to->arena, (size_t)room, sizeof *more);
        if (!more) return no_memory(w);
        if (to->n) memcpy(more, to->task, (size_t)to->n * sizeof *more);
        to->task = more, w->room = room;
    }
    task *x = &to->task[to->n];
    char *copy = pith__arena_text(&to->arena, raw.p, raw.n);
    if (!copy) return no_memory(w);
    int code = 0;
    if (pith__row_read_prompt(&row, j, w->where, &a, &e))
        code = complain(e.code == PITH_EMEMORY ? FAILED : BAD_DATA, "%s", e.text);
    if (!code) code = row.messages ? read_messages(w, x, row.messages) : read_text_prompt(w, x, row.text);
    pith__arena_free(&a);
    if (!code && pith__json_read(&x->row, copy, raw.n, w->where, &e)) code = complain(BAD_DATA, "%s", e.text);
    if (!code && w->plan->check) code = w->plan->check(w->plan->of, x->row, w->where);
    if (code) return code;
    to->key = pith__hash(pith__hash(to->key, raw.p, raw.n), x->prompt.t, (size_t)x->prompt.n * sizeof *x->prompt.t);
    if (x->prompt.n > to->longest) to->longest = x->prompt.n;
    to->n++;
    return 0;
}

static int add_file(task_reader *w, const char *path) {
    pith__documents d;
    pith__json j = { NULL, NULL };
    pith_error e = { 0, "" };
    int code = 0, before = w->to->n;
    if (pith__documents_open(&d, path, &e)) return complain(BAD_DATA, "%s", e.text);
    while (!code && !(code = pith__documents_row(&d, &j, &e) ? complain(BAD_DATA, "%s", e.text) : 0) && j.p) {
        snprintf(w->where, sizeof w->where, "%.120s: %s %zu", path, d.kind == PITH__JSON_ARRAY ? "item" : "line", d.count);
        code = stopped() ? stopped() : add_task(w, j);
    }
    if (!code && w->to->n == before) code = complain(BAD_DATA, "%s: has no rows", path);
    pith__documents_close(&d);
    return code;
}

int tasks_open(tasks *to, const task_plan *plan, const list *files) {
    task_reader w = { .to = to, .plan = plan };
    int code = 0;
    memset(to, 0, sizeof *to);
    for (int i = 0; i < files->n && !code; i++) code = add_file(&w, files->item[i]);
    if (code) tasks_free(to);
    return code;
}

void tasks_free(tasks *t) {
    pith__arena_free(&t->arena);
    memset(t, 0, sizeof *t);
}
