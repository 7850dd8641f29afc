/* fuzz_llama2c.c - any bytes as a llama2.c checkpoint: opened, described, and if it opens, run a little. */
#include "../internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    pith_options opt = { 0 };
    opt.n_threads = 1;
    pith_model *m = pith_open_memory(data, size, &opt, NULL);
    pith_context c = { .n_ctx = 8, .n_batch = 4 };
    pith_session *s = m && pith_model_shape(m)->n_vocab < 100000 ? pith_session_new(m, &c, NULL) : NULL;
    pith_token t[3] = { 0, 1, 0 };
    if (s) pith_eval(s, t, 3, NULL);
    pith_session_free(s);
    pith_close(m);
    return 0;
}
