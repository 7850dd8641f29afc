#!/usr/bin/env python3
"""reference_hf.py - Hugging Face folders and what transformers computes from them.

    python3 scripts/reference_hf.py > tests/golden_folders.h     (transformers 5.24, torch 2.13)

Every case is a small config.json and random weights, under the names that save_pretrained gives them.
tests/t_folders.c makes the same folder (fixture_safetensors has the same generator) and compares.
"""
import json
import math
import os
import struct
import sys
import tempfile
import textwrap

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.mistral4 import modeling_mistral4
from transformers.models.qwen3_5 import modeling_qwen3_5
from transformers.models.qwen3_next import modeling_qwen3_next

N = 40  # tokens of a case
SEED = 7

SMALL = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, vocab_size=96, max_position_embeddings=64, head_dim=8,
             pad_token_id=0)
LAYERS = dict(SMALL, num_hidden_layers=4)
YARN = dict(rope_type="yarn", factor=4.0, rope_theta=10000.0)
LATENT = dict(SMALL, num_key_value_heads=4, head_dim=None, qk_nope_head_dim=4, qk_rope_head_dim=4, v_head_dim=6, kv_lora_rank=10)
DELTA = dict(SMALL, num_hidden_layers=3, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=6,
             linear_value_head_dim=10, linear_conv_kernel_dim=3,
             rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5))
LONG = [1.0, 1.5, 2.0, 3.0]

