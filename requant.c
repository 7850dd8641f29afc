/* requant.c - a model -> a smaller GGUF file: which number format each tensor gets.
 *
 * A type such as Q4_K_M is a mix: most matrices have its base format, and those that suffer most from few bits get
 * more. The mixes are llama.cpp's (llama-quantize), tensor for tensor, so that a name means the same file everywhere.
 * What writes the file is merge.c, which asks here once it knows all tensors. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- mixes --------------------------------------------------------------------------------------------- */

enum {
    MIX_F32, MIX_F16, MIX_BF16, MIX_Q8_0, MIX_Q4_0, MIX_Q4_1, MIX_Q5_0, MIX_Q5_1, MIX_Q2_K, MIX_Q3_K_S, MIX_Q3_K_M,
    MIX_Q3_K_L, MIX_Q4_K_S, MIX_Q4_K_M, MIX_Q5_K_S, MIX_Q5_K_M, MIX_Q6_K, MIX_IQ4_NL, MIX_IQ4_XS, MIX_MXFP4,
    MIX_MXFP4_MOE
};

struct pith__mix {
    const char *name, *other; /* another name of it, or NULL */
    int base;            /* the format of most matrices */
    int file_type;       /* llama.cpp's number: general.file_type */
};

static const pith__mix mixes[] = {
    [MIX_F32]    = { "F32", NULL, PITH__F32, 0 },          [MIX_F16]    = { "F16", NULL, PITH__F16, 1 },
    [MIX_BF16]   = { "BF16", NULL, PITH__BF16, 32 },       [MIX_Q8_0]   = { "Q8_0", NULL, PITH__Q8_0, 7 },
    [MIX_Q4_0]   = { "Q4_0", NULL, PITH__Q4_0, 2 },        [MIX_Q4_1]   = { "Q4_1", NULL, PITH__Q4_1, 3 },
    [MIX_Q5_0]   = { "Q5_0", NULL, PITH__Q5_0, 8 },        [MIX_Q5_1]   = { "Q5_1", NULL, PITH__Q5_1, 9 },
    [MIX_Q2_K]   = { "Q2_K", NULL, PITH__Q2_K, 10 },       [MIX_Q3_K_S] = { "Q3_K_S", NULL, PITH__Q3_K, 11 },
    [MIX_Q3_K_M] = { "Q3_K_M", "Q3_K", PITH__Q3_K, 12 },   [MIX_Q3_K_L] = { "Q3_K_L", NULL, PITH__Q3_K, 13 },
    [MIX_Q4_K_S] = { "Q4_K_S", NULL, PITH__Q4_K, 14 },     [MIX_Q4_K_M] = { "Q4_K_M", "Q4_K", PITH__Q4_K, 15 },
    [MIX_Q5_K_S] = { "Q5_K_S", NULL, PITH__Q5_K, 16 },     [MIX_Q5_K_M] = { "Q5_K_M", "Q5_K", PITH__Q5_K, 17 },
    [MIX_Q6_K]   = { "Q6_K", NULL, PITH__Q6_K, 18 },       [MIX_IQ4_NL] = { "IQ4_NL", NULL, PITH__IQ4_NL, 25 },
    [MIX_IQ4_XS] = { "IQ4_XS", NULL, PITH__IQ4_XS, 30 },   [MIX_MXFP4]  = { "MXFP4", NULL, PITH__MXFP4, 38 },
    [MIX_MXFP4_MOE] = { "MXFP4_MOE", NULL, PITH__MXFP4, 38 },
};

enum { N_MIX = sizeof mixes / sizeof *mixes };

static int same_letters(const char *a, const char *b) { /* whatever their case */
    for (; *a && *b; a++, b++)
        if ((*a >= 'a' && *a <= 'z' ? *a - 'a' + 'A' : *a) != *b) return 0;
    return !*a && !*b;
}

PITH_SHARED const pith__mix *pith__mix_named(const char *name) {
    for (int i = 0; i < N_MIX; i++)
        if (same_letters(name, mixes[i].name) || (mixes[i].other && same_letters(name, mixes[i].other))) return &mixes[i];
    return NULL;
}

PITH_SHARED pith__str pith__mix_name(int i) { return i < N_MIX ? pith__str_of(mixes[i].name) : (pith__str){ NULL, 0 }; }

/* ---- what a tensor is to the model ------------------------------------------------------------------------ */

