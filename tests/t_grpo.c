/* t_grpo.c - run grpo: every step of trl through the command line (../shared/tuning); what is sampled is what is trained;
 * resumes to the bit, also of a run that was killed; what it warns of and refuses. */
#define _POSIX_C_SOURCE 200809L
#include "../tools/grpo.h"
#include "grpo_rollouts.h"
#include "pretrain_run.h"

#include <math.h>
#include <signal.h>
#include <sys/wait.h>

static int grpo(const char *flags) { return run_verb(verb_grpo, "grpo", flags); }

static const char *const families[] = { "llama", "qwen2" };

/* ---- the steps of trl ------------------------------------------------------------------------------- */

static void write_rollouts(const char *family, const char *name) {
    static table_rollout table[ROLLOUTS];
    char *text = malloc(1 << 16), *p = text;
    if (read_rollouts(family, table) != ROLLOUTS || !text) exit(99);
    for (int i = 0; i < ROLLOUTS; i++) {
        const table_rollout *r = &table[i];
        p += sprintf(p, "{\"group\": %d, \"prompt_ids\": [", r->group);
        for (int k = 0; k < r->n_prompt; k++) p += sprintf(p, "%s%d", k ? ", " : "", r->prompt[k]);
        p += sprintf(p, "], \"completion_ids\": [");
        for (int k = 0; k < r->n; k++) p += sprintf(p, "%s%d", k ? ", " : "", r->t[k]);
        p += sprintf(p, "], \"old_logps\": [");
        for (int k = 0; k < r->n; k++) p += sprintf(p, "%s%.9g", k ? ", " : "", (double)r->old[k]);
        p += sprintf(p, "], \"reward\": %.17g, \"truncated\": %s}\n", r->reward, r->truncated ? "true" : "false");
    }
    text_file(name, text, (size_t)(p - text));
    free(text);
}

enum { STEPS = BRIEF ? 1 : 3, COLUMNS = 6 };
static const char *const columns[COLUMNS] = { "loss", "grad_norm", "kl", "clip_ratio/low_mean", "clip_ratio/high_mean", "entropy" };

static const struct {
    const char *table, *flags;
} tables[] = {
    { "grpo", "--loss_type grpo" },
    { "grpo_batchscale", "--loss_type grpo --scale_rewards batch" },
    { "grpo_noscale", "--loss_type grpo --scale_rewards False" },
    { "grpo_kl", "--loss_type grpo --beta 0.04" },
    { "grpo_kl_ratio", "--loss_type grpo --beta 0.04 --use_bias_correction_kl true" },
    { "grpo_masktrunc", "--loss_type grpo --beta 0.04 --mask_truncated_completions true" },
    { "dr_grpo", "--loss_type dr_grpo --scale_rewards none" },
    { "bnpo", "--loss_type bnpo" },
    { "dapo", "--loss_type dapo --epsilon_high 0.28" },
    { "dapo_kl", "--loss_type dapo --beta 0.04 --use_bias_correction_kl false" },
    { "dapo_masktrunc", "--loss_type dapo --epsilon_high 0.28 --mask_truncated_completions" },
};

static int table_row(const char *path, int step, double *to) {
    char line[600];
    int found = 0;
    FILE *f = fopen(path, "r");
    while (f && !found && fgets(line, sizeof line, f)) {
        char *p = line;
        if (strtol(line, &p, 10) != step || p == line) continue;
        for (int i = 0; i < COLUMNS; i++) to[i] = strtod(p, &p);
        found = 1;
    }
    if (f) fclose(f);
    return found;
}

