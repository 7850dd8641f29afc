/* t_policy.c - GRPO: numbers by hand, slopes against differences, and every step of trl (../shared/tuning). */
#include "../train/train.h"
#include "grpo_rollouts.h"
#include "peft_numbers.h"

#include <math.h>

static const char *const families[] = { "llama", "qwen2" };
static const char *const scales[] = { "group", "batch", "none" };

/* ---- by hand: ../shared/TRAINING_TRAPS.md ---------------------------------------------------------- */

TEST(advantages_by_hand) {
    const double two[] = { 1, 0, 0, 1 }, one[] = { 1, 0, 0, 0 };
    double a[4];
    EQ(pith__advantages(two, 4, 4, PITH__SCALE_GROUP, a), 0);
    NEAR(a[0], 0.865875, 5e-7);
    NEAR(a[1], -0.865875, 5e-7);
    EQ(pith__advantages(two, 4, 4, PITH__SCALE_NONE, a), 0);
    NEAR(a[0], 0.5, 1e-15);
    NEAR(a[1], -0.5, 1e-15);
    EQ(pith__advantages(one, 4, 4, PITH__SCALE_GROUP, a), 0);
    NEAR(a[0], 1.4997, 5e-7);
    NEAR(a[3], -0.4999, 5e-7);
}

/* The mean of three times 0.1 is not 0.1. */
TEST(equal_rewards_teach_nothing) {
    const double r[] = { 0.1, 0.1, 0.1, 1, 2, 3 };
    double a[6];
    for (int scale = PITH__SCALE_GROUP; scale <= PITH__SCALE_NONE; scale++) {
        EQ(pith__advantages(r, 6, 3, scale, a), 1);
        for (int i = 0; i < 3; i++) CHECK(a[i] >= 0 && a[i] <= 0);
        CHECK(a[5] > 0.5);
    }
}

static double slope_of(int loss, int n, double advantage) {
    const float zero[8] = { 0 };
    const pith__policy p = { .loss = loss, .epsilon = 0.2, .epsilon_high = 0.2, .max_length = 16 };
    const pith__policy_batch b = { 2, 10 };
    const pith__policy_row row = { zero, zero, NULL, n, advantage, pith__policy_weight(&p, &b, n) };
    pith__policy_sums sums = { 0 };
    float slope[8];
    pith__policy_learn(&p, &row, slope, &sums);
    NEAR(sums.loss, -advantage * n * row.weight, 1e-12);
    return (double)slope[n - 1];
}

TEST(slopes_by_hand) {
    const int losses[] = { PITH__GRPO, PITH__DAPO, PITH__BNPO, PITH__DR_GRPO };
    const double two[] = { -0.25, -0.1, -0.1, -0.03125 }, eight[] = { 0.0625, 0.1, 0.1, 0.03125 };
    for (int i = 0; i < 4; i++) {
        NEAR(slope_of(losses[i], 2, 1), two[i], 1e-8);
        NEAR(slope_of(losses[i], 8, -1), eight[i], 1e-8);
    }
}

TEST(divergence_by_hand) {
    const float logp = -1, ref = -1.5f;
    const pith__policy p = { .epsilon = 0.2, .epsilon_high = 0.2, .beta = 1 };
    const pith__policy_row row = { &logp, &logp, &ref, 1, 0, 1 };
    pith__policy_sums sums = { 0 };
    float slope;
    pith__policy_learn(&p, &row, &slope, &sums);
    NEAR(sums.kl, 0.106531, 5e-7);
    NEAR(sums.loss, 0.106531, 5e-7);
    NEAR(slope, 0.393469, 5e-7);
}

/* All completions were cut, and none counts: no loss, and no division by nothing. */
TEST(nothing_counts) {
    const pith__policy p = { .loss = PITH__BNPO, .epsilon = 0.2, .epsilon_high = 0.2 };
    const pith__policy_batch b = { 4, 0 };
    const pith__policy_row row = { NULL, NULL, NULL, 0, 1, pith__policy_weight(&p, &b, 0) };
    pith__policy_sums sums = { 0 };
    pith__policy_learn(&p, &row, NULL, &sums);
    CHECK(row.weight <= 0 && sums.loss >= 0 && sums.loss <= 0 && !sums.n);
}

