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
 *   SentencePiece's vocabularies as such a list; then it starts from characters, and words end
 *   before spaces or nowhere.
 *
 *   WordPiece (BERT) joins nothing: text/wordpiece.c takes the longest pieces of each word.
 *
 *   Unigram (T5, XLM-R) joins nothing either: text/unigram.c takes the pieces that are likeliest together, of a text that
 *   text/rewrite.c rewrote step by step.
 *
 * Of equally good pairs the leftmost goes first.
 *
 * A text passes these stages, in the order of tokenizer.json: added tokens are taken out of it
 * (added.c); what lies between is normalised (NFC, U+2581 for spaces), and the added tokens that are
 * looked for in normalised text are taken out; the rest is cut into words, whose pieces are joined.
 *
 * Gets a pith__vocab, whose arrays must outlive the
 * tokenizer; gives tokens for text, and bytes for tokens. */
#include "internal.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define NEVER UINT32_MAX

#define NORMAL_ROOM(n) (3 * (n) + 1) /* NFC makes text at most three times as long; and a space */

enum { LONGEST_SPECIAL = 256 }; /* bytes; a longer added token is not looked for in text */

typedef struct {
    uint32_t hash;
    int32_t id; /* plus 1; 0: free */
} piece_slot;

typedef struct {
    int32_t left, right, made;
} bpe_merge;

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
    pith__added_set named;  /* all added tokens, as the file spells them */
    pith__added_set added;  /* those that are found in text as it is */
    pith__added_set normal; /* those that are found in normalised text, normalised themselves */
    int32_t byte[256];   /* the token of a single byte, or -1 */
    uint8_t beside[256][32]; /* bit c of row b: some piece has byte b and next to it byte c */
    const pith__splitter *splitter; /* byte-level only */
    pith__wordpiece words; /* WordPiece only */
    pith__unigram *unigram; /* of such a vocabulary, with what is done to text; else NULL */
    pith__rewriter rewriter;
    int has_space;       /* 1: " " is a piece */
    int copies_late;     /* 1: spaces are put in or replaced once added tokens were found */
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
    int control;        /* 1: control tokens are looked for in it */
    const char *part;   /* the part of it between two added tokens that is at work, normalised */
    int part_first;     /* 1: it begins the text */
    char *normal;       /* room for it; NULL: text is normal as it is */
    char *spaced;       /* room for what copies_late asks for */
    size_t unk_end;     /* tokens when the last unknown one was put, if fuse_unk; or SIZE_MAX */
    const char *word;   /* (n_word) the bytes being joined */
    size_t n_word;
    bpe_symbol *symbol; /* (room) a linked list in an array, so that joining costs nothing */
    uint64_t *heap;     /* (2 * room) rank << 32 | index of the left symbol; the least first */
    size_t room, n_heap;
    pith__said text[2];  /* Unigram: the part that is at work, rewritten; and room for that */
    pith__unigram_cut *cut; /* (n_cut) room for a word's */
    size_t n_spaced, n_cut;
    const pith__progress *progress;
    size_t asked;       /* how often go_on was */
    const uint8_t *mark; /* of each byte of the text, or NULL: none is data */
} bpe_encoder;

