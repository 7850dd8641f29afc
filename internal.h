/* internal.h - what the root's files share: one section a file, in reading order. The rooms below have
 * headers of their own; base/base.h has the letters and rules. */
#ifndef PITH_INTERNAL_H
#define PITH_INTERNAL_H

#include "formats/formats.h"
#include "text/text.h"

#include <stdatomic.h>

/* ---- tokenizer.c: text <-> tokens ------------------------------------------------------------------ */

typedef struct pith__tokenizer pith__tokenizer;

PITH_SHARED pith__tokenizer *pith__tokenizer_new(const pith__vocab *v, pith_error *err);
PITH_SHARED void pith__tokenizer_free(pith__tokenizer *k);
PITH_SHARED int  pith__tokenizer_find(const pith__tokenizer *k, const char *bytes, size_t n); /* or -1 */
PITH_SHARED int  pith__tokenizer_encode(const pith__tokenizer *k, const char *text, size_t len,
                                        unsigned flags, pith_token *out, int cap); /* count or error */
/* The same; what takes long asks progress whether to go on, and gives PITH_ESTOP if not. */
PITH_SHARED int  pith__tokenizer_encode_long(const pith__tokenizer *k, const char *text, size_t len,
                                             unsigned flags, pith_token *out, int cap,
                                             const pith__progress *progress);
/* With control tokens, but not of bytes that mark (len) calls data: nobody writes one into a message. */
PITH_SHARED int  pith__tokenizer_encode_marked(const pith__tokenizer *k, const char *text, const uint8_t *mark,
                                               size_t len, pith_token *out, int cap);
PITH_SHARED pith__str pith__tokenizer_piece(const pith__tokenizer *k, pith_token t); /* its bytes */
PITH_SHARED const pith__vocab *pith__tokenizer_vocab(const pith__tokenizer *k);

/* ---- tokenizer.c, vocabulary.c: the tables between them --------------------------------------------- */

typedef struct {         /* of a piece: its bytes where they are few, else a hash of them; */
    uint64_t bits;
    uint32_t n;          /* how many they are, or that they are more than few; */
    int32_t id;          /* plus 1; 0: free, or of what is looked for */
} pith__piece_slot;

typedef struct {         /* two pieces that are joined to one */
    int32_t left, right;
    uint32_t next;       /* the next best merge that makes the same piece: its rank plus 1; 0: there is none */
} pith__bpe_merge;

struct pith__tokenizer {
    pith__arena arena;   /* all that is below */
    pith__vocab v;
    pith__str *piece;    /* (v.n) the bytes that a token stands for, in one buffer */
    size_t longest;      /* of the pieces that text can become */
    pith__piece_slot *slot;    /* (slot_mask + 1) those pieces, by hash */
    size_t slot_mask;
    uint8_t *is_spelled; /* (v.n) 1: it is in slot, and each part of it is spelled as it is there */
    pith__bpe_merge *merge;    /* (v.n_merge) BPE, by rank */
    uint32_t *made_by;   /* (v.n) the best merge that makes a piece, as next has it */
    pith__added_set named;  /* all added tokens, as the file spells them */
    pith__added_set added;  /* those that are found in text as it is */
    pith__added_set normal; /* those that are found in normalised text, normalised themselves */
    int32_t byte[256];   /* the token of a single byte, or -1 */
    uint8_t beside[256][32]; /* bit c of row b: some piece has byte b and next to it byte c */
    const pith__splitter *splitter; /* byte-level only */
    pith__wordpiece words; /* WordPiece only */
    pith__unigram *unigram; /* of such a vocabulary, with what is done to text; else NULL */
    pith__rewriter rewriter;
    int has_space;       /* 1: " " is a piece */
    int copies_late;     /* 1: spaces are put in or replaced once added tokens were found */
};

enum { PITH__SHORT = 8 }; /* bytes of a piece that is its own key */

/* One to one for bytes of one length, PITH__SHORT at most. */
static inline uint64_t pith__few_bytes(const char *p, size_t n) {
    uint32_t a, b;
    if (n < 4) return n ? (uint64_t)(uint8_t)p[0] << 16 | (uint64_t)(uint8_t)p[n / 2] << 8 | (uint8_t)p[n - 1] : 0;
    memcpy(&a, p, sizeof a);
    memcpy(&b, p + n - sizeof b, sizeof b);
    return (uint64_t)a << 32 | b;
}

static inline uint64_t pith__mix_bits(uint64_t h, uint64_t x) {
    h = (h ^ x) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 32;
}

static inline pith__piece_slot pith__piece_key(const char *p, size_t n) {
    if (n <= PITH__SHORT) return (pith__piece_slot){ pith__few_bytes(p, n), (uint32_t)n, 0 };
    uint64_t h = n, x;
    for (; n > sizeof x; p += sizeof x, n -= sizeof x) {
        memcpy(&x, p, sizeof x);
        h = pith__mix_bits(h, x);
    }
    return (pith__piece_slot){ pith__mix_bits(h, pith__few_bytes(p, n)), PITH__SHORT + 1, 0 };
}

static inline pith__piece_slot *pith__piece_first(const pith__tokenizer *k, pith__piece_slot key) {
    return &k->slot[pith__mix_bits(pith__mix_bits(key.n, key.bits), 0) & k->slot_mask];
}

static inline pith__piece_slot *pith__piece_place(const pith__tokenizer *k, pith__piece_slot key, const char *p, size_t n) {
    for (pith__piece_slot *s = pith__piece_first(k, key);; s = s < &k->slot[k->slot_mask] ? s + 1 : k->slot) {
        if (s->id == 0) return s;
        if (s->bits != key.bits || s->n != key.n) continue;
        if (n <= PITH__SHORT) return s;
        pith__str have = k->piece[s->id - 1];
        if (have.n == n && memcmp(have.p, p, n) == 0) return s;
    }
}

PITH_SHARED int32_t pith__piece_find(const pith__tokenizer *k, const char *p, size_t n); /* -1: there is none */
PITH_SHARED int pith__normal_form(pith__tokenizer *k, pith__str *s); /* 0: no memory */

/* ---- frame.c: a text or a pair with the special tokens around it ------------------------------------- */

typedef struct {
    pith__str first, second; /* second.p NULL: one text, no pair */
    unsigned flags;      /* PITH_SPECIAL: "[MASK]" in them is that one token; no other flag counts */
    int limit;           /* so many tokens at most, with the special ones, which stay; 0: no limit */
} pith__to_frame;

typedef struct {         /* {0} at first. It may take one text after the other, and keeps its memory between them */
    pith_token *token;   /* (n) */
    uint8_t *type;       /* (n) token types: 1 for what belongs to the second text of a BERT pair */
    int n;
    int cut;             /* tokens of the texts that were over the limit and are left out */
    int room;            /* tokens that there is memory for */
} pith__framed;

/* What the vocabulary's file has put around a text: [CLS] and [SEP], or <|endoftext|> behind it, or nothing. PITH_OK, or
 * PITH_EARG: too long to be made tokens, or PITH_EMEMORY. */
PITH_SHARED int pith__frame(const pith__tokenizer *k, const pith__to_frame *in, pith__framed *f);
PITH_SHARED void pith__framed_free(pith__framed *f);

/* ---- chat.c: a conversation -> tokens -------------------------------------------------------------- */

typedef struct {
    const pith__tokenizer *k;
    const pith__vocab *v;
    const char *form;    /* a name, or NULL: the form that the vocabulary's own chat template has */
} pith__chat;

/* Tokens of turns up to where the assistant speaks. PITH_EARG: no form of that name, or a role that is not
 * known; PITH_EARCH: the template's form is not known. */
PITH_SHARED int pith__chat_encode(const pith__chat *c, const pith_turn *turns, int n, pith_token *out, int cap,
                                  pith_error *err);
PITH_SHARED const char *pith__chat_named(const char *name); /* the form's own name, or NULL: unknown */
PITH_SHARED pith__str pith__chat_name(int i); /* of the forms known; no bytes after the last */
/* The form of this name as a chat template (in Jinja), which writes the same; bos 1: with BOS. PITH_EARG: no such name. */
PITH_SHARED int pith__chat_jinja(pith__said *t, const char *name, int bos);

/* ---- thoughts.c: what a model thinks, apart from what it answers ------------------------------------ */

typedef struct { /* where a text of a model stands */
    int inside, row;     /* within thoughts, of this row of the tags */
    int thought;         /* there were some */
    int begun;           /* what it is in now has more than blanks */
    size_t n_held;
    char held[64];       /* (n_held) bytes that may become a tag */
    uint8_t hidden[64];  /* (n_held) 1: of a control token, shown only as a tag is, which is not at all */
} pith__thoughts;

typedef struct { char *answer, *thought; size_t n_answer, n_thought; } pith__parts; /* written behind what is there */

