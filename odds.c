/* odds.c - the odds of all tokens against the likeliest, and their running sums, as if added one by one.
 *
 * The odds of a token are expf(x - max), and a draw adds probabilities up in float, token after token, until they exceed
 * the coin: so llama2.c does it, and a seed gives its text only where every rounding is the same. Done as written it is
 * a call of expf and two waits for an addition a token, 1.4 ms for a vocabulary of 152k. Here both are done in vectors:
 *
 * While the sum s lies between a power of two B and 2 B, it is a multiple of u = 2^-23 B, and adding y to it adds the
 * multiple of u that is nearest to y: (y + B) - B, whatever s is. Those multiples may be added in any order, because no
 * sum of them is rounded. Neither has y to be exact: an error matters only where it decides which multiple is nearest.
 * In a block of tokens with such a y, and where s reaches 2 B, the tokens are added one by one. */
#include "internal.h"
#include "math/wide.h"

#include <math.h>

enum { BLOCK = PITH__BLOCK };

/* At most this part of the odds is wrong: fast_exp() by 1.2 units in the last place (t_sampler.c), expf of any libm by
 * one. To probabilities divisions add two. */
static const float doubt = 2.5f / (1 << 23), doubt_p = 4.5f / (1 << 23);

/* exp(x - max) of a block: 2^n e^r with |r| <= ln 2 / 2, by the series to r^7; no less than e^-64, which adds nothing to
 * a sum from 1e-15 on. */
PITH__LOOPS void fast_exp(float *restrict y, const float *restrict x, float max) {
    const float shift = 12582912; /* 1.5 * 2^23: added and taken away again, it rounds to a whole number */
    for (int i = 0; i < BLOCK; i++) y[i] = x[i] - max > -64 ? x[i] - max : -64;
    for (int i = 0; i < BLOCK; i++) {
        float n = y[i] * 1.44269504f + shift, whole = n - shift;
        float r = y[i] - whole * 0.693359375f + whole * 2.12194440e-4f; /* ln 2 in two parts, the first of few bits */
        float low = 0.5f + r * (1.0f / 6), high = 1.0f / 24 + r * (1.0f / 120) + r * r * (1.0f / 720 + r * (1.0f / 5040));
        float e = 1 + (r + r * r * (low + r * r * high));
        y[i] = e * pith__float_of((pith__bits_of(n) + 127) << 23);
    }
}

PITH__LOOPS void fold_sums(float *restrict y, const float *restrict x, int n) {
    for (int k = 0; k < n; k++) y[k] = x[k] + x[k + n];
}

PITH__LOOPS void fold_largest(float *restrict y, const float *restrict x, int n) {
    for (int k = 0; k < n; k++) y[k] = x[k] > x[k + n] ? x[k] : x[k + n];
}

PITH__LOOPS float largest_of(const float *x) {
    float half[BLOCK / 2], quarter[BLOCK / 4], eighth[BLOCK / 8];
    fold_largest(half, x, BLOCK / 2);
    fold_largest(quarter, half, BLOCK / 4);
    fold_largest(eighth, quarter, BLOCK / 8);
    fold_largest(half, eighth, BLOCK / 16);
    fold_largest(quarter, half, BLOCK / 32);
    return quarter[0] > quarter[1] ? quarter[0] : quarter[1];
}

PITH__LOOPS float sum_of(const float *x) {
    float half[BLOCK / 2], quarter[BLOCK / 4], eighth[BLOCK / 8];
    fold_sums(half, x, BLOCK / 2);
    fold_sums(quarter, half, BLOCK / 4);
    fold_sums(eighth, quarter, BLOCK / 8);
    fold_sums(half, eighth, BLOCK / 16);
    fold_sums(quarter, half, BLOCK / 32);
    return quarter[0] + quarter[1];
}

/* A block of y, times scale, this part of it wrong at most, is added to a running sum: 0 where that is not surely what one
 * by one gives, or is more than most. */
PITH__LOOPS int add_block(float *sum, const float *y, float scale, float wrong, float most) {
    const float low = pith__float_of(pith__bits_of(*sum) & 0x7f800000), half = low / (1 << 24); /* B, u / 2 */
    float r[BLOCK], off[BLOCK]; /* the nearest multiples; from them so far, where half of u is as near to others */
    if (!(low > 1e-15f)) return 0;
    for (int k = 0; k < BLOCK; k++) {
        float v = y[k] * scale, up = v + low;
        r[k] = up - low;
        off[k] = fabsf(v - r[k]) + v * wrong;
    }
    float all = *sum + sum_of(r);
    if (!(largest_of(off) < 0.999f * half && all < 2 * low && all <= most)) return 0;
    *sum = all;
    return 1;
}

PITH_SHARED float pith__odds(float x, float max) { return x == max ? 1 : expf(x - max); }

