/* session.c - one text in progress: its memory, and what may be done to it.
 *
 * A session gets all its memory when it is made: room for the text, for the KV cache (keys and values of
 * every token so far), and, unless it shares a pass with others, for what forward.c computes. Evaluating appends tokens: many at once (prefill, as
 * a prompt is read) or one at a time (decode, as text is written). Rewinding forgets the last ones.
 * Speculative decoding evaluates tokens that are likely to come along with the one that did. */
#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the session's memory -------------------------------------------------------------------------- */

static void place_cache(pith_session *s, pith__room *r) {
    const pith_model *m = s->model;
    size_t n_kv = (size_t)m->hyper.n_kv_head;
    s->k = pith__take_room(r, (size_t)m->hyper.n_layer, sizeof *s->k);
    s->v = pith__take_room(r, (size_t)m->hyper.n_layer, sizeof *s->v);
    for (int l = 0; l < m->hyper.n_layer; l++) {
        int n_slot = m->layer[l].mask.window ? s->n_slot_window : s->n_slot;
        size_t k = pith__cache_plane(s->k_format, m->hyper.head_dim, n_slot);
        size_t v = pith__cache_plane(s->v_format, m->hyper.head_dim, n_slot);
        if (!k || !v) r->overflow = 1;
        void *kp = pith__take_room(r, n_kv, k), *vp = pith__take_room(r, n_kv, v);
        if (r->base) s->k[l] = kp, s->v[l] = vp;
    }
}

static int cache_format(const pith_model *m, const char *name, const pith__format **f,
                        pith_error *err) {
    *f = name ? pith__format_named(name) : pith__format_of(m->cache_format);
    int id = *f ? (*f)->id : -1;
    if (id != PITH__F32 && id != PITH__F16 && id != PITH__Q8_0)
        return pith__fail(err, PITH_EARG, "cache type '%s' is not f32, f16 or q8_0", name);
    if (!pith__cache_plane(*f, m->hyper.head_dim, 16))
        return pith__fail(err, PITH_EARG, "cache type %s needs heads of a multiple of %d channels, "
                          "these have %d", (*f)->name, (*f)->length, m->hyper.head_dim);
    return PITH_OK;
}

typedef struct { /* a session, before it has memory, and the pass of its own that it may have */
    pith_session session;
    pith_pass pass;
    int own;
} planned;

/* All sizes of a session. */
static int plan(planned *p, const pith_model *m, const pith_context *c, int keep, pith_error *err) {
    static const pith_context defaults;
    if (!c) c = &defaults;
    memset(p, 0, sizeof *p);
    pith_session *s = &p->session;
    int code = pith__pass_plan(&p->pass, m, c, keep, err);
    if (!code) code = cache_format(m, c->cache_k, &s->k_format, err);
    if (!code) code = cache_format(m, c->cache_v, &s->v_format, err);
    if (code) return code;
    s->model = m;
    s->n_ctx = p->pass.n_ctx;
    s->n_batch = p->pass.n_batch;
    p->own = !c->pass;
    s->pass = c->pass;
    if (!p->own && s->pass->model != m)
        return pith__fail(err, PITH_EARG, "%s: the session's pass is one of another model", m->store.path);
    if (!p->own && (s->n_ctx > s->pass->n_ctx || s->n_batch > s->pass->n_batch))
        return pith__fail(err, PITH_EARG, "the context is %d and the batch %d tokens, but the session's pass was"
                          " made for %d and %d at most", s->n_ctx, s->n_batch, s->pass->n_ctx, s->pass->n_batch);
    s->n_slot = s->n_slot_window = pith__slots(s->n_ctx);
    int seen = 0;
    for (int l = 0; l < m->hyper.n_layer; l++) { /* what the last token sees, in the widest window */
        int from = pith__sees(m->layer[l].mask, s->n_ctx - 1, s->n_ctx).first;
        if (m->layer[l].mask.window && s->n_ctx - from > seen) seen = s->n_ctx - from;
    }
    if (seen && seen < s->n_ctx - s->n_batch) s->n_slot_window = pith__slots(seen + s->n_batch);
    return PITH_OK;
}

/* The session, with all that it has; NULL where it is only counted. */
static pith_session *place(planned *p, pith__room *r) {
    pith_session *s = pith__take_room(r, 1, sizeof *s);
    pith_pass *own = pith__take_room(r, (size_t)p->own, sizeof *own);
    p->session.tokens = pith__take_room(r, (size_t)p->session.n_ctx, sizeof *s->tokens);
    p->session.logits = pith__take_room(r, (size_t)p->session.model->hyper.n_vocab, sizeof *s->logits);
    place_cache(&p->session, r);
    if (p->own) pith__pass_place(&p->pass, r);
    if (!r->base) return NULL;
    if (p->own) *own = p->pass, p->session.pass = own;
    *s = p->session;
    return s;
}

