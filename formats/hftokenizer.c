/* hftokenizer.c - tokenizer.json of a Hugging Face folder becomes a pith__vocab.
 *
 * tokenizer.json (written by the library "tokenizers") is a pipeline: normalizer, pre_tokenizer,
 * model, post_processor, decoder, each a step or a Sequence of steps. Its regexes are known by
 * their text, which stands for one of the pre-tokenisers that GGUF has names for; no regex is ever
 * run. Steps that are not known are refused by name. tokenizer_config.json and
 * special_tokens_map.json say which tokens are special, and hold the chat template. */
#include "formats.h"

#include <stdio.h>
#include <string.h>

/* ---- merges ----------------------------------------------------------------------------------- */

static int hf_is_pair(pith__json merge, pith__json *left, pith__json *right) {
    pith__json more;
    return pith__json_type(merge) == '[' && pith__json_next(&merge, NULL, left) &&
           pith__json_next(&merge, NULL, right) && !pith__json_next(&merge, NULL, &more);
}

/* 0: s is no "left right". */
static int hf_cut(pith__str s, pith__str *left, pith__str *right) {
    const char *space = s.n ? memchr(s.p, ' ', s.n) : NULL;
    if (!space) return 0;
    *left = (pith__str){ s.p, (size_t)(space - s.p) };
    *right = (pith__str){ space + 1, s.n - left->n - 1 };
    return !memchr(right->p, ' ', right->n);
}

/* "left right", or since 2024 ["left", "right"], which may hold spaces. */
static void hf_merge(pith__vocab_reading *r, pith__json merge, pith__str *left, pith__str *right) {
    pith__json a, b;
    if (hf_is_pair(merge, &a, &b)) {
        *left = pith__vocab_string(r, a, "model.merges");
        *right = pith__vocab_string(r, b, "model.merges");
    } else if (!hf_cut(pith__vocab_string(r, merge, "model.merges"), left, right)) {
        pith__vocab_wrong(r, merge, PITH_EFORMAT, "model.merges", "two pieces with a space between");
    }
}

static void hf_merges(pith__vocab_reading *r, pith__json merges) {
    pith__vocab *v = r->v;
    size_t n = pith__json_count_long(merges, &r->f->ends);
    if (pith__json_type(merges) != '[' || n > INT32_MAX / 2) {
        pith__vocab_wrong(r, merges, PITH_EFORMAT, "model.merges", "an array");
        return;
    }
    v->left = pith__arena_new(&r->f->s->arena, n, sizeof *v->left);
    v->right = pith__arena_new(&r->f->s->arena, n, sizeof *v->right);
    if (!v->left || !v->right) pith__vocab_memory(r);
    for (size_t i = 0; !r->code; i++) {
        pith__json merge, at = merges;
        pith__str s;
        if (pith__json_next_plain(&merges, &s) && hf_cut(s, &v->left[i], &v->right[i])) continue;
        if (!pith__json_next(&at, NULL, &merge)) break;
        hf_merge(r, merge, &v->left[i], &v->right[i]);
        merges = at;
    }
    v->n_merge = (int)n;
}

static int is_unigram(const pith__vocab_reading *r, pith__json model) {
    static const char *const names[] = { "type", "vocab" };
    pith__json at[2]; /* old files have no type */
    pith__vocab_pick(r, model, names, at, 2);
    return pith__json_is(at[0], "Unigram") || (!pith__json_type(at[0]) && pith__json_type(at[1]) == '[');
}

