/* ggufvocab.c - the vocabulary of a GGUF file, which is in keys (gguf.c): pieces, merges, what ends a text, and how a text is cut. */
#include "formats.h"

#include <limits.h>
#include <string.h>

PITH_SHARED pith__str pith__gguf_string(pith__cursor *c) {
    uint64_t n = pith__u64(c);
    const uint8_t *p = pith__take(c, n);
    pith__str s = { p ? (const char *)p : "", p ? (size_t)n : 0 };
    return s;
}

PITH_SHARED void *pith__gguf_new(pith__store *s, size_t n, size_t size, int *code, pith_error *err) {
    void *p = pith__arena_new(&s->arena, n ? n : 1, size);
    *code = p ? PITH_OK : pith__fail(err, PITH_EMEMORY, "%s: no memory", s->path);
    return p;
}

/* ---- vocabulary: the values of its keys ------------------------------------------------------ */

/* *k is the key, or NULL where there is none; of another type it is an error. */
static int gguf_get(const pith__store *s, const char *name, int type, const pith__key **k,
                    pith_error *err) {
    static const char *const need[] = { "", "an integer", "a float", "a bool", "a string",
                                        "an array" };
    *k = pith__store_key(s, name);
    if (*k && (*k)->type != type)
        return pith__fail(err, PITH_EFORMAT, "%s: key '%s' is %s, need %s", s->path, name,
                          need[(*k)->type], need[type]);
    return PITH_OK;
}

/* The same for an array, of at least n values of one of GGUF's types. */
static int gguf_get_array(const pith__store *s, const char *name, int item, size_t n,
                          const pith__key **k, pith_error *err) {
    int code = gguf_get(s, name, PITH__ARRAY, k, err);
    if (code || !*k) return code;
    if ((*k)->gguf_item != item)
        return pith__fail(err, PITH_EFORMAT, "%s: key '%s' is an array of type %d, need type %d",
                          s->path, name, (*k)->gguf_item, item);
    if ((*k)->n < n || (*k)->n > INT_MAX)
        return pith__fail(err, PITH_EFORMAT, "%s: key '%s' has %zu values, need %zu", s->path, name,
                          (*k)->n, n);
    return PITH_OK;
}

static int gguf_get_flag(const pith__store *s, const char *name, int *flag, pith_error *err) {
    const pith__key *k;
    int code = gguf_get(s, name, PITH__BOOL, &k, err);
    if (!code && k) *flag = (int)k->i;
    return code;
}

/* A token that the vocabulary does not have is none. */
static int gguf_get_id(const pith__store *s, const char *name, int otherwise, int *id,
                       pith_error *err) {
    const pith__key *k;
    int code = gguf_get(s, name, PITH__INT, &k, err);
    int64_t i = !code && k ? k->i : otherwise;
    *id = i >= 0 && i < s->vocab.n ? (int)i : -1;
    return code;
}

/* ---- vocabulary: pieces, merges, ends -------------------------------------------------------- */

static int gguf_read_pieces(pith__store *s, pith_error *err) {
    pith__vocab *v = &s->vocab;
    const pith__key *piece, *score, *type;
    int code = gguf_get_array(s, "tokenizer.ggml.tokens", PITH__GGUF_STRING, 1, &piece, err);
    if (code) return code;
    if (!piece)
        return pith__fail(err, PITH_EFORMAT, "%s: has no key 'tokenizer.ggml.tokens'", s->path);
    code = gguf_get_array(s, "tokenizer.ggml.scores", PITH__GGUF_F32, piece->n, &score, err);
    if (!code)
        code = gguf_get_array(s, "tokenizer.ggml.token_type", PITH__GGUF_I32, piece->n, &type, err);
    if (!code) v->piece = pith__gguf_new(s, piece->n, sizeof *v->piece, &code, err);
    if (!code) v->score = pith__gguf_new(s, piece->n, sizeof *v->score, &code, err);
    if (!code) v->type = pith__gguf_new(s, piece->n, sizeof *v->type, &code, err);
    if (code) return code;
    v->n = (int)piece->n;
    pith__cursor pieces = piece->at, scores = { 0 }, types = { 0 };
    if (score) scores = score->at;
    if (type) types = type->at;
    for (int i = 0; i < v->n; i++) {
        v->piece[i] = pith__gguf_string(&pieces);
        v->score[i] = pith__f32(&scores);
        uint32_t t = pith__u32(&types);
        v->type[i] = (uint8_t)(t >= PITH__NORMAL && t <= PITH__BYTE ? t : PITH__NORMAL);
    }
    return PITH_OK;
}

