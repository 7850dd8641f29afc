/* t_step.c - training as a whole: steps of many sequences give the same bits however they are taken,
 * losses are what they should be, and AdamW is the paper's. */
#include "../train/params.c" /* for shards_of */
#include "../train/step.c"
#include "pupil.h"

/* ---- larger models: the same bits -------------------------------------------------------- */

enum { BIG_N = 70, BIG_VOCAB = 300 };
static const fixture_shape big = { 96, 192, 2, 6, 3, BIG_VOCAB, 128, 1, 32 };

typedef struct {
    pith_model *m;
    pith__params p;
    pith__tape *tape;
    pith_token t[3][BIG_N];
} big_pupil;

static int big_new(big_pupil *u, const bytes *b, int threads, const char *kernels, int keep) {
    pith_options opt = { .n_threads = threads, .kernels = kernels };
    pith_error e = { 0, "" };
    uint64_t state = 5;
    memset(u, 0, sizeof *u);
    u->m = pith_open_memory(b->p, b->n, &opt, &e);
    if (!u->m || pith__params_new(&u->p, u->m, &e)) FAIL("%s", e.text);
    u->tape = pith__tape_new(u->m, u->p.g, BIG_N, keep, &e);
    if (!u->tape) FAIL("%s", e.text);
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < BIG_N; i++)
            u->t[k][i] = (int)((fixture_random(&state) + 1) / 2 * (BIG_VOCAB - 1));
    return !u->tape;
}

static void big_free(big_pupil *u) {
    pith__tape_free(u->tape);
    pith__params_free(&u->p);
    pith_close(u->m);
}

/* n tokens, each predicting the next. */
static double big_learn(big_pupil *u, int sequence, int n) {
    pith__loss loss = { 0, 0, 0 };
    const pith_token *t = u->t[sequence];
    EQ(pith__learn(u->tape, t, t + 1, n - 1, 0.01f, &loss, NULL), PITH_OK);
    EQ(loss.n, n - 1);
    return loss.sum;
}

TEST(any_threads_and_recomputation) {
    bytes b = fixture_llama2c(&big, 1, 3);
    float *want = NULL;
    for (size_t k = 0; k < sizeof kernel_names / sizeof *kernel_names; k++) {
        if (!kernels_named(kernel_names[k])) continue;
        double loss = 0;
        for (int i = 0; i < 5; i++) { /* 1 to 4 threads, and 2 with recomputation */
            big_pupil u;
            REQUIRE(!big_new(&u, &b, i < 4 ? 1 + i : 2, kernel_names[k],
                             i < 4 ? PITH__KEEP_ALL : PITH__KEEP_STREAM));
            double got = big_learn(&u, 0, BIG_N) + big_learn(&u, 1, 33);
            if (i == 0) want = copy_of(u.p.g, u.p.n), loss = got;
            CHECK(got == loss);
            CHECK(memcmp(want, u.p.g, u.p.n * sizeof *want) == 0);
            CHECK(pith__grad_norm(&u.p) > 0);
            big_free(&u);
        }
        free(want);
    }
    free(b.p);
}

/* A sequence leaves nothing behind that the next would see, and the gradient of two is the sum in
 * their order, whatever was computed between. */
TEST(sequences_add_up) {
    bytes b = fixture_llama2c(&big, 1, 3);
    big_pupil u;
    pith__loss loss = { 0, 0, 0 }, again = { 0, 0, 0 };
    REQUIRE(!big_new(&u, &b, 2, NULL, PITH__KEEP_ALL));
    big_learn(&u, 0, BIG_N), big_learn(&u, 1, 40), big_learn(&u, 2, 70);
    float *want = copy_of(u.p.g, u.p.n);
    pith__params_zero(&u.p);
    big_learn(&u, 0, BIG_N);
    EQ(pith__score(u.tape, u.t[2], u.t[2] + 1, 60, &loss, NULL), PITH_OK);
    big_learn(&u, 1, 40);
    EQ(pith__score(u.tape, u.t[2], u.t[2] + 1, 60, &again, NULL), PITH_OK);
    big_learn(&u, 2, 70);
    CHECK(memcmp(want, u.p.g, u.p.n * sizeof *want) == 0);
    CHECK(loss.sum == again.sum && loss.n == 60);
    free(want), big_free(&u), free(b.p);
}

