/* t_hftokenizer.c - tokenizer.json and the files beside it: made here, whole and wrong in every way, and the
 * published vocabularies. */
#define _POSIX_C_SOURCE 200809L
#include "hf_folder.h"

#include <sys/stat.h>
#include <time.h>

/* ---- tokenizer.json -------------------------------------------------------------------------- */

static const char byte_level[] =
    "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\n"
    " \"added_tokens\":[{\"id\":7,\"content\":\"<s>\",\"single_word\":false,\"lstrip\":false,"
    "\"rstrip\":false,\"normalized\":false,\"special\":true},\n"
    "  "
    "{\"id\":8,\"content\":\"</"
    "s>\",\"special\":true},{\"id\":9,\"content\":\"<t>\",\"lstrip\":true,\"special\":false}],\n"
    " \"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
    "\"trim_offsets\":true,\"use_regex\":true},\n"
    " \"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\"},\n"
    " \"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_"
    "prefix\":\"\",\"end_of_word_suffix\":\"\",\n"
    "  \"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":false,\n"
    "  "
    "\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"\xc4\xa0\":3,\"ab\":4,\"\\u0120a\":5,\"abc\":6},"
    "\"merges\":[\"a b\",\"\xc4\xa0 a\",\"ab c\"]}}";

/* The tokens of text as a string "5 4", with the special ones in text taken as such. */
static const char *tokens(const char *text, unsigned flags) {
    static char line[400];
    pith_options opt = { .n_threads = 1 };
    pith_model *m = pith_open(folder, &opt, &error);
    pith_token t[64];
    int n = m ? pith_encode(m, text, strlen(text), flags, t, 64) : -1;
    sprintf(line, "%s", m ? "" : error.text);
    for (int i = 0; i < n; i++) sprintf(line + strlen(line), "%s%d", i ? " " : "", t[i]);
    pith_close(m);
    return line;
}

static void tokens_are(const char *text, unsigned flags, const char *want) {
    const char *got = tokens(text, flags);
    if (strcmp(got, want)) FAIL("\"%s\" is \"%s\", want \"%s\"", text, got, want);
}

TEST(byte_level_tokenizer) {
    write_whole();
    write_text("tokenizer.json", byte_level);
    tokens_are("abc aab", 0, "6 5 4");
    tokens_are("ab<s>", PITH_SPECIAL | PITH_BOS, "4 7");
    tokens_are("ab <t>c", 0, "4 9 2"); /* lstrip takes the space along */
    write_text("tokenizer.json", with(with(with(byte_level, "\"a b\"", "[\"a\",\"b\"]"),
                                           "\"\xc4\xa0 a\"", "[\"\xc4\xa0\",\"a\"]"),
                                      "\"ab c\"", "[\"ab\",\"c\"]"));
    tokens_are("abc aab", 0, "6 5 4");
    write_text("tokenizer.json",
               with(byte_level, "\"ab c\"", "\"b c\"")); /* its result is no piece */
    refused("a merge to nowhere", "merge");
    write_text("tokenizer.json", with(byte_level, "\"merges\":[", "\"merges\":[\"z a\","));
    refused("a merge from nowhere", "merge");
    write_text("tokenizer.json", with(with(byte_level, ",\"ab c\"", ""), "\"ignore_merges\":false",
                                      "\"ignore_merges\":true"));
    tokens_are("abc aab", 0, "6 5 4");
    write_text("tokenizer.json",
               with(byte_level, "\"post_processor\":null",
                    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":["
                    "{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\","
                    "\"type_id\":0}},{\"SpecialToken\":{\"id\":\"</s>\",\"type_id\":0}}],"
                    "\"pair\":[],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[7],"
                    "\"tokens\":[\"<s>\"]}}}"));
    tokens_are("ab", PITH_BOS | PITH_EOS, "7 4 8");
    write_text("tokenizer_config.json", "{\"add_bos_token\":false,\"add_eos_token\":null}");
    tokens_are("ab", PITH_BOS | PITH_EOS, "4 8");
    write_text("tokenizer.json", byte_level);
    write_text("tokenizer_config.json", "{\"add_bos_token\":true,\"bos_token\":{\"content\":\"<s>"
                                        "\",\"special\":true},\"eos_token\":\"</s>\"}");
    tokens_are("ab", PITH_BOS | PITH_EOS, "7 4");
    write_text("tokenizer_config.json", "{\"add_bos_token\":true}");
    tokens_are("ab", PITH_BOS, "4");
    write_text("special_tokens_map.json",
               "{\"bos_token\":\"<s>\",\"eos_token\":{\"content\":\"</s>\"}}");
    write_text("tokenizer_config.json", "{\"add_bos_token\":true,\"bos_token\":null}");
    tokens_are("ab", PITH_BOS, "7 4");
}

