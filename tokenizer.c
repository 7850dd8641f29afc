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
 * Gets the tables that vocabulary.c made of a pith__vocab; gives tokens for text, and bytes for tokens. */
#include "internal.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define NEVER UINT32_MAX

#define NORMAL_ROOM(n) (3 * (n) + 1) /* NFC makes text at most three times as long; and a space */

/* ---- pieces by their bytes ------------------------------------------------------------------- */

PITH_SHARED int32_t pith__piece_find(const pith__tokenizer *k, const char *p, size_t n) {
    return n > k->longest ? -1 : pith__piece_place(k, pith__piece_key(p, n), p, n)->id - 1;
}

/* ---- joining symbols ------------------------------------------------------------------------- */

typedef struct {
    int32_t prev, next; /* neighbours, -1: none */
    uint32_t at;        /* its first byte in the word; it ends where next begins */
    int32_t id;         /* -1: no piece */
    uint32_t rank;      /* of joining it with next, the least is done first; NEVER */
    int32_t made;       /* the piece that makes */
} bpe_symbol;

typedef struct { /* what joining two pieces comes to */
    int32_t left, right, made;
    uint32_t rank;
} bpe_pair;

typedef struct { /* one call of encode */
    const pith__tokenizer *k;
    bpe_pair *pair;     /* (1 << pair_bits) those of a long text that were looked up last, each at its place; or NULL */
    int pair_bits;
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

static uint32_t rank_by_score(const pith__tokenizer *k, const bpe_symbol *a, const bpe_symbol *b) {
    /* llama2.c has made bytes of unknown characters by now; SentencePiece may yet find a piece. */
    if (k->v.spelling == PITH__RAW && (a->id < 0 || b->id < 0)) return NEVER;
    return score_rank(k->v.score[a->made]);
}

/* Few merges make the same piece, and there are fewer pieces than pairs of them. */
static uint32_t rank_by_merge(const pith__tokenizer *k, const bpe_symbol *a, const bpe_symbol *b) {
    uint32_t rank = k->made_by[a->made];
    while (rank && (k->merge[rank - 1].left != a->id || k->merge[rank - 1].right != b->id)) rank = k->merge[rank - 1].next;
    return rank - 1; /* of none: NEVER */
}

static void rank_made(const bpe_encoder *e, bpe_symbol *a, const bpe_symbol *b) {
    size_t end = b->next < 0 ? e->n_word : e->symbol[b->next].at;
    a->made = pith__piece_find(e->k, e->word + a->at, end - a->at);
    a->rank = a->made < 0 ? NEVER : e->k->v.model == PITH__SPM ? rank_by_score(e->k, a, b) : rank_by_merge(e->k, a, b);
}

/* The same from what is known of the two; what was at its place is forgotten for it. */
static void rank_known(const bpe_encoder *e, bpe_symbol *a, const bpe_symbol *b) {
    uint64_t h = pith__mix_bits((uint64_t)(uint32_t)a->id << 32, (uint32_t)b->id);
    bpe_pair *p = &e->pair[h >> (64 - e->pair_bits)];
    if (p->left != a->id || p->right != b->id || !p->made) {
        rank_made(e, a, b);
        *p = (bpe_pair){ a->id, b->id, a->made, a->rank };
    }
    a->made = p->made, a->rank = p->rank;
}

static void rank_pair(bpe_encoder *e, int32_t left) {
    if (left < 0 || !go_on(e)) return;
    bpe_symbol *a = &e->symbol[left];
    a->rank = NEVER;
    if (a->next < 0) return;
    const bpe_symbol *b = &e->symbol[a->next];
    if (e->pair && a->id >= 0 && b->id >= 0) rank_known(e, a, b);
    else rank_made(e, a, b);
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
        int32_t id = k->splitter ? k->byte[(unsigned char)p[at]] : pith__piece_find(k, p + at, size);
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
    int32_t whole = e->k->v.ignore_merges ? pith__piece_find(e->k, p, n) : -1;
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

/* *s as it is in normalised text. */
PITH_SHARED int pith__normal_form(pith__tokenizer *k, pith__str *s) {
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

/* ---- public ---------------------------------------------------------------------------------- */

/* An added token of these bytes, else an ordinary one, else a byte's. */
PITH_SHARED int pith__tokenizer_find(const pith__tokenizer *k, const char *bytes, size_t n) {
    if (n == 0) return -1;
    int32_t id = pith__added_named(&k->named, (pith__str){ bytes, n });
    if (id < 0) id = pith__piece_find(k, bytes, n);
    return id < 0 && n == 1 ? k->byte[(unsigned char)*bytes] : id;
}

/* More pairs of a longer text. */
static void remember_pairs(bpe_encoder *e, size_t len) {
    enum { LEAST = 10, MOST = 15 };
    if (len >> LEAST == 0) return;
    for (e->pair_bits = LEAST; e->pair_bits < MOST && len >> e->pair_bits > 1;) e->pair_bits++;
    e->pair = calloc((size_t)1 << e->pair_bits, sizeof *e->pair);
    if (!e->pair) e->code = PITH_EMEMORY;
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
    remember_pairs(e, len);
    if (flags & PITH_BOS && v->add_bos && v->bos >= 0) put_token(e, v->bos);
    if (!e->code && len)
        e->code = pith__added_split(&k->added, e->begin, len, e->control, e->mark,
                                    e->mark ? encode_marked : encode_part, e);
    if (flags & PITH_EOS && v->add_eos && v->eos >= 0) put_token(e, v->eos);
    free(e->normal);
    free(e->spaced);
    free(e->symbol);
    free(e->heap);
    free(e->pair);
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
