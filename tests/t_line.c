/* t_line.c - the editor of a line at a terminal of its own (a pty): keys go in, the line comes out, and a screen
 * that obeys ECMA-48's sequences shows what a person would have seen. */
#include "tools/line.h"
#include "tools/tools.h"
#include "test.h"

#include "terminal.h"

/* Reports the lines that were read, each with "LINE|", "END|" or "BREAK|" behind it. */
static void child(int report_to) {
    line_editor with = { .n = 0 };
    char *line;
    int code;
    do {
        code = edit_line("> ", &with, &line);
        const char *what = code == LINE_READ ? "LINE|" : code == LINE_END ? "END|" : code == LINE_BREAK ? "BREAK|" : "DROPPED|";
        if (line && write(report_to, line, strlen(line)) < 0) _exit(1);
        if (write(report_to, what, strlen(what)) < 0) _exit(1);
        free(line);
    } while (code == LINE_READ);
    free_editor(&with);
    _exit(0);
}

static void gives(const char *keys, const char *want) {
    for (int slowly = 0; slowly < 2; slowly++)
        if (!type_at(child, keys, slowly)) FAIL("no terminal");
        else if (strcmp(got, want)) FAIL("'%s' gave '%s', want '%s'", keys, got, want);
}

static void looks(const char *keys, const char *want) {
    static screen s;
    if (!type_at(child, keys, 1)) { FAIL("no terminal"); return; }
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
    gives("\003", "BREAK|");
    gives("abc\003", "DROPPED|");
    gives("one\rabc\003", "oneLINE|DROPPED|");
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
