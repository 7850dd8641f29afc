/* tuning.h - what sft, dpo, reward, ppo and grpo share: a model that exists is taught by rows of JSONL. */
#ifndef PITH_TUNING_H
#define PITH_TUNING_H

#include "trainer.h"

typedef struct { /* what the user asks of any of them: TUNING_FLAGS */
    train_options train;
    model_choice model;
    list files;
    const char *template_file, *template_name, *variables, *targets, *init, *out_type, *truncation, *sampling, *forget;
    int r, rslora, full, parse_special, max_length, show;
    float alpha, dropout;
    const char *reads[4];  /* what the verb reads beside files and model; NULL: nothing */
} tuning_options;

#define TUNING_DEFAULTS(steps) \
    { .train = { .hold_out = -1, .schedule = "linear", .batch = 8, .accumulate = 1, .warmup = 0, .eval_steps = -1, \
                 .save_steps = 500, .log_steps = steps, .max_eval = 64, .keep = 2, .epochs = 3, .lr = -1, .min_lr = -1, \
                 .max_norm = 1, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .seed = 42 }, \
      .truncation = "keep_start", .sampling = "random", .max_length = 1024 }

/* rate, part: as for TRAINING_FLAGS. */
#define TUNING_FLAGS(o, rate, part) \
    { 0, "lora-r", INTEGER, &(o)->r, 1, 4096, "N", "rank of the LoRA (16)" }, \
    { 0, "lora-alpha", REAL, &(o)->alpha, 1e-6, 1e6, "X", "it is taken alpha / r times (32)" }, \
    { 0, "use-rslora", BOOLEAN, &(o)->rslora, 0, 0, "", "or alpha / sqrt(r) times" }, \
    { 0, "lora-dropout", REAL, &(o)->dropout, 0, 0.95, "P", "part of its input that is left out in training (%)" }, \
    { 0, "lora-target-modules", TEXT, &(o)->targets, 0, 0, "NAMES", "q_proj,v_proj,... or all-linear (all-linear)" }, \
    { 0, "init-adapter", TEXT, &(o)->init, 0, 0, "PATH", "go on from this adapter" }, \
    { 0, "full", BOOLEAN, &(o)->full, 0, 0, "", "teach all weights, of an F32, F16 or BF16 model" }, \
    { 0, "outtype", TEXT, &(o)->out_type, 0, 0, "TYPE", "of --full's model: f32, f16, bf16 (as the model)" }, \
    { 0, "max-length", INTEGER, &(o)->max_length, 2, 1 << 20, "N", "tokens of an example, at most the model's context (%)" }, \
    { 0, "truncation", TEXT, &(o)->truncation, 0, 0, "MODE", "of a longer one: keep_start or keep_end (%)" }, \
    { 0, "truncation-mode", TEXT, &(o)->truncation, 0, 0, "MODE", "" }, \
    { 0, "train-sampling-strategy", TEXT, &(o)->sampling, 0, 0, "NAME", "random or sequential (%)" }, \
    { 0, "chat-template-file", TEXT, &(o)->template_file, 0, 0, "FILE", "instead of the model's" }, \
    { 0, "chat-template", TEXT, &(o)->template_name, 0, 0, "NAME", "the same by name, for a model without one: chatml, ..." }, \
    { 0, "chat-template-kwargs", TEXT, &(o)->variables, 0, 0, "JSON", "variables for it" }, \
    { 0, "parse-special", SWITCH, &(o)->parse_special, 0, 0, "", \
      "of texts that are not messages, read <|names|> as special tokens" }, \
    { 0, "show", INTEGER, &(o)->show, 0, INT_MAX, "N", "print N examples as they are learned (0)" }, \
    { 0, "forget-file", TEXT, &(o)->forget, 0, 0, "FILE", "general text to watch what is forgotten (one is built in)" }, \
    { 'z', "tokenizer", TEXT, &(o)->model.options.tokenizer, 0, 0, "FILE", "of a llama2.c checkpoint" }, \
    { 0, "no-mmap", SWITCH, &(o)->model.options.no_mmap, 0, 0, "", "read the model into memory" }, \
    { 0, "kernels", TEXT, &(o)->model.options.kernels, 0, 0, "NAME", "arithmetic to use: portable, ... (the fastest)" }, \
    TRAINING_FLAGS(&(o)->train, rate, part), \
    { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" }, \
    { 0, NULL, 0, NULL, 0, 0, NULL, NULL }

/* What a verb's own is: its struct begins with one, and t.of is its address. All zero before tuning_run, but scores. */
typedef struct {
    trainer t;
    int scores;            /* 1: a reward model is taught: the adapter has a score head, and nobody asks it for text */
    tuning_options *o;
    objective what;        /* the verb's, with how it is saved */
    pith_template *form;   /* NULL: the model has none */
    pith__examples data;
    pith_adapter *adapter; /* NULL: --full */
    forgetting watch;
    pith__store state;     /* of no keys: what a checkpoint begins with */
    char *text;            /* of --chat-template-file, or --chat-template */
    pith__str written;     /* the template that is written beside the adapter */
    int64_t n_unit, steps; /* units to learn from: examples, pairs, prompts; steps in an epoch */
    const struct lesson *lesson;
} tuning;

tuning *tuning_of(const trainer *t);
pith_time time_now(void); /* for chat templates */

int one_of(const char *flag_name, const char *s, const char *a, const char *b); /* complains */
int check_tuning(tuning_options *o, const char *verb); /* and fills what was not said, but the learning rate */

typedef struct lesson { /* an exit code, or 0, each */
    int (*data)(tuning *s);       /* what is learned from, and with it t.n_ctx, t.key, t.n_eval and tuning_units */
    int (*parameters)(tuning *s); /* what learns beside an adapter or the weights; or NULL */
    int (*reference)(tuning *s);  /* the model can be asked, and is as it was before training; or NULL */
    int (*ready)(tuning *s);      /* all is there, a checkpoint too; or NULL */
    int (*forecast)(tuning *s);
    int (*beside)(tuning *s, const char *folder, int is_checkpoint); /* writes what else there is into OUT, OUT/best, or a
                                                                       * checkpoint; or NULL */
    int (*reload)(tuning *s, const char *folder); /* reads it again from OUT/best; or NULL */
} lesson;

/* what: without form, outputs, save, keep_best, load_best, finish and at_start; numbers and measure NULL are those below. */
int tuning_run(tuning *s, tuning_options *o, const objective *what, const lesson *l);

/* Opens s->data, and units are its examples, or its pairs. plan: what the flags do not say. */
int  tuning_examples(tuning *s, pith__examples_plan *plan);
void tuning_units(tuning *s, size_t n);
int64_t tuning_unit(const tuning *s, int64_t step, int64_t k); /* number k of a step; -1: the epoch ends before it */
void learn_example(const pith__example *e, pith_token *target, pith__sequence *to);

enum { ASKED = 16 }; /* examples that a memory of them is looked for in */
int  tuning_measure(trainer *t, const pith__loss *loss); /* forgetting, and what is known by heart */
void tuning_numbers(const trainer *t, double *x);

void say_learned(const tuning *s);  /* lines of a forecast */
void say_examples(const tuning *s); /* what is odd in them */
size_t tuning_held(const tuning *s); /* bytes of what stays in memory */
int  tuning_forecast(tuning *s, double scored); /* scored: examples that an evaluation reads */

#endif
