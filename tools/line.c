/* line.c - the editor of a line: what a person types at a terminal, changed until Enter is pressed.
 *
 * The line is bytes with a cursor among them. A key changes the bytes, then the whole line is drawn again: the
 * cursor goes up to the row where the question stands, all below is cleared, the rows are written and the cursor
 * is put where it belongs. So a line may be longer than the terminal is wide, hold line ends (a paste), and
 * characters that are two columns wide (Korean) or none (marks). The sequences are those of ECMA-48, which all
 * terminals of today know; a paste is marked by what xterm calls bracketed paste. */
#define _XOPEN_SOURCE 700
#include "line.h"
#include "verbs.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

typedef struct {
    char *text;              /* (n) the question, and from begin on what was typed */
    size_t n, room, begin, at; /* at: the cursor */
    int columns, rows;       /* of the terminal */
    int row;                 /* where the cursor was drawn, from the first row drawn on */
    int failed, ended;       /* no memory; nothing more to read */
    line_editor *with;
    int shown;               /* which line of the history; with->n: the one that is new */
    char *draft;             /* the new one, while another is shown */
    char out[4096];
    size_t n_out;
} edit;

/* ---- columns --------------------------------------------------------------------------------------- */

typedef struct { uint32_t first, last; } range;

/* Characters that take no column: combining marks, the vowels and final consonants of decomposed Hangul,
 * joiners and selectors. */
static const range narrow[] = {
    { 0x300, 0x36f }, { 0x483, 0x489 }, { 0x591, 0x5bd }, { 0x610, 0x61a }, { 0x64b, 0x65f }, { 0x900, 0x902 },
    { 0x93c, 0x93c }, { 0x941, 0x948 }, { 0x94d, 0x94d }, { 0xe31, 0xe31 }, { 0xe34, 0xe3a }, { 0xe47, 0xe4e },
    { 0x1160, 0x11ff }, { 0x1ab0, 0x1aff }, { 0x1dc0, 0x1dff }, { 0x200b, 0x200f }, { 0x20d0, 0x20ff },
    { 0x3099, 0x309a }, { 0xd7b0, 0xd7fb }, { 0xfe00, 0xfe0f }, { 0xfe20, 0xfe2f }, { 0xfeff, 0xfeff },
    { 0x1f3fb, 0x1f3ff }, { 0xe0001, 0xe01ef } };

/* Two columns: East Asian Width W and F of Unicode's EastAsianWidth.txt, in blocks. */
static const range wide[] = {
    { 0x1100, 0x115f }, { 0x231a, 0x231b }, { 0x23e9, 0x23ec }, { 0x2614, 0x2615 }, { 0x2648, 0x2653 },
    { 0x26a1, 0x26a1 }, { 0x26bd, 0x26be }, { 0x2705, 0x2705 }, { 0x270a, 0x270b }, { 0x2728, 0x2728 },
    { 0x274c, 0x274c }, { 0x2753, 0x2755 }, { 0x2795, 0x2797 }, { 0x2b50, 0x2b50 }, { 0x2e80, 0x303e },
    { 0x3041, 0x33ff }, { 0x3400, 0x4dbf }, { 0x4e00, 0xa4cf }, { 0xa960, 0xa97f }, { 0xac00, 0xd7a3 },
    { 0xf900, 0xfaff }, { 0xfe10, 0xfe19 }, { 0xfe30, 0xfe6f }, { 0xff01, 0xff60 }, { 0xffe0, 0xffe6 },
    { 0x16fe0, 0x18cff }, { 0x1b000, 0x1b2ff }, { 0x1f004, 0x1f004 }, { 0x1f18e, 0x1f19a }, { 0x1f200, 0x1f320 },
    { 0x1f32d, 0x1f64f }, { 0x1f680, 0x1f6ff }, { 0x1f7e0, 0x1f7eb }, { 0x1f90c, 0x1faff }, { 0x20000, 0x3fffd } };

