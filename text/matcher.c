/* matcher.c - follows a text through a grammar, byte by byte.
 *
 * Where a text can be is a state: a set of items. An item is a node that takes a character, the byte state within
 * that character, and a frame: where to go on when the rule is through. A frame is a set of (node, frame) pairs,
 * one for each place that called the rule, as in generalized LL parsing (Scott & Johnstone 2010): two callers
 * share one run of the rule, so that no ambiguity multiplies the work. A call that is the last of its rule hands
 * on the frame of that rule, so that x ::= "a" x never piles up frames. Equal frames and equal states are one,
 * and a state remembers where each kind of byte leads: a text of many tokens soon meets only known states, and
 * the walk over a vocabulary costs a look-up a byte.
 *
 * No rule begins with itself (pith__grammar_check), so the rules that a state enters can be visited in the order
 * of their ranks: all callers of one are known before it is entered. Rules that may be empty are stepped over by
 * their caller; when such a rule then ends without having taken a byte, that is no news. */
#include "text.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    uint32_t node, frame, byte; /* byte: the state within the character; 0: none, the node is a token */
} match_item;

typedef struct {
    uint32_t node, frame;
} match_pair;

typedef struct {
    uint32_t first, n;   /* in the list of items, or of pairs */
    uint32_t may_end;    /* a state: 1: the text may end here */
} match_set;

typedef struct {
    uint32_t node, frame, step;
} match_visit;

typedef struct {         /* sets that are found again by what they hold */
    match_set *set;
    size_t n, room;
    uint32_t *slot;      /* open addressing: set + 1, or 0 */
    size_t slots;
} match_sets;

struct pith__matcher {
    const pith_grammar *g;
    match_sets state, frame; /* state 0 is PITH__DEAD, frame 0 the text's end */
    match_item *item;
    match_pair *pair;
    int32_t *next;       /* (state.n, n_kind) or UNKNOWN */
    size_t n_item, item_room, n_pair, pair_room, next_room;
    int32_t start;
    unsigned age;
    size_t soft;         /* bytes from which on pith__matcher_keep forgets */
    uint8_t byte[256];   /* (n_kind) one byte of each kind */
    /* scratch of one step */
    match_item *made;    /* items of the state being made */
    match_pair *todo;    /* nodes to visit, with their frames */
    match_pair *caller;  /* of rules to enter; frame: the pair's; linked by link */
    uint32_t *link;      /* (caller) the next caller of the same rule + 1 */
    uint32_t *first;     /* (n_rule) its first caller + 1, or 0 */
    uint32_t *heap;      /* rules to enter, the lowest rank on top */
    match_visit *seen;   /* (seens) what was visited in which step; open addressing */
    uint32_t step;
    size_t n_made, made_room, n_todo, todo_room, n_caller, caller_room, link_room, n_heap, heap_room, n_seen, seens;
    int may_end, entered; /* entered: the rules' frames are new, so that their ends are no news */
    int failed;
};

enum { UNKNOWN = -1, MATCH_SOFT = 8 << 20, MATCH_HARD = 48 << 20 };

/* ---- sets ------------------------------------------------------------------------------------------ */

#define MATCH_MORE(m, list, room, n) match_more((m), &(m)->list, &(m)->room, (n), sizeof *(m)->list)
static int match_more(pith__matcher *m, void *list, size_t *room, size_t n, size_t size) {
    void *old;
    memcpy(&old, list, sizeof old);
    void *more = m->failed ? NULL : pith__more(old, room, n, size);
    if (more) memcpy(list, &more, sizeof more);
    else m->failed = 1;
    return more != NULL;
}

static uint32_t mix_words(const uint32_t *p, size_t n, uint32_t h) {
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x9e3779b1u, h ^= h >> 15;
    return h;
}

