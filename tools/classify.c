/* classify.c - run rank and run classify: what an encoder was taught to say of texts.
 *
 *     rank        8.60715  3  Berlin has 3.5 million ...     score, number of the line, line; the best first
 *     classify    0.998702  POSITIVE                         probability and label, the best first
 *                 B-LOC  Berlin                              of a model that labels tokens: label and piece
 *
 * A cross-encoder reads the question and a line together, as a pair: slower than run search, which compares vectors that
 * know nothing of each other, and better. The score is the logit, as it is. */
#include "verbs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 64 };   /* texts that go through the model in one call */

typedef struct {
    float score;
    size_t line;
    pith__str text;
} ranked;

typedef struct {
    const pith_model *m;
    pith_embedder *e;
    int kind, n_label, limit;
    const char *question;    /* run rank; else NULL */
    line_reader in;
    output out;
    progress p;
    pith_passage text[AT_ONCE];
    pith__framed framed[AT_ONCE]; /* their tokens, where tokens are labelled */
    int n;
    size_t n_text, n_cut, first_cut; /* so far; first_cut: the line */
    float *said;             /* (said_room, n_label) */
    size_t said_room;
    pith__arena arena;       /* the lines */
    ranked *of;              /* (n_text) */
    size_t room;
    int nan_said;
} judge;

typedef struct {
    model_choice model;
    const char *prompt, *file;
    int most;
} judge_options;

/* ---- texts -> numbers -------------------------------------------------------------------------------- */

static int judge_no_memory(const judge *k) { return complain(FAILED, "no memory for text %zu", k->n_text + (size_t)k->n + 1); }

/* A text of the next call, whose bytes stay; of rank the second of a pair. */
static int judge_add(judge *k, const char *text, size_t n) {
    pith_passage *p = &k->text[k->n];
    *p = (pith_passage){ .text = text, .n_text = n };
    if (k->question) *p = (pith_passage){ .text = k->question, .n_text = strlen(k->question), .second = text, .n_second = n };
    if (k->kind == PITH_TASK_TOKEN) { /* its tokens are to be shown */
        pith__framed *f = &k->framed[k->n];
        const pith__to_frame in = { .first = { text, n }, .flags = PITH_SPECIAL, .limit = k->limit };
        if (pith__frame(k->m->tokenizer, &in, f)) return judge_no_memory(k);
        *p = (pith_passage){ .tokens = f->token, .n_tokens = f->n };
    }
    k->n++;
    return 0;
}

/* Some lines; GO_ON: there are some. */
static int judge_read(judge *k) {
    int code = GO_ON;
    k->n = 0;
    if (!k->question) pith__arena_free(&k->arena);
    while (k->n < AT_ONCE && (code = lines_next(&k->in)) == GO_ON) {
        const line_reader *l = &k->in;
        if (l->too_long) return complain(BAD_DATA, "%s: line %zu is too long", l->name, l->number);
        const char *line = pith__arena_text(&k->arena, l->p, l->n);
        if (!line) return judge_no_memory(k);
        if ((code = judge_add(k, line, l->n)) != 0) return code;
    }
    return k->n && (code == GO_ON || code == 0) ? GO_ON : code;
}

static int judge_run(judge *k) {
    pith_error e = { 0, "" };
    size_t rows = 0, width = (size_t)k->n_label;
    for (int i = 0; i < k->n; i++) rows += k->kind == PITH_TASK_TOKEN ? (size_t)k->framed[i].n : 1;
    if (rows > k->said_room) {
        free(k->said);
        k->said = malloc(rows * width * sizeof *k->said);
        k->said_room = k->said ? rows : 0;
        if (!k->said) return judge_no_memory(k);
    }
    if (pith_embed(k->e, k->text, k->n, k->said, (int)rows, &e) < 0) return report(&e);
    for (int i = 0; i < k->n; i++) {
        int cut = k->kind == PITH_TASK_TOKEN ? k->framed[i].cut : k->text[i].n_cut;
        if (cut && !k->n_cut++) k->first_cut = k->n_text + (size_t)i + 1;
    }
    for (size_t i = 0; i < rows * width; i++)
        if (isnan(k->said[i])) warn_once(&k->nan_said, "the model computes NaN");
    return 0;
}

static void judge_warn(const judge *k) {
    if (k->n_cut)
        fprintf(stderr, "warning: %zu of %zu text%s %s cut to %d tokens, the first is line %zu\n", k->n_cut, k->n_text,
                k->n_text == 1 ? "" : "s", k->n_cut == 1 ? "was" : "were", k->limit, k->first_cut);
}

/* ---- what is said of them ---------------------------------------------------------------------------- */

static void put_label(judge *k, int i) {
    size_t n;
    const char *label = pith_label(k->m, i, &n);
    if (label) output_text(&k->out, label, n);
    else output_line(&k->out, "LABEL_%d", i);
}

typedef struct { double p; int label; } choice;

