/* chat.c - a conversation -> tokens.
 *
 * A chat model was trained on conversations written down in one form, which its file gives as a
 * program in Jinja (chat_template). The forms in use are few, so none is run here: each is a row,
 * told by words that stand in the template. Facts from the templates and from llama.cpp's list of
 * them (github.com/ggml-org/llama.cpp, src/llama-chat.cpp).
 *
 * What a form puts around a text may name special tokens; the text itself never can, so nobody ends
 * the system's turn from within a message. Neighbouring ordinary texts are encoded as one, since a
 * token may span the seam. */
#include "internal.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { /* of a form */
    CHAT_FOLD = 1,    /* the system's text stands within the first user's turn */
    CHAT_TRIM = 2,    /* blanks around a text are left out */
    CHAT_BOS_EACH = 4 /* every turn of the user begins with BOS, not only the first */
};

typedef struct {
    const char *name, *marks[2]; /* both stand in templates of this form */
    int flags;
    const char *system[2], *user[2], *assistant[2]; /* what stands before and after a text, */
    const char *ask;                                /* and where the assistant is to speak */
} chat_form;

#define ROLE(r) { "<|" r "|>\n", "<|end|>\n" }
#define IM(r) { "<|im_start|>" r "\n", "<|im_end|>\n" }
#define SEP(r) { "<|im_start|>" r "<|im_sep|>", "<|im_end|>" }
#define LLAMA3(r) { "<|start_header_id|>" r "<|end_header_id|>\n\n", "<|eot_id|>" }
#define TURN(r) { "<start_of_turn>" r "\n", "<end_of_turn>\n" }
#define GRANITE(r) { "<|start_of_role|>" r "<|end_of_role|>", "<|end_of_text|>\n" }

/* The first whose marks are found; where nothing is known, the very first: llama2.c's. */
static const chat_form chat_forms[] = {
    { "llama2", { "<<SYS>>", "[INST]" }, CHAT_FOLD | CHAT_BOS_EACH,
      { "<<SYS>>\n", "\n<</SYS>>\n\n" }, { "[INST] ", " [/INST]" }, { " ", " </s>" }, "" },
    { "phi4", { "<|im_sep|>", "<|im_start|>" }, 0,
      SEP("system"), SEP("user"), SEP("assistant"), "<|im_start|>assistant<|im_sep|>" },
    { "chatml", { "<|im_start|>", "" }, 0, /* Qwen, SmolLM, Yi, Hermes, ... */
      IM("system"), IM("user"), IM("assistant"), "<|im_start|>assistant\n" },
    { "llama3", { "<|start_header_id|>", "" }, CHAT_TRIM,
      LLAMA3("system"), LLAMA3("user"), LLAMA3("assistant"),
      "<|start_header_id|>assistant<|end_header_id|>\n\n" },
    { "gemma", { "<start_of_turn>", "" }, CHAT_FOLD | CHAT_TRIM,
      { "", "\n\n" }, TURN("user"), TURN("model"), "<start_of_turn>model\n" },
    { "mistral-v7", { "[SYSTEM_PROMPT]", "[INST]" }, 0,
      { "[SYSTEM_PROMPT] ", "[/SYSTEM_PROMPT]" }, { "[INST] ", "[/INST]" }, { " ", "</s>" }, "" },
    { "mistral-v3-tekken", { "\"[INST]\"", "[AVAILABLE_TOOLS]" }, CHAT_FOLD,
      { "", "\n\n" }, { "[INST]", "[/INST]" }, { "", "</s>" }, "" },
    { "mistral-v1", { "' [INST] '", "" }, CHAT_FOLD,
      { "", "\n\n" }, { " [INST] ", " [/INST]" }, { " ", "</s>" }, "" },
    { "mistral-v3", { "[INST]", "[AVAILABLE_TOOLS]" }, CHAT_FOLD,
      { "", "\n\n" }, { "[INST] ", "[/INST]" }, { " ", "</s>" }, "" },
    { "mistral", { "[INST]", "" }, CHAT_FOLD,
      { "", "\n\n" }, { "[INST] ", " [/INST]" }, { "", "</s>" }, "" },
    { "phi3", { "<|assistant|>", "<|end|>" }, 0,
      ROLE("system"), ROLE("user"), ROLE("assistant"), "<|assistant|>\n" },
    { "deepseek-r1", { "<｜Assistant｜>", "<｜Assistant｜><think>" }, 0,
      { "", "" }, { "<｜User｜>", "" }, { "<｜Assistant｜>", "<｜end▁of▁sentence｜>" },
      "<｜Assistant｜><think>\n" },
    { "deepseek3", { "<｜Assistant｜>", "" }, 0,
      { "", "" }, { "<｜User｜>", "" }, { "<｜Assistant｜>", "<｜end▁of▁sentence｜>" },
      "<｜Assistant｜>" },
    { "granite", { "<|start_of_role|>", "" }, 0,
      GRANITE("system"), GRANITE("user"), GRANITE("assistant"),
      "<|start_of_role|>assistant<|end_of_role|>" },
    { "olmo2", { "<|user|>", "bos_token" }, 0,
      { "<|system|>\n", "\n" }, { "<|user|>\n", "\n" },
      { "<|assistant|>\n", "<|endoftext|>\n" }, "<|assistant|>\n" },
    { "stablelm", { "<|user|>", "<|endoftext|>" }, 0,
      { "<|system|>\n", "<|endoftext|>\n" }, { "<|user|>\n", "<|endoftext|>\n" },
      { "<|assistant|>\n", "<|endoftext|>\n" }, "<|assistant|>\n" },
    { "zephyr", { "<|user|>", "" }, 0, /* and TinyLlama's chat model */
      { "<|system|>\n", "</s>\n" }, { "<|user|>\n", "</s>\n" }, { "<|assistant|>\n", "</s>\n" },
      "<|assistant|>\n" },
    { "openchat", { "GPT4 Correct ", "" }, 0,
      { "", "<|end_of_turn|>" }, { "GPT4 Correct User: ", "<|end_of_turn|>" },
      { "GPT4 Correct Assistant: ", "<|end_of_turn|>" }, "GPT4 Correct Assistant:" },
    { "vicuna", { "USER: ", "ASSISTANT:" }, 0,
      { "", "\n\n" }, { "USER: ", "\n" }, { "ASSISTANT: ", "</s>\n" }, "ASSISTANT:" },
};

