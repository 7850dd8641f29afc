/* gbnf.c - reads GBNF, the form in which llama.cpp writes grammars.
 *
 *     root  ::= item ("," item)*      # a rule: a name, ::=, alternatives with | between
 *     item  ::= [a-z]+ | "x\n" | .{2,3} | <think> | !<[7]>
 *
 * A rule becomes a graph of nodes (text.h). A line break ends a rule, but not in parentheses and not after |
 * or ::=. What stands more than twice by a count is one rule of its own that is called as often. Classes are
 * sets of characters; the bytes of their UTF-8 are a little automaton, so that a text can be followed byte by
 * byte. What a grammar may not be is found in grammar.c. */
#include "text.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_COUNT = 2000, MOST_NODES = 1 << 20, MOST_NESTED = 500, NO_LIMIT = -1 };

typedef struct {         /* a part of a rule: nodes from first on; last goes on to what comes behind */
    uint32_t first, last;
} gbnf_part;

typedef struct {
    const char *p, *end;
    const char *counted; /* line breaks before it are counted */
    int line;
    pith_grammar *g;
    pith_error *err;
    int code;            /* of the first error */
    unsigned flags;
    uint32_t rule;       /* the one being read */
    int nested;
    uint32_t *slot;      /* names: open addressing, rule + 1 or 0 */
    size_t slots;
    uint32_t *known;     /* classes, the same way */
    size_t knowns;
} gbnf_reader;

/* ---- errors and memory --------------------------------------------------------------------------- */

static int gbnf_line(gbnf_reader *r) {
    for (; r->counted < r->p; r->counted++) r->line += *r->counted == '\n';
    return r->line;
}

static void gbnf_step(gbnf_reader *r) { r->p += r->p < r->end; }

static void gbnf_wrong(gbnf_reader *r, const char *what) {
    if (r->code) return;
    pith__str name = { "", 0 };
    if (r->rule < r->g->n_rule) name = r->g->rule[r->rule].name;
    r->code = pith__fail(r->err, PITH_EDATA, "grammar: line %d: rule '%.*s': %s", gbnf_line(r),
                         (int)(name.n < 60 ? name.n : 60), name.p, what);
    r->p = r->end;
}

static void gbnf_no_memory(gbnf_reader *r) {
    if (!r->code) r->code = pith__fail(r->err, PITH_EMEMORY, "no memory for a grammar");
    r->p = r->end;
}

/* One more item at the end of a list of the grammar; 0: none. */
#define GBNF_MORE(r, list) \
    gbnf_more((r), &(r)->g->list, (r)->g->n_##list + 2, &(r)->g->list##_room, sizeof *(r)->g->list)
static int gbnf_more(gbnf_reader *r, void *list, size_t n, size_t *room, size_t size) {
    void *old;
    memcpy(&old, list, sizeof old);
    void *more = r->code ? NULL : pith__more(old, room, n, size);
    if (more) memcpy(list, &more, sizeof more);
    else gbnf_no_memory(r);
    return more != NULL;
}

static uint32_t new_node(gbnf_reader *r, uint32_t kind, uint32_t a, uint32_t b) {
    pith_grammar *g = r->g;
    if (g->n_node >= MOST_NODES) gbnf_wrong(r, "the grammar is too large: more than a million places");
    if (!GBNF_MORE(r, node)) return 0;
    g->node[g->n_node] = (pith__node){ kind, a, b, 0 };
    return (uint32_t)g->n_node++;
}

static gbnf_part one_node(gbnf_reader *r, uint32_t kind, uint32_t b) {
    uint32_t n = new_node(r, kind, 0, b);
    return (gbnf_part){ n, n };
}

/* What comes behind a node, also if it is a rule that is empty, unless that was said before. */
static void lead_to(gbnf_reader *r, uint32_t node, uint32_t next) {
    if (r->code) return;
    pith__node *n = &r->g->node[node];
    n->a = next;
    if (!n->c) n->c = next;
}

/* ---- names --------------------------------------------------------------------------------------- */

static uint32_t gbnf_hash(const void *p, size_t n) {
    const uint8_t *q = p;
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < n; i++) h = (h ^ q[i]) * 16777619u;
    return h ^ h >> 15;
}

