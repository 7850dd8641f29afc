/* rewards.c - what a completion is worth: by its answer, its form, its length, and by programs of the user's.
 *
 * A reward is a number for each completion; several are weighted and added. They are what reinforcement learning
 * makes large, by whatever means the model finds: so each is exact about what it looks at, and what it cannot read is
 * an error and never a 0. Programs get a line of JSON for each completion:
 *
 *     {"completion": "...", "truncated": false, "left": 3, "prompt": ..., "answer": ...}
 *
 * left is how many lines follow that belong together with it, so that a program may wait for all of them; what stands
 * behind it are the row's fields as they are. */
#define _XOPEN_SOURCE 700
#include "rewards.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EXACT, FORMAT, LENGTH, COMMAND, OTHER };

struct reward {
    int kind;
    const char *base;        /* its name, */
    char name[64];           /* and where others have it too, with a number */
    double weight;
    const pith__dfa *format;
    long long length;
    const char *command;
    double timeout;
    program *program;        /* NULL: not yet */
};

/* ---- the answer in a text ------------------------------------------------------------------------------ */

static pith__str trimmed(const char *p, const char *end) {
    while (p < end && (*p == ' ' || (*p >= '\t' && *p <= '\r'))) p++;
    while (p < end && (end[-1] == ' ' || (end[-1] >= '\t' && end[-1] <= '\r'))) end--;
    return (pith__str){ p, (size_t)(end - p) };
}

/* The last word in p .. end, or NULL. */
static const char *last_of(const char *p, const char *end, const char *word) {
    size_t n = strlen(word);
    for (const char *at = end; (size_t)(at - p) >= n; at--)
        if (!memcmp(at - n, word, n)) return at - n;
    return NULL;
}

/* The } of the { before p, or NULL. \{ and \} are no braces. */
static const char *closing_brace(const char *p, const char *end) {
    for (int open = 1; p < end; p++) {
        if (*p == '\\') p++;
        else if (*p == '{') open++;
        else if (*p == '}' && !--open) return p;
    }
    return NULL;
}

/* 1: *answer is what is in the last \boxed{}, else behind the last #### in its line, else in the last <answer>
 * </answer>. What was begun and has no end does not count. */
static int find_answer(pith__str text, pith__str *answer) {
    const char *p = text.p, *end = p + text.n, *from, *to;
    for (to = end; (from = last_of(p, to, "\\boxed{")); to = from) {
        const char *in = from + strlen("\\boxed{"), *close = closing_brace(in, end);
        if (close) return *answer = trimmed(in, close), 1;
    }
    if ((from = last_of(p, end, "####"))) {
        pith__str rest = trimmed(from + strlen("####"), end);
        const char *line_end = rest.n ? memchr(rest.p, '\n', rest.n) : NULL;
        return *answer = trimmed(rest.p, line_end ? line_end : end), 1;
    }
    to = last_of(p, end, "</answer>");
    from = to ? last_of(p, to, "<answer>") : NULL;
    if (from) *answer = trimmed(from + strlen("<answer>"), to);
    return from != NULL;
}

/* ---- numbers ------------------------------------------------------------------------------------------------ */

typedef struct {
    pith__decimal d;
    int is_fraction;         /* 1: d is of no use */
    long long top, bottom;   /* the same as a fraction; bottom 0: it has too many digits for that */
} amount;

static int is_digit(char c) { return c >= '0' && c <= '9'; }

/* Takes word away where s begins with it. */
static int skip(pith__str *s, const char *word) {
    size_t n = strlen(word);
    if (s->n < n || memcmp(s->p, word, n)) return 0;
    *s = trimmed(s->p + n, s->p + s->n);
    return 1;
}

/* Does a comma at p + i part thousands, with so many digits before it, and none or some before another comma? */
static int parts_thousands(pith__str s, size_t i, size_t digits, int again) {
    size_t behind = 0;
    while (i + 1 + behind < s.n && is_digit(s.p[i + 1 + behind])) behind++;
    return behind == 3 && digits && (again || digits <= 3);
}

