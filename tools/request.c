/* request.c - the fields of a request, as OpenAI's interface names them -> prompts, sampling, limits.
 *
 *     {"prompt": "Once upon", "max_tokens": 50, "temperature": 0, "stop": ["\n"]}
 *     {"messages": [{"role": "user", "content": "Hello"}], "seed": 7, "n": 2, "logprobs": true}
 *     {"prompt": "A dog: ", "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}}
 *
 * A field that would change the text and is not known here is an error: a text that was written without it
 * would not be what was asked for. null is as if the field were not there.
 * Reference: https://platform.openai.com/docs/api-reference/chat/create and .../completions/create. */
#include "request.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* ---- single fields --------------------------------------------------------------------------- */

/* A text, or an array of at most MOST_STOPS of them. */
static int read_texts(request_reader *k, pith__json v, const char *name, const char ***text, int *n) {
    pith__json item, one = v;
    int is_list = pith__json_type(v) == '[';
    size_t most = is_list ? pith__json_count(v) : 1;
    char why[80];
    snprintf(why, sizeof why, "%s has too many texts, need at most %d", name, MOST_STOPS);
    if (most > MOST_STOPS) return request_refuse(k->e, name, NULL, why);
    *text = pith__arena_new(&k->r->arena, most + 1, sizeof **text);
    if (!*text) return request_no_memory(k->e);
    for (*n = 0; is_list ? pith__json_next(&v, NULL, &item) : !*n; ++*n) {
        if (request_plain(k, is_list ? item : one, name, &(*text)[*n])) return 1;
        if (!*(*text)[*n]) return request_wrong(k->e, is_list ? item : one, name, "texts that are not empty");
    }
    return 0;
}

static int read_stop(request_reader *k, pith__json v) { return read_texts(k, v, "stop", &k->r->stop, &k->r->n_stop); }

static int read_breakers(request_reader *k, pith__json v) {
    const char **text;
    int code = read_texts(k, v, "dry_sequence_breakers", &text, &k->r->how.n_dry_breaker);
    if (!code) k->r->how.dry_breaker = text;
    return code;
}

/* ["top_k", "temperature"], or their letters: "kt". */
static int read_samplers(request_reader *k, pith__json v) {
    enum { ROOM = 32 };
    char *order = pith__arena_new(&k->r->arena, ROOM, 1);
    size_t n = 0;
    pith__json item;
    const char *name;
    if (!order) return request_no_memory(k->e);
    if (pith__json_type(v) == '"') {
        if (request_plain(k, v, "samplers", &name)) return 1;
        if (!are_samplers(name, ROOM)) return request_wrong(k->e, v, "samplers", "letters of samplers, or an array of names");
        strcpy(order, name);
    } else if (pith__json_type(v) != '[') {
        return request_wrong(k->e, v, "samplers", "an array of names");
    } else {
        while (pith__json_next(&v, NULL, &item)) {
            if (request_plain(k, item, "samplers", &name)) return 1;
            if (!*name || pith_samplers(name, order + n, (int)(ROOM - n), NULL))
                return request_wrong(k->e, item, "samplers", "names of samplers, at most 31");
            n += strlen(order + n);
        }
    }
    k->r->how.order = order;
    return 0;
}

/* {"50256": -100}: added to the logits of these tokens. */
static int read_logit_bias(request_reader *k, pith__json v) {
    request *r = k->r;
    int n_vocab = pith_model_shape(k->rules->m)->n_vocab;
    pith__json key, value, at = v;
    size_t n = 0;
    if (pith__json_type(v) != '{') return request_wrong(k->e, v, "logit_bias", "an object of token ids and numbers");
    while (pith__json_next(&at, &key, &value)) n++;
    if (n > MOST_BIASES) return request_refuse(k->e, "logit_bias", NULL, "logit_bias has more than 4096 tokens");
    pith_bias *bias = pith__arena_new(&r->arena, n + 1, sizeof *bias);
    if (!bias) return request_no_memory(k->e);
    r->how.bias = bias, r->how.n_bias = 0;
    while (pith__json_next(&v, &key, &value)) {
        const char *id;
        long long t;
        double x;
        if (request_plain(k, key, "logit_bias", &id)) return 1;
        if (!read_integer(id, 0, n_vocab - 1, &t))
            return request_wrong(k->e, key, "logit_bias", "ids of tokens of the vocabulary");
        if (!pith__json_float(value, &x) || !(fabs(x) <= 100))
            return request_wrong(k->e, value, "logit_bias", "numbers from -100 to 100");
        bias[r->how.n_bias++] = (pith_bias){ (pith_token)t, (float)x };
    }
    return 0;
}

