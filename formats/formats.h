/* formats.h - bytes on disk -> one table of tensors, keys and vocabulary. */
#ifndef PITH_FORMATS_H
#define PITH_FORMATS_H

#include "../math/kernels.h"

/* ---- formats/store.c: one table of tensors, keys and vocabulary, whatever the file was ------------ */

enum { PITH__INT = 1, PITH__FLOAT, PITH__BOOL, PITH__STRING, PITH__ARRAY };

typedef struct { /* one value of the metadata, under GGUF's name: "llama.block_count" */
    pith__str name;
    int type;
    int64_t i;       /* INT, BOOL. An unsigned number over INT64_MAX reads INT64_MAX */
    double f;        /* FLOAT, and INT too */
    pith__str s;     /* STRING */
    int item;        /* ARRAY: type of the items, */
    size_t n;        /* how many, */
    pith__cursor at; /* and the bytes as GGUF lays them out */
    int gguf_item;   /* GGUF's own number for the items' type */
    int gguf_type;   /* and for the value's, plus 1; 0: it was not read from a GGUF file */
} pith__key;

enum { /* what a piece of the vocabulary is: GGUF's numbers */
    PITH__NORMAL = 1, PITH__UNKNOWN, PITH__CONTROL, PITH__USER, PITH__UNUSED, PITH__BYTE
};
enum { /* what an added token does: it takes white space before and after it along; it must not touch a
        * word; it is found in normalised text, others in the text as it is; no merge makes it */
    PITH__LSTRIP = 1, PITH__RSTRIP = 2, PITH__SINGLE_WORD = 4, PITH__NORMALIZED = 8, PITH__ADDED_ONLY = 16,
    PITH__SPECIAL = 32   /* in a pith__added only: a control token, found where the caller asks for them */
};
/* Merge by score or by rank, both from characters on; the longest pieces of each word (BERT); the pieces that are likeliest
 * together. */
enum { PITH__NONE, PITH__SPM, PITH__BPE, PITH__WORDPIECE, PITH__UNIGRAM };
enum { PITH__RAW, PITH__METASPACE, PITH__BYTE_LETTERS }; /* " a" is spelled " a", "\u2581a", "\u0120a" */

enum { PITH__FIRST_TEXT = -1, PITH__SECOND_TEXT = -2, PITH__PLACES = 12 };

typedef struct {         /* one place of what a text or a pair of texts becomes */
    int32_t id;          /* a special token; or one of the texts: PITH__FIRST_TEXT and so on */
    uint8_t type;        /* its token type, that of all tokens of the text */
} pith__place;

typedef struct pith__bert { /* of a PITH__WORDPIECE vocabulary: its normal form of text, and its words */
    int clean, chinese;  /* 1: control characters go, and white space becomes blanks; Chinese characters stand alone */
    int strip, lower;    /* 1: accents go; capitals become small */
    int longest;         /* characters of a word that is taken apart; a longer one is unknown */
    pith__str inside;    /* what pieces within a word begin with: "##" */
    int cleanup;         /* 1: as text, no blank goes before "." and so on */
} pith__bert;

enum { /* a step that text goes through before it is cut. A map of characters (text/charmap.c), whose bytes are in find, by
        * graphemes or by the longest beginning; Unicode's normal forms C and KC; find becomes put, or two spaces and more do; no
        * spaces at either end and no two of them side by side; put before it; no white space there */
    PITH__MAP_GRAPHEMES, PITH__MAP_LONGEST, PITH__TO_NFC, PITH__TO_NFKC, PITH__REPLACE, PITH__SQUEEZE, PITH__TRIM, PITH__PREPEND,
    PITH__STRIP_LEFT, PITH__STRIP_RIGHT
};
typedef struct pith__rewrite {
    int kind;
    pith__str find, put;
} pith__rewrite;

/* A vocabulary as the file gives it; tokenizer.c makes the index to work with. */
typedef struct {
    int model, spelling;
    int n;
    pith__str *piece;    /* (n) */
    float *score;        /* (n), SPM, UNIGRAM */
    double *log_prob;    /* (n), UNIGRAM, or NULL: it is in score, and text is cut as SentencePiece does it, not "tokenizers" */
    uint8_t *type;       /* (n) */
    uint8_t *added;      /* (n) or NULL; flags of added tokens: PITH__LSTRIP and so on */
    int n_merge;
    pith__str *left, *right; /* (n_merge), by rank */
    pith__str pre;       /* the pre-tokeniser's name as GGUF has it: "qwen2" */
    pith__str chat_template, tool_template; /* the second one where tools are given; no bytes: there is none */
    int bos, eos, unk;   /* -1: none */
    int mask;            /* what stands for a word that is to be found; -1: none */
    int end[16], n_end;  /* tokens that end a generated text; eos is one of them only if it is here */
    pith__bert bert;
    int n_pair;
    pith__place pair[PITH__PLACES]; /* (n_pair) what a pair becomes, the first text first; 0: each as it is alone */
    int add_bos, add_eos, ignore_merges, byte_fallback, nfc;
    int add_space;       /* PITH__SPACE_ALWAYS and so on */
    int late_spaces;     /* 1: spaces become U+2581 once added tokens are found (Metaspace), 0: before */
    int split_words;     /* 1: a word ends before each space, and no merge goes across (Metaspace, BertPreTokenizer) */
    int split_white;     /* 1: words end at white space, which is in none (WhitespaceSplit) */
    pith__rewrite *rewrite; /* (n_rewrite), UNIGRAM */
    int n_rewrite;
    int fuse_unk;        /* 1: unknown characters in a row are one unknown token */
} pith__vocab;

