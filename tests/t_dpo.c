/* t_dpo.c - DPO step by step against trl (../shared/tuning): log-probabilities of whole answers, losses, rewards, norms. */
#include "../train/train.h"
#include "fixture.h"
#include "test.h"

#include <math.h>
#include <stdlib.h>

enum { PAIRS = 4, COLUMNS = 8 }; /* of a step, of a table, beside the step's number */

typedef struct {
    pith_model *m;
    pith_adapter *a;
    pith_template *form;
    pith__params p;
    pith__examples x;
    pith__step *step;
    double *ref;         /* (n_train) */
} learner;

/* The reference is the model with the adapter off, scored once. */
static int learner_open(learner *u, const char *family, const char *adapter, int n_threads) {
    pith_error e = { 0, "" };
    const char *path = fixture_tuning(family, "data/dpo.jsonl");
    size_t all[32];
    memset(u, 0, sizeof *u);
    u->m = pith_open(fixture_tuning(family, "base"), &(pith_options){ .n_threads = n_threads }, &e);
    u->a = u->m ? pith_adapter_open(u->m, fixture_tuning(family, adapter), &e) : NULL;
    u->form = u->a ? pith_template_new(u->m, NULL, 0, NULL, &e) : NULL;
    const pith__examples_plan plan = { .train = { &path, 1 }, .form = u->form, .pairs = 1 };
    if (!u->form || pith__adapter_params(&u->p, u->a, u->m, &e) || pith__examples_open(&u->x, u->m, &plan, NULL, &e))
        return printf("# %s\n", e.text), 1;
    u->step = pith__step_new(u->m, &u->p, &(pith__step_plan){ u->x.longest, 2 * PAIRS, PITH__KEEP_ALL, 1 }, &e);
    u->ref = calloc(u->x.n_train, sizeof *u->ref);
    if (!u->step || u->x.n_train > 32) return 1;
    for (size_t i = 0; i < u->x.n_train; i++) all[i] = i;
    EQ(pith__logps(u->step, &u->x, all, u->x.n_train, u->ref, &e), PITH_OK);
    pith__step_adapter(u->step, u->a);
    return 0;
}

static void learner_close(learner *u) {
    free(u->ref);
    pith__step_free(u->step), pith__params_free(&u->p), pith__examples_close(&u->x);
    pith_template_free(u->form), pith_adapter_close(u->a), pith_close(u->m);
}

/* Column columns of the table's row step, counted from `from`; 0: there is no such row. */
static int table_row(const char *path, int step, double *to, int columns) {
    char line[600];
    int found = 0;
    FILE *f = fopen(path, "r");
    while (f && !found && fgets(line, sizeof line, f)) {
        char *p = line;
        if (strtol(line, &p, 10) != step || p == line) continue;
        for (int i = 0; i < columns; i++) to[i] = strtod(p, &p);
        found = 1;
    }
    if (f) fclose(f);
    return found;
}

static pith__answer_logp answer(const learner *u, size_t example, double logp) {
    const pith__example e = pith__examples_get(&u->x, example);
    pith__answer_logp a = { logp, u->ref[example], 0 };
    for (int i = 1; i < e.n; i++) a.n += e.counts[i];
    return a;
}

/* Step k, from 1: scored, then learned with the slopes that come of it. got: as the table has it. */
static void take_step(learner *u, const pith__preference *how, int k, double *got) {
    static pith_token target[2 * PAIRS][512];
    static float slope[2 * PAIRS][512];
    size_t example[2 * PAIRS];
    double logp[2 * PAIRS];
    pith__sequence s[2 * PAIRS];
    pith__loss loss = { 0, 0, 0 };
    REQUIRE(u->x.longest <= 512);
    for (size_t i = 0; i < 2 * PAIRS; i++) example[i] = (2 * PAIRS * (size_t)(k - 1) + i) % u->x.n_train;
    EQ(pith__logps(u->step, &u->x, example, 2 * PAIRS, logp, NULL), PITH_OK);
    memset(got, 0, COLUMNS * sizeof *got);
    for (size_t i = 0; i < 2 * PAIRS; i += 2) {
        pith__preferred r;
        const pith__answer_logp a = answer(u, example[i], logp[i]), b = answer(u, example[i + 1], logp[i + 1]);
        pith__prefer(how, &a, &b, &r);
        const double add[COLUMNS] = { r.loss, 0, r.reward_chosen, r.reward_rejected, r.reward_chosen - r.reward_rejected, r.right, a.logp, b.logp };
        for (int j = 0; j < COLUMNS; j++) got[j] += add[j] / PAIRS;
        for (size_t side = 0; side < 2; side++) {
            const pith__example e = pith__examples_get(&u->x, example[i + side]);
            double by_logp = side ? r.slope_rejected : r.slope_chosen;
            for (int t = 0; t < e.n; t++) slope[i + side][t] = (float)-by_logp; /* of -log p */
            pith__example_targets(&e, target[i + side]);
            s[i + side] = (pith__sequence){ .t = e.t, .target = target[i + side], .n = e.n - 1, .slope = slope[i + side] };
        }
    }
    pith__step_begin(u->step);
    EQ(pith__step_learn(u->step, s, 2 * PAIRS, 1.0f / PAIRS, NULL), PITH_OK);
    pith__step_end(u->step, &loss);
    got[1] = pith__grad_norm(&u->p);
}

