/* hfbert.c - config.json of BERT, GPT-2 and their relatives becomes the keys that a GGUF file would have, and their tensors
 * are laid out as there.
 *
 * These families are from before everyone wrote Llama's fields: each has words of its own for the same sizes. What the
 * fields mean, and what holds where one is missing, is written in transformers' configuration_*.py. A new family is a row
 * here, one in families.c, its tensors' names in hfnames.c, and a case in tests/t_encoders.c. */
#include "formats.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BIASES = 1, ROTATES = 2, TWO_BEFORE = 4 }; /* positions begin with the third row, pad_token_id + 1 */

static const struct elder {
    const char *type, *arch; /* model_type, and GGUF's name */
    int style;               /* of its tensors' names */
    unsigned is;
    const char *act;         /* its activation, as config.json has it */
    /* The class defaults of transformers' configuration_TYPE.py, for what config.json leaves unsaid. */
    int n_vocab, n_embd, n_ff, n_layer, n_head, n_ctx;
    double eps, theta, part; /* part: of a head that is rotated */
} elders[] = {
    { "bert", "bert", PITH__HF_BERT, BIASES, "gelu", 30522, 768, 3072, 12, 12, 512, 1e-12, 0, 0 },
    { "roberta", "bert", PITH__HF_BERT | PITH__HF_ROBERTA, BIASES | TWO_BEFORE, "gelu", 50265, 768, 3072, 12, 12, 512, 1e-12, 0, 0 },
    { "xlm-roberta", "bert", PITH__HF_BERT | PITH__HF_ROBERTA, BIASES | TWO_BEFORE, "gelu", 30522, 768, 3072, 12, 12, 512, 1e-12, 0, 0 },
    { "camembert", "bert", PITH__HF_BERT | PITH__HF_ROBERTA, BIASES | TWO_BEFORE, "gelu", 30522, 768, 3072, 12, 12, 512, 1e-12, 0, 0 },
    { "distilbert", "bert", PITH__HF_DISTIL, BIASES, "gelu", 30522, 768, 3072, 6, 12, 512, 1e-12, 0, 0 },
    { "nomic_bert", "nomic-bert", PITH__HF_NOMIC, ROTATES, "silu", 30528, 768, 3072, 12, 12, 2048, 1e-12, 1000, 1 },
    { "gpt2", "gpt2", PITH__HF_GPT2, BIASES, "gelu_new", 50257, 768, 0, 12, 12, 1024, 1e-5, 0, 0 },
    { "gpt_neox", "gptneox", PITH__HF_NEOX, BIASES | ROTATES, "gelu", 50432, 6144, 24576, 44, 64, 2048, 1e-5, 10000, 0.25 },
    { "modernbert", "modern-bert", PITH__HF_MODERN, ROTATES, "gelu", 50368, 768, 1152, 22, 12, 8192, 1e-5, 160000, 1 },
    { "mpnet", "mpnet", PITH__HF_MPNET, BIASES | TWO_BEFORE, "gelu", 30527, 768, 3072, 12, 12, 512, 1e-12, 0, 0 },
};

/* The words for one size. */
static const char *const words_embd[] = { "hidden_size", "n_embd", "dim", NULL },
    *const words_layer[] = { "num_hidden_layers", "n_layer", "n_layers", NULL },
    *const words_head[] = { "num_attention_heads", "n_head", "n_heads", NULL },
    *const words_ff[] = { "intermediate_size", "n_inner", "hidden_dim", NULL },
    *const words_ctx[] = { "max_position_embeddings", "n_positions", NULL },
    *const words_eps[] = { "layer_norm_eps", "layer_norm_epsilon", "norm_eps", NULL },
    *const words_act[] = { "hidden_act", "activation_function", "activation", "hidden_activation", NULL };

static const char *word_of(const pith__hf *c, const char *const *words) { /* that this file uses */
    for (int i = 0; words[i]; i++)
        if (pith__json_type(pith__hf_get(c->at, words[i]))) return words[i];
    return words[0];
}

static int elder_int(pith__hf *c, const char *const *words, int otherwise) {
    return pith__hf_int(c, c->at, word_of(c, words), 1, otherwise);
}

/* Fields that change the arithmetic, with the only value that is known here; absent and null are as good. Others change
 * nothing, or they are read. */