enum { ROLE_OTHER, ROLE_EMBD, ROLE_OUTPUT, ROLE_K, ROLE_V, ROLE_O, ROLE_DOWN };

static int has_part(pith__str name, const char *part) {
    size_t n = strlen(part);
    for (size_t i = 0; i + n <= name.n; i++)
        if (!memcmp(name.p + i, part, n)) return 1;
    return 0;
}

/* attn_qkv counts as V, the one of its three that needs the most bits. ffn_down is that of experts too. */
static int role_of(pith__str name) {
    static const struct { const char *part; int role; } roles[] = {
        { "attn_qkv.weight", ROLE_V }, { "attn_kv_b.weight", ROLE_V }, { "attn_v.weight", ROLE_V }, { "attn_k.weight", ROLE_K },
        { "attn_output.weight", ROLE_O }, { "ffn_down", ROLE_DOWN },
    };
    if (pith__str_is(name, "output.weight")) return ROLE_OUTPUT;
    if (pith__str_is(name, "token_embd.weight") || pith__str_is(name, "per_layer_token_embd.weight")) return ROLE_EMBD;
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (has_part(name, roles[i].part)) return roles[i].role;
    return ROLE_OTHER;
}

/* Vectors, and matrices that are small or that a few bits would spoil, keep their numbers. */
static int is_kept(const pith__tensor *t) {
    static const char *const kept[] = { "_norm.weight", "ffn_gate_inp", "position_embd", "token_types.weight",
                                         "altup", "laurel", "per_layer_model_proj", "ssm_conv1d",
                                         "shortconv.conv.weight", "attn_rel_b.weight" };
    pith__str name = t->name;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (has_part(name, kept[i])) return 1;
    return t->n_dim < 2 || name.n < 6 || memcmp(name.p + name.n - 6, "weight", 6) != 0;
}

/* ---- rules -------------------------------------------------------------------------------------------------- */

typedef struct {         /* the tensors while their formats are chosen */
    const pith__requant *q;
    pith__out *out;      /* (n) */
    size_t n;
    int mix;
    int n_layer, n_v;    /* layers, and matrices whose role is V */
    int at_v, at_down;   /* so many of these roles came before */
    int gqa;             /* query heads of a kv head */
    int n_expert;
    int tied;            /* the embedding is the output matrix too */
    pith_error *err;
} choosing;

enum { /* when a rule holds, for matrix i of n of its role */
    WHEN_ALWAYS, WHEN_GQA,         /* 4 query heads or more share a kv head: V is small */
    WHEN_FIRST2, WHEN_FIRST4, WHEN_EIGHTH, WHEN_SIXTEENTH, /* i < 2, i < 4, i < n / 8, i < n / 16 */
    WHEN_MORE,                /* the first and the last eighth, and every third between them */
    WHEN_EIGHTH_WITH, WHEN_EIGHTH_WITHOUT /* the first eighth, with and without an imatrix */
};

#define MIX(x) (1u << MIX_##x)
static const struct {
    int role;
    unsigned mixes;
    int when, to;
} mix_rules[] = { /* the first that holds counts; none: the base */
    { ROLE_V, MIX(Q2_K), WHEN_GQA, PITH__Q4_K },         { ROLE_V, MIX(Q2_K), WHEN_ALWAYS, PITH__Q3_K },
    { ROLE_V, MIX(Q3_K_M), WHEN_FIRST2, PITH__Q5_K },    { ROLE_V, MIX(Q3_K_M), WHEN_ALWAYS, PITH__Q4_K },
    { ROLE_V, MIX(Q3_K_L), WHEN_ALWAYS, PITH__Q5_K },    { ROLE_V, MIX(IQ4_NL) | MIX(IQ4_XS), WHEN_GQA, PITH__Q5_K },
    { ROLE_V, MIX(Q4_K_M) | MIX(Q5_K_M), WHEN_MORE, PITH__Q6_K }, { ROLE_V, MIX(Q4_K_S), WHEN_FIRST4, PITH__Q5_K },
    { ROLE_DOWN, MIX(Q2_K), WHEN_ALWAYS, PITH__Q3_K },   { ROLE_DOWN, MIX(Q3_K_M), WHEN_SIXTEENTH, PITH__Q5_K },
    { ROLE_DOWN, MIX(Q3_K_M), WHEN_ALWAYS, PITH__Q4_K }, { ROLE_DOWN, MIX(Q3_K_L), WHEN_ALWAYS, PITH__Q5_K },
    { ROLE_DOWN, MIX(Q4_K_M) | MIX(Q5_K_M), WHEN_MORE, PITH__Q6_K }, { ROLE_DOWN, MIX(Q4_K_S), WHEN_EIGHTH, PITH__Q5_K },
    { ROLE_DOWN, MIX(IQ4_NL) | MIX(IQ4_XS), WHEN_EIGHTH_WITHOUT, PITH__Q5_K },
    { ROLE_DOWN, MIX(Q4_0), WHEN_EIGHTH_WITH, PITH__Q4_1 }, { ROLE_DOWN, MIX(Q5_0), WHEN_EIGHTH_WITH, PITH__Q5_1 },
    { ROLE_O, MIX(Q2_K), WHEN_ALWAYS, PITH__Q3_K },      { ROLE_O, MIX(Q3_K_M), WHEN_ALWAYS, PITH__Q4_K },
    { ROLE_O, MIX(Q3_K_L), WHEN_ALWAYS, PITH__Q5_K },
};

