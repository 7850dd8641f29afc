/* llama2c.c - checkpoints and tokenizer.bin of llama2.c (github.com/karpathy/llama2.c, export.py).
 *
 * version 0   seven int32, then float32 weights. A negative vocabulary size says that the output matrix
 *             is stored apart. Two tables of rotation angles stand before it; nothing reads them.
 * version 1   magic "ak42", version, the seven int32, one byte (1: the output matrix is the embedding),
 *             zeros up to byte 256; float32 weights, the norms first.
 * version 2   the same with int32 group_size at byte 37, unaligned; matrices are int8, all integers of
 *             a tensor, then a float32 scale for each group of them.
 *
 * The order of the tensors is all that differs, so each version is a list of them. */
#include "formats.h"

#include <stdio.h>
#include <string.h>

enum { L2C_MAGIC = 0x616b3432, L2C_HEADER = 256 };
enum { L2C_LAYERS = 65536, L2C_PIECE = 65535 }; /* more, or a longer piece, nobody means */

typedef struct {
    int64_t dim, hidden, layers, heads, kv_heads, vocab, context; /* as they stand in the file */
    int version, shared;
    int64_t group;
} header;

/* ---- header ---------------------------------------------------------------------------------------- */

static int l2c_fail(pith_error *err, const char *path, const char *name, int64_t v,
                      const char *need) {
    return pith__fail(err, PITH_EFORMAT, "%s: %s is %lld, need %s (is it a model file?)", path, name,
                      (long long)v, need);
}

static int l2c_check(const header *h, const char *path, pith_error *err) {
    const struct { const char *name; int64_t v; } at_least_one[] = {
        { "dim", h->dim }, { "hidden_dim", h->hidden }, { "n_layers", h->layers },
        { "n_heads", h->heads }, { "n_kv_heads", h->kv_heads }, { "vocab_size", h->vocab },
        { "seq_len", h->context }
    };
    for (size_t i = 0; i < sizeof at_least_one / sizeof *at_least_one; i++)
        if (at_least_one[i].v < 1)
            return l2c_fail(err, path, at_least_one[i].name, at_least_one[i].v, "1 or more");
    if (h->layers > L2C_LAYERS) return l2c_fail(err, path, "n_layers", h->layers, "up to 65536");
    if (h->dim % h->heads) return l2c_fail(err, path, "n_heads", h->heads, "a divisor of dim");
    if (h->heads % h->kv_heads)
        return l2c_fail(err, path, "n_kv_heads", h->kv_heads, "a divisor of n_heads");
    if (h->dim / h->heads % 2)
        return l2c_fail(err, path, "head size", h->dim / h->heads, "an even number");
    if (h->version == 2 && (h->group < 1 || h->dim % h->group || h->hidden % h->group))
        return l2c_fail(err, path, "group_size", h->group, "a divisor of dim and hidden_dim");
    return PITH_OK;
}

static int64_t l2c_int(pith__cursor *c) { return (int32_t)pith__u32(c); }

static int read_header(header *h, pith__cursor *c, const char *path, pith_error *err) {
    pith__cursor whole = *c;
    memset(h, 0, sizeof *h);
    if (pith__u32(&whole) == L2C_MAGIC) {
        *c = whole;
        int64_t version = l2c_int(c);
        if (version != 1 && version != 2) return l2c_fail(err, path, "version", version, "1 or 2");
        h->version = (int)version;
    }
    h->dim = l2c_int(c), h->hidden = l2c_int(c), h->layers = l2c_int(c), h->heads = l2c_int(c);
    h->kv_heads = l2c_int(c), h->vocab = l2c_int(c), h->context = l2c_int(c);
    if (h->version == 0) {
        h->shared = h->vocab > 0;
        if (h->vocab < 0) h->vocab = -h->vocab;
    } else {
        h->shared = pith__u8(c) != 0;
        h->group = h->version == 2 ? l2c_int(c) : 0;
        pith__take(c, h->version == 2 ? L2C_HEADER - 41 : L2C_HEADER - 37);
    }
    if (c->bad)
        return pith__fail(err, PITH_EFORMAT, "%s: ends inside its header (is it a model file?)", path);
    return l2c_check(h, path, err);
}

/* ---- tensors --------------------------------------------------------------------------------------- */

PITH_SHARED const pith__l2c_tensor pith__l2c_order[PITH__L2C_TENSORS] = {
    { "token_embd.weight", 0, 'v', 'd' },  { "attn_norm.weight", 1, '1', 'd' },
    { "attn_q.weight", 1, 'd', 'd' },      { "attn_k.weight", 1, 'k', 'd' },
    { "attn_v.weight", 1, 'k', 'd' },      { "attn_output.weight", 1, 'd', 'd' },
    { "ffn_norm.weight", 1, '1', 'd' },    { "ffn_gate.weight", 1, 'h', 'd' },
    { "ffn_down.weight", 1, 'd', 'h' },    { "ffn_up.weight", 1, 'h', 'd' },
    { "output_norm.weight", 0, '1', 'd' }, { NULL, 0, 'c', 's' }, /* cosines and sines, half each */
    { "output.weight", 0, 'v', 'd' },
};

