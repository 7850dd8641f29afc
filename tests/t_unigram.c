/* t_unigram.c - Unigram vocabularies: text to tokens as "tokenizers" and SentencePiece do it. */
#include "encoder_vocab.h"

#include <math.h>
#include <unistd.h>

/* The vocabulary of y as a GGUF file has it. */
static void put_vocabulary(doc *d, const pith__vocab *v) {
    key_str(d, "tokenizer.ggml.model", "t5");
    bytes *b = key_array(d, "tokenizer.ggml.tokens", STR, (uint64_t)v->n);
    for (int i = 0; i < v->n; i++) put_int(b, v->piece[i].n, 8), put(b, v->piece[i].p, v->piece[i].n);
    b = key_array(d, "tokenizer.ggml.scores", F32, (uint64_t)v->n);
    for (int i = 0; i < v->n; i++) put_f32(b, (float)v->log_prob[i]);
    b = key_array(d, "tokenizer.ggml.token_type", I32, (uint64_t)v->n);
    for (int i = 0; i < v->n; i++) put_int(b, i == v->unk ? PITH__UNKNOWN : v->type[i], 4);
    key_int(d, "tokenizer.ggml.bos_token_id", U32, (uint64_t)v->bos, 4);
    key_int(d, "tokenizer.ggml.eos_token_id", U32, (uint64_t)v->eos, 4);
    key_int(d, "tokenizer.ggml.unknown_token_id", U32, (uint64_t)v->unk, 4);
    key_int(d, "tokenizer.ggml.mask_token_id", U32, (uint64_t)v->n - 1, 4);
    key_int(d, "tokenizer.ggml.add_bos_token", BOOL, 1, 1);
    b = key_array(d, "tokenizer.ggml.precompiled_charsmap", U8, v->rewrite[0].find.n);
    put(b, v->rewrite[0].find.p, v->rewrite[0].find.n);
}

/* ---- a vocabulary made here -------------------------------------------------------------------- */

/* Full-width A, a and e, the ligature fi, odd spaces, nothing for U+200B, e with an accent, two of Korean's, degrees: the
 * units of the trie that are not 0, of 256, and what they become. */
static const uint32_t map_unit[][2] = {
    { 0, 0x400 }, { 4, 0x80000000 }, { 6, 0x80000002 }, { 7, 0x80000004 }, { 8, 0x7909 }, { 10, 0x80000006 },
    { 11, 0x790a }, { 12, 0x610d }, { 14, 0x80000009 }, { 17, 0x8000000b }, { 19, 0x8000001d },
    { 20, 0x8000000c }, { 21, 0x8000000e }, { 22, 0x80000010 }, { 25, 0x80000012 }, { 27, 0x80000015 },
    { 31, 0x80000019 }, { 34, 0x80000021 }, { 100, 0x1cc65 }, { 128, 0x21d85 }, { 132, 0x20981 },
    { 136, 0x20981 }, { 139, 0x26484 }, { 143, 0x27c80 }, { 145, 0x20983 }, { 153, 0x20181 },
    { 154, 0x21c84 }, { 155, 0x2298b }, { 156, 0x21d80 }, { 157, 0x20980 }, { 160, 0x20480 },
    { 161, 0x20d80 }, { 162, 0x299a1 }, { 170, 0x2d8b0 }, { 173, 0x28da0 }, { 174, 0x29cac },
    { 190, 0x2f4bc }, { 191, 0x2e8bd }, { 195, 0x338c2 }, { 219, 0x30ccc }, { 224, 0x3f8e1 },
    { 226, 0x308e3 }, { 227, 0x3b0e2 }, { 235, 0x3c4ea }, { 238, 0x3b0ef },
};
static const char map_text[] = "A\0a\0e\0fi\0 \0\0 \0 \0 \0\u00e9\0\uac00\0\u3131\0\u00b0C\0 ";
enum { N_UNIT = 256, MAP = 4 + 4 * N_UNIT + sizeof map_text };

