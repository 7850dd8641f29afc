/* keywords.c - the keywords of a JSON Schema, one by one, as cases (schema.c): arrays, objects, schemas of schemas.
 *
 * Each keyword gives the cases of the values that satisfy it, or with violate of those that do not: not, oneOf and
 * if need them. A keyword that only describes is passed over; one that is not known here is refused. */
#include "text.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_REFS = 100 };

typedef pith__case *keyword_cases(const pith__keyword *k);

static pith__case *schema_cases(pith__schema *r, pith__json j, int violate);

/* ---- arrays ------------------------------------------------------------------------------------------------ */

static pith__case *min_items_cases(const pith__keyword *k) { return pith__size_cases(k, PITH__J_ARRAY, 0); }
static pith__case *max_items_cases(const pith__keyword *k) { return pith__size_cases(k, PITH__J_ARRAY, 1); }

/* An item that violates the schema: at its place, or anywhere behind the first ones. */
static pith__case *wrong_items(const pith__keyword *k, pith__json first, pith__json rest) {
    pith__schema *r = k->r;
    pith__case *list = NULL;
    pith__json it = first, item;
    for (uint32_t i = 0; pith__json_next(&it, NULL, &item) && !r->code; i++) {
        pith__case *c = pith__case_new(r, PITH__J_ARRAY);
        if (!c || !(c->item = pith__schema_new(r, i + 1, sizeof *c->item))) return NULL;
        for (c->n = 0; c->n < i;) c->item[c->n++] = pith__want_any(r);
        c->item[c->n++] = pith__want_schema(r, item, 1);
        c->min = i + 1;
        pith__case_add(&list, c);
    }
    if (!rest.p) return list;
    if (first.p) return pith__not_enforced(k);
    pith__case *c = pith__case_new(r, PITH__J_ARRAY);
    if (!c) return NULL;
    c->contains = pith__want_schema(r, rest, 1);
    c->contains_min = c->min = 1;
    pith__case_add(&list, c);
    return list;
}

/* prefixItems and items; of older drafts items as a list, and additionalItems. */
static pith__case *items_cases(const pith__keyword *k) {
    pith__schema *r = k->r;
    pith__json first = pith__keyword_beside(k, "prefixItems"), rest = pith__keyword_beside(k, "items"), item;
    if (pith__json_type(rest) == '[') first = rest, rest = pith__keyword_beside(k, "additionalItems");
    if (first.p && pith__json_type(first) != '[') return pith__keyword_wrong(k, "a list of schemas");
    if (k->violate) return wrong_items(k, first, rest);
    pith__case *c = pith__case_new(r, PITH__J_ARRAY);
    if (!c || !(c->item = pith__schema_new(r, pith__json_count(first), sizeof *c->item))) return NULL;
    if (rest.p) c->rest = pith__want_schema(r, rest, 0);
    while (pith__json_next(&first, NULL, &item) && !r->code) {
        c->item[c->n] = pith__want_schema(r, item, 0);
        if (!r->code && pith__want_never(c->item[c->n]) && c->max > c->n) c->max = (uint32_t)c->n;
        c->n++;
    }
    if (!r->code && pith__want_never(c->rest) && c->max > c->n) c->max = (uint32_t)c->n;
    return pith__one_type(k, c);
}

static pith__case *contains_cases(const pith__keyword *k) {
    pith__keyword min = *k, max = *k, of = *k;
    min.value = pith__keyword_beside(k, "minContains");
    max.value = pith__keyword_beside(k, "maxContains");
    of.value = pith__keyword_beside(k, "contains");
    pith__case *c = pith__case_new(k->r, PITH__J_ARRAY);
    uint32_t least = 1, most = UINT32_MAX;
    if (!c || (min.value.p && !pith__keyword_limit(&min, &least)) || (max.value.p && !pith__keyword_limit(&max, &most))) return NULL;
    if (!of.value.p) return k->violate ? NULL : pith__cases_but(k->r, -1);
    if (k->violate) {
        if (least != 1 || max.value.p) return pith__not_enforced(k);
        c->rest = pith__want_schema(k->r, of.value, 1);
        if (!k->r->code && pith__want_never(c->rest)) c->max = 0;
        return pith__one_type(k, c);
    }
    if (least == 0 && most == UINT32_MAX) return pith__cases_but(k->r, -1);
    c->contains = pith__want_schema(k->r, of.value, 0);
    c->contains_min = least;
    c->contains_max = most;
    c->min = least;
    return least > most ? pith__cases_but(k->r, PITH__J_ARRAY) : pith__one_type(k, c);
}

