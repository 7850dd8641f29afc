/* embed.c - texts in, vectors out.
 *
 * Each text goes through the model whole, in one pass, and nothing of it is kept: pooling.c makes a vector of its
 * hidden states. Short texts go side by side in a pass, each with its own attention, and threads share out such
 * passes, not the few rows of a matmul: a lane is what one thread needs. A text of many tokens, or one alone, goes
 * through a pass that all threads share. A vector depends on its text alone, so that the way it took is not seen. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    ROWS = 256,           /* tokens that go through the layers at once, where nobody says: more bring nothing; */
    FEWER_ROWS = 160,     /* fewer do where matrices are in panels: what is computed stays in the second cache */
    PANELS_FROM = 1024,   /* so many tokens in a call are worth panels of the matrices */
    TILE = 16,            /* tokens */
    LOOK = 64             /* texts that may come before others */
};
#define MOST_PANELS ((size_t)1 << 29) /* up to so many bytes of them */

typedef struct {          /* memory for passes of n_row tokens */
    pith_pass *pass;
    int n_row, n_slot;    /* n_slot: positions of the cache of a layer, which all layers share */
    pith_session *s;      /* (n_slot / 16) one a text */
    uint8_t **plane;      /* (n_slot / 16, 2, n_layer) their k and v */
    size_t channels, *from; /* of a slot; (n_layer) where in a slot a layer's are: layers of other sizes have other memory */
    uint8_t *k, *v;       /* (channels, n_slot) floats */
    float *states;        /* (n_slot / 16, pith__states_floats) of models that have states; */
    float **state;        /* (n_slot / 16, n_layer) where those of a layer are */
    float *pooled, *done; /* (n_slot / 16, pooled), (n_slot / 16, size of a vector) */
    float *room;          /* of pith__finish_vectors */
    void *memory;
    atomic_flag busy;
} lane;

typedef struct {          /* a text of a call */
    const pith_token *tokens;
    int n, skip;          /* its tokens; how many at the beginning are not pooled */
    int second;           /* from this one on they are of the second text of a pair; 0: of one text */
    size_t at;            /* its first vector in out */
} item;

typedef struct {          /* texts that go through together */
    int first, n;
} group;

struct pith_embedder {
    const pith_model *m;
    const pith_model *through; /* what texts go through: m, or m with panels of its matrices */
    void *panels;         /* the memory of that */
    pith_embedding how;
    int task;             /* 1: what the model's head says is wanted, not the states themselves */
    char *prompt;
    int n_row, n_lane;
    pith__team team;      /* that shares out groups */
    lane *lanes;          /* (n_lane) with one thread */
    lane wide;            /* with all; it grows with the longest text */
    pith_session *like;   /* what all sessions have: adapters, formats of the cache */
    pith__framed framed;  /* a text as tokens */
    pith_token *tokens;   /* (room) of the texts of a call */
    size_t room;
    item *items;          /* (n_room) */
    group *groups;        /* (n_room) */
    size_t n_room;
    float *out;           /* while texts go through */
};

/* ---- memory ------------------------------------------------------------------------------------------ */

static size_t slots_of_rows(int n_row) { return ((size_t)n_row * 2 + 15) / 16 * 16; }

static int cache_slots(const item *it) { return (it->n + 15) / 16 * 16; }

static size_t kv_channels(const pith__layer *w) { return (size_t)w->n_kv_head * (size_t)w->head_dim; }

/* May layer l have the memory that layer k had? Not what a later layer will see again. */
static int may_share(const pith_model *m, int k, int l) {
    const pith__layer *x = &m->layer[k], *y = &m->layer[l];
    if (y->kv_from != l) return y->kv_from == k;
    return !x->kv_seen && !y->kv_seen && x->n_kv_head == y->n_kv_head && x->head_dim == y->head_dim;
}