#undef ROLE
#undef IM
#undef SEP
#undef LLAMA3
#undef TURN
#undef GRANITE

enum { N_CHAT_FORM = sizeof chat_forms / sizeof *chat_forms };

/* ---- writing it down ------------------------------------------------------------------------- */

typedef struct {
    const pith__tokenizer *k;
    const pith__vocab *v;
    const chat_form *form;
    char *text;         /* ordinary text that waits to be encoded as one */
    size_t n;
    int blank_taken;    /* the token before it takes the blanks after it along */
    pith_token *out;
    int cap, n_out, code;
} chat_writer;

static int chat_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static void chat_encode(chat_writer *w, const char *text, size_t n, unsigned flags) {
    int room = w->n_out < w->cap ? w->cap - w->n_out : 0;
    if (w->code) return;
    int got = pith__tokenizer_encode(w->k, text, n, flags, room ? w->out + w->n_out : NULL, room);
    if (got < 0 || got > INT_MAX - w->n_out) w->code = got < 0 ? got : PITH_EARG;
    else w->n_out += got;
}

static void chat_end_text(chat_writer *w, int added) {
    if (added & PITH__LSTRIP) w->n -= pith__white_before(w->text, w->n);
    size_t from = w->blank_taken ? pith__white_at(w->text, w->n) : 0;
    if (w->n > from) chat_encode(w, w->text + from, w->n - from, 0);
    w->n = 0;
    w->blank_taken = added & PITH__RSTRIP;
}

static void chat_token(chat_writer *w, pith_token t) {
    chat_end_text(w, w->v->added ? w->v->added[t] : 0);
    if (w->n_out < w->cap) w->out[w->n_out] = t;
    if (w->n_out < INT_MAX) w->n_out++;
}