static size_t planned_size(planned *p) { /* in bytes; 0: more than can be counted */
    pith__room r = { 0 };
    place(p, &r);
    return pith__room_size(&r);
}

PITH_SHARED pith_session *pith__session_new(const pith_model *m, const pith_context *c, int keep,
                                            pith_error *err) {
    planned p;
    if (plan(&p, m, c, keep, err)) return NULL;
    size_t size = planned_size(&p);
    void *mem = size ? calloc(1, size) : NULL;
    if (!mem) {
        pith__fail(err, PITH_EMEMORY, "%s: no memory for a session of %d tokens (%.1f MB)",
                   m->store.path, p.session.n_ctx, (double)size / 1e6);
        return NULL;
    }
    pith__room r = pith__room_in(mem);
    pith_session *s = place(&p, &r);
    s->memory = mem;
    return s;
}

pith_session *pith_session_new(const pith_model *m, const pith_context *c, pith_error *err) {
    return pith__session_new(m, c, PITH__KEEP_ONE, err);
}

PITH_SHARED size_t pith__session_bytes(const pith_model *m, const pith_context *c, int keep) {
    planned p;
    return plan(&p, m, c, keep, NULL) ? 0 : planned_size(&p);
}

size_t pith_session_size(const pith_model *m, const pith_context *c) {
    return pith__session_bytes(m, c, PITH__KEEP_ONE);
}

pith_session *pith_session_place(const pith_model *m, const pith_context *c, void *mem, size_t size,
                                 pith_error *err) {
    planned p;
    if (plan(&p, m, c, PITH__KEEP_ONE, err)) return NULL;
    size_t need = planned_size(&p);
    if (!need || size < need) {
        pith__fail(err, PITH_EMEMORY, "a session of %d tokens needs %zu bytes, given %zu",
                   p.session.n_ctx, need, size);
        return NULL;
    }
    memset(mem, 0, need);
    pith__room r = pith__room_in(mem);
    return place(&p, &r);
}

void pith_session_free(pith_session *s) {
    if (s) free(s->memory);
}

/* ---- evaluating ------------------------------------------------------------------------------------ */

static int is_causal(const pith_model *m) {
    for (int l = 0; l < m->hyper.n_layer; l++)
        if (!m->layer[l].mask.causal) return 0;
    return 1;
}

/* Checks n tokens that are to stand from position from on, in a text of n_text or more. What is called below
 * does not check again. */
static int check_tokens(const pith_session *s, int from, const pith_token *t, int n, int n_text,
                        pith_error *err) {
    if (n < 0 || (n > 0 && !t)) return pith__fail(err, PITH_EARG, "%d tokens to evaluate", n);
    if (n > s->n_ctx - from)
        return pith__fail(err, PITH_EFULL, "the context of %d tokens is full: %d are there, %d more",
                          s->n_ctx, from, n);
    for (int i = 0; i < n; i++)
        if (t[i] < 0 || t[i] >= s->model->hyper.n_vocab)
            return pith__fail(err, PITH_EARG, "token %d is not in the vocabulary of %d", t[i],
                              s->model->hyper.n_vocab);
    if (n > 0 && (from > 0 || n > s->n_batch || n_text > n) && !is_causal(s->model))
        return pith__fail(err, PITH_EARG, "tokens of this model see those after them: the text must be "
                          "evaluated at once, in a batch of %d tokens at most", s->n_batch);
    return PITH_OK;
}

typedef struct {
    pith_session *s;
    const pith_token *t; /* (n) */
    int n;
    float *logits;       /* (n, n_vocab) or NULL */
    int n_text;          /* tokens of the whole text, where the caller knows that more will come; or 0 */
} eval_job;

/* Longrope (Phi 3): all keys and queries of a text longer than the model's first context are rotated by
 * other angles. When a text grows over that length, or is rewound below, the KV cache is computed again:
 * logits depend on the text alone. Ding et al. 2024, arXiv:2402.13753. */
static void choose_rope(const eval_job *job) {
    pith_session *s = job->s;
    int known = s->position, n_text = known + job->n > job->n_text ? known + job->n : job->n_text;
    int is_long = n_text > s->model->n_ctx_original;
    if (!s->model->rope[0].freq_long || is_long == s->long_rope) return;
    s->long_rope = is_long;
    s->position = s->lost = 0;
    for (int i = 0; i < known; i += s->n_batch)
        pith__forward(s, s->tokens + i, known - i < s->n_batch ? known - i : s->n_batch);
}

