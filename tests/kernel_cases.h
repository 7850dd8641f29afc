/* kernel_cases.h - what the tests of kernels share: the kernel sets of this machine, the formats of quant.c's
 * table, random weights and inputs. */
#ifndef KERNEL_CASES_H
#define KERNEL_CASES_H
#include "../internal.h"
#include "test.h"

#include <stdlib.h>

enum { MAX_FORMATS = 32, MAX_ID = 1024, MAX_THREADS = 4 };

static const pith__kernels *sets[9]; /* the first is portable */
static int n_set;
static const pith__format *formats[MAX_FORMATS]; /* all of the table */
static int n_format;
static uint32_t seed = 1;

static inline void find_kernels_and_formats(void) {
    static const char *names[] = {"avx2", "avxvnni", "avx512", "avx512bf16", "amx", "neon", "dotprod", "i8mm", "bf16"};
    sets[n_set++] = pith__portable(NULL);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const pith__kernels *k = pith__x86(names[i]) ? pith__x86(names[i]) : pith__arm(names[i]);
        if (k) sets[n_set++] = k;
    }
    for (int s = 0; s < n_set; s++) printf("# kernels: %s\n", sets[s]->name);
    for (int id = 0; id < MAX_ID && n_format < MAX_FORMATS; id++)
        if (pith__format_of(id)) formats[n_format++] = pith__format_of(id);
}

/* Sets that differ only in their products have the rest in common: of those that share attention one is kept. */
static inline void keep_other_attention(void) {
    int n = 0;
    for (int s = 0, k; s < n_set; s++) {
        for (k = 0; k < n && sets[k]->attend != sets[s]->attend; k++) continue;
        if (k == n) sets[n++] = sets[s];
    }
    n_set = n;
}

/* BF16 weights of rows of even length meet inputs that are rounded to BF16. */
static inline int rounds_inputs(const pith__kernels *k) { return strstr(k->name, "bf16") || !strcmp(k->name, "amx"); }

