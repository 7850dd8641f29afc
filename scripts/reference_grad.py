#!/usr/bin/env python3
"""reference_grad.py > tests/reference_grad.h - gradients of small random models, computed apart.

Shares nothing with the C program: every number is a Python float (64 bits) that remembers what it was made
of, and derivatives come from the chain rule alone, one operation at a time, with no formula of a layer's way
back anywhere. Only the standard library is needed. The models are those of tests/pupil.h, whose random
weights follow from their names; for each tensor it prints the gradient's length and its product with a random
direction."""
import math
import struct

TAPE = []


class Num:
    """A number, its derivative, and the numbers it was made of with the derivatives by them."""
    __slots__ = ("v", "d", "by")

    def __init__(self, v, by=()):
        self.v, self.d, self.by = v, 0.0, by
        if by:
            TAPE.append(self)

    def __add__(self, o):
        return Num(self.v + o.v, ((self, 1.0), (o, 1.0))) if isinstance(o, Num) else Num(self.v + o, ((self, 1.0),))

    def __mul__(self, o):
        return Num(self.v * o.v, ((self, o.v), (o, self.v))) if isinstance(o, Num) else Num(self.v * o, ((self, o),))

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self):
        return self * -1.0

    def __sub__(self, o):
        return self + -o

    def __truediv__(self, o):
        return self * (o.power(-1.0) if isinstance(o, Num) else 1.0 / o)

    def power(self, p):
        return Num(self.v ** p, ((self, p * self.v ** (p - 1)),))

    def exp(self):
        e = math.exp(self.v)
        return Num(e, ((self, e),))

    def log(self):
        return Num(math.log(self.v), ((self, 1 / self.v),))

    def tanh(self):
        t = math.tanh(self.v)
        return Num(t, ((self, 1 - t * t),))

    def erf(self):
        return Num(math.erf(self.v), ((self, 2 / math.sqrt(math.pi) * math.exp(-self.v * self.v)),))

    def relu(self):
        return Num(max(self.v, 0.0), ((self, 1.0 if self.v > 0 else 0.0),))


def dot(a, b):
    by = [(x, y.v) for x, y in zip(a, b)] + [(y, x.v) for x, y in zip(a, b)]
    return Num(sum(x.v * y.v for x, y in zip(a, b)), by)


def total(a):
    return Num(sum(x.v for x in a), [(x, 1.0) for x in a])


def backward(y):
    y.d = 1.0
    for n in reversed(TAPE):
        for x, d in n.by:
            x.d += n.d * d


# ---- random weights: splitmix64 from the hash (FNV-1a) of the tensor's name, rounded to 32 bits

M64 = (1 << 64) - 1


def f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def hashed(name):
    h = 0xcbf29ce484222325
    for c in name.encode():
        h = (h ^ c) * 0x100000001b3 & M64
    return h


def uniform(state):
    while True:
        state = state + 0x9e3779b97f4a7c15 & M64
        z = (state ^ state >> 30) * 0xbf58476d1ce4e5b9 & M64
        z = (z ^ z >> 27) * 0x94d049bb133111eb & M64
        z ^= z >> 31
        yield (z >> 40) / (1 << 23) - 1


EMBD, HEAD, KV_HEAD, DIM, FF, FF_EXPERT, VOCAB, N = 24, 4, 2, 8, 20, 12, 37, 20


class Weights(dict):
    def add(self, name, rows, cols):
        """rows of cols numbers; a vector (rows None) is one list."""
        r = uniform(hashed(name))

        def number():
            u = next(r)
            if "bias" in name:
                return f32(0.3) * u
            if "norm" in name:
                return 1 + f32(f32(0.3) * u)
            return u if name in ("token_embd.weight", "position_embd.weight") else f32(u * 1.5) / f32(math.sqrt(cols))
        m = [[Num(f32(number())) for _ in range(cols)] for _ in range(rows or 1)]
        self[name] = m if rows else m[0]


POST, NO_PRE, NORM_QK, NORM_QK_WHOLE, FUSED, UNTIED, BIAS, BIAS_ALL, HALF, GELU, EXPERTS, APART, \
    LAYER_NORM, UNGATED, POSITIONS, ENCODER, ERF, RELU, RELU2, BARE = (1 << i for i in range(20))

