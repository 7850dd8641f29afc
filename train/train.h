/* train.h - what the files of train/ share, in reading order; see base/base.h for letters and rules.
 *
 * One step of training, as tools/trainer.c takes it:
 *     pith__params_new(&p, m, &err);               every weight of m gets a gradient
 *     step = pith__step_new(m, &p, &(pith__step_plan){ n_ctx, n_sequence, PITH__KEEP_ALL, 1 }, &err);
 *     pith__step_begin(step);
 *     for some sequences at a time: pith__step_learn(step, sequences, n, 1.0f / total, &err);
 *     pith__step_end(step, &loss);
 *     norm = pith__grad_norm(&p);
 *     pith__adamw_step(&how, &p, lr, clip);
 * Sequences add to the gradient in their order, so every bit is the same however many come at a time.
 * Only total, the number of the step's tokens that count, must be known before.
 *
 * d_x is the gradient of the loss by x. A function d_f goes back through the f of the forward pass: it
 * reads dy, the gradient of what f gave, and gives dx, the gradient of what f read. */
#ifndef PITH_TRAIN_H
#define PITH_TRAIN_H

#include "../internal.h"

static inline size_t pith__least(size_t a, size_t b) { return a < b ? a : b; }

/* ---- train/params.c: the weights that learn --------------------------------------------------------- */

typedef struct {         /* numbers that learn: one tensor of the file */
    const pith__tensor *tensor; /* its name and shape; data is what the file has, not what was learned */
    size_t n;
    float *w, *g;        /* (n) the weights that the model uses, their gradients */
    int decay;           /* 1: a matrix, which weight decay pulls towards zero; 0: a norm or a bias */
    const pith__format *to; /* train/qat.c: the model uses w rounded to this, seen (n); NULL: it uses w */
    float *seen;
} pith__param;

enum { PITH__SHARDS = 4 };

typedef struct {         /* a matrix that does not learn itself, as the model uses it */
    const pith__weight *w;
    pith__tensor base;   /* as it is in the file */
    const pith__format *to;
    float *seen;         /* (rows, cols) base, with what the adapter adds, rounded to this */
} pith__rounded;

typedef struct {         /* a matrix whose products are in BF16 */
    pith__tensor base;   /* F32 or F16: what learns, or what is in the file */
    uint32_t *to;        /* (rows, (cols + 1) / 2) words of two numbers: the model's tensor now */
    int learns;          /* 1: base changes with each step */
} pith__narrow;

typedef struct {
    pith__param *param;  /* (n_param), of a model in the order of their names */
    size_t n_param;
    pith__rounded *rounded; /* (n_rounded) train/qat.c, of an adapter's parameters */
    size_t n_rounded;
    pith__adapted by;    /* the adapter */
    int bf16;            /* 1: products are in BF16 */
    pith__narrow *narrow; /* (n_narrow) train/precision.c */
    size_t n_narrow;
    const pith__kernels *kernels; /* that round them */
    size_t n;            /* numbers in all of them together */
    int n_shard;
    float *g;            /* (n_shard, n) gradients, one parameter after the other; shards: see step.c */
    pith__team team;     /* of no scratch memory */
    pith__arena arena;
} pith__params;

/* All weights of m learn: each gets its place in the gradient, pith__weight's at. Matrices that lie in a
 * file, of whatever format, are copied to memory as floats, and m uses the copy. Those of a store without
 * files (n_file 0) must be F32 in memory that can be written, and stay where they are. p must live as long
 * as m is used. */
PITH_SHARED int  pith__params_new(pith__params *p, pith_model *m, pith_error *err);
/* Memory for the gradients of parameters that are listed, and how many numbers and shards there are. */
PITH_SHARED int  pith__params_place(pith__params *p, const pith_model *m);
/* One parameter more, n numbers w of the caller: *at is its place in the gradient. Places of the others stay. */
PITH_SHARED int  pith__params_add(pith__params *p, const char *name, float *w, size_t n, const pith_model *m, size_t *at,
                                  pith_error *err);
/* The weights of m point to the numbers of parameters and to their places in the gradient; those without are frozen. */
PITH_SHARED void pith__params_point(const pith__params *p, pith_model *m);
PITH_SHARED void pith__params_zero(pith__params *p); /* the gradients */
PITH_SHARED void pith__params_free(pith__params *p);

/* Where in g, a gradient of all parameters, the gradient of w is, in w's shape. NULL: there is none, for
 * w is frozen, or the family has no such weight, or g is NULL. Gradients pass through a frozen weight, of
 * whatever format, to what was computed before. */
PITH_SHARED float *pith__grad(float *g, const pith__weight *w);

/* ---- train/qat.c: weights as a block format will hold them ------------------------------------------ */

/* After pith__params_new: from now on m computes with what a file that is written as says (plan_only or not) will have;
 * each optimizer step and what loads weights rounds them again. only: what is not in blocks is frozen. */
PITH_SHARED int  pith__qat_begin(pith__params *p, pith_model *m, const pith__requant *as, int only, pith_error *err);
/* The same after pith__adapter_params, of matrices with what a adds to them: m has them merged then (pith__adapted). */
PITH_SHARED int  pith__qat_adapt(pith__params *p, pith_model *m, const pith_adapter *a, const pith__requant *as,
                                 pith_error *err);
PITH_SHARED void pith__qat_round(pith__params *p); /* nothing, without either */
PITH_SHARED size_t pith__qat_size(const pith__params *p); /* bytes of rounded floats */

/* ---- train/precision.c: products in BF16 ------------------------------------------------------------- */

/* After pith__params_new or pith__adapter_params: from now on the operands of m's products are BF16, and p's steps learn so.
 * PITH_EARG: with train/qat.c. */
PITH_SHARED int  pith__bf16_begin(pith__params *p, pith_model *m, pith_error *err);
PITH_SHARED size_t pith__bf16_size(const pith__params *p); /* bytes of the rounded matrices */
PITH_SHARED void pith__params_round(pith__params *p); /* where weights have changed: what the model sees of them, here and in qat.c */

/* ---- the tape: what learning from one sequence takes; made in train/tape.c -------------------------- */

enum { PITH__LOSS_ROWS = 256 }; /* at most so many tokens' logits exist at once */