enum { PITH__MODEL, PITH__VOCABULARY, PITH__ADAPTER }; /* what a store holds */

typedef struct pith__note_line { /* what reading left out or assumed, for the user to know */
    const char *text;    /* one line */
    struct pith__note_line *next;
} pith__note_line;

typedef struct {
    int holds;
    const char *kind;    /* "llama2.c version 0", "GGUF version 3", ... */
    const char *path;    /* for messages */
    pith__arena arena;   /* all that is below, and names and small weights made while reading */
    pith__file *file;    /* (n_file): the model, its other parts; llama2.c: tokenizer.bin */
    int n_file;
    pith__key *key;      /* (n_key), sorted by name */
    size_t n_key, key_room; /* room: when pith__store_add_* made the table, else 0 */
    pith__tensor *tensor; /* (n_tensor), sorted by name */
    size_t n_tensor;
    pith__vocab vocab;
    int llama2c;         /* 1: a llama2.c file, whose sampling and cache defaults are llama2.c's */
    int qk_halves;       /* 1: q and k are stored for half-split rotation whatever the family says */
    int norm_plus_one;   /* 1: norms of the Gemmas are stored as w, not yet as 1 + w */
    int vocab_padded;    /* 1: the embedding may have more rows than the vocabulary has pieces */
    size_t n_dropped;    /* tensors of the file that are not in the table, as they have no meaning here; */
    pith__str dropped;   /* the first of them */
    size_t n_tower;      /* tensors of the file that see or hear, which are left out too; */
    unsigned tower;      /* of which towers, see pith__hf_tower */
    int is_folder;       /* 1: messages name its tensors and fields as Hugging Face does, */
    int hf_style;        /* of this style, */
    pith__str hf_prefix; /* with this before "layers." */
    int skip_positions;  /* rows that lie before those of position_embd.weight, and are no positions */
    pith__note_line *note; /* the first, or NULL */
} pith__store;

PITH_SHARED int pith__store_sort(pith__store *s, pith_error *err); /* refuses names that come twice */
PITH_SHARED const pith__key *pith__store_key(const pith__store *s, const char *name);
PITH_SHARED const pith__tensor *pith__store_tensor(const pith__store *s, const char *name);
PITH_SHARED int pith__layer_of(pith__str name); /* 3 of "blk.3.attn_q.weight"; -1: of none */
PITH_SHARED double pith__key_float(const pith__key *k, size_t i); /* number i of an ARRAY of F32, or a number; else NAN */
PITH_SHARED int64_t pith__key_item(const pith__key *k, size_t i); /* integer i of an ARRAY; else 0 */
PITH_SHARED int pith__store_add_int(pith__store *s, const char *name, int64_t i); /* before sorting */
PITH_SHARED int pith__store_add_float(pith__store *s, const char *name, double f);
PITH_SHARED int pith__store_add_string(pith__store *s, const char *name, const char *v);
PITH_SHARED int pith__store_add_strings(pith__store *s, const char *name, const pith__str *v, size_t n);
PITH_SHARED void pith__store_free(pith__store *s);
PITH_SHARED void pith__note(pith__store *s, const char *fmt, ...);

/* Fill in a tensor that has its name, n_dim and shape: its numbers are in this format and begin at data,
 * which has bytes up to where it ends. Checks every product against them. */
PITH_SHARED int pith__tensor_set(pith__tensor *t, const pith__store *s, int format, pith__cursor data,
                                 pith_error *err);

/* ---- formats/spelling.c: how pieces spell bytes --------------------------------------------------- */

#define PITH__METASPACE_UTF8 "\xe2\x96\x81" /* U+2581, a space in pieces */

PITH_SHARED size_t pith__byte_letter(uint8_t b, char *out); /* GPT-2's letter for it: its bytes, 1 or 2 */
PITH_SHARED int pith__is_metaspace(const char *p, size_t left);
PITH_SHARED size_t pith__metaspace_read(const char *p, size_t n, char *out); /* with spaces; out may be p */
/* The bytes that s stands for in that spelling; out has room for s.n, which is always enough. */
PITH_SHARED size_t pith__spelled_bytes(int spelling, pith__str s, char *out);
PITH_SHARED size_t pith__spelled_size(int spelling, pith__str s); /* how many, if all of it is spelled so */
PITH_SHARED const char *pith__rewrite_name(int kind); /* of PITH__MAP_GRAPHEMES and so on; NULL after the last */
/* "<0x0A>" is 10; -1: another name, or a vocabulary that has letters for bytes. */
PITH_SHARED int pith__byte_named(const pith__vocab *v, pith__str s);

/* ---- formats/words.c: WordPiece, and what goes around texts ---------------------------------------- */

PITH_SHARED pith__bert pith__bert_usual(int cased); /* what BERT's own vocabularies are read with */
/* Pieces as Hugging Face spells them, of those that GGUF has; and v->bert. PITH_OK or PITH_EMEMORY. */
PITH_SHARED int pith__bert_from_gguf(pith__vocab *v, pith__arena *a);
/* v->pair: BOS first EOS sep second EOS, of these what v adds and sep if it is a token; type: of what comes after that. */
PITH_SHARED void pith__usual_pair(pith__vocab *v, int sep, int type);

/* ---- formats/llama2c.c, ggufvocab.c, gguf.c, safetensors.c: bytes on disk -> store ------------------ */

