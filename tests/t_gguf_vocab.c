/* t_gguf_vocab.c - the vocabularies of GGUF files: what their keys become, and keys that are wrong. */
#include "gguf_doc.h"

/* ---- vocabulary ------------------------------------------------------------------------------ */

TEST(vocab_spm) {
    const pith__vocab *v = &store.vocab;
    doc d = spm_doc();
    spm_types(&d, 10); /* one too many is no harm */
    spm_scores(&d, N_SPM);
    key_str(&d, "tokenizer.chat_template", "{{ messages }}");
    key_str(&d, "tokenizer.chat_template.tool_use", "{{ tools }}");
    REQUIRE(works(read_doc(&d)));
    EQ(v->model, PITH__SPM);
    EQ(v->spelling, PITH__METASPACE);
    EQ(v->n, N_SPM);
    for (int i = 0; i < N_SPM; i++) {
        CHECK(pith__str_is(v->piece[i], spm_pieces[i]));
        NEAR(v->score[i], -0.5 * i, 0);
    }
    EQ(v->type[0], PITH__UNKNOWN);
    EQ(v->type[3], PITH__BYTE);
    EQ(v->type[4], PITH__NORMAL); /* what a number unknown stands for */
    EQ(v->type[5], PITH__NORMAL);
    EQ(v->type[6], PITH__UNUSED);
    EQ(v->type[7], PITH__CONTROL); /* it ends a turn, whatever the file calls it */
    EQ(v->bos, 1);
    EQ(v->eos, 2);
    EQ(v->unk, 0);
    CHECK(v->add_bos && !v->add_eos && v->add_space && v->byte_fallback && !v->ignore_merges);
    REQUIRE(v->n_end == 3);
    CHECK(v->end[0] == 2 && v->end[1] == 7 && v->end[2] == 8);
    CHECK(pith__str_is(v->chat_template, "{{ messages }}"));
    CHECK(pith__str_is(v->tool_template, "{{ tools }}"));
    CHECK(v->added == NULL);

    d = spm_doc();
    key_int(&d, "tokenizer.ggml.add_bos_token", BOOL, 0, 1);
    key_int(&d, "tokenizer.ggml.add_eos_token", BOOL, 1, 1);
    key_int(&d, "tokenizer.ggml.add_space_prefix", BOOL, 0, 1);
    key_int(&d, "tokenizer.ggml.bos_token_id", U32, 4, 4);
    key_int(&d, "tokenizer.ggml.eos_token_id", U32, N_SPM, 4); /* outside: none */
    key_int(&d, "tokenizer.ggml.unknown_token_id", I32, 0xffffffffu, 4);
    key_int(&d, "tokenizer.ggml.eot_token_id", U32, 5, 4);
    REQUIRE(works(read_doc(&d)));
    EQ(v->bos, 4);
    EQ(v->eos, -1);
    EQ(v->unk, -1);
    CHECK(!v->add_bos && v->add_eos && !v->add_space);
    REQUIRE(v->n_end == 3);
    CHECK(v->end[0] == 5 && v->end[1] == 7);
    EQ(v->type[0], PITH__NORMAL);
}

TEST(vocab_normalizer) {
    doc d = spm_doc();
    REQUIRE(works(read_doc(&d)) && !store.vocab.nfc);
    d = spm_doc();
    key_str(&d, "pith.normalizer", "NFC");
    REQUIRE(works(read_doc(&d)) && store.vocab.nfc);
    d = spm_doc();
    key_str(&d, "pith.normalizer", "NFD");
    EQ(read_doc(&d), PITH_EARCH);
    CHECK(strstr(error.text, "pith.normalizer is 'NFD'") != NULL);
}

