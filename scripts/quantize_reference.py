#!/usr/bin/env python3
"""Which number format llama-quantize gives each tensor, and whether files are byte for byte its own.

    quantize_reference.py LLAMA_QUANTIZE types > tests/quantize_types.h
    quantize_reference.py LLAMA_QUANTIZE compare RUN MODEL.gguf ...

Needs pip install gguf numpy. types writes small models of zeros and keeps what --dry-run says of them. compare makes
each MODEL smaller with both programs: types must agree in all tensors, bytes in those of the formats that promise it,
and for the others the squared error of both is printed. scripts/quantize_reference.sh builds llama-quantize.
"""
import os, re, subprocess, sys, tempfile
import numpy as np
import gguf

MIXES = ("F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K IQ4_NL IQ4_XS "
         "MXFP4_MOE").split()
EXACT = {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"}


def llama(arch, layers, heads, kv, embd=256, ff=256, vocab=64, head=32, experts=0, tied=False, fused=False):
    """Keys and tensors as tests/fixture.h reads them."""
    keys = {"general.architecture": arch, f"{arch}.block_count": layers, f"{arch}.embedding_length": embd,
            f"{arch}.feed_forward_length": ff, f"{arch}.attention.head_count": heads,
            f"{arch}.attention.head_count_kv": kv, f"{arch}.context_length": 64,
            f"{arch}.attention.layer_norm_rms_epsilon": 1e-5, f"{arch}.attention.key_length": head,
            f"{arch}.attention.value_length": head, f"{arch}.rope.dimension_count": head}
    if experts:
        keys.update({f"{arch}.expert_count": experts, f"{arch}.expert_used_count": 2})
    b = "blk.{%d}." % layers
    t = ["token_embd.weight %d %d" % (vocab, embd), "output_norm.weight %d" % embd, b + "attn_norm.weight %d" % embd,
         b + "ffn_norm.weight %d" % embd, b + "attn_output.weight %d %d" % (embd, heads * head)]
    if not tied:
        t.append("output.weight %d %d" % (vocab, embd))
    if fused:
        t.append(b + "attn_qkv.weight %d %d" % ((heads + 2 * kv) * head, embd))
        t.append(b + "ffn_up.weight %d %d" % (2 * ff, embd))
    else:
        t += [b + "attn_%s.weight %d %d" % (n, h * head, embd) for n, h in (("q", heads), ("k", kv), ("v", kv))]
    x, e = ("_exps", "%d " % experts) if experts else ("", "")
    if experts:
        t.append(b + "ffn_gate_inp.weight %d %d" % (experts, embd))
    if not fused:
        t += [b + "ffn_%s%s.weight %s%d %d" % (n, x, e, ff, embd) for n in ("gate", "up")]
    t.append(b + "ffn_down%s.weight %s%d %d" % (x, e, embd, ff))
    return keys, t


MODELS = {
    "llama, 4 query heads a kv head": llama("llama", 16, 8, 2),
    "llama, tied": llama("llama", 11, 4, 4, tied=True),
    "llama of 80 layers": llama("llama", 80, 8, 2, head=8, ff=32),
    "8 experts": llama("llama", 9, 8, 4, ff=32, experts=8),
    "4 experts": llama("llama", 9, 8, 2, ff=32, experts=4),
    "phi3, fused": llama("phi3", 10, 8, 8, fused=True),
    "rows of 96 and 80": llama("llama", 9, 4, 4, embd=96, ff=80, head=24),
}


def write(path, keys, tensors):
    w = gguf.GGUFWriter(path, keys["general.architecture"])
    for k, v in keys.items():
        if k == "general.architecture":
            continue
        w.add_float32(k, v) if isinstance(v, float) else w.add_uint32(k, v)
    for line in tensors:
        name, *shape = line.split()
        m = re.search(r"\{(\d+)\}", name)
        for i in range(int(m[1]) if m else 1):
            w.add_tensor(name.replace(m[0], str(i)) if m else name, np.zeros([int(n) for n in shape], np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def dry_types(quantize, path, mix):
    """[(name, type)] in the order of the file."""
    out = subprocess.run([quantize, "--dry-run", path, mix], capture_output=True, text=True)
    if out.returncode:
        sys.exit(out.stdout + out.stderr)
    types = []
    for m in re.finditer(r"^\[ *\d+/ *\d+\] (\S+) .*?type = *(\w+), (.*?)(?=^\[|^llama_model_quantize_impl: model size|\Z)",
                         out.stdout + out.stderr, re.M | re.S):
        to = re.search(r"MiB \((\w+)\)", m[3])
        types.append((m[1], (to[1] if to else m[2]).upper()))
    return types


def runs(types):
    """'attn_k Q4_K*16; ...': by the name behind the layer, then by layer."""
    by = {}
    for name, t in types:
        by.setdefault(re.sub(r"^blk\.\d+\.|\.weight$", "", name), []).append(t)
    parts = []
    for part in sorted(by):
        if part.endswith("norm"):
            continue
        row, n = [], 0
        for i, t in enumerate(by[part]):
            n += 1
            if i + 1 == len(by[part]) or by[part][i + 1] != t:
                row.append(t + ("*%d" % n if n > 1 else ""))
                n = 0
        parts.append(part + " " + " ".join(row))
    return "; ".join(parts)


def quoted(text, indent, width=112):
    lines = []
    while text:
        lines.append('"%s"' % text[:width])
        text = text[width:]
    return ("\n" + " " * indent).join(lines)


def make_types(quantize):
    print("/* Generated by scripts/quantize_reference.py: what llama-quantize makes of each tensor, by mix. Of a row such as\n"
          " * \"attn_v Q6_K*2 Q4_K\" the first layers have the first type. */")
    print("static const struct made_small {\n    const char *name, *keys, *tensors;\n"
          "    struct { const char *mix, *types; } of[%d];\n} made_small[] = {" % len(MIXES))
    with tempfile.TemporaryDirectory() as d:
        for name, (keys, tensors) in MODELS.items():
            path = os.path.join(d, "m.gguf")
            write(path, keys, tensors)
            print('    { "%s",\n      %s,\n      %s,\n      {' % (
                name, quoted("; ".join("%s %s" % kv for kv in keys.items()), 6), quoted("; ".join(tensors), 6)))
            for mix in MIXES:
                print('          { "%s",\n            %s },' % (mix, quoted(runs(dry_types(quantize, path, mix)), 12)))
            print("      } },")
    print("};")


def tensors_of(path):
    return {t.name: t for t in gguf.GGUFReader(path).tensors}


def floats(t):
    return gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float64).ravel()


def compare(quantize, run, models):
    bad = 0
    with tempfile.TemporaryDirectory() as d:
        ours, theirs = os.path.join(d, "ours.gguf"), os.path.join(d, "theirs.gguf")
        for model in models:
            base = tensors_of(model)
            for mix in MIXES:
                again = ["--allow-requantize"]
                a = subprocess.run([run, "quantize", model, ours, mix, "-q"] + again, capture_output=True, text=True)
                b = subprocess.run([quantize] + again + [model, theirs, mix], capture_output=True, text=True)
                if a.returncode or b.returncode:
                    print("%s %s: %s" % (model, mix, a.stderr.strip() if a.returncode else "llama-quantize: " + b.stderr.strip()[-200:]))
                    bad += 1
                    continue
                x, y = tensors_of(ours), tensors_of(theirs)
                differ = [n for n in x if n not in y or x[n].tensor_type != y[n].tensor_type]
                exact = [n for n in x if n not in differ and x[n].tensor_type.name in EXACT]
                other = [n for n in x if n not in differ and n not in exact]
                bytes_ = [n for n in exact if x[n].data.tobytes() != y[n].data.tobytes()]
                e = [sum(float(((floats(f[n]) - floats(base[n])) ** 2).sum()) for n in other) for f in (x, y)]
                with open(ours, "rb") as f, open(theirs, "rb") as g:
                    whole = f.read() == g.read()
                print("%s %s: %d tensors, %d of other types%s, %d of %d promised ones differ%s%s%s" % (
                    os.path.basename(model), mix, len(x), len(differ), " (%s)" % differ[0] if differ else "", len(bytes_),
                    len(exact), " (%s)" % bytes_[0] if bytes_ else "", ", the whole file is the same" if whole else "",
                    ", squared error %.4f of theirs" % (e[0] / e[1]) if e[1] else ""))
                bad += bool(differ or bytes_ or len(x) != len(y))
    return bad


if sys.argv[2] == "types":
    make_types(sys.argv[1])
else:
    sys.exit(compare(sys.argv[1], sys.argv[3], sys.argv[4:]) != 0)
