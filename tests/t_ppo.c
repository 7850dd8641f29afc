/* t_ppo.c - rewards, advantages and losses of PPO: by hand (../shared/TRAINING_TRAPS.md), by trl's tables, and slopes by
 * differences. */
#include "../train/train.h"
#include "fixture.h"
#include "test.h"

#include <math.h>
#include <stdlib.h>

static const pith__ppo trl = { .kl_coef = 0.05, .gamma = 1, .lam = 0.95, .clip = 0.2, .clip_value = 0.2, .vf_coef = 0.1 };

/* ---- by hand ------------------------------------------------------------------------------------------- */

TEST(kl_by_one_token) {
    NEAR(pith__kl_estimate(PITH__K1, -1, -1.5), 0.5, 1e-15);
    NEAR(pith__kl_estimate(PITH__K3, -1, -1.5), 0.106530660, 1e-9);
    NEAR(pith__kl_estimate(PITH__K1, -1, -0.5), -0.5, 1e-15);
    CHECK(pith__kl_estimate(PITH__K3, -1, -0.5) > 0);
    NEAR(pith__kl_estimate(PITH__K3, -1, -1 + 1e-9), 5e-19, 1e-21); /* no cancellation */
}

TEST(advantages_by_hand) {
    const float logp[3] = { -1, -2, -3 }, value[3] = { 0.5f, 0.4f, 0.7f };
    const double want[3] = { 0.45575, 0.585, 0.3 }, ret[3] = { 0.95575, 0.985, 1 };
    float x[3][3];
    const pith__episode e = { 3, 3, 1, logp, logp, value, x[0], x[1], x[2] };
    pith__ppo_objective mean;
    double m = (want[0] + want[1] + want[2]) / 3, variance = 0;
    pith__ppo_advantages(&trl, &e, 1, &mean);
    for (int i = 0; i < 3; i++) variance += pow(want[i] - m, 2) / 2;
    for (int i = 0; i < 3; i++) {
        NEAR(x[0][i], i == 2, 1e-9); /* the score is on the last token, nothing behind it */
        NEAR(x[2][i], ret[i], 1e-6);
        NEAR((double)x[2][i] - (double)value[i], want[i], 1e-6);
        NEAR(x[1][i], (want[i] - m) / sqrt(variance + 1e-8), 1e-5);
    }
    NEAR(mean.kl, 0, 1e-15);
    NEAR(mean.score, 1, 1e-15);
    NEAR(mean.entropy, 6, 1e-15);
}

TEST(losses_by_hand) {
    double q = exp(0.3);
    pith__clipped c = pith__clip_policy(0.2, q, 0.8);
    NEAR(c.loss, -0.96, 1e-12);
    NEAR(c.slope, 0, 0);
    EQ(c.clipped, 1);
    c = pith__clip_policy(0.2, q, -0.8);
    NEAR(c.loss, 1.079887, 5e-7);
    NEAR(c.slope, 1.079887, 5e-7);
    EQ(c.clipped, 0);
    c = pith__clip_value(0.2, 1, 0.5, 2);
    NEAR(c.loss, 0.845, 1e-12);
    NEAR(c.slope, 0, 0);
    EQ(c.clipped, 1);
    c = pith__clip_value(0.2, 0.6, 0.5, 2);
    NEAR(c.loss, 0.98, 1e-12);
    NEAR(c.slope, -1.4, 1e-12);
    EQ(c.clipped, 0);
}

/* One token, and tokens that are all alike, have nothing to tell apart: no NaN, no advantage. */
TEST(nothing_to_whiten) {
    const float logp[4] = { -1, -1, -1, -1 }, value[4] = { 0 };
    float x[4][3];
    pith__episode e[4];
    pith__ppo_objective mean;
    for (int i = 0; i < 4; i++) e[i] = (pith__episode){ 1, 1, 0.3, logp, logp, value, &x[i][0], &x[i][1], &x[i][2] };
    for (size_t n = 1; n <= 4; n += 3) {
        pith__ppo_advantages(&trl, e, n, &mean);
        for (size_t i = 0; i < n; i++) NEAR(x[i][1], 0, 1e-9);
        NEAR(x[0][2], 0.3, 1e-6);
    }
}