PITH_SHARED void pith__thoughts_begin(pith__thoughts *t, const char *before, size_t n); /* what the model goes on from */
PITH_SHARED void pith__thoughts_put(pith__thoughts *t, const char *p, size_t n, int hidden, pith__parts *to);
PITH_SHARED void pith__thoughts_end(pith__thoughts *t, pith__parts *to); /* what was held back is no tag */
PITH_SHARED const char *pith__thoughts_close(const pith__thoughts *t);   /* the tag that would end them; NULL: outside */

/* ---- template.c: a conversation through a chat template --------------------------------------------- */

/* As pith_template_new, of a vocabulary and its tokenizer, both or neither. text.p NULL: the vocabulary's own. */
PITH_SHARED pith_template *pith__template_new(const pith__vocab *v, const pith__tokenizer *k, pith__str text,
                                              const char *what, pith_error *err);
PITH_SHARED pith__str pith__template_text(const pith_template *t); /* the program */

/* ---- families.c, bind.c, model.c: an open model ------------------------------------------------------------ */

/* Architectures are values: what a family does differently is one of these. */
enum { PITH__RMSNORM, PITH__LAYERNORM }; /* kinds of norms: pith__run_norm knows them */
enum { PITH__ATTENTION, PITH__LATENT, PITH__SHORTCONV, PITH__DELTA, PITH__MAMBA }; /* kinds of mixers, by which a token gets something from others: mix() in forward.c */

typedef struct {
    char arch[16];
    int n_layer, n_embd, n_vocab, n_ctx;
    int n_head, n_kv_head, head_dim, n_ff; /* the largest of any layer; a layer has its own */
    int n_q, n_kv;       /* the most channels of a layer's queries, of its keys */
    int n_ple;           /* numbers that a layer gets of each token beside the stream (Gemma 4); 0: none */
    int n_ctx_most;      /* the longest text that the rotation is right for; 0: any */
    int n_expert, n_expert_used, n_ff_expert;
    int n_dense;         /* so many layers at the beginning have no experts; -1: the tensors say which */
    int n_ff_shared;     /* of the network beside the experts that all tokens use; 0: there is none */
    int expert_sigmoid;  /* 1: the score of an expert is the sigmoid of its logit, 0: softmax over all of them */
    int expert_norm;     /* 1: the chosen experts' scores are divided by their sum */
    int expert_before;   /* 1: an expert's weight multiplies what goes into it (Llama 4), 0: what comes out */
    int n_expert_group, n_group_used; /* so many groups of experts, of which these are chosen from; 0: no groups */
    int group_by_one;    /* 1: a group is as good as its best expert, 0: as its two best */
    float expert_eps;    /* is added to that sum */
    float expert_factor; /* the weights times this */
    int n_rot;           /* channels of a head that are rotated: the most of any layer */
    int qk_norm_whole;   /* 1: q and k are normed as a whole (OLMo 2), 0: head by head */
    int qk_norm_late;    /* 1: after the rotation, which q0 and k0 then have too */
    int rope_half;       /* RoPE pairing. 1: channel i rotates with i + n_rot / 2 (GPT-NeoX); 0: with i + 1 */
    int rope_as_is;      /* 1: whatever qk_halves says of other llamas, q and k are stored as they are rotated */
    int rope_gather;     /* 1: stored as for rope_half, and brought into the order of neighbours first */
    int act;             /* PITH__SILU, ... */
    int gated;           /* 1: a feed-forward network has two branches, 0: the one called up */
    int norm;            /* PITH__RMSNORM or PITH__LAYERNORM: the kind of every norm */
    float act_limit, act_alpha; /* gpt-oss: see pith__clamp_row; 0: none */
    int parallel;        /* 1: the feed-forward network gets the stream as attention does (GPT-NeoX), 2: the same under attention's
                          * norm (Command R7B), 0: as attention left it */
    int n_mix_in, n_conv, n_inner; /* of layers with a state, the most: see pith__recurrent */
    float eps;           /* of every norm */
    float embd_scale;    /* the embedding times this (Gemma: sqrt(n_embd)) */
    float residual_scale; /* what a block adds to the stream times this (Granite) */
    double attn_scale;   /* q.k times this, normally 1 / sqrt(head_dim) */
    float temperature;   /* queries times 1 + temperature ln(1 + floor(position / temperature_length)) (Ministral 3) */
    int temperature_length;
    int temper_plain;    /* 1: only queries of layers without rotation, at position + 1 (Llama 4) */
    int qk_norm_bare;    /* 1: q and k have norms without weights in layers that are rotated, and only there (Llama 4) */
    struct {             /* of latent attention (latent.c); rank 0: there is none */
        int rank;        /* numbers of a latent; head_dim is these and n_rot more, and n_kv_head is 1 */
        int q_rank;      /* numbers between the two matrices of queries; 0: there is one matrix */
        int n_nope, n_value; /* of a head: numbers of a query that are not rotated; of a value */
        float eps;       /* of the norms of latents and of what is between those matrices */
    } latent;
    float logit_scale;   /* logits times this */
    float attn_softcap, logit_softcap; /* 0: none */
    float qkv_limit;     /* queries, keys and values are no further from 0 than this, before they are rotated; 0: none (OLMo 1) */
} pith__hyper;

enum { PITH__EXPERT_GROUPS = 64 }; /* at most */

/* A weight: a matrix, or a norm or bias, whose numbers are copied to floats when the model is opened.
 * One that the family does not have is all zeros. */
typedef struct pith__weight pith__weight;
struct pith__weight {
    pith__tensor tensor; /* its name, its shape, a matrix's numbers */
    const float *floats; /* (cols) the numbers of a norm or bias; else NULL */
    size_t from;         /* its first number in the file's tensor: several weights may share one */
    size_t at;           /* training: its first number in a gradient of the model, or PITH__FROZEN */
    int index;           /* its number among the model's weights: adapters have a place for each */
    pith__weight *next;  /* another of the model's weights, see pith_model */
};
#define PITH__FROZEN SIZE_MAX

typedef struct {         /* a norm, of (cols) numbers: of one that is not there the floats of w are NULL */
    pith__weight w;      /* the factors */
    pith__weight b;      /* what is added then; LayerNorm may have it */
} pith__norm;

typedef struct {         /* a feed-forward network: down(act(gate x) * up x); one without gate: down(act(up x)) */
    pith__weight gate, up; /* (n_ff, n_embd) */
    pith__weight down;   /* (n_embd, n_ff) */
    pith__weight gate_bias, up_bias, down_bias;
} pith__ffn;

typedef struct {         /* a mixer that has a state instead of keys and values: recurrent.c. All sizes are 0 where there is none */
    int n_tap;           /* inputs of a channel that its convolution sees: the token's own, and n_tap - 1 before it */
    int n_conv;          /* channels that are convolved */
    int n_in;            /* numbers that a token brings: rows of in */
    int n_inner;         /* numbers that come out of the recurrence: columns of out */
    int n_head, n_k_head, dk; /* delta rule: value heads; key heads, and numbers of a key. Mamba: heads; groups; rows of a state */
    int grouped;         /* 1: value heads that read one key head follow one another (Qwen3-Next), 0: they read key heads in turn */
    pith__weight in;     /* (n_in, n_embd); delta rule: (n_conv, n_embd), and n_in is of the next three, and n_head more */
    pith__weight z;      /* (n_inner, n_embd) gates */
    pith__weight beta, decay; /* (n_head, n_embd); grouped: beta is of both, for each key head those of its value heads */
    pith__weight dt_bias, rate; /* (n_head) of a token that brings x, e^(rate softplus(x + dt_bias)) of the state stays */
    pith__weight norm;   /* (n_inner / n_head); Mamba: (n_inner) */
    pith__weight skip;   /* (n_head) Mamba: so much of x comes out beside what the state gives */
    pith__weight conv_bias; /* (n_conv) or none */
    pith__weight conv;   /* (n_conv, n_tap) floats; the token's own comes last */
    pith__weight out;    /* (n_embd, n_inner) */
} pith__recurrent;

typedef struct {         /* what a layer of latent attention has beside q and o */
    pith__weight q_a;    /* (q_rank, n_embd): q has q_rank columns then */
    pith__norm q_a_norm; /* (q_rank) */
    pith__weight kv_a;   /* (rank + n_rot, n_embd) */
    pith__norm kv_a_norm; /* (rank) */
    pith__weight k_b;    /* (n_head, rank, n_nope) */
    pith__weight v_b;    /* (n_head, n_value, rank) */
} pith__latent;

