/* t_generate.c - the loop that writes a text: the tokens are those of sampling and evaluating by hand, and what
 * ends, holds back and cuts a text. Texts are forced by allowing one token at a time, as a grammar would. */
#include "../model.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

enum { MOST = 200, BYTE = 3, WORDS = (FIXTURE_VOCAB + 31) / 32 }; /* token BYTE + b is byte b */

static pith_model *model; /* lies in file */
static pith_session *session;
static bytes file;

static void set_up(int n_ctx) {
    static char path[] = "/tmp/t_generate.XXXXXX";
    pith_error e = { 0, "" };
    if (!model) {
        bytes v = fixture_tokenizer();
        file = fixture_llama2c(&fixture_tiny, 0, 3);
        int fd = mkstemp(path);
        pith_options opt = { .tokenizer = path };
        if (fd >= 0 && !save(&v, path)) model = pith_open_memory(file.p, file.n, &opt, &e);
        if (!model) printf("Bail out! %s\n", e.text), exit(1);
        close(fd);
        unlink(path);
        free(v.p);
    }
    pith_session_free(session);
    session = pith_session_new(model, &(pith_context){ .n_ctx = n_ctx }, &e);
}

static void read_prompt(const char *text) {
    pith_token t[MOST];
    int n = pith_encode(model, text, strlen(text), PITH_BOS, t, MOST);
    EQ(pith_sync(session, t, n, NULL), PITH_OK);
}

/* What is given until the text ends, with the pieces of text in brackets; why it ended. */
static int all_text(pith_generation *g, char *text, size_t room) {
    int code = 0;
    size_t n = 0;
    text[0] = 0;
    for (int i = 0; i < MOST && !code; i++) {
        code = pith_generate(session, g, NULL);
        if (code < 0) return code;
        n += (size_t)snprintf(text + n, room - n, g->n_text ? "[%.*s]" : "%.*s", (int)g->n_text, g->text);
        if (n >= room) return FAIL("too long"), 0;
    }
    return code;
}

static int utter(pith_generation *g, const char *say, char *text, size_t room) { /* byte by byte; "|" is EOS */
    int code = 0;
    size_t n = 0;
    uint32_t allow[WORDS];
    text[0] = 0;
    g->how.allow = allow;
    for (const char *p = say; *p && !code; p++) {
        int t = *p == '|' ? 2 : BYTE + (unsigned char)*p;
        memset(allow, 0, sizeof allow);
        allow[t / 32] = 1u << t % 32;
        code = pith_generate(session, g, NULL);
        if (code >= 0) EQ(g->token, t);
        n += (size_t)snprintf(text + n, room - n, g->n_text ? "[%.*s]" : "%.*s", (int)g->n_text, g->text);
    }
    g->how.allow = NULL;
    return code;
}

#define TEXT(want) do { if (strcmp(text, want)) FAIL("is \"%s\", want \"%s\"", text, want); } while (0)

TEST(the_tokens_are_those_of_sampling_by_hand) {
    set_up(64);
    pith_session *by_hand = pith_session_new(model, NULL, NULL);
    pith_token t[MOST];
    int n = pith_encode(model, "the once", 8, PITH_BOS, t, MOST);
    uint64_t rng = 11;
    pith_generation g = { .how = pith_sampling_default(model), .rng = 11, .n_predict = 40 };
    EQ(pith_eval(session, t, n, NULL), 0);
    EQ(pith_eval(by_hand, t, n, NULL), 0);
    for (int i = 1; i <= 40; i++) {
        int code = pith_generate(session, &g, NULL);
        pith_token want = pith_sample(by_hand, &g.how, &rng);
        REQUIRE(g.token == want && g.n_token == i && g.rng == rng);
        EQ(code, pith_is_end(model, want) ? PITH_END : i == 40 ? PITH_LIMIT : 0);
        if (code) break;
        EQ(pith_eval(by_hand, &want, 1, NULL), 0);
        EQ(pith_position(session), n + i - 1); /* the last token waits for the next call */
    }
    EQ(pith_generate(session, &g, NULL), PITH_LIMIT); /* an ended text stays ended */
    EQ((long long)g.n_text, 0);
    EQ(g.n_token, 40);
    pith_generation_free(&g);
    pith_session_free(by_hand);
}

