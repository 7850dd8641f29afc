/* internal.h - what the engine's files share: one section a file, in reading order, which is the link
 * order too. A file may use the sections before its own, never those after (scripts/layers.sh proves it).
 *
 * Letters mean one thing in the whole tree:
 *     l layer        t token, the row of a batch     u earlier token, a position in the KV cache
 *     h head         i, j channel                    r row of a weight matrix
 *     b block of 32 numbers                          n how many of what the name says
 * Shapes stand beside their pointers, slowest index first: (n_layer, n_embd). A matrix is (rows, cols)
 * with rows outputs and cols inputs, as on disk: y = W x is rows dot products of length cols.
 * Names: pith_x is public (model.h), pith__x is shared here, bare names are static in their file.
 */
#ifndef PITH_INTERNAL_H
#define PITH_INTERNAL_H

#include "model.h"

#ifndef PITH_SHARED /* "static" in dist/pith.c, where all files are one */
#define PITH_SHARED
#define PITH_SHARED_DATA extern
#else
#define PITH_SHARED_DATA PITH_SHARED
#endif

/* ---- formats/file.c: memory, errors, mapped files, the cursor ------------------------------------ */

/* Fill err and return code. Control characters in the text become '?', so it stays one line. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
PITH_SHARED int pith__fail(pith_error *err, int code, const char *fmt, ...);

/* Both return 1 on overflow and then leave *r alone. */
PITH_SHARED int pith__mul(size_t *r, size_t a, size_t b);
PITH_SHARED int pith__add(size_t *r, size_t a, size_t b);

typedef struct pith__chunk pith__chunk;
typedef struct {
    pith__chunk *chunk;
    size_t left;
} pith__arena; /* many small pieces of memory that are freed together; zero-initialised is empty */

PITH_SHARED void *pith__arena_new(pith__arena *a, size_t n, size_t size); /* zeroed (n, size), or NULL */
PITH_SHARED void  pith__arena_free(pith__arena *a);

typedef struct {
    const uint8_t *data;
    size_t size;
    int mapped; /* 1: unmap it, 0: free it, -1: the caller's memory */
} pith__file;

PITH_SHARED int  pith__file_open(pith__file *f, const char *path, int no_mmap, pith_error *err);
PITH_SHARED void pith__file_close(pith__file *f);
PITH_SHARED char pith__path_kind(const char *path); /* d: a folder; f: something else; 0: nothing */
PITH_SHARED void pith__yield(void); /* let another thread or process have the processor for now */
PITH_SHARED int  pith__physical_cores(void); /* those this process may use, at least 1 */
PITH_SHARED int  pith__threads(int most);    /* that can be started now, the caller's own included */

/* For those who write: train/pretrain.c. */
PITH_SHARED int  pith__make_folder(const char *path, pith_error *err); /* or find it there */
/* A file that only one process holds, until it ends or closes the descriptor. < 0: PITH_EFULL: somebody
 * else has it, or another error. */
PITH_SHARED int  pith__lock(const char *path, pith_error *err);
PITH_SHARED void pith__unlock(int descriptor);
/* The files in folder whose names are begin, a number, end: these numbers, sorted; n may be over cap. */
PITH_SHARED size_t pith__numbered(const char *folder, const char *begin, const char *end,
                                  int64_t *number, size_t cap);
PITH_SHARED void pith__remove(const char *path);
PITH_SHARED void pith__remove_named(const char *folder, const char *begin, const char *end);

typedef struct {
    const char *p;
    size_t n;
} pith__str; /* a view of bytes, not ended by a NUL */

PITH_SHARED pith__str pith__str_of(const char *s);
PITH_SHARED int pith__str_cmp(pith__str a, pith__str b); /* as memcmp, the shorter first */
PITH_SHARED int pith__str_is(pith__str a, const char *s);

/* The only way bytes of a file are read: once a read went past the end, bad is set and stays set, and
 * every later read gives NULL or 0. Ask once, at the end. */
typedef struct {
    const uint8_t *p;
    size_t left;
    int bad;
} pith__cursor;

