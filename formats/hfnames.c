/* hfnames.c - what Hugging Face calls a tensor or a field, and what GGUF calls it, both ways.
 *
 * Readers need GGUF's names of a folder's tensors; messages name what the folder has, for that is what its
 * user can look for. */
#include "formats.h"

#include <stdio.h>
#include <string.h>

enum { POST = PITH__HF_POST_NORM, FUSED = PITH__HF_FUSED, FC = PITH__HF_FC, HUNYUAN = PITH__HF_HUNYUAN,
       GLM4 = PITH__HF_GLM4, PHI = PITH__HF_PHI, CFC = PITH__HF_CFC, NEXT = PITH__HF_NEXT, APERTUS = PITH__HF_APERTUS, MIXTRAL = PITH__HF_MIXTRAL, BERT = PITH__HF_BERT,
       ROBERTA = PITH__HF_ROBERTA, LFM = PITH__HF_LFM, LFM2 = PITH__HF_LFM2,
       GRANITE4 = PITH__HF_GRANITE4, GRANITE4_MOE = PITH__HF_GRANITE4_MOE,
       DISTIL = PITH__HF_DISTIL, NOMIC = PITH__HF_NOMIC, GPT2 = PITH__HF_GPT2, NEOX = PITH__HF_NEOX,
       MODERN = PITH__HF_MODERN, DELTA = PITH__HF_DELTA, MPNET = PITH__HF_MPNET, SHARED = PITH__HF_SHARED, GPTOSS = PITH__HF_GPTOSS,
       GEMMA4 = PITH__HF_GEMMA4,
       LLAMA4 = PITH__HF_LLAMA4 };

/* What may stand before names of a style, once or several times, and what layers are called. With a vision tower the text
 * model stands behind "language_model."; a bare model was saved without "model.". */
static const struct spelling {
    int style;
    const char *prefix[3], *layers;
} name_spelling[] = {
    { BERT, { "bert.", "roberta.", "" }, "encoder.layer." },
    { DISTIL, { "distilbert.", "", "" }, "transformer.layer." },
    { NOMIC, { "", "", "" }, "encoder.layers." },
    { GPT2, { "transformer.", "", "" }, "h." },
    { NEOX, { "gpt_neox.", "", "" }, "layers." },
    { MODERN, { "model.", "", "" }, "layers." },
    { MPNET, { "mpnet.", "", "" }, "encoder.layer." },
    { 0, { "model.", "language_model.", "" }, "layers." },
};

static const struct spelling *spelling_of(int style) {
    const struct spelling *y = name_spelling;
    while (y->style && !(y->style & style)) y++;
    return y;
}

/* The names outside the layers, before .weight or .bias; only in folders of this style, or not in them. */
static const struct {
    const char *hf, *gguf;
    int only;
} name_outer[] = {
    { "embed_tokens", "token_embd", 0 },
    { "embedding_norm", "token_embd_norm", LFM },
    { "final_layernorm", "output_norm", PHI },
    { "norm", "output_norm", 0 },
    { "embed_tokens_per_layer", "per_layer_token_embd", GEMMA4 },
    { "per_layer_model_projection", "per_layer_model_proj", GEMMA4 },
    { "per_layer_projection_norm", "per_layer_proj_norm", GEMMA4 },
    { "lm_head", "output", 0 },
    { "embeddings.word_embeddings", "token_embd", BERT | DISTIL | NOMIC | MPNET },
    { "embeddings.position_embeddings", "position_embd", BERT | DISTIL | MPNET },
    { "embeddings.token_type_embeddings", "token_types", BERT | NOMIC },
    { "embeddings.LayerNorm", "token_embd_norm", BERT | DISTIL | MPNET },
    { "encoder.relative_attention_bias", "attn_rel_b", MPNET },
    { "emb_ln", "token_embd_norm", NOMIC },
    { "wte", "token_embd", GPT2 },
    { "wpe", "position_embd", GPT2 },
    { "ln_f", "output_norm", GPT2 },
    { "lm_head", "output", GPT2 },
    { "embed_in", "token_embd", NEOX },
    { "final_layer_norm", "output_norm", NEOX },
    { "embed_out", "output", NEOX },
    { "embeddings.tok_embeddings", "token_embd", MODERN },
    { "embeddings.norm", "token_embd_norm", MODERN },
    { "final_norm", "output_norm", MODERN },
};

