/* prompts.c - what a request wants a text of, as tokens: a text, tokens as they are, or a conversation. */
#include "request.h"

#include <stdlib.h>
#include <string.h>

/* ---- prompts --------------------------------------------------------------------------------- */

/* Takes n tokens over, which were allocated with room to spare. */
static int add_prompt(request_reader *k, pith_token *t, int n, const char *name) {
    request *r = k->r;
    pith_token *kept = pith__arena_new(&r->arena, (size_t)n + 1, sizeof *kept);
    if (kept && n) memcpy(kept, t, (size_t)n * sizeof *t);
    free(t);
    if (!kept) return request_no_memory(k->e);
    r->prompt[r->n_prompt++] = (request_prompt){ kept, n };
    if (n <= k->rules->n_ctx) return 0;
    char text[96];
    snprintf(text, sizeof text, "the prompt has %d tokens, the context %d", n, k->rules->n_ctx);
    return request_refuse(k->e, name, "context_length_exceeded", text);
}

static int encode_prompt(request_reader *k, pith__str text) {
    const pith_model *m = k->rules->m;
    const pith_shape *shape = pith_model_shape(m);
    unsigned flags = PITH_BOS | (k->rules->parse_special ? PITH_SPECIAL : 0);
    pith_token *t = NULL;
    size_t room = text.n + 3; /* mostly enough: a token is a byte or more */
    int n = -1;
    for (;;) {
        free(t);
        t = malloc(room * sizeof *t);
        n = t ? pith_encode(m, text.p, text.n, flags, t, (int)room) : PITH_EMEMORY;
        if (n < 0) {
            free(t);
            if (n == PITH_EMEMORY) return request_no_memory(k->e);
            return request_refuse(k->e, "prompt", NULL, "the prompt cannot be made tokens");
        }
        if ((size_t)n <= room) break;
        room = (size_t)n;
    }
    if (n == 0) t[n++] = shape->bos >= 0 ? shape->bos : shape->eos; /* some families begin with nothing */
    if (t[0] >= 0) return add_prompt(k, t, n, "prompt");
    free(t);
    return request_refuse(k->e, "prompt", NULL, "the prompt is empty, and this model has no token to begin with");
}

static int text_prompt(request_reader *k, pith__json v) {
    pith__str text;
    if (request_text(v, "prompt", &k->r->arena, &text, k->e)) return 1;
    if (text.n > INT_MAX / 4) return request_wrong(k->e, v, "prompt", "a shorter text");
    return encode_prompt(k, text);
}

static int token_prompt(request_reader *k, pith__json v) {
    int n_vocab = pith_model_shape(k->rules->m)->n_vocab, n = 0;
    pith__json item;
    pith_token *t = malloc((pith__json_count(v) + 1) * sizeof *t);
    if (!t) return request_no_memory(k->e);
    while (pith__json_next(&v, NULL, &item)) {
        int64_t id;
        if (!pith__json_int(item, &id) || id < 0 || id >= n_vocab) {
            free(t);
            return request_wrong(k->e, item, "prompt", "a text, or token ids of the vocabulary");
        }
        t[n++] = (pith_token)id;
    }
    return add_prompt(k, t, n, "prompt");
}

/* A text, the tokens of one, or an array of texts or of tokens. */
int request_prompts(request_reader *k) {
    request *r = k->r;
    pith__json all = k->prompt, first = { NULL, NULL }, item, at = all;
    char type = pith__json_type(all);
    if (type == '[' && !pith__json_next(&at, NULL, &first))
        return request_wrong(k->e, all, "prompt", "a text, or tokens");
    int many = pith__json_type(first) == '"' || pith__json_type(first) == '[';
    size_t n = many ? pith__json_count(all) : 1;
    if (n > MOST_TEXTS) return request_refuse(k->e, "prompt", NULL, "more than 1024 prompts in one request");
    r->prompt = pith__arena_new(&r->arena, n, sizeof *r->prompt);
    if (!r->prompt) return request_no_memory(k->e);
    if (!many) return type == '[' ? token_prompt(k, all) : text_prompt(k, all);
    for (at = all; pith__json_next(&at, NULL, &item);) {
        int is_list = pith__json_type(item) == '[';
        if (is_list && !pith__json_count(item)) return request_wrong(k->e, item, "prompt", "a text, or tokens");
        if (is_list ? token_prompt(k, item) : text_prompt(k, item)) return 1;
    }
    return 0;
}