PITH_SHARED const uint8_t *pith__take(pith__cursor *c, uint64_t n);
PITH_SHARED uint8_t  pith__u8(pith__cursor *c);
PITH_SHARED uint16_t pith__u16(pith__cursor *c);
PITH_SHARED uint32_t pith__u32(pith__cursor *c);
PITH_SHARED uint64_t pith__u64(pith__cursor *c);
PITH_SHARED float    pith__f32(pith__cursor *c);

/* ---- formats/json.c: a strict reader of JSON (RFC 8259) ------------------------------------------- */

/* A value is the place where it begins in a text that was checked whole; p NULL: there is none. */
typedef struct {
    const char *p, *end;
} pith__json;

PITH_SHARED int pith__json_read(pith__json *j, const void *text, size_t n, const char *path,
                                pith_error *err);
PITH_SHARED char pith__json_type(pith__json j); /* one of { [ " 0 (a number) t f n, or 0: none */
PITH_SHARED pith__json pith__json_get(pith__json object, const char *name); /* or none */
PITH_SHARED void pith__json_pick(pith__json object, const char *const *names, pith__json *values,
                                 size_t n); /* the same for n names at once */
/* Walk a container: it starts as the container itself. key is NULL for an array. 0: no more. */
PITH_SHARED int pith__json_next(pith__json *it, pith__json *key, pith__json *value);
PITH_SHARED size_t pith__json_count(pith__json array);
PITH_SHARED int pith__json_is(pith__json j, const char *s); /* the string s */
/* A view of the text, or, of a string with escapes, memory of a. PITH_EFORMAT: no string. */
PITH_SHARED int pith__json_string(pith__json j, pith__arena *a, pith__str *s);
PITH_SHARED int pith__json_int(pith__json j, int64_t *i); /* 0: not an integer, or too large */
PITH_SHARED int pith__json_float(pith__json j, double *f); /* 0: not a number, or infinite */
PITH_SHARED int pith__json_fail(pith__json j, int code, const char *path, const char *name,
                                const char *need, pith_error *err); /* "PATH: NAME is j, need NEED" */

/* ---- math/quant.c: number formats, one row each -------------------------------------------------- */

/* GGUF's type numbers; PITH__I8 is llama2.c's version 2, whose scales lie apart from its integers, so
 * that it has neither floats nor unpack: read it by pith__row_floats or pith__row_block. */
enum {
    PITH__F32 = 0, PITH__F16 = 1, PITH__Q4_0 = 2, PITH__Q4_1 = 3, PITH__Q5_0 = 6, PITH__Q5_1 = 7,
    PITH__Q8_0 = 8, PITH__Q2_K = 10, PITH__Q3_K = 11, PITH__Q4_K = 12, PITH__Q5_K = 13,
    PITH__Q6_K = 14, PITH__IQ4_NL = 20, PITH__IQ4_XS = 23, PITH__BF16 = 30, PITH__MXFP4 = 39,
    PITH__I8 = 1000
};

/* 32 weights as every quantised format has them: weight i is d[i / 16] * q[i] - m[i / 16]. */
typedef struct {
    int8_t q[32];
    float  d[2], m[2];
} pith__block;

typedef struct {
    int id;            /* PITH__Q4_K */
    const char *name;  /* "Q4_K" */
    int length, bytes; /* numbers in a block on disk, and its bytes */
    void (*floats)(float *y, const void *x, size_t n); /* formats without integers: n numbers */
    void (*unpack)(pith__block *y, const void *row, size_t b); /* formats with: 32 numbers from 32 b on */
    void (*encode)(void *y, const float *x, size_t n); /* n a multiple of length; NULL: read only */
} pith__format;

/* A named array of numbers, where it lies in the file. A vector is one row. */
typedef struct {
    pith__str name;            /* GGUF's name, whatever the file: "blk.0.attn_q.weight" */
    const pith__format *format;
    int n_dim;
    uint64_t shape[4];         /* slowest first: (rows, cols), (experts, rows, cols) */
    size_t rows, cols;         /* all but the last dimension multiplied; the last */
    const uint8_t *data;       /* rows * row_bytes bytes */
    size_t row_bytes;
    const uint8_t *scale;      /* PITH__I8 only: a little-endian float32 for each group of numbers */
    size_t group;
} pith__tensor;

