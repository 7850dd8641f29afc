/* t_ppo_run.c - run ppo: every update against torch (../shared/tuning); threads and resumes to the bit; what it writes, what it
 * warns of, what it refuses. */
#define _POSIX_C_SOURCE 200809L
#include "grpo_rollouts.h"
#include "pretrain_run.h"
#include "../tools/reward_model.h"

#include <math.h>
#include <sys/stat.h>

static int ppo(const char *flags) { return run_verb(verb_ppo, "ppo", flags); }

static const char *const families[] = { "llama", "qwen2" };
enum { UPDATES = 3 };

/* ---- the updates of a reference ------------------------------------------------------------------------ */

static void write_rollouts(const char *family, const char *name) {
    static table_rollout r[ROLLOUTS];
    FILE *f = fopen(in_folder(name), "wb");
    if (!f || read_rollouts(family, r) != ROLLOUTS) exit(99);
    for (int i = 0; i < ROLLOUTS; i++) {
        fprintf(f, "{\"group\": %d, \"prompt_ids\": [", r[i].group);
        for (int k = 0; k < r[i].n_prompt; k++) fprintf(f, "%s%d", k ? ", " : "", r[i].prompt[k]);
        fprintf(f, "], \"completion_ids\": [");
        for (int k = 0; k < r[i].n; k++) fprintf(f, "%s%d", k ? ", " : "", r[i].t[k]);
        fprintf(f, "], \"old_logps\": [");
        for (int k = 0; k < r[i].n; k++) fprintf(f, "%s%.9g", k ? ", " : "", (double)r[i].old[k]);
        fprintf(f, "], \"reward\": %.17g, \"truncated\": %s}\n", r[i].reward, r[i].truncated ? "true" : "false");
    }
    fclose(f);
}

/* Policy loss, value loss, their sum, norm. */
static void compare_updates(const char *family, const char *gradient, const char *table, const char *more) {
    static const char *const names[] = { "loss/policy_avg", "loss/value_avg", "loss", "grad_norm" };
    char flags[2000], line[300];
    double want[UPDATES][4], got[UPDATES];
    int n = 0, step;
    FILE *f = fopen(fixture_tuning(family, table), "rb");
    while (f && n < UPDATES && fgets(line, sizeof line, f))
        if (sscanf(line, "%d %lf %lf %lf %lf", &step, &want[n][0], &want[n][1], &want[n][2], &want[n][3]) == 5) n++;
    if (f) fclose(f);
    EQ(n, UPDATES);
    snprintf(flags, sizeof flags, "%s --rollouts {}/given.jsonl --output_dir {}/given --overwrite_output_dir --init_adapter %s "
             "--value_head %s --value_gradient %s --kl_estimator k1 --learning_rate 5e-3 --max_steps 3 "
             "--train_sampling_strategy sequential --logging_steps 1 --lr_scheduler_type constant --weight_decay 0 "
             "--adam_beta2 0.999 --max_grad_norm 1 --eval_steps 0 %s", fixture_tuning(family, "base"),
             fixture_tuning(family, "lora/a1"), fixture_tuning(family, "ppo/head.safetensors"), gradient, more);
    EQ(ppo(flags), 0);
    for (int k = 0; k < 4; k++) {
        double d = 0, all = 0;
        if (log_numbers("given/train.log.jsonl", names[k], got, UPDATES) != UPDATES) FAIL("%s: no %s", said, names[k]);
        for (int i = 0; i < UPDATES; i++) d += pow(got[i] - want[i][k], 2), all += pow(want[i][k], 2);
        if (!(sqrt(d / all) < 5e-5)) FAIL("%s %s: %s is off by %g", family, gradient, names[k], sqrt(d / all));
    }
}

TEST(updates_of_torch) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int i = 0; i < (BRIEF ? 1 : 2); i++) {
        write_rollouts(families[i], "given.jsonl");
        compare_updates(families[i], "head", "ppo/update_head_only.txt", "");
        compare_updates(families[i], "shared", "ppo/update_shared.txt", "--num_ppo_epochs 1"); /* one batch, however often */
        CHECK(there("given/value_head.safetensors") && there("given/adapter.gguf"));
    }
}