typedef struct {         /* one block: its sizes and its weights */
    int n_head, n_kv_head, head_dim; /* n_kv_head 0: a layer without attention */
    int n_rot;           /* channels of a head that are rotated */
    int n_ff;            /* of its dense network */
    struct { float more, less, beta, eps; } xielu; /* Apertus: see experts.c */
    pith__norm attn_norm, ffn_norm; /* (n_embd) of the stream, as attention and the network get it */
    pith__norm attn_post_norm, ffn_post_norm; /* (n_embd) of what they add to the stream (Gemma 2) */
    pith__norm attn_out_norm, ffn_out_norm;   /* (n_embd) of the stream with what they added (BERT) */
    pith__norm v_norm;   /* (head_dim) all factors are 1 (Gemma 4) */
    pith__norm q_norm, k_norm; /* (head_dim); qk_norm_whole: (n_head or n_kv_head, head_dim) */
    pith__weight q_bias, k_bias, v_bias, o_bias;
    pith__weight sinks;  /* (n_head) see pith__attention */
    pith__weight q, k, v; /* (n_head or n_kv_head * head_dim, n_embd); no v: values are keys before norm and rotation */
    pith__weight o;      /* (n_embd, n_head * head_dim) */
    pith__latent latent; /* then q is (n_head * (n_nope + n_rot), ...), o is (n_embd, n_head * n_value), and there is no k or v */
    pith__weight router; /* (n_expert, n_embd); none: the one network is dense */
    pith__weight router_bias; /* (n_expert) of its logits (gpt-oss) */
    pith__weight choice_bias; /* (n_expert) is added to scores where experts are chosen, and only there (DeepSeek V3) */
    pith__weight expert_scale; /* (n_expert) the weights times this (Gemma 4) */
    pith__ffn *ffn;      /* (1), or (n_expert) */
    pith__ffn shared;    /* of n_ff_shared: all tokens use it, and what it gives is added */
    pith__norm router_norm, expert_norm, expert_post_norm, shared_post_norm; /* (n_embd) Gemma 4: of the stream as router and
                            experts get it, of what these give together, and of what shared gives */
    pith__weight shared_gate; /* (1, n_embd) times the sigmoid of this product (Qwen 2 MoE) */
    pith__recurrent recurrent; /* of layers that are not of attention */
    int mixer;           /* PITH__ATTENTION, ... */
    int head_gates;      /* 1: q has gates, head by head: those of its channels follow its query (Qwen3.5) */
    int one_gate;        /* 1: each head has one gate, */
    pith__weight gate;   /*    which this (n_head, n_embd) makes of what attention gets (LFM3) */
    pith__weight ple_gate, ple_out; /* (n_ple, n_embd), (n_embd, n_ple): stream += ple_out(act(ple_gate x) * the token's own), */
    pith__norm ple_norm; /* (n_embd) of what that adds */
    pith__weight out_scale; /* (1) what the block gives on, times this; or none */
    int kv_from;         /* the layer whose keys and values this one sees: itself, or an earlier one (Gemma 4) */
    int kv_seen;         /* 1: later layers see those of this one */
    pith__mask mask;     /* which tokens a token sees; one that is not causal needs the text in one batch */
    int rope;            /* which set of angles: 0, or 1 (Gemma 3's local layers); -1: none */
} pith__layer;

typedef struct {         /* what a model was taught to say of hidden states, beside logits of the next token: heads.c */
    int kind;            /* PITH_TASK_TEXT, ...; 0: nothing */
    int n;               /* numbers: labels, or tokens of the vocabulary */
    unsigned pooling;    /* of a text: PITH_CLS, PITH_MEAN or PITH_LAST */
    int act;             /* behind dense: PITH__TANH, ... */
    pith__weight dense, dense_bias; /* (n_embd, n_embd), (n_embd): a first step, which may not be there */
    pith__norm norm;     /* (n_embd) */
    pith__weight out, out_bias; /* (n, n_embd), (n); there is no out of words: it is the output matrix */
} pith__task_head;

typedef struct {         /* one set of rotation angles: pair i at position p rotates by p * freq[i] */
    int n_rot;           /* of the layers that have this set */
    float *freq;         /* (n_rot / 2) */
    float *freq_long;    /* those of texts longer than n_ctx_original (longrope), or NULL */
    float mscale;        /* cosine and sine times this (YaRN, longrope), else 1 */
} pith__rope;

enum { PITH__DENSES = 16 }; /* steps of a model of embeddings, at most */
typedef struct {         /* one of them: y = W x + bias, or tanh of that */
    const pith__tensor *w; /* (rows, cols) */
    const float *bias;   /* (rows) or NULL */
    int tanh;
} pith__dense;

typedef struct {         /* how hidden states become one vector */
    pith_embedding how;
    int said;            /* 1: the files say how to pool; 0: it is a guess */
    int lower;           /* 1: a text is written in small letters before it becomes tokens */
    pith__dense dense[PITH__DENSES]; /* (n_dense) */
    int n_dense;
    struct { const char *name, *text; } *prompt; /* (n_prompt) */
    int n_prompt;
} pith__pooling;

struct pith_model {
    pith__store store;
    pith__hyper hyper;
    pith_shape shape;
    pith__weight embd;   /* (n_vocab, n_embd) */
    pith__weight head;   /* (n_vocab, n_embd), often embd's numbers again */
    pith__weight head_bias; /* (n_vocab) of logits; Phi-2 */
    pith__weight positions; /* (n_ctx, n_embd) added to the embedding; BERT, GPT-2 */
    pith__weight types;  /* (n_type, n_embd) the same, by the type of a token: BERT tells two texts apart */
    pith__norm embd_norm; /* (n_embd) of the sum; BERT */
    pith__weight ple_embd; /* (n_vocab, n_layer * n_ple) what the layers get of a token, */
    pith__weight ple_proj; /* (n_layer * n_ple, n_embd) and of its embedding, */
    pith__norm ple_norm;   /* (n_ple) normed */
    pith__weight far;    /* (32, n_head) biases of scores by how far the key is; MPNet */
    float *biases;       /* (n_head, PITH__BIASES) the same, number by number, see pith__attention; or NULL */
    pith__norm out_norm; /* (n_embd) after the last block; BERT has none */
    int has_no_output;   /* 1: a decoder whose logits mean nothing: it makes vectors */
    pith__task_head task;
    pith__layer *layer;  /* (n_layer) */
    pith__weight *weights; /* (n_weight) all of the above, linked by next */
    int n_weight;
    pith__rope rope[2];
    pith__tokenizer *tokenizer; /* NULL: tokens only */
    pith__pooling pooling;
    _Atomic(pith__trie *) *trie; /* of the tokens, once a grammar has needed it */
    const pith__kernels *kernels;
    pith__kernels groups; /* what kernels points to for a llama2.c file of int8 */
    int n_threads;
    const char *chat_template; /* a name that overrides what the file says, or NULL */
    int cache_format;    /* of sessions that do not say: F32 for llama2.c, else F16 */
    int n_ctx_original;  /* longrope: longer texts use freq_long */
};

/* ---- families.c: keys -> hyper-parameters ---------------------------------------------------------- */

enum { /* what a family has beyond the common parts */
    PITH__PRE_NORM = 1, PITH__POST_NORM = 2, PITH__QK_NORM = 4, PITH__QK_NORM_WHOLE = 8,
    PITH__FUSED = 16, PITH__EXPERTS = 32, PITH__GELU_FFN = 64, PITH__HALF = 128,
    PITH__SCALE_EMBD = 256, PITH__OPTIONAL = 512, PITH__SOFTCAP = 1024, PITH__LAYER_NORM = 2048,
    PITH__OUT_NORM = 4096,   /* norms of the stream after each addition, and none at the end */
    PITH__UNGATED = 8192, PITH__POSITIONS = 1 << 14, PITH__TYPES = 1 << 15, PITH__EMBD_NORM = 1 << 16,
    PITH__NO_ROPE = 1 << 17, PITH__BOTH_WAYS = 1 << 18, PITH__PARALLEL = 1 << 19, PITH__ERF_FFN = 1 << 20,
    PITH__QK_NORM_LATE = 1 << 28, /* q and k are normed after the rotation */
    PITH__BARE_NORMS = 1 << 26, /* norms have no weights: their factors are 1 */
    PITH__RELU2_FFN = 1 << 27,
    PITH__FFN_POST_NAME = 1 << 24, /* the network's norm is called post_attention_norm */
    PITH__V_NORM = 1 << 29,  /* values are normed, without weights */
    PITH__PLE = 1 << 30,     /* layers may get numbers of each token beside the stream */
    PITH__RELATIVE = 1 << 21, /* scores get a bias by how far the key is from the query */
    PITH__HEAD_GATES = 1 << 22, /* see pith__layer */
    PITH__LATENTS = 1 << 23, /* latent attention */
    PITH__MAYBE_QK_NORM = 1 << 25 /* PITH__QK_NORM in files that have them */
};
enum { /* of experts: their scores are sigmoids; these do not become a sum of 1; they multiply the input; they
        * stand beside a dense network, each with norms of their own */
    PITH__SIGMOID_EXPERTS = 1, PITH__PLAIN_EXPERTS = 2, PITH__EXPERTS_BEFORE = 4, PITH__EXPERTS_BESIDE = 8
};

