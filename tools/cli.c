/* cli.c - what the parts of the command line share: the process, models, texts.
 *
 * What the engine never does is done here: talk to the user, mind signals. What outlives a call is the
 * number of the signal that asked to stop, and whether it was said that a file is lost. */
#define _XOPEN_SOURCE 700
#include "verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* What a line quotes may hold anything; it stays one line, without escape codes. */
static void say_line(const char *kind, const char *fmt, va_list args) {
    char text[1024];
    vsnprintf(text, sizeof text, fmt, args);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = '?';
    fprintf(stderr, "%s: %s\n", kind, text);
}

int complain(int code, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    say_line("pith", fmt, args);
    va_end(args);
    return code;
}

void warn_once(int *said, const char *text) {
    if (!*said) complain(0, "%s", text);
    *said = 1;
}

void note(int quiet, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    if (!quiet) say_line("note", fmt, args);
    va_end(args);
}

int report(const pith_error *e) {
    int data = e->code == PITH_EFORMAT || e->code == PITH_EARCH || e->code == PITH_EDATA;
    if (e->code == PITH_ESTOP && stopped()) return stopped();
    return complain(e->code == PITH_EARG ? USAGE : data ? BAD_DATA : FAILED, "%s", e->text);
}

/* ---- the process ----------------------------------------------------------------------------- */

static volatile sig_atomic_t stop_signal, only_answers;

/* A terminal that closes may send SIGHUP twice, from the shell and from the system: that is no asking twice. */
static void ask_to_stop(int signal) {
    if (stop_signal && signal != SIGHUP && !only_answers) _exit(128 + signal); /* asked twice */
    if (!stop_signal) stop_signal = signal;
}

static void lost_file(int signal) {
    (void)signal;
    static atomic_flag said = ATOMIC_FLAG_INIT; /* several threads may find out at once */
    while (atomic_flag_test_and_set(&said)) pause();
    static const char text[] = "pith: a file shrank while in use (--no-mmap reads it whole)\n";
    ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);
    (void)n;
    _exit(FAILED);
}

/* A signal's handler, without SA_RESTART: waiting for the user's next line must end too. */
static void handle(int signal, void (*handler)(int)) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    sigemptyset(&action.sa_mask);
    sigaction(signal, &action, NULL);
}

void prepare_process(void) {
    /* Whatever is opened next must not land on the place of a standard stream. Writing to a closed
     * standard output must fail, so its place is taken by what can only be read. */
    static const int modes[] = { O_RDONLY, O_RDONLY, O_WRONLY };
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) != fd) _exit(FAILED);
    handle(SIGINT, ask_to_stop);
    handle(SIGTERM, ask_to_stop);
    struct sigaction hangup;
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) /* nohup: it goes on */
        handle(SIGHUP, ask_to_stop);
    handle(SIGBUS, lost_file);
    handle(SIGPIPE, SIG_IGN); /* a write to nobody fails instead */
}

int stopped(void) { return stop_signal ? 128 + stop_signal : 0; }

void interrupts_end_answers(int yes) { only_answers = yes; }

int take_interrupt(void) {
    if (stop_signal != SIGINT) return 0;
    stop_signal = 0;
    return 1;
}

int stdin_waits(void) {
    struct stat st;
    struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
    if (fstat(STDIN_FILENO, &st)) return 0;
    if (S_ISREG(st.st_mode)) return lseek(STDIN_FILENO, 0, SEEK_CUR) < st.st_size;
    return S_ISFIFO(st.st_mode) && poll(&in, 1, 0) > 0 && (in.revents & POLLIN) != 0;
}

double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- models ---------------------------------------------------------------------------------- */

/* 1: the file begins like text, without NUL or control characters. */
static int is_text(const char *path) {
    char begin[512];
    FILE *f = path && pith__path_kind(path) == 'f' ? fopen(path, "rb") : NULL;
    size_t n = f ? fread(begin, 1, sizeof begin, f) : 0, i = 0;
    while (i < n && ((unsigned char)begin[i] >= 0x20 || (begin[i] >= '\t' && begin[i] <= '\r'))) i++;
    if (f) fclose(f);
    return n > 0 && i == n;
}

