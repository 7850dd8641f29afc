/* messages.c - a conversation in memory, and as a file of JSON. */
#define _XOPEN_SOURCE 700
#include "messages.h"
#include "verbs.h"

#include <stdlib.h>
#include <string.h>

int add_message(messages *all, const char *role, char *text) {
    message *m = text ? realloc(all->m, ((size_t)all->n + 1) * sizeof *m) : NULL;
    if (!m) return free(text), complain(FAILED, "no memory for the conversation");
    all->m = m;
    all->m[all->n++] = (message){ .role = role, .text = text };
    return 0;
}

void drop_messages(messages *all, int from, int n) {
    for (int i = from; i < from + n; i++) free(all->m[i].text), free(all->m[i].thought), free(all->m[i].token);
    if (n > 0) memmove(all->m + from, all->m + from + n, (size_t)(all->n - from - n) * sizeof *all->m);
    all->n -= n;
}

void free_messages(messages *all) {
    drop_messages(all, 0, all->n);
    free(all->m);
    all->m = NULL;
}

/* ---- as a file ------------------------------------------------------------------------------- */

static void write_messages(const messages *all, output *o) {
    output_line(o, "[");
    for (int i = 0; i < all->n; i++) {
        const message *m = all->m + i;
        output_line(o, "%s\n  {\"role\": \"%s\", \"content\": ", i ? "," : "", m->role);
        output_json(o, m->text, strlen(m->text));
        if (m->thought) {
            output_line(o, ", \"reasoning_content\": ");
            output_json(o, m->thought, strlen(m->thought));
        }
        output_line(o, "}");
    }
    output_line(o, "\n]\n");
}

int save_messages(const messages *all, const char *path, const model_choice *not_this) {
    output o;
    int code = output_open(&o, path, not_this);
    if (code) return code;
    write_messages(all, &o);
    return output_close(&o, 1);
}

char *messages_as_json(const messages *all) {
    output o;
    char *text = NULL;
    size_t n;
    if (output_memory(&o, &text, &n)) return NULL;
    write_messages(all, &o);
    int failed = fclose(o.file) != 0 || o.code;
    if (failed) free(text), text = NULL;
    return text;
}

/* A text at a place such as messages[2].content. */
static int read_place(pith__json j, const char *path, const char *place, pith__arena *a, pith__str *s) {
    pith_error e = { 0, "" };
    if (pith__json_type(j) != '"') pith__json_fail(j, PITH_EDATA, path, place, "a text", &e);
    else if (pith__json_half(j)) pith__json_fail(j, PITH_EDATA, path, place, "whole characters", &e);
    else if (pith__json_string(j, a, s)) return complain(FAILED, "%s: no memory", path);
    else if (memchr(s->p, 0, s->n)) pith__json_fail(j, PITH_EDATA, path, place, "a text without NUL", &e);
    return e.code ? complain(BAD_DATA, "%s", e.text) : 0;
}

/* Text behind what *to has, in a line of its own where that is something. */
static int add_line(char **to, pith__str s, int first) {
    size_t n = *to ? strlen(*to) : 0;
    char *longer = realloc(*to, n + s.n + 2);
    if (!longer) return complain(FAILED, "no memory for the conversation");
    *to = longer;
    if (!first) longer[n++] = '\n';
    if (s.n) memcpy(longer + n, s.p, s.n);
    longer[n + s.n] = 0;
    return 0;
}

