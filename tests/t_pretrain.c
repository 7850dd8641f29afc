/* t_pretrain.c - run pretrain from text to model: what it learns, that going on changes no bit, and the
 * files that it writes. */
#define _XOPEN_SOURCE 700
#include "pretrain_run.h"

#include <sys/stat.h>

/* ---- what it learns ------------------------------------------------------------------------------------ */

/* The shape of stories260K. The loss that 200 steps reach is known. */
TEST(a_small_model_learns_a_small_grammar) {
    double loss[400], eval[8], bits[8];
    const char *steps = BRIEF ? "20" : "200";
    char flags[600];
    snprintf(flags, sizeof flags, "{}/grammar.txt -o {}/a --vocab_size 512 --dim 64 --layers 5 --heads 8 "
             "--kv-heads 4 --ffn 172 --context 64 --per-device-train-batch-size 2 --learning_rate 0.003 "
             "--max_steps %s --logging_steps 1 --eval_steps 100 --seed 1", steps);
    REQUIRE(pretrain(flags) == 0);
    CHECK(strstr(said, "parameters   260032"));
    int n = log_numbers("a/train.log.jsonl", "loss", loss, 400);
    EQ(n, atoi(steps));
    NEAR(loss[0], log(512), 0.02 * log(512)); /* who knows nothing */
    if (BRIEF) SKIP("takes 200 steps");
    NEAR(loss[n - 1], 1.09, 0.12);
    EQ(log_numbers("a/train.log.jsonl", "eval_loss", eval, 8), 2);
    EQ(log_numbers("a/train.log.jsonl", "eval_bits_per_byte", bits, 8), 2);
    NEAR(eval[0], 1.39, 0.1);
    NEAR(eval[1], 1.10, 0.06);
    NEAR(bits[1], 0.474, 0.03);
    CHECK(there("a/model.gguf") && there("a/model.bin") && there("a/tokenizer.bin"));
    char *svg;
    size_t size;
    int marks = 0;
    REQUIRE(!read_text(in_folder("a/train.svg"), &svg, &size)); /* the curves: t_curves.c has more */
    for (const char *p = svg; (p = strstr(p, "class=\"mark\"")); p++) marks++;
    EQ(marks, 2);
    CHECK(strstr(svg, "Training, step 200<") && strstr(svg, "Gradient norm"));
    free(svg);
}

TEST(tinyshakespeare) {
    const char *text = fixture_shared("data/text/tinyshakespeare.txt");
    double loss[400];
    if (!text) SKIP("needs ../shared");
    if (BRIEF) SKIP("takes 200 steps");
    char flags[800];
    snprintf(flags, sizeof flags, "%s -o {}/s --vocab_size 512 --dim 64 --layers 5 --heads 8 --kv-heads 4 "
             "--ffn 172 --context 64 --per_device_train_batch_size 2 --learning_rate 0.003 "
             "--max_steps 200 --logging_steps 20 --eval_steps 0 --save_steps 0 --seed 4", text);
    REQUIRE(pretrain(flags) == 0);
    int n = log_numbers("s/train.log.jsonl", "loss", loss, 400);
    EQ(n, 10);
    NEAR(loss[0], 5.83, 0.06); /* of 20 steps each */
    NEAR(loss[n - 1], 4.617, 0.06);
    CHECK(!there("s/checkpoint-200.gguf") && there("s/train.svg"));
}

/* ---- the same bits --------------------------------------------------------------------------------------- */

