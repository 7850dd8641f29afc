/* charmap.c - SentencePiece's character map: what the characters of a text are written as before it is cut into pieces.
 *
 * The map holds beginnings of texts and what each becomes: full-width letters their plain ones, odd spaces a space,
 * control characters nothing. Its bytes, as the model file has them: the size of a trie (32 bits, little-endian), the
 * trie, then what texts become, each with a NUL behind it.
 *
 * The trie is a double array (Aoe 1989; the bits are those of Darts-clone): one array of 32-bit units, in which a node's
 * offset xor the next byte is the place of the next node, which has that byte as its label if there is such a way at all.
 *
 * SentencePiece looks for the longest beginning of the text. The library "tokenizers" goes through it by graphemes, what a
 * reader sees as one character (Unicode's annex 29): one of less than 6 bytes becomes, whole, what its shortest beginning
 * becomes, so that marks behind a letter of the map are lost; in longer ones each character is looked up. */
#include "text.h"

#include <string.h>

enum { LONGEST_KEY = 256, LONGEST_VALUE = 256 }; /* bytes; real maps have 20 and 40 */

/* ---- the map --------------------------------------------------------------------------------- */

PITH_SHARED int pith__charmap_open(pith__charmap *m, pith__str bytes, pith_error *err) {
    pith__cursor c = { (const uint8_t *)bytes.p, bytes.n, 0 };
    *m = (pith__charmap){ 0 };
    if (bytes.n == 0) return PITH_OK;
    uint32_t size = pith__u32(&c);
    m->unit = pith__take(&c, size);
    m->n_unit = size / 4;
    m->text = (const char *)c.p;
    m->n_text = c.left;
    if (c.bad || size % 4 || size == 0)
        return pith__fail(err, PITH_EFORMAT, "precompiled_charsmap has %zu bytes, and a trie of %u of them", bytes.n,
                          (unsigned)size);
    size_t longest = 0, start = 0;
    for (size_t i = 0; i < m->n_text; i++) {
        if (m->text[i]) continue;
        if (i - start > longest) longest = i - start;
        start = i + 1;
    }
    if (start < m->n_text)
        return pith__fail(err, PITH_EFORMAT, "precompiled_charsmap ends without a NUL behind its last text");
    if (longest > LONGEST_VALUE)
        return pith__fail(err, PITH_EFORMAT, "precompiled_charsmap has a text of %zu bytes, need up to %d", longest,
                          (int)LONGEST_VALUE);
    return PITH_OK;
}

