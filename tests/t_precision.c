/* t_precision.c - learning with products in BF16: gradients are those of floats but for the rounding, bits depend on nothing
 * but the sequences, and a run comes to the loss that floats come to. */
#define _XOPEN_SOURCE 700
#include "pupil.h"
#include "pretrain_run.h"

#include <sys/stat.h>

static const char *const sets[] = { "portable", "avx2", "avxvnni", "avx512", "avx512bf16", "neon", "bf16" };
enum { SETS = sizeof sets / sizeof *sets };

/* A pupil whose gradient is found in BF16. */
static int bf16_pupil(pupil *u, const family *f, int threads, const char *kernels, int keep) {
    pith_error e = { 0, "" };
    if (pupil_new(u, f, threads, kernels, keep)) return 1;
    if (pith__bf16_begin(&u->p, u->m, &e)) FAIL("%s", e.text);
    u->tape->bf16 = 1;
    return 0;
}

static double apart(const float *x, const float *want, size_t n) { /* relative; NaN where one is no number */
    double d = 0, all = 0;
    for (size_t i = 0; i < n; i++) d += pow((double)x[i] - want[i], 2), all += pow(want[i], 2);
    return sqrt(d / all);
}

/* Every family, every kernel set: within the rounding of 8 bits. Experts may be chosen otherwise, so they are not compared. */
TEST(gradients_of_every_family) {
    for (size_t k = 0; k < SETS; k++)
        for (size_t i = 0; kernels_named(sets[k]) && i < sizeof all_families / sizeof *all_families; i++) {
            pupil a, b;
            const family *f = &all_families[i];
            if (f->n_expert) continue;
            REQUIRE(!pupil_new(&a, f, 1, sets[k], PITH__KEEP_ALL));
            REQUIRE(!bf16_pupil(&b, f, 1, sets[k], PITH__KEEP_ALL));
            double loss = pupil_learn(&a, 1), got = pupil_learn(&b, 1), d = apart(b.p.g, a.p.g, a.p.n);
            if (!(fabs(got - loss) < 3e-3 * loss)) FAIL("%s, %s: loss %g, %g of floats", f->name, sets[k], got, loss);
            if (!(d > 1e-5 && d < 0.05)) FAIL("%s, %s: the gradient is %g from that of floats", f->name, sets[k], d);
            pupil_free(&a), pupil_free(&b);
        }
}

/* Sums have one order: any threads, with blocks that run again, and after a sequence of another length. */
TEST(any_threads_and_recomputation) {
    for (size_t k = 0; k < SETS; k++) {
        float *want = NULL;
        for (int i = 0; kernels_named(sets[k]) && i < 6; i++) {
            static const int threads[] = { 1, 2, 3, 7, 1, 2 };
            pupil u;
            REQUIRE(!bf16_pupil(&u, &all_families[0], threads[i], sets[k], i < 4 ? PITH__KEEP_ALL : PITH__KEEP_STREAM));
            pupil_learn(&u, 1), pupil_learn(&u, -0.5f);
            if (i == 0) want = copy_of(u.p.g, u.p.n);
            if (memcmp(want, u.p.g, u.p.n * sizeof *want)) FAIL("other bits in run %d", i);
            pupil_free(&u);
        }
        free(want);
    }
}

/* What the model multiplies with follows the weights; these keep all their bits, and so do rows that are only read. */
TEST(weights_stay_floats) {
    pupil u;
    REQUIRE(!bf16_pupil(&u, &all_families[0], 2, NULL, PITH__KEEP_ALL));
    float *m = calloc(2 * u.p.n, sizeof *m);
    pith__adamw adam = { .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .m = m, .v = m + u.p.n };
    for (int i = 0; i < 3; i++) {
        pith__params_zero(&u.p);
        pupil_learn(&u, 0.1f);
        pith__adamw_step(&adam, &u.p, 1e-3, 1);
        size_t n_other = 0;
        for (size_t k = 0; k < u.p.n_narrow; k++) {
            const pith__narrow *q = &u.p.narrow[k];
            const float *w = (const float *)(const void *)q->base.data;
            for (size_t at = 0; at < q->base.rows * q->base.cols; at++) {
                uint16_t half = (uint16_t)(q->to[at / 2] >> (at % 2 ? 16 : 0)); /* all rows are even */
                if (half != pith__f32_to_bf16(w[at])) FAIL("step %d: number %zu of matrix %zu is not the weight's", i, at, k);
                n_other += pith__bf16_to_f32(half) != w[at];
            }
        }
        CHECK(u.p.n_narrow == 15 && n_other > 100); /* seven in each block, and the output matrix */
        EQ(u.m->embd.tensor.format->id, PITH__F32);
        EQ(u.m->head.tensor.format->id, PITH__BF16);
    }
    free(m), pupil_free(&u);
}

