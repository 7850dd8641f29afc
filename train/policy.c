/* policy.c - what rewards teach: GRPO (Shao et al. 2024, arXiv:2402.03300) and what others made of it, from the
 * log-probabilities of a completion's tokens, and the slopes by them.
 *
 * A prompt is completed several times. A completion that got a greater reward than the others of its group has an
 * advantage, and each of its tokens is made likelier, but not by more than a part of what it was when it was drawn (the
 * clipped ratio of PPO: Schulman et al. 2017, arXiv:1707.06347). */
#include "train.h"

#include <math.h>
#include <string.h>

static int find_name(const char *const *names, int n, const char *name) {
    for (int i = 0; i < n; i++)
        if (!strcmp(name, names[i])) return i;
    return -1;
}

PITH_SHARED int pith__policy_loss_named(const char *name) {
    static const char *const names[] = { "grpo", "dr_grpo", "bnpo", "dapo" }; /* in the order of the enum */
    return find_name(names, 4, name);
}

PITH_SHARED int pith__reward_scale_named(const char *name) {
    static const char *const names[] = { "group", "batch", "none" };
    return find_name(names, 3, name);
}

/* ---- rewards -> advantages ------------------------------------------------------------------------- */

static double mean_of(const double *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    return sum / (double)n;
}

PITH_SHARED double pith__deviation(const double *x, size_t n) {
    double mean = mean_of(x, n), sum = 0;
    for (size_t i = 0; i < n; i++) sum += (x[i] - mean) * (x[i] - mean);
    return n > 1 ? sqrt(sum / (double)(n - 1)) : 0;
}

static int all_equal(const double *x, size_t n) {
    for (size_t i = 1; i < n; i++)
        if (x[i] < x[0] || x[i] > x[0]) return 0;
    return 1;
}

/* Of equal rewards the mean may be off by a rounding, which a deviation of nothing would make large: so they are compared. */
PITH_SHARED size_t pith__advantages(const double *reward, size_t n, size_t n_group, int scale, double *to) {
    size_t n_equal = 0;
    double all = scale == PITH__SCALE_BATCH ? pith__deviation(reward, n) : 0;
    for (size_t g = 0; g < n; g += n_group) {
        const double *r = reward + g;
        double mean = mean_of(r, n_group), by = 1;
        int equal = all_equal(r, n_group);
        if (scale != PITH__SCALE_NONE) by = (scale == PITH__SCALE_BATCH ? all : pith__deviation(r, n_group)) + 1e-4;
        for (size_t i = 0; i < n_group; i++) to[g + i] = equal ? 0 : (r[i] - mean) / by;
        n_equal += (size_t)equal;
    }
    return n_equal;
}

/* ---- the loss of a completion ---------------------------------------------------------------------- */

PITH_SHARED double pith__policy_weight(const pith__policy *p, const pith__policy_batch *b, int n) {
    if (n < 1) return 0;
    switch (p->loss) {
    case PITH__GRPO: return 1 / ((double)b->n_sequence * n);
    case PITH__DR_GRPO: return 1 / ((double)b->n_sequence * p->max_length); /* Liu et al. 2025, arXiv:2503.20783 */
    default: return 1 / (double)b->n_token; /* DAPO: Yu et al. 2025, arXiv:2503.14476 */
    }
}

/* The KL divergence from the reference, and its slope by logp. Times the ratio it is right also for tokens that an older
 * policy drew. */
static double kl_of(const pith__policy *p, double logp, double ref, double ratio, double *slope) {
    double kl = pith__kl_estimate(PITH__K3, logp, ref);
    *slope = -expm1(ref - logp);
    if (!p->kl_times_ratio) return kl;
    *slope = ratio * (kl + *slope);
    return ratio * kl;
}

PITH_SHARED void pith__policy_learn(const pith__policy *p, const pith__policy_row *row, float *slope,
                                    pith__policy_sums *sums) {
    double a = row->advantage, low = 1 - p->epsilon, high = 1 + p->epsilon_high;
    int64_t n_low = 0, n_high = 0;
    for (int i = 0; i < row->n; i++) {
        double ratio = exp((double)row->logp[i] - (double)row->old[i]), kl_slope = 0;
        int is_low = ratio < low && a < 0, is_high = ratio > high && a > 0; /* far enough: it is let go */
        double loss = -a * (is_low ? low : is_high ? high : ratio), by_logp = is_low || is_high ? 0 : -a * ratio;
        if (row->ref) {
            double kl = kl_of(p, (double)row->logp[i], (double)row->ref[i], ratio, &kl_slope);
            loss += p->beta * kl, by_logp += p->beta * kl_slope, sums->kl += kl;
        }
        sums->loss += row->weight * loss;
        slope[i] = (float)(row->weight * by_logp);
        sums->off = fmax(sums->off, fabs(ratio - 1));
        n_low += is_low, n_high += is_high;
    }
    if (row->n < 1) return;
    double part_low = (double)n_low / row->n, part_high = (double)n_high / row->n;
    if (!sums->n || part_low < sums->low_min) sums->low_min = part_low;
    if (!sums->n || part_high > sums->high_max) sums->high_max = part_high;
    sums->n += row->n, sums->n_low += n_low, sums->n_high += n_high;
}
