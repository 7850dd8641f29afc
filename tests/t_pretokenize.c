/* t_pretokenize.c - the words of every pre-tokeniser, the classes of characters and UTF-8. */
#include "../internal.h"
#include "test.h"

/* ---- words ----------------------------------------------------------------------------------- */

static int append_word(void *to, const char *p, size_t n) {
    char *s = to;
    snprintf(s + strlen(s), 512 - strlen(s), "%.*s|", (int)n, p);
    return 0;
}

static void words(const char *file, int line, const char *pre, const char *text, const char *want) {
    const pith__splitter *s = pith__splitter_named(pith__str_of(pre));
    char got[512] = "";
    if (s) pith__split(s, text, strlen(text), append_word, got);
    if (s && strcmp(got, want) == 0) return;
    t_bad++;
    printf("# %s:%d: %s cuts '%s' into '%s', want '%s'\n", file, line, pre, text, got, want);
}
#define WORDS(pre, text, want) words(__FILE__, __LINE__, pre, text, want)

TEST(words_of_gpt2) {
    WORDS("gpt-2", "Hello, world!", "Hello|,| world|!|");
    WORDS("gpt-2", "I've 'RE don't", "I|'ve| '|RE| don|'t|");
    WORDS("gpt-2", "a  b   ", "a| | b|   |");
    WORDS("gpt-2", "a\n\nb \n", "a|\n|\n|b| \n|");
    WORDS("gpt-2", "x12345 67", "x|12345| 67|");
    WORDS("gpt-2", "e\xcc\x81t", "e|\xcc\x81|t|"); /* a mark is no letter */
    WORDS("gpt-2", "\xe4\xb8\xad\xe6\x96\x87\xef\xbc\x81",
          "\xe4\xb8\xad\xe6\x96\x87|\xef\xbc\x81|");
    WORDS("gpt-2", "a\xc2\xa0\xc2\xa0" "b", "a|\xc2\xa0|\xc2\xa0|b|"); /* no-break spaces */
    WORDS("gpt-2", "\xff" "a\xf0\x9f", "\xff|a|\xf0\x9f|"); /* no UTF-8: symbols */
}

TEST(words_of_llama3_and_qwen) {
    WORDS("llama-bpe", "12345678", "123|456|78|");
    WORDS("dbrx", "12345678", "123|456|78|");
    WORDS("qwen2", "1234 5", "1|2|3|4| |5|");
    WORDS("qwen2", "I'VE you'll", "I|'VE| you|'ll|");
    WORDS("qwen2", "(word) ..\n\n x", "(word|)| ..\n\n| x|");
    WORDS("qwen2", "a \n \n  b", "a| \n \n| | b|");
    WORDS("llama-bpe", "   \tx  ", "   |\tx|  |");
    WORDS("llama-bpe", "caf\xc3\xa9\xcc\x81s", "caf\xc3\xa9|\xcc\x81s|");
}

TEST(words_of_qwen35) { /* marks are letters; tokenizers 0.23 cuts so */
    WORDS("qwen35", "I'VE 12 you'll", "I|'VE| |1|2| you|'ll|");
    WORDS("qwen35", "e\xcc\x81t\xcc\x81 \xcc\x81x", "e\xcc\x81t\xcc\x81| \xcc\x81x|");
    WORDS("qwen35", "(\xcc\x81) 1\xcc\x81", "(\xcc\x81|)| |1|\xcc\x81|");
    WORDS("qwen35", "\xe0\xb9\x80\xe0\xb8\x9b\xe0\xb9\x87\xe0\xb8\x99!\n\n a", "\xe0\xb9\x80\xe0\xb8\x9b\xe0\xb9\x87\xe0\xb8\x99|!\n\n| a|");
}

/* As `tokenizers` cuts these. */
TEST(words_of_seed_and_nanochat) {
    WORDS("seed-coder", "(word) ..\n\n x", "(word|)| ..|\n\n| x|");
    WORDS("seed-coder", "I'VE 1234 you'll", "I|'VE| |1|2|3|4| you|'ll|");
    WORDS("seed-coder", "a \n \n  b", "a| \n \n| | b|");
    WORDS("seed-coder", "caf\xc3\xa9\xcc\x81s ...\r\n\t y  ", "caf\xc3\xa9|\xcc\x81s| ...|\r\n|\t| y|  |");
    WORDS("nanochat", "I'VE 12345 you'll", "I|'VE| |12|34|5| you|'ll|");
    WORDS("nanochat", "(word) ..\n\n x", "(word|)| ..\n\n| x|");
    WORDS("exaone4", "x12345 67", "x|12345| 67|");
}

