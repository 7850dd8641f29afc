/* t_sft.c - run sft: every step against transformers, peft and trl (../shared/tuning); threads, batches and resumes to
 * the bit; what it writes; what it refuses. */
#define _POSIX_C_SOURCE 200809L
#include "pretrain_run.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

static int sft(const char *flags) { return run_verb(verb_sft, "sft", flags); }

static const char *const families[] = { "llama", "qwen2" };
enum { FAMILIES = BRIEF ? 1 : 2, STEPS = 20 };

/* ---- the steps of a reference ------------------------------------------------------------------------- */

/* The table's columns 2 to 4: loss, norm, rate of each step. */
static int read_steps(const char *path, double x[STEPS][3]) {
    char line[1024];
    int n = 0, step;
    FILE *f = fopen(path, "rb");
    while (f && n < STEPS && fgets(line, sizeof line, f))
        if (sscanf(line, "%d %lf %lf %lf", &step, &x[n][0], &x[n][1], &x[n][2]) == 4) n++;
    if (f) fclose(f);
    return n;
}

static double distance(const double *a, const double *b, int n) {
    double d = 0, all = 0;
    for (int i = 0; i < n; i++) d += (a[i] - b[i]) * (a[i] - b[i]), all += b[i] * b[i];
    return sqrt(d / all);
}

/* Runs with flags as the reference did, and compares what the log says of every step. */
static void compare_steps(const char *family, const char *table, const char *flags, double tolerance) {
    static const char *const names[] = { "loss", "grad_norm", "learning_rate" };
    double want[STEPS][3], got[STEPS];
    char all[2048];
    int n = read_steps(fixture_tuning(family, table), want);
    if (n < 5) FAIL("%s: %d steps", table, n);
    snprintf(all, sizeof all, "%s %s --output_dir {}/steps --overwrite_output_dir --max_steps %d "
             "--per_device_train_batch_size 2 --gradient_accumulation_steps 2 --train_sampling_strategy sequential "
             "--logging_steps 1 --validation_split 0 --save_steps 0 --max_grad_norm 1 --eval_steps 0", fixture_tuning(family, "base"), flags, n);
    EQ(sft(all), 0);
    for (int k = 0; k < 3; k++) {
        double column[STEPS];
        if (log_numbers("steps/train.log.jsonl", names[k], got, STEPS) != n) FAIL("%s: not %d of %s", said, n, names[k]);
        for (int i = 0; i < n; i++) column[i] = want[i][k];
        double d = distance(got, column, n);
        if (!(d < tolerance)) FAIL("%s %s: %s differs by %g", family, table, names[k], d);
    }
}

/* The numbers of two adapters of a model, A and B of all matrices: relative, l2. */
static double adapters_apart(const char *model, const char *x, const char *y) {
    pith_error e = { 0, "" };
    pith_options opt = { .n_threads = 1 };
    pith_model *m = pith_open(model, &opt, &e);
    pith_adapter *a = m ? pith_adapter_open(m, x, &e) : NULL, *b = a ? pith_adapter_open(m, y, &e) : NULL;
    double d = 0, all = 0;
    if (!b) FAIL("%s", e.text);
    for (const pith__weight *w = b ? m->weights : NULL; w; w = w->next) {
        const pith__pair *p = a->pair + w->index, *q = b->pair + w->index;
        if (p->r != q->r) FAIL("rank %d and %d", p->r, q->r);
        for (size_t i = 0; p->r == q->r && i < (size_t)p->r * w->tensor.cols; i++)
            d += pow((double)p->a[i] - q->a[i], 2), all += pow(q->a[i], 2);
        for (size_t i = 0; p->r == q->r && i < (size_t)p->r * w->tensor.rows; i++)
            d += pow((double)p->b[i] - q->b[i], 2), all += pow(q->b[i], 2);
    }
    pith_adapter_close(a), pith_adapter_close(b), pith_close(m);
    return all > 0 ? sqrt(d / all) : 1;
}

