/* grammar.c - what a grammar may not be, and in which order its rules stand.
 *
 * Of every rule it finds out whether it may be empty, whether any text is through it, and what it may begin with.
 * A rule that begins with itself (left recursion) and a repetition of nothing are refused: the matcher would go
 * round there without an end. Nothing here recurses: a grammar may have many thousand rules. */
#include "text.h"

#include <stdlib.h>

/* ---- what a grammar may not be -------------------------------------------------------------------- */

typedef struct {
    pith_grammar *g;
    uint32_t *seen;      /* (n_node) the number of the walk that was here last */
    uint32_t *todo;      /* (2 n_node + 2) nodes to visit */
    uint32_t *call;      /* (n_node + 1) rules that walks have found, one behind the other */
    size_t n_call;
    uint32_t walks;
    uint32_t *from, *user; /* user[from[i] .. from[i + 1]) are the rules that call rule i */
    uint32_t *queue;     /* (n_rule) */
    uint8_t *mark;       /* (n_rule) */
} grammar_check;

enum { BY_EMPTY, BY_ENDING, BY_ALL }; /* which nodes a walk passes: those that may take nothing, that end, all */

typedef struct {
    int end, takes;      /* 1: it came to the rule's end; to something that takes characters */
} walk_result;

/* From node first through its rule, not beyond node stop; the rules that are called go to c->call. */
static walk_result walk_rule(grammar_check *c, uint32_t first, uint32_t stop, int by) {
    const pith_grammar *g = c->g;
    walk_result result = { 0, 0 };
    size_t n = 0;
    c->walks++;
    c->todo[n++] = first;
    while (n > 0) {
        uint32_t at = c->todo[--n];
        const pith__node *node = &g->node[at];
        if (at == PITH__RULE_END) result.end = 1;
        if (at == PITH__RULE_END || at == stop || c->seen[at] == c->walks) continue;
        c->seen[at] = c->walks;
        if (node->kind == PITH__FORK || node->kind == PITH__LOOP) {
            c->todo[n++] = node->a;
            if (node->b) c->todo[n++] = node->b;
        } else if (node->kind == PITH__CLASS) {
            int some = g->cls[node->b].n_range > 0;
            result.takes |= some;
            if (by == BY_ALL || (by == BY_ENDING && some)) c->todo[n++] = node->a;
        } else if (node->kind == PITH__TOKEN) {
            result.takes = 1;
            if (by != BY_EMPTY) c->todo[n++] = node->a;
        } else if (node->kind == PITH__CALL) {
            const pith__rule *rule = &g->rule[node->b];
            result.takes |= rule->takes;
            c->call[c->n_call++] = node->b;
            if (by == BY_ALL || (by == BY_ENDING ? rule->ends : rule->empty))
                c->todo[n++] = by == BY_EMPTY ? node->c : node->a;
        }
    }
    return result;
}

static int begin_check(grammar_check *c, pith_grammar *g) {
    *c = (grammar_check){ .g = g };
    c->seen = calloc(g->n_node, sizeof *c->seen);
    c->todo = malloc((2 * g->n_node + 2) * sizeof *c->todo);
    c->call = malloc((g->n_node + 1) * sizeof *c->call);
    c->from = calloc(g->n_rule + 2, sizeof *c->from);
    c->user = malloc((g->n_node + 1) * sizeof *c->user);
    c->queue = malloc(g->n_rule * sizeof *c->queue);
    c->mark = calloc(g->n_rule, 1);
    return c->seen && c->todo && c->call && c->from && c->user && c->queue && c->mark;
}

static void end_check(grammar_check *c) {
    free(c->seen);
    free(c->todo);
    free(c->call);
    free(c->from);
    free(c->user);
    free(c->queue);
    free(c->mark);
}

/* Who calls whom. */
static void find_users(grammar_check *c) {
    const pith_grammar *g = c->g;
    for (int pass = 0; pass < 2; pass++) { /* counted, then filled from the back */
        for (uint32_t i = 0; i < g->n_rule; i++) {
            c->n_call = 0;
            walk_rule(c, g->rule[i].start, 0, BY_ALL);
            for (size_t k = 0; k < c->n_call; k++) {
                if (pass == 0) c->from[c->call[k]]++;
                else c->user[--c->from[c->call[k]]] = i;
            }
        }
        for (size_t i = 0; pass == 0 && i <= g->n_rule; i++) c->from[i + 1] += c->from[i];
    }
    c->n_call = 0;
}

/* What is true of more rules, the more rules it is true of: asked anew when it came true of one that is called. */
static void spread(grammar_check *c, int by) {
    pith_grammar *g = c->g;
    size_t first = 0, n = g->n_rule;
    for (uint32_t i = 0; i < g->n_rule; i++) c->queue[i] = (uint32_t)g->n_rule - 1 - i, c->mark[i] = 1;
    for (; n > 0; n--, first = (first + 1) % g->n_rule) {
        uint32_t at = c->queue[first];
        pith__rule *rule = &g->rule[at];
        uint8_t *is = by == BY_EMPTY ? &rule->empty : by == BY_ENDING ? &rule->ends : &rule->takes;
        c->mark[at] = 0;
        c->n_call = 0;
        walk_result found = *is ? (walk_result){ 0, 0 } : walk_rule(c, rule->start, 0, by);
        if (!(by == BY_ALL ? found.takes : found.end)) continue;
        *is = 1;
        for (uint32_t k = c->from[at]; k < c->from[at + 1]; k++) {
            uint32_t user = c->user[k];
            if (c->mark[user]) continue;
            c->mark[user] = 1;
            c->queue[(first + n++) % g->n_rule] = user;
        }
    }
    c->n_call = 0;
}