PITH_SHARED const pith__format *pith__format_of(int id);       /* NULL: unknown */
PITH_SHARED const pith__format *pith__format_named(const char *name); /* any case; NULL: unknown */
PITH_SHARED float    pith__f16_to_f32(uint16_t h);
PITH_SHARED uint16_t pith__f32_to_f16(float f); /* to nearest even */
PITH_SHARED void pith__row_floats(const pith__tensor *w, size_t r, float *y); /* y: (cols) */
/* Formats of integers only, and I8 if its groups are a multiple of 16; past cols there are zeros. */
PITH_SHARED void pith__row_block(const pith__tensor *w, size_t r, size_t b, pith__block *y);

/* ---- math/team.c: threads that share out work ----------------------------------------------------- */

typedef struct pith__crew pith__crew;
typedef struct pith__kernels pith__kernels;

/* Who does the work: kernels, threads, and scratch memory for each thread. */
typedef struct {
    const pith__kernels *kernels;
    int n_threads;
    uint8_t *scratch; /* (n_threads, scratch_bytes) */
    size_t scratch_bytes;
    pith__crew *crew; /* the threads at work, while pith__together runs; else NULL */
} pith__team;

typedef void pith__piece(const void *data, size_t i, uint8_t *scratch); /* piece i of a job */

/* Calls work(data); within it, all threads of the team take part in what pith__share is given. */
PITH_SHARED void pith__together(pith__team *team, void (*work)(void *), void *data);
/* All n pieces, shared out when that is worth it: each should take some ten microseconds or more. */
PITH_SHARED void pith__share(const pith__team *team, size_t n, int worth_it, pith__piece *work,
                             const void *data);

/* ---- math/kernels.c, x86.c, arm.c: the arithmetic ------------------------------------------------ */

/* The inputs of one or more matmuls. A matrix of integers wants integers: 32 numbers share a scale,
 * which is the largest magnitude among them over 127. n_block = cols / 32, rounded up. For PITH__I8 it
 * is group numbers that share one, and d is (n, cols / group); if group is not 32, sum is the kernel's own. */
typedef struct {
    const float *x; /* (n, cols) */
    int n;
    size_t cols;
    int8_t *q;      /* (n, n_block, 32), cols rounded up with zeros; room for it given by the caller */
    float *d;       /* (n, n_block) scale */
    int32_t *sum;   /* (n, 2, n_block) sums of q by halves: what a weight's minimum m multiplies */
    size_t group;   /* of the numbers in q; 0: q is not filled yet */
    void *tiles;    /* many tokens, arranged as a kernel wants them; room for pith__tiles_bytes */
    const pith__format *arranged; /* for weights of this format; NULL: tiles are not filled yet */
} pith__input;

typedef struct {
    float *y;       /* (n, stride), columns from r on */
    size_t stride;
    const pith__tensor *w;
    const pith__input *in;
} pith__product;

/* Attention of n new tokens over one layer's cache, which holds two planes a kv head: keys with 16
 * positions side by side, (n_slot / 16, head_dim, 16), so that a score is a sum down the channels for
 * 16 positions at once; values as they come, (n_slot, head_dim). Position u lies in slot u % n_slot;
 * n_slot is a multiple of 16 and holds the whole text, or the window and n - 1 more; slots not yet
 * written hold zeros. Q8_0 wants head_dim to be a multiple of 32: its values are plain Q8_0 blocks,
 * its keys have for every 32 channels of 16 positions 16 f16 scales, then (32, 16) int8. */
typedef struct {
    const float *q;      /* (n, n_head, head_dim) */
    float *y;            /* (n, n_head, head_dim) */
    const uint8_t *k, *v; /* (n_kv_head, plane bytes) */
    size_t k_plane, v_plane;
    const pith__format *k_format, *v_format; /* F32, F16 or Q8_0 */
    int n, position;     /* new tokens, and the position of the first */
    int n_head, n_kv_head, head_dim, n_slot;
    int window;          /* a token sees this many positions, itself the last; 0: all */
    double scale;        /* scores are q.k * scale */
    float softcap;       /* c > 0: and then c * tanh(score / c) */
} pith__attention;

enum { PITH__SILU, PITH__GELU }; /* GELU by its tanh formula, as Gemma has it */

/* y (m, n) = a (m, n_k) b (n_k, n), or, with add, y +=: the products that gradients are made of. Number (i, k)
 * of a is a[i * a_row + k * a_col]. A sum over k runs from the first to the last. */