/* A table of twice the size in which n items find their places anew. */
static int wider_table(gbnf_reader *r, uint32_t **slot, size_t *slots, size_t n) {
    if (2 * n < *slots) return 0;
    size_t more = *slots ? 2 * *slots : 64;
    uint32_t *fresh = calloc(more, sizeof *fresh);
    if (!fresh) return gbnf_no_memory(r), 0;
    free(*slot);
    *slot = fresh;
    *slots = more;
    return 1;
}

static size_t name_slot(const gbnf_reader *r, pith__str name) {
    size_t i = gbnf_hash(name.p, name.n) & (r->slots - 1);
    while (r->slot[i] && pith__str_cmp(r->g->rule[r->slot[i] - 1].name, name) != 0) i = (i + 1) & (r->slots - 1);
    return i;
}

static uint32_t add_rule(gbnf_reader *r, pith__str name, uint32_t line, int part) {
    pith_grammar *g = r->g;
    if (!GBNF_MORE(r, rule)) return 0;
    g->rule[g->n_rule] = (pith__rule){ .name = name, .line = line, .part = (uint8_t)part };
    return (uint32_t)g->n_rule++;
}

static uint32_t rule_named(gbnf_reader *r, pith__str name) {
    pith_grammar *g = r->g;
    if (wider_table(r, &r->slot, &r->slots, g->n_rule + 1))
        for (uint32_t i = 0; i < g->n_rule; i++)
            if (!g->rule[i].part) r->slot[name_slot(r, g->rule[i].name)] = i + 1;
    if (r->code) return 0;
    size_t at = name_slot(r, name);
    if (!r->slot[at]) {
        uint32_t rule = add_rule(r, name, (uint32_t)gbnf_line(r), 0);
        if (!r->code) r->slot[at] = rule + 1;
        return rule;
    }
    return r->slot[at] - 1;
}

/* ---- classes ------------------------------------------------------------------------------------- */

static uint32_t byte_state(gbnf_reader *r, const pith__edge *edge, size_t n) {
    pith_grammar *g = r->g;
    for (size_t i = 0; i < n; i++) {
        if (!GBNF_MORE(r, edge)) return 0;
        g->edge[g->n_edge++] = edge[i];
    }
    if (!GBNF_MORE(r, state)) return 0;
    g->state[g->n_state + 1] = (uint32_t)g->n_edge;
    return (uint32_t)g->n_state++;
}

/* Before the last bytes of any of size characters: state 1 for 64, 2 for 64 * 64, 3. State 0 is unused. */
static uint32_t full_state(uint32_t size) { return size == 64 ? 1 : size == 4096 ? 2 : 3; }

/* Edges of the characters of s from in.from to in.to: blocks of size characters each begin with the bytes base,
 * base + 1, ... */
static size_t block_edges(gbnf_reader *r, const pith__charset *s, pith__range in, uint32_t size, uint8_t base,
                          pith__edge *edge) {
    size_t n = 0, i = 0;
    for (uint32_t lo = in.from; lo <= in.to && !r->code; lo += size) {
        uint32_t hi = lo + size - 1, next = 0;
        while (i < s->n && s->range[i].to < lo) i++;
        if (i == s->n) break;
        if (s->range[i].from > hi) continue;
        if (size > 1 && s->range[i].from <= lo && s->range[i].to >= hi) {
            next = full_state(size);
        } else if (size > 1) {
            pith__edge sub[64];
            size_t k = block_edges(r, s, (pith__range){ lo, hi }, size / 64, 0x80, sub);
            next = byte_state(r, sub, k);
        }
        uint8_t byte = (uint8_t)(base + (lo - in.from) / size);
        if (n && edge[n - 1].to + 1 == byte && edge[n - 1].next == next) edge[n - 1].to = byte;
        else edge[n++] = (pith__edge){ byte, byte, next };
    }
    return n;
}