TEST(mirostat_remembers_within_a_text) {
    for (int own = 0; own < 2; own++) {
        set_up(64);
        pith_session *by_hand = pith_session_new(model, NULL, NULL);
        pith_drawn drawn = { 0, 0, 0, 0 }, kept = drawn;
        pith_token t[MOST];
        int n = pith_encode(model, "the once", 8, PITH_BOS, t, MOST);
        uint64_t rng = 11;
        pith_generation g = { .how = pith_sampling_default(model), .rng = 11, .n_predict = 20 };
        g.how.mirostat = 2, g.how.mirostat_tau = 1.5f, g.how.mirostat_eta = 0.5f;
        pith_sampling how = g.how;
        how.drawn = &drawn;
        if (own) g.how.drawn = &kept;
        EQ(pith_eval(session, t, n, NULL), 0);
        EQ(pith_eval(by_hand, t, n, NULL), 0);
        for (int i = 0, code = 0; i < 20 && !code; i++) {
            code = pith_generate(session, &g, NULL);
            pith_token want = pith_sample(by_hand, &how, &rng);
            REQUIRE(code >= 0 && g.token == want);
            EQ(pith_eval(by_hand, &want, 1, NULL), 0);
        }
        CHECK(drawn.n > 2 && fabsf(drawn.mu - 3) > 0.1f);
        CHECK(!own || (kept.n == drawn.n && !(kept.mu < drawn.mu) && !(kept.mu > drawn.mu)));
        pith_generation_free(&g);
        pith_session_free(by_hand);
    }
}

TEST(a_text_ends_at_its_limit_or_the_context) {
    char text[4096];
    set_up(20);
    read_prompt("the");
    pith_generation g = { .n_predict = 5 }; /* greedy */
    EQ(all_text(&g, text, sizeof text), PITH_LIMIT);
    EQ(g.n_token, 5);
    EQ(pith_position(session), 2 + 4);
    pith_generation_free(&g);
    read_prompt("the");
    g = (pith_generation){ .n_predict = 0 };
    EQ(all_text(&g, text, sizeof text), PITH_FULL);
    EQ(pith_position(session), 20);
    EQ(g.n_token, 20 - 2 + 1);
    pith_generation_free(&g);
    read_prompt("the");
    g = (pith_generation){ .n_predict = 19 };
    EQ(all_text(&g, text, sizeof text), PITH_LIMIT); /* both at once: what was asked for */
    pith_generation_free(&g);
}

TEST(tokens_that_end_a_text) {
    char text[256];
    pith_token end[2] = { BYTE + 'x', 2 };
    set_up(64);
    read_prompt("the");
    pith_generation g = { .end = end, .n_end = 2 };
    EQ(utter(&g, "ab|c", text, sizeof text), PITH_END);
    TEXT("[a][b]");
    EQ(g.token, 2);
    EQ(g.n_token, 3);
    pith_generation_free(&g);
    g = (pith_generation){ .end = end, .n_end = 1 };
    EQ(utter(&g, "a|bx", text, sizeof text), PITH_END); /* EOS does not end a text of llama2.c */
    TEXT("[a][\n</s>\n][b]");
    pith_generation_free(&g);
    pith_bias bos = { 1, 1e9f };
    g = (pith_generation){ .how = { .bias = &bos, .n_bias = 1 } };
    EQ(pith_generate(session, &g, NULL), PITH_END);
    EQ(g.token, 1);
    pith_generation_free(&g);
}

TEST(stop_texts_are_held_back_and_never_given) {
    static const char *const stop[] = { "", "cde", "def", "b\xc3" };
    static const struct { const char *say, *text; int n_stop, ended; } cases[] = {
        { "abcde", "[a][b]", 3, PITH_STOP },      { "abcdx", "[a][b][cdx]", 3, 0 },
        { "abccdef", "[a][b][c]", 3, PITH_STOP }, { "acdcdef", "[a][cd]", 3, PITH_STOP },
        { "xdeff", "[x]", 3, PITH_STOP },         { "xdexyz", "[x][dex][y][z]", 3, 0 },
        { "abx", "[a][bx]", 4, 0 },               { "ab\xc3\xa9", "[a]", 4, PITH_STOP },
        { "ac\xc3\xa9", "[a][c][\xc3\xa9]", 4, 0 },
    };
    char text[256];
    set_up(64);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        read_prompt("abcd"); /* which ends with a part of one: the prompt is not looked at */
        pith_generation g = { .stop = stop, .n_stop = cases[i].n_stop };
        EQ(utter(&g, cases[i].say, text, sizeof text), cases[i].ended);
        TEXT(cases[i].text);
        pith_generation_free(&g);
    }
}