typedef struct {
    pith_session *s;     /* keeps the activations of the forward pass */
    float *g;            /* (pith__params' n) gradients of the weights are added to this */
    pith__acts d;        /* gradients of one layer's activations; k and v have room for n_head heads */
    int bf16;            /* 1: the products of the backward pass are of numbers in BF16 */
    int rows;            /* tokens whose logits exist at once */
    float *logits;       /* (rows, n_vocab) */
    float *slope;        /* (rows, n_vocab) logit_softcap: its derivative at each logit */
    float *scale, *mean; /* (n, n_head) of the rows of a norm: they were scale * (x - mean). mean: 0 of RMSNorm */
    float *route;        /* (n, n_expert) */
    float *d_low;        /* (n, PITH__LOW) */
    float *seen;         /* what later layers see of others: see pith__seen */
    float *d_heads, *room; /* (3, n, n_head) gradients of what a token has for each head of Mamba, and pith__d_mamba_room */
    float *d_ple, *ple;  /* (n, n_layer, n_ple) gradients of what layers get of each token, and room */
    float *panel;        /* columns of a matrix side by side, see make_panels */
    float *scratch;      /* (n_threads, scratch_floats) */
    size_t scratch_floats;
    float *acts, *dk, *dv; /* what d lies in, and logits and slope before anything but x and xn is in d */
    float *memory;
} pith__tape;

/* ---- train/product.c: the backward pass of a matmul ------------------------------------------------- */

/* Forward: y (n, rows) = x (n, cols) through w. dx = dy w, or, with add, dx += dy w. */
PITH_SHARED void pith__d_input(const pith__tape *tape, float *dx, const float *dy, const pith__tensor *w,
                               size_t n, int add);
/* The gradient of w, (rows, cols) += dy^T x. */
PITH_SHARED void pith__d_weight(const pith__tape *tape, const pith__weight *w, const float *dy,
                                const float *x, size_t n);
PITH_SHARED size_t pith__panel_floats(size_t cols); /* of tape->panel, for matrices up to so wide */
PITH_SHARED size_t pith__product_scratch(void);     /* floats of scratch memory for a thread */

/* ---- train/norm.c: the backward pass of norms -------------------------------------------------------- */

/* Forward: y (n, cols) = the norm of x, row by row; x itself, (n, n_embd), where the model does not have this norm. dx = its
 * gradient, or, with add, dx += it. */
PITH_SHARED void pith__d_norm(const pith__tape *tape, float *dx, const float *dy, const float *x,
                              const pith__norm *w, size_t n, int add);

/* ---- train/attention.c: the backward pass of attention ---------------------------------------------- */

/* Attention of a whole sequence, in f32. Query heads that share keys and values get gradients of their
 * own at first, so dk and dv have room for n_head; in the end they hold (n, n_kv_head, head_dim). */
typedef struct {
    const pith__tape *tape;
    const float *q, *k, *v; /* (n, n_head, head_dim), (n, n_kv_head, head_dim) */
    const float *dy;        /* (n, n_head, head_dim) */
    float *dq, *dk, *dv;    /* (n, n_head, head_dim) */
    size_t n, n_head, n_kv_head, head_dim;
    pith__mask mask;
    float scale, softcap;
} pith__d_attention;

PITH_SHARED void pith__d_attend(const pith__d_attention *a);
PITH_SHARED size_t pith__d_attend_scratch(size_t n, size_t head_dim); /* floats for a thread */
/* Forward: p = softmax(x). dp becomes dx. */
PITH_SHARED void pith__d_softmax(const pith__kernels *k, float *dp, const float *p, size_t n);

/* ---- train/gather.c: the order of q and k ------------------------------------------------------------- */

/* Before a session or an adapter is made of m: gradients are then the same bits whatever file m is from. m is
 * then as a GGUF file's, and is no more written as a folder. */
PITH_SHARED int pith__gather(pith_model *m, pith_error *err);

/* ---- train/adapt.c: an adapter that learns ----------------------------------------------------------- */

typedef struct {
    int r;               /* rank */
    float alpha;         /* the product of B and A is taken alpha / r times, */
    int rslora;          /* 1: or alpha / sqrt(r) times */
    const char *const *target; /* (n_target) names of modules as PEFT has them: "q_proj", "mlp.up_proj" */
    int n_target;        /* 0: all linear layers but routers and the output matrix, as by the name "all-linear" */
    uint64_t seed;       /* of A; B is 0 */
} pith__lora_plan;

/* Close it with pith_adapter_close. PITH_EARG: a name that no linear layer of m has. */
PITH_SHARED pith_adapter *pith__adapter_new(const pith_model *m, const pith__lora_plan *plan, pith_error *err);
/* The numbers of a, new or opened, learn; they stay where they are, and all weights of m are frozen. A matrix B is
 * (r, rows), as pith__pair has it. p must not live longer than a. */
PITH_SHARED int  pith__adapter_params(pith__params *p, pith_adapter *a, const pith_model *m, pith_error *err);
/* Forward: y += what the adapters of the tape's session have for w. Adds to dx, and to gradients of A and B. */
PITH_SHARED void pith__d_adapt(const pith__tape *tape, float *dx, const float *dy, const pith__weight *w,
                               const float *x, size_t n);

/* ---- train/project.c: what the backward pass of every layer is made of ------------------------------------ */

typedef struct {         /* one layer, for n tokens */
    const pith__tape *tape;
    const pith__hyper *h;
    const pith__layer *layer;
    pith__acts a, d;     /* what it computed, and the gradients of that */
    size_t n, n_embd;
    int l;               /* its number */
} pith__d_block;

/* Forward: y += bias, for each of n tokens. */
PITH_SHARED void pith__d_add_bias(const pith__d_block *b, const float *dy, const pith__weight *bias, size_t n);
/* Forward: y = x through w, and through the adapters. */
PITH_SHARED void pith__d_project(const pith__d_block *b, float *dx, const float *dy, const pith__weight *w, const float *x,
                                 size_t n, int add);
/* What the block's norm of x (n, n_embd) gave, in y; x itself in a family without this norm. */
PITH_SHARED const float *pith__d_normed(const pith__d_block *b, float *y, const float *x, const pith__norm *w);
/* Forward: out = stream + residual_scale * post_norm(added). The gradient of out, d.x, is also that of the stream. */
PITH_SHARED void pith__d_add_to_stream(const pith__d_block *b, const float *added, float *d_added, const pith__norm *post_norm);

/* ---- train/experts.c: the backward pass of feed-forward networks ----------------------------------------- */

/* Forward: f = the layer's network, or experts, of x (n, n_embd). d.f -> dx. */
PITH_SHARED void pith__d_run_ffn(const pith__d_block *b, const float *x, float *dx);

