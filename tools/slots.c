/* slots.c - many texts are written together: each pass of the model takes a token of every text that is being
 * written, and of the prompts of those that begin what fits in.
 *
 * A text takes the place of one that has ended at once (continuous batching: Yu et al. 2022, Orca,
 * usenix.org/conference/osdi22/presentation/yu). Its session is as long as it needs. What its prompt has in
 * common with the text of another slot is not evaluated again but copied, also from a text that has ended, and
 * a prompt waits while another slot reads what both begin with. None of this changes a bit of any text. */
#include "request.h"

#include <stdlib.h>
#include <string.h>

enum { LEAST_CTX = 256 }; /* of a session: a batch fits, and most texts that come after */
enum { WORTH = 16 };      /* tokens that are worth waiting for */
enum { SPARE = 2 };       /* slots in which nothing is written: they keep what texts begin with */
enum { FEW_ROWS = 16, FIRST_ROWS = 64 }; /* tokens of prompts in a pass: at least, and at first */

int slots_open(slots *k, const pith_model *m, const pith_context *c, int n, size_t room, pith_error *err) {
    memset(k, 0, sizeof *k);
    k->m = m;
    k->n_ctx = c->n_ctx;
    k->context = *c;
    k->room = room;
    k->n = n;
    k->n_slot = n + SPARE;
    k->take = choice_take;
    k->slot = calloc((size_t)k->n_slot, sizeof *k->slot);
    k->s = calloc((size_t)n, sizeof(pith_session *));
    k->g = calloc((size_t)n, sizeof(pith_generation *));
    if (!k->slot || !k->s || !k->g) return pith__fail(err, PITH_EMEMORY, "no memory for %d texts at once", n);
    k->most_rows = c->n_batch;
    k->context.n_batch = c->n_batch < FIRST_ROWS ? c->n_batch : FIRST_ROWS;
    k->context.pass = pith_pass_new(m, c, err);
    return k->context.pass ? PITH_OK : PITH_EMEMORY;
}

void slots_close(slots *k) {
    for (int i = 0; k->slot && i < k->n_slot; i++) pith_session_free(k->slot[i].s);
    pith_pass_free(k->context.pass);
    free(k->slot);
    free(k->s);
    free(k->g);
    memset(k, 0, sizeof *k);
}

/* ---- what a text can have from others -------------------------------------------------------- */

static int known(const slot *from, const choice *c) {
    return from->s ? pith_known(from->s, c->prompt->t, c->prompt->n) : 0;
}

static int common(const pith_token *a, int n_a, const request_prompt *b) {
    int n = 0;
    while (n < n_a && n < b->n && a[n] == b->t[n]) n++;
    return n;
}

/* How many tokens the slot will have in common with the prompt when it has read its own; 0: it has read it. */
static int promised(const slot *from, const choice *c) {
    if (from->state != SLOT_WRITES || pith_position(from->s) >= from->c->prompt->n) return 0;
    return common(from->c->prompt->t, from->c->prompt->n, c->prompt);
}

/* The slot that has most of the prompt, to itself if others have no more. NULL: it is better to wait. */
static slot *find_nearest(slots *k, slot *to) {
    slot *best = to;
    int most = known(to, to->c), later = 0;
    for (int i = 0; i < k->n_slot; i++) {
        int n = known(&k->slot[i], to->c), p = promised(&k->slot[i], to->c);
        if (n > most) best = &k->slot[i], most = n;
        if (p > later) later = p;
    }
    return later >= most + WORTH ? NULL : best;
}

/* ---- a text begins --------------------------------------------------------------------------- */

/* Positions of a session for the text, and for one that it is copied from: some sizes, so that they fit others. */
static int context_for(const slots *k, const choice *c, const slot *from) {
    int need = c->prompt->n, n = LEAST_CTX, there = from->s ? pith_position(from->s) : 0;
    need = c->g.n_predict && c->g.n_predict - 1 < k->n_ctx - need ? need + c->g.n_predict - 1 : k->n_ctx;
    if (there > need) need = there;
    while (n < need && n <= k->n_ctx / 2) n *= 2;
    return n < need || n > k->n_ctx ? k->n_ctx : n;
}

static int rows_for(const slots *k, int n_ctx) { return k->context.n_batch < n_ctx ? k->context.n_batch : n_ctx; }

static void drop_session(slots *k, slot *x) {
    pith_session_free(x->s);
    k->used -= x->size;
    x->s = NULL;
    x->size = 0;
}

/* A session for the slot's text. 0: there is no memory now. */
static int new_session(slots *k, slot *to, slot *from, pith_session **s, size_t *size) {
    pith_context c = k->context;
    c.n_ctx = context_for(k, to->c, from);
    *size = pith_session_size(k->m, &c);
    for (int i = 0; i < k->n_slot && *size > k->room - k->used; i++)
        if (k->slot[i].state == SLOT_IDLE && &k->slot[i] != from) drop_session(k, &k->slot[i]);
    *s = *size <= k->room - k->used ? pith_session_new(k->m, &c, NULL) : NULL;
    if (*s) k->used += *size;
    return *s != NULL;
}

/* Of the slots from first to last, the idle one that was of no use for the longest time. */
static slot *oldest(slots *k, int first, int last) {
    slot *best = NULL;
    for (slot *x = k->slot + first; x < k->slot + last; x++)
        if (x->state == SLOT_IDLE && (!best || x->used < best->used)) best = x;
    return best;
}

