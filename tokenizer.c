/* tokenizer.c - text <-> tokens.
 *
 * A vocabulary is a numbered list of pieces of text. Encoding begins with the text's characters and
 * keeps joining two neighbours that together make a piece, the best pair first, until none is left:
 * byte-pair encoding, Sennrich et al. 2016, arXiv:1508.07909. Two kinds of vocabulary differ a bit:
 *
 *   SentencePiece (Llama 2, Gemma, llama2.c's tokenizer.bin) joins whatever makes a piece, the one
 *   of highest score first. It starts from characters; what is no piece in the end becomes tokens
 *   for its bytes, which are spelled "<0x0A>".
 *
 *   Byte-level BPE (GPT-2, Llama 3, Qwen) has a list of the joins, the best first. It starts from
 *   bytes, and never joins across the words that pretokenize.c cuts. Hugging Face writes even
 *   SentencePiece's vocabularies as such a list; then it starts from characters and knows no words.
 *
 * Of equally good pairs the leftmost goes first. Gets a pith__vocab, whose arrays must outlive the
 * tokenizer; gives tokens for text, and bytes for tokens. */
#include "internal.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define NEVER UINT32_MAX

enum { LONGEST_SPECIAL = 1024 }; /* bytes; a longer control token is not looked for in text */

typedef struct {
    uint32_t hash;
    int32_t id; /* plus 1; 0: free */
} piece_slot;

typedef struct {
    int32_t left, right, made;
} bpe_merge;

typedef struct {
    pith__str s;
    int32_t id;
} special_piece;

struct pith__tokenizer {
    pith__arena arena;   /* all that is below */
    pith__vocab v;
    pith__str *piece;    /* (v.n) the bytes that a token stands for, in one buffer */
    size_t longest;      /* of the pieces that text can become */
    piece_slot *slot;    /* (slot_mask + 1) those pieces, by hash */
    size_t slot_mask;
    bpe_merge *merge;    /* (v.n_merge) BPE, by rank */
    uint32_t *merge_slot; /* (merge_mask + 1) rank + 1 by hash of left and right; 0: free */
    size_t merge_mask;
    special_piece *special; /* (n_special) pieces that are found in text before all else, sorted */
    size_t n_special;
    size_t first[257];   /* special[first[c]] is the first that begins with byte c or more */
    int32_t byte[256];   /* the token of a single byte, or -1 */
    uint8_t beside[256][32]; /* bit c of row b: some piece has byte b and next to it byte c */
    const pith__splitter *splitter; /* byte-level only */
    int has_space;       /* 1: " " is a piece */
};

/* ---- pieces by their bytes ------------------------------------------------------------------- */

static uint32_t bytes_hash(const char *p, size_t n) { /* FNV-1a */
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)p[i]) * 16777619u;
    return h ^ h >> 15;
}

static piece_slot *piece_place(const pith__tokenizer *k, const char *p, size_t n, uint32_t hash) {
    for (size_t i = hash & k->slot_mask;; i = (i + 1) & k->slot_mask) {
        piece_slot *s = &k->slot[i];
        if (s->id == 0) return s;
        if (s->hash != hash) continue;
        pith__str have = k->piece[s->id - 1];
        if (have.n == n && memcmp(have.p, p, n) == 0) return s;
    }
}

static int32_t piece_find(const pith__tokenizer *k, const char *p, size_t n) {
    return n > k->longest ? -1 : piece_place(k, p, n, bytes_hash(p, n))->id - 1;
}

/* ---- joining symbols ------------------------------------------------------------------------- */

typedef struct {
    int32_t prev, next; /* neighbours, -1: none */
    uint32_t at;        /* its first byte in the word; it ends where next begins */
    int32_t id;         /* -1: no piece */
    uint32_t rank;      /* of joining it with next, the least is done first; NEVER */
    int32_t made;       /* the piece that makes */
} bpe_symbol;

