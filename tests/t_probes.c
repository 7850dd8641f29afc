/* t_probes.c - the general text as tokens, and when training says that it forgets or learns by heart. */
#define _POSIX_C_SOURCE 200809L
#include "../tools/probes.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

static char tokenizer[64], file[64];

static pith_model *open_fixture(bytes *b) {
    *b = fixture_llama2c(&fixture_tiny, 1, 3);
    pith_error e = { 0, "" };
    pith_model *m = pith_open_memory(b->p, b->n, &(pith_options){ .tokenizer = tokenizer, .n_threads = 1 }, &e);
    if (!m) FAIL("%s", e.text);
    return m;
}

static void write_file(const char *text) {
    FILE *f = fopen(file, "wb");
    if (!f || fputs(text, f) < 0 || fclose(f)) FAIL("no file");
}

/* What the tokens show, BOS as |. */
static const char *shown(const pith_model *m, const pith_token *t, int n) {
    static char text[1 << 16];
    size_t used = 0, k;
    for (int i = 0; i < n; i++) {
        const char *p = pith_text(m, i ? t[i - 1] : -1, t[i], &k);
        if (t[i] == 1) p = "|", k = 1;
        memcpy(text + used, p, k), used += k;
    }
    text[used] = 0;
    return text;
}

TEST(built_in) {
    bytes b;
    pith_model *m = open_fixture(&b);
    pith_token *t;
    int n;
    REQUIRE(m && !general_tokens(m, NULL, 1 << 20, &t, &n));
    CHECK(n > 4000 && t[0] == 1); /* this vocabulary has hardly any words */
    const char *text = shown(m, t, n);
    CHECK(strstr(text, "|Water on the Earth is") == text && strstr(text, "\xeb\xac\xbc\xec\x9d\x80 \xec\x84\xad") && strstr(text, "def count_words(text):\n"));
    free(t);
    REQUIRE(!general_tokens(m, NULL, 100, &t, &n));
    EQ(n, 100);
    free(t);
    pith_close(m), free(b.p);
}

TEST(from_a_file) {
    bytes b;
    pith_model *m = open_fixture(&b);
    pith_token *t;
    int n;
    REQUIRE(m);
    write_file("\xef\xbb\xbfOnce upon\r\na time<|endoftext|>The end.");
    REQUIRE(!general_tokens(m, file, 1000, &t, &n));
    CHECK(!strcmp(shown(m, t, n), "|Once upon\na time|The end."));
    free(t);
    write_file("{\"text\": \"one\"}\n{\"text\": \"two\"}\n");
    REQUIRE(!general_tokens(m, file, 1000, &t, &n));
    CHECK(!strcmp(shown(m, t, n), "|one|two"));
    free(t);
    char *big = malloc(1 << 20);
    memset(big, 'e', 1 << 20), memcpy(big + 159, "\xec\x84\xad", 3), big[(1 << 20) - 1] = 0;
    write_file(big);
    free(big);
    REQUIRE(!general_tokens(m, file, 10, &t, &n)); /* not all of it is made tokens; half a character is none */
    EQ(n, 10);
    free(t);
    write_file("");
    EQ(general_tokens(m, file, 1000, &t, &n), BAD_DATA);
    CHECK(t == NULL);
    unlink(file);
    EQ(general_tokens(m, file, 1000, &t, &n), BAD_DATA);
    pith_close(m), free(b.p);
}

/* Losses held out and on general text, evaluation by evaluation; what is said after the last. */
TEST(warnings) {
    static const struct { int n, lines; probe p[4]; const char *said[2]; } cases[] = {
        { 1, 0, { { 0, 2, 3 } }, { "", "" } },
        { 2, 0, { { 0, 2, 3 }, { 10, 2.099, 3.299 } }, { "", "" } },
        { 2, 1, { { 0, 2, 3 }, { 10, 2.12, 3 } }, { "held-out examples is 6 % above its lowest (2.0000 at step 0)", "heart" } },
        { 3, 1, { { 0, 3, 3 }, { 10, 2, 3 }, { 20, 2.2, 3 } }, { "10 % above its lowest (2.0000 at step 10)", "" } },
        { 3, 0, { { 0, 3, 3 }, { 10, 4, 9 }, { 20, 2.2, 3 } }, { "", "" } }, /* better again */
        { 2, 1, { { 0, 2, 3 }, { 10, 1, 3.36 } }, { "general text is 12 % above its start (3.0000)", "forgets" } },
        { 3, 0, { { 0, 2, 3 }, { 10, 1, 2 }, { 20, 1, 3.2 } }, { "", "" } }, /* the start counts, not the lowest */
        { 2, 2, { { 0, 2, 3 }, { 10, 4, 6 } }, { "held-out examples is 100 %", "general text is 100 %" } },
        { 3, 1, { { 0, NAN, NAN }, { 5, NAN, 3 }, { 10, NAN, 6 } }, { "general text is 100 %", "" } },
        { 2, 0, { { 0, 2, 3 }, { 10, NAN, NAN } }, { "", "" } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        int lines = 0;
        EQ(probe_warning(cases[i].p, cases[i].n, text, sizeof text), cases[i].lines);
        for (const char *p = text; *p; p++) lines += *p == '\n';
        if (lines != cases[i].lines || !strstr(text, cases[i].said[0]) || !strstr(text, cases[i].said[1]))
            FAIL("case %d: %s", (int)i, text);
    }
}

int main(void) {
    char folder[] = "/tmp/pith-probes-XXXXXX";
    if (!mkdtemp(folder) || !freopen("/dev/null", "w", stderr)) return 99;
    snprintf(tokenizer, sizeof tokenizer, "%s/tok.bin", folder);
    snprintf(file, sizeof file, "%s/text", folder);
    bytes b = fixture_tokenizer();
    if (save(&b, tokenizer)) return 99;
    free(b.p);
    RUN(built_in);
    RUN(from_a_file);
    RUN(warnings);
    unlink(tokenizer), rmdir(folder);
    return DONE();
}