/* A number as people write one: $1,000.50, +3, .5, 4. */
static int read_number(pith__str s, pith__decimal *d) {
    char plain[PITH__DECIMAL_DIGITS];
    size_t n = 0, digits = 0;
    int points = 0, commas = 0;
    if (skip(&s, "\\$") || skip(&s, "$")) s.n -= s.n && s.p[s.n - 1] == '$';
    if (skip(&s, "-") || skip(&s, "\xe2\x88\x92")) plain[n++] = '-';
    else skip(&s, "+");
    skip(&s, "$");
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == ',' && !points && parts_thousands(s, i, digits, commas++)) continue;
        if ((c != '.' || points++) && !is_digit(c)) return 0;
        if (n == sizeof plain) return 0;
        digits += c != '.';
        plain[n++] = c;
    }
    return digits && pith__decimal_read((pith__str){ plain, n }, d);
}

/* The digits of a number, up to 9 of them, and the power of ten that they are over. */
static void make_fraction(amount *v) {
    const pith__decimal *d = &v->d;
    if (d->n > 9 || d->point > 9 || d->n - d->point > 9) return;
    for (int i = 0; i < d->n || i < d->point; i++) v->top = 10 * v->top + (i < d->n ? d->digit[i] - '0' : 0);
    if (d->minus) v->top = -v->top;
    v->bottom = 1;
    for (int i = d->point; i < d->n; i++) v->bottom *= 10;
}

/* A number, or a fraction of two integers. */
static int read_value(pith__str s, amount *v) {
    *v = (amount){ .is_fraction = 0 };
    if (read_number(s, &v->d)) return make_fraction(v), 1;
    const char *slash = s.n ? memchr(s.p, '/', s.n) : NULL, *end = s.p + s.n;
    amount top = { .top = 0 }, bottom = { .top = 0 };
    if (!slash || !read_number(trimmed(s.p, slash), &top.d) || !read_number(trimmed(slash + 1, end), &bottom.d)) return 0;
    make_fraction(&top), make_fraction(&bottom);
    *v = (amount){ .is_fraction = 1, .top = top.top, .bottom = bottom.top };
    return top.bottom == 1 && bottom.bottom == 1 && bottom.top != 0;
}

static int same_answer(pith__str a, pith__str b) {
    amount x, y;
    if (!read_value(a, &x) || !read_value(b, &y)) return !pith__str_cmp(a, b);
    if (x.is_fraction || y.is_fraction) return x.bottom && y.bottom && x.top * y.bottom == y.top * x.bottom;
    return x.d.minus == y.d.minus && x.d.n == y.d.n && x.d.point == y.d.point &&
           !memcmp(x.d.digit, y.d.digit, (size_t)x.d.n);
}

/* ---- rules ------------------------------------------------------------------------------------------------- */

/* What the row says is right: its answer, else its solution, and of a text with an answer in it, that. */
static int right_answer(pith__json row, const char *where, pith__arena *a, pith__str *s) {
    pith_error e = { 0, "" };
    pith__json j = pith__json_get(row, "answer");
    if (!j.p) j = pith__json_get(row, "solution");
    char type = pith__json_type(j);
    if (type == '0') return *s = pith__json_raw(j), 0;
    if (type == '"' && pith__json_string(j, a, s)) return complain(FAILED, "%s: no memory for its answer", where);
    if (type == '"' && !find_answer(*s, s)) *s = trimmed(s->p, s->p + s->n);
    if (type == '"' && s->n) return 0;
    pith__json_fail(j, PITH_EDATA, where, "answer", "a text or a number for --reward exact", &e);
    return report(&e);
}

static int score_exact(const rewarded *c, pith__arena *a, double *x) {
    pith__str right, given, text = { c->completion, c->n_completion };
    int code = right_answer(c->row, "a row", a, &right);
    *x = !code && find_answer(text, &given) && same_answer(right, given);
    return code;
}

