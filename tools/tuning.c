/* tuning.c - what sft, dpo, reward, ppo and grpo share: a model that exists is taught by rows of JSONL.
 *
 * What learns is a LoRA of it, whose own weights stay as they are in whatever format, or with --full all weights. The
 * loop is in trainer.c, rows become tokens in train/examples.c. */
#define _POSIX_C_SOURCE 200809L
#include "show.h"
#include "tuning.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

tuning *tuning_of(const trainer *t) { return t->of; }

/* ---- flags ----------------------------------------------------------------------------------- */

int one_of(const char *flag_name, const char *s, const char *a, const char *b) {
    return !strcmp(s, a) || !strcmp(s, b) ? 0 : complain(USAGE, "%s is '%s', need %s or %s", flag_name, s, a, b);
}

static int check_lora(const tuning_options *o) {
    const char *new_lora = o->r ? "--lora_r" : o->alpha > 0 ? "--lora_alpha" : o->targets ? "--lora_target_modules" :
                           o->rslora ? "--use_rslora" : NULL;
    if (o->full && o->init) return complain(USAGE, "--init_adapter is of no use with --full");
    if (o->train.qat && o->dropout > 0) return complain(USAGE, "--lora_dropout is of no use with --qat, which sees base and LoRA as one");
    if (o->train.qat_only && !o->full) return complain(USAGE, "--qat_train_only_quantized is of no use without --full");
    if (o->train.qat && o->out_type) return complain(USAGE, "--outtype and --qat both say what is written: need one of them");
    if (new_lora && (o->full || o->init))
        return complain(USAGE, "%s is of a new LoRA, and of no use with %s", new_lora, o->full ? "--full" : "--init_adapter");
    if (o->full && o->dropout > 0) return complain(USAGE, "--lora_dropout is of no use with --full");
    return 0;
}

int check_tuning(tuning_options *o, const char *verb) {
    int code = check_training(&o->train);
    if (!code) code = one_of("--truncation", o->truncation, "keep_start", "keep_end");
    if (!code) code = one_of("--train_sampling_strategy", o->sampling, "random", "sequential");
    if (!code) code = check_lora(o);
    if (!o->r) o->r = 16;
    if (!(o->alpha > 0)) o->alpha = 32;
    if (!o->targets) o->targets = "all-linear";
    const pith__format *to = o->out_type ? pith__format_named(o->out_type) : NULL;
    if (!code && o->out_type && (!to || (to->id != PITH__F32 && to->id != PITH__F16 && to->id != PITH__BF16)))
        code = complain(USAGE, "--outtype is '%s', need f32, f16 or bf16", o->out_type);
    if (!code && !o->full && o->out_type) code = complain(USAGE, "--outtype is of a model: need --full");
    if (!code && !o->files.n) code = complain(USAGE, "no data given: need run %s MODEL DATA.jsonl", verb);
    o->model.options.n_threads = o->train.threads;
    return code;
}

/* ---- units of a step --------------------------------------------------------------------------- */

int64_t tuning_unit(const tuning *s, int64_t step, int64_t k) {
    int64_t epoch = step / s->steps, i = step % s->steps * s->t.batch_size + k;
    if (i >= s->n_unit) return -1;
    if (!strcmp(s->o->sampling, "sequential")) return i;
    uint64_t seed = pith__random_at(s->t.o->seed, (uint64_t)epoch);
    return (int64_t)pith__shuffled(seed, (uint64_t)s->n_unit, (uint64_t)i);
}

void tuning_units(tuning *s, size_t n) {
    int64_t batch = (int64_t)s->t.o->batch * s->t.o->accumulate;
    s->n_unit = (int64_t)n;
    s->steps = (s->n_unit + batch - 1) / batch;
    s->t.per_epoch = (double)s->steps;
}

void learn_example(const pith__example *e, pith_token *target, pith__sequence *to) {
    pith__example_targets(e, target);
    *to = (pith__sequence){ .t = e->t, .target = target, .n = e->n - 1 };
}

