/* write.c - a store's keys, vocabulary and tensors -> files: GGUF, which runs here and in llama.cpp;
 * llama2.c's checkpoint and tokenizer.bin.
 *
 * Each is written beside its name and renamed when it is whole (base/os.c), so the old file stays until
 * then, whatever happens. The formats are described where they are read: gguf.c and llama2c.c. */
#include "formats.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
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

static void put_u32(pith__writer *w, uint32_t u) {
    uint8_t byte[4] = { (uint8_t)u, (uint8_t)(u >> 8), (uint8_t)(u >> 16), (uint8_t)(u >> 24) };
    pith__writer_put(w, byte, sizeof byte);
}

static void put_f32(pith__writer *w, float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    put_u32(w, u);
}

/* ---- keys of GGUF ---------------------------------------------------------------------------- */

enum { U8 = 0, U16 = 2, U32 = 4, I32 = 5, F32 = 6, BOOL = 7, STRING = 8, ARRAY = 9, I64 = 11, F64 = 12 }; /* types of values */

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

/* A key that was read, of the type it had. An array is there as the bytes it has in a file. */
static void put_known(blob *b, const pith__key *k) {
    static const int bytes[] = { 1, 1, 2, 2, 4, 4, 0, 1, 0, 0, 8, 8, 0 }; /* of the whole numbers among the types */
    uint32_t type = k->gguf_type ? (uint32_t)k->gguf_type - 1 : k->type == PITH__FLOAT ? F32 : k->type == PITH__BOOL ? BOOL
                  : k->type == PITH__STRING ? STRING : k->type == PITH__ARRAY ? ARRAY
                  : k->i >= 0 && k->i <= UINT32_MAX ? U32 : I64;
    uint64_t u;
    memcpy(&u, &k->f, sizeof u);
    put_key(b, k->name, type);
    if (type == F32) blob_float(b, (float)k->f);
    if (type == F64) blob_number(b, u, 8);
    if (type == STRING) blob_string(b, k->s);
    blob_number(b, (uint64_t)k->i, bytes[type]);
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
    if ((v->model == PITH__UNIGRAM || v->model == PITH__SPM) && i == v->unk) return PITH__UNKNOWN;
    if (v->spelling != PITH__RAW || v->model == PITH__WORDPIECE) return v->type[i];
    return i == v->unk ? PITH__UNKNOWN : i == v->bos || i == v->eos ? PITH__CONTROL : v->type[i];
}

/* WordPiece in GGUF: U+2581 before a piece that begins a word, and nothing before one that goes on. */
static void put_words_piece(blob *b, const pith__vocab *v, int i) {
    pith__str s = v->piece[i], inside = v->bert.inside;
    int plain = v->type[i] == PITH__NORMAL && s.n;
    int goes_on = plain && inside.n && s.n >= inside.n && !memcmp(s.p, inside.p, inside.n);
    size_t cut = goes_on ? inside.n : 0, before = plain && !goes_on ? 3 : 0;
    blob_number(b, before + s.n - cut, 8);
    blob_put(b, PITH__METASPACE_UTF8, before);
    blob_put(b, s.p + cut, s.n - cut);
}

