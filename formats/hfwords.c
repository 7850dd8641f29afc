/* hfwords.c - WordPiece of a Hugging Face folder: of tokenizer.json, or of an older folder's vocab.txt.
 *
 * tokenizer.json says everything. Its truncation and padding are what was left on when it was written, and not of the
 * vocabulary: published files have a length there that the model does not have. vocab.txt has a piece on every line;
 * all else is what BERT's tokenizer does unless tokenizer_config.json says otherwise. */
#include "formats.h"

#include <stdlib.h>
#include <string.h>

/* ---- tokenizer.json ---------------------------------------------------------------------------------------- */

PITH_SHARED int pith__vocab_is_words(const pith__vocab_reading *r, pith__json model) {
    static const char *const names[] = { "type", "max_input_chars_per_word" };
    pith__json at[2]; /* old files have no type */
    pith__vocab_pick(r, model, names, at, 2);
    return pith__json_is(at[0], "WordPiece") || (!pith__json_type(at[0]) && pith__json_type(at[1]));
}

PITH_SHARED void pith__vocab_words(pith__vocab_reading *r, pith__json model) {
    enum { UNK, PREFIX, LONGEST, VOCAB, FIELDS };
    static const char *const names[FIELDS] = { "unk_token", "continuing_subword_prefix", "max_input_chars_per_word",
                                               "vocab" };
    pith__vocab *v = r->v;
    pith__json at[FIELDS];
    int64_t longest = 100;
    pith__vocab_pick(r, model, names, at, FIELDS);
    v->model = PITH__WORDPIECE;
    v->bert.inside = pith__json_type(at[PREFIX]) ? pith__vocab_string(r, at[PREFIX], names[PREFIX]) : pith__str_of("##");
    if (pith__json_type(at[LONGEST]) && (!pith__json_int(at[LONGEST], &longest) || longest < 1 || longest > INT32_MAX))
        pith__vocab_wrong(r, at[LONGEST], PITH_EFORMAT, names[LONGEST], "a number of characters, at least 1");
    v->bert.longest = (int)longest;
    if (!r->code) pith__vocab_pieces(r, at[VOCAB]);
    if (r->code) return;
    v->unk = pith__vocab_find(r, pith__json_type(at[UNK]) ? pith__vocab_string(r, at[UNK], names[UNK]) : pith__str_of("[UNK]"));
    if (v->unk < 0) pith__vocab_wrong(r, at[UNK], PITH_EFORMAT, "model.unk_token", "a piece of model.vocab");
}

PITH_SHARED void pith__vocab_bert(pith__vocab_reading *r, pith__json at) {
    pith__bert *b = &r->v->bert;
    if (!pith__vocab_step_is(at, "BertNormalizer")) pith__vocab_wrong(r, at, PITH_EARCH, "normalizer", "BertNormalizer");
    b->clean = pith__vocab_true(r, at, "clean_text", 1);
    b->chinese = pith__vocab_true(r, at, "handle_chinese_chars", 1);
    b->lower = pith__vocab_true(r, at, "lowercase", 1);
    b->strip = pith__vocab_true(r, at, "strip_accents", b->lower);
}

PITH_SHARED void pith__vocab_bert_cut(pith__vocab_reading *r, pith__json at) {
    if (!pith__vocab_step_is(at, "BertPreTokenizer"))
        pith__vocab_wrong(r, at, PITH_EARCH, "pre_tokenizer", "BertPreTokenizer");
    r->v->split_words = 1;
}

PITH_SHARED void pith__vocab_bert_text(pith__vocab_reading *r, pith__json at) {
    pith__json prefix = pith__json_get(at, "prefix");
    if (!pith__vocab_step_is(at, "WordPiece")) pith__vocab_wrong(r, at, PITH_EARCH, "decoder", "WordPiece");
    if (pith__json_type(prefix) && pith__str_cmp(pith__vocab_string(r, prefix, "prefix"), r->v->bert.inside) != 0)
        pith__vocab_wrong(r, prefix, PITH_EARCH, "prefix of the decoder", "model.continuing_subword_prefix");
    r->v->bert.cleanup = pith__vocab_true(r, at, "cleanup", 1);
}

/* ---- vocab.txt --------------------------------------------------------------------------------------------- */

typedef struct {
    pith__str s;
    int line; /* from 1 */
} words_line;

static int line_order(const void *a, const void *b) {
    const words_line *x = a, *y = b;
    int order = pith__str_cmp(x->s, y->s);
    return order ? order : (x->line > y->line) - (x->line < y->line);
}

static int is_utf8_line(pith__str s) {
    for (size_t i = 0; i < s.n;) {
        int size = pith__utf8_length((const uint8_t *)s.p + i, s.n - i);
        if (size <= 0) return 0;
        i += (size_t)size;
    }
    return 1;
}

/* The next line of *text, which moves behind it, without its end. 0: there is none. */
static int next_line(pith__str *text, pith__str *line) {
    const char *end = text->n ? memchr(text->p, '\n', text->n) : NULL;
    size_t n = end ? (size_t)(end - text->p) : text->n;
    if (text->n == 0) return 0;
    *line = (pith__str){ text->p, n && text->p[n - 1] == '\r' ? n - 1 : n };
    text->p += end ? n + 1 : n;
    text->n -= end ? n + 1 : n;
    return 1;
}

