#!/usr/bin/env python3
"""Writes tests/tokenizers.txt: what "tokenizers" and "sentencepiece" make of some thousand strings.

    scripts/tokenizers_reference.py > tests/tokenizers.txt      (pip install tokenizers==0.23.3
                                                                     sentencepiece==0.2.3)
    scripts/tokenizers_reference.py --show CASE NUMBER          one string and what is wanted of it

Run by hand; make never needs Python. The vocabularies are small ones, learned here from the text
below. A string is some fragments in a row, drawn by a generator that tests/t_tokens.c has, too, so
that the file holds only 16 bits of a hash for each: of the ids; of the lengths of the words that a
pre-tokenizer cuts, in bytes; or of the bytes of the text's normal form, or a number. Lines of the file:

    part LIST STRING                a fragment; those of the list "common" are for all cases
    json NAME TEXT                  some fields of a tokenizer.json
    ids CASE LIST FLAGS NAME...     a case: the tokenizer.json with the fields of these names; FLAGS s:
                                    special tokens are looked for in text, too
    spm CASE LIST FLAGS NAME        a case: SentencePiece's BPE, pieces and scores; FLAGS p: a space goes first
    words CASE LIST - PRE           a case: the words of the pre-tokenizer that GGUF calls PRE
    nfc CASE LIST - -               a case: normal form C
    hangul CASE LIST - -            a case: how many Korean syllables are written apart
    pages CASE - - PRE              a case: every character beside others, 1024 characters a string: the
                                    words, or, if PRE is "-", normal form C
    want HEX                        four digits a string, of the case above
"""
import io
import json
import re
import sys
import unicodedata
from pathlib import Path

import sentencepiece
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

ROOT = Path(__file__).resolve().parent.parent
META = "\u2581"
STRINGS = 160  # of a case
MASK = (1 << 64) - 1

TEXT = """
The old lighthouse keeper counted 1234 ships in 2019, and he'd written every name down. It's hard,
he said, to remember what you've seen; I'm sure they'll come back! "Don't wait," she'd answered.
We're going to the market: 12 apples, 7 pears and 100000 grapes. THE END OF THE STORY, it said.
for (int i = 0; i < n; i++) { sum += x[i] * y[i]; } /* the loop */ return sum / n;
def keep_count(names): return {name: len(name) for name in names if name != "none"}
La cafetière est cassée, où est l'été? Der Fluß fließt über größere Hügel. Año nuevo, mañana.
Быстрая лиса прыгает через ленивую собаку. Η γρήγορη αλεπού πηδάει πάνω από τον σκύλο.
빠른 갈색 여우가 게으른 개를 뛰어넘는다. 옛날 옛적에 작은 마을에 고양이가 살았습니다.
敏捷的棕色狐狸跳过懒狗。昔々、小さな村に猫が住んでいました。カタカナとひらがな。
हिन्दी में एक छोटी कहानी। ภาษาไทย עברית قصة قصيرة
The keeper kept the lamp, the lamp kept the night, and the night kept the sea. He's there, isn't he?
I've told them all I know. They'd rather not; we'll see. You're right. That's what I'm saying.
"""