static const pith__l2c_tensor order_v1[] = { /* and version 2 */
    { "attn_norm.weight", 1, '1', 'd' },   { "ffn_norm.weight", 1, '1', 'd' },
    { "output_norm.weight", 0, '1', 'd' }, { "token_embd.weight", 0, 'v', 'd' },
    { "attn_q.weight", 1, 'd', 'd' },      { "attn_k.weight", 1, 'k', 'd' },
    { "attn_v.weight", 1, 'k', 'd' },      { "attn_output.weight", 1, 'd', 'd' },
    { "ffn_gate.weight", 1, 'h', 'd' },    { "ffn_down.weight", 1, 'd', 'h' },
    { "ffn_up.weight", 1, 'h', 'd' },      { "output.weight", 0, 'v', 'd' },
};

static uint64_t l2c_size(const header *h, char letter) {
    int64_t head = h->dim / h->heads;
    switch (letter) {
    case 'v': return (uint64_t)h->vocab;
    case 'd': return (uint64_t)h->dim;
    case 'h': return (uint64_t)h->hidden;
    case 'k': return (uint64_t)(head * h->kv_heads);
    case 'c': return (uint64_t)h->context;
    case 's': return (uint64_t)head;
    default: return 1;
    }
}

/* One tensor from the cursor. */
static int take_tensor(pith__store *s, const header *h, pith__cursor *c, const pith__l2c_tensor *k, int64_t l,
                       pith_error *err) {
    uint64_t shape[2] = { l2c_size(h, k->rows), l2c_size(h, k->cols) };
    if (!k->name) { /* the angles: nobody reads them, and where nothing follows they may be missing */
        size_t n;
        if (pith__mul(&n, (size_t)shape[0], (size_t)shape[1]) || pith__mul(&n, n, sizeof(float)))
            n = SIZE_MAX;
        if (!h->shared) pith__take(c, n);
        return PITH_OK;
    }
    char text[64] = "";
    if (k->per_layer) snprintf(text, sizeof text, "blk.%lld.", (long long)l);
    strcat(text, k->name);
    size_t len = strlen(text);
    char *name = pith__arena_new(&s->arena, len + 1, 1);
    if (!name) return pith__fail(err, PITH_EMEMORY, "%s: no memory", s->path);
    memcpy(name, text, len);

    int vector = k->rows == '1', integers = h->version == 2 && !vector;
    pith__tensor *t = &s->tensor[s->n_tensor];
    pith__str view = { name, len };
    *t = (pith__tensor){ .name = view, .n_dim = vector ? 1 : 2, .shape = { shape[vector], shape[1] } };
    int code = pith__tensor_set(t, s, integers ? PITH__I8 : PITH__F32, *c, err);
    if (code) return code;
    pith__take(c, t->rows * t->row_bytes);
    if (integers) {
        t->group = (size_t)h->group;
        t->scale = pith__take(c, t->rows * (t->cols / t->group) * sizeof(float));
    }
    s->n_tensor++;
    return PITH_OK;
}

/* Refuse what cannot be true before memory is taken for it: a layer has more than 4 dim weights. */
static int l2c_check_layers(const header *h, size_t size, const char *path, pith_error *err) {
    if ((uint64_t)h->layers > size / 4 / (uint64_t)h->dim)
        return pith__fail(err, PITH_EFORMAT, "%s: n_layers is %lld, more than its %zu bytes can hold",
                          path, (long long)h->layers, size);
    return PITH_OK;
}

static int read_tensors(pith__store *s, const header *h, pith__cursor *c, pith_error *err) {
    const pith__l2c_tensor *order = h->version == 0 ? pith__l2c_order : order_v1;
    size_t n = h->version == 0 ? PITH__L2C_TENSORS : sizeof order_v1 / sizeof *order;
    s->tensor = pith__arena_new(&s->arena, 4 + 9 * (size_t)h->layers, sizeof *s->tensor);
    if (!s->tensor) return pith__fail(err, PITH_EMEMORY, "%s: no memory", s->path);
    for (const pith__l2c_tensor *k = order; k < order + n; k++) {
        if (h->shared && k->name && !strcmp(k->name, "output.weight")) continue;
        for (int64_t l = 0; l < (k->per_layer ? h->layers : 1); l++) {
            int code = take_tensor(s, h, c, k, l, err);
            if (code) return code;
        }
    }
    if (c->bad)
        return pith__fail(err, PITH_EFORMAT, "%s: ends before its last tensor", s->path);
    return PITH_OK;
}

/* ---- tokenizer.bin --------------------------------------------------------------------------------- */

static int is_byte_piece(pith__str p) { /* "<0x0A>" */
    return p.n == 6 && memcmp(p.p, "<0x", 3) == 0 && p.p[5] == '>';
}

