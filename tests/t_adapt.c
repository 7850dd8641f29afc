/* t_adapt.c - an adapter that learns: its gradients against finite differences, the same bits for any threads, and
 * first gradients that torch computed (../shared/tuning). */
#include "peft_numbers.h"
#include "pupil.h"
#include "slopes.h"

static pith_adapter *new_adapter(const pith_model *m, int r, const char *const *target, int n_target) {
    pith__lora_plan plan = { .r = r, .alpha = 1.5f * (float)r, .target = target, .n_target = n_target, .seed = 3 };
    pith_error e = { 0, "" };
    pith_adapter *a = pith__adapter_new(m, &plan, &e);
    if (!a) FAIL("%s", e.text);
    return a;
}

/* A pupil whose model is frozen, and whose adapter learns. */
static pith_adapter *adapted_pupil(pupil *u, const family *f, int r, const char *const *target, int n_target, int threads,
                                   const char *kernels, int keep) {
    pith_error e = { 0, "" };
    memset(u, 0, sizeof *u);
    u->m = make(f, threads, kernels);
    pith_adapter *a = u->m ? new_adapter(u->m, r, target, n_target) : NULL;
    if (!a || pith__adapter_params(&u->p, a, u->m, &e)) FAIL("%s", e.text);
    u->tape = pith__tape_new(u->m, u->p.g, N, keep, &e);
    if (!u->tape) FAIL("%s", e.text);
    else if (f->has & ENCODER) u->tape->s->second_from = SECOND;
    u->tape->s->adapted = (pith__adapted){ .n = 1, .of = { { a, 1 } } };
    pupil_texts(u);
    return a;
}

static void disturb(const pith__params *p, float by) { /* A and B both get numbers that are no longer as at first */
    uint64_t state = 11;
    for (size_t j = 0; j < p->n_param; j++)
        for (size_t i = 0; i < p->param[j].n; i++) p->param[j].w[i] += by * fixture_random(&state);
}

/* ---- a new adapter ----------------------------------------------------------------------- */

static const char *const all_names[] = { "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj" };

/* What a new adapter is made of; it changes nothing. */
TEST(changes_nothing_at_first) {
    for (int i = 0; i < N_FAMILY; i++) {
        pupil u, plain;
        pith_adapter *a = adapted_pupil(&u, &all_families[i], 3, NULL, 0, 1, NULL, PITH__KEEP_ALL);
        REQUIRE(a && !pupil_new(&plain, &all_families[i], 1, NULL, PITH__KEEP_ALL));
        NEAR(pupil_learn(&u, 1), pupil_learn(&plain, 1), 0);
        for (size_t j = 0; j < u.p.n_param; j++) {
            const pith__param *q = &u.p.param[j];
            double most = 0, sum = 0, slope = 0, edge = 1 / sqrt((double)q->tensor->cols);
            int is_a = q->tensor->name.p[q->tensor->name.n - 1] == 'a';
            for (size_t k = 0; k < q->n; k++)
                most = fmax(most, fabs(q->w[k])), sum += q->w[k], slope = fmax(slope, fabs(q->g[k]));
            EQ(q->tensor->rows, 3);
            CHECK(is_a ? most > 0.7 * edge && most <= edge && fabs(sum) < 0.4 * edge * (double)q->n : most == 0);
            CHECK(is_a ? slope == 0 : slope > 0); /* dA = s dlow^T x, and dlow = dy B is 0 */
        }
        pith_adapter_close(a), pupil_free(&u), pupil_free(&plain);
    }
}

static size_t targets(const family *f, const char *const *names, int n) {
    pith_model *m = make(f, 1, NULL);
    pith_adapter *a = new_adapter(m, 2, names, n);
    pith__params p;
    if (!a || pith__adapter_params(&p, a, m, NULL)) FAIL("%s", f->name);
    size_t n_param = p.n_param;
    pith__params_free(&p), pith_adapter_close(a), pith_close(m);
    return n_param;
}