TEST(what_was_held_back_comes_at_the_end) {
    static const char *const stop[] = { "defghi" };
    char text[256];
    set_up(64);
    read_prompt("the");
    pith_generation g = { .stop = stop, .n_stop = 1, .n_predict = 4 };
    EQ(utter(&g, "cdef", text, sizeof text), PITH_LIMIT);
    TEXT("[c][def]");
    pith_generation_free(&g);
    g = (pith_generation){ .stop = stop, .n_stop = 1 };
    EQ(utter(&g, "cdef", text, sizeof text), 0);
    TEXT("[c]");
    int position = pith_position(session);
    g.cancel = 1;
    EQ(pith_generate(session, &g, NULL), PITH_CANCEL);
    EQ((long long)g.n_text, 3);
    CHECK(!memcmp(g.text, "def", 3));
    EQ(pith_position(session), position);
    EQ(g.n_token, 4);
    pith_generation_free(&g);
    pith_token end = 2;
    g = (pith_generation){ .stop = stop, .n_stop = 1, .end = &end, .n_end = 1 };
    EQ(utter(&g, "def|", text, sizeof text), PITH_END);
    TEXT("[def]");
    pith_generation_free(&g);
}

TEST(characters_come_whole_and_half_ones_never) {
    char text[256];
    set_up(64);
    read_prompt("the");
    pith_generation g = { .n_predict = 11 };
    EQ(utter(&g, "a\xc3\xa9\xea\xb0\x80 \xf0\x9f\x98\x80", text, sizeof text), PITH_LIMIT);
    TEXT("[a][\xc3\xa9][\xea\xb0\x80][ ][\xf0\x9f\x98\x80]");
    pith_generation_free(&g);
    static const char *const cut[] = { "a\xc3", "a\xea\xb0", "a\xf0\x9f\x98" };
    for (int i = 0; i < 3; i++) {
        g = (pith_generation){ .n_predict = i + 2 };
        EQ(utter(&g, cut[i], text, sizeof text), PITH_LIMIT);
        TEXT("[a]");
        pith_generation_free(&g);
    }
    g = (pith_generation){ .n_predict = 3 }; /* what can never become one is not held back */
    EQ(utter(&g, "\xea" "ab", text, sizeof text), PITH_LIMIT);
    TEXT("[\xea" "a][b]");
    pith_generation_free(&g);
}

TEST(a_second_text_begins_anew) {
    char text[256];
    set_up(64);
    read_prompt("the");
    pith_generation g = { .n_predict = 3 };
    EQ(utter(&g, "abc", text, sizeof text), PITH_LIMIT);
    TEXT("[a][b][c]");
    pith_token last = g.token;
    EQ(last, BYTE + 'c');
    pith_generation_free(&g);
    CHECK(!g.state && g.token == -1 && g.n_token == 0 && g.n_text == 0);
    EQ(pith_eval(session, &last, 1, NULL), PITH_OK); /* it was not evaluated */
    EQ(pith_position(session), 2 + 3);
    EQ(utter(&g, "defg", text, sizeof text), PITH_LIMIT);
    TEXT("[d][e][f]");
    EQ(g.n_token, 3);
    pith_generation_free(&g);
    g.n_predict = 5;
    EQ(utter(&g, "abc", text, sizeof text), 0);
    g.n_predict = 2; /* less than are there */
    EQ(utter(&g, "def", text, sizeof text), PITH_LIMIT);
    TEXT("[d]");
    pith_generation_free(&g);
}

TEST(what_is_shown_of_a_token) {
    size_t n, with;
    pith_token the[2];
    set_up(64);
    EQ(pith_encode(model, "the", 3, PITH_BOS, the, 2), 2); /* BOS, " the" */
    pith_piece(model, the[1], &with);
    EQ((long long)with, 4);
    pith_text(model, the[0], the[1], &n); /* after BOS: without the tokenizer's space */
    EQ((long long)n, 3);
    pith_text(model, -1, the[1], &n);
    EQ((long long)n, 3);
    pith_text(model, BYTE + 'a', the[1], &n);
    EQ((long long)n, 4);
    for (int b = 0; b < 256; b++) {
        pith_text(model, BYTE + 'a', BYTE + b, &n);
        EQ((long long)n, (b >= ' ' && b != 127) || (b >= '\t' && b <= '\r'));
    }
    CHECK(pith_text(model, 1, FIXTURE_VOCAB, &n) == NULL && n == 0);
    CHECK(pith_text(model, 1, -1, &n) == NULL && n == 0);
}

