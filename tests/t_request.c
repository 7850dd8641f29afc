/* t_request.c - the fields of a request: what they become, and what is refused by name. The model is the one that
 * is built in, its conversations are written as ChatML. */
#include "../tools/request.h"
#include "test.h"

#include <stdlib.h>

static pith_model *model;
static request_rules rules;
static request r;
static request_error e;

static void set_up(void) {
    size_t size;
    const void *p = bundled_model(&size);
    model = pith_open_memory(p, size, &(pith_options){ .chat_template = "chatml" }, NULL);
    if (!model) puts("Bail out! no model"), exit(1);
    rules = (request_rules){ .m = model, .how = pith_sampling_default(model), .n_predict = 77, .n_ctx = 512 };
}

/* 0, or the request is refused. */
static int read_request(const char *text) {
    pith__json j;
    pith_error err;
    request_free(&r);
    if (pith__json_read(&j, text, strlen(text), "test", &err)) return FAIL("%s: %s", text, err.text), -1;
    int bad = request_read(&r, &rules, j, &e);
    if (bad != (e.error.code != 0)) FAIL("%s: %d, but code %d", text, bad, e.error.code);
    if (bad && (r.prompt || r.arena.chunk)) FAIL("%s: something is left", text);
    return bad;
}

static void refused(const char *text, const char *param, const char *words) {
    if (!read_request(text)) FAIL("%s is taken", text);
    else if (strcmp(e.param, param) != 0 || !strstr(e.error.text, words) || e.error.code != PITH_EDATA)
        FAIL("%s: %s of '%s': %s", text, e.code ? e.code : "no code", e.param, e.error.text);
}

static void taken(const char *text) {
    if (read_request(text)) FAIL("%s: %s", text, e.error.text);
}

static int same_prompt(int i, const char *text) {
    pith_token t[512];
    int n = pith_encode(model, text, strlen(text), PITH_BOS, t, 512);
    return i < r.n_prompt && r.prompt[i].n == n && !memcmp(r.prompt[i].t, t, (size_t)n * sizeof *t);
}

/* ---- what they become -------------------------------------------------------------------------- */

TEST(what_is_not_said_is_as_the_rules_say) {
    taken("{\"prompt\": \"Once upon a time\"}");
    CHECK(same_prompt(0, "Once upon a time") && r.n_prompt == 1 && !r.is_chat);
    CHECK(r.n == 1 && r.n_predict == 77 && !r.has_seed && !r.n_stop && r.logprobs == NO_LOGPROBS && !r.model);
    CHECK(!memcmp(&r.how, &rules.how, sizeof r.how));
    taken("{\"prompt\": \"Once upon a time\", \"max_tokens\": null, \"seed\": null, \"stop\": null, \"stream\": null, \"x\": null}");
    CHECK(r.n_predict == 77 && !r.has_seed);
}

