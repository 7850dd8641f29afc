/* program.c - a program of the user's that is asked again and again: lines go in, a number a line comes out.
 *
 * It is started once and reads what it likes when it likes: what is written and what is read go through poll(), so
 * neither side waits for the other with full pipes. It has a process group of its own: Ctrl-C at the terminal asks
 * this process to stop, which then ends the program. What it says on standard error goes where ours goes. */
#define _XOPEN_SOURCE 700
#include "rewards.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { LONGEST_ANSWER = 4096 };      /* bytes */
enum { SLICE = 200, GRACE = 20 };    /* milliseconds: from one look at stopped() to the next; for an answer too many */

struct program {
    const char *command;
    double timeout;          /* seconds without a byte in or out */
    pid_t pid;               /* and its group */
    int in, out;             /* its standard input and output, -1: closed */
    int failed;              /* 1: it did not answer as it should, or the user asked to stop */
    size_t n_answer;         /* bytes that were read and belong to no answer yet */
    char answer[LONGEST_ANSWER + 1];
};

/* ---- beginning and end -------------------------------------------------------------------------------- */

/* A pipe whose ends no other program gets; ours does not wait. */
static int open_pipe(int fd[2], int ours) {
    if (pipe(fd)) return 0;
    for (int i = 0; i < 2; i++) fcntl(fd[i], F_SETFD, FD_CLOEXEC);
    fcntl(fd[ours], F_SETFL, O_NONBLOCK);
    return 1;
}

static void close_end(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/* 0, or an errno. */
static int spawn(program *p, int in, int out) {
    char *argv[] = { (char[]){ "/bin/sh" }, (char[]){ "-c" }, (char *)p->command, NULL };
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    sigset_t usual, none;
    if (posix_spawn_file_actions_init(&files)) return ENOMEM;
    if (posix_spawnattr_init(&how)) return posix_spawn_file_actions_destroy(&files), ENOMEM;
    sigemptyset(&usual), sigemptyset(&none);
    sigaddset(&usual, SIGPIPE); /* which we ignore, as it would otherwise */
    posix_spawnattr_setsigdefault(&how, &usual);
    posix_spawnattr_setsigmask(&how, &none);
    posix_spawnattr_setpgroup(&how, 0);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    int code = posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
    if (!code) code = posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    if (!code) code = posix_spawn(&p->pid, argv[0], &files, &how, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&how);
    return code;
}

program *program_start(const char *command, double timeout) {
    int in[2] = { -1, -1 }, out[2] = { -1, -1 }, code;
    program *p = calloc(1, sizeof *p);
    if (!p) return complain(FAILED, "no memory for a program"), NULL;
    *p = (program){ .command = command, .timeout = timeout, .in = -1, .out = -1 };
    setenv("PYTHONUNBUFFERED", "1", 0); /* else print() into a pipe comes at the end of all */
    if (!open_pipe(in, 1) || !open_pipe(out, 0)) code = errno;
    else code = spawn(p, in[0], out[1]);
    close_end(&in[0]), close_end(&out[1]);
    p->in = in[1], p->out = out[0];
    if (!code) return p;
    complain(FAILED, "%s: cannot be started: %s", command, strerror(code));
    close_end(&p->in), close_end(&p->out);
    free(p);
    return NULL;
}

/* Has it ended, within so many seconds? It stays a process until waitpid, so that its group's number is no other's. */
static int has_ended(const program *p, double within) {
    for (double end = seconds() + within;; poll(NULL, 0, 5)) {
        siginfo_t is;
        memset(&is, 0, sizeof is);
        if (!waitid(P_PID, (id_t)p->pid, &is, WEXITED | WNOHANG | WNOWAIT) && is.si_pid) return 1;
        if (seconds() >= end) return 0;
    }
}

void program_end(program *p) {
    int status;
    if (!p) return;
    close_end(&p->in);
    if (!has_ended(p, p->failed ? 0.1 : 2)) {
        kill(-p->pid, SIGTERM);
        has_ended(p, 1);
    }
    kill(-p->pid, SIGKILL); /* and what it left behind */
    while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR) continue;
    close_end(&p->out);
    free(p);
}

/* ---- what goes wrong ------------------------------------------------------------------------------------ */

static int ended_early(const program *p, int answered, int n) {
    siginfo_t is;
    char how[64] = "closed its output";
    memset(&is, 0, sizeof is);
    if (has_ended(p, 1) && !waitid(P_PID, (id_t)p->pid, &is, WEXITED | WNOHANG | WNOWAIT)) {
        if (is.si_code == CLD_EXITED) snprintf(how, sizeof how, "ended with status %d", is.si_status);
        else snprintf(how, sizeof how, "was ended by signal %d", is.si_status);
    }
    return complain(FAILED, "%s: %s after %d of %d answers", p->command, how, answered, n);
}

