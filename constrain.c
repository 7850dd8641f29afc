/* constrain.c - a text that obeys a grammar, token by token.
 *
 * A token is drawn as if there were no grammar, and its bytes are followed in the grammar. Only if that refuses it are
 * the tokens that it allows found out (text/trie.c), and one of those is drawn anew: a text that obeys by itself costs
 * no more than one without a grammar, and is the same. Tokens that end a text are allowed where the text so far is a
 * sentence. What a token adds to a text is what is shown of it, so a space that is left out after BOS counts for
 * nothing, and tokens that show nothing are allowed only where the grammar names them. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum { N_MASK = 64 };    /* remembered, by their state: the same ones come again and again */

struct pith__constraint {
    const pith_model *model;
    const pith_grammar *g;
    pith__matcher *m;
    const pith__trie *trie;
    int32_t *id;         /* (g->n_token) the tokens that the grammar names */
    int32_t state;       /* of the text so far */
    unsigned age;        /* of the matcher when the masks were made */
    int32_t *way;        /* scratch of the walk */
    uint32_t *allow;     /* (n_word) what the sampler gets */
    size_t n_word;
    int32_t of[N_MASK];  /* the state that a mask is of, or -1 */
    uint32_t *mask[N_MASK]; /* (n_word) each, or NULL */
    int next;            /* the one to be forgotten next */
};

/* ---- the vocabulary ------------------------------------------------------------------------------------- */

/* What a token adds to a text that does not just begin. */
static pith__str token_text(const pith_model *m, pith_token t) {
    size_t n;
    const char *p = pith_text(m, m->store.vocab.bos == 0 ? 1 : 0, t, &n);
    return (pith__str){ p, p ? n : 0 };
}

/* The model's trie, made when it is needed first. Two threads may make one: the one that comes late drops its own. */
static const pith__trie *trie_of(const pith_model *m, pith_error *err) {
    pith__trie *t = atomic_load(m->trie), *none = NULL;
    size_t n = (size_t)m->hyper.n_vocab;
    if (t) return t;
    pith__str *piece = malloc(n * sizeof *piece);
    if (!piece) return pith__fail(err, PITH_EMEMORY, "no memory for the tokens of a grammar"), NULL;
    for (size_t i = 0; i < n; i++) piece[i] = token_text(m, (pith_token)i);
    t = pith__trie_new(piece, n, err);
    free(piece);
    if (!t || atomic_compare_exchange_strong(m->trie, &none, t)) return t;
    pith__trie_free(t);
    return none;
}

/* ---- tokens by name --------------------------------------------------------------------------------------- */

static int wrong_token(const pith__named_token *t, const char *what, pith_error *err) {
    return pith__fail(err, PITH_EDATA, "grammar: line %u: %.*s %s", t->line, (int)(t->name.n < 60 ? t->name.n : 60),
                      t->name.p, what);
}

/* The token of each name, which has to be one; id may be NULL. */
static int find_tokens(const pith_grammar *g, const pith_model *m, int32_t *id, pith_error *err) {
    if (!m->trie) return pith__fail(err, PITH_EARG, "%s: a grammar needs a model with a vocabulary", m->store.path);
    for (size_t i = 0; i < g->n_token; i++) {
        const pith__named_token *t = &g->token[i];
        pith_token found[2] = { t->id, 0 };
        if (t->id < 0 && pith_encode(m, t->name.p, t->name.n, PITH_SPECIAL, found, 2) != 1)
            return wrong_token(t, "is not one token of the vocabulary", err);
        if (found[0] >= m->hyper.n_vocab) return wrong_token(t, "is beyond the vocabulary", err);
        if (!t->not && pith_is_end(m, found[0])) return wrong_token(t, "ends a text, so it cannot be a part of one", err);
        if (id) id[i] = found[0];
    }
    return PITH_OK;
}

int pith_grammar_fits(const pith_grammar *g, const pith_model *m, pith_error *err) { return find_tokens(g, m, NULL, err); }

/* ---- a text ---------------------------------------------------------------------------------------------- */