static int by_probability(const void *a, const void *b) { /* NaN last */
    const choice *x = a, *y = b;
    if (x->p > y->p || (isnan(y->p) && !isnan(x->p))) return -1;
    if (x->p < y->p || (isnan(x->p) && !isnan(y->p))) return 1;
    return x->label - y->label;
}

static int put_classes(judge *k, const float *x) {
    size_t n = (size_t)k->n_label;
    double *y = malloc(n * sizeof *y);
    choice *c = malloc(n * sizeof *c);
    if (y && c) {
        pith_probabilities(k->m, x, y);
        for (int i = 0; i < k->n_label; i++) c[i] = (choice){ y[i], i };
        qsort(c, n, sizeof *c, by_probability);
    }
    for (size_t i = 0; y && c && i < n; i++) {
        output_line(&k->out, "%.6f\t", isnan(c[i].p) ? NAN : c[i].p);
        put_label(k, c[i].label);
        output_bytes(&k->out, "\n", 1);
    }
    free(y), free(c);
    return y && c ? 0 : judge_no_memory(k);
}

/* A line a token of the text; those that only frame it are left out. */
static void put_token_labels(judge *k, const pith__framed *f, const float *x) {
    const pith__vocab *v = &k->m->store.vocab;
    for (int t = 0; t < f->n; t++, x += k->n_label) {
        int best = 0;
        for (int i = 1; i < k->n_label; i++)
            if (x[i] > x[best]) best = i;
        if (v->type[f->token[t]] == PITH__CONTROL) continue;
        put_label(k, best);
        output_bytes(&k->out, "\t", 1);
        put_word(&k->out, k->m, f->token[t]);
        output_bytes(&k->out, "\n", 1);
    }
}

/* The labels of several texts have an empty line between them. */
static int put_judged(judge *k) {
    const float *x = k->said;
    int code = 0;
    for (int i = 0; i < k->n && !code; i++) {
        if (k->n_text + (size_t)i) output_bytes(&k->out, "\n", 1);
        if (k->kind == PITH_TASK_TOKEN) put_token_labels(k, &k->framed[i], x);
        else code = put_classes(k, x);
        x += k->n_label * (k->kind == PITH_TASK_TOKEN ? k->framed[i].n : 1);
    }
    output_flush(&k->out);
    return code;
}

static int keep_ranked(judge *k) {
    if (k->n_text + AT_ONCE > k->room) {
        size_t room = 2 * (k->n_text + AT_ONCE);
        ranked *more = realloc(k->of, room * sizeof *more);
        if (!more) return judge_no_memory(k);
        k->of = more, k->room = room;
    }
    for (int i = 0; i < k->n; i++) {
        size_t at = k->n_text + (size_t)i;
        k->of[at] = (ranked){ k->said[i], at + 1, { k->text[i].second, k->text[i].n_second } };
    }
    return 0;
}

static int by_score(const void *a, const void *b) { /* NaN last */
    const ranked *x = a, *y = b;
    if (x->score > y->score || (isnan(y->score) && !isnan(x->score))) return -1;
    if (x->score < y->score || (isnan(x->score) && !isnan(y->score))) return 1;
    return x->line < y->line ? -1 : 1;
}

static void put_ranked(judge *k, int most) {
    size_t n = most && (size_t)most < k->n_text ? (size_t)most : k->n_text;
    qsort(k->of, k->n_text, sizeof *k->of, by_score);
    for (size_t i = 0; i < n && !k->out.code; i++) {
        const ranked *r = &k->of[i];
        output_line(&k->out, "%.9g\t%zu\t", isnan(r->score) ? NAN : (double)r->score, r->line);
        output_text(&k->out, r->text.p, r->text.n);
        output_bytes(&k->out, "\n", 1);
    }
}

/* ---- the verbs --------------------------------------------------------------------------------------- */

static int judge_lines(judge *k) {
    int code;
    while ((code = judge_read(k)) == GO_ON && !k->out.code && !stopped()) {
        code = judge_run(k);
        if (!code) code = k->question ? keep_ranked(k) : put_judged(k);
        if (code) return code;
        k->n_text += (size_t)k->n;
        if (k->in.all) show_progress(&k->p, k->in.done < k->in.all ? k->in.done : k->in.all - 1, k->in.all);
    }
    if (k->p.start > 0) show_progress(&k->p, 1, 1);
    if (!code && !k->n_text) return complain(BAD_DATA, "%s: has no lines", k->in.name);
    return code == GO_ON ? stopped() : code;
}

static int judge_one(judge *k, const char *text) {
    char *typed = NULL;
    size_t n = strlen(text);
    int code = !strcmp(text, "-") ? read_text("-", &typed, &n) : 0;
    if (!code && typed) code = clean_text("standard input", typed, &n);
    if (!code) code = judge_add(k, typed ? typed : text, n);
    if (!code) code = judge_run(k);
    if (!code) code = put_judged(k);
    k->n_text = 1;
    free(typed);
    return code;
}