# Fragments that every case draws from: words, contractions, digits, blanks, signs, other scripts.
COMMON = [
    "the", " the", "The", "THE", "keeper", " lamp", "kept", " name", "StoryTime", "HTTPServer", "x", "A",
    "'s", "'S", "'t", "'re", "'RE", "'ve", "'Ve", "'m", "'M", "'ll", "'LL", "'lL", "'d", "'D", "'x", "'", "''",
    "\u2019s", "he'd", " isn't", "'\u017f", "1", "12", "123", "1234", "1234567", " 7", "3.14", "\u0663\u0664",
    "\u00b2", "\u00bd", "\u216b", "\u2460", "\u3007", "\u0be7", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r",
    " \n", "\n ", " \n \n", "\t\t ", "\u00a0", "\u3000", "\u2003", "\u0085", "\u2028", "\u200b", "\x0b", "\x0c",
    "\x1c", "\x00", "\x7f", ".", ",", "!", "?", "...", " ...", "--", "_", "__", " _x", "(", ")", "[i]", "{", "}", "/",
    "//", "/*", " */", "\\", "|", "~", "^", "`", "``", "$", "+", "+=", "==", "<", ">", "<=", "=", "&", "%", "#", "@", "*",
    "\"", ";", ":", "-", "\n//", "!\n", "!\r\n", "/\n", "\u00e9", "e\u0301", "caf\u00e9", " caf\u00e9s", "\u00df",
    "\u00c9", "\u01c5", "\u02b0", "\u00aa", "\u0130", "\u0131", "\u212a", "\u1f7d", "\u1e9b\u0323", "\u0301", "\u0323",
    "\u20dd", "\ufe0f", "\u093f", "\u0939\u093f", "\u0915\u093c", "\u0958", "\u0e20\u0e32\u0e29\u0e32", "\u05d0",
    "\u0642\u0635\u0629", "\u0411\u044b", "\u041b", "\u03a3\u03c2", " \u03b1", "\u4e2d", "\u4e2d\u6587", "\u9fa5",
    "\u9fa6", "\u3400", "\uf900", "\u304b", "\u304b\u3099", "\u30ab", "\u30fc", "\u3001", "\u3002", "\uff01", "\uff0c",
    "\uff21", "\uff5e", "\uff9e", "\u2018", "\u201c", "\u201f", "\u2026", "\u2013", "\u00bf", "\u00ab", "\u20ac",
    "\u00b1", "\u2190", "\u2581", "\u2581\u2581", "\u2581the", "\u0120", "\u010a", "\U0001f600", "\U0001f468\u200d\U0001f469",
    "\U0001f1f0\U0001f1f7", "\U00020000", "\U00010400", "\U0001d400", "\U0001d7d8", "\ud55c", "\ud55c\uad6d",
    "\u1112\u1161\u11ab", "\uac00\u11a8", "\u1100\u1161", "\u1100", "\u11a8", "\u1161", "\ufffd", "\ue000", "\ud7a3",
    "\u07ff", "\u0800", "\u0904", "\u1100\u1161\u11a8\u0301", "a\u0323\u0307", "a\u0307\u0323", "\u00e5\u0323", "s",
    "t", "S", "ll", "re", "d", "\u13a0", "\u2c2f", "\ua7ae", "\u10d0", "\u1c90", "\u0561",
]

# ---- strings, as tests/t_tokens.c draws them -------------------------------------------------------


def fnv(data, h=2166136261):
    for x in data:
        h = ((h ^ x) * 16777619) & 0xFFFFFFFF
    return h


def string(name, number, parts):
    state = fnv(name.encode()) << 20 | number

    def draw(n):
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) & MASK
        return (state >> 33) % n

    draw(2)
    out = []
    for _ in range(1 + draw(10)):
        own = parts and draw(2)
        out.append(parts[draw(len(parts))] if own else COMMON[draw(len(COMMON))])
    return "".join(out)


PAGE, PAGES = 1024, 204  # up to U+32FFF


def page(number, pre):
    """Every character that has a class in text/unicode.c, in the company of others."""
    company = "a{0}b{0}{0}1{0} {0}\n.{0}A" if pre != "-" else "a{0}\u0323{0}\u11a8"
    out = []
    for c in map(chr, range(number * PAGE, number * PAGE + PAGE)):
        if unicodedata.category(c)[0] != "C" or c in "\t\n\x0b\x0c\r\x85":
            out.append(company.format(c))
    return "".join(out)


def short_hash(numbers):
    h = fnv(b"".join(x.to_bytes(4, "little") for x in numbers))
    return (h ^ h >> 16) & 0xFFFF


# ---- vocabularies ----------------------------------------------------------------------------------


def model_of(tok, **changes):
    model = json.loads(tok.to_str())["model"]
    model.update(changes)
    return model


def learn(pre, size, alphabet, specials=()):
    tok = Tokenizer(models.BPE(unk_token=specials[0] if specials else None))
    tok.pre_tokenizer = pre
    tok.train_from_iterator(TEXT.splitlines(), trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, special_tokens=list(specials), show_progress=False))
    return tok