static void hf_model(pith__vocab_reading *r, pith__json model) {
    enum { TYPE, UNK, DROPOUT, PREFIX, AFFIX, FUSE, FALLBACK, IGNORE, VOCAB, MERGES, FIELDS };
    static const char *const names[FIELDS] = {
        "type", "unk_token", "dropout", "continuing_subword_prefix", "end_of_word_suffix",
        "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"
    };
    pith__json at[FIELDS];
    pith__vocab_pick(r, model, names, at, FIELDS);
    if (pith__json_type(model) != '{') pith__vocab_wrong(r, model, PITH_EFORMAT, "model", "an object");
    if (pith__json_type(at[TYPE]) && !pith__json_is(at[TYPE], "BPE"))
        pith__vocab_wrong(r, at[TYPE], PITH_EARCH, "model.type", "BPE, WordPiece or Unigram");
    for (int i = DROPOUT; i <= AFFIX; i++) pith__vocab_absent(r, at[i], names[i]);
    r->v->model = PITH__BPE;
    r->v->fuse_unk = pith__vocab_flag(r, at[FUSE], names[FUSE], 0);
    r->v->byte_fallback = pith__vocab_flag(r, at[FALLBACK], names[FALLBACK], 0);
    r->v->ignore_merges = pith__vocab_flag(r, at[IGNORE], names[IGNORE], 0);
    if (!r->code) pith__vocab_pieces(r, at[VOCAB]);
    if (!r->code) hf_merges(r, at[MERGES]);
    if (!r->code && pith__json_type(at[UNK]) == '"')
        r->v->unk = pith__vocab_find(r, pith__vocab_string(r, at[UNK], names[UNK]));
}

/* The flags of an added token. */
static int hf_added_flags(pith__vocab_reading *r, pith__json token) {
    static const struct {
        const char *name;
        int flag;
    } known[] = { { "lstrip", PITH__LSTRIP }, { "rstrip", PITH__RSTRIP },
                  { "single_word", PITH__SINGLE_WORD }, { "normalized", PITH__NORMALIZED } };
    int flags = 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (pith__vocab_true(r, token, known[i].name, 0)) flags |= known[i].flag;
    return flags;
}

/* Tokens found in the text before all else. They take the place of a piece with the same id. */
static void hf_added(pith__vocab_reading *r, pith__json list) {
    pith__vocab *v = r->v;
    pith__json token;
    char type = pith__json_type(list);
    int n_far = 0;
    pith__str first = { NULL, 0 };
    if (type && type != 'n' && type != '[')
        pith__vocab_wrong(r, list, PITH_EFORMAT, "added_tokens", "an array");
    v->added = pith__arena_new(&r->f->s->arena, (size_t)r->f->n_vocab, 1);
    if (!v->added) pith__vocab_memory(r);
    while (!r->code && pith__json_next(&list, NULL, &token)) {
        pith__json number = pith__json_get(token, "id");
        int64_t far;
        if (pith__json_int(number, &far) && far >= r->f->n_vocab) { /* cannot come out of the model */
            if (n_far++ == 0) first = pith__vocab_string(r, pith__json_get(token, "content"), "content");
            continue;
        }
        int id = pith__vocab_id(r, number, "an id in added_tokens");
        pith__str s = pith__vocab_string(r, pith__json_get(token, "content"), "content in added_tokens");
        int flags = hf_added_flags(r, token), special = pith__vocab_true(r, token, "special", 0);
        if (r->code) return;
        if (pith__str_cmp(s, v->piece[id]) != 0) flags |= PITH__ADDED_ONLY;
        pith__vocab_put(r, id, s, special ? PITH__CONTROL : PITH__USER);
        v->added[id] = (uint8_t)flags;
    }
    if (n_far)
        pith__note(r->f->s, "%s: %d added token%s left out, as the ids are not under vocab_size %d: '%.*s'%s",
                   r->path, n_far, n_far > 1 ? "s are" : " is", r->f->n_vocab,
                   first.n < 60 ? (int)first.n : 60, first.p, n_far > 1 ? " and so on" : "");
}

/* ---- the pipeline ---------------------------------------------------------------------------- */

static void hf_normalizer(pith__vocab_reading *r, pith__json at) {
    pith__json pattern = pith__json_get(pith__json_get(at, "pattern"), "String");
    if (pith__vocab_step_is(at, "NFC")) {
        r->v->nfc = 1;
    } else if (pith__vocab_step_is(at, "Prepend") && pith__json_is(pith__json_get(at, "prepend"), PITH__METASPACE_UTF8)) {
        r->prepend = 1;
    } else if (pith__vocab_step_is(at, "Replace") && pith__json_is(pattern, " ") &&
               pith__json_is(pith__json_get(at, "content"), PITH__METASPACE_UTF8)) {
        r->metaspace = 1;
    } else {
        pith__vocab_wrong(r, at, PITH_EARCH, "normalizer", "NFC, Prepend or Replace (of spaces by U+2581)");
    }
}

