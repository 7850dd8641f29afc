/* t_reward_run.c - run reward: every step against torch (../shared/tuning); threads, batches and resumes to the bit; what
 * it writes, and that run score gives the scores it logged; what it warns of and refuses. */
#define _POSIX_C_SOURCE 200809L
#include "pretrain_run.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

static int reward(const char *flags) { return run_verb(verb_reward, "reward", flags); }

static const char *const families[] = { "llama", "qwen2" };
enum { FAMILIES = BRIEF ? 1 : 2, STEPS = 10, COLUMNS = 5 };
static const char *const names[COLUMNS] = { "loss", "grad_norm", "accuracy", "margin", "mean_reward" };

/* ---- the steps of a reference ------------------------------------------------------------------------- */

static int read_steps(const char *path, double x[COLUMNS][STEPS]) {
    char line[1024];
    int n = 0, step;
    FILE *f = fopen(path, "rb");
    while (f && n < STEPS && fgets(line, sizeof line, f))
        if (sscanf(line, "%d %lf %lf %lf %lf %lf", &step, &x[0][n], &x[1][n], &x[2][n], &x[3][n], &x[4][n]) == 6) n++;
    if (f) fclose(f);
    return n;
}

static double distance(const double *a, const double *b, int n) {
    double d = 0, all = 0;
    for (int i = 0; i < n; i++) d += (a[i] - b[i]) * (a[i] - b[i]), all += b[i] * b[i];
    return sqrt(d / all);
}

/* The numbers of two reward models of a base, A and B of all matrices and the head: relative, l2. */
static double models_apart(const char *base, const char *x, const char *y) {
    pith_error e = { 0, "" };
    pith_model *m = pith_open(base, &(pith_options){ .n_threads = 1 }, &e);
    pith_adapter *a = m ? pith__adapter_open(m, x, 1, &e) : NULL, *b = a ? pith__adapter_open(m, y, 1, &e) : NULL;
    double d = 0, all = 0;
    if (!b || !a->score || !b->score) FAIL("%s", e.text);
    for (const pith__weight *w = b ? m->weights : NULL; w; w = w->next) {
        const pith__pair *p = a->pair + w->index, *q = b->pair + w->index;
        for (size_t i = 0; i < (size_t)p->r * w->tensor.cols; i++) d += pow((double)p->a[i] - q->a[i], 2), all += pow(q->a[i], 2);
        for (size_t i = 0; i < (size_t)p->r * w->tensor.rows; i++) d += pow((double)p->b[i] - q->b[i], 2), all += pow(q->b[i], 2);
    }
    for (int i = 0; b && i < m->hyper.n_embd; i++) d += pow((double)a->score[i] - b->score[i], 2), all += pow(b->score[i], 2);
    pith_adapter_close(a), pith_adapter_close(b), pith_close(m);
    return all > 0 ? sqrt(d / all) : 1;
}

TEST(steps_of_torch) {
    static const char *const runs[][2] = { { "rm/plain.txt", "" }, { "rm/center0.01.txt", "--center_rewards_coefficient 0.01" } };
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int i = 0; i < 2 * FAMILIES; i++) {
        const char *f = families[i / 2], *table = runs[i % 2][0];
        double want[COLUMNS][STEPS], got[STEPS];
        char flags[2048];
        EQ(read_steps(fixture_tuning(f, table), want), STEPS);
        snprintf(flags, sizeof flags, "%s %s --output_dir {}/steps --overwrite_output_dir --init_adapter %s --learning_rate 2e-3 "
                 "--per_device_train_batch_size 4 --max_steps 10 --train_sampling_strategy sequential --logging_steps 1 "
                 "--lr_scheduler_type constant --weight_decay 0 --adam_beta2 0.999 --max_grad_norm 1 %s",
                 fixture_tuning(f, "base"), fixture_tuning(f, "data/rm.jsonl"), fixture_tuning(f, "rm/start"), runs[i % 2][1]);
        EQ(reward(flags), 0);
        for (int k = 0; k < COLUMNS; k++) {
            if (log_numbers("steps/train.log.jsonl", names[k], got, STEPS) != STEPS) FAIL("%s: %s", names[k], said);
            double d = distance(got, want[k], STEPS);
            if (!(d < 3e-5)) FAIL("%s %s: %s differs by %g", f, table, names[k], d);
        }
        if (i % 2) continue;
        double d = models_apart(fixture_tuning(f, "base"), in_folder("steps"), fixture_tuning(f, "rm/plain.final"));
        if (!(d < 1e-4)) FAIL("%s: the model differs by %g", f, d);
    }
}

