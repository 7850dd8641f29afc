/* model.h - the whole public interface of the library.
 *
 *     pith_error e;
 *     pith_options opt = {0};
 *     opt.tokenizer = "tok512.bin";                     // a .gguf or a Hugging Face folder brings its own
 *     pith_model   *m = pith_open("stories260K.bin", &opt, &e);
 *     pith_session *s = m ? pith_session_new(m, NULL, &e) : NULL;
 *     if (!s) { fprintf(stderr, "%s\n", e.text); pith_close(m); return 1; }
 *     pith_token t[64];
 *     int n = pith_encode(m, "Once upon a time", 16, PITH_BOS, t, 64);
 *     int fits = n >= 0 && n <= 64, code = fits ? pith_eval(s, t, n, &e) : PITH_EARG;
 *     pith_generation g = {0};
 *     g.how = pith_sampling_default(m);
 *     g.rng = 42;                                       // a seed
 *     g.n_predict = 100;
 *     while (code == PITH_OK) {
 *         code = pith_generate(s, &g, &e);
 *         fwrite(g.text, 1, g.n_text, stdout);
 *     }
 *     if (code < 0) fprintf(stderr, "%s\n", fits ? e.text : "the prompt does not become 64 tokens or less");
 *     pith_generation_free(&g);
 *     pith_session_free(s);
 *     pith_close(m);
 *     return code < 0;
 *
 * Ownership  Whoever calls _open or _new calls _close or _free, children before parents. A NULL model
 *            or session is accepted by _close and _free only. Pointers returned as const belong to the library and live as long as
 *            the object asked. Everything else is memory of the caller.
 * Errors     A function that can fail returns NULL, or a code < 0, and fills *err when err is not
 *            NULL. A failed call leaves its objects as they were. The library never exits, prints,
 *            asserts on input, or reads an environment variable.
 * Threads    There is no global state. A model is read-only after pith_open and may be shared; a
 *            session may be used by one thread at a time, and so may all sessions that share a pass.
 * Sizes      Functions that fill an array take its capacity and return the count they needed,
 *            like snprintf: a result > cap means "call again with more room".
 * Files      A model file is mapped, not copied, and must not change while it is open: a mapped file
 *            that shrinks raises SIGBUS in whoever reads it. Set no_mmap where that can happen.
 */
#ifndef PITH_MODEL_H
#define PITH_MODEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PITH_VERSION "0.1.0"
const char *pith_version(void); /* of the library, where the macro is that of this header */

typedef int32_t pith_token;
typedef struct pith_model   pith_model;   /* weights and vocabulary, memory-mapped */
typedef struct pith_session pith_session; /* one text in progress: KV cache, position, logits */
typedef struct pith_pass    pith_pass;    /* scratch memory in which texts are evaluated, one or many at once */
typedef struct pith_adapter pith_adapter; /* a LoRA: small matrices that are added to a model's */

/* ---- errors ------------------------------------------------------------ */

enum {
    PITH_OK      = 0,
    PITH_EIO     = -1, /* the file could not be opened, mapped or read */
    PITH_EFORMAT = -2, /* the file breaks its own format */
    PITH_EARCH   = -3, /* a sound file, but of an architecture or type not supported */
    PITH_EMEMORY = -4, /* out of memory */
    PITH_EFULL   = -5, /* the context window is full */
    PITH_EARG    = -6, /* the caller passed something impossible */
    PITH_EDATA   = -7, /* a text or other data to work on is of no use (training; no call of this header) */
    PITH_ESTOP   = -8  /* the caller asked to stop (training; no call of this header) */
};

typedef struct {
    int  code;
    char text[244]; /* one line, no newline, names the file, tensor, key or argument at fault */
} pith_error;

/* ---- model ------------------------------------------------------------- */