static void same_table(const char *family, const char *table, const char *flags) {
    char all[2048], path[80];
    double got[STEPS], want[STEPS][COLUMNS];
    snprintf(all, sizeof all, "%s --rollouts {}/R.jsonl --output_dir {}/trl --overwrite_output_dir --init_adapter %s %s "
             "--num_generations 4 --max_completion_length 16 --learning_rate 2e-3 --max_steps %d --train_sampling_strategy sequential "
             "--logging_steps 1 --lr_scheduler_type constant --weight_decay 0 --adam_beta2 0.999 --max_grad_norm 1 --eval_steps 0",
             fixture_tuning(family, "base"), fixture_tuning(family, "lora/a1"), flags, STEPS);
    if (grpo(all)) FAIL("%s: %s", table, said);
    snprintf(path, sizeof path, "grpo/%s.txt", table);
    for (int k = 0; k < STEPS; k++) REQUIRE(table_row(fixture_tuning(family, path), k + 1, want[k]));
    for (int i = 0; i < COLUMNS; i++) {
        double off = 0, size = 0;
        int n = log_numbers("trl/train.log.jsonl", columns[i], got, STEPS), is_kl = i == 2 && !strstr(flags, "--beta");
        if (n != (is_kl ? 0 : STEPS)) FAIL("%s: %d times %s", table, n, columns[i]);
        for (int k = 0; k < n; k++) off += pow(got[k] - want[k][i], 2), size += pow(want[k][i], 2);
        if (!(sqrt(off) <= 5e-5 * sqrt(size))) FAIL("%s %s: %s is off by %g", family, table, columns[i], sqrt(off / size));
    }
}

TEST(steps_of_trl) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int f = 0; f < 2; f++) {
        write_rollouts(families[f], "R.jsonl");
        size_t n = BRIEF && f ? 1 : sizeof tables / sizeof *tables;
        for (size_t i = 0; i < n; i++) same_table(families[f], tables[i].table, tables[i].flags);
    }
}

/* The loss of BNPO at step 1 by hand, as the mean over micro-batches of 4: from the reference's ratios and advantages. */
static double bnpo_of_fours(const char *family) {
    char line[600];
    double advantage[ROLLOUTS], sum[3] = { 0 }, x[COLUMNS], ratio;
    int n[3] = { 0 }, row, at, id;
    for (int i = 0; i < ROLLOUTS; i++) {
        if (!table_row(fixture_tuning(family, "grpo/advantages.txt"), i, x)) return (double)NAN;
        advantage[i] = x[4];
    }
    FILE *f = fopen(fixture_tuning(family, "grpo/tokens_step1.txt"), "r");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%d %d %d %*f %*f %*f %lf", &row, &at, &id, &ratio) != 4) continue;
        double clipped = fmin(fmax(ratio, 0.8), 1.2);
        sum[row / 4] -= fmin(ratio * advantage[row], clipped * advantage[row]), n[row / 4]++;
    }
    if (f) fclose(f);
    return (sum[0] / n[0] + sum[1] / n[1] + sum[2] / n[2]) / 3;
}

/* A step of several micro-batches: the same, but for BNPO. */
TEST(micro_batches) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    char flags[1000];
    double loss;
    write_rollouts("llama", "R.jsonl");
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i += BRIEF ? 3 : 1) {
        if (strstr(tables[i].table, "bnpo")) continue;
        snprintf(flags, sizeof flags, "%s --per_device_train_batch_size 4 --gradient_accumulation_steps 3", tables[i].flags);
        same_table("llama", tables[i].table, flags);
    }
    snprintf(flags, sizeof flags, "%s --rollouts {}/R.jsonl --output_dir {}/four --init_adapter %s --loss_type bnpo --num_generations 4 "
             "--per_device_train_batch_size 4 --gradient_accumulation_steps 3 --max_completion_length 16 --max_steps 1 --eval_steps 0",
             fixture_tuning("llama", "base"), fixture_tuning("llama", "lora/a1"));
    EQ(grpo(flags), 0);
    REQUIRE(log_numbers("four/train.log.jsonl", "loss", &loss, 1) == 1);
    NEAR(loss, bnpo_of_fours("llama"), 1e-6);
}

/* ---- runs of a small model ---------------------------------------------------------------------------- */

#define SMALL "{}/m/model.gguf {}/prompts.jsonl --max_steps 8 --per_device_train_batch_size 8 --num_generations 4 " \
              "--max_completion_length 8 --learning_rate 0.01 --logging_steps 1 --lora_r 4 --threads 1 --eval_steps 0 "

static void make_small(void) {
    char text[2000], *p = text;
    make_grammar();
    if (pretrain(TINY "-o {}/m --max_steps 30")) FAIL("%s", said);
    for (int i = 0; i < 11; i++) p += sprintf(p, "{\"prompt\": \"One day, %s\", \"answer\": %d}\n", i % 2 ? "the cat" : "Tom", i);
    text_file("prompts.jsonl", text, (size_t)(p - text));
}