/* Long texts ask now and then whether they are still wanted. */
static int go_on(bpe_encoder *e) {
    enum { OFTEN = 1 << 16 };
    if (e->progress && !e->code && ++e->asked % OFTEN == 0)
        e->code = pith__tell(e->progress, "text to tokens", e->asked, SIZE_MAX, NULL);
    return !e->code;
}

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
    if (left < 0 || !go_on(e)) return;
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
    while (e->n_heap && !e->code) {
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
    const pith__vocab *v = &e->k->v;
    const int32_t *byte = e->k->byte;
    size_t known = 0;
    if (v->spelling == PITH__METASPACE && n == 1 && *p == ' ') p = PITH__METASPACE_UTF8, n = 3;
    while (known < n && byte[(unsigned char)p[known]] >= 0) known++;
    for (size_t i = 0; known == n && i < n; i++) put_token(e, byte[(unsigned char)p[i]]);
    if (known == n || v->unk < 0 || (v->fuse_unk && e->unk_end == e->n_out)) return;
    put_token(e, v->unk);
    e->unk_end = e->n_out;
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

/* Join what can be joined of a text, all of which may become one piece. */
static int encode_joined(bpe_encoder *e, const char *p, size_t n) {
    const pith__tokenizer *k = e->k;
    size_t count = 0;
    for (size_t at = 0; at < n; count++) at += k->splitter ? 1 : char_size(p + at, n - at);
    if (!word_room(e, count)) return e->code;
    e->word = p;
    e->n_word = n;
    int32_t i = 0;
    for (size_t at = 0, size; at < n && go_on(e); at += size, i++) {
        size = k->splitter ? 1 : char_size(p + at, n - at);
        int32_t id = k->splitter ? k->byte[(unsigned char)p[at]] : piece_find(k, p + at, size);
        int32_t next = at + size < n ? i + 1 : -1;
        e->symbol[i] = (bpe_symbol){ i - 1, next, (uint32_t)at, id, NEVER, -1 };
    }
    join_all(e, i);
    if (e->code) return e->code;
    for (i = 0; i >= 0; i = e->symbol[i].next) {
        const bpe_symbol *s = &e->symbol[i];
        size_t end = s->next < 0 ? n : e->symbol[s->next].at;
        if (s->id >= 0) put_token(e, s->id);
        else put_unknown(e, p + s->at, end - s->at);
    }
    return 0;
}

/* Within a word without a splitter: where two bytes meet that no piece has side by side, no join can
 * cross. The text may be cut there, and the list and the heap stay small. */
static int encode_uncut(bpe_encoder *e, const char *p, size_t n) {
    size_t start = 0;
    for (size_t at = 0; at < n && !e->code; at += char_size(p + at, n - at)) {
        unsigned char before = at ? (unsigned char)p[at - 1] : 0, here = (unsigned char)p[at];
        if (at == start || e->k->beside[before][here / 8] >> here % 8 & 1) continue;
        encode_joined(e, p + start, at - start);
        start = at;
    }
    if (!e->code && start < n) encode_joined(e, p + start, n - start);
    return e->code;
}

/* The pieces of a word that are likeliest together. */
static int encode_likeliest(bpe_encoder *e, const char *p, size_t n) {
    void *more = pith__more(e->cut, &e->n_cut, n + 1, sizeof *e->cut);
    if (!more) return e->code = PITH_EMEMORY;
    e->cut = more;
    if (go_on(e)) e->code = pith__unigram_walk(e->k->unigram, p, n, e->cut, e->progress);
    for (size_t at = 0, end; at < n && !e->code; at = end) {
        int32_t id = e->cut[at].id;
        end = e->cut[at].at;
        if (id >= 0 && id != e->k->v.unk) put_token(e, id);
        else put_unknown(e, p + at, end - at);
    }
    return e->code;
}

static int encode_word(void *to, const char *p, size_t n) {
    bpe_encoder *e = to;
    int32_t whole = e->k->v.ignore_merges ? piece_find(e->k, p, n) : -1;
    e->unk_end = SIZE_MAX;
    if (e->k->unigram) encode_likeliest(e, p, n);
    else if (whole >= 0) put_token(e, whole);
    else if (e->k->splitter) encode_joined(e, p, n);
    else encode_uncut(e, p, n);
    return e->code;
}

/* Without a splitter, a word ends before each space, or all is one word. */
static int encode_words(bpe_encoder *e, const char *p, size_t n) {
    for (size_t start = 0, end = n; start < n && !e->code; start = end) {
        const char *space = e->k->v.split_words ? memchr(p + start + 1, ' ', n - start - 1) : NULL;
        end = space ? (size_t)(space - p) : n;
        encode_word(e, p + start, end - start);
    }
    return e->code;
}

/* ---- spaces and normal form ------------------------------------------------------------------ */

/* Does a space that nobody wrote go before this text? llama2.c puts none that is no piece. */
static int wants_space(const bpe_encoder *e, const char *p, size_t n) {
    const pith__vocab *v = &e->k->v;
    int spaced = *p == ' ' || pith__is_metaspace(p, n);
    if (v->spelling == PITH__RAW && !e->k->has_space) return 0;
    switch (v->add_space) {
    case PITH__SPACE_ALWAYS: return 1;
    case PITH__SPACE_NONE_YET: return !spaced;
    case PITH__SPACE_FIRST: return !spaced && e->part_first && p == e->part;
    default: return 0;
    }
}

/* The space before p[0..n), if one goes there, at out. If the text begins inside a character, the space is
 * encoded alone, or the two would join. Returns the bytes written. */
static size_t put_space(bpe_encoder *e, const char *p, size_t n, char *out) {
    if (!wants_space(e, p, n)) return 0;
    *out = ' ';
    if ((*p & 0xc0) != 0x80) return 1;
    encode_word(e, out, 1);
    return 0;
}

/* BERT's normal form; or C, the space before, and spaces for metaspaces: the normaliser of a tokenizer.json. */
static size_t normalize(bpe_encoder *e, const char *p, size_t n, char *out) {
    const pith__tokenizer *k = e->k;
    const pith__vocab *v = &k->v;
    if (v->model == PITH__WORDPIECE) return pith__bert_normal(&v->bert, p, n, out);
    size_t m = v->add_space == PITH__SPACE_ALWAYS ? put_space(e, p, n, out) : 0;
    if (v->nfc) n = pith__nfc(p, n, out + m);
    else memcpy(out + m, p, n);
    if (k->normal.metaspace) n = pith__metaspace_read(out + m, n, out + m);
    return m + n;
}

/* ---- texts and the added tokens in them ------------------------------------------------------ */

static int put_id(void *to, int32_t id) {
    bpe_encoder *e = to;
    put_token(e, id);
    go_on(e);
    return e->code;
}

/* Unigram's words of rewritten text: all of it, or what stands between white space; each with the space before it. */
static int encode_rewritten(bpe_encoder *e, const char *p, size_t n) {
    int split = e->k->v.split_white;
    char *more = pith__more(e->spaced, &e->n_spaced, n + 1, 1);
    if (!more) return e->code = PITH_EMEMORY;
    e->spaced = more;
    for (size_t at = 0, size; at < n && !e->code; at += size) {
        if (split) at += pith__white_at(p + at, n - at);
        size = split ? pith__black_at(p + at, n - at) : n;
        size_t m = size ? put_space(e, p + at, size, e->spaced) : 0;
        m += pith__metaspace_read(p + at, size, e->spaced + m);
        encode_words(e, e->spaced, m);
    }
    return e->code;
}

/* A token, or normalised text without any. */
static int encode_plain(void *to, const char *p, size_t n, int32_t id) {
    bpe_encoder *e = to;
    const pith__tokenizer *k = e->k;
    if (id >= 0) {
        put_token(e, id);
        return e->code;
    }
    if (k->v.model == PITH__WORDPIECE) return pith__wordpiece_encode(&k->words, p, n, put_id, e);
    if (k->unigram) return encode_rewritten(e, p, n);
    if (k->splitter) return pith__split(k->splitter, p, n, encode_word, e);
    if (!k->copies_late) return encode_words(e, p, n);
    size_t m = k->v.add_space != PITH__SPACE_ALWAYS ? put_space(e, p, n, e->spaced) : 0;
    m += pith__metaspace_read(p, n, e->spaced + m);
    return encode_words(e, e->spaced, m);
}

/* A token, or text as it is, in which others may be found once it is normalised. */
static int encode_part(void *to, const char *p, size_t n, int32_t id) {
    bpe_encoder *e = to;
    if (id >= 0) return encode_plain(e, p, n, id);
    e->part = p;
    e->part_first = p == e->begin;
    if (e->k->unigram) {
        e->code = pith__rewrite_text(&e->k->rewriter, p, n, &e->text[0], &e->text[1]);
        e->part = e->text[0].p;
        n = e->text[0].n;
    } else if (e->normal) {
        n = normalize(e, p, n, e->normal);
        e->part = e->normal;
    }
    if (e->code || n == 0) return e->code;
    return pith__added_split(&e->k->normal, e->part, n, e->control, NULL, encode_plain, e);
}

/* A control token that is found in normalised text, at p as it is spelled, in bytes that are no data; or -1. */
static int32_t own_token_at(const pith__tokenizer *k, const char *p, const uint8_t *mark, size_t left, size_t *size) {
    int32_t found = -1;
    *size = 0;
    for (size_t t = 0; t < k->normal.n; t++) {
        pith__str s = k->v.piece[k->normal.token[t].id];
        int fits = k->normal.token[t].flags & PITH__SPECIAL && s.n > *size && s.n <= left && !memcmp(p, s.p, s.n);
        for (size_t i = 0; fits && i < s.n; i++) fits = !(mark[i] & PITH__DATA);
        if (fits) found = k->normal.token[t].id, *size = s.n;
    }
    return found;
}

/* As encode_part, of a text where bytes of data must not become control tokens. Those that are found in normalised
 * text are looked for before, since the marks are those of the text as it is. */
static int encode_marked(void *to, const char *p, size_t n, int32_t id) {
    bpe_encoder *e = to;
    if (id >= 0) return encode_plain(e, p, n, id);
    const uint8_t *mark = e->mark + (p - e->begin);
    uint8_t begins[256] = { 0 };
    size_t start = 0, size;
    for (size_t t = 0; t < e->k->normal.n; t++)
        if (e->k->normal.token[t].flags & PITH__SPECIAL)
            begins[(unsigned char)*e->k->v.piece[e->k->normal.token[t].id].p] = 1;
    e->control = 0;
    for (size_t i = 0; i < n && !e->code; i++) {
        if (!begins[(unsigned char)p[i]] || mark[i] & PITH__DATA) continue;
        int32_t found = own_token_at(e->k, p + i, mark + i, n - i, &size);
        if (found < 0) continue;
        if (i > start) encode_part(e, p + start, i - start, -1);
        put_token(e, found);
        i += size - 1;
        start = i + 1;
    }
    if (!e->code && start < n) encode_part(e, p + start, n - start, -1);
    e->control = 1;
    return e->code;
}

/* ---- building: tables ------------------------------------------------------------------------ */

static size_t hash_size(size_t n) { /* a power of two with room to spare */
    size_t size = 16;
    while (size < n + n / 2) size *= 2;
    return size;
}

/* Control tokens and the like are written as they are; only ordinary pieces are spelled. */
static int is_plain(int type) { return type == PITH__CONTROL || type == PITH__UNKNOWN; }

/* With letters for bytes, an added token is no spelling but the text itself. */
static int is_raw(const pith__vocab *v, size_t id) {
    return is_plain(v->type[id]) || (v->type[id] == PITH__USER && v->spelling == PITH__BYTE_LETTERS);
}

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
        int c = pith__byte_named(v, v->piece[i]);
        int spelling = is_raw(v, i) ? PITH__RAW : v->spelling;
        k->piece[i].p = p;
        if (c < 0) k->piece[i].n = pith__spelled_bytes(spelling, v->piece[i], p);
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

/* Can joining make this piece? With scores no control token; with merges all that were there before
 * tokens were added, if the letters they are spelled with stand for the same bytes. */
static int can_be_made(const pith__tokenizer *k, size_t id) {
    const pith__vocab *v = &k->v;
    if (k->piece[id].n == 0 || pith__byte_named(v, v->piece[id]) >= 0) return 0;
    if (v->added && v->added[id] & PITH__ADDED_ONLY) return 0;
    if (v->model == PITH__UNIGRAM && v->log_prob) return 1; /* "<s>" too, where it is not read as a token */
    if (v->model == PITH__UNIGRAM) return !is_plain(v->type[id]) && v->type[id] != PITH__UNUSED;
    if (v->model == PITH__SPM) return !is_plain(v->type[id]);
    int letters = v->spelling == PITH__BYTE_LETTERS && is_raw(v, id);
    for (size_t i = 0; letters && i < k->piece[id].n; i++)
        if (k->piece[id].p[i] <= ' ' || k->piece[id].p[i] > '~') return 0;
    return 1;
}

/* The pieces that text can become, by their bytes: the lowest id of those that are the same. */
static int hash_pieces(pith__tokenizer *k) {
    size_t n = (size_t)k->v.n, size = hash_size(n);
    k->slot = pith__arena_new(&k->arena, size, sizeof *k->slot);
    if (!k->slot) return PITH_EMEMORY;
    k->slot_mask = size - 1;
    for (size_t i = 0; i < n; i++) {
        pith__str s = k->piece[i];
        if (!can_be_made(k, i)) continue;
        uint32_t hash = bytes_hash(s.p, s.n);
        piece_slot *slot = piece_place(k, s.p, s.n, hash);
        if (slot->id == 0) *slot = (piece_slot){ hash, (int32_t)i + 1 };
        if (s.n > k->longest) k->longest = s.n;
        if (!k->splitter) note_neighbours(k, s);
    }
    return PITH_OK;
}

/* *s as it is in normalised text. */
static int normal_form(pith__tokenizer *k, pith__str *s) {
    bpe_encoder e = { .k = k };
    pith__said *text = e.text;
    char *p = NULL;
    if (k->unigram) {
        if (!pith__rewrite_text(&k->rewriter, s->p, s->n, &text[0], &text[1]))
            p = pith__arena_text(&k->arena, text[0].p, text[0].n);
        free(text[0].p);
        free(text[1].p);
        s->n = text[0].n;
    } else {
        p = pith__arena_new(&k->arena, NORMAL_ROOM(s->n), 1);
        if (p) s->n = normalize(&e, s->p, s->n, p);
    }
    s->p = p;
    return p != NULL;
}

/* Put added tokens into set: all, or those that are normalised (1) or not (0). Without memory for
 * them, only count. */
static int fill_added(pith__tokenizer *k, pith__added_set *set, int all, int normalized) {
    const pith__vocab *v = &k->v;
    set->n = 0;
    for (int i = 0; i < v->n; i++) {
        int control = is_plain(v->type[i]), has = v->added ? v->added[i] : 0;
        pith__str s = v->piece[i];
        if (!control && v->type[i] != PITH__USER) continue;
        if (!all && (has & PITH__NORMALIZED ? 1 : 0) != normalized) continue;
        if (s.n == 0 || (!all && s.n > LONGEST_SPECIAL)) continue;
        if (normalized && set->token) {
            if ((*s.p & 0xc0) == 0x80) continue; /* no text begins within a character */
            if (!normal_form(k, &s)) return PITH_EMEMORY;
            if (s.n == 0) continue;
        }
        uint8_t known = (uint8_t)(has | (control ? PITH__SPECIAL : 0));
        if (set->token) set->token[set->n] = (pith__added){ s, i, known };
        set->n++;
    }
    return PITH_OK;
}

static int build_added(pith__tokenizer *k) {
    struct {
        pith__added_set *set;
        int all, normalized;
    } sets[] = { { &k->named, 1, 0 }, { &k->added, 0, 0 }, { &k->normal, 0, 1 } };
    k->normal.metaspace = k->v.spelling == PITH__METASPACE && !k->v.late_spaces;
    for (int i = 0; i < 3; i++) {
        pith__added_set *set = sets[i].set;
        fill_added(k, set, sets[i].all, sets[i].normalized);
        set->token = pith__arena_new(&k->arena, set->n + 1, sizeof *set->token);
        if (!set->token || fill_added(k, set, sets[i].all, sets[i].normalized)) return PITH_EMEMORY;
        pith__added_sort(set);
        if (!sets[i].all && pith__added_build(set, &k->arena)) return PITH_EMEMORY;
    }
    return PITH_OK;
}

static int build_unigram(pith__tokenizer *k, pith_error *err) {
    const pith__vocab *v = &k->v;
    size_t n = (size_t)v->n;
    pith__unigram *u = pith__arena_new(&k->arena, 1, sizeof *u);
    double *score = pith__arena_new(&k->arena, n, sizeof *score);
    if (u) u->piece.token = pith__arena_new(&k->arena, n, sizeof *u->piece.token);
    if (!u || !score || !u->piece.token) return PITH_EMEMORY;
    for (size_t i = 0; i < n; i++) {
        score[i] = v->log_prob ? v->log_prob[i] : (double)v->score[i];
        if (can_be_made(k, i)) u->piece.token[u->piece.n++] = (pith__added){ k->piece[i], (int32_t)i, 0 };
    }
    k->unigram = u;
    u->single = !v->log_prob;
    int code = pith__unigram_build(u, score, &k->arena);
    return code ? code : pith__rewriter_new(&k->rewriter, v->rewrite, v->n_rewrite, &k->arena, err);
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
        size_t n = pith__spelled_bytes(v->spelling, v->left[i], p);
        size_t m = pith__spelled_bytes(v->spelling, v->right[i], p + n);
        int32_t left = piece_find(k, p, n), right = piece_find(k, p + n, m);
        int32_t made = piece_find(k, p, n + m);
        if (left < 0 || right < 0 || made < 0)
            return pith__fail(err, PITH_EFORMAT,
                              "tokenizer: merge %d, '%.*s' + '%.*s': the %s is not a piece",
                              i, (int)(v->left[i].n < 40 ? v->left[i].n : 40), v->left[i].p,
                              (int)(v->right[i].n < 40 ? v->right[i].n : 40), v->right[i].p,
                              left < 0 ? "first" : right < 0 ? "second" : "result");
        k->merge[i] = (bpe_merge){ left, right, made };
        uint32_t *slot = merge_place(k, left, right);
        if (*slot == 0) *slot = (uint32_t)i + 1;
    }
    return PITH_OK;
}