static int is_in(const range *r, size_t n, uint32_t c) {
    for (size_t i = 0; i < n && r[i].first <= c; i++)
        if (c <= r[i].last) return 1;
    return 0;
}

static int columns_of(uint32_t c) {
    return is_in(narrow, sizeof narrow / sizeof *narrow, c) ? 0 : 1 + is_in(wide, sizeof wide / sizeof *wide, c);
}

/* Bytes of the character at i with the marks on it, which move and go together. */
static size_t length_at(const edit *e, size_t i, int *columns) {
    const uint8_t *p = (const uint8_t *)e->text;
    uint32_t c;
    size_t n = pith__utf8_read(p + i, e->n - i, &c);
    *columns = c < 0x20 || c == 0x7f ? 1 : columns_of(c);
    for (size_t k = n; c != '\n' && i + k < e->n; n = k) {
        k += pith__utf8_read(p + i + k, e->n - i - k, &c);
        if (columns_of(c) || c == '\n') break;
    }
    return n;
}

static size_t before(const edit *e, size_t at) { /* where the character before at begins */
    size_t i = e->begin, n;
    int columns;
    while (i < at && i + (n = length_at(e, i, &columns)) < at) i += n;
    return i;
}

/* ---- drawing --------------------------------------------------------------------------------------- */

static void send_out(edit *e) {
    for (size_t i = 0; i < e->n_out;) {
        ssize_t n = write(STDERR_FILENO, e->out + i, e->n_out - i);
        if (n > 0) i += (size_t)n;
        else if (errno != EINTR) break;
    }
    e->n_out = 0;
}

static void put(edit *e, const char *p, size_t n) {
    if (n > sizeof e->out - e->n_out) send_out(e);
    if (n <= sizeof e->out) memcpy(e->out + e->n_out, p, n), e->n_out += n;
}

static void put_text(edit *e, const char *s) { put(e, s, strlen(s)); }

static void move(edit *e, int n, char where) { /* A up, C right */
    char code[16];
    if (n > 0) put(e, code, (size_t)snprintf(code, sizeof code, "\033[%d%c", n, where));
}

typedef struct { int row, col; } spot;

/* Where byte `to` stands. show: rows top to top + e->rows - 1 are written on the way. */
static spot lay_out(edit *e, size_t to, int top, int show) {
    spot s = { 0, 0 };
    for (size_t i = 0, n; i <= to; i += n) {
        int columns = 0, ends = i < e->n && e->text[i] == '\n';
        n = i < e->n ? length_at(e, i, &columns) : 1;
        int full = i == to ? s.col == e->columns : s.col + columns > e->columns;
        if (ends && i < to ? 1 : full) {
            s.row++, s.col = 0;
            if (show && s.row > top && s.row < top + e->rows) put_text(e, "\r\n");
        }
        if (ends || i == to) continue;
        s.col += columns;
        if (!show || s.row < top || s.row >= top + e->rows) continue;
        if ((unsigned char)e->text[i] < 0x20 || e->text[i] == 0x7f) put_text(e, e->text[i] == '\t' ? " " : "?");
        else put(e, e->text + i, n);
    }
    return s;
}

static void measure(edit *e) {
    struct winsize w;
    int known = ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 1 && w.ws_row > 0;
    e->columns = known ? w.ws_col : 80;
    e->rows = known ? w.ws_row : 24;
}

/* A terminal that became narrower has broken the rows above the cursor. */
static void fit(edit *e) {
    int before_columns = e->columns, broken = 0;
    spot now = lay_out(e, e->at, 0, 0);
    measure(e);
    if (e->columns < before_columns) broken = now.row * ((before_columns - 1) / e->columns) + now.col / e->columns;
    e->row += broken;
    if (e->row >= e->rows) e->row = e->rows - 1;
}

