/* jinja_parse.c - a template -> a tree of nodes: statements, and the text between them. */
#include "jinja.h"

#include <string.h>

/* ---- targets: what a value goes to ----------------------------------------------------------------- */

/* a name; with attribute, also name.attribute; or targets in parentheses. */
static pith__jnode *jinja_targets(pith__jparser *p, int attribute, const char *end);

static pith__jnode *jinja_target(pith__jparser *p, int attribute) {
    if (pith__j_skip_op(p, '(')) {
        pith__jnode *n = pith__j_deeper(p) ? jinja_targets(p, attribute, NULL) : NULL;
        p->depth--;
        pith__j_expect_op(p, ')', "')'");
        return n;
    }
    if (p->tok.type != PITH__T_WORD) return pith__j_wrong(p, "a name");
    pith__jnode *n = pith__j_name_node(p);
    if (n && n->kind != PITH__T_VARIABLE) return pith__j_wrong(p, "a value is not assigned to, but a name");
    if (n && attribute && pith__j_skip_op(p, '.')) {
        n->kind = PITH__T_NS_TARGET;
        n->value = (pith__jvalue){ .type = PITH__T_STR, .as.s = pith__j_word(p, "the name of an attribute") };
    }
    return n;
}

static pith__jnode *jinja_targets(pith__jparser *p, int attribute, const char *end) {
    int line = p->tok.line, is_tuple = 0;
    pith__jnode *first = NULL, **to = &first;
    while (!p->r->code) {
        if (first) pith__j_expect_op(p, ',', "','");
        if (first && ((end && pith__j_is_word(&p->tok, end)) || p->tok.type != PITH__T_WORD)) {
            if (!pith__j_is_op(p, '(')) break;
        }
        *to = jinja_target(p, attribute);
        if (*to) to = &(*to)->next;
        if (!pith__j_is_op(p, ',')) break;
        is_tuple = 1;
    }
    return is_tuple ? pith__j_node_of(p, PITH__T_MAKE_TUPLE, line, first, NULL) : first;
}

/* ---- statements ------------------------------------------------------------------------------------ */

static pith__jnode *jinja_statements(pith__jparser *p, const char *const *ends);

/* What stands before one of the words, which is the next token then. */
static pith__jnode *jinja_body(pith__jparser *p, const char *block, int line, const char *const *ends) {
    const char *before = p->block;
    int line_before = p->block_line;
    pith__j_skip_op(p, ':');
    if (p->tok.type != PITH__T_BLOCK_END) return pith__j_wrong(p, "%}");
    p->block = block;
    p->block_line = line;
    pith__j_take(p);
    pith__jnode *n = jinja_statements(p, ends);
    p->block = before;
    p->block_line = line_before;
    return n;
}

/* A body with a scope of its own, to its end, which is taken. */
static pith__jnode *jinja_inner(pith__jparser *p, const char *block, int line, const char *end, int same_loops) {
    const char *const ends[] = { end, NULL };
    int soft = p->soft, loops = p->loops;
    p->soft = 0;
    if (!same_loops) p->loops = 0;
    pith__jnode *n = jinja_body(p, block, line, ends);
    pith__j_take(p);
    p->soft = soft;
    p->loops = loops;
    return n;
}

static pith__jnode *jinja_if(pith__jparser *p, int line) {
    static const char *const ends[] = { "elif", "else", "endif", NULL }, *const last[] = { "endif", NULL };
    int soft = p->soft;
    pith__jnode *first = NULL, **to = &first;
    p->soft = 1;
    do {
        pith__jnode *test = pith__j_tuple(p, 0, NULL, 0), *body = jinja_body(p, "if", line, ends);
        *to = pith__j_node_of(p, PITH__T_IF, line, test, body);
        if (*to) to = &(*to)->c;
        line = p->tok.line;
    } while (pith__j_skip_word(p, "elif") && !p->r->code);
    if (pith__j_skip_word(p, "else")) {
        pith__jnode *body = jinja_body(p, "if", line, last);
        *to = pith__j_node_of(p, PITH__T_SCOPE, line, body, NULL);
        if (*to) (*to)->op = 1; /* no scope of its own */
    }
    pith__j_take(p);
    p->soft = soft;
    return first;
}