typedef struct {
    float *y;
    size_t y_row;
    const float *a;
    size_t a_row, a_col;
    const float *b;
    size_t b_row;
    size_t m, n, n_k;
    int add;
} pith__outer;

/* One row a processor family; portable C is the text to read, the others are the same, faster.
 * Dot products have one order for one token and for many: number i (block b of 32, for integers) adds
 * into lane i % 16, and the lanes are summed as a fixed tree: i + i+8, then +4, +2, +1. */
struct pith__kernels {
    const char *name;
    void (*quantize)(pith__input *in, int t); /* row t of x into q, d, sum, by in->group */
    size_t (*tile_size)(const pith__format *f, size_t n); /* tokens; 0: n tokens go without tiles */
    void (*arrange)(pith__input *in, const pith__format *f, size_t i); /* tile i, of the same size as all */
    void (*matmul)(const pith__product *p, size_t r0, size_t r1, void *scratch); /* rows r0 to r1 */
    /* token t, all query heads of one kv head; scores: (n_head / n_kv_head, n_slot) */
    void (*attend)(const pith__attention *a, int t0, int t1, int kv_head, float *scores);
    float (*dot)(const float *a, const float *b, size_t n);
    void (*rmsnorm)(float *y, const float *x, const float *w, size_t n, float eps); /* w NULL: ones */
    void (*rope)(float *x, const float *cs, int n_rot, int half); /* one head; cs: (n_rot / 2, 2) */
    void (*gate)(float *y, const float *gate, const float *up, size_t n, int act); /* act(gate) * up */
    void (*softmax)(float *x, size_t n);
    void (*outer)(const pith__outer *p);
    void (*d_gate)(float *d_gate, float *d_up, const float *dy, const float *gate, const float *up, size_t n,
                   int act); /* the way back through gate */
    /* About a million multiply-adds that never leave the registers, of the kind that a matmul with such weights
     * is made of; *n: how many. What they come to is of no use, except that it keeps them from being left out. */
    float (*busy)(const pith__format *f, size_t *n);
};

/* name NULL: the best there is; the answer is NULL where this processor or this name has none */
PITH_SHARED const pith__kernels *pith__portable(const char *name);
#ifdef PITH_PORTABLE /* x86.c and arm.c are left out */
#define pith__x86(name) ((void)(name), (const pith__kernels *)NULL)
#define pith__arm(name) ((void)(name), (const pith__kernels *)NULL)
#else
PITH_SHARED const pith__kernels *pith__x86(const char *name);
PITH_SHARED const pith__kernels *pith__arm(const char *name);
#endif


/* A thread's scratch holds the larger of the two, for the widest matrix and the longest cache; it begins
 * at a multiple of 64, and so both are. */
PITH_SHARED size_t pith__matmul_scratch(size_t cols); /* bytes */
PITH_SHARED size_t pith__tiles_bytes(size_t n, size_t cols); /* of n tokens */
PITH_SHARED size_t pith__attend_scratch(int n_group, int head_dim, int n_slot); /* n_head / n_kv_head */
PITH_SHARED void pith__matmul(const pith__team *team, float *y, size_t stride, const pith__tensor *w,
                              pith__input *in); /* y[t * stride + r] = w[r] . x[t] */
/* 1: work on so many weights or numbers is worth sharing out. */
PITH_SHARED int pith__worth_it(size_t numbers);
PITH_SHARED void pith__attend(const pith__team *team, const pith__attention *a);

/* The cache's side: bytes of one plane (0: this format cannot have such heads, or too large), and a
 * slot's key and value (head_dim) written to it. */
PITH_SHARED size_t pith__cache_plane(const pith__format *f, int head_dim, int n_slot);
PITH_SHARED void pith__cache_key(const pith__format *f, uint8_t *plane, int head_dim, int slot,
                                 const float *k);
PITH_SHARED void pith__cache_value(const pith__format *f, uint8_t *plane, int head_dim, int slot,
                                   const float *v);

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
} pith__key;

