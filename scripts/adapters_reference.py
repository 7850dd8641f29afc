#!/usr/bin/env python3
"""Do peft, transformers and llama.cpp make of pith's files what pith makes of them?

    python3 scripts/adapters_reference.py ./run ../shared/tuning/llama

Teaches an adapter (run sft) over the Hugging Face folder and over the GGUF file: the weights must be the same files. Then
peft loads the folder, llama.cpp the GGUF adapter, transformers and llama.cpp what run merge makes of it, and their logits
are compared with those of run score. Needs torch, transformers, peft, numpy; for llama.cpp xllamacpp.
"""
import filecmp
import subprocess
import sys
import tempfile

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

run, family = sys.argv[1], sys.argv[2]
out = tempfile.mkdtemp()
ids = [int(i) for i in open(family + "/lora/ids.txt").read().split()]
failed = 0


def call(*args):
    done = subprocess.run([run, *args], capture_output=True, text=True)
    if done.returncode:
        sys.exit("run %s: %s" % (" ".join(args), done.stderr))


def check(what, distance, most):
    global failed
    good = distance < most
    failed += not good
    print("%s %s: %.2e" % ("ok" if good else "not ok", what, distance))


def score(model, *more):
    call("score", model, "--tokens", ",".join(map(str, ids)), "--logits", out + "/logits",
         "--cache-type-k", "f32", "--cache-type-v", "f32", *more)
    return np.fromfile(out + "/logits", "<f4").reshape(len(ids), -1)


def far(x, want):
    return np.linalg.norm(x - want) / np.linalg.norm(want)


def logits(model):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float().numpy()


def llama_cpp(model, adapter=None):
    """Log-probabilities of the likeliest next tokens."""
    import xllamacpp
    p = xllamacpp.CommonParams()
    p.model.path, p.n_ctx, p.n_parallel, p.warmup, p.cpuparams.n_threads = model, 256, 1, False, 1
    if adapter:
        lora = xllamacpp.CommonAdapterLoraInfo()
        lora.path, lora.scale = adapter, 1.0
        p.lora_adapters = [lora]
    server = xllamacpp.Server(p)
    answer = server.handle_completions({"prompt": ids, "max_tokens": 1, "temperature": 0, "logprobs": 5})
    return {t["id"]: t["logprob"] for t in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]}


def apart(top, want):
    log_p = want[-1] - np.log(np.sum(np.exp(want[-1].astype(np.float64))))
    return max(abs(log_p[t] - p) for t, p in top.items())


for base, to in (("base", "/a"), ("base.gguf", "/b")):
    call("sft", family + "/" + base, family + "/data/sft_prompt_completion.jsonl", "--output_dir", out + to, "--max_steps", "6",
         "--learning_rate", "0.01", "--per_device_train_batch_size", "2", "--lora_r", "4", "--use_rslora", "true")
for name in ("adapter_model.safetensors", "adapter.gguf"):
    check("the same " + name + " from either base", 1 - filecmp.cmp(out + "/a/" + name, out + "/b/" + name, False), 0.5)

want = score(family + "/base", "--lora", out + "/a")
check("the adapter changes the logits (1/x)", 1 / far(want, score(family + "/base")), 1e3)
peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(family + "/base", dtype=torch.float32), out + "/a")
check("peft", far(logits(peft), want), 1e-5)
check("peft, merged", far(logits(peft.merge_and_unload()), want), 1e-5)
call("merge", family + "/base", "--lora", out + "/a", "-o", out + "/merged")
call("merge", family + "/base.gguf", "--lora", out + "/a/adapter.gguf", "-o", out + "/merged.gguf")
check("run merge", far(score(out + "/merged"), want), 1e-5)
check("run merge, GGUF", far(score(out + "/merged.gguf"), want), 1e-5)
check("transformers, merged", far(logits(AutoModelForCausalLM.from_pretrained(out + "/merged")), want), 1e-5)
try:
    check("llama.cpp, adapter", apart(llama_cpp(family + "/base.gguf", out + "/a/adapter.gguf"), want), 5e-3)
    check("llama.cpp, merged", apart(llama_cpp(out + "/merged.gguf"), want), 5e-3)
except ImportError:
    print("no xllamacpp: llama.cpp is left out")
sys.exit(failed > 0)