static pith__jnode *jinja_for(pith__jparser *p, int line) {
    static const char *const ends[] = { "else", "endfor", NULL };
    int soft = p->soft;
    pith__jnode *target = jinja_targets(p, 0, "in");
    if (!pith__j_skip_word(p, "in")) pith__j_wrong(p, "'in'");
    pith__jnode *n = pith__j_node_of(p, PITH__T_FOR, line, target, pith__j_tuple(p, 0, "recursive", 0));
    p->soft = 0;
    pith__jnode *test = pith__j_skip_word(p, "if") ? pith__j_expression(p) : NULL, *other = NULL;
    int recursive = pith__j_skip_word(p, "recursive");
    p->loops++;
    pith__jnode *body = jinja_body(p, "for", line, ends);
    p->loops--;
    if (pith__j_skip_word(p, "else")) other = jinja_inner(p, "for", line, "endfor", 1);
    else pith__j_take(p);
    p->soft = soft;
    pith__jnode *bodies = pith__j_node_of(p, PITH__T_SCOPE, line, body, other);
    if (n) n->c = test, n->d = bodies, n->op = (uint8_t)recursive;
    return n;
}

static pith__jnode *jinja_filter_chain(pith__jparser *p, int line) { /* of the text of a block, at the first name */
    pith__jnode *n = pith__j_pipe(p, pith__j_node(p, PITH__T_THE_BLOCK, line));
    while (pith__j_skip_op(p, '|')) n = pith__j_pipe(p, n);
    return n;
}

static pith__jnode *jinja_set(pith__jparser *p, int line) {
    pith__jnode *target = jinja_targets(p, 1, NULL);
    if (pith__j_skip_op(p, '=')) return pith__j_node_of(p, PITH__T_SETTO, line, target, pith__j_tuple(p, 1, NULL, 0));
    int soft = p->soft;
    p->soft = 0;
    pith__jnode *chain = pith__j_skip_op(p, '|') ? jinja_filter_chain(p, line) : NULL;
    p->soft = soft;
    pith__jnode *n = pith__j_node_of(p, PITH__T_SET_BLOCK, line, target, chain),
        *body = jinja_inner(p, "set", line, "endset", 1);
    if (n) n->c = body;
    return n;
}

/* (a, b=1) of a macro: variables, with the default below each that has one. */
static pith__jnode *jinja_parameters(pith__jparser *p) {
    pith__jnode *first = NULL, **to = &first;
    int soft = p->soft, has_default = 0;
    p->soft = 0;
    pith__j_expect_op(p, '(', "'('");
    while (!pith__j_is_op(p, ')') && !p->r->code) {
        if (first) pith__j_expect_op(p, ',', "','");
        if (p->tok.type != PITH__T_WORD) return pith__j_wrong(p, "a name");
        *to = pith__j_name_node(p);
        if (*to && (*to)->kind != PITH__T_VARIABLE) return pith__j_wrong(p, "a name");
        if (pith__j_skip_op(p, '=')) {
            pith__jnode *value = pith__j_expression(p);
            if (*to) (*to)->a = value;
            has_default = 1;
        } else if (has_default) {
            return pith__j_wrong(p, "'=', as the parameter before it has a default,");
        }
        if (*to) to = &(*to)->next;
    }
    pith__j_take(p);
    p->soft = soft;
    return first;
}

static pith__jnode *jinja_macro(pith__jparser *p, int line) {
    const pith__jstr *name = pith__j_word(p, "the name of the macro");
    pith__jnode *n = pith__j_node_of(p, PITH__T_DEFINE, line, jinja_parameters(p), NULL);
    int uses = p->uses;
    p->uses = 0;
    pith__jnode *body = jinja_inner(p, "macro", line, "endmacro", 0);
    if (n) n->b = body, n->name = name, n->op = (uint8_t)p->uses;
    p->uses |= uses;
    return n;
}

