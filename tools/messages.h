/* messages.h - a conversation: who said what. */
#ifndef PITH_MESSAGES_H
#define PITH_MESSAGES_H

#include "tools.h"

typedef struct {
    const char *role;        /* "system", "user" or "assistant" */
    char *text, *thought;    /* thought: what the model thought before it answered, or NULL */
    pith_token *token;       /* (n_token) the assistant's answer as it was written, or NULL */
    int n_token;
} message;

typedef struct { /* zero-initialise it */
    message *m;
    int n;
} messages;

int  add_message(messages *all, const char *role, char *text); /* takes text over, whatever comes of it */
void drop_messages(messages *all, int from, int n);            /* these and their memory */
void free_messages(messages *all);

/* A file of JSON: an array of {"role": ..., "content": ..., "reasoning_content": ...}, or an object that has it as
 * "messages". What cannot be read leaves *all as it was. */
int save_messages(const messages *all, const char *path, const model_choice *not_this);
char *messages_as_json(const messages *all); /* the same, to be freed; NULL: no memory */
int load_messages(messages *all, const char *path);

#endif
