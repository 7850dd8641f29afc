/* template.c - a conversation as a model was trained to read it: through its chat template, and as tokens.
 *
 * text/jinja.c runs the template and says of each byte where it is from; here are the model's part, the texts of its
 * BOS and EOS, and the tokens. */
#include "internal.h"
#include "text/jinja.h"

#include <stdlib.h>
#include <string.h>

_Static_assert((int)PITH_FROM_DATA == (int)PITH__DATA && (int)PITH_OF_MODEL == (int)PITH__GENERATION &&
               (int)PITH_OF_CONTENT == (int)PITH__CONTENT && (int)PITH_OF_ASIDE == (int)PITH__ASIDE, "the same marks");

struct pith_template {
    pith__jinja *jinja, *tools; /* tools: where there are some, or NULL */
    const pith__vocab *v;
    const pith__tokenizer *k;
};

PITH_SHARED pith_template *pith__template_new(const pith__vocab *v, const pith__tokenizer *k, pith__str text,
                                              const char *what, pith_error *err) {
    pith_template *t = calloc(1, sizeof *t);
    if (!t) {
        pith__fail(err, PITH_EMEMORY, "%s: no memory", what);
        return NULL;
    }
    t->v = v;
    t->k = k;
    int own = !text.p;
    if (own) text = v->chat_template;
    size_t blank = 0;
    while (blank < text.n && strchr(" \t\r\n", text.p[blank]) && text.p[blank]) blank++;
    if (blank == text.n) {
        pith__fail(err, PITH_EFORMAT, "%s: is empty, need a template that writes the messages", what);
        pith_template_free(t);
        return NULL;
    }
    t->jinja = pith__jinja_new(text.p, text.n, what, err);
    if (t->jinja && own && v->tool_template.n)
        t->tools = pith__jinja_new(v->tool_template.p, v->tool_template.n, "chat template tool_use", err);
    if (t->jinja && (!own || !v->tool_template.n || t->tools)) return t;
    pith_template_free(t);
    return NULL;
}

pith_template *pith_template_new(const pith_model *m, const char *text, size_t n, const char *what, pith_error *err) {
    const pith__str given = { text, n };
    if (!m && !text) {
        pith__fail(err, PITH_EARG, "pith_template_new needs a model or a text");
        return NULL;
    }
    if (!text && !m->store.vocab.chat_template.n) {
        pith__fail(err, PITH_EARCH, "%s: has no chat template", m->store.path);
        return NULL;
    }
    return pith__template_new(m ? &m->store.vocab : NULL, m ? m->tokenizer : NULL, given, what ? what : "chat template",
                              err);
}

void pith_template_free(pith_template *t) {
    if (t) pith__jinja_free(t->jinja), pith__jinja_free(t->tools);
    free(t);
}

PITH_SHARED pith__str pith__template_text(const pith_template *t) { return pith__jinja_text(t->jinja); }

/* ---- special tokens as JSON -------------------------------------------------------------------------- */

static char *template_json(char *to, const char *p, size_t n) { /* with at most 6 bytes for each */
    *to++ = '"';
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c < 32) to += sprintf(to, "\\u%04x", c);
        else if (c == '"' || c == '\\') *to++ = '\\', *to++ = p[i];
        else *to++ = p[i];
    }
    *to++ = '"';
    return to;
}

static pith__str template_piece(const pith__vocab *v, int id) {
    return v && id >= 0 && id < v->n ? v->piece[id] : (pith__str){ NULL, 0 };
}

