/* masks.c - run bench --grammar: how long it takes to find the tokens that a grammar allows.
 *
 * Documents are written at random, every token drawn from those allowed, and each time all of them are found anew:
 * what a text costs at most that never obeys by itself. The first document meets the grammar for the first time; the
 * times of the others are quoted. */
#define _POSIX_C_SOURCE 200809L
#include "verbs.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_TOKENS = 400 }; /* of a document */

/* 30 fields of the kinds that requests have. */
static const char usual_schema[] =
    "{\"type\":\"object\",\"additionalProperties\":false,\"$defs\":{"
    "\"text\":{\"type\":\"string\"},\"short\":{\"type\":\"string\",\"maxLength\":40},\"count\":{\"type\":\"integer\",\"minimum\":0},"
    "\"share\":{\"type\":\"number\"},\"flag\":{\"type\":\"boolean\"},\"day\":{\"type\":\"string\",\"format\":\"date\"},"
    "\"kind\":{\"enum\":[\"red\",\"green\",\"blue\"]},\"list\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/short\"}},"
    "\"code\":{\"type\":\"string\",\"pattern\":\"^[A-Z]{2}-[0-9]{4}$\"},\"maybe\":{\"anyOf\":[{\"$ref\":\"#/$defs/count\"},{\"type\":\"null\"}]}},"
    "\"properties\":{%s},\"required\":[%s]}";
static const char *const kinds[] = { "text", "short", "count", "share", "flag", "day", "kind", "list", "code", "maybe" };

static char *write_schema(void) {
    enum { FIELDS = 30 };
    char properties[FIELDS * 48] = "", required[FIELDS * 16] = "";
    size_t n = 0, k = 0, size = sizeof usual_schema + sizeof properties + sizeof required;
    for (int i = 0; i < FIELDS; i++) {
        const char *comma = i ? "," : "";
        n += (size_t)snprintf(properties + n, sizeof properties - n, "%s\"field_%d\":{\"$ref\":\"#/$defs/%s\"}", comma, i,
                              kinds[i % (int)(sizeof kinds / sizeof *kinds)]);
        if (i % 3) k += (size_t)snprintf(required + k, sizeof required - k, "%s\"field_%d\"", k ? "," : "", i);
    }
    char *text = malloc(size);
    if (text) snprintf(text, size, usual_schema, properties, required);
    return text;
}

