/* t_json.c - the JSON reader: what is JSON and what is not, strings, numbers, walking. */
#include "../internal.h"
#include "test.h"

#include <stdlib.h>

static int check(const char *text) {
    pith__json j;
    pith_error e = { 0, "" };
    int code = pith__json_read(&j, text, strlen(text), "t.json", &e);
    if (code && (e.code != code || strncmp(e.text, "t.json: byte ", 13) || strchr(e.text, '\n')))
        FAIL("%s gives the error \"%s\"", text, e.text);
    return code;
}

static pith__json read(const char *text) {
    pith__json j = { NULL, NULL };
    pith_error e = { 0, "" };
    if (pith__json_read(&j, text, strlen(text), "t.json", &e)) FAIL("%s: %s", text, e.text);
    return j;
}

TEST(sound_texts) {
    static const char *const good[] = { "0",
                                        "-0",
                                        "-12",
                                        "1.5",
                                        "1e5",
                                        "1E+5",
                                        "1.25e-7",
                                        "true",
                                        "false",
                                        "null",
                                        "\"\"",
                                        "[]",
                                        "{}",
                                        " [ ] ",
                                        "\t{\r\n}\n",
                                        "[1,2,3]",
                                        "[[],{},[[]]]",
                                        "{\"a\":1,\"b\":[2,{\"c\":null}]}",
                                        "{\"a\" : 1 , \"a\" : 2}",
                                        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"",
                                        "\"\\ud83d\\ude00\"",
                                        "\"\\ud800\"",
                                        "\"\\udc00x\"",
                                        "\"\x7f\"",
                                        "\"h\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
                                        "\xef\xbb\xbf{}",
                                        "[1e400]",
                                        "\"\\u0000\"" };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (check(good[i])) FAIL("refused: %s", good[i]);
}

