/* fixture.c - see fixture.h */
#include "fixture.h"
#include "../base/base.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const fixture_shape fixture_tiny = { 32, 64, 2, 4, 2, FIXTURE_VOCAB, 64, 1, 32 };

void put(bytes *b, const void *p, size_t n) {
    if (b->n + n > b->cap) {
        b->cap = 2 * (b->n + n);
        b->p = realloc(b->p, b->cap);
        if (!b->p) exit(99);
    }
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
}

void put_u32(bytes *b, uint32_t v) { put(b, &v, 4); }
void put_u64(bytes *b, uint64_t v) { put(b, &v, 8); }
void put_f32(bytes *b, float v) { put(b, &v, 4); }

int save(const bytes *b, const char *path) {
    FILE *f = fopen(path, "wb");
    if (!f) return 1;
    size_t n = b->n ? fwrite(b->p, 1, b->n, f) : 0;
    return fclose(f) != 0 || n != b->n;
}

float fixture_random(uint64_t *state) { /* splitmix64 */
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (float)((double)(z >> 40) / (1 << 23) - 1);
}

/* ---- llama2.c checkpoints ---------------------------------------------------------------------------- */

enum { EMBD, ATTN_NORM, Q, K, V, O, FFN_NORM, W1, W2, W3, OUT_NORM, HEAD, KINDS };

static size_t rows_of(const fixture_shape *s, int kind) {
    size_t kv = (size_t)(s->dim / s->heads * s->kv_heads);
    const size_t rows[KINDS] = { (size_t)s->vocab, 1, (size_t)s->dim, kv, kv, (size_t)s->dim, 1,
                                 (size_t)s->hidden, (size_t)s->dim, (size_t)s->hidden, 1,
                                 (size_t)s->vocab };
    return rows[kind];
}

/* One tensor of one layer, the same numbers wherever the version puts it. */
static void put_tensor(bytes *b, const fixture_shape *s, int kind, int l, uint64_t seed, int group) {
    uint64_t state = seed * 1000003 + (uint64_t)(kind * 1000 + l);
    int norm = kind == ATTN_NORM || kind == FFN_NORM || kind == OUT_NORM;
    size_t cols = kind == W2 ? (size_t)s->hidden : (size_t)s->dim, n = rows_of(s, kind) * cols;
    float *x = malloc(n * sizeof *x);
    if (!x) exit(99);
    for (size_t i = 0; i < n; i++)
        x[i] = norm ? 1 + 0.1f * fixture_random(&state)
                    : fixture_random(&state) * (kind == EMBD ? 1.0f : 2.0f / sqrtf((float)cols));
    if (!group || norm) {
        put(b, x, n * sizeof *x);
    } else {
        for (int pass = 0; pass < 2; pass++) /* all integers, then all scales */
            for (size_t g = 0; g < n; g += (size_t)group) {
                float most = 0;
                for (int i = 0; i < group; i++) most = fmaxf(most, fabsf(x[g + (size_t)i]));
                float scale = most / 127.0f;
                for (int i = 0; pass == 0 && i < group; i++) {
                    int8_t q = (int8_t)roundf(x[g + (size_t)i] / scale);
                    put(b, &q, 1);
                }
                if (pass == 1) put_f32(b, scale);
            }
    }
    free(x);
}

bytes fixture_llama2c(const fixture_shape *s, int version, uint64_t seed) {
    static const int v0[] = { EMBD, ATTN_NORM, Q, K, V, O, FFN_NORM, W1, W2, W3, OUT_NORM, -1, HEAD };
    static const int v1[] = { ATTN_NORM, FFN_NORM, OUT_NORM, EMBD, Q, K, V, O, W1, W2, W3, HEAD };
    bytes b = { NULL, 0, 0 };
    if (version) {
        put_u32(&b, 0x616b3432);
        put_u32(&b, (uint32_t)version);
    }
    const int fields[] = { s->dim, s->hidden, s->layers, s->heads, s->kv_heads,
                           version || s->shared ? s->vocab : -s->vocab, s->context };
    put(&b, fields, sizeof fields);
    if (version) {
        uint8_t zeros[256] = { 0 }, flag = (uint8_t)s->shared;
        put(&b, &flag, 1);
        if (version == 2) put_u32(&b, (uint32_t)s->group);
        put(&b, zeros, 256 - b.n);
    }
    const int *order = version ? v1 : v0;
    for (size_t i = 0; i < (version ? sizeof v1 : sizeof v0) / sizeof *order; i++) {
        int kind = order[i];
        for (int j = 0; kind < 0 && j < s->context * (s->dim / s->heads); j++) put_f32(&b, 0.5f);
        if (kind < 0 || (kind == HEAD && s->shared)) continue;
        int once = kind == EMBD || kind == OUT_NORM || kind == HEAD;
        for (int l = 0; l < (once ? 1 : s->layers); l++)
            put_tensor(&b, s, kind, l, seed, version == 2 ? s->group : 0);
    }
    return b;
}

/* ---- tokenizer.bin ----------------------------------------------------------------------------------- */