TEST(what_is_said_counts) {
    taken("{\"max_tokens\": 5, \"temperature\": 0.25, \"top_p\": 0.5, \"top_k\": 7, \"min_p\": 0.125, \"seed\": 9223372036854775805,"
          "\"n\": 3, \"repeat_penalty\": 1.5, \"repeat_last_n\": -1, \"frequency_penalty\": -0.5, \"presence_penalty\": 2,"
          "\"stop\": [\"a\\n\", \"b\"], \"logit_bias\": {\"7\": -100, \"9\": 1.5}, \"logprobs\": 3, \"model\": \"m\", \"prompt\": \"x\"}");
    CHECK(r.n_predict == 5 && r.how.temperature == 0.25f && r.how.top_p == 0.5f && r.how.top_k == 7 && r.how.min_p == 0.125f);
    CHECK(r.has_seed && r.seed == INT64_MAX - 2 && r.n == 3 && r.how.repeat_penalty == 1.5f && r.how.repeat_last_n == -1);
    CHECK(r.how.frequency_penalty == -0.5f && r.how.presence_penalty == 2);
    CHECK(r.n_stop == 2 && !strcmp(r.stop[0], "a\n") && !strcmp(r.stop[1], "b"));
    CHECK(r.how.n_bias == 2 && r.how.bias[0].token == 7 && r.how.bias[0].bias == -100 && r.how.bias[1].bias == 1.5f);
    CHECK(r.logprobs == LIST_LOGPROBS && r.n_top == 3 && !strcmp(r.model, "m"));
    taken("{\"prompt\": \"x\", \"typical_p\": 0.5, \"top_n_sigma\": 1.5, \"xtc_probability\": 0.25, \"xtc_threshold\": 0.125,"
          "\"dynatemp_range\": 0.75, \"dynatemp_exponent\": 2, \"dry_multiplier\": 0.5, \"dry_base\": 1.5, \"dry_allowed_length\": 3,"
          "\"dry_penalty_last_n\": -1, \"dry_sequence_breakers\": [\"\\n\", \"ab\"], \"mirostat\": 2, \"mirostat_tau\": 4, \"min_keep\": 2,"
          "\"mirostat_eta\": 0.25, \"adaptive_target\": 0.5, \"adaptive_decay\": 0.75, \"samplers\": [\"top-k\", \"temperature\"]}");
    CHECK(r.how.typical_p == 0.5f && r.how.top_n_sigma == 1.5f && r.how.xtc_probability == 0.25f && r.how.xtc_threshold == 0.125f);
    CHECK(r.how.dynatemp_range == 0.75f && r.how.dynatemp_exponent == 2 && r.how.dry_multiplier == 0.5f && r.how.dry_base == 1.5f);
    CHECK(r.how.dry_allowed_length == 3 && r.how.dry_last_n == -1 && r.how.n_dry_breaker == 2 && !strcmp(r.how.dry_breaker[1], "ab"));
    CHECK(r.how.mirostat == 2 && r.how.mirostat_tau == 4 && r.how.mirostat_eta == 0.25f && r.how.min_keep == 2);
    CHECK(r.how.adaptive_target == 0.5f && r.how.adaptive_decay == 0.75f && !strcmp(r.how.order, "kt"));
    taken("{\"prompt\": \"x\", \"samplers\": \"edskypmxta\", \"dry_sequence_breakers\": []}");
    CHECK(!strcmp(r.how.order, "edskypmxta") && r.how.n_dry_breaker == 0);
    taken("{\"prompt\": \"x\", \"samplers\": []}");
    CHECK(r.how.order && !*r.how.order);
    taken("{\"prompt\": \"x\", \"logprobs\": true, \"top_logprobs\": 2, \"stop\": \"end\", \"top_k\": -1}");
    CHECK(r.logprobs == CHAT_LOGPROBS && r.n_top == 2 && r.n_stop == 1 && !strcmp(r.stop[0], "end") && r.how.top_k == 0);
    taken("{\"prompt\": \"x\", \"repetition_penalty\": 1.25, \"max_completion_tokens\": 6, \"max_tokens\": 5}");
    CHECK(r.how.repeat_penalty == 1.25f);
    EQ(r.n_predict, 6);
    taken("{\"prompt\": \"x\", \"n\": 1, \"n\": 2}"); /* as in Python */
    EQ(r.n, 2);
}

TEST(prompts_of_all_kinds) {
    taken("{\"prompt\": [\"One\", \"Two \\u00e9\"], \"n\": 2}");
    CHECK(r.n_prompt == 2 && same_prompt(0, "One") && same_prompt(1, "Two \xc3\xa9"));
    taken("{\"prompt\": [5, 6, 7]}");
    CHECK(r.n_prompt == 1 && r.prompt[0].n == 3 && r.prompt[0].t[2] == 7); /* as they are: without BOS */
    taken("{\"prompt\": [[5], [6, 7]]}");
    CHECK(r.n_prompt == 2 && r.prompt[0].n == 1 && r.prompt[1].n == 2 && r.prompt[1].t[1] == 7);
    taken("{\"prompt\": \"\"}"); /* as run -i "": what the model begins a text with */
    CHECK(r.prompt[0].n == 1 && r.prompt[0].t[0] == pith_model_shape(model)->bos);
    taken("{\"prompt\": \"a\\u0000b\"}");
    CHECK(r.prompt[0].n >= 3);
    refused("{\"prompt\": []}", "prompt", "need a text");
    refused("{\"prompt\": [[]]}", "prompt", "need a text");
    refused("{\"prompt\": [\"a\", 5]}", "prompt", "need a string");
    refused("{\"prompt\": [5, -1]}", "prompt", "-1");
    refused("{\"prompt\": [5, 100000000]}", "prompt", "100000000");
    refused("{\"prompt\": [5, 1.5]}", "prompt", "1.5");
    refused("{\"prompt\": 5}", "prompt", "is 5");
    refused("{\"prompt\": {}}", "prompt", "is {");
    refused("{\"prompt\": \"\\ud800\"}", "prompt", "half a surrogate");
    refused("{}", "prompt", "neither a prompt nor messages");
    refused("{\"prompt\": null}", "prompt", "neither");
    refused("[]", "the request", "an object");
}