enum { /* what a piece of the vocabulary is: GGUF's numbers */
    PITH__NORMAL = 1, PITH__UNKNOWN, PITH__CONTROL, PITH__USER, PITH__UNUSED, PITH__BYTE
};
enum { PITH__NONE, PITH__SPM, PITH__BPE }; /* merge by score or by rank; both start from characters */
enum { PITH__RAW, PITH__BLOCK_SPACE, PITH__BYTE_LETTERS }; /* " a" is spelled " a", "\u2581a", "\u0120a" */

/* A vocabulary as the file gives it; tokenizer.c makes the index to work with. */
typedef struct {
    int model, spelling;
    int n;
    pith__str *piece;    /* (n) */
    float *score;        /* (n), SPM */
    uint8_t *type;       /* (n) */
    uint8_t *strip;      /* (n) or NULL; added tokens that take the space before (1) or after (2) along */
    int n_merge;
    pith__str *left, *right; /* (n_merge), by rank */
    pith__str pre;       /* the pre-tokeniser's name as GGUF has it: "qwen2" */
    pith__str chat_template;
    int bos, eos, unk;   /* -1: none */
    int end[16], n_end;  /* tokens that end a generated text; eos is one of them only if it is here */
    int add_bos, add_eos, add_space, ignore_merges, byte_fallback, nfc;
} pith__vocab;

typedef struct {
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
    int rope_half;       /* 1: q and k are stored for half-split rotation whatever the family says */
    int norm_plus_one;   /* 1: norms of the Gemmas are stored as w, not yet as 1 + w */
    int vocab_padded;    /* 1: the embedding may have more rows than the vocabulary has pieces */
} pith__store;

PITH_SHARED int pith__store_sort(pith__store *s, pith_error *err); /* refuses names that come twice */
PITH_SHARED const pith__key *pith__store_key(const pith__store *s, const char *name);
PITH_SHARED const pith__tensor *pith__store_tensor(const pith__store *s, const char *name);
PITH_SHARED int64_t pith__key_item(const pith__key *k, size_t i); /* integer i of an ARRAY; else 0 */
PITH_SHARED int pith__store_add_int(pith__store *s, const char *name, int64_t i); /* before sorting */
PITH_SHARED int pith__store_add_float(pith__store *s, const char *name, double f);
PITH_SHARED int pith__store_add_string(pith__store *s, const char *name, const char *v);
PITH_SHARED void pith__store_free(pith__store *s);

/* Fill in a tensor from name, format and shape; data at p, left bytes long there. Checks every product
 * against left. */
PITH_SHARED int pith__tensor_set(pith__tensor *t, const pith__store *s, pith__str name, int format,
                                 int n_dim, const uint64_t *shape, const uint8_t *p, size_t left,
                                 pith_error *err);

/* ---- formats/llama2c.c, gguf.c, safetensors.c: bytes on disk -> store ----------------------------- */

/* Each returns PITH_OK, or the error, and leaves what it took to pith__store_free. s->file has room for
 * two and s->file[0] is open, except for a folder. A file that is nothing else is taken for llama2.c's,
 * whose version 0 has no magic, and refused there. */
PITH_SHARED int pith__llama2c_read(pith__store *s, const char *tokenizer, pith_error *err);
PITH_SHARED int pith__gguf_is(const pith__file *f);
PITH_SHARED int pith__gguf_read(pith__store *s, int no_mmap, pith_error *err);
PITH_SHARED int pith__folder_is(const char *path); /* a folder, or a .safetensors file */
PITH_SHARED int pith__folder_read(pith__store *s, const char *path, int no_mmap, pith_error *err);

/* Add the tensors of one .safetensors file, under the names they have there: also a LoRA's. */
PITH_SHARED int pith__safetensors_read(pith__store *s, const pith__file *f, const char *path,
                                       pith_error *err);

/* ---- formats/hfconfig.c, hftokenizer.c: the small files in a Hugging Face folder ------------------ */

/* Keys that GGUF does not have. From config.json: pith.no_rope_layers, an array with a 1 for every layer
 * without rotation. From generation_config.json, as floats: pith.temperature, pith.top_k, pith.top_p,
 * pith.min_p, pith.repeat_penalty. */
