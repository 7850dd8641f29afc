/* messages.c - a conversation through a template, with what transformers does before and after.
 *
 * Before: a message's reasoning is there under all names that templates read. After, if the last message is to be
 * continued: the text ends where that message does. The variables are put together as JSON text: of a name that
 * stands twice in an object the last value counts, at the place of the first, as in Python. */
#include "jinja.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char messages_mark[] = "CONTINUE_FINAL_MESSAGE_TAG "; /* as transformers has it */

typedef struct {
    char *p;
    size_t n, cap;
} messages_text; /* the room was counted before */

static void messages_add(messages_text *t, const char *p, size_t n) {
    if (n > t->cap - t->n) n = t->cap - t->n;
    if (n) memcpy(t->p + t->n, p, n);
    t->n += n;
}

static void messages_say(messages_text *t, const char *s) { messages_add(t, s, strlen(s)); }

static void messages_raw(messages_text *t, pith__json v) {
    pith__str raw = pith__json_raw(v);
    messages_add(t, raw.p, raw.n);
}

/* "text": with the mark before its last quote. */
static void messages_marked(messages_text *t, pith__json v) {
    messages_raw(t, v);
    t->n--;
    messages_say(t, messages_mark);
    messages_say(t, "\"");
}

/* A list of parts, of which the last one with a text is marked. */
static void messages_marked_parts(messages_text *t, pith__json parts) {
    pith__json it = parts, part, last = { NULL, NULL };
    while (pith__json_next(&it, NULL, &part))
        if (pith__json_type(pith__json_get(part, "text")) == '"') last = part;
    it = parts;
    messages_say(t, "[");
    for (int i = 0; pith__json_next(&it, NULL, &part); i++) {
        if (i) messages_say(t, ",");
        messages_raw(t, part);
        if (part.p != last.p) continue;
        t->n--;
        messages_say(t, ",\"text\":");
        messages_marked(t, pith__json_get(part, "text"));
        messages_say(t, "}");
    }
    messages_say(t, "]");
}

/* The texts of parts as one, with line breaks between, for a template that knows strings only. */
static void messages_joined(messages_text *t, pith__json parts, int mark) {
    pith__json part;
    messages_say(t, "\"");
    for (int i = 0; pith__json_next(&parts, NULL, &part); i++) {
        pith__str raw = pith__json_raw(pith__json_get(part, "text"));
        if (i) messages_say(t, "\\n");
        messages_add(t, raw.p + 1, raw.n - 2);
    }
    messages_say(t, mark ? messages_mark : "");
    messages_say(t, "\"");
}

static void messages_content(messages_text *t, pith__json v, int join, int mark) {
    int parts = pith__json_type(v) == '[';
    if (parts && join) messages_joined(t, v, mark);
    else if (parts && mark) messages_marked_parts(t, v);
    else if (mark && pith__json_type(v) == '"') messages_marked(t, v);
    else messages_raw(t, v);
}

/* A message, without what is null in it. */
static void messages_one(messages_text *t, pith__json message, int join, int mark) {
    static const char *const names[] = { "reasoning_content", "thinking", "reasoning" };
    pith__json reasoning = { NULL, NULL }, key, value;
    int n = 0;
    for (int i = 0; i < 3 && !reasoning.p; i++) {
        reasoning = pith__json_get(message, names[i]);
        if (pith__json_type(reasoning) == 'n') reasoning.p = NULL;
    }
    messages_say(t, "{");
    if (reasoning.p) {
        messages_say(t, "\"thinking\":");
        messages_raw(t, reasoning);
        n++;
    }
    while (pith__json_next(&message, &key, &value)) {
        if (pith__json_type(value) == 'n') continue;
        if (n++) messages_say(t, ",");
        messages_raw(t, key);
        messages_say(t, ":");
        if (pith__json_is(key, "content")) messages_content(t, value, join, mark);
        else messages_raw(t, value);
    }
    if (reasoning.p) {
        messages_say(t, ",\"reasoning_content\":");
        messages_raw(t, reasoning);
    }
    messages_say(t, "}");
}

