/* terminal.h - a terminal for tests (a pty): keys go in, and a screen that obeys ECMA-48's sequences shows what a
 * person would have seen. */
#ifndef TERMINAL_H
#define TERMINAL_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { COLUMNS = 20, ROWS = 6 };

/* ---- the screen ------------------------------------------------------------------------------------ */

typedef struct {
    char cell[ROWS][COLUMNS][5]; /* UTF-8; "" behind a wide character */
    int row, col, waits;         /* waits: a character was put in the last column */
} screen;

static void clear_from(screen *s, int row, int col) {
    for (; row < ROWS; row++, col = 0)
        for (; col < COLUMNS; col++) strcpy(s->cell[row][col], " ");
}

static void line_feed(screen *s) {
    if (s->row < ROWS - 1) { s->row++; return; }
    memmove(s->cell[0], s->cell[1], sizeof s->cell[0] * (ROWS - 1));
    clear_from(s, ROWS - 1, 0);
}

static void show(screen *s, const char *p, size_t n) { /* one character: Hangul and Hanzi are wide */
    int columns = n == 3 && (unsigned char)*p >= 0xe3 && (unsigned char)*p < 0xee ? 2 : 1;
    if (s->waits || s->col + columns > COLUMNS) line_feed(s), s->col = 0, s->waits = 0;
    memcpy(s->cell[s->row][s->col], p, n);
    s->cell[s->row][s->col][n] = 0;
    if (columns == 2) s->cell[s->row][s->col + 1][0] = 0;
    s->col += columns;
    if (s->col == COLUMNS) s->col--, s->waits = 1;
}

static size_t obey(screen *s, const char *p) { /* ESC [ ... */
    size_t n = 2;
    while (p[n] && (p[n] < 0x40 || p[n] > 0x7e)) n++;
    int many = p[2] >= '0' && p[2] <= '9' ? atoi(p + 2) : 1;
    if (p[n] == 'A') s->row = s->row > many ? s->row - many : 0;
    if (p[n] == 'C') s->col = s->col + many < COLUMNS ? s->col + many : COLUMNS - 1;
    if (p[n] == 'J') clear_from(s, s->row, s->col);
    if (p[n] == 'H') s->row = s->col = 0;
    s->waits = 0;
    return n + 1;
}

static inline void show_all(screen *s, const char *p) {
    clear_from(s, 0, 0);
    s->row = s->col = s->waits = 0;
    for (size_t n = 1; *p; p += n) {
        n = 1;
        if (*p == '\r') s->col = 0, s->waits = 0;
        else if (*p == '\n') line_feed(s);
        else if (*p == '\033') n = obey(s, p);
        else {
            while ((p[n] & 0xc0) == 0x80) n++;
            show(s, p, n);
        }
    }
}

/* The screen as text, without blanks at the ends of rows. */
static inline const char *rows_of(const screen *s) {
    static char text[ROWS * (COLUMNS * 4 + 1) + 1];
    size_t n = 0;
    for (int row = 0; row < ROWS; row++) {
        for (int col = 0; col < COLUMNS; col++) n += (size_t)sprintf(text + n, "%s", s->cell[row][col]);
        while (n && text[n - 1] == ' ') n--;
        text[n++] = '\n';
    }
    while (n && text[n - 1] == '\n') n--;
    text[n] = 0;
    return text;
}

/* ---- the keyboard ---------------------------------------------------------------------------------- */

static char got[4096];   /* what the program reported */
static char seen[65536]; /* all that was written to the terminal */

/* Bytes of the first key: a character, ESC with its sequence, or a whole paste. */
static size_t key_length(const char *p) {
    const char *pasted = strncmp(p, "\033[200~", 6) ? NULL : strstr(p, "\033[201~");
    size_t n = 1;
    if (pasted) return (size_t)(pasted - p) + 6;
    if (*p == '\033' && (p[1] == '[' || p[1] == 'O')) {
        for (n = 2; p[n] && (p[n] < 0x40 || p[n] > 0x7e);) n++;
        return n + 1;
    }
    if (*p == '\033') return 2;
    while ((p[n] & 0xc0) == 0x80) n++;
    return n;
}

static int times_drawn(void) {
    int n = 0;
    for (const char *p = seen; (p = strstr(p, "\033[J")) != NULL; p++) n++;
    return n;
}

/* In keys, behind the end of a line: what follows is sent at once as soon as a paste is one again, before the next
 * question. */
#define LATER "\035"

static int paste_is_one(void) {
    const char *off = NULL;
    for (const char *p = seen; (p = strstr(p, "\033[?2004l")) != NULL; p++) off = p;
    return off && strstr(off, "\033[?2004h");
}

/* Runs run() at a terminal of its own, which reports lines to where it writes. Sends keys once the editor asks: all in
 * one, or slowly, each when the one before has been drawn. 0: there is no terminal to be had here. */
static int type_at(void (*run)(int report_to), const char *keys, int slowly) {
    struct winsize size = { .ws_row = ROWS, .ws_col = COLUMNS };
    int master = posix_openpt(O_RDWR | O_NOCTTY), lines[2];
    if (master < 0 || grantpt(master) || unlockpt(master) || pipe(lines)) return 0;
    int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
    if (terminal < 0 || ioctl(terminal, TIOCSWINSZ, &size)) return 0;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 3; i++) dup2(terminal, i);
        close(master), close(lines[0]), close(terminal);
        run(lines[1]);
        _exit(127);
    }
    close(lines[1]), close(terminal);
    size_t n = 0, all = strlen(keys), n_got = 0;
    int sent = 0;
    seen[0] = got[0] = 0;
    for (ssize_t k;;) {
        struct pollfd said = { .fd = master, .events = POLLIN };
        if (poll(&said, 1, 5000) == 0) { kill(pid, SIGKILL); break; } /* it does not answer */
        k = read(master, seen + n, sizeof seen - 1 - n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) break; /* nobody has it open any more */
        seen[n += (size_t)k] = 0;
        while (*keys && times_drawn() > sent) {
            size_t next = slowly ? key_length(keys) : all;
            if (*keys == *LATER && !paste_is_one()) break;
            if (*keys == *LATER) next = strlen(++keys);
            if (write(master, keys, next) < 0) break;
            if (slowly && *keys == '\r' && keys[1] == *LATER) sent--; /* it is not waited for */
            sent += slowly && (*keys == '\r' || *keys == '\003') ? 2 : 1; /* the next question is drawn too */
            keys += next;
        }
    }
    for (ssize_t k; (k = read(lines[0], got + n_got, sizeof got - 1 - n_got)) > 0;) got[n_got += (size_t)k] = 0;
    close(lines[0]), close(master);
    waitpid(pid, NULL, 0);
    return 1;
}

#endif