/* The channels of a slot; from NULL: only these. Layers that are alike share theirs. */
static size_t lay_channels(const pith_model *m, size_t *from) {
    size_t all = 0;
    for (int l = 0, same; l < m->hyper.n_layer; l++) {
        const pith__layer *w = &m->layer[l];
        for (same = 0; same < l; same++)
            if (may_share(m, same, l)) break;
        if (from) from[l] = same < l ? from[same] : all;
        if (same == l) all += kv_channels(w);
    }
    return all;
}

static void lane_free(lane *k) {
    pith_pass_free(k->pass);
    free(k->memory);
    *k = (lane){ .busy = ATOMIC_FLAG_INIT };
}

static void lane_place(const pith_embedder *e, lane *k, pith__room *r) {
    const pith__hyper *h = &e->m->hyper;
    size_t n_slot = slots_of_rows(k->n_row), most = n_slot / 16, n_layer = (size_t)h->n_layer;
    size_t pooled = (size_t)pith__pooled(e->m, e->how.pooling);
    k->n_slot = (int)n_slot;
    k->s = pith__take_room(r, most, sizeof *k->s);
    k->plane = pith__take_room(r, most, 2 * n_layer * sizeof *k->plane);
    k->from = pith__take_room(r, n_layer, sizeof *k->from);
    k->channels = lay_channels(e->m, r->base ? k->from : NULL);
    k->k = pith__take_room(r, n_slot, k->channels * sizeof(float));
    k->v = pith__take_room(r, n_slot, k->channels * sizeof(float));
    size_t states = pith__states_floats(e->m);
    k->states = pith__take_room(r, states ? most : 0, states * sizeof *k->states);
    k->state = pith__take_room(r, states ? most : 0, n_layer * sizeof *k->state);
    k->pooled = pith__take_room(r, most, pooled * sizeof *k->pooled);
    k->done = pith__take_room(r, most, (size_t)pith__embedding_size(e->m, &e->how) * sizeof *k->done);
    k->room = pith__take_room(r, 2 * most + 1, pith__dense_widest(e->m) * sizeof *k->room);
}

static int lane_new(const pith_embedder *e, lane *k, int n_row, int n_threads, pith_error *err) {
    int most = e->m->hyper.n_ctx;
    pith__room r = { 0 };
    *k = (lane){ .n_row = n_row, .busy = ATOMIC_FLAG_INIT };
    lane_place(e, k, &r);
    size_t size = pith__room_size(&r);
    k->memory = size ? calloc(1, size) : NULL;
    if (!k->memory)
        return pith__fail(err, PITH_EMEMORY, "%s: no memory to embed %d tokens at once (%.1f MB)", e->m->store.path, n_row,
                          (double)size / 1e6);
    r = pith__room_in(k->memory);
    lane_place(e, k, &r);
    k->pass = pith__pass_new(e->m, n_row < most ? n_row : most, n_row, n_threads, err);
    if (k->pass) return PITH_OK;
    lane_free(k);
    return PITH_EMEMORY;
}

/* How it is to be, with what is not said filled in. */
static int check_how(const pith_model *m, pith_embedding *how, pith_error *err) {
    int n_ctx = m->hyper.n_ctx, limit = m->hyper.n_ctx_most;
    if (limit && limit < n_ctx) n_ctx = limit;
    if (how->n_ctx < 0 || how->n_ctx > n_ctx)
        return pith__fail(err, PITH_EARG, "texts of %d tokens, need 0 to the model's context of %d", how->n_ctx, n_ctx);
    if (!how->n_ctx) how->n_ctx = n_ctx;
    if (how->pooling >= 2 * PITH_LAST)
        return pith__fail(err, PITH_EARG, "no pooling %u is known", how->pooling);
    if (m->pooling.n_dense && how->pooling &&
        (size_t)pith__pooled(m, how->pooling) != m->pooling.dense[0].w->cols)
        return pith__fail(err, PITH_EARG, "%s: pooling gives %d numbers, and the model's Dense takes %zu", m->store.path,
                          pith__pooled(m, how->pooling), m->pooling.dense[0].w->cols);
    pith_embedding whole = *how;
    whole.dimensions = 0;
    int size = pith__embedding_size(m, &whole);
    if (how->dimensions < 0 || how->dimensions > size || (how->dimensions && !how->pooling))
        return pith__fail(err, PITH_EARG, "%d dimensions, need %s%d", how->dimensions,
                          how->pooling ? "1 to " : "all, where nothing is pooled, ", size);
    return PITH_OK;
}

