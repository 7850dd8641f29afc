/* t_qat.c - --qat: every step against torch with gguf's quantisers (../shared/tuning); the file has the very numbers that
 * training saw; gradients go straight through. */
#define _POSIX_C_SOURCE 200809L
#include "pretrain_run.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

static int sft(const char *flags) { return run_verb(verb_sft, "sft", flags); }

/* ---- the steps of a reference ------------------------------------------------------------------------ */

enum { STEPS = 5 };

static double apart(const double *a, const double *b, int n) {
    double d = 0, all = 0;
    for (int i = 0; i < n; i++) d += (a[i] - b[i]) * (a[i] - b[i]), all += b[i] * b[i];
    return sqrt(d / all);
}

/* Loss and norm of the five steps; *after: the loss of the first batch then. */
static int read_table(const char *path, double x[2][STEPS], double *after) {
    char line[1024];
    int n = 0, step;
    double loss, norm;
    FILE *f = fopen(path, "rb");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "%d %lf %lf", &step, &loss, &norm) == 3) {
            if (step >= 1 && step <= STEPS) x[0][step - 1] = loss, x[1][step - 1] = norm, n++;
            if (step == STEPS + 1) *after = loss;
        }
    if (f) fclose(f);
    return n;
}

#define REFERENCE "--full --learning_rate 1e-3 --lr_scheduler_type constant --weight_decay 0 --adam_beta2 0.999 " \
    "--max_grad_norm 1 --per_device_train_batch_size 4 --max_steps 5 --train_sampling_strategy sequential " \
    "--logging_steps 1 --qat_train_only_quantized --save_steps 0 "

static void compare_reference(const char *family, const char *type, double tolerance) {
    char flags[2048], table[64];
    double want[2][STEPS], got[STEPS], after = 0;
    snprintf(table, sizeof table, "qat/%s.txt", type);
    EQ(read_table(fixture_tuning(family, table), want, &after), STEPS);
    snprintf(flags, sizeof flags, "%s %s " REFERENCE "--qat %s --output_dir {}/q --overwrite_output_dir --eval_steps 0",
             fixture_tuning(family, "base"), fixture_tuning(family, "data/sft_prompt_completion.jsonl"), type);
    EQ(sft(flags), 0);
    CHECK(strstr(said, "rounded      14 matrices to Q"));
    for (int k = 0; k < 2; k++) {
        EQ(log_numbers("q/train.log.jsonl", k ? "grad_norm" : "loss", got, STEPS), STEPS);
        double d = apart(got, want[k], STEPS);
        if (!(d < tolerance)) FAIL("%s %s %s differs by %g", family, type, k ? "grad_norm" : "loss", d);
    }
}

/* The first four rows again, of the file that was written: a weight at an edge may have fallen to either side. */
TEST(steps_of_torch) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    compare_reference("llama", "q8_0", 3.1e-5);
    if (!BRIEF) compare_reference("qwen2", "q8_0", 1.9e-4), compare_reference("qwen2", "q4_0", 1e-5);
    compare_reference("llama", "q4_0", 1e-5);
    pith_error e = { 0, "" };
    pith_options opt = { .n_threads = 1 };
    pith_model *a = pith_open(in_folder("q/model.gguf"), &opt, &e);
    pith_model *b = pith_open(fixture_tuning("llama", "qat/q4_0.final.gguf"), &opt, &e);
    if (!a || !b) FAIL("%s", e.text);
    size_t n = 0, same = 0;
    for (size_t i = 0; a && b && i < b->store.n_tensor; i++) {
        const pith__tensor *want = &b->store.tensor[i], *got = &a->store.tensor[i];
        CHECK(!pith__str_cmp(want->name, got->name) && want->format == got->format);
        n += pith__tensor_bytes(want);
        for (size_t k = 0; k < pith__tensor_bytes(want); k++) same += want->data[k] == got->data[k];
    }
    if (!(same > n * 0.999)) FAIL("%zu of %zu bytes are the same", same, n);
    pith_close(a), pith_close(b);
}

/* ---- what is written is what was seen --------------------------------------------------------------- */

static pith_model *open_model_at(const char *path) {
    pith_error e = { 0, "" };
    pith_model *m = pith_open(path, &(pith_options){ .n_threads = 1 }, &e);
    if (!m) FAIL("%s", e.text);
    return m;
}

static pith_model *open_made(const char *name) { return open_model_at(in_folder(name)); }

static void jitter(pith__params *p) { /* another model, as after a step */
    uint64_t state = 3;
    for (size_t i = 0; i < p->n_param; i++)
        for (size_t k = 0; k < p->param[i].n; k++) p->param[i].w[k] += 0.02f * fixture_random(&state);
    pith__qat_round(p);
}

