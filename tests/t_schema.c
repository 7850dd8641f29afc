/* t_schema.c - JSON Schema: which documents its grammar has, what is refused and by what name; with ../shared, the
 * vectors that the Python package jsonschema judged. */
#include "../internal.h"
#include "test.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int is_document(const pith_grammar *g, const char *text, size_t n) {
    pith_error e = { 0, "" };
    int code = pith_grammar_match(g, text, n, &e);
    if (code && code != PITH_EDATA) FAIL("%.*s: code %d %s", (int)n, text, code, e.text);
    return code == PITH_OK;
}

/* Documents that a schema has, and has not, one a line. */
static void judge(const char *schema, const char *valid, const char *invalid) {
    pith_error e = { 0, "" };
    pith_grammar *g = pith_grammar_schema(schema, strlen(schema), &e);
    if (!g) FAIL("%.300s: %s", schema, e.text);
    for (int is = 0; g && is < 2; is++)
        for (const char *p = is ? valid : invalid; *p;) {
            size_t n = strcspn(p, "\n");
            if (is_document(g, p, n) != is) FAIL("%.300s: %.*s is %s", schema, (int)n, p, is ? "refused" : "taken");
            p += n + (p[n] != 0);
        }
    pith_grammar_free(g);
}

static void refused(const char *schema, const char *why) {
    pith_error e = { 0, "" };
    pith_grammar *g = pith_grammar_schema(schema, strlen(schema), &e);
    if (g || e.code >= 0 || strncmp(e.text, "schema: ", 8) != 0 || !strstr(e.text, why))
        FAIL("%.300s: \"%s\", want \"%s\"", schema, e.text, why);
    pith_grammar_free(g);
}

TEST(types) {
    judge("{}", "1\n\"a\"\n[1, [], {}]\n{\"a\": [true, null]}\n-0.5e+10", "\na\n{a: 1}\n[1,]\n01\n1.\n.5\n\"\\x\"\n[1");
    judge("true", "null", "nul");
    judge("{\"type\": \"integer\"}", "0\n-12\n123456789012345678", "1.5\n1.0\n1e3\n00\n\"1\"\n-");
    judge("{\"type\": [\"null\", \"boolean\"]}", "null\ntrue\nfalse", "0\n\"\"");
    judge("{\"type\": \"string\"}", "\"\"\n\"\\ud83d\\ude42\\u00e9\\n\"\n\"\xf0\x9f\x99\x82\"",
          "\"\\ud83d\"\n\"\\ude42\"\n\"\t\"\n\"a");
    judge("{\"type\": \"array\"}", "[]\n[ 1 ]\n[1,2]", "[1 2]\n[,]");
}

TEST(values) {
    judge("{\"enum\": [\"red\", \"r\xc3\xa9\", 1.50, 12, -3e2, null, [1], {\"a\": {}}]}",
          "\"red\"\n\"r\xc3\xa9\"\n\"r\\u00e9\"\n1.5\n1.50\n12\n-300\nnull\n[1]\n{\"a\": {}}\n{ \"a\":{}}",
          "\"re\"\n1\n[]\n{}\n[1, 1]\n300\ntrue");
    judge("{\"const\": \"a\\\"\\\\/\\n\"}", "\"a\\\"\\\\/\\n\"\n\"a\\\"\\\\\\/\\u000a\"", "\"a\"");
    judge("{\"const\": false}", "false", "true\n0");
    judge("{\"type\": \"string\", \"enum\": [\"a\", 1]}", "\"a\"", "1");
    judge("{\"enum\": [1, 2, 3], \"not\": {\"enum\": [2]}}", "1\n3", "2\n2.0");
}

