/* score.c - run score: how likely a model finds a text, token by token.
 *
 *     pos  id  logprob  rank  piece       one line a token that has one before it
 *
 * The logits after a token say how likely each next one is: logprob is the natural logarithm of the
 * softmax at the token that came, rank how many tokens were likelier. The last line on stderr has
 * the mean of -logprob (nll), its exponential (perplexity), and bits a byte, which can be compared
 * between vocabularies. --logits keeps the numbers themselves. */
#include "tools.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    model_choice model;
    const char *prompt, *file, *tokens, *logits;
    int parse_special;
} score_options;

typedef struct {
    const pith_model *m;
    pith_session *s;
    output lines, logits;
    int n_vocab, nan_said;
    double nll;             /* sums over the tokens scored */
    size_t n_scored, n_byte;
} scoring;

/* log softmax of row x at token t, and how many tokens stand before it: likelier, or as likely and
 * first. */
static double logprob_of(const float *x, int n, pith_token t, int *rank) {
    double max = -INFINITY, sum = 0;
    *rank = 0;
    for (int i = 0; i < n; i++) {
        if (x[i] > max) max = x[i];
        *rank += x[i] > x[t] || (x[i] == x[t] && i < t);
    }
    for (int i = 0; i < n; i++) sum += exp(x[i] - max);
    return x[t] - max - log(sum);
}

