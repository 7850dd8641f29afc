/* t_constrain.c - texts that obey a grammar: what a random model writes under one is a sentence of it, whatever the
 * seed; the tokens allowed are those that byte by byte are, and obeying costs no other draw. */
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

enum { MOST = 400, BYTE = 3 }; /* token BYTE + b is byte b */

static pith_model *model; /* lies in file */
static pith_session *session;
static bytes file;

static void set_up(void) {
    static char path[] = "/tmp/t_constrain.XXXXXX";
    pith_error e = { 0, "" };
    if (!model) {
        bytes v = fixture_tokenizer();
        file = fixture_llama2c(&fixture_tiny, 0, 3);
        int fd = mkstemp(path);
        pith_options opt = { .tokenizer = path, .n_threads = 1 };
        if (fd >= 0 && !save(&v, path)) model = pith_open_memory(file.p, file.n, &opt, &e);
        if (!model) printf("Bail out! %s\n", e.text), exit(1);
        close(fd);
        unlink(path);
        free(v.p);
    }
    pith_session_free(session);
    session = pith_session_new(model, &(pith_context){ .n_ctx = MOST }, &e);
}

static void read_prompt(const char *text) {
    pith_token t[MOST];
    int n = pith_encode(model, text, strlen(text), PITH_BOS, t, MOST);
    EQ(pith_sync(session, t, n, NULL), PITH_OK);
}

static pith_grammar *grammar(const char *text) {
    pith_error e = { 0, "" };
    pith_grammar *g = *text == '{' ? pith_grammar_schema(text, strlen(text), &e) : pith_grammar_new(text, strlen(text), &e);
    if (!g) FAIL("%s: %s", text, e.text);
    return g;
}

/* Why the text ended. */
static int write_all(pith_generation *g, char *text, size_t *n, pith_error *e) {
    int code = 0;
    for (*n = 0; !code;) {
        code = pith_generate(session, g, e);
        if (code < 0) return code;
        memcpy(text + *n, g->text, g->n_text);
        *n += g->n_text;
    }
    return code;
}

static const char *const grammars[] = {
    "root ::= \"yes\" | \"no\"", "root ::= [a-z]{3,9} \"!\"", "root ::= \"once\" (\" \" [a-z]+){2} \".\"?",
    "root ::= ([\xea\xb0\x80-\xed\x9e\xa3] \"\xc3\xa9\"){2,4}", "root ::= \"(\" root? \")\"",
    ("{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"string\", \"maxLength\": 5}, "
    "\"b\": {\"enum\": [1, \"x\", null]}}, \"required\": [\"a\"], \"additionalProperties\": false}"),
    "{\"type\": \"array\", \"items\": {\"type\": \"integer\", \"minimum\": -5, \"maximum\": 120}, \"maxItems\": 4}",
};
enum { N_GRAMMAR = sizeof grammars / sizeof *grammars };

TEST(what_ends_by_itself_is_a_sentence) {
    int ended = 0, cut = 0;
    for (int i = 0; i < N_GRAMMAR; i++)
        for (uint64_t seed = 1; seed <= 40; seed++) {
            char text[4 * MOST];
            size_t n;
            pith_error e = { 0, "" };
            pith_grammar *rules = grammar(grammars[i]);
            pith_generation g = { .how = { .temperature = seed % 4 ? 1 : 0, .top_k = seed % 3 ? 0 : 5 }, .rng = seed,
                                  .n_predict = 120, .grammar = rules };
            set_up();
            read_prompt(seed % 2 ? "the" : "");
            int code = write_all(&g, text, &n, &e);
            int whole = pith_grammar_match(rules, text, n, &e) == PITH_OK;
            if (code == PITH_END ? !whole : code != PITH_LIMIT) FAIL("%s, seed %d: ended %d: %.*s: %s", grammars[i], (int)seed, code, (int)n, text, e.text);
            EQ(g.sentence, whole);
            ended += code == PITH_END, cut += code == PITH_LIMIT;
            pith_generation_free(&g);
            pith_grammar_free(rules);
        }
    CHECK(ended > N_GRAMMAR * 20);
    CHECK(cut > 0);
}

