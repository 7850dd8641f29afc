#!/usr/bin/env python3
"""reference.py - what every family of models computes, once more, in numpy and float64.

    python3 scripts/reference.py > tests/golden_families.h

Written from the papers and from what Hugging Face's modeling_*.py say, in their terms (fields of
config.json, half-split rotation everywhere), not from forward.c. At the end stands what makes a
GGUF file of such a model: the names of keys and tensors, and rows of q and k put in another order
for the families whose files rotate neighbours. tests/t_golden.c builds the same files (fixture_gguf
has the same generator) and compares.
"""
import math
import sys
import textwrap

import numpy as np

N = 40  # tokens of a case

# ---- cases: fields of config.json, and how the GGUF file is to differ from what they say ---------

SMALL = dict(hidden_size=72, intermediate_size=100, num_hidden_layers=3, num_attention_heads=3,
             num_key_value_heads=1, vocab_size=515, max_position_embeddings=96, rms_norm_eps=1e-5,
             rope_theta=10000.0)
GEMMA = dict(SMALL, rms_norm_eps=1e-6, tie_word_embeddings=True, head_dim=32)
GEMMA2 = dict(GEMMA, model_type="gemma2", num_hidden_layers=4, sliding_window=6,
              attn_logit_softcapping=50.0, final_logit_softcapping=30.0)
GEMMA3 = dict(GEMMA, model_type="gemma3", num_hidden_layers=7, sliding_window=5, rope_theta=1e6,
              rope_local_base_freq=10000.0, sliding_window_pattern=6)
DEEP = dict(hidden_size=32, intermediate_size=48, num_attention_heads=2, num_key_value_heads=1,
            head_dim=24)
YARN = dict(type="yarn", factor=4.0, original_max_position_embeddings=1024)
MIXTRAL = dict(SMALL, model_type="mixtral", num_attention_heads=4, num_key_value_heads=2,
               num_local_experts=8, num_experts_per_tok=2, intermediate_size=40)
QWEN3MOE = dict(SMALL, model_type="qwen3moe", head_dim=16, num_attention_heads=6,
                num_key_value_heads=3, num_experts=7, num_experts_per_tok=3,
                moe_intermediate_size=36)
LONGROPE = dict(SMALL, model_type="phi3", num_key_value_heads=3, partial_rotary_factor=0.75,
                sliding_window=11)

