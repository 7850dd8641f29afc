/* spelling.c - how the pieces of a vocabulary spell bytes, see the spellings in formats.h. */
#include "formats.h"

#include <string.h>

/* GPT-2 spells a byte as a letter: itself if it prints, else U+0100 and up. */
PITH_SHARED size_t pith__byte_letter(uint8_t b, char *out) {
    int prints = (b > 32 && b < 127) || (b > 160 && b != 173);
    uint32_t c = prints ? b : b <= 32 ? 256u + b : b == 173 ? 323u : 289u + b - 127u;
    return pith__utf8_write(c, out);
}

/* The other way: the byte that a letter of one or two bytes in UTF-8 stands for, left bytes before the end; -1: none. */
static int letter_byte(const uint8_t *p, size_t left) {
    if (*p < 0x80) return *p > 32 && *p < 127 ? *p : -1;
    if (left < 2 || *p < 0xc2 || *p > 0xc5 || (p[1] & 0xc0) != 0x80) return -1;
    int c = (*p & 31) << 6 | (p[1] & 63);
    if (c < 256) return c > 160 && c != 173 ? c : -1;
    return c <= 288 ? c - 256             /* 0 to space */
         : c <= 322 ? c - 289 + 127       /* DEL to no-break space */
         : c == 323 ? 173 : -1;           /* soft hyphen */
}

PITH_SHARED int pith__is_metaspace(const char *p, size_t left) {
    return left >= 3 && memcmp(p, PITH__METASPACE_UTF8, 3) == 0;
}

PITH_SHARED size_t pith__metaspace_read(const char *p, size_t n, char *out) {
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        int meta = pith__is_metaspace(p + i, n - i);
        out[m++] = meta ? ' ' : p[i];
        if (meta) i += 2;
    }
    return m;
}

PITH_SHARED size_t pith__spelled_bytes(int spelling, pith__str s, char *out) {
    size_t n = 0, i = 0;
    while (spelling == PITH__BYTE_LETTERS && i < s.n) {
        for (; i < s.n && s.p[i] > 32 && s.p[i] < 127; i++) out[n++] = s.p[i];
        int b = i < s.n ? letter_byte((const uint8_t *)s.p + i, s.n - i) : 0;
        if (i == s.n) return n;
        if (b < 0) break; /* an added token in plain text */
        out[n++] = (char)b;
        i += 2;
        if (i == s.n) return n;
    }
    if (spelling == PITH__METASPACE) return pith__metaspace_read(s.p, s.n, out);
    if (s.n) memcpy(out, s.p, s.n);
    return s.n;
}

PITH_SHARED size_t pith__spelled_size(int spelling, pith__str s) {
    size_t n = s.n;
    for (size_t i = 0; spelling == PITH__BYTE_LETTERS && i < s.n; i++) n -= ((uint8_t)s.p[i] & 0xc0) == 0x80;
    for (size_t i = 0; spelling == PITH__METASPACE && i < s.n; i++) n -= pith__is_metaspace(s.p + i, s.n - i) ? 2 : 0;
    return n;
}

PITH_SHARED const char *pith__rewrite_name(int kind) {
    static const char *const name[] = { "graphemes", "longest", "NFC", "NFKC", "replace", "squeeze", "trim", "prepend",
                                        "strip left", "strip right" };
    return kind < (int)(sizeof name / sizeof *name) ? name[kind] : NULL;
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10
         : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

PITH_SHARED int pith__byte_named(const pith__vocab *v, pith__str s) {
    int fallback = v->model == PITH__SPM || v->byte_fallback;
    if (!fallback || v->spelling == PITH__BYTE_LETTERS) return -1;
    if (s.n != 6 || memcmp(s.p, "<0x", 3) != 0 || s.p[5] != '>') return -1;
    int high = hex_digit(s.p[3]), low = hex_digit(s.p[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}
