/* bytes.c - errors, checked sizes, a hash, random numbers, views, and the cursor.
 *
 * Bytes of a file are taken from a cursor, which compares every request with what is left. Nothing here
 * talks to the operating system. */
#include "base.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- errors ---------------------------------------------------------------------------------------- */

/* What does not fit loses its middle: a long path comes first, but what is wrong with it comes last. */
PITH_SHARED int pith__fail(pith_error *err, int code, const char *fmt, ...) {
    enum { ROOM = sizeof err->text, HEAD = 60 };
    char text[6000];
    if (!err) return code;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n >= (int)sizeof text) n = (int)sizeof text - 1;
    if (n < ROOM) memcpy(err->text, text, (size_t)n + 1);
    else snprintf(err->text, ROOM, "%.*s...%s", HEAD, text, text + n - (ROOM - HEAD - 4));
    for (char *p = err->text; *p; p++)
        if ((unsigned char)*p < 32 || *p == 127) *p = '?';
    err->code = code;
    return code;
}

PITH_SHARED int pith__tell(const pith__progress *p, const char *what, size_t done, size_t all,
                           pith_error *err) {
    if (!p || !p->tell || !p->tell(p->data, what, done, all)) return PITH_OK;
    return pith__fail(err, PITH_ESTOP, "%s: stopped", what);
}

/* ---- sizes ----------------------------------------------------------------------------------------- */

PITH_SHARED int pith__mul(size_t *r, size_t a, size_t b) {
    if (b && a > SIZE_MAX / b) return 1;
    *r = a * b;
    return 0;
}

PITH_SHARED int pith__add(size_t *r, size_t a, size_t b) {
    if (a > SIZE_MAX - b) return 1;
    *r = a + b;
    return 0;
}

/* ---- hash, and random numbers by counting ------------------------------------------------------------ */

/* One to one in h, and in the eight bytes. */
static uint64_t hash_eight(uint64_t h, const uint8_t *p) {
    uint64_t x;
    memcpy(&x, p, sizeof x);
    h = (h ^ x) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

/* Four hashes side by side are faster than memory. */
PITH_SHARED uint64_t pith__hash(uint64_t h, const void *p, size_t n) {
    const uint8_t *b = p;
    uint64_t h0 = h, h1 = h + 1, h2 = h + 2, h3 = h + 3;
    for (; n >= 32; b += 32, n -= 32) {
        h0 = hash_eight(h0, b);
        h1 = hash_eight(h1, b + 8);
        h2 = hash_eight(h2, b + 16);
        h3 = hash_eight(h3, b + 24);
    }
    const uint64_t side[] = { h0, h1, h2, h3 };
    for (int i = 0; i < 4; i++) h = hash_eight(h, (const uint8_t *)&side[i]);
    for (; n >= 8; b += 8, n -= 8) h = hash_eight(h, b);
    uint8_t last[8] = { 0 };
    if (n) memcpy(last, b, n);
    last[7] = (uint8_t)n;
    return hash_eight(h, last);
}

/* The finalizer of splitmix64: Steele, Lea and Flood 2014, doi:10.1145/2714064.2660195. */
static uint64_t scramble(uint64_t z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

PITH_SHARED uint64_t pith__random_at(uint64_t seed, uint64_t i) {
    return scramble(scramble(seed + 0x9e3779b97f4a7c15u) + (i + 1) * 0x9e3779b97f4a7c15u);
}

/* ---- views and the cursor ------------------------------------------------------------------------- */

PITH_SHARED pith__str pith__str_of(const char *s) {
    pith__str v = { s, strlen(s) };
    return v;
}

PITH_SHARED int pith__str_cmp(pith__str a, pith__str b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

PITH_SHARED int pith__str_is(pith__str a, const char *s) {
    return pith__str_cmp(a, pith__str_of(s)) == 0;
}

/* Levenshtein's distance. */
PITH_SHARED int pith__letters_apart(const char *a, const char *b) {
    int row[64], n = (int)strlen(b);
    if (n > 63) return INT_MAX;
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 1; *a && i < 64; i++, a++) {
        int corner = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int best = corner + (*a != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            corner = row[j];
            row[j] = best;
        }
    }
    return row[n];
}

PITH_SHARED const char *pith__names(char *to, size_t room, pith__str (*known)(int i)) {
    size_t n = 0;
    *to = 0;
    for (int i = 0; known(i).n && n < room; i++)
        n += (size_t)snprintf(to + n, room - n, " %.*s", (int)known(i).n, known(i).p);
    return to;
}

PITH_SHARED const uint8_t *pith__take(pith__cursor *c, uint64_t n) {
    if (c->bad || n > c->left) {
        c->bad = 1;
        return NULL;
    }
    const uint8_t *p = c->p;
    c->p += (size_t)n;
    c->left -= (size_t)n;
    return p;
}

/* An unsigned number of n bytes; the processor is little-endian as files are (base.h). */
static uint64_t take_number(pith__cursor *c, size_t n) {
    const uint8_t *p = pith__take(c, n);
    uint64_t v = 0;
    if (p) memcpy(&v, p, n);
    return v;
}

PITH_SHARED uint8_t pith__u8(pith__cursor *c) { return (uint8_t)take_number(c, 1); }
PITH_SHARED uint16_t pith__u16(pith__cursor *c) { return (uint16_t)take_number(c, 2); }
PITH_SHARED uint32_t pith__u32(pith__cursor *c) { return (uint32_t)take_number(c, 4); }
PITH_SHARED uint64_t pith__u64(pith__cursor *c) { return take_number(c, 8); }

PITH_SHARED float pith__f32(pith__cursor *c) {
    uint32_t u = pith__u32(c);
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