static int timed_out(const program *p, int answered, int n) {
    return complain(FAILED, "%s: nothing came for %g s, after %d of %d answers (it must flush its output after each "
                    "line; --reward_timeout)", p->command, p->timeout, answered, n);
}

/* What it says within some milliseconds, where it was asked nothing or has answered everything. */
static int said_too_much(program *p, int within) {
    struct pollfd fd = { .fd = p->out, .events = POLLIN };
    ssize_t k = p->n_answer || poll(&fd, 1, within) < 1 ? 0 : read(p->out, p->answer + p->n_answer, LONGEST_ANSWER - p->n_answer);
    if (k > 0) p->n_answer += (size_t)k;
    p->answer[p->n_answer] = 0;
    p->answer[strcspn(p->answer, "\n")] = 0;
    return p->n_answer ? complain(FAILED, "%s: says '%.200s' where it was asked nothing", p->command, p->answer) : 0;
}

/* ---- lines ---------------------------------------------------------------------------------------------- */

/* Answer i, len bytes and a byte of room. */
static int read_answer(const program *p, char *line, size_t len, int i, double *x) {
    while (len && (line[len - 1] == ' ' || line[len - 1] == '\t' || line[len - 1] == '\r')) len--;
    line[len] = 0;
    while (*line == ' ' || *line == '\t') line++, len--;
    if (strlen(line) == len && read_real(line, -FLT_MAX, FLT_MAX, x)) return 0;
    return complain(FAILED, "%s: answers '%.200s' to completion %d, need a number", p->command, line, i + 1);
}

/* The lines that are there, of those that are still wanted. */
static int take_answers(program *p, int *answered, int n, double *x) {
    char *line = p->answer, *end;
    int code = 0;
    while (!code && *answered < n && (end = memchr(line, '\n', p->n_answer))) {
        p->n_answer -= (size_t)(end + 1 - line);
        code = read_answer(p, line, (size_t)(end - line), *answered, x + *answered);
        ++*answered;
        line = end + 1;
    }
    memmove(p->answer, line, p->n_answer);
    if (code || p->n_answer < LONGEST_ANSWER) return code;
    return *answered == n ? said_too_much(p, 0) : read_answer(p, p->answer, p->n_answer, *answered, x);
}

/* Of what it says as much as there is room for. */
static int hear(program *p, int *answered, int n, double *x) {
    ssize_t k = read(p->out, p->answer + p->n_answer, LONGEST_ANSWER - p->n_answer);
    if (k < 0) return errno == EAGAIN || errno == EINTR ? 0 : complain(FAILED, "%s: %s", p->command, strerror(errno));
    p->n_answer += (size_t)k;
    if (!k) close_end(&p->out);
    if (!k && p->n_answer) p->answer[p->n_answer++] = '\n'; /* the last line may have no end */
    return take_answers(p, answered, n, x);
}

/* Gives how many bytes it took. One that reads no more still may say why. */
static size_t tell(program *p, const char *text, size_t n) {
    ssize_t k = write(p->in, text, n);
    if (k > 0) return (size_t)k;
    if (errno == EAGAIN || errno == EINTR) return 0;
    close_end(&p->in);
    return n;
}

/* Both at once, until all are told and all have answered. */
static int talk(program *p, const char *text, size_t n_text, int n, double *x) {
    int answered = 0, code = 0;
    double last = seconds();
    for (size_t sent = 0; !code && (answered < n || sent < n_text);) {
        struct pollfd fd[] = { { .fd = sent < n_text ? p->in : -1, .events = POLLOUT },
                               { .fd = p->out, .events = POLLIN } };
        if (poll(fd, 2, SLICE) < 0 && errno != EINTR) return complain(FAILED, "%s: %s", p->command, strerror(errno));
        if (stopped()) return stopped();
        if (p->in < 0) sent = n_text;
        if (fd[0].revents) sent += tell(p, text + sent, n_text - sent);
        if (fd[1].revents) code = hear(p, &answered, n, x);
        if (!code && p->out < 0 && answered < n) code = ended_early(p, answered, n);
        if (fd[0].revents || fd[1].revents) last = seconds();
        else if (seconds() - last > p->timeout) code = timed_out(p, answered, n);
    }
    return code;
}

int program_ask(program *p, const char *text, size_t n_text, int n, double *x) {
    int code = said_too_much(p, 0);
    if (!code) code = talk(p, text, n_text, n, x);
    if (!code) code = said_too_much(p, GRACE);
    p->failed = code != 0;
    return code;
}
