#!/usr/bin/env python3
"""Writes tests/wordpiece_cases.h: what the library "tokenizers" makes of texts with WordPiece.

    scripts/wordpiece_reference.py > tests/wordpiece_cases.h      (pip install tokenizers==0.23.3)

Run by hand; make never needs Python. The vocabulary is made up. A hash is FNV-1a, 32 bits."""
import json

import tokenizers
from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"!'()-.,?#$[]<>@", *LETTERS, *("##" + c for c in LETTERS),
         "un", "##aff", "##able", "##afford", "unaffable", "play", "##ing", "##ed", "naive", "cafe", "Caf\u00e9", "The", "T",
         "##H", "##\u00e9", "don", "mask", "\u4e2d", "\u6587", "\u1112", "##\u1161", "##\u11ab", "\u1100", "##\u1173",
         "##\u11af", "\ud55c", "##\uae00", "\u03c3", "##\u03c3", "\u3042", "##\u30fc", "\u30ab", "\u00a9", "##\u20ac",
         "\ufb01", "e", "##1", "1", "2", "##2"]
VOCAB = list(dict.fromkeys(VOCAB))
TEXTS = [
    "unaffable", "UNAFFABLE played, playing!", "unafford", "Caf\u00e9 na\u00efve Cafe\u0301", "The THe don't #1 (a)", "",
    "   ", "a\tb\nc\rd\u00a0e\u3000f\u2028g\u0085h\u200bi\u00adj\ufeffk\u180el\ufffdm\x00n\x7fo", "\u4e2d\u6587a\u4e2d",
    "\ud55c\uae00 \ud55c", "\u03a3\u03a3 \u03c3\u03c2", "\u0130I \u1e9e", "\u3042\u30fc \u30ac", "\u00a91\u20ac $1 a+b a^b",
    "\ufb01x \u2460", "a" * 100, "a" * 101, "b " + "a" * 101 + " b", "\u00e9" * 101, "\u1100\u1173\u11af" * 34,
    "[MASK] [mask] [CLS]a[SEP] [UNK]", "a\u0301\u0323b \u212b \u1fc1", "\U0002b820\U0002b920 \uf900 \U0002fa1d",
    "\U0001f600a\u200d\u2764\ufe0f", "##ing play##ing", "x\u0e33y \u0915\u093c \u0958", "qz qy", "12 1222",
    "\u1b44\u302e \u302e\U0001d165a\u302ea",
]
NEWER = 0x11938  # the library's NFD is older than this character
FLAGS = [15, 3, 7, 11, 12, 0]  # 1 clean, 2 Chinese, 4 strip accents, 8 lower case


def quoted(s):
    out = ""
    for b in s.encode():
        out += chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else "\\%03o" % b
    return '"' + out + '"'


def fnv(data):
    h = 2166136261
    for b in data:
        h = (h ^ b) * 16777619 & 0xFFFFFFFF
    return h


def normalizer(flags):
    return BertNormalizer(clean_text=bool(flags & 1), handle_chinese_chars=bool(flags & 2),
                          strip_accents=bool(flags & 4), lowercase=bool(flags & 8))


def tokenizer(flags):
    specials = [{"id": i, "content": VOCAB[i], "single_word": False, "lstrip": False, "rstrip": False,
                 "normalized": False, "special": True} for i in range(5)]
    k = Tokenizer.from_str(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": specials,
        "normalizer": None, "pre_tokenizer": None, "post_processor": None,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": {s: i for i, s in enumerate(VOCAB)}}}))
    k.normalizer = normalizer(flags)
    k.pre_tokenizer = BertPreTokenizer()
    return k


def page_hash(n, flags):
    """All characters of a page, each between letters: their normal form and how many words that is."""
    how, cut, data = normalizer(flags), BertPreTokenizer(), b""
    for c in range(n * 1024, n * 1024 + 1024):
        if not 0xD800 <= c < 0xE000 and c != NEWER:
            text = how.normalize_str("a" + chr(c) + "b")
            data += text.encode() + bytes([len(cut.pre_tokenize_str(text))])
    return fnv(data)


def main():
    print(f"/* wordpiece_cases.h - made by scripts/wordpiece_reference.py with tokenizers {tokenizers.__version__}; do not edit. */\n")
    print("static const char *const wp_piece[] = {")
    for s in VOCAB:
        print(f"    {quoted(s)},")
    print("};\n\n/* A text; its ids by these flags of the normalizer (1 clean, 2 Chinese, 4 strip, 8 lower), special tokens in it")
    print(" * not looked for; the text again of the ids. */")
    print("static const struct {\n    const char *text;\n    int n, flags;\n    const char *ids, *back;\n} wp_case[] = {")
    for flags in FLAGS:
        k = tokenizer(flags)
        k.encode_special_tokens = True
        for s in TEXTS:
            ids = k.encode(s, add_special_tokens=False).ids
            print(f"    {{ {quoted(s)}, {len(s.encode())}, {flags},\n      \"{' '.join(map(str, ids))}\",\n"
                  f"      {quoted(k.decode(ids, skip_special_tokens=False))} }},")
    print("};\n\n/* Hashes of normal forms and numbers of words of every character between letters, 1024 characters each: flags 7, then 0. */")
    print("static const unsigned wp_page[][2] = {")
    for n in range(0x440):
        print(f"    {{ {page_hash(n, 7)}u, {page_hash(n, 0)}u }},")
    print("};")


main()
