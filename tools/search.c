/* search.c - run search: the lines of a text that are nearest in meaning to a question.
 *
 *     0.731245 TAB 17 TAB the line       score, number of the line from 1, the line: the best first
 *
 * Each line becomes a vector of the length 1, the question too, and the score is their dot product: the cosine. The
 * lines' vectors are kept beside the text, in TEXT.pith-index (index.c): a question then costs one text through the model
 * and one reading of the vectors. That all of it is still so is told by the lines' hashes, not by the files' times. */
#define _POSIX_C_SOURCE 200809L
#include "search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

typedef struct {
    model_choice model;
    const char *question, *file, *jsonl, *pooling, *prefix, *line_prefix;
    int k, dimensions;
} search_options;

typedef struct {
    const char *p;
    size_t n, number;        /* bytes, and which line of the file it is, from 1 */
} text_line;

typedef struct {
    const search_options *o;
    const pith_model *m;
    const char *name;        /* of the text, for messages */
    pith__file text;         /* all of it, in memory */
    int kept;                /* 1: it is a file, and beside it there is one with the vectors */
    text_line *line;         /* (n) */
    uint64_t *hash;          /* (n) of them */
    size_t n;
    const char *query, *passage; /* prompts, or NULL */
    unsigned pooling;        /* where --pooling says it */
    int dot;                 /* 1: the score is the dot product of vectors as they are, which the model's folder asks for */
    float *question;         /* (key.dim) */
    index_key key;
    int same_files;          /* 1: as the index says, so that they were not read for their hash */
    char *path;              /* of the index; NULL: none is kept */
    line_vectors vectors;
    size_t n_made, n_cut, first_cut; /* lines that went through the model; those too long, and the first of them */
    int nan_said;
} search;

/* ---- the text ---------------------------------------------------------------------------------------- */

static int add_line(search *k, const char *p, size_t n, size_t number, size_t *room) {
    if (n && p[n - 1] == '\r') n--;
    if (k->n == *room) {
        size_t more = *room ? 2 * *room : 1024;
        text_line *line = realloc(k->line, more * sizeof *line);
        if (line) k->line = line;
        uint64_t *hash = realloc(k->hash, more * sizeof *hash);
        if (hash) k->hash = hash;
        if (!line || !hash) return complain(FAILED, "%s: no memory for %zu lines", k->name, more);
        *room = more;
    }
    k->hash[k->n] = pith__hash(0, p, n);
    k->line[k->n++] = (text_line){ p, n, number };
    return 0;
}

static int is_blank(const char *p, size_t n) {
    while (n && (*p == ' ' || (*p >= '\t' && *p <= '\r'))) p++, n--;
    return !n;
}

/* The whole of it at once, and as it is now: a million lines one byte at a time would take longer than the search. */
static int read_file(search *k) {
    struct stat st;
    pith_error e = { 0, "" };
    char *text = NULL;
    k->name = strcmp(k->o->file, "-") ? k->o->file : "standard input";
    k->kept = k->name == k->o->file && !stat(k->o->file, &st) && S_ISREG(st.st_mode);
    if (k->kept) return pith__file_open(&k->text, k->o->file, 1, &e) ? complain(BAD_DATA, "%s", e.text) : 0;
    int code = read_text(k->o->file, &text, &k->text.size);
    k->text.data = (const uint8_t *)text;
    return code;
}

/* An empty line is a text as any other, but no JSON. */
static int read_lines(search *k) {
    int code = read_file(k);
    if (code) return code;
    const char *p = (const char *)k->text.data, *end = p + k->text.size, *next;
    size_t room = 0, number = 0;
    if (end - p >= 2 && (!memcmp(p, "\xff\xfe", 2) || !memcmp(p, "\xfe\xff", 2)))
        return complain(BAD_DATA, "%s: is UTF-16, need UTF-8", k->name);
    if (end - p >= 3 && !memcmp(p, "\xef\xbb\xbf", 3)) p += 3;
    for (; !code && p < end; p = next) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        if (!stop) stop = end;
        next = stop + 1;
        number++;
        if (!k->o->jsonl || !is_blank(p, (size_t)(stop - p))) code = add_line(k, p, (size_t)(stop - p), number, &room);
    }
    if (!code && !k->n) code = complain(BAD_DATA, "%s: has no lines", k->name);
    return code;
}

/* What of a line is the text; memory of a. */
static int text_of(const search *k, const text_line *line, pith__arena *a, pith_passage *to) {
    pith__str s = { line->p, line->n };
    int code = k->o->jsonl ? line_field(k->name, line->number, s, k->o->jsonl, a, &s) : 0;
    if (code) return code;
    *to = (pith_passage){ .text = s.p, .n_text = s.n };
    return 0;
}