static void draw(edit *e) {
    spot cursor = lay_out(e, e->at, 0, 0), end = lay_out(e, e->n, 0, 0);
    int top = cursor.row < e->rows ? 0 : cursor.row - e->rows + 1, last = top + e->rows - 1;
    if (last > end.row) last = end.row;
    put_text(e, "\r");
    move(e, e->row, 'A');
    put_text(e, "\033[J");
    lay_out(e, e->n, top, 1);
    put_text(e, "\r");
    move(e, last - cursor.row, 'A');
    move(e, cursor.col, 'C');
    e->row = cursor.row - top;
    send_out(e);
}

/* ---- changing -------------------------------------------------------------------------------------- */

static void insert(edit *e, const char *p, size_t n) {
    if (n > e->room - e->n) {
        size_t room = 2 * (e->n + n) + 64;
        char *text = room < SIZE_MAX / 4 ? realloc(e->text, room) : NULL;
        if (!text) { e->failed = 1; return; }
        e->text = text, e->room = room;
    }
    memmove(e->text + e->at + n, e->text + e->at, e->n - e->at);
    memcpy(e->text + e->at, p, n);
    e->n += n, e->at += n;
}

static void cut(edit *e, size_t from, size_t to) {
    memmove(e->text + from, e->text + to, e->n - to);
    e->n -= to - from;
    e->at = from;
}

static int is_blank(char c) { return c == ' ' || c == '\t' || c == '\n'; }

static size_t word_left(const edit *e) {
    size_t i = e->at;
    while (i > e->begin && is_blank(e->text[i - 1])) i--;
    while (i > e->begin && !is_blank(e->text[i - 1])) i--;
    return i;
}

static size_t word_right(const edit *e) {
    size_t i = e->at;
    while (i < e->n && is_blank(e->text[i])) i++;
    while (i < e->n && !is_blank(e->text[i])) i++;
    return i;
}

static size_t right(const edit *e) {
    int columns;
    return e->at < e->n ? e->at + length_at(e, e->at, &columns) : e->n;
}

/* Another line of the history; the new one is kept. */
static void recall(edit *e, int step) {
    int to = e->shown + step;
    if (to < 0 || to > e->with->n) return;
    if (e->shown == e->with->n) {
        free(e->draft);
        e->draft = malloc(e->n - e->begin + 1);
        if (!e->draft) { e->failed = 1; return; }
        memcpy(e->draft, e->text + e->begin, e->n - e->begin);
        e->draft[e->n - e->begin] = 0;
    }
    e->shown = to;
    cut(e, e->begin, e->n);
    const char *line = to < e->with->n ? e->with->line[to] : e->draft;
    insert(e, line, strlen(line));
}

enum { CTRL = 0x1f }; /* Ctrl-A is 'A' & CTRL */

/* ---- keys ------------------------------------------------------------------------------------------ */

/* The next byte; -1: there is none, now where it must be there already, or for ever. */
static int next_byte(edit *e, int must_be_there) {
    while (e->with->i_in == e->with->n_in) {
        struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
        if (must_be_there && poll(&in, 1, 50) <= 0) return -1;
        ssize_t n = read(STDIN_FILENO, e->with->in, sizeof e->with->in);
        if (n < 0 && errno == EINTR && take_interrupt()) return 'C' & CTRL; /* from before the terminal was made raw */
        if (n < 0 && errno == EINTR && !stopped()) {
            fit(e);
            draw(e);
        } else if (n <= 0) {
            e->ended = 1;
            return -1;
        } else {
            e->with->n_in = (size_t)n, e->with->i_in = 0;
        }
    }
    return e->with->in[e->with->i_in++];
}

/* A character that begins with byte c; bytes that are none are dropped. */
static void insert_character(edit *e, int c) {
    char s[4] = { (char)c };
    size_t n = 1;
    int length;
    while ((length = pith__utf8_length((const uint8_t *)s, n)) == 0 && (c = next_byte(e, 1)) >= 0) s[n++] = (char)c;
    if (length > 0) insert(e, s, (size_t)length);
}