TEST(special_tokens_are_read_where_that_is_wanted) {
    taken("{\"prompt\": \"</s>\"}");
    int n = r.prompt[0].n;
    rules.parse_special = 1;
    taken("{\"prompt\": \"</s>\"}");
    rules.parse_special = 0;
    CHECK(n > 2 && r.prompt[0].n == 2 && pith_is_end(model, r.prompt[0].t[1]));
}

TEST(conversations) {
    static const pith_turn turns[] = { { .role = "system", .text = "Be\nkind" }, { .role = "user", .text = "Hi" },
                                       { .role = "assistant", .text = "Ho" }, { .role = "user", .text = "Yes" } };
    pith_token t[512];
    int n = pith_encode_chat(model, turns, 4, t, 512, NULL);
    taken("{\"messages\": [{\"role\": \"developer\", \"content\": [{\"type\": \"text\", \"text\": \"Be\"},"
          "{\"type\": \"text\", \"text\": \"kind\"}]}, {\"content\": \"Hi\", \"role\": \"user\", \"name\": \"Eve\"},"
          "{\"role\": \"assistant\", \"content\": \"Ho\", \"tool_calls\": [], \"refusal\": null}, {\"role\": \"user\", \"content\": \"Yes\"}]}");
    CHECK(r.is_chat && r.n_prompt == 1 && r.prompt[0].n == n && !memcmp(r.prompt[0].t, t, (size_t)n * sizeof *t));
    refused("{\"messages\": []}", "messages", "is empty, need one message");
    refused("{\"messages\": \"hi\"}", "messages", "an array of messages");
    refused("{\"messages\": [\"hi\"]}", "messages", "objects");
    refused("{\"messages\": [{\"content\": \"a\"}]}", "messages", "no role");
    refused("{\"messages\": [{\"role\": \"user\"}]}", "content", "has no content");
    refused("{\"messages\": [{\"role\": \"user\", \"content\": null}]}", "content", "has no content");
    refused("{\"messages\": [{\"role\": \"tool\", \"content\": \"a\"}]}", "messages", "role 'tool'");
    refused("{\"messages\": [{\"role\": \"user\", \"content\": \"a\\u0000\"}]}", "content", "NUL");
    refused("{\"messages\": [{\"role\": \"user\", \"content\": \"a\", \"tool_calls\": [{}]}]}", "messages", "\"tool_calls\"");
    refused("{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\"}]}]}", "content", "image_url");
    refused("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"prompt\": \"b\"}", "messages", "both");
    refused("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"logprobs\": 2}", "logprobs", "true or false");
}

/* Everything that a request says to the template, and the two that are said outside of it. */
static const char template[] =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls[0].id }}{% endif %}{% endfor %}"
    "{% if tools %}T{{ tools[0].name }}{% endif %}{% if thinking %}K{{ thinking }}{% endif %}E{{ effort }}{{ reasoning_effort }}"
    "{{ strftime_now('%Y-%m') }}{% if add_generation_prompt %}<go>{% endif %}";

static void says(const char *request_of, const char *text) {
    pith_token t[512];
    taken(request_of);
    int n = pith_encode(model, text, strlen(text), 0, t, 512);
    if (r.n_prompt != 1 || r.prompt[0].n != n || memcmp(r.prompt[0].t, t, (size_t)n * sizeof *t) != 0)
        FAIL("%s: is not %s", request_of, text);
}

#define HI "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]"

