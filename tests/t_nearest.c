/* t_nearest.c - the nearest vectors: what a plain loop over all finds, whatever the threads, kernels and sizes. */
#include "kernel_cases.h"

static int before(const void *a, const void *b) {
    const pith_match *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* The scores of all, sorted. */
static pith_match *by_force(const pith__search *s) {
    pith_match *all = take((s->n + 1) * sizeof *all);
    for (size_t r = 0; r < s->n; r++) {
        float y = s->kernels->dot(s->vectors + r * s->dim, s->question, s->dim);
        all[r] = (pith_match){ r, y == y ? y : -INFINITY };
    }
    qsort(all, s->n, sizeof *all, before);
    return all;
}

static void same_as_by_force(pith__search *s, int k) {
    pith_match *want = by_force(s), *got = take(((size_t)k + 1) * sizeof *got);
    size_t n = (size_t)k < s->n ? (size_t)k : s->n, bad = 0;
    got[n] = (pith_match){ 12345, 0 };
    EQ(pith__nearest(s, k, got), n);
    for (size_t i = 0; i < n && !bad; i++) {
        bad = got[i].at != want[i].at || got[i].score != want[i].score;
        if (bad) FAIL("%s, %zu of %zu, %d threads: place %zu is %zu (%g), want %zu (%g)", s->kernels->name, s->n,
                      s->dim, s->n_threads, i, got[i].at, got[i].score, want[i].at, want[i].score);
    }
    EQ(got[n].at, 12345); /* nothing is written behind the last */
    free(want), free(got);
}

static float *random_vectors(size_t n) {
    float *x = take((n + 1) * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = uniform();
    return x;
}

TEST(as_a_loop_over_all) {
    static const size_t sizes[][2] = { { 1, 1 }, { 3, 5 }, { 17, 16 }, { 1000, 384 }, { 9001, 3 } };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t n = sizes[i][0], dim = sizes[i][1];
        float *x = random_vectors(n * dim), *q = random_vectors(dim);
        for (int set = 0; set < n_set; set++) {
            pith__search s = { sets[set], 1 + set % MAX_THREADS, x, n, dim, NULL, q, 0 };
            int ks[] = { 0, 1, 5, 100, 20000 };
            for (int k = 0; k < 5; k++) same_as_by_force(&s, ks[k]);
        }
        free(x), free(q);
    }
}

/* Of equal scores the first is better, also where a thread has taken a later part before. */
TEST(ties) {
    enum { N = 40000, DIM = 8 };
    float *x = take(N * DIM * sizeof *x), q[DIM] = { 1, 1, 1, 1, 1, 1, 1, 1 };
    for (size_t i = 0; i < N * DIM; i++) x[i] = (float)(i / DIM * 7919 % 5);
    for (int threads = 1; threads <= MAX_THREADS; threads++) {
        pith__search s = { sets[n_set - 1], threads, x, N, DIM, NULL, q, 0 };
        for (int k = 1; k < 20000; k *= 9) same_as_by_force(&s, k);
    }
    free(x);
}

TEST(numbers_that_are_none) {
    enum { N = 600, DIM = 4 };
    float *x = random_vectors(N * DIM), q[DIM] = { 1, 0.5f, 0, -1 };
    x[0] = NAN, x[DIM * 7 + 1] = INFINITY, x[DIM * 9 + 3] = INFINITY, x[DIM * 599] = NAN;
    for (int set = 0; set < n_set; set++) {
        pith__search s = { sets[set], 2, x, N, DIM, NULL, q, 0 };
        pith_match best[N];
        same_as_by_force(&s, 5);
        same_as_by_force(&s, N);
        EQ(pith__nearest(&s, N, best), N);
        EQ(best[0].at, 7);
        EQ(best[N - 3].at, 0);
        EQ(best[N - 2].at, 9);
        EQ(best[N - 1].at, 599);
    }
    free(x);
}

/* Each bit of each number: the first vector with one that has changed is named. */
TEST(altered_vectors) {
    enum { N = 5000, DIM = 19 };
    float *x = random_vectors(N * DIM), *q = random_vectors(DIM), y[N];
    uint32_t *bits = take(N * sizeof *bits);
    for (int set = 0; set < n_set; set++) {
        pith__scan scan = { x, q, DIM, y, bits };
        pith__search s = { sets[set], 1, x, N, DIM, bits, q, 0 };
        pith_match best[3];
        sets[set]->scan(&scan, 0, N);
        EQ(pith__nearest(&s, 3, best), 3);
        EQ(s.altered, N);
        for (size_t i = 0; i < 50; i++) {
            size_t at = next_random() % (N * DIM), later = N - 1;
            uint8_t *byte = (uint8_t *)(x + at) + i % 4, flip = (uint8_t)(1 << next_random() % 8);
            *byte ^= flip;
            bits[later]++;
            s.n_threads = i == 0 ? 3 : 1;
            pith__nearest(&s, 3, best);
            EQ(s.altered, at / DIM);
            *byte ^= flip;
            bits[later]--;
        }
    }
    free(x), free(q), free(bits);
}

TEST(the_interface) {
    pith_model m = { .kernels = sets[0], .n_threads = 2 };
    const float x[] = { 1, 0, 0, 1, 0.6f, 0.8f }, q[] = { 0, 1 };
    pith_match best[3];
    EQ(pith_nearest(&m, q, x, 3, 2, 2, best), 2);
    EQ(best[0].at, 1);
    NEAR(best[0].score, 1, 0);
    EQ(best[1].at, 2);
    NEAR(best[1].score, 0.8, 1e-7);
    EQ(pith_nearest(&m, q, x, 3, 2, 0, NULL), 0);
    EQ(pith_nearest(&m, q, NULL, 0, 2, 5, NULL), 0);
    EQ(pith_nearest(&m, q, x, 3, 0, 5, best), PITH_EARG);
    EQ(pith_nearest(&m, q, x, 3, 2, -1, best), PITH_EARG);
}

int main(void) {
    find_kernels_and_formats();
    RUN(as_a_loop_over_all);
    RUN(ties);
    RUN(numbers_that_are_none);
    RUN(altered_vectors);
    RUN(the_interface);
    return DONE();
}