/* PITH_TASK: what the head says of the first token, as if that were pooled; or of each token. */
static int set_task(pith_embedder *e, pith_error *err) {
    int kind = e->m->task.kind;
    if (e->how.pooling != PITH_TASK) return PITH_OK;
    if (kind != PITH_TASK_TEXT && kind != PITH_TASK_TOKEN)
        return pith__fail(err, PITH_EARG, "%s: says nothing of a text or its tokens: it has no such head", e->m->store.path);
    if (e->how.dimensions)
        return pith__fail(err, PITH_EARG, "%d dimensions, need all of what a head says", e->how.dimensions);
    e->task = 1;
    e->how.pooling = kind == PITH_TASK_TEXT ? PITH_CLS : 0;
    return PITH_OK;
}

static int embedder_fill(pith_embedder *e, const pith_context *c, pith_error *err) {
    pith_context like = { .n_ctx = 1, .n_batch = 1, .cache_k = "f32", .cache_v = "f32" };
    int code = set_task(e, err);
    if (!code) code = check_how(e->m, &e->how, err);
    if (code) return code;
    if (c) like.adapters = c->adapters, like.scales = c->scales, like.n_adapter = c->n_adapter;
    if (c && c->n_batch < 0) return pith__fail(err, PITH_EARG, "a batch of %d tokens, need 0 or more", c->n_batch);
    e->like = pith__session_new(e->m, &like, PITH__KEEP_NONE, err);
    if (!e->like) return err && err->code ? err->code : PITH_EMEMORY;
    const char *prompt = e->how.prompt ? e->how.prompt : "";
    size_t n = strlen(prompt) + 1;
    e->prompt = malloc(n);
    e->n_row = c && c->n_batch ? c->n_batch : ROWS;
    e->n_lane = e->m->n_threads > 1 ? pith__threads(e->m->n_threads) : 1;
    e->lanes = calloc((size_t)e->n_lane, sizeof *e->lanes);
    if (!e->prompt || !e->lanes) return pith__fail(err, PITH_EMEMORY, "%s: no memory to embed texts", e->m->store.path);
    memcpy(e->prompt, prompt, n);
    e->team = (pith__team){ .n_threads = e->n_lane, .scratch = (uint8_t *)e->lanes }; /* of no bytes */
    for (int i = 0; i < e->n_lane && !code && e->n_lane > 1; i++) code = lane_new(e, &e->lanes[i], e->n_row, 1, err);
    return code ? code : lane_new(e, &e->wide, e->n_row, e->m->n_threads, err);
}

pith_embedder *pith_embedder_new(const pith_model *m, const pith_context *c, const pith_embedding *how, pith_error *err) {
    pith_embedder *e = calloc(1, sizeof *e);
    if (!e) {
        pith__fail(err, PITH_EMEMORY, "%s: no memory to embed texts", m->store.path);
        return NULL;
    }
    e->m = e->through = m;
    e->how = how ? *how : m->pooling.how;
    if (embedder_fill(e, c, err) == PITH_OK) return e;
    pith_embedder_free(e);
    return NULL;
}

void pith_embedder_free(pith_embedder *e) {
    if (!e) return;
    for (int i = 0; e->lanes && i < e->n_lane; i++) lane_free(&e->lanes[i]);
    lane_free(&e->wide);
    pith_session_free(e->like);
    free(e->panels);
    free(e->lanes);
    free(e->prompt);
    pith__framed_free(&e->framed);
    free(e->tokens);
    free(e->items);
    free(e->groups);
    free(e);
}

