/* scalars.c - keywords of a JSON Schema for values without parts: types, lists of values, numbers, strings.
 *
 * Each gives the cases (schema.c) of the values that satisfy it, or with violate of those that do not. */
#include "text.h"

#include <stdlib.h>
#include <string.h>

PITH_SHARED pith__json pith__keyword_beside(const pith__keyword *k, const char *name) { return pith__json_get(k->schema, name); }

PITH_SHARED pith__case *pith__keyword_wrong(const pith__keyword *k, const char *need) {
    pith__schema_fail(k->r, k->value.p, "need %s", need);
    return NULL;
}

PITH_SHARED pith__case *pith__not_enforced(const pith__keyword *k) {
    pith__schema_fail(k->r, k->value.p, "%s is not enforced%s", k->name, k->violate ? " where it must not hold (not, oneOf, if)" : "");
    return NULL;
}

/* Values of one type as c says, and all of other types; violate: only c. */
PITH_SHARED pith__case *pith__one_type(const pith__keyword *k, pith__case *c) {
    pith__case *list = NULL;
    if (c && !k->violate) list = pith__cases_but(k->r, c->type);
    if (c) pith__case_add(&list, c);
    return list;
}

PITH_SHARED int pith__keyword_limit(const pith__keyword *k, uint32_t *n) {
    int64_t i;
    double f;
    if (!pith__json_int(k->value, &i) && !(pith__json_float(k->value, &f) && f >= 0 && f < 1e15 && (double)(i = (int64_t)f) == f))
        i = -1;
    if (i < 0) pith__keyword_wrong(k, "a whole number, 0 or more");
    *n = i > UINT32_MAX - 2 ? UINT32_MAX - 2 : (uint32_t)i;
    return i >= 0;
}

/* ---- types and values ------------------------------------------------------------------------------------ */

static const char *const type_names[] = { "null", "boolean", "number", "string", "array", "object" };

static int type_named(const pith__keyword *k, pith__json name) {
    if (pith__json_is(name, "integer")) return PITH__J_TYPES;
    for (int t = 0; t < PITH__J_TYPES; t++)
        if (pith__json_is(name, type_names[t])) return t;
    pith__schema_fail(k->r, name.p, "need null, boolean, number, integer, string, array or object");
    return -1;
}

/* Numbers that are integers, or are not. */
static pith__case *integers(pith__schema *r, int violate) {
    pith__case *c = pith__case_new(r, PITH__J_NUMBER);
    if (c && !violate) c->whole = 1;
    if (c && violate) c->set = pith__schema_join(r, pith__schema_numbers(r), pith__schema_whole(r), PITH__AND_NOT);
    return c;
}

PITH_SHARED pith__case *pith__type_cases(const pith__keyword *k) {
    int has[PITH__J_TYPES + 1] = { 0 }, t;
    pith__json it = k->value, name;
    pith__case *list = NULL;
    if (pith__json_type(it) == '"') {
        if ((t = type_named(k, it)) >= 0) has[t] = 1;
    } else if (pith__json_type(it) == '[') {
        while (pith__json_next(&it, NULL, &name))
            if ((t = type_named(k, name)) >= 0) has[t] = 1;
    } else {
        return pith__keyword_wrong(k, "the name of a type, or a list of them");
    }
    for (t = 0; t < PITH__J_TYPES && !k->r->code; t++) {
        int integer = t == PITH__J_NUMBER && !has[t] && has[PITH__J_TYPES];
        pith__case *c = integer ? integers(k->r, k->violate) : has[t] == !k->violate ? pith__case_new(k->r, t) : NULL;
        if (c) pith__case_add(&list, c);
    }
    return list;
}

/* Of two of the same name, the later one counts. */
PITH_SHARED void pith__property_add(pith__schema *r, pith__case *c, pith__json key, pith__property p) {
    pith__json_string(key, &r->arena, &p.name);
    for (size_t i = 0; i < c->n; i++) {
        const pith__str *name = &c->property[i].name;
        if (name->n != p.name.n || memcmp(name->p, p.name.p, name->n) != 0) continue;
        c->property[i] = p;
        return;
    }
    c->property[c->n++] = p;
}