TEST(conversations_through_a_template) {
    static const pith_time now = { 2025, 3, 14, 15, 9, 26 };
    pith_template *form = pith_template_new(model, template, sizeof template - 1, "form", NULL);
    REQUIRE(form);
    rules.form = form, rules.now = &now;
    says(HI "}", "<user>HiE2025-03<go>");
    says("{\"messages\": [{\"role\": \"developer\", \"content\": \"Be\"}, {\"content\": \"Hi\", \"role\": \"user\"},"
         "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"id\": \"7\"}]},"
         "{\"role\": \"tool\", \"tool_call_id\": \"7\", \"content\": \"x\"}]}",
         "<system>Be<user>Hi<assistant>7<tool>xE2025-03<go>");
    says(HI ", \"tools\": [{\"name\": \"f\"}], \"tool_choice\": \"auto\"}", "<user>HiTfE2025-03<go>");
    says(HI ", \"tools\": [{\"name\": \"f\"}], \"tool_choice\": \"none\"}", "<user>HiE2025-03<go>");
    says(HI ", \"tools\": []}", "<user>HiE2025-03<go>");
    rules.variables = "{\"thinking\": \"a\", \"effort\": \"b\"}";
    says(HI ", \"chat_template_kwargs\": {\"effort\": \"c\"}, \"reasoning_effort\": \"low\"}", "<user>HiKaEclow2025-03<go>");
    rules.variables = NULL;
    says(HI ", \"chat_template_kwargs\": {\"add_generation_prompt\": false, \"messages\": 5}}", "<user>HiE2025-03");
    refused(HI ", \"chat_template_kwargs\": \"x\"}", "chat_template_kwargs", "an object");
    refused(HI ", \"tools\": {}}", "tools", "an array of objects");
    refused(HI ", \"tools\": [1]}", "tools", "an array of objects");
    refused("{\"messages\": [{\"role\": \"user\"}]}", "content", "has no content");
    refused("{\"messages\": [{\"role\": \"user\", \"content\": \"a\", \"images\": [\"x\"]}]}", "messages", "\"images\"");
    refused("{\"messages\": [{\"role\": \"user\", \"content\": \"\\ud800\"}]}", "content", "half a surrogate");
    pith_template_free(form);
    rules.form = pith_template_new(model, "{{ raise_exception('no: ' + messages[0].role) }}developer", 57, "form", NULL);
    refused("{\"messages\": [{\"role\": \"developer\", \"content\": \"a\"}]}", "messages", "no: developer");
    refused(HI ", \"reasoning_effort\": \"low\"}", "reasoning_effort", "does not read it");
    pith_template_free((pith_template *)(uintptr_t)rules.form);
    rules.form = NULL;
    refused(HI ", \"tools\": [{}]}", "tools", "own chat template");
    refused(HI ", \"chat_template_kwargs\": {}}", "chat_template_kwargs", "chat template");
    refused(HI ", \"reasoning_effort\": \"low\"}", "reasoning_effort", "no chat template");
}

#define P "{\"prompt\": \"x\", "
#define FORMAT(s) P "\"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"name\": \"n\", \"schema\": " s "}}}"

static int obeys(const char *text) { return r.grammar && !pith_grammar_match(r.grammar, text, strlen(text), NULL); }

TEST(what_a_text_has_to_be) {
    taken(P "\"response_format\": {\"type\": \"text\"}, \"grammar\": null}");
    CHECK(!r.grammar);
    taken(P "\"response_format\": {\"type\": \"json_object\"}}");
    CHECK(obeys("{\"a\": [1]}") && !obeys("[1]"));
    taken(P "\"response_format\": {\"type\": \"json_object\", \"schema\": {\"const\": 7}}}");
    CHECK(obeys("7") && !obeys("8"));
    taken(FORMAT("{\"type\": \"boolean\"}"));
    CHECK(obeys("true") && !obeys("1"));
    taken(P "\"json_schema\": {\"enum\": [\"\\u00e9\"]}}");
    CHECK(obeys("\"\xc3\xa9\"") && !obeys("\"e\""));
    taken(P "\"grammar\": \"root ::= \\\"yes\\\" | \\\"no\\\"\"}");
    CHECK(obeys("no") && !obeys("maybe"));
    refused(FORMAT("{\"properties\": {\"a\": {\"type\": \"intger\"}}}"), "response_format", "#/properties/a/type: need");
    CHECK(e.code && !strcmp(e.code, "invalid_schema"));
    refused(FORMAT("5"), "response_format", "schema: #");
    refused(P "\"json_schema\": {\"$ref\": \"#/x\"}}", "json_schema", "schema: #/$ref");
    refused(P "\"grammar\": \"root ::= item\"}", "grammar", "grammar: line 1: rule 'item'");
    refused(P "\"grammar\": {}}", "grammar", "a string");
    refused(P "\"grammar\": \"root ::= [a]\", \"json_schema\": {}}", "grammar", "has two of");
    refused(P "\"response_format\": {\"type\": \"xml\"}}", "response_format", "is \"xml\"");
    refused(P "\"response_format\": \"json_object\"}", "response_format", "need the type");
    refused(P "\"response_format\": {\"type\": \"json_schema\"}}", "response_format", "\"schema\"");
}