static void make_map(uint8_t *p) {
    memset(p, 0, MAP);
    p[1] = 4 * N_UNIT >> 8;
    for (size_t i = 0; i < sizeof map_unit / sizeof *map_unit; i++)
        for (int k = 0; k < 4; k++) p[4 + 4 * map_unit[i][0] + (size_t)k] = (uint8_t)(map_unit[i][1] >> 8 * k);
    memcpy(p + MAP - sizeof map_text, map_text, sizeof map_text);
}

static void base64(const uint8_t *p, size_t n, char *out) {
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        uint32_t bits = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
        for (int k = 0; k < 4; k++) *out++ = i + (size_t)k > n ? '=' : digit[bits >> (18 - 6 * k) & 63];
    }
    *out = 0;
}

/* Pieces 0 to 31. */
static const char made_pieces[] =
    "[\"<s>\",0],[\"<pad>\",0],[\"</s>\",0],[\"<unk>\",0],[\"\u2581\",-2],[\"a\",-3],[\"b\",-3.5],[\"\u2581a\",-2.75],"
    "[\"ab\",-4.25],[\"\u2581ab\",-5.5],[\"aa\",-5],[\"aaa\",-7.25],[\"e\",-3],[\"\u00e9\",-6],[\"fi\",-4],[\"f\",-5],"
    "[\"i\",-4.5],[\"A\",-6.5],[\"\u3131\",-7],[\"\uac00\",-6.5],[\"\u00b0\",-8],[\"C\",-7],[\"x\",-4],"
    "[\"\u2581x\",-4.125],[\"0\",-3.3],[\"00\",-6.1],[\"000\",-9.7],[\"\uac00\ub098\",-9],[\"<\",-7.5],[\"mask\",-6],"
    "[\">\",-7.5],[\"<mask>\",0]";
#define METASPACE "{\"type\":\"Metaspace\",\"replacement\":\"\u2581\",\"prepend_scheme\":\"always\",\"split\":true}"

/* A tokenizer.json; more: pieces behind the made ones, model: other fields. */
static const char *made_json(const char *normalizer, const char *pre, const char *more, const char *model) {
    static char text[20000];
    int n = snprintf(text, sizeof text,
        "{\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true},{\"id\":2,\"content\":\"</s>\",\"special\":true},"
        "{\"id\":31,\"content\":\"<mask>\",\"lstrip\":true,\"special\":true}],\"normalizer\":%s,\"pre_tokenizer\":%s,"
        "\"post_processor\":null,\"decoder\":" METASPACE ",\"model\":{\"type\":\"Unigram\",%s\"vocab\":[%s%s]}}",
        normalizer, pre, model, made_pieces, more);
    if (n < 0 || n >= (int)sizeof text) exit(97);
    return text;
}

/* The normalizers of: the older conversion, the newer one, and the newest. */
static const char *made_normalizer(int which) {
    static char map[2000], text[4000];
    uint8_t raw[MAP];
    make_map(raw);
    base64(raw, MAP, map);
    static const char *const form[] = {
        "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"%s\"}",
        "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"%s\"},{\"type\":\"Strip\","
        "\"strip_left\":false,\"strip_right\":true},{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\"\u2581\"}]}",
        "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"},{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},"
        "\"content\":\" \"}]}",
    };
    if (which < 2) snprintf(text, sizeof text, form[which], map);
    return which < 2 ? text : form[2];
}

static const char *made_old(void) {
    return made_json(made_normalizer(0), "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"}," METASPACE "]}", "",
                     "\"unk_id\":3,");
}

