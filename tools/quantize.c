/* quantize.c - run quantize: a model in a smaller number format, as a .gguf file.
 *
 * Which format each tensor gets is decided in requant.c; merge.c writes the file, row by row. */
#include "verbs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    model_choice model;
    const pith__format *folder; /* what a Hugging Face folder is to have; NULL: OUT is a .gguf */
    const char *imatrix;
    pith__imatrix weights;
    const char *out, *type, *output_type, *embedding_type, *split_size;
    list files, typed;       /* OUT and TYPE; --tensor-type */
    int dry;
    pith__requant q;
    struct pith__typed pattern[sizeof(((list *)0)->item) / sizeof(const char *)];
    pith__arena arena;
    size_t n_weight, before, after; /* of all tensors: numbers, bytes */
    struct {                 /* (n_odd) formats that rows are no whole blocks of */
        const pith__format *want, *to;
        char first[PITH__HF_NAME];
        int n;
    } odd[8];
    int n_odd;
    int n_unweighed;         /* matrices of layers that are rounded, and that the imatrix does not have */
    char unweighed[PITH__HF_NAME]; /* the first */
    int n_part;
} quantize_options;

/* ---- what is said ------------------------------------------------------------------------------------------ */

/* "32000 x 4096" */
static const char *shape_text(const pith__tensor *t, char *to, size_t room) {
    int n = 0;
    for (int d = 0; d < t->n_dim && n < (int)room; d++)
        n += snprintf(to + n, room - (size_t)n, "%s%llu", d ? " x " : "", (unsigned long long)t->shape[d]);
    return to;
}

static void count_odd(quantize_options *o, pith__str name, const pith__format *to, const pith__format *want) {
    int i = 0;
    while (i < o->n_odd && (o->odd[i].want != want || o->odd[i].to != to)) i++;
    if (i == sizeof o->odd / sizeof *o->odd) return;
    if (i == o->n_odd) snprintf(o->odd[i].first, sizeof o->odd[i].first, "%.*s", (int)name.n, name.p), o->n_odd++;
    o->odd[i].want = want, o->odd[i].to = to;
    o->odd[i].n++;
}

static void count_unweighed(quantize_options *o, const pith__out *of) {
    pith__str name = of->tensor->name;
    if (!o->q.imatrix || of->importance || of->to->length == 1 || pith__layer_of(name) < 0) return;
    if (!o->n_unweighed++) snprintf(o->unweighed, sizeof o->unweighed, "%.*s", (int)name.n, name.p);
}

static void tell_tensor(void *data, const pith__out *o, const pith__format *want) {
    quantize_options *q = data;
    const pith__tensor *t = o->tensor;
    size_t before = pith__tensor_bytes(t), after = pith__out_bytes(o);
    char shape[100];
    q->before += before, q->after += after, q->n_weight += t->rows * t->cols;
    if (o->part >= q->n_part) q->n_part = o->part + 1;
    if (q->dry) printf("%-36.*s %-20s %7s -> %-7s %9.2f -> %9.2f MB\n", (int)t->name.n, t->name.p,
                       shape_text(t, shape, sizeof shape), t->format->name, o->to->name, (double)before / 1e6, (double)after / 1e6);
    if (o->to != want) count_odd(q, t->name, o->to, want);
    count_unweighed(q, o);
}

/* "269.10 MB, 16.00 bits a weight" */
static const char *size_text(const quantize_options *o, size_t bytes, char *to, size_t room) {
    double each = o->n_weight ? 8.0 * (double)bytes / (double)o->n_weight : 0;
    int kilo = bytes < 1000000;
    snprintf(to, room, "%.2f %s, %.2f bits a weight", (double)bytes / (kilo ? 1e3 : 1e6), kilo ? "kB" : "MB", each);
    return to;
}