/* How much of the prompt any text begins with, and may have forgotten. */
static int shared_beginning(const slots *k, const choice *c) {
    int most = 0;
    for (int i = 0; i < k->n_slot; i++) {
        const pith_session *s = k->slot[i].s;
        int n = s ? common(s->tokens, s->position, c->prompt) : 0;
        if (n > most) most = n;
    }
    return most;
}

/* What the text shares with another is copied to a spare slot when it has just been read: the slots of both will have
 * other texts, and windows forget what a text began with. */
static void keep_beginning(slots *k, slot *x) {
    int n = x->keep;
    if (!n || pith_position(x->s) < n) return;
    x->keep = 0;
    for (int i = k->n; i < k->n_slot; i++)
        if (known(&k->slot[i], x->c) + WORTH > n) return;
    slot *to = oldest(k, k->n, k->n_slot);
    pith_context c = k->context;
    c.n_ctx = pith_position(x->s);
    drop_session(k, to);
    to->size = pith_session_size(k->m, &c);
    to->s = to->size <= k->room - k->used ? pith_session_new(k->m, &c, NULL) : NULL;
    if (!to->s) to->size = 0;
    k->used += to->size;
    to->used = ++k->clock;
    if (to->s && pith_session_copy(to->s, x->s, NULL) != PITH_OK) drop_session(k, to);
}

/* The text begins with what the slot's session has of its prompt. */
static void begin_text(slots *k, slot *x, int shared) {
    const request_prompt *p = x->c->prompt;
    int n = pith_rewind(x->s, known(x, x->c));
    x->keep = shared >= WORTH ? shared : 0;
    keep_beginning(k, x);
    x->c->g.prompt = p->t + n;
    x->c->g.n_prompt = p->n - n;
    x->state = SLOT_WRITES;
    k->n_read += (size_t)(p->n - n);
    k->n_shared += (size_t)n;
}

/* 0: not yet. */
static int begin(slots *k, slot *to) {
    slot *from = find_nearest(k, to);
    pith_session *s;
    size_t size;
    if (!from) return 0;
    int shared = shared_beginning(k, to->c);
    int copied = from != to && known(from, to->c) > 0;
    int fits = to->s && to->s->n_ctx >= context_for(k, to->c, to) && to->s->n_batch == rows_for(k, to->s->n_ctx);
    if (fits && !copied) return begin_text(k, to, shared), 1;
    if (!new_session(k, to, from, &s, &size)) {
        if (!to->s) return 0;
        drop_session(k, to); /* makes room, and what it has is read again */
        return begin(k, to);
    }
    if (known(from, to->c) > 0 && pith_session_copy(s, from->s, NULL) != PITH_OK) pith_rewind(s, 0);
    from->used = ++k->clock;
    drop_session(k, to);
    to->s = s;
    to->size = size;
    begin_text(k, to, shared);
    return 1;
}

void slots_start(slots *k, choice *c) {
    slot *x = oldest(k, 0, k->n);
    x->c = c;
    x->state = SLOT_WAITS;
    k->n_busy++;
}

/* ---- a pass ---------------------------------------------------------------------------------- */

static choice *leave(slots *k, slot *x) {
    choice *c = x->c;
    k->n_written += (size_t)c->g.n_token;
    k->n_busy--;
    x->c = NULL;
    x->state = SLOT_IDLE;
    x->used = ++k->clock;
    return c;
}

/* Many rows in a pass read prompts fastest, but a user who asks to stop should not wait for much more than a second.
 * So the first sessions have few, and those that begin later more, while the passes are quick. */
static void adapt_rows(slots *k, int rows, double took) {
    int *n = &k->context.n_batch;
    if (took > 1 && *n > FEW_ROWS) *n /= 2;
    else if (took < 0.25 && 2 * rows > *n) *n = 2 * *n < k->most_rows ? 2 * *n : k->most_rows;
}

static int evaluated(const slots *k) { /* tokens, by all */
    int n = 0;
    for (int i = 0; i < k->n_slot; i++)
        if (k->slot[i].state == SLOT_WRITES) n += pith_position(k->slot[i].s);
    return n;
}

int slots_step(slots *k, choice **ended, pith_error *err) {
    int n = 0, n_ended = 0;
    for (int i = 0; i < k->n_slot; i++)
        if (k->slot[i].state == SLOT_WAITS) begin(k, &k->slot[i]);
    for (int i = 0; i < k->n_slot; i++)
        if (k->slot[i].state == SLOT_WRITES) k->s[n] = k->slot[i].s, k->g[n++] = &k->slot[i].c->g;
    pith_error e = { 0, "" };
    int before = evaluated(k);
    double start = seconds();
    int code = n ? pith_generate_many(k->s, k->g, n, &e) : 0;
    if (code < 0) return pith__fail(err, code, "%s", e.text);
    adapt_rows(k, evaluated(k) - before, seconds() - start);
    for (int i = 0; i < k->n_slot; i++) {
        slot *x = &k->slot[i];
        if (x->state == SLOT_WAITS && !n) /* nobody else has memory */
            x->c->g.ended = pith__fail(&x->c->error, PITH_EMEMORY, "no memory for a text of %d tokens",
                                       context_for(k, x->c, x));
        if (x->state == SLOT_WRITES) {
            keep_beginning(k, x);
            if (x->c->g.ended < 0) x->c->error = e;
            k->take(x->c, x->s);
        }
        if (x->c && x->c->g.ended) ended[n_ended++] = leave(k, x);
    }
    return n_ended;
}