/* However many tokens' logits exist at once: the loss has the same bits, gradients are the same sums in other parts. */
TEST(few_logits_at_once) {
    pupil u;
    REQUIRE(!pupil_new(&u, &all_families[10], 2, NULL, PITH__KEEP_ALL)); /* with a softcap */
    double loss = pupil_learn(&u, 1);
    EQ(u.tape->rows, N);
    float *want = copy_of(u.p.g, u.p.n);
    for (int rows = 1; rows < N; rows += 4) {
        u.tape->rows = rows;
        pith__params_zero(&u.p);
        NEAR(pupil_learn(&u, 1), loss, 0);
        for (size_t i = 0; i < u.p.n; i++)
            if (!(fabsf(u.p.g[i] - want[i]) <= 1e-5f * (1 + fabsf(want[i])))) FAIL("rows %d: gradient %zu", rows, i);
    }
    free(want), pupil_free(&u);
}

/* A step of seven sequences of different lengths: any number of threads, and of sequences at a
 * time. */
TEST(steps_of_any_shape) {
    bytes b = fixture_llama2c(&big, 1, 3);
    float *want = NULL;
    double loss = 0, scored = 0;
    for (int i = 0; i < 5; i++) {
        static const int at_a_time[] = { 7, 1, 3, 4 };
        big_pupil u;
        pith__sequence s[7];
        pith__loss got = { 0, 0, 0 }, again = { 0, 0, 0 };
        REQUIRE(!big_new(&u, &b, 1 + i, NULL, PITH__KEEP_ALL));
        for (int k = 0; k < 7; k++)
            s[k] = (pith__sequence){ .t = u.t[k % 3], .target = u.t[k % 3] + 1, .n = BIG_N - 1 - 5 * k };
        pith__step *step = pith__step_new(u.m, &u.p, &(pith__step_plan){ BIG_N, 7, i % 2 ? PITH__KEEP_STREAM : PITH__KEEP_ALL, 1 }, NULL);
        REQUIRE(step && step->n_shard == 4);
        for (int times = 0; times < (i == 1 ? 2 : 1);
             times++) { /* nothing is left from the step before */
            pith__step_begin(step);
            got.sum = 0, got.n = 0;
            for (int k = 0, n; k < 7; k += n) {
                n = at_a_time[i % 4] < 7 - k ? at_a_time[i % 4] : 7 - k;
                EQ(pith__step_learn(step, s + k, n, 0.01f, NULL), PITH_OK);
            }
            pith__step_end(step, &got);
        }
        EQ(pith__step_score(step, s, 7, &again, NULL), PITH_OK);
        EQ(got.n, 7 * (BIG_N - 1) - 5 * 21);
        if (i == 0) want = copy_of(u.p.g, u.p.n), loss = got.sum, scored = again.sum;
        CHECK(got.sum == loss && again.sum == scored && again.n == got.n);
        NEAR(got.sum, again.sum, 1e-9 * loss);
        CHECK(memcmp(want, u.p.g, u.p.n * sizeof *want) == 0);
        s[5].n = BIG_N + 1;
        EQ(pith__step_learn(step, s, 7, 0.01f, NULL), PITH_EARG);
        pith__step_free(step);

        if (i == 0) { /* and one after the other */
            pith__params_zero(&u.p);
            s[5].n = BIG_N - 1 - 25;
            for (int k = 0; k < 7; k++)
                EQ(pith__learn(u.tape, s[k].t, s[k].target, s[k].n, 0.01f, &again, NULL), PITH_OK);
            double off = 0, all = 0;
            for (size_t j = 0; j < u.p.n; j++) {
                off += ((double)u.p.g[j] - want[j]) * ((double)u.p.g[j] - want[j]);
                all += (double)want[j] * want[j];
            }
            NEAR(sqrt(off / all), 0, 1e-6);
        }
        big_free(&u);
    }
    free(want), free(b.p);
}