typedef struct {
    const char *arch;
    unsigned has;
    int window_period;   /* every so many layers the last one sees everything, the others a window; 0: the file must say; */
    int window;          /* 1: all layers have the window the file names. Without a name: this one */
    int window_later;    /* 1: of so many layers it is the first that sees everything (ModernBERT) */
    int chunked;         /* 1: a window is a chunk of the text (Llama 4) */
    double temperature;  /* see pith__hyper, where the file does not say; its length is then 8192 */
    int rope_period;     /* every so many layers the last one has no rotation (SmolLM 3) */
    int rope_windowed;   /* 1: where some layers have a window, only these have rotation (EXAONE 4) */
    int one_norm;        /* 1: attention and the network get the same, under one norm, 2: in files without a second norm (StableLM) */
    int same_order;      /* 1: pairs of q and k are neighbours in folders too */
    int rope_back;       /* 1: pairs rotate the other way round (nanochat) */
    int logit_times;     /* 1: logits are multiplied by logit_scale, not divided */
    double local_base;   /* of layers with a window: frequency base, -1: the common one but without
                          * scaling (OLMo 3), 0: they rotate as all do */
    double attn_scale;   /* q.k times this; 0: 1 / sqrt(head_dim) */
    int act;             /* of networks, where has names none: PITH__SILU, or PITH__XIELU */
    int wide_layers;     /* of so many layers (the 27B): queries are scaled by n_embd / n_head */
    unsigned experts;    /* PITH__SIGMOID_EXPERTS and so on, where the file does not say how they are chosen */
    float expert_eps;    /* see pith__hyper */
    int mixer;           /* of the layers that have no heads for keys and values; 0: all have them */
    int delta_grouped;   /* see pith__recurrent.grouped */
    const char *out_norm; /* the last norm's name in files; NULL: output_norm */
    int yarn_exact;      /* 1: see rope_stretch.truncate */
    float act_limit, act_alpha; /* see pith__hyper */
    int one_gate;        /* see pith__layer */
    int may_not_rotate;  /* 1: with rope.scaling.finetuned false nothing is rotated (Granite 4) */
} pith__family;

typedef struct { /* what opening carries along; code stays at the first error */
    pith_model *m;
    const pith__family *family;
    pith_error *err;
    int code;
} pith__opening;

PITH_SHARED int  pith__find_family(pith__opening *o);
PITH_SHARED void pith__read_hyper(pith__opening *o);
PITH_SHARED void pith__make_ropes(pith__opening *o);  /* when the layers are known */
PITH_SHARED void pith__make_biases(pith__opening *o); /* of m->far */
PITH_SHARED void pith__set_layers(pith__opening *o);  /* of m->layer: kinds, windows, who is rotated how, and sizes */
PITH_SHARED pith__qkvz pith__qkvz_of(pith__opening *o); /* of families whose files may have an ssm_in to split; all 0: of others */
PITH_SHARED int  pith__is_causal(const pith_model *m); /* 1: no token sees those after it */
/* "PATH: WHAT is 3, need NEED", unless there was an error before. */
PITH_SHARED int  pith__fail_hyper(pith__opening *o, const char *what, long long is, const char *need);

/* ---- pooling.c: hidden states -> one vector --------------------------------------------------------- */

/* Keys that GGUF does not have, from a sentence-transformers folder: pith.pooling, PITH_MEAN and so on together;
 * pith.normalize; pith.skip_prompt; pith.text_limit in tokens; pith.lower_text; pith.dense_N.tanh; pith.similarity;
 * pith.prompt.NAME, pith.default_prompt. */
PITH_SHARED void pith__read_pooling(pith__opening *o); /* when the layers are bound */
PITH_SHARED int  pith__pooled(const pith_model *m, unsigned pooling); /* numbers of a vector before any matrix, */
PITH_SHARED int  pith__embedding_size(const pith_model *m, const pith_embedding *how); /* and in the end */
/* y (pooled) of the hidden states x (n, width) of a text, from token first on; zeros where there is none. */
PITH_SHARED void pith__pool(unsigned pooling, const float *x, int first, int n, size_t width, float *y);
PITH_SHARED size_t pith__dense_widest(const pith_model *m); /* of the rows and columns of its matrices; 0: none */
/* x (n, pooled) through the matrices, cut and normalised: out (n, size). room: (2 n + 1, dense_widest). */
PITH_SHARED void pith__finish_vectors(const pith_model *m, const pith_embedding *how, const float *x, int n, float *out,
                                      float *room);

/* ---- bind.c: tensors by name ------------------------------------------------------------------------ */

PITH_SHARED void pith__bind(pith__opening *o);       /* every weight that the family's layers have, its shape checked */
PITH_SHARED void pith__note_unused(pith_model *m);   /* a note of tensors that nothing asked for */

/* ---- model.c: opening ---------------------------------------------------------------------------------- */

/* Names in opt that stand for nothing; asked before a file is read. */
PITH_SHARED int pith__check_options(const pith_options *opt, pith_error *err);

/* A model of a store that is filled; takes the store over, whatever comes of it. */
PITH_SHARED pith_model *pith__model_of(pith__store *s, const pith_options *opt, pith_error *err);

/* ---- lora.c: adapters ------------------------------------------------------------------------------ */

/* What an adapter adds to the products of a matrix W (rows, cols): y = W x + scale B (A x). */
typedef struct {
    int r;               /* 0: nothing */
    float scale;         /* alpha / r */
    float *a;            /* (r, cols); matrices that are one in the file share it */
    float *b;            /* (r, rows) the transpose of B, whose columns are added to y */
    size_t at_a, at_b;   /* training: their first numbers in a gradient, or PITH__FROZEN */
} pith__pair;

struct pith_adapter {
    const pith_model *model;
    pith__store store;   /* its file, which is closed once it is read, and memory for what follows */
    pith__pair *pair;    /* (model->n_weight) by pith__weight.index */
    float *score;        /* (n_embd) a reward model's head: the score of a text is its product with the normed state of
                            the last token; NULL: none */
};

/* As pith_adapter_open. Only with scores 1 one that has a score head is opened, and not only one. */
PITH_SHARED pith_adapter *pith__adapter_open(const pith_model *m, const char *path, int scores, pith_error *err);
/* Of the norms of m, which no type of the matrices and no LoRA changes: the same, the same base. text: its digits. */
PITH_SHARED void pith__base_print(const pith_model *m, char text[17]);

typedef struct { /* adapters at work, in the order in which they are added */
    int n;
    struct {
        const pith_adapter *adapter;
        float scale;
    } of[PITH_ADAPTERS];
    float dropout;       /* training: see pith__low_rank; else 0 */
    uint64_t seed;
    int merged;          /* training: 1: the model's matrices have them already, so they add nothing to a product */
} pith__adapted;

enum { PITH__LOW = 64 }; /* so much of a rank is computed at a time, so scratch memory has one size for all */

typedef struct { /* n rows between a wide matrix and a low-rank one */
    const pith__kernels *kernels;
    const pith__team *team;
    const float *m;      /* (n_k, cols) rows of A, or of B's transpose */
    const float *x;      /* (n, cols) */
    float *low;          /* (n, n_k) */
    float *y;            /* (n, cols) */
    size_t n, n_k, cols;
    float scale;
    float dropout;       /* so much of x is taken for 0, and the rest for 1 / (1 - dropout) times more; */
    uint64_t seed;       /* which numbers: by token and column, */
    float *dropped;      /* (n, cols) and what is left of x, where dropout is not 0 */
} pith__low_rank;

PITH_SHARED void pith__to_low(const pith__low_rank *j);   /* low = scale x m^T */
PITH_SHARED void pith__from_low(const pith__low_rank *j); /* y += low m */
PITH_SHARED void pith__drop(const pith__low_rank *j, size_t t, float *y, const float *x); /* row t, both (cols) */
/* What adapter i of by has for w: all but m, x, y and sizes. */
PITH_SHARED pith__low_rank pith__low_rank_of(const pith_pass *p, const pith__adapted *by, int i, const pith__weight *w);

/* y (n, rows) += what they have for the matrix w, of x (n, cols). A row of y depends on its own row of x alone. */
PITH_SHARED void pith__adapt(const pith_pass *p, const pith__adapted *by, float *y, const pith__weight *w, const float *x,
                             int n);
