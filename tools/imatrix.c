/* imatrix.c - run imatrix: which input channels of each matrix matter, learned from a text, for run quantize.
 *
 * The text goes through the model in chunks, as llama-imatrix has it: each of -c tokens, begun with BOS where the
 * vocabulary wants one; what is left at the end is not read. OUT is saved every few chunks, at the end, and when the user
 * stops; the same command then goes on at the chunk that it reached, to the same bytes as if it had not stopped. For
 * that, OUT names its text and model by hashes. */
#include "verbs.h"
#include "../train/train.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    model_choice model;
    const char *file, *tokens, *out;
    list in_files;
    int chunks, save_every, head, parse_special;
} imatrix_options;

typedef struct {
    const imatrix_options *o;
    const pith_model *m;
    pith__weighing *g;
    pith__imatrix *im;       /* its sums */
    pith_token *t;           /* (n) the text */
    int n, n_chunk;          /* chunks of it that are wanted */
    pith__str dataset[64];
    progress shown;
} imatrix_job;

/* ---- the text -------------------------------------------------------------------------------- */

static int read_imatrix_text(const imatrix_options *o, const pith_model *m, pith_token **t, int *n) {
    if (o->tokens) {
        int code = read_ids(o->tokens, t, n);
        for (int i = 0; !code && i < *n; i++)
            if ((*t)[i] >= pith_model_shape(m)->n_vocab)
                code = complain(BAD_DATA, "token %d is not below the vocabulary's %d", (int)(*t)[i], pith_model_shape(m)->n_vocab);
        return code;
    }
    const char *name = !strcmp(o->file, "-") ? "standard input" : o->file;
    char *text = NULL;
    size_t size = 0;
    int code = read_text(o->file, &text, &size);
    if (!code) code = clean_text(name, text, &size);
    if (!code && !size) code = complain(BAD_DATA, "%s: is empty", name);
    if (!code) code = encode_text(m, text, size, PITH_BOS | (o->parse_special ? PITH_SPECIAL : 0), t, n);
    free(text);
    return code;
}

static int cut_chunks(imatrix_job *j, model_choice *c) {
    enum { CHUNK = 512 };
    int whole = pith_model_shape(j->m)->n_ctx;
    if (!c->context.n_ctx) c->context.n_ctx = whole < CHUNK ? whole : CHUNK;
    if (c->context.n_ctx > CHUNK) c->context.n_batch = CHUNK; /* at once: so much memory */
    else c->context.n_batch = c->context.n_ctx;
    j->n_chunk = j->n / c->context.n_ctx;
    if (!j->n_chunk)
        return complain(BAD_DATA, "%s: %d tokens, need %d for a chunk (-c)", j->o->tokens ? "--tokens" : j->o->file, j->n,
                        c->context.n_ctx);
    if (j->o->chunks && j->o->chunks < j->n_chunk) j->n_chunk = j->o->chunks;
    return 0;
}

/* ---- where to go on -------------------------------------------------------------------------- */

static int64_t positive(uint64_t hash) { return (int64_t)(hash >> 1) | 1; }

/* Of all that the sums depend on but the model. */
static int64_t hash_text(const imatrix_job *j) {
    const int how[] = { j->o->model.context.n_ctx, j->o->head };
    uint64_t x = pith__hash(0, how, sizeof how);
    x = pith__hash(x, j->t, (size_t)j->n * sizeof *j->t);
    for (int i = 0; i < j->o->in_files.n; i++) x = pith__hash(x, j->o->in_files.item[i], strlen(j->o->in_files.item[i]));
    return positive(x);
}

static int add_imatrix(imatrix_job *j, const pith__imatrix *im) {
    enum { MOST = sizeof j->dataset / sizeof *j->dataset - 1 };
    pith_error e = { 0, "" };
    for (size_t i = 0; i < im->n_dataset && j->im->n_dataset < MOST; i++) {
        char *name = pith__arena_text(&j->im->store.arena, im->dataset[i].p, im->dataset[i].n);
        if (!name) return complain(FAILED, "%s: no memory", im->store.path);
        j->dataset[j->im->n_dataset++] = (pith__str){ name, im->dataset[i].n };
    }
    return pith__weigh_add(j->g, im, &e) ? report(&e) : 0;
}

