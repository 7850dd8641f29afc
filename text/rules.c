/* rules.c - a JSON Schema's cases become GBNF.
 *
 * A want is a rule, vN, with an alternative for each of its cases. An object writes its properties in one order:
 * as the schema lists them, then those it only requires, then other names; rule oN-i-k is behind the first i of
 * them, of which k were written. A set of strings or numbers is a rule for each state of its automaton, sN-i: each
 * takes a character and goes on with another one, so nothing piles up in the matcher. Strings may be written with
 * the escapes that JSON has; blanks stand where json.dumps and pretty printers put them. */
#include "text.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_TEXT = 1 << 24, MOST_STEPS = 20000, MOST_UNIQUE = 8 };

typedef struct {         /* what was named in a rule and has to be written: a want, an array, an object or a set */
    const pith__case *c;
    pith__want *want;
    pith__dfa *set;
    int text;            /* set: 1: of strings, 2: of names of properties */
} rule_job;

typedef struct {
    pith__schema *r;
    pith__said *to;
    rule_job *job;       /* (n_job) job i is written as rule i */
    size_t n_job, job_room;
    int escapes;         /* 1: rules of escapes are needed */
} rule_writer;

static const char base_rules[] =
    "ws ::= (\" \" | \"\\n\" [ \\t]{0,40})?\n"
    "sp ::= \" \"?\n"
    "value ::= object | array | string | number | \"true\" | \"false\" | \"null\"\n"
    "object ::= \"{\" ws (member (\",\" ws member)* ws)? \"}\"\n"
    "member ::= string \":\" sp value\n"
    "array ::= \"[\" ws (value (\",\" ws value)* ws)? \"]\"\n"
    "string ::= \"\\\"\" char* \"\\\"\"\n"
    "char ::= [^\"\\\\\\x00-\\x1F] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" (\"00\" [0-7] hex | wide))\n"
    "wide ::= \"00\" [89a-fA-F] hex | \"0\" [1-9a-fA-F] hex{2} | [1-9a-cA-CefEF] hex{3} | [dD] [0-7] hex{2} | "
    "[dD] [89abAB] hex{2} \"\\\\u\" [dD] [c-fC-F] hex{2}\n"
    "hex ::= [0-9a-fA-F]\n"
    "integer ::= \"-\"? (\"0\" | [1-9] [0-9]{0,17})\n"
    "number ::= \"-\"? (\"0\" | [1-9] [0-9]{0,15}) (\".\" [0-9]{1,20})? ([eE] [-+]? ([0-9]{1,2} | [12] [0-8] [0-9]))?\n";

#define SAY(w, ...) pith__say((w)->to, __VA_ARGS__)

/* ---- jobs ------------------------------------------------------------------------------------------------ */

static size_t rule_for(rule_writer *w, rule_job job) {
    for (size_t i = 0; i < w->n_job; i++) {
        const rule_job *o = &w->job[i];
        if (o->c == job.c && o->want == job.want && o->set == job.set && o->text == job.text) return i;
    }
    rule_job *more = pith__more(w->job, &w->job_room, w->n_job + 1, sizeof *more);
    if (!more) {
        w->to->failed = 1;
        return 0;
    }
    w->job = more;
    w->job[w->n_job] = job;
    return w->n_job++;
}

static void say_want(rule_writer *w, pith__want *want) {
    if (!want || pith__want_never(want)) SAY(w, "[]");
    else if (!want->n) SAY(w, "value");
    else SAY(w, "v%zu", rule_for(w, (rule_job){ .want = want }));
}

static void say_set(rule_writer *w, pith__dfa *set, int text) {
    if (!set || !set->n) SAY(w, "[]");
    else SAY(w, "s%zu-0", rule_for(w, (rule_job){ .set = set, .text = text }));
}

/* ---- characters --------------------------------------------------------------------------------------------- */

static void say_class_char(rule_writer *w, uint32_t c) {
    if (c < ' ' || c == 0x7f) SAY(w, "\\x%02X", c);
    else if (c < 0x80) SAY(w, strchr("\\]\"[^-", (int)c) ? "\\x%02X" : "%c", c);
    else if (c < 0x10000) SAY(w, "\\u%04X", c);
    else SAY(w, "\\U%08X", c);
}

static void say_class(rule_writer *w, const pith__charset *s) {
    SAY(w, "[");
    for (size_t i = 0; i < s->n; i++) {
        say_class_char(w, s->range[i].from);
        if (s->range[i].to > s->range[i].from + 1) SAY(w, "-");
        if (s->range[i].to > s->range[i].from) say_class_char(w, s->range[i].to);
    }
    SAY(w, "]");
}

static void say_hex_digits(rule_writer *w, uint32_t from, uint32_t to) {
    SAY(w, "[");
    for (uint32_t d = from; d <= to; d++) SAY(w, d < 10 ? "%X" : "%X%x", d, d);
    SAY(w, "] ");
}

/* from .. to, written with so many hexadecimal digits: alternatives. */
static void say_hex_range(rule_writer *w, uint32_t from, uint32_t to, int digits) {
    uint32_t size = digits ? 1u << 4 * (digits - 1) : 1;
    if (digits == 0) return;
    SAY(w, "(");
    for (uint32_t first = from / size, last = to / size, d = first; d <= last;) {
        uint32_t lo = d == first ? from % size : 0, end = d;
        uint32_t hi = d == last ? to % size : size - 1;
        if (lo == 0 && hi == size - 1) /* whole blocks, as many as there are */
            while (end < last && (end + 1 < last || to % size == size - 1)) end++;
        if (d > first) SAY(w, " | ");
        say_hex_digits(w, d, end);
        if (lo == 0 && hi == size - 1 && digits > 1) SAY(w, "hex{%d}", digits - 1);
        else say_hex_range(w, lo, hi, digits - 1);
        d = end + 1;
    }
    SAY(w, ")");
}

/* Characters over U+FFFF are two escapes. */
static void say_pairs(rule_writer *w, uint32_t from, uint32_t to) {
    from -= 0x10000, to -= 0x10000;
    for (uint32_t at = from; at <= to;) {
        uint32_t high = at >> 10, end = (at | 0x3ff) < to ? at | 0x3ff : to, last = high;
        if ((at & 0x3ff) == 0 && (end & 0x3ff) == 0x3ff) /* whole blocks */
            while (((last + 1) << 10 | 0x3ff) <= to) last++, end = last << 10 | 0x3ff;
        if (at > from) SAY(w, " | ");
        say_hex_range(w, 0xd800 + high, 0xd800 + last, 4);
        SAY(w, " \"\\\\u\" ");
        say_hex_range(w, 0xdc00 + (at & 0x3ff), 0xdc00 + (end & 0x3ff), 4);
        at = end + 1;
    }
}

/* What stands behind \u for control characters and those beyond ASCII: alternatives, "" or " | " before each. Surrogates
 * are not in s. */
static void say_u(rule_writer *w, const pith__charset *s, int *any) {
    enum { MANY = 8 };
    pith__charset wide = { 0 };
    pith__charset_add(&wide, 0, 0x1f);
    pith__charset_add(&wide, 0x80, PITH__LAST_CHAR);
    pith__charset_keep(&wide, s);
    size_t n = wide.n;
    int all = n > 1 && wide.range[n - 2].from == 0x80 && wide.range[n - 2].to == 0xd7ff && wide.range[n - 1].from == 0xe000 &&
              wide.range[n - 1].to == PITH__LAST_CHAR;
    for (size_t i = 0; i < n - (size_t)all && i < MANY; i++) {
        pith__range x = wide.range[i];
        SAY(w, *any ? " | \"u\" " : "\"u\" ");
        *any = 1;
        if (all && i + 2 == n) SAY(w, "wide");
        else if (x.from >= 0x10000) SAY(w, "("), say_pairs(w, x.from, x.to), SAY(w, ")");
        else say_hex_range(w, x.from, x.to < 0x10000 ? x.to : 0xffff, 4);
        if (all && i + 2 == n) continue;
        if (x.from < 0x10000 && x.to >= 0x10000) SAY(w, " | \"u\" ("), say_pairs(w, 0x10000, x.to), SAY(w, ")");
    }
    w->to->failed |= wide.failed;
    pith__charset_free(&wide);
}

/* The characters of a set as a JSON string has them; s is freed. */
static void say_json_chars(rule_writer *w, pith__charset *s) {
    static const char from[] = "\"\\/\b\f\n\r\t", letter[] = "\"\\/bfnrt";
    pith__charset raw = { 0 }, none = { 0 }, characters = { 0 };
    int any = 0;
    pith__charset_tidy(s);
    if (s->n == 1 && s->range[0].from == 0 && s->range[0].to == PITH__LAST_CHAR) {
        SAY(w, "char");
        pith__charset_free(s);
        return;
    }
    pith__charset_invert(&characters);
    pith__charset_keep(s, &characters); /* half a pair is none */
    pith__charset_add(&none, 0, 0x1f);
    pith__charset_add(&none, '"', '"');
    pith__charset_add(&none, '\\', '\\');
    pith__charset_tidy(&none);
    pith__charset_invert(&none);
    pith__charset_join(&raw, s);
    pith__charset_keep(&raw, &none);
    SAY(w, "(");
    if (raw.n) say_class(w, &raw);
    char escape[sizeof from];
    int n = 0;
    for (int i = 0; from[i]; i++)
        if (pith__charset_has(s, (uint8_t)from[i])) escape[n++] = letter[i];
    int wide = s->n && (s->range[0].from < ' ' || s->range[s->n - 1].to >= 0x80);
    if (n || wide) {
        SAY(w, raw.n ? " | \"\\\\\" (" : "\"\\\\\" (");
        for (int i = 0; i < n; i++)
            SAY(w, strchr("\"\\", escape[i]) ? "%s\"\\%c\"" : "%s\"%c\"", i ? " | " : "", escape[i]);
        any = n > 0;
        say_u(w, s, &any);
        SAY(w, ")");
    }
    SAY(w, raw.n || n || wide ? ")" : "[])");
    w->to->failed |= raw.failed | none.failed | s->failed | characters.failed;
    pith__charset_free(&characters);
    pith__charset_free(&raw);
    pith__charset_free(&none);
    pith__charset_free(s);
}

/* "name" in quotes, as JSON. */
static void say_json_text(rule_writer *w, pith__str s) {
    int plain = 0; /* 1: within a literal */
    SAY(w, "\"\\\"");
    plain = 1;
    for (size_t i = 0; i < s.n;) {
        uint32_t c;
        i += pith__utf8_read((const uint8_t *)s.p + i, s.n - i, &c);
        if (c >= ' ' && c < 0x7f && c != '"' && c != '\\' && c != '/') {
            if (!plain) SAY(w, " \"");
            SAY(w, "%c", c);
            plain = 1;
            continue;
        }
        pith__charset one = { 0 };
        pith__charset_add(&one, c, c);
        SAY(w, plain ? "\" " : " ");
        say_json_chars(w, &one);
        plain = 0;
    }
    SAY(w, plain ? "\\\"\"" : " \"\\\"\"");
}

/* ---- sets ------------------------------------------------------------------------------------------------ */

static void say_state(rule_writer *w, size_t id, const rule_job *job, uint32_t s) {
    const pith__dfa *d = job->set;
    int any = 0;
    SAY(w, "s%zu-%u ::=", id, s);
    for (uint32_t j = d->first[s]; j < d->first[s + 1]; j++) {
        uint32_t next = d->arc[j].next, k = d->first[s];
        while (d->arc[k].next != next) k++;
        if (k < j) continue; /* it was written with the first arc that leads there */
        pith__charset chars = { 0 };
        for (; k < d->first[s + 1]; k++)
            if (d->arc[k].next == next) pith__charset_add(&chars, d->arc[k].from, d->arc[k].to);
        SAY(w, any ? " | " : " ");
        any = 1;
        if (job->text) say_json_chars(w, &chars);
        else say_class(w, &chars), pith__charset_free(&chars);
        SAY(w, " s%zu-%u", id, next);
    }
    if (d->ends[s]) SAY(w, any ? " | %s" : " %s", job->text ? "\"\\\"\"" : "\"\"");
    SAY(w, "\n");
}

static void say_automaton(rule_writer *w, size_t id) {
    rule_job job = w->job[id];
    for (uint32_t s = 0; s < job.set->n && !w->to->failed && w->to->n < MOST_TEXT; s++) say_state(w, id, &job, s);
}

/* ---- arrays ---------------------------------------------------------------------------------------------- */

/* How often something comes beside the first time. */
static void say_count(rule_writer *w, uint32_t min, uint32_t max) {
    if (max == UINT32_MAX && min == 0) SAY(w, "*");
    else if (max == UINT32_MAX) SAY(w, "{%u,}", min);
    else SAY(w, "{%u,%u}", min, max);
}

static uint32_t less(uint32_t max, size_t n) { return max == UINT32_MAX ? max : max > n ? max - (uint32_t)n : 0; }

/* Behind n items: those that have no place of their own, and the end. */
static void say_rest(rule_writer *w, const pith__case *c) {
    uint32_t n = (uint32_t)c->n, min = c->min > n ? c->min - n : 0, max = less(c->max, n);
    if (pith__want_never(c->rest)) max = 0;
    if (min > max) {
        SAY(w, "[]\n");
    } else if (max == 0) {
        SAY(w, n ? "ws \"]\"\n" : "\"]\"\n");
    } else if (n) {
        SAY(w, "(\",\" ws ");
        say_want(w, c->rest);
        SAY(w, ")");
        say_count(w, min, max);
        SAY(w, " ws \"]\"\n");
    } else {
        SAY(w, min ? "" : "\"]\" | ");
        say_want(w, c->rest);
        SAY(w, " (\",\" ws ");
        say_want(w, c->rest);
        SAY(w, ")");
        say_count(w, min ? min - 1 : 0, less(max, 1));
        SAY(w, " ws \"]\"\n");
    }
}

static void say_plain_array(rule_writer *w, size_t id, const pith__case *c) {
    for (uint32_t i = 0; i < c->n; i++) {
        SAY(w, "a%zu-%u ::= ", id, i);
        if (i >= c->min) SAY(w, i ? "ws \"]\" | " : "\"]\" | ");
        SAY(w, i ? "\",\" ws " : "");
        if (i < c->max) say_want(w, c->item[i]);
        else SAY(w, "[]");
        SAY(w, " a%zu-%u\n", id, i + 1);
    }
    SAY(w, "a%zu-%zu ::= ", id, c->n);
    say_rest(w, c);
}

/* One step of an array with contains: rule aN-i-k is behind i items, k of them such. */
static void say_counted_item(rule_writer *w, size_t id, const pith__case *c, uint32_t i, uint32_t k, uint32_t last) {
    pith__schema *r = w->r;
    pith__want *item = i < c->n ? c->item[i] : c->rest, *without = item;
    uint32_t most = c->contains_max, next = i < last ? i + 1 : last;
    if (most != UINT32_MAX) {
        pith__demand other = c->contains->n ? c->contains->demand[0] : (pith__demand){ NULL, 0 };
        if (c->contains->n != 1) pith__schema_fail(r, other.at, "maxContains is not enforced for this contains");
        other.how = PITH__VIOLATE;
        without = r->code ? NULL : pith__want_both(r, item, pith__want_at(r, other.at, other.how));
    }
    SAY(w, "a%zu-%u-%u ::= []", id, i, k);
    if (i >= c->min && k >= c->contains_min) SAY(w, i ? " | ws \"]\"" : " | \"]\"");
    if (i < c->max) {
        SAY(w, i ? " | \",\" ws " : " | ");
        say_want(w, without);
        SAY(w, " a%zu-%u-%u", id, next, k);
        if (k < (most == UINT32_MAX ? c->contains_min : most)) {
            SAY(w, i ? " | \",\" ws " : " | ");
            say_want(w, pith__want_both(r, item, c->contains));
            SAY(w, " a%zu-%u-%u", id, next, k + 1);
        }
    }
    SAY(w, "\n");
}

static void say_contains_array(rule_writer *w, size_t id, const pith__case *c) {
    uint32_t last = c->max != UINT32_MAX ? c->max : c->min > c->n ? c->min : (uint32_t)c->n + 1;
    uint32_t most = c->contains_max != UINT32_MAX ? c->contains_max : c->contains_min;
    if (((uint64_t)last + 1) * ((uint64_t)most + 1) > MOST_STEPS) {
        const char *at = c->contains->n ? c->contains->demand[0].at : NULL;
        pith__schema_fail(w->r, at, "contains with such counts is too large");
        return;
    }
    for (uint32_t i = 0; i <= last && !w->r->code; i++)
        for (uint32_t k = 0; k <= most && !w->r->code; k++) say_counted_item(w, id, c, i, k, last);
}

/* ---- different items ------------------------------------------------------------------------------------------ */

typedef struct {         /* all values of a want, if they are few: as GBNF */
    pith__said text[MOST_UNIQUE];
    int n, failed;       /* failed: too many, or none of the kinds that can be listed */
} few_values;

static void list_words(rule_writer *w, few_values *v, const pith__dfa *d, uint32_t s, pith__str word, int text) {
    char more[300];
    if (v->failed || word.n > sizeof more - 8) {
        v->failed = 1;
        return;
    }
    if (d->ends[s] && v->n == MOST_UNIQUE) v->failed = 1;
    else if (d->ends[s]) {
        rule_writer one = *w;
        one.to = &v->text[v->n++];
        if (text) say_json_text(&one, word);
        else pith__say(one.to, "\"%.*s\"", (int)word.n, word.p);
    }
    for (uint32_t j = d->first[s]; j < d->first[s + 1] && !v->failed; j++) {
        if (d->arc[j].to - d->arc[j].from > MOST_UNIQUE) v->failed = 1;
        for (uint32_t c = d->arc[j].from; c <= d->arc[j].to && !v->failed; c++) {
            if (word.n) memcpy(more, word.p, word.n);
            size_t n = word.n + pith__utf8_write(c, more + word.n);
            list_words(w, v, d, d->arc[j].next, (pith__str){ more, n }, text);
        }
    }
}

static void list_values(rule_writer *w, few_values *v, pith__want *want) {
    pith__schema *r = w->r;
    for (const pith__case *c = pith__want_cases(r, want); c && !v->failed && !r->code; c = c->next) {
        static const char *const words[] = { "\"false\"", "\"true\"" };
        for (int b = 0; b < 2 && c->type == PITH__J_BOOL; b++)
            if (c->bools >> b & 1) {
                if (v->n == MOST_UNIQUE) v->failed = 1;
                else pith__say(&v->text[v->n++], "%s", words[b]);
            }
        pith_error e = { 0, "" };
        if (c->type == PITH__J_NULL && v->n < MOST_UNIQUE) pith__say(&v->text[v->n++], "\"null\"");
        else if (c->type == PITH__J_NUMBER && c->set && c->whole) {
            pith__dfa *plain = pith__schema_dfa(r, NULL, pith__numbers_plain(&r->arena, &e), &e);
            pith__dfa *d = pith__schema_join(r, c->set, plain, PITH__AND);
            if (d && d->n) list_words(w, v, d, 0, (pith__str){ "", 0 }, 0);
        } else if (c->type == PITH__J_STRING && c->set) {
            pith__dfa *d = pith__schema_strings(r, c);
            if (d && d->n) list_words(w, v, d, 0, (pith__str){ "", 0 }, 1);
        } else if (c->type != PITH__J_BOOL) {
            v->failed = 1;
        }
    }
}

/* Rule aN-m: those of the values whose bits are in m were written. */
static void say_unique_array(rule_writer *w, size_t id, const pith__case *c) {
    few_values v = { .n = 0 };
    if (c->n || c->contains) v.failed = 1;
    else list_values(w, &v, c->rest);
    if (v.failed) {
        const pith__demand *d = c->rest->n ? c->rest->demand : NULL;
        pith__schema_fail(w->r, d ? d->at : NULL,
                          "uniqueItems is not enforced but for items that are one of up to %d values", MOST_UNIQUE);
    }
    for (uint32_t m = 0; m < 1u << v.n && !w->r->code; m++) {
        uint32_t count = 0;
        for (int i = 0; i < v.n; i++) count += m >> i & 1;
        SAY(w, "a%zu-%u ::= []", id, m);
        if (count >= c->min && count <= c->max) SAY(w, m ? " | ws \"]\"" : " | \"]\"");
        for (int i = 0; i < v.n && count < c->max; i++) {
            if (m >> i & 1) continue;
            SAY(w, m ? " | \",\" ws " : " | ");
            for (size_t at = 0; at < v.text[i].n; at += 400) SAY(w, "%.400s", v.text[i].p + at);
            SAY(w, " a%zu-%u", id, m | 1u << i);
        }
        SAY(w, "\n");
    }
    for (int i = 0; i < v.n; i++) free(v.text[i].p);
}

static void say_array(rule_writer *w, size_t id) {
    const pith__case *c = w->job[id].c;
    SAY(w, "a%zu ::= \"[\" ws a%zu-0%s\n", id, id, c->contains && !c->unique ? "-0" : "");
    if (c->unique && c->max > 1) say_unique_array(w, id, c);
    else if (c->contains) say_contains_array(w, id, c);
    else say_plain_array(w, id, c);
}

/* ---- objects ------------------------------------------------------------------------------------------------ */

/* A property whose name the schema does not list. */
static void say_other(rule_writer *w, const pith__case *c) {
    pith__schema *r = w->r;
    pith__str *name = pith__schema_new(r, c->n, sizeof *name);
    int any = 0;
    for (size_t i = 0; name && i < c->n; i++) name[i] = c->property[i].name;
    pith__dfa *listed = c->n && name ? pith__schema_dfa(r, NULL, pith__dfa_texts(name, c->n, &r->arena), NULL) : NULL;
    SAY(w, "(");
    for (size_t i = 0; i < c->n_other && !r->code; i++) {
        const pith__names_of *o = &c->other[i];
        if (pith__want_never(o->want)) continue;
        pith__dfa *keys = o->keys;
        if (listed) keys = pith__schema_join(r, keys ? keys : pith__schema_any(r), listed, PITH__AND_NOT);
        SAY(w, any ? " | " : "");
        any = 1;
        if (keys) SAY(w, "\"\\\"\" "), say_set(w, keys, 1);
        else SAY(w, "string");
        SAY(w, " \":\" sp ");
        say_want(w, o->want);
    }
    SAY(w, any ? ")" : "[])");
}

/* Behind all that are listed, k of them written. Other names are sure to differ from those, but not from one
 * another: they count as one towards the least. */
static void say_others(rule_writer *w, size_t id, const pith__case *c, uint32_t k) {
    uint32_t min = c->min > k ? c->min - k : 0, max = less(c->max, k);
    int any = 0;
    for (size_t i = 0; i < c->n_other; i++) any |= !pith__want_never(c->other[i].want);
    SAY(w, "o%zu-%zu-%u ::= ", id, c->n, k);
    if (min > 1 || (min && !any)) {
        SAY(w, "[]\n");
        return;
    }
    if (!min) SAY(w, k ? "ws \"}\"" : "\"}\"");
    if (any && max) {
        SAY(w, min ? "" : " | ");
        SAY(w, k ? "\",\" ws " : "");
        SAY(w, "o%zu (\",\" ws o%zu)", id, id);
        say_count(w, 0, less(max, 1));
        SAY(w, " ws \"}\"");
    }
    SAY(w, "\n");
}

static void say_listed(rule_writer *w, size_t id, const pith__case *c, uint32_t i, uint32_t k, uint32_t most) {
    const pith__property *p = &c->property[i];
    SAY(w, "o%zu-%u-%u ::= []", id, i, k);
    if (k < c->max && !pith__want_never(p->want)) {
        SAY(w, k ? " | \",\" ws " : " | ");
        say_json_text(w, p->name);
        SAY(w, " \":\" sp ");
        say_want(w, p->want);
        SAY(w, " o%zu-%u-%u", id, i + 1, k < most ? k + 1 : most);
    }
    if (!p->required) SAY(w, " | o%zu-%u-%u", id, i + 1, k);
    SAY(w, "\n");
}

static void say_object(rule_writer *w, size_t id) {
    const pith__case *c = w->job[id].c;
    uint32_t most = c->min > 1 ? c->min : 1;
    size_t named = 0;
    int any = 0;
    if (c->max != UINT32_MAX && c->max > most) most = c->max < c->n + 1 ? c->max : (uint32_t)c->n + 1;
    for (size_t i = 0; i < c->n; i++) named += !pith__want_never(c->property[i].want);
    for (size_t i = 0; i < c->n_other; i++) any |= !pith__want_never(c->other[i].want);
    if (c->min > named + 1 && any) {
        pith__schema_fail(w->r, NULL, "minProperties is not enforced for more than one name that is not listed");
        return;
    }
    if (c->n > MOST_STEPS / (most + 1)) {
        pith__schema_fail(w->r, NULL, "an object of %zu properties with such counts is too large", c->n);
        return;
    }
    SAY(w, "v%zu-o ::= \"{\" ws o%zu-0-0\n", id, id);
    for (uint32_t i = 0; i < c->n && !w->to->failed && !w->r->code; i++)
        for (uint32_t k = 0; k <= most && k <= i; k++) say_listed(w, id, c, i, k, most);
    for (uint32_t k = 0; k <= most && k <= c->n; k++) say_others(w, id, c, k);
    SAY(w, "o%zu ::= ", id);
    say_other(w, c);
    SAY(w, "\n");
}

/* ---- values -------------------------------------------------------------------------------------------------- */

static void say_number(rule_writer *w, const pith__case *c) {
    pith__schema *r = w->r;
    pith_error e = { 0, "" };
    if (!c->set) {
        SAY(w, c->whole ? "integer" : "number");
        return;
    }
    pith__dfa *plain = c->whole ? pith__schema_dfa(r, NULL, pith__numbers_plain(&r->arena, &e), &e) : NULL;
    say_set(w, c->whole ? pith__schema_join(r, c->set, plain, PITH__AND) : c->set, 0);
}

static void say_string(rule_writer *w, const pith__case *c) {
    if (c->set) {
        SAY(w, "\"\\\"\" ");
        say_set(w, pith__schema_strings(w->r, c), 1);
    } else {
        SAY(w, "\"\\\"\" char");
        say_count(w, c->min, c->max);
        SAY(w, " \"\\\"\"");
    }
}

static void say_case(rule_writer *w, const pith__case *c) {
    static const char *const free_case[] = { "\"null\"", "(\"true\" | \"false\")", "number", "string", "array", "object" };
    rule_job job = { .c = c };
    if (pith__case_free(c)) SAY(w, "%s", free_case[c->type]);
    else if (c->type == PITH__J_BOOL) SAY(w, c->bools & 2 ? "\"true\"" : "\"false\"");
    else if (c->type == PITH__J_NUMBER) say_number(w, c);
    else if (c->type == PITH__J_STRING) say_string(w, c);
    else if (c->type == PITH__J_ARRAY) SAY(w, "a%zu", rule_for(w, job));
    else SAY(w, "v%zu-o", rule_for(w, job));
}

static void say_value(rule_writer *w, size_t id) {
    const pith__case *c = pith__want_cases(w->r, w->job[id].want);
    SAY(w, "v%zu ::= ", id);
    if (!c) SAY(w, "[]");
    if (!c && !w->r->empty) w->r->empty = w->job[id].want->demand[0].at;
    for (int n = 0; c && !w->r->code; c = c->next, n++) {
        SAY(w, n ? " | " : "");
        say_case(w, c);
    }
    SAY(w, "\n");
}

PITH_SHARED void pith__schema_rules(pith__schema *r, pith__said *to) {
    rule_writer w = { .r = r, .to = to };
    pith__want *root = pith__want_schema(r, r->root, 0);
    SAY(&w, "root ::= ");
    say_want(&w, root);
    SAY(&w, "\n");
    for (size_t i = 0; i < w.n_job && !r->code && !to->failed; i++) {
        if (w.job[i].want) say_value(&w, i);
        else if (w.job[i].set) say_automaton(&w, i);
        else if (w.job[i].c->type == PITH__J_ARRAY) say_array(&w, i);
        else say_object(&w, i);
        if (to->n > MOST_TEXT) pith__schema_fail(r, NULL, "the schema becomes a grammar of more than 16 MB");
    }
    for (size_t at = 0; at < sizeof base_rules - 1; at += 400) pith__say(to, "%.400s", base_rules + at);
    if (to->failed && !r->code) r->code = pith__fail(r->err, PITH_EMEMORY, "no memory for a schema");
    free(w.job);
}

pith_grammar *pith_grammar_schema(const char *json, size_t len, pith_error *err) {
    pith__schema r = { .text = json, .end = json + len, .err = err };
    pith__said text = { 0 };
    pith_grammar *g = NULL;
    r.code = pith__json_read(&r.root, json, len, "schema", err);
    if (!r.code) pith__schema_rules(&r, &text);
    pith_error e = { 0, "" };
    if (!r.code) g = pith__grammar_read(text.p, text.n, PITH__ANY_COUNT, &e);
    if (!r.code && !g && e.code == PITH_EMEMORY) pith__fail(err, e.code, "%s", e.text);
    else if (!r.code && !g && strstr(e.text, "no text that ends"))
        pith__schema_fail(&r, r.empty, "nothing can satisfy this");
    else if (!r.code && !g) pith__schema_fail(&r, NULL, "%s", e.text);
    free(text.p);
    free(r.want);
    pith__arena_free(&r.arena);
    return g;
}

#undef SAY
