/* voice.h - what writing a text and holding a conversation share: the options, and a voice that speaks. */
#ifndef PITH_VOICE_H
#define PITH_VOICE_H

#include "tools.h"

typedef struct {
    model_choice model;
    grammar_choice grammar;
    const char *prompt, *file, *output, *mode, *system, *format;
    const char *drafter; /* --model-draft */
    int n_total, n_predict, n_draft, draft_max, shift, keep, n_sample, parallel;
    uint64_t seed;
    sampling_choice sampling;
    list stop, bias;
    kept_text kept;
    const char *template_file, *variables; /* of --chat-template-file, --chat-template-kwargs */
    const char *thoughts, *reasoning, *budget_message;
    int thought_budget;  /* --reasoning-budget */
    int parse_special, ignore_eos, trace, version, no_drop;
} options;

enum { THOUGHTS_SHOW, THOUGHTS_DIM, THOUGHTS_HIDE, N_THOUGHTS };
extern const char *const thoughts_names[N_THOUGHTS];

/* Tokens to text on a stream. */
typedef struct {
    const pith_model *m;
    pith_session *s;
    pith_pass *pass;     /* of sessions for --samples */
    output out;
    pith_generation g;
    int ended;           /* why the last text ended: PITH_END, ... */
    pith_token eos;      /* ends a turn, where llama2.c's models end a text with BOS */
    float *drafts;       /* logits of tokens guessed ahead, */
    pith_model *drafter; /* by this model, */
    pith_session *drafts_by; /* or NULL */
    long long n_new;     /* tokens drawn, of all texts */
    int n_cut;           /* texts that the model did not end */
    int thoughts, colour; /* THOUGHTS_SHOW, ...; 1: the stream is a terminal that may have colours */
    int thinking;        /* a thought was begun on the stream */
    double start;        /* of what the model writes; of the prompt, where it writes one token at most; */
    int untimed;         /* and the tokens before that */
    int nan_said, stdin_said;
} voice;

/* The user's biases, and those that keep a text from ending. The caller frees *bias. */
int make_bias(const pith_model *m, const options *o, pith_bias **bias, pith_sampling *how);

/* What a text begins with; the caller frees *text. One newline at the end of a file is dropped; editors add it. */
int get_prompt(const options *o, char **text, size_t *n);

int  set_thoughts(voice *v, const options *o); /* as the flags say: of a conversation */
int  set_reasoning(voice *v, const options *o);
int  find_kept(const voice *v, options *o, int *n); /* *n is no less than the text of --prompt-cache needs */
int  start_session(voice *v, options *o, int n); /* for n tokens */
int  say_next(voice *v);                         /* One more token and its text. GO_ON, 0 at the end, or an exit code. */
void say_drafts(const voice *v, const options *o);
void end_drafts(voice *v);

int converse(voice *v, options *o); /* a conversation: talk.c */

#endif
