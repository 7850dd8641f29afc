/* foldertokens.c - a vocabulary -> tokenizer.json and tokenizer_config.json of a Hugging Face folder.
 *
 * The way back from GGUF. formats/hftokenizer.c reads these files, and says what the steps of the pipeline mean; a
 * vocabulary with scores becomes the list of merges that they stand for (formats/pieces.c). */
#include "internal.h"

#include <string.h>

/* ---- tokenizer.json ------------------------------------------------------------------------------------------- */

typedef struct {
    const pith__vocab *v;
    pith__said *to;
    pith__arena arena;
} saying_vocab;

static int is_added(const pith__vocab *v, int i) {
    return v->type[i] == PITH__CONTROL || v->type[i] == PITH__USER || (v->type[i] == PITH__UNKNOWN && v->model == PITH__SPM);
}

static void say_added(saying_vocab *y) {
    static const struct { const char *name; int flag; } flags[] = {
        { "single_word", PITH__SINGLE_WORD }, { "lstrip", PITH__LSTRIP }, { "rstrip", PITH__RSTRIP },
        { "normalized", PITH__NORMALIZED },
    };
    const pith__vocab *v = y->v;
    int n = 0;
    pith__say(y->to, "  \"added_tokens\": [");
    for (int i = 0; i < v->n; i++) {
        if (!is_added(v, i)) continue;
        pith__say(y->to, "%s\n    {\"id\": %d, \"content\": ", n++ ? "," : "", i);
        pith__say_quoted(y->to, v->piece[i]);
        for (size_t k = 0; k < sizeof flags / sizeof *flags; k++)
            pith__say(y->to, ", \"%s\": %s", flags[k].name, v->added && v->added[i] & flags[k].flag ? "true" : "false");
        pith__say(y->to, ", \"special\": %s}", v->type[i] == PITH__USER ? "false" : "true");
    }
    pith__say(y->to, "%s],\n", n ? "\n  " : "");
}

/* What text goes through before the pieces. */
static void say_steps(saying_vocab *y, const char *const *regex) {
    const pith__vocab *v = y->v;
    const char *space = PITH__METASPACE_UTF8, *nfc = "{\"type\": \"NFC\"}";
    int bytes = v->spelling == PITH__BYTE_LETTERS, before = v->add_space == PITH__SPACE_ALWAYS;
    pith__say(y->to, "  \"normalizer\": ");
    if (bytes) pith__say(y->to, "%s,\n", v->nfc ? nfc : "null");
    else pith__say(y->to, "{\"type\": \"Sequence\", \"normalizers\": [%s%s", v->nfc ? nfc : "", v->nfc ? ", " : "");
    if (!bytes && before) pith__say(y->to, "{\"type\": \"Prepend\", \"prepend\": \"%s\"}, ", space);
    if (!bytes)
        pith__say(y->to, "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"%s\"}]},\n", space);
    pith__say(y->to, "  \"pre_tokenizer\": ");
    if (bytes) pith__say(y->to, "{\"type\": \"Sequence\", \"pretokenizers\": [");
    for (int i = 0; bytes && regex[i]; i++) {
        pith__say(y->to, "\n    {\"type\": \"Split\", \"pattern\": {\"Regex\": ");
        pith__say_quoted(y->to, pith__str_of(regex[i]));
        pith__say(y->to, "}, \"behavior\": \"Isolated\", \"invert\": false},");
    }
    if (bytes)
        pith__say(y->to, "\n    {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": false}]},\n");
    else if (v->add_space && !before)
        pith__say(y->to, "{\"type\": \"Metaspace\", \"replacement\": \"%s\", \"prepend_scheme\": \"%s\", \"split\": false},\n",
                  space, v->add_space == PITH__SPACE_FIRST ? "first" : "always");
    else pith__say(y->to, "null,\n");
}

