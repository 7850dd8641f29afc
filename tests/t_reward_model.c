/* t_reward_model.c - what a reward model finds of completions: as of the whole texts that it learned from. */
#define _POSIX_C_SOURCE 200809L
#include "../tools/reward_model.h"
#include "../train/train.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

enum { TEXTS = 4, MOST = 160 };

static const char *const families[] = { "llama", "qwen2" };

/* Rows "ids ; mask" of a file. */
static int read_texts(const char *path, pith_token t[TEXTS][MOST], int *n) {
    char line[8192];
    int rows = 0;
    FILE *f = fopen(path, "r");
    while (f && rows < TEXTS && fgets(line, sizeof line, f)) {
        char *p = line;
        if (*line == '#') continue;
        for (n[rows] = 0; *p && *p != ';' && n[rows] < MOST; p += strspn(p, " ")) t[rows][n[rows]++] = (int)strtol(p, &p, 10);
        rows++;
    }
    if (f) fclose(f);
    return rows;
}

static int read_scores(const char *path, double *to) {
    char line[300];
    int n = 0, row;
    FILE *f = fopen(path, "r");
    while (f && n < TEXTS && fgets(line, sizeof line, f)) n += sscanf(line, "%d %lf", &row, &to[n]) == 2;
    if (f) fclose(f);
    return n;
}

/* A completion ends in the token that ends it. Behind that the template of ChatML has a line's end, at which the score is. */
TEST(scores_of_torch) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int k = 0; k < 2; k++) {
        static pith_token t[TEXTS][MOST];
        static float logp[MOST];
        int n[TEXTS];
        double want[TEXTS], got[TEXTS];
        rollout r[TEXTS];
        reward_model judge;
        pith_error e = { 0, "" };
        pith_model *m = pith_open(fixture_tuning(families[k], "base"), &(pith_options){ .n_threads = 1 }, &e);
        pith_template *form = m ? pith_template_new(m, NULL, 0, NULL, &e) : NULL;
        REQUIRE(form && !reward_model_open(&judge, m, form, fixture_tuning(families[k], "rm/start")));
        EQ(judge.n_tail, k); /* none of Llama 3 */
        EQ(read_texts(fixture_tuning(families[k], "data/rm.chosen.ids"), t, n), TEXTS);
        EQ(read_scores(fixture_tuning(families[k], "rm/plain.scores.txt"), want), TEXTS);
        for (int i = 0; i < TEXTS; i++) {
            r[i] = (rollout){ .t = t[i], .logp = logp, .n_prompt = 5, .n = n[i] - 5 - judge.n_tail };
            CHECK(pith_is_end(m, t[i][r[i].n_prompt + r[i].n - 1]));
        }
        const rollouts x = { .r = r, .n = TEXTS };
        EQ(reward_model_score(&judge, &x, got, NULL), 0);
        for (int i = 0; i < TEXTS; i++) NEAR(got[i], want[i], 2e-5);
        r[0].n--; /* cut: it is scored where it was cut */
        EQ(reward_model_score(&judge, &x, got, NULL), 0);
        CHECK(!(fabs(got[0] - want[0]) < 1e-4));
        NEAR(got[1], want[1], 2e-5);
        reward_model_close(&judge);
        pith_template_free(form), pith_close(m);
    }
}

/* What is written here says of which base it is, a folder or GGUF, in whatever type; on another one it is refused. */
TEST(of_its_base) {
    char dir[] = "/tmp/pith-judge-XXXXXX", command[64];
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    REQUIRE(mkdtemp(dir));
    for (int k = 0; k < 2; k++) {
        pith_error e = { 0, "" };
        const pith_options one = { .n_threads = 1 };
        const pith__adapter_about about = { .base = "base" };
        pith_model *m = pith_open(fixture_tuning(families[k], "base"), &one, &e);
        pith_adapter *a = m ? pith__adapter_open(m, fixture_tuning(families[k], "rm/plain.final"), 1, &e) : NULL;
        REQUIRE(a && !pith__adapter_write_peft(a, &about, dir, &e));
        pith_adapter_close(a), pith_close(m);
        REQUIRE((m = pith_open(fixture_tuning(families[k], "base.gguf"), &one, &e)) != NULL);
        CHECK((a = pith__adapter_open(m, dir, 1, &e)) != NULL);
        pith_adapter_close(a), pith_close(m);
        REQUIRE((m = pith_open(fixture_tuning(families[1 - k], "base"), &one, &e)) != NULL);
        CHECK(!pith__adapter_open(m, dir, 1, &e) && strstr(e.text, "is a reward model of another base than"));
        pith_close(m);
    }
    snprintf(command, sizeof command, "rm -rf %s", dir);
    EQ(system(command), 0);
}

int main(void) {
    RUN(scores_of_torch);
    RUN(of_its_base);
    return DONE();
}