static void chat_bos(chat_writer *w) {
    chat_end_text(w, 0);
    chat_encode(w, "", 0, PITH_BOS);
}

static void chat_message(chat_writer *w, const char *p) {
    size_t n = strlen(p);
    if (w->form->flags & CHAT_TRIM) {
        while (n && chat_blank(*p)) p++, n--;
        while (n && chat_blank(p[n - 1])) n--;
    }
    memcpy(w->text + w->n, p, n);
    w->n += n;
}

/* Bytes of the name in brackets that p begins with: "<|im_end|>", "[INST]"; else 0. */
static size_t chat_bracketed(const char *p) {
    if (*p != '<' && *p != '[') return 0;
    const char *end = strchr(p, *p == '<' ? '>' : ']');
    return end ? (size_t)(end + 1 - p) : 0;
}

/* The special token that p begins with, or -1. "</s>" is the end token, whatever its piece is called. */
static int chat_special(const chat_writer *w, const char *p, size_t n) {
    if (n == 4 && !memcmp(p, "</s>", n) && w->v->eos >= 0) return w->v->eos;
    int t = n ? pith__tokenizer_find(w->k, p, n) : -1;
    return t >= 0 && (w->v->type[t] == PITH__CONTROL || w->v->type[t] == PITH__USER) ? t : -1;
}

/* A form's own words. A chat_bracketed name that the vocabulary does not have is ordinary text. */
static void chat_words(chat_writer *w, const char *p) {
    while (*p) {
        size_t n = chat_bracketed(p);
        int t = chat_special(w, p, n);
        if (t >= 0) {
            chat_token(w, t);
            p += n;
        } else {
            w->text[w->n++] = *p++;
        }
    }
}

static void chat_turn(chat_writer *w, const char *const around[2], const char *text) {
    chat_words(w, around[0]);
    chat_message(w, text);
    chat_words(w, around[1]);
}

static void chat_user(chat_writer *w, const char *system, const char *text) {
    const chat_form *f = w->form;
    if (f->flags & CHAT_BOS_EACH) chat_bos(w);
    chat_words(w, f->user[0]);
    if (system) chat_turn(w, f->system, system);
    chat_message(w, text);
    chat_words(w, f->user[1]);
}

static int chat_ends(const chat_writer *w, pith_token t) {
    for (int i = 0; i < w->v->n_end; i++)
        if (w->v->end[i] == t) return 1;
    return t == w->v->eos;
}

/* An assistant turn given as tokens; the end token is added if missing. */
static void chat_written(chat_writer *w, const pith_turn *turn) {
    const char *end = w->form->assistant[1], *mark = strpbrk(end, "<[");
    chat_words(w, w->form->ask);
    chat_end_text(w, 0);
    for (int i = 0; i < turn->n_token; i++) chat_token(w, turn->token[i]);
    int ended = turn->n_token && chat_ends(w, turn->token[turn->n_token - 1]);
    if (ended && mark) end = mark + chat_bracketed(mark);
    chat_words(w, end);
}

static int chat_is_written(const pith_turn *turn) { return turn->token && !strcmp(turn->role, "assistant"); }

/* What the caller gave must be there before any of it is read. */
static int chat_check_turn(const chat_writer *w, const pith_turn *turn, int i, pith_error *err) {
    static const char *const roles = "system, user or assistant";
    const char *role = turn->role;
    if (!role) return pith__fail(err, PITH_EARG, "turns[%d].role is NULL, need %s", i, roles);
    if (strcmp(role, "system") != 0 && strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0)
        return pith__fail(err, PITH_EARG, "role '%.32s' in turns[%d], need %s", role, i, roles);
    if (turn->n_token < 0)
        return pith__fail(err, PITH_EARG, "turns[%d].n_token is %d, need 0 or more", i, turn->n_token);
    if (turn->n_token > 0 && !turn->token)
        return pith__fail(err, PITH_EARG, "turns[%d].token is NULL, need %d tokens", i, turn->n_token);
    if (!turn->text && !chat_is_written(turn))
        return pith__fail(err, PITH_EARG, "turns[%d].text is NULL, need a text", i);
    for (int k = 0; k < turn->n_token; k++)
        if (turn->token[k] < 0 || turn->token[k] >= w->v->n)
            return pith__fail(err, PITH_EARG, "turns[%d].token[%d] is %d, need 0 to %d", i, k,
                              (int)turn->token[k], w->v->n - 1);
    return PITH_OK;
}