static pith__case *unique_cases(const pith__keyword *k) {
    char type = pith__json_type(k->value);
    if (type != 't' && type != 'f') return pith__keyword_wrong(k, "true or false");
    if (type == 'f') return k->violate ? NULL : pith__cases_but(k->r, -1);
    if (k->violate) return pith__not_enforced(k);
    pith__case *c = pith__case_new(k->r, PITH__J_ARRAY);
    if (c) c->unique = 1;
    return pith__one_type(k, c);
}

/* ---- objects ----------------------------------------------------------------------------------------------- */

static pith__case *min_properties_cases(const pith__keyword *k) { return pith__size_cases(k, PITH__J_OBJECT, 0); }
static pith__case *max_properties_cases(const pith__keyword *k) { return pith__size_cases(k, PITH__J_OBJECT, 1); }

/* Objects that have these properties (a list of names), or with have 0 lack the one at name. */
static pith__case *having(const pith__keyword *k, pith__json names, int have) {
    pith__case *c = pith__case_new(k->r, PITH__J_OBJECT);
    pith__json it = names, name = names;
    if (!c || !(c->property = pith__schema_new(k->r, have ? pith__json_count(names) : 1, sizeof *c->property))) return NULL;
    while (!have || pith__json_next(&it, NULL, &name)) {
        pith__property *p = &c->property[c->n];
        *p = (pith__property){ { NULL, 0 }, have ? pith__want_any(k->r) : pith__want_nothing(k->r), have };
        if (pith__json_string(name, &k->r->arena, &p->name)) return pith__keyword_wrong(k, "a list of names");
        int twice = 0;
        for (size_t i = 0; i < c->n; i++) twice |= !pith__str_cmp(c->property[i].name, p->name);
        c->n += !twice;
        if (!have) break;
    }
    return c;
}

static pith__case *required_cases(const pith__keyword *k) {
    pith__json it = k->value, name;
    pith__case *list = NULL;
    if (pith__json_type(it) != '[') return pith__keyword_wrong(k, "a list of names");
    if (!k->violate) return pith__one_type(k, having(k, k->value, 1));
    while (pith__json_next(&it, NULL, &name) && !k->r->code) {
        pith__case *c = having(k, name, 0);
        if (c) pith__case_add(&list, c);
    }
    return list;
}

/* Split every set of other names by a pattern: those in it have to satisfy w too. */
static void split_names(const pith__keyword *k, pith__case *c, pith__dfa *keys, pith__want *w, int *plain) {
    pith__schema *r = k->r;
    size_t n = c->n_other;
    pith__names_of *all = pith__schema_new(r, 2 * n, sizeof *all);
    int *is_plain = pith__schema_new(r, 2 * n, sizeof *is_plain);
    size_t used = 0;
    if (n > 64) pith__schema_fail(r, k->value.p, "too many patterns for names");
    for (size_t i = 0; all && is_plain && i < 2 * n && !r->code; i++) {
        const pith__names_of *o = &c->other[i / 2];
        pith__dfa *old = o->keys ? o->keys : pith__schema_any(r);
        pith__names_of part = { pith__schema_join(r, old, keys, i % 2 ? PITH__AND_NOT : PITH__AND),
                                i % 2 ? o->want : pith__want_both(r, o->want, w) };
        if (r->code || !part.keys->n) continue;
        is_plain[used] = plain[i / 2] && i % 2;
        all[used++] = part;
    }
    for (size_t i = 0; i < used && !r->code; i++) plain[i] = is_plain[i];
    c->other = all;
    c->n_other = used;
}

/* Objects with a property that violates its schema. */
static pith__case *wrong_property(const pith__keyword *k, pith__json properties) {
    pith__schema *r = k->r;
    pith__case *list = NULL;
    pith__json key, value, rest = pith__keyword_beside(k, "additionalProperties"), patterns = pith__keyword_beside(k, "patternProperties");
    if ((rest.p && pith__json_type(rest) != 't') || (patterns.p && pith__json_count(patterns))) return pith__not_enforced(k);
    while (pith__json_next(&properties, &key, &value) && !r->code) {
        pith__case *c = having(k, key, 0);
        if (!c) return NULL;
        c->property[0].want = pith__want_schema(r, value, 1);
        c->property[0].required = 1;
        if (!r->code && !pith__want_never(c->property[0].want)) pith__case_add(&list, c);
    }
    return list;
}

