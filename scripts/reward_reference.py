#!/usr/bin/env python3
"""Compares the scores of a reward model that run reward wrote with those that transformers and peft find.

    pip install transformers peft torch
    python3 scripts/reward_reference.py ./run ../shared/tuning/llama/base OUT PAIRS.jsonl

OUT is opened as a PEFT folder of task SEQ_CLS over the base. Each row's chosen and rejected answer goes through the base's
chat template (or, plain texts, gets the end token) and the tokenizer, as TRL's RewardTrainer does it, and is scored
alone; run score --reward scores the file. A difference above 1e-5 of the largest score ends with exit code 1.
"""
import json
import subprocess
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer


def ids(tokenizer, row, side):
    both = row["prompt"] + row[side] if "prompt" in row else row[side]
    if isinstance(both, list):
        return tokenizer.apply_chat_template(both, tokenize=True, return_dict=True)["input_ids"]
    return tokenizer(both if both.endswith(tokenizer.eos_token) else both + tokenizer.eos_token)["input_ids"]


def main(run, base, reward, path):
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
    model.config.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    model = PeftModel.from_pretrained(model, reward).eval()
    done = subprocess.run([run, "score", base, "--reward", reward, "-f", path], capture_output=True, text=True, check=True)
    got = [[float(x) for x in line.split("\t")] for line in done.stdout.splitlines()]
    with torch.no_grad(), open(path) as rows:
        want = [[model(torch.tensor([ids(tokenizer, row, side)])).logits.item() for side in ("chosen", "rejected")]
                for row in map(json.loads, rows)]
    most = max(abs(x) for pair in want for x in pair)
    off = max(abs(x - y) for a, b in zip(got, want) for x, y in zip(a, b)) if len(got) == len(want) else float("inf")
    print(f"{len(want)} pairs, largest score {most:.4f}, largest difference {off:.2e}")
    return not off <= 1e-5 * most


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:5]))