int tuning_measure(trainer *t, const pith__loss *loss) {
    tuning *s = tuning_of(t);
    size_t each = t->what->group > 1 ? 2 : 1, all = s->data.n_train / each; /* of a pair, the chosen answer */
    size_t n = all < ASKED ? all : ASKED, room = 2 * ((size_t)t->n_ctx + 1);
    pith__sequence example[ASKED];
    pith_token *target = calloc(n * room + 1, sizeof *target);
    (void)loss;
    if (!target) return complain(FAILED, "no memory to ask for examples");
    for (size_t i = 0; i < n; i++) {
        pith__example e = pith__examples_get(&s->data, each * (i * all / n));
        learn_example(&e, target + i * room, &example[i]);
    }
    int code = forgetting_measure(&s->watch, t, example, (int)n);
    free(target);
    return code;
}

void tuning_numbers(const trainer *t, double *x) {
    const tuning *s = tuning_of(t);
    x[PITH__MARK_SEQUENTIAL] = !strcmp(s->o->sampling, "sequential");
    if (!s->adapter) return;
    x[PITH__MARK_DROPOUT] = (double)s->o->dropout;
    for (const pith__weight *w = t->m->weights; w; w = w->next)
        if (s->adapter->pair[w->index].r) x[PITH__MARK_SCALE] = (double)s->adapter->pair[w->index].scale;
}

/* ---- what it writes -------------------------------------------------------------------------- */

static const char *const adapter_files[] = { "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja",
                                             "value_head.safetensors", "rollouts.jsonl", NULL };
static const char *const full_files[] = { "value_head.safetensors", "rollouts.jsonl", NULL }; /* of a checkpoint too */

static pith__adapter_about about(const tuning *s) {
    pith__adapter_about a = { .base = s->o->model.path, .dropout = (double)s->o->dropout, .rslora = s->o->rslora };
    a.chat_template = s->written;
    return a;
}

static int write_beside(trainer *t, const char *folder, int is_checkpoint) {
    tuning *s = tuning_of(t);
    return s->lesson->beside ? s->lesson->beside(s, folder, is_checkpoint) : 0;
}

/* The adapter as a PEFT folder: OUT/NAME, or OUT itself. */
static int write_peft(trainer *t, const char *name) {
    const tuning *s = tuning_of(t);
    const pith__adapter_about a = about(s);
    const char *path = name ? trainer_path(t, name) : t->o->folder;
    pith_error e = { 0, "" };
    if (!path) return FAILED;
    if (pith__adapter_write_peft(s->adapter, &a, path, &e)) return report(&e);
    return write_beside(t, path, name && strcmp(name, "best") != 0);
}

/* Beside the state of a checkpoint the adapter itself, so that it can be tried. */
static int save_adapter(trainer *t, int64_t step) {
    char name[64];
    snprintf(name, sizeof name, "checkpoint-%lld", (long long)step);
    return write_peft(t, name);
}

static int keep_best_adapter(trainer *t) { return write_peft(t, "best"); }

static int load_best_adapter(trainer *t, const char **path) {
    tuning *s = tuning_of(t);
    pith_error e = { 0, "" };
    const char *best = trainer_path(t, "best");
    if (!best) return FAILED;
    if (access(best, F_OK) != 0) return 0;
    *path = best;
    if (!t->o->load_best) return 0;
    pith_adapter *a = pith__adapter_open(t->m, best, s->scores, &e);
    if (!a) return complain(FAILED, "%s", e.text);
    if (a->score && s->adapter->score) memcpy(s->adapter->score, a->score, (size_t)t->m->hyper.n_embd * sizeof *a->score);
    for (const pith__weight *w = t->m->weights; w; w = w->next) {
        const pith__pair *from = a->pair + w->index, *to = s->adapter->pair + w->index;
        if (!to->r || from->r != to->r) continue;
        memcpy(to->a, from->a, (size_t)to->r * w->tensor.cols * sizeof *to->a);
        memcpy(to->b, from->b, (size_t)to->r * w->tensor.rows * sizeof *to->b);
    }
    pith_adapter_close(a);
    return s->lesson->reload ? s->lesson->reload(s, best) : 0;
}

