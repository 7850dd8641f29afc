/* vocab.c - learn a vocabulary by byte-pair encoding: Sennrich et al. 2016, arXiv:1508.07909.
 *
 * Begin with single characters; again and again join the two neighbours that stand side by side
 * most often in the text, and call the result a piece, until there are as many pieces as wanted.
 * Two kinds, which tokenizer.c describes: SentencePiece's, where what two neighbours spell
 * together is all that counts, and byte-level BPE, where it matters which two they are.
 *
 * Nothing is joined across words, so each word is kept once, with how often it comes. A pair
 * knows the words it stands in, so that a join touches only these; what each join changes is
 * counted anew. The most frequent pair is on top of a heap, whose entries may be out of date and
 * are looked at again when they come up. All of this is linear in the text but for the heap's
 * logarithm.
 *
 * A word here is split exactly as tokenizer.c would split it with the pieces learned so far:
 * joining is done by rank, and again where a join made two neighbours that spell an older piece. */
#include "train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_MAX = 64, COUNT_MIN = 2 }; /* bytes of a word; a piece comes at least so often */
enum { N_SPECIAL = 3, N_BYTE = 256, MERGED = WORD_MAX, WHOLE };

/* A string that was met: a word of the text (split WHOLE); two neighbours (split: the bytes of
 * the left one, MERGED where it does not matter); a piece by itself (split 0). */
typedef struct {
    const char *p;
    uint8_t n, split;
    uint8_t touched;        /* its count grew in this round */
    int32_t rank;           /* pair: of the join; piece: 0 or more; -1: not (yet) */
    int64_t count;          /* in the text */
    uint64_t start, unknown; /* word: bit i, a symbol begins at byte i, and is no piece */
    uint32_t *word;         /* (n_word) pair: those it stands in, or once stood in */
    size_t n_word, word_room;
} met;

typedef struct {
    int64_t count;
    uint32_t pair;
} candidate;

typedef struct {
    int model;
    pith__vocab_plan *plan;
    pith__arena arena;      /* the words' bytes */
    met *met;               /* (n_met): n_word words, then pairs and pieces as they come */
    size_t n_met, met_room, n_word;
    uint32_t *slot;         /* (slot_mask + 1) indices into met plus 1, by hash */
    size_t slot_mask;
    candidate *heap;
    size_t n_heap, heap_room;
    uint32_t *touched, *made; /* pairs whose count grew; pairs joined, by rank */
    size_t n_touched, touched_room, n_made, made_room;
    uint32_t *letter; /* (n_letter) SPM: the characters that are pieces, the most frequent first */
    size_t n_letter;
    int n_piece;
    const pith__progress *progress;
    const char *what;       /* as told last */
    size_t done, all, asked;
    pith_error *err;
    int code;
} learner;

static int no_memory(learner *k) {
    return k->code = pith__fail(k->err, PITH_EMEMORY, "no memory to learn a vocabulary");
}

/* Say how far it is; k->code is set where the caller stops it. */
static int tell(learner *k, const char *what, size_t done, size_t all) {
    k->what = what, k->done = done, k->all = all;
    if (k->code) pith__tell(k->progress, what, done, all, NULL);
    else k->code = pith__tell(k->progress, what, done, all, k->err);
    return k->code;
}

/* Call in every iteration of a long loop. 0: stop. */
static int learning_on(learner *k) {
    enum { OFTEN = 1 << 14 };
    if (++k->asked % OFTEN == 0 && k->done < k->all) tell(k, k->what, k->done, k->all);
    return !k->code;
}

/* The array of n, with room for one more; or as it was, and k->code is set. */
static void *grown(learner *k, void *array, size_t n, size_t *room, size_t size) {
    if (n < *room || k->code) return array;
    size_t more = *room ? 2 * *room : 8;
    void *p = more > UINT32_MAX ? NULL : realloc(array, more * size);
    if (!p) return no_memory(k), array;
    *room = more;
    return p;
}

/* ---- strings by their bytes ------------------------------------------------------------------ */