static void hf_add_step(pith__vocab_reading *r, pith__str regex) {
    if (r->n_step == PITH__HF_STEPS)
        r->code = pith__fail(r->f->err, PITH_EARCH, "%s: pre_tokenizer has more than %d steps",
                             r->path, PITH__HF_STEPS);
    else r->step[r->n_step++] = regex;
}

static const char hf_gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* A Split that keeps what it finds: as pieces of their own, or by removing what it does not find.
 */
static void hf_split(pith__vocab_reading *r, pith__json at) {
    pith__json pattern = pith__json_get(at, "pattern"), behavior = pith__json_get(at, "behavior");
    int invert = pith__vocab_true(r, at, "invert", 0);
    if (pith__json_is(pith__json_get(pattern, "String"), " ") && r->metaspace)
        return; /* Gemma: there are no spaces left */
    if (!pith__json_is(behavior, invert ? "Removed" : "Isolated"))
        pith__vocab_wrong(r, behavior, PITH_EARCH, "behavior of a Split", "Isolated, or Removed inverted");
    hf_add_step(r, pith__vocab_string(r, pith__json_get(pattern, "Regex"), "Regex of a Split"));
}

/* Puts U+2581 before the text, if none is there: or also before what follows an added token. */
static void hf_metaspace(pith__vocab_reading *r, pith__json at) {
    pith__json scheme = pith__json_get(at, "prepend_scheme");
    if (!pith__json_is(pith__json_get(at, "replacement"), PITH__METASPACE_UTF8))
        pith__vocab_wrong(r, at, PITH_EARCH, "Metaspace", "U+2581 as its replacement");
    int never = pith__json_is(scheme, "never") || !pith__vocab_true(r, at, "add_prefix_space", 1);
    int first = pith__json_is(scheme, "first");
    if (pith__json_type(scheme) && !never && !first && !pith__json_is(scheme, "always"))
        pith__vocab_wrong(r, scheme, PITH_EARCH, "prepend_scheme", "first, always or never");
    if (!never) r->v->add_space = first ? PITH__SPACE_FIRST : PITH__SPACE_NONE_YET;
    if (!r->metaspace) r->v->late_spaces = 1;
    r->metaspace = 1;
    r->v->split_words = pith__vocab_true(r, at, "split", 1);
}

static void hf_pre_tokenizer(pith__vocab_reading *r, pith__json at) {
    if (r->byte_level) {
        pith__vocab_wrong(r, at, PITH_EARCH, "pre_tokenizer", "ByteLevel as its last step");
    } else if (pith__vocab_step_is(at, "ByteLevel")) {
        r->byte_level = 1;
        if (pith__vocab_true(r, at, "add_prefix_space", 1))
            pith__vocab_wrong(r, at, PITH_EARCH, "pre_tokenizer", "add_prefix_space false");
        if (pith__vocab_true(r, at, "use_regex", 1)) hf_add_step(r, pith__str_of(hf_gpt2));
    } else if (pith__vocab_step_is(at, "Digits")) {
        int each = pith__vocab_true(r, at, "individual_digits", 0);
        hf_add_step(r, pith__str_of(each ? "\\p{N}" : "\\p{N}+"));
    } else if (pith__vocab_step_is(at, "Split")) {
        hf_split(r, at);
    } else if (pith__vocab_step_is(at, "WhitespaceSplit") && r->v->model == PITH__UNIGRAM) {
        r->v->split_white = 1;
    } else if (pith__vocab_step_is(at, "Metaspace")) {
        hf_metaspace(r, at);
    } else {
        pith__vocab_wrong(r, at, PITH_EARCH, "pre_tokenizer", "ByteLevel, Digits, Split or Metaspace");
    }
}

