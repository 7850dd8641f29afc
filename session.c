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

/* Of layers that have one; and of all together once more for each mark. */
static void place_states(pith_session *s, pith__room *r) {
    const pith_model *m = s->model;
    size_t n = pith__states_floats(m), at = 0;
    s->most_mark = pith__most_marks(m);
    s->state = pith__take_room(r, n ? (size_t)m->hyper.n_layer : 0, sizeof *s->state);
    s->mark = pith__take_room(r, (size_t)s->most_mark, sizeof *s->mark);
    float *states = pith__take_room(r, n, sizeof *states);
    for (int l = 0; r->base && n && l < m->hyper.n_layer; l++) {
        size_t floats = pith__state_floats(m, l);
        s->state[l] = floats ? states + at : NULL;
        at += (floats + 15) / 16 * 16;
    }
    for (int i = 0; i < s->most_mark; i++) {
        float *kept = pith__take_room(r, n, sizeof *kept);
        if (r->base) s->mark[i].states = kept;
    }
    s->states = n ? states : NULL;
}

static void place_cache(pith_session *s, pith__room *r) {
    const pith_model *m = s->model;
    s->k = pith__take_room(r, (size_t)m->hyper.n_layer, sizeof *s->k);
    s->v = pith__take_room(r, (size_t)m->hyper.n_layer, sizeof *s->v);
    for (int l = 0; l < m->hyper.n_layer; l++) {
        const pith__layer *w = &m->layer[l];
        int n_slot = w->mask.window ? s->n_slot_window : s->n_slot;
        int own = w->kv_from == l;
        size_t k = pith__cache_plane(s->k_format, w->head_dim, n_slot), v = pith__cache_plane(s->v_format, w->head_dim, n_slot);
        if (!k || !v) r->overflow = 1;
        void *kp = pith__take_room(r, own ? (size_t)pith__planes(w, 0) : 0, k), *vp = pith__take_room(r, own ? (size_t)pith__planes(w, 1) : 0, v);
        if (r->base) s->k[l] = own ? kp : s->k[w->kv_from], s->v[l] = own ? vp : s->v[w->kv_from];
    }
}

static int cache_format(const pith_model *m, const char *name, const pith__format **f,
                        pith_error *err) {
    *f = name ? pith__format_named(name) : pith__format_of(m->cache_format);
    int id = *f ? (*f)->id : -1;
    if (id != PITH__F32 && id != PITH__F16 && id != PITH__Q8_0)
        return pith__fail(err, PITH_EARG, "cache type '%s' is not f32, f16 or q8_0", name);
    for (const pith__layer *w = m->layer; w < m->layer + m->hyper.n_layer; w++)
        if (w->n_kv_head && !pith__cache_plane(*f, w->head_dim, 16))
            return pith__fail(err, PITH_EARG, "cache type %s needs heads of a multiple of %d channels, "
                              "these have %d", (*f)->name, (*f)->length, w->head_dim);
    return PITH_OK;
}

static int set_adapters(const pith_model *m, pith__adapted *to, const pith_adapter *const *list, const float *scales,
                        int n, pith_error *err) {
    memset(to, 0, sizeof *to);
    if (n < 0 || n > PITH_ADAPTERS || (n > 0 && !list))
        return pith__fail(err, PITH_EARG, "%d adapters, need 0 to %d", list || n < 0 ? n : 0, PITH_ADAPTERS);
    for (int i = 0; i < n; i++) {
        if (!list[i] || list[i]->model != m)
            return pith__fail(err, PITH_EARG, "%s: adapter %d is one of another model", m->store.path, i);
        to->of[i].adapter = list[i];
        to->of[i].scale = scales ? scales[i] : 1;
        if (!isfinite(to->of[i].scale))
            return pith__fail(err, PITH_EARG, "the scale of adapter %d is no number", i);
    }
    to->n = n;
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
    int one = m->hyper.latent.rank > 0; /* cache of keys and values at once */
    if (!code) code = cache_format(m, one && !c->cache_k ? c->cache_v : c->cache_k, &s->k_format, err);
    if (!code) code = cache_format(m, one && !c->cache_v ? c->cache_k : c->cache_v, &s->v_format, err);
    if (!code && one && s->k_format != s->v_format)
        code = pith__fail(err, PITH_EARG, "the cache types are %s and %s, need the same: in this model a value is a part of its key",
                          s->k_format->name, s->v_format->name);
    if (!code) code = set_adapters(m, &s->adapted, c->adapters, c->scales, c->n_adapter, err);
    if (code) return code;
    s->model = m;
    s->n_ctx = p->pass.n_ctx;
    s->n_batch = p->pass.n_batch;
    p->own = !c->pass && keep != PITH__KEEP_NONE;
    s->pass = c->pass;
    if (c->pass && c->pass->model != m)
        return pith__fail(err, PITH_EARG, "%s: the session's pass is one of another model", m->store.path);
    if (c->pass && (s->n_ctx > s->pass->n_ctx || s->n_batch > s->pass->n_batch))
        return pith__fail(err, PITH_EARG, "the context is %d and the batch %d tokens, but the session's pass was"
                          " made for %d and %d at most", s->n_ctx, s->n_batch, s->pass->n_ctx, s->pass->n_batch);
    s->n_slot = s->n_slot_window = pith__slots(s->n_ctx);
    int seen = 0;
    for (int l = 0; l < m->hyper.n_layer; l++) { /* what the last token sees, in the widest window, or that of a whole chunk */
        pith__mask mask = m->layer[l].mask;
        mask.chunk = 0;
        int from = pith__sees(mask, s->n_ctx - 1, s->n_ctx).first;
        if (mask.window && s->n_ctx - from > seen) seen = s->n_ctx - from;
    }
    if (seen && !c->swa_full && seen < s->n_ctx - s->n_batch) s->n_slot_window = pith__slots(seen + s->n_batch);
    return PITH_OK;
}