/* ---- runs of a small model ------------------------------------------------------------------------------- */

#define SMALL "{}/m/model.gguf {}/pairs.jsonl --max_steps 12 --per_device_train_batch_size 4 --learning_rate 0.01 " \
              "--logging_steps 1 --lora_r 4 --validation_split 0 --threads 1 --eval_steps 0 "

/* A model of the grammar, and pairs in which who says it is better than who asks it. */
static void make_small(void) {
    static const char *const who[] = { "Tom", "Lily", "the cat", "the dog", "a bird", "Mia", "Sam" };
    static const char *const where[] = { "in the park", "at home", "near the tree", "by the river" };
    char *text = calloc(1, 100000), *p = text;
    make_grammar();
    if (pretrain(TINY "-o {}/m --max_steps 20 --context 64")) FAIL("%s", said);
    for (int i = 0; i < 84; i++)
        p += sprintf(p, "{\"prompt\": \"One day, %s found\", \"chosen\": \" a hat %s.\", \"rejected\": \" a hat %s?\"}\n", who[i % 7],
                     where[i % 4], where[i / 7 % 4]);
    text_file("pairs.jsonl", text, (size_t)(p - text));
    p = text;
    for (int i = 0; i < 12; i++)
        p += sprintf(p, "{\"prompt\": \"%d\", \"chosen\": \" a warm blanket and more\", \"rejected\": \" a hat\", \"margin\": %d}\n", i, i % 3);
    text_file("longer.jsonl", text, (size_t)(p - text));
    free(text);
}

static int same_models(const char *a, const char *b) {
    char p[100], q[100];
    snprintf(p, sizeof p, "%s/adapter_model.safetensors", a), snprintf(q, sizeof q, "%s/adapter_model.safetensors", b);
    return same_files(p, q);
}

TEST(same_bits) {
    static const char *const others[] = {
        "--threads 3", "--per_device_train_batch_size 2 --gradient_accumulation_steps 2", "--gradient_checkpointing true",
        "--per_device_train_batch_size 1 --gradient_accumulation_steps 4 --threads 2"
    };
    char flags[1000], command[300];
    EQ(reward(SMALL "-o {}/bits0"), 0);
    for (int i = 0; i < 4; i++) {
        snprintf(flags, sizeof flags, SMALL "-o {}/bits1 --overwrite_output_dir %s", others[i]);
        EQ(reward(flags), 0);
        CHECK(same_models("bits0", "bits1"));
    }
    EQ(reward(SMALL "-o {}/bits2 --logging_steps 3 --save_steps 5"), 0);
    snprintf(command, sizeof command, "rm -rf %s/checkpoint-12 %s/adapter*", in_folder("bits2"), in_folder("bits2"));
    EQ(system(command), 0);
    EQ(reward(SMALL "-o {}/bits2 --logging_steps 3 --resume_from_checkpoint last --threads 2"), 0);
    CHECK(strstr(said, "bits2/checkpoint-10/state.gguf") && !strstr(said, "state.gguf has"));
    CHECK(same_models("bits0", "bits2"));
    EQ(reward(SMALL "-o {}/bits3 --seed 43"), 0); /* another head, another order */
    CHECK(!same_models("bits0", "bits3"));
    CHECK(!there("bits0/adapter.gguf"));
    double whole[12], parts[12];
    EQ(reward(SMALL "-o {}/bits4 --logging_steps 3"), 0);
    for (int k = 0; k < COLUMNS; k++) {
        EQ(log_numbers("bits4/train.log.jsonl", names[k], whole, 12), 4);
        EQ(log_numbers("bits2/train.log.jsonl", names[k], parts, 12), 4);
        CHECK(!memcmp(whole, parts, 4 * sizeof *whole));
    }
    EQ(reward(SMALL "-o {}/bits2 --resume_from_checkpoint last --center_rewards_coefficient 0.1 --max_steps 13"), 0);
    CHECK(strstr(said, "--center_rewards_coefficient is 0.1"));
}

