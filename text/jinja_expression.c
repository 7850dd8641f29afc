/* jinja_expression.c - tokens -> a tree of nodes, by Jinja2's grammar: expressions.
 *
 * Each function takes what its rule says and gives a node; a failure is kept in the run, after which every token is the
 * end, so that all loops stop. How deep things stand in each other is limited here, and again where the tree is run. */
#include "jinja.h"

#include <string.h>

enum { JINJA_DEEPEST = 100 };

/* ---- tokens ------------------------------------------------------------------------------------------ */

PITH_SHARED pith__jtoken pith__j_take(pith__jparser *p) {
    pith__jtoken t = p->tok;
    p->tok = p->r->code ? (pith__jtoken){ .type = PITH__T_END } : pith__j_next_token(&p->x);
    return t;
}

static pith__jtoken jinja_peek(const pith__jparser *p) {
    pith__jlexer x = p->x;
    return p->r->code ? (pith__jtoken){ .type = PITH__T_END } : pith__j_next_token(&x);
}

PITH_SHARED int pith__j_is_word(const pith__jtoken *t, const char *s) {
    return t->type == PITH__T_WORD && t->n == strlen(s) && !memcmp(t->p, s, t->n);
}

PITH_SHARED int pith__j_is_op(const pith__jparser *p, char op) {
    return p->tok.type == PITH__T_OPERATOR && p->tok.op == op;
}

PITH_SHARED pith__jnode *pith__j_wrong(pith__jparser *p, const char *need) {
    const pith__jtoken *t = &p->tok;
    const char *shown = t->type == PITH__T_PRINT_END ? "}}" : t->type == PITH__T_BLOCK_END ? "%}" : t->p;
    int n = t->type == PITH__T_PRINT_END || t->type == PITH__T_BLOCK_END ? 2 : t->n < 40 ? (int)t->n : 40;
    if (p->r->code) return NULL;
    p->r->line = t->line;
    if (t->type != PITH__T_END) pith__j_fail(p->r, "'%.*s' where %s must be", n, shown, need);
    else if (p->block)
        pith__j_fail(p->r, "the template ends, and '%s' of line %d is not closed", p->block, p->block_line);
    else pith__j_fail(p->r, "the template ends where %s must be", need);
    return NULL;
}

PITH_SHARED int pith__j_skip_op(pith__jparser *p, char op) {
    if (!pith__j_is_op(p, op)) return 0;
    pith__j_take(p);
    return 1;
}

PITH_SHARED int pith__j_skip_word(pith__jparser *p, const char *s) {
    if (!pith__j_is_word(&p->tok, s)) return 0;
    pith__j_take(p);
    return 1;
}

PITH_SHARED void pith__j_expect_op(pith__jparser *p, char op, const char *need) {
    if (!pith__j_skip_op(p, op)) pith__j_wrong(p, need);
}

static const pith__jstr *jinja_name_of(pith__jparser *p, const pith__jtoken *t) {
    pith__jstr *s = pith__j_new(p->r, 1, sizeof *s);
    if (s) *s = (pith__jstr){ .p = t->p, .n = t->n, .hash = pith__j_hash(t->p, t->n) };
    if (s) s->plain = (uint8_t)pith__j_is_plain(s);
    return s;
}

PITH_SHARED const pith__jstr *pith__j_word(pith__jparser *p, const char *need) {
    if (p->tok.type != PITH__T_WORD) {
        pith__j_wrong(p, need);
        return NULL;
    }
    pith__jtoken t = pith__j_take(p);
    return jinja_name_of(p, &t);
}

PITH_SHARED pith__jnode *pith__j_node(pith__jparser *p, int kind, int line) {
    pith__jnode *n = pith__j_new(p->r, 1, sizeof *n);
    if (n) n->kind = (uint8_t)kind, n->line = line;
    return n;
}

/* A node with two below it; NULL once something failed. */
PITH_SHARED pith__jnode *pith__j_node_of(pith__jparser *p, int kind, int line, pith__jnode *a, pith__jnode *b) {
    pith__jnode *n = pith__j_node(p, kind, line);
    if (n) n->a = a, n->b = b;
    return n;
}

PITH_SHARED int pith__j_deeper(pith__jparser *p) { /* the caller takes one off again */
    if (++p->depth > JINJA_DEEPEST && !p->r->code) {
        p->r->line = p->tok.line;
        pith__j_fail(p->r, "more than %d things within each other", JINJA_DEEPEST);
    }
    return !p->r->code;
}

