/* fuzz_rows.c - any bytes as a file of rows to learn from: refused with an error of one line that names the file, or
 * examples that hold what training relies on.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz_rows.c build/libpith.a -lm
 * or with tests/fuzz_main.c and any compiler, then run on the files of a corpus. */
#define _XOPEN_SOURCE 700
#include "made_rows.h"

static const char marked[] = "{% for m in messages %}{{ m.role }}:{% if m.role == 'assistant' %}{% generation %}{{ m.content|trim }}<|im_end|>"
                             "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{{ m.tool_calls }}{% endfor %}";

static void check(const pith__examples *x, int most) {
    if (!x->n_train || x->longest > most) abort();
    for (size_t i = 0; i < x->n_train + x->n_eval; i++) {
        pith__example e = pith__examples_get(x, i);
        int n = 0;
        if (e.n < 2 || e.n > most || e.counts[0]) abort();
        for (int k = 0; k < e.n; n += e.counts[k++])
            if (e.t[k] < 0 || e.t[k] >= N_PIECE || e.counts[k] > 1) abort();
        if (!n) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static pith_model *m;
    (void)t_skip, (void)t_no, (void)t_failed, (void)t_skipped; /* of test.h */
    static pith_template *form[3]; /* the last: none */
    if (!m) {
        if (!mkdtemp(folder)) exit(99);
        atexit(remove_folder);
        make_vocab();
        rows_vocab.nfc = 1, rows_vocab.add_space = PITH__SPACE_ALWAYS;
        m = rows_model(chatml);
        form[0] = pith_template_new(m, NULL, 0, NULL, NULL);
        form[1] = pith_template_new(m, marked, sizeof marked - 1, NULL, NULL);
    }
    const char *path = in_folder("rows.jsonl");
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f)) exit(99);
    for (int i = 0; i < 6; i++) {
        const pith__examples_plan plan = { .train = { &path, 1 }, .form = form[i % 3], .pairs = i > 2, .hold_out = 0.3,
                                           .max_length = i % 3 ? 40 : 1000, .keep_end = i % 3 == 1, .parse_special = i % 3 == 2 };
        pith__examples x;
        pith_error e = { 0, "" };
        int code = pith__examples_open(&x, m, &plan, NULL, &e);
        if (code ? code != e.code || !strstr(e.text, path) || x.token : 0) abort();
        if (!code) check(&x, plan.max_length);
        pith__examples_close(&x);
    }
    return 0;
}
