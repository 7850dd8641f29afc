/* verbs.h - what the verbs share that look inside: run.c needs tools.h only. */
#ifndef PITH_VERBS_H
#define PITH_VERBS_H

#include "../internal.h"
#include "tools.h"

/* The vocabulary of a model, or one by itself, and what reads text with it. */
int open_vocab(const model_choice *c, pith__store *s, pith__tokenizer **k);

/* The vocabulary of a file, in a store to be freed. */
int open_vocab_file(pith__store *s, const char *path);

/* *m stays as it is where there is a vocabulary by itself: then that is in *s. */
int open_model_or_vocab(const model_choice *c, pith_model **m, pith__store *s);

/* As encode_text. */
int encode_with(const pith__tokenizer *k, const char *text, size_t n, unsigned flags,
                pith_token **tokens, int *count);

pith__progress progress_of(progress *p); /* for the library: shows, and stops when the user asks for it */

#endif
