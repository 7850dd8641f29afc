/* scores.c - run score --reward: what a reward model finds of many texts.
 *
 *     2.62733603                  one line a row
 *     2.62733603    -0.531018674  of a row with chosen and rejected both, with a tab between
 *
 * A row is a text, a prompt and its completion, a conversation, or a pair, as run reward learns from; what makes ids of
 * it is the same function (train/examples.c). A row that is wrong has nan, and the others theirs. */
#include "verbs.h"
#include "../train/train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 64 }; /* at once */

typedef struct {
    const pith_model *m;
    pith_adapter *a;
    pith_template *form; /* NULL: there is none */
    pith__row_reader *reader;
    line_reader *in;
    output out;
    int show;            /* so many texts are still to be shown as ids */
    int longest;         /* tokens that there is room for */
    int texts[ROWS], n_row; /* of each row: texts, 0: it is bad */
    pith__text_ids text[2 * ROWS];
    double score[2 * ROWS];
    size_t n_text, count; /* count: rows so far */
    pith__arena arena;   /* of the texts' ids */
    int bad, nan_said;
    progress p;
} scores;

/* The template that the reward model was taught with, else the model's. */
static int open_form(scores *k) {
    pith__str own = k->a->store.vocab.chat_template;
    pith_error e = { 0, "" };
    if (!own.n && !k->m->store.vocab.chat_template.n) return 0;
    k->form = pith_template_new(k->m, own.n ? own.p : NULL, own.n, k->a->store.path, &e);
    return k->form ? 0 : complain(e.code == PITH_EMEMORY ? FAILED : BAD_DATA, "%s", e.text);
}

static void show_ids(scores *k, const pith__text_ids *x) {
    fprintf(stderr, "line %zu:", k->in->number);
    for (int i = 0; i < x->n; i++) fprintf(stderr, " %d", (int)x->t[i]);
    fprintf(stderr, "\n");
    k->show--;
}

static int keep_texts(scores *k, const pith__examples *x) {
    for (size_t i = 0; i < x->n_train; i++) {
        const pith__example e = pith__examples_get(x, i);
        pith_token *t = pith__arena_new(&k->arena, (size_t)e.n, sizeof *t);
        if (!t) return complain(FAILED, "no memory for line %zu", k->in->number);
        memcpy(t, e.t, (size_t)e.n * sizeof *t);
        k->text[k->n_text] = (pith__text_ids){ t, e.n };
        if (k->show > 0) show_ids(k, &k->text[k->n_text]);
        k->n_text++;
    }
    return 0;
}

/* The line that was read; what is wrong with it is said. An exit code is of what ends the job. */
static int take_row(scores *k) {
    pith__json j;
    pith_error e = { 0, "" };
    const pith__examples *x = NULL;
    char where[160];
    int *n = &k->texts[k->n_row++];
    snprintf(where, sizeof where, "%.120s: line %zu", k->in->name, k->in->number);
    *n = 0;
    if (k->in->too_long) return complain(0, "%s: longer than 64 MB", where);
    if (pith__json_read(&j, k->in->p, k->in->n, where, &e) || pith__row_reader_read(k->reader, j, where, &x, &e))
        return e.code == PITH_EMEMORY ? report(&e) : complain(0, "%s", e.text);
    if (x->cut.n) return complain(0, "%s: more than %d tokens, for which the context has room (-c)", where, k->longest);
    if (!x->n_train) return complain(0, "%s: nothing to score", where);
    *n = (int)x->n_train;
    return keep_texts(k, x);
}

static int read_rows(scores *k) { /* GO_ON: there are some */
    int code = GO_ON;
    k->n_row = 0, k->n_text = 0;
    pith__arena_free(&k->arena);
    while (k->n_row < ROWS && (code = lines_next(k->in)) == GO_ON) {
        if ((code = take_row(k))) return code;
        k->bad |= !k->texts[k->n_row - 1];
    }
    return code > 0 ? code : k->n_row ? GO_ON : 0;
}

static int tell_scores(void *data, const char *what, size_t done, size_t all) {
    scores *k = data;
    (void)what, (void)done, (void)all;
    if (k->in->all) show_progress(&k->p, k->in->done < k->in->all ? k->in->done : k->in->all - 1, k->in->all);
    return stopped();
}

static void print_rows(scores *k) {
    const double *score = k->score;
    for (int i = 0; i < k->n_row; i++, k->count++) {
        if (!k->texts[i]) output_line(&k->out, "nan");
        for (int t = 0; t < k->texts[i]; t++, score++) {
            if (isnan(*score)) warn_once(&k->nan_said, "the model computes NaN");
            output_line(&k->out, t ? "\t%.9g" : "%.9g", isnan(*score) ? NAN : *score);
        }
        output_bytes(&k->out, "\n", 1);
    }
    output_flush(&k->out);
}

static int score_all(scores *k) {
    const pith__progress watch = { tell_scores, k };
    pith_error e = { 0, "" };
    int code;
    while ((code = read_rows(k)) == GO_ON && !k->out.code) {
        if (pith__reward(k->a, k->text, k->n_text, k->score, &watch, &e)) return report(&e);
        print_rows(k);
    }
    if (k->p.start > 0) show_progress(&k->p, 1, 1);
    return code == GO_ON ? 0 : code;
}

int score_by_reward(const pith_model *m, const model_choice *c, const char *reward, const char *file, int show) {
    line_reader in = { .n = 0 };
    scores k = { .m = m, .in = &in, .show = show, .p.what = "byte" };
    pith_time now = { 1970, 1, 1, 0, 0, 0 };
    pith_error e = { 0, "" };
    k.longest = c->context.n_ctx ? c->context.n_ctx : pith_model_shape(m)->n_ctx;
    k.a = pith__adapter_open(m, reward, 1, &e);
    int code = k.a ? open_form(&k) : complain(NOT_LOADED, "%s", e.text);
    if (!code && !k.a->score) code = complain(NOT_LOADED, "%s: is no reward model: its task_type is not SEQ_CLS", reward);
    if (!code) code = read_time(NULL, &now);
    const pith__examples_plan plan = { .form = k.form, .now = &now, .scored = 1, .max_length = k.longest };
    if (!code && !(k.reader = pith__row_reader_new(m, &plan, &e))) code = report(&e);
    if (!code) code = lines_open(&in, file);
    if (!code) code = output_open(&k.out, NULL, NULL);
    if (!code) {
        code = score_all(&k);
        int printed = output_close(&k.out, 1);
        if (!code) code = printed;
        if (!code && !k.count) code = complain(BAD_DATA, "%s: no rows", in.name);
    }
    lines_close(&in);
    pith__arena_free(&k.arena);
    pith__row_reader_free(k.reader);
    pith_template_free(k.form);
    pith_adapter_close(k.a);
    return code ? code : k.bad ? BAD_DATA : 0;
}
