/* pass.c - the memory in which tokens go through the model.
 *
 * A pass reads all weights once, for as many tokens as it has rows. What is computed on the way (activations,
 * angles, rounded inputs) lies here, and the threads and the sampler have their scratch memory here. Between two
 * calls nothing of it is needed: a session has a pass of its own, or sessions share one. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- memory that is handed out ------------------------------------------------------------------------ */

/* Room for n times size bytes; NULL where it is only counted. */
PITH_SHARED void *pith__take_room(pith__room *r, size_t n, size_t size) {
    size_t bytes, end;
    if (pith__mul(&bytes, n, size) || bytes > SIZE_MAX / 2 ||
        pith__add(&end, r->used, (bytes + 63) / 64 * 64)) {
        r->overflow = 1;
        return NULL;
    }
    void *p = r->base ? r->base + r->used : NULL;
    r->used = end;
    return p;
}

PITH_SHARED pith__room pith__room_in(void *mem) {
    pith__room r = { (uint8_t *)mem + (64 - (uintptr_t)mem % 64) % 64, 0, 0 };
    return r;
}

PITH_SHARED size_t pith__room_size(const pith__room *r) {
    return r->overflow || r->used > SIZE_MAX - 64 ? 0 : 64 + r->used;
}

/* ---- the pass ------------------------------------------------------------------------------------------- */

PITH_SHARED size_t pith__widest(const pith__hyper *h) {
    size_t most = (size_t)h->n_embd;
    size_t per_head = (size_t)(h->latent.rank > h->latent.n_nope ? h->latent.rank : h->latent.n_nope), n_head = (size_t)h->n_head;
    if ((size_t)h->n_q > most) most = (size_t)h->n_q;
    if ((size_t)h->n_ple > most) most = (size_t)h->n_ple;
    if ((size_t)h->latent.q_rank > most) most = (size_t)h->latent.q_rank;
    if (h->latent.rank && (per_head + 31) / 32 * 32 * n_head > most) most = (per_head + 31) / 32 * 32 * n_head;
    if ((size_t)h->latent.n_value * n_head > most) most = (size_t)h->latent.n_value * n_head;
    if ((size_t)h->n_ff > most) most = (size_t)h->n_ff;
    if ((size_t)h->n_ff_expert > most) most = (size_t)h->n_ff_expert;
    if ((size_t)h->n_ff_shared > most) most = (size_t)h->n_ff_shared;
    if ((size_t)h->n_inner > most) most = (size_t)h->n_inner;
    return most;
}

static size_t smallest_group(const pith_model *m) { /* that share an input's scale */
    const pith__tensor *up = &m->layer->ffn->up.tensor; /* llama2.c's int8 files have one group size */
    return up->group && up->group < 32 ? up->group : 32;
}

PITH_SHARED int pith__slots(int n) { return n > INT32_MAX - 15 ? INT32_MAX / 16 * 16 : (n + 15) / 16 * 16; }

/* The sizes of a pass for sessions of this context at most. */
PITH_SHARED int pith__pass_plan(pith_pass *p, const pith_model *m, const pith_context *c, int keep,
                                pith_error *err) {
    memset(p, 0, sizeof *p);
    if (c->n_ctx < 0 || c->n_batch < 0)
        return pith__fail(err, PITH_EARG, "the context is %d and the batch %d tokens, need 0 or more",
                          c->n_ctx, c->n_batch);
    p->model = m;
    p->n_ctx = c->n_ctx ? c->n_ctx : m->hyper.n_ctx;
    if (m->hyper.n_ctx_most && p->n_ctx > m->hyper.n_ctx_most)
        return pith__fail(err, PITH_EARG, "%s: the context is %d tokens, need at most %d: %s", m->store.path, p->n_ctx,
                          m->hyper.n_ctx_most, m->positions.tensor.data ? "the model has no positions after them" :
                          "for longer texts the model's rotation (RoPE) changes, which is not built here");
    p->n_batch = c->n_batch ? c->n_batch : 256;
    if (p->n_batch > p->n_ctx) p->n_batch = p->n_ctx;
    p->keep = keep;
    p->kernels = m->kernels;
    p->team.n_threads = m->n_threads;
    return PITH_OK;
}