/* The session, with all that it has; NULL where it is only counted. */
static pith_session *place(planned *p, pith__room *r) {
    pith_session *s = pith__take_room(r, 1, sizeof *s);
    pith_pass *own = pith__take_room(r, (size_t)p->own, sizeof *own);
    p->session.tokens = pith__take_room(r, (size_t)p->session.n_ctx, sizeof *s->tokens);
    p->session.logits = pith__take_room(r, (size_t)p->session.model->hyper.n_vocab, sizeof *s->logits);
    place_cache(&p->session, r);
    place_states(&p->session, r);
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

/* ---- adapters -------------------------------------------------------------------------------------- */

int pith_session_adapters(pith_session *s, const pith_adapter *const *list, const float *scales, int n,
                          pith_error *err) {
    pith__adapted by;
    int code = set_adapters(s->model, &by, list, scales, n, err);
    if (code || pith__same_adapters(&s->adapted, &by)) return code;
    pith_rewind(s, 0);
    s->adapted = by;
    return PITH_OK;
}

/* ---- evaluating ------------------------------------------------------------------------------------ */

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
    if (n > 0 && (from > 0 || n > s->n_batch || n_text > n) && !pith__is_causal(s->model))
        return pith__fail(err, PITH_EARG, "tokens of this model see those after them: the text must be "
                          "evaluated at once, in a batch of %d tokens at most", s->n_batch);
    return PITH_OK;
}

/* ---- speculative decoding -------------------------------------------------------------------------- */

/* Tokens are guessed, and go through the model with the token before them, whose pass reads all weights anyway.
 * Their logits are kept until the same tokens are evaluated. Text that repeats itself says what comes next: what
 * followed where the last tokens (an n-gram) occurred before. Prompt lookup: Saxena 2023,
 * github.com/apoorvumang/prompt-lookup-decoding; Yang et al. 2023, arXiv:2304.04487. Or a small model says it:
 * Leviathan et al. 2023, arXiv:2211.17192; here it says what is likeliest, and what is drawn decides. */

/* The last k of n tokens: where their latest occurrence before the end is over, or 0. */
static int find_ngram(const pith_token *t, int n, int k) {
    for (int at = n - 1; at >= k; at--)
        if (t[at - 1] == t[n - 1] && !memcmp(t + at - k, t + n - k, (size_t)k * sizeof *t)) return at;
    return 0;
}

/* How many tokens to draft: as many as fit the context, and have the angles that the token alone would have. */
static int draft_length(const pith_session *s) {
    int after = s->position + 1, most = s->draft.by ? s->draft.most : s->draft.trust, n_short = s->model->n_ctx_original;
    if (most > s->n_ctx - after) most = s->n_ctx - after;
    if (s->model->rope[0].freq_long && after <= n_short && most > n_short - after) most = n_short - after;
    return s->watch ? 0 : most; /* a watcher is shown each token of the text once */
}

/* The likeliest token after a session's text, and its probability. */
static pith_token likeliest(const pith_session *s, float *p) {
    size_t n = (size_t)s->model->hyper.n_vocab, best = 0;
    float *probs = s->pass->probs;
    memcpy(probs, s->logits, n * sizeof *probs);
    s->pass->kernels->softmax(probs, n);
    for (size_t i = 1; i < n; i++)
        if (probs[i] > probs[best]) best = i;
    *p = probs[best];
    return (pith_token)best;
}

/* The small model goes on while all that it has said is likely enough to be worth another pass of it and one
 * more row of the large one. */