/* ---- train/recurrent.c: the backward pass of layers with a state ------------------------------------------ */

typedef struct {         /* a layer, of a whole sequence: what it computed, and the gradients of that */
    const pith__team *team;
    const pith__recurrent *w;
    const pith__acts *a;
    const float *beta, *decay, *raw; /* (n, n_head) of the delta rule */
    const float *dy;     /* (n, n_inner) of what the heads found, before their norm */
    float *d_conv;       /* (n, n_conv) of what the recurrence reads, and then of the convolution */
    float *d_in;         /* (n, n_conv) of conv_in */
    float *d_beta, *d_decay; /* (n, n_head); of Mamba: of steps, and of the logarithm of what stays, */
    float *d_skip;       /* (n, n_head) and of skip */
    float *room;         /* of Mamba */
    size_t n;
} pith__d_state;

PITH_SHARED void pith__convolve_again(const pith__d_state *j, size_t c, float *y); /* y (n, n_conv): channel c of the convolution */
PITH_SHARED void pith__d_taps(const pith__d_state *j, float *dw); /* d_conv -> d_in of a convolution; dw (n_conv, n_tap) or NULL */
/* Forward: y = x + what the layer's mixer makes of x. d.x, the gradient of y, becomes that of x. */
PITH_SHARED void pith__d_run_shortconv(const pith__d_block *b);

typedef struct {         /* a state of size floats that goes through n tokens, from zeros on */
    void (*step)(const void *of, size_t t, const float *s, float *next);
    void (*d_step)(const void *of, size_t t, const float *s, float *ds); /* s is before token t; ds, after it, becomes that of s */
    const void *of;
    size_t size, n;
} pith__d_states;

/* From the last token to the first. */
PITH_SHARED void pith__d_walk(const pith__d_states *w, float *scratch);
PITH_SHARED size_t pith__d_walk_scratch(const pith__recurrent *w, size_t n); /* floats for a thread */

/* ---- train/delta.c: the backward pass of linear attention -------------------------------------------- */

PITH_SHARED void pith__d_run_delta(const pith__d_block *b); /* as pith__d_run_shortconv */

/* ---- train/mamba.c: the backward pass of Mamba-2 ------------------------------------------------------- */

PITH_SHARED size_t pith__d_mamba_room(const pith__recurrent *w, size_t n); /* floats of tape->room */
PITH_SHARED void pith__d_run_mamba(const pith__d_block *b); /* as pith__d_run_shortconv */

/* ---- train/backward.c: the backward pass of the Transformer, last block first ----------------------- */

typedef struct {         /* keys and values of a layer that later ones see too, and their gradients: as pith__acts has them */
    float *k, *v, *dk, *dv;
} pith__seen;

/* Of layer l; of n_layer: what lies behind them all. */
PITH_SHARED pith__seen pith__seen_of(const pith__tape *tape, int l);
/* d.x comes in as the gradient of what the last block gave and goes out as that of the embedding. */
PITH_SHARED void pith__backward(const pith__tape *tape, const pith_token *tokens, int n);

/* ---- train/tape.c: the memory of a backward pass ------------------------------------------------------- */

/* keep: PITH__KEEP_ALL, or PITH__KEEP_STREAM: only what flows from block to block is kept, and each block
 * runs again before the backward pass through it. That takes less memory and a third more time, and gives
 * the same bits. g: where gradients of the weights are added to, or NULL. */
PITH_SHARED pith__tape *pith__tape_new(const pith_model *m, float *g, int n_ctx, int keep, pith_error *err);
PITH_SHARED void   pith__tape_free(pith__tape *tape);
PITH_SHARED size_t pith__tape_size(const pith_model *m, int n_ctx, int keep); /* bytes */

/* ---- train/loss.c: the cross-entropy of a text ------------------------------------------------------- */

typedef struct {
    double sum;          /* of -log p(target), natural logarithm, over the tokens that count */
    int64_t n;           /* how many counted */
    int64_t n_right;     /* and how many of these were the likeliest */
} pith__loss;

/* Run the sequence t from position 0; target[i] is what should follow t[i], or negative where it does not
 * count. Adds to *loss. learn also adds scale (not 0) times the gradient of the sum to the gradients;
 * score leaves them alone. */
PITH_SHARED int pith__learn(const pith__tape *tape, const pith_token *t, const pith_token *target, int n,
                            float scale, pith__loss *loss, pith_error *err);
PITH_SHARED int pith__score(const pith__tape *tape, const pith_token *t, const pith_token *target, int n,
                            pith__loss *loss, pith_error *err);

/* Gives -log softmax(x / temperature)[target], temperature 0: 1; x (n) becomes the softmax. *right: 1 when no token is
 * likelier. What a token was drawn with is computed so too, and is the same bits. */
PITH_SHARED double pith__cross_entropy(const pith__kernels *k, float *x, size_t n, float temperature, pith_token target,
                                       uint8_t *right);

typedef struct {         /* one row on the last normed state of a token gives a number: a reward, or a value */
    const float *w;      /* (n_embd) */
    size_t at;           /* its place in the gradient */
    int detached;        /* 1: nothing flows on into the model */
} pith__score_head;

typedef struct {
    const pith_token *t, *target; /* (n) as for pith__learn */
    int n;
    float temperature;   /* logits are divided by it; 0: they are not */
    const pith__score_head *head; /* NULL: none */
    /* What comes in, or a judge sets, (n) each or NULL: the gradient of a token's -log p is taken slope times (NULL: once), that of its value
     * value_slope times (NULL: 0). */
    float *slope, *value_slope;
    /* What comes back, (n) each or NULL, and 0 where none counts (values: of all tokens): log p(target), the entropy of
     * what the target is from, the mean of the logits, head . state. */
    float *logp, *entropy, *mean_logit, *value;
} pith__sequence;

/* The same of a sequence that may have slopes; *loss does not know of them. scale 0: it is only scored. */
PITH_SHARED int  pith__run_sequence(const pith__tape *tape, const pith__sequence *s, float scale, pith__loss *loss,
                                    pith_error *err);
/* In two calls, between which the slopes are found; scale, not 0, is the same in both. */
PITH_SHARED int  pith__forward_sequence(const pith__tape *tape, const pith__sequence *s, float scale, pith__loss *loss,
                                        pith_error *err);
PITH_SHARED void pith__backward_sequence(const pith__tape *tape, const pith__sequence *s, float scale);

/* ---- train/step.c: the sequences of one step, several at once ---------------------------------------- */

enum { PITH__GROUP = 2 }; /* sequences whose slopes are found together, at most */

