/* commands.c - what a person at a terminal can tell a conversation: lines that begin with /. */
#define _XOPEN_SOURCE 700
#include "talk.h"

#include <stdlib.h>
#include <string.h>

/* An exit code, or GO_ON: a command that fails has said so, and the conversation goes on. */
typedef int act(talk *k, const char *rest);

static int has_system(const talk *k) { return k->all.n && !strcmp(k->all.m[0].role, "system"); }

static int clear(talk *k, const char *rest) {
    (void)rest;
    drop_messages(&k->all, has_system(k), k->all.n - has_system(k));
    k->n_dropped = 0;
    fprintf(stderr, "forgotten\n");
    return GO_ON;
}

/* Takes the last answer back, and the question too. */
static int undo(talk *k, const char *rest) {
    (void)rest;
    if (k->all.n - has_system(k) < 2) return complain(USAGE, "nothing was said that could be taken back"), GO_ON;
    char *asked = k->all.m[k->all.n - 2].text;
    size_t n = strlen(asked);
    for (n = n < 60 ? n : 60; (asked[n] & 0xc0) == 0x80; n--) continue; /* no half of a character */
    fprintf(stderr, "taken back: %.*s%s\n", (int)n, asked, asked[n] ? "..." : "");
    drop_messages(&k->all, k->all.n - 2, 2);
    return GO_ON;
}

static int again(talk *k, const char *rest) {
    (void)rest;
    if (k->all.n - has_system(k) < 2) return complain(USAGE, "there is no answer yet"), GO_ON;
    drop_messages(&k->all, k->all.n - 1, 1);
    k->again = 1;
    return GO_ON;
}

static int set_system(talk *k, const char *rest) {
    char *text = strdup(rest);
    if (has_system(k)) drop_messages(&k->all, 0, 1);
    if (!*rest) return free(text), fprintf(stderr, "no system prompt\n"), GO_ON;
    if (add_message(&k->all, "system", text)) return FAILED;
    message said = k->all.m[k->all.n - 1];
    memmove(k->all.m + 1, k->all.m, (size_t)(k->all.n - 1) * sizeof said);
    k->all.m[0] = said;
    fprintf(stderr, "the system prompt is set\n");
    return GO_ON;
}

/* What /set sets and /show shows. */
#define TALK_FLAGS(how, seed, n_predict) \
    SAMPLING_FLAGS(how), \
    { 's', "seed", SEED, &(seed), 0, 0, "N", "start of the random numbers" }, \
    { 0, "n-predict", INTEGER, &(n_predict), -1, INT32_MAX, "N", "tokens of an answer; -1: no limit" }, \
    { 0, NULL, 0, NULL, 0, 0, NULL, NULL }

/* "temp 0.5", as the flags of the command line have it. */
static int set(talk *k, const char *rest) {
    options *o = k->o;
    sampling_choice *how = &o->sampling, before = *how;
    uint64_t seed = o->seed;
    int n_predict = o->n_predict;
    const flag flags[] = { TALK_FLAGS(*how, seed, n_predict) };
    char name[64], value[128], more, verb[] = "/set";
    if (sscanf(rest, " %60s %127s %c", name + 2, value, &more) != 2)
        return complain(USAGE, "/set needs a name and a value, as in /set temp 0.5"), GO_ON;
    memcpy(name, "--", 2);
    const char *model = NULL;
    char *argv[] = { verb, name, value, NULL };
    how->how = k->v->g.how;
    how->samplers = how->sequence = NULL, how->breakers.n = 0;
    if (read_flags(3, argv, "/set NAME VALUE\n", flags, &model) != GO_ON || finish_sampling(how)) return *how = before, GO_ON;
    if (n_predict == 0) return *how = before, complain(USAGE, "an answer of 0 tokens is none; -1: no limit"), GO_ON;
    k->v->g.how = how->how, o->n_predict = n_predict;
    if (!strcmp(name, "--seed")) k->v->g.rng = o->seed = seed;
    return GO_ON;
}

