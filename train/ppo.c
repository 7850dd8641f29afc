/* ppo.c - proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347): what each token of an answer brought, how
 * much more than was expected, and the clipped losses of the policy and of the values with their slopes. */
#include "train.h"

#include <math.h>

#define WHITE_EPS 1e-8 /* as trl has it */

/* Estimates of KL(policy || reference) by one token that the policy drew: http://joschu.net/blog/kl-approx.html */
PITH_SHARED double pith__kl_estimate(int estimator, double logp, double ref) {
    double d = ref - logp;
    return estimator == PITH__K3 ? expm1(d) - d : -d;
}

/* ---- rewards and advantages of a batch ------------------------------------------------------------------- */

static float *column(const pith__episode *e, int rewards) { return rewards ? e->reward : e->advantage; }

static int column_length(const pith__episode *e, int rewards) { return rewards ? e->n_value : e->n; }

/* To a variance of 1, and advantages to a mean of 0: over all tokens of the batch, rewards over the place behind them too. */
static void whiten(const pith__episode *e, size_t n, int rewards) {
    double count = 0, sum = 0, square = 0;
    for (size_t i = 0; i < n; i++)
        for (int t = 0; t < column_length(&e[i], rewards); t++) sum += (double)column(&e[i], rewards)[t], count++;
    double mean = sum / count;
    for (size_t i = 0; i < n; i++)
        for (int t = 0; t < column_length(&e[i], rewards); t++) square += pow((double)column(&e[i], rewards)[t] - mean, 2);
    double by = 1 / sqrt(square / (count > 1 ? count - 1 : 1) + WHITE_EPS);
    for (size_t i = 0; i < n; i++)
        for (int t = 0; t < column_length(&e[i], rewards); t++) {
            float *x = column(&e[i], rewards) + t;
            *x = (float)(((double)*x - mean) * by + (rewards ? mean : 0));
        }
}

/* The penalty for each token's way from the reference, and at the end the score. */
static void reward_tokens(const pith__ppo *p, const pith__episode *e, pith__ppo_objective *sum) {
    int end = p->score_behind ? e->n_value - 1 : e->n - 1;
    for (int t = 0; t < e->n_value; t++) {
        double kl = t < e->n ? pith__kl_estimate(p->estimator, (double)e->logp[t], (double)e->ref[t]) : 0;
        e->reward[t] = (float)((t == end ? e->score : 0) - p->kl_coef * kl);
        sum->kl += kl, sum->non_score_reward -= p->kl_coef * kl;
        if (t < e->n) sum->entropy -= (double)e->logp[t];
    }
    sum->score += e->score;
}

/* Generalised advantage estimation (Schulman et al. 2015, arXiv:1506.02438), from the last token back. */
static void estimate_advantages(const pith__ppo *p, const pith__episode *e) {
    double next = 0, advantage = 0;
    for (int t = e->n_value - 1; t >= 0; t--) {
        double value = (double)e->value[t];
        advantage = (double)e->reward[t] + p->gamma * next - value + p->gamma * p->lam * advantage;
        e->advantage[t] = t < e->n ? (float)advantage : 0;
        e->ret[t] = (float)(advantage + value);
        next = value;
    }
}

PITH_SHARED void pith__ppo_advantages(const pith__ppo *p, const pith__episode *e, size_t n,
                                      pith__ppo_objective *mean) {
    *mean = (pith__ppo_objective){ 0, 0, 0, 0 };
    for (size_t i = 0; i < n; i++) reward_tokens(p, &e[i], mean);
    if (p->whiten_rewards) whiten(e, n, 1);
    for (size_t i = 0; i < n; i++) estimate_advantages(p, &e[i]);
    whiten(e, n, 0);
    mean->kl /= (double)n, mean->entropy /= (double)n, mean->non_score_reward /= (double)n, mean->score /= (double)n;
}

/* ---- losses ------------------------------------------------------------------------------------------------ */

static double within(double x, double least, double most) { return x < least ? least : x > most ? most : x; }

/* The slope is by the token's log-probability. Clipped: what is gained beyond the range does not count. */
PITH_SHARED pith__clipped pith__clip_policy(double range, double ratio, double advantage) {
    double loss = -advantage * ratio, other = -advantage * within(ratio, 1 - range, 1 + range);
    return other > loss ? (pith__clipped){ other, 0, 1 } : (pith__clipped){ loss, loss, 0 };
}

PITH_SHARED pith__clipped pith__clip_value(double range, double value, double before, double ret) {
    double off = value - ret, other = within(value, before - range, before + range) - ret;
    if (other * other > off * off) return (pith__clipped){ 0.5 * other * other, 0, 1 };
    return (pith__clipped){ 0.5 * off * off, off, 0 };
}

PITH_SHARED void pith__ppo_judge(const pith__ppo *p, const pith__episode *e, const pith__ppo_now *now,
                                 pith__ppo_sums *s) {
    *s = (pith__ppo_sums){ .n = e->n, .n_value = e->n_value };
    for (int t = 0; t < e->n; t++) {
        double d = (double)now->logp[t] - (double)e->logp[t], ratio = exp(d);
        const pith__clipped c = pith__clip_policy(p->clip, ratio, (double)e->advantage[t]);
        now->slope[t] = (float)-c.slope; /* of -log p */
        s->policy += c.loss, s->clipped += c.clipped, s->square += 0.5 * d * d;
        s->ratio += ratio, s->ratio_square += ratio * ratio;
    }
    for (int t = 0; t < e->n_value; t++) {
        double before = (double)e->value[t], ret = (double)e->ret[t];
        const pith__clipped c = pith__clip_value(p->clip_value, (double)now->value[t], before, ret);
        now->value_slope[t] = (float)(p->vf_coef * c.slope);
        s->value += c.loss, s->value_clipped += c.clipped;
    }
}

PITH_SHARED void pith__ppo_add(pith__ppo_sums *to, const pith__ppo_sums *s) {
    to->policy += s->policy, to->value += s->value, to->square += s->square;
    to->ratio += s->ratio, to->ratio_square += s->ratio_square;
    to->clipped += s->clipped, to->value_clipped += s->value_clipped, to->n += s->n, to->n_value += s->n_value;
}