TEST(a_text_that_obeys_is_the_same) {
    pith_grammar *rules = grammar("root ::= [\\x00-\\U0010FFFF]*"); /* all but a byte that is no UTF-8 */
    for (uint64_t seed = 1; seed <= 20; seed++) {
        set_up();
        read_prompt("the once");
        pith_session *free_one = session;
        session = NULL;
        set_up();
        read_prompt("the once");
        pith_generation a = { .how = { .temperature = 1, .top_k = 40 }, .rng = seed, .n_predict = 30, .grammar = rules }, b = a;
        b.grammar = NULL;
        for (int code = 0, n = 0; !code; n++) {
            int other = pith_generate(free_one, &b, NULL);
            code = pith_generate(session, &a, NULL);
            if (a.token != b.token) { /* it was refused: a control character, or a half one that cannot go on */
                size_t k;
                const char *p = pith_piece(model, b.token, &k);
                CHECK(b.token < BYTE || (k == 1 && ((uint8_t)*p >= 0x80 || (uint8_t)*p < ' ' || *p == 0x7f)));
                break;
            }
            EQ(a.rng, b.rng);
            EQ(code, other);
        }
        pith_generation_free(&a);
        pith_generation_free(&b);
        pith_session_free(free_one);
    }
    pith_grammar_free(rules);
}

TEST(end_tokens_are_allowed_in_a_sentence_only) {
    set_up();
    read_prompt("the");
    pith_grammar *rules = grammar("root ::= \"a\"{3} \"b\"*");
    pith_bias bias = { 1, 100 }; /* what ends a text of llama2.c's, whenever it may be */
    pith_generation g = { .how = { .bias = &bias, .n_bias = 1 }, .grammar = rules };
    char text[MOST];
    size_t n;
    EQ(write_all(&g, text, &n, NULL), PITH_END);
    CHECK(n == 3 && !memcmp(text, "aaa", 3));
    EQ(g.token, 1);
    EQ(g.sentence, 1);
    pith_generation_free(&g);
    pith_token end = BYTE + 'b'; /* a token of text that ends this text */
    g = (pith_generation){ .how = { .bias = &(pith_bias){ BYTE + 'b', 100 }, .n_bias = 1 }, .grammar = rules, .end = &end, .n_end = 1 };
    EQ(pith_sync(session, (pith_token[]){ 1, 270 }, 2, NULL), 0);
    EQ(write_all(&g, text, &n, NULL), PITH_END);
    CHECK(n == 3 && g.token == end);
    pith_generation_free(&g);
    pith_grammar_free(rules);
}

TEST(where_no_token_can_come_it_says_so) {
    set_up();
    read_prompt("the");
    pith_error e = { 0, "" };
    uint32_t allow[(FIXTURE_VOCAB + 31) / 32] = { 0 };
    pith_token t = BYTE + 'x';
    allow[t / 32] = 1u << t % 32;
    pith_grammar *rules = grammar("root ::= \"xyz\"");
    pith_generation g = { .how = { .allow = allow }, .grammar = rules };
    EQ(pith_generate(session, &g, &e), 0);
    EQ(g.token, t);
    EQ(pith_generate(session, &g, &e), PITH_EARG);
    CHECK(strstr(e.text, "need \"y\"") != NULL);
    pith_generation_free(&g);
    bytes b = fixture_llama2c(&fixture_tiny, 0, 3); /* without a vocabulary */
    pith_model *m = pith_open_memory(b.p, b.n, NULL, &e);
    pith_session *s = pith_session_new(m, NULL, &e);
    EQ(pith_eval(s, (pith_token[]){ 1 }, 1, &e), 0);
    EQ(pith_generate(s, &(pith_generation){ .grammar = rules }, &e), PITH_EARG);
    CHECK(strstr(e.text, "a grammar needs a model with a vocabulary") != NULL);
    pith_session_free(s);
    pith_close(m);
    free(b.p);
    pith_grammar_free(rules);
}

/* ---- masks ------------------------------------------------------------------------------------------------ */

static uint64_t rng = 5;
static unsigned dice(unsigned n) { return (unsigned)(pith_random(&rng) * (float)n); }

/* Pieces as vocabularies have them: words, quotes, halves of characters, long ones, two that are the same. */
static size_t make_piece(char *p) {
    static const char *const parts[] = { "a", "b", "ab", " ", "\"", "\\", "\n", ",", ":", "{", "}", "1", "22", "\xea\xb0\x80", "\xc3\xa9",
                                         "\xf0\x9f\x99\x82", "\xed", "\x95", "\x9c\xea", "\xf0\x9f", "/", "u00e9", "[", "]", "-", ".", "true" };
    size_t n = 0;
    for (unsigned k = dice(5); k > 0; k--) {
        const char *s = parts[dice(sizeof parts / sizeof *parts)];
        memcpy(p + n, s, strlen(s));
        n += strlen(s);
    }
    return n;
}

