/* answer.c - a text as it comes -> the answer to a request, in the form of OpenAI's completions and
 * chat completions.
 *
 * Nothing in an answer depends on when or beside what it was written: "created" is 0, and there is no time
 * and no random id. */
#define _XOPEN_SOURCE 700
#include "request.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- a text as it comes ---------------------------------------------------------------------- */

int choice_begin(choice *c, const pith_model *m, const request *r, int index, uint64_t seed) {
    const pith_shape *shape = pith_model_shape(m);
    *c = (choice){ .r = r, .prompt = &r->prompt[index / r->n], .index = index, .seed = seed };
    c->g = (pith_generation){ .how = r->how, .rng = seed, .n_predict = r->n_predict, .stop = r->stop,
                              .n_stop = r->n_stop, .grammar = r->grammar, .thoughts = r->is_chat };
    if (r->is_chat) c->g.end = &shape->eos, c->g.n_end = 1; /* ends a turn, where llama2.c's models end with BOS */
    /* llama2.c draws at every position, of a prompt too; so do its conversations here. */
    int draws = r->is_chat && shape->llama2c && r->how.temperature > 0;
    for (int i = 1; draws && i < c->prompt->n; i++) pith_random(&c->g.rng);
    return output_memory(&c->out, &c->text, &c->n_text) || output_memory(&c->mind, &c->thought, &c->n_thought);
}

void choice_free(choice *c) {
    if (c->out.file) fclose(c->out.file);
    if (c->mind.file) fclose(c->mind.file);
    pith_generation_free(&c->g);
    free(c->text);
    free(c->thought);
    free(c->told);
    free(c->top);
    memset(c, 0, sizeof *c);
}

/* The k likeliest of n tokens, of equals the lowest. */
static void find_likeliest(const float *x, int n, double total, likely_token *top, int k) {
    int found = 0;
    for (int t = 0; t < n; t++) {
        double logprob = x[t] - total;
        if (found == k && !(logprob > top[k - 1].logprob)) continue;
        int i = found < k ? found++ : k - 1;
        for (; i > 0 && logprob > top[i - 1].logprob; i--) top[i] = top[i - 1];
        top[i] = (likely_token){ t, logprob };
    }
}

static int make_room(choice *c) {
    if (c->n_told < c->room) return 1;
    size_t room = c->room ? 2 * c->room : 64, n_top = (size_t)c->r->n_top;
    told_token *told = realloc(c->told, room * sizeof *told);
    if (told) c->told = told;
    likely_token *top = told && n_top ? realloc(c->top, room * n_top * sizeof *top) : NULL;
    if (top) c->top = top;
    if (!told || (n_top && !top)) return 0;
    c->room = room;
    return 1;
}

static void tell_token(choice *c, const pith_session *s, pith_token before) {
    const float *x = pith_logits(s);
    int n = s->model->hyper.n_vocab, n_top = c->r->n_top < n ? c->r->n_top : n;
    if (!make_room(c)) {
        c->g.ended = pith__fail(&c->error, PITH_EMEMORY, "no memory for logprobs");
        return;
    }
    double total = log_total(x, n);
    likely_token is = { c->g.token, x[c->g.token] - total };
    c->told[c->n_told] = (told_token){ is, before, c->shown };
    if (n_top) find_likeliest(x, n, total, c->top + c->n_told * (size_t)c->r->n_top, n_top);
    c->n_told++;
}

