/* rollouts.c - the policy completes prompts: many texts at once, each token with the probability that it was drawn with.
 *
 * slots.c writes them: a text that has ended makes room for the next one, and a prompt is evaluated once for all of its
 * completions. What is drawn from is the softmax of the logits by the temperature and nothing else: another sampler would
 * not be the policy that is scored. Its logarithm is computed as training does, so a policy that has not changed yet has
 * ratios of exactly 1. */
#include "rollouts.h"
#include "../train/train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const rollout_plan *plan;
    slots k;
    choice *c;           /* (n) those */
    choice **ended;      /* (parallel) */
    float *logits;       /* (n_vocab) a copy, which becomes probabilities */
    rollouts *to;
    int n, n_begun, n_ended, is_nan;
} sampling;

typedef struct { /* what a text belongs to */
    sampling *s;
    rollout *r;
} drawing;

/* ---- a text -------------------------------------------------------------------------------------- */

/* After each pass: the token that was drawn in it. */
static void take_token(choice *c, const pith_session *session) {
    const drawing *d = c->owner;
    sampling *s = d->s;
    rollout *r = d->r;
    size_t n_vocab = (size_t)session->model->hyper.n_vocab;
    uint8_t right;
    if (c->g.token < 0 || c->g.ended < 0) return; /* its prompt is being read */
    memcpy(s->logits, pith_logits(session), n_vocab * sizeof *s->logits);
    float logp = (float)-pith__cross_entropy(session->pass->kernels, s->logits, n_vocab, s->plan->temperature, c->g.token,
                                             &right);
    if (!isfinite(logp)) s->is_nan = 1;
    r->t[r->n_prompt + r->n] = c->g.token;
    r->logp[r->n++] = logp;
    r->truncated = c->g.ended != PITH_END;
}

/* Completion k of prompt i begins. */
static int begin_text(sampling *s, const request_prompt *prompt, int i, int k) {
    const rollout_plan *plan = s->plan;
    int at = i * plan->n_each + k;
    rollout *r = &s->to->r[at];
    choice *c = &s->c[at];
    drawing *d = pith__arena_new(&s->to->arena, 1, sizeof *d);
    r->t = pith__arena_new(&s->to->arena, (size_t)prompt[i].n + (size_t)plan->max_length, sizeof *r->t);
    r->logp = pith__arena_new(&s->to->arena, (size_t)plan->max_length, sizeof *r->logp);
    if (!d || !r->t || !r->logp) return complain(FAILED, "no memory for %d completions", s->n);
    memcpy(r->t, prompt[i].t, (size_t)prompt[i].n * sizeof *r->t);
    r->n_prompt = prompt[i].n, r->group = plan->first_group + i;
    *d = (drawing){ s, r };
    uint64_t seed = pith__random_at(pith__random_at(plan->seed, (uint64_t)i), (uint64_t)k);
    *c = (choice){ .prompt = &prompt[i], .owner = d };
    c->g = (pith_generation){ .how = { .temperature = plan->temperature }, .rng = seed, .n_predict = plan->max_length };
    slots_start(&s->k, c);
    return 0;
}

/* ---- all of them --------------------------------------------------------------------------------- */

static int run_texts(sampling *s, const request_prompt *prompt) {
    pith_error e = { 0, "" };
    while (s->n_ended < s->n) {
        for (; s->k.n_busy < s->k.n && s->n_begun < s->n; s->n_begun++) {
            int code = begin_text(s, prompt, s->n_begun / s->plan->n_each, s->n_begun % s->plan->n_each);
            if (code) return code;
        }
        int n = slots_step(&s->k, s->ended, &e);
        if (n < 0) return complain(FAILED, "%s", e.text);
        for (int i = 0; i < n; i++) {
            choice *c = s->ended[i];
            if (c->g.ended < 0) return complain(FAILED, "%s", c->error.text);
            choice_free(c);
        }
        s->n_ended += n;
        if (s->is_nan) return complain(FAILED, "the model computes probabilities that are no numbers: nothing can be drawn");
        if (stopped()) return stopped();
        if (s->plan->shown) show_progress(s->plan->shown, (size_t)s->n_ended, (size_t)s->n);
    }
    return 0;
}

static int at_once(const rollout_plan *plan, int n) { return plan->parallel && plan->parallel < n ? plan->parallel : n; }

/* Of a text whose prompt has up to longest tokens, beside so many others. */
static pith_context context_of(const rollout_plan *plan, int longest, int parallel) {
    pith_context c = { .n_ctx = longest + plan->max_length, .cache_k = "f32", .cache_v = "f32", .adapters = &plan->adapter,
                       .n_adapter = plan->adapter != NULL };
    c.n_batch = parallel > 256 ? parallel : 256; /* a row of the pass for each text */
    if (c.n_batch > c.n_ctx) c.n_batch = c.n_ctx;
    return c;
}

double rollouts_memory(const rollout_plan *plan, int longest, int n) {
    const pith_context c = context_of(plan, longest, at_once(plan, n));
    size_t pass, session;
    return size_together(plan->m, &c, at_once(plan, n), &pass, &session);
}

