/* fuzz_json.c - any bytes as JSON: what was found sound is walked to its end, every value in every way.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz_json.c base/bytes.c base/os.c base/arena.c base/utf8.c base/json.c -lm
 * or with tests/fuzz_main.c and any compiler, then run on the files of a corpus. */
#include "../internal.h"

#include <stdlib.h>
#include <string.h>

static volatile unsigned fuzz_sum;

static void walk(pith__json j, pith__arena *a) {
    pith__json it = j, key, value;
    pith__str s;
    int64_t i;
    double f;
    char type = pith__json_type(j);
    if (!strchr("{[\"0tfn", type) || !type) abort();
    int code = pith__json_string(j, a, &s);
    if ((code == PITH_OK) != (type == '"')) abort();
    for (size_t k = 0; !code && k < s.n; k++) fuzz_sum += (unsigned char)s.p[k];
    if (pith__json_int(j, &i) && type != '0') abort();
    if (pith__json_float(j, &f) && (type != '0' || !(f - f == 0))) abort();
    if (pith__json_is(j, "a") && type != '"') abort();
    size_t n = 0;
    if (type == '{') {
        while (pith__json_next(&it, &key, &value)) walk(key, a), walk(value, a);
        pith__json_get(j, "name");
    } else if (type == '[') {
        for (; pith__json_next(&it, NULL, &value); n++) walk(value, a);
        if (n != pith__json_count(j)) abort();
    } else if (pith__json_next(&it, NULL, &value)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    pith__json j;
    pith__arena a = { 0 };
    pith_error e = { 0, "" };
    int code = pith__json_read(&j, data, size, "fuzz", &e);
    if (code ? code != e.code || !e.text[0] : 0) abort();
    if (!code) walk(j, &a);
    pith__arena_free(&a);
    return 0;
}