FAMILIES = [  # name, what it has, layers, values
    ("llama", BIAS | BIAS_ALL, 2, {}),
    ("llama untied", UNTIED, 2, {}),
    ("llama of a folder", HALF, 2, {"n_rot": 6}),
    ("mixtral", UNTIED | EXPERTS, 2, {}),
    ("mixtral of old", UNTIED | EXPERTS | APART, 2, {}),
    ("qwen2", BIAS | HALF, 2, {}),
    ("qwen3", NORM_QK | HALF, 2, {}),
    ("qwen3moe", NORM_QK | HALF | EXPERTS, 2, {}),
    ("moe, not normed", NORM_QK | HALF | EXPERTS, 2, {"expert_norm": 0}),
    ("gemma", GELU | HALF, 2, {"embd_scale": math.sqrt(EMBD)}),
    ("gemma2", GELU | HALF | POST, 2, {"embd_scale": math.sqrt(EMBD), "attn_cap": 3.0, "cap": 4.0, "window": [7, 0]}),
    ("gemma3", GELU | HALF | POST | NORM_QK, 6, {"embd_scale": math.sqrt(EMBD), "window": [5] * 5 + [0]}),
    ("mistral3", 0, 2, {"temperature": (0.5, 3)}),
    ("phi3", FUSED | UNTIED | HALF, 2, {"n_rot": 4, "window": [9, 9]}),
    ("phi3 with biases", FUSED | BIAS | HALF, 2, {}),
    ("smollm3", 0, 4, {"no_rope": [3]}),
    ("olmo2", POST | NO_PRE | NORM_QK | NORM_QK_WHOLE | UNTIED | HALF, 2, {}),
    ("granite", 0, 2, {"embd_scale": 3.0, "residual": 0.4, "attn_scale": 0.2, "logit_scale": 1 / 2.5}),
    ("nanochat", HALF | BARE | UNGATED | RELU2 | UNTIED, 2, {"cap": 4.0, "turn": -1}),
    ("gpt2", LAYER_NORM | UNGATED | POSITIONS | FUSED | BIAS | BIAS_ALL | GELU, 2, {"n_rot": 0}),
    ("gptneox", LAYER_NORM | UNGATED | UNTIED | FUSED | BIAS | BIAS_ALL | HALF | ERF, 2, {"n_rot": 4, "parallel": 1}),
    ("gptneox in turn", LAYER_NORM | UNGATED | UNTIED | FUSED | HALF | RELU, 2, {}),
    ("bert", LAYER_NORM | UNGATED | POSITIONS | ENCODER | BIAS | BIAS_ALL | ERF, 2, {"n_rot": 0, "second": 13}),
    ("nomic-bert", LAYER_NORM | ENCODER | BIAS_ALL | HALF, 2, {"second": 13}),
]


def make_weights(has, n_layer):
    w, heads, kv = Weights(), HEAD * DIM, KV_HEAD * DIM

    def norm(name):
        w.add(name + ".weight", None, EMBD)
        if has & LAYER_NORM and has & BIAS_ALL:
            w.add(name + ".bias", None, EMBD)

    w.add("token_embd.weight", VOCAB, EMBD)
    if not has & BARE:
        norm("token_embd_norm" if has & ENCODER else "output_norm")
    if has & UNTIED:
        w.add("output.weight", VOCAB, EMBD)
    if has & POSITIONS:
        w.add("position_embd.weight", 64, EMBD)
    if has & ENCODER:
        w.add("token_types.weight", 2, EMBD)
    for l in range(n_layer):
        def add(name, rows, cols):
            w.add("blk.%d.%s" % (l, name), rows, cols)
        for name in ["attn_norm", "ffn_norm"] * (not has & (NO_PRE | ENCODER | BARE)) + \
                ["post_attention_norm", "post_ffw_norm"] * (has & POST != 0) + \
                ["attn_output_norm", "layer_output_norm"] * (has & ENCODER != 0):
            norm("blk.%d.%s" % (l, name))
        if has & NORM_QK:
            whole = has & NORM_QK_WHOLE
            add("attn_q_norm.weight", None, heads if whole else DIM)
            add("attn_k_norm.weight", None, kv if whole else DIM)
        if has & BIAS and has & FUSED:
            add("attn_qkv.bias", None, heads + 2 * kv)
        elif has & BIAS:
            add("attn_q.bias", None, heads), add("attn_k.bias", None, kv), add("attn_v.bias", None, kv)
        if has & BIAS_ALL:
            add("attn_output.bias", None, EMBD), add("ffn_down.bias", None, EMBD), add("ffn_up.bias", None, FF)
        if has & BIAS_ALL and not has & UNGATED:
            add("ffn_gate.bias", None, FF)
        if has & FUSED:
            add("attn_qkv.weight", heads + 2 * kv, EMBD)
        else:
            add("attn_q.weight", heads, EMBD), add("attn_k.weight", kv, EMBD), add("attn_v.weight", kv, EMBD)
        add("attn_output.weight", EMBD, heads)
        if has & EXPERTS:
            add("ffn_gate_inp.weight", 4, EMBD)
            for e in range(4 if has & APART else 0):
                add("ffn_gate.%d.weight" % e, FF_EXPERT, EMBD), add("ffn_up.%d.weight" % e, FF_EXPERT, EMBD)
                add("ffn_down.%d.weight" % e, EMBD, FF_EXPERT)
        if has & EXPERTS and not has & APART:
            add("ffn_gate_exps.weight", 4 * FF_EXPERT, EMBD), add("ffn_up_exps.weight", 4 * FF_EXPERT, EMBD)
            add("ffn_down_exps.weight", 4 * EMBD, FF_EXPERT)
        elif not has & EXPERTS:
            both = has & FUSED and not has & UNGATED
            add("ffn_up.weight", 2 * FF if both else FF, EMBD)
            if not both and not has & UNGATED:
                add("ffn_gate.weight", FF, EMBD)
            add("ffn_down.weight", EMBD, FF)
    return w