/* Token 0 may end texts; of two tokens of a name the added one is meant. */
TEST(special_tokens_by_name) {
    write_whole();
    write_text("tokenizer.json", byte_level);
    write_text("tokenizer_config.json", "{\"add_eos_token\":true,\"eos_token\":\"a\"}");
    tokens_are("b", PITH_EOS, "1 0");
    pith__store_free(&store);
    store.path = folder;
    REQUIRE(!pith__folder_read(&store, folder, 0, &error));
    int ends = 0;
    for (int i = 0; i < store.vocab.n_end; i++) ends += store.vocab.end[i] == 0;
    EQ(ends, 1);
    write_text("tokenizer.json", with(with(byte_level, "\"id\":7", "\"id\":10"), "\"abc\":6", "\"abc\":6,\"<s>\":7"));
    write_text("tokenizer_config.json", "{\"add_bos_token\":true,\"bos_token\":\"<s>\"}");
    tokens_are("b", PITH_BOS, "10 1");
}

static const char *known_pre(const char *pre_tokenizer) {
    static char name[32];
    char text[20000];
    sprintf(text, "\"pre_tokenizer\":%s", pre_tokenizer);
    write_text("tokenizer.json",
               with(byte_level,
                    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                    "\"trim_offsets\":true,\"use_regex\":true}",
                    text));
    pith__store_free(&store);
    store.path = folder;
    int code = pith__folder_read(&store, folder, 0, &error);
    snprintf(name, sizeof name, "%.*s", code ? 1 : (int)store.vocab.pre.n,
             code                ? "!"
             : store.vocab.pre.p ? store.vocab.pre.p
                                 : "");
    return name;
}

#define BYTES "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"
#define SPLIT(regex)                                                                               \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex                                          \
    "\"},\"behavior\":\"Isolated\",\"invert\":false}"
#define SEQUENCE(...) "{\"type\":\"Sequence\",\"pretokenizers\":[" __VA_ARGS__ "]}"
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"