static pith__jnode *jinja_call_block(pith__jparser *p, int line) {
    pith__jnode *parameters = pith__j_is_op(p, '(') ? jinja_parameters(p) : NULL, *call = pith__j_expression(p);
    if (call && call->kind != PITH__T_CALL) return pith__j_wrong(p, "no %} yet: the call of a macro");
    pith__jnode *n = pith__j_node_of(p, PITH__T_CALL_BLOCK, line, call, parameters),
        *body = jinja_inner(p, "call", line, "endcall", 0);
    if (n) n->c = body;
    return n;
}

static pith__jnode *jinja_with(pith__jparser *p, int line) {
    pith__jnode *first = NULL, **to = &first;
    while (p->tok.type != PITH__T_BLOCK_END && !p->r->code) {
        if (first) pith__j_expect_op(p, ',', "','");
        pith__jnode *target = jinja_target(p, 0);
        pith__j_expect_op(p, '=', "'='");
        *to = pith__j_node_of(p, PITH__T_SETTO, line, target, pith__j_expression(p));
        if (*to) to = &(*to)->next;
    }
    return pith__j_node_of(p, PITH__T_WITH, line, first, jinja_inner(p, "with", line, "endwith", 1));
}

static pith__jnode *jinja_filter_block(pith__jparser *p, int line) {
    int soft = p->soft;
    p->soft = 0;
    pith__jnode *chain = jinja_filter_chain(p, line);
    p->soft = soft;
    return pith__j_node_of(p, PITH__T_FILTER_BLOCK, line, chain, jinja_inner(p, "filter", line, "endfilter", 1));
}

static pith__jnode *jinja_block(pith__jparser *p,
                                int line) { /* a template without children writes it where it stands */
    const pith__jstr *name = pith__j_word(p, "the name of the block");
    while (pith__j_skip_word(p, "scoped") || pith__j_skip_word(p, "required")) continue;
    pith__jnode *n = pith__j_node_of(p, PITH__T_SCOPE, line, jinja_inner(p, "block", line, "endblock", 0), NULL);
    if (n) n->op = 2, n->name = name;
    if (name && p->tok.type == PITH__T_WORD && p->tok.n == name->n && !memcmp(p->tok.p, name->p, name->n))
        pith__j_take(p);
    return n;
}

static pith__jnode *jinja_autoescape(pith__jparser *p, int line) {
    if (!pith__j_skip_word(p, "false") && !pith__j_skip_word(p, "False"))
        return pith__j_wrong(p, "false, the only autoescape there is,");
    return pith__j_node_of(p, PITH__T_SCOPE, line, jinja_inner(p, "autoescape", line, "endautoescape", 1), NULL);
}

static pith__jnode *jinja_loop_control(pith__jparser *p, int kind, int line) {
    if (p->loops) return pith__j_node(p, kind, line);
    p->r->line = line;
    pith__j_fail(p->r, "%s outside of a loop", kind == PITH__T_BREAK ? "break" : "continue");
    return NULL;
}

static pith__jnode *jinja_print(pith__jparser *p, int line) {
    pith__jnode *first = NULL, **to = &first;
    while (p->tok.type != PITH__T_BLOCK_END && !p->r->code) {
        if (first) pith__j_expect_op(p, ',', "','");
        *to = pith__j_node_of(p, PITH__T_PRINT, line, pith__j_expression(p), NULL);
        if (*to) to = &(*to)->next;
    }
    return pith__j_node_of(p, PITH__T_SCOPE, line, first, NULL);
}