static void put_piece(bytes *b, const char *piece, float score) {
    put_f32(b, score);
    put_u32(b, (uint32_t)strlen(piece));
    put(b, piece, strlen(piece));
}

bytes fixture_tokenizer(void) {
    static const char *const words[] = { " ", "t", "h", "e", " t", "he", " the", "o", "n", "c", "on",
                                         "ce", "once", " u", "p", "a", "i", "m", "s", "r", "d", "l",
                                         "w", "y", ".", "\n", " a", "nd", " and", "in", "er", "re",
                                         " s", "ou", "is", "at", "en", "\xc3\xa9", "\xe4\xbd\xa0",
                                         "\xf0\x9f\x98\x80", "u" };
    bytes b = { NULL, 0, 0 };
    char piece[16];
    put_u32(&b, 6);
    put_piece(&b, "<unk>", 0);
    put_piece(&b, "\n<s>\n", 0);
    put_piece(&b, "\n</s>\n", 0);
    for (int i = 0; i < 256; i++) {
        snprintf(piece, sizeof piece, "<0x%02X>", (unsigned)i);
        put_piece(&b, piece, 0);
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) put_piece(&b, words[i], -(float)i);
    return b;
}

/* ---- GGUF -------------------------------------------------------------------------------------------- */

enum { U32 = 4, I32 = 5, F32 = 6, BOOL = 7, STRING = 8, ARRAY = 9 }; /* GGUF's types of values */

/* The next line of a text, without the white space before it; NULL: no more. */
static const char *next_line(const char **text, char *line, size_t size) {
    *text += strspn(*text, " ;\n");
    size_t n = strcspn(*text, ";\n");
    if (n == 0) return NULL;
    if (n >= size) exit(99);
    memcpy(line, *text, n);
    line[n] = 0;
    *text += n;
    return line;
}

static void put_string(bytes *b, const char *s, size_t n) {
    put_u64(b, n);
    put(b, s, n);
}

/* A number, true or false; returns what it is. A point or an exponent makes a float. */
static uint32_t put_scalar(bytes *b, const char *s, size_t n, uint32_t integer) {
    uint8_t yes = *s == 't';
    if (n && strspn(s, "-0123456789") >= n) {
        put_u32(b, (uint32_t)strtol(s, NULL, 10));
        return integer;
    }
    if (n && strspn(s, "-+.e0123456789") >= n) {
        put_f32(b, strtof(s, NULL));
        return F32;
    }
    put(b, &yes, 1);
    return BOOL;
}

static void put_value(bytes *b, const char *s) {
    bytes items = { NULL, 0, 0 };
    uint32_t type = STRING;
    uint64_t count = 0;
    if (*s == '[') {
        for (const char *p = s + 1; *p && *p != ']'; p += p[0] == ',') {
            size_t n = *p == '\'' ? 2 + strcspn(p + 1, "'") : strcspn(p, ",]");
            if (*p == '\'') put_string(&items, p + 1, n - 2), type = STRING;
            else type = put_scalar(&items, p, n, I32);
            count++;
            p += n;
        }
        put_u32(b, ARRAY);
        put_u32(b, type);
        put_u64(b, count);
    } else {
        int word = !strchr("-0123456789", *s) && strcmp(s, "true") != 0 && strcmp(s, "false") != 0;
        if (word) put_string(&items, s, strlen(s));
        else type = put_scalar(&items, s, strlen(s), U32);
        put_u32(b, type);
    }
    put(b, items.p, items.n);
    free(items.p);
}

typedef struct { /* the two ends of a file that grow together */
    bytes info, data;
    uint64_t n, seed;
    int json; /* 1: info is the header of a safetensors file */
} gguf_tensors;

static void put_numbers(bytes *b, const char *name, size_t n, size_t cols, uint64_t seed) {
    uint64_t state = 0xcbf29ce484222325u ^ seed; /* FNV-1a of the name */
    for (const char *p = name; *p; p++) state = (state ^ (uint8_t)*p) * 0x100000001b3u;
    float mean = 0, spread = 2.0f / sqrtf((float)cols);
    if (strstr(name, "norm")) mean = 1, spread = 0.125f;
    else if (strstr(name, ".bias")) spread = 0.25f;
    else if (strncmp(name, "rope_", 5) == 0) mean = 2.5f, spread = 1.5f;
    else if (strstr(name, "token_embd") || strstr(name, "embed_tokens")) spread = 1;
    else if (strstr(name, "ffn_gate_inp") || strstr(name, "mlp.gate.") || strstr(name, "moe.gate."))
        spread *= 3;
    for (size_t i = 0; i < n; i++) put_f32(b, mean + spread * fixture_random(&state));
}

