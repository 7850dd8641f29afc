/* rows.c - run score of a JSONL file: how likely a model finds each of many texts.
 *
 *     row  tokens  sum_logprob  bytes       one line a row
 *
 * A row is {"text": ...}, whose tokens are all scored but the first, or {"prompt": ..., "completion": ...}: of
 * prompt and completion together, the tokens are scored from where they are no longer those of the prompt alone.
 * The sum over them is what evaluation harnesses compare: of several completions the likeliest is the answer.
 *
 * Some rows at a time go through the model together (pith_eval_many), each in a session of its own. What a row's
 * prompt begins with is not read again where a row before it has read it: that is still in its session, or copied.
 * None of that changes a bit of a sum. Memory does not grow with the number of rows: sessions are as long as the
 * longest row so far. */
#include "verbs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STEP = 256, ROOM = 1 << 24 }; /* tokens, and logits, at once */
enum { WORTH = 16 };        /* tokens that are worth waiting for and copying */

typedef struct row row;
struct row {
    size_t line;            /* its number in the file */
    int bad;                /* 1: said what is wrong with it */
    pith_token *t;          /* (n) */
    int n, first;           /* first: token to be scored, 1 or more */
    size_t n_byte;          /* of the text that is scored */
    double sum;             /* of the logprobs so far */
    pith_session *s;        /* its beginning so far */
    const row *from;        /* the row that reads the first n_same tokens for both; NULL: none, or they are copied */
    int n_same;
};

typedef struct {            /* a token to be scored */
    row *r;
    pith_token t;
    double logprob;
} target;

typedef struct {
    const pith_model *m;
    line_reader *in;
    output out;
    int parallel, parse_special;
    int n_ctx_most;         /* of any session */
    pith_context context;   /* of the sessions that there are; n_ctx 0: none yet */
    pith_pass *pass;
    pith_session **s;       /* (parallel), n_session of them */
    row *row;               /* (parallel), n_row of them */
    pith_work *work;        /* (parallel) */
    target *target;         /* (step) */
    float *x;               /* (step, n_vocab) the logits before each target */
    int n_session, n_row, n_work, n_target, step;
    int busy;               /* 1: there was a token left to evaluate */
    pith__team team;
    size_t count;           /* rows printed */
    size_t n_token, n_read; /* of rows, and those that were evaluated */
    int bad, nan_said;
    sums all;
    progress p;
} rows;

int has_rows(const char *text, size_t n) {
    const char *p = text, *end = text + n, *line_end;
    pith__json j;
    if (n >= 3 && !memcmp(p, "\xef\xbb\xbf", 3)) p += 3;
    while (p < end && (*p == ' ' || (*p >= '\t' && *p <= '\r'))) p++;
    line_end = p < end && *p == '{' ? memchr(p, '\n', (size_t)(end - p)) : p;
    if (!line_end) line_end = end;
    if (pith__json_read(&j, p, (size_t)(line_end - p), "", NULL)) return 0;
    return pith__json_type(pith__json_get(j, "text")) == '"' || pith__json_type(pith__json_get(j, "prompt")) == '"';
}

/* ---- lines -> rows -------------------------------------------------------------------------------- */

static int encode_row(const rows *k, const char *text, size_t len, pith_token **t, int *n) {
    return encode_with(k->m->tokenizer, text, len, PITH_BOS | (k->parse_special ? PITH_SPECIAL : 0), t, n);
}

/* Bytes of the text that its first token is; BOS is none. */
static size_t first_bytes(const pith_model *m, pith_token t) {
    size_t n = 0;
    pith_text(m, -1, t, &n);
    return t == m->store.vocab.bos ? 0 : n;
}

static int read_text_row(const rows *k, row *r, pith__str text) {
    int code = encode_row(k, text.p, text.n, &r->t, &r->n);
    size_t before = code || r->n == 0 ? 0 : first_bytes(k->m, r->t[0]);
    r->first = 1;
    r->n_byte = text.n - (before < text.n ? before : text.n);
    return code;
}