static void print_sizes(const quantize_options *o) {
    char before[80], after[80];
    for (int i = 0; i < o->n_odd; i++)
        note(o->model.quiet, "%d tensor%s %s instead of %s, as the rows are no whole blocks of it (%s)", o->odd[i].n,
             o->odd[i].n > 1 ? "s are" : " is", o->odd[i].to->name, o->odd[i].want->name, o->odd[i].first);
    if (o->n_unweighed)
        note(o->model.quiet, "in %d tensor%s all columns count alike, as the imatrix has nothing of them (%s)", o->n_unweighed,
             o->n_unweighed > 1 ? "s" : "", o->unweighed);
    fprintf(o->dry ? stdout : stderr, "%s: %s -> %s\n", o->dry ? o->type : o->out, size_text(o, o->before, before, sizeof before),
            size_text(o, o->after, after, sizeof after));
}

/* ---- flags -------------------------------------------------------------------------------------------------- */

/* "PATTERN=TYPE"; names are in small letters, as llama-quantize makes the pattern's. */
static int read_typed(quantize_options *o) {
    pith_error e = { 0, "" };
    for (int i = 0; i < o->typed.n; i++) {
        const char *item = o->typed.item[i], *equals = strrchr(item, '=');
        if (!equals || equals == item) return complain(USAGE, "--tensor-type is '%s', need PATTERN=TYPE", item);
        int code = format_named("--tensor-type", equals + 1, &o->pattern[i].to);
        if (code) return code;
        char *small = pith__arena_text(&o->arena, item, (size_t)(equals - item));
        if (!small) return complain(FAILED, "no memory for --tensor-type");
        for (char *p = small; *p; p++)
            if (*p >= 'A' && *p <= 'Z' && (p == small || p[-1] != '\\')) *p = (char)(*p - 'A' + 'a');
        o->pattern[i].pattern = pith__pattern(pith__str_of(small), &o->arena, &e);
        if (!o->pattern[i].pattern) return complain(USAGE, "--tensor-type '%s': %s", item, e.text);
    }
    o->q.typed = o->pattern, o->q.n_typed = (size_t)o->typed.n;
    return 0;
}

/* "300M", "2G" */
static int read_split_size(quantize_options *o) {
    const char *s = o->split_size;
    size_t n = s ? strlen(s) : 0;
    char digits[16], unit = n ? s[n - 1] : 0;
    long long x;
    if (!s) return 0;
    snprintf(digits, sizeof digits, "%.*s", n > 1 && n < sizeof digits ? (int)n - 1 : 0, s);
    if ((unit != 'M' && unit != 'G') || !read_integer(digits, 1, 1000000, &x))
        return complain(USAGE, "--split-max-size is '%s', need a whole number and M or G", s);
    if (o->q.keep_split) return complain(USAGE, "--keep-split and --split-max-size both say where to split");
    o->q.split_bytes = (size_t)x * (unit == 'G' ? 1000000000u : 1000000u);
    return 0;
}

static int is_gguf_path(const char *path) {
    size_t n = strlen(path);
    return n > 5 && !strcmp(path + n - 5, ".gguf");
}

/* OUT is a folder, for which TYPE, or --outtype, is one of floats. */
static int read_folder_type(quantize_options *o) {
    const pith__format *f = pith__format_named(o->type);
    o->folder = f && f->length == 1 && f->encode ? f : NULL;
    if (!o->folder) return complain(USAGE, "%s: is to be a Hugging Face folder, as it does not end in .gguf: need the type f32,"
                                    " f16 or bf16, not '%s'", o->out, o->type);
    return o->dry ? complain(USAGE, "--dry-run is of a .gguf") : 0;
}

/* What follows IN: OUT TYPE, or, where nothing is written, TYPE. */
static int read_files(quantize_options *o) {
    list *f = &o->files;
    if (o->type && f->n < 32) f->item[f->n++] = o->type; /* --outtype */
    if (f->n > 2) return complain(USAGE, "'%s' is one word too many: quantize needs IN OUT.gguf TYPE", f->item[2]);
    if (!o->model.path || f->n + o->dry < 2)
        return complain(USAGE, "quantize needs a model, a place to write to, and a type: run quantize IN OUT.gguf Q4_K_M");
    o->out = f->n == 2 ? f->item[0] : NULL;
    o->type = f->item[f->n - 1];
    if (o->out && !is_gguf_path(o->out)) return read_folder_type(o);
    return mix_named("TYPE", o->type, &o->q.mix);
}