/* The gradient of one sequence; returns the loss. */
static double learn_one(pith_model *m, pith__params *p) {
    pith_error e = { 0, "" };
    pith_token t[20], target[20];
    pith__loss loss = { 0, 0, 0 };
    pith__tape *tape = pith__tape_new(m, p->g, 20, PITH__KEEP_ALL, &e);
    if (!tape) return NAN;
    tape->s->adapted = p->by;
    tape->s->adapted.merged = p->n_rounded > 0;
    for (int i = 0; i < 20; i++) t[i] = 3 + i * 7 % 50, target[i] = 3 + (i + 1) * 7 % 50;
    pith__params_zero(p);
    EQ(pith__learn(tape, t, target, 20, 0.05f, &loss, &e), 0);
    pith__tape_free(tape);
    return loss.sum;
}

static void check_written(const char *type, const char *embedding, int only) {
    pith_error e = { 0, "" };
    pith__params p, q;
    pith__arena arena = { NULL, 0 };
    pith_model *m = open_made("base/model.gguf");
    REQUIRE(m && !pith__params_new(&p, m, &e));
    size_t all = p.n_param;
    pith__requant as = { .m = m, .mix = pith__mix_named(type), .requantize = 1, .embedding = pith__format_named(embedding),
                         .output = pith__format_of(PITH__F32) };
    REQUIRE(as.mix && as.embedding);
    EQ(pith__qat_begin(&p, m, &as, only, &e), 0);
    CHECK(only ? p.n_param < all : p.n_param == all);
    jitter(&p);
    as.learned = pith__learned_tensors(&p, &arena), as.n_learned = p.n_param;
    if (pith__requant_gguf(&as, in_folder("written.gguf"), &e)) FAIL("%s", e.text);
    pith_model *w = open_made("written.gguf");
    REQUIRE(w && !pith__params_new(&q, w, &e));
    EQ(q.n_param, all);
    learn_one(m, &p), learn_one(w, &q);
    int rounded = 0;
    for (size_t i = 0, k = 0; i < q.n_param; i++) {
        const pith__param *b = &q.param[i], *a = k < p.n_param ? &p.param[k] : NULL;
        if (!a || pith__str_cmp(a->tensor->name, b->tensor->name)) continue; /* frozen, yet the slopes depend on it */
        k++;
        rounded += a->to != NULL;
        if (a->to) CHECK(a->to == b->tensor->format && memcmp(a->w, a->seen, a->n * sizeof(float)) != 0);
        pith__str name = b->tensor->name;
        if (memcmp(a->to ? a->seen : a->w, b->w, b->n * sizeof(float)) != 0) FAIL("%s: %.*s", type, (int)name.n, name.p);
        if (memcmp(a->g, b->g, b->n * sizeof(float)) != 0) FAIL("%s: slope of %.*s", type, (int)name.n, name.p);
    }
    EQ(rounded, 14 + (strcmp(embedding, "f32") != 0 && strcmp(embedding, "f16") != 0));
    pith__params_free(&p), pith__params_free(&q);
    pith__arena_free(&arena);
    pith_close(m), pith_close(w);
}

/* The slopes of A and B by those of the matrix, g (rows, cols), that s B A is added to. */
static void check_slopes(const pith__params *p, const pith__pair *pair, const float *g, size_t rows, size_t cols) {
    double off = 0, all = 0;
    for (size_t k = 0; k < (size_t)pair->r; k++) {
        for (size_t c = 0; c < cols; c++) {
            double want = 0;
            for (size_t r = 0; r < rows; r++) want += (double)pair->scale * pair->b[k * rows + r] * g[r * cols + c];
            double d = p->g[pair->at_a + k * cols + c] - want;
            off += d * d, all += want * want;
        }
        for (size_t r = 0; r < rows; r++) {
            double want = 0;
            for (size_t c = 0; c < cols; c++) want += (double)pair->scale * pair->a[k * cols + c] * g[r * cols + c];
            double d = p->g[pair->at_b + k * rows + r] - want;
            off += d * d, all += want * want;
        }
    }
    if (!(sqrt(off / all) < 1e-5)) FAIL("slopes differ by %g", sqrt(off / all));
}