TEST(vocab_phi3_strips) {
    doc d = spm_doc();
    key_str(&d, "general.architecture", "phi3");
    spm_types(&d, N_SPM);
    REQUIRE(works(read_doc(&d)));
    REQUIRE(store.vocab.added != NULL);
    static const uint8_t want[N_SPM] = { 0, 0, 2, 0, 0, 0, 0, 2, 2 };
    for (int i = 0; i < N_SPM; i++) EQ(store.vocab.added[i], want[i]);
}

static doc bpe_doc(const char *pre, int merges) {
    static const char *const piece[] = { "a", "b", "ab", "\u0120", "\u0120a", "<|end|>" };
    static const char *const merge[] = { "a b", "nothing", "", " ", "\u0120 a", " x y", "z " };
    doc d = new_doc();
    if (merges) key_strs(&d, "tokenizer.ggml.merges", merge, 7);
    if (pre) key_str(&d, "tokenizer.ggml.pre", pre);
    key_str(&d, "tokenizer.ggml.model", "gpt2");
    key_strs(&d, "tokenizer.ggml.tokens", piece, 6);
    return d;
}

/* What llama.cpp takes for said when a file says nothing of BOS and of words that are pieces. */
TEST(habits_of_pretokenizers) {
    static const struct {
        const char *pre;
        int add_bos, ignore_merges;
    } habits[] = { { "llama3", 1, 1 },   { "llama-v3", 1, 1 }, { "llama-bpe", 1, 1 }, { "falcon3", 1, 1 },
                   { "falcon-h1", 1, 1 }, { "pixtral", 1, 1 },  { "midm-2.0", 1, 1 },  { "lfm2", 1, 1 },
                   { "tekken", 1, 1 },   { "youtu", 0, 1 },    { "chameleon", 1, 0 }, { "gpt-2", 0, 0 },
                   { "qwen2", 0, 0 },    { "falcon", 0, 0 },   { "gpt-4o", 0, 0 },    { "deepseek-llm", 0, 0 },
                   { "dbrx", 0, 0 },     { "smollm", 0, 0 },   { "default", 0, 0 } };
    for (size_t i = 0; i < sizeof habits / sizeof *habits; i++) {
        doc d = bpe_doc(habits[i].pre, 1);
        REQUIRE(works(read_doc(&d)));
        if (store.vocab.add_bos != habits[i].add_bos || store.vocab.ignore_merges != habits[i].ignore_merges)
            FAIL("%s: BOS %d, whole words %d", habits[i].pre, store.vocab.add_bos, store.vocab.ignore_merges);
    }
}

TEST(vocab_bpe) {
    const pith__vocab *v = &store.vocab;
    doc d = bpe_doc("qwen2", 1);
    REQUIRE(works(read_doc(&d)));
    EQ(v->model, PITH__BPE);
    EQ(v->spelling, PITH__BYTE_LETTERS);
    EQ(v->n, 6);
    CHECK(pith__str_is(v->pre, "qwen2"));
    REQUIRE(v->n_merge == 3); /* what is no pair is left out */
    CHECK(pith__str_is(v->left[0], "a") && pith__str_is(v->right[0], "b"));
    CHECK(pith__str_is(v->left[1], "\u0120") && pith__str_is(v->right[1], "a"));
    CHECK(pith__str_is(v->left[2], " x") && pith__str_is(v->right[2], "y"));
    CHECK(v->bos == -1 && v->eos == -1 && v->unk == -1);
    CHECK(!v->add_bos && !v->add_eos && !v->add_space && !v->ignore_merges && !v->byte_fallback);
    REQUIRE(v->n_end == 1);
    EQ(v->end[0], 5);

    d = bpe_doc("llama-bpe", 1);
    REQUIRE(works(read_doc(&d)));
    CHECK(v->add_bos && v->ignore_merges);
    d = bpe_doc("tekken", 1);
    key_int(&d, "tokenizer.ggml.add_bos_token", BOOL, 0, 1);
    REQUIRE(works(read_doc(&d)));
    CHECK(!v->add_bos && v->ignore_merges);
    d = bpe_doc(NULL, 1);
    REQUIRE(works(read_doc(&d)));
    CHECK(pith__str_is(v->pre, "default"));
    d = bpe_doc("qwen2", 0);
    CHECK(refused(read_doc(&d), "tokenizer.ggml.merges"));
    d = bpe_doc("qwen2", 0);
    key_array(&d, "tokenizer.ggml.merges", U8, 0);
    CHECK(refused(read_doc(&d), "tokenizer.ggml.merges"));
}

