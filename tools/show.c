/* show.c - examples as they are learned, for --dry-run --show N: a line for each token.
 *
 *     id  piece  counts  position  example        with tabs between
 *     # chat.jsonl:3: 24 tokens, 5 count
 *
 * Half of what goes wrong in fine-tuning is seen here. On a terminal the line of a token that does not count is dim. */
#define _XOPEN_SOURCE 700
#include "show.h"

#include <stdlib.h>
#include <unistd.h>

static const char *file_of(const pith__examples_plan *plan, size_t file) {
    size_t n = (size_t)plan->train.n;
    return file < n ? plan->train.path[file] : plan->eval.path[file - n];
}

static void show_example(const pith_model *m, const pith__examples *x, const pith__examples_plan *plan, size_t i, output *o) {
    pith__example e = pith__examples_get(x, i);
    int n = 0, dims = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
    for (int k = 0; k < e.n; k++) n += e.counts[k];
    output_line(o, "# %s:%zu: %d tokens, %d count\n", file_of(plan, e.file), e.line, e.n, n);
    for (int k = 0; k < e.n && !o->code; k++) {
        pith__str s = m->tokenizer ? pith__tokenizer_piece(m->tokenizer, e.t[k]) : (pith__str){ "", 0 };
        int dim = dims && !e.counts[k];
        output_line(o, dim ? "\033[2m%d\t" : "%d\t", (int)e.t[k]);
        output_json(o, s.p, s.n);
        output_line(o, dim ? "\t%d\t%d\t%zu\033[0m\n" : "\t%d\t%d\t%zu\n", e.counts[k], k, i);
    }
}

int show_examples(const pith_model *m, const pith__examples *x, const pith__packs *packs, const pith__examples_plan *plan,
                  size_t n) {
    output o;
    int code = output_open(&o, NULL, NULL);
    size_t all = packs ? packs->n : x->n_train;
    if (code) return code;
    if (n && all) output_line(&o, "id\tpiece\tcounts\tposition\texample\n");
    for (size_t i = 0; i < n && i < all && !o.code && !stopped(); i++) {
        size_t from = packs ? packs->first[i] : i, end = packs ? packs->first[i + 1] : i + 1;
        if (packs) output_line(&o, "# sequence %zu: %zu examples\n", i, end - from);
        for (size_t k = from; k < end; k++) show_example(m, x, plan, packs ? packs->example[k] : k, &o);
    }
    return output_close(&o, 1);
}