PITH_SHARED int pith__same_adapters(const pith__adapted *a, const pith__adapted *b);
/* Where row r of the base's w is in a file whose q and k are stored for half-split rotation (halves) or for neighbours. */
PITH_SHARED size_t pith__row_where(const pith_model *m, const pith__weight *w, int halves, size_t r);
/* And column c, which is of a value head in the matrix behind the delta rule. */
PITH_SHARED size_t pith__column_where(const pith_model *m, const pith__weight *w, int halves, size_t c);
/* Matrix i of a layer with a state, 0 and on, and its name in GGUF without .weight; NULL: there are no more. */
PITH_SHARED const pith__weight *pith__state_matrix(const pith__layer *l, int i, const char **name);
enum { PITH__STATE_MATRICES = 5 }; /* at most */
/* The same of a matrix that begins with row row0 of a module, which has several one below the other. */
PITH_SHARED size_t pith__row_of_module(const pith_model *m, const pith__weight *w, int halves, size_t row0, size_t r);
/* Of their numbers and scales; 0: there are none. */
PITH_SHARED uint64_t pith__hash_adapters(const pith_model *m, const pith__adapted *by);

/* ---- export.c: an adapter -> files ------------------------------------------------------------------ */

typedef struct {         /* what its files say beyond its numbers */
    const char *base;    /* the model that it was made for, as Python is to find it; NULL: not said */
    double dropout;      /* that it was taught with */
    int rslora;          /* 1: say alpha for alpha / sqrt(r) */
    pith__str chat_template; /* it was taught with this one; no bytes: none */
} pith__adapter_about;

/* A PEFT folder, which is made where it is not there; a GGUF file of llama.cpp's. The same adapter gives the same
 * numbers in them whatever file the base is. */
PITH_SHARED int pith__adapter_write_peft(const pith_adapter *a, const pith__adapter_about *about, const char *folder,
                                         pith_error *err);
PITH_SHARED int pith__adapter_write_gguf(const pith_adapter *a, const pith__adapter_about *about, const char *path,
                                         pith_error *err);

/* ---- foldersay.c: fields of a config.json on their way ------------------------------------------------ */

enum { /* what a class of transformers reads, beyond the common fields */
    PITH__SAYS_SCALAR = 1, PITH__SAYS_CAPS = 2, PITH__SAYS_TYPES = 4, PITH__SAYS_WINDOW = 8, PITH__SAYS_NOPE = 16,
    PITH__SAYS_MULTIPLIERS = 32, PITH__SAYS_LOCAL = 64, PITH__SAYS_PART = 128, PITH__SAYS_BIAS = 256, PITH__SAYS_QKV_BIAS = 512,
    PITH__SAYS_GELU = 1024, PITH__SAYS_FFN_BIAS = 2048, PITH__SAYS_TEMPERATURE = 1 << 12, PITH__SAYS_DELTA = 1 << 13,
    PITH__SAYS_GEMMA4 = 1 << 14, PITH__SAYS_CAP = 1 << 15, PITH__SAYS_TWO_ROPES = 1 << 16, PITH__SAYS_LLAMA4 = 1 << 17,
    PITH__SAYS_OWN_NOPE = 1 << 18, /* which layers are not rotated is the class's own rule */
    PITH__SAYS_NO_O_BIAS = 1 << 19, PITH__SAYS_QK_NORM = 1 << 20, PITH__SAYS_OSS = 1 << 21, PITH__SAYS_RELU2 = 1 << 22,
    PITH__SAYS_ALL_BIAS = 1 << 23, PITH__SAYS_LOGIT_SCALE = 1 << 24, PITH__SAYS_OUT_BIAS = 1 << 25, PITH__SAYS_GRANITE4 = 1 << 26,
    PITH__SAYS_LFM = 1 << 27, PITH__SAYS_LATENT = 1 << 28
};

typedef struct {
    const char *arch, *type, *name; /* GGUF's, model_type, the class */
    int experts;         /* 1: it has them, 0: it has none, -1: either */
    unsigned says;
} pith__hf_class;

typedef struct {         /* config.json on its way; code stays at the first error */
    const pith_model *m;
    const pith__hf_class *is;
    const char *folder;
    pith__said *to;
    pith_error *err;
    int code;
} pith__saying;

PITH_SHARED void pith__no_field(pith__saying *c, const char *what); /* that the class could say this in */
PITH_SHARED void pith__say_int(pith__saying *c, const char *name, long long i);
PITH_SHARED void pith__say_flag(pith__saying *c, const char *name, int yes);
PITH_SHARED void pith__say_word(pith__saying *c, const char *name, const char *s);
PITH_SHARED void pith__say_decimal(pith__said *to, double y);
PITH_SHARED void pith__say_float(pith__saying *c, const char *name, double y);
PITH_SHARED void pith__say_single(pith__saying *c, const char *name, double y); /* y is a float32 of the file */
PITH_SHARED double pith__short_decimal(double y);
PITH_SHARED const pith__key *pith__saying_key(const pith__saying *c, const char *name); /* ARCH.name, or NULL */
PITH_SHARED double pith__saying_float(const pith__saying *c, const char *name, double otherwise);
PITH_SHARED int pith__saying_has(const pith__saying *c, const char *name); /* that tensor */
PITH_SHARED void pith__say_about(pith__saying *c); /* keys of GGUF that say what model it is */
PITH_SHARED void pith__say_quoted(pith__said *to, pith__str s); /* as a JSON string */
PITH_SHARED int pith__is_utf8_text(pith__str s);
PITH_SHARED void pith__say_layers(pith__saying *c, const char *name, const char *(*of)(const pith_model *m, int l)); /* an array */

/* ---- folderrope.c, foldertypes.c: parts of it ----------------------------------------------------------- */

PITH_SHARED void pith__say_rope(pith__saying *c);
PITH_SHARED void pith__say_experts(pith__saying *c); /* all but Gemma 4's */
PITH_SHARED void pith__say_kinds(pith__saying *c); /* what belongs to layers of other kinds */

/* ---- folderconfig.c, foldertokens.c: an open model -> the small files of a Hugging Face folder --------- */

/* config.json, with the type of the weights; the answer is its model_type, or NULL: an error, as transformers has no such
 * class. folder: for messages. */
PITH_SHARED const char *pith__folder_config(const pith_model *m, const pith__format *dtype, const char *folder, pith__said *to,
                                            pith_error *err);
PITH_SHARED void pith__folder_steps(const pith_model *m, pith__said *modules, pith__said *pooling); /* modules.json, 1_Pooling/ */
PITH_SHARED void pith__folder_generation(const pith_model *m, pith__said *to); /* generation_config.json */
PITH_SHARED int pith__folder_tokenizer(const pith_model *m, const char *folder, pith__said *to, pith_error *err); /* tokenizer.json */
PITH_SHARED void pith__folder_tokens(const pith_model *m, pith__said *to); /* tokenizer_config.json */

/* ---- merge.c: a model with other weights -> files ---------------------------------------------------- */

typedef struct {         /* what merging did to a tensor; sums over its numbers */
    char name[PITH__HF_NAME]; /* in the file that was written */
    const pith__format *from, *to;
    double weights, delta, moved; /* squares of the weights, of the deltas, of what rounding moved their sums by */
} pith__merged;

typedef struct {
    const pith_model *m;
    const pith__adapted *by;  /* merged into it; NULL: none */
    const pith__tensor *learned; /* (n_learned) by name: floats instead of its own, as training leaves them */
    size_t n_learned;
    const pith__format *to;   /* of all matrices; NULL: each keeps its own, or becomes F16 if that is only read */
    pith__str chat_template;  /* instead of its own; no bytes: its own */
    const char *merged;       /* the key pith.merged, see pith__merge_name; NULL: as it was */
    const pith__key *key;     /* (n_key) instead of those of these names, or new; their values are strings or numbers */
    size_t n_key;
    int finite;               /* 1: what is no number or infinite, or becomes it, is an error */
    /* Sees what its n tensors become. Of a GGUF file, where they come by layers, it may set formats and parts. Or NULL. */
    int (*choose)(void *chooser, pith__out *out, size_t n, pith_error *err);
    void *chooser;
    const char *what;         /* the word for the progress; NULL: merging */
    const pith__progress *progress; /* or NULL */
    pith__merged *report;     /* (n_report <= twice the tensors of the model) those that adapters change; NULL: not wanted */
    size_t n_report;
} pith__merge;

/* d (n) += what the adapters have for columns c0 and following of row r of w. */
PITH_SHARED void pith__add_deltas(const pith__adapted *by, const pith__weight *w, size_t r, size_t c0, size_t n, double *d);
PITH_SHARED void pith__sums_for(const pith__format *to, const double *d, float *x, size_t n); /* x is what to encodes */
PITH_SHARED int pith__merge_gguf(pith__merge *p, const char *path, pith_error *err); /* path NULL: choose, and no more */
/* Such a folder as the model's own; of another file, where to says the format, one that is made: pith__folder_make. */
PITH_SHARED int pith__merge_folder(pith__merge *p, const char *folder, pith_error *err);

