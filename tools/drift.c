/* drift.c - run drift: how far model B is from model A on a text, token by token, and weight by weight.
 *
 * Figures and words are those of llama-perplexity --kl-divergence, where A is "base" and B is "Q", so that tables can be
 * held against each other: the text is cut into windows of -c tokens, each begins with BOS where the vocabulary wants
 * one, and the second half of each is scored, so that every token has context. A text shorter than a window is one,
 * and all of it is scored. Differences from there: probabilities of A are not rounded to 16 bits, and KL counts those
 * below e^-16 too. */
#include "probes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    model_choice a, b;
    const char *file, *tokens;
    int json, worst;
} drift_options;

typedef struct {
    const drift_options *o;
    const pith_model *a, *b;
    char *text;
    pith_token *t;           /* (n) the text */
    int n;
    int n_ctx, first;        /* tokens of a window; those at its beginning that are only read, but one */
    size_t n_window;
    pith__drift_row *row;    /* (n) by token; kl < 0: not scored */
    size_t *scored;          /* (n_scored) which tokens are */
    size_t n_scored;
    int64_t same_top;
    pith__apart *tensor;     /* (n_tensor) */
    size_t n_tensor;
    output out;
} drift_job;

/* ---- models and text ------------------------------------------------------------------------- */

/* -z is of those that are checkpoints of llama2.c's. */
static int open_one(const model_choice *c, pith_model **m) {
    model_choice choice = *c;
    if (c->options.tokenizer) {
        pith_error e;
        *m = pith_open(c->path, &c->options, &e);
        if (*m) return need_decoder(*m);
        if (e.code == PITH_EARG) choice.options.tokenizer = NULL;
    }
    int code = open_model(&choice, 0, m);
    return code ? code : need_decoder(*m);
}

/* Both must cut it into the same tokens: then these mean the same. */
static int compare_tokens(const drift_job *j, const pith_token *t, int n) {
    size_t len, len_b;
    for (int i = 0; i < n || i < j->n; i++) {
        if (i < n && i < j->n && t[i] == j->t[i]) continue;
        const char *a = i < j->n ? pith_piece(j->a, j->t[i], &len) : NULL, *b = i < n ? pith_piece(j->b, t[i], &len_b) : NULL;
        return complain(BAD_DATA, "%s and %s have other vocabularies: token %d of %s is %d '%.*s' and %d '%.*s'", j->a->store.path,
                        j->b->store.path, i, j->o->file, i < j->n ? (int)j->t[i] : -1, a ? (int)len : 0, a ? a : "",
                        i < n ? (int)t[i] : -1, b ? (int)len_b : 0, b ? b : "");
    }
    return 0;
}

/* A model without a vocabulary takes the other one's word for it. */
static int read_file(drift_job *j) {
    const char *name = !strcmp(j->o->file, "-") ? "standard input" : j->o->file;
    size_t size = 0;
    pith_token *t = NULL;
    int n = 0, code = 0;
    if (!j->a->tokenizer && !j->b->tokenizer)
        return complain(NOT_LOADED, "%s: neither model has a vocabulary to read it with (--tokens)", name);
    code = read_text(j->o->file, &j->text, &size);
    if (!code) code = clean_text(name, j->text, &size);
    if (!code && !size) code = complain(BAD_DATA, "%s: is empty", name);
    if (!code) code = encode_text(j->a->tokenizer ? j->a : j->b, j->text, size, PITH_BOS, &j->t, &j->n);
    if (code || !j->a->tokenizer || !j->b->tokenizer) return code;
    code = encode_text(j->b, j->text, size, PITH_BOS, &t, &n);
    if (!code) code = compare_tokens(j, t, n);
    free(t);
    return code;
}

static int read_tokens(drift_job *j) {
    int code = j->o->tokens ? read_ids(j->o->tokens, &j->t, &j->n) : read_file(j);
    int n_vocab = pith_model_shape(j->a)->n_vocab;
    for (int i = 0; !code && i < j->n; i++)
        if (j->t[i] >= n_vocab) code = complain(BAD_DATA, "token %d is not below the vocabulary's %d", (int)j->t[i], n_vocab);
    if (!code && j->n < 2) code = complain(BAD_DATA, "nothing to score: %d token%s, need two", j->n, j->n == 1 ? "" : "s");
    return code;
}