/* properties, patternProperties and additionalProperties. */
static pith__case *properties_cases(const pith__keyword *k) {
    pith__schema *r = k->r;
    pith__json list = pith__keyword_beside(k, "properties"), patterns = pith__keyword_beside(k, "patternProperties"), key, value;
    pith__json rest = pith__keyword_beside(k, "additionalProperties");
    int plain[128] = { 1 };
    if (!rest.p) rest = pith__keyword_beside(k, "unevaluatedProperties"); /* alone, that is the same */
    if ((list.p && pith__json_type(list) != '{') || (patterns.p && pith__json_type(patterns) != '{'))
        return pith__keyword_wrong(k, "an object of schemas");
    if (k->violate) return wrong_property(k, list);
    pith__case *c = pith__case_new(r, PITH__J_OBJECT);
    pith__json count = list;
    size_t n = 0;
    while (pith__json_next(&count, &key, &value)) n++;
    if (!c || !(c->property = pith__schema_new(r, n, sizeof *c->property))) return NULL;
    while (pith__json_next(&patterns, &key, &value) && !r->code)
        split_names(k, c, pith__keyword_pattern(k, key), pith__want_schema(r, value, 0), plain);
    while (pith__json_next(&list, &key, &value) && !r->code) {
        pith__property p = { { NULL, 0 }, pith__want_schema(r, value, 0), 0 };
        pith__str name = { "", 0 };
        pith__json_string(key, &r->arena, &name);
        for (size_t i = 0; i < c->n_other && !r->code; i++) /* its patterns count as well */
            if (c->other[i].keys && pith__dfa_has(c->other[i].keys, name))
                p.want = pith__want_both(r, p.want, c->other[i].want);
        pith__property_add(r, c, key, p);
    }
    for (size_t i = 0; rest.p && i < c->n_other && !r->code; i++)
        if (plain[i]) c->other[i].want = pith__want_schema(r, rest, 0);
    return pith__one_type(k, c);
}

static pith__case *property_names_cases(const pith__keyword *k) {
    pith__schema *r = k->r;
    pith__dfa *keys = NULL;
    int all = 0;
    if (k->violate) return pith__not_enforced(k);
    for (const pith__case *c = schema_cases(r, k->value, 0); c && !r->code; c = c->next) {
        if (c->type != PITH__J_STRING) continue;
        pith__dfa *some = pith__schema_strings(r, c);
        all |= pith__case_free(c);
        keys = keys ? pith__schema_join(r, keys, some, PITH__OR) : some;
    }
    pith__case *c = pith__case_new(r, PITH__J_OBJECT);
    if (!c || all) return pith__one_type(k, c);
    if (!keys) {
        c->max = 0;
        return pith__one_type(k, c);
    }
    c->other = pith__schema_new(r, 2, sizeof *c->other);
    if (!c->other) return NULL;
    c->other[0] = (pith__names_of){ keys, pith__want_any(r) };
    c->other[1] = (pith__names_of){ pith__schema_join(r, pith__schema_any(r), keys, PITH__AND_NOT), pith__want_nothing(r) };
    c->n_other = 2;
    return pith__one_type(k, c);
}

/* Where there is such a property, others are needed, or a schema. */
static pith__case *dependent_cases(const pith__keyword *k) {
    pith__schema *r = k->r;
    pith__json it = k->value, key, value;
    pith__case *all = pith__cases_but(r, -1);
    if (k->violate) return pith__not_enforced(k);
    if (pith__json_type(it) != '{') return pith__keyword_wrong(k, "an object");
    while (pith__json_next(&it, &key, &value) && !r->code) {
        pith__case *list = pith__cases_but(r, PITH__J_OBJECT), *lacks = having(k, key, 0), *has = having(k, key, 0);
        pith__case *then = pith__json_type(value) == '[' ? having(k, value, 1) : schema_cases(r, value, 0);
        if (r->code) break;
        has->property[0].want = pith__want_any(r);
        has->property[0].required = 1;
        pith__case_add(&list, lacks);
        pith__cases_add(r, &list, pith__cases_both(r, key.p, has, then));
        all = pith__cases_both(r, key.p, all, list);
    }
    return all;
}

