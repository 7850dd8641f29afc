/* t_grammar.c - GBNF: what is read, what is refused, which texts are sentences; with ../shared, the vectors
 * that llama.cpp's own engine judged. */
#include "../internal.h"
#include "test.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* other programs run beside this one */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static pith_grammar *grammar(const char *text) {
    pith_error e = { 0, "" };
    pith_grammar *g = pith_grammar_new(text, strlen(text), &e);
    if (!g) FAIL("%.200s: %s", text, e.text);
    return g;
}

/* -1: a sentence; else the byte at which it is refused. The text's end counts as a byte. */
static long refused_at(const pith_grammar *g, const char *text, size_t n, pith_error *e) {
    int code = g ? pith_grammar_match(g, text, n, e) : PITH_EARG;
    if (!code) return -1;
    if (code != PITH_EDATA || e->code != code || strncmp(e->text, "byte ", 5) != 0) FAIL("%s: code %d \"%s\"", text, code, e->text);
    return strtol(e->text + 5, NULL, 10);
}

static void sentence(const char *gbnf, const char *text) {
    pith_error e = { 0, "" };
    pith_grammar *g = grammar(gbnf);
    if (refused_at(g, text, strlen(text), &e) != -1) FAIL("%s has no \"%s\": %s", gbnf, text, e.text);
    pith_grammar_free(g);
}

static void not_sentence(const char *gbnf, const char *text, const char *why) {
    pith_error e = { 0, "" };
    pith_grammar *g = grammar(gbnf);
    refused_at(g, text, strlen(text), &e);
    if (strcmp(e.text, why) != 0) FAIL("%s, \"%s\": \"%s\", want \"%s\"", gbnf, text, e.text, why);
    pith_grammar_free(g);
}

static void wrong(const char *gbnf, const char *why) {
    pith_error e = { 0, "" };
    pith_grammar *g = pith_grammar_new(gbnf, strlen(gbnf), &e);
    if (g || e.code != PITH_EDATA || strncmp(e.text, "grammar: ", 9) != 0 || !strstr(e.text, why))
        FAIL("%.200s: \"%s\", want \"%s\"", gbnf, e.text, why);
    pith_grammar_free(g);
}

TEST(sentences) {
    sentence("root ::= \"a\" | b\nb ::= [x-z]{2}", "yz");
    sentence("root ::= \"(\" root? \")\"", "((((()))))");
    sentence("root ::= (\"a\" | \"b\" # one\n\n \"c\")* \r\n", "abcabca");
    sentence("root ::=\n  \"x\"\n", "x");
    sentence("root ::= \"\"", "");
    sentence("root ::= \"a\"{0}", "");
    sentence("root ::= \"a\" { 2 , } \"b\"", "aaab");
    sentence("root ::= . [^\\x00-\\x7F]{2} .", "a\xc3\xa9\xed\x95\x9c\xf0\x9f\x99\x82");
    sentence("root ::= [\\uAC00-\\uD7A3]+", "\xea\xb0\x80\xed\x9e\xa3\xeb\x82\x98");
    sentence("root ::= e\ne ::= \"1\" (\"+\" e)?", "1+1+1+1");
    sentence("root ::= x x x\nx ::= y?\ny ::= \"a\"?", "aaa"); /* rules that may be empty, inside each other */
    sentence("root ::= x \"!\"\nx ::= y z\ny ::= \"a\"*\nz ::= \"b\"*", "!");
    sentence("root ::= (\"a\"? \"b\"?){3}", "abb");
    sentence("root ::= \"a\"\nroot ::= \"b\"", "b");
    sentence("root ::= \"a\" root \"b\" | \"ab\"", "aaaabbbb");
}