static const family *family_named(const char *name) {
    const family *f = all_families;
    while (strcmp(f->name, name) != 0) f++;
    return f;
}

TEST(names_of_targets) {
    static const struct { const char *family, *names[3]; size_t n; } cases[] = {
        { "llama", { 0 }, 28 }, { "llama", { "all-linear" }, 28 }, { "llama", { "q_proj" }, 4 },
        { "llama", { "q_proj", "mlp.down_proj" }, 8 }, { "llama", { "layers.1.self_attn.q_proj" }, 2 },
        { "llama of a folder", { "model.layers.0.mlp.gate_proj", "q_proj", "q_proj" }, 6 },
        { "mixtral", { 0 }, 2 * 2 * (4 + 12) }, { "mixtral", { "w1", "w2" }, 2 * 2 * 8 }, { "mixtral", { "up_proj" }, 16 },
        { "mixtral", { "gate" }, 4 }, { "mixtral of old", { "experts.3.w2" }, 4 }, { "qwen3moe", { "mlp.gate" }, 4 },
        { "qwen3moe", { "experts.0.down_proj", "gate_proj" }, 4 + 16 },
        { "phi3", { 0 }, 2 * (1 + 3 + 2 + 1 + 2 + 2) }, { "phi3", { "qkv_proj" }, 2 * 4 }, { "phi3", { "gate_up_proj" }, 2 * 3 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int n = 0;
        while (n < 3 && cases[i].names[n]) n++;
        size_t got = targets(family_named(cases[i].family), cases[i].names, n);
        if (got != cases[i].n) FAIL("%s %s: %zu, want %zu", cases[i].family, cases[i].names[0], got, cases[i].n);
    }
    static const family shared = { "shared", "qwen2moe", BIAS | SHARES | SHARE_GATE, 2, 4, { { 0 } } };
    static const char *const gates[] = { "gate_proj" }, *const qwen[] = { "mlp.shared_expert.down_proj" },
                      *const glm[] = { "layers.1.mlp.shared_experts.up_proj" };
    EQ(targets(&shared, NULL, 0), 2 * 2 * (4 + 12 + 3));
    EQ(targets(&shared, gates, 1), 2 * 2 * (4 + 1));
    EQ(targets(&shared, qwen, 1), 2 * 2);
    EQ(targets(&shared, glm, 1), 2);
}

TEST(plans_that_are_refused) {
    static const char *const prj[] = { "v_proj", "q_prj" }, *const fused[] = { "q_proj" }, *const head[] = { "lm_head" };
    const struct { pith__lora_plan plan; const char *family, *says; } cases[] = {
        { { .r = 4, .alpha = 8, .target = prj, .n_target = 2 }, "llama", "llama has no linear layer 'q_prj', is it 'q_proj'?" },
        { { .r = 4, .alpha = 8, .target = fused, .n_target = 1 }, "phi3", "phi3 has no linear layer 'q_proj', is it 'o_proj'?" },
        { { .r = 4, .alpha = 8, .target = head, .n_target = 1 }, "llama", "llama has no linear layer 'lm_head'" },
        { { .r = 0, .alpha = 8 }, "llama", "the rank of an adapter is 0, need 1 to 65536" },
        { { .r = 4, .alpha = 0 }, "llama", "the alpha of an adapter is 0, need a number over 0" },
        { { .r = 4, .alpha = NAN }, "llama", "the alpha of an adapter is nan, need a number over 0" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pith_model *m = make(family_named(cases[i].family), 1, NULL);
        pith_error e = { 0, "" };
        CHECK(!pith__adapter_new(m, &cases[i].plan, &e));
        EQ(e.code, PITH_EARG);
        if (!strstr(e.text, cases[i].says)) FAIL("says '%s', want '%s'", e.text, cases[i].says);
        pith_close(m);
    }
}

static double scale_of(int r, float alpha, int rslora) {
    pith_model *m = make(&all_families[0], 1, NULL);
    pith__lora_plan plan = { .r = r, .alpha = alpha, .rslora = rslora };
    pith_adapter *a = pith__adapter_new(m, &plan, NULL);
    double scale = a->pair[m->layer[1].o.index].scale;
    pith_adapter_close(a), pith_close(m);
    return scale;
}

TEST(scales) {
    NEAR(scale_of(16, 32, 0), 2, 0);
    NEAR(scale_of(16, 32, 1), 8, 0);
    NEAR(scale_of(3, 1, 0), 1.0 / 3, 1e-7);
}

/* ---- gradients --------------------------------------------------------------------------- */

/* Every A and B; the rank may be more than what is computed at a time. */
static void slopes_of(const family *f, int r, const char *const *target, int n_target, int keep) {
    pupil u;
    pith_adapter *a = adapted_pupil(&u, f, r, target, n_target, 1, NULL, keep);
    REQUIRE(a);
    disturb(&u.p, r > 8 ? 0.05f : 0.2f);
    NEAR(pupil_learn(&u, 1), pupil_score(&u), 0);
    for (size_t j = 0; j < u.p.n_param; j += BRIEF ? 3 : 1) check_param(&u, &u.p.param[j], f->name);
    pith_adapter_close(a), pupil_free(&u);
}

TEST(every_pair_of_every_family) {
    static const char *const router[] = { "gate", "all-linear" };
    for (int i = 0; i < N_FAMILY; i += BRIEF ? 2 : 1) slopes_of(&all_families[i], 3, NULL, 0, PITH__KEEP_ALL);
    slopes_of(&all_families[0], PITH__LOW + 5, all_names, 7, PITH__KEEP_ALL);
    slopes_of(family_named("mixtral"), 2, router, 2, PITH__KEEP_ALL);
    slopes_of(family_named("moe, not normed"), 2, router, 2, PITH__KEEP_ALL);
    slopes_of(family_named("gemma3"), 2, NULL, 0, PITH__KEEP_STREAM);
}

/* ---- over a base of few bits ------------------------------------------------------------- */

/* Each matrix of a model of floats in this format, in memory of a. */
static void encode_all(pith_model *m, const pith__format *f, pith__arena *a) {
    for (pith__weight *w = m->weights; w; w = w->next) {
        size_t size = w->tensor.cols / (size_t)f->length * (size_t)f->bytes;
        if (w->floats) continue;
        uint8_t *data = pith__arena_new(a, w->tensor.rows, size);
        for (size_t r = 0; r < w->tensor.rows; r++)
            f->encode(data + r * size, (const float *)(const void *)(w->tensor.data + r * w->tensor.row_bytes), w->tensor.cols, NULL);
        w->tensor.format = f, w->tensor.data = data, w->tensor.row_bytes = size;
    }
}

/* The kernels round what a matrix of few bits gets to 8 bits, so the loss has steps and no slopes. These do not. */
static void matmul_plain(const pith__product *p, size_t r0, size_t r1, void *scratch) {
    float *row = scratch;
    for (size_t r = r0; r < r1; r++) {
        pith__row_floats(p->w, r, row);
        for (size_t t = 0; t < (size_t)p->in->n; t++)
            p->y[t * p->stride + r] = pith__portable(NULL)->dot(row, p->in->x + t * p->in->cols, p->in->cols);
    }
}

/* The gradient of a pupil over such a base; plain: with slopes compared. */
static float *over_few_bits(const char *format, int plain, int keep) {
    static const fixture_shape shape = { 96, 192, 2, 6, 3, 300, 128, 1, 32 };
    pith__kernels k = *pith__portable(NULL);
    pupil u = { 0 };
    pith__arena arena = { 0 };
    pith_error e = { 0, "" };
    bytes b = fixture_llama2c(&shape, 1, 3);
    u.m = pith_open_memory(b.p, b.n, &(pith_options){ .n_threads = 1 }, &e);
    if (!u.m) FAIL("%s", e.text);
    encode_all(u.m, pith__format_named(format), &arena);
    k.matmul = matmul_plain;
    if (plain) u.m->kernels = &k;
    pith_adapter *a = new_adapter(u.m, 4, NULL, 0);
    if (!a || pith__adapter_params(&u.p, a, u.m, &e)) FAIL("%s", e.text);
    u.tape = pith__tape_new(u.m, u.p.g, N, keep, &e);
    u.tape->s->adapted = (pith__adapted){ .n = 1, .of = { { a, 1 } } };
    pupil_texts(&u);
    disturb(&u.p, 0.05f);
    NEAR(pupil_learn(&u, 1), pupil_score(&u), 0);
    for (size_t j = 0; plain && j < u.p.n_param; j += BRIEF ? 5 : 1) check_param(&u, &u.p.param[j], format);
    float *g = copy_of(u.p.g, u.p.n);
    pith_adapter_close(a), pupil_free(&u), pith__arena_free(&arena), free(b.p);
    return g;
}

TEST(a_base_of_few_bits) {
    static const char *const formats[] = { "F16", "Q8_0", "Q4_0" };
    enum { SOME = 4000 };
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        float *want = over_few_bits(formats[i], 1, PITH__KEEP_ALL), *g = over_few_bits(formats[i], 0, PITH__KEEP_ALL);
        float *again = over_few_bits(formats[i], 0, PITH__KEEP_STREAM);
        double off = 0, all = 0;
        for (int k = 0; k < SOME; k++) off += ((double)g[k] - want[k]) * ((double)g[k] - want[k]), all += (double)want[k] * want[k];
        if (!(sqrt(off / all) < (i ? 0.03 : 1e-4))) FAIL("%s: %g from the gradient without rounding", formats[i], sqrt(off / all));
        CHECK(memcmp(g, again, SOME * sizeof *g) == 0);
        free(want), free(g), free(again);
    }
}

/* ---- the same bits ----------------------------------------------------------------------- */

/* 1 to 4 threads, and with blocks that run again. */
static void same_bits(const family *f, int r, const char *kernels) {
    float *want = NULL;
    for (int i = 0; i < 6; i++) {
        pupil u;
        pith_adapter *a = adapted_pupil(&u, f, r, NULL, 0, 1 + i % 4, kernels, i < 4 ? PITH__KEEP_ALL : PITH__KEEP_STREAM);
        REQUIRE(a);
        disturb(&u.p, 0.2f);
        pupil_learn(&u, 1), pupil_learn(&u, -0.5f);
        if (i == 0) want = copy_of(u.p.g, u.p.n);
        if (memcmp(want, u.p.g, u.p.n * sizeof *want)) FAIL("%s, %s: other bits in run %d", f->name, kernels, i);
        pith_adapter_close(a), pupil_free(&u);
    }
    free(want);
}

TEST(any_threads_and_recomputation) {
    for (size_t k = 0; k < sizeof kernel_names / sizeof *kernel_names; k++)
        for (int i = 0; kernels_named(kernel_names[k]) && i < N_FAMILY; i += k && !BRIEF ? 1 : 3)
            same_bits(&all_families[i], i ? 3 : 70, kernel_names[k]);
}

/* Steps of seven sequences, with the adapter, without it, and with it again. */
TEST(steps_with_and_without) {
    float *want = NULL;
    double with = 0, without = 0;
    for (int threads = 1; threads <= 4; threads++) {
        pupil u;
        pith_adapter *a = adapted_pupil(&u, &all_families[3], 3, NULL, 0, threads, NULL, PITH__KEEP_ALL);
        REQUIRE(a);
        disturb(&u.p, 0.2f);
        pith__step *step = pith__step_new(u.m, &u.p, &(pith__step_plan){ N, 7, threads % 2 ? PITH__KEEP_ALL : PITH__KEEP_STREAM, 1 }, NULL);
        pith__loss loss[3] = { { 0, 0, 0 } };
        pith__sequence s[7];
        REQUIRE(step);
        for (int k = 0; k < 7; k++) s[k] = (pith__sequence){ .t = u.t + k, .target = u.target + k, .n = N - 7 - k };
        pith__step_adapter(step, a);
        pith__step_begin(step);
        for (int k = 0; k < 7; k += threads)
            EQ(pith__step_learn(step, s + k, threads < 7 - k ? threads : 7 - k, 0.01f, NULL), PITH_OK);
        pith__step_end(step, &loss[0]);
        if (threads == 1) want = copy_of(u.p.g, u.p.n);
        CHECK(memcmp(want, u.p.g, u.p.n * sizeof *want) == 0);
        pith__step_adapter(step, NULL);
        EQ(pith__step_score(step, s, 7, &loss[1], NULL), PITH_OK);
        pith__step_adapter(step, a);
        EQ(pith__step_score(step, s, 7, &loss[2], NULL), PITH_OK);
        if (threads == 1) with = loss[2].sum, without = loss[1].sum;
        CHECK(loss[2].sum == with && loss[1].sum == without && fabs(with - without) > 0.1);
        NEAR(loss[0].sum, with, 1e-9 * with);
        pith__step_free(step), pith_adapter_close(a), pupil_free(&u);
    }
    free(want);
}

/* ---- dropout ----------------------------------------------------------------------------- */

/* The part that is left out, and that the mean of what is left is the mean. */
TEST(dropped_numbers) {
    enum { ROWS_ = 40, COLS = 999 };
    static float x[COLS], y[ROWS_][COLS];
    for (int i = 0; i < COLS; i++) x[i] = 1;
    static const float parts[] = { 0.05f, 0.5f, 0.9f };
    for (int k = 0; k < 3; k++) {
        pith__low_rank j = { .cols = COLS, .dropout = parts[k], .seed = 7 };
        double sum = 0, zeros = 0, beside = 0, above = 0;
        for (size_t t = 0; t < ROWS_; t++) {
            pith__drop(&j, t, y[t], x);
            for (int i = 0; i < COLS; i++) {
                sum += y[t][i], zeros += y[t][i] == 0;
                beside += i && (y[t][i] == 0) == (y[t][i - 1] == 0), above += t && (y[t][i] == 0) == (y[t - 1][i] == 0);
            }
        }
        double all = ROWS_ * COLS, p = (double)parts[k], same = p * p + (1 - p) * (1 - p);
        NEAR(zeros / all, p, 0.01);
        NEAR(sum / all, 1, 0.1 * p + 0.01);
        NEAR(beside / (ROWS_ * (COLS - 1)), same, 0.015);
        NEAR(above / ((ROWS_ - 1) * COLS), same, 0.015);
    }
}

TEST(slopes_with_dropout) {
    for (int i = 0; i < N_FAMILY; i += 3) {
        pupil u;
        pith_adapter *a = adapted_pupil(&u, &all_families[i], 3, NULL, 0, 1, NULL, i % 2 ? PITH__KEEP_ALL : PITH__KEEP_STREAM);
        REQUIRE(a);
        disturb(&u.p, 0.2f);
        double without = pupil_score(&u);
        u.tape->s->adapted.dropout = 0.3f, u.tape->s->adapted.seed = 5;
        CHECK(fabs(pupil_score(&u) - without) > 0.01);
        NEAR(pupil_learn(&u, 1), pupil_score(&u), 0);
        for (size_t j = 0; j < u.p.n_param; j += BRIEF ? 3 : 1) check_param(&u, &u.p.param[j], all_families[i].name);
        pith_adapter_close(a), pupil_free(&u);
    }
}

/* A step's gradient and loss with this dropout and seed, in parts of so many sequences; and what it scores. */
static float *dropped_step(int threads, float dropout, uint64_t seed, int at_once, double *loss, double *score) {
    pupil u;
    pith__sequence s[7];
    pith__loss learned = { 0 }, scored = { 0 };
    pith_adapter *a = adapted_pupil(&u, &all_families[3], 3, NULL, 0, threads, NULL, PITH__KEEP_ALL);
    disturb(&u.p, 0.2f);
    pith__step *step = pith__step_new(u.m, &u.p, &(pith__step_plan){ N, 7, PITH__KEEP_ALL, 1 }, NULL);
    for (int k = 0; k < 7; k++) s[k] = (pith__sequence){ .t = u.t, .target = u.target, .n = N };
    pith__step_adapter(step, a);
    pith__step_dropout(step, dropout, seed);
    pith__step_begin(step);
    for (int k = 0; k < 7; k += at_once)
        EQ(pith__step_learn(step, s + k, at_once < 7 - k ? at_once : 7 - k, 0.01f, NULL), PITH_OK);
    pith__step_end(step, &learned);
    EQ(pith__step_score(step, s, 7, &scored, NULL), PITH_OK);
    *loss = learned.sum, *score = scored.sum;
    float *g = copy_of(u.p.g, u.p.n);
    pith__step_free(step), pith_adapter_close(a), pupil_free(&u);
    return g;
}

TEST(dropout_of_steps) {
    double loss, score, l, s;
    float *want = dropped_step(1, 0.1f, 9, 7, &loss, &score), *g = dropped_step(3, 0.1f, 9, 2, &l, &s);
    CHECK(l == loss && s == score && !memcmp(g, want, 100 * sizeof *g));
    free(g), g = dropped_step(1, 0.1f, 10, 7, &l, &s);
    CHECK(fabs(l - loss) > 1e-3 && s == score && memcmp(g, want, 100 * sizeof *g));
    free(g), g = dropped_step(2, 0, 10, 7, &l, &s);
    NEAR(l, s, 1e-9 * s);
    CHECK(s == score && fabs(l - loss) > 1e-3);
    free(g), free(want);
}

/* ---- what torch and peft compute --------------------------------------------------------- */

enum { ROWS = 16, LONGEST = 200, STEPS = 20 };
typedef struct { /* rows of a data file: tokens, and what should follow each */
    pith_token t[ROWS][LONGEST], target[ROWS][LONGEST];
    int length[ROWS], n;
} text_rows;

/* A row is "ids ; mask"; a bit of the mask says that the token is a label. */
static void read_rows(text_rows *rows, const char *path) {
    FILE *f = fopen(path, "r");
    char line[8192], *p;
    rows->n = 0;
    while (f && fgets(line, sizeof line, f)) {
        int n = 0, i = 0;
        if (*line == '#' || rows->n == ROWS) continue;
        pith_token *t = rows->t[rows->n], *target = rows->target[rows->n];
        for (p = line; *p != ';' && n < LONGEST; p++) t[n++] = (int)strtol(p, &p, 10);
        for (p++; i < n; i++)
            if (strtol(p, &p, 10) && i) target[i - 1] = t[i];
            else if (i) target[i - 1] = -1;
        rows->length[rows->n++] = n - 1;
    }
    if (f) fclose(f);
}

typedef struct {
    const char *name, *rows;
    double lr, decay;
    int schedule, warmup;
} reference_run;

static double known_column(const char *path, int step, int column) {
    FILE *f = fopen(path, "r");
    char line[400];
    double x[3] = { NAN, NAN, NAN };
    int at = -1;
    while (f && at != step && fgets(line, sizeof line, f))
        if (sscanf(line, "%d %lf %lf %lf", &at, x, x + 1, x + 2) != 4) at = -1;
    if (f) fclose(f);
    return at == step ? x[column] : (double)NAN;
}

/* Step k, from 1: four rows, in turn. */
static void one_step(pith__step *step, const text_rows *rows, int k, pith__loss *loss) {
    pith__sequence s[4];
    int labels = 0;
    for (int i = 0; i < 4; i++) {
        int row = (4 * (k - 1) + i) % rows->n;
        s[i] = (pith__sequence){ .t = rows->t[row], .target = rows->target[row], .n = rows->length[row] };
        for (int t = 0; t < s[i].n; t++) labels += s[i].target[t] >= 0;
    }
    pith__step_begin(step);
    EQ(pith__step_learn(step, s, 4, 1.0f / (float)labels, NULL), PITH_OK);
    pith__step_end(step, loss);
    EQ(loss->n, labels);
}

/* Losses, norms and rates of all steps; the first gradient, the last weights. base: a folder or a GGUF file. */
static void same_run(const char *of, const reference_run *r, const char *base, int n_threads) {
    static text_rows rows;
    char table[64], grads[64], last[64];
    pith_error e = { 0, "" };
    pith__params p;
    int gguf = strcmp(base, "base") != 0; /* q and k are in another order there, so files cannot be compared */
    pith_model *m = pith_open(fixture_tuning(of, base), &(pith_options){ .n_threads = n_threads }, &e);
    pith_adapter *a = m ? pith_adapter_open(m, fixture_tuning(of, "lora/start"), &e) : NULL;
    if (!a || pith__adapter_params(&p, a, m, &e)) FAIL("%s", e.text);
    pith__step *step = pith__step_new(m, &p, &(pith__step_plan){ LONGEST, 4, PITH__KEEP_ALL, 1 }, &e);
    pith__adamw adam = { .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .weight_decay = (float)r->decay };
    adam.m = calloc(2 * p.n, sizeof *adam.m), adam.v = adam.m + p.n;
    snprintf(table, sizeof table, "sft/%s.txt", r->name), snprintf(grads, sizeof grads, "sft/%s.grad_step1.f32", r->name);
    snprintf(last, sizeof last, "sft/%s.final_weights.f32", r->name);
    read_rows(&rows, fixture_tuning(of, r->rows));
    if (!step || !rows.n) FAIL("%s: %d rows", r->rows, rows.n);
    pith__step_adapter(step, a);
    for (int k = 1; k <= (BRIEF ? 3 : STEPS) && rows.n; k++) {
        pith__loss loss = { 0 };
        one_step(step, &rows, k, &loss);
        double norm = pith__grad_norm(&p), mean = loss.sum / (double)loss.n;
        double lr = r->lr * pith__schedule(r->schedule, k - 1, r->warmup, STEPS, 0);
        NEAR(mean, known_column(fixture_tuning(of, table), k, 0), 1e-5 * mean);
        NEAR(norm, known_column(fixture_tuning(of, table), k, 1), 2e-5 * norm);
        NEAR(lr, known_column(fixture_tuning(of, table), k, 2), 1e-8);
        if (k == 1 && !gguf && *fixture_tuning(of, grads)) NEAR(off_from(&p, fixture_tuning(of, grads), 0), 0, 1e-5);
        pith__adamw_step(&adam, &p, lr, fmin(1, 1 / (norm + 1e-6)));
    }
    if (!BRIEF && !gguf && *fixture_tuning(of, last)) NEAR(off_from(&p, fixture_tuning(of, last), 1), 0, 1.6e-5);
    free(adam.m);
    pith__step_free(step), pith__params_free(&p), pith_adapter_close(a), pith_close(m);
}

static const reference_run runs[] = {
    { "linear_wd0", "data/sft_prompt_completion.completion.ids", 0.01, 0, PITH__LINEAR, 4 },
    { "cosine_wd001", "data/sft_messages.assistant.ids", 0.01, 0.01, PITH__COSINE, 4 },
    { "constant_wd0", "data/sft_messages.full.ids", 0.005, 0, PITH__CONSTANT, 0 },
};

TEST(same_training_as_peft) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        same_run("llama", &runs[i], "base", 1 + (int)i), same_run("llama", &runs[i], "base.gguf", 2);
        if (BRIEF && i) continue;
        same_run("qwen2", &runs[i], "base", 2), same_run("qwen2", &runs[i], "base.gguf", 1);
    }
}

int main(void) {
    RUN(changes_nothing_at_first);
    RUN(names_of_targets);
    RUN(plans_that_are_refused);
    RUN(scales);
    RUN(every_pair_of_every_family);
    RUN(a_base_of_few_bits);
    RUN(any_threads_and_recomputation);
    RUN(steps_with_and_without);
    RUN(dropped_numbers);
    RUN(slopes_with_dropout);
    RUN(dropout_of_steps);
    RUN(same_training_as_peft);
    return DONE();
}