/* Their variance becomes 1, and their mean stays. */
TEST(whitened_rewards) {
    pith__ppo how = trl;
    const float logp[5] = { -1, -2, -3, -1, -2 }, ref[5] = { -2, -1, -3, -4, -1 }, value[5] = { 0 };
    float x[2][3][5];
    pith__ppo_objective mean;
    double m[2] = { 0 }, variance = 0;
    for (int k = 0; k < 2; k++) {
        const pith__episode e[2] = { { 3, 3, 1, logp, ref, value, x[k][0], x[k][1], x[k][2] },
                                     { 2, 2, -1, logp + 3, ref + 3, value, x[k][0] + 3, x[k][1] + 3, x[k][2] + 3 } };
        how.whiten_rewards = k;
        pith__ppo_advantages(&how, e, 2, &mean);
        for (int i = 0; i < 5; i++) m[k] += (double)x[k][0][i] / 5;
    }
    for (int i = 0; i < 5; i++) variance += pow((double)x[1][0][i] - m[1], 2) / 4;
    NEAR(m[1], m[0], 1e-6);
    NEAR(variance, 1, 1e-5);
    NEAR(mean.non_score_reward, -0.05 * mean.kl, 1e-12); /* as they were */
}

static double loss_of(const pith__episode *e, const float *logp, const float *value, int64_t *clipped) {
    float slope[2], value_slope[3];
    const pith__ppo_now now = { logp, value, slope, value_slope };
    pith__ppo_sums s;
    pith__ppo_judge(&trl, e, &now, &s);
    *clipped = 8 * s.clipped + s.value_clipped;
    return s.policy + trl.vf_coef * s.value;
}

/* The loss by *at; NAN: there is a corner near. */
static double difference(const pith__episode *e, const float *logp, const float *value, float *at) {
    const float was = *at, high = was + 1e-3f, low = was - 1e-3f;
    int64_t clipped[2];
    *at = high;
    double up = loss_of(e, logp, value, &clipped[0]);
    *at = low;
    double down = loss_of(e, logp, value, &clipped[1]);
    *at = was;
    return clipped[0] == clipped[1] ? (up - down) / ((double)high - (double)low) : NAN;
}

TEST(slopes_are_those_of_the_loss) {
    int seen = 0;
    for (int k = 0; k < 64; k++) {
        uint64_t state = 7 + (uint64_t)k;
        float x[5][3], slope[2], value_slope[3];
        for (int i = 0; i < 15; i++) x[i / 3][i % 3] = fixture_random(&state) / (i < 6 ? 2 : 1);
        const pith__episode e = { .n = 2, .n_value = 3, .logp = x[0], .value = x[1], .advantage = x[2], .ret = x[3] };
        float logp[3], value[3];
        for (int i = 0; i < 3; i++) logp[i] = x[0][i] + 0.6f * x[4][i], value[i] = x[1][i] + 0.6f * x[4][2 - i];
        const pith__ppo_now now = { logp, value, slope, value_slope };
        pith__ppo_sums s;
        pith__ppo_judge(&trl, &e, &now, &s);
        EQ(s.n, 2);
        EQ(s.n_value, 3);
        for (int i = 0; i < 5; i++) {
            double got = i < 2 ? -(double)slope[i] : (double)value_slope[i - 2];
            double want = difference(&e, logp, value, i < 2 ? &logp[i] : &value[i - 2]);
            if (isnan(want)) continue;
            NEAR(got, want, 1e-4);
            seen++;
        }
    }
    CHECK(seen > 300);
}

/* ---- trl's tables ---------------------------------------------------------------------------------------- */

enum { ROWS = 4, MOST = 9, COLUMNS = 17 };

static const char *const families[] = { "llama", "qwen2" };

/* Lines of numbers of a table, its header and what begins with # passed over. */
static int read_table(const char *path, double *to, int rows, int columns, int skip) {
    char line[600];
    int n = 0;
    FILE *f = fopen(path, "r");
    while (f && n < rows && fgets(line, sizeof line, f)) {
        char *p = line, *end;
        for (int i = 0; i < skip && strchr(p, '\t'); i++) p = strchr(p, '\t') + 1; /* words */
        if (*line == '#' || (strtod(p, &end), end == p)) continue;
        for (int i = 0; i < columns; i++) to[n * columns + i] = strtod(p, &p);
        n++;
    }
    if (f) fclose(f);
    return n;
}

typedef struct { float logp[MOST], ref[MOST], value[MOST], now[MOST], value_now[MOST], reward[MOST], advantage[MOST], ret[MOST]; } row_numbers;