PITH_SHARED int pith__constraint_new(pith__constraint **to, const pith_grammar *g, const pith_model *m, pith_error *err) {
    *to = NULL;
    int code = find_tokens(g, m, NULL, err);
    if (code) return code;
    const pith__trie *trie = trie_of(m, err);
    pith__constraint *c = trie ? calloc(1, sizeof *c) : NULL;
    if (c) {
        c->model = m;
        c->g = g;
        c->id = malloc((g->n_token + 1) * sizeof *c->id);
        c->trie = trie;
        c->n_word = ((size_t)m->hyper.n_vocab + 31) / 32;
        for (int i = 0; i < N_MASK; i++) c->of[i] = -1;
        c->way = malloc(pith__trie_depth(trie) * sizeof *c->way);
        c->allow = malloc(c->n_word * sizeof *c->allow);
        c->m = c->way && c->allow && c->id && !find_tokens(g, m, c->id, err) ? pith__matcher_new(g, err) : NULL;
        if (c->m) c->state = pith__matcher_start(c->m);
        if (c->m) return *to = c, PITH_OK;
    }
    pith__constraint_free(c);
    return pith__fail(err, PITH_EMEMORY, "no memory to follow a grammar");
}

PITH_SHARED void pith__constraint_free(pith__constraint *c) {
    if (!c) return;
    for (int i = 0; i < N_MASK; i++) free(c->mask[i]);
    pith__matcher_free(c->m);
    free(c->allow);
    free(c->way);
    free(c->id);
    free(c);
}

PITH_SHARED int pith__constraint_whole(const pith__constraint *c) { return pith__matcher_may_end(c->m, c->state); }

PITH_SHARED int pith__constraint_over(const pith__constraint *c) {
    return pith__constraint_whole(c) && !pith__matcher_may_go_on(c->m, c->state);
}

PITH_SHARED int pith__ends(const pith_model *m, const pith_generation *g, pith_token t) {
    for (int i = 0; i < g->n_end; i++)
        if (g->end[i] == t) return 1;
    return pith_is_end(m, t);
}

PITH_SHARED int pith__constraint_names(const pith__constraint *c) { return c->g->n_token > 0; }

/* The state after the text of token t: PITH__DEAD where it is refused or empty, or an error. */
static int32_t state_after_text(const pith__constraint *c, pith_token before, pith_token t) {
    size_t n;
    const char *text = pith_text(c->model, before, t, &n);
    int32_t state = n ? c->state : PITH__DEAD;
    for (size_t i = 0; i < n && state > PITH__DEAD; i++) state = pith__matcher_next(c->m, state, (uint8_t)text[i]);
    return state;
}

/* And as the token that it is. */
static int32_t state_after(const pith__constraint *c, pith_token before, pith_token t) {
    return pith__matcher_token(c->m, c->state, c->id, t, state_after_text(c, before, t));
}

/* ---- masks ------------------------------------------------------------------------------------------------ */

static int has_bit(const uint32_t *bits, pith_token t) { return (int)(bits[t / 32] >> t % 32 & 1); }

static void set_bit(uint32_t *bits, pith_token t, int on) {
    if (on) bits[t / 32] |= 1u << t % 32;
    else bits[t / 32] &= ~(1u << t % 32);
}

/* The mask of the state, as its bytes say. */
static const uint32_t *mask_of_state(pith__constraint *c, pith_error *err) {
    if (c->age != pith__matcher_age(c->m)) {
        for (int i = 0; i < N_MASK; i++) c->of[i] = -1;
        c->age = pith__matcher_age(c->m);
    }
    for (int i = 0; i < N_MASK; i++)
        if (c->of[i] == c->state) return c->mask[i];
    int at = c->next;
    c->next = (at + 1) % N_MASK;
    c->of[at] = -1;
    if (!c->mask[at]) c->mask[at] = malloc(c->n_word * sizeof *c->mask[at]);
    if (!c->mask[at] || pith__trie_mask(c->trie, c->m, c->state, c->way, c->mask[at])) {
        pith__fail(err, PITH_EMEMORY, "the grammar needs too much memory here");
        return NULL;
    }
    c->of[at] = c->state;
    return c->mask[at];
}

