/* utf8.c - UTF-8 (RFC 3629): bytes <-> characters.
 *
 * Overlong forms, surrogates and characters over U+10FFFF are no UTF-8. Readers differ in what they do
 * with bytes that are none: JSON refuses them, tokenizers take each as U+FFFD, output waits for the rest
 * of a character that is cut. So there is one function that tells these cases apart. */
#include "base.h"

PITH_SHARED int pith__utf8_length(const uint8_t *p, size_t n) {
    if (*p < 0x80) return 1;
    int need = *p < 0xc2 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 1;
    unsigned low = *p == 0xe0 ? 0xa0 : *p == 0xf0 ? 0x90 : 0x80; /* of the second byte */
    unsigned high = *p == 0xed ? 0x9f : *p == 0xf4 ? 0x8f : 0xbf;
    for (int k = 1; k < need; k++, low = 0x80, high = 0xbf) {
        if ((size_t)k == n) return 0;
        if (p[k] < low || p[k] > high) return -k;
    }
    return need > 1 ? need : -1;
}

PITH_SHARED size_t pith__utf8_read(const uint8_t *p, size_t left, uint32_t *c) {
    int n = pith__utf8_length(p, left);
    *c = n <= 0 ? 0xfffd : n == 1 ? p[0] : p[0] & (0x7fu >> n);
    for (int i = 1; i < n; i++) *c = *c << 6 | (p[i] & 0x3f);
    return n > 0 ? (size_t)n : 1;
}

PITH_SHARED size_t pith__utf8_write(uint32_t c, char *out) {
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6) out[i] = (char)(0x80 | (c & 0x3f));
    *out = (char)(n == 1 ? c : (0xf00u >> n & 0xff) | c);
    return n;
}

size_t pith_utf8_tail(const char *s, size_t len) {
    for (size_t n = 1; n <= 3 && n <= len; n++)
        if (pith__utf8_length((const uint8_t *)s + len - n, n) == 0) return n;
    return 0;
}