typedef struct {            /* zero-initialised is the default; new fields go last */
    const char *tokenizer;  /* tokenizer.bin beside a llama2.c checkpoint; NULL: none, tokens only */
    const char *kernels;    /* "portable", "avx2", ...; NULL: the fastest this processor runs */
    int         n_threads;  /* 0: one a physical core (as affinity and CPU quota allow), 1 for a small model; 1: start none */
    int         no_mmap;    /* 1: read the file into memory instead of mapping it */
    const char *pretokenizer, *chat_template; /* names, instead of the file's own; NULL: those */
} pith_options;

typedef struct {
    char   arch[16];        /* "llama", "qwen3", "gemma3", ... */
    int    n_layer, n_embd, n_head, n_kv_head, head_dim, n_ff, n_vocab, n_ctx;
    size_t n_param, n_byte; /* numbers in the weights, and the bytes they take in the file */
    pith_token bos, eos;    /* begin and end a text; -1: none */
    int    has_vocab;       /* 1: text can become tokens, and tokens text */
    int    has_chat;        /* 1: the file brings a chat template */
    int    llama2c;         /* 1: a llama2.c file, whose defaults are llama2.c's */
} pith_shape;

pith_model *pith_open(const char *path, const pith_options *opt, pith_error *err);
pith_model *pith_open_memory(const void *data, size_t size, const pith_options *opt,
                             pith_error *err); /* data must outlive the model */
void        pith_close(pith_model *m);
const pith_shape *pith_model_shape(const pith_model *m);
const char *pith_model_note(const pith_model *m, int i); /* what opening left out or assumed, a line each;
                                                            NULL: there are no more than i */

/* ---- text -------------------------------------------------------------- */

enum {
    PITH_BOS     = 1, /* begin with the model's beginning-of-text token, if it has one */
    PITH_EOS     = 2, /* end with its end-of-text token */
    PITH_SPECIAL = 4  /* read "<|im_end|>" in the text as that one token */
};

typedef struct {
    const char *role, *text; /* role: "system", "user" or "assistant" */
    const pith_token *token; /* (n_token) the tokens the model wrote, used instead of text. If they do not */
    int n_token;             /* end with the turn's end token, the template's is added. (A model's own chat
                              * template gets the text, or what the tokens show where there is none.) */
} pith_turn;

/* Tokens of text (len bytes, any bytes). PITH_EARG without a vocabulary. Capacity as under Sizes. */
int pith_encode(const pith_model *m, const char *text, size_t len, unsigned flags, pith_token *out,
                int cap);

/* Tokens of a conversation up to where the assistant speaks: as the model's chat template writes it (pith_render says
 * more), or in the form that options.chat_template names, or that fits a model without a template. It is always encoded
 * whole: pith_sync then evaluates what is new. */
int pith_encode_chat(const pith_model *m, const pith_turn *turns, int n, pith_token *out, int cap,
                     pith_error *err);

/* A chat template: what makes one text of a conversation, as Jinja2 does in transformers. Any number of threads may use
 * one. A template can neither hang nor exhaust memory; it sees no files, no clock, nothing but what it is given. */
typedef struct pith_template pith_template;

typedef struct { /* of day; month and day count from 1 */
    int year, month, day, hour, minute, second;
} pith_time;

typedef struct {            /* zero-initialised is the default; JSON is UTF-8 and ends with a NUL */
    const char *messages;   /* [{"role": "user", "content": "Hi"}, ...], or an object of these as "messages", of "tools",
                             * "documents" and further variables */
    const pith_turn *turns; /* (n_turn) or, where messages is NULL, these */
    int n_turn;
    const char *variables;  /* an object with further ones that go before: {"enable_thinking": false}; or NULL */
    const char *bos, *eos;  /* the texts of these tokens; NULL: the model's */
    const pith_time *now;   /* the user's time; NULL: strftime_now is not defined */
    int no_prompt;          /* 1: do not end with what begins an answer */
    int go_on;              /* 1: end with the text of the last message, to be continued */
} pith_conversation;

