/* checkpoint.c - the state of a training, saved and loaded.
 *
 * A checkpoint is a GGUF file of floats, with the optimizer's means beside each weight (adam_m.NAME,
 * adam_v.NAME) and keys that say how far training came: one file, so it is there whole or not at all,
 * and it runs like any other model. */
#include "train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NEEDED = 4, MARKS = 10 }; /* the keys of a checkpoint, in the order of mark_values(), and those it must have */
static const char *const marks[MARKS] = {
    "pith.train.step", "pith.train.seed", "pith.train.batch", "pith.train.texts", "pith.train.since_counted",
    "pith.train.since_right", "pith.train.since_steps", "pith.train.since_loss", "pith.train.smooth_loss",
    "pith.train.num_tokens"
};
enum { SMOOTH = 8 };

/* A key's float has 32 bits: a double goes as a whole number that has its bits. */
static int64_t bits_of(double x) {
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static double double_of(int64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void mark_values(const pith__mark *m, int64_t *value) {
    const int64_t all[MARKS] = { m->step, m->seed, m->batch, m->texts, m->since.n, m->since.n_right, m->since_steps,
                                 bits_of(m->since_sum), bits_of(m->smooth), m->seen };
    memcpy(value, all, sizeof all);
}

static void mark_from_values(pith__mark *m, const int64_t *value) {
    m->step = value[0], m->seed = value[1], m->batch = value[2], m->texts = value[3];
    m->since = (pith__loss){ 0, value[4], value[5] };
    m->since_steps = value[6], m->since_sum = double_of(value[7]), m->smooth = double_of(value[SMOOTH]);
    m->seen = value[9];
}

static const char rounded_name[] = "pith.train.qat";
static const char sum_name[] = "pith.train.since_sum_%d"; /* of a figure */

PITH_SHARED const char *pith__mark_name(int i) {
    static const char *const names[PITH__MARK_NUMBERS] = {
        "learning_rate", "min_lr_rate", "warmup_steps", "max_steps", "lr_scheduler_type", "weight_decay",
        "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "context",
        "lora_scale", "lora_dropout", "packing", "train_sampling_strategy",
        "loss_type", "beta", "label_smoothing", "rpo_alpha",
        "scale_rewards", "epsilon", "epsilon_high", "temperature", "num_generations",
        "max_completion_length", "num_iterations", "steps_per_generation",
        "center_rewards_coefficient",
        "kl_coef", "kl_estimator", "cliprange", "cliprange_value", "vf_coef", "gamma",
        "lam", "whiten_rewards", "missing_eos_penalty", "num_ppo_epochs", "num_mini_batches", "value_gradient",
        "bf16"
    };
    return names[i];
}

/* Whole numbers are written as such. 0: no memory. */
static int mark_key(pith__arena *a, pith__key *k, int i, double x) {
    char name[64];
    int n = snprintf(name, sizeof name, "pith.train.%s", pith__mark_name(i));
    char *copy = pith__arena_text(a, name, (size_t)n);
    *k = (pith__key){ .name = { copy, (size_t)n }, .type = PITH__FLOAT, .f = x };
    if (x >= 0 && x <= INT32_MAX && floor(x) == x) k->type = PITH__INT, k->i = (int64_t)x;
    return copy != NULL;
}

static int sum_key(pith__arena *a, pith__key *k, int i, double x) {
    char name[64];
    int n = snprintf(name, sizeof name, sum_name, i);
    char *copy = pith__arena_text(a, name, (size_t)n);
    *k = (pith__key){ .name = { copy, (size_t)n }, .type = PITH__INT, .i = bits_of(x) };
    return copy != NULL;
}

static const char squares[] = "adam_v."; /* means of squares are never negative */

/* The tensor called BEGIN and NAME, of floats x, as parameter q is shaped. */
static pith__tensor float_tensor(pith__arena *a, const pith__param *q, const char *begin,
                                 const float *x) {
    pith__tensor t = *q->tensor;
    size_t n = strlen(begin);
    char *name = n ? pith__arena_new(a, n + t.name.n, 1) : NULL;
    t.format = pith__format_of(PITH__F32);
    t.row_bytes = t.cols * sizeof *x;
    t.data = (const uint8_t *)x;
    t.scale = NULL;
    if (name) {
        memcpy(name, begin, n);
        memcpy(name + n, t.name.p, t.name.n);
        t.name = (pith__str){ name, n + t.name.n };
    } else if (n) {
        t.data = NULL; /* no memory */
    }
    return t;
}

PITH_SHARED pith__tensor *pith__learned_tensors(const pith__params *p, pith__arena *a) {
    pith__tensor *t = pith__arena_new(a, p->n_param, sizeof *t);
    for (size_t i = 0; t && i < p->n_param; i++)
        t[i] = float_tensor(a, &p->param[i], "", p->param[i].w);
    return t;
}

PITH_SHARED int pith__checkpoint_save(const pith__store *base, const pith__params *p,
                                      const pith__adamw *adam, const pith__mark *mark,
                                      const char *path, pith_error *err) {
    int64_t value[MARKS];
    size_t n = p->n_param, n_key = base->n_key;
    mark_values(mark, value);
    pith__arena a = { NULL, 0 };
    pith__store s = *base;
    s.key = pith__arena_new(&a, n_key + MARKS + PITH__MARK_NUMBERS + PITH__MARK_SUMS + 1, sizeof *s.key);
    pith__tensor *t = pith__arena_new(&a, 3 * n, sizeof *t);
    int failed = !s.key || !t;
    for (size_t i = 0; i < n && !failed; i++) {
        const pith__param *q = &p->param[i];
        size_t at = (size_t)(q->g - p->g);
        t[i] = float_tensor(&a, q, "", q->w);
        t[n + i] = float_tensor(&a, q, "adam_m.", adam->m + at);
        t[2 * n + i] = float_tensor(&a, q, squares, adam->v + at);
        failed = !t[n + i].data || !t[2 * n + i].data;
    }
    if (!failed && n_key) memcpy(s.key, base->key, n_key * sizeof *s.key);
    for (size_t i = 0; i < MARKS && !failed; i++)
        s.key[n_key + i] =
            (pith__key){ .name = pith__str_of(marks[i]), .type = PITH__INT, .i = value[i] };
    s.n_key = n_key + MARKS;
    for (int i = 0; i < PITH__MARK_NUMBERS && !failed; i++)
        if (isfinite(mark->number[i])) failed = !mark_key(&a, &s.key[s.n_key++], i, mark->number[i]);
    for (int i = 0; i < PITH__MARK_SUMS && !failed; i++)
        if (mark->sum[i] < 0 || mark->sum[i] > 0) failed = !sum_key(&a, &s.key[s.n_key++], i, mark->sum[i]);
    if (mark->rounded.n && !failed)
        s.key[s.n_key++] = (pith__key){ .name = pith__str_of(rounded_name), .type = PITH__STRING, .s = mark->rounded };
    int code = failed ? pith__fail(err, PITH_EMEMORY, "%s: no memory to write it", path)
                      : pith__gguf_write(&s, t, 3 * n, pith__format_of(PITH__F32), path, err);
    pith__arena_free(&a);
    return code;
}

/* The floats of tensor BEGIN and NAME of a checkpoint into x, which is shaped as the model's tensor
 * like. */
static int load_floats(const pith__store *s, const char *begin, const pith__tensor *like,
                       float *x, pith_error *err) {
    char name[128];
    snprintf(name, sizeof name, "%s%.*s", begin, (int)like->name.n, like->name.p);
    const pith__tensor *t = pith__store_tensor(s, name);
    if (!t) return pith__fail(err, PITH_EFORMAT, "%s: no tensor '%s'", s->path, name);
    if (t->rows != like->rows || t->cols != like->cols)
        return pith__fail(err, PITH_EFORMAT, "%s: tensor '%s' is %zu x %zu, need %zu x %zu", s->path, name,
                        t->rows, t->cols, like->rows, like->cols);
    for (size_t r = 0; r < t->rows; r++) pith__row_floats(t, r, x + r * t->cols);
    for (size_t i = 0; i < t->rows * t->cols; i++)
        if (!isfinite(x[i]) || (x[i] < 0 && *begin && !strcmp(begin, squares)))
            return pith__fail(err, PITH_EFORMAT, "%s: number %zu of tensor '%s' is %g", s->path, i, name,
                            (double)x[i]);
    return 0;
}

PITH_SHARED int pith__weights_load(const pith__store *s, pith__params *p, pith_error *err) {
    int code = 0;
    for (size_t i = 0; i < p->n_param && !code; i++)
        code = load_floats(s, "", p->param[i].tensor, p->param[i].w, err);
    if (!code) pith__params_round(p);
    return code;
}

PITH_SHARED int pith__checkpoint_load(const pith__store *s, pith__params *p, pith__adamw *adam,
                                      pith__mark *mark, pith_error *err) {
    int64_t value[MARKS] = { 0 };
    value[SMOOTH] = bits_of(-1); /* of a checkpoint that does not say */
    for (size_t i = 0; i < MARKS; i++) {
        const pith__key *k = pith__store_key(s, marks[i]);
        if (k && k->type == PITH__INT) value[i] = k->i;
        else if (i < NEEDED)
            return pith__fail(err, PITH_EFORMAT, "%s: is no checkpoint: no key '%s'", s->path, marks[i]);
    }
    mark_from_values(mark, value);
    for (int i = 0; i < PITH__MARK_NUMBERS; i++) {
        char name[64];
        snprintf(name, sizeof name, "pith.train.%s", pith__mark_name(i));
        const pith__key *k = pith__store_key(s, name);
        mark->number[i] = k && (k->type == PITH__INT || k->type == PITH__FLOAT) ? k->f : (double)NAN;
    }
    for (int i = 0; i < PITH__MARK_SUMS; i++) {
        char name[64];
        snprintf(name, sizeof name, sum_name, i);
        const pith__key *k = pith__store_key(s, name);
        mark->sum[i] = k && k->type == PITH__INT ? double_of(k->i) : 0;
    }
    const pith__key *rounded = pith__store_key(s, rounded_name);
    mark->rounded = rounded && rounded->type == PITH__STRING ? rounded->s : (pith__str){ NULL, 0 };
    if (mark->step < 0)
        return pith__fail(err, PITH_EFORMAT, "%s: its step is %lld", s->path, (long long)mark->step);
    int code = 0;
    for (size_t i = 0; i < p->n_param && !code; i++) {
        const pith__param *q = &p->param[i];
        size_t at = (size_t)(q->g - p->g);
        code = load_floats(s, "", q->tensor, q->w, err);
        if (!code) code = load_floats(s, "adam_m.", q->tensor, adam->m + at, err);
        if (!code) code = load_floats(s, squares, q->tensor, adam->v + at, err);
    }
    if (!code && s->n_tensor != 3 * p->n_param) /* what has learned would be left out */
        code = pith__fail(err, PITH_EFORMAT, "%s: has %zu tensors, need %zu: other matrices have learned", s->path,
                          s->n_tensor, 3 * p->n_param);
    adam->step = mark->step;
    if (!code) pith__params_round(p);
    return code;
}
