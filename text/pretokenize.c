/* pretokenize.c - text -> the words that byte-level BPE merges in.
 *
 * Every vocabulary was made from words cut by regular expressions, and the same words must be cut
 * again, or other tokens come out. A GGUF file says by name which (tokenizer.ggml.pre). Here a name
 * is in a row of the table at the end of this file: a few stages, each of which cuts what the stage
 * before it made. A stage is a regular expression written out as C over the classes of characters
 * in unicode.c; the expression stands above it, with \p{L} for letters, \p{M} marks, \p{N} numbers,
 * \p{P} punctuation, \p{S} symbols, \s white space. */
#include "text.h"

#include <string.h>

#define LETTERS (PITH__UPPER | PITH__LOWER | PITH__LETTER)

/* What a stage finds at p: n > 0 bytes that are a word, or -n bytes that it leaves alone. */
typedef ptrdiff_t stage(const uint8_t *p, const uint8_t *end);

enum { MAX_STAGE = 6 };

struct pith__splitter {
    const char *names; /* with spaces between */
    stage *stage[MAX_STAGE];
};

/* ---- parts of expressions -------------------------------------------------------------------- */

/* The class of the character at p, and its bytes: 0 at the end. */
static int class_at(const uint8_t *p, const uint8_t *end, size_t *n) {
    if (p == end) return *n = 0, 0;
    if (*p < 128) return *n = 1, pith__unicode_class(*p);
    uint32_t c;
    *n = pith__utf8_read(p, (size_t)(end - p), &c);
    return pith__unicode_class(c);
}

/* The end of the characters from p on that are of these classes; of none of these classes. */
static const uint8_t *run_of(const uint8_t *p, const uint8_t *end, int classes) {
    size_t n;
    while (class_at(p, end, &n) & classes) p += n;
    return p;
}

static const uint8_t *run_but(const uint8_t *p, const uint8_t *end, int classes) {
    size_t n;
    while (!(class_at(p, end, &n) & classes) && n) p += n;
    return p;
}

/* As run_of, for a set that is no class. */
typedef int charset(uint32_t c);

static const uint8_t *run_in(const uint8_t *p, const uint8_t *end, charset *in) {
    while (p < end) {
        uint32_t c;
        size_t n = pith__utf8_read(p, (size_t)(end - p), &c);
        if (!in(c)) break;
        p += n;
    }
    return p;
}

/* n, or the character at p is left alone. */
static ptrdiff_t match_or_skip(ptrdiff_t n, const uint8_t *p, const uint8_t *end) {
    if (n > 0) return n;
    size_t skip;
    class_at(p, end, &skip);
    return -(ptrdiff_t)skip;
}

static int is_cr_lf(uint8_t c) { return c == '\r' || c == '\n'; }