/* ---- schemas of schemas ------------------------------------------------------------------------------------ */

static pith__case *all_cases(const pith__keyword *k, int violate) {
    pith__json it = k->value, value;
    pith__case *list = violate ? NULL : pith__cases_but(k->r, -1);
    if (pith__json_type(it) != '[' || !pith__json_count(it)) return pith__keyword_wrong(k, "a list of schemas");
    while (pith__json_next(&it, NULL, &value) && !k->r->code) {
        pith__case *some = schema_cases(k->r, value, k->violate);
        if (violate) pith__cases_add(k->r, &list, some);
        else list = pith__cases_both(k->r, value.p, list, some);
    }
    return list;
}

static pith__case *all_of_cases(const pith__keyword *k) { return all_cases(k, k->violate); }
static pith__case *any_of_cases(const pith__keyword *k) { return all_cases(k, !k->violate); }

/* Can a value be of both lists? A look at the types, at sets, and at what properties must be. */
static int never_both(pith__schema *r, const pith__case *a, const pith__case *b) {
    for (; a && !r->code; a = a->next)
        for (const pith__case *o = b; o && !r->code; o = o->next) {
            const pith__case *c = pith__case_both(r, a, o);
            int none = !c;
            for (size_t i = 0; c && !none && r->looks < 3 && c->type == PITH__J_OBJECT && i < c->n; i++) {
                pith__want *w = c->property[i].want;
                r->looks++;
                none = c->property[i].required && w->n > 0 && !w->busy && !pith__want_cases(r, w);
                r->looks--;
            }
            if (!none) return 0;
        }
    return 1;
}

static pith__case *one_of_cases(const pith__keyword *k) {
    pith__schema *r = k->r;
    pith__json it = k->value, value, other;
    pith__case *all = NULL;
    if (k->violate) return pith__not_enforced(k);
    if (pith__json_type(it) != '[' || !pith__json_count(it)) return pith__keyword_wrong(k, "a list of schemas");
    while (pith__json_next(&it, NULL, &value) && !r->code) {
        pith__case *list = schema_cases(r, value, 0);
        for (pith__json rest = k->value; pith__json_next(&rest, NULL, &other) && !r->code;)
            if (other.p != value.p && !never_both(r, list, schema_cases(r, other, 0)))
                list = pith__cases_both(r, value.p, list, schema_cases(r, other, 1));
        pith__cases_add(r, &all, list);
    }
    return all;
}

static pith__case *not_cases(const pith__keyword *k) { return schema_cases(k->r, k->value, !k->violate); }

static pith__case *if_cases(const pith__keyword *k) {
    pith__schema *r = k->r;
    pith__json test = pith__keyword_beside(k, "if"), branch[2] = { pith__keyword_beside(k, "then"), pith__keyword_beside(k, "else") };
    pith__case *all = NULL;
    if (!test.p || (!branch[0].p && !branch[1].p)) return k->violate ? NULL : pith__cases_but(r, -1);
    for (int i = 0; i < 2 && !r->code; i++) {
        if (!branch[i].p && k->violate) continue;
        pith__case *list = schema_cases(r, test, i);
        if (branch[i].p) list = pith__cases_both(r, branch[i].p, list, schema_cases(r, branch[i], k->violate));
        pith__cases_add(r, &all, list);
    }
    return all;
}

/* The value that a JSON pointer (RFC 6901, in a URI: with %) leads to. */
static pith__json follow_pointer(pith__json at, pith__str pointer) {
    size_t i = 0;
    while (i < pointer.n && pith__json_type(at)) {
        char name[256];
        size_t n = 0;
        if (pointer.p[i++] != '/') return (pith__json){ NULL, NULL };
        for (; i < pointer.n && pointer.p[i] != '/' && n < sizeof name - 1; i++) {
            char c = pointer.p[i];
            unsigned hex;
            if (c == '%' && i + 2 < pointer.n && sscanf(pointer.p + i + 1, "%2x", &hex) == 1) c = (char)hex, i += 2;
            if (c == '~' && i + 1 < pointer.n) c = pointer.p[++i] == '1' ? '/' : '~';
            name[n++] = c;
        }
        name[n] = 0;
        pith__json next = { NULL, NULL }, it = at, value;
        if (pith__json_type(at) == '{') next = pith__json_get(at, name);
        if (pith__json_type(at) == '[' && n && strspn(name, "0123456789") == n)
            for (long k = strtol(name, NULL, 10); pith__json_next(&it, NULL, &value); k--)
                if (k == 0) next = value;
        at = next;
    }
    return at;
}

