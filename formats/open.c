/* open.c - a path -> a store: what a file or a folder is, told by its content.
 *
 * Every reader of this folder is called from here, and a new file format is a function
 * that reads it and one more question here. What a store holds is a model, or a vocabulary by itself: a
 * GGUF file without tensors, a folder with a tokenizer.json and without a config.json, llama2.c's
 * tokenizer.bin. */
#include "formats.h"

#include <string.h>

static int is_vocab_folder(const char *path) {
    return pith__path_kind(path) == 'd' && pith__folder_has(path, "tokenizer.json") &&
           !pith__folder_has(path, "config.json");
}

static int read_vocab_folder(pith__store *s, const pith_options *opt, pith_error *err) {
    pith__folder f = { .s = s, .dir = s->path, .no_mmap = opt->no_mmap, .err = err,
                       .n_vocab = 1 << 20 }; /* no embedding says how many: more than there are */
    s->kind = "Hugging Face folder";
    s->holds = PITH__VOCABULARY;
    s->file = NULL; /* the table grows here, file by file */
    return pith__hf_tokenizer(&f);
}

static int read_gguf(pith__store *s, const pith_options *opt, pith_error *err) {
    int code = pith__gguf_read(s, opt->no_mmap, err);
    if (code) return code;
    const pith__key *type = pith__store_key(s, "general.type");
    if (type && pith__str_is(type->s, "adapter")) s->holds = PITH__ADAPTER;
    else if (s->n_tensor == 0) s->holds = PITH__VOCABULARY;
    return PITH_OK;
}

static int read_tokenizer(pith__store *s, pith_error *err) {
    s->holds = PITH__VOCABULARY;
    return pith__tokenizer_read(s, err);
}

/* path NULL: memory is the file. */
static int read_any(pith__store *s, const char *path, pith__file memory, const pith_options *opt,
                    pith_error *err) {
    int folder = path && pith__folder_is(path), llama2c = 0;
    if (!folder) {
        s->n_file = 1;
        s->file[0] = memory;
        int code = path ? pith__file_open(&s->file[0], path, opt->no_mmap, err) : PITH_OK;
        if (!code) code = pith__check_content(s->file, s->path, err);
        if (code) return code;
        llama2c = !pith__gguf_is(s->file) && !pith__tokenizer_is(s->file);
    }
    if (llama2c) return pith__llama2c_read(s, opt->tokenizer, err);
    if (opt->tokenizer)
        return pith__fail(err, PITH_EARG, "%s: brings its own vocabulary, the tokenizer '%s' is of no use", s->path,
                          opt->tokenizer);
    if (folder && is_vocab_folder(path)) return read_vocab_folder(s, opt, err);
    if (folder) {
        pith__sentence steps;
        s->file = NULL; /* the table grows here, file by file */
        int code = pith__sentence_open(&steps, s, opt->no_mmap, err);
        if (!code) code = pith__folder_read(s, steps.model, opt->no_mmap, err);
        return code ? code : pith__sentence_read(&steps);
    }
    return pith__gguf_is(s->file) ? read_gguf(s, opt, err) : read_tokenizer(s, err);
}

/* The pre-tokenizer's name is looked at while reading, and again where the file has another. */
static int open_store(pith__store *s, const char *path, pith__file memory, const pith_options *opt,
                      pith_error *err) {
    static const pith_options none;
    if (!opt) opt = &none;
    memset(s, 0, sizeof *s);
    const char *name = path ? path : "(memory)", *pre = opt->pretokenizer;
    s->path = pith__arena_text(&s->arena, name, strlen(name));
    if (pre) pre = pith__arena_text(&s->arena, pre, strlen(pre));
    s->file = pith__arena_new(&s->arena, 2, sizeof *s->file);
    int code = PITH_OK;
    if (!s->path || !s->file || (opt->pretokenizer && !pre))
        code = pith__fail(err, PITH_EMEMORY, "%s: no memory to open it", name);
    if (pre) s->vocab.pre = pith__str_of(pre);
    if (!code) code = read_any(s, path, memory, opt, err);
    if (pre) s->vocab.pre = pith__str_of(pre);
    if (!code && pre && s->vocab.model != PITH__BPE)
        code = pith__fail(err, PITH_EARG, "%s: its vocabulary is not byte-level BPE, the pre-tokenizer '%s' is of "
                          "no use", s->path, pre);
    if (code) pith__store_free(s);
    return code;
}

PITH_SHARED int pith__open(pith__store *s, const char *path, const pith_options *opt, pith_error *err) {
    return open_store(s, path, (pith__file){ .mapped = -1 }, opt, err);
}

PITH_SHARED int pith__open_memory(pith__store *s, const void *data, size_t size, const pith_options *opt,
                                  pith_error *err) {
    return open_store(s, NULL, (pith__file){ .data = data ? data : "", .size = data ? size : 0, .mapped = -1 }, opt, err);
}