static int finish_adapter(trainer *t) {
    const tuning *s = tuning_of(t);
    const pith__adapter_about a = about(s);
    const char *gguf = trainer_path(t, "adapter.gguf"), *model = s->o->model.path;
    pith_error e = { 0, "" };
    if (!gguf) return FAILED;
    int code = write_peft(t, NULL);
    if (code) return code;
    if (s->scores) {
        fprintf(stderr, "%s/adapter_model.safetensors (PEFT, with the score head) written; to try it: "
                "run score %s --reward %s -f ROWS.jsonl\n", t->o->folder, model, t->o->folder);
        return 0;
    }
    if (pith__adapter_write_gguf(s->adapter, &a, gguf, &e)) return report(&e);
    const char *merged = t->o->qat ? trainer_path(t, "model.gguf") : NULL;
    if (t->o->qat && (!merged || (code = trainer_write_rounded(t, s->adapter, s->written, merged)))) return code ? code : FAILED;
    if (merged) fprintf(stderr, "%s written, base and LoRA as one, as it was learned\n", merged);
    fprintf(stderr, "%s/adapter_model.safetensors (PEFT) and adapter.gguf (llama.cpp) written; to try it: "
            "run %s --lora %s -m chat\n", t->o->folder, model, t->o->folder);
    return 0;
}

/* model.gguf, and of a model from a Hugging Face folder such a folder: OUT/model, but for GPT-2 and its like. */
static int finish_full(trainer *t) {
    const tuning *s = tuning_of(t);
    pith__progress watch = progress_of(&t->shown);
    int folder = t->m->store.is_folder && !pith__hf_elder_of(t->m->hyper.arch); /* theirs is not written */
    const char *gguf = trainer_path(t, "model.gguf"), *model = trainer_path(t, "model");
    if (!gguf || !model) return FAILED;
    if (t->o->qat) {
        int code = trainer_write_rounded(t, NULL, s->written, gguf);
        if (!code) fprintf(stderr, "%s written, as it was learned; to try it: run %s -m chat\n", gguf, gguf);
        return code;
    }
    pith__tensor *tensor = pith__learned_tensors(&t->params, &t->arena);
    if (!tensor) return complain(FAILED, "%s: no memory to write it", gguf);
    pith_error e = { 0, "" };
    pith__merge p = { .m = t->m, .learned = tensor, .n_learned = t->params.n_param, .chat_template = s->written,
                      .to = s->o->out_type ? pith__format_named(s->o->out_type) : NULL, .progress = &watch };
    if (pith__merge_gguf(&p, gguf, &e)) return report(&e);
    if (folder && pith__merge_folder(&p, model, &e)) return report(&e);
    int code = write_beside(t, t->o->folder, 0);
    if (code) return code;
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
    return pith__make_folder(path, &e) ? complain(FAILED, "%s", e.text) : write_beside(t, path, 1);
}

static const char *const adapter_outputs[] = { "adapter_model.safetensors", "adapter_config.json", "adapter.gguf",
                                               "value_head.safetensors", "train.log.jsonl", "train.svg", NULL };
static const char *const merged_outputs[] = { "adapter_model.safetensors", "adapter_config.json", "adapter.gguf", "model.gguf",
                                              "train.log.jsonl", "train.svg", NULL };
static const char *const full_outputs[] = { "model.gguf", "best.gguf", "value_head.safetensors", "train.log.jsonl",
                                            "train.svg", NULL };