/* The n sequences of a group, number first and following of the step, have been forward: what each found is there, and their
 * slopes are to be set now. Called by any thread, for several groups at once. */
typedef void pith__judge(void *of, int64_t first, const pith__sequence *s, int n);

typedef struct {
    pith__params *p;
    int n_shard, n_tape; /* gradients that groups add to in turn; threads at work */
    int group;           /* sequences in one; 1: each is alone */
    pith__judge *judge;  /* NULL: slopes, where there are any, are known before */
    void *judge_of;
    int64_t taken;       /* sequences of the step so far */
    float dropout;       /* of adapters, and its random numbers in this step */
    uint64_t dropout_seed;
    pith__loss loss[PITH__SHARDS];
    pith__tape *tape[PITH__SHARDS][PITH__GROUP]; /* (n_tape, group) */
    pith__team team;     /* a thread's scratch memory is pointers to its tapes */
} pith__step;

typedef struct {
    int n_ctx;           /* tokens of a sequence, at most */
    int n_sequence;      /* how many a step has */
    int keep;            /* see pith__tape_new */
    int group;           /* 2: sequences come in pairs; 0, 1: alone */
} pith__step_plan;

PITH_SHARED pith__step *pith__step_new(const pith_model *m, pith__params *p, const pith__step_plan *plan, pith_error *err);
PITH_SHARED void   pith__step_free(pith__step *step);
PITH_SHARED size_t pith__step_size(const pith_model *m, const pith__params *p, const pith__step_plan *plan); /* bytes, gradients
                                                                                                    and activations */
/* From now on pith__step_learn asks judge, where it is not NULL. */
PITH_SHARED void   pith__step_judge(pith__step *step, pith__judge *judge, void *of);
/* All sequences from now on run with a, or, NULL, without an adapter. */
PITH_SHARED void   pith__step_adapter(pith__step *step, const pith_adapter *a);
/* Of what adapters get, so much (0 to 1, not 1) is left out while they learn, and nothing when they are scored. Say so
 * before each step, with another seed: a function of the step's number, so that a step taken again is the same. */
PITH_SHARED void   pith__step_dropout(pith__step *step, float dropout, uint64_t seed);
/* A step: begin, learn any number of times, end. Then p has the gradients of all sequences. n: of whole groups. */
PITH_SHARED void   pith__step_begin(pith__step *step);
PITH_SHARED int    pith__step_learn(pith__step *step, const pith__sequence *s, int n, float scale,
                                    pith_error *err);
PITH_SHARED void   pith__step_end(pith__step *step, pith__loss *loss); /* adds the step's loss */
PITH_SHARED int    pith__step_score(pith__step *step, const pith__sequence *s, int n, pith__loss *loss,
                                    pith_error *err);

/* ---- train/preference.c: the losses of DPO and of reward models ------------------------------------------ */

enum { PITH__SIGMOID, PITH__CDPO, PITH__ROBUST, PITH__HINGE, PITH__IPO };

typedef struct {
    int loss;            /* PITH__SIGMOID and so on; CDPO is SIGMOID, of which one expects smoothing */
    double beta;         /* not 0 */
    double smoothing;    /* of SIGMOID, CDPO and ROBUST: part of the pairs whose labels may be wrong, under 0.5 */
    double sft;          /* so many times the mean of the chosen answer's -log p is added */
} pith__preference;

typedef struct {         /* an answer of n tokens */
    double logp, ref;    /* sums of log p over them, of the model and of the reference */
    int n;
} pith__answer_logp;

typedef struct {
    double loss, slope_chosen, slope_rejected; /* slopes by both logp */
    double reward_chosen, reward_rejected;
    int right;           /* 1: the chosen one's is greater */
} pith__preferred;

PITH_SHARED int  pith__preference_named(const char *name); /* "sigmoid", "ipo", ...; -1: there is none */
PITH_SHARED void pith__prefer(const pith__preference *p, const pith__answer_logp *chosen,
                              const pith__answer_logp *rejected, pith__preferred *to);
/* Of a reward model's scores of two answers: -log s(chosen - rejected - margin), and center times the square of their sum,
 * which holds scores near 0 (Eisenstein et al. 2023, arXiv:2312.09244). slope: by the chosen one's, and the other's. */
PITH_SHARED double pith__rank(double chosen, double rejected, double margin, double center, double slope[2]);

/* ---- train/ppo.c: rewards, advantages and losses of PPO --------------------------------------------------- */

enum { PITH__K1, PITH__K3 };

typedef struct {
    int estimator;       /* of the KL from the reference: PITH__K1, without bias, or PITH__K3, never negative */
    int score_behind;    /* 1: the score comes behind the last token, where a row has that place, as trl has it */
    int whiten_rewards;
    double kl_coef, gamma, lam, clip, clip_value, vf_coef;
} pith__ppo;

typedef struct {         /* an answer of n tokens, more than 0 */
    int n, n_value;      /* n_value: n, or n + 1: the value behind the last token counts too */
    double score;
    const float *logp, *ref; /* (n) of each token, by the policy that drew it, and by the reference */
    const float *value;  /* (n_value) expected, before each token is drawn */
    float *reward, *advantage, *ret; /* (n_value) come back; ret: the return */
} pith__episode;

typedef struct { double kl, entropy, non_score_reward, score; } pith__ppo_objective; /* sums over tokens, means over answers */

typedef struct {         /* an answer under the policy as it is now */
    const float *logp, *value; /* (n), (n_value) */
    float *slope;        /* (n) comes back: of the policy's loss, by -log p */
    float *value_slope;  /* (n_value) comes back: of vf_coef times the value's loss */
} pith__ppo_now;

typedef struct {         /* over tokens */
    double policy, value; /* losses; value: not yet times vf_coef */
    double square;       /* 0.5 (logp - logp before)^2 */
    double ratio, ratio_square; /* exp(logp - logp before) */
    int64_t clipped, value_clipped, n, n_value;
} pith__ppo_sums;

typedef struct { double loss, slope; int clipped; } pith__clipped;

PITH_SHARED double pith__kl_estimate(int estimator, double logp, double ref);
/* A batch: its rewards, advantages (whitened over all of it) and returns. */
PITH_SHARED void pith__ppo_advantages(const pith__ppo *p, const pith__episode *e, size_t n,
                                      pith__ppo_objective *mean);