/* An array or object of these values, nothing else. */
static pith__case *value_case(pith__schema *r, pith__json value) {
    int is_object = pith__json_type(value) == '{';
    pith__case *c = pith__case_new(r, is_object ? PITH__J_OBJECT : PITH__J_ARRAY);
    size_t n = pith__json_count(value);
    pith__json it = value, key, item;
    if (!c) return NULL;
    if (is_object) {
        pith__json count = value;
        for (n = 0; pith__json_next(&count, &key, &item);) n++;
        c->property = pith__schema_new(r, n, sizeof *c->property);
        c->other[0].want = pith__want_nothing(r);
    } else {
        c->item = pith__schema_new(r, n, sizeof *c->item);
        c->rest = pith__want_nothing(r);
        c->min = c->max = (uint32_t)n;
    }
    while (!r->code && pith__json_next(&it, is_object ? &key : NULL, &item)) {
        pith__want *w = pith__want_at(r, item.p, PITH__EQUAL);
        if (is_object) {
            pith__property_add(r, c, key, (pith__property){ { NULL, 0 }, w, 1 });
        } else {
            c->item[c->n++] = w;
        }
    }
    return c;
}

typedef struct {         /* the scalars of a list of values */
    pith__str *text, *number;
    size_t n_text, n_number;
    int bools, null;     /* bit 0: false, 1: true */
} scalars;

/* 0: it is an array or an object. */
static int add_scalar(pith__schema *r, scalars *s, pith__json value) {
    int64_t i = 0;
    switch (pith__json_type(value)) {
    case 'n': s->null = 1; return 1;
    case 't': s->bools |= 2; return 1;
    case 'f': s->bools |= 1; return 1;
    case '"': pith__json_string(value, &r->arena, &s->text[s->n_text++]); return 1;
    case '0':
        while (value.p + i < value.end && strchr("+-.0123456789eE", value.p[i])) i++;
        s->number[s->n_number++] = (pith__str){ value.p, (size_t)i };
        return 1;
    default: return 0;
    }
}

static int has_any(pith__str s, const char *chars) {
    for (size_t i = 0; i < s.n; i++)
        if (strchr(chars, s.p[i])) return 1;
    return 0;
}

/* The set, or where it is violated all others; none: the set is empty. */
static pith__case *set_case(const pith__keyword *k, int type, pith__dfa *set, int none) {
    pith__schema *r = k->r;
    if (none && !k->violate) return NULL;
    pith__case *c = pith__case_new(r, type);
    if (!c || none) return c;
    c->set = set;
    if (k->violate) {
        pith__dfa *all = type == PITH__J_STRING ? pith__schema_any(r) : pith__schema_numbers(r);
        c->set = pith__schema_join(r, all, set, PITH__AND_NOT);
    }
    return c;
}

static pith__case *scalar_cases(const pith__keyword *k, const scalars *s) {
    pith__schema *r = k->r;
    pith__case *list = NULL, *c;
    pith_error e = { 0, "" };
    pith__dfa *texts = s->n_text ? pith__schema_dfa(r, k->value.p, pith__dfa_texts(s->text, s->n_text, &r->arena), NULL) : NULL;
    pith__dfa *numbers = s->n_number ? pith__schema_dfa(r, k->value.p, pith__numbers_equal(s->number, s->n_number, k->violate ? 0 : 9, &r->arena, &e), &e) : NULL;
    if (s->null == !k->violate && (c = pith__case_new(r, PITH__J_NULL)) != NULL) pith__case_add(&list, c);
    int bools = k->violate ? 3 & ~s->bools : s->bools;
    if (bools && (c = pith__case_new(r, PITH__J_BOOL)) != NULL) c->bools = bools, pith__case_add(&list, c);
    if ((c = set_case(k, PITH__J_NUMBER, numbers, !s->n_number)) != NULL) {
        c->whole = !k->violate;
        for (size_t i = 0; i < s->n_number; i++)
            if (has_any(s->number[i], ".eE")) c->whole = 0;
        pith__case_add(&list, c);
    }
    if ((c = set_case(k, PITH__J_STRING, texts, !s->n_text)) != NULL) pith__case_add(&list, c);
    return list;
}

