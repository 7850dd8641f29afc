/* fuzz_hftokenizer.c - any bytes as tokenizer.json: what is taken must make a tokenizer that works.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz_hftokenizer.c base/bytes.c base/os.c base/arena.c
 *         base/utf8.c base/json.c math/quant.c formats/store.c formats/spelling.c formats/hfconfig.c formats/hftokenizer.c
 *         text/unicode.c text/added.c text/pretokenize.c tokenizer.c -lm
 * or with tests/fuzz_main.c and any compiler, then run on the files of a corpus. */
#include "../internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char text[] = "Hello <s> world's 123\n\t  caf\xc3\xa9 \xe2\x96\x81 \xff";
    pith__store s;
    pith_error e = { 0, "" };
    pith__folder f = { .s = &s, .err = &e, .n_vocab = 300 };
    pith__json j;
    memset(&s, 0, sizeof s);
    s.path = "fuzz";
    int code = pith__json_read(&j, data, size, "fuzz", &e);
    if (!code) code = pith__hf_vocab(&f, j, "fuzz");
    if (code && (code != e.code || !e.text[0])) abort();
    pith__tokenizer *k = code ? NULL : pith__tokenizer_new(&s.vocab, &e);
    if (!code && !k && !e.text[0]) abort();
    if (k) {
        pith_token t[200];
        int n = pith__tokenizer_encode(k, text, sizeof text - 1, PITH_BOS | PITH_EOS | PITH_SPECIAL,
                                       t, 200);
        for (int i = 0; i < n && i < 200; i++) {
            if (t[i] < 0 || t[i] >= s.vocab.n) abort();
            if (!pith__tokenizer_piece(k, t[i]).p) abort();
        }
    }
    pith__framed framed = { 0 };
    const pith__to_frame pair = { .first = { text, sizeof text - 1 }, .second = { text, 9 }, .flags = PITH_SPECIAL, .limit = 20 };
    if (k && !pith__frame(k, &pair, &framed))
        for (int i = 0; i < framed.n; i++)
            if (framed.token[i] < 0 || framed.token[i] >= s.vocab.n) abort();
    pith__framed_free(&framed);
    pith__tokenizer_free(k);
    pith__store_free(&s);
    return 0;
}