/* Gemma 4: pieces with U+2581 for spaces, merges by rank, bytes for what no piece has. */
TEST(vocab_gemma4) {
    static const char *const piece[] = { "<bos>", "<turn|>", "<0xC3>", "<0xA9>", "\u2581", "a", "b", "ab", "\u2581ab", "\n" },
                      *const merge[] = { "a b", "\u2581 ab" };
    static const pith_token want[] = { 0, 8, 4, 8, 2, 3, 9, 8 };
    const pith__vocab *v = &store.vocab;
    pith_error e = { 0, "" };
    doc d = new_doc();
    key_strs(&d, "tokenizer.ggml.merges", merge, 2);
    key_str(&d, "tokenizer.ggml.model", "gemma4");
    key_strs(&d, "tokenizer.ggml.tokens", piece, 10);
    key_int(&d, "tokenizer.ggml.bos_token_id", U32, 0, 4);
    REQUIRE(works(read_doc(&d)));
    EQ(v->model, PITH__BPE);
    EQ(v->spelling, PITH__METASPACE);
    CHECK(v->add_bos && v->byte_fallback && !v->add_space && !v->split_words);
    REQUIRE(v->n_end == 1 && v->end[0] == 1);
    pith__tokenizer *k = pith__tokenizer_new(v, &e);
    REQUIRE(k);
    pith_token t[16];
    const char text[] = " ab  ab\u00e9\n ab";
    EQ(pith__tokenizer_encode(k, text, strlen(text), PITH_BOS, t, 16), 8);
    CHECK(!memcmp(t, want, sizeof want));
    pith__tokenizer_free(k);
}

/* What a file does not say of BOS and of whole words, the pre-tokenizer's name does: llama.cpp's
 * src/llama-vocab.cpp, read 2026-11. */
TEST(vocab_bpe_habits) {
    static const struct {
        const char *pre;
        int add_bos, ignore_merges;
    } want[] = {
        { "tekken", 1, 1 },   { "pixtral", 1, 1 },   { "llama3", 1, 1 }, { "llama-v3", 1, 1 },
        { "falcon3", 1, 1 },  { "falcon-h1", 1, 1 }, { "lfm2", 1, 1 },   { "midm-2.0", 1, 1 },
        { "youtu", 0, 1 },    { "chameleon", 1, 0 }, { "qwen2", 0, 0 },  { "gpt-2", 0, 0 },
        { "smollm", 0, 0 },   { "default", 0, 0 }
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        doc d = bpe_doc(want[i].pre, 1);
        REQUIRE(works(read_doc(&d)));
        EQ(store.vocab.add_bos, want[i].add_bos);
        EQ(store.vocab.ignore_merges, want[i].ignore_merges);
    }
}

/* BERT's pieces: "play" and "##ing" are U+2581 "play" and "ing" here; [PAD] and the like are what they are. */
static doc words_doc(const char *third) {
    const char *const pieces[] = { "[UNK]", "[CLS]", "[SEP]", third, "ing", "\xe2\x96\x81.", "" };
    doc d = new_doc();
    key_str(&d, "tokenizer.ggml.model", "bert");
    key_strs(&d, "tokenizer.ggml.tokens", pieces, 7);
    return d;
}

