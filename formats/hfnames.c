/* hfnames.c - what Hugging Face calls a tensor or a field, and what GGUF calls it, both ways.
 *
 * Readers need GGUF's names of a folder's tensors; messages name what the folder has, for that is what its
 * user can look for. */
#include "formats.h"

#include <stdio.h>
#include <string.h>

enum { POST = PITH__HF_POST_NORM, FUSED = PITH__HF_FUSED, MIXTRAL = PITH__HF_MIXTRAL };

static const struct {
    const char *hf, *gguf;
} name_outer[] = {
    { "embed_tokens.weight", "token_embd.weight" },
    { "norm.weight", "output_norm.weight" },
    { "lm_head.weight", "output.weight" },
};

/* Behind "layers.7." and "blk.7.", before .weight or .bias; only in folders of this style, or not in them. */
static const struct {
    const char *hf, *gguf;
    int only, never;
} name_inner[] = {
    { "input_layernorm", "attn_norm", 0, 0 },
    { "self_attn.q_proj", "attn_q", 0, 0 },
    { "self_attn.k_proj", "attn_k", 0, 0 },
    { "self_attn.v_proj", "attn_v", 0, 0 },
    { "self_attn.o_proj", "attn_output", 0, 0 },
    { "self_attn.qkv_proj", "attn_qkv", 0, 0 },
    { "self_attn.q_norm", "attn_q_norm", 0, 0 },
    { "self_attn.k_norm", "attn_k_norm", 0, 0 },
    { "post_attention_layernorm", "post_attention_norm", POST, 0 },
    { "post_attention_layernorm", "ffn_norm", 0, POST }, /* two meanings of one name */
    { "pre_feedforward_layernorm", "ffn_norm", POST, 0 },
    { "post_feedforward_layernorm", "post_ffw_norm", 0, 0 },
    { "mlp.gate_proj", "ffn_gate", 0, 0 },
    { "mlp.up_proj", "ffn_up", 0, FUSED },
    { "mlp.gate_up_proj", "ffn_up", FUSED, 0 },
    { "mlp.down_proj", "ffn_down", 0, 0 },
    { "mlp.gate", "ffn_gate_inp", 0, MIXTRAL },
    { "block_sparse_moe.gate", "ffn_gate_inp", MIXTRAL, 0 },
}, name_expert[] = { /* behind "mlp.experts.3." or Mixtral's "block_sparse_moe.experts.3." */
    { "gate_proj", "ffn_gate", 0, MIXTRAL },
    { "up_proj", "ffn_up", 0, MIXTRAL },
    { "down_proj", "ffn_down", 0, MIXTRAL },
    { "w1", "ffn_gate", MIXTRAL, 0 },
    { "w3", "ffn_up", MIXTRAL, 0 },
    { "w2", "ffn_down", MIXTRAL, 0 },
};
enum { N_OUTER = sizeof name_outer / sizeof *name_outer,
       N_INNER = sizeof name_inner / sizeof *name_inner,
       N_EXPERT = sizeof name_expert / sizeof *name_expert };

static int fits_style(int only, int never, int style) {
    return (style & only) == only && !(style & never);
}

/* ---- parts of a name ----------------------------------------------------------------------------- */

static int name_begins(pith__str *s, const char *with) { /* and step behind it */
    size_t n = strlen(with);
    if (s->n < n || memcmp(s->p, with, n)) return 0;
    s->p += n;
    s->n -= n;
    return 1;
}

static int name_ends(pith__str *s, const char *with) { /* and cut it off */
    size_t n = strlen(with);
    if (s->n < n || memcmp(s->p + s->n - n, with, n)) return 0;
    s->n -= n;
    return 1;
}

/* Digits and a point. They stay digits: a layer number that no integer holds is just another name. */
static int name_number(pith__str *s, pith__str *number) {
    size_t n = 0;
    while (n < s->n && s->p[n] >= '0' && s->p[n] <= '9') n++;
    if (n == 0 || n > 20 || n == s->n || s->p[n] != '.') return 0;
    number->p = s->p;
    number->n = n;
    s->p += n + 1;
    s->n -= n + 1;
    return 1;
}

/* ---- Hugging Face -> GGUF ------------------------------------------------------------------------ */

/* A bias is used only where config.json says so. */
static int has_bias(const pith__folder *f, pith__str part) {
    if (name_begins(&part, "mlp.")) return f->ffn_bias;
    return pith__str_is(part, "self_attn.o_proj") ? f->bias == 2 : f->bias;
}

/* What is behind "layers.7.". */
static int gguf_inner(const pith__folder *f, pith__str layer, pith__str s, char *name) {
    pith__str expert;
    int bias = name_ends(&s, ".bias"), style = f->s->hf_style;
    const char *kind = bias ? "bias" : "weight";
    if (!bias && !name_ends(&s, ".weight")) return 0;
    if (bias && !has_bias(f, s)) return 0;
    if (name_begins(&s, style & MIXTRAL ? "block_sparse_moe.experts." : "mlp.experts.")) {
        if (bias || !name_number(&s, &expert)) return 0;
        for (int i = 0; i < N_EXPERT; i++) {
            if (!fits_style(name_expert[i].only, name_expert[i].never, style)) continue;
            if (!pith__str_is(s, name_expert[i].hf)) continue;
            snprintf(name, PITH__HF_NAME, "blk.%.*s.%s.%.*s.weight", (int)layer.n, layer.p,
                     name_expert[i].gguf, (int)expert.n, expert.p);
            return 1;
        }
        return 0;
    }
    for (int i = 0; i < N_INNER; i++) {
        if (!fits_style(name_inner[i].only, name_inner[i].never, style)) continue;
        if (!pith__str_is(s, name_inner[i].hf)) continue;
        snprintf(name, PITH__HF_NAME, "blk.%.*s.%s.%s", (int)layer.n, layer.p, name_inner[i].gguf, kind);
        return 1;
    }
    return 0;
}

