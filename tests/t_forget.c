/* t_forget.c - a model that is taught something else forgets what it knew: as much as with torch (../shared/tuning),
 * step by step, in the library and as run sft does it. On the same text drift sees the same losses as training does. */
#define _POSIX_C_SOURCE 200809L
#include "pretrain_run.h"

#include <stdlib.h>

enum { ROWS = 40, LONGEST = 128, STEPS = BRIEF ? 10 : 40, EVALS = 1 + STEPS / 10, BATCH = 4, TRAIN8 = 8 };

typedef struct {         /* rows of an ids file */
    int n;
    pith__sequence row[ROWS];
    pith_token t[ROWS][LONGEST], target[ROWS][LONGEST];
} examples;

/* "ids ; mask" a line, where a 1 says that the token is a label. */
static examples *read_examples(const char *family, const char *file) {
    examples *x = calloc(1, sizeof *x);
    static char line[8192];
    FILE *f = fopen(fixture_tuning(family, file), "r");
    while (f && x->n < ROWS && fgets(line, sizeof line, f)) {
        int n = 0, k = 0;
        char *p = line;
        for (; *p != '#' && *p != ';' && n < LONGEST; n++) x->t[x->n][n] = (pith_token)strtol(p, &p, 10), p += *p == ' ';
        if (*p == '#') continue;
        for (p += 2; k < n; k++, p += 2)
            if (k) x->target[x->n][k - 1] = *p == '1' ? x->t[x->n][k] : -1;
        x->row[x->n] = (pith__sequence){ .t = x->t[x->n], .target = x->target[x->n], .n = n - 1 };
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
    FILE *f = fopen(fixture_tuning(family, "forget/evals.txt"), "r");
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

/* Relative; of what was learned by heart nearly nothing is left, and in that the order of sums shows. */
static int is_near_loss(double got, double want) { return fabs(got - want) < 2e-5 * (want > 0.1 ? want : 0.1); }

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
        if (!is_near_loss(got[i], want[i]))
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
    pith__drift_sums all = { 0 };
    pith_error e = { 0, "" };
    pith_model *base = pith_open(fixture_tuning(h->family, "base"), NULL, &e);
    pith_context c = { .n_ctx = LONGEST, .cache_k = "f32", .cache_v = "f32" };
    REQUIRE(base);
    pith__drift_plan p = { .a = pith_session_new(h->adapter ? h->m : base, &c, &e), .begin = -1 };
    c.adapters = (const pith_adapter *const *)&h->adapter, c.n_adapter = h->adapter != NULL;
    p.b = pith_session_new(h->m, &c, &e);
    double want[3];
    REQUIRE(p.a && p.b);
    for (int i = 0; i < h->a->n; i++)
        EQ(pith__drift(&p, h->a->t[i], h->a->row[i].n + 1, NULL, &all, &e), PITH_OK);
    want_losses(h->family, h->kind, 0, want, 3);
    NEAR(all.nll_a / (double)all.n, want[0], 1e-5 * want[0]);
    want_losses(h->family, h->kind, STEPS, want, 3);
    NEAR(all.nll_b / (double)all.n, want[0], 1e-5 * want[0]);
    CHECK(BRIEF || (all.kl > 0.5 * (double)all.n && 2 * all.same_top < all.n)); /* it knows little of A now */
    pith_session_free(p.a), pith_session_free(p.b);
    pith_close(base);
}

/* How much of the second halves of the first 8 rows is said by heart. */
static double recalled(teaching *h) {
    pith__recall_sums all = { 0 };
    pith_context c = { .n_ctx = LONGEST };
    c.adapters = (const pith_adapter *const *)&h->adapter, c.n_adapter = h->adapter != NULL;
    pith_session *s = pith_session_new(h->m, &c, NULL);
    EQ(pith__recall(s, h->b_train->row, TRAIN8, NULL, &all, NULL), PITH_OK);
    pith_session_free(s);
    EQ(all.n_example, TRAIN8);
    return (double)all.n_repeated / (double)all.n;
}

static void teach(const char *family, const char *kind, int rows) {
    pith_error e = { 0, "" };
    teaching h = { .family = family, .kind = kind, .adam = { .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f } };
    h.a = read_examples(family, "forget/A_eval.ids");
    h.b_train = read_examples(family, "forget/B_train.ids");
    h.b_eval = read_examples(family, "forget/B_eval.ids");
    h.m = pith_open(fixture_tuning(family, "base"), NULL, &e);
    REQUIRE(h.m && h.b_train->n == ROWS);
    if (!strcmp(kind, "lora")) {
        h.adapter = pith_adapter_open(h.m, fixture_tuning(family, "lora/start"), &e);
        REQUIRE(h.adapter && !pith__adapter_params(&h.p, h.adapter, h.m, &e));
    } else {
        REQUIRE(!pith__params_new(&h.p, h.m, &e));
    }
    h.step = pith__step_new(h.m, &h.p, &(pith__step_plan){ LONGEST, BATCH, PITH__KEEP_ALL, 1 }, &e);
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
    teach("llama", "full", ROWS);
    if (!BRIEF) teach("qwen2", "full", ROWS);
}

TEST(few_rows_by_heart) {
    if (BRIEF) SKIP("takes 40 steps");
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    teach("llama", "full_8rows", TRAIN8), teach("qwen2", "full_8rows", TRAIN8);
}

TEST(an_adapter) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    teach("qwen2", "lora", ROWS);
    if (!BRIEF) teach("llama", "lora", ROWS);
}