/* What it scored is what the reward model finds of the same texts, on whatever file the base is. */
TEST(scores_of_the_reward_model) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int i = 0; i < 4; i += BRIEF ? 3 : 1) {
        const char *f = families[i / 2], *base = fixture_tuning(f, i % 2 ? "base.gguf" : "base"), *judge = fixture_tuning(f, "rm/plain.final");
        char flags[2000];
        rollouts x;
        reward_model r;
        double score[8];
        pith_error e = { 0, "" };
        snprintf(flags, sizeof flags, "%s %s --reward_model %s -o {}/scored --overwrite_output_dir --max_steps 1 --eval_steps 0 "
                 "--dump_rollouts {}/scored.jsonl", base, fixture_tuning(f, "data/dpo.jsonl"), judge);
        EQ(ppo(flags), 0);
        pith_model *m = pith_open(base, &(pith_options){ .n_threads = 1 }, &e);
        pith_template *form = m ? pith_template_new(m, NULL, 0, NULL, &e) : NULL;
        REQUIRE(form && !reward_model_open(&r, m, form, judge) && !rollouts_read(&x, in_folder("scored.jsonl"), m->hyper.n_vocab));
        REQUIRE(x.n == 8 && !reward_model_score(&r, &x, score, NULL));
        for (int k = 0; k < 8; k++) NEAR(x.r[k].reward, score[k], 1e-5);
        reward_model_close(&r), rollouts_free(&x), pith_template_free(form), pith_close(m);
    }
}

/* ---- runs of a small model ------------------------------------------------------------------------------- */

#define SMALL "{}/m/model.gguf {}/prompts.jsonl --reward_model {}/judge --max_steps 12 --per_device_train_batch_size 6 " \
              "--learning_rate 0.01 --logging_steps 1 --lora_r 4 --threads 1 --eval_steps 0 --response_length 10 " \
              "--num_mini_batches 2 --num_ppo_epochs 2 "

/* A reward model of random numbers, the greater with scale; 0: it finds all texts alike. */
static void make_judge(const char *name, float scale) {
    pith_error e = { 0, "" };
    const pith__lora_plan plan = { .r = 2, .alpha = 8, .seed = 5 };
    const pith__adapter_about about = { .base = "m" };
    pith_model *m = pith_open(in_folder("m/model.gguf"), &(pith_options){ .n_threads = 1 }, &e);
    pith_adapter *a = m ? pith__adapter_new(m, &plan, &e) : NULL;
    uint64_t state = 9;
    if (!a) exit(99);
    for (const pith__weight *w = m->weights; w; w = w->next)
        for (size_t i = 0; i < (size_t)a->pair[w->index].r * w->tensor.rows; i++)
            a->pair[w->index].b[i] = 0.3f * fixture_random(&state);
    size_t n = (size_t)m->hyper.n_embd;
    a->score = pith__arena_new(&a->store.arena, n, sizeof *a->score);
    for (size_t i = 0; i < n; i++) a->score[i] = scale * fixture_random(&state);
    if (pith__adapter_write_peft(a, &about, in_folder(name), &e)) FAIL("%s", e.text);
    pith_adapter_close(a), pith_close(m);
}

static void row_file(const char *name, const char *text) { text_file(name, text, strlen(text)); }

static void make_small(void) {
    char text[4000], *p = text;
    make_grammar();
    if (pretrain(TINY "-o {}/m --max_steps 40")) FAIL("%s", said);
    for (int i = 0; i < 20; i++) p += sprintf(p, "{\"prompt\": \"%c, the cat %d\"}\n", 'A' + i, i);
    text_file("prompts.jsonl", text, (size_t)(p - text));
    make_judge("judge", 1);
    make_judge("stone", 0);
    if (pretrain(TINY "-o {}/m2 --max_steps 5 --seed 7")) FAIL("%s", said);
}