/* true, or how many of the likeliest tokens: the two shapes that they come in. */
static int read_logprobs(request_reader *k, pith__json v) {
    int64_t n;
    char type = pith__json_type(v);
    if (type == 't' || type == 'f') return k->r->logprobs = type == 't' ? CHAT_LOGPROBS : NO_LOGPROBS, 0;
    if (!pith__json_int(v, &n) || n < 0 || n > MOST_TOP)
        return request_wrong(k->e, v, "logprobs", "true, false or a whole number from 0 to 20");
    k->r->logprobs = LIST_LOGPROBS;
    k->r->n_top = (int)n;
    return 0;
}

static int read_seed(request_reader *k, pith__json v) {
    int64_t seed;
    if (!pith__json_int(v, &seed) || seed < 0)
        return request_wrong(k->e, v, "seed", "a whole number from 0 to 9223372036854775807");
    k->r->has_seed = 1;
    k->r->seed = (uint64_t)seed;
    return 0;
}

static int read_model(request_reader *k, pith__json v) { return request_plain(k, v, "model", &k->r->model); }
static int read_prompt(request_reader *k, pith__json v) { return k->prompt = v, 0; }
static int read_messages(request_reader *k, pith__json v) { return k->messages = v, 0; }

static int read_format(request_reader *k, pith__json v) { return k->format = v, 0; }
static int read_gbnf(request_reader *k, pith__json v) { return k->gbnf = v, 0; }
static int read_schema(request_reader *k, pith__json v) { return k->schema = v, 0; }

static int read_effort(request_reader *k, pith__json v) { return k->effort = v, 0; }

static int read_variables(request_reader *k, pith__json v) {
    if (pith__json_type(v) != '{') return request_wrong(k->e, v, "chat_template_kwargs", "an object of variables");
    k->variables = v;
    return 0;
}

static int read_tools(request_reader *k, pith__json v) {
    pith__json item, at = v;
    if (pith__json_type(v) != '[') return request_wrong(k->e, v, "tools", "an array of objects");
    while (pith__json_next(&at, NULL, &item))
        if (pith__json_type(item) != '{') return request_wrong(k->e, item, "tools", "an array of objects");
    if (pith__json_count(v)) k->tools = v;
    return 0;
}

/* Whether the model may call tools; a call cannot be forced. */
static int read_tool_choice(request_reader *k, pith__json v) {
    k->no_tools = pith__json_is(v, "none");
    if (k->no_tools || pith__json_is(v, "auto")) return 0;
    return request_wrong(k->e, v, "tool_choice", "\"auto\" or \"none\": a call is not forced");
}

static int read_top(request_reader *k, pith__json v) {
    if (!pith__json_int(v, &k->top_logprobs) || k->top_logprobs < 0 || k->top_logprobs > MOST_TOP)
        return request_wrong(k->e, v, "top_logprobs", "a whole number from 0 to 20");
    k->has_top = 1;
    return 0;
}

static int read_best_of(request_reader *k, pith__json v) {
    return pith__json_int(v, &k->best_of) ? 0 : request_wrong(k->e, v, "best_of", "a whole number");
}

/* ---- the table of fields --------------------------------------------------------------------- */

enum { FLOAT, INT, READ, TAKEN, NEUTRAL }; /* a number of r->how; read by a function; ignored; has one value only */

typedef struct {
    const char *name;
    int kind;
    size_t at;           /* FLOAT and INT: in request */
    double min, max;
    const char *need;    /* in words */
    int (*read)(request_reader *k, pith__json v);
} field;

