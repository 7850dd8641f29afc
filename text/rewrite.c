/* rewrite.c - what is done to a text before it is cut into words and pieces: the normalizer of a tokenizer.json, step by
 * step, or SentencePiece's own.
 *
 * A text is made well-formed first, a U+FFFD for each byte that is no UTF-8, as both SentencePiece and whoever reads text
 * for "tokenizers" do. */
#include "../formats/formats.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

PITH_SHARED int pith__rewriter_new(pith__rewriter *w, const pith__rewrite *step, int n, pith__arena *a, pith_error *err) {
    *w = (pith__rewriter){ .step = step, .n = n };
    w->map = pith__arena_new(a, (size_t)n + 1, sizeof *w->map);
    if (!w->map) return PITH_EMEMORY;
    for (int i = 0; i < n; i++) {
        int map = step[i].kind == PITH__MAP_GRAPHEMES || step[i].kind == PITH__MAP_LONGEST;
        int code = map ? pith__charmap_open(&w->map[i], step[i].find, err) : PITH_OK;
        if (code) return code;
    }
    return PITH_OK;
}

static void well_formed(const char *p, size_t n, pith__said *to) {
    uint32_t c;
    char put[4];
    for (size_t i = 0, size, good = 0; i <= n; i += size) { /* good: where what is not yet said begins */
        size = i < n ? pith__utf8_read((const uint8_t *)p + i, n - i, &c) : 1;
        int bad = i < n && size == 1 && (unsigned char)p[i] >= 0x80;
        if (!bad && i < n) continue;
        pith__say_bytes(to, p + good, i - good);
        if (bad) pith__say_bytes(to, put, pith__utf8_write(0xfffd, put));
        good = i + 1;
    }
}

static void replace(const char *p, size_t n, const pith__rewrite *step, pith__said *to) {
    size_t said = 0;
    for (size_t i = 0; step->find.n && i + step->find.n <= n;) {
        const char *at = memchr(p + i, step->find.p[0], n - step->find.n + 1 - i);
        if (!at) break;
        i = (size_t)(at - p);
        if (memcmp(at, step->find.p, step->find.n) != 0) {
            i++;
            continue;
        }
        pith__say_bytes(to, p + said, i - said);
        pith__say_bytes(to, step->put.p, step->put.n);
        said = i += step->find.n;
    }
    pith__say_bytes(to, p + said, n - said);
}

/* Spaces side by side, two or more, become put. */
static void squeeze(const char *p, size_t n, pith__str put, pith__said *to) {
    size_t said = 0;
    for (size_t i = 0, end; i < n; i = end) {
        end = i + 1;
        if (p[i] != ' ') continue;
        while (end < n && p[end] == ' ') end++;
        if (end - i < 2) continue;
        pith__say_bytes(to, p + said, i - said);
        pith__say_bytes(to, put.p, put.n);
        said = end;
    }
    pith__say_bytes(to, p + said, n - said);
}

/* SentencePiece's remove_extra_whitespaces: no space at either end, where a U+2581 behind it counts as one, and none behind
 * another. */
static void trim(const char *p, size_t n, pith__said *to) {
    for (;; n -= p[n - 1] == ' ' ? 1 : 3)
        if (n == 0 || !(p[n - 1] == ' ' || (n > 2 && pith__is_metaspace(p + n - 3, 3)))) break;
    while (n > 0 && *p == ' ') p++, n--;
    squeeze(p, n, (pith__str){ " ", 1 }, to);
}

static void apply_nfc(const char *p, size_t n, pith__said *to) {
    size_t most;
    char *more = pith__mul(&most, n, 3) || to->failed ? NULL : pith__more(to->p, &to->room, most + 1, 1);
    if (more) to->p = more;
    if (more) to->n = pith__nfc(p, n, more);
    else to->failed = 1;
}

/* Characters that are others in another shape become these. */
static void plain_shapes(const char *p, size_t n, pith__said *to) {
    uint32_t c, one;
    const uint32_t *like;
    char put[4];
    for (size_t i = 0, size; i < n; i += size) {
        size = pith__utf8_read((const uint8_t *)p + i, n - i, &c);
        size_t count = c < 0xa0 ? 0 : pith__compat(c, &one, &like);
        if (!count) pith__say_bytes(to, p + i, size);
        for (size_t k = 0; k < count; k++) pith__say_bytes(to, put, pith__utf8_write(like[k], put));
    }
}

static void apply_nfkc(const char *p, size_t n, pith__said *to) {
    pith__said plain = { 0 };
    plain_shapes(p, n, &plain);
    to->failed |= plain.failed;
    apply_nfc(plain.p ? plain.p : "", plain.n, to);
    free(plain.p);
}

static void apply(const pith__rewriter *w, int i, const char *p, size_t n, pith__said *to) {
    const pith__rewrite *step = &w->step[i];
    switch (step->kind) {
    case PITH__MAP_GRAPHEMES: pith__charmap_graphemes(&w->map[i], p, n, to); break;
    case PITH__MAP_LONGEST: pith__charmap_longest(&w->map[i], p, n, to); break;
    case PITH__TO_NFC: apply_nfc(p, n, to); break;
    case PITH__TO_NFKC: apply_nfkc(p, n, to); break;
    case PITH__REPLACE: replace(p, n, step, to); break;
    case PITH__SQUEEZE: squeeze(p, n, step->put, to); break;
    case PITH__TRIM: trim(p, n, to); break;
    case PITH__PREPEND:
        if (n) pith__say_bytes(to, step->put.p, step->put.n);
        pith__say_bytes(to, p, n);
        break;
    case PITH__STRIP_LEFT: {
        size_t white = pith__white_at(p, n);
        pith__say_bytes(to, p + white, n - white);
        break;
    }
    case PITH__STRIP_RIGHT: pith__say_bytes(to, p, n - pith__white_before(p, n)); break;
    }
}

PITH_SHARED int pith__rewrite_text(const pith__rewriter *w, const char *p, size_t n, pith__said *to, pith__said *room) {
    to->n = 0;
    well_formed(p, n, to);
    for (int i = 0; i < w->n && !to->failed; i++) {
        pith__said before = *to;
        *to = *room;
        *room = before;
        to->n = 0;
        apply(w, i, room->p ? room->p : "", room->n, to);
    }
    return to->failed ? PITH_EMEMORY : PITH_OK;
}
