/* score.c - run score: how likely a model finds a text, token by token.
 *
 *     pos  id  logprob  rank  piece       one line a token that has one before it
 *
 * The logits after a token say how likely each next one is: logprob is the natural logarithm of the
 * softmax at the token that came, rank how many tokens were likelier. The last line on stderr has
 * the mean of -logprob (nll), its exponential (perplexity), and bits a byte, which can be compared
 * between vocabularies. --logits keeps the numbers themselves.
 *
 * A text longer than the context goes through it in windows that overlap, as perplexity tools do: each
 * window begins --stride tokens after the one before, and scores the tokens that no window has scored
 * yet. So every token but those of the first window has at least context - stride tokens before it. */
#define _POSIX_C_SOURCE 200809L
#include "verbs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { ROWS_AT_ONCE = 16 };

typedef struct {
    model_choice model;
    const char *prompt, *file, *tokens, *logits, *reward;
    int parse_special, stride, parallel, show;
} score_options;

typedef struct {            /* one text as tokens, or rows that are still to be read */
    pith_token *t;          /* (n) */
    int n, has_rows;
    char *text;             /* that lines may be of, or NULL */
    line_reader lines;
} scored_text;

typedef struct {
    const pith_model *m;
    pith_session *s;
    output lines, logits;
    int keep;               /* 1: logits are written */
    int n_vocab, nan_said;
    int step;               /* tokens evaluated at once */
    float *x;               /* (step, n_vocab) their logits */
    sums all;
    progress p;
} scoring;

typedef struct {            /* one reading of a part of the text, from position 0 */
    const pith_token *t;    /* the whole text */
    int n;                  /* tokens of the text */
    int begin, end;         /* the part: t[begin..end) */
    int bos;                /* the token to put before the part, or -1 */
    int done;               /* tokens of the text whose logits were used before */
} window;

static void score_token(scoring *k, const float *x, int position, pith_token t) {
    int rank;
    double logprob = logprob_of(x, k->n_vocab, t, &rank);
    size_t len;
    const char *piece = pith_piece(k->m, t, &len);
    if (isnan(logprob)) {
        warn_once(&k->nan_said, "the model computes NaN");
        logprob = NAN; /* without a sign, which would be printed */
    }
    output_line(&k->lines, "%d\t%d\t%.6f\t%d\t", position, (int)t, logprob, rank);
    output_json(&k->lines, piece ? piece : "", len);
    output_bytes(&k->lines, "\n", 1);
    k->all.nll -= logprob;
    k->all.n_token++;
    k->all.n_byte += len;
}

/* Little-endian float32, whatever the processor's own order. */
static void keep_logits(scoring *k, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, x + i, sizeof u);
        unsigned char b[4] = { u & 255, u >> 8 & 255, u >> 16 & 255, u >> 24 };
        output_bytes(&k->logits, b, sizeof b);
    }
}

/* The part's tokens are evaluated some at a time, so that the logits of all need not exist at once. */
static int score_window(scoring *k, const window *w) {
    size_t width = (size_t)k->n_vocab;
    pith_error e = { 0, "" };
    int whole = w->end - w->begin + (w->bos >= 0);
    pith_rewind(k->s, 0);
    if (w->bos >= 0 && pith__eval_part(k->s, &w->bos, 1, whole, NULL, &e)) return complain(FAILED, "%s", e.text);
    for (int i = w->begin; i < w->end && !stopped() && !k->logits.code; i += k->step) {
        int count = w->end - i < k->step ? w->end - i : k->step;
        if (k->lines.code && !(k->keep && k->lines.code == GO_ON)) break; /* nobody reads any more */
        show_progress(&k->p, (size_t)i, (size_t)w->n);
        if (pith__eval_part(k->s, w->t + i, count, whole, k->x, &e))
            return complain(FAILED, "%s", e.text);
        int first = w->done > i ? w->done - i : 0;
        for (int j = first; j < count && i + j + 1 < w->n; j++)
            score_token(k, k->x + (size_t)j * width, i + j + 1, w->t[i + j + 1]);
        if (k->keep && first < count)
            keep_logits(k, k->x + (size_t)first * width, (size_t)(count - first) * width);
    }
    return 0;
}