int threads_wanted(int asked) {
    const char *told = getenv("OMP_NUM_THREADS"); /* "4", or "4,2": the outer regions' first */
    long n = !asked && told ? strtol(told, NULL, 10) : 0;
    int most = asked || n > 0 ? pith__may_use("").cpus : 0; /* more would only take turns */
    if (!asked) asked = n < 1 ? 0 : n < MOST_THREADS ? (int)n : MOST_THREADS;
    return asked < most ? asked : most;
}

/* What reading left out or assumed. */
static void say_notes(const pith__store *s) {
    for (const pith__note_line *note = s->note; note; note = note->next)
        fprintf(stderr, "pith: %s\n", note->text);
}

static int open_choice(const model_choice *c, int need_text, pith__store *s) {
    pith_error e = { 0, "" };
    size_t size;
    const void *bundle = bundled_model(&size);
    if (!c->path && !bundle)
        return complain(USAGE, "no model given and none built in; huggingface.co/karpathy/tinyllamas has small "
                        "ones, and any .gguf will do (README.md)");
    int code = pith__check_options(&c->options, &e);
    if (!code)
        code = c->path ? pith__open(s, c->path, &c->options, &e)
                       : pith__open_memory(s, bundle, size, &c->options, &e);
    if (!code && need_text && s->vocab.model == PITH__NONE && s->llama2c) {
        pith_options with = c->options; /* llama2.c's own default */
        with.tokenizer = "tokenizer.bin";
        pith__store_free(s);
        if (access(with.tokenizer, F_OK) != 0)
            return complain(NOT_LOADED, "%s: its vocabulary is a file of its own, need -z FILE"
                            " (no tokenizer.bin here)", c->path);
        code = pith__open(s, c->path, &with, &e);
    }
    if (code == PITH_EFORMAT && is_text(c->path))
        return complain(NOT_LOADED, "%s: is text, not a model; -f FILE takes a prompt from it, run pretrain"
                        " learns from it", c->path);
    if (code) return complain(code == PITH_EARG ? USAGE : NOT_LOADED, "%s", e.text);
    if (!need_text || s->vocab.model != PITH__NONE) return 0;
    say_notes(s);
    pith__store_free(s);
    return complain(NOT_LOADED, "%s: has no vocabulary to read or write text with", c->path);
}

static int make_model(const model_choice *c, pith__store *s, pith_model **m) {
    pith_error e = { 0, "" };
    pith_options with = c->options;
    with.n_threads = threads_wanted(with.n_threads);
    *m = pith__model_of(s, &with, &e);
    if (*m) say_notes(&(*m)->store);
    return *m ? 0 : complain(e.code == PITH_EARG ? USAGE : NOT_LOADED, "%s", e.text);
}

int open_model(const model_choice *c, int need_text, pith_model **m) {
    pith__store s;
    int code = open_choice(c, need_text, &s);
    return code ? code : make_model(c, &s, m);
}

int open_vocab(const model_choice *c, pith__store *s, pith__tokenizer **k) {
    pith_error e = { 0, "" };
    int code = open_choice(c, 1, s);
    if (code) return code;
    *k = pith__tokenizer_new(&s->vocab, &e);
    if (*k) return 0;
    code = complain(NOT_LOADED, "%s: %s", s->path, e.text);
    pith__store_free(s);
    return code;
}

int open_model_or_vocab(const model_choice *c, pith_model **m, pith__store *s) {
    int code = open_choice(c, 0, s);
    return code || s->holds == PITH__VOCABULARY ? code : make_model(c, s, m);
}

enum { FEW = 512 }; /* contexts are not cut below this */

double size_together(const pith_model *m, const pith_context *c, int n, size_t *pass, size_t *session) {
    pith_context alone = *c;
    alone.pass = NULL;
    *pass = pith_pass_size(m, &alone);
    *session = pith__session_bytes(m, &alone, PITH__KEEP_NONE);
    return *pass && *session ? (double)*pass + n * (double)*session : 0;
}

void fit_context(const pith_model *m, pith_context *c, int n) {
    double memory = pith__may_use("").memory;
    size_t pass, session;
    if (c->n_ctx) return;
    c->n_ctx = pith_model_shape(m)->n_ctx;
    while (c->n_ctx >= 2 * FEW && size_together(m, c, n, &pass, &session) > 0.75 * memory) c->n_ctx /= 2;
}