# name: model_type, fields of the config class, fields of config.json changed afterwards (None: left out,
# "null": null)
CASES = {
    "llama": ("llama", dict(SMALL, attention_bias=True, mlp_bias=True), {}),
    "llama_bare": ("llama", SMALL, dict(rms_norm_eps=None, rope_parameters=None, hidden_act=None,
                                        tie_word_embeddings=None, attention_bias=None)),
    "llama_yarn_outer": ("llama", SMALL, dict(rope_parameters=None, rope_theta=10000.0,
                         rope_scaling=dict(type="yarn", factor=4.0), original_max_position_embeddings=16)),
    "llama_yarn_exact": ("llama", dict(SMALL, max_position_embeddings=256), dict(rope_parameters=dict(
        YARN, original_max_position_embeddings=64, truncate=False))),
    "llama_yarn_short": ("llama", SMALL, dict(rope_parameters=dict(YARN, original_max_position_embeddings=1, truncate=False))),
    "llama_llama3": ("llama", SMALL, dict(rope_parameters=dict(
        rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, rope_theta=5e4))),
    "llama_longrope": ("llama", SMALL, dict(rope_parameters=dict(
        rope_type="longrope", short_factor=LONG, long_factor=LONG[::-1], factor=4.0, rope_theta=10000.0,
        original_max_position_embeddings=32))),
    "llama_scaling_first": ("llama", SMALL, dict(rope_scaling=dict(type="linear", factor=3.0),
                            rope_parameters=dict(rope_type="default", rope_theta=700.0))),
    "mistral": ("mistral", dict(SMALL, sliding_window=7, head_dim=None), {}),
    "mixtral": ("mixtral", dict(SMALL, num_local_experts=5, sliding_window=9), {}),
    "qwen2": ("qwen2", dict(LAYERS, head_dim=None, use_sliding_window=True, sliding_window=6,
                            max_window_layers=2, tie_word_embeddings=True), {}),
    "qwen2_types": ("qwen2", dict(LAYERS, head_dim=None, use_sliding_window=True, sliding_window=6),
                    dict(layer_types=["sliding_attention", "full_attention"] * 2)),
    "qwen3": ("qwen3", dict(SMALL, attention_bias=True), dict(num_key_value_heads="null")),
    "qwen3_moe": ("qwen3_moe", dict(LAYERS, num_experts=6, num_experts_per_tok=2, mlp_only_layers=[1],
                                    moe_intermediate_size=12, norm_topk_prob=True), {}),
    "qwen3_moe_bare": ("qwen3_moe", dict(SMALL, num_experts=9, moe_intermediate_size=12),
                       dict(num_experts_per_tok=None, norm_topk_prob=None, head_dim=8)),
    "qwen2_moe": ("qwen2_moe", dict(SMALL, num_hidden_layers=3, num_experts=7, num_experts_per_tok=3, mlp_only_layers=[2],
                  moe_intermediate_size=12, shared_expert_intermediate_size=20, use_sliding_window=True,
                  sliding_window=6, max_window_layers=2, head_dim=None), {}),
    "qwen2_moe_normed": ("qwen2_moe", dict(SMALL, num_experts=5, num_experts_per_tok=2, qkv_bias=False,
                         moe_intermediate_size=28, shared_expert_intermediate_size=8, norm_topk_prob=True,
                         head_dim=None), {}),
    "qwen3_next": ("qwen3_next", dict(SMALL, num_experts=5, num_experts_per_tok=2, moe_intermediate_size=12,
                   shared_expert_intermediate_size=20, linear_key_head_dim=6, linear_value_head_dim=10,
                   linear_num_key_heads=2, linear_num_value_heads=6, layer_types=["linear_attention", "full_attention"]), {}),
    "olmoe": ("olmoe", dict(SMALL, num_experts=6, num_experts_per_tok=2, head_dim=None), {}),
    "llama4_text": ("llama4_text", dict(LAYERS, num_local_experts=3, num_experts_per_tok=2, intermediate_size=12,
                    intermediate_size_mlp=20, interleave_moe_layer_step=2, attention_chunk_size=5, floor_scale=3,
                    attn_scale=0.5, no_rope_layers=[0, 1, 1, 0]), {}),
    "llama4_bare": ("llama4_text", dict(SMALL, num_local_experts=3, intermediate_size=12, use_qk_norm=False,
                    attn_temperature_tuning=False), dict(no_rope_layers=[], layer_types=None,
                    attention_chunk_size=None, moe_layers=None, floor_scale=None)),
    "glm4_moe": ("glm4_moe", dict(SMALL, n_routed_experts=12, num_experts_per_tok=3, n_group=4,
                 topk_group=2, moe_intermediate_size=12, n_shared_experts=2, routed_scaling_factor=1.5,
                 attention_bias=True, use_qk_norm=True), {}),
    "glm4_moe_plain": ("glm4_moe", dict(SMALL, n_routed_experts=5, num_experts_per_tok=2, n_shared_experts=1,
                       moe_intermediate_size=12, norm_topk_prob=False, first_k_dense_replace=0), {}),
    "deepseek_v2": ("deepseek_v2", dict(SMALL, num_key_value_heads=4, n_routed_experts=12, num_experts_per_tok=3, n_group=4, topk_group=2,
                    topk_method="group_limited_greedy", moe_intermediate_size=12, n_shared_experts=1, routed_scaling_factor=1.5,
                    first_k_dense_replace=1, kv_lora_rank=10, q_lora_rank=14, qk_rope_head_dim=4, qk_nope_head_dim=6,
                    v_head_dim=8), {}),
    "gemma": ("gemma", SMALL, dict(hidden_act="gelu", rms_norm_eps=None)),
    "gemma2": ("gemma2", dict(LAYERS, sliding_window=6, query_pre_attn_scalar=20), {}),
    "gemma2_uncapped": ("gemma2", dict(LAYERS, sliding_window=6), dict(
        layer_types=["full_attention"] * 4, attn_logit_softcapping="null",
        final_logit_softcapping=None)),
    "gemma3_text": ("gemma3_text", dict(SMALL, num_hidden_layers=7, sliding_window=5), {}),
    "gemma3_old": ("gemma3_text", dict(SMALL, sliding_window=5), dict(
        layer_types=None, rope_parameters=None, sliding_window_pattern=2,
        rope_scaling=dict(rope_type="linear", factor=8.0))),
    "gemma3_both": ("gemma3_text", dict(SMALL, sliding_window=5, num_hidden_layers=6), dict(
        rope_scaling=dict(rope_type="linear", factor=8.0), rope_parameters=dict(
            full_attention=dict(rope_type="default", rope_theta=5e4),
            sliding_attention=dict(rope_type="default", rope_theta=500.0)))),
    "phi3": ("phi3", dict(SMALL, head_dim=None, num_attention_heads=2, partial_rotary_factor=0.75,
                          sliding_window=11), {}),
    "phi3_longrope": ("phi3", dict(SMALL, head_dim=None, num_attention_heads=2), dict(
        rope_parameters=None, rope_scaling=dict(type="longrope", short_factor=LONG, long_factor=LONG[::-1]),
        rope_theta=10000.0, original_max_position_embeddings=32)),
    "phi3_factor": ("phi3", dict(SMALL, head_dim=None, num_attention_heads=2), dict(
        original_max_position_embeddings=None, rope_parameters=None, rope_theta=10000.0, rope_scaling=dict(
            type="longrope", short_factor=LONG, long_factor=LONG[::-1], factor=2.0,
            original_max_position_embeddings=16))),
    "smollm3": ("smollm3", dict(LAYERS, num_hidden_layers=5, use_sliding_window=True, sliding_window=6),
                {}),
    "olmo2": ("olmo2", dict(SMALL, head_dim=None, attention_bias=True), {}),
    "cohere2": ("cohere2", dict(LAYERS, head_dim=None, sliding_window=6, attention_bias=True), dict(sliding_window_pattern=2,
                layer_types=None, layer_norm_eps=1e-3)),
    "olmo3": ("olmo3", dict(LAYERS, head_dim=None, sliding_window=6), dict(rope_parameters=dict(
        full_attention=dict(YARN, original_max_position_embeddings=16),
        sliding_attention=dict(rope_type="default", rope_theta=700.0)))),
    "olmo3_hub": ("olmo3", dict(LAYERS, head_dim=None, sliding_window=6), dict(
        layer_types=None, rope_parameters=None, rope_theta=5e5, rope_scaling=dict(
            rope_type="yarn", factor=4.0, original_max_position_embeddings=16))),
    "seed_oss": ("seed_oss", dict(SMALL, attention_out_bias=True, mlp_bias=True), {}),
    "seed_oss_bare": ("seed_oss", SMALL, dict(attention_bias=None, attention_out_bias=None, mlp_bias=None)),
    "exaone4": ("exaone4", dict(LAYERS, sliding_window=6, sliding_window_pattern=2), dict(layer_types=None)),
    "exaone4_full": ("exaone4", SMALL, dict(layer_types=["full_attention"] * 2, sliding_window="null",
                                            sliding_window_pattern="LLLG")),
    "nanochat": ("nanochat", dict(SMALL, head_dim=None, attention_bias=True), dict(final_logit_softcapping=None)),
    "starcoder2": ("starcoder2", dict(SMALL, head_dim=None, sliding_window=7), dict(norm_epsilon=1e-3)),
    "starcoder2_bare": ("starcoder2", dict(SMALL, head_dim=None, use_bias=False), dict(tie_word_embeddings=None)),
    "stablelm": ("stablelm", dict(SMALL, head_dim=None, use_qkv_bias=True, num_attention_heads=2), {}),
    "stablelm_parallel": ("stablelm", dict(SMALL, head_dim=None, num_attention_heads=1, num_key_value_heads=1,
                          use_parallel_residual=True), dict(rope_parameters=None, rope_theta=500.0, partial_rotary_factor=0.5)),
    "phi": ("phi", dict(SMALL, head_dim=None, partial_rotary_factor=0.75, num_attention_heads=2), {}),
    "phi_old": ("phi", dict(SMALL, head_dim=None, num_attention_heads=1, num_key_value_heads=1), dict(
                rope_parameters=None, rope_theta=1e4, partial_rotary_factor=0.375, rope_scaling="null")),
    "olmo": ("olmo", dict(SMALL, head_dim=None, num_key_value_heads=1), {}),
    "olmo_clipped": ("olmo", dict(SMALL, head_dim=None, attention_bias=True, clip_qkv=0.5, tie_word_embeddings=True), {}),
    "helium": ("helium", dict(SMALL, attention_bias=True, head_dim=4), dict(rms_norm_eps=1e-3)),
    "lfm3_bare": ("lfm3", dict(SMALL, num_hidden_layers=5, sliding_window=6), dict(layer_types=None, rope_parameters=None,
                  conv_L_cache=None, norm_eps=None, tie_word_embeddings=None)),
    "apertus": ("apertus", dict(SMALL, head_dim=None), dict(rope_parameters=None, rope_theta=1.2e7, rope_scaling=dict(
                rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32))),
    "arcee": ("arcee", dict(SMALL, attention_bias=True, mlp_bias=True), {}),
    "hunyuan": ("hunyuan_v1_dense", dict(SMALL, attention_bias=True), dict(rope_parameters=None, rope_theta=1e4,
                rope_scaling=dict(type="dynamic", alpha=100.0, factor=1.0))),
    "ernie4_5": ("ernie4_5", dict(SMALL, use_bias=True), {}),
    "glm4": ("glm4", SMALL, {}),
    "ministral3_plain": ("ministral3", dict(SMALL, num_attention_heads=3, num_key_value_heads=1, sliding_window=7), dict(
        rope_parameters=dict(rope_type="default", rope_theta=777.0, llama_4_scaling_beta=0.3, original_max_position_embeddings=4))),
    "mistral4_groups": ("mistral4", dict(LATENT, n_routed_experts=9, n_group=3, topk_group=2, num_experts_per_tok=4, q_lora_rank=12,
                        moe_intermediate_size=12, rope_parameters=dict(
                            YARN, original_max_position_embeddings=8, llama_4_scaling_beta=0.2)), dict(partial_rotary_factor=0.5)),
    "deepseek3_dense": ("deepseek_v3", dict(LATENT, n_routed_experts=4, n_group=1, topk_group=1, num_experts_per_tok=2, q_lora_rank=None,
                        first_k_dense_replace=3), {}),
    "qwen3_moe_dense": ("qwen3_moe", dict(LAYERS, num_experts=3, decoder_sparse_step=2, mlp_only_layers=[1, 3]), {}),
    "qwen3_5_first": ("qwen3_5_text", dict(DELTA, layer_types=["full_attention"] + ["linear_attention"] * 2), {}),
    "qwen3_5_linear": ("qwen3_5_text", dict(DELTA, layer_types=["linear_attention"] * 3), {}),
    "granite": ("granite", dict(SMALL, head_dim=None, embedding_multiplier=3.0, residual_multiplier=0.75,
                                attention_multiplier=0.0625, logits_scaling=8.0, mlp_bias=True,
                                tie_word_embeddings=True), {}),
}