/* Losses, norms and rates of each step, and what was learned. */
TEST(steps_of_transformers) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int i = 0; i < FAMILIES; i++) {
        char flags[2048];
        const char *f = families[i];
        snprintf(flags, sizeof flags, "%s --init_adapter %s --learning_rate 0.01 --lr_scheduler_type linear "
                 "--warmup_steps 4 --weight_decay 0 --adam_beta2 0.999",
                 fixture_tuning(f, "data/sft_prompt_completion.jsonl"), fixture_tuning(f, "lora/start"));
        compare_steps(f, "sft/linear_wd0.txt", flags, 3e-5);
        double d = adapters_apart(fixture_tuning(f, "base"), in_folder("steps"), fixture_tuning(f, "sft/linear_wd0.final"));
        if (!(d < 1e-4)) FAIL("%s: the adapter differs by %g", f, d);
        snprintf(flags, sizeof flags, "%s --init_adapter %s --learning_rate 0.01 --lr_scheduler_type cosine "
                 "--warmup_steps 4 --weight_decay 0.01 --chat-template-file %s",
                 fixture_tuning(f, "data/sft_messages.jsonl"), fixture_tuning(f, "lora/start"),
                 fixture_tuning(f, "data/training_chat_template.jinja"));
        compare_steps(f, "sft/cosine_wd001.txt", flags, 3e-5);
        d = adapters_apart(fixture_tuning(f, "base"), in_folder("steps"), fixture_tuning(f, "sft/cosine_wd001.final"));
        if (!(d < 1e-4)) FAIL("%s: the adapter differs by %g", f, d);
        snprintf(flags, sizeof flags, "%s --init_adapter %s --learning_rate 0.005 --lr_scheduler_type constant "
                 "--assistant_only_loss false", fixture_tuning(f, "data/sft_messages.jsonl"), fixture_tuning(f, "lora/start"));
        compare_steps(f, "sft/constant_wd0.txt", flags, 3e-5);
    }
}

TEST(full_steps_of_transformers) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int i = 0; i < FAMILIES; i++) {
        char flags[2048];
        snprintf(flags, sizeof flags, "%s --full --learning_rate 1e-3 --lr_scheduler_type constant --weight_decay 0.01",
                 fixture_tuning(families[i], "data/sft_prompt_completion.jsonl"));
        compare_steps(families[i], "full/steps.txt", flags, 3e-5);
    }
}

/* ---- runs of a small model ------------------------------------------------------------------------------- */

#define SMALL "{}/m/model.gguf {}/rows.jsonl --max_steps 12 --per_device_train_batch_size 4 --learning_rate 0.01 " \
              "--logging_steps 1 --lora_r 4 --validation_split 0 --threads 1 --eval_steps 0 "

/* A model of the grammar, and rows of what follows what in it. */
static void make_small(void) {
    char *text = calloc(1, 100000), *p = text;
    make_grammar();
    if (pretrain(TINY "-o {}/m --max_steps 5")) FAIL("%s", said);
    for (int i = 0; i < 60; i++) {
        p += sprintf(p, "{\"prompt\": \"One day, the cat found %d\", \"completion\": \" things", i);
        for (int k = 0; k < i % 7; k++) p += sprintf(p, " and %d more", i * k);
        p += sprintf(p, "\"}\n");
    }
    text_file("rows.jsonl", text, (size_t)(p - text));
    p = text;
    for (int i = 0; i < 20; i++) p += sprintf(p, "{\"text\": \"%c\"}\n", 'a' + i);
    text_file("short.jsonl", text, (size_t)(p - text));
    free(text);
}

static void same_adapters_of(const char *a, const char *b) {
    char p[100], q[100];
    snprintf(p, sizeof p, "%s/adapter_model.safetensors", a), snprintf(q, sizeof q, "%s/adapter_model.safetensors", b);
    CHECK(same_files(p, q));
    snprintf(p, sizeof p, "%s/adapter.gguf", a), snprintf(q, sizeof q, "%s/adapter.gguf", b);
    CHECK(same_files(p, q));
}