/* Ids by tokenizers 0.23 for the three, and by SentencePiece 0.2.3. */
static const struct { const char *text, *ids[4]; } made_texts[] = {
    { "ab", { " 9", " 9", " 9", " 9" } },
    { "a ab  aab", { " 7 9 7 8", " 7 9 7 8", " 7 9 7 8", " 7 9 7 8" } },
    { "aaaaa", { " 7 10 10", " 7 10 10", " 7 10 10", " 7 10 10" } },
    { "aaaaaaa", { " 7 11 11", " 7 11 11", " 7 11 11", " 7 11 11" } },
    { "ab<mask>a  <mask> b", { " 9 31 7 31 4 6", " 9 31 7 31 4 6", " 9 31 7 31 4 6", " 9 28 29 30 5 4 28 29 30 4 6" } },
    { "<s>a</s>", { " 0 7 2", " 0 7 2", " 0 7 2", " 4 28 3 30 5 28 3 30" } },
    { " a \t b\r\n", { " 7 4 6", " 7 4 6", " 7 4 3 4 6 3", " 7 4 6" } },
    { "", { "", "", "", "" } },
    { "   ", { "", "", " 4", "" } },
    { "xyz", { " 23 3", " 23 3", " 23 3", " 23 3" } },
    { "yzyz a yy", { " 4 3 7 4 3", " 4 3 7 4 3", " 4 3 7 4 3", " 4 3 7 4 3" } },
    { "\uff21\uff41\uff21", { " 4 17 5 17", " 4 17 5 17", " 4 17 5 17", " 4 17 5 17" } },
    { "\uff45\u0301", { " 4 12", " 4 12", " 4 13", " 4 12 3" } },
    { "e\u0301", { " 4 13", " 4 13", " 4 13", " 4 13" } },
    { "\uff45\u0301\u0301\u0301", { " 4 12 3", " 4 12 3", " 4 13 3", " 4 12 3" } },
    { "\ufb01x \ufb01\u0301x", { " 4 14 22 4 14 22", " 4 14 22 4 14 22", " 4 14 22 4 15 3 22", " 4 14 22 4 14 3 22" } },
    { "a\u00a0\u200b b\u3000", { " 7 4 6", " 7 4 6", " 7 4 3 4 6 4", " 7 4 6" } },
    { "\uac00\ub098 \uac01 \uac00\u11a8", { " 4 27 4 3 4 19 3", " 4 27 4 3 4 19 3", " 4 27 4 3 4 3", " 4 27 4 3 4 19 3" } },
    { "\u1100\u1161", { " 4 18 3", " 4 18 3", " 4 19", " 4 18 3" } },
    { "\uac00", { " 4 19", " 4 19", " 4 19", " 4 19" } },
    { "25\u2103 0000000", { " 4 3 20 21 4 25 25 25 24", " 4 3 20 21 4 25 25 25 24", " 4 3 20 21 4 25 25 25 24", " 4 3 20 21 4 24 25 25 25" } },
    { "\u2581a\u2581\u2581b", { " 7 4 4 6", " 7 4 4 6", " 7 4 4 6", " 4 7 4 4 6" } },
    { "a\u200d\u0301", { " 7 3", " 7 3", " 7 3", " 7 3" } },
    { "\u0600\uff41b", { " 4 3 8", " 4 3 8", " 4 3 8", " 4 3 8" } },
    { "\r\na", { " 7", " 7", " 4 3 5", " 7" } },
    { "00 000 00000", { " 4 25 4 24 25 4 24 25 25", " 4 25 4 24 25 4 24 25 25", " 4 25 4 24 25 4 24 25 25", " 4 25 4 24 25 4 24 25 25" } },
    { "\u2460\u2461\u00bd \u00c5 \uff76\uff9e", { " 4 3 4 3 4 3", " 4 3 4 3 4 3", " 4 3 4 3 4 3", " 4 3 4 3 4 3" } },
    { "\u2126\u1e9b\u0323", { " 4 3", " 4 3", " 4 3", " 4 3" } },
};

static void ids_are(const pith__tokenizer *k, const char *text, unsigned flags, const char *want) {
    text_is(k, "made here", 0, pith__str_of(text), flags, pith__str_of(want));
}

TEST(made_folders) {
    vocabulary y;
    for (int which = 0; which < 3; which++) {
        const char *json = which ? made_json(made_normalizer(which), METASPACE, "", "\"unk_id\":3,") : made_old();
        open_text(&y, json, strlen(json));
        if (!y.k) FAIL("%s", error.text);
        for (size_t i = 0; y.k && i < sizeof made_texts / sizeof *made_texts; i++)
            ids_are(y.k, made_texts[i].text, PITH_SPECIAL, made_texts[i].ids[which]);
        close_vocabulary(&y);
    }
}

