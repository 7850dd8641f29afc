/* reward.c - run reward: a reward model, from pairs of answers to an adapter and a score head.
 *
 *     run reward MODEL PAIRS.jsonl --output_dir OUT
 *
 * Of two answers to a prompt one is the better. The model learns to give it the higher score: the product of one row
 * of weights, the head, and the state of the text's last token. Both answers of a pair go forward, train/preference.c
 * says how far each score is to rise or fall (Bradley and Terry 1952), then both go back. OUT is a PEFT folder of task
 * SEQ_CLS. Flags and names in the log are TRL's. */
#include "show.h"
#include "tuning.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct { /* what the user asks for */
    tuning_options tuning;
    float center;
} reward_options;

static const char *const reward_figures[] = { "accuracy", "margin", "mean_reward", "min_reward", "max_reward",
                                              "length_correlation", NULL };
enum { ACCURACY, MARGIN, MEAN, MIN, MAX, BY_LENGTH, FIGURES };

typedef struct { /* of a pair: the chosen answer, and the rejected one */
    double score[2], loss;
    int length[2];       /* tokens, of the prompt too */
} judged_pair;

typedef struct { /* the objective */
    tuning s;
    const reward_options *o;
    pith__score_head head;
    judged_pair *pair;   /* (batch_size) of the step */
    double scored[FIGURES]; /* what was found of what is held out */
    int warned;
} reward_run;

static reward_run *reward_of(const trainer *t) { return t->of; }

/* ---- flags ----------------------------------------------------------------------------------- */

static const char reward_usage[] =
    "run reward MODEL PAIRS.jsonl... --output_dir OUT [options]\n"
    "Teach a model to score answers: a reward model, for run ppo and run grpo, for run score --reward, and for\n"
    "transformers and peft (task SEQ_CLS). A row is {\"prompt\": ..., \"chosen\": ..., \"rejected\": ...}, texts or\n"
    "messages, and may have a \"margin\" by which the chosen one's score is to be greater; without a prompt it is what\n"
    "both answers begin with. Defaults stand in brackets.\n\n";

static int check_reward_options(const reward_options *o) {
    const tuning_options *t = &o->tuning;
    if (t->full) return complain(USAGE, "--full is not built here: a LoRA and a score head are taught");
    if (strcmp(t->truncation, "keep_start") != 0)
        return complain(USAGE, "--truncation is of no use: what is longer than --max_length is left out, for a score is "
                               "read at the end");
    return t->forget ? complain(USAGE, "--forget_file is of no use: a reward model writes no text") : 0;
}

static int read_reward_options(int argc, char **argv, reward_options *o) {
    tuning_options *t = &o->tuning;
    const flag flags[] = {
        { 0, "center-rewards-coefficient", REAL, &o->center, 0, 1e6, "X",
          "hold scores near 0: add X times the square of both scores' sum (%; 0.01 is usual)" },
        TUNING_FLAGS(t, "1e-4", "0.05 of 100 pairs and more")
    };
    *o = (reward_options){ .tuning = TUNING_DEFAULTS(10) };
    int code = read_flags_and_files(argc, argv, reward_usage, flags, &t->model.path, &t->files);
    if (code != GO_ON) return code;
    if (!t->model.path) return complain(USAGE, "no model given, see --help");
    code = check_reward_options(o);
    if (!code) code = check_tuning(t, "reward");
    if (t->train.lr < 0) t->train.lr = 1e-4f; /* TRL's */
    return code ? code : GO_ON;
}

/* ---- the objective --------------------------------------------------------------------------- */

static size_t train_pair(const trainer *t, int64_t step, int64_t k) { /* its first example */
    return 2 * (size_t)tuning_unit(tuning_of(t), step, k);
}

static void reward_size(const trainer *t, int64_t step, step_size *size) {
    const pith__examples *x = &tuning_of(t)->data;
    *size = (step_size){ 0, 0, 0 };
    for (int64_t k = 0; k < t->batch_size && tuning_unit(tuning_of(t), step, k) >= 0; k++) {
        size_t first = train_pair(t, step, k);
        size->n_sequence += 2, size->n_count++;
        size->n_token += pith__examples_get(x, first).n + pith__examples_get(x, first + 1).n;
    }
}

/* All tokens of the example go in, also the last, and none is predicted. */
static void score_example(const reward_run *r, size_t example, const sequence_room *room, pith__sequence *to) {
    const pith__example e = pith__examples_get(&r->s.data, example);
    for (int i = 0; i < e.n; i++) room->token[i] = -1;
    *to = (pith__sequence){ .t = e.t, .target = room->token, .n = e.n, .head = &r->head, .value = room->number,
                            .value_slope = room->number + r->s.t.n_ctx + 1 };
}