/* BOS before a text, EOS behind it. */
static void say_processor(saying_vocab *y) {
    const pith__vocab *v = y->v;
    const int ids[2] = { v->add_bos ? v->bos : -1, v->add_eos ? v->eos : -1 };
    pith__say(y->to, "  \"post_processor\": ");
    if (ids[0] < 0 && ids[1] < 0) {
        pith__say(y->to, "null,\n");
        return;
    }
    for (int pair = 0; pair < 2; pair++) {
        pith__say(y->to, pair ? "],\n    \"pair\": [" : "{\"type\": \"TemplateProcessing\", \"single\": [");
        for (int text = 0; text <= pair; text++)
            for (int k = 0; k < 2; k++) {
                if (k) pith__say(y->to, "%s{\"Sequence\": {\"id\": \"%c\", \"type_id\": %d}}", text || ids[0] >= 0 ? ", " : "",
                                 'A' + text, text);
                if (ids[k] < 0) continue;
                pith__say(y->to, k || text ? ", {\"SpecialToken\": {\"id\": " : "{\"SpecialToken\": {\"id\": ");
                pith__say_quoted(y->to, v->piece[ids[k]]);
                pith__say(y->to, ", \"type_id\": %d}}", text);
            }
    }
    pith__say(y->to, "],\n    \"special_tokens\": {");
    for (int k = 0, n = 0; k < 2; k++) {
        if (ids[k] < 0 || (k && ids[1] == ids[0])) continue;
        if (n++) pith__say(y->to, ", ");
        pith__say_quoted(y->to, v->piece[ids[k]]);
        pith__say(y->to, ": {\"id\": ");
        pith__say_quoted(y->to, v->piece[ids[k]]);
        pith__say(y->to, ", \"ids\": [%d], \"tokens\": [", ids[k]);
        pith__say_quoted(y->to, v->piece[ids[k]]);
        pith__say(y->to, "]}");
    }
    pith__say(y->to, "}},\n");
}

static void say_decoder(saying_vocab *y) {
    pith__say(y->to, "  \"decoder\": ");
    if (y->v->spelling == PITH__BYTE_LETTERS) {
        pith__say(y->to, "{\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, \"use_regex\": true},\n");
        return;
    }
    pith__say(y->to, "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", \"pattern\": {\"String\": \"%s\"}, \"content\": "
                     "\" \"}, {\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}", PITH__METASPACE_UTF8);
    if (y->v->add_space) pith__say(y->to, ", {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}");
    pith__say(y->to, "]},\n");
}

static void say_merge(saying_vocab *y, size_t i, pith__str left, pith__str right) {
    pith__say(y->to, "%s\n      [", i ? "," : "");
    pith__say_quoted(y->to, left);
    pith__say(y->to, ", ");
    pith__say_quoted(y->to, right);
    pith__say(y->to, "]");
}

/* The first id from which on there are added tokens only, one after the other: those that the pieces are without. The
 * library numbers them so; others must be among the pieces to keep their ids. */
static int first_beside(const pith__vocab *v) {
    int at = v->n;
    if (v->spelling != PITH__BYTE_LETTERS) return at;
    while (at > 0 && v->type[at - 1] == PITH__UNUSED) at--;
    while (at > 0 && is_added(v, at - 1)) at--;
    return at;
}

/* The pieces of text, and how they come to be. */
static int say_model(saying_vocab *y) {
    const pith__vocab *v = y->v;
    int bytes = v->spelling == PITH__BYTE_LETTERS, n = 0, beside = first_beside(v), *pair = NULL;
    size_t n_pair = 0;
    pith__say(y->to, "  \"model\": {\n    \"type\": \"BPE\", \"dropout\": null, \"unk_token\": ");
    if (v->unk >= 0 && !bytes) pith__say_quoted(y->to, v->piece[v->unk]);
    else pith__say(y->to, "null");
    pith__say(y->to, ", \"continuing_subword_prefix\": null, \"end_of_word_suffix\": null,\n    \"fuse_unk\": %s, \"byte_fallback\": %s,"
              " \"ignore_merges\": %s,\n    \"vocab\": {", bytes ? "false" : "true", bytes ? "false" : "true",
              v->ignore_merges ? "true" : "false");
    for (int i = 0; i < v->n; i++) {
        if (i >= beside || v->type[i] == PITH__UNUSED || !v->piece[i].n) continue;
        pith__say(y->to, "%s\n      ", n++ ? "," : "");
        pith__say_quoted(y->to, v->piece[i]);
        pith__say(y->to, ": %d", i);
    }
    pith__say(y->to, "\n    },\n    \"merges\": [");
    int code = v->model == PITH__SPM ? pith__merges_of(v, &y->arena, &pair, &n_pair) : PITH_OK;
    for (size_t i = 0; i < n_pair && !code; i++) say_merge(y, i, v->piece[pair[2 * i]], v->piece[pair[2 * i + 1]]);
    for (int i = 0; i < v->n_merge && v->model == PITH__BPE; i++) say_merge(y, (size_t)i, v->left[i], v->right[i]);
    pith__say(y->to, "\n    ]\n  }\n}\n");
    return code;
}