/* ---- conversations --------------------------------------------------------------------------- */

/* A text, or parts that are texts, which are joined by line ends. */
static int read_content(request_reader *k, pith__json v, const char **text) {
    pith__json part, at = v;
    if (pith__json_type(v) != '[') return request_plain(k, v, "content", text);
    size_t room = 1, n = 0, i = 0;
    while (pith__json_next(&at, NULL, &part)) {
        if (!pith__json_is(pith__json_get(part, "type"), "text"))
            return request_wrong(k->e, pith__json_get(part, "type"), "content", "parts of the type \"text\"");
        if (request_plain(k, pith__json_get(part, "text"), "text", text)) return 1;
        room += strlen(*text) + 1;
    }
    char *all = pith__arena_new(&k->r->arena, room, 1);
    if (!all) return request_no_memory(k->e);
    for (at = v; pith__json_next(&at, NULL, &part);) {
        if (request_plain(k, pith__json_get(part, "text"), "text", text)) return 1;
        if (i++) all[n++] = '\n';
        size_t len = strlen(*text);
        memcpy(all + n, *text, len);
        n += len;
    }
    *text = all;
    return 0;
}

/* What messages have beside role and content: a template may read it, a named form does not. */
static int is_for_template(pith__json key) {
    static const char *const names[] = { "tool_calls", "tool_call_id", "tool_plan", "reasoning_content", "reasoning",
                                         "thinking", "prefix" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (pith__json_is(key, names[i])) return 1;
    return 0;
}

/* *role: its value. What a form cannot say is refused, unless it says nothing: [], false, "". */
static int read_turn(request_reader *k, pith__json message, pith_turn *turn, pith__json *role) {
    pith__json key, value, content = { NULL, NULL };
    int more = 0;
    if (pith__json_type(message) != '{') return request_wrong(k->e, message, "messages", "objects of role and content");
    while (pith__json_next(&message, &key, &value)) {
        if (pith__json_type(value) == 'n' || pith__json_is(key, "name")) continue;
        if (pith__json_is(key, "content")) {
            content = value;
        } else if (pith__json_is(key, "role")) {
            if (request_plain(k, value, "role", &turn->role)) return 1;
            *role = value;
        } else if (k->rules->form && is_for_template(key)) {
            more = 1;
        } else if (!request_neutral(value)) {
            return request_wrong(k->e, key, "messages", "role and content, which are read");
        }
    }
    if (!turn->role) return request_refuse(k->e, "messages", NULL, "a message has no role");
    if (more && !content.p) return 0; /* a call of a tool says nothing else */
    return read_content(k, content, &turn->text);
}

/* Takes n tokens over, or says why there are none. */
static int add_chat(request_reader *k, pith_token *t, int n, const pith_error *err) {
    if (n > 0 && t) return add_prompt(k, t, n, "messages");
    free(t);
    if (n == PITH_EMEMORY || (n > 0 && !t)) return request_no_memory(k->e);
    if (n == 0) return request_refuse(k->e, "messages", NULL, "the conversation has no tokens");
    return request_refuse(k->e, "messages", NULL, err->text);
}

/* In the form of --chat-template, or the one that fits a model without a template. */
static int encode_in_form(request_reader *k, pith_turn *turn, int n_turn) {
    const pith_model *m = k->rules->m;
    pith_error err = { 0, "" };
    if (k->tools.p) return request_refuse(k->e, "tools", NULL, "tools need the model's own chat template, which it has not");
    if (k->variables.p)
        return request_refuse(k->e, "chat_template_kwargs", NULL,
                              "chat_template_kwargs are of a chat template, which the model has not");
    if (k->effort.p && !request_neutral(k->effort))
        return request_wrong(k->e, k->effort, "reasoning_effort", "none: there is no chat template that reads it");
    for (int i = 0; i < n_turn; i++)
        if (!strcmp(turn[i].role, "developer")) turn[i].role = "system"; /* as it is called now */
    int n = pith_encode_chat(m, turn, n_turn, NULL, 0, &err);
    pith_token *t = n < 0 ? NULL : malloc((size_t)(n + 1) * sizeof *t);
    if (t) n = pith_encode_chat(m, turn, n_turn, t, n, &err);
    return add_chat(k, t, n, &err);
}

/* ---- through a chat template ------------------------------------------------------------------ */

static void put_raw(output *o, pith__json v) {
    pith__str raw = pith__json_raw(v);
    output_bytes(o, raw.p, raw.n);
}

static void put_members(output *o, pith__json object) {
    pith__json key, value;
    if (pith__json_type(object) != '{') return;
    while (pith__json_next(&object, &key, &value)) put_raw(o, key), output_line(o, ":"), put_raw(o, value), output_line(o, ",");
}

static int reads(const pith_template *t, const char *name) {
    pith__str text = pith__template_text(t);
    size_t n = strlen(name);
    for (size_t i = 0; i + n <= text.n; i++)
        if (!memcmp(text.p + i, name, n)) return 1;
    return 0;
}

/* The messages, where role[i] that the template does not know is written "system". */
static void put_messages(output *o, const request_reader *k, const pith__json *role, size_t n) {
    pith__str all = pith__json_raw(k->messages);
    const char *from = all.p;
    for (size_t i = 0; i < n && !reads(k->rules->form, "developer"); i++) {
        if (!pith__json_is(role[i], "developer")) continue;
        output_bytes(o, from, (size_t)(role[i].p - from));
        output_line(o, "\"system\"");
        from = role[i].p + pith__json_raw(role[i]).n;
    }
    output_bytes(o, from, (size_t)(all.p + all.n - from));
}

/* {variables of the rules, the request's own, "messages": [...], "tools": [...]}: of equal names the last counts. */
static char *conversation_json(const request_reader *k, const pith__json *role, size_t n) {
    pith__json given = { NULL, NULL };
    char *text = NULL;
    size_t size;
    output o;
    if (output_memory(&o, &text, &size)) return NULL;
    output_line(&o, "{");
    const char *usual = k->rules->variables;
    if (usual && !pith__json_read(&given, usual, strlen(usual), "", NULL)) put_members(&o, given);
    if (k->effort.p) output_line(&o, "\"reasoning_effort\":"), put_raw(&o, k->effort), output_line(&o, ",");
    put_members(&o, k->variables);
    output_line(&o, "\"messages\":");
    put_messages(&o, k, role, n);
    if (k->tools.p) output_line(&o, ",\"tools\":"), put_raw(&o, k->tools);
    output_line(&o, "}");
    int bad = fclose(o.file) != 0 || o.code;
    if (bad) free(text), text = NULL;
    return text;
}

static int encode_with_template(request_reader *k, const pith__json *role, size_t n) {
    if (k->effort.p && !reads(k->rules->form, "reasoning_effort")) {
        if (!request_neutral(k->effort))
            return request_wrong(k->e, k->effort, "reasoning_effort", "none: the chat template does not read it");
        k->effort.p = NULL;
    }
    char *text = conversation_json(k, role, n);
    pith_conversation c = { .messages = text, .now = k->rules->now };
    pith_rendering r;
    pith_error err = { 0, "" };
    if (!text) return request_no_memory(k->e);
    int code = pith_render(k->rules->form, &c, &r, &err);
    free(text);
    if (code) return add_chat(k, NULL, code, &err);
    pith_token *t = r.token;
    r.token = NULL;
    int n_token = r.n_token;
    pith_rendering_free(&r);
    return add_chat(k, t, n_token, &err);
}

int request_chat(request_reader *k) {
    pith__json all = k->messages, message;
    size_t n_turn = pith__json_count(all), i = 0;
    if (pith__json_type(all) != '[' || n_turn > INT_MAX)
        return request_wrong(k->e, all, "messages", "an array of messages");
    if (!n_turn) return request_refuse(k->e, "messages", NULL, "messages is empty, need one message or more");
    pith_turn *turn = pith__arena_new(&k->r->arena, n_turn, sizeof *turn);
    pith__json *role = pith__arena_new(&k->r->arena, n_turn, sizeof *role);
    k->r->prompt = pith__arena_new(&k->r->arena, 1, sizeof *k->r->prompt);
    if (!turn || !role || !k->r->prompt) return request_no_memory(k->e);
    for (; pith__json_next(&all, NULL, &message); i++)
        if (read_turn(k, message, &turn[i], &role[i])) return 1;
    return k->rules->form ? encode_with_template(k, role, n_turn) : encode_in_form(k, turn, (int)n_turn);
}