PITH_SHARED void pith__embedder_watch(pith_embedder *e, void (*watch)(void *data, int l, const pith__acts *a, int n), void *data) {
    e->like->watch = watch;
    e->like->watch_data = data;
}

int pith_embedder_size(const pith_embedder *e) { return e->task ? e->m->task.n : pith__embedding_size(e->m, &e->how); }

/* ---- texts -> tokens --------------------------------------------------------------------------------- */

static int no_memory(const pith_embedder *e, pith_error *err) {
    return pith__fail(err, PITH_EMEMORY, "%s: no memory to embed texts", e->m->store.path);
}

static int need_tokens(pith_embedder *e, size_t n, pith_error *err) {
    if (n <= e->room) return PITH_OK;
    pith_token *p = n < SIZE_MAX / 4 / sizeof *p ? realloc(e->tokens, 2 * n * sizeof *p) : NULL;
    if (!p) return no_memory(e, err);
    e->tokens = p;
    e->room = 2 * n;
    return PITH_OK;
}

/* The tokens of a text or a pair, behind the used ones; how many there are, or an error. */
static int encode_one(pith_embedder *e, pith_passage *text, size_t used, pith_error *err) {
    size_t n_prompt = strlen(e->prompt), n = n_prompt + text->n_text;
    int lower = e->m->pooling.lower && !e->task;
    if (n > SIZE_MAX / 8) return no_memory(e, err);
    char *joined = n_prompt || lower ? malloc(n + (lower ? 2 * n : 0) + 1) : NULL; /* small letters may have more bytes */
    if ((n_prompt || lower) && !joined) return no_memory(e, err);
    if (joined) memcpy(joined, e->prompt, n_prompt);
    if (joined && text->n_text) memcpy(joined + n_prompt, text->text, text->n_text);
    if (lower) {
        memmove(joined + 2 * n, joined, n);
        n = pith__lower(joined + 2 * n, n, joined);
    }
    const char *p = joined ? joined : text->n_text ? text->text : "";
    int code = pith__frame(e->m->tokenizer, &(pith__to_frame){ .first = { p, n }, .second = { text->second, text->n_second },
                                                               .flags = PITH_SPECIAL, .limit = e->how.n_ctx }, &e->framed);
    free(joined);
    if (code) return pith__fail(err, code, "%s: no tokens of a text of %zu bytes", e->m->store.path, n);
    code = need_tokens(e, used + (size_t)e->framed.n, err);
    if (code) return code;
    if (e->framed.n) memcpy(e->tokens + used, e->framed.token, (size_t)e->framed.n * sizeof *e->tokens);
    text->n_cut = e->framed.cut;
    text->second_at = 0;
    for (int i = 0; i < e->framed.n && !text->second_at; i++)
        if (e->framed.type[i]) text->second_at = i;
    return e->framed.n;
}

static int check_passage(const pith_embedder *e, const pith_passage *text, int i, pith_error *err) {
    const pith__hyper *h = &e->m->hyper;
    if (text->n_tokens < 0 || text->n_tokens > h->n_ctx)
        return pith__fail(err, PITH_EFULL, "text %d has %d tokens, need 0 to the model's context of %d", i, text->n_tokens,
                          h->n_ctx);
    if (text->second_at < 0 || text->second_at > text->n_tokens)
        return pith__fail(err, PITH_EARG, "text %d: its second text begins at token %d of %d", i, text->second_at, text->n_tokens);
    for (int t = 0; t < text->n_tokens; t++)
        if (text->tokens[t] < 0 || text->tokens[t] >= h->n_vocab)
            return pith__fail(err, PITH_EARG, "text %d: token %d is not in the vocabulary of %d", i, text->tokens[t],
                              h->n_vocab);
    return PITH_OK;
}