#define HOW(f) offsetof(request, how.f)
#define ONE_OR_MORE 1, INT32_MAX, "a whole number from 1 to 2147483647"
static const field fields[] = {
    { "prompt", READ, 0, 0, 0, NULL, read_prompt },
    { "messages", READ, 0, 0, 0, NULL, read_messages },
    { "max_tokens", INT, offsetof(request, n_predict), ONE_OR_MORE, NULL },
    { "max_completion_tokens", INT, offsetof(request, n_completion), ONE_OR_MORE, NULL },
    { "n", INT, offsetof(request, n), 1, MOST_TEXTS, "a whole number from 1 to 1024", NULL },
    { "best_of", READ, 0, 0, 0, NULL, read_best_of },
    { "seed", READ, 0, 0, 0, NULL, read_seed },
    { "stop", READ, 0, 0, 0, NULL, read_stop },
    { "temperature", FLOAT, HOW(temperature), 0, 1e6, "a number from 0 to 1000000", NULL },
    { "top_p", FLOAT, HOW(top_p), 1e-30, 1, "a number over 0 and up to 1", NULL },
    { "top_k", INT, HOW(top_k), -1, INT32_MAX, "a whole number from -1 to 2147483647", NULL },
    { "min_p", FLOAT, HOW(min_p), 0, 1, "a number from 0 to 1", NULL },
    { "repeat_penalty", FLOAT, HOW(repeat_penalty), 0.01, 100, "a number from 0.01 to 100", NULL },
    { "repetition_penalty", FLOAT, HOW(repeat_penalty), 0.01, 100, "a number from 0.01 to 100", NULL },
    { "repeat_last_n", INT, HOW(repeat_last_n), -1, INT32_MAX, "a whole number from -1 to 2147483647", NULL },
    { "frequency_penalty", FLOAT, HOW(frequency_penalty), -100, 100, "a number from -100 to 100", NULL },
    { "presence_penalty", FLOAT, HOW(presence_penalty), -100, 100, "a number from -100 to 100", NULL },
    { "typical_p", FLOAT, HOW(typical_p), 0, 1, "a number from 0 to 1", NULL },
    { "top_n_sigma", FLOAT, HOW(top_n_sigma), -1, 1000, "a number from -1 to 1000", NULL },
    { "xtc_probability", FLOAT, HOW(xtc_probability), 0, 1, "a number from 0 to 1", NULL },
    { "xtc_threshold", FLOAT, HOW(xtc_threshold), 0, 1, "a number from 0 to 1", NULL },
    { "dynatemp_range", FLOAT, HOW(dynatemp_range), 0, 1e6, "a number from 0 to 1000000", NULL },
    { "dynatemp_exponent", FLOAT, HOW(dynatemp_exponent), 0, 100, "a number from 0 to 100", NULL },
    { "dry_multiplier", FLOAT, HOW(dry_multiplier), 0, 100, "a number from 0 to 100", NULL },
    { "dry_base", FLOAT, HOW(dry_base), 0, 100, "a number from 0 to 100", NULL },
    { "dry_allowed_length", INT, HOW(dry_allowed_length), 0, INT32_MAX, "a whole number from 0 to 2147483647", NULL },
    { "dry_penalty_last_n", INT, HOW(dry_last_n), -1, INT32_MAX, "a whole number from -1 to 2147483647", NULL },
    { "dry_sequence_breakers", READ, 0, 0, 0, NULL, read_breakers },
    { "mirostat", INT, HOW(mirostat), 0, 2, "a whole number from 0 to 2", NULL },
    { "mirostat_tau", FLOAT, HOW(mirostat_tau), 0, 100, "a number from 0 to 100", NULL },
    { "mirostat_eta", FLOAT, HOW(mirostat_eta), 0, 100, "a number from 0 to 100", NULL },
    { "adaptive_target", FLOAT, HOW(adaptive_target), -1, 1, "a number from -1 to 1", NULL },
    { "adaptive_decay", FLOAT, HOW(adaptive_decay), 0, 0.99, "a number from 0 to 0.99", NULL },
    { "samplers", READ, 0, 0, 0, NULL, read_samplers },
    { "min_keep", INT, HOW(min_keep), 0, INT32_MAX, "a whole number from 0 to 2147483647", NULL },
    { "logit_bias", READ, 0, 0, 0, NULL, read_logit_bias },
    { "logprobs", READ, 0, 0, 0, NULL, read_logprobs },
    { "top_logprobs", READ, 0, 0, 0, NULL, read_top },
    { "model", READ, 0, 0, 0, NULL, read_model },
    { "response_format", READ, 0, 0, 0, NULL, read_format },
    { "grammar", READ, 0, 0, 0, NULL, read_gbnf },
    { "json_schema", READ, 0, 0, 0, NULL, read_schema },
    /* These say who asks, or how the work is to be done, not what comes of it. */
    { .name = "id", .kind = TAKEN }, { .name = "custom_id", .kind = TAKEN }, { .name = "user", .kind = TAKEN },
    { .name = "metadata", .kind = TAKEN }, { .name = "store", .kind = TAKEN }, { .name = "service_tier", .kind = TAKEN },
    { .name = "safety_identifier", .kind = TAKEN }, { .name = "prompt_cache_key", .kind = TAKEN },
    { .name = "prompt_cache_retention", .kind = TAKEN }, { .name = "prediction", .kind = TAKEN },
    { .name = "parallel_tool_calls", .kind = TAKEN }, { .name = "stream_options", .kind = TAKEN },
    { .name = "stream", .kind = NEUTRAL, .need = "false: the answer comes whole" },
    { .name = "echo", .kind = NEUTRAL, .need = "false: the prompt is not said again (but run score scores it)" },
    { .name = "suffix", .kind = NEUTRAL, .need = "none: a text is written from its beginning on" },
    { .name = "modalities", .kind = NEUTRAL, .need = "[\"text\"]" },
    { "tools", READ, 0, 0, 0, NULL, read_tools },
    { "tool_choice", READ, 0, 0, 0, NULL, read_tool_choice },
    { "chat_template_kwargs", READ, 0, 0, 0, NULL, read_variables },
    { "reasoning_effort", READ, 0, 0, 0, NULL, read_effort },
    { .name = "functions", .kind = NEUTRAL, .need = "none" },
    { .name = "function_call", .kind = NEUTRAL, .need = "\"none\"" },
    { .name = "audio", .kind = NEUTRAL, .need = "none" },
};
#undef HOW
#undef ONE_OR_MORE
enum { N_FIELD = sizeof fields / sizeof *fields };

