#!/usr/bin/env python3
"""A GGUF file of random weights in a published shape, for races (race.sh) against programs that need a file.

    random_gguf.py SHAPE q8_0|q4_k_m|mxfp4 OUT.gguf

Needs pip install gguf numpy. The mixtures are those of llama-quantize; mxfp4: experts, and Q8_0 beside them. Numbers are about
1 / sqrt(columns). The vocabulary is a stand-in. Gemma 4's table of embeddings a layer, of which a token reads one row, is Q4_K.
"""
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Q

SHAPES = {  # arch, layers, width, heads, kv heads, head size, network, vocabulary, context, layers that attend (None: all)
    "qwen3.5-0.8b": ("qwen35", 24, 1024, 8, 2, 256, 3584, 248320, 262144, range(3, 24, 4)),
    "qwen3.5-2b": ("qwen35", 24, 2048, 8, 2, 256, 6144, 248320, 262144, range(3, 24, 4)),
    "gemma4-e2b": ("gemma4", 35, 1536, 8, 1, 512, 6144, 262144, 131072, None),
    "gpt-oss-4-layers": ("gpt-oss", 4, 2880, 64, 8, 64, 2880, 201088, 131072, None),
    "lfm2-1.2b": ("lfm2", 16, 2048, 32, 8, 64, 8192, 65536, 128000, (2, 5, 8, 10, 12, 14)),
    "granite-4-h-1b": ("granitehybrid", 40, 1536, 12, 4, 128, 4096, 100352, 131072, range(5, 40, 10)),
    "glm-4.7-flash-4-layers": ("deepseek2", 4, 2048, 20, 1, 576, 10240, 154880, 202752, None),
}
if len(sys.argv) != 4 or sys.argv[1] not in SHAPES:
    sys.exit(__doc__ + "\nshapes: " + ", ".join(SHAPES))
shape, mixture, out = sys.argv[1:]
ARCH, LAYERS, WIDTH, HEADS, KV, DIM, FF, VOCAB, CONTEXT, ATTEND = SHAPES[shape]
ATTEND = range(LAYERS) if ATTEND is None else ATTEND
OWN, PLE = 15, 256  # Gemma 4 E2B: layers with keys of their own; width of what is embedded a layer
KEYS = {  # beside those that all have; a float is a float32, an int a uint32
    "qwen35": {"rope.freq_base": 1e7, "rope.dimension_count": 64, "rope.dimension_sections": [11, 11, 10, 0],
               "ssm.conv_kernel": 4, "ssm.state_size": 128, "ssm.group_count": 16, "ssm.time_step_rank": 16,
               "ssm.inner_size": 2048, "full_attention_interval": 4},
    "gemma4": {"attention.key_length_swa": 256, "attention.value_length_swa": 256, "rope.freq_base": 1e6,
               "rope.freq_base_swa": 1e4, "rope.dimension_count": 512, "rope.dimension_count_swa": 256,
               "attention.sliding_window": 512, "attention.sliding_window_pattern": [(l + 1) % 5 != 0 for l in range(35)],
               "attention.shared_kv_layers": 20, "embedding_length_per_layer_input": PLE, "final_logit_softcapping": 30.0},
    "gpt-oss": {"expert_feed_forward_length": FF, "expert_count": 32, "expert_used_count": 4, "attention.sliding_window": 128,
                "rope.freq_base": 150000.0, "rope.dimension_count": 64, "rope.scaling.type": "yarn",
                "rope.scaling.factor": 32.0, "rope.scaling.original_context_length": 4096},
    "lfm2": {"rope.freq_base": 1e6, "rope.dimension_count": 64, "shortconv.l_cache": 3},
    "granitehybrid": {"rope.freq_base": 1e4, "rope.dimension_count": DIM, "rope.scaling.finetuned": False,
                      "ssm.conv_kernel": 4, "ssm.state_size": 128, "ssm.group_count": 1, "ssm.time_step_rank": 48,
                      "ssm.inner_size": 3072, "attention.scale": 0.0078125, "embedding_scale": 12.0,
                      "residual_scale": 0.22, "logit_scale": 6.0},
    "deepseek2": {"attention.key_length_mla": 256, "attention.value_length_mla": 256, "attention.kv_lora_rank": 512,
                  "attention.q_lora_rank": 768, "rope.freq_base": 1e6, "rope.dimension_count": 64,
                  "leading_dense_block_count": 1, "expert_count": 64, "expert_used_count": 4,
                  "expert_feed_forward_length": 1536, "expert_shared_count": 1, "expert_weights_scale": 1.8,
                  "expert_weights_norm": True, "expert_gating_func": 2},
}
writer = gguf.GGUFWriter(out, ARCH)
random = np.random.default_rng(1)