TEST(regexes_are_known_by_their_text) {
    static const char *const cases[][2] = {
        { "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}", "gpt-2" },
        { SEQUENCE("{\"type\":\"Digits\",\"individual_digits\":true},{\"type\":\"ByteLevel\",\"add_"
                   "prefix_space\":false}"),
          "smollm" },
        { SEQUENCE(SPLIT(CONTRACTIONS "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| "
                                      "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|"
                                      "\\\\s+(?!\\\\S)|\\\\s+") "," BYTES),
          "llama-bpe" },
        { SEQUENCE(SPLIT("'(?i:[sdmt]|ll|ve|re)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?+\\\\p{L}+|\\\\p{N}{"
                         "1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]++[\\\\r\\\\n]*|"
                         "\\\\s*[\\\\r\\\\n]|\\\\s+(?!\\\\S)|\\\\s+") "," BYTES),
          "llama-bpe" },
        { SEQUENCE(SPLIT(CONTRACTIONS "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1}| ?[^\\\\s\\\\p{L}\\\\p{N}\\\\r\\\\n]+|"
                         "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+") "," BYTES),
          "seed-coder" },
        { SEQUENCE(SPLIT("'(?i:[sdmt]|ll|ve|re)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?+\\\\p{L}+|\\\\p{N}{1,2}| ?[^\\\\s\\\\p{L}\\\\p{N}]++"
                         "[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]|\\\\s+(?!\\\\S)|\\\\s+") "," BYTES),
          "nanochat" },
        { SEQUENCE("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" CONTRACTIONS
                   "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+"
                   "[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},\"behavior\":"
                   "\"Removed\",\"invert\":true}," BYTES),
          "qwen2" },
        { SEQUENCE(SPLIT(CONTRACTIONS "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{L}\\\\p{M}]+|\\\\p{N}| "
                                      "?[^\\\\s\\\\p{L}\\\\p{M}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|"
                                      "\\\\s+(?!\\\\S)|\\\\s+") "," BYTES),
          "qwen35" },
        { SEQUENCE(SPLIT("[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{"
                         "M}]*[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+|"
                         "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{"
                         "M}]+[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*|\\\\p{N}| ?"
                         "[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n/"
                         "]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+") "," BYTES),
          "tekken" },
        { SEQUENCE(
              SPLIT("[\\r\\n]") "," SPLIT("\\\\s?\\\\p{L}+") "," SPLIT("\\\\s?\\\\p{P}+") "," SPLIT(
                  "[\\u4e00-\\u9fa5\\u0800-\\u4e00\\uac00-\\ud7ff]+") ",{\"type\":\"Digits\","
                                                                      "\"individual_digits\":true}"
                                                                      "," BYTES),
          "deepseek-coder" },
        { SEQUENCE(SPLIT("a+") "," BYTES), "!" },
        { SEQUENCE(SPLIT("(a+)+b") "," BYTES), "!" },
        { BYTES, "!" },
        { "null", "" },
        { SPLIT("\\\\p{N}"), "!" },
        { "{\"type\":\"Whitespace\"}", "!" },
        { "{\"type\":5}", "!" },
        { "5", "!" },
        { SEQUENCE("5"), "!" },
        { "{\"type\":\"Sequence\"}", "!" },
        { "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}", "!" },
        { "{\"type\":\"ByteLevel\"}", "!" },
        { "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\p{N}\"},\"behavior\":\"Removed\","
          "\"invert\":false}",
          "!" },
        { "{\"type\":\"Metaspace\",\"replacement\":\"_\"}", "!" },
        { SEQUENCE(BYTES "," BYTES), "!" },
        { SEQUENCE(BYTES "," SPLIT(CONTRACTIONS)), "!" },
        { SEQUENCE("{\"type\":\"ByteLevel\",\"add_prefix_space\":false},{\"type\":\"Digits\"}"), "!" },
        { "{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":"
          "\"sometimes\"}",
          "!" },
    };
    write_whole();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *got = known_pre(cases[i][0]);
        if (strcmp(got, cases[i][1]))
            FAIL("%s is %s, want %s (%s)", cases[i][0], got, cases[i][1], error.text);
        if (*got == '!' && !strstr(error.text, "tokenizer.json"))
            FAIL("no file in \"%s\"", error.text);
    }
    CHECK(!strcmp(known_pre(SEQUENCE(SPLIT("[abc]+") "," BYTES)), "!") &&
          strstr(error.text, "[abc]+"));
}

