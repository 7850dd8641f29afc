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

static int encode_prompt(request_reader *k, pith_token *t, size_t room, pith__str text) {
    const pith_model *m = k->rules->m;
    const pith_shape *shape = pith_model_shape(m);
    unsigned flags = PITH_BOS | (k->rules->parse_special ? PITH_SPECIAL : 0);
    int n = pith_encode(m, text.p, text.n, flags, t, (int)room);
    if (n < 0 || (size_t)n > room) {
        free(t);
        if (n == PITH_EMEMORY) return request_no_memory(k->e);
        return request_refuse(k->e, "prompt", NULL, "the prompt cannot be made tokens");
    }
    if (n == 0) t[n++] = shape->bos >= 0 ? shape->bos : shape->eos; /* some families begin with nothing */
    if (t[0] >= 0) return add_prompt(k, t, n, "prompt");
    free(t);
    return request_refuse(k->e, "prompt", NULL, "the prompt is empty, and this model has no token to begin with");
}

static int text_prompt(request_reader *k, pith__json v) {
    pith__str text;
    if (request_text(v, "prompt", &k->r->arena, &text, k->e)) return 1;
    size_t room = text.n + 3; /* a token is a byte or more */
    if (room > INT_MAX / 4) return request_wrong(k->e, v, "prompt", "a shorter text");
    pith_token *t = malloc(room * sizeof *t);
    return t ? encode_prompt(k, t, room, text) : request_no_memory(k->e);
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

static int read_turn(request_reader *k, pith__json message, pith_turn *turn) {
    pith__json key, value, content = { NULL, NULL };
    if (pith__json_type(message) != '{') return request_wrong(k->e, message, "messages", "objects of role and content");
    while (pith__json_next(&message, &key, &value)) {
        if (pith__json_type(value) == 'n' || pith__json_is(key, "name")) continue;
        if (pith__json_is(key, "content")) {
            content = value;
        } else if (pith__json_is(key, "role")) {
            if (request_plain(k, value, "role", &turn->role)) return 1;
        } else if (!request_neutral(value)) {
            return request_wrong(k->e, key, "messages", "role and content, which are read");
        }
    }
    if (!turn->role) return request_refuse(k->e, "messages", NULL, "a message has no role");
    if (!strcmp(turn->role, "developer")) turn->role = "system"; /* as it is called now */
    return read_content(k, content, &turn->text);
}

int request_chat(request_reader *k) {
    const pith_model *m = k->rules->m;
    pith__json all = k->messages, message;
    size_t n_turn = pith__json_count(all);
    pith_error *err = &k->e->error;
    if (pith__json_type(all) != '[' || !n_turn || n_turn > INT_MAX)
        return request_wrong(k->e, all, "messages", "an array of messages");
    pith_turn *turn = pith__arena_new(&k->r->arena, n_turn, sizeof *turn);
    k->r->prompt = pith__arena_new(&k->r->arena, 1, sizeof *k->r->prompt);
    if (!turn || !k->r->prompt) return request_no_memory(k->e);
    for (int i = 0; pith__json_next(&all, NULL, &message); i++)
        if (read_turn(k, message, &turn[i])) return 1;
    int n = pith_encode_chat(m, turn, (int)n_turn, NULL, 0, err);
    pith_token *t = n < 0 ? NULL : malloc((size_t)(n + 1) * sizeof *t);
    if (t) n = pith_encode_chat(m, turn, (int)n_turn, t, n, err);
    if (t && n >= 0) return add_prompt(k, t, n, "messages");
    free(t);
    if (n >= 0) return request_no_memory(k->e);
    snprintf(k->e->param, sizeof k->e->param, "messages");
    if (n != PITH_EMEMORY) err->code = PITH_EDATA;
    return 1;
}
