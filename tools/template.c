/* template.c - run template: a conversation as the model's template writes it, to the byte.
 *
 * What would be sent to the model: its text on standard output, or with --tokens its token ids on one line. */
#include "verbs.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    model_choice model;
    const char *messages, *file, *variables, *bos, *eos, *now;
    int no_prompt, go_on, tokens;
} template_options;

int read_time(const char *s, pith_time *t) {
    char end;
    if (!s) {
        time_t now = time(NULL);
        const struct tm *tm = localtime(&now);
        if (tm)
            *t = (pith_time){ tm->tm_year + 1900, tm->tm_mon + 1, tm->tm_mday, tm->tm_hour, tm->tm_min, tm->tm_sec };
        return 0;
    }
    int n = sscanf(s, "%4d-%2d-%2d%*1[T ]%2d:%2d:%2d%c", &t->year, &t->month, &t->day, &t->hour, &t->minute,
                   &t->second, &end);
    if (n == 6 && t->year >= 1 && t->month >= 1 && t->month <= 12 && t->day >= 1 && t->day <= 31 && t->hour >= 0 &&
        t->hour < 24 &&
        t->minute >= 0 && t->minute < 60 && t->second >= 0 && t->second < 61)
        return 0;
    return complain(USAGE, "--now is '%s', need a time such as 2025-03-14T15:09:26", s);
}

int open_chat_form(const pith_model *m, const model_choice *c, const char *file, pith_template **t) {
    pith_error e = { 0, "" };
    char *text = NULL;
    size_t n = 0;
    int code = file ? read_text(file, &text, &n) : 0;
    *t = NULL;
    if (!code && (text || (!c->options.chat_template && pith_model_shape(m)->has_chat))) {
        *t = pith_template_new(m, text, n, file, &e);
        if (!*t) code = complain(e.code == PITH_EMEMORY ? FAILED : BAD_DATA, "%s", e.text);
    }
    free(text);
    return code;
}

static int print_rendering(const template_options *o, const pith_template *t, const char *messages,
                           const pith_time *now) {
    pith_conversation c = { .messages = messages, .variables = o->variables, .bos = o->bos, .eos = o->eos, .now = now,
                            .no_prompt = o->no_prompt, .go_on = o->go_on };
    pith_rendering r;
    pith_error e = { 0, "" };
    output out;
    if (pith_render(t, &c, &r, &e)) return report(&e);
    int code = output_open(&out, NULL, NULL);
    if (!code) {
        for (int i = 0; o->tokens && i < r.n_token; i++) output_line(&out, i ? " %d" : "%d", (int)r.token[i]);
        if (o->tokens) output_bytes(&out, "\n", 1);
        else output_bytes(&out, r.text, r.n);
        code = output_close(&out, 1);
    }
    pith_rendering_free(&r);
    return code;
}

/* The template from a file, or else the model's. */
static int open_template(const template_options *o, const pith__store *s, const pith__tokenizer *k, pith_template **t) {
    pith_error e = { 0, "" };
    char *text = NULL;
    pith__str own = { NULL, 0 };
    int code = o->file ? read_text(o->file, &text, &own.n) : 0;
    if (code) return code;
    own.p = text;
    if (!o->file && !s->vocab.chat_template.n)
        return complain(BAD_DATA, "%s: has no chat template (--chat-template-file)", s->path);
    *t = pith__template_new(k ? &s->vocab : NULL, k, own, o->file ? o->file : "chat template", &e);
    free(text);
    return *t ? 0 : report(&e);
}

static int run_template(const template_options *o, const pith__store *s, const pith__tokenizer *k) {
    pith_template *t = NULL;
    pith_time now = { 0 };
    char *messages = NULL;
    size_t n = 0;
    int code = read_time(o->now, &now);
    if (!code) code = open_template(o, s, k, &t);
    if (!code) code = read_text(o->messages, &messages, &n);
    if (!code && strlen(messages) < n)
        code = complain(BAD_DATA, "%s: byte %zu is a NUL, need JSON", o->messages, strlen(messages));
    if (!code) code = print_rendering(o, t, messages, &now);
    free(messages);
    pith_template_free(t);
    return code;
}

int verb_template(int argc, char **argv) {
    static const char usage[] =
        "run template [MODEL] --messages FILE.json [options]\n"
        "a conversation as the model's chat template writes it: what would be sent\n\n";
    template_options o = { 0 };
    const flag flags[] = {
        { 0, "messages", TEXT, &o.messages, 0, 0, "FILE",
          "JSON: an array of messages, or an object with messages, tools, further variables; - reads standard input" },
        { 0, "chat-template-file", TEXT, &o.file, 0, 0, "FILE",
          "a template instead of the model's; then no MODEL is needed" },
        { 0, "chat-template-kwargs", TEXT, &o.variables, 0, 0, "JSON",
          "variables for it: {\"enable_thinking\": false}" },
        { 0, "bos-token", TEXT, &o.bos, 0, 0, "TEXT", "text of the token that begins a text (the model's)" },
        { 0, "eos-token", TEXT, &o.eos, 0, 0, "TEXT", "and of the one that ends it (the model's)" },
        { 0, "now", TEXT, &o.now, 0, 0, "TIME",
          "for templates that write the date: 2025-03-14T15:09:26 (the time it is)" },
        { 0, "no-generation-prompt", SWITCH, &o.no_prompt, 0, 0, "", "without what begins the answer" },
        { 0, "continue-final", SWITCH, &o.go_on, 0, 0, "", "end with the last message's text, to be continued" },
        { 0, "tokens", SWITCH, &o.tokens, 0, 0, "", "token ids instead of the text" },
        MODEL_FLAGS(o.model),
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    int code = read_flags(argc, argv, usage, flags, &o.model.path);
    if (code != GO_ON) return code;
    if (!o.messages) return complain(USAGE, "template needs --messages FILE.json");
    if (!o.model.path && !o.file) return complain(USAGE, "template needs a MODEL or --chat-template-file FILE");
    if (!o.model.path && o.tokens) return complain(USAGE, "--tokens needs a MODEL, whose tokens they are");
    pith__store s;
    pith__tokenizer *k = NULL;
    if (!o.model.path) return run_template(&o, NULL, NULL);
    code = open_vocab(&o.model, &s, &k);
    if (code) return code;
    code = run_template(&o, &s, k);
    pith__tokenizer_free(k);
    pith__store_free(&s);
    return code;
}