static uint32_t class_start(gbnf_reader *r, const pith__charset *s) {
    static const struct {
        pith__range in;
        uint32_t size;
        uint8_t base;
    } form[] = { { { 0, 0x7f }, 1, 0 }, { { 0, 0x7ff }, 64, 0xc0 }, { { 0, 0xffff }, 4096, 0xe0 },
                 { { 0, PITH__LAST_CHAR }, 262144, 0xf0 } };
    pith__edge edge[128 + 32 + 16 + 8];
    size_t n = 0;
    for (int i = 0; i < 4; i++) { /* each form has the characters that the one before has not */
        pith__charset part = { 0 };
        pith__charset_add(&part, i ? form[i - 1].in.to + 1 : 0, form[i].in.to);
        pith__charset_keep(&part, s);
        if (part.failed) gbnf_no_memory(r);
        n += block_edges(r, &part, form[i].in, form[i].size, form[i].base, edge + n);
        pith__charset_free(&part);
    }
    return byte_state(r, edge, n);
}

static size_t class_slot(const gbnf_reader *r, const pith__range *range, size_t n) {
    const pith_grammar *g = r->g;
    size_t i = gbnf_hash(range, n * sizeof *range) & (r->knowns - 1);
    for (; r->known[i]; i = (i + 1) & (r->knowns - 1)) {
        const pith__class *c = &g->cls[r->known[i] - 1];
        if (c->n_range == n && (!n || !memcmp(g->range + c->range, range, n * sizeof *range))) break;
    }
    return i;
}

/* The class of a tidy set, which is freed. */
static uint32_t class_of(gbnf_reader *r, pith__charset *s) {
    pith_grammar *g = r->g;
    uint32_t cls = 0;
    if (s->failed) gbnf_no_memory(r);
    if (!r->code && wider_table(r, &r->known, &r->knowns, g->n_cls + 1))
        for (uint32_t i = 0; i < g->n_cls; i++)
            r->known[class_slot(r, g->range + g->cls[i].range, g->cls[i].n_range)] = i + 1;
    size_t at = r->code ? 0 : class_slot(r, s->range, s->n);
    if (!r->code && r->known[at]) {
        cls = r->known[at] - 1;
    } else if (!r->code && GBNF_MORE(r, cls)) {
        uint32_t first = (uint32_t)g->n_range;
        for (size_t i = 0; i < s->n && GBNF_MORE(r, range); i++) g->range[g->n_range++] = s->range[i];
        cls = (uint32_t)g->n_cls++;
        g->cls[cls] = (pith__class){ class_start(r, s), first, (uint32_t)s->n };
        if (!r->code) r->known[at] = cls + 1;
    }
    pith__charset_free(s);
    return cls;
}

/* ---- characters ---------------------------------------------------------------------------------- */

static void gbnf_blanks(gbnf_reader *r, int lines) {
    while (r->p < r->end) {
        if (*r->p == '#') {
            while (r->p < r->end && *r->p != '\n' && *r->p != '\r') r->p++;
        } else if (*r->p == ' ' || *r->p == '\t' || (lines && (*r->p == '\n' || *r->p == '\r'))) {
            r->p++;
        } else {
            break;
        }
    }
}

static char gbnf_at(const gbnf_reader *r) { return r->p < r->end ? *r->p : 0; }

static uint32_t hex_char(gbnf_reader *r, int digits) {
    uint32_t c = 0;
    for (int i = 0; i < digits; i++, r->p++) {
        char d = gbnf_at(r);
        int v = d >= '0' && d <= '9' ? d - '0' : d >= 'a' && d <= 'f' ? d - 'a' + 10
              : d >= 'A' && d <= 'F' ? d - 'A' + 10 : -1;
        if (v < 0) {
            gbnf_wrong(r, digits == 2 ? "\\x needs two hexadecimal digits"
                        : digits == 4 ? "\\u needs four hexadecimal digits" : "\\U needs eight hexadecimal digits");
            return 0;
        }
        c = c << 4 | (uint32_t)v;
    }
    if (c > PITH__LAST_CHAR || (c >= 0xd800 && c <= 0xdfff)) gbnf_wrong(r, "an escape that stands for no character");
    return c;
}

