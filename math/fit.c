/* fit.c - the search for scales. A run is the 16 or 32 weights that share a scale d and perhaps a minimum m. A weight
 * x becomes a small integer q (or one of the 16 numbers of a table), which stands for d * q - m. Wanted are the d, m
 * and q with the least error, the sum of w * (d * q - m - x)^2, where w says how much a weight counts.
 *
 * For given d and m, rounding finds the best q. For given q, two linear equations have the best d and m (weighted least
 * squares), and from the same sums follows how much of the sum of w * x^2 they explain. So several guesses of d and m
 * are rounded by, and the solution that explains most is kept. Then rounding and solving alternate.
 *
 * In a super-block the scales and minima of runs are integers too, times a D and an M: each run tries the integers next
 * to the d and m that it wants, then D and M are solved for, and so on.
 *
 * Sixteen runs lie side by side, k is the run, so that compilers make vectors of them. A run's sums have one order,
 * whatever the processor: the bytes are the same everywhere. */
#include "blocks.h"
#include "wide.h"

#include <math.h>
#include <string.h>

/* Most weights are near zero, so these 16 values are closer together there. */
PITH_SHARED const int8_t pith__iq4_values[16] = { -127, -104, -83, -65, -49, -35, -22, -10,
                                                   1, 13, 25, 38, 53, 69, 89, 113 };

/* Floats of 4 bits: sign, 2 bits of exponent, 1 of fraction. The table has them times two, as integers, and
 * no minus zero. So the scale is halved; it is a power of two, stored as its exponent with bias 127. */