TEST(made_gguf) {
    vocabulary y;
    const char *json = made_old();
    open_text(&y, json, strlen(json));
    REQUIRE(y.k != NULL);
    y.s.vocab.bos = 0;
    y.s.vocab.eos = 2;
    doc d = new_doc();
    put_vocabulary(&d, &y.s.vocab);
    REQUIRE(works(read_doc(&d)));
    close_vocabulary(&y);
    y = (vocabulary){ .k = pith__tokenizer_new(&store.vocab, &error) };
    REQUIRE(y.k != NULL);
    for (size_t i = 0; i < sizeof made_texts / sizeof *made_texts; i++) ids_are(y.k, made_texts[i].text, 0, made_texts[i].ids[3]);
    ids_are(y.k, "ab  <mask>a", PITH_SPECIAL | PITH_BOS | PITH_EOS, " 0 9 31 7 2");
    close_vocabulary(&y);
    close_store();
}

/* A folder's vocabulary, written as GGUF and read again, gives the same ids. */
TEST(gguf_of_a_folder) {
    char path[] = "/tmp/pith-unigram-XXXXXX";
    vocabulary y;
    close(mkstemp(path));
    for (int which = 0; which < 3; which++) {
        const char *json = which ? made_json(made_normalizer(which), METASPACE, "", "\"unk_id\":3,") : made_old();
        open_text(&y, json, strlen(json));
        REQUIRE(y.k != NULL);
        y.s.vocab.mask = 31;
        if (pith__gguf_write(&y.s, NULL, 0, pith__format_of(PITH__F32), path, &error)) FAIL("%s", error.text);
        close_vocabulary(&y);
        open_gguf(&y, path);
        for (size_t i = 0; y.k && i < sizeof made_texts / sizeof *made_texts; i++)
            ids_are(y.k, made_texts[i].text, PITH_SPECIAL, made_texts[i].ids[which]);
        close_vocabulary(&y);
        close_store();
    }
    unlink(path);
}

/* Characters that are no piece: bytes, one unknown token, nothing. */
TEST(unknown_characters) {
    static char byte[8000];
    vocabulary y;
    size_t n = 0;
    for (int c = 0; c < 256; c++) n += (size_t)sprintf(byte + n, ",[\"<0x%02X>\",-20]", (unsigned)c);
    const char *json = made_json("null", METASPACE, byte, "\"unk_id\":3,\"byte_fallback\":true,");
    open_text(&y, json, strlen(json));
    REQUIRE(y.k != NULL);
    ids_are(y.k, "aya", 0, " 7 153 5");
    ids_are(y.k, "\u00e4b", 0, " 4 227 196 6");
    CHECK(pith__str_is(pith__tokenizer_piece(y.k, 7), " a") && pith__str_is(pith__tokenizer_piece(y.k, 153), "y"));
    close_vocabulary(&y);
    json = made_json("null", METASPACE, "", "\"unk_id\":null,");
    open_text(&y, json, strlen(json));
    REQUIRE(y.k != NULL);
    ids_are(y.k, "ayyab", 0, " 7 8");
    close_vocabulary(&y);
    json = made_old();
    open_text(&y, json, strlen(json));
    REQUIRE(y.k != NULL);
    ids_are(y.k, "a\xff\xfe\xe3\x80" "b \xc3", 0, " 7 3 6 4 3"); /* no UTF-8 */
    close_vocabulary(&y);
}

/* ---- what is wrong ----------------------------------------------------------------------------- */

