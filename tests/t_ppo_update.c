/* t_ppo_update.c - PPO's updates of an adapter and a value head, against those that torch computed (../shared/tuning): values
 * and advantages of a batch, the gradients of the first update, and three updates. */
#include "grpo_rollouts.h"
#include "peft_numbers.h"
#include "../train/train.h"

#include <math.h>

enum { TOKENS = LONGEST + COMPLETION, UPDATES = 3 };

static const pith__ppo how = { .kl_coef = 0.05, .gamma = 1, .lam = 0.95, .clip = 0.2, .clip_value = 0.2, .vf_coef = 0.1 };

typedef struct { /* a row: its tokens, what a pass finds, what it was at first, and the slopes */
    pith_token t[TOKENS], target[TOKENS];
    float logp[TOKENS], found[TOKENS], slope[TOKENS], value_slope[TOKENS];
    float ref[COMPLETION], value[COMPLETION], reward[COMPLETION], advantage[COMPLETION], ret[COMPLETION];
    pith__ppo_sums sums;
    int from;            /* the first token that is predicted is t[from + 1] */
} row;

typedef struct {
    pith_model *m;
    pith_adapter *a;
    pith__params p;
    pith__step *step;
    pith__score_head head;
    float w[64];
    table_rollout rollout[ROLLOUTS];
    row row[ROLLOUTS];
    pith__sequence s[ROLLOUTS];
    pith__episode e[ROLLOUTS];
    int n_token;
} learner;

static void judge(void *of, int64_t first, const pith__sequence *s, int n) {
    learner *u = of;
    row *r = &u->row[first];
    const pith__ppo_now now = { s->logp + r->from, s->value + r->from, r->slope + r->from, r->value_slope + r->from };
    EQ(n, 1);
    pith__ppo_judge(&how, &u->e[first], &now, &r->sums);
}

static void score_rows(learner *u) {
    pith__loss loss = { 0, 0, 0 };
    for (int i = 0; i < ROLLOUTS; i += PITH__SHARDS) EQ(pith__step_score(u->step, u->s + i, PITH__SHARDS, &loss, NULL), PITH_OK);
}

/* The reference is the model with the adapter off; values are the adapter's. */
static void make_batch(learner *u) {
    pith__ppo_objective mean;
    for (int i = 0; i < ROLLOUTS; i++) {
        row *r = &u->row[i];
        const table_rollout *x = &u->rollout[i];
        int n = x->n_prompt + x->n - 1;
        memcpy(r->t, x->prompt, sizeof x->prompt), memcpy(r->t + x->n_prompt, x->t, sizeof x->t);
        r->from = x->n_prompt - 1;
        for (int k = 0; k < n; k++) r->target[k] = k < r->from ? -1 : r->t[k + 1];
        u->s[i] = (pith__sequence){ .t = r->t, .target = r->target, .n = n, .head = &u->head, .slope = r->slope,
                                    .value_slope = r->value_slope, .logp = r->logp, .value = r->found };
        u->e[i] = (pith__episode){ x->n, x->n, x->reward, x->old, r->ref, r->value, r->reward, r->advantage, r->ret };
        u->n_token += x->n;
    }
    score_rows(u);
    for (int i = 0; i < ROLLOUTS; i++) memcpy(u->row[i].ref, u->row[i].logp + u->row[i].from, sizeof u->row[i].ref);
    pith__step_adapter(u->step, u->a);
    score_rows(u);
    for (int i = 0; i < ROLLOUTS; i++) memcpy(u->row[i].value, u->row[i].found + u->row[i].from, sizeof u->row[i].value);
    pith__ppo_advantages(&how, u->e, ROLLOUTS, &mean);
}

static int learner_open(learner *u, const char *family, int detached) {
    pith_error e = { 0, "" };
    memset(u, 0, sizeof *u);
    FILE *f = fopen(fixture_tuning(family, "ppo/head.f32"), "rb");
    int read = f && fread(u->w, sizeof u->w, 1, f) == 1;
    if (f) fclose(f);
    u->m = pith_open(fixture_tuning(family, "base"), &(pith_options){ .n_threads = 2 }, &e);
    u->a = u->m ? pith_adapter_open(u->m, fixture_tuning(family, "lora/a1"), &e) : NULL;
    if (!read || !u->a || read_rollouts(family, u->rollout) != ROLLOUTS) return printf("# %s\n", e.text), 1;
    u->head = (pith__score_head){ .w = u->w, .detached = detached };
    if (pith__adapter_params(&u->p, u->a, u->m, &e) || pith__params_add(&u->p, "value.weight", u->w, 64, u->m, &u->head.at, &e))
        return printf("# %s\n", e.text), 1;
    u->step = pith__step_new(u->m, &u->p, &(pith__step_plan){ TOKENS, ROLLOUTS, PITH__KEEP_ALL, 1 }, &e);
    if (!u->step) return 1;
    pith__step_judge(u->step, judge, u);
    make_batch(u);
    return 0;
}