def byte_level_model():
    """256 bytes and 250 merges; and words that no merge makes, for ignore_merges."""
    tok = learn(pre_tokenizers.ByteLevel(add_prefix_space=False), 506, pre_tokenizers.ByteLevel.alphabet())
    model = model_of(tok)
    for word in ["HTTPServer", "\u0120isn't", "\u010a\u010a", "\u0120caf\u00c3\u00a9s", "1234", "keeper"]:
        model["vocab"].setdefault(word, len(model["vocab"]))
    return model


def metaspace_model(fallback):
    """Characters, U+2581 for spaces; merges within words, and some across them."""
    specials = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256 if fallback else 0)]
    tok = learn(pre_tokenizers.Metaspace(prepend_scheme="never"), 520 if fallback else 330, [META, *"0123456789"], specials)
    model = model_of(tok, byte_fallback=fallback, unk_token="<unk>", fuse_unk=fallback)
    vocab = model["vocab"]
    for left, right in [(META, META), (META + META, META + META), ("t", META), (".", META)]:
        if left in vocab and right in vocab:
            vocab.setdefault(left + right, len(vocab))
            model["merges"].append([left, right])
    vocab.setdefault(META + "lighthouse", len(vocab))  # for ignore_merges
    vocab.setdefault(META + "isn't", len(vocab))
    return model


def spm_model(prefix):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.strip().splitlines()), model_writer=out, vocab_size=620, model_type="bpe",
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        add_dummy_prefix=prefix, character_coverage=0.98, allow_whitespace_only_pieces=True, minloglevel=2)
    return sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())


def spm_pieces(model):
    return {"pieces": [model.id_to_piece(i) for i in range(model.get_piece_size())],
            "scores": [round(model.get_score(i)) for i in range(model.get_piece_size())]}


# ---- the parts of a tokenizer.json -----------------------------------------------------------------

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"


def regex_table():
    """The expressions that formats/hftokenizer.c knows, from its own text."""
    source = (ROOT / "formats/hftokenizer.c").read_text()
    macros = dict(re.findall(r"#define ([A-Z]+) (\".*\")\n", source))
    for name, args, body in re.findall(r"#define ([A-Z_]+)\((.*?)\)((?:.*\\\n)*.*)", source):
        macros[name] = (args.split(", "), re.sub(r"/\*.*?\*/", "", body).replace("\\\n", ""))
    macros["hf_gpt2"] = re.search(r"hf_gpt2\[\] =\s*(\".*\");", source).group(1)
    table = re.search(r"hf_known\[\] = \{\n(.*?)\n\};", source, re.S).group(1)
    table = re.sub(r"/\*.*?\*/", "", table, flags=re.S)
    token = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[A-Za-z_0-9]+|[{}(),])')

    def expand(words):
        out = []
        while words:
            w = words.pop(0)
            if isinstance(macros.get(w), tuple):
                names, body = macros[w]
                args, depth, arg = [], 1, []
                words.pop(0)
                while depth:
                    x = words.pop(0)
                    depth += (x == "(") - (x == ")")
                    if depth == 1 and x == "," or not depth:
                        args.append(arg)
                        arg = []
                    else:
                        arg.append(x)
                inner = []
                for x in token.findall(body):
                    inner += args[names.index(x)] if x in names else [x]
                out += expand(inner)
            elif w in macros:
                out += expand(token.findall(macros[w]))
            else:
                out.append(w)
        return out

    rows, depth, strings = [], 0, []
    for w in expand(token.findall(table)):
        if w == "{":
            depth += 1
            if depth == 1:
                strings = [""]
        elif w == "}":
            depth -= 1
            if depth == 0:
                rows.append([s for s in strings if s])
        elif w == ",":
            strings.append("")
        elif w[0] == '"':
            strings[-1] += unescape_c(w[1:-1])
    return [(row[0], row[1:]) for row in rows]


def unescape_c(s):
    s = re.sub(r"\\u([0-9a-f]{4})", lambda m: chr(int(m.group(1), 16)), s)
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r"}.get(m.group(1), m.group(1)), s)