static int rule_holds(const choosing *c, int when, int i, int n) {
    int imatrix = c->q->imatrix != NULL;
    switch (when) {
    case WHEN_GQA: return c->gqa >= 4;
    case WHEN_FIRST2: return i < 2;
    case WHEN_FIRST4: return i < 4;
    case WHEN_EIGHTH: return i < n / 8;
    case WHEN_SIXTEENTH: return i < n / 16;
    case WHEN_MORE: return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
    case WHEN_EIGHTH_WITH: return imatrix && i < n / 8;
    case WHEN_EIGHTH_WITHOUT: return !imatrix && i < n / 8;
    default: return 1;
    }
}

static int by_rules(const choosing *c, int role, int i, int n) {
    for (size_t k = 0; k < sizeof mix_rules / sizeof *mix_rules; k++)
        if (mix_rules[k].role == role && mix_rules[k].mixes >> c->mix & 1 && rule_holds(c, mix_rules[k].when, i, n)) return mix_rules[k].to;
    return mixes[c->mix].base;
}

/* Of a model with 8 experts attention is a small part, so more bits for it cost little. Of a large llama whose 8
 * query heads share a kv head V is. */
static int with_size(const choosing *c, int role, int to) {
    const unsigned better_o = MIX(Q2_K) | MIX(Q3_K_S) | MIX(Q3_K_M) | MIX(IQ4_NL) | MIX(IQ4_XS) | MIX(Q4_K_S) | MIX(Q4_K_M);
    const pith__hyper *h = &c->q->m->hyper;
    int large = c->n_layer == 80 && (!strcmp(h->arch, "qwen2") || (!strcmp(h->arch, "llama") && c->gqa > 1));
    if (c->n_expert == 8 && (role == ROLE_K || role == ROLE_V)) return PITH__Q8_0;
    if (c->n_expert == 8 && role == ROLE_O) return better_o >> c->mix & 1 ? PITH__Q5_K : mixes[c->mix].base;
    if (large && role == ROLE_V && (to == PITH__Q3_K || to == PITH__Q4_K)) return PITH__Q5_K;
    return to;
}

/* MXFP4 is a format of experts: what else a model of experts has is Q8_0. */
static int of_mxfp4(const choosing *c, const pith__tensor *t) {
    int all = c->mix == MIX_MXFP4 && c->n_expert == 0;
    return all || (t->n_dim == 3 && t->shape[0] > 1) ? PITH__MXFP4 : PITH__Q8_0;
}
#undef MIX

/* The format that the mix has for a matrix. Every call counts. */
static int by_mix(choosing *c, const pith__tensor *t, int role) {
    const pith__format *base = pith__format_of(mixes[c->mix].base);
    int to, i = role == ROLE_V ? c->at_v++ : role == ROLE_DOWN ? c->at_down++ : 0;
    if (role == ROLE_DOWN && c->n_expert > 1) i = pith__layer_of(t->name);
    if (base->length == 1) return base->id;
    if (role == ROLE_OUTPUT || (role == ROLE_EMBD && c->tied)) {
        int eight = base->id == PITH__Q8_0 || base->id == PITH__MXFP4 || t->cols % (size_t)base->length;
        return eight ? PITH__Q8_0 : PITH__Q6_K;
    }
    if (base->id == PITH__MXFP4) return of_mxfp4(c, t);
    to = by_rules(c, role, i, role == ROLE_V ? c->n_v : c->n_layer);
    return with_size(c, role, to);
}

