/* answers.c - which tokens of a rendered conversation are the assistant's: what it is to learn.
 *
 * pith_render says of each byte where it is from, and which token came of it is found by laying the tokens' pieces along
 * the text. Where the template marks what is generated, those bytes count, and a token counts that has one of them. Else
 * the contents of the assistant's messages count, up to the token that ends the turn, which counts too: wherever the
 * template put them, and without a search for any text. */
#include "train.h"

#include <stdlib.h>
#include <string.h>

enum { ANSWER = PITH_OF_CONTENT | PITH_OF_ASIDE };

typedef struct {         /* a text as its tokens spell it: in normal form C, where the vocabulary wants that */
    const char *text;
    const uint8_t *mark; /* (n) */
    size_t n;
    char *memory;        /* or NULL */
} spelled_text;

/* Normal form, one run of equal marks after the other. */
static int spell(const pith__vocab *v, const pith_rendering *r, spelled_text *s) {
    *s = (spelled_text){ r->text, r->from, r->n, NULL };
    if (!v->nfc || !pith__may_need_nfc(r->text, r->n)) return PITH_OK;
    s->memory = r->n < SIZE_MAX / 8 ? malloc(6 * r->n + 1) : NULL;
    if (!s->memory) return PITH_EMEMORY;
    uint8_t *mark = (uint8_t *)s->memory + 3 * r->n;
    size_t n = 0;
    for (size_t i = 0, end; i < r->n; i = end) {
        for (end = i + 1; end < r->n && r->from[end] == r->from[i];) end++;
        size_t got = pith__nfc(r->text + i, end - i, s->memory + n);
        memset(mark + n, r->from[i], got);
        n += got;
    }
    s->text = s->memory, s->mark = mark, s->n = n;
    return PITH_OK;
}

/* ---- where tokens are --------------------------------------------------------------------------------- */

typedef struct {
    const spelled_text *s;
    size_t at;           /* bytes of the text that tokens were found for */
    size_t from;         /* where the last byte was found */
    int n_meta;          /* bytes of a U+2581 that were just seen */
} placing;

/* The next byte of a token. What a tokenizer does to a text: a space may be put before it, or stand for U+2581 or be
 * spelled as that; white space beside a special token and what the vocabulary cannot write may be gone. 0: not found. */
static int place_byte(placing *w, char c) {
    enum { NEAR = 64 };
    static const char meta[] = "\xe2\x96\x81";
    const char *p = w->s->text + w->at;
    size_t left = w->s->n - w->at, skip = 0;
    w->from = w->at;
    if (left && *p == c && !w->n_meta) return w->at++, 1;
    if (c == ' ') return w->at += left >= 3 && !memcmp(p, meta, 3) ? 3 : 0, 1;
    if (c == meta[w->n_meta]) {
        if (++w->n_meta == 3) w->n_meta = 0, w->at += left && *p == ' ';
        return 1;
    }
    w->n_meta = 0;
    while (skip < left && p[skip] != c) skip++;
    if (skip == left || skip > NEAR + pith__white_at(p, left)) return 0;
    w->from += skip;
    w->at += skip + 1;
    return 1;
}

/* at[i]: where token i begins, at[n_token]: the end. 0: the tokens do not spell the text. */
static int place_tokens(const pith_model *m, const spelled_text *s, const pith_rendering *r, size_t *at) {
    placing w = { .s = s };
    for (int i = 0; i < r->n_token; i++) {
        pith__str piece = pith__tokenizer_piece(m->tokenizer, r->token[i]);
        at[i] = w.at;
        if (r->token[i] == m->store.vocab.unk && w.at < s->n) { /* some character that no piece has */
            for (w.at++; w.at < s->n && (s->text[w.at] & 0xc0) == 0x80;) w.at++;
            continue;
        }
        for (size_t k = 0; k < piece.n; k++) {
            if (!place_byte(&w, piece.p[k])) return 0;
            if (k == 0) at[i] = w.from;
        }
    }
    at[r->n_token] = s->n;
    return s->n - w.at == pith__white_at(s->text + w.at, s->n - w.at);
}

/* ---- which of them count ------------------------------------------------------------------------------ */

static unsigned marks_of(const spelled_text *s, const size_t *at, int i) {
    unsigned marks = 0;
    for (size_t k = at[i]; k < at[i + 1]; k++) marks |= s->mark[k];
    return marks;
}

