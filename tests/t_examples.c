/* t_examples.c - rows of JSON to tokens with a mask: kinds of rows, which tokens count, what is cut, left out, held out. */
#include "made_rows.h"
#include "fixture.h"
#include "../tools/show.h"


/* ---- the references of shared/tuning --------------------------------------------------------------- */

static pith_template *template_of(const pith_model *m, const char *path) {
    pith__file f;
    pith_error e = { 0, "" };
    if (!path) return pith_template_new(m, NULL, 0, NULL, &e);
    if (pith__file_open(&f, path, 0, &e)) return NULL;
    pith_template *t = pith_template_new(m, (const char *)f.data, f.size, path, &e);
    if (!t) printf("# %s\n", e.text);
    pith__file_close(&f);
    return t;
}

/* Every line of name.ids, "ids ; mask", against the examples. */
static void same_as(const pith__examples *x, const char *path) {
    FILE *f = fopen(path, "r");
    static char line[1 << 16];
    size_t row = 0;
    REQUIRE(f);
    while (fgets(line, sizeof line, f)) {
        char *p = line;
        if (*line == '#') continue;
        if (row >= x->n_train) { row++; continue; }
        pith__example e = pith__examples_get(x, row++);
        int bad = 0;
        for (int i = 0; i < e.n; i++) bad += (int)strtol(p, &p, 10) != e.t[i];
        bad += strncmp(p, " ; ", 3) != 0;
        p += 3;
        for (int i = 0; i < e.n && !bad; i++) bad += (int)strtol(p, &p, 10) != e.counts[i] && i > 0;
        if (bad || (*p != '\n' && *p)) FAIL("%s: row %zu", path, row);
    }
    EQ(row, x->n_train);
    fclose(f);
}

TEST(tokens_and_masks_of_trl) {
    static const struct { const char *data, *ids; int training, every, prompts; } all[] = {
        { "sft_messages", "sft_messages.assistant", 1, 0, 0 },
        { "sft_messages", "sft_messages.full", 0, 1, 0 },
        { "sft_prompt_completion", "sft_prompt_completion.completion", 0, 0, 0 },
        { "sft_prompt_completion", "sft_prompt_completion.full", 0, 0, 1 },
        { "sft_text", "sft_text.full", 0, 0, 0 },
        { "sft_prompt_completion_text", "sft_prompt_completion_text.completion", 0, 0, 0 },
    };
    static const char *const family[] = { "llama", "qwen2" };
    char base[512], data[512], ids[512], form[512], part[96];
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int k = 0; k < 4; k++) {
        const char *name = family[k / 2];
        pith_error e = { 0, "" };
        snprintf(part, sizeof part, k % 2 ? "tuning/%s/base.gguf" : "tuning/%s/base", name);
        strcpy(base, fixture_shared(part));
        snprintf(part, sizeof part, "tuning/%s/data/training_chat_template.jinja", name);
        strcpy(form, fixture_shared(part));
        pith_model *m = pith_open(base, NULL, &e);
        if (!m) FAIL("%s", e.text);
        for (size_t i = 0; m && i < sizeof all / sizeof *all; i++) {
            pith_template *t = template_of(m, all[i].training ? form : NULL);
            const char *path = data;
            pith__examples x;
            snprintf(part, sizeof part, "tuning/%s/data/%s.jsonl", name, all[i].data);
            strcpy(data, fixture_shared(part));
            snprintf(part, sizeof part, "tuning/%s/data/%s.ids", name, all[i].ids);
            strcpy(ids, fixture_shared(part));
            pith__examples_plan plan = { .train = { &path, 1 }, .form = t, .every_token = all[i].every, .prompts_too = all[i].prompts };
            int code = pith__examples_open(&x, m, &plan, NULL, &e);
            if (code) FAIL("%s", e.text);
            else same_as(&x, ids), pith__examples_close(&x);
            pith_template_free(t);
        }
        pith_close(m);
    }
}

/* ---- kinds of rows ----------------------------------------------------------------------------------- */

#define SAID(text) "{<s>}{<|im_start|>}user\nHi{<|im_end|>}\n{<|im_start|>}assistant\n[" text "{<|im_end|>}]\n"

