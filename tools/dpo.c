/* dpo.c - run dpo: direct preference optimization (Rafailov et al. 2023, arXiv:2305.18290), from pairs of answers to an adapter.
 *
 *     run dpo MODEL PAIRS.jsonl --output_dir OUT
 *
 * Of two answers to a prompt one is the better. The model learns to find it likelier than the other, by more than the
 * reference does: the same model without the adapter, whose log-probabilities are computed once. Both answers of a
 * pair go forward, then train/preference.c says how much each is to rise or fall, then both go back. */
#include "show.h"
#include "tuning.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

typedef struct { /* what the user asks for */
    tuning_options tuning;
    float beta, smoothing, sft;
    const char *loss, *ref_adapter;
    int precompute;
} dpo_options;

static const char *const dpo_figures[] = { "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen",
                                           "logps/rejected", "logits/chosen", "logits/rejected", "entropy", NULL };
enum { CHOSEN, REJECTED, MARGINS, ACCURACIES, LOGP, LOGP_REJECTED, LOGITS, LOGITS_REJECTED, ENTROPY, FIGURES };

typedef struct { /* what was found of a pair */
    pith__preferred got;
    double logp[2], logits[2], entropy; /* sums over the tokens that count, of the chosen and the rejected answer, */
    int n[2];                           /* of which there are so many */
} judged_pair;

typedef struct { /* the objective */
    tuning s;
    const dpo_options *o;
    pith__preference how;
    pith_adapter *ref_adapter;
    double *ref;        /* (n_train + n_eval) log-probability of each answer for the reference; NAN: not known yet */
    size_t *wanted;     /* (the same) room for numbers of answers, and */
    double *found;      /* for their log-probabilities */
    judged_pair *pair;  /* (batch_size) of the step */
    double scored[FIGURES]; /* what was found of what is held out */
    int warned;
} dpo_run;

static dpo_run *dpo_of(const trainer *t) { return t->of; }

/* ---- flags ----------------------------------------------------------------------------------- */

static const char dpo_usage[] =
    "run dpo MODEL PAIRS.jsonl... --output_dir OUT [options]\n"
    "Teach a model which of two answers is better. A row is {\"prompt\": ..., \"chosen\": ..., \"rejected\": ...}, texts\n"
    "or messages; without a prompt it is what both answers begin with. What is taught is a LoRA, for PEFT and\n"
    "llama.cpp; the reference is the model without it. Defaults stand in brackets.\n\n";

static int check_preference(const dpo_options *o, pith__preference *how) {
    int smooth = o->smoothing > 0;
    *how = (pith__preference){ .loss = pith__preference_named(o->loss), .beta = (double)o->beta,
                               .smoothing = (double)o->smoothing, .sft = (double)o->sft };
    if (how->loss < 0)
        return complain(USAGE, "--loss_type is '%s', need sigmoid, cdpo, robust, hinge or ipo", o->loss);
    if (!(o->beta > 0)) return complain(USAGE, "--beta is %g, need more than 0: nothing would be preferred", (double)o->beta);
    if (smooth && how->loss != PITH__SIGMOID && how->loss != PITH__CDPO && how->loss != PITH__ROBUST)
        return complain(USAGE, "--label_smoothing is of no use with --loss_type %s", o->loss);
    if (!(o->smoothing < 0.5f)) return complain(USAGE, "--label_smoothing is %g, need less than 0.5", (double)o->smoothing);
    return 0;
}

static int read_dpo_options(int argc, char **argv, dpo_options *o, pith__preference *how) {
    tuning_options *t = &o->tuning;
    const flag flags[] = {
        { 0, "beta", REAL, &o->beta, 0, 1e6, "X", "how near to stay to the reference (%)" },
        { 0, "loss-type", TEXT, &o->loss, 0, 0, "NAME", "sigmoid, cdpo, robust, hinge, ipo (%)" },
        { 0, "label-smoothing", REAL, &o->smoothing, 0, 1, "P", "of sigmoid, cdpo, robust: part of the pairs labelled wrong (%)" },
        { 0, "rpo-alpha", REAL, &o->sft, 0, 1e6, "X", "add X times the chosen answer's mean -log p (%)" },
        { 0, "ref-adapter", TEXT, &o->ref_adapter, 0, 0, "PATH", "the reference has this adapter (none)" },
        { 0, "precompute-ref-log-probs", BOOLEAN, &o->precompute, 0, 0, "true|false",
          "the reference reads all pairs before the first step (true); else each before it is learned from" },
        TUNING_FLAGS(t, "1e-5; with --full 1e-6", "0.05 of 100 pairs and more")
    };
    *o = (dpo_options){ .tuning = TUNING_DEFAULTS(10), .beta = 0.1f, .loss = "sigmoid", .precompute = 1 };
    int code = read_flags_and_files(argc, argv, dpo_usage, flags, &t->model.path, &t->files);
    if (code != GO_ON) return code;
    if (!t->model.path) return complain(USAGE, "no model given, see --help");
    code = check_tuning(t, "dpo");
    if (!code) code = check_preference(o, how);
    if (t->train.lr < 0) t->train.lr = t->full ? 1e-6f : 1e-5f; /* TRL's, and ten times as much for LoRA */
    return code ? code : GO_ON;
}