TEST(no_sentences) {
    not_sentence("root ::= \"abc\"", "abd", "byte 2: \"d\", need \"c\"");
    not_sentence("root ::= \"abc\"", "ab", "byte 2: the text ends, need \"c\"");
    not_sentence("root ::= [a-c] [0-9]?", "a!", "byte 1: \"!\", need [0-9] or the end");
    not_sentence("root ::= \"a\"", "aa", "byte 1: \"a\", need the end");
    not_sentence("root ::= \"\xed\x95\x9c\" [^\"]", "\xed\x95\x9c\"", "byte 3: \"\\\"\", need [^\\\"]");
    not_sentence("root ::= [\xea\xb0\x80-\xea\xb0\x82]+", "\xea\xb0\x80\xea\xb0\x83", "byte 3: \"\xea\xb0\x83\", need [\xea\xb0\x80-\xea\xb0\x82] or the end");
    not_sentence("root ::= .*", "a\xed\xa0\x80", "byte 1: a byte that is no UTF-8, need any character or the end");
    not_sentence("root ::= .", "\xe4\xbd", "byte 2: the text ends, need any character"); /* half a character */
    not_sentence("root ::= \"a\" | x\nx ::= \"b\" x", "b", "byte 0: \"b\", need \"a\""); /* nothing that begins with b ends */
    not_sentence("root ::= \"a\" (\"b\" x | \"c\") | \"d\"{3} []\nx ::= \"x\" x", "ab", "byte 1: \"b\", need \"c\"");
    not_sentence("root ::= \"a\" []? \"b\"", "ac", "byte 1: \"c\", need \"b\"");
    not_sentence("root ::= \"a\" root \"b\" | \"ab\"", "aabbb", "byte 4: \"b\", need the end");
    not_sentence("root ::= (\"a\"? \"b\"?){3}", "bbbb", "byte 3: \"b\", need the end");
}

TEST(wrong_grammars) {
    wrong("", "no rule named root");
    wrong("a ::= \"b\"", "no rule named root");
    wrong("root ::= \"a\"\nx ::= y", "line 2: rule 'y' is used and not defined");
    wrong("root ::= \"a\nb ::= c", "line 2: rule 'root': a literal without its closing");
    wrong("root ::= [a-", "without its closing ]");
    wrong("root ::= [z-a]", "ends before it begins");
    wrong("root ::= (\"a\"", "not closed");
    wrong("root ::= \"a\")", "without its (");
    wrong("root ::= \"\\q\"", "unknown escape");
    wrong("root ::= \"\\x4\"", "two hexadecimal");
    wrong("root ::= \"\\U00110000\"", "no character");
    wrong("root ::= \"\\uD800\"", "no character");
    wrong("root ::= \"\xff\"", "no UTF-8");
    wrong("root ::= \"a\"{3,2}", "ends before it begins");
    wrong("root ::= \"a\"{2001}", "more than 2000");
    wrong("root ::= \"a\"{,2}", "a number is missing");
    wrong("root ::= \"a\"{99999999999999999999}", "more than 2000");
    wrong("root ::= \"a\"{2,3", "} is missing");
    wrong("root ::= *", "nothing that could be repeated");
    wrong("root ::= \"\"*", "nothing that could be repeated");
    wrong("root ::= x\n\nx ::= (\"\")*", "line 3: rule 'x' repeats something that is always empty");
    wrong("root ::= (\"\" x)+\nx ::= \"\"?", "nothing that could be repeated");
    wrong("root ::= (x)+\nx ::= (\"\")?", "rule 'root' repeats something");
    wrong("root ::= (x){3,}\nx ::= (\"\")?", "rule 'root' repeats something");
    wrong("root ::= root \"a\" | \"a\"", "rule 'root' begins with itself");
    wrong("root ::= \"x\" a\na ::= b? c\nb ::= \"b\"\nc ::= a \"c\" | \"d\"", "begins with itself");
    wrong("root ::= (\"a\"? root){2} | \"y\"", "begins with itself");
    wrong("root ::= \"a\" root", "rule 'root' has no text that ends");
    wrong("root ::= []", "has no text that ends");
    wrong("root ::= \"a\" b ::= \"c\"", "neither a part of the rule");
    wrong("root \"a\"", "::= is missing");
    wrong("root ::= _x", "neither a part");
    wrong("root ::= <think", "without its closing >");
    wrong("root ::= <[]>", "is <[7]>");
    wrong("root ::= <[7>", "is <[7]>");
    wrong("root ::= <[7", "is <[7]>");
    wrong("root ::= <[99999999999]>", "too large");
    wrong("root ::= \"a\" ! <x>", "stands before a token");
    wrong("root ::= <a> root", "has no text that ends");
    wrong("root ::= <[\xff]>", "is <[7]>");
}

TEST(nul_bytes) {
    pith_error e = { 0, "" };
    CHECK(!pith_grammar_new("root ::= \"a\"", 13, &e) && strstr(e.text, "neither a part of the rule")); /* with its NUL */
    CHECK(!pith_grammar_new("root ::= \"\0\" [\0", 15, &e) && e.code == PITH_EDATA);
    pith_grammar *g = pith_grammar_new("root ::= [\\x00] \"\0\"", 19, &e);
    CHECK(g && pith_grammar_match(g, "\0\0", 2, &e) == PITH_OK && pith_grammar_match(g, "\0", 1, &e) == PITH_EDATA);
    pith_grammar_free(g);
}