def random(name, n):
    """fixture_random from FNV-1a of the name."""
    state, mask = 0xcbf29ce484222325 ^ SEED, (1 << 64) - 1
    for byte in name.encode():
        state = (state ^ byte) * 0x100000001b3 & mask
    z = (state + np.uint64(0x9e3779b97f4a7c15) * np.arange(1, n + 1, dtype=np.uint64)).astype(np.uint64)
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xbf58476d1ce4e5b9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94d049bb133111eb)
    z ^= z >> np.uint64(31)
    return ((z >> np.uint64(40)).astype(np.float64) / (1 << 23) - 1).astype(np.float32)


def numbers(name, shape):
    """put_numbers of tests/fixture.c."""
    f = np.float32
    if not shape:  # Apertus: what pith takes for granted where a folder has none
        return np.array(0.5 if name.endswith("beta") else -1e-6, f)
    mean, spread = f(0), f(2) / np.sqrt(f(shape[-1]))
    if "norm" in name:
        mean, spread = f(1), f(0.125)
    elif ".bias" in name:
        spread = f(0.25)
    elif "embed_tokens" in name:
        spread = f(1)
    elif "mlp.gate." in name or "moe.gate." in name:
        spread *= f(3)
    return (mean + spread * random(name, math.prod(shape))).astype(np.float32).reshape(shape)