static int judge_open(judge *k, const judge_options *o) {
    pith_error e = { 0, "" };
    pith_embedding how = pith_embedding_default(k->m);
    k->kind = pith_task(k->m, &k->n_label);
    how.pooling = PITH_TASK, how.dimensions = 0, how.prompt = NULL, how.skip_prompt = 0;
    if (o->model.context.n_ctx) how.n_ctx = o->model.context.n_ctx;
    k->limit = how.n_ctx;
    k->e = pith_embedder_new(k->m, &o->model.context, &how, &e);
    k->p.what = "byte";
    if (k->e && o->model.trace) trace_embedder(k->e, k->m);
    return k->e ? 0 : report(&e);
}

static int judge_texts(judge *k, const judge_options *o) {
    int code = judge_open(k, o);
    if (!code && o->file) code = lines_open(&k->in, o->file);
    k->in.keep_blank = 1;
    if (!code) code = output_open(&k->out, NULL, NULL);
    if (!code) {
        code = o->file ? judge_lines(k) : judge_one(k, o->prompt);
        if (!code && k->question) put_ranked(k, o->most);
        int written = output_close(&k->out, 1);
        if (!code) code = stopped() ? stopped() : written;
        if (!code) judge_warn(k);
    }
    return code;
}

static void judge_close(judge *k) {
    lines_close(&k->in);
    pith_embedder_free(k->e);
    pith__arena_free(&k->arena);
    for (int i = 0; i < AT_ONCE; i++) pith__framed_free(&k->framed[i]);
    free(k->said), free(k->of);
}

static int run_judge(judge_options *o, int pair) {
    static const int classes[] = { PITH_TASK_TEXT, PITH_TASK_TOKEN, 0 };
    pith_model *m = NULL;
    char *question = NULL;
    size_t n;
    int code = open_adapted(&o->model, 1, &m), from_stdin = pair && !strcmp(o->prompt, "-");
    if (!code) code = pair ? need_score(m) : need_task(m, classes);
    if (!code && from_stdin) code = read_text("-", &question, &n);
    judge *k = code ? NULL : calloc(1, sizeof *k);
    if (!code && !k) code = complain(FAILED, "no memory");
    if (k) {
        k->m = m;
        k->question = !pair ? NULL : from_stdin ? question : o->prompt;
        code = judge_texts(k, o);
        judge_close(k);
    }
    free(k), free(question);
    close_model(&o->model, m);
    return code;
}

int verb_rank(int argc, char **argv) {
    static const char usage[] =
        "run rank MODEL -i QUESTION -f LINES [options]\n"
        "which lines answer the question best, by a cross-encoder (a reranker)\n\n"
        "On stdout a line each, the best first: the score as the model gives it (a logit; any number), the number of the\n"
        "line from 1, and the line, with tabs between. The model reads the question and the line together; what is too\n"
        "long for it is cut, the longer one first, with a warning.\n\n";
    judge_options o = { 0 };
    const flag flags[] = {
        { 'i', "prompt", TEXT, &o.prompt, 0, 0, "TEXT", "the question; - reads standard input" },
        { 'f', "file", TEXT, &o.file, 0, 0, "FILE", "a text a line; - reads standard input" },
        { 'k', "top-k", INTEGER, &o.most, 0, INT32_MAX, "N", "show so many lines (0: all)" },
        ENCODER_FLAGS(o.model),
        LORA_FLAGS(o.model),
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    int code = read_flags(argc, argv, usage, flags, &o.model.path);
    if (code != GO_ON) return code;
    if (!o.prompt || !o.file) return complain(USAGE, "rank needs a question and lines: -i QUESTION -f LINES");
    if (!strcmp(o.prompt, "-") && !strcmp(o.file, "-")) return complain(USAGE, "-i and -f cannot both be standard input");
    return run_judge(&o, 1);
}

int verb_classify(int argc, char **argv) {
    static const char usage[] =
        "run classify MODEL (-i TEXT | -f LINES) [options]\n"
        "what a classifier says of a text, or of each line of a file\n\n"
        "On stdout a line for each label, the likeliest first: its probability, a tab, and its name. A model that labels\n"
        "tokens, as for names of persons and places, has a line for each token: the likeliest label and the piece.\n"
        "Of a file, an empty line stands between the texts.\n\n";
    judge_options o = { 0 };
    const flag flags[] = {
        { 'i', "prompt", TEXT, &o.prompt, 0, 0, "TEXT", "the text; - reads standard input" },
        { 'f', "file", TEXT, &o.file, 0, 0, "FILE", "a text a line; - reads standard input" },
        ENCODER_FLAGS(o.model),
        LORA_FLAGS(o.model),
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    int code = read_flags(argc, argv, usage, flags, &o.model.path);
    if (code != GO_ON) return code;
    if ((o.prompt != NULL) + (o.file != NULL) != 1)
        return complain(USAGE, "classify needs texts: one of -i TEXT, -f FILE");
    return run_judge(&o, 0);
}