/* Text around a part that comes n times. */
static char *many_times(const char *begin, const char *part, int n, const char *end) {
    size_t k = strlen(part), size = strlen(begin) + k * (size_t)n + strlen(end) + 1;
    char *text = malloc(size), *p = text;
    p += sprintf(p, "%s", begin);
    for (int i = 0; i < n; i++, p += k) memcpy(p, part, k);
    sprintf(p, "%s", end);
    return text;
}

/* Anything: but within a second. */
static void soon(char *gbnf, char *text, int is) {
    pith_error e = { 0, "" };
    double start = now();
    pith_grammar *g = pith_grammar_new(gbnf, strlen(gbnf), &e);
    int code = g ? pith_grammar_match(g, text, strlen(text), &e) : e.code;
    if (code != is) FAIL("%.60s...: code %d, want %d: %s", gbnf, code, is, e.text);
    if (now() - start > 5) FAIL("%.60s... takes %.1f s", gbnf, now() - start); /* sanitizers and other work are slow too */
    pith_grammar_free(g);
    free(gbnf);
    free(text);
}

TEST(large_grammars) {
    char *text = malloc(400000), *p = text;
    p += sprintf(p, "root ::= r0 | r9999\n");
    for (int i = 0; i < 10000; i++) p += sprintf(p, "r%d ::= \"%d\" r%d?\n", i, i, (i + 1) % 10000);
    soon(text, strdup("9999012345678910"), PITH_OK);
    text = malloc(400000), p = text;
    for (int i = 0; i < 10000; i++) p += sprintf(p, "r%d ::= r%d\n", i, i + 1);
    sprintf(p, "r10000 ::= \"x\" | \"\"\nroot ::= r0");
    soon(text, strdup("x"), PITH_OK);
    soon(many_times("root ::= \"x\"", "|\"abcdefghij\"", 20000, ""), strdup("abcdefghij"), PITH_OK);
    soon(strdup("root ::= \"a\"{0,100000}"), many_times("", "a", 100000, ""), PITH_OK);
    soon(strdup("root ::= (\"a\"? \"b\"?){0,100000} \"!\""), many_times("", "ab", 1000, "!"), PITH_OK);
    soon(strdup("root ::= ((((\"a\"{2000}){2000}){2000}){2000}){2000}"), many_times("", "a", 100000, ""), PITH_EDATA);
    soon(strdup("root ::= [a-z]{0,2000000}"), strdup(""), PITH_EDATA);
    soon(many_times("root ::= ", "(", 100000, ""), strdup(""), PITH_EDATA);
    soon(many_times("root ::= ", "(", 400, "\"a\"") , strdup(""), PITH_EDATA);
    soon(strdup("root ::= [\\x00-\\U0010FFFF]*"), many_times("", "\xea\xb0\x80z", 100000, ""), PITH_OK);
    soon(many_times("# ", "#", 1000000, "\nroot ::= \"a\""), strdup("a"), PITH_OK);
}

/* Where a text can be read in exponentially many ways, the work grows as the text does. */
TEST(ambiguous_grammars) {
    char *half = many_times("", "a", 200, "");
    soon(strdup("root ::= \"a\" (root b | root c | d)?\nb ::= \"b\"\nc ::= [b]\nd ::= \"b\""),
         many_times(half, "b", 199, ""), PITH_OK);
    free(half);
    soon(strdup("root ::= \"a\" root root | \"a\""), many_times("", "a", 301, ""), PITH_OK);
    soon(strdup("root ::= ((\"a\"* \"a\"*)* \"a\"*)* \"b\""), many_times("", "a", 2000, "b"), PITH_OK);
    soon(strdup("root ::= x{50}\nx ::= (\"a\" | \"aa\" | \"aaa\")?"), many_times("", "a", 150, ""), PITH_OK);
}

TEST(deep_texts) {
    char *half = many_times("", "[", 200000, "");
    char *text = many_times(half, "]", 200000, "");
    free(half);
    soon(strdup("root ::= \"[\" (root (\",\" root)*)? \"]\""), text, PITH_OK);
}

/* ---- ../shared/chat/grammar -------------------------------------------------------------------------- */

