/* talk.h - a conversation at work, for talk.c and the commands of commands.c. */
#ifndef PITH_TALK_H
#define PITH_TALK_H

#include "line.h"
#include "messages.h"
#include "voice.h"

enum { ANSWER_TOKENS = 4096 }; /* of an answer at most, at a terminal, where the user does not say */

typedef struct {
    voice *v;
    options *o;
    messages all;            /* it is encoded whole for every answer */
    pith_template *form;     /* what writes it; NULL: a form of --chat-template, or the one that fits the model */
    int n_ctx;               /* tokens that it may have */
    int keeps_all;           /* nothing is forgotten: a full context ends the conversation */
    int typed;               /* a person types at a terminal: lines are edited, commands obeyed */
    line_editor editor;
    int n_line;              /* lines of standard input, where it is none */
    int talked;              /* tokens of the conversation so far */
    int n_dropped;           /* messages that the context had no room for */
    int n_read, n_known, n_written; /* tokens: of the last question, of these known before, of the answer */
    double read_seconds, write_seconds;
    int again;               /* answer the last question anew */
} talk;

int command(talk *k, const char *line); /* GO_ON, or an exit code: the conversation is over */

#endif