/* Each returns PITH_OK, or the error, and leaves what it took to pith__store_free. s->file has room for
 * two and s->file[0] is open, except for a folder. A file that is nothing else is taken for llama2.c's,
 * whose version 0 has no magic, and refused there. */
typedef struct { /* a tensor of llama2.c's. Sizes by letter: v vocabulary, d dim, h hidden_dim, k the kv heads
                  * together, c context, s head size. A vector is one row. Names are GGUF's, without the
                  * "blk.N." of a tensor that comes once for every layer, all in a row */
    const char *name; /* NULL: cosines and sines, half each */
    char per_layer, rows, cols;
} pith__l2c_tensor;

enum { PITH__L2C_TENSORS = 13 };
PITH_SHARED_DATA const pith__l2c_tensor pith__l2c_order[PITH__L2C_TENSORS]; /* of version 0 */

PITH_SHARED int pith__llama2c_read(pith__store *s, const char *tokenizer, pith_error *err);
PITH_SHARED int pith__tokenizer_is(const pith__file *f); /* llama2.c's tokenizer.bin */
PITH_SHARED int pith__tokenizer_read(pith__store *s, pith_error *err);

enum { /* types of values in GGUF */
    PITH__GGUF_U8, PITH__GGUF_I8, PITH__GGUF_U16, PITH__GGUF_I16, PITH__GGUF_U32, PITH__GGUF_I32, PITH__GGUF_F32, PITH__GGUF_BOOL,
    PITH__GGUF_STRING, PITH__GGUF_ARRAY, PITH__GGUF_U64, PITH__GGUF_I64, PITH__GGUF_F64, PITH__GGUF_TYPES
};
PITH_SHARED pith__str pith__gguf_string(pith__cursor *c); /* of GGUF: its length and its bytes */
PITH_SHARED void *pith__gguf_new(pith__store *s, size_t n, size_t size, int *code, pith_error *err);
PITH_SHARED int pith__gguf_vocab(pith__store *s, pith_error *err); /* of the keys of s */
PITH_SHARED int pith__gguf_is(const pith__file *f);
PITH_SHARED int pith__gguf_read(pith__store *s, int no_mmap, pith_error *err);
PITH_SHARED int pith__folder_is(const char *path); /* a folder, or a .safetensors file */
PITH_SHARED int pith__folder_read(pith__store *s, const char *path, int no_mmap, pith_error *err);

/* Add the tensors of one .safetensors file, under the names they have there: also a LoRA's. */
PITH_SHARED int pith__safetensors_read(pith__store *s, const pith__file *f, const char *path,
                                       pith_error *err);

/* ---- formats/folder.c: what the readers of a Hugging Face folder share ---------------------------- */

typedef struct { /* a folder while it is read */
    pith__store *s;
    const char *dir;
    int no_mmap;
    pith_error *err;
    int n_layer, n_vocab, n_head;
    int skip_positions;    /* rows of its positions that no token has */
    int tied;              /* 1: without an lm_head the embedding serves as one */
    int bias;              /* of attention: 0: none, 1: of q, k and v, 2: of o too */
    int ffn_bias;          /* 1: the feed-forward network has biases */
    int norm_bias;         /* 1: norms have biases, and the output matrix may have */
    int no_qk_norm;        /* 1: norms of q and k are not used, whatever tensors there are */
    int n_group;           /* of the heads of Mamba, */
    int no_conv_bias;      /* whose convolutions may have no biases */
    int delta_keys, delta_values, delta_dk, delta_dv; /* linear_attn: heads, and their sizes */
    pith__tensor made[2];  /* rope factors, which GGUF has as tensors */
    int n_made;
    pith__json_ends ends;  /* of the JSON file that was read last */
} pith__folder;

PITH_SHARED int pith__folder_has(const char *folder, const char *name);
PITH_SHARED int pith__check_content(const pith__file *f, const char *path, pith_error *err); /* no LFS pointer */
PITH_SHARED int pith__folder_split(pith__folder *f, const char *path, pith__str *name); /* f->dir of a file, and its name in it */
PITH_SHARED const char *pith__folder_path(pith__folder *f, pith__str name); /* NULL: no memory */
/* Open a file of the folder, to be closed with the store. *file stays NULL where there is none. */
PITH_SHARED int pith__folder_open(pith__folder *f, const char *path, int needed,
                                  const pith__file **file);
PITH_SHARED int pith__folder_json(pith__folder *f, const char *name, int needed, pith__json *j,
                                  const char **path);
PITH_SHARED int pith__folder_array(pith__folder *f, const char *name, pith__json *j, const char **path); /* not needed */

/* What was found instead of a model, and what to do, as an error; PITH_OK: nothing that is known. */
PITH_SHARED int pith__folder_explain(pith__folder *f);

typedef struct { /* config.json while it becomes keys */
    pith__folder *f;
    const char *path;
    pith__json at;       /* the object with the fields: the whole file, or its text_config */
    const struct pith__hf_family *family;
    const char *arch;    /* what keys begin with */
    double theta, local_theta; /* frequency bases where config.json has none; local -1: the same, 0: there is none */
    int is_phi3;
    int has_alpha;       /* 1: "dynamic" stands for a base that alpha makes larger (Hunyuan) */
    int has_temperature; /* 1: queries are scaled by how far they are (llama_4_scaling_beta) */
    double part;         /* of a head that is rotated, where config.json has none; 0: of Llama's relatives, all of it */
    int head_dim, n_rot, n_ctx;
    int latent_rot;      /* of latent attention: the channels that are rotated; else 0 */
    int code;            /* the first error */
} pith__hf;

