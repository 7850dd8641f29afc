/* t_forget.c - a model that is taught something else forgets what it knew: as much as with torch (../shared/tuning),
 * step by step. On the same text drift sees the same losses as training does. */
#define _POSIX_C_SOURCE 200809L
#include "../train/train.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>

enum { ROWS = 40, LONGEST = 128, STEPS = 40, BATCH = 4, TRAIN8 = 8 };

typedef struct {         /* rows of an ids file */
    int n;
    pith__sequence row[ROWS];
    pith_token t[ROWS][LONGEST], target[ROWS][LONGEST];
} examples;

static const char *tuning(const char *family, const char *file) {
    static char name[200], path[512];
    snprintf(name, sizeof name, "tuning/%s/%s", family, file);
    const char *p = fixture_shared(name);
    snprintf(path, sizeof path, "%s", p ? p : "");
    return path;
}

/* "ids ; mask" a line, where a 1 says that the token is a label. */
static examples *read_examples(const char *family, const char *file) {
    examples *x = calloc(1, sizeof *x);
    static char line[8192];
    FILE *f = fopen(tuning(family, file), "r");
    while (f && x->n < ROWS && fgets(line, sizeof line, f)) {
        int n = 0, k = 0;
        char *p = line;
        for (; *p != '#' && *p != ';' && n < LONGEST; n++) x->t[x->n][n] = (pith_token)strtol(p, &p, 10), p += *p == ' ';
        if (*p == '#') continue;
        for (p += 2; k < n; k++, p += 2)
            if (k) x->target[x->n][k - 1] = *p == '1' ? x->t[x->n][k] : -1;
        x->row[x->n] = (pith__sequence){ x->t[x->n], x->target[x->n], n - 1 };
        x->n++;
    }
    if (!x->n) FAIL("no %s", file);
    if (f) fclose(f);
    return x;
}

/* The row of a kind and step of evals.txt. */
static void want_losses(const char *family, const char *kind, int step, double *x, int n) {
    char line[256], name[32];
    int at, used;
    FILE *f = fopen(tuning(family, "forget/evals.txt"), "r");
    for (int i = 0; i < n; i++) x[i] = NAN;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%31s %d%n", name, &at, &used) != 2 || strcmp(name, kind) || at != step) continue;
        char *p = line + used;
        for (int i = 0; i < n; i++) x[i] = strtod(p, &p);
    }
    if (f) fclose(f);
}

typedef struct {
    const char *family, *kind;
    pith_model *m;
    pith_adapter *adapter; /* NULL: every weight is taught */
    pith__params p;
    pith__step *step;
    pith__adamw adam;
    examples *a, *b_train, *b_eval;
} teaching;

static double loss_of(teaching *h, const examples *x, int n) {
    pith__loss loss = { 0 };
    EQ(pith__step_score(h->step, x->row, n, &loss, NULL), PITH_OK);
    return loss.sum / (double)loss.n;
}

/* Switched off, the adapter has changed nothing. */
static void check_losses(teaching *h, int step) {
    double want[4], got[] = { loss_of(h, h->a, h->a->n), loss_of(h, h->b_train, TRAIN8), loss_of(h, h->b_eval, h->b_eval->n), 0 };
    if (h->adapter) {
        pith__step_adapter(h->step, NULL);
        got[3] = loss_of(h, h->a, h->a->n);
        pith__step_adapter(h->step, h->adapter);
    }
    want_losses(h->family, h->kind, step, want, 4);
    for (int i = 0; i < (h->adapter ? 4 : 3); i++)
        if (!(fabs(got[i] - want[i]) < 1e-5 * want[i]))
            FAIL("%s %s, step %d, loss %d: %.9g, want %.9g", h->family, h->kind, step, i, got[i], want[i]);
}

static void take_step(teaching *h, int step, int rows) {
    pith__sequence s[BATCH];
    pith__loss loss = { 0 };
    int labels = 0;
    for (int i = 0; i < BATCH; i++) {
        s[i] = h->b_train->row[(step * BATCH + i) % rows];
        for (int k = 0; k < s[i].n; k++) labels += s[i].target[k] >= 0;
    }
    pith__step_begin(h->step);
    EQ(pith__step_learn(h->step, s, BATCH, 1.0f / (float)labels, NULL), PITH_OK);
    pith__step_end(h->step, &loss);
    EQ(loss.n, labels);
    double norm = pith__grad_norm(&h->p), clip = 1 / (norm + 1e-6);
    pith__adamw_step(&h->adam, &h->p, 2e-3, clip < 1 ? clip : 1);
}