TEST(kinds_of_rows) {
    IS(chatml, "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\",\"content\":\"Yo\"}]}", SAID("Yo"));
    IS(chatml, "{\"conversations\":[{\"from\":\"human\",\"value\":\"Hi\"},{\"from\":\"gpt\",\"value\":\"Y\\\"o\",\"weight\":1}],\"id\":7}", SAID("Y\"o"));
    IS(chatml, "{\"conversations\":[{\"role\":\"user\",\"content\":\"Hi\"},{\"from\":\"assistant\",\"value\":\"Yo\"}],\"system\":\"\"}", SAID("Yo"));
    IS(chatml, "{\"instruction\":\"Hi\",\"input\":\"\",\"output\":\"Yo\"}", SAID("Yo"));
    IS(chatml, "{\"instruction\":\"Hi\",\"output\":\"Yo\",\"input\":null,\"text\":\"not this\"}", SAID("Yo"));
    IS(chatml, "{\"instruction\":\"Hi\",\"input\":\"x\",\"output\":\"Yo\",\"system\":\"S\"}",
       "{<s>}{<|im_start|>}system\nS{<|im_end|>}\n{<|im_start|>}user\nHi\nx{<|im_end|>}\n{<|im_start|>}assistant\n[Yo{<|im_end|>}]\n");
    IS(chatml, "{\"conversations\":[{\"from\":\"tool\",\"value\":\"7\"},{\"from\":\"bing\",\"value\":\"Yo\"}],\"system\":\"S\"}",
       "{<s>}{<|im_start|>}system\nS{<|im_end|>}\n{<|im_start|>}tool\n7{<|im_end|>}\n{<|im_start|>}assistant\n[Yo{<|im_end|>}]\n");
    IS(chatml, "{\"text\":\" Hi <|im_end|>\\r\\n\"}", "{<s>}[ Hi <|im_end|>\r\n{</s>}]");
    IS(chatml, "{\"text\":\"Hi</s>\"}", "{<s>}[Hi{</s>}]"); /* once */
    IS_WITH(chatml, "{\"text\":\"<s>Hi<|im_end|></s>\"}", "{<s>}[Hi{<|im_end|>}{</s>}]", .parse_special = 1);
    IS(chatml, "{\"prompt\":\"Hi\",\"completion\":\" Yo\",\"text\":5}", "{<s>}Hi[ Yo{</s>}]");
    IS_WITH(chatml, "{\"prompt\":\"Hi\",\"completion\":\" Yo\"}", "{<s>}[Hi Yo{</s>}]", .prompts_too = 1);
    IS(chatml, "{\"prompt\":\"Hi\",\"completion\":\"\"}", "{<s>}Hi[{</s>}]");
    IS(chatml, "{\"prompt\":\"Hi\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\",\"content\":\"Yo\"}]}", SAID("Yo"));
    IS(NULL, "{\"instruction\":\"Hi\",\"input\":\"\",\"output\":\"Yo\"}",
       "{<s>}Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
       "### Instruction:\nHi\n\n### Response:\n[Yo{</s>}]");
    IS(NULL, "{\"instruction\":\"Hi\",\"input\":\"x\",\"output\":\"Yo\"}",
       "{<s>}Below is an instruction that describes a task, paired with an input that provides further context. Write a response "
       "that appropriately completes the request.\n\n### Instruction:\nHi\n\n### Input:\nx\n\n### Response:\n[Yo{</s>}]");
}

TEST(tokens_are_taken_as_they_are) {
    IS(NULL, "{\"input_ids\":[68,69,2,70],\"completion_mask\":[1,0,1,1]}", "AB[{</s>}C]");
    IS(NULL, "{\"input_ids\":[68,69,2],\"labels\":[-100,69,-100],\"attention_mask\":[1,1,1]}", "A[B]{</s>}");
    IS(NULL, "{\"input_ids\":[68,69,70],\"completion_mask\":[0,0,1],\"assistant_masks\":[0,1,1]}", "AB[C]");
    IS(NULL, "{\"input_ids\":[68,69,70],\"assistant_masks\":[false,true,false],\"text\":\"no\"}", "A[B]C");
    IS(NULL, "{\"input_ids\":[68,69]}", "A[B]");
    IS_WITH(NULL, "{\"input_ids\":[68,69,70],\"completion_mask\":[0,0,1]}", "A[BC]", .prompts_too = 1);
}