TEST(going_on_is_the_same_as_never_having_stopped) {
    REQUIRE(pretrain(TINY "-o {}/whole --max_steps 17 --save_total_limit 0") == 0);
    REQUIRE(pretrain(TINY "-o {}/part --max_steps 17 --save_total_limit 0") == 0);
    CHECK(same_files("whole/model.gguf", "part/model.gguf"));
    CHECK(same_files("whole/checkpoint-17.gguf", "part/checkpoint-17.gguf"));
    static const char *const from[] = { "5", "10", "15", "17" };
    for (size_t i = 0; i < 4; i++) {
        char flags[900];
        unlink(in_folder("part/model.gguf"));
        snprintf(flags, sizeof flags, TINY "-o {}/part --max_steps 17 --save_total_limit 0 "
                 "--resume_from_checkpoint {}/whole/checkpoint-%s.gguf", from[i]);
        REQUIRE(pretrain(flags) == 0);
        CHECK(same_files("whole/model.gguf", "part/model.gguf"));
        CHECK(same_files("whole/model.bin", "part/model.bin"));
        CHECK(same_files("whole/checkpoint-17.gguf", "part/checkpoint-17.gguf"));
    }
    double step[64];
    EQ(log_numbers("part/train.log.jsonl", "step", step, 64), 17); /* as if there had been one run */
    for (int i = 0; i < 17; i++) EQ((int)step[i], i + 1);
}

TEST(the_last_checkpoint_is_found_and_old_ones_go) {
    REQUIRE(pretrain(TINY "-o {}/last --max_steps 12 --save_total_limit 2") == 0);
    CHECK(!there("last/checkpoint-5.gguf") && there("last/checkpoint-10.gguf") && there("last/checkpoint-12.gguf"));
    CHECK(pretrain(TINY "-o {}/last --max_steps 17") == USAGE); /* a run is there */
    CHECK(strstr(said, "--resume_from_checkpoint last") && strstr(said, "--overwrite_output_dir"));
    REQUIRE(pretrain(TINY "-o {}/last --max_steps 12 --resume_from_checkpoint=last") == 0);
    REQUIRE(pretrain("{}/grammar.txt -o {}/last --max_steps 14 --save_steps 5 --resume-from-checkpoint true "
                     "--per_device_train_batch_size 2") == 0); /* the shape is the checkpoint's */
    CHECK(there("last/checkpoint-14.gguf"));
    REQUIRE(pretrain(TINY "-o {}/last --max_steps 5 --overwrite_output_dir") == 0);
    CHECK(there("last/checkpoint-5.gguf") && !there("last/checkpoint-14.gguf"));
}

TEST(accumulating_is_the_same_as_a_larger_batch) {
    REQUIRE(pretrain(TINY "-o {}/b6 --max_steps 6 --per_device_train_batch_size 6") == 0);
    REQUIRE(pretrain(TINY "-o {}/b2 --max_steps 6 --gradient_accumulation_steps 3") == 0);
    REQUIRE(pretrain(TINY "-o {}/b1 --max_steps 6 --per_device_train_batch_size 1 --gradient_accumulation_steps 6") == 0);
    CHECK(same_files("b6/model.gguf", "b2/model.gguf"));
    CHECK(same_files("b6/model.gguf", "b1/model.gguf"));
}

TEST(threads_change_no_bit) {
    REQUIRE(pretrain(TINY "-o {}/t1 --max_steps 6 --dim 64 --heads 4 --ffn 128") == 0);
    REQUIRE(pretrain(TINY "-o {}/t2 --max_steps 6 --dim 64 --heads 4 --ffn 128 --threads 2") == 0);
    REQUIRE(pretrain(TINY "-o {}/t3 --max_steps 6 --dim 64 --heads 4 --ffn 128 --threads 3 --gradient_checkpointing") == 0);
    CHECK(same_files("t1/model.gguf", "t2/model.gguf"));
    CHECK(same_files("t1/model.gguf", "t3/model.gguf"));
    REQUIRE(pretrain(TINY "-o {}/t4 --max_steps 6 --dim 64 --heads 4 --ffn 128 --threads 4") == 0);
    CHECK(same_files("t1/model.gguf", "t4/model.gguf"));
}

