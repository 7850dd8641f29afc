/* fields.c - a row of a data set -> what there is to learn in it, told by the fields that it has.
 *
 *     input_ids                      tokens; completion_mask, assistant_masks or labels say which count
 *     prompt, completion             two texts, or two lists of messages
 *     messages                       a conversation; tools and chat_template_kwargs go to the template too
 *     conversations                  the same as ShareGPT has it: {"from": "human", "value": "Hi"}
 *     instruction, input, output     as Alpaca has them
 *     text                           a text
 *     prompt, chosen, rejected       of preferences: two answers, as completion; prompt may be left out
 *
 * One of the first four; else the first that fits is taken, so further fields do no harm. Names and meanings are those of TRL, axolotl and
 * LLaMA-Factory. Messages are put together as JSON text, which is what pith_render takes. */
#include "train.h"

#include <stdlib.h>
#include <string.h>

enum { F_IDS, F_COMPLETION_MASK, F_ASSISTANT_MASKS, F_LABELS, F_PROMPT, F_COMPLETION, F_MESSAGES, F_CONVERSATIONS,
       F_INSTRUCTION, F_INPUT, F_OUTPUT, F_TEXT, F_TOOLS, F_KWARGS, F_SYSTEM, F_CHOSEN, F_REJECTED,
       N_FIELD };

static const char *const field_name[N_FIELD] = {
    "input_ids", "completion_mask", "assistant_masks", "labels", "prompt", "completion", "messages", "conversations",
    "instruction", "input", "output", "text", "tools", "chat_template_kwargs", "system",
    "chosen", "rejected"
};

typedef struct { /* at work */
    pith__json f[N_FIELD];
    const char *where;    /* "FILE: line 3" */
    pith__arena *a;
    pith_error *err;
    int completion;       /* the field of what follows the prompt */
    char *p;              /* JSON text being written; its room was counted before */
} field_reader;

static int fail_memory(field_reader *w) { return pith__fail(w->err, PITH_EMEMORY, "%s: no memory for the row", w->where); }

/* ---- checks ------------------------------------------------------------------------------------------ */

static int check_type(field_reader *w, pith__json j, char type, const char *name, const char *need) {
    if (pith__json_type(j) != type) return pith__json_fail(j, PITH_EDATA, w->where, name, need, w->err);
    if (type == '"' && pith__json_half(j))
        return pith__fail(w->err, PITH_EDATA, "%s: %s has half a surrogate pair (\\ud800 to \\udfff), which is no character",
                          w->where, name);
    return PITH_OK;
}

/* What other programs have to say that a message counts more, less or not at all. */
static int check_weight(field_reader *w, pith__json m, const char *name, int i) {
    static const char *const fields[] = { "weight", "train", "training" };
    for (int k = 0; k < 3; k++) {
        pith__json j = pith__json_get(m, fields[k]);
        double x = 1;
        char type = pith__json_type(j);
        if (!type || type == 't' || type == 'n' || (pith__json_float(j, &x) && x >= 1 && x <= 1)) continue;
        return pith__fail(w->err, PITH_EDATA, "%s: %s[%d].%s: a message that counts otherwise is not built here: leave it out, "
                          "or give input_ids and completion_mask", w->where, name, i, fields[k]);
    }
    return PITH_OK;
}

/* A message has a role, and a text or parts; an assistant's may have something else instead. */
static int check_message(field_reader *w, pith__json m, const char *name, int i) {
    char part[48];
    snprintf(part, sizeof part, "%s[%d]", name, i);
    int code = check_type(w, m, '{', part, "a message such as {\"role\": \"user\", \"content\": \"Hi\"}");
    if (code) return code;
    pith__json content = pith__json_get(m, "content");
    char type = pith__json_type(content);
    snprintf(part, sizeof part, "%s[%d].role", name, i);
    code = check_type(w, pith__json_get(m, "role"), '"', part, "a text");
    int instead = (!type || type == 'n') && (pith__json_get(m, "tool_calls").p || pith__json_get(m, "reasoning_content").p);
    snprintf(part, sizeof part, "%s[%d].content", name, i);
    if (!code && !instead && type != '[') code = check_type(w, content, '"', part, "a text");
    return code ? code : check_weight(w, m, name, i);
}