TEST(variables_go_to_the_template) {
    static const char form[] = "{{ x }}{{ y }}{{ tools|tojson if tools }}{{ strftime_now('%Y') }}{% for m in messages %}{{ m.content }}</s>{% endfor %}";
    static const pith_time now = { 2026, 1, 2, 3, 4, 5 };
    IS_WITH(form, "{\"messages\":[{\"role\":\"assistant\",\"content\":\"Yo\"}],\"chat_template_kwargs\":{\"x\":\"X\"},\"tools\":\"[{\\\"a\\\":1}]\"}",
            "0Y[{\"a\": 1}]2026[Yo{</s>}]", .variables = "{\"x\":0,\"y\":\"Y\"}", .now = &now);
    IS_WITH(form, "{\"prompt\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"completion\":[{\"role\":\"assistant\",\"content\":\"Yo\"}],"
            "\"chat_template_kwargs\":{},\"tools\":[]}", "2026Hi{</s>}[Yo{</s>}]", .now = &now);
}

TEST(a_file_may_have_rows_of_all_kinds) {
    const char *path = rows_file("r.jsonl", "{\"text\":\"a\"}\n\n{\"prompt\":\"b\",\"completion\":\"c\"}\n{\"instruction\":\"d\",\"output\":\"e\"}\n"
                                            "{\"messages\":[{\"role\":\"assistant\",\"content\":\"f\"}]}\n{\"input_ids\":[68,69]}");
    pith_model *m = rows_model(chatml);
    pith_template *t = pith_template_new(m, NULL, 0, NULL, NULL);
    pith__examples x;
    const pith__examples_plan plan = { .train = { &path, 1 }, .form = t };
    REQUIRE(!pith__examples_open(&x, m, &plan, NULL, NULL));
    EQ(x.n_train, 5);
    EQ(x.n_eval, 0);
    pith__example e = pith__examples_get(&x, 1);
    EQ(e.line, 3);
    EQ(e.file, 0);
    pith_token target[10];
    pith__example_targets(&e, target); /* <s> b [c </s>] */
    EQ(e.n, 4);
    EQ(target[0], -1);
    EQ(target[1], BYTES + 'c');
    EQ(target[2], EOS);
    EQ(x.n_token, 3 + 4 + 24 + 15 + 2);
    EQ(x.n_label, 2 + 2 + 2 + 2 + 1);
    pith__examples_close(&x);
    pith_template_free(t);
    pith_close(m);
}

/* ---- what is wrong ------------------------------------------------------------------------------------ */

