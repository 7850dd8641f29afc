/* pieces.c - merges by rank <-> scores: two ways to say which pieces are joined first.
 *
 * SentencePiece gives each piece a score, and joins the two neighbours whose piece has the best one (GGUF's "llama"
 * vocabularies). Hugging Face has the same vocabularies as a list of merges: the pairs that make a piece, the best piece
 * first. The list of a vocabulary with scores is known; scores of a list there are only where its pairs say the same. */
#include "formats.h"

#include <stdlib.h>
#include <string.h>

typedef struct {         /* ids of pieces by their text; of two with one text, the first */
    const pith__vocab *v;
    int32_t *slot;       /* (mask + 1) id + 1, 0: free */
    size_t mask;
} piece_table;

static int32_t *text_place(const piece_table *t, const char *p, size_t n) {
    for (size_t i = (size_t)pith__hash(1, p, n) & t->mask;; i = (i + 1) & t->mask) {
        const pith__str *s = t->slot[i] ? &t->v->piece[t->slot[i] - 1] : NULL;
        if (!s || (s->n == n && !memcmp(s->p, p, n))) return &t->slot[i];
    }
}

static int is_text(const pith__vocab *v, int i) { return v->type[i] == PITH__NORMAL || v->type[i] == PITH__USER; }

/* 0: no memory. */
static int table_pieces(piece_table *t, const pith__vocab *v, pith__arena *a) {
    for (t->mask = 63; t->mask < 2 * (size_t)v->n; t->mask = 2 * t->mask + 1) continue;
    t->v = v;
    t->slot = pith__arena_new(a, t->mask + 1, sizeof *t->slot);
    for (int i = 0; t->slot && i < v->n; i++) {
        int32_t *place = text_place(t, v->piece[i].p, v->piece[i].n);
        if (is_text(v, i) && v->piece[i].n && !*place) *place = i + 1;
    }
    return t->slot != NULL;
}

static int text_find(const piece_table *t, const char *p, size_t n) { return n ? *text_place(t, p, n) - 1 : -1; }

/* The next place after at where piece i is two pieces; 0: none. */
static size_t next_split(const piece_table *t, int i, size_t at, int *left, int *right) {
    pith__str s = t->v->piece[i];
    uint32_t c;
    while (at < s.n) {
        at += pith__utf8_read((const uint8_t *)s.p + at, s.n - at, &c);
        if (at >= s.n || (*left = text_find(t, s.p, at)) < 0) continue;
        if ((*right = text_find(t, s.p + at, s.n - at)) >= 0) return at;
    }
    return 0;
}

/* One character over and over: of such, Llama 2's vocabulary has many with one score. */
static int is_run(pith__str s) {
    uint32_t c;
    size_t n = s.n ? pith__utf8_read((const uint8_t *)s.p, s.n, &c) : 1;
    for (size_t i = n; i < s.n; i++)
        if (s.p[i] != s.p[i - n]) return 0;
    return s.n % n == 0;
}

/* ---- merges -> scores -------------------------------------------------------------------------------- */

static int made_by(const piece_table *t, int m, char *room) {
    const pith__vocab *v = t->v;
    memcpy(room, v->left[m].p, v->left[m].n);
    memcpy(room + v->left[m].n, v->right[m].p, v->right[m].n);
    return text_find(t, room, v->left[m].n + v->right[m].n);
}

/* Pairs of one piece stand together, and all that there are: then its place is its score. Runs of a character may share a
 * place: then each has pairs between those of others. 0: they do not. */
static int place_pieces(const piece_table *t, float *score, int *n_pair, int *end, char *room) {
    const pith__vocab *v = t->v;
    int left, right, place = 0, open = 0, runs = 0; /* pairs before open are of the place; runs 1: it is one of runs */
    for (int m = 0; m < v->n_merge; m++) {
        int made = made_by(t, m, room);
        if (made >= 0) end[made] = m + 1; /* else a control token, which no text makes */
    }
    for (int m = 0; m < v->n_merge; m++) {
        int made = made_by(t, m, room);
        if (made < 0 || n_pair[made]++) continue;
        int run = is_run(v->piece[made]);
        if (m < open && !(run && runs)) return 0;
        if (m >= open) place++, runs = run;
        score[made] = (float)-place;
        open = end[made] > open ? end[made] : open;
    }
    for (int i = 0; i < v->n; i++) {
        if (!is_text(v, i)) continue;
        int n = 0;
        for (size_t at = 0; (at = next_split(t, i, at, &left, &right)) > 0;) n++;
        if (n != n_pair[i]) return 0;
        if (!n) score[i] = (float)-(v->n_merge + 1); /* nothing makes it */
    }
    return place < 1 << 24; /* floats tell them apart */
}

PITH_SHARED int pith__scores_of(const pith__vocab *v, pith__arena *a, float **score) {
    size_t longest = 1, n = (size_t)v->n;
    piece_table t;
    for (int m = 0; m < v->n_merge; m++)
        if (v->left[m].n + v->right[m].n > longest) longest = v->left[m].n + v->right[m].n;
    int *n_pair = pith__arena_new(a, n, sizeof *n_pair), *end = pith__arena_new(a, n, sizeof *end);
    char *room = pith__arena_new(a, longest, 1);
    *score = pith__arena_new(a, n, sizeof **score);
    if (!n_pair || !end || !room || !*score || !table_pieces(&t, v, a)) return PITH_EMEMORY;
    return place_pieces(&t, *score, n_pair, end, room) ? PITH_OK : PITH_EARCH;
}

/* ---- scores -> merges -------------------------------------------------------------------------------- */

typedef struct {
    float score;
    int run, piece, left, right;
    size_t n_left, n_right; /* bytes */
} scored_pair;

/* The best piece first. Of two alike the longest parts of runs, of whatever run, as Hugging Face's converter has them;
 * others piece by piece. */
static int by_score(const void *a, const void *b) {
    const scored_pair *x = a, *y = b;
    if (x->score > y->score || x->score < y->score) return x->score < y->score ? 1 : -1;
    if (x->run != y->run) return y->run - x->run;
    if (!x->run && x->piece != y->piece) return x->piece - y->piece;
    if (x->n_left != y->n_left) return x->n_left < y->n_left ? 1 : -1;
    if (x->n_right != y->n_right) return x->n_right < y->n_right ? 1 : -1;
    return x->piece - y->piece;
}

PITH_SHARED int pith__merges_of(const pith__vocab *v, pith__arena *a, int **pair, size_t *n) {
    piece_table t;
    int left, right;
    size_t most = 0, k = 0;
    if (!table_pieces(&t, v, a)) return PITH_EMEMORY;
    for (int i = 0; i < v->n; i++)
        for (size_t at = 0; is_text(v, i) && (at = next_split(&t, i, at, &left, &right)) > 0;) most++;
    scored_pair *all = malloc((most + 1) * sizeof *all);
    *pair = pith__arena_new(a, most, 2 * sizeof **pair);
    for (int i = 0; i < v->n && all && *pair; i++)
        for (size_t at = 0; is_text(v, i) && (at = next_split(&t, i, at, &left, &right)) > 0;)
            all[k++] = (scored_pair){ v->score ? v->score[i] : 0, is_run(v->piece[i]), i, left, right, v->piece[left].n,
                                      v->piece[right].n };
    if (k) qsort(all, k, sizeof *all, by_score);
    for (size_t i = 0; i < k; i++) (*pair)[2 * i] = all[i].left, (*pair)[2 * i + 1] = all[i].right;
    int code = all && *pair ? PITH_OK : PITH_EMEMORY;
    free(all);
    *n = k;
    return code;
}
