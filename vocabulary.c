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

static void hash_piece(pith__tokenizer *k, size_t i, uint32_t hash) {
    pith__str s = k->piece[i];
    if (!can_be_made(k, i)) return;
    pith__piece_slot *slot = pith__piece_place(k, s.p, s.n, hash);
    if (slot->id == 0) *slot = (pith__piece_slot){ hash, (int32_t)i + 1 };
    if (s.n > k->longest) k->longest = s.n;
    if (!k->splitter) note_neighbours(k, s);
}

/* The pieces that text can become, by their bytes: the lowest id of those that are the same. */
static int hash_pieces(pith__tokenizer *k) {
    size_t n = (size_t)k->v.n, size = hash_size(n);
    k->slot = pith__arena_new(&k->arena, size, sizeof *k->slot);
    if (!k->slot) return PITH_EMEMORY;
    k->slot_mask = size - 1;
    for (size_t i = 0; i < n; i += TURN) {
        uint32_t hash[TURN];
        size_t end = n - i < TURN ? n : i + TURN;
        for (size_t j = i; j < end; j++) {
            hash[j - i] = pith__piece_hash(k->piece[j].p, k->piece[j].n);
            soon(&k->slot[hash[j - i] & k->slot_mask]);
        }
        for (size_t j = i; j < end; j++) hash_piece(k, j, hash[j - i]);
    }
    return PITH_OK;
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
            if (!pith__normal_form(k, &s)) return PITH_EMEMORY;
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

typedef struct {         /* of one merge: left, right, and what they make */
    pith__str text[3];
    uint32_t hash[3];
} merge_text;

/* The texts of a turn; room for them at p. */
static void spell_merges(const pith__tokenizer *k, int from, int to, merge_text *turn, char *p) {
    for (int i = from; i < to; i++) {
        merge_text *m = &turn[i - from];
        size_t left = pith__spelled_bytes(k->v.spelling, k->v.left[i], p);
        size_t right = pith__spelled_bytes(k->v.spelling, k->v.right[i], p + left);
        m->text[0] = (pith__str){ p, left }, m->text[1] = (pith__str){ p + left, right };
        m->text[2] = (pith__str){ p, left + right };
        for (int j = 0; j < 3; j++) {
            m->hash[j] = pith__piece_hash(m->text[j].p, m->text[j].n);
            soon(&k->slot[m->hash[j] & k->slot_mask]);
        }
        p += left + right;
    }
    for (int i = 0; i < to - from; i++)
        for (int j = 0; j < 3; j++) {
            const pith__piece_slot *s = &k->slot[turn[i].hash[j] & k->slot_mask];
            if (s->id) soon(&k->piece[s->id - 1]);
        }
    for (int i = 0; i < to - from; i++)
        for (int j = 0; j < 3; j++) {
            const pith__piece_slot *s = &k->slot[turn[i].hash[j] & k->slot_mask];
            if (s->id) soon(k->piece[s->id - 1].p);
        }
}

static int wrong_merge(const pith__vocab *v, int i, const char *what, pith_error *err) {
    return pith__fail(err, PITH_EFORMAT, "tokenizer: merge %d, '%.*s' + '%.*s': the %s is not a piece", i,
                      (int)(v->left[i].n < 40 ? v->left[i].n : 40), v->left[i].p,
                      (int)(v->right[i].n < 40 ? v->right[i].n : 40), v->right[i].p, what);
}

/* Merges from to to, all of a turn. */
static int hash_turn(pith__tokenizer *k, int from, int to, char *room, pith_error *err) {
    static const char *const what[] = { "first", "second", "result" };
    merge_text turn[TURN];
    spell_merges(k, from, to, turn, room);
    for (int i = from; i < to; i++) {
        int32_t id[3];
        for (int j = 0; j < 3; j++) {
            pith__str s = turn[i - from].text[j];
            id[j] = s.n > k->longest ? -1 : pith__piece_place(k, s.p, s.n, turn[i - from].hash[j])->id - 1;
        }
        for (int j = 0; j < 3; j++)
            if (id[j] < 0) return wrong_merge(&k->v, i, what[j], err);
        k->merge[i] = (pith__bpe_merge){ id[0], id[1], id[2] };
        soon(pith__merge_first(k, id[0], id[1]));
    }
    for (int i = from; i < to; i++) {
        uint32_t *slot = pith__merge_place(k, k->merge[i].left, k->merge[i].right);
        if (*slot == 0) *slot = (uint32_t)i + 1;
    }
    return PITH_OK;
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
    char *room = pith__arena_new(&k->arena, longest, TURN);
    if (!k->merge || !k->merge_slot || !room) return PITH_EMEMORY;
    k->merge_mask = size - 1;
    int code = PITH_OK;
    for (int i = 0; i < v->n_merge && !code; i += TURN)
        code = hash_turn(k, i, v->n_merge - i < TURN ? v->n_merge : i + TURN, room, err);
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
    if (!code && v->model == PITH__BPE) code = hash_merges(k, err);
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