def header(path):
    with open(path, "rb") as file:
        head = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    return {name: tuple(t["shape"]) for name, t in head.items() if name != "__metadata__"}


def write(path, shapes):
    head, data = {}, b""
    for name, shape in shapes.items():
        more = numbers(name, shape).tobytes()
        head[name] = dict(dtype="F32", shape=list(shape), data_offsets=[len(data), len(data) + len(more)])
        data += more
    text = json.dumps(head).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


KEEP_OUT = ("architectures", "dtype", "transformers_version", "initializer_range", "use_cache",
            "attention_dropout", "bos_token_id", "eos_token_id", "output_router_logits",
            "router_aux_loss_coef", "router_jitter_noise", "pretraining_tp", "embd_pdrop", "resid_pdrop")


def make(folder, model_type, fields, changes):
    """Write the folder; the text of config.json and the shapes."""
    config = AutoConfig.for_model(model_type, **{k: v for k, v in fields.items() if v is not None})
    torch.manual_seed(0)
    (modeling_mistral4.Mistral4ForCausalLM(config) if model_type == "mistral4" else
     AutoModelForCausalLM.from_config(config)).save_pretrained(folder)
    path = os.path.join(folder, "config.json")
    with open(path) as file:
        said = {k: v for k, v in json.load(file).items() if k not in KEEP_OUT}
    for name, value in changes.items():
        said.pop(name, None)
        if value is not None:
            said[name] = None if value == "null" else value
    text = json.dumps(said)
    with open(path, "w") as file:
        file.write(text)
    shapes = header(os.path.join(folder, "model.safetensors"))
    if "num_key_value_heads" in changes:  # null: as many as heads
        rows = fields["num_attention_heads"] * fields["head_dim"]
        shapes = {n: (rows, *s[1:]) if ".k_proj" in n or ".v_proj" in n else s for n, s in shapes.items()}
    write(os.path.join(folder, "model.safetensors"), shapes)
    return text, shapes


