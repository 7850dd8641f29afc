/* t_encoder_ids.c - the texts of ../shared/encoders have the ids of transformers, with the special tokens around them: Unigram
 * and byte-level BPE, of folders and GGUF files. */
#include "encoder_vocab.h"

static pith__json json_of(pith__file *f, const char *path) {
    pith__json j = { NULL, NULL };
    if (pith__file_open(f, path, 0, &error) || pith__json_read(&j, f->data, f->size, path, &error)) FAIL("%s", error.text);
    return j;
}

/* The texts of a list, or its pairs, have the ids of a file, a line each. A line of limit ids is cut. */
static void texts_are(const vocabulary *y, const char *name, pith__json list, int limit) {
    char line[4000];
    pith__file f;
    pith__json item;
    pith__arena a = { 0 };
    pith__framed got = { 0 };
    REQUIRE(!pith__file_open(&f, shared(name), 0, &error));
    const char *w = (const char *)f.data, *end = w + f.size;
    int n = 0;
    for (; pith__json_next(&list, NULL, &item) && w < end; n++) {
        const char *stop = memchr(w, '\n', (size_t)(end - w));
        pith__to_frame in = { .flags = PITH_SPECIAL, .limit = limit };
        pith__json first = item, second;
        size_t size = 0;
        int pair = pith__json_type(item) == '[';
        if (pair && (!pith__json_next(&item, NULL, &first) || !pith__json_next(&item, NULL, &second))) exit(95);
        if (pith__json_string(first, &a, &in.first) || (pair && pith__json_string(second, &a, &in.second))) exit(96);
        REQUIRE(y->k && !pith__frame(y->k, &in, &got));
        for (int i = 0; i < got.n && size < sizeof line - 20; i++) size += (size_t)sprintf(line + size, " %d", got.token[i]);
        if (size != (size_t)(stop - w) || memcmp(line, w, size))
            FAIL("%s, text %d is %.*s, want %.*s", name, n, (int)size, line, (int)(stop - w), w);
        w = stop + 1;
    }
    CHECK(n > 2 && w == end);
    pith__framed_free(&got);
    pith__arena_free(&a);
    pith__file_close(&f);
}

TEST(texts_have_the_ids_of_transformers) {
    static const struct { const char *name; int gguf, limit; } model[] = {
        { "xlmr", 1, 64 }, { "xlmr-rank", 0, 64 }, { "gpt2", 1, 64 }, { "gptneox", 1, 64 }, { "roberta-mlm", 0, 64 },
        { "modernbert", 1, 128 }, { "qwen3-emb", 1, 128 }, { "embgemma", 1, 128 },
    };
    if (!has_shared()) SKIP("no ../shared");
    pith__file f;
    pith__json texts = pith__json_get(json_of(&f, shared("texts.json")), "texts");
    for (size_t i = 0; i < sizeof model / sizeof *model; i++) {
        vocabulary y;
        char path[200], ids[100];
        snprintf(ids, sizeof ids, "%s.ids", model[i].name);
        snprintf(path, sizeof path, "%s-hf/tokenizer.json", model[i].name);
        open_json(&y, shared(path));
        texts_are(&y, ids, texts, model[i].limit);
        close_vocabulary(&y);
        if (!model[i].gguf) continue;
        snprintf(path, sizeof path, "%s.gguf", model[i].name);
        open_gguf(&y, shared(path));
        texts_are(&y, ids, texts, model[i].limit);
        close_vocabulary(&y);
        close_store();
    }
    pith__file_close(&f);
}

/* {mask} in these is the mask's own name, and takes the blanks before it along. */
TEST(masked_texts) {
    if (!has_shared()) SKIP("no ../shared");
    pith__file f;
    vocabulary y;
    pith__json item, list = pith__json_get(json_of(&f, shared("texts.json")), "masked");
    char text[4000] = "[", *mask;
    size_t n = 1;
    while (pith__json_next(&list, NULL, &item)) {
        pith__str s = pith__json_raw(item);
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%.*s", n > 1 ? "," : "", (int)s.n, s.p);
    }
    strcpy(text + n, "]");
    while ((mask = strstr(text, "{mask}"))) memcpy(mask, "<mask>", 6);
    REQUIRE(!pith__json_read(&list, text, strlen(text), "masked", &error));
    open_json(&y, shared("roberta-mlm-hf/tokenizer.json"));
    texts_are(&y, "roberta-mlm.masked.ids", list, 64);
    close_vocabulary(&y);
    pith__file_close(&f);
}

TEST(pairs_have_the_ids_of_transformers) {
    if (!has_shared()) SKIP("no ../shared");
    pith__file f;
    vocabulary y;
    open_json(&y, shared("xlmr-rank-hf/tokenizer.json"));
    texts_are(&y, "xlmr-rank.pairs.ids", pith__json_get(json_of(&f, shared("texts.json")), "pairs"), 64);
    close_vocabulary(&y);
    pith__file_close(&f);
}

TEST(gpt2_lines) {
    if (!has_shared()) SKIP("no ../shared");
    vocabulary y;
    open_gguf(&y, shared("../data/gguf/ggml-vocab-gpt-2.gguf"));
    lines_are(&y, "vocab/gpt2.out", PITH_SPECIAL);
    lines_are(&y, "vocab/gpt2.plain.out", 0);
    close_vocabulary(&y);
    close_store();
}

/* The files say nothing of either: such tokenizers write a text in normal form C, and their mask takes blanks along. */
TEST(modernbert_gguf) {
    static const char *const piece[] = { "[MASK]", "e", "\xc3\x83\xc2\xa9", "\xc3\x83", "\xc2\xa9", "\xc4\xa0", "[SEP]" };
    static const char *const pre[] = { "modern-bert", "olmo", "gpt-2" };
    for (int i = 0; i < 3; i++) {
        doc d = new_doc();
        key_str(&d, "tokenizer.ggml.model", "gpt2");
        key_str(&d, "tokenizer.ggml.pre", pre[i]);
        key_strs(&d, "tokenizer.ggml.tokens", piece, 7);
        bytes *b = key_array(&d, "tokenizer.ggml.token_type", I32, 7);
        for (int k = 0; k < 7; k++) put_int(b, k % 6 ? PITH__NORMAL : PITH__CONTROL, 4);
        key_strs(&d, "tokenizer.ggml.merges", (const char *const[]){ "\xc3\x83 \xc2\xa9" }, 1);
        key_int(&d, "tokenizer.ggml.mask_token_id", U32, 0, 4);
        REQUIRE(works(read_doc(&d)));
        vocabulary y = { .k = pith__tokenizer_new(&store.vocab, &error) };
        REQUIRE(y.k != NULL);
        text_is(y.k, pre[i], 0, pith__str_of("e\u0301"), 0, pith__str_of(i < 2 ? " 2" : " 1"));
        text_is(y.k, pre[i], 1, pith__str_of("e  [MASK] e[SEP] e"), PITH_SPECIAL, pith__str_of(" 1 0 5 1 6 5 1"));
        close_vocabulary(&y);
        close_store();
    }
}

int main(void) {
    RUN(texts_have_the_ids_of_transformers);
    RUN(masked_texts);
    RUN(pairs_have_the_ids_of_transformers);
    RUN(gpt2_lines);
    RUN(modernbert_gguf);
    return DONE();
}