int open_session(const pith_model *m, model_choice *c, int n, pith_session **s) {
    pith_error e = { 0, "" };
    int asked = c->context.n_ctx != 0, whole = pith_model_shape(m)->n_ctx;
    if (!asked) c->context.n_ctx = n;
    double memory = pith__may_use("").memory;
    for (;; c->context.n_ctx /= 2) {
        int smaller = !asked && n == whole && c->context.n_ctx >= 2 * FEW;
        double size = (double)pith_session_size(m, &c->context);
        if (smaller && size > 0.75 * memory) continue;
        if (size > memory) /* some systems would promise it, and end us when it is used */
            return complain(FAILED, "no memory for a session of %d tokens: %.1f GB, this process may use %.1f",
                            c->context.n_ctx, size / 1e9, memory / 1e9);
        *s = pith_session_new(m, &c->context, &e);
        if (*s || e.code != PITH_EMEMORY || !smaller) break;
    }
    if (!*s) return complain(e.code == PITH_EARG ? USAGE : FAILED, "%s", e.text);
    if (c->context.n_ctx < n && !asked)
        fprintf(stderr, "pith: a context of %d tokens, not %d: as memory allows (-c N)\n",
                c->context.n_ctx, n);
    if (c->context.n_ctx > whole)
        note(c->quiet, "a context of %d tokens, while the model was made for %d (-c)", c->context.n_ctx, whole);
    return 0;
}

void fill_sampling(const pith_model *m, pith_sampling *how) {
    pith_sampling d = pith_sampling_default(m);
    if (how->temperature < 0) how->temperature = d.temperature;
    if (how->top_k < 0) how->top_k = d.top_k;
    if (how->top_p < 0) how->top_p = d.top_p;
    if (how->min_p < 0) how->min_p = d.min_p;
    if (how->repeat_penalty < 0) how->repeat_penalty = d.repeat_penalty;
}

/* ---- texts ----------------------------------------------------------------------------------- */

int read_text(const char *path, char **text, size_t *n) {
    enum { MOST = 1 << 28 };
    int from_stdin = !strcmp(path, "-");
    FILE *f = from_stdin ? stdin : fopen(path, "rb");
    const char *name = from_stdin ? "standard input" : path;
    size_t room = 1 << 16;
    *text = malloc(room + 1);
    *n = 0;
    int code = !f ? complain(BAD_DATA, "%s: %s", name, strerror(errno))
             : !*text ? complain(FAILED, "%s: no memory", name) : 0;
    while (!code) {
        *n += fread(*text + *n, 1, room - *n, f);
        if (*n < room) break;
        char *more = room < MOST ? realloc(*text, 2 * room + 1) : NULL;
        if (!more) code = complain(BAD_DATA, "%s: more than %zu bytes of text", name, room);
        else *text = more, room *= 2;
    }
    if (!code) code = stopped();
    if (!code && ferror(f)) code = complain(BAD_DATA, "%s: %s", name, strerror(errno));
    if (!code) (*text)[*n] = 0;
    if (f && !from_stdin) fclose(f);
    if (code) free(*text), *text = NULL;
    return code;
}

int clean_text(const char *name, char *text, size_t *n) {
    const unsigned char *p = (const unsigned char *)text;
    size_t from = *n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0, to = 0;
    if (*n >= 2 && ((p[0] == 0xff && p[1] == 0xfe) || (p[0] == 0xfe && p[1] == 0xff)))
        return complain(BAD_DATA, "%s: is UTF-16, need UTF-8", name);
    for (; from < *n; from++)
        if (text[from] != '\r' || from + 1 == *n || text[from + 1] != '\n') text[to++] = text[from];
    text[*n = to] = 0;
    return 0;
}