static int same_adapter(const char *a, const char *b) {
    char p[100], q[100];
    snprintf(p, sizeof p, "%s/adapter_model.safetensors", a), snprintf(q, sizeof q, "%s/adapter_model.safetensors", b);
    return same_files(p, q);
}

static int count_lines(const char *name) {
    int n = 0, c;
    FILE *f = fopen(in_folder(name), "rb");
    while (f && (c = getc(f)) != EOF) n += c == '\n';
    if (f) fclose(f);
    return n;
}

static void remove_from(const char *name, const char *what) {
    char command[400];
    snprintf(command, sizeof command, "cd %s && rm -rf %s", in_folder(name), what);
    EQ(system(command), 0);
}

/* Whatever divides a batch into steps: as long as no weight has changed, ratios are 1; behind the first step they are not. */
TEST(ratios_begin_at_1) {
    static const struct { const char *flags; int each; } rows[] = {
        { "--reward format:.*a.*", 1 },
        { "--reward format:.*a.* --num_iterations 2", 2 },
        { "--reward format:.*a.* --temperature 0.7 --steps_per_generation 2", 2 },
        { "--reward format:.*a.* --full --learning_rate 1e-3", 1 },
        { "--reward format:.*a.* --gradient_checkpointing true --beta 0.1", 1 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char flags[1000];
        double off[8];
        const char *small = strstr(rows[i].flags, "--full") ? "{}/m/model.gguf {}/prompts.jsonl --max_steps 8 --per_device_train_batch_size 8 "
                            "--num_generations 4 --max_completion_length 8 --logging_steps 1 --threads 2 --eval_steps 0 " : SMALL;
        snprintf(flags, sizeof flags, "%s -o {}/ratio --overwrite_output_dir %s", small, rows[i].flags);
        if (grpo(flags)) FAIL("%s: %s", rows[i].flags, said);
        EQ(log_numbers("ratio/train.log.jsonl", "sampling/ratio_off_max", off, 8), 8);
        for (int k = 0; k < 8; k++)
            if (k % rows[i].each ? !(off[k] > 0) : off[k] > 0) FAIL("%s: step %d: off by %g", rows[i].flags, k, off[k]);
    }
}

/* The reference of --full is the file as it is: KL is 0 before the first step, and then is not. */
TEST(reference_of_full) {
    double kl[8];
    EQ(grpo("{}/m/model.gguf {}/prompts.jsonl --max_steps 8 --per_device_train_batch_size 8 --num_generations 4 --full --beta 0.1 "
            "--max_completion_length 8 --logging_steps 1 --threads 2 --eval_steps 0 --learning_rate 0.01 --reward format:.*a.* -o {}/full"), 0);
    EQ(log_numbers("full/train.log.jsonl", "kl", kl, 8), 8);
    CHECK(kl[0] >= 0 && kl[0] < 1e-6 && kl[7] > 1e-4);
    CHECK(there("full/model.gguf"));
}

TEST(same_bits) {
    EQ(grpo(SMALL "--reward format:.*a.* --beta 0.05 --num_iterations 2 -o {}/bits0 --dump_rollouts {}/d0.jsonl"), 0);
    EQ(grpo(SMALL "--reward format:.*a.* --beta 0.05 --num_iterations 2 -o {}/bits1 --threads 3"), 0);
    CHECK(same_adapter("bits0", "bits1"));
    /* stopped within a batch, at its end, and gone on with */
    for (int steps = 3; steps < 5; steps++) {
        char flags[1000];
        snprintf(flags, sizeof flags, SMALL "--reward format:.*a.* --beta 0.05 --num_iterations 2 -o {}/bits%d --save_steps %d "
                 "--dump_rollouts {}/d2.jsonl --save_total_limit 0", steps, steps);
        EQ(grpo(flags), 0);
        char name[20];
        snprintf(name, sizeof name, "bits%d", steps);
        remove_from(name, steps == 3 ? "checkpoint-8 checkpoint-6 adapter*" : "checkpoint-8 adapter*");
        EQ(there("bits3/checkpoint-3/rollouts.jsonl") && !there("bits4/checkpoint-4/rollouts.jsonl"), 1);
        EQ(there(steps == 3 ? "bits3/checkpoint-3/state.gguf" : "bits4/checkpoint-4/state.gguf"), 1);
        snprintf(flags, sizeof flags, SMALL "--reward format:.*a.* --beta 0.05 --num_iterations 2 -o {}/bits%d --save_steps 0 "
                 "--dump_rollouts {}/d2.jsonl --resume_from_checkpoint last", steps);
        if (grpo(flags)) FAIL("%s", said);
        CHECK(same_adapter("bits0", name));
        EQ(count_lines("d2.jsonl"), 8 * 4);
        CHECK(same_files("d0.jsonl", "d2.jsonl"));
    }
    EQ(grpo(SMALL "--reward format:.*a.* --beta 0.05 --num_iterations 2 -o {}/bits1 --overwrite_output_dir --seed 7"), 0);
    CHECK(!same_adapter("bits0", "bits1"));
}

/* What was dumped is learned from as if it had been sampled. */
TEST(dumped_rollouts) {
    EQ(grpo(SMALL "--max_steps 1 --reward format:.*a.* -o {}/dump0 --dump_rollouts {}/dump.jsonl --loss_type grpo"), 0);
    EQ(count_lines("dump.jsonl"), 8);
    EQ(grpo("{}/m/model.gguf --rollouts {}/dump.jsonl -o {}/dump1 --max_steps 1 --num_generations 4 --max_completion_length 8 "
            "--learning_rate 0.01 --logging_steps 1 --lora_r 4 --eval_steps 0 --loss_type grpo"), 0);
    CHECK(same_adapter("dump0", "dump1"));
}

/* A program that ends the process that started it, in the middle of the third batch. */
#define SCRIPT "#!/bin/sh\nn=0; while read -r line; do n=$((n+1)); case $line in *Lily*|*dog*) echo 1;; *) echo 0.$((${#line}%%10));; esac; %s done\n"

TEST(killed_and_gone_on_with) {
    char text[400], more[200], command[200];
    snprintf(text, sizeof text, SCRIPT, "");
    text_file("judge", text, strlen(text));
    snprintf(more, sizeof more, "[ $n = 19 ] && kill -9 $(cat %s);", in_folder("pid"));
    snprintf(text, sizeof text, SCRIPT, more);
    text_file("killer", text, strlen(text));
    snprintf(command, sizeof command, "cd %s && chmod +x judge killer", folder);
    EQ(system(command), 0);
    EQ(grpo(SMALL "--reward_command {}/judge -o {}/whole"), 0);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
        text_file("pid", text, (size_t)n);
        (void)!grpo(SMALL "--reward_command {}/killer -o {}/killed --save_steps 1");
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == 9);
    CHECK(there("killed/checkpoint-2") && !there("killed/adapter.gguf"));
    EQ(grpo(SMALL "--reward_command {}/judge -o {}/killed --save_steps 1 --resume_from_checkpoint last"), 0);
    CHECK(strstr(said, "going on from") && same_adapter("whole", "killed"));
}