static int chat_check(const chat_writer *w, const pith_turn *turns, int n, pith_error *err) {
    if (n < 0) return pith__fail(err, PITH_EARG, "a conversation of %d turns, need 0 or more", n);
    if (n > 0 && !turns) return pith__fail(err, PITH_EARG, "turns is NULL, need %d turns", n);
    int code = PITH_OK;
    for (int i = 0; i < n && !code; i++) code = chat_check_turn(w, &turns[i], i, err);
    return code;
}

static int chat_turns(chat_writer *w, const pith_turn *turns, int n, pith_error *err) {
    const chat_form *f = w->form;
    const char *system = NULL; /* folded: waits for the user's turn */
    if (!(f->flags & CHAT_BOS_EACH)) chat_bos(w);
    for (int i = 0; i < n; i++) {
        if (!strcmp(turns[i].role, "user")) {
            chat_user(w, system, turns[i].text);
            system = NULL;
        } else if (chat_is_written(&turns[i])) {
            chat_written(w, &turns[i]);
        } else if (!strcmp(turns[i].role, "assistant")) {
            chat_turn(w, f->assistant, turns[i].text);
        } else if (f->flags & CHAT_FOLD) {
            system = turns[i].text;
        } else {
            chat_turn(w, f->system, turns[i].text);
        }
    }
    if (system) chat_user(w, system, "");
    chat_words(w, f->ask);
    chat_end_text(w, 0);
    if (w->code) pith__fail(err, w->code, "a conversation of %d turns cannot be made tokens", n);
    return w->code;
}

/* ---- which form ------------------------------------------------------------------------------ */

static int chat_has(pith__str s, const char *words) {
    size_t n = strlen(words);
    for (size_t i = 0; i + n <= s.n; i++) {
        const char *p = n ? memchr(s.p + i, *words, s.n - n - i + 1) : s.p;
        if (!p) return 0;
        if (!memcmp(p, words, n)) return 1;
        i = (size_t)(p - s.p);
    }
    return 0;
}

/* NULL: the template is of no form known here. Without a template, special tokens tell. */
static const chat_form *chat_recognise(const chat_writer *w) {
    pith__str s = w->v->chat_template;
    for (int i = 0; i < N_CHAT_FORM; i++) {
        const chat_form *f = &chat_forms[i];
        if (s.n ? chat_has(s, f->marks[0]) && chat_has(s, f->marks[1])
                : chat_special(w, f->marks[0], chat_bracketed(f->marks[0])) >= 0)
            return f;
    }
    return s.n ? NULL : chat_forms;
}

static const chat_form *chat_form_named(const char *name) {
    for (int i = 0; i < N_CHAT_FORM; i++)
        if (!strcmp(chat_forms[i].name, name)) return &chat_forms[i];
    return NULL;
}

PITH_SHARED const char *pith__chat_named(const char *name) {
    const chat_form *f = chat_form_named(name);
    return f ? f->name : NULL;
}

PITH_SHARED pith__str pith__chat_name(int i) {
    return pith__str_of(i >= 0 && i < N_CHAT_FORM ? chat_forms[i].name : "");
}

static int chat_fail_form(const char *name, pith_error *err) {
    char list[512];
    pith__names(list, sizeof list, pith__chat_name);
    if (name) return pith__fail(err, PITH_EARG, "no chat template '%.32s', need one of:%s", name, list);
    return pith__fail(err, PITH_EARCH, "the model's chat template is of no known form, need the name of one:%s", list);
}

