/* fuzz_grammar.c - any bytes as a grammar, or after a { as a JSON Schema, and what stands behind a NUL as a text. What a
 * grammar allows must be a way to a sentence: no state is without a next byte and without an end.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz_grammar.c build/libpith.a -lm
 * or with tests/fuzz_main.c and any compiler, then run on the files of a corpus. */
#include "../internal.h"

#include <stdlib.h>
#include <string.h>

/* Some way through the grammar, as the bytes say; where only a token is named, that token. */
static void wander(const pith_grammar *g, const uint8_t *way, size_t n) {
    pith__matcher *m = pith__matcher_new(g, NULL);
    int32_t state = m ? pith__matcher_start(m) : PITH__DEAD, *id = malloc((g->n_token + 1) * sizeof *id);
    for (size_t i = 0; id && i < g->n_token; i++) id[i] = (int32_t)i;
    for (size_t i = 0; m && id && i < n && pith__matcher_may_go_on(m, state); i++) {
        int32_t next = PITH__DEAD;
        for (int k = 0; k < 256 && next == PITH__DEAD; k++) next = pith__matcher_next(m, state, (uint8_t)(way[i] + k));
        int named = pith__matcher_named(m, state, 0);
        if (named >= 0 && (next == PITH__DEAD || way[i] % 2)) /* -1: another one */
            next = pith__matcher_token(m, state, id, g->token[named].not ? -1 : named, next);
        if (next == PITH__DEAD) abort();
        if (next < 0) break;
        if (!pith__matcher_may_go_on(m, next) && !pith__matcher_may_end(m, next)) abort();
        state = pith__matcher_keep(m, next);
    }
    pith__matcher_free(m);
    free(id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data, *end = size ? memchr(text, 0, size) : NULL;
    size_t n = end ? (size_t)(end - text) : size;
    pith_error e = { 0, "" };
    pith_grammar *g = n && *text == '{' ? pith_grammar_schema(text, n, &e) : pith_grammar_new(text, n, &e);
    if (!g && (e.code >= 0 || !e.text[0])) abort();
    if (g) {
        const char *behind = end ? end + 1 : text + n;
        size_t left = size - (size_t)(behind - text);
        int code = pith_grammar_match(g, behind, left, &e);
        int no = g->n_token ? PITH_EARG : PITH_EDATA;
        if (code && (code != e.code || (code != no && code != PITH_EMEMORY))) abort();
        wander(g, (const uint8_t *)behind, left);
        if (n && *text == '{') { /* what a schema becomes can be read again, but for its long counts */
            pith_grammar *again = pith_grammar_new(pith_grammar_text(g), strlen(pith_grammar_text(g)), &e);
            if (!again && e.code != PITH_EMEMORY && !strstr(e.text, "more than 2000")) abort();
            pith_grammar_free(again);
        }
    }
    pith_grammar_free(g);
    return 0;
}
