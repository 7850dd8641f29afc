/* fuzz_messages.c - any bytes as the messages of a conversation, and what stands behind a NUL as further variables,
 * through templates that know texts, parts, or anything.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz_messages.c build/libpith.a -lm
 * or with tests/fuzz_main.c and any compiler, then run on the files of a corpus. */
#include "../internal.h"

#include <stdlib.h>
#include <string.h>

static const char *const templates[] = {
    "{% for m in messages %}<{{ m.role + '>' + m.content }}{% generation %}{{ m.reasoning_content }}{% endgeneration %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}",
    "{% for m in messages %}{% for p in m.content %}{% if p.type == 'text' %}{{ p.text|trim }}{% endif %}{% endfor %}"
    "{% for c in m.tool_calls %}{{ c.function.name }}{{ c.function.arguments|tojson }}{% endfor %}{% endfor %}",
    "{{ messages|tojson(indent=1) }}{{ messages }}{{ tools }}{{ documents }}{{ enable_thinking }}{{ bos_token }}",
};

static void render(const pith_template *t, pith_conversation c) {
    pith_error e = { 0, "" };
    pith_rendering r;
    int code = pith_render(t, &c, &r, &e);
    if (code != e.code || (code != 0) != (r.text == NULL) || (code && !e.text[0])) abort();
    for (size_t i = 0; i < r.n; i++)
        if (r.from[i] > 15) abort();
    pith_rendering_free(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 2);
    if (!text) return 0;
    if (size) memcpy(text, data, size);
    text[size] = text[size + 1] = 0;
    const char *behind = text + strlen(text) + 1, *variables = behind < text + size ? behind : NULL;
    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++) {
        pith_template *t = pith_template_new(NULL, templates[i], strlen(templates[i]), "fuzz", NULL);
        if (!t) abort();
        render(t, (pith_conversation){ .messages = text, .variables = variables, .bos = "<s>" });
        render(t, (pith_conversation){ .messages = text, .variables = variables, .go_on = 1 });
        pith_template_free(t);
    }
    free(text);
    return 0;
}
