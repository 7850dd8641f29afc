/* voice.c - the voice that a text or a conversation is spoken with: one token after another, as text. */
#define _XOPEN_SOURCE 700
#include "voice.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- biases of single tokens ------------------------------------------------------------------ */

/* "15043+1.5", "15043-inf" */
static int read_bias(const char *s, int n_vocab, pith_bias *b) {
    char id[16];
    size_t n = strspn(s, "0123456789");
    long long token;
    double x = INFINITY;
    snprintf(id, sizeof id, "%.*s", n < sizeof id ? (int)n : 15, s);
    int sign = s[n] == '+' ? 1 : s[n] == '-' ? -1 : 0;
    if (!sign || !read_integer(id, 0, n_vocab - 1, &token) ||
        (strcmp(s + n + 1, "inf") != 0 && !read_real(s + n + 1, 0, 1e9, &x)))
        return complain(USAGE, "--logit-bias is '%s', need a token below %d, + or -, a number", s,
                        n_vocab);
    b->token = (pith_token)token;
    b->bias = (float)(sign * x);
    return 0;
}

int make_bias(const pith_model *m, const options *o, pith_bias **bias, pith_sampling *how) {
    int n_vocab = pith_model_shape(m)->n_vocab, n = o->bias.n;
    for (int t = 0; o->ignore_eos && t < n_vocab; t++) n += pith_is_end(m, t);
    *bias = malloc((size_t)(n + 1) * sizeof **bias);
    if (!*bias) return complain(FAILED, "no memory for the biases");
    how->bias = *bias;
    for (how->n_bias = 0; how->n_bias < o->bias.n; how->n_bias++) {
        int code = read_bias(o->bias.item[how->n_bias], n_vocab, *bias + how->n_bias);
        if (code) return code;
    }
    for (int t = 0; o->ignore_eos && t < n_vocab; t++)
        if (pith_is_end(m, t)) (*bias)[how->n_bias++] = (pith_bias){ t, -INFINITY };
    return 0;
}

/* ---- speaking ---------------------------------------------------------------------------------- */

const char *const thoughts_names[N_THOUGHTS] = { "show", "dim", "hide" };

/* Thoughts stand between tags, or are dim on a terminal. */
static void say_thoughts(voice *v) {
    int dim = v->thoughts == THOUGHTS_DIM && v->colour;
    const char *opens = dim ? "\033[2m" : "<think>\n", *closes = dim ? "\033[0m\n\n" : "\n</think>\n\n";
    if (v->thoughts == THOUGHTS_HIDE) {
        int waits = v->colour && isatty(STDERR_FILENO) && v->g.thinking && !v->ended; /* a person who sees nothing */
        if (waits != v->thinking) fprintf(stderr, waits ? "thinking ..." : "\r\033[K");
        v->thinking = waits;
        return;
    }
    if (v->g.n_thought && !v->thinking) output_bytes(&v->out, opens, strlen(opens)), v->thinking = 1;
    output_text(&v->out, v->g.thought, v->g.n_thought);
    if (v->thinking && (v->g.n_text || v->ended)) output_bytes(&v->out, closes, strlen(closes)), v->thinking = 0;
}

int say_next(voice *v) {
    pith_error e = { 0, "" };
    v->g.cancel = stopped() || v->out.code;
    v->ended = pith_generate(v->s, &v->g, &e);
    if (v->ended < 0) return complain(FAILED, "%s", e.text);
    warn_of_nan(v->m, v->s, &v->nan_said);
    if (v->g.thoughts) say_thoughts(v);
    output_text(&v->out, v->g.text, v->g.n_text);
    output_flush(&v->out);
    if (v->ended && v->ended != PITH_END && v->g.grammar && !v->g.sentence)
        complain(0, "the text ends in the middle of what the grammar asks for");
    return v->ended ? 0 : GO_ON;
}

/* ---- beginning ---------------------------------------------------------------------------------- */

