#!/usr/bin/env python3
"""Compares run sft's tokens and masks with TRL's, template by template.

    pip install trl transformers datasets torch safetensors
    python3 scripts/sft_reference.py ./run ../shared/tuning/llama/base

A folder with a small random model gets the vocabulary of the one given, and the special tokens of each template that TRL
has for training. Conversations go through TRL's own tokenisation (assistant_only_loss; prompt and completion), and
through run sft --dry-run --show. Ids and masks must be the same. For the template as the model has it, without marks of
what is generated, what counts here must lie within what TRL's training template marks, and what is left out there is
counted below: line breaks, empty thoughts. make never needs Python; a difference ends with exit code 1.

One thing is known to differ without marks: templates that write the name of the function, which the assistant gave, into
the tool's answer as well (gptoss, diffusion_gemma): there the name counts a second time.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import numpy as np
import trl
from safetensors.numpy import load_file, save_file
from transformers import PreTrainedTokenizerFast
from trl.data_utils import common_prefix_length

U, A, S = "user", "assistant", "system"
TALKS = [[(U, "Hi"), (A, "Hello there.")], [(S, "Be brief."), (U, "What is it?"), (A, "A cat.")],
         [(U, "One"), (A, "Two"), (U, "Three"), (A, "Four")], [(U, " a  b "), (A, "  blanks around  ")],
         [(U, "x"), (A, "")], [(U, "한국어"), (A, "naïve 🦉 ﬁn")], [(U, "code"), (A, "```c\nint x;\n\n```\n")],
         [(S, "S"), (U, "U"), (A, "A"), (U, "U2"), (A, "A2"), (U, "U3"), (A, "A3")], [(U, "[x] <y> {{ z }}"), (A, "{% if %} < > &")],
         [(U, "think"), (A, "<think>\nhm\n</think>\n\nYes.")], [(U, "\n\n"), (A, "\n")], [(U, "e\u0301"), (A, "o\u0308k")]]
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Seoul", "days": [1, 2]}}}
TOOL = {"type": "function", "function": {"name": "weather", "description": "It rains.", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}


KNOWN = {("gptoss", 13), ("diffusion_gemma", 13)}  # see above


def rows():
    """Conversations as rows of messages, and as prompts with completions."""
    out = [{"messages": [{"role": r, "content": c} for r, c in talk]} for talk in TALKS]
    out += [{"messages": [{"role": U, "content": "Why?"}, {"role": A, "reasoning_content": "Because.", "content": "So."}]},
            {"messages": [{"role": U, "content": "Rain?"}, {"role": A, "content": "", "tool_calls": [CALL]},
                          {"role": "tool", "name": "weather", "content": "wet"}, {"role": A, "content": "Yes."}], "tools": [TOOL]},
            {"messages": [{"role": U, "content": "Rain?"}, {"role": A, "content": "Let me see.", "tool_calls": [CALL, CALL]}]}]
    pairs = [{"prompt": r["messages"][:-1], "completion": r["messages"][-1:], **({"tools": r["tools"]} if "tools" in r else {})}
             for r in out]
    return out + pairs


def model_of(base, templates, to):
    """base with the special tokens of the templates, and a row of the embedding for each."""
    names = sorted({t for text in templates for t in re.findall(
        r"<\|[^|>'\" {}]{1,40}\|>|<｜[^｜]{1,40}｜>|</?s>|\[/?[A-Z_]{3,30}\]|<(?:start|end)_of_turn>|</?think>|</?tool_calls?>"
        r"|<\|turn>|<turn\|>|<seed:[a-z]+>|\[e~\[|<end_of_sentence>", text)})
    tokenizer = json.loads((base / "tokenizer.json").read_text())
    known = {t["content"] for t in tokenizer["added_tokens"]}
    weights = load_file(base / "model.safetensors")
    n = len(tokenizer["model"]["vocab"]) + len(known)
    for name in names:
        if name not in known:
            tokenizer["added_tokens"].append({"id": n, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
                                              "normalized": False, "special": "think" not in name and "tool" not in name})
            n += 1
    for key in weights:
        if key in ("model.embed_tokens.weight", "lm_head.weight"):
            weights[key] = np.resize(weights[key], (n, weights[key].shape[1]))
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((base / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({**config, "vocab_size": n, "max_position_embeddings": 32768}))
    (to / "tokenizer.json").write_text(json.dumps(tokenizer))
    (to / "tokenizer_config.json").write_bytes((base / "tokenizer_config.json").read_bytes())
    return PreTrainedTokenizerFast(tokenizer_file=str(to / "tokenizer.json"), bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")


def of_trl(tokenizer, template, row):
    """[(id, counts)], as SFTTrainer's tokenize_fn and build_labels have it; None where the template refuses the row."""
    def tokens(messages, **more):
        return tokenizer.apply_chat_template(messages, chat_template=template, tools=row.get("tools"), tokenize=True,
                                             return_dict=True, **more)
    try:
        if "prompt" in row:
            prompt = tokens(row["prompt"], add_generation_prompt=True)["input_ids"]
            ids = tokens(row["prompt"] + row["completion"])["input_ids"]
            n = common_prefix_length(prompt, ids)
            return [(t, int(i >= n)) for i, t in enumerate(ids)]
        both = tokens(row["messages"], return_assistant_tokens_mask=True)
        return list(zip(both["input_ids"], both["assistant_masks"]))
    except Exception as e:
        return None if "prompt" in row or "messages" in row else e


