/* rollout_rows.c - completions as lines of JSON, to look at, and to learn from what another program sampled.
 *
 *     {"group": 0, "prompt_ids": [1, 2], "completion_ids": [3, 4], "old_logps": [-0.5, -2], "reward": 1, "truncated": false}
 *
 * PPO writes "values" too, one for each token. Lines of a group, which has one prompt, stand side by side. Numbers are
 * written so that they are read as the same. */
#include "rollouts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing ------------------------------------------------------------------------------------- */

static void write_ids(output *o, const char *name, const pith_token *t, int n) {
    output_line(o, ", \"%s\": [", name);
    for (int i = 0; i < n; i++) output_line(o, "%s%d", i ? ", " : "", t[i]);
    output_line(o, "]");
}

/* As few digits as say which number it is. */
static void write_real(output *o, double x) {
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    output_line(o, "%s", text);
}

int rollouts_write(const rollouts *r, output *o) {
    for (int i = 0; i < r->n && !o->code; i++) {
        const rollout *x = &r->r[i];
        output_line(o, "{\"group\": %lld", (long long)x->group);
        write_ids(o, "prompt_ids", x->t, x->n_prompt);
        write_ids(o, "completion_ids", x->t + x->n_prompt, x->n);
        output_line(o, ", \"old_logps\": [");
        for (int k = 0; k < x->n; k++) output_line(o, "%s%.9g", k ? ", " : "", (double)x->logp[k]);
        if (x->value) output_line(o, "], \"values\": [");
        for (int k = 0; x->value && k < x->n; k++) output_line(o, "%s%.9g", k ? ", " : "", (double)x->value[k]);
        output_line(o, "], \"reward\": ");
        write_real(o, x->reward);
        output_line(o, ", \"truncated\": %s}\n", x->truncated ? "true" : "false");
    }
    output_flush(o);
    return o->code > 0 ? o->code : 0;
}

/* ---- reading ------------------------------------------------------------------------------------- */

enum { F_GROUP, F_PROMPT, F_COMPLETION, F_LOGPS, F_REWARD, F_TRUNCATED, N_NEEDED, F_VALUES = N_NEEDED, N_FIELD };
static const char *const field_names[N_FIELD] = { "group", "prompt_ids", "completion_ids", "old_logps", "reward", "truncated", "values" };

typedef struct {
    rollouts *to;
    char where[160];     /* "FILE: line 3" */
    int n_vocab, room;
    pith__json f[N_FIELD];
} row_reader;

static int wrong(const row_reader *w, pith__json j, const char *name, const char *need) {
    pith_error e = { 0, "" };
    pith__json_fail(j, PITH_EDATA, w->where, name, need, &e);
    return complain(BAD_DATA, "%s", e.text);
}

static int no_memory(const row_reader *w) { return complain(FAILED, "%s: no memory for the completion", w->where); }

/* An array that is not empty. */
static int count_array(const row_reader *w, int field, int *n) {
    size_t count = pith__json_type(w->f[field]) == '[' ? pith__json_count(w->f[field]) : 0;
    *n = count < 1 << 28 ? (int)count : 0;
    return *n ? 0 : wrong(w, w->f[field], field_names[field], "an array of numbers, at least one");
}

static int read_ids_of(const row_reader *w, int field, pith_token *t) {
    pith__json it = w->f[field], j;
    int64_t id;
    char name[48], need[64];
    for (int i = 0; pith__json_next(&it, NULL, &j); i++) {
        if (pith__json_int(j, &id) && id >= 0 && id < w->n_vocab) {
            t[i] = (pith_token)id;
            continue;
        }
        snprintf(name, sizeof name, "%s[%d]", field_names[field], i);
        snprintf(need, sizeof need, "a token, 0 to %d", w->n_vocab - 1);
        return wrong(w, j, name, need);
    }
    return 0;
}

/* One for each token of the completion. */
static int read_reals(const row_reader *w, int field, const rollout *x, float *to) {
    pith__json it = w->f[field], j;
    int n, code = count_array(w, field, &n);
    double real;
    char name[48];
    if (code) return code;
    if (n != x->n)
        return complain(BAD_DATA, "%s: %s has %d numbers, need %d, one for each of %s", w->where, field_names[field], n, x->n,
                        field_names[F_COMPLETION]);
    for (int i = 0; pith__json_next(&it, NULL, &j); i++) {
        snprintf(name, sizeof name, "%s[%d]", field_names[field], i);
        if (!pith__json_float(j, &real) || !isfinite((float)real)) return wrong(w, j, name, "a number");
        to[i] = (float)real;
    }
    return 0;
}