static void pair_is(const char *want) { /* an id and its type each; a and b are the texts */
    char got[100] = "";
    for (int i = 0; i < store.vocab.n_pair; i++) {
        int id = store.vocab.pair[i].id;
        sprintf(got + strlen(got), "%c%d", id >= 0 ? '0' + id : id == PITH__FIRST_TEXT ? 'a' : 'b', store.vocab.pair[i].type);
    }
    if (strcmp(got, want)) FAIL("the pair is %s, want %s", got, want);
}

TEST(vocab_words) {
    const pith__vocab *v = &store.vocab;
    doc d = words_doc("\xe2\x96\x81play");
    REQUIRE(works(read_doc(&d)));
    EQ(v->model, PITH__WORDPIECE);
    CHECK(pith__str_is(v->piece[0], "[UNK]") && pith__str_is(v->piece[3], "play") && pith__str_is(v->piece[4], "##ing"));
    CHECK(pith__str_is(v->piece[5], ".") && v->piece[6].n == 0);
    CHECK(v->bos == 1 && v->eos == 2 && v->unk == 0 && v->mask == -1 && v->add_bos && v->add_eos);
    CHECK(v->bert.clean && v->bert.chinese && v->bert.strip && v->bert.lower && v->bert.longest == 100);
    pair_is("10a020b121"); /* [CLS] a [SEP] b [SEP] */
    d = words_doc("\xe2\x96\x81Play");
    key_int(&d, "tokenizer.ggml.cls_token_id", U32, 3, 4);
    key_int(&d, "tokenizer.ggml.seperator_token_id", U32, 4, 4);
    key_int(&d, "tokenizer.ggml.mask_token_id", U32, 5, 4);
    key_int(&d, "tokenizer.ggml.token_type_count", U32, 1, 4);
    key_int(&d, "tokenizer.ggml.add_sep_token", BOOL, 1, 1);
    REQUIRE(works(read_doc(&d)));
    CHECK(v->bert.clean && !v->bert.strip && !v->bert.lower); /* it has a capital */
    CHECK(v->bos == 3 && v->eos == 4 && v->mask == 5);
    pair_is("30a04040b040");
    const char *const none[] = { "\xe2\x96\x81play" };
    d = new_doc();
    key_str(&d, "tokenizer.ggml.model", "bert");
    key_strs(&d, "tokenizer.ggml.tokens", none, 1);
    CHECK(refused(read_doc(&d), "[UNK]"));
}

TEST(vocab_none) {
    static const char *const none[] = { NULL, "none", "no_vocab" };
    for (int i = 0; i < 3; i++) {
        doc d = new_doc();
        if (none[i]) key_str(&d, "tokenizer.ggml.model", none[i]);
        REQUIRE(works(read_doc(&d)));
        EQ(store.vocab.model, PITH__NONE);
        EQ(store.vocab.n, 0);
        EQ(store.vocab.bos, -1);
    }
    doc d = new_doc();
    key_str(&d, "tokenizer.ggml.model", "rwkv");
    EQ(read_doc(&d), PITH_EARCH);
    CHECK(strstr(error.text, "'rwkv'") != NULL);
}