/* The number of shards depends on the model alone; all of them together have at most 2^26 numbers. */
TEST(large_models_have_fewer_shards) {
    EQ(shards_of(1), 4);
    EQ(shards_of(1 << 24), 4);
    EQ(shards_of((1 << 24) + 1), 3);
    EQ(shards_of((1 << 26) / 3 + 1), 2);
    EQ(shards_of((1 << 25) + 1), 1);
    EQ(shards_of((size_t)1 << 35), 1);
}

/* Tapes of a gigabyte in all at most, if there are several. */
TEST(large_sequences_have_one_tape) {
    pith_model m = { .n_threads = 3 };
    EQ(tapes_used(&m, 4, 1000), 3);
    EQ(tapes_used(&m, 2, (size_t)1 << 29), 2);
    EQ(tapes_used(&m, 2, ((size_t)1 << 29) + 1), 1);
    EQ(tapes_used(&m, 1, (size_t)1 << 33), 1);
    m.n_threads = 1;
    EQ(tapes_used(&m, 4, (size_t)1 << 33), 1);
}

/* ---- every family ------------------------------------------------------------------------ */

enum { N_SEQUENCE = 7 };

/* Sequence k of a step: another part of the text each time, none of them the whole. */
static pith__sequence part_of(const pupil *u, int k) {
    return (pith__sequence){ .t = u->t + k, .target = u->target + k, .n = N - 7 - k };
}

/* What a step of N_SEQUENCE sequences should leave, by definition: sequence k adds to shard k % 4, and
 * the shards are summed, the first one first. (n) */
static float *sum_of_shards(const family *f) {
    pupil u;
    pith__loss loss = { 0, 0, 0 };
    if (pupil_new(&u, f, 1, NULL, PITH__KEEP_ALL)) return NULL;
    float *sum = calloc(u.p.n, sizeof *sum);
    for (int shard = 0; shard < 4; shard++) {
        pith__params_zero(&u.p);
        for (int k = shard; k < N_SEQUENCE; k += 4) {
            pith__sequence s = part_of(&u, k);
            if (pith__learn(u.tape, s.t, s.target, s.n, 0.01f, &loss, NULL)) FAIL("%s", f->name);
        }
        for (size_t i = 0; i < u.p.n; i++) sum[i] = shard ? sum[i] + u.p.g[i] : u.p.g[i];
    }
    pupil_free(&u);
    return sum;
}

/* Name the tensor that is not as it should be, not only the model. */
static void same_gradients(const pupil *u, const float *want, const char *name, int threads) {
    for (size_t j = 0; j < u->p.n_param; j++) {
        const pith__param *q = &u->p.param[j];
        if (memcmp(q->g, want + (q->g - u->p.g), q->n * sizeof *want))
            FAIL("%s, %d threads: the gradient of %.*s is another sum", name, threads,
                 (int)q->tensor->name.n, q->tensor->name.p);
    }
}