/* ---- the model ----------------------------------------------------------------------------------------- */

/* sentence-transformers' encode_query takes the prompt query; encode_document the first of document, passage, corpus. */
static const char *prompt_of(const pith_model *m, const char *const *names) {
    const char *name, *text;
    for (; *names; names++)
        for (int i = 0; pith_prompt(m, i, &name, &text); i++)
            if (!strcmp(name, *names)) return text;
    return NULL;
}

/* What flags say, and how the model's folder wants vectors to be compared. */
static int choose_how(search *k) {
    static const char *const known[] = { "cosine", "dot" };
    const search_options *o = k->o;
    const pith__key *said = pith__store_key(&k->m->store, "pith.similarity");
    int code = o->pooling ? choose_pooling(o->pooling, &k->pooling) : 0;
    if (!code && o->pooling && !k->pooling) code = complain(USAGE, "--pooling is 'none', but a line has one vector");
    if (!code && o->prefix) code = choose_prompt(k->m, "--prefix", o->prefix, &k->query);
    if (!code && o->line_prefix) code = choose_prompt(k->m, "--line-prefix", o->line_prefix, &k->passage);
    if (code || !said || said->type != PITH__STRING || pith__str_is(said->s, known[0])) return code;
    k->dot = pith__str_is(said->s, known[1]);
    return k->dot ? 0 : complain(NOT_LOADED, "%s: similarity_fn_name is '%.*s', need cosine or dot: others are not built here",
                                 k->m->store.path, said->s.n < 20 ? (int)said->s.n : 20, said->s.p);
}

static pith_embedding how_to_embed(const search *k, const char *prompt) {
    pith_embedding how = pith_embedding_default(k->m);
    if (!k->dot) how.normalize = 1;
    if (k->o->pooling) how.pooling = k->pooling;
    how.dimensions = k->o->dimensions;
    how.prompt = prompt;
    if (k->o->model.context.n_ctx) how.n_ctx = k->o->model.context.n_ctx;
    return how;
}

static int open_embedder(const search *k, const pith_embedding *how, pith_embedder **e) {
    pith_error err = { 0, "" };
    *e = pith_embedder_new(k->m, &k->o->model.context, how, &err);
    return *e ? 0 : report(&err);
}

/* All that vectors depend on: a folder's files, or the model's file, have the weights, the vocabulary, and how to pool. */
static void make_key(search *k) {
    const pith__store *s = &k->m->store;
    pith_embedding how = how_to_embed(k, NULL);
    uint64_t x = adapters_hash(k->m, &k->o->model), stamp = x, known = 0;
    int settled = 1;
    for (int i = 0; i < s->n_file; i++) {
        settled &= s->file[i].stamp != 0;
        stamp = pith__hash(stamp, &s->file[i].stamp, sizeof s->file[i].stamp);
    }
    k->key.stamp = settled ? stamp | 1 : 0;
    k->same_files = k->path && settled && index_stamp(k->path, &known) == k->key.stamp;
    for (int i = 0; i < s->n_file && !k->same_files; i++) x = pith__hash(x, s->file[i].data, s->file[i].size);
    k->key.model = k->same_files ? known : x;
    x = pith__hash(0, k->passage ? k->passage : "", k->passage ? strlen(k->passage) : 0);
    x = pith__hash(x, k->o->jsonl ? k->o->jsonl : "", k->o->jsonl ? strlen(k->o->jsonl) : 0);
    const int numbers[] = { (int)how.pooling, how.dimensions, how.n_ctx, how.skip_prompt, how.normalize };
    k->key.how = pith__hash(x, numbers, sizeof numbers);
}

static int check_numbers(search *k, const float *x, size_t n) {
    for (size_t i = 0; i < n && !k->nan_said; i++)
        if (!isfinite(x[i])) warn_once(&k->nan_said, "the model computes NaN");
    return 0;
}