typedef struct { /* a folder while it is read */
    pith__store *s;
    const char *dir;
    int no_mmap;
    pith_error *err;
    int n_layer, n_vocab;
    int tied;              /* 1: lm_head, if it is there, is not used but the embedding */
    int post_norm;         /* 1: post_attention_layernorm follows attention, 0: it precedes the FFN */
    int bias;              /* of attention: 0: none, 1: of q, k and v, 2: of o too */
    int ffn_bias;          /* 1: the feed-forward network has biases */
    int drop_tokens;       /* 1: added tokens beyond the embedding are left out (Gemma 3 has one) */
    pith__tensor made[2];  /* rope factors, which GGUF has as tensors */
    int n_made;
} pith__folder;

PITH_SHARED const char *pith__folder_path(pith__folder *f, pith__str name); /* NULL: no memory */
/* Open a file of the folder, to be closed with the store. *file stays NULL where there is none. */
PITH_SHARED int pith__folder_open(pith__folder *f, const char *path, int needed,
                                  const pith__file **file);
PITH_SHARED int pith__folder_json(pith__folder *f, const char *name, int needed, pith__json *j,
                                  const char **path);
enum { /* add_space: before the text and what follows each special token; unless a space is there already;
        * that only before the text */
    PITH__SPACE_ALWAYS = 1, PITH__SPACE_NONE_YET, PITH__SPACE_FIRST
};
PITH_SHARED int pith__hf_config(pith__folder *f); /* config.json, generation_config.json */
PITH_SHARED int pith__hf_tokenizer(pith__folder *f); /* tokenizer.json and those beside it */
PITH_SHARED int pith__hf_vocab(pith__folder *f, pith__json tokenizer, const char *path);

/* ---- formats/unicode.c: classes of characters (generated by scripts/unicode.py) ------------------- */

enum { /* of a character; 0: anything else. Bits, so that a set of classes is one number */
    PITH__UPPER = 1, PITH__LOWER = 2, PITH__LETTER = 4, PITH__MARK = 8, PITH__NUMBER = 16,
    PITH__PUNCT = 32, PITH__SYMBOL = 64, PITH__SPACE = 128
};

PITH_SHARED int pith__unicode_class(uint32_t c);
/* The character at p, left > 0 bytes before the end, and how many bytes it has. A byte that is no
 * UTF-8 is one U+FFFD. */
PITH_SHARED size_t pith__utf8(const uint8_t *p, size_t left, uint32_t *c);
PITH_SHARED size_t pith__nfc(const char *text, size_t n, char *out); /* bytes of out, which has 3 n */

/* ---- formats/pretokenize.c: text -> the words that byte-level BPE merges in ----------------------- */

typedef struct pith__splitter pith__splitter; /* what one name in tokenizer.ggml.pre stands for */

PITH_SHARED const pith__splitter *pith__splitter_named(pith__str name); /* NULL: unknown */
/* Give every word of text to word(); stops early and returns what word() returns when not 0. */
PITH_SHARED int pith__split(const pith__splitter *s, const char *text, size_t n,
                            int (*word)(void *to, const char *p, size_t n), void *to);

/* ---- tokenizer.c: text <-> tokens ------------------------------------------------------------------ */

typedef struct pith__tokenizer pith__tokenizer;

PITH_SHARED pith__tokenizer *pith__tokenizer_new(const pith__vocab *v, pith_error *err);
PITH_SHARED void pith__tokenizer_free(pith__tokenizer *k);
PITH_SHARED int  pith__tokenizer_find(const pith__tokenizer *k, const char *bytes, size_t n); /* or -1 */
PITH_SHARED int  pith__tokenizer_encode(const pith__tokenizer *k, const char *text, size_t len,
                                        unsigned flags, pith_token *out, int cap); /* count or error */
PITH_SHARED pith__str pith__tokenizer_piece(const pith__tokenizer *k, pith_token t); /* its bytes */

/* ---- chat.c: a conversation -> tokens -------------------------------------------------------------- */

/* Tokens of turns up to where the assistant speaks, in the form called name, or NULL: the form that the
 * vocabulary's own chat template has. PITH_EARG: no form of that name, or a role that is not known;
 * PITH_EARCH: the template's form is not known. */
PITH_SHARED int pith__chat_encode(const pith__tokenizer *k, const pith__vocab *v, const char *name,
                                  const pith_turn *turns, int n, int first, pith_token *out, int cap);