TEST(files_that_must_not_run) {
    static const struct { const char *normalizer, *more, *model, *says; } wrong[] = {
        { "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAA\"}", "", "", "base64" },
        { "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AA=A\"}", "", "", "base64" },
        { "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAA*\"}", "", "", "base64" },
        { "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AB==\"}", "", "", "base64" },
        { "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAA\"}", "", "", "a trie of 0" },
        { "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////w==\"}", "", "", "a trie of 4294967295" },
        { "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"BAAAAAAAAABhYQ==\"}", "", "", "NUL" },
        { "{\"type\":\"Precompiled\",\"precompiled_charsmap\":7}", "", "", "precompiled_charsmap" },
        { "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a+\"},\"content\":\"b\"}", "", "", "Regex of a Replace" },
        { "{\"type\":\"Lowercase\"}", "", "", "normalizer" },
        { "null", ",[\"z\"]", "", "model.vocab" },
        { "null", ",[\"z\",-1,2]", "", "model.vocab" },
        { "null", ",[7,-1]", "", "model.vocab" },
        { "null", ",[\"z\",1e999]", "", "model.vocab" },
        { "null", "", "\"unk_id\":-1,", "unk_id" },
        { "null", "", "\"unk_id\":\"<unk>\",", "unk_id" },
    };
    vocabulary y;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *json = made_json(wrong[i].normalizer, METASPACE, wrong[i].more, wrong[i].model);
        open_text(&y, json, strlen(json));
        if (y.k || !strstr(error.text, wrong[i].says)) FAIL("%zu is '%s', want '%s'", i, y.k ? "taken" : error.text, wrong[i].says);
        close_vocabulary(&y);
    }
}

/* Bytes of the map that are changed at random: a clean error, or some ids. */
TEST(broken_maps) {
    static char map[2000], text[4000];
    uint8_t raw[MAP];
    vocabulary y;
    for (uint64_t round = 0; round < 1500; round++) {
        make_map(raw);
        for (uint64_t i = 0; i < 1 + round % 40; i++) {
            uint64_t x = pith__random_at(round, i);
            size_t at = round % 3 == 0 ? x % MAP : 4 + x % (4 * N_UNIT);
            raw[at] = (uint8_t)(x >> 32);
        }
        size_t n = round % 7 == 0 ? (size_t)(pith__random_at(round, 99) % MAP) : MAP;
        base64(raw, n, map);
        snprintf(text, sizeof text, "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"%s\"}", map);
        const char *json = made_json(text, METASPACE, "", "\"unk_id\":3,");
        open_text(&y, json, strlen(json));
        CHECK(y.k || strstr(error.text, "precompiled_charsmap"));
        for (size_t i = 0; y.k && i < sizeof made_texts / sizeof *made_texts; i++)
            CHECK(pith__tokenizer_encode(y.k, made_texts[i].text, strlen(made_texts[i].text), 0, NULL, 0) >= 0);
        close_vocabulary(&y);
    }
}

/* A megabyte is no more per byte than a kilobyte: without spaces, with a trie that leads from "a" back to "a" forever, and
 * with a piece of 9,000 bytes. */
TEST(long_texts) {
    enum { LONG = 1 << 20, PIECE = 9000 };
    static char piece[PIECE + 8], map[2000], text[4000];
    uint8_t raw[MAP];
    vocabulary y;
    char *p = malloc(LONG);
    REQUIRE(p != NULL);
    memset(p, 'a', LONG);
    make_map(raw);
    for (int i = 0; i < N_UNIT; i++) { /* each unit is 'a', and goes on to itself or a neighbour */
        const uint32_t unit = 'a' | (uint32_t)('a' ^ (i & 1)) << 10;
        for (int k = 0; k < 4; k++) raw[4 + 4 * i + k] = (uint8_t)(unit >> 8 * k);
    }
    base64(raw, MAP, map);
    snprintf(text, sizeof text, "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"%s\"}", map);
    memset(piece, 'a', sizeof piece);
    memcpy(piece, ",[\"", 3);
    strcpy(piece + PIECE, "\",-1]");
    for (int which = 0; which < 2; which++) {
        const char *json = which ? made_json(text, METASPACE, piece, "") : made_old();
        open_text(&y, json, strlen(json));
        REQUIRE(y.k != NULL);
        CHECK(pith__tokenizer_encode(y.k, p, LONG, 0, NULL, 0) > LONG / 4);
        close_vocabulary(&y);
    }
    free(p);
}

