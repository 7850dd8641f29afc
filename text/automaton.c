/* automaton.c - regular sets of texts, as deterministic finite automata over characters.
 *
 * A pattern, a list of words, a length, a range of numbers: each becomes an automaton, and what must be true at
 * once is their product. They are made in the classical way (Hopcroft, Motwani & Ullman 2006): subsets of the nodes
 * of a nondeterministic one, states that lead nowhere cut off, equal states made one. */
#include "text.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_NFA = 100000, MOST_POOL = 1 << 22, MOST_VISITS = 1 << 26, MOST_REFINED = 1 << 23, NOWHERE = INT32_MAX };
enum { NO_MEMORY = 1, TOO_LARGE }; /* what failed */

/* ---- the nondeterministic one -------------------------------------------------------------------- */

PITH_SHARED uint32_t pith__nfa_add(pith__nfa *m, uint32_t kind, uint32_t a, uint32_t b) {
    if (m->n_node >= MOST_NFA && !m->failed) m->failed = TOO_LARGE;
    pith__nfa_node *more = m->failed ? NULL : pith__more(m->node, &m->node_room, m->n_node + 1, sizeof *more);
    if (!more) {
        m->failed = m->failed ? m->failed : NO_MEMORY;
        return 0;
    }
    m->node = more;
    m->node[m->n_node] = (pith__nfa_node){ kind, a, b };
    return (uint32_t)m->n_node++;
}

PITH_SHARED uint32_t pith__nfa_set(pith__nfa *m, pith__charset *s, uint32_t next) {
    pith__charset *more = m->failed || s->failed ? NULL : pith__more(m->set, &m->set_room, m->n_set + 1, sizeof *more);
    if (!more) {
        m->failed = m->failed ? m->failed : NO_MEMORY;
        pith__charset_free(s);
        return 0;
    }
    m->set = more;
    m->set[m->n_set++] = *s;
    return pith__nfa_add(m, PITH__NFA_SET, next, (uint32_t)m->n_set - 1);
}

PITH_SHARED void pith__nfa_free(pith__nfa *m) {
    for (size_t i = 0; i < m->n_set; i++) free(m->set[i].range);
    free(m->set);
    free(m->node);
    *m = (pith__nfa){ 0 };
}

/* ---- a deterministic one being made --------------------------------------------------------------- */

typedef struct {         /* states and their arcs, the arcs of a state one behind the other */
    pith__arc *arc;
    uint32_t *first;
    uint8_t *ends;
    size_t n, n_arc, arc_room, first_room, ends_room;
    size_t work;         /* steps that were taken */
    int failed;
} dfa_maker;

static void end_maker(dfa_maker *k) {
    free(k->arc);
    free(k->first);
    free(k->ends);
}

static void make_state(dfa_maker *k, int ends) {
    uint32_t *first = pith__more(k->first, &k->first_room, k->n + 2, sizeof *first);
    if (first) k->first = first;
    uint8_t *e = pith__more(k->ends, &k->ends_room, k->n + 1, 1);
    if (e) k->ends = e;
    if (!first || !e || k->n >= PITH__MOST_STATES) {
        k->failed = first && e ? TOO_LARGE : NO_MEMORY;
        return;
    }
    k->first[k->n] = (uint32_t)k->n_arc;
    k->ends[k->n++] = (uint8_t)ends;
    k->first[k->n] = (uint32_t)k->n_arc;
}

/* Of the last state. */
static void make_arc(dfa_maker *k, uint32_t from, uint32_t to, uint32_t next) {
    if (k->failed) return;
    pith__arc *last = k->n_arc > k->first[k->n - 1] ? &k->arc[k->n_arc - 1] : NULL;
    if (last && last->next == next && last->to + 1 == from) {
        last->to = to;
        return;
    }
    pith__arc *more = pith__more(k->arc, &k->arc_room, k->n_arc + 1, sizeof *more);
    if (!more) {
        k->failed = NO_MEMORY;
        return;
    }
    k->arc = more;
    k->arc[k->n_arc++] = (pith__arc){ from, to, next };
    k->first[k->n] = (uint32_t)k->n_arc;
}

/* ---- what is equal, and what leads nowhere --------------------------------------------------------- */