static void same_runs(const char *a, const char *b) {
    static const char *const names[] = { "adapter_model.safetensors", "adapter.gguf", "value_head.safetensors" };
    for (int i = 0; i < 2; i++) {
        char p[100], q[100];
        snprintf(p, sizeof p, "%s/%s", a, names[i]), snprintf(q, sizeof q, "%s/%s", b, names[i]);
        CHECK(same_files(p, q));
    }
    float w[2][16];
    char p[100], q[100];
    snprintf(p, sizeof p, "%s/%s", a, names[2]), snprintf(q, sizeof q, "%s/%s", b, names[2]);
    EQ(pith__value_head_read(w[0], 16, in_folder(p), NULL), 0);
    EQ(pith__value_head_read(w[1], 16, in_folder(q), NULL), 0);
    CHECK(!memcmp(w[0], w[1], sizeof w[0]));
}

/* Whatever the threads, and wherever it was stopped: in the middle of a batch, or between two. */
TEST(same_bits) {
    static const int kept[] = { 5, 8 }; /* a batch is 4 steps */
    EQ(ppo(SMALL "-o {}/bits0"), 0);
    EQ(ppo(SMALL "-o {}/bits1 --threads 3 --gradient_checkpointing"), 0);
    same_runs("bits0", "bits1");
    for (int i = 0; i < 2; i++) {
        char command[300], flags[600];
        snprintf(flags, sizeof flags, SMALL "-o {}/bits2 --overwrite_output_dir --save_total_limit 0 --save_steps %d", kept[i]);
        EQ(ppo(flags), 0);
        snprintf(command, sizeof command, "cd %s && rm -rf checkpoint-10 checkpoint-12 adapter* value*", in_folder("bits2"));
        EQ(system(command), 0);
        EQ(there("bits2/checkpoint-5/rollouts.jsonl"), i == 0);
        EQ(there("bits2/checkpoint-8/rollouts.jsonl"), 0);
        EQ(ppo(SMALL "-o {}/bits2 --resume_from_checkpoint last --threads 2"), 0);
        same_runs("bits0", "bits2");
    }
    EQ(ppo(SMALL "-o {}/bits2 --overwrite_output_dir --seed 43"), 0);
    CHECK(!same_files("bits0/adapter.gguf", "bits2/adapter.gguf"));
}

/* What goes on with other flags is another run: each is named. */
TEST(resumed_with_other_flags) {
    static const struct { const char *flags, *says; } rows[] = {
        { "--kl_coef 0.1", "--kl_coef is 0.1" }, { "--kl_estimator k3", "--kl_estimator is another" },
        { "--cliprange 0.3", "--cliprange is 0.3" }, { "--value_gradient shared", "--value_gradient is another" },
        { "--temperature 1", "--temperature is 1" }, { "--num_ppo_epochs 4", "--num_ppo_epochs is 4" },
        { "--missing_eos_penalty 1", "--missing_eos_penalty is 1" }, { "--threads 2", NULL },
    };
    EQ(ppo(SMALL "-o {}/other --save_steps 4"), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char command[300], flags[1000];
        snprintf(command, sizeof command, "cd %s && rm -rf other2 && cp -r other other2 && rm -rf other2/checkpoint-12",
                 in_folder(""));
        EQ(system(command), 0);
        snprintf(flags, sizeof flags, SMALL "-o {}/other2 --save_steps 0 --resume_from_checkpoint last %s", rows[i].flags);
        EQ(ppo(flags), 0);
        int named = strstr(said, rows[i].says ? rows[i].says : "/state.gguf has") != NULL;
        if (named != (rows[i].says != NULL)) FAIL("%s: said: %s", rows[i].flags, said);
    }
}