static int check_messages(field_reader *w, pith__json list, const char *name) {
    pith__json it = list, m;
    int i = 0, code = check_type(w, list, '[', name, "an array of messages");
    while (!code && pith__json_next(&it, NULL, &m)) code = check_message(w, m, name, i++);
    if (!code && !i) code = pith__fail(w->err, PITH_EDATA, "%s: %s is empty, need messages", w->where, name);
    return code;
}

/* ---- writing messages --------------------------------------------------------------------------------- */

static void put(field_reader *w, const char *p, size_t n) {
    memcpy(w->p, p, n);
    w->p += n;
}

static void put_words(field_reader *w, const char *s) { put(w, s, strlen(s)); }

static void put_raw(field_reader *w, pith__json j) { put(w, pith__json_raw(j).p, pith__json_raw(j).n); }

/* What stands between the brackets or quotes of a value. */
static void put_inside(field_reader *w, pith__json j) { put(w, pith__json_raw(j).p + 1, pith__json_raw(j).n - 2); }

static void put_message(field_reader *w, const char *role, pith__json text) {
    if (w->p[-1] != '[') put_words(w, ",");
    put_words(w, "{\"role\":\"");
    put_words(w, role);
    put_words(w, "\",\"content\":");
    put_raw(w, text);
    put_words(w, "}");
}

/* {"messages":[ in room for what is to come. NULL: no memory. */
static char *begin_messages(field_reader *w, size_t inside) {
    size_t room;
    if (pith__add(&room, inside, pith__json_raw(w->f[F_TOOLS]).n + pith__json_raw(w->f[F_KWARGS]).n + 128)) return NULL;
    char *text = w->p = pith__arena_new(w->a, room, 1);
    if (text) put_words(w, "{\"messages\":[");
    return text;
}

/* A value that may also be written as a string of JSON, as data sets with one type a column do. */
static int unwrap(field_reader *w, int field, char type, const char *need) {
    pith__json *j = &w->f[field], inner;
    pith__str s;
    char has = pith__json_type(*j);
    if (!has || has == 'n') return *j = (pith__json){ NULL, NULL }, PITH_OK;
    if (has == '"' && !pith__json_string(*j, w->a, &s) && !pith__json_read(&inner, s.p, s.n, "", NULL)) *j = inner;
    if (pith__json_type(*j) == 'n') return *j = (pith__json){ NULL, NULL }, PITH_OK;
    return check_type(w, *j, type, field_name[field], need);
}

static void end_messages(field_reader *w) {
    put_words(w, "]");
    if (w->f[F_TOOLS].p) put_words(w, ",\"tools\":"), put_raw(w, w->f[F_TOOLS]);
    if (w->f[F_KWARGS].p && pith__json_raw(w->f[F_KWARGS]).n > 2) put_words(w, ","), put_inside(w, w->f[F_KWARGS]);
    put_words(w, "}"); /* and a NUL, since memory of an arena is zeroed */
}

/* ---- rows ------------------------------------------------------------------------------------------- */

static int read_conversation(field_reader *w, pith__row *r) {
    int code = check_messages(w, w->f[F_MESSAGES], "messages");
    if (code) return code;
    r->kind = PITH__ROW_MESSAGES;
    r->messages = begin_messages(w, pith__json_raw(w->f[F_MESSAGES]).n);
    if (!r->messages) return fail_memory(w);
    put_inside(w, w->f[F_MESSAGES]);
    end_messages(w);
    return PITH_OK;
}

