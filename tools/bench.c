/* bench.c - run bench: tokens a second, and how near they come to what the machine can do.
 *
 * Two tests, named as llama-bench names them: ppN reads a prompt of N tokens at once, tgN writes N tokens
 * one by one; x P: N in each of P texts, which are written together; @ dD: after D tokens that each session
 * has read already. Reading is bound by arithmetic, writing by memory: every weight is read for every token, and
 * so is the cache. P texts share the weights that are read, so with more of them arithmetic becomes the bound.
 * An encoder writes nothing: ppN x P reads P texts of N tokens in one call, as run embed does, and has texts a second too.
 * Both limits are measured in the same run, with the same threads, and the fraction that was reached is quoted
 * beside them. */
#define _POSIX_C_SOURCE 200809L
#include "verbs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

/* ---- measuring ---------------------------------------------------------------------------------------- */

static int workers(int n) { /* of n threads, those that are at work */
#ifdef _OPENMP
#pragma omp parallel num_threads(n)
#pragma omp master
    n = omp_get_num_threads(); /* the environment may allow fewer */
#endif
    return n;
}

/* The sum of n numbers, so that they are read: as so many streams, a line of the cache of each in turn. */
static uint64_t read_streams(const uint64_t *p, size_t n, size_t streams) {
    uint64_t sum[8] = {0}, all = 0;
    size_t part = n / streams;
    for (size_t i = 0; i + 8 <= part; i += 8)
        for (size_t k = 0; k < streams; k++)
            for (size_t j = 0; j < 8; j++) sum[j] += p[k * part + i + j];
    for (int j = 0; j < 8; j++) all += sum[j];
    return all;
}

/* Bytes a second that all threads together read, the best of several passes over 256 MB. Some processors read
 * several streams of memory faster than one. */
static double read_bandwidth(int n_threads) {
    enum { SIZE = 1 << 25, PIECE = 1 << 18 }; /* numbers */
    uint64_t *p = malloc(SIZE * sizeof *p), sum = 0;
    double best = 0;
    (void)n_threads; /* without OpenMP */
    if (!p) return 0;
    for (size_t i = 0; i < SIZE; i++) p[i] = 1;
    for (int pass = 0; pass < 8; pass++) {
        double start = seconds();
#ifdef _OPENMP
#pragma omp parallel for num_threads(n_threads) reduction(+ : sum) schedule(dynamic)
#endif
        for (int i = 0; i < SIZE / PIECE; i++) sum += read_streams(p + (size_t)i * PIECE, PIECE, pass % 2 ? 4 : 1);
        double rate = SIZE * sizeof *p / (seconds() - start);
        if (rate > best && sum > 0) best = rate;
    }
    free(p);
    return best;
}

/* Operations a second of all threads, a multiply-add being two, where nothing leaves the registers: the best of
 * several passes. */
static double arithmetic_peak(const pith_model *m, int n_threads, const pith__format *f) {
    double best = 0;
    for (int pass = 0; pass < 20; pass++) {
        double start = seconds();
        size_t each = 0;
        float sum = 0;
#ifdef _OPENMP
#pragma omp parallel num_threads(n_threads) reduction(+ : sum)
#endif
        {
            size_t n = 0;
            for (int i = 0; i < 64; i++) sum += m->kernels->peak_flops(f, &n);
#ifdef _OPENMP
#pragma omp master
#endif
            each = 64 * n;
        }
        double rate = 2.0 * (double)each * n_threads / (seconds() - start);
        if (rate > best && sum == sum) best = rate;
    }
    return best;
}

enum { MOST_PARALLEL = 31, MOST_TEXTS = 1024 };

typedef struct {
    char test[48];
    int n, together, depth;
    int n_text;             /* written together, or read by an encoder; 1 where a prompt is read */
    double mean, sd;        /* tokens a second, of all texts */
} result;

typedef struct {            /* the sessions of the texts that are written together */
    pith_pass *pass;
    pith_session **s;       /* (n) */
    int n;
    pith_work *work;        /* (n) */
    pith_token *token;      /* (n) the next of each */
} texts;