static void evaluate(void *data) {
    const eval_job *job = data;
    pith_session *s = job->s;
    size_t n_vocab = (size_t)s->model->hyper.n_vocab;
    choose_rope(job);
    for (int i = 0; i < job->n; i += s->n_batch) {
        int m = job->n - i < s->n_batch ? job->n - i : s->n_batch;
        float *rows = job->logits ? job->logits + (size_t)i * n_vocab : NULL;
        pith__forward(s, job->t + i, m);
        if (rows) pith__logits_of(s, 0, m, rows);
        if (i + m < job->n) continue;
        if (rows) memcpy(s->logits, rows + (size_t)(m - 1) * n_vocab, n_vocab * sizeof *rows);
        else pith__logits_of(s, m - 1, 1, s->logits);
    }
}

/* ---- speculative decoding -------------------------------------------------------------------------- */

/* Text that repeats itself says what comes next: what followed where the last tokens (an n-gram) occurred
 * before. These drafted tokens go through the model with the token before them, whose pass reads all weights
 * anyway. Their logits are kept until the same tokens are evaluated. Prompt lookup: Saxena 2023,
 * github.com/apoorvumang/prompt-lookup-decoding; Yang et al. 2023, arXiv:2304.04487. */

/* The last k of n tokens: where their latest occurrence before the end is over, or 0. */
static int find_ngram(const pith_token *t, int n, int k) {
    for (int at = n - 1; at >= k; at--)
        if (t[at - 1] == t[n - 1] && !memcmp(t + at - k, t + n - k, (size_t)k * sizeof *t)) return at;
    return 0;
}

/* How many tokens to draft: as many as fit the context, and have the angles that the token alone would have. */
static int draft_length(const pith_session *s) {
    int after = s->position + 1, most = s->draft.trust, n_short = s->model->n_ctx_original;
    if (most > s->n_ctx - after) most = s->n_ctx - after;
    if (s->model->rope[0].freq_long && after <= n_short && most > n_short - after) most = n_short - after;
    return s->watch ? 0 : most; /* a watcher is shown each token of the text once */
}

/* Writes token t behind the text, and the drafted tokens behind it; returns how many are drafted. */
static int draft_tokens(pith_session *s, pith_token t) {
    int n = s->position + 1, most = draft_length(s);
    s->tokens[s->position] = t;
    int from = find_ngram(s->tokens, n, 3);
    if (!from) from = find_ngram(s->tokens, n, 2);
    if (!from) return 0;
    for (int i = 0; i < most; i++) s->tokens[n + i] = s->tokens[from + i]; /* the copy may read itself */
    return most;
}

/* Accepts those of n tokens that are drafted: their logits are there. Returns how many. */
static int accept_draft(pith_session *s, const pith_token *t, int n) {
    pith__draft *d = &s->draft;
    size_t n_vocab = (size_t)s->model->hyper.n_vocab;
    int k = 0;
    while (k < n && d->accepted < d->made && t[k] == s->tokens[s->position])
        k++, s->position++, d->accepted++;
    if (k) memcpy(s->logits, d->logits + (size_t)d->accepted * n_vocab, n_vocab * sizeof *s->logits);
    d->n_accepted += k;
    return k;
}

/* The rest of the draft is wrong. */
static void reject_draft(pith__draft *d) {
    if (d->made && d->accepted == d->made) d->trust *= 2;
    else if (d->made) d->trust = d->accepted + 1;
    if (d->trust > d->most) d->trust = d->most;
    d->made = d->accepted = 0;
}

static void evaluate_speculative(pith_session *s, pith_token t) {
    pith__draft *d = &s->draft;
    d->made = draft_tokens(s, t);
    d->n_pass++;
    eval_job job = { s, s->tokens + s->position, 1 + d->made, d->logits, 0 };
    pith__together(&s->pass->team, evaluate, &job);
    s->position -= d->made;
    memcpy(s->logits, d->logits, (size_t)s->model->hyper.n_vocab * sizeof *s->logits);
}

/* A token and its draft are at most a batch. Rings of windows have one position more than a batch needs, so
 * that the whole draft may be rejected. */
void pith_draft(pith_session *s, int n, float *logits) {
    pith__draft none = { 0 };
    s->draft = none;
    if (n <= 0 || !logits) return;
    s->draft.most = s->draft.trust = n < s->n_batch ? n : s->n_batch - 1;
    s->draft.logits = logits;
}

double pith_draft_rate(const pith_session *s) {
    const pith__draft *d = &s->draft;
    return d->n_pass ? (double)(d->n_pass + d->n_accepted) / d->n_pass : 0;
}

/* ---- evaluating, from outside ---------------------------------------------------------------------- */

