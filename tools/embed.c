/* embed.c - run embed: texts become vectors.
 *
 *     {"object":"embedding","index":0,"embedding":[0.0123,-0.0456]}       one line a text, as OpenAI's items
 *
 * Texts are read, embedded and written some at a time, so that memory does not grow with their number; only npy on
 * standard output is kept to the end, for its first bytes say how many vectors follow. */
#include "verbs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { AS_JSONL, AS_TEXT, AS_F32, AS_NPY };

typedef struct {
    model_choice model;
    const char *prompt, *file, *tokens, *jsonl, *format, *out, *pooling, *prefix;
    int no_normalize, dimensions, n_ctx;
} embed_options;

enum { MOST_TEXTS = 1024, MOST_BYTES = 1 << 22 }; /* that go through the model in one call */

typedef struct {
    const embed_options *o;
    const pith_model *m;
    pith_embedder *e;
    pith_embedding how;
    line_reader in;
    output out;
    int format, size;
    pith_passage *text;     /* (MOST_TEXTS) of which n are there */
    size_t *at;             /* (MOST_TEXTS) where each begins in bytes */
    char *bytes;            /* (n_byte) of these texts */
    size_t n_byte, byte_room;
    float *vectors;         /* (room) of them */
    size_t room;
    int n, step;            /* step: how many texts to take next, for about a quarter of a second */
    size_t n_text, n_vector, n_cut, first_cut; /* so far; first_cut: the line */
    float *kept;            /* (n_kept) npy on standard output */
    size_t n_kept, kept_room;
    int nan_said;
    progress p;
} embedding;

/* ---- what is asked for ---------------------------------------------------------------------------------- */

static int choose_vector(embedding *k) {
    int code = k->o->pooling ? choose_pooling(k->o->pooling, &k->how.pooling) : 0;
    if (k->o->no_normalize) k->how.normalize = 0;
    k->how.dimensions = k->o->dimensions;
    if (k->o->n_ctx) k->how.n_ctx = k->o->n_ctx;
    if (!code && k->o->prefix) code = choose_prompt(k->m, "--prefix", k->o->prefix, &k->how.prompt);
    return code;
}

/* 1: a cross-encoder, as GGUF says it. */
static int ranks(const pith_model *m) {
    char name[64];
    enum { RANK = 4 };
    snprintf(name, sizeof name, "%s.pooling_type", m->hyper.arch);
    const pith__key *k = pith__store_key(&m->store, name);
    return k && k->type == PITH__INT && k->i == RANK;
}

static int make_embedder(embedding *k) {
    pith_error e = { 0, "" };
    if (!k->o->pooling && ranks(k->m))
        return complain(USAGE, "%s scores pairs of texts (run rank) and was not taught vectors; --pooling cls gives the first"
                        " token's state", k->m->store.path);
    k->how = pith_embedding_default(k->m);
    int code = choose_vector(k);
    if (code) return code;
    k->e = pith_embedder_new(k->m, &k->o->model.context, &k->how, &e);
    if (!k->e) return report(&e);
    if (k->o->model.trace) trace_embedder(k->e, k->m);
    k->size = pith_embedder_size(k->e);
    k->text = calloc(MOST_TEXTS, sizeof *k->text);
    k->at = calloc(MOST_TEXTS, sizeof *k->at);
    return k->text && k->at ? 0 : complain(FAILED, "no memory for %d texts", MOST_TEXTS);
}

/* ---- reading -------------------------------------------------------------------------------------------- */

static int add_text_bytes(embedding *k, pith__str s) {
    if (k->n_byte + s.n > k->byte_room) {
        size_t room = 2 * (k->n_byte + s.n);
        char *more = realloc(k->bytes, room);
        if (!more) return complain(FAILED, "%s: no memory for line %zu", k->in.name, k->in.number);
        k->bytes = more, k->byte_room = room;
    }
    if (s.n) memcpy(k->bytes + k->n_byte, s.p, s.n);
    k->at[k->n] = k->n_byte;
    k->text[k->n++] = (pith_passage){ .n_text = s.n };
    k->n_byte += s.n;
    return 0;
}

static int add_line(embedding *k) {
    const line_reader *l = &k->in;
    pith__arena a = { 0 };
    pith__str s = { l->p, l->n };
    if (l->too_long) return complain(BAD_DATA, "%s: line %zu is too long", l->name, l->number);
    int code = k->o->jsonl ? line_field(k->in.name, k->in.number, s, k->o->jsonl, &a, &s) : 0;
    if (!code) code = add_text_bytes(k, s);
    pith__arena_free(&a);
    return code;
}