/* Scores that are no numbers: what comes out matters to nobody, but it ends. */
TEST(odd_scores) {
    const float odd[] = { NAN, INFINITY, -INFINITY, 3e38f, -3e38f };
    pith__str piece[4] = { { "<unk>", 5 }, { "a", 1 }, { "aa", 2 }, { "b", 1 } };
    uint8_t type[4] = { PITH__UNKNOWN, PITH__NORMAL, PITH__NORMAL, PITH__NORMAL };
    for (int i = 0; i < 125; i++) {
        float score[4] = { 0, odd[i % 5], odd[i / 5 % 5], odd[i / 25] };
        pith__vocab v = { .model = PITH__UNIGRAM, .n = 4, .piece = piece, .score = score, .type = type, .bos = -1, .eos = -1 };
        pith__tokenizer *k = pith__tokenizer_new(&v, &error);
        int n = k ? pith__tokenizer_encode(k, "aabxaaab", 8, 0, NULL, 0) : -1;
        if (n < 4 || n > 8) FAIL("scores %d: %d tokens", i, n);
        pith__tokenizer_free(k);
    }
}

/* ---- vocabularies of ../shared, with their lines ------------------------------------------------ */

TEST(folders_give_the_ids_of_tokenizers) {
    if (!has_shared()) SKIP("no ../shared");
    vocabulary y;
    open_json(&y, shared("vocab/unigram-xlmr/tokenizer.json"));
    lines_are(&y, "vocab/unigram-xlmr.out", PITH_BOS | PITH_EOS | PITH_SPECIAL);
    lines_are(&y, "vocab/unigram-xlmr.plain.out", PITH_BOS | PITH_EOS);
    close_vocabulary(&y);
}

/* text[0..n), a copy with the first from in it replaced by to; freed by the caller. */
static char *with(const char *text, const char *from, const char *to) {
    const char *at = strstr(text, from);
    char *p = malloc(strlen(text) + strlen(to) + 1);
    if (!at || !p) exit(98);
    sprintf(p, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return p;
}

/* The conversion of 2025: the map is followed by steps of its own, and Metaspace alone cuts. */
TEST(newer_folders_strip_and_squeeze) {
    if (!has_shared()) SKIP("no ../shared");
    vocabulary y;
    pith__file f;
    REQUIRE(!pith__file_open(&f, shared("vocab/unigram-xlmr/tokenizer.json"), 0, NULL));
    char *text = calloc(f.size + 1, 1);
    REQUIRE(text != NULL);
    memcpy(text, f.data, f.size);
    pith__file_close(&f);
    char *a = with(text, "\"normalizer\":{", "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{");
    char *b = with(a, "},\"pre_tokenizer\":", "},{\"type\":\"Strip\",\"strip_left\":false,\"strip_right\":true},"
                      "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\"\u2581\"}]},\"pre_tokenizer\":");
    char *c = with(b, "{\"type\":\"WhitespaceSplit\"},", "");
    open_text(&y, c, strlen(c));
    if (!y.k) FAIL("%s", error.text);
    else lines_are(&y, "vocab/unigram-xlmr.new.out", PITH_BOS | PITH_EOS | PITH_SPECIAL);
    close_vocabulary(&y);
    free(text);
    free(a);
    free(b);
    free(c);
}

TEST(gguf_gives_the_ids_of_sentencepiece) {
    if (!has_shared()) SKIP("no ../shared");
    vocabulary y;
    open_json(&y, shared("vocab/unigram-xlmr/tokenizer.json"));
    REQUIRE(y.k != NULL);
    doc d = new_doc();
    put_vocabulary(&d, &y.s.vocab);
    REQUIRE(works(read_doc(&d)));
    close_vocabulary(&y);
    y = (vocabulary){ .k = pith__tokenizer_new(&store.vocab, &error) };
    lines_are(&y, "vocab/unigram-xlmr.spm.out", PITH_BOS | PITH_EOS);
    close_vocabulary(&y);
    close_store();
}

int main(void) {
    RUN(made_folders);
    RUN(made_gguf);
    RUN(gguf_of_a_folder);
    RUN(unknown_characters);
    RUN(files_that_must_not_run);
    RUN(broken_maps);
    RUN(long_texts);
    RUN(odd_scores);
    RUN(folders_give_the_ids_of_tokenizers);
    RUN(newer_folders_strip_and_squeeze);
    RUN(gguf_gives_the_ids_of_sentencepiece);
    return DONE();
}