static int embed_question(search *k) {
    const search_options *o = k->o;
    char *text = NULL;
    size_t n = strlen(o->question);
    pith_embedder *e = NULL;
    pith_error err = { 0, "" };
    pith_embedding how = how_to_embed(k, k->query);
    int given = strcmp(o->question, "-"), code = given ? 0 : read_text("-", &text, &n);
    if (!code && text) code = clean_text("standard input", text, &n);
    while (!code && text && n && text[n - 1] == '\n') n--;
    if (!code) code = open_embedder(k, &how, &e);
    if (!code) {
        pith_passage question = { .text = text ? text : o->question, .n_text = n };
        k->key.dim = (size_t)pith_embedder_size(e);
        k->question = malloc(k->key.dim * sizeof *k->question);
        if (!k->question) code = complain(FAILED, "no memory for the question");
        else if (pith_embed(e, &question, 1, k->question, 1, &err) < 0) code = report(&err);
        else check_numbers(k, k->question, k->key.dim);
        if (!code && question.n_cut) note(0, "the question was cut: %d tokens were left off", question.n_cut);
    }
    pith_embedder_free(e);
    free(text);
    return code;
}

/* ---- the lines' vectors --------------------------------------------------------------------------------- */

enum { MOST_TEXTS = 1024 };

static void note_cuts(search *k, const pith_passage *text, const size_t *at, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (text[i].n_cut && !k->n_cut++) k->first_cut = k->line[at[i]].number;
}

/* n lines, of these numbers. */
static int embed_lines(search *k, pith_embedder *e, const size_t *at, size_t n, float *x) {
    static const pith__arena empty;
    pith_passage text[MOST_TEXTS];
    pith__arena a = empty;
    pith_error err = { 0, "" };
    int code = 0;
    for (size_t i = 0; i < n && !code; i++) code = text_of(k, &k->line[at[i]], &a, &text[i]);
    if (!code && pith_embed(e, text, (int)n, x, (int)n, &err) < 0) code = report(&err);
    for (size_t i = 0; i < n && !code; i++) vectors_set(&k->vectors, at[i], x + i * k->key.dim, k->m->kernels);
    if (!code) {
        check_numbers(k, x, n * k->key.dim);
        note_cuts(k, text, at, n);
        k->n_made += n;
    }
    pith__arena_free(&a);
    return code;
}

/* Those that are missing; ends early, without a complaint, when the user asks to stop. *done: how many. */
static int embed_missing(search *k, const size_t *missing, size_t n, size_t *done) {
    pith_embedding how = how_to_embed(k, k->passage);
    progress p = { "line", 0, 0 };
    size_t step = 16, count;
    pith_embedder *e = NULL;
    float *x = malloc(MOST_TEXTS * k->key.dim * sizeof *x);
    int code = x ? open_embedder(k, &how, &e) : complain(FAILED, "no memory for %d vectors", MOST_TEXTS);
    for (*done = 0; *done < n && !code && !stopped(); *done += count) {
        double start = seconds();
        show_progress(&p, *done, n);
        count = n - *done < step ? n - *done : step;
        if ((code = embed_lines(k, e, missing + *done, count, x))) break;
        double took = seconds() - start;
        if (took < 0.25 && step < MOST_TEXTS) step *= 2;
        if (took > 0.5 && step > 1) step /= 2;
    }
    show_progress(&p, n, n);
    pith_embedder_free(e);
    free(x);
    return code;
}

static void save_index(const search *k) {
    pith_error e = { 0, "" };
    if (k->path && index_save(&k->vectors, k->path, &k->key, &e)) note(0, "%s: the vectors are not kept", e.text);
}

/* Vectors of all lines: of those in k->vectors, what is still right. Whoever stops this finds done what was. */
static int make_vectors(search *k) {
    line_vectors old = k->vectors;
    size_t *missing = malloc(k->n * sizeof *missing), done = 0;
    long long n = PITH_EMEMORY;
    int code = missing ? vectors_new(&k->vectors, k->n, k->key.dim, k->hash) : PITH_EMEMORY;
    if (!code) n = vectors_take(&k->vectors, &old, k->m->kernels, missing);
    vectors_free(&old);
    if (n < 0) code = complain(FAILED, "no memory for %zu vectors of %zu numbers", k->n, k->key.dim);
    else code = embed_missing(k, missing, (size_t)n, &done);
    if (!code && !stopped()) save_index(k);
    else if (n > 0 && (done || (size_t)n < k->n)) {
        vectors_pack(&k->vectors, k->hash, missing + done, (size_t)n - done);
        save_index(k);
        if (k->path) note(0, "%s: has what was done, %zu of %zu lines", k->path, k->vectors.n, k->n);
    }
    free(missing);
    return code ? code : stopped();
}