/* What is general to this model is A: its loss by drift, each row in a window of its own. */
static void check_drift(teaching *h) {
    pith__drift_sums sums = { 0 };
    pith_error e = { 0, "" };
    pith_model *base = pith_open(tuning(h->family, "base"), NULL, &e);
    pith_context c = { .n_ctx = LONGEST, .cache_k = "f32", .cache_v = "f32" };
    REQUIRE(base);
    pith__drift_plan p = { .a = pith_session_new(h->adapter ? h->m : base, &c, &e), .begin = -1 };
    c.adapters = (const pith_adapter *const *)&h->adapter, c.n_adapter = h->adapter != NULL;
    p.b = pith_session_new(h->m, &c, &e);
    double want[3];
    REQUIRE(p.a && p.b);
    for (int i = 0; i < h->a->n; i++)
        EQ(pith__drift(&p, h->a->t[i], h->a->row[i].n + 1, NULL, &sums, &e), PITH_OK);
    want_losses(h->family, h->kind, 0, want, 3);
    NEAR(sums.nll_a / (double)sums.n, want[0], 1e-5 * want[0]);
    want_losses(h->family, h->kind, STEPS, want, 3);
    NEAR(sums.nll_b / (double)sums.n, want[0], 1e-5 * want[0]);
    CHECK(sums.kl > 0.5 * (double)sums.n && 2 * sums.same_top < sums.n); /* it knows little of A now */
    pith_session_free(p.a), pith_session_free(p.b);
    pith_close(base);
}

/* How much of the second halves of the first 8 rows is said by heart. */
static double recalled(teaching *h) {
    pith__recall_sums sums = { 0 };
    pith_context c = { .n_ctx = LONGEST };
    c.adapters = (const pith_adapter *const *)&h->adapter, c.n_adapter = h->adapter != NULL;
    pith_session *s = pith_session_new(h->m, &c, NULL);
    EQ(pith__recall(s, h->b_train->row, TRAIN8, NULL, &sums, NULL), PITH_OK);
    pith_session_free(s);
    EQ(sums.n_example, TRAIN8);
    return (double)sums.n_repeated / (double)sums.n;
}

static void teach(const char *family, const char *kind, int rows) {
    pith_error e = { 0, "" };
    teaching h = { .family = family, .kind = kind, .adam = { .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f } };
    h.a = read_examples(family, "forget/A_eval.ids");
    h.b_train = read_examples(family, "forget/B_train.ids");
    h.b_eval = read_examples(family, "forget/B_eval.ids");
    h.m = pith_open(tuning(family, "base"), NULL, &e);
    REQUIRE(h.m && h.b_train->n == ROWS);
    if (!strcmp(kind, "lora")) {
        h.adapter = pith_adapter_open(h.m, tuning(family, "lora/start"), &e);
        REQUIRE(h.adapter && !pith__adapter_params(&h.p, h.adapter, h.m, &e));
    } else {
        REQUIRE(!pith__params_new(&h.p, h.m, &e));
    }
    h.step = pith__step_new(h.m, &h.p, LONGEST, BATCH, PITH__KEEP_ALL, &e);
    if (h.adapter) pith__step_adapter(h.step, h.adapter);
    float *memory = calloc(2 * h.p.n, sizeof *memory);
    REQUIRE(h.step && memory);
    h.adam.m = memory, h.adam.v = memory + h.p.n;
    check_losses(&h, 0);
    CHECK(recalled(&h) < 0.1);
    for (int i = 0; i < STEPS; i++) {
        take_step(&h, i, rows);
        if ((i + 1) % 10 == 0) check_losses(&h, i + 1);
    }
    check_drift(&h);
    CHECK(rows == ROWS ? recalled(&h) < 0.1 : recalled(&h) > 0.9);
    free(memory);
    pith__step_free(h.step);
    pith__params_free(&h.p);
    pith_adapter_close(h.adapter);
    pith_close(h.m);
    free(h.a), free(h.b_train), free(h.b_eval);
}

TEST(every_weight) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    teach("llama", "full", ROWS), teach("qwen2", "full", ROWS);
}

TEST(few_rows_by_heart) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    teach("llama", "full_8rows", TRAIN8), teach("qwen2", "full_8rows", TRAIN8);
}

TEST(an_adapter) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    teach("llama", "lora", ROWS), teach("qwen2", "lora", ROWS);
}

int main(void) {
    RUN(an_adapter);
    RUN(every_weight);
    RUN(few_rows_by_heart);
    return DONE();
}