/* 's|'t|'re|'ve|'m|'ll|'d ; in any case U+017F, the long s, is an s, too */
static ptrdiff_t match_contraction(const uint8_t *p, const uint8_t *end, int any_case) {
    if (end - p < 2 || *p != '\'') return 0;
    if (any_case && end - p > 2 && p[1] == 0xc5 && p[2] == 0xbf) return 3;
    int fold = any_case ? 32 : 0;
    int a = p[1] | fold, b = end - p > 2 ? p[2] | fold : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* " ?" and one or more of these classes */
static ptrdiff_t match_spaced(const uint8_t *p, const uint8_t *end, int classes) {
    const uint8_t *q = p + (*p == ' '), *r = run_of(q, end, classes);
    return r > q ? r - p : 0;
}

/* " ?" and one or more of all other classes, and any of the bytes in tail */
static ptrdiff_t match_spaced_but(const uint8_t *p, const uint8_t *end, int classes,
                                  const char *tail) {
    const uint8_t *q = p + (*p == ' '), *r = run_but(q, end, classes);
    if (r == q) return 0;
    while (r < end && *r && strchr(tail, *r)) r++;
    return r - p;
}

/* The [^\r\n...]? that may stand before a word: its bytes, 0 if it is one of these classes */
static size_t word_mark(const uint8_t *p, const uint8_t *end, int classes) {
    size_t n;
    return class_at(p, end, &n) & classes || is_cr_lf(*p) ? 0 : n;
}

/* [^\r\n\p{L}\p{N}]?\p{L}+ */
static ptrdiff_t match_letters(const uint8_t *p, const uint8_t *end) {
    const uint8_t *q = p + word_mark(p, end, LETTERS | PITH__NUMBER), *r = run_of(q, end, LETTERS);
    return r > q ? r - p : 0;
}

/* \p{N}{1,most} */
static ptrdiff_t match_numbers(const uint8_t *p, const uint8_t *end, int most) {
    const uint8_t *q = p;
    for (size_t n; most > 0 && class_at(q, end, &n) & PITH__NUMBER; most--) q += n;
    return q - p;
}

/* \s+(?!\S)|\s+ : white space, but the last one stays with the word that follows */
static ptrdiff_t match_blanks(const uint8_t *p, const uint8_t *end) {
    const uint8_t *r = run_of(p, end, PITH__SPACE), *last = r;
    if (r == end || r == p) return r - p;
    do last--; while ((*last & 0xc0) == 0x80);
    return last > p ? last - p : r - p;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ */
static ptrdiff_t match_lines_or_blanks(const uint8_t *p, const uint8_t *end) {
    const uint8_t *r = run_of(p, end, PITH__SPACE);
    while (r > p && !is_cr_lf(r[-1])) r--;
    return r > p ? r - p : match_blanks(p, end);
}

/* ---- GPT-2, and those who cut numbers or punctuation first ----------------------------------- */

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static ptrdiff_t cut_gpt2(const uint8_t *p, const uint8_t *end) {
    ptrdiff_t n = match_contraction(p, end, 0);
    if (!n) n = match_spaced(p, end, LETTERS);
    if (!n) n = match_spaced(p, end, PITH__NUMBER);
    if (!n) n = match_spaced_but(p, end, PITH__SPACE | LETTERS | PITH__NUMBER, "");
    return n ? n : match_blanks(p, end);
}

/* \p{N} */
static ptrdiff_t cut_each_number(const uint8_t *p, const uint8_t *end) {
    return match_or_skip(match_numbers(p, end, 1), p, end);
}

/* \p{N}{1,3} */
static ptrdiff_t cut_3_numbers(const uint8_t *p, const uint8_t *end) {
    return match_or_skip(match_numbers(p, end, 3), p, end);
}

/* \p{N}+ */
static ptrdiff_t cut_numbers(const uint8_t *p, const uint8_t *end) {
    return match_or_skip(run_of(p, end, PITH__NUMBER) - p, p, end);
}

/* [0-9][0-9][0-9] */
static ptrdiff_t cut_3_digits(const uint8_t *p, const uint8_t *end) {
    int n = 0;
    while (n < 3 && p + n < end && p[n] >= '0' && p[n] <= '9') n++;
    return match_or_skip(n == 3 ? 3 : 0, p, end);
}

static int set_punct(uint32_t c) {
    return pith__unicode_class(c) == PITH__PUNCT || (c && c < 128 && strchr("$+<=>^~|", (int)c));
}

static int set_falcon_punct(uint32_t c) { return c == '`' || set_punct(c); }

/* [\p{P}\$\+<=>\^~\|]+ */
static ptrdiff_t cut_punct(const uint8_t *p, const uint8_t *end) {
    return match_or_skip(run_in(p, end, set_punct) - p, p, end);
}

static ptrdiff_t cut_falcon_punct(const uint8_t *p, const uint8_t *end) {
    return match_or_skip(run_in(p, end, set_falcon_punct) - p, p, end);
}

/* ---- Llama 3 and Qwen ------------------------------------------------------------------------ */

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|
 * \s*[\r\n]+|\s+(?!\S)|\s+ */
static ptrdiff_t match_llama3_or_qwen(const uint8_t *p, const uint8_t *end, int digits) {
    ptrdiff_t n = match_contraction(p, end, 1);
    if (!n) n = match_letters(p, end);
    if (!n) n = match_numbers(p, end, digits);
    if (!n) n = match_spaced_but(p, end, PITH__SPACE | LETTERS | PITH__NUMBER, "\r\n");
    return n ? n : match_lines_or_blanks(p, end);
}

static ptrdiff_t cut_llama3(const uint8_t *p, const uint8_t *end) {
    return match_llama3_or_qwen(p, end, 3);
}

static ptrdiff_t cut_qwen2(const uint8_t *p, const uint8_t *end) {
    return match_llama3_or_qwen(p, end, 1);
}

/* The same with [\p{L}\p{M}] for \p{L}, except in what may stand before a word:
 * ...|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|... */
static ptrdiff_t cut_qwen35(const uint8_t *p, const uint8_t *end) {
    enum { WORD = LETTERS | PITH__MARK };
    ptrdiff_t n = match_contraction(p, end, 1);
    const uint8_t *q = p + word_mark(p, end, LETTERS | PITH__NUMBER), *r = run_of(q, end, WORD);
    if (r == q) r = run_of(p, end, WORD); /* a mark alone, or none */
    if (!n) n = r - p;
    if (!n) n = match_numbers(p, end, 1);
    if (!n) n = match_spaced_but(p, end, PITH__SPACE | WORD | PITH__NUMBER, "\r\n");
    return n ? n : match_lines_or_blanks(p, end);
}

/* nanochat's numbers have up to two digits */
static ptrdiff_t cut_nanochat(const uint8_t *p, const uint8_t *end) {
    return match_llama3_or_qwen(p, end, 2);
}

/* The same as qwen2, but signs do not take line ends along: ... ?[^\s\p{L}\p{N}\r\n]+|... */
static ptrdiff_t cut_seed(const uint8_t *p, const uint8_t *end) {
    ptrdiff_t n = match_contraction(p, end, 1);
    if (!n) n = match_letters(p, end);
    if (!n) n = match_numbers(p, end, 1);
    if (!n) n = match_spaced_but(p, end, PITH__SPACE | LETTERS | PITH__NUMBER, "");
    return n ? n : match_lines_or_blanks(p, end);
}

/* ---- words that begin anew at a capital: Mistral's tekken, GPT-4o ---------------------------- */

enum {
    HIGH_CASE = PITH__UPPER | PITH__LETTER | PITH__MARK, /* [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] */
    LOW_CASE = PITH__LOWER | PITH__LETTER | PITH__MARK   /* [\p{Ll}\p{Lm}\p{Lo}\p{M}] */
};

/* HIGH*LOW+ : HIGH takes all it can, and gives back as little as LOW needs. NULL: no match. */
static const uint8_t *low_word(const uint8_t *p, const uint8_t *end) {
    const uint8_t *given_back = NULL;
    size_t n;
    for (int kind; (kind = class_at(p, end, &n)) & HIGH_CASE;) {
        p += n;
        if (kind & LOW_CASE) given_back = p;
    }
    const uint8_t *r = run_of(p, end, LOW_CASE);
    return r > p ? r : given_back;
}

/* HIGH+LOW* */
static const uint8_t *high_word(const uint8_t *p, const uint8_t *end) {
    const uint8_t *r = run_of(p, end, HIGH_CASE);
    return r > p ? run_of(r, end, LOW_CASE) : NULL;
}

/* [^\r\n\p{L}\p{N}]?HIGH*LOW+|[^\r\n\p{L}\p{N}]?HIGH+LOW* */
static ptrdiff_t match_cased_word(const uint8_t *p, const uint8_t *end) {
    const uint8_t *q = p + word_mark(p, end, LETTERS | PITH__NUMBER), *r = low_word(q, end);
    if (!r) r = low_word(p, end);
    if (!r) r = high_word(q, end);
    if (!r) r = high_word(p, end);
    return r ? r - p : 0;
}

/* cased_word|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static ptrdiff_t cut_tekken(const uint8_t *p, const uint8_t *end) {
    ptrdiff_t n = match_cased_word(p, end);
    if (!n) n = match_numbers(p, end, 1);
    if (!n) n = match_spaced_but(p, end, PITH__SPACE | LETTERS | PITH__NUMBER, "\r\n/");
    return n ? n : match_lines_or_blanks(p, end);
}

/* The same, with (?i:'s|'t|'re|'ve|'m|'ll|'d)? after the word and \p{N}{1,3} */
static ptrdiff_t cut_gpt4o(const uint8_t *p, const uint8_t *end) {
    ptrdiff_t n = match_cased_word(p, end);
    if (n) return n + match_contraction(p + n, end, 1);
    n = match_numbers(p, end, 3);
    return n ? n : cut_tekken(p, end);
}

/* ---- DeepSeek -------------------------------------------------------------------------------- */

/* [\r\n] */
static ptrdiff_t cut_newline(const uint8_t *p, const uint8_t *end) {
    return match_or_skip(is_cr_lf(*p), p, end);
}

/* "\s?" and one or more of a set */
static ptrdiff_t after_space(const uint8_t *p, const uint8_t *end, charset *in) {
    size_t n;
    const uint8_t *q = class_at(p, end, &n) & PITH__SPACE ? p + n : p, *r = run_in(q, end, in);
    if (r == q) r = run_in(q = p, end, in); /* U+3000 may be both */
    return match_or_skip(r > q ? r - p : 0, p, end);
}

/* The expression lists these letters one by one: those with a case, as an old Unicode had them. */
static int set_cased(uint32_t c) {
    static const uint32_t later[][2] = {
        { 0x560, 0x588 }, { 0x10c6, 0x10ff }, { 0x1c80, 0x1c8f }, { 0x2d00, 0x2d2f },
        { 0xa790, 0xa7ff }, { 0xab30, 0xab6f }, { 0x10570, 0x105bf }, { 0x16e40, 0x16e7f },
        { 0x1d400, 0x1d7ff }, { 0x1df00, 0x1df2f }
    };
    for (size_t i = 0; i < sizeof later / sizeof *later; i++)
        if (c >= later[i][0] && c <= later[i][1]) return 0;
    return (pith__unicode_class(c) & (PITH__UPPER | PITH__LOWER)) != 0;
}

static int set_letter(uint32_t c) { return (pith__unicode_class(c) & LETTERS) != 0; }

static int set_any_punct(uint32_t c) { return pith__unicode_class(c) == PITH__PUNCT; }

/* [!-/:-~！-／：-～‘-‟　-。]: ASCII letters are among them */
static int set_wide_punct(uint32_t c) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '~') || (c >= 0xff01 && c <= 0xff0f) ||
           (c >= 0xff1a && c <= 0xff5e) || (c >= 0x2018 && c <= 0x201f) ||
           (c >= 0x3000 && c <= 0x3002);
}