/* ---- what is refused --------------------------------------------------------------------------- */

TEST(numbers_out_of_range_are_refused) {
    static const char *const integers[] = { "max_tokens", "max_completion_tokens", "n", "seed", "top_logprobs" };
    static const char *const values[] = { "-1", "1.5", "1e3", "\"5\"", "true", "[]", "9223372036854775808", "1e999" };
    static const char *const reals[] = { "temperature", "top_p", "min_p", "repeat_penalty" };
    static const char *const wrong[] = { "-0.5", "1e999", "\"1\"", "false", "{}", "[1]" };
    char text[200];
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++)
        for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
            snprintf(text, sizeof text, P "\"%s\": %s}", integers[i], values[k]);
            refused(text, integers[i], "need a whole number");
        }
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
            snprintf(text, sizeof text, P "\"%s\": %s}", reals[i], wrong[k]);
            refused(text, reals[i], "need a number");
        }
    refused(P "\"max_tokens\": 0}", "max_tokens", "from 1");
    refused(P "\"max_tokens\": 2147483648}", "max_tokens", "to 2147483647");
    refused(P "\"n\": 0}", "n", "from 1");
    refused(P "\"n\": 1025}", "n", "1024");
    refused("{\"prompt\": [\"a\", \"b\"], \"n\": 600}", "n", "1024 in all");
    refused(P "\"n\": 3, \"seed\": 9223372036854775806}", "seed", "beyond 9223372036854775807");
    refused(P "\"top_p\": 0}", "top_p", "over 0");
    refused(P "\"mirostat\": 3}", "mirostat", "from 0 to 2");
    refused(P "\"typical_p\": 2}", "typical_p", "from 0 to 1");
    refused(P "\"samplers\": [\"tail_free\"]}", "samplers", "names of samplers");
    refused(P "\"samplers\": [\"\"]}", "samplers", "names of samplers");
    refused(P "\"samplers\": \"kz\"}", "samplers", "letters of samplers");
    refused(P "\"samplers\": 5}", "samplers", "an array of names");
    refused(P "\"dry_sequence_breakers\": [\"\"]}", "dry_sequence_breakers", "not empty");
    refused(P "\"logprobs\": 21}", "logprobs", "from 0 to 20");
    refused(P "\"logprobs\": \"yes\"}", "logprobs", "true, false");
    refused(P "\"top_logprobs\": 3}", "top_logprobs", "needs \"logprobs\": true");
    refused(P "\"top_logprobs\": 21, \"logprobs\": true}", "top_logprobs", "from 0 to 20");
}

TEST(lists_that_are_too_long_or_of_other_things_are_refused) {
    char *text = malloc(200000), *p = text + sprintf(text, P "\"stop\": [");
    for (int i = 0; i < 10000; i++) p += sprintf(p, "%s\"%d\"", i ? "," : "", i);
    sprintf(p, "]}");
    refused(text, "stop", "too many");
    p = text + sprintf(text, P "\"logit_bias\": {");
    for (int i = 0; i < 5000; i++) p += sprintf(p, "%s\"%d\": 1", i ? "," : "", i % 100);
    sprintf(p, "}}");
    refused(text, "logit_bias", "more than 4096");
    p = text + sprintf(text, "{\"prompt\": [");
    for (int i = 0; i < 1025; i++) p += sprintf(p, "%s\"a\"", i ? "," : "");
    sprintf(p, "]}");
    refused(text, "prompt", "more than 1024 prompts");
    p = text + sprintf(text, "{\"prompt\": \"");
    for (int i = 0; i < 600; i++) p += sprintf(p, "%d ", i);
    sprintf(p, "\"}");
    refused(text, "prompt", "tokens, the context 512");
    CHECK(e.code && !strcmp(e.code, "context_length_exceeded"));
    free(text);
    refused(P "\"stop\": [\"a\", \"\"]}", "stop", "not empty");
    refused(P "\"stop\": \"\"}", "stop", "not empty");
    refused(P "\"stop\": [5]}", "stop", "a string");
    refused(P "\"stop\": \"a\\u0000\"}", "stop", "NUL");
    refused(P "\"logit_bias\": [1]}", "logit_bias", "an object");
    refused(P "\"logit_bias\": {\"x\": 1}}", "logit_bias", "ids of tokens");
    refused(P "\"logit_bias\": {\"100000000\": 1}}", "logit_bias", "ids of tokens");
    refused(P "\"logit_bias\": {\"5\": 101}}", "logit_bias", "-100 to 100");
    refused(P "\"logit_bias\": {\"5\": \"1\"}}", "logit_bias", "-100 to 100");
}

