/* fill.c - run fill: the likeliest words for each mask of a text, by an encoder that was taught to fill gaps.
 *
 *     1  0.416789  paris        number of the mask from 1, probability, word; with tabs between */
#include "verbs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    model_choice model;
    const char *prompt;
    int most;
} fill_options;

/* ---- words --------------------------------------------------------------------------------------------- */

/* A token as it stands in a list: pieces within a word have their "##", others no blank before them, and bytes that are no
 * whole character stand there as in vocabularies: <0xEC>. */
void put_word(output *out, const pith_model *m, pith_token t) {
    const pith__vocab *v = &m->store.vocab;
    size_t n;
    const char *p = pith_piece(m, t, &n);
    if (v->model == PITH__WORDPIECE) p = v->piece[t].p, n = v->piece[t].n;
    if (n > 1 && *p == ' ') p++, n--;
    while (n) {
        int size = pith__utf8_length((const uint8_t *)p, n);
        if (size > 0) output_bytes(out, p, (size_t)size);
        else size = 1, output_line(out, "<0x%02X>", (unsigned)(unsigned char)*p); /* a part of a character */
        p += size, n -= (size_t)size;
    }
}

static int before(const float *x, int a, int b) { return x[a] > x[b] || (x[a] == x[b] && a < b); }

/* The most likely of n, best first: the list grows by one and the least falls off. */
static int likeliest(const float *x, int n, int *best, int most) {
    int count = 0;
    for (int i = 0; i < n; i++) {
        if (isnan(x[i]) || (count == most && !before(x, i, best[count - 1]))) continue;
        int at = count < most ? count++ : count - 1;
        for (; at > 0 && before(x, i, best[at - 1]); at--) best[at] = best[at - 1];
        best[at] = i;
    }
    return count;
}

typedef struct {
    pith_session *s;
    int row;
    float *logits;
} mask_work;

static void fill_mask(void *data) {
    const mask_work *w = data;
    int part = 0;
    pith__out_norm(w->s->pass, 0, w->row);
    pith__task_rows(w->s->pass, 1, &part, w->logits);
}

static int put_words(output *out, pith_session *s, int number, int row, int most) {
    const pith_model *m = s->model;
    int n_vocab = m->task.n, nan_said = 0;
    float *x = malloc((size_t)n_vocab * sizeof *x);
    int *best = malloc((size_t)most * sizeof *best);
    if (x && best) {
        mask_work w = { s, row, x };
        pith__together(&s->pass->team, fill_mask, &w);
        double all = log_total(x, n_vocab);
        int n = likeliest(x, n_vocab, best, most);
        if (isnan(all)) warn_once(&nan_said, "the model computes NaN");
        for (int i = 0; i < n; i++) {
            output_line(out, "%d\t%.6f\t", number, exp(x[best[i]] - all));
            put_word(out, m, best[i]);
            output_bytes(out, "\n", 1);
        }
    }
    int code = x && best ? 0 : complain(FAILED, "no memory for %d words", n_vocab);
    free(x), free(best);
    return code;
}

/* ---- the verb ------------------------------------------------------------------------------------------ */

/* Where a text has "[MASK]" for a model whose mask is "<mask>", or the other way round, it means the model's own. */
static char *own_masks(const pith_model *m, const char *text, size_t *n) {
    static const char *const names[] = { "[MASK]", "<mask>" };
    int mask = m->store.vocab.mask;
    pith__str own = mask < 0 ? (pith__str){ "", 0 } : pith__tokenizer_piece(m->tokenizer, mask);
    char *y = malloc(*n + 1);
    int other = pith__str_is(own, names[0]) ? 1 : pith__str_is(own, names[1]) ? 0 : -1;
    if (!y) return NULL;
    memcpy(y, text, *n);
    y[*n] = 0;
    if (other < 0 || strstr(y, names[1 - other])) return y;
    for (char *p = y; (p = strstr(p, names[other])) != NULL; p += own.n) memcpy(p, own.p, own.n); /* both have six bytes */
    return y;
}