/* A format whose blocks fit into the rows: of 32 numbers instead of 256, or F16. */
static const pith__format *fitting(const pith__tensor *t, const pith__format *f) {
    static const struct { int id, other; } less[] = {
        { PITH__IQ4_XS, PITH__IQ4_NL }, { PITH__Q2_K, PITH__Q4_0 }, { PITH__Q3_K, PITH__Q4_0 }, { PITH__Q4_K, PITH__Q5_0 },
        { PITH__Q5_K, PITH__Q5_1 }, { PITH__Q6_K, PITH__Q8_0 },
    };
    if (t->cols % (size_t)f->length == 0) return f;
    for (size_t i = 0; i < sizeof less / sizeof *less; i++)
        if (less[i].id == f->id && t->cols % 32 == 0) return pith__format_of(less[i].other);
    return pith__format_of(PITH__F16);
}

/* ---- a tensor ------------------------------------------------------------------------------------------------- */

/* The format of what is not made smaller: its own, or, where GGUF's converters have it so, floats. */
static const pith__format *kept_format(const choosing *c, const pith__tensor *t) {
    const pith__store *s = &c->q->m->store;
    int large = pith__str_is(t->name, "output.weight");
    if (t->format->id == PITH__I8) return pith__format_of(large ? PITH__F16 : PITH__F32);
    return (s->is_folder || s->llama2c) && !large ? pith__format_of(PITH__F32) : t->format;
}

/* What the user wants for a tensor of this name; NULL: nothing. */
static const pith__format *as_named(const pith__requant *q, pith__str name) {
    for (size_t i = 0; i < q->n_typed; i++)
        if (pith__dfa_has(q->typed[i].pattern, name)) return q->typed[i].to;
    return NULL;
}

/* What it is to be, should its rows fit. A pattern is asked before the mix, and the two flags before that. */
static const pith__format *wanted(choosing *c, const pith__tensor *t) {
    const pith__requant *q = c->q;
    int role = role_of(t->name), base = mixes[c->mix].base;
    if (is_kept(t) || (role == ROLE_OUTPUT && q->leave_output)) return kept_format(c, t);
    const pith__format *f = role == ROLE_EMBD ? q->embedding : role == ROLE_OUTPUT ? q->output : NULL;
    if (!f) f = as_named(q, t->name);
    if (!f && q->pure) f = pith__format_of(base);
    if (!f && role == ROLE_EMBD && c->tied) f = q->output;
    if (!f && pith__is_apart(t) && !q->requantize) f = t->format; /* gpt-oss is published so: nothing has it in more bits */
    return f ? f : pith__format_of(by_mix(c, t, role));
}

static int bits(const pith__format *f) { return f->bytes * 8 / f->length; }

/* What was rounded to a few bits loses more when it is rounded again to others. */
static int check_again(const choosing *c, const pith__out *o) {
    const pith__format *from = o->tensor->format, *to = o->to;
    pith__str name = o->tensor->name;
    if (from == to || to->length == 1 || bits(from) >= 8 || c->q->requantize) return PITH_OK;
    return pith__fail(c->err, PITH_EARG, "%s: tensor '%.*s' is %s, and as %s would lose more than a file of more bits: need"
                      " one in F16 or F32 (or --allow-requantize)", c->q->m->store.path, name.n < 64 ? (int)name.n : 64,
                      name.p, from->name, to->name);
}

/* ---- all tensors ------------------------------------------------------------------------------------------------ */

static void count_roles(choosing *c) {
    const pith__hyper *h = &c->q->m->hyper;
    c->mix = (int)(c->q->mix - mixes);
    const pith__layer *w = c->q->m->layer;
    c->n_layer = h->n_layer, c->n_expert = h->n_expert, c->gqa = w->n_kv_head ? w->n_head / w->n_kv_head : 0;
    c->tied = 1;
    for (size_t i = 0; i < c->n; i++) {
        int role = role_of(c->out[i].tensor->name);
        c->n_v += role == ROLE_V;
        if (role == ROLE_OUTPUT) c->tied = 0;
    }
}