TEST(unsound_texts) {
    static const char *const bad[] = { "",
                                       " ",
                                       "{",
                                       "[",
                                       "}",
                                       "]",
                                       "[1",
                                       "[1,",
                                       "[1,]",
                                       "[,1]",
                                       "[1 2]",
                                       "{\"a\"}",
                                       "{\"a\":}",
                                       "{\"a\":1,}",
                                       "{a:1}",
                                       "{1:1}",
                                       "{\"a\":1 \"b\":2}",
                                       "[1}",
                                       "{\"a\":1]",
                                       "1 2",
                                       "{}x",
                                       "[]]",
                                       "// x\n1",
                                       "/**/1",
                                       "+1",
                                       "01",
                                       "-",
                                       "-a",
                                       "1.",
                                       ".5",
                                       "1e",
                                       "1e+",
                                       "0x10",
                                       "NaN",
                                       "Infinity",
                                       "-Infinity",
                                       "nul",
                                       "True",
                                       "truex",
                                       "'a'",
                                       "\"",
                                       "\"a",
                                       "\"\\",
                                       "\"\\\"",
                                       "\"\\x41\"",
                                       "\"\\u12\"",
                                       "\"\\u12g4\"",
                                       "\"\\u123",
                                       "\"\n\"",
                                       "\"\t\"",
                                       "\"\x01\"",
                                       "\"\x80\"",
                                       "\"\xc0\x80\"",
                                       "\"\xc3\"",
                                       "\"\xe2\x82\"",
                                       "\"\xed\xa0\x80\"",
                                       "\"\xf4\x90\x80\x80\"",
                                       "\"\xf5\x80\x80\x80\"",
                                       "\"\xff\"",
                                       "\"\xf0\x80\x80\x80\"",
                                       "\"\xe0\x80\x80\"",
                                       "\xff{}",
                                       "{}\xef\xbb\xbf",
                                       "[\xc2\xa0]" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (check(bad[i]) != PITH_EFORMAT) FAIL("taken: %s", bad[i]);
    pith__json j;
    CHECK(pith__json_read(&j, "[1\0]", 4, "t.json", NULL) == PITH_EFORMAT);
    CHECK(pith__json_read(&j, "[1]\0", 4, "t.json", NULL) == PITH_EFORMAT);
    CHECK(pith__json_read(&j, "\"a\\\0b\"", 6, "t.json", NULL) == PITH_EFORMAT);
}

/* Any text cut anywhere is no text any more, and is not read past its end (in the sanitizer build).
 */
TEST(cut_anywhere) {
    const char *text =
        "{\"a\\n\":[-1.5e+3,\"\\ud83d\\ude00\xe2\x82\xac\",{\"b\":[true,false,null,{}]}]}";
    size_t n = strlen(text);
    for (size_t cut = 0; cut < n; cut++) {
        char *copy = malloc(cut + 1);
        REQUIRE(copy);
        memcpy(copy, text, cut);
        pith__json j;
        int code = pith__json_read(&j, copy, cut, "t.json", NULL);
        if (code != PITH_EFORMAT) FAIL("cut at %zu is taken", cut);
        free(copy);
    }
}

TEST(depth) {
    char text[400];
    for (int n = 60; n <= 70; n++) {
        memset(text, '[', (size_t)n);
        memset(text + n, ']', (size_t)n);
        text[2 * n] = 0;
        EQ(check(text), n <= 64 ? PITH_OK : PITH_EFORMAT);
        char *p = text;
        for (int i = 0; i < n; i++) p += sprintf(p, "{\"\":");
        *p++ = '1';
        memset(p, '}', (size_t)n);
        p[n] = 0;
        EQ(check(text), n <= 64 ? PITH_OK : PITH_EFORMAT);
    }
    size_t much = 10 << 20;
    char *p = malloc(much);
    REQUIRE(p);
    memset(p, '[', much);
    pith__json j;
    EQ(pith__json_read(&j, p, much, "t.json", NULL), PITH_EFORMAT);
    free(p);
}

static void string_is(const char *text, const char *want, size_t n) {
    pith__arena a = { 0 };
    pith__str s = { NULL, 0 };
    EQ(pith__json_string(read(text), &a, &s), PITH_OK);
    if (s.n != n || memcmp(s.p, want, n))
        FAIL("%s has %zu bytes \"%.*s\"", text, s.n, (int)s.n, s.p);
    CHECK(strlen(want) != n || pith__json_is(read(text), want));
    CHECK(!pith__json_is(read(text), "something else"));
    if (n && strlen(want) == n) { /* neither longer nor shorter */
        char other[100];
        sprintf(other, "%sx", want);
        CHECK(!pith__json_is(read(text), other));
        other[n - 1] = 0;
        CHECK(!pith__json_is(read(text), other));
    }
    pith__arena_free(&a);
}

TEST(strings) {
    string_is("\"\"", "", 0);
    string_is("\"plain\"", "plain", 5);
    string_is("\"a\\\\\"", "a\\", 2);
    string_is("\"\\\\\\\"\"", "\\\"", 2);
    string_is("\"\\\"\\/\\b\\f\\n\\r\\t\"", "\"/\b\f\n\r\t", 7);
    string_is("\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\"", "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
              10);
    string_is("\"\\uD83D\\uDE00\"", "\xf0\x9f\x98\x80", 4);
    string_is("\"\\ud83d\"", "\xef\xbf\xbd", 3);
    string_is("\"\\ud83dx\"", "\xef\xbf\xbdx", 4);
    string_is("\"\\ud83d\\u0041\"", "\xef\xbf\xbd" "A", 4);
    string_is("\"\\ud83d\\ud83d\\ude00\"", "\xef\xbf\xbd\xf0\x9f\x98\x80", 7);
    string_is("\"\\ude00\"", "\xef\xbf\xbd", 3);
    string_is("\"a\\u0000b\"", "a\0b", 3);
    CHECK(pith__json_half(read("\"\\ud83dx\"")) && pith__json_half(read("\"a\\ude00\"")));
    CHECK(pith__json_half(read("\"\\ud83d\\ud83d\\ude00\"")));
    CHECK(!pith__json_half(read("\"\\ud83d\\ude00 \\\\ud83d\\ufffd\"")) && !pith__json_half(read("[\"\\ud83d\"]")));
    pith__str s;
    EQ(pith__json_string(read("5"), NULL, &s), PITH_EFORMAT);
    EQ(pith__json_string((pith__json){ NULL, NULL }, NULL, &s), PITH_EFORMAT);
    CHECK(!pith__json_is(read("null"), "null"));
}

TEST(integers) {
    static const struct {
        const char *text;
        int ok;
        int64_t want;
    } some[] = {
        { "0", 1, 0 }, { "-0", 1, 0 }, { "-1", 1, -1 }, { "4294967296", 1, 4294967296 },
        { "9223372036854775807", 1, INT64_MAX }, { "-9223372036854775808", 1, INT64_MIN },
        { "9223372036854775808", 0, 0 }, { "-9223372036854775809", 0, 0 },
        { "18446744073709551617", 0, 0 }, { "99999999999999999999999999", 0, 0 }, { "1.0", 0, 0 },
        { "1.5", 0, 0 }, { "1e3", 0, 0 }, { "1e400", 0, 0 }, { "\"5\"", 0, 0 }, { "null", 0, 0 },
        { "true", 0, 0 }, { "[5]", 0, 0 }
    };
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        int64_t got = 0;
        int ok = pith__json_int(read(some[i].text), &got);
        if (ok != some[i].ok || (ok && got != some[i].want))
            FAIL("%s is %d %lld", some[i].text, ok, (long long)got);
    }
}

