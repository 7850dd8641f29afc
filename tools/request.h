/* request.h - requests for texts and their answers in OpenAI's form: what run batch and a server share.
 *
 *     request.c   the fields of a request -> prompts as tokens, sampling, limits
 *
 * Nothing here prints: what is wrong with a request is an error in its answer. */
#ifndef PITH_REQUEST_H
#define PITH_REQUEST_H

#include "verbs.h"

/* ---- request.c ------------------------------------------------------------------------------- */

typedef struct {         /* what is wrong with a request */
    pith_error error;    /* PITH_EDATA: the request; another code: not its fault */
    const char *code;    /* a short name for it, or NULL */
    char param[48];      /* the field, or "" */
} request_error;

typedef struct {         /* how requests are read, and what is so where they do not say */
    const pith_model *m;
    pith_sampling how;
    int n_predict;       /* new tokens of a text; 0: no limit */
    int n_ctx;           /* prompt and text at most */
    int parse_special;   /* 1: names of special tokens in a prompt are read */
} request_rules;

typedef struct {
    pith_token *t;       /* (n) */
    int n;
} request_prompt;

enum { NO_LOGPROBS, CHAT_LOGPROBS, LIST_LOGPROBS }; /* the last: as completions had them first */
enum { MOST_TEXTS = 1024, MOST_STOPS = 32, MOST_BIASES = 4096, MOST_TOP = 20 }; /* of a request */

typedef struct {         /* zero-initialised is empty */
    pith__arena arena;   /* its memory */
    int is_chat;         /* 1: messages, 0: a prompt */
    request_prompt *prompt; /* (n_prompt) */
    int n_prompt;
    int n;               /* texts of each prompt */
    pith_sampling how;
    const char **stop;   /* (n_stop) */
    int n_stop;
    int n_predict, n_completion; /* new tokens: max_tokens, and its later name if that was there */
    int has_seed;
    uint64_t seed;
    int logprobs, n_top; /* NO_LOGPROBS, ...; the likeliest tokens beside each */
    const char *model;   /* the name it asked for, or NULL */
} request;

/* The fields of a request. 0, or *e says what is wrong and *r is empty. */
int  request_read(request *r, const request_rules *rules, pith__json fields, request_error *e);
void request_free(request *r);
int  request_is_chat(pith__json fields);
/* How many texts it asks for; 1 where it does not say that rightly. */
int  request_texts(pith__json fields);
/* "WHAT: NAME is VALUE, need NEED" into *e; code: a short name, or NULL. Returns 1. */
int  request_wrong(request_error *e, pith__json value, const char *name, const char *need);
/* A string of a request, whole characters only. 0, or *e says what is wrong. */
int  request_text(pith__json value, const char *name, pith__arena *a, pith__str *s, request_error *e);

#endif