/* ---- expressions ----------------------------------------------------------------------------------- */


static pith__jnode *jinja_constant(pith__jparser *p, pith__jvalue v, int line) {
    pith__jnode *n = pith__j_node(p, PITH__T_CONST, line);
    if (n) n->value = v;
    return n;
}

static pith__jnode *jinja_number_node(pith__jparser *p) {
    pith__jtoken t = pith__j_take(p);
    pith__jvalue v = { 0 };
    if (t.type == PITH__T_INTEGER) {
        v.type = PITH__T_INT;
        int zeros = t.n > 1 && t.p[0] == '0' && t.p[1] >= '0' && t.p[1] <= '9';
        for (size_t i = 0; zeros && i < t.n; i++) zeros = t.p[i] == '0' || t.p[i] == '_' ? 1 : 2;
        if (zeros < 2 && pith__j_read_int(t.p, t.n, zeros ? 10 : 0, &v.as.i)) return jinja_constant(p, v, t.line);
    } else {
        v.type = PITH__T_FLOAT;
        if (pith__j_read_float(t.p, t.n, &v.as.f)) return jinja_constant(p, v, t.line);
    }
    p->r->line = t.line;
    pith__j_fail(p->r, "'%.*s' is no number, or too large a one", t.n < 40 ? (int)t.n : 40, t.p);
    return NULL;
}

static pith__jnode *jinja_string_node(pith__jparser *p) { /* "a" "b" is "ab" */
    int line = p->tok.line;
    p->r->line = line;
    pith__jvalue v = pith__j_unquote(p->r, &p->tok);
    for (pith__j_take(p); p->tok.type == PITH__T_QUOTED && !p->r->code; pith__j_take(p)) {
        pith__jvalue more = pith__j_unquote(p->r, &p->tok);
        if (!p->r->code) v = pith__j_concat(p->r, v, more);
    }
    pith__jstr *s = p->r->code ? NULL : pith__j_new(p->r, 1, sizeof *s);
    if (!s) return NULL;
    *s = *v.as.s;
    s->in = NULL; /* runs must not write into it */
    s->hash = pith__j_hash(s->p, s->n);
    s->plain = (uint8_t)pith__j_is_plain(s);
    if (s->marks) s->marks = NULL, s->mark = 0;
    v.as.s = s;
    return jinja_constant(p, v, line);
}

/* Items up to the closing bracket, which is taken. */
static pith__jnode *jinja_items_until(pith__jparser *p, char close) {
    pith__jnode *first = NULL, **to = &first;
    while (!pith__j_is_op(p, close) && !p->r->code) {
        if (first) pith__j_expect_op(p, ',', "',' or the end of the list");
        if (pith__j_is_op(p, close)) break;
        *to = pith__j_expression(p);
        if (close == '}' && *to) { /* a: b */
            to = &(*to)->next;
            pith__j_expect_op(p, ':', "':' behind a key");
            *to = pith__j_expression(p);
        }
        if (*to) to = &(*to)->next;
    }
    pith__j_take(p);
    return first;
}

PITH_SHARED pith__jnode *pith__j_name_node(pith__jparser *p) {
    static const struct { const char *word; int type, i; } constant[] = {
        { "true", PITH__T_BOOL, 1 }, { "True", PITH__T_BOOL, 1 }, { "false", PITH__T_BOOL, 0 },
        { "False", PITH__T_BOOL, 0 }, { "none", PITH__T_NONE, 0 }, { "None", PITH__T_NONE, 0 },
    };
    pith__jtoken t = pith__j_take(p);
    for (size_t i = 0; i < sizeof constant / sizeof *constant; i++)
        if (pith__j_is_word(&t, constant[i].word))
            return jinja_constant(p, (pith__jvalue){ .type = (uint8_t)constant[i].type, .as.i = constant[i].i },
                                  t.line);
    pith__jnode *n = pith__j_node(p, PITH__T_VARIABLE, t.line);
    if (n) n->name = jinja_name_of(p, &t);
    p->uses |= pith__j_is_word(&t, "caller") | pith__j_is_word(&t, "varargs") << 1 | pith__j_is_word(&t, "kwargs") << 2;
    return n;
}

