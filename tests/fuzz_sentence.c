/* fuzz_sentence.c - any bytes as the small files of a folder of sentence-transformers, one behind the other with a line %% between:
 * what is taken embeds a text, or says why not.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz_sentence.c build/libpith.a -lm
 * or with tests/fuzz_main.c and any compiler, then run on the files of a corpus. */
#define _POSIX_C_SOURCE 200809L
#include "../internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = { "config.json", "vocab.txt", "modules.json", "1_Pooling/config.json", "2_Dense/config.json",
                                     "sentence_bert_config.json", "config_sentence_transformers.json", "tokenizer_config.json" };
static char dir[] = "/tmp/fuzz_sentence.XXXXXX", path[100];

static const char *in_dir(const char *name) {
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void write_file(const char *name, const void *p, size_t n) {
    FILE *f = fopen(in_dir(name), "wb");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f)) exit(99);
}

/* Weights that are all the same small number. */
static void write_weights(const char *name, const char *const *tensor, const int (*shape)[2], size_t n) {
    enum { ROOM = 1 << 14 };
    static uint8_t file[ROOM];
    char *head = (char *)file + 8;
    size_t at = 0, length = 0;
    for (size_t i = 0; i < n; i++) {
        size_t bytes = (size_t)shape[i][0] * (size_t)(shape[i][1] ? shape[i][1] : 1) * sizeof(float);
        char sizes[40];
        snprintf(sizes, sizeof sizes, shape[i][1] ? "%d,%d" : "%d", shape[i][0], shape[i][1]);
        length += (size_t)sprintf(head + length, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}", i ? "," : "{",
                                  tensor[i], sizes, at, at + bytes);
        at += bytes;
    }
    length += (size_t)sprintf(head + length, "}");
    for (int i = 0; i < 8; i++) file[i] = (uint8_t)(i < 4 ? length >> 8 * i : 0);
    for (size_t i = 0; i < at; i++) file[8 + length + i] = i % 4 < 2 ? 0 : i % 4 == 2 ? 0x80 : 0x3e; /* 0.25 */
    write_file(name, file, 8 + length + at);
}

static void remove_dir(void) {
    pith__remove_named(dir, "", "");
    rmdir(dir);
}

static void make_dir(void) {
    static const char *const tensor[] = {
        "embeddings.LayerNorm.bias", "embeddings.LayerNorm.weight", "embeddings.position_embeddings.weight",
        "embeddings.token_type_embeddings.weight", "embeddings.word_embeddings.weight",
        "encoder.layer.0.attention.output.LayerNorm.bias", "encoder.layer.0.attention.output.LayerNorm.weight",
        "encoder.layer.0.attention.output.dense.bias", "encoder.layer.0.attention.output.dense.weight",
        "encoder.layer.0.attention.self.key.bias", "encoder.layer.0.attention.self.key.weight",
        "encoder.layer.0.attention.self.query.bias", "encoder.layer.0.attention.self.query.weight",
        "encoder.layer.0.attention.self.value.bias", "encoder.layer.0.attention.self.value.weight",
        "encoder.layer.0.intermediate.dense.bias", "encoder.layer.0.intermediate.dense.weight",
        "encoder.layer.0.output.LayerNorm.bias", "encoder.layer.0.output.LayerNorm.weight",
        "encoder.layer.0.output.dense.bias", "encoder.layer.0.output.dense.weight" }, *const dense[] = { "linear.bias", "linear.weight" };
    static const int shape[][2] = { { 8, 0 }, { 8, 0 }, { 16, 8 }, { 2, 8 }, { 10, 8 }, { 8, 0 }, { 8, 0 }, { 8, 0 }, { 8, 8 }, { 8, 0 }, { 8, 8 },
        { 8, 0 }, { 8, 8 }, { 8, 0 }, { 8, 8 }, { 12, 0 }, { 12, 8 }, { 8, 0 }, { 8, 0 }, { 8, 0 }, { 8, 12 } }, dense_shape[][2] = { { 3, 0 }, { 3, 8 } };
    if (!mkdtemp(dir)) exit(99);
    atexit(remove_dir);
    if (mkdir(in_dir("1_Pooling"), 0777) || mkdir(in_dir("2_Dense"), 0777)) exit(99);
    write_weights("model.safetensors", tensor, shape, sizeof shape / sizeof *shape);
    write_weights("2_Dense/model.safetensors", dense, dense_shape, 2);
}

static void embed_text(const pith_model *m) {
    static const char text[] = "The cat [MASK] \xed\x95\x9c\xea\xb5\xad\xec\x96\xb4 \xff ab";
    pith_error e = { 0, "" };
    pith_embedder *k = pith_embedder_new(m, NULL, NULL, &e);
    pith_passage p = { .text = text, .n_text = sizeof text - 1 };
    float out[4096];
    if (!k && !e.text[0]) abort();
    if (k && pith_embedder_size(k) > 4096) abort();
    int n = k ? pith_embed(k, &p, 1, out, 1, &e) : 0;
    if (k && n != 1 && !e.text[0]) abort();
    pith_embedder_free(k);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    pith_error e = { 0, "" };
    if (strstr(dir, "XXXXXX")) make_dir();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = 0;
        while (n < size && !(n + 4 <= size && !memcmp(data + n, "\n%%\n", 4))) n++;
        if (n) write_file(names[i], data, n);
        else unlink(in_dir(names[i]));
        size_t step = n < size ? n + 4 : n;
        data += step, size -= step;
    }
    pith_model *m = pith_open(dir, &(pith_options){ .n_threads = 1 }, &e);
    if (!m && !e.text[0]) abort();
    if (m) embed_text(m);
    pith_close(m);
    return 0;
}