/* Of words that hold a set: the set that has them, or a new one. *fresh: it is new, and its words must stay. */
static uint32_t find_set(pith__matcher *m, match_sets *s, const uint32_t *pool, size_t word, match_set want,
                         int *fresh) {
    *fresh = 0;
    if (2 * (s->n + 1) > s->slots) {
        size_t slots = s->slots ? 2 * s->slots : 64;
        uint32_t *slot = calloc(slots, sizeof *slot);
        if (!slot) return m->failed = 1, 0;
        for (uint32_t i = 0; i < s->n; i++) {
            const match_set *o = &s->set[i];
            size_t at = mix_words(pool + o->first * word, o->n * word, o->may_end) & (slots - 1);
            while (slot[at]) at = (at + 1) & (slots - 1);
            slot[at] = i + 1;
        }
        free(s->slot);
        s->slot = slot;
        s->slots = slots;
    }
    const uint32_t *words = pool + want.first * word;
    size_t at = mix_words(words, want.n * word, want.may_end) & (s->slots - 1);
    for (; s->slot[at]; at = (at + 1) & (s->slots - 1)) {
        const match_set *o = &s->set[s->slot[at] - 1];
        if (o->n == want.n && o->may_end == want.may_end &&
            (!o->n || !memcmp(pool + o->first * word, words, o->n * word * sizeof *words))) return s->slot[at] - 1;
    }
    match_set *more = pith__more(s->set, &s->room, s->n + 1, sizeof *more);
    if (!more) return m->failed = 1, 0;
    s->set = more;
    s->set[s->n] = want;
    s->slot[at] = (uint32_t)s->n + 1;
    *fresh = 1;
    return (uint32_t)s->n++;
}

static int pair_order(const void *a, const void *b) {
    const match_pair *x = a, *y = b;
    if (x->node != y->node) return x->node < y->node ? -1 : 1;
    return (x->frame > y->frame) - (x->frame < y->frame);
}

static int item_order(const void *a, const void *b) {
    const match_item *x = a, *y = b;
    if (x->node != y->node) return x->node < y->node ? -1 : 1;
    if (x->frame != y->frame) return x->frame < y->frame ? -1 : 1;
    return (x->byte > y->byte) - (x->byte < y->byte);
}

/* The frame of the n pairs behind those that are in use. */
static uint32_t frame_of(pith__matcher *m, size_t n) {
    match_pair *p = m->pair + m->n_pair;
    size_t kept = 0;
    int fresh;
    if (n > 1) qsort(p, n, sizeof *p, pair_order);
    for (size_t i = 0; i < n; i++)
        if (!kept || pair_order(&p[i], &p[kept - 1]) != 0) p[kept++] = p[i];
    match_set want = { (uint32_t)m->n_pair, (uint32_t)kept, 0 };
    uint32_t f = find_set(m, &m->frame, (const uint32_t *)m->pair, 2, want, &fresh);
    if (fresh) m->n_pair += kept;
    return f;
}

static size_t match_bytes(const pith__matcher *m) {
    return m->n_item * sizeof *m->item + m->n_pair * sizeof *m->pair +
           (m->state.n + m->frame.n) * (sizeof(match_set) + 8) + m->state.n * (size_t)m->g->n_kind * sizeof *m->next;
}

/* The state of the items made, each once. */
static int32_t state_of(pith__matcher *m) {
    int fresh;
    if (m->failed || !MATCH_MORE(m, item, item_room, m->n_item + m->n_made + 1)) return 0;
    if (m->n_made > 1) qsort(m->made, m->n_made, sizeof *m->made, item_order);
    size_t kept = m->n_made ? 1 : 0;
    for (size_t i = 1; i < m->n_made; i++)
        if (item_order(&m->made[i], &m->made[kept - 1]) != 0) m->made[kept++] = m->made[i];
    m->n_made = kept;
    if (m->n_made) memcpy(m->item + m->n_item, m->made, m->n_made * sizeof *m->made);
    match_set want = { (uint32_t)m->n_item, (uint32_t)m->n_made, (uint32_t)m->may_end };
    uint32_t state = find_set(m, &m->state, (const uint32_t *)m->item, 3, want, &fresh);
    if (!fresh || m->failed) return (int32_t)state;
    size_t kinds = (size_t)m->g->n_kind;
    m->n_item += m->n_made;
    if (!MATCH_MORE(m, next, next_room, m->state.n * kinds)) return 0;
    for (size_t i = 0; i < kinds; i++) m->next[state * kinds + i] = UNKNOWN;
    return (int32_t)state;
}

