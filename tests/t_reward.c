/* t_reward.c - reward models: their head from and to a PEFT folder, and the scores that torch found (../shared/tuning), to
 * the same bits whatever else is scored. */
#define _POSIX_C_SOURCE 200809L
#include "../train/train.h"
#include "fixture.h"
#include "peft_numbers.h"
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

enum { MOST = 64 }; /* texts */

static const char *const families[] = { "llama", "qwen2" };

typedef struct {
    pith_model *m;
    pith_adapter *a;
    pith_template *form;
    pith__examples x;
    pith__text_ids text[MOST]; /* (n) chosen, rejected, chosen, ... */
    size_t n;
} judge;

static int judge_open(judge *j, const char *family, const char *base, const char *adapter, int n_threads) {
    pith_error e = { 0, "" };
    const char *path = fixture_tuning(family, "data/rm.jsonl");
    memset(j, 0, sizeof *j);
    j->m = pith_open(fixture_tuning(family, base), &(pith_options){ .n_threads = n_threads }, &e);
    j->a = j->m ? pith__adapter_open(j->m, fixture_tuning(family, adapter), 1, &e) : NULL;
    j->form = j->a ? pith_template_new(j->m, NULL, 0, NULL, &e) : NULL;
    const pith__examples_plan plan = { .train = { &path, 1 }, .form = j->form, .pairs = 1 };
    if (!j->form || pith__examples_open(&j->x, j->m, &plan, NULL, &e)) return printf("# %s\n", e.text), 1;
    for (; j->n < j->x.n_train && j->n < MOST; j->n++) {
        const pith__example one = pith__examples_get(&j->x, j->n);
        j->text[j->n] = (pith__text_ids){ one.t, one.n };
    }
    return 0;
}

static void judge_close(judge *j) {
    pith__examples_close(&j->x);
    pith_template_free(j->form), pith_adapter_close(j->a), pith_close(j->m);
}

static void scores_of(const judge *j, const pith__text_ids *text, size_t n, double *score) {
    pith_error e = { 0, "" };
    if (pith__reward(j->a, text, n, score, NULL, &e)) FAIL("%s", e.text);
}

/* Two columns of rm/plain.scores.txt, from column from on, one after the other for each row. */
static size_t read_scores(const char *family, int from, double *to) {
    char line[300];
    double x[5];
    size_t n = 0;
    FILE *f = fopen(fixture_tuning(family, "rm/plain.scores.txt"), "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "%lf %lf %lf %lf %lf", x, x + 1, x + 2, x + 3, x + 4) == 5)
            to[n++] = x[from], to[n++] = x[from + 1];
    if (f) fclose(f);
    return n;
}

TEST(scores_of_torch) {
    static const char *const adapters[] = { "rm/start", "rm/plain.final" };
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int i = 0; i < 8; i++) {
        judge j;
        double got[MOST], want[MOST], off = 0, size = 0;
        REQUIRE(!judge_open(&j, families[i & 1], i & 2 ? "base.gguf" : "base", adapters[i >> 2], 2));
        REQUIRE(read_scores(families[i & 1], i & 4 ? 3 : 1, want) == j.n);
        scores_of(&j, j.text, j.n, got);
        for (size_t k = 0; k < j.n; k++) off += pow(got[k] - want[k], 2), size += want[k] * want[k];
        NEAR(sqrt(off / size), 0, 1e-5);
        judge_close(&j);
    }
}

enum { PAIRS = 4, LONGEST = 200 }; /* of a step */

typedef struct {
    double center;
    float value[2 * PAIRS][LONGEST], slope[2 * PAIRS][LONGEST];
} ranking;

static void rank_pair(void *of, int64_t first, const pith__sequence *s, int n) {
    ranking *r = of;
    double slope[2];
    pith__rank((double)s[0].value[s[0].n - 1], (double)s[1].value[s[1].n - 1], 0, r->center, slope);
    for (int k = 0; k < n; k++) r->slope[first + k][s[k].n - 1] = (float)slope[k];
}

/* Of all numbers of the LoRA and of the head, at the first step, before clipping. */
TEST(gradients_of_torch) {
    static const char *const files[] = { "rm/plain.grad_step1.f32", "rm/center0.01.grad_step1.f32" };
    static pith_token none[LONGEST];
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int i = 0; i < LONGEST; i++) none[i] = -1;
    for (int i = 0; i < 4; i++) {
        judge j;
        pith__params p;
        pith__loss loss = { 0, 0, 0 };
        pith__sequence s[2 * PAIRS];
        ranking *r = calloc(1, sizeof *r);
        REQUIRE(r && !judge_open(&j, families[i & 1], "base", "rm/start", 2));
        pith__score_head head = { .w = j.a->score };
        REQUIRE(!pith__adapter_params(&p, j.a, j.m, NULL) && j.x.longest <= LONGEST);
        REQUIRE(!pith__params_add(&p, PITH__SCORE_HEAD, j.a->score, (size_t)j.m->hyper.n_embd, j.m, &head.at, NULL));
        pith__step *step = pith__step_new(j.m, &p, &(pith__step_plan){ LONGEST, 2 * PAIRS, PITH__KEEP_ALL, 2 }, NULL);
        REQUIRE(step);
        r->center = i & 2 ? 0.01 : 0;
        pith__step_adapter(step, j.a);
        pith__step_judge(step, rank_pair, r);
        pith__step_begin(step);
        for (int k = 0; k < 2 * PAIRS; k++)
            s[k] = (pith__sequence){ .t = j.text[k].t, .target = none, .n = j.text[k].n, .head = &head, .value = r->value[k],
                                     .value_slope = r->slope[k] };
        EQ(pith__step_learn(step, s, 2 * PAIRS, 1.0f / PAIRS, NULL), PITH_OK);
        pith__step_end(step, &loss);
        NEAR(off_from(&p, fixture_tuning(families[i & 1], files[i / 2]), 0), 0, 3e-5);
        pith__step_free(step), pith__params_free(&p), judge_close(&j), free(r);
    }
}