/* What was dumped is the batch: learning from it is the same, also when that was stopped. */
TEST(dumped_and_read) {
    char command[300];
    EQ(ppo(SMALL "-o {}/dump0 --max_steps 4 --dump_rollouts {}/dump.jsonl"), 0);
    EQ(ppo("{}/m/model.gguf --rollouts {}/dump.jsonl -o {}/dump1 --max_steps 4 --learning_rate 0.01 --logging_steps 1 --lora_r 4 "
           "--threads 1 --eval_steps 0 --num_mini_batches 2 --num_ppo_epochs 2 --temperature 0.7 --save_steps 3"), 0);
    same_runs("dump0", "dump1");
    snprintf(command, sizeof command, "cd %s && rm -rf checkpoint-4 adapter* value*", in_folder("dump1"));
    EQ(system(command), 0);
    EQ(ppo("{}/m/model.gguf --rollouts {}/dump.jsonl -o {}/dump1 --max_steps 4 --learning_rate 0.01 --logging_steps 1 --lora_r 4 "
           "--threads 1 --eval_steps 0 --num_mini_batches 2 --num_ppo_epochs 2 --temperature 0.7 "
           "--resume_from_checkpoint last"), 0);
    same_runs("dump0", "dump1");
}

/* A fresh adapter is the reference, and what it draws it finds as likely as it drew it, to the bit. */
TEST(first_step) {
    double x[12];
    static const char *const zero[] = { "objective/kl", "objective/non_score_reward", "policy/approxkl_avg", "val/ratio_var",
                                        "policy/clipfrac_avg", "val/clipfrac_avg" };
    EQ(ppo(SMALL "-o {}/first"), 0);
    for (int i = 0; i < 6; i++) {
        EQ(log_numbers("first/train.log.jsonl", zero[i], x, 12), 12);
        if (!(x[0] >= 0 && x[0] <= 0)) FAIL("%s is %g", zero[i], x[0]);
    }
    EQ(log_numbers("first/train.log.jsonl", "val/ratio", x, 12), 12);
    CHECK(x[0] >= 1 && x[0] <= 1 && (x[1] < 1 || x[1] > 1));
    EQ(log_numbers("first/train.log.jsonl", "objective/kl", x, 12), 12);
    CHECK(x[3] >= 0 && x[3] <= 0 && (x[4] < 0 || x[4] > 0) && x[7] >= x[4] && x[7] <= x[4]);
    EQ(log_numbers("first/train.log.jsonl", "episode", x, 12), 12);
    CHECK((int)x[0] == 6 && (int)x[3] == 6 && (int)x[4] == 12 && (int)x[11] == 18);
}

/* What does not end costs so much. */
TEST(penalty) {
    double score[2], ended, reward[2];
    EQ(ppo(SMALL "-o {}/paid --max_steps 1 --response_length 1"), 0);
    CHECK(strstr(said, "completions were cut and are scored"));
    REQUIRE(log_numbers("paid/train.log.jsonl", "objective/scores", score, 1) == 1);
    REQUIRE(log_numbers("paid/train.log.jsonl", "val/num_eos_tokens", &ended, 1) == 1);
    REQUIRE(log_numbers("paid/train.log.jsonl", "objective/rlhf_reward", reward, 1) == 1);
    EQ(ppo(SMALL "-o {}/paid --overwrite_output_dir --max_steps 1 --response_length 1 --missing_eos_penalty 3"), 0);
    CHECK(!strstr(said, "were cut"));
    REQUIRE(log_numbers("paid/train.log.jsonl", "objective/scores", score + 1, 1) == 1);
    CHECK(ended < 6);
    NEAR(score[0] - score[1], 3 * (6 - ended) / 6, 1e-6);
    NEAR(reward[0], score[0], 1e-9);
}

/* All weights learn, the reference is what the file has. */
TEST(full) {
    double x[6];
    EQ(ppo("{}/m/model.gguf {}/prompts.jsonl --reward_model {}/judge --full --max_steps 6 --per_device_train_batch_size 6 "
           "--learning_rate 0.003 --logging_steps 1 --threads 2 --eval_steps 3 --response_length 10 --num_ppo_epochs 2 "
           "-o {}/full --value_gradient shared --save_steps 3"), 0);
    EQ(log_numbers("full/train.log.jsonl", "objective/kl", x, 6), 6);
    CHECK(x[0] >= 0 && x[0] <= 0 && x[1] <= 0 && (x[2] < 0 || x[2] > 0));
    CHECK(there("full/model.gguf") && there("full/value_head.safetensors") && there("full/checkpoint-3/rollouts.jsonl"));
}

