/* jsonl.c - a text line by line, in memory for one of them: a JSONL file may be of any length. */
#define _XOPEN_SOURCE 700
#include "verbs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LONGEST_LINE = 1 << 26 }; /* bytes */

int lines_open(line_reader *l, const char *path) {
    struct stat st;
    int from_stdin = !strcmp(path, "-");
    memset(l, 0, sizeof *l);
    l->name = from_stdin ? "standard input" : path;
    l->file = from_stdin ? stdin : fopen(path, "rb");
    if (!l->file) return complain(BAD_DATA, "%s: %s", path, strerror(errno));
    if (!fstat(fileno(l->file), &st) && S_ISREG(st.st_mode)) l->all = (size_t)st.st_size;
    return 0;
}

int lines_of_text(line_reader *l, const char *name, char *text, size_t n) {
    memset(l, 0, sizeof *l);
    l->name = name;
    l->all = n;
    l->file = n ? fmemopen(text, n, "rb") : fopen("/dev/null", "rb");
    return l->file ? 0 : complain(FAILED, "%s: no memory to read it", name);
}

int line_field(const char *name, size_t number, pith__str line, const char *field, pith__arena *a, pith__str *text) {
    char where[300];
    pith__json j;
    pith_error e = { 0, "" };
    snprintf(where, sizeof where, "%.240s: line %zu", name, number);
    if (pith__json_read(&j, line.p, line.n, where, &e)) return complain(BAD_DATA, "%s", e.text);
    j = pith__json_get(j, field);
    if (pith__json_type(j) != '"') return complain(BAD_DATA, "%s: has no text '%s'", where, field);
    return pith__json_string(j, a, text) ? complain(FAILED, "%s: no memory", where) : 0;
}

void lines_close(line_reader *l) {
    if (l->file && l->file != stdin) fclose(l->file);
    free(l->p);
    memset(l, 0, sizeof *l);
}

static int add_byte(line_reader *l, int c) {
    if (l->n == LONGEST_LINE) return l->too_long = 1, 1;
    if (l->n + 1 >= l->room) { /* and the NUL */
        size_t room = l->room ? 2 * l->room : 256;
        char *more = realloc(l->p, room);
        if (!more) return 0;
        l->p = more, l->room = room;
    }
    l->p[l->n++] = (char)c;
    l->p[l->n] = 0;
    return 1;
}

static int is_blank(const line_reader *l) {
    size_t i = 0;
    while (i < l->n && (l->p[i] == ' ' || (l->p[i] >= '\t' && l->p[i] <= '\r'))) i++;
    return i == l->n;
}

/* What a file begins with, and how a line of Windows ends, are no part of the line. */
static int clean_line(line_reader *l) {
    if (l->n && l->p[l->n - 1] == '\r') l->p[--l->n] = 0;
    if (l->number != 1 || l->n < 2) return 0;
    if (!memcmp(l->p, "\xff\xfe", 2) || !memcmp(l->p, "\xfe\xff", 2))
        return complain(BAD_DATA, "%s: is UTF-16, need UTF-8", l->name);
    if (l->n >= 3 && !memcmp(l->p, "\xef\xbb\xbf", 3)) {
        l->n -= 3;
        memmove(l->p, l->p + 3, l->n + 1);
    }
    return 0;
}

int lines_next(line_reader *l) {
    do {
        int c = getc(l->file), code;
        l->n = 0;
        l->too_long = 0;
        if (c != EOF) l->number++;
        else if (stopped()) return stopped();
        else if (ferror(l->file)) return complain(BAD_DATA, "%s: %s", l->name, strerror(errno));
        else return 0;
        for (; c != EOF && c != '\n'; c = getc(l->file), l->done++)
            if (!add_byte(l, c)) return complain(FAILED, "%s: no memory for line %zu", l->name, l->number);
        if (stopped()) return stopped();
        l->done += c == '\n';
        if ((code = clean_line(l))) return code;
    } while (!l->keep_blank && is_blank(l));
    return GO_ON;
}

/* ---- names ----------------------------------------------------------------------------------- */

static int grow_names(name_set *s) {
    name_set more = { NULL, 0, s->room ? 2 * s->room : 1024 };
    more.at = calloc(more.room, sizeof *more.at);
    if (!more.at) return 0;
    for (size_t i = 0; i < s->room; i++) {
        if (!s->at[i]) continue;
        size_t j = s->at[i] % more.room;
        while (more.at[j]) j = (j + 1) % more.room;
        more.at[j] = s->at[i];
        more.n++;
    }
    free(s->at);
    *s = more;
    return 1;
}

int add_name(name_set *s, const char *name) {
    uint64_t h = pith__hash(0, name, strlen(name)) | 1;
    if (2 * s->n >= s->room && !grow_names(s)) return -1;
    size_t i = h % s->room;
    for (; s->at[i]; i = (i + 1) % s->room)
        if (s->at[i] == h) return 0;
    s->at[i] = h;
    s->n++;
    return 1;
}
