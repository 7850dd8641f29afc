/* t_line.c - the editor of a line at a terminal of its own (a pty): keys go in, the line comes out, and a screen
 * that obeys ECMA-48's sequences shows what a person would have seen. */
#include "tools/line.h"
#include "tools/tools.h"
#include "test.h"

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

static void show_all(screen *s, const char *p) {
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
static const char *rows_of(const screen *s) {
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

/* ---- the terminal ---------------------------------------------------------------------------------- */

static char got[4096];  /* the lines that were read, each "LINE|", "END|" or "BREAK|" behind it */
static char seen[65536]; /* all that was written to the terminal */

static void child(int terminal, int report_to) {
    for (int i = 0; i < 3; i++) dup2(terminal, i);
    close(terminal);
    line_editor with = { .n = 0 };
    char *line;
    int code;
    do {
        code = edit_line("> ", &with, &line);
        const char *what = code == LINE_READ ? "LINE|" : code == LINE_END ? "END|" : "BREAK|";
        if (line && write(report_to, line, strlen(line)) < 0) _exit(1);
        if (write(report_to, what, strlen(what)) < 0) _exit(1);
        free(line);
    } while (code == LINE_READ);
    free_editor(&with);
    _exit(0);
}

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

/* Sends keys once the editor asks: all in one, or slowly, each when the one before has been drawn. 0: there is no
 * terminal to be had here. */
static int type(const char *keys, int slowly) {
    struct winsize size = { .ws_row = ROWS, .ws_col = COLUMNS };
    int master = posix_openpt(O_RDWR | O_NOCTTY), lines[2];
    if (master < 0 || grantpt(master) || unlockpt(master) || pipe(lines)) return 0;
    int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
    if (terminal < 0 || ioctl(terminal, TIOCSWINSZ, &size)) return 0;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) close(master), close(lines[0]), child(terminal, lines[1]);
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
            if (write(master, keys, next) < 0) break;
            sent += slowly && *keys == '\r' ? 2 : 1; /* the next question is drawn too */
            keys += next;
        }
    }
    for (ssize_t k; (k = read(lines[0], got + n_got, sizeof got - 1 - n_got)) > 0;) got[n_got += (size_t)k] = 0;
    close(lines[0]), close(master);
    waitpid(pid, NULL, 0);
    return 1;
}

static void gives(const char *keys, const char *want) {
    for (int slowly = 0; slowly < 2; slowly++)
        if (!type(keys, slowly)) FAIL("no terminal");
        else if (strcmp(got, want)) FAIL("'%s' gave '%s', want '%s'", keys, got, want);
}

static void looks(const char *keys, const char *want) {
    static screen s;
    if (!type(keys, 1)) { FAIL("no terminal"); return; }
    show_all(&s, seen);
    if (strcmp(rows_of(&s), want)) FAIL("the screen is\n%s\nwant\n%s", rows_of(&s), want);
}

#define LEFT  "\033[D"
#define RIGHT "\033[C"
#define UP    "\033[A"
#define DOWN  "\033[B"
#define END   "\004"

TEST(keys_change_the_line) {
    gives("hello\r" END, "helloLINE|END|");
    gives("helo" LEFT "l\r" END, "helloLINE|END|");
    gives("b\001a\005c\r" END, "abcLINE|END|");                  /* Ctrl-A, Ctrl-E */
    gives("b\033[Ha\033[Fc\r" END, "abcLINE|END|");              /* Home, End */
    gives("b\033OHa\033OFc\r" END, "abcLINE|END|");
    gives("b\033[1~a\033[4~c\r" END, "abcLINE|END|");
    gives("abc" LEFT LEFT "\033[3~\r" END, "acLINE|END|");       /* Delete */
    gives("abc\177\177d\r" END, "adLINE|END|");
    gives("abc" LEFT "\013\r" END, "abLINE|END|");               /* Ctrl-K */
    gives("abc" LEFT "\025\r" END, "cLINE|END|");                /* Ctrl-U */
    gives("one two  \027x\r" END, "one xLINE|END|");             /* Ctrl-W */
    gives("one two\033[1;5Dx\033bz\r" END, "one zxtwoLINE|END|"); /* Ctrl-Left, Alt-B */
    gives("abc" LEFT LEFT LEFT LEFT RIGHT "x" RIGHT RIGHT RIGHT RIGHT "y\r" END, "axbcyLINE|END|");
    gives("ab\001\004\r" END, "bLINE|END|");                     /* Ctrl-D deletes where there is something */
}

TEST(hangul_goes_as_a_syllable) {
    gives("가나다" LEFT LEFT "\177라\r" END, "라나다LINE|END|");
    gives("\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab" "x\177\177y\r" END, "yLINE|END|"); /* decomposed */
    gives("e\xcc\x81z" LEFT "\177\r" END, "zLINE|END|");         /* e with an acute accent of its own */
    gives("a\xff" "b\r" END, "abLINE|END|");                   /* bytes that are no characters */
}

TEST(lines_that_were_typed_come_back) {
    gives("one\rtwo\r" UP UP "!\r" END, "oneLINE|twoLINE|one!LINE|END|");
    gives("one\rnew" UP DOWN "er\r" END, "oneLINE|newerLINE|END|");
    gives("one\rone\rtwo\r" UP UP "\r" END, "oneLINE|oneLINE|twoLINE|oneLINE|END|");
    gives(UP DOWN "a\r" END, "aLINE|END|");
}

TEST(a_paste_of_lines_is_one_line) {
    gives("\033[200~int a;\r\nint b;\rint c;\033[201~\r" END, "int a;\nint b;\nint c;LINE|END|");
    gives("\033[200~x\033[31my\003\004z\033[201~\r" END, "x31myzLINE|END|"); /* keys in it are text */
    gives("\033[200~\xec\x95\x88\xec\033[201~!\r" END, "안!LINE|END|");      /* a cut character is dropped */
    gives("a\033\rb\r" END, "a\nbLINE|END|");                                 /* Alt-Enter */
}

TEST(ctrl_c_and_ctrl_d_leave) {
    gives("abc\003", "BREAK|");
    gives("one\rabc\003", "oneLINE|BREAK|");
    gives(END, "END|");
}

TEST(the_screen_shows_the_line) {
    looks("abc" END "\003", "> abc");
    looks("가나다라마바사아자" "차카\003", "> 가나다라마바사아자\n차카"); /* 2 + 9 * 2 columns are 20 */
    looks("x가나다라마바사아자\003", "> x가나다라마바사아\n자");         /* no half of one at the edge */
    looks("가나다라마바사아자차카" LEFT LEFT LEFT "\177\003", "> 가나다라마바사자차\n카");
    looks("123456789012345678\003", "> 123456789012345678");
    looks("123456789012345678901234567890\001\013ab\003", "> ab");
    looks("\033[200~one\ntwo\nthree\033[201~\001X\003", "> Xone\ntwo\nthree");
    looks("\033[200~1\n2\n3\n4\n5\n6\n7\n8\n9\033[201~!\003", "5\n6\n7\n8\n9!"); /* taller than the screen */
    looks("one\rlonger than a row of it\r" UP UP "\003", "> one\n> longer than a row\nof it\n> one");
}

int main(void) {
    RUN(keys_change_the_line);
    RUN(hangul_goes_as_a_syllable);
    RUN(lines_that_were_typed_come_back);
    RUN(a_paste_of_lines_is_one_line);
    RUN(ctrl_c_and_ctrl_d_leave);
    RUN(the_screen_shows_the_line);
    return DONE();
}
