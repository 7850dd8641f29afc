/* line.h - a line from a person at a terminal, who may edit it. */
#ifndef PITH_LINE_H
#define PITH_LINE_H

#include <stddef.h>

typedef struct {            /* zero-initialise it */
    char **line;            /* (n) the lines that were typed, owned */
    int n;
    unsigned char in[4096]; /* (n_in) bytes that were read, used up to i_in: the rest is of the next line */
    size_t n_in, i_in;
} line_editor;

enum { LINE_READ, LINE_END, LINE_BREAK, LINE_DROPPED, LINE_FAILED };

/* Asks on standard error and reads from standard input, which both are terminals. LINE_READ: *line is what was
 * typed or pasted, in UTF-8, several lines perhaps, without the last line end; the caller frees it. LINE_END:
 * Ctrl-D on an empty line, or there is no more. LINE_BREAK: Ctrl-C, LINE_DROPPED: the
 * same where something was typed. LINE_FAILED: no memory. */
int  edit_line(const char *question, line_editor *with, char **line);
int  can_edit(void); /* 1: both are terminals that know how to move a cursor */
void free_editor(line_editor *with);

#endif