/* The pieces of words are those of normalised text. */
static int build_words(pith__tokenizer *k) {
    const pith__vocab *v = &k->v;
    pith__added_set *set = &k->words.piece;
    k->words.unk = v->unk;
    k->words.longest = (size_t)v->bert.longest;
    set->token = pith__arena_new(&k->arena, (size_t)v->n + 1, sizeof *set->token);
    for (int i = 0; set->token && i < v->n; i++)
        if (can_be_made(k, (size_t)i) && v->type[i] != PITH__UNUSED)
            set->token[set->n++] = (pith__added){ .s = k->piece[i], .id = i };
    return set->token ? pith__wordpiece_build(&k->words, v->bert.inside, &k->arena) : PITH_EMEMORY;
}

/* ---- public ---------------------------------------------------------------------------------- */

/* An added token of these bytes, else an ordinary one, else a byte's. */
PITH_SHARED int pith__tokenizer_find(const pith__tokenizer *k, const char *bytes, size_t n) {
    if (n == 0) return -1;
    int32_t id = pith__added_named(&k->named, (pith__str){ bytes, n });
    if (id < 0) id = piece_find(k, bytes, n);
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
    if (k->splitter) v->add_space = 0; /* words begin as they are written */
    if (k->splitter || v->add_space == PITH__SPACE_ALWAYS) v->late_spaces = 0;
    int code = decode_pieces(k);
    if (!code) code = hash_pieces(k);
    if (!code && v->model == PITH__UNIGRAM) code = build_unigram(k, err);
    if (!code) code = build_added(k);
    if (!code && v->model == PITH__BPE) code = hash_merges(k, err);
    if (!code && v->model == PITH__WORDPIECE) code = build_words(k);
    if (code == PITH_EMEMORY) pith__fail(err, code, "no memory for a tokenizer of %d pieces", v->n);
    if (code) return code;
    for (int c = 0; c < 256 && k->splitter; c++) k->byte[c] = piece_find(k, (char[]){ (char)c }, 1);
    k->has_space = piece_find(k, " ", 1) >= 0;
    k->copies_late = !k->unigram && (v->late_spaces || v->add_space > PITH__SPACE_ALWAYS);
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

/* The text that e begins with. */
static int encode_all(bpe_encoder *e, size_t len, unsigned flags) {
    const pith__tokenizer *k = e->k;
    const pith__vocab *v = &k->v;
    if (len > INT_MAX / 4 - 2) return PITH_EARG; /* a space may be 3 tokens, and one go before each part */
    e->control = (flags & PITH_SPECIAL) != 0;
    int normal = k->splitter || k->copies_late ? v->nfc && pith__may_need_nfc(e->begin, len) : !k->unigram;
    if (normal && !(e->normal = malloc(NORMAL_ROOM(len)))) e->code = PITH_EMEMORY;
    if (k->copies_late && !(e->spaced = malloc(NORMAL_ROOM(len)))) e->code = PITH_EMEMORY;
    if (flags & PITH_BOS && v->add_bos && v->bos >= 0) put_token(e, v->bos);
    if (!e->code && len)
        e->code = pith__added_split(&k->added, e->begin, len, e->control, e->mark,
                                    e->mark ? encode_marked : encode_part, e);
    if (flags & PITH_EOS && v->add_eos && v->eos >= 0) put_token(e, v->eos);
    free(e->normal);
    free(e->spaced);
    free(e->symbol);
    free(e->heap);
    free(e->text[0].p);
    free(e->text[1].p);
    free(e->cut);
    if (!e->code && e->n_out > INT_MAX) e->code = PITH_EARG; /* a map of characters made the text longer */
    return e->code ? e->code : (int)e->n_out;
}

PITH_SHARED int pith__tokenizer_encode(const pith__tokenizer *k, const char *text, size_t len,
                                       unsigned flags, pith_token *out, int cap) {
    return pith__tokenizer_encode_long(k, text, len, flags, out, cap, NULL);
}

PITH_SHARED int pith__tokenizer_encode_long(const pith__tokenizer *k, const char *text, size_t len,
                                            unsigned flags, pith_token *out, int cap,
                                            const pith__progress *progress) {
    bpe_encoder e = { .k = k, .out = out, .cap = cap > 0 ? (size_t)cap : 0, .begin = text,
                      .progress = progress };
    return encode_all(&e, len, flags);
}

PITH_SHARED int pith__tokenizer_encode_marked(const pith__tokenizer *k, const char *text, const uint8_t *mark,
                                              size_t len, pith_token *out, int cap) {
    bpe_encoder e = { .k = k, .out = out, .cap = cap > 0 ? (size_t)cap : 0, .begin = text };
    for (size_t i = 0; i < len && !e.mark; i++)
        if (mark[i] & PITH__DATA) e.mark = mark;
    return encode_all(&e, len, PITH_SPECIAL);
}

PITH_SHARED pith__str pith__tokenizer_piece(const pith__tokenizer *k, pith_token t) {
    return t < 0 || t >= k->v.n ? (pith__str){ NULL, 0 } : k->piece[t];
}

PITH_SHARED const pith__vocab *pith__tokenizer_vocab(const pith__tokenizer *k) { return &k->v; }

#undef NEVER
#undef NORMAL_ROOM