TEST(a_row_that_is_wrong_is_named) {
    static const char *const wrong[][2] = {
        { "{\"text\":\"a\"}\n{\"text\":\"b\"", "line 2: JSON: byte 11" },
        { "\n5\n", "line 2: the row is 5, need an object" },
        { "{\"question\":\"a\",\"answer\":\"b\"}", "line 1: has \"question\", \"answer\"; need messages" },
        { "{}", "line 1: has no fields" },
        { "{\"prompt\":\"a\"}", "line 1: has prompt without completion" },
        { "{\"prompt\":[{\"role\":\"user\",\"content\":\"a\"}]}", "has prompt without completion" },
        { "{\"completion\":\"a\"}", "has completion without prompt" },
        { "{\"instruction\":\"a\"}", "has instruction without output" },
        { "{\"messages\":[]}", "messages is empty" },
        { "{\"messages\":\"a\"}", "messages is \"a\", need an array of messages" },
        { "{\"messages\":[5]}", "messages[0] is 5, need a message" },
        { "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"content\":\"b\"}]}", "has no messages[1].role" },
        { "{\"messages\":[{\"role\":7,\"content\":\"b\"}]}", "messages[0].role is 7" },
        { "{\"messages\":[{\"role\":\"user\"}]}", "has no messages[0].content" },
        { "{\"messages\":[{\"role\":\"user\",\"content\":{}}]}", "messages[0].content is {}" },
        { "{\"messages\":[{\"role\":\"user\",\"content\":\"\\ud800\"}]}", "messages[0].content has half a surrogate" },
        { "{\"messages\":[{\"role\":\"thief\",\"content\":\"a\"}]}", "line 1: chat template: line 1: the template says: no thief" },
        { "{\"prompt\":[],\"completion\":[]}", "prompt is empty" },
        { "{\"prompt\":[{\"role\":\"user\",\"content\":\"a\"}],\"completion\":\"b\"}", "completion is \"b\", need an array" },
        { "{\"prompt\":\"a\",\"completion\":[]}", "completion is [], need a text" },
        { "{\"text\":1}", "text is 1, need a text" },
        { "{\"text\":\"\\ude00\"}", "text has half a surrogate" },
        { "{\"instruction\":\"a\",\"input\":1,\"output\":\"b\"}", "input is 1" },
        { "{\"conversations\":[]}", "conversations is empty" },
        { "{\"conversations\":[{\"from\":\"cat\",\"value\":\"a\"}]}", "conversations[0].from is \"cat\", need human" },
        { "{\"conversations\":[{\"from\":\"gpt\",\"value\":1}]}", "conversations[0].value is 1" },
        { "{\"conversations\":[{\"value\":\"a\"}]}", "has no conversations[0].from" },
        { "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"tools\":{}}", "tools is {}, need an array" },
        { "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"chat_template_kwargs\":5}", "chat_template_kwargs is 5" },
        { "{\"input_ids\":[1,300]}", "input_ids[1] is 300, need 0 to 263" },
        { "{\"input_ids\":[1,1.5]}", "input_ids[1] is 1.5" },
        { "{\"input_ids\":\"a\"}", "input_ids is \"a\"" },
        { "{\"input_ids\":[1,2],\"completion_mask\":[1]}", "completion_mask has 1 values, input_ids 2" },
        { "{\"input_ids\":[1,2],\"completion_mask\":[0,2]}", "completion_mask[1] is 2, need 0 or 1" },
        { "{\"input_ids\":[1,2],\"labels\":[1,3]}", "labels[1] is 3, need the token" },
    };
    static const char form[] = "{% for m in messages %}{% if m.role == 'thief' %}{{ raise_exception('no thief') }}{% endif %}{{ m.content }}{% endfor %}";
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) WRONG(form, wrong[i][0], wrong[i][1]);
    WRONG(NULL, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}", "line 1: has messages, and the model no chat template; --chat");
    WRONG(form, "", "is empty");
    WRONG(form, "\n\n", "has no rows");
    WRONG(form, "[{\"text\":\"a\"},{\"tex\":1}]", "item 2: has \"tex\"");
    WRONG(form, "[]", "has no rows");
    WRONG(form, "prose, not JSON", "line 1: JSON: byte 0");
}

/* ---- spellings ---------------------------------------------------------------------------------------- */

static int open_with(pith__examples *x, const char *name, const char *text, pith__examples_plan plan) {
    pith_error e = { 0, "" };
    const char *path = rows_file(name, text);
    pith_model *m = rows_model(chatml);
    pith_template *t = pith_template_new(m, NULL, 0, NULL, NULL);
    plan.train = (pith__texts){ &path, 1 };
    plan.form = t;
    int code = pith__examples_open(x, m, &plan, NULL, &e);
    if (code) printf("# %s\n", e.text);
    pith_template_free(t);
    pith_close(m);
    return code;
}