/* A text, or parts that are texts, which are joined by line ends, as pith_render does. *text is to be freed. */
static int read_content(pith__json j, const char *path, const char *place, pith__arena *a, char **text) {
    pith__json part;
    pith_error e = { 0, "" };
    char where[80];
    pith__str s;
    int code = 0, i = 0;
    *text = NULL;
    if (pith__json_type(j) != '[') return (code = read_place(j, path, place, a, &s)) ? code : add_line(text, s, 1);
    for (code = add_line(text, pith__str_of(""), 1); !code && pith__json_next(&j, NULL, &part); i++) {
        pith__json type = pith__json_get(part, "type");
        snprintf(where, sizeof where, "%s[%d].type", place, i);
        if (pith__json_type(type) && !pith__json_is(type, "text")) {
            pith__json_fail(type, PITH_EDATA, path, where, "\"text\"", &e);
            return complain(BAD_DATA, "%s", e.text);
        }
        snprintf(where, sizeof where, "%s[%d].text", place, i);
        code = read_place(pith__json_get(part, "text"), path, where, a, &s);
        if (!code) code = add_line(text, s, i == 0);
    }
    return code;
}

static int load_message(messages *all, pith__json j, const char *path, pith__arena *a) {
    static const char *const roles[] = { "system", "user", "assistant" };
    pith__json role = pith__json_get(j, "role"), thought = pith__json_get(j, "reasoning_content");
    pith_error e = { 0, "" };
    const char *known = NULL;
    char place[60], *text = NULL;
    pith__str s = { "", 0 };
    snprintf(place, sizeof place, "messages[%d].role", all->n);
    for (int i = 0; i < 3; i++)
        if (pith__json_is(role, roles[i])) known = roles[i];
    if (!known) {
        pith__json_fail(role, PITH_EDATA, path, place, "\"system\", \"user\" or \"assistant\"", &e);
        return complain(BAD_DATA, "%s", e.text);
    }
    snprintf(place, sizeof place, "messages[%d].tool_calls", all->n);
    if (pith__json_type(pith__json_get(j, "tool_calls")) == '[')
        return complain(BAD_DATA, "%s: %s: a conversation at a terminal has no tools", path, place);
    snprintf(place, sizeof place, "messages[%d].content", all->n);
    int code = read_content(pith__json_get(j, "content"), path, place, a, &text);
    snprintf(place, sizeof place, "messages[%d].reasoning_content", all->n);
    int thinks = !code && pith__json_type(thought) && pith__json_type(thought) != 'n';
    if (thinks) code = read_place(thought, path, place, a, &s);
    if (code) return free(text), code;
    code = add_message(all, known, text);
    return code || !thinks ? code : add_line(&all->m[all->n - 1].thought, s, 1);
}

/* A conversation is a system's message or none, then turns of user and assistant, in turn. */
static int check_order(const messages *all, const char *path) {
    int first = all->n && !strcmp(all->m[0].role, "system");
    for (int i = first; i < all->n; i++) {
        const char *want = (i - first) % 2 ? "assistant" : "user";
        if (strcmp(all->m[i].role, want) != 0)
            return complain(BAD_DATA, "%s: messages[%d].role is \"%s\", need \"%s\"", path, i, all->m[i].role, want);
    }
    if ((all->n - first) % 2)
        return complain(BAD_DATA, "%s: messages[%d], the last, is a question without its answer", path, all->n - 1);
    return 0;
}

int load_messages(messages *all, const char *path) {
    messages now = { NULL, 0 };
    pith__arena a = { 0 };
    pith__json j, it, value;
    pith_error e = { 0, "" };
    char *text;
    size_t n;
    int code = read_text(path, &text, &n);
    if (code) return code;
    if (pith__json_read(&j, text, n, path, &e)) code = complain(BAD_DATA, "%s", e.text);
    if (!code && pith__json_type(j) == '{') j = pith__json_get(j, "messages");
    if (!code && pith__json_type(j) != '[')
        code = complain(BAD_DATA, "%s: has no array of messages: [{\"role\": \"user\", \"content\": ...}, ...]", path);
    for (it = j; !code && pith__json_next(&it, NULL, &value);) code = load_message(&now, value, path, &a);
    if (!code) code = check_order(&now, path);
    pith__arena_free(&a);
    free(text);
    messages old = *all;
    if (!code) *all = now, now = old;
    free_messages(&now);
    return code;
}