/* Its group is that of the line before, and has the same prompt; or it is new. */
static int check_group(const row_reader *w, const rollout *x) {
    const rollouts *r = w->to;
    const rollout *last = r->n ? &r->r[r->n - 1] : NULL;
    if (last && last->group == x->group) {
        int same = last->n_prompt == x->n_prompt && !memcmp(last->t, x->t, (size_t)x->n_prompt * sizeof *x->t);
        if (same) return 0;
        return complain(BAD_DATA, "%s: the prompt is not that of the line before, which is of group %lld too", w->where,
                        (long long)x->group);
    }
    for (int i = 0; i < r->n; i++)
        if (r->r[i].group == x->group)
            return complain(BAD_DATA, "%s: group %lld was there before: its lines must stand side by side", w->where,
                            (long long)x->group);
    return 0;
}

static int read_fields(const row_reader *w, rollout *x) {
    pith__arena *a = &w->to->arena;
    char truncated = pith__json_type(w->f[F_TRUNCATED]);
    for (int i = 0; i < N_NEEDED; i++)
        if (!w->f[i].p) return complain(BAD_DATA, "%s: has no %s", w->where, field_names[i]);
    if (!pith__json_int(w->f[F_GROUP], &x->group) || x->group < 0)
        return wrong(w, w->f[F_GROUP], field_names[F_GROUP], "a whole number from 0 on");
    int code = count_array(w, F_PROMPT, &x->n_prompt);
    if (!code) code = count_array(w, F_COMPLETION, &x->n);
    if (code) return code;
    x->t = pith__arena_new(a, (size_t)x->n_prompt + (size_t)x->n, sizeof *x->t);
    x->logp = pith__arena_new(a, (size_t)x->n, sizeof *x->logp);
    x->value = w->f[F_VALUES].p ? pith__arena_new(a, (size_t)x->n, sizeof *x->value) : NULL;
    if (!x->t || !x->logp || (w->f[F_VALUES].p && !x->value)) return no_memory(w);
    code = read_ids_of(w, F_PROMPT, x->t);
    if (!code) code = read_ids_of(w, F_COMPLETION, x->t + x->n_prompt);
    if (!code) code = read_reals(w, F_LOGPS, x, x->logp);
    if (!code && x->value) code = read_reals(w, F_VALUES, x, x->value);
    if (code) return code;
    if (!pith__json_float(w->f[F_REWARD], &x->reward)) return wrong(w, w->f[F_REWARD], field_names[F_REWARD], "a finite number");
    if (truncated != 't' && truncated != 'f') return wrong(w, w->f[F_TRUNCATED], field_names[F_TRUNCATED], "true or false");
    x->truncated = truncated == 't';
    return check_group(w, x);
}

static int read_line(row_reader *w, const line_reader *l) {
    pith__json row;
    pith_error e = { 0, "" };
    snprintf(w->where, sizeof w->where, "%.120s: line %zu", l->name, l->number);
    if (l->too_long) return complain(BAD_DATA, "%s: is too long", w->where);
    if (pith__json_read(&row, l->p, l->n, w->where, &e)) return complain(BAD_DATA, "%s", e.text);
    if (pith__json_type(row) != '{') return wrong(w, row, "the line", "an object");
    pith__json_pick(row, field_names, w->f, N_FIELD);
    if (w->to->n == w->room) { /* the old one is the arena's until the end */
        int room = w->room ? 2 * w->room : 64;
        rollout *more = pith__arena_new(&w->to->arena, (size_t)room, sizeof *more);
        if (!more) return no_memory(w);
        if (w->to->n) memcpy(more, w->to->r, (size_t)w->to->n * sizeof *more);
        w->to->r = more, w->room = room;
    }
    rollout *x = &w->to->r[w->to->n];
    *x = (rollout){ .n = 0 };
    int code = read_fields(w, x);
    if (code) return code;
    w->to->n++;
    if (x->n_prompt + x->n > w->to->longest) w->to->longest = x->n_prompt + x->n;
    return 0;
}

int rollouts_read(rollouts *to, const char *path, int n_vocab) {
    row_reader w = { .to = to, .n_vocab = n_vocab };
    line_reader l;
    memset(to, 0, sizeof *to);
    int code = lines_open(&l, path), got = GO_ON;
    while (!code && (got = lines_next(&l)) == GO_ON) code = read_line(&w, &l);
    if (!code && got != GO_ON) code = got;
    if (!code && !to->n) code = complain(BAD_DATA, "%s: has no completions", path);
    lines_close(&l);
    if (code) rollouts_free(to);
    return code;
}