/* All texts become items, whose tokens are in e->tokens. */
static int encode_texts(pith_embedder *e, pith_passage *text, int n, pith_error *err) {
    size_t used = 0;
    int skip = e->how.skip_prompt && e->prompt[0]
                   ? pith_encode(e->m, e->prompt, strlen(e->prompt), PITH_BOS | PITH_SPECIAL, NULL, 0) : 0;
    for (int i = 0; i < n; i++) {
        item *it = &e->items[i];
        int code = PITH_OK, known = text[i].tokens != NULL;
        *it = (item){ .n = text[i].n_tokens, .skip = known ? 0 : skip };
        text[i].n_cut = 0;
        if (!known && !text[i].text && text[i].n_text)
            return pith__fail(err, PITH_EARG, "text %d is NULL, need %zu bytes", i, text[i].n_text);
        if (!known && !e->m->tokenizer)
            return pith__fail(err, PITH_EARG, "%s: has no vocabulary, so a text has to be tokens", e->m->store.path);
        if (known) {
            code = check_passage(e, &text[i], i, err);
            if (!code) code = need_tokens(e, used + (size_t)it->n, err);
            if (!code && it->n) memcpy(e->tokens + used, text[i].tokens, (size_t)it->n * sizeof *e->tokens);
        } else {
            it->n = encode_one(e, &text[i], used, err);
            if (it->n < 0) code = it->n;
        }
        if (code) return code;
        if (!it->n && e->task)
            return pith__fail(err, PITH_EARG, "text %d has no tokens, of which nothing can be said", i);
        it->second = text[i].second_at;
        if (it->skip > it->n) it->skip = it->n;
        used += (size_t)it->n;
    }
    const pith_token *at = e->tokens; /* which moved while there was not room for all */
    for (int i = 0; i < n; at += e->items[i++].n) e->items[i].tokens = at;
    return PITH_OK;
}

/* ---- tokens -> vectors ------------------------------------------------------------------------------- */

/* The session of text i of a group: it begins at this row of the pass, and at this slot of the cache. */
static void place_session(const pith_embedder *e, lane *k, const item *it, int i, size_t slot) {
    size_t n_layer = (size_t)e->m->hyper.n_layer, n_slot = (size_t)cache_slots(it), zeroed = 0;
    pith_session *s = &k->s[i];
    *s = *e->like;
    s->pass = k->pass;
    s->n_ctx = s->n_batch = it->n;
    s->second_from = it->second;
    s->n_slot = s->n_slot_window = (int)n_slot;
    s->long_rope = e->m->rope[0].freq_long && it->n > e->m->n_ctx_original;
    s->tokens = (pith_token *)(uintptr_t)it->tokens; /* nobody writes to them */
    s->k = k->plane + (size_t)i * 2 * n_layer;
    s->v = s->k + n_layer;
    for (size_t l = 0; l < n_layer; l++) {
        const pith__layer *w = &e->m->layer[l];
        size_t at = (slot * k->channels + n_slot * k->from[l]) * sizeof(float), dim = (size_t)w->head_dim;
        size_t plane = n_slot * dim * sizeof(float), last = 16 * dim * sizeof(float);
        s->k[l] = k->k + at, s->v[l] = k->v + at;
        if (k->from[l] < zeroed) continue;
        for (size_t j = 1; j <= (size_t)w->n_kv_head; j++) { /* slots behind the text are zeros, whatever was there */
            memset(s->k[l] + j * plane - last, 0, last);
            memset(s->v[l] + j * plane - last, 0, last);
        }
        zeroed = k->from[l] + kv_channels(w);
    }
    if (!e->like->states) return;
    s->states = k->states + (size_t)i * pith__states_floats(e->m);
    s->state = k->state + (size_t)i * n_layer;
    for (size_t l = 0; l < n_layer; l++) s->state[l] = e->like->state[l] ? s->states + (e->like->state[l] - e->like->states) : NULL;
}

typedef struct {
    pith_pass *pass;
    float *said;          /* of the pass's parts, where PITH_TASK is asked for; else NULL */
} passage_work;

static void take_through(void *data) {
    const passage_work *w = data;
    pith__forward(w->pass);
    if (w->said) pith__task_of_parts(w->pass, w->said);
}