/* Judges that end, are ended, hang or say what is no number, in the fourth batch: the state after the third step stays. */
TEST(judges_that_fail) {
    static const struct { const char *does, *says; } rows[] = {
        { "exit 7;", "failing: ended with status 7 after 2 of 8 answers" }, { "kill -9 $$;", "ended with status 137 after 2 of 8" },
        { "sleep 30;", "nothing came for 0.5 s, after 2 of 8" }, { "echo inf;", "answers 'inf' to completion 3" },
        { "echo Traceback;", "answers 'Traceback' to completion 3" },
    };
    char text[400], more[100];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(more, sizeof more, "[ $n = 26 ] && %s", rows[i].does);
        snprintf(text, sizeof text, SCRIPT, more);
        text_file("failing", text, strlen(text));
        snprintf(text, sizeof text, "chmod +x %s", in_folder("failing"));
        EQ(system(text), 0);
        EQ(grpo(SMALL "--reward_command {}/failing -o {}/failed --overwrite_output_dir --save_steps 0 --reward_timeout 0.5"), FAILED);
        if (!strstr(said, rows[i].says) || !strstr(said, "the state after step 3 is kept")) FAIL("%s: %s", rows[i].does, said);
        CHECK(there("failed/checkpoint-3/state.gguf") && !there("failed/adapter.gguf"));
    }
    EQ(grpo(SMALL "--reward_command {}/judge -o {}/failed --save_steps 0 --resume_from_checkpoint last"), 0);
    CHECK(same_adapter("whole", "failed"));
    EQ(grpo(SMALL "--reward_command {}/nothing -o {}/never --save_steps 0"), FAILED);
    CHECK(strstr(said, "ended with status 127 after 0 of 8") && !strstr(said, "is kept"));
}