typedef struct { /* one call of encode */
    const pith__tokenizer *k;
    pith_token *out;
    size_t cap, n_out;
    int code;           /* what went wrong, or 0 */
    const char *begin;  /* the caller's text */
    char *normal;       /* room for a part of it in NFC; NULL: not wanted, or it is */
    char *text;         /* room for a part with spaces as pieces have them, if there are no words */
    const char *word;   /* (n_word) the bytes being joined */
    size_t n_word;
    bpe_symbol *symbol; /* (room) a linked list in an array, so that joining costs nothing */
    uint64_t *heap;     /* (2 * room) rank << 32 | index of the left symbol; the least first */
    size_t room, n_heap;
} bpe_encoder;

static void heap_push(bpe_encoder *e, uint64_t x) {
    size_t i = e->n_heap++;
    for (; i > 0 && x < e->heap[(i - 1) / 2]; i = (i - 1) / 2) e->heap[i] = e->heap[(i - 1) / 2];
    e->heap[i] = x;
}

static uint64_t heap_pop(bpe_encoder *e) {
    uint64_t least = e->heap[0], x = e->heap[--e->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < e->n_heap; i = child) {
        if (child + 1 < e->n_heap && e->heap[child + 1] < e->heap[child]) child++;
        if (x <= e->heap[child]) break;
        e->heap[i] = e->heap[child];
    }
    e->heap[i] = x;
    return least;
}

/* A higher score is an earlier rank. As in llama2.c, -1e10 and below and NaN never join. */
static uint32_t score_rank(float score) {
    if (!(score > -1e10f)) return NEVER;
    score += 0.0f; /* -0 is 0 */
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    return bits >> 31 ? bits : ~(bits | 0x80000000u); /* in order as the floats, largest first */
}

static uint32_t rank_by_score(const bpe_encoder *e, bpe_symbol *a, const bpe_symbol *b) {
    const pith__tokenizer *k = e->k;
    /* llama2.c has made bytes of unknown characters by now; SentencePiece may yet find a piece. */
    if (k->v.spelling == PITH__RAW && (a->id < 0 || b->id < 0)) return NEVER;
    size_t end = b->next < 0 ? e->n_word : e->symbol[b->next].at;
    a->made = piece_find(k, e->word + a->at, end - a->at);
    return a->made < 0 ? NEVER : score_rank(k->v.score[a->made]);
}

static size_t merge_hash(int32_t left, int32_t right) {
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    return (size_t)(h >> 32 ^ h >> 15);
}

static uint32_t *merge_place(const pith__tokenizer *k, int32_t left, int32_t right) {
    for (size_t i = merge_hash(left, right) & k->merge_mask;; i = (i + 1) & k->merge_mask) {
        uint32_t *slot = &k->merge_slot[i];
        if (*slot == 0) return slot;
        const bpe_merge *m = &k->merge[*slot - 1];
        if (m->left == left && m->right == right) return slot;
    }
}

static uint32_t rank_by_merge(const bpe_encoder *e, bpe_symbol *a, const bpe_symbol *b) {
    if (a->id < 0 || b->id < 0) return NEVER;
    uint32_t rank = *merge_place(e->k, a->id, b->id) - 1; /* of a free one: NEVER */
    if (rank != NEVER) a->made = e->k->merge[rank].made;
    return rank;
}

static void rank_pair(bpe_encoder *e, int32_t left) {
    if (left < 0) return;
    bpe_symbol *a = &e->symbol[left];
    a->rank = NEVER;
    if (a->next < 0) return;
    const bpe_symbol *b = &e->symbol[a->next];
    a->rank = e->k->v.model == PITH__SPM ? rank_by_score(e, a, b) : rank_by_merge(e, a, b);
    if (a->rank != NEVER) heap_push(e, (uint64_t)a->rank << 32 | (uint32_t)left);
}