PITH_SHARED const char *pith__chat_name(int i); /* of the forms known; NULL after the last */

/* ---- model.c: an open model ------------------------------------------------------------------------ */

typedef struct { /* architectures are values: what a family does differently is one of these */
    char arch[16];
    int n_layer, n_embd, n_head, n_kv_head, head_dim, n_ff, n_vocab, n_ctx;
    int n_expert, n_expert_used, n_ff_expert;
    int expert_norm;     /* 1: the chosen experts' weights are made to sum to 1 */
    int n_rot;           /* channels of a head that are rotated */
    int qk_norm_whole;   /* 1: q and k are normed as a whole (OLMo 2), 0: head by head */
    int rope_half;       /* 1: channel i turns with i + n_rot / 2 (GPT-NeoX); 0: with i + 1 */
    int rope_gather;     /* 1: stored as for rope_half, and brought into the order of neighbours first */
    int act;             /* PITH__SILU or PITH__GELU */
    float eps;           /* of every RMSNorm */
    float embd_scale;    /* the embedding times this (Gemma: sqrt(n_embd)) */
    float residual_scale; /* what a block adds to the stream times this (Granite) */
    double attn_scale;   /* q.k times this, normally 1 / sqrt(head_dim) */
    float logit_scale;   /* logits times this */
    float attn_softcap, logit_softcap; /* 0: none */
} pith__hyper;

typedef struct {         /* a feed-forward network: down(act(gate x) * up x) */
    pith__tensor gate, up; /* (n_ff, n_embd) */
    pith__tensor down;   /* (n_embd, n_ff) */
    const float *gate_bias, *up_bias, *down_bias; /* or NULL */
} pith__ffn;

typedef struct {         /* the weights of one block; NULL (or data NULL): this family has none */
    const float *attn_norm, *attn_post_norm, *ffn_norm, *ffn_post_norm; /* (n_embd) */
    const float *q_norm, *k_norm; /* (head_dim); qk_norm_whole: (n_head or n_kv_head, head_dim) */
    const float *q_bias, *k_bias, *v_bias, *o_bias;
    pith__tensor q, k, v; /* (n_head or n_kv_head * head_dim, n_embd) */
    pith__tensor o;      /* (n_embd, n_head * head_dim) */
    pith__tensor router; /* (n_expert, n_embd); none: the one network is dense */
    pith__ffn *ffn;      /* (1), or (n_expert) */
    int window;          /* tokens a token sees, itself among them; 0: all before it */
    int rope;            /* which set of angles: 0, or 1 (Gemma 3's local layers); -1: none */
} pith__layer;

typedef struct {         /* one set of rotation angles: pair i at position p turns by p * freq[i] */
    float *freq;         /* (n_rot / 2) */
    float *freq_long;    /* those of texts longer than n_ctx_original (longrope), or NULL */
    float mscale;        /* cosine and sine times this (YaRN, longrope), else 1 */
} pith__rope;

struct pith_model {
    pith__store store;
    pith__hyper hyper;
    pith_shape shape;
    pith__tensor embd;   /* (n_vocab, n_embd) */
    pith__tensor head;   /* (n_vocab, n_embd), often embd again */
    const float *out_norm; /* (n_embd) */
    pith__layer *layer;  /* (n_layer) */
    pith__rope rope[2];
    pith__tokenizer *tokenizer; /* NULL: tokens only */
    const pith__kernels *kernels;
    pith__kernels groups; /* what kernels points to for a llama2.c file of int8 */
    int n_threads;
    const char *chat_template; /* a name that overrides what the file says; the caller's, or NULL */
    int cache_format;    /* of sessions that do not say: F32 for llama2.c, else F16 */
    int n_ctx_original;  /* longrope: longer texts use freq_long */
};

/* A model of a store that is filled; takes the store over, whatever comes of it. */
PITH_SHARED pith_model *pith__model_of(pith__store *s, const pith_options *opt, pith_error *err);

/* ---- forward.c: tokens -> logits ------------------------------------------------------------------- */

/* What a block leaves behind for n tokens. Inference uses one layer's buffers again for the next
 * (stride 0); training keeps every layer's and walks them backwards (stride: the floats of a layer). */