static pith__jnode *jinja_primary(pith__jparser *p) {
    int line = p->tok.line;
    pith__jnode *n;
    switch (p->tok.type) {
    case PITH__T_WORD: return pith__j_name_node(p);
    case PITH__T_QUOTED: return jinja_string_node(p);
    case PITH__T_INTEGER: case PITH__T_FLOATING: return jinja_number_node(p);
    default: break;
    }
    if (pith__j_skip_op(p, '(')) {
        n = pith__j_tuple(p, 1, NULL, 1);
        pith__j_expect_op(p, ')', "')'");
        return n;
    }
    if (pith__j_skip_op(p, '[')) return pith__j_node_of(p, PITH__T_MAKE_LIST, line, jinja_items_until(p, ']'), NULL);
    if (pith__j_skip_op(p, '{')) return pith__j_node_of(p, PITH__T_MAKE_DICT, line, jinja_items_until(p, '}'), NULL);
    return pith__j_wrong(p, "an expression");
}

/* (a, b, c=d, *e, **f) behind its '(': a list whose nodes by name are KEYWORD, STAR and STAR_STAR. */
static pith__jnode *jinja_arguments(pith__jparser *p) {
    pith__jnode *first = NULL, **to = &first;
    int order = 0; /* 1: named ones came, 2: *e, 3: **f */
    while (!pith__j_is_op(p, ')') && !p->r->code) {
        if (first) pith__j_expect_op(p, ',', "',' or ')'");
        if (pith__j_is_op(p, ')')) break;
        int line = p->tok.line, star = pith__j_is_op(p, '*'), stars = pith__j_is_op(p, 'p'), kind = 0;
        const pith__jstr *name = NULL;
        pith__jtoken next = p->tok.type == PITH__T_WORD ? jinja_peek(p) : p->tok;
        if (star || stars) {
            pith__j_take(p);
            kind = star ? PITH__T_STAR : PITH__T_STAR_STAR;
        } else if (p->tok.type == PITH__T_WORD && next.type == PITH__T_OPERATOR && next.op == '=') {
            name = pith__j_word(p, "a name");
            pith__j_take(p);
            kind = PITH__T_KEYWORD;
        }
        int need = star ? 2 : stars ? 3 : kind ? 1 : 0;
        if (order > need || (order == need && need >= 2)) pith__j_wrong(p, "no such argument");
        order = need;
        *to = pith__j_expression(p);
        if (kind) {
            *to = pith__j_node_of(p, kind, line, *to, NULL);
            if (*to) (*to)->name = name;
        }
        if (*to) to = &(*to)->next;
    }
    pith__j_take(p);
    return first;
}

/* [b], [b:c:d], or [b, c]: a tuple. */
static pith__jnode *jinja_subscript(pith__jparser *p, pith__jnode *of) {
    int line = pith__j_take(p).line;
    pith__jnode *n = pith__j_node_of(p, PITH__T_INDEX, line, of, NULL);
    if (!n) return NULL;
    if (!pith__j_is_op(p, ':')) n->b = pith__j_expression(p);
    if (pith__j_is_op(p, ',') && n->b) {
        pith__j_take(p);
        n->b->next = jinja_items_until(p, ']');
        n->b = pith__j_node_of(p, PITH__T_MAKE_TUPLE, line, n->b, NULL);
        return n;
    }
    if (pith__j_skip_op(p, ':')) {
        n->kind = PITH__T_PART;
        if (!pith__j_is_op(p, ':') && !pith__j_is_op(p, ']')) n->c = pith__j_expression(p);
        if (pith__j_skip_op(p, ':') && !pith__j_is_op(p, ']')) n->d = pith__j_expression(p);
    }
    pith__j_expect_op(p, ']', "']'");
    return n;
}

static pith__jnode *jinja_call_node(pith__jparser *p, pith__jnode *of) {
    int line = pith__j_take(p).line;
    return pith__j_node_of(p, PITH__T_CALL, line, of, jinja_arguments(p));
}

static pith__jnode *jinja_postfix(pith__jparser *p, pith__jnode *n) {
    while (!p->r->code) {
        int line = p->tok.line;
        if (pith__j_is_op(p, '[')) {
            n = jinja_subscript(p, n);
        } else if (pith__j_is_op(p, '(')) {
            n = jinja_call_node(p, n);
        } else if (pith__j_skip_op(p, '.')) {
            if (p->tok.type == PITH__T_INTEGER) {
                n = pith__j_node_of(p, PITH__T_INDEX, line, n, jinja_number_node(p));
                continue;
            }
            n = pith__j_node_of(p, PITH__T_DOT, line, n, NULL);
            const pith__jstr *name = pith__j_word(p, "the name of an attribute");
            if (n) n->name = name;
        } else {
            break;
        }
    }
    return n;
}