static int add_in_files(imatrix_job *j) {
    int code = 0;
    for (int i = 0; i < j->o->in_files.n && !code; i++) {
        pith__imatrix im;
        pith_error e = { 0, "" };
        if (pith__imatrix_read(&im, j->o->in_files.item[i], &e)) return complain(BAD_DATA, "%s", e.text);
        code = add_imatrix(j, &im);
        pith__imatrix_free(&im);
    }
    return code;
}

/* OUT is there. What a run that was stopped left is gone on with; nothing else is written over. */
static int go_on_with(imatrix_job *j) {
    pith__imatrix im;
    pith_error e = { 0, "" };
    if (pith__imatrix_read(&im, j->o->out, &e))
        return complain(USAGE, "%s: is there, and is no imatrix: need another place for it", j->o->out);
    int code = im.text == j->im->text && im.model == j->im->model ? add_imatrix(j, &im) : complain(USAGE,
               "%s: is there, and is of another text, model or -c: need another place, or --in-file %s to add to it", j->o->out,
               j->o->out);
    j->im->done = im.done;
    pith__imatrix_free(&im);
    if (!code && j->im->done < j->n_chunk)
        note(j->o->model.quiet, "%s: going on at chunk %lld of %d", j->o->out, (long long)j->im->done + 1, j->n_chunk);
    return code;
}

static int is_dat(const char *path) {
    size_t n = strlen(path);
    return n > 4 && !strcmp(path + n - 4, ".dat");
}

static int begin_sums(imatrix_job *j) {
    j->im->dataset = j->dataset;
    j->im->chunk_size = j->o->model.context.n_ctx;
    j->im->text = hash_text(j);
    j->im->model = positive(pith__model_hash(j->m));
    if (pith__path_kind(j->o->out) == 'f' && !is_dat(j->o->out)) return go_on_with(j);
    int code = add_in_files(j);
    const char *name = j->o->tokens ? "--tokens" : j->o->file;
    if (!code) j->dataset[j->im->n_dataset++] = pith__str_of(name);
    return code;
}

/* ---- the run --------------------------------------------------------------------------------- */

static int save_sums(const imatrix_job *j) {
    pith_error e = { 0, "" };
    int code = is_dat(j->o->out) ? pith__imatrix_write_dat(j->im, j->o->out, &e) : pith__imatrix_write(j->im, j->o->out, &e);
    return code ? report(&e) : 0;
}

static int read_chunks(imatrix_job *j) {
    const pith__vocab *v = &j->m->store.vocab;
    int code = 0, saved = (int)j->im->done;
    while (!code && j->im->done < j->n_chunk && !stopped()) {
        pith_error e = { 0, "" };
        pith_token *t = j->t + (size_t)j->im->done * (size_t)j->im->chunk_size, kept = t[0];
        show_progress(&j->shown, (size_t)j->im->done, (size_t)j->n_chunk);
        if (v->add_bos && v->bos >= 0 && !j->o->tokens) t[0] = v->bos;
        if (pith__weigh_chunk(j->g, t, (int)j->im->chunk_size, &e)) return report(&e);
        t[0] = kept;
        j->im->done++, j->im->n_chunk++;
        if (j->im->done - saved >= j->o->save_every && j->im->done < j->n_chunk) code = save_sums(j), saved = (int)j->im->done;
    }
    show_progress(&j->shown, (size_t)j->n_chunk, (size_t)j->n_chunk);
    if (!code) code = save_sums(j);
    return code ? code : stopped();
}

/* Experts that no token came to: their channels count alike. */
static void say_sums(const imatrix_job *j) {
    size_t n_none = 0, n_expert = 0;
    for (size_t i = 0; i < j->im->n; i++) {
        const pith__inputs *in = &j->im->of[i];
        for (size_t m = 0; m < in->n_mat && in->n_mat > 1; m++) n_expert++, n_none += !(in->count[m] > 0);
    }
    fprintf(stderr, "%s: %lld chunks of %lld tokens, %zu tensors\n", j->o->out, (long long)j->im->n_chunk,
            (long long)j->im->chunk_size, j->im->n);
    if (n_none) fprintf(stderr, "of %zu matrices of experts %zu had no token: need more text\n", n_expert, n_none);
    if (j->im->done < j->n_chunk && !is_dat(j->o->out))
        fprintf(stderr, "stopped at chunk %lld of %d: the same command goes on\n", (long long)j->im->done, j->n_chunk);
}