/* "left right"; the space is looked for behind the first character, for that one may be a space. An
 * entry that is no pair can never apply: it is left out, and the others keep their order. */
static int gguf_read_merges(pith__store *s, pith_error *err) {
    pith__vocab *v = &s->vocab;
    const pith__key *k;
    int code = gguf_get_array(s, "tokenizer.ggml.merges", PITH__GGUF_STRING, 0, &k, err);
    if (code) return code;
    if (!k) return pith__fail(err, PITH_EFORMAT, "%s: has no key 'tokenizer.ggml.merges'", s->path);
    v->left = pith__gguf_new(s, k->n, sizeof *v->left, &code, err);
    if (!code) v->right = pith__gguf_new(s, k->n, sizeof *v->right, &code, err);
    if (code) return code;
    pith__cursor c = k->at;
    for (size_t i = 0; i < k->n; i++) {
        pith__str m = pith__gguf_string(&c);
        const char *space = m.n > 1 ? memchr(m.p + 1, ' ', m.n - 1) : NULL;
        size_t left = space ? (size_t)(space - m.p) : m.n;
        if (left + 1 >= m.n) continue;
        v->left[v->n_merge].p = m.p;
        v->left[v->n_merge].n = left;
        v->right[v->n_merge].p = space + 1;
        v->right[v->n_merge].n = m.n - left - 1;
        v->n_merge++;
    }
    return PITH_OK;
}

static void gguf_add_end(pith__vocab *v, int id) {
    int known = id < 0 || v->n_end == sizeof v->end / sizeof *v->end;
    for (int i = 0; i < v->n_end && !known; i++) known = v->end[i] == id;
    if (!known) v->end[v->n_end++] = id;
}

/* gpt-oss: with both of these, tokens that tell whose turn is over, "<|end|>" ends a message, and what the model thinks is
 * one. */
static void gguf_ends_of_turns(pith__vocab *v, int call, int back) {
    if (call < 0 || back < 0) return;
    for (int i = v->n_end - 1; i >= 0; i--)
        if (pith__str_is(v->piece[v->end[i]], "<|end|>")) v->end[i] = v->end[--v->n_end];
    v->type[call] = v->type[back] = PITH__CONTROL;
    gguf_add_end(v, call);
    gguf_add_end(v, back);
}

/* The keys name one or two of the tokens that end a turn; the rest are known by their spelling, as
 * in llama.cpp, which also takes them for control tokens when the file forgot to say so. */
static void gguf_find_ends(pith__vocab *v) {
    static const char *const text[] = {
        "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>", "<|end|>",
        "<end_of_turn>", "<turn|>", "<EOT>", "_<EOT>", "<end_of_utterance>", "<|fim_pad|>", "<|repo_name|>",
        "<|file_sep|>", "<\uff5cend\u2581of\u2581sentence\uff5c>"
    };
    int call = -1, back = -1;
    for (int i = 0; i < v->n; i++) {
        pith__str p = v->piece[i];
        if (p.n < 5 || p.p[p.n - 1] != '>') continue; /* all of them end so: seldom go on */
        if (pith__str_is(p, "<|call|>")) call = i;
        if (pith__str_is(p, "<|return|>")) back = i;
        for (size_t j = 0; j < sizeof text / sizeof *text; j++) {
            if (!pith__str_is(p, text[j])) continue;
            v->type[i] = PITH__CONTROL;
            gguf_add_end(v, i);
        }
    }
    gguf_ends_of_turns(v, call, back);
}