static int read_pair_row(const rows *k, row *r, pith__str prompt, pith__str completion) {
    pith_token *alone = NULL;
    int n = 0, same = 0;
    char *both = malloc(prompt.n + completion.n + 1);
    if (!both) return complain(FAILED, "no memory for line %zu", r->line);
    if (prompt.n) memcpy(both, prompt.p, prompt.n);
    if (completion.n) memcpy(both + prompt.n, completion.p, completion.n);
    int code = encode_row(k, both, prompt.n + completion.n, &r->t, &r->n);
    free(both);
    if (!code) code = encode_row(k, prompt.p, prompt.n, &alone, &n);
    while (!code && same < n && same < r->n && alone[same] == r->t[same]) same++;
    free(alone);
    r->first = same > 0 ? same : 1; /* the first token of all has nothing before it */
    r->n_byte = completion.n;
    return code;
}

/* The strings of a row (text, prompt, completion), or what is wrong with it. */
static const char *read_fields(pith__json j, pith__arena *a, pith__str s[3]) {
    static const char *const names[] = { "text", "prompt", "completion", "messages" };
    static const char *const no_string[] = { "\"text\" is no string", "\"prompt\" is no string",
                                             "\"completion\" is no string" };
    pith__json v[4];
    if (pith__json_type(j) != '{') return "is no object";
    pith__json_pick(j, names, v, 4);
    if (v[3].p) return "\"messages\" are not scored, need \"text\", or \"prompt\" and \"completion\"";
    if (v[0].p && (v[1].p || v[2].p)) return "\"text\" beside \"prompt\" or \"completion\", need one kind";
    if (!v[0].p && !v[1].p) return v[2].p ? "a \"completion\" without a \"prompt\""
                                          : "need \"text\", or \"prompt\" and \"completion\"";
    if (v[1].p && !v[2].p) return "a \"prompt\" without a \"completion\"";
    for (int i = 0; i < 3; i++) {
        s[i] = (pith__str){ NULL, 0 };
        if (!v[i].p) continue;
        if (pith__json_half(v[i])) return "half a surrogate pair (\\ud800 to \\udfff), which is no character";
        int code = pith__json_string(v[i], a, &s[i]);
        if (code) return code == PITH_EMEMORY ? "no memory for it" : no_string[i];
    }
    return NULL;
}

/* The row of the line that was read; what is wrong with it is said. An exit code is of what ends the job. */
static int read_row(rows *k, row *r) {
    pith__arena a = { 0 };
    pith__json j;
    pith__str s[3];
    pith_error e = { 0, "" };
    char why[128];
    const char *wrong = k->in->too_long ? "longer than 64 MB" : NULL;
    int code = 0;
    *r = (row){ .line = k->in->number };
    if (!wrong && pith__json_read(&j, k->in->p, k->in->n, "no JSON", &e)) wrong = e.text;
    if (!wrong) wrong = read_fields(j, &a, s);
    if (!wrong) code = s[0].p ? read_text_row(k, r, s[0]) : read_pair_row(k, r, s[1], s[2]);
    pith__arena_free(&a);
    if (wrong || code) {
        /* said below */
    } else if (r->n > k->n_ctx_most) {
        snprintf(why, sizeof why, "%d tokens, the context has room for %d (-c)", r->n, k->n_ctx_most);
        wrong = why;
    } else if (r->first >= r->n) {
        wrong = "nothing to score, no token that has one before it";
    }
    if (wrong) complain(0, "%s: line %zu: %s", k->in->name, r->line, wrong);
    r->bad = wrong != NULL;
    k->bad |= r->bad;
    return code;
}

/* The next rows, as many as may go through the model together. GO_ON: there are some. */
static int read_rows(rows *k) {
    int code = GO_ON;
    while (k->n_row > 0) free(k->row[--k->n_row].t);
    while (k->n_row < k->parallel && (code = lines_next(k->in)) == GO_ON)
        if ((code = read_row(k, &k->row[k->n_row++]))) return code;
    return code > 0 ? code : k->n_row ? GO_ON : 0;
}

/* ---- sessions ------------------------------------------------------------------------------------- */

static void free_sessions(rows *k) {
    while (k->n_session > 0) pith_session_free(k->s[--k->n_session]);
    pith_pass_free(k->pass);
    k->pass = k->context.pass = NULL;
}