/* ---- the reference ----------------------------------------------------------------------------- */

/* n of the answers in r->wanted: what the reference says of them. The trainer's adapter is on again after it. */
static int ask_reference(dpo_run *r, size_t n) {
    trainer *t = &r->s.t;
    pith_error e = { 0, "" };
    int code = 0;
    pith__step_adapter(t->step, r->ref_adapter);
    for (size_t i = 0, lot; i < n && !code; i += lot) {
        lot = n - i < 16 ? n - i : 16;
        if (pith__logps(t->step, &r->s.data, r->wanted + i, lot, r->found + i, &e)) code = complain(FAILED, "%s", e.text);
        for (size_t k = i; k < i + lot && !code; k++) r->ref[r->wanted[k]] = r->found[k];
        if (!code) show_progress(&t->shown, i + lot, n);
        if (!code) code = stopped();
    }
    pith__step_adapter(t->step, r->s.adapter);
    return code;
}

/* Those of the pair at example, number first and the next, that are not known. */
static size_t want_pair(dpo_run *r, size_t first, size_t n) {
    for (size_t i = first; i < first + 2; i++)
        if (isnan(r->ref[i])) r->wanted[n++] = i;
    return n;
}

static int dpo_reference(tuning *s) {
    dpo_run *r = s->t.of;
    size_t n = 0, all = s->data.n_train + s->data.n_eval;
    if (s->t.o->dry_run || (!r->o->precompute && s->adapter)) return 0;
    for (size_t i = 0; i < all; i += 2) n = want_pair(r, i, n); /* --full: while the weights are those of the file */
    return ask_reference(r, n);
}

static size_t train_pair(const trainer *t, int64_t step, int64_t k) { /* its first example */
    return 2 * (size_t)tuning_unit(tuning_of(t), step, k);
}

static int dpo_prepare(trainer *t, int64_t step) {
    dpo_run *r = dpo_of(t);
    step_size size;
    size_t n = 0;
    t->what->size(t, step, &size);
    for (int64_t k = 0; k < size.n_count; k++) n = want_pair(r, train_pair(t, step, k), n);
    return n ? ask_reference(r, n) : 0;
}

/* ---- the objective --------------------------------------------------------------------------- */

static void dpo_size(const trainer *t, int64_t step, step_size *size) {
    const pith__examples *x = &tuning_of(t)->data;
    *size = (step_size){ 0, 0, 0 };
    for (int64_t k = 0; k < t->batch_size && tuning_unit(tuning_of(t), step, k) >= 0; k++) {
        size_t first = train_pair(t, step, k);
        size->n_sequence += 2, size->n_count++;
        size->n_token += pith__examples_get(x, first).n + pith__examples_get(x, first + 1).n;
    }
}

static void dpo_sequence(trainer *t, int64_t step, int64_t i, const sequence_room *room, pith__sequence *to) {
    pith__example e = pith__examples_get(&tuning_of(t)->data, train_pair(t, step, i / 2) + (size_t)(i % 2));
    size_t n = (size_t)t->n_ctx + 1;
    learn_example(&e, room->token, to);
    to->slope = room->number, to->logp = to->slope + n, to->mean_logit = to->logp + n, to->entropy = to->mean_logit + n;
}

static double sum_of(const float *x, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (double)x[i];
    return sum;
}