enum { /* where a byte of the text is from */
    PITH_FROM_DATA = 1,     /* a message, a tool, a variable; 0: the template itself or the texts of bos, eos */
    PITH_OF_MODEL = 2,      /* it stands in a {% generation %} block: what the model is to learn in training */
    PITH_OF_CONTENT = 4,    /* of the content of a message whose role is assistant; or of what else such a message has: */
    PITH_OF_ASIDE = 8       /*     thoughts, tool calls. Both are PITH_FROM_DATA too */
};

typedef struct {
    char *text;             /* (n) and a NUL */
    unsigned char *from;    /* (n) PITH_FROM_DATA and so on */
    size_t n;
    pith_token *token;      /* (n_token) of the text; only the template's own bytes become control tokens such as */
    int n_token;            /* <|im_end|>, so that no message ends its turn. NULL: there is no vocabulary */
} pith_rendering;

/* The template of m, which must outlive it; or the n bytes of text, and then m may be NULL. what: its name in errors,
 * or NULL. */
pith_template *pith_template_new(const pith_model *m, const char *text, size_t n, const char *what, pith_error *err);
void pith_template_free(pith_template *t);
/* PITH_EDATA: messages that are none, or that the template refuses. Then nothing is to be freed. */
int  pith_render(const pith_template *t, const pith_conversation *c, pith_rendering *r, pith_error *err);
void pith_rendering_free(pith_rendering *r);

int pith_is_end(const pith_model *m, pith_token t); /* ends a text or a turn */

/* The token's bytes: perhaps a part of a UTF-8 character, perhaps with a NUL. NULL: no such token. len may be NULL. */
const char *pith_piece(const pith_model *m, pith_token t, size_t *len);

/* What token t adds to a text after token before (-1: none) as it is shown: as pith_piece, but without the
 * space that the tokenizer put before the text, and nothing for control tokens and for single control
 * characters, which a terminal might obey. llama2.c prints the same. */
const char *pith_text(const pith_model *m, pith_token before, pith_token t, size_t *len);

/* How many bytes at the end of s begin a UTF-8 character that is not complete yet: 0 to 3. */
size_t pith_utf8_tail(const char *s, size_t len);

/* ---- adapters ---------------------------------------------------------- */

/* A LoRA for the model: a PEFT folder (adapter_config.json) or a GGUF file of llama.cpp's, told by its content. Names and the
 * order of rows become those of the model's file, whichever it is. It is read whole and read-only after that; it is
 * closed after the sessions that have it, and before its model. */
pith_adapter *pith_adapter_open(const pith_model *m, const char *path, pith_error *err);
void          pith_adapter_close(pith_adapter *a);

enum { PITH_ADAPTERS = 8 }; /* that a session may have at once */

/* ---- session ----------------------------------------------------------- */

typedef struct {       /* zero-initialised is the default; new fields go last */
    int n_ctx;         /* context in tokens; 0: the model's own */
    int n_batch;       /* tokens taken through the layers at once; 0: up to 256 */
    const char *cache_k, *cache_v; /* "f32", "f16", "q8_0"; NULL: f32 for llama2.c files, else f16 */
    pith_pass *pass;   /* that the session shares with others, below; NULL: it has one of its own */
    int swa_full;      /* 1: layers with a sliding window keep the whole text too: nothing is forgotten */
    const pith_adapter *const *adapters; /* (n_adapter) that the session begins with; see pith_session_adapters */
    const float *scales; /* (n_adapter), or NULL: all 1 */
    int n_adapter;
} pith_context;

pith_session *pith_session_new(const pith_model *m, const pith_context *c, pith_error *err);
void          pith_session_free(pith_session *s);
size_t        pith_session_size(const pith_model *m, const pith_context *c); /* bytes; 0: refused */
pith_session *pith_session_place(const pith_model *m, const pith_context *c, void *mem, size_t size,
                                 pith_error *err); /* in the caller's memory; frees nothing */
