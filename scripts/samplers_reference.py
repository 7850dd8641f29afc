#!/usr/bin/env python3
"""Writes tests/samplers.jsonl: what the stages of a sampler make of some logits, in double precision.

    scripts/samplers_reference.py > tests/samplers.jsonl

The definitions are written out plainly here, one function a stage, each a list of (logit, token) to another. Lines are
as those of ../shared/chat/samplers.json, which t_samplers.c reads too: sampler, params, logits, history, probs_out.
"chain" has the fields of a request, and "order" where the stages are not in llama.cpp's. The last lines of
tests/samplers.jsonl are some of that file, which llama.cpp itself has confirmed.
"""
import json
import math
import random


def probs(c):
    top = max(x for x, _ in c)
    e = [math.exp(x - top) for x, _ in c]
    return [v / sum(e) for v in e]


def falling(c):
    return sorted(c, key=lambda a: (-a[0], a[1]))


def penalties(c, h, f):
    n = f.get("repeat_last_n", 64)
    last = h[-n:] if n > 0 else h if n < 0 else []
    out = []
    for x, t in c:
        if t in last:
            x = x / f.get("repeat_penalty", 1) if x > 0 else x * f.get("repeat_penalty", 1)
            x -= last.count(t) * f.get("frequency_penalty", 0) + f.get("presence_penalty", 0)
        out.append((x, t))
    return out


def dry(c, h, f):
    if not f.get("dry_multiplier"):
        return c
    best = {}
    for e in range(1, len(h)):
        m = 0
        while m < e and h[e - 1 - m] == h[len(h) - 1 - m]:
            m += 1
        best[h[e]] = max(best.get(h[e], 0), m)
    base, allowed = f.get("dry_base", 1.75), f.get("dry_allowed_length", 2)
    return [(x - f["dry_multiplier"] * base ** (best[t] - allowed) if best.get(t, 0) >= allowed else x, t) for x, t in c]


def top_n_sigma(c, h, f):
    if not f.get("top_n_sigma"):
        return c
    mean = sum(x for x, _ in c) / len(c)
    sigma = math.sqrt(sum((x - mean) ** 2 for x, _ in c) / len(c))
    return [a for a in c if a[0] >= max(c)[0] - f["top_n_sigma"] * sigma]


def top_k(c, h, f):
    return falling(c)[:f["top_k"]] if f.get("top_k") else c


def typical(c, h, f):
    if f.get("typical_p", 1) >= 1:
        return c
    p = probs(c)
    entropy = -sum(v * math.log(v) for v in p)
    total, out = 0, []
    for v, a in sorted(zip(p, c), key=lambda b: abs(-math.log(b[0]) - entropy)):
        total += v
        out.append(a)
        if total > f["typical_p"]:
            break
    return out


def top_p(c, h, f):
    c, total, out = falling(c), 0, []
    if f.get("top_p", 1) >= 1:
        return c
    for v, a in zip(probs(c), c):
        total += v
        out.append(a)
        if total >= f["top_p"]:
            break
    return out


def min_p(c, h, f):
    p = probs(c)
    return [a for v, a in zip(p, c) if v >= f.get("min_p", 0) * max(p)]


def xtc(c, h, f):
    c = falling(c)
    n = sum(v >= f.get("xtc_threshold", 0.1) for v in probs(c)) if f.get("xtc_probability") else 0
    return c[n - 1:] if n > 1 else c


def temperature(c, h, f):
    t, d = f.get("temperature", 0.8), f.get("dynatemp_range", 0)
    if d > 0:
        e = -sum(v * math.log(v) for v in probs(c) if v > 0) / math.log(len(c)) if len(c) > 1 else 1
        t = max(0, t - d) + (t + d - max(0, t - d)) * e ** f.get("dynatemp_exponent", 1) if len(c) > 1 else 1
    return [(x / t, a) for x, a in c]


STAGES = dict(penalties=penalties, dry=dry, top_n_sigma=top_n_sigma, top_k=top_k, typ_p=typical, top_p=top_p,
              min_p=min_p, xtc=xtc, temperature=temperature)


def chain(logits, history, fields):
    c = [(x, t) for t, x in enumerate(logits)]
    for name in fields.get("order", ";".join(STAGES)).split(";"):
        c = STAGES[name](c, history, fields)
    out = [0.0] * len(logits)
    for v, (_, t) in zip(probs(c), c):
        out[t] = v
    return out


CHAINS = [
    dict(top_n_sigma=1.5, temperature=0.7),
    dict(typical_p=0.7, top_k=20, temperature=1.3),
    dict(typical_p=0.8, top_p=0.9, min_p=0.1, temperature=0.6),
    dict(xtc_probability=1, xtc_threshold=0.05, min_p=0.02, temperature=0.9),
    dict(dynatemp_range=0.5, dynatemp_exponent=1.5, top_k=12, temperature=1),
    dict(dynatemp_range=1, temperature=0.5),
    dict(dry_multiplier=0.8, repeat_penalty=1.2, frequency_penalty=0.1, top_p=0.8, temperature=0.8),
    dict(dry_multiplier=1, dry_base=1.2, dry_allowed_length=1, repeat_last_n=5, presence_penalty=0.3, temperature=1),
    dict(top_n_sigma=2, top_k=25, typical_p=0.9, top_p=0.95, min_p=0.01, xtc_probability=1, xtc_threshold=0.08,
         temperature=1.2, dynatemp_range=0.4, dry_multiplier=0.5, repeat_penalty=1.1),
    dict(order="temperature;top_p;top_k", temperature=2, top_p=0.6, top_k=5),
    dict(order="top_p;typ_p", top_p=0.9, typical_p=0.5),
    dict(order="xtc;top_k;min_p", xtc_probability=1, xtc_threshold=0.03, top_k=8, min_p=0.3),
    dict(order="min_p;top_n_sigma;top_p;temperature", min_p=0.001, top_n_sigma=1, top_p=0.7, temperature=0.3),
    dict(order="top_k;penalties;dry", top_k=10, repeat_penalty=1.5, dry_multiplier=2, dry_allowed_length=1),
]

random.seed(14)
for fields in CHAINS:
    for size in (12, 40):
        logits = [round(random.gauss(0, 2.5), 3) for _ in range(size)]
        history = [random.randrange(4) for _ in range(14)]
        line = dict(sampler="chain", params=fields, logits=logits, history=history,
                    probs_out=[float("%.9g" % v) for v in chain(logits, history, fields)])
        print(json.dumps(line))
