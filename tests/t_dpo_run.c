/* t_dpo_run.c - run dpo: its log against trl (../shared/tuning); threads, batches and resumes to the bit; the reference is
 * what it should be; what it refuses. */
#define _POSIX_C_SOURCE 200809L
#include "pretrain_run.h"

#include <math.h>
#include <string.h>

static int dpo(const char *flags) { return run_verb(verb_dpo, "dpo", flags); }

/* ---- every number of trl's log --------------------------------------------------------------------------- */

enum { COLUMNS = 8, STEPS = 10 };
static const char *const columns[COLUMNS] = { "loss", "grad_norm", "rewards/chosen", "rewards/rejected", "rewards/margins",
                                              "rewards/accuracies", "logps/chosen", "logps/rejected" };

static int read_table(const char *path, double x[COLUMNS][STEPS]) {
    char line[600];
    int n = 0;
    FILE *f = fopen(path, "r");
    while (f && n < STEPS && fgets(line, sizeof line, f)) {
        char *p = line;
        if (strtol(line, &p, 10) != n + 1 || p == line) continue;
        for (int i = 0; i < COLUMNS; i++) x[i][n] = strtod(p, &p);
        n++;
    }
    if (f) fclose(f);
    return n;
}

static void compare_run(const char *family, const char *table, const char *from, const char *flags) {
    double want[COLUMNS][STEPS], got[STEPS];
    char all[3000], path[100];
    snprintf(path, sizeof path, "dpo/%s.txt", table);
    int n = read_table(fixture_tuning(family, path), want);
    if (n < 2) FAIL("%s: %d steps", table, n);
    if (BRIEF && n > 5) n = 5;
    int len = snprintf(all, sizeof all, "%s ", fixture_tuning(family, "base"));
    len += snprintf(all + len, sizeof all - (size_t)len, "%s ", fixture_tuning(family, "data/dpo.jsonl"));
    snprintf(all + len, sizeof all - (size_t)len, "--init_adapter %s --output_dir {}/trl --overwrite_output_dir --beta 0.1 %s --learning_rate 1e-3 "
             "--per_device_train_batch_size 4 --max_steps %d --train_sampling_strategy sequential --logging_steps 1 --eval_steps 0 "
             "--lr_scheduler_type constant --weight_decay 0 --adam_beta2 0.999 --max_grad_norm 1", fixture_tuning(family, from), flags, n);
    if (dpo(all)) FAIL("%s: %s", table, said);
    for (int i = 0; i < COLUMNS; i++) {
        double off = 0, size = 0;
        EQ(log_numbers("trl/train.log.jsonl", columns[i], got, STEPS), n);
        for (int k = 0; k < n; k++) off += pow(got[k] - want[i][k], 2), size += pow(want[i][k], 2);
        if (!(sqrt(off) <= 1e-4 * sqrt(size))) FAIL("%s %s: %s is off by %g", family, table, columns[i], sqrt(off / size));
    }
}

TEST(runs_of_trl) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    static const char *const families[] = { "llama", "qwen2" };
    for (int i = 0; i < 2; i++) {
        compare_run(families[i], "sigmoid", "lora/start", "--loss_type sigmoid");
        if (BRIEF && i) continue;
        compare_run(families[i], "ipo", "lora/start", "--loss_type ipo");
        compare_run(families[i], "hinge", "lora/start", "--loss_type hinge");
        compare_run(families[i], "cdpo_ls0.1", "lora/start", "--loss_type cdpo --label_smoothing 0.1");
        compare_run(families[i], "robust_ls0.1", "lora/start", "--loss_type robust --label_smoothing 0.1");
        compare_run(families[i], "sigmoid_from_a1", "lora/a1", "--precompute_ref_log_probs false");
    }
}

/* ---- runs of a small model ------------------------------------------------------------------------------- */

#define SMALL "{}/m/model.gguf {}/pairs.jsonl --max_steps 12 --per_device_train_batch_size 4 --learning_rate 0.01 " \
              "--logging_steps 1 --validation_split 0 --threads 1 --eval_steps 0 "