CASES = {
    "llama": dict(SMALL, model_type="llama", num_key_value_heads=3),
    "llama_narrow": dict(SMALL, model_type="llama", head_dim=16, tie_word_embeddings=True),
    "llama_wide": dict(SMALL, model_type="llama", head_dim=40, num_attention_heads=5),
    "llama_biases": dict(SMALL, model_type="llama", attention_bias=True, mlp_bias=True),
    "llama_linear": dict(SMALL, model_type="llama", rope_scaling=dict(type="linear", factor=4.0)),
    "llama_yarn": dict(SMALL, model_type="llama", rope_scaling=YARN),
    "llama_yarn_more": dict(SMALL, model_type="llama", head_dim=32, rope_scaling=dict(
        YARN, attention_factor=1.25, beta_fast=16.0, beta_slow=2.0)),
    "llama_factors": dict(SMALL, model_type="llama", rope_theta=5e5,
                          rope_scaling=dict(type="llama3")),
    "mistral_window": dict(SMALL, model_type="mistral", sliding_window=7),
    "mixtral_stacked": dict(MIXTRAL),
    "mixtral_apart": dict(MIXTRAL, experts_apart=True),
    "qwen2": dict(SMALL, model_type="qwen2", hidden_size=60, num_attention_heads=6,
                  num_key_value_heads=2, tie_word_embeddings=True, rope_theta=1e6),
    "qwen2_fused": dict(SMALL, model_type="qwen2", fused_qkv=True),
    "qwen3": dict(SMALL, model_type="qwen3", head_dim=32, rope_theta=1e6),
    "qwen3_yarn": dict(SMALL, model_type="qwen3", head_dim=128, rope_theta=1e6, rope_scaling=YARN),
    "qwen3moe": dict(QWEN3MOE, norm_topk_prob=True),
    "qwen3moe_sums": dict(QWEN3MOE, norm_topk_prob=False, mlp_only_layers=[1]),
    "gemma": dict(GEMMA, model_type="gemma"),
    "gemma2": dict(GEMMA2, query_pre_attn_scalar=32),
    "gemma2_scalar": dict(GEMMA2, query_pre_attn_scalar=50, num_key_value_heads=3),
    "gemma2_old": dict(GEMMA2, query_pre_attn_scalar=32, gguf_without=["softcapping"]),
    "gemma2_27b": dict(GEMMA2, **DEEP, query_pre_attn_scalar=16, gguf_without=["attention.scale"])
    | dict(num_hidden_layers=46),
    "gemma3": dict(GEMMA3, query_pre_attn_scalar=32,
                   rope_scaling=dict(type="linear", factor=8.0)),
    "gemma3_pattern": dict(GEMMA3, query_pre_attn_scalar=32,
                           layer_types=[1, 0, 1, 1, 0, 0, 1]),
    "gemma3_27b": dict(GEMMA3, **DEEP, query_pre_attn_scalar=16, gguf_without=["attention.scale"])
    | dict(num_hidden_layers=62),
    "phi3": dict(SMALL, model_type="phi3", sliding_window=11),
    "phi3_short": dict(LONGROPE, rope_scaling=dict(type="longrope", attention_factor=1.19),
                       original_max_position_embeddings=N),
    "phi3_long": dict(LONGROPE, rope_scaling=dict(type="longrope", attention_factor=1.19),
                      original_max_position_embeddings=N - 1),
    "smollm3": dict(SMALL, model_type="smollm3", num_hidden_layers=5, tie_word_embeddings=True,
                    no_rope_layer_interval=4),
    "olmo2": dict(SMALL, model_type="olmo2", num_key_value_heads=3),
    "olmo2_yarn": dict(SMALL, model_type="olmo2", rope_scaling=YARN),
    "olmo3": dict(SMALL, model_type="olmo2", num_hidden_layers=5, sliding_window=6,
                  sliding_window_pattern=4, rope_scaling=YARN),
    "granite": dict(SMALL, model_type="granite", embedding_multiplier=3.0,
                    residual_multiplier=0.75, attention_multiplier=0.0625, logits_scaling=8.0,
                    tie_word_embeddings=True),
}
ARCH = {"mistral": "llama", "mixtral": "llama"}  # GGUF's name, where it is another
NEIGHBOURS = ("llama", "smollm3", "granite")  # rotate channel 2i with 2i + 1 in GGUF files
GEMMAS = ("gemma", "gemma2", "gemma3")


def f32(x):
    """A number as GGUF keeps it."""
    return float(np.float32(x))


class Config(dict):
    """A case, with what config.json may leave out."""
    def __init__(self, name):
        super().__init__(CASES[name])
        self.setdefault("head_dim", self["hidden_size"] // self["num_attention_heads"])
        self.arch = ARCH.get(self["model_type"], self["model_type"])
        self.rope = self.get("rope_scaling") or dict(type="none")
        self.n_rot = int(self["head_dim"] * self.get("partial_rotary_factor", 1))
        self.seed = sum(self["model_type"].encode())

    def slides(self, layer):
        """Does the layer see a window only?"""
        if "layer_types" in self:
            return bool(self["layer_types"][layer])
        period = 2 if self["model_type"] == "gemma2" else self.get("sliding_window_pattern")
        return "sliding_window" in self and (not period or (layer + 1) % period != 0)

    def is_sparse(self, layer):
        return self.n_expert() > 0 and layer not in self.get("mlp_only_layers", [])

    def n_expert(self):
        return self.get("num_experts", self.get("num_local_experts", 0))


# ---- weights: made by name -----------------------------------------------------------------------

def random(n, state):
    """fixture_random n times: splitmix64, uniform in -1 to 1."""
    z = np.uint64(state) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9e3779b97f4a7c15)
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xbf58476d1ce4e5b9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94d049bb133111eb)
    z ^= z >> np.uint64(31)
    return ((z >> np.uint64(40)).astype(np.float64) / (1 << 23) - 1).astype(np.float32)