/* int32 longest piece, then for each piece float32 score, int32 length, the bytes. Returns the number of
 * pieces, 0: it is something else. None is empty, or a file of zeros would be one. */
static int count_pieces(const pith__file *f) {
    pith__cursor c = { f->data, f->size, 0 };
    int n = 0;
    pith__u32(&c);
    for (; !c.bad && c.left && n < INT32_MAX; n++) {
        pith__f32(&c);
        int64_t len = l2c_int(&c);
        if (len < 1 || len > L2C_PIECE) return 0;
        pith__take(&c, (uint64_t)len);
    }
    return c.bad || c.left ? 0 : n;
}

PITH_SHARED int pith__tokenizer_is(const pith__file *f) { return f->data && count_pieces(f) > 0; }

/* A vocabulary of n pieces from file f. */
static int read_vocab(pith__store *s, const pith__file *f, int n, const char *path, pith_error *err) {
    pith__cursor c = { f->data, f->size, 0 };
    pith__vocab *v = &s->vocab;
    if ((size_t)n > c.left / 8)
        return pith__fail(err, PITH_EFORMAT, "%s: has %zu bytes, too few for a vocabulary of %d",
                          path, c.left, n);
    v->piece = pith__arena_new(&s->arena, (size_t)n, sizeof *v->piece);
    v->score = pith__arena_new(&s->arena, (size_t)n, sizeof *v->score);
    v->type = pith__arena_new(&s->arena, (size_t)n, sizeof *v->type);
    if (!v->piece || !v->score || !v->type)
        return pith__fail(err, PITH_EMEMORY, "%s: no memory for %d pieces", path, n);
    pith__u32(&c);
    int empty = 0;
    for (int i = 0; i < n; i++) {
        v->score[i] = pith__f32(&c);
        int64_t len = l2c_int(&c);
        empty += len == 0;
        if (c.bad || len < 0 || len > L2C_PIECE || (uint64_t)len > c.left)
            return pith__fail(err, PITH_EFORMAT, "%s: piece %d of %d has length %lld, need up to %d "
                              "(%zu bytes left)", path, i, n, (long long)len, L2C_PIECE, c.left);
        v->piece[i].n = (size_t)len;
        v->piece[i].p = (const char *)pith__take(&c, (uint64_t)len);
        v->type[i] = is_byte_piece(v->piece[i]) ? PITH__BYTE : PITH__NORMAL;
    }
    if (c.left || empty == n)
        return pith__fail(err, PITH_EFORMAT, c.left ? "%s: has more than the model's %d pieces"
                                                    : "%s: has %d pieces, all empty", path, n);
    v->model = PITH__SPM;
    v->spelling = PITH__RAW;
    v->n = n;
    v->unk = 0, v->bos = 1, v->eos = 2, v->mask = -1;
    v->end[v->n_end++] = 1; /* llama2.c's texts are separated by BOS, and end there */
    v->add_bos = v->add_space = v->byte_fallback = 1;
    return PITH_OK;
}

PITH_SHARED int pith__tokenizer_read(pith__store *s, pith_error *err) {
    s->kind = "llama2.c tokenizer.bin";
    return read_vocab(s, s->file, count_pieces(s->file), s->path, err);
}

/* ---- all of it ------------------------------------------------------------------------------------- */

static int add_keys(pith__store *s, const header *h) {
    return pith__store_add_string(s, "general.architecture", "llama") ||
           pith__store_add_int(s, "llama.block_count", h->layers) ||
           pith__store_add_int(s, "llama.embedding_length", h->dim) ||
           pith__store_add_int(s, "llama.feed_forward_length", h->hidden) ||
           pith__store_add_int(s, "llama.attention.head_count", h->heads) ||
           pith__store_add_int(s, "llama.attention.head_count_kv", h->kv_heads) ||
           pith__store_add_int(s, "llama.context_length", h->context) ||
           pith__store_add_float(s, "llama.attention.layer_norm_rms_epsilon", 1e-5f) ||
           pith__store_add_float(s, "llama.rope.freq_base", 10000);
}

PITH_SHARED int pith__llama2c_read(pith__store *s, const char *tokenizer, pith_error *err) {
    pith__cursor c = { s->file[0].data, s->file[0].size, 0 };
    header h;
    int code = read_header(&h, &c, s->path, err);
    if (!code) code = l2c_check_layers(&h, s->file[0].size, s->path, err);
    if (!code) code = read_tensors(s, &h, &c, err);
    if (code) return code;
    static const char *const names[] = { "llama2.c version 0", "llama2.c version 1",
                                         "llama2.c version 2" };
    s->kind = names[h.version];
    s->llama2c = 1;
    if (add_keys(s, &h)) return pith__fail(err, PITH_EMEMORY, "%s: no memory", s->path);
    if (!tokenizer) return PITH_OK;
    code = pith__file_open(&s->file[1], tokenizer, s->file[0].mapped == 0, err); /* as the model */
    if (code) return code;
    s->n_file = 2;
    return read_vocab(s, &s->file[1], (int)h.vocab, tokenizer, err);
}