def put(key, x):
    kind = {bool: writer.add_bool, float: writer.add_float32, str: writer.add_string, int: writer.add_uint32, list: writer.add_array}
    kind[type(x)](f"{ARCH}.{key}", x)


def put_keys():
    by_layer = ARCH in ("lfm2", "granitehybrid")
    sizes = {"context_length": CONTEXT, "embedding_length": WIDTH, "block_count": LAYERS, "vocab_size": VOCAB,
             "attention.head_count": HEADS, "attention.key_length": DIM, "attention.value_length": 512 if ARCH == "deepseek2" else DIM,
             "attention.layer_norm_rms_epsilon": 1e-6,
             "attention.head_count_kv": [KV if l in ATTEND else 0 for l in range(LAYERS)] if by_layer else KV,
             "feed_forward_length": [FF if l < OWN else 2 * FF for l in range(LAYERS)] if ARCH == "gemma4" else FF}
    for key, x in {**sizes, **KEYS[ARCH]}.items():
        put(key, x)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([b"<unk>", b"<s>", b"</s>"] + [b"<0x%02X>" % i for i in range(256)] +
                          [b"t%d" % i for i in range(VOCAB - 259)])
    writer.add_token_scores([-float(i) for i in range(VOCAB)])
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * (VOCAB - 259))
    writer.add_bos_token_id(1), writer.add_eos_token_id(2), writer.add_unk_token_id(0)


def blocks(q, columns, n=1 << 17):
    """n blocks of a format; K-quants begin or end with their scales."""
    size = columns ** -0.5
    f16 = lambda x: np.full((n, 1), x, np.float16).view(np.uint8)
    some = lambda k, low=0, high=256: random.integers(low, high, (n, k), dtype=np.uint8)
    if q == Q.Q8_0: return np.concatenate([f16(size / 73), some(32)], 1)
    if q == Q.Q5_0: return np.concatenate([f16(size / 9), some(20)], 1)
    if q == Q.MXFP4: return np.concatenate([np.full((n, 1), round(127 + np.log2(size / 2.8)), np.uint8), some(16)], 1)
    if q == Q.Q6_K: return np.concatenate([some(128), some(64), some(16, 48, 64), f16(size / (18 * 56))], 1)
    top = 16 if q == Q.Q4_K else 32
    step = size / (top * 0.29 * 40)
    return np.concatenate([f16(step), f16(step * top / 2), some(8, 32, 48), some(4), some(8 * top if q == Q.Q4_K else 160)], 1)


pools = {}


def floats(name, *size, fill=None):
    x = np.full(size, 1.0 if fill is None else fill, np.float32)
    if fill is None and "norm" not in name:
        x = (random.standard_normal(size) / max(size[-1], 16) ** 0.5).astype(np.float32)
    writer.add_tensor(name, x)