TEST(shards_of_every_family) {
    for (int i = 0; i < N_FAMILY; i++) {
        float *want = sum_of_shards(&all_families[i]);
        REQUIRE(want);
        for (int threads = 1; threads <= 4; threads++) {
            pupil u;
            pith__sequence s[N_SEQUENCE];
            pith__loss loss = { 0, 0, 0 };
            REQUIRE(!pupil_new(&u, &all_families[i], threads, NULL, PITH__KEEP_ALL));
            pith__step *step = pith__step_new(u.m, &u.p, &(pith__step_plan){ N, N_SEQUENCE, threads == 3 ? PITH__KEEP_STREAM : PITH__KEEP_ALL, 1 }, NULL);
            REQUIRE(step && step->n_shard == 4 && step->n_tape == threads);
            for (int k = 0; k < N_SEQUENCE; k++) s[k] = part_of(&u, k);
            pith__step_begin(step);
            EQ(pith__step_learn(step, s, N_SEQUENCE, 0.01f, NULL), PITH_OK);
            pith__step_end(step, &loss);
            same_gradients(&u, want, all_families[i].name, threads);
            pith__step_free(step), pupil_free(&u);
        }
        free(want);
    }
}

/* llama2.c's int8 files, with groups of any size: their gradients by the embedding are near those
 * of the same weights as floats. */
TEST(through_int8) {
    static const int groups[] = { 32, 4 };
    for (int i = 0; i < 2; i++) {
        fixture_shape shape = big;
        shape.group = groups[i];
        bytes v1 = fixture_llama2c(&shape, 1, 3), v2 = fixture_llama2c(&shape, 2, 3);
        pith_options opt = { .n_threads = 2 };
        pith_model *m = pith_open_memory(v2.p, v2.n, &opt, NULL);
        big_pupil u;
        pith__loss loss = { 0, 0, 0 };
        REQUIRE(m && !big_new(&u, &v1, 1, NULL, PITH__KEEP_ALL));
        pith__tape *y = pith__tape_new(m, NULL, BIG_N, PITH__KEEP_ALL, NULL);
        REQUIRE(y);
        EQ(pith__learn(y, u.t[0], u.t[0] + 1, 40, 0.01f, &loss, NULL), PITH_OK);
        big_learn(&u, 0, 41);
        double off = 0, all = 0;
        for (int k = 0; k < 40 * shape.dim; k++) {
            double d = (double)y->d.x[k] - u.tape->d.x[k];
            off += d * d, all += (double)u.tape->d.x[k] * u.tape->d.x[k];
        }
        NEAR(sqrt(off / all), 0, 0.05);
        pith__tape_free(y), pith_close(m);
        big_free(&u), free(v1.p), free(v2.p);
    }
}

/* ---- slopes, and the log-probability of each token ------------------------------------------- */

static float slope_of(int i) { return (float)(i % 5 - 2) * 0.7f; } /* negative, 0, positive */

/* The sum of slope times -log p, which a gradient with slopes is of. */
static double sloped_loss(const pupil *u, const float *slope) {
    float logp[N];
    pith__loss loss = { 0, 0, 0 };
    double sum = 0;
    const pith__sequence s = { .t = u->t, .target = u->target, .n = N, .logp = logp };
    if (pith__run_sequence(u->tape, &s, 0, &loss, NULL)) FAIL("not scored");
    for (int i = 0; i < N; i++) sum -= (double)slope[i] * logp[i];
    return sum;
}

/* Along the gradient the sloped loss rises as the gradient's length says: differences of the 4th order. */
static void check_along(pupil *u, const float *slope, const char *name) {
    static const double at[] = { -2, -1, 1, 2 }, factor[] = { 1, -8, 8, -1 };
    double length = pith__grad_norm(&u->p), rise = 0, h = 2e-3;
    for (int k = 0; k < 4; k++)
        for (int back = 0; back < 2; back++) {
            for (size_t j = 0; j < u->p.n_param; j++)
                for (size_t i = 0; i < u->p.param[j].n; i++)
                    u->p.param[j].w[i] += (float)((back ? -at[k] : at[k]) * h * (double)u->p.param[j].g[i] / length);
            if (!back) rise += factor[k] * sloped_loss(u, slope) / (12 * h);
        }
    if (!(fabs(rise - length) < 5e-3 * length)) FAIL("%s: rises by %g, not by %g", name, rise, length);
}