static pith_token some_token(const pith_model *m, int i) {
    return (pith_token)((unsigned)i * 2654435761u % (unsigned)m->hyper.n_vocab);
}

typedef struct {            /* what an encoder reads */
    pith_embedder *e;
    pith_passage *text;     /* (n) */
    pith_token *token;      /* (n, length) */
    float *vectors;         /* (n, size of a vector) */
    int length;
} passages;

/* A session reads n tokens, 256 at once. */
static int read_tokens(pith_session *s, int n) {
    pith_error e = { 0, "" };
    for (int i = 0; i < n; ) {
        pith_token t[256];
        int k = n - i < 256 ? n - i : 256;
        for (int j = 0; j < k; j++) t[j] = some_token(s->model, i + j);
        if (pith_eval(s, t, k, &e)) return complain(FAILED, "%s", e.text);
        if (stopped()) return stopped();
        i += k;
    }
    return 0;
}

/* The first n_text texts write n tokens each. */
static int write_tokens(const texts *k, int n_text, int n) {
    pith_error e = { 0, "" };
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n_text; j++) {
            k->token[j] = some_token(k->s[j]->model, i + 7 * j);
            k->work[j] = (pith_work){ k->s[j], &k->token[j], 1, NULL };
        }
        if (pith_eval_many(k->work, n_text, &e)) return complain(FAILED, "%s", e.text);
        if (stopped()) return stopped();
    }
    return 0;
}

/* Brings text i back to so many tokens; what a window has forgotten, or was never read, is that of the first text. */
static int go_to_depth(const texts *k, int i, int depth) {
    pith_error e = { 0, "" };
    int at = pith_rewind(k->s[i], depth);
    if (i == 0 || at == depth) return read_tokens(k->s[i], depth - at);
    return pith_session_copy(k->s[i], k->s[0], &e) ? report(&e) : 0;
}

/* The mean of r->mean, whose sum over the repetitions it is, and their standard deviation. */
static void finish_result(result *r, double squares, int repetitions) {
    r->mean /= repetitions;
    double variance = squares / repetitions - r->mean * r->mean;
    r->sd = variance > 0 && repetitions > 1 ? sqrt(variance * repetitions / (repetitions - 1)) : 0;
}

static int measure(const texts *k, result *r, int repetitions) {
    double squares = 0;
    int code = 0, length = snprintf(r->test, sizeof r->test, "%s%d", r->together ? "pp" : "tg", r->n);
    if (r->n_text > 1) length += snprintf(r->test + length, sizeof r->test - (size_t)length, " x%d", r->n_text);
    if (r->depth) snprintf(r->test + length, sizeof r->test - (size_t)length, " @ d%d", r->depth);
    for (int i = -1; i < repetitions && !code; i++) { /* the first to warm up */
        int n = i < 0 && r->n > 32 ? 32 : r->n;
        for (int j = 0; j < r->n_text && !code; j++) code = go_to_depth(k, j, r->depth);
        double start = seconds();
        if (!code) code = r->together ? read_tokens(k->s[0], n) : write_tokens(k, r->n_text, n);
        double rate = (double)n * r->n_text / (seconds() - start);
        if (i >= 0) r->mean += rate, squares += rate * rate;
    }
    finish_result(r, squares, repetitions);
    return code;
}

/* An encoder reads r->n_text texts of r->n tokens, all in one call. */
static int measure_passages(const passages *k, result *r, int repetitions) {
    pith_error e = { 0, "" };
    double squares = 0;
    int code = 0, length = snprintf(r->test, sizeof r->test, "pp%d", r->n);
    if (r->n_text > 1) snprintf(r->test + length, sizeof r->test - (size_t)length, " x%d", r->n_text);
    for (int i = 0; i < r->n_text; i++) k->text[i] = (pith_passage){ .tokens = k->token + i * (ptrdiff_t)k->length, .n_tokens = r->n };
    for (int i = -1; i < repetitions && !code; i++) { /* the first to warm up */
        double start = seconds();
        if (pith_embed(k->e, k->text, r->n_text, k->vectors, r->n_text, &e) < 0) code = report(&e);
        double rate = (double)r->n * r->n_text / (seconds() - start);
        if (i >= 0) r->mean += rate, squares += rate * rate;
        if (!code) code = stopped();
    }
    finish_result(r, squares, repetitions);
    return code;
}