/* 1: an end can be reached from state i. */
static void mark_alive(const dfa_maker *k, uint8_t *alive) {
    int more = 1;
    memcpy(alive, k->ends, k->n);
    while (more) { /* backwards: states mostly lead to later ones */
        more = 0;
        for (size_t i = k->n; i-- > 0;)
            for (uint32_t j = k->first[i]; !alive[i] && j < k->first[i + 1]; j++)
                if (alive[k->arc[j].next]) alive[i] = 1, more = 1;
    }
}

static uint32_t dfa_hash(uint32_t h, uint32_t x) {
    h = (h ^ x) * 0x9e3779b1u;
    return h ^ h >> 15;
}

/* Do states a and b lead to the same classes? Neighbours that do count as one arc. */
static int same_state(const dfa_maker *k, const uint32_t *cls, uint32_t a, uint32_t b) {
    uint32_t i = k->first[a], j = k->first[b], at = 0;
    const uint32_t i_end = k->first[a + 1], j_end = k->first[b + 1];
    if (cls[a] != cls[b]) return 0;
    while (i < i_end || j < j_end) { /* both, character by character from at on */
        while (i < i_end && (k->arc[i].to < at || cls[k->arc[i].next] == NOWHERE)) i++;
        while (j < j_end && (k->arc[j].to < at || cls[k->arc[j].next] == NOWHERE)) j++;
        if (i == i_end || j == j_end) break;
        uint32_t x = k->arc[i].from > at ? k->arc[i].from : at, y = k->arc[j].from > at ? k->arc[j].from : at;
        if (x != y || cls[k->arc[i].next] != cls[k->arc[j].next]) return 0;
        at = (k->arc[i].to < k->arc[j].to ? k->arc[i].to : k->arc[j].to) + 1;
    }
    return i == i_end && j == j_end;
}

/* The same from states that differ only in how their arcs are cut. */
static uint32_t state_hash(const dfa_maker *k, const uint32_t *cls, uint32_t s) {
    uint32_t h = dfa_hash(1, cls[s]), last = NOWHERE, end = 0;
    for (uint32_t j = k->first[s]; j < k->first[s + 1]; j++) {
        uint32_t to = cls[k->arc[j].next];
        if (to == NOWHERE) continue;
        if (to != last || end + 1 != k->arc[j].from) h = dfa_hash(dfa_hash(dfa_hash(h, end), k->arc[j].from), to);
        last = to;
        end = k->arc[j].to;
    }
    return dfa_hash(h, end);
}

/* Moore's refinement: classes of states, split until none splits. cls: NOWHERE for those that are not alive. 0: that
 * takes too long. */
static uint32_t refine(dfa_maker *k, uint32_t *cls, uint32_t *fresh, uint32_t *slot, size_t slots) {
    uint32_t n = 0, was;
    const size_t most = k->work + MOST_REFINED;
    do {
        was = n;
        n = 0;
        k->work += k->n + k->n_arc;
        if (k->work > most) return 0;
        memset(slot, 0, slots * sizeof *slot);
        for (uint32_t i = 0; i < k->n; i++) {
            if (cls[i] == NOWHERE) continue;
            size_t at = state_hash(k, cls, i) & (slots - 1);
            while (slot[at] && !same_state(k, cls, i, slot[at] - 1)) at = (at + 1) & (slots - 1);
            if (!slot[at]) slot[at] = i + 1, fresh[i] = n++;
            else fresh[i] = fresh[slot[at] - 1];
        }
        for (uint32_t i = 0; i < k->n; i++)
            if (cls[i] != NOWHERE) cls[i] = fresh[i];
    } while (n != was);
    return n;
}

static pith__dfa *new_dfa(pith__arena *a, size_t n, size_t n_arc) {
    pith__dfa *d = pith__arena_new(a, 1, sizeof *d);
    if (!d) return NULL;
    d->arc = pith__arena_new(a, n_arc, sizeof *d->arc);
    d->first = pith__arena_new(a, n + 1, sizeof *d->first);
    d->ends = pith__arena_new(a, n, 1);
    return d->arc && d->first && d->ends ? d : NULL;
}