/* The next texts; GO_ON: there are some. */
static int read_texts(embedding *k) {
    int code = GO_ON;
    k->n = 0;
    k->n_byte = 0;
    while (k->n < k->step && k->n_byte < MOST_BYTES && (code = lines_next(&k->in)) == GO_ON)
        if ((code = add_line(k))) return code;
    for (int i = 0; i < k->n; i++) k->text[i].text = k->bytes ? k->bytes + k->at[i] : "";
    return k->n && (code == GO_ON || code == 0) ? GO_ON : code;
}

/* ---- writing -------------------------------------------------------------------------------------------- */

static void put_floats(output *out, const float *x, size_t n) { /* little-endian, whatever the processor's own order */
    for (size_t i = 0; i < n; i++) {
        uint32_t u = pith__bits_of(x[i]);
        const unsigned char b[4] = { u & 255, u >> 8 & 255, u >> 16 & 255, u >> 24 };
        output_bytes(out, b, sizeof b);
    }
}

/* Version 1.0 of numpy's format: 128 bytes, padded with blanks. */
static void put_npy_header(output *out, size_t rows, int cols) {
    char h[129];
    int n = snprintf(h, sizeof h, "\x93NUMPY\x01%c\x76%c{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %d), }",
                     0, 0, rows, cols);
    memset(h + n, ' ', (size_t)(127 - n));
    h[127] = '\n';
    output_bytes(out, h, 128);
}

/* nan: what stands for a number that is none, which JSON does not have. */
static void put_numbers(output *out, const float *x, int n, const char *between, const char *nan) {
    for (int i = 0; i < n; i++)
        if (isfinite(x[i])) output_line(out, "%s%.9g", i ? between : "", (double)x[i]);
        else output_line(out, "%s%s", i ? between : "", nan);
}

/* token: its number in the text, where each has a vector; or -1. */
static void put_vector(embedding *k, const float *x, size_t text, int token) {
    switch (k->format) {
    case AS_JSONL:
        output_line(&k->out, "{\"object\":\"embedding\",\"index\":%zu,", text);
        if (token >= 0) output_line(&k->out, "\"token\":%d,", token);
        output_line(&k->out, "\"embedding\":[");
        put_numbers(&k->out, x, k->size, ",", "null");
        output_line(&k->out, "]}\n");
        break;
    case AS_TEXT:
        put_numbers(&k->out, x, k->size, " ", "nan");
        output_line(&k->out, "\n");
        break;
    default: put_floats(&k->out, x, (size_t)k->size);
    }
}

/* npy on standard output waits for its header. */
static int keep_vectors(embedding *k, size_t n) {
    if (k->n_kept + n > k->kept_room) {
        size_t room = 2 * (k->n_kept + n);
        float *more = realloc(k->kept, room * sizeof *more);
        if (!more) return complain(FAILED, "no memory for %zu numbers; with -o FILE they need none", k->n_kept + n);
        k->kept = more, k->kept_room = room;
    }
    memcpy(k->kept + k->n_kept, k->vectors, n * sizeof *k->kept);
    k->n_kept += n;
    return 0;
}

static int put_vectors(embedding *k, int n) {
    int code = 0;
    if (k->format == AS_NPY && !k->out.path) code = keep_vectors(k, (size_t)n * (size_t)k->size);
    else if (k->how.pooling)
        for (int i = 0; i < n; i++) put_vector(k, k->vectors + (size_t)i * (size_t)k->size, k->n_text + (size_t)i, -1);
    else
        for (int i = 0, row = 0; i < k->n; i++)
            for (int t = 0; t < k->text[i].n_vector; t++, row++)
                put_vector(k, k->vectors + (size_t)row * (size_t)k->size, k->n_text + (size_t)i, t);
    return code;
}

/* ---- the run -------------------------------------------------------------------------------------------- */

static void count_cut(embedding *k) {
    for (int i = 0; i < k->n; i++)
        if (k->text[i].n_cut && !k->n_cut++) k->first_cut = k->n_text + (size_t)i + 1;
}