static char *read_all(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    char *text = f ? malloc(1 << 20) : NULL;
    *n = f ? fread(text, 1, (1 << 20) - 1, f) : 0;
    if (text) text[*n] = 0;
    if (f) fclose(f);
    return text;
}

static size_t bytes_of_chars(pith__str s, int64_t chars) {
    size_t i = 0;
    for (uint32_t c; chars > 0 && i < s.n; chars--) i += pith__utf8_read((const uint8_t *)s.p + i, s.n - i, &c);
    return i;
}

static void judge(const char *name, const pith_grammar *g, pith__json all) {
    static const char *const kinds[] = { "accept", "incomplete", "reject" };
    pith__arena arena = { 0 };
    for (int k = 0; k < 3; k++) {
        pith__json list = pith__json_get(all, kinds[k]), item;
        while (pith__json_next(&list, NULL, &item)) {
            pith__str s = { "", 0 };
            pith__json it = item, part = item;
            pith_error e = { 0, "" };
            int64_t chars = -1;
            if (k == 2 && pith__json_next(&it, NULL, &part)) {
                pith__json number;
                if (pith__json_next(&it, NULL, &number)) pith__json_int(number, &chars);
            }
            pith__json_string(part, &arena, &s);
            long want = k == 0 ? -1 : k == 1 ? (long)s.n : (long)bytes_of_chars(s, chars);
            long got = refused_at(g, s.p, s.n, &e);
            if (got != want) FAIL("%s: %s %.*s: %ld, want %ld: %s", name, kinds[k], (int)s.n, s.p, got, want, e.text);
        }
    }
    pith__arena_free(&arena);
}

static void shared_grammars(const char *shared) {
    static const char *const names[] = {
        "alternation", "ambiguous", "any-char-star", "arithmetic", "case-insensitive-by-class", "char-class-specials",
        "comments-and-lines", "empty-literal", "escapes", "groups-nested", "json", "literal", "names", "negated-class",
        "newline-in-literal-by-escape", "no-spaces-needed", "one-line-many-spaces", "repeat-min", "repeat-of-group-of-rule",
        "repeat-of-repeat", "repeat-range", "rule-order-and-unused", "sequence-of-rules", "star-of-nullable", "star-plus-opt",
        "unicode-literal" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[600];
        size_t n, n_json;
        snprintf(path, sizeof path, "%s/chat/grammar/gbnf/%s.gbnf", shared, names[i]);
        char *text = read_all(path, &n);
        snprintf(path, sizeof path, "%s/chat/grammar/gbnf/%s.json", shared, names[i]);
        char *json = read_all(path, &n_json);
        pith_error e = { 0, "" };
        pith__json all = { NULL, NULL };
        pith_grammar *g = text ? pith_grammar_new(text, n, &e) : NULL;
        if (!g || !json || pith__json_read(&all, json, n_json, path, &e)) FAIL("%s: %s", names[i], e.text);
        else judge(names[i], g, all);
        pith_grammar_free(g);
        free(text);
        free(json);
    }
}

TEST(vectors) {
    char path[600];
    size_t n;
    const char *shared = getenv("PITH_SHARED") ? getenv("PITH_SHARED") : "../shared";
    snprintf(path, sizeof path, "%s/chat/grammar", shared);
    if (access(path, R_OK) != 0) SKIP("no ../shared/chat/grammar");
    shared_grammars(shared);
    snprintf(path, sizeof path, "%s/chat/grammar/gbnf-invalid.json", shared);
    char *json = read_all(path, &n);
    pith__json list = { NULL, NULL }, item;
    pith_error e = { 0, "" };
    pith__arena arena = { 0 };
    int count = 0;
    REQUIRE(json && pith__json_read(&list, json, n, path, &e) == PITH_OK);
    for (; pith__json_next(&list, NULL, &item); count++) {
        pith__str s;
        pith__json_string(pith__json_get(item, "grammar"), &arena, &s);
        pith_grammar *g = pith_grammar_new(s.p, s.n, &e);
        if (g) FAIL("%.*s is taken", (int)s.n, s.p);
        pith_grammar_free(g);
    }
    CHECK(count > 10);
    pith__arena_free(&arena);
    free(json);
}

int main(void) {
    RUN(sentences);
    RUN(no_sentences);
    RUN(wrong_grammars);
    RUN(nul_bytes);
    RUN(large_grammars);
    RUN(ambiguous_grammars);
    RUN(deep_texts);
    RUN(vectors);
    return DONE();
}