/* However a step is divided, over threads or over time, its bits are the same. */
TEST(same_bits) {
    EQ(sft(SMALL "-o {}/bits0"), 0);
    EQ(sft(SMALL "-o {}/bits3 --lora_dropout 0.1"), 0);
    CHECK(!same_files("bits0/adapter.gguf", "bits3/adapter.gguf"));
    static const char *const others[] = {
        "--threads 3", "--per_device_train_batch_size 2 --gradient_accumulation_steps 2",
        "--per_device_train_batch_size 1 --gradient_accumulation_steps 4", "--gradient_checkpointing true"
    };
    for (int i = 0; i < 4; i++) {
        char flags[1000];
        snprintf(flags, sizeof flags, SMALL "-o {}/bits1 --overwrite_output_dir %s", others[i]);
        EQ(sft(flags), 0);
        same_adapters_of("bits0", "bits1");
    }
    EQ(sft(SMALL "-o {}/bits0 --overwrite_output_dir --lora_dropout 0.1"), 0);
    EQ(sft(SMALL "-o {}/bits2 --lora_dropout 0.1 --save_steps 5"), 0); /* stopped after step 10 */
    char command[300];
    snprintf(command, sizeof command, "rm -rf %s/checkpoint-12 %s/adapter*", in_folder("bits2"), in_folder("bits2"));
    EQ(system(command), 0);
    EQ(sft(SMALL "-o {}/bits2 --lora_dropout 0.1 --resume_from_checkpoint last --threads 2"), 0);
    CHECK(strstr(said, "bits2/checkpoint-10/state.gguf"));
    same_adapters_of("bits0", "bits2");
    EQ(sft(SMALL "-o {}/bits3 --overwrite_output_dir --seed 43"), 0); /* another order is another adapter */
    CHECK(!same_files("bits0/adapter.gguf", "bits3/adapter.gguf"));
}

/* What goes on with other flags is another run: each is named. */
TEST(resumed_with_other_flags) {
    static const struct { const char *flags, *says; int code; } rows[] = {
        { "--lora_alpha 64", "the LoRA counts 16 times (--lora_alpha, --use_rslora), in", 0 },
        { "--use_rslora", "the LoRA counts 16 times", 0 },
        { "--lora_dropout 0.5", "--lora_dropout is 0.5", 0 },
        { "--packing", "--packing is 1", 0 },
        { "--train_sampling_strategy sequential", "--train_sampling_strategy is another", 0 },
        { "--learning_rate 0.02", "--learning_rate is 0.02", 0 },
        { "--lora_r 8", "need 8 x", BAD_DATA },
        { "--lora_target_modules q_proj", "other matrices have learned", BAD_DATA },
        { "--threads 2", NULL, 0 },
    };
    EQ(sft(SMALL "-o {}/other --save_steps 6"), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char command[300], flags[1000];
        snprintf(command, sizeof command, "cd %s && rm -rf other2 && cp -r other other2 && rm -rf other2/checkpoint-12",
                 in_folder(""));
        EQ(system(command), 0);
        snprintf(flags, sizeof flags, SMALL "-o {}/other2 --save_steps 0 --resume_from_checkpoint last %s", rows[i].flags);
        int code = sft(flags);
        int named = strstr(said, rows[i].says ? rows[i].says : "/state.gguf has") != NULL;
        if (code != rows[i].code || named != (rows[i].says != NULL))
            FAIL("%s: exit %d; said: %s", rows[i].flags, code, said);
    }
}

/* A run that was stopped logs what one that was not does, also in the line that spans both parts. */
TEST(log_of_a_resumed_run) {
    static const char *const names[] = { "loss", "mean_token_accuracy", "num_tokens" };
    double whole[12], parts[12];
    EQ(sft(SMALL "-o {}/log0 --logging_steps 3"), 0);
    EQ(sft(SMALL "-o {}/log1 --logging_steps 3 --save_steps 5"), 0);
    char command[300];
    snprintf(command, sizeof command, "rm -rf %s/checkpoint-12 %s/adapter*", in_folder("log1"), in_folder("log1"));
    EQ(system(command), 0);
    EQ(sft(SMALL "-o {}/log1 --logging_steps 3 --save_steps 5 --resume_from_checkpoint last"), 0);
    for (int k = 0; k < 3; k++) {
        EQ(log_numbers("log0/train.log.jsonl", names[k], whole, 12), 4);
        EQ(log_numbers("log1/train.log.jsonl", names[k], parts, 12), 4);
        if (memcmp(whole, parts, 4 * sizeof *whole)) FAIL("%s: %.9g, not %.9g", names[k], parts[3], whole[3]);
    }
}