/* ---- runs ------------------------------------------------------------------------------------------------ */

#define SHAPE "{}/grammar.txt --vocab_size 400 --dim 64 --layers 2 --heads 4 --ffn 128 --context 48 --eval_steps 0 " \
              "--per_device_train_batch_size 4 --learning_rate 0.003 --logging_steps 10 "

TEST(as_low_as_with_floats) {
    const int n = BRIEF ? 20 : 150;
    double a[32], b[32], sum[2] = { 0, 0 };
    char flags[900];
    snprintf(flags, sizeof flags, SHAPE "--max_steps %d -o {}/floats", n);
    REQUIRE(pretrain(flags) == 0);
    CHECK(!strstr(said, "BF16"));
    snprintf(flags, sizeof flags, SHAPE "--max_steps %d --precision bf16 -o {}/bf16", n);
    REQUIRE(pretrain(flags) == 0);
    CHECK(strstr(said, "products in BF16"));
    int lines = log_numbers("floats/train.log.jsonl", "loss", a, 32);
    EQ(lines, n / 10);
    EQ(log_numbers("bf16/train.log.jsonl", "loss", b, 32), lines);
    for (int i = 0; i < lines; i++) sum[0] += a[i], sum[1] += b[i];
    NEAR(sum[1], sum[0], 0.005 * sum[0]);
    CHECK(sum[1] < sum[0] || sum[1] > sum[0]);
}

/* Threads, sequences at a time, and a stop on the way change no bit. */
TEST(the_same_bits) {
    REQUIRE(pretrain(TINY "--bf16 -o {}/whole --max_steps 12 --save_total_limit 0") == 0);
    REQUIRE(pretrain(TINY "--bf16 -o {}/part --max_steps 12 --threads 3 --gradient_checkpointing --save_total_limit 0 "
                          "--per_device_train_batch_size 1 --gradient_accumulation_steps 2") == 0);
    CHECK(same_files("whole/model.gguf", "part/model.gguf"));
    unlink(in_folder("part/model.gguf"));
    REQUIRE(pretrain(TINY "--precision bf16 -o {}/part --max_steps 12 --resume_from_checkpoint {}/whole/checkpoint-5.gguf") == 0);
    CHECK(!strstr(said, "products are in"));
    CHECK(same_files("whole/model.gguf", "part/model.gguf"));
    REQUIRE(pretrain(TINY "-o {}/part --max_steps 12 --resume_from_checkpoint {}/whole/checkpoint-5.gguf") == 0);
    CHECK(strstr(said, "products are in floats, in ") && strstr(said, "they are in BF16"));
    REQUIRE(pretrain(TINY "-o {}/old --max_steps 6") == 0);
    REQUIRE(pretrain(TINY "--bf16 -o {}/old --max_steps 6 --resume_from_checkpoint {}/old/checkpoint-5.gguf") == 0);
    CHECK(strstr(said, "products are in BF16, in ") && strstr(said, "they are in floats"));
}

TEST(refused) {
    EQ(pretrain(TINY "-o {}/no --precision fp16"), USAGE);
    CHECK(strstr(said, "--precision is 'fp16', need fp32, bf16 or auto"));
    EQ(pretrain(TINY "-o {}/no --precision fp32 --bf16"), USAGE);
    EQ(pretrain(TINY "-o {}/no --qat q4_0 --bf16"), USAGE);
    EQ(pretrain(TINY "-o {}/no --dry-run --precision auto"), 0);
    CHECK(!strstr(said, "BF16") == !kernels_named("avx512bf16"));
    EQ(pretrain(TINY "-o {}/no --dry-run --precision bf16 --bf16 false"), 0);
}

int main(void) {
    if (!mkdtemp(folder)) return 1;
    make_grammar();
    RUN(gradients_of_every_family);
    RUN(any_threads_and_recomputation);
    RUN(weights_stay_floats);
    RUN(as_low_as_with_floats);
    RUN(the_same_bits);
    RUN(refused);
    char command[200];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command)) return 1;
    return DONE();
}