static int embed_texts(embedding *k) {
    pith_error e = { 0, "" };
    int cap = k->how.pooling ? k->n : (int)(k->room / (size_t)k->size), n = 0;
    for (int again = 0; again < 2; again++) {
        if (k->room < (size_t)cap * (size_t)k->size) {
            free(k->vectors);
            k->room = (size_t)cap * (size_t)k->size;
            k->vectors = malloc(k->room * sizeof *k->vectors);
            if (!k->vectors) return k->room = 0, complain(FAILED, "no memory for %d vectors", cap);
        }
        n = pith_embed(k->e, k->text, k->n, k->vectors, cap, &e);
        if (n < 0) return report(&e);
        if (n <= cap) break;
        cap = n;
    }
    for (size_t i = 0; i < (size_t)n * (size_t)k->size; i++)
        if (!isfinite(k->vectors[i])) warn_once(&k->nan_said, "the model computes NaN");
    int code = put_vectors(k, n);
    count_cut(k);
    k->n_text += (size_t)k->n;
    k->n_vector += (size_t)n;
    return code;
}

static int embed_lines(embedding *k) {
    int code;
    k->step = 16;
    while ((code = read_texts(k)) == GO_ON && !k->out.code && !stopped()) {
        double start = seconds();
        if ((code = embed_texts(k))) return code;
        double took = seconds() - start;
        if (took < 0.25 && k->step < MOST_TEXTS) k->step *= 2;
        if (took > 0.5 && k->step > 1) k->step /= 2;
        show_progress(&k->p, k->in.done, k->in.all ? k->in.all : k->in.done + 1);
    }
    show_progress(&k->p, k->in.all, k->in.all);
    if (!code && !k->n_text) code = complain(BAD_DATA, "%s: has no lines", k->in.name);
    return code == GO_ON ? stopped() : code;
}

static int embed_one(embedding *k) {
    const embed_options *o = k->o;
    pith_token *t = NULL;
    char *text = NULL;
    size_t n = o->prompt ? strlen(o->prompt) : 0;
    int n_token = 0, from_stdin = o->prompt && !strcmp(o->prompt, "-");
    int code = o->tokens ? read_ids(o->tokens, &t, &n_token) : from_stdin ? read_text("-", &text, &n) : 0;
    k->n = 1;
    k->text[0] = (pith_passage){ .text = text ? text : o->prompt, .n_text = n, .tokens = t, .n_tokens = n_token };
    if (!code) code = embed_texts(k);
    free(t), free(text);
    return code;
}

/* What the user should know of vectors that are made. */
static void say_how(const embedding *k) {
    int limit = k->how.n_ctx;
    if (!k->o->pooling && !k->m->pooling.said)
        note(k->o->model.quiet, "%s does not say how to pool; this is %s (--pooling)", k->m->store.path,
             k->how.pooling == PITH_LAST ? "the last token's state, as for decoders" : "the mean of all tokens' states");
    if (k->n_cut && k->n_text == 1)
        fprintf(stderr, "warning: the text was cut to %d tokens: %d more were left off\n", limit, k->text[0].n_cut);
    else if (k->n_cut)
        fprintf(stderr, "warning: %zu of %zu texts %s cut to %d tokens, the first is line %zu\n", k->n_cut, k->n_text,
                k->n_cut == 1 ? "was" : "were", limit, k->first_cut);
}

/* The number of vectors is known now, and goes where the file begins. */
static void finish_npy(embedding *k) {
    if (k->format != AS_NPY) return;
    if (k->out.path) {
        output_flush(&k->out);
        pith__writer_rewind(k->out.written);
    }
    put_npy_header(&k->out, k->n_vector, k->size);
    put_floats(&k->out, k->kept, k->n_kept);
}

static int embed(embedding *k) {
    static const char *const formats[] = { "jsonl", "text", "f32", "npy" };
    int code = k->o->format ? find_word("--format", k->o->format, formats, 4, &k->format) : 0;
    if (!code) code = make_embedder(k);
    if (!code && k->o->file) code = lines_open(&k->in, k->o->file);
    if (code) return code;
    k->in.keep_blank = !k->o->jsonl;
    k->p.what = "byte";
    code = output_open(&k->out, k->o->out, &k->o->model);
    if (code) return code;
    if (k->format == AS_NPY && k->out.path) put_npy_header(&k->out, 0, k->size);
    code = k->o->file ? embed_lines(k) : embed_one(k);
    if (!code && !stopped()) finish_npy(k);
    int written = output_close(&k->out, !code && !stopped());
    if (!code && !stopped()) say_how(k);
    return stopped() ? stopped() : code ? code : written;
}