/* With a vision tower the text model stands behind "language_model.", and a bare model was saved without
 * "model.". */
PITH_SHARED int pith__hf_to_gguf(const pith__folder *f, pith__str s, char *name) {
    pith__str layer, whole = s;
    while (name_begins(&s, "model.") || name_begins(&s, "language_model.")) continue;
    if (name_begins(&s, "layers.")) {
        if (!f->s->hf_prefix.p) f->s->hf_prefix = (pith__str){ whole.p, whole.n - s.n - strlen("layers.") };
        return name_number(&s, &layer) && gguf_inner(f, layer, s, name);
    }
    for (int i = 0; i < N_OUTER; i++) {
        if (!pith__str_is(s, name_outer[i].hf)) continue;
        snprintf(name, PITH__HF_NAME, "%s", name_outer[i].gguf);
        return 1;
    }
    return 0;
}

/* ---- GGUF -> Hugging Face ------------------------------------------------------------------------ */

static const struct {
    const char *gguf, *hf;
} name_key[] = {
    { "attention.head_count_kv", "num_key_value_heads" },
    { "attention.head_count", "num_attention_heads" },
    { "attention.key_length", "head_dim" },
    { "block_count", "num_hidden_layers" },
    { "context_length", "max_position_embeddings" },
    { "embedding_length", "hidden_size" },
    { "expert_count", "the number of experts" },
    { "expert_used_count", "num_experts_per_tok" },
    { "feed_forward_length", "intermediate_size" },
    { "rope.dimension_count", "the part of head_dim that is rotated" },
};

static const char *hf_inner(const pith__store *s, pith__str layer, pith__str part, char *room) {
    pith__str prefix = s->hf_prefix, expert = { NULL, 0 };
    int bias = name_ends(&part, ".bias");
    if (!prefix.p) prefix = pith__str_of("model.");
    if (!bias && !name_ends(&part, ".weight")) return NULL;
    const char *dot = memchr(part.p, '.', part.n);
    if (dot) {
        expert = (pith__str){ dot + 1, part.n - (size_t)(dot + 1 - part.p) };
        part.n = (size_t)(dot - part.p);
    }
    for (int i = 0; i < (dot ? N_EXPERT : N_INNER); i++) {
        const char *gguf = dot ? name_expert[i].gguf : name_inner[i].gguf;
        const char *hf = dot ? name_expert[i].hf : name_inner[i].hf, *experts = "";
        int only = dot ? name_expert[i].only : name_inner[i].only;
        int never = dot ? name_expert[i].never : name_inner[i].never;
        if (!fits_style(only, never, s->hf_style) || !pith__str_is(part, gguf)) continue;
        if (dot) experts = s->hf_style & MIXTRAL ? "block_sparse_moe.experts." : "mlp.experts.";
        snprintf(room, PITH__HF_NAME, "%.*slayers.%.*s.%s%.*s%s%s.%s", (int)prefix.n, prefix.p,
                 (int)layer.n, layer.p, experts, (int)expert.n, expert.p, dot ? "." : "", hf,
                 bias ? "bias" : "weight");
        return room;
    }
    return NULL;
}

PITH_SHARED const char *pith__shown_name(const pith__store *s, const char *gguf, char *room) {
    pith__str name = pith__str_of(gguf), layer;
    if (!s->is_folder) return gguf;
    for (size_t i = 0; i < sizeof name_key / sizeof *name_key; i++)
        if (!strcmp(gguf, name_key[i].gguf)) return name_key[i].hf;
    if (name_begins(&name, "blk.") && name_number(&name, &layer)) {
        const char *hf = hf_inner(s, layer, name, room);
        return hf ? hf : gguf;
    }
    for (int i = 0; i < N_OUTER; i++) {
        if (strcmp(gguf, name_outer[i].gguf) != 0) continue;
        pith__str prefix = s->hf_prefix.p ? s->hf_prefix : pith__str_of("model.");
        if (!strcmp(name_outer[i].hf, "lm_head.weight")) prefix.n = 0;
        snprintf(room, PITH__HF_NAME, "%.*s%s", (int)prefix.n, prefix.p, name_outer[i].hf);
        return room;
    }
    return gguf;
}

/* ---- experts -------------------------------------------------------------------------------------- */

PITH_SHARED int pith__stack_name(pith__str name, char *to) {
    pith__str s = name, layer, expert = { NULL, 0 };
    snprintf(to, PITH__HF_NAME, "%.*s", name.n < PITH__HF_NAME ? (int)name.n : 0, name.p);
    if (!name_begins(&s, "blk.") || !name_number(&s, &layer)) return -1;
    const char *dot = memchr(s.p, '.', s.n);
    pith__str part = { s.p, dot ? (size_t)(dot - s.p) : 0 };
    s.p += part.n + (dot != NULL), s.n -= part.n + (dot != NULL);
    if (!part.n || !name_number(&s, &expert) || expert.n > 6 || !pith__str_is(s, "weight")) return -1;
    snprintf(to, PITH__HF_NAME, "blk.%.*s.%.*s_exps.weight", (int)layer.n, layer.p, part.n < 64 ? (int)part.n : 0, part.p);
    int e = 0;
    for (size_t i = 0; i < expert.n; i++) e = 10 * e + expert.p[i] - '0';
    return e;
}