/* How a LoRA, or all weights, are saved and written. */
static void choose_saving(objective *what, int full, int merged) {
    what->form = (checkpoint_form){ "/state.gguf", full ? full_files : adapter_files };
    what->outputs = full ? full_outputs : merged ? merged_outputs : adapter_outputs;
    what->n_model = full ? 1 : merged ? 4 : 3;
    what->save = full ? make_checkpoint_folder : save_adapter;
    what->keep_best = full ? trainer_keep_weights : keep_best_adapter;
    what->load_best = full ? trainer_load_weights : load_best_adapter;
    what->finish = full ? finish_full : finish_adapter;
    what->at_start = 1;
    if (!what->numbers) what->numbers = tuning_numbers;
    if (!what->measure) what->measure = tuning_measure;
}

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

pith_time time_now(void) {
    time_t now = time(NULL);
    const struct tm *tm = localtime(&now);
    if (!tm) return (pith_time){ 1970, 1, 1, 0, 0, 0 };
    return (pith_time){ tm->tm_year + 1900, tm->tm_mon + 1, tm->tm_mday, tm->tm_hour, tm->tm_min, tm->tm_sec };
}

int tuning_examples(tuning *s, pith__examples_plan *plan) {
    trainer *t = &s->t;
    const tuning_options *o = s->o;
    pith__progress watch = progress_of(&t->shown);
    pith_error e = { 0, "" };
    const pith_time now = time_now();
    int n_ctx = pith_model_shape(t->m)->n_ctx;
    size_t each = plan->pairs ? 2 : 1;
    plan->train = (pith__texts){ o->files.item, o->files.n };
    plan->eval = (pith__texts){ &t->o->eval, t->o->eval != NULL };
    plan->hold_out = t->o->hold_out < 0 ? HOLD_OUT : (double)t->o->hold_out;
    plan->form = s->form, plan->variables = o->variables, plan->now = &now;
    plan->max_length = o->max_length < n_ctx ? o->max_length : n_ctx;
    plan->keep_end = !strcmp(o->truncation, "keep_end");
    plan->parse_special = o->parse_special;
    if (pith__examples_open(&s->data, t->m, plan, &watch, &e)) return report(&e);
    if (t->o->hold_out < 0 && !t->o->eval && (s->data.n_train + s->data.n_eval) / each < ENOUGH) {
        pith__examples_close(&s->data); /* too few to give some away */
        plan->hold_out = 0;
        if (pith__examples_open(&s->data, t->m, plan, &watch, &e)) return report(&e);
    }
    plan->now = NULL;
    t->n_ctx = s->data.longest - 1;
    t->key = s->data.key;
    t->n_eval = (int)(s->data.n_eval / each);
    tuning_units(s, s->data.n_train / each);
    return 0;
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
    const tuning_options *o = s->o;
    pith_error e = { 0, "" };
    pith__lora_plan plan = { .r = o->r, .alpha = o->alpha, .rslora = o->rslora, .seed = t->o->seed };
    int code = read_targets(t, o->targets, &plan);
    if (code) return code;
    if (pith__gather(t->m, &e)) return complain(FAILED, "%s", e.text);
    s->adapter = o->init ? pith__adapter_open(t->m, o->init, s->scores, &e) : pith__adapter_new(t->m, &plan, &e);
    if (!s->adapter) return o->init ? complain(NOT_LOADED, "%s", e.text) : report(&e);
    if (pith__adapter_params(&t->params, s->adapter, t->m, &e)) return complain(FAILED, "%s", e.text);
    return trainer_qat(t, s->adapter);
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
    if (pith__params_new(&t->params, t->m, &e)) return complain(FAILED, "%s", e.text);
    return trainer_qat(t, NULL);
}