static const pith__jstr *jinja_dotted_name(pith__jparser *p, const char *need) {
    const pith__jstr *name = pith__j_word(p, need);
    if (name && pith__j_is_op(p, '.')) pith__j_wrong(p, "no '.': there are no such filters");
    return name;
}

/* The function that a name stands for; unknown ones wait until they are used if an if is around them. */
static pith__jnode *jinja_named_node(pith__jparser *p, int kind, pith__jnode *a, const pith__jstr *name, int line) {
    pith__jnode *n = pith__j_node_of(p, kind, line, a, NULL);
    if (!n || !name) return n;
    n->name = name;
    n->builtin = kind == PITH__T_PIPE ? pith__j_filter(name) : pith__j_test(name);
    if (!n->builtin && !p->soft && !p->unknown) p->unknown = n;
    return n;
}

PITH_SHARED pith__jnode *pith__j_pipe(pith__jparser *p, pith__jnode *n) { /* at the name behind '|' */
    int line = p->tok.line;
    n = jinja_named_node(p, PITH__T_PIPE, n, jinja_dotted_name(p, "the name of a filter"), line);
    if (!pith__j_skip_op(p, '(')) return n;
    pith__jnode *arguments = jinja_arguments(p);
    if (n) n->b = arguments;
    return n;
}

static int jinja_begins_operand(const pith__jparser *p) {
    const pith__jtoken *t = &p->tok;
    if (t->type == PITH__T_WORD)
        return !pith__j_is_word(t, "else") && !pith__j_is_word(t, "or") && !pith__j_is_word(t, "and");
    return t->type == PITH__T_QUOTED || t->type == PITH__T_INTEGER || t->type == PITH__T_FLOATING ||
           pith__j_is_op(p, '[') || pith__j_is_op(p, '{');
}

static pith__jnode *jinja_test_node(pith__jparser *p, pith__jnode *n) { /* at what follows "is" */
    int line = p->tok.line, negated = pith__j_skip_word(p, "not");
    n = jinja_named_node(p, PITH__T_IS, n, jinja_dotted_name(p, "the name of a test"), line);
    if (pith__j_skip_op(p, '(')) {
        pith__jnode *arguments = jinja_arguments(p);
        if (n) n->b = arguments;
    } else if (jinja_begins_operand(p)) {
        if (pith__j_is_word(&p->tok, "is")) return pith__j_wrong(p, "something else: tests cannot be chained");
        pith__jnode *argument = pith__j_deeper(p) ? jinja_postfix(p, jinja_primary(p)) : NULL;
        p->depth--;
        if (n) n->b = argument;
    }
    return negated ? pith__j_node_of(p, PITH__T_NOT, line, n, NULL) : n;
}

static pith__jnode *jinja_unary(pith__jparser *p, int filters) {
    int line = p->tok.line;
    pith__jnode *n;
    if (!pith__j_deeper(p)) {
        p->depth--;
        return NULL;
    }
    if (pith__j_is_op(p, '-') || pith__j_is_op(p, '+')) {
        char op = pith__j_take(p).op;
        n = pith__j_node_of(p, PITH__T_SIGN, line, jinja_unary(p, 0), NULL);
        if (n) n->op = (uint8_t)op;
    } else {
        n = jinja_primary(p);
    }
    n = jinja_postfix(p, n);
    while (filters && !p->r->code) {
        if (pith__j_skip_op(p, '|')) n = pith__j_pipe(p, n);
        else if (pith__j_skip_word(p, "is")) n = jinja_test_node(p, n);
        else if (pith__j_is_op(p, '(')) n = jinja_call_node(p, n);
        else break;
    }
    p->depth--;
    return n;
}