/* The share of the experts that n tokens read, if each chooses without regard to the others. */
static double experts_read(const pith__hyper *h, int n) {
    return 1 - pow(1 - (double)h->n_expert_used / h->n_expert, n);
}

/* Bytes of weights that a token of each of n texts reads: all but the embedding, of which it is a row a text,
 * unless that is the output matrix too; of the experts, those that are used. */
static double bytes_read(const pith_model *m, int n_text) {
    double bytes = 0;
    for (size_t i = 0; i < m->store.n_tensor; i++) {
        const pith__tensor *t = &m->store.tensor[i];
        double size = (double)pith__tensor_bytes(t);
        int expert = m->hyper.n_expert && strstr(t->name.p, "_exps");
        int looked_up = (t->data == m->embd.tensor.data && t->data != m->head.tensor.data) || t->data == m->ple_embd.tensor.data;
        if (looked_up) size = (double)t->row_bytes * n_text;
        bytes += expert ? size * experts_read(&m->hyper, n_text) : size;
    }
    return bytes;
}

/* Bytes of the cache that a token at such a position reads, and of states. */
static double cache_read(const pith_session *s, double position) {
    const pith__hyper *h = &s->model->hyper;
    double bytes = (double)pith__states_floats(s->model) * sizeof(float), a_key = (double)s->k_format->bytes / s->k_format->length;
    double a_value = (double)s->v_format->bytes / s->v_format->length;
    for (int l = 0; l < h->n_layer; l++) {
        const pith__layer *w = &s->model->layer[l];
        double window = w->mask.window, n = window && window < position ? window : position;
        bytes += (pith__planes(w, 0) * a_key + pith__planes(w, 1) * a_value) * w->head_dim * n;
    }
    return bytes;
}

/* Multiply-adds of a token's matrices; with_head 0: without the last, which a prompt uses for its last token only. Tables
 * of which a token takes a row, as of positions, stand outside of the layers. */
static double matrix_numbers(const pith_model *m, int with_head) {
    double n = with_head ? (double)m->head.tensor.rows * (double)m->head.tensor.cols : 0;
    for (size_t i = 0; i < m->store.n_tensor; i++) {
        const pith__tensor *t = &m->store.tensor[i];
        int expert = m->hyper.n_expert && strstr(t->name.p, "_exps");
        double size = t->n_dim < 2 ? 0 : (double)t->rows * (double)t->cols;
        if (strncmp(t->name.p, "blk.", 4) != 0) continue;
        n += expert ? size * m->hyper.n_expert_used / m->hyper.n_expert : size;
    }
    return n;
}

enum { IN_CACHE = 1 << 26 }; /* bytes; smaller models may never go to memory */

/* ---- the verb ----------------------------------------------------------------------------------------- */

typedef struct {
    model_choice model;
    const char *shape, *type, *parallel;
    int n_prompt, n_gen, n_depth, repetitions, json;
    int masks;           /* --grammar */
    int n_vector;        /* --search */
    grammar_choice grammar;
    int n_text[MOST_PARALLEL], n_parallel; /* of --parallel */
} bench_flags;

typedef struct {            /* of this machine, in this run */
    double memory, peak;    /* bytes read, and operations in the format of the model's matrices, a second */
    const char *peak_name;
} limits;

static void print_matrices(output *o, const limits *most, double rate) {
    output_line(o, "%.0f GOP/s in matrices, %.0f %% of the %s peak\n", rate / 1e9, 100 * rate / most->peak, most->peak_name);
}