# ---- the model, from the papers' formulas

def matvec(m, x):
    return [dot(row, x) for row in m]


def rms(x, w=None):
    scale = (dot(x, x) / len(x) + 1e-3).power(-0.5)
    return [a * scale * b for a, b in zip(x, w or [1.0] * len(x))]


def layer_norm(x, w, b):
    mean = total(x) / len(x)
    x = [a - mean for a in x]
    scale = (dot(x, x) / len(x) + 1e-3).power(-0.5)
    return biased([a * scale * g for a, g in zip(x, w)], b)


def softmax(x):
    top = max(a.v for a in x)
    e = [(a + -top).exp() for a in x]
    s = total(e)
    return [a / s for a in e]


def cap(x, c):
    return (x / c).tanh() * c if c else x


def act(x, has):
    if has & RELU:
        return x.relu()
    if has & RELU2:
        return x.relu() * x.relu()
    if has & ERF:
        return x * 0.5 * ((x / math.sqrt(2)).erf() + 1.0)
    if has & GELU:
        return x * 0.5 * ((x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)).tanh() + x * 0.5
    return x / ((-x).exp() + 1.0)


def rotate(x, position, n_rot, half):
    x = list(x)
    for i in range(n_rot // 2):
        a, b = (i, i + n_rot // 2) if half else (2 * i, 2 * i + 1)
        angle = position * 10000 ** (-2.0 * i / n_rot)
        c, s = math.cos(angle), math.sin(angle)
        x[a], x[b] = x[a] * c + x[b] * -s, x[a] * s + x[b] * c
    return x


def biased(x, bias):
    return [a + b for a, b in zip(x, bias)] if bias else x


def network(gate, up, down, x, has, biases=(None, None, None)):
    up = biased(matvec(up, x), biases[1])
    if has & UNGATED:
        return biased(matvec(down, [act(u, has) for u in up]), biases[2])
    gate = biased(matvec(gate, x), biases[0])
    return biased(matvec(down, [act(g, has) * u for g, u in zip(gate, up)]), biases[2])


def experts(part, x, has, opt):
    p = softmax(matvec(part("ffn_gate_inp.weight"), x))
    chosen = sorted(range(4), key=lambda e: -p[e].v)[:2]
    whole = total([p[e] for e in chosen])
    out = [Num(0.0)] * EMBD
    for e in chosen:
        def rows(which, n):
            whole = part("ffn_%s_exps.weight" % which)
            return whole[e * n:(e + 1) * n] if whole else part("ffn_%s.%d.weight" % (which, e))
        y = network(rows("gate", FF_EXPERT), rows("up", FF_EXPERT), rows("down", EMBD), x, has)
        share = p[e] / whole if opt.get("expert_norm", 1) else p[e]
        out = [a + share * b for a, b in zip(out, y)]
    return out


def heads_of(part, which, x, n_head, position, l, has, opt):
    qkv, first = part("attn_qkv.bias"), {"q": 0, "k": HEAD * DIM, "v": (HEAD + KV_HEAD) * DIM}[which]
    x = biased(x, qkv[first:first + len(x)] if qkv else part("attn_%s.bias" % which))
    w = part("attn_%s_norm.weight" % which)
    if w and has & NORM_QK_WHOLE:
        x = rms(x, w)
    x = [x[h * DIM:(h + 1) * DIM] for h in range(n_head)]
    if w and not has & NORM_QK_WHOLE:
        x = [rms(a, w) for a in x]
    if which == "v" or l in opt.get("no_rope", []):
        return x
    x = [rotate(a, position * opt.get("turn", 1), opt.get("n_rot", DIM), has & HALF) for a in x]
    if has & BARE:
        x = [rms(a) for a in x]
    if which == "q" and "temperature" in opt:
        beta, length = opt["temperature"]
        x = [[c * (1 + beta * math.log(1 + position // length)) for c in a] for a in x]
    return x


def attend(q, keys, values, t, l, has, opt):
    window = opt["window"][l] if "window" in opt else 0
    first = max(0, t + 1 - window) if window else 0
    seen = range(first, N if has & ENCODER else t + 1)
    out = []
    for h in range(HEAD):
        g = h // (HEAD // KV_HEAD)
        p = softmax([cap(dot(q[h], keys[u][g]) * opt.get("attn_scale", DIM ** -0.5), opt.get("attn_cap")) for u in seen])
        for i in range(DIM):
            out.append(dot(p, [values[u][g][i] for u in seen]))
    return out


def begin(w, norm, t, opt):
    x = [a * opt.get("embd_scale", 1.0) for a in w["token_embd.weight"][(t * t * 7 + 3 * t + 5) % VOCAB]]
    if "position_embd.weight" in w:
        x = biased(x, w["position_embd.weight"][t])
    if "token_types.weight" in w:
        x = biased(x, w["token_types.weight"][t >= opt["second"]])
    return norm(x, "token_embd_norm")


def loss_of(w, has, n_layer, opt):
    heads, kv = HEAD * DIM, KV_HEAD * DIM

    def norm(x, name):
        """x itself where the model has no such norm."""
        if has & BARE and "post" not in name and not name.endswith("output_norm"):
            return rms(x)
        if name + ".weight" not in w:
            return x
        return layer_norm(x, w[name + ".weight"], w.get(name + ".bias")) if has & LAYER_NORM else rms(x, w[name + ".weight"])

    def join(stream, added, l, which):
        added = norm(added, "blk.%d.post_%s_norm" % (l, "ffw" if which == "layer" else "attention"))
        return norm([a + b * opt.get("residual", 1.0) for a, b in zip(stream, added)], "blk.%d.%s_output_norm" % (l, which))

    x = [begin(w, norm, t, opt) for t in range(N)]
    for l in range(n_layer):
        def part(name):
            return w.get("blk.%d.%s" % (l, name))
        q, k, v = part("attn_q.weight"), part("attn_k.weight"), part("attn_v.weight")
        gate, up = part("ffn_gate.weight"), part("ffn_up.weight")
        if has & FUSED:
            qkv = part("attn_qkv.weight")
            q, k, v = qkv[:heads], qkv[heads:heads + kv], qkv[heads + kv:]
        if has & FUSED and not has & UNGATED:
            gate, up = up[:FF], up[FF:]
        xn = [norm(a, "blk.%d.attn_norm" % l) for a in x]
        queries = [heads_of(part, "q", matvec(q, xn[t]), HEAD, t, l, has, opt) for t in range(N)]
        keys = [heads_of(part, "k", matvec(k, xn[t]), KV_HEAD, t, l, has, opt) for t in range(N)]
        values = [heads_of(part, "v", matvec(v, xn[t]), KV_HEAD, t, l, has, opt) for t in range(N)]
        for t in range(N):
            o = biased(matvec(part("attn_output.weight"), attend(queries[t], keys, values, t, l, has, opt)),
                       part("attn_output.bias"))
            y = join(x[t], o, l, "attn")
            yn = norm(x[t] if opt.get("parallel") else y, "blk.%d.ffn_norm" % l)
            biases = part("ffn_gate.bias"), part("ffn_up.bias"), part("ffn_down.bias")
            f = experts(part, yn, has, opt) if has & EXPERTS else \
                network(gate, up, part("ffn_down.weight"), yn, has, biases)
            x[t] = join(y, f, l, "layer")
    losses = []
    for t in range(N):
        if t % 7 == 3:
            continue
        z = matvec(w["output.weight" if has & UNTIED else "token_embd.weight"], rms(x[t]) if has & BARE else norm(x[t], "output_norm"))
        z = [cap(a * opt.get("logit_scale", 1.0), opt.get("cap")) for a in z]
        losses.append(-softmax(z)[(t * 11 + 2) % VOCAB].log())
    return total(losses)


print("/* made by scripts/reference_grad.py: for each family of pupil.h the loss, and of each tensor's\n"
      " * gradient, in the order of their names, its length and its product with a random direction. */")
print("static const struct {\n    const char *family;\n    double loss;\n    int n;\n"
      "    struct { double length, product; } grad[96];\n} reference_grads[] = {")
for family, has, n_layer, opt in FAMILIES:
    TAPE.clear()
    w = make_weights(has, n_layer)
    loss = loss_of(w, has, n_layer, opt)
    backward(loss)
    rows = []
    for name in sorted(w, key=lambda s: s.encode()):
        flat = [a for row in w[name] for a in row] if isinstance(w[name][0], list) else w[name]
        r = uniform(hashed(name) + 1 & M64)
        rows.append("{ %.9g, %.9g }" % (math.sqrt(sum(a.d * a.d for a in flat)), sum(a.d * next(r) for a in flat)))
    print('    { "%s", %.12g, %d, {' % (family, loss.v, len(rows)))
    for i in range(0, len(rows), 3):
        print("        " + ", ".join(rows[i:i + 3]) + ",")
    print("    } },")
print("};")