PITH_SHARED int pith__eval_part(pith_session *s, const pith_token *t, int n, int n_text, float *logits,
                                pith_error *err) {
    int code = check_tokens(s, s->position, t, n, n_text, err);
    if (code || n == 0) return code;
    int known = logits || n_text ? 0 : accept_draft(s, t, n);
    if (known < n) {
        reject_draft(&s->draft);
        eval_job job = { s, t + known, n - known, logits, n_text };
        if (s->draft.most && job.n == 1 && !logits && !n_text) evaluate_speculative(s, *job.t);
        else pith__together(&s->pass->team, evaluate, &job);
    }
    s->logits_at = s->position;
    return PITH_OK;
}

PITH_SHARED int pith__eval_all(pith_session *s, const pith_token *t, int n, float *logits,
                               pith_error *err) {
    return pith__eval_part(s, t, n, 0, logits, err);
}

int pith_eval(pith_session *s, const pith_token *t, int n, pith_error *err) {
    return pith__eval_all(s, t, n, NULL, err);
}

/* Checks one piece of work. Marks its session, which may come only once. */
static int check_work(const pith_work *w, const pith_model *m, pith_error *err) {
    pith_session *s = w->session;
    if (!s) return pith__fail(err, PITH_EARG, "there is no session");
    if (s->model != m) return pith__fail(err, PITH_EARG, "the session is of another model than the first");
    if (s->in_work) return pith__fail(err, PITH_EARG, "its session comes twice");
    if (w->n < 1) return pith__fail(err, PITH_EARG, "%d tokens to evaluate", w->n);
    int code = check_tokens(s, s->position, w->tokens, w->n, 0, err);
    s->in_work = !code;
    return code;
}

int pith_eval_many(const pith_work *work, int n_work, pith_error *err) {
    if (!work || n_work < 1) return pith__fail(err, PITH_EARG, "%d texts to evaluate", work ? n_work : 0);
    pith_error why = { 0 };
    int code = PITH_OK, checked = 0;
    while (checked < n_work && !code) {
        const pith_session *first = work->session;
        code = check_work(work + checked, first ? first->model : NULL, &why);
        checked += !code;
    }
    for (int i = 0; i < checked; i++) work[i].session->in_work = 0;
    if (code) return pith__fail(err, code, "work[%d]: %s", checked, why.text);
    for (int i = 0; i < n_work; i++)
        pith__eval_all(work[i].session, work[i].tokens, work[i].n, work[i].logits, NULL);
    return PITH_OK;
}

int pith_position(const pith_session *s) { return s->position; }

/* The position to which a rewind to this one comes. Layers with a window keep no more than n_slot_window
 * positions: those that the token at the new position looks back on must still be there. Without a causal mask
 * the tokens before it have seen those that are forgotten. */
static int way_back(const pith_session *s, int position) {
    if (position >= s->position) return s->position;
    for (int l = 0; l < s->model->hyper.n_layer; l++) {
        pith__mask mask = s->model->layer[l].mask;
        int first = pith__sees(mask, position, s->n_ctx).first;
        if (!mask.causal || (mask.window && s->lost > first)) return 0;
    }
    return position;
}

int pith_rewind(pith_session *s, int position) {
    position = way_back(s, position > 0 ? position : 0);
    if (position >= s->position) return position;
    s->position = position;
    s->draft.made = s->draft.accepted = 0;
    if (position == 0) s->lost = 0;
    return position;
}

/* The last token is evaluated again even when it is there, unless the logits are those after it. */
int pith_known(const pith_session *s, const pith_token *t, int n) {
    int same = 0;
    while (same < n && same < s->position && s->tokens[same] == t[same]) same++;
    if (same == n && same == s->position && same == s->logits_at) return n;
    if (!is_causal(s->model)) return 0; /* its tokens see what is new */
    return same == 0 ? 0 : way_back(s, same < n ? same : n - 1);
}

int pith_sync(pith_session *s, const pith_token *t, int n, pith_error *err) {
    int code = check_tokens(s, 0, t, n, 0, err);
    if (code) return code;
    int known = pith_known(s, t, n);
    pith_rewind(s, known);
    return pith_eval(s, t + known, n - known, err);
}

const float *pith_logits(const pith_session *s) { return s->logits; }

float pith_logprob(const pith_session *s, pith_token t) {
    int n = s->model->hyper.n_vocab;
    if (t < 0 || t >= n) return -INFINITY;
    double most = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        if (s->logits[i] > most) most = s->logits[i];
    for (int i = 0; i < n; i++) sum += exp(s->logits[i] - most);
    return (float)(s->logits[t] - most - log(sum));
}