def tensor(name, shape, seed):
    """The numbers of fixture_gguf: they depend on the tensor's name and the seed only."""
    h = 0xcbf29ce484222325 ^ seed  # FNV-1a
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001b3 % 2**64
    one = np.float32(1)
    mean, spread = np.float32(0), np.float32(2) / np.sqrt(np.float32(shape[-1]))
    if "norm" in name:
        mean, spread = one, one / np.float32(8)
    elif name.endswith(".bias"):
        spread = one / np.float32(4)
    elif name.startswith("rope_"):
        mean, spread = np.float32(2.5), np.float32(1.5)
    elif name.startswith("token_embd"):
        spread = one
    elif "ffn_gate_inp" in name:
        spread *= np.float32(3)
    return (mean + spread * random(math.prod(shape), h)).reshape(shape)


class Weights:
    """Tensors by GGUF's name, as float64, in Hugging Face's order of rows."""
    def __init__(self, c):
        self.c, self.shapes = c, {}

    def __call__(self, name, *shape, heads=0):
        self.shapes[name] = shape
        w = tensor(name, shape, self.c.seed).astype(np.float64)
        if heads and self.c.arch in NEIGHBOURS:  # rows (head, pair, which) -> (head, which, pair)
            w = w.reshape(heads, -1, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)
        return w

    def optional(self, there, name, *shape, heads=0):
        return self(name, *shape, heads=heads) if there else 0


# ---- the parts of a block ------------------------------------------------------------------------

def rms_norm(x, w, eps):  # Zhang and Sennrich 2019
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + f32(eps)) * w


