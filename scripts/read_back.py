#!/usr/bin/env python3
"""Whether another program reads what run quantize writes as pith reads it, to the bit.

    read_back.py RUN

Needs pip install gguf numpy. A small model of random numbers becomes a file of each type, and each of these a file of F32:
in that are the numbers that pith reads. The gguf package must read the same ones from the first.
"""
import os
import subprocess
import sys
import tempfile

import gguf
import numpy as np

TYPES = ("F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K IQ4_NL IQ4_XS "
         "MXFP4").split()
WIDTH = 512
MATRICES = {"token_embd.weight": 64, "output.weight": 64, **{
    "blk.0.%s.weight" % n: rows for n, rows in (("attn_q", WIDTH), ("attn_k", 128), ("attn_v", 128), ("attn_output", WIDTH),
                                               ("ffn_gate", WIDTH), ("ffn_up", WIDTH), ("ffn_down", WIDTH))}}
NORMS = ["output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"]


def make(path):
    random = np.random.default_rng(1)
    w = gguf.GGUFWriter(path, "llama")
    w.add_block_count(1)
    w.add_embedding_length(WIDTH)
    w.add_feed_forward_length(WIDTH)
    w.add_head_count(8)
    w.add_head_count_kv(2)
    w.add_context_length(64)
    w.add_layer_norm_rms_eps(1e-5)
    for name in NORMS:
        w.add_tensor(name, np.ones(WIDTH, np.float32))
    for name, rows in MATRICES.items():
        x = random.standard_normal((rows, WIDTH)) * random.exponential(0.1, (rows, 1))  # small rows and large ones
        x[0, :256] = 0
        w.add_tensor(name, x.astype(np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def quantize(run, *args):
    made = subprocess.run([run, "quantize", *args, "--allow-requantize", "--quiet"], capture_output=True, text=True)
    if made.returncode:
        sys.exit(made.stderr.strip())


def main(run):
    seen, bad = set(), 0
    with tempfile.TemporaryDirectory() as folder:
        model, small, floats = (os.path.join(folder, name + ".gguf") for name in ("model", "small", "floats"))
        make(model)
        for name in TYPES:
            for flags in ([], ["--pure"]):
                quantize(run, model, small, name, *flags)
                quantize(run, small, floats, "F32")
                want = {t.name: t for t in gguf.GGUFReader(floats).tensors}
                for t in gguf.GGUFReader(small).tensors:
                    seen.add(t.tensor_type.name)
                    x = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
                    y = want[t.name].data
                    if x.shape != y.shape or (x.view(np.uint32) != y.view(np.uint32)).any():
                        far = np.abs(x - y).max() if x.shape == y.shape else np.inf
                        print("%s: %s is %s, and differs by %g" % (name, t.name, t.tensor_type.name, far))
                        bad += 1
    print("read_back: %d types, %d tensors differ (%s)" % (len(seen), bad, " ".join(sorted(seen))))
    return bad != 0


sys.exit(main(sys.argv[1]))
