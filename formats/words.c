/* words.c - WordPiece vocabularies of GGUF and of older folders, and what goes around texts where no template says it.
 *
 * GGUF stores "playing" as U+2581 "play" and bare "ing"; Hugging Face as "play" and "##ing". Here it is always the
 * latter. GGUF has no place for the flags of BERT's normalizer: a vocabulary with capitals is taken for one of texts as
 * they are written, another for one of small letters without accents. */
#include "formats.h"

#include <string.h>

PITH_SHARED pith__bert pith__bert_usual(int cased) {
    return (pith__bert){ .clean = 1, .chinese = 1, .strip = !cased, .lower = !cased, .longest = 100,
                         .inside = pith__str_of("##"), .cleanup = 1 };
}

PITH_SHARED void pith__usual_pair(pith__vocab *v, int sep, int type) {
    const pith__place place[] = { { v->add_bos ? v->bos : -1, 0 }, { PITH__FIRST_TEXT, 0 }, { v->add_eos ? v->eos : -1, 0 },
                                  { sep, 0 }, { PITH__SECOND_TEXT, (uint8_t)type },
                                  { v->add_eos ? v->eos : -1, (uint8_t)type } };
    v->n_pair = 0;
    for (size_t i = 0; i < sizeof place / sizeof *place; i++)
        if (place[i].id >= 0 || i == 1 || i == 4) v->pair[v->n_pair++] = place[i];
}

/* "[UNK]" and the like are spelled so in either form, also in files that call them ordinary pieces. */
static int is_bracketed(pith__str s) { return s.n > 2 && *s.p == '[' && s.p[s.n - 1] == ']'; }

static int has_capital(pith__str s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] >= 'A' && s.p[i] <= 'Z') return 1;
    return 0;
}

PITH_SHARED int pith__bert_from_gguf(pith__vocab *v, pith__arena *a) {
    int cased = 0;
    for (int i = 0; i < v->n; i++) {
        pith__str s = v->piece[i];
        if (v->type[i] != PITH__NORMAL || is_bracketed(s) || s.n == 0) continue;
        cased |= has_capital(s);
        if (pith__is_metaspace(s.p, s.n)) {
            v->piece[i] = (pith__str){ s.p + 3, s.n - 3 };
            continue;
        }
        char *p = pith__arena_new(a, s.n + 2, 1);
        if (!p) return PITH_EMEMORY;
        memcpy(p, "##", 2);
        memcpy(p + 2, s.p, s.n);
        v->piece[i] = (pith__str){ p, s.n + 2 };
    }
    v->bert = pith__bert_usual(cased);
    return PITH_OK;
}