/* The texts at which DRY begins anew, quoted. */
static int show_breakers(char *to, size_t room, const pith_sampling *how) {
    int n = snprintf(to, room, "%s", how->n_dry_breaker ? "" : " none");
    for (int i = 0; i < how->n_dry_breaker && n < (int)room; i++)
        n += snprintf(to + n, room - (size_t)n, strcmp(how->dry_breaker[i], "\n") ? " '%s'" : " '\\n'", how->dry_breaker[i]);
    return n < (int)room ? n : (int)room - 1;
}

/* "top-p 0.95"; nothing where another row says it. */
static int show_setting(const flag *f, char *to, size_t room, const pith_sampling *how) {
    int n = snprintf(to, room, "%s", f->name);
    if (!*f->help || !strcmp(f->name, "samplers")) return 0;
    if (f->kind == INTEGER) return n + snprintf(to + n, room - (size_t)n, " %d", *(const int *)f->to);
    if (f->kind == REAL) return n + snprintf(to + n, room - (size_t)n, " %g", *(const float *)f->to);
    if (f->kind == SEED) return n + snprintf(to + n, room - (size_t)n, " %llu", (unsigned long long)*(const uint64_t *)f->to);
    if (f->kind == LIST) return n + show_breakers(to + n, room - (size_t)n, how);
    return n + snprintf(to + n, room - (size_t)n, " %s", how->order ? how->order : "usual");
}

static int show(talk *k, const char *rest) {
    enum { COLUMNS = 78 };
    const options *o = k->o;
    sampling_choice now = { .how = k->v->g.how };
    uint64_t seed = o->seed;
    int n_predict = o->n_predict, used = 0;
    const flag flags[] = { TALK_FLAGS(now, seed, n_predict) };
    char one[200];
    (void)rest;
    if (n_predict < -1) n_predict = ANSWER_TOKENS;
    for (const flag *f = flags; f->help; f++) {
        int n = show_setting(f, one, sizeof one, &now.how);
        if (!n) continue;
        fprintf(stderr, "%s%s", !used ? "" : used + 2 + n > COLUMNS ? "\n" : "  ", one);
        used = used && used + 2 + n <= COLUMNS ? used + 2 + n : n;
    }
    fprintf(stderr, "\nthoughts %s  reasoning %s  reasoning-budget %d\n", thoughts_names[k->v->thoughts],
            o->reasoning ? o->reasoning : "auto", o->thought_budget);
    fprintf(stderr, "context %d tokens, %d messages\n", k->n_ctx, k->all.n);
    if (has_system(k)) fprintf(stderr, "system: %s\n", k->all.m[0].text);
    return GO_ON;
}

static int set_how_thoughts_show(talk *k, const char *rest) {
    const char *before = k->o->thoughts;
    k->o->thoughts = *rest ? rest : before;
    if (!set_thoughts(k->v, k->o)) fprintf(stderr, "thoughts: %s\n", thoughts_names[k->v->thoughts]);
    else return k->o->thoughts = before, set_thoughts(k->v, k->o), GO_ON;
    k->o->thoughts = thoughts_names[k->v->thoughts]; /* what was typed goes away */
    return GO_ON;
}

static int set_whether_it_thinks(talk *k, const char *rest) {
    int on = !strcmp(rest, "on"), off = !strcmp(rest, "off");
    if (!on && !off && strcmp(rest, "auto") != 0) return complain(USAGE, "/reasoning needs on, off or auto"), GO_ON;
    k->o->reasoning = on ? "on" : off ? "off" : "auto";
    set_reasoning(k->v, k->o);
    fprintf(stderr, "reasoning: %s\n", k->o->reasoning);
    return GO_ON;
}

/* ~/NAME as a shell has it; the caller frees it. NULL: there is no name, complained. */
static char *file_named(const char *command, const char *name) {
    const char *home = !strncmp(name, "~/", 2) ? getenv("HOME") : NULL;
    size_t n = home ? strlen(home) : 0;
    char *path = malloc(n + strlen(name) + 1);
    if (!*name || !path) return free(path), complain(USAGE, "%s needs the name of a file", command), NULL;
    if (home) memcpy(path, home, n);
    strcpy(path + n, name + (home != NULL));
    return path;
}