/* When the blocks are done, all that is needed of the tape is x and xn, which come first: the rest has room for
 * logits. In a pass for many texts that is room for all its rows, up to 16 MB. */
static void place_tape(pith_pass *p, pith__room *r) {
    const pith__hyper *h = &p->model->hyper;
    size_t n_batch = (size_t)p->n_batch, n_layer = (size_t)h->n_layer, n_vocab = (size_t)h->n_vocab;
    size_t stream = n_batch * (size_t)h->n_embd, kept = 2 * ((stream + 15) / 16 * 16);
    size_t most = ((size_t)1 << 22) / n_vocab, product = most < n_batch ? most : n_batch;
    pith__acts a;
    size_t floats = pith__acts_place(p, &a, NULL), again = p->keep == PITH__KEEP_ALL ? pith__acts_again(p, &floats) : 0;
    if (p->keep == PITH__KEEP_MANY && floats < kept + product * n_vocab) floats = kept + product * n_vocab;
    p->stride = p->keep == PITH__KEEP_ALL ? floats : 0;
    p->tape = pith__take_room(r, p->keep == PITH__KEEP_ALL ? n_layer + 1 : 1, floats * sizeof *p->tape);
    p->again = again ? pith__take_room(r, again, sizeof *p->again) : NULL;
    if (p->keep == PITH__KEEP_STREAM) p->streams = pith__take_room(r, n_layer + 1, stream * sizeof *p->streams);
    if (!p->tape || again) return;
    most = (floats - kept) / n_vocab;
    p->product = p->tape + n_layer * p->stride + kept;
    p->n_product = (int)(most < n_batch ? most : n_batch);
}

static size_t attend_scratch(const pith_pass *p, size_t *room) { /* of the layer that needs most */
    size_t most = 0;
    *room = 0;
    for (const pith__layer *w = p->model->layer; w < p->model->layer + p->model->hyper.n_layer; w++) {
        int n_kv = w->mixer == PITH__LATENT ? pith__latent_groups(w->n_head) : w->n_kv_head;
        size_t n = n_kv ? pith__attend_scratch(w->n_head / n_kv, w->head_dim) : 0;
        size_t n_parts = n_kv && p->team.n_threads > 1 ? pith__parts_size(w->n_head, w->head_dim, p->n_ctx) : 0;
        most = n > most ? n : most;
        *room = n_parts > *room ? n_parts : *room;
    }
    return most;
}

/* Latent attention: for the inputs of k_b and v_b. */
static size_t heads_tiles(const pith__hyper *h, size_t n) {
    int cols = h->latent.rank > h->latent.n_nope ? h->latent.rank : h->latent.n_nope;
    return h->latent.rank ? pith__heads_tiles((size_t)h->n_head, n, (size_t)cols) : 0;
}

/* Everything a pass has, after the pass itself. pith__take_room() checks each size. The products that are
 * computed here cannot overflow: an activation is at most a few times the largest matrix of the model, and
 * that is in memory already. */