TEST(numbers) {
    judge("{\"type\": \"integer\", \"minimum\": -12, \"exclusiveMaximum\": 105}", "-12\n0\n99\n104",
          "-13\n105\n1.5\n-0\n1000\n-100");
    judge("{\"type\": \"integer\", \"minimum\": 1.5, \"maximum\": 3.5}", "2\n3", "1\n4");
    judge("{\"type\": \"number\", \"exclusiveMinimum\": 0, \"maximum\": 0.25}", "0.25\n0.250\n0.0001\n0.2",
          "0\n0.0\n0.2501\n1\n-1");
    judge("{\"type\": \"number\", \"minimum\": -1.5e1, \"maximum\": -0.5}", "-15\n-15.0\n-0.5\n-7.25",
          "-15.1\n-0.4\n0\n1");
    judge("{\"type\": \"integer\", \"multipleOf\": 7, \"minimum\": 10}", "14\n21\n700", "7\n15\n10");
    judge("{\"type\": \"number\", \"multipleOf\": 2}", "0\n4\n-6\n10.0", "3\n4.5");
    judge("{\"type\": \"integer\", \"maximum\": 9223372036854775807}", "5\n-5\n123456789012345678", "a");
    judge("{\"minimum\": 3}", "3\n\"a\"\nnull\n[1]", "2\n-4");
    judge("{\"type\": \"number\", \"not\": {\"enum\": [0, -2.5]}}", "0.5\n-2.25\n2.5\n0.0000000000001", "0\n0.0000000000\n0.0000000000000\n-2.5\n-2.500000000000");
    judge("{\"enum\": [0, -2.5]}", "0\n-2.5\n-2.500", "-2\n2.5");
    judge("{\"type\": \"number\", \"not\": {\"type\": \"integer\"}}", "0.5\n-2.25", "2\n2.0\n\"a\"");
}

TEST(strings) {
    judge("{\"type\": \"string\", \"minLength\": 2, \"maxLength\": 3}",
          "\"ab\"\n\"\\n\\\\\\\"\"\n\"\xed\x95\x9c\xea\xb8\x80\"\n\"\\ud83d\\ude42\\ud83d\\ude42\"",
          "\"a\"\n\"abcd\"\n\"\xf0\x9f\x99\x82\"");
    judge("{\"pattern\": \"^[a-c]+[\\\"\\\\\\\\]?$\"}", "\"abc\"\n\"a\\\"\"\n\"a\\\\\"\n12",
          "\"\"\n\"ad\"\n\"a\\\"b\"");
    judge("{\"type\": \"string\", \"pattern\": \"b\", \"maxLength\": 2}", "\"b\"\n\"ab\"\n\"b\\t\"", "\"a\"\n\"abb\"");
    judge("{\"type\": \"string\", \"pattern\": \"^\xea\xb0\x80.$\"}",
          "\"\xea\xb0\x80x\"\n\"\\uac00\\ud83d\\ude42\"\n\"\\uAC00\\u00e9\"",
          "\"\\uac01x\"\n\"\\uac00\"\n\"\xea\xb0\x80\\n\"");
    judge("{\"type\": \"string\", \"not\": {\"pattern\": \"a\"}}", "\"\"\n\"bc\"", "\"bac\"");
    judge("{\"type\": \"string\", \"not\": {\"maxLength\": 2}}", "\"abc\"", "\"ab\"");
    judge("{\"format\": \"date\", \"type\": \"string\"}",
          "\"2024-02-29\"\n\"2000-02-29\"\n\"2023-12-31\"\n\"2023-06-30\"",
          "\"2023-02-29\"\n\"1900-02-29\"\n\"2023-04-31\"\n\"2023-13-01\"\n\"2023-1-1\"\n\"0000-01-01\"\n\"0000-02-29\"");
    judge("{\"format\": \"date-time\", \"type\": \"string\"}",
          "\"2024-02-29T23:59:59Z\"\n\"2024-02-28T00:00:00.5+09:00\"", "\"2024-02-29\"\n\"2024-02-29T24:00:00Z\"");
    judge("{\"format\": \"uuid\", \"type\": \"string\"}", "\"123e4567-e89b-12d3-a456-426614174000\"",
          "\"123e4567e89b12d3a456426614174000\"");
    judge("{\"format\": \"ipv4\", \"type\": \"string\"}", "\"192.168.0.255\"",
          "\"192.168.0.256\"\n\"1.2.3\"\n\"01.2.3.4\"");
    judge("{\"format\": \"ipv6\", \"type\": \"string\"}", "\"::1\"\n\"1:2:3:4:5:6:7:8\"\n\"fe80::\"",
          "\"1:2\"\n\":::\"\n\"12345::\"");
    judge("{\"type\": \"string\", \"not\": {\"pattern\": \"^.{2}$\"}, \"maxLength\": 3}", "\"e\\u2029\"\n\"a\"\n\"ab\\ud83d\\ude42\"",
          "\"ab\"\n\"e\\udddd\"\n\"e\\uDDDDx\"\n\"\\ud800\"\n\"a\xed\xb0\x80z\""); /* half a surrogate pair is no character */
    char host[300] = "\"";
    for (int i = 0; i < 3; i++) strcat(host, i ? ".a" : "a"), memset(host + strlen(host), 'b', 62), host[1 + 64 * (i + 1) - 1] = 0;
    judge("{\"format\": \"hostname\", \"type\": \"string\"}", strcat(host, "\"\n\"a.b.c.d.e.example.com\"\n\"x\"\n\"a-b.co.kr\""),
          "\"\"\n\"a..b\"\n\"-a\"\n\"a-.b\"\n\"a.\"");
    judge("{\"format\": \"email\", \"type\": \"string\"}", "\"a.b@c-d.org\"", "\"a\"\n\"a@\"\n\"a b@c.org\"");
}

