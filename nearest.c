/* nearest.c - which of many vectors are nearest to one: search, exactly.
 *
 * Every vector is multiplied by the question, so that none is missed, and memory is the limit: a million vectors of 384
 * numbers are 1.5 GB. Threads take parts of them in turns. Each keeps the k best that it has met, in its scratch
 * memory; who met which is not seen, because of equal scores the earlier one is better. */
#include "internal.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_SCORES = 4096, PART_BYTES = 1 << 20 }; /* of a part: vectors, and bytes, at most */

typedef struct {             /* what a thread keeps */
    float y[MOST_SCORES];
    uint32_t bits[MOST_SCORES];
    size_t n;
    size_t altered;          /* the first vector whose bits have another sum; none: as many as there are */
    pith_match heap[];       /* (k) the best so far; when there are k, a heap with the worst on top */
} finder;

typedef struct {
    pith__search *s;
    size_t k, part;          /* how many are wanted; vectors of a task */
    pith__team team;
} search_job;

/* ---- the k best -------------------------------------------------------------------------------------- */

static int is_better(const pith_match *a, const pith_match *b) {
    return a->score > b->score || (a->score == b->score && a->at < b->at);
}

static void sift_worst(pith_match *heap, size_t n, size_t top) {
    pith_match x = heap[top];
    for (size_t child; (child = 2 * top + 1) < n; top = child) {
        if (child + 1 < n && is_better(&heap[child], &heap[child + 1])) child++;
        if (!is_better(&x, &heap[child])) break;
        heap[top] = heap[child];
    }
    heap[top] = x;
}

static void keep_match(finder *f, size_t k, size_t at, float score) {
    pith_match x = { at, isnan(score) ? -INFINITY : score };
    if (f->n < k) {
        f->heap[f->n++] = x;
        for (size_t top = f->n == k ? k / 2 : 0; top-- > 0;) sift_worst(f->heap, k, top);
    } else if (is_better(&x, &f->heap[0])) {
        f->heap[0] = x;
        sift_worst(f->heap, k, 0);
    }
}

static int by_match(const void *a, const void *b) { return is_better(a, b) ? -1 : is_better(b, a); }

/* ---- all vectors --------------------------------------------------------------------------------------- */

static void search_task(const void *data, size_t i, uint8_t *scratch) {
    const search_job *j = data;
    const pith__search *s = j->s;
    finder *f = (finder *)(void *)scratch;
    size_t from = i * j->part, n = s->n - from < j->part ? s->n - from : j->part;
    const pith__scan scan = { s->vectors + from * s->dim, s->question, s->dim, f->y, f->bits };
    s->kernels->scan(&scan, 0, n);
    for (size_t r = 0; r < n; r++) {
        if (s->bits && s->bits[from + r] != f->bits[r] && from + r < f->altered) f->altered = from + r;
        if (!(f->n == j->k && f->y[r] < f->heap[0].score)) keep_match(f, j->k, from + r, f->y[r]);
    }
}

static void search_all(void *data) {
    search_job *j = data;
    pith__share(&j->team, (j->s->n + j->part - 1) / j->part, 1, search_task, j);
}

/* What all threads have found, in one list. */
static size_t collect(const search_job *j, pith_match *best) {
    finder *first = (finder *)(void *)j->team.scratch;
    for (int i = 1; i < j->team.n_threads; i++) {
        finder *f = (finder *)(void *)(j->team.scratch + (size_t)i * j->team.scratch_bytes);
        for (size_t r = 0; r < f->n; r++) keep_match(first, j->k, f->heap[r].at, f->heap[r].score);
        if (f->altered < first->altered) first->altered = f->altered;
    }
    j->s->altered = first->altered;
    qsort(first->heap, first->n, sizeof *first->heap, by_match);
    if (first->n) memcpy(best, first->heap, first->n * sizeof *best);
    return first->n;
}

PITH_SHARED int pith__nearest(pith__search *s, int k, pith_match *best) {
    search_job j = { .s = s, .k = (size_t)k < s->n ? (size_t)k : s->n };
    size_t bytes = sizeof(finder) + j.k * sizeof *best;
    s->altered = s->n;
    if (!j.k) return 0;
    j.part = PART_BYTES / (s->dim * sizeof *s->vectors);
    j.part = j.part < 16 ? 16 : j.part < MOST_SCORES ? j.part : MOST_SCORES;
    j.team.n_threads = s->n_threads > 1 && s->n > j.part ? pith__threads(s->n_threads) : 1;
    j.team.scratch_bytes = (bytes + 63) / 64 * 64;
    j.team.scratch = calloc((size_t)j.team.n_threads, j.team.scratch_bytes);
    if (!j.team.scratch) return PITH_EMEMORY;
    for (int i = 0; i < j.team.n_threads; i++)
        ((finder *)(void *)(j.team.scratch + (size_t)i * j.team.scratch_bytes))->altered = s->n;
    pith__together(&j.team, search_all, &j);
    size_t n = collect(&j, best);
    free(j.team.scratch);
    return (int)n;
}

int pith_nearest(const pith_model *m, const float *question, const float *vectors, size_t n, int dim, int k,
                 pith_match *best) {
    pith__search s = { .kernels = m->kernels, .n_threads = m->n_threads, .vectors = vectors, .n = n,
                       .dim = (size_t)dim, .question = question };
    return k < 0 || dim < 1 ? PITH_EARG : pith__nearest(&s, k, best);
}