static int rule_wrong(const pith__rule *rule, const char *what, pith_error *err) {
    return pith__fail(err, PITH_EDATA, "grammar: line %u: rule '%.*s' %s", rule->line,
                      (int)(rule->name.n < 60 ? rule->name.n : 60), rule->name.p, what);
}

typedef struct { /* a rule on the way from the first one to where the search is */
    uint32_t rule, from; /* its calls that are left: c->call[from .. n_call of the next) */
} rank_step;

/* Ranks: depth first, and a rule has its rank once all that it begins with have theirs. */
static int rank_rules(grammar_check *c, pith_error *err) {
    enum { NEW, OPEN, DONE };
    pith_grammar *g = c->g;
    uint32_t rank = (uint32_t)g->n_rule;
    rank_step *step = malloc((g->n_rule + 1) * sizeof *step);
    int code = step ? PITH_OK : pith__fail(err, PITH_EMEMORY, "no memory for a grammar");
    for (uint32_t root = 0; root < g->n_rule && !code; root++) {
        size_t depth = 0;
        uint32_t next = root;
        if (c->mark[root] != NEW) continue;
        for (;;) {
            if (c->mark[next] == NEW) {
                c->mark[next] = OPEN;
                step[depth++] = (rank_step){ next, (uint32_t)c->n_call };
                walk_rule(c, g->rule[next].start, 0, BY_EMPTY);
            } else if (c->mark[next] == OPEN) {
                code = rule_wrong(&g->rule[next], "begins with itself (left recursion)", err);
                break;
            }
            while (depth && c->n_call == step[depth - 1].from) {
                uint32_t done = step[--depth].rule;
                c->mark[done] = DONE;
                g->rule[done].rank = rank--;
            }
            if (!depth) break;
            next = c->call[--c->n_call];
        }
    }
    free(step);
    return code;
}

static int check_loops(grammar_check *c, pith_error *err) {
    const pith_grammar *g = c->g;
    for (uint32_t i = 0; i < g->n_node; i++) {
        if (g->node[i].kind != PITH__LOOP) continue;
        c->n_call = 0;
        if (!walk_rule(c, g->node[i].a, i, BY_ALL).takes)
            return rule_wrong(&g->rule[g->node[i].c], "repeats something that is always empty", err);
    }
    return PITH_OK;
}

/* The nodes that a node goes on to, if some text is through it: up to 2. */
static int node_next(const pith_grammar *g, const pith__node *n, uint32_t to[2]) {
    int is_call = n->kind == PITH__CALL, k = 0;
    if (n->kind < PITH__FORK || n->kind == PITH__NOWHERE) return 0;
    if (n->kind == PITH__CLASS && !g->cls[n->b].n_range) return 0;
    if (is_call && !g->rule[n->b].ends) return 0;
    to[k++] = n->a;
    if (is_call && g->rule[n->b].empty) to[k++] = n->c;
    if ((n->kind == PITH__FORK || n->kind == PITH__LOOP) && n->b) to[k++] = n->b;
    return k;
}

/* Nodes from which the rule's end cannot be reached lead nowhere: the matcher must not go there, since no text
 * would come of it. Found backwards, from the end. */
static int cut_nodes(grammar_check *c, pith_error *err) {
    pith_grammar *g = c->g;
    uint32_t *from = calloc(g->n_node + 2, sizeof *from), *user = malloc((2 * g->n_node + 1) * sizeof *user), to[2];
    size_t n = 0;
    if (!from || !user) {
        free(from);
        free(user);
        return pith__fail(err, PITH_EMEMORY, "no memory for a grammar");
    }
    for (int pass = 0; pass < 2; pass++) { /* who leads to whom: counted, then filled from the back */
        for (uint32_t i = 0; i < g->n_node; i++)
            for (int k = node_next(g, &g->node[i], to); k-- > 0;) {
                if (pass == 0) from[to[k]]++;
                else user[--from[to[k]]] = i;
            }
        for (size_t i = 0; pass == 0 && i <= g->n_node; i++) from[i + 1] += from[i];
    }
    c->walks++;
    c->todo[n++] = PITH__RULE_END;
    c->seen[PITH__RULE_END] = c->seen[PITH__TEXT_END] = c->walks;
    while (n > 0) {
        uint32_t at = c->todo[--n];
        for (uint32_t k = from[at]; k < from[at + 1]; k++)
            if (c->seen[user[k]] != c->walks) c->seen[user[k]] = c->walks, c->todo[n++] = user[k];
    }
    for (size_t i = 0; i < g->n_node; i++)
        if (c->seen[i] != c->walks) g->node[i].kind = PITH__NOWHERE;
    free(from);
    free(user);
    return PITH_OK;
}

PITH_SHARED int pith__grammar_check(pith_grammar *g, pith_error *err) {
    grammar_check c;
    int code = begin_check(&c, g) ? PITH_OK : pith__fail(err, PITH_EMEMORY, "no memory for a grammar");
    if (!code) {
        find_users(&c);
        spread(&c, BY_ALL);
        spread(&c, BY_EMPTY);
        spread(&c, BY_ENDING);
        code = check_loops(&c, err);
    }
    c.n_call = 0;
    if (!code) code = rank_rules(&c, err);
    if (!code && !g->rule[0].ends) code = rule_wrong(&g->rule[0], "has no text that ends", err);
    if (!code) code = cut_nodes(&c, err);
    end_check(&c);
    return code;
}