/* What it learned is true of pairs that it has not seen, and a head that is new begins as one that knows nothing. */
TEST(held_out_pairs) {
    double x[20];
    EQ(reward(SMALL "-o {}/held --validation_split 0.2 --eval_steps 6 --max_steps 24 --load_best_model_at_end --save_steps 6"), 0);
    REQUIRE(log_numbers("held/train.log.jsonl", "eval_accuracy", x, 20) == 5);
    NEAR(x[4], 1, 0.01);
    REQUIRE(log_numbers("held/train.log.jsonl", "eval_loss", x, 20) == 5);
    NEAR(x[0], log(2), 0.05);
    CHECK(x[4] < 0.3);
    CHECK(!strstr(said, "general") && there("held/best/adapter_config.json") && there("held/train.svg"));
    REQUIRE(log_numbers("held/train.log.jsonl", "eval_length_correlation", x, 20) == 5);
    for (int i = 0; i < 5; i++) CHECK(x[i] >= -1 && x[i] <= 1);
}

/* The scores of the last step's texts, whose weights a checkpoint has: the log and run score agree. */
TEST(scores_of_what_was_written) {
    double mean, min, max;
    EQ(reward(SMALL "-o {}/one --max_steps 2 --save_steps 1 --num_train_epochs 1 --per_device_train_batch_size 84"), 0);
    double got[2], sum = 0, least = INFINITY, most = -INFINITY;
    REQUIRE(log_numbers("one/train.log.jsonl", "mean_reward", got, 2) == 2);
    mean = got[1];
    REQUIRE(log_numbers("one/train.log.jsonl", "min_reward", got, 2) == 2);
    min = got[1];
    REQUIRE(log_numbers("one/train.log.jsonl", "max_reward", got, 2) == 2);
    max = got[1];
    char line[200];
    int n = 0, keep;
    fflush(stdout);
    keep = dup(1);
    REQUIRE(freopen(in_folder("scores"), "wb", stdout));
    int code = run_verb(verb_score, "score", "{}/m/model.gguf --reward {}/one/checkpoint-1 -f {}/pairs.jsonl --threads 2");
    fflush(stdout);
    dup2(keep, 1), close(keep);
    EQ(code, 0);
    FILE *f = fopen(in_folder("scores"), "rb");
    while (f && fgets(line, sizeof line, f) && sscanf(line, "%lf %lf", got, got + 1) == 2)
        for (int k = 0; k < 2; k++, n++) sum += got[k], least = fmin(least, got[k]), most = fmax(most, got[k]);
    if (f) fclose(f);
    EQ(n, 168);
    NEAR(sum / n, mean, 1e-6 * fabs(mean));
    NEAR(least, min, 1e-7 * fabs(min));
    NEAR(most, max, 1e-7 * fabs(max));
}

/* From a LoRA that has no head, from a reward model; over a folder or a GGUF file to the bit. */
TEST(what_it_begins_with) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int f = 0; f < FAMILIES; f++)
        for (int gguf = 0; gguf < 2; gguf++) {
            char flags[2000];
            snprintf(flags, sizeof flags, "%s %s -o {}/base%d --overwrite_output_dir --max_steps 3 --init_adapter %s "
                     "--save_steps 0 --eval_steps 0 --validation_split 0",
                     fixture_tuning(families[f], gguf ? "base.gguf" : "base"), fixture_tuning(families[f], "data/rm.jsonl"), gguf,
                     fixture_tuning(families[f], "lora/a1"));
            EQ(reward(flags), 0);
            if (gguf) CHECK(same_models("base0", "base1"));
        }
}

/* ---- what is said, and refused ---------------------------------------------------------------------------- */