TEST(slopes_of_tokens) {
    float slope[N], ones[N], logp[N];
    for (int i = 0; i < N; i++) slope[i] = slope_of(i), ones[i] = 1;
    for (int f = 0; f < N_FAMILY; f++) {
        pupil u;
        pith__loss loss = { 0, 0, 0 }, plain = { 0, 0, 0 };
        REQUIRE(!pupil_new(&u, &all_families[f], 1, NULL, PITH__KEEP_ALL));
        EQ(pith__learn(u.tape, u.t, u.target, N, 0.5f, &plain, NULL), PITH_OK);
        float *want = copy_of(u.p.g, u.p.n);
        pith__params_zero(&u.p);
        const pith__sequence one = { .t = u.t, .target = u.target, .n = N, .slope = ones, .logp = logp };
        EQ(pith__run_sequence(u.tape, &one, 0.5f, &loss, NULL), PITH_OK);
        CHECK(memcmp(want, u.p.g, u.p.n * sizeof *want) == 0 && loss.sum == plain.sum && loss.n_right == plain.n_right);
        double sum = 0;
        for (int i = 0; i < N; i++) sum -= logp[i], CHECK(u.target[i] < 0 ? !(logp[i] < 0) : logp[i] < 0);
        NEAR(sum, loss.sum, 1e-6 * loss.sum);
        pith__params_zero(&u.p);
        const pith__sequence s = { .t = u.t, .target = u.target, .n = N, .slope = slope };
        EQ(pith__run_sequence(u.tape, &s, 1, &loss, NULL), PITH_OK);
        check_along(&u, slope, all_families[f].name);
        free(want), pupil_free(&u);
    }
}

/* Sequences of a step keep their slopes and get their log-probabilities, whichever thread runs them. */
TEST(slopes_in_a_step) {
    float slope[N], logp[2][N_SEQUENCE][N], *want = NULL;
    for (int i = 0; i < N; i++) slope[i] = slope_of(i);
    for (int threads = 1; threads <= 3; threads++) {
        pupil u;
        pith__sequence s[N_SEQUENCE];
        pith__loss loss = { 0, 0, 0 };
        REQUIRE(!pupil_new(&u, &all_families[0], threads, NULL, PITH__KEEP_ALL));
        pith__step *step = pith__step_new(u.m, &u.p, &(pith__step_plan){ N, N_SEQUENCE, PITH__KEEP_ALL, 1 }, NULL);
        REQUIRE(step);
        memset(logp, 1, sizeof logp);
        for (int k = 0; k < N_SEQUENCE; k++) {
            s[k] = (pith__sequence){ .t = u.t + k, .target = u.target + k, .n = N - 7 - k, .logp = logp[0][k] };
            if (k % 2) s[k].slope = slope;
        }
        pith__step_begin(step);
        EQ(pith__step_learn(step, s, N_SEQUENCE, 0.01f, NULL), PITH_OK);
        EQ(pith__step_learn(step, s, N_SEQUENCE, 0, NULL), PITH_EARG);
        pith__step_end(step, &loss);
        for (int k = 0; k < N_SEQUENCE; k++) s[k].logp = logp[1][k];
        EQ(pith__step_score(step, s, N_SEQUENCE, &loss, NULL), PITH_OK);
        CHECK(memcmp(logp[0], logp[1], sizeof logp[0]) == 0);
        if (!want) want = copy_of(u.p.g, u.p.n);
        CHECK(memcmp(want, u.p.g, u.p.n * sizeof *want) == 0);
        pith__step_free(step), pupil_free(&u);
    }
    free(want);
}

/* ---- what a loss should be --------------------------------------------------------------- */

static void shrink(pupil *u, float by) {
    for (size_t j = 0; j < u->p.n_param; j++)
        for (size_t i = 0; u->p.param[j].decay && i < u->p.param[j].n; i++)
            u->p.param[j].w[i] *= by;
}

