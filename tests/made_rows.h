/* made_rows.h - what the tests of examples share: a small model whose tokens are bytes and some control tokens, files of
 * rows, and examples as text that shows what counts. */
#ifndef MADE_ROWS_H
#define MADE_ROWS_H
#include "../train/train.h"
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

static char folder[] = "/tmp/pith-rows-XXXXXX";

static inline const char *in_folder(const char *name) {
    static char path[8][128]; /* good for the next seven calls */
    static int next;
    char *p = path[next++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static inline const char *rows_file(const char *name, const char *text) {
    const char *path = in_folder(name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(text, 1, strlen(text), f) != strlen(text) || fclose(f) != 0) exit(99);
    return path;
}

/* <unk>, <s>, </s>, the bytes, then these. <think> is no control token. */
enum { BYTES = 3, EOS = 2, IM_START = 259, IM_END, THINK, TURN, TURN_END, N_PIECE };
static const char *const last_pieces[] = { "<|im_start|>", "<|im_end|>", "<think>", "<start_of_turn>", "<end_of_turn>" };

static pith__vocab rows_vocab; /* of the last model, as it was made; change it and make another */

static inline void make_vocab(void) {
    static char byte[256][8];
    static pith__str piece[N_PIECE];
    static float score[N_PIECE];
    static uint8_t type[N_PIECE];
    static const char *const first[] = { "<unk>", "<s>", "</s>" };
    for (int i = 0; i < N_PIECE; i++) {
        int b = i - BYTES;
        if (i >= BYTES && b < 256) snprintf(byte[b], sizeof byte[b], "<0x%02X>", (unsigned)b);
        piece[i] = pith__str_of(i < BYTES ? first[i] : b < 256 ? byte[b] : last_pieces[b - 256]);
        type[i] = i >= BYTES && b < 256 ? PITH__BYTE : i == THINK ? PITH__USER : PITH__CONTROL;
    }
    rows_vocab = (pith__vocab){ .model = PITH__SPM, .spelling = PITH__RAW, .n = N_PIECE, .piece = piece, .score = score,
                                .type = type, .bos = 1, .eos = EOS, .unk = -1, .end = { EOS, IM_END, TURN_END }, .n_end = 3,
                                .add_bos = 1, .byte_fallback = 1 };
}

static inline pith_model *rows_model(const char *form) {
    const pith__llama shape = { .dim = 8, .layers = 1, .heads = 2, .kv_heads = 1, .ffn = 8, .context = 64 };
    pith_error e = { 0, "" };
    rows_vocab.chat_template = form ? pith__str_of(form) : (pith__str){ NULL, 0 };
    pith_model *m = pith__new_llama(&shape, &rows_vocab, 1, &(pith_options){ .n_threads = 1 }, &e);
    if (!m) printf("# %s\n", e.text), exit(99);
    return m;
}

/* Its tokens as text: special ones in { }, and what counts in [ ]. */
static inline const char *shown(const pith_model *m, const pith__example *e) {
    static char text[8192];
    size_t n = 0;
    for (int i = 0; i < e->n && n < sizeof text - 100; i++) {
        pith__str s = pith__tokenizer_piece(m->tokenizer, e->t[i]);
        int special = m->store.vocab.type[e->t[i]] == PITH__CONTROL || m->store.vocab.type[e->t[i]] == PITH__USER;
        if (e->counts[i] && (i == 0 || !e->counts[i - 1])) text[n++] = '[';
        n += (size_t)snprintf(text + n, sizeof text - n, special ? "{%.*s}" : "%.*s", (int)s.n, s.p);
        if (e->counts[i] && (i + 1 == e->n || !e->counts[i + 1])) text[n++] = ']';
    }
    text[n] = 0;
    return text;
}

/* The first example of these rows, or the error. */
static inline const char *first_of(const char *form, const char *rows, pith__examples_plan plan) {
    static char said[300];
    static char kept[8300];
    pith_error e = { 0, "" };
    pith__examples x;
    const char *path = rows_file("r.jsonl", rows);
    pith_model *m = rows_model(form);
    pith_template *t = form ? pith_template_new(m, NULL, 0, NULL, &e) : NULL;
    if (form && !t) FAIL("%s", e.text);
    plan.train = (pith__texts){ &path, 1 };
    plan.form = t;
    int code = pith__examples_open(&x, m, &plan, NULL, &e);
    if (code) {
        snprintf(said, sizeof said, "error %d: %s", code, strstr(e.text, "r.jsonl") ? strstr(e.text, "r.jsonl") : e.text);
    } else {
        pith__example one = pith__examples_get(&x, 0);
        snprintf(kept, sizeof kept, "%s%s", shown(m, &one), x.endless.n ? " (endless)" : "");
        pith__examples_close(&x);
    }
    pith_template_free(t);
    pith_close(m);
    return code ? said : kept;
}

#define IS(form, rows, want) IS_WITH(form, rows, want, .max_length = 0)
#define IS_WITH(form, rows, want, ...) do { \
    const char *got_ = first_of(form, rows, (pith__examples_plan){ __VA_ARGS__ }); \
    if (strcmp(got_, want) != 0) FAIL("%s\n# is   %s\n# want %s", rows, got_, want); } while (0)
#define WRONG(form, rows, want) do { \
    const char *got_ = first_of(form, rows, (pith__examples_plan){ .max_length = 0 }); \
    if (strncmp(got_, "error -7: r.jsonl: ", 19) != 0 || !strstr(got_, want)) \
        FAIL("%s\n# is   %s\n# want %s", rows, got_, want); } while (0)

static inline void remove_folder(void) {
    char command[160];
    snprintf(command, sizeof command, "rm -r %s", folder);
    if (system(command)) exit(99);
}

#define CHATML_WITH(before, after) \
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n" before "{{ m.content }}" after "{% endfor %}" \
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
static const char chatml[] = CHATML_WITH("", "<|im_end|>\n");

#endif