static const char block[] =
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"special\":true},{\"id\":1,\"content\":\"<"
    "s>\",\"special\":true},{\"id\":2,\"content\":\"</s>\",\"special\":true}],"
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"
    "\"\xe2\x96\x81\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},"
    "\"content\":\"\xe2\x96\x81\"}]},\"pre_tokenizer\":null,\"post_processor\":{\"type\":"
    "\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\","
    "\"ids\":[1],\"tokens\":[\"<s>\"]}}},"
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{"
    "\"String\":\"\xe2\x96\x81\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},"
    "{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]},"
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":true,"
    "\"vocab\":{\"<unk>\":0,\"<s>\":1,\"</s>\":2,\"<0x0A>\":3,\"<0x62>\":4,"
    "\"\xe2\x96\x81\":5,\"a\":6,\"\xe2\x96\x81"
    "a\":7,\"aa\":8,\"\xe2\x96\x81"
    "aa\":9},\"merges\":[\"a a\",\"\xe2\x96\x81 a\",\"\xe2\x96\x81 aa\"]}}";

TEST(metaspace_tokenizer) {
    write_whole();
    write_text("tokenizer.json", block);
    tokens_are("a aa\n", PITH_BOS, "1 7 9 3");
    tokens_are("ba", 0, "5 4 6");
    tokens_are("z", 0, "5 0");
    write_text("tokenizer.json", with(block, "\"byte_fallback\":true,", ""));
    tokens_are("a\nb", 0, "7 0"); /* without a word of it there is none, and unknown ones are fused */
    /* Gemma: no space in front, a pre_tokenizer that finds nothing, and the tab under the id of its
     * byte */
    write_text("tokenizer.json",
               with(with(with(block,
                              "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\","
                              "\"prepend\":\"\xe2\x96\x81\"},",
                              ""),
                         "\"content\":\"\xe2\x96\x81\"}]}", "\"content\":\"\xe2\x96\x81\"}"),
                    "\"pre_tokenizer\":null",
                    "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\" "
                    "\"},\"behavior\":\"MergedWithPrevious\",\"invert\":false}"));
    tokens_are("a aa\n", PITH_BOS, "1 6 9 3");
    /* Metaspace */
    char bare[sizeof block];
    strcpy(
        bare,
        with(block,
             "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"
             "\"\xe2\x96\x81\"},"
             "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"}]}",
             "null"));
    static const char *const schemes[][2] = {
        { "\"prepend_scheme\":\"first\",\"split\":false", "7 9" },
        { "\"prepend_scheme\":\"always\"", "7 9" },
        { "\"prepend_scheme\":\"never\",\"split\":true", "6 9" },
        { "\"add_prefix_space\":true", "7 9" },
        { "\"add_prefix_space\":false", "6 9" }
    };
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        char text[300];
        sprintf(text,
                "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",%s}",
                schemes[i][0]);
        write_text("tokenizer.json", with(bare, "\"pre_tokenizer\":null", text));
        tokens_are("a aa", 0, schemes[i][1]);
    }
    write_text("tokenizer.json", with(block, "\"pre_tokenizer\":null",
                                      "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\"}"));
    refused("two steps that prepend", "normalizer");
    write_text("tokenizer.json", with(block, "\"pattern\":{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"}]",
                                      "\"pattern\":{\"String\":\"x\"},\"content\":\"\xe2\x96\x81\"}]"));
    refused("another Replace", "normalizer");
    write_text("tokenizer.json", with(block, ",{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"}]}", "]}"));
    refused("Prepend without Replace", "Replace beside Prepend");
    /* a merge across two words counts only where they are not split */
    for (int split = 0; split < 2; split++) {
        char text[200];
        sprintf(text, "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\","
                      "\"split\":%s}", split ? "true" : "false");
        write_text("tokenizer.json", with(with(with(bare, "\"pre_tokenizer\":null", text),
                                               "\"merges\":[", "\"merges\":[\"a \xe2\x96\x81" "a\","),
                                          "\"aa\":8,", "\"aa\":8,\"a\xe2\x96\x81" "a\":10,"));
        tokens_are("ba a", 0, split ? "5 4 6 7" : "5 4 10");
    }
}