TEST(numbers) {
    static const struct {
        const char *text;
        double want;
    } some[] = { { "0", 0 },
                 { "-0.0", 0 },
                 { "1", 1 },
                 { "-2.5", -2.5 },
                 { "1e-05", 1e-05 },
                 { "1E-6", 1e-6 },
                 { "0.1", 0.1 },
                 { "500000.0", 500000 },
                 { "1000000.0", 1e6 },
                 { "10000", 1e4 },
                 { "3.14159265358979", 3.14159265358979 },
                 { "1.0299999713897705", 1.0299999713897705 },
                 { "64.12435150146484", 64.12435150146484 },
                 { "123456789012345678901234567890", 123456789012345678901234567890.0 },
                 { "1e22", 1e22 },
                 { "0.000000000000000000000000000001", 1e-30 },
                 { "1e308", 1e308 },
                 { "1.7976931348623157e308", 1.7976931348623157e308 },
                 { "2.2250738585072014e-308", 2.2250738585072014e-308 },
                 { "1e-400", 0 },
                 { "0e999999999999999999999", 0 },
                 { "1e-999999999999999999999", 0 },
                 { "0.00000000000000000001e20", 1 } };
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        double got = -77;
        CHECK(pith__json_float(read(some[i].text), &got));
        if (!(fabs(got - some[i].want) <= fabs(some[i].want) * 2.3e-16))
            FAIL("%s is %.17g", some[i].text, got);
    }
    double y;
    static const char *const none[] = { "1e400", "-1e309", "1e99999999999999999999",
                                        "null",  "\"1\"",  "[1]" };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        CHECK(!pith__json_float(read(none[i]), &y));
    char many[6000] = "0.";
    memset(many + 2, '1', 5000);
    CHECK(pith__json_float(read(many), &y));
    NEAR(y, 1 / 9.0, 1e-16);
}

/* The nearest double or its neighbour, for numbers of any size: against strtod. */
TEST(numbers_as_strtod_reads_them) {
    uint64_t rng = 1;
    for (int i = 0; i < 20000; i++) {
        rng = rng * 6364136223846793005u + 1442695040888963407u;
        char text[64];
        uint64_t bits = rng;
        double x, got = 0;
        memcpy(&x, &bits, sizeof x);
        if (!(fabs(x) < 1e300 && fabs(x) > 1e-300)) continue;
        sprintf(text, "%.*g", (int)(rng >> 11) % 8 + 10, x);
        double want = strtod(text, NULL);
        if (!pith__json_float(read(text), &got) || !(fabs(got - want) <= fabs(want) * 2.3e-16))
            FAIL("%s is %.17g, want %.17g", text, got, want);
    }
}

TEST(walking) {
    pith__json j = read(
        " { \"a\" : [ 1 , [2,\"]\"] , {\"x\":\"}\"} ] , \"b\\u0020c\" : \"\\\\\" , \"a\":7 } ");
    pith__json it = j, key, value;
    EQ(pith__json_type(j), '{');
    REQUIRE(pith__json_next(&it, &key, &value));
    CHECK(pith__json_is(key, "a") && pith__json_type(value) == '[');
    EQ(pith__json_count(value), 3);
    pith__json list = value, item;
    static const char types[] = "0[{";
    for (int i = 0; i < 3; i++) {
        REQUIRE(pith__json_next(&list, NULL, &item));
        EQ(pith__json_type(item), types[i]);
    }
    CHECK(!pith__json_next(&list, NULL, &item));
    CHECK(!pith__json_next(&list, NULL, &item));
    REQUIRE(pith__json_next(&it, &key, &value));
    CHECK(pith__json_is(key, "b c") && pith__json_is(value, "\\"));
    REQUIRE(pith__json_next(&it, &key, &value));
    CHECK(!pith__json_next(&it, &key, &value));
    int64_t i = 0;
    CHECK(pith__json_int(pith__json_get(j, "a"), &i)); /* the last of the two */
    EQ(i, 7);
    EQ(pith__json_type(pith__json_get(j, "z")), 0);
    EQ(pith__json_type(pith__json_get(pith__json_get(j, "z"), "y")), 0);
    EQ(pith__json_type(pith__json_get(read("[1]"), "y")), 0);
    static const char *const names[] = { "b c", "z", "a" };
    pith__json found[3];
    pith__json_pick(j, names, found, 3);
    CHECK(pith__json_type(found[0]) == '"' && !pith__json_type(found[1]) &&
          pith__json_type(found[2]) == '0');
    static const char *const flat[] = { "5", "\"a\"", "null", "{}", "[]", "[ ]" };
    for (size_t k = 0; k < sizeof flat / sizeof *flat; k++) {
        it = read(flat[k]);
        CHECK(!pith__json_next(&it, NULL, &value));
        it = read(flat[k]);
        CHECK(!pith__json_next(&it, &key, &value));
    }
}