/* One state for each class, in the order of their first states: state 0 stays the first. */
static pith__dfa *classes_dfa(const dfa_maker *k, const uint32_t *cls, uint32_t n, pith__arena *a) {
    pith__dfa *d = new_dfa(a, n, k->n_arc);
    for (uint32_t i = 0, used = 0; d && i < k->n; i++) {
        if (cls[i] == NOWHERE || cls[i] != d->n) continue;
        d->first[d->n] = used;
        d->ends[d->n++] = k->ends[i];
        for (uint32_t j = k->first[i]; j < k->first[i + 1]; j++) {
            pith__arc arc = { k->arc[j].from, k->arc[j].to, cls[k->arc[j].next] };
            pith__arc *last = used > d->first[d->n - 1] ? &d->arc[used - 1] : NULL;
            if (arc.next == NOWHERE) continue;
            if (last && last->next == arc.next && last->to + 1 == arc.from) last->to = arc.to;
            else d->arc[used++] = arc;
        }
        d->first[d->n] = used;
    }
    return d;
}

/* What was made, without what leads nowhere and with equal states as one. Frees the maker. */
static pith__dfa *finish_dfa(dfa_maker *k, pith__arena *a) {
    size_t slots = 64;
    while (slots < 2 * k->n) slots *= 2;
    uint8_t *alive = malloc(k->n + 1);
    uint32_t *cls = malloc((k->n + 1) * sizeof *cls), *fresh = malloc((k->n + 1) * sizeof *fresh);
    uint32_t *slot = malloc(slots * sizeof *slot);
    pith__dfa *d = k->failed == TOO_LARGE ? new_dfa(a, 0, 0) : NULL;
    if (d) d->too_large = 1;
    if (!k->failed && alive && cls && fresh && slot) {
        uint32_t n = 0;
        mark_alive(k, alive);
        for (size_t i = 0; i < k->n; i++) cls[i] = alive[i] ? k->ends[i] : NOWHERE;
        n = refine(k, cls, fresh, slot, slots);
        int minimal = n > 0;
        for (size_t i = 0; !minimal && i < k->n; i++) cls[i] = alive[i] ? n++ : NOWHERE;
        d = k->n && alive[0] ? classes_dfa(k, cls, n, a) : new_dfa(a, 0, 0);
    }
    if (d) d->work = k->work / 128;
    free(alive);
    free(cls);
    free(fresh);
    free(slot);
    end_maker(k);
    return d;
}

/* ---- subsets ------------------------------------------------------------------------------------------ */

typedef struct {         /* sets of nodes that were met: set i is pool[first[i] .. first[i + 1]) */
    const pith__nfa *m;
    uint32_t *pool, *first, *slot;
    size_t n, n_pool, pool_room, first_room, slots;
    uint32_t *seen, *todo; /* (n_node) of the walk, (2 n_node + 2) */
    uint32_t walk;
    size_t visits;       /* of nodes, in all walks */
    uint32_t *cut;       /* (n_cut) characters at which some set begins or ends, rising, from 0 to behind the last */
    size_t n_cut, cut_room;
    int failed;
} subset_maker;

static void subset_later(subset_maker *k, size_t *n, uint32_t node) {
    k->visits++;
    if (k->seen[node] == k->walk) return;
    k->seen[node] = k->walk;
    k->todo[(*n)++] = node;
}

/* From the n nodes of todo on without taking a character; those that take one, or end, go to the pool, or where
 * the text is found, only that. end: the text ends here. Gives whether it is found. */
static int subset_close(subset_maker *k, size_t n, int begin, int end) {
    const size_t from = k->n_pool;
    int found = 0;
    while (n > 0 && !k->failed) {
        uint32_t at = k->todo[--n];
        const pith__nfa_node *node = &k->m->node[at];
        int through = node->kind == PITH__NFA_FORK || (node->kind == PITH__NFA_BEGIN && begin) ||
                      (node->kind == PITH__NFA_END && end);
        if (through) {
            subset_later(k, &n, node->a);
            if (node->kind == PITH__NFA_FORK) subset_later(k, &n, node->b);
        } else if (node->kind != PITH__NFA_BEGIN) {
            uint32_t *more = pith__more(k->pool, &k->pool_room, k->n_pool + 1, sizeof *more);
            if (more) k->pool = more, k->pool[k->n_pool++] = at;
            else k->failed = NO_MEMORY;
            found |= node->kind == PITH__NFA_FOUND;
        }
    }
    if (found) k->n_pool = from, k->pool[k->n_pool++] = UINT32_MAX;
    return found;
}