PITH__LOOPS void odds_in_blocks(pith__odds_table *o) {
    int in_blocks = isfinite(o->max) ? o->n / BLOCK * BLOCK : 0, i;
    o->sum = 0;
    for (i = 0; i < in_blocks; i += BLOCK) {
        fast_exp(o->y + i, o->x + i, o->max);
        if (add_block(&o->sum, o->y + i, 1, doubt, INFINITY)) continue;
        for (int k = i; k < i + BLOCK; k++) o->sum += o->y[k] = pith__odds(o->x[k], o->max);
    }
    for (; i < o->n; i++) o->sum += o->y[i] = pith__odds(o->x[i], o->max);
}
PITH__WIDE static void odds_wide(pith__odds_table *o) { odds_in_blocks(o); }

PITH_SHARED void pith__all_odds(pith__odds_table *o) {
    if (PITH__HAS_WIDE()) odds_wide(o);
    else odds_in_blocks(o);
}

PITH_SHARED float pith__odds_p(const pith__odds_table *o, int i) { return pith__odds(o->x[i], o->max) / o->sum; }

PITH__LOOPS int draw_in_blocks(const pith__odds_table *o, float coin) {
    float cdf = 0;
    for (int i = 0, end; i < o->n; i = end) {
        end = o->n - i < BLOCK ? o->n : i + BLOCK;
        if (end - i == BLOCK && add_block(&cdf, o->y + i, 1 / o->sum, doubt_p, coin)) continue;
        for (int k = i; k < end; k++)
            if (coin < (cdf += pith__odds_p(o, k))) return k;
    }
    for (int i = o->n; i-- > 0;)
        if (pith__odds_p(o, i) > 0) return i; /* rounding */
    return 0;
}
PITH__WIDE static int draw_wide(const pith__odds_table *o, float coin) { return draw_in_blocks(o, coin); }

PITH_SHARED int pith__draw_by_odds(const pith__odds_table *o, float coin) {
    return PITH__HAS_WIDE() ? draw_wide(o, coin) : draw_in_blocks(o, coin);
}

/* ---- the likely ones ------------------------------------------------------------------------- */

PITH__LOOPS int block_of_next(const float *x, int i, int n, double least) {
    while (n - i >= BLOCK && largest_of(x + i) < least) i += BLOCK;
    return i;
}
PITH__WIDE static int next_wide(const float *x, int i, int n, double least) { return block_of_next(x, i, n, least); }

PITH_SHARED int pith__next_block(const float *x, int i, int n, double least) {
    return PITH__HAS_WIDE() ? next_wide(x, i, n, least) : block_of_next(x, i, n, least);
}

PITH__LOOPS int place_of_largest(const float *x, int n) {
    float most = x[0];
    int best = 0, i = 0, block = -1;
    for (; n - i >= BLOCK; i += BLOCK) {
        float m = largest_of(x + i);
        if (m > most) most = m, block = i;
    }
    if (block >= 0)
        for (best = block; x[best] != most; best++) continue;
    for (; i < n; i++)
        if (x[i] > most) most = x[i], best = i;
    return best;
}
PITH__WIDE static int place_wide(const float *x, int n) { return place_of_largest(x, n); }

PITH_SHARED int pith__first_largest(const float *x, int n) { return PITH__HAS_WIDE() ? place_wide(x, n) : place_of_largest(x, n); }

PITH_SHARED int pith__find_likely(pith__odds_table *o, float from, int32_t *t) {
    int found = 0;
    for (int i = 0; (i = pith__next_block(o->y, i, o->n, from)) < o->n;)
        for (int end = pith__block_end(i, o->n); i < end; i++) {
            t[found] = i;
            found += o->y[i] >= from; /* no branch: which tokens are likely cannot be guessed */
        }
    for (int i = 0; i < found; i++) o->y[t[i]] = pith__odds_p(o, t[i]);
    return found;
}

PITH_SHARED float pith__odds_of_mass(const pith__odds_table *o, float least, double mass) {
    enum { SHIFT = 17, N = 40 << (23 - SHIFT) }; /* 64 ranges from one power of two to the next, down to 2^-40 */
    const uint32_t one = pith__bits_of(1);
    uint32_t count[N] = { 0 };
    double sum = 0;
    for (int i = 0; (i = pith__next_block(o->y, i, o->n, least)) < o->n;)
        for (int end = pith__block_end(i, o->n); i < end; i++) {
            uint32_t range = (one - pith__bits_of(o->y[i])) >> SHIFT;
            if (range < N) count[range]++;
        }
    for (uint32_t r = 0; r < N; r++) {
        float edge = pith__float_of(one - ((r + 1) << SHIFT));
        if ((sum += (double)count[r] * edge) > mass) return edge > least ? edge : least;
    }
    return least;
}
