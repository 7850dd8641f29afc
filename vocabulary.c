/* vocabulary.c - a pith__vocab, whose arrays must outlive it, becomes a tokenizer: the tables in which tokenizer.c finds pieces by
 * their bytes, joins by their halves, and added tokens. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum { LONGEST_SPECIAL = 256 }; /* bytes; a longer added token is not looked for in text */

/* ---- tables ---------------------------------------------------------------------------------- */

static size_t hash_size(size_t n) { /* a power of two with room to spare */
    size_t size = 16;
    while (size < n + n / 2) size *= 2;
    return size;
}

/* Tables of some megabytes are looked up in turns: what some entries will need is on its way from memory while others are
 * worked on. */
enum { TURN = 32 };

static void soon(const void *p) {
#ifdef __GNUC__
    __builtin_prefetch(p);
#else
    (void)p;
#endif
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

static void hash_piece(pith__tokenizer *k, size_t i, pith__piece_slot key) {
    pith__str s = k->piece[i];
    if (!can_be_made(k, i)) return;
    pith__piece_slot *slot = pith__piece_place(k, key, s.p, s.n);
    if (slot->id == 0) *slot = key, slot->id = (int32_t)i + 1;
    k->is_spelled[i] = slot->id == (int32_t)i + 1 && s.n == pith__spelled_size(k->v.spelling, k->v.piece[i]);
    if (s.n > k->longest) k->longest = s.n;
    if (!k->splitter) note_neighbours(k, s);
}

/* The pieces that text can become, by their bytes: the lowest id of those that are the same. */
static int hash_pieces(pith__tokenizer *k) {
    size_t n = (size_t)k->v.n, size = hash_size(n);
    k->slot = pith__arena_new(&k->arena, size, sizeof *k->slot);
    k->is_spelled = pith__arena_new(&k->arena, n, 1);
    if (!k->slot || !k->is_spelled) return PITH_EMEMORY;
    k->slot_mask = size - 1;
    for (size_t i = 0; i < n; i += TURN) {
        pith__piece_slot key[TURN];
        size_t end = n - i < TURN ? n : i + TURN;
        for (size_t j = i; j < end; j++) {
            key[j - i] = pith__piece_key(k->piece[j].p, k->piece[j].n);
            soon(pith__piece_first(k, key[j - i]));
        }
        for (size_t j = i; j < end; j++) hash_piece(k, j, key[j - i]);
    }
    return PITH_OK;
}

/* All added tokens, as the file spells them and in its order. */
static int list_named(pith__tokenizer *k) {
    const pith__vocab *v = &k->v;
    size_t n = 0;
    for (int i = 0; i < v->n; i++) n += is_plain(v->type[i]) || v->type[i] == PITH__USER;
    k->named.token = pith__arena_new(&k->arena, n + 1, sizeof *k->named.token);
    if (!k->named.token) return PITH_EMEMORY;
    for (int i = 0; i < v->n; i++) {
        int control = is_plain(v->type[i]), has = v->added ? v->added[i] : 0;
        if ((!control && v->type[i] != PITH__USER) || v->piece[i].n == 0) continue;
        k->named.token[k->named.n++] = (pith__added){ v->piece[i], i, (uint8_t)(has | (control ? PITH__SPECIAL : 0)) };
    }
    return PITH_OK;
}

/* Put those into set that are normalised (1) or not (0). */
static int fill_added(pith__tokenizer *k, pith__added_set *set, int normalized) {
    set->token = pith__arena_new(&k->arena, k->named.n + 1, sizeof *set->token);
    if (!set->token) return PITH_EMEMORY;
    for (size_t i = 0; i < k->named.n; i++) {
        pith__added t = k->named.token[i];
        if ((t.flags & PITH__NORMALIZED ? 1 : 0) != normalized || t.s.n > LONGEST_SPECIAL) continue;
        if (normalized) {
            if ((*t.s.p & 0xc0) == 0x80) continue; /* no text begins within a character */
            if (!pith__normal_form(k, &t.s)) return PITH_EMEMORY;
            if (t.s.n == 0) continue;
        }
        set->token[set->n++] = t;
    }
    pith__added_sort(set);
    return pith__added_build(set, &k->arena);
}

static int build_added(pith__tokenizer *k) {
    k->normal.metaspace = k->v.spelling == PITH__METASPACE && !k->v.late_spaces;
    int code = list_named(k);
    if (!code) code = fill_added(k, &k->added, 0);
    if (!code) code = fill_added(k, &k->normal, 1);
    if (!code) pith__added_sort(&k->named);
    return code;
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

typedef struct {         /* of one merge: left and right, and what they make */
    pith__str text[2];
    pith__piece_slot key[2];
    int32_t made;        /* -1: not known yet */
} merge_text;

typedef struct {         /* merges on their way into the table */
    pith__tokenizer *k;
    merge_text turn[TURN];
    char *room;          /* for the texts of a turn */
    int32_t made;        /* by the last one */
} merge_reader;

/* What merge i makes, if it is what most vocabularies have there: they list merges as they list pieces, and it is the piece after
 * the last one, or that one again. -1: it is not. */
static int32_t guess_made(const merge_reader *r, int i) {
    const pith__tokenizer *k = r->k;
    pith__str left = k->v.left[i], right = k->v.right[i];
    for (int32_t id = r->made; id <= r->made + 1 && id < k->v.n; id++) {
        pith__str s = k->v.piece[id];
        if (s.n == left.n + right.n && k->is_spelled[id] && !memcmp(s.p, left.p, left.n) &&
            !memcmp(s.p + left.n, right.p, right.n))
            return right.n && (*right.p & 0xc0) != 0x80 ? id : -1; /* and parts of it are spelled as it is */
    }
    return -1;
}

/* How many bytes the first half of piece id stands for. Of letters for bytes most pieces have none of two bytes but perhaps the
 * first, the space. */
static size_t left_size(const pith__tokenizer *k, int32_t id, pith__str left) {
    size_t more = k->v.piece[id].n - k->piece[id].n, first = left.n && (uint8_t)*left.p >= 0xc0;
    return k->v.spelling == PITH__BYTE_LETTERS && more == first ? left.n - more : pith__spelled_size(k->v.spelling, left);
}

/* The texts of merges from to to, all of a turn. Those of which it is known what they make are parts of that. */
static void spell_merges(merge_reader *r, int from, int to) {
    const pith__tokenizer *k = r->k;
    char *p = r->room;
    for (int i = from; i < to; i++) {
        merge_text *m = &r->turn[i - from];
        pith__str *left = &m->text[0], *right = &m->text[1];
        m->made = guess_made(r, i);
        if (m->made >= 0) {
            pith__str s = k->piece[r->made = m->made];
            *left = (pith__str){ s.p, left_size(k, m->made, k->v.left[i]) };
            *right = (pith__str){ s.p + left->n, s.n - left->n };
            continue;
        }
        *left = (pith__str){ p, pith__spelled_bytes(k->v.spelling, k->v.left[i], p) };
        p += left->n;
        *right = (pith__str){ p, pith__spelled_bytes(k->v.spelling, k->v.right[i], p) };
        p += right->n;
    }
    for (int i = 0; i < to - from; i++)
        for (int j = 0; j < 2; j++) {
            merge_text *m = &r->turn[i];
            m->key[j] = pith__piece_key(m->text[j].p, m->text[j].n);
            soon(pith__piece_first(k, m->key[j]));
        }
}

static int wrong_merge(const pith__vocab *v, int i, const char *what, pith_error *err) {
    return pith__fail(err, PITH_EFORMAT, "tokenizer: merge %d, '%.*s' + '%.*s': the %s is not a piece", i,
                      (int)(v->left[i].n < 40 ? v->left[i].n : 40), v->left[i].p,
                      (int)(v->right[i].n < 40 ? v->right[i].n : 40), v->right[i].p, what);
}

/* Of two merges of the same pieces the first one counts. */
static void add_merge(pith__tokenizer *k, int i, const int32_t *id) {
    uint32_t *at = &k->made_by[id[2]];
    while (*at && (k->merge[*at - 1].left != id[0] || k->merge[*at - 1].right != id[1])) at = &k->merge[*at - 1].next;
    if (*at) return;
    k->merge[i] = (pith__bpe_merge){ id[0], id[1], 0 };
    *at = (uint32_t)i + 1;
}

static int read_turn(merge_reader *r, int from, int to, pith_error *err) {
    static const char *const what[] = { "first", "second", "result" };
    pith__tokenizer *k = r->k;
    spell_merges(r, from, to);
    for (int i = from; i < to; i++) {
        const merge_text *m = &r->turn[i - from];
        int32_t id[3];
        for (int j = 0; j < 2; j++) {
            pith__str s = m->text[j];
            id[j] = s.n > k->longest ? -1 : pith__piece_place(k, m->key[j], s.p, s.n)->id - 1;
        }
        id[2] = m->made < 0 ? pith__piece_find(k, m->text[0].p, m->text[0].n + m->text[1].n) : m->made;
        for (int j = 0; j < 3; j++)
            if (id[j] < 0) return wrong_merge(&k->v, i, what[j], err);
        if (m->made < 0) r->made = id[2];
        add_merge(k, i, id);
    }
    return PITH_OK;
}

static int read_merges(pith__tokenizer *k, pith_error *err) {
    const pith__vocab *v = &k->v;
    size_t longest = 1;
    for (int i = 0; i < v->n_merge; i++) {
        size_t n = v->left[i].n + v->right[i].n; /* both are in memory */
        if (n > longest) longest = n;
    }
    merge_reader r = { .k = k, .room = pith__arena_new(&k->arena, longest, TURN) };
    k->merge = pith__arena_new(&k->arena, (size_t)v->n_merge, sizeof *k->merge);
    k->made_by = pith__arena_new(&k->arena, (size_t)v->n, sizeof *k->made_by);
    if (!k->merge || !k->made_by || !r.room) return PITH_EMEMORY;
    int code = PITH_OK;
    for (int i = 0; i < v->n_merge && !code; i += TURN)
        code = read_turn(&r, i, v->n_merge - i < TURN ? v->n_merge : i + TURN, err);
    return code;
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

/* ---- all of them ------------------------------------------------------------------------------ */

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
    if (!code && v->model == PITH__BPE) code = read_merges(k, err);
    if (!code && v->model == PITH__WORDPIECE) code = build_words(k);
    if (code == PITH_EMEMORY) pith__fail(err, code, "no memory for a tokenizer of %d pieces", v->n);
    if (code) return code;
    for (int c = 0; c < 256 && k->splitter; c++) k->byte[c] = pith__piece_find(k, (char[]){ (char)c }, 1);
    k->has_space = pith__piece_find(k, " ", 1) >= 0;
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