/* Phi-3's special tokens take the white space after them along; its files do not say so. */
static int gguf_strip_phi3(pith__store *s, pith_error *err) {
    static const char *const keep[] = { "<unk>", "<s>", "<|endoftext|>" };
    pith__vocab *v = &s->vocab;
    const pith__key *arch;
    int code = gguf_get(s, "general.architecture", PITH__STRING, &arch, err);
    if (code || !arch || !pith__str_is(arch->s, "phi3")) return code;
    v->added = pith__gguf_new(s, (size_t)v->n, sizeof *v->added, &code, err);
    for (int i = 0; !code && i < v->n; i++) {
        int special = v->type[i] == PITH__CONTROL || v->type[i] == PITH__USER ||
                      pith__str_is(v->piece[i], "</s>");
        for (size_t j = 0; j < sizeof keep / sizeof *keep; j++)
            special = special && !pith__str_is(v->piece[i], keep[j]);
        v->added[i] = special ? PITH__RSTRIP : 0;
    }
    return code;
}

/* ---- vocabulary ------------------------------------------------------------------------------ */

/* SentencePiece's BPE, whose pieces have scores and spell a space U+2581. */
static int gguf_read_spm(pith__store *s, pith_error *err) {
    pith__vocab *v = &s->vocab;
    v->model = PITH__SPM;
    v->spelling = PITH__METASPACE;
    v->byte_fallback = v->add_space = v->add_bos = 1;
    const pith__key *k = pith__store_key(s, "pith.space_prefix"); /* which space: see PITH__SPACE_ALWAYS */
    int code = gguf_get_flag(s, "tokenizer.ggml.add_space_prefix", &v->add_space, err);
    if (k && v->add_space && k->type == PITH__INT && k->i >= PITH__SPACE_ALWAYS && k->i <= PITH__SPACE_FIRST) v->add_space = (int)k->i;
    return code;
}

/* Byte-level BPE, whose merges have ranks and whose bytes are spelled as letters. What files do not
 * say of BOS, of whole words that need no merges and of normal form C goes with the pre-tokeniser's name. */
static int gguf_read_bpe(pith__store *s, pith_error *err) {
    static const struct {
        const char *pre;
        int add_bos, ignore_merges, nfc;
    } habits[] = {
        { "llama3", 1, 1, 0 }, { "llama-v3", 1, 1, 0 }, { "llama-bpe", 1, 1, 0 }, { "falcon3", 1, 1, 0 },
        { "falcon-h1", 1, 1, 0 }, { "pixtral", 1, 1, 0 }, { "midm-2.0", 1, 1, 0 }, { "lfm2", 1, 1, 0 },
        { "tekken", 1, 1, 0 }, { "youtu", 0, 1, 0 }, { "chameleon", 1, 0, 0 },
        { "olmo", 0, 0, 1 }, { "modern-bert", 0, 0, 1 } /* GPT-NeoX's, too */
    };
    pith__vocab *v = &s->vocab;
    const pith__key *pre;
    int code = gguf_get(s, "tokenizer.ggml.pre", PITH__STRING, &pre, err);
    if (code) return code;
    v->model = PITH__BPE;
    v->spelling = PITH__BYTE_LETTERS;
    if (!v->pre.n) v->pre = pre ? pre->s : pith__str_of("default"); /* or what --pretokenizer said */
    for (size_t i = 0; i < sizeof habits / sizeof *habits; i++) {
        if (!pith__str_is(v->pre, habits[i].pre)) continue;
        v->add_bos = habits[i].add_bos;
        v->ignore_merges = habits[i].ignore_merges;
        v->nfc = habits[i].nfc;
    }
    return gguf_read_merges(s, err);
}

/* Gemma 4: the pieces and bytes of SentencePiece, and merges by rank. llama.cpp cuts text at runs of newlines, which no
 * piece of the vocabulary crosses. */
static int gguf_read_gemma4(pith__store *s, pith_error *err) {
    pith__vocab *v = &s->vocab;
    v->model = PITH__BPE;
    v->spelling = PITH__METASPACE;
    v->byte_fallback = v->add_bos = 1;
    return gguf_read_merges(s, err);
}