TEST(words_of_tekken_and_gpt4o) {
    WORDS("tekken", "HelloWorld", "Hello|World|");
    WORDS("tekken", "HTTPServer", "HTTPServer|");
    WORDS("tekken", "don't 12 a/b //\n", "don|'t| |1|2| a|/b| //\n|");
    WORDS("gpt-4o", "don't DON'T 1234", "don't| DON'T| |123|4|");
    WORDS("gpt-4o", "ABC\xe4\xb8\xad" "DEF", "ABC\xe4\xb8\xad|DEF|"); /* Han is high and low */
    WORDS("gpt-4o", "e\xcc\x81t", "e\xcc\x81t|");
}

TEST(words_of_those_with_stages) {
    WORDS("smollm", "a12 b", "a|1|2| b|");
    WORDS("starcoder", "x 12", "x| |1|2|");
    WORDS("falcon", "a1234=='x' 12", "a|123|4|=='|x|'| 12|");
    WORDS("falcon", "`b", "`|b|");
    WORDS("default", " 12345!`", " |123|45|!|`|");
    WORDS("deepseek-llm", "Hi  there\n123 \xe4\xb8\xad!", "Hi| | there|\n|1|2|3| |\xe4\xb8\xad|!|");
    WORDS("deepseek-coder", "a1 +b\xe4\xb8\xad  ", "a|1| +|b|\xe4\xb8\xad|  |");
    WORDS("deepseek-v3", "x1234 .get\xe3\x81\x82y ", "x|123|4| .|get|\xe3\x81\x82|y| |");
    WORDS("deepseek-v3", ".get(x)\n", ".get|(x|)\n|");
    const char *const same[] = { "mpt", "olmo", "refact", "command-r", "llama3", "llama-v3",
                                 "deepseek-r1-qwen", "smaug-bpe", "llama4" };
    for (int i = 0; i < 9; i++) CHECK(pith__splitter_named(pith__str_of(same[i])) != NULL);
    const char *const none[] = { "", "gpt", "gpt-2 phi-2", " ", "qwen" };
    for (int i = 0; i < 5; i++) CHECK(pith__splitter_named(pith__str_of(none[i])) == NULL);
}

TEST(classes) {
    EQ(pith__unicode_class('A'), PITH__UPPER);
    EQ(pith__unicode_class(0x101), PITH__LOWER);   /* within a run that alternates */
    EQ(pith__unicode_class(0x100), PITH__UPPER);
    EQ(pith__unicode_class(0x4e2d), PITH__LETTER);
    EQ(pith__unicode_class(0x300), PITH__MARK);
    EQ(pith__unicode_class(0x661), PITH__NUMBER);
    EQ(pith__unicode_class(0x3001), PITH__PUNCT);
    EQ(pith__unicode_class(0x1f600), PITH__SYMBOL);
    EQ(pith__unicode_class(0x85), PITH__SPACE);
    EQ(pith__unicode_class(0x10ffff), 0);
    const struct { const char *s; size_t n; uint32_t c; } utf8[] = {
        { "\xc3\xa9", 2, 0xe9 }, { "\xf4\x8f\xbf\xbf", 4, 0x10ffff }, { "\xc0\x80", 1, 0xfffd },
        { "\xe0\x9f\xbf", 1, 0xfffd }, { "\xed\xa0\x80", 1, 0xfffd },
        { "\xf4\x90\x80\x80", 1, 0xfffd }, { "\xe4\xb8", 1, 0xfffd },
        { "\x80", 1, 0xfffd }, { "\xf8\x88\x80\x80", 1, 0xfffd }
    };
    for (size_t i = 0; i < sizeof utf8 / sizeof *utf8; i++) {
        uint32_t c;
        EQ(pith__utf8_read((const uint8_t *)utf8[i].s, strlen(utf8[i].s), &c), utf8[i].n);
        EQ(c, utf8[i].c);
    }
}

TEST(unfinished_characters) {
    const struct { const char *s; size_t n; } tail[] = {
        { "", 0 }, { "a", 0 }, { "\xc3", 1 }, { "\xc3\xa9", 0 }, { "a\xe4\xb8", 2 }, { "\xe4", 1 },
        { "\xe4\xb8\xad", 0 }, { "\xf0\x9f\xa6", 3 }, { "\xf0\x9f", 2 }, { "\xf0\x9f\xa6\x99", 0 },
        { "\x80\x80\x80", 0 }, { "\xff", 0 }, { "\xc0", 0 }, { "\xf5", 0 }, { "\xe0\x80", 0 },
        { "\xed\xa0", 0 }, { "\xf4\x90", 0 }, { "\xf0\x80\x80", 0 }, { "\xe4\xb8\xad\xe4", 1 }
    };
    for (size_t i = 0; i < sizeof tail / sizeof *tail; i++)
        EQ(pith_utf8_tail(tail[i].s, strlen(tail[i].s)), tail[i].n);
}

int main(void) {
    RUN(words_of_gpt2);
    RUN(words_of_llama3_and_qwen);
    RUN(words_of_qwen35);
    RUN(words_of_seed_and_nanochat);
    RUN(words_of_tekken_and_gpt4o);
    RUN(words_of_those_with_stages);
    RUN(classes);
    RUN(unfinished_characters);
    return DONE();
}