/* to holds from's text from now on, as if it had evaluated it itself; what sliding windows have forgotten stays
 * forgotten. PITH_EFULL: to's context is too small. PITH_EARG: another model, or other types of cache. */
int pith_session_copy(pith_session *to, const pith_session *from, pith_error *err);
/* The text to a file, and from it: tokens, cache and logits, to go on from to the same bits. Loading refuses, and
 * leaves the session as it was: PITH_EFORMAT: no such file, a cut or an altered one; PITH_EARG: of another model, of
 * other types of cache, or computed by other kernels or another version of pith; PITH_EFULL: the context is too
 * small. A model that was read (no_mmap) has its texts read as well. */
int pith_session_save(const pith_session *s, const char *path, pith_error *err);
int pith_session_load(pith_session *s, const char *path, pith_error *err);
int pith_saved_tokens(const char *path, pith_error *err); /* the length of the text in such a file, or an error */

/* From now on the session's text is one of the model with these adapters, each times its scale (NULL: 1) and added in this
 * order; n 0: of the model alone. Sessions with different adapters may be evaluated together. What was evaluated is
 * of another model then: the session forgets its text (pith_rewind to 0), unless it has these adapters already. */
int  pith_session_adapters(pith_session *s, const pith_adapter *const *list, const float *scales, int n,
                           pith_error *err);

int  pith_eval(pith_session *s, const pith_token *t, int n, pith_error *err); /* append n tokens */
int  pith_sync(pith_session *s, const pith_token *t, int n,
               pith_error *err);             /* make t[0..n) the whole text, reusing a common prefix */
int  pith_known(const pith_session *s, const pith_token *t,
                int n);                      /* how many of the n tokens pith_sync would reuse */
int  pith_position(const pith_session *s);   /* tokens evaluated so far */
/* Forgets the tokens from position on; returns the new position: 0 where a sliding window has already forgotten
 * what it needs. A rewind that forgets tokens computes no logits: pith_logits, pith_logprob and pith_sample
 * still have those of the old end until the next pith_eval or pith_sync (of the same text, if it is to go on
 * from here); pith_generate sees to it by itself. */
int  pith_rewind(pith_session *s, int position);
const float *pith_logits(const pith_session *s); /* (n_vocab) after the last token evaluated, until the next */
float pith_logprob(const pith_session *s, pith_token t); /* log softmax of pith_logits at t */

/* Speculative decoding. From now on, evaluating one token drafts up to n more (what followed where the text
 * last read as it does now) and evaluates them in the same pass. A token that was drafted then costs its eval
 * nothing: several tokens for one reading of the weights, where text repeats itself. Nothing else changes, not
 * one bit. n is cut to n_batch - 1. logits: (n + 1, n_vocab) floats of the caller, in use until the session is
 * freed or pith_draft(s, 0, NULL). */
void pith_draft(pith_session *s, int n, float *logits);
/* The same, and what comes next is guessed by a smaller model: by is a session of one, with the same vocabulary (or
 * PITH_EARG) and a pass of its own. It follows the text of s, and may not be freed or used while s drafts. */
int  pith_draft_by(pith_session *s, int n, float *logits, pith_session *by, pith_error *err);
double pith_draft_rate(const pith_session *s); /* tokens for one pass since pith_draft; 0: there was no pass */

/* ---- many texts at once ------------------------------------------------ */

/* Sessions of one model are evaluated together: each weight is read once for all of them, which for a few
 * tokens a session takes little longer than for one session. Nothing else changes, not one bit. A pass shared by
 * the sessions (pith_context.pass) saves each its own; they may also have passes of their own. */

/* For sessions of at most the context and batch of most (NULL: as for pith_session_new), whose own pass is NULL.
 * It takes n_batch tokens through the layers at once, whosever they are. Free it after its sessions. */