/* Their hidden states, normed as before the logits, become vectors: one a text, or one a token. */
static void pool_group(const pith_embedder *e, lane *k, const group *g) {
    pith_pass *p = k->pass;
    size_t width = (size_t)e->m->hyper.n_embd, pooled = (size_t)pith__pooled(e->m, e->how.pooling), row = 0;
    const item *it = e->items + g->first;
    for (int t = 0; t < p->n_row; t++) pith__out_norm(p, t, t);
    const float *x = pith__acts_at(p, e->m->hyper.n_layer).xn;
    for (int i = 0; i < g->n; i++, it++) {
        const float *of = x + row * width;
        if (!pooled) memcpy(e->out + it->at * width, of, (size_t)it->n * width * sizeof *of);
        else pith__pool(e->how.pooling, of, it->skip, it->n, width, k->pooled + (size_t)i * pooled);
        row += (size_t)it->n;
    }
    size_t size = (size_t)pith__embedding_size(e->m, &e->how);
    if (!pooled) return;
    pith__finish_vectors(e->m, &e->how, k->pooled, g->n, k->done, k->room);
    it = e->items + g->first;
    for (int i = 0; i < g->n; i++, it++) memcpy(e->out + it->at * size, k->done + (size_t)i * size, size * sizeof *k->done);
}

static void embed_group(const pith_embedder *e, lane *k, const group *g) {
    pith_pass *p = k->pass;
    size_t slot = 0;
    p->model = e->through;
    p->n_row = p->n_part = 0;
    for (int i = 0; i < g->n; i++) {
        const item *it = e->items + g->first + i;
        if (!it->n) continue;
        place_session(e, k, it, p->n_part, slot);
        slot += (size_t)cache_slots(it);
        p->part[p->n_part] = (pith__part){ .s = &k->s[p->n_part], .first = p->n_row, .n = it->n };
        for (int t = 0; t < it->n; t++) p->part_of[p->n_row++] = p->n_part;
        p->n_part++;
    }
    passage_work w = { p, e->task ? e->out + e->items[g->first].at * (size_t)e->m->task.n : NULL };
    if (p->n_part) pith__together(&p->team, take_through, &w);
    if (!e->task) pool_group(e, k, g);
}

/* ---- many texts -------------------------------------------------------------------------------------- */

/* The kernels multiply TILE tokens at once, so whole tiles cost least: where a group has room for about one text more, the
 * best of those that follow comes next, and is the group's last. 1: there is one. */
static int fill_up(pith_embedder *e, int i, int n, int room, int over) {
    int best = -1;
    for (int k = i; k < n && k < i + LOOK; k++)
        if ((over + e->items[k].n) % TILE == 0 && e->items[k].n <= room && (best < 0 || e->items[k].n > e->items[best].n)) best = k;
    if (best < 0) return 0;
    item it = e->items[i];
    e->items[i] = e->items[best], e->items[best] = it;
    return 1;
}

/* Texts nearly in their order, as many together as most tokens; longer ones alone. */
static int make_groups(pith_embedder *e, int n, int most, int mean) {
    int n_group = 0, rows = 0, slots = 0, full = 0;
    for (int i = 0; i < n; i++) {
        int last = !full && e->how.pooling && !e->task && most - rows < 2 * mean;
        if (last) last = fill_up(e, i, n, most - rows, rows % TILE);
        const item *it = &e->items[i];
        int fits = n_group && !full && !e->like->watch && rows + it->n <= most && slots + cache_slots(it) <= 2 * most && e->groups[n_group - 1].n < most / 8;
        if (!fits) {
            e->groups[n_group++] = (group){ i, 0 };
            rows = slots = 0;
        }
        full = last && fits;
        e->groups[n_group - 1].n++;
        rows += it->n;
        slots += cache_slots(it);
    }
    return n_group;
}

typedef struct {
    pith_embedder *e;
    const group *groups; /* (n) */
    int n;
} lane_work;