TEST(length_instead_of_quality) {
    double x[12];
    EQ(reward("{}/m/model.gguf {}/longer.jsonl -o {}/longer --max_steps 8 --logging_steps 1 --learning_rate 0.01 --eval_steps 4 "
              "--validation_split 0.6 --threads 1"), 0);
    CHECK(strstr(said, "the chosen answer is the longer one in 100 % of the pairs: length may be learned instead of quality"));
    CHECK(strstr(said, "pith: scores follow length (correlation "));
    REQUIRE(log_numbers("longer/train.log.jsonl", "length_correlation", x, 12) == 8);
    CHECK(x[7] > 0.8);
    EQ(reward(SMALL "-o {}/z --dry-run"), 0);
    CHECK(strstr(said, "lengths  ") && !strstr(said, "instead of quality") && !there("z"));
    EQ(reward(SMALL "-o {}/z --dry-run --max_length 36"), 0);
    CHECK(strstr(said, "longer than --max_length, or the model's context: left out"));
}

TEST(refused) {
    static const char equal[] = "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"b\"}\n", none[] = "{\"prompt\": \"a\", \"chosen\": \"b\"}\n",
                      margin[] = "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\", \"margin\": \"x\"}\n";
    text_file("equal.jsonl", equal, sizeof equal - 1), text_file("none.jsonl", none, sizeof none - 1);
    text_file("margin.jsonl", margin, sizeof margin - 1), text_file("empty.jsonl", "", 0);
    char other[700];
    snprintf(other, sizeof other, "{}/m/model.gguf {}/pairs.jsonl -o {}/z --init_adapter %s", fixture_tuning("llama", "rm/start"));
    const struct { const char *flags, *says; int code; } rows[] = {
        { "{}/m/model.gguf {}/equal.jsonl -o {}/z", "chosen and rejected are equal in 1 pair", BAD_DATA },
        { "{}/m/model.gguf {}/none.jsonl -o {}/z", "line 1: has no rejected", BAD_DATA },
        { "{}/m/model.gguf {}/margin.jsonl -o {}/z", "line 1: margin is \"x\", need a number", BAD_DATA },
        { "{}/m/model.gguf {}/empty.jsonl -o {}/z", "empty.jsonl", BAD_DATA },
        { "{}/m/model.gguf {}/missing.jsonl -o {}/z", "missing.jsonl", BAD_DATA },
        { "{}/m/model.gguf -o {}/z", "need run reward MODEL DATA.jsonl", USAGE }, { "-o {}/z", "no model", USAGE },
        { SMALL "-o {}/z --full", "--full is not built here", USAGE }, { SMALL "-o {}/z --truncation keep_end", "--truncation is of no use", USAGE },
        { SMALL "-o {}/z --forget_file x", "--forget_file is of no use", USAGE },
        { SMALL "-o {}/z --center_rewards_coefficient -1", "--center_rewards_coefficient is", USAGE },
        { SMALL "-o {}/z --max_length 4", "longer than 4 tokens in 84 rows, the first of line 1", BAD_DATA },
        { SMALL "-o {}/z --init_adapter {}/m", "--init_adapter", USAGE },
        { SMALL "-o {}/bits0", "--overwrite_output_dir", USAGE },
        { other, "is 1 x 64, need 1 x 16", NOT_LOADED },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows - (fixture_shared("tuning/README.md") ? 0 : 1); i++) {
        int code = reward(rows[i].flags), lines = 0;
        for (const char *p = said; *p; p++) lines += !strncmp(p, "pith: ", 6);
        if (code != rows[i].code || !strstr(said, rows[i].says) || lines != 1)
            FAIL("%s: exit %d, want %d; said: %s", rows[i].flags, code, rows[i].code, said);
    }
}

TEST(divergence) {
    EQ(reward(SMALL "-o {}/wild --learning_rate 1000 --max_grad_norm 0 --save_steps 1 --max_steps 60 --lr_scheduler_type constant"), FAILED);
    CHECK(strstr(said, "diverged") && strstr(said, "--learning_rate"));
    CHECK(!there("wild/adapter_model.safetensors"));
}

int main(void) {
    char remove[160];
    if (!mkdtemp(folder)) return 99;
    make_small();
    RUN(steps_of_torch);
    RUN(same_bits);
    RUN(held_out_pairs);
    RUN(scores_of_what_was_written);
    RUN(what_it_begins_with);
    RUN(length_instead_of_quality);
    RUN(refused);
    RUN(divergence);
    snprintf(remove, sizeof remove, "rm -rf %s", folder);
    if (system(remove)) return 99;
    return DONE();
}