static int open_sampling(sampling *s, const request_prompt *prompt, int n_prompt) {
    const rollout_plan *plan = s->plan;
    pith_error e = { 0, "" };
    int parallel = at_once(plan, s->n), longest = 0;
    for (int i = 0; i < n_prompt; i++)
        if (prompt[i].n > longest) longest = prompt[i].n;
    const pith_context c = context_of(plan, longest, parallel);
    double room = 0.5 * pith__may_use("").memory - (double)pith_pass_size(plan->m, &c); /* training has the rest */
    if (slots_open(&s->k, plan->m, &c, parallel, room > 0 ? (size_t)room : 0, &e)) return complain(FAILED, "%s", e.text);
    s->k.take = take_token;
    s->c = calloc((size_t)s->n, sizeof *s->c);
    s->ended = calloc((size_t)parallel, sizeof *s->ended);
    s->logits = calloc((size_t)plan->m->hyper.n_vocab, sizeof *s->logits);
    s->to->r = pith__arena_new(&s->to->arena, (size_t)s->n, sizeof *s->to->r);
    int good = s->c && s->ended && s->logits && s->to->r;
    return good ? 0 : complain(FAILED, "no memory for %d completions", s->n);
}

int rollouts_sample(rollouts *to, const rollout_plan *plan, const request_prompt *prompt, int n_prompt) {
    memset(to, 0, sizeof *to);
    sampling s = { .plan = plan, .to = to, .n = n_prompt * plan->n_each };
    int code = open_sampling(&s, prompt, n_prompt);
    if (!code) code = run_texts(&s, prompt);
    if (plan->shown) show_progress(plan->shown, 1, 1);
    for (int i = 0; s.c && i < s.n_begun; i++) choice_free(&s.c[i]);
    free(s.c), free(s.ended), free(s.logits);
    slots_close(&s.k);
    if (code) return rollouts_free(to), code;
    to->n = s.n;
    for (int i = 0; i < to->n; i++)
        if (to->r[i].n_prompt + to->r[i].n > to->longest) to->longest = to->r[i].n_prompt + to->r[i].n;
    return 0;
}

/* ---- what another policy finds of them ---------------------------------------------------------------- */

enum { ROWS = 64 }; /* tokens whose logits exist at once */

/* What the tokens t (n) make of the next one each: to (n), of the tokens behind them. */
static int score_rows_of(pith_session *s, const pith_token *t, int n, float temperature, float *logits, float *to) {
    pith_error e = { 0, "" };
    size_t n_vocab = (size_t)s->model->hyper.n_vocab;
    for (int i = 0, rows; i < n; i += rows) {
        uint8_t right;
        rows = n - i < ROWS ? n - i : ROWS;
        const pith_work work = { s, t + i, rows, logits };
        if (pith_eval_many(&work, 1, &e)) return complain(FAILED, "%s", e.text);
        for (int k = 0; k < rows; k++)
            to[i + k] = (float)-pith__cross_entropy(s->pass->kernels, logits + (size_t)k * n_vocab, n_vocab, temperature,
                                                    t[i + k + 1], &right);
    }
    return stopped();
}

/* The prompt is evaluated once for all of a group. */
static int score_one(pith_session *s, const rollout *x, int same_prompt, float temperature, float *logits, float *to) {
    pith_error e = { 0, "" };
    int from = pith_rewind(s, same_prompt ? x->n_prompt - 1 : 0);
    if (from < x->n_prompt - 1 && pith_eval(s, x->t + from, x->n_prompt - 1 - from, &e)) return complain(FAILED, "%s", e.text);
    return score_rows_of(s, x->t + x->n_prompt - 1, x->n, temperature, logits, to);
}

int rollouts_score(rollouts *r, const pith_model *m, const pith_adapter *adapter, float temperature, float **to) {
    const pith_context c = { .n_ctx = r->longest, .n_batch = ROWS, .cache_k = "f32", .cache_v = "f32", .adapters = &adapter,
                             .n_adapter = adapter != NULL };
    pith_error e = { 0, "" };
    pith_session *s = pith_session_new(m, &c, &e);
    if (!s) return complain(FAILED, "%s", e.text);
    float *logits = calloc(ROWS * (size_t)m->hyper.n_vocab, sizeof *logits);
    int code = logits ? 0 : complain(FAILED, "no memory to score completions");
    for (int i = 0; i < r->n && !code; i++) {
        const rollout *x = &r->r[i];
        to[i] = pith__arena_new(&r->arena, (size_t)x->n, sizeof **to);
        if (!to[i]) code = complain(FAILED, "no memory to score completions");
        else code = score_one(s, x, i && r->r[i - 1].group == x->group, temperature, logits, to[i]);
    }
    free(logits), pith_session_free(s);
    return code;
}

void rollouts_free(rollouts *r) {
    pith__arena_free(&r->arena);
    memset(r, 0, sizeof *r);
}
