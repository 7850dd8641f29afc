/* vocab.c - run vocab: from a text to a vocabulary (train/vocab.c learns it). */
#define _POSIX_C_SOURCE 200809L
#include "verbs.h"
#include "../train/train.h"

#include <string.h>
#include <sys/stat.h>

int open_vocab_file(pith__store *s, const char *path) {
    pith_error e = { 0, "" };
    if (pith__open(s, path, NULL, &e)) return complain(NOT_LOADED, "%s", e.text);
    if (s->vocab.model != PITH__NONE) return 0;
    pith__store_free(s);
    return complain(NOT_LOADED, "%s: has no vocabulary", path);
}

int wants_nfc(const char *name) {
    if (!strcmp(name, "nfc") || !strcmp(name, "none")) return !strcmp(name, "nfc");
    complain(USAGE, "--normalizer is '%s', need nfc or none", name);
    return -1;
}

static const char vocab_usage[] =
    "run vocab TEXT -o NAME.gguf [options]\n"
    "Learn a vocabulary from a text: documents separated by <|endoftext|>, or a .jsonl file of\n"
    "{\"text\": ...}. A name that does not end in .gguf becomes a tokenizer.bin as llama2.c has "
    "it.\n\n";

typedef struct {
    list texts;
    const char *output, *type, *normalizer;
    int size;
} vocab_options;

static int save_vocab(const pith__vocab *v, const char *path) {
    size_t n = strlen(path);
    pith__store s = { .path = path, .vocab = *v };
    pith_error e = { 0, "" };
    int gguf = n >= 5 && !strcmp(path + n - 5, ".gguf"), code;
    if (!strcmp(path, "-")) path = "/dev/stdout";
    if (!gguf) code = pith__tokenizer_write(v, path, &e);
    else if (pith__store_add_string(&s, "general.architecture", "llama"))
        code = pith__fail(&e, PITH_EMEMORY, "%s: no memory", path);
    else code = pith__gguf_write(&s, NULL, 0, pith__format_of(PITH__F32), path, &e);
    pith__arena_free(&s.arena);
    return code ? report(&e) : 0;
}

/* Check before learning that the output can be written and is not an input. */
static int check_output(const char *path, const list *texts) {
    struct stat at;
    output o;
    if (!strcmp(path, "-")) return 0;
    int there = stat(path, &at) == 0;
    for (int i = 0; i < texts->n; i++)
        if (same_file(texts->item[i], path))
            return complain(USAGE, "%s: is the text itself, need another file to write to", path);
    if (there && !S_ISREG(at.st_mode) && !S_ISDIR(at.st_mode)) return 0; /* opened once is enough */
    int code = output_open(&o, path, NULL);
    return code ? code : output_close(&o, 0);
}

int verb_vocab(int argc, char **argv) {
    vocab_options o = { .type = "spm", .normalizer = "nfc", .size = 4096 };
    const char *text = NULL;
    const flag flags[] = {
        { 'o', "output", TEXT, &o.output, 0, 0, "FILE", "where to, NAME.gguf or tok.bin" },
        { 0, "vocab-size", INTEGER, &o.size, 1, 1 << 24, "N", "how many pieces (4096)" },
        { 0, "type", TEXT, &o.type, 0, 0, "TYPE",
          "spm: SentencePiece's, or bpe: byte-level (spm)" },
        { 0, "normalizer", TEXT, &o.normalizer, 0, 0, "NAME",
          "nfc: learn from text in Unicode's normal form C, or none (nfc)" },
        { 0, "train-file", LIST, &o.texts, 0, 0, "FILE", "one more text; may be given often" },
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    int code = read_flags(argc, argv, vocab_usage, flags, &text);
    if (code != GO_ON) return code;
    int spm = !strcmp(o.type, "spm"), nfc = wants_nfc(o.normalizer);
    if (!spm && strcmp(o.type, "bpe") != 0)
        return complain(USAGE, "--type is '%s', need spm or bpe", o.type);
    if (nfc < 0) return USAGE;
    if ((code = add_text(&o.texts, text))) return code;
    if (!o.output || !*o.output) return complain(USAGE, "no -o FILE given");
    if ((code = check_output(o.output, &o.texts))) return code;
    pith__arena a = { NULL, 0 };
    pith__vocab v;
    double start = seconds();
    progress shown = { NULL, 0, 0 };
    pith__progress watch = progress_of(&shown);
    pith__texts texts = { o.texts.item, o.texts.n };
    pith_error e = { 0, "" };
    pith__vocab_plan plan = { .model = spm ? PITH__SPM : PITH__BPE, .size = o.size, .nfc = nfc };
    int learned = pith__learn_vocab(&v, &a, &texts, &plan, &watch, &e);
    if (!learned) say_hangul_apart(o.texts.item[0], plan.hangul_apart, nfc);
    code = learned ? report(&e) : save_vocab(&v, o.output);
    if (!code) fprintf(stderr, "%s: %d pieces in %.1f s\n", o.output, v.n, seconds() - start);
    pith__arena_free(&a);
    return code;
}