/* As many sessions as rows, or as memory has room for, that can hold n tokens. */
static int make_sessions(rows *k, int n) {
    pith_error e = { 0, "" };
    int room = 256, most = k->parallel;
    size_t pass, session;
    if (k->n_session && n <= k->context.n_ctx) return 0;
    free_sessions(k);
    while (room < n && room < k->n_ctx_most / 2) room *= 2;
    k->context.n_ctx = room < n || room > k->n_ctx_most ? k->n_ctx_most : room;
    k->pass = pith_pass_new(k->m, &k->context, &e);
    k->context.pass = k->pass;
    while (most > 1 && size_together(k->m, &k->context, most, &pass, &session) > 0.75 * pith__may_use("").memory)
        most /= 2;
    while (k->pass && k->n_session < most &&
           (k->s[k->n_session] = pith_session_new(k->m, &k->context, &e))) k->n_session++;
    return k->n_session ? 0 : report(&e);
}

/* ---- scoring -------------------------------------------------------------------------------------- */

/* Longrope must know the length of a text from its first token on. */
static int needs_length(const rows *k, const row *r) {
    return k->m->rope[0].freq_long && r->n > k->m->n_ctx_original;
}

/* The tokens that another row reads for this one are there: they are copied. 0: not yet. */
static int has_beginning(row *r) {
    if (r->from && pith_position(r->from->s) < r->n_same) return 0;
    if (r->from && pith_session_copy(r->s, r->from->s, NULL) != PITH_OK) pith_rewind(r->s, 0);
    if (r->from) pith_rewind(r->s, r->n_same);
    r->from = NULL;
    return 1;
}

/* What is next of a row: tokens of its prompt, or some whose logits are used, as far as there is room for these.
 * The last token's are not. */
static int add_work(rows *k, row *r) {
    pith_error e = { 0, "" };
    int at = pith_position(r->s), scored = at >= r->first - 1;
    int n = (scored ? r->n : r->first) - 1 - at, room = scored ? k->step - k->n_target : STEP;
    pith_work w = { r->s, r->t + at, n < room ? n : room, NULL };
    if (w.n < 1) return 0;
    k->busy = 1;
    k->n_read += (size_t)w.n;
    if (scored) w.logits = k->x + (size_t)k->n_target * (size_t)k->m->hyper.n_vocab;
    for (int i = 0; i < w.n && scored; i++) k->target[k->n_target++] = (target){ r, r->t[at + i + 1], 0 };
    if (!needs_length(k, r)) k->work[k->n_work++] = w;
    else if (pith__eval_part(w.session, w.tokens, w.n, r->n, w.logits, &e)) return report(&e);
    return 0;
}

static void score_target(const void *data, size_t i, uint8_t *scratch) {
    const rows *k = data;
    int rank;
    (void)scratch;
    k->target[i].logprob = logprob_of(k->x + i * (size_t)k->m->hyper.n_vocab, k->m->hyper.n_vocab,
                                      k->target[i].t, &rank);
}

static void score_targets(void *data) {
    rows *k = data;
    pith__share(&k->team, (size_t)k->n_target, k->m->hyper.n_vocab > 1024, score_target, k);
}

/* Some rows, each to its end. */
static int score_rows_together(rows *k, row *r, int n) {
    pith_error e = { 0, "" };
    do {
        int code = stopped();
        k->n_work = k->n_target = k->busy = 0;
        for (int i = 0; i < n && !code; i++)
            if (!r[i].bad && has_beginning(&r[i])) code = add_work(k, &r[i]);
        if (!code && k->n_work && pith_eval_many(k->work, k->n_work, &e)) code = report(&e);
        if (code) return code;
        pith__together(&k->team, score_targets, k);
        for (target *t = k->target; t < k->target + k->n_target; t++) t->r->sum += t->logprob;
    } while (k->busy);
    return 0;
}

static void print_row(rows *k, const row *r) {
    int n = r->bad ? 0 : r->n - r->first, is_nan = !r->bad && isnan(r->sum);
    if (is_nan) warn_once(&k->nan_said, "the model computes NaN");
    output_line(&k->out, "%zu\t%d\t%.6f\t%zu\n", k->count++, n, r->bad || is_nan ? NAN : r->sum,
                r->bad ? 0 : r->n_byte);
    if (r->bad) return;
    k->all.nll -= is_nan ? NAN : r->sum;
    k->all.n_token += (size_t)n;
    k->all.n_byte += r->n_byte;
}