static int node_order(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The set of the last nodes in the pool, from on. */
static uint32_t subset_of(subset_maker *k, size_t from) {
    size_t n = k->n_pool - from;
    uint32_t h = 1;
    if (n > 1) qsort(k->pool + from, n, sizeof *k->pool, node_order);
    for (size_t i = 0; i < n; i++) h = dfa_hash(h, k->pool[from + i]);
    size_t at = h & (k->slots - 1);
    for (; k->slot[at]; at = (at + 1) & (k->slots - 1)) {
        uint32_t s = k->slot[at] - 1;
        size_t size = k->first[s + 1] - k->first[s];
        if (size != n || (n && memcmp(k->pool + k->first[s], k->pool + from, n * sizeof *k->pool) != 0)) continue;
        k->n_pool = from;
        return s;
    }
    uint32_t *more = pith__more(k->first, &k->first_room, k->n + 2, sizeof *more);
    if (!more) return k->failed = NO_MEMORY, 0;
    if (k->n >= PITH__MOST_STATES || k->n_pool > MOST_POOL) return k->failed = TOO_LARGE, 0;
    k->first = more;
    k->first[k->n] = (uint32_t)from;
    k->first[k->n + 1] = (uint32_t)k->n_pool;
    k->slot[at] = (uint32_t)k->n + 1;
    return (uint32_t)k->n++;
}

static void subset_cut(subset_maker *k, uint32_t c) {
    uint32_t *more = pith__more(k->cut, &k->cut_room, k->n_cut + 1, sizeof *more);
    if (more) k->cut = more, k->cut[k->n_cut++] = c;
    else k->failed = NO_MEMORY;
}

static int begin_subsets(subset_maker *k, const pith__nfa *m) {
    k->m = m;
    for (k->slots = 64; k->slots < 4 * (size_t)PITH__MOST_STATES;) k->slots *= 2;
    k->slot = calloc(k->slots, sizeof *k->slot);
    k->seen = calloc(m->n_node, sizeof *k->seen);
    k->todo = malloc((2 * m->n_node + 2) * sizeof *k->todo);
    subset_cut(k, 0);
    subset_cut(k, PITH__LAST_CHAR + 1);
    for (size_t i = 0; i < m->n_set && !k->failed; i++)
        for (size_t j = 0; j < m->set[i].n; j++) {
            subset_cut(k, m->set[i].range[j].from);
            subset_cut(k, m->set[i].range[j].to + 1);
        }
    if (!k->slot || !k->seen || !k->todo || k->failed) return 0;
    size_t n = 0;
    qsort(k->cut, k->n_cut, sizeof *k->cut, node_order);
    for (size_t i = 0; i < k->n_cut; i++)
        if (!n || k->cut[i] != k->cut[n - 1]) k->cut[n++] = k->cut[i];
    k->n_cut = n;
    return 1;
}

/* May the text end in set s? */
static int subset_ends(subset_maker *k, uint32_t s) {
    size_t n = 0, from = k->n_pool;
    k->walk++;
    for (uint32_t i = k->first[s]; i < k->first[s + 1]; i++) {
        if (k->pool[i] == UINT32_MAX) return 1;
        if (k->m->node[k->pool[i]].kind == PITH__NFA_END) subset_later(k, &n, k->pool[i]);
    }
    int found = subset_close(k, n, s == 0, 1);
    k->n_pool = from;
    return found;
}

/* Where set s goes with character c. 0 of *any: nowhere. */
static uint32_t subset_next(subset_maker *k, uint32_t s, uint32_t c, int *any) {
    size_t n = 0, from = k->n_pool;
    k->walk++;
    for (uint32_t i = k->first[s]; i < k->first[s + 1]; i++) {
        const pith__nfa_node *node = k->pool[i] == UINT32_MAX ? NULL : &k->m->node[k->pool[i]];
        if (!node) return *any = 1, s; /* found: what follows does not matter */
        if (node->kind == PITH__NFA_SET && pith__charset_has(&k->m->set[node->b], c)) subset_later(k, &n, node->a);
    }
    subset_close(k, n, 0, 0);
    *any = k->n_pool > from;
    k->visits += k->first[s + 1] - k->first[s];
    if (k->visits > MOST_VISITS) return k->failed = TOO_LARGE, 0;
    return *any ? subset_of(k, from) : 0;
}

PITH_SHARED pith__dfa *pith__dfa_of(const pith__nfa *m, uint32_t start, pith__arena *a) {
    subset_maker k = { .m = m };
    dfa_maker out = { 0 };
    if (!m->failed && begin_subsets(&k, m)) {
        size_t n = 0;
        k.walk++;
        subset_later(&k, &n, start);
        subset_close(&k, n, 1, 0);
        subset_of(&k, 0);
        for (uint32_t s = 0; s < k.n && !k.failed && !out.failed; s++) {
            make_state(&out, subset_ends(&k, s));
            for (size_t i = 0; i + 1 < k.n_cut && !k.failed; i++) {
                int any;
                uint32_t next = subset_next(&k, s, k.cut[i], &any);
                if (any) make_arc(&out, k.cut[i], k.cut[i + 1] - 1, next);
            }
        }
    } else {
        k.failed = m->failed ? m->failed : NO_MEMORY;
    }
    free(k.pool);
    free(k.first);
    free(k.slot);
    free(k.seen);
    free(k.todo);
    free(k.cut);
    out.failed = out.failed ? out.failed : k.failed;
    out.work = k.visits;
    return finish_dfa(&out, a);
}

/* ---- products --------------------------------------------------------------------------------------------- */

typedef struct {
    const pith__dfa *x, *y;
    int how;
    uint32_t *of_x, *of_y; /* (n) the states that a pair is of, or NOWHERE */
    size_t n, x_room, y_room, slots;
    uint32_t *slot;
    int failed;
} dfa_product;

static uint32_t product_state(dfa_product *p, uint32_t x, uint32_t y) {
    size_t at = dfa_hash(dfa_hash(1, x), y) & (p->slots - 1);
    for (; p->slot[at]; at = (at + 1) & (p->slots - 1))
        if (p->of_x[p->slot[at] - 1] == x && p->of_y[p->slot[at] - 1] == y) return p->slot[at] - 1;
    uint32_t *more_x = pith__more(p->of_x, &p->x_room, p->n + 1, sizeof *more_x);
    if (more_x) p->of_x = more_x;
    uint32_t *more_y = pith__more(p->of_y, &p->y_room, p->n + 1, sizeof *more_y);
    if (more_y) p->of_y = more_y;
    if (!more_x || !more_y) return p->failed = NO_MEMORY, 0;
    if (p->n >= PITH__MOST_STATES) return p->failed = TOO_LARGE, 0;
    p->of_x[p->n] = x;
    p->of_y[p->n] = y;
    p->slot[at] = (uint32_t)p->n + 1;
    return (uint32_t)p->n++;
}

/* The arc of state s at c, or where none begins before it ends: NOWHERE up to *to. */
static uint32_t arc_at(const pith__dfa *d, uint32_t s, uint32_t *i, uint32_t c, uint32_t *to) {
    *to = PITH__LAST_CHAR;
    if (s == NOWHERE) return NOWHERE;
    while (*i < d->first[s + 1] && d->arc[*i].to < c) ++*i;
    if (*i == d->first[s + 1]) return NOWHERE;
    const pith__arc *arc = &d->arc[*i];
    *to = arc->from > c ? arc->from - 1 : arc->to;
    return arc->from > c ? NOWHERE : arc->next;
}

static void product_arcs(dfa_product *p, dfa_maker *out, uint32_t s) {
    uint32_t x = p->of_x[s], y = p->of_y[s], c = 0;
    uint32_t i = x == NOWHERE ? 0 : p->x->first[x], j = y == NOWHERE ? 0 : p->y->first[y];
    while (c <= PITH__LAST_CHAR && !p->failed) {
        uint32_t x_to, y_to, x_next = arc_at(p->x, x, &i, c, &x_to), y_next = arc_at(p->y, y, &j, c, &y_to);
        uint32_t to = x_to < y_to ? x_to : y_to;
        int alive = p->how == PITH__OR ? x_next != NOWHERE || y_next != NOWHERE
                  : p->how == PITH__AND ? x_next != NOWHERE && y_next != NOWHERE : x_next != NOWHERE;
        if (alive) {
            uint32_t next = product_state(p, x_next, y_next);
            make_arc(out, c, to, next);
        }
        c = to + 1;
    }
}

PITH_SHARED pith__dfa *pith__dfa_join(const pith__dfa *x, const pith__dfa *y, int how, pith__arena *a) {
    dfa_product p = { .x = x, .y = y, .how = how };
    dfa_maker out = { 0 };
    for (p.slots = 64; p.slots < 4 * (size_t)PITH__MOST_STATES;) p.slots *= 2;
    p.slot = calloc(p.slots, sizeof *p.slot);
    p.failed = p.slot ? 0 : NO_MEMORY;
    if (!p.failed) product_state(&p, x->n ? 0 : NOWHERE, y->n ? 0 : NOWHERE);
    for (uint32_t s = 0; s < p.n && !p.failed && !out.failed; s++) {
        int x_ends = p.of_x[s] != NOWHERE && x->ends[p.of_x[s]], y_ends = p.of_y[s] != NOWHERE && y->ends[p.of_y[s]];
        make_state(&out, how == PITH__OR ? x_ends || y_ends : how == PITH__AND ? x_ends && y_ends : x_ends && !y_ends);
        product_arcs(&p, &out, s);
    }
    free(p.slot);
    free(p.of_x);
    free(p.of_y);
    out.failed = out.failed ? out.failed : p.failed;
    out.work = 8 * (out.n + out.n_arc);
    return finish_dfa(&out, a);
}

/* ---- simple ones -------------------------------------------------------------------------------------------- */

PITH_SHARED pith__dfa *pith__dfa_any(pith__arena *a) {
    dfa_maker k = { 0 };
    make_state(&k, 1);
    make_arc(&k, 0, PITH__LAST_CHAR, 0);
    return finish_dfa(&k, a);
}

PITH_SHARED pith__dfa *pith__dfa_length(uint32_t min, uint32_t max, pith__arena *a) {
    dfa_maker k = { 0 };
    uint32_t last = max == UINT32_MAX ? min : max;
    for (uint32_t i = 0; i <= last && !k.failed; i++) {
        make_state(&k, i >= min);
        if (i < last || max == UINT32_MAX) make_arc(&k, 0, PITH__LAST_CHAR, i < last ? i + 1 : i);
    }
    return finish_dfa(&k, a);
}

PITH_SHARED pith__dfa *pith__dfa_texts(const pith__str *text, size_t n, pith__arena *a) {
    pith__nfa m = { 0 };
    uint32_t found = pith__nfa_add(&m, PITH__NFA_FOUND, 0, 0), end = pith__nfa_add(&m, PITH__NFA_END, found, 0);
    uint32_t start = 0;
    for (size_t i = 0; i < n && !m.failed; i++) {
        uint32_t next = end;
        for (size_t at = text[i].n; at > 0;) { /* from the last character to the first */
            pith__charset s = { 0 };
            uint32_t c;
            for (at--; at > 0 && ((uint8_t)text[i].p[at] & 0xc0) == 0x80; at--) continue;
            pith__utf8_read((const uint8_t *)text[i].p + at, text[i].n - at, &c);
            pith__charset_add(&s, c, c);
            next = pith__nfa_set(&m, &s, next);
        }
        start = i ? pith__nfa_add(&m, PITH__NFA_FORK, next, start) : next;
    }
    pith__dfa *d = n ? pith__dfa_of(&m, start, a) : new_dfa(a, 0, 0);
    pith__nfa_free(&m);
    return d;
}

PITH_SHARED int pith__dfa_has(const pith__dfa *x, pith__str text) {
    uint32_t s = x->n ? 0 : NOWHERE, c;
    for (size_t i = 0; i < text.n && s != NOWHERE;) {
        i += pith__utf8_read((const uint8_t *)text.p + i, text.n - i, &c);
        uint32_t arc = x->first[s], to;
        s = arc_at(x, s, &arc, c, &to);
    }
    return s != NOWHERE && x->ends[s];
}

/* State 0: at the beginning; 1 + r: digits of a number that leaves r; then, behind a point, zeros or nothing. */
PITH_SHARED pith__dfa *pith__dfa_multiple(uint32_t of, pith__arena *a) {
    dfa_maker k = { 0 };
    for (uint32_t r = 0; r <= of && !k.failed; r++) {
        make_state(&k, r == 1);
        if (r == 0) make_arc(&k, '-', '-', 0);
        if (r == 1) make_arc(&k, '.', '.', of + 1);
        for (uint32_t digit = 0; digit < 10; digit++) {
            uint32_t left = ((r ? r - 1 : 0) * 10 + digit) % of;
            make_arc(&k, '0' + digit, '0' + digit, 1 + left);
        }
    }
    make_state(&k, 1);
    make_arc(&k, '0', '0', of + 1);
    return finish_dfa(&k, a);
}