/* The part of the split file that has the tensor; 0: there is but one. */
static int part_of(const pith__store *s, const pith__tensor *t) {
    for (int i = 0; i < s->n_file; i++)
        if (t->data >= s->file[i].data && t->data < s->file[i].data + s->file[i].size) return i;
    return 0;
}

static int part_order(const void *a, const void *b) {
    const pith__out *x = a, *y = b;
    if (x->part != y->part) return x->part - y->part;
    return (x->tensor->data > y->tensor->data) - (x->tensor->data < y->tensor->data);
}

/* Parts as the model has them. */
static void keep_parts(choosing *c) {
    for (size_t i = 0; i < c->n; i++) c->out[i].part = part_of(&c->q->m->store, c->out[i].tensor);
    if (c->n) qsort(c->out, c->n, sizeof *c->out, part_order);
}

static int choose_all(void *data, pith__out *out, size_t n, pith_error *err) {
    choosing *c = data;
    const pith__requant *q = c->q;
    size_t bytes = 0; /* of the part so far */
    int code = PITH_OK, part = 0;
    c->out = out, c->n = n, c->err = err;
    count_roles(c);
    if (q->keep_split) keep_parts(c);
    if (q->imatrix) code = pith__imatrix_check(q->imatrix, out, n, q->m->store.path, err);
    for (size_t i = 0; i < n && !code; i++) {
        const pith__format *want = wanted(c, out[i].tensor);
        out[i].to = fitting(out[i].tensor, want);
        size_t own = pith__out_bytes(&out[i]);
        if (q->split_bytes && bytes && bytes + own > q->split_bytes) part++, bytes = 0;
        if (q->split_bytes) out[i].part = part;
        bytes += own;
        if (!q->plan_only) code = check_again(c, &out[i]);
        if (!code && q->imatrix && out[i].to->length > 1) code = pith__importance(q->imatrix, out[i].tensor, &out[i].importance, err);
        if (q->tell) q->tell(q->data, &out[i], want);
    }
    return code;
}

static pith__key int_key_of(const char *name, int64_t i) {
    return (pith__key){ .name = pith__str_of(name), .type = PITH__INT, .i = i, .f = (double)i };
}

static pith__key text_key_of(const char *name, pith__str s) {
    return (pith__key){ .name = pith__str_of(name), .type = PITH__STRING, .s = s };
}

/* general.file_type, and what the numbers were weighed with: llama.cpp's keys. */
static size_t requant_keys(const pith__requant *q, pith__key key[5]) {
    const pith__imatrix *im = q->imatrix;
    size_t n = 0;
    key[n++] = int_key_of("general.file_type", q->mix->file_type);
    if (!im) return n;
    key[n++] = text_key_of("quantize.imatrix.file", pith__str_of(q->imatrix_path ? q->imatrix_path : ""));
    if (im->n_dataset) key[n++] = text_key_of("quantize.imatrix.dataset", im->dataset[0]);
    key[n++] = int_key_of("quantize.imatrix.entries_count", (int64_t)im->n);
    if (im->n_chunk > 0) key[n++] = int_key_of("quantize.imatrix.chunks_count", im->n_chunk);
    return n;
}

PITH_SHARED int pith__requant_gguf(const pith__requant *q, const char *path, pith_error *err) {
    choosing c = { .q = q };
    pith__key key[5];
    pith__merge p = { .m = q->m, .key = key, .n_key = requant_keys(q, key), .by = q->by, .learned = q->learned,
                      .n_learned = q->n_learned, .chat_template = q->chat_template, .finite = !q->allow_nan, .choose = choose_all,
                      .chooser = &c, .what = "quantizing", .progress = q->progress };
    return pith__merge_gguf(&p, q->plan_only ? NULL : path, err);
}

/* Each tensor has its format already. */
static int tell_all(void *data, pith__out *out, size_t n, pith_error *err) {
    const pith__requant *q = data;
    (void)err;
    for (size_t i = 0; i < n && q->tell; i++) q->tell(q->data, &out[i], out[i].to);
    return PITH_OK;
}

PITH_SHARED int pith__requant_folder(const pith__requant *q, const pith__format *to, const char *folder, pith_error *err) {
    pith__merge p = { .m = q->m, .to = to, .finite = !q->allow_nan, .choose = tell_all, .chooser = (void *)(uintptr_t)q,
                      .what = "writing", .progress = q->progress };
    return pith__merge_folder(&p, folder, err);
}