/* ---- the verb ------------------------------------------------------------------------------------------------ */

/* A checkpoint of llama2.c has its vocabulary beside it. */
static int open_with_vocabulary(model_choice *c, pith_model **m) {
    static const char name[] = "tokenizer.bin";
    int code = open_model(c, 0, m);
    if (code || !(*m)->store.llama2c || (*m)->store.vocab.model != PITH__NONE) return code;
    if (!pith__path_kind(name)) return note(c->quiet, "%s: its vocabulary is a file of its own, -z FILE puts it in", c->path), 0;
    pith_close(*m);
    c->options.tokenizer = name;
    return open_model(c, 0, m);
}

/* 1: the file is one of those that the model is read from. */
static int is_read(quantize_options *o, const pith__store *s, const char *path) {
    enum { TAIL = 20 }; /* -00001-of-00003.gguf */
    int same = same_file(path, o->model.path), gguf = !s->is_folder && !s->llama2c;
    size_t n = strlen(o->model.path);
    char *base = gguf && s->n_file > 1 && n > TAIL ? pith__arena_text(&o->arena, o->model.path, n - TAIL) : NULL;
    for (int k = 1; base && k < s->n_file; k++) {
        char *part = pith__part_path(base, k, s->n_file);
        same |= part && same_file(path, part);
        free(part);
    }
    return same;
}

static int check_out(quantize_options *o, const pith_model *m) {
    if (o->imatrix && same_file(o->out, o->imatrix)) return complain(USAGE, "%s: is the imatrix itself, need another name to write to", o->out);
    for (int i = 0; i < o->n_part; i++) {
        char *path = pith__part_path(o->out, i, o->n_part);
        int code = !path ? complain(FAILED, "no memory to write it")
                 : is_read(o, &m->store, path) ? complain(USAGE, "%s: is the model itself, need another name to write to", path) : 0;
        free(path);
        if (code) return code;
    }
    return 0;
}

static int read_imatrix(quantize_options *o) {
    pith_error e = { 0, "" };
    if (!o->imatrix) return 0;
    if (o->folder) return complain(USAGE, "--imatrix is of blocks, not of a folder's floats");
    if (pith__imatrix_read(&o->weights, o->imatrix, &e)) return report(&e);
    o->q.imatrix = &o->weights, o->q.imatrix_path = o->imatrix;
    return 0;
}

/* What each tensor becomes; then, unless this is all that is asked for, the file. */
static int quantize_file(quantize_options *o, const pith_model *m) {
    pith_error e = { 0, "" };
    o->q.plan_only = 1;
    int code = pith__requant_gguf(&o->q, NULL, &e) ? report(&e) : 0;
    if (!code && !o->dry) code = check_out(o, m);
    o->q.plan_only = 0, o->q.tell = NULL;
    if (!code && !o->dry && pith__requant_gguf(&o->q, o->out, &e)) code = report(&e);
    return code;
}

static int write_back(quantize_options *o, const pith_model *m) {
    pith_error e = { 0, "" };
    if (is_read(o, &m->store, o->out)) return complain(USAGE, "%s: is the model itself, need another name to write to", o->out);
    return pith__requant_folder(&o->q, o->folder, o->out, &e) ? report(&e) : 0;
}

static int quantize(quantize_options *o, const pith_model *m) {
    progress shown = { "quantizing", 0, 0 };
    pith__progress watch = progress_of(&shown);
    o->q.m = m, o->q.progress = &watch, o->q.tell = tell_tensor, o->q.data = o;
    int code = o->folder ? write_back(o, m) : quantize_file(o, m);
    if (!code) print_sizes(o);
    return code ? code : flush_stdout();
}