PITH_SHARED const int8_t pith__mxfp4_values[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

/* Without their signs, floats are in the order of their bits, and NaN is above all others. */
PITH_SHARED float pith__magnitude(const float *x, size_t n) {
    int32_t most = 0; /* as an int: SSE2 has no other maximum, and the compiler no other way to compare */
    for (size_t i = 0; i < n; i++) {
        int32_t a = (int32_t)(pith__bits_of(x[i]) & 0x7fffffff);
        most = a > most ? a : most;
    }
    return pith__float_of((uint32_t)most);
}

enum { RUNS = PITH__RUNS };

typedef struct { /* of runs side by side */
    int length, n;                                         /* weights of a run; runs, the others are zeros */
    float x[PITH__RUN][RUNS], w[PITH__RUN][RUNS], wx[PITH__RUN][RUNS];
    float sum_w[RUNS], sum_wx[RUNS];
} run_batch;

typedef struct {
    float d[RUNS], m[RUNS], most[RUNS]; /* most: how much they explain */
} run_fit;

/* ---- a batch ------------------------------------------------------------------------------------- */

/* The importance of the runs k0 to k1 of a block. A power of two divides it, so that sums of squares are neither too
 * large nor too small. What does not count at all counts a little, as nothing else says what becomes of it. */
static void load_importance(run_batch *b, const float *importance, int k0, int k1) {
    const float *p = importance + k0 * b->length;
    float most = pith__magnitude(p, (size_t)(k1 - k0) * (size_t)b->length);
    int power;
    if (!(most > 0 && most < INFINITY)) return;
    frexpf(most, &power);
    double by = ldexp(1, -power); /* a float has no room for all of them */
    for (int k = k0; k < k1; k++)
        for (int i = 0; i < b->length; i++, p++) {
            float w = (float)(*p * by);
            b->w[i][k] = w > 1e-6f ? w : 1e-6f;
        }
}

/* n blocks, each of so many runs. */
static void load_batch(run_batch *b, const float *x, const float *importance, int n, int runs, int length) {
    memset(b, 0, sizeof *b);
    b->length = length;
    b->n = n * runs;
    for (int i = 0; i < length; i++)
        for (int k = 0; k < RUNS; k++) b->w[i][k] = 1;
    for (int k = 0; k < b->n; k++)
        for (int i = 0; i < length; i++) b->x[i][k] = x[k * length + i];
    for (int j = 0; j < n && importance; j++) load_importance(b, importance, j * runs, (j + 1) * runs);
    for (int i = 0; i < length; i++)
        for (int k = 0; k < RUNS; k++) {
            b->wx[i][k] = b->w[i][k] * b->x[i][k];
            b->sum_w[k] += b->w[i][k];
            b->sum_wx[k] += b->wx[i][k];
        }
}

/* ---- rounding ------------------------------------------------------------------------------------ */

typedef float batch_row[RUNS];

/* Where d is 0, all q are what 0 becomes. */
static void invert(float y[RUNS], const float d[RUNS]) {
    for (int k = 0; k < RUNS; k++) y[k] = d[k] > 0 || d[k] < 0 ? 1 / d[k] : 0;
}

/* To the nearest integer: from 2^23 on, floats are integers. NaN becomes lo. */
PITH__LOOPS float nearest_level(float v, float lo, float hi) {
    v = v > lo ? v : lo;
    v = v < hi ? v : hi;
    return v + 12582912.0f - 12582912.0f;
}

PITH__LOOPS void to_integers(float *v, size_t n, float lo, float hi) {
    for (size_t i = 0; i < n; i++) v[i] = nearest_level(v[i], lo, hi);
}

PITH__LOOPS void to_table(float *v, size_t n, const int8_t table[16]) {
    float step[15], edge[15], lo = table[0];
    for (int t = 0; t < 15; t++) {
        step[t] = (float)(table[t + 1] - table[t]);
        edge[t] = (float)table[t] + step[t] / 2;
    }
    for (size_t i = 0; i < n; i++) {
        float q = lo;
        for (int t = 0; t < 15; t++) q += v[i] > edge[t] ? step[t] : 0;
        v[i] = q;
    }
}

/* The best q for scales and minima. What has conditions is a loop over all, as compilers make vectors of such loops. */
PITH__LOOPS void round_batch(batch_row *q, const run_batch *b, const float inverse[RUNS], const float m[RUNS],
                             const pith__grid *g) {
    size_t n = (size_t)b->length * RUNS;
    for (int i = 0; i < b->length; i++)
        for (int k = 0; k < RUNS; k++) q[i][k] = (b->x[i][k] + m[k]) * inverse[k];
    if (g->table) to_table(q[0], n, g->table);
    else to_integers(q[0], n, g->lo, g->hi);
}

typedef struct {
    float q[RUNS], qq[RUNS], xq[RUNS]; /* sums of w * q, w * q * q, w * x * q */
} run_sums;

PITH__LOOPS void sum_rounded(run_sums *y, const run_batch *b, const float inverse[RUNS], const float m[RUNS],
                             const pith__grid *g) {
    batch_row q[PITH__RUN];
    run_sums s = { { 0 }, { 0 }, { 0 } };
    round_batch(q, b, inverse, m, g);
    for (int i = 0; i < b->length && g->has_min; i++) /* nobody asks without minima */
        for (int k = 0; k < RUNS; k++) s.q[k] += b->w[i][k] * q[i][k];
    for (int i = 0; i < b->length; i++)
        for (int k = 0; k < RUNS; k++) s.qq[k] += b->w[i][k] * q[i][k] * q[i][k];
    for (int i = 0; i < b->length; i++)
        for (int k = 0; k < RUNS; k++) s.xq[k] += b->wx[i][k] * q[i][k];
    *y = s;
}

PITH__LOOPS void sum_squares(float error[RUNS], const run_batch *b, const float d[RUNS], const float m[RUNS],
                             const pith__grid *g) {
    float inverse[RUNS], s[RUNS] = { 0 };
    batch_row q[PITH__RUN];
    invert(inverse, d);
    round_batch(q, b, inverse, m, g);
    for (int i = 0; i < b->length; i++)
        for (int k = 0; k < RUNS; k++) q[i][k] = d[k] * q[i][k] - m[k] - b->x[i][k];
    for (int i = 0; i < b->length; i++)
        for (int k = 0; k < RUNS; k++) s[k] += b->w[i][k] * q[i][k] * q[i][k];
    memcpy(error, s, sizeof s);
}

PITH__WIDE static void sum_batch_wide(run_sums *y, const run_batch *b, const float inverse[RUNS], const float m[RUNS],
                                      const pith__grid *g) {
    sum_rounded(y, b, inverse, m, g);
}

static void sum_batch(run_sums *y, const run_batch *b, const float inverse[RUNS], const float m[RUNS],
                      const pith__grid *g) {
    if (PITH__HAS_WIDE()) sum_batch_wide(y, b, inverse, m, g);
    else sum_rounded(y, b, inverse, m, g);
}

PITH__WIDE static void sum_errors_wide(float error[RUNS], const run_batch *b, const float d[RUNS], const float m[RUNS],
                                       const pith__grid *g) {
    sum_squares(error, b, d, m, g);
}

static void sum_errors(float error[RUNS], const run_batch *b, const float d[RUNS], const float m[RUNS],
                       const pith__grid *g) {
    if (PITH__HAS_WIDE()) sum_errors_wide(error, b, d, m, g);
    else sum_squares(error, b, d, m, g);
}

/* ---- one run alone ------------------------------------------------------------------------------- */

/* Rounds by the guess, solves, and keeps the solution where it explains more. */
static void try_scale(run_fit *f, const run_batch *b, const float inverse[RUNS], const pith__grid *g) {
    static const float no_min[RUNS];
    run_sums s;
    sum_batch(&s, b, inverse, no_min, g);
    for (int k = 0; k < RUNS; k++) {
        float d = s.xq[k] / s.qq[k], most = s.xq[k] * d; /* NaN is not more */
        f->d[k] = most > f->most[k] ? d : f->d[k];
        f->most[k] = most > f->most[k] ? most : f->most[k];
    }
}

static void try_scale_and_min(run_fit *f, const run_batch *b, const float inverse[RUNS], const float m0[RUNS],
                              const pith__grid *g) {
    run_sums s;
    sum_batch(&s, b, inverse, m0, g);
    for (int k = 0; k < RUNS; k++) {
        float det = b->sum_w[k] * s.qq[k] - s.q[k] * s.q[k];
        float d = (b->sum_w[k] * s.xq[k] - s.q[k] * b->sum_wx[k]) / det;
        float m = (s.q[k] * s.xq[k] - s.qq[k] * b->sum_wx[k]) / det;
        float d0 = s.xq[k] / s.qq[k];
        int none = !g->any_min && m < 0; /* then the best m is 0 */
        d = none ? d0 : d;
        m = none ? 0 : m;
        float most = d * s.xq[k] - m * b->sum_wx[k];
        int sure = none || det > 1e-6f * b->sum_w[k] * s.qq[k];
        int more = most > f->most[k] + 2e-6f * fabsf(f->most[k]); /* not by the last bits of sums alone */
        int better = more && d > 0 && sure && fabsf(m) <= 65504; /* the largest 16-bit float */
        f->d[k] = better ? d : f->d[k];
        f->m[k] = better ? m : f->m[k];
        f->most[k] = better ? most : f->most[k];
    }
}

/* Guesses put the weight furthest out near either end of the grid: inside, or outside, where it is cut off and the
 * others have finer steps. d may be negative. */
static void fit_scales(run_fit *f, const run_batch *b, const pith__grid *g) {
    float far[RUNS] = { 0 }, inverse[RUNS];
    for (int i = 0; i < b->length; i++)
        for (int k = 0; k < RUNS; k++) far[k] = fabsf(b->x[i][k]) > fabsf(far[k]) ? b->x[i][k] : far[k];
    memset(f, 0, sizeof *f);
    for (int j = -g->inside; j <= g->guesses; j++)
        for (int end = 0; end < 2; end++) {
            float q = end ? g->hi + (float)j * g->step : g->lo - (float)j * g->step;
            for (int k = 0; k < RUNS; k++) inverse[k] = q / far[k];
            try_scale(f, b, inverse, g);
        }
    for (int j = 0; j < g->again; j++) {
        invert(inverse, f->d);
        try_scale(f, b, inverse, g);
    }
}

/* The same with two ends. A run whose weights are alike is a minimum alone. */
static void fit_scales_and_mins(run_fit *f, const run_batch *b, const pith__grid *g) {
    float min[RUNS], max[RUNS], d[RUNS], m[RUNS], inverse[RUNS];
    for (int k = 0; k < RUNS; k++) {
        float start = -b->sum_wx[k] / b->sum_w[k];
        f->d[k] = 0;
        f->m[k] = start > 0 || g->any_min ? start : 0;
        f->most[k] = -f->m[k] * b->sum_wx[k];
        min[k] = g->any_min ? b->x[0][k] : 0;
        max[k] = b->x[0][k];
    }
    for (int i = 0; i < b->length; i++)
        for (int k = 0; k < RUNS; k++) {
            min[k] = b->x[i][k] < min[k] ? b->x[i][k] : min[k];
            max[k] = b->x[i][k] > max[k] ? b->x[i][k] : max[k];
        }
    for (int low = g->guesses; low >= -g->inside; low--) /* of a run that leaves a q free at the ends, the least m */
        for (int high = -g->inside; high <= g->guesses; high++) {
            float beyond = (float)low * g->step;
            for (int k = 0; k < RUNS; k++) {
                d[k] = (max[k] - min[k]) / (g->hi + ((float)low + (float)high) * g->step);
                m[k] = -min[k] - beyond * d[k];
                m[k] = m[k] > 0 || g->any_min ? m[k] : 0;
            }
            invert(inverse, d);
            try_scale_and_min(f, b, inverse, m, g);
        }
    for (int j = 0; j < g->again; j++) {
        invert(inverse, f->d);
        try_scale_and_min(f, b, inverse, f->m, g);
    }
}

static void fit_runs(run_fit *f, const run_batch *b, const pith__grid *g) {
    if (g->has_min) fit_scales_and_mins(f, b, g);
    else fit_scales(f, b, g);
}

/* The integers, lo being 0, or the indices of the table, (n, length). */
static void write_q(uint8_t *y, const run_batch *b, const float d[RUNS], const float m[RUNS], const pith__grid *g) {
    float inverse[RUNS];
    batch_row q[PITH__RUN];
    invert(inverse, d);
    round_batch(q, b, inverse, m, g);
    for (int i = 0; i < b->length; i++)
        for (int k = 0; k < b->n; k++) {
            int index = (int)(q[i][k] - g->lo);
            for (int t = 0; g->table && t < 16; t++) index = (int)q[i][k] == g->table[t] ? t : index;
            y[k * b->length + i] = (uint8_t)index;
        }
}

/* Blocks of 32, up to RUNS of them: d and m are 16-bit floats. */
PITH_SHARED void pith__fit_blocks(pith__block32 *y, const float *x, const float *importance, int n,
                                  const pith__grid *g) {
    run_batch b;
    run_fit f;
    uint8_t q[RUNS * 32];
    load_batch(&b, x, importance, n, 1, 32);
    fit_runs(&f, &b, g);
    for (int k = 0; k < n; k++) {
        float most = pith__magnitude(x + 32 * k, 32);
        y[k].bad = !(most < INFINITY);
        f.d[k] = put_half(y[k].d, f.d[k]);
        f.m[k] = -put_half(y[k].m, -f.m[k]);
    }
    write_q(q, &b, f.d, f.m, g);
    for (int k = 0; k < n; k++) memcpy(y[k].q, q + 32 * k, 32);
}

/* ---- super-blocks ---------------------------------------------------------------------------------- */

typedef struct {
    float scale[RUNS], min[RUNS], error[RUNS]; /* integers */
} super_fit;

/* Each run chooses the integers with the least error of those next to what it wants. */
static void choose(super_fit *y, const run_batch *b, const run_fit *want, const float D[RUNS], const float M[RUNS],
                   const pith__super_grid *g) {
    float by_d[RUNS], by_m[RUNS], lo = (float)g->scale_lo, hi = (float)g->scale_hi, reach = (float)g->reach;
    invert(by_d, D);
    invert(by_m, M);
    for (int k = 0; k < RUNS; k++) y->error[k] = INFINITY, y->scale[k] = y->min[k] = 0;
    for (float dm = g->min_hi ? -1 : 0; dm <= (g->min_hi ? 1 : 0); dm++)
        for (float ds = -reach; ds <= reach; ds++) {
            float s[RUNS], m[RUNS], d[RUNS], least[RUNS], error[RUNS];
            for (int k = 0; k < RUNS; k++) {
                m[k] = nearest_level(want->m[k] * by_m[k] + dm, 0, (float)g->min_hi);
                least[k] = M[k] * m[k];
                /* with another minimum, the scale that leaves the upper end of the run where it was */
                float top = want->d[k] + (least[k] - want->m[k]) / g->run.hi;
                s[k] = nearest_level(nearest_level(top * by_d[k], lo, hi) + ds, lo, hi);
                d[k] = D[k] * s[k];
            }
            sum_errors(error, b, d, least, &g->run);
            for (int k = 0; k < RUNS; k++) {
                int better = error[k] < y->error[k];
                y->scale[k] = better ? s[k] : y->scale[k];
                y->min[k] = better ? m[k] : y->min[k];
                y->error[k] = better ? error[k] : y->error[k];
            }
        }
}

/* The D and M of a super-block, runs k0 to k1, from what its runs want. */
static void first_units(float *D, float *M, const run_fit *want, int k0, int k1, const pith__super_grid *g) {
    float d = 0, m = 0;
    for (int k = k0; k < k1; k++) {
        d = fabsf(want->d[k]) > fabsf(d) ? want->d[k] : d;
        m = want->m[k] > m ? want->m[k] : m;
    }
    *D = d / (float)(g->scale_lo ? g->scale_lo : g->scale_hi);
    *M = g->min_hi ? m / (float)g->min_hi : 0;
}

/* What the integers of a super-block say of D and M: the error is xx - 2 D ux + 2 M vx + D^2 uu - 2 D M uv + M^2 vv,
 * where u = scale * q and v = min. xx is left out. */
typedef struct {
    double uu, uv, vv, ux, vx;
} unit_sums;

static double unit_error(const unit_sums *s, double D, double M) {
    return D * (D * s->uu - 2 * s->ux) + M * (M * s->vv + 2 * s->vx) - 2 * D * M * s->uv;
}

/* The 16-bit float that is so many steps from the nearest one. */
static float half_near(float f, int steps) {
    return pith__f16_to_f32((uint16_t)(pith__f32_to_f16(f) + steps));
}

/* The best D and M for the integers that were chosen: least squares over the super-block, then 16-bit floats around. */
static void solve_units(float *D, float *M, const run_batch *b, const super_fit *y, const run_sums *r, int k0, int k1) {
    unit_sums s = { 0, 0, 0, 0, 0 };
    for (int k = k0; k < k1; k++) {
        double scale = y->scale[k], min = y->min[k];
        s.uu += scale * scale * r->qq[k];
        s.uv += scale * min * r->q[k];
        s.vv += min * min * b->sum_w[k];
        s.ux += scale * r->xq[k];
        s.vx += min * b->sum_wx[k];
    }
    double det = s.uu * s.vv - s.uv * s.uv, least = INFINITY;
    float m = *M;
    if (det > 1e-6 * s.uu * s.vv && s.ux * s.uv >= s.vx * s.uu) m = (float)((s.ux * s.uv - s.vx * s.uu) / det);
    for (int i = s.vv > 0 ? -2 : 0; i <= (s.vv > 0 ? 2 : 0); i++)
        for (int j = -1; j <= 1; j++) {
            float M1 = m > 0 ? half_near(m, i) : 0, D1 = half_near((float)((s.ux + M1 * s.uv) / s.uu), j);
            double error = unit_error(&s, D1, M1);
            if (!(error < least) || !(M1 >= 0)) continue;
            least = error;
            *D = D1;
            *M = M1;
        }
}

typedef struct {
    run_batch b;
    run_fit want;
    float D[RUNS], M[RUNS];    /* of the super-block that the run is in */
    float scale[RUNS], min[RUNS], d[RUNS], m[RUNS]; /* the best so far: integers, and what they stand for */
    float error[2];
} super_search;

/* Rounds D and M of super-block j, runs k0 to k1, to 16 bits. */
static void round_units(super_search *s, pith__super *y, int k0, int k1) {
    float D = put_half(y->d, s->D[k0]), M = put_half(y->dmin, s->M[k0]);
    for (int k = k0; k < k1; k++) s->D[k] = D, s->M[k] = M;
}

/* Keeps what was chosen where it is better than before: in y as it is written. */
static void keep_better(super_search *s, const super_fit *f, int j, int runs, pith__super *y, const pith__super *now) {
    float error = 0;
    for (int k = j * runs; k < (j + 1) * runs; k++) error += f->error[k];
    if (!(error < s->error[j])) return;
    s->error[j] = error;
    *y = *now;
    for (int k = j * runs; k < (j + 1) * runs; k++) {
        y->scale[k - j * runs] = (int)f->scale[k];
        y->min[k - j * runs] = (int)f->min[k];
        s->d[k] = s->D[k] * f->scale[k];
        s->m[k] = s->M[k] * f->min[k];
    }
}

/* Super-blocks, one of runs of 16 or up to two of runs of 32. */
PITH_SHARED void pith__fit_super(pith__super *y, const float *x, const float *importance, int n,
                                 const pith__super_grid *g) {
    int runs = 256 / g->length;
    super_search s = { .error = { INFINITY, INFINITY } };
    pith__super now[2];
    uint8_t q[RUNS * PITH__RUN];
    memset(y, 0, (size_t)n * sizeof *y);
    memset(now, 0, sizeof now);
    load_batch(&s.b, x, importance, n, runs, g->length);
    fit_runs(&s.want, &s.b, &g->run);
    for (int j = 0; j < n; j++) first_units(&s.D[j * runs], &s.M[j * runs], &s.want, j * runs, (j + 1) * runs, g);
    for (int step = 0;; step++) {
        super_fit f;
        run_sums sums;
        float d[RUNS], m[RUNS];
        for (int j = 0; j < n; j++) round_units(&s, &now[j], j * runs, (j + 1) * runs);
        choose(&f, &s.b, &s.want, s.D, s.M, g);
        for (int j = 0; j < n; j++) keep_better(&s, &f, j, runs, &y[j], &now[j]);
        if (step == g->again) break;
        for (int k = 0; k < RUNS; k++) d[k] = s.D[k] * f.scale[k], m[k] = s.M[k] * f.min[k];
        invert(d, d);
        sum_batch(&sums, &s.b, d, m, &g->run);
        for (int j = 0; j < n; j++)
            solve_units(&s.D[j * runs], &s.M[j * runs], &s.b, &f, &sums, j * runs, (j + 1) * runs);
    }
    write_q(q, &s.b, s.d, s.m, &g->run);
    for (int j = 0; j < n; j++) {
        memcpy(y[j].q, q + 256 * j, 256);
        y[j].bad = !(s.error[j] < INFINITY);
    }
}