/* Fields of an object. null is as good as absent, and then the value is otherwise; a value that cannot be
 * is an error. An int is from lo to 2^31 - 1; otherwise below lo, or NAN: there is no default. */
PITH_SHARED pith__json pith__hf_get(pith__json object, const char *name);
PITH_SHARED int pith__hf_int(pith__hf *c, pith__json object, const char *name, int lo, int otherwise);
PITH_SHARED int pith__hf_bool(pith__hf *c, pith__json object, const char *name, int otherwise);
PITH_SHARED double pith__hf_float(pith__hf *c, pith__json object, const char *name, double otherwise);
PITH_SHARED double pith__hf_positive(pith__hf *c, pith__json object, const char *name,
                                     double otherwise);
PITH_SHARED void pith__hf_wrong(pith__hf *c, pith__json j, int code, const char *name,
                                const char *need);
/* Keys of the store, "ARCH.NAME"; added: the code of pith__store_add_*, which may be no memory. */
PITH_SHARED void pith__hf_added(pith__hf *c, int code);
PITH_SHARED void pith__hf_put_int(pith__hf *c, const char *name, int i);
PITH_SHARED void pith__hf_put_flag(pith__hf *c, const char *name, int yes); /* what llama.cpp wants as true or false */
PITH_SHARED void pith__hf_put_float(pith__hf *c, const char *name, double y);
PITH_SHARED void pith__hf_put_string(pith__hf *c, const char *name, const char *s);
PITH_SHARED void pith__hf_put_ints(pith__hf *c, const char *name, const int32_t *y); /* (n_layer), which stay */
PITH_SHARED void pith__hf_put_flags(pith__hf *c, const char *name, const uint8_t *y); /* the same; name: all of it */

/* ---- formats/hflatent.c, split.c: latent attention ------------------------------------------------------- */

/* config.json of a family of this model_type -> the sizes of its heads. eps: of its other norms. */
PITH_SHARED void pith__hf_latent(pith__hf *c, const char *type, double eps);

typedef struct { int n_head, n_nope, n_value, rank; } pith__kv_b;
/* Every attn_kv_b of a table becomes attn_k_b and attn_v_b. */
PITH_SHARED int pith__split_kv_b(pith__store *s, const pith__kv_b *of, pith_error *err);

/* ---- formats/split.c: linear attention of Qwen3-Next --------------------------------------------------- */

typedef struct { int n_k_head, n_head, dk, dv; } pith__qkvz;
/* Every ssm_in of a table becomes attn_qkv and attn_gate. */
PITH_SHARED int pith__split_qkvz(pith__store *s, const pith__qkvz *of, pith_error *err);

/* ---- formats/hfnames.c: Hugging Face's names and GGUF's ------------------------------------------- */

enum { /* how a family names its tensors */
    PITH__HF_POST_NORM = 1, /* post_attention_layernorm follows attention; else it precedes the FFN */
    PITH__HF_FUSED = 2,     /* mlp.gate_up_proj */
    PITH__HF_FC = 0x20000,  /* mlp.fc1 and mlp.fc2 */
    PITH__HF_PHI = 1 << 20, /* self_attn.dense, final_layernorm */
    PITH__HF_APERTUS = 1 << 22, /* attention_layernorm, feedforward_layernorm, mlp.act_fn */
    PITH__HF_NEXT = 1 << 23, /* and PITH__HF_DELTA: linear_attn.in_proj_qkvz and in_proj_ba (Qwen3-Next) */
    PITH__HF_CFC = 1 << 21, /* mlp.c_fc and mlp.c_proj (StarCoder 2) */
    PITH__HF_HUNYUAN = 1 << 26, /* query_layernorm */
    PITH__HF_GLM4 = 1 << 27, /* post_self_attn_layernorm follows attention */
    PITH__HF_MIXTRAL = 4,   /* block_sparse_moe */
    PITH__HF_BERT = 8, PITH__HF_DISTIL = 16, PITH__HF_NOMIC = 32, PITH__HF_GPT2 = 64, PITH__HF_NEOX = 128,
    PITH__HF_MODERN = 256, PITH__HF_MPNET = 512,
    PITH__HF_ROBERTA = 0x800, /* and PITH__HF_BERT: heads as RoBERTa has them */
    PITH__HF_ELDERS = 0xbf8, /* these have no name in common with the others */
    PITH__HF_TEXT_HEAD = 0x1000, PITH__HF_TOKEN_HEAD = 0x2000, PITH__HF_WORD_HEAD = 0x4000, /* what the head is of */
    PITH__HF_HEADS = 0x7000,
    PITH__HF_GRANITE4 = 1 << 29, PITH__HF_GRANITE4_MOE = 1 << 30, /* mamba and shared_mlp; with experts, both */
    PITH__HF_LFM = 1 << 24, PITH__HF_LFM2 = 1 << 25, /* feed_forward.w1; and, before LFM3, self_attn.out_proj and no post_operator_norm */
    PITH__HF_DELTA = 0x10000, /* linear_attn, and post_attention_layernorm is called post_attention_norm in GGUF too */
    PITH__HF_SHARED = 0x8000, /* mlp.shared_experts (DeepSeek, GLM), else mlp.shared_expert (Qwen) */
    PITH__HF_GPTOSS = 0x40000, /* see hfgptoss.c */
    PITH__HF_GEMMA4 = 0x80000,
    PITH__HF_LLAMA4 = 1 << 28 /* feed_forward; experts lie in stacks of transposed matrices */
};
enum { PITH__HF_NAME = 120 }; /* room for a name */
PITH_SHARED int pith__hf_to_gguf(const pith__folder *f, pith__str s, char *name); /* 0: not used here */
PITH_SHARED int pith__name_ends(pith__str s, const char *with);
/* Which tower of a model that sees or hears it is of: a bit, or 0; and the name of tower i, NULL after the last. */
PITH_SHARED unsigned pith__hf_tower(pith__str s);
PITH_SHARED const char *pith__hf_tower_name(int i);
/* The name of a tensor or of a key without "ARCH." as the file has it, perhaps written to room. */
PITH_SHARED const char *pith__shown_name(const pith__store *s, const char *gguf, char *room);
/* to (PITH__HF_NAME): the tensor of GGUF's that this one is in. "blk.0.ffn_up.3.weight", of a folder or an older file, is
 * expert 3 of "blk.0.ffn_up_exps.weight"; another is itself, which gives -1. */