def silu(x):
    return x / (1 + np.exp(-x))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def yarn_frequencies(base, dim, rope):  # Peng et al. 2023, section 3.2
    def pair_that_turns(times):  # within the original context
        n = rope["original_max_position_embeddings"]
        return dim * math.log(n / (times * 2 * math.pi)) / (2 * math.log(base))
    low = max(math.floor(pair_that_turns(rope.get("beta_fast", 32.0))), 0)
    high = min(math.ceil(pair_that_turns(rope.get("beta_slow", 1.0))), dim - 1)
    plain = base ** -(np.arange(0, dim, 2) / dim)
    ramp = np.clip((np.arange(dim // 2) - low) / (high - low or 0.001), 0, 1)
    return plain * (1 - ramp) + plain / rope["factor"] * ramp


def rotation(c, w, slides, n):
    """Cosine and sine (n, n_rot), both halves alike."""
    base, rope, dim, scale = c["rope_theta"], c.rope, c.n_rot, 1.0
    if slides and c["model_type"] in ("gemma3", "olmo2"):  # layers with a window stay
        base, rope = c.get("rope_local_base_freq", base), dict(type="none")
    freq = base ** -(np.arange(0, dim, 2) / dim)
    if rope["type"] == "linear":
        freq = freq / rope["factor"]
    elif rope["type"] == "yarn":
        freq = yarn_frequencies(base, dim, rope)
        scale = rope.get("attention_factor", 0.1 * math.log(rope["factor"]) + 1)
    elif rope["type"] == "llama3":  # the divisors that follow from its fields are in the file
        freq = freq / w("rope_freqs.weight", dim // 2)
    elif rope["type"] == "longrope":  # a text longer than the original context: all of it by "long"
        short, long = (w(f"rope_factors_{s}.weight", dim // 2) for s in ("short", "long"))
        freq = freq / (long if n > c["original_max_position_embeddings"] else short)
        scale = rope["attention_factor"]
    angle = np.arange(n)[:, None] * np.concatenate([freq, freq])
    return np.cos(angle) * scale, np.sin(angle) * scale


def rotate(x, cos, sin):
    """x (heads, n, head_dim): the first n_rot channels of every head turn, i with i + n_rot / 2."""
    dim = cos.shape[-1]
    turn, stay = x[..., :dim], x[..., dim:]
    a, b = turn[..., :dim // 2], turn[..., dim // 2:]
    return np.concatenate([turn * cos + np.concatenate([-b, a], -1) * sin, stay], -1)


def query_scale(c):
    if c["model_type"] == "granite":
        return c["attention_multiplier"]
    return c.get("query_pre_attn_scalar", c["head_dim"]) ** -0.5


def attention(c, w, layer, x):
    n, width, dim = x.shape[0], c["hidden_size"], c["head_dim"]
    n_q, n_kv, b = c["num_attention_heads"], c["num_key_value_heads"], f"blk.{layer}."
    qkv_bias = c["model_type"] == "qwen2" or c.get("attention_bias")
    if c["model_type"] == "phi3" or c.get("fused_qkv"):
        qkv = x @ w(b + "attn_qkv.weight", (n_q + 2 * n_kv) * dim, width).T
        qkv = qkv + w.optional(qkv_bias, b + "attn_qkv.bias", (n_q + 2 * n_kv) * dim)
        q, k, v = np.split(qkv, [n_q * dim, (n_q + n_kv) * dim], axis=1)
    else:
        q = x @ w(b + "attn_q.weight", n_q * dim, width, heads=n_q).T
        k = x @ w(b + "attn_k.weight", n_kv * dim, width, heads=n_kv).T
        v = x @ w(b + "attn_v.weight", n_kv * dim, width).T
        q = q + w.optional(qkv_bias, b + "attn_q.bias", n_q * dim, heads=n_q)
        k = k + w.optional(qkv_bias, b + "attn_k.bias", n_kv * dim, heads=n_kv)
        v = v + w.optional(qkv_bias, b + "attn_v.bias", n_kv * dim)
    if c["model_type"] == "olmo2":  # normed as a whole
        q = rms_norm(q, w(b + "attn_q_norm.weight", n_q * dim), c["rms_norm_eps"])
        k = rms_norm(k, w(b + "attn_k_norm.weight", n_kv * dim), c["rms_norm_eps"])
    q, k, v = (y.reshape(n, -1, dim).swapaxes(0, 1) for y in (q, k, v))
    if c["model_type"] in ("qwen3", "qwen3moe", "gemma3"):  # head by head
        q = rms_norm(q, w(b + "attn_q_norm.weight", dim), c["rms_norm_eps"])
        k = rms_norm(k, w(b + "attn_k_norm.weight", dim), c["rms_norm_eps"])
    if (layer + 1) % c.get("no_rope_layer_interval", layer + 2) != 0:
        cos, sin = rotation(c, w, c.slides(layer), n)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
    k, v = (np.repeat(y, n_q // n_kv, axis=0) for y in (k, v))

    scores = q @ k.swapaxes(1, 2) * query_scale(c)
    cap = c.get("attn_logit_softcapping")
    if cap:
        scores = np.tanh(scores / cap) * cap
    back = np.arange(n)[:, None] - np.arange(n)  # how far back a token looks
    seen = (back >= 0) & (back < c["sliding_window"] if c.slides(layer) else True)
    mix = softmax(np.where(seen, scores, -np.inf)) @ v
    mix = mix.swapaxes(0, 1).reshape(n, n_q * dim)
    return mix @ w(b + "attn_output.weight", width, n_q * dim).T \
        + w.optional(c.get("attention_bias"), b + "attn_output.bias", width)


def dense(c, w, layer, x):
    width, n_ff, b = c["hidden_size"], c["intermediate_size"], f"blk.{layer}."
    act = gelu_tanh if c["model_type"] in GEMMAS else silu
    if c["model_type"] == "phi3":
        gate, up = np.split(x @ w(b + "ffn_up.weight", 2 * n_ff, width).T, 2, axis=1)
    else:
        gate = x @ w(b + "ffn_gate.weight", n_ff, width).T
        up = x @ w(b + "ffn_up.weight", n_ff, width).T
    gate = gate + w.optional(c.get("mlp_bias"), b + "ffn_gate.bias", n_ff)
    up = up + w.optional(c.get("mlp_bias"), b + "ffn_up.bias", n_ff)
    return (act(gate) * up) @ w(b + "ffn_down.weight", width, n_ff).T \
        + w.optional(c.get("mlp_bias"), b + "ffn_down.bias", width)


def sparse(c, w, layer, x):
    n, used, width, b = c.n_expert(), c["num_experts_per_tok"], c["hidden_size"], f"blk.{layer}."
    n_ff = c.get("moe_intermediate_size", c["intermediate_size"])

    def expert(which, rows, cols):
        if c.get("experts_apart"):  # as GGUF files of 2023 have them
            return [w(f"{b}ffn_{which}.{e}.weight", rows, cols) for e in range(n)]
        return w(f"{b}ffn_{which}_exps.weight", n, rows, cols)

    p = softmax(x @ w(b + "ffn_gate_inp.weight", n, width).T)
    gate, up = expert("gate", n_ff, width), expert("up", n_ff, width)
    down = expert("down", width, n_ff)
    y = np.zeros_like(x)
    for t in range(len(x)):
        order = np.argsort(-p[t])
        assert p[t, order[used - 1]] - p[t, order[used]] > 1e-5, "a choice too close for float32"
        chosen = order[:used]
        total = p[t, chosen].sum() if c.get("norm_topk_prob", True) else 1
        for e in chosen:
            y[t] += p[t, e] / total * (down[e] @ (silu(gate[e] @ x[t]) * (up[e] @ x[t])))
    return y


# ---- the model -----------------------------------------------------------------------------------

def logits(c, w, tokens):
    eps, width, family = c["rms_norm_eps"], c["hidden_size"], c["model_type"]
    norm = lambda name, x: rms_norm(x, w(name + ".weight", width), eps)
    embedding = w("token_embd.weight", c["vocab_size"], width)
    x = embedding[tokens]
    if family in GEMMAS:
        x = x * math.sqrt(width)
    x = x * c.get("embedding_multiplier", 1)
    for layer in range(c["num_hidden_layers"]):
        b = f"blk.{layer}."
        y = x if family == "olmo2" else norm(b + "attn_norm", x)
        y = attention(c, w, layer, y)
        if family in ("olmo2", "gemma2", "gemma3"):
            y = norm(b + "post_attention_norm", y)
        x = x + y * c.get("residual_multiplier", 1)
        y = x if family == "olmo2" else norm(b + "ffn_norm", x)
        y = sparse(c, w, layer, y) if c.is_sparse(layer) else dense(c, w, layer, y)
        if family in ("olmo2", "gemma2", "gemma3"):
            y = norm(b + "post_ffw_norm", y)
        x = x + y * c.get("residual_multiplier", 1)
    x = norm("output_norm", x)
    if not c.get("tie_word_embeddings"):
        embedding = w("output.weight", c["vocab_size"], width)
    y = x @ embedding.T / c.get("logits_scaling", 1)
    cap = c.get("final_logit_softcapping")
    return np.tanh(y / cap) * cap if cap else y


# ---- the GGUF file: keys -------------------------------------------------------------------------

def keys(c):
    """Lines "name value", names as convert_hf_to_gguf.py writes them."""
    rope, k = c.rope, {}
    for field, key in (("num_hidden_layers", "block_count"), ("hidden_size", "embedding_length"),
                       ("intermediate_size", "feed_forward_length"),
                       ("num_attention_heads", "attention.head_count"),
                       ("num_key_value_heads", "attention.head_count_kv"),
                       ("max_position_embeddings", "context_length"),
                       ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
                       ("rope_theta", "rope.freq_base"),
                       ("sliding_window", "attention.sliding_window"),
                       ("num_experts_per_tok", "expert_used_count"),
                       ("moe_intermediate_size", "expert_feed_forward_length"),
                       ("norm_topk_prob", "expert_weights_norm"),
                       ("attn_logit_softcapping", "attn_logit_softcapping"),
                       ("final_logit_softcapping", "final_logit_softcapping"),
                       ("attention_multiplier", "attention.scale"),
                       ("embedding_multiplier", "embedding_scale"),
                       ("residual_multiplier", "residual_scale"),
                       ("logits_scaling", "logit_scale"),
                       ("original_max_position_embeddings",
                        "rope.scaling.original_context_length")):
        if field in c:
            k[key] = c[field]
    if c.n_expert():
        k["expert_count"] = c.n_expert()
    if "layer_types" in c:
        k["attention.sliding_window_pattern"] = [bool(x) for x in c["layer_types"]]
    if c["head_dim"] * c["num_attention_heads"] != c["hidden_size"]:
        k["attention.key_length"] = k["attention.value_length"] = c["head_dim"]
    if c.n_rot != c["head_dim"]:
        k["rope.dimension_count"] = c.n_rot
    if c.get("query_pre_attn_scalar", c["head_dim"]) != c["head_dim"]:
        k["attention.scale"] = c["query_pre_attn_scalar"] ** -0.5
    if rope["type"] in ("linear", "yarn"):
        k["rope.scaling.type"] = rope["type"]
        k["rope.scaling.factor"] = rope["factor"]
    if rope["type"] == "yarn":
        k["rope.scaling.original_context_length"] = rope["original_max_position_embeddings"]
        for name in ("beta_fast", "beta_slow"):
            if name in rope:
                k["rope.scaling.yarn_" + name] = rope[name]
        if "attention_factor" in rope:  # on top of what belongs to the factor
            usual = 0.1 * math.log(rope["factor"]) + 1
            k["rope.scaling.attn_factor"] = rope["attention_factor"] / usual
    if rope["type"] == "longrope":
        k["rope.scaling.attn_factor"] = rope["attention_factor"]
    for part in c.get("gguf_without", []):
        k = {name: value for name, value in k.items() if part not in name}
    lines = [f"general.architecture {c.arch}"]
    for name, value in k.items():
        text = str(value).lower().replace(" ", "")
        lines.append(f"{c.arch}.{name} {text}")
    return lines


def patterns(shapes):
    """Tensors as fixture_gguf reads them: {3} stands for 0, 1 and 2."""
    lines, seen = [], {}
    for name, shape in shapes.items():
        parts = name.split(".")
        numbers = [int(p) for p in parts if p.isdigit()]
        kind = tuple("#" if p.isdigit() else p for p in parts)
        seen.setdefault((kind, shape), []).append(numbers)
    for (parts, shape), numbers in seen.items():
        counts = [max(column) + 1 for column in zip(*numbers)]
        if len(numbers) == math.prod(counts):
            at = iter(counts)
            names = [".".join(f"{{{next(at)}}}" if p == "#" else p for p in parts)]
        else:
            names = [".".join(str(next(at)) if p == "#" else p for p in parts)
                     for at in map(iter, numbers)]
        lines += [f"{name} {' '.join(map(str, shape))}" for name in names]
    return lines


# ---- what is printed -----------------------------------------------------------------------------

def tokens_of(c):
    return [(7 + 31 * t + 13 * t * t) % c["vocab_size"] for t in range(N)]


def main():
    print("/* Generated by scripts/reference.py: models, and logits of theirs in float64. Tokens\n"
          " * are (7 + 31 t + 13 t^2) % vocabulary; of row t there is logit (37 t + 11) %\n"
          " * vocabulary; norm is that of all. */")
    print(f"enum {{ GOLDEN_TOKENS = {N} }};\n")
    print("static const struct golden {\n"
          "    const char *name, *keys, *tensors;\n"
          "    unsigned seed;\n"
          "    double norm, logits[GOLDEN_TOKENS];\n"
          "} goldens[] = {")
    for name in sys.argv[1:] or CASES:
        c = Config(name)
        w = Weights(c)
        y = logits(c, w, tokens_of(c))
        print(f'    {{ "{name}",')
        for lines in (keys(c), patterns(w.shapes)):
            text = textwrap.wrap("; ".join(lines), 90, drop_whitespace=False,
                                 break_on_hyphens=False)
            print("\n".join(f'      "{line}"' for line in text) + ",")
        print(f"      {c.seed}, {np.linalg.norm(y):.9g},")
        some = [f"{y[t, (37 * t + 11) % y.shape[1]]:.9g}" for t in range(N)]
        rows = [", ".join(some[i:i + 6]) for i in range(0, N, 6)]
        print("      { " + ",\n        ".join(rows) + " } },")
    print("};")


if __name__ == "__main__":
    main()