/* ---- one step -------------------------------------------------------------------------------------- */

static int grow_seen(pith__matcher *m) {
    size_t old = m->seens, slots = old ? 2 * old : 64;
    match_visit *was = m->seen, *seen = calloc(slots, sizeof *seen);
    if (!seen) return m->failed = 1, 0;
    for (size_t i = 0; i < old; i++) {
        if (was[i].step != m->step) continue;
        size_t at = mix_words(&was[i].node, 2, 0) & (slots - 1);
        while (seen[at].step == m->step) at = (at + 1) & (slots - 1);
        seen[at] = was[i];
    }
    free(was);
    m->seen = seen;
    m->seens = slots;
    return 1;
}

static void visit_later(pith__matcher *m, uint32_t node, uint32_t frame) {
    match_visit v = { node, frame, m->step };
    if (m->failed || (2 * (m->n_seen + 1) > m->seens && !grow_seen(m))) return;
    size_t at = mix_words(&v.node, 2, 0) & (m->seens - 1);
    for (; m->seen[at].step == m->step; at = (at + 1) & (m->seens - 1))
        if (m->seen[at].node == node && m->seen[at].frame == frame) return;
    if (!MATCH_MORE(m, todo, todo_room, m->n_todo + 1)) return;
    m->seen[at] = v;
    m->n_seen++;
    m->todo[m->n_todo++] = (match_pair){ node, frame };
}

static void make_item(pith__matcher *m, match_item i) {
    if (MATCH_MORE(m, made, made_room, m->n_made + 1)) m->made[m->n_made++] = i;
}

static int ranks_before(const pith__matcher *m, uint32_t a, uint32_t b) {
    return m->g->rule[a].rank < m->g->rule[b].rank;
}

static void put_heap(pith__matcher *m, uint32_t rule) {
    if (!MATCH_MORE(m, heap, heap_room, m->n_heap + 1)) return;
    size_t i = m->n_heap++;
    for (; i && ranks_before(m, rule, m->heap[(i - 1) / 2]); i = (i - 1) / 2) m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = rule;
}

static uint32_t take_heap(pith__matcher *m) {
    uint32_t top = m->heap[0], rule = m->heap[--m->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < m->n_heap; i = child) {
        if (child + 1 < m->n_heap && ranks_before(m, m->heap[child + 1], m->heap[child])) child++;
        if (!ranks_before(m, m->heap[child], rule)) break;
        m->heap[i] = m->heap[child];
    }
    m->heap[i] = rule;
    return top;
}

static void add_caller(pith__matcher *m, uint32_t rule, match_pair back) {
    if (!MATCH_MORE(m, caller, caller_room, m->n_caller + 1)) return;
    if (!MATCH_MORE(m, link, link_room, m->n_caller + 1)) return;
    if (!m->first[rule]) put_heap(m, rule);
    m->caller[m->n_caller] = back;
    m->link[m->n_caller++] = m->first[rule];
    m->first[rule] = (uint32_t)m->n_caller;
}