/* ---- folderweights.c: a model of another file -> a Hugging Face folder, config.json and all ------------- */

PITH_SHARED int pith__folder_make(const pith__merge *p, const char *folder, pith_error *err); /* of p: all but adapters and what was learned */

/* ---- merged.c: which adapters a model has in it -------------------------------------------------------- */

/* What pith.merged is to be when these are merged too: "NAME, HASH; ...", in memory of a. PITH_EARG: one is there. */
PITH_SHARED int pith__merge_name(const pith_model *m, const pith__adapted *by, char **to, pith__arena *a,
                                 pith_error *err);

/* ---- requant.c: a model -> a smaller GGUF file -------------------------------------------------------- */

typedef struct pith__mix pith__mix; /* a format for each tensor, under llama.cpp's name: Q4_K_M */

PITH_SHARED const pith__mix *pith__mix_named(const char *name); /* any case; NULL: unknown */
PITH_SHARED pith__str pith__mix_name(int i); /* of the mixes known; no bytes after the last */

typedef struct {
    const pith_model *m;
    const pith__mix *mix;
    const pith__format *output, *embedding; /* of the output matrix, and of the embedding; NULL: as the mix has it */
    const struct pith__typed { pith__dfa *pattern; const pith__format *to; } *typed; /* (n_typed) of tensors by name */
    size_t n_typed;
    int pure;                 /* 1: every matrix has the base format of the mix */
    int leave_output;         /* 1: the output matrix is as it was */
    int requantize;           /* 1: even what has few bits already is rounded again */
    int allow_nan;            /* 1: so is what is no number */
    const pith__imatrix *imatrix; /* how much each column of a matrix matters, or NULL */
    const pith__adapted *by;  /* these, learned (n_learned) and chat_template: as for pith__merge */
    const pith__tensor *learned;
    size_t n_learned;
    pith__str chat_template;
    const char *imatrix_path; /* for the key quantize.imatrix.file */
    int keep_split;           /* 1: in parts, as the model is; */
    size_t split_bytes;       /* or in parts of up to so many bytes; 0: in one file */
    int plan_only;            /* 1: nothing is written */
    const pith__progress *progress; /* or NULL */
    /* What becomes of each tensor, or NULL; want is what it should have been, had its rows fitted. */
    void (*tell)(void *data, const pith__out *o, const pith__format *want);
    void *data;
} pith__requant;

PITH_SHARED int pith__requant_gguf(const pith__requant *q, const char *path, pith_error *err);
/* The way back, to a Hugging Face folder in F32, F16 or BF16. Of q: m, allow_nan, progress, tell. */
PITH_SHARED int pith__requant_folder(const pith__requant *q, const pith__format *to, const char *folder, pith_error *err);

/* ---- tokens on their way through the model: what project.c to session.c share ------------------------ */

/* What a block leaves behind for n tokens. Inference uses one layer's buffers again for the next
 * (stride 0); training keeps most of every layer's and walks them backwards (stride: the floats of a layer). */
typedef struct {
    float *x;            /* (n, n_embd) the residual stream as the block gets it */
    float *xn;           /* (n, n_embd) after attn_norm */
    float *q0, *k0;      /* q and k before their norms; the same as q and k where there are none */
    float *q;            /* (n, n_head, head_dim) after norm and rotation */
    float *k, *v;        /* (n, n_kv_head, head_dim) */
    float *v0;           /* v before its norm; the same as v where there is none */
    float *attn;         /* (n, n_head, head_dim) softmax(q k) v, what attention brings in; of latents (n, n_head, rank) */
    float *low_q;        /* latent.c: (n, q_rank) between the two matrices of queries */
    float *heads_q;      /* (n, n_head, n_nope + n_rot) queries before they meet k_b */
    float *k_in, *v_in;  /* (n_head, n, n_nope) and (n_head, n, rank) what k_b and v_b read */
    float *heads;        /* (n, n_head, n_value) what v_b gives */
    float *mix_in;       /* (n, n_in) of a layer with a state: what its tokens bring, */
    float *conv_in, *conv; /* (n, n_conv) what is convolved, and what comes of it, */
    float *inner;        /* (n, n_inner) what comes out of the recurrence */
    float *o;            /* (n, n_embd) attn through attn_output, or inner through the layer's own */
    float *y;            /* (n, n_embd) the stream after attention */
    float *y0, *z0;      /* (n, n_embd) with attn_out_norm: y, and what the block gives on, before their norms */
    float *ple_gate, *ple_act, *ple_out; /* (n, n_ple), (n, n_ple), (n, n_embd) with ple_out: z0 through its three steps */
    float *yn;           /* (n, n_embd) after ffn_norm */
    float *gate, *up, *act; /* (rows, n_ff) both branches, and act(gate) * up; rows is n, or for experts */
    float *down;         /* (rows, n_embd)  n * n_expert_used, ordered by expert, and then n for the shared one */
    float *pick;         /* (rows, n_embd) experts: their inputs, copied together */
    float *route;        /* (n, n_expert) experts: the weight of each, 0 for those not used */
    float *score;        /* (n, n_expert) by which they are chosen; NaN of those that are */
    float *rx;           /* (n, n_embd) with router_norm: what the router gets, and then the experts */
    float *share;        /* (n) the weight of the shared expert, where it has a gate */
    float *f;            /* (n, n_embd) what the network adds to the stream, before any post-norm */
} pith__acts;

/* Speculative decoding: the tokens drafted in the last pass are in the KV cache, and in tokens, from the
 * position on. */
typedef struct {
    int most;            /* tokens in a draft; 0: none are made */
    int trust;           /* how many to draft next, fewer after wrong ones */
    int made, accepted;  /* in the last pass; made - accepted are still ahead of the position */
    pith_session *by;    /* of a small model, which drafts; NULL: the text itself says what may come */
    float *logits;       /* (most + 1, n_vocab) after the token and each drafted one; memory of the caller */
    int n_pass, n_accepted; /* since pith_draft: passes of one token and its draft; drafted tokens accepted */
} pith__draft;

/* What an evaluation is to do for a session, while it runs: tokens are written already. */
typedef struct {
    int end;             /* the position to be at when the passes are done */
    int ahead;           /* so many of its tokens are drafted */
    int from;            /* the first position whose logits are wanted */
    float *logits;       /* (end - from, n_vocab) */
} pith__goal;

/* Tokens of one text that go through the layers together. */
typedef struct {
    pith_session *s;
    int first, n;        /* their rows in the pass */
    int position;        /* of the first of them */
    int n_logits;        /* the last so many of them give logits */
    float *logits;       /* (n_logits, n_vocab) where these go */
} pith__part;

/* What is needed while tokens go through the model: pass.c has its memory. A row is one token on its way. Parts
 * are filled in before pith__forward; only where a token meets its own text is a row asked for its part. */
struct pith_pass {
    const pith_model *model;
    int n_ctx, n_batch;  /* the longest context of its sessions, and rows at most */
    int n_row, n_part;   /* now */
    pith__part *part;    /* (n_part) */
    int *part_of;        /* (n_row) the part of each row */
    pith__attention *attend; /* (n_part) */
    pith__parts_room attend_parts; /* where threads share out what one text sees */
    int keep;            /* PITH__KEEP_ONE, ... */
    float *tape;         /* activations, (n_layer + 1, stride) or one layer's */
    size_t stride;       /* 0, or floats from one layer to the next */
    float *streams;      /* (n_layer + 1, n_batch, n_embd) x of every layer, or NULL: x is on the tape */
    float *again;        /* what is not kept of any layer: xn, yn, act, and o and f without a post-norm; or NULL */
    float *rope_table[2]; /* (n_batch, n_rot / 2, 2) cosine and sine of both sets of angles */
    pith__input in;      /* room for the rounded input of the widest matrix */
    float *product;      /* (n_product, n_vocab) logits of several texts, on the tape */
    float **product_to;  /* (n_batch) where each of its rows goes */
    int adapted;         /* 1: a session of the parts has adapters */
    float *row;          /* (n_embd) scratch of pith__embed */
    float *ple;          /* (n_batch, n_layer, n_ple) what layers get of each token */
    float *low;          /* (n_batch, PITH__LOW) scratch of theirs */
    float *dropped;      /* (n_batch, pith__widest) the same, of a pass that trains */
    int *picked;         /* (n_batch) experts: the parts of the rows that one expert has */
    int n_product;       /* 0: no room */
    float *adjusted, *probs; /* (n_vocab) scratch of the sampler: logits, and probabilities */
    int32_t *order;      /* (3, n_vocab) scratch of the sampler: the candidates, and room to sort them */
    const pith__kernels *kernels;
    pith__team team;
    void *memory;        /* to free, or NULL: it lies in its session's */
};

typedef struct {         /* the states of all layers as they were after so many tokens: a rewind comes back to here */
    int position;
    float *states;       /* as pith_session's */
} pith__state_mark;