TEST(arrays) {
    judge("{\"type\": \"array\", \"items\": {\"type\": \"integer\"}, \"minItems\": 1, \"maxItems\": 2}",
          "[1]\n[1, 2]\n[1,2]", "[]\n[1, 2, 3]\n[\"a\"]");
    judge("{\"type\": \"array\", \"prefixItems\": [{\"type\": \"integer\"}, {\"type\": \"string\"}], \"items\": false}", "[]\n[1]\n[1, \"a\"]", "[\"a\"]\n[1, \"a\", 1]");
    judge("{\"type\": \"array\", \"prefixItems\": [{\"const\": 1}], \"items\": {\"const\": 2}, \"minItems\": 3}", "[1, 2, 2]\n[1, 2, 2, 2]", "[1, 2]\n[2, 2, 2]");
    judge("{\"type\": \"array\", \"items\": {\"type\": \"integer\"}, \"contains\": {\"const\": 7}, \"maxItems\": 3}", "[7]\n[1, 7, 2]\n[7, 7]", "[]\n[1]\n[1, 2, 3, 7]\n[7, \"a\"]");
    judge("{\"type\": \"array\", \"contains\": {\"type\": \"string\"}, \"minContains\": 2, \"maxContains\": 2}", "[\"a\", \"b\"]\n[1, \"a\", 2, \"b\", 3]", "[\"a\"]\n[\"a\", \"b\", \"c\"]");
    judge("{\"type\": \"array\", \"items\": {\"enum\": [\"a\", \"b\", 1, true]}, \"uniqueItems\": true, \"minItems\": 1}", "[\"a\"]\n[1, \"b\", true, \"a\"]", "[]\n[\"a\", \"a\"]\n[1, 1]\n[\"c\"]");
    judge("{\"type\": \"array\", \"uniqueItems\": true, \"maxItems\": 1}", "[]\n[[1]]", "[1, 2]");
    judge("{\"type\": \"array\", \"not\": {\"items\": {\"type\": \"string\"}}}", "[1]\n[\"a\", 1]", "[]\n[\"a\"]");
}