pith_pass *pith_pass_new(const pith_model *m, const pith_context *most, pith_error *err);
void       pith_pass_free(pith_pass *p);
size_t     pith_pass_size(const pith_model *m, const pith_context *most); /* bytes; 0: refused */

typedef struct {
    pith_session *session;
    const pith_token *tokens; /* (n) to append to its text, at least 1 */
    int n;
    float *logits;            /* (n, n_vocab) after each of them, or NULL; the caller's */
} pith_work;

/* Does pith_eval for n_work different sessions of one model. All work is checked before any is done: after an
 * error, which names the work at fault, every session is as it was. The pass used is the one that was made for
 * the longest context among theirs. */
int pith_eval_many(const pith_work *work, int n_work, pith_error *err);

/* ---- classifiers and rerankers ----------------------------------------- */

enum { /* what an encoder says of its hidden states, beside them */
    PITH_TASK_TEXT = 1,   /* numbers of a text or of a pair: its class, or one score, how well the second answers the first */
    PITH_TASK_TOKEN,      /* numbers of each token: what is a name? */
    PITH_TASK_WORD        /* of each word of the vocabulary: which one does [MASK] stand for? */
};

/* PITH_TASK_TEXT, ...; 0: nothing. *n: how many numbers. A pith_embedder with pooling PITH_TASK gives those of a text as
 * its vector, or those of each token, as if nothing were pooled: they are logits. */
int pith_task(const pith_model *m, int *n);
/* The name of number i (*len bytes, no NUL), or NULL: the model's file has none. */
const char *pith_label(const pith_model *m, int i, size_t *len);
/* y (n) from logits x (n): probabilities, of which one is right (softmax), or each for itself (the logistic function)
 * where there is one label or several may be right. The numbers of a regression stay what they are. */
void pith_probabilities(const pith_model *m, const float *x, double *y);

/* ---- embeddings -------------------------------------------------------- */

/* A text as a vector: two texts that mean the same have vectors of nearly the same direction. The hidden states of the
 * text's tokens are pooled to one vector; then come the matrices (Dense) that some models have, and the norm. */
enum {                    /* what pooling takes of the tokens; of several the vectors follow one another, in this order */
    PITH_CLS = 1,         /* the first one */
    PITH_MAX = 2,         /* in each place the largest number of all */
    PITH_MEAN = 4,
    PITH_MEAN_SQRT = 8,   /* the sum, over the square root of how many there are */
    PITH_WEIGHTED = 16,   /* the mean where token t, from 0, counts t + 1 times */
    PITH_LAST = 32,       /* the last one */
    PITH_TASK = 1 << 16   /* alone: no vector of states, but what the model was taught to say of them: see pith_task */
};

typedef struct {          /* pith_embedding_default has what the model's files say; new fields go last */
    unsigned pooling;     /* PITH_MEAN, ...; 0: nothing is pooled: a vector a token, its hidden state */
    int normalize;        /* 1: a vector gets the length 1: then the dot product of two is their cosine */
    int dimensions;       /* Matryoshka: only so many numbers, the first ones, before the norm; 0: all */
    int n_ctx;            /* a text is cut to so many tokens, special ones included; 0: the model's context */
    const char *prompt;   /* what comes before each text that is not tokens: "query: "; NULL: nothing */
    int skip_prompt;      /* 1: the prompt's tokens, and a special token before them, are not pooled */
} pith_embedding;

pith_embedding pith_embedding_default(const pith_model *m);
/* The model's prompts: the name of number i and its text. 0: there are no more. */
int pith_prompt(const pith_model *m, int i, const char **name, const char **text);

typedef struct {
    const char *text;     /* (n_text) bytes, */
    size_t n_text;
    const char *second;   /* (n_second) where a model judges pairs: the other text, or NULL; */
    size_t n_second;
    int second_at;        /*            of tokens: from this number on they are of it; 0: there is none */
    const pith_token *tokens; /* (n_tokens) or, if not NULL, tokens as they are: with their special tokens, uncut */
    int n_tokens;
    int n_cut;            /* pith_embed says here how many tokens were too many and left off, */
    int n_vector;         /* and how many vectors it has: 1, or without pooling one a token */
} pith_passage;