static const struct { const char *name, *value; int only; } elder_fields[] = { /* only in folders of this style; 0: in all */
    { "position_embedding_type", "absolute", 0 }, { "is_decoder", "false", 0 }, { "add_cross_attention", "false", 0 },
    { "is_encoder_decoder", "false", 0 }, { "scale_attn_by_inverse_layer_idx", "false", 0 }, { "scale_attn_weights", "true", 0 },
    { "prenorm", "false", 0 }, { "parallel_block", "false", 0 }, { "use_rms_norm", "false", 0 }, { "qkv_proj_bias", "false", 0 },
    { "mlp_fc1_bias", "false", 0 }, { "mlp_fc2_bias", "false", 0 }, { "rotary_emb_interleaved", "false", 0 }, { "causal", "false", 0 },
    { "attention_bias", "true", PITH__HF_NEOX }, { "mlp_bias", "false", PITH__HF_MODERN },
};

static void elder_refuse(pith__hf *c, int style) {
    for (size_t i = 0; i < sizeof elder_fields / sizeof *elder_fields; i++) {
        const char *name = elder_fields[i].name, *value = elder_fields[i].value;
        if (elder_fields[i].only && elder_fields[i].only != style) continue;
        pith__json j = pith__hf_get(c->at, name);
        char type = pith__json_type(j);
        if (!type || pith__json_is(j, value) || (type != '"' && type == *value)) continue;
        pith__hf_wrong(c, j, PITH_EARCH, name, value);
    }
    pith__json experts = pith__hf_get(c->at, "num_experts"), scale = pith__hf_get(c->at, "rotary_emb_scale_base");
    double n = 0;
    if (pith__json_type(experts) && !(pith__json_float(experts, &n) && n == 0))
        pith__hf_wrong(c, experts, PITH_EARCH, "num_experts", "0");
    if (pith__json_type(scale)) pith__hf_wrong(c, scale, PITH_EARCH, "rotary_emb_scale_base", "null");
}

/* The activation, where it is not the one that GGUF takes for granted. */
static void elder_activation(pith__hf *c, const struct elder *e) {
    static const char *const known[][2] = { { "gelu", "gelu" }, { "gelu_python", "gelu" }, { "gelu_new", "gelu_new" },
        { "gelu_fast", "gelu_new" }, { "gelu_pytorch_tanh", "gelu_new" }, { "relu", "relu" }, { "silu", "silu" },
        { "swish", "silu" }, { "swiglu", "silu" } };
    const char *word = word_of(c, words_act), *act = NULL;
    pith__json j = pith__hf_get(c->at, word);
    if (!pith__json_type(j)) return;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (pith__json_is(j, known[i][0])) act = known[i][1];
    int gated = !strcmp(e->act, "silu");
    if (!act || gated != !strcmp(act, "silu"))
        pith__hf_wrong(c, j, PITH_EARCH, word, gated ? "silu" : "gelu, gelu_new or relu");
    else if (strcmp(act, e->act) != 0)
        pith__hf_added(c, pith__store_add_string(c->f->s, "pith.activation", act));
}

static void elder_rope(pith__hf *c, const struct elder *e) {
    c->theta = pith__hf_positive(c, c->at, "rotary_emb_base", e->theta);
    if (e->style == PITH__HF_MODERN) {
        c->theta = pith__hf_positive(c, c->at, "global_rope_theta", e->theta);
        c->local_theta = pith__hf_positive(c, c->at, "local_rope_theta", 10000);
    }
    c->part = pith__hf_positive(c, c->at, "rotary_pct", e->part);
    c->part = pith__hf_positive(c, c->at, "rotary_emb_fraction", c->part);
    pith__hf_rope(c);
    /* nomic: the angles are scaled beyond the length of its training, which is not built here */
    int trained = pith__hf_int(c, c->at, "max_trained_positions", 1, c->n_ctx);
    if (trained >= c->n_ctx) return;
    c->n_ctx = trained;
    pith__hf_added(c, pith__store_add_int(c->f->s, "pith.context_limit", trained));
}

/* ModernBERT: the first of so many layers sees everything. layer_types says the same, layer by layer, or something else. */
static void elder_windows(pith__hf *c) {
    pith__json types = pith__hf_get(c->at, "layer_types"), it = types, type;
    int period = pith__hf_int(c, c->at, "global_attn_every_n_layers", 1, 3), n = c->f->n_layer, l = 0, other = 0;
    int window = pith__hf_int(c, c->at, "local_attention", 1, 128);
    if (pith__json_next(&it, NULL, &type))
        for (period = 1; pith__json_next(&it, NULL, &type) && !pith__json_is(type, "full_attention");) period++;
    uint8_t *slides = c->code ? NULL : pith__arena_new(&c->f->s->arena, (size_t)n, 1);
    if (!slides) { pith__hf_added(c, PITH_EMEMORY); return; }
    if (pith__json_type(types) && (pith__json_type(types) != '[' || pith__json_count(types) != (size_t)n))
        pith__hf_wrong(c, types, PITH_EFORMAT, "layer_types", "an array, one string a layer");
    it = types;
    for (l = 0; l < n && pith__json_next(&it, NULL, &type); l++) {
        slides[l] = pith__json_is(type, "sliding_attention");
        if (!slides[l] && !pith__json_is(type, "full_attention"))
            pith__hf_wrong(c, type, PITH_EARCH, "layer_types", "full_attention or sliding_attention");
        other |= slides[l] != (l % period != 0);
    }
    pith__hf_put_int(c, "attention.sliding_window", window);
    if (other) pith__hf_put_flags(c, "modern-bert.attention.sliding_window_pattern", slides);
    else pith__hf_put_int(c, "attention.sliding_window_pattern", period);
}

