/* kept.c - --prompt-cache: a text and what was computed of it, in a file from one run to the next. */
#include "tools.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Of what the library says here, all is about the file, but for a lack of memory. */
static int refuse(const pith_error *e) {
    int full = e->code == PITH_EFULL;
    return complain(e->code == PITH_EMEMORY ? FAILED : BAD_DATA, "%s%s", e->text, full ? " (-c)" : "");
}

int kept_check(const kept_text *k, const char *text) {
    if (!k->path) return k->read_only ? complain(USAGE, "--prompt-cache-ro needs --prompt-cache FILE") : 0;
    if (!*k->path) return complain(USAGE, "--prompt-cache is empty, need the name of a file");
    if (text && (!strcmp(text, k->path) || same_file(text, k->path)))
        return complain(USAGE, "%s: is for the text (-o) and for --prompt-cache", text);
    return 0;
}

int kept_find(kept_text *k, int *n_token) {
    pith_error e = { 0, "" };
    *n_token = 0;
    if (!k->path || (!k->read_only && access(k->path, F_OK) != 0 && errno == ENOENT)) return 0;
    *n_token = pith_saved_tokens(k->path, &e);
    k->found = *n_token >= 0;
    return k->found ? 0 : refuse(&e);
}

int kept_load(const kept_text *k, pith_session *s) {
    pith_error e = { 0, "" };
    return !k->found || pith_session_load(s, k->path, &e) == PITH_OK ? 0 : refuse(&e);
}

void kept_say(const kept_text *k, int quiet, int reused, int n) {
    if (k->found && !quiet) fprintf(stderr, "prompt cache: %d of %d tokens\n", reused, n);
}

int kept_save(const kept_text *k, const pith_session *s) {
    pith_error e = { 0, "" };
    if (!k->path || k->read_only || pith_position(s) == 0) return 0;
    return pith_session_save(s, k->path, &e) == PITH_OK ? 0 : complain(FAILED, "%s", e.text);
}