/* ---- regexes by their text ------------------------------------------------------------------- */

#define LETTERS_AND_REST(number, newline)                                                          \
    "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" number "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" newline             \
    "|\\s+(?!\\S)|\\s+"
#define POSSESSIVE(number) /* as tiktoken spells them: the same language */                        \
    "[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|" number                                                       \
    "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"
#define SUFFIX "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASES(suffix, number)                                                                      \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" suffix "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER  \
    "*" suffix "|" number "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const struct {
    const char *pre, *step[PITH__HF_STEPS];
} hf_known[] = {
    { "gpt-2", { hf_gpt2 } },
    { "smollm", { "\\p{N}", hf_gpt2 } },
    { "llama-bpe", { SUFFIX "|" LETTERS_AND_REST("\\p{N}{1,3}", "\\s*[\\r\\n]+") } },
    { "llama-bpe", { SUFFIX "|" POSSESSIVE("\\p{N}{1,3}") } },
    { "llama-bpe", { "'(?i:[sdmt]|ll|ve|re)|" POSSESSIVE("\\p{N}{1,3}") } },
    { "qwen2", { SUFFIX "|" LETTERS_AND_REST("\\p{N}", "\\s*[\\r\\n]+") } },
    { "qwen2", { SUFFIX "|" POSSESSIVE("\\p{N}") } },
    { "qwen35",
      { SUFFIX "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"
        "|\\s+(?!\\S)|\\s+" } },
    { "seed-coder", { SUFFIX "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+"
                      "|\\s+(?!\\S)|\\s+" } },
    { "nanochat", { "'(?i:[sdmt]|ll|ve|re)|" POSSESSIVE("\\p{N}{1,2}") } },
    { "tekken", { CASES("", "\\p{N}") } },
    { "gpt-4o", { CASES(SUFFIX "?", "\\p{N}{1,3}") } },
    { "deepseek-coder",
      { "[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+",
        "\\p{N}" } },
    { "deepseek-v3",
      { "\\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?"
        "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+" } },
    { "deepseek-llm", /* not in any Unicode normal form: U+1F7D, U+212A and others must stay */
      { "[\r\n]",
        "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷ"
        "ᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄ"
        "Ⰰ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
        "\\s?[!-/:-~！-／：-～‘-‟　-。]+", "\\s+$",
        "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", "\\p{N}" } },
};

PITH_SHARED const char *pith__hf_pre(int i) { return i < (int)(sizeof hf_known / sizeof *hf_known) ? hf_known[i].pre : NULL; }
PITH_SHARED const char *const *pith__hf_pre_steps(int i) { return hf_known[i].step; }

static int hf_knows(const pith__vocab_reading *r, const char *const *step) {
    int n = 0;
    while (n < r->n_step && step[n] && pith__str_is(r->step[n], step[n])) n++;
    return n == r->n_step && (n == PITH__HF_STEPS || !step[n]);
}

static void hf_name_pre(pith__vocab_reading *r) {
    for (size_t i = 0; i < sizeof hf_known / sizeof *hf_known; i++) {
        if (!hf_knows(r, hf_known[i].step)) continue;
        r->v->pre = pith__str_of(hf_known[i].pre);
        return;
    }
    pith__str s = r->n_step ? r->step[r->n_step - 1] : pith__str_of("none");
    for (int i = 0; i < r->n_step; i++) /* the most telling one */
        if (r->step[i].n > s.n) s = r->step[i];
    r->code = pith__fail(r->f->err, PITH_EARCH,
                         "%s: pre_tokenizer has %d steps not known here, with the"
                         " regex %.*s",
                         r->path, r->n_step, s.n < 150 ? (int)s.n : 150, s.p);
}

/* ---- back to text ------------------------------------------------------------------------------ */