/* 1: the index has a vector for each line, in their order. why: what is wrong with it, where there is one. */
static int find_index(search *k, char *why, size_t room) {
    pith_error e = { 0, "" };
    int code = index_open(&k->vectors, k->path, &k->key, &e);
    *why = 0;
    if (code && code != PITH_EIO) snprintf(why, room, "%s", e.text);
    if (code == PITH_EARCH) {
        note(0, "%s: left as it is, and the vectors are not kept", why);
        free(k->path), k->path = NULL;
    }
    if (!code && k->key.stamp && !k->same_files) index_restamp(k->path, k->key.stamp);
    return !code && k->vectors.n == k->n && !memcmp(k->vectors.line, k->hash, k->n * sizeof *k->hash);
}

/* Another run may be making the same index: it is waited for. -1: there is no lock to be had, as in a folder that is read-only. */
static int lock_index(const search *k, const char *lock) {
    pith_error e = { 0, "" };
    for (int fd, said = 0; !stopped(); said = 1) {
        if ((fd = pith__lock(lock, &e)) >= 0 || e.code != PITH_EFULL) return fd < 0 ? -1 : fd;
        if (!said) note(0, "%s: another run is making it, which is waited for", k->path);
        nanosleep(&(struct timespec){ 0, 200000000 }, NULL);
    }
    return -1;
}

/* What runs left behind that were killed. */
static void remove_parts(const search *k) {
    char *folder = strdup(k->path), *slash = folder ? strrchr(folder, '/') : NULL;
    const char *base = strrchr(k->path, '/') ? strrchr(k->path, '/') + 1 : k->path;
    char *begin = malloc(strlen(base) + 2);
    if (slash) slash[slash == folder] = 0;
    if (folder && begin) {
        sprintf(begin, "%s.", base);
        pith__remove_named(slash ? folder : ".", begin, ".part");
    }
    free(folder), free(begin);
}

static int find_vectors(search *k) {
    char why[300] = "";
    size_t room = k->path ? strlen(k->path) + 6 : 0;
    if (k->path && find_index(k, why, sizeof why)) return 0;
    if (!k->path) return make_vectors(k);
    char *lock = malloc(room);
    if (!lock) return complain(FAILED, "%s: no memory", k->path);
    snprintf(lock, room, "%s.lock", k->path);
    int fd = lock_index(k, lock), code = stopped();
    if (!code) vectors_free(&k->vectors);
    if (!code && !(k->path && find_index(k, why, sizeof why))) {
        if (*why && k->path) note(0, "%s: it is made anew", why);
        if (fd >= 0 && k->path) remove_parts(k);
        code = make_vectors(k);
    }
    if (fd >= 0) pith__remove(lock);
    pith__unlock(fd);
    free(lock);
    return code;
}

/* ---- searching -------------------------------------------------------------------------------------------- */

static int print_matches(const search *k, const pith_match *best, int n) {
    output out;
    int code = output_open(&out, NULL, NULL);
    for (int i = 0; i < n && !code; i++) {
        const text_line *line = &k->line[best[i].at];
        output_line(&out, "%.6f\t%zu\t", (double)best[i].score, line->number);
        output_text(&out, line->p, line->n);
        output_text(&out, "\n", 1);
    }
    return code ? code : output_close(&out, 1);
}

static int find_nearest(search *k, pith_match *best, int *n) {
    for (int again = 0;; again++) {
        const line_vectors *v = &k->vectors;
        pith__search s = { k->m->kernels, k->m->n_threads, v->x, v->n, v->dim, v->bits, k->question, 0 };
        double start = seconds();
        *n = pith__nearest(&s, k->o->k, best);
        if (*n < 0) return complain(FAILED, "no memory for the %d best", k->o->k);
        double took = seconds() - start;
        if (s.altered == s.n) {
            if (!k->o->model.quiet)
                fprintf(stderr, "%zu lines, %zu new; %zu vectors of %zu numbers in %.1f ms\n", k->n, k->n_made, s.n, s.dim,
                        1e3 * took);
            return 0;
        }
        if (again) return complain(FAILED, "%s: line %zu: its vector changes", k->name, k->line[s.altered].number);
        note(0, "%s: the vector of line %zu was altered: it is made anew", k->path, k->line[s.altered].number);
        int code = make_vectors(k);
        if (code) return code;
    }
}