def step_by_step(query, key, value, chunk_size=64, **rest):
    """The delta rule token by token, which is more exact than the form that transformers takes for many."""
    return modeling_qwen3_5.torch_recurrent_gated_delta_rule(query, key, value, **rest)


modeling_qwen3_5.torch_chunk_gated_delta_rule = modeling_qwen3_next.torch_chunk_gated_delta_rule = step_by_step


def class_of(model_type):
    """transformers has no automatic class for Mistral Small 4's text model."""
    return modeling_mistral4.Mistral4ForCausalLM if model_type == "mistral4" else AutoModelForCausalLM


def logits(folder, tokens):
    with open(os.path.join(folder, "config.json")) as file:
        model_type = json.load(file)["model_type"]
    model = class_of(model_type).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model.eval()
    with torch.no_grad():
        return model(torch.tensor([tokens]), use_cache=False).logits[0].double().numpy()


def lines(text):
    text = text.replace('"', "'")  # the test turns them back
    return "\n".join(f'      "{line}"' for line in
                     textwrap.wrap(text, 90, drop_whitespace=False, break_on_hyphens=False)) + ","


def class_defaults(model_type):
    """What a config.json of nothing but model_type means."""
    c = AutoConfig.for_model(model_type)
    rope = c.rope_parameters.get("full_attention", c.rope_parameters)
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    window = getattr(c, "sliding_window", None) or 0
    eps = getattr(c, "rms_norm_eps", None) or getattr(c, "layer_norm_eps", None) or getattr(c, "norm_epsilon", 1e-5)
    return (f'    {{ "{model_type}", {c.vocab_size}, {c.hidden_size}, {c.intermediate_size}, '
            f"{c.num_hidden_layers},\n      {c.num_attention_heads}, {c.num_key_value_heads}, {head_dim}, "
            f"{c.max_position_embeddings}, {window}, {int(bool(c.tie_word_embeddings))}, {eps}, "
            f"{rope['rope_theta']} }},")


def main():
    print("/* Generated by scripts/reference_hf.py: folders, and logits that transformers computes from them.\n"
          " * Tokens are (7 + 31 t + 13 t^2) % vocabulary; of row t there is logit (37 t + 11) %\n"
          " * vocabulary; norm is that of all. In config ' stands for \\\". */")
    print(f"enum {{ GOLDEN_TOKENS = {N}, GOLDEN_SEED = {SEED} }};\n")
    print("static const struct golden_folder {\n"
          "    const char *name, *config, *tensors;\n"
          "    double norm, logits[GOLDEN_TOKENS];\n"
          "} goldens[] = {")
    from reference import patterns
    for name in sys.argv[1:] or CASES:
        with tempfile.TemporaryDirectory() as folder:
            text, shapes = make(folder, *CASES[name])
            n_vocab = json.loads(text)["vocab_size"]
            y = logits(folder, [(7 + 31 * t + 13 * t * t) % n_vocab for t in range(N)])
        print(f'    {{ "{name}",\n{lines(text)}\n{lines("; ".join(patterns({n: s for n, s in shapes.items() if s})))}')
        print(f"      {np.linalg.norm(y):.9g},")
        some = [f"{y[t, (37 * t + 11) % n_vocab]:.7g}" for t in range(N)]
        rows = [", ".join(some[i:i + 8]) for i in range(0, N, 8)]
        print("      { " + ",\n        ".join(rows) + " } },")
    print("};\n")
    print("static const struct class_defaults { /* window: 0 where none is used */\n"
          "    const char *type;\n"
          "    int n_vocab, n_embd, n_ff, n_layer, n_head, n_kv_head, head_dim, n_ctx, window, tied;\n"
          "    double eps, theta;\n"
          "} class_defaults[] = {")
    for model_type in dict.fromkeys(case[0] for case in CASES.values()):
        if model_type not in ("glm4_moe", "llama4_text", "mistral4", "deepseek_v2", "deepseek_v3", "ministral3", "apertus"):
            # a head size that is none; two widths of networks; latents; a YaRN that pith wants said
            print(class_defaults(model_type))
    print("};")


if __name__ == "__main__":
    main()