/* Text as macOS writes it: the same tokens, losses and weights; the model says that it wants NFC. */
TEST(korean_as_jamo_teaches_the_same_model) {
    for (int apart = 0; apart < 2; apart++) {
        char *text = fixture_korean(900, apart);
        text_file(apart ? "apart.txt" : "whole.txt", text, strlen(text));
        free(text);
    }
#define KOREAN "--vocab_size 330 --dim 16 --layers 1 --heads 2 --context 24 --max_steps 3 --eval_steps 3 --threads 1 "
    REQUIRE(pretrain("{}/whole.txt -o {}/nfc1 " KOREAN) == 0);
    CHECK(!strstr(said, "Korean"));
    REQUIRE(pretrain("{}/apart.txt -o {}/nfc2 " KOREAN) == 0);
    CHECK(strstr(said, "apart.txt: 2700 Korean syllables are loose letters") && strstr(said, "NFC"));
    CHECK(same_files("nfc1/model.gguf", "nfc2/model.gguf"));
    double bits[2];
    EQ(log_numbers("nfc1/train.log.jsonl", "eval_bits_per_byte", bits, 1), 1);
    EQ(log_numbers("nfc2/train.log.jsonl", "eval_bits_per_byte", bits + 1, 1), 1);
    CHECK(bits[0] == bits[1]); /* bytes are counted as NFC has them */
    pith_model *m = pith_open(in_folder("nfc2/model.gguf"), NULL, NULL);
    REQUIRE(m && m->store.vocab.nfc);
    pith_close(m);
    /* A checkpoint knows it too, and the tokens of another normaliser are not taken for its own. */
    CHECK(pretrain("{}/apart.txt -o {}/nfc2 --resume_from_checkpoint last --normalizer none " KOREAN) == BAD_DATA);
    CHECK(strstr(said, "--normalizer is none, its vocabulary has nfc"));
    REQUIRE(pretrain("{}/apart.txt -o {}/nfc2 --overwrite_output_dir --normalizer none " KOREAN) == 0);
    CHECK(strstr(said, "2700 Korean syllables are loose letters") && strstr(said, "make the text NFC first"));
    m = pith_open(in_folder("nfc2/model.gguf"), NULL, NULL);
    REQUIRE(m && !m->store.vocab.nfc);
    pith_close(m);
    EQ(pretrain("{}/apart.txt -o {}/nfc3 --normalizer nfd " KOREAN), USAGE);
}

#define SMALL "{}/grammar.txt --vocab_size 300 --dim 16 --layers 1 --heads 2 --ffn 32 --context 24 " \
              "--per_device_train_batch_size 2 --threads 1 --save_steps 0 "

TEST(a_short_run_is_scored_ten_times) {
    static const struct { const char *flags; int n; } runs[] = {
        { SMALL "-o {}/short --max_steps 40", 10 }, { SMALL "-o {}/short --max_steps 33", 9 }, /* 4, 8, ... 32, 33 */
        { SMALL "-o {}/short --max_steps 3", 3 }, { SMALL "-o {}/short --max_steps 8 --eval_steps 5", 2 },
        { SMALL "-o {}/short --max_steps 8 --eval_steps 0", 0 } };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        double loss[64];
        REQUIRE(pretrain(runs[i].flags) == 0);
        EQ(log_numbers("short/train.log.jsonl", "eval_loss", loss, 64), runs[i].n);
        CHECK(strstr(said, " s, ETA 0 s\n")); /* time passed, and left */
        char last[300];
        snprintf(last, sizeof last, "to try it: run %s/short/model.gguf\n", folder);
        CHECK(!strcmp(said + strlen(said) - strlen(last), last));
    }
}

