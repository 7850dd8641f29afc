/* merge.c - run merge: adapters become part of the model's own weights, in a new file.
 *
 * The file is opened again as any model is, and is held against the base with its adapters: per tensor, what the
 * merge changed and what of that outlives the rounding, and on a text, how far what the two expect is apart. */
#include "probes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    model_choice model;
    const char *out, *type, *file;
} merge_options;

/* ---- the report ------------------------------------------------------------------------------ */

/* The part of a delta that is left; none where rounding moves the weights by more. */
static double survives(const pith__merged *r) {
    double part = r->delta > 0 ? 1 - r->moved / r->delta : 1;
    return part < 0 ? 0 : part;
}

static double change(const pith__merged *r) { return r->weights > 0 ? sqrt(r->delta / r->weights) : 0; }

static void print_tensor(const pith__merged *r) {
    char types[40];
    snprintf(types, sizeof types, r->from == r->to ? "%s" : "%s -> %s", r->from->name, r->to->name);
    fprintf(stderr, "%-56s %-14s %9.2e %9.4f\n", r->name, types, change(r), survives(r));
}

/* A line a tensor; then what is to be known of all of them. */
static void print_report(const merge_options *o, const pith__merge *plan) {
    pith__merged all = { .weights = 0 };
    size_t n_lost = 0, n_read_only = 0;
    const pith__merged *first = NULL, *read_only = NULL;
    if (!o->model.quiet) fprintf(stderr, "%-56s %-14s %9s %9s\n", "tensor", "type", "change", "survives");
    for (size_t i = 0; i < plan->n_report; i++) {
        const pith__merged *r = &plan->report[i];
        if (!o->model.quiet) print_tensor(r);
        all.weights += r->weights, all.delta += r->delta, all.moved += r->moved;
        if (!(survives(r) >= 0.5) && n_lost++ == 0) first = r;
        if (!r->from->encode && !plan->to && n_read_only++ == 0) read_only = r;
    }
    fprintf(stderr, "%zu tensors merged: the weights change by %.2e of their norm; %.1f %% of that survives rounding\n",
            plan->n_report, change(&all), 100 * survives(&all));
    if (n_read_only)
        fprintf(stderr, "%zu of them are F16 now: %s is only read here (%s)\n", n_read_only, read_only->from->name,
                read_only->name);
    if (n_lost)
        fprintf(stderr, "of %zu tensor%s less than half survives (%s): the steps of %s are too coarse for it; need"
                " --outtype f16, or the adapter apart (--lora)\n", n_lost, n_lost > 1 ? "s" : "", first->name,
                first->to->name);
}

/* ---- the drift ------------------------------------------------------------------------------- */

enum { TEXT_TOKENS = 1024, FILE_TOKENS = 1 << 16 }; /* at most */

/* The text as tokens of both: where they differ, the file's vocabulary lacks something. */
static int text_of(const merge_options *o, const pith_model *m, const pith_model *merged, pith_token **t, int *n) {
    int most = o->file ? FILE_TOKENS : TEXT_TOKENS, n_other;
    pith_token *other;
    int code = general_tokens(m, o->file, most, t, n);
    if (!code) code = general_tokens(merged, o->file, most, &other, &n_other);
    if (code) return code;
    if (n_other != *n || memcmp(*t, other, (size_t)*n * sizeof **t) != 0)
        note(0, "%s: cuts the text into other tokens than %s does", o->out, m->store.path);
    free(other);
    return 0;
}

static void print_drift(const pith__drift_sums *s) {
    double n = (double)s->n;
    fprintf(stderr, "on %lld tokens: mean KL(base + adapter || merged) %.3e, the same token is likeliest in %.2f %%,"
            " perplexity %.4f and %.4f\n", (long long)s->n, s->kl / n, 100 * (double)s->same_top / n, exp(s->nll_a / n),
            exp(s->nll_b / n));
}

static int measure_drift(merge_options *o, const pith_model *m, const pith_model *merged, const pith_token *t, int n) {
    enum { WINDOW = 512 };
    pith_error e = { 0, "" };
    progress shown = { "comparing", 0, 0 };
    pith__progress watch = progress_of(&shown);
    int most = pith_model_shape(m)->n_ctx < WINDOW ? pith_model_shape(m)->n_ctx : WINDOW;
    model_choice other = o->model;
    pith__drift_plan plan = { .begin = pith__document_token(&m->store.vocab), .window = most - 1, .progress = &watch };
    pith__drift_sums all = { .n = 0 };
    other.context.n_adapter = 0;
    int code = open_session(m, &o->model, most, &plan.a);
    if (!code) code = open_session(merged, &other, most, &plan.b);
    if (!code && pith__drift(&plan, t, n, NULL, &all, &e)) code = report(&e);
    if (!code && all.n)
        print_drift(&all);
    pith_session_free(plan.a);
    pith_session_free(plan.b);
    return code;
}