/* Better than it was: scores rise when there is something to learn. */
TEST(it_learns) {
    double x[20];
    if (BRIEF) SKIP("takes 80 steps");
    EQ(ppo("{}/m/model.gguf {}/prompts.jsonl --reward_model {}/judge -o {}/better --max_steps 80 --learning_rate 0.01 "
           "--per_device_train_batch_size 24 --logging_steps 4 --eval_steps 0 --response_length 10 --temperature 1 --kl_coef 0 "
           "--cliprange_value 1 --lr_scheduler_type constant --save_steps 0"), 0);
    EQ(log_numbers("better/train.log.jsonl", "objective/scores", x, 20), 20);
    printf("# scores %g %g %g -> %g %g %g\n", x[0], x[1], x[2], x[17], x[18], x[19]);
    CHECK(x[17] + x[18] + x[19] > x[0] + x[1] + x[2] + 0.6);
}

/* The same prompts and random numbers each time; the best is kept with its value head. */
TEST(held_out) {
    double score[4], loss[4];
    EQ(ppo(SMALL "-o {}/out --validation_split 0.3 --eval_steps 4 --load_best_model_at_end"), 0);
    EQ(log_numbers("out/train.log.jsonl", "eval_score", score, 4), 4);
    EQ(log_numbers("out/train.log.jsonl", "eval_loss", loss, 4), 4);
    for (int i = 0; i < 4; i++) NEAR(score[i], -loss[i], 1e-6);
    CHECK(score[3] < score[0] || score[3] > score[0]);
    CHECK(there("out/best/value_head.safetensors") && there("out/best/adapter_config.json"));
    row_file("eval.jsonl", "{\"prompt\": \"A, the cat 0\"}\n");
    EQ(ppo(SMALL "-o {}/out --overwrite_output_dir --eval_file {}/eval.jsonl --eval_steps 12"), 0);
    EQ(log_numbers("out/train.log.jsonl", "eval_score", score, 4), 2);
}

TEST(warnings) {
    EQ(ppo(SMALL "-o {}/alike --reward_model {}/stone --max_steps 5"), 0);
    CHECK(strstr(said, "batch 1: all 6 completions have the same score, 0"));
    EQ(ppo(SMALL "-o {}/far --learning_rate 0.3 --max_steps 20"), 0);
    CHECK(strstr(said, "the policy runs away from the reference"));
}

TEST(dry_run) {
    EQ(ppo(SMALL "-o {}/none --dry-run --dump_rollouts {}/none.jsonl"), 0);
    CHECK(strstr(said, "6 at once, of at most 10 tokens; 4 steps learn") && strstr(said, "memory") && !strstr(said, "by heart"));
    CHECK(!there("none") && !there("none.jsonl"));
}

/* ---- what is refused ------------------------------------------------------------------------------------- */