PITH_SHARED int pith__stack_name(pith__str name, char *to);

/* ---- formats/hfread.c: what the readers of tokenizer.json share ------------------------------------ */

enum { PITH__HF_STEPS = 8 };

typedef struct { /* tokenizer.json while it becomes a vocabulary */
    pith__folder *f;
    const char *path;
    pith__vocab *v;
    pith__str step[PITH__HF_STEPS]; /* the regexes of pre_tokenizer, in order */
    int n_step;
    int byte_level, metaspace; /* 1: bytes are spelled as letters; spaces as U+2581 */
    int prepend;               /* 1: the normalizer puts U+2581 before the text */
    int code;                  /* the first error */
} pith__vocab_reading;

/* The first error: "PATH: NAME is j, need NEED", or no memory. */
PITH_SHARED void pith__vocab_wrong(pith__vocab_reading *r, pith__json j, int code, const char *name,
                                   const char *need);
PITH_SHARED void pith__vocab_memory(pith__vocab_reading *r);
/* Values. null is as good as absent, and then a flag is otherwise. */
PITH_SHARED pith__str pith__vocab_string(pith__vocab_reading *r, pith__json j, const char *name);
PITH_SHARED int  pith__vocab_flag(pith__vocab_reading *r, pith__json j, const char *name, int otherwise);
PITH_SHARED int  pith__vocab_true(pith__vocab_reading *r, pith__json object, const char *name, int otherwise);
PITH_SHARED void pith__vocab_pick(const pith__vocab_reading *r, pith__json object, const char *const *names, pith__json *values, size_t n);
PITH_SHARED void pith__vocab_absent(pith__vocab_reading *r, pith__json j, const char *name); /* or it is an error */
PITH_SHARED int  pith__vocab_id(pith__vocab_reading *r, pith__json j, const char *name);
/* Pieces. */
PITH_SHARED void pith__vocab_put(pith__vocab_reading *r, int id, pith__str s, int type);
PITH_SHARED int  pith__vocab_find(const pith__vocab_reading *r, pith__str s); /* special ones first; -1: none */
PITH_SHARED void pith__vocab_pieces(pith__vocab_reading *r, pith__json vocab); /* "piece": id */
/* The steps of a stage, those of a Sequence under the name list. */
PITH_SHARED void pith__vocab_steps(pith__vocab_reading *r, pith__json at, const char *list,
                                   void (*step)(pith__vocab_reading *r, pith__json at));
PITH_SHARED int  pith__vocab_step_is(pith__json at, const char *type);

/* ---- formats/hfunigram.c: tokenizer.json of a Unigram model ------------------------------------------ */

PITH_SHARED void pith__vocab_unigram(pith__vocab_reading *r, pith__json model);
PITH_SHARED void pith__vocab_rewrite(pith__vocab_reading *r, pith__json at); /* one step of its normalizer */

/* ---- formats/hfhead.c: the head on a model's hidden states ------------------------------------------ */

/* config.json -> keys: ARCH.classifier.output_labels, which GGUF has, and ours: pith.task.tokens, 1: labels are of tokens;
 * pith.task.problem, as problem_type; pith.task.activation, where it is not the usual one; pith.task.pooling, the vector that
 * stands for a text: cls, mean or last. style: of the tensors' names; the
 * answer is what to add to it. */
PITH_SHARED int pith__hf_head(pith__hf *c, int style);

/* ---- formats/hfhybrid.c: models some of whose layers are not of attention --------------------------- */

PITH_SHARED void pith__hf_hybrid(pith__hf *c, int style); /* attention.head_count_kv, layer by layer, and what belongs to its mixers */
PITH_SHARED int pith__hf_granite_layout(pith__folder *f, pith__tensor *t); /* as pith__hf_layout, of one tensor */
PITH_SHARED int pith__hf_lfm_ff(pith__hf *c, int usual); /* the width of its networks; usual: intermediate_size if it is not said */
PITH_SHARED int pith__hf_fade_rates(pith__folder *f, pith__tensor *t); /* A_log becomes -e^A_log */

/* ---- formats/hfdelta.c: Qwen3.5 ---------------------------------------------------------------------- */