/* {"bos_token": "<s>", ...}: a token that the model does not have is not defined. */
static int template_special(const pith_template *t, const pith_conversation *c, pith__arena *a, pith__json *j,
                            pith_error *err) {
    const struct {
        const char *name;
        pith__str s;
    } token[] = { { "bos_token", c->bos ? pith__str_of(c->bos) : template_piece(t->v, t->v ? t->v->bos : -1) },
                  { "eos_token", c->eos ? pith__str_of(c->eos) : template_piece(t->v, t->v ? t->v->eos : -1) },
                  { "unk_token", template_piece(t->v, t->v ? t->v->unk : -1) } };
    size_t room = 100;
    for (int i = 0; i < 3; i++) room += 6 * token[i].s.n;
    char *text = pith__arena_new(a, room, 1), *p = text;
    if (!text) return pith__fail(err, PITH_EMEMORY, "no memory for a conversation");
    *p++ = '{';
    for (int i = 0; i < 3; i++) {
        if (!token[i].s.p) continue;
        if (p > text + 1) *p++ = ',';
        p += sprintf(p, "\"%s\":", token[i].name);
        p = template_json(p, token[i].s.p, token[i].s.n);
    }
    *p++ = '}';
    if (pith__json_read(j, text, (size_t)(p - text), "BOS or EOS", err) == PITH_OK) return PITH_OK;
    return c->bos || c->eos ? PITH_EDATA : (j->p = NULL, PITH_OK); /* of a vocabulary that is no UTF-8 */
}

/* ---- turns as JSON --------------------------------------------------------------------------------- */

/* What tokens show: all but control tokens, and not the space that the tokenizer puts before a text. */
static pith__str template_shown(const pith_template *t, const pith_turn *turn, pith__arena *a) {
    size_t n = 1;
    for (int i = 0; i < turn->n_token; i++) n += pith__tokenizer_piece(t->k, turn->token[i]).n;
    char *text = pith__arena_new(a, n, 1), *to = text;
    for (int i = 0; text && i < turn->n_token; i++) {
        pith__str s = pith__tokenizer_piece(t->k, turn->token[i]);
        if (!s.p || t->v->type[turn->token[i]] == PITH__CONTROL) continue;
        int space = to == text && t->v->add_space && s.n && *s.p == ' ';
        memcpy(to, s.p + space, s.n - (size_t)space);
        to += s.n - (size_t)space;
    }
    return (pith__str){ text, text ? (size_t)(to - text) : 0 };
}

static int template_check_turns(const pith_template *t, const pith_conversation *c, pith_error *err) {
    if (c->n_turn < 0 || (c->n_turn && !c->turns))
        return pith__fail(err, PITH_EARG, "%d turns at %s, need an array", c->n_turn, c->turns ? "an address" : "NULL");
    for (int i = 0; i < c->n_turn; i++) {
        const pith_turn *turn = &c->turns[i];
        if (!turn->role) return pith__fail(err, PITH_EARG, "turns[%d].role is NULL, need a text", i);
        if (turn->token ? !t->k || turn->n_token < 0 : !turn->text || turn->n_token)
            return pith__fail(err, PITH_EARG, "turns[%d] has neither a text nor tokens that can be shown", i);
    }
    return PITH_OK;
}

/* [{"role": ..., "content": ...}, ...] */
static int template_turns(const pith_template *t, const pith_conversation *c, pith__arena *a, pith__json *j,
                          pith_error *err) {
    int code = template_check_turns(t, c, err);
    pith__str *text = code ? NULL : pith__arena_new(a, (size_t)c->n_turn, sizeof *text);
    size_t room = 16;
    for (int i = 0; text && i < c->n_turn; i++) {
        const pith_turn *turn = &c->turns[i];
        text[i] = turn->text ? pith__str_of(turn->text) : template_shown(t, turn, a);
        if (!text[i].p || pith__add(&room, room, 32) || text[i].n > SIZE_MAX / 16 ||
            pith__add(&room, room, 6 * (text[i].n + strlen(turn->role)))) text = NULL;
    }
    char *to = text ? pith__arena_new(a, room, 1) : NULL, *p = to;
    if (code) return code;
    if (!p) return pith__fail(err, PITH_EMEMORY, "no memory for a conversation of %d turns", c->n_turn);
    for (int i = 0; i < c->n_turn; i++) {
        p += sprintf(p, "%s{\"role\":", i ? "," : "[");
        p = template_json(p, c->turns[i].role, strlen(c->turns[i].role));
        p += sprintf(p, ",\"content\":");
        p = template_json(p, text[i].p, text[i].n);
        *p++ = '}';
    }
    if (!c->n_turn) *p++ = '[';
    *p++ = ']';
    return pith__json_read(j, to, (size_t)(p - to), "turns", err);
}

/* ---- a conversation -------------------------------------------------------------------------------- */