TEST(names) {
    EQ(pith__policy_loss_named("dr_grpo"), PITH__DR_GRPO);
    EQ(pith__policy_loss_named("dapo"), PITH__DAPO);
    EQ(pith__policy_loss_named("cispo"), -1);
    EQ(pith__reward_scale_named("group"), PITH__SCALE_GROUP);
    EQ(pith__reward_scale_named("none"), PITH__SCALE_NONE);
    EQ(pith__reward_scale_named("true"), -1);
}

/* ---- slopes ---------------------------------------------------------------------------------------- */

enum { POINTS = 5 };

static double loss_at(const pith__policy *p, double advantage, const float *logp, float *slope, pith__policy_sums *sums) {
    static const float old[POINTS] = { -1, -2, -0.5f, -3, -1 }, ref[POINTS] = { -1.5f, -1.9f, -0.7f, -2, -1 };
    const pith__policy_row row = { logp, old, p->beta > 0 ? ref : NULL, POINTS, advantage, 0.25 };
    *sums = (pith__policy_sums){ 0 };
    pith__policy_learn(p, &row, slope, sums);
    return sums->loss;
}

/* Ratios 1, 0.74, 1.35, 0.86, 1.16: some are clipped one way, some the other. */
TEST(slopes_are_those_of_the_loss) {
    static const float at[POINTS] = { -1, -2.3f, -0.2f, -3.15f, -0.85f };
    for (int k = 0; k < 16; k++) {
        const pith__policy p = { .epsilon = 0.2, .epsilon_high = k & 1 ? 0.4 : 0.2, .beta = k & 2 ? 0.3 : 0, .kl_times_ratio = k & 4 ? 1 : 0 };
        double a = k & 8 ? -1.5 : 2;
        float slope[POINTS], other[POINTS];
        pith__policy_sums sums, s;
        loss_at(&p, a, at, slope, &sums);
        EQ(sums.n_low, a < 0 ? 1 : 0);
        EQ(sums.n_high, a > 0 && !(k & 1) ? 1 : 0);
        EQ(sums.n, POINTS);
        NEAR(sums.low_min, (double)sums.n_low / POINTS, 1e-15);
        NEAR(sums.high_max, (double)sums.n_high / POINTS, 1e-15);
        NEAR(sums.off, exp(0.3) - 1, 1e-6);
        for (int i = 0; i < POINTS; i++) {
            float up[POINTS], down[POINTS];
            memcpy(up, at, sizeof up), memcpy(down, at, sizeof down);
            up[i] += 1e-3f, down[i] -= 1e-3f;
            double by = (double)up[i] - (double)down[i];
            NEAR(slope[i], (loss_at(&p, a, up, other, &s) - loss_at(&p, a, down, other, &s)) / by, 3e-6);
        }
    }
}

/* ---- what trl computes ----------------------------------------------------------------------------- */

/* Columns of the table's row that begins with number step; 0: there is none. */
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

TEST(advantages_of_trl) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int f = 0; f < 2; f++)
        for (int k = 0; k < 3; k++) {
            static const int column[] = { 4, 3, 5 }; /* group, completion, reward, batch, group, none */
            double reward[ROLLOUTS], a[ROLLOUTS], row[6];
            for (int i = 0; i < ROLLOUTS; i++) {
                REQUIRE(table_row(fixture_tuning(families[f], "grpo/advantages.txt"), i, row, 6));
                reward[i] = row[2];
            }
            EQ(pith__advantages(reward, ROLLOUTS, GENERATIONS, pith__reward_scale_named(scales[k]), a), 1);
            for (int i = 0; i < ROLLOUTS; i++) {
                table_row(fixture_tuning(families[f], "grpo/advantages.txt"), i, row, 6);
                NEAR(a[i], row[column[k]], 1e-6);
                if (i >= 8) CHECK(a[i] >= 0 && a[i] <= 0);
            }
        }
}

