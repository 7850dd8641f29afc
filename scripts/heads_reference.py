#!/usr/bin/env python3
"""heads_reference.py ../shared/encoders > tests/heads_numbers.h - what heads say that its models were saved without.

The body is a model of ../shared/encoders, the head's numbers are those of fixture_safetensors; in float64, by torch and
transformers. Of words the first eight are asked for, behind the text's second token.
"""
import sys

import torch
import transformers
from reference_hf import numbers
from transformers import AutoConfig, AutoModel

torch.set_num_threads(1)
WORDS = 8
CASES = [  # folder, class, labels, other fields of config.json
    ("modernbert", "ModernBertForMaskedLM", 0, {}),
    ("modernbert", "ModernBertForSequenceClassification", 3, {}),
    ("modernbert", "ModernBertForSequenceClassification", 3, {"classifier_pooling": "mean"}),
    ("modernbert", "ModernBertForTokenClassification", 3, {}),
    ("mpnet", "MPNetForMaskedLM", 0, {}),
    ("mpnet", "MPNetForSequenceClassification", 2, {}),
    ("mpnet", "MPNetForTokenClassification", 2, {}),
    ("qwen3-emb", "Qwen3ForSequenceClassification", 2, {}),
    ("qwen3-emb", "Qwen3ForTokenClassification", 2, {}),
    ("gpt2", "GPT2ForSequenceClassification", 1, {}),
    ("gptneox", "GPTNeoXForSequenceClassification", 3, {}),
    ("mpnet", "MPNetForMaskedLM", 0, {"hidden_act": "relu"}),
]


def say(folder, name, labels, fields):
    path = "%s/%s-hf" % (sys.argv[1], folder)
    config = AutoConfig.from_pretrained(path, **fields, **({"num_labels": labels} if labels else {}))
    config._attn_implementation = "eager"
    model = getattr(transformers, name)(config).double().eval()
    base = AutoModel.from_pretrained(path, dtype=torch.float64)
    body = getattr(model, model.base_model_prefix)
    wrong = body.load_state_dict(base.state_dict(), strict=False)
    assert not wrong.missing_keys, wrong
    model.tie_weights()
    tensors = []
    inner = {p.data_ptr() for p in body.parameters()}
    for key, p in model.named_parameters():
        if p.data_ptr() in inner:
            continue
        p.data = torch.tensor(numbers(key, tuple(p.shape))).double()
        tensors.append("%s %s;" % (key, " ".join(map(str, p.shape))))
    values = []
    for line in open("%s/%s.ids" % (sys.argv[1], folder)):
        ids = [int(i) for i in line.split()]
        if not ids:
            continue
        y = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long)).logits[0]
        if not labels:
            y = y[1 if len(ids) > 1 else 0, :WORDS]
        values += y.flatten().tolist()
    values = values[:200]
    text = ""
    for i in range(0, len(values), 10):
        text += "\n        " + " ".join("%.9gf," % v if "." in "%.9g" % v else "%.9g," % v for v in values[i:i + 10])
    extra = "".join(', \\"%s\\": \\"%s\\"' % f for f in fields.items())
    return '    { "%s", "%s", "%s",\n      "%s", %d, {%s } },' % (folder, name, extra, " ".join(tensors), len(values), text)


print("/* made by scripts/heads_reference.py: logits of all texts, or of their tokens, as many as there is room for. */")
print("static const struct heads_case { const char *folder, *class, *fields, *tensors; int n; float logits[200]; } heads_cases[] = {")
for case in CASES:
    print(say(*case))
print("};")