typedef struct pith_embedder pith_embedder; /* the memory to make embeddings in, for one thread at a time */

/* c: adapters, and in n_batch how many tokens go through the layers at once, of however many texts; NULL: none, and as
 * many as is good. how NULL: as the model's files say. */
pith_embedder *pith_embedder_new(const pith_model *m, const pith_context *c, const pith_embedding *how, pith_error *err);
void pith_embedder_free(pith_embedder *e);
int  pith_embedder_size(const pith_embedder *e); /* numbers of a vector */
/* The vectors of n texts, one after the other in out (cap, size): a text has the same one, bit for bit, whatever stands beside it. Returns how
 * many vectors that is: n, and without pooling the tokens of all. If they are over cap, none is computed. */
int  pith_embed(pith_embedder *e, pith_passage *text, int n, float *out, int cap, pith_error *err);

/* ---- search ------------------------------------------------------------ */

typedef struct {
    size_t at;            /* which of the vectors */
    float score;          /* its dot product with the question, which of vectors of the length 1 is their cosine */
} pith_match;

/* Of n vectors of dim numbers, one after the other, the k with the largest dot products with question (dim), the best
 * first and of equals the first one. All are read, by the model's threads. NaN counts as the smallest. Returns how many
 * are in best: k, or n where there are fewer. */
int pith_nearest(const pith_model *m, const float *question, const float *vectors, size_t n, int dim, int k,
                 pith_match *best);

/* ---- sampling ---------------------------------------------------------- */

typedef struct {
    pith_token token;
    float      bias;
} pith_bias;

typedef struct {          /* what draws leave for those after them; zero-initialised before the first */
    int   n;              /* how many there were */
    float mu;             /* mirostat's bound on the surprise, in bits */
    float sum, weight;    /* adaptive-p: decayed sums of the probabilities of what was drawn, and of ones */
} pith_drawn;

/* First come bias and allow, last the draw, and between them the stages in this order: penalties, temperature, top-k,
 * top-p, min-p, as in llama2.c; or, where one of the stages that only llama.cpp has is on, as there: penalties, DRY,
 * top-n-sigma, top-k, typical, top-p, min-p, XTC, temperature. A stage whose fields are 0 is off: zero-initialised
 * takes the likeliest token. New fields go last, and 0 in them changes nothing. */
typedef struct {
    const pith_bias *bias;  /* (n_bias) added to the logits */
    int   n_bias;
    int   repeat_last_n;    /* how many of the last tokens the penalties look at; -1: all */
    float repeat_penalty;   /* 1: off; positive logits are divided by it, negative multiplied */
    float frequency_penalty, presence_penalty; /* subtracted per use, and once if used */
    float temperature;      /* under 1e-5: greedy, the first of the largest logits, without a draw */
    int   top_k;            /* keep the k likeliest */
    float top_p;            /* 1: off; keep the likeliest that together have this probability */
    float min_p;            /* keep those at least this likely, relative to the likeliest */
    const uint32_t *allow;  /* what a grammar allows: token t if bit t % 32 of allow[t / 32] is set */
    const char *order;      /* letters of the stages, as pith_samplers gives them, instead of the orders above; */
                            /* others do not take part. Letters that are none count for nothing */
    int   min_keep;         /* top-p, min-p, typical and XTC leave at least so many */
    float typical_p;        /* 1: off; keep those as surprising as is expected, that together have this probability */
    float top_n_sigma;      /* keep those within so many standard deviations of the largest logit */
    float xtc_probability, xtc_threshold; /* that often, of those with at least threshold only the last stays; over 0.5: off */
    float dynatemp_range, dynatemp_exponent; /* temperature - range to temperature + range, by entropy^exponent */
    float dry_multiplier, dry_base; /* what would go on with a repetition of n tokens loses multiplier * base^(n - */
    int   dry_allowed_length;       /*    allowed length), if that is not shorter */
    int   dry_last_n;       /* in so many of the last tokens; -1: all */
    const char *const *dry_breaker; /* (n_dry_breaker) texts at which a repetition begins anew */
    int   n_dry_breaker;
    int   mirostat;         /* 1 or 2: only the temperature and mirostat of this version take part */
    float mirostat_tau, mirostat_eta; /* the surprise to hold, in bits, and how fast */
    float adaptive_target, adaptive_decay; /* adaptive-p, where order has its letter: the probability aimed at; < 0: off */
    pith_drawn *drawn;      /* of mirostat and adaptive-p; NULL: each draw is as the first (pith_generate has its own) */
} pith_sampling;
#define PITH_SAMPLING_DEFAULT { NULL, 0, 64, 1.0f, 0.0f, 0.0f, 0.8f, 40, 0.95f, 0.05f, NULL, NULL, 0, 1.0f, 0.0f, \
    0.0f, 0.1f, 0.0f, 1.0f, 0.0f, 1.75f, 2, 64, NULL, 0, 0, 5.0f, 0.1f, -1.0f, 0.9f, NULL }