void choice_take(choice *c, const pith_session *s) {
    int thought = c->thinking || c->g.thinking; /* a tag is of the thoughts */
    output_bytes(&c->out, c->g.text, c->g.n_text);
    output_bytes(&c->mind, c->g.thought, c->g.n_thought);
    if (c->g.ended) output_flush(&c->out), output_flush(&c->mind); /* sets text and n_text */
    c->thinking = c->g.thinking;
    int is_end = c->g.ended == PITH_END && pith__ends(s->model, &c->g, c->g.token); /* else a sentence is whole */
    if (c->g.token < 0 || is_end || c->g.ended < 0) return;
    c->is_nan |= isnan(pith_logits(s)[c->g.token]);
    if (thought) return; /* logprobs are of the answer */
    pith_token before = s->tokens[s->position - 1];
    if (c->r->logprobs) tell_token(c, s, before);
    size_t n;
    pith_text(s->model, before, c->g.token, &n);
    c->shown += n;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void put_text(output *o, const char *s) { output_bytes(o, s, strlen(s)); }
static void put_string(output *o, const char *s) { output_json(o, s, strlen(s)); }

/* What has no logarithm: OpenAI's number for it. */
static void put_logprob(output *o, double x) {
    if (x > -9999) output_line(o, "%.6f", x);
    else put_text(o, "-9999.0");
}

/* What the token shows; a control token its name. */
static const char *token_text(const pith_model *m, pith_token before, pith_token t, size_t *n) {
    const char *p = pith_text(m, before, t, n);
    return *n ? p : pith_piece(m, t, n);
}

static int is_utf8(const char *p, size_t n) {
    int k;
    for (size_t i = 0; i < n; i += (size_t)k)
        if ((k = pith__utf8_length((const uint8_t *)p + i, n - i)) <= 0) return 0;
    return 1;
}

/* Tokens that are told: those after a stop text are not in the text. */
static size_t count_told(const choice *c) {
    size_t n = c->n_told;
    while (c->g.ended == PITH_STOP && n && c->told[n - 1].at >= c->n_text) n--;
    return n;
}

static void put_token(output *o, const pith_model *m, pith_token before, likely_token is) {
    size_t n;
    const char *p = token_text(m, before, is.token, &n);
    put_text(o, "{\"token\":");
    output_json(o, p, n);
    put_text(o, ",\"logprob\":");
    put_logprob(o, is.logprob);
    put_text(o, ",\"bytes\":[");
    for (size_t i = 0; i < n; i++) output_line(o, "%s%d", i ? "," : "", (unsigned char)p[i]);
    put_text(o, "]");
}

static void put_chat_logprobs(output *o, const pith_model *m, const choice *c) {
    int n_top = c->r->n_top < m->hyper.n_vocab ? c->r->n_top : m->hyper.n_vocab;
    put_text(o, "{\"content\":[");
    for (size_t i = 0, n = count_told(c); i < n; i++) {
        const told_token *t = &c->told[i];
        if (i) put_text(o, ",");
        put_token(o, m, t->before, t->is);
        put_text(o, ",\"top_logprobs\":[");
        for (int j = 0; j < n_top; j++) {
            if (j) put_text(o, ",");
            put_token(o, m, t->before, c->top[i * (size_t)c->r->n_top + (size_t)j]);
            put_text(o, "}");
        }
        put_text(o, "]}");
    }
    put_text(o, "],\"refusal\":null}");
}

/* Bytes that are not whole characters are spelled, as OpenAI does. */
static void put_spelled(output *o, const char *p, size_t n) {
    if (is_utf8(p, n)) {
        output_json(o, p, n);
        return;
    }
    put_text(o, "\"bytes:");
    for (size_t i = 0; i < n; i++) output_line(o, "\\\\x%02x", (unsigned char)p[i]);
    put_text(o, "\"");
}

/* The likeliest tokens by their texts, and the one that came; of equal texts the likelier. */
static void put_top_object(output *o, const pith_model *m, const choice *c, size_t i) {
    const told_token *t = &c->told[i];
    const likely_token *top = c->top + i * (size_t)c->r->n_top;
    int n_top = c->r->n_top < m->hyper.n_vocab ? c->r->n_top : m->hyper.n_vocab, put = 0;
    put_text(o, "{");
    for (int j = 0; j <= n_top; j++) {
        likely_token is = j < n_top ? top[j] : t->is;
        size_t n, other;
        const char *p = token_text(m, t->before, is.token, &n);
        int same = 0;
        for (int k = 0; k < j && !same; k++) {
            const char *q = token_text(m, t->before, top[k].token, &other);
            same = n == other && !memcmp(p, q, n);
        }
        if (same) continue;
        if (put++) put_text(o, ",");
        put_spelled(o, p, n);
        put_text(o, ":");
        put_logprob(o, is.logprob);
    }
    put_text(o, "}");
}

static void put_offsets(output *o, const choice *c, size_t n) {
    size_t byte = 0, character = 0;
    for (size_t i = 0; i < n; i++) {
        while (byte < c->told[i].at && byte < c->n_text) {
            int k = pith__utf8_length((const uint8_t *)c->text + byte, c->n_text - byte);
            byte += k > 0 ? (size_t)k : k < 0 ? (size_t)-k : 1;
            character++;
        }
        output_line(o, "%s%zu", i ? "," : "", character);
    }
}

static void put_list_logprobs(output *o, const pith_model *m, const choice *c) {
    size_t n = count_told(c), len;
    put_text(o, "{\"tokens\":[");
    for (size_t i = 0; i < n; i++) {
        const char *p = token_text(m, c->told[i].before, c->told[i].is.token, &len);
        if (i) put_text(o, ",");
        put_spelled(o, p, len);
    }
    put_text(o, "],\"token_logprobs\":[");
    for (size_t i = 0; i < n; i++) {
        if (i) put_text(o, ",");
        put_logprob(o, c->told[i].is.logprob);
    }
    put_text(o, "],\"top_logprobs\":");
    if (!c->r->n_top) put_text(o, "null");
    else put_text(o, "[");
    for (size_t i = 0; i < n && c->r->n_top; i++) {
        if (i) put_text(o, ",");
        put_top_object(o, m, c, i);
    }
    if (c->r->n_top) put_text(o, "]");
    put_text(o, ",\"text_offset\":[");
    put_offsets(o, c, n);
    put_text(o, "]}");
}

static void put_choice(output *o, const pith_model *m, const choice *c) {
    output_line(o, "{\"index\":%d,", c->index);
    put_text(o, c->r->is_chat ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"text\":");
    output_json(o, c->text, c->n_text);
    if (c->n_thought) put_text(o, ",\"reasoning_content\":"), output_json(o, c->thought, c->n_thought);
    put_text(o, c->r->is_chat ? ",\"refusal\":null},\"logprobs\":" : ",\"logprobs\":");
    if (c->r->logprobs == CHAT_LOGPROBS) put_chat_logprobs(o, m, c);
    else if (c->r->logprobs == LIST_LOGPROBS) put_list_logprobs(o, m, c);
    else put_text(o, "null");
    int cut = c->g.ended == PITH_LIMIT || c->g.ended == PITH_FULL;
    output_line(o, ",\"finish_reason\":\"%s\",\"seed\":%llu}", cut ? "length" : "stop", (unsigned long long)c->seed);
}

void answer_write(output *o, const pith_model *m, const answer_head *head, const request *r, const choice *c) {
    size_t n_prompt = 0, n_new = 0;
    output_line(o, "{\"id\":%s", head->id);
    if (head->custom_id) output_line(o, ",\"custom_id\":%s", head->custom_id);
    output_line(o, ",\"object\":\"%s\",\"created\":0,\"model\":", r->is_chat ? "chat.completion" : "text_completion");
    put_string(o, r->model ? r->model : head->model);
    output_line(o, ",\"system_fingerprint\":\"%s\",\"choices\":[", head->fingerprint);
    for (int i = 0; i < r->n * r->n_prompt; i++) {
        if (i) put_text(o, ",");
        put_choice(o, m, &c[i]);
        n_new += (size_t)c[i].g.n_token;
    }
    for (int i = 0; i < r->n_prompt; i++) n_prompt += (size_t)r->prompt[i].n;
    output_line(o, "],\"usage\":{\"prompt_tokens\":%zu,\"completion_tokens\":%zu,\"total_tokens\":%zu}}", n_prompt,
                n_new, n_prompt + n_new);
}

void answer_error(output *o, const request_error *e) {
    put_text(o, "{\"message\":");
    put_string(o, e->error.text);
    put_text(o, e->error.code == PITH_EDATA ? ",\"type\":\"invalid_request_error\",\"param\":"
                                            : ",\"type\":\"server_error\",\"param\":");
    if (*e->param) put_string(o, e->param);
    else put_text(o, "null");
    put_text(o, ",\"code\":");
    if (e->code) put_string(o, e->code);
    else put_text(o, "null");
    put_text(o, "}");
}