/* The regular expressions of the vocabulary's pre-tokenizer; several names may be one. NULL: not known. */
static const char *const *regexes_of(const pith__vocab *v) {
    const pith__splitter *own = pith__splitter_named(v->pre);
    for (int i = 0; own && pith__hf_pre(i); i++)
        if (pith__splitter_named(pith__str_of(pith__hf_pre(i))) == own) return pith__hf_pre_steps(i);
    return NULL;
}

static int check_vocabulary(const pith_model *m, const char *const *regex, const char *folder, pith_error *err) {
    const pith__vocab *v = &m->store.vocab;
    if (v->model == PITH__BPE && v->spelling == PITH__BYTE_LETTERS && !regex)
        return pith__fail(err, PITH_EARCH, "%s: the pre-tokenizer '%.*s' is not known as Hugging Face's steps", folder,
                          v->pre.n < 60 ? (int)v->pre.n : 60, v->pre.p);
    if (v->model == PITH__WORDPIECE || v->model == PITH__UNIGRAM)
        return pith__fail(err, PITH_EARCH, "%s: a vocabulary of %s cannot be written as tokenizer.json: need a .gguf", folder,
                          v->model == PITH__UNIGRAM ? "Unigram" : "WordPiece");
    if (v->spelling == PITH__RAW)
        return pith__fail(err, PITH_EARCH, "%s: a vocabulary of llama2.c becomes one of GGUF first: need a .gguf in between", folder);
    for (int i = 0; i < v->n; i++)
        if (!pith__is_utf8_text(v->piece[i]))
            return pith__fail(err, PITH_EARCH, "%s: piece %d of the vocabulary is no UTF-8, which JSON cannot have", folder, i);
    return PITH_OK;
}

PITH_SHARED int pith__folder_tokenizer(const pith_model *m, const char *folder, pith__said *to, pith_error *err) {
    const char *const *regex = regexes_of(&m->store.vocab);
    saying_vocab y = { .v = &m->store.vocab, .to = to };
    int code = check_vocabulary(m, regex, folder, err);
    if (code) return code;
    pith__say(to, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
    say_added(&y);
    say_steps(&y, regex);
    say_processor(&y);
    say_decoder(&y);
    code = say_model(&y);
    pith__arena_free(&y.arena);
    return code || to->failed ? pith__fail(err, PITH_EMEMORY, "%s: no memory to write it", folder) : PITH_OK;
}

PITH_SHARED void pith__folder_tokens(const pith_model *m, pith__said *to) {
    const pith__vocab *v = &m->store.vocab;
    const struct { const char *name; int id; } tokens[] = {
        { "bos_token", v->bos }, { "eos_token", v->eos }, { "unk_token", v->unk },
    };
    pith__say(to, "{\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\",\n  \"clean_up_tokenization_spaces\": false,\n"
              "  \"model_max_length\": %d,\n  \"add_bos_token\": %s,\n  \"add_eos_token\": %s", m->hyper.n_ctx,
              v->add_bos ? "true" : "false", v->add_eos ? "true" : "false");
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        if (tokens[i].id < 0) continue;
        pith__say(to, ",\n  \"%s\": ", tokens[i].name);
        pith__say_quoted(to, v->piece[tokens[i].id]);
    }
    if (v->tool_template.n) { /* else chat_template.jinja has it */
        pith__say(to, ",\n  \"chat_template\": [{\"name\": \"default\", \"template\": ");
        pith__say_quoted(to, v->chat_template);
        pith__say(to, "}, {\"name\": \"tool_use\", \"template\": ");
        pith__say_quoted(to, v->tool_template);
        pith__say(to, "}]");
    }
    pith__say(to, "\n}\n");
}