static int unknown_field(request_reader *k, pith__json key) {
    char text[160];
    const char *name, *near = NULL;
    if (request_plain(k, key, "a field's name", &name)) return 1;
    for (int i = 0; i < N_FIELD && !near; i++)
        if (is_near(name, fields[i].name)) near = fields[i].name;
    if (near) snprintf(text, sizeof text, "no field '%.40s' is known, is it '%s'?", name, near);
    else snprintf(text, sizeof text, "no field '%.40s' is known, and without it the text might be another", name);
    return request_refuse(k->e, name, "unknown_parameter", text);
}

static int read_field(request_reader *k, const field *f, pith__json v) {
    char *at = (char *)k->r + f->at;
    int64_t i;
    double x;
    switch (f->kind) {
    case FLOAT:
        if (!pith__json_float(v, &x) || !(x >= f->min && x <= f->max)) return request_wrong(k->e, v, f->name, f->need);
        *(float *)(void *)at = (float)x;
        return 0;
    case INT:
        if (!pith__json_int(v, &i) || (double)i < f->min || (double)i > f->max)
            return request_wrong(k->e, v, f->name, f->need);
        *(int *)(void *)at = (int)i;
        return 0;
    case READ: return f->read(k, v);
    case NEUTRAL: return request_neutral(v) ? 0 : request_wrong(k->e, v, f->name, f->need);
    default: return 0;
    }
}

static int read_fields(request_reader *k, pith__json object) {
    pith__json key, value;
    while (pith__json_next(&object, &key, &value)) {
        int i = 0;
        if (pith__json_type(value) == 'n') continue;
        while (i < N_FIELD && !pith__json_is(key, fields[i].name)) i++;
        if (i == N_FIELD ? unknown_field(k, key) : read_field(k, &fields[i], value)) return 1;
    }
    return 0;
}

/* ---- what a text has to be ------------------------------------------------------------------- */

/* The grammar of a JSON Schema, or what GBNF says; name: the field that asks for it. */
static int make_grammar(request_reader *k, const char *name, pith__str text, int is_schema) {
    pith_error err = { 0, "" };
    if (k->r->grammar)
        return request_refuse(k->e, name, NULL, "has two of response_format, grammar and json_schema, need one of them");
    k->r->grammar = is_schema ? pith_grammar_schema(text.p, text.n, &err) : pith_grammar_new(text.p, text.n, &err);
    if (k->r->grammar && !pith_grammar_fits(k->r->grammar, k->rules->m, &err)) return 0;
    if (err.code == PITH_EMEMORY) return request_no_memory(k->e);
    return request_refuse(k->e, name, is_schema ? "invalid_schema" : "invalid_grammar", err.text);
}

/* {"type": "json_schema", "json_schema": {"schema": {...}}}; "json_object" is any object, or (llama.cpp's) one of a
 * schema beside it. */
static int make_format(request_reader *k, pith__json v) {
    static const char name[] = "response_format";
    pith__json type = pith__json_get(v, "type"), schema = pith__json_get(v, "schema");
    int is_schema = pith__json_is(type, "json_schema");
    if (pith__json_is(type, "text")) return 0;
    if (!is_schema && !pith__json_is(type, "json_object"))
        return request_wrong(k->e, type.p ? type : v, name, "the type \"text\", \"json_object\" or \"json_schema\"");
    if (is_schema) schema = pith__json_get(pith__json_get(v, "json_schema"), "schema");
    if (is_schema && !schema.p) return request_wrong(k->e, v, name, "\"json_schema\": {\"schema\": {...}}");
    return make_grammar(k, name, schema.p ? pith__json_raw(schema) : pith__str_of("{\"type\": \"object\"}"), 1);
}