TEST(the_same_rows_in_five_spellings) {
    static const char *const text[][2] = {
        { "a.jsonl", "{\"text\":\"one\"}\n{\"prompt\":\"t\",\"completion\":\"wo\"}\n" },
        { "b.JSONL", "\xef\xbb\xbf{\"text\":\"one\"}\r\n\r\n{\"prompt\":\"t\",\"completion\":\"wo\"}\r\n" },
        { "c.json", "[{\"text\":\"one\"},\n{\"prompt\":\"t\",\"completion\":\"wo\"}]" },
        { "d.txt", "{\"text\":\"\\u006fne\"}\n  \n  {\"completion\":\"wo\",  \"prompt\":\"t\"}" },
        { "e", "\xef\xbb\xbf [\r\n{\"text\":\"one\"},{\"prompt\":\"t\",\"completion\":\"wo\",\"id\":5}]\r\n" },
    };
    uint64_t key = 0;
    for (int i = 0; i < 5; i++) {
        pith__examples x;
        REQUIRE(!open_with(&x, text[i][0], text[i][1], (pith__examples_plan){ .max_length = 0 }));
        EQ(x.n_train, 2);
        CHECK(i == 0 || x.key == key);
        key = x.key;
        pith__examples_close(&x);
    }
    pith__examples x;
    REQUIRE(!open_with(&x, "f", text[0][1], (pith__examples_plan){ .prompts_too = 1 }));
    CHECK(x.key != key); /* another mask is another training */
    pith__examples_close(&x);
}

/* ---- what is cut, left out, held out ------------------------------------------------------------------- */

TEST(long_examples_are_cut) {
    static const char rows[] = "{\"text\":\"abc\"}\n{\"prompt\":\"abc\",\"completion\":\"defg\"}\n{\"prompt\":\"abcdefgh\",\"completion\":\"i\"}\n";
    pith__examples x;
    IS_WITH(NULL, "{\"prompt\":\"abc\",\"completion\":\"defg\"}", "{<s>}abc[de]", .max_length = 6); /* without its end token */
    IS_WITH(NULL, "{\"prompt\":\"abc\",\"completion\":\"defg\"}", "c[defg{</s>}]", .max_length = 6, .keep_end = 1);
    IS_WITH(NULL, "{\"prompt\":\"abc\",\"completion\":\"defg\"}", "f[g{</s>}]", .max_length = 3, .keep_end = 1);
    REQUIRE(!open_with(&x, "r", rows, (pith__examples_plan){ .max_length = 6 }));
    EQ(x.n_train, 2);
    EQ(x.cut.n, 2);
    EQ(x.cut.line, 2);
    EQ(x.skipped.n, 1); /* nothing of its completion is left */
    EQ(x.skipped.line, 3);
    EQ(x.longest, 6);
    pith__examples_close(&x);
    REQUIRE(!open_with(&x, "r", rows, (pith__examples_plan){ .max_length = 11 }));
    EQ(x.cut.n, 0);
    EQ(x.longest, 11);
    pith__examples_close(&x);
}

/* What run pretrain makes has read texts with BOS between them, and no EOS. */
TEST(a_text_ends_as_the_model_learned_that_texts_end) {
    rows_vocab.end[0] = 1, rows_vocab.n_end = 1;
    IS_WITH(NULL, "{\"text\":\"abc\"}", "{<s>}[abc{<s>}]", .max_length = 0);
    IS_WITH(NULL, "{\"prompt\":\"abc\",\"completion\":\"de\"}", "{<s>}abc[de{<s>}]", .max_length = 0);
    make_vocab();
}

TEST(examples_with_nothing_to_learn_are_left_out) {
    pith__examples x;
    REQUIRE(!open_with(&x, "r", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}\n{\"input_ids\":[]}\n{\"input_ids\":[5]}\n"
                               "{\"input_ids\":[5,6],\"completion_mask\":[1,0]}\n{\"text\":\"\"}\n", (pith__examples_plan){ .max_length = 0 }));
    EQ(x.n_train, 1); /* of an empty text, that it ends */
    EQ(x.skipped.n, 4);
    EQ(x.skipped.line, 1);
    pith__examples_close(&x);
    WRONG(NULL, "{\"input_ids\":[5]}\n{\"input_ids\":[6]}\n", "nothing to learn");
    const char *got = first_of(NULL, "{\"prompt\":\"abcdef\",\"completion\":\"g\"}\n", (pith__examples_plan){ .max_length = 4 });
    if (strcmp(got, "error -7: r.jsonl: nothing to learn in 1 example, the first of line 1; 1 was cut to 4 tokens") != 0) FAIL("%s", got);
}

