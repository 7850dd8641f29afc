/* fuzz_jinja.c - any bytes as a template: it is refused with an error of one line, or runs within its limits.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz_jinja.c base/bytes.c base/os.c base/arena.c base/utf8.c
 *         base/json.c text/unicode.c text/casing.c text/jinja*.c text/messages.c -lm
 * or with tests/fuzz_main.c and any compiler, then run on the files of a corpus. */
#include "../text/jinja.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char conversation[] =
        "{\"messages\":[{\"role\":\"system\",\"content\":\" Be <b>kind</b>. \"},"
        "{\"role\":\"user\",\"content\":\"H\\u00ef \xed\x95\x9c\"},"
        "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"Yo\"}],\"reasoning\":\"hm\"}],"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"n\":1.5,\"o\":null,\"p\":[true,-7]}}],"
        "\"special\":{\"bos_token\":\"<s>\"}}";
    static const pith_time now = { 2024, 2, 29, 23, 59, 59 };
    pith_error e = { 0, "" };
    pith__json j;
    if (pith__json_read(&j, conversation, sizeof conversation - 1, "conversation", &e)) abort();
    pith__jinja *t = pith__jinja_new((const char *)data, size, "fuzz", &e);
    if (!t && (!e.code || !e.text[0])) abort();
    for (int go_on = 0; t && go_on < 2; go_on++) {
        pith__conversation c = { .messages = pith__json_get(j, "messages"), .tools = pith__json_get(j, "tools"),
                                 .special = pith__json_get(j, "special"), .ask = !go_on, .go_on = go_on, .now = &now };
        pith__rendered out;
        e = (pith_error){ 0, "" };
        int code = pith__conversation_render(t, &c, &out, &e);
        if (code != e.code || (code != 0) != (out.text == NULL) || (code && !e.text[0])) abort();
        for (size_t i = 0; i < out.n; i++)
            if (out.mark[i] > 15) abort();
        pith__rendered_free(&out);
    }
    pith__jinja_free(t);
    return 0;
}