static void score_token(scoring *k, const float *x, int position, pith_token t) {
    int rank;
    double logprob = logprob_of(x, k->n_vocab, t, &rank);
    size_t len;
    const char *piece = pith_piece(k->m, t, &len);
    if (isnan(logprob)) {
        if (!k->nan_said) k->nan_said = complain(1, "the model computes NaN");
        logprob = NAN; /* without a sign, which would be printed */
    }
    output_line(&k->lines, "%d\t%d\t%.6f\t%d\t", position, (int)t, logprob, rank);
    output_json(&k->lines, piece ? piece : "", len);
    output_bytes(&k->lines, "\n", 1);
    k->nll -= logprob;
    k->n_scored++;
    k->n_byte += len;
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

/* Tokens t[0..n): evaluated some at a time, so that the logits of all need not exist at once. */
static int score_tokens(scoring *k, const pith_token *t, int n, int keep) {
    enum { MOST = 64, ROOM = 1 << 22 }; /* tokens, and logits, at once */
    int step = ROOM / k->n_vocab < 1 ? 1 : ROOM / k->n_vocab > MOST ? MOST : ROOM / k->n_vocab;
    size_t width = (size_t)k->n_vocab;
    pith_error e = { 0, "" };
    float *x = malloc((size_t)step * width * sizeof *x);
    int code = x ? 0 : complain(FAILED, "no memory for %d x %d logits", step, k->n_vocab);
    progress p = { "token", 0, 0 };
    output_line(&k->lines, "pos\tid\tlogprob\trank\tpiece\n");
    for (int i = 0; i < n && !code && !stopped() && !k->logits.code; i += step) {
        int count = n - i < step ? n - i : step;
        if (k->lines.code && !(keep && k->lines.code == GO_ON)) break; /* nobody reads any more */
        show_progress(&p, (size_t)i, (size_t)n);
        if (pith__eval_part(k->s, t + i, count, n, x, &e) != PITH_OK) {
            code = complain(FAILED, "%s", e.text);
            break;
        }
        for (int j = 0; j < count && i + j + 1 < n; j++)
            score_token(k, x + (size_t)j * width, i + j + 1, t[i + j + 1]);
        if (keep) keep_logits(k, x, (size_t)count * width);
    }
    show_progress(&p, (size_t)n, (size_t)n);
    free(x);
    return code;
}

static void summary(const scoring *k) {
    double n = k->n_scored ? (double)k->n_scored : 1;
    double bytes = k->n_byte ? (double)k->n_byte : k->n_scored ? NAN : 1; /* NaN: no vocabulary */
    fprintf(stderr, "tokens %zu  nll %.6f  perplexity %.4f  bits/byte %.4f\n", k->n_scored,
            k->nll / n, exp(k->nll / n), k->nll / log(2) / bytes);
}

static int get_tokens(const score_options *o, const pith_model *m, pith_token **t, int *n) {
    if (o->tokens) {
        int code = read_ids(o->tokens, t, n), n_vocab = pith_model_shape(m)->n_vocab;
        for (int i = 0; !code && i < *n; i++)
            if ((*t)[i] >= n_vocab)
                code = complain(BAD_DATA, "token %d is not below the vocabulary's %d", (int)(*t)[i],
                                n_vocab);
        return code;
    }
    const char *path = o->file ? o->file : !strcmp(o->prompt, "-") ? "-" : NULL;
    char *text = NULL;
    size_t len = path ? 0 : strlen(o->prompt);
    int code = path ? read_text(path, &text, &len) : 0;
    if (!code)
        code = encode_text(m, path ? text : o->prompt, len,
                           PITH_BOS | (o->parse_special ? PITH_SPECIAL : 0), t, n);
    free(text);
    return !code && *n == 0 ? complain(BAD_DATA, "no text, so no tokens to score") : code;
}

static int score(score_options *o, const pith_model *m, const pith_token *t, int n) {
    scoring k = { .m = m, .n_vocab = pith_model_shape(m)->n_vocab };
    int n_ctx = o->model.context.n_ctx ? o->model.context.n_ctx : pith_model_shape(m)->n_ctx;
    if (n > n_ctx) return complain(USAGE, "the text has %d tokens, the context %d", n, n_ctx);
    int code = open_session(m, &o->model, n, &k.s);
    if (!code) code = output_open(&k.lines, NULL, NULL);
    if (!code && o->logits) code = output_open(&k.logits, o->logits, &o->model);
    if (!code) {
        code = score_tokens(&k, t, n, o->logits != NULL);
        int printed = output_close(&k.lines, 1), whole = !code && !printed && !stopped();
        int written = o->logits ? output_close(&k.logits, whole) : 0;
        if (!code) code = stopped() ? stopped() : written ? written : printed;
    }
    if (!code) summary(&k);
    pith_session_free(k.s);
    return code;
}

int verb_score(int argc, char **argv) {
    static const char usage[] = "run score MODEL (-i TEXT | -f FILE | --tokens 1,5,9) [options]\n"
                                "how likely the model finds each token of a text\n\n";
    score_options o = { 0 };
    const flag flags[] = {
        { 'i', "prompt", TEXT, &o.prompt, 0, 0, "TEXT", "the text; - reads standard input" },
        { 'f', "file", TEXT, &o.file, 0, 0, "FILE", "a file with the text" },
        { 0, "tokens", TEXT, &o.tokens, 0, 0, "IDS", "tokens instead, taken as they are: 1,5,9" },
        { 0, "logits", TEXT, &o.logits, 0, 0, "FILE",
          "write all logits there: float32, a row for each token" },
        { 0, "parse-special", SWITCH, &o.parse_special, 0, 0, "",
          "read <|names|> in the text as special tokens" },
        MODEL_FLAGS(o.model),
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    int code = read_flags(argc, argv, usage, flags, &o.model.path), n = 0;
    if (code != GO_ON) return code;
    if ((o.prompt != NULL) + (o.file != NULL) + (o.tokens != NULL) != 1)
        return complain(USAGE, "score needs a text: one of -i TEXT, -f FILE, --tokens 1,5,9");
    pith_model *m = NULL;
    pith_token *t = NULL;
    code = open_model(&o.model, !o.tokens, &m);
    if (!code) code = get_tokens(&o, m, &t, &n);
    if (!code) code = score(&o, m, t, n);
    free(t);
    pith_close(m);
    return code;
}
