/* fixture.h - random models that the tests make themselves, and a few ways to handle files. */
#ifndef FIXTURE_H
#define FIXTURE_H
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int dim, hidden, layers, heads, kv_heads, vocab, context;
    int shared; /* 1: the output matrix is the embedding */
    int group;  /* of version 2 */
} fixture_shape;

/* 300 pieces: <unk> <s> </s>, 256 bytes, then letters and a few words, with a space before and without. */
enum { FIXTURE_VOCAB = 300 };
extern const fixture_shape fixture_tiny; /* 2 layers, 4 heads, 2 kv heads, vocabulary as above */

typedef struct {
    uint8_t *p;
    size_t n, cap;
} bytes; /* a file being made; free(p) */

void put(bytes *b, const void *p, size_t n);
void put_u32(bytes *b, uint32_t v);
void put_u64(bytes *b, uint64_t v);
void put_f32(bytes *b, float v);
int  save(const bytes *b, const char *path); /* 0: written */

float fixture_random(uint64_t *state); /* uniform in -1 to 1 */
bytes fixture_llama2c(const fixture_shape *s, int version, uint64_t seed); /* the same weights in all */
bytes fixture_tokenizer(void);

/* A GGUF file of lines, or parts between semicolons. Keys: "llama.block_count 3", "x 0.5", "x true",
 * "x [1,2]", "x ['a','b']", "x any text". Tensors of F32, slowest dimension first:
 * "blk.{3}.attn_q.weight 48 72", where {3} stands for 0, 1 and 2. A tensor's numbers depend on its name and the
 * seed only. */
bytes fixture_gguf(const char *keys, const char *tensors, uint64_t seed);
bytes fixture_safetensors(const char *tensors, uint64_t seed); /* the same tensors under other names */
const char *fixture_shared(const char *name); /* ../shared/NAME, or NULL when it is not there */
const char *fixture_tuning(const char *family, const char *file); /* of ../shared/tuning; "" when it is not there; good for seven more calls */
/* Korean words of syllables from U+AC00 on, and a line's end now and then; apart: each syllable as its two or
 * three jamo, by the Unicode Standard's formula (3.12). The caller frees it. */
char *fixture_korean(int n_word, int apart);

#endif