static void put_piece(blob *b, const pith__vocab *v, int i) {
    pith__str s = v->piece[i];
    if (v->model == PITH__WORDPIECE) {
        put_words_piece(b, v, i);
        return;
    }
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

/* For the flags of the normalizer GGUF has no keys. */
static void put_bert(blob *b, const pith__bert *how) {
    put_int(b, "pith.bert_normalizer", how->clean | how->chinese << 1 | how->strip << 2 | how->lower << 3);
    put_int(b, "pith.longest_word", how->longest);
}

/* What an encoder reads around a pair: a token more than EOS between the texts is the separator. */
static void put_encoder(blob *b, const pith__vocab *v) {
    int types = 1, between = 0, sep = v->eos, inside = 0;
    for (int i = 0; i < v->n_pair; i++) {
        int id = v->pair[i].id;
        if (v->pair[i].type >= types) types = v->pair[i].type + 1;
        if (id == PITH__FIRST_TEXT || id == PITH__SECOND_TEXT) inside = id == PITH__FIRST_TEXT;
        else if (inside) between++, sep = id;
    }
    put_int(b, "tokenizer.ggml.token_type_count", types);
    if (sep >= 0) put_int(b, "tokenizer.ggml.seperator_token_id", sep);
    if (v->mask >= 0) put_int(b, "tokenizer.ggml.mask_token_id", v->mask);
    put_bool(b, "tokenizer.ggml.add_sep_token", between > v->add_eos);
}

/* Of a tokenizer.json: scores, and how text is rewritten. SentencePiece's keys say it as well as they can, pith's own say it
 * all. (What was read from a GGUF file keeps its keys.) */
static void put_unigram(blob *b, const pith__vocab *v) {
    int squeezed = v->split_white, has_map = 0;
    put_array(b, "tokenizer.ggml.scores", F32, (size_t)v->n);
    for (int i = 0; i < v->n; i++) blob_float(b, v->score[i]);
    for (int i = 0; i < v->n_rewrite; i++) {
        const pith__rewrite *step = &v->rewrite[i];
        squeezed |= step->kind == PITH__SQUEEZE || step->kind == PITH__TRIM;
        if (step->kind > PITH__MAP_LONGEST || has_map++) continue;
        put_array(b, "tokenizer.ggml.precompiled_charsmap", U8, step->find.n);
        blob_put(b, step->find.p, step->find.n);
    }
    put_bool(b, "tokenizer.ggml.remove_extra_whitespaces", squeezed);
    int exact = 1; /* in floats, as SentencePiece's scores are */
    for (int i = 0; i < v->n && v->log_prob; i++) exact &= v->log_prob[i] == v->score[i];
    if (!exact) put_array(b, "pith.scores", F64, (size_t)v->n);
    for (int i = 0; i < v->n && !exact; i++) {
        uint64_t bits;
        memcpy(&bits, &v->log_prob[i], sizeof bits);
        blob_number(b, bits, 8);
    }
    if (!v->log_prob) return; /* SentencePiece's own */
    put_array(b, "pith.rewrite", STRING, 3 * (size_t)v->n_rewrite);
    for (int i = 0; i < v->n_rewrite; i++) {
        const pith__rewrite *step = &v->rewrite[i];
        blob_string(b, pith__str_of(pith__rewrite_name(step->kind)));
        blob_string(b, step->kind > PITH__MAP_LONGEST ? step->find : (pith__str){ "", 0 });
        blob_string(b, step->put);
    }
    put_bool(b, "pith.split_white", v->split_white);
    put_bool(b, "pith.split_words", v->split_words);
}

static void put_vocab(blob *b, const pith__vocab *v) {
    size_t n = (size_t)v->n;
    int spm = v->model == PITH__SPM, words = v->model == PITH__WORDPIECE, unigram = v->model == PITH__UNIGRAM;
    int gemma4 = v->model == PITH__BPE && v->spelling == PITH__METASPACE;
    put_string(b, "tokenizer.ggml.model", pith__str_of(spm ? "llama" : words ? "bert" : unigram ? "t5" : gemma4 ? "gemma4" : "gpt2"));
    if (!spm && !gemma4) put_string(b, "tokenizer.ggml.pre", words || unigram ? pith__str_of("default") : v->pre);
    put_array(b, "tokenizer.ggml.tokens", STRING, n);
    for (int i = 0; i < v->n; i++) put_piece(b, v, i);
    put_array(b, "tokenizer.ggml.token_type", I32, n);
    for (int i = 0; i < v->n; i++) blob_number(b, (uint64_t)piece_type(v, i), 4);
    if (spm) put_array(b, "tokenizer.ggml.scores", F32, n);
    for (int i = 0; spm && i < v->n; i++) blob_float(b, v->score[i]);
    if (unigram) put_unigram(b, v);
    else if (!spm && !words) put_merges(b, v);
    if (words) put_bert(b, &v->bert);
    if (words || v->mask >= 0) put_encoder(b, v);
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
    if (spm || unigram) put_bool(b, "tokenizer.ggml.add_space_prefix", v->add_space);
    if (v->add_space > PITH__SPACE_ALWAYS) put_int(b, "pith.space_prefix", v->add_space); /* for which GGUF has no key */
    if (v->nfc) put_string(b, "pith.normalizer", pith__str_of("NFC"));
    if (v->chat_template.n) put_string(b, "tokenizer.chat_template", v->chat_template);
    if (v->tool_template.n) put_string(b, "tokenizer.chat_template.tool_use", v->tool_template);
}

/* ---- GGUF ------------------------------------------------------------------------------------ */

enum { ALIGNMENT = 32 };

/* The few numbers of a convolution, which llama.cpp wants as floats. */
static int is_convolution(pith__str name) {
    return pith__name_ends(name, "conv.weight") || pith__name_ends(name, "conv1d.weight"); /* LFM2's; Qwen3.5's */
}

/* Vectors stay floats; rows that are no whole number of blocks become F16. */
PITH_SHARED const pith__format *pith__gguf_format(const pith__tensor *t, const pith__format *to) {
    if (t->n_dim < 2 || is_convolution(t->name)) return pith__format_of(PITH__F32);
    return t->cols % (size_t)to->length ? pith__format_of(PITH__F16) : to;
}

static size_t out_row_bytes(const pith__out *o) {
    return o->tensor->cols / (size_t)o->to->length * (size_t)o->to->bytes;
}

PITH_SHARED size_t pith__out_bytes(const pith__out *o) { return o->tensor->rows * out_row_bytes(o); }

static uint64_t bytes_in_file(const pith__out *o) {
    return (pith__out_bytes(o) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void put_tensor_table(blob *b, const pith__out *out, size_t n) {
    uint64_t offset = 0;
    for (size_t i = 0; i < n; i++) {
        const pith__tensor *t = out[i].tensor;
        blob_string(b, t->name);
        blob_number(b, (uint64_t)t->n_dim, 4);
        for (int d = t->n_dim - 1; d >= 0; d--) blob_number(b, t->shape[d], 8);
        blob_number(b, (uint64_t)out[i].to->id, 4);
        blob_number(b, offset, 8);
        offset += bytes_in_file(&out[i]);
    }
}

static int encode_rows(const pith__out *o, size_t r, size_t n, uint8_t *y) {
    float *x = malloc(o->tensor->cols * sizeof *x);
    for (size_t i = 0; x && i < n; i++, y += out_row_bytes(o)) {
        if (o->tensor->format == o->to) {
            pith__row_blocks(o->tensor, r + i, y);
            continue;
        }
        pith__row_floats(o->tensor, r + i, x);
        o->to->encode(y, x, o->tensor->cols, NULL);
    }
    free(x);
    return x ? PITH_OK : PITH_EMEMORY;
}

/* Some rows at a time, so that memory is bounded. */
PITH_SHARED int pith__out_put(pith__writer *w, const pith__out *o, pith_error *err) {
    enum { AT_ONCE = 1 << 20 }; /* bytes */
    const pith__tensor *t = o->tensor;
    size_t bytes = out_row_bytes(o), most = bytes < AT_ONCE ? AT_ONCE / bytes : 1;
    if (!o->rows && t->format == o->to && !t->scale) { /* as it is */
        pith__writer_put(w, t->data, t->rows * bytes);
        return PITH_OK;
    }
    if (most > t->rows) most = t->rows;
    uint8_t *y = malloc(most * bytes);
    int code = y ? PITH_OK : PITH_EMEMORY;
    for (size_t r = 0, n; r < t->rows && !code && !w->failed; r += n) {
        n = t->rows - r < most ? t->rows - r : most;
        code = o->rows ? o->rows(o->data, r, n, y) : encode_rows(o, r, n, y);
        if (!code) pith__writer_put(w, y, n * bytes);
    }
    free(y);
    if (code == PITH_EMEMORY)
        pith__fail(err, code, "%s: no memory to write '%.*s'", w->path, (int)t->name.n, t->name.p);
    return code;
}

/* llama.cpp's number for the format that most of the weights have. */
static int file_type(const pith__out *out, size_t n) {
    static const struct { int id, type; } known[] = {
        { PITH__F32, 0 }, { PITH__F16, 1 }, { PITH__Q4_0, 2 }, { PITH__Q4_1, 3 }, { PITH__Q8_0, 7 }, { PITH__Q5_0, 8 },
        { PITH__Q5_1, 9 }, { PITH__Q2_K, 10 }, { PITH__Q3_K, 12 }, { PITH__Q4_K, 15 }, { PITH__Q5_K, 17 },
        { PITH__Q6_K, 18 }, { PITH__IQ4_NL, 25 }, { PITH__IQ4_XS, 30 }, { PITH__BF16, 32 }, { PITH__MXFP4, 38 },
    };
    size_t most = 0;
    int type = 0;
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        size_t all = 0;
        for (size_t i = 0; i < n; i++)
            if (out[i].to->id == known[k].id) all += out[i].tensor->rows * out[i].tensor->cols;
        if (all > most) most = all, type = known[k].type;
    }
    return type;
}

/* Keys of a GGUF file as they stand there, for their names lie in its bytes; then those that were made, by name. */
static int key_order(const void *a, const void *b) {
    const pith__key *x = *(const pith__key *const *)a, *y = *(const pith__key *const *)b;
    if (!x->gguf_type != !y->gguf_type) return y->gguf_type ? 1 : -1;
    if (!x->gguf_type) return (x > y) - (x < y);
    return (x->name.p > y->name.p) - (x->name.p < y->name.p);
}

/* What a file says of its layout gives way, but not what was made for this one. */
static void put_keys(blob *b, const pith__store *s, int type) {
    const pith__key **key = malloc((s->n_key + 1) * sizeof *key), *k = pith__store_key(s, "general.file_type");
    const pith__key *said = k && !k->gguf_type ? k : NULL;
    size_t n = 0;
    for (size_t i = 0; key && i < s->n_key; i++)
        if (&s->key[i] != said && (!s->key[i].gguf_type || !is_layout(s->key[i].name))) key[n++] = &s->key[i];
    if (n) qsort(key, n, sizeof *key, key_order);
    for (size_t i = 0; i < n; i++) put_known(b, key[i]);
    b->failed |= !key;
    free(key);
    if (!pith__store_key(s, "tokenizer.ggml.model") && s->vocab.model != PITH__NONE) put_vocab(b, &s->vocab);
    put_int(b, "general.quantization_version", 2);
    put_int(b, "general.file_type", said ? said->i : type);
}

typedef struct {         /* a file of a model, which may have several */
    const pith__store *s;
    const pith__out *out; /* (n) */
    size_t n, n_all;     /* n_all: of all parts */
    int type, part, n_part;
} gguf_job;

/* What the parts of a split model say, with llama.cpp's types. */
static void put_split_keys(blob *b, const gguf_job *j) {
    put_key(b, pith__str_of("split.no"), U16);
    blob_number(b, (uint64_t)j->part, 2);
    put_key(b, pith__str_of("split.count"), U16);
    blob_number(b, (uint64_t)j->n_part, 2);
    put_key(b, pith__str_of("split.tensors.count"), I32);
    blob_number(b, j->n_all, 4);
}

static int put_gguf(pith__writer *w, const gguf_job *j, pith_error *err) {
    static const uint8_t zeros[ALIGNMENT] = { 0 };
    blob head = { 0 }, body = { 0 };
    if (j->part == 0) put_keys(&body, j->s, j->type);
    if (j->n_part > 1) put_split_keys(&body, j);
    put_tensor_table(&body, j->out, j->n);
    blob_put(&head, "GGUF", 4);
    blob_number(&head, 3, 4);
    blob_number(&head, j->n, 8);
    blob_number(&head, body.n_key, 8);
    blob_put(&head, body.p, body.n);
    blob_put(&head, zeros, (ALIGNMENT - head.n % ALIGNMENT) % ALIGNMENT);
    int code = PITH_OK;
    if (head.failed || body.failed)
        code = pith__fail(err, PITH_EMEMORY, "%s: no memory to write it", w->path);
    if (!code) pith__writer_put(w, head.p, head.n);
    free(head.p);
    free(body.p);
    for (size_t i = 0; !code && !w->failed && i < j->n; i++) {
        code = pith__out_put(w, &j->out[i], err);
        pith__writer_put(w, zeros, (size_t)(bytes_in_file(&j->out[i]) - pith__out_bytes(&j->out[i])));
    }
    return code;
}

PITH_SHARED char *pith__part_path(const char *path, int part, int n_part) {
    size_t n = strlen(path), end = n > 5 && !strcmp(path + n - 5, ".gguf") ? 5 : 0;
    char *to = malloc(n + 40);
    if (to && n_part > 1) snprintf(to, n + 40, "%.*s-%05d-of-%05d.gguf", (int)(n - end), path, part + 1, n_part);
    else if (to) memcpy(to, path, n + 1);
    return to;
}

static int open_part(pith__writer *w, const char *path, int part, int n_part, pith_error *err) {
    char *name = pith__part_path(path, part, n_part);
    int code = name ? pith__writer_open(w, name, err) : pith__fail(err, PITH_EMEMORY, "%s: no memory to write it", path);
    free(name);
    return code;
}

/* All parts are whole before the first gets its name. */
static int put_parts(gguf_job j, const char *path, pith_error *err) {
    pith__writer *w = calloc((size_t)j.n_part, sizeof *w);
    int code = w ? PITH_OK : pith__fail(err, PITH_EMEMORY, "%s: no memory to write it", path), n = 0;
    for (const pith__out *end = j.out + j.n_all; !code && n < j.n_part; j.out += j.n) {
        j.part = n;
        for (j.n = 0; j.out + j.n < end && j.out[j.n].part == n;) j.n++;
        code = open_part(&w[n], path, n, j.n_part, err);
        if (code) break;
        code = put_gguf(&w[n], &j, err);
        if (!code && !w[n].failed && fflush(w[n].file)) w[n].failed = errno;
        if (!code && w[n].failed) code = pith__fail(err, PITH_EIO, "%s: %s", w[n].path, strerror(w[n].failed));
        n++;
    }
    for (int i = 0; i < n; i++) code = pith__writer_close(&w[i], code, err);
    free(w);
    return code;
}

/* Merges of pieces that are no letters for bytes: Gemma 4 has those. */
static int is_gemma4(const pith__store *s) {
    const pith__key *arch = pith__store_key(s, "general.architecture");
    const pith__vocab *v = &s->vocab;
    int plain = v->spelling == PITH__METASPACE && v->byte_fallback && !v->add_space && !v->split_words;
    return plain && arch && arch->type == PITH__STRING && pith__str_is(arch->s, "gemma4");
}

PITH_SHARED int pith__gguf_put(const pith__store *s, const pith__out *out, size_t n, const char *path,
                               pith_error *err) {
    const pith__vocab *v = &s->vocab;
    if (v->model == PITH__BPE && v->spelling != PITH__BYTE_LETTERS && !is_gemma4(s))
        return pith__fail(err, PITH_EARCH, "%s: GGUF has no place for merges of such a vocabulary", path);
    for (size_t i = 0; i < n; i++)
        if (!out[i].to->encode && (out[i].rows || out[i].to != out[i].tensor->format))
            return pith__fail(err, PITH_EARG, "%s: %s cannot be written", path, out[i].to->name);
    const gguf_job j = { .s = s, .out = out, .n_all = n, .type = file_type(out, n), .n_part = n ? out[n - 1].part + 1 : 1 };
    return put_parts(j, path, err);
}

PITH_SHARED int pith__gguf_write(const pith__store *s, const pith__tensor *tensor, size_t n,
                                 const pith__format *to, const char *path, pith_error *err) {
    if (s->norm_plus_one || s->qk_halves)
        return pith__fail(err, PITH_EARCH, "%s: GGUF wants these weights in another order", path);
    pith__out *out = calloc(n ? n : 1, sizeof *out);
    for (size_t i = 0; out && i < n; i++)
        out[i] = (pith__out){ .tensor = &tensor[i], .to = pith__gguf_format(&tensor[i], to) };
    int code = out ? pith__gguf_put(s, out, n, path, err)
                   : pith__fail(err, PITH_EMEMORY, "%s: no memory to write it", path);
    free(out);
    return code;
}

/* ---- llama2.c -------------------------------------------------------------------------------- */

/* A number of the store, as GGUF has it for llamas. */
static int64_t llama_int(const pith__store *s, const char *name, int64_t otherwise) {
    char full[64];
    snprintf(full, sizeof full, "llama.%s", name);
    const pith__key *k = pith__store_key(s, full);
    return k && k->type == PITH__INT ? k->i : otherwise;
}

/* The sizes in version 0's header. The other hyper-parameters are fixed. */
typedef struct {
    int64_t dim, hidden, layers, heads, kv_heads, context, head;
} l2c_sizes;

static l2c_sizes sizes_of(const pith__store *s) {
    l2c_sizes z = { .dim = llama_int(s, "embedding_length", 0), .hidden = llama_int(s, "feed_forward_length", 0),
                    .layers = llama_int(s, "block_count", 0), .heads = llama_int(s, "attention.head_count", 0),
                    .context = llama_int(s, "context_length", 0) };
    z.kv_heads = llama_int(s, "attention.head_count_kv", z.heads);
    z.head = z.heads > 0 ? z.dim / z.heads : 0;
    return z;
}

/* llama2.c knows one family, without biases and scales, and two numbers that never change. */
static int l2c_key_fits(const pith__key *k, const l2c_sizes *z, const char *path, pith_error *err) {
    static const char *const sizes[] = { "embedding_length", "feed_forward_length", "block_count",
                                         "attention.head_count", "attention.head_count_kv",
                                         "context_length", "vocab_size" };
    const struct { const char *name; double value; } fixed[] = {
        { "attention.layer_norm_rms_epsilon", 1e-5f }, { "rope.freq_base", 10000 },
        { "rope.dimension_count", (double)z->head }, { "attention.key_length", (double)z->head },
        { "attention.value_length", (double)z->head }, { "expert_count", 0 },
    };
    if (k->name.n < 6 || memcmp(k->name.p, "llama.", 6) != 0) return PITH_OK;
    pith__str name = { k->name.p + 6, k->name.n - 6 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (pith__str_is(name, sizes[i])) return PITH_OK;
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (pith__str_is(name, fixed[i].name) && (float)k->f == (float)fixed[i].value) return PITH_OK;
    return pith__fail(err, PITH_EARCH, "%s: llama2.c has no place for '%.*s'", path, (int)k->name.n,
                      k->name.p);
}

static int check_llama2c(const pith__store *s, const l2c_sizes *z, const char *path, pith_error *err) {
    const pith__key *arch = pith__store_key(s, "general.architecture");
    if (!arch || arch->type != PITH__STRING || !pith__str_is(arch->s, "llama") || s->qk_halves)
        return pith__fail(err, PITH_EARCH, "%s: llama2.c has no such models", path);
    if (z->dim < 1 || z->layers < 1 || z->head < 1 || z->dim % z->heads)
        return pith__fail(err, PITH_EARCH, "%s: llama2.c has no model of this shape", path);
    for (size_t i = 0; i < s->n_key; i++) {
        int code = l2c_key_fits(&s->key[i], z, path, err);
        if (code) return code;
    }
    return PITH_OK;
}

static const pith__tensor *tensor_named(const pith__tensor *tensor, size_t n, const pith__l2c_tensor *k,
                                        int64_t l) {
    char full[64] = "";
    if (k->per_layer) snprintf(full, sizeof full, "blk.%lld.", (long long)l);
    strcat(full, k->name);
    for (size_t i = 0; i < n; i++)
        if (pith__str_is(tensor[i].name, full)) return &tensor[i];
    return NULL;
}

static int put_floats(pith__writer *w, const pith__tensor *t, pith_error *err) {
    float *x = malloc(t->cols * sizeof *x);
    if (!x) return pith__fail(err, PITH_EMEMORY, "%s: no memory to write it", w->path);
    for (size_t r = 0; r < t->rows && !w->failed; r++) {
        pith__row_floats(t, r, x);
        for (size_t i = 0; i < t->cols; i++) put_f32(w, x[i]);
    }
    free(x);
    return PITH_OK;
}

/* Cosines, then sines, of every position: nothing reads them, but they have their place. */
static void put_angles(pith__writer *w, const l2c_sizes *z) {
    for (int sine = 0; sine < 2; sine++)
        for (int64_t p = 0; p < z->context; p++)
            for (int64_t i = 0; i < z->head / 2; i++) {
                float angle = (float)p * (1.0f / powf(10000.0f, (float)(2 * i) / (float)z->head));
                put_f32(w, (float)(sine ? sin((double)angle) : cos((double)angle)));
            }
}

static int put_llama2c(pith__writer *w, const l2c_sizes *z, const pith__tensor *tensor, size_t n,
                       pith_error *err) {
    const pith__tensor *embd = tensor_named(tensor, n, &pith__l2c_order[0], 0);
    const pith__tensor *head = tensor_named(tensor, n, &pith__l2c_order[PITH__L2C_TENSORS - 1], 0);
    int64_t n_vocab = embd ? (int64_t)embd->rows : 0;
    const int64_t fields[] = { z->dim, z->hidden, z->layers, z->heads, z->kv_heads,
                               head ? -n_vocab : n_vocab, z->context };
    size_t written = 0;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) put_u32(w, (uint32_t)fields[i]);
    for (size_t i = 0; i < PITH__L2C_TENSORS; i++) {
        const pith__l2c_tensor *k = &pith__l2c_order[i];
        if (!k->name) put_angles(w, z);
        for (int64_t l = 0; k->name && l < (k->per_layer ? z->layers : 1); l++) {
            const pith__tensor *t = tensor_named(tensor, n, k, l);
            if (!t && i == PITH__L2C_TENSORS - 1) continue; /* the head is the embedding again */
            if (!t) return pith__fail(err, PITH_EFORMAT, "%s: no tensor '%s' to write", w->path, k->name);
            int code = put_floats(w, t, err);
            if (code) return code;
            written++;
        }
    }
    if (written == n) return PITH_OK;
    return pith__fail(err, PITH_EARCH, "%s: llama2.c has a place for %zu of these %zu tensors", w->path,
                      written, n);
}

PITH_SHARED int pith__llama2c_write(const pith__store *s, const pith__tensor *tensor, size_t n,
                                    const char *path, pith_error *err) {
    l2c_sizes z = sizes_of(s);
    pith__writer w;
    int code = check_llama2c(s, &z, path, err);
    if (!code) code = pith__writer_open(&w, path, err);
    return code ? code : pith__writer_close(&w, put_llama2c(&w, &z, tensor, n, err), err);
}

/* ---- tokenizer.bin --------------------------------------------------------------------------- */

/* The piece as tokenizer.bin spells it, in room for s.n + 2 bytes. */
static size_t raw_piece(const pith__vocab *v, int i, char *out) {
    pith__str s = v->piece[i];
    size_t n = 0;
    int framed = piece_type(v, i) == PITH__CONTROL && s.n && *s.p != '\n'; /* "\n<s>\n" */
    if (framed) out[n++] = '\n';
    n += pith__spelled_bytes(v->spelling, s, out + n);
    if (framed) out[n++] = '\n';
    return n;
}

PITH_SHARED int pith__tokenizer_write(const pith__vocab *v, const char *path, pith_error *err) {
    size_t longest = 0, room = 0;
    pith__writer w;
    if (v->model != PITH__SPM)
        return pith__fail(err, PITH_EARCH, "%s: tokenizer.bin has no place for merges, need a .gguf", path);
    for (int i = 0; i < v->n; i++)
        if (v->piece[i].n + 2 > room) room = v->piece[i].n + 2;
    char *piece = malloc(room);
    if (!piece) return pith__fail(err, PITH_EMEMORY, "%s: no memory to write it", path);
    int code = pith__writer_open(&w, path, err);
    for (int pass = 0; !code && pass < 2; pass++) {
        if (pass) put_u32(&w, (uint32_t)longest);
        for (int i = 0; i < v->n; i++) {
            size_t n = raw_piece(v, i, piece);
            if (n > longest) longest = n;
            if (!pass) continue;
            put_f32(&w, v->score[i]);
            put_u32(&w, (uint32_t)n);
            pith__writer_put(&w, piece, n);
        }
    }
    free(piece);
    return code ? code : pith__writer_commit(&w, err);
}