PITH_SHARED void pith__hf_delta(pith__hf *c); /* fields of linear_attn -> keys */
/* Where a tensor of this name has value heads: behind the keys and queries, dv numbers each, in its columns. 0: nowhere. */
enum { PITH__HEADS = 1, PITH__HEADS_BEHIND = 2, PITH__HEADS_WIDE = 4, PITH__HEADS_COLUMNS = 8 };
PITH_SHARED int pith__hf_delta_heads(pith__str name);
PITH_SHARED int pith__hf_delta_layout(pith__folder *f, pith__tensor *t); /* as pith__hf_layout, of one tensor */
/* ---- formats/hfgemma4.c --------------------------------------------------------------------------------- */

/* Sizes that differ from layer to layer; slides (n_layer): 1: it has a window. c->head_dim is that of the others then. */
PITH_SHARED void pith__hf_gemma4(pith__hf *c, const uint8_t *slides);

/* ---- formats/hfbert.c: BERT, GPT-2 and their relatives ---------------------------------------------- */

PITH_SHARED int pith__hf_is_about(pith__str key); /* 1: name, license, languages and so on, which a folder has under "gguf" */
PITH_SHARED void pith__hf_about(pith__hf *c, pith__json config); /* hfabout.c: what it says beside what is computed -> keys */
PITH_SHARED int pith__hf_elder(pith__hf *c); /* config.json -> keys; 0: it is of another family */
PITH_SHARED int pith__hf_elder_style(const char *type); /* as pith__hf_style_of */
PITH_SHARED int pith__hf_elder_of(const char *arch); /* the same of GGUF's name; 0: it is none of these */
/* How a folder of this style has a matrix, by GGUF's name: 0 as GGUF, (in, out), or q, k and v head by head, (n_head, 3, head_dim). */
enum { PITH__ACROSS = 1, PITH__BY_HEAD };
PITH_SHARED int pith__hf_laid(int style, pith__str name);
PITH_SHARED int pith__hf_layout(pith__folder *f); /* tensors, under GGUF's names, get GGUF's shapes */

/* ---- formats/hfwords.c, postprocess.c: WordPiece; what goes around texts --------------------------- */

PITH_SHARED int  pith__vocab_is_words(const pith__vocab_reading *r, pith__json model);
PITH_SHARED void pith__vocab_words(pith__vocab_reading *r, pith__json model);
PITH_SHARED void pith__vocab_bert(pith__vocab_reading *r, pith__json at);      /* a step of its normalizer, */
PITH_SHARED void pith__vocab_bert_cut(pith__vocab_reading *r, pith__json at);  /* pre_tokenizer */
PITH_SHARED void pith__vocab_bert_text(pith__vocab_reading *r, pith__json at); /* and decoder */
PITH_SHARED int  pith__hf_vocab_lines(pith__folder *f); /* vocab.txt of a folder without a tokenizer.json */
PITH_SHARED void pith__vocab_around(pith__vocab_reading *r, pith__json at); /* a step of the post_processor */

/* ---- formats/hfrouting.c: how experts are chosen ------------------------------------------------------ */

enum {
    PITH__ROUTE_SUMS = 1,        /* the weights of the chosen experts always sum to 1; */
    PITH__ROUTE_MAY_SUM = 2,     /* norm_topk_prob says whether they do: if there is none, they do not, */
    PITH__ROUTE_DOES_SUM = 4,    /* and here they do */
    PITH__ROUTE_NEVER_SUM = 128, /* norm_topk_prob is not read */
    PITH__ROUTE_SIGMOIDS = 8,    /* scores are sigmoids, else softmax */
    PITH__ROUTE_FACTOR = 16,     /* routed_scaling_factor */
    PITH__ROUTE_GROUPS = 32,     /* n_group, topk_group */
    PITH__ROUTE_METHODS = 256,   /* DeepSeek's own words: topk_method, scoring_func */
    PITH__ROUTE_MAY_BE_NONE = 1 << 12, /* the count may be 0 */
    PITH__ROUTE_LISTED = 1 << 13, /* moe_layers, interleave_moe_layer_step */
    PITH__ROUTE_FIRST_DENSE = 64 /* first_k_dense_replace: so many layers at the beginning have no experts */
};

typedef struct {
    const char *type;    /* model_type */
    const char *count;   /* the field that says how many experts there are, */
    const char *wide;    /* how wide each is; NULL: intermediate_size, */
    const char *shared;  /* and how wide the one beside them is, or how many there are; NULL: there is none */
    unsigned is;
    int n, n_used, n_wide, n_shared; /* what those say in transformers' classes */
    double factor;
} pith__routing;

PITH_SHARED const pith__routing *pith__hf_routing_of(const char *type); /* of a model_type; NULL: it has no experts */
PITH_SHARED void pith__hf_routing(pith__hf *c, const char *type); /* fields of a family of this model_type -> keys */
PITH_SHARED int pith__hf_turn_experts(pith__folder *f); /* stacks of matrices (in, out), under GGUF's names, become those of (out, in) */

/* ---- formats/hfapertus.c: Apertus ----------------------------------------------------------------------- */

PITH_SHARED int pith__hf_xielu(pith__folder *f); /* numbers of activations, under names like "blk.0.xielu_beta", become keys */

/* ---- formats/hfgptoss.c: gpt-oss ----------------------------------------------------------------------- */

PITH_SHARED void pith__hf_gptoss(pith__hf *c, pith__json outer); /* config.json -> keys */
PITH_SHARED int  pith__hf_gptoss_experts(pith__folder *f); /* tensors, under GGUF's names, become those of GGUF */

/* ---- formats/hfrope.c, hfconfig.c, hftokenizer.c: the small files in a Hugging Face folder -------- */