int get_prompt(const options *o, char **text, size_t *n) {
    const char *path = o->file ? o->file : o->prompt && !strcmp(o->prompt, "-") ? "-" : NULL;
    if (!path) {
        *text = strdup(o->prompt ? o->prompt : "");
        *n = *text ? strlen(*text) : 0;
        return *text ? 0 : complain(FAILED, "no memory for the prompt");
    }
    int code = read_text(path, text, n);
    if (!code && (code = clean_text(!strcmp(path, "-") ? "standard input" : path, *text, n)) != 0) free(*text);
    if (!code && *n && (*text)[*n - 1] == '\n') --*n;
    return code;
}

int set_thoughts(voice *v, const options *o) {
    v->colour = !v->out.path && isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
    v->thoughts = v->colour ? THOUGHTS_DIM : THOUGHTS_SHOW;
    for (int i = 0; o->thoughts && i < N_THOUGHTS; i++) {
        if (!strcmp(o->thoughts, thoughts_names[i])) return v->thoughts = i, 0;
        if (i + 1 == N_THOUGHTS) return complain(USAGE, "--thoughts is '%s', need show, dim or hide", o->thoughts);
    }
    return 0;
}

int set_reasoning(voice *v, const options *o) {
    const char *how = o->reasoning ? o->reasoning : "auto";
    int off = !strcmp(how, "off");
    if (!off && strcmp(how, "on") != 0 && strcmp(how, "auto") != 0)
        return complain(USAGE, "--reasoning is '%s', need on, off or auto", how);
    v->g.thoughts = 1;
    v->g.thought_budget = off || o->thought_budget == 0 ? -1 : o->thought_budget < 0 ? 0 : o->thought_budget;
    v->g.thought_message = off ? NULL : o->budget_message;
    return 0;
}

/* A context of n tokens, or as long as the text that was kept: nothing depends on it but where it is full. */
int find_kept(const voice *v, options *o, int *n) {
    int n_kept, code = kept_find(&o->kept, &n_kept);
    if (!code && n_kept > *n && !v->g.shift) *n = n_kept;
    return code;
}

/* The draft model's session is as long as the text's, or as long as it was made for: then it falls silent. */
static int open_drafter(voice *v, const options *o) {
    model_choice small = { .path = o->drafter, .options = o->model.options, .context = o->model.context, .quiet = o->model.quiet };
    small.context.adapters = NULL, small.context.n_adapter = 0;
    small.context.pass = NULL;
    int code = open_model(&small, 0, &v->drafter);
    if (code) return code;
    int n_ctx = pith_model_shape(v->drafter)->n_ctx;
    if (small.context.n_ctx > n_ctx) small.context.n_ctx = n_ctx;
    return open_session(v->drafter, &small, n_ctx, &v->drafts_by);
}

static int start_drafts(voice *v, const options *o) {
    pith_error e = { 0, "" };
    int n = !o->drafter ? o->n_draft : o->draft_max ? o->draft_max : 16;
    if (!n) return 0;
    v->drafts = calloc((size_t)n + 1, (size_t)pith_model_shape(v->m)->n_vocab * sizeof *v->drafts);
    if (!v->drafts) return complain(FAILED, "no memory for drafts of %d tokens", n);
    if (!o->drafter) return pith_draft(v->s, n, v->drafts), 0;
    int code = open_drafter(v, o);
    if (!code && pith_draft_by(v->s, n, v->drafts, v->drafts_by, &e)) code = complain(USAGE, "--model-draft %s: %s", o->drafter, e.text);
    return code;
}

int start_session(voice *v, options *o, int n) {
    int code = open_session(v->m, &o->model, n, &v->s);
    if (!code) code = kept_load(&o->kept, v->s);
    if (!code) code = start_drafts(v, o);
    if (code) return code;
    if (!o->model.quiet) fprintf(stderr, "seed: %llu\n", (unsigned long long)o->seed);
    if (o->trace) trace_session(v->s);
    return 0;
}

void say_drafts(const voice *v, const options *o) {
    double n = pith_draft_rate(v->s);
    if (n > 0 && !o->model.quiet)
        fprintf(stderr, "tokens per pass: %.2f (%s)\n", n, o->drafter ? "--model-draft" : "--draft-lookup");
}

void end_drafts(voice *v) {
    pith_session_free(v->drafts_by);
    pith_close(v->drafter);
    free(v->drafts);
}