static double score_length(const reward *w, const rewarded *c) {
    return 1 - fabs((double)(c->n_token - w->length)) / (double)w->length;
}

/* ---- programs ----------------------------------------------------------------------------------------------- */

static int start(reward *w) {
    if (w->kind == COMMAND && !w->program) w->program = program_start(w->command, w->timeout);
    return w->kind == COMMAND && !w->program ? FAILED : 0;
}

/* The value's text in one line. */
static void put_raw(output *o, pith__json j) {
    pith__str s = pith__json_raw(j);
    for (size_t n; s.n; s.p += n, s.n -= n) {
        for (n = 0; n < s.n && s.p[n] != '\n' && s.p[n] != '\r';) n++;
        output_bytes(o, s.p, n);
        if (n < s.n) output_bytes(o, " ", 1), n++;
    }
}

static void put_line(output *o, const rewarded *c, int left) {
    pith__json it = c->row, key, v;
    output_line(o, "{\"completion\": ");
    output_json(o, c->completion, c->n_completion);
    output_line(o, ", \"truncated\": %s, \"left\": %d", c->truncated ? "true" : "false", left);
    while (pith__json_next(&it, &key, &v)) {
        if (pith__json_is(key, "completion") || pith__json_is(key, "truncated") || pith__json_is(key, "left")) continue;
        output_line(o, ", ");
        put_raw(o, key);
        output_line(o, ": ");
        put_raw(o, v);
    }
    output_line(o, "}\n");
}

static int score_program(reward *w, const rewarded *c, int n, double *x) {
    char *text = NULL;
    size_t n_text = 0;
    output o;
    int code = start(w);
    if (code) return code;
    if (output_memory(&o, &text, &n_text)) return complain(FAILED, "no memory for %d completions", n);
    for (int i = 0; i < n; i++) put_line(&o, c + i, n - 1 - i);
    code = output_close(&o, 0);
    if (fclose(o.file) || o.code) code = complain(FAILED, "no memory for %d completions", n);
    if (!code) code = program_ask(w->program, text, n_text, n, x);
    free(text);
    return code;
}

/* ---- all of them ---------------------------------------------------------------------------------------------- */

static int score(reward *w, const rewarded *c, int n, pith__arena *a, double *x) {
    int code = 0;
    if (w->kind == COMMAND) return score_program(w, c, n, x);
    for (int i = 0; i < n && !code; i++) {
        pith__str text = { c[i].completion, c[i].n_completion };
        if (w->kind == EXACT) code = score_exact(c + i, a, x + i);
        else if (w->kind == FORMAT) x[i] = pith__dfa_has(w->format, text);
        else if (w->kind == LENGTH) x[i] = score_length(w, c + i);
    }
    return code;
}

int rewards_score(rewards *r, const rewarded *c, int n, double *each, double *total) {
    pith__arena a = { 0 };
    int code = 0;
    for (int k = 0; k < r->n && !code; k++) code = score(&r->reward[k], c, n, &a, each + (size_t)k * (size_t)n);
    pith__arena_free(&a);
    for (int i = 0; i < n && !code; i++) {
        total[i] = 0;
        for (int k = 0; k < r->n && !code; k++) {
            double x = each[(size_t)k * (size_t)n + (size_t)i];
            total[i] += r->reward[k].weight * x;
            if (!(fabs(total[i]) <= FLT_MAX))
                code = complain(FAILED, "reward %s of completion %d is %g, which makes no finite sum", r->reward[k].name, i + 1, x);
        }
    }
    return code;
}

int rewards_check(const rewards *r, pith__json row, const char *where) {
    pith__arena a = { 0 };
    pith__str s;
    int code = 0;
    for (int k = 0; k < r->n && !code; k++)
        if (r->reward[k].kind == EXACT) code = right_answer(row, where, &a, &s);
    pith__arena_free(&a);
    return code;
}