static int set_asian(uint32_t c) {
    return (c >= 0x800 && c <= 0x9fa5) || (c >= 0xac00 && c <= 0xd7ff);
}

static int set_han_or_kana(uint32_t c) {
    return (c >= 0x4e00 && c <= 0x9fa5) || (c >= 0x3040 && c <= 0x30ff);
}

static ptrdiff_t cut_cased(const uint8_t *p, const uint8_t *end) {
    return after_space(p, end, set_cased);
}

static ptrdiff_t cut_letters(const uint8_t *p, const uint8_t *end) {
    return after_space(p, end, set_letter);
}

static ptrdiff_t cut_wide_punct(const uint8_t *p, const uint8_t *end) {
    return after_space(p, end, set_wide_punct);
}

static ptrdiff_t cut_any_punct(const uint8_t *p, const uint8_t *end) {
    return after_space(p, end, set_any_punct);
}

/* \s+$ */
static ptrdiff_t cut_last_blanks(const uint8_t *p, const uint8_t *end) {
    const uint8_t *r = run_of(p, end, PITH__SPACE);
    if (r > p) return r == end ? r - p : p - r; /* skip all: one by one, long runs take for ever */
    return match_or_skip(0, p, end);
}

static ptrdiff_t cut_asian(const uint8_t *p, const uint8_t *end) {
    return match_or_skip(run_in(p, end, set_asian) - p, p, end);
}

