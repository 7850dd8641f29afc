/* t_words.c - WordPiece of folders: tokenizer.json, vocab.txt, what goes around texts; and, if ../shared/encoders is
 * there, the ids that "tokenizers" and transformers gave. */
#define _POSIX_C_SOURCE 200809L
#include "hf_folder.h"

/* ---- made here ----------------------------------------------------------------------------------------------- */

static const char words[] =
    "{\"version\":\"1.0\",\"truncation\":{\"max_length\":3,\"strategy\":\"LongestFirst\",\"stride\":0},"
    "\"padding\":{\"strategy\":{\"Fixed\":128},\"pad_id\":0},\n"
    " \"added_tokens\":[{\"id\":1,\"content\":\"[CLS]\",\"special\":true},{\"id\":2,\"content\":\"[SEP]\",\"special\":true}],\n"
    " \"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,\"strip_accents\":null,"
    "\"lowercase\":true},\n"
    " \"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},\n"
    " \"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",2],\"cls\":[\"[CLS]\",1]},\n"
    " \"decoder\":{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":false},\n"
    " \"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","
    "\"max_input_chars_per_word\":100,\n"
    "  \"vocab\":{\"[UNK]\":0,\"[CLS]\":1,\"[SEP]\":2,\"play\":3,\"##ing\":4,\"\xc3\xa9\":5,\"e\":6,\"Play\":7,\".\":8}}}";

#define TEMPLATE "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"[CLS]\"," \
    "\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":["
#define PLACE(kind, id, type) "{\"" kind "\":{\"id\":\"" id "\",\"type_id\":" type "}}"

/* The vocabulary of the folder, which stays open. */
static int open_words(void) {
    pith__store_free(&store);
    memset(&store, 0, sizeof store);
    store.path = folder;
    return pith__folder_read(&store, folder, 0, &error);
}

/* A text, or a pair, with all that goes around it: id and type of each token. */
static void framed_is(const char *a, const char *b, const char *want) {
    char got[400] = "";
    pith__framed f = { 0 };
    pith__to_frame in = { pith__str_of(a), { b, b ? strlen(b) : 0 }, 0, 0 };
    int code = open_words();
    pith__tokenizer *k = code ? NULL : pith__tokenizer_new(&store.vocab, &error);
    if (!k) FAIL("%s", error.text);
    else if (pith__frame(k, &in, &f)) FAIL("no tokens for '%s'", a);
    for (int i = 0; i < f.n; i++) sprintf(got + strlen(got), "%s%d:%d", i ? " " : "", f.token[i], f.type[i]);
    if (strcmp(got, want)) FAIL("'%s' '%s' is %s, want %s", a, b ? b : "", got, want);
    pith__framed_free(&f);
    pith__tokenizer_free(k);
}

static void is_refused(const char *text, const char *what) {
    write_text("tokenizer.json", text);
    if (open_words() == PITH_OK) FAIL("taken, need an error with %s", what);
    else if (!strstr(error.text, what)) FAIL("\"%s\" has no %s", error.text, what);
}

TEST(tokenizer_json) {
    write_whole();
    write_text("tokenizer.json", words);
    framed_is("Playing play playpl", NULL, "1:0 3:0 4:0 3:0 0:0 2:0"); /* no truncation, no padding */
    framed_is("\xc3\xa9", "play", "1:0 6:0 2:0 3:1 2:1");
    CHECK(store.vocab.mask == -1 && !store.vocab.bert.cleanup);
    write_text("tokenizer.json", with(words, "\"lowercase\":true", "\"lowercase\":false"));
    framed_is("Playing \xc3\xa9", NULL, "1:0 7:0 4:0 5:0 2:0"); /* strip_accents null is as lowercase */
    write_text("tokenizer.json", with(words, "\"strip_accents\":null", "\"strip_accents\":false"));
    framed_is("Play \xc3\x89", NULL, "1:0 3:0 5:0 2:0");
    write_text("tokenizer.json", with(words, ":100,", ":6,"));
    framed_is("playing play", NULL, "1:0 0:0 3:0 2:0");
    write_text("tokenizer.json", with(with(with(words, "_prefix\":\"##\"", "_prefix\":\"@\""), "##ing", "@ing"),
                                      "\"prefix\":\"##\"", "\"prefix\":\"@\""));
    framed_is("playing", NULL, "1:0 3:0 4:0 2:0");
    static const char *const odd[][3] = {
        { "\"[UNK]\":0", "\"x\":0", "unk_token" }, { "\"type\":\"BertPreTokenizer\"", "\"type\":\"Whitespace\"", "BertPreTokenizer" },
        { "{\"type\":\"BertPreTokenizer\"}", "null", "BertPreTokenizer" }, { ":100,", ":0,", "max_input_chars_per_word" },
        { ":100,", ":1e99,", "max_input_chars_per_word" }, { "BertNormalizer", "Lowercase", "BertNormalizer" },
        { "\"prefix\":\"##\"", "\"prefix\":\"@\"", "prefix" }, { "\"type\":\"WordPiece\",\"prefix\"", "\"type\":\"Fuse\",\"prefix\"", "WordPiece" },
        { "[\"[SEP]\",2]", "[\"[SEP]\"]", "sep" }, { "[\"[SEP]\",2]", "[\"[SEP]\",16]", "sep" },
        { "[\"[SEP]\",2]", "[\"[SEP]\",15]", "the id of a token in the vocabulary" }, /* vocab_size has room for it */
        { "BertProcessing", "Bert", "post_processor" }, { "\"clean_text\":true", "\"clean_text\":1", "clean_text" },
    };
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) is_refused(with(words, odd[i][0], odd[i][1]), odd[i][2]);
}