TEST(plain_strings_of_an_array) {
    static const char *const want[] = { "a b", "", "\xc4\xa0 longer than eight bytes", "last" };
    static const char *const none[] = { "[]", "[1]", "[[\"a\"]]", "[\"a\\\"\"]", "[\"eight bytes, and then \\n\"]", "{\"a\":\"b\"}", "\"\"", "\"a\"" };
    pith__json it = read(" [ \"a b\" ,\"\",\"\xc4\xa0 longer than eight bytes\"\n, \"last\" ] "), value;
    pith__str s;
    for (int i = 0; i < 4; i++) {
        REQUIRE(pith__json_next_plain(&it, &s));
        CHECK(pith__str_is(s, want[i]));
    }
    CHECK(!pith__json_next_plain(&it, &s) && !pith__json_next(&it, NULL, &value));
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        pith__json j = it = read(none[i]);
        CHECK(!pith__json_next_plain(&it, &s) && it.p == j.p);
    }
    it = read("[\"a\", \"\\n\", \"b\"]");
    CHECK(pith__json_next_plain(&it, &s) && !pith__json_next_plain(&it, &s));
    CHECK(pith__json_next(&it, NULL, &value) && pith__json_is(value, "\n"));
    CHECK(pith__json_next_plain(&it, &s) && pith__str_is(s, "b") && !pith__json_next_plain(&it, &s));
}

TEST(errors_name_the_value) {
    pith_error e;
    pith__json j = read("{\"hidden_size\":\"big\\n\"}");
    EQ(pith__json_fail(pith__json_get(j, "hidden_size"), PITH_EFORMAT, "config.json", "hidden_size",
                       "an integer", &e), PITH_EFORMAT);
    CHECK(!strcmp(e.text, "config.json: hidden_size is \"big\\n\", need an integer"));
    pith__json_fail(pith__json_get(j, "x"), PITH_EFORMAT, "config.json", "x", "a number", &e);
    CHECK(!strcmp(e.text, "config.json: has no x, need a number"));
}

/* A long string with many escaped quotes takes time in proportion to its length. */
TEST(ten_megabytes) {
    size_t n = 10 << 20;
    char *p = malloc(n + 2);
    REQUIRE(p);
    p[0] = '"';
    for (size_t i = 0; i < n; i++) p[i + 1] = i % 2 ? '"' : '\\';
    p[n + 1] = '"';
    pith__json j;
    pith__arena a = { 0 };
    pith__str s = { NULL, 0 };
    EQ(pith__json_read(&j, p, n + 2, "t.json", NULL), PITH_OK);
    EQ(pith__json_string(j, &a, &s), PITH_OK);
    EQ(s.n, n / 2);
    pith__arena_free(&a);
    memset(p + 1, '\\', n);
    EQ(pith__json_read(&j, p, n + 2, "t.json", NULL), PITH_OK);
    EQ(pith__json_string(j, &a, &s), PITH_OK);
    EQ(s.n, n / 2);
    pith__arena_free(&a);
    free(p);
}

int main(void) {
    RUN(sound_texts);
    RUN(unsound_texts);
    RUN(cut_anywhere);
    RUN(depth);
    RUN(strings);
    RUN(integers);
    RUN(numbers);
    RUN(numbers_as_strtod_reads_them);
    RUN(walking);
    RUN(plain_strings_of_an_array);
    RUN(errors_name_the_value);
    RUN(ten_megabytes);
    return DONE();
}