static ptrdiff_t cut_han_or_kana(const uint8_t *p, const uint8_t *end) {
    return match_or_skip(run_in(p, end, set_han_or_kana) - p, p, end);
}

static int set_ascii_letter(uint32_t c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }

/* [ASCII punctuation][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|
 * \s*[\r\n]+|\s+(?!\S)|\s+ */
static ptrdiff_t cut_deepseek3(const uint8_t *p, const uint8_t *end) {
    enum { SIGNS = PITH__PUNCT | PITH__SYMBOL };
    const uint8_t *q, *r;
    if (*p < 128 && pith__unicode_class(*p) & SIGNS)
        if ((r = run_in(p + 1, end, set_ascii_letter)) > p + 1) return r - p;
    q = p + word_mark(p, end, LETTERS | SIGNS);
    if ((r = run_of(q, end, LETTERS | PITH__MARK)) > q) return r - p;
    if ((r = run_of(p, end, LETTERS | PITH__MARK)) > p) return r - p; /* a mark alone */
    ptrdiff_t n = match_spaced(p, end, SIGNS);
    while (n && p + n < end && is_cr_lf(p[n])) n++;
    return match_or_skip(n ? n : match_lines_or_blanks(p, end), p, end);
}

/* ---- the table ------------------------------------------------------------------------------- */