/* Losses of a token. range: how far from 1 the ratio of probabilities may be; the slope is by the log-probability. */
PITH_SHARED pith__clipped pith__clip_policy(double range, double ratio, double advantage);
/* before: the value as it was when the token was drawn; the slope is by the value. */
PITH_SHARED pith__clipped pith__clip_value(double range, double value, double before, double ret);
/* Sums and slopes of an answer; the loss is their mean over the tokens of a minibatch. */
PITH_SHARED void pith__ppo_judge(const pith__ppo *p, const pith__episode *e, const pith__ppo_now *now,
                                 pith__ppo_sums *s);
PITH_SHARED void pith__ppo_add(pith__ppo_sums *to, const pith__ppo_sums *s);
/* ---- train/policy.c: what rewards teach: GRPO ------------------------------------------------------------- */

enum { PITH__GRPO, PITH__DR_GRPO, PITH__BNPO, PITH__DAPO }; /* what the tokens' losses are divided by */
enum { PITH__SCALE_GROUP, PITH__SCALE_BATCH, PITH__SCALE_NONE };

PITH_SHARED int    pith__policy_loss_named(const char *name);  /* "grpo", ...; -1: there is none */
PITH_SHARED int    pith__reward_scale_named(const char *name); /* "group", "batch", "none" */
PITH_SHARED double pith__deviation(const double *x, size_t n); /* the standard one, by n - 1; 0 of less than two */
/* Of n rewards, n_group of each prompt side by side: how much greater than the mean of its group each is, divided by the
 * standard deviation of the group or of the whole batch, and 1e-4; or not. 0 where all of a group are equal; returns of
 * how many groups they are. */
PITH_SHARED size_t pith__advantages(const double *reward, size_t n, size_t n_group, int scale, double *to);

typedef struct {
    int loss;            /* PITH__GRPO, ... */
    double epsilon, epsilon_high; /* a ratio counts from 1 - epsilon to 1 + epsilon_high */
    double beta;         /* so many times the KL divergence from the reference is added, */
    int kl_times_ratio;  /* 1: of each token times its ratio, as trl has it (use_bias_correction_kl) */
    int max_length;      /* DR_GRPO: tokens that a completion may have */
} pith__policy;

typedef struct {         /* what completions share a mean with */
    int64_t n_sequence;  /* completions, also those of which no token counts */
    int64_t n_token;     /* tokens that count: BNPO of the micro-batch, DAPO of what was sampled at once */
} pith__policy_batch;

/* What the loss of each token counts for, of a completion of which n count. */
PITH_SHARED double pith__policy_weight(const pith__policy *p, const pith__policy_batch *b, int n);

typedef struct {         /* a completion of n tokens that count */
    const float *logp, *old, *ref; /* (n) log p now, when it was drawn, of the reference; ref NULL: no KL */
    int n;
    double advantage, weight;
} pith__policy_row;

typedef struct {
    double loss;         /* weighted */
    double kl;           /* sums over the tokens, and how many they are */
    int64_t n, n_low, n_high; /* of which so many were clipped, for their ratio is too low or too high */
    double low_min, high_max; /* of the completions, the lowest part that was clipped so, the highest */
    double off;          /* how far a ratio is from 1, the largest */
} pith__policy_sums;

/* slope: (n) of the weighted loss by each logp. Adds to *sums. */
PITH_SHARED void pith__policy_learn(const pith__policy *p, const pith__policy_row *row, float *slope,
                                    pith__policy_sums *sums);

/* ---- train/value.c: a value head on disk --------------------------------------------------------------------- */

#define PITH__VALUE_HEAD "value.weight"
/* w: (n), n the model's n_embd. */
PITH_SHARED int pith__value_head_write(const float *w, size_t n, const char *path, pith_error *err);
PITH_SHARED int pith__value_head_read(float *w, size_t n, const char *path, pith_error *err);

/* ---- train/drift.c: how far two models are from each other -------------------------------------------- */

typedef struct {
    pith_session *a, *b; /* of one model, with other adapters, or of two that share a vocabulary; their texts go */
    pith_token begin;    /* stands before each window of the text; -1: nothing, and the first token is not predicted */
    int window;          /* tokens that are predicted in one context; 0: as many as the sessions hold, at most that */
    const pith__progress *progress;
    int skip;            /* the first so many of a window are only read */
} pith__drift_plan;

typedef struct {         /* what two models say of one token */
    double kl, nll_a, nll_b; /* KL(A || B) before it, natural logarithm; its -log p */
    pith_token top_a, top_b; /* the likeliest */
} pith__drift_row;

typedef struct {         /* over the tokens that were predicted */
    int64_t n;
    double kl, most_kl;  /* the sum, and the largest */
    double nll_a, nll_b; /* sums */
    int64_t same_top;    /* of how many both find the same token likeliest */
} pith__drift_sums;

/* Adds a text t (n) to *sums, which an error leaves as they are. each: (n) by token, of those that were predicted, or
 * NULL. Logits exist of a few tokens at a time. Every bit is the same for any number of threads. */
PITH_SHARED int pith__drift(const pith__drift_plan *p, const pith_token *t, int n, pith__drift_row *each,
                            pith__drift_sums *sums, pith_error *err);
PITH_SHARED double pith__quantile(double *x, size_t n, double q); /* sorts x; q 0.5: the median */

typedef struct { double mean, error; } pith__estimate; /* error: the standard error of the mean */
PITH_SHARED pith__estimate pith__estimate_of(const double *x, size_t n);

/* ---- train/apart.c: how far the weights of two models are apart ---------------------------------------- */

typedef struct {             /* of a tensor; experts together */
    char name[PITH__HF_NAME]; /* GGUF's */
    const pith__format *a, *b; /* as the models have it */
    size_t n;                /* numbers */
    double square, difference; /* sums of squares: of those of a, and of what b has more or less */
} pith__apart;

/* to: (n_weight of a) comes back layer by layer. n 0: the models are not of one architecture and shape. */
PITH_SHARED int pith__weights_apart(const pith_model *a, const pith_model *b, pith__apart *to, size_t *n,
                                    pith_error *err);

/* ---- train/importance.c: what comes into each matrix --------------------------------------------------- */

typedef struct pith__weighing pith__weighing;