TEST(around_texts) {
    const char *bert = "\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",2],\"cls\":[\"[CLS]\",1]}";
    write_whole();
    write_text("tokenizer.json", with(words, "BertProcessing", "RobertaProcessing"));
    framed_is("e", "play", "1:0 6:0 2:0 2:0 3:0 2:0");
    write_text("tokenizer.json", with(words, bert, TEMPLATE PLACE("SpecialToken", "[CLS]", "0") "," PLACE("Sequence", "A", "0") ","
                                      PLACE("SpecialToken", "[SEP]", "3") "," PLACE("Sequence", "B", "1") "]}"));
    framed_is("e", "play", "1:0 6:0 2:3 3:1");
    framed_is("e", NULL, "1:0 6:0");
    write_text("tokenizer_config.json", "{\"add_bos_token\": false}"); /* goes before the template, also of a pair */
    framed_is("e", "play", "6:0 3:1");
    write_text("tokenizer_config.json", "{}");
    static const char *const odd[] = { /* pairs that count for nothing: each text as it is alone */
        PLACE("Sequence", "B", "0") "," PLACE("Sequence", "A", "0"), PLACE("Sequence", "A", "0"),
        PLACE("Sequence", "A", "0") "," PLACE("Sequence", "B", "256"),
        PLACE("Sequence", "A", "0") "," PLACE("Sequence", "B", "1") "," PLACE("Sequence", "B", "1"),
    };
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        char text[1000];
        sprintf(text, "%s%s]}", TEMPLATE, odd[i]);
        write_text("tokenizer.json", with(words, bert, text));
        framed_is("e", "play", "1:0 6:0 1:1 3:1");
    }
    write_text("tokenizer.json", with(words, bert, "\"post_processor\":{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},"
                                      "{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",2],\"cls\":[\"[CLS]\",1]}]}"));
    framed_is("e", NULL, "1:0 6:0 2:0");
}

static void lines_are_refused(const char *text, const char *what) {
    write_text("vocab.txt", text);
    if (open_words() == PITH_OK) FAIL("taken, need an error with %s", what);
    else if (!strstr(error.text, what)) FAIL("\"%s\" has no %s", error.text, what);
}

TEST(vocab_txt) {
    clear_folder();
    write_whole();
    unlink(in_folder("tokenizer.json"));
    write_text("tokenizer_config.json", "{}");
    write_text("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nplay\n##ing\r\n\n\ne\nPlay\n\xc3\xa9");
    framed_is("Playing \xc3\xa9 x", "e", "2:0 5:0 6:0 9:0 1:0 3:0 9:1 3:1");
    CHECK(store.vocab.mask == 4 && store.vocab.n == 12 && store.vocab.type[4] == PITH__CONTROL);
    write_text("tokenizer_config.json", "{\"do_lower_case\": false, \"cls_token\": {\"content\": \"[MASK]\"}}");
    framed_is("Playing \xc3\xa9", NULL, "4:0 10:0 6:0 11:0 3:0");
    write_text("tokenizer_config.json", "{\"tokenizer_class\": \"BertJapaneseTokenizer\"}");
    CHECK(open_words() != PITH_OK && strstr(error.text, "tokenizer_class"));
    write_text("tokenizer_config.json", "{\"tokenizer_class\": \"MPNetTokenizer\"}");
    write_text("vocab.txt", "<s>\n<pad>\n</s>\n<unk>\n[UNK]\n<mask>\ne\n");
    framed_is("E", "e", "0:0 6:0 2:0 2:0 6:0 2:0");
    CHECK(store.vocab.mask == 5 && store.vocab.added[5] == PITH__LSTRIP);
    write_text("tokenizer_config.json", "{}");
    lines_are_refused("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nplay\ne\nplay\n", "line 8 is 'play', as line 6");
    lines_are_refused("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n\xff\n", "line 6 is no UTF-8");
    lines_are_refused("[PAD]\n[UNK]\n[CLS]\n[MASK]\n", "'[SEP]', the sep_token");
    lines_are_refused("", "is empty");
    lines_are_refused("\n", "'[UNK]', the unk_token");
    lines_are_refused("1\n2\n3\n4\n5\n6\n7\n8\n9\na\nb\nc\nd\ne\nf\ng\nh\n", "more lines than vocab_size, 16");
    clear_folder();
}