/* How pieces become text follows from their spelling; a decoder may only say the same. */
static void hf_decoder(pith__vocab_reading *r, pith__json at) {
    static const char *const known[] = { "ByteLevel", "ByteFallback", "Fuse",
                                         "Metaspace", "Replace",      "Strip" };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (pith__vocab_step_is(at, known[i])) return;
    pith__vocab_wrong(r, at, PITH_EARCH, "decoder", "one of those that go with BPE");
}

PITH_SHARED int pith__hf_vocab(pith__folder *f, pith__json at, const char *path) {
    pith__vocab_reading r = { .f = f, .path = path, .v = &f->s->vocab };
    pith__vocab *v = r.v;
    enum { MODEL, ADDED, NORMALIZER, PRE, PROCESSOR, DECODER, FIELDS };
    static const char *const names[FIELDS] = { "model",         "added_tokens",   "normalizer",
                                               "pre_tokenizer", "post_processor", "decoder" };
    pith__json in[FIELDS];
    pith__vocab_pick(&r, at, names, in, FIELDS);
    int words = pith__vocab_is_words(&r, in[MODEL]), unigram = is_unigram(&r, in[MODEL]);
    if (words) pith__vocab_words(&r, in[MODEL]);
    else if (unigram) pith__vocab_unigram(&r, in[MODEL]);
    else hf_model(&r, in[MODEL]);
    if (!r.code) hf_added(&r, in[ADDED]);
    pith__vocab_steps(&r, in[NORMALIZER], "normalizers",
                      words ? pith__vocab_bert : unigram ? pith__vocab_rewrite : hf_normalizer);
    pith__vocab_steps(&r, in[PRE], "pretokenizers", words ? pith__vocab_bert_cut : hf_pre_tokenizer);
    pith__vocab_steps(&r, in[PROCESSOR], "processors", pith__vocab_around);
    pith__vocab_steps(&r, in[DECODER], "decoders", words ? pith__vocab_bert_text : hf_decoder);
    if (words && !v->split_words)
        pith__vocab_wrong(&r, in[PRE], PITH_EARCH, names[PRE], "BertPreTokenizer");
    if (r.byte_level && (r.metaspace || r.prepend || unigram))
        pith__vocab_wrong(&r, in[NORMALIZER], PITH_EARCH, names[NORMALIZER], "none with ByteLevel");
    if (r.prepend && (!r.metaspace || v->late_spaces || v->add_space))
        pith__vocab_wrong(&r, in[NORMALIZER], PITH_EARCH, names[NORMALIZER],
                 "Replace beside Prepend, and nothing else that prepends");
    if (r.prepend) v->add_space = PITH__SPACE_ALWAYS;
    if (!r.byte_level && r.n_step)
        pith__vocab_wrong(&r, in[PRE], PITH_EARCH, names[PRE], "ByteLevel in it");
    if (r.code) return r.code;
    v->spelling = r.byte_level ? PITH__BYTE_LETTERS : r.metaspace ? PITH__METASPACE : PITH__RAW;
    if (r.byte_level) hf_name_pre(&r);
    if (!r.code && v->n < 1)
        r.code = pith__fail(f->err, PITH_EFORMAT, "%s: model.vocab is empty", path);
    return r.code;
}

/* ---- the files beside it --------------------------------------------------------------------- */

/* "eos_token": "</s>", or an object with the text as its content. */
static void hf_special(pith__vocab_reading *r, pith__json config, const char *name, int *id) {
    pith__json j = pith__json_get(config, name);
    if (pith__json_type(j) == '{') j = pith__json_get(j, "content");
    if (*id >= 0 || pith__json_type(j) != '"') return;
    *id = pith__vocab_find(r, pith__vocab_string(r, j, name));
}

/* A string, or those called "default" and "tool_use" in a list of {name, template}. */
static void hf_chat(pith__vocab_reading *r, pith__json j) {
    pith__json item;
    if (pith__json_type(j) == '"') r->v->chat_template = pith__vocab_string(r, j, "chat_template");
    while (pith__json_type(j) != '{' && pith__json_next(&j, NULL, &item)) {
        pith__json name = pith__json_get(item, "name");
        pith__str *to = pith__json_is(name, "default") ? &r->v->chat_template
                      : pith__json_is(name, "tool_use") ? &r->v->tool_template : NULL;
        if (to) *to = pith__vocab_string(r, pith__json_get(item, "template"), "chat_template");
    }
}