/* WordPiece. Files of 2024 name [CLS] and [SEP] only, later ones name them BOS and EOS too. */
static int gguf_read_words(pith__store *s, pith_error *err) {
    pith__vocab *v = &s->vocab;
    v->model = PITH__WORDPIECE;
    v->spelling = PITH__RAW;
    v->add_bos = v->add_eos = 1;
    int code = pith__bert_from_gguf(v, &s->arena);
    if (code) return pith__fail(err, code, "%s: no memory", s->path);
    const pith__key *flags, *longest = NULL; /* pith's own keys */
    code = gguf_get(s, "pith.bert_normalizer", PITH__INT, &flags, err);
    if (!code) code = gguf_get(s, "pith.longest_word", PITH__INT, &longest, err);
    if (code) return code;
    if (flags) v->bert.clean = flags->i & 1, v->bert.chinese = flags->i >> 1 & 1;
    if (flags) v->bert.strip = flags->i >> 2 & 1, v->bert.lower = flags->i >> 3 & 1;
    if (longest && longest->i > 0 && longest->i <= INT32_MAX) v->bert.longest = (int)longest->i;
    return PITH_OK;
}

static int gguf_named(const pith__vocab *v, const char *name) { /* or -1 */
    int i = v->n - 1;
    while (i >= 0 && !pith__str_is(v->piece[i], name)) i--;
    return i;
}

/* What goes around a pair of texts, and what WordPiece cannot be without. */
static int gguf_read_around(pith__store *s, pith_error *err) {
    pith__vocab *v = &s->vocab;
    int words = v->model == PITH__WORDPIECE, sep = -1, cls = -1, add_sep = 0;
    const pith__key *types;
    int code = gguf_get_id(s, "tokenizer.ggml.seperator_token_id", -1, &sep, err); /* spelled so */
    if (!code && sep < 0) code = gguf_get_id(s, "tokenizer.ggml.separator_token_id", -1, &sep, err);
    if (!code) code = gguf_get_id(s, "tokenizer.ggml.cls_token_id", -1, &cls, err);
    if (!code) code = gguf_get_id(s, "tokenizer.ggml.mask_token_id", -1, &v->mask, err);
    if (!code) code = gguf_get_flag(s, "tokenizer.ggml.add_sep_token", &add_sep, err);
    if (!code) code = gguf_get(s, "tokenizer.ggml.token_type_count", PITH__INT, &types, err);
    if (code) return code;
    if (words && v->bos < 0) v->bos = cls >= 0 ? cls : gguf_named(v, "[CLS]");
    if (words && v->eos < 0) v->eos = sep >= 0 ? sep : gguf_named(v, "[SEP]");
    if (words && v->unk < 0) v->unk = gguf_named(v, "[UNK]");
    if (words && v->unk < 0)
        return pith__fail(err, PITH_EFORMAT, "%s: tokenizer.ggml.tokens has no token for unknown words, [UNK]", s->path);
    int second = types ? types->i > 1 : words;
    if (v->add_bos || v->add_eos) pith__usual_pair(v, add_sep ? sep : -1, second);
    return PITH_OK;
}

/* pith's own keys, for a vocabulary that was a tokenizer.json: three strings for each step of its normalizer, and where words
 * end. Text is cut as "tokenizers" does it then. */