static int draft_by_model(pith_session *s, int n, int most) {
    const double row = 0.1; /* of a pass that reads the weights for one token: what one more costs */
    pith_session *by = s->draft.by;
    double price = row + (double)by->model->shape.n_byte / (double)s->model->shape.n_byte, all = 1;
    if (most < 1 || pith_sync(by, s->tokens, n, NULL)) return 0;
    for (int k = 0;;) {
        float p;
        pith_token t = likeliest(by, &p);
        all *= p;
        if (!(all > row) || t >= s->model->hyper.n_vocab) return k;
        s->tokens[n + k++] = t;
        if (k == most || all < price || pith_eval(by, &t, 1, NULL)) return k;
    }
}

/* Writes drafted tokens behind the one that is to be evaluated; returns how many. */
static int draft_tokens(pith_session *s) {
    int n = s->position + 1, most = draft_length(s);
    if (s->draft.by) return draft_by_model(s, n, most);
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

/* A token and its draft are at most a batch. Rings of windows have one position more than a batch needs, so
 * that the whole draft may be rejected. */
void pith_draft(pith_session *s, int n, float *logits) {
    pith__draft none = { 0 };
    s->draft = none;
    if (n <= 0 || !logits || s->states) return; /* a state cannot forget a token that was drafted wrong */
    s->draft.most = s->draft.trust = n < s->n_batch ? n : s->n_batch - 1;
    s->draft.logits = logits;
}

/* Do both models mean the same by a token? One may have more of them, as padding. */
static int same_vocab(const pith_model *a, const pith_model *b, pith_error *err) {
    if (!a->tokenizer || !b->tokenizer)
        return a->tokenizer || b->tokenizer || a->hyper.n_vocab != b->hyper.n_vocab
                   ? pith__fail(err, PITH_EARG, "the draft model has another vocabulary") : PITH_OK;
    for (int t = 0; t < a->store.vocab.n && t < b->store.vocab.n; t++) {
        pith__str x = pith__tokenizer_piece(a->tokenizer, t), y = pith__tokenizer_piece(b->tokenizer, t);
        if (x.n != y.n || memcmp(x.p, y.p, x.n) != 0)
            return pith__fail(err, PITH_EARG, "the draft model has another vocabulary: its token %d is '%.*s', not '%.*s'", t,
                              y.n < 40 ? (int)y.n : 40, y.p, x.n < 40 ? (int)x.n : 40, x.p);
    }
    return PITH_OK;
}

int pith_draft_by(pith_session *s, int n, float *logits, pith_session *by, pith_error *err) {
    if (!by || by == s) return pith__fail(err, PITH_EARG, "a session does not draft for itself");
    if (s->states)
        return pith__fail(err, PITH_EARG, "layers of this model have a state, which cannot forget tokens that were drafted wrong");
    if (!pith__is_causal(by->model)) return pith__fail(err, PITH_EARG, "the draft model is an encoder, and writes nothing");
    int code = same_vocab(s->model, by->model, err);
    if (code) return code;
    pith_draft(s, n, logits);
    s->draft.by = by;
    return PITH_OK;
}

double pith_draft_rate(const pith_session *s) {
    const pith__draft *d = &s->draft;
    return d->n_pass ? (double)(d->n_pass + d->n_accepted) / d->n_pass : 0;
}

/* ---- evaluating: sessions are prepared, go through passes, and get their logits ---------------------- */

/* Longrope (Phi 3): all keys and queries of a text longer than the model's first context are rotated by
 * other angles. When a text grows over that length, or is rewound below, all of it is computed again:
 * logits depend on the text alone. Ding et al. 2024, arXiv:2402.13753. */
static void choose_rope(pith_session *s) {
    int n_text = s->goal.end > s->n_text ? s->goal.end : s->n_text;
    int is_long = n_text > s->model->n_ctx_original;
    if (!s->model->rope[0].freq_long || is_long == s->long_rope) return;
    s->long_rope = is_long;
    s->position = s->lost = 0;
    pith__restore_states(s, 0);
}

/* Sets the goal: what is left to do then is to evaluate a range of the session's tokens. */
static void prepare(const pith_work *w) {
    pith_session *s = w->session;
    pith__draft *d = &s->draft;
    int whole = w->logits || s->n_text, known = whole ? 0 : accept_draft(s, w->tokens, w->n), n = w->n - known;
    s->goal = (pith__goal){ .end = s->position + n, .from = s->position + n - 1, .logits = s->logits };
    if (!n) return;
    reject_draft(d);
    memmove(s->tokens + s->position, w->tokens + known, (size_t)n * sizeof *s->tokens);
    if (w->logits) s->goal.from = s->position, s->goal.logits = w->logits;
    if (d->most && n == 1 && !whole) {
        d->made = draft_tokens(s);
        d->n_pass++;
        s->goal.ahead = d->made;
        s->goal.end += d->made, s->goal.logits = d->logits;
    }
    choose_rope(s);
}

/* As many tokens of the session as there are rows for. Its rings are made for n_batch tokens at once. */
static void add_part(pith_pass *p, pith_session *s) {
    const pith__goal *g = &s->goal;
    int n = g->end - s->position, rows = p->n_batch - p->n_row;
    if (rows > s->n_batch) rows = s->n_batch;
    if (n > rows && !pith__is_causal(s->model)) return; /* the whole text at once, in the next pass */
    if (n > rows) n = rows;
    if (n < 1) return;
    int end = s->position + n, from = g->from > s->position ? g->from : s->position;
    pith__part part = { .s = s, .first = p->n_row, .n = n, .position = s->position };
    if (end > from) {
        part.n_logits = end - from;
        part.logits = g->logits + (size_t)(from - g->from) * (size_t)s->model->hyper.n_vocab;
    }
    for (int t = 0; t < n; t++) p->part_of[p->n_row++] = p->n_part;
    p->part[p->n_part++] = part;
    pith__plan_marks(s, end, g->end);
}

typedef struct {
    pith_pass *pass;
    const pith_work *work; /* (n) */
    int n;
} evaluation;

static int is_ready(const pith_session *s) { return s->position == s->goal.end; }

/* 0: there is nothing left to do. Then the rows stay those of the last pass, which training walks back. */
static int fill_rows(const evaluation *e) {
    pith_pass *p = e->pass;
    int i = 0;
    while (i < e->n && is_ready(e->work[i].session)) i++;
    if (i == e->n) return 0;
    p->n_row = p->n_part = 0;
    for (; i < e->n && p->n_row < p->n_batch; i++) add_part(p, e->work[i].session);
    return 1;
}

static void evaluate(void *data) {
    const evaluation *e = data;
    while (fill_rows(e)) {
        pith__forward(e->pass);
        pith__logits_of_parts(e->pass);
    }
}

/* Must the session be alone in passes of its own? A watcher is shown one text. */
static int is_alone(const pith_session *s, const pith_pass *p) {
    return s->watch || (s->n_batch > p->n_batch && !pith__is_causal(s->model));
}

/* The last of the logits that were wanted, or, with a draft, the first. */
static void finish(const pith_work *w) {
    pith_session *s = w->session;
    size_t n_vocab = (size_t)s->model->hyper.n_vocab;
    s->position -= s->goal.ahead;
    size_t row = (size_t)(s->position - 1 - s->goal.from);
    if (s->hidden) { s->logits_at = 0; return; }
    if (s->goal.logits != s->logits) memcpy(s->logits, s->goal.logits + row * n_vocab, n_vocab * sizeof *s->logits);
    s->logits_at = s->position;
}

/* Work that is checked. Of the sessions' passes the one for the longest context has scratch memory for all. */
static void evaluate_work(const pith_work *work, int n) {
    evaluation all = { work->session->pass, work, n };
    int left = 0;
    for (int i = 0; i < n; i++) {
        pith_pass *p = work[i].session->pass;
        if (p->n_ctx > all.pass->n_ctx || (p->n_ctx == all.pass->n_ctx && p->n_batch > all.pass->n_batch))
            all.pass = p;
        prepare(work + i);
    }
    for (int i = 0; i < n; i++) {
        pith_session *s = work[i].session;
        evaluation alone = { s->pass, work + i, 1 };
        if (is_alone(s, all.pass) && !is_ready(s)) pith__together(&s->pass->team, evaluate, &alone);
        left += !is_ready(s);
    }
    if (left) pith__together(&all.pass->team, evaluate, &all);
    for (int i = 0; i < n; i++) finish(work + i);
}

/* ---- evaluating, from outside ---------------------------------------------------------------------- */

PITH_SHARED int pith__eval_part(pith_session *s, const pith_token *t, int n, int n_text, float *logits,
                                pith_error *err) {
    const pith_work work = { s, t, n, logits };
    int code = check_tokens(s, s->position, t, n, n_text, err);
    if (code || n == 0) return code;
    s->n_text = n_text;
    evaluate_work(&work, 1);
    s->n_text = 0;
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
    int code = check_tokens(s, s->position, w->tokens, w->n, s->n_text, err);
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
    evaluate_work(work, n_work);
    return PITH_OK;
}

int pith_position(const pith_session *s) { return s->position; }

/* The position to which a rewind to this one comes. Layers with a window keep no more than n_slot_window
 * positions: those that the token at the new position looks back on must still be there. States are there at marks. Without a causal mask
 * the tokens before it have seen those that are forgotten. */
static int way_back(const pith_session *s, int position) {
    if (position >= s->position) return s->position;
    position = pith__marked(s, position);
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
    pith__restore_states(s, position);
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
    if (!pith__is_causal(s->model)) return 0; /* its tokens see what is new */
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