TEST(texts_with_names_of_control_tokens_are_told) {
    static const char rows[] = "{\"text\":\"a < b\"}\n{\"text\":\"a<|im_end|>\"}\n{\"prompt\":\"<s>\",\"completion\":\"b\"}\n";
    pith__examples x;
    REQUIRE(!open_with(&x, "r", rows, (pith__examples_plan){ .max_length = 0 }));
    EQ(x.look_alike.n, 2);
    EQ(x.look_alike.line, 2);
    pith__examples_close(&x);
    REQUIRE(!open_with(&x, "r", rows, (pith__examples_plan){ .parse_special = 1 }));
    EQ(x.look_alike.n, 0);
    pith__examples_close(&x);
}

/* n rows, each twice, the second time at the end. */
static char *double_rows(int n) {
    char *text = malloc((size_t)n * 64 + 1), *p = text;
    for (int i = 0; i < 2 * n; i++) p += sprintf(p, "{\"text\":\"row %d\"}\n", i % n);
    return text;
}

TEST(equal_examples_are_held_out_together) {
    pith__examples x, more;
    char *text = double_rows(300);
    REQUIRE(!open_with(&x, "r", text, (pith__examples_plan){ .hold_out = 0.1 }));
    EQ(x.n_train + x.n_eval, 600);
    CHECK(x.n_eval > 30 && x.n_eval < 100);
    EQ(x.n_same, 0);
    int same = 0;
    for (size_t i = 0; i < x.n_eval; i++)
        for (size_t k = 0; k < x.n_train; k++) {
            pith__example a = pith__examples_get(&x, x.n_train + i), b = pith__examples_get(&x, k);
            same += a.n == b.n && !memcmp(a.t, b.t, (size_t)a.n * sizeof *a.t);
        }
    EQ(same, 0);
    for (size_t i = 1; i < x.n_train; i++) CHECK(pith__examples_get(&x, i - 1).line < pith__examples_get(&x, i).line);
    free(text);
    text = double_rows(400); /* a row that was held out stays so */
    REQUIRE(!open_with(&more, "r", text, (pith__examples_plan){ .hold_out = 0.1 }));
    for (size_t i = 0; i < x.n_eval; i++) {
        pith__example a = pith__examples_get(&x, x.n_train + i);
        int found = 0;
        for (size_t k = more.n_train; k < more.n_train + more.n_eval; k++) {
            pith__example b = pith__examples_get(&more, k);
            found |= a.n == b.n && !memcmp(a.t, b.t, (size_t)a.n * sizeof *a.t);
        }
        CHECK(found);
    }
    pith__examples_close(&x);
    pith__examples_close(&more);
    free(text);
}

TEST(few_examples_are_held_out_too) {
    pith__examples x;
    for (int n = 2; n < 12; n++) {
        char *text = double_rows(n);
        REQUIRE(!open_with(&x, "r", text, (pith__examples_plan){ .hold_out = 0.01 }));
        EQ(x.n_eval, 2);
        EQ(x.n_train, 2 * n - 2);
        pith__examples_close(&x);
        REQUIRE(!open_with(&x, "r", text, (pith__examples_plan){ .hold_out = 0.999 }));
        CHECK(x.n_train > 0 && x.n_eval > 0);
        pith__examples_close(&x);
        free(text);
    }
    REQUIRE(!open_with(&x, "r", "{\"text\":\"a\"}\n{\"text\":\"a\"}\n", (pith__examples_plan){ .hold_out = 0.5 }));
    EQ(x.n_train, 2);
    EQ(x.n_eval, 0);
    pith__examples_close(&x);
}