/* A file's matrices, of whatever format, become floats that learn: the loss stays about the same, every
 * tensor gets a gradient, and a step makes the loss smaller. */
TEST(int8_becomes_floats_that_learn) {
    bytes b = fixture_llama2c(&big, 2, 3);
    pith_options opt = { .n_threads = 2 };
    pith_model *m = pith_open_memory(b.p, b.n, &opt, NULL);
    pith_token t[41];
    pith__loss before = { 0, 0, 0 }, loss = { 0, 0, 0 }, after = { 0, 0, 0 };
    pith__params p;
    for (int i = 0; i < 41; i++) t[i] = i * i % BIG_VOCAB;
    pith__tape *tape = pith__tape_new(m, NULL, 40, PITH__KEEP_ALL, NULL);
    REQUIRE(tape && !pith__score(tape, t, t + 1, 40, &before, NULL));
    pith__tape_free(tape);
    REQUIRE(!pith__params_new(&p, m, NULL));
    EQ(p.n_param, m->store.n_tensor);
    CHECK(!m->embd.tensor.group && !m->layer[1].q.tensor.scale);
    REQUIRE((tape = pith__tape_new(m, p.g, 40, PITH__KEEP_ALL, NULL)) != NULL);
    EQ(pith__learn(tape, t, t + 1, 40, 1.0f / 40, &loss, NULL), PITH_OK);
    NEAR(loss.sum, before.sum, 0.01 * before.sum);
    for (size_t j = 0; j < p.n_param; j++) {
        const pith__param *q = &p.param[j];
        float row[512], most = 0;
        pith__row_floats(q->tensor, q->tensor->rows - 1, row);
        CHECK(memcmp(row, q->w + q->n - q->tensor->cols, q->tensor->cols * sizeof *row) == 0);
        for (size_t i = 0; i < q->n; i++) most = fmaxf(most, fabsf(q->g[i]));
        CHECK(most > 0);
        for (size_t i = 0; i < q->n; i++) q->w[i] -= 0.01f * q->g[i];
    }
    EQ(pith__score(tape, t, t + 1, 40, &after, NULL), PITH_OK);
    CHECK(after.sum < loss.sum);
    pith__tape_free(tape), pith_close(m);
    pith__params_free(&p), free(b.p);
}

/* The loss of a text is the sum of its tokens' losses, the first one first. */
TEST(order_of_losses) {
    pupil u;
    pith__loss whole = { 0, 0, 0 }, one = { 0, 0, 0 };
    pith_token target[N];
    double want = 0;
    REQUIRE(!pupil_new(&u, &all_families[9], 1, NULL, PITH__KEEP_ALL));
    EQ(pith__score(u.tape, u.t, u.target, N, &whole, NULL), PITH_OK);
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < N; k++) target[k] = k == i ? u.target[i] : -1;
        one.sum = 0;
        EQ(pith__score(u.tape, u.t, target, N, &one, NULL), PITH_OK);
        want += one.sum;
    }
    CHECK(whole.sum == want && whole.n == one.n);
    pupil_free(&u);
}

TEST(untrained_is_ln_vocab) {
    for (int i = 0; i < N_FAMILY; i++) {
        pupil u;
        pith__loss loss = { 0, 0, 0 };
        REQUIRE(!pupil_new(&u, &all_families[i], 1, NULL, PITH__KEEP_ALL));
        shrink(&u, 0.03f);
        EQ(pith__score(u.tape, u.t, u.target, N, &loss, NULL), PITH_OK);
        EQ(loss.n, 17);
        NEAR(loss.sum / (double)loss.n, log(VOCAB), 0.02 * log(VOCAB));
        pupil_free(&u);
    }
}