static void check_adapted(const char *base, const char *type, const char *target) {
    pith_error e = { 0, "" };
    pith__params p, q;
    pith_model *m = open_model_at(base);
    const char *targets[] = { target };
    pith__lora_plan plan = { .r = 3, .alpha = 6, .target = targets, .n_target = 1, .seed = 4 };
    pith_adapter *a = m && !pith__gather(m, &e) ? pith__adapter_new(m, &plan, &e) : NULL;
    REQUIRE(a && !pith__adapter_params(&p, a, m, &e));
    uint64_t state = 9;
    for (size_t i = 0; i < p.n_param; i++) /* B too */
        for (size_t k = 0; k < p.param[i].n; k++) p.param[i].w[k] += 0.05f * fixture_random(&state);
    const pith__adapted by = { .n = 1, .of = { { a, 1 } } };
    pith__requant as = { .m = m, .mix = pith__mix_named(type), .requantize = 1, .by = &by,
                         .embedding = pith__format_of(PITH__F32), .output = pith__format_of(PITH__F32) };
    if (pith__qat_adapt(&p, m, a, &as, &e) || pith__requant_gguf(&as, in_folder("written.gguf"), &e)) FAIL("%s", e.text);
    pith_model *w = open_made("written.gguf");
    REQUIRE(w && !pith__params_new(&q, w, &e));
    EQ(p.n_rounded, 14);
    NEAR(learn_one(m, &p), learn_one(w, &q), 0);
    for (size_t i = 0; i < p.n_rounded; i++)
        for (size_t k = 0; k < q.n_param; k++) {
            const pith__rounded *x = &p.rounded[i];
            const pith__param *y = &q.param[k];
            if (pith__str_cmp(x->base.name, y->tensor->name)) continue;
            if (x->to != y->tensor->format || memcmp(x->seen, y->w, y->n * sizeof(float)) != 0) FAIL("%s of %s", type, base);
            if (a->pair[x->w->index].r) check_slopes(&p, a->pair + x->w->index, y->g, x->base.rows, x->base.cols);
        }
    pith__params_free(&p), pith__params_free(&q);
    pith_adapter_close(a), pith_close(m), pith_close(w);
}

TEST(the_file_has_what_an_adapter_saw) {
    check_adapted(in_folder("base/model.gguf"), "q4_0", "all-linear");
    check_adapted(in_folder("base/model.gguf"), "q4_k_m", "q_proj");
    check_adapted(in_folder("written.gguf"), "q3_k_m", "all-linear"); /* over a base of few bits */
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    check_adapted(fixture_tuning("llama", "base"), "q5_1", "all-linear"); /* a folder, whose q and k lie in another order */
}

#define SHAPE TINY "--dim 256 --heads 4 --ffn 256 --layers 2 "

TEST(the_file_has_what_training_saw) {
    make_grammar();
    if (pretrain(SHAPE "-o {}/base --max_steps 2")) FAIL("%s", said);
    check_written("q4_k_m", "q6_k", 0);
    check_written("q8_0", "q4_1", 1);
    if (BRIEF) return;
    check_written("q4_0", "f32", 0);
    check_written("iq4_xs", "f16", 1);
    check_written("q2_k", "f32", 0);
    check_written("mxfp4", "f32", 0);
}

/* ---- runs -------------------------------------------------------------------------------------------- */

TEST(pretraining) {
    double first[2], more[2];
    if (pretrain(SHAPE "-o {}/a --max_steps 4 --qat q4_k --save_steps 2 --eval_steps 2 --save_total_limit 0 "
                 "--token_embedding_type q6_k")) FAIL("%s", said);
    CHECK(strstr(said, "rounded      ") && there("a/model.gguf") && !there("a/model.bin"));
    EQ(log_numbers("a/train.log.jsonl", "eval_loss", first, 2), 2);
    pith_model *m = open_made("a/model.gguf");
    if (m) EQ(pith__store_tensor(&m->store, "token_embd.weight")->format->id, PITH__Q6_K);
    if (m) EQ(pith__store_tensor(&m->store, "blk.0.attn_q.weight")->format->id, PITH__Q4_K);
    pith_close(m);
    if (pretrain(SHAPE "-o {}/b --max_steps 4 --qat q4_k --save_steps 2 --eval_steps 2 --token_embedding_type q6_k "
                 "--resume_from_checkpoint {}/a/checkpoint-2.gguf")) FAIL("%s", said);
    CHECK(same_files("a/model.gguf", "b/model.gguf"));
    EQ(log_numbers("b/train.log.jsonl", "eval_loss", more, 2), 1);
    NEAR(more[0], first[1], 0);
}