static int gguf_read_rewrite(pith__store *s, pith__str map, pith_error *err) {
    pith__vocab *v = &s->vocab;
    const pith__key *k, *exact = NULL, *space = pith__store_key(s, "pith.space_prefix");
    int code = gguf_get_array(s, "pith.rewrite", PITH__GGUF_STRING, 0, &k, err);
    if (code || !k) return code;
    code = gguf_get_flag(s, "pith.split_white", &v->split_white, err);
    if (!code) code = gguf_get_flag(s, "pith.split_words", &v->split_words, err);
    if (!code) code = gguf_get_array(s, "pith.scores", PITH__GGUF_F64, (size_t)v->n, &exact, err);
    if (!code) v->rewrite = pith__gguf_new(s, k->n / 3 + 1, sizeof *v->rewrite, &code, err);
    if (!code) v->log_prob = pith__gguf_new(s, (size_t)v->n, sizeof *v->log_prob, &code, err);
    if (code) return code;
    if (v->add_space && space && space->i >= PITH__SPACE_ALWAYS && space->i <= PITH__SPACE_FIRST) v->add_space = (int)space->i;
    pith__cursor c = k->at, scores = { 0 };
    if (exact) scores = exact->at;
    for (int i = 0; i < v->n; i++) {
        uint64_t bits = pith__u64(&scores);
        v->log_prob[i] = v->score[i];
        if (exact) memcpy(&v->log_prob[i], &bits, sizeof bits);
    }
    for (v->n_rewrite = 0; (size_t)v->n_rewrite < k->n / 3; v->n_rewrite++) {
        pith__rewrite *step = &v->rewrite[v->n_rewrite];
        pith__str name = pith__gguf_string(&c);
        while (pith__rewrite_name(step->kind) && !pith__str_is(name, pith__rewrite_name(step->kind))) step->kind++;
        if (!pith__rewrite_name(step->kind))
            return pith__fail(err, PITH_EARCH, "%s: pith.rewrite has the step '%.*s', which is not known", s->path,
                              name.n < 64 ? (int)name.n : 64, name.p);
        step->find = pith__gguf_string(&c);
        step->put = pith__gguf_string(&c);
        if (step->kind == PITH__MAP_GRAPHEMES || step->kind == PITH__MAP_LONGEST) step->find = map;
    }
    return PITH_OK;
}

/* SentencePiece's Unigram, whose scores are logarithms of probabilities. Text goes through a map of characters first, loses
 * spaces that are too many, and gets one in front. What a file does not say is as SentencePiece has it. */
static int gguf_read_unigram(pith__store *s, pith_error *err) {
    pith__vocab *v = &s->vocab;
    const pith__key *map;
    int trim = 1, space = 1, code = gguf_get(s, "tokenizer.ggml.precompiled_charsmap", PITH__ARRAY, &map, err);
    if (!code && map && map->gguf_item != PITH__GGUF_U8 && map->gguf_item != PITH__GGUF_I8)
        code = pith__fail(err, PITH_EFORMAT, "%s: key 'tokenizer.ggml.precompiled_charsmap' is an array of type %d, need bytes",
                          s->path, map->gguf_item);
    if (!code) code = gguf_get_flag(s, "tokenizer.ggml.add_space_prefix", &space, err);
    if (!code) code = gguf_get_flag(s, "tokenizer.ggml.remove_extra_whitespaces", &trim, err);
    if (!code) v->rewrite = pith__gguf_new(s, 2, sizeof *v->rewrite, &code, err);
    if (code) return code;
    v->model = PITH__UNIGRAM;
    v->spelling = PITH__METASPACE;
    v->fuse_unk = v->late_spaces = v->add_eos = 1;
    v->add_space = space ? PITH__SPACE_ALWAYS : 0;
    for (int i = 0; i < v->n; i++) v->byte_fallback |= v->type[i] == PITH__BYTE;
    pith__str bytes = { map ? (const char *)map->at.p : NULL, map ? map->n : 0 };
    if (map) v->rewrite[v->n_rewrite++] = (pith__rewrite){ .kind = PITH__MAP_LONGEST, .find = bytes };
    if (trim) v->rewrite[v->n_rewrite++].kind = PITH__TRIM;
    return gguf_read_rewrite(s, bytes, err);
}

/* RoBERTa's, XLM-R's and ModernBERT's mask takes the white space before it along; their files do not say so. */
static int gguf_strip_mask(pith__store *s, pith_error *err) {
    pith__vocab *v = &s->vocab;
    int code = PITH_OK;
    if (v->mask < 0 || v->model == PITH__WORDPIECE) return code;
    v->added = pith__gguf_new(s, (size_t)v->n, sizeof *v->added, &code, err);
    if (!code) v->added[v->mask] = PITH__LSTRIP;
    return code;
}

