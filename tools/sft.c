/* sft.c - run sft: supervised fine-tuning, from rows of JSONL to an adapter.
 *
 *     run sft MODEL DATA.jsonl --output_dir OUT
 *
 * Teaches a LoRA of a model, whose own weights stay as they are in whatever format, or with --full all weights. Rows
 * become tokens in train/examples.c, the loop is in trainer.c. Flags have the names that TRL and PEFT give them. */
#define _POSIX_C_SOURCE 200809L
#include "show.h"
#include "trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct { /* what the user asks for */
    train_options train;
    model_choice model;
    list files;
    const char *template_file, *template_name, *variables, *targets, *init, *out_type, *truncation, *sampling, *forget;
    int r, rslora, full, assistant_only, completion_only, packing, parse_special, max_length, show;
    float alpha, dropout;
} sft_options;

typedef struct { /* the objective: what an assistant says, after what it was told */
    trainer t;
    sft_options *o;
    pith_template *form;  /* NULL: the model has none */
    pith__examples data;
    pith_adapter *adapter; /* NULL: --full */
    forgetting watch;
    pith__store state;    /* of no keys: what a checkpoint begins with */
    char *text;           /* of --chat-template-file, or --chat-template */
    pith__str written;    /* the template that is written beside the adapter */
    pith__packs packs;    /* --packing */
    int64_t n_unit, steps; /* packs or examples to learn from; steps in an epoch */
} tuning;

static tuning *tuning_of(const trainer *t) { return t->of; }

/* ---- flags ----------------------------------------------------------------------------------- */

static const sft_options sft_defaults = {
    .train = { .hold_out = -1, .schedule = "linear", .batch = 8, .accumulate = 1, .warmup = 0, .eval_steps = -1,
               .save_steps = 500, .log_steps = 10, .max_eval = 64, .keep = 2, .epochs = 3, .lr = -1, .min_lr = -1,
               .max_norm = 1, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .seed = 42 },
    .truncation = "keep_start", .sampling = "random",
    .assistant_only = 1, .completion_only = 1, .max_length = 1024
};

static const char sft_usage[] =
    "run sft MODEL DATA.jsonl... --output_dir OUT [options]\n"
    "Teach a model by examples. A row is {\"messages\": [...]}, {\"prompt\": ..., \"completion\": ...},\n"
    "{\"text\": ...}, of Alpaca or ShareGPT, or {\"input_ids\": [...], \"completion_mask\": [...]}. What is\n"
    "taught is a LoRA, for PEFT and llama.cpp. --dry-run --show 2 prints two examples as they are learned.\n"
    "Defaults stand in brackets.\n\n";

static int one_of(const char *flag_name, const char *s, const char *a, const char *b) {
    return !strcmp(s, a) || !strcmp(s, b) ? 0 : complain(USAGE, "%s is '%s', need %s or %s", flag_name, s, a, b);
}

static int check_sft_options(sft_options *o) {
    int code = check_training(&o->train);
    if (!code) code = one_of("--truncation", o->truncation, "keep_start", "keep_end");
    if (!code) code = one_of("--train_sampling_strategy", o->sampling, "random", "sequential");
    if (!code && o->full && o->init) code = complain(USAGE, "--init_adapter is of no use with --full");
    const char *new_lora = o->r ? "--lora_r" : o->alpha > 0 ? "--lora_alpha" : o->targets ? "--lora_target_modules" :
                           o->rslora ? "--use_rslora" : NULL;
    if (!code && new_lora && (o->full || o->init))
        code = complain(USAGE, "%s is of a new LoRA, and of no use with %s", new_lora, o->full ? "--full" : "--init_adapter");
    if (!code && o->full && o->dropout > 0) code = complain(USAGE, "--lora_dropout is of no use with --full");
    if (!o->r) o->r = 16;
    if (!(o->alpha > 0)) o->alpha = 32;
    if (!o->targets) o->targets = "all-linear";
    const pith__format *to = o->out_type ? pith__format_named(o->out_type) : NULL;
    if (!code && o->out_type && (!to || (to->id != PITH__F32 && to->id != PITH__F16 && to->id != PITH__BF16)))
        code = complain(USAGE, "--outtype is '%s', need f32, f16 or bf16", o->out_type);
    if (!code && !o->full && o->out_type) code = complain(USAGE, "--outtype is of a model: need --full");
    if (!code && !o->files.n) code = complain(USAGE, "no data given: need run sft MODEL DATA.jsonl");
    if (o->train.lr < 0) o->train.lr = o->full ? 2e-5f : 2e-4f; /* TRL's, and what it advises for LoRA */
    return code ? code : GO_ON;
}