TEST(overfits_a_batch) {
    for (int i = 0; i < N_FAMILY; i += 4) {
        pupil u;
        REQUIRE(!pupil_new(&u, &all_families[i], 1, NULL, PITH__KEEP_ALL));
        shrink(&u, 0.1f);
        float *means = calloc(2 * u.p.n, sizeof *means);
        pith__adamw how = { 0.9f, 0.99f, 1e-8f, 0.01f, 0, means, means + u.p.n };
        double loss = 0;
        for (int step = 0; step < 150; step++) {
            pith__params_zero(&u.p);
            loss = pupil_learn(&u, 1.0f / 17) / 17;
            double norm = pith__grad_norm(&u.p);
            pith__adamw_step(&how, &u.p, 0.01, norm > 1 ? 1 / norm : 1);
        }
        if (!(loss < 0.05)) FAIL("%s: the loss is still %g", all_families[i].name, loss);
        free(means), pupil_free(&u);
    }
}

TEST(refusals) {
    pupil u;
    pith__loss loss = { 0, 0, 0 };
    pith_error e = { 0, "" };
    REQUIRE(!pupil_new(&u, &all_families[0], 1, NULL, PITH__KEEP_ALL));
    u.target[5] = VOCAB;
    EQ(pith__learn(u.tape, u.t, u.target, N, 1, &loss, &e), PITH_EARG);
    CHECK(strstr(e.text, "37") != NULL);
    u.target[5] = 1, u.t[3] = -1;
    EQ(pith__learn(u.tape, u.t, u.target, N, 1, &loss, &e), PITH_EARG);
    EQ(pith__learn(u.tape, u.t, u.target, N + 1, 1, &loss, &e), PITH_EARG);
    CHECK(loss.sum == 0 && loss.n == 0 && pith__grad_norm(&u.p) == 0);
    u.t[3] = 1;
    for (int i = 0; i < N; i++) u.target[i] = -100;
    EQ(pith__learn(u.tape, u.t, u.target, N, 1, &loss, &e), PITH_OK); /* nothing counts */
    CHECK(loss.sum == 0 && loss.n == 0 && pith__grad_norm(&u.p) == 0);
    CHECK(pith__tape_size(u.m, N, PITH__KEEP_ALL) > pith__tape_size(u.m, N, PITH__KEEP_STREAM));
    pupil_free(&u);
}

/* ---- AdamW and its schedule -------------------------------------------------------------- */

TEST(adamw_as_the_paper_has_it) {
    pupil u;
    REQUIRE(!pupil_new(&u, &all_families[0], 1, NULL, PITH__KEEP_ALL));
    float *means = calloc(2 * u.p.n, sizeof *means);
    pith__adamw how = { 0.9f, 0.95f, 0.05f, 0.1f, 0, means, means + u.p.n };
    const pith__param *q = NULL, *norm = NULL;
    for (size_t j = 0; j < u.p.n_param; j++) {
        if (pith__str_is(u.p.param[j].tensor->name, "blk.1.ffn_up.weight")) q = &u.p.param[j];
        if (pith__str_is(u.p.param[j].tensor->name, "blk.1.ffn_norm.weight")) norm = &u.p.param[j];
    }
    REQUIRE(q && norm);
    double w = q->w[7], z = norm->w[3], m = 0, v = 0, mz = 0, vz = 0;
    CHECK(q->decay && !norm->decay);
    for (int t = 1; t <= 5; t++) {
        double g = 0.3 * t - 1, lr = 0.01 * t, clip = 0.5;
        q->g[7] = norm->g[3] = (float)g;
        pith__adamw_step(&how, &u.p, lr, clip);
        g *= clip;
        m = 0.9 * m + 0.1 * g, v = 0.95 * v + 0.05 * g * g, mz = m, vz = v;
        w -= lr * 0.1 * w + lr * (m / (1 - pow(0.9, t))) / (sqrt(v / (1 - pow(0.95, t))) + 0.05);
        z -= lr * (mz / (1 - pow(0.9, t))) / (sqrt(vz / (1 - pow(0.95, t))) + 0.05);
        NEAR(q->w[7], w, 1e-6);
        NEAR(norm->w[3], z, 1e-6);
    }
    EQ(how.step, 5);
    q->g[7] = 3, norm->g[3] = 4;
    NEAR(pith__grad_norm(&u.p), 5, 1e-12);
    free(means), pupil_free(&u);
}