/* s: of a decoder */
static void print_shares(output *o, const pith_model *m, const pith_session *s, const limits *most, const result *r) {
    output_line(o, "%s: ", r->test);
    if (r->together) {
        if (!s) output_line(o, "%.1f texts/s, ", r->mean / r->n);
        print_matrices(o, most, 2 * matrix_numbers(m, 0) * r->mean);
        return;
    }
    double cache = cache_read(s, r->depth + r->n / 2.0);
    double rate = (bytes_read(m, r->n_text) / r->n_text + cache) * r->mean; /* weights are read once for all texts */
    if (r->n_text > 1) output_line(o, "%.2f t/s a text, ", r->mean / r->n_text);
    output_line(o, "%.2f GB/s of weights%s", rate / 1e9, r->depth ? " and cache" : "");
    if (m->shape.n_byte < IN_CACHE) output_line(o, ", which fit into the processor's cache");
    else output_line(o, ", %.0f %% of what a plain read of memory reaches", 100 * rate / most->memory);
    output_line(o, r->n_text > 1 ? "; " : "\n");
    if (r->n_text > 1) print_matrices(o, most, 2 * matrix_numbers(m, 1) * r->mean);
}

static void print_limits(output *o, const pith_model *m, const pith_session *s, int n_threads, const result *r, int n) {
    const pith__format *f = m->embd.tensor.group ? pith__format_of(PITH__Q8_0) : m->layer[0].ffn->up.tensor.format; /* int8 is int8 */
    limits most = { read_bandwidth(n_threads), arithmetic_peak(m, n_threads, f),
                    f->unpack ? "int8" : f->id == PITH__BF16 ? "bf16" : "fp32" };
    double fp32 = arithmetic_peak(m, n_threads, pith__format_of(PITH__F32));
    double int8 = arithmetic_peak(m, n_threads, pith__format_of(PITH__Q8_0));
    output_line(o, "\nlimits in this run: %.2f GB/s read, %.0f GFLOP/s fp32, %.0f GOP/s int8; kernels: %s\n",
                most.memory / 1e9, fp32 / 1e9, int8 / 1e9, m->kernels->name);
    for (int i = 0; i < n; i++) print_shares(o, m, s, &most, &r[i]);
}

static int print_results(const bench_flags *b, const pith_model *m, const pith_session *s, const result *r, int n) {
    output o;
    int code = output_open(&o, NULL, NULL);
    if (code) return code;
    const pith_shape *h = pith_model_shape(m);
    int n_threads = workers(s ? s->pass->team.n_threads : m->n_threads > 1 ? pith__threads(m->n_threads) : 1);
    const char *name = b->shape ? b->shape : b->model.path ? b->model.path : "built in";
    const char *slash = strrchr(name, '/');
    if (!b->shape && slash && slash[1]) name = slash + 1;
    if (!b->json) {
        output_line(&o, "| model | size | params | threads | test | t/s |\n");
        output_line(&o, "| --- | ---: | ---: | ---: | ---: | ---: |\n");
    }
    for (int i = 0; i < n && b->json; i++) {
        output_line(&o, "{\"test\": \"%s\", \"mean\": %.4f, \"sd\": %.4f, \"threads\": %d", r[i].test, r[i].mean, r[i].sd, n_threads);
        output_line(&o, s ? "}\n" : ", \"texts\": %.4f}\n", r[i].mean / r[i].n);
    }
    for (int i = 0; i < n && !b->json; i++)
        output_line(&o, "| %s %s | %.2f MiB | %.2f M | %d | %s | %.2f ± %.2f |\n", name,
                    m->layer[0].ffn->up.tensor.format->name, (double)h->n_byte / 1048576, (double)h->n_param / 1e6,
                    n_threads, r[i].test, r[i].mean, r[i].sd);
    if (!b->json) print_limits(&o, m, s, n_threads, r, n);
    return output_close(&o, 1);
}

/* "1,4,16" */
static int read_parallel(bench_flags *b, const char *s) {
    char item[8];
    long long v;
    for (size_t len; ; s += len + 1) {
        len = strcspn(s, ",");
        snprintf(item, sizeof item, "%.*s", len < sizeof item ? (int)len : 7, s);
        if (!read_integer(item, 1, MOST_TEXTS, &v))
            return complain(USAGE, "--parallel has '%s', need numbers of texts from 1 to %d: 1,4,16", item, MOST_TEXTS);
        if (b->n_parallel == MOST_PARALLEL)
            return complain(USAGE, "--parallel has more than %d numbers", MOST_PARALLEL);
        b->n_text[b->n_parallel++] = (int)v;
        if (!s[len]) return 0;
    }
}