static int no_line_twice(pith__vocab_reading *r, words_line *line, size_t n) {
    qsort(line, n, sizeof *line, line_order);
    for (size_t i = 1; i < n; i++)
        if (line[i].s.n && pith__str_cmp(line[i - 1].s, line[i].s) == 0)
            return pith__fail(r->f->err, PITH_EFORMAT, "%s: line %d is '%.*s', as line %d is", r->path, line[i].line,
                              line[i].s.n < 60 ? (int)line[i].s.n : 60, line[i].s.p, line[i - 1].line);
    return PITH_OK;
}

static int read_lines(pith__vocab_reading *r, const pith__file *file) {
    pith__vocab *v = r->v;
    size_t most = (size_t)r->f->n_vocab, n = 0;
    pith__arena *a = &r->f->s->arena;
    pith__str text = { (const char *)file->data, file->size }, s;
    words_line *line = malloc((most + 1) * sizeof *line);
    v->piece = pith__arena_new(a, most, sizeof *v->piece);
    v->type = pith__arena_new(a, most, sizeof *v->type);
    v->added = pith__arena_new(a, most, sizeof *v->added);
    int code = line && v->piece && v->type && v->added ? PITH_OK : PITH_EMEMORY;
    if (code) pith__fail(r->f->err, code, "%s: no memory", r->path);
    for (; !code && next_line(&text, &s); n++) {
        if (n == most)
            code = pith__fail(r->f->err, PITH_EFORMAT, "%s: has more lines than vocab_size, %zu", r->path, most);
        else if (!is_utf8_line(s))
            code = pith__fail(r->f->err, PITH_EFORMAT, "%s: line %zu is no UTF-8", r->path, n + 1);
        if (code) break;
        line[n] = (words_line){ s, (int)n + 1 };
        pith__vocab_put(r, (int)n, s, s.n ? PITH__NORMAL : PITH__UNUSED);
    }
    if (!code) code = no_line_twice(r, line, n);
    free(line);
    return code;
}

/* A special token: its name in tokenizer_config.json or else usual. -1, an error: it is no piece. */
static int special_line(pith__vocab_reading *r, pith__json config, const char *name, const char *usual) {
    pith__json j = pith__json_get(config, name);
    if (pith__json_type(j) == '{') j = pith__json_get(j, "content");
    pith__str s = pith__json_type(j) == '"' ? pith__vocab_string(r, j, name) : pith__str_of(usual);
    int id = r->code ? -1 : pith__vocab_find(r, s);
    if (id >= 0) r->v->type[id] = PITH__CONTROL;
    else if (!r->code)
        r->code = pith__fail(r->f->err, PITH_EFORMAT, "%s: has no line '%.*s', the %s", r->path,
                             s.n < 60 ? (int)s.n : 60, s.p, name);
    return id;
}

static void usual_words(pith__vocab_reading *r, pith__json config) {
    pith__vocab *v = r->v;
    pith__json class = pith__json_get(config, "tokenizer_class");
    int mpnet = pith__json_is(class, "MPNetTokenizer") || pith__json_is(class, "MPNetTokenizerFast");
    if (pith__json_is(class, "BertJapaneseTokenizer"))
        pith__vocab_wrong(r, class, PITH_EARCH, "tokenizer_class", "one that cuts words at blanks");
    v->model = PITH__WORDPIECE;
    v->spelling = PITH__RAW;
    v->bert = pith__bert_usual(0);
    v->bert.chinese = pith__vocab_true(r, config, "tokenize_chinese_chars", 1);
    v->bert.lower = pith__vocab_true(r, config, "do_lower_case", 1);
    v->bert.strip = pith__vocab_true(r, config, "strip_accents", v->bert.lower);
    v->unk = special_line(r, config, "unk_token", "[UNK]");
    v->bos = special_line(r, config, "cls_token", mpnet ? "<s>" : "[CLS]");
    v->eos = special_line(r, config, "sep_token", mpnet ? "</s>" : "[SEP]");
    special_line(r, config, "pad_token", mpnet ? "<pad>" : "[PAD]");
    v->mask = special_line(r, config, "mask_token", mpnet ? "<mask>" : "[MASK]");
    if (mpnet && v->mask >= 0) v->added[v->mask] = PITH__LSTRIP;
    v->add_bos = v->add_eos = 1;
    pith__usual_pair(v, mpnet ? v->eos : -1, !mpnet);
}

PITH_SHARED int pith__hf_vocab_lines(pith__folder *f) {
    pith__vocab_reading r = { .f = f, .v = &f->s->vocab };
    const pith__file *file = NULL;
    const char *beside;
    pith__json config;
    r.path = pith__folder_path(f, pith__str_of("vocab.txt"));
    int code = r.path ? pith__folder_open(f, r.path, 1, &file) : PITH_EMEMORY;
    if (!code) code = pith__folder_json(f, "tokenizer_config.json", 0, &config, &beside);
    if (!code) code = read_lines(&r, file);
    if (!code) usual_words(&r, config);
    return code ? code : r.code;
}
