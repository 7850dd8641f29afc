/* save.c - weights and vocabulary -> files: GGUF, which runs here and in llama.cpp; llama2.c's.
 *
 * A checkpoint is a GGUF file too, of floats, with the optimiser's means beside each weight
 * (adam_m.NAME, adam_v.NAME) and keys that say how far training came: one file, so it is there
 * whole or not at all, and it runs like any other model.
 *
 * Each is written beside its name and renamed when it is whole (tools/cli.c), so the old file
 * stays until then, whatever happens. The formats are described where they are read:
 * formats/gguf.c and formats/llama2c.c. */
#include "../tools/tools.h"
#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- bytes ----------------------------------------------------------------------------------- */

typedef struct { /* the part of a GGUF file before the weights, as it grows */
    uint8_t *p;
    size_t n, room;
    uint64_t n_key;
    int failed;
} blob;

static void blob_put(blob *b, const void *p, size_t n) {
    if (b->failed || n == 0) return;
    if (n > b->room - b->n) {
        size_t room = 2 * (b->n + n);
        uint8_t *more = realloc(b->p, room);
        b->failed = !more;
        if (!more) return;
        b->p = more;
        b->room = room;
    }
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

/* n bytes of u, the lowest first. */
static void blob_number(blob *b, uint64_t u, int n) {
    uint8_t byte[8];
    for (int i = 0; i < n; i++) byte[i] = (uint8_t)(u >> 8 * i);
    blob_put(b, byte, (size_t)n);
}

static void blob_float(blob *b, float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    blob_number(b, u, 4);
}

static void blob_string(blob *b, pith__str s) {
    blob_number(b, s.n, 8);
    blob_put(b, s.p, s.n);
}

static void put_u32(output *o, uint32_t u) {
    uint8_t byte[4] = { (uint8_t)u, (uint8_t)(u >> 8), (uint8_t)(u >> 16), (uint8_t)(u >> 24) };
    output_bytes(o, byte, sizeof byte);
}

static void put_f32(output *o, float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    put_u32(o, u);
}

/* ---- keys of GGUF ---------------------------------------------------------------------------- */

enum { U32 = 4, I32 = 5, F32 = 6, BOOL = 7, STRING = 8, ARRAY = 9, I64 = 11 }; /* types of values */

static void put_key(blob *b, pith__str name, uint32_t type) {
    blob_string(b, name);
    blob_number(b, type, 4);
    b->n_key++;
}

static void put_int(blob *b, const char *name, int64_t i) {
    put_key(b, pith__str_of(name), U32);
    blob_number(b, (uint64_t)i, 4);
}

static void put_bool(blob *b, const char *name, int yes) {
    put_key(b, pith__str_of(name), BOOL);
    blob_number(b, yes != 0, 1);
}

static void put_string(blob *b, const char *name, pith__str s) {
    put_key(b, pith__str_of(name), STRING);
    blob_string(b, s);
}

static void put_array(blob *b, const char *name, uint32_t type, size_t n) {
    put_key(b, pith__str_of(name), ARRAY);
    blob_number(b, type, 4);
    blob_number(b, n, 8);
}

/* A key that was read. An array is there as the bytes it has in a file. */
static void put_known(blob *b, const pith__key *k) {
    uint32_t type = k->type == PITH__FLOAT ? F32 : k->type == PITH__BOOL ? BOOL
                  : k->type == PITH__STRING ? STRING : k->type == PITH__ARRAY ? ARRAY
                  : k->i >= 0 && k->i <= UINT32_MAX ? U32 : I64;
    put_key(b, k->name, type);
    if (type == F32) blob_float(b, (float)k->f);
    if (type == BOOL) blob_number(b, k->i != 0, 1);
    if (type == U32) blob_number(b, (uint64_t)k->i, 4);
    if (type == I64) blob_number(b, (uint64_t)k->i, 8);
    if (type == STRING) blob_string(b, k->s);
    if (type == ARRAY) {
        blob_number(b, (uint64_t)k->gguf_item, 4);
        blob_number(b, k->n, 8);
        blob_put(b, k->at.p, k->at.left);
    }
}

/* Keys that say how the file at hand is laid out, not what it holds. */
static int is_layout(pith__str name) {
    return pith__str_is(name, "general.alignment") || pith__str_is(name, "general.file_type") ||
           pith__str_is(name, "general.quantization_version") ||
           (name.n > 6 && !memcmp(name.p, "split.", 6));
}

/* ---- the vocabulary in GGUF ------------------------------------------------------------------ */

/* What kind of piece i is: tokenizer.bin does not say so of the first three. */
static int piece_type(const pith__vocab *v, int i) {
    if (v->spelling != PITH__RAW) return v->type[i];
    return i == v->unk ? PITH__UNKNOWN : i == v->bos || i == v->eos ? PITH__CONTROL : v->type[i];
}

static void put_piece(blob *b, const pith__vocab *v, int i) {
    pith__str s = v->piece[i];
    if (v->spelling != PITH__RAW) {
        blob_string(b, s);
        return;
    }
    int plain = piece_type(v, i) == PITH__NORMAL;
    while (!plain && s.n && *s.p == '\n') s.p++, s.n--; /* tokenizer.bin: "\n<s>\n" */
    while (!plain && s.n && s.p[s.n - 1] == '\n') s.n--;
    size_t spaces = 0;
    for (size_t k = 0; k < s.n; k++) spaces += s.p[k] == ' ';
    blob_number(b, s.n + 2 * spaces, 8);
    for (size_t k = 0; k < s.n; k++) {
        if (s.p[k] == ' ') blob_put(b, "\xe2\x96\x81", 3);
        else blob_put(b, s.p + k, 1);
    }
}

static void put_merges(blob *b, const pith__vocab *v) {
    put_array(b, "tokenizer.ggml.merges", STRING, (size_t)v->n_merge);
    for (int i = 0; i < v->n_merge; i++) {
        blob_number(b, v->left[i].n + 1 + v->right[i].n, 8);
        blob_put(b, v->left[i].p, v->left[i].n);
        blob_put(b, " ", 1);
        blob_put(b, v->right[i].p, v->right[i].n);
    }
}

static void put_vocab(blob *b, const pith__vocab *v) {
    size_t n = (size_t)v->n;
    int spm = v->model == PITH__SPM;
    put_string(b, "tokenizer.ggml.model", pith__str_of(spm ? "llama" : "gpt2"));
    if (!spm) put_string(b, "tokenizer.ggml.pre", v->pre);
    put_array(b, "tokenizer.ggml.tokens", STRING, n);
    for (int i = 0; i < v->n; i++) put_piece(b, v, i);
    put_array(b, "tokenizer.ggml.token_type", I32, n);
    for (int i = 0; i < v->n; i++) blob_number(b, (uint64_t)piece_type(v, i), 4);
    if (spm) put_array(b, "tokenizer.ggml.scores", F32, n);
    for (int i = 0; spm && i < v->n; i++) blob_float(b, v->score[i]);
    if (!spm) put_merges(b, v);
    if (v->bos >= 0) put_int(b, "tokenizer.ggml.bos_token_id", v->bos);
    if (v->eos >= 0) put_int(b, "tokenizer.ggml.eos_token_id", v->eos);
    for (int i = 0; i < v->n_end; i++) { /* what else ends a text; readers know of one */
        if (v->end[i] == v->eos) continue;
        put_int(b, "tokenizer.ggml.eot_token_id", v->end[i]);
        break;
    }
    if (v->unk >= 0) put_int(b, "tokenizer.ggml.unknown_token_id", v->unk);
    put_bool(b, "tokenizer.ggml.add_bos_token", v->add_bos);
    put_bool(b, "tokenizer.ggml.add_eos_token", v->add_eos);
    if (spm) put_bool(b, "tokenizer.ggml.add_space_prefix", v->add_space);
    if (v->chat_template.n) put_string(b, "tokenizer.chat_template", v->chat_template);
}

/* ---- GGUF ------------------------------------------------------------------------------------ */

enum { ALIGNMENT = 32 };

/* Vectors stay floats; rows that are no whole number of blocks become F16. */
static const pith__format *format_in_file(const pith__tensor *t, const pith__format *to) {
    if (t->n_dim < 2) return pith__format_of(PITH__F32);
    return t->cols % (size_t)to->length ? pith__format_of(PITH__F16) : to;
}

static uint64_t bytes_in_file(const pith__tensor *t, const pith__format *f) {
    uint64_t n = (uint64_t)t->rows * (t->cols / (size_t)f->length) * (uint64_t)f->bytes;
    return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void put_tensor_table(blob *b, const pith__tensor *tensor, size_t n,
                             const pith__format *to) {
    uint64_t offset = 0;
    for (size_t i = 0; i < n; i++) {
        const pith__tensor *t = &tensor[i];
        const pith__format *f = format_in_file(t, to);
        blob_string(b, t->name);
        blob_number(b, (uint64_t)t->n_dim, 4);
        for (int d = t->n_dim - 1; d >= 0; d--) blob_number(b, t->shape[d], 8);
        blob_number(b, (uint64_t)f->id, 4);
        blob_number(b, offset, 8);
        offset += bytes_in_file(t, f);
    }
}

static int put_tensor_data(output *o, const pith__tensor *t, const pith__format *f) {
    static const uint8_t zeros[ALIGNMENT] = { 0 };
    size_t bytes = t->cols / (size_t)f->length * (size_t)f->bytes;
    float *x = malloc(t->cols * sizeof *x);
    uint8_t *y = malloc(bytes);
    for (size_t r = 0; x && y && r < t->rows && !o->code; r++) {
        pith__row_floats(t, r, x);
        f->encode(y, x, t->cols);
        output_bytes(o, y, bytes);
    }
    output_bytes(o, zeros, (size_t)(bytes_in_file(t, f) - (uint64_t)t->rows * bytes));
    int code = x && y ? 0
                      : complain(FAILED, "%s: no memory to write '%.*s'", o->path, (int)t->name.n,
                                 t->name.p);
    free(x);
    free(y);
    return code;
}

static void put_keys(blob *b, const pith__store *s, const pith__format *to) {
    for (size_t i = 0; i < s->n_key; i++)
        if (!is_layout(s->key[i].name)) put_known(b, &s->key[i]);
    if (!pith__store_key(s, "tokenizer.ggml.model") && s->vocab.model != PITH__NONE)
        put_vocab(b, &s->vocab);
    int type = to->id == PITH__F16 ? 1 : to->id == PITH__Q8_0 ? 7 : 0;
    put_int(b, "general.file_type", type); /* llama.cpp's number for the most of the weights */
    put_int(b, "general.quantization_version", 2);
}

static int put_gguf(output *o, const pith__store *s, const pith__tensor *tensor, size_t n,
                    const pith__format *to) {
    static const uint8_t zeros[ALIGNMENT] = { 0 };
    blob head = { 0 }, body = { 0 };
    put_keys(&body, s, to);
    put_tensor_table(&body, tensor, n, to);
    blob_put(&head, "GGUF", 4);
    blob_number(&head, 3, 4);
    blob_number(&head, n, 8);
    blob_number(&head, body.n_key, 8);
    blob_put(&head, body.p, body.n);
    blob_put(&head, zeros, (ALIGNMENT - head.n % ALIGNMENT) % ALIGNMENT);
    int code =
        head.failed || body.failed ? complain(FAILED, "%s: no memory to write it", o->path) : 0;
    if (!code) output_bytes(o, head.p, head.n);
    free(head.p);
    free(body.p);
    for (size_t i = 0; !code && i < n; i++)
        code = put_tensor_data(o, &tensor[i], format_in_file(&tensor[i], to));
    return code;
}

/* A write that a signal or a reader who left cut short ends a text quietly, but a file is not there. */
static int close_saved(output *o, int code) {
    char path[512];
    snprintf(path, sizeof path, "%s", o->path ? o->path : "standard output");
    int closed = output_close(o, code == 0);
    if (!code && !closed && o->code) closed = complain(FAILED, "%s: was not written whole", path);
    return code ? code : closed;
}

int save_gguf(const pith__store *s, const pith__tensor *tensor, size_t n, const pith__format *to,
              const char *path) {
    const pith__vocab *v = &s->vocab;
    if (v->model == PITH__BPE && v->spelling != PITH__BYTE_LETTERS)
        return complain(BAD_DATA, "%s: GGUF has no place for merges of such a vocabulary", path);
    if (s->norm_plus_one || s->rope_half)
        return complain(BAD_DATA, "%s: GGUF wants these weights in another order", path);
    if (!to->encode) return complain(USAGE, "%s: %s cannot be written", path, to->name);
    output o;
    int code = output_open(&o, path, NULL);
    return code ? code : close_saved(&o, put_gguf(&o, s, tensor, n, to));
}

/* ---- llama2.c -------------------------------------------------------------------------------- */

static const pith__tensor *tensor_named(const pith__tensor *tensor, size_t n, const char *name,
                                        int l) {
    char full[64];
    snprintf(full, sizeof full, name, l);
    for (size_t i = 0; i < n; i++)
        if (pith__str_is(tensor[i].name, full)) return &tensor[i];
    return NULL;
}

/* llama2.c knows one family, with two numbers that never change. */
static int is_llama2c(const pith_model *m) {
    const pith__hyper *h = &m->hyper;
    int plain = !strcmp(h->arch, "llama") && h->head_dim * h->n_head == h->n_embd && !h->n_expert &&
                h->n_rot == h->head_dim && !h->rope_half && h->eps == 1e-5f &&
                m->rope[0].mscale == 1;
    for (int i = 0; plain && i < h->n_rot / 2; i++)
        plain = fabs(m->rope[0].freq[i] - pow(10000, -2.0 * i / h->n_rot)) < 1e-6;
    for (int l = 0; plain && l < h->n_layer; l++)
        plain = !m->layer[l].q_bias.floats && !m->layer[l].o_bias.floats && !m->layer[l].window;
    return plain;
}

static int put_floats(output *o, const pith__tensor *t) {
    float *x = malloc(t->cols * sizeof *x);
    if (!x) return complain(FAILED, "%s: no memory to write it", o->path);
    for (size_t r = 0; r < t->rows && !o->code; r++) {
        pith__row_floats(t, r, x);
        for (size_t i = 0; i < t->cols; i++) put_f32(o, x[i]);
    }
    free(x);
    return 0;
}

/* Cosines, then sines, of every position: nothing reads them, but they have their place. */
static void put_angles(output *o, const pith_model *m) {
    const pith__hyper *h = &m->hyper;
    for (int sine = 0; sine < 2; sine++)
        for (int p = 0; p < h->n_ctx; p++)
            for (int i = 0; i < h->head_dim / 2; i++) {
                double angle = p * m->rope[0].freq[i];
                put_f32(o, (float)(sine ? sin(angle) : cos(angle)));
            }
}

int save_llama2c(const pith_model *m, const pith__tensor *tensor, size_t n, const char *path) {
    static const char *const order[] = { "token_embd.weight",      "blk.%d.attn_norm.weight",
                                         "blk.%d.attn_q.weight",   "blk.%d.attn_k.weight",
                                         "blk.%d.attn_v.weight",   "blk.%d.attn_output.weight",
                                         "blk.%d.ffn_norm.weight", "blk.%d.ffn_gate.weight",
                                         "blk.%d.ffn_down.weight", "blk.%d.ffn_up.weight",
                                         "output_norm.weight" };
    const pith__hyper *h = &m->hyper;
    const pith__tensor *head = tensor_named(tensor, n, "output.weight", 0);
    if (!is_llama2c(m)) return complain(BAD_DATA, "%s: llama2.c has no such models", path);
    const int fields[] = { h->n_embd, h->n_ff, h->n_layer, h->n_head, h->n_kv_head,
                           head ? -h->n_vocab : h->n_vocab, h->n_ctx };
    output o;
    int code = output_open(&o, path, NULL);
    if (code) return code;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) put_u32(&o, (uint32_t)fields[i]);
    for (size_t i = 0; !code && i < sizeof order / sizeof *order; i++)
        for (int l = 0; !code && l < (strchr(order[i], '%') ? h->n_layer : 1); l++) {
            const pith__tensor *t = tensor_named(tensor, n, order[i], l);
            code = t ? put_floats(&o, t)
                     : complain(FAILED, "%s: no tensor %s to write", path, order[i]);
        }
    put_angles(&o, m);
    if (head && !code) code = put_floats(&o, head);
    return close_saved(&o, code);
}

/* ---- tokenizer.bin --------------------------------------------------------------------------- */

/* The piece as tokenizer.bin spells it, in room for s.n + 2 bytes. */
static size_t raw_piece(const pith__vocab *v, int i, char *out) {
    pith__str s = v->piece[i];
    size_t n = 0;
    int framed = piece_type(v, i) == PITH__CONTROL && s.n && *s.p != '\n'; /* "\n<s>\n" */
    if (framed) out[n++] = '\n';
    for (size_t k = 0; k < s.n; k++) {
        int block =
            v->spelling == PITH__BLOCK_SPACE && s.n - k >= 3 && !memcmp(s.p + k, "\xe2\x96\x81", 3);
        out[n++] = block ? ' ' : s.p[k];
        if (block) k += 2;
    }
    if (framed) out[n++] = '\n';
    return n;
}

int save_tokenizer(const pith__vocab *v, const char *path) {
    size_t longest = 0, room = 0;
    output o;
    if (v->model != PITH__SPM)
        return complain(BAD_DATA, "%s: tokenizer.bin has no place for merges, need a .gguf", path);
    for (int i = 0; i < v->n; i++)
        if (v->piece[i].n + 2 > room) room = v->piece[i].n + 2;
    char *piece = malloc(room);
    if (!piece) return complain(FAILED, "%s: no memory to write it", path);
    int code = output_open(&o, path, NULL);
    for (int pass = 0; !code && pass < 2; pass++) {
        if (pass) put_u32(&o, (uint32_t)longest);
        for (int i = 0; i < v->n; i++) {
            size_t n = raw_piece(v, i, piece);
            if (n > longest) longest = n;
            if (!pass) continue;
            put_f32(&o, v->score[i]);
            put_u32(&o, (uint32_t)n);
            output_bytes(&o, piece, n);
        }
    }
    free(piece);
    return code ? code : close_saved(&o, 0);
}

/* ---- checkpoints ----------------------------------------------------------------------------- */

enum { MARKS = 4 }; /* the keys of a checkpoint, in the order of train_mark's members */
static const char *const marks[MARKS] = { "pith.train.step", "pith.train.seed", "pith.train.batch",
                                          "pith.train.texts" };
static const char squares[] = "adam_v."; /* means of squares are never negative */

/* The tensor called BEGIN and NAME, of floats x, as parameter q is shaped. */
static pith__tensor float_tensor(pith__arena *a, const pith__param *q, const char *begin,
                                 const float *x) {
    pith__tensor t = *q->tensor;
    size_t n = strlen(begin);
    char *name = n ? pith__arena_new(a, n + t.name.n, 1) : NULL;
    t.format = pith__format_of(PITH__F32);
    t.row_bytes = t.cols * sizeof *x;
    t.data = (const uint8_t *)x;
    t.scale = NULL;
    if (name) {
        memcpy(name, begin, n);
        memcpy(name + n, t.name.p, t.name.n);
        t.name = (pith__str){ name, n + t.name.n };
    } else if (n) {
        t.data = NULL; /* no memory */
    }
    return t;
}

pith__tensor *learned_tensors(const pith__params *p, pith__arena *a) {
    pith__tensor *t = pith__arena_new(a, p->n_param, sizeof *t);
    for (size_t i = 0; t && i < p->n_param; i++)
        t[i] = float_tensor(a, &p->param[i], "", p->param[i].w);
    return t;
}

int save_checkpoint(const pith_model *m, const pith__params *p, const pith__adamw *adam,
                    const train_mark *mark, const char *path) {
    const int64_t value[MARKS] = { mark->step, mark->seed, mark->batch, mark->texts };
    size_t n = p->n_param, n_key = m->store.n_key;
    pith__arena a = { NULL, 0 };
    pith__store s = m->store;
    s.key = pith__arena_new(&a, n_key + MARKS, sizeof *s.key);
    pith__tensor *t = pith__arena_new(&a, 3 * n, sizeof *t);
    int failed = !s.key || !t;
    for (size_t i = 0; i < n && !failed; i++) {
        const pith__param *q = &p->param[i];
        size_t at = (size_t)(q->g - p->g);
        t[i] = float_tensor(&a, q, "", q->w);
        t[n + i] = float_tensor(&a, q, "adam_m.", adam->m + at);
        t[2 * n + i] = float_tensor(&a, q, squares, adam->v + at);
        failed = !t[n + i].data || !t[2 * n + i].data;
    }
    if (!failed) memcpy(s.key, m->store.key, n_key * sizeof *s.key);
    for (size_t i = 0; i < MARKS && !failed; i++)
        s.key[n_key + i] =
            (pith__key){ .name = pith__str_of(marks[i]), .type = PITH__INT, .i = value[i] };
    s.n_key = n_key + MARKS;
    int code = failed ? complain(FAILED, "%s: no memory to write it", path)
                      : save_gguf(&s, t, 3 * n, pith__format_of(PITH__F32), path);
    pith__arena_free(&a);
    return code;
}

/* The floats of tensor BEGIN and NAME of a checkpoint into x, which is shaped as the model's tensor
 * like. */
static int load_floats(const pith__store *s, const char *begin, const pith__tensor *like,
                       float *x) {
    char name[128];
    snprintf(name, sizeof name, "%s%.*s", begin, (int)like->name.n, like->name.p);
    const pith__tensor *t = pith__store_tensor(s, name);
    if (!t) return complain(BAD_DATA, "%s: no tensor '%s'", s->path, name);
    if (t->rows != like->rows || t->cols != like->cols)
        return complain(BAD_DATA, "%s: tensor '%s' is %zu x %zu, need %zu x %zu", s->path, name,
                        t->rows, t->cols, like->rows, like->cols);
    for (size_t r = 0; r < t->rows; r++) pith__row_floats(t, r, x + r * t->cols);
    for (size_t i = 0; i < t->rows * t->cols; i++)
        if (!isfinite(x[i]) || (x[i] < 0 && *begin && !strcmp(begin, squares)))
            return complain(BAD_DATA, "%s: number %zu of tensor '%s' is %g", s->path, i, name,
                            (double)x[i]);
    return 0;
}

int load_checkpoint(const pith__store *s, pith__params *p, pith__adamw *adam, train_mark *mark) {
    int64_t *const to[MARKS] = { &mark->step, &mark->seed, &mark->batch, &mark->texts };
    for (size_t i = 0; i < MARKS; i++) {
        const pith__key *k = pith__store_key(s, marks[i]);
        if (!k || k->type != PITH__INT)
            return complain(BAD_DATA, "%s: is no checkpoint: no key '%s'", s->path, marks[i]);
        *to[i] = k->i;
    }
    if (mark->step < 0)
        return complain(BAD_DATA, "%s: its step is %lld", s->path, (long long)mark->step);
    int code = 0;
    for (size_t i = 0; i < p->n_param && !code; i++) {
        const pith__param *q = &p->param[i];
        size_t at = (size_t)(q->g - p->g);
        code = load_floats(s, "", q->tensor, q->w);
        if (!code) code = load_floats(s, "adam_m.", q->tensor, adam->m + at);
        if (!code) code = load_floats(s, squares, q->tensor, adam->v + at);
    }
    adam->step = mark->step;
    return code;
}
