/* run.c - the command line: a model file in, text out.
 *
 *     run MODEL [options]         write a text, or with -m chat hold a conversation
 *     run VERB MODEL [options]    everything else, see verbs[]
 *
 * This is the program as its user meets it, and shows how the library is used: open a model, encode
 * a prompt, evaluate it, then sample a token, print it, evaluate it, and so on. What verbs share
 * is in tools/: flags.c, output.c, and cli.c (signals, models, texts). */
#define _XOPEN_SOURCE 700
#include "model.h"
#include "tools/tools.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- options --------------------------------------------------------------------------------- */

typedef struct {
    model_choice model;
    const char *prompt, *file, *output, *mode, *system, *format;
    int n_total, n_predict, n_draft, shift, keep, n_sample, parallel;
    uint64_t seed;
    pith_sampling how;
    list stop, bias;
    kept_text kept;
    int parse_special, ignore_eos, trace, version;
} options;

static const options defaults = {
    .n_total = NOT_SAID, .n_predict = NOT_SAID, .keep = NOT_SAID, .n_sample = 1,
    .how = SAMPLING_NOT_SAID
};

static const char usage[] =
    "run MODEL [options]        write a text, or with -m chat hold a conversation\n"
    "run VERB MODEL [options]   batch, score, tokenize, info, bench; run VERB --help says more\n"
    "run VERB TEXT [options]    vocab, pretrain: learn a vocabulary, a model from a text file\n"
    "MODEL is a llama2.c checkpoint (and -z tokenizer.bin), a .gguf or a Hugging Face folder;\n"
    "without one, the small teller of stories that is built in.\n"
    "(0.8 | 1.0) is a default: 0.8, and 1.0 for llama2.c files.\n\n";

/* What goes together, and what does not. */
static int check_options(const options *o) {
    if (o->mode && strcmp(o->mode, "generate") != 0 && strcmp(o->mode, "chat") != 0)
        return complain(USAGE, "-m is '%s', need generate or chat", o->mode);
    if (o->output && !*o->output) return complain(USAGE, "-o is empty, need the name of a file");
    if (o->keep != NOT_SAID && !o->shift) return complain(USAGE, "--keep is of a text with --context-shift");
    if (o->format && strcmp(o->format, "text") != 0 && strcmp(o->format, "jsonl") != 0)
        return complain(USAGE, "--format is '%s', need text or jsonl", o->format);
    if (o->n_sample > 1 && (o->n_draft || o->trace))
        return complain(USAGE, "%s is of one text, not of --samples", o->n_draft ? "--draft-lookup" : "--trace");
    if (o->parallel && o->n_sample == 1) return complain(USAGE, "--parallel is of more --samples than one");
    if (o->prompt && o->file) return complain(USAGE, "-i and -f both say how the text begins");
    for (int i = 0; i < o->stop.n; i++)
        if (!*o->stop.item[i]) return complain(USAGE, "--stop needs a text that is not empty");
    int code = kept_check(&o->kept, o->output);
    return code ? code : GO_ON;
}