/* Letters for pith_sampling.order, of the stages' names as llama.cpp has them: "top_k;temperature". A NUL comes
 * last. PITH_EARG: a name that is none, or more than cap - 1 of them. */
int pith_samplers(const char *names, char *order, int cap, pith_error *err);

/* What the model's file recommends; where it does not say, llama2.c's defaults for a llama2.c file, and else
 * PITH_SAMPLING_DEFAULT (m may be NULL). */
pith_sampling pith_sampling_default(const pith_model *m);

/* Draw the next token from pith_logits, which stay as they are. how NULL: the likeliest. *rng is the generator's whole state, so a
 * seed: any number. -1: allow allows none. */
pith_token pith_sample(pith_session *s, const pith_sampling *how, uint64_t *rng);
/* The probability (n_vocab) with which pith_sample would draw each token; how many of them are not 0. *rng moves on
 * where XTC needs it. */
int        pith_distribution(pith_session *s, const pith_sampling *how, uint64_t *rng, float *p);
float      pith_random(uint64_t *rng); /* one draw, in [0, 1): xorshift64*, as in llama2.c */

/* ---- grammars ---------------------------------------------------------- */

/* What a text has to be. It is read-only, and may be shared by threads; where a text is in it belongs to the
 * pith_generation. GBNF is llama.cpp's form of grammars: a rule a line, root ::= "yes" | "no". */
typedef struct pith_grammar pith_grammar;

pith_grammar *pith_grammar_new(const char *gbnf, size_t len, pith_error *err);
pith_grammar *pith_grammar_schema(const char *json, size_t len, pith_error *err); /* texts that are JSON of a JSON Schema */
/* May texts of m have to be of it? PITH_EDATA: it names a token, as <think>, that the vocabulary of m does not have. */
int           pith_grammar_fits(const pith_grammar *g, const pith_model *m, pith_error *err);
void          pith_grammar_free(pith_grammar *g);
const char   *pith_grammar_text(const pith_grammar *g); /* the GBNF that it was read from */
/* Is text (len bytes) a sentence of it? PITH_OK, or PITH_EDATA and "byte N: ..." with what could stand there. PITH_EARG:
 * it names tokens, which a text does not tell from others. */
int           pith_grammar_match(const pith_grammar *g, const char *text, size_t len, pith_error *err);

/* ---- generating -------------------------------------------------------- */

enum { /* why a text ended */
    PITH_END = 1, /* the model said so */
    PITH_STOP,    /* a stop text came */
    PITH_LIMIT,   /* n_predict tokens are there */
    PITH_FULL,    /* the context is full */
    PITH_CANCEL   /* the caller said so */
};