TEST(tokenizers_that_must_not_run) {
    static const struct {
        const char *from, *to, *naming;
    } cases[] = {
        { "\"a\":0", "\"a\":-1", "model.vocab" },
        { "\"a\":0", "\"a\":16", "model.vocab" },
        { "\"a\":0", "\"a\":4294967296", "model.vocab" },
        { "\"a\":0", "\"a\":1.5", "model.vocab" },
        { "\"a\":0", "\"a\":\"5\"", "model.vocab" },
        { "\"a\":0", "\"a\":null", "model.vocab" },
        { "\"a\":0", "\"a\":18446744073709551616", "model.vocab" },
        { "\"a\":0", "\"a\":[0]", "model.vocab" },
        { "\"id\":7", "\"id\":-1", "added_tokens" },
        { "\"id\":7", "\"id\":\"7\"", "added_tokens" },
        { "\"id\":7", "\"id\":7.0", "added_tokens" },
        { "\"id\":7,", "", "added_tokens" },
        { "\"content\":\"<s>\"", "\"content\":5", "content" },
        { "\"content\":\"<s>\",", "", "content" },
        { "\"single_word\":false", "\"single_word\":\"yes\"", "single_word" },
        { "\"normalized\":false", "\"normalized\":2", "normalized" },
        { "\"lstrip\":false", "\"lstrip\":1", "lstrip" },
        { "\"special\":true", "\"special\":\"yes\"", "special" },
        { "\"type\":\"BPE\"", "\"type\":\"WordLevel\"", "model.type" },
        { "\"type\":\"BPE\"", "\"type\":5", "model.type" },
        { "\"dropout\":null", "\"dropout\":0.1", "dropout" },
        { "\"continuing_subword_prefix\":\"\"", "\"continuing_subword_prefix\":\"##\"",
          "continuing_subword_prefix" },
        { "\"end_of_word_suffix\":\"\"", "\"end_of_word_suffix\":\"</w>\"", "end_of_word_suffix" },
        { "\"byte_fallback\":false", "\"byte_fallback\":0", "byte_fallback" },
        { "\"ignore_merges\":false", "\"ignore_merges\":\"\"", "ignore_merges" },
        { "\"merges\":[", "\"merges\":5,\"x\":[", "merges" },
        { "\"merges\":[", "\"x\":[", "merges" },
        { "\"a b\"", "\"ab\"", "merges" },
        { "\"a b\"", "\"a b c\"", "merges" },
        { "\"a b\"", "\"\"", "merges" },
        { "\"a b\"", "[\"a\"]", "merges" },
        { "\"a b\"", "[\"a\",\"b\",\"c\"]", "merges" },
        { "\"a b\"", "5", "merges" },
        { "\"a b\"", "[\"a\",5]", "merges" },
        { "\"a b\"", "\" b\"", "merge" },
        { "\"a b\"", "\"a \"", "merge" },
        { "\"vocab\":{", "\"x\":{", "model.vocab" },
        { "\"vocab\":{", "\"vocab\":[],\"x\":{", "model.vocab" },
        { "\"model\":{", "\"x\":{", "model" },
        { "\"model\":{", "\"model\":[],\"x\":{", "model" },
        { "\"normalizer\":null", "\"normalizer\":{\"type\":\"Lowercase\"}", "Lowercase" },
        { "\"normalizer\":null",
          "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":"
          "\"Strip\"}]}",
          "Strip" },
        { "\"normalizer\":null", "\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"x\"}",
          "normalizer" },
        { "\"normalizer\":null", "\"normalizer\":\"NFC\"", "normalizer" },
        { "\"normalizer\":null",
          "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"_\"}",
          "normalizer" },
        { "\"post_processor\":null", "\"post_processor\":{\"type\":\"XlnetProcessing\"}",
          "post_processor" },
        { "\"post_processor\":null",
          "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}", "post_processor" },
        { "\"post_processor\":null",
          "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{"
          "\"id\":\"<x>\"}},{\"Sequence\":{\"id\":\"A\"}}]}",
          "post_processor" },
        { "\"post_processor\":null",
          "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{"
          "\"id\":\"<s>\"}},{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}]}",
          "post_processor" },
        { "\"post_processor\":null",
          "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{"
          "\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":["
          "99]}}}",
          "post_processor" },
        { "\"decoder\":{\"type\":\"ByteLevel\"}", "\"decoder\":{\"type\":\"WordPiece\"}",
          "decoder" },
        { "\"added_tokens\":[", "\"added_tokens\":5,\"x\":[", "added_tokens" },
        { "\"added_tokens\":[", "\"added_tokens\":[5,", "added_tokens" },
        { "]}}", "]}},", "byte" },
        { "]}}", "]}", "byte" },
        { "{\"version\"", "[{\"version\"", "byte" },
    };
    write_whole();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text("tokenizer.json", with(byte_level, cases[i].from, cases[i].to));
        refused(cases[i].to, cases[i].naming);
        if (!strstr(error.text, "tokenizer.json") && !strstr(error.text, "tokenizer: merge"))
            FAIL("no file in \"%s\"", error.text);
    }
    write_text("tokenizer.json", "[]");
    refused("an array", "tokenizer.json");
    write_text("tokenizer.json", byte_level);
    static const char *const beside[] = { "tokenizer_config.json", "special_tokens_map.json" };
    for (int i = 0; i < 2; i++) {
        write_text(beside[i], "{\"add_bos_token\":\"yes\"}");
        refused("a flag of another type", "add_bos_token");
        write_text(beside[i], "{\"chat_template\":5}");
        OPENS();
        write_text(beside[i], "[");
        refused("half a file", beside[i]);
        unlink(in_folder(beside[i]));
    }
    REQUIRE(!symlink("tokenizer.json", in_folder("link.json")));
    unlink(in_folder("tokenizer.json"));
    REQUIRE(!rename(in_folder("link.json"), in_folder("tokenizer.json")));
    refused("a link to itself", "tokenizer.json");
    unlink(in_folder("tokenizer.json"));
    FILE *f =
        fopen(in_folder("tokenizer.json"), "wb"); /* a gigabyte, of which the disk has nothing */
    REQUIRE(f && !fseek(f, 1 << 30, SEEK_SET) && fputc('"', f) == '"' && !fclose(f));
    refused("a gigabyte", "tokenizer.json");
    write_whole(); /* an added token past the embedding's rows cannot come out of the model */
    write_text("tokenizer.json", with(byte_level, "\"id\":9", "\"id\":16"));
    OPENS();
    pith_model *m = pith_open(folder, NULL, &error);
    REQUIRE(m);
    CHECK(pith_model_note(m, 0) && strstr(pith_model_note(m, 0), "'<t>'"));
    pith_token t[8];
    CHECK(pith_encode(m, "<t>", 3, PITH_SPECIAL, t, 8) != 1 || t[0] < 16);
    pith_close(m);
}