static inline uint32_t next_random(void) {
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

static inline float uniform(void) {
    return (float)(next_random() % 20001) / 10000.0f - 1.0f;
} /* -1 to 1 */

static inline void *take(size_t bytes) { /* at multiples of 64, as the scratch must lie */
    void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (!p) exit(1);
    memset(p, 0, (bytes + 127) / 64 * 64);
    return p;
}

/* ---- weights and inputs ------------------------------------------------------------------------ */

enum { POOL = 40, MAX_BLOCK = 256 }; /* good blocks to choose from; bytes of the largest */

/* Blocks of random bytes, thrown again until their weights are moderate, so that every bit is met. */
static inline void make_pool(uint8_t *pool, const pith__format *f) {
    pith__tensor one = {
        .format = f, .n_dim = 1, .rows = 1, .cols = (size_t)f->length, .row_bytes = (size_t)f->bytes
    };
    for (int i = 0, good; i < POOL; i++)
        do {
            float y[256];
            one.data = pool + i * f->bytes;
            for (int k = 0; k < f->bytes; k++) pool[i * f->bytes + k] = (uint8_t)next_random();
            pith__row_floats(&one, 0, y);
            good = 1;
            for (int k = 0; k < f->length; k++) good = good && fabsf(y[k]) < 50;
        } while (!good);
}

static inline void random_blocks(pith__tensor *w, uint8_t *data) {
    static uint8_t pool[MAX_FORMATS + 1][POOL * MAX_BLOCK]; /* the last: of a format that is not in the table */
    int f = 0;
    size_t bytes = (size_t)w->format->bytes;
    while (f < n_format && formats[f] != w->format) f++;
    if (f == n_format || (!pool[f][0] && !pool[f][1] && !pool[f][2])) make_pool(pool[f], w->format);
    for (size_t i = 0; i < w->rows * (w->cols / w->format->length); i++)
        memcpy(data + i * bytes, pool[f] + next_random() % POOL * bytes, bytes);
}

static inline void random_floats(pith__tensor *w, uint8_t *data) {
    for (size_t i = 0; i < w->rows * w->cols; i++) {
        float x = uniform();
        w->format->encode(data + i * w->format->bytes, &x, 1, NULL);
    }
}

static size_t aside; /* weights lie so many bytes after a multiple of 64 */

/* group: of PITH__I8's scales */
static inline pith__tensor random_weights(const pith__format *f, size_t rows, size_t cols, size_t group) {
    pith__tensor w = {.format = f, .n_dim = 2, .rows = rows, .cols = cols, .group = group};
    w.row_bytes = cols / (size_t)f->length * (size_t)f->bytes;
    uint8_t *data = (uint8_t *)take(aside + rows * w.row_bytes) + aside;
    w.data = data;
    if (f->id == PITH__I8) {
        for (size_t i = 0; i < rows * cols; i++) data[i] = (uint8_t)next_random();
        uint8_t *scale = take(rows * cols / group * 4);
        for (size_t i = 0; i < rows * cols / group; i++) {
            float d = uniform() * 0.01f;
            memcpy(scale + 4 * i, &d, 4);
        }
        w.scale = scale;
    } else if (f->floats && f->encode) {
        random_floats(&w, data);
    } else {
        random_blocks(&w, data);
    }
    return w;
}

static inline void free_weights(pith__tensor *w) {
    free((uint8_t *)w->data - aside);
    free((void *)w->scale);
}

static inline pith__input new_input(int n, size_t cols) {
    size_t n_block = (cols + 31) / 32;
    float *x = take(n * cols * sizeof *x);
    for (size_t i = 0; i < n * cols; i++) x[i] = uniform() * (i % 37 ? 1 : 5);
    return (pith__input){
        x, n, cols, take(n * n_block * 32), take(n * cols * 4), take(n * n_block * 8), 0,
        take(pith__tiles_bytes(n, cols)), NULL
    };
}

static inline void free_input(pith__input *in) {
    free((void *)in->x);
    free(in->q);
    free(in->d);
    free(in->sum);
    free(in->tiles);
}

static inline pith__team new_team(int n_threads, size_t bytes) {
    return (pith__team){ .n_threads = n_threads, .scratch = take(bytes * n_threads), .scratch_bytes = bytes };
}

static const pith__parts_room no_room;

typedef struct { /* a product or an attention, for all threads of a team together */
    const pith__kernels *k;
    pith__team *team;
    float *y;
    size_t stride;
    const pith__tensor *w;
    pith__input *in;
    pith__attention *a;
    pith__parts_room room;
} shared_work;

static inline void work_together(void *data) {
    const shared_work *x = data;
    if (x->a) pith__attend(x->k, x->team, x->a, 1, x->room);
    else pith__matmul(x->k, x->team, x->y, x->stride, x->w, x->in);
}

static inline void matmul_together(const pith__kernels *k, pith__team *team, float *y, size_t stride,
                                   const pith__tensor *w, pith__input *in) {
    shared_work x = {k, team, y, stride, w, in, NULL, no_room};
    pith__together(team, work_together, &x);
}

static inline void attend_together(const pith__kernels *k, pith__team *team, pith__attention *a, pith__parts_room room) {
    shared_work x = {k, team, NULL, 0, NULL, NULL, a, room};
    pith__together(team, work_together, &x);
}

/* All that calls the arithmetic. */
static inline void product(const pith__kernels *k, float *y, size_t stride, const pith__tensor *w, pith__input *in) {
    pith__team team = new_team(1, pith__matmul_scratch(w->cols));
    pith__matmul(k, &team, y, stride, w, in);
    free(team.scratch);
}

/* ---- attention ---------------------------------------------------------------------------------- */

typedef struct {
    pith__attention a;
    float *k, *v; /* (n_position, n_kv_head, head_dim) as stored, that is after rounding */
} case_of_attention;

static inline float round_trip(const pith__format *f, const float *x, int i) {
    uint8_t bytes[34];
    float y[32];
    if (f->floats) {
        f->encode(bytes, x + i, 1, NULL);
        f->floats(y, bytes, 1);
        return y[0];
    }
    pith__q32 b;
    f->encode(bytes, x + i / 32 * 32, 32, NULL);
    f->unpack(&b, bytes, 0);
    return b.d[0] * b.q[i % 32];
}

/* A text of position + n tokens, of which the cache holds the last n_slot. */
static inline void make_case(case_of_attention *c, int format, int n_head, int n_kv_head, int head_dim,
                      int n_slot, int position, int n) {
    const pith__format *f = pith__format_of(format);
    int n_pos = position + n, width = n_kv_head * head_dim;
    size_t plane = pith__cache_plane(f, head_dim, n_slot);
    uint8_t *k = take(plane * n_kv_head), *v = take(plane * n_kv_head);
    float *q = take((size_t)n * n_head * head_dim * 4), *x = take(head_dim * 4);
    c->k = take((size_t)n_pos * width * 4), c->v = take((size_t)n_pos * width * 4);
    for (int i = 0; i < n * n_head * head_dim; i++) q[i] = uniform() * 2;
    for (int u = 0; u < n_pos; u++)
        for (int h = 0; h < n_kv_head; h++)
            for (int both = 0; both < 2; both++) {
                float *to = (both ? c->v : c->k) + (size_t)u * width + h * head_dim;
                for (int i = 0; i < head_dim; i++) x[i] = uniform();
                for (int i = 0; i < head_dim; i++) to[i] = round_trip(f, x, i);
                if (both) pith__cache_value(f, v + h * plane, head_dim, u % n_slot, x);
                else pith__cache_key(f, k + h * plane, head_dim, u % n_slot, x);
            }
    c->a = (pith__attention){ q,        take((size_t)n * n_head * head_dim * 4),
                              k,        v,        0,
                              plane,    plane,
                              f,        f,
                              n,        position,
                              n_head,   n_kv_head,
                              head_dim, n_slot,
                              { .causal = 1 }, 1 / sqrtf((float)head_dim),
                              0,        NULL,     NULL,     0,      0,      0,      NULL };
    free(x);
}

/* The same, where the cache has one plane, and a value is the first latent numbers of its key. */
static inline void make_latent(case_of_attention *c, int format, int n_head, int head_dim, int latent, int n_slot,
                               int position, int n) {
    make_case(c, format, n_head, 1, head_dim, n_slot, position, n);
    free((void *)c->a.k), free(c->k);
    c->a.k = NULL, c->a.k_plane = 0;
    c->a.latent = latent;
    c->k = take((size_t)(position + n) * head_dim * 4);
    memcpy(c->k, c->v, (size_t)(position + n) * head_dim * 4);
}

static inline void free_case(case_of_attention *c) {
    free((void *)c->a.q), free(c->a.y), free((void *)c->a.k), free((void *)c->a.v), free(c->k),
        free(c->v);
}

#endif
