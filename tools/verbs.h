/* verbs.h - what the verbs share that look inside: run.c needs tools.h only. */
#ifndef PITH_VERBS_H
#define PITH_VERBS_H

#include "../internal.h"
#include "tools.h"

/* The vocabulary of a model, or one by itself, and what reads text with it. */
int open_vocab(const model_choice *c, pith__store *s, pith__tokenizer **k);

uint64_t adapters_hash(const pith_model *m, const model_choice *c); /* 0: there are none */

/* The vocabulary of a file, in a store to be freed. */
int open_vocab_file(pith__store *s, const char *path);

/* *m stays as it is where there is a vocabulary by itself: then that is in *s. */
int open_model_or_vocab(const model_choice *c, pith_model **m, pith__store *s);

int mix_named(const char *asked, const char *name, const pith__mix **mix); /* asked: the flag */
/* The format of that name, which must be one that is written; *f is NULL where name is. */
int format_named(const char *asked, const char *name, const pith__format **f);

/* The text in a field of line number of a file of JSON objects, with memory of a. An exit code. */
int  line_field(const char *name, size_t number, pith__str line, const char *field, pith__arena *a, pith__str *text);

/* As encode_text. */
int encode_with(const pith__tokenizer *k, const char *text, size_t n, unsigned flags,
                pith_token **tokens, int *count);

/* The chat template of a file, else the model's own. *t NULL: there is none, or --chat-template names another form. */
int open_chat_form(const pith_model *m, const model_choice *c, const char *file, pith_template **t);
int read_time(const char *s, pith_time *t); /* of --now: "2025-03-14T15:09:26"; NULL: the time it is */

/* 0, or NOT_LOADED: m is none that says this of texts (kinds: PITH_TASK_TEXT, ..., 0), and what it is. */
int need_task(const pith_model *m, const int *kinds);
int need_score(const pith_model *m); /* the same of one score */
void put_word(output *out, const pith_model *m, pith_token t); /* a token as a word of a list */

double log_total(const float *x, int n); /* log of the sum of exp(x): log softmax is a logit minus this */
/* log softmax of the logits x (n) at token t, and how many tokens stand before it: likelier, or as likely and
 * first. */
double logprob_of(const float *x, int n, pith_token t, int *rank);

typedef struct {            /* over the tokens that were scored */
    double nll;             /* -logprob */
    size_t n_token, n_byte;
} sums;

void print_sums(const sums *k); /* "tokens N  nll X  perplexity Y  bits/byte Z" on stderr */

typedef struct {         /* names that came: a hash each */
    uint64_t *at;        /* (room), 0: free */
    size_t n, room;
} name_set;

int add_name(name_set *s, const char *name); /* 1: it is new; 0: it came before; -1: no memory */

int has_rows(const char *text, size_t n); /* 1: its first line is {"text": "..."} or {"prompt": "..."} */

/* run score of JSONL, so many rows at once. */
int score_rows(const pith_model *m, const model_choice *c, line_reader *in, int parallel, int parse_special);

/* run score --reward: of rows in file ("-": standard input), by the reward model in the PEFT folder reward; the first show
 * texts as ids too, on stderr. */
int score_by_reward(const pith_model *m, const model_choice *c, const char *reward, const char *file, int show);

/* Bytes of n sessions of the context with a pass that they share, and of the pass and each of them; c->pass does
 * not count. 0: refused. */
double size_together(const pith_model *m, const pith_context *c, int n, size_t *pass, size_t *session);
/* Where no context was asked for: the model's, or less, so that these fit into memory. */
void fit_context(const pith_model *m, pith_context *c, int n);

/* Where word is one of known (n), capitals or not, *is is its number. asked: the flag. */
int find_word(const char *asked, const char *word, const char *const *known, int n, int *is);
/* --pooling NAME; PITH_MEAN, ... or 0 for none. */
int choose_pooling(const char *name, unsigned *pooling);
/* A prompt of the model's by its name, or a text that has a blank in it; "": NULL. */
int choose_prompt(const pith_model *m, const char *by, const char *asked, const char **prompt);

/* A model of one of bench's shapes, in such a format. */
int make_shape_model(const char *name, const char *type, const pith_options *opt, pith_model **m);
int bench_masks(const model_choice *c, const grammar_choice *given, int documents, int json); /* run bench --grammar */

pith__progress progress_of(progress *p); /* for the library: shows, and stops when the user asks for it */

#endif
