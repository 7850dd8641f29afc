/* tools.h - what run.c and the verbs in tools/ share: exit codes, flags, opening, output.
 *
 * A function that returns an int gives an exit code: 0, or it has said on stderr what was wrong, in
 * one line that begins with "pith: ". */
#ifndef PITH_TOOLS_H
#define PITH_TOOLS_H

#include "../model.h"

#include <limits.h>
#include <stdio.h>

enum { USAGE = 1, NOT_LOADED = 2, BAD_DATA = 3, FAILED = 4 }; /* exit codes */
enum { GO_ON = -1 };                                          /* not one: nothing to exit for */

/* Say what is wrong and return code. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
int complain(int code, const char *fmt, ...);

/* The same, of a command that goes on, unless *said is 1; then it is. */
void warn_once(int *said, const char *text);

/* A line that helps, of a command that goes on: "note: ...". Nothing where the user asked for quiet. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void note(int quiet, const char *fmt, ...);

/* Say what the library said, and return the exit code for it: USAGE for PITH_EARG, BAD_DATA for what is
 * wrong with a file, else FAILED; for PITH_ESTOP stopped(), and nothing is said. */
int report(const pith_error *e);

/* ---- the process ----------------------------------------------------------------------------- */

void prepare_process(void); /* signals, and descriptors that were closed */
int  stopped(void);         /* 129, 130 or 143 once the user has asked to stop, else 0 */
/* 1: Ctrl-C ends an answer: it is asked about with take_interrupt, any number of times, and then forgotten. */
void interrupts_end_answers(int yes);
int  take_interrupt(void); /* 1: there was one */
int  stdin_waits(void);     /* 1: standard input is a pipe or a file, and has something to read */
double seconds(void);       /* of a clock that only goes forward */
int  flush_stdout(void);

/* ---- flags ----------------------------------------------------------------------------------- */

typedef struct {
    const char *item[32];
    int n;
} list;

enum { SWITCH, BOOLEAN, INTEGER, REAL, SEED, TEXT, LIST }; /* int int int float uint64_t char* list */
/* BOOLEAN: --flag, --flag true or --flag false, as Hugging Face's programs have it */

typedef struct {         /* a row of a table of flags; the last row has no help */
    char letter;         /* the t of -t, or 0 */
    const char *name;    /* the temp of --temp, or NULL */
    int kind;
    void *to;            /* where the value goes, of the type that kind says */
    double min, max;     /* INTEGER, REAL */
    const char *value;   /* what the help calls it */
    const char *help;    /* "": another name of the flag before; its % stands for the value before it is set */
} flag;

/* One more text of a list; path: or NULL. There must be one in the end. */
int add_text(list *texts, const char *path);

/* Reads argv[1..] into flags; what is not a flag is the model. GO_ON, or an exit code. */
int read_flags(int argc, char **argv, const char *usage, const flag *flags, const char **model);
/* The same; what follows the model are files, if not NULL. */
int read_flags_and_files(int argc, char **argv, const char *usage, const flag *flags, const char **model, list *files);
int is_near(const char *word, const char *name); /* 1: about a third of the letters differ, or fewer */
int read_integer(const char *s, long long min, long long max, long long *to); /* 1: s is one */
int read_real(const char *s, double min, double max, double *to);

/* Token ids "1,5,9" into *ids, which the caller frees. */
int read_ids(const char *s, pith_token **ids, int *n);

/* ---- models and texts ------------------------------------------------------------------------ */

typedef struct {
    const char *path;
    pith_options options;
    pith_context context;
    int quiet;
    int trace;                             /* of ENCODER_FLAGS */
    list lora, lora_scaled;                /* as they are asked for: LORA_FLAGS */
    pith_adapter *adapter[PITH_ADAPTERS];  /* (context.n_adapter) once they are open */
    float scale[PITH_ADAPTERS];
} model_choice;

enum { MOST_THREADS = 1024 };

