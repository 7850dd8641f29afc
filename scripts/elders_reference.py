#!/usr/bin/env python3
"""elders_reference.py ../shared/encoders > tests/elders_losses.h - losses of GPT-2 and GPT-NeoX while they learn.

Five steps of AdamW on one text, of all weights and of a LoRA whose numbers follow from their names, by torch, transformers
and peft in float64. Needs these three packages.
"""
import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

torch.set_num_threads(1)
N, STEPS = 24, 5
TARGETS = {"gpt2": ["c_attn", "c_proj", "c_fc"], "gptneox": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]}


def number(name, i):
    """FNV-1a of the name, then one multiplication for each of its numbers: -0.1 to 0.1."""
    h = 0xcbf29ce484222325
    for c in name.encode():
        h = (h ^ c) * 0x100000001b3 % (1 << 64)
    return ((h + i) * 0x9e3779b97f4a7c15 % (1 << 64) >> 40) / (1 << 24) * 0.2 - 0.1


def learn(model):
    vocab = model.config.vocab_size
    ids = torch.tensor([[(7 * i + 3) % vocab for i in range(N)]])
    learns = [p for p in model.parameters() if p.requires_grad]
    groups = [{"params": [p for p in learns if p.dim() > 1], "weight_decay": 0.01},
              {"params": [p for p in learns if p.dim() < 2], "weight_decay": 0.0}]
    adam = torch.optim.AdamW([g for g in groups if g["params"]], lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
    for _ in range(STEPS):
        logits = model(input_ids=ids[:, :-1]).logits[0]
        loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:])
        adam.zero_grad()
        loss.backward()
        norm = torch.stack([(p.grad ** 2).sum() for p in learns]).sum().sqrt()
        yield "{ %.9g, %.9g }" % (loss.item(), norm.item())
        adam.step()


print("/* made by scripts/elders_reference.py: loss and length of the gradient in each step. */")
print("static const struct { const char *name; int lora; double step[%d][2]; } elders_losses[] = {" % STEPS)
for name in TARGETS:
    for lora in (0, 1):
        model = AutoModelForCausalLM.from_pretrained("%s/%s-hf" % (sys.argv[1], name), dtype=torch.float64)
        if lora:
            config = LoraConfig(r=3, lora_alpha=6, target_modules=TARGETS[name], task_type="CAUSAL_LM",
                                fan_in_fan_out=name == "gpt2")
            model = get_peft_model(model, config, autocast_adapter_dtype=False)
            for key, p in model.named_parameters():
                if "lora_" in key:
                    key = key.replace(".default.", ".")
                    flat = [number(key, i) for i in range(p.numel())]
                    p.data = torch.tensor(flat, dtype=torch.float32).double().reshape(p.shape)
        model.eval()
        print('    { "%s", %d, { %s } },' % (name, lora, ", ".join(learn(model))))
print("};")