TEST(vocab_errors) {
    static const struct {
        const char *name;
        uint32_t type;
    } wrong[] = {
        { "tokenizer.chat_template", U32 },        { "tokenizer.ggml.bos_token_id", F32 },
        { "tokenizer.chat_template.tool_use", F32 },
        { "tokenizer.ggml.eos_token_id", BOOL },   { "tokenizer.ggml.unknown_token_id", STR },
        { "tokenizer.ggml.eot_token_id", F64 },    { "tokenizer.ggml.add_bos_token", U8 },
        { "tokenizer.ggml.add_eos_token", STR },   { "tokenizer.ggml.add_space_prefix", U32 },
        { "tokenizer.ggml.scores", F32 },          { "tokenizer.ggml.token_type", I32 },
        { "pith.normalizer", BOOL }
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        doc d = spm_doc();
        key_int(&d, wrong[i].name, wrong[i].type, 0, 8);
        bytes *b = &d.key; /* the value has 8 bytes: take back what the type does not */
        static const int size[] = { 1, 1, 2, 2, 4, 4, 4, 1, 8, 0, 8, 8, 8 };
        b->n -= 8 - (size_t)size[wrong[i].type];
        if (!refused(read_doc(&d), wrong[i].name)) FAIL("case %zu", i);
    }
    doc d = spm_doc();
    spm_scores(&d, N_SPM - 1);
    CHECK(refused(read_doc(&d), "tokenizer.ggml.scores"));
    d = spm_doc();
    spm_types(&d, N_SPM - 1);
    CHECK(refused(read_doc(&d), "tokenizer.ggml.token_type"));
    d = spm_doc();
    for (int i = 0, n = (key_array(&d, "tokenizer.ggml.scores", I32, N_SPM), N_SPM); i < n; i++)
        put_int(&d.key, 0, 4);
    CHECK(refused(read_doc(&d), "tokenizer.ggml.scores"));
    static const char *const model[] = { "llama", "gpt2" };
    for (int i = 0; i < 2; i++) {
        d = new_doc();
        key_str(&d, "tokenizer.ggml.model", model[i]);
        CHECK(refused(read_doc(&d), "tokenizer.ggml.tokens"));
        d = new_doc();
        key_str(&d, "tokenizer.ggml.model", model[i]);
        key_array(&d, "tokenizer.ggml.tokens", STR, 0);
        CHECK(refused(read_doc(&d), "tokenizer.ggml.tokens"));
        d = new_doc();
        key_str(&d, "tokenizer.ggml.model", model[i]);
        put_int(key_array(&d, "tokenizer.ggml.tokens", U32, 1), 0, 4);
        CHECK(refused(read_doc(&d), "tokenizer.ggml.tokens"));
    }
    d = new_doc();
    key_int(&d, "tokenizer.ggml.model", U8, 1, 1);
    CHECK(refused(read_doc(&d), "tokenizer.ggml.model"));
}

TEST(many_ends) { /* more tokens that end a text than there is room for */
    const char *piece[40];
    for (int i = 0; i < 40; i++) piece[i] = i % 2 ? "<EOT>" : "<|im_end|>";
    doc d = new_doc();
    key_str(&d, "tokenizer.ggml.model", "llama");
    key_strs(&d, "tokenizer.ggml.tokens", piece, 40);
    REQUIRE(works(read_doc(&d)));
    EQ(store.vocab.n_end, 16);
}

/* gpt-oss: of one alone "<|end|>" is an end; where there are the others, it ends what the model thinks. */
TEST(ends_of_messages) {
    static const char *const piece[] = { "a", "<|end|>", "<|return|>", "<|call|>", "b" };
    const pith__vocab *v = &store.vocab;
    for (size_t n = 2; n <= 5; n++) {
        doc d = new_doc();
        key_str(&d, "tokenizer.ggml.model", "llama");
        key_strs(&d, "tokenizer.ggml.tokens", piece, n);
        key_int(&d, "tokenizer.ggml.eos_token_id", U32, n < 3 ? 1 : 2, 4);
        REQUIRE(works(read_doc(&d)));
        int seen = 0;
        for (int i = 0; i < v->n_end; i++) seen |= 1 << v->end[i];
        EQ(seen, n == 2 ? 1 << 1 : n == 3 ? 1 << 1 | 1 << 2 : 1 << 2 | 1 << 3);
    }
}

int main(void) {
    RUN(vocab_spm);
    RUN(vocab_normalizer);
    RUN(vocab_phi3_strips);
    RUN(habits_of_pretokenizers);
    RUN(vocab_bpe);
    RUN(vocab_gemma4);
    RUN(vocab_bpe_habits);
    RUN(vocab_words);
    RUN(vocab_none);
    RUN(vocab_errors);
    RUN(many_ends);
    RUN(ends_of_messages);
    close_store();
    return DONE();
}