static const char *const families[] = { "llama", "qwen2" };

TEST(answers_of_trl) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int f = 0; f < 2; f++) {
        learner u;
        size_t all[32];
        double got[32], want[4];
        REQUIRE(!learner_open(&u, families[f], "lora/a1", 2));
        for (size_t i = 0; i < u.x.n_train; i++) all[i] = i;
        EQ(pith__logps(u.step, &u.x, all, u.x.n_train, got, NULL), PITH_OK);
        for (size_t i = 0; i < u.x.n_train; i += 2) {
            REQUIRE(table_row(fixture_tuning(families[f], "dpo/logps_a1.txt"), (int)i / 2, want, 4));
            NEAR(got[i], want[0], -1e-5 * want[0]);
            NEAR(u.ref[i], want[1], -1e-5 * want[1]);
            NEAR(got[i + 1], want[2], -1e-5 * want[2]);
            NEAR(u.ref[i + 1], want[3], -1e-5 * want[3]);
        }
        learner_close(&u);
    }
}

typedef struct {
    const char *name, *from;
    pith__preference how;
    double tolerance;
} reference_run;

static const reference_run runs[] = {
    { "sigmoid", "lora/start", { PITH__SIGMOID, 0.1, 0, 0 }, 1e-4 },
    { "sigmoid_from_a1", "lora/a1", { PITH__SIGMOID, 0.1, 0, 0 }, 2e-4 },
    { "cdpo_ls0.1", "lora/start", { PITH__CDPO, 0.1, 0.1, 0 }, 1e-4 },
    { "robust_ls0.1", "lora/start", { PITH__ROBUST, 0.1, 0.1, 0 }, 1e-4 },
    { "hinge", "lora/start", { PITH__HINGE, 0.1, 0, 0 }, 1e-4 },
    { "ipo", "lora/start", { PITH__IPO, 0.1, 0, 0 }, 1e-4 },
};

/* Each column of all steps as a vector: how far it is from the table's, relative. */
static void same_run(const char *family, const reference_run *r) {
    static const char *const names[COLUMNS] = { "loss", "norm", "chosen", "rejected", "margins", "accuracies", "logp chosen",
                                                "logp rejected" };
    learner u;
    char table[96];
    double off[COLUMNS] = { 0 }, size[COLUMNS] = { 0 }, want[COLUMNS], got[COLUMNS];
    int k = 1;
    REQUIRE(!learner_open(&u, family, r->from, 2));
    snprintf(table, sizeof table, "dpo/%s.txt", r->name);
    pith__adamw adam = { .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f };
    adam.m = calloc(2 * u.p.n, sizeof *adam.m), adam.v = adam.m + u.p.n;
    for (; (!BRIEF || k <= 5) && table_row(fixture_tuning(family, table), k, want, COLUMNS); k++) {
        take_step(&u, &r->how, k, got);
        for (int i = 0; i < COLUMNS; i++) off[i] += pow(got[i] - want[i], 2), size[i] += want[i] * want[i];
        pith__adamw_step(&adam, &u.p, 1e-3, fmin(1, 1 / (got[1] + 1e-6)));
    }
    CHECK(k > 2);
    for (int i = 0; i < COLUMNS; i++)
        if (!(sqrt(off[i]) <= r->tolerance * sqrt(size[i])))
            FAIL("%s %s: %s is off by %g", family, r->name, names[i], sqrt(off[i] / size[i]));
    free(adam.m);
    learner_close(&u);
}

TEST(steps_of_trl) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int f = 0; f < 2; f++)
        for (size_t i = 0; i < (BRIEF && f ? 1 : sizeof runs / sizeof *runs); i++) same_run(families[f], &runs[i]);
}

/* A fresh adapter changes no bit, so the model and its reference are equal: log 2, no margin, nobody right. */
TEST(first_step_to_the_bit) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    learner u;
    double got[COLUMNS];
    REQUIRE(!learner_open(&u, "llama", "lora/start", 1));
    take_step(&u, &runs[0].how, 1, got);
    CHECK(got[4] >= 0 && got[4] <= 0 && got[5] <= 0);
    NEAR(got[0], log(2), 1e-15);
    learner_close(&u);
}

int main(void) {
    RUN(answers_of_trl);
    RUN(steps_of_trl);
    RUN(first_step_to_the_bit);
    return DONE();
}
