/* flags.c - a table of flags reads the command line and prints the help. */
#include "tools.h"
#include "../base/base.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

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

/* Is name, up to its end or '=', the flag's long name? '_' counts as '-'. */
static int same_name(const char *name, const char *flag_name) {
    for (; *name && *name != '='; name++, flag_name++)
        if ((*name == '_' ? '-' : *name) != *flag_name) return 0;
    return !*flag_name;
}

int is_near(const char *word, const char *name) {
    return 3 * pith__letters_apart(word, name) <= (int)strlen(name) + 2;
}

static const flag *find_flag(const char *arg, const flag *flags) {
    for (const flag *f = flags; f->help; f++) {
        if (f->letter && arg[1] == f->letter && !arg[2]) return f;
        if (f->name && arg[1] == '-' && same_name(arg + 2, f->name)) return f;
    }
    return NULL;
}

/* What other programs call a flag that this table has. */
static const char *known_elsewhere(const char *arg, const flag *flags) {
    static const char *const names[][3] = { /* theirs, ours, as it is shown */
        { "--max-tokens", "--n-predict", "--n-predict N" },
        { "--max-new-tokens", "--n-predict", "--n-predict N" },
        { "--predict", "--n-predict", "--n-predict N" },
        { "--max-length", "-n", "-n N" },
        { "--prompt-cache-all", "--prompt-cache", "--prompt-cache FILE" },
        { "--num-return-sequences", "--samples", "--samples N" },
        { "-cnv", "-m", "-m chat" },
        { "-sys", "--system-prompt", "-y TEXT" },
        { "-st", "--prompt", "-i TEXT with its input from /dev/null" },
        { "--single-turn", "--prompt", "-i TEXT with its input from /dev/null" },
        { "--conversation", "-m", "-m chat" },
        { "--chat", "-m", "-m chat" },
        { "-v", "--version", "--version" },
        { "-V", "--version", "--version" },
        { "--lr", "--learning-rate", "--learning_rate X" },
        { "--epochs", "--num-train-epochs", "--num_train_epochs N" },
        { "--batch-size", "--per-device-train-batch-size", "--per_device_train_batch_size N" },
        { "--steps", "--max-steps", "--max_steps N" },
        { "--size", "--vocab-size", "--vocab_size N" },
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (same_name(arg, names[i][0]) && find_flag(names[i][1], flags)) return names[i][2];
    return NULL;
}

/* The first letter is seldom the wrong one. */
static int far(const char *word, const char *name) {
    return 2 * pith__letters_apart(word, name) + (*word != *name);
}

static int unknown_flag(const char *arg, const flag *flags) {
    const char *other = known_elsewhere(arg, flags), *nearest = NULL;
    if (other) return complain(USAGE, "unknown flag '%s', here it is %s", arg, other);
    for (const flag *f = flags; f->help && arg[1] == '-'; f++)
        if (f->name && is_near(arg + 2, f->name) &&
            (!nearest || far(arg + 2, f->name) < far(arg + 2, nearest)))
            nearest = f->name;
    if (nearest) return complain(USAGE, "unknown flag '%s', is it '--%s'?", arg, nearest);
    return complain(USAGE, "unknown flag '%s', --help lists them", arg);
}

static int boolean(const char *s, long long *to) {
    static const char *const words[2][4] = { { "false", "False", "0", "no" }, { "true", "True", "1", "yes" } };
    for (int i = 0; i < 8; i++)
        if (!strcmp(s, words[i / 4][i % 4])) return *to = i / 4, 1;
    return 0;
}

static int set_flag(const flag *f, const char *arg, const char *value) {
    long long i = 0;
    double x = 0;
    list *l = f->to;
    switch (f->kind) {
    case SWITCH: *(int *)f->to = 1; return 0;
    case BOOLEAN:
        if (value && !boolean(value, &i)) return complain(USAGE, "%s is '%s', need true or false", arg, value);
        *(int *)f->to = value ? (int)i : 1;
        return 0;
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
            return complain(USAGE, "%s is '%s', need a whole number from 0 to %lld", arg, value, LLONG_MAX);
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

int add_text(list *texts, const char *path) {
    enum { MOST = sizeof texts->item / sizeof *texts->item };
    if (path && texts->n == MOST) return complain(USAGE, "%s: is one text more than %d", path, MOST);
    if (path) texts->item[texts->n++] = path;
    return texts->n ? 0 : complain(USAGE, "no text given, see --help");
}

static void print_flag_help(const flag *f) {
    const char *at = strchr(f->help, '%');
    printf("%.*s", at ? (int)(at - f->help) : (int)strlen(f->help), f->help);
    if (at && f->kind == TEXT) printf("%s", *(const char **)f->to);
    else if (at && f->kind == REAL) printf("%g", (double)*(float *)f->to);
    else if (at && f->kind == SEED) printf("%llu", (unsigned long long)*(uint64_t *)f->to);
    else if (at) printf("%d", *(int *)f->to);
    printf("%s\n", at ? at + 1 : "");
}

static int print_help(const char *usage, const flag *flags) {
    printf("%s", usage);
    for (const flag *f = flags; f->help; f++) {
        char left[64];
        if (!*f->help) continue; /* another name of the flag before */
        int n = f->letter ? snprintf(left, sizeof left, "-%c", f->letter) : 0;
        if (!f->letter) n = snprintf(left, sizeof left, "  ");
        if (f->name) n += snprintf(left + n, sizeof left - (size_t)n, "%s--%s",
                                   f->letter ? ", " : "  ", f->name);
        snprintf(left + n, sizeof left - (size_t)n, " %s", f->value);
        printf("  %-30s ", left);
        if (strlen(left) > 30) printf("\n%33s", "");
        print_flag_help(f);
    }
    return flush_stdout();
}

int read_flags_and_files(int argc, char **argv, const char *usage, const flag *flags, const char **model, list *files) {
    for (int i = 1; i < argc; i++) {
        char *arg = argv[i], *value = NULL;
        if (*arg != '-' || !arg[1]) {
            int code = *model ? files ? add_text(files, arg) : complain(USAGE, "'%s' after the model '%s': one model, "
                       "and flags", arg, *model) : 0;
            if (code) return code;
            if (!*model) *model = arg;
            continue;
        }
        if (!strcmp(arg, "-h") || !strcmp(arg, "--help")) return print_help(usage, flags);
        const flag *f = find_flag(arg, flags);
        if (!f) return unknown_flag(arg, flags);
        if (arg[1] == '-' && (value = strchr(arg, '='))) *value++ = 0;
        if (f->kind == SWITCH && value) return complain(USAGE, "%s takes no value", arg);
        long long yes;
        if (f->kind == BOOLEAN && !value && i + 1 < argc && boolean(argv[i + 1], &yes)) value = argv[++i];
        if (f->kind != SWITCH && f->kind != BOOLEAN && !value && !(value = argv[++i]))
            return complain(USAGE, "%s needs a value", arg);
        int code = set_flag(f, arg, value);
        if (code) return code;
    }
    return GO_ON;
}

int read_flags(int argc, char **argv, const char *usage, const flag *flags, const char **model) {
    return read_flags_and_files(argc, argv, usage, flags, model, NULL);
}