/* Values from a list, or with next NULL the one. */
static pith__case *values_cases(const pith__keyword *k, pith__json list, int one) {
    pith__schema *r = k->r;
    size_t n = one ? 1 : pith__json_count(list);
    scalars s = { .text = pith__schema_new(r, n, sizeof *s.text), .number = pith__schema_new(r, n, sizeof *s.number) };
    pith__case *all = NULL, *c;
    pith__json it = list, value = list;
    int compound = 0;
    while (!r->code && (one || pith__json_next(&it, NULL, &value))) {
        if (!add_scalar(r, &s, value)) {
            compound = 1;
            if (k->violate) return pith__not_enforced(k);
            if ((c = value_case(r, value)) != NULL) pith__case_add(&all, c);
        }
        if (one) break;
    }
    if (r->code) return NULL;
    pith__cases_add(r, &all, scalar_cases(k, &s));
    if (k->violate && !compound)
        for (int t = PITH__J_ARRAY; t < PITH__J_TYPES; t++)
            if ((c = pith__case_new(r, t)) != NULL) pith__case_add(&all, c);
    return all;
}

PITH_SHARED pith__case *pith__enum_cases(const pith__keyword *k) {
    if (pith__json_type(k->value) != '[') return pith__keyword_wrong(k, "a list of values");
    return values_cases(k, k->value, 0);
}

PITH_SHARED pith__case *pith__const_cases(const pith__keyword *k) { return values_cases(k, k->value, 1); }

/* ---- numbers ---------------------------------------------------------------------------------------------- */

static pith__case *number_set(const pith__keyword *k, pith__dfa *set, const pith_error *e, int outside) {
    pith__case *c = pith__case_new(k->r, PITH__J_NUMBER);
    set = k->r->code ? NULL : pith__schema_dfa(k->r, k->value.p, set, e);
    if (outside != k->violate) set = pith__schema_join(k->r, pith__schema_numbers(k->r), set, PITH__AND_NOT);
    if (c) c->set = set;
    return pith__one_type(k, c);
}

static pith__case *bound_cases(const pith__keyword *k, int or_equal, int above) {
    pith_error e = { 0, "" };
    scalars s = { .number = &(pith__str){ "", 0 } };
    if (pith__json_type(k->value) != '0') return pith__keyword_wrong(k, "a number");
    add_scalar(k->r, &s, k->value);
    return number_set(k, pith__numbers_below(s.number[0], or_equal, &k->r->arena, &e), &e, above);
}

PITH_SHARED pith__case *pith__minimum_cases(const pith__keyword *k) { return bound_cases(k, 0, 1); }
PITH_SHARED pith__case *pith__maximum_cases(const pith__keyword *k) { return bound_cases(k, 1, 0); }
PITH_SHARED pith__case *pith__exclusive_minimum_cases(const pith__keyword *k) { return bound_cases(k, 1, 1); }
PITH_SHARED pith__case *pith__exclusive_maximum_cases(const pith__keyword *k) { return bound_cases(k, 0, 0); }

PITH_SHARED pith__case *pith__multiple_cases(const pith__keyword *k) {
    pith_error e = { 0, "" };
    uint32_t of;
    double f;
    if (!pith__json_float(k->value, &f) || f <= 0) return pith__keyword_wrong(k, "a number over 0");
    if (f != (double)(of = f < 1000 ? (uint32_t)f : 0) || !of) {
        pith__schema_fail(k->r, k->value.p, "multipleOf is not enforced but for whole numbers below 1000");
        return NULL;
    }
    return number_set(k, pith__numbers_multiple(of, &k->r->arena, &e), &e, 0);
}

/* ---- strings ---------------------------------------------------------------------------------------------- */

/* min or max of a type: characters, items, properties. */
PITH_SHARED pith__case *pith__size_cases(const pith__keyword *k, int type, int is_max) {
    uint32_t n;
    if (!pith__keyword_limit(k, &n)) return NULL;
    if (k->violate) {
        if (!is_max && n == 0) return NULL;
        n = is_max ? n + 1 : n - 1;
        is_max = !is_max;
    }
    pith__case *c = pith__case_new(k->r, type);
    if (c && is_max) c->max = n;
    else if (c) c->min = n;
    return pith__one_type(k, c);
}

PITH_SHARED pith__case *pith__min_length_cases(const pith__keyword *k) { return pith__size_cases(k, PITH__J_STRING, 0); }
PITH_SHARED pith__case *pith__max_length_cases(const pith__keyword *k) { return pith__size_cases(k, PITH__J_STRING, 1); }