/* A folder's vocabulary in a GGUF file says the same: flags for which GGUF has no keys, too. */
TEST(written_as_gguf) {
    static const char *const normal[] = { "\"lowercase\":true", "\"lowercase\":false" };
    static const char *const around[] = { "BertProcessing", "RobertaProcessing" };
    for (int i = 0; i < 4; i++) {
        clear_folder();
        write_whole();
        write_text("tokenizer.json", with(with(with(words, normal[0], normal[i % 2]), around[0], around[i / 2]), ":100,", ":6,"));
        write_text("tokenizer_config.json", "{\"mask_token\": \"play\"}");
        REQUIRE(open_words() == PITH_OK);
        pith__store t = { .path = "made.gguf", .n_file = 1 };
        pith__file f[2];
        const char *path = in_folder("made.gguf");
        pith__vocab v = store.vocab, *w = &t.vocab;
        pith__store s = { .path = "words", .vocab = v }; /* nothing else is in it */
        REQUIRE(pith__gguf_write(&s, NULL, 0, pith__format_of(PITH__F32), path, &error) == PITH_OK);
        t.file = f;
        REQUIRE(pith__file_open(f, path, 0, NULL) == PITH_OK && pith__gguf_read(&t, 0, &error) == PITH_OK);
        CHECK(w->model == PITH__WORDPIECE && w->n == v.n && w->bos == 1 && w->eos == 2 && w->unk == 0 && w->mask == 3);
        CHECK(w->bert.lower == v.bert.lower && w->bert.strip == v.bert.strip && w->bert.clean && w->bert.longest == 6);
        for (int p = 0; p < v.n; p++)
            if (pith__str_cmp(v.piece[p], w->piece[p]) || v.type[p] != w->type[p])
                FAIL("piece %d is %.*s", p, (int)w->piece[p].n, w->piece[p].p);
        EQ(w->n_pair, v.n_pair);
        for (int p = 0; p < v.n_pair; p++) CHECK(w->pair[p].id == v.pair[p].id && w->pair[p].type == v.pair[p].type);
        pith__store_free(&t);
    }
    clear_folder();
}

/* ---- ../shared/encoders ---------------------------------------------------------------------------------------- */

static char *read_shared(const char *form, const char *name, size_t *n) {
    char path[200];
    snprintf(path, sizeof path, form, name);
    const char *found = fixture_shared(path);
    FILE *f = found ? fopen(found, "rb") : NULL;
    char *p = f ? malloc(1 << 20) : NULL;
    *n = p ? fread(p, 1, (1 << 20) - 1, f) : 0;
    if (p) p[*n] = 0;
    if (f) fclose(f);
    if (!p) FAIL("no %s", path);
    return p;
}

/* A tokenizer of a tokenizer.json or a .gguf. */
static pith__tokenizer *shared_tokenizer(const char *form, const char *name, pith__store *s, pith__file *file) {
    char path[200];
    pith__json j;
    pith__folder f = { .s = s, .err = &error, .n_vocab = 40000 };
    snprintf(path, sizeof path, form, name);
    const char *found = fixture_shared(path);
    *s = (pith__store){ .path = name, .file = file, .n_file = 1 };
    s->vocab.bos = s->vocab.eos = s->vocab.unk = s->vocab.mask = -1;
    int code = found ? pith__file_open(file, found, 0, &error) : PITH_EDATA;
    if (!code && strstr(path, ".gguf")) code = pith__gguf_read(s, 0, &error);
    else if (!code) code = pith__json_read(&j, file->data, file->size, found, &error) || pith__hf_vocab(&f, j, found);
    pith__tokenizer *k = code ? NULL : pith__tokenizer_new(&s->vocab, &error);
    if (!k) FAIL("%s: %s", path, error.text);
    return k;
}

/* The next line of ids at *line, which moves on, is ids. */
static int same_ids(char **line, const pith_token *t, int n) {
    char *end = strchr(*line, '\n'), *at = *line;
    if (end) *end = 0;
    int same = 1;
    for (int i = 0; i < n; i++) same &= strtol(at, &at, 10) == t[i];
    same &= at[strspn(at, " ")] == 0;
    *line = end ? end + 1 : *line + strlen(*line);
    return same;
}