/* One character of a literal or a class. */
static uint32_t gbnf_char(gbnf_reader *r) {
    uint32_t c;
    if (*r->p != '\\') {
        size_t left = (size_t)(r->end - r->p);
        if (pith__utf8_length((const uint8_t *)r->p, left) <= 0) gbnf_wrong(r, "a byte that is no UTF-8");
        if (r->code) return 0;
        r->p += pith__utf8_read((const uint8_t *)r->p, left, &c);
        return c;
    }
    r->p++;
    char e = gbnf_at(r);
    gbnf_step(r);
    switch (e) {
    case 'x': return hex_char(r, 2);
    case 'u': return hex_char(r, 4);
    case 'U': return hex_char(r, 8);
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case '\\': case '"': case '[': case ']': return (uint8_t)e;
    default:
        gbnf_wrong(r, "an unknown escape, need \\n \\r \\t \\\\ \\\" \\[ \\] \\x41 \\u0041 or \\U00000041");
        return 0;
    }
}

static gbnf_part class_part(gbnf_reader *r, pith__charset *s) {
    return one_node(r, PITH__CLASS, class_of(r, s));
}

static gbnf_part join_parts(gbnf_reader *r, gbnf_part a, gbnf_part b) {
    if (!a.first) return b;
    lead_to(r, a.last, b.first);
    return (gbnf_part){ a.first, b.last };
}

static gbnf_part gbnf_literal(gbnf_reader *r) {
    gbnf_part all = { 0, 0 };
    for (r->p++; r->p < r->end && *r->p != '"' && !r->code;) {
        pith__charset s = { 0 };
        uint32_t c = gbnf_char(r);
        pith__charset_add(&s, c, c);
        all = join_parts(r, all, class_part(r, &s));
    }
    if (r->p == r->end) gbnf_wrong(r, "a literal without its closing \"");
    gbnf_step(r);
    return all;
}

static gbnf_part gbnf_class(gbnf_reader *r) {
    pith__charset s = { 0 };
    r->p++;
    int not = gbnf_at(r) == '^';
    r->p += not;
    while (r->p < r->end && *r->p != ']' && !r->code) {
        uint32_t from = gbnf_char(r), to = from;
        if (r->end - r->p >= 2 && r->p[0] == '-' && r->p[1] != ']') {
            r->p++;
            to = gbnf_char(r);
            if (to < from) gbnf_wrong(r, "a class with a range that ends before it begins");
        }
        pith__charset_add(&s, from, to);
    }
    if (r->p == r->end) gbnf_wrong(r, "a class without its closing ]");
    gbnf_step(r);
    pith__charset_tidy(&s);
    if (not) pith__charset_invert(&s);
    return class_part(r, &s);
}

/* ---- repetition ---------------------------------------------------------------------------------- */

static gbnf_part repeat_free(gbnf_reader *r, gbnf_part x, int at_least_one) {
    uint32_t out = new_node(r, PITH__FORK, 0, 0), fork = new_node(r, PITH__LOOP, x.first, out);
    lead_to(r, x.last, fork);
    if (!r->code) r->g->node[fork].c = r->rule;
    return (gbnf_part){ at_least_one ? x.first : fork, out };
}

static gbnf_part repeat_maybe(gbnf_reader *r, gbnf_part x) {
    uint32_t out = new_node(r, PITH__FORK, 0, 0), fork = new_node(r, PITH__FORK, x.first, out);
    lead_to(r, x.last, out);
    return (gbnf_part){ fork, out };
}

/* A part as one node: a class, or the call of a rule. */
static pith__node single_node(gbnf_reader *r, gbnf_part x) {
    if (r->code) return (pith__node){ 0, 0, 0, 0 };
    pith__node n = r->g->node[x.first];
    if (x.first == x.last && n.kind >= PITH__CLASS) return n;
    uint32_t rule = add_rule(r, r->g->rule[r->rule].name, (uint32_t)gbnf_line(r), 1);
    if (r->code) return n;
    lead_to(r, x.last, PITH__RULE_END);
    r->g->rule[rule].start = x.first;
    return (pith__node){ PITH__CALL, 0, rule, 0 };
}