/* Of a model, over texts of up to c->n_ctx tokens. head 1: of the output matrix too. */
PITH_SHARED pith__weighing *pith__weigh_new(const pith_model *m, const pith_context *c, int head, pith_error *err);
PITH_SHARED void pith__weigh_free(pith__weighing *g);
PITH_SHARED pith__imatrix *pith__weigh_sums(pith__weighing *g); /* so far; g's, but all that is no sum is the caller's to say */
/* Adds a text t (n). PITH_EDATA: what came in is not finite; then the sums are of no use any more. */
PITH_SHARED int pith__weigh_chunk(pith__weighing *g, const pith_token *t, int n, pith_error *err);
/* Adds what was read of the same model. PITH_EDATA: it is of another one; then too. */
PITH_SHARED int pith__weigh_add(pith__weighing *g, const pith__imatrix *im, pith_error *err);

/* ---- train/recall.c: what a model says by heart ------------------------------------------------------ */

enum { PITH__RECALL_MOST = 64 }; /* so many tokens of the second half are looked at */

typedef struct {         /* of second halves of examples */
    int64_t n, n_repeated; /* tokens; those that the model repeats before one that it does not */
    int n_example, n_whole; /* examples; those that it repeats to the end */
} pith__recall_sums;

/* Adds n examples to *sums, which an error leaves as they are. Examples that teach less than two tokens are passed
 * over. The session loses its text; its context must hold the longest example. */
PITH_SHARED int pith__recall(pith_session *s, const pith__sequence *e, int n, const pith__progress *progress,
                             pith__recall_sums *sums, pith_error *err);

/* ---- train/adamw.c: gradients -> better weights ----------------------------------------------------- */

/* Loshchilov and Hutter 2019, arXiv:1711.05101 */
typedef struct {
    float beta1, beta2, eps, weight_decay; /* Hugging Face's defaults: 0.9, 0.999, 1e-8, 0 */
    int64_t step;        /* steps taken */
    float *m, *v;        /* (n) running means of the gradient and of its square, zero at first; the
                            caller's, laid out as pith__params' g */
} pith__adamw;

PITH_SHARED double pith__grad_norm(pith__params *p); /* of all gradients together */
/* One step. The gradients are taken times clip: min(1, max_grad_norm / norm). */
PITH_SHARED void pith__adamw_step(pith__adamw *a, pith__params *p, double lr, double clip);

enum { PITH__CONSTANT, PITH__LINEAR, PITH__COSINE };
/* What the learning rate is multiplied by at step (0 the first): up from 0 over the first warmup steps,
 * then constant, or down to least (0 to 1) at step total. Names as Hugging Face has them: constant,
 * constant_with_warmup, linear, cosine, cosine_with_min_lr; -1: unknown. */
PITH_SHARED int    pith__schedule_named(const char *name);
PITH_SHARED double pith__schedule(int schedule, int64_t step, int64_t warmup, int64_t total, double least);

/* ---- train/checkpoint.c: the state of a training, saved and loaded ------------------------------------ */

enum { /* numbers that the path of a training depends on */
    PITH__MARK_LR, PITH__MARK_MIN_LR, PITH__MARK_WARMUP, PITH__MARK_TOTAL, PITH__MARK_SCHEDULE, PITH__MARK_DECAY,
    PITH__MARK_BETA1, PITH__MARK_BETA2, PITH__MARK_EPS, PITH__MARK_MAX_NORM, PITH__MARK_CONTEXT,
    PITH__MARK_SCALE, PITH__MARK_DROPOUT, PITH__MARK_PACKING, PITH__MARK_SEQUENTIAL,
    PITH__MARK_LOSS, PITH__MARK_BETA, PITH__MARK_SMOOTHING, PITH__MARK_SFT,
    PITH__MARK_SCALE_REWARDS, PITH__MARK_EPSILON, PITH__MARK_EPSILON_HIGH, PITH__MARK_TEMPERATURE, PITH__MARK_GENERATIONS,
    PITH__MARK_COMPLETION, PITH__MARK_ITERATIONS, PITH__MARK_PER_GENERATION,
    PITH__MARK_CENTER,
    PITH__MARK_KL_COEF, PITH__MARK_KL_ESTIMATOR, PITH__MARK_CLIP, PITH__MARK_CLIP_VALUE, PITH__MARK_VF_COEF, PITH__MARK_GAMMA,
    PITH__MARK_LAM, PITH__MARK_WHITEN, PITH__MARK_PENALTY, PITH__MARK_PPO_EPOCHS, PITH__MARK_MINIBATCHES, PITH__MARK_VALUE_GRADIENT,
    PITH__MARK_BF16,
    PITH__MARK_NUMBERS,
    PITH__MARK_SUMS = 40
};

typedef struct {         /* how far training came */
    int64_t step, seed;
    int64_t batch;       /* sequences in a step */
    int64_t texts;       /* dataset.key */
    double number[PITH__MARK_NUMBERS]; /* NAN: the file does not say */
    pith__loss since;    /* of the steps since the last line of the log, */
    double since_sum;    /* the sum of their means, */
    int64_t since_steps; /* and how many */
    double smooth;       /* loss, averaged over the last steps; -1: of none */
    int64_t seen;        /* tokens learned from */
    double sum[PITH__MARK_SUMS]; /* of an objective's figures, of the steps since the last line of the log */
    pith__str rounded;   /* what the pass sees of the weights, in words; no bytes: the weights as they are */
} pith__mark;

PITH_SHARED const char *pith__mark_name(int i); /* of a number, as Hugging Face has it: "learning_rate" */

/* The weights as tensors of floats, which lie where p has them; in memory of a. NULL: no memory. */
PITH_SHARED pith__tensor *pith__learned_tensors(const pith__params *p, pith__arena *a);
PITH_SHARED int pith__checkpoint_save(const pith__store *base, const pith__params *p,
                                      const pith__adamw *adam, const pith__mark *mark,
                                      const char *path, pith_error *err);
PITH_SHARED int pith__weights_load(const pith__store *s, pith__params *p, pith_error *err); /* no more */
/* PITH_EFORMAT: s is no checkpoint, or of another shape than p. */
PITH_SHARED int pith__checkpoint_load(const pith__store *s, pith__params *p, pith__adamw *adam,
                                      pith__mark *mark, pith_error *err);

/* ---- train/dataset.c: text files -> tokens to learn from -------------------------------------------- */

PITH_SHARED uint64_t pith__shuffled(uint64_t seed, uint64_t n, uint64_t i); /* number i of a permutation of 0 to n - 1 */

typedef struct {         /* the documents of a file, one after the other */
    const char *path;
    pith__file file;
    const char *p, *end;
    int kind;            /* PITH__PROSE, ... */
    pith__json array;    /* what is left of it */
    size_t count;        /* lines or items so far */
    int nfc;             /* 1: documents are given in normal form C; set it after opening */
    size_t hangul_apart; /* Korean syllables written as jamo, in the documents so far */
    pith__arena arena;   /* of the last document, where it is not as it stands in the file */
} pith__documents;