/* Those of what stands on the hidden states (hfhead.c), of models of this style (0: any) with such a head, and whether the style's
 * prefix stands before it. GGUF has no names for heads of words. */
static const struct {
    const char *hf, *gguf;
    int only, head, prefixed;
} name_head[] = {
    { "classifier.dense", "cls", ROBERTA | MPNET, PITH__HF_TEXT_HEAD, 0 },
    { "classifier.out_proj", "cls.output", ROBERTA | MPNET, PITH__HF_TEXT_HEAD, 0 },
    { "pooler.dense", "cls", BERT, PITH__HF_TEXT_HEAD, 1 },
    { "pre_classifier", "cls", DISTIL, PITH__HF_TEXT_HEAD, 0 },
    { "head.dense", "cls", MODERN, PITH__HF_TEXT_HEAD | PITH__HF_TOKEN_HEAD, 0 },
    { "head.norm", "cls.norm", MODERN, PITH__HF_TEXT_HEAD | PITH__HF_TOKEN_HEAD, 0 },
    { "classifier", "cls.output", BERT | DISTIL | MPNET | MODERN, PITH__HF_TEXT_HEAD | PITH__HF_TOKEN_HEAD, 0 },
    { "score", "cls.output", 0, PITH__HF_TEXT_HEAD | PITH__HF_TOKEN_HEAD, 0 },
    { "lm_head.dense", "mlm.dense", ROBERTA | MPNET, PITH__HF_WORD_HEAD, 0 },
    { "lm_head.layer_norm", "mlm.norm", ROBERTA | MPNET, PITH__HF_WORD_HEAD, 0 },
    { "lm_head", "mlm", ROBERTA | MPNET, PITH__HF_WORD_HEAD, 0 },
    { "cls.predictions.transform.dense", "mlm.dense", BERT, PITH__HF_WORD_HEAD, 0 },
    { "cls.predictions.transform.LayerNorm", "mlm.norm", BERT, PITH__HF_WORD_HEAD, 0 },
    { "cls.predictions", "mlm", BERT, PITH__HF_WORD_HEAD, 0 },
    { "head.dense", "mlm.dense", MODERN, PITH__HF_WORD_HEAD, 0 },
    { "head.norm", "mlm.norm", MODERN, PITH__HF_WORD_HEAD, 0 },
    { "decoder", "mlm", MODERN, PITH__HF_WORD_HEAD, 0 },
    { "vocab_transform", "mlm.dense", DISTIL, PITH__HF_WORD_HEAD, 0 },
    { "vocab_layer_norm", "mlm.norm", DISTIL, PITH__HF_WORD_HEAD, 0 },
    { "vocab_projector", "mlm", DISTIL, PITH__HF_WORD_HEAD, 0 },
}, name_decoder[] = { /* their output matrix, where it is not the embedding */
    { "lm_head.decoder", "output", ROBERTA | MPNET, PITH__HF_WORD_HEAD, 0 },
    { "cls.predictions.decoder", "output", BERT, PITH__HF_WORD_HEAD, 0 },
    { "decoder", "output", MODERN, PITH__HF_WORD_HEAD, 0 },
    { "vocab_projector", "output", DISTIL, PITH__HF_WORD_HEAD, 0 },
};

/* Behind "layers.7." and "blk.7.", before .weight or .bias; only in folders of this style, or not in them. Where a style has two
 * names for one, the first is what is written. */