/* The text that is to be continued, or a failure. */
static int messages_last_text(const pith__jinja *j, const pith__conversation *c, pith__arena *a, pith__str *text,
                              pith_error *err) {
    pith__json it = c->messages, m, last = { NULL, NULL }, content, part;
    const char *what = pith__jinja_what(j);
    int code = PITH_EFORMAT;
    while (pith__json_next(&it, NULL, &m)) last = m;
    if (!last.p) return pith__fail(err, PITH_EDATA, "%s: no message that could be continued", what);
    content = pith__json_get(last, "content");
    if (pith__json_type(content) == '"') code = pith__json_string(content, a, text);
    it = content;
    if (pith__json_type(content) == '[')
        while (pith__json_next(&it, NULL, &part)) {
            pith__json s = pith__json_get(part, "text");
            if (pith__json_type(s) == '"') code = pith__json_string(s, a, text);
        }
    if (code == PITH_EMEMORY) return pith__fail(err, code, "%s: no memory", what);
    if (code) return pith__fail(err, PITH_EDATA, "%s: the last message has no text that could be continued", what);
    pith__str all = pith__jinja_text(j);
    const pith__jstr source = { .p = all.p, .n = all.n }, name = { .p = "content", .n = 7 };
    pith__jrun r = { .work = INT64_MAX };
    if (pith__j_find(&r, &source, 0, &name) == SIZE_MAX)
        return pith__fail(err, PITH_EDATA, "%s: it reads no content, so nothing could be continued", what);
    return PITH_OK;
}

static size_t messages_trim(const char **p, size_t n) { /* the white space at both ends of a text */
    uint32_t c;
    for (size_t size; n; *p += size, n -= size) {
        size = pith__utf8_read((const uint8_t *)*p, n, &c);
        if (!pith__j_space(c)) break;
    }
    for (size_t size; n; n -= size) {
        size = 1;
        while (size < 4 && size < n && ((unsigned char)(*p)[n - size] & 0xc0) == 0x80) size++;
        pith__utf8_read((const uint8_t *)*p + n - size, size, &c);
        if (!pith__j_space(c)) break;
    }
    return n;
}

/* Cut the text where the mark is. If the template trimmed the blank that ends the mark, it trimmed the message. */
static int messages_cut(const pith__jinja *j, pith__rendered *out, pith__str text, pith_error *err) {
    size_t n = sizeof messages_mark - 2, at = out->n;
    const pith__jstr all = { .p = out->text, .n = out->n };
    pith__jrun r = { .work = INT64_MAX };
    pith__jstr part = { .p = text.p };
    part.n = messages_trim(&part.p, text.n);
    for (at = out->n >= n ? out->n - n + 1 : 0; at > 0 && memcmp(out->text + at - 1, messages_mark, n) != 0; at--)
        continue;
    if (!at || pith__j_find(&r, &all, 0, &part) == SIZE_MAX) {
        pith__rendered_free(out);
        return pith__fail(err, PITH_EDATA,
                          "%s: the template does not write the last message as it is, so it cannot be continued",
                              pith__jinja_what(j));
    }
    int kept = at - 1 + n < out->n && out->text[at - 1 + n] == ' ';
    const char *p = out->text;
    out->n = at - 1;
    if (!kept) { /* only the end is trimmed */
        while (out->n) {
            p = out->text + out->n - 1;
            while (p > out->text && ((unsigned char)*p & 0xc0) == 0x80) p--;
            size_t left = (size_t)(out->text + out->n - p);
            if (messages_trim(&p, left)) break;
            out->n -= left;
        }
    }
    out->text[out->n] = 0;
    return PITH_OK;
}

static int messages_check_parts(const char *what, int i, pith__json parts, pith_error *err) {
    pith__json part;
    for (int k = 0; pith__json_next(&parts, NULL, &part); k++) {
        pith__json type = pith__json_get(part, "type");
        pith__str name = pith__json_raw(type);
        if (pith__json_type(part) != '{' || (type.p && !pith__json_is(type, "text")))
            return pith__fail(err, PITH_EDATA, "%s: messages[%d].content[%d] is %.*s, need a text", what, i, k,
                              name.n < 60 ? (int)name.n : 60, name.n ? name.p : "");
        if (pith__json_type(pith__json_get(part, "text")) != '"')
            return pith__fail(err, PITH_EDATA, "%s: messages[%d].content[%d] has no text", what, i, k);
    }
    return PITH_OK;
}

/* *parts: 1: a message is made of parts. */
static int messages_check(const pith__jinja *j, const pith__conversation *c, int *parts, pith_error *err) {
    pith__json it = c->messages, m;
    const char *what = pith__jinja_what(j);
    int code = PITH_OK;
    if (pith__json_type(it) != '[') return pith__fail(err, PITH_EDATA, "%s: messages, need an array", what);
    for (int i = 0; !code && pith__json_next(&it, NULL, &m); i++) {
        if (pith__json_type(m) != '{') return pith__fail(err, PITH_EDATA, "%s: messages[%d] is no object", what, i);
        if (pith__json_type(pith__json_get(m, "role")) != '"') { /* many templates would leave it out without a word */
            char name[40];
            snprintf(name, sizeof name, "messages[%d].role", i);
            return pith__json_fail(pith__json_get(m, "role"), PITH_EDATA, what, name, "a string", err);
        }
        pith__json content = pith__json_get(m, "content");
        if (pith__json_type(content) != '[') continue;
        *parts = 1;
        code = messages_check_parts(what, i, content, err);
    }
    return code;
}

