/* t_preference.c - losses of DPO and of reward models: the numbers of ../shared/TRAINING_TRAPS.md and of trl, and slopes against differences. */
#include "../train/train.h"
#include "fixture.h"
#include "test.h"

#include <math.h>

static const pith__answer_logp won = { -10, -10.5, 4 }, lost = { -12, -11, 5 }; /* h is 1.5 */

static pith__preferred prefer(int loss, double smoothing) {
    const pith__preference p = { .loss = loss, .beta = 0.1, .smoothing = smoothing };
    pith__preferred x;
    pith__prefer(&p, &won, &lost, &x);
    return x;
}

TEST(numbers_by_hand) {
    pith__preferred x = prefer(PITH__SIGMOID, 0);
    NEAR(x.loss, 0.620957, 5e-7);
    NEAR(x.slope_chosen, -0.046257, 5e-7);
    NEAR(x.slope_rejected, 0.046257, 5e-7);
    NEAR(x.reward_chosen, 0.05, 1e-12);
    NEAR(x.reward_rejected, -0.1, 1e-12);
    EQ(x.right, 1);
    NEAR(prefer(PITH__CDPO, 0.1).loss, 0.635957, 5e-7);
    NEAR(prefer(PITH__SIGMOID, 0.1).loss, 0.635957, 5e-7);
    NEAR(prefer(PITH__ROBUST, 0.1).loss, (0.9 * 0.620957 - 0.1 * 0.770957) / 0.8, 1e-6);
    NEAR(prefer(PITH__HINGE, 0).loss, 0.85, 1e-12);
    NEAR(prefer(PITH__IPO, 0).loss, pow(0.5 / 4 + 1.0 / 5 - 5, 2), 1e-12);
}

/* Equal to the reference: log 2, no margin, and not right. */
TEST(first_step) {
    const pith__preference p = { .beta = 0.1 };
    const pith__answer_logp a = { -7, -7, 3 }, b = { -9, -9, 2 };
    pith__preferred x;
    pith__prefer(&p, &a, &b, &x);
    NEAR(x.loss, log(2), 1e-15);
    CHECK(x.reward_chosen >= 0 && x.reward_chosen <= 0 && !x.right);
}

/* However far apart, nothing overflows. */
TEST(far_apart) {
    const pith__preference p = { .beta = 1 };
    const pith__answer_logp a = { -5000, 0, 9 }, b = { -1, -1, 1 };
    pith__preferred x;
    pith__prefer(&p, &a, &b, &x);
    NEAR(x.loss, 5000, 1e-9);
    NEAR(x.slope_chosen, -1, 1e-12);
    pith__prefer(&p, &b, &a, &x);
    NEAR(x.loss, 0, 1e-12);
    NEAR(x.slope_chosen, 0, 1e-12);
}

static double loss_at(const pith__preference *p, double d_won, double d_lost) {
    pith__answer_logp a = won, b = lost;
    pith__preferred x;
    a.logp += d_won, b.logp += d_lost;
    pith__prefer(p, &a, &b, &x);
    return x.loss;
}

TEST(slopes_are_those_of_the_loss) {
    for (int loss = PITH__SIGMOID; loss <= PITH__IPO; loss++)
        for (int k = 0; k < 8; k++) {
            const pith__preference p = { .loss = loss, .beta = k & 1 ? 2 : 0.1, .smoothing = k & 2 ? 0.2 : 0, .sft = k & 4 ? 0.7 : 0 };
            pith__preferred x;
            double h = 1e-5;
            pith__prefer(&p, &won, &lost, &x);
            NEAR(x.slope_chosen, (loss_at(&p, h, 0) - loss_at(&p, -h, 0)) / (2 * h), 1e-7);
            NEAR(x.slope_rejected, (loss_at(&p, 0, h) - loss_at(&p, 0, -h)) / (2 * h), 1e-7);
        }
}

/* Step 1 from the adapter a1: trl's table has the mean over the first four pairs, of the sums in logps_a1.txt. */
TEST(step_of_trl) {
    char path[512], line[512];
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int k = 0; k < 2; k++) {
        double want[6], loss = 0, mean[3] = { 0 };
        pith__answer_logp a = { 0, 0, 1 }, b = { 0, 0, 1 };
        const pith__preference p = { .beta = 0.1 };
        int rows = 0, step = 0;
        strcpy(path, fixture_shared(k ? "tuning/qwen2/dpo/sigmoid_from_a1.txt" : "tuning/llama/dpo/sigmoid_from_a1.txt"));
        FILE *f = fopen(path, "r");
        REQUIRE(f);
        while (fgets(line, sizeof line, f) && step != 1)
            (void)!sscanf(line, "%d %lf %lf %lf %lf %lf %lf", &step, want, want + 1, want + 2, want + 3, want + 4, want + 5);
        fclose(f);
        strcpy(path, fixture_shared(k ? "tuning/qwen2/dpo/logps_a1.txt" : "tuning/llama/dpo/logps_a1.txt"));
        REQUIRE((f = fopen(path, "r")) != NULL);
        while (fgets(line, sizeof line, f) && rows < 4) {
            pith__preferred x;
            if (sscanf(line, "%d %lf %lf %lf %lf", &step, &a.logp, &a.ref, &b.logp, &b.ref) != 5) continue;
            pith__prefer(&p, &a, &b, &x);
            loss += x.loss / 4, mean[0] += x.reward_chosen / 4, mean[1] += x.reward_rejected / 4, mean[2] += x.right / 4.0;
            rows++;
        }
        fclose(f);
        EQ(rows, 4);
        NEAR(loss, want[0], 1e-6);
        NEAR(mean[0], want[2], 1e-6);
        NEAR(mean[1], want[3], 1e-6);
        NEAR(mean[2], want[5], 1e-9);
    }
}

TEST(names_of_losses) {
    EQ(pith__preference_named("sigmoid"), PITH__SIGMOID);
    EQ(pith__preference_named("ipo"), PITH__IPO);
    EQ(pith__preference_named("robust"), PITH__ROBUST);
    EQ(pith__preference_named("hinges"), -1);
}

/* Reward models: scores 1.2 and 0.3. */
TEST(scores_of_two_answers) {
    double slope[2];
    NEAR(pith__rank(1.2, 0.3, 0, 0, slope), 0.341154, 5e-7);
    NEAR(slope[0], -0.289050, 5e-7);
    NEAR(slope[1], 0.289050, 5e-7);
    NEAR(pith__rank(1.2, 0.3, 0.5, 0, slope), 0.513015, 5e-7);
    NEAR(pith__rank(1.2, 0.3, 0, 0.01, slope), 0.341154 + 0.01 * 2.25, 5e-7);
    NEAR(pith__rank(-800, 800, 0, 0, slope), 1600, 1e-9);
    for (int i = 0; i < 6; i++) {
        double a = i - 3, b = 2 - 0.7 * i, margin = 0.3 * i, center = 0.05 * (i % 3), h = 1e-5, none[2];
        pith__rank(a, b, margin, center, slope);
        NEAR((pith__rank(a + h, b, margin, center, none) - pith__rank(a - h, b, margin, center, none)) / (2 * h), slope[0], 1e-8);
        NEAR((pith__rank(a, b + h, margin, center, none) - pith__rank(a, b - h, margin, center, none)) / (2 * h), slope[1], 1e-8);
    }
}

int main(void) {
    RUN(numbers_by_hand);
    RUN(first_step);
    RUN(far_apart);
    RUN(slopes_are_those_of_the_loss);
    RUN(step_of_trl);
    RUN(names_of_losses);
    RUN(scores_of_two_answers);
    return DONE();
}