typedef struct { /* the rollouts, and an adapter that learns from them */
    pith_model *m;
    pith_adapter *a;
    pith__params p;
    pith__step *step;
    pith__adamw adam;
    table_rollout r[ROLLOUTS];
    pith_token t[ROLLOUTS][LONGEST + COMPLETION], target[ROLLOUTS][LONGEST + COMPLETION];
    float logp[ROLLOUTS][LONGEST + COMPLETION], ref[ROLLOUTS][LONGEST + COMPLETION], slope[ROLLOUTS][LONGEST + COMPLETION];
    pith__sequence s[ROLLOUTS];
} learner;

static void score(learner *u, float logp[ROLLOUTS][LONGEST + COMPLETION]) {
    pith__loss loss = { 0 };
    for (int i = 0; i < ROLLOUTS; i++) u->s[i].logp = logp[i];
    EQ(pith__step_score(u->step, u->s, ROLLOUTS, &loss, NULL), PITH_OK);
}

static int learner_open(learner *u, const char *family) {
    pith_error e = { 0, "" };
    memset(u, 0, sizeof *u);
    u->m = pith_open(fixture_tuning(family, "base"), &(pith_options){ .n_threads = 2 }, &e);
    u->a = u->m ? pith_adapter_open(u->m, fixture_tuning(family, "lora/a1"), &e) : NULL;
    if (!u->a || pith__adapter_params(&u->p, u->a, u->m, &e)) return printf("# %s\n", e.text), 1;
    if (read_rollouts(family, u->r) != ROLLOUTS) return 1;
    u->step = pith__step_new(u->m, &u->p, &(pith__step_plan){ LONGEST + COMPLETION, ROLLOUTS, PITH__KEEP_ALL, 1 }, &e);
    u->adam = (pith__adamw){ .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .m = calloc(2 * u->p.n, sizeof(float)) };
    u->adam.v = u->adam.m + u->p.n;
    for (int i = 0; i < ROLLOUTS; i++) {
        const table_rollout *r = &u->r[i];
        int n = r->n_prompt + r->n - 1;
        memcpy(u->t[i], r->prompt, (size_t)r->n_prompt * sizeof(pith_token));
        memcpy(u->t[i] + r->n_prompt, r->t, (size_t)r->n * sizeof(pith_token));
        for (int k = 0; k < n; k++) u->target[i][k] = k < r->n_prompt - 1 ? -1 : u->t[i][k + 1];
        u->s[i] = (pith__sequence){ .t = u->t[i], .target = u->target[i], .n = n };
    }
    score(u, u->ref); /* no adapter yet */
    pith__step_adapter(u->step, u->a);
    return 0;
}

static void learner_close(learner *u) {
    free(u->adam.m);
    pith__step_free(u->step), pith__params_free(&u->p);
    pith_adapter_close(u->a), pith_close(u->m);
}

TEST(tokens_of_trl) {
    static learner u;
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int f = 0; f < 2; f++) {
        char line[400];
        int row, at, id, n = 0;
        double x[5];
        const pith__policy p = { .epsilon = 0.2, .epsilon_high = 0.2, .beta = 1 };
        REQUIRE(!learner_open(&u, families[f]));
        score(&u, u.logp);
        FILE *table = fopen(fixture_tuning(families[f], "grpo/tokens_step1.txt"), "r");
        while (table && fgets(line, sizeof line, table)) {
            if (sscanf(line, "%d %d %d %lf %lf %lf %lf %lf", &row, &at, &id, x, x + 1, x + 2, x + 3, x + 4) != 8) continue;
            const table_rollout *r = &u.r[row];
            float logp = u.logp[row][r->n_prompt - 1 + at], ref = u.ref[row][r->n_prompt - 1 + at], slope;
            pith__policy_row one = { &logp, &r->old[at], &ref, 1, 0, 1 };
            pith__policy_sums sums = { 0 };
            pith__policy_learn(&p, &one, &slope, &sums);
            EQ(id, r->t[at]);
            NEAR(logp, x[0], 1e-5 * (1 - x[0]));
            NEAR(r->old[at], x[1], 1e-7 * (1 - x[1]));
            NEAR(ref, x[2], 1e-5 * (1 - x[2]));
            NEAR(sums.off, fabs(x[3] - 1), 2e-5 * x[3]);
            NEAR(sums.kl, x[4], 2e-5 * (1 + x[4]));
            n++;
        }
        if (table) fclose(table);
        CHECK(n > 100);
        learner_close(&u);
    }
}

