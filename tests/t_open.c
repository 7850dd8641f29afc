/* t_open.c - what pith_open keeps of what it was given, and what it refuses before a file is read. */
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

static const char tensors[] =
    "token_embd.weight 6 8;output_norm.weight 8;blk.0.attn_norm.weight 8;blk.0.attn_q.weight 8 8;"
    "blk.0.attn_k.weight 8 8;blk.0.attn_v.weight 8 8;blk.0.attn_output.weight 8 8;blk.0.ffn_norm.weight 8;"
    "blk.0.ffn_gate.weight 12 8;blk.0.ffn_up.weight 12 8;blk.0.ffn_down.weight 8 12";
#define SHAPE "general.architecture llama;llama.block_count 1;llama.embedding_length 8;llama.context_length 32;" \
    "llama.feed_forward_length 12;llama.attention.head_count 1;llama.attention.layer_norm_rms_epsilon 1e-5;"
static const char bpe[] = SHAPE "tokenizer.ggml.model gpt2;tokenizer.ggml.pre default;"
    "tokenizer.ggml.tokens ['a','1','11','<|im_start|>','<|im_end|>','b'];tokenizer.ggml.token_type [1,1,1,3,3,1];"
    "tokenizer.ggml.merges ['1 1']";
static const char spm[] = SHAPE "tokenizer.ggml.model llama;tokenizer.ggml.tokens ['<unk>','<s>','</s>','a','b','c'];"
    "tokenizer.ggml.scores [0.0,0.0,0.0,0.0,0.0,0.0];tokenizer.ggml.token_type [2,3,3,1,1,1]";

static pith_error last;

static pith_model *open_gguf(const char *keys, const pith_options *opt) {
    static bytes b; /* of the last model, which lies in it */
    free(b.p);
    b = fixture_gguf(keys, tensors, 1);
    memset(&last, 0, sizeof last);
    return pith_open_memory(b.p, b.n, opt, &last);
}

TEST(what_it_keeps_is_its_own) {
    char path[] = "/tmp/t_open_XXXXXX", pre[] = "qwen2", form[] = "chatml";
    bytes b = fixture_gguf(bpe, tensors, 1);
    close(mkstemp(path));
    REQUIRE(save(&b, path) == 0);
    free(b.p);
    pith_options opt = { .pretokenizer = pre, .chat_template = form };
    pith_model *m = pith_open(path, &opt, &last);
    unlink(path);
    memset(path, 'X', strlen(path));
    memset(pre, 'X', strlen(pre));
    memset(form, 'X', strlen(form));
    if (!m) FAIL("%s", last.text);
    REQUIRE(m);
    CHECK(strstr(m->store.path, "/tmp/t_open_") == m->store.path);
    CHECK(pith__str_is(m->store.vocab.pre, "qwen2"));
    pith_token t[64];
    EQ(pith_encode(m, "11", 2, 0, t, 64), 2); /* as qwen2: digit by digit */
    pith_turn turn = { .role = "user", .text = "a" };
    CHECK(pith_encode_chat(m, &turn, 1, t, 64, NULL) > 0);
    EQ(t[0], 3);
    pith_close(m);
    m = open_gguf(bpe, NULL);
    REQUIRE(m);
    EQ(pith_encode(m, "11", 2, 0, t, 64), 1); /* what the file says */
    pith_close(m);
}

static void refuses(const char *keys, const pith_options *opt, const char *a, const char *b) {
    pith_model *m = open_gguf(keys, opt);
    CHECK(m == NULL);
    EQ(last.code, PITH_EARG);
    if (!strstr(last.text, a) || !strstr(last.text, b) || strstr(last.text, "..."))
        FAIL("\"%s\" lacks \"%s\" or \"%s\"", last.text, a, b);
    pith_close(m);
}

TEST(names_that_stand_for_nothing_list_those_that_do) {
    const pith__kernels *fastest = pith__x86(NULL) ? pith__x86(NULL) : pith__arm(NULL);
    refuses(bpe, &(pith_options){ .kernels = "sing" }, "no kernels 'sing'", fastest ? fastest->name : "portable");
    refuses(bpe, &(pith_options){ .kernels = "" }, "''", "portable");
    refuses(bpe, &(pith_options){ .pretokenizer = "sing" }, "no pre-tokenizer 'sing'", "qwen2");
    refuses(spm, &(pith_options){ .pretokenizer = "sing" }, "no pre-tokenizer 'sing'", "deepseek-v3");
    refuses(bpe, &(pith_options){ .chat_template = "sing" }, "no chat template 'sing'", "chatml");
    for (int i = 0; pith__splitter_name(i).n; i++) {
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)pith__splitter_name(i).n, pith__splitter_name(i).p);
        pith_model *m = open_gguf(bpe, &(pith_options){ .pretokenizer = name });
        if (!m) FAIL("%s", last.text);
        pith_close(m);
        refuses(bpe, &(pith_options){ .pretokenizer = "?" }, "'?'", name);
    }
    for (int i = 0; pith__chat_name(i).n; i++)
        refuses(bpe, &(pith_options){ .chat_template = "?" }, "'?'", pith__chat_name(i).p);
}

TEST(options_of_no_use_are_refused) {
    refuses(bpe, &(pith_options){ .tokenizer = "nosuch.bin" }, "nosuch.bin", "own vocabulary");
    refuses(spm, &(pith_options){ .pretokenizer = "qwen2" }, "qwen2", "not byte-level BPE");
}

TEST(arguments_that_are_not_there_are_refused) {
    CHECK(!pith_open(NULL, NULL, &last));
    EQ(last.code, PITH_EARG);
    CHECK(strstr(last.text, "path"));
    CHECK(!pith_open(NULL, NULL, NULL));
    CHECK(!pith_open_memory(NULL, 8, NULL, &last));
    EQ(last.code, PITH_EARG);
    CHECK(strstr(last.text, "data"));
    CHECK(!pith_open_memory(NULL, 0, NULL, &last)); /* no bytes are a file that is too short */
    EQ(last.code, PITH_EFORMAT);
    refuses(bpe, &(pith_options){ .n_threads = -1 }, "n_threads is -1", "0 or more");
}

TEST(the_version_is_the_headers) { CHECK(!strcmp(pith_version(), PITH_VERSION)); }

int main(void) {
    RUN(what_it_keeps_is_its_own);
    RUN(names_that_stand_for_nothing_list_those_that_do);
    RUN(options_of_no_use_are_refused);
    RUN(arguments_that_are_not_there_are_refused);
    RUN(the_version_is_the_headers);
    return DONE();
}