static void prefer(const dpo_run *r, size_t first, judged_pair *p) {
    const pith__answer_logp chosen = { p->logp[0], r->ref[first], p->n[0] }, rejected = { p->logp[1], r->ref[first + 1], p->n[1] };
    pith__prefer(&r->how, &chosen, &rejected, &p->got);
}

static int counted(const dpo_run *r, size_t example) {
    const pith__example e = pith__examples_get(&r->s.data, example);
    int n = 0;
    for (int i = 1; i < e.n; i++) n += e.counts[i];
    return n;
}

static void dpo_judge(void *of, int64_t first, const pith__sequence *s, int n) {
    const trainer *t = of;
    dpo_run *r = dpo_of(t);
    size_t example = train_pair(t, t->adam.step, first / 2);
    judged_pair *p = &r->pair[first / 2];
    p->entropy = 0;
    for (int k = 0; k < n; k++) {
        p->n[k] = counted(r, example + (size_t)k);
        p->logp[k] = sum_of(s[k].logp, s[k].n);
        p->logits[k] = sum_of(s[k].mean_logit, s[k].n);
        p->entropy += sum_of(s[k].entropy, s[k].n);
    }
    prefer(r, example, p);
    for (int k = 0; k < n; k++)
        for (int i = 0; i < s[k].n; i++) /* of -log p, whose sum falls where the answer gets likelier */
            s[k].slope[i] = (float)-(k ? p->got.slope_rejected : p->got.slope_chosen);
}

/* Means over n pairs; the loss. */
static double mean_figures(const judged_pair *p, size_t n, double *x) {
    double loss = 0, tokens[2] = { 0, 0 };
    for (size_t i = 0; i < n; i++, p++) {
        loss += p->got.loss;
        x[CHOSEN] += p->got.reward_chosen, x[REJECTED] += p->got.reward_rejected, x[ACCURACIES] += p->got.right;
        x[LOGP] += p->logp[0], x[LOGP_REJECTED] += p->logp[1], x[ENTROPY] += p->entropy;
        x[LOGITS] += p->logits[0], x[LOGITS_REJECTED] += p->logits[1];
        tokens[0] += p->n[0], tokens[1] += p->n[1];
    }
    x[MARGINS] = x[CHOSEN] - x[REJECTED];
    for (int i = CHOSEN; i <= LOGP_REJECTED; i++) x[i] /= (double)n;
    x[LOGITS] /= tokens[0], x[LOGITS_REJECTED] /= tokens[1], x[ENTROPY] /= tokens[0] + tokens[1]; /* by the token */
    return loss / (double)n;
}

/* The margin may grow although both answers become less likely. */
static void warn_of_falling(trainer *t, const double *x) {
    dpo_run *r = dpo_of(t);
    if (r->warned || !(x[CHOSEN] < -1) || !(x[CHOSEN] < -0.5 * x[MARGINS])) return;
    r->warned = 1;
    fprintf(stderr, "%spith: step %lld: the chosen answers became less likely too (rewards/chosen %.2f): --rpo_alpha 1 holds them "
            "up, a smaller --learning_rate or a larger --beta slows it down\n", t->terminal ? "\n" : "",
            (long long)t->adam.step + 1, x[CHOSEN]);
}

static double dpo_learned(trainer *t, const pith__loss *loss, double *figure) {
    step_size size;
    (void)loss;
    dpo_size(t, t->adam.step, &size);
    double mean = mean_figures(dpo_of(t)->pair, (size_t)size.n_count, figure);
    warn_of_falling(t, figure);
    return mean;
}

/* ---- what is held out ---------------------------------------------------------------------------- */

static int dpo_score(trainer *t, double *loss) {
    dpo_run *r = dpo_of(t);
    pith_error e = { 0, "" };
    double x[FIGURES] = { 0 };
    int64_t n = t->n_eval < t->o->max_eval ? t->n_eval : t->o->max_eval;
    size_t unknown = 0;
    judged_pair *pair = n ? calloc((size_t)n, sizeof *pair) : NULL;
    *loss = (double)NAN;
    if (!n) return 0;
    if (!pair) return complain(FAILED, "no memory to score pairs");
    for (int64_t i = 0; i < n; i++) unknown = want_pair(r, r->s.data.n_train + 2 * (size_t)(i * t->n_eval / n), unknown);
    int code = unknown ? ask_reference(r, unknown) : 0;
    for (int64_t i = 0; i < n && !code; i++) {
        size_t first = r->s.data.n_train + 2 * (size_t)(i * t->n_eval / n);
        const size_t both[2] = { first, first + 1 };
        if (pith__logps(t->step, &r->s.data, both, 2, pair[i].logp, &e)) code = complain(FAILED, "%s", e.text);
        for (int k = 0; k < 2; k++) pair[i].n[k] = counted(r, both[k]);
        prefer(r, first, &pair[i]);
        if (!code) code = stopped();
    }
    if (!code) *loss = mean_figures(pair, (size_t)n, x);
    for (int i = 0; i <= LOGP_REJECTED; i++) r->scored[i] = x[i];
    free(pair);
    return code;
}