typedef struct {
    const char *name;
    pith__policy how;
    int scale, mask_truncated;
} reference_run;

enum { STEPS = 3, COLUMNS = 5 };
static const char *const columns[COLUMNS] = { "loss", "grad_norm", "kl", "clip_low", "clip_high" };

/* One step; got: as the table has it. */
static void take_step(learner *u, const reference_run *r, double *got) {
    double reward[ROLLOUTS], advantage[ROLLOUTS];
    pith__policy_batch batch = { ROLLOUTS, 0 };
    pith__policy_sums sums = { 0 };
    pith__loss loss = { 0 };
    for (int i = 0; i < ROLLOUTS; i++) {
        const table_rollout *x = &u->r[i];
        reward[i] = x->reward;
        batch.n_token += x->truncated && r->mask_truncated ? 0 : x->n;
    }
    pith__advantages(reward, ROLLOUTS, GENERATIONS, r->scale, advantage);
    score(u, u->logp);
    for (int i = 0; i < ROLLOUTS; i++) {
        const table_rollout *x = &u->r[i];
        int from = x->n_prompt - 1, n = x->truncated && r->mask_truncated ? 0 : x->n;
        const pith__policy_row row = { u->logp[i] + from, x->old, r->how.beta > 0 ? u->ref[i] + from : NULL, n, advantage[i],
                                       pith__policy_weight(&r->how, &batch, n) };
        memset(u->slope[i], 0, sizeof u->slope[i]);
        pith__policy_learn(&r->how, &row, u->slope[i] + from, &sums);
        for (int k = 0; k < u->s[i].n; k++) u->slope[i][k] = -u->slope[i][k]; /* of -log p */
        u->s[i].slope = u->slope[i];
    }
    pith__step_begin(u->step);
    EQ(pith__step_learn(u->step, u->s, ROLLOUTS, 1, NULL), PITH_OK);
    pith__step_end(u->step, &loss);
    for (int i = 0; i < ROLLOUTS; i++) u->s[i].slope = NULL;
    const double of[COLUMNS] = { sums.loss, pith__grad_norm(&u->p), sums.kl / (double)sums.n, (double)sums.n_low / (double)sums.n,
                                 (double)sums.n_high / (double)sums.n };
    memcpy(got, of, sizeof of);
}

/* The gradient's length and sum, of each tensor. */
static void same_norms(const char *path, const pith__params *p) {
    char line[400];
    double l2, sum, off = 0, all = 0, off_sum = 0, all_sum = 0;
    int count;
    size_t n = 0;
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%*s %d %lf %lf", &count, &l2, &sum) != 3) continue;
        double square = 0, total = 0;
        for (size_t i = 0; n < p->n_param && i < p->param[n].n; i++) {
            double g = (double)p->param[n].g[i];
            square += g * g, total += g;
        }
        EQ(n < p->n_param ? p->param[n].n : 0, count);
        off += pow(sqrt(square) - l2, 2), all += l2 * l2, off_sum += pow(total - sum, 2), all_sum += sum * sum;
        n++;
    }
    if (f) fclose(f);
    EQ(n, p->n_param);
    NEAR(sqrt(off / all), 0, 2e-5);
    NEAR(sqrt(off_sum / all_sum), 0, 4e-5);
}

