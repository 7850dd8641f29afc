/* fuzz_tokenizer.c - a vocabulary and a text made from the fuzzer's bytes: no crash, the same count
 * for any capacity, and text back from tokens where all bytes are pieces (make fuzz). */
#include "../internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 600 };

static pith__str piece[MOST], left[MOST], right[MOST];
static float score[MOST];
static uint8_t type[MOST], added[MOST];
static char letter[256][8];

static void check(int ok, const char *what) {
    if (ok) return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static pith__str take_piece(pith__cursor *c) {
    size_t n = pith__u8(c) % 9;
    const uint8_t *p = pith__take(c, n);
    return (pith__str){ p ? (const char *)p : "", p ? n : 0 };
}

/* Every byte as a piece: <0x0A>, or GPT-2's letter. */
static void add_bytes(pith__vocab *v) {
    int extra = 256;
    for (int c = 0; c < 256; c++) {
        int prints = (c > 32 && c < 127) || (c > 160 && c != 173), u = prints ? c : extra++;
        if (v->spelling != PITH__BYTE_LETTERS)
            snprintf(letter[c], sizeof letter[c], "<0x%02X>", (unsigned)c);
        else if (u < 128) letter[c][0] = (char)u, letter[c][1] = 0;
        else snprintf(letter[c], sizeof letter[c], "%c%c", 0xc0 | u >> 6, 0x80 | (u & 63));
        piece[v->n] = pith__str_of(letter[c]);
        type[v->n++] = v->spelling == PITH__BYTE_LETTERS ? PITH__NORMAL : PITH__BYTE;
    }
}

static void make_vocab(pith__vocab *v, pith__cursor *c) {
    static const char *const pre[] = { "gpt-2", "llama-bpe", "qwen2", "tekken", "gpt-4o", "falcon",
                                       "default", "smollm", "deepseek-llm", "deepseek-coder",
                                       "deepseek-v3" };
    unsigned how = pith__u16(c), more = pith__u8(c);
    *v = (pith__vocab){ .model = how & 1 ? PITH__SPM : PITH__BPE, .spelling = (how >> 1) % 3,
                        .piece = piece, .score = score, .type = type, .added = added, .left = left,
                        .right = right, .pre = pith__str_of(pre[how % 11]),
                        .unk = (int)(how >> 3 & 3) - 1, .bos = (int)(how >> 5 & 3) - 1,
                        .eos = (int)(how >> 7 & 3) - 1, .add_bos = 1, .add_eos = 1,
                        .add_space = how >> 9 & 3, .ignore_merges = how >> 11 & 1,
                        .byte_fallback = how >> 12 & 1, .nfc = how >> 13 & 1,
                        .late_spaces = more & 1, .split_words = more >> 1 & 1, .fuse_unk = more >> 2 & 1 };
    memset(piece, 0, sizeof piece);
    memset(score, 0, sizeof score);
    memset(type, PITH__NORMAL, sizeof type);
    memset(added, 0, sizeof added);
    if (how >> 14 & 1) add_bytes(v);
    for (int n = pith__u8(c); n > 0 && !c->bad; n--, v->n++) {
        unsigned what = pith__u8(c);
        type[v->n] = (uint8_t)(what % 16 > 9 ? PITH__NORMAL : what % 6 + 1);
        added[v->n] = more & 8 ? pith__u8(c) & 31 : (uint8_t)(what >> 6);
        score[v->n] = what & 32 ? pith__f32(c) : -(float)pith__u8(c);
        piece[v->n] = take_piece(c);
    }
    for (int n = pith__u8(c); n > 0 && v->n && !c->bad; n--, v->n_merge++) {
        left[v->n_merge] = piece[pith__u16(c) % v->n];
        right[v->n_merge] = piece[pith__u16(c) % v->n];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    pith__cursor c = { data, size, 0 };
    pith__vocab v;
    pith_error err;
    make_vocab(&v, &c);
    pith__tokenizer *k = pith__tokenizer_new(&v, &err);
    if (!k && v.n_merge) { /* most likely one names no piece */
        v.n_merge = 0;
        k = pith__tokenizer_new(&v, &err);
    }
    if (!k) return 0;
    const char *text = (const char *)c.p;
    unsigned flags = pith__u8(&c);
    size_t len = c.left;
    text = (const char *)c.p;
    int n = pith__tokenizer_encode(k, text, len, flags, NULL, 0), some = n / 2;
    check(n >= 0, "encode failed");
    pith_token *t = malloc((size_t)n * sizeof *t + 1), *u = malloc((size_t)n * sizeof *t + 1);
    if (t && u) {
        check(pith__tokenizer_encode(k, text, len, flags, t, n) == n, "the count changed");
        check(pith__tokenizer_encode(k, text, len, flags, u, some) == n, "the count changed");
        check(memcmp(t, u, (size_t)some * sizeof *t) == 0, "tokens changed");
        for (int i = 0; i < n; i++) check(t[i] >= 0 && t[i] < v.n, "no such token");
        size_t at = 0;
        int letters = v.model == PITH__BPE && v.spelling == PITH__BYTE_LETTERS;
        int exact = letters && piece[0].p == letter[0] && !v.nfc && !flags;
        for (int i = 0; i < n && exact; i++) {
            if (added[t[i]] & (PITH__LSTRIP | PITH__RSTRIP)) break; /* takes white space with it */
            pith__str s = pith__tokenizer_piece(k, t[i]);
            check(s.n <= len - at && memcmp(s.p, text + at, s.n) == 0, "the text is not the same");
            at += s.n;
            if (i + 1 == n) check(at == len, "the text is shorter");
        }
    }
    free(t);
    free(u);
    pith_utf8_tail(text, len);
    pith__tokenizer_free(k);
    return 0;
}