/* Most names stand for the vocabulary that first had these words. Granite says refact, OLMo 2 and
 * Phi-4 say dbrx, SmolLM3 says smaug-bpe. */
static const pith__splitter splitters[] = {
    { "default", { cut_punct, cut_gpt2, cut_numbers, cut_3_digits } },
    { "gpt-2 phi-2 mpt olmo jais gigachat roberta-bpe modern-bert a.x-4.0 mellum trillion exaone4 "
      "granite-docling", { cut_gpt2 } },
    { "starcoder refact command-r smollm codeshell exaone minerva-7b mellum2",
      { cut_each_number, cut_gpt2 } },
    { "falcon", { cut_falcon_punct, cut_gpt2, cut_3_digits } },
    { "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral lfm2 midm-2.0 dbrx smaug-bpe "
      "chatglm-bpe glm4", { cut_llama3 } },
    { "qwen2 deepseek-r1-qwen stablelm2 megrez hunyuan grok-2", { cut_qwen2 } },
    { "qwen35", { cut_qwen35 } },
    { "seed-coder", { cut_seed } },
    { "nanochat", { cut_nanochat } },
    { "tekken", { cut_tekken } },
    { "gpt-4o llama4", { cut_gpt4o } },
    { "deepseek-llm",
      { cut_newline, cut_cased, cut_wide_punct, cut_last_blanks, cut_asian, cut_each_number } },
    { "deepseek-coder", { cut_newline, cut_letters, cut_any_punct, cut_asian, cut_each_number } },
    { "deepseek-v3 hunyuan-dense", { cut_3_numbers, cut_han_or_kana, cut_deepseek3 } },
};

PITH_SHARED const pith__splitter *pith__splitter_named(pith__str name) {
    for (size_t i = 0; i < sizeof splitters / sizeof *splitters; i++) {
        for (const char *p = splitters[i].names; *p; p += *p == ' ') {
            size_t n = strcspn(p, " ");
            if (n == name.n && memcmp(p, name.p, n) == 0) return &splitters[i];
            p += n;
        }
    }
    return NULL;
}

PITH_SHARED pith__str pith__splitter_name(int i) {
    if (i < 0 || i >= (int)(sizeof splitters / sizeof *splitters)) return (pith__str){ "", 0 };
    return (pith__str){ splitters[i].names, strcspn(splitters[i].names, " ") };
}

/* ---- cutting --------------------------------------------------------------------------------- */

typedef struct {
    const pith__splitter *splitter;
    int (*word)(void *to, const char *p, size_t n);
    void *to;
} cutting;

/* A stage sees whatever the one before it found, or left alone, as a text of its own. */
static int split_from(const cutting *c, int i, const uint8_t *p, const uint8_t *end) {
    if (i == MAX_STAGE || !c->splitter->stage[i])
        return c->word(c->to, (const char *)p, (size_t)(end - p));
    int code = 0;
    for (const uint8_t *q = p; q < end && !code;) {
        ptrdiff_t n = c->splitter->stage[i](q, end);
        const uint8_t *next = n > 0 ? q + n : q - n;
        if (n > 0 && p < q) code = split_from(c, i + 1, p, q); /* what was left alone up to here */
        if (n > 0 && !code) code = split_from(c, i + 1, q, next);
        if (n < 0 && next == end) code = split_from(c, i + 1, p, end);
        if (n > 0) p = next;
        q = next;
    }
    return code;
}

PITH_SHARED int pith__split(const pith__splitter *s, const char *text, size_t n,
                            int (*word)(void *to, const char *p, size_t n), void *to) {
    const cutting c = { s, word, to };
    return n ? split_from(&c, 0, (const uint8_t *)text, (const uint8_t *)text + n) : 0;
}

#undef LETTERS