static int compare(merge_options *o, const pith_model *m) {
    pith_error e = { 0, "" };
    pith_options options = o->model.options;
    options.tokenizer = NULL; /* it is in the file now */
    pith_model *merged = pith_open(o->out, &options, &e);
    pith_token *t = NULL;
    int n = 0;
    if (!merged) return complain(FAILED, "%s", e.text);
    int code = m->tokenizer && merged->tokenizer ? text_of(o, m, merged, &t, &n) : 0;
    if (!code && n) code = measure_drift(o, m, merged, t, n);
    free(t);
    pith_close(merged);
    return code;
}

/* ---- the verb -------------------------------------------------------------------------------- */

static int is_gguf(const char *path) {
    size_t n = strlen(path);
    return n > 5 && !strcmp(path + n - 5, ".gguf");
}

/* The files that are read stay what they are. */
static int check_out(const merge_options *o) {
    char config[4096];
    for (int i = 0; i < o->model.context.n_adapter; i++)
        if (same_file(o->out, o->model.adapter[i]->store.path))
            return complain(USAGE, "-o %s: is the adapter itself, need another place", o->out);
    if (o->model.path && same_file(o->out, o->model.path))
        return complain(USAGE, "-o %s: is the model itself, need another place", o->out);
    snprintf(config, sizeof config, "%s/adapter_config.json", o->out);
    if (!is_gguf(o->out) && pith__path_kind(config))
        return complain(USAGE, "-o %s: is the folder of an adapter, which would be added to the merged model again:"
                        " need another place", o->out);
    return 0;
}

static pith__str template_of(const merge_options *o) { /* the last one that an adapter was taught with */
    pith__str s = { NULL, 0 };
    for (int i = 0; i < o->model.context.n_adapter; i++)
        if (o->model.adapter[i]->store.vocab.chat_template.n) s = o->model.adapter[i]->store.vocab.chat_template;
    return s;
}

static int merge(merge_options *o, const pith_model *m, const pith__format *to) {
    pith_error e = { 0, "" };
    pith__arena arena = { NULL, 0 };
    pith__adapted by = { .n = o->model.context.n_adapter };
    progress shown = { "merging", 0, 0 };
    pith__progress watch = progress_of(&shown);
    char *merged = NULL;
    for (int i = 0; i < by.n; i++) by.of[i].adapter = o->model.adapter[i], by.of[i].scale = o->model.scale[i];
    pith__merge plan = { .m = m, .by = &by, .to = to, .chat_template = template_of(o), .progress = &watch };
    int code = pith__merge_name(m, &by, &merged, &arena, &e) ? report(&e) : 0;
    plan.merged = merged;
    plan.report = calloc(2 * m->store.n_tensor, sizeof *plan.report);
    if (!code && !plan.report) code = complain(FAILED, "no memory for the report");
    if (!code && (is_gguf(o->out) ? pith__merge_gguf(&plan, o->out, &e) : pith__merge_folder(&plan, o->out, &e)))
        code = report(&e);
    if (!code) print_report(o, &plan);
    free(plan.report);
    pith__arena_free(&arena);
    return code ? code : compare(o, m);
}

int verb_merge(int argc, char **argv) {
    static const char usage[] =
        "run merge MODEL --lora A[,B] -o OUT [options]\n"
        "a model that has the adapters in its own weights. OUT is a .gguf, or, of a Hugging Face folder, another\n"
        "folder, by its name. Sums are made in float64 and rounded once to the type of the weights, or to --outtype;\n"
        "weights of a type that is only read here become F16. On stderr then stands for each tensor how much it\n"
        "changed, as a part of its norm, and what part of the change survives rounding; and how far, on a text, the file\n"
        "is from the model with its adapters.\n\n";
    merge_options o = { .type = NULL };
    const flag flags[] = {
        { 'o', "output", TEXT, &o.out, 0, 0, "OUT", "what is written: a .gguf, else a folder" },
        { 0, "outtype", TEXT, &o.type, 0, 0, "TYPE", "of the matrices: f32, f16, bf16, q8_0, ... (each as it is)" },
        { 'f', "file", TEXT, &o.file, 0, 0, "FILE", "a text to compare on (a little one that is built in)" },
        LORA_FLAGS(o.model),
        MODEL_FLAGS(o.model),
        { 'q', "quiet", SWITCH, &o.model.quiet, 0, 0, "", "without the line for each tensor" },
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    pith_model *m = NULL;
    int code = read_flags(argc, argv, usage, flags, &o.model.path);
    if (code != GO_ON) return code;
    if (!o.out) return complain(USAGE, "merge needs a place to write to: -o OUT.gguf, or a folder");
    if (!o.model.lora.n && !o.model.lora_scaled.n) return complain(USAGE, "merge needs an adapter: --lora PATH");
    const pith__format *to = o.type ? pith__format_named(o.type) : NULL;
    if (o.type && (!to || !to->encode))
        return complain(USAGE, "--outtype is '%s', need one of: f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k "
                        "q4_k q5_k q6_k iq4_nl iq4_xs mxfp4", o.type);
    code = open_adapted(&o.model, 0, &m);
    if (!code) code = check_out(&o);
    if (!code) code = merge(&o, m, to);
    close_model(&o.model, m);
    return code;
}