PITH_SHARED void pith__pass_place(pith_pass *p, pith__room *r) {
    const pith_model *m = p->model;
    const pith__hyper *h = &m->hyper;
    size_t n_vocab = (size_t)h->n_vocab, n_batch = (size_t)p->n_batch, wide = pith__widest(h);
    size_t rows = n_batch * (size_t)(h->n_expert ? h->n_expert_used : 1), blocks = (wide + 31) / 32;

    p->part = pith__take_room(r, n_batch, sizeof *p->part);
    p->part_of = pith__take_room(r, n_batch, sizeof *p->part_of);
    p->attend = pith__take_room(r, n_batch, sizeof *p->attend);
    p->product_to = pith__take_room(r, n_batch, sizeof *p->product_to);
    p->adjusted = pith__take_room(r, n_vocab, sizeof *p->adjusted);
    p->row = pith__take_room(r, (size_t)h->n_embd, sizeof *p->row);
    size_t ple = (size_t)h->n_ple * (size_t)h->n_layer * sizeof *p->ple;
    p->ple = pith__take_room(r, ple ? n_batch : 0, ple);
    p->low = pith__take_room(r, n_batch, PITH__LOW * sizeof *p->low);
    int trains = p->keep == PITH__KEEP_ALL || p->keep == PITH__KEEP_STREAM;
    p->dropped = pith__take_room(r, trains ? n_batch : 0, wide * sizeof *p->dropped);
    p->picked = pith__take_room(r, h->n_expert ? n_batch : 0, sizeof *p->picked);
    p->probs = pith__take_room(r, n_vocab, sizeof *p->probs);
    p->order = pith__take_room(r, n_vocab, 3 * sizeof *p->order);
    place_tape(p, r);
    for (int set = 0; set < 2; set++)
        p->rope_table[set] = pith__take_room(r, m->rope[set].freq ? n_batch : 0, (size_t)m->rope[set].n_rot * sizeof(float));
    p->in.q = pith__take_room(r, rows, blocks * 32);
    p->in.d = pith__take_room(r, rows, (wide / smallest_group(m) + 1) * sizeof *p->in.d);
    p->in.sum = pith__take_room(r, rows, 2 * blocks * sizeof *p->in.sum);
    size_t tiles = pith__tiles_bytes(rows, wide), of_heads = heads_tiles(h, n_batch);
    p->in.tiles = pith__take_room(r, 1, tiles > of_heads ? tiles : of_heads);
    size_t matmul = pith__matmul_scratch(wide);
    size_t attend = attend_scratch(p, &p->attend_parts.n);
    p->attend_parts.x = pith__take_room(r, p->attend_parts.n, sizeof *p->attend_parts.x);
    size_t scratch = matmul > attend ? matmul : attend;
    p->team.scratch_bytes = ((scratch > ple ? scratch : ple) + 63) / 64 * 64;
    p->team.scratch = pith__take_room(r, (size_t)p->team.n_threads, p->team.scratch_bytes);
    if (r->base && p->team.n_threads > 1) p->team.n_threads = pith__threads(p->team.n_threads);
}

/* A pass by itself, with all that it has; NULL where it is only counted. */
static pith_pass *place_alone(pith_pass *planned, pith__room *r) {
    pith_pass *p = pith__take_room(r, 1, sizeof *p);
    pith__pass_place(planned, r);
    if (p) *p = *planned;
    return p;
}

static size_t plan_alone(pith_pass *p, const pith_model *m, const pith_context *most, pith_error *err) {
    static const pith_context defaults;
    pith__room r = { 0 };
    if (most && most->pass) {
        pith__fail(err, PITH_EARG, "%s: a pass is made for a context that has one", m->store.path);
        return 0;
    }
    if (pith__pass_plan(p, m, most ? most : &defaults, PITH__KEEP_MANY, err)) return 0;
    place_alone(p, &r);
    size_t size = pith__room_size(&r);
    if (!size) pith__fail(err, PITH_EMEMORY, "%s: no memory for a pass of %d tokens", m->store.path, p->n_batch);
    return size;
}

size_t pith_pass_size(const pith_model *m, const pith_context *most) {
    pith_pass planned;
    return plan_alone(&planned, m, most, NULL);
}

/* A pass that is planned, in memory of its own. */
static pith_pass *new_alone(pith_pass *planned, pith_error *err) {
    pith__room r = { 0 };
    place_alone(planned, &r);
    size_t size = pith__room_size(&r);
    void *mem = size ? calloc(1, size) : NULL;
    if (!mem) {
        pith__fail(err, PITH_EMEMORY, "%s: no memory for a pass of %d tokens (%.1f MB)", planned->model->store.path,
                   planned->n_batch, (double)size / 1e6);
        return NULL;
    }
    r = pith__room_in(mem);
    pith_pass *p = place_alone(planned, &r);
    p->memory = mem;
    return p;
}

pith_pass *pith_pass_new(const pith_model *m, const pith_context *most, pith_error *err) {
    pith_pass planned;
    return plan_alone(&planned, m, most, err) ? new_alone(&planned, err) : NULL;
}

PITH_SHARED pith_pass *pith__pass_new(const pith_model *m, int n_ctx, int n_row, int n_threads, pith_error *err) {
    const pith_context most = { .n_ctx = n_ctx };
    pith_pass planned;
    if (pith__pass_plan(&planned, m, &most, PITH__KEEP_ONE, err)) return NULL;
    planned.n_batch = n_row;
    planned.team.n_threads = n_threads;
    return new_alone(&planned, err);
}

void pith_pass_free(pith_pass *p) {
    if (p) free(p->memory);
}