TEST(a_text_learned_by_heart_is_told) {
    static const char heart[] = "Sam found a red ball in the park. The dog hid the old boat by the river. Tom and Lily "
                                "saw a mouse at home. His mother wanted some cake. A bird looked at the lamp on "
                                "the hill. Once more.",
                      other[] = "The queen cleaned the magic flower behind the clock. Grandpa opened a jar of honey.";
    text_file("heart.txt", heart, sizeof heart - 1);
    text_file("other.txt", other, sizeof other - 1);
    static const char flags[] = "{}/heart.txt --eval-file {}/other.txt -o {}/heart --vocab_size 270 --dim 32 --layers 1 "
        "--heads 2 --context 24 --per_device_train_batch_size 4 --threads 1 --learning_rate 0.01 "
        "--lr_scheduler_type constant --eval_steps 10 ";
    char more[900];
    snprintf(more, sizeof more, "%s--max_steps 100", flags);
    REQUIRE(pretrain(more) == 0);
    CHECK(strstr(said, "times: after about 16 it is learned by heart"));
    const char *rises = strstr(said, "held-out loss rises since step ");
    REQUIRE(rises);
    char step[64];
    snprintf(step, sizeof step, "%.40s", rises);
    snprintf(more, sizeof more, "%s--max_steps 110 --resume_from_checkpoint last", flags);
    REQUIRE(pretrain(more) == 0); /* the log of the first run knows the lowest */
    CHECK(strstr(said, step));
    snprintf(more, sizeof more, "%s--max_steps 2 --overwrite_output_dir", flags);
    REQUIRE(pretrain(more) == 0);
    CHECK(!strstr(said, "by heart"));
}

TEST(another_seed_is_another_model) {
    REQUIRE(pretrain(TINY "-o {}/s1 --max_steps 1 --warmup_steps 0 --seed 1") == 0);
    REQUIRE(pretrain(TINY "-o {}/s2 --max_steps 1 --warmup_steps 0 --seed 2") == 0);
    FILE *f = fopen(in_folder("s1/model.bin"), "rb"), *g = fopen(in_folder("s2/model.bin"), "rb");
    float x[64], y[64];
    REQUIRE(f && g && !fseek(f, 28, 0) && !fseek(g, 28, 0) && fread(x, 4, 64, f) == 64 && fread(y, 4, 64, g) == 64);
    CHECK(memcmp(x, y, sizeof x) != 0);
    fclose(f);
    fclose(g);
}

/* ---- the files ------------------------------------------------------------------------------------------- */

/* Logits of the model in a file for a few tokens. */
static int logits_of(const char *name, const char *tokenizer, float *logits) {
    static const pith_token t[] = { 1, 270, 280, 290, 261, 262, 263, 264 };
    char path[160], vocab[160];
    strcpy(path, in_folder(name));
    if (tokenizer) strcpy(vocab, in_folder(tokenizer));
    pith_options opt = { .tokenizer = tokenizer ? vocab : NULL, .n_threads = 1 };
    pith_context context = { .cache_k = "f32", .cache_v = "f32" };
    pith_error e;
    pith_model *m = pith_open(path, &opt, &e);
    pith_session *s = m ? pith_session_new(m, &context, &e) : NULL;
    int ok = s && pith__eval_all(s, t, 8, logits, &e) == 0;
    if (!ok) printf("# %s\n", e.text);
    pith_session_free(s);
    pith_close(m);
    return ok;
}

TEST(every_file_is_the_same_model) {
    static float a[8 * 300], b[8 * 300];
    REQUIRE(pretrain(TINY "-o {}/f --max_steps 5 --untied --dim 32 --ffn 64") == 0);
    REQUIRE(logits_of("f/model.gguf", NULL, a));
    CHECK(logits_of("f/model.bin", "f/tokenizer.bin", b));
    EQ(memcmp(a, b, sizeof a), 0);
    CHECK(logits_of("f/checkpoint-5.gguf", NULL, b));
    EQ(memcmp(a, b, sizeof a), 0);
    static const char *const type[] = { "f16", "q8_0" };
    static const double error[] = { 1e-3, 5e-2 };
    for (int i = 0; i < 2; i++) {
        char flags[900];
        snprintf(flags, sizeof flags, TINY "-o {}/f --max_steps 5 --dim 32 --ffn 64 "
                 "--resume_from_checkpoint last --outtype %s", type[i]);
        REQUIRE(pretrain(flags) == 0);
        CHECK(logits_of("f/model.gguf", NULL, b));
        double off = 0, all = 0;
        for (int k = 0; k < 8 * 300; k++) off += (a[k] - b[k]) * (a[k] - b[k]), all += a[k] * a[k];
        CHECK(off > 0);
        CHECK(sqrt(off / all) < error[i]);
    }
}