TEST(objects) {
    judge("{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\"}, \"b\": {}, \"c\": false}, \"required\": [\"b\", \"d\"]}",
          "{\"b\": 1, \"d\": 2}\n{\"a\": 1, \"b\": 1, \"d\": []}\n{\"b\":1,\"d\":2,\"e\":3,\"ab\":4}",
          "{\"b\": 1}\n{\"a\": \"x\", \"b\": 1, \"d\": 1}\n{\"b\": 1, \"c\": 1, \"d\": 1}\n{\"b\": 1, \"d\": 1, \"a\": \"x\"}");
    judge("{\"type\": \"object\", \"patternProperties\": {\"^i_\": {\"type\": \"integer\"}, \"_s$\": {\"maximum\": 9}}, \"additionalProperties\": {\"type\": \"string\"}}",
          "{\"i_a\": 1, \"b\": \"x\"}\n{\"i_s\": 9}\n{\"a_s\": null}",
          "{\"i_a\": \"x\"}\n{\"b\": 1}\n{\"i_s\": 10}\n{\"a_s\": 10}");
    judge("{\"type\": \"object\", \"propertyNames\": {\"maxLength\": 2, \"pattern\": \"^[a-z]*$\"}}",
          "{}\n{\"ab\": 1, \"c\": 2}", "{\"abc\": 1}\n{\"A\": 1}");
    judge("{\"type\": \"object\", \"minProperties\": 2, \"maxProperties\": 2, \"properties\": {\"a\": {}, \"b\": {}, \"c\": {}}, \"additionalProperties\": false}",
          "{\"a\": 1, \"c\": 2}\n{\"b\": 1, \"c\": 2}", "{}\n{\"a\": 1}\n{\"a\": 1, \"b\": 2, \"c\": 3}");
    judge("{\"type\": \"object\", \"minProperties\": 1, \"maxProperties\": 2}",
          "{\"a\": 1}\n{\"a\": 1, \"b\": 2}", "{}\n{\"a\": 1, \"b\": 2, \"c\": 3}");
    judge("{\"type\": \"object\", \"properties\": {\"a\": {}, \"b\": {}}, \"dependentRequired\": {\"a\": [\"b\"]}}", "{}\n{\"b\": 1}\n{\"a\": 1, \"b\": 2}", "{\"a\": 1}");
    judge("{\"type\": \"object\", \"properties\": {\"a\": {\"const\": 1}, \"a\": {\"const\": 2}}, \"unevaluatedProperties\": false}", "{\"a\": 2}", "{\"a\": 1}\n{\"b\": 1}");
}

TEST(schemas_together) {
    judge("{\"anyOf\": [{\"type\": \"integer\"}, {\"type\": \"string\", \"maxLength\": 1}]}", "1\n\"a\"",
          "\"ab\"\nnull");
    judge("{\"oneOf\": [{\"type\": \"integer\"}, {\"type\": \"number\", \"minimum\": 10}]}", "3\n10.5",
          "12\n12.0\n2.5");
    judge("{\"oneOf\": [{\"properties\": {\"k\": {\"const\": \"a\"}, \"v\": {\"type\": \"integer\"}}, \"required\": [\"k\", \"v\"], \"type\": \"object\"},"
          "{\"properties\": {\"k\": {\"const\": \"b\"}, \"v\": {\"type\": \"string\"}}, \"required\": [\"k\", \"v\"], \"type\": \"object\"}]}",
          "{\"k\": \"a\", \"v\": 1}\n{\"k\": \"b\", \"v\": \"x\"}", "{\"k\": \"a\", \"v\": \"x\"}\n{\"k\": \"b\"}");
    judge("{\"allOf\": [{\"type\": \"object\", \"properties\": {\"a\": {\"minimum\": 3}}, \"required\": [\"a\"]}, {\"properties\": {\"a\": {\"maximum\": 5}, \"b\": {}}, \"additionalProperties\": false}]}",
          "{\"a\": 4}\n{\"a\": 4, \"b\": 1}", "{\"a\": 2}\n{\"a\": 6}\n{\"a\": 4, \"c\": 1}");
    judge("{\"type\": \"object\", \"properties\": {\"k\": {\"enum\": [\"i\", \"s\"]}, \"v\": {}}, \"required\": [\"k\", \"v\"], \"if\": {\"properties\": {\"k\": {\"const\": \"i\"}}}, \"then\": {\"properties\": {\"v\": {\"type\": \"integer\"}}}, \"else\": {\"properties\": {\"v\": {\"type\": \"string\"}}}}",
          "{\"k\": \"i\", \"v\": 1}\n{\"k\": \"s\", \"v\": \"x\"}",
          "{\"k\": \"i\", \"v\": \"x\"}\n{\"k\": \"s\", \"v\": 1}");
    judge("{\"not\": {\"anyOf\": [{\"type\": [\"object\", \"array\", \"null\", \"boolean\"]}, {\"const\": \"x\"}, {\"minimum\": 3}]}}", "2\n-1.5", "\"x\"\n\"y\"\n3\nnull\n{}");
    judge("{\"$defs\": {\"a/b\": {\"type\": \"array\", \"items\": {\"$ref\": \"#/$defs/a~1b\"}}}, \"$ref\": \"#/$defs/a~1b\"}", "[]\n[[], [[]]]", "[1]\n{}");
    judge("{\"properties\": {\"next\": {\"anyOf\": [{\"$ref\": \"#\"}, {\"type\": \"null\"}]}}, \"required\": [\"next\"], \"type\": \"object\"}", "{\"next\": {\"next\": null}}", "{\"next\": {}}\n{\"next\": 1}");
    judge("{\"$defs\": {\"a\": {\"minLength\": 2}}, \"$ref\": \"#/$defs/a\", \"type\": \"string\", \"maxLength\": 3}", "\"ab\"", "\"a\"\n\"abcd\"");
}