/* Alone, beside others, in another order, with a longer neighbour, with other threads. */
TEST(bits_of_a_score) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int f = 0; f < 2; f++) {
        judge j, one;
        double alone[MOST], got[MOST];
        pith__text_ids text[MOST];
        pith_token long_text[400];
        REQUIRE(!judge_open(&j, families[f], "base", "rm/plain.final", 2));
        REQUIRE(!judge_open(&one, families[f], "base", "rm/plain.final", 1));
        for (size_t i = 0; i < j.n; i++) scores_of(&one, j.text + i, 1, alone + i);
        for (int i = 0; i < 400; i++) long_text[i] = j.text[i % 7].t[i % 5];
        for (int by = 1; by < 40; by += 6) {
            for (size_t i = 0; i < j.n; i++) text[i] = j.text[j.n - 1 - i];
            text[j.n] = (pith__text_ids){ long_text, 10 * by };
            scores_of(&j, text, j.n + 1, got);
            for (size_t i = 0; i < j.n; i++) CHECK(!memcmp(&got[i], &alone[j.n - 1 - i], sizeof *got));
        }
        judge_close(&j), judge_close(&one);
    }
}

TEST(a_head_is_written_and_read) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int f = 0; f < 2; f++) {
        char folder[] = "/tmp/pith-reward-XXXXXX", path[100];
        judge j;
        double before[MOST], after[MOST];
        const pith__adapter_about about = { .base = "base" };
        pith_error e = { 0, "" };
        REQUIRE(!judge_open(&j, families[f], f ? "base.gguf" : "base", "rm/plain.final", 1));
        scores_of(&j, j.text, j.n, before);
        REQUIRE(mkdtemp(folder));
        EQ(pith__adapter_write_peft(j.a, &about, folder, &e), PITH_OK);
        EQ(pith__adapter_write_gguf(j.a, &about, "out.gguf", &e), PITH_EARG);
        CHECK(strstr(e.text, "score head") != NULL);
        pith_adapter_close(j.a);
        j.a = pith__adapter_open(j.m, folder, 1, &e);
        REQUIRE(j.a);
        scores_of(&j, j.text, j.n, after);
        CHECK(!memcmp(before, after, j.n * sizeof *after));
        judge_close(&j);
        for (int i = 0; i < 2; i++) {
            snprintf(path, sizeof path, "%s/%s", folder, i ? "adapter_config.json" : "adapter_model.safetensors");
            EQ(unlink(path), 0);
        }
        EQ(rmdir(folder), 0);
    }
}

TEST(what_has_no_score) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    judge j;
    double score[MOST];
    pith_error e = { 0, "" };
    REQUIRE(!judge_open(&j, "llama", "base", "lora/a1", 1));
    CHECK(!j.a->score);
    EQ(pith__reward(j.a, j.text, 1, score, NULL, &e), PITH_EARG);
    CHECK(strstr(e.text, "no reward model") != NULL);
    judge_close(&j);
    REQUIRE(!judge_open(&j, "llama", "base", "rm/start", 1));
    j.text[1].n = 0;
    EQ(pith__reward(j.a, j.text, 2, score, NULL, &e), PITH_EARG);
    j.text[1] = (pith__text_ids){ (const pith_token[]){ j.m->hyper.n_vocab }, 1 };
    EQ(pith__reward(j.a, j.text, 2, score, NULL, &e), PITH_EARG);
    EQ(pith__reward(j.a, j.text, 0, score, NULL, &e), PITH_OK);
    judge_close(&j);
}

/* A session that gives states goes on as one that gives logits: what it read is there. */
TEST(a_state_instead_of_logits) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    judge j;
    REQUIRE(!judge_open(&j, "llama", "base", "rm/start", 1));
    pith_session *s = pith_session_new(j.m, NULL, NULL), *other = pith_session_new(j.m, NULL, NULL);
    float hidden[64];
    int n = j.text[0].n, n_vocab = j.m->hyper.n_vocab;
    const pith_token *t = j.text[0].t;
    REQUIRE(s && other && j.m->hyper.n_embd == 64);
    s->hidden = hidden;
    EQ(pith_eval(s, t, n, NULL), PITH_OK);
    EQ(pith_known(s, t, n), n - 1); /* it has no logits after the last */
    s->hidden = NULL;
    EQ(pith_sync(s, t, n, NULL), PITH_OK);
    EQ(pith_eval(other, t, n, NULL), PITH_OK);
    CHECK(!memcmp(pith_logits(s), pith_logits(other), (size_t)n_vocab * sizeof(float)));
    pith_session_free(s), pith_session_free(other);
    judge_close(&j);
}

int main(void) {
    RUN(scores_of_torch);
    RUN(gradients_of_torch);
    RUN(bits_of_a_score);
    RUN(a_head_is_written_and_read);
    RUN(what_has_no_score);
    RUN(a_state_instead_of_logits);
    return DONE();
}