static int dpo_measure(trainer *t, const pith__loss *loss) {
    const dpo_run *r = dpo_of(t);
    for (int i = 0; i <= LOGP_REJECTED && t->n_eval; i++) {
        char name[64];
        snprintf(name, sizeof name, "eval_%s", dpo_figures[i]);
        log_number(t, name, r->scored[i]);
    }
    if (t->n_eval) fprintf(stderr, "  margin %.3f  right %.0f %%", r->scored[MARGINS], 100 * r->scored[ACCURACIES]);
    return tuning_measure(t, loss);
}

static void dpo_numbers(const trainer *t, double *x) {
    const dpo_run *r = dpo_of(t);
    tuning_numbers(t, x);
    x[PITH__MARK_LOSS] = r->how.loss, x[PITH__MARK_BETA] = r->how.beta;
    x[PITH__MARK_SMOOTHING] = r->how.smoothing, x[PITH__MARK_SFT] = r->how.sft;
}

static const objective dpo_objective = {
    .prepare = dpo_prepare, .size = dpo_size, .sequence = dpo_sequence, .group = 2, .judge = dpo_judge, .learned = dpo_learned,
    .figures = dpo_figures, .score = dpo_score, .numbers = dpo_numbers, .measure = dpo_measure
};

/* ---- a run ----------------------------------------------------------------------------------- */

static int dpo_data(tuning *s) {
    dpo_run *r = s->t.of;
    pith__examples_plan plan = { .pairs = 1 };
    pith_error e = { 0, "" };
    int code = tuning_examples(s, &plan);
    if (code) return code;
    size_t all = s->data.n_train + s->data.n_eval, batch = (size_t)s->t.o->batch * (size_t)s->t.o->accumulate, n = (size_t)s->o->show;
    r->ref = pith__arena_new(&s->t.arena, all, sizeof *r->ref), r->found = pith__arena_new(&s->t.arena, all, sizeof *r->found);
    r->wanted = pith__arena_new(&s->t.arena, all, sizeof *r->wanted), r->pair = pith__arena_new(&s->t.arena, batch, sizeof *r->pair);
    if (!r->ref || !r->wanted || !r->found || !r->pair) return complain(FAILED, "no memory for %zu pairs", all / 2);
    for (size_t i = 0; i < all; i++) r->ref[i] = (double)NAN;
    if (r->o->ref_adapter && !(r->ref_adapter = pith_adapter_open(s->t.m, r->o->ref_adapter, &e)))
        return complain(NOT_LOADED, "%s", e.text);
    return n ? show_examples(s->t.m, &s->data, NULL, &plan, n < all / 2 ? 2 * n : all) : 0;
}

static int dpo_forecast(tuning *s) {
    const trainer *t = &s->t;
    const pith__examples *x = &s->data;
    say_learned(s);
    fprintf(stderr, "pairs        %zu to learn from, %zu held out; %zu tokens, of which %zu count; the longest answer has %d with its "
            "prompt\n", x->n_train / 2, x->n_eval / 2, x->n_token, x->n_label, x->longest);
    say_examples(s);
    return tuning_forecast(s, 2.0 * (t->n_eval < t->o->max_eval ? t->n_eval : t->o->max_eval));
}

int verb_dpo(int argc, char **argv) {
    static const lesson dpo_lesson = { .data = dpo_data, .reference = dpo_reference, .forecast = dpo_forecast };
    dpo_options o;
    dpo_run r = { .o = &o };
    int code = read_dpo_options(argc, argv, &o, &r.how);
    if (code != GO_ON) return code;
    code = tuning_run(&r.s, &o.tuning, &dpo_objective, &dpo_lesson);
    pith_adapter_close(r.ref_adapter);
    return code;
}