typedef struct {
    float *x;            /* (n, n_embd) the residual stream as the block gets it */
    float *xn;           /* (n, n_embd) after attn_norm */
    float *q0, *k0;      /* q and k before their norms; the same as q and k where there are none */
    float *q;            /* (n, n_head, head_dim) after norm and rotation */
    float *k, *v;        /* (n, n_kv_head, head_dim) */
    float *mix;          /* (n, n_head, head_dim) the values that attention mixed */
    float *o;            /* (n, n_embd) mix through attn_output */
    float *y;            /* (n, n_embd) the stream after attention */
    float *yn;           /* (n, n_embd) after ffn_norm */
    float *gate, *up, *act; /* (rows, n_ff) both branches, and act(gate) * up; rows is n, or for experts */
    float *down;         /* (rows, n_embd)  n * n_expert_used, ordered by expert */
    float *pick;         /* (rows, n_embd) experts: their inputs, copied together */
    float *route;        /* (n, n_expert) experts: probability of each, 0 for those not used */
    float *f;            /* (n, n_embd) what the network adds to the stream, before any post-norm */
} pith__acts;

/* Guesses of the last pass: they are in the cache, and in tokens, from the position on. */
typedef struct {
    int most;            /* at once; 0: none are made */
    int trust;           /* how many to make next, fewer after wrong ones */
    int made, right;     /* in the last pass; made - right are still ahead of the position */
    float *logits;       /* (most + 1, n_vocab) after the token and each guess; memory of the caller */
    int n_pass, n_right; /* since pith_draft: passes of one token and its guesses; guesses taken */
} pith__draft;

struct pith_session {
    const pith_model *model;
    int n_ctx, n_batch;
    int position;        /* tokens evaluated */
    int written;         /* positions ever written since the cache was empty: rewinding leaves it */
    int turned_long;     /* 1: what is in the cache was turned by freq_long */
    pith_token *tokens;  /* (n_ctx) the text so far */
    float *logits;       /* (n_vocab) after the last token */
    float *probs;        /* (n_vocab) scratch of the sampler */
    int32_t *order;      /* (n_vocab) scratch of the sampler */
    const pith__format *k_format, *v_format;
    uint8_t **k, **v;    /* (n_layer) planes of the cache, see pith__attention */
    pith__draft draft;
    int n_slot, n_slot_window; /* positions held by layers that see everything, and by the others */
    float *tape;         /* activations, (n_layer + 1, stride) or one layer's */
    size_t stride;       /* 0, or floats from one layer to the next */
    float *streams;      /* (n_layer + 1, n_batch, n_embd) x of every layer, or NULL: x is on the tape */
    float *turn[2];      /* (n_batch, n_rot / 2, 2) cosine and sine of both sets of angles */
    pith__input in;      /* room for the rounded input of the widest matrix */
    pith__team team;
    void (*watch)(void *data, int l, const pith__acts *a, int n); /* after each block, or NULL */
    void *watch_data;
    void *memory;        /* to free, or NULL: the caller's */
};

/* Room for a session that keeps every layer's activations (keep 1) of up to n_batch tokens, or every
 * layer's x only (keep 2). */
PITH_SHARED pith_session *pith__session_new(const pith_model *m, const pith_context *c, int keep,
                                            pith_error *err);
PITH_SHARED size_t pith__session_bytes(const pith_model *m, const pith_context *c, int keep); /* or 0 */
PITH_SHARED pith__acts pith__acts_at(const pith_session *s, int l);
/* Lay out one layer's activations from tape on, and the floats they take; tape NULL: only these. */
PITH_SHARED size_t pith__acts_place(const pith_session *s, pith__acts *a, float *tape);
PITH_SHARED void pith__logits_of(pith_session *s, int t, int n, float *logits); /* rows t to t + n of the
                                                                    last batch: (n, n_vocab) */
PITH_SHARED void pith__run_block(pith_session *s, int l, int n); /* n tokens, from s->position on */
/* As pith_eval, and logits of all n tokens to (n, n_vocab). */
PITH_SHARED int pith__eval_all(pith_session *s, const pith_token *t, int n, float *logits,
                               pith_error *err);

/* ---- sampler.c: logits -> the next token ----------------------------------------------------------- */

PITH_SHARED float pith__random(uint64_t *state); /* llama2.c's generator: [0, 1), state not 0 */

#endif