struct pith_session {
    const pith_model *model;
    pith_pass *pass;     /* its own, or one that it shares */
    int n_ctx, n_batch;
    int position;        /* tokens evaluated */
    int lost;            /* positions that rings no longer have, the first ones: rewinding leaves it */
    int in_work;         /* 1: pith_eval_many has seen it in this call */
    int second_from;     /* BERT: from this position on tokens are of the second text, and of type 1; 0: there is one text */
    int n_text;          /* tokens of the whole text, where it is known that more will come; or 0 */
    int long_rope;       /* 1: the keys in the cache are rotated by freq_long */
    pith_token *tokens;  /* (n_ctx) the text so far */
    float *logits;       /* (n_vocab) after the last of logits_at tokens */
    int logits_at;       /* not position: the session was rewound since */
    const pith__format *k_format, *v_format;
    uint8_t **k, **v;    /* (n_layer) planes of the cache, see pith__attention; NULL in layers with a state */
    float *states;       /* (pith__states_floats) the states of all layers, one after the other; NULL: there are none */
    float **state;       /* (n_layer) where a layer's begins; NULL in layers of attention */
    pith__state_mark *mark;    /* (n_mark <= most_mark) by position, none behind the session's */
    int n_mark, most_mark;
    pith__draft draft;
    pith__goal goal;
    float *hidden;       /* (n_embd) what comes out is the normed state of the last token, and no logits; NULL: logits */
    pith__adapted adapted;
    int n_slot, n_slot_window; /* positions held by layers that see everything, and by the others */
    uint64_t model_hash; /* of the model, where a file was loaded; 0: not known yet */
    void (*watch)(void *data, int l, const pith__acts *a, int n); /* after each block, or NULL */
    void *watch_data;
    void *memory;        /* to free, or NULL: the caller's */
};

/* ---- project.c: what layers of every kind are made of ----------------------------------------------- */

typedef struct {         /* one layer, at work on the rows of a pass */
    pith_pass *pass;
    const pith__layer *layer;
    const pith__hyper *h;
    pith__acts a;
    float *next;         /* (n, n_embd) the stream as the next block gets it */
    int l, n;
} pith__block;

/* n rows of x (n, cols), to be rounded where a matrix needs that, in the pass's own room. */
PITH_SHARED pith__input pith__input_of(const pith_pass *p, const float *x, int n, size_t cols);
/* y (n, rows of w) = the input through w, and what the adapters of each row's session add. part_of (n): the part it is of.
 * Of up to PITH__TOGETHER matrices those that the layer lacks are left out. */
typedef struct {
    float *y;
    const pith__weight *w;
} pith__projection;
PITH_SHARED void pith__project_all(pith_pass *p, const pith__projection *all, int n, pith__input *in, const int *part_of);
PITH_SHARED void pith__project(pith_pass *p, float *y, const pith__weight *w, pith__input *in, const int *part_of);
PITH_SHARED void pith__add_bias(const pith_pass *p, float *y, const float *bias, size_t n); /* NULL: there is none */
/* y = the norm of x, as many numbers as w has. */
PITH_SHARED void pith__run_norm(const pith_pass *p, float *y, const float *x, const pith__norm *w);
PITH_SHARED void pith__each_token(const pith__block *b, pith__task *work);
/* The queries q (n) of row t, or their gradients, grow with the position (pith__hyper.temperature). */
PITH_SHARED void pith__temper(const pith_pass *p, float *q, size_t n, size_t t);

/* ---- experts.c: feed-forward networks ----------------------------------------------------------------- */

/* a.f = the layer's network, or experts, of x (n, n_embd), which is the norm of the stream. */
PITH_SHARED void pith__run_ffn(const pith__block *b, const float *x, const float *stream);
PITH_SHARED void pith__clamp_row(float *gate, float *up, size_t n, float limit, float alpha); /* what SiLU makes gpt-oss's network of */

/* ---- recurrent.c: layers that have a state, and the states of a session -------------------------------- */

PITH_SHARED size_t pith__state_floats(const pith_model *m, int l); /* of layer l; 0: it is one of attention */
PITH_SHARED size_t pith__states_floats(const pith_model *m);       /* of all layers together */
PITH_SHARED int pith__most_marks(const pith_model *m); /* that a session keeps of its states; 0: there are none */
/* Where states are to be kept of the tokens from s->position to end, which are evaluated next; those to goal will be. */
PITH_SHARED void pith__plan_marks(pith_session *s, int end, int goal);
PITH_SHARED int pith__marked(const pith_session *s, int position); /* the last place up to here that states can come back to */
PITH_SHARED void pith__restore_states(pith_session *s, int position); /* such a place */
/* How many of n tokens from a position on come before the next mark, the last of which it is of; and that mark. */
PITH_SHARED size_t pith__until_mark(const pith_session *s, int position, size_t n, pith__state_mark **mark);
PITH_SHARED size_t pith__conv_floats(const pith__recurrent *r); /* the first of a state are of the convolution */
/* a.conv = the convolution of conv_in, and then what is to be done with each row of it. */
PITH_SHARED void pith__convolve_parts(const pith__block *b, pith__task *then);
/* a.o = what the layer's mixer makes of x (n, n_embd). */
PITH_SHARED void pith__run_shortconv(const pith__block *b, const float *x);

/* ---- delta.c: linear attention by the gated delta rule ------------------------------------------------ */

PITH_SHARED void pith__run_delta(const pith__block *b, const float *x); /* the same */

/* ---- mamba.c: Mamba-2 ------------------------------------------------------------------------------------ */

PITH_SHARED void pith__run_mamba(const pith__block *b, const float *x); /* the same */

/* ---- latent.c: latent attention ------------------------------------------------------------------------ */

PITH_SHARED void pith__run_latent(const pith__block *b, const float *x); /* a.o = the layer's attention to what the tokens of x (n, n_embd) see */
PITH_SHARED int pith__latent_groups(int n_head); /* of heads, for threads to share */

/* ---- forward.c: tokens -> logits ------------------------------------------------------------------- */

PITH_SHARED pith__acts pith__acts_at(const pith_pass *p, int l);
/* Lay out one layer's activations from tape on, and the floats they take; tape NULL: only these. */
PITH_SHARED size_t pith__acts_place(const pith_pass *p, pith__acts *a, float *tape);
/* The floats of those that KEEP_ALL does not keep, as they are cheap to compute again; and of the others. */
PITH_SHARED size_t pith__acts_again(const pith_pass *p, size_t *kept);
PITH_SHARED void pith__embed(const pith_pass *p, const pith__part *part, float *x); /* (n, n_embd), before embd_norm */
PITH_SHARED void pith__run_block(pith_pass *p, int l); /* its rows through one block */
PITH_SHARED void pith__forward(pith_pass *p); /* through all blocks, and the sessions are further */
/* Logits (n, n_vocab) of rows t to t + n of what came out last. Their norms are the first of xn then. */
PITH_SHARED void pith__logits_of(pith_pass *p, int t, int n, float *logits);
PITH_SHARED void pith__out_norm(pith_pass *p, int i, int t); /* the last layer's row t, normed, becomes row i of xn */
PITH_SHARED void pith__logits_at(pith_pass *p, const int *t, int n, float *logits); /* the same of rows t (n) */
PITH_SHARED void pith__logits_of_parts(pith_pass *p); /* as the parts want them */

/* ---- heads.c: what stands on hidden states ---------------------------------------------------------- */

/* The first n rows of xn, which are normed, through the model's task head: y (n, task.n). part_of (n): as pith__project. */
PITH_SHARED void pith__task_rows(pith_pass *p, int n, const int *part_of, float *y);
/* After pith__forward, of each part in turn: y (n_part, task.n), or of tokens (n_row, task.n). part_of is lost. */
PITH_SHARED void pith__task_of_parts(pith_pass *p, float *y);

/* ---- pass.c: the memory in which tokens go through the model -------------------------------------- */

typedef struct { /* memory that is handed out from its beginning on; base NULL: only counted */
    uint8_t *base;
    size_t used;
    int overflow;
} pith__room;

PITH_SHARED void *pith__take_room(pith__room *r, size_t n, size_t size); /* in whole cache lines */
PITH_SHARED pith__room pith__room_in(void *mem);
PITH_SHARED size_t pith__room_size(const pith__room *r); /* bytes, with those to align it; 0: overflow */

/* Which activations of up to n_batch tokens a pass keeps: one layer's, every layer's but what is computed again, or one layer's and
 * the residual stream (x) of every layer; MANY: one layer's, and it has room for logits of many texts; NONE: there
 * is no pass. */
enum { PITH__KEEP_ONE, PITH__KEEP_ALL, PITH__KEEP_STREAM, PITH__KEEP_MANY, PITH__KEEP_NONE };