PITH_SHARED void pith__hf_rope(pith__hf *c); /* rope_theta, rope_scaling, ... -> keys and factors */

/* Keys that GGUF does not have. From config.json: pith.no_rope_layers, an array with a 1 for every layer
 * without rotation; pith.context_limit, the longest text that the rotation is right for;
 * ARCH.rope.scaling.yarn_truncate, 0: the range that YaRN blends is not rounded to whole pairs. From generation_config.json, as floats: pith.temperature, pith.top_k, pith.top_p,
 * pith.min_p, pith.repeat_penalty. */
enum { /* add_space: before the text and what follows each special token; unless a space is there already;
        * that only before the text */
    PITH__SPACE_ALWAYS = 1, PITH__SPACE_NONE_YET, PITH__SPACE_FIRST
};
PITH_SHARED int pith__hf_config(pith__folder *f); /* config.json, generation_config.json */
PITH_SHARED int pith__hf_style_of(const char *type); /* how a model_type names its tensors */
PITH_SHARED int pith__hf_arch_style(const char *arch, int experts); /* the same of GGUF's name; experts 1: it has some */
/* The pre-tokenizers known, by GGUF's name; NULL after the last. Their regular expressions, to the first NULL. */
PITH_SHARED const char *pith__hf_pre(int i);
PITH_SHARED const char *const *pith__hf_pre_steps(int i);
PITH_SHARED int pith__hf_tokenizer(pith__folder *f); /* tokenizer.json and those beside it */
PITH_SHARED int pith__hf_vocab(pith__folder *f, pith__json tokenizer, const char *path);

/* ---- formats/sentence.c: a folder of sentence-transformers ------------------------------------------ */

typedef struct {
    pith__folder f;      /* that has modules.json */
    pith__json steps;    /* of it that are still to be read */
    const char *model;   /* the folder of the model's own files, or one of these */
    const char *path;    /* of the file that is read, for messages */
    const char *arch;
    int number;          /* of the step */
    int pooled, normalized;
    int code;
} pith__sentence;

/* Which folder has the model, for pith__folder_read: the one that s is of, or, of a folder of 2019, one in it. */
PITH_SHARED int pith__sentence_open(pith__sentence *k, pith__store *s, int no_mmap, pith_error *err);
/* Adds modules.json and what it names to what was read, where it is there: pooling.c's keys (internal.h lists them), and
 * matrices under the names dense_N.weight and dense_N.bias, N the step's number. */
PITH_SHARED int pith__sentence_read(pith__sentence *k);

/* ---- formats/open.c: a path -> a store ------------------------------------------------------------- */

/* What a file or folder holds, told by its content; s->holds says what that is. An error leaves nothing
 * to free. path and what opt names are copied; data must outlive the store. */
PITH_SHARED int pith__open(pith__store *s, const char *path, const pith_options *opt, pith_error *err);
PITH_SHARED int pith__open_memory(pith__store *s, const void *data, size_t size, const pith_options *opt,
                                  pith_error *err);

/* ---- formats/adapter.c: a LoRA -> a store ----------------------------------------------------------- */

/* The LoRA in a PEFT folder or a GGUF file: NAME.lora_a (r, in) and NAME.lora_b (out, r) of tensors NAME of the
 * base; the float adapter.lora.alpha, and pith.lora.alpha.NAME where a tensor has its own. vocab.chat_template is the one it
 * was taught with, if it says so. A reward model, which only a PEFT folder can be, has a tensor PITH__SCORE_HEAD too, of
 * any shape. An error leaves nothing to free. */
#define PITH__SCORE_HEAD "score.weight"
PITH_SHARED int pith__adapter_read(pith__store *s, const char *path, int no_mmap, pith_error *err);

/* ---- formats/pieces.c: merges by rank <-> scores ---------------------------------------------------- */

/* Scores (n) that have the same pieces joined as the merges of v. PITH_EARCH: there are none. */
PITH_SHARED int pith__scores_of(const pith__vocab *v, pith__arena *a, float **score);
/* The merges (n, 2), pairs of ids, that stand for the scores of v, the first ones first. */
PITH_SHARED int pith__merges_of(const pith__vocab *v, pith__arena *a, int **pair, size_t *n);

/* ---- formats/write.c: a store -> a file ------------------------------------------------------------ */

typedef struct {             /* a tensor that is to be written */
    const pith__tensor *tensor; /* its name and shape in the file; its numbers too, unless there is */
    int (*rows)(void *data, size_t r, size_t n, uint8_t *y); /* what gives rows r to r + n as they are in the file; */
    void *data;              /* not PITH_OK: an error, which it has said */
    const pith__format *to;  /* the format in the file; that of the tensor and no rows: its bytes are copied */
    const float *importance; /* for encoders, where rows asks for it: (cols), or (experts, cols) of a stack; or NULL */
    int part;                /* of a split GGUF file: which part it is in, from 0; these never fall from one to the next */
} pith__out;

/* The format of a tensor in GGUF, where matrices are of format to. */
PITH_SHARED const pith__format *pith__gguf_format(const pith__tensor *t, const pith__format *to);
PITH_SHARED size_t pith__out_bytes(const pith__out *o);
PITH_SHARED int pith__out_put(pith__writer *w, const pith__out *o, pith_error *err);
/* The keys and the vocabulary of s, and n tensors: a .gguf file, or those of all parts. PITH_EARCH: the format has no
 * place for this. Keys that were read from a GGUF file keep their order and types. */