int verb_embed(int argc, char **argv) {
    static const char usage[] =
        "run embed MODEL (-i TEXT | -f LINES | --tokens 1,5,9) [options]\n"
        "a vector for each text: texts that mean the same have vectors of nearly the same direction\n\n"
        "A line of the file is a text, also an empty one. On stdout an object a line, as OpenAI's API has them:\n"
        "    {\"object\":\"embedding\",\"index\":0,\"embedding\":[0.0123,-0.0456]}\n"
        "What the model's files say is done: pooling, Dense, normalisation, prompt, limit (run info shows them).\n"
        "A text that is too long is cut to the limit, with a warning. With --pooling none each token has a vector:\n"
        "its hidden state, as it is.\n\n";
    embed_options o = { 0 };
    const flag flags[] = {
        { 'i', "prompt", TEXT, &o.prompt, 0, 0, "TEXT", "one text; - reads standard input" },
        { 'f', "file", TEXT, &o.file, 0, 0, "FILE", "a text a line; - reads standard input" },
        { 0, "jsonl", TEXT, &o.jsonl, 0, 0, "FIELD", "the lines are JSON objects, and this field has the text" },
        { 0, "tokens", TEXT, &o.tokens, 0, 0, "IDS", "one text as tokens, taken as they are: 1,5,9" },
        { 0, "format", TEXT, &o.format, 0, 0, "NAME",
          "jsonl, text (numbers with blanks), f32 (little-endian floats), npy (numpy) (jsonl)" },
        { 'o', "output", TEXT, &o.out, 0, 0, "FILE", "write there instead of stdout" },
        { 0, "pooling", TEXT, &o.pooling, 0, 0, "NAME",
          "cls, mean, last, max, mean_sqrt_len, weightedmean, or none: a vector a token (as the model says)" },
        { 0, "no-normalize", SWITCH, &o.no_normalize, 0, 0, "", "leave the vectors' lengths as they are" },
        { 0, "prefix", TEXT, &o.prefix, 0, 0, "NAME",
          "put this prompt of the model's before each text, as query, or a text that has a blank in it; \"\": none (the model's"
          " default)" },
        { 0, "dimensions", INTEGER, &o.dimensions, 1, INT32_MAX, "N",
          "Matryoshka: only the first N numbers, then normalised (all)" },
        { 'c', "ctx-size", INTEGER, &o.n_ctx, 1, INT32_MAX, "N", "cut texts to so many tokens (the model's limit)" },
        { 'z', "tokenizer", TEXT, &o.model.options.tokenizer, 0, 0, "FILE",
          "tokenizer.bin of a llama2.c checkpoint (tokenizer.bin)" },
        { 0, "threads", INTEGER, &o.model.options.n_threads, 0, MOST_THREADS, "N",
          "threads (0: $OMP_NUM_THREADS, or one a physical core)" },
        { 0, "no-mmap", SWITCH, &o.model.options.no_mmap, 0, 0, "", "read the file into memory instead of mapping it" },
        { 0, "kernels", TEXT, &o.model.options.kernels, 0, 0, "NAME", "arithmetic to use: portable, ... (the fastest)" },
        { 0, "pretokenizer", TEXT, &o.model.options.pretokenizer, 0, 0, "NAME",
          "how text is cut into words, instead of what the file says" },
        { 0, "trace", SWITCH, &o.model.trace, 0, 0, "", "show every activation of every layer on standard error, text by text" },
        LORA_FLAGS(o.model),
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    int code = read_flags(argc, argv, usage, flags, &o.model.path);
    if (code != GO_ON) return code;
    if ((o.prompt != NULL) + (o.file != NULL) + (o.tokens != NULL) != 1)
        return complain(USAGE, "embed needs texts: one of -i TEXT, -f FILE, --tokens 1,5,9");
    if (o.jsonl && !o.file) return complain(USAGE, "--jsonl is of the lines of -f FILE");
    embedding k = { .o = &o };
    pith_model *m = NULL;
    code = open_adapted(&o.model, !o.tokens, &m);
    k.m = m;
    if (!code) code = embed(&k);
    lines_close(&k.in);
    pith_embedder_free(k.e);
    free(k.text), free(k.at), free(k.bytes), free(k.vectors), free(k.kept);
    close_model(&o.model, m);
    return code;
}