/* A reward that is always the same teaches nothing, not one bit. */
TEST(constant_rewards) {
    double part[8];
    text_file("always.jsonl", "{\"prompt\": \"One day, Tom\"}\n", 27);
    EQ(grpo(SMALL "--reward_command yes -o {}/const --save_steps 1 --save_total_limit 0"), FAILED); /* no number */
    CHECK(strstr(said, "yes"));
    text_file("one", "#!/bin/sh\nwhile read -r line; do echo 1; done\n", 46);
    char command[200];
    snprintf(command, sizeof command, "chmod +x %s", in_folder("one"));
    EQ(system(command), 0);
    EQ(grpo(SMALL "--reward_command {}/one -o {}/const --overwrite_output_dir --save_steps 1 --save_total_limit 0"), 0);
    CHECK(strstr(said, "in each group all rewards are equal"));
    EQ(log_numbers("const/train.log.jsonl", "frac_reward_zero_std", part, 8), 8);
    CHECK(part[0] >= 1 && part[7] >= 1);
    CHECK(same_adapter("const/checkpoint-1", "const"));
}

/* Several rewards, each with its own figures, held-out prompts, completions on the terminal and in a file. */
TEST(what_is_logged) {
    double x[20], each[20];
    EQ(grpo(SMALL "--reward length:5 --reward format:.*e.* --reward_weights 1,0.5 -o {}/logged --validation_split 0.3 --eval_steps 4 "
            "--log_completions --num_completions_to_print 1"), 0);
    CHECK(strstr(said, "  reward ") && strstr(said, "8 to learn from, 3 held out"));
    EQ(count_lines("logged/completions.jsonl"), 8 * 8);
    EQ(log_numbers("logged/train.log.jsonl", "eval_reward", x, 20), 3);
    EQ(log_numbers("logged/train.log.jsonl", "reward", x, 20), 8);
    EQ(log_numbers("logged/train.log.jsonl", "rewards/length/mean", each, 20), 8);
    double length = each[3];
    EQ(log_numbers("logged/train.log.jsonl", "rewards/format/mean", each, 20), 8);
    NEAR(x[3], length + 0.5 * each[3], 1e-6);
    EQ(log_numbers("logged/train.log.jsonl", "completions/max_length", x, 20), 8);
    CHECK(x[0] <= 8 && x[0] >= 1);
}

/* Text i of a file of lines that have one as "completion". */
static const char *completion_at(const char *name, int i) {
    static char line[2][2000];
    static int next;
    char *p = line[next++ % 2];
    pith__json j;
    FILE *f = fopen(in_folder(name), "rb");
    for (; f && i >= 0 && fgets(p, sizeof line[0], f); i--) continue;
    if (f) fclose(f);
    if (i >= 0 || pith__json_read(&j, p, strlen(p), name, NULL)) return "none";
    pith__str s = pith__json_raw(pith__json_get(j, "completion"));
    memmove(p, s.p, s.n), p[s.n] = 0;
    return p;
}

/* A judge reads what the log shows: the completion and nothing else. */
TEST(what_a_judge_sees) {
    char text[400];
    snprintf(text, sizeof text, "#!/bin/sh\nwhile read -r line; do printf '%%s\\n' \"$line\" >> %s; echo 1; done\n", in_folder("seen.jsonl"));
    text_file("seeing", text, strlen(text));
    snprintf(text, sizeof text, "chmod +x %s", in_folder("seeing"));
    EQ(system(text), 0);
    EQ(grpo(SMALL "--reward_command {}/seeing -o {}/seeing-run --log_completions"), 0);
    for (int i = 0; i < 64; i++) {
        const char *seen = completion_at("seen.jsonl", i), *shown = completion_at("seeing-run/completions.jsonl", i);
        if (*seen != '"' || strcmp(seen, shown) != 0) FAIL("%d: %s is shown as %s", i, seen, shown);
    }
}

TEST(warnings) {
    EQ(grpo(SMALL "--reward length:5 --max_completion_length 1 --mask_truncated_completions -o {}/cut --max_steps 2"), 0);
    CHECK(strstr(said, "of the completions were cut") && strstr(said, "leaves nothing to learn from"));
    EQ(grpo(SMALL "--reward length:5 --beta 0.01 --learning_rate 1 --lr_scheduler_type constant --max_grad_norm 0 -o {}/away"), 0);
    CHECK(strstr(said, "runs away from the reference"));
}