static int fill_text(const fill_options *o, const pith_model *m, pith_session *s, const pith__framed *f) {
    pith_error e = { 0, "" };
    output out;
    int mask = m->store.vocab.mask, n = 0, code = 0;
    for (int t = 0; t < f->n; t++) n += f->token[t] == mask;
    if (!n && f->cut) return complain(BAD_DATA, "the text has no mask within the %d tokens that the model reads", f->n);
    if (!n) return complain(USAGE, "the text has no mask: write %s where a word is to be found",
                            pith__tokenizer_find(m->tokenizer, "<mask>", 6) == mask ? "<mask>" : "[MASK]");
    if (f->cut) fprintf(stderr, "warning: the text was cut to %d tokens: %d more were left off\n", f->n, f->cut);
    if (pith_eval(s, f->token, f->n, &e)) return report(&e);
    if ((code = output_open(&out, NULL, NULL)) != 0) return code;
    for (int t = 0, number = 1; t < f->n && !code && !stopped() && !out.code; t++)
        if (f->token[t] == mask) code = put_words(&out, s, number++, t, o->most < m->task.n ? o->most : m->task.n);
    int written = output_close(&out, 1);
    return code ? code : stopped() ? stopped() : written;
}

static int fill(fill_options *o, const pith_model *m, const char *text, size_t n) {
    static const int words[] = { PITH_TASK_WORD, 0 };
    pith__framed f = { 0 };
    pith_session *s = NULL;
    float *state = NULL;
    int code = need_task(m, words), limit = o->model.context.n_ctx ? o->model.context.n_ctx : pith_embedding_default(m).n_ctx;
    if (code) return code;
    if (m->store.vocab.mask < 0) return complain(NOT_LOADED, "%s: its vocabulary names no mask token", m->store.path);
    char *own = own_masks(m, text, &n);
    state = malloc((size_t)m->hyper.n_embd * sizeof *state);
    const pith__to_frame in = { .first = { own, n }, .flags = PITH_SPECIAL, .limit = limit };
    if (!own || !state || pith__frame(m->tokenizer, &in, &f)) code = complain(FAILED, "no memory for the text");
    o->model.context.n_ctx = o->model.context.n_batch = f.n;
    if (!code) code = open_session(m, &o->model, f.n, &s);
    if (s) s->hidden = state; /* nobody needs logits of the next token */
    if (s && o->model.trace) trace_session(s);
    if (!code) code = fill_text(o, m, s, &f);
    pith_session_free(s);
    pith__framed_free(&f);
    free(own), free(state);
    return code;
}

int verb_fill(int argc, char **argv) {
    static const char usage[] =
        "run fill MODEL -i \"The capital of France is [MASK].\" [options]\n"
        "the likeliest words for each mask, by an encoder that was taught to fill gaps (BERT)\n\n"
        "On stdout, for each mask ([MASK] or <mask>) in turn, a line a word, the likeliest first: the number of the mask\n"
        "from 1, the word's probability, and the word, with tabs between. \"##\" before it: it goes on with a word.\n\n";
    fill_options o = { .most = 5 };
    const flag flags[] = {
        { 'i', "prompt", TEXT, &o.prompt, 0, 0, "TEXT", "the text; - reads standard input" },
        { 'k', "top-k", INTEGER, &o.most, 1, INT32_MAX, "N", "words for each mask (5)" },
        ENCODER_FLAGS(o.model),
        LORA_FLAGS(o.model),
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    int code = read_flags(argc, argv, usage, flags, &o.model.path);
    if (code != GO_ON) return code;
    if (!o.prompt) return complain(USAGE, "fill needs a text with a mask: -i TEXT");
    pith_model *m = NULL;
    char *typed = NULL;
    size_t n = strlen(o.prompt);
    code = open_adapted(&o.model, 1, &m);
    if (!code && !strcmp(o.prompt, "-")) code = read_text("-", &typed, &n);
    if (!code && typed) code = clean_text("standard input", typed, &n);
    if (!code) code = fill(&o, m, typed ? typed : o.prompt, n);
    free(typed);
    close_model(&o.model, m);
    return code;
}