static void make_small(void) {
    char *text = calloc(1, 100000), *p = text;
    make_grammar();
    if (pretrain(TINY "-o {}/m --max_steps 5")) FAIL("%s", said);
    for (int i = 0; i < 40; i++) {
        p += sprintf(p, "{\"prompt\": \"One day, the cat\", \"chosen\": \" found %d things\", \"rejected\": \" lost", i);
        for (int k = 0; k < i % 5; k++) p += sprintf(p, " all of %d", i);
        p += sprintf(p, "\"}\n");
    }
    text_file("pairs.jsonl", text, (size_t)(p - text));
    free(text);
}

static void same_adapters(const char *a, const char *b) {
    char p[100], q[100];
    snprintf(p, sizeof p, "%s/adapter.gguf", a), snprintf(q, sizeof q, "%s/adapter.gguf", b);
    CHECK(same_files(p, q));
}

/* However a step is divided, over threads or over time, and whenever the reference is asked. */
TEST(same_bits) {
    static const char *const others[] = {
        "--threads 3", "--per_device_train_batch_size 2 --gradient_accumulation_steps 2", "--gradient_checkpointing true",
        "--per_device_train_batch_size 1 --gradient_accumulation_steps 4", "--precompute_ref_log_probs false"
    };
    EQ(dpo(SMALL "--lora_r 4 -o {}/bits0"), 0);
    for (int i = 0; i < 5; i++) {
        char flags[1000];
        snprintf(flags, sizeof flags, SMALL "--lora_r 4 -o {}/bits1 --overwrite_output_dir %s", others[i]);
        EQ(dpo(flags), 0);
        same_adapters("bits0", "bits1");
    }
    EQ(dpo(SMALL "--lora_r 4 -o {}/bits1 --overwrite_output_dir --beta 0.2"), 0);
    CHECK(!same_files("bits0/adapter.gguf", "bits1/adapter.gguf"));
}

static void stop_after(const char *name, int step) {
    char command[300];
    snprintf(command, sizeof command, "rm -rf %s/checkpoint-12 %s/adapter* %s/model.gguf", in_folder(name), in_folder(name), in_folder(name));
    EQ(system(command), 0);
    snprintf(command, sizeof command, "%s/checkpoint-%d/state.gguf", name, step);
    CHECK(there(command));
}

/* A run that goes on has the log and the bits of one that was not stopped: with --full too, whose reference is the file. */
TEST(resumed) {
    double x[2][2][16];
    EQ(dpo(SMALL "--lora_r 4 -o {}/whole --logging_steps 3"), 0);
    EQ(dpo(SMALL "--lora_r 4 -o {}/parts --logging_steps 3 --save_steps 5"), 0);
    stop_after("parts", 10);
    EQ(dpo(SMALL "--lora_r 4 -o {}/parts --logging_steps 3 --save_steps 5 --resume_from_checkpoint last"), 0);
    same_adapters("whole", "parts");
    EQ(dpo(SMALL "--full -o {}/whole2 --logging_steps 3"), 0);
    EQ(dpo(SMALL "--full -o {}/parts2 --logging_steps 3 --save_steps 5"), 0);
    stop_after("parts2", 10);
    EQ(dpo(SMALL "--full -o {}/parts2 --logging_steps 3 --save_steps 5 --resume_from_checkpoint last --beta 0.1"), 0);
    CHECK(same_files("whole2/model.gguf", "parts2/model.gguf"));
    static const char *const logs[2][2] = { { "whole/train.log.jsonl", "parts/train.log.jsonl" },
                                            { "whole2/train.log.jsonl", "parts2/train.log.jsonl" } };
    for (int full = 0; full < 2; full++)
        for (int i = 0; i < COLUMNS; i++) {
            for (int part = 0; part < 2; part++) EQ(log_numbers(logs[full][part], columns[i], x[full][part], 16), 4);
            for (int k = 0; k < 4; k++) CHECK(fabs(x[full][0][k] - x[full][1][k]) <= 0);
        }
    EQ(dpo(SMALL "--lora_r 4 -o {}/parts --resume_from_checkpoint last --beta 0.3 --loss_type ipo --max_steps 13"), 0);
    CHECK(strstr(said, "--beta is 0.3, ") && strstr(said, "--loss_type is another"));
}