typedef struct {             /* zero-initialise it, set what is wanted, and call until the result is not 0 */
    pith_sampling how;       /* may be changed between two calls, as a grammar does with allow */
    uint64_t rng;            /* the state of the random numbers: at first a seed */
    int n_predict;           /* tokens at most; 0: no limit */
    const char *const *stop; /* (n_stop) texts that end it and are not given; NULL or "": none */
    int n_stop;
    const pith_token *end;   /* (n_end) tokens that end it beside those of pith_is_end */
    int n_end;
    const pith_token *prompt; /* (n_prompt) evaluated behind what the session has, before the first token; until */
    int n_prompt;            /*           then they stay where they are. A call reads what one pass has room for: */
                             /*           while some are left it gives no token (-1) and no text */
    int shift;               /* 1: a full context does not end it. Of what stands behind the first keep tokens the */
    int keep;                /*    oldest half is dropped and the rest evaluated again, as a prompt is: the text */
                             /*    goes on, to the bit, as one that had begun so. Said before the first call */
    int thoughts;            /* 1: what a reasoning model thinks before it answers is given apart from text, which is */
    int thought_budget;      /*    then the answer. After so many tokens (0: no limit, -1: at once) the thoughts are */
    const char *thought_message; /* ended by this text (or NULL) and the tag that closes them. Said before the first call */
    const pith_grammar *grammar; /* what the text has to be; NULL: anything. Said before the first call. A token is */
                             /*           drawn without it, and drawn anew from those it allows only if it refuses */
                             /*           that one. Tokens that end the text are allowed where it is a sentence, */
                             /*           and it ends where nothing else can come. Thoughts are */
                             /*           not of it, unless it names tokens */
    int cancel;              /* 1: the next call ends it */
    pith_token token;        /* what a call gives: the new token, which the next call evaluates, */
    const char *text;        /* (n_text) and the text that is certain now, in whole characters, */
    size_t n_text;           /*          until the next call */
    const char *thought;     /* (n_thought) the same of what is thought, where that is given apart; */
    size_t n_thought;
    int thinking;            /* 1: the text is within thoughts */
    int n_token;             /* all tokens so far, one that ended the text among them */
    int sentence;            /* with a grammar, 1: the text so far is a sentence of it */
    int ended;               /* 0; why it ended: PITH_END, ...; or the code of the error that ended it */
    void *state;             /* the library's */
} pith_generation;

/* The next token after what the session has evaluated. 0: go on; PITH_END, ...; or an error, after which the next
 * call tries again. */
int  pith_generate(pith_session *s, pith_generation *g, pith_error *err);

/* The next token of each of n texts, g[i] in session s[i], those that have ended left out: one pass evaluates what
 * they need for it. Each text gets the tokens, bit for bit, that pith_generate gives it alone, whatever stands
 * beside it; so texts may join and leave between two calls. Afterwards pith_logits(s[i]) is what its token was
 * drawn from. What is wrong with one text ends that one only: its ended is then the code (0 again: it goes on), and
 * *err says why, of the last such text.
 * Returns how many texts go on; 0: all have ended. PITH_EARG where the call itself cannot be (a session or
 * pith_generation that is NULL or comes twice, sessions of different models) or PITH_EMEMORY: no text has gone on.
 * Memory is taken for texts that begin and for a larger number of them, never for a token. */
int  pith_generate_many(pith_session *const *s, pith_generation *const *g, int n, pith_error *err);

/* Frees what it holds, not itself, and it may begin another text: state, token, text, n_token and ended are as
 * before the first call, rng goes on, what the caller has set stays (cancel and prompt too). The last token of a text is not
 * evaluated: if the next one goes on behind it, keep token before this call, and evaluate it. */
void pith_generation_free(pith_generation *g);

#ifdef __cplusplus
}
#endif
#endif
