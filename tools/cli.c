/* cli.c - what the parts of the command line share: the process, flags, opening, output.
 *
 * What the engine never does is done here: talk to the user, mind signals. What outlives a call is the
 * number of the signal that asked to stop, and whether it was said that a file is lost. */
#define _XOPEN_SOURCE 700
#include "tools.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* What a complaint quotes may hold anything; it stays one line, without escape codes. */
int complain(int code, const char *fmt, ...) {
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = '?';
    fprintf(stderr, "pith: %s\n", text);
    return code;
}

int report(const pith_error *e) {
    int data = e->code == PITH_EFORMAT || e->code == PITH_EARCH;
    return complain(e->code == PITH_EARG ? USAGE : data ? BAD_DATA : FAILED, "%s", e->text);
}

/* ---- the process ----------------------------------------------------------------------------- */

static volatile sig_atomic_t stop_signal;

/* A terminal that closes may send SIGHUP twice, from the shell and from the system: that is no asking twice. */
static void ask_to_stop(int signal) {
    if (stop_signal && signal != SIGHUP) _exit(128 + signal); /* asked twice */
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

double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- numbers --------------------------------------------------------------------------------- */

int read_integer(const char *s, long long min, long long max, long long *to) {
    char *end;
    if (*s != '-' && (*s < '0' || *s > '9')) return 0;
    errno = 0;
    *to = strtoll(s, &end, 10);
    return end != s && !*end && !errno && *to >= min && *to <= max;
}

/* No locale is ever set, so strtod reads a point wherever the user lives. */
int read_real(const char *s, double min, double max, double *to) {
    char *end;
    if (!*s || s[strspn(s, "+-.0123456789eE")]) return 0; /* no blanks, nan, inf, 0x */
    *to = strtod(s, &end);
    return end != s && !*end && *to >= min && *to <= max;
}

int read_ids(const char *s, pith_token **ids, int *n) {
    *n = 0;
    *ids = malloc((strlen(s) / 2 + 1) * sizeof **ids);
    if (!*ids) return complain(FAILED, "no memory for the token ids");
    for (;; s++) {
        char item[16];
        size_t len = strcspn(s, ",");
        long long id;
        snprintf(item, sizeof item, "%.*s", len < sizeof item ? (int)len : 15, s);
        if (!read_integer(item, 0, INT32_MAX, &id)) break;
        (*ids)[(*n)++] = (pith_token)id;
        s += len;
        if (!*s) return 0;
    }
    free(*ids);
    *ids = NULL;
    return complain(USAGE, "token ids: '%.20s' is none, need whole numbers with commas", s);
}

/* ---- flags ----------------------------------------------------------------------------------- */

/* How many letters must be changed, added or left out to make b of a. */
static int distance(const char *a, const char *b) {
    int row[64], n = (int)strlen(b);
    if (n > 63) return INT_MAX;
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 1; *a && i < 64; i++, a++) {
        int corner = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int best = corner + (*a != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            corner = row[j];
            row[j] = best;
        }
    }
    return row[n];
}

static int unknown_flag(const char *arg, const flag *flags) {
    char nearest[64] = "--help", name[64];
    int least = INT_MAX;
    for (const flag *f = flags; f->help; f++)
        for (int which = 0; which < 2; which++) {
            if (which ? !f->name : !f->letter) continue;
            if (which) snprintf(name, sizeof name, "--%s", f->name);
            else snprintf(name, sizeof name, "-%c", f->letter);
            int d = distance(arg, name);
            if (d >= least) continue;
            least = d;
            memcpy(nearest, name, sizeof name);
        }
    return complain(USAGE, "unknown flag '%s', the nearest is '%s'", arg, nearest);
}

/* Is name, up to its end or '=', the flag's long name? '_' counts as '-'. */
static int same_name(const char *name, const char *flag_name) {
    for (; *name && *name != '='; name++, flag_name++)
        if ((*name == '_' ? '-' : *name) != *flag_name) return 0;
    return !*flag_name;
}

static const flag *find_flag(const char *arg, const flag *flags) {
    for (const flag *f = flags; f->help; f++) {
        if (f->letter && arg[1] == f->letter && !arg[2]) return f;
        if (f->name && arg[1] == '-' && same_name(arg + 2, f->name)) return f;
    }
    return NULL;
}

static int set_flag(const flag *f, const char *arg, const char *value) {
    long long i = 0;
    double x = 0;
    list *l = f->to;
    switch (f->kind) {
    case SWITCH: *(int *)f->to = 1; return 0;
    case TEXT: *(const char **)f->to = value; return 0;
    case LIST:
        if (l->n == sizeof l->item / sizeof *l->item)
            return complain(USAGE, "%s comes more than %d times", arg, l->n);
        l->item[l->n++] = value;
        return 0;
    case INTEGER:
        if (!read_integer(value, (long long)f->min, (long long)f->max, &i))
            return complain(USAGE, "%s is '%s', need a whole number from %.0f to %.0f", arg, value,
                            f->min, f->max);
        *(int *)f->to = (int)i;
        return 0;
    case SEED:
        if (!read_integer(value, -1, LLONG_MAX, &i))
            return complain(USAGE, "%s is '%s', need a whole number", arg, value);
        *(uint64_t *)f->to = i < 0 ? 0 : (uint64_t)i;
        return 0;
    default:
        if (!read_real(value, f->min, f->max, &x))
            return complain(USAGE, "%s is '%s', need a number from %g to %g", arg, value, f->min,
                            f->max);
        *(float *)f->to = (float)x;
        return 0;
    }
}

