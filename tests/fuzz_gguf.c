/* fuzz_gguf.c - any bytes as a GGUF file: read, touch everything that was promised, free (make fuzz). */
#include "../internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile unsigned fuzz_sum;

static void touch(const void *p, size_t n) {
    const unsigned char *c = p;
    for (size_t i = 0; i < n; i++) fuzz_sum += c[i];
}

static void touch_str(pith__str s) { touch(s.p, s.n); }

static void touch_store(const pith__store *s) {
    const pith__vocab *v = &s->vocab;
    for (size_t i = 0; i < s->n_key; i++) {
        const pith__key *k = &s->key[i];
        touch_str(k->name);
        if (k->type == PITH__STRING) touch_str(k->s);
        if (k->type == PITH__ARRAY) touch(k->at.p, k->at.left);
    }
    for (size_t i = 0; i < s->n_tensor; i++) {
        const pith__tensor *t = &s->tensor[i];
        touch_str(t->name);
        touch(t->data, t->rows * t->row_bytes);
    }
    for (int i = 0; i < v->n; i++) {
        touch_str(v->piece[i]);
        fuzz_sum += v->type[i];
        if (!(v->type[i] >= PITH__NORMAL && v->type[i] <= PITH__BYTE)) abort();
        if (v->added) fuzz_sum += v->added[i];
        touch(&v->score[i], sizeof v->score[i]);
    }
    for (int i = 0; i < v->n_merge; i++) touch_str(v->left[i]), touch_str(v->right[i]);
    for (int i = 0; i < v->n_end; i++)
        if (v->end[i] < 0 || v->end[i] >= v->n) abort();
    if (v->bos >= v->n || v->eos >= v->n || v->unk >= v->n) abort();
    touch_str(v->pre);
    touch_str(v->chat_template);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    pith__store s;
    pith__file file[2] = { { .data = data, .size = size, .mapped = -1 } };
    pith_error err = { 0, "" };
    memset(&s, 0, sizeof s);
    s.path = "fuzz.gguf";
    s.file = file;
    s.n_file = 1;
    if (size && pith__gguf_is(&file[0])) {
        int code = pith__gguf_read(&s, 0, &err);
        if (code != PITH_OK && (code != err.code || !err.text[0])) abort();
        if (code == PITH_OK) touch_store(&s);
    }
    pith__store_free(&s);
    return 0;
}