PITH_SHARED size_t pith__widest(const pith__hyper *h); /* columns of the widest matrix that inputs meet */
/* How many planes of keys, or of values, a layer has in the cache: none of keys where a value is a part of its key. */
static inline int pith__planes(const pith__layer *w, int values) { return values || w->mixer != PITH__LATENT ? w->n_kv_head : 0; }
PITH_SHARED int  pith__slots(int n); /* of a cache that holds n positions: a multiple of 16 */
PITH_SHARED int  pith__pass_plan(pith_pass *p, const pith_model *m, const pith_context *c, int keep,
                                 pith_error *err);
PITH_SHARED void pith__pass_place(pith_pass *p, pith__room *r);
/* One by itself, for n_row tokens of texts of up to n_ctx, without room for logits of many texts. */
PITH_SHARED pith_pass *pith__pass_new(const pith_model *m, int n_ctx, int n_row, int n_threads, pith_error *err);

/* ---- panels.c: matrices as the kernels read them ---------------------------------------------------- */

/* The model once more, with panels of its layers' matrices, in *memory, which is to be freed. NULL: no memory, or it would
 * be more than most bytes. The model has to live as long. */
PITH_SHARED pith_model *pith__in_panels(const pith_model *m, const pith__team *team, size_t most, void **memory);

/* ---- session.c: one text in progress ------------------------------------------------------------ */

/* keep: of its own pass. */
PITH_SHARED pith_session *pith__session_new(const pith_model *m, const pith_context *c, int keep,
                                            pith_error *err);
/* NONE: of a session that shares a pass. 0: refused. */
PITH_SHARED size_t pith__session_bytes(const pith_model *m, const pith_context *c, int keep);
/* As pith_eval, and logits of all n tokens to (n, n_vocab). */
PITH_SHARED int pith__eval_all(pith_session *s, const pith_token *t, int n, float *logits,
                               pith_error *err);
/* The same for a part of a text that will have n_text tokens in the end, which longrope must know from the
 * first token on: every part then has the logits that it has in the whole text. */
PITH_SHARED int pith__eval_part(pith_session *s, const pith_token *t, int n, int n_text, float *logits,
                                pith_error *err);

/* ---- embed.c: texts -> vectors --------------------------------------------------------------------- */

/* From now on each text goes through alone, and watch is called as for a session's. */
PITH_SHARED void pith__embedder_watch(pith_embedder *e, void (*watch)(void *data, int l, const pith__acts *a, int n), void *data);

/* ---- keep.c: a text in a file ------------------------------------------------------------------- */

/* Of the weights, and of what else the numbers depend on. Reads them all, which takes about as long as one token. */
PITH_SHARED uint64_t pith__model_hash(const pith_model *m);

/* ---- sampler.c: the next token ------------------------------------------------------------------------ */

/* pith_sample with other scratch memory than the pass's: for several sessions at once that share a pass. */
PITH_SHARED pith_token pith__sample(const pith_session *s, const pith_sampling *how, uint64_t *rng,
                                    float *adjusted, float *probs, int32_t *order);

/* ---- odds.c: of all tokens against the likeliest ----------------------------------------------------- */

typedef struct {
    const float *x;      /* (n) logits */
    float *y;            /* (n) exp(x - max), to 4 units in the last place */
    float max, sum;      /* the largest logit; expf(x - max) added one by one, to the bit */
    int n;
} pith__odds_table;

PITH_SHARED float pith__odds(float x, float max); /* expf(x - max), with max itself exactly 1 even where it is infinite */
PITH_SHARED void  pith__all_odds(pith__odds_table *o); /* y and sum, of x and max */
PITH_SHARED float pith__odds_p(const pith__odds_table *o, int i); /* the probability of a token, exactly */
/* The first token at which the probabilities, added one by one, exceed the coin. */
PITH_SHARED int   pith__draw_by_odds(const pith__odds_table *o, float coin);
/* Tokens of about these odds or more, in their order, to t; what they have in y becomes their probability, exactly. */
PITH_SHARED int   pith__find_likely(pith__odds_table *o, float from, int32_t *t);
/* Tokens of at least these odds are likely to have so much of sum together; or least, where that is larger. */
PITH_SHARED float pith__odds_of_mass(const pith__odds_table *o, float least, double mass);

PITH_SHARED int pith__first_largest(const float *x, int n);
/* Tokens are looked through block by block, from token 0 on: the next block from i on that has one of least or more. The
 * last block may be shorter, and is always next. */
enum { PITH__BLOCK = 64 };
PITH_SHARED int pith__next_block(const float *x, int i, int n, double least);
static inline int pith__block_end(int i, int n) { return n - i < PITH__BLOCK ? n : i + PITH__BLOCK; }

/* ---- candidates.c, penalties.c: the tokens that may come next --------------------------------------- */

typedef struct {         /* the tokens as the stages of the sampler leave them */
    const pith_session *s;
    const pith_sampling *how;
    uint64_t *rng;
    float *x, *p;        /* (n_vocab) by token: logits; probabilities, as has_p says */
    int32_t *t;          /* (n) the candidates; first of (3, n_vocab), the others have room to sort them */
    int n;
    int all;             /* 1: they are tokens 0 to n - 1, and t is not filled in */
    int sorted;          /* 1: the likeliest first */
    int best;            /* the likeliest, or -1: not known */
    int has_p;           /* 1: p of the candidates is in proportion to their probabilities, 2: it is these; 0: no */
    int llama2c;         /* 1: the stages come in llama2.c's order */
} pith__candidates;

PITH_SHARED void pith__list(pith__candidates *c); /* fill in t */
PITH_SHARED int  pith__likeliest(pith__candidates *c);
PITH_SHARED void pith__probabilities(pith__candidates *c); /* has_p becomes 2 */
PITH_SHARED float pith__sum(const pith__candidates *c); /* of p */
PITH_SHARED void pith__keep(pith__candidates *c, int k); /* of a list with p the k likeliest, best first */
PITH_SHARED void pith__keep_from(pith__candidates *c, double least); /* and those of at least this p, or the likeliest */
PITH_SHARED int  pith__is_greedy(const pith_sampling *how);
/* Stages, each by its own fields of how. */
PITH_SHARED void pith__top_k(pith__candidates *c);
PITH_SHARED void pith__top_p(pith__candidates *c);
PITH_SHARED void pith__min_p(pith__candidates *c);
PITH_SHARED void pith__typical(pith__candidates *c);
PITH_SHARED void pith__top_n_sigma(pith__candidates *c);
PITH_SHARED void pith__temperature(pith__candidates *c);
PITH_SHARED pith_token pith__draw(pith__candidates *c, float coin); /* coin: in [0, 1) */

PITH_SHARED void pith__penalise(pith__candidates *c);
PITH_SHARED void pith__dry(pith__candidates *c);

/* ---- constrain.c: a text that obeys a grammar ------------------------------------------------------- */

typedef struct pith__constraint pith__constraint;

PITH_SHARED int  pith__constraint_new(pith__constraint **c, const pith_grammar *g, const pith_model *m, pith_error *err);
PITH_SHARED void pith__constraint_free(pith__constraint *c);
PITH_SHARED int  pith__ends(const pith_model *m, const pith_generation *g, pith_token t); /* a text */
typedef struct {         /* a token as it was drawn without the grammar, and how to draw another one */
    pith_token t;
    const pith_sampling *how; /* with memory for drawn, */
    pith_drawn drawn;    /*      which was this before */
} pith__draw_again;
/* That token, or where the grammar refuses it another; it then belongs to the text. Or an error. */
PITH_SHARED pith_token pith__constrained(pith__constraint *c, pith_session *s, pith_generation *g,
                                         const pith__draw_again *d, pith_error *err);
PITH_SHARED int pith__constraint_names(const pith__constraint *c); /* 1: the grammar names tokens */
PITH_SHARED int pith__constraint_whole(const pith__constraint *c); /* 1: the text so far is a sentence */
PITH_SHARED int pith__constraint_over(const pith__constraint *c);  /* 1: and nothing can come behind it */
/* Tokens that may come after token before; NULL: none, or an error. It is valid until the next call. */
PITH_SHARED const uint32_t *pith__constraint_mask(pith__constraint *c, pith_token before, const pith_generation *g,
                                                  pith_error *err);

/* ---- nearest.c: search ----------------------------------------------------------------------------- */

typedef struct {
    const pith__kernels *kernels;
    int n_threads;
    const float *vectors; /* (n, dim) */
    size_t n, dim;
    const uint32_t *bits; /* (n) what pith__scan found of them once; NULL: not known */
    const float *question; /* (dim) */
    size_t altered;      /* what comes of it: the first vector whose bits have another sum now; none: n */
} pith__search;

/* best (k): as pith_nearest. */
PITH_SHARED int pith__nearest(pith__search *s, int k, pith_match *best);

#endif