static void visit_call(pith__matcher *m, const pith__node *n, uint32_t frame) {
    const pith_grammar *g = m->g;
    uint32_t next = n->a;
    if (!g->rule[n->b].ends) return;
    if (g->rule[n->b].empty) visit_later(m, n->c, frame);
    while (next != PITH__RULE_END && g->node[next].kind == PITH__FORK && !g->node[next].b) next = g->node[next].a;
    if (next != PITH__RULE_END) {
        add_caller(m, n->b, (match_pair){ next, frame });
        return;
    }
    match_set f = m->frame.set[frame];
    for (uint32_t i = 0; i < f.n; i++) add_caller(m, n->b, m->pair[f.first + i]);
}

static void visit_all(pith__matcher *m) {
    const pith_grammar *g = m->g;
    while (m->n_todo > 0 && !m->failed) {
        match_pair at = m->todo[--m->n_todo];
        const pith__node *n = &g->node[at.node];
        match_set f = m->frame.set[at.frame];
        switch (n->kind) {
        case PITH__RULE_END:
            for (uint32_t i = 0; i < f.n && !m->entered; i++)
                visit_later(m, m->pair[f.first + i].node, m->pair[f.first + i].frame);
            break;
        case PITH__TEXT_END: m->may_end = 1; break;
        case PITH__CLASS: make_item(m, (match_item){ at.node, at.frame, g->cls[n->b].start }); break;
        case PITH__TOKEN: make_item(m, (match_item){ at.node, at.frame, 0 }); break;
        case PITH__CALL: visit_call(m, n, at.frame); break;
        case PITH__NOWHERE: break;
        default:
            visit_later(m, n->a, at.frame);
            if (n->b) visit_later(m, n->b, at.frame);
        }
    }
}

static void enter_rules(pith__matcher *m) {
    m->entered = 1;
    while (m->n_heap > 0 && !m->failed) {
        uint32_t rule = take_heap(m);
        size_t n = 0;
        for (uint32_t i = m->first[rule]; i; i = m->link[i - 1], n++) {
            if (!MATCH_MORE(m, pair, pair_room, m->n_pair + n + 1)) return;
            m->pair[m->n_pair + n] = m->caller[i - 1];
        }
        m->first[rule] = 0;
        visit_later(m, m->g->rule[rule].start, frame_of(m, n));
        visit_all(m);
    }
}

static void begin_step(pith__matcher *m) {
    if (!++m->step) { /* all numbers were used */
        memset(m->seen, 0, m->seens * sizeof *m->seen);
        m->step = 1;
    }
    m->n_made = m->n_todo = m->n_caller = m->n_heap = m->n_seen = 0;
    m->may_end = m->entered = 0;
}

static uint32_t edge_next(const pith_grammar *g, uint32_t state, uint8_t byte, int *found) {
    uint32_t lo = g->state[state], hi = g->state[state + 1];
    *found = 0;
    while (lo < hi) {
        uint32_t middle = (lo + hi) / 2;
        const pith__edge *e = &g->edge[middle];
        if (byte < e->from) hi = middle;
        else if (byte > e->to) lo = middle + 1;
        else return *found = 1, e->next;
    }
    return 0;
}

/* Where the state goes with a byte of the kind; it is remembered. */
static int32_t match_step(pith__matcher *m, int32_t state, int kind) {
    const pith_grammar *g = m->g;
    if (match_bytes(m) > MATCH_HARD) return PITH_EMEMORY;
    begin_step(m);
    match_set s = m->state.set[state];
    for (uint32_t i = 0; i < s.n; i++) {
        int found;
        match_item at = m->item[s.first + i];
        uint32_t next = edge_next(g, at.byte, m->byte[kind], &found);
        if (found && next) make_item(m, (match_item){ at.node, at.frame, next });
        else if (found) visit_later(m, g->node[at.node].a, at.frame);
    }
    visit_all(m);
    enter_rules(m);
    int32_t to = state_of(m);
    if (m->failed) return PITH_EMEMORY;
    return m->next[(size_t)state * (size_t)g->n_kind + (size_t)kind] = to;
}

