/* preference.c - what of two answers one is better teaches: the losses of DPO (Rafailov et al. 2023, arXiv:2305.18290)
 * from log-probabilities of whole answers, that of a reward model (Bradley and Terry 1952; Ouyang et al. 2022,
 * arXiv:2203.02155) from their scores, and the slopes by them. */
#include "train.h"

#include <math.h>
#include <string.h>

static const char *const loss_names[] = { "sigmoid", "cdpo", "robust", "hinge", "ipo" }; /* in the order of the enum */

PITH_SHARED int pith__preference_named(const char *name) {
    for (int i = 0; i < (int)(sizeof loss_names / sizeof *loss_names); i++)
        if (!strcmp(name, loss_names[i])) return i;
    return -1;
}

static double minus_log_sigmoid(double x) { return x > 0 ? log1p(exp(-x)) : log1p(exp(x)) - x; }

static double sigmoid(double x) { return x > 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x)); }

/* a times -log s(x) and b times -log s(-x), and the slope by x. */
static double both_ways(double x, double a, double b, double *slope) {
    *slope = b * sigmoid(x) - a * sigmoid(-x);
    return a * minus_log_sigmoid(x) + b * minus_log_sigmoid(-x);
}

/* h: how much more the model prefers the chosen answer than the reference does. */
static double loss_of(const pith__preference *p, double h, double *slope) {
    double x = p->beta * h, e = p->smoothing, loss, off;
    switch (p->loss) {
    case PITH__HINGE: *slope = x < 1 ? -p->beta : 0; return x < 1 ? 1 - x : 0;
    case PITH__IPO: /* Azar et al. 2023, arXiv:2310.12036: a margin to come to, not to exceed */
        off = h - 1 / (2 * p->beta);
        *slope = 2 * off;
        return off * off;
    case PITH__ROBUST: /* Chowdhury et al. 2024, arXiv:2403.00409: as if part e of the labels had not been wrong */
        loss = both_ways(x, (1 - e) / (1 - 2 * e), -e / (1 - 2 * e), slope);
        break;
    default: loss = both_ways(x, 1 - e, e, slope);
    }
    *slope *= p->beta;
    return loss;
}

PITH_SHARED void pith__prefer(const pith__preference *p, const pith__answer_logp *chosen,
                              const pith__answer_logp *rejected, pith__preferred *to) {
    double won = chosen->logp - chosen->ref, lost = rejected->logp - rejected->ref, slope;
    double n = p->loss == PITH__IPO ? chosen->n : 1, n_lost = p->loss == PITH__IPO ? rejected->n : 1;
    to->loss = loss_of(p, won / n - lost / n_lost, &slope);
    to->slope_chosen = slope / n, to->slope_rejected = -slope / n_lost;
    to->loss -= p->sft * chosen->logp / chosen->n;
    to->slope_chosen -= p->sft / chosen->n;
    to->reward_chosen = p->beta * won, to->reward_rejected = p->beta * lost;
    to->right = to->reward_chosen > to->reward_rejected;
}

PITH_SHARED double pith__rank(double chosen, double rejected, double margin, double center, double slope[2]) {
    double by, loss = both_ways(chosen - rejected - margin, 1, 0, &by), off = chosen + rejected;
    slope[0] = by + 2 * center * off;
    slope[1] = -by + 2 * center * off;
    return loss + center * off * off;
}
