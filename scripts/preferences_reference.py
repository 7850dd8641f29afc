#!/usr/bin/env python3
"""Compares run dpo with TRL's DPOTrainer, family by family.

    pip install trl peft transformers datasets torch safetensors
    python3 scripts/preferences_reference.py ./run ../shared/tuning/llama/base [SEED]

Of each family a small random model is made with the vocabulary of the folder given, and a random LoRA. Both programs learn
the same pairs for five steps; every column of TRL's log must agree. make never needs Python; a difference ends with exit code 1.
"""
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import torch
import transformers
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoTokenizer
from trl import DPOConfig, DPOTrainer

disable_progress_bars()
transformers.utils.logging.disable_progress_bar()
NAMES = ("loss", "grad_norm", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen",
         "logps/rejected", "logits/chosen", "logits/rejected", "entropy")
STEPS, PAIRS = 5, 3
SHAPE = dict(hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
             max_position_embeddings=256, tie_word_embeddings=False, bos_token_id=None, pad_token_id=None)
FAMILIES = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM, {}),
    "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM, {"sliding_window": 12}),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM, {"tie_word_embeddings": True}),
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM, {}),
    "gemma2": (transformers.Gemma2Config, transformers.Gemma2ForCausalLM,
               {"tie_word_embeddings": True, "query_pre_attn_scalar": 16, "sliding_window": 12, "attn_implementation": "eager"}),
    "gemma3": (transformers.Gemma3TextConfig, transformers.Gemma3ForCausalLM,
               {"tie_word_embeddings": True, "query_pre_attn_scalar": 16, "sliding_window": 12}),
}


def make_rows(seed):
    r = random.Random(seed)
    words = "the brave cat hears a quiet horse near lake and draws tall bears".split()
    say = lambda n: " ".join(r.choice(words) for _ in range(n))
    return [{"prompt": say(r.randint(2, 9)), "chosen": " " + say(r.randint(1, 9)), "rejected": " " + say(r.randint(1, 9))}
            for _ in range(STEPS * PAIRS)]


def make_model(kind, base, to, seed):
    config, model, extra = FAMILIES[kind]
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    m = model(config(**{**SHAPE, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, **extra}))
    with torch.no_grad():
        for p in m.parameters():
            p.mul_(3) if p.dim() > 1 else p.add_(0.1 * torch.randn_like(p))
    m.save_pretrained(to)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, to / name)
    lora = get_peft_model(m, LoraConfig(r=3, lora_alpha=6, target_modules="all-linear", task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, p in lora.named_parameters():
            if "lora_B" in name:
                p.copy_(0.05 * torch.randn_like(p))
    lora.save_pretrained(to / "start")
    return tokenizer


def by_trl(kind, folder, rows, tokenizer):
    m = FAMILIES[kind][1].from_pretrained(folder, dtype=torch.float32)
    m = PeftModel.from_pretrained(m, folder / "start", is_trainable=True)
    args = DPOConfig(output_dir=str(folder / "trl"), per_device_train_batch_size=PAIRS, max_steps=STEPS, learning_rate=1e-3,
                     lr_scheduler_type="constant", weight_decay=0, adam_beta2=0.999, max_grad_norm=1, logging_steps=1,
                     train_sampling_strategy="sequential", report_to=[], use_cpu=True, bf16=False, gradient_checkpointing=False,
                     disable_tqdm=True, save_strategy="no", beta=0.1, max_length=None, disable_dropout=True, seed=1)
    trainer = DPOTrainer(model=m, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    if "ref" in m.peft_config:  # a frozen copy of the adapter: here the reference is the model without one
        m.delete_adapter("ref")
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    return [x for x in trainer.state.log_history if "loss" in x]


def by_pith(run, folder):
    subprocess.run([run, "dpo", folder, folder / "rows.jsonl", "-o", folder / "out", "--init_adapter", folder / "start", "--learning_rate",
                    "1e-3", "--lr_scheduler_type", "constant", "--per_device_train_batch_size", str(PAIRS), "--max_steps", str(STEPS),
                    "--train_sampling_strategy", "sequential", "--logging_steps", "1", "--eval_steps", "0", "--validation_split", "0",
                    "--save_steps", "0"], check=True, stderr=subprocess.DEVNULL)
    return [x for x in map(json.loads, (folder / "out/train.log.jsonl").read_text().splitlines()) if "loss" in x]


def main():
    run, base, seed = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve(), int((sys.argv + ["1"])[3])
    wrong = 0
    for kind in FAMILIES:
        with tempfile.TemporaryDirectory() as d:
            folder = pathlib.Path(d)
            rows = make_rows(seed)
            (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
            tokenizer = make_model(kind, base, folder, seed)
            a, b = by_trl(kind, folder, rows, tokenizer), by_pith(run, folder)
            worst = {}
            for name in NAMES:
                off = sum((x[name] - y[name]) ** 2 for x, y in zip(a, b)) ** 0.5
                worst[name] = off / (sum(x[name] ** 2 for x in a) ** 0.5 or 1)
            bad = [n for n, x in worst.items() if not x < 2e-4]
            wrong += bool(bad) or len(a) != STEPS or len(b) != STEPS
            print(f"{kind}: loss {worst['loss']:.1e}, norm {worst['grad_norm']:.1e}, worst {max(worst, key=worst.get)} {max(worst.values()):.1e}",
                  *bad, flush=True)
    sys.exit(wrong > 0)


main()