TEST(tokenizers_that_may_run) {
    static const char *const cases[][2] = {
        { "\"content\":\"<t>\"", "\"content\":\"\"" },
        { "\"content\":\"<t>\"", "\"content\":\"\\ud800\"" },
        { "\"content\":\"<t>\"", "\"content\":\"a\"" },
        { "\"content\":\"<t>\"", "\"content\":\"<s>\"" },
        { "\"a\":0", "\"a\":0,\"x\":0" },
        { "\"a\":0", "\"a\":0,\"a\":10" },
        { "\"a\":0", "\"a\":0,\"\":10" },
        { "\"type\":\"BPE\",", "" },
        { "\"merges\":[", "\"merges\":[\"a b\"," },
        { "{\"version\"", "\xef\xbb\xbf{\"version\"" },
        { "\"normalizer\":null", "\"normalizer\":{\"type\":\"NFC\"}" },
        { "\"added_tokens\":[", "\"added_tokens\":null,\"x\":[" },
        { "\"decoder\":{\"type\":\"ByteLevel\"}", "\"decoder\":null" },
        { "\"post_processor\":null",
          "\"post_processor\":{\"type\":\"ByteLevel\",\"trim_offsets\":false}" },
    };
    write_whole();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text("tokenizer.json", with(byte_level, cases[i][0], cases[i][1]));
        if (!opens()) FAIL("%s: %s", cases[i][1], error.text);
        tokens("a<s>b", PITH_SPECIAL);
    }
}