static uint64_t met_hash(const char *p, size_t n, int split) {
    uint64_t h = 0xcbf29ce484222325u + (uint64_t)split;
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)p[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

static uint32_t *met_place(const learner *k, const char *p, size_t n, int split) {
    for (size_t i = met_hash(p, n, split) & k->slot_mask;; i = (i + 1) & k->slot_mask) {
        uint32_t *s = &k->slot[i];
        if (!*s) return s;
        const met *m = &k->met[*s - 1];
        if (m->n == n && m->split == split && !memcmp(m->p, p, n)) return s;
    }
}

static met *met_find(const learner *k, const char *p, size_t n, int split) {
    uint32_t i = *met_place(k, p, n, split);
    return i ? &k->met[i - 1] : NULL;
}

static int met_rehash(learner *k) {
    size_t size = k->slot_mask ? 2 * (k->slot_mask + 1) : 1 << 12;
    uint32_t *slot = size < UINT32_MAX ? calloc(size, sizeof *slot) : NULL;
    if (!slot) return no_memory(k);
    free(k->slot);
    k->slot = slot;
    k->slot_mask = size - 1;
    for (size_t i = 0; i < k->n_met; i++)
        *met_place(k, k->met[i].p, k->met[i].n, k->met[i].split) = (uint32_t)i + 1;
    return 0;
}

/* The string's index; new ones are added, words as a copy of their bytes. */
static uint32_t met_add(learner *k, const char *p, size_t n, int split) {
    if (2 * k->n_met >= k->slot_mask && met_rehash(k)) return 0;
    uint32_t *s = met_place(k, p, n, split);
    if (*s) return *s - 1;
    k->met = grown(k, k->met, k->n_met, &k->met_room, sizeof *k->met);
    if (k->code) return 0;
    met *m = &k->met[k->n_met++];
    *m = (met){ .p = p, .n = (uint8_t)n, .split = (uint8_t)split, .rank = -1 };
    *s = (uint32_t)k->n_met;
    if (split != WHOLE) return *s - 1;
    char *copy = pith__arena_new(&k->arena, n, 1);
    if (copy) m->p = memcpy(copy, p, n);
    else no_memory(k), k->n_met--, *s = 0;
    return copy ? *s - 1 : 0;
}

/* ---- words ----------------------------------------------------------------------------------- */

static void count_word(learner *k, const char *p, size_t n) {
    uint32_t w = met_add(k, p, n, WHOLE);
    if (!k->code) k->met[w].count++;
}

enum { BLANKS, LETTERS, DIGIT, LINES, SIGNS, NO_CHARACTER };

/* An apostrophe is a letter, or no piece could hold "don't". What is no UTF-8, and the sign that
 * stands for a space in the spelling of pieces, never become pieces. */
static int letter_class(uint32_t c, size_t n) {
    if (c == ' ') return BLANKS;
    if ((c == 0xfffd && n == 1) || c == 0x2581) return NO_CHARACTER;
    if (c == '\'' || c == 0x2019) return LETTERS;
    int x = pith__unicode_class(c);
    if (x & PITH__SPACE || c < 32) return LINES;
    if (x & PITH__NUMBER) return DIGIT;
    return x & (PITH__UPPER | PITH__LOWER | PITH__LETTER | PITH__MARK) ? LETTERS : SIGNS;
}

/* Bytes of the word at p: spaces, then letters, or one digit, or signs, or line ends. Such words
 * need no cutting when text is encoded: no piece has anything before a space, or two of these
 * kinds. */
static size_t word_length(const char *p, const char *end) {
    const char *q = p;
    for (int kind = BLANKS; q < end;) {
        uint32_t c;
        size_t n = pith__utf8_read((const uint8_t *)q, (size_t)(end - q), &c);
        int x = letter_class(c, n);
        if ((kind != BLANKS && (x != kind || x == DIGIT || x == NO_CHARACTER)) ||
            q + n > p + WORD_MAX - 1)
            break;
        kind = x;
        q += n;
    }
    return (size_t)(q - p);
}

/* A document begins with a space nobody wrote, as when it is encoded. */
static void count_document(learner *k, pith__str text) {
    char word[WORD_MAX] = " ";
    size_t before = 1;
    for (size_t i = 0, n; i < text.n && learning_on(k); i += n, before = 0) {
        n = word_length(text.p + i, text.p + text.n);
        memcpy(word + before, text.p + i, n);
        count_word(k, word, before + n);
    }
}

/* Byte-level BPE has words of its own; a long one is cut where it may be inside a character. */
static int count_gpt2_word(void *to, const char *p, size_t n) {
    learner *k = to;
    for (size_t m; n && learning_on(k); p += m, n -= m) {
        m = n < WORD_MAX ? n : WORD_MAX - 1;
        count_word(k, p, m);
    }
    return k->code;
}

static int count_texts(learner *k, const pith__texts *texts) {
    static const char what[] = "text to words: byte";
    const pith__splitter *gpt2 = pith__splitter_named(pith__str_of("gpt-2"));
    for (int i = 0; i < texts->n && !k->code; i++) {
        pith__documents d;
        pith__str text;
        if ((k->code = pith__documents_open(&d, texts->path[i], k->err))) break;
        d.nfc = k->plan->nfc;
        while (!k->code && !(k->code = pith__documents_next(&d, &text, k->err)) && text.n) {
            if (tell(k, what, (size_t)(d.p - (const char *)d.file.data), d.file.size + 1)) break;
            if (k->model == PITH__SPM) count_document(k, text);
            else pith__split(gpt2, text.p, text.n, count_gpt2_word, k);
        }
        tell(k, what, 1, 1);
        k->plan->hangul_apart += d.hangul_apart;
        pith__documents_close(&d);
    }
    k->n_word = k->n_met;
    if (!k->code && !k->n_word)
        k->code = pith__fail(k->err, PITH_EDATA, "%s: has no text", texts->path[0]);
    return k->code;
}

/* ---- characters ------------------------------------------------------------------------------ */

static size_t symbol_length(const learner *k, const char *p, size_t left) {
    uint32_t c;
    return k->model == PITH__SPM ? pith__utf8_read((const uint8_t *)p, left, &c) : 1;
}

static int met_before(const met *a, const met *b) { /* the order of equally frequent strings */
    if (a->count != b->count) return a->count > b->count;
    if (a->n != b->n) return a->n < b->n;
    int c = memcmp(a->p, b->p, a->n);
    return c ? c < 0 : a->split < b->split;
}

/* Shell's sort; qsort would have no way to the table of strings. */
static void sort_letters(learner *k) {
    for (size_t gap = k->n_letter / 2; gap; gap /= 2)
        for (size_t i = gap; i < k->n_letter; i++) {
            uint32_t x = k->letter[i];
            size_t j = i;
            for (; j >= gap && met_before(&k->met[x], &k->met[k->letter[j - gap]]); j -= gap)
                k->letter[j] = k->letter[j - gap];
            k->letter[j] = x;
        }
}

/* SentencePiece's coverage: the rarest characters, one in 2000 of the text, stay bytes. */
static void choose_letters(learner *k, int size) {
    size_t room = 0;
    int64_t total = 0, covered = 0;
    for (size_t w = 0; w < k->n_word && learning_on(k); w++) {
        for (size_t i = 0, n; i < k->met[w].n && !k->code; i += n) {
            const char *p = k->met[w].p + i;
            n = symbol_length(k, p, k->met[w].n - i);
            uint32_t c;
            pith__utf8_read((const uint8_t *)p, n, &c);
            if (letter_class(c, n) == NO_CHARACTER) continue;
            size_t before = k->n_met;
            uint32_t letter = met_add(k, p, n, 0);
            k->letter = grown(k, k->letter, k->n_letter, &room, sizeof *k->letter);
            if (k->code) return;
            if (k->n_met > before) k->letter[k->n_letter++] = letter;
            k->met[letter].count += k->met[w].count;
            total += k->met[w].count;
        }
    }
    sort_letters(k);
    size_t most = (size_t)(size - N_SPECIAL - N_BYTE), n = 0;
    for (; n < k->n_letter && n < most && (double)covered < 0.9995 * (double)total; n++) {
        k->met[k->letter[n]].rank = 0;
        covered += k->met[k->letter[n]].count;
    }
    k->n_letter = n;
    k->n_piece = N_SPECIAL + N_BYTE + (int)n;
}

static void begin_words(learner *k) {
    for (size_t w = 0; w < k->n_word && learning_on(k); w++) {
        met *m = &k->met[w];
        for (size_t i = 0, n; i < m->n; i += n) {
            n = symbol_length(k, m->p + i, m->n - i);
            m->start |= (uint64_t)1 << i;
            if (k->model != PITH__SPM) continue;
            const met *letter = met_find(k, m->p + i, n, 0);
            if (!letter || letter->rank < 0) m->unknown |= (uint64_t)1 << i;
        }
    }
}

/* ---- the heap -------------------------------------------------------------------------------- */

static int candidate_before(const learner *k, candidate a, candidate b) {
    if (a.count != b.count) return a.count > b.count;
    met x = k->met[a.pair], y = k->met[b.pair];
    x.count = y.count = 0;
    return met_before(&x, &y);
}

static void candidate_push(learner *k, uint32_t pair) {
    candidate x = { k->met[pair].count, pair };
    k->heap = grown(k, k->heap, k->n_heap, &k->heap_room, sizeof *k->heap);
    if (x.count < COUNT_MIN || k->code) return;
    size_t i = k->n_heap++;
    for (; i > 0 && candidate_before(k, x, k->heap[(i - 1) / 2]); i = (i - 1) / 2)
        k->heap[i] = k->heap[(i - 1) / 2];
    k->heap[i] = x;
}

static candidate candidate_pop(learner *k) {
    candidate best = k->heap[0], x = k->heap[--k->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < k->n_heap; i = child) {
        if (child + 1 < k->n_heap && candidate_before(k, k->heap[child + 1], k->heap[child]))
            child++;
        if (!candidate_before(k, k->heap[child], x)) break;
        k->heap[i] = k->heap[child];
    }
    k->heap[i] = x;
    return best;
}

/* ---- pairs ----------------------------------------------------------------------------------- */

typedef struct { /* two neighbours in a word: bytes i to j, and j to end */
    size_t i, j, end;
} neighbours;

static size_t symbol_end(const met *w, size_t i) {
    for (i++; i < w->n && !(w->start >> i & 1); i++) continue;
    return i;
}

/* The next two neighbours that are both pieces, their left one beginning at i or after. */
static int next_neighbours(const met *w, size_t i, neighbours *b) {
    for (; i < w->n; i = b->j) {
        b->i = i;
        b->j = symbol_end(w, i);
        if (b->j == w->n) return 0;
        b->end = symbol_end(w, b->j);
        if (!(w->unknown >> i & 1) && !(w->unknown >> b->j & 1)) return 1;
    }
    return 0;
}

static int pair_split(const learner *k, neighbours b) {
    return k->model == PITH__SPM ? MERGED : (int)(b.j - b.i);
}

/* The count of the pair whose left one begins at byte i of word w, if there is one, grows or
 * shrinks. */
static void count_pair(learner *k, uint32_t w, size_t i, int sign) {
    neighbours b;
    const met *word = &k->met[w];
    if (!next_neighbours(word, i, &b) || b.i != i) return;
    uint32_t pair = met_add(k, word->p + i, b.end - i, pair_split(k, b));
    met *m = &k->met[pair];
    if (k->code || m->rank >= 0) return;
    m->count += sign * k->met[w].count;
    if (sign < 0) return;
    m->word = grown(k, m->word, m->n_word, &m->word_room, sizeof *m->word);
    k->touched = grown(k, k->touched, k->n_touched, &k->touched_room, sizeof *k->touched);
    if (k->code) return;
    if (!m->n_word || m->word[m->n_word - 1] != w) m->word[m->n_word++] = w;
    if (!m->touched) k->touched[k->n_touched++] = pair;
    m->touched = 1;
}

/* The rank of joining what begins at i with what follows. */
static int32_t join_rank(const learner *k, const met *w, size_t i, neighbours *b) {
    if (!next_neighbours(w, i, b) || b->i != i) return INT32_MAX;
    const met *m = met_find(k, w->p + i, b->end - i, pair_split(k, *b));
    return m && m->rank >= 0 ? m->rank : INT32_MAX;
}

/* Join two neighbours of word w, then what that made with those beside it, if they are an older
 * join, and so on. Returns where the last of these symbols ends. */
static size_t join_at(learner *k, uint32_t w, neighbours b) {
    for (;;) {
        size_t before = b.i;
        while (before > 0 && !(k->met[w].start >> --before & 1)) continue;
        if (b.i > 0) count_pair(k, w, before, -1);
        count_pair(k, w, b.j, -1);
        k->met[w].start &= ~((uint64_t)1 << b.j);
        if (b.i > 0) count_pair(k, w, before, 1);
        count_pair(k, w, b.i, 1);
        neighbours left = b, right = b;
        const met *word = &k->met[w];
        int32_t to_left = b.i > 0 ? join_rank(k, word, before, &left) : INT32_MAX;
        int32_t to_right = join_rank(k, word, b.i, &right);
        if (k->code || (to_left == INT32_MAX && to_right == INT32_MAX)) return b.end;
        b = to_left <= to_right ? left : right;
    }
}

static void push_touched(learner *k) {
    for (size_t i = 0; i < k->n_touched; i++) {
        k->met[k->touched[i]].touched = 0;
        if (k->met[k->touched[i]].rank < 0) candidate_push(k, k->touched[i]);
    }
    k->n_touched = 0;
}

static void join_in_word(learner *k, uint32_t w, uint32_t pair) {
    neighbours b;
    for (size_t i = 0; !k->code && next_neighbours(&k->met[w], i, &b);) {
        const met *m = &k->met[pair];
        int here = b.end - b.i == m->n && pair_split(k, b) == m->split &&
                   !memcmp(k->met[w].p + b.i, m->p, m->n);
        i = here ? join_at(k, w, b) : b.j;
    }
}

/* The pair becomes a join of the next rank, and all words that have it are split anew. */
static void make_join(learner *k, uint32_t pair) {
    k->made = grown(k, k->made, k->n_made, &k->made_room, sizeof *k->made);
    if (k->code) return;
    k->met[pair].rank = (int32_t)k->n_made;
    k->made[k->n_made++] = pair;
    if (k->model == PITH__SPM) {
        k->n_piece++;
    } else { /* other neighbours may have spelled the same piece before */
        uint32_t piece = met_add(k, k->met[pair].p, k->met[pair].n, 0);
        if (k->code) return;
        k->n_piece += k->met[piece].rank < 0;
        k->met[piece].rank = 0;
    }
    for (size_t i = 0; i < k->met[pair].n_word && learning_on(k); i++)
        join_in_word(k, k->met[pair].word[i], pair);
    free(k->met[pair].word);
    k->met[pair].word = NULL;
    k->met[pair].n_word = k->met[pair].word_room = 0;
    push_touched(k);
}

static void learn_joins(learner *k, int size) {
    neighbours b;
    tell(k, "piece", (size_t)k->n_piece, (size_t)size + 1);
    for (uint32_t w = 0; w < k->n_word && learning_on(k); w++)
        for (size_t i = 0; next_neighbours(&k->met[w], i, &b); i = b.j) count_pair(k, w, b.i, 1);
    push_touched(k);
    while (k->n_piece < size && k->n_heap && !k->code) {
        if (tell(k, "piece", (size_t)k->n_piece, (size_t)size + 1)) break;
        candidate best = candidate_pop(k);
        const met *m = &k->met[best.pair];
        if (m->rank >= 0 || best.count < m->count)
            continue; /* done, or in the heap again as it is now */
        if (best.count == m->count) make_join(k, best.pair);
        else candidate_push(k, best.pair);
    }
    tell(k, "piece", 1, 1);
}

/* ---- the vocabulary -------------------------------------------------------------------------- */

typedef struct {
    pith__vocab *v;
    pith__arena *a;
    int failed;
} vocab_maker;

static pith__str vocab_copy(vocab_maker *y, const char *p, size_t n) {
    char *copy = pith__arena_new(y->a, n + 1, 1);
    if (!copy) y->failed = 1;
    return copy ? (pith__str){ memcpy(copy, p, n), n } : (pith__str){ "", 0 };
}

static void vocab_put(vocab_maker *y, pith__str piece, int type, float score) {
    pith__vocab *v = y->v;
    v->piece[v->n] = piece;
    v->type[v->n] = (uint8_t)type;
    v->score[v->n] = score;
    v->n++;
}

static pith__str byte_letters(vocab_maker *y, const char *p, size_t n) {
    char out[2 * WORD_MAX];
    size_t m = 0;
    for (size_t i = 0; i < n; i++) m += pith__byte_letter((uint8_t)p[i], out + m);
    return vocab_copy(y, out, m);
}

static void make_spm(vocab_maker *y, const learner *k) {
    pith__vocab *v = y->v;
    char name[8];
    v->spelling = PITH__RAW;
    v->bos = 1, v->eos = 2, v->mask = -1;
    v->end[v->n_end++] = v->bos; /* a text ends where the next would begin */
    v->add_bos = v->add_space = v->byte_fallback = 1;
    vocab_put(y, pith__str_of("<unk>"), PITH__UNKNOWN, 0);
    vocab_put(y, pith__str_of("<s>"), PITH__CONTROL, 0);
    vocab_put(y, pith__str_of("</s>"), PITH__CONTROL, 0);
    for (unsigned b = 0; b < N_BYTE; b++) {
        snprintf(name, sizeof name, "<0x%02X>", b & 255);
        vocab_put(y, vocab_copy(y, name, 6), PITH__BYTE, 0);
    }
    float rank = 0;
    for (size_t i = 0; i < k->n_made; i++, rank--)
        vocab_put(y, vocab_copy(y, k->met[k->made[i]].p, k->met[k->made[i]].n), PITH__NORMAL, rank);
    for (size_t i = 0; i < k->n_letter; i++, rank--)
        vocab_put(y, vocab_copy(y, k->met[k->letter[i]].p, k->met[k->letter[i]].n), PITH__NORMAL,
                  rank);
}

static void make_bpe(vocab_maker *y, learner *k) {
    pith__vocab *v = y->v;
    v->spelling = PITH__BYTE_LETTERS;
    v->pre = pith__str_of("gpt-2");
    v->unk = v->mask = -1;
    v->add_bos = 1;
    for (unsigned b = 0; b < N_BYTE; b++)
        vocab_put(y, byte_letters(y, &(char){ (char)b }, 1), PITH__NORMAL, 0);
    for (size_t i = 0; i < k->n_made; i++) {
        const met *m = &k->met[k->made[i]];
        met *piece = met_find(k, m->p, m->n, 0);
        v->left[v->n_merge] = byte_letters(y, m->p, m->split);
        v->right[v->n_merge++] = byte_letters(y, m->p + m->split, m->n - (size_t)m->split);
        if (piece->rank == 0) vocab_put(y, byte_letters(y, m->p, m->n), PITH__NORMAL, 0);
        piece->rank = 1; /* it is there now */
    }
    v->bos = v->eos = v->n;
    v->end[v->n_end++] = v->eos;
    vocab_put(y, pith__str_of("<|endoftext|>"), PITH__CONTROL, 0);
}

static int make_vocab(learner *k, pith__vocab *v, pith__arena *a) {
    vocab_maker y = { v, a, 0 };
    size_t n = (size_t)k->n_piece + 1;
    memset(v, 0, sizeof *v);
    v->model = k->model;
    v->piece = pith__arena_new(a, n, sizeof *v->piece);
    v->score = pith__arena_new(a, n, sizeof *v->score);
    v->type = pith__arena_new(a, n, 1);
    v->left = pith__arena_new(a, k->n_made + 1, sizeof *v->left);
    v->right = pith__arena_new(a, k->n_made + 1, sizeof *v->right);
    y.failed = !v->piece || !v->score || !v->type || !v->left || !v->right;
    if (!y.failed && k->model == PITH__SPM) make_spm(&y, k);
    else if (!y.failed) make_bpe(&y, k);
    if (!y.failed) return PITH_OK;
    return pith__fail(k->err, PITH_EMEMORY, "no memory for a vocabulary of %d pieces", k->n_piece);
}

static void learner_free(learner *k) {
    for (size_t i = 0; i < k->n_met; i++) free(k->met[i].word);
    pith__arena_free(&k->arena);
    free(k->met), free(k->slot), free(k->heap), free(k->touched), free(k->made), free(k->letter);
}

PITH_SHARED int pith__learn_vocab(pith__vocab *v, pith__arena *a, const pith__texts *texts,
                                  pith__vocab_plan *plan, const pith__progress *progress, pith_error *err) {
    int model = plan->model, size = plan->size;
    learner k = { .model = model, .plan = plan, .progress = progress, .err = err };
    int least = model == PITH__SPM ? N_SPECIAL + N_BYTE + 1 : N_BYTE + 1;
    if (size < least)
        return pith__fail(err, PITH_EARG, "--vocab_size is %d, need %d or more: all bytes are in it", size,
                          least);
    plan->hangul_apart = 0;
    if (!met_rehash(&k)) count_texts(&k, texts);
    if (!k.code) tell(&k, "text to words: byte", 1, 2);
    if (!k.code && model == PITH__SPM) choose_letters(&k, size);
    if (model == PITH__BPE) k.n_piece = N_BYTE + 1;
    if (!k.code) begin_words(&k);
    if (!k.code) learn_joins(&k, size);
    if (!k.code && k.n_piece < size)
        k.code = pith__fail(err, PITH_EDATA, "%s: the text gives a vocabulary of %d pieces, not of %d "
                            "(--vocab_size)", texts->path[0], k.n_piece, size);
    if (!k.code) k.code = make_vocab(&k, v, a);
    if (!k.code) v->nfc = plan->nfc;
    learner_free(&k);
    return k.code;
}