/* Prompt and completion as messages: the prompt alone, and both. */
static int read_turns(field_reader *w, pith__row *r) {
    pith__json prompt = w->f[F_PROMPT], completion = w->f[w->completion];
    int code = check_messages(w, prompt, "prompt");
    if (!code) code = check_messages(w, completion, field_name[w->completion]);
    if (code) return code;
    r->kind = PITH__ROW_TURNS;
    for (int both = 0; both < 2; both++) {
        char *text = begin_messages(w, pith__json_raw(prompt).n + (both ? pith__json_raw(completion).n : 0));
        if (!text) return fail_memory(w);
        put_inside(w, prompt);
        if (both) put_words(w, ","), put_inside(w, completion);
        end_messages(w);
        *(both ? &r->messages : &r->prompt_messages) = text;
    }
    return PITH_OK;
}

static int read_string(field_reader *w, int field, pith__str *s) {
    int code = check_type(w, w->f[field], '"', field_name[field], "a text");
    if (!code && pith__json_string(w->f[field], w->a, s)) return fail_memory(w);
    return code;
}

static int read_pair(field_reader *w, pith__row *r) {
    char type = pith__json_type(w->f[F_PROMPT]);
    if (type == '[') return read_turns(w, r);
    int code = read_string(w, F_PROMPT, &r->text);
    if (!code) code = read_string(w, w->completion, &r->completion);
    r->kind = PITH__ROW_PAIR;
    return code;
}