/* A row's values count up to one place behind its last token, where there is room. */
static void read_inputs(const char *family, row_numbers *r, pith__episode *e) {
    static double x[ROWS * MOST][9];
    REQUIRE(read_table(fixture_tuning(family, "ppo/inputs.txt"), x[0], ROWS * MOST, 9, 0) == ROWS * MOST);
    for (int i = 0; i < ROWS * MOST; i++) {
        row_numbers *to = &r[i / MOST];
        int t = i % MOST, n = (int)x[i][2] + 1;
        to->logp[t] = (float)x[i][4], to->ref[t] = (float)x[i][5], to->value[t] = (float)x[i][6];
        to->now[t] = (float)x[i][7], to->value_now[t] = (float)x[i][8];
        e[i / MOST] = (pith__episode){ n, n < MOST ? n + 1 : n, x[i][3], to->logp, to->ref, to->value, to->reward, to->advantage, to->ret };
    }
}

/* A token's line: real, real1, kl, reward, advantage, ret, whitened, ratio, pg1, pg2, pg, vclip, vf1, vf2, vf. */
static void same_token(const pith__ppo *p, const pith__episode *e, const row_numbers *r, int t, const double *want) {
    EQ(want[2] > 0, t < e->n);
    EQ(want[3] > 0, t < e->n_value);
    if (t >= e->n_value) return;
    NEAR(e->reward[t], want[5], 1e-6);
    NEAR((double)e->ret[t] - (double)e->value[t], want[6], 2e-6);
    NEAR(e->ret[t], want[7], 2e-6);
    NEAR(e->advantage[t], want[8], 3e-6);
    pith__clipped c = pith__clip_value(p->clip_value, (double)r->value_now[t], (double)e->value[t], (double)e->ret[t]);
    NEAR(2 * c.loss, want[16], 1e-5);
    EQ(c.clipped, want[15] > want[14]);
    if (t >= e->n) return;
    NEAR(pith__kl_estimate(p->estimator, (double)e->logp[t], (double)e->ref[t]), want[4], 1e-6);
    double ratio = exp((double)r->now[t] - (double)e->logp[t]);
    c = pith__clip_policy(p->clip, ratio, (double)e->advantage[t]);
    NEAR(ratio, want[9], 1e-6);
    NEAR(c.loss, want[12], 1e-5);
    EQ(c.clipped, want[11] > want[10]);
}

static void same_table(const char *family, int estimator, int behind, const double *loss) {
    static row_numbers r[ROWS];
    static double want[ROWS * MOST][COLUMNS];
    pith__episode e[ROWS];
    pith__ppo p = trl;
    pith__ppo_objective mean;
    pith__ppo_sums sums = { 0 };
    char table[64];
    snprintf(table, sizeof table, "ppo/tokens_%s_%s.txt", estimator == PITH__K1 ? "k1" : "k3", behind ? "after" : "end");
    read_inputs(family, r, e);
    REQUIRE(read_table(fixture_tuning(family, table), want[0], ROWS * MOST, COLUMNS, 0) == ROWS * MOST);
    p.estimator = estimator, p.score_behind = behind;
    pith__ppo_advantages(&p, e, ROWS, &mean);
    for (int i = 0; i < ROWS * MOST; i++) same_token(&p, &e[i / MOST], &r[i / MOST], i % MOST, want[i]);
    for (int i = 0; i < ROWS; i++) {
        float slope[MOST], value_slope[MOST];
        const pith__ppo_now now = { r[i].now, r[i].value_now, slope, value_slope };
        pith__ppo_sums s;
        pith__ppo_judge(&p, &e[i], &now, &s);
        pith__ppo_add(&sums, &s);
    }
    double policy = sums.policy / (double)sums.n, value = sums.value / (double)sums.n_value;
    NEAR(policy, loss[0], 3e-6);
    NEAR(value, loss[1], 1e-5);
    NEAR(policy + p.vf_coef * value, loss[2], 3e-6);
}

TEST(tables_of_trl) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int f = 0; f < 2; f++) {
        double loss[4][3];
        REQUIRE(read_table(fixture_tuning(families[f], "ppo/losses.txt"), loss[0], 4, 3, 2) == 4); /* k1 after, k1 end, k3 ... */
        for (int i = 0; i < 4; i++) same_table(families[f], i / 2 ? PITH__K3 : PITH__K1, i % 2 == 0, loss[i]);
    }
}

int main(void) {
    RUN(kl_by_one_token);
    RUN(advantages_by_hand);
    RUN(losses_by_hand);
    RUN(nothing_to_whiten);
    RUN(whitened_rewards);
    RUN(slopes_are_those_of_the_loss);
    RUN(tables_of_trl);
    return DONE();
}