#define MODEL_FLAGS(c) \
    { 'z', "tokenizer", TEXT, &(c).options.tokenizer, 0, 0, "FILE", \
      "tokenizer.bin of a llama2.c checkpoint (tokenizer.bin)" }, \
    { 'c', "ctx-size", INTEGER, &(c).context.n_ctx, 0, INT32_MAX, "N", \
      "context in tokens (0: the model's)" }, \
    { 0, "threads", INTEGER, &(c).options.n_threads, 0, MOST_THREADS, "N", \
      "threads (0: $OMP_NUM_THREADS, or one a physical core)" }, \
    { 0, "no-mmap", SWITCH, &(c).options.no_mmap, 0, 0, "", \
      "read the file into memory instead of mapping it" }, \
    { 0, "kernels", TEXT, &(c).options.kernels, 0, 0, "NAME", \
      "arithmetic to use: portable, ... (the fastest)" }, \
    { 0, "cache-type-k", TEXT, &(c).context.cache_k, 0, 0, "TYPE", \
      "keys in the cache: f32, f16 or q8_0" }, \
    { 0, "cache-type-v", TEXT, &(c).context.cache_v, 0, 0, "TYPE", \
      "values in the cache: f32, f16 or q8_0" }, \
    { 0, "swa-full", SWITCH, &(c).context.swa_full, 0, 0, "", \
      "keep the whole text in layers with a sliding window too, so that no beginning is read again: more memory" }, \
    { 0, "pretokenizer", TEXT, &(c).options.pretokenizer, 0, 0, "NAME", \
      "how text is cut into words, instead of what the file says" }

#define ENCODER_FLAGS(c) \
    { 'c', "ctx-size", INTEGER, &(c).context.n_ctx, 0, INT32_MAX, "N", "cut texts to so many tokens (0: the model's limit)" }, \
    { 0, "threads", INTEGER, &(c).options.n_threads, 0, MOST_THREADS, "N", \
      "threads (0: $OMP_NUM_THREADS, or one a physical core)" }, \
    { 0, "no-mmap", SWITCH, &(c).options.no_mmap, 0, 0, "", "read the file into memory instead of mapping it" }, \
    { 0, "kernels", TEXT, &(c).options.kernels, 0, 0, "NAME", "arithmetic to use: portable, ... (the fastest)" }, \
    { 0, "trace", SWITCH, &(c).trace, 0, 0, "", "show every activation of every layer on standard error, text by text" }

#define LORA_FLAGS(c) \
    { 0, "lora", LIST, &(c).lora, 0, 0, "PATH", \
      "with this LoRA: a PEFT folder or a .gguf; several with commas, or given often" }, \
    { 0, "lora-scaled", LIST, &(c).lora_scaled, 0, 0, "PATH:X", "the same, X times as strong" }

enum { NOT_SAID = INT_MIN }; /* a number that the user left to us, less than any he could give */

typedef struct {
    pith_sampling how;
    const char *samplers, *sequence; /* --samplers, --sampler-seq */
    list breakers;           /* --dry-sequence-breaker */
    char order[32];          /* what how points to */
    const char *breaker[32];
    char text[1024];
} sampling_choice;

#define SAMPLING_NOT_SAID { .how = { \
    .repeat_last_n = 64, .repeat_penalty = NOT_SAID, .temperature = NOT_SAID, .top_k = NOT_SAID, .top_p = NOT_SAID, \
    .min_p = NOT_SAID, .typical_p = 1, .xtc_threshold = 0.1f, .dynatemp_exponent = 1, .dry_base = 1.75f, \
    .dry_allowed_length = 2, .dry_last_n = 64, .mirostat_tau = 5, .mirostat_eta = 0.1f, .adaptive_target = -1, \
    .adaptive_decay = 0.9f } }