PITH_SHARED pith__dfa *pith__keyword_pattern(const pith__keyword *k, pith__json value) {
    pith__str s;
    pith_error e = { 0, "" };
    if (pith__json_string(value, &k->r->arena, &s)) return pith__keyword_wrong(k, "a regular expression"), NULL;
    return pith__schema_dfa(k->r, value.p, pith__pattern(s, &k->r->arena, &e), &e);
}

PITH_SHARED pith__case *pith__pattern_cases(const pith__keyword *k) {
    pith__dfa *set = pith__keyword_pattern(k, k->value);
    return k->r->code ? NULL : pith__one_type(k, set_case(k, PITH__J_STRING, set, 0));
}

#define DAY "(0[1-9]|1[0-9]|2[0-8])"
#define LEAP "([0-9][0-9](0[48]|[2468][048]|[13579][26])|([02468][48]|[13579][26]|[2468]0)00)"
#define DATE "(([0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)-((0[1-9]|1[0-2])-" DAY \
             "|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|" LEAP "-02-29)"
#define TIME "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define BYTE "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define LABEL "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define SHORT "[A-Za-z0-9]([A-Za-z0-9-]{0,18}[A-Za-z0-9])?"
#define GROUP "[0-9A-Fa-f]{1,4}"
#define PATH "(/[A-Za-z0-9._~-]*)*"

/* Texts that every reader takes for one; for some formats there are more. */
static const char *const formats[][2] = {
    { "date", "^" DATE "$" },
    { "time", "^" TIME "$" },
    { "date-time", "^" DATE "[Tt]" TIME "$" },
    { "uuid", "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$" },
    { "email", "^[A-Za-z0-9_+-]+(\\.[A-Za-z0-9_+-]+)*@([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\\.)+[A-Za-z]{2,}$" },
    /* 253 characters at most: three labels of any length, or 12 of up to 20. */
    { "hostname", "^[A-Za-z](([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\\." LABEL "){0,2}|([A-Za-z0-9-]{0,18}[A-Za-z0-9])?(\\." SHORT "){0,11})$" },
    { "ipv4", "^(" BYTE "\\.){3}" BYTE "$" },
    { "ipv6", "^((" GROUP ":){7}" GROUP "|::(" GROUP "(:" GROUP "){0,5})?|(" GROUP ":){1,6}:" GROUP "|(" GROUP ":){1,7}:)$" },
    { "uri", "^[a-z][a-z0-9+-]*://([A-Za-z0-9-]+\\.)*[A-Za-z0-9-]+(:[1-9][0-9]{0,3})?" PATH
             "(\\?[A-Za-z0-9._~=&-]*)?(#[A-Za-z0-9._~-]*)?$" },
    { "duration", "^P([0-9]{1,9}W|([0-9]{1,9}D)?T([0-9]{1,9}H([0-9]{1,9}M([0-9]{1,9}S)?)?|[0-9]{1,9}M([0-9]{1,9}S)?|[0-9]{1,9}S)"
                  "|[0-9]{1,9}Y([0-9]{1,9}M([0-9]{1,9}D)?)?|[0-9]{1,9}M([0-9]{1,9}D)?|[0-9]{1,9}D)$" },
};

#undef DAY
#undef LEAP
#undef DATE
#undef TIME
#undef BYTE
#undef LABEL
#undef SHORT
#undef GROUP
#undef PATH

PITH_SHARED pith__case *pith__format_cases(const pith__keyword *k) {
    pith_error e = { 0, "" };
    if (pith__json_type(k->value) != '"') return pith__keyword_wrong(k, "the name of a format");
    for (size_t i = 0; i < sizeof formats / sizeof *formats && !k->violate; i++) {
        if (!pith__json_is(k->value, formats[i][0])) continue;
        pith__dfa *set = pith__pattern(pith__str_of(formats[i][1]), &k->r->arena, &e);
        set = pith__schema_dfa(k->r, k->value.p, set, &e);
        return k->r->code ? NULL : pith__one_type(k, set_case(k, PITH__J_STRING, set, 0));
    }
    if (k->violate) return pith__not_enforced(k);
    pith__schema_fail(k->r, k->value.p, "this format is not enforced, need date, time, date-time, uuid, email, hostname, "
                      "ipv4, ipv6, uri or duration");
    return NULL;
}
