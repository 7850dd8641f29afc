/* t_pretrain_wrong.c - run pretrain stopped and killed, and what it says to input that is of no use. */
#define _XOPEN_SOURCE 700
#include "pretrain_run.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

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
    text_file("k2/train.svg.1.part", "<svg", 4);
    text_file("k2/film.part", "somebody else's", 15);
    REQUIRE(pretrain(LONG "-o {}/k2 --resume_from_checkpoint last") == 0);
    CHECK(same_files("k0/model.gguf", "k2/model.gguf"));
    CHECK(!there("k2/checkpoint-7.gguf.1.part") && !there("k2/train.svg.1.part") && there("k2/film.part"));
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

TEST(what_a_run_reads_is_never_written_over) {
    REQUIRE(pretrain(TINY "-o {}/own --max_steps 3 --save_steps 0") == 0);
    static const char *const names[] = { "model.gguf", "model.bin", "tokenizer.bin", "train.tokens", "best.gguf",
                                         "train.log.jsonl", "train.svg" };
    char flags[1024];
    text_file("own/best.gguf", "a text", 6);
    for (int i = 0; i < 7; i++) {
        const char *const as[] = { "--train-file", "--eval_file", "--tokenizer" };
        for (int k = 0; k < 3; k++) {
            snprintf(flags, sizeof flags, TINY "-o {}/own --max_steps 3 --overwrite_output_dir %s {}/own/%s", as[k],
                     names[i]);
            EQ(pretrain(flags), USAGE);
            CHECK(strstr(said, names[i]) && strstr(said, "is read"));
        }
    }
}

TEST(a_model_that_no_run_left_is_kept) {
    static const char *const models[] = { "model.gguf", "model.bin", "tokenizer.bin" };
    static const char *const runs[] = { "train.log.jsonl", "train.tokens" };
    char flags[1024], name[64];
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "mine%d", i);
        mkdir(in_folder(name), 0777);
        snprintf(name, sizeof name, "mine%d/%s", i, models[i]);
        text_file(name, "mine", 4);
        snprintf(flags, sizeof flags, TINY "-o {}/mine%d --max_steps 3 --save_steps 0 ", i);
        EQ(pretrain(flags), USAGE);
        CHECK(strstr(said, models[i]) && strstr(said, "--overwrite_output_dir"));
        snprintf(name, sizeof name, "mine%d/train.lock", i);
        CHECK(!there(name));
        if (i < 2) snprintf(name, sizeof name, "mine%d/%s", i, runs[i]), text_file(name, "", 0);
        else strcat(flags, "--overwrite_output_dir");
        EQ(pretrain(flags), 0);
    }
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
    RUN(a_checkpoint_that_is_none);
    RUN(stopped_and_killed_it_goes_on_to_the_same_bits);
    RUN(two_trainers_do_not_meet);
    RUN(a_rate_too_high_stops_and_leaves_the_checkpoint);
    RUN(weights_that_diverged_are_never_saved);
    RUN(no_room_left_names_the_file_and_keeps_the_old_one);
    RUN(texts_of_no_use);
    RUN(what_a_run_reads_is_never_written_over);
    RUN(a_model_that_no_run_left_is_kept);
    RUN(a_dry_run_only_tells);
    RUN(the_forecast_of_memory_holds);
    char remove[160];
    snprintf(remove, sizeof remove, "rm -rf %s", folder);
    if (system(remove)) return 99;
    return DONE();
}
