/* embed.c - a language model in a C program: copy dist/pith.c and dist/pith.h beside it and
 *     cc -O3 -ffp-contract=off -fopenmp embed.c pith.c -lm -o embed && ./embed stories260K.bin tok512.bin */
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
    int fits = n >= 0 && n <= 64, code = fits ? pith_eval(s, t, n, &e) : PITH_EARG;
    pith_generation g = { 0 };
    g.how = pith_sampling_default(m);
    g.rng = 42;
    g.n_predict = 32;
    fputs(prompt, stdout);
    while (code == PITH_OK) {
        code = pith_generate(s, &g, &e);
        fwrite(g.text, 1, g.n_text, stdout);
    }
    putchar('\n');
    if (code < 0) fprintf(stderr, "%s\n", fits ? e.text : "the prompt does not become 64 tokens or less");
    pith_generation_free(&g);
    pith_session_free(s);
    pith_close(m);
    return code < 0;
}
