/* samples.c - --samples N: many texts that begin with one prompt, written together.
 *
 * The prompt is evaluated once, and its session copied. Each pass of the model then takes a token of every text;
 * where one ends, the next begins in its session, which has most of the prompt. Number k has the random numbers of
 * -s seed+k, and is the text that this seed gives alone. Texts come out in their order, as soon as they can. */
#define _XOPEN_SOURCE 700
#include "verbs.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct {         /* a text that is over, and waits to be printed */
    char *text, *ids;    /* (n) as it is shown; its new tokens, with commas between them */
    size_t n;
    int ended;           /* why; 0: it is not over */
} sample;

typedef struct {         /* where a text is written */
    pith_session *s;
    pith_generation g;
    int index;           /* of the text; -1: none now */
    output text, ids;    /* to memory: what its sample will have */
    sample got;
    size_t n_ids;
    int n_token;         /* in ids */
} place;

typedef struct {
    samples *w;
    sample *sample;      /* (w->n) */
    place *place;        /* (n) */
    int n, begun, printed;
    pith_session **s;    /* (n) those of a pass, */
    pith_generation **g; /* (n) and what they write */
    char *prompt;        /* (n_prompt) as it is shown */
    size_t n_prompt;
    progress progress;
    int nan_said;
} crowd;

/* ---- places ---------------------------------------------------------------------------------- */

/* How many texts are written at once. */
static int count_places(const samples *w, int *n) {
    enum { USUAL = 16 };
    double size = (double)pith_session_size(w->m, w->context), memory = pith__may_use("").memory;
    *n = w->parallel ? w->parallel : USUAL;
    if (*n > w->n) *n = w->n;
    if (*n * size <= 0.75 * memory) return 0;
    if (w->parallel)
        return complain(FAILED, "no memory for %d texts at once: %.2f GB each, this process may use %.1f", *n, size / 1e9,
                        memory / 1e9);
    *n = 0.75 * memory > size ? (int)(0.75 * memory / size) : 1;
    return 0;
}

static int open_places(crowd *c) {
    samples *w = c->w;
    pith_error e = { 0, "" };
    int code = count_places(w, &c->n);
    if (code) return code;
    c->sample = calloc((size_t)w->n, sizeof *c->sample);
    c->place = calloc((size_t)c->n, sizeof *c->place);
    c->s = calloc((size_t)c->n, sizeof(pith_session *));
    c->g = calloc((size_t)c->n, sizeof(pith_generation *));
    if (!c->sample || !c->place || !c->s || !c->g) return complain(FAILED, "no memory for %d texts", w->n);
    for (int i = 0; i < c->n; i++) {
        place *p = &c->place[i];
        p->index = -1;
        p->s = i ? pith_session_new(w->m, w->context, &e) : w->first;
        if (!p->s || (i && pith_session_copy(p->s, w->first, &e) != PITH_OK)) return complain(FAILED, "%s", e.text);
    }
    return shown_text(w->m, w->prompt, w->n_shown, &c->prompt, &c->n_prompt);
}

static void close_places(crowd *c) {
    for (int i = 0; c->place && i < c->n; i++) {
        place *p = &c->place[i];
        pith_generation_free(&p->g);
        if (p->s != c->w->first) pith_session_free(p->s);
        if (p->text.file) fclose(p->text.file);
        if (p->ids.file) fclose(p->ids.file);
        free(p->got.text), free(p->got.ids);
    }
    for (int i = 0; c->sample && i < c->begun; i++) free(c->sample[i].text), free(c->sample[i].ids);
    free(c->sample), free(c->place), free(c->s), free(c->g);
    free(c->prompt);
}

/* ---- a text ---------------------------------------------------------------------------------- */

/* The session may have another text behind the prompt, which may have moved (--context-shift). */
static int begin_text(crowd *c, place *p) {
    const samples *w = c->w;
    if (output_memory(&p->text, &p->got.text, &p->got.n) || output_memory(&p->ids, &p->got.ids, &p->n_ids))
        return complain(FAILED, "no memory for a text");
    p->index = c->begun++;
    p->g = w->g;
    p->g.rng += (uint64_t)p->index;
    if (p->index >= c->n) {
        int known = pith_rewind(p->s, pith_known(p->s, w->prompt, w->n_prompt));
        p->g.prompt = w->prompt + known, p->g.n_prompt = w->n_prompt - known;
    }
    output_text(&p->text, c->prompt, c->n_prompt);
    if (w->g.n_predict < 1) p->g.ended = PITH_LIMIT; /* the prompt is all */
    return 0;
}