PITH_SHARED int pith__gguf_put(const pith__store *s, const pith__out *out, size_t n, const char *path, pith_error *err);
/* "OUT-00001-of-00003.gguf" of "OUT.gguf", from part 0 on; of one part OUT.gguf. To be freed; NULL: no memory. */
PITH_SHARED char *pith__part_path(const char *path, int part, int n_part);
/* The same of tensors as they are, matrices in format to. */
PITH_SHARED int pith__gguf_write(const pith__store *s, const pith__tensor *tensor, size_t n,
                                 const pith__format *to, const char *path, pith_error *err);
/* The same without the vocabulary, in floats: llama2.c's version 0. */
PITH_SHARED int pith__llama2c_write(const pith__store *s, const pith__tensor *tensor, size_t n,
                                    const char *path, pith_error *err);
PITH_SHARED int pith__tokenizer_write(const pith__vocab *v, const char *path, pith_error *err);

/* ---- formats/hfwrite.c: what Hugging Face's programs read ------------------------------------------- */

/* n tensors under the names they have, in the order of these: a .safetensors file. Formats: F32, F16, BF16.
 * said: what its metadata says too, a name and a text; or NULL. */
PITH_SHARED int pith__safetensors_write(const pith__out *out, size_t n, const char *const *said, const char *path,
                                        pith_error *err);

typedef struct {             /* what is in a folder beside the weights */
    const char *from;        /* the folder, or a .safetensors file in it, whose config.json, tokenizer.json, ... are copied; */
    const struct pith__small_file { const char *name; pith__str text; } *made; /* (n_made) or NULL, and these are written */
    size_t n_made;
    const pith__format *dtype; /* that config.json is to name; NULL: what it does */
    pith__str chat_template; /* instead of its own; no bytes: its own */
    const char *merged;
} pith__folder_files;

/* A Hugging Face folder; out has that one's names. */
PITH_SHARED int pith__folder_write(const pith__folder_files *f, const pith__out *out, size_t n, const char *folder,
                                   pith_error *err);

typedef struct {             /* adapter_config.json: r and alpha of all modules but those with a pattern */
    const char *base;        /* the model that it is an adapter of, as its user names it; NULL: not said */
    int scores;              /* 1: a reward model, and one of the tensors is base_model.model.score.weight */
    const char *print;       /* of a reward model's base: the tensors' metadata say it under pith.base; or NULL */
    int transposed;          /* 1: the base's matrices are (in, out), as GPT-2's; A and B are as ever */
    int r, rslora;           /* rslora 1: deltas are alpha / sqrt(r) B A, not alpha / r B A */
    double alpha, dropout;
    const char *const *target; /* (n_target) names of modules, or ends of names */
    size_t n_target;
    const struct pith__peft_pattern { const char *module; int r; double alpha; } *pattern; /* (n_pattern) */
    size_t n_pattern;
    pith__str chat_template; /* no bytes: none */
} pith__peft;

/* Its files in a folder: adapter_model.safetensors, of tensors as peft names them, adapter_config.json,
 * chat_template.jinja. */
PITH_SHARED int pith__peft_write(const pith__peft *p, const pith__out *out, size_t n, const char *folder,
                                 pith_error *err);

/* ---- formats/imatrix.c: how much each input channel of each matrix matters ----------------------------- */

typedef struct {             /* what came into a matrix, or into each of n_mat experts, whose matrices are one tensor */
    pith__str name;          /* of the tensor, as GGUF has it: "blk.0.ffn_down.weight" */
    size_t n_mat, cols;      /* .dat: 1, and the columns of all together */
    float *sum2, *count;     /* (n_mat, cols) sums of squares, (n_mat) over so many inputs */
    float *mean;             /* (n_mat, cols) of the squares, 1 where there was no input; NULL: sums that grow */
} pith__inputs;

typedef struct {
    pith__inputs *of;        /* (n) by name */
    size_t n;
    int is_dat;              /* 1: the older file: sum2 are means times calls, which are counted */
    int64_t n_chunk, chunk_size; /* parts that the text went through the model in, and tokens of each; 0: not said */
    pith__str *dataset;      /* (n_dataset) names of the texts */
    size_t n_dataset;
    int64_t text, model, done; /* of a run that can go on: over 0, told apart by these; chunks of the text; 0: not said */
    pith__store store;       /* its memory, and the keys of a GGUF file */
} pith__imatrix;

/* Either file, told by its content. An error leaves nothing to free. */
PITH_SHARED int  pith__imatrix_read(pith__imatrix *im, const char *path, pith_error *err);
PITH_SHARED void pith__imatrix_free(pith__imatrix *im);
PITH_SHARED const pith__inputs *pith__imatrix_of(const pith__imatrix *im, pith__str name); /* or NULL */
/* *w: (cols) of t, or (experts, cols) of a stack, each the mean square of what comes into that column; NULL: not known.
 * PITH_EDATA: of another size. */
PITH_SHARED int  pith__importance(const pith__imatrix *im, const pith__tensor *t, const float **w, pith_error *err);
/* All that it has is of these n tensors, of this model. PITH_EDATA: it is of another one. */
PITH_SHARED int  pith__imatrix_check(const pith__imatrix *im, const pith__out *out, size_t n, const char *model,
                                     pith_error *err);
PITH_SHARED int  pith__imatrix_write(const pith__imatrix *im, const char *path, pith_error *err); /* GGUF */
PITH_SHARED int  pith__imatrix_write_dat(const pith__imatrix *im, const char *path, pith_error *err); /* chunk_size over 0 */

#endif
