/* made_vocab.h - what the tests of the tokenizer share: made-up vocabularies, and the ids that a text must have. */
#ifndef MADE_VOCAB_H
#define MADE_VOCAB_H
#include "../internal.h"
#include "test.h"

#include <stdlib.h>

enum { MOST = 400 };

typedef struct {
    pith__vocab v;
    pith__str piece[MOST], left[MOST], right[MOST];
    float score[MOST];
    uint8_t type[MOST], added[MOST];
} made;

static inline void made_start(made *m, int model, int spelling) {
    memset(m, 0, sizeof *m);
    m->v = (pith__vocab){ .model = model, .spelling = spelling, .piece = m->piece,
                          .score = m->score, .type = m->type, .added = m->added, .left = m->left,
                          .right = m->right, .bos = -1, .eos = -1, .unk = -1 };
}

static inline int add_view(made *m, pith__str s, float score, int type) {
    m->piece[m->v.n] = s;
    m->score[m->v.n] = score;
    m->type[m->v.n] = (uint8_t)type;
    return m->v.n++;
}

static inline int add(made *m, const char *s, float score) {
    return add_view(m, pith__str_of(s), score, PITH__NORMAL);
}

static inline void add_merge(made *m, const char *left, const char *right) {
    m->left[m->v.n_merge] = pith__str_of(left);
    m->right[m->v.n_merge++] = pith__str_of(right);
}

/* Encode and compare with a list of ids that ends with -1. */
static inline void expect(const char *file, int line, const pith__tokenizer *k, const char *text,
                   size_t len, unsigned flags, const int *want) {
    pith_token got[256];
    int n = pith__tokenizer_encode(k, text, len, flags, got, 256), bad = 0, i = 0;
    for (; want[i] >= 0; i++) bad |= i >= n || got[i] != want[i];
    if (!bad && i == n) return;
    t_bad++;
    printf("# %s:%d: '%.*s' is", file, line, (int)len, text);
    for (int j = 0; j < n; j++) printf(" %d", got[j]);
    printf(", want");
    for (int j = 0; j < i; j++) printf(" %d", want[j]);
    printf("\n");
}
#define EXPECT(k, text, flags, ...) \
    expect(__FILE__, __LINE__, k, text, sizeof text - 1, flags, (const int[]){ __VA_ARGS__ })

#define NEW(k, m) \
    pith_error err = { 0 }; \
    pith__tokenizer *k = pith__tokenizer_new(&(m).v, &err); \
    if (!k) { FAIL("%s", err.text); return; }

/* unk, bos, eos, then 256 byte pieces; returns the next id, 259 */
static inline int start_llama(made *m, int spelling) {
    static char byte[256][8];
    made_start(m, PITH__SPM, spelling);
    m->v.unk = add_view(m, pith__str_of("<unk>"), 0, PITH__UNKNOWN);
    m->v.bos = add_view(m, pith__str_of("<s>"), 0, PITH__CONTROL);
    m->v.eos = add_view(m, pith__str_of("</s>"), 0, PITH__CONTROL);
    for (int c = 0; c < 256; c++) {
        snprintf(byte[c], sizeof byte[c], "<0x%02X>", (unsigned)c);
        add_view(m, pith__str_of(byte[c]), 0, PITH__BYTE);
    }
    m->v.add_bos = m->v.add_eos = m->v.add_space = m->v.byte_fallback = 1;
    return m->v.n;
}

/* The 256 letters, by byte: id c is byte c. */
static inline void start_letters(made *m, const char *pre) {
    static char letter[256][3];
    made_start(m, PITH__BPE, PITH__BYTE_LETTERS);
    m->v.pre = pith__str_of(pre);
    int extra = 256;
    for (int c = 0; c < 256; c++) {
        int prints = (c > 32 && c < 127) || (c > 160 && c != 173);
        int u = prints ? c : extra++;
        if (u < 128) letter[c][0] = (char)u, letter[c][1] = 0;
        else letter[c][0] = (char)(0xc0 | u >> 6), letter[c][1] = (char)(0x80 | (u & 63));
        add(m, letter[c], 0);
    }
}

#endif