static int make_imatrix(imatrix_job *j, imatrix_options *o) {
    pith_error e = { 0, "" };
    int code = read_imatrix_text(o, j->m, &j->t, &j->n);
    if (!code) code = cut_chunks(j, &o->model);
    if (code) return code;
    double size = (double)pith__session_bytes(j->m, &o->model.context, PITH__KEEP_STREAM), memory = pith__may_use("").memory;
    if (size > memory) return complain(FAILED, "no memory for chunks of %d tokens: %.1f GB (-c)", o->model.context.n_ctx, size / 1e9);
    j->g = pith__weigh_new(j->m, &o->model.context, o->head, &e);
    if (!j->g) return report(&e);
    j->im = pith__weigh_sums(j->g);
    code = begin_sums(j);
    if (!code && j->im->done >= j->n_chunk) {
        note(o->model.quiet, "%s: has all %d chunks already", o->out, j->n_chunk);
        return 0;
    }
    if (!code) code = read_chunks(j);
    if (!code || code == stopped()) say_sums(j);
    return code;
}

int verb_imatrix(int argc, char **argv) {
    static const char usage[] =
        "run imatrix MODEL -f TEXT -o OUT.gguf [options]\n"
        "which input channels of each matrix matter: the mean square of what comes into them while the model reads TEXT,\n"
        "for run quantize --imatrix. Experts are counted apart. OUT is what llama-imatrix writes: in GGUF, or, by the name\n"
        "OUT.dat, as older programs have it. The text is read in chunks of -c tokens (512). A run that was stopped or killed\n"
        "goes on by the same command, at the chunk that OUT has, to the same bytes.\n\n";
    imatrix_options o = { .save_every = 10 };
    imatrix_job j = { .o = &o, .shown = { "chunk", 0, 0 } };
    pith_model *m = NULL;
    const flag flags[] = {
        { 'f', "file", TEXT, &o.file, 0, 0, "FILE", "the text; - reads standard input" },
        { 0, "tokens", TEXT, &o.tokens, 0, 0, "IDS", "tokens instead, taken as they are: 1,5,9" },
        { 'o', "output", TEXT, &o.out, 0, 0, "OUT", "what is written" },
        { 0, "in-file", LIST, &o.in_files, 0, 0, "FILE", "begin with the sums of this imatrix of the model; may be given often" },
        { 0, "chunks", INTEGER, &o.chunks, 0, INT32_MAX, "N", "read no more than N chunks (0: all)" },
        { 0, "output-frequency", INTEGER, &o.save_every, 1, INT32_MAX, "N", "save OUT every N chunks (10)" },
        { 0, "process-output", SWITCH, &o.head, 0, 0, "", "of the output matrix too" },
        { 0, "parse-special", SWITCH, &o.parse_special, 0, 0, "", "read <|names|> in the text as special tokens" },
        MODEL_FLAGS(o.model),
        { 'q', "quiet", SWITCH, &o.model.quiet, 0, 0, "", "no notes" },
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    int code = read_flags(argc, argv, usage, flags, &o.model.path);
    if (code != GO_ON) return code;
    if (!o.file == !o.tokens) return complain(USAGE, "imatrix needs a text: one of -f FILE, --tokens 1,5,9");
    if (!o.out || !*o.out) return complain(USAGE, "imatrix needs a place to write to: -o OUT.gguf");
    if (o.model.path && same_file(o.out, o.model.path))
        return complain(USAGE, "-o %s: is the model itself, need another place", o.out);
    if (o.file && same_file(o.out, o.file)) return complain(USAGE, "-o %s: is the text itself, need another place", o.out);
    code = open_model(&o.model, !o.tokens, &m);
    j.m = m;
    if (!code) code = make_imatrix(&j, &o);
    pith__weigh_free(j.g);
    free(j.t);
    pith_close(m);
    return code;
}