static int check_inputs(tuning *s) {
    trainer *t = &s->t;
    int code = trainer_check_input(t, t->o->eval);
    if (!code) code = trainer_check_input(t, s->o->model.path);
    for (int i = 0; i < s->o->files.n && !code; i++) code = trainer_check_input(t, s->o->files.item[i]);
    for (int i = 0; i < 4 && !code; i++) code = trainer_check_input(t, s->o->reads[i]);
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

void say_examples(const tuning *s) {
    const pith__examples *x = &s->data;
    say_some(s, &x->cut, s->scores ? "longer than --max_length, or the model's context: left out"
                                   : "cut to --max_length, or to the model's context");
    say_some(s, &x->skipped, "left out, for nothing in it counts");
    say_some(s, &x->equal, "left out, for both answers are equal");
    say_some(s, &x->endless, "without the template's end token, so nothing teaches to stop there");
    say_some(s, &x->look_alike, "with the name of a control token in its text, where it stays text");
    if (x->n_same) fprintf(stderr, "pith: %zu of the examples held out are also among those to learn from\n", x->n_same);
}

void say_learned(const tuning *s) {
    fprintf(stderr, "parameters   %zu learn%s\n", s->t.params.n, s->adapter ? ", the model's own stay as they are" : "");
}

size_t tuning_held(const tuning *s) {
    return s->adapter ? file_bytes(s->t.m) + 4 * s->t.params.n : 4 * s->t.params.n;
}

int tuning_forecast(tuning *s, double scored) {
    const pith__examples *x = &s->data;
    double each = x->n_train ? (double)x->n_token / (double)x->n_train : 0;
    return trainer_forecast(&s->t, s->adapter ? "model and adapter" : "weights", (double)tuning_held(s),
                            5 * each * (double)(x->n_train + x->n_eval), each * (scored + ASKED) + 2.0 * s->watch.n_text);
}

static int teach(tuning *s, const lesson *l) {
    trainer *t = &s->t;
    int code = check_inputs(s);
    if (!code && !t->o->dry_run) code = trainer_open_folder(t);
    if (!code) code = open_model(&s->o->model, 0, &t->m); /* rows of tokens need no vocabulary */
    if (!code && !pith__is_causal(t->m))
        code = complain(NOT_LOADED, "%s: is a %s, whose tokens see those after them: it has no next token to learn",
                        s->o->model.path, t->m->shape.arch);
    if (!code && t->m->has_no_output && !s->scores)
        code = complain(NOT_LOADED, "%s: has no output matrix, and so no next token to learn", s->o->model.path);
    if (!code) code = open_template(s);
    if (!code) code = l->data(s);
    if (!code) code = open_state(t);
    if (!code) code = s->o->full ? full_params(s) : new_adapter(s);
    if (!code && l->parameters) code = l->parameters(s);
    if (!code) code = trainer_memory(t, s->adapter ? file_bytes(t->m) : 4 * t->params.n);
    if (!code && s->adapter) pith__step_adapter(t->step, s->adapter);
    t->dropout = s->o->dropout;
    if (!code) code = trainer_plan(t);
    if (code) return code;
    t->untrained = t->what->learned ? (double)INFINITY : log((double)t->m->hyper.n_vocab);
    if (l->reference) code = l->reference(s);
    if (!code && t->o->resume) code = trainer_resume(t);
    int watched = t->eval_steps != 0 && !s->scores;
    const pith_adapter *watch = t->o->qat ? NULL : s->adapter;
    if (!code && watched) code = forgetting_open(&s->watch, t, watch, &s->o->model, s->o->forget);
    if (!code && l->ready) code = l->ready(s);
    if (!code) code = l->forecast(s);
    if (code || t->o->dry_run) return code;
    code = trainer_open_log(t);
    return code ? code : trainer_run(t);
}

int tuning_run(tuning *s, tuning_options *o, const objective *what, const lesson *l) {
    s->o = o;
    s->lesson = l;
    s->what = *what;
    s->state.path = "checkpoint";
    choose_saving(&s->what, o->full, o->train.qat != NULL);
    s->what.tried = s->scores ? "score MODEL --reward " : "MODEL --lora ";
    trainer_begin(&s->t, &o->train, &s->what, s);
    s->t.base = &s->state;
    int code = teach(s, l);
    if (code && code == stopped() && !s->t.log.file)
        fprintf(stderr, "stopped before the first step; to begin again, give the same command\n");
    pith__examples_close(&s->data);
    pith_template_free(s->form);
    forgetting_close(&s->watch);
    trainer_free(&s->t);
    pith_adapter_close(s->adapter);
    free(s->text);
    return code;
}