static int end_text(crowd *c, place *p) {
    int code = output_close(&p->text, 1);
    if (!code) code = output_close(&p->ids, 1);
    p->got.ended = p->g.ended;
    if (fclose(p->text.file) || fclose(p->ids.file)) code = complain(FAILED, "no memory for a text");
    p->text.file = p->ids.file = NULL;
    c->sample[p->index] = p->got;
    c->w->n_token += p->g.n_token;
    p->n_token = 0;
    c->w->n_cut += p->g.n_token && (p->g.ended == PITH_LIMIT || p->g.ended == PITH_FULL);
    c->w->n_half += p->g.grammar && p->g.n_token && p->g.ended != PITH_END && !p->g.sentence;
    p->got = (sample){ NULL, NULL, 0, 0 };
    p->index = -1;
    pith_generation_free(&p->g);
    return code;
}

/* What the last pass gave: no token while a prompt is read, or where the text was cancelled. */
static void take_token(crowd *c, place *p) {
    if (p->g.n_text) output_text(&p->text, p->g.text, p->g.n_text);
    if (p->g.n_token == p->n_token) return;
    output_line(&p->ids, p->n_token ? ", %d" : "%d", (int)p->g.token);
    p->n_token = p->g.n_token;
    warn_of_nan(c->w->m, p->s, &c->nan_said);
}

/* A token of every text. */
static int write_tokens(crowd *c) {
    pith_error e = { 0, "" };
    int n = 0, code = 0, stop = stopped() || c->w->out->code;
    for (int i = 0; i < c->n; i++) {
        place *p = &c->place[i];
        p->g.cancel = stop;
        if (p->index >= 0) c->s[n] = p->s, c->g[n++] = &p->g;
    }
    if (pith_generate_many(c->s, c->g, n, &e) < 0) return complain(FAILED, "%s", e.text);
    for (int i = 0; i < c->n && !code; i++) {
        place *p = &c->place[i];
        if (p->index < 0) continue;
        if (p->g.ended < 0) return complain(FAILED, "%s", e.text);
        take_token(c, p);
        if (p->g.ended) code = end_text(c, p);
    }
    return code;
}

/* ---- all of them ----------------------------------------------------------------------------- */

static void print_json(const samples *w, const sample *x, int index) {
    const char *why = x->ended == PITH_CANCEL ? "cancelled"
                    : x->ended == PITH_LIMIT || x->ended == PITH_FULL ? "length" : "stop";
    output_line(w->out, "{\"index\": %d, \"seed\": %llu, \"text\": ", index,
                (unsigned long long)(w->g.rng + (uint64_t)index));
    output_json(w->out, x->text, x->n);
    output_line(w->out, ", \"tokens\": [%s], \"finish_reason\": \"%s\"}\n", x->ids, why);
}

/* Texts that are over, up to the first that is not. */
static void print_texts(crowd *c) {
    const samples *w = c->w;
    for (; c->printed < c->begun && c->sample[c->printed].ended; c->printed++) {
        sample *x = &c->sample[c->printed];
        show_progress(&c->progress, 1, 1); /* takes it away */
        if (w->jsonl) {
            print_json(w, x, c->printed);
        } else {
            if (c->printed) output_line(w->out, "<|endoftext|>\n");
            output_text(w->out, x->text, x->n);
            output_text(w->out, "\n", 1);
        }
        output_flush(w->out);
        free(x->text), free(x->ids);
        x->text = x->ids = NULL;
    }
}

/* How far that is, where it is known how long the texts may become: those that are over count as whole. */
static void show_tokens(crowd *c) {
    enum { ENDLESS = 1 << 24 };
    const samples *w = c->w;
    size_t each = (size_t)w->g.n_predict, done = (size_t)c->begun * each;
    if (w->g.n_predict < 1 || w->g.n_predict > ENDLESS) return;
    for (int i = 0; i < c->n; i++)
        if (c->place[i].index >= 0) done -= each - (size_t)c->place[i].g.n_token;
    if (done < each * (size_t)w->n) show_progress(&c->progress, done, each * (size_t)w->n);
}

int write_samples(samples *w) {
    crowd c = { .w = w, .progress = { .what = "tokens" } };
    int code = open_places(&c), n_on = 1;
    while (!code && n_on) {
        n_on = 0;
        for (int i = 0; i < c.n && !code; i++) {
            if (c.place[i].index < 0 && c.begun < w->n && !stopped() && !w->out->code) code = begin_text(&c, &c.place[i]);
            n_on += c.place[i].index >= 0;
        }
        if (!code) code = write_tokens(&c);
        if (!code) print_texts(&c);
        if (!code) show_tokens(&c);
    }
    close_places(&c);
    return code;
}