static void hf_settings(pith__vocab_reading *r, pith__json config) {
    pith__vocab *v = r->v;
    hf_special(r, config, "bos_token", &v->bos);
    hf_special(r, config, "eos_token", &v->eos);
    hf_special(r, config, "unk_token", &v->unk);
    hf_special(r, config, "mask_token", &v->mask);
    int before = v->add_bos, behind = v->add_eos;
    v->add_bos = pith__vocab_true(r, config, "add_bos_token", before);
    v->add_eos = pith__vocab_true(r, config, "add_eos_token", behind);
    if (v->add_bos != before || v->add_eos != behind) v->n_pair = 0; /* its template says otherwise */
    hf_chat(r, pith__json_get(config, "chat_template"));
}

/* The tokens that end a text: those that config.json named (some may not exist) and EOS. */
static void hf_ends(pith__vocab *v) {
    int n = 0, eos = v->eos < 0;
    for (int i = 0; i < v->n_end; i++) {
        eos |= v->end[i] == v->eos;
        if (v->end[i] < v->n) v->end[n++] = v->end[i];
    }
    if (!eos && n < (int)(sizeof v->end / sizeof *v->end)) v->end[n++] = v->eos;
    v->n_end = n;
    if (v->bos < 0) v->add_bos = 0;
    if (v->eos < 0) v->add_eos = 0;
}

/* A folder without a tokenizer.json runs on tokens; what there is instead is worth a note. */
static void hf_others(pith__folder *f) {
    static const char *const names[] = { "tokenizer.model", "tekken.json", "spiece.model", "vocab.json" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!pith__folder_has(f->dir, names[i])) continue;
        pith__note(f->s, "%s: %s is not read, need a tokenizer.json. In Python: AutoTokenizer.from_pretrained("
                   "THIS).save_pretrained(THIS)", f->dir, names[i]);
        return;
    }
}

/* A file of its own goes before what others say. */
static int hf_chat_file(pith__folder *f, const char *name, pith__str *to) {
    const pith__file *jinja = NULL;
    const char *path = pith__folder_path(f, pith__str_of(name));
    int code = path ? pith__folder_open(f, path, 0, &jinja) : PITH_EMEMORY;
    if (jinja) *to = (pith__str){ (const char *)jinja->data, jinja->size };
    return code;
}

PITH_SHARED int pith__hf_tokenizer(pith__folder *f) {
    pith__vocab_reading r = { .f = f, .v = &f->s->vocab };
    pith__json at;
    r.v->bos = r.v->eos = r.v->unk = r.v->mask = -1;
    int code = pith__folder_json(f, "tokenizer.json", 0, &at, &r.path);
    if (code) return code;
    if (pith__json_type(at)) {
        code = pith__hf_vocab(f, at, r.path);
    } else if (pith__folder_has(f->dir, "vocab.txt")) {
        code = pith__hf_vocab_lines(f);
    } else {
        hf_others(f);
        return PITH_OK;
    }
    static const char *const beside[] = { "tokenizer_config.json", "special_tokens_map.json",
                                          "chat_template.json" };
    for (size_t i = 0; i < sizeof beside / sizeof *beside && !code; i++) {
        code = pith__folder_json(f, beside[i], 0, &at, &r.path);
        if (!code && pith__json_type(at)) hf_settings(&r, at);
        if (!code) code = r.code;
    }
    if (!code) code = hf_chat_file(f, "chat_template.jinja", &r.v->chat_template);
    if (!code) code = hf_chat_file(f, "additional_chat_templates/tool_use.jinja", &r.v->tool_template);
    if (!code) hf_ends(&f->s->vocab);
    f->s->vocab_padded = 1;
    return code;
}

#undef LETTERS_AND_REST
#undef POSSESSIVE
#undef SUFFIX
#undef UPPER
#undef LOWER
#undef CASES
