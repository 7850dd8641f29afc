/* search.c - the lines of a text that are nearest in meaning to a question: copy dist/pith.c and dist/pith.h beside it and
 *     cc -O3 -ffp-contract=off -fopenmp search.c pith.c -lm -o search && ./search MODEL "Where is the cat?" < lines.txt */
#include "pith.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1000, BEST = 3 };

static const char *prompt(const pith_model *m, const char *wanted) { /* some models want one before a text */
    const char *name, *text;
    for (int i = 0; pith_prompt(m, i, &name, &text); i++)
        if (!strcmp(name, wanted)) return text;
    return NULL;
}

static float *vectors(const pith_model *m, const char *before, pith_passage *text, int n, int *dim, pith_error *e) {
    pith_embedding how = pith_embedding_default(m);
    how.prompt = before;
    how.normalize = 1; /* the dot product of two vectors is their cosine */
    pith_embedder *k = pith_embedder_new(m, NULL, &how, e);
    *dim = k ? pith_embedder_size(k) : 0;
    float *x = k ? malloc((size_t)n * (size_t)*dim * sizeof *x) : NULL;
    int done = x ? pith_embed(k, text, n, x, n, e) : -1;
    pith_embedder_free(k);
    if (done == n) return x;
    free(x);
    return NULL;
}

int main(int argc, char **argv) {
    static char line[MOST][400];
    static pith_passage text[MOST];
    pith_error e = { 0, "no memory" };
    pith_match best[BEST];
    int n = 0, dim, found = 0;
    if (argc < 3) return fprintf(stderr, "usage: search MODEL QUESTION < LINES\n"), 1;
    for (; n < MOST && fgets(line[n], sizeof line[n], stdin); n++) {
        text[n].text = line[n];
        text[n].n_text = strcspn(line[n], "\n");
    }
    pith_passage question = { .text = argv[2], .n_text = strlen(argv[2]) };
    pith_model *m = pith_open(argv[1], NULL, &e);
    float *q = m ? vectors(m, prompt(m, "query"), &question, 1, &dim, &e) : NULL;
    float *x = q && n ? vectors(m, prompt(m, "document"), text, n, &dim, &e) : NULL;
    if (x) found = pith_nearest(m, q, x, (size_t)n, dim, BEST, best);
    else fprintf(stderr, "%s\n", q ? "no lines" : e.text);
    for (int i = 0; i < found; i++) printf("%f\t%.*s\n", (double)best[i].score, (int)text[best[i].at].n_text, text[best[i].at].text);
    free(x);
    free(q);
    pith_close(m);
    return !found;
}