static void lane_task(const void *data, size_t i, uint8_t *scratch) {
    (void)scratch;
    const lane_work *w = data;
    lane *k = w->e->lanes;
    while (atomic_flag_test_and_set(&k->busy)) /* as many lanes as threads: one is free */
        k = k + 1 < w->e->lanes + w->e->n_lane ? k + 1 : w->e->lanes;
    embed_group(w->e, k, &w->groups[i]);
    atomic_flag_clear(&k->busy);
}

static void share_groups(void *data) {
    const lane_work *w = data;
    pith__share(&w->e->team, (size_t)w->n, 1, lane_task, w);
}

typedef struct {
    pith_embedder *e;
    pith_model *made;
} panels_work;

static void make_panels(void *data) {
    panels_work *w = data;
    w->made = pith__in_panels(w->e->m, &w->e->team, MOST_PANELS, &w->e->panels);
}

/* Panels are worth their memory where they are used several times. */
static void keep_panels(pith_embedder *e, size_t tokens) {
    panels_work w = { e, NULL };
    if (tokens < PANELS_FROM || e->through != e->m) return;
    pith__together(&e->team, make_panels, &w);
    if (w.made) e->through = w.made;
}

/* Groups that a lane has no room for go first, then the others, thread by thread; those that are watched one by one. */
static void embed_groups(pith_embedder *e, int n_group) {
    lane_work w = { e, e->groups, 0 };
    for (int i = 0; i < n_group; i++) {
        const group g = e->groups[i];
        if (e->items[g.first].n > e->n_row || e->like->watch) embed_group(e, &e->wide, &g);
        else e->groups[w.n++] = g;
    }
    if (w.n >= e->n_lane && e->n_lane > 1) pith__together(&e->team, share_groups, &w);
    else
        for (int i = 0; i < w.n; i++) embed_group(e, &e->wide, &w.groups[i]);
}

static int need_items(pith_embedder *e, size_t n, pith_error *err) {
    if (n <= e->n_room) return PITH_OK;
    free(e->items);
    free(e->groups);
    e->items = calloc(n, sizeof *e->items);
    e->groups = calloc(n, sizeof *e->groups);
    e->n_room = e->items && e->groups ? n : 0;
    return e->n_room ? PITH_OK : no_memory(e, err);
}

/* The longest text that goes through alone has to have room. */
static int need_rows(pith_embedder *e, int longest, pith_error *err) {
    lane wider;
    if (longest <= e->wide.n_row) return PITH_OK;
    int code = lane_new(e, &wider, longest, e->m->n_threads, err);
    if (code) return code;
    lane_free(&e->wide);
    e->wide = wider;
    return PITH_OK;
}

int pith_embed(pith_embedder *e, pith_passage *text, int n, float *out, int cap, pith_error *err) {
    if (n < 0 || (n > 0 && !text)) return pith__fail(err, PITH_EARG, "%d texts to embed", n);
    int code = need_items(e, (size_t)n, err), longest = 0;
    if (!code) code = encode_texts(e, text, n, err);
    if (code || !n) return code;
    size_t rows = 0, tokens = 0;
    for (int i = 0; i < n; i++) {
        item *it = &e->items[i];
        it->at = rows;
        text[i].n_vector = e->how.pooling ? 1 : it->n;
        rows += (size_t)text[i].n_vector;
        tokens += (size_t)it->n;
        if (it->n > longest) longest = it->n;
    }
    if (rows > INT32_MAX) return pith__fail(err, PITH_EARG, "%zu vectors in one call", rows);
    if ((int)rows > cap) return (int)rows;
    code = need_rows(e, longest, err);
    if (code) return code;
    e->out = out;
    keep_panels(e, tokens);
    size_t most = tokens / (size_t)e->n_lane + 1, rows_most = e->through != e->m && e->n_row == ROWS ? FEWER_ROWS : (size_t)e->n_row;
    embed_groups(e, make_groups(e, n, (int)(most < rows_most ? most : rows_most), (int)(tokens / (size_t)n)));
    return (int)rows;
}