def of_pith(run, model, template, row, folder):
    """The same, of run sft --dry-run --show; None and its words where it refuses the row."""
    data, file = folder / "row.jsonl", folder / "template.jinja"
    data.write_text(json.dumps(row, ensure_ascii=False) + "\n")
    file.write_text(template)
    done = subprocess.run([run, "sft", str(model), str(data), "--output-dir", str(folder / "out"), "--dry-run", "--show", "1",
                           "--max-length", "100000", "--chat-template-file", str(file)], capture_output=True, text=True)
    lines = [line.split("\t") for line in done.stdout.split("\n") if re.match(r"\d+\t\"", line)]
    return [(int(x[0]), int(x[2])) for x in lines] if done.returncode == 0 else None, done.stderr


def compare(run, name, tokenizer, model, training, plain, folder):
    n = wrong = refused = 0
    left_out = {}
    for i, row in enumerate(rows()):
        want = of_trl(tokenizer, training, row)
        got, said = of_pith(run, model, training, row, folder)
        if want:
            want[0] = (want[0][0], 0)  # the first token never counts
        nothing = want is not None and not any(c for _, c in want)
        n += 1
        refused += want is None
        if (want is None or nothing) != (got is None) or (got and got != want):
            wrong += 1
            print(f"{name}: row {i}: {json.dumps(row, ensure_ascii=False)[:200]}\n  trl  {show(tokenizer, want)}\n"
                  f"  pith {show(tokenizer, got)}{said if got is None else ''}")
        if "messages" not in row or not plain or not want:
            continue
        bare, _ = of_pith(run, model, plain, row, folder)
        if bare and [t for t, _ in bare] == [t for t, _ in want]:
            for (t, c), (_, w) in zip(bare, want):
                if c and not w and (name, i) not in KNOWN:
                    wrong += 1
                    print(f"{name}: row {i}: without marks {show(tokenizer, bare)}\n  trl {show(tokenizer, want)}")
                    break
                if w and not c:
                    left_out[tokenizer.decode([t])] = left_out.get(tokenizer.decode([t]), 0) + 1
    few = ", ".join(f"{k!r} {v}" for k, v in sorted(left_out.items(), key=lambda x: -x[1])[:6])
    print(f"{name}: {n} rows, {refused} refused by the template, {wrong} wrong" + (f"; left out without marks: {few}" if few else ""))
    return wrong


def show(tokenizer, tokens):
    if tokens is None:
        return "refused"
    text, on = "", 0
    for t, c in tokens:
        text += ("[" if c else "]") * (c != on) + tokenizer.decode([t])
        on = c
    return repr(text + "]" * on)


def main(run, base):
    found = sorted(pathlib.Path(trl.__file__).parent.joinpath("chat_templates").glob("*_training.jinja"))
    texts = {f.stem[:-9]: (f.read_text(), f.with_name(f.stem[:-9] + ".jinja")) for f in found}
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model = folder / "model"
        model.mkdir()
        tokenizer = model_of(pathlib.Path(base), [t for t, _ in texts.values()], model)
        for name, (training, plain) in texts.items():
            wrong += compare(run, name, tokenizer, model, training, plain.read_text() if plain.exists() else None, folder)
    print(f"{len(texts)} templates, {wrong} rows wrong")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