/* A fresh adapter is its reference to the bit; one that is begun with is so by --ref_adapter alone. */
TEST(reference) {
    double loss[16], right[16];
    EQ(dpo(SMALL "--lora_r 4 -o {}/r --learning_rate 0.05 --lr_scheduler_type constant"), 0);
    EQ(log_numbers("r/train.log.jsonl", "loss", loss, 16), 12);
    EQ(log_numbers("r/train.log.jsonl", "rewards/accuracies", right, 16), 12);
    NEAR(loss[0], log(2), 1e-9);
    CHECK(right[0] <= 0 && right[11] > 0.7 && loss[11] < 0.6);
    EQ(dpo(SMALL "--init_adapter {}/r -o {}/r2 --max_steps 2"), 0);
    EQ(log_numbers("r2/train.log.jsonl", "loss", loss, 16), 2);
    CHECK(fabs(loss[0] - log(2)) > 0.01);
    EQ(dpo(SMALL "--init_adapter {}/r --ref_adapter {}/r -o {}/r3 --max_steps 2"), 0);
    EQ(log_numbers("r3/train.log.jsonl", "loss", loss, 16), 2);
    NEAR(loss[0], log(2), 1e-9);
}

/* The chosen answer is held up by --rpo_alpha, and that it falls is said. */
TEST(chosen_answers_that_fall) {
    double plain[40], held[40];
    EQ(dpo(SMALL "--lora_r 4 -o {}/f --max_steps 30 --loss_type hinge --beta 0.5"), 0);
    EQ(log_numbers("f/train.log.jsonl", "logps/chosen", plain, 40), 30);
    EQ(dpo(SMALL "--lora_r 4 -o {}/f2 --max_steps 30 --loss_type hinge --beta 0.5 --rpo_alpha 20"), 0);
    EQ(log_numbers("f2/train.log.jsonl", "logps/chosen", held, 40), 30);
    CHECK(held[29] > held[0] && held[29] > plain[29]);
}

TEST(held_out) {
    double loss[8], right[8];
    EQ(dpo(SMALL "--lora_r 4 -o {}/h --validation_split 0.25 --eval_steps 6"), 0);
    EQ(log_numbers("h/train.log.jsonl", "eval_loss", loss, 8), 3);
    EQ(log_numbers("h/train.log.jsonl", "eval_rewards/accuracies", right, 8), 3);
    NEAR(loss[0], log(2), 1e-9);
    CHECK(loss[2] < 0.6 && right[2] > 0.5 && strstr(said, "margin"));
}

TEST(refused) {
    static const char equal[] = "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"b\"}\n";
    static const char sides[] = "{\"prompt\": \"a\", \"chosen\": \"b\"}\n";
    static const char empty[] = "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"\"}\n";
    text_file("empty.jsonl", empty, sizeof empty - 1);
    text_file("equal.jsonl", equal, sizeof equal - 1);
    text_file("sides.jsonl", sides, sizeof sides - 1);
    static const struct { const char *flags, *says; int code; } rows[] = {
        { SMALL "-o {}/z --beta 0", "--beta is 0", USAGE },
        { SMALL "-o {}/z --loss_type dop", "--loss_type is 'dop'", USAGE },
        { SMALL "-o {}/z --loss_type ipo --label_smoothing 0.1", "--label_smoothing is of no use", USAGE },
        { SMALL "-o {}/z --loss_type robust --label_smoothing 0.5", "need less than 0.5", USAGE },
        { SMALL "-o {}/z --ref_adapter {}/nothing", "nothing", NOT_LOADED },
        { "{}/m/model.gguf -o {}/z", "no data given: need run dpo", USAGE },
        { "{}/m/model.gguf {}/equal.jsonl -o {}/z", "equal", BAD_DATA },
        { "{}/m/model.gguf {}/empty.jsonl -o {}/z", "rejected is empty", BAD_DATA },
        { "{}/m/model.gguf {}/sides.jsonl -o {}/z", "rejected", BAD_DATA },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int code = dpo(rows[i].flags);
        if (code != rows[i].code || !strstr(said, rows[i].says)) FAIL("row %zu: %d, %s", i, code, said);
        CHECK(!there("z/adapter.gguf"));
    }
}