/* Tests that fit the context, which are cut where they do not: how many, or -1. */
static int plan_tests(bench_flags *b, int n_ctx, result *r) {
    int room = n_ctx - b->n_depth, most = b->n_prompt > b->n_gen ? b->n_prompt : b->n_gen, n = 0;
    if (room < 1) {
        complain(USAGE, "--n-depth %d: the context is %d tokens", b->n_depth, n_ctx);
        return -1;
    }
    if (most > room) {
        if (b->n_prompt > room) b->n_prompt = room;
        if (b->n_gen > room) b->n_gen = room;
        fprintf(stderr, "pith: the context is %d tokens: pp%d tg%d\n", n_ctx, b->n_prompt, b->n_gen);
    }
    if (b->n_prompt > 0) r[n++] = (result){ .n = b->n_prompt, .together = 1, .n_text = 1, .depth = b->n_depth };
    for (int i = 0; i < b->n_parallel && b->n_gen > 0; i++)
        r[n++] = (result){ .n = b->n_gen, .n_text = b->n_text[i], .depth = b->n_depth };
    return n;
}

static void free_texts(texts *k) {
    for (int i = 0; k->s && i < k->n; i++) pith_session_free(k->s[i]);
    pith_pass_free(k->pass);
    free(k->s), free(k->work), free(k->token);
}

/* Sessions for n texts; of more than one, with a pass that they share. */
static int open_texts(texts *k, const pith_model *m, model_choice *c, int n_ctx, int n) {
    pith_error e = { 0, "" };
    k->s = calloc((size_t)n, sizeof *k->s);
    k->work = calloc((size_t)n, sizeof *k->work);
    k->token = calloc((size_t)n, sizeof *k->token);
    if (!k->s || !k->work || !k->token) return complain(FAILED, "no memory for %d texts", n);
    k->n = n;
    if (n == 1) return open_session(m, c, n_ctx, k->s);
    pith_context context = c->context;
    if (!context.n_ctx) context.n_ctx = n_ctx;
    pith_context rows = context; /* a pass has no more rows than its context has tokens */
    if (rows.n_ctx < n) rows.n_ctx = n;
    k->pass = context.pass = pith_pass_new(m, &rows, &e);
    double size = k->pass ? (double)n * (double)pith_session_size(m, &context) : 0, memory = pith__may_use("").memory;
    if (size > memory)
        return complain(FAILED, "no memory for %d texts of %d tokens: %.1f GB, this process may use %.1f", n,
                        context.n_ctx, size / 1e9, memory / 1e9);
    for (int i = 0; i < n && k->pass; i++)
        if (!(k->s[i] = pith_session_new(m, &context, &e))) break;
    return k->s[n - 1] ? 0 : report(&e);
}

static int run_decoder(bench_flags *b, const pith_model *m) {
    result r[1 + MOST_PARALLEL];
    texts k = { 0 };
    if (b->n_prompt < 0) b->n_prompt = 512;
    if (b->n_gen < 0) b->n_gen = 128;
    if (!b->parallel) read_parallel(b, "1");
    int n = plan_tests(b, m->hyper.n_ctx, r), n_text = 1, longest = 1, code = n < 0 ? USAGE : 0;
    for (int i = 0; i < n; i++) {
        if (r[i].n_text > n_text) n_text = r[i].n_text;
        if (r[i].depth + r[i].n > longest) longest = r[i].depth + r[i].n;
    }
    if (!code) code = open_texts(&k, m, &b->model, longest, n_text);
    for (int i = 0; i < n && !code; i++) code = measure(&k, &r[i], b->repetitions);
    if (!code) code = print_results(b, m, k.s[0], r, n);
    free_texts(&k);
    return code;
}

