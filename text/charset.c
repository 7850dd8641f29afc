/* charset.c - sets of characters, as ranges of code points: what a class in a grammar or a pattern holds. */
#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

PITH_SHARED void *pith__more(void *p, size_t *room, size_t n, size_t size) {
    size_t more = *room, bytes;
    if (n <= *room) return p;
    while (more < n) more = more ? 2 * more : 16;
    void *q = more > SIZE_MAX / 4 || pith__mul(&bytes, more, size) ? NULL : realloc(p, bytes);
    if (q) *room = more;
    return q;
}

PITH_SHARED void pith__say(pith__said *t, const char *fmt, ...) {
    char some[512], *more = NULL;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(some, sizeof some, fmt, args);
    va_end(args);
    if (n >= 0 && n < (int)sizeof some && !t->failed) more = pith__more(t->p, &t->room, t->n + (size_t)n + 1, 1);
    if (!more) {
        t->failed = 1;
        return;
    }
    t->p = more;
    memcpy(t->p + t->n, some, (size_t)n + 1);
    t->n += (size_t)n;
}

PITH_SHARED void pith__say_bytes(pith__said *t, const char *p, size_t n) {
    char *more = t->failed || n > SIZE_MAX / 4 ? NULL : pith__more(t->p, &t->room, t->n + n + 1, 1);
    if (!more) {
        t->failed = 1;
        return;
    }
    t->p = more;
    if (n) memcpy(t->p + t->n, p, n);
    t->n += n;
    t->p[t->n] = 0;
}

PITH_SHARED void pith__charset_add(pith__charset *s, uint32_t from, uint32_t to) {
    if (from > to) return;
    pith__range *more = s->failed ? NULL : pith__more(s->range, &s->room, s->n + 1, sizeof *more);
    if (!more) {
        s->failed = 1;
        return;
    }
    s->range = more;
    s->range[s->n++] = (pith__range){ from, to };
}

PITH_SHARED void pith__charset_join(pith__charset *s, const pith__charset *other) {
    for (size_t i = 0; i < other->n; i++) pith__charset_add(s, other->range[i].from, other->range[i].to);
    s->failed |= other->failed;
}

static int range_order(const void *a, const void *b) {
    const pith__range *x = a, *y = b;
    return (x->from > y->from) - (x->from < y->from);
}

PITH_SHARED void pith__charset_tidy(pith__charset *s) {
    size_t n = 0;
    if (s->n) qsort(s->range, s->n, sizeof *s->range, range_order);
    for (size_t i = 0; i < s->n; i++) {
        pith__range r = s->range[i];
        if (n && r.from <= s->range[n - 1].to + 1) {
            if (r.to > s->range[n - 1].to) s->range[n - 1].to = r.to;
        } else {
            s->range[n++] = r;
        }
    }
    s->n = n;
}

PITH_SHARED void pith__charset_invert(pith__charset *s) {
    pith__charset out = { .failed = s->failed };
    pith__charset_add(s, 0xd800, 0xdfff); /* surrogates are no characters */
    pith__charset_tidy(s);
    uint32_t from = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->range[i].from > from) pith__charset_add(&out, from, s->range[i].from - 1);
        from = s->range[i].to + 1;
    }
    pith__charset_add(&out, from, PITH__LAST_CHAR);
    out.failed |= s->failed;
    free(s->range);
    *s = out;
}

PITH_SHARED void pith__charset_keep(pith__charset *s, const pith__charset *other) {
    pith__charset out = { .failed = s->failed | other->failed };
    for (size_t i = 0, j = 0; i < s->n && j < other->n;) {
        pith__range a = s->range[i], b = other->range[j];
        pith__charset_add(&out, a.from > b.from ? a.from : b.from, a.to < b.to ? a.to : b.to);
        if (a.to < b.to) i++;
        else j++;
    }
    free(s->range);
    *s = out;
}

PITH_SHARED int pith__charset_has(const pith__charset *s, uint32_t c) {
    size_t lo = 0, hi = s->n;
    while (lo < hi) {
        size_t middle = (lo + hi) / 2;
        if (c < s->range[middle].from) hi = middle;
        else if (c > s->range[middle].to) lo = middle + 1;
        else return 1;
    }
    return 0;
}

PITH_SHARED void pith__charset_free(pith__charset *s) {
    free(s->range);
    *s = (pith__charset){ 0 };
}