/* ShareGPT's names of the roles, in its several versions. */
static const char *role_of(pith__json from) {
    static const char *const names[][2] = {
        { "human", "user" }, { "user", "user" }, { "gpt", "assistant" }, { "assistant", "assistant" }, { "chatgpt", "assistant" },
        { "bard", "assistant" }, { "bing", "assistant" }, { "model", "assistant" }, { "function_call", "assistant" },
        { "system", "system" }, { "tool", "tool" }, { "observation", "tool" }, { "function_response", "tool" }
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (pith__json_is(from, names[i][0])) return names[i][1];
    return NULL;
}

static int put_said(field_reader *w, pith__json m, int i) { /* {"from": "gpt", "value": "Hi"} */
    char name[48];
    pith__json from = pith__json_get(m, "from"), value = pith__json_get(m, "value");
    if (pith__json_type(m) == '{' && !from.p && pith__json_get(m, "role").p) {
        int code = check_message(w, m, "conversations", i);
        if (w->p[-1] != '[') put_words(w, ",");
        put_raw(w, m);
        return code;
    }
    snprintf(name, sizeof name, "conversations[%d]", i);
    int code = check_type(w, m, '{', name, "{\"from\": \"human\", \"value\": \"Hi\"}");
    if (code) return code;
    snprintf(name, sizeof name, "conversations[%d].from", i);
    const char *role = role_of(from);
    if (!role) return pith__json_fail(from, PITH_EDATA, w->where, name, "human, gpt, system or tool", w->err);
    snprintf(name, sizeof name, "conversations[%d].value", i);
    code = check_type(w, value, '"', name, "a text");
    if (!code) put_message(w, role, value);
    return code;
}

static int read_sharegpt(field_reader *w, pith__row *r) {
    pith__json list = w->f[F_CONVERSATIONS], m;
    int i = 0, code = check_type(w, list, '[', "conversations", "an array");
    if (!code && pith__json_type(w->f[F_SYSTEM]) == '"') code = check_type(w, w->f[F_SYSTEM], '"', "system", "a text");
    if (code) return code;
    r->kind = PITH__ROW_MESSAGES;
    r->messages = begin_messages(w, pith__json_raw(list).n + 64 * (pith__json_count(list) + 1) + pith__json_raw(w->f[F_SYSTEM]).n);
    if (!r->messages) return fail_memory(w);
    if (pith__json_type(w->f[F_SYSTEM]) == '"' && pith__json_raw(w->f[F_SYSTEM]).n > 2) put_message(w, "system", w->f[F_SYSTEM]);
    while (!code && pith__json_next(&list, NULL, &m)) code = put_said(w, m, i++);
    if (!code && !i) code = pith__fail(w->err, PITH_EDATA, "%s: conversations is empty, need messages", w->where);
    if (!code) end_messages(w);
    return code;
}

/* Alpaca's fields as a conversation: the user's message is the instruction and, below it, the input. */
static int read_alpaca(field_reader *w, pith__row *r) {
    pith__json in = w->f[F_INPUT], system = w->f[F_SYSTEM];
    int has_input = pith__json_type(in) == '"' && pith__json_raw(in).n > 2;
    int has_system = pith__json_type(system) == '"' && pith__json_raw(system).n > 2;
    r->kind = PITH__ROW_MESSAGES;
    r->messages = begin_messages(w, pith__json_raw(w->f[F_INSTRUCTION]).n + pith__json_raw(in).n +
                                        pith__json_raw(w->f[F_OUTPUT]).n + pith__json_raw(system).n + 256);
    if (!r->messages) return fail_memory(w);
    if (has_system) put_message(w, "system", system);
    put_message(w, "user", w->f[F_INSTRUCTION]);
    if (has_input) {
        w->p -= 2; /* "} */
        put_words(w, "\\n");
        put_inside(w, in);
        put_words(w, "\"}");
    }
    put_message(w, "assistant", w->f[F_OUTPUT]);
    end_messages(w);
    return PITH_OK;
}

/* The same as a text, for a model without a chat template: in the words of Stanford Alpaca (Taori et al. 2023), with the
 * line break after "### Response:" that axolotl and most data since have. */
static int read_alpaca_words(field_reader *w, pith__row *r) {
    static const char *const words[] = {
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n", "",
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a response "
        "that appropriately completes the request.\n\n### Instruction:\n", "\n\n### Input:\n"
    };
    pith__str instruction, in = { "", 0 };
    int code = read_string(w, F_INSTRUCTION, &instruction);
    if (!code && pith__json_type(w->f[F_INPUT]) == '"') code = read_string(w, F_INPUT, &in);
    if (!code) code = read_string(w, F_OUTPUT, &r->completion);
    char *text = code ? NULL : pith__arena_new(w->a, instruction.n + in.n + 512, 1);
    if (code || !text) return code ? code : fail_memory(w);
    w->p = text;
    put_words(w, words[in.n ? 2 : 0]);
    put(w, instruction.p, instruction.n);
    put_words(w, words[in.n ? 3 : 1]);
    put(w, in.p, in.n);
    put_words(w, "\n\n### Response:\n");
    r->kind = PITH__ROW_PAIR;
    r->text = (pith__str){ text, (size_t)(w->p - text) };
    return PITH_OK;
}

static int read_instruction(field_reader *w, pith__row *r, int has_template) {
    static const int fields[] = { F_INSTRUCTION, F_INPUT, F_OUTPUT };
    for (int i = 0; i < 3; i++) {
        pith__json j = w->f[fields[i]];
        if (fields[i] == F_INPUT && (!j.p || pith__json_type(j) == 'n')) continue;
        int code = check_type(w, j, '"', field_name[fields[i]], "a text");
        if (code) return code;
    }
    return has_template ? read_alpaca(w, r) : read_alpaca_words(w, r);
}

/* No field of any kind: say which there are. */
static int fail_unknown(field_reader *w, pith__json row) {
    char names[120] = "";
    pith__json key, value;
    size_t n = 0;
    while (pith__json_next(&row, &key, &value) && n < sizeof names - 1)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%.*s", n ? ", " : "", (int)pith__json_raw(key).n,
                              pith__json_raw(key).p);
    return pith__fail(w->err, PITH_EDATA, "%s: has %s; need messages, prompt and completion, text, or another kind of row",
                      w->where, *names ? names : "no fields");
}

static int pick_fields(field_reader *w, pith__json row) {
    if (pith__json_type(row) != '{') return pith__json_fail(row, PITH_EDATA, w->where, "the row", "an object", w->err);
    pith__json_pick(row, field_name, w->f, N_FIELD);
    int code = unwrap(w, F_TOOLS, '[', "an array");
    return code ? code : unwrap(w, F_KWARGS, '{', "an object");
}