static void put_json(gguf_tensors *t, const char *name, const uint64_t *shape, int n_dim) {
    char text[300], sizes[64] = "";
    size_t n = 1, from = t->data.n;
    for (int i = 0; i < n_dim; i++) {
        n *= (size_t)shape[i];
        snprintf(sizes + strlen(sizes), sizeof sizes - strlen(sizes), "%s%d", i ? "," : "", (int)shape[i]);
    }
    put_numbers(&t->data, name, n, (size_t)shape[n_dim - 1], t->seed);
    snprintf(text, sizeof text, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
             t->info.n ? "," : "{", name, sizes, from, t->data.n);
    put(&t->info, text, strlen(text));
}

/* One tensor, or, where the name has {n} in it, n of them. */
static void put_tensors(gguf_tensors *t, const char *name, const uint64_t *shape, int n_dim) {
    const char *from = strchr(name, '{'), *to = from ? strchr(from, '}') : NULL;
    if (to) {
        for (int i = 0; i < atoi(from + 1); i++) {
            char one[128];
            snprintf(one, sizeof one, "%.*s%d%s", (int)(from - name), name, i, to + 1);
            put_tensors(t, one, shape, n_dim);
        }
        return;
    }
    size_t n = 1;
    if (t->json) {
        put_json(t, name, shape, n_dim);
        return;
    }
    put_string(&t->info, name, strlen(name));
    put_u32(&t->info, (uint32_t)n_dim);
    for (int i = n_dim - 1; i >= 0; i--) {
        put_u64(&t->info, shape[i]);
        n *= (size_t)shape[i];
    }
    put_u32(&t->info, 0); /* F32 */
    put_u64(&t->info, t->data.n);
    put_numbers(&t->data, name, n, (size_t)shape[n_dim - 1], t->seed);
    while (t->data.n % 32) put(&t->data, "", 1);
    t->n++;
}

static void put_all(gguf_tensors *t, const char *tensors) {
    char line[512];
    while (next_line(&tensors, line, sizeof line)) {
        uint64_t shape[4];
        char *p = line + strcspn(line, " ");
        int n_dim = 0;
        if (*p) *p++ = 0;
        for (; *p && n_dim < 4; n_dim++) shape[n_dim] = strtoul(p, &p, 10);
        put_tensors(t, line, shape, n_dim);
    }
}

bytes fixture_gguf(const char *keys, const char *tensors, uint64_t seed) {
    bytes b = { NULL, 0, 0 }, k = { NULL, 0, 0 };
    gguf_tensors t = { { NULL, 0, 0 }, { NULL, 0, 0 }, 0, seed, 0 };
    uint64_t n_key = 0;
    char line[512];
    for (; next_line(&keys, line, sizeof line); n_key++) {
        size_t n = strcspn(line, " ");
        put_string(&k, line, n);
        put_value(&k, line + n + (line[n] == ' '));
    }
    put_all(&t, tensors);
    put(&b, "GGUF", 4);
    put_u32(&b, 3);
    put_u64(&b, t.n);
    put_u64(&b, n_key);
    put(&b, k.p, k.n);
    put(&b, t.info.p, t.info.n);
    while (b.n % 32) put(&b, "", 1);
    put(&b, t.data.p, t.data.n);
    free(k.p), free(t.info.p), free(t.data.p);
    return b;
}

bytes fixture_safetensors(const char *tensors, uint64_t seed) {
    bytes b = { NULL, 0, 0 };
    gguf_tensors t = { { NULL, 0, 0 }, { NULL, 0, 0 }, 0, seed, 1 };
    put_all(&t, tensors);
    put(&t.info, "}", 1);
    put_u64(&b, t.info.n);
    put(&b, t.info.p, t.info.n);
    put(&b, t.data.p, t.data.n);
    free(t.info.p), free(t.data.p);
    return b;
}

/* ---- files ------------------------------------------------------------------------------------------- */

const char *fixture_shared(const char *name) {
    static char path[512];
    const char *dir = getenv("PITH_SHARED");
    snprintf(path, sizeof path, "%s/%s", dir ? dir : "../shared", name);
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    fclose(f);
    return path;
}

const char *fixture_tuning(const char *family, const char *file) {
    static char path[8][512];
    static int turn;
    char name[200], *to = path[turn++ % 8];
    snprintf(name, sizeof name, "tuning/%s/%s", family, file);
    const char *p = fixture_shared(name);
    snprintf(to, sizeof path[0], "%s", p ? p : "");
    return to;
}

char *fixture_korean(int n_word, int apart) {
    char *text = malloc((size_t)n_word * 40 + 1), *p = text;
    if (!text) exit(99);
    for (int i = 0; i < n_word; i++) {
        for (int k = 0; k < 3; k++) {
            uint32_t s = (uint32_t)(i % 7 * 1201 + k * (i % 11) * 613) % 11172;
            uint32_t trail = s % 28;
            if (!apart) {
                p += pith__utf8_write(0xac00 + s, p);
            } else {
                p += pith__utf8_write(0x1100 + s / 588, p);
                p += pith__utf8_write(0x1161 + s % 588 / 28, p);
                if (trail) p += pith__utf8_write(0x11a7 + trail, p);
            }
        }
        *p++ = i % 9 == 8 ? '\n' : ' ';
    }
    *p = 0;
    return text;
}