TEST(a_tokenizer_can_be_given) {
    static float a[8 * 300];
    REQUIRE(pretrain(TINY "-o {}/v --max_steps 2") == 0);
    REQUIRE(pretrain(TINY "-o {}/w --max_steps 2 --tokenizer {}/v/tokenizer.bin") == 0);
    REQUIRE(pretrain(TINY "-o {}/x --max_steps 2 --tokenizer {}/v/model.gguf") == 0);
    CHECK(same_files("v/model.gguf", "x/model.gguf"));
    CHECK(same_files("v/model.bin", "w/model.bin"));
    CHECK(same_files("v/tokenizer.bin", "w/tokenizer.bin"));
    CHECK(logits_of("w/model.gguf", NULL, a));
}

TEST(what_differs_from_the_checkpoint_is_named) {
    REQUIRE(pretrain(TINY "-o {}/differ --max_steps 5") == 0);
    REQUIRE(pretrain(TINY "-o {}/differ --max_steps 5 --resume_from_checkpoint last") == 0);
    CHECK(!strstr(said, "pith: "));
    REQUIRE(pretrain(TINY "-o {}/differ --max_steps 6 --resume_from_checkpoint {}/differ/checkpoint-5.gguf --learning_rate 0.02 "
                     "--seed 7 --weight_decay 0 --lr_scheduler_type linear --per_device_train_batch_size 3 "
                     "--train_file {}/rhymes.txt --vocab_size 300") == 0);
    static const char *const named[] = { "--learning_rate is 0.02, ", " has 0.01\n", "--max_steps is 6, ",
                                         "--seed is 7, ", "--weight_decay is 0, ", "--lr_scheduler_type", "3 sequences, in",
                                         "the text is another" };
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        if (!strstr(said, named[i])) FAIL("no \"%s\" in: %s", named[i], said);
    CHECK(!strstr(said, "--adam_beta1") && !strstr(said, "--warmup_steps"));
}

TEST(the_one_before_a_bad_checkpoint_is_named) {
    char path[160];
    REQUIRE(pretrain(TINY "-o {}/bad --max_steps 10") == 0);
    strcpy(path, in_folder("bad/checkpoint-10.gguf"));
    struct stat st;
    REQUIRE(!stat(path, &st) && !truncate(path, st.st_size - 4096));
    EQ(pretrain(TINY "-o {}/bad --max_steps 12 --resume_from_checkpoint last"), NOT_LOADED);
    CHECK(strstr(said, "checkpoint-10.gguf: ") && strstr(said, "--resume_from_checkpoint") &&
          strstr(said, "bad/checkpoint-5.gguf"));
    EQ(pretrain(TINY "-o {}/bad --max_steps 10 --resume_from_checkpoint {}/bad/checkpoint-5.gguf"), 0);
}