/* Special tokens and flags. SentencePiece's first three tokens have a meaning without a key. */
static int gguf_read_special(pith__store *s, pith_error *err) {
    pith__vocab *v = &s->vocab;
    int spm = v->model == PITH__SPM, uni = v->model == PITH__UNIGRAM, eot = -1, eom = -1;
    const pith__key *chat, *tools = NULL;
    int code = gguf_get_id(s, "tokenizer.ggml.bos_token_id", spm ? 1 : -1, &v->bos, err);
    if (!code) code = gguf_get_id(s, "tokenizer.ggml.eos_token_id", spm ? 2 : uni ? 1 : -1, &v->eos, err);
    if (!code) code = gguf_get_id(s, "tokenizer.ggml.unknown_token_id", spm ? 0 : uni ? 2 : -1, &v->unk, err);
    if (!code) code = gguf_get_id(s, "tokenizer.ggml.eot_token_id", -1, &eot, err);
    if (!code) code = gguf_get_id(s, "tokenizer.ggml.eom_token_id", -1, &eom, err);
    if (!code) code = gguf_get_flag(s, "tokenizer.ggml.add_bos_token", &v->add_bos, err);
    if (!code) code = gguf_get_flag(s, "tokenizer.ggml.add_eos_token", &v->add_eos, err);
    if (!code) code = gguf_get(s, "tokenizer.chat_template", PITH__STRING, &chat, err);
    if (!code) code = gguf_get(s, "tokenizer.chat_template.tool_use", PITH__STRING, &tools, err);
    if (code) return code;
    if (chat) v->chat_template = chat->s;
    if (tools) v->tool_template = tools->s;
    gguf_add_end(v, v->eos);
    gguf_add_end(v, eot);
    gguf_add_end(v, eom);
    gguf_find_ends(v);
    return PITH_OK;
}

/* pith's own key: text is brought into this form before it becomes tokens. */
static int gguf_read_normalizer(pith__store *s, pith_error *err) {
    const pith__key *k;
    int code = gguf_get(s, "pith.normalizer", PITH__STRING, &k, err);
    if (code || !k) return code;
    if (!pith__str_is(k->s, "NFC"))
        return pith__fail(err, PITH_EARCH, "%s: pith.normalizer is '%.*s', need NFC", s->path,
                          k->s.n < 64 ? (int)k->s.n : 64, k->s.p);
    s->vocab.nfc = 1;
    return PITH_OK;
}

PITH_SHARED int pith__gguf_vocab(pith__store *s, pith_error *err) {
    const pith__key *model;
    s->vocab.bos = s->vocab.eos = s->vocab.unk = s->vocab.mask = -1;
    int code = gguf_get(s, "tokenizer.ggml.model", PITH__STRING, &model, err);
    if (code || !model || pith__str_is(model->s, "none") || pith__str_is(model->s, "no_vocab"))
        return code;
    static const struct {
        const char *name;
        int (*read)(pith__store *s, pith_error *err);
    } known[] = { { "llama", gguf_read_spm }, { "gpt2", gguf_read_bpe }, { "gemma4", gguf_read_gemma4 }, { "bert", gguf_read_words }, { "t5", gguf_read_unigram } };
    size_t i = 0, n = sizeof known / sizeof *known;
    while (i < n && !pith__str_is(model->s, known[i].name)) i++;
    if (i == n)
        return pith__fail(err, PITH_EARCH, "%s: tokenizer.ggml.model is '%.*s', need llama, gpt2, gemma4, bert or t5",
                          s->path, model->s.n < 64 ? (int)model->s.n : 64, model->s.p);
    code = gguf_read_pieces(s, err);
    if (!code) code = known[i].read(s, err);
    if (!code) code = gguf_read_special(s, err);
    if (!code) code = gguf_read_around(s, err);
    if (!code) code = gguf_read_normalizer(s, err);
    return code ? code : s->vocab.model == PITH__SPM ? gguf_strip_phi3(s, err) : gguf_strip_mask(s, err);
}
