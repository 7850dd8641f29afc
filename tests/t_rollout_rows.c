/* t_rollout_rows.c - completions as lines of JSON, and prompts of files: what is read, and what is refused by its name. */
#define _POSIX_C_SOURCE 200809L
#include "../tools/rollouts.h"
#include "grpo_rollouts.h"
#include "pretrain_run.h"

#include <math.h>

#define GROUP_0 "{\"group\": 0, \"prompt_ids\": [1, 2], \"completion_ids\": [3, 4], \"old_logps\": [-0.5, -2], \"reward\": 1.5, " \
                "\"truncated\": false}\n"
#define GROUP_7 "{\"group\": 7, \"prompt_ids\": [9], \"completion_ids\": [5], \"old_logps\": [0], \"reward\": -2, \"truncated\": true}\n"

static rollouts got;

/* Reads the text as a file; what is said about it is in said. */
static int read_text_of(const char *text) {
    int keep, code;
    text_file("r.jsonl", text, strlen(text));
    begin_quiet(&keep);
    code = rollouts_read(&got, in_folder("r.jsonl"), 10);
    end_quiet(keep);
    return code;
}

TEST(lines_are_read) {
    EQ(read_text_of(GROUP_0 "\n" GROUP_0 GROUP_7), 0);
    EQ(got.n, 3);
    EQ(got.longest, 4);
    EQ(got.r[1].n_prompt, 2);
    EQ(got.r[1].n, 2);
    EQ(got.r[1].t[3], 4);
    NEAR(got.r[1].logp[1], -2, 0);
    NEAR(got.r[1].reward, 1.5, 0);
    EQ(got.r[1].truncated, 0);
    EQ(got.r[2].group, 7);
    EQ(got.r[2].truncated, 1);
    rollouts_free(&got);
}

TEST(what_was_written_is_read) {
    uint64_t state = 5;
    enum { N = 100 };
    static rollout r[N];
    static pith_token t[N][12];
    static float logp[N][9];
    rollouts all = { .r = r, .n = N };
    output o;
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < 12; k++) t[i][k] = (int)((unsigned)i / 4 * 5 + (unsigned)k * (k < 3 ? 1 : (unsigned)i)) % 10;
        for (int k = 0; k < 9; k++) logp[i][k] = 30 * fixture_random(&state);
        r[i] = (rollout){ .t = t[i], .logp = logp[i], .n_prompt = 3, .n = 1 + i % 9, .group = i / 4, .truncated = i % 3 == 0,
                          .reward = i % 2 ? i / 10.0 : exp(30 * (double)fixture_random(&state)) };
    }
    REQUIRE(!output_open(&o, in_folder("w.jsonl"), NULL));
    EQ(rollouts_write(&all, &o), 0);
    EQ(output_close(&o, 1), 0);
    EQ(rollouts_read(&got, in_folder("w.jsonl"), 10), 0);
    REQUIRE(got.n == N);
    for (int i = 0; i < N; i++) {
        const rollout *x = &got.r[i];
        CHECK(x->n == r[i].n && x->group == r[i].group && x->truncated == r[i].truncated);
        CHECK(!memcmp(&x->reward, &r[i].reward, sizeof x->reward));
        CHECK(!memcmp(x->t, t[i], (size_t)(3 + x->n) * sizeof *x->t) && !memcmp(x->logp, logp[i], (size_t)x->n * sizeof *x->logp));
    }
    rollouts_free(&got);
}

static const struct {
    const char *from, *to, *said; /* GROUP_0 with one text instead of another */
} bad_lines[] = {
    { "\"group\": 0, ", "", "has no group" },
    { "\"group\": 0", "\"group\": -1", "group is -1, need a whole number from 0 on" },
    { "\"group\": 0", "\"group\": 0.5", "group is 0.5" },
    { "\"prompt_ids\": [1, 2], ", "", "has no prompt_ids" },
    { "[1, 2]", "[]", "prompt_ids is [], need an array of numbers, at least one" },
    { "[1, 2]", "[1, 10]", "prompt_ids[1] is 10, need a token, 0 to 9" },
    { "[1, 2]", "[\"1\", 2]", "prompt_ids[0] is \"1\"" },
    { "[3, 4]", "[3, -4]", "completion_ids[1] is -4" },
    { "[3, 4]", "[]", "completion_ids is []" },
    { "[3, 4]", "3", "completion_ids is 3" },
    { "\"completion_ids\": [3, 4], ", "", "has no completion_ids" },
    { "\"old_logps\": [-0.5, -2], ", "", "has no old_logps" },
    { "[-0.5, -2]", "[-0.5]", "old_logps has 1 numbers, need 2, one for each of completion_ids" },
    { "[-0.5, -2]", "[-0.5, null]", "old_logps[1] is null, need a number" },
    { "[-0.5, -2]", "[-1e300, -2]", "old_logps[0] is -1e300" },
    { "1.5", "1e999", "reward is 1e999, need a finite number" },
    { "1.5", "NaN", "line 2" },
    { "1.5", "\"1\"", "reward is \"1\"" },
    { ", \"reward\": 1.5", "", "has no reward" },
    { "false", "0", "truncated is 0, need true or false" },
    { ", \"truncated\": false", "", "has no truncated" },
    { "[1, 2]", "[1, 3]", "the prompt is not that of the line before, which is of group 0 too" },
    { "{", "[{", "line 2" },
};