/* Pairs of tokens, as dumped completions have them, are learned as pairs of texts with these tokens are. */
TEST(pairs_of_tokens) {
    static const char *const wrong[][2] = {
        { "{\"prompt_ids\": [1, 2], \"chosen_ids\": [3]}\n", "has no rejected_ids" },
        { "{\"prompt_ids\": [1, 2], \"chosen_ids\": [3, 999], \"rejected_ids\": [4]}\n", "completion[1]" },
        { "{\"prompt_ids\": [1, -2], \"chosen_ids\": [3], \"rejected_ids\": [4]}\n", "prompt_ids[1]" },
        { "{\"prompt_ids\": 1, \"chosen_ids\": [3], \"rejected_ids\": [4]}\n", "prompt_ids" }
    };
    static const char text[] = "{\"prompt\": \"One day, the cat\", \"chosen\": \" found\", \"rejected\": \" lost\"}\n";
    char ids[4096], *p = ids;
    pith_error e = { 0, "" };
    text_file("text.jsonl", text, sizeof text - 1);
    pith_model *m = pith_open(in_folder("m/model.gguf"), NULL, &e);
    const char *path = in_folder("text.jsonl");
    pith__examples x;
    REQUIRE(m && !pith__examples_open(&x, m, &(pith__examples_plan){ .train = { &path, 1 }, .pairs = 1 }, NULL, &e));
    for (size_t side = 0; side < 2; side++) {
        const pith__example a = pith__examples_get(&x, side);
        int from = 0;
        while (!a.counts[from]) from++;
        p += sprintf(p, side ? ", \"rejected_ids\": [" : "{\"prompt_ids\": [");
        for (int i = 0; i < a.n; i++) {
            if (i < from && side) continue;
            if (i == from && !side) p += sprintf(p, "], \"chosen_ids\": [");
            p += sprintf(p, i && i != from ? ", %d" : "%d", (int)a.t[i]);
        }
        *p++ = ']';
    }
    p += sprintf(p, "}\n");
    text_file("ids.jsonl", ids, (size_t)(p - ids));
    pith__examples_close(&x), pith_close(m);
    EQ(dpo("{}/m/model.gguf {}/text.jsonl -o {}/text --eval_steps 0 --learning_rate 0.1"), 0);
    EQ(dpo("{}/m/model.gguf {}/ids.jsonl -o {}/ids --eval_steps 0 --learning_rate 0.1"), 0);
    same_adapters("text", "ids");
    for (int i = 0; i < 4; i++) {
        text_file("wrong.jsonl", wrong[i][0], strlen(wrong[i][0]));
        EQ(dpo("{}/m/model.gguf {}/wrong.jsonl -o {}/z"), BAD_DATA);
        if (!strstr(said, wrong[i][1])) FAIL("%s", said);
    }
}

TEST(dry_run_and_show) {
    EQ(dpo(SMALL "-o {}/dry --dry-run --lora_r 4"), 0);
    CHECK(!there("dry") && strstr(said, "40 to learn from"));
}

int main(void) {
    char remove[160];
    if (!mkdtemp(folder)) return 99;
    make_small();
    RUN(runs_of_trl);
    RUN(same_bits);
    RUN(resumed);
    RUN(reference);
    RUN(chosen_answers_that_fall);
    RUN(held_out);
    RUN(refused);
    RUN(pairs_of_tokens);
    RUN(dry_run_and_show);
    snprintf(remove, sizeof remove, "rm -rf %s", folder);
    if (system(remove)) return 99;
    return DONE();
}