static void elder_sizes(pith__hf *c, const struct elder *e) {
    int n_embd = elder_int(c, words_embd, e->n_embd);
    c->f->n_head = elder_int(c, words_head, e->n_head);
    c->f->n_layer = elder_int(c, words_layer, e->n_layer);
    c->f->n_vocab = pith__hf_int(c, c->at, "vocab_size", 1, e->n_vocab);
    c->f->skip_positions = e->is & TWO_BEFORE ? pith__hf_int(c, c->at, "pad_token_id", 0, 1) + 1 : 0;
    c->n_ctx = elder_int(c, words_ctx, e->n_ctx) - c->f->skip_positions;
    c->head_dim = n_embd % c->f->n_head ? 0 : n_embd / c->f->n_head;
    if (pith__hf_int(c, c->at, "head_dim", 1, c->head_dim) != c->head_dim)
        pith__hf_wrong(c, pith__hf_get(c->at, "head_dim"), PITH_EARCH, "head_dim", "the hidden size over the number of heads");
    double eps = pith__hf_float(c, c->at, word_of(c, words_eps), e->eps);
    if (!(eps >= 0 && eps <= FLT_MAX))
        pith__hf_wrong(c, pith__hf_get(c->at, word_of(c, words_eps)), PITH_EFORMAT, word_of(c, words_eps), "a float of 0 or more");
    enum { LAYERS_MAX = 4096 };
    if (c->f->n_layer > LAYERS_MAX)
        pith__hf_wrong(c, pith__hf_get(c->at, word_of(c, words_layer)), PITH_EFORMAT, word_of(c, words_layer), "at most 4096");
    if (c->n_ctx < 1)
        pith__hf_wrong(c, pith__hf_get(c->at, word_of(c, words_ctx)), PITH_EFORMAT, word_of(c, words_ctx), "more positions");
    pith__hf_put_int(c, "embedding_length", n_embd);
    pith__hf_put_int(c, "block_count", c->f->n_layer);
    pith__hf_put_int(c, "vocab_size", c->f->n_vocab);
    pith__hf_put_int(c, "feed_forward_length", elder_int(c, words_ff, e->n_ff ? e->n_ff : n_embd > INT32_MAX / 4 ? 1 : 4 * n_embd));
    pith__hf_put_int(c, "attention.head_count", c->f->n_head);
    pith__hf_put_float(c, "attention.layer_norm_epsilon", eps);
}

PITH_SHARED int pith__hf_elder(pith__hf *c) {
    pith__json type = pith__hf_get(c->at, "model_type");
    const struct elder *e = NULL;
    for (size_t i = 0; i < sizeof elders / sizeof *elders; i++)
        if (pith__json_is(type, elders[i].type)) e = &elders[i];
    if (!e) return 0;
    c->arch = e->arch;
    pith__hf_added(c, pith__store_add_string(c->f->s, "general.architecture", c->arch));
    elder_sizes(c, e);
    elder_refuse(c, e->style);
    elder_activation(c, e);
    if (e->is & ROTATES && !c->code) elder_rope(c, e);
    pith__hf_put_int(c, "context_length", c->n_ctx);
    if (e->style == PITH__HF_MODERN) elder_windows(c);
    if (e->style == PITH__HF_NEOX)
        pith__hf_put_flag(c, "use_parallel_residual", pith__hf_bool(c, c->at, "use_parallel_residual", 1));
    c->f->s->is_folder = 1;
    c->f->s->hf_style = e->style;
    c->f->tied = pith__hf_bool(c, c->at, "tie_word_embeddings", e->style != PITH__HF_NEOX) || e->style != PITH__HF_NEOX;
    c->f->bias = e->is & BIASES ? 2 : 0;
    c->f->ffn_bias = (e->is & BIASES) != 0;
    if (!c->code) c->f->s->hf_style |= pith__hf_head(c, e->style);
    return 1;
}