static pith__jnode *jinja_statement(pith__jparser *p) {
    int line = p->tok.line;
    pith__jtoken word = p->tok;
    if (word.type != PITH__T_WORD) return pith__j_wrong(p, "the name of a statement");
    pith__j_take(p);
    if (pith__j_is_word(&word, "if")) return jinja_if(p, line);
    if (pith__j_is_word(&word, "for")) return jinja_for(p, line);
    if (pith__j_is_word(&word, "set")) return jinja_set(p, line);
    if (pith__j_is_word(&word, "macro")) return jinja_macro(p, line);
    if (pith__j_is_word(&word, "call")) return jinja_call_block(p, line);
    if (pith__j_is_word(&word, "filter")) return jinja_filter_block(p, line);
    if (pith__j_is_word(&word, "with")) return jinja_with(p, line);
    if (pith__j_is_word(&word, "block")) return jinja_block(p, line);
    if (pith__j_is_word(&word, "print")) return jinja_print(p, line);
    if (pith__j_is_word(&word, "autoescape")) return jinja_autoescape(p, line);
    if (pith__j_is_word(&word, "break")) return jinja_loop_control(p, PITH__T_BREAK, line);
    if (pith__j_is_word(&word, "continue")) return jinja_loop_control(p, PITH__T_CONTINUE, line);
    if (pith__j_is_word(&word, "generation"))
        return pith__j_node_of(p, PITH__T_GENERATED, line, jinja_inner(p, "generation", line, "endgeneration", 0),
                               NULL);
    p->r->line = line;
    if (p->block)
        pith__j_fail(p->r, "there is no statement '%.*s' here; '%s' of line %d is not closed", word.n < 40
                     ? (int)word.n : 40, word.p, p->block, p->block_line);
    else pith__j_fail(p->r, "there is no statement '%.*s' in chat templates", word.n < 40 ? (int)word.n : 40, word.p);
    return NULL;
}

static int jinja_is_end(const pith__jparser *p, const char *const *ends) {
    while (ends && *ends && !pith__j_is_word(&p->tok, *ends)) ends++;
    return ends && *ends;
}

static pith__jnode *jinja_statements(pith__jparser *p, const char *const *ends) {
    pith__jnode *first = NULL, **to = &first;
    pith__j_deeper(p);
    while (p->tok.type != PITH__T_END && !p->r->code) {
        int line = p->tok.line;
        pith__jtoken t = pith__j_take(p);
        if (t.type == PITH__T_DATA) {
            *to = pith__j_node(p, PITH__T_TEXT, line);
            if (*to) (*to)->value = pith__j_text(p->r, t.p, t.n, 0);
        } else if (t.type == PITH__T_PRINT_BEGIN) {
            *to = pith__j_node_of(p, PITH__T_PRINT, line, pith__j_tuple(p, 1, NULL, 0), NULL);
            if (p->tok.type != PITH__T_PRINT_END) pith__j_wrong(p, "}}");
            pith__j_take(p);
        } else {
            if (jinja_is_end(p, ends)) {
                p->depth--;
                return first;
            }
            *to = jinja_statement(p);
            if (p->tok.type != PITH__T_BLOCK_END) pith__j_wrong(p, "%}");
            pith__j_take(p);
        }
        if (*to) to = &(*to)->next;
    }
    p->depth--;
    if (ends) pith__j_wrong(p, "the end of a block");
    return first;
}

/* Line breaks become "\n", and one at the end is dropped. */
static char *jinja_normal(pith__jrun *r, const char *text, size_t *n) {
    char *to = pith__j_new(r, *n + 1, 1);
    size_t m = 0;
    for (size_t i = 0; to && i < *n; i++) {
        to[m++] = text[i] == '\r' ? '\n' : text[i];
        if (text[i] == '\r' && i + 1 < *n && text[i + 1] == '\n') i++;
    }
    if (m && to[m - 1] == '\n') m--;
    *n = m;
    return to;
}

PITH_SHARED pith__jnode *pith__j_parse(pith__jrun *r, const char *text, size_t n) {
    pith__jparser p = { .r = r, .x = { .r = r, .line = 1, .line_begins = 1 } };
    p.x.p = jinja_normal(r, text, &n);
    p.x.n = n;
    if (r->code) return NULL;
    pith__j_take(&p);
    pith__jnode *first = jinja_statements(&p, NULL);
    if (p.unknown && !r->code) {
        const pith__jstr *name = p.unknown->name;
        r->line = p.unknown->line;
        pith__j_fail(r, "there is no %s named '%.*s'", p.unknown->kind == PITH__T_PIPE ? "filter" : "test",
                     pith__j_shown(name), name->p);
    }
    return r->code ? NULL : first;
}