static int read_options(int argc, char **argv, options *o) {
    const flag flags[] = {
        { 'i', "prompt", TEXT, &o->prompt, 0, 0, "TEXT",
          "how the text begins; - reads it from standard input" },
        { 'f', "file", TEXT, &o->file, 0, 0, "FILE", "a file with how the text begins" },
        { 'o', "output", TEXT, &o->output, 0, 0, "FILE", "write the text there" },
        { 'n', NULL, INTEGER, &o->n_total, 0, INT32_MAX, "N",
          "tokens in all, prompt and text; 0: what the context holds (--n-predict | 256)" },
        { 0, "n-predict", INTEGER, &o->n_predict, -1, INT32_MAX, "N",
          "new tokens; -1: no limit (256 | -n)" },
        { 0, "context-shift", SWITCH, &o->shift, 0, 0, "",
          "when the context is full drop its oldest half and read the rest again, as long as a prompt takes" },
        { 0, "keep", INTEGER, &o->keep, -1, INT32_MAX, "N",
          "of a full context the first N tokens stay, and BOS in any case; -1: the prompt (0)" },
        SAMPLING_FLAGS(o->how),
        { 's', "seed", SEED, &o->seed, 0, 0, "N", "start of the random numbers; 0: the time (0)" },
        { 0, "samples", INTEGER, &o->n_sample, 1, 1000000, "N",
          "N texts at once, of seed -s, -s + 1, ...; between them a line <|endoftext|> (1)" },
        { 0, "parallel", INTEGER, &o->parallel, 1, 1024, "N",
          "of --samples, so many at a time; the texts do not depend on it (16)" },
        { 0, "format", TEXT, &o->format, 0, 0, "FORMAT",
          "text, or jsonl: an object a line with index, seed, text, tokens, finish_reason (text)" },
        { 0, "logit-bias", LIST, &o->bias, 0, 0, "ID+X", "add X to a token's logit; also ID-X" },
        { 0, "ignore-eos", SWITCH, &o->ignore_eos, 0, 0, "", "never end before -n" },
        { 0, "stop", LIST, &o->stop, 0, 0, "TEXT", "end before this text; may be given often" },
        { 0, "parse-special", SWITCH, &o->parse_special, 0, 0, "",
          "read <|names|> in the prompt as special tokens" },
        { 0, "prompt-cache", TEXT, &o->kept.path, 0, 0, "FILE",
          "keep the text there, and what was computed of it: the next run need not read the same beginning" },
        { 0, "prompt-cache-ro", SWITCH, &o->kept.read_only, 0, 0, "", "use that file, but leave it as it is" },
        { 'm', "mode", TEXT, &o->mode, 0, 0, "MODE", "generate or chat (generate)" },
        { 'y', "system-prompt", TEXT, &o->system, 0, 0, "TEXT", "what a chat begins with (nothing)" },
        { 0, "chat-template", TEXT, &o->model.options.chat_template, 0, 0, "NAME",
          "form of a chat: llama2, chatml, ... (the model's)" },
        { 0, "quiet", SWITCH, &o->model.quiet, 0, 0, "", "on standard error only what is wrong" },
        { 0, "draft-lookup", INTEGER, &o->n_draft, 0, 255, "N",
          "guess up to N tokens ahead where the text repeats itself; the same text, sooner (0)" },
        { 0, "trace", SWITCH, &o->trace, 0, 0, "",
          "show every activation of every layer on standard error" },
        MODEL_FLAGS(o->model),
        { 0, "version", SWITCH, &o->version, 0, 0, "", "print the version" },
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    *o = defaults;
    int code = read_flags(argc, argv, usage, flags, &o->model.path);
    if (code != GO_ON) return code;
    if (o->version) return printf("pith %s\n", PITH_VERSION), flush_stdout();
    return check_options(o);
}

/* ---- biases of single tokens ------------------------------------------------------------------ */

/* "15043+1.5", "15043-inf" */
static int read_bias(const char *s, int n_vocab, pith_bias *b) {
    char id[16];
    size_t n = strspn(s, "0123456789");
    long long token;
    double x = INFINITY;
    snprintf(id, sizeof id, "%.*s", n < sizeof id ? (int)n : 15, s);
    int sign = s[n] == '+' ? 1 : s[n] == '-' ? -1 : 0;
    if (!sign || !read_integer(id, 0, n_vocab - 1, &token) ||
        (strcmp(s + n + 1, "inf") != 0 && !read_real(s + n + 1, 0, 1e9, &x)))
        return complain(USAGE, "--logit-bias is '%s', need a token below %d, + or -, a number", s,
                        n_vocab);
    b->token = (pith_token)token;
    b->bias = (float)(sign * x);
    return 0;
}

/* The user's biases, and those that keep a text from ending. The caller frees *bias. */
static int make_bias(const pith_model *m, const options *o, pith_bias **bias, pith_sampling *how) {
    int n_vocab = pith_model_shape(m)->n_vocab, n = o->bias.n;
    for (int t = 0; o->ignore_eos && t < n_vocab; t++) n += pith_is_end(m, t);
    *bias = malloc((size_t)(n + 1) * sizeof **bias);
    if (!*bias) return complain(FAILED, "no memory for the biases");
    how->bias = *bias;
    for (how->n_bias = 0; how->n_bias < o->bias.n; how->n_bias++) {
        int code = read_bias(o->bias.item[how->n_bias], n_vocab, *bias + how->n_bias);
        if (code) return code;
    }
    for (int t = 0; o->ignore_eos && t < n_vocab; t++)
        if (pith_is_end(m, t)) (*bias)[how->n_bias++] = (pith_bias){ t, -INFINITY };
    return 0;
}

/* ---- a voice: tokens to text on a stream ----------------------------------------------------- */

typedef struct {
    const pith_model *m;
    pith_session *s;
    pith_pass *pass;     /* of sessions for --samples */
    output out;
    pith_generation g;
    int ended;           /* why the last text ended: PITH_END, ... */
    pith_token eos;      /* ends a turn, where llama2.c's models end a text with BOS */
    float *drafts;       /* logits of tokens guessed ahead */
    long long n_new;     /* tokens drawn, of all texts */
    int n_cut;           /* texts that the model did not end */
    double start;        /* of the text, after its first token, which may wait for a disk, */
    int untimed;         /* and after those that were kept */
    int talked;          /* tokens of the conversation so far */
    int nan_said, stdin_said;
} voice;

/* One more token and its text. GO_ON, 0 at the end, or an exit code. */
static int say_next(voice *v) {
    pith_error e = { 0, "" };
    v->g.cancel = stopped() || v->out.code;
    v->ended = pith_generate(v->s, &v->g, &e);
    if (v->ended < 0) return complain(FAILED, "%s", e.text);
    warn_of_nan(v->m, v->s, &v->nan_said);
    output_text(&v->out, v->g.text, v->g.n_text);
    output_flush(&v->out);
    return v->ended ? 0 : GO_ON;
}

/* ---- generate -------------------------------------------------------------------------------- */

/* What the text begins with; the caller frees *text. One newline at the end of a file is dropped; editors add it. */
static int get_prompt(const options *o, char **text, size_t *n) {
    const char *path = o->file ? o->file : o->prompt && !strcmp(o->prompt, "-") ? "-" : NULL;
    if (!path) {
        *text = strdup(o->prompt ? o->prompt : "");
        *n = *text ? strlen(*text) : 0;
        return *text ? 0 : complain(FAILED, "no memory for the prompt");
    }
    int code = read_text(path, text, n);
    if (!code && (code = clean_text(!strcmp(path, "-") ? "standard input" : path, *text, n)) != 0) free(*text);
    if (!code && *n && (*text)[*n - 1] == '\n') --*n;
    return code;
}

typedef struct {
    pith_token *t;       /* (n), to be freed */
    int n;
    int ends_in_blank;
} prompt;

/* The prompt's tokens, at least one. */
static int prompt_tokens(const voice *v, const options *o, prompt *p) {
    const pith_shape *shape = pith_model_shape(v->m);
    char *text;
    size_t len;
    int code = get_prompt(o, &text, &len);
    if (code) return code;
    code = encode_text(v->m, text, len, PITH_BOS | (o->parse_special ? PITH_SPECIAL : 0), &p->t, &p->n);
    p->ends_in_blank = len && text[len - 1] == ' ';
    free(text);
    if (code || p->n) return code;
    p->t[0] = shape->bos >= 0 ? shape->bos : shape->eos; /* some families begin with nothing */
    if (p->t[0] >= 0) return p->n = 1, 0;
    return complain(USAGE, "this model needs a prompt (-i TEXT)");
}

static void note_stdin(voice *v, const options *o) {
    if (o->prompt || o->file || v->stdin_said || !stdin_waits()) return;
    note(o->model.quiet, "standard input is not read (-i - takes it for the prompt)");
    v->stdin_said = 1;
}

/* What a user may not have meant. */
static void note_prompt(voice *v, const options *o, const prompt *p) {
    const pith_shape *shape = pith_model_shape(v->m);
    int quiet = o->model.quiet, said = o->prompt || o->file;
    if (p->ends_in_blank)
        note(quiet, "the prompt ends in a blank; most models go on better without it, since their words begin with one");
    if (p->n > 1 && shape->bos >= 0 && p->t[0] == shape->bos && p->t[1] == shape->bos)
        note(quiet, "the text begins with BOS twice: the prompt need not bring its own");
    if (said && shape->has_chat && !o->mode && !o->parse_special && isatty(STDERR_FILENO))
        note(quiet, "this model was made for conversations: -m chat");
    note_stdin(v, o);
}

enum { NEW_TOKENS = 256 }; /* where the user does not say */

/* The positions to take, prompt included, with room for n_ctx. *why: the flag that limits them. llama2.c's files count
 * prompt and text by default, as llama2.c does. */
static int total_tokens(const options *o, int llama2c, int n_prompt, int n_ctx, const char **why) {
    int n = o->n_total, new = o->n_predict;
    if (n == NOT_SAID && new == NOT_SAID && llama2c) n = NEW_TOKENS;
    if (n == NOT_SAID && new == NOT_SAID) new = NEW_TOKENS;
    *why = new == NOT_SAID ? "-n" : "--n-predict";
    if (new != NOT_SAID) n = new < 0 || new > n_ctx - n_prompt ? n_ctx : n_prompt - 1 + new;
    if (n > 0 && n < n_ctx) return n;
    *why = "-c";
    return n_ctx;
}

/* Whatever cut the prompt or ended the text before the model did. */
static void note_limit(const voice *v, const options *o, int n_prompt, int total, const char *why) {
    int quiet = o->model.quiet || stopped() || v->out.code;
    if (total < n_prompt - 1) note(quiet, "-n %d cuts the prompt, which has %d tokens", total, n_prompt);
    else if (total < n_prompt && !strcmp(why, "-n"))
        note(quiet, "the prompt has all the %d tokens of -n %d", n_prompt, total);
    else if (!v->n_cut) return;
    else if (o->n_sample > 1)
        note(quiet, "%d of %d texts end where they have all the tokens of %s", v->n_cut, o->n_sample, why);
    else if (!strcmp(why, "-c")) note(quiet, "the context of %d tokens is full (-c)", total);
    else if (!strcmp(why, "-n")) note(quiet, "the text ends here, at %d tokens in all (-n)", total);
    else note(quiet, "the text ends here, after %d new tokens (--n-predict)", v->g.n_token);
}

static int too_long(int n_prompt, int n_ctx) {
    return complain(USAGE, "the prompt has %d tokens, the context %d", n_prompt, n_ctx);
}

/* A context of n tokens, or as long as the text that was kept: nothing depends on it but where it is full. */
static int find_kept(const voice *v, options *o, int *n) {
    int n_kept, code = kept_find(&o->kept, &n_kept);
    if (!code && n_kept > *n && !v->g.shift) *n = n_kept;
    return code;
}

static int start_session(voice *v, options *o, int n) {
    int code = open_session(v->m, &o->model, n, &v->s);
    if (!code) code = kept_load(&o->kept, v->s);
    if (code) return code;
    if (!o->model.quiet) fprintf(stderr, "seed: %llu\n", (unsigned long long)o->seed);
    if (o->trace) trace_session(v->s);
    if (!o->n_draft) return 0;
    size_t row = (size_t)pith_model_shape(v->m)->n_vocab * sizeof *v->drafts;
    v->drafts = calloc((size_t)o->n_draft + 1, row);
    if (!v->drafts) return complain(FAILED, "no memory for --draft-lookup %d", o->n_draft);
    pith_draft(v->s, o->n_draft, v->drafts);
    return 0;
}

static void say_drafts(const voice *v, const options *o) {
    double n = pith_draft_rate(v->s);
    if (n > 0 && !o->model.quiet) fprintf(stderr, "tokens per pass: %.2f (--draft-lookup)\n", n);
}

/* The prompt is evaluated before it is shown: meanwhile a terminal shows how far that is. total: positions. */
static int read_prompt(voice *v, const options *o, const prompt *p, int total) {
    int n = p->n < total ? p->n : total, known = pith_known(v->s, p->t, n), first = known < n ? known + 1 : n;
    kept_say(&o->kept, o->model.quiet, known, n);
    int code = sync_tokens(v->s, p->t, first);
    v->start = seconds();
    v->untimed = first;
    if (!code) code = eval_tokens(v->s, p->t + first, n - first);
    if (!code && o->n_sample > 1) code = kept_save(&o->kept, v->s); /* all go on from here */
    v->g.n_predict = total - p->n + 1; /* each position gives a token, that of the prompt's end too */
    return code;
}

static int tokens_shown(const prompt *p, int total) { return p->n <= total ? p->n : total + 1; }

static int write_text(voice *v, const prompt *p, int total) {
    char *text;
    size_t n;
    int code = shown_text(v->m, p->t, tokens_shown(p, total), &text, &n);
    if (code) return code;
    output_text(&v->out, text, n);
    output_flush(&v->out);
    free(text);
    if (p->n <= total && !stopped())
        while ((code = say_next(v)) == GO_ON) continue;
    v->n_cut = v->ended == PITH_LIMIT || v->ended == PITH_FULL;
    v->n_new = v->g.n_token;
    if (code) return code;
    output_text(&v->out, "\n", 1);
    output_flush(&v->out);
    return 0;
}

/* ---- many texts, or one as JSON */

static int wants_samples(const options *o) { return o->n_sample > 1 || (o->format && !strcmp(o->format, "jsonl")); }

/* What the sessions of many texts are evaluated in. */
static int open_pass(voice *v, options *o, int n_ctx) {
    pith_error e = { 0, "" };
    pith_context most = o->model.context;
    if (!most.n_ctx) most.n_ctx = n_ctx;
    v->pass = o->model.context.pass = pith_pass_new(v->m, &most, &e);
    return v->pass ? 0 : complain(FAILED, "%s", e.text);
}

static int write_many(voice *v, const options *o, const prompt *p, int total) {
    samples w = { .m = v->m, .first = v->s, .context = &o->model.context, .prompt = p->t, .n_prompt = p->n,
                  .n_shown = tokens_shown(p, total), .g = v->g, .n = o->n_sample, .parallel = o->parallel,
                  .jsonl = o->format && !strcmp(o->format, "jsonl"), .out = &v->out };
    int code = write_samples(&w);
    v->n_cut = w.n_cut;
    v->n_new = w.n_token;
    return code;
}

/* --context-shift, of a text longer than the context. A model reads badly without the BOS that it was trained with. */
static int set_shift(voice *v, const options *o, const prompt *p, int n_ctx) {
    int bos = p->t[0] == pith_model_shape(v->m)->bos;
    v->g.shift = 1;
    v->g.keep = o->keep == -1 ? p->n : o->keep > bos ? o->keep : bos;
    return v->g.keep <= n_ctx - 2 ? 0 : complain(USAGE, "--context-shift has no room to keep %d tokens of %d (-c)",
                                                 v->g.keep, n_ctx);
}

/* The prompt, then what the model makes of it. */
static int continue_text(voice *v, options *o, const prompt *p) {
    const pith_shape *shape = pith_model_shape(v->m);
    const char *why;
    int n_ctx = o->model.context.n_ctx ? o->model.context.n_ctx : shape->n_ctx;
    if (p->n > n_ctx) return too_long(p->n, n_ctx);
    int total = total_tokens(o, shape->llama2c, p->n, o->shift ? INT32_MAX : n_ctx, &why);
    int code = o->shift && total > n_ctx ? set_shift(v, o, p, n_ctx) : 0;
    int room = total > n_ctx ? n_ctx : total > 1 ? total : 1;
    if (!code) code = find_kept(v, o, &room);
    if (!code && o->n_sample > 1) code = open_pass(v, o, room);
    if (!code) code = start_session(v, o, room);
    if (code) return code;
    n_ctx = o->model.context.n_ctx;
    if (total > n_ctx && p->n > n_ctx) return too_long(p->n, n_ctx); /* memory has no room for more */
    if (total > n_ctx && !o->shift) total = n_ctx, why = "-c";
    if (total > n_ctx && (code = set_shift(v, o, p, n_ctx)) != 0) return code;
    note_prompt(v, o, p);
    code = read_prompt(v, o, p, total);
    if (!code) code = wants_samples(o) ? write_many(v, o, p, total) : write_text(v, p, total);
    if (!code && o->n_sample == 1) code = kept_save(&o->kept, v->s);
    if (code) return code;
    double took = seconds() - v->start;
    note_stdin(v, o); /* a pipe's other end may have been slow */
    note_limit(v, o, p->n, total, why);
    say_drafts(v, o);
    double timed = (double)((p->n < total ? p->n : total) - v->untimed + v->n_new - (v->n_new > 0));
    if (timed > 0 && !o->model.quiet) fprintf(stderr, "achieved tok/s: %f\n", timed / (took + 1e-9));
    return 0;
}

static int generate(voice *v, options *o) {
    prompt p = { NULL, 0, 0 };
    int code = prompt_tokens(v, o, &p);
    if (!code) code = continue_text(v, o, &p);
    free(p.t);
    return code;
}

/* ---- chat ------------------------------------------------------------------------------------ */

static void prompt_with(const char *text) {
    fprintf(stderr, isatty(STDERR_FILENO) ? "%s" : "%s\n", text);
}

/* A line from standard input without its end, NULL at the end of input; the caller frees it. */
static int ask(const char *question, char **line) {
    size_t room = 0, n;
    *line = NULL;
    prompt_with(question);
    ssize_t got = stopped() ? -1 : getline(line, &room, stdin);
    int code = got < 0 ? 0 : clean_text("standard input", *line, (n = (size_t)got, &n));
    if (got >= 0 && !code) {
        if (n && (*line)[n - 1] == '\n') (*line)[n - 1] = 0;
        return 0;
    }
    if (isatty(STDERR_FILENO)) fputc('\n', stderr); /* the shell goes on below the question */
    free(*line);
    *line = NULL;
    return code;
}

typedef struct { /* a conversation, whole: it is encoded anew for every answer */
    pith_turn *turn;
    void **owned;        /* (n) a turn's text or tokens, to be freed */
    int n;
} talk;

/* Takes owned over, whatever comes of it. */
static int add_turn(talk *k, pith_turn turn, void *owned) {
    size_t n = (size_t)k->n + 1;
    pith_turn *turns = realloc(k->turn, n * sizeof *turns);
    if (turns) k->turn = turns;
    void **all = turns ? realloc(k->owned, n * sizeof *all) : NULL;
    if (!all) return free(owned), complain(FAILED, "no memory for the conversation");
    k->owned = all;
    k->turn[k->n] = turn;
    k->owned[k->n++] = owned;
    return 0;
}

static void free_talk(talk *k) {
    for (int i = 0; i < k->n; i++) free(k->owned[i]);
    free(k->owned);
    free(k->turn);
}

/* The caller frees *t. */
static int encode_talk(const voice *v, const talk *k, pith_token **t, int *n) {
    pith_error e = { 0, "" };
    *n = pith_encode_chat(v->m, k->turn, k->n, NULL, 0, &e);
    *t = *n < 0 ? NULL : malloc((size_t)(*n + 1) * sizeof **t);
    if (*t) *n = pith_encode_chat(v->m, k->turn, k->n, *t, *n, &e);
    else if (*n >= 0) return complain(FAILED, "no memory for the conversation");
    if (*n >= 0) return 0;
    free(*t);
    return complain(e.code == PITH_EMEMORY ? FAILED : USAGE, "%s%s", e.text,
                    e.code == PITH_EARCH ? " (--chat-template)" : "");
}

/* The assistant's turn, of at most room tokens. */
static int answer(voice *v, talk *k, int room) {
    enum { SOME = 256 };
    pith_token *t = NULL;
    int code = GO_ON, n = 0;
    pith_generation_free(&v->g);
    v->g.n_predict = room;
    while (code == GO_ON) {
        pith_token *more = n % SOME ? t : realloc(t, (size_t)(n + SOME) * sizeof *t);
        if (!more) return free(t), complain(FAILED, "no memory for the conversation");
        t = more;
        code = say_next(v);
        if (v->g.n_token > n) t[n++] = v->g.token;
    }
    if (!code) code = add_turn(k, (pith_turn){ .role = "assistant", .token = t, .n_token = n }, t);
    else free(t);
    output_text(&v->out, "\n", 1);
    output_flush(&v->out);
    return code;
}

/* What the user said last, and the assistant's answer. An exit code, or GO_ON for the next. */
static int exchange(voice *v, const options *o, talk *k, int n_ctx) {
    pith_token *t = NULL;
    int n = 0, code = encode_talk(v, k, &t, &n);
    if (!code && n > n_ctx) code = complain(USAGE, "the conversation has %d tokens, the context %d", n, n_ctx);
    /* llama2.c draws at every position, of a prompt too; so do its conversations here. */
    int draws = pith_model_shape(v->m)->llama2c && v->g.how.temperature > 0;
    for (int i = v->talked + 1; draws && i < n; i++) pith_random(&v->g.rng);
    if (!code && !v->talked) kept_say(&o->kept, o->model.quiet, pith_known(v->s, t, n), n);
    if (!code) code = sync_tokens(v->s, t, n);
    free(t);
    if (code || stopped()) return code;
    prompt_with("Assistant: ");
    int room = n_ctx - n + 1, few = o->n_predict > 0 && o->n_predict < room;
    code = answer(v, k, few ? o->n_predict : room);
    v->talked = pith_position(v->s);
    if (code || v->out.code || stopped()) return code;
    if (few && v->ended == PITH_LIMIT)
        note(o->model.quiet, "the answer ends here, after %d tokens (--n-predict)", o->n_predict);
    if (pith_position(v->s) < n_ctx) return GO_ON;
    note(o->model.quiet, "the conversation has its %d tokens (-n, -c)", n_ctx);
    return 0;
}

/* What the user says first, after the system prompt. */
static int begin_talk(voice *v, const options *o, talk *k, char **user) {
    size_t n;
    pith_token *t;
    int n_token, code = o->system && *o->system
        ? add_turn(k, (pith_turn){ .role = "system", .text = o->system }, NULL) : 0;
    if (!code) code = encode_talk(v, k, &t, &n_token); /* can it be? */
    if (code) return code;
    free(t);
    if (o->prompt || o->file) return get_prompt(o, user, &n);
    return ask("User: ", user);
}

static int chat(voice *v, options *o) {
    const pith_shape *shape = pith_model_shape(v->m);
    int whole = o->model.context.n_ctx ? o->model.context.n_ctx : shape->n_ctx;
    int n_ctx = o->n_total == NOT_SAID ? (shape->llama2c ? 256 : 0) : o->n_total;
    if (n_ctx == 0 || n_ctx > whole) n_ctx = whole;
    int room = n_ctx, code = find_kept(v, o, &room);
    if (!code) code = start_session(v, o, room);
    if (code) return code;
    if (n_ctx > o->model.context.n_ctx) n_ctx = o->model.context.n_ctx;

    talk k = { NULL, NULL, 0 };
    char *user = NULL;
    v->eos = shape->eos;
    v->g.end = &v->eos, v->g.n_end = 1;
    code = begin_talk(v, o, &k, &user);
    if (!code) code = GO_ON;
    while (user && code == GO_ON && !stopped()) {
        code = add_turn(&k, (pith_turn){ .role = "user", .text = user }, user);
        if (!code) code = exchange(v, o, &k, n_ctx);
        user = NULL;
        if (code == GO_ON && (code = ask("User: ", &user)) == 0) code = GO_ON;
    }
    free(user);
    free_talk(&k);
    say_drafts(v, o);
    if ((code == 0 || code == GO_ON) && kept_save(&o->kept, v->s)) code = FAILED;
    if (code != GO_ON) return code;
    return feof(stdin) || stopped() ? 0 : complain(FAILED, "standard input cannot be read");
}

/* ---- the program ----------------------------------------------------------------------------- */

/* A text has no use for them. */
static int only_in_chat(const options *o) {
    const char *name = o->system ? "-y" : o->model.options.chat_template ? "--chat-template" : NULL;
    return name ? complain(USAGE, "%s is of a conversation: -m chat", name) : 0;
}

/* And a conversation has none for these. */
static int only_in_text(const options *o) {
    const char *name = o->shift ? "--context-shift" : o->n_sample > 1 ? "--samples" : o->format ? "--format" : NULL;
    return name ? complain(USAGE, "%s is of a text, not of a conversation", name) : 0;
}

/* Asked for, or at a terminal where nothing else was asked for and the model was made for it. */
static int wants_chat(const options *o, const pith_model *m) {
    if (o->mode) return !strcmp(o->mode, "chat");
    int terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && !o->output;
    return terminal && !o->prompt && !o->file && !wants_samples(o) && pith_model_shape(m)->has_chat;
}

static int run_voice(options *o, pith_model *m) {
    voice v = { .m = m };
    pith_bias *bias = NULL;
    v.g = (pith_generation){ .how = o->how, .rng = o->seed, .stop = o->stop.item, .n_stop = o->stop.n };
    fill_sampling(m, &v.g.how);
    int code = make_bias(m, o, &bias, &v.g.how);
    if (!code) code = output_open(&v.out, o->output, &o->model);
    if (!code) {
        if (wants_chat(o, m)) code = only_in_text(o) ? USAGE : chat(&v, o);
        else code = only_in_chat(o) ? USAGE : generate(&v, o);
        int written = output_close(&v.out, code == 0);
        if (!code) code = stopped() ? stopped() : written;
    }
    pith_generation_free(&v.g);
    free(bias);
    pith_session_free(v.s);
    pith_pass_free(v.pass);
    free(v.drafts);
    return code;
}

static int write_or_chat(int argc, char **argv) {
    options o;
    pith_model *m;
    int code = read_options(argc, argv, &o);
    if (code != GO_ON) return code;
    if (o.seed == 0) { /* one that is easy to type again */
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        o.seed = ((uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000) % 1000000000 + 1;
    }
    if (o.seed > INT64_MAX - (uint64_t)(o.n_sample - 1))
        return complain(USAGE, "--samples %d from -s %llu on: seeds end at %lld", o.n_sample,
                        (unsigned long long)o.seed, (long long)INT64_MAX);
    code = open_model(&o.model, 1, &m);
    if (code) return code;
    code = run_voice(&o, m);
    pith_close(m);
    if (argc == 1 && code == 0) { /* nothing was asked for, so nobody asked for quiet */
        size_t size;
        bundled_model(&size);
        fprintf(stderr, "\n(by the %.1f MB model that is built in. run -i \"The dog\" begins the story your way, "
                "run MODEL reads another model, run --help says more.)\n", (double)size / 1e6);
    }
    return code;
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} verbs[] = {
    { "score", verb_score }, { "tokenize", verb_tokenize }, { "info", verb_info },
    { "bench", verb_bench },
    { "grammar", verb_grammar },
    { "batch", verb_batch },
    { "vocab", verb_vocab },
    { "pretrain", verb_pretrain },
};

enum { N_VERB = sizeof verbs / sizeof *verbs };

/* A first word that is no file may be meant as a verb: then say which there are. */
static int meant_as_verb(int argc, char **argv) {
    const char *word = argv[1], *second = argc > 2 && argv[2][0] != '-' ? argv[2] : NULL;
    char names[256] = "";
    for (int i = 0; i < N_VERB; i++) {
        if (second && !strcmp(second, verbs[i].name) && access(second, F_OK) != 0)
            return complain(USAGE, "the verb comes first: run %s %s", second, word);
        size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, " %s", verbs[i].name);
    }
    if (word[0] == '-' || strpbrk(word, "/.") || access(word, F_OK) == 0) return GO_ON;
    if (!strcmp(word, "chat")) return complain(USAGE, "no verb 'chat', it is a mode: run MODEL -m chat");
    for (int i = 0; i < N_VERB; i++)
        if (is_near(word, verbs[i].name))
            return complain(USAGE, "no verb '%s', is it '%s'?", word, verbs[i].name);
    return second ? complain(USAGE, "no verb '%s', need one of:%s", word, names) : GO_ON;
}

int main(int argc, char **argv) {
    static char help[] = "--help";
    prepare_process();
    if (argc == 2 && !strcmp(argv[1], "help") && access(argv[1], F_OK) != 0) argv[1] = help;
    for (int i = 0; i < N_VERB && argc > 1; i++)
        if (!strcmp(argv[1], verbs[i].name) && access(argv[1], F_OK) != 0)
            return verbs[i].run(argc - 1, argv + 1);
    int code = argc > 1 ? meant_as_verb(argc, argv) : GO_ON;
    return code == GO_ON ? write_or_chat(argc, argv) : code;
}