static void compare_lines(const char *name, unsigned flags) {
    static const char between[] = "\n__ggml_vocab_test__\n";
    pith__store s;
    pith__file file;
    size_t n;
    pith__tokenizer *k = shared_tokenizer("encoders/vocab/%s/tokenizer.json", name, &s, &file);
    char *text = read_shared("encoders/vocab/lines.inp", name, &n), *at = text;
    char *ids = read_shared(flags ? "encoders/vocab/%s.out" : "encoders/vocab/%s.plain.out", name, &n), *line = ids;
    REQUIRE(k && text && ids);
    pith__framed f = { 0 };
    int count = 0, wrong = 0;
    for (char *end; (end = strstr(at, between)) && wrong < 5; at = end + strlen(between), count++) {
        pith__to_frame in = { { at, (size_t)(end - at) }, { NULL, 0 }, flags, 0 };
        REQUIRE(pith__frame(k, &in, &f) == PITH_OK);
        if (!same_ids(&line, f.token, f.n)) FAIL("%s, %u: \"%.*s\"", name, flags, (int)(end - at), at), wrong++;
    }
    EQ(count, 300);
    pith__framed_free(&f);
    pith__tokenizer_free(k);
    pith__store_free(&s);
    free(text);
    free(ids);
}

TEST(three_hundred_lines) {
    if (!fixture_shared("encoders/README.md")) SKIP("no ../shared/encoders");
    for (unsigned special = 0; special <= PITH_SPECIAL; special += PITH_SPECIAL) {
        compare_lines("bert-uncased", special);
        compare_lines("bert-cased", special);
    }
}

/* All texts of texts.json, or its pairs, with their token types; cut to limit. */
static void compare_texts(const char *form, const char *name, int limit, int pairs) {
    pith__store s;
    pith__file file;
    size_t n;
    pith__arena arena = { 0 };
    pith__json j, item, half;
    pith__tokenizer *k = shared_tokenizer(form, name, &s, &file);
    char *texts = read_shared("encoders/texts.json", name, &n);
    REQUIRE(k && texts && !pith__json_read(&j, texts, n, "texts.json", &error));
    char *ids = read_shared(pairs ? "encoders/%s.pairs.ids" : "encoders/%s.ids", name, &n), *line = ids;
    char *types = pairs ? read_shared("encoders/%s.pairs.types", name, &n) : NULL, *type = types;
    pith__json all = pith__json_get(j, pairs ? "pairs" : "texts");
    pith__framed f = { 0 };
    for (int i = 0; pith__json_next(&all, NULL, &item); i++) {
        pith__to_frame in = { .flags = PITH_SPECIAL, .limit = limit };
        if (pairs && pith__json_next(&item, NULL, &half) && !pith__json_string(half, &arena, &in.first) &&
            pith__json_next(&item, NULL, &half)) pith__json_string(half, &arena, &in.second);
        if (!pairs) pith__json_string(item, &arena, &in.first);
        REQUIRE(pith__frame(k, &in, &f) == PITH_OK);
        if (!same_ids(&line, f.token, f.n)) FAIL("%s: ids of text %d", name, i);
        for (int t = 0; pairs && t < f.n; t++) f.token[t] = f.type[t];
        if (pairs && !same_ids(&type, f.token, f.n)) FAIL("%s: types of pair %d", name, i);
    }
    pith__framed_free(&f);
    pith__arena_free(&arena);
    pith__tokenizer_free(k);
    pith__store_free(&s);
    free(texts);
    free(ids);
    free(types);
}

TEST(texts_and_pairs) {
    static const struct { const char *name; int limit, pairs, gguf; } model[] = {
        { "bert", 48, 0, 1 }, { "bert-rank", 64, 1, 1 }, { "bert-mlm", 64, 0, 0 }, { "bert-ner", 64, 0, 0 },
        { "distilbert-cls", 64, 0, 0 }, { "nomic-bert", 64, 0, 1 }, { "mpnet", 64, 0, 0 }, { "modernbert", 128, 0, 0 },
        { "qwen3-emb", 128, 0, 1 }, { "embgemma", 128, 0, 1 }, { "gpt2", 64, 0, 1 },
    };
    if (!fixture_shared("encoders/README.md")) SKIP("no ../shared/encoders");
    for (size_t i = 0; i < sizeof model / sizeof *model; i++)
        for (int pairs = 0; pairs <= model[i].pairs; pairs++) {
            compare_texts("encoders/%s-hf/tokenizer.json", model[i].name, model[i].limit, pairs);
            if (model[i].gguf) compare_texts("encoders/%s.gguf", model[i].name, model[i].limit, pairs);
        }
}

int main(void) {
    make_folder();
    RUN(tokenizer_json);
    RUN(around_texts);
    RUN(vocab_txt);
    RUN(written_as_gguf);
    RUN(three_hundred_lines);
    RUN(texts_and_pairs);
    pith__store_free(&store);
    drop_folder();
    return DONE();
}