int flush_stdout(void) {
    if (fflush(stdout) == 0 || errno == EPIPE) return 0;
    return complain(FAILED, "standard output: %s", strerror(errno));
}

static int print_help(const char *usage, const flag *flags) {
    printf("%s", usage);
    for (const flag *f = flags; f->help; f++) {
        char left[64];
        int n = f->letter ? snprintf(left, sizeof left, "-%c", f->letter) : 0;
        if (!f->letter) n = snprintf(left, sizeof left, "  ");
        if (f->name) n += snprintf(left + n, sizeof left - (size_t)n, "%s--%s",
                                   f->letter ? ", " : "  ", f->name);
        snprintf(left + n, sizeof left - (size_t)n, " %s", f->value);
        printf("  %-30s %s\n", left, f->help);
    }
    return flush_stdout();
}

int read_flags(int argc, char **argv, const char *usage, const flag *flags, const char **model) {
    for (int i = 1; i < argc; i++) {
        char *arg = argv[i], *value = NULL;
        if (*arg != '-' || !arg[1]) {
            if (*model) return complain(USAGE, "'%s' after the model '%s'?", arg, *model);
            *model = arg;
            continue;
        }
        if (!strcmp(arg, "-h") || !strcmp(arg, "--help")) return print_help(usage, flags);
        const flag *f = find_flag(arg, flags);
        if (!f) return unknown_flag(arg, flags);
        if (arg[1] == '-' && (value = strchr(arg, '='))) *value++ = 0;
        if (f->kind == SWITCH && value) return complain(USAGE, "%s takes no value", arg);
        if (f->kind != SWITCH && !value && !(value = argv[++i]))
            return complain(USAGE, "%s needs a value", arg);
        int code = set_flag(f, arg, value);
        if (code) return code;
    }
    return GO_ON;
}

/* ---- models ---------------------------------------------------------------------------------- */

static int open_store(const model_choice *c, int need_text, pith__store *s) {
    pith_error e = { 0, "" };
    size_t size;
    const void *bundle = bundled_model(&size);
    if (!c->path && !bundle)
        return complain(USAGE, "no model given and none built in; huggingface.co/karpathy/tinyllamas has small "
                        "ones, and any .gguf will do (README.md)");
    int code = pith__check_names(&c->options, &e);
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
    if (code) return complain(code == PITH_EARG ? USAGE : NOT_LOADED, "%s", e.text);
    if (!need_text || s->vocab.model != PITH__NONE) return 0;
    pith__store_free(s);
    return complain(NOT_LOADED, "%s: has no vocabulary to read or write text with", c->path);
}

static int make_model(const model_choice *c, pith__store *s, pith_model **m) {
    pith_error e = { 0, "" };
    *m = pith__model_of(s, &c->options, &e);
    return *m ? 0 : complain(e.code == PITH_EARG ? USAGE : NOT_LOADED, "%s", e.text);
}

int open_model(const model_choice *c, int need_text, pith_model **m) {
    pith__store s;
    int code = open_store(c, need_text, &s);
    return code ? code : make_model(c, &s, m);
}

int open_vocab(const model_choice *c, pith__store *s, pith__tokenizer **k) {
    pith_error e = { 0, "" };
    int code = open_store(c, 1, s);
    if (code) return code;
    *k = pith__tokenizer_new(&s->vocab, &e);
    if (*k) return 0;
    code = complain(NOT_LOADED, "%s: %s", s->path, e.text);
    pith__store_free(s);
    return code;
}

int open_model_or_vocab(const model_choice *c, pith_model **m, pith__store *s) {
    int code = open_store(c, 0, s);
    return code || s->holds == PITH__VOCABULARY ? code : make_model(c, s, m);
}

int open_session(const pith_model *m, model_choice *c, int n, pith_session **s) {
    enum { FEW = 512 }; /* contexts are not cut below this */
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
    return 0;
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

int encode_text(const pith_model *m, const char *text, size_t n, unsigned flags,
                pith_token **tokens, int *count) {
    return encode_with(m->tokenizer, text, n, flags, tokens, count);
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

/* ---- output ---------------------------------------------------------------------------------- */

static void output_failed(output *o) {
    if (o->code) return;
    int quiet = errno == EPIPE || (errno == EINTR && stopped());
    const char *name = o->path ? o->path : "standard output";
    o->code = quiet ? GO_ON : complain(FAILED, "%s: %s", name, strerror(errno));
}

static int same_file(const char *a, const char *b) {
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
    pith_error e = { 0, "" };
    if (pith__writer_open(&o->written, path, &e)) return complain(FAILED, "%s", e.text);
    o->file = o->written.file;
    o->path = o->written.path;
    return 0;
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
    if (o->n_tail) { /* what was to become a character never did */
        o->n_tail = 0;
        output_bytes(o, "\xef\xbf\xbd", 3);
    }
    output_flush(o);
    if (o->written.file) {
        pith_error e = { 0, "" };
        if (!keep || o->code) pith__writer_drop(&o->written);
        else if (pith__writer_commit(&o->written, &e)) o->code = complain(FAILED, "%s", e.text);
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