/* Unit i, or one that no byte is the label of. */
static uint32_t unit_at(const pith__charmap *m, uint32_t i) {
    if (i >= m->n_unit) return 0x80000000u;
    const uint8_t *p = m->unit + 4 * (size_t)i;
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t unit_offset(uint32_t unit) { return unit >> 10 << ((unit & 1u << 9) >> 6); }

/* Bytes of the shortest beginning of p[0..n) that the map has, or of the longest; *becomes is what it becomes. 0: none. */
static size_t find_prefix(const pith__charmap *m, const char *p, size_t n, int longest, pith__str *becomes) {
    uint32_t at = unit_offset(unit_at(m, 0));
    size_t found = 0;
    for (size_t i = 0; i < n && i < LONGEST_KEY && m->n_unit; i++) {
        uint8_t byte = (uint8_t)p[i];
        uint32_t unit = unit_at(m, at ^= byte);
        if (byte == 0 || (unit & 0x800000ffu) != byte) break;
        at ^= unit_offset(unit);
        if (!(unit & 1u << 8)) continue; /* goes on without an end here */
        uint32_t value = unit_at(m, at) & 0x7fffffffu;
        if (value >= m->n_text) continue;
        const char *end = memchr(m->text + value, 0, m->n_text - value);
        *becomes = (pith__str){ m->text + value, (size_t)(end - (m->text + value)) };
        found = i + 1;
        if (!longest) break;
    }
    return found;
}

PITH_SHARED void pith__charmap_longest(const pith__charmap *m, const char *p, size_t n, pith__said *to) {
    for (size_t i = 0, size; i < n; i += size) {
        pith__str becomes;
        uint32_t c;
        size = find_prefix(m, p + i, n - i, 1, &becomes);
        if (size) {
            pith__say_bytes(to, becomes.p, becomes.n);
        } else {
            size = pith__utf8_read((const uint8_t *)p + i, n - i, &c);
            pith__say_bytes(to, p + i, size);
        }
    }
}

/* ---- graphemes ------------------------------------------------------------------------------- */

/* Classes of Grapheme_Cluster_Break. What only clusters of 6 bytes and more are made with is left out: flags, emoji joined by
 * U+200D, consonants joined by a virama. They are looked up by characters either way. */
enum { OTHER, CONTROL, PREPEND, GOES_ON, L, V, T, LV, LVT };

typedef struct {
    uint32_t from, to; /* both are in it */
    int kind;
} grapheme_range;

/* By the characters. Marks go on, but for those that are OTHER here. */
static const grapheme_range grapheme_kinds[] = {
    { 0x00, 0x1f, CONTROL }, { 0x7f, 0x9f, CONTROL }, { 0xad, 0xad, CONTROL }, { 0x600, 0x605, PREPEND },
    { 0x61c, 0x61c, CONTROL }, { 0x6dd, 0x6dd, PREPEND }, { 0x70f, 0x70f, PREPEND }, { 0x890, 0x891, PREPEND },
    { 0x897, 0x897, GOES_ON }, { 0x8e2, 0x8e2, PREPEND }, { 0xd4e, 0xd4e, PREPEND }, { 0xe33, 0xe33, GOES_ON },
    { 0xeb3, 0xeb3, GOES_ON }, { 0x102b, 0x102c, OTHER }, { 0x1038, 0x1038, OTHER }, { 0x1062, 0x1064, OTHER },
    { 0x1067, 0x106d, OTHER }, { 0x1083, 0x1083, OTHER }, { 0x1087, 0x108c, OTHER }, { 0x108f, 0x108f, OTHER },
    { 0x109a, 0x109c, OTHER }, { 0x1100, 0x115f, L }, { 0x1160, 0x11a7, V }, { 0x11a8, 0x11ff, T },
    { 0x180e, 0x180e, CONTROL }, { 0x1a61, 0x1a61, OTHER }, { 0x1a63, 0x1a64, OTHER }, { 0x1acf, 0x1add, GOES_ON },
    { 0x1ae0, 0x1aeb, GOES_ON }, { 0x200b, 0x200b, CONTROL }, { 0x200c, 0x200d, GOES_ON },
    { 0x200e, 0x200f, CONTROL }, { 0x2028, 0x202e, CONTROL }, { 0x2060, 0x206f, CONTROL }, { 0xa960, 0xa97c, L },
    { 0xaa7b, 0xaa7b, OTHER }, { 0xaa7d, 0xaa7d, OTHER }, { 0xac00, 0xd7a3, LV }, { 0xd7b0, 0xd7c6, V },
    { 0xd7cb, 0xd7fb, T }, { 0xfeff, 0xfeff, CONTROL }, { 0xff9e, 0xff9f, GOES_ON }, { 0xfff0, 0xfffb, CONTROL },
    { 0x110bd, 0x110bd, PREPEND }, { 0x110cd, 0x110cd, PREPEND }, { 0x111c2, 0x111c3, PREPEND },
    { 0x113d1, 0x113d1, PREPEND }, { 0x1193f, 0x1193f, PREPEND }, { 0x11941, 0x11941, PREPEND },
    { 0x11a84, 0x11a89, PREPEND }, { 0x11d46, 0x11d46, PREPEND }, { 0x11f02, 0x11f02, PREPEND },
    { 0x1f3fb, 0x1f3ff, GOES_ON }, { 0xe0020, 0xe007f, GOES_ON },
};

static int grapheme_kind(uint32_t c) {
    size_t lo = 0, n = sizeof grapheme_kinds / sizeof *grapheme_kinds, end = n;
    while (lo < n) { /* the first range that does not end before c */
        size_t middle = (lo + n) / 2;
        if (grapheme_kinds[middle].to < c) lo = middle + 1;
        else n = middle;
    }
    if (lo == end || grapheme_kinds[lo].from > c) return pith__unicode_class(c) == PITH__MARK ? GOES_ON : OTHER;
    int kind = grapheme_kinds[lo].kind;
    return kind == LV && (c - 0xac00) % 28 ? LVT : kind; /* of 28 syllables the first has no trailing consonant */
}

static int no_break(int before, int next) {
    switch (before) {
    case CONTROL: return 0;
    case PREPEND: return next != CONTROL;
    case L: return next == GOES_ON || next == L || next == V || next == LV || next == LVT;
    case V: case LV: return next == GOES_ON || next == V || next == T;
    case T: case LVT: return next == GOES_ON || next == T;
    default: return next == GOES_ON;
    }
}

/* Bytes of the grapheme that p[0..n) begins with. */
static size_t grapheme_size(const char *p, size_t n) {
    const uint8_t *q = (const uint8_t *)p;
    uint32_t c;
    if (n > 1 && q[0] == '\r' && q[1] == '\n') return 2;
    size_t size = pith__utf8_read(q, n, &c);
    for (int kind = grapheme_kind(c), next; size < n; kind = next) {
        size_t more = pith__utf8_read(q + size, n - size, &c);
        next = grapheme_kind(c);
        if (!no_break(kind, next)) break;
        size += more;
    }
    return size;
}

PITH_SHARED void pith__charmap_graphemes(const pith__charmap *m, const char *p, size_t n, pith__said *to) {
    enum { WHOLE = 6 }; /* a grapheme of less bytes is looked up whole */
    for (size_t i = 0, size; i < n; i += size) {
        pith__str becomes;
        uint32_t c;
        size = grapheme_size(p + i, n - i);
        if (size < WHOLE && find_prefix(m, p + i, size, 0, &becomes)) {
            pith__say_bytes(to, becomes.p, becomes.n);
            continue;
        }
        for (size_t j = i, one; j < i + size; j += one) {
            one = pith__utf8_read((const uint8_t *)p + j, i + size - j, &c);
            if (find_prefix(m, p + j, one, 0, &becomes)) pith__say_bytes(to, becomes.p, becomes.n);
            else pith__say_bytes(to, p + j, one);
        }
    }
}