TEST(refused) {
    row_file("long.jsonl", "{\"prompt\": \"one, two, three, four, five, six, seven, eight, nine\"}\n");
    row_file("broken.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": \n");
    row_file("other.jsonl", "{\"text\": \"a\"}\n");
    row_file("nan.jsonl", "{\"group\": 0, \"prompt_ids\": [5], \"completion_ids\": [6], \"old_logps\": [-1], \"reward\": NaN, "
              "\"truncated\": false}\n");
    row_file("ids.jsonl", "{\"group\": 0, \"prompt_ids\": [5], \"completion_ids\": [6], \"old_logps\": [-1], \"reward\": 1, "
              "\"truncated\": false}\n");
    row_file("head.safetensors", "nonsense");
    static const struct { const char *flags, *says; int code; } rows[] = {
        { "{}/m/model.gguf {}/prompts.jsonl -o {}/z", "no --reward_model given", USAGE },
        { "{}/m/model.gguf -o {}/z --reward_model {}/judge", "no data given", USAGE },
        { SMALL "-o {}/z --lora_dropout 0.1", "--lora_dropout: the policy", USAGE },
        { "{}/prompts.jsonl -o {}/z --reward_model {}/judge", "no data given", USAGE },
        { SMALL "-o {}/z --reward_model {}/missing", "missing", NOT_LOADED },
        { "{}/m2/model.gguf {}/prompts.jsonl -o {}/z --reward_model {}/judge --response_length 10", "is a reward model of another base than",
          NOT_LOADED },
        { SMALL "-o {}/z --reward_model {}/bits0", "no reward model", NOT_LOADED },
        { SMALL "-o {}/judge", "would write into it", USAGE },
        { SMALL "-o {}/z --num_mini_batches 4", "--num_mini_batches is 4, need a divisor of 6", USAGE },
        { SMALL "-o {}/z --kl_estimator k2", "--kl_estimator is 'k2', need k1 or k3", USAGE },
        { SMALL "-o {}/z --value_gradient none", "need head or shared", USAGE },
        { SMALL "-o {}/z --cliprange 0", "--cliprange", USAGE },
        { SMALL "-o {}/z --gamma 2", "--gamma", USAGE },
        { SMALL "-o {}/z --temperature 0", "--temperature", USAGE },
        { SMALL "-o {}/z --top_k 40", "--top", USAGE },
        { SMALL "-o {}/z --value_head {}/head.safetensors", "head.safetensors", NOT_LOADED },
        { SMALL "-o {}/z --rollouts {}/ids.jsonl", "need no file of prompts", USAGE },
        { SMALL "-o {}/z --dump_rollouts {}/prompts.jsonl", "--dump_rollouts would write it", USAGE },
        { SMALL "-o {}/z --response_length 24", "the prompt has", BAD_DATA },
        { SMALL "-o {}/bits0", "--overwrite_output_dir", USAGE },
        { "{}/m/model.gguf {}/long.jsonl -o {}/z --reward_model {}/judge --response_length 10", "long.jsonl: line 1: the prompt has",
          BAD_DATA },
        { "{}/m/model.gguf {}/broken.jsonl -o {}/z --reward_model {}/judge --response_length 10", "broken.jsonl: line 2", BAD_DATA },
        { "{}/m/model.gguf {}/other.jsonl -o {}/z --reward_model {}/judge --response_length 10", "other.jsonl: line 1", BAD_DATA },
        { "{}/m/model.gguf --rollouts {}/nan.jsonl -o {}/z", "nan.jsonl: line 1", BAD_DATA },
        { "{}/m/model.gguf --rollouts {}/missing.jsonl -o {}/z", "missing.jsonl", BAD_DATA },
        { "{}/m/model.gguf --rollouts {}/ids.jsonl -o {}/z --reward_model {}/judge", "its lines have rewards", USAGE },
        { "{}/m/model.gguf --rollouts {}/ids.jsonl -o {}/z --num_mini_batches 2", "--num_mini_batches is 2", USAGE },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int code = ppo(rows[i].flags), lines = 0;
        for (const char *p = said; *p; p++) lines += !strncmp(p, "pith: ", 6);
        if (code != rows[i].code || !strstr(said, rows[i].says) || lines != 1)
            FAIL("%s: exit %d, want %d; said: %s", rows[i].flags, code, rows[i].code, said);
    }
}

int main(void) {
    char remove[160];
    if (!mkdtemp(folder)) return 99;
    make_small();
    RUN(updates_of_torch);
    RUN(scores_of_the_reward_model);
    RUN(same_bits);
    RUN(resumed_with_other_flags);
    RUN(dumped_and_read);
    RUN(first_step);
    RUN(penalty);
    RUN(full);
    RUN(it_learns);
    RUN(held_out);
    RUN(warnings);
    RUN(dry_run);
    RUN(refused);
    snprintf(remove, sizeof remove, "rm -rf %s", folder);
    if (system(remove)) return 99;
    return DONE();
}