/* Whatever file the base is, to the bit: the rows of llamas' q and k have two orders (train/gather.c). */
TEST(the_base_as_a_folder_or_gguf) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int f = 0; f < FAMILIES; f++)
        for (int gguf = 0; gguf < 2; gguf++) {
            char flags[2000];
            snprintf(flags, sizeof flags, "%s %s -o {}/base%d --overwrite_output_dir --max_steps 6 --learning_rate 0.01 --lora_r 4 "
                     "--per_device_train_batch_size 2 --save_steps 0 --eval_steps 0 --validation_split 0",
                     fixture_tuning(families[f], gguf ? "base.gguf" : "base"),
                     fixture_tuning(families[f], "data/sft_prompt_completion.jsonl"), gguf);
            EQ(sft(flags), 0);
            if (gguf) same_adapters_of("base0", "base1");
        }
}

/* Rows of tokens need no vocabulary; texts and conversations do, and so does the general text. */
TEST(a_model_without_a_vocabulary) {
    const char *m = fixture_shared("fixtures/qwen2-hf/config.json");
    if (!m) SKIP("no ../shared/fixtures");
    char flags[2000], base[600];
    snprintf(base, sizeof base, "%.*s", (int)(strlen(m) - strlen("/config.json")), m);
    text_file("ids.jsonl", "{\"input_ids\": [5, 6, 7, 8], \"completion_mask\": [0, 0, 1, 1]}\n", 60);
    snprintf(flags, sizeof flags, "%s {}/ids.jsonl -o {}/ids --max_steps 2", base);
    EQ(sft(flags), 0);
    CHECK(there("ids/adapter.gguf") && !strstr(said, "general"));
    snprintf(flags, sizeof flags, "%s {}/rows.jsonl -o {}/ids2 --max_steps 2", base);
    EQ(sft(flags), BAD_DATA);
    CHECK(strstr(said, "rows.jsonl: line 1: ") && strstr(said, "no vocabulary"));
    snprintf(flags, sizeof flags, "%s {}/ids.jsonl -o {}/ids2 --max_steps 2 --forget_file {}/grammar.txt", base);
    EQ(sft(flags), NOT_LOADED);
    CHECK(strstr(said, "grammar.txt: the model has no vocabulary"));
}

TEST(dry_run) {
    EQ(sft(SMALL "-o {}/none --dry-run --max_length 30"), 0);
    CHECK(strstr(said, "60 to learn from, 0 held out") && strstr(said, "cut to --max_length") && strstr(said, "memory"));
    CHECK(!there("none"));
    text_file("special.jsonl", "{\"text\": \"a</s>b\"}", 18);
    EQ(sft("{}/m/model.gguf {}/special.jsonl -o {}/none --dry-run"), 0);
    CHECK(strstr(said, "with the name of a control token"));
    EQ(sft("{}/m/model.gguf {}/special.jsonl -o {}/none --dry-run --parse-special"), 0);
    CHECK(!strstr(said, "with the name of a control token"));
}