/* A token with a name, as those that end turns have. Gemma's blanks and line breaks are added tokens too. */
static int is_special(const pith_model *m, pith_token t) {
    pith__str piece = pith__tokenizer_piece(m->tokenizer, t);
    uint8_t type = m->store.vocab.type[t];
    return type == PITH__CONTROL || (type == PITH__USER && pith__white_at(piece.p, piece.n) < piece.n);
}

static int ends_turn(const pith__turns *f, pith_token t) { return t == f->end[0] || t == f->end[1] || pith_is_end(f->m, t); }

/* A turn that begins with something else than its content, as a call of a tool, or within thoughts that the template
 * opened: it begins where the prompt would have ended, if that is what stands before it. */
static int turn_start(const pith__turns *f, const spelled_text *s, const size_t *at, const pith_token *t, int i) {
    int n = f->n_opening;
    size_t first = at[i];
    while (first < at[i + 1] && !(s->mark[first] & ANSWER)) first++;
    pith__thoughts thoughts;
    pith__thoughts_begin(&thoughts, s->text, at[i]);
    if (!n || first >= at[i + 1] || !(s->mark[first] & PITH_OF_ASIDE || pith__thoughts_close(&thoughts))) return i;
    for (int k = i; k >= n; k--) {
        if (!memcmp(t + k - n, f->asked.token + f->opening, (size_t)n * sizeof *t)) return k;
        if (marks_of(s, at, k - 1) & PITH_FROM_DATA) return i;
    }
    return i;
}

/* From a turn's first token of the assistant's to its last, and on to the one that ends it, if only the template's own
 * words are between. */
static void count_answers(const pith__turns *f, const spelled_text *s, const size_t *at, const pith_rendering *r,
                          uint8_t *counts) {
    int open = 0, next = 0; /* next: the first token that does not count yet */
    for (int i = 0; i < r->n_token; i++) {
        unsigned marks = marks_of(s, at, i);
        if (marks & PITH__EMPTY_ANSWER) open = 1, next = i;
        if (marks & ANSWER) {
            int from = open ? next : turn_start(f, s, at, r->token, i);
            memset(counts + from, 1, (size_t)(i + 1 - from));
            open = 1, next = i + 1;
        } else if (open && marks & PITH_FROM_DATA) {
            open = 0;
        } else if (open && ends_turn(f, r->token[i])) {
            memset(counts + next, 1, (size_t)(i + 1 - next));
            open = 0;
        }
    }
}

/* 1: behind the assistant's last words no token that ends a turn counts. */
static int is_endless(const pith__turns *f, const spelled_text *s, const size_t *at, const pith_rendering *r,
                      const uint8_t *counts) {
    int ended = 1;
    for (int i = 0; i < r->n_token; i++) {
        if (marks_of(s, at, i) & (ANSWER | PITH__EMPTY_ANSWER)) ended = 0;
        if (counts[i] && ends_turn(f, r->token[i])) ended = 1;
    }
    return !ended;
}

static int place_failed(const pith__turns *f, int code, pith_error *err) {
    return code ? pith__fail(err, code, "no memory for a conversation")
                : pith__fail(err, PITH_EDATA, "%s: its tokens do not spell a conversation, so none can be chosen to learn",
                             f->m->store.path);
}

PITH_SHARED int pith__turns_count(const pith__turns *f, const pith_rendering *r, int all, uint8_t *counts, int *endless,
                                  pith_error *err) {
    spelled_text s = { 0 };
    size_t *at = malloc(((size_t)r->n_token + 1) * sizeof *at);
    int code = at ? spell(&f->m->store.vocab, r, &s) : PITH_EMEMORY, placed = 0, marked = 0;
    if (!code) placed = place_tokens(f->m, &s, r, at);
    memset(counts, all, (size_t)r->n_token);
    for (size_t i = 0; i < s.n; i++) marked |= s.mark[i] & PITH_OF_MODEL;
    for (int i = 0; placed && marked && !all && i < r->n_token; i++) counts[i] = (marks_of(&s, at, i) & PITH_OF_MODEL) != 0;
    if (placed && !marked && !all) count_answers(f, &s, at, r, counts);
    *endless = placed && is_endless(f, &s, at, r, counts);
    free(s.memory);
    free(at);
    return placed ? PITH_OK : place_failed(f, code, err);
}