static void reward_sequence(trainer *t, int64_t step, int64_t i, const sequence_room *room, pith__sequence *to) {
    score_example(reward_of(t), train_pair(t, step, i / 2) + (size_t)(i % 2), room, to);
}

static void judge_pair(const reward_run *r, size_t first, const pith__sequence *s, judged_pair *p, double slope[2]) {
    for (int k = 0; k < 2; k++) p->score[k] = (double)s[k].value[s[k].n - 1], p->length[k] = s[k].n;
    double margin = pith__examples_get(&r->s.data, first).margin;
    p->loss = pith__rank(p->score[0], p->score[1], margin, (double)r->o->center, slope);
}

static void reward_judge(void *of, int64_t first, const pith__sequence *s, int n) {
    const trainer *t = of;
    reward_run *r = reward_of(t);
    double slope[2];
    judge_pair(r, train_pair(t, t->adam.step, first / 2), s, &r->pair[first / 2], slope);
    for (int k = 0; k < n; k++) {
        memset(s[k].value_slope, 0, (size_t)s[k].n * sizeof *s[k].value_slope);
        s[k].value_slope[s[k].n - 1] = (float)slope[k];
    }
}

/* Pearson's, of score and length over all answers; 0 where one of them is the same for all. */
static double length_correlation(const judged_pair *p, size_t n) {
    double x = 0, y = 0, xx = 0, yy = 0, xy = 0, all = 2 * (double)n;
    for (size_t i = 0; i < 2 * n; i++) x += p[i / 2].score[i % 2], y += p[i / 2].length[i % 2];
    for (size_t i = 0; i < 2 * n; i++) {
        double a = p[i / 2].score[i % 2] - x / all, b = p[i / 2].length[i % 2] - y / all;
        xx += a * a, yy += b * b, xy += a * b;
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : 0;
}

/* Of n pairs; the loss. */
static double mean_figures(const judged_pair *p, size_t n, double *x) {
    double loss = 0;
    memset(x, 0, FIGURES * sizeof *x);
    x[MIN] = INFINITY, x[MAX] = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        loss += p[i].loss / (double)n;
        x[ACCURACY] += (p[i].score[0] > p[i].score[1]) / (double)n;
        x[MARGIN] += (p[i].score[0] - p[i].score[1]) / (double)n;
        x[MEAN] += (p[i].score[0] + p[i].score[1]) / (2 * (double)n);
        x[MIN] = fmin(x[MIN], fmin(p[i].score[0], p[i].score[1]));
        x[MAX] = fmax(x[MAX], fmax(p[i].score[0], p[i].score[1]));
    }
    x[BY_LENGTH] = length_correlation(p, n);
    return loss;
}

static double reward_learned(trainer *t, const pith__loss *loss, double *figure) {
    step_size size;
    (void)loss;
    reward_size(t, t->adam.step, &size);
    return mean_figures(reward_of(t)->pair, (size_t)size.n_count, figure);
}

/* ---- what is held out ---------------------------------------------------------------------------- */

static int reward_score(trainer *t, double *loss) {
    reward_run *r = reward_of(t);
    pith_error e = { 0, "" };
    size_t n = (size_t)(t->n_eval < t->o->max_eval ? t->n_eval : t->o->max_eval);
    judged_pair *pair = n ? calloc(n, sizeof *pair) : NULL;
    int code = 0;
    *loss = (double)NAN;
    if (!n) return 0;
    if (!pair) return complain(FAILED, "no memory to score pairs");
    for (size_t i = 0; i < n && !code; i++) {
        size_t first = r->s.data.n_train + 2 * (i * (size_t)t->n_eval / n);
        pith__loss none = { 0, 0, 0 };
        pith__sequence s[2];
        double slope[2];
        for (int k = 0; k < 2; k++) {
            const sequence_room room = trainer_room(t, k);
            score_example(r, first + (size_t)k, &room, &s[k]);
        }
        if (pith__step_score(t->step, s, 2, &none, &e)) code = complain(FAILED, "%s", e.text);
        else judge_pair(r, first, s, &pair[i], slope);
        if (!code) code = stopped();
    }
    if (!code) *loss = mean_figures(pair, n, r->scored);
    free(pair);
    return code;
}

enum { FOLLOWS = 80 }; /* percent from which on it is said that scores follow length */