/* A base model learns conversations in a form that it is told, and what it writes has that form. */
TEST(a_form_of_a_name) {
    static const char row[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"}]}\n";
    text_file("talk.jsonl", row, sizeof row - 1);
    const char *talk = "{}/m/model.gguf {}/talk.jsonl -o {}/talk --max_steps 1 --eval_steps 0 ";
    char flags[300];
    EQ(sft(talk), BAD_DATA);
    CHECK(strstr(said, "talk.jsonl: line 1: has messages, and the model no chat template"));
    snprintf(flags, sizeof flags, "%s --chat-template vicuna", talk);
    EQ(sft(flags), 0);
    char *text = NULL;
    size_t n = 0;
    REQUIRE(read_text(in_folder("talk/chat_template.jinja"), &text, &n) == 0);
    CHECK(strstr(text, "USER: "));
    free(text);
    snprintf(flags, sizeof flags, "%s --overwrite_output_dir --chat-template-file {}/talk/chat_template.jinja --dry-run", talk);
    EQ(sft(flags), 0);
}

/* A pack is as many examples as fit: one step of one pack learns from several. */
TEST(killed_while_it_saved) {
    char command[300];
    snprintf(command, sizeof command, "mkdir -p %s && cd %s && mkdir checkpoint-7.11.part checkpoint-3 checkpoint-5 checkpoint-6 "
             "&& touch checkpoint-7.11.part/adapter_config.json checkpoint-5/state.gguf.11.part checkpoint-6/notes",
             in_folder("killed"), in_folder("killed"));
    EQ(system(command), 0);
    EQ(sft(SMALL "-o {}/killed"), 0);
    CHECK(!there("killed/checkpoint-7.11.part") && there("killed/adapter.gguf"));
    CHECK(!there("killed/checkpoint-3") && !there("killed/checkpoint-5"));
    CHECK(there("killed/checkpoint-6/notes")); /* somebody's */
}

TEST(packing) {
    double one, pack;
    EQ(sft(SMALL "-o {}/pack --per_device_train_batch_size 1 --max_steps 1"), 0);
    REQUIRE(log_numbers("pack/train.log.jsonl", "num_tokens", &one, 1) == 1);
    EQ(sft("{}/m/model.gguf {}/short.jsonl -o {}/pack --overwrite_output_dir --packing --per_device_train_batch_size 1 "
           "--max_steps 1 --max_length 24 --eval_steps 0"), 0);
    REQUIRE(log_numbers("pack/train.log.jsonl", "num_tokens", &pack, 1) == 1);
    CHECK(pack > 12 && pack <= 24);
}

TEST(early_end) {
    EQ(sft(SMALL "-o {}/early --validation_split 0.3 --learning_rate 0.5 --max_steps 200 --eval_steps 1 --warmup_steps 0 "
                 "--lr_scheduler_type constant --early_stopping_patience 2 --load_best_model_at_end"), 0);
    CHECK(strstr(said, "that is the end (--early_stopping_patience 2)"));
    CHECK(there("early/best/adapter_config.json"));
    CHECK(same_files("early/best/adapter_model.safetensors", "early/adapter_model.safetensors"));
}

/* Before the first step and after the last: what is forgotten, how far the model is from itself, the picture. */
TEST(forgetting) {
    double x[20];
    EQ(sft(SMALL "-o {}/watched --eval_steps 6 --validation_split 0.2"), 0);
    EQ(log_numbers("watched/train.log.jsonl", "kl", x, 20), 3);
    CHECK(x[0] >= 0 && x[0] <= 0 && x[1] > 0 && x[2] > x[1]);
    EQ(log_numbers("watched/train.log.jsonl", "forget_loss", x, 20), 3);
    CHECK(x[0] > 1 && (x[2] < x[0] || x[2] > x[0]));
    EQ(log_numbers("watched/train.log.jsonl", "memorised", x, 20), 3);
    EQ(log_numbers("watched/train.log.jsonl", "eval_loss", x, 20), 3);
    CHECK(there("watched/train.svg"));
    double full[20];
    EQ(sft("{}/m/model.gguf {}/rows.jsonl --max_steps 12 --per_device_train_batch_size 4 --logging_steps 1 --threads 1 "
           "-o {}/watched2 --eval_steps 6 --validation_split 0.2 --full --learning_rate 0.1 --forget_file {}/grammar.txt"), 0);
    EQ(log_numbers("watched2/train.log.jsonl", "kl", full, 20), 3);
    CHECK(full[0] >= 0 && full[0] <= 0 && full[1] > 0);
    CHECK(strstr(said, "warning: the loss on general text"));
    CHECK(there("watched2/model.gguf") && !there("watched2/model"));
}

/* ---- what is refused ------------------------------------------------------------------------------------- */

TEST(refused) {
    text_file("empty.jsonl", "", 0);
    text_file("broken.jsonl", "{\"text\": \"a\"}\n{\"text\": \n", 24);
    text_file("nothing.jsonl", "{\"prompt\": \"a\", \"completion\": \"\"}\n", 34);
    static const char weighed[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, "
                                  "{\"role\": \"assistant\", \"content\": \"b\", \"weight\": 0}]}\n";
    text_file("weighed.jsonl", weighed, sizeof weighed - 1);
    static const char both[] = "{\"prompt\": \"a\", \"completion\": \"b\", \"messages\": []}\n";
    text_file("both.jsonl", both, sizeof both - 1);
    static const struct { const char *flags, *says; int code; } rows[] = {
        { "{}/m/model.gguf {}/weighed.jsonl -o {}/z", "messages[1].weight", BAD_DATA },
        { "{}/m/model.gguf {}/both.jsonl -o {}/z", "has completion and messages", BAD_DATA },
        { "{}/m/model.gguf {}/rows.jsonl -o {}/z --full --lora_r 8", "--lora_r is of a new LoRA", USAGE },
        { "{}/m/model.gguf -o {}/z", "no data", USAGE },
        { "-o {}/z", "no model", USAGE },
        { "{}/m/model.gguf {}/rows.jsonl", "--output_dir", USAGE },
        { "{}/m/model.gguf {}/missing.jsonl -o {}/z", "missing.jsonl", BAD_DATA },
        { "{}/m/model.gguf {}/empty.jsonl -o {}/z", "empty.jsonl", BAD_DATA },
        { "{}/m/model.gguf {}/broken.jsonl -o {}/z", "broken.jsonl: line 2", BAD_DATA },
        { "{}/missing.gguf {}/rows.jsonl -o {}/z", "missing.gguf", NOT_LOADED },
        { "{}/m/model.gguf {}/rows.jsonl -o {}/z --lora_r 0", "--lora_r", USAGE },
        { "{}/m/model.gguf {}/rows.jsonl -o {}/z --lora_target_modules q_prj", "q_proj", USAGE },
        { "{}/m/model.gguf {}/rows.jsonl -o {}/z --init_adapter {}/m", "adapter_config.json", NOT_LOADED },
        { "{}/m/model.gguf {}/rows.jsonl -o {}/z --chat-template gpt", "need one of: llama2", USAGE },
        { "{}/m/model.gguf {}/rows.jsonl -o {}/z --chat-template chatml --chat-template-file x", "one of them", USAGE },
        { "{}/m/model.gguf {}/rows.jsonl -o {}/z --truncation middle", "keep_start", USAGE },
        { "{}/m/model.gguf {}/rows.jsonl -o {}/z --packing=maybe", "true or false", USAGE },
        { "{}/m/model.gguf {}/rows.jsonl -o {}/z --full --init_adapter {}/m", "--full", USAGE },
        { "{}/m {}/rows.jsonl -o {}/m", "would write into it", USAGE },
        { SMALL "-o {}/z --early_stopping_patience 2", "--early_stopping_patience needs", USAGE },
        { SMALL "-o {}/z --eval_steps 2 --load_best_model_at_end", "--load_best_model_at_end needs", USAGE },
        { SMALL "-o {}/z --validation_split 0.2 --load_best_model_at_end", "--load_best_model_at_end needs", USAGE },
        { "{}/m/model.gguf {}/rows.jsonl -o {}/bits0", "--overwrite_output_dir", USAGE },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int code = sft(rows[i].flags), lines = 0;
        for (const char *p = said; *p; p++) lines += !strncmp(p, "pith: ", 6);
        if (code != rows[i].code || !strstr(said, rows[i].says) || lines != 1)
            FAIL("%s: exit %d, want %d; said: %s", rows[i].flags, code, rows[i].code, said);
    }
}

/* A rate that is too high: the last good checkpoint stays. */
TEST(divergence) {
    EQ(sft(SMALL "-o {}/wild --learning_rate 1000 --max_grad_norm 0 --save_steps 1 --max_steps 60 --lr_scheduler_type constant"), FAILED);
    CHECK(strstr(said, "diverged") && strstr(said, "--learning_rate"));
    CHECK(!there("wild/adapter.gguf"));
}

int main(void) {
    char remove[160];
    if (!mkdtemp(folder)) return 99;
    make_small();
    RUN(steps_of_transformers);
    RUN(full_steps_of_transformers);
    RUN(same_bits);
    RUN(resumed_with_other_flags);
    RUN(log_of_a_resumed_run);
    RUN(the_base_as_a_folder_or_gguf);
    RUN(a_model_without_a_vocabulary);
    RUN(dry_run);
    RUN(a_form_of_a_name);
    RUN(killed_while_it_saved);
    RUN(packing);
    RUN(early_end);
    RUN(forgetting);
    RUN(refused);
    RUN(divergence);
    snprintf(remove, sizeof remove, "rm -rf %s", folder);
    if (system(remove)) return 99;
    return DONE();
}