static int read_sft_options(int argc, char **argv, sft_options *o) {
    const flag flags[] = {
        { 0, "lora-r", INTEGER, &o->r, 1, 4096, "N", "rank of the LoRA (16)" },
        { 0, "lora-alpha", REAL, &o->alpha, 1e-6, 1e6, "X", "it is taken alpha / r times (32)" },
        { 0, "use-rslora", BOOLEAN, &o->rslora, 0, 0, "", "or alpha / sqrt(r) times" },
        { 0, "lora-dropout", REAL, &o->dropout, 0, 0.95, "P", "part of its input that is left out in training (%)" },
        { 0, "lora-target-modules", TEXT, &o->targets, 0, 0, "NAMES", "q_proj,v_proj,... or all-linear (all-linear)" },
        { 0, "init-adapter", TEXT, &o->init, 0, 0, "PATH", "go on from this adapter" },
        { 0, "full", BOOLEAN, &o->full, 0, 0, "", "teach all weights, of an F32, F16 or BF16 model" },
        { 0, "outtype", TEXT, &o->out_type, 0, 0, "TYPE", "of --full's model: f32, f16, bf16 (as the model)" },
        { 0, "assistant-only-loss", BOOLEAN, &o->assistant_only, 0, 0, "true|false",
          "of messages, only what the assistant says counts (true)" },
        { 0, "completion-only-loss", BOOLEAN, &o->completion_only, 0, 0, "true|false",
          "of prompts and completions, only the completions (true)" },
        { 0, "max-length", INTEGER, &o->max_length, 2, 1 << 20, "N", "tokens of an example, at most the model's context (%)" },
        { 0, "truncation", TEXT, &o->truncation, 0, 0, "MODE", "of a longer one: keep_start or keep_end (%)" },
        { 0, "truncation-mode", TEXT, &o->truncation, 0, 0, "MODE", "" },
        { 0, "packing", BOOLEAN, &o->packing, 0, 0, "", "a sequence of a step is several short examples" },
        { 0, "train-sampling-strategy", TEXT, &o->sampling, 0, 0, "NAME", "random or sequential (%)" },
        { 0, "chat-template-file", TEXT, &o->template_file, 0, 0, "FILE", "instead of the model's" },
        { 0, "chat-template", TEXT, &o->template_name, 0, 0, "NAME", "the same by name, for a model without one: chatml, ..." },
        { 0, "chat-template-kwargs", TEXT, &o->variables, 0, 0, "JSON", "variables for it" },
        { 0, "parse-special", SWITCH, &o->parse_special, 0, 0, "",
          "of texts that are not messages, read <|names|> as special tokens" },
        { 0, "show", INTEGER, &o->show, 0, INT_MAX, "N", "print N examples as they are learned (0)" },
        { 0, "forget-file", TEXT, &o->forget, 0, 0, "FILE", "general text to watch what is forgotten (one is built in)" },
        { 'z', "tokenizer", TEXT, &o->model.options.tokenizer, 0, 0, "FILE", "of a llama2.c checkpoint" },
        { 0, "no-mmap", SWITCH, &o->model.options.no_mmap, 0, 0, "", "read the model into memory" },
        { 0, "kernels", TEXT, &o->model.options.kernels, 0, 0, "NAME", "arithmetic to use: portable, ... (the fastest)" },
        TRAINING_FLAGS(&o->train, "2e-4; with --full 2e-5", "0.05 of 100 examples and more"),
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    *o = sft_defaults;
    int code = read_flags_and_files(argc, argv, sft_usage, flags, &o->model.path, &o->files);
    if (code != GO_ON) return code;
    o->model.options.n_threads = o->train.threads;
    return o->model.path ? check_sft_options(o) : complain(USAGE, "no model given, see --help");
}

/* ---- the objective --------------------------------------------------------------------------- */

/* Unit k of a step: a pack or an example. -1: the epoch ends before it. */
static int64_t unit_at(const tuning *s, int64_t step, int64_t k) {
    int64_t epoch = step / s->steps, i = step % s->steps * s->t.batch_size + k;
    if (i >= s->n_unit) return -1;
    if (!strcmp(s->o->sampling, "sequential")) return i;
    uint64_t seed = pith__random_at(s->t.o->seed, (uint64_t)epoch);
    return (int64_t)pith__shuffled(seed, (uint64_t)s->n_unit, (uint64_t)i);
}

/* How many examples unit has; *example: their numbers, or *one, which then is its only one. */
static int64_t unit_examples(const tuning *s, int64_t unit, uint32_t *one, const uint32_t **example) {
    const pith__packs *p = &s->packs;
    *one = (uint32_t)unit;
    *example = s->o->packing ? p->example + p->first[unit] : one;
    return s->o->packing ? p->first[unit + 1] - p->first[unit] : 1;
}

static void sft_size(const trainer *t, int64_t step, step_size *size) {
    const tuning *s = tuning_of(t);
    *size = (step_size){ 0, 0, 0 };
    for (int64_t k = 0, unit; k < t->batch_size && (unit = unit_at(s, step, k)) >= 0; k++) {
        uint32_t one;
        const uint32_t *example;
        int64_t n = unit_examples(s, unit, &one, &example);
        size->n_sequence += n;
        for (int64_t i = 0; i < n; i++) {
            pith__example e = pith__examples_get(&s->data, example[i]);
            size->n_token += e.n;
            for (int j = 1; j < e.n; j++) size->n_count += e.counts[j];
        }
    }
}

static void learn_example(const pith__example *e, pith_token *target, pith__sequence *to) {
    pith__example_targets(e, target);
    *to = (pith__sequence){ .t = e->t, .target = target, .n = e->n - 1 };
}

static void sft_sequence(trainer *t, int64_t step, int64_t i, const sequence_room *room, pith__sequence *to) {
    const tuning *s = tuning_of(t);
    for (int64_t k = 0, unit, n; (unit = unit_at(s, step, k)) >= 0; k++, i -= n) {
        uint32_t one;
        const uint32_t *example;
        n = unit_examples(s, unit, &one, &example);
        if (i >= n) continue;
        pith__example e = pith__examples_get(&s->data, example[i]);
        learn_example(&e, room->token, to);
        return;
    }
}

static void sft_held_out(trainer *t, int i, const sequence_room *room, pith__sequence *to) {
    const tuning *s = tuning_of(t);
    pith__example e = pith__examples_get(&s->data, s->data.n_train + (size_t)i);
    learn_example(&e, room->token, to);
}

enum { ASKED = 16 }; /* examples that a memory of them is looked for in */

static int sft_measure(trainer *t, const pith__loss *loss) {
    tuning *s = tuning_of(t);
    size_t n = s->data.n_train < ASKED ? s->data.n_train : ASKED, room = 2 * ((size_t)t->n_ctx + 1);
    pith__sequence example[ASKED];
    pith_token *target = calloc(n * room, sizeof *target);
    (void)loss;
    if (!target) return complain(FAILED, "no memory to ask for examples");
    for (size_t i = 0; i < n; i++) {
        pith__example e = pith__examples_get(&s->data, i * s->data.n_train / n);
        learn_example(&e, target + i * room, &example[i]);
    }
    int code = forgetting_measure(&s->watch, t, example, (int)n);
    free(target);
    return code;
}

static void sft_numbers(const trainer *t, double *x) {
    const tuning *s = tuning_of(t);
    x[PITH__MARK_PACKING] = s->o->packing;
    x[PITH__MARK_SEQUENTIAL] = !strcmp(s->o->sampling, "sequential");
    if (!s->adapter) return;
    x[PITH__MARK_DROPOUT] = (double)s->o->dropout;
    for (const pith__weight *w = t->m->weights; w; w = w->next)
        if (s->adapter->pair[w->index].r) x[PITH__MARK_SCALE] = (double)s->adapter->pair[w->index].scale;
}

/* ---- what it writes -------------------------------------------------------------------------- */

static const char *const adapter_files[] = { "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja",
                                             NULL };

static pith__adapter_about about(const tuning *s) {
    pith__adapter_about a = { .base = s->o->model.path, .dropout = (double)s->o->dropout, .rslora = s->o->rslora };
    a.chat_template = s->written;
    return a;
}

/* The adapter as a PEFT folder: OUT/NAME, or OUT itself. */
static int write_peft(trainer *t, const char *name) {
    const tuning *s = tuning_of(t);
    const pith__adapter_about a = about(s);
    const char *path = name ? trainer_path(t, name) : t->o->folder;
    pith_error e = { 0, "" };
    if (!path) return FAILED;
    return pith__adapter_write_peft(s->adapter, &a, path, &e) ? report(&e) : 0;
}

/* Beside the state of a checkpoint the adapter itself, so that it can be tried. */
static int save_adapter(trainer *t, int64_t step) {
    char name[64];
    snprintf(name, sizeof name, "checkpoint-%lld", (long long)step);
    return write_peft(t, name);
}

static int keep_best_adapter(trainer *t) { return write_peft(t, "best"); }

static int load_best_adapter(trainer *t, const char **path) {
    const tuning *s = tuning_of(t);
    pith_error e = { 0, "" };
    const char *best = trainer_path(t, "best");
    if (!best) return FAILED;
    if (access(best, F_OK) != 0) return 0;
    *path = best;
    if (!t->o->load_best) return 0;
    pith_adapter *a = pith_adapter_open(t->m, best, &e);
    if (!a) return complain(FAILED, "%s", e.text);
    for (const pith__weight *w = t->m->weights; w; w = w->next) {
        const pith__pair *from = a->pair + w->index, *to = s->adapter->pair + w->index;
        if (!to->r || from->r != to->r) continue;
        memcpy(to->a, from->a, (size_t)to->r * w->tensor.cols * sizeof *to->a);
        memcpy(to->b, from->b, (size_t)to->r * w->tensor.rows * sizeof *to->b);
    }
    pith_adapter_close(a);
    return 0;
}

static int finish_adapter(trainer *t) {
    const tuning *s = tuning_of(t);
    const pith__adapter_about a = about(s);
    const char *gguf = trainer_path(t, "adapter.gguf"), *model = s->o->model.path;
    pith_error e = { 0, "" };
    if (!gguf) return FAILED;
    int code = write_peft(t, NULL);
    if (code) return code;
    if (pith__adapter_write_gguf(s->adapter, &a, gguf, &e)) return report(&e);
    fprintf(stderr, "%s/adapter_model.safetensors (PEFT) and adapter.gguf (llama.cpp) written; to try it: "
            "run %s --lora %s -m chat\n", t->o->folder, model, t->o->folder);
    return 0;
}

/* model.gguf, and of a model from a Hugging Face folder such a folder: OUT/model. */
static int finish_full(trainer *t) {
    const tuning *s = tuning_of(t);
    pith__progress watch = progress_of(&t->shown);
    int folder = t->m->store.is_folder;
    const char *gguf = trainer_path(t, "model.gguf"), *model = trainer_path(t, "model");
    pith__tensor *tensor = pith__learned_tensors(&t->params, &t->arena);
    if (!gguf || !model) return FAILED;
    if (!tensor) return complain(FAILED, "%s: no memory to write it", gguf);
    pith_error e = { 0, "" };
    pith__merge p = { .m = t->m, .learned = tensor, .n_learned = t->params.n_param, .chat_template = s->written,
                      .to = s->o->out_type ? pith__format_named(s->o->out_type) : NULL, .progress = &watch };
    if (pith__merge_gguf(&p, gguf, &e)) return report(&e);
    if (folder && pith__merge_folder(&p, model, &e)) return report(&e);
    fprintf(stderr, "%s%s%s written; to try it: run %s -m chat\n", gguf, folder ? " and the folder " : "",
            folder ? model : "", gguf);
    return 0;
}

static int make_checkpoint_folder(trainer *t, int64_t step) {
    char name[64];
    pith_error e = { 0, "" };
    snprintf(name, sizeof name, "checkpoint-%lld", (long long)step);
    const char *path = trainer_path(t, name);
    if (!path) return FAILED;
    return pith__make_folder(path, &e) ? complain(FAILED, "%s", e.text) : 0;
}

static const char *const adapter_outputs[] = { "adapter_model.safetensors", "adapter_config.json", "adapter.gguf",
                                               "train.log.jsonl", "train.svg", NULL };
static const char *const full_outputs[] = { "model.gguf", "best.gguf", "train.log.jsonl", "train.svg", NULL };

static const objective adapter_objective = {
    .form = { "/state.gguf", adapter_files }, .outputs = adapter_outputs, .n_model = 3, .size = sft_size,
    .sequence = sft_sequence, .held_out = sft_held_out, .numbers = sft_numbers, .at_start = 1, .measure = sft_measure,
    .save = save_adapter, .keep_best = keep_best_adapter, .load_best = load_best_adapter, .finish = finish_adapter
};
static const char *const no_files[] = { NULL };
static const objective full_objective = {
    .form = { "/state.gguf", no_files }, .outputs = full_outputs, .n_model = 1, .size = sft_size,
    .sequence = sft_sequence, .held_out = sft_held_out, .numbers = sft_numbers, .at_start = 1, .measure = sft_measure,
    .save = make_checkpoint_folder, .keep_best = trainer_keep_weights, .load_best = trainer_load_weights, .finish = finish_full
};

/* ---- everything a run needs ------------------------------------------------------------------ */

/* The text of --chat-template: the form of this name, with BOS where the vocabulary begins texts with it. */
static int named_template(tuning *s, char **text, size_t *n) {
    const pith__vocab *v = &s->t.m->store.vocab;
    pith__said said = { NULL, 0, 0, 0 };
    char names[512];
    int code = pith__chat_jinja(&said, s->o->template_name, v->add_bos && v->bos >= 0);
    if (code) free(said.p), said.p = NULL;
    *text = said.p, *n = said.n;
    if (code == PITH_EMEMORY) return complain(FAILED, "no memory for a chat template");
    return code ? complain(USAGE, "--chat-template is '%.32s', need one of:%s", s->o->template_name,
                           pith__names(names, sizeof names, pith__chat_name)) : 0;
}

/* The template that makes texts of conversations: of --chat-template-file or --chat-template, else the model's, if it has
 * one. */
static int open_template(tuning *s) {
    pith_error e = { 0, "" };
    const char *path = s->o->template_file;
    size_t n = 0;
    char *text = NULL;
    if (path && s->o->template_name) return complain(USAGE, "--chat-template and --chat-template-file, need one of them");
    int code = path ? read_text(path, &text, &n) : s->o->template_name ? named_template(s, &text, &n) : 0;
    if (code) return code;
    s->text = text;
    s->written = text ? (pith__str){ text, n } : s->t.m->store.vocab.chat_template;
    if (!s->written.n) return text ? complain(BAD_DATA, "%s: is empty", path) : 0;
    s->form = pith_template_new(s->t.m, text, n, path, &e);
    return s->form ? 0 : complain(e.code == PITH_EMEMORY ? FAILED : BAD_DATA, "%s", e.text);
}

enum { ENOUGH = 100 };
#define HOLD_OUT 0.05 /* of so many examples and more, where the user does not say */

static int open_examples(tuning *s) {
    trainer *t = &s->t;
    const sft_options *o = s->o;
    pith__progress watch = progress_of(&t->shown);
    pith_error e = { 0, "" };
    time_t now = time(NULL);
    const struct tm *tm = localtime(&now);
    pith_time at = { 1970, 1, 1, 0, 0, 0 };
    if (tm) at = (pith_time){ tm->tm_year + 1900, tm->tm_mon + 1, tm->tm_mday, tm->tm_hour, tm->tm_min, tm->tm_sec };
    int n_ctx = pith_model_shape(t->m)->n_ctx;
    pith__examples_plan plan = {
        .train = { o->files.item, o->files.n }, .eval = { &t->o->eval, t->o->eval != NULL },
        .hold_out = (double)t->o->hold_out, .form = s->form, .variables = o->variables, .now = &at,
        .every_token = !o->assistant_only, .prompts_too = !o->completion_only,
        .max_length = o->max_length < n_ctx ? o->max_length : n_ctx,
        .keep_end = !strcmp(o->truncation, "keep_end"), .parse_special = o->parse_special
    };
    if (t->o->hold_out < 0) plan.hold_out = HOLD_OUT;
    if (pith__examples_open(&s->data, t->m, &plan, &watch, &e)) return report(&e);
    if (t->o->hold_out < 0 && !t->o->eval && s->data.n_train + s->data.n_eval < ENOUGH) {
        pith__examples_close(&s->data); /* too few to give some away */
        plan.hold_out = 0;
        if (pith__examples_open(&s->data, t->m, &plan, &watch, &e)) return report(&e);
    }
    t->n_ctx = s->data.longest - 1;
    t->key = s->data.key;
    t->n_eval = (int)s->data.n_eval;
    s->n_unit = (int64_t)s->data.n_train;
    if (o->packing && pith__packs_make(&s->packs, &s->data, plan.max_length, &e)) return report(&e);
    if (o->packing) s->n_unit = (int64_t)s->packs.n;
    int64_t batch = (int64_t)t->o->batch * t->o->accumulate;
    s->steps = (s->n_unit + batch - 1) / batch;
    t->per_epoch = (double)s->steps;
    return o->show ? show_examples(t->m, &s->data, o->packing ? &s->packs : NULL, &plan, (size_t)o->show) : 0;
}

/* Comma-separated names into plan->target, whose memory is the trainer's. */
static int read_targets(trainer *t, const char *names, pith__lora_plan *plan) {
    size_t n = 1;
    if (!strcmp(names, "all-linear")) return 0;
    for (const char *p = names; *p; p++) n += *p == ',';
    const char **target = pith__arena_new(&t->arena, n, sizeof *target);
    char *copy = pith__arena_text(&t->arena, names, strlen(names));
    if (!target || !copy) return complain(FAILED, "no memory for the names of modules");
    for (size_t i = 0; i < n; i++) {
        size_t len = strcspn(copy, ",");
        target[i] = copy;
        copy += len;
        if (*copy) *copy++ = 0;
    }
    plan->target = target, plan->n_target = (int)n;
    return 0;
}

static int new_adapter(tuning *s) {
    trainer *t = &s->t;
    const sft_options *o = s->o;
    pith_error e = { 0, "" };
    pith__lora_plan plan = { .r = o->r, .alpha = o->alpha, .rslora = o->rslora, .seed = t->o->seed };
    int code = read_targets(t, o->targets, &plan);
    if (code) return code;
    if (pith__gather(t->m, &e)) return complain(FAILED, "%s", e.text);
    s->adapter = o->init ? pith_adapter_open(t->m, o->init, &e) : pith__adapter_new(t->m, &plan, &e);
    if (!s->adapter) return o->init ? complain(NOT_LOADED, "%s", e.text) : report(&e);
    return pith__adapter_params(&t->params, s->adapter, t->m, &e) ? complain(FAILED, "%s", e.text) : 0;
}

/* All weights learn; they must be numbers that can be learned, not codes. */
static int full_params(tuning *s) {
    trainer *t = &s->t;
    pith_error e = { 0, "" };
    for (const pith__weight *w = t->m->weights; w; w = w->next) {
        const pith__tensor *tensor = &w->tensor;
        if (!tensor->data || w->floats) continue;
        int id = tensor->format->id;
        if (id != PITH__F32 && id != PITH__F16 && id != PITH__BF16)
            return complain(BAD_DATA, "%s: '%.*s' is %s, --full needs F32, F16 or BF16; without it a LoRA is taught",
                            t->m->store.path, (int)tensor->name.n, tensor->name.p, tensor->format->name);
    }
    return pith__params_new(&t->params, t->m, &e) ? complain(FAILED, "%s", e.text) : 0;
}

static int check_inputs(tuning *s) {
    trainer *t = &s->t;
    int code = trainer_check_input(t, t->o->eval);
    if (!code) code = trainer_check_input(t, s->o->model.path);
    for (int i = 0; i < s->o->files.n && !code; i++) code = trainer_check_input(t, s->o->files.item[i]);
    return code;
}

static int open_state(trainer *t) {
    pith_error e = { 0, "" };
    int code = t->o->resume ? trainer_find_checkpoint(t) : 0;
    if (code || !t->o->resume) return code;
    const char *path = t->o->resume;
    char name[4096];
    if (pith__path_kind(path) == 'd' && snprintf(name, sizeof name, "%s%s", path, t->what->form.tail) < (int)sizeof name)
        path = pith__arena_text(&t->arena, name, strlen(name)); /* checkpoint-N, as its user sees it */
    if (path && !pith__open(&t->from, path, NULL, &e)) return 0;
    return path ? trainer_bad_checkpoint(t, &e, NOT_LOADED) : complain(FAILED, "no memory");
}

static size_t file_bytes(const pith_model *m) {
    size_t n = 0;
    for (int i = 0; i < m->store.n_file; i++) n += m->store.file[i].size;
    return n;
}

static void say_some(const tuning *s, const pith__some *some, const char *what) {
    if (!some->n) return;
    const char *path = some->file < (size_t)s->o->files.n ? s->o->files.item[some->file] : s->t.o->eval;
    fprintf(stderr, "pith: %s: %zu example%s, the first is line %zu of %s\n", what, some->n, some->n > 1 ? "s" : "", some->line,
            path);
}

static int forecast(tuning *s) {
    trainer *t = &s->t;
    const pith__examples *x = &s->data;
    size_t held = s->adapter ? file_bytes(t->m) + 4 * t->params.n : 4 * t->params.n;
    double each = (double)x->n_token / (double)x->n_train, scored = t->n_eval < t->o->max_eval ? t->n_eval : t->o->max_eval;
    fprintf(stderr, "parameters   %zu learn%s\n", t->params.n, s->adapter ? ", the model's own stay as they are" : "");
    fprintf(stderr, "examples     %zu to learn from, %zu held out; %zu tokens, of which %zu count; the longest has %d\n",
            x->n_train, x->n_eval, x->n_token, x->n_label, x->longest);
    say_some(s, &x->cut, "cut to --max_length, or to the model's context");
    say_some(s, &x->skipped, "left out, for nothing in it counts");
    say_some(s, &x->endless, "without the template's end token, so nothing teaches to stop there");
    say_some(s, &x->look_alike, "with the name of a control token in its text, where it stays text");
    if (x->n_same) fprintf(stderr, "pith: %zu of the examples held out are also among those to learn from\n", x->n_same);
    return trainer_forecast(t, s->adapter ? "model and adapter" : "weights", (double)held,
                            5 * each * (double)(x->n_train + x->n_eval),
                            each * (scored + ASKED) + 2.0 * s->watch.n_text);
}

static int sft(tuning *s) {
    trainer *t = &s->t;
    int code = check_inputs(s);
    if (!code && !t->o->dry_run) code = trainer_open_folder(t);
    if (!code) code = open_model(&s->o->model, 0, &t->m); /* rows of tokens need no vocabulary */
    if (!code) code = open_template(s);
    if (!code) code = open_examples(s);
    if (!code) code = open_state(t);
    if (!code) code = s->o->full ? full_params(s) : new_adapter(s);
    if (!code) code = trainer_memory(t, s->adapter ? file_bytes(t->m) : 4 * t->params.n);
    if (!code && s->adapter) pith__step_adapter(t->step, s->adapter);
    t->dropout = s->o->dropout;
    if (!code) code = trainer_plan(t);
    if (code) return code;
    t->untrained = log((double)t->m->hyper.n_vocab);
    if (t->o->resume) code = trainer_resume(t);
    if (!code && t->eval_steps != 0) code = forgetting_open(&s->watch, t, s->adapter, &s->o->model, s->o->forget);
    if (!code) code = forecast(s);
    if (code || t->o->dry_run) return code;
    code = trainer_open_log(t);
    return code ? code : trainer_run(t);
}

int verb_sft(int argc, char **argv) {
    sft_options o;
    int code = read_sft_options(argc, argv, &o);
    if (code != GO_ON) return code;
    tuning s = { .o = &o, .state = { .path = "checkpoint" } };
    trainer_begin(&s.t, &o.train, o.full ? &full_objective : &adapter_objective, &s);
    s.t.base = &s.state;
    code = sft(&s);
    if (code && code == stopped() && !s.t.log.file)
        fprintf(stderr, "stopped before the first step; to begin again, give the same command\n");
    pith__packs_free(&s.packs);
    pith__examples_close(&s.data);
    pith_template_free(s.form);
    forgetting_close(&s.watch);
    trainer_free(&s.t);
    pith_adapter_close(s.adapter);
    free(s.text);
    return code;
}