/* Two of these in a row would teach different things. What goes along with another (Alpaca's text, a prompt beside messages
 * that begin with it) does no harm. */
static int check_one_scheme(field_reader *w) {
    const int has[] = { w->f[F_IDS].p ? F_IDS : -1, w->f[F_PROMPT].p && w->f[F_COMPLETION].p ? F_COMPLETION : -1,
                        w->f[F_MESSAGES].p ? F_MESSAGES : -1, w->f[F_CONVERSATIONS].p ? F_CONVERSATIONS : -1 };
    int first = -1;
    for (int i = 0; i < 4; i++) {
        if (has[i] >= 0 && first >= 0)
            return pith__fail(w->err, PITH_EDATA, "%s: has %s and %s: need one of them", w->where, field_name[first],
                              field_name[has[i]]);
        if (has[i] >= 0) first = has[i];
    }
    return PITH_OK;
}

PITH_SHARED int pith__row_read(pith__row *r, pith__json j, const char *where, int has_template, pith__arena *a,
                               pith_error *err) {
    field_reader w = { .where = where, .a = a, .err = err, .completion = F_COMPLETION };
    memset(r, 0, sizeof *r);
    int code = pick_fields(&w, j);
    if (code) return code;
    if ((code = check_one_scheme(&w))) return code;
    if (w.f[F_IDS].p) {
        r->kind = PITH__ROW_TOKENS;
        r->ids = w.f[F_IDS], r->completion_mask = w.f[F_COMPLETION_MASK];
        r->assistant_masks = w.f[F_ASSISTANT_MASKS], r->labels = w.f[F_LABELS];
        return PITH_OK;
    }
    if (w.f[F_PROMPT].p && w.f[F_COMPLETION].p) return read_pair(&w, r);
    if (w.f[F_MESSAGES].p) return read_conversation(&w, r);
    if (w.f[F_CONVERSATIONS].p) return read_sharegpt(&w, r);
    if (w.f[F_INSTRUCTION].p && w.f[F_OUTPUT].p) return read_instruction(&w, r, has_template);
    if (w.f[F_TEXT].p) return r->kind = PITH__ROW_TEXT, read_string(&w, F_TEXT, &r->text);
    static const int half[][2] = { { F_PROMPT, F_COMPLETION }, { F_COMPLETION, F_PROMPT }, { F_INSTRUCTION, F_OUTPUT } };
    for (int i = 0; i < 3; i++)
        if (w.f[half[i][0]].p)
            return pith__fail(err, PITH_EDATA, "%s: has %s without %s", where, field_name[half[i][0]], field_name[half[i][1]]);
    return fail_unknown(&w, j);
}

PITH_SHARED int pith__row_read_prompt(pith__row *r, pith__json j, const char *where, pith__arena *a, pith_error *err) {
    field_reader w = { .where = where, .a = a, .err = err };
    memset(r, 0, sizeof *r);
    int code = pick_fields(&w, j);
    if (code) return code;
    if (!w.f[F_PROMPT].p) return pith__fail(err, PITH_EDATA, "%s: has no prompt", where);
    if (pith__json_type(w.f[F_PROMPT]) != '[') return r->kind = PITH__ROW_TEXT, read_string(&w, F_PROMPT, &r->text);
    if ((code = check_messages(&w, w.f[F_PROMPT], "prompt"))) return code;
    char *text = begin_messages(&w, pith__json_raw(w.f[F_PROMPT]).n);
    if (!text) return fail_memory(&w);
    put_inside(&w, w.f[F_PROMPT]);
    end_messages(&w);
    r->kind = PITH__ROW_MESSAGES, r->messages = text;
    return PITH_OK;
}

/* ---- pairs ------------------------------------------------------------------------------------------ */