TEST(chat_templates) {
    static const struct {
        const char *name, *text;
    } cases[] = {
        { "tokenizer_config.json", "{\"chat_template\":\"{{ a }}\"}" },
        { "tokenizer_config.json", "{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"x\"},"
                                   "{\"name\":\"default\",\"template\":\"{{ \\u0061 }}\"}]}" },
        { "chat_template.json", "{\"chat_template\":\"{{ a }}\"}" },
        { "chat_template.jinja", "{{ a }}" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_whole();
        write_text("tokenizer.json", byte_level);
        write_text(cases[i].name, cases[i].text);
        pith__store_free(&store);
        store.path = folder;
        if (pith__folder_read(&store, folder, 0, &error)) FAIL("%s", error.text);
        CHECK(pith__str_is(store.vocab.chat_template, "{{ a }}"));
        CHECK(pith__str_is(store.vocab.tool_template, i == 1 ? "x" : ""));
    }
    char path[300];
    snprintf(path, sizeof path, "%s/additional_chat_templates", folder);
    CHECK(mkdir(path, 0700) == 0);
    write_text("additional_chat_templates/tool_use.jinja", "{{ tools }}");
    pith__store_free(&store);
    store.path = folder;
    CHECK(!pith__folder_read(&store, folder, 0, &error));
    CHECK(pith__str_is(store.vocab.tool_template, "{{ tools }}"));
    snprintf(path, sizeof path, "%s/additional_chat_templates/tool_use.jinja", folder);
    CHECK(unlink(path) == 0);
    snprintf(path, sizeof path, "%s/additional_chat_templates", folder);
    CHECK(rmdir(path) == 0);
}

/* ---- the published vocabularies -------------------------------------------------------------- */

static char *read_file(const char *path, size_t *n) {
    FILE *f = path ? fopen(path, "rb") : NULL;
    char *p = f ? malloc(1 << 20) : NULL;
    *n = p ? fread(p, 1, (1 << 20) - 1, f) : 0;
    if (p) p[*n] = 0;
    if (f) fclose(f);
    return p;
}

static void compare_ids(const char *name) {
    static const char between[] = "\n__ggml_vocab_test__\n";
    char path[200];
    size_t n;
    pith__json j;
    pith__file file;
    pith__store s = { .path = name };
    pith__folder f = { .s = &s, .err = &error, .n_vocab = 200000 };
    sprintf(path, "data/tokenizers/%s/tokenizer.json", name);
    const char *found = fixture_shared(path);
    REQUIRE(found);
    clock_t start = clock();
    REQUIRE(!pith__file_open(&file, found, 0, &error));
    if (pith__json_read(&j, file.data, file.size, found, &error) || pith__hf_vocab(&f, j, found))
        FAIL("%s", error.text);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    if (!(seconds < 1)) FAIL("%s took %g s", name, seconds); /* 0.05 where nothing else runs */
    pith__tokenizer *k = pith__tokenizer_new(&s.vocab, &error);
    REQUIRE(k);
    sprintf(path, "data/tokenizers/%s/lines.inp", name);
    char *text = read_file(fixture_shared(path), &n), *ids, *at = text, *line;
    sprintf(path, "data/tokenizers/%s/lines.out", name);
    line = ids = read_file(fixture_shared(path), &n);
    REQUIRE(text && ids);
    int count = 0;
    for (; line && *line; count++) {
        char *end = strstr(at, between), *next = strchr(line, '\n');
        if (next) *next++ = 0;
        pith_token t[1000];
        size_t len = end ? (size_t)(end - at) : strlen(at);
        int m = pith__tokenizer_encode(k, at, len, 0, t, 1000), same = 1;
        for (int i = 0; i < m; i++) same &= strtol(line, &line, 10) == t[i];
        if (!same || line[strspn(line, " ")]) FAIL("%s: \"%.*s\"", name, (int)len, at);
        if (!end) break;
        at = end + strlen(between);
        line = next;
    }
    CHECK(count > 40);
    free(text);
    free(ids);
    pith__tokenizer_free(k);
    pith__store_free(&s);
    pith__file_close(&file);
}

TEST(published_vocabularies_give_the_ids) {
    if (!fixture_shared("data/tokenizers/qwen2/lines.inp")) SKIP("no ../shared/data");
    compare_ids("qwen2");
    compare_ids("llama3");
}

int main(void) {
    make_folder();
    RUN(byte_level_tokenizer);
    RUN(special_tokens_by_name);
    RUN(regexes_are_known_by_their_text);
    RUN(metaspace_tokenizer);
    RUN(tokenizers_that_must_not_run);
    RUN(tokenizers_that_may_run);
    RUN(chat_templates);
    RUN(published_vocabularies_give_the_ids);
    pith__store_free(&store);
    drop_folder();
    return DONE();
}