/* ---- run sft ------------------------------------------------------------------------------------------- */

/* The rows of an ids file as they are taken in JSONL. */
static void write_rows(const char *family, const char *from, const char *name, int most) {
    examples *x = read_examples(family, from);
    FILE *f = fopen(in_folder(name), "w");
    REQUIRE(f);
    for (int i = 0; i < x->n && i < most; i++) {
        int n = x->row[i].n + 1;
        for (int k = 0; k < n; k++) fprintf(f, "%s%d", k ? ", " : "{\"input_ids\": [", x->t[i][k]);
        for (int k = 0; k < n; k++)
            fprintf(f, "%s%d", k ? ", " : "], \"completion_mask\": [", k && x->target[i][k - 1] >= 0);
        fprintf(f, "]}\n");
    }
    fclose(f);
    free(x);
}

/* Some of these models are worse than one who knows nothing at what they are taught, until they have begun. */
static void sft_forgets(const char *family, const char *kind, const char *eval, int column) {
    char flags[2048];
    double want[4], got[8], heart[8];
    int lora = !strcmp(kind, "lora"), few = !strcmp(kind, "full_8rows");
    snprintf(flags, sizeof flags, "%s {}/%s --eval_file {}/%s -o {}/out --overwrite_output_dir --max_steps %d --learning_rate "
             "2e-3 --lr_scheduler_type constant --weight_decay 0 --adam_beta2 0.999 --max_grad_norm 1 --save_steps 0 "
             "--per_device_train_batch_size 4 --train_sampling_strategy sequential --eval_steps 10 %s %s",
             fixture_tuning(family, "base"), few ? "few" : "train", eval, STEPS, lora ? "--init_adapter" : "--full",
             lora ? fixture_tuning(family, "lora/start") : "");
    if (run_verb(verb_sft, "sft", flags)) FAIL("%s %s: %s", family, kind, said);
    EQ(log_numbers("out/train.log.jsonl", "eval_loss", got, 8), EVALS);
    EQ(log_numbers("out/train.log.jsonl", "memorised", heart, 8), EVALS);
    for (int i = 0; i < EVALS; i++) {
        want_losses(family, kind, 10 * i, want, 4);
        if (!is_near_loss(got[i], want[column]))
            FAIL("%s %s, %s at step %d: %.9g, want %.9g", family, kind, eval, 10 * i, got[i], want[column]);
    }
    CHECK(heart[0] < 0.1 && (BRIEF || (few ? heart[4] > 0.9 : heart[4] < 0.1)));
    CHECK(BRIEF || !few || column != 2 || strstr(said, "learned by heart"));
}

TEST(as_run_sft) {
    static const char *const kinds[] = { "full", "lora", "full_8rows" };
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int i = 0; i < (BRIEF ? 3 : 6); i++) {
        const char *family = i < 3 ? "llama" : "qwen2";
        write_rows(family, "forget/B_train.ids", "train", ROWS);
        write_rows(family, "forget/B_train.ids", "few", TRAIN8);
        write_rows(family, "forget/A_eval.ids", "a", ROWS);
        write_rows(family, "forget/B_eval.ids", "b", ROWS);
        sft_forgets(family, kinds[i % 3], "a", 0);
        sft_forgets(family, kinds[i % 3], "b", 2);
    }
}

int main(void) {
    char remove[160];
    if (!mkdtemp(folder)) return 99;
    RUN(an_adapter);
    RUN(every_weight);
    RUN(few_rows_by_heart);
    RUN(as_run_sft);
    snprintf(remove, sizeof remove, "rm -rf %s", folder);
    if (system(remove)) return 99;
    return DONE();
}