/* A checkpoint knows what it learned for, so that nobody goes on with another training unawares. */
TEST(another_type_than_the_checkpoint_has) {
#define ON SHAPE "--max_steps 2 --overwrite_output_dir -o {}/c --resume_from_checkpoint {}/a/checkpoint-2.gguf "
    EQ(pretrain(ON), USAGE);
    CHECK(strstr(said, "a/checkpoint-2.gguf: its weights learn for Q4_K_M, embedding Q6_K, output matrix F32: give --qat"));
    EQ(pretrain(ON "--qat q4_k_m --token_embedding_type q6_k"), 0);
    CHECK(!strstr(said, "pith: --qat"));
    EQ(pretrain(ON "--qat q4_k"), 0);
    CHECK(strstr(said, "pith: --qat is Q4_K_M, embedding F32, output matrix F32, ") &&
          strstr(said, "a/checkpoint-2.gguf has Q4_K_M, embedding Q6_K, output matrix F32\n"));
    EQ(pretrain(ON "--qat f32"), 0);
    CHECK(strstr(said, "pith: --qat is F32, "));
    if (pretrain(SHAPE "-o {}/d --max_steps 2")) FAIL("%s", said);
    EQ(pretrain(SHAPE "-o {}/d --max_steps 3 --resume_from_checkpoint last --qat q4_0"), 0);
    CHECK(strstr(said, "pith: --qat is Q4_0, embedding F32, output matrix F32, ") && strstr(said, "checkpoint-2.gguf has none\n"));
}

#define FLOATS  "{}/base/model.gguf {}/rows.jsonl --lora_r 4 --learning_rate 0.01 --logging_steps 1 " \
                "--eval_steps 0 --train_sampling_strategy sequential --save_steps 2 --save_total_limit 0 --threads 1 " \
                "--max_steps 4 "
#define ADAPTER FLOATS "--qat q4_0 "

/* Steps, a resume to the bit, and the file, whose numbers are those of base and adapter, rounded. */
TEST(an_adapter) {
    static const char rows[] = "{\"text\": \"the cat\"}\n{\"text\": \"found a red ball\"}\n";
    text_file("rows.jsonl", rows, sizeof rows - 1);
    if (sft(ADAPTER "-o {}/l")) FAIL("%s", said);
    CHECK(strstr(said, "rounded      14 matrices to Q4_0") && there("l/adapter_model.safetensors"));
    if (sft(ADAPTER "-o {}/l2 --resume_from_checkpoint {}/l/checkpoint-2")) FAIL("%s", said);
    CHECK(same_files("l/model.gguf", "l2/model.gguf"));
    EQ(sft(FLOATS "-o {}/l3 --resume_from_checkpoint {}/l/checkpoint-2"), USAGE);
    CHECK(strstr(said, "checkpoint-2/state.gguf: its weights learn for Q4_0, embedding F32, output matrix F32: give --qat"));
    pith_model *m = open_made("l/model.gguf");
    if (m) EQ(pith__store_tensor(&m->store, "blk.0.attn_q.weight")->format->id, PITH__Q4_0);
    pith_close(m);
}

TEST(refused_flags) {
    static const struct { const char *flags, *says; } rows[] = {
        { "{}/base/model.gguf {}/rows.jsonl -o {}/z --qat q4_0 --lora_dropout 0.1", "--lora_dropout is of no use with --qat" },
        { "{}/base/model.gguf {}/rows.jsonl -o {}/z --qat q4_0 --qat_train_only_quantized", "of no use without --full" },
        { "{}/base/model.gguf {}/rows.jsonl -o {}/z --full --qat q4_9", "--qat is 'q4_9', need one of: F32" },
        { "{}/base/model.gguf {}/rows.jsonl -o {}/z --full --qat q4_0 --outtype f16", "--outtype and --qat" },
        { "{}/base/model.gguf {}/rows.jsonl -o {}/z --full --qat_train_only_quantized", "of no use without --qat" },
        { "{}/base/model.gguf {}/rows.jsonl -o {}/z --full --output_tensor_type q8_0", "of no use without --qat" },
        { "{}/base/model.gguf {}/rows.jsonl -o {}/z --full --qat q4_0 --token_embedding_type i8",
          "--token_embedding_type is 'i8'" },
        { "{}/base/model.gguf {}/rows.jsonl -o {}/z --full --qat f32 --qat_train_only_quantized",
          "leaves nothing to learn" },
    };
    text_file("rows.jsonl", "{\"text\": \"the cat\"}\n", 20);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        EQ(sft(rows[i].flags), USAGE);
        if (!strstr(said, rows[i].says)) FAIL("%s: %s", rows[i].says, said);
    }
}

int main(void) {
    if (!mkdtemp(folder)) return 1;
    RUN(steps_of_torch);
    RUN(the_file_has_what_training_saw);
    RUN(the_file_has_what_an_adapter_saw);
    RUN(an_adapter);
    RUN(pretraining);
    RUN(another_type_than_the_checkpoint_has);
    RUN(refused_flags);
    char command[200];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command) ? 1 : DONE();
}