int verb_quantize(int argc, char **argv) {
    static const char usage[] =
        "run quantize IN OUT.gguf TYPE [options]\n"
        "run quantize IN TYPE --dry-run\n"
        "run quantize IN FOLDER --outtype f16|bf16|f32\n"
        "a model with smaller numbers, vocabulary, chat template and all other keys as they were. IN is a Hugging Face\n"
        "folder, a .gguf or a llama2.c checkpoint. TYPE is a mix of number formats as llama-quantize has it: F32 F16 BF16\n"
        "Q8_0 Q6_K Q5_K_M Q5_K_S Q4_K_M Q4_K_S Q3_K_L Q3_K_M Q3_K_S Q2_K IQ4_NL IQ4_XS MXFP4 Q5_1 Q5_0 Q4_1 Q4_0.\n"
        "Q8_0 is next to exact, Q4_K_M is the usual choice; docs/NUMBERS.md says what each costs. IN stays as it is; OUT\n"
        "is there when all of it is. The last form is the way back: a Hugging Face folder, of a .gguf too.\n\n";
    static quantize_options o; /* zeros */
    const flag flags[] = {
        { 0, "imatrix", TEXT, &o.imatrix, 0, 0, "FILE",
          "how much each column matters, as run imatrix measures it (.gguf, or llama.cpp's older .dat)" },
        { 0, "dry-run", SWITCH, &o.dry, 0, 0, "", "write nothing; print what each tensor would become, and sizes" },
        { 0, "outtype", TEXT, &o.type, 0, 0, "TYPE", "the same as TYPE" },
        { 0, "pure", SWITCH, &o.q.pure, 0, 0, "", "no mix: the base format for all matrices" },
        { 0, "output-tensor-type", TEXT, &o.output_type, 0, 0, "TYPE", "the output matrix in this format (the mix's)" },
        { 0, "token-embedding-type", TEXT, &o.embedding_type, 0, 0, "TYPE", "the embedding in this format (the mix's)" },
        { 0, "tensor-type", LIST, &o.typed, 0, 0, "PATTERN=TYPE",
          "tensors whose names have the regular expression in them; may be given often, the first that fits counts" },
        { 0, "leave-output-tensor", SWITCH, &o.q.leave_output, 0, 0, "", "the output matrix stays as it is" },
        { 0, "allow-requantize", SWITCH, &o.q.requantize, 0, 0, "", "round even what has 6 bits or fewer already; that adds up" },
        { 0, "allow-nan", SWITCH, &o.q.allow_nan, 0, 0, "", "write what is no number or infinite too" },
        { 0, "keep-split", SWITCH, &o.q.keep_split, 0, 0, "", "in as many files as the model has: OUT-00001-of-00003.gguf" },
        { 0, "split-max-size", TEXT, &o.split_size, 0, 0, "N(M|G)", "in files with up to so many bytes of tensors" },
        { 'z', "tokenizer", TEXT, &o.model.options.tokenizer, 0, 0, "FILE", "of a llama2.c checkpoint (tokenizer.bin)" },
        { 0, "pretokenizer", TEXT, &o.model.options.pretokenizer, 0, 0, "NAME", "how text is cut into words, instead of what the file says" },
        { 0, "threads", INTEGER, &o.model.options.n_threads, 0, MOST_THREADS, "N", "threads (0: one a physical core)" },
        { 'q', "quiet", SWITCH, &o.model.quiet, 0, 0, "", "without notes" },
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    pith_model *m = NULL;
    int code = read_flags_and_files(argc, argv, usage, flags, &o.model.path, &o.files);
    if (code != GO_ON) return code;
    code = read_files(&o);
    if (!code) code = format_named("--output-tensor-type", o.output_type, &o.q.output);
    if (!code) code = format_named("--token-embedding-type", o.embedding_type, &o.q.embedding);
    if (!code) code = read_typed(&o);
    if (!code) code = read_split_size(&o);
    if (!code) code = open_with_vocabulary(&o.model, &m);
    if (!code) code = read_imatrix(&o);
    if (!code) code = quantize(&o, m);
    if (o.q.imatrix) pith__imatrix_free(&o.weights);
    pith_close(m);
    pith__arena_free(&o.arena);
    return code;
}