static int common(const row *a, const row *b) { /* tokens at the beginning of two rows of which no logits are used */
    int n = 0, most = (a->first < b->first ? a->first : b->first) - 1;
    while (n < most && a->t[n] == b->t[n]) n++;
    return n;
}

/* Rows get their sessions. What these have read before stays as far as it is the beginning of the row's prompt, unless
 * a row before has more of it. */
static void begin_rows(rows *k, row *r, int n) {
    const row *leader = NULL;
    for (int i = 0; i < n; i++) {
        if (r[i].bad) continue;
        int known = pith_known(k->s[i], r[i].t, r[i].first);
        known = pith_rewind(k->s[i], known < r[i].first ? known : r[i].first - 1);
        r[i].s = k->s[i];
        r[i].n_same = leader ? common(leader, &r[i]) : 0;
        if (r[i].n_same >= known + WORTH) r[i].from = leader;
        else leader = &r[i];
        k->n_token += (size_t)r[i].n - 1;
    }
}

static int score_all(rows *k) {
    int code;
    while ((code = read_rows(k)) == GO_ON && !k->out.code) {
        int longest = 1;
        if (!k->count) output_line(&k->out, "row\ttokens\tsum_logprob\tbytes\n");
        for (int i = 0; i < k->n_row; i++)
            if (!k->row[i].bad && k->row[i].n > longest) longest = k->row[i].n;
        code = make_sessions(k, longest);
        for (int from = 0; from < k->n_row && !code; from += k->n_session) {
            int n = k->n_row - from < k->n_session ? k->n_row - from : k->n_session;
            begin_rows(k, k->row + from, n);
            code = score_rows_together(k, k->row + from, n);
            for (int i = 0; i < n && !code; i++) print_row(k, &k->row[from + i]);
        }
        if (code) break;
        output_flush(&k->out);
        if (k->in->all) show_progress(&k->p, k->in->done, k->in->all);
    }
    if (k->p.start > 0) show_progress(&k->p, 1, 1);
    while (k->n_row > 0) free(k->row[--k->n_row].t);
    return code == GO_ON ? 0 : code;
}

int score_rows(const pith_model *m, const model_choice *c, line_reader *in, int parallel, int parse_special) {
    rows k = { .m = m, .in = in, .context = c->context, .parallel = parallel, .parse_special = parse_special,
               .p.what = "byte" };
    uint8_t no_scratch = 0;
    size_t n = (size_t)parallel, room = ROOM / (size_t)m->hyper.n_vocab;
    k.step = room < 1 ? 1 : room > STEP ? STEP : (int)room;
    k.team = (pith__team){ .n_threads = pith__threads(m->n_threads), .scratch = &no_scratch };
    fit_context(m, &k.context, 1);
    k.n_ctx_most = k.context.n_ctx;
    k.s = calloc(n, sizeof *k.s);
    k.row = calloc(n, sizeof *k.row);
    k.work = calloc(n, sizeof *k.work);
    k.target = calloc((size_t)k.step, sizeof *k.target);
    k.x = malloc((size_t)k.step * (size_t)m->hyper.n_vocab * sizeof *k.x);
    int ready = k.s && k.row && k.work && k.target && k.x;
    int code = ready ? output_open(&k.out, NULL, NULL) : complain(FAILED, "no memory for %d rows at once", parallel);
    if (!code) {
        code = score_all(&k);
        int printed = output_close(&k.out, 1);
        if (!code) code = printed;
    }
    if (!code && !k.count) code = complain(BAD_DATA, "%s: no rows", in->name);
    if (!code)
        fprintf(stderr, "%zu of %zu tokens evaluated%s\n", k.n_read, k.n_token,
                k.n_read < k.n_token ? ", the others were read for rows before" : "");
    if (!code) print_sums(&k.all);
    free_sessions(&k);
    free(k.s), free(k.row), free(k.work), free(k.target), free(k.x);
    return code ? code : k.bad ? BAD_DATA : 0;
}
