/* line.h - a line from a person at a terminal, who may edit it. */
#ifndef PITH_LINE_H
#define PITH_LINE_H

#include <stddef.h>
#include <termios.h>

typedef struct {            /* zero-initialise it */
    char **line;            /* (n) the lines that were typed, owned */
    int n;
    unsigned char in[4096]; /* (n_in) bytes that were read, used up to i_in: the rest is of the next line */
    size_t n_in, i_in;
    struct termios usual;   /* how the terminal was, */
    int waits;              /* where something else is written to it now */
} line_editor;

enum { LINE_READ, LINE_END, LINE_BREAK, LINE_DROPPED, LINE_FAILED };

/* Asks on standard error and reads from standard input, which both are terminals. LINE_READ: *line is what was
 * typed or pasted, in UTF-8, several lines perhaps, without the last line end; the caller frees it. LINE_END:
 * Ctrl-D on an empty line, or there is no more. LINE_BREAK: Ctrl-C, LINE_DROPPED: the
 * same where something was typed. LINE_FAILED: no memory. */
int  edit_line(const char *question, line_editor *with, char **line);
int  can_edit(void); /* 1: both are terminals that know how to move a cursor */
void free_editor(line_editor *with);

/* Between two lines, while something is written to the terminal: what is typed or pasted then is not shown, and is the
 * beginning of the next line. line_goes_on must follow. */
void line_waits(line_editor *with);
void line_goes_on(line_editor *with);

#endif