/* A warning once, when ten batches are longer by a fifth than the ten before, and no better. */
TEST(longer_and_no_better) {
    static grpo_run r;
    int keep;
    begin_quiet(&keep);
    for (int i = 0; i < 10; i++) grpo_follow(&r, 20, 0.5);
    for (int i = 0; i < 10; i++) grpo_follow(&r, 30, 0.6);
    end_quiet(keep);
    CHECK(!*said);
    begin_quiet(&keep);
    for (int i = 0; i < 20; i++) grpo_follow(&r, 40 + i, 0.6);
    end_quiet(keep);
    const char *first = strstr(said, "completions grow longer (44 tokens, before 30) while their reward does not (0.600, before 0.600)");
    CHECK(first && !strstr(first + 20, "grow longer"));
}

/* The score of prompt and completion by what run reward taught, beside another reward. */
TEST(reward_model) {
    double model[2], all[2], other[2];
    char flags[2000];
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    snprintf(flags, sizeof flags, "%s %s --reward length:5 --reward_model %s --reward_weights 1,2 -o {}/judged --num_generations 4 "
             "--max_completion_length 8 --max_steps 2 --logging_steps 1 --eval_steps 0 --train_sampling_strategy sequential",
             fixture_tuning("llama", "base"), fixture_tuning("llama", "data/grpo_prompts.jsonl"), fixture_tuning("llama", "rm/start"));
    if (grpo(flags)) FAIL("%s", said);
    EQ(log_numbers("judged/train.log.jsonl", "rewards/reward_model/mean", model, 2), 2);
    EQ(log_numbers("judged/train.log.jsonl", "rewards/length/mean", other, 2), 2);
    EQ(log_numbers("judged/train.log.jsonl", "reward", all, 2), 2);
    NEAR(all[0], other[0] + 2 * model[0], 1e-6);
    CHECK(fabs(model[0]) > 1e-4);
    snprintf(flags, sizeof flags, "%s %s --reward_model %s -o {}/judged --overwrite_output_dir --num_generations 4 --max_completion_length 8",
             fixture_tuning("llama", "base"), fixture_tuning("llama", "data/grpo_prompts.jsonl"), fixture_tuning("llama", "lora/a1"));
    int code = grpo(flags); /* an adapter without a score */
    if (code != NOT_LOADED) FAIL("exit %d: %s", code, said);
}

/* Its scores are those of the base as it lies in its file, with --full too, where other weights learn. */
TEST(scores_of_the_reward_model) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int i = 0; i < 4; i += BRIEF ? 3 : 1) {
        const char *f = i / 2 ? "qwen2" : "llama", *base = fixture_tuning(f, "base"), *judge = fixture_tuning(f, "rm/plain.final");
        char flags[2000], name[32];
        rollouts x;
        reward_model r;
        double score[32];
        pith_error e = { 0, "" };
        snprintf(flags, sizeof flags, "%s %s --reward_model %s -o {}/scored --overwrite_output_dir --max_steps 2 --eval_steps 0 "
                 "--num_generations 4 --max_completion_length 12 --learning_rate 0.01 --dump_rollouts {}/scored%d.jsonl %s", base,
                 fixture_tuning(f, "data/grpo_prompts.jsonl"), judge, i, i % 2 ? "--full" : "");
        EQ(grpo(flags), 0);
        snprintf(name, sizeof name, "scored%d.jsonl", i);
        pith_model *m = pith_open(base, &(pith_options){ .n_threads = 1 }, &e);
        pith_template *form = m ? pith_template_new(m, NULL, 0, NULL, &e) : NULL;
        REQUIRE(form && !reward_model_open(&r, m, form, judge) && !rollouts_read(&x, in_folder(name), m->hyper.n_vocab));
        REQUIRE(x.n == 16 && !reward_model_score(&r, &x, score, NULL));
        for (int k = 0; k < x.n; k++) NEAR(x.r[k].reward, score[k], 1e-5);
        reward_model_close(&r), rollouts_free(&x), pith_template_free(form), pith_close(m);
    }
}