static void compare_masks(const pith__trie *t, const pith__str *piece, int n, pith__matcher *m, int32_t state, const char *name) {
    uint32_t allow[64];
    int32_t *way = malloc(pith__trie_depth(t) * sizeof *way);
    EQ(pith__trie_mask(t, m, state, way, allow), PITH_OK);
    for (int i = 0; i < n; i++) {
        int32_t at = piece[i].n ? state : PITH__DEAD;
        for (size_t k = 0; k < piece[i].n && at > 0; k++) at = pith__matcher_next(m, at, (uint8_t)piece[i].p[k]);
        if ((int)(allow[i / 32] >> i % 32 & 1) != (at > 0)) FAIL("%s: piece \"%.*s\" is %s", name, (int)piece[i].n, piece[i].p, at > 0 ? "refused" : "allowed");
    }
    free(way);
}

TEST(masks_are_what_bytes_say) {
    enum { N = 2000 };
    static const char *const more[] = { "{}", "{\"type\": \"string\", \"maxLength\": 7}", "{\"type\": \"string\", \"minLength\": 2}", "root ::= [^\\n]{2,5} \"\\n\" .*",
                                        "{\"type\": \"string\", \"pattern\": \"^[ab\xea\xb0\x80]*$\"}", "root ::= [^\\\"]* \"ab\"", "root ::= [\\x20-\\U0010FFFF]{3}" };
    static char text[N][32];
    pith__str piece[N];
    for (int i = 0; i < N; i++) piece[i] = (pith__str){ text[i], make_piece(text[i]) };
    pith__trie *t = pith__trie_new(piece, N, NULL);
    for (int i = 0; i < N_GRAMMAR + (int)(sizeof more / sizeof *more); i++) {
        const char *name = i < N_GRAMMAR ? grammars[i] : more[i - N_GRAMMAR];
        pith_grammar *g = grammar(name);
        pith__matcher *m = pith__matcher_new(g, NULL);
        for (int k = 0; k < 12; k++) {
            int32_t state = pith__matcher_start(m);
            for (int steps = 0; steps < 25 && state > 0; steps++) {
                compare_masks(t, piece, N, m, state, name);
                const pith__str *p = &piece[dice(N)];
                int32_t next = state;
                for (size_t b = 0; b < p->n && next > 0; b++) next = pith__matcher_next(m, next, (uint8_t)p->p[b]);
                for (int b = (int)dice(256), tries = 0; next == 0 && tries < 256; tries++) next = pith__matcher_next(m, state, (uint8_t)(b + tries));
                state = next > 0 ? pith__matcher_keep(m, next) : 0;
            }
        }
        pith__matcher_free(m);
        pith_grammar_free(g);
    }
    pith__trie_free(t);
}

/* A grammar that names tokens: what is written has them, though other tokens have the same text. */
TEST(tokens_by_their_names) {
    enum { A = BYTE + 'a' };
    int others = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        char text[4 * MOST];
        size_t n;
        pith_error e = { 0, "" };
        pith_grammar *rules = grammar("root ::= <[100]> !<[100]>{3} (<[100]> | \"b\") \".\"");
        pith_generation g = { .how = { .temperature = 1 }, .rng = seed, .n_predict = 30, .grammar = rules };
        set_up();
        read_prompt("the");
        int at = pith_position(session), code = write_all(&g, text, &n, &e);
        EQ(code, PITH_END);
        for (int i = at; i < at + 4; i++) CHECK((session->tokens[i] == A) == (i == at));
        others += session->tokens[at + 4] != A;
        CHECK(n > 2 && text[0] == 'a' && text[n - 1] == '.');
        pith_generation_free(&g);
        pith_grammar_free(rules);
    }
    CHECK(others > 0 && others < 20);
}