int encode_with(const pith__tokenizer *k, const char *text, size_t n, unsigned flags,
                pith_token **tokens, int *count) {
    size_t room = n + 3; /* mostly enough: a token is a byte or more */
    for (;; room = (size_t)*count) {
        *tokens = room < INT_MAX ? malloc(room * sizeof **tokens) : NULL;
        if (!*tokens) return complain(FAILED, "no memory for the tokens of %zu bytes of text", n);
        *count = pith__tokenizer_encode(k, text, n, flags, *tokens, (int)room);
        if (*count >= 0 && (size_t)*count <= room) return 0;
        free(*tokens);
        *tokens = NULL;
        if (*count < 0)
            return complain(*count == PITH_EMEMORY ? FAILED : BAD_DATA,
                            "%zu bytes of text cannot be made tokens", n);
    }
}

void say_hangul_apart(const char *what, size_t n, int nfc) {
    if (n)
        fprintf(stderr, "pith: %s: %zu Korean syllable%s loose letters (NFD, as macOS writes), %s\n", what, n,
                n == 1 ? " is" : "s are",
                nfc ? "read as whole ones (NFC)" : "which cost many tokens: make the text NFC first");
}

int encode_text(const pith_model *m, const char *text, size_t n, unsigned flags,
                pith_token **tokens, int *count) {
    if (!m->store.vocab.nfc) say_hangul_apart("the text", pith__hangul_apart(text, n), 0);
    return encode_with(m->tokenizer, text, n, flags, tokens, count);
}

int shown_text(const pith_model *m, const pith_token *t, int n, char **text, size_t *size) {
    int first = n && t[0] == pith_model_shape(m)->bos;
    size_t len;
    *size = 0;
    for (int i = first; i < n; i++) pith_text(m, i ? t[i - 1] : -1, t[i], &len), *size += len;
    *text = malloc(*size + 1);
    if (!*text) return complain(FAILED, "no memory for the prompt's text");
    char *to = *text;
    for (int i = first; i < n; i++, to += len) {
        const char *p = pith_text(m, i ? t[i - 1] : -1, t[i], &len);
        if (len) memcpy(to, p, len);
    }
    *to = 0;
    return 0;
}

void warn_of_nan(const pith_model *m, const pith_session *s, int *said) {
    const float *logits = pith_logits(s);
    int n = pith_model_shape(m)->n_vocab, is_nan = 0;
    for (int i = 0; i < n && !*said; i++) is_nan |= isnan(logits[i]);
    if (is_nan) warn_once(said, "the model computes NaN");
}

void show_progress(progress *p, size_t done, size_t all) {
    double now = seconds(), took = now - p->start;
    if (p->start <= 0) {
        p->start = now;
    } else if (done == all && p->shown > 0) {
        fprintf(stderr, "\r%60s\r", "");
    } else if (done < all && done && took > 2 && now - p->shown > 0.2 && isatty(STDERR_FILENO)) {
        double left = took / (double)done * (double)(all - done);
        fprintf(stderr, "\r%s %zu of %zu, %.0f s left ", p->what, done, all, left);
        p->shown = now;
    }
}

static int tell_progress(void *data, const char *what, size_t done, size_t all) {
    progress *p = data;
    if (p->what && strcmp(p->what, what) != 0) *p = (progress){ NULL, 0, 0 };
    p->what = what;
    show_progress(p, done, all);
    return stopped();
}

pith__progress progress_of(progress *p) { return (pith__progress){ tell_progress, p }; }

/* In steps of about a quarter of a second, so that the user can stop a long prompt. */
int eval_tokens(pith_session *s, const pith_token *t, int n) {
    pith_error e = { 0, "" };
    progress p = { "prompt", 0, 0 };
    for (int step = 16, i = 0, k; i < n && !stopped(); i += k) {
        double start = seconds();
        if (n > 1) show_progress(&p, (size_t)i, (size_t)n);
        k = n - i < step ? n - i : step;
        if (pith_eval(s, t + i, k, &e) != PITH_OK) return complain(FAILED, "%s", e.text);
        double took = seconds() - start;
        if (took < 0.25 && step < 4096) step *= 2;
        if (took > 0.5 && step > 1) step /= 2;
    }
    if (n > 1) show_progress(&p, (size_t)n, (size_t)n);
    return 0;
}

/* Step by step from the first token that the session does not have. */
int sync_tokens(pith_session *s, const pith_token *t, int n) {
    int known = pith_known(s, t, n);
    pith_rewind(s, known);
    return eval_tokens(s, t + known, n - known);
}