/* The schema in which "$anchor" is name; what is an example or a value is no schema. */
static pith__json find_anchor(pith__json at, const char *name) {
    static const char *const values[] = { "const", "enum", "default", "example", "examples" };
    pith__json key = { NULL, NULL }, value, found = { NULL, NULL }, it = at;
    int is_object = pith__json_type(at) == '{';
    if (!is_object && pith__json_type(at) != '[') return found;
    if (is_object && (pith__json_is(pith__json_get(at, "$anchor"), name) || pith__json_is(pith__json_get(at, "$dynamicAnchor"), name)))
        return at;
    while (!found.p && pith__json_next(&it, is_object ? &key : NULL, &value)) {
        size_t i = 0;
        while (is_object && i < sizeof values / sizeof *values && !pith__json_is(key, values[i])) i++;
        if (!is_object || i == sizeof values / sizeof *values) found = find_anchor(value, name);
    }
    return found;
}

static pith__case *ref_cases(const pith__keyword *k) {
    pith__str s;
    if (pith__json_string(k->value, &k->r->arena, &s)) return pith__keyword_wrong(k, "a pointer: #/$defs/name");
    if (!s.n || s.p[0] != '#') {
        pith__schema_fail(k->r, k->value.p, "$ref to another document is not followed");
        return NULL;
    }
    int is_anchor = s.n > 1 && s.p[1] != '/';
    char *name = pith__schema_new(k->r, s.n, 1);
    if (!name) return NULL;
    memcpy(name, s.p + 1, s.n - 1);
    name[s.n - 1] = 0;
    pith__json to = is_anchor ? find_anchor(k->r->root, name) : follow_pointer(k->r->root, (pith__str){ s.p + 1, s.n - 1 });
    if (!to.p) {
        pith__schema_fail(k->r, k->value.p, "$ref leads to nothing");
        return NULL;
    }
    if (k->r->depth >= MOST_REFS) {
        pith__schema_fail(k->r, k->value.p, "$ref leads back to itself with nothing between");
        return NULL;
    }
    return schema_cases(k->r, to, k->violate);
}

static pith__case *other_properties_cases(const pith__keyword *k) {
    if (!pith__keyword_beside(k, "properties").p) return properties_cases(k);
    return k->violate ? NULL : pith__cases_but(k->r, -1); /* done */
}

/* Alone it is additionalProperties; with schemas beside it, what they have seen would have to be known. */
static pith__case *unevaluated_cases(const pith__keyword *k) {
    static const char *const others[] = { "$ref", "allOf", "anyOf", "oneOf", "if", "dependentSchemas" };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (pith__keyword_beside(k, others[i]).p) return pith__not_enforced(k);
    if (k->violate) return pith__not_enforced(k);
    int done = pith__keyword_beside(k, "properties").p || pith__keyword_beside(k, "patternProperties").p || pith__keyword_beside(k, "additionalProperties").p;
    return done ? pith__cases_but(k->r, -1) : properties_cases(k);
}

/* ---- all of them ---------------------------------------------------------------------------------------------- */

static pith__case *refused_cases(const pith__keyword *k) { return pith__not_enforced(k); }

/* In the order in which they are looked at: types first, since they leave the fewest cases. What stands behind the
 * one above it is done with that, if that is there. */
