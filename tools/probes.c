/* probes.c - does training forget, or learn by heart? The text that says so, and the words. */
#include "probes.h"
#include "forget_text.inc"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the general text ---------------------------------------------------------------------------------- */

typedef struct {         /* tokens of documents, each behind the token that begins one */
    const pith_model *m;
    const char *name;    /* of the text, for messages */
    pith_token *t;       /* (most) */
    int n, most;
} general_text;

/* The beginning of a document, as much as there may be room for. */
static int add_document(general_text *g, const char *text, size_t n) {
    pith_token begin = pith__document_token(&g->m->store.vocab), *t;
    size_t most = 16 * (size_t)g->most;
    int count;
    if (n > most)
        for (n = most; n && ((unsigned char)text[n] & 0xc0) == 0x80;) n--; /* whole characters */
    int code = encode_text(g->m, text, n, 0, &t, &count);
    if (code) return code;
    if (begin >= 0 && g->n < g->most) g->t[g->n++] = begin;
    if (count > g->most - g->n) count = g->most - g->n;
    memcpy(g->t + g->n, t, (size_t)count * sizeof *t);
    g->n += count;
    free(t);
    return 0;
}

static int add_file(general_text *g) {
    pith__documents d;
    pith__str text;
    pith_error e = { 0, "" };
    if (pith__documents_open(&d, g->name, &e)) return report(&e);
    d.nfc = g->m->store.vocab.nfc;
    int code = 0, read = PITH_OK;
    while (!code && g->n < g->most && !(read = pith__documents_next(&d, &text, &e)) && text.n)
        code = add_document(g, text.p, text.n);
    pith__documents_close(&d);
    return code ? code : read ? report(&e) : 0;
}

int general_tokens(const pith_model *m, const char *path, int most, pith_token **t, int *n) {
    general_text g = { m, path ? path : "the general text", NULL, 0, most };
    int code = 0;
    if (!m->tokenizer) return complain(NOT_LOADED, "%s: the model has no vocabulary to read it with", g.name);
    g.t = malloc((size_t)most * sizeof *g.t);
    if (!g.t) return complain(FAILED, "%s: no memory for %d tokens", g.name, most);
    if (path) code = add_file(&g);
    for (size_t i = 0; !path && !code && i < sizeof forget_text / sizeof *forget_text; i++)
        code = add_document(&g, forget_text[i], strlen(forget_text[i]));
    if (!code && g.n < 2) code = complain(BAD_DATA, "%s: has %d tokens, need 2 or more", g.name, g.n);
    if (code) free(g.t), g.t = NULL;
    *t = g.t, *n = g.n;
    return code;
}

/* ---- warnings ------------------------------------------------------------------------------------------- */

enum { HELD_OUT_BOUND = 5, GENERAL_BOUND = 10 }; /* percent above the lowest, and above the start */

static const probe *lowest(const probe *p, int n) { /* loss on what is held out */
    const probe *best = NULL;
    for (int i = 0; i < n; i++)
        if (!isnan(p[i].eval_loss) && (!best || p[i].eval_loss < best->eval_loss)) best = &p[i];
    return best;
}

static double percent_above(double x, double from) { return from > 0 ? 100 * (x / from - 1) : 0; }

int probe_warning(const probe *p, int n, char *text, size_t size) {
    const probe *last = p + n - 1, *best = lowest(p, n), *start = p;
    int count = 0, used = 0;
    *text = 0;
    while (start < last && isnan(start->forget_loss)) start++;
    double above = best ? percent_above(last->eval_loss, best->eval_loss) : 0;
    if (above > HELD_OUT_BOUND) {
        count++;
        used = snprintf(text, size, "warning: the loss on held-out examples is %.0f %% above its lowest (%.4f at step "
                        "%lld): the examples are being learned by heart; --load_best_model_at_end keeps the best\n",
                        above, best->eval_loss, (long long)best->step);
    }
    above = percent_above(last->forget_loss, start->forget_loss);
    if (above > GENERAL_BOUND && used >= 0 && (size_t)used < size) {
        count++;
        snprintf(text + used, size - (size_t)used, "warning: the loss on general text is %.0f %% above its start (%.4f):"
                 " the model forgets what it knew; a lower --learning_rate or fewer steps forget less\n", above,
                 start->forget_loss);
    }
    return count;
}
