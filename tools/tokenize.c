/* tokenize.c - run tokenize: text to token ids, and back with --decode.
 *
 * The ids stand on one line, a space between. Decoding gives exactly the bytes that were encoded:
 * no beginning-of-text token, and not the space that some tokenizers put before a text. */
#include "tools.h"

#include <stdlib.h>
#include <string.h>

enum { GO_ON_OPENING = 1 }; /* not an error: there are weights too */

typedef struct {
    model_choice model;
    const char *prompt, *file, *decode;
    int no_bos, parse_special;
} tokenize_options;

/* Is it a vocabulary without weights: a GGUF file without tensors, a folder without config.json?
 * There is no model to open then, but enough to encode and decode. */
static int is_vocabulary(const char *path, const pith__file *f) {
    if (pith__folder_is(path)) {
        char config[4096];
        int n = snprintf(config, sizeof config, "%s/config.json", path);
        return n < (int)sizeof config && pith__path_kind(path) == 'd' && !pith__path_kind(config);
    }
    pith__cursor c = { f->data, f->size, 0 };
    pith__take(&c, 8); /* magic and version */
    return f->data && pith__gguf_is(f) && pith__u64(&c) == 0 && !c.bad;
}

static int read_vocabulary(pith_model *m, const model_choice *c, pith_error *e) {
    pith__store *s = &m->store;
    int folder = pith__folder_is(c->path);
    s->path = c->path;
    s->file = pith__arena_new(&s->arena, 2, sizeof *s->file);
    s->n_file = s->file && !folder;
    if (!s->file) return pith__fail(e, PITH_EMEMORY, "%s: no memory", c->path);
    int code = folder ? PITH_OK : pith__file_open(s->file, c->path, c->options.no_mmap, e);
    if (code || !is_vocabulary(c->path, s->file)) return code ? code : GO_ON_OPENING;
    pith__folder f = { .s = s, .dir = c->path, .no_mmap = c->options.no_mmap, .err = e,
                       .n_vocab = 1 << 20 }; /* no embedding says how many: more than there are */
    if (folder) s->file = NULL, code = pith__hf_tokenizer(&f);
    else code = pith__gguf_read(s, c->options.no_mmap, e);
    if (code) return code;
    if (c->options.pretokenizer) s->vocab.pre = pith__str_of(c->options.pretokenizer);
    m->shape.n_vocab = s->vocab.n;
    m->tokenizer = pith__tokenizer_new(&s->vocab, e);
    return m->tokenizer ? PITH_OK : e->code;
}

static int open_vocabulary(const model_choice *c, pith_model **m) {
    pith_error e = { 0, "" };
    if (!c->path) return open_model(c, 1, m);
    *m = calloc(1, sizeof **m);
    int code = *m ? read_vocabulary(*m, c, &e) : pith__fail(&e, PITH_EMEMORY, "no memory");
    if (!code) return 0;
    pith_close(*m);
    *m = NULL;
    if (code == GO_ON_OPENING) return open_model(c, 1, m);
    return complain(NOT_LOADED, "%s", e.text);
}

static int print_ids(const tokenize_options *o, const pith_model *m, output *out) {
    const char *path = o->file ? o->file : !strcmp(o->prompt, "-") ? "-" : NULL;
    unsigned flags = (o->no_bos ? 0 : PITH_BOS) | (o->parse_special ? PITH_SPECIAL : 0);
    char *text = NULL;
    size_t len = path ? 0 : strlen(o->prompt);
    pith_token *t = NULL;
    int n = 0, code = path ? read_text(path, &text, &len) : 0;
    if (!code) code = encode_text(m, path ? text : o->prompt, len, flags, &t, &n);
    for (int i = 0; !code && i < n && !out->code && !stopped(); i++)
        output_line(out, i ? " %d" : "%d", (int)t[i]);
    if (!code) output_bytes(out, "\n", 1);
    free(t);
    free(text);
    return code;
}

/* Control tokens are no text, unless --parse-special reads their names as such too. */
static int print_bytes(const tokenize_options *o, const pith_model *m, output *out) {
    const pith__vocab *v = &m->store.vocab;
    pith_token *t = NULL;
    int n = 0, first = 1, code = read_ids(o->decode, &t, &n);
    for (int i = 0; !code && i < n; i++) {
        size_t len;
        const char *p = pith_piece(m, t[i], &len);
        if (!p) {
            code = complain(BAD_DATA, "token %d is not below the vocabulary's %d", (int)t[i], v->n);
            break;
        }
        if (i == 0 && t[i] == v->bos) continue;
        if (v->type[t[i]] == PITH__CONTROL && !o->parse_special) continue;
        if (first && v->add_space && len && *p == ' ') p++, len--;
        output_bytes(out, p, len);
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
        { 0, "no-bos", SWITCH, &o.no_bos, 0, 0, "", "without the beginning-of-text token" },
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
    pith_model *m = NULL;
    output out;
    code = open_vocabulary(&o.model, &m);
    if (!code) code = output_open(&out, NULL, NULL);
    if (!code) {
        code = o.decode ? print_bytes(&o, m, &out) : print_ids(&o, m, &out);
        int written = output_close(&out, 1);
        if (!code) code = stopped() ? stopped() : written;
    }
    pith_close(m);
    return code;
}