/* x x x (x (x (x)?)?)?, or with more than any number x x x x*. Where x may be empty, an empty one ends it all. */
static gbnf_part repeat_count(gbnf_reader *r, gbnf_part x, int min, int max) {
    pith__node n = single_node(r, x);
    uint32_t out = new_node(r, PITH__FORK, 0, 0);
    gbnf_part all = { 0, 0 };
    for (int i = 0; (i < min || i < max) && !r->code; i++) {
        uint32_t copy = new_node(r, n.kind, 0, n.b), first = i < min ? copy : new_node(r, PITH__FORK, copy, out);
        if (!r->code) r->g->node[copy].c = out;
        all = join_parts(r, all, (gbnf_part){ first, copy });
    }
    if (max == NO_LIMIT) {
        gbnf_part copy = one_node(r, n.kind, n.b);
        all = join_parts(r, all, repeat_free(r, copy, 0));
    }
    if (!all.first) return (gbnf_part){ out, out };
    lead_to(r, all.last, out);
    return (gbnf_part){ all.first, out };
}

static int gbnf_count(gbnf_reader *r) {
    int n = 0, digits = 0;
    for (; gbnf_at(r) >= '0' && gbnf_at(r) <= '9'; r->p++, digits++)
        if ((n = 10 * n + (*r->p - '0')) > MOST_NODES) n = MOST_NODES;
    if (!digits) gbnf_wrong(r, "a number is missing in {}");
    gbnf_blanks(r, r->nested > 0);
    return n;
}

static gbnf_part gbnf_braces(gbnf_reader *r, gbnf_part x) {
    r->p++;
    gbnf_blanks(r, r->nested > 0);
    int min = gbnf_count(r), max = min;
    if (gbnf_at(r) == ',') {
        r->p++;
        gbnf_blanks(r, r->nested > 0);
        max = gbnf_at(r) == '}' ? NO_LIMIT : gbnf_count(r);
    }
    if (gbnf_at(r) != '}') gbnf_wrong(r, "} is missing");
    if (max != NO_LIMIT && max < min) gbnf_wrong(r, "{} ends before it begins");
    if (min > MOST_COUNT && !(r->flags & PITH__ANY_COUNT)) gbnf_wrong(r, "{} asks for more than 2000");
    gbnf_step(r);
    return r->code ? x : repeat_count(r, x, min, max);
}

/* x and what follows it of * + ? {}. An empty literal is nothing that could be repeated. */
static gbnf_part gbnf_repeats(gbnf_reader *r, gbnf_part x) {
    for (gbnf_blanks(r, r->nested > 0); r->p < r->end; gbnf_blanks(r, r->nested > 0)) {
        char c = *r->p;
        if (c != '*' && c != '+' && c != '?' && c != '{') break;
        if (!x.first) gbnf_wrong(r, "nothing that could be repeated stands before * + ? or {");
        if (r->code) break;
        if (c == '{') {
            x = gbnf_braces(r, x);
            continue;
        }
        r->p++;
        x = c == '?' ? repeat_maybe(r, x) : repeat_free(r, x, c == '+');
    }
    return x;
}

/* ---- rules --------------------------------------------------------------------------------------- */

static int is_name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
}

static pith__str gbnf_name(gbnf_reader *r) {
    pith__str name = { r->p, 0 };
    while (r->p < r->end && is_name_char(*r->p)) r->p++;
    name.n = (size_t)(r->p - name.p);
    return name;
}

static gbnf_part gbnf_choice(gbnf_reader *r);

static gbnf_part gbnf_group(gbnf_reader *r) {
    if (++r->nested > MOST_NESTED) gbnf_wrong(r, "more than 500 parentheses inside each other");
    gbnf_step(r);
    gbnf_blanks(r, 1);
    gbnf_part x = gbnf_choice(r);
    if (gbnf_at(r) != ')') gbnf_wrong(r, "a parenthesis that is not closed");
    gbnf_step(r);
    r->nested--;
    return x;
}