static void same_run(const char *family, const reference_run *r) {
    static learner u;
    char table[64], norms[64], grads[64], last[64];
    double off[COLUMNS] = { 0 }, size[COLUMNS] = { 0 }, want[COLUMNS], got[COLUMNS];
    REQUIRE(!learner_open(&u, family));
    snprintf(table, sizeof table, "grpo/%s.txt", r->name), snprintf(norms, sizeof norms, "grpo/%s.grad_norms.txt", r->name);
    snprintf(last, sizeof last, "grpo/%s.final_weights.f32", r->name);
    for (int k = 1; k <= STEPS; k++) {
        REQUIRE(table_row(fixture_tuning(family, table), k, want, COLUMNS));
        take_step(&u, r, got);
        snprintf(grads, sizeof grads, "grpo/%s.grad_step%d.f32", r->name, k);
        if (*fixture_tuning(family, grads)) NEAR(off_from(&u.p, fixture_tuning(family, grads), 0), 0, 5e-5);
        if (k == 1 && *fixture_tuning(family, norms)) same_norms(fixture_tuning(family, norms), &u.p);
        for (int i = 0; i < COLUMNS; i++) off[i] += pow(got[i] - want[i], 2), size[i] += want[i] * want[i];
        pith__adamw_step(&u.adam, &u.p, 2e-3, fmin(1, 1 / (got[1] + 1e-6)));
    }
    for (int i = 0; i < COLUMNS; i++)
        if (!(sqrt(off[i]) <= 5e-5 * sqrt(size[i]))) FAIL("%s %s: %s is off by %g", family, r->name, columns[i], sqrt(off[i] / size[i]));
    if (*fixture_tuning(family, last)) NEAR(off_from(&u.p, fixture_tuning(family, last), 1), 0, 1e-5);
    learner_close(&u);
}

#define CLIP .epsilon = 0.2, .epsilon_high = 0.2, .max_length = COMPLETION
static const reference_run runs[] = {
    { "grpo", { .loss = PITH__GRPO, CLIP }, PITH__SCALE_GROUP, 0 },
    { "grpo_batchscale", { .loss = PITH__GRPO, CLIP }, PITH__SCALE_BATCH, 0 },
    { "grpo_noscale", { .loss = PITH__GRPO, CLIP }, PITH__SCALE_NONE, 0 },
    { "grpo_kl", { .loss = PITH__GRPO, CLIP, .beta = 0.04 }, PITH__SCALE_GROUP, 0 },
    { "grpo_kl_ratio", { .loss = PITH__GRPO, CLIP, .beta = 0.04, .kl_times_ratio = 1 }, PITH__SCALE_GROUP, 0 },
    { "grpo_masktrunc", { .loss = PITH__GRPO, CLIP, .beta = 0.04 }, PITH__SCALE_GROUP, 1 },
    { "dr_grpo", { .loss = PITH__DR_GRPO, CLIP }, PITH__SCALE_NONE, 0 },
    { "bnpo", { .loss = PITH__BNPO, CLIP }, PITH__SCALE_GROUP, 0 },
    { "dapo", { .loss = PITH__DAPO, .epsilon = 0.2, .epsilon_high = 0.28 }, PITH__SCALE_GROUP, 0 },
    { "dapo_kl", { .loss = PITH__DAPO, CLIP, .beta = 0.04 }, PITH__SCALE_GROUP, 0 },
    { "dapo_masktrunc", { .loss = PITH__DAPO, .epsilon = 0.2, .epsilon_high = 0.28 }, PITH__SCALE_GROUP, 1 },
};

TEST(steps_of_trl) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int f = 0; f < (BRIEF ? 1 : 2); f++)
        for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) same_run(families[f], &runs[i]);
}

int main(void) {
    RUN(advantages_by_hand);
    RUN(equal_rewards_teach_nothing);
    RUN(slopes_by_hand);
    RUN(divergence_by_hand);
    RUN(nothing_counts);
    RUN(names);
    RUN(slopes_are_those_of_the_loss);
    RUN(advantages_of_trl);
    RUN(tokens_of_trl);
    RUN(steps_of_trl);
    return DONE();
}