/* Where a text begins after BOS, pieces lose the space they begin with: each is asked. */
static int mask_of_first(pith__constraint *c, pith_token before) {
    memset(c->allow, 0, c->n_word * sizeof *c->allow);
    for (pith_token t = 0; t < c->model->hyper.n_vocab; t++) {
        int32_t state = state_after_text(c, before, t);
        if (state < 0) return 0;
        set_bit(c->allow, t, state != PITH__DEAD);
    }
    return 1;
}

/* The tokens that are allowed by their names; !<name> allows all others but those without a piece. */
static void allow_named(pith__constraint *c) {
    int i;
    for (size_t k = 0; (i = pith__matcher_named(c->m, c->state, k)) >= 0; k++) {
        size_t n;
        if (!c->g->token[i].not) set_bit(c->allow, c->id[i], 1);
        for (pith_token t = 0; c->g->token[i].not && t < c->model->hyper.n_vocab; t++)
            if (t != c->id[i] && pith_piece(c->model, t, &n) && n) set_bit(c->allow, t, 1);
    }
}

PITH_SHARED const uint32_t *pith__constraint_mask(pith__constraint *c, pith_token before, const pith_generation *g,
                                                  pith_error *err) {
    const pith__vocab *v = &c->model->store.vocab;
    int may_end = pith__constraint_whole(c), any = 0;
    if (v->add_space && (before < 0 || before == v->bos)) {
        if (!mask_of_first(c, before))
            return pith__fail(err, PITH_EMEMORY, "the grammar needs too much memory here"), NULL;
    } else {
        const uint32_t *mask = mask_of_state(c, err);
        if (!mask) return NULL;
        memcpy(c->allow, mask, c->n_word * sizeof *c->allow);
    }
    allow_named(c);
    for (int i = 0; i < v->n_end; i++)
        if (v->end[i] >= 0 && v->end[i] < c->model->hyper.n_vocab) set_bit(c->allow, v->end[i], may_end);
    for (int i = 0; i < g->n_end; i++)
        if (g->end[i] >= 0 && g->end[i] < c->model->hyper.n_vocab) set_bit(c->allow, g->end[i], may_end);
    for (size_t i = 0; i < c->n_word; i++) {
        if (g->how.allow) c->allow[i] &= g->how.allow[i];
        any |= c->allow[i] != 0;
    }
    if (any) return c->allow;
    char wants[160];
    pith__matcher_wants(c->m, c->state, wants, sizeof wants);
    pith__fail(err, PITH_EARG, "no token of the vocabulary is allowed to come next, need %s", wants);
    return NULL;
}

/* ---- draws ------------------------------------------------------------------------------------------------ */

static int may_come(const pith__constraint *c, pith_token before, const pith_generation *g, pith_token t) {
    if (t < 0 || pith__ends(c->model, g, t)) return t >= 0 && pith__constraint_whole(c);
    return state_after(c, before, t) > PITH__DEAD;
}

PITH_SHARED pith_token pith__constrained(pith__constraint *c, pith_session *s, pith_generation *g, const pith__draw_again *d,
                                         pith_error *err) {
    pith_token before = s->tokens[s->position - 1], t = d->t;
    if (!may_come(c, before, g, t)) {
        pith_sampling allowed = *d->how;
        *allowed.drawn = d->drawn; /* a token that is refused leaves nothing behind */
        allowed.allow = pith__constraint_mask(c, before, g, err);
        if (!allowed.allow) return PITH_EARG;
        t = pith_sample(s, &allowed, &g->rng);
        if (t < 0 || !has_bit(allowed.allow, t)) return pith__fail(err, PITH_EARG, "no token is allowed to come next");
    }
    if (!pith__ends(c->model, g, t)) c->state = pith__matcher_keep(c->m, state_after(c, before, t));
    return t;
}