static const struct {
    const char *hf, *gguf;
    int only, never;
} name_inner[] = {
    { "mamba.in_proj", "ssm_in", GRANITE4, 0 },
    { "mamba.conv1d", "ssm_conv1d", GRANITE4, 0 },
    { "mamba.norm", "ssm_norm", GRANITE4, 0 },
    { "mamba.out_proj", "ssm_out", GRANITE4, 0 },
    { "shared_mlp.input_linear", "ffn_up", GRANITE4, GRANITE4_MOE },
    { "shared_mlp.output_linear", "ffn_down", GRANITE4, GRANITE4_MOE },
    { "shared_mlp.input_linear", "ffn_up_shexp", GRANITE4_MOE, 0 },
    { "shared_mlp.output_linear", "ffn_down_shexp", GRANITE4_MOE, 0 },
    { "block_sparse_moe.router.layer", "ffn_gate_inp", GRANITE4_MOE, 0 },
    { "block_sparse_moe.input_linear", "ffn_gate_up_exps", GRANITE4_MOE, 0 },
    { "block_sparse_moe.output_linear", "ffn_down_exps", GRANITE4_MOE, 0 },
    { "operator_norm", "attn_norm", LFM, 0 },
    { "ffn_norm", "ffn_norm", LFM, 0 },
    { "post_operator_norm", "post_attention_norm", LFM, LFM2 },
    { "post_ffn_norm", "post_ffw_norm", LFM, LFM2 },
    { "self_attn.gate_proj", "attn_gate", LFM, LFM2 },
    { "self_attn.g_proj", "attn_gate", LFM, LFM2 }, /* as transformers' module is called */
    { "self_attn.out_proj", "attn_output", LFM2, 0 },
    { "self_attn.q_layernorm", "attn_q_norm", LFM2, 0 },
    { "self_attn.k_layernorm", "attn_k_norm", LFM2, 0 },
    { "conv.in_proj", "shortconv.in_proj", LFM, 0 },
    { "conv.conv", "shortconv.conv", LFM, 0 },
    { "conv.out_proj", "shortconv.out_proj", LFM, 0 },
    { "feed_forward.w1", "ffn_gate", LFM, 0 },
    { "feed_forward.w3", "ffn_up", LFM, 0 },
    { "feed_forward.w2", "ffn_down", LFM, 0 },
    { "feed_forward.gate", "ffn_gate_inp", LFM, 0 },
    { "attention_layernorm", "attn_norm", APERTUS, 0 },
    { "feedforward_layernorm", "ffn_norm", APERTUS, 0 },
    { "input_layernorm", "attn_norm", 0, APERTUS },
    { "self_attn.q_proj", "attn_q", 0, 0 },
    { "self_attn.k_proj", "attn_k", 0, 0 },
    { "self_attn.v_proj", "attn_v", 0, 0 },
    { "self_attn.dense", "attn_output", PHI, 0 },
    { "self_attn.o_proj", "attn_output", 0, PHI },
    { "self_attn.qkv_proj", "attn_qkv", 0, DELTA },
    { "self_attn.q_a_proj", "attn_q_a", 0, 0 },
    { "self_attn.q_a_layernorm", "attn_q_a_norm", 0, 0 },
    { "self_attn.q_b_proj", "attn_q_b", 0, 0 },
    { "self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa", 0, 0 },
    { "self_attn.kv_a_layernorm", "attn_kv_a_norm", 0, 0 },
    { "self_attn.kv_b_proj", "attn_kv_b", 0, 0 },
    { "self_attn.kv_b_proj", "attn_k_b", 0, 0 }, /* what becomes of it: split.c */
    { "self_attn.kv_b_proj", "attn_v_b", 0, 0 },
    { "self_attn.q_norm", "attn_q_norm", 0, HUNYUAN },
    { "self_attn.k_norm", "attn_k_norm", 0, HUNYUAN },
    { "self_attn.query_layernorm", "attn_q_norm", HUNYUAN, 0 },
    { "self_attn.key_layernorm", "attn_k_norm", HUNYUAN, 0 },
    { "post_self_attn_layernorm", "post_attention_norm", GLM4, 0 },
    { "post_mlp_layernorm", "post_ffw_norm", GLM4, 0 },
    { "post_attention_layernorm", "post_attention_norm", POST, 0 },
    { "post_attention_layernorm", "post_attention_norm", DELTA, POST },
    { "post_attention_layernorm", "ffn_norm", 0, POST | DELTA }, /* two meanings of one name */
    { "pre_feedforward_layernorm", "ffn_norm", POST, 0 },
    { "post_feedforward_layernorm", "post_ffw_norm", 0, GLM4 },
    { "post_feedforward_layernorm_1", "post_ffw_norm_1", GEMMA4, 0 },
    { "pre_feedforward_layernorm_2", "pre_ffw_norm_2", GEMMA4, 0 },
    { "post_feedforward_layernorm_2", "post_ffw_norm_2", GEMMA4, 0 },
    { "per_layer_input_gate", "inp_gate", GEMMA4, 0 },
    { "per_layer_projection", "proj", GEMMA4, 0 },
    { "post_per_layer_input_norm", "post_norm", GEMMA4, 0 },
    { "router.proj", "ffn_gate_inp", GEMMA4, 0 },
    { "mlp.gate_proj", "ffn_gate", 0, LLAMA4 },
    { "mlp.up_proj", "ffn_up", 0, FUSED | FC | CFC | LLAMA4 },
    { "mlp.c_fc", "ffn_up", CFC, 0 },
    { "mlp.c_proj", "ffn_down", CFC, 0 },
    { "mlp.fc1", "ffn_up", FC, 0 },
    { "mlp.fc2", "ffn_down", FC, 0 },
    { "mlp.gate_up_proj", "ffn_up", FUSED, 0 },
    { "mlp.down_proj", "ffn_down", 0, FC | CFC | LLAMA4 },
    { "mlp.router", "ffn_gate_inp", GPTOSS, 0 },
    { "mlp.gate", "ffn_gate_inp", 0, MIXTRAL | LLAMA4 },
    { "feed_forward.gate_proj", "ffn_gate", LLAMA4, 0 },
    { "feed_forward.up_proj", "ffn_up", LLAMA4, 0 },
    { "feed_forward.down_proj", "ffn_down", LLAMA4, 0 },
    { "feed_forward.router", "ffn_gate_inp", LLAMA4, 0 },
    { "feed_forward.shared_expert.gate_proj", "ffn_gate_shexp", LLAMA4, 0 },
    { "feed_forward.shared_expert.up_proj", "ffn_up_shexp", LLAMA4, 0 },
    { "feed_forward.shared_expert.down_proj", "ffn_down_shexp", LLAMA4, 0 },
    { "block_sparse_moe.gate", "ffn_gate_inp", MIXTRAL, 0 },
    { "mlp.shared_expert.gate_proj", "ffn_gate_shexp", 0, SHARED | LLAMA4 },
    { "mlp.shared_expert.up_proj", "ffn_up_shexp", 0, SHARED | LLAMA4 },
    { "mlp.shared_expert.down_proj", "ffn_down_shexp", 0, SHARED | LLAMA4 },
    { "mlp.shared_expert_gate", "ffn_gate_inp_shexp", 0, SHARED },
    { "mlp.shared_experts.gate_proj", "ffn_gate_shexp", SHARED, 0 },
    { "mlp.shared_experts.up_proj", "ffn_up_shexp", SHARED, 0 },
    { "mlp.shared_experts.down_proj", "ffn_down_shexp", SHARED, 0 },
    { "linear_attn.in_proj_qkvz", "ssm_in", NEXT, 0 },
    { "linear_attn.in_proj_qkvz", "attn_qkv", NEXT, 0 }, /* what becomes of it: split.c */
    { "linear_attn.in_proj_qkvz", "attn_gate", NEXT, 0 },
    { "linear_attn.in_proj_ba", "ssm_ba", NEXT, 0 },
    { "linear_attn.in_proj_qkv", "attn_qkv", DELTA, NEXT },
    { "linear_attn.in_proj_z", "attn_gate", DELTA, NEXT },
    { "linear_attn.in_proj_b", "ssm_beta", DELTA, NEXT },
    { "linear_attn.in_proj_a", "ssm_alpha", DELTA, NEXT },
    { "linear_attn.conv1d", "ssm_conv1d", DELTA, 0 },
    { "linear_attn.norm", "ssm_norm", DELTA, 0 },
    { "linear_attn.out_proj", "ssm_out", DELTA, 0 },
    { "attention.self.query", "attn_q", BERT, 0 },
    { "attention.self.key", "attn_k", BERT, 0 },
    { "attention.self.value", "attn_v", BERT, 0 },
    { "attention.output.dense", "attn_output", BERT, 0 },
    { "attention.output.LayerNorm", "attn_output_norm", BERT, 0 },
    { "attention.attn.q", "attn_q", MPNET, 0 },
    { "attention.attn.k", "attn_k", MPNET, 0 },
    { "attention.attn.v", "attn_v", MPNET, 0 },
    { "attention.attn.o", "attn_output", MPNET, 0 },
    { "attention.LayerNorm", "attn_output_norm", MPNET, 0 },
    { "intermediate.dense", "ffn_up", BERT | MPNET, 0 },
    { "output.dense", "ffn_down", BERT | MPNET, 0 },
    { "output.LayerNorm", "layer_output_norm", BERT | MPNET, 0 },
    { "attention.q_lin", "attn_q", DISTIL, 0 },
    { "attention.k_lin", "attn_k", DISTIL, 0 },
    { "attention.v_lin", "attn_v", DISTIL, 0 },
    { "attention.out_lin", "attn_output", DISTIL, 0 },
    { "sa_layer_norm", "attn_output_norm", DISTIL, 0 },
    { "ffn.lin1", "ffn_up", DISTIL, 0 },
    { "ffn.lin2", "ffn_down", DISTIL, 0 },
    { "output_layer_norm", "layer_output_norm", DISTIL, 0 },
    { "attn.Wqkv", "attn_qkv", NOMIC, 0 },
    { "attn.out_proj", "attn_output", NOMIC, 0 },
    { "norm1", "attn_output_norm", NOMIC, 0 },
    { "mlp.fc12", "ffn_gate", NOMIC, 0 },
    { "mlp.fc11", "ffn_up", NOMIC, 0 },
    { "mlp.fc2", "ffn_down", NOMIC, 0 },
    { "norm2", "layer_output_norm", NOMIC, 0 },
    { "ln_1", "attn_norm", GPT2, 0 },
    { "attn.c_attn", "attn_qkv", GPT2, 0 },
    { "attn.c_proj", "attn_output", GPT2, 0 },
    { "ln_2", "ffn_norm", GPT2, 0 },
    { "mlp.c_fc", "ffn_up", GPT2, 0 },
    { "mlp.c_proj", "ffn_down", GPT2, 0 },
    { "input_layernorm", "attn_norm", NEOX, 0 },
    { "attention.query_key_value", "attn_qkv", NEOX, 0 },
    { "attention.dense", "attn_output", NEOX, 0 },
    { "post_attention_layernorm", "ffn_norm", NEOX, 0 },
    { "mlp.dense_h_to_4h", "ffn_up", NEOX, 0 },
    { "mlp.dense_4h_to_h", "ffn_down", NEOX, 0 },
    { "attn_norm", "attn_norm", MODERN, 0 },
    { "attn.Wqkv", "attn_qkv", MODERN, 0 },
    { "attn.Wo", "attn_output", MODERN, 0 },
    { "mlp_norm", "ffn_norm", MODERN, 0 },
    { "mlp.Wi", "ffn_up", MODERN, 0 },
    { "mlp.Wo", "ffn_down", MODERN, 0 },
}, name_expert[] = { /* behind "mlp.experts.3." or Mixtral's "block_sparse_moe.experts.3." */
    { "gate_proj", "ffn_gate", 0, MIXTRAL | LFM },
    { "up_proj", "ffn_up", 0, MIXTRAL | LFM },
    { "down_proj", "ffn_down", 0, MIXTRAL | LFM },
    { "w1", "ffn_gate", MIXTRAL, 0 },
    { "w3", "ffn_up", MIXTRAL, 0 },
    { "w2", "ffn_down", MIXTRAL, 0 },
    { "w1", "ffn_gate", LFM, 0 },
    { "w3", "ffn_up", LFM, 0 },
    { "w2", "ffn_down", LFM, 0 },
};
/* Behind "layers.7." and "blk.7." too: names that do not end in .weight or .bias, as experts in a stack have them. */
static const struct {
    const char *hf, *gguf;
    int only, never;
} name_whole[] = {
    { "experts.gate_up_proj", "ffn_gate_up_exps.weight", GEMMA4, 0 },
    { "experts.down_proj", "ffn_down_exps.weight", GEMMA4, 0 },
    { "mlp.experts.gate_up_proj", "ffn_gate_up_exps.weight", 0, MIXTRAL | LLAMA4 | GRANITE4_MOE },
    { "mlp.experts.down_proj", "ffn_down_exps.weight", 0, MIXTRAL | LLAMA4 | GRANITE4_MOE },
    { "feed_forward.experts.gate_up_proj", "ffn_gate_up_exps.weight", LLAMA4, 0 },
    { "feed_forward.experts.down_proj", "ffn_down_exps.weight", LLAMA4, 0 },
    { "mlp.experts.gate_up_proj_blocks", "ffn_gate_up_exps.blocks", GPTOSS, 0 },
    { "mlp.experts.gate_up_proj_scales", "ffn_gate_up_exps.scales", GPTOSS, 0 },
    { "mlp.experts.gate_up_proj_bias", "ffn_gate_up_exps.bias", GPTOSS, 0 },
    { "mlp.experts.down_proj_blocks", "ffn_down_exps.blocks", GPTOSS, 0 },
    { "mlp.experts.down_proj_scales", "ffn_down_exps.scales", GPTOSS, 0 },
    { "mlp.experts.down_proj_bias", "ffn_down_exps.bias", GPTOSS, 0 },
    { "self_attn.sinks", "attn_sinks.weight", GPTOSS, 0 },
    { "mlp.act_fn.alpha_p", "xielu_alpha_p", APERTUS, 0 },
    { "mlp.act_fn.alpha_n", "xielu_alpha_n", APERTUS, 0 },
    { "mlp.act_fn.beta", "xielu_beta", APERTUS, 0 },
    { "mlp.act_fn.eps", "xielu_eps", APERTUS, 0 },
    { "feed_forward.expert_bias", "exp_probs_b.bias", LFM, 0 },
    { "mamba.A_log", "ssm_a", GRANITE4, 0 },
    { "mamba.D", "ssm_d", GRANITE4, 0 },
    { "mamba.dt_bias", "ssm_dt.bias", GRANITE4, 0 },
    { "mlp.gate.e_score_correction_bias", "exp_probs_b.bias", 0, MIXTRAL },
    { "linear_attn.A_log", "ssm_a", DELTA, 0 },
    { "linear_attn.dt_bias", "ssm_dt.bias", DELTA, 0 },
    { "layer_scalar", "layer_output_scale.weight", GEMMA4, 0 },
    { "router.scale", "ffn_gate_inp.scale", GEMMA4, 0 },
    { "router.per_expert_scale", "ffn_down_exps.scale", GEMMA4, 0 },
};
enum { N_OUTER = sizeof name_outer / sizeof *name_outer,
       N_INNER = sizeof name_inner / sizeof *name_inner,
       N_EXPERT = sizeof name_expert / sizeof *name_expert,
       N_WHOLE = sizeof name_whole / sizeof *name_whole,
       N_HEAD = sizeof name_head / sizeof *name_head, N_DECODER = sizeof name_decoder / sizeof *name_decoder };