static void learner_close(learner *u) {
    pith__step_free(u->step), pith__params_free(&u->p), pith_adapter_close(u->a), pith_close(u->m);
}

/* The next line of numbers of a table. */
static int next_line(FILE *f, double *to, int columns) {
    char line[600];
    while (f && fgets(line, sizeof line, f)) {
        char *p = line, *end;
        if (*line == '#' || (strtod(p, &end), end == p)) continue;
        for (int i = 0; i < columns; i++) to[i] = strtod(p, &p);
        return 1;
    }
    return 0;
}

static const char *const families[] = { "llama", "qwen2" };

/* A table's line: row, pos, ref_logp, value, reward, advantage, ret, whitened. */
TEST(batch_of_torch) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int k = 0; k < 2; k++) {
        static learner u;
        double x[8];
        int n = 0;
        REQUIRE(!learner_open(&u, families[k], 1));
        FILE *f = fopen(fixture_tuning(families[k], "ppo/update_tokens.txt"), "rb");
        for (; next_line(f, x, 8) && x[0] < ROLLOUTS && x[1] < COMPLETION; n++) {
            const row *r = &u.row[(int)x[0]];
            int t = (int)x[1];
            NEAR(r->ref[t], x[2], 2e-5);
            NEAR(r->value[t], x[3], 1e-5);
            NEAR(r->reward[t], x[4], 2e-6);
            NEAR((double)r->ret[t] - (double)r->value[t], x[5], 2e-5);
            NEAR(r->ret[t], x[6], 1e-5);
            NEAR(r->advantage[t], x[7], 2e-5);
        }
        if (f) fclose(f);
        EQ(n, u.n_token);
        learner_close(&u);
    }
}

/* An update: its policy loss, value loss, their sum, norm. */
static void update(learner *u, pith__adamw *adam, double *got) {
    pith__loss loss = { 0, 0, 0 };
    pith__ppo_sums all = { 0 };
    pith__step_begin(u->step);
    for (int i = 0; i < ROLLOUTS; i += 2) EQ(pith__step_learn(u->step, u->s + i, 2, 1.0f / (float)u->n_token, NULL), PITH_OK);
    pith__step_end(u->step, &loss);
    for (int i = 0; i < ROLLOUTS; i++) pith__ppo_add(&all, &u->row[i].sums);
    EQ(all.n, u->n_token);
    got[0] = all.policy / (double)all.n, got[1] = all.value / (double)all.n_value, got[2] = got[0] + how.vf_coef * got[1];
    got[3] = pith__grad_norm(&u->p);
    if (adam) pith__adamw_step(adam, &u->p, 5e-3, fmin(1, 1 / (got[3] + 1e-6)));
}

static void same_updates(const char *family, const char *name, int detached) {
    static learner u;
    char path[64];
    double want[UPDATES][5], got[UPDATES][4];
    int n = 0;
    snprintf(path, sizeof path, "ppo/%s.txt", name);
    FILE *f = fopen(fixture_tuning(family, path), "rb");
    while (n < UPDATES && next_line(f, want[n], 5)) n++;
    if (f) fclose(f);
    EQ(n, UPDATES);
    REQUIRE(!learner_open(&u, family, detached));
    pith__adamw adam = { .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f };
    adam.m = calloc(2 * u.p.n, sizeof *adam.m), adam.v = adam.m + u.p.n;
    update(&u, NULL, got[0]); /* the gradients, before anything was learned */
    snprintf(path, sizeof path, "ppo/%s.grad_step1.f32", name);
    double off = off_from(&u.p, fixture_tuning(family, path), 0);
    if (!(off < 3e-5)) FAIL("%s %s: gradients are off by %g", family, name, off);
    for (int i = 0; i < UPDATES; i++) update(&u, &adam, got[i]);
    for (int k = 0; k < 4; k++) {
        double d = 0, all = 0;
        for (int i = 0; i < UPDATES; i++) d += pow(got[i][k] - want[i][k + 1], 2), all += pow(want[i][k + 1], 2);
        if (!(sqrt(d / all) < 5e-5)) FAIL("%s %s: column %d is off by %g", family, name, k + 1, sqrt(d / all));
    }
    free(adam.m);
    learner_close(&u);
}

TEST(updates_of_torch) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int k = 0; k < 2; k++) {
        same_updates(families[k], "update_head_only", 1);
        same_updates(families[k], "update_shared", 0);
    }
}

int main(void) {
    RUN(batch_of_torch);
    RUN(updates_of_torch);
    return DONE();
}