PITH_SHARED int32_t pith__matcher_next(pith__matcher *m, int32_t state, uint8_t byte) {
    int kind = m->g->kind[byte];
    int32_t next = m->next[(size_t)state * (size_t)m->g->n_kind + (size_t)kind];
    return next != UNKNOWN ? next : match_step(m, state, kind);
}

/* The node of item i of a state, if that is a token; or NULL. */
static const pith__node *token_node(const pith__matcher *m, int32_t state, uint32_t i) {
    const pith__node *n = &m->g->node[m->item[m->state.set[state].first + i].node];
    return n->kind == PITH__TOKEN ? n : NULL;
}

PITH_SHARED int pith__matcher_named(const pith__matcher *m, int32_t state, size_t i) {
    match_set s = m->state.set[state];
    for (uint32_t k = 0; m->g->n_token && k < s.n; k++) {
        const pith__node *n = token_node(m, state, k);
        if (n && !i--) return (int)n->b;
    }
    return -1;
}

PITH_SHARED int32_t pith__matcher_token(pith__matcher *m, int32_t state, const int32_t *id, int32_t t, int32_t bytes) {
    if (bytes < 0 || pith__matcher_named(m, state, 0) < 0) return bytes;
    if (match_bytes(m) > MATCH_HARD) return PITH_EMEMORY;
    begin_step(m);
    match_set s = m->state.set[state];
    for (uint32_t i = 0; i < s.n; i++) {
        const pith__node *n = token_node(m, state, i);
        if (n && (id[n->b] == t) == !m->g->token[n->b].not) visit_later(m, n->a, m->item[s.first + i].frame);
    }
    if (!m->n_todo) return bytes;
    visit_all(m);
    enter_rules(m);
    s = m->state.set[bytes];
    for (uint32_t i = 0; i < s.n; i++) make_item(m, m->item[s.first + i]);
    m->may_end |= (int)s.may_end;
    int32_t to = state_of(m);
    return m->failed ? PITH_EMEMORY : to;
}

/* ---- the matcher ------------------------------------------------------------------------------------- */

/* State 0 is dead and frame 0 is below all others: that the text may end. */
static void begin_matcher(pith__matcher *m) {
    begin_step(m);
    state_of(m);
    if (!MATCH_MORE(m, pair, pair_room, 1)) return;
    m->pair[0] = (match_pair){ PITH__TEXT_END, 0 };
    frame_of(m, 1);
    begin_step(m);
    visit_later(m, m->g->rule[0].start, 0);
    visit_all(m);
    enter_rules(m);
    m->start = state_of(m);
}

PITH_SHARED pith__matcher *pith__matcher_new(const pith_grammar *g, pith_error *err) {
    pith__matcher *m = calloc(1, sizeof *m);
    if (m) {
        m->g = g;
        m->soft = MATCH_SOFT;
        m->first = calloc(g->n_rule, sizeof *m->first);
        m->failed = !m->first;
        for (int c = 255; c >= 0; c--) m->byte[g->kind[c]] = (uint8_t)c;
        begin_matcher(m);
    }
    if (m && !m->failed) return m;
    pith__fail(err, PITH_EMEMORY, "no memory to follow a grammar");
    pith__matcher_free(m);
    return NULL;
}

PITH_SHARED void pith__matcher_free(pith__matcher *m) {
    if (!m) return;
    free(m->state.set);
    free(m->state.slot);
    free(m->frame.set);
    free(m->frame.slot);
    free(m->item);
    free(m->pair);
    free(m->next);
    free(m->made);
    free(m->todo);
    free(m->caller);
    free(m->link);
    free(m->first);
    free(m->heap);
    free(m->seen);
    free(m);
}

PITH_SHARED int32_t pith__matcher_start(const pith__matcher *m) { return m->start; }
PITH_SHARED unsigned pith__matcher_age(const pith__matcher *m) { return m->age; }

PITH_SHARED int pith__matcher_may_end(const pith__matcher *m, int32_t state) {
    return (int)m->state.set[state].may_end;
}

