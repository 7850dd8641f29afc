/* request.h - requests for texts and their answers in OpenAI's form: what run batch and a server share.
 *
 *     values.c    the values of its fields
 *     prompts.c   its prompt or its messages -> tokens
 *     request.c   the fields of a request -> all that is asked for
 *     answer.c    a text as it comes -> the answer
 *     slots.c     many texts, written together
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
    const pith_template *form; /* of messages; NULL: that of pith_encode_chat, which runs no template */
    const char *variables; /* for it, a JSON object, where a request does not say; or NULL */
    const pith_time *now; /* for it; or NULL */
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
    pith_grammar *grammar; /* of its texts, or NULL */
    const char **stop;   /* (n_stop) */
    int n_stop;
    int n_predict, n_completion; /* new tokens: max_tokens, and its later name if that was there */
    int has_seed;
    uint64_t seed;
    int logprobs, n_top; /* NO_LOGPROBS, ...; the likeliest tokens beside each */
    const char *model;   /* the name it asked for, or NULL */
} request;

typedef struct {         /* at work */
    request *r;
    const request_rules *rules;
    request_error *e;
    pith__json prompt, messages, format, gbnf, schema; /* read when all else is; */
    pith__json tools, variables, effort; /* messages: what else the chat template gets */
    int no_tools;
    int64_t top_logprobs, best_of;
    int has_top;
} request_reader;

/* The fields of a request. 0, or *e says what is wrong and *r is empty. */
int  request_read(request *r, const request_rules *rules, pith__json fields, request_error *e);
void request_free(request *r);
int  request_is_chat(pith__json fields);
/* How many texts it asks for; 1 where it does not say that rightly. */
int  request_texts(pith__json fields);

/* ---- values.c -------------------------------------------------------------------------------- */

/* "WHAT: NAME is VALUE, need NEED" into *e; code: a short name, or NULL. Returns 1. */
int  request_wrong(request_error *e, pith__json value, const char *name, const char *need);
/* A string of a request, whole characters only. 0, or *e says what is wrong. */
int  request_text(pith__json value, const char *name, pith__arena *a, pith__str *s, request_error *e);
/* The same, one that ends in a NUL. */
int  request_plain(request_reader *k, pith__json value, const char *name, const char **text);
/* 1: the field asks for what happens without it: false, [], "", {"type": "text"}, ["text"]. */
int  request_neutral(pith__json value);
/* "request: TEXT" of the field name. Both return 1. */
int  request_refuse(request_error *e, const char *name, const char *code, const char *text);
int  request_no_memory(request_error *e);

/* ---- prompts.c ------------------------------------------------------------------------------- */

int  request_prompts(request_reader *k); /* k->prompt, or k->messages: 0, or k->e says what is wrong */
int  request_chat(request_reader *k);

/* ---- answer.c -------------------------------------------------------------------------------- */

typedef struct {
    pith_token token;
    double logprob;
} likely_token;

typedef struct {         /* a token of a text, for logprobs */
    likely_token is;
    pith_token before;   /* the token before it, which its text depends on */
    size_t at;           /* bytes of the text before it */
} told_token;

typedef struct {         /* a text of a request, from its prompt to its end */
    const request *r;
    const request_prompt *prompt;
    int index;           /* which of the request's texts */
    uint64_t seed;
    pith_generation g;
    pith_error error;    /* why it failed, if g.ended is an error */
    output out, mind;    /* to text, to thought */
    char *text, *thought; /* (n_text), (n_thought) of a conversation, what is thought before the answer */
    size_t n_text, n_thought, shown; /* shown: bytes of its tokens, before a stop text cut them */
    int thinking;        /* the last token was within thoughts */
    int is_nan;          /* 1: a token was drawn from logits that are none */
    told_token *told;    /* (n_told, of room), where logprobs are wanted */
    likely_token *top;   /* (n_told, r->n_top) */
    size_t n_told, room;
    void *owner;         /* the caller's */
} choice;

/* Text number index of a request, which must stay. 0, or 1: no memory. */
int  choice_begin(choice *c, const pith_model *m, const request *r, int index, uint64_t seed);
/* After each pass: what c->g has got there. The session is the one in which it is written. */
void choice_take(choice *c, const pith_session *s);
void choice_free(choice *c);

typedef struct {         /* what an answer says beside its texts */
    const char *id, *custom_id; /* as JSON; custom_id: or NULL */
    const char *model, *fingerprint;
} answer_head;

void answer_write(output *o, const pith_model *m, const answer_head *head, const request *r, const choice *c);
void answer_error(output *o, const request_error *e);

/* ---- slots.c --------------------------------------------------------------------------------- */

enum { SLOT_IDLE, SLOT_WAITS, SLOT_WRITES };

typedef struct {         /* a place for a text; its session keeps the text until the next one comes */
    pith_session *s;     /* or NULL */
    size_t size;         /* bytes of it */
    choice *c;           /* or NULL: idle */
    int state;
    int keep;            /* tokens of its beginning to be kept in another slot, when they are read; or 0 */
    uint64_t used;       /* when it last was of use, by the count of slots.clock */
} slot;

typedef struct {
    const pith_model *m;
    pith_context context; /* of all sessions, but for n_ctx */
    int n_ctx;           /* tokens of the longest text */
    slot *slot;          /* (n_slot) */
    int n, n_slot;       /* texts at once; some slots more than that keep what others may begin with */
    int n_busy, most_rows;
    uint64_t clock;
    pith_session **s;    /* (n) those of a pass, */
    pith_generation **g; /* (n) and what they write */
    size_t room, used;   /* bytes that sessions may have, and have */
    void (*take)(choice *c, const pith_session *s); /* after each pass what a text has got: choice_take, if nobody sets another */
    size_t n_read, n_shared, n_written; /* tokens of prompts evaluated, and taken from others; new ones */
} slots;

/* For n texts at once, of c->n_ctx tokens at most, c->n_batch in a pass, in sessions of room bytes in all. */
int  slots_open(slots *k, const pith_model *m, const pith_context *c, int n, size_t room, pith_error *err);
void slots_close(slots *k);
void slots_start(slots *k, choice *c); /* n_busy < n */
/* One pass. ended: (n) texts that have ended in it, or failed. Returns how many, or an error of all. */
int  slots_step(slots *k, choice **ended, pith_error *err);

#endif