static int save(talk *k, const char *rest) {
    char *path = file_named("/save", rest);
    if (path && !save_messages(&k->all, path, &k->o->model)) fprintf(stderr, "%s: %d messages\n", path, k->all.n);
    free(path);
    return GO_ON;
}

static int load(talk *k, const char *rest) {
    char *path = file_named("/load", rest);
    if (path && !load_messages(&k->all, path)) fprintf(stderr, "%s: %d messages\n", path, k->all.n);
    free(path);
    return GO_ON;
}

static int stats(talk *k, const char *rest) {
    (void)rest;
    int now = k->n_read - k->n_known;
    fprintf(stderr, "read %d tokens, of these %d known before: %.0f tok/s\n", k->n_read, k->n_known,
            k->read_seconds > 0 ? now / k->read_seconds : 0);
    fprintf(stderr, "wrote %d tokens: %.0f tok/s\n", k->n_written,
            k->write_seconds > 0 ? k->n_written / k->write_seconds : 0);
    fprintf(stderr, "the context has %d of %d tokens\n", pith_position(k->v->s), k->n_ctx);
    return GO_ON;
}

static int leave(talk *k, const char *rest) {
    (void)k, (void)rest;
    return 0;
}

static int help(talk *k, const char *rest);

static const struct {
    const char *name, *value;
    act *run;
    const char *help;
} commands[] = {
    { "help", "", help, "this list" },
    { "clear", "", clear, "forget what was said, but for the system prompt" },
    { "undo", "", undo, "take the last question and its answer back" },
    { "again", "", again, "another answer to the last question" },
    { "system", "TEXT", set_system, "the system prompt from now on; without TEXT none" },
    { "set", "NAME VALUE", set, "a setting by its flag's name: temp, seed, n-predict" },
    { "show", "", show, "the settings" },
    { "thoughts", "show|dim|hide", set_how_thoughts_show, "how thoughts are shown" },
    { "reasoning", "on|off|auto", set_whether_it_thinks, "whether the model thinks before it answers" },
    { "save", "FILE", save, "write the conversation as JSON" },
    { "load", "FILE", load, "go on with such a file" },
    { "stats", "", stats, "tokens and their speed" },
    { "exit", "", leave, "leave (also /quit, /bye, Ctrl-D)" },
    { "quit", "", leave, NULL }, { "bye", "", leave, NULL },
};

enum { N_COMMAND = sizeof commands / sizeof *commands };

static int help(talk *k, const char *rest) {
    (void)k, (void)rest;
    for (int i = 0; i < N_COMMAND; i++)
        if (commands[i].help)
            fprintf(stderr, "/%s %-*s %s\n", commands[i].name, 24 - (int)strlen(commands[i].name), commands[i].value,
                    commands[i].help);
    fprintf(stderr, "\"\"\"                        begins and ends a message of several lines\n"
                    "Alt-Enter                  a line end within a message\n");
    return GO_ON;
}

int command(talk *k, const char *line) {
    size_t n = strcspn(line + 1, " \t\n");
    const char *rest = line + 1 + n, *near = NULL;
    char word[32];
    while (*rest == ' ' || *rest == '\t' || *rest == '\n') rest++;
    snprintf(word, sizeof word, "%.*s", n < sizeof word ? (int)n : 31, line + 1);
    for (int i = 0; i < N_COMMAND; i++) {
        if (!strcmp(word, commands[i].name)) {
            int code = commands[i].run(k, rest);
            return code;
        }
        if (!near && is_near(word, commands[i].name)) near = commands[i].name;
    }
    if (near) complain(USAGE, "no command /%s, is it /%s? (a blank before it sends the line)", word, near);
    else complain(USAGE, "no command /%s, /help lists them (a blank before it sends the line)", word);
    return GO_ON;
}