enum { PITH__PROSE, PITH__JSON_LINES, PITH__JSON_ARRAY };

/* PITH_EDATA: the file cannot be read, or is no text. */
PITH_SHARED int  pith__documents_open(pith__documents *d, const char *path, pith_error *err);
/* The next row of JSON, whatever it holds: a line that is not blank, or an item. row->p NULL: no more. Prose is read as
 * lines, which are then no JSON. */
PITH_SHARED int  pith__documents_row(pith__documents *d, pith__json *row, pith_error *err);
/* text->n 0: no more. */
PITH_SHARED int  pith__documents_next(pith__documents *d, pith__str *text, pith_error *err);
PITH_SHARED void pith__documents_close(pith__documents *d);

/* What stands before each document, and so ends the one before it; -1: the vocabulary has neither BOS nor EOS. */
PITH_SHARED pith_token pith__document_token(const pith__vocab *v);

typedef struct {         /* (n) files; the caller's */
    const char *const *path;
    int n;
} pith__texts;

typedef struct {
    pith__texts train;
    const char *eval;    /* NULL: a part of train is held out instead */
    float hold_out;      /* that part, 0 to 1 */
} pith__text_choice;

typedef struct {
    pith__file file;
    uint64_t key;        /* of the texts and the vocabulary */
    int width, n_vocab;
    size_t longest;      /* bytes of the longest document that became tokens just now */
    int kinds;           /* what the texts were read as: 1 << PITH__PROSE and so on */
    pith_token begin;    /* what documents begin with */
    uint64_t order, offset; /* of the epoch that was asked for last */
    size_t n_train, n_eval; /* tokens to learn from, and held out */
    uint64_t eval_bytes; /* of text, normalised as the vocabulary wants it, in the n_eval tokens */
    uint64_t hangul_apart; /* Korean syllables written as jamo */
} pith__dataset;

/* Make the texts tokens in the file path, if it does not have them already, and map it. */
PITH_SHARED int  pith__dataset_open(pith__dataset *d, const pith_model *m, const pith__text_choice *c,
                                    const char *path, const pith__progress *progress, pith_error *err);
/* n_train and n_eval, no more. */
PITH_SHARED int  pith__dataset_count(pith__dataset *d, const pith_model *m, const pith__text_choice *c,
                                     const pith__progress *progress, pith_error *err);
PITH_SHARED void pith__dataset_close(pith__dataset *d);
PITH_SHARED uint64_t pith__dataset_windows(const pith__dataset *d, int n_ctx); /* in an epoch; 0: too little
                                                                                  text */
/* Window i, counted over all epochs: n_ctx + 1 tokens. Every epoch has them in another order. */
PITH_SHARED void pith__dataset_window(pith__dataset *d, int n_ctx, uint64_t seed, uint64_t i,
                                      pith_token *t);
PITH_SHARED int  pith__dataset_eval_windows(const pith__dataset *d, int n_ctx);
/* The tokens of a held-out window; the result is how many of them are predicted. */
PITH_SHARED int  pith__dataset_eval_window(const pith__dataset *d, int n_ctx, int i, pith_token *t);

/* ---- train/pairs.c: what two answers begin with alike -------------------------------------------------- */

PITH_SHARED size_t pith__shared_text(pith__str a, pith__str b);                                 /* bytes */
PITH_SHARED size_t pith__shared_messages(pith__json a, pith__json b, pith__arena *arena);       /* messages of two arrays */

/* ---- train/fields.c: a row of a data set -> what there is to learn in it ------------------------------ */

enum { PITH__ROW_TEXT, PITH__ROW_PAIR, PITH__ROW_MESSAGES, PITH__ROW_TURNS, PITH__ROW_TOKENS };

typedef struct {         /* in memory of an arena, or of the row */
    int kind;
    pith__str text, completion; /* TEXT: a text; PAIR: a prompt and what follows it */
    const char *messages, *prompt_messages; /* MESSAGES, TURNS: JSON for pith_render; TURNS: the prompt's messages alone too */
    pith__json ids, completion_mask, assistant_masks, labels; /* TOKENS, */
    pith__json prompt_ids; /* which stand before them and do not count */
} pith__row;

/* where: of the row, for errors. PITH_EDATA: of no kind, or wrong. has_template 0: Alpaca's rows become texts. */
PITH_SHARED int pith__row_read(pith__row *r, pith__json j, const char *where, int has_template, pith__arena *a,
                               pith_error *err);
/* A prompt that is to be completed: TEXT, or MESSAGES. */
PITH_SHARED int pith__row_read_prompt(pith__row *r, pith__json j, const char *where, pith__arena *a, pith_error *err);
/* Two answers to one prompt, the chosen and the rejected one: PAIR, TURNS or TOKENS both. Without a prompt of the same kind, the
 * prompt is what both begin with alike. */
PITH_SHARED int pith__row_read_pair(pith__row r[2], pith__json j, const char *where, pith__arena *a, pith_error *err);

/* ---- train/answers.c: which tokens of a conversation are the assistant's ------------------------------- */

typedef struct {         /* what a template puts around a turn */
    const pith_model *m;
    pith_token end[2];   /* that end it, or -1 */
    pith_rendering asked; /* a short conversation up to where an answer begins: asked.token[opening ..] is what the */
    int opening, n_opening; /* template puts before one; n_opening 0: nothing, or it cannot be told */
} pith__turns;

enum { PITH__EMPTY_ANSWER = 128 }; /* beside pith_rendering's marks: before this byte stands an answer without text */

PITH_SHARED void pith__turns_open(pith__turns *f, const pith_model *m, const pith_template *form,
                                  const pith_conversation *like); /* like: variables and time */
PITH_SHARED void pith__turns_close(pith__turns *f);
/* counts (n_token): 1 for what the assistant is to learn; all 1: for every token. *endless 1: the last answer has no token
 * that ends it. */
PITH_SHARED int  pith__turns_count(const pith__turns *f, const pith_rendering *r, int all, uint8_t *counts, int *endless,
                                   pith_error *err);
/* *has 1: of the tokens from number from on, some are of messages, and not only of the template. */
PITH_SHARED int  pith__turns_data_from(const pith__turns *f, const pith_rendering *r, int from, int *has, pith_error *err);

/* ---- train/examples.c: rows -> tokens with a mask ----------------------------------------------------- */