def matrix(name, *size, l=-1):
    q, few = Q.Q8_0, LAYERS // 8
    if mixture == "mxfp4" and "_exps" in name: q = Q.MXFP4
    if mixture == "q4_k_m":
        more = l < few or l >= 7 * LAYERS // 8 or (l - few) % 3 == 2
        q = Q.Q6_K if name in ("token_embd.weight", "output.weight") else Q.Q5_K if "attn_qkv" in name else Q.Q4_K
        if more and ("attn_v.weight" in name or "ffn_down" in name): q = Q.Q6_K
        if "attn_k_b" in name or "attn_v_b" in name: q = Q.Q8_0
        elif size[-1] % 256: q = Q.Q5_0 if q == Q.Q4_K else Q.Q8_0
    if name.startswith("per_layer_token"): q = Q.Q4_K
    if (q, size[-1]) not in pools: pools[q, size[-1]] = blocks(q, size[-1])
    length, n_byte = gguf.GGML_QUANT_SIZES[q]
    pool = np.roll(pools[q, size[-1]], int(random.integers(0, 1 << 17)), 0)
    x = np.resize(pool, (int(np.prod(size)) // length, n_byte)).reshape(*size[:-1], size[-1] // length * n_byte)
    writer.add_tensor(name, x, raw_dtype=q)


def attention(b, l):
    dim = DIM if ARCH != "gemma4" else 512 if (l + 1) % 5 == 0 else 256
    own = ARCH != "gemma4" or l < OWN
    matrix(b + "attn_q.weight", HEADS * dim * (2 if ARCH == "qwen35" else 1), WIDTH, l=l)
    for part in "kv" if own else "":
        matrix(b + f"attn_{part}.weight", KV * dim, WIDTH, l=l)
    matrix(b + "attn_output.weight", WIDTH, HEADS * dim, l=l)
    if ARCH in ("qwen35", "lfm2", "gemma4"):
        for part in "qk" if own else "q":
            floats(b + f"attn_{part}_norm.weight", dim)
    if ARCH == "gpt-oss":
        for name, n in (("sinks.weight", HEADS), ("q.bias", HEADS * dim), ("k.bias", KV * dim), ("v.bias", KV * dim),
                        ("output.bias", WIDTH)):
            floats(b + "attn_" + name, n, fill=0.0)


def mixer(b, l):
    if ARCH == "deepseek2":
        for name, *size in (("q_a", 768, WIDTH), ("q_b", HEADS * 256, 768), ("kv_a_mqa", 576, WIDTH), ("k_b", HEADS, 512, 192),
                            ("v_b", HEADS, 256, 512), ("output", WIDTH, HEADS * 256)):
            matrix(b + f"attn_{name}.weight", *size, l=l)
        floats(b + "attn_q_a_norm.weight", 768), floats(b + "attn_kv_a_norm.weight", 512)
    elif l in ATTEND:
        attention(b, l)
    elif ARCH == "lfm2":
        floats(b + "shortconv.conv.weight", WIDTH, 3)
        matrix(b + "shortconv.in_proj.weight", 3 * WIDTH, WIDTH, l=l), matrix(b + "shortconv.out_proj.weight", WIDTH, WIDTH, l=l)
    elif ARCH == "qwen35":
        for name, rows in (("attn_qkv", 6144), ("attn_gate", 2048), ("ssm_beta", 16), ("ssm_alpha", 16)):
            matrix(b + name + ".weight", rows, WIDTH, l=l)
        floats(b + "ssm_conv1d.weight", 6144, 4), floats(b + "ssm_dt.bias", 16, fill=0.1), floats(b + "ssm_a", 16, fill=-1.0)
        floats(b + "ssm_norm.weight", 128), matrix(b + "ssm_out.weight", WIDTH, 2048, l=l)
    else:
        matrix(b + "ssm_in.weight", 2 * 3072 + 2 * 128 + 48, WIDTH, l=l)
        floats(b + "ssm_conv1d.weight", 3072 + 256, 4), floats(b + "ssm_conv1d.bias", 3072 + 256, fill=0.0)
        floats(b + "ssm_dt.bias", 48, fill=0.1), floats(b + "ssm_a", 48, 1, fill=-1.0), floats(b + "ssm_d", 48, 1, fill=1.0)
        floats(b + "ssm_norm.weight", 1, 3072), matrix(b + "ssm_out.weight", WIDTH, 3072, l=l)


def network(b, l, suffix="", experts=(), n_ff=FF):
    for part in ("gate", "up", "down"):
        matrix(b + f"ffn_{part}{suffix}.weight", *experts, *((WIDTH, n_ff) if part == "down" else (n_ff, WIDTH)), l=l)


def layer(b, l):
    floats(b + "attn_norm.weight", WIDTH)
    floats(b + ("post_attention_norm" if ARCH in ("qwen35", "gpt-oss") else "ffn_norm") + ".weight", WIDTH)
    if ARCH == "gemma4":
        for name in ("post_attention_norm", "post_ffw_norm", "post_norm"):
            floats(b + name + ".weight", WIDTH)
        matrix(b + "inp_gate.weight", PLE, WIDTH, l=l), matrix(b + "proj.weight", WIDTH, PLE, l=l)
        floats(b + "layer_output_scale.weight", 1, fill=1.0)
    mixer(b, l)
    if ARCH == "gpt-oss":
        floats(b + "ffn_gate_inp.weight", 32, WIDTH), floats(b + "ffn_gate_inp.bias", 32, fill=0.0)
        network(b, l, "_exps", (32,))
        for part in ("gate", "up", "down"):
            floats(b + f"ffn_{part}_exps.bias", 32, WIDTH if part == "down" else FF, fill=0.0)
    elif ARCH == "deepseek2" and l > 0:
        floats(b + "ffn_gate_inp.weight", 64, WIDTH), floats(b + "exp_probs_b.bias", 64, fill=0.0)
        network(b, l, "_exps", (64,), 1536), network(b, l, "_shexp", (), 1536)
    else:
        network(b, l, n_ff=2 * FF if ARCH == "gemma4" and l >= OWN else FF)


put_keys()
matrix("token_embd.weight", VOCAB, WIDTH)
floats("token_embd_norm.weight" if ARCH == "lfm2" else "output_norm.weight", WIDTH)
if ARCH == "gpt-oss":
    matrix("output.weight", VOCAB, WIDTH)
if ARCH == "gemma4":
    floats("rope_freqs.weight", 256, fill=1.0), matrix("per_layer_token_embd.weight", VOCAB, LAYERS * PLE)
    writer.add_tensor("per_layer_model_proj.weight", (random.standard_normal((LAYERS * PLE, WIDTH)) / WIDTH ** 0.5).astype(np.float16))
    floats("per_layer_proj_norm.weight", PLE)
for l in range(LAYERS):
    layer(f"blk.{l}.", l)
writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()