/* What is learned here makes the text of other letters less and less likely, so the first evaluation is the best. */
TEST(the_best_evaluated_model_is_kept) {
#define BEST TINY "-o {}/best --eval_file {}/rhymes.txt --max_eval_samples 4 --eval_steps 5 --learning_rate 0.03 " \
             "--lr_scheduler_type constant "
    static float a[8 * 300], b[8 * 300];
    double eval[20];
    char want[64], flags[900];
    REQUIRE(pretrain(BEST "--max_steps 40 --save_steps 20") == 0);
    int n = log_numbers("best/train.log.jsonl", "eval_loss", eval, 20), at = 0;
    EQ(n, 8);
    for (int i = 1; i < n; i++)
        if (eval[i] < eval[at]) at = i;
    REQUIRE(at < n - 1);
    snprintf(want, sizeof want, "evaluation was at step %d, ", 5 * (at + 1));
    CHECK(strstr(said, want));
    REQUIRE(logits_of("best/best.gguf", NULL, a) && logits_of("best/model.gguf", NULL, b));
    CHECK(memcmp(a, b, sizeof a) != 0);
    REQUIRE(pretrain(BEST "--max_steps 40 --load_best_model_at_end --resume_from_checkpoint last") == 0);
    REQUIRE(logits_of("best/model.gguf", NULL, b)); /* the checkpoint knew what was best */
    EQ(memcmp(a, b, sizeof a), 0);
    snprintf(flags, sizeof flags, BEST "--overwrite_output_dir --max_steps %d", 5 * (at + 1));
    REQUIRE(pretrain(flags) == 0);
    REQUIRE(logits_of("best/model.gguf", NULL, b)); /* is that step's */
    EQ(memcmp(a, b, sizeof a), 0);
}

/* A vocabulary whose texts end with EOS and begin with BOS, another token: documents are learned as BOS text BOS
 * text, so every file that is written must name BOS as an end. */
TEST(a_text_ends_in_every_format) {
    pith__store s;
    REQUIRE(pretrain(TINY "-o {}/ends --max_steps 2") == 0);
    REQUIRE(pith__open(&s, in_folder("ends/model.gguf"), NULL, NULL) == 0);
    for (size_t i = 0; i < s.n_key; i++) /* as other programs write it */
        if (pith__str_is(s.key[i].name, "tokenizer.ggml.eot_token_id")) s.key[i].name.p = "tokenizer.ggml.eou_token_id";
    pith_error e = { 0, "" };
    int code = pith__gguf_write(&s, NULL, 0, pith__format_of(PITH__F32), in_folder("eos.gguf"), &e);
    pith__store_free(&s);
    if (code) printf("# %s\n", e.text);
    REQUIRE(code == 0 && pith__open(&s, in_folder("eos.gguf"), NULL, &e) == 0);
    CHECK(s.vocab.n_end == 1 && s.vocab.end[0] == 2 && s.vocab.bos == 1);
    pith__store_free(&s);
    REQUIRE(pretrain(TINY "-o {}/ends --overwrite_output_dir --max_steps 5 --tokenizer {}/eos.gguf") == 0);
    static const char *const made[] = { "ends/model.gguf", "ends/model.bin", "ends/checkpoint-5.gguf" };
    char tokenizer[160];
    strcpy(tokenizer, in_folder("ends/tokenizer.bin"));
    for (int i = 0; i < 3; i++) {
        pith_options opt = { .tokenizer = i == 1 ? tokenizer : NULL };
        pith_model *m = pith_open(in_folder(made[i]), &opt, NULL);
        REQUIRE(m);
        CHECK(pith_is_end(m, 1));
        pith_close(m);
    }
}

int main(void) {
    if (!mkdtemp(folder)) return 99;
    make_grammar();
    RUN(a_small_model_learns_a_small_grammar);
    RUN(tinyshakespeare);
    RUN(going_on_is_the_same_as_never_having_stopped);
    RUN(the_last_checkpoint_is_found_and_old_ones_go);
    RUN(accumulating_is_the_same_as_a_larger_batch);
    RUN(threads_change_no_bit);
    RUN(korean_as_jamo_teaches_the_same_model);
    RUN(a_short_run_is_scored_ten_times);
    RUN(a_text_learned_by_heart_is_told);
    RUN(another_seed_is_another_model);
    RUN(every_file_is_the_same_model);
    RUN(a_tokenizer_can_be_given);
    RUN(what_differs_from_the_checkpoint_is_named);
    RUN(the_one_before_a_bad_checkpoint_is_named);
    RUN(the_best_evaluated_model_is_kept);
    RUN(a_text_ends_in_every_format);
    char remove[160];
    snprintf(remove, sizeof remove, "rm -rf %s", folder);
    if (system(remove)) return 99;
    return DONE();
}