/* What comes up to ESC [ 201 ~, with its line ends as \n and without other control characters. */
static void paste(edit *e) {
    static const char end[] = "\033[201~";
    char some[512];
    size_t n = 0, matched = 0;
    int c, last = 0;
    while (end[matched] && (c = next_byte(e, 0)) >= 0) {
        matched = c == end[matched] ? matched + 1 : c == *end;
        int dropped = (c == '\n' && last == '\r') || (c < 0x20 && c != '\r' && !is_blank((char)c)) || c == 0x7f;
        last = c;
        if (matched || dropped) continue;
        some[n++] = c == '\r' ? '\n' : (char)c;
        if (n == sizeof some) insert(e, some, n), n = 0;
    }
    insert(e, some, n);
    for (size_t i = e->begin, k; i < e->at; i += k) { /* bytes that are no characters */
        int length = pith__utf8_length((const uint8_t *)e->text + i, e->at - i);
        k = length > 0 ? (size_t)length : 0;
        size_t bad = length > 0 ? 0 : length < 0 ? (size_t)-length : e->at - i, at = e->at;
        if (bad) cut(e, i, i + bad), e->at = at - bad;
    }
}

/* After ESC: what a key with a name sends. */
static void named_key(edit *e) {
    int c = next_byte(e, 1), number = 0, modifier = 0;
    if (c == '\r' || c == '\n') { insert(e, "\n", 1); return; }
    if (c == 'b') e->at = word_left(e);
    if (c == 'f') e->at = word_right(e);
    if (c != '[' && c != 'O') return;
    while ((c = next_byte(e, 1)) >= 0 && (c < 0x40 || c > 0x7e)) {
        if (c == ';') modifier = 1;
        else if (!modifier && c >= '0' && c <= '9' && number < 1000) number = number * 10 + c - '0';
    }
    if (c == '~' && number == 200) paste(e);
    else if (c == '~') c = number == 1 || number == 7 ? 'H' : number == 4 || number == 8 ? 'F' : number == 3 ? 'X' : 0;
    if (c == 'A') recall(e, -1);
    if (c == 'B') recall(e, 1);
    if (c == 'C') e->at = modifier ? word_right(e) : right(e);
    if (c == 'D') e->at = modifier ? word_left(e) : before(e, e->at);
    if (c == 'H') e->at = e->begin;
    if (c == 'F') e->at = e->n;
    if (c == 'X') cut(e, e->at, right(e));
}

/* LINE_READ where the line is done, GO_ON where it is not. */
static int press(edit *e, int c) {
    switch (c) {
    case '\r': case '\n': return LINE_READ;
    case 'C' & CTRL: return e->n == e->begin ? LINE_BREAK : LINE_DROPPED;
    case 0: /* what a Ctrl-D has become that was typed before the terminal was made raw */
        if (e->n == e->begin) return LINE_END;
        break;
    case 'D' & CTRL:
        if (e->n == e->begin) return LINE_END;
        cut(e, e->at, right(e));
        break;
    case 'A' & CTRL: e->at = e->begin; break;
    case 'E' & CTRL: e->at = e->n; break;
    case 'B' & CTRL: e->at = before(e, e->at); break;
    case 'F' & CTRL: e->at = right(e); break;
    case 'P' & CTRL: recall(e, -1); break;
    case 'N' & CTRL: recall(e, 1); break;
    case 'K' & CTRL: cut(e, e->at, e->n); break;
    case 'U' & CTRL: cut(e, e->begin, e->at); break;
    case 'W' & CTRL: cut(e, word_left(e), e->at); break;
    case 'L' & CTRL: put_text(e, "\033[H\033[J"), e->row = 0; break;
    case 'H' & CTRL: case 0x7f: cut(e, before(e, e->at), e->at); break;
    case 0x1b: named_key(e); break;
    case '\t': insert(e, "\t", 1); break;
    default: if (c >= 0x20) insert_character(e, c);
    }
    return GO_ON;
}