/* Pairs that are no more stay in the heap. Their rank gives them away: it is not the symbol's. */
static void join_all(bpe_encoder *e, int32_t n) {
    e->n_heap = 0;
    for (int32_t i = 0; i + 1 < n; i++) rank_pair(e, i);
    while (e->n_heap) {
        uint64_t best = heap_pop(e);
        int32_t i = (int32_t)(best & UINT32_MAX);
        bpe_symbol *a = &e->symbol[i];
        if (a->rank != best >> 32) continue;
        bpe_symbol *b = &e->symbol[a->next];
        a->id = a->made;
        a->next = b->next;
        b->rank = NEVER;
        if (a->next >= 0) e->symbol[a->next].prev = i;
        rank_pair(e, i);
        rank_pair(e, a->prev);
    }
}

/* ---- one word -------------------------------------------------------------------------------- */

static void put_token(bpe_encoder *e, int32_t id) {
    if (e->n_out < e->cap) e->out[e->n_out] = id;
    e->n_out++;
}

/* What no piece stands for: the tokens of its bytes, or the unknown token, or nothing. */
static void put_unknown(bpe_encoder *e, const char *p, size_t n) {
    const int32_t *byte = e->k->byte;
    size_t known = 0;
    while (known < n && byte[(unsigned char)p[known]] >= 0) known++;
    for (size_t i = 0; known == n && i < n; i++) put_token(e, byte[(unsigned char)p[i]]);
    if (known < n && e->k->v.unk >= 0) put_token(e, e->k->v.unk);
}

/* What a symbol begins as: a byte and those that continue it in UTF-8, at most four. */
static size_t char_size(const char *p, size_t left) {
    size_t n = 1;
    while (n < left && n < 4 && (p[n] & 0xc0) == 0x80) n++;
    return n;
}

/* n symbols put n - 1 pairs into the heap; each of n - 1 joins takes one out and puts two in. */
static int word_room(bpe_encoder *e, size_t n) {
    if (n <= e->room) return 1;
    free(e->symbol);
    free(e->heap);
    e->room = n < 64 ? 64 : n;
    e->symbol = malloc(e->room * sizeof *e->symbol);
    e->heap = malloc(e->room * 2 * sizeof *e->heap);
    if (!e->symbol || !e->heap) e->room = 0, e->code = PITH_EMEMORY;
    return e->room != 0;
}

static int encode_word(void *to, const char *p, size_t n) {
    bpe_encoder *e = to;
    const pith__tokenizer *k = e->k;
    int32_t whole = k->v.ignore_merges && k->splitter ? piece_find(k, p, n) : -1;
    if (whole >= 0) {
        put_token(e, whole);
        return 0;
    }
    size_t count = 0;
    for (size_t at = 0; at < n; count++) at += k->splitter ? 1 : char_size(p + at, n - at);
    if (!word_room(e, count)) return e->code;
    e->word = p;
    e->n_word = n;
    int32_t i = 0;
    for (size_t at = 0, size; at < n; at += size, i++) {
        size = k->splitter ? 1 : char_size(p + at, n - at);
        int32_t id = k->splitter ? k->byte[(unsigned char)p[at]] : piece_find(k, p + at, size);
        int32_t next = at + size < n ? i + 1 : -1;
        e->symbol[i] = (bpe_symbol){ i - 1, next, (uint32_t)at, id, NEVER, -1 };
    }
    join_all(e, i);
    for (i = 0; i >= 0; i = e->symbol[i].next) {
        const bpe_symbol *s = &e->symbol[i];
        size_t end = s->next < 0 ? n : e->symbol[s->next].at;
        if (s->id >= 0) put_token(e, s->id);
        else put_unknown(e, p + s->at, end - s->at);
    }
    return 0;
}

/* ---- text without special tokens ------------------------------------------------------------- */

/* Here there are no words. But where two bytes meet that no piece has side by side, no join can
 * cross: the text may be cut there, and the list and the heap stay small. */
static int encode_uncut(bpe_encoder *e, const char *p, size_t n) {
    size_t start = 0;
    for (size_t at = 0; at < n && !e->code; at += char_size(p + at, n - at)) {
        unsigned char before = at ? (unsigned char)p[at - 1] : 0, here = (unsigned char)p[at];
        if (at == start || e->k->beside[before][here / 8] >> here % 8 & 1) continue;
        encode_word(e, p + start, at - start);
        start = at;
    }
    if (!e->code && start < n) encode_word(e, p + start, n - start);
    return e->code;
}