TEST(a_token_and_its_bytes) {
    pith_grammar *g = grammar("root ::= <[7]> \"1\" | \"ab\" \"2\" | !<x> \"3\" | [a] <[7]>{2}");
    pith__matcher *m = pith__matcher_new(g, NULL);
    const int32_t id[] = { 7, 9, 7 };
    char wants[80];
    static const struct { int32_t t; const char *text, *then; } cases[] = {
        { 7, "ab", "[1-3]" }, { 8, "ab", "[23]" }, { 9, "ab", "\"2\"" }, { 9, "", "" }, { 7, "", "[13]" }, { 8, "a", "[3b] or <[7]>" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int32_t start = pith__matcher_start(m), state = *cases[i].text ? start : PITH__DEAD;
        for (const char *p = cases[i].text; *p; p++) state = pith__matcher_next(m, state, (uint8_t)*p);
        state = pith__matcher_token(m, start, id, cases[i].t, state);
        if (strcmp(pith__matcher_wants(m, state, wants, sizeof wants), cases[i].then) != 0) FAIL("case %d: %s", (int)i, wants);
    }
    int32_t state = pith__matcher_next(m, pith__matcher_start(m), 'a');
    state = pith__matcher_token(m, pith__matcher_keep(m, state), id, 7, PITH__DEAD);
    CHECK(state > 0 && !pith__matcher_may_end(m, state) && pith__matcher_named(m, state, 0) == 2);
    CHECK(pith__matcher_token(m, state, id, 8, PITH__DEAD) == PITH__DEAD);
    state = pith__matcher_token(m, state, id, 7, PITH__DEAD);
    CHECK(state > 0 && pith__matcher_may_end(m, state) && !pith__matcher_may_go_on(m, state));
    pith__matcher_free(m);
    pith_grammar_free(g);
}

TEST(tokens_that_a_vocabulary_does_not_have) {
    static const char *const wrong[][2] = {
        { "root ::= \"a\" |\n <[100000]>", "line 2: <[100000]> is beyond the vocabulary" },
        { "root ::= <think>", "line 1: <think> is not one token" },
        { "root ::= \"a\" <[1]>", "<[1]> ends a text" }, { "root ::= x\nx ::= !<no>", "line 2: <no> is not one token" },
    };
    pith_error e = { 0, "" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        pith_grammar *rules = grammar(wrong[i][0]);
        pith_generation g = { .grammar = rules };
        EQ(pith_grammar_fits(rules, model, &e), PITH_EDATA);
        if (!strstr(e.text, wrong[i][1])) FAIL("%s: %s", wrong[i][0], e.text);
        set_up();
        read_prompt("the");
        e.text[0] = 0;
        EQ(pith_generate(session, &g, &e), PITH_EDATA);
        CHECK(strstr(e.text, wrong[i][1]));
        EQ(pith_grammar_match(rules, "a", 1, &e), PITH_EARG);
        CHECK(strstr(e.text, "names the token <"));
        pith_generation_free(&g);
        pith_grammar_free(rules);
    }
    pith_grammar *rules = grammar("root ::= !<[1]> | <[0]>");
    EQ(pith_grammar_fits(rules, model, &e), PITH_OK);
    pith_grammar_free(rules);
}

TEST(what_is_forgotten_goes_on) { /* many states: the matcher drops them, and the text goes on as if it had not */
    pith_grammar *g = grammar("root ::= (\"a\" root \"b\" | \"c\" root \"d\")?");
    pith__matcher *m = pith__matcher_new(g, NULL);
    int32_t state = pith__matcher_start(m);
    enum { DEEP = 200000 };
    for (int i = 0; i < DEEP && state > 0; i++)
        state = pith__matcher_keep(m, pith__matcher_next(m, state, i % 3 ? 'a' : 'c'));
    unsigned age = pith__matcher_age(m);
    for (int i = DEEP; i-- > 0 && state > 0;)
        state = pith__matcher_keep(m, pith__matcher_next(m, state, i % 3 ? 'b' : 'd'));
    CHECK(state > 0 && pith__matcher_may_end(m, state));
    CHECK(age > 0);
    pith__matcher_free(m);
    pith_grammar_free(g);
}

int main(void) {
    set_up();
    RUN(what_ends_by_itself_is_a_sentence);
    RUN(a_text_that_obeys_is_the_same);
    RUN(end_tokens_are_allowed_in_a_sentence_only);
    RUN(where_no_token_can_come_it_says_so);
    RUN(masks_are_what_bytes_say);
    RUN(tokens_by_their_names);
    RUN(a_token_and_its_bytes);
    RUN(tokens_that_a_vocabulary_does_not_have);
    RUN(what_is_forgotten_goes_on);
    pith_session_free(session);
    pith_close(model);
    free(file.p);
    return DONE();
}