static int open_passages(passages *k, const pith_model *m, const model_choice *c, int most) {
    pith_embedding how = { .pooling = PITH_MEAN };
    pith_error e = { 0, "" };
    size_t n = (size_t)most, length = (size_t)k->length;
    k->e = pith_embedder_new(m, &c->context, &how, &e);
    if (!k->e) return report(&e);
    k->text = calloc(n, sizeof *k->text);
    k->token = malloc(n * length * sizeof *k->token);
    k->vectors = malloc(n * (size_t)pith_embedder_size(k->e) * sizeof *k->vectors);
    if (!k->text || !k->token || !k->vectors) return complain(FAILED, "no memory for %d texts", most);
    for (size_t i = 0; i < n * length; i++) k->token[i] = some_token(m, (int)(i % INT32_MAX));
    return 0;
}

/* An encoder reads whole texts: no token follows another. */
static int run_encoder(bench_flags *b, const pith_model *m) {
    result r[MOST_PARALLEL];
    passages k = { .length = b->n_prompt < 0 ? 32 : b->n_prompt };
    if (!b->parallel) read_parallel(b, "1,256");
    int most = 1, code = 0, limit = m->hyper.n_ctx;
    if (b->n_gen > 0 || b->n_depth)
        return complain(USAGE, "%s: is an encoder, which writes nothing: --n-prompt says how long the texts are that it reads, "
                        "--parallel how many", m->store.path);
    if (!k.length) return complain(USAGE, "--n-prompt is 0: nothing to do");
    if (k.length > limit) {
        fprintf(stderr, "pith: the context is %d tokens: pp%d\n", limit, limit);
        k.length = limit;
    }
    for (int i = 0; i < b->n_parallel; i++) {
        r[i] = (result){ .n = k.length, .together = 1, .n_text = b->n_text[i] };
        if (b->n_text[i] > most) most = b->n_text[i];
    }
    code = open_passages(&k, m, &b->model, most);
    for (int i = 0; i < b->n_parallel && !code; i++) code = measure_passages(&k, &r[i], b->repetitions);
    if (!code) code = print_results(b, m, NULL, r, b->n_parallel);
    pith_embedder_free(k.e);
    free(k.text), free(k.token), free(k.vectors);
    return code;
}

/* --search: the nearest of n vectors, in memory and made up; the best of several passes beside what a plain read reaches. */
static int bench_search(const bench_flags *b, const pith_model *m) {
    enum { DIM = 384, BEST = 5 };
    size_t n = (size_t)b->n_vector;
    float question[DIM], *x = malloc(n * DIM * sizeof *x);
    pith__search s = { m->kernels, b->model.options.n_threads, x, n, DIM, NULL, question, 0 };
    pith_match best[BEST];
    output o;
    double least = INFINITY;
    if (!x) return complain(FAILED, "no memory for %zu vectors of %d numbers", n, DIM);
    if (!s.n_threads) s.n_threads = pith__may_use("").cores;
    for (size_t i = 0; i < n * DIM; i++) x[i] = (float)(i * 2654435761u >> 8 & 0xffff) / 32768 - 1;
    for (int i = 0; i < DIM; i++) question[i] = (float)(i % 7 - 3);
    for (int i = 0, code = 0; i < 1 + b->repetitions && code >= 0 && !stopped(); i++) {
        double start = seconds();
        code = pith__nearest(&s, BEST, best);
        if (seconds() - start < least) least = seconds() - start;
    }
    free(x);
    int code = stopped() ? stopped() : output_open(&o, NULL, NULL);
    if (code) return code;
    double rate = (double)n * DIM * sizeof *x / least, most = read_bandwidth(s.n_threads);
    if (b->json) output_line(&o, "{\"test\": \"search\", \"vectors\": %zu, \"seconds\": %.6f, \"share\": %.4f, \"threads\": %d}\n", n,
                             least, rate / most, s.n_threads);
    else output_line(&o, "search: %zu vectors of %d numbers in %.1f ms, %d thread%s: %.2f GB/s, %.0f %% of what a plain read of"
                     " memory reaches (%.2f GB/s)\n", n, DIM, 1e3 * least, s.n_threads, s.n_threads == 1 ? "" : "s", rate / 1e9,
                     100 * rate / most, most / 1e9);
    return output_close(&o, 1);
}