TEST(a_file_of_its_own_is_held_out) {
    pith__examples x;
    pith_error e = { 0, "" };
    pith_model *m = rows_model(NULL);
    const char *train[] = { rows_file("a", "{\"text\":\"a\"}\n{\"text\":\"b\"}\n"), rows_file("b", "{\"text\":\"c\"}\n") };
    const char *eval[] = { rows_file("c", "{\"text\":\"b\"}\n{\"text\":\"d\"}\n{\"text\":\"b\"}\n") };
    pith__examples_plan plan = { .train = { train, 2 }, .eval = { eval, 1 }, .hold_out = 0.5 };
    REQUIRE(!pith__examples_open(&x, m, &plan, NULL, &e));
    EQ(x.n_train, 3);
    EQ(x.n_eval, 3);
    EQ(x.n_same, 2);
    EQ(pith__examples_get(&x, 2).file, 1);
    EQ(pith__examples_get(&x, 3).file, 2);
    EQ(pith__examples_get(&x, 4).line, 2);
    pith__examples_close(&x);
    eval[0] = rows_file("c", "{\"input_ids\":[5]}\n");
    EQ(pith__examples_open(&x, m, &plan, NULL, &e), PITH_EDATA);
    if (!strstr(e.text, "/c: nothing to learn in 1 example")) FAIL("%s", e.text);
    pith_close(m);
}

static int stop_at_second(void *data, const char *what, size_t done, size_t all) {
    int *calls = data;
    CHECK(what && done <= all);
    return ++*calls > 1;
}

TEST(it_can_be_stopped) {
    int calls = 0;
    pith__progress p = { stop_at_second, &calls };
    pith__examples x;
    pith_error e = { 0, "" };
    pith_model *m = rows_model(NULL);
    const char *path = rows_file("r", "{\"text\":\"a\"}\n{\"text\":\"b\"}\n{\"text\":\"c\"}\n");
    pith__examples_plan plan = { .train = { &path, 1 } };
    EQ(pith__examples_open(&x, m, &plan, &p, &e), PITH_ESTOP);
    CHECK(!x.token && !x.at);
    pith_close(m);
}

/* ---- packing ------------------------------------------------------------------------------------------ */

TEST(packs_are_filled_in_order) {
    static const char rows[] = "{\"input_ids\":[5,5,5,5,5]}\n{\"input_ids\":[6,6,6,6]}\n{\"input_ids\":[7,7,7,7]}\n{\"input_ids\":[8,8]}\n"
                               "{\"input_ids\":[9,9,9]}\n{\"input_ids\":[10,10]}\n{\"input_ids\":[11,11,11,11,11,11,11,11]}\n";
    static const uint32_t want[] = { 0, 3, 1, 2, 4, 5, 6 }, first[] = { 0, 2, 4, 6, 7 };
    pith__examples x;
    pith__packs p;
    REQUIRE(!open_with(&x, "r", rows, (pith__examples_plan){ .max_length = 8 }));
    REQUIRE(!pith__packs_make(&p, &x, 8, NULL));
    EQ(p.n, 4);
    for (int i = 0; i < 7; i++) EQ(p.example[i], want[i]);
    for (int i = 0; i < 5; i++) EQ(p.first[i], first[i]);
    pith__packs_free(&p);
    pith__packs_free(&p);
    pith__examples_close(&x);
}

/* Against the plain search: each example goes into the first pack that has room. */
TEST(packs_of_many) {
    enum { MANY = 500, MOST = 50 };
    char *text = malloc(MANY * (MOST * 2 + 32)), *p = text;
    int n[MANY], room[MANY], pack[MANY], n_pack = 0;
    uint64_t seed = 3;
    for (int i = 0; i < MANY; i++) {
        n[i] = 2 + (int)(pith__random_at(seed, (uint64_t)i) % (MOST - 1));
        p += sprintf(p, "{\"input_ids\":[");
        for (int k = 0; k < n[i]; k++) p += sprintf(p, "%s5", k ? "," : "");
        p += sprintf(p, "]}\n");
        room[i] = MOST;
        for (pack[i] = 0; room[pack[i]] < n[i];) pack[i]++;
        room[pack[i]] -= n[i];
        if (pack[i] >= n_pack) n_pack = pack[i] + 1;
    }
    pith__examples x;
    pith__packs got;
    REQUIRE(!open_with(&x, "r", text, (pith__examples_plan){ .max_length = MOST }));
    REQUIRE(!pith__packs_make(&got, &x, MOST, NULL));
    EQ(got.n, n_pack);
    for (uint32_t i = 0; i < got.n; i++)
        for (uint32_t k = got.first[i]; k < got.first[i + 1]; k++) {
            EQ(pack[got.example[k]], i);
            CHECK(k == got.first[i] || got.example[k - 1] < got.example[k]);
        }
    EQ(got.first[got.n], MANY);
    pith__packs_free(&got);
    pith__examples_close(&x);
    free(text);
}

