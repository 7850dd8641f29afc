/* output.c - the result of a command, on standard output or in a file: whole UTF-8 characters only. */
#define _XOPEN_SOURCE 700
#include "verbs.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- output ---------------------------------------------------------------------------------- */

static void output_failed(output *o) {
    if (o->code) return;
    int quiet = errno == EPIPE || (errno == EINTR && stopped());
    const char *name = o->path ? o->path : "standard output";
    o->code = quiet ? GO_ON : complain(FAILED, "%s: %s", name, strerror(errno));
}

int same_file(const char *a, const char *b) {
    struct stat x, y;
    return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

int output_open(output *o, const char *path, const model_choice *not_this) {
    memset(o, 0, sizeof *o);
    o->file = stdout;
    if (!path || !strcmp(path, "-")) return 0;
    const char *tokenizer = not_this ? not_this->options.tokenizer : NULL;
    const char *model = not_this ? not_this->path : NULL; /* NULL: the one that is built in */
    if ((model && same_file(path, model)) || (tokenizer && same_file(path, tokenizer)))
        return complain(USAGE, "%s: is the model itself, need another file to write to", path);
    for (int i = 0; not_this && i < not_this->context.n_adapter; i++)
        if (same_file(path, not_this->adapter[i]->store.path))
            return complain(USAGE, "%s: is the adapter itself, need another file to write to", path);
    pith_error e = { 0, "" };
    o->written = malloc(sizeof *o->written);
    int code = o->written ? pith__writer_open(o->written, path, &e) : pith__fail(&e, PITH_EMEMORY, "%s: no memory", path);
    if (code) return free(o->written), o->written = NULL, complain(FAILED, "%s", e.text);
    o->file = o->written->file;
    o->path = o->written->path;
    return 0;
}

int output_memory(output *o, char **p, size_t *n) {
    memset(o, 0, sizeof *o);
    o->file = open_memstream(p, n);
    return !o->file;
}

void output_bytes(output *o, const void *p, size_t n) {
    if (!o->code && n && fwrite(p, 1, n, o->file) != n) output_failed(o);
}

void output_flush(output *o) {
    if (!o->code && fflush(o->file) != 0) output_failed(o);
}

void output_line(output *o, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    if (!o->code && vfprintf(o->file, fmt, args) < 0) output_failed(o);
    va_end(args);
}

int output_close(output *o, int keep) {
    if (o->n_tail) { /* An incomplete character at the end becomes U+FFFD. */
        o->n_tail = 0;
        output_bytes(o, "\xef\xbf\xbd", 3);
    }
    output_flush(o);
    if (o->written) {
        pith_error e = { 0, "" };
        if (!keep || o->code) pith__writer_drop(o->written);
        else if (pith__writer_commit(o->written, &e)) o->code = complain(FAILED, "%s", e.text);
        free(o->written);
        o->written = NULL;
        o->path = NULL;
    }
    return o->code > 0 ? o->code : 0;
}

/* ---- characters ------------------------------------------------------------------------------ */

/* Puts the characters of p, U+FFFD for what cannot be one. Returns how many bytes are left because
 * they may still become one. */
static size_t each_character(output *o, const unsigned char *p, size_t n,
                             void (*put)(output *o, const unsigned char *c, size_t n)) {
    for (int k; n && (k = pith__utf8_length(p, n)) != 0; p += k, n -= (size_t)k) {
        if (k > 0) {
            put(o, p, (size_t)k);
        } else {
            put(o, (const unsigned char *)"\xef\xbf\xbd", 3);
            k = -k;
        }
    }
    return n;
}

static void put_plain(output *o, const unsigned char *c, size_t n) { output_bytes(o, c, n); }

static void put_json(output *o, const unsigned char *c, size_t n) {
    static const char named[] = "\"\\\n\r\t\b\f", names[] = "\"\\nrtbf";
    const char *at = n == 1 && *c ? strchr(named, *c) : NULL;
    if (at) output_line(o, "\\%c", names[at - named]);
    else if (n == 1 && (*c < 0x20 || *c == 0x7f)) output_line(o, "\\u%04x", *c);
    else output_bytes(o, c, n);
}

void output_text(output *o, const char *text, size_t n) {
    const unsigned char *p = (const unsigned char *)text;
    while (o->n_tail && n) { /* the character that was begun, byte by byte */
        o->tail[o->n_tail++] = *p++, n--;
        int left = (int)each_character(o, o->tail, (size_t)o->n_tail, put_plain);
        memmove(o->tail, o->tail + o->n_tail - left, (size_t)left);
        o->n_tail = left;
    }
    size_t left = each_character(o, p, n, put_plain);
    if (left) memcpy(o->tail, p + n - left, left), o->n_tail = (int)left;
}

void output_json(output *o, const char *p, size_t n) {
    output_bytes(o, "\"", 1);
    size_t left = each_character(o, (const unsigned char *)p, n, put_json);
    if (left) output_bytes(o, "\xef\xbf\xbd", 3);
    output_bytes(o, "\"", 1);
}