#define SAMPLING_FLAGS(c) \
    { 't', "temp", REAL, &(c).how.temperature, 0, 1e6, "T", \
      "temperature; 0 always takes the likeliest token (0.8 | 1.0)" }, \
    { 0, "temperature", REAL, &(c).how.temperature, 0, 1e6, "T", "" }, \
    { 'p', "top-p", REAL, &(c).how.top_p, 0, 1, "P", \
      "draw from the fewest tokens whose probabilities add up to P (0.95 | 0.9)" }, \
    { 0, "top-k", INTEGER, &(c).how.top_k, 0, INT32_MAX, "K", \
      "draw from the K likeliest; 0: off (40 | 0)" }, \
    { 0, "min-p", REAL, &(c).how.min_p, 0, 1, "P", \
      "draw from those at least P times as likely as the likeliest (0.05 | 0)" }, \
    { 0, "repeat-penalty", REAL, &(c).how.repeat_penalty, 0.01, 100, "X", \
      "make the last tokens less likely; 1: off (1)" }, \
    { 0, "repeat-last-n", INTEGER, &(c).how.repeat_last_n, -1, INT32_MAX, "N", \
      "of so many last tokens; -1: all (64)" }, \
    { 0, "presence-penalty", REAL, &(c).how.presence_penalty, -100, 100, "X", \
      "subtracted from the logit of each of the last tokens (0)" }, \
    { 0, "frequency-penalty", REAL, &(c).how.frequency_penalty, -100, 100, "X", \
      "the same for each use (0)" }, \
    { 0, "typical", REAL, &(c).how.typical_p, 0, 1, "P", \
      "draw from those as surprising as is expected that add up to P; 1: off (1)" }, \
    { 0, "typical-p", REAL, &(c).how.typical_p, 0, 1, "P", "" }, \
    { 0, "top-n-sigma", REAL, &(c).how.top_n_sigma, -1, 1000, "N", \
      "draw from those within N standard deviations of the largest logit; 0: off (0)" }, \
    { 0, "top-nsigma", REAL, &(c).how.top_n_sigma, -1, 1000, "N", "" }, \
    { 0, "xtc-probability", REAL, &(c).how.xtc_probability, 0, 1, "P", \
      "with this probability only the least likely of the likely tokens stays; 0: off (0)" }, \
    { 0, "xtc-threshold", REAL, &(c).how.xtc_threshold, 0, 1, "P", \
      "likely enough for that (0.1)" }, \
    { 0, "dynatemp-range", REAL, &(c).how.dynatemp_range, 0, 1e6, "X", \
      "from temperature - X to temperature + X, the colder the surer the model is (0)" }, \
    { 0, "dynatemp-exp", REAL, &(c).how.dynatemp_exponent, 0, 100, "X", \
      "how that follows the entropy (1)" }, \
    { 0, "dry-multiplier", REAL, &(c).how.dry_multiplier, 0, 100, "X", \
      "make what would go on with a repetition less likely; 0: off (0)" }, \
    { 0, "dry-base", REAL, &(c).how.dry_base, 0, 100, "X", \
      "by so many times more for each token that is repeated (1.75)" }, \
    { 0, "dry-allowed-length", INTEGER, &(c).how.dry_allowed_length, 0, INT32_MAX, "N", \
      "from repetitions of N tokens on (2)" }, \
    { 0, "dry-penalty-last-n", INTEGER, &(c).how.dry_last_n, -1, INT32_MAX, "N", \
      "looking back on N tokens; -1: all (64)" }, \
    { 0, "dry-sequence-breaker", LIST, &(c).breakers, 0, 0, "TEXT", \
      "a repetition begins anew at TEXT; may be given often, none: nowhere (\\n : \" *)" }, \
    { 0, "mirostat", INTEGER, &(c).how.mirostat, 0, 2, "N", \
      "hold the surprise, by temperature and version 1 or 2 of mirostat alone; 0: off (0)" }, \
    { 0, "mirostat-ent", REAL, &(c).how.mirostat_tau, 0, 100, "X", "at so many bits (5)" }, \
    { 0, "mirostat-lr", REAL, &(c).how.mirostat_eta, 0, 100, "X", "correcting it so fast (0.1)" }, \
    { 0, "adaptive-target", REAL, &(c).how.adaptive_target, -1, 1, "P", \
      "with adaptive_p among --samplers: prefer tokens of probability P; -1: off (-1)" }, \
    { 0, "adaptive-decay", REAL, &(c).how.adaptive_decay, 0, 0.99, "X", \
      "remembering what was drawn so long (0.9)" }, \
    { 0, "samplers", TEXT, &(c).samplers, 0, 0, "NAMES", \
      "stages in their order: penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature" }, \
    { 0, "sampler-seq", TEXT, &(c).sequence, 0, 0, "LETTERS", \
      "the same by letters (etkpm; edskypmxt as soon as another is used, or --dynatemp-range)" }, \
    { 0, "sampling-seq", TEXT, &(c).sequence, 0, 0, "LETTERS", "" }

/* What the flags' texts say becomes part of c->how, which then points into *c. */
int finish_sampling(sampling_choice *c);
int are_samplers(const char *letters, size_t room); /* 1: fewer than room, and each is one's of pith_sampling.order */