TEST(references) {
    judge("{\"$defs\": {\"a\": {\"$anchor\": \"one\", \"const\": 1}}, \"$ref\": \"#one\"}", "1", "2");
    judge("{\"items\": {\"$ref\": \"#here\"}, \"$defs\": {\"x\": {\"default\": {\"$anchor\": \"here\"}, \"anyOf\": [{\"enum\": [3]},"
          "{\"$dynamicAnchor\": \"here\", \"type\": \"integer\"}]}}, \"type\": \"array\", \"minItems\": 1}", "[1]\n[3, 4]", "[\"a\"]\n[]");
    refused("{\"$ref\": \"#no\", \"examples\": [{\"$anchor\": \"no\"}]}", "#/$ref: $ref leads to nothing");
}

TEST(what_is_refused) {
    refused("{", "byte 1");
    refused("[]", "#: a schema is an object");
    refused("false", "#: nothing can satisfy this");
    refused("{\"type\": \"int\"}", "#/type: need null");
    refused("{\"type\": \"integer\", \"minimum\": 5, \"maximum\": 4}", "nothing can satisfy this");
    refused("{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"string\", \"minLength\": 3, \"maxLength\": 2}}, \"required\": [\"a\"]}", "#/properties/a: nothing can satisfy this");
    refused("{\"type\": \"object\", \"properties\": {\"a\": {\"$ref\": \"#\"}}, \"required\": [\"a\"]}",
          "nothing can satisfy this");
    refused("{\"$ref\": \"#/$defs/no\"}", "#/$ref: $ref leads to nothing");
    refused("{\"$ref\": \"#\"}", "leads back to itself");
    refused("{\"$defs\": {\"a\": {\"$ref\": \"#/$defs/b\"}, \"b\": {\"allOf\": [{\"$ref\": \"#/$defs/a\"}]}}, \"$ref\": \"#/$defs/a\"}", "leads back to itself");
    refused("{\"$ref\": \"other.json\"}", "another document");
    refused("{\"type\": \"array\", \"items\": {\"pattern\": \"(\"}}", "#/items/pattern: a ( without its )");
    refused("{\"pattern\": \"(?=a)\"}", "looking ahead");
    refused("{\"type\": \"array\", \"uniqueItems\": true}", "uniqueItems is not enforced");
    refused("{\"maxLenght\": 3}", "#/maxLenght: an unknown keyword is not enforced");
    refused("{\"format\": \"regex\"}", "#/format: this format is not enforced");
    refused("{\"multipleOf\": 0.01}", "#/multipleOf: multipleOf is not enforced");
    refused("{\"not\": {\"format\": \"date\"}}", "format is not enforced where it must not hold");
    refused("{\"minLength\": -1}", "#/minLength: need a whole number");
    refused("{\"required\": \"a\"}", "#/required: need a list");
    refused("{\"type\": \"object\", \"minProperties\": 3}", "minProperties is not enforced");
    refused("{\"unevaluatedItems\": false}", "unevaluatedItems is not enforced");
    refused("{\"items\": 3}", "#/items: a schema is an object");
    refused("{\"enum\": []}", "nothing can satisfy this");
}