/* Seconds of the processor's time: other programs do not count. */
static double worked(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct {
    pith__str *piece;    /* (n) */
    int n;
    pith__trie *trie;
    pith__matcher *m;
    int32_t *way;
    uint32_t *allow;
    uint64_t rng;
    double *took;        /* (room) seconds for each mask */
    int n_took, room;
} mask_bench;

static int allowed(const mask_bench *b, int t) { return (int)(b->allow[t / 32] >> t % 32 & 1); }

/* A random token of those allowed, now and then one that goes on with the document; -1: none. */
static int random_token(mask_bench *b) {
    int from = (int)(pith_random(&b->rng) * (float)b->n), hurry = pith_random(&b->rng) < 0.3f, any = -1;
    for (int i = 0; i < b->n; i++) {
        int t = (from + i) % b->n;
        if (!allowed(b, t)) continue;
        if (any < 0) any = t;
        if (!hurry || (b->piece[t].n && strchr("\",}]", b->piece[t].p[0]))) return t;
    }
    return any;
}

/* One document. Its times are kept. */
static int write_document(mask_bench *b) {
    int32_t state = pith__matcher_start(b->m);
    for (int i = 0; i < MOST_TOKENS && pith__matcher_may_go_on(b->m, state); i++) {
        double start = worked();
        if (pith__trie_mask(b->trie, b->m, state, b->way, b->allow)) return complain(FAILED, "no memory for a grammar");
        if (b->n_took < b->room) b->took[b->n_took++] = worked() - start;
        int t = random_token(b);
        if (t < 0) return complain(BAD_DATA, "no token of this vocabulary is allowed to come next");
        for (size_t k = 0; k < b->piece[t].n; k++) state = pith__matcher_next(b->m, state, (uint8_t)b->piece[t].p[k]);
        state = pith__matcher_keep(b->m, state);
        if (stopped()) return stopped();
    }
    return 0;
}

static int time_order(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int print_masks(const mask_bench *b, double first, double made, int json) {
    const double *t = b->took;
    int last = b->n_took - 1;
    output o;
    int code = output_open(&o, NULL, NULL);
    if (code) return code;
    const char *line = json ? "{\"test\": \"grammar\", \"tokens\": %d, \"masks\": %d, \"median_ms\": %.4f, \"p99_ms\": %.4f, "
                              "\"worst_ms\": %.4f, \"first_ms\": %.3f, \"vocabulary_ms\": %.2f}\n"
                            : "| %d | %d | %.3f ms | %.3f ms | %.3f ms | %.3f ms | %.1f ms |\n";
    if (!json) output_line(&o, "| tokens | masks | median | 99 %% | worst | first document, a mask | the vocabulary, once |\n"
                               "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    output_line(&o, line, b->n, b->n_took, 1e3 * t[b->n_took / 2], 1e3 * t[(int)(0.99 * last)],
                1e3 * t[last], 1e3 * first, 1e3 * made);
    return output_close(&o, 1);
}

static int measure_masks(mask_bench *b, const pith_grammar *g, int documents, int json) {
    double start = worked();
    pith_error e = { 0, "" };
    b->trie = pith__trie_new(b->piece, (size_t)b->n, &e);
    double made = worked() - start;
    b->m = b->trie ? pith__matcher_new(g, &e) : NULL;
    if (!b->m) return complain(FAILED, "%s", e.text);
    b->way = malloc(pith__trie_depth(b->trie) * sizeof *b->way);
    b->allow = malloc(((size_t)b->n / 32 + 1) * sizeof *b->allow);
    b->room = documents * MOST_TOKENS;
    b->took = malloc((size_t)b->room * sizeof *b->took);
    if (!b->way || !b->allow || !b->took) return complain(FAILED, "no memory for %d documents", documents);
    start = worked();
    int code = write_document(b), n = b->n_took;
    double first = worked() - start;
    b->n_took = 0;
    for (int i = 0; i < documents && !code; i++) code = write_document(b);
    if (code || !b->n_took) return code ? code : complain(BAD_DATA, "the grammar has only the empty text");
    qsort(b->took, (size_t)b->n_took, sizeof *b->took, time_order);
    return print_masks(b, first / n, made, json);
}

int bench_masks(const model_choice *c, const grammar_choice *given, int documents, int json) {
    pith__store s;
    pith__tokenizer *k;
    pith_grammar *g = NULL;
    mask_bench b = { .rng = 1 };
    grammar_choice usual = *given;
    char *schema = NULL;
    int code = open_vocab(c, &s, &k);
    if (code) return code;
    if (!given->text && !given->file && !given->schema && !given->schema_file) usual.schema = schema = write_schema();
    b.n = s.vocab.n;
    b.piece = malloc((size_t)b.n * sizeof *b.piece);
    code = open_grammar(&usual, NULL, &g);
    if (!code && g->n_token) code = complain(USAGE, "a grammar that names tokens is not measured");
    if (!code && (!b.piece || !g)) code = complain(FAILED, "no memory for a grammar");
    for (int t = 0; t < b.n && b.piece; t++) {
        b.piece[t] = pith__tokenizer_piece(k, t);
        if (s.vocab.type[t] == PITH__CONTROL) b.piece[t].n = 0; /* is no text */
    }
    if (!code) code = measure_masks(&b, g, documents, json);
    free(b.took);
    free(b.allow);
    free(b.way);
    pith__matcher_free(b.m);
    pith__trie_free(b.trie);
    free(b.piece);
    pith_grammar_free(g);
    free(schema);
    pith__tokenizer_free(k);
    pith__store_free(&s);
    return code;
}
