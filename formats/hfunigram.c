/* hfunigram.c - the parts of a tokenizer.json that belong to a Unigram model: its pieces with their logarithms of
 * probabilities, the steps that text goes through before it is cut, and what stands between words.
 *
 * XLM-R, multilingual E5, BGE-M3, T5 and the rerankers of BGE have such files. A conversion of before 2026 has the character
 * map that SentencePiece was trained with; the newer one of XLM-R has NFKC in its place. */
#include "formats.h"

#include <string.h>

/* ---- the model ------------------------------------------------------------------------------- */

/* ["piece", -8.25] */
static void read_piece(pith__vocab_reading *r, pith__json item, int id) {
    pith__json it = item, text, number, more;
    pith__vocab *v = r->v;
    double score = 0;
    if (pith__json_type(it) != '[' || !pith__json_next(&it, NULL, &text) || !pith__json_next(&it, NULL, &number) ||
        pith__json_next(&it, NULL, &more) || !pith__json_float(number, &score)) {
        pith__vocab_wrong(r, item, PITH_EFORMAT, "an item of model.vocab", "a piece and a number");
        return;
    }
    pith__str s = pith__vocab_string(r, text, "model.vocab");
    int byte = v->byte_fallback && s.n == 6 && !memcmp(s.p, "<0x", 3);
    pith__vocab_put(r, id, s, byte ? PITH__BYTE : PITH__NORMAL);
    v->log_prob[id] = score;
    v->score[id] = (float)score;
}

PITH_SHARED void pith__vocab_unigram(pith__vocab_reading *r, pith__json model) {
    pith__vocab *v = r->v;
    pith__arena *a = &r->f->s->arena;
    size_t n = (size_t)r->f->n_vocab;
    pith__json list = pith__json_get(model, "vocab"), unk = pith__json_get(model, "unk_id"), item;
    v->model = PITH__UNIGRAM;
    v->fuse_unk = 1;
    v->byte_fallback = pith__vocab_true(r, model, "byte_fallback", 0);
    v->piece = pith__arena_new(a, n, sizeof *v->piece);
    v->type = pith__arena_new(a, n, sizeof *v->type);
    v->score = pith__arena_new(a, n, sizeof *v->score);
    v->log_prob = pith__arena_new(a, n, sizeof *v->log_prob);
    if (!v->piece || !v->type || !v->score || !v->log_prob) {
        pith__vocab_memory(r);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        v->piece[i].p = "";
        v->type[i] = PITH__UNUSED;
    }
    if (pith__json_type(list) != '[' || pith__json_count(list) > n)
        pith__vocab_wrong(r, list, PITH_EFORMAT, "model.vocab", "an array of pieces, not more than vocab_size");
    for (int i = 0; !r->code && pith__json_next(&list, NULL, &item); i++) read_piece(r, item, i);
    char type = pith__json_type(unk);
    if (!r->code && type && type != 'n') v->unk = pith__vocab_id(r, unk, "model.unk_id");
}

/* ---- base64 ---------------------------------------------------------------------------------- */