def split(regex, inverted=False):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Removed" if inverted else "Isolated",
            "invert": inverted}


def byte_level(regex):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": regex}


def sequence(kind, *steps):
    return {"type": "Sequence", kind: list(steps)} if len(steps) != 1 else steps[0]


def cut(*regexes):
    steps = [split(r) for r in regexes if r != GPT2]
    return sequence("pretokenizers", *steps, byte_level(GPT2 in regexes))


PREPEND = {"type": "Prepend", "prepend": META}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": META}
NFC = {"type": "NFC"}


def metaspace(scheme, split_words=True):
    return {"type": "Metaspace", "replacement": META, "prepend_scheme": scheme, "split": split_words}


FLAGS = ["lstrip", "rstrip", "single_word", "normalized", "special"]


def added(model, *tokens):
    """Tokens as (content, flags); ids follow those of the vocabulary."""
    out, n = [], len(model["vocab"])
    for content, flags in tokens:
        token = {"id": model["vocab"].get(content, n), "content": content}
        n += token["id"] == n
        token.update((f, f in flags.split()) for f in FLAGS)
        out.append(token)
    return out


def flag_tokens(names):
    """Each of the 32 sets of flags, on the contents that names gives."""
    sets = [" ".join(f for i, f in enumerate(FLAGS) if bits >> i & 1) for bits in range(32)]
    return [(names(i), flags) for i, flags in enumerate(sets)]


OVERLAPS = [
    ("ab", ""), ("abc", ""), ("bcd", ""), ("cd", "normalized"), ("cde", "normalized"), ("a", "single_word"),
    ("  ", ""), (" x", ""), ("\n\n", "normalized"), ("e\u0301", "normalized"), ("\u1e3f", "normalized"), ("p\u0301", ""),
    ("\u1e61", ""), (META + "q", "normalized"), ("q" + META, ""), ("\ud55c", "normalized"), ("the", "normalized lstrip"),
    ("<|a|>", "special"), ("<|a|>b", "special rstrip"), ("|>b", ""), ("\u3000", "rstrip"), ("kept", "single_word normalized"),
]