/* What the user did not say is as the model says, else as pith_sampling_default. */
void fill_sampling(const pith_model *m, pith_sampling *how);

/* The model that is part of the program; NULL: none. */
const void *bundled_model(size_t *size);

/* Threads for pith_options: those of --threads, else those of OMP_NUM_THREADS, else 0. */
int threads_wanted(int asked);

/* The one that is built in where c has no path. need_text: with a vocabulary, which a llama2.c checkpoint has in a file of its own. */
int open_model(const model_choice *c, int need_text, pith_model **m);

/* The same with the adapters that are asked for: sessions of c->context then have them. An error leaves *m NULL. */
int  open_adapted(model_choice *c, int need_text, pith_model **m);
int  open_adapters(model_choice *c, const pith_model *m); /* of a model that is open */
void note_templates(const model_choice *c, const pith_model *m); /* of adapters taught with another chat template */
void close_model(model_choice *c, pith_model *m); /* and the adapters; m may be NULL */
int  need_decoder(const pith_model *m); /* 0, or NOT_LOADED: it is none, and which verbs are for it */

/* --normalizer NAME, of a vocabulary to be learned: none or nfc. -1: neither, complained. */
int wants_nfc(const char *name);

/* A session for n tokens, or for as many as memory has room for: the context of *c is set. */
int open_session(const pith_model *m, model_choice *c, int n, pith_session **s);

/* The whole of a file, or of standard input ("-"); the caller frees *text. */
int read_text(const char *path, char **text, size_t *n);

/* So many Korean syllables of a text are written as jamo; nfc: but will be composed. One line, or none. */
void say_hangul_apart(const char *what, size_t n, int nfc);

/* Text from elsewhere, n bytes and a NUL: no byte order mark, and lines that end in \n. UTF-16 is refused.
 * name: of where it is from. */
int clean_text(const char *name, char *text, size_t *n);

/* A text line by line; blank lines are passed over, unless they are to be kept. */
typedef struct {
    FILE *file;
    const char *name;        /* for messages */
    char *p;                 /* (n) the line without its end, and a NUL */
    size_t n, room;
    size_t number;           /* of the line in the file, from 1 */
    size_t done, all;        /* bytes read, and of the file where that is known, else 0 */
    int too_long;            /* 1: the line goes on behind p */
    int keep_blank;          /* 1: a blank line is a line, too */
} line_reader;

int  lines_open(line_reader *l, const char *path); /* "-": standard input */
int  lines_of_text(line_reader *l, const char *name, char *text, size_t n); /* the text is the caller's */
int  lines_next(line_reader *l);   /* GO_ON: there is one; 0: no more; or an exit code */
void lines_close(line_reader *l);

/* Tokens of a text, which the caller frees. */
int encode_text(const pith_model *m, const char *text, size_t n, unsigned flags,
                pith_token **tokens, int *count);

/* What the tokens of a prompt show: all but a BOS at its beginning. The caller frees *text: size bytes and a NUL. */
int shown_text(const pith_model *m, const pith_token *t, int n, char **text, size_t *size);

void warn_of_nan(const pith_model *m, const pith_session *s, int *said); /* once */

/* What takes longer than two seconds says how far it is, if standard error is a terminal. */
typedef struct {
    const char *what;
    double start, shown;
} progress;

void show_progress(progress *p, size_t done, size_t all); /* done == all takes it away again */

/* Evaluate n tokens; ends early, without a complaint, when the user asks to stop. */
int eval_tokens(pith_session *s, const pith_token *t, int n);
int sync_tokens(pith_session *s, const pith_token *t, int n); /* the same, as pith_sync */

/* ---- a text kept in a file: --prompt-cache ---------------------------------------------------- */

typedef struct {
    const char *path;    /* NULL: none */
    int read_only;       /* --prompt-cache-ro */
    int found;           /* 1: there is such a file */
} kept_text;

int  kept_check(const kept_text *k, const char *text); /* the flags; text: the file of -o, or NULL */
int  kept_find(kept_text *k, int *n_token);              /* how long the text is; 0: no file yet */
int  kept_load(const kept_text *k, pith_session *s);
void kept_say(const kept_text *k, int quiet, int reused, int n); /* how much of a prompt was in it */
int  kept_save(const kept_text *k, const pith_session *s);