typedef struct {
    const pith_token *t; /* (n) */
    const uint8_t *counts; /* (n) 1: the token is to be learned; 0 for the first one */
    int n;
    size_t file, line;   /* where it is from: path[file], line (or item of an array) from 1 */
    double margin;       /* of a pair that is scored: by so much the chosen one's score is to be greater */
} pith__example;

typedef struct {
    pith__texts train;   /* files */
    pith__texts eval;    /* n 0: a part of train is held out instead */
    double hold_out;     /* that part, 0 to 1 */
    const pith_template *form; /* NULL: there is none, and no row may have messages */
    const char *variables; /* for the template, a JSON object; or NULL */
    const pith_time *now;  /* or NULL */
    int every_token;     /* 1: of a conversation every token counts; 0: the assistant's turns */
    int prompts_too;     /* 1: of prompt and completion every token counts; 0: the completion's */
    int max_length;      /* tokens; longer examples are cut. 0: no limit */
    int keep_end;        /* 1: at their beginning, 0: at their end */
    int pairs;           /* 1: rows are of a chosen and a rejected answer, and each gives two examples in this order */
    int parse_special;   /* 1: in plain texts (not in messages) "<|im_end|>" is read as that token */
    int scored;          /* 1: they are to be scored, as whole texts: the last token alone counts, and one that is longer
                            than max_length is left out (cut), for its end would be missing */
} pith__examples_plan;

typedef struct {         /* of some examples: how many, and the first */
    size_t n, file, line;
} pith__some;

typedef struct {
    size_t n_train, n_eval; /* examples to learn from, and held out: 0 to n_train - 1, and those behind them */
    size_t n_token, n_label; /* of those to learn from: tokens, and those that count */
    int longest;         /* tokens of the longest, of all */
    pith__some cut;      /* were longer than max_length */
    pith__some skipped;  /* have nothing to learn: left out */
    pith__some endless;  /* the last assistant's turn has no end token, or was cut before it */
    pith__some look_alike; /* plain texts with the name of a control token, which stays text */
    pith__some equal;    /* pairs of equal answers: left out */
    size_t n_same;       /* examples held out that are also among those to learn from */
    uint64_t key;        /* of all tokens and what counts: the same, the same training */
    struct pith__example_at *at; /* (n_train + n_eval) */
    pith_token *token;   /* of all examples, one after the other */
    uint8_t *counts;
} pith__examples;

/* PITH_EDATA: a row that is wrong, with its file and line; or there is nothing to learn in any. */
PITH_SHARED int  pith__examples_open(pith__examples *x, const pith_model *m, const pith__examples_plan *plan,
                                     const pith__progress *progress, pith_error *err);
PITH_SHARED void pith__examples_close(pith__examples *x);
PITH_SHARED pith__example pith__examples_get(const pith__examples *x, size_t i);
/* What pith__learn takes: target (n - 1) of the tokens t[0 .. n - 1), the last of which is only predicted. */
PITH_SHARED void pith__example_targets(const pith__example *e, pith_token *target);

/* The same row by row; what makes ids of rows is one function everywhere. A row with chosen and rejected gives two
 * examples, also where they are equal, whatever plan.pairs says. */
typedef struct pith__row_reader pith__row_reader;

PITH_SHARED pith__row_reader *pith__row_reader_new(const pith_model *m, const pith__examples_plan *plan, pith_error *err);
PITH_SHARED void pith__row_reader_free(pith__row_reader *r);
/* *x: n_train examples, valid until the next row; none where nothing counts, or the row is too long (cut). where: of the
 * row, for errors, which leave the reader as it was. */
PITH_SHARED int  pith__row_reader_read(pith__row_reader *r, pith__json row, const char *where, const pith__examples **x,
                                       pith_error *err);

/* ---- train/logps.c: how likely a model finds whole answers ------------------------------------------- */

/* sum[i]: log p of all tokens that count in example[i] of x. Not between a step's beginning and its end. */
PITH_SHARED int pith__logps(pith__step *step, const pith__examples *x, const size_t *example, size_t n, double *sum,
                            pith_error *err);

/* ---- train/reward.c: what a reward model finds of texts ------------------------------------------------ */

typedef struct {
    const pith_token *t; /* (n) of a whole text, with the token that ends it; n 1 or more */
    int n;
} pith__text_ids;

/* score[i]: of text[i], by an adapter with a score head (pith__adapter_open). The same bits whatever texts are beside it.
 * Faster where texts that follow one another begin alike. */
PITH_SHARED int pith__reward(const pith_adapter *a, const pith__text_ids *text, size_t n, double *score,
                             const pith__progress *progress, pith_error *err);

/* ---- train/packs.c: packing ---------------------------------------------------------------------------- */

typedef struct {         /* each example to learn from is in one of n packs */
    size_t n;
    uint32_t *first;     /* (n + 1) pack i has example[first[i] .. first[i + 1]), in their order, */
    uint32_t *example;   /*         numbers for pith__examples_get */
} pith__packs;

/* The examples of a pack have together at most max_length tokens, or as many as the longest has where that is more. They stay
 * sequences of their own. */
PITH_SHARED int  pith__packs_make(pith__packs *p, const pith__examples *x, int max_length, pith_error *err);
PITH_SHARED void pith__packs_free(pith__packs *p);

/* ---- train/vocab.c: learn a vocabulary --------------------------------------------------------------- */

typedef struct {
    int model, size;     /* PITH__SPM or PITH__BPE; pieces */
    int nfc;             /* 1: from the text in normal form C, as the vocabulary then says */
    size_t hangul_apart; /* comes back: Korean syllables that the text has as jamo */
} pith__vocab_plan;

/* v lies in memory of a. */
PITH_SHARED int pith__learn_vocab(pith__vocab *v, pith__arena *a, const pith__texts *texts,
                                  pith__vocab_plan *plan, const pith__progress *progress, pith_error *err);

/* ---- train/init.c: a new Llama, a new score head -------------------------------------------------------- */

typedef struct {
    int dim, layers, heads, kv_heads, ffn, context;
    int untied;          /* 1: an output matrix apart from the embedding */
} pith__llama;

/* Random weights, each a function of the seed and its name. */
PITH_SHARED pith_model *pith__new_llama(const pith__llama *shape, const pith__vocab *v, uint64_t seed,
                                        const pith_options *opt, pith_error *err);

/* An adapter becomes a reward model: a random score head, as transformers begins one. */
PITH_SHARED int pith__score_new(pith_adapter *a, uint64_t seed, pith_error *err);

#endif