PITH_SHARED int pith__matcher_may_go_on(const pith__matcher *m, int32_t state) { return m->state.set[state].n > 0; }

/* A state of one matcher in another. Frames are made from those before them, so in their order. */
static int32_t carry_state(pith__matcher *to, const pith__matcher *m, int32_t state) {
    match_set s = m->state.set[state];
    uint32_t *map = calloc(m->frame.n, sizeof *map); /* of those that are needed: 1, then the new one + 1 */
    if (!map) return to->failed = 1, 0;
    for (uint32_t i = 0; i < s.n; i++) map[m->item[s.first + i].frame] = 1;
    for (size_t f = m->frame.n; f-- > 0;)
        for (uint32_t i = 0; map[f] && i < m->frame.set[f].n; i++) map[m->pair[m->frame.set[f].first + i].frame] = 1;
    map[0] = 1;
    for (size_t f = 1; f < m->frame.n; f++) {
        match_set frame = m->frame.set[f];
        if (!map[f] || !MATCH_MORE(to, pair, pair_room, to->n_pair + frame.n)) continue;
        for (uint32_t i = 0; i < frame.n; i++) {
            match_pair p = m->pair[frame.first + i];
            to->pair[to->n_pair + i] = (match_pair){ p.node, map[p.frame] - 1 };
        }
        map[f] = frame_of(to, frame.n) + 1;
    }
    begin_step(to);
    to->may_end = (int)s.may_end;
    for (uint32_t i = 0; i < s.n; i++) {
        match_item at = m->item[s.first + i];
        make_item(to, (match_item){ at.node, map[at.frame] - 1, at.byte });
    }
    free(map);
    return state_of(to);
}

PITH_SHARED int32_t pith__matcher_keep(pith__matcher *m, int32_t state) {
    if (match_bytes(m) < m->soft) return state;
    pith__matcher *fresh = pith__matcher_new(m->g, NULL);
    int32_t same = fresh ? carry_state(fresh, m, state) : 0;
    if (!fresh || fresh->failed) { /* it goes on as it is, and asks again later */
        pith__matcher_free(fresh);
        m->soft = 2 * m->soft;
        return state;
    }
    pith__matcher old = *m;
    *m = *fresh;
    *fresh = old;
    m->age = old.age + 1;
    while (m->soft < 2 * match_bytes(m)) m->soft *= 2;
    pith__matcher_free(fresh);
    return same;
}

/* ---- in words ------------------------------------------------------------------------------------------ */

static size_t write_char(uint32_t c, char *to, size_t room) {
    if (c == '\n' || c == '\r') return (size_t)snprintf(to, room, c == '\n' ? "\\n" : "\\r");
    if (c < ' ' || c == 0x7f) return (size_t)snprintf(to, room, "\\x%02X", c);
    if (c < 0x80) return (size_t)snprintf(to, room, strchr("\\\"[]", (int)c) ? "\\%c" : "%c", (int)c);
    char utf8[5] = "";
    utf8[pith__utf8_write(c, utf8)] = 0;
    return (size_t)snprintf(to, room, "%s", utf8);
}

static size_t write_class(const pith__charset *s, const char *begin, char *to, size_t room) {
    enum { SHOWN = 12 };
    size_t n = (size_t)snprintf(to, room, "%s", begin);
    for (size_t i = 0; i < s->n && i < SHOWN && n + 16 < room; i++) {
        pith__range r = s->range[i];
        n += write_char(r.from, to + n, room - n);
        if (r.to > r.from + 1) n += (size_t)snprintf(to + n, room - n, "-");
        if (r.to > r.from) n += write_char(r.to, to + n, room - n);
    }
    return n + (size_t)snprintf(to + n, room - n, s->n > SHOWN ? "...]" : "]");
}