/* or 1, and 2, not 3, comparisons 4, + - 5, ~ 6, * / // % 7, ** 8; 0: no operator. */
static int jinja_level(const pith__jparser *p, int *op) {
    *op = 0;
    if (p->tok.type == PITH__T_WORD) {
        if (pith__j_is_word(&p->tok, "or")) return 1;
        if (pith__j_is_word(&p->tok, "and")) return 2;
        if (pith__j_is_word(&p->tok, "in")) return *op = 'i', 4;
        if (!pith__j_is_word(&p->tok, "not")) return 0;
        pith__jtoken next = jinja_peek(p);
        return pith__j_is_word(&next, "in") ? *op = 'o', 4 : 0;
    }
    if (p->tok.type != PITH__T_OPERATOR) return 0;
    *op = p->tok.op;
    if (strchr("en<>lg", *op)) return 4;
    if (strchr("+-", *op)) return 5;
    return *op == '~' ? 6 : strchr("*/f%", *op) ? 7 : *op == 'p' ? 8 : 0;
}

/* a < b <= c: a list of operands, each with the operator before it. */
static pith__jnode *jinja_comparison(pith__jparser *p, pith__jnode *left) {
    int op;
    pith__jnode *n = pith__j_node_of(p, PITH__T_COMPARE, p->tok.line, left, NULL), **to = n ? &n->b : NULL;
    while (to && !p->r->code && jinja_level(p, &op) == 4) {
        int line = pith__j_take(p).line;
        if (op == 'o') pith__j_take(p);
        *to = pith__j_node_of(p, PITH__T_COMPARE, line, pith__j_binary(p, 5), NULL);
        if (*to) (*to)->op = (uint8_t)op, to = &(*to)->next;
    }
    return n;
}

PITH_SHARED pith__jnode *pith__j_binary(pith__jparser *p, int level) {
    int op, at;
    pith__jnode *left;
    if (!pith__j_deeper(p)) {
        p->depth--;
        return NULL;
    }
    if (level <= 3 && pith__j_is_word(&p->tok, "not")) {
        int line = pith__j_take(p).line;
        left = pith__j_node_of(p, PITH__T_NOT, line, pith__j_binary(p, 3), NULL);
    } else {
        left = jinja_unary(p, 1);
    }
    while (!p->r->code && (at = jinja_level(p, &op)) >= level && at) {
        if (at == 4) {
            left = jinja_comparison(p, left);
            continue;
        }
        int line = pith__j_take(p).line, kind = at == 1 ? PITH__T_OR : at == 2 ? PITH__T_AND : PITH__T_BINARY;
        if (at == 6) kind = PITH__T_JOIN;
        left = pith__j_node_of(p, kind, line, left, pith__j_binary(p, at + 1));
        if (left) left->op = (uint8_t)op;
    }
    p->depth--;
    return left;
}

PITH_SHARED pith__jnode *pith__j_expression(pith__jparser *p) { /* a if b else c: b, a, c */
    if (!pith__j_deeper(p)) {
        p->depth--;
        return NULL;
    }
    int soft = p->soft;
    pith__jnode *unknown = p->unknown, *n = pith__j_binary(p, 1);
    while (!p->r->code && pith__j_is_word(&p->tok, "if")) {
        int line = pith__j_take(p).line;
        p->unknown = unknown;
        p->soft = 1;
        pith__jnode *choice = pith__j_node_of(p, PITH__T_CHOICE, line, pith__j_binary(p, 1), n);
        if (pith__j_skip_word(p, "else")) {
            pith__jnode *other = pith__j_expression(p);
            if (choice) choice->c = other;
        }
        n = choice;
    }
    p->soft = soft;
    p->depth--;
    return n;
}

/* a, b: a tuple; one expression is that. choice 0: no "a if b". end: a word that ends it, or NULL. */
PITH_SHARED pith__jnode *pith__j_tuple(pith__jparser *p, int choice, const char *end, int parentheses) {
    int line = p->tok.line, is_tuple = 0;
    pith__jnode *first = NULL, **to = &first;
    while (!p->r->code) {
        if (first) pith__j_expect_op(p, ',', "','");
        if (p->tok.type == PITH__T_PRINT_END || p->tok.type == PITH__T_BLOCK_END || pith__j_is_op(p, ')')) break;
        if (end && pith__j_is_word(&p->tok, end)) break;
        *to = choice ? pith__j_expression(p) : pith__j_binary(p, 1);
        if (*to) to = &(*to)->next;
        if (!pith__j_is_op(p, ',')) break;
        is_tuple = 1;
    }
    if (!is_tuple && first) return first;
    if (!is_tuple && !parentheses) return pith__j_wrong(p, "an expression");
    return pith__j_node_of(p, PITH__T_MAKE_TUPLE, line, first, NULL);
}