static const struct {
    const char *name, *behind;
    keyword_cases *cases;
} keywords[] = {
    { "type", NULL, pith__type_cases },
    { "enum", NULL, pith__enum_cases },
    { "const", NULL, pith__const_cases },
    { "properties", NULL, properties_cases },
    { "patternProperties", "properties", properties_cases },
    { "additionalProperties", "patternProperties", other_properties_cases },
    { "unevaluatedProperties", NULL, unevaluated_cases },
    { "required", NULL, required_cases },
    { "minimum", NULL, pith__minimum_cases },
    { "maximum", NULL, pith__maximum_cases },
    { "exclusiveMinimum", NULL, pith__exclusive_minimum_cases },
    { "exclusiveMaximum", NULL, pith__exclusive_maximum_cases },
    { "multipleOf", NULL, pith__multiple_cases },
    { "minLength", NULL, pith__min_length_cases },
    { "maxLength", NULL, pith__max_length_cases },
    { "pattern", NULL, pith__pattern_cases },
    { "format", NULL, pith__format_cases },
    { "prefixItems", NULL, items_cases },
    { "items", "prefixItems", items_cases },
    { "minItems", NULL, min_items_cases },
    { "maxItems", NULL, max_items_cases },
    { "contains", NULL, contains_cases },
    { "uniqueItems", NULL, unique_cases },
    { "minProperties", NULL, min_properties_cases },
    { "maxProperties", NULL, max_properties_cases },
    { "propertyNames", NULL, property_names_cases },
    { "dependentRequired", NULL, dependent_cases },
    { "dependentSchemas", NULL, dependent_cases },
    { "dependencies", NULL, dependent_cases },
    { "$ref", NULL, ref_cases },
    { "allOf", NULL, all_of_cases },
    { "anyOf", NULL, any_of_cases },
    { "oneOf", NULL, one_of_cases },
    { "not", NULL, not_cases },
    { "if", NULL, if_cases },
    { "unevaluatedItems", NULL, refused_cases },
    { "$dynamicRef", NULL, refused_cases },
    { "$recursiveRef", NULL, refused_cases },
};

enum { N_KEYWORD = sizeof keywords / sizeof *keywords };

/* Keywords that say nothing about a value, or that are read with others. */
static int only_describes(pith__json key) {
    static const char *const names[] = {
        "$schema", "$id", "$comment", "$defs", "definitions", "$anchor", "$vocabulary", "$dynamicAnchor", "title",
        "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "contentEncoding",
        "contentMediaType", "contentSchema", "discriminator", "externalDocs", "xml", "id", "then", "else", "additionalItems",
        "minContains", "maxContains" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (pith__json_is(key, names[i])) return 1;
    return key.end - key.p > 3 && key.p[1] == 'x' && key.p[2] == '-';
}

static pith__case *keyword_list(pith__schema *r, pith__json j, int violate, const pith__json *value) {
    pith__case *list = violate ? NULL : pith__cases_but(r, -1);
    for (int i = 0; i < N_KEYWORD && !r->code; i++) {
        pith__keyword k = { r, j, value[i], keywords[i].name, violate };
        if (!value[i].p || (keywords[i].behind && value[i - 1].p)) continue;
        pith__case *some = keywords[i].cases(&k);
        if (violate) pith__cases_add(r, &list, some);
        else list = pith__cases_both(r, j.p, list, some);
    }
    return list;
}

static pith__case *schema_cases(pith__schema *r, pith__json j, int violate) {
    char type = pith__json_type(j);
    pith__json it = j, key, at, value[N_KEYWORD];
    if (type == 't' || type == 'f') return (type == 't') == !violate ? pith__cases_but(r, -1) : NULL;
    if (type != '{') pith__schema_fail(r, j.p, "a schema is an object, true or false");
    memset(value, 0, sizeof value);
    while (!r->code && pith__json_next(&it, &key, &at)) {
        int known = only_describes(key);
        for (int i = 0; i < N_KEYWORD && !known; i++)
            if (pith__json_is(key, keywords[i].name)) value[i] = at, known = 1;
        if (!known) pith__schema_fail(r, at.p, "an unknown keyword is not enforced");
    }
    r->depth++;
    if (r->depth > 2 * MOST_REFS) pith__schema_fail(r, j.p, "schemas too deep inside each other");
    pith__case *list = r->code ? NULL : keyword_list(r, j, violate, value);
    r->depth--;
    return list;
}

PITH_SHARED const pith__case *pith__want_cases(pith__schema *r, pith__want *w) {
    if (w->known || r->code) return w->cases;
    pith__case *list = pith__cases_but(r, -1);
    w->busy = 1;
    for (size_t i = 0; i < w->n && !r->code; i++) {
        const pith__demand *d = &w->demand[i];
        pith__json j = pith__json_at(d->at, r->end);
        pith__keyword k = { r, j, j, "const", 0 };
        pith__case *some = !d->at ? NULL : d->how == PITH__EQUAL ? pith__const_cases(&k) : schema_cases(r, j, d->how == PITH__VIOLATE);
        list = pith__cases_both(r, d->at, list, some);
    }
    w->busy = 0;
    w->known = 1;
    return w->cases = list;
}
