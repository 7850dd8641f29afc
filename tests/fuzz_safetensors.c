/* fuzz_safetensors.c - any bytes as a .safetensors file: every tensor that was promised is read.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz_safetensors.c base/bytes.c base/os.c base/arena.c
 *         base/utf8.c base/json.c math/quant.c formats/store.c formats/hfconfig.c formats/hftokenizer.c
 *         formats/safetensors.c -lm
 * or with tests/fuzz_main.c and any compiler, then run on the files of a corpus. */
#include "../internal.h"

#include <stdlib.h>
#include <string.h>

static volatile unsigned fuzz_sum;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    pith__store s;
    pith__file file = { .data = data, .size = size, .mapped = -1 };
    pith_error e = { 0, "" };
    memset(&s, 0, sizeof s);
    s.path = "fuzz.safetensors";
    int code = size ? pith__safetensors_read(&s, &file, s.path, &e) : PITH_EFORMAT;
    if (code && size && (code != e.code || !e.text[0])) abort();
    size_t total = 0;
    for (size_t i = 0; i < s.n_tensor && !code; i++) {
        const pith__tensor *t = &s.tensor[i];
        for (size_t k = 0; k < t->rows * t->row_bytes; k++) fuzz_sum += t->data[k];
        for (size_t k = 0; k < t->name.n; k++) fuzz_sum += (unsigned char)t->name.p[k];
        total += t->rows * t->row_bytes;
    }
    if (total > size) abort(); /* they do not overlap */
    pith__store_free(&s);
    return 0;
}
