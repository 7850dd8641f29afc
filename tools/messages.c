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

static char *copy_of(pith__json j, pith__arena *a) {
    pith__str s;
    if (pith__json_string(j, a, &s) || memchr(s.p, 0, s.n)) return NULL;
    char *copy = malloc(s.n + 1);
    if (copy) memcpy(copy, s.p, s.n), copy[s.n] = 0;
    return copy;
}

static int load_message(messages *all, pith__json j, const char *path, pith__arena *a) {
    static const char *const roles[] = { "system", "user", "assistant" };
    pith__json role = pith__json_get(j, "role"), text = pith__json_get(j, "content");
    pith__json thought = pith__json_get(j, "reasoning_content");
    const char *known = NULL;
    for (int i = 0; i < 3; i++)
        if (pith__json_type(role) == '"' && pith__json_is(role, roles[i])) known = roles[i];
    if (!known) return complain(BAD_DATA, "%s: message %d: role is none of system, user, assistant", path, all->n + 1);
    if (pith__json_type(text) != '"')
        return complain(BAD_DATA, "%s: message %d: content is not a text", path, all->n + 1);
    char *copy = copy_of(text, a);
    if (!copy) return complain(BAD_DATA, "%s: message %d: content has a NUL, or no memory for it", path, all->n + 1);
    int code = add_message(all, known, copy);
    if (!code && pith__json_type(thought) == '"') all->m[all->n - 1].thought = copy_of(thought, a);
    return code;
}

/* A conversation is a system's message or none, then turns of user and assistant, in turn. */
static int check_order(const messages *all, const char *path) {
    int first = all->n && !strcmp(all->m[0].role, "system");
    for (int i = first; i < all->n; i++) {
        const char *want = (i - first) % 2 ? "assistant" : "user";
        if (strcmp(all->m[i].role, want) != 0)
            return complain(BAD_DATA, "%s: message %d is the %s's, need the %s's", path, i + 1, all->m[i].role, want);
    }
    if ((all->n - first) % 2) return complain(BAD_DATA, "%s: the last message needs its answer", path);
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
    if (!code && pith__json_type(j) != '[') code = complain(BAD_DATA, "%s: is no array of messages", path);
    for (it = j; !code && pith__json_next(&it, NULL, &value);) code = load_message(&now, value, path, &a);
    if (!code) code = check_order(&now, path);
    pith__arena_free(&a);
    free(text);
    messages old = *all;
    if (!code) *all = now, now = old;
    free_messages(&now);
    return code;
}