static int make_grammars(request_reader *k) {
    pith__str text;
    if (k->format.p && make_format(k, k->format)) return 1;
    if (k->schema.p && make_grammar(k, "json_schema", pith__json_raw(k->schema), 1)) return 1;
    if (!k->gbnf.p) return 0;
    return request_text(k->gbnf, "grammar", &k->r->arena, &text, k->e) || make_grammar(k, "grammar", text, 0);
}

/* ---- the whole request ----------------------------------------------------------------------- */

static int read_whole(request_reader *k, pith__json fields_of) {
    request *r = k->r;
    if (pith__json_type(fields_of) != '{') return request_wrong(k->e, fields_of, "the request", "an object");
    if (read_fields(k, fields_of)) return 1;
    if (!k->prompt.p == !k->messages.p)
        return request_refuse(k->e, k->prompt.p ? "messages" : "prompt", "missing_required_parameter",
                           k->prompt.p ? "has both a prompt and messages, need one of them"
                                       : "has neither a prompt nor messages");
    if (k->best_of && k->best_of != r->n)
        return request_refuse(k->e, "best_of", NULL, "best_of is not n: all texts are given");
    if (k->has_top && r->logprobs != CHAT_LOGPROBS)
        return request_refuse(k->e, "top_logprobs", NULL, "top_logprobs needs \"logprobs\": true");
    if (k->has_top) r->n_top = (int)k->top_logprobs;
    if (r->how.top_k < 0) r->how.top_k = 0; /* off, by another name */
    r->is_chat = k->messages.p != NULL;
    if (r->is_chat && r->logprobs == LIST_LOGPROBS)
        return request_refuse(k->e, "logprobs", NULL, "logprobs is a number, need true or false and top_logprobs");
    if (r->n_completion) r->n_predict = r->n_completion;
    if (k->no_tools) k->tools.p = NULL;
    const char *of_chat = k->tools.p ? "tools" : k->variables.p ? "chat_template_kwargs"
                        : k->effort.p && !request_neutral(k->effort) ? "reasoning_effort" : NULL;
    if (!r->is_chat && of_chat)
        return request_refuse(k->e, of_chat, NULL, "tools, chat_template_kwargs and reasoning_effort need messages");
    if (make_grammars(k) || (r->is_chat ? request_chat(k) : request_prompts(k))) return 1;
    if ((int64_t)r->n * r->n_prompt > MOST_TEXTS)
        return request_refuse(k->e, "n", NULL, "n texts of each prompt are more than 1024 in all");
    if (r->has_seed && r->seed > (uint64_t)(INT64_MAX - ((int64_t)r->n * r->n_prompt - 1)))
        return request_refuse(k->e, "seed", NULL, "the texts from seed on need seeds beyond 9223372036854775807");
    return 0;
}

int request_read(request *r, const request_rules *rules, pith__json fields_of, request_error *e) {
    request_reader k = { .r = r, .rules = rules, .e = e };
    memset(e, 0, sizeof *e);
    *r = (request){ .how = rules->how, .n_predict = rules->n_predict, .n = 1 };
    int bad = read_whole(&k, fields_of);
    if (bad) request_free(r);
    return bad;
}

void request_free(request *r) {
    pith_grammar_free(r->grammar);
    pith__arena_free(&r->arena);
    memset(r, 0, sizeof *r);
}

int request_is_chat(pith__json fields_of) { return pith__json_get(fields_of, "messages").p != NULL; }

int request_texts(pith__json fields_of) {
    pith__json prompt = pith__json_get(fields_of, "prompt"), first = { NULL, NULL }, at = prompt;
    int64_t n = 1;
    if (!pith__json_int(pith__json_get(fields_of, "n"), &n) || n < 1 || n > MOST_TEXTS) n = 1;
    if (pith__json_type(prompt) == '[') pith__json_next(&at, NULL, &first);
    char type = pith__json_type(first);
    size_t n_prompt = type == '"' || type == '[' ? pith__json_count(prompt) : 1;
    return n_prompt <= MOST_TEXTS && n * (int64_t)n_prompt <= MOST_TEXTS ? (int)(n * (int64_t)n_prompt) : 1;
}