/* Refused, or of a few rules: either soon, and in little memory. */
TEST(counts_within_counts) {
    static const char *const too_large[] = { "([ab]{1,200}[bc]{1,200}){1,50}", "((a{0,20}b{0,20}){0,20}c){0,20}", "(a|b){1,1000}(a|c){1,1000}",
                                             "(a{0,999}){0,999}", ".{0,1000}a.{0,1000}" };
    char text[200];
    double start = (double)clock();
    for (size_t i = 0; i < sizeof too_large / sizeof *too_large; i++) {
        snprintf(text, sizeof text, "{\"type\": \"string\", \"pattern\": \"^%s$\"}", too_large[i]);
        refused(text, "#/pattern: the pattern needs too many states");
    }
    CHECK(((double)clock() - start) / CLOCKS_PER_SEC < 30); /* 1 s; much slower with sanitizers */
    judge("{\"type\": \"string\", \"pattern\": \"^(ab?){0,3}(c{0,2}d){1,2}$\"}", "\"d\"\n\"ababcd\"\n\"aabaccdccd\"\n\"dd\"",
          "\"\"\n\"ab\"\n\"aaaad\"\n\"cccd\"\n\"ddd\"\n\"cdc\"");
    judge("{\"type\": \"string\", \"pattern\": \"^(a?b?c?d?){0,250}$\"}", "\"\"\n\"dddcba\"", "\"e\"");
    judge("{\"type\": \"string\", \"pattern\": \"^([a-z]{1,16}-?){1,24}$\"}", "\"abc-d-efghij\"", "\"-a\"\n\"a--b\"");
    char all[8000] = "{\"properties\": {", *p = all + strlen(all);
    for (int i = 0; i < 50; i++) p += sprintf(p, "%s\"p%d\": {\"pattern\": \"^([a-z]{1,16}-?){1,%d}$\"}", i ? ", " : "", i, 20 + i % 5);
    strcpy(p, "}}");
    refused(all, "the schema is too large");
}

/* ---- ../shared/chat/grammar ------------------------------------------------------------------------------ */

static void judge_shared(pith__json one) {
    pith__arena arena = { 0 };
    pith_error e = { 0, "" };
    pith__str name = { "", 0 };
    pith__json schema = pith__json_get(one, "schema"), after = pith__json_get(one, "valid");
    pith__json_string(pith__json_get(one, "name"), &arena, &name);
    size_t n = (size_t)(after.p - schema.p);
    while (n && schema.p[n - 1] != ',') n--; /* up to the comma before "valid" */
    pith_grammar *g = pith_grammar_schema(schema.p, n - 1, &e);
    if (!g && !(pith__str_is(name, "unique-items") && strstr(e.text, "uniqueItems is not enforced"))) FAIL("%.*s: %s", (int)name.n, name.p, e.text);
    for (int is = 0; g && is < 2; is++) {
        pith__json list = pith__json_get(one, is ? "valid" : "invalid"), item, next;
        while (pith__json_next(&list, NULL, &item)) {
            next = list; /* stands at the comma or bracket behind the item */
            size_t size = (size_t)(next.p - item.p);
            if (is_document(g, item.p, size) != is) FAIL("%.*s: %.*s is %s", (int)name.n, name.p, (int)size, item.p, is ? "refused" : "taken");
        }
    }
    pith_grammar_free(g);
    pith__arena_free(&arena);
}

TEST(vectors) {
    char path[600];
    static char text[1 << 16];
    const char *shared = getenv("PITH_SHARED") ? getenv("PITH_SHARED") : "../shared";
    snprintf(path, sizeof path, "%s/chat/grammar/schemas.json", shared);
    FILE *f = fopen(path, "rb");
    if (!f) SKIP("no ../shared/chat/grammar");
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    pith__json list = { NULL, NULL }, one;
    pith_error e = { 0, "" };
    int count = 0;
    REQUIRE(n < sizeof text && pith__json_read(&list, text, n, path, &e) == PITH_OK);
    for (; pith__json_next(&list, NULL, &one); count++) judge_shared(one);
    CHECK(count > 40);
}

int main(void) {
    RUN(types);
    RUN(values);
    RUN(numbers);
    RUN(strings);
    RUN(arrays);
    RUN(objects);
    RUN(schemas_together);
    RUN(references);
    RUN(what_is_refused);
    RUN(counts_within_counts);
    RUN(vectors);
    return DONE();
}
