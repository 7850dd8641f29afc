/* fuzz_session.c - any bytes as the file of a text: loaded into a session as they are, and with the size and the hash
 * that they should have. What is refused changes nothing; what is loaded goes on. */
#define _XOPEN_SOURCE 700 /* mkstemp */
#include "../internal.h"
#include "fixture.c"

#include <unistd.h>

enum { SIZE = 16, N_CTX = 40 }; /* where keep.c's head has them */

static pith_model *open_tiny(void) {
    static const pith_options one_thread = { .n_threads = 1 };
    bytes b = fixture_llama2c(&fixture_tiny, 0, 1); /* as long as the program */
    return pith_open_memory(b.p, b.n, &one_thread, NULL);
}

static void check(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "%s\n", what);
    abort();
}

/* The session has two tokens of its own. 1: it has the file's text now. */
static int load(pith_session *s, const bytes *file, const char *path) {
    static const pith_token own[] = { 1, 2 };
    check(pith_sync(s, own, 2, NULL) == PITH_OK, "a session that does not work");
    float logit = pith_logits(s)[7];
    check(save(file, path) == 0, "no room for a file");
    pith_error e;
    int code = pith_session_load(s, path, &e);
    check(code == PITH_OK || (pith_position(s) == 2 && !memcmp(s->tokens, own, sizeof own)), "another text");
    check(code == PITH_OK || !memcmp(pith_logits(s) + 7, &logit, sizeof logit), "other logits"); /* NaN, where a text had it */
    return code == PITH_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static pith_model *m;
    static pith_session *s;
    static char path[] = "/tmp/pith_fuzz_XXXXXX";
    if (!m) {
        pith_context c = { .n_ctx = N_CTX };
        m = open_tiny();
        s = pith_session_new(m, &c, NULL);
        close(mkstemp(path));
    }
    bytes file = { NULL, 0, 0 };
    put(&file, data, size);
    load(s, &file, path);
    if (size >= 112) {
        uint64_t whole = size, hash;
        memcpy(file.p + SIZE, &whole, sizeof whole);
        hash = size - 8 <= 1 << 16 ? pith__hash(0, file.p, size - 8) : 0; /* what is larger is refused */
        memcpy(file.p + size - 8, &hash, sizeof hash);
        if (load(s, &file, path)) {
            check(pith_position(s) <= N_CTX, "a text that is too long");
            pith_rewind(s, pith_position(s) - 3);
            for (pith_token t = 0; t < 3 && pith_position(s) < N_CTX; t++) pith_eval(s, &t, 1, NULL);
        }
    }
    free(file.p);
    unlink(path);
    return 0;
}