static gbnf_part any_part(gbnf_reader *r) {
    pith__charset s = { 0 };
    pith__charset_invert(&s);
    r->p++;
    return class_part(r, &s);
}

/* The digits and the brackets of <[7]>: the token 7. */
static int32_t token_number(gbnf_reader *r) {
    int32_t id = 0;
    const char *from = ++r->p;
    for (; gbnf_at(r) >= '0' && gbnf_at(r) <= '9'; r->p++) {
        if (id > (INT32_MAX - 9) / 10) return gbnf_wrong(r, "the number of a token is too large"), id;
        id = 10 * id + (gbnf_at(r) - '0');
    }
    if (r->p == from || r->end - r->p < 2 || memcmp(r->p, "]>", 2) != 0) gbnf_wrong(r, "a token by its number is <[7]>");
    r->p += r->p < r->end;
    return id;
}

/* <name>, <[7]>, !<name> or !<[7]>. */
static gbnf_part token_part(gbnf_reader *r) {
    pith_grammar *g = r->g;
    pith__named_token t = { .id = -1, .line = (uint32_t)gbnf_line(r), .not = *r->p == '!' };
    r->p += t.not;
    t.name.p = r->p;
    if (gbnf_at(r) != '<') gbnf_wrong(r, "! stands before a token: !<name> or !<[7]>");
    gbnf_step(r);
    if (gbnf_at(r) == '[') t.id = token_number(r);
    while (r->p < r->end && *r->p != '>') r->p++;
    if (r->p == r->end) gbnf_wrong(r, "a token without its closing >");
    gbnf_step(r);
    if (r->code || !GBNF_MORE(r, token)) return (gbnf_part){ 0, 0 };
    t.name.n = (size_t)(r->p - t.name.p);
    g->token[g->n_token] = t;
    return one_node(r, PITH__TOKEN, (uint32_t)g->n_token++);
}

/* What stands between bars. */
static gbnf_part gbnf_sequence(gbnf_reader *r) {
    gbnf_part all = { 0, 0 };
    while (r->p < r->end && !r->code) {
        gbnf_part x;
        char c = *r->p;
        if (c == '"') x = gbnf_literal(r);
        else if (c == '[') x = gbnf_class(r);
        else if (c == '(') x = gbnf_group(r);
        else if (c == '.') x = any_part(r);
        else if (c == '<' || c == '!') x = token_part(r);
        else if (is_name_char(c)) x = one_node(r, PITH__CALL, rule_named(r, gbnf_name(r)));
        else if (c && strchr("*+?{", c)) x = (gbnf_part){ 0, 0 }; /* an error, said below */
        else break;
        x = gbnf_repeats(r, x);
        if (x.first && !r->code) all = join_parts(r, all, x);
    }
    return all.first || r->code ? all : one_node(r, PITH__FORK, 0);
}

static gbnf_part gbnf_choice(gbnf_reader *r) {
    gbnf_part x = gbnf_sequence(r);
    if (gbnf_at(r) != '|') return x;
    uint32_t out = new_node(r, PITH__FORK, 0, 0), fork = new_node(r, PITH__FORK, x.first, 0);
    gbnf_part all = { fork, out };
    lead_to(r, x.last, out);
    while (gbnf_at(r) == '|' && !r->code) {
        r->p++;
        gbnf_blanks(r, 1);
        x = gbnf_sequence(r);
        lead_to(r, x.last, out);
        uint32_t next = gbnf_at(r) == '|' ? new_node(r, PITH__FORK, x.first, 0) : x.first;
        if (!r->code) r->g->node[fork].b = next;
        fork = next;
    }
    return all;
}