/* ---- shown -------------------------------------------------------------------------------------------- */

static const char *printed(const pith__packs *packs, const pith__examples *x, const pith_model *m, const pith__examples_plan *plan, size_t n) {
    static char said[4096];
    int keep = dup(1);
    fflush(stdout);
    if (!freopen(in_folder("out"), "wb", stdout)) exit(99);
    int code = show_examples(m, x, packs, plan, n);
    fflush(stdout);
    dup2(keep, 1);
    close(keep);
    FILE *f = fopen(in_folder("out"), "rb");
    said[f ? fread(said, 1, sizeof said - 1, f) : 0] = 0;
    if (f) fclose(f);
    EQ(code, 0);
    return said;
}

TEST(examples_are_shown_as_they_are_learned) {
    pith_model *m = rows_model(NULL);
    const char *path = rows_file("r.jsonl", "{\"prompt\":\"a\",\"completion\":\"\\n\"}\n\n{\"input_ids\":[68,69]}\n{\"text\":\"c\"}\n");
    pith__examples_plan plan = { .train = { &path, 1 }, .max_length = 6 };
    pith__examples x;
    pith__packs packs;
    char want[1000];
    REQUIRE(!pith__examples_open(&x, m, &plan, NULL, NULL));
    REQUIRE(!pith__packs_make(&packs, &x, 6, NULL));
    const char *got = printed(NULL, &x, m, &plan, 1);
    snprintf(want, sizeof want, "id\tpiece\tcounts\tposition\texample\n# %s:1: 4 tokens, 2 count\n1\t\"<s>\"\t0\t0\t0\n"
             "100\t\"a\"\t0\t1\t0\n13\t\"\\n\"\t1\t2\t0\n2\t\"</s>\"\t1\t3\t0\n", path);
    if (strcmp(got, want) != 0) FAIL("%s\n# want %s", got, want);
    size_t n = strlen(want);
    got = printed(&packs, &x, m, &plan, 1);
    char *second = strstr(want, "# ");
    memmove(second + 25, second, n - (size_t)(second - want) + 1);
    memcpy(second, "# sequence 0: 2 examples\n", 25);
    snprintf(want + n + 25, sizeof want - n - 25, "# %s:3: 2 tokens, 1 count\n68\t\"A\"\t0\t0\t1\n69\t\"B\"\t1\t1\t1\n", path);
    if (strcmp(got, want) != 0) FAIL("%s\n# want %s", got, want);
    CHECK(strstr(printed(NULL, &x, m, &plan, 99), "\t2\n"));
    pith__packs_free(&packs);
    pith__examples_close(&x);
    pith_close(m);
}

int main(void) {
    if (!mkdtemp(folder)) return 99;
    make_vocab();
    RUN(tokens_and_masks_of_trl);
    RUN(kinds_of_rows);
    RUN(tokens_are_taken_as_they_are);
    RUN(variables_go_to_the_template);
    RUN(a_file_may_have_rows_of_all_kinds);
    RUN(a_row_that_is_wrong_is_named);
    RUN(the_same_rows_in_five_spellings);
    RUN(long_examples_are_cut);
    RUN(a_text_ends_as_the_model_learned_that_texts_end);
    RUN(examples_with_nothing_to_learn_are_left_out);
    RUN(texts_with_names_of_control_tokens_are_told);
    RUN(equal_examples_are_held_out_together);
    RUN(few_examples_are_held_out_too);
    RUN(a_file_of_its_own_is_held_out);
    RUN(it_can_be_stopped);
    RUN(packs_are_filled_in_order);
    RUN(packs_of_many);
    RUN(examples_are_shown_as_they_are_learned);
    remove_folder();
    return DONE();
}