/* In parts of 2^14 numbers, each in 16 lanes and a tree, the parts from the first to the last. */
static double gradient_norm(const float *g, size_t n) {
    enum { PART_NUMBERS = 1 << 14 };
    double sum = 0;
    for (size_t at = 0; at < n; at += PART_NUMBERS) {
        double s[16] = { 0 };
        for (size_t i = at; i < n && i < at + PART_NUMBERS; i++) s[i % 16] += (double)g[i] * g[i];
        for (size_t half = 8; half > 0; half /= 2)
            for (size_t i = 0; i < half; i++) s[i] += s[i + half];
        sum += s[0];
    }
    return sqrt(sum);
}

TEST(order_of_the_gradient_norm) {
    enum { MOST = 5000000 };
    float *g = malloc(MOST * sizeof *g);
    uint64_t state = 3;
    for (size_t i = 0; i < MOST; i++) g[i] = fixture_random(&state) * (float)(1 + i % 1000);
    for (size_t n = 1; n <= MOST; n += n < 100 ? 1 : n < 1000000 ? n : 500000) {
        pith__params p = { .g = g, .n = n, .team = { .n_threads = 2, .scratch = (uint8_t *)g } };
        CHECK(pith__grad_norm(&p) == gradient_norm(g, n));
    }
    free(g);
}

TEST(schedules) {
    EQ(pith__schedule_named("cosine"), PITH__COSINE);
    EQ(pith__schedule_named("linear"), PITH__LINEAR);
    EQ(pith__schedule_named("constant_with_warmup"), PITH__CONSTANT);
    EQ(pith__schedule_named("cosin"), -1);
    NEAR(pith__schedule(PITH__COSINE, 0, 10, 110, 0), 0, 0);
    NEAR(pith__schedule(PITH__COSINE, 5, 10, 110, 0), 0.5, 0);
    NEAR(pith__schedule(PITH__COSINE, 10, 10, 110, 0), 1, 0);
    NEAR(pith__schedule(PITH__COSINE, 35, 10, 110, 0), 0.8535533906, 1e-9);
    NEAR(pith__schedule(PITH__COSINE, 60, 10, 110, 0.1), 0.55, 1e-12);
    NEAR(pith__schedule(PITH__COSINE, 110, 10, 110, 0.1), 0.1, 1e-12);
    NEAR(pith__schedule(PITH__COSINE, 500, 10, 110, 0), 0, 1e-12);
    NEAR(pith__schedule(PITH__LINEAR, 35, 10, 110, 0), 0.75, 1e-12);
    NEAR(pith__schedule(PITH__LINEAR, 110, 10, 110, 0), 0, 1e-12);
    NEAR(pith__schedule(PITH__CONSTANT, 99, 0, 110, 0), 1, 0);
    NEAR(pith__schedule(PITH__COSINE, 0, 0, 0, 0.2), 0.2, 1e-12);
}

int main(void) {
    RUN(any_threads_and_recomputation);
    RUN(sequences_add_up);
    RUN(few_logits_at_once);
    RUN(steps_of_any_shape);
    RUN(large_models_have_fewer_shards);
    RUN(large_sequences_have_one_tape);
    RUN(shards_of_every_family);
    RUN(through_int8);
    RUN(slopes_of_tokens);
    RUN(slopes_in_a_step);
    RUN(int8_becomes_floats_that_learn);
    RUN(order_of_losses);
    RUN(untrained_is_ln_vocab);
    RUN(overfits_a_batch);
    RUN(refusals);
    RUN(adamw_as_the_paper_has_it);
    RUN(order_of_the_gradient_norm);
    RUN(schedules);
    return DONE();
}