PITH_SHARED int pith__hf_elder_style(const char *type) {
    for (size_t i = 0; i < sizeof elders / sizeof *elders; i++)
        if (!strcmp(elders[i].type, type)) return elders[i].style;
    return 0;
}

PITH_SHARED int pith__hf_elder_of(const char *arch) {
    for (size_t i = 0; i < sizeof elders / sizeof *elders; i++)
        if (!strcmp(elders[i].arch, arch)) return elders[i].style;
    return 0;
}

/* ---- tensors as GGUF has them -------------------------------------------------------------------- */

/* Room for the numbers of t in another order; they are not yet there. */
static uint8_t *new_numbers(pith__folder *f, const pith__tensor *t) {
    size_t bytes = t->rows * t->row_bytes;
    uint8_t *y = pith__arena_new(&f->s->arena, bytes, 1);
    if (!y) pith__fail(f->err, PITH_EMEMORY, "%s: no memory", f->dir);
    return y;
}

/* GPT-2's matrices are (in, out). */
static int transpose_tensor(pith__folder *f, pith__tensor *t) {
    size_t size = t->row_bytes / t->cols, rows = t->rows, cols = t->cols;
    uint8_t *y = new_numbers(f, t);
    if (!y) return PITH_EMEMORY;
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < cols; i++) memcpy(y + (i * rows + r) * size, t->data + (r * cols + i) * size, size);
    t->data = y;
    t->rows = cols, t->cols = rows, t->row_bytes = rows * size;
    t->shape[0] = cols, t->shape[1] = rows;
    return PITH_OK;
}

/* GPT-NeoX has q, k and v head by head, (n_head, 3, head_dim, cols): all heads of q come first here. */
static int group_qkv(pith__folder *f, pith__tensor *t) {
    size_t n_head = (size_t)f->n_head, all = t->rows * t->row_bytes, part = all / 3 / n_head;
    if (part * 3 * n_head != all || (t->n_dim > 1 && t->rows % (3 * n_head)))
        return pith__fail(f->err, PITH_EFORMAT, "%s: a query_key_value has %zu rows, need a multiple of 3 x %d", f->dir,
                          t->rows, f->n_head);
    uint8_t *y = new_numbers(f, t);
    if (!y) return PITH_EMEMORY;
    for (size_t h = 0; h < n_head; h++)
        for (size_t k = 0; k < 3; k++) memcpy(y + (k * n_head + h) * part, t->data + (h * 3 + k) * part, part);
    t->data = y;
    return PITH_OK;
}

static int skip_positions(pith__folder *f, pith__tensor *t) {
    size_t n = (size_t)f->skip_positions;
    if (t->n_dim != 2 || t->rows <= n)
        return pith__fail(f->err, PITH_EFORMAT, "%s: position_embeddings has %zu rows, need more than %zu", f->dir, t->rows, n);
    t->data += n * t->row_bytes;
    t->rows -= n, t->shape[0] -= n;
    f->s->skip_positions = f->skip_positions;
    return PITH_OK;
}

PITH_SHARED int pith__hf_laid(int style, pith__str name) {
    static const char *const matrices[] = { "attn_qkv.weight", "attn_output.weight", "ffn_up.weight", "ffn_down.weight" };
    for (size_t k = 0; k < 4 && style & PITH__HF_GPT2; k++)
        if (pith__name_ends(name, matrices[k])) return PITH__ACROSS;
    int qkv = pith__name_ends(name, "attn_qkv.weight") || pith__name_ends(name, "attn_qkv.bias");
    return style & PITH__HF_NEOX && qkv ? PITH__BY_HEAD : 0;
}

PITH_SHARED int pith__hf_layout(pith__folder *f) {
    int code = PITH_OK;
    for (size_t i = 0; i < f->s->n_tensor && !code; i++) {
        pith__tensor *t = &f->s->tensor[i];
        int laid = pith__hf_laid(f->s->hf_style, t->name);
        if (laid == PITH__ACROSS && t->n_dim == 2) code = transpose_tensor(f, t);
        if (laid == PITH__BY_HEAD) code = group_qkv(f, t);
        if (t->n_dim == 3 && t->shape[1] == 1 && pith__name_ends(t->name, "conv.weight")) t->n_dim = 2, t->shape[1] = t->shape[2];
        if (f->s->hf_style & PITH__HF_DELTA) code = pith__hf_delta_layout(f, t);
        if (f->s->hf_style & PITH__HF_GRANITE4) code = pith__hf_granite_layout(f, t);
        if (f->skip_positions && pith__str_is(t->name, "position_embd.weight")) code = skip_positions(f, t);
    }
    return code;
}