static int is_metaspace(const char *p, size_t left) { /* U+2581, the metaspace: a space in pieces */
    return left >= 3 && memcmp(p, "\xe2\x96\x81", 3) == 0;
}

/* Does a space that nobody wrote go before this text? */
static int wants_space(const bpe_encoder *e, const char *p, size_t n) {
    int mode = e->k->v.add_space, spaced = *p == ' ' || is_metaspace(p, n);
    if (!e->k->has_space || mode == 0) return 0;
    return mode == PITH__SPACE_ALWAYS || (!spaced && (mode != PITH__SPACE_FIRST || p == e->begin));
}

static int encode_text(bpe_encoder *e, const char *p, size_t n) {
    const pith__tokenizer *k = e->k;
    if (n == 0) return 0;
    int space = wants_space(e, p, n);
    if (e->normal) {
        n = pith__nfc(p, n, e->normal);
        p = e->normal;
    }
    if (k->splitter) return pith__split(k->splitter, p, n, encode_word, e);
    size_t m = 0;
    if (space && (*p & 0xc0) == 0x80) encode_word(e, " ", 1); /* not to be continued by *p */
    else if (space) e->text[m++] = ' ';
    for (size_t i = 0; i < n; i++) {
        int meta = k->v.spelling == PITH__METASPACE && is_metaspace(p + i, n - i);
        e->text[m++] = meta ? ' ' : p[i];
        if (meta) i += 2;
    }
    return encode_uncut(e, e->text, m);
}

/* ---- special tokens in text ------------------------------------------------------------------ */

/* The first of special[lo..hi) whose byte number n is c or more. */
static size_t special_bound(const special_piece *s, size_t lo, size_t hi, size_t n, int c) {
    while (lo < hi) {
        size_t middle = (lo + hi) / 2;
        if ((unsigned char)s[middle].s.p[n] < c) lo = middle + 1;
        else hi = middle;
    }
    return lo;
}

/* The longest special token that stands at p, or -1. Without control, only user-defined ones. */
static int32_t special_at(const pith__tokenizer *k, const char *p, size_t left, int control) {
    size_t lo = k->first[(unsigned char)*p], hi = k->first[(unsigned char)*p + 1];
    int32_t found = -1;
    for (size_t n = 1; lo < hi; n++) { /* special[lo..hi) begin with the n bytes at p */
        if (k->special[lo].s.n == n) {
            int32_t id = k->special[lo++].id;
            if (control || k->v.type[id] == PITH__USER) found = id;
        }
        if (n == left) break;
        int c = (unsigned char)p[n];
        lo = special_bound(k->special, lo, hi, n, c);
        hi = special_bound(k->special, lo, hi, n, c + 1);
    }
    return found;
}