TEST(what_would_change_the_text_is_refused_by_name) {
    refused(P "\"temprature\": 1}", "temprature", "is it 'temperature'?");
    CHECK(e.code && !strcmp(e.code, "unknown_parameter"));
    refused(P "\"tfs_z\": 0.5}", "tfs_z", "'tfs_z'");
    refused(P "\"stream\": true}", "stream", "need false");
    refused(P "\"echo\": true}", "echo", "need false");
    refused(P "\"suffix\": \"end\"}", "suffix", "need none");
    refused(P "\"best_of\": 3}", "best_of", "is not n");
    refused(P "\"tools\": [{\"type\": \"function\"}]}", "tools", "need messages");
    refused(P "\"chat_template_kwargs\": {\"a\": 1}}", "chat_template_kwargs", "need messages");
    refused(P "\"tool_choice\": \"required\"}", "tool_choice", "a call is not forced");
    refused(P "\"tool_choice\": {\"type\": \"function\"}}", "tool_choice", "a call is not forced");
    refused(P "\"modalities\": [\"text\", \"audio\"]}", "modalities", "need [\"text\"]");
    refused(P "\"reasoning_effort\": \"high\"}", "reasoning_effort", "need messages");
    refused(P "\"\\ud800\": 1}", "a field's name", "half a surrogate");
}

TEST(what_changes_nothing_is_taken) {
    taken(P "\"user\": \"u\", \"metadata\": {\"a\": \"b\"}, \"store\": true, \"service_tier\": \"auto\", \"safety_identifier\": \"s\","
          "\"prompt_cache_key\": \"k\", \"parallel_tool_calls\": true, \"prediction\": {}, \"stream_options\": {}}");
    taken(P "\"stream\": false, \"echo\": false, \"suffix\": \"\", \"best_of\": 2, \"n\": 2, \"response_format\": {\"type\": \"text\"},"
          "\"tools\": [], \"tool_choice\": \"auto\", \"functions\": [], \"reasoning_effort\": \"none\", \"modalities\": [\"text\"]}");
}

TEST(how_many_texts_a_request_asks_for) {
    static const struct { const char *text; int n; } cases[] = {
        { "{\"prompt\": \"a\"}", 1 }, { "{\"prompt\": \"a\", \"n\": 4}", 4 }, { "{\"prompt\": [\"a\", \"b\"], \"n\": 4}", 8 },
        { "{\"prompt\": [1, 2, 3], \"n\": 2}", 2 }, { "{\"prompt\": [[1], [2], [3]]}", 3 }, { "{\"messages\": 1, \"n\": 3}", 3 },
        { "{\"n\": 0}", 1 }, { "{\"n\": \"3\"}", 1 }, { "{\"n\": 4000000000}", 1 }, { "[]", 1 },
        { "{\"prompt\": [\"a\", \"b\"], \"n\": 1000}", 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pith__json j;
        REQUIRE(!pith__json_read(&j, cases[i].text, strlen(cases[i].text), "", NULL));
        EQ(request_texts(j), cases[i].n);
    }
}

int main(void) {
    set_up();
    RUN(what_is_not_said_is_as_the_rules_say);
    RUN(what_is_said_counts);
    RUN(prompts_of_all_kinds);
    RUN(special_tokens_are_read_where_that_is_wanted);
    RUN(conversations);
    RUN(conversations_through_a_template);
    RUN(what_a_text_has_to_be);
    RUN(numbers_out_of_range_are_refused);
    RUN(lists_that_are_too_long_or_of_other_things_are_refused);
    RUN(what_would_change_the_text_is_refused_by_name);
    RUN(what_changes_nothing_is_taken);
    RUN(how_many_texts_a_request_asks_for);
    request_free(&r);
    pith_close(model);
    return DONE();
}