TEST(control_tokens_are_not_shown) {
    static const char *const tensors = "token_embd.weight 6 8; output_norm.weight 8; blk.0.attn_norm.weight 8;"
        "blk.0.attn_q.weight 8 8; blk.0.attn_k.weight 8 8; blk.0.attn_v.weight 8 8; blk.0.attn_output.weight 8 8;"
        "blk.0.ffn_norm.weight 8; blk.0.ffn_gate.weight 8 8; blk.0.ffn_up.weight 8 8; blk.0.ffn_down.weight 8 8";
    bytes b = fixture_gguf(
        "general.architecture llama; llama.block_count 1; llama.embedding_length 8; llama.feed_forward_length 8;"
        "llama.attention.head_count 1; llama.context_length 8; llama.attention.layer_norm_rms_epsilon 1e-5;"
        "tokenizer.ggml.model llama; tokenizer.ggml.tokens ['<unk>','<s>','</s>','a','<|call|>','<|im_end|>'];"
        "tokenizer.ggml.scores [0.0,0.0,0.0,0.0,0.0,0.0]; tokenizer.ggml.token_type [2,3,3,1,4,3]", tensors, 1);
    pith_error e = { 0, "" };
    pith_model *m = pith_open_memory(b.p, b.n, NULL, &e);
    if (!m) FAIL("%s", e.text);
    REQUIRE(m);
    static const int shown[6] = { 5, 0, 0, 1, 8, 0 }; /* a token of the user is text */
    size_t n;
    for (pith_token t = 0; t < 6; t++) {
        pith_text(m, 3, t, &n);
        EQ((long long)n, shown[t]);
    }
    pith_close(m);
    free(b.p);
}

static char thoughts[4096];

/* The same with thoughts, to be gathered in thoughts and text; a token may be another where it is forced. */
static int think(pith_generation *g, const char *say, char *text, size_t room) {
    int code = 0;
    size_t n = 0, n_thought = 0;
    uint32_t allow[WORDS];
    text[0] = thoughts[0] = 0;
    static const pith_token eos = 2;
    g->how.allow = allow, g->thoughts = 1, g->end = &eos, g->n_end = 1;
    for (const char *p = say; *p && !code;) {
        int t = *p == '|' ? 2 : BYTE + (unsigned char)*p;
        memset(allow, 0, sizeof allow);
        allow[t / 32] = 1u << t % 32;
        code = pith_generate(session, g, NULL);
        if (code < 0) return code;
        if (g->token == t) p++;
        n += (size_t)snprintf(text + n, room - n, "%.*s", (int)g->n_text, g->text);
        n_thought += (size_t)snprintf(thoughts + n_thought, sizeof thoughts - n_thought, "%.*s", (int)g->n_thought, g->thought);
    }
    g->how.allow = NULL;
    pith_generation_free(g);
    return code;
}

#define THOUGHTS(want) do { if (strcmp(thoughts, want)) FAIL("is \"%s\", want \"%s\"", thoughts, want); } while (0)

TEST(thoughts_are_given_apart) {
    char text[4096];
    const char *stop[] = { "st" };
    set_up(300);
    read_prompt("x");
    pith_generation g = { 0 };
    EQ(think(&g, "<think>it is \xea\xb0\x80</think>yes|", text, sizeof text), PITH_END);
    TEXT("yes");
    THOUGHTS("it is \xea\xb0\x80");
    EQ(think(&g, "no <think>|", text, sizeof text), PITH_END);
    TEXT("no <think>");
    g.stop = stop, g.n_stop = 1;
    read_prompt("x");
    EQ(think(&g, "<think>stop</think>so st", text, sizeof text), PITH_STOP); /* a stop text stops the answer only */
    TEXT("so ");
    THOUGHTS("stop");
    g.n_stop = 0;
    EQ(think(&g, "<think>cut</th|", text, sizeof text), PITH_END);
    TEXT("");
    THOUGHTS("cut</th");
    read_prompt("x <think>\n"); /* the prompt has opened them */
    EQ(think(&g, "it is</think>yes|", text, sizeof text), PITH_END);
    TEXT("yes");
    THOUGHTS("it is");
}

TEST(thoughts_that_are_too_long_are_ended) {
    char text[4096];
    set_up(300);
    read_prompt("<think>");
    pith_generation g = { .thought_budget = 3, .thought_message = "..." };
    EQ(think(&g, "abcde|", text, sizeof text), PITH_END);
    TEXT("de");
    if (strncmp(thoughts, "abc", 3) || !strstr(thoughts, "...")) FAIL("is \"%s\"", thoughts);
    read_prompt("<think>");
    g = (pith_generation){ .thought_budget = -1 };
    EQ(think(&g, "no|", text, sizeof text), PITH_END);
    TEXT("no");
    if (strspn(thoughts, " ") != strlen(thoughts)) FAIL("is \"%s\"", thoughts); /* this tokenizer puts one before a text */
}