TEST(bad_lines_are_named) {
    for (size_t i = 0; i < sizeof bad_lines / sizeof *bad_lines; i++) {
        char text[600], *at;
        const char *from = strstr(GROUP_0, bad_lines[i].from);
        REQUIRE(from);
        at = text + snprintf(text, sizeof text, "%s%.*s", GROUP_0, (int)(from - strstr(GROUP_0, "{\"group")), GROUP_0);
        snprintf(at, sizeof text - (size_t)(at - text), "%s%s", bad_lines[i].to, from + strlen(bad_lines[i].from));
        EQ(read_text_of(text), BAD_DATA);
        CHECK(!got.n && !got.r);
        if (!strstr(said, bad_lines[i].said) || !strstr(said, "r.jsonl: line 2")) FAIL("%s: %s", bad_lines[i].said, said);
    }
    EQ(read_text_of(GROUP_0 GROUP_7 GROUP_0), BAD_DATA);
    CHECK(strstr(said, "line 3: group 0 was there before: its lines must stand side by side"));
    EQ(read_text_of("\n"), BAD_DATA);
    CHECK(strstr(said, "has no completions"));
}

/* ---- prompts -------------------------------------------------------------------------------------- */

static int open_of(tasks *to, const pith_model *m, const pith_template *form, int most, const char *text) {
    const task_plan plan = { .m = m, .form = form, .most = most, .room = 8 };
    const list files = { { in_folder("p.jsonl") }, 1 };
    int keep, code;
    text_file("p.jsonl", text, strlen(text));
    begin_quiet(&keep);
    code = tasks_open(to, &plan, &files);
    end_quiet(keep);
    return code;
}

/* The prompts of the rollouts are those of the rows, by the family's template. */
TEST(prompts_of_trl) {
    static table_rollout table[ROLLOUTS];
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int f = 0; f < 2; f++) {
        const char *family = f ? "qwen2" : "llama";
        pith_model *m = pith_open(fixture_tuning(family, "base"), NULL, NULL);
        pith_template *form = m ? pith_template_new(m, NULL, 0, NULL, NULL) : NULL;
        const task_plan plan = { .m = m, .form = form, .most = 100 };
        const list files = { { fixture_tuning(family, "data/grpo_prompts.jsonl") }, 1 };
        tasks t;
        REQUIRE(form && read_rollouts(family, table) == ROLLOUTS && !tasks_open(&t, &plan, &files));
        REQUIRE(t.n >= 3);
        for (int i = 0; i < 3; i++) {
            const table_rollout *r = &table[GENERATIONS * i];
            EQ(t.task[i].prompt.n, r->n_prompt);
            CHECK(!memcmp(t.task[i].prompt.t, r->prompt, (size_t)r->n_prompt * sizeof *r->prompt));
            EQ(pith__json_type(pith__json_get(t.task[i].row, "prompt")), '[');
        }
        tasks_free(&t), pith_template_free(form), pith_close(m);
    }
}

TEST(texts_and_what_is_refused) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    pith_model *m = pith_open(fixture_tuning("llama", "base"), NULL, NULL);
    pith_template *form = m ? pith_template_new(m, NULL, 0, NULL, NULL) : NULL;
    pith_token want[32];
    tasks t, other;
    REQUIRE(form);
    EQ(open_of(&t, m, NULL, 32, "{\"prompt\": \"the bear\", \"answer\": 7}\n{\"prompt\": \"the dog\"}\n"), 0);
    EQ(t.n, 2);
    int n = pith_encode(m, "the bear", 8, PITH_BOS, want, 32);
    EQ(t.task[0].prompt.n, n);
    CHECK(!memcmp(t.task[0].prompt.t, want, (size_t)n * sizeof *want));
    CHECK(pith__json_get(t.task[0].row, "answer").p && !pith__json_get(t.task[1].row, "answer").p);
    EQ(open_of(&other, m, NULL, 32, "{\"prompt\": \"the bear\", \"answer\": 8}\n{\"prompt\": \"the dog\"}\n"), 0);
    CHECK(t.key != other.key);
    tasks_free(&t), tasks_free(&other);
    EQ(open_of(&t, m, form, 32, "{\"prompt\": \"a\"}\n{\"question\": \"b\"}\n"), BAD_DATA);
    CHECK(strstr(said, "p.jsonl: line 2: has no prompt"));
    EQ(open_of(&t, m, NULL, 32, "{\"prompt\": [{\"role\": \"user\", \"content\": \"a\"}]}\n"), BAD_DATA);
    CHECK(strstr(said, "line 1: the prompt is messages, and the model has no chat template"));
    EQ(open_of(&t, m, form, 4, "{\"prompt\": [{\"role\": \"user\", \"content\": \"a\"}]}\n"), BAD_DATA);
    CHECK(strstr(said, "tokens, and with 8 for its completion need 4 at most"));
    EQ(open_of(&t, m, form, 32, "{\"prompt\": []}\n"), BAD_DATA);
    EQ(open_of(&t, m, form, 32, "{\"prompt\": 5}\n"), BAD_DATA);
    CHECK(strstr(said, "prompt is 5, need a text"));
    EQ(open_of(&t, m, form, 32, "\n"), BAD_DATA);
    CHECK(strstr(said, "has no rows") || strstr(said, "empty"));
    pith_template_free(form), pith_close(m);
}

int main(void) {
    if (!mkdtemp(folder)) return 99;
    RUN(lines_are_read);
    RUN(what_was_written_is_read);
    RUN(bad_lines_are_named);
    RUN(prompts_of_trl);
    RUN(texts_and_what_is_refused);
    return DONE();
}