static int base64_digit(char c) {
    return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : c >= '0' && c <= '9' ? c - '0' + 52
         : c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* RFC 4648: four digits are three bytes, the last of them perhaps "=". 0: it is none. */
static int base64_bytes(pith__str s, uint8_t *out, size_t *n) {
    *n = 0;
    if (s.n % 4) return 0;
    for (size_t i = 0; i < s.n; i += 4) {
        int end = i + 4 == s.n, gone = end && s.p[i + 3] == '=' ? (s.p[i + 2] == '=') + 1 : 0;
        uint32_t bits = 0;
        for (int k = 0; k < 4 - gone; k++) {
            int digit = base64_digit(s.p[i + (size_t)k]);
            if (digit < 0) return 0;
            bits |= (uint32_t)digit << (18 - 6 * k);
        }
        if (bits & ((1u << 8 * gone) - 1)) return 0;
        for (int k = 0; k < 3 - gone; k++) out[(*n)++] = (uint8_t)(bits >> (16 - 8 * k));
    }
    return 1;
}

/* ---- the normalizer -------------------------------------------------------------------------- */

static pith__rewrite *add_step(pith__vocab_reading *r, int kind) {
    enum { MOST = 32 };
    pith__vocab *v = r->v;
    if (!v->rewrite) v->rewrite = pith__arena_new(&r->f->s->arena, MOST, sizeof *v->rewrite);
    if (!v->rewrite) pith__vocab_memory(r);
    else if (v->n_rewrite == MOST && !r->code)
        r->code = pith__fail(r->f->err, PITH_EARCH, "%s: normalizer has more than %d steps", r->path, (int)MOST);
    if (r->code) return NULL;
    v->rewrite[v->n_rewrite].kind = kind;
    return &v->rewrite[v->n_rewrite++];
}

static void read_map(pith__vocab_reading *r, pith__json at) {
    pith__json j = pith__json_get(at, "precompiled_charsmap");
    if (pith__json_type(j) == 'n') return; /* SentencePiece's identity */
    pith__str s = pith__vocab_string(r, j, "precompiled_charsmap");
    uint8_t *p = pith__arena_new(&r->f->s->arena, s.n / 4 + 1, 3);
    pith__rewrite *step = add_step(r, PITH__MAP_GRAPHEMES);
    if (!p) pith__vocab_memory(r);
    if (!p || !step) return;
    step->find.p = (const char *)p;
    if (!base64_bytes(s, p, &step->find.n))
        r->code = pith__fail(r->f->err, PITH_EFORMAT, "%s: precompiled_charsmap is %zu letters, need base64", r->path, s.n);
}

static void read_replace(pith__vocab_reading *r, pith__json at) {
    pith__json pattern = pith__json_get(at, "pattern"), regex = pith__json_get(pattern, "Regex");
    int runs = pith__json_is(regex, " {2,}");
    if (pith__json_type(regex) && !runs) pith__vocab_wrong(r, regex, PITH_EARCH, "Regex of a Replace", "\" {2,}\"");
    pith__str find = runs ? (pith__str){ "", 0 } : pith__vocab_string(r, pith__json_get(pattern, "String"), "pattern of a Replace");
    pith__str put = pith__vocab_string(r, pith__json_get(at, "content"), "content of a Replace");
    pith__rewrite *step = add_step(r, runs ? PITH__SQUEEZE : PITH__REPLACE);
    if (step) step->find = find, step->put = put;
    if (pith__str_is(find, " ") && pith__str_is(put, PITH__METASPACE_UTF8)) r->metaspace = r->v->late_spaces = 1;
}

PITH_SHARED void pith__vocab_rewrite(pith__vocab_reading *r, pith__json at) {
    pith__rewrite *step;
    if (pith__vocab_step_is(at, "Precompiled")) {
        read_map(r, at);
    } else if (pith__vocab_step_is(at, "Replace")) {
        read_replace(r, at);
    } else if (pith__vocab_step_is(at, "NFC")) {
        add_step(r, PITH__TO_NFC);
    } else if (pith__vocab_step_is(at, "NFKC")) {
        add_step(r, PITH__TO_NFKC);
    } else if (pith__vocab_step_is(at, "Prepend")) {
        pith__str put = pith__vocab_string(r, pith__json_get(at, "prepend"), "prepend");
        if ((step = add_step(r, PITH__PREPEND))) step->put = put;
    } else if (pith__vocab_step_is(at, "Strip")) {
        if (pith__vocab_true(r, at, "strip_left", 1)) add_step(r, PITH__STRIP_LEFT);
        if (pith__vocab_true(r, at, "strip_right", 1)) add_step(r, PITH__STRIP_RIGHT);
    } else {
        pith__vocab_wrong(r, at, PITH_EARCH, "normalizer", "Precompiled, NFC, NFKC, Replace, Prepend or Strip");
    }
}