static int choose_window(drift_job *j) {
    int asked = j->o->a.context.n_ctx, most = 512, a = pith_model_shape(j->a)->n_ctx, b = pith_model_shape(j->b)->n_ctx;
    if (asked == 1) return complain(USAGE, "-c is 1, need 2 tokens or more");
    if (a < most) most = a;
    if (b < most) most = b;
    j->n_ctx = asked ? asked : most;
    int whole = j->n < j->n_ctx;
    if (whole) j->n_ctx = j->n;
    j->first = whole ? 0 : j->n_ctx / 2;
    j->n_window = (size_t)(j->n / j->n_ctx);
    int left = j->n % j->n_ctx;
    if (!whole && left)
        note(j->o->a.quiet, "the last %d tokens of the text fill no window of %d and are left out (-c)", left, j->n_ctx);
    return 0;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static int score_windows(drift_job *j, pith__drift_plan *plan) {
    pith_error e = { 0, "" };
    pith__drift_sums all = { .n = 0 };
    progress shown = { "window", 0, 0 };
    const pith__vocab *v = &(j->a->tokenizer ? j->a : j->b)->store.vocab;
    for (size_t w = 0; w < j->n_window && !stopped(); w++) {
        pith_token *t = j->t + w * (size_t)j->n_ctx, kept = t[0];
        show_progress(&shown, w, j->n_window);
        if (v->add_bos && v->bos >= 0 && !j->o->tokens) t[0] = v->bos;
        int code = pith__drift(plan, t, j->n_ctx, j->row + (t - j->t), &all, &e);
        t[0] = kept;
        if (code) return report(&e);
    }
    show_progress(&shown, j->n_window, j->n_window);
    for (size_t i = 0; i < (size_t)j->n; i++)
        if (!(j->row[i].kl < 0)) j->scored[j->n_scored++] = i;
    j->same_top = all.same_top;
    return stopped();
}

static int score_both(drift_job *j, drift_options *o) {
    pith__drift_plan plan = { .begin = -1, .window = j->n_ctx - 1, .skip = j->first };
    j->row = malloc((size_t)j->n * sizeof *j->row);
    j->scored = malloc((size_t)j->n * sizeof *j->scored);
    if (!j->row || !j->scored) return complain(FAILED, "no memory for %d tokens", j->n);
    for (int i = 0; i < j->n; i++) j->row[i].kl = -1;
    o->a.context.n_ctx = o->b.context.n_ctx = 0;
    int code = open_session(j->a, &o->a, j->n_ctx, &plan.a);
    if (!code) code = open_session(j->b, &o->b, j->n_ctx, &plan.b);
    if (!code) code = score_windows(j, &plan);
    pith_session_free(plan.a);
    pith_session_free(plan.b);
    return code;
}

/* ---- figures --------------------------------------------------------------------------------- */

enum { N_KL = 11, N_DP = 13 };
static const double kl_at[N_KL] = { 1, 0.999, 0.99, 0.95, 0.9, 0.5, 0.1, 0.05, 0.01, 0.001, 0 };
static const double dp_at[N_DP] = { 1, 0.999, 0.99, 0.95, 0.9, 0.75, 0.5, 0.25, 0.1, 0.05, 0.01, 0.001, 0 };

typedef struct {
    pith__estimate kl, log_a, log_b, log_ratio, dp, rms, top;
    double ppl_a, ppl_b, correlation, difference_error;
    double kl_quantile[N_KL], dp_quantile[N_DP];
} figures;

/* What find makes of each token that is scored. */
static pith__estimate estimate(const drift_job *j, double *x, double (*find)(const pith__drift_row *r)) {
    for (size_t i = 0; i < j->n_scored; i++) x[i] = find(&j->row[j->scored[i]]);
    return pith__estimate_of(x, j->n_scored);
}

static double kl_of(const pith__drift_row *r) { return r->kl; }
static double nll_a_of(const pith__drift_row *r) { return r->nll_a; }
static double nll_b_of(const pith__drift_row *r) { return r->nll_b; }
static double ratio_of(const pith__drift_row *r) { return r->nll_b - r->nll_a; }
static double dp_of(const pith__drift_row *r) { return exp(-r->nll_b) - exp(-r->nll_a); }
static double dp2_of(const pith__drift_row *r) { return dp_of(r) * dp_of(r); }

/* An error of what is computed of means follows from the slope there. */
static int find_figures(const drift_job *j, figures *f) {
    size_t n = j->n_scored;
    double *x = malloc((n ? n : 1) * sizeof *x);
    if (!x) return complain(FAILED, "no memory for %zu tokens", n);
    f->log_a = estimate(j, x, nll_a_of);
    f->log_b = estimate(j, x, nll_b_of);
    f->log_ratio = estimate(j, x, ratio_of);
    pith__estimate square = estimate(j, x, dp2_of);
    f->rms = (pith__estimate){ sqrt(square.mean), square.mean > 0 ? 0.5 / sqrt(square.mean) * square.error : 0 };
    f->kl = estimate(j, x, kl_of);
    for (int i = 0; i < N_KL; i++) f->kl_quantile[i] = pith__quantile(x, n, kl_at[i]);
    f->dp = estimate(j, x, dp_of);
    for (int i = 0; i < N_DP; i++) f->dp_quantile[i] = pith__quantile(x, n, dp_at[i]);
    free(x);
    double ea = f->log_a.error, eb = f->log_b.error, er = f->log_ratio.error, p = (double)j->same_top / (double)n;
    double covariance = (ea * ea + eb * eb - er * er) / 2;
    f->ppl_a = exp(f->log_a.mean), f->ppl_b = exp(f->log_b.mean);
    f->correlation = ea > 0 && eb > 0 ? covariance / (ea * eb) : (double)NAN;
    double square_error = f->ppl_a * f->ppl_a * ea * ea + f->ppl_b * f->ppl_b * eb * eb - 2 * f->ppl_a * f->ppl_b * covariance;
    f->difference_error = square_error > 0 ? sqrt(square_error) : 0;
    f->top = (pith__estimate){ p, n > 1 ? sqrt(p * (1 - p) / (double)(n - 1)) : 0 };
    return 0;
}

/* ---- the worst tokens ------------------------------------------------------------------------ */

/* The tokens of the largest KL first; NaN is worse than all. */
static size_t worst_after(const drift_job *j, size_t before, int begun) {
    size_t worst = SIZE_MAX;
    for (size_t k = 0; k < j->n_scored; k++) {
        size_t i = j->scored[k];
        double kl = isnan(j->row[i].kl) ? HUGE_VAL : j->row[i].kl, last = !begun ? 0 : isnan(j->row[before].kl) ? HUGE_VAL : j->row[before].kl;
        if (begun && !(kl < last || (kl <= last && i > before))) continue;
        double most = worst == SIZE_MAX ? -1 : isnan(j->row[worst].kl) ? HUGE_VAL : j->row[worst].kl;
        if (kl > most) worst = i;
    }
    return worst;
}

static void put_piece(drift_job *j, pith_token t) {
    size_t n;
    const char *p = pith_piece(j->a, t, &n);
    output_json(&j->out, p ? p : "", p ? n : 0);
}

/* What stands before token i in its window, as far as it fits a line, as a JSON string. */
static void put_context(drift_job *j, size_t i) {
    enum { ROOM = 48 };
    size_t from = i, begin = i - i % (size_t)j->n_ctx, n = 0, k;
    char text[ROOM + 1];
    for (; from > begin; from--) {
        pith_piece(j->a, j->t[from - 1], &k);
        if (n + k > ROOM) break;
        n += k;
    }
    for (n = 0; from < i; from++) {
        const char *p = pith_piece(j->a, j->t[from], &k);
        if (p && from > 0) memcpy(text + n, p, k), n += k;
    }
    output_json(&j->out, text, n);
}

static void print_worst(drift_job *j) {
    size_t i = 0;
    if (!j->o->worst) return;
    output_line(&j->out, "\n====== Tokens of the largest KLD ======\n%9s %9s %8s %8s  token, likeliest of base, likeliest of Q,"
                " what stands before\n", "pos", "KLD", "p(base)", "p(Q)");
    for (int k = 0; k < j->o->worst && (i = worst_after(j, i, k > 0)) != SIZE_MAX; k++) {
        const pith__drift_row *r = &j->row[i];
        output_line(&j->out, "%9zu %9.4f %8.4f %8.4f  ", i, r->kl, exp(-r->nll_a), exp(-r->nll_b));
        put_piece(j, j->t[i]), output_line(&j->out, "  ");
        put_piece(j, r->top_a), output_line(&j->out, "  ");
        put_piece(j, r->top_b), output_line(&j->out, "  ");
        put_context(j, i), output_line(&j->out, "\n");
    }
}

/* ---- the table ------------------------------------------------------------------------------- */

static void print_estimate(drift_job *j, const char *name, double value, double error) {
    output_line(&j->out, "%-30s: %10.6f \xc2\xb1 %10.6f\n", name, value, error);
}

static void print_perplexities(drift_job *j, const figures *f) {
    output_line(&j->out, "====== Perplexity statistics ======\n");
    print_estimate(j, "Mean PPL(Q)", f->ppl_b, f->ppl_b * f->log_b.error);
    print_estimate(j, "Mean PPL(base)", f->ppl_a, f->ppl_a * f->log_a.error);
    output_line(&j->out, "Cor(ln(PPL(Q)), ln(PPL(base))): %6.2f%%\n", 100 * f->correlation);
    print_estimate(j, "Mean ln(PPL(Q)/PPL(base))", f->log_ratio.mean, f->log_ratio.error);
    print_estimate(j, "Mean PPL(Q)/PPL(base)", exp(f->log_ratio.mean), exp(f->log_ratio.mean) * f->log_ratio.error);
    print_estimate(j, "Mean PPL(Q)-PPL(base)", f->ppl_b - f->ppl_a, f->difference_error);
}

static const char *quantile_name(double q, char *room, size_t size) {
    if (q >= 1) return "Maximum";
    if (q <= 0) return "Minimum";
    if (q >= 0.5 && q <= 0.5) return "Median ";
    snprintf(room, size, "%4.1f%%  ", 100 * q);
    return room;
}

static void print_divergences(drift_job *j, const figures *f) {
    char room[16];
    output_line(&j->out, "\n====== KL divergence statistics ======\n");
    output_line(&j->out, "Mean    KLD: %10.6f \xc2\xb1 %10.6f\n", f->kl.mean, f->kl.error);
    for (int i = 0; i < N_KL; i++)
        output_line(&j->out, "%s KLD: %10.6f\n", quantile_name(kl_at[i], room, sizeof room), f->kl_quantile[i]);
    output_line(&j->out, "\n====== Token probability statistics ======\n");
    output_line(&j->out, "Mean    \xce\x94p: %6.3f \xc2\xb1 %5.3f %%\n", 100 * f->dp.mean, 100 * f->dp.error);
    for (int i = 0; i < N_DP; i++)
        output_line(&j->out, "%s \xce\x94p: %6.3f%%\n", quantile_name(dp_at[i], room, sizeof room), 100 * f->dp_quantile[i]);
    output_line(&j->out, "RMS \xce\x94p    : %6.3f \xc2\xb1 %5.3f %%\n", 100 * f->rms.mean, 100 * f->rms.error);
    output_line(&j->out, "Same top p: %6.3f \xc2\xb1 %5.3f %%\n", 100 * f->top.mean, 100 * f->top.error);
}

static double rmse_of(const pith__apart *t) { return sqrt(t->difference / (double)t->n); }
static double part_of(const pith__apart *t) { return t->square > 0 ? sqrt(t->difference / t->square) : 0; }

static void print_tensors(drift_job *j) {
    if (!j->n_tensor) return;
    output_line(&j->out, "\n====== Weights ======\n%-36s %-16s %12s %10s\n", "tensor", "types", "RMSE", "of its RMS");
    for (size_t i = 0; i < j->n_tensor; i++) {
        const pith__apart *t = &j->tensor[i];
        char types[40];
        snprintf(types, sizeof types, t->a == t->b ? "%s" : "%s, %s", t->a->name, t->b->name);
        output_line(&j->out, "%-36s %-16s %12.4e %9.4f%%\n", t->name, types, rmse_of(t), 100 * part_of(t));
    }
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void put_number(drift_job *j, const char *name, double x) { /* JSON has no NaN */
    output_line(&j->out, isfinite(x) ? ", \"%s\": %.9g" : ", \"%s\": null", name, x);
}

static void put_estimate(drift_job *j, const char *name, double value, double error) {
    char full[64];
    snprintf(full, sizeof full, "%s_error", name);
    put_number(j, name, value);
    put_number(j, full, error);
}

static void put_quantiles(drift_job *j, const char *what, const double *at, const double *x, int n) {
    char name[64];
    for (int i = 1; i + 1 < n; i++) {
        if (at[i] >= 0.5 && at[i] <= 0.5) snprintf(name, sizeof name, "median_%s", what);
        else snprintf(name, sizeof name, "%s_%g", what, 100 * at[i]);
        put_number(j, name, x[i]);
    }
    snprintf(name, sizeof name, "max_%s", what);
    put_number(j, name, x[0]);
    snprintf(name, sizeof name, "min_%s", what);
    put_number(j, name, x[n - 1]);
}

static void put_worst(drift_job *j) {
    size_t i = 0;
    output_line(&j->out, ", \"worst\": [");
    for (int k = 0; k < j->o->worst && (i = worst_after(j, i, k > 0)) != SIZE_MAX; k++) {
        const pith__drift_row *r = &j->row[i];
        output_line(&j->out, "%s{\"pos\": %zu", k ? ", " : "", i);
        put_number(j, "kl", r->kl);
        put_number(j, "p_a", exp(-r->nll_a));
        put_number(j, "p_b", exp(-r->nll_b));
        output_line(&j->out, ", \"token\": "), put_piece(j, j->t[i]);
        output_line(&j->out, ", \"top_a\": "), put_piece(j, r->top_a);
        output_line(&j->out, ", \"top_b\": "), put_piece(j, r->top_b);
        output_line(&j->out, ", \"before\": "), put_context(j, i);
        output_line(&j->out, "}");
    }
    output_line(&j->out, "]");
}

static void put_tensors(drift_job *j) {
    output_line(&j->out, ", \"tensors\": [");
    for (size_t i = 0; i < j->n_tensor; i++) {
        const pith__apart *t = &j->tensor[i];
        output_line(&j->out, "%s{\"name\": ", i ? ", " : "");
        output_json(&j->out, t->name, strlen(t->name));
        output_line(&j->out, ", \"type_a\": \"%s\", \"type_b\": \"%s\"", t->a->name, t->b->name);
        put_number(j, "rmse", rmse_of(t));
        put_number(j, "relative_rmse", part_of(t));
        output_line(&j->out, "}");
    }
    output_line(&j->out, "]}\n");
}

static void print_json(drift_job *j, const figures *f) {
    output_line(&j->out, "{\"tokens\": %zu, \"windows\": %zu, \"context\": %d", j->n_scored, j->n_window, j->n_ctx);
    put_estimate(j, "mean_kl", f->kl.mean, f->kl.error);
    put_quantiles(j, "kl", kl_at, f->kl_quantile, N_KL);
    put_estimate(j, "top1_agreement", f->top.mean, f->top.error);
    put_estimate(j, "ppl_a", f->ppl_a, f->ppl_a * f->log_a.error);
    put_estimate(j, "ppl_b", f->ppl_b, f->ppl_b * f->log_b.error);
    put_estimate(j, "mean_ln_ppl_ratio", f->log_ratio.mean, f->log_ratio.error);
    put_estimate(j, "mean_dp", f->dp.mean, f->dp.error);
    put_quantiles(j, "dp", dp_at, f->dp_quantile, N_DP);
    put_estimate(j, "rms_dp", f->rms.mean, f->rms.error);
    put_worst(j);
    put_tensors(j);
}

/* ---- the verb -------------------------------------------------------------------------------- */

static int print_all(drift_job *j) {
    figures f;
    int code = find_figures(j, &f);
    if (!code) code = output_open(&j->out, NULL, NULL);
    if (code) return code;
    if (j->o->json) {
        print_json(j, &f);
    } else {
        output_line(&j->out, "base: %s\nQ: %s\n%zu tokens scored in %zu window%s of %d\n\n", j->a->store.path, j->b->store.path,
                    j->n_scored, j->n_window, j->n_window == 1 ? "" : "s", j->n_ctx);
        print_perplexities(j, &f);
        print_divergences(j, &f);
        print_worst(j);
        if (!j->o->a.quiet) print_tensors(j);
    }
    return output_close(&j->out, 1);
}

static int compare_models(drift_job *j, drift_options *o) {
    pith_error e = { 0, "" };
    if (pith_model_shape(j->a)->n_vocab != pith_model_shape(j->b)->n_vocab)
        return complain(BAD_DATA, "%s has %d tokens, %s has %d: need the same vocabulary", j->a->store.path,
                        pith_model_shape(j->a)->n_vocab, j->b->store.path, pith_model_shape(j->b)->n_vocab);
    int code = read_tokens(j);
    if (!code) code = choose_window(j);
    if (!code) code = score_both(j, o);
    if (!code && !j->n_scored) code = complain(USAGE, "-c is %d, which leaves no token to score", j->n_ctx);
    j->tensor = code ? NULL : calloc((size_t)j->a->n_weight, sizeof *j->tensor);
    if (!code && !j->tensor) code = complain(FAILED, "no memory for %d tensors", j->a->n_weight);
    if (!code && pith__weights_apart(j->a, j->b, j->tensor, &j->n_tensor, &e)) code = report(&e);
    if (!code && !j->n_tensor) note(o->a.quiet, "the models are not of one shape: their weights are not compared");
    return code ? code : print_all(j);
}

int verb_drift(int argc, char **argv) {
    static const char usage[] =
        "run drift A B -f TEXT [options]\n"
        "how far model B is from model A: on a text, token by token, and weight by weight. A may be a Hugging Face\n"
        "folder and B a 4-bit file; they need the same vocabulary. On stdout is a table as llama-perplexity\n"
        "--kl-divergence has it: base is A, Q is B, KLD is KL(A || B), the p of \xce\x94p that of the token that came, B's\n"
        "minus A's. The text is cut into windows of -c tokens (512), and the second half of each is scored, as there; a\n"
        "shorter text is one window, and all of it is scored. Then come the tokens that differ most, and for each\n"
        "tensor the root mean square of what its numbers differ by.\n"
        "--json: one object: mean_kl median_kl max_kl top1_agreement ppl_a ppl_b and more.\n\n";
    drift_options o = { .worst = 10 };
    drift_job j = { .o = &o };
    list files = { .n = 0 };
    pith_model *a = NULL, *b = NULL;
    const flag flags[] = {
        { 'f', "file", TEXT, &o.file, 0, 0, "FILE", "the text; - reads standard input" },
        { 0, "tokens", TEXT, &o.tokens, 0, 0, "IDS", "tokens instead, taken as they are: 1,5,9" },
        { 0, "json", SWITCH, &o.json, 0, 0, "", "print an object instead of the table" },
        { 0, "worst", INTEGER, &o.worst, 0, 100000, "N", "show the N tokens of the largest divergence (10)" },
        MODEL_FLAGS(o.a),
        { 'q', "quiet", SWITCH, &o.a.quiet, 0, 0, "", "without the line for each tensor" },
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    int code = read_flags_and_files(argc, argv, usage, flags, &o.a.path, &files);
    if (code != GO_ON) return code;
    if (!o.a.path || files.n != 1) return complain(USAGE, "drift compares two models: run drift A B -f TEXT");
    if (!o.file == !o.tokens) return complain(USAGE, "drift needs a text: one of -f FILE, --tokens 1,5,9");
    o.b = o.a;
    o.b.path = files.item[0];
    code = open_one(&o.a, &a);
    if (!code) code = open_one(&o.b, &b);
    j.a = a, j.b = b;
    if (!code) code = compare_models(&j, &o);
    free(j.text), free(j.t), free(j.row), free(j.scored), free(j.tensor);
    pith_close(a);
    pith_close(b);
    return code;
}