static int template_object(pith__json *j, const char *text, const char *what, pith_error *err) {
    if (!text) return PITH_OK;
    int code = pith__json_read(j, text, strlen(text), what, err);
    if (code) return code;
    return pith__json_type(*j) == '{' ? PITH_OK : pith__fail(err, PITH_EDATA, "%s: no object, need {...}", what);
}

static int template_is_true(pith__json object, const char *name, int otherwise) {
    char type = pith__json_type(pith__json_get(object, name));
    return type == 't' ? 1 : type == 'f' ? 0 : otherwise;
}

/* What the messages' JSON is: an array, or an object that has it and more. */
static int template_messages(const pith_template *t, const pith_conversation *c, pith__arena *a, pith__conversation *to,
                             pith_error *err) {
    pith__json j;
    int code = c->messages ? pith__json_read(&j, c->messages, strlen(c->messages), "messages", err)
                           : template_turns(t, c, a, &j, err);
    if (code) return code;
    to->messages = j;
    to->ask = !c->no_prompt && !c->go_on;
    to->go_on = c->go_on;
    if (pith__json_type(j) != '{') return PITH_OK;
    to->messages = pith__json_get(j, "messages");
    to->tools = pith__json_get(j, "tools");
    to->documents = pith__json_get(j, "documents");
    to->more[0] = j;
    to->go_on |= template_is_true(j, "continue_final_message", 0);
    if (!c->no_prompt) to->ask = !to->go_on && template_is_true(j, "add_generation_prompt", 1);
    return PITH_OK;
}

static int template_tokens(const pith_template *t, pith_rendering *r, pith_error *err) {
    int n = pith__tokenizer_encode_marked(t->k, r->text, r->from, r->n, NULL, 0);
    r->token = n < 0 ? NULL : malloc((size_t)(n + 1) * sizeof *r->token);
    if (r->token) n = pith__tokenizer_encode_marked(t->k, r->text, r->from, r->n, r->token, n);
    r->n_token = n > 0 ? n : 0;
    if (r->token && n >= 0) return PITH_OK;
    return pith__fail(err, n < 0 ? n : PITH_EMEMORY, "a conversation of %zu bytes cannot be made tokens", r->n);
}

int pith_render(const pith_template *t, const pith_conversation *c, pith_rendering *r, pith_error *err) {
    pith__arena a = { 0 };
    pith__conversation whole = { .now = c->now };
    pith__rendered out = { 0 };
    memset(r, 0, sizeof *r);
    int code = template_messages(t, c, &a, &whole, err);
    if (!code) code = template_object(&whole.more[1], c->variables, "variables", err);
    if (!code) code = template_special(t, c, &a, &whole.special, err);
    int tools = t->tools && pith__json_type(whole.tools) == '[';
    if (!code) code = pith__conversation_render(tools ? t->tools : t->jinja, &whole, &out, err);
    pith__arena_free(&a);
    if (code) return code;
    r->text = out.text;
    r->from = out.mark;
    r->n = out.n;
    if (t->k) code = template_tokens(t, r, err);
    if (code) pith_rendering_free(r);
    return code;
}

void pith_rendering_free(pith_rendering *r) {
    free(r->text); /* which from is a part of */
    free(r->token);
    memset(r, 0, sizeof *r);
}

int pith_encode_chat(const pith_model *m, const pith_turn *turns, int n, pith_token *out, int cap,
                     pith_error *err) {
    if (!m->tokenizer) return pith__fail(err, PITH_EARG, "%s: has no vocabulary", m->store.path);
    if (m->chat_template || !m->store.vocab.chat_template.n) {
        const pith__chat form = { m->tokenizer, &m->store.vocab, m->chat_template };
        return pith__chat_encode(&form, turns, n, out, cap, err);
    }
    const pith_conversation c = { .turns = turns, .n_turn = n };
    pith_rendering r;
    pith_template *t = pith_template_new(m, NULL, 0, NULL, err);
    int code = t ? pith_render(t, &c, &r, err) : err ? err->code : PITH_EFORMAT;
    pith_template_free(t);
    if (code) return code;
    n = r.n_token;
    for (int i = 0; i < n && i < cap; i++) out[i] = r.token[i];
    pith_rendering_free(&r);
    return n;
}