/* All n tokens: in one window, or in windows of as many as the context holds. */
static int score_tokens(scoring *k, const pith_token *t, int n, int stride) {
    enum { MOST = 64, ROOM = 1 << 22 }; /* tokens, and logits, at once */
    int room = ROOM / k->n_vocab, n_ctx = k->s->n_ctx, code;
    k->step = room < 1 ? 1 : room > MOST ? MOST : room;
    k->x = malloc((size_t)k->step * (size_t)k->n_vocab * sizeof *k->x);
    if (!k->x) return complain(FAILED, "no memory for %d x %d logits", k->step, k->n_vocab);
    window w = { .t = t, .n = n, .end = n < n_ctx ? n : n_ctx, .bos = -1 };
    k->p.what = "token";
    output_line(&k->lines, "pos\tid\tlogprob\trank\tpiece\n");
    while ((code = score_window(k, &w)) == 0 && w.end < n && !stopped() && !k->lines.code) {
        w.done = w.end;
        w.bos = t[0] == k->m->store.vocab.bos ? t[0] : -1; /* a text begins with it, so does a part */
        w.begin += stride + (w.begin == 0 && w.bos >= 0);
        w.end = n - w.begin < n_ctx - (w.bos >= 0) ? n : w.begin + n_ctx - (w.bos >= 0);
    }
    show_progress(&k->p, (size_t)n, (size_t)n);
    free(k->x);
    return code;
}

/* A JSONL file is read as it is scored; other text becomes tokens now. */
static int get_input(const score_options *o, const pith_model *m, scored_text *in) {
    if (o->tokens) {
        int code = read_ids(o->tokens, &in->t, &in->n), n_vocab = pith_model_shape(m)->n_vocab;
        for (int i = 0; !code && i < in->n; i++)
            if (in->t[i] >= n_vocab)
                code = complain(BAD_DATA, "token %d is not below the vocabulary's %d", (int)in->t[i],
                                n_vocab);
        return code;
    }
    const char *path = o->file ? o->file : !strcmp(o->prompt, "-") ? "-" : NULL;
    const char *name = path && !strcmp(path, "-") ? "standard input" : path;
    const char *dot = path ? strrchr(path, '.') : NULL;
    in->has_rows = o->file && dot && (!strcasecmp(dot, ".jsonl") || !strcasecmp(dot, ".ndjson"));
    if (in->has_rows) return lines_open(&in->lines, path);
    size_t len = path ? 0 : strlen(o->prompt);
    int code = path ? read_text(path, &in->text, &len) : 0;
    in->has_rows = !code && o->file && has_rows(in->text, len);
    if (in->has_rows) return lines_of_text(&in->lines, name, in->text, len);
    if (!code && path) code = clean_text(name, in->text, &len);
    return code ? code : encode_text(m, path ? in->text : o->prompt, len,
                                     PITH_BOS | (o->parse_special ? PITH_SPECIAL : 0), &in->t, &in->n);
}

static int score(score_options *o, const pith_model *m, const scored_text *in) {
    const pith_token *t = in->t;
    int n = in->n;
    if (n < (o->logits ? 1 : 2)) /* the first token has nothing before it that could predict it */
        return complain(BAD_DATA, "nothing to score: %d token%s, need at least two", n, n == 1 ? "" : "s");
    if (o->parallel) return complain(USAGE, "--parallel is of the rows of a .jsonl file, this is one text");
    scoring k = { .m = m, .n_vocab = pith_model_shape(m)->n_vocab, .keep = o->logits != NULL };
    int whole_ctx = pith_model_shape(m)->n_ctx;
    int code = open_session(m, &o->model, n < whole_ctx ? n : whole_ctx, &k.s);
    int n_ctx = code ? 0 : k.s->n_ctx, stride = o->stride ? o->stride : (n_ctx + 1) / 2;
    if (!code && stride >= n_ctx && n > n_ctx)
        code = complain(USAGE, "--stride is %d, need less than the context of %d", stride, n_ctx);
    if (!code) code = output_open(&k.lines, NULL, NULL);
    if (!code && o->logits) code = output_open(&k.logits, o->logits, &o->model);
    if (!code) {
        code = score_tokens(&k, t, n, stride);
        int printed = output_close(&k.lines, 1), whole = !code && !printed && !stopped();
        int written = o->logits ? output_close(&k.logits, whole) : 0;
        if (!code) code = stopped() ? stopped() : written ? written : printed;
    }
    if (!code && n > n_ctx)
        fprintf(stderr, "windows of %d tokens, the next one %d further on (--stride)\n", n_ctx, stride);
    if (!code)
        fprintf(stderr, "kernels %s, %d thread%s\n", m->kernels->name, k.s->pass->team.n_threads,
                k.s->pass->team.n_threads == 1 ? "" : "s");
    if (!code) print_sums(&k.all);
    pith_session_free(k.s);
    return code;
}