int rewards_start(rewards *r) {
    int code = 0;
    for (int k = 0; k < r->n && !code; k++) code = start(&r->reward[k]);
    return code;
}

const char *rewards_name(const rewards *r, int k) { return r->reward[k].name; }

/* ---- flags --------------------------------------------------------------------------------------------------- */

static reward *add_reward(rewards *r, int kind, const char *name) {
    reward *w = &r->reward[r->n];
    int same = 1;
    for (int k = 0; k < r->n; k++) same += !strcmp(r->reward[k].base, name);
    *w = (reward){ .kind = kind, .base = name, .weight = 1 };
    snprintf(w->name, sizeof w->name, same > 1 ? "%.48s_%d" : "%.48s", name, same);
    r->n++;
    return w;
}

static int add_rule(rewards *r, const char *rule) {
    const char *value = strchr(rule, ':');
    pith_error e = { 0, "" };
    if (!strcmp(rule, "exact")) return add_reward(r, EXACT, "exact"), 0;
    if (!strncmp(rule, "format:", 7) && value[1]) {
        reward *w = add_reward(r, FORMAT, "format");
        w->format = pith__pattern_whole(pith__str_of(value + 1), &r->arena, &e);
        return w->format ? 0 : complain(e.code == PITH_EMEMORY ? FAILED : USAGE, "--reward %s: %s", rule, e.text);
    }
    if (!strncmp(rule, "length:", 7)) {
        long long n;
        if (!read_integer(value + 1, 1, INT_MAX, &n))
            return complain(USAGE, "--reward %s: need a number of tokens", rule);
        return add_reward(r, LENGTH, "length")->length = n, 0;
    }
    return complain(USAGE, "--reward %s: need exact, format:PATTERN or length:N", rule);
}

/* One number for each reward, with commas between them. */
static int read_weights(rewards *r, const char *s) {
    int n = 0;
    for (const char *p = s; p; p = strchr(p, ',')) {
        char one[64];
        p += n > 0;
        size_t len = strcspn(p, ",");
        double x;
        snprintf(one, sizeof one, "%.*s", len < sizeof one ? (int)len : 0, p);
        if (!read_real(one, -FLT_MAX, FLT_MAX, &x))
            return complain(USAGE, "--reward_weights %s: need a number for each reward, with commas", s);
        if (n < r->n) r->reward[n].weight = x;
        n++;
    }
    return n == r->n ? 0 : complain(USAGE, "--reward_weights %s: %d numbers for %d rewards", s, n, r->n);
}

int rewards_open(rewards *r, const reward_options *o, const char *const *other, int n_other) {
    int n = o->rules.n + o->commands.n + n_other, code = 0;
    *r = (rewards){ .n_other = n_other };
    if (!n) return complain(USAGE, "no reward: need --reward, --reward_command or --reward_model");
    r->reward = pith__arena_new(&r->arena, (size_t)n, sizeof *r->reward);
    if (!r->reward) return complain(FAILED, "no memory for %d rewards", n);
    for (int i = 0; i < o->rules.n && !code; i++) code = add_rule(r, o->rules.item[i]);
    for (int i = 0; i < o->commands.n && !code; i++) {
        reward *w = add_reward(r, COMMAND, "command");
        w->command = o->commands.item[i];
        w->timeout = (double)o->timeout;
        if (!w->command[strspn(w->command, " \t\n")]) code = complain(USAGE, "--reward_command is empty");
    }
    for (int i = 0; i < n_other && !code; i++) add_reward(r, OTHER, other[i]);
    return code || !o->weights ? code : read_weights(r, o->weights);
}

void rewards_close(rewards *r) {
    for (int k = 0; k < r->n; k++) program_end(r->reward[k].program);
    pith__arena_free(&r->arena);
    *r = (rewards){ .n = 0 };
}
