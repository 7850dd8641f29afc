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
        memset(mark + n, r->from[i] & ~PITH__EMPTY_ANSWER, got);
        if (got) mark[n] = r->from[i];
        n += got;
    }
    s->text = s->memory, s->mark = mark, s->n = n;
    return PITH_OK;
}

/* ---- where tokens are --------------------------------------------------------------------------------- */

/* Bytes of a text that are this piece, in which a space may stand for a U+2581; 0: it does not begin so. */
static size_t same_bytes(const char *p, size_t n, pith__str piece) {
    size_t i = 0;
    for (size_t k = 0; k < piece.n; k++) {
        if (i < n && p[i] == piece.p[k]) i++;
        else if (piece.p[k] == ' ' && n - i >= 3 && !memcmp(p + i, "\xe2\x96\x81", 3)) i += 3;
        else return 0;
    }
    return i;
}

/* The place of a token in what is left of a text: *skip bytes that became none, or went to the token before, then so many
 * of its own. A tokenizer may put a space before a text, drop white space beside a special token, or write what it does
 * not know as one token. */
static size_t find_token(const pith__vocab *v, const char *p, size_t n, pith_token t, pith__str piece, size_t *skip) {
    enum { NEAR = 64 };
    size_t size = same_bytes(p, n, piece);
    *skip = 0;
    if (size || !n) return size;
    if (t == v->unk) return pith__least(n, pith__utf8_length((const uint8_t *)p, n) > 0
                                               ? (size_t)pith__utf8_length((const uint8_t *)p, n) : 1);
    if (piece.n > 1 && *piece.p == ' ' && (size = same_bytes(p, n, (pith__str){ piece.p + 1, piece.n - 1 }))) return size;
    for (size_t at = 1; at < n && at <= NEAR && piece.n && !(piece.n == 1 && *piece.p == ' '); at++)
        if ((size = same_bytes(p + at, n - at, piece))) return *skip = at, size;
    return 0;
}

/* at[i]: where token i begins, at[n_token]: the end. 0: the tokens do not spell the text. */
static int place_tokens(const pith_model *m, const spelled_text *s, const pith_rendering *r, size_t *at) {
    size_t pos = 0, skip;
    for (int i = 0; i < r->n_token; i++) {
        pith__str piece = pith__tokenizer_piece(m->tokenizer, r->token[i]);
        size_t size = find_token(&m->store.vocab, s->text + pos, s->n - pos, r->token[i], piece, &skip);
        at[i] = pos + skip;
        pos += skip + size;
    }
    at[r->n_token] = s->n;
    return s->n - pos == pith__white_at(s->text + pos, s->n - pos);
}

/* ---- which of them count ------------------------------------------------------------------------------ */

static unsigned marks_of(const spelled_text *s, const size_t *at, int i) {
    unsigned marks = 0;
    for (size_t k = at[i]; k < at[i + 1]; k++) marks |= s->mark[k];
    return marks;
}

static int is_special(const pith__vocab *v, pith_token t) { return v->type[t] == PITH__CONTROL || v->type[t] == PITH__USER; }

static int ends_turn(const pith__turns *f, pith_token t) { return t == f->end || pith_is_end(f->m, t); }

/* A turn that begins with something else than its content, as a call of a tool: it begins where the prompt would have
 * ended, if that is what stands before it. */
static int turn_start(const pith__turns *f, const spelled_text *s, const size_t *at, const pith_token *t, int i) {
    int n = f->n_opening;
    size_t first = at[i];
    while (first < at[i + 1] && !(s->mark[first] & ANSWER)) first++;
    if (!n || first >= at[i + 1] || !(s->mark[first] & PITH_OF_ASIDE)) return i;
    for (int k = i; k >= n; k--) {
        if (!memcmp(t + k - n, f->asked.token + f->opening, (size_t)n * sizeof *t)) return k;
        if (marks_of(s, at, k - 1) & PITH_FROM_DATA) return i;
    }
    return i;
}

/* From a turn's first token of the assistant's to its last, and on to the one that ends it, if only the template's own
 * words are between, and no other special token. */
static void count_answers(const pith__turns *f, const spelled_text *s, const size_t *at, const pith_rendering *r,
                          uint8_t *counts) {
    int open = 0, blocked = 0, next = 0; /* next: the first token that does not count yet */
    for (int i = 0; i < r->n_token; i++) {
        unsigned marks = marks_of(s, at, i);
        if (marks & PITH__EMPTY_ANSWER) open = 1, blocked = 0, next = i;
        if (marks & ANSWER) {
            int from = open ? next : turn_start(f, s, at, r->token, i);
            memset(counts + from, 1, (size_t)(i + 1 - from));
            open = 1, blocked = 0, next = i + 1;
        } else if (open && marks & PITH_FROM_DATA) {
            open = 0;
        } else if (open && ends_turn(f, r->token[i])) {
            if (!blocked) memset(counts + next, 1, (size_t)(i + 1 - next));
            open = 0;
        } else if (open && is_special(&f->m->store.vocab, r->token[i])) {
            blocked = 1;
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

/* The token that ends the last turn of a short conversation: the first special one behind its content. */
static pith_token end_of_turn(const pith__turns *f, const pith_rendering *r) {
    spelled_text s = { 0 };
    pith_token end = -1;
    size_t *at = malloc(((size_t)r->n_token + 1) * sizeof *at);
    int i = r->n_token;
    if (at && !spell(&f->m->store.vocab, r, &s) && place_tokens(f->m, &s, r, at))
        for (; i > 0 && !(marks_of(&s, at, i - 1) & ANSWER); i--)
            if (is_special(&f->m->store.vocab, r->token[i - 1])) end = r->token[i - 1];
    free(s.memory);
    free(at);
    return i ? end : -1;
}

PITH_SHARED void pith__turns_open(pith__turns *f, const pith_model *m, const pith_template *form,
                                  const pith_conversation *like) {
    pith_conversation c = *like;
    pith_rendering r;
    *f = (pith__turns){ .m = m, .end = -1 };
    c.messages = "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]";
    c.no_prompt = 1;
    if (!form || pith_render(form, &c, &r, NULL)) return; /* what it refuses, it refuses again later */
    f->end = end_of_turn(f, &r);
    pith_rendering_free(&r);
    c.messages = "[{\"role\":\"user\",\"content\":\"a\"}]";
    if (pith_render(form, &c, &r, NULL)) return;
    c.no_prompt = 0;
    if (!pith_render(form, &c, &f->asked, NULL)) {
        int n = r.n_token, m_asked = f->asked.n_token;
        int begins = m_asked > n && (!n || !memcmp(r.token, f->asked.token, (size_t)n * sizeof *r.token));
        f->opening = n, f->n_opening = begins ? m_asked - n : 0;
    }
    pith_rendering_free(&r);
}

PITH_SHARED void pith__turns_close(pith__turns *f) { pith_rendering_free(&f->asked); }
