/* frame.c - a text or a pair of texts with the special tokens around it, as an encoder reads it.
 *
 * BERT reads "[CLS] text [SEP]", and of a pair "[CLS] a [SEP] b [SEP]", where a token type says which of the two a token
 * is of. What goes where is said by the post-processor of a tokenizer.json (formats/postprocess.c), or by GGUF's
 * add_bos_token, add_eos_token and add_sep_token. What is too long is cut to a limit, and the special tokens stay:
 * a text loses its end; of a pair the longer text loses its end until both fit (longest_first of the library
 * "tokenizers", also in which of two equally long ones is one token longer). */
#include "internal.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* What stands where around one text or two: fills place, and returns how many. */
static int frame_places(const pith__vocab *v, int pair, pith__place *place) {
    int n = 0;
    if (pair && v->n_pair) {
        memcpy(place, v->pair, (size_t)v->n_pair * sizeof *place);
        return v->n_pair;
    }
    for (uint8_t text = 0; text <= pair; text++) { /* each as it is alone */
        if (v->add_bos && v->bos >= 0) place[n++] = (pith__place){ v->bos, text };
        place[n++] = (pith__place){ text ? PITH__SECOND_TEXT : PITH__FIRST_TEXT, text };
        if (v->add_eos && v->eos >= 0) place[n++] = (pith__place){ v->eos, text };
    }
    return n;
}

static int frame_room(pith__framed *f, size_t room) {
    if (room <= (size_t)f->room) return PITH_OK;
    if (room > INT_MAX) return PITH_EARG;
    pith_token *token = realloc(f->token, room * sizeof *token);
    if (token) f->token = token;
    uint8_t *type = realloc(f->type, room);
    if (type) f->type = type;
    if (!token || !type) return PITH_EMEMORY;
    f->room = (int)room;
    return PITH_OK;
}

/* The tokens of a text alone, from f->token[at] on; *n: how many. */
static int frame_text(const pith__tokenizer *k, pith__str s, unsigned flags, pith__framed *f, size_t at, int *n) {
    int code = frame_room(f, at + s.n + 3); /* mostly enough: a token is a byte or more */
    while (!code) {
        int room = f->room - (int)at;
        *n = pith__tokenizer_encode(k, s.p, s.n, flags & PITH_SPECIAL, f->token + at, room);
        if (*n >= 0 && *n <= room) return PITH_OK;
        code = *n < 0 ? *n : frame_room(f, at + (size_t)*n);
    }
    return code;
}

/* How many of n[0] and n[1] tokens remain, where there is room for so many. */
static void cut_longest(int n[2], int room) {
    int longer = n[0] > n[1] ? 0 : 1, shorter = n[1 - longer];
    if (n[0] + n[1] <= room) return;
    if (2 * (int64_t)shorter <= room) {
        n[longer] = room - shorter;
        return;
    }
    n[1 - longer] = room / 2;
    n[longer] = room - room / 2;
}

PITH_SHARED int pith__frame(const pith__tokenizer *k, const pith__to_frame *in, pith__framed *f) {
    pith__place place[PITH__PLACES];
    int pair = in->second.p != NULL, n_place = frame_places(pith__tokenizer_vocab(k), pair, place), n[2] = { 0, 0 };
    size_t at = PITH__PLACES; /* texts stand behind where they go to */
    f->n = f->cut = 0;
    int code = frame_text(k, in->first, in->flags, f, at, &n[0]);
    if (!code && pair) code = frame_text(k, in->second, in->flags, f, at + (size_t)n[0], &n[1]);
    if (code) return code;
    const int whole[2] = { n[0], n[1] };
    int room = in->limit > 0 ? in->limit : INT_MAX;
    for (int i = 0; i < n_place; i++) room -= place[i].id >= 0 && room > 0;
    cut_longest(n, room);
    f->cut = whole[0] - n[0] + whole[1] - n[1];
    for (int i = 0; i < n_place; i++) {
        int text = place[i].id == PITH__SECOND_TEXT, count = place[i].id >= 0 ? 1 : n[text];
        if (place[i].id >= 0) f->token[f->n] = place[i].id;
        else memmove(f->token + f->n, f->token + at + (text ? whole[0] : 0), (size_t)count * sizeof *f->token);
        memset(f->type + f->n, place[i].type, (size_t)count);
        f->n += count;
    }
    return PITH_OK;
}

PITH_SHARED void pith__framed_free(pith__framed *f) {
    free(f->token);
    free(f->type);
    *f = (pith__framed){ 0 };
}