static int reward_measure(trainer *t, const pith__loss *loss) {
    reward_run *r = reward_of(t);
    char name[64];
    (void)loss;
    for (int i = 0; i < FIGURES; i++) {
        snprintf(name, sizeof name, "eval_%s", reward_figures[i]);
        log_number(t, name, r->scored[i]);
    }
    fprintf(stderr, "  right %.0f %%  margin %.3f", 100 * r->scored[ACCURACY], r->scored[MARGIN]);
    if (r->warned || t->n_eval < 4 || !(fabs(r->scored[BY_LENGTH]) * 100 > FOLLOWS)) return 0;
    r->warned = 1;
    fprintf(stderr, "\npith: scores follow length (correlation %.2f): length may be learned instead of quality",
            r->scored[BY_LENGTH]);
    return 0;
}

static void reward_numbers(const trainer *t, double *x) {
    tuning_numbers(t, x);
    x[PITH__MARK_CENTER] = (double)reward_of(t)->o->center;
}

static const objective reward_objective = {
    .size = reward_size, .sequence = reward_sequence, .group = 2, .judge = reward_judge, .learned = reward_learned,
    .figures = reward_figures, .score = reward_score, .numbers = reward_numbers, .measure = reward_measure
};

/* ---- a run ----------------------------------------------------------------------------------- */

static int reward_data(tuning *s) {
    reward_run *r = s->t.of;
    pith__examples_plan plan = { .pairs = 1, .scored = 1 };
    int code = tuning_examples(s, &plan);
    if (code) return code;
    size_t n = (size_t)s->o->show, all = s->data.n_train;
    s->t.n_ctx = s->data.longest; /* the last token goes in too */
    s->what.at_start = s->t.n_eval > 0;
    r->pair = pith__arena_new(&s->t.arena, (size_t)s->t.o->batch * (size_t)s->t.o->accumulate, sizeof *r->pair);
    if (!r->pair) return complain(FAILED, "no memory for the pairs of a step");
    return n ? show_examples(s->t.m, &s->data, NULL, &plan, n < all / 2 ? 2 * n : all) : 0;
}

/* The head of the adapter that is gone on from, or a new one, learns too. */
static int reward_parameters(tuning *s) {
    reward_run *r = s->t.of;
    trainer *t = &s->t;
    pith_error e = { 0, "" };
    if (!s->adapter->score && pith__score_new(s->adapter, t->o->seed, &e)) return report(&e);
    r->head.w = s->adapter->score;
    size_t n = (size_t)t->m->hyper.n_embd;
    if (pith__params_add(&t->params, PITH__SCORE_HEAD, s->adapter->score, n, t->m, &r->head.at, &e))
        return complain(FAILED, "%s", e.text);
    return 0;
}

/* A set in which nearly every chosen answer is the longer one teaches that, whatever else is better about them. */
static void say_lengths(const pith__examples *x) {
    double n = (double)x->n_train / 2, mean[2] = { 0, 0 };
    size_t longer = 0, shorter = 0;
    for (size_t i = 0; i < x->n_train; i += 2) {
        int a = pith__examples_get(x, i).n, b = pith__examples_get(x, i + 1).n;
        mean[0] += a / n, mean[1] += b / n;
        longer += a > b, shorter += a < b;
    }
    fprintf(stderr, "lengths      chosen %.0f tokens, rejected %.0f with the prompt; the chosen one is longer in %.0f %%, "
            "shorter in %.0f %%\n", mean[0], mean[1], 100 * (double)longer / n, 100 * (double)shorter / n);
    double most = 100 * (double)(longer > shorter ? longer : shorter) / n;
    if (n >= 4 && most > FOLLOWS)
        fprintf(stderr, "pith: the chosen answer is the %s one in %.0f %% of the pairs: length may be learned instead of "
                "quality\n", longer > shorter ? "longer" : "shorter", most);
}

static int reward_forecast(tuning *s) {
    const trainer *t = &s->t;
    const pith__examples *x = &s->data;
    say_learned(s);
    fprintf(stderr, "pairs        %zu to learn from, %zu held out; %zu tokens; the longest answer has %d with its prompt\n",
            x->n_train / 2, x->n_eval / 2, x->n_token, x->longest);
    say_lengths(x);
    say_examples(s);
    return tuning_forecast(s, 2.0 * (t->n_eval < t->o->max_eval ? t->n_eval : t->o->max_eval));
}

int verb_reward(int argc, char **argv) {
    static const lesson reward_lesson = { .data = reward_data, .parameters = reward_parameters,
                                          .forecast = reward_forecast };
    reward_options o;
    int code = read_reward_options(argc, argv, &o);
    if (code != GO_ON) return code;
    reward_run r = { .o = &o, .s.scores = 1 };
    return tuning_run(&r.s, &o.tuning, &reward_objective, &reward_lesson);
}
