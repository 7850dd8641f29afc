/* tape.c - the memory of a backward pass, and which models it is built for. */
#include "train.h"

#include <stdlib.h>

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

/* Tokens whose logits, of so many floats each, exist at once: as many as have room, but 64 tokens at least. The output
 * matrix is read for each lot. */
static size_t logits_rows(size_t room, size_t size, size_t n) {
    size_t rows = room / size / 16 * 16;
    return pith__least(rows < 64 ? 64 : rows > PITH__LOSS_ROWS ? PITH__LOSS_ROWS : rows, n);
}

/* Lay out the tape's arrays from memory on; NULL: only count their floats. None is larger than a few
 * times what the session or the model already has in memory, so the sum does not overflow. */
static size_t place_tape(pith__tape *tape, const pith_pass *p, float *memory) {
    const pith__hyper *h = &p->model->hyper;
    size_t n = (size_t)p->n_batch, head_dim = (size_t)h->head_dim, heads = (size_t)h->n_q;
    size_t n_threads = (size_t)p->team.n_threads, used = 0, n_vocab = (size_t)h->n_vocab;
    pith__acts a;
    /* Logits and slopes lie where gradients come later: behind d.x and d.xn, which the loss needs too. */
    size_t acts = pith__acts_place(p, &a, NULL), stream = 2 * ((n * (size_t)h->n_embd + 15) / 16 * 16);
    size_t size = h->logit_softcap > 0 ? 2 * n_vocab : n_vocab;
    tape->rows = (int)logits_rows(acts - stream, size, n);
    acts = most(acts, stream + (size_t)tape->rows * size);
    tape->scratch_floats =
        most(most(pith__product_scratch(), pith__d_attend_scratch(n, head_dim)), p->team.scratch_bytes / 4);
    size_t rows = n * (size_t)h->n_head, seen = 0, room = 0, steps = 0, ple = (size_t)h->n_ple * (size_t)h->n_layer; /* rows of norms */
    if (ple) rows = most(rows, n * (size_t)h->n_layer);
    tape->scratch_floats = most(tape->scratch_floats, ple); /* of a row, see make_ple in forward.c */
    for (const pith__layer *w = p->model->layer; w < p->model->layer + h->n_layer; w++) {
        tape->scratch_floats = most(tape->scratch_floats, pith__d_walk_scratch(&w->recurrent, n));
        rows = most(rows, n * (size_t)w->recurrent.n_head);
        if (w->mixer == PITH__MAMBA) room = most(room, pith__d_mamba_room(&w->recurrent, n)), steps = most(steps, 3 * n * (size_t)w->recurrent.n_head);
        seen += w->kv_seen ? 4 * n * (size_t)(w->n_kv_head * w->head_dim) : 0;
    }
    tape->scratch_floats = (tape->scratch_floats + 15) / 16 * 16;
    const struct {
        float **to;
        size_t size;
    } parts[] = {
        { &tape->acts, acts },
        { &tape->dk, n * heads },
        { &tape->dv, n * heads },
        { &tape->scale, rows },
        { &tape->mean, rows },
        { &tape->route, n * (size_t)h->n_expert },
        { &tape->d_low, n * PITH__LOW },
        { &tape->seen, seen },
        { &tape->d_heads, steps },
        { &tape->room, room },
        { &tape->d_ple, n * ple },
        { &tape->ple, n * ple },
        { &tape->panel, pith__panel_floats(pith__widest(h)) },
        { &tape->scratch, n_threads * tape->scratch_floats },
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        *parts[i].to = memory ? memory + used : NULL;
        used += (parts[i].size + 15) / 16 * 16;
    }
    if (!memory) return used;
    tape->logits = tape->acts + stream;
    tape->slope = tape->logits + (size_t)tape->rows * n_vocab;
    pith__acts_place(p, &tape->d, tape->acts);
    int same = tape->d.v0 == tape->d.v;
    tape->d.k = tape->dk, tape->d.v = tape->dv; /* room for n_head heads, see pith__d_attend */
    if (tape->d.q0 == tape->d.q) tape->d.k0 = tape->d.k;
    if (same) tape->d.v0 = tape->d.v;
    return used;
}

static pith_context context_of(int n_ctx) {
    pith_context c = { .n_ctx = n_ctx, .n_batch = n_ctx, .cache_k = "f32", .cache_v = "f32" };
    return c;
}

/* What a model has whose backward is missing; NULL: nothing. */
static const char *not_trained(const pith_model *m) {
    const pith__hyper *h = &m->hyper;
    if (m->biases) return "whose scores have biases";
    if (h->n_expert && h->expert_before) return "whose experts' weights multiply what goes into them";
    if (h->qk_norm_bare) return "whose queries have norms without weights";
    if (h->act == PITH__XIELU) return "whose networks have activations that learn (xIELU)";
    if (m->head_bias.floats) return "whose logits have biases";
    if (h->qkv_limit > 0) return "whose queries, keys and values are clamped";
    if (h->act_limit > 0) return "whose networks are clamped";
    for (const pith__layer *w = m->layer; w < m->layer + h->n_layer; w++) {
        if (w->expert_scale.floats) return "whose experts have scales";
        if (w->sinks.floats) return "with attention sinks";
        if (w->recurrent.grouped) return "whose gates of the delta rule are one matrix";
        if (w->mixer == PITH__LATENT) return "of latent attention";
    }
    return NULL;
}

PITH_SHARED pith__tape *pith__tape_new(const pith_model *m, float *g, int n_ctx, int keep,
                                       pith_error *err) {
    pith_context c = context_of(n_ctx);
    const char *not_built = not_trained(m);
    if (not_built)
        return pith__fail(err, PITH_EARCH, "%s: training a model %s (%s) is not built", m->store.path, not_built, m->hyper.arch), NULL;
    pith_session *s = pith__session_new(m, &c, keep, err);
    if (!s) return NULL;
    pith__tape *tape = calloc(1, sizeof *tape), plan;
    size_t floats = place_tape(&plan, s->pass, NULL);
    float *memory = tape ? calloc(floats + 16, sizeof *memory) : NULL;
    if (!memory) {
        pith__fail(err, PITH_EMEMORY, "%s: no memory for the gradients of %d tokens (%.1f MB)",
                   m->store.path, n_ctx, (double)floats * 4e-6);
        pith_session_free(s);
        free(tape);
        return NULL;
    }
    tape->s = s;
    tape->g = g;
    tape->memory = memory;
    place_tape(tape, s->pass, memory + (64 - (uintptr_t)memory % 64) % 64 / sizeof *memory);
    s->pass->team.scratch = (uint8_t *)tape->scratch; /* larger than the session's own */
    s->pass->team.scratch_bytes = tape->scratch_floats * sizeof *memory;
    return tape;
}

PITH_SHARED void pith__tape_free(pith__tape *tape) {
    if (!tape) return;
    pith_session_free(tape->s);
    free(tape->memory);
    free(tape);
}

PITH_SHARED size_t pith__tape_size(const pith_model *m, int n_ctx, int keep) {
    pith_context c = context_of(n_ctx);
    size_t session = pith__session_bytes(m, &c, keep);
    if (!session) return 0;
    pith_pass p = { .model = m, .n_batch = n_ctx, .team = { .n_threads = m->n_threads } };
    p.team.scratch_bytes = pith__matmul_scratch(pith__widest(&m->hyper));
    pith__tape plan;
    return session + (place_tape(&plan, &p, NULL) + 16) * sizeof(float) + sizeof plan;
}