TEST(what_cannot_be_is_an_error) {
    pith_error e = { 0, "" };
    uint32_t none[WORDS] = { 0 };
    pith_generation g = { .how = { .allow = none } };
    set_up(64);
    EQ(pith_generate(session, &g, &e), PITH_EARG);
    CHECK(strstr(e.text, "no token was evaluated"));
    EQ(pith_generate(session, &g, NULL), PITH_EARG);
    read_prompt("the");
    EQ(pith_generate(session, &g, &e), PITH_EARG);
    CHECK(strstr(e.text, "allowed"));
    EQ(pith_generate(session, &g, NULL), PITH_EARG);
    EQ(g.n_token, 0);
    EQ(pith_position(session), 2);
    g.how.allow = NULL;
    EQ(pith_generate(session, &g, &e), 0); /* and it goes on */
    EQ(g.n_token, 1);
    g.how.allow = none;
    for (int i = 0; i < 2; i++) {
        EQ(pith_generate(session, &g, &e), PITH_EARG);
        EQ(pith_position(session), 3); /* evaluated once */
        CHECK(g.text && g.n_text == 0);
    }
    pith_generation_free(&g);
    pith_generation_free(&g);
}

static void refuses(pith_generation g, const char *want) {
    pith_error e = { 0, "" };
    EQ(pith_generate(session, &g, &e), PITH_EARG);
    EQ(e.code, PITH_EARG);
    if (!strstr(e.text, want)) FAIL("is \"%s\", want \"%s\"", e.text, want);
    CHECK(!g.state && g.n_text == 0);
}

TEST(what_is_not_there_is_named) {
    pith_error e = { 0, "" };
    set_up(64);
    read_prompt("the");
    EQ(pith_generate(session, NULL, &e), PITH_EARG);
    CHECK(strstr(e.text, "pith_generation is NULL"));
    pith_generation_free(NULL);
    refuses((pith_generation){ .n_predict = -1 }, "n_predict is -1");
    refuses((pith_generation){ .n_stop = -1 }, "n_stop is -1");
    refuses((pith_generation){ .n_end = -2 }, "n_end is -2");
    refuses((pith_generation){ .n_stop = 1 }, "stop is NULL");
    refuses((pith_generation){ .n_end = 1 }, "end is NULL");
    EQ(pith_position(session), 2);
}

TEST(a_stop_text_that_is_null_or_empty_stops_nothing) {
    static const char *const stop[] = { NULL, "", "bc" };
    char text[256];
    set_up(64);
    read_prompt("the");
    pith_generation g = { .stop = stop, .n_stop = 3 };
    EQ(utter(&g, "aabc", text, sizeof text), PITH_STOP);
    TEXT("[a][a]");
    pith_generation_free(&g);
}

TEST(what_may_be_null) {
    size_t n;
    uint64_t rng = 1;
    set_up(64);
    read_prompt("the");
    EQ(pith_sample(session, NULL, &rng), pith_sample(session, &(pith_sampling){ .top_k = 0 }, &rng));
    EQ((long long)rng, 1);
    CHECK(pith_piece(model, BYTE + 'a', NULL) == pith_piece(model, BYTE + 'a', &n) && n == 1);
    CHECK(pith_piece(model, -1, NULL) == NULL);
    CHECK(pith_text(model, -1, BYTE + 'a', NULL) == pith_text(model, -1, BYTE + 'a', &n));
    EQ(pith_encode(model, NULL, 0, PITH_BOS, NULL, 0), 1);
    EQ(pith_encode(model, NULL, 1, PITH_BOS, NULL, 0), PITH_EARG);
}

int main(void) {
    RUN(the_tokens_are_those_of_sampling_by_hand);
    RUN(mirostat_remembers_within_a_text);
    RUN(a_text_ends_at_its_limit_or_the_context);
    RUN(tokens_that_end_a_text);
    RUN(stop_texts_are_held_back_and_never_given);
    RUN(what_was_held_back_comes_at_the_end);
    RUN(characters_come_whole_and_half_ones_never);
    RUN(a_second_text_begins_anew);
    RUN(what_is_shown_of_a_token);
    RUN(control_tokens_are_not_shown);
    RUN(thoughts_are_given_apart);
    RUN(thoughts_that_are_too_long_are_ended);
    RUN(what_cannot_be_is_an_error);
    RUN(what_is_not_there_is_named);
    RUN(a_stop_text_that_is_null_or_empty_stops_nothing);
    RUN(what_may_be_null);
    pith_session_free(session);
    pith_close(model);
    free(file.p);
    return DONE();
}