static int fits_style(int only, int never, int style) {
    int elder = style & PITH__HF_ELDERS;
    if (elder || only & PITH__HF_ELDERS) return (elder & only) != 0;
    return (style & only) == only && !(style & never);
}

static const char *experts_of(int style) { /* what stands before the number of an expert */
    return style & MIXTRAL ? "block_sparse_moe.experts." : style & LFM ? "feed_forward.experts." : "mlp.experts.";
}

/* ---- parts of a name ----------------------------------------------------------------------------- */

static int name_begins(pith__str *s, const char *with) { /* and step behind it */
    size_t n = strlen(with);
    if (s->n < n || memcmp(s->p, with, n)) return 0;
    s->p += n;
    s->n -= n;
    return 1;
}

PITH_SHARED int pith__name_ends(pith__str s, const char *with) {
    size_t n = strlen(with);
    return s.n >= n && !memcmp(s.p + s.n - n, with, n);
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

/* A bias is used only where config.json says so; the older families have those that are there. */
static int has_bias(const pith__folder *f, pith__str part) {
    if (f->s->hf_style & PITH__HF_ELDERS) return 1;
    if (pith__str_is(part, "mamba.conv1d")) return !f->no_conv_bias;
    if (pith__name_ends(part, "norm")) return f->norm_bias;
    if (name_begins(&part, "mlp.")) return f->ffn_bias;
    return pith__str_is(part, "self_attn.o_proj") || pith__str_is(part, "self_attn.dense") ? f->bias == 2 : f->bias;
}

/* "weight" or "bias", which is cut off; NULL: neither. Old files of BERT have TensorFlow's words for those of norms. */
static const char *cut_kind(pith__str *s, int style) {
    if (name_ends(s, ".weight") || (style & BERT && name_ends(s, ".gamma"))) return "weight";
    return name_ends(s, ".bias") || (style & BERT && name_ends(s, ".beta")) ? "bias" : NULL;
}

/* What is behind "layers.7.". */
static int gguf_inner(const pith__folder *f, pith__str layer, pith__str s, char *name) {
    pith__str expert;
    int style = f->s->hf_style;
    for (int i = 0; i < N_WHOLE; i++) {
        if (!fits_style(name_whole[i].only, name_whole[i].never, style) || !pith__str_is(s, name_whole[i].hf)) continue;
        snprintf(name, PITH__HF_NAME, "blk.%.*s.%s", (int)layer.n, layer.p, name_whole[i].gguf);
        return 1;
    }
    const char *kind = cut_kind(&s, style);
    int bias = kind && *kind == 'b';
    if (!kind) return 0;
    if (bias && !has_bias(f, s)) return 0;
    if (f->no_qk_norm && (pith__str_is(s, "self_attn.q_norm") || pith__str_is(s, "self_attn.k_norm"))) return 0;
    if (name_begins(&s, experts_of(style))) {
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

/* What may stand before the names of this style; and step behind it. */
static void skip_prefix(const struct spelling *how, pith__str *s) {
    for (int i = 0; i < 3; i++)
        while (*how->prefix[i] && name_begins(s, how->prefix[i])) i = 0;
}

static int fits_head(int only, int head, int style) { return (!only || style & only) && style & head; }

/* Of a head. The bias of words is one; a matrix of words, and a bias of its own with it, is used where it is not the embedding. */
static int gguf_head(const pith__folder *f, pith__str s, const char *kind, char *name) {
    int style = f->s->hf_style;
    for (int i = 0; i < N_DECODER && !f->tied; i++) {
        if (!fits_head(name_decoder[i].only, name_decoder[i].head, style) || !pith__str_is(s, name_decoder[i].hf)) continue;
        snprintf(name, PITH__HF_NAME, "%s", *kind == 'w' ? "output.weight" : "mlm.bias");
        return 1;
    }
    for (int i = 0; i < N_HEAD; i++) {
        if (!fits_head(name_head[i].only, name_head[i].head, style) || !pith__str_is(s, name_head[i].hf)) continue;
        if (!strcmp(name_head[i].gguf, "mlm") && (*kind == 'w' || !f->tied)) return 0;
        snprintf(name, PITH__HF_NAME, "%s.%s", name_head[i].gguf, kind);
        return 1;
    }
    return 0;
}

PITH_SHARED int pith__hf_to_gguf(const pith__folder *f, pith__str s, char *name) {
    const struct spelling *how = spelling_of(f->s->hf_style);
    pith__str layer, whole = s;
    skip_prefix(how, &s);
    if (name_begins(&s, how->layers)) {
        if (!f->s->hf_prefix.p) f->s->hf_prefix = (pith__str){ whole.p, whole.n - s.n - strlen(how->layers) };
        return name_number(&s, &layer) && gguf_inner(f, layer, s, name);
    }
    const char *kind = cut_kind(&s, f->s->hf_style);
    if (!kind) return 0;
    for (int i = 0; i < N_OUTER && (*kind == 'w' || f->norm_bias || f->s->hf_style & PITH__HF_ELDERS); i++) {
        if (!fits_style(name_outer[i].only, 0, f->s->hf_style) || !pith__str_is(s, name_outer[i].hf)) continue;
        snprintf(name, PITH__HF_NAME, "%s.%s", name_outer[i].gguf, kind);
        return 1;
    }
    return gguf_head(f, s, kind, name);
}

/* ---- what is no part of a text model -------------------------------------------------------------- */

/* Towers that see or hear; and "mtp", layers that guess further ahead, for speed alone. */
static const char *const name_tower[] = { "vision_tower", "vision_model", "visual", "embed_vision", "multi_modal_projector",
                                          "audio_tower", "embed_audio", "mtp" };
enum { N_TOWER = sizeof name_tower / sizeof *name_tower };

PITH_SHARED unsigned pith__hf_tower(pith__str s) {
    skip_prefix(spelling_of(0), &s);
    for (int i = 0; i < N_TOWER; i++) {
        pith__str rest = s;
        if (name_begins(&rest, name_tower[i]) && rest.n > 0 && *rest.p == '.') return 1u << i;
    }
    return 0;
}

PITH_SHARED const char *pith__hf_tower_name(int i) { return i < N_TOWER ? name_tower[i] : NULL; }

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
    { "expert_group_count", "n_group" },
    { "expert_group_used_count", "topk_group" },
    { "leading_dense_block_count", "first_k_dense_replace" },
    { "feed_forward_length", "intermediate_size" },
    { "attention.shared_kv_layers", "num_kv_shared_layers" },
    { "rope.dimension_count", "the part of head_dim that is rotated" },
};

static const char *hf_inner(const pith__store *s, pith__str layer, pith__str part, char *room) {
    pith__str prefix = s->hf_prefix, expert = { NULL, 0 };
    const char *layers = spelling_of(s->hf_style)->layers;
    if (!prefix.p) prefix = pith__str_of(spelling_of(s->hf_style)->prefix[0]);
    for (int i = 0; i < N_WHOLE; i++) {
        if (!fits_style(name_whole[i].only, name_whole[i].never, s->hf_style) || !pith__str_is(part, name_whole[i].gguf)) continue;
        snprintf(room, PITH__HF_NAME, "%.*s%s%.*s.%s", (int)prefix.n, prefix.p, layers, (int)layer.n, layer.p, name_whole[i].hf);
        return room;
    }
    int bias = name_ends(&part, ".bias");
    if (!bias && !name_ends(&part, ".weight")) return NULL;
    const char *dot = memchr(part.p, '.', part.n);
    if (dot && dot[1] >= '0' && dot[1] <= '9') { /* "ffn_up.3": else the point is part of a name, as in "shortconv.conv" */
        expert = (pith__str){ dot + 1, part.n - (size_t)(dot + 1 - part.p) };
        part.n = (size_t)(dot - part.p);
    } else {
        dot = NULL;
    }
    for (int i = 0; i < (dot ? N_EXPERT : N_INNER); i++) {
        const char *gguf = dot ? name_expert[i].gguf : name_inner[i].gguf;
        const char *hf = dot ? name_expert[i].hf : name_inner[i].hf, *experts = "";
        int only = dot ? name_expert[i].only : name_inner[i].only;
        int never = dot ? name_expert[i].never : name_inner[i].never;
        if (!fits_style(only, never, s->hf_style) || !pith__str_is(part, gguf)) continue;
        if (dot) experts = experts_of(s->hf_style);
        snprintf(room, PITH__HF_NAME, "%.*s%s%.*s.%s%.*s%s%s.%s", (int)prefix.n, prefix.p,
                 layers, (int)layer.n, layer.p, experts, (int)expert.n, expert.p, dot ? "." : "", hf,
                 bias ? "bias" : "weight");
        return room;
    }
    return NULL;
}

static const char *hf_head(const pith__store *s, pith__str part, const char *kind, char *room) {
    pith__str prefix = s->hf_prefix.p ? s->hf_prefix : pith__str_of(spelling_of(s->hf_style)->prefix[0]);
    for (int i = 0; i < N_HEAD; i++) {
        if (!fits_head(name_head[i].only, name_head[i].head, s->hf_style) || !pith__str_is(part, name_head[i].gguf)) continue;
        snprintf(room, PITH__HF_NAME, "%.*s%s.%s", name_head[i].prefixed ? (int)prefix.n : 0, prefix.p, name_head[i].hf, kind);
        return room;
    }
    for (int i = 0; i < N_DECODER; i++) {
        if (!fits_head(name_decoder[i].only, name_decoder[i].head, s->hf_style) || !pith__str_is(part, "output")) continue;
        snprintf(room, PITH__HF_NAME, "%s.%s", name_decoder[i].hf, kind);
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
    const char *kind = cut_kind(&name, 0), *head = kind ? hf_head(s, name, kind, room) : NULL;
    if (head) return head;
    for (int i = 0; kind && i < N_OUTER; i++) {
        if (!fits_style(name_outer[i].only, 0, s->hf_style) || !pith__str_is(name, name_outer[i].gguf)) continue;
        pith__str prefix = s->hf_prefix.p ? s->hf_prefix : pith__str_of(spelling_of(s->hf_style)->prefix[0]), rest = prefix;
        if (!strcmp(name_outer[i].gguf, "output")) prefix.n = name_begins(&rest, "language_model.") ? prefix.n - rest.n : 0;
        snprintf(room, PITH__HF_NAME, "%.*s%s.%s", (int)prefix.n, prefix.p, name_outer[i].hf, kind);
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