static int search_text(search *k) {
    static const char *const query[] = { "query", NULL }, *const passage[] = { "document", "passage", "corpus", NULL };
    int n = 0, code = read_lines(k);
    if (code) return code;
    k->query = prompt_of(k->m, query);
    k->passage = prompt_of(k->m, passage);
    if ((code = choose_how(k))) return code;
    if (!k->m->pooling.said)
        note(k->o->model.quiet, "%s does not say how a text becomes a vector: it may not be made for search", k->m->store.path);
    if ((code = embed_question(k))) return code;
    size_t room = strlen(k->o->file) + 12;
    if (k->kept && !(k->path = malloc(room))) return complain(FAILED, "%s: no memory", k->name);
    if (k->kept) snprintf(k->path, room, "%s.pith-index", k->o->file);
    make_key(k);
    if ((code = find_vectors(k))) return code;
    size_t most = (size_t)k->o->k < k->n ? (size_t)k->o->k : k->n;
    pith_match *best = malloc(most * sizeof *best);
    if (!best) return complain(FAILED, "no memory for the %zu best", most);
    code = find_nearest(k, best, &n);
    if (!code) code = print_matches(k, best, n);
    if (!code && k->n_cut)
        fprintf(stderr, "warning: %zu of %zu texts were cut, the first is line %zu\n", k->n_cut, k->n_made, k->first_cut);
    free(best);
    return code;
}

int verb_search(int argc, char **argv) {
    static const char usage[] =
        "run search MODEL -i QUESTION -f LINES [options]\n"
        "the lines of a text that are nearest in meaning to a question, the nearest first: score, number of the line, line\n\n"
        "MODEL makes embeddings (run embed). The score is the cosine of the question's vector and the line's: 1 at most, or\n"
        "their dot product, where the model's folder says so (similarity_fn_name).\n"
        "Prompts of the model that are named query and document (or passage) are put before the question and the lines.\n"
        "The lines' vectors are kept beside the text, in LINES.pith-index: the next question is answered at once. What has\n"
        "changed of text, model or prompt is noticed; only lines that are new go through the model again.\n\n";
    search_options o = { .k = 5 };
    const flag flags[] = {
        { 'i', "prompt", TEXT, &o.question, 0, 0, "QUESTION", "what is asked; - reads it from standard input" },
        { 'f', "file", TEXT, &o.file, 0, 0, "LINES", "a text a line; - reads standard input, and keeps nothing" },
        { 'k', "top-k", INTEGER, &o.k, 1, INT32_MAX, "N", "lines to show (%)" },
        { 0, "jsonl", TEXT, &o.jsonl, 0, 0, "FIELD", "the lines are JSON objects, and this field has the text" },
        { 0, "pooling", TEXT, &o.pooling, 0, 0, "NAME", "cls, mean, last, max, mean_sqrt_len, weightedmean (as the model says)" },
        { 0, "dimensions", INTEGER, &o.dimensions, 1, INT32_MAX, "N", "Matryoshka: only the first N numbers of a vector (all)" },
        { 0, "prefix", TEXT, &o.prefix, 0, 0, "NAME",
          "put this prompt of the model's before the question, or a text that has a blank in it; \"\": none (query)" },
        { 0, "line-prefix", TEXT, &o.line_prefix, 0, 0, "NAME", "the same before each line (document, passage or corpus)" },
        { 'c', "ctx-size", INTEGER, &o.model.context.n_ctx, 1, INT32_MAX, "N",
          "cut texts to so many tokens (the model's limit)" },
        { 'z', "tokenizer", TEXT, &o.model.options.tokenizer, 0, 0, "FILE",
          "tokenizer.bin of a llama2.c checkpoint (tokenizer.bin)" },
        { 0, "threads", INTEGER, &o.model.options.n_threads, 0, MOST_THREADS, "N",
          "threads (0: $OMP_NUM_THREADS, or one a physical core)" },
        { 0, "no-mmap", SWITCH, &o.model.options.no_mmap, 0, 0, "", "read the model into memory instead of mapping it" },
        { 0, "kernels", TEXT, &o.model.options.kernels, 0, 0, "NAME", "arithmetic to use: portable, ... (the fastest)" },
        { 0, "quiet", SWITCH, &o.model.quiet, 0, 0, "", "on standard error only what is wrong" },
        LORA_FLAGS(o.model),
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    int code = read_flags(argc, argv, usage, flags, &o.model.path);
    if (code != GO_ON) return code;
    if (!o.question || !o.file) return complain(USAGE, "search needs a question, -i QUESTION, and a text, -f LINES");
    if (!strcmp(o.question, "-") && !strcmp(o.file, "-"))
        return complain(USAGE, "the question and the text cannot both be standard input");
    search k = { .o = &o };
    pith_model *m = NULL;
    code = open_adapted(&o.model, 1, &m);
    k.m = m;
    if (!code) code = search_text(&k);
    vectors_free(&k.vectors);
    pith__file_close(&k.text);
    free(k.line), free(k.hash), free(k.question), free(k.path);
    close_model(&o.model, m);
    return code;
}
