/* postprocess.c - the post_processor of a tokenizer.json: the special tokens around one text and around a pair.
 *
 * One text has at most a token before it and one behind it here, which are BOS and EOS of the vocabulary: [CLS] and [SEP]
 * of BERT, <|endoftext|> behind a text for Qwen3-Embedding. A pair may have more, with token types. */
#include "formats.h"

#include <string.h>

/* An id that a text is given: of a token that there is. (An added token may have one that no piece has.) */
static int id_around(pith__vocab_reading *r, pith__json j, const char *name) {
    int id = pith__vocab_id(r, j, name);
    if (!r->code && id >= r->v->n) pith__vocab_wrong(r, j, PITH_EFORMAT, name, "the id of a token in the vocabulary");
    return id;
}

/* The id of a template's special token: what its list of special_tokens says, else that of the piece. -1: none. */
static int template_id(pith__vocab_reading *r, pith__json known, pith__json special) {
    pith__json ids, id, more;
    pith__str s = pith__vocab_string(r, pith__json_get(special, "id"), "SpecialToken in post_processor");
    int found = r->code ? -1 : pith__vocab_find(r, s);
    if (pith__json_type(known) == '{' && !memchr(s.p, 0, s.n) && s.n < 200) {
        char text[200];
        memcpy(text, s.p, s.n);
        text[s.n] = 0;
        ids = pith__json_get(pith__json_get(known, text), "ids");
        if (pith__json_next(&ids, NULL, &id) && !pith__json_next(&ids, NULL, &more))
            found = id_around(r, id, "an id in post_processor");
    }
    return found;
}

static void template_single(pith__vocab_reading *r, pith__json at) {
    pith__json it = pith__json_get(at, "single"), item;
    int texts = 0;
    while (!r->code && pith__json_next(&it, NULL, &item)) {
        pith__json special = pith__json_get(item, "SpecialToken");
        if (pith__json_type(pith__json_get(item, "Sequence"))) {
            texts++;
            continue;
        }
        int found = template_id(r, pith__json_get(at, "special_tokens"), special);
        int *flag = texts ? &r->v->add_eos : &r->v->add_bos;
        int *token = texts ? &r->v->eos : &r->v->bos;
        if (*flag || found < 0)
            pith__vocab_wrong(r, item, PITH_EARCH, "post_processor", "one known token before, one behind");
        *flag = 1;
        *token = found;
    }
    if (texts != 1) pith__vocab_wrong(r, at, PITH_EARCH, "post_processor", "one text in its template");
}

/* A pair. Most models are never given one: a template that is not understood counts for nothing. */
static void template_pair(pith__vocab_reading *r, pith__json at) {
    pith__vocab *v = r->v;
    pith__json it = pith__json_get(at, "pair"), item;
    int first = -1, second = -1, ok = pith__json_type(it) == '[';
    v->n_pair = 0;
    while (ok && !r->code && pith__json_next(&it, NULL, &item)) {
        pith__json text = pith__json_get(item, "Sequence"), special = pith__json_get(item, "SpecialToken");
        int64_t type = 0;
        int id, is_text = pith__json_type(text) != 0;
        pith__json_int(pith__json_get(is_text ? text : special, "type_id"), &type);
        ok = v->n_pair < PITH__PLACES && type >= 0 && type < 256;
        if (is_text) {
            int b = pith__json_is(pith__json_get(text, "id"), "B"), *which = b ? &second : &first;
            ok = ok && *which < 0 && (first >= 0) == b; /* A once, then B once */
            *which = v->n_pair;
            id = b ? PITH__SECOND_TEXT : PITH__FIRST_TEXT;
        } else {
            id = template_id(r, pith__json_get(at, "special_tokens"), special);
            ok = ok && id >= 0;
        }
        if (ok) v->pair[v->n_pair++] = (pith__place){ id, (uint8_t)type };
    }
    if (!ok || first < 0 || second < 0) v->n_pair = 0;
}

/* BertProcessing and RobertaProcessing: "cls": ["[CLS]", 101], "sep": ["[SEP]", 102]. */
static int named_token(pith__vocab_reading *r, pith__json at, const char *name) {
    pith__json pair = pith__json_get(at, name), text, id = { 0 };
    if (pith__json_type(pair) != '[' || !pith__json_next(&pair, NULL, &text) || !pith__json_next(&pair, NULL, &id))
        pith__vocab_wrong(r, pith__json_get(at, name), PITH_EFORMAT, name, "a token and its id");
    return r->code ? -1 : id_around(r, id, name);
}

PITH_SHARED void pith__vocab_around(pith__vocab_reading *r, pith__json at) {
    pith__vocab *v = r->v;
    int roberta = pith__vocab_step_is(at, "RobertaProcessing");
    if (pith__vocab_step_is(at, "TemplateProcessing")) {
        template_single(r, at);
        template_pair(r, at);
    } else if (roberta || pith__vocab_step_is(at, "BertProcessing")) {
        v->bos = named_token(r, at, "cls");
        v->eos = named_token(r, at, "sep");
        v->add_bos = v->add_eos = 1;
        pith__usual_pair(v, roberta ? v->eos : -1, !roberta);
    } else if (!pith__vocab_step_is(at, "ByteLevel")) {
        pith__vocab_wrong(r, at, PITH_EARCH, "post_processor",
                          "ByteLevel, TemplateProcessing, BertProcessing or RobertaProcessing");
    }
}