/* ---- the terminal ---------------------------------------------------------------------------------- */

static void wake(int signal) { (void)signal; } /* a read ends, so that the line is drawn anew */

int can_edit(void) {
    const char *kind = getenv("TERM");
    return isatty(STDIN_FILENO) && isatty(STDERR_FILENO) && kind && strcmp(kind, "dumb");
}

static void set_raw(const struct termios *usual) {
    struct termios t = *usual;
    t.c_iflag &= ~(tcflag_t)(ICRNL | INLCR | IGNCR | IXON | ISTRIP);
    t.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG | IEXTEN);
    t.c_cc[VMIN] = 1, t.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &t);
}

static int edit_until_done(edit *e, const struct termios *usual) {
    int done = GO_ON;
    draw(e);
    while (done == GO_ON) {
        int c = next_byte(e, 0);
        if (c < 0) return LINE_END;
        if (c == ('Z' & CTRL)) {
            tcsetattr(STDIN_FILENO, TCSADRAIN, usual);
            raise(SIGTSTP);
            set_raw(usual);
            e->row = 0;
        }
        done = press(e, c);
        if (e->failed) return LINE_FAILED;
        if (done != GO_ON) e->at = e->n;
        if (e->with->i_in == e->with->n_in || done != GO_ON) draw(e);
    }
    return done;
}

static void remember(line_editor *with, const char *line) {
    if (!*line || (with->n && !strcmp(with->line[with->n - 1], line))) return;
    char **more = realloc(with->line, ((size_t)with->n + 1) * sizeof *more), *copy = more ? strdup(line) : NULL;
    if (more) with->line = more;
    if (copy) with->line[with->n++] = copy; /* without memory it is forgotten */
}

void free_editor(line_editor *with) {
    for (int i = 0; i < with->n; i++) free(with->line[i]);
    free(with->line);
    with->line = NULL, with->n = 0;
}

int edit_line(const char *question, line_editor *with, char **line) {
    edit *e = calloc(1, sizeof *e);
    struct termios usual;
    struct sigaction old, resized = { .sa_handler = wake };
    *line = NULL;
    if (!e) return LINE_FAILED;
    if (tcgetattr(STDIN_FILENO, &usual)) return free(e), LINE_END;
    e->with = with, e->shown = with->n;
    measure(e);
    insert(e, question, strlen(question));
    e->begin = e->n;
    sigemptyset(&resized.sa_mask);
    sigaction(SIGWINCH, &resized, &old);
    set_raw(&usual);
    put_text(e, "\033[?2004h");
    int code = e->failed ? LINE_FAILED : edit_until_done(e, &usual);
    put_text(e, "\033[?2004l\r\n");
    send_out(e);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &usual);
    sigaction(SIGWINCH, &old, NULL);
    if (code == LINE_READ) {
        e->at = e->n;
        insert(e, "", 1);
        *line = e->failed ? NULL : strdup(e->text + e->begin);
        if (!*line) code = LINE_FAILED;
        else remember(with, *line);
    }
    free(e->text);
    free(e->draft);
    free(e);
    return code;
}

void line_waits(line_editor *with) {
    if (with->waits || tcgetattr(STDIN_FILENO, &with->usual)) return;
    struct termios t = with->usual;
    t.c_lflag &= ~(tcflag_t)(ICANON | ECHO); /* Ctrl-C stays a signal */
    t.c_cc[VMIN] = 1, t.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &t);
    fputs("\033[?2004h", stderr);
    with->waits = 1;
}

void line_goes_on(line_editor *with) {
    if (!with->waits) return;
    fputs("\033[?2004l", stderr);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &with->usual);
    with->waits = 0;
}