/* ---- grammars -------------------------------------------------------------------------------- */

typedef struct {         /* what a text has to be: one of these, or none */
    const char *text, *file, *schema, *schema_file;
} grammar_choice;

#define GRAMMAR_FLAGS(c) \
    { 0, "grammar", TEXT, &(c).text, 0, 0, "TEXT", "what is written is a sentence of this grammar (GBNF)" }, \
    { 0, "grammar-file", TEXT, &(c).file, 0, 0, "FILE", "the same from a file" }, \
    { 'j', "json-schema", TEXT, &(c).schema, 0, 0, "TEXT", "what is written is JSON of this JSON Schema" }, \
    { 0, "json-schema-file", TEXT, &(c).schema_file, 0, 0, "FILE", "the same from a file" }

/* For texts of m, or NULL. *g NULL: there is none. The caller frees it */
int open_grammar(const grammar_choice *c, const pith_model *m, pith_grammar **g);

/* ---- output ---------------------------------------------------------------------------------- */

typedef struct {
    FILE *file;              /* standard output, or */
    struct pith__writer *written; /* a file, written beside and renamed when all is there */
    const char *path;        /* its name, or NULL */
    unsigned char tail[4];   /* bytes of a character that is not complete yet */
    int n_tail;
    int code;                /* The first failure; GO_ON: the reader closed the pipe, or the user stopped. */
} output;

int  same_file(const char *a, const char *b); /* 1: two paths of one file that is there */
int  output_open(output *o, const char *path, /* NULL or "-": stdout */
                 const model_choice *not_this); /* whose files are not to be written over, or NULL */
int  output_memory(output *o, char **p, size_t *n); /* (n) to be freed, when o->file has been closed. 1: no memory */
void output_bytes(output *o, const void *p, size_t n);
void output_text(output *o, const char *p, size_t n); /* whole UTF-8 characters only */
void output_json(output *o, const char *p, size_t n); /* as a JSON string */
void output_line(output *o, const char *fmt, ...);
void output_flush(output *o);
int  output_close(output *o, int keep); /* keep 0: a file stays as it was. An exit code */

/* ---- many texts of one prompt: samples.c ------------------------------------------------------ */

typedef struct {
    const pith_model *m;
    pith_session *first; /* has evaluated what is wanted of the prompt; others are made like it, */
    const pith_context *context; /* as it was */
    const pith_token *prompt; /* (n_prompt) */
    int n_prompt, n_shown; /* n_shown: tokens of the prompt that the texts begin with */
    pith_generation g;   /* how each is written: rng is the seed of the first; n_predict below 1: not at all */
    int n, parallel;     /* texts; at once, 0: as many as is sensible */
    int jsonl;           /* 1: an object a line, 0: texts with a line <|endoftext|> between them */
    output *out;
    int n_cut;           /* what comes of it: texts that the model did not end, */
    int n_half;          /* those that end in the middle of a sentence of the grammar, */
    long long n_token;   /* and all their new tokens */
} samples;

int write_samples(samples *w); /* ends early, without a complaint, when the user asks to stop */

/* ---- the verbs ------------------------------------------------------------------------------- */

int verb_score(int argc, char **argv);
int verb_embed(int argc, char **argv);
int verb_rank(int argc, char **argv);
int verb_fill(int argc, char **argv);
int verb_classify(int argc, char **argv);
int verb_tokenize(int argc, char **argv);
int verb_info(int argc, char **argv);
int verb_quantize(int argc, char **argv);
int verb_bench(int argc, char **argv);
int verb_grammar(int argc, char **argv);
int verb_template(int argc, char **argv);
int verb_batch(int argc, char **argv);
int verb_vocab(int argc, char **argv);
int verb_pretrain(int argc, char **argv);
int verb_sft(int argc, char **argv);
int verb_dpo(int argc, char **argv);
int verb_reward(int argc, char **argv);
int verb_ppo(int argc, char **argv);
int verb_grpo(int argc, char **argv);
int verb_merge(int argc, char **argv);
int verb_drift(int argc, char **argv);
int verb_imatrix(int argc, char **argv);
int verb_search(int argc, char **argv);
void trace_session(pith_session *s); /* from now on its activations go to stderr */
void trace_embedder(pith_embedder *e, const pith_model *m); /* as well, text by text */
#endif