int verb_bench(int argc, char **argv) {
    bench_flags b = { .n_prompt = -1, .n_gen = -1, .repetitions = 5 };
    const flag flags[] = {
        { 0, "n-prompt", INTEGER, &b.n_prompt, 0, INT32_MAX, "N", "tokens to read (512; 0: skip; an encoder: 32)" },
        { 0, "n-gen", INTEGER, &b.n_gen, 0, INT32_MAX, "N", "tokens to write (128; 0: skip)" },
        { 0, "parallel", TEXT, &b.parallel, 0, 0, "LIST",
          "texts that are written together, a test for each number: 1,4,16 (1); that an encoder reads together (1,256)" },
        { 'd', "n-depth", INTEGER, &b.n_depth, 0, INT32_MAX, "N", "tokens read before that (0)" },
        { 0, "repetitions", INTEGER, &b.repetitions, 1, 10000, "N", "runs of each (5)" },
        { 0, "shape", TEXT, &b.shape, 0, 0, "NAME", "made-up weights of this shape: stories260K, "
          "llama-15m, llama-110m, qwen3-0.6b, llama-1b, qwen3.5-0.8b, qwen3.5-2b, gemma4-e2b, gpt-oss-4-layers, "
          "lfm2-1.2b, granite-4-h-1b, glm-4.7-flash-4-layers" },
        { 0, "type", TEXT, &b.type, 0, 0, "TYPE", "their format: f32, f16, bf16, q8_0, q4_0, q4_k, "
          "q4_k_m, q6_k, mxfp4 (f32)" },
        { 0, "grammar", SWITCH, &b.masks, 0, 0, "",
          "instead, the time to find the tokens that a JSON Schema of 30 fields allows; MODEL may be a vocabulary" },
        { 0, "grammar-file", TEXT, &b.grammar.file, 0, 0, "FILE", "or those of this grammar" },
        { 0, "json-schema-file", TEXT, &b.grammar.schema_file, 0, 0, "FILE", "or of this JSON Schema" },
        { 0, "search", INTEGER, &b.n_vector, 1, 100000000, "N", "instead, a search of N vectors of 384 numbers, made up" },
        { 0, "json", SWITCH, &b.json, 0, 0, "", "an object a line instead of the table" },
        LORA_FLAGS(b.model),
        MODEL_FLAGS(b.model),
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    int code = read_flags(argc, argv, "usage: run bench MODEL|--shape NAME [options]\n", flags,
                          &b.model.path);
    if (code != GO_ON) return code;
    if (!b.masks && (b.grammar.file || b.grammar.schema_file)) return complain(USAGE, "a grammar is for --grammar");
    if (b.masks && b.shape) return complain(USAGE, "--grammar needs a vocabulary, which --shape has not");
    if (b.masks) return bench_masks(&b.model, &b.grammar, 4 * b.repetitions, b.json);
    if (b.shape && b.model.path)
        return complain(USAGE, "a model, %s, and --shape %s: need one of them", b.model.path, b.shape);
    if (b.type && !b.shape) return complain(USAGE, "--type is of --shape: a model has its own");
    if (!b.type) b.type = "f32";
    if (b.parallel && (code = read_parallel(&b, b.parallel))) return code;
    if (!b.n_prompt && !b.n_gen) return complain(USAGE, "--n-prompt and --n-gen are both 0: nothing to do");
    pith_model *m = NULL;
    b.model.options.n_threads = threads_wanted(b.model.options.n_threads);
    code = b.shape ? make_shape_model(b.shape, b.type, &b.model.options, &m) : open_adapted(&b.model, 0, &m);
    if (!code && b.shape) code = open_adapters(&b.model, m);
    if (!code) code = b.n_vector ? bench_search(&b, m) : pith__is_causal(m) ? run_decoder(&b, m) : run_encoder(&b, m);
    close_model(&b.model, m);
    return code;
}
