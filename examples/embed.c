/* embed.c - a language model in a C program: copy dist/pith.c and dist/pith.h beside it and
 *     cc -O3 -fopenmp embed.c pith.c -lm -o embed && ./embed stories260K.bin tok512.bin */
#include "pith.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    const char *prompt = "Once upon a time";
    pith_options opt = { 0 };
    pith_error e;
    if (argc < 2) return fprintf(stderr, "usage: embed MODEL [TOKENIZER]\n"), 1;
    opt.tokenizer = argc > 2 ? argv[2] : NULL; /* a .gguf or a Hugging Face folder brings its own */
    pith_model *m = pith_open(argv[1], &opt, &e);
    pith_session *s = m ? pith_session_new(m, NULL, &e) : NULL;
    if (!s) {
        fprintf(stderr, "%s\n", e.text);
        pith_close(m);
        return 1;
    }
    pith_token t[64];
    int n = pith_encode(m, prompt, strlen(prompt), PITH_BOS, t, 64);
    pith_sampling how = pith_sampling_default(m);
    uint64_t rng = 42;
    fputs(prompt, stdout);
    for (int i = 0; i < 32 && n > 0 && n <= 64 && pith_eval(s, t, n, &e) == PITH_OK; i++) {
        t[0] = pith_sample(s, &how, &rng);
        n = 1;
        if (pith_is_end(m, t[0])) break;
        size_t len;
        const char *piece = pith_piece(m, t[0], &len);
        fwrite(piece, 1, len, stdout);
    }
    putchar('\n');
    pith_session_free(s);
    pith_close(m);
    return 0;
}