TEST(dry_run) {
    EQ(grpo(SMALL "--reward_command false -o {}/dry --dry_run"), 0);
    CHECK(strstr(said, "sampling ") && strstr(said, "8 of 2 prompts at once, of at most 8 tokens, in ") && !there("dry"));
}

TEST(refused) {
    static const struct { const char *flags, *says; int code; } rows[] = {
        { "--reward length:5 --top_p 0.9", "--top-p: completions are drawn by temperature alone", USAGE },
        { "--reward length:5 --top_k 40", "--top-k: ", USAGE },
        { "--reward length:5 --repetition_penalty 1.1", "--repetition-penalty: ", USAGE },
        { "--reward length:5 --temperature 0", "--temperature is 0", USAGE },
        { "--reward length:5 --epsilon 0", "--epsilon is 0", USAGE },
        { "--reward length:5 --num_generations 1", "--num_generations is 1", USAGE },
        { "--reward length:5 --num_generations 3", "need a multiple of --num_generations 3", USAGE },
        { "--reward length:5 --loss_type cispo", "--loss_type is 'cispo'", USAGE },
        { "--reward length:5 --scale_rewards maybe", "--scale_rewards is 'maybe'", USAGE },
        { "--reward length:5 --dump_rollouts {}/prompts.jsonl", "prompts.jsonl: is read, need another file", USAGE },
        { "--reward length:5 --dump_rollouts {}/m", "m: cannot be written", FAILED },
        { "--reward length:5 --max_length 20", "a prompt is never cut", USAGE },
        { "--reward length:5 --lora_dropout 0.1", "--lora_dropout: ", USAGE },
        { "--reward length:5 --gradient_accumulation_steps 2 --steps_per_generation 3", "--steps_per_generation is 3", USAGE },
        { "--reward length:5 --max_completion_length 20", "with 20 for its completion need 4 at most", BAD_DATA },
        { "--reward length:5 --max_completion_length 24", "has no room for a prompt", USAGE },
        { "", "reward", USAGE },
        { "--reward length:5 --rollouts {}/dump.jsonl", "need no file of prompts", USAGE },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char flags[1000];
        snprintf(flags, sizeof flags, SMALL "-o {}/refused --overwrite_output_dir %s", rows[i].flags);
        int code = grpo(flags);
        if (code != rows[i].code || !strstr(said, rows[i].says)) FAIL("%s: exit %d: %s", rows[i].flags, code, said);
    }
    text_file("bad.jsonl", "{\"prompt\": \"a\"}\n", 16);
    EQ(grpo("{}/m/model.gguf {}/bad.jsonl --reward exact -o {}/refused --overwrite_output_dir --num_generations 4 --max_completion_length 4"),
       BAD_DATA);
    CHECK(strstr(said, "bad.jsonl: line 1") && strstr(said, "answer"));
    static const char *const beside[] = { "--reward length:5", "--dump_rollouts {}/x.jsonl", "--eval_file {}/bad.jsonl", "--num_iterations 2",
                                          "--per_device_train_batch_size 4", "--num_generations 8", "--max_completion_length 1" };
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
        char flags[1000];
        snprintf(flags, sizeof flags, "{}/m/model.gguf --rollouts {}/dump.jsonl -o {}/refused --overwrite_output_dir --num_generations 4 "
                 "--max_completion_length 8 %s", beside[i]);
        int code = grpo(flags);
        if (code != (i < 5 ? USAGE : BAD_DATA)) FAIL("%s: exit %d: %s", beside[i], code, said);
    }
}

int main(void) {
    signal(SIGPIPE, SIG_IGN); /* as main() does: a judge may end before it has read all */
    if (!mkdtemp(folder)) return 99;
    RUN(steps_of_trl);
    RUN(micro_batches);
    make_small();
    RUN(ratios_begin_at_1);
    RUN(reference_of_full);
    RUN(same_bits);
    RUN(dumped_rollouts);
    RUN(killed_and_gone_on_with);
    RUN(judges_that_fail);
    RUN(constant_rewards);
    RUN(what_is_logged);
    RUN(what_a_judge_sees);
    RUN(warnings);
    RUN(longer_and_no_better);
    RUN(reward_model);
    RUN(scores_of_the_reward_model);
    RUN(dry_run);
    RUN(refused);
    char command[200];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    (void)!system(command);
    return DONE();
}