def letters(i):
    return "q" + "abcdefgh"[i % 8] + "wxyz"[i // 8]


def around(contents):
    """Fragments that put tokens beside white space, word characters and each other."""
    out = []
    for c in contents:
        out += [c, c, c[:-1], " " + c, c + " "]
    return out + [" ", "  ", "\u3000", "\u00a0\t", "\n", "_", "\u0301", "\u00b2", "\u203f", "\u24b6", "\u200d", "z", "9", META, "."]


ADDED = {"signs": flag_tokens(lambda i: f"<{i}>"), "words": flag_tokens(letters), "overlaps": OVERLAPS}


def part_lists():
    lists = {name: around(c for c, _ in tokens) for name, tokens in ADDED.items()}
    lists["overlaps"] += ["abcde", "bcde", "abab", "acd", "a a", "\u00e9", "\u1e55", "m\u0301", "s\u0307", "p\u0301", " \u1112\u1161\u11ab", "q", " q"]
    lists["whole"] = ["HTTPServer", " isn't", " caf\u00e9s", "1234", "lighthouse", " lighthouse", "\n\n", "keeper"]
    marks = [c for c in COMMON if any(unicodedata.category(x)[0] == "M" or 0x1100 <= ord(x) < 0x1200 for x in c)]
    lists["marks"] = marks + [chr(c) for c in (
        *range(0x300, 0x370), 0x41, 0x61, 0x75, 0xFC, 0x1EA1, 0x9C7, 0x9BE, 0xDD9, 0xDCF, 0xDCA, 0xBC6, 0x1025, 0x102E,
        0x1B05, 0x1B35, 0x344, 0x390, 0x1F71, 0xFB1D, 0x5D9, 0x5B4, 0x2F800, 0xFA0E, 0x1D15E, 0x1100, 0x1112, 0x1161,
        0x1175, 0x11A8, 0x11C2, 0x11A7, 0xAC00, 0xAC01)]
    lists["jamo"] = [chr(c) for c in (*range(0x10FF, 0x1114), 0x115F, *range(0x1160, 0x1178), *range(0x11A6, 0x11C5),
                                      0x1200, 0xA960, 0xABFF, 0xAC00, 0xAC01, 0xAC1B, 0xAC1C, 0xD788, 0xD7A3, 0xD7A4,
                                      0xD7B0, 0x301)]
    lists["jamo"] += [unicodedata.normalize("NFD", w) for w in ["\uac00", "\uac01", "\ud788", "\ud55c\uad6d", "\uad00"]] * 5
    lists["none"] = []
    return {"common": COMMON, **lists}


def tokenizer_cases():
    """(name, model, flags, normalizer and pre_tokenizer, name of the added tokens)"""
    for i, (pre, steps) in enumerate(regex_table()):
        yield f"{pre}-{i}", "byte", "s", {"pre_tokenizer": cut(*steps)}, None
    llama3 = dict(reversed(regex_table()))["llama-bpe"]
    inverted = sequence("pretokenizers", split(llama3[0], True), byte_level(False))
    digits = sequence("pretokenizers", {"type": "Digits", "individual_digits": True}, byte_level(True))
    yield "removed-inverted", "byte", "s", {"pre_tokenizer": inverted}, None
    yield "digits", "byte", "s", {"pre_tokenizer": digits}, None
    yield "byte-whole", "byte-whole", "s", {"pre_tokenizer": cut(*llama3)}, None
    yield "byte-nfc", "byte", "s", {"normalizer": NFC, "pre_tokenizer": cut(*llama3)}, None

    no_spaces = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    kinds = {
        "prepend": {"normalizer": sequence("normalizers", PREPEND, REPLACE)},
        "replace": {"normalizer": REPLACE},
        "gemma": {"normalizer": REPLACE, "pre_tokenizer": no_spaces},
        "nfc-prepend": {"normalizer": sequence("normalizers", NFC, PREPEND, REPLACE)},
        "plain": {},
        "nfc-always": {"normalizer": NFC, "pre_tokenizer": metaspace("always")},
        "replace-always": {"normalizer": REPLACE, "pre_tokenizer": metaspace("always", False)},
    }
    for scheme in ["always", "first", "never"]:
        for words in [True, False]:
            kinds[f"{scheme}-{'words' if words else 'text'}"] = {"pre_tokenizer": metaspace(scheme, words)}
    for name, rest in kinds.items():
        for model in ["fall", "bare", "fall-whole", "bare-fused"]:
            yield f"{name}-{model}", model, "s", rest, None

    for name, model, rest in [
        ("byte", "byte", {"pre_tokenizer": cut(*llama3)}),
        ("byte-nfc", "byte", {"normalizer": NFC, "pre_tokenizer": byte_level(True)}),
        ("prepend", "fall", kinds["prepend"]), ("replace", "bare", kinds["replace"]),
        ("nfc-prepend", "fall", kinds["nfc-prepend"]), ("always", "fall", kinds["always-words"]),
        ("first", "bare", kinds["first-text"]), ("never", "fall", kinds["never-words"]),
        ("nfc-always", "fall", kinds["nfc-always"]), ("plain", "fall", kinds["plain"]),
        ("byte-whole", "byte-whole", {"pre_tokenizer": cut(*llama3)}),
    ]:
        for tokens in ADDED:
            yield f"added-{tokens}-{name}", model, "s", rest, tokens
            if name in ("byte", "prepend"):
                yield f"added-{tokens}-{name}-text", model, "-", rest, tokens


# ---- pre-tokenizers that have no tokenizer.json here: as llama.cpp's source writes them ------------

PUNCT = r"[\p{P}\$\+<=>\^~\|]+"
NAMED = {
    "default": [PUNCT, GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "starcoder": [r"\p{N}", GPT2],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
}


def word_lengths(steps):
    """The lengths of the words that the expressions cut, one after the other."""
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(s), "isolated") for s in steps] +
                                  [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return lambda s: [len(w) for w, _ in pre.pre_tokenize_str(s)]


# ---- the file --------------------------------------------------------------------------------------


def all_models():
    byte, fall, bare = byte_level_model(), metaspace_model(True), metaspace_model(False)
    return {"byte": byte, "byte-whole": {**byte, "ignore_merges": True}, "fall": fall, "bare": bare,
            "fall-whole": {**fall, "ignore_merges": True}, "bare-fused": {**bare, "fuse_unk": True}}


EMPTY = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
         "pre_tokenizer": None, "post_processor": None, "decoder": None}


