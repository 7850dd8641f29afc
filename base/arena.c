/* arena.c - memory that is freed together.
 *
 * Small pieces lie side by side in a chunk. Whoever asks for much gets a chunk of large pages: a page that is touched for the
 * first time costs a trip to the kernel, and the tables of a large vocabulary have thousands of 4 KB, or ten of 2 MB. */
#include "base.h"

#include <stdlib.h>
#include <string.h>

struct pith__chunk {
    struct pith__chunk *next;
    unsigned char *free; /* the next byte to give */
};

enum { ARENA_CHUNK = 16384, ARENA_ALIGN = 16, ARENA_MUCH = 1 << 18, ARENA_LARGE = 1 << 24 };

/* A chunk of zeroed memory, of at least want bytes. What is not touched of a large one has an address, and takes no memory. */
static int new_chunk(pith__arena *a, size_t want) {
    int much = want >= ARENA_MUCH;
    size_t head = (sizeof(pith__chunk) + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN, room = much ? ARENA_LARGE : ARENA_CHUNK;
    if (room < want) room = want;
    pith__chunk *c = calloc(1, head + room + (much ? PITH__LARGE_PAGE : 0));
    if (!c) return 0;
    c->free = (unsigned char *)c + head;
    if (much) {
        c->free += (PITH__LARGE_PAGE - (uintptr_t)c->free % PITH__LARGE_PAGE) % PITH__LARGE_PAGE;
        pith__large_pages(c->free, room);
    }
    c->next = a->chunk;
    a->chunk = c;
    a->left = room;
    return 1;
}

PITH_SHARED void *pith__arena_new(pith__arena *a, size_t n, size_t size) {
    size_t want;
    if (pith__mul(&want, n, size) || want > SIZE_MAX / 2) return NULL;
    want = (want / ARENA_ALIGN + 1) * ARENA_ALIGN; /* nothing gets an address too */
    if (want > a->left && !new_chunk(a, want)) return NULL;
    void *p = a->chunk->free;
    a->chunk->free += want;
    a->left -= want;
    return p;
}

PITH_SHARED char *pith__arena_text(pith__arena *a, const char *p, size_t n) {
    char *copy = pith__arena_new(a, n + 1, 1);
    return copy && n ? memcpy(copy, p, n) : copy;
}

PITH_SHARED void pith__arena_free(pith__arena *a) {
    while (a->chunk) {
        pith__chunk *next = a->chunk->next;
        free(a->chunk);
        a->chunk = next;
    }
    a->left = 0;
}