PITH_SHARED int pith__chat_encode(const pith__chat *c, const pith_turn *turns, int n, pith_token *out, int cap,
                                  pith_error *err) {
    chat_writer w = { .k = c->k, .v = c->v, .out = out, .cap = cap };
    w.form = c->form ? chat_form_named(c->form) : chat_recognise(&w);
    if (!w.form) return chat_fail_form(c->form, err);
    int code = chat_check(&w, turns, n, err);
    if (code) return code;
    size_t room = 256; /* no form puts more around a turn */
    for (int i = 0; i < n; i++)
        if (pith__add(&room, room, chat_is_written(&turns[i]) ? 0 : strlen(turns[i].text)) || pith__add(&room, room, 256))
            return pith__fail(err, PITH_EARG, "the conversation is longer than can be counted");
    w.text = malloc(room);
    if (!w.text) return pith__fail(err, PITH_EMEMORY, "no memory for a conversation of %d turns", n);
    code = chat_turns(&w, turns, n, err);
    free(w.text);
    return code ? code : w.n_out;
}

/* ---- a form as a chat template ------------------------------------------------------------------------ */

/* Words of a form as an expression: a text, in which </s> is the end token. */
static void chat_quote(pith__said *t, const char *words) {
    pith__say(t, "'");
    for (; *words; words++) {
        if (!strncmp(words, "</s>", 4)) pith__say(t, "' ~ (eos_token or '</s>') ~ '"), words += 3;
        else if (*words == '\n') pith__say(t, "\\n");
        else pith__say(t, *words == '\'' || *words == '\\' ? "\\%c" : "%c", *words);
    }
    pith__say(t, "'");
}

static const char chat_strip[] = ".strip(' \\t\\n\\v\\f\\r')";

/* {{ 'before' ~ text ~ 'after' }} */
static void chat_put_turn(pith__said *t, const chat_form *f, const char *const around[2], const char *text) {
    chat_quote(t, around[0]);
    pith__say(t, " ~ %s%s ~ ", text, f->flags & CHAT_TRIM ? chat_strip : "");
    chat_quote(t, around[1]);
}

/* {{ a user's turn }}, in which the system's text stands, if the form folds it. */
static void chat_put_user(pith__said *t, const chat_form *f, int bos, const char *text) {
    pith__say(t, "{{ %s", bos && f->flags & CHAT_BOS_EACH ? "bos_token ~ " : "");
    chat_quote(t, f->user[0]);
    pith__say(t, " }}{%% if ns.system is not none %%}{{ ");
    chat_put_turn(t, f, f->system, "ns.system");
    pith__say(t, " }}{%% set ns.system = none %%}{%% endif %%}{{ %s%s ~ ", text, f->flags & CHAT_TRIM ? chat_strip : "");
    chat_quote(t, f->user[1]);
    pith__say(t, " }}");
}

PITH_SHARED int pith__chat_jinja(pith__said *t, const char *name, int bos) {
    const chat_form *f = chat_form_named(name);
    if (!f) return PITH_EARG;
    pith__say(t, "{%% set ns = namespace(system=none) %%}%s", bos && !(f->flags & CHAT_BOS_EACH) ? "{{ bos_token }}" : "");
    pith__say(t, "{%% for m in messages %%}{%% if m.role == 'user' %%}");
    chat_put_user(t, f, bos, "m.content");
    pith__say(t, "{%% elif m.role == 'assistant' %%}{{ ");
    chat_put_turn(t, f, f->assistant, "m.content");
    pith__say(t, " }}{%% elif m.role == 'system' %%}");
    if (f->flags & CHAT_FOLD) {
        pith__say(t, "{%% set ns.system = m.content %%}");
    } else {
        pith__say(t, "{{ ");
        chat_put_turn(t, f, f->system, "m.content");
        pith__say(t, " }}");
    }
    pith__say(t, "{%% else %%}{{ raise_exception('a role is ' ~ m.role ~ ', need system, user or assistant') }}{%% endif %%}"
                 "{%% endfor %%}{%% if ns.system is not none %%}");
    chat_put_user(t, f, bos, "''");
    pith__say(t, "{%% endif %%}{%% if add_generation_prompt %%}{{ ");
    chat_quote(t, f->ask);
    pith__say(t, " }}{%% endif %%}");
    return t->failed ? PITH_EMEMORY : PITH_OK;
}