static int is_white(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static int encode_all(bpe_encoder *e, const char *p, size_t n, int control) {
    const pith__tokenizer *k = e->k;
    size_t start = 0;
    for (size_t i = 0; i < n && !e->code;) {
        int32_t id = special_at(k, p + i, n - i, control);
        if (id < 0) {
            i++;
            continue;
        }
        int strip = k->v.strip ? k->v.strip[id] : 0;
        size_t end = i;
        while (strip & 1 && end > start && is_white(p[end - 1])) end--;
        encode_text(e, p + start, end - start);
        put_token(e, id);
        i += k->piece[id].n;
        while (strip & 2 && i < n && is_white(p[i])) i++;
        start = i;
    }
    return e->code ? e->code : encode_text(e, p + start, n - start);
}

/* ---- building: spellings --------------------------------------------------------------------- */

/* GPT-2 spells a byte as a letter: itself if it prints, else U+0100 and up. -1: none of those. */
static int letter_byte(uint32_t c) {
    if (c >= 256 && c <= 288) return (int)c - 256;       /* 0 to space */
    if (c >= 289 && c <= 322) return (int)c - 289 + 127; /* DEL to no-break space */
    if (c == 323) return 173;                            /* soft hyphen */
    return (c > 32 && c < 127) || (c > 160 && c < 256 && c != 173) ? (int)c : -1;
}

/* The bytes that a spelling stands for; out has room for s.n, which is always enough. */
static size_t real_bytes(int spelling, pith__str s, char *out) {
    size_t n = 0, i = 0;
    for (; spelling == PITH__BYTE_LETTERS && i < s.n;) {
        uint32_t c;
        i += pith__utf8_read((const uint8_t *)s.p + i, s.n - i, &c);
        if (letter_byte(c) < 0) break; /* an added token in plain text */
        out[n++] = (char)letter_byte(c);
        if (i == s.n) return n;
    }
    for (n = i = 0; i < s.n; i++) {
        int meta = spelling == PITH__METASPACE && is_metaspace(s.p + i, s.n - i);
        out[n++] = meta ? ' ' : s.p[i];
        if (meta) i += 2;
    }
    return n;
}

static int byte_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10
         : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "<0x0A>" is 10; -1: another name, or a vocabulary that has letters for bytes. */
static int byte_named(const pith__vocab *v, pith__str s) {
    int fallback = v->model == PITH__SPM || v->byte_fallback;
    if (!fallback || v->spelling == PITH__BYTE_LETTERS) return -1;
    if (s.n != 6 || memcmp(s.p, "<0x", 3) != 0 || s.p[5] != '>') return -1;
    int high = byte_digit(s.p[3]), low = byte_digit(s.p[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* ---- building: tables ------------------------------------------------------------------------ */

static size_t hash_size(size_t n) { /* a power of two with room to spare */
    size_t size = 16;
    while (size < n + n / 2) size *= 2;
    return size;
}

/* Control tokens and the like are written as they are; only ordinary pieces are spelled. */
static int is_plain(int type) { return type == PITH__CONTROL || type == PITH__UNKNOWN; }

static int decode_pieces(pith__tokenizer *k) {
    const pith__vocab *v = &k->v;
    size_t total = 1, n = (size_t)v->n;
    for (size_t i = 0; i < n; i++)
        if (pith__add(&total, total, v->piece[i].n)) return PITH_EMEMORY;
    k->piece = pith__arena_new(&k->arena, n, sizeof *k->piece);
    char *p = pith__arena_new(&k->arena, total, 1);
    if (!k->piece || !p) return PITH_EMEMORY;
    for (int c = 0; c < 256; c++) k->byte[c] = -1;
    for (size_t i = 0; i < n; i++) {
        int c = byte_named(v, v->piece[i]);
        int raw = is_plain(v->type[i]) ||
                  (v->type[i] == PITH__USER && v->spelling == PITH__BYTE_LETTERS);
        k->piece[i].p = p;
        if (c < 0) k->piece[i].n = real_bytes(raw ? PITH__RAW : v->spelling, v->piece[i], p);
        else k->piece[i].n = 1, *p = (char)c;
        if (c >= 0 && k->byte[c] < 0) k->byte[c] = (int32_t)i;
        p += k->piece[i].n;
    }
    return PITH_OK;
}

static void note_neighbours(pith__tokenizer *k, pith__str s) {
    for (size_t i = 1; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        k->beside[(unsigned char)s.p[i - 1]][c / 8] |= (uint8_t)(1 << c % 8);
    }
}

/* The pieces that text can become, by their bytes: the lowest id of those that are the same. */
static int hash_pieces(pith__tokenizer *k) {
    size_t n = (size_t)k->v.n, size = hash_size(n);
    k->slot = pith__arena_new(&k->arena, size, sizeof *k->slot);
    if (!k->slot) return PITH_EMEMORY;
    k->slot_mask = size - 1;
    for (size_t i = 0; i < n; i++) {
        pith__str s = k->piece[i];
        if (s.n == 0 || is_plain(k->v.type[i]) || byte_named(&k->v, k->v.piece[i]) >= 0) continue;
        uint32_t hash = bytes_hash(s.p, s.n);
        piece_slot *slot = piece_place(k, s.p, s.n, hash);
        if (slot->id == 0) *slot = (piece_slot){ hash, (int32_t)i + 1 };
        if (s.n > k->longest) k->longest = s.n;
        if (!k->splitter) note_neighbours(k, s);
    }
    return PITH_OK;
}

static int special_order(const void *a, const void *b) {
    const special_piece *x = a, *y = b;
    int order = pith__str_cmp(x->s, y->s);
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

static int sort_specials(pith__tokenizer *k) {
    size_t count = 0, n = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = count = 0; i < k->v.n; i++) {
            int type = k->v.type[i];
            if (!is_plain(type) && type != PITH__USER) continue;
            if (k->piece[i].n == 0 || k->piece[i].n > LONGEST_SPECIAL) continue;
            if (pass) k->special[count] = (special_piece){ k->piece[i], i };
            count++;
        }
        if (!pass) k->special = pith__arena_new(&k->arena, count + 1, sizeof *k->special);
        if (!k->special) return PITH_EMEMORY;
    }
    qsort(k->special, count, sizeof *k->special, special_order);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || pith__str_cmp(k->special[i].s, k->special[n - 1].s) != 0)
            k->special[n++] = k->special[i];
    k->n_special = n;
    for (int c = 0; c <= 256; c++) k->first[c] = special_bound(k->special, 0, n, 0, c);
    return PITH_OK;
}

/* A piece that a merge speaks of. Almost always an ordinary one. */
static int32_t merge_piece(const pith__tokenizer *k, const char *p, size_t n) {
    int32_t id = n ? piece_find(k, p, n) : -1;
    return id >= 0 ? id : pith__tokenizer_find(k, p, n);
}

static int hash_merges(pith__tokenizer *k, pith_error *err) {
    const pith__vocab *v = &k->v;
    size_t size = hash_size((size_t)v->n_merge), longest = 1;
    for (int i = 0; i < v->n_merge; i++) {
        size_t n;
        if (pith__add(&n, v->left[i].n, v->right[i].n)) return PITH_EMEMORY;
        if (n > longest) longest = n;
    }
    k->merge = pith__arena_new(&k->arena, (size_t)v->n_merge, sizeof *k->merge);
    k->merge_slot = pith__arena_new(&k->arena, size, sizeof *k->merge_slot);
    char *p = pith__arena_new(&k->arena, longest, 1);
    if (!k->merge || !k->merge_slot || !p) return PITH_EMEMORY;
    k->merge_mask = size - 1;
    for (int i = 0; i < v->n_merge; i++) {
        size_t n = real_bytes(v->spelling, v->left[i], p);
        size_t m = real_bytes(v->spelling, v->right[i], p + n);
        int32_t left = merge_piece(k, p, n), right = merge_piece(k, p + n, m);
        int32_t made = merge_piece(k, p, n + m);
        if (left < 0 || right < 0 || made < 0)
            return pith__fail(err, PITH_EFORMAT,
                              "tokenizer: merge %d, '%.*s' + '%.*s': the %s is not a piece",
                              i, (int)(v->left[i].n < 40 ? v->left[i].n : 40), v->left[i].p,
                              (int)(v->right[i].n < 40 ? v->right[i].n : 40), v->right[i].p,
                              left < 0 ? "first" : right < 0 ? "second" : "result");
        k->merge[i] = (bpe_merge){ left, right, made };
        uint32_t *slot = merge_place(k, left, right);
        if (*slot == 0) *slot = (uint32_t)i + 1;
        if (!k->splitter) note_neighbours(k, k->piece[made]);
    }
    return PITH_OK;
}

/* ---- public ---------------------------------------------------------------------------------- */

/* A special token of these bytes, else an ordinary one, else a byte's. */
PITH_SHARED int pith__tokenizer_find(const pith__tokenizer *k, const char *bytes, size_t n) {
    if (n == 0) return -1;
    int32_t id = special_at(k, bytes, n, 1);
    if (id >= 0 && k->piece[id].n == n) return id;
    id = piece_find(k, bytes, n);
    return id < 0 && n == 1 ? k->byte[(unsigned char)*bytes] : id;
}

PITH_SHARED void pith__tokenizer_free(pith__tokenizer *k) {
    if (!k) return;
    pith__arena_free(&k->arena);
    free(k);
}

static int build_tokenizer(pith__tokenizer *k, pith_error *err) {
    pith__vocab *v = &k->v;
    if (v->bos >= v->n) v->bos = -1;
    if (v->eos >= v->n) v->eos = -1;
    if (v->unk >= v->n) v->unk = -1;
    if (v->model == PITH__BPE && v->spelling == PITH__BYTE_LETTERS) {
        k->splitter = pith__splitter_named(v->pre);
        if (!k->splitter)
            return pith__fail(err, PITH_EARCH,
                              "unknown pre-tokenizer '%.*s'; --pretokenizer NAME overrides it",
                              (int)(v->pre.n < 64 ? v->pre.n : 64), v->pre.p ? v->pre.p : "");
    }
    int code = decode_pieces(k);
    if (!code) code = hash_pieces(k);
    if (!code) code = sort_specials(k);
    if (!code && v->model == PITH__BPE) code = hash_merges(k, err);
    if (code == PITH_EMEMORY) pith__fail(err, code, "no memory for a tokenizer of %d pieces", v->n);
    if (code) return code;
    for (int c = 0; c < 256 && k->splitter; c++) k->byte[c] = piece_find(k, (char[]){ (char)c }, 1);
    k->has_space = piece_find(k, " ", 1) >= 0;
    return PITH_OK;
}

PITH_SHARED pith__tokenizer *pith__tokenizer_new(const pith__vocab *v, pith_error *err) {
    if (v->model == PITH__NONE || v->n < 1) {
        pith__fail(err, PITH_EARG, "no vocabulary to make a tokenizer of");
        return NULL;
    }
    pith__tokenizer *k = calloc(1, sizeof *k);
    if (!k) {
        pith__fail(err, PITH_EMEMORY, "no memory for a tokenizer");
        return NULL;
    }
    k->v = *v;
    if (build_tokenizer(k, err) == PITH_OK) return k;
    pith__tokenizer_free(k);
    return NULL;
}

/* Nothing before U+0300 joins or is written otherwise. */
static int may_need_nfc(const char *p, size_t n) {
    size_t i = 0;
    while (i < n && (unsigned char)p[i] < 0xcc) i++;
    return i < n;
}

PITH_SHARED int pith__tokenizer_encode(const pith__tokenizer *k, const char *text, size_t len,
                                       unsigned flags, pith_token *out, int cap) {
    if (len > INT_MAX / 2 - 2) return PITH_EARG; /* a space before each part, BOS, EOS */
    bpe_encoder e = { .k = k, .out = out, .cap = cap > 0 ? (size_t)cap : 0, .begin = text };
    size_t room = 1 + len * (k->v.nfc ? 3 : 1); /* NFC makes text at most three times as long */
    if (k->v.nfc && may_need_nfc(text, len) && !(e.normal = malloc(room))) e.code = PITH_EMEMORY;
    if (!k->splitter && !(e.text = malloc(room))) e.code = PITH_EMEMORY;
    if (flags & PITH_BOS && k->v.add_bos && k->v.bos >= 0) put_token(&e, k->v.bos);
    if (!e.code && len) encode_all(&e, text, len, flags & PITH_SPECIAL);
    if (flags & PITH_EOS && k->v.add_eos && k->v.eos >= 0) put_token(&e, k->v.eos);
    free(e.normal);
    free(e.text);
    free(e.symbol);
    free(e.heap);
    return e.code ? e.code : (int)e.n_out;
}

PITH_SHARED pith__str pith__tokenizer_piece(const pith__tokenizer *k, pith_token t) {
    return t < 0 || t >= k->v.n ? (pith__str){ NULL, 0 } : k->piece[t];
}

#undef NEVER