PITH_SHARED const char *pith__matcher_wants(const pith__matcher *m, int32_t state, char *to, size_t room) {
    const pith_grammar *g = m->g;
    match_set s = m->state.set[state];
    pith__charset all = { 0 };
    size_t n = 0, chars = 0;
    for (uint32_t i = 0; i < s.n; i++) {
        if (token_node(m, state, i)) continue;
        const pith__class *c = &g->cls[g->node[m->item[s.first + i].node].b];
        const pith__range *r = g->range + c->range;
        for (uint32_t k = 0; k < c->n_range; k++) pith__charset_add(&all, r[k].from, r[k].to);
    }
    pith__charset_tidy(&all);
    for (size_t i = 0; i < all.n; i++) chars += all.range[i].to - all.range[i].from + 1;
    *to = 0;
    if (chars == 1) {
        n = (size_t)snprintf(to, room, "\"");
        n += write_char(all.range[0].from, to + n, room - n);
        n += (size_t)snprintf(to + n, room - n, "\"");
    } else if (chars > PITH__LAST_CHAR / 2) {
        pith__charset_invert(&all);
        n = all.n ? write_class(&all, "[^", to, room) : (size_t)snprintf(to, room, "any character");
    } else if (chars) {
        n = write_class(&all, "[", to, room);
    }
    int named = pith__matcher_named(m, state, 0);
    if (named >= 0 && n < room)
        n += (size_t)snprintf(to + n, room - n, "%s%s%.*s", n ? " or " : "", g->token[named].not ? "!" : "",
                              (int)(g->token[named].name.n < 40 ? g->token[named].name.n : 40), g->token[named].name.p);
    if (s.may_end && n < room) snprintf(to + n, room - n, n ? " or the end" : "the end");
    pith__charset_free(&all);
    return to;
}

/* ---- a whole text ---------------------------------------------------------------------------------------- */

static int text_wrong(const pith__matcher *m, int32_t state, pith__str text, size_t at, pith_error *err) {
    char found[32] = "the text ends", wants[160];
    if (at < text.n) {
        uint32_t c;
        size_t k = pith__utf8_read((const uint8_t *)text.p + at, text.n - at, &c);
        snprintf(found, sizeof found, c == 0xfffd && k == 1 ? "a byte that is no UTF-8" : "\"");
        if (c != 0xfffd || k != 1) {
            k = 1 + write_char(c, found + 1, sizeof found - 1);
            snprintf(found + k, sizeof found - k, "\"");
        }
    }
    pith__matcher_wants(m, state, wants, sizeof wants);
    return pith__fail(err, PITH_EDATA, "byte %zu: %s, need %s", at, found, wants);
}

int pith_grammar_match(const pith_grammar *g, const char *text, size_t len, pith_error *err) {
    if (g->n_token)
        return pith__fail(err, PITH_EARG, "line %u of the grammar names the token %.*s, which no text tells from others",
                          g->token[0].line, (int)(g->token[0].name.n < 60 ? g->token[0].name.n : 60), g->token[0].name.p);
    pith__matcher *m = pith__matcher_new(g, err);
    pith__str all = { text, len };
    int code = m ? PITH_OK : PITH_EMEMORY;
    int32_t state = m ? m->start : PITH__DEAD, whole = state; /* whole: before the character that i is in */
    for (size_t i = 0, at = 0; i < len && !code; i++) {
        if (((uint8_t)text[i] & 0xc0) != 0x80) at = i, whole = state = pith__matcher_keep(m, state);
        state = pith__matcher_next(m, state, (uint8_t)text[i]);
        if (state < 0) code = pith__fail(err, state, "byte %zu: the grammar needs too much memory here", i);
        if (state == PITH__DEAD) code = text_wrong(m, whole, all, at, err);
    }
    if (!code && !pith__matcher_may_end(m, state)) code = text_wrong(m, state, all, len, err);
    pith__matcher_free(m);
    return code;
}

#undef MATCH_MORE
