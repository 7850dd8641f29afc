/* t_pretrain.c - run pretrain from text to model: what it learns, that stopping and going on changes no
 * bit, and what it says to input that is of no use. */
#define _XOPEN_SOURCE 700
#include "fixture.h"
#include "test.h"
#include "../tools/verbs.h"
#include "../train/train.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1 /* as gcc says it */
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

/* ---- help ------------------------------------------------------------------------------------------- */

static char folder[] = "/tmp/pith-pretrain-XXXXXX";
static char said[1 << 16]; /* what the last pretrain() wrote on stderr */

static const char *in_folder(const char *name) {
    static char path[16][160]; /* good for the next fifteen calls */
    static int next;
    char *p = path[next++ % 16];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static void text_file(const char *name, const void *text, size_t n) {
    FILE *f = fopen(in_folder(name), "wb");
    if (!f || fwrite(text, 1, n, f) != n || fclose(f) != 0) exit(99);
}

static int there(const char *name) { return access(in_folder(name), F_OK) == 0; }

static void begin_quiet(int *keep) {
    fflush(stderr);
    *keep = dup(2);
    if (!freopen(in_folder("stderr"), "wb", stderr)) exit(99);
    setvbuf(stderr, NULL, _IONBF, 0);
}

static void end_quiet(int keep) {
    fflush(stderr);
    dup2(keep, 2);
    close(keep);
    FILE *f = fopen(in_folder("stderr"), "rb");
    said[f ? fread(said, 1, sizeof said - 1, f) : 0] = 0;
    if (f) fclose(f);
}

/* run pretrain with flags, separated by spaces; {} stands for the tests' folder. Later flags win. */
static int pretrain(const char *flags) {
    char text[4096], *argv[80] = { "pretrain" }, *p = text;
    int argc = 1, keep;
    for (const char *f = flags; *f && p < text + 3900; f++) {
        if (*f == '{') p += sprintf(p, "%s", folder), f++;
        else *p++ = *f;
    }
    *p = 0;
    for (char *word = strtok(text, " "); word && argc < 79; word = strtok(NULL, " ")) argv[argc++] = word;
    begin_quiet(&keep);
    int code = verb_pretrain(argc, argv);
    end_quiet(keep);
    return code;
}

#define TINY "{}/grammar.txt --vocab_size 300 --dim 16 --layers 2 --heads 4 --kv-heads 2 --ffn 32 --context 24 " \
             "--per_device_train_batch_size 2 --learning_rate 0.01 --warmup_steps 2 --eval_steps 0 " \
             "--save_steps 5 --logging_steps 1 --threads 1 "

static int same_files(const char *a, const char *b) {
    char p[160], q[160];
    strcpy(p, in_folder(a)), strcpy(q, in_folder(b));
    FILE *f = fopen(p, "rb"), *g = fopen(q, "rb");
    int same = f && g, c, d;
    long n = 0;
    while (same && (c = getc(f), d = getc(g), same = c == d, c != EOF)) n++;
    if (f) fclose(f);
    if (g) fclose(g);
    if (!same) printf("# %s and %s differ at byte %ld\n", a, b, n);
    return same && n > 1000;
}

/* Who did what with what: sentences of a small grammar, always the same. */
static void make_grammar(void) {
    static const char *const who[] = { "Tom", "Lily", "the cat", "the dog", "a bird", "Mia", "the old man",
                                       "Ben and Anna", "the little frog", "his mother", "Grandpa", "a queen",
                                       "the farmer", "Sam", "her teacher", "a mouse" };
    static const char *const did[] = { "found", "liked", "lost", "saw", "wanted", "shared", "painted", "hid",
                                       "carried", "asked for", "dreamed of", "cleaned", "opened", "borrowed",
                                       "looked at", "bought" };
    static const char *const what[] = { "a red ball", "the big box", "a small key", "the hat", "some cake",
                                        "a yellow kite", "the wooden boat", "an apple", "his drum",
                                        "a warm blanket", "the picture book", "three stones", "a magic flower",
                                        "the broken clock", "a jar of honey", "the lamp" };
    static const char *const where[] = { "in the park", "at home", "near the tree", "by the river",
                                         "under the bridge", "on the hill", "behind the house", "in town" };
    static const char *const was[] = { "happy", "sad", "proud", "very tired", "surprised", "hungry", "kind",
                                       "afraid" };
    char *text = malloc(200000), *p = text;
    if (!text) exit(99);
    for (uint64_t i = 0; p < text + 60000; i++) {
        uint64_t r = pith__random_at(77, i);
        const char *w = who[r & 15];
        p += sprintf(p, "One day, %s %s %s %s. ", w, did[r >> 4 & 15], what[r >> 8 & 15], where[r >> 12 & 7]);
        p += sprintf(p, "Then %s was %s.%s", w, was[r >> 15 & 7], r >> 20 & 3 ? "\n" : "\n<|endoftext|>\n");
    }
    text_file("grammar.txt", text, (size_t)(p - text));
    for (char *q = text; q < p; q++) /* the same in other letters: another vocabulary */
        if (*q >= 'a' && *q <= 'z') *q = (char)('a' + (*q - 'a' + 13) % 26);
    text_file("rhymes.txt", text, (size_t)(p - text));
    free(text);
}

/* The numbers called name in a log, by lines. */
static int log_numbers(const char *log, const char *name, double *x, int cap) {
    char line[8192], key[64];
    int n = 0;
    FILE *f = fopen(in_folder(log), "rb");
    snprintf(key, sizeof key, "\"%s\": ", name);
    while (f && n < cap && fgets(line, sizeof line, f)) {
        const char *at = strstr(line, key);
        if (at) x[n++] = atof(at + strlen(key));
    }
    if (f) fclose(f);
    return n;
}

/* ---- what it learns ------------------------------------------------------------------------------------ */

/* The shape of stories260K. The loss that 200 steps reach is known. */
TEST(a_small_model_learns_a_small_grammar) {
    double loss[400], eval[8], bits[8];
    const char *steps = SANITIZED ? "20" : "200";
    char flags[600];
    snprintf(flags, sizeof flags, "{}/grammar.txt -o {}/a --vocab_size 512 --dim 64 --layers 5 --heads 8 "
             "--kv-heads 4 --ffn 172 --context 64 --per-device-train-batch-size 2 --learning_rate 0.003 "
             "--max_steps %s --logging_steps 1 --eval_steps 100 --seed 1", steps);
    REQUIRE(pretrain(flags) == 0);
    CHECK(strstr(said, "parameters   260032"));
    int n = log_numbers("a/train.log.jsonl", "loss", loss, 400);
    EQ(n, atoi(steps));
    NEAR(loss[0], log(512), 0.02 * log(512)); /* who knows nothing */
    if (SANITIZED) SKIP("200 steps take too long under a sanitizer");
    NEAR(loss[n - 1], 1.09, 0.12);
    EQ(log_numbers("a/train.log.jsonl", "eval_loss", eval, 8), 2);
    EQ(log_numbers("a/train.log.jsonl", "eval_bits_per_byte", bits, 8), 2);
    NEAR(eval[0], 1.39, 0.1);
    NEAR(eval[1], 1.10, 0.06);
    NEAR(bits[1], 0.474, 0.03);
    CHECK(there("a/model.gguf") && there("a/model.bin") && there("a/tokenizer.bin"));
}

TEST(tinyshakespeare) {
    const char *text = fixture_shared("data/text/tinyshakespeare.txt");
    double loss[400];
    if (!text) SKIP("needs ../shared");
    if (SANITIZED) SKIP("takes too long under a sanitizer");
    char flags[800];
    snprintf(flags, sizeof flags, "%s -o {}/s --vocab_size 512 --dim 64 --layers 5 --heads 8 --kv-heads 4 "
             "--ffn 172 --context 64 --per_device_train_batch_size 2 --learning_rate 0.003 "
             "--max_steps 200 --logging_steps 20 --eval_steps 0 --save_steps 0 --seed 4", text);
    REQUIRE(pretrain(flags) == 0);
    int n = log_numbers("s/train.log.jsonl", "loss", loss, 400);
    EQ(n, 10);
    NEAR(loss[0], 5.83, 0.06); /* of 20 steps each */
    NEAR(loss[n - 1], 4.617, 0.06);
    CHECK(!there("s/checkpoint-200.gguf"));
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
    static const char *const named[] = { "--learning_rate is 0.0199999996, ", " has 0.00999999978", "--max_steps is 6, ",
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

TEST(a_checkpoint_that_is_none) {
    REQUIRE(pretrain(TINY "-o {}/c --max_steps 5") == 0);
    EQ(pretrain(TINY "-o {}/c --max_steps 6 --resume_from_checkpoint {}/c/checkpoint-5.gguf --dim 32"), BAD_DATA);
    CHECK(strstr(said, "shape") && strstr(said, "--dim is 16"));
    EQ(pretrain(TINY "-o {}/c --max_steps 6 --resume_from_checkpoint {}/c/model.gguf"), BAD_DATA);
    CHECK(strstr(said, "no checkpoint"));
    EQ(pretrain(TINY "-o {}/c --max_steps 6 --resume_from_checkpoint {}/grammar.txt"), NOT_LOADED);
    EQ(pretrain(TINY "-o {}/c --max_steps 6 --resume_from_checkpoint {}/c/missing.gguf"), NOT_LOADED);
    EQ(pretrain(TINY "-o {}/c --max_steps 6 --resume_from_checkpoint {}/c/checkpoint-5.gguf --untied"), BAD_DATA);
    REQUIRE(pretrain("{}/rhymes.txt -o {}/c2 --vocab_size 300 --dim 16 --heads 4 --layers 1 --context 8 --max_steps 1 "
                     "--validation_split 0") == 0);
    EQ(pretrain(TINY "-o {}/c --max_steps 6 --resume_from_checkpoint {}/c/checkpoint-5.gguf --tokenizer "
                "{}/c2/model.gguf"), BAD_DATA);
    CHECK(strstr(said, "another vocabulary"));
    EQ(pretrain(TINY "-o {}/c --max_steps 5 --resume_from_checkpoint {}/c/checkpoint-5.gguf --tokenizer "
                "{}/c/tokenizer.bin"), 0);
    FILE *spoilt = fopen(in_folder("c/checkpoint-5.gguf"), "r+b"); /* the last numbers of the last tensor */
    static const unsigned char nan_and_minus_one[2][4] = { { 0, 0, 0xc0, 0x7f }, { 0, 0, 0x80, 0xbf } };
    unsigned char was[4];
    REQUIRE(spoilt && !fseek(spoilt, -4, SEEK_END) && fread(was, 4, 1, spoilt) == 1);
    for (int i = 0; i < 3; i++) {
        fseek(spoilt, -4, SEEK_END);
        fwrite(i < 2 ? nan_and_minus_one[i] : was, 4, 1, spoilt);
        fflush(spoilt);
        int code = pretrain(TINY "-o {}/c --max_steps 5 --resume_from_checkpoint {}/c/checkpoint-5.gguf");
        EQ(code, i < 2 ? BAD_DATA : 0);
        CHECK(i == 2 || strstr(said, "adam_v."));
    }
    fclose(spoilt);
    struct stat st;
    char cut[160];
    strcpy(cut, in_folder("c/checkpoint-5.gguf"));
    REQUIRE(stat(cut, &st) == 0);
    for (int part = 9; part >= 1; part -= 2) {
        if (truncate(cut, st.st_size * part / 10)) exit(99);
        EQ(pretrain(TINY "-o {}/c --max_steps 6 --resume_from_checkpoint {}/c/checkpoint-5.gguf"), NOT_LOADED);
        CHECK(strstr(said, "checkpoint-5.gguf"));
    }
}

/* ---- stopping -------------------------------------------------------------------------------------------- */

/* A run in a process of its own, which gets a signal as soon as its log has some lines. */
static int signalled(const char *flags, const char *log, int signal) {
    pid_t pid = fork();
    if (pid == 0) {
        prepare_process();
        int code = pretrain(flags);
        _exit(code);
    }
    double step[4];
    for (int i = 0; i < 2000 && log_numbers(log, "step", step, 4) < 4; i++)
        nanosleep(&(struct timespec){ 0, 5000000 }, NULL);
    kill(pid, signal);
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

#define LONG TINY "--dim 32 --max_steps 60 --save_steps 7 --save_total_limit 0 "

TEST(stopped_and_killed_it_goes_on_to_the_same_bits) {
    REQUIRE(pretrain(LONG "-o {}/k0") == 0);
    int code = signalled(LONG "-o {}/k1", "k1/train.log.jsonl", SIGINT);
    CHECK(code == 130 || code == 0); /* 0: it was faster */
    REQUIRE(pretrain(LONG "-o {}/k1 --resume_from_checkpoint last") == 0);
    CHECK(same_files("k0/model.gguf", "k1/model.gguf"));
    code = signalled(LONG "-o {}/k2", "k2/train.log.jsonl", SIGKILL);
    CHECK(code == -SIGKILL || code == 0);
    text_file("k2/checkpoint-7.gguf.1.part", "what it was writing", 19);
    text_file("k2/film.part", "somebody else's", 15);
    REQUIRE(pretrain(LONG "-o {}/k2 --resume_from_checkpoint last") == 0);
    CHECK(same_files("k0/model.gguf", "k2/model.gguf"));
    CHECK(!there("k2/checkpoint-7.gguf.1.part") && there("k2/film.part"));
    mkdir(in_folder("k3"), 0777); /* killed before anything was saved */
    REQUIRE(pretrain(LONG "-o {}/k3 --resume_from_checkpoint last") == 0);
    CHECK(strstr(said, "beginning with step 0") && same_files("k0/model.gguf", "k3/model.gguf"));
}

TEST(two_trainers_do_not_meet) {
    mkdir(in_folder("two"), 0777);
    pith_error e;
    int lock = pith__lock(in_folder("two/train.lock"), &e);
    REQUIRE(lock >= 0);
    EQ(pretrain(TINY "-o {}/two --max_steps 2"), FAILED);
    CHECK(strstr(said, "two/train.lock") && strstr(said, "another process"));
    CHECK(!there("two/model.gguf"));
    pith__unlock(lock);
    EQ(pretrain(TINY "-o {}/two --max_steps 2"), 0);
}

/* ---- what goes wrong --------------------------------------------------------------------------------------- */

TEST(a_rate_too_high_stops_and_leaves_the_checkpoint) {
    REQUIRE(pretrain(TINY "-o {}/d --max_steps 5") == 0);
    EQ(pretrain(TINY "-o {}/d --max_steps 400 --learning_rate 1000 --lr_scheduler_type constant "
                     "--resume_from_checkpoint last --max_grad_norm 0"), FAILED);
    CHECK(strstr(said, "diverged") && strstr(said, "checkpoint-"));
    CHECK(strstr(said, "--learning_rate"));
    CHECK(!strstr(said, "written"));
    CHECK(pretrain(TINY "-o {}/d --max_steps 8 --resume_from_checkpoint {}/d/checkpoint-5.gguf") == 0);
}

/* The step's own loss is that of the weights before it: what it made must be looked at before it is saved. */
TEST(weights_that_diverged_are_never_saved) {
    EQ(pretrain(TINY "-o {}/e --max_steps 1 --save_steps 1 --learning_rate 30 --warmup_steps 0"), FAILED);
    CHECK(strstr(said, "at step 1 the loss is") && strstr(said, "no checkpoint"));
    CHECK(!there("e/checkpoint-1.gguf") && !there("e/model.gguf"));
    REQUIRE(pretrain(TINY "-o {}/e --max_steps 5") == 0);
    EQ(pretrain(TINY "-o {}/e --max_steps 6 --save_steps 1 --save_total_limit 1 --learning_rate 30 --warmup_steps 0 "
                     "--lr_scheduler_type constant --resume_from_checkpoint last"), FAILED);
    CHECK(strstr(said, "checkpoint-5.gguf is good"));
    CHECK(there("e/checkpoint-5.gguf") && !there("e/checkpoint-6.gguf"));
}

/* As on a full disk: nothing longer than this can be written. */
TEST(no_room_left_names_the_file_and_keeps_the_old_one) {
    REQUIRE(pretrain(TINY "-o {}/full --max_steps 5") == 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit small = { 40000, 40000 };
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &small);
        int code = pretrain(TINY "-o {}/full --max_steps 20 --resume_from_checkpoint last");
        int good = strstr(said, "checkpoint-10.gguf") != NULL;
        _exit(code == FAILED && good ? 7 : 1);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    CHECK(there("full/checkpoint-5.gguf") && !there("full/checkpoint-10.gguf"));
    CHECK(pretrain(TINY "-o {}/full --max_steps 6 --resume_from_checkpoint last") == 0);
}

TEST(texts_of_no_use) {
    static char noise[3000];
    for (size_t i = 0; i < sizeof noise; i++) noise[i] = (char)(1 + pith__random_at(3, i) % 255);
    text_file("empty.txt", "", 0);
    text_file("one.txt", "a", 1);
    text_file("blank.txt", " \n\n", 3);
    text_file("zero.txt", "GIF89\0\1\2", 8);
    text_file("noise.txt", noise, sizeof noise);
    static const struct { const char *flags, *word; int code; } rows[] = {
        { "{}/empty.txt -o {}/z", "empty.txt", BAD_DATA },
        { "{}/one.txt -o {}/z", "vocabulary of 261", BAD_DATA },
        { "{}/one.txt -o {}/z --vocab_size 261", "tokens to learn from", BAD_DATA },
        { "{}/zero.txt -o {}/z", "byte 5 is 0", BAD_DATA },
        { "{}/missing.txt -o {}/z", "missing.txt", BAD_DATA },
        { "{}/grammar.txt -o {}/z --vocab_size 100000", "gives a vocabulary of", BAD_DATA },
        { "{}/grammar.txt -o {}/z --vocab_size 10", "need 260", USAGE },
        { "{}/grammar.txt -o {}/z --vocab_size 300 --dim 30 --heads 4", "--heads is 4", USAGE },
        { "{}/grammar.txt -o {}/z --vocab_size 300 --dim 20 --heads 4", "even number", USAGE },
        { "{}/grammar.txt -o {}/z --vocab_size 300 --dim 32 --heads 4 --kv-heads 3", "--kv-heads is 3", USAGE },
        { "{}/grammar.txt -o {}/z --vocab_size 300 --max_steps 1 --warmup_steps 1", "--warmup_steps 1", USAGE },
        { "{}/grammar.txt -o {}/z --vocab_size 300 --max_steps 3 --learning_rate 0", "the rate is 0", USAGE },
        { "{}/grammar.txt -o {}/z --vocab_size 300 --num_train_epochs 0", "no step would be taken", USAGE },
        { "{}/grammar.txt -o {}/z --dim 0", "--dim", USAGE },
        { "{}/grammar.txt -o {}/z --dim x", "--dim", USAGE },
        { "{}/grammar.txt -o {}/z --learning_rate nan", "--learning_rate", USAGE },
        { "{}/grammar.txt -o {}/z --lr_scheduler_type square", "square", USAGE },
        { "{}/grammar.txt -o {}/z --outtype q3", "q3", USAGE },
        { "{}/grammar.txt -o {}/never --resume_from_checkpoint last", "no checkpoint", USAGE },
        { "{}/grammar.txt -o {}/z --vocab_size 300 --eval_file {}/blank.txt", "blank.txt", BAD_DATA },
        { "{}/grammar.txt -o {}/z --per_device_train_batch_size 1000000 --gradient_accumulation_steps 1000000",
          "need 2147 or less", USAGE },
        { "{}/grammar.txt -o {}/z --dim 65536 --heads 64 --layers 1024 --ffn 1048576", "GB", FAILED },
        { "{}/grammar.txt -o {}/z --tokenizer {}/grammar.txt", "grammar.txt", NOT_LOADED },
        { "{}/grammar.txt -o {}/z --learnin_rate 1", "is it '--learning-rate'?", USAGE },
        { "{}/grammar.txt -o {}/no/such", "no/such", FAILED },
        { "{}/grammar.txt -o {}/grammar.txt", "grammar.txt", FAILED },
        { "{}/grammar.txt", "--output_dir", USAGE },
        { "-o {}/z", "no text", USAGE },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int code = pretrain(rows[i].flags);
        int lines = 0;
        for (const char *p = said; *p; p++) lines += !strncmp(p, "pith: ", 6);
        if (code != rows[i].code || lines != 1 || !strstr(said, rows[i].word))
            FAIL("%s: exit %d, want %d; said: %s", rows[i].flags, code, rows[i].code, said);
    }
    EQ(pretrain("{}/noise.txt -o {}/noise --vocab_size 270 --dim 16 --heads 2 --layers 1 --context 16 "
                "--max_steps 2"), 0); /* bytes are a text too */
}

TEST(a_dry_run_only_tells) {
    EQ(pretrain(TINY "-o {}/dry --dry-run"), 0);
    CHECK(strstr(said, "parameters") && strstr(said, "memory") && strstr(said, "time") && strstr(said, "tokens to learn"));
    CHECK(!there("dry"));
}

/* In a process of its own, which has nothing else in memory; its peak is kilobytes on Linux. */
TEST(the_forecast_of_memory_holds) {
#ifdef __linux__
    if (SANITIZED) SKIP("a sanitizer takes memory of its own");
    int pipe_of[2];
    REQUIRE(pipe(pipe_of) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct rusage use;
        int code = pretrain("{}/grammar.txt -o {}/mem --vocab_size 512 --dim 256 --layers 4 --heads 8 --context 128 "
                            "--per_device_train_batch_size 2 --threads 1 --max_steps 1 --eval_steps 0 --save_steps 0");
        getrusage(RUSAGE_SELF, &use);
        const char *said_mb = strstr(said, " MB\n");
        while (said_mb && said_mb > said && said_mb[-1] != ' ') said_mb--;
        double mb[2] = { (double)use.ru_maxrss * 1024e-6, said_mb ? atof(said_mb) : 0 };
        _exit(code || write(pipe_of[1], mb, sizeof mb) != sizeof mb);
    }
    double mb[2] = { 0, 0 };
    close(pipe_of[1]);
    ssize_t got = read(pipe_of[0], mb, sizeof mb);
    close(pipe_of[0]);
    waitpid(pid, NULL, 0);
    REQUIRE(got == sizeof mb && mb[1] > 30);
    NEAR(mb[1], mb[0], 0.1 * mb[0]);
#else
    SKIP("only where the peak is known in kilobytes");
#endif
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
    RUN(a_checkpoint_that_is_none);
    RUN(stopped_and_killed_it_goes_on_to_the_same_bits);
    RUN(two_trainers_do_not_meet);
    RUN(a_rate_too_high_stops_and_leaves_the_checkpoint);
    RUN(weights_that_diverged_are_never_saved);
    RUN(no_room_left_names_the_file_and_keeps_the_old_one);
    RUN(texts_of_no_use);
    RUN(a_dry_run_only_tells);
    RUN(the_forecast_of_memory_holds);
    char remove[160];
    snprintf(remove, sizeof remove, "rm -rf %s", folder);
    if (system(remove)) return 99;
    return DONE();
}