def words_by_name():
    for i, (pre, steps) in enumerate(list(NAMED.items()) + regex_table()):
        yield f"{pre}-{i}", pre, word_lengths(steps)


def normal_form(s):
    return list(unicodedata.normalize("NFC", s).encode())


def all_cases(known):
    """(kind, name, list of parts, flags, fields of the tokenizer.json by name or a pre-tokenizer, what is wanted)"""
    for name, model, flags, rest, tokens in tokenizer_cases():
        fields = {model: {"model": known[model]}}
        for key, value in rest.items():
            fields["json-" + format(fnv(dump(value).encode()), "x")] = {key: value}
        if tokens:
            fields[f"{tokens}-{model}"] = {"added_tokens": added(known[model], *ADDED[tokens])}
        whole = {k: v for field in fields.values() for k, v in field.items()}
        tok = Tokenizer.from_str(json.dumps({**EMPTY, **whole}))
        tok.encode_special_tokens = flags != "s"
        parts = tokens or ("whole" if "whole" in model else "none")
        yield "ids", name, parts, flags, fields, lambda s, t=tok: t.encode(s, add_special_tokens=False).ids
    for prefix in [True, False]:
        model = spm_model(prefix)
        fields = {f"spm-{prefix}".lower(): spm_pieces(model)}
        yield "spm", f"spm-{prefix}".lower(), "none", "p" if prefix else "-", fields, model.encode
    for name, pre, want in words_by_name():
        yield "words", f"words-{name}", "none", "-", pre, want
    yield "nfc", "normal-form", "marks", "-", "-", normal_form
    yield "hangul", "korean", "jamo", "-", "-", lambda s: [hangul_apart(s)]


def hangul_apart(s):
    """Syllables of the normal form that s has not as they are: unicodedata's count, in another way."""
    def syllables(x):
        return sum(0xAC00 <= ord(c) <= 0xD7A3 for c in x)
    grown = sum(0xAC00 <= ord(a) <= 0xD7A3 and len(unicodedata.normalize("NFC", a + b)) == 1 for a, b in zip(s, s[1:]))
    return syllables(unicodedata.normalize("NFC", s)) - syllables(s) + grown


def dump(x):
    return json.dumps(x, ensure_ascii=True, separators=(",", ":"))


def main():
    known, lists = all_models(), part_lists()
    if sys.argv[1:2] == ["--show"]:
        for _, name, parts, _, _, want in all_cases(known):
            if name == sys.argv[2]:
                s = string(name, int(sys.argv[3]), lists[parts])
                print(ascii(s), want(s))
        return
    print("# Written by scripts/tokenizers_reference.py, which says what the lines mean.")
    for name, parts in lists.items():
        for p in parts:
            print("part", name, dump(p))
    seen = set()
    for kind, name, parts, flags, fields, want in all_cases(known):
        for field in fields if kind in ("ids", "spm") else ():
            if field not in seen:
                print("json", field, dump(fields[field])[1:-1])
                seen.add(field)
        print(kind, name, parts, flags, " ".join(fields) if kind in ("ids", "spm") else fields)
        print("want", "".join(f"{short_hash(want(string(name, i, lists[parts]))):04x}" for i in range(STRINGS)))
    for name, pre, want in [*words_by_name(), ("normal-form", "-", normal_form)]:
        print("pages", f"pages-{name}", "- -", pre)
        print("want", "".join(f"{short_hash(want(page(i, pre))):04x}" for i in range(PAGES)))


if __name__ == "__main__":
    main()