/* All variables as one object. */
static int messages_variables(messages_text *t, const pith__conversation *c, int join, pith__arena *a) {
    pith__json it = c->messages, m;
    size_t room, count = pith__json_count(c->messages), left = count;
    if (pith__mul(&room, 4, pith__json_raw(c->messages).n) || pith__add(&room, room, 128 * count + 512) ||
        pith__add(&room, room, pith__json_raw(c->tools).n) || pith__add(&room, room, pith__json_raw(c->documents).n))
        return PITH_EMEMORY;
    t->cap = room;
    t->p = pith__arena_new(a, room, 1);
    if (!t->p) return PITH_EMEMORY;
    messages_say(t, "{\"messages\":[");
    while (pith__json_next(&it, NULL, &m)) {
        messages_one(t, m, join, c->go_on && left == 1);
        if (--left) messages_say(t, ",");
    }
    messages_say(t, "],\"tools\":");
    if (c->tools.p) messages_raw(t, c->tools);
    else messages_say(t, "null");
    messages_say(t, ",\"documents\":");
    if (c->documents.p) messages_raw(t, c->documents);
    else messages_say(t, "null");
    messages_say(t, c->ask ? ",\"add_generation_prompt\":true}" : ",\"add_generation_prompt\":false}");
    return PITH_OK;
}

static int messages_render(const pith__jinja *j, const pith__conversation *c, int join, pith__rendered *out,
                           pith_error *err) {
    pith__arena a = { 0 };
    pith__jinja_variables vars[] = { { c->special, 1 }, { c->more[0], 0 }, { c->more[1], 0 }, { { NULL, NULL }, 0 } };
    pith__str last = { "", 0 };
    messages_text t = { 0 };
    int code = c->go_on ? messages_last_text(j, c, &a, &last, err) : PITH_OK;
    if (!code && messages_variables(&t, c, join, &a))
        code = pith__fail(err, PITH_EMEMORY, "%s: no memory for the messages", pith__jinja_what(j));
    if (!code) code = pith__json_read(&vars[3].json, t.p, t.n, "messages", err);
    if (!code) code = pith__jinja_render(j, vars, 4, c->now, out, err);
    if (!code && c->go_on) code = messages_cut(j, out, last, err);
    pith__arena_free(&a);
    return code;
}

/* Does the template write the texts of parts, or would it write the list as Python or JSON show it? */
static int messages_takes_parts(const pith__jinja *j, const pith__conversation *c) {
    static const char asked[] = "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"PITH-PROBE\"}]}]";
    const pith__jstr probe = { .p = "PITH-PROBE", .n = 10 };
    pith__conversation one = *c;
    pith__rendered out = { 0 };
    pith__jrun r = { .work = INT64_MAX };
    one.go_on = 0;
    int code = pith__json_read(&one.messages, asked, sizeof asked - 1, "probe", NULL);
    if (!code) code = messages_render(j, &one, 0, &out, NULL);
    const pith__jstr text = { .p = out.text, .n = out.n };
    size_t at = code ? SIZE_MAX : pith__j_find(&r, &text, 0, &probe);
    int takes = at != SIZE_MAX && !(at && strchr("'\"", out.text[at - 1]));
    pith__rendered_free(&out);
    return takes;
}

/* A template that fails often fails at a content that is no text: say which. Those of tool calls may be null, so they
 * are named only where there is no other. */
static int messages_blame(const pith__conversation *c, pith_error *err) {
    pith__json it = c->messages, m, bad = { NULL, NULL };
    const pith_error before = *err;
    char name[60];
    int at = -1, calls = 1;
    for (int i = 0; calls && pith__json_next(&it, NULL, &m); i++) {
        pith__json content = pith__json_get(m, "content");
        int called = pith__json_type(pith__json_get(m, "tool_calls")) == '[';
        if (pith__json_type(content) == '"' || pith__json_type(content) == '[' || (called && at >= 0)) continue;
        at = i, bad = content, calls = called;
    }
    if (at < 0 || (calls && strstr(before.text, "the template says"))) return PITH_EDATA;
    snprintf(name, sizeof name, "messages[%d].content", at);
    return pith__json_fail(bad, PITH_EDATA, before.text, name, calls ? "a text such as \"\"" : "a text", err);
}

PITH_SHARED int pith__conversation_render(const pith__jinja *j, const pith__conversation *c, pith__rendered *out,
                                          pith_error *err) {
    int parts = 0, code = messages_check(j, c, &parts, err);
    *out = (pith__rendered){ 0 };
    if (code) return code;
    code = messages_render(j, c, parts && !messages_takes_parts(j, c), out, err);
    return code == PITH_EDATA && err ? messages_blame(c, err) : code;
}