/* Messages number from to end of a list, as a list. */
static int slice(field_reader *w, pith__json list, size_t from, size_t end, pith__json *to) {
    pith__json it = list, m;
    char *text = w->p = pith__arena_new(w->a, pith__json_raw(list).n + 2, 1);
    if (!text) return fail_memory(w);
    put_words(w, "[");
    for (size_t i = 0; i < end && pith__json_next(&it, NULL, &m); i++) {
        if (i < from) continue;
        if (i > from) put_words(w, ",");
        put_raw(w, m);
    }
    put_words(w, "]");
    return pith__json_read(to, text, (size_t)(w->p - text), w->where, w->err);
}

/* Two conversations, each whole: the messages that both begin with are the prompt. */
static int split_messages(field_reader *w) {
    pith__json list[2] = { w->f[F_CHOSEN], w->f[F_REJECTED] };
    int code = check_messages(w, list[0], "chosen");
    if (!code) code = check_messages(w, list[1], "rejected");
    size_t n = code ? 0 : pith__shared_messages(list[0], list[1], w->a);
    if (!code && !n)
        code = pith__fail(w->err, PITH_EDATA, "%s: has no prompt, and chosen and rejected begin with different messages", w->where);
    if (!code) code = slice(w, list[0], 0, n, &w->f[F_PROMPT]);
    for (int i = 0; i < 2 && !code; i++) code = slice(w, list[i], n, SIZE_MAX, &w->f[F_CHOSEN + i]);
    return code;
}

/* Two texts, each whole. */
static int split_texts(field_reader *w, pith__row r[2]) {
    int code = read_string(w, F_CHOSEN, &r[0].text);
    if (!code) code = read_string(w, F_REJECTED, &r[1].text);
    size_t n = code ? 0 : pith__shared_text(r[0].text, r[1].text);
    for (int i = 0; i < 2 && !code; i++) {
        r[i].kind = PITH__ROW_PAIR;
        r[i].completion = (pith__str){ r[i].text.p + n, r[i].text.n - n };
        r[i].text.n = n;
    }
    return code;
}

/* Tokens, as dumped completions have them. */
static int read_token_pair(pith__row r[2], pith__json j, const char *where, pith_error *err) {
    static const char *const names[] = { "chosen_ids", "rejected_ids" };
    pith__json prompt = pith__json_get(j, "prompt_ids");
    for (int i = 0; i < 2; i++) {
        r[i] = (pith__row){ .kind = PITH__ROW_TOKENS, .prompt_ids = prompt, .ids = pith__json_get(j, names[i]) };
        if (!r[i].ids.p || !prompt.p)
            return pith__fail(err, PITH_EDATA, "%s: has no %s: a pair of tokens needs prompt_ids, chosen_ids and rejected_ids", where,
                              prompt.p ? names[i] : "prompt_ids");
    }
    return PITH_OK;
}

PITH_SHARED int pith__row_read_pair(pith__row r[2], pith__json j, const char *where, pith__arena *a, pith_error *err) {
    field_reader w = { .where = where, .a = a, .err = err };
    memset(r, 0, 2 * sizeof *r);
    if (pith__json_get(j, "chosen_ids").p) return read_token_pair(r, j, where, err);
    int code = pick_fields(&w, j);
    char prompt = pith__json_type(w.f[F_PROMPT]), chosen = pith__json_type(w.f[F_CHOSEN]);
    for (int i = F_CHOSEN; i <= F_REJECTED && !code; i++)
        if (!w.f[i].p) code = pith__fail(err, PITH_EDATA, "%s: has no %s: a pair needs chosen and rejected", where, field_name[i]);
    int alone = !prompt || prompt == 'n' || (prompt == '"' && chosen == '['); /* a text beside whole conversations */
    if (!code && alone && chosen != '[') return split_texts(&w, r);
    if (!code && alone) code = split_messages(&w);
    for (int i = 0; i < 2 && !code; i++) {
        w.completion = F_CHOSEN + i;
        code = read_pair(&w, &r[i]);
    }
    return code;
}