PITH_SHARED int pith__turns_data_from(const pith__turns *f, const pith_rendering *r, int from, int *has, pith_error *err) {
    spelled_text s = { 0 };
    size_t *at = malloc(((size_t)r->n_token + 1) * sizeof *at);
    int code = at ? spell(&f->m->store.vocab, r, &s) : PITH_EMEMORY, placed = 0;
    if (!code) placed = place_tokens(f->m, &s, r, at);
    *has = 0;
    for (int i = from; placed && i < r->n_token; i++) *has |= (marks_of(&s, at, i) & PITH_FROM_DATA) != 0;
    free(s.memory);
    free(at);
    return placed ? PITH_OK : place_failed(f, code, err);
}

/* ---- what a template puts around a turn ----------------------------------------------------------------- */

/* The tokens behind the last words of the assistant's, up to the next that are somebody's: t[*from .. result). */
static int tail_of(const pith__turns *f, const pith_rendering *r, int *from) {
    spelled_text s = { 0 };
    size_t *at = malloc(((size_t)r->n_token + 1) * sizeof *at);
    int end = r->n_token;
    *from = r->n_token;
    if (at && !spell(&f->m->store.vocab, r, &s) && place_tokens(f->m, &s, r, at)) {
        while (*from > 0 && !(marks_of(&s, at, *from - 1) & ANSWER)) --*from;
        for (int i = r->n_token; i-- > *from;)
            if (marks_of(&s, at, i) & PITH_FROM_DATA) end = i;
    }
    free(s.memory);
    free(at);
    return end;
}

/* What begins an answer: what there is more of a conversation if one is asked for. */
static void find_opening(pith__turns *f, const pith_template *form, pith_conversation *c) {
    pith_rendering r;
    c->messages = "[{\"role\":\"user\",\"content\":\"a\"}]";
    c->no_prompt = 1;
    if (pith_render(form, c, &r, NULL)) return;
    c->no_prompt = 0;
    int n = r.n_token;
    if (!pith_render(form, c, &f->asked, NULL) && f->asked.n_token > n &&
        (!n || !memcmp(r.token, f->asked.token, (size_t)n * sizeof *r.token))) {
        f->opening = n;
        f->n_opening = f->asked.n_token - n;
    }
    pith_rendering_free(&r);
}

static int in_opening(const pith__turns *f, pith_token t) {
    for (int i = 0; i < f->n_opening; i++)
        if (f->asked.token[f->opening + i] == t) return 1;
    return 0;
}

/* What ends a turn stands behind the last answer of a conversation, and also behind one that others follow; what only one
 * of them has there ends the conversation, or begins the next turn. The last special token of it is the one. Where the two
 * have nothing in common, as gpt-oss's, the first special token of each ends a turn, if it does not begin an answer too. */
static void find_end(pith__turns *f, const pith_template *form, pith_conversation *c) {
    static const char *const messages[] = {
        "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]",
        "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"},{\"role\":\"user\",\"content\":\"c\"}]"
    };
    pith_rendering r[2] = { { 0 }, { 0 } };
    int from[2] = { 0, 0 }, end[2] = { 0, 0 }, n = 0;
    c->no_prompt = 1;
    for (int k = 0; k < 2; k++) {
        c->messages = messages[k];
        if (!pith_render(form, c, &r[k], NULL)) end[k] = tail_of(f, &r[k], &from[k]); /* else: refused again later */
    }
    for (; from[0] + n < end[0] && from[1] + n < end[1] && r[0].token[from[0] + n] == r[1].token[from[1] + n]; n++)
        if (is_special(f->m, r[0].token[from[0] + n])) f->end[0] = r[0].token[from[0] + n];
    for (int k = 0, common = f->end[0] >= 0; k < 2 && !common; k++)
        for (int i = end[k]; i-- > from[k];)
            if (is_special(f->m, r[k].token[i])) f->end[k] = in_opening(f, r[k].token[i]) ? -1 : r[k].token[i];
    pith_rendering_free(&r[0]);
    pith_rendering_free(&r[1]);
}

PITH_SHARED void pith__turns_open(pith__turns *f, const pith_model *m, const pith_template *form,
                                  const pith_conversation *like) {
    pith_conversation c = *like;
    *f = (pith__turns){ .m = m, .end = { -1, -1 } };
    if (!form) return;
    find_opening(f, form, &c);
    find_end(f, form, &c);
}

PITH_SHARED void pith__turns_close(pith__turns *f) { pith_rendering_free(&f->asked); }