static void gbnf_rule(gbnf_reader *r) {
    r->rule = UINT32_MAX;
    if (!is_name_char(*r->p)) {
        gbnf_wrong(r, "a rule begins with its name: letters, digits and -");
        return;
    }
    uint32_t rule = rule_named(r, gbnf_name(r));
    if (r->code) return;
    r->rule = rule;
    gbnf_blanks(r, 0);
    if (r->end - r->p < 3 || memcmp(r->p, "::=", 3) != 0) {
        gbnf_wrong(r, "::= is missing behind its name");
        return;
    }
    r->p += 3;
    gbnf_blanks(r, 1);
    uint32_t line = (uint32_t)gbnf_line(r);
    gbnf_part x = gbnf_choice(r);
    if (r->p < r->end && *r->p != '\n' && *r->p != '\r')
        gbnf_wrong(r, *r->p == ')' ? "a ) without its ("
                                   : "something that is neither a part of the rule nor the end of its line");
    if (r->code) return;
    lead_to(r, x.last, PITH__RULE_END);
    r->g->rule[rule].start = x.first; /* of two with the same name, the later one counts */
    r->g->rule[rule].line = line;
    gbnf_blanks(r, 1);
}

/* ---- the whole ----------------------------------------------------------------------------------- */

static void begin_grammar(gbnf_reader *r) {
    new_node(r, PITH__RULE_END, 0, 0);
    new_node(r, PITH__TEXT_END, 0, 0);
    rule_named(r, pith__str_of("root"));
    if (GBNF_MORE(r, state)) r->g->state[0] = r->g->state[1] = 0, r->g->n_state = 1; /* 0: complete */
    for (uint32_t next = 0; next < 3; next++) byte_state(r, &(pith__edge){ 0x80, 0xbf, next }, 1);
}

/* All rules are there. */
static int gbnf_names(const gbnf_reader *r) {
    const pith_grammar *g = r->g;
    if (!g->rule[0].start)
        return pith__fail(r->err, PITH_EDATA, "grammar: there is no rule named root");
    for (size_t i = 0; i < g->n_rule; i++)
        if (!g->rule[i].start)
            return pith__fail(r->err, PITH_EDATA, "grammar: line %u: rule '%.*s' is used and not defined",
                              g->rule[i].line, (int)(g->rule[i].name.n < 60 ? g->rule[i].name.n : 60),
                              g->rule[i].name.p);
    return PITH_OK;
}

/* Bytes between two places where an edge begins or ends are taken alike. */
static void set_kinds(pith_grammar *g) {
    uint8_t begins[257] = { 1 };
    for (size_t i = 0; i < g->n_edge; i++) begins[g->edge[i].from] = begins[g->edge[i].to + 1] = 1;
    for (int c = 0, kind = -1; c < 256; c++) {
        kind += begins[c];
        g->kind[c] = (uint8_t)kind;
        g->n_kind = kind + 1;
    }
}

PITH_SHARED pith_grammar *pith__grammar_read(const char *text, size_t n, unsigned flags, pith_error *err) {
    pith_grammar *g = calloc(1, sizeof *g);
    gbnf_reader r = { .g = g, .err = err, .flags = flags };
    if (!g) {
        pith__fail(err, PITH_EMEMORY, "no memory for a grammar");
        return NULL;
    }
    g->text = malloc(n + 1);
    if (g->text) {
        memcpy(g->text, text, n);
        g->text[g->n_text = n] = 0;
        r.counted = r.p = g->text;
        r.line = 1;
        r.end = g->text + n;
        begin_grammar(&r);
        for (gbnf_blanks(&r, 1); r.p < r.end;) gbnf_rule(&r);
    } else {
        gbnf_no_memory(&r);
    }
    free(r.slot);
    free(r.known);
    if (!r.code) r.code = gbnf_names(&r);
    if (!r.code) set_kinds(g);
    if (!r.code) r.code = pith__grammar_check(g, err);
    if (!r.code) return g;
    pith_grammar_free(g);
    return NULL;
}

pith_grammar *pith_grammar_new(const char *gbnf, size_t len, pith_error *err) {
    return pith__grammar_read(gbnf, len, 0, err);
}

const char *pith_grammar_text(const pith_grammar *g) { return g->text; }

void pith_grammar_free(pith_grammar *g) {
    if (!g) return;
    free(g->text);
    free(g->node);
    free(g->rule);
    free(g->cls);
    free(g->range);
    free(g->edge);
    free(g->state);
    free(g->token);
    free(g);
}

#undef GBNF_MORE