/* --reward: rows, and a score for each. */
static int score_rewarded(score_options *o) {
    const char *other = o->logits ? "--logits" : o->stride ? "--stride" : o->parallel ? "--parallel" :
                        o->parse_special ? "--parse-special" : o->model.lora.n + o->model.lora_scaled.n ? "--lora" : NULL;
    if (!o->file) return complain(USAGE, "--reward scores rows: need -f ROWS.jsonl");
    if (other) return complain(USAGE, "%s is of no use with --reward", other);
    pith_model *m = NULL;
    int code = open_adapted(&o->model, 0, &m); /* rows of tokens need no vocabulary */
    if (!code) code = need_decoder(m);
    if (!code) code = score_by_reward(m, &o->model, o->reward, o->file, o->show);
    close_model(&o->model, m);
    return code;
}

int verb_score(int argc, char **argv) {
    static const char usage[] =
        "run score MODEL (-i TEXT | -f FILE | --tokens 1,5,9) [options]\n"
        "how likely the model finds each token of a text\n\n"
        "run score MODEL -f ROWS.jsonl [--parallel N]\n"
        "how likely it finds each of many texts. A row is a line {\"text\": \"...\"}, of which all tokens\n"
        "are scored, or {\"prompt\": \"...\", \"completion\": \"...\"}, of which the completion is: prompt and\n"
        "completion become tokens together, and those are scored from the first on that is not the prompt's\n"
        "alone. The first token of all (mostly BOS) is never scored. On stdout, after a header, a line a row:\n"
        "    row  tokens  sum_logprob  bytes      tab-separated\n"
        "row counts from 0, blank lines left out; tokens are those scored, sum_logprob is the natural logarithm\n"
        "of the probability of all of them, bytes are of the text or the completion. A row that is wrong or longer\n"
        "than the context has tokens 0 and sum nan, its line is named on stderr, and the exit code is 3.\n"
        "A file has rows by its name (.jsonl), or by its first line.\n\n"
        "run score MODEL --reward DIR -f ROWS.jsonl\n"
        "the score that a reward model gives each text, of run reward or of TRL and peft (task SEQ_CLS): a line a row.\n"
        "Rows are texts, prompts and completions, or messages; of a row with chosen and rejected both are scored, with\n"
        "a tab between. A row that is wrong has nan, its line is named on stderr, and the exit code is 3.\n\n";
    score_options o = { 0 };
    const flag flags[] = {
        { 'i', "prompt", TEXT, &o.prompt, 0, 0, "TEXT", "the text; - reads standard input" },
        { 'f', "file", TEXT, &o.file, 0, 0, "FILE", "a file with the text, or with rows" },
        { 0, "tokens", TEXT, &o.tokens, 0, 0, "IDS", "tokens instead, taken as they are: 1,5,9" },
        { 0, "logits", TEXT, &o.logits, 0, 0, "FILE",
          "write all logits there: float32, a row for each token" },
        { 0, "stride", INTEGER, &o.stride, 1, INT32_MAX, "N",
          "a text longer than the context: tokens from one window to the next (half the context)" },
        { 0, "parallel", INTEGER, &o.parallel, 1, 1024, "N",
          "rows that go through the model together (16), to the same sums" },
        { 0, "reward", TEXT, &o.reward, 0, 0, "DIR", "score rows by this reward model, a PEFT folder" },
        { 0, "show", INTEGER, &o.show, 0, INT32_MAX, "N", "with --reward: the first N texts as tokens too, on stderr (0)" },
        { 0, "parse-special", SWITCH, &o.parse_special, 0, 0, "",
          "read <|names|> in the text as special tokens" },
        LORA_FLAGS(o.model),
        MODEL_FLAGS(o.model),
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    int code = read_flags(argc, argv, usage, flags, &o.model.path);
    if (code != GO_ON) return code;
    if ((o.prompt != NULL) + (o.file != NULL) + (o.tokens != NULL) != 1)
        return complain(USAGE, "score needs a text: one of -i TEXT, -f FILE, --tokens 1,5,9");
    if (o.reward) return score_rewarded(&o);
    pith_model *m = NULL;
    scored_text in = { .n = 0 };
    code = open_adapted(&o.model, !o.tokens, &m);
    if (!code) code = need_decoder(m);
    if (!code) code = get_input(&o, m, &in);
    if (!code && in.has_rows && (o.logits || o.stride))
        code = complain(USAGE, "%s is of one text, and %s has rows", o.logits ? "--logits" : "--stride", in.lines.name);
    if (!code && in.has_rows)
        code = score_rows(m, &o.model, &in.lines, o.parallel ? o.parallel : ROWS_AT_ONCE, o.parse_special);
    else if (!code) code = score(&o, m, &in);
    lines_close(&in.lines);
    free(in.text);
    free(in.t);
    close_model(&o.model, m);
    return code;
}
