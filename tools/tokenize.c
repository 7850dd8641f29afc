/* tokenize.c - run tokenize: text to token ids, and back with --decode.
 *
 * The ids stand on one line, a space between; with --pieces each has a line of its own and its text. Decoding gives exactly the bytes that were encoded:
 * no beginning-of-text token, and not the space that some tokenizers put before a text. */
#include "verbs.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    model_choice model;
    const char *prompt, *file, *decode;
    int no_bos, parse_special, pieces;
} tokenize_options;

static void print_id(const tokenize_options *o, const pith__tokenizer *k, pith_token t, int first,
                     output *out) {
    if (!o->pieces) {
        output_line(out, first ? "%d" : " %d", (int)t);
        return;
    }
    pith__str s = pith__tokenizer_piece(k, t);
    output_line(out, "%d\t", (int)t);
    output_json(out, s.p, s.n);
    output_bytes(out, "\n", 1);
}

static int print_ids(const tokenize_options *o, const pith__tokenizer *k, output *out) {
    const char *path = o->file ? o->file : !strcmp(o->prompt, "-") ? "-" : NULL;
    unsigned flags = (o->no_bos ? 0 : PITH_BOS | PITH_EOS) | (o->parse_special ? PITH_SPECIAL : 0);
    char *text = NULL;
    size_t len = path ? 0 : strlen(o->prompt);
    pith_token *t = NULL;
    int n = 0, code = path ? read_text(path, &text, &len) : 0;
    if (!code) code = encode_with(k, path ? text : o->prompt, len, flags, &t, &n);
    for (int i = 0; !code && i < n && !out->code && !stopped(); i++)
        print_id(o, k, t[i], i == 0, out);
    if (!code && !o->pieces) output_bytes(out, "\n", 1);
    if (!code && o->pieces) fprintf(stderr, "%d tokens, %zu bytes\n", n, len);
    free(t);
    free(text);
    return code;
}

/* Pieces of WordPiece say where words go on; blanks between words are the text's again. */
static int print_words(const tokenize_options *o, const pith__vocab *v, const pith_token *t, int n, output *out) {
    int first = 1;
    for (int i = 0; i < n; i++) {
        pith__str s = v->piece[t[i]];
        if (v->type[t[i]] == PITH__CONTROL && !o->parse_special) continue;
        char *room = malloc(s.n + 1);
        if (!room) return complain(FAILED, "no memory for the text of %d tokens", n);
        s = pith__wordpiece_text(&v->bert, s, first, room);
        output_bytes(out, s.p, s.n);
        free(room);
        first = 0;
    }
    return 0;
}

/* Control tokens are no text, unless --parse-special reads their names as such too. */
static int print_bytes(const tokenize_options *o, const pith__vocab *v, const pith__tokenizer *k,
                       output *out) {
    pith_token *t = NULL;
    int n = 0, first = 1, code = read_ids(o->decode, &t, &n);
    for (int i = 0; !code && i < n; i++)
        if (t[i] < 0 || t[i] >= v->n) code = complain(BAD_DATA, "token %d is not below the vocabulary's %d", (int)t[i], v->n);
    int words = v->model == PITH__WORDPIECE;
    if (!code && words) code = print_words(o, v, t, n, out);
    for (int i = 0; !code && !words && i < n; i++) {
        pith__str s = pith__tokenizer_piece(k, t[i]);
        if (i == 0 && t[i] == v->bos) continue;
        if (v->type[t[i]] == PITH__CONTROL && !o->parse_special) continue;
        if (first && v->add_space && s.n && *s.p == ' ') s.p++, s.n--;
        output_bytes(out, s.p, s.n);
        first = 0;
    }
    free(t);
    return code;
}

int verb_tokenize(int argc, char **argv) {
    static const char usage[] =
        "run tokenize MODEL (-i TEXT | -f FILE | --decode 1,5,9) [options]\n"
        "text to token ids, and back\n\n";
    tokenize_options o = { 0 };
    const flag flags[] = {
        { 'i', "prompt", TEXT, &o.prompt, 0, 0, "TEXT", "the text; - reads standard input" },
        { 'f', "file", TEXT, &o.file, 0, 0, "FILE", "a file with the text" },
        { 0, "decode", TEXT, &o.decode, 0, 0, "IDS", "the bytes of these tokens: 1,5,9" },
        { 0, "pieces", SWITCH, &o.pieces, 0, 0, "",
          "a line for each token: id, tab, its text as a JSON string" },
        { 0, "no-bos", SWITCH, &o.no_bos, 0, 0, "", "without the special tokens that go before and behind the text" },
        { 0, "parse-special", SWITCH, &o.parse_special, 0, 0, "",
          "read and write <|names|> as special tokens" },
        MODEL_FLAGS(o.model),
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    int code = read_flags(argc, argv, usage, flags, &o.model.path);
    if (code != GO_ON) return code;
    if ((o.prompt != NULL) + (o.file != NULL) + (o.decode != NULL) != 1)
        return complain(USAGE, "tokenize needs one of -i TEXT, -f FILE, --decode 1,5,9");
    if (o.decode && o.pieces) return complain(USAGE, "--pieces is of text, not of --decode");
    pith__store s;
    pith__tokenizer *k = NULL;
    output out;
    code = open_vocab(&o.model, &s, &k);
    if (code) return code;
    code = output_open(&out, NULL, NULL);
    if (!code) {
        code = o.decode ? print_bytes(&o, &s.vocab, k, &out) : print_ids(&o, k, &out);
        int written = output_close(&out, 1);
        if (!code) code = stopped() ? stopped() : written;
    }
    pith__tokenizer_free(k);
    pith__store_free(&s);
    return code;
}
