/* t_latent.c - latent attention: what the cache holds, both forms of its matrices, texts that are kept, and files that are
 * wrong. That its logits are right is for t_models.c. */
#include "../train/train.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

enum { LAYERS = 2, EMBD = 24, HEADS = 6, RANK = 64, ROT = 32, NOPE = 32, VALUE = 12, Q_RANK = 14, FF = 20, VOCAB = 37, N = 30 };

typedef struct { /* a model in the making */
    pith__store s;
    const char *wrong;   /* the key that gets, or the tensor whose rows get, */
    long long is;        /*     this instead of what is right; -1: it is left out */
    int one_kv_b;        /* 1: attn_kv_b */
    int format;          /* of that */
    const char *kernels;
} made;

static void put_key(made *k, const char *name, int value) {
    char full[80];
    int wrong = k->wrong && !strcmp(k->wrong, name);
    snprintf(full, sizeof full, "deepseek2.%s", name);
    if (!wrong || k->is >= 0) pith__store_add_int(&k->s, full, wrong ? k->is : value);
}

static void put_tensor(made *k, int l, const char *part, const float *x, int format, size_t rows, size_t cols) {
    const pith__format *f = pith__format_of(format);
    char name[96];
    if (k->wrong && !strcmp(k->wrong, part)) rows = k->is < 0 ? 0 : (size_t)k->is;
    if (!rows) return;
    if (l < 0) snprintf(name, sizeof name, "%s", part);
    else snprintf(name, sizeof name, "blk.%d.%s", l, part);
    size_t size = rows * (cols / (size_t)f->length) * (size_t)f->bytes;
    uint8_t *y = pith__arena_new(&k->s.arena, size, 1);
    f->encode(y, x, (int)(rows * cols), NULL);
    pith__tensor *t = &k->s.tensor[k->s.n_tensor++];
    *t = (pith__tensor){ .name = pith__str_of(pith__arena_text(&k->s.arena, name, strlen(name))), .n_dim = rows > 1 ? 2 : 1 };
    t->shape[0] = rows > 1 ? rows : cols, t->shape[1] = cols;
    if (pith__tensor_set(t, &k->s, format, (pith__cursor){ y, size, 0 }, NULL)) FAIL("%s", name);
}

static const float *numbers(made *k, int l, const char *part, size_t rows, size_t cols) { /* with room for some rows more */
    uint64_t state = 7 + (uint64_t)(l + 1);
    for (const char *c = part; *c; c++) state = state * 31 + (uint64_t)*c;
    float *x = pith__arena_new(&k->s.arena, (rows + 8) * cols, sizeof *x);
    for (size_t i = 0; i < (rows + 8) * cols; i++)
        x[i] = strstr(part, "norm") ? 1 + 0.3f * fixture_random(&state) : fixture_random(&state) * 1.5f / sqrtf((float)cols);
    return x;
}

static void put_random(made *k, int l, const char *part, size_t rows, size_t cols) {
    put_tensor(k, l, part, numbers(k, l, part, rows, cols), PITH__F32, rows, cols);
}

/* The same numbers in one tensor, or as newer files have them. */
static void put_kv_b(made *k, int l) {
    enum { ROWS = HEADS * (NOPE + VALUE) };
    static float of_k[HEADS * RANK * NOPE], of_v[HEADS * VALUE * RANK];
    const float *x = numbers(k, l, "attn_kv_b.weight", ROWS, RANK);
    for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < RANK; i++) {
            for (int j = 0; j < NOPE; j++) of_k[(h * RANK + i) * NOPE + j] = x[(h * (NOPE + VALUE) + j) * RANK + i];
            for (int j = 0; j < VALUE; j++) of_v[(h * VALUE + j) * RANK + i] = x[(h * (NOPE + VALUE) + NOPE + j) * RANK + i];
        }
    if (k->one_kv_b) {
        put_tensor(k, l, "attn_kv_b.weight", x, k->format, ROWS, RANK);
    } else {
        put_tensor(k, l, "attn_k_b.weight", of_k, k->format, HEADS * RANK, NOPE);
        put_tensor(k, l, "attn_v_b.weight", of_v, k->format, HEADS * VALUE, RANK);
    }
}

static void put_keys(made *k) {
    const struct { const char *key; int value; } keys[] = {
        { "block_count", LAYERS }, { "embedding_length", EMBD }, { "attention.head_count", HEADS },
        { "attention.head_count_kv", k->one_kv_b ? HEADS : 1 }, { "feed_forward_length", FF }, { "context_length", 64 },
        { "attention.q_lora_rank", Q_RANK }, { "attention.kv_lora_rank", RANK }, { "rope.dimension_count", ROT },
        { "attention.key_length", k->one_kv_b ? NOPE + ROT : RANK + ROT },
        { "attention.value_length", k->one_kv_b ? VALUE : RANK }, { "attention.sliding_window", 0 },
    };
    pith__store_add_string(&k->s, "general.architecture", "deepseek2");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) put_key(k, keys[i].key, keys[i].value);
    if (!k->one_kv_b) put_key(k, "attention.key_length_mla", NOPE + ROT), put_key(k, "attention.value_length_mla", VALUE);
    pith__store_add_float(&k->s, "deepseek2.attention.layer_norm_rms_epsilon", 1e-5);
}

static pith_model *make(made k, pith_error *err) {
    pith_options o = { .n_threads = 1, .kernels = k.kernels };
    k.s.path = k.s.kind = "made";
    put_keys(&k);
    k.s.tensor = pith__arena_new(&k.s.arena, 4 + 16 * LAYERS, sizeof *k.s.tensor);
    put_random(&k, -1, "token_embd.weight", VOCAB, EMBD), put_random(&k, -1, "output_norm.weight", 1, EMBD);
    for (int l = 0; l < LAYERS; l++) {
        put_random(&k, l, "attn_norm.weight", 1, EMBD), put_random(&k, l, "ffn_norm.weight", 1, EMBD);
        put_random(&k, l, "attn_q_a.weight", Q_RANK, EMBD), put_random(&k, l, "attn_q_a_norm.weight", 1, Q_RANK);
        put_random(&k, l, "attn_q_b.weight", HEADS * (NOPE + ROT), Q_RANK);
        put_random(&k, l, "attn_kv_a_mqa.weight", RANK + ROT, EMBD), put_random(&k, l, "attn_kv_a_norm.weight", 1, RANK);
        put_kv_b(&k, l);
        put_random(&k, l, "attn_output.weight", EMBD, HEADS * VALUE);
        put_random(&k, l, "ffn_gate.weight", FF, EMBD), put_random(&k, l, "ffn_up.weight", FF, EMBD), put_random(&k, l, "ffn_down.weight", EMBD, FF);
    }
    return pith__model_of(&k.s, &o, err);
}

static pith_model *made_model(made k) {
    pith_error e = { 0, "" };
    pith_model *m = make(k, &e);
    if (!m) FAIL("%s", e.text);
    return m;
}

static pith_session *session(const pith_model *m, const char *cache_k, const char *cache_v, int n_batch) {
    pith_error e = { 0, "" };
    pith_context c = { .n_ctx = 48, .n_batch = n_batch, .cache_k = cache_k, .cache_v = cache_v };
    pith_session *s = pith_session_new(m, &c, &e);
    if (!s) FAIL("%s", e.text);
    return s;
}

static pith_token text[N];

static void read_on(pith_session *s, int from, int to, float *logits) { /* logits (to - from, VOCAB) */
    pith_error e = { 0, "" };
    const pith_work w = { s, text + from, to - from, logits };
    if (pith_eval_many(&w, 1, &e)) FAIL("%s", e.text);
}

static const char *const sets[] = { "portable", "avx2", "avxvnni", "avx512", "neon" };

static int runs(const char *kernels) { return pith__x86(kernels) || pith__arm(kernels) || pith__portable(kernels); }

/* ---- the cache ------------------------------------------------------------------------------------------ */

TEST(the_cache_holds_a_latent_and_what_is_rotated) {
    pith_model *m = made_model((made){ 0 });
    REQUIRE(m);
    pith_context c = { .n_ctx = 48, .cache_k = "f32" }, half = { .n_ctx = 48, .cache_v = "f16" };
    EQ(pith_session_size(m, &c) - pith_session_size(m, &half), LAYERS * 48 * (RANK + ROT) * 2);
    EQ(pith_model_shape(m)->n_kv_head, 1);
    EQ(pith_model_shape(m)->head_dim, RANK + ROT);
    pith_close(m);
}

TEST(cache_types_are_one) {
    static const char *const types[] = { "f16", "q8_0" };
    static const double tol[] = { 2e-3, 2e-2 };
    pith_model *m = made_model((made){ .kernels = "portable" });
    REQUIRE(m);
    static float want[N * VOCAB], got[N * VOCAB];
    pith_session *s = session(m, NULL, "f32", N);
    read_on(s, 0, N, want);
    pith_session_free(s);
    for (int i = 0; i < 2; i++) {
        double off = 0;
        s = session(m, types[i], NULL, N);
        read_on(s, 0, N, got);
        for (int k = 0; k < N * VOCAB; k++) off = fmax(off, fabs((double)got[k] - (double)want[k]));
        CHECK(off > 0 && off < 4 * tol[i]);
        pith_session_free(s);
    }
    pith_context c = { .n_ctx = 48, .cache_k = "f16", .cache_v = "f32" };
    pith_error e = { 0, "" };
    CHECK(!pith_session_new(m, &c, &e));
    CHECK(strstr(e.text, "the cache types are F16 and F32, need the same"));
    pith_close(m);
}

/* ---- the matrices ------------------------------------------------------------------------------------------- */

TEST(one_matrix_or_two_give_the_same_bits) {
    static const int formats[] = { PITH__F32, PITH__F16, PITH__BF16 };
    static float two[N * VOCAB], one[N * VOCAB];
    for (int i = 0; i < 3; i++)
        for (size_t k = 0; k < 4; k++) {
            if (!runs(sets[k])) continue;
            for (int single = 0; single < 2; single++) {
                pith_model *m = made_model((made){ .one_kv_b = single, .format = formats[i], .kernels = sets[k] });
                REQUIRE(m);
                pith_session *s = session(m, "f32", "f32", N);
                read_on(s, 0, N, single ? one : two);
                pith_session_free(s), pith_close(m);
            }
            CHECK(!memcmp(one, two, sizeof one));
        }
}

/* Rows of a key have no transpose in a format of blocks; those of values stay as they are. */
TEST(a_quantised_kv_b_is_split) {
    static float want[N * VOCAB], got[N * VOCAB];
    double off = 0;
    for (int i = 0; i < 2; i++) {
        pith_model *m = made_model((made){ .one_kv_b = 1, .format = i ? PITH__Q8_0 : PITH__F32 });
        REQUIRE(m);
        const pith__tensor *k = pith__store_tensor(&m->store, "blk.1.attn_k_b.weight");
        const pith__tensor *v = pith__store_tensor(&m->store, "blk.1.attn_v_b.weight");
        REQUIRE(k && v && k->n_dim == 3 && v->n_dim == 3);
        CHECK(k->shape[0] == HEADS && k->shape[1] == RANK && k->shape[2] == NOPE && k->format->id == PITH__F32);
        CHECK(v->shape[0] == HEADS && v->shape[1] == VALUE && v->shape[2] == RANK);
        EQ(v->format->id, i ? PITH__Q8_0 : PITH__F32);
        CHECK(!pith__store_tensor(&m->store, "blk.1.attn_kv_b.weight"));
        pith_session *s = session(m, "f32", NULL, N);
        read_on(s, 0, N, i ? got : want);
        pith_session_free(s), pith_close(m);
    }
    for (int i = 0; i < N * VOCAB; i++) off = fmax(off, fabs((double)got[i] - (double)want[i]));
    CHECK(off > 0 && off < 0.1);
}

/* ---- texts -------------------------------------------------------------------------------------------------- */

TEST(any_number_of_tokens_at_once_gives_the_same_bits) {
    static float want[N * VOCAB], got[N * VOCAB];
    for (size_t k = 0; k < 4; k++) {
        if (!runs(sets[k])) continue;
        pith_model *m = made_model((made){ .kernels = sets[k] });
        REQUIRE(m);
        for (int step = N; step > 0; step /= 3) {
            pith_session *s = session(m, "f32", "f32", N);
            for (int t = 0; t < N; t += step) read_on(s, t, t + step < N ? t + step : N, (step < N ? got : want) + t * VOCAB);
            if (step < N) CHECK(!memcmp(want, got, sizeof got));
            pith_session_free(s);
        }
        pith_close(m);
    }
}

TEST(texts_side_by_side_are_as_alone) {
    static float want[N * VOCAB], a[N * VOCAB], b[N * VOCAB];
    pith_model *m = made_model((made){ 0 });
    REQUIRE(m);
    pith_session *s = session(m, NULL, NULL, N), *t = session(m, NULL, NULL, N);
    read_on(s, 0, N, want);
    pith_rewind(s, 0);
    pith_error e = { 0, "" };
    const pith_work work[] = { { s, text, N - 11, a }, { t, text, N, b } };
    CHECK(!pith_eval_many(work, 2, &e));
    CHECK(!memcmp(a, want, (N - 11) * VOCAB * sizeof *a) && !memcmp(b, want, sizeof b));
    pith_session_free(s), pith_session_free(t), pith_close(m);
}

TEST(a_text_is_copied_saved_and_rewound) {
    static float want[N * VOCAB], got[N * VOCAB];
    char path[] = "/tmp/pith-latent-XXXXXX";
    pith_error e = { 0, "" };
    int file = mkstemp(path);
    REQUIRE(file >= 0);
    close(file);
    pith_model *m = made_model((made){ 0 });
    REQUIRE(m);
    pith_session *s = session(m, "q8_0", "q8_0", N), *t = session(m, "q8_0", "q8_0", N);
    read_on(s, 0, N, want);
    EQ(pith_rewind(s, 19), 19);
    read_on(s, 19, N, got + 19 * VOCAB);
    CHECK(!memcmp(got + 19 * VOCAB, want + 19 * VOCAB, (N - 19) * VOCAB * sizeof *got));
    pith_rewind(s, 21);
    CHECK(!pith_session_copy(t, s, &e));
    read_on(t, 21, N, got + 21 * VOCAB);
    CHECK(!memcmp(got + 21 * VOCAB, want + 21 * VOCAB, (N - 21) * VOCAB * sizeof *got));
    CHECK(!pith_session_save(s, path, &e));
    pith_rewind(t, 0);
    CHECK(!pith_session_load(t, path, &e));
    read_on(t, 21, N, got + 21 * VOCAB);
    CHECK(!memcmp(got + 21 * VOCAB, want + 21 * VOCAB, (N - 21) * VOCAB * sizeof *got));
    remove(path);
    pith_session_free(s), pith_session_free(t), pith_close(m);
}

/* ---- importance ------------------------------------------------------------------------------------------------ */

TEST(what_heads_read_is_weighed_head_by_head) {
    static const struct { const char *name; int n_mat, cols; } want[] = {
        { "blk.0.attn_k_b.weight", HEADS, NOPE }, { "blk.1.attn_v_b.weight", HEADS, RANK }, { "blk.1.attn_q_b.weight", 1, Q_RANK },
        { "blk.1.attn_kv_a_mqa.weight", 1, EMBD }, { "blk.0.attn_output.weight", 1, HEADS * VALUE },
    };
    pith_error e = { 0, "" };
    pith_model *m = made_model((made){ 0 });
    REQUIRE(m);
    pith_context c = { .n_ctx = N, .n_batch = N };
    pith__weighing *g = pith__weigh_new(m, &c, 0, &e);
    REQUIRE(g);
    CHECK(!pith__weigh_chunk(g, text, N, &e));
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const pith__inputs *in = pith__imatrix_of(pith__weigh_sums(g), pith__str_of(want[i].name));
        REQUIRE(in);
        EQ((int)in->n_mat, want[i].n_mat);
        EQ((int)in->cols, want[i].cols);
        for (int h = 0; h < want[i].n_mat; h++) {
            EQ((int)in->count[h], N);
            for (int k = 0; k < want[i].cols; k++) CHECK(in->sum2[h * want[i].cols + k] > 0);
            if (h) CHECK(memcmp(in->sum2, in->sum2 + h * want[i].cols, (size_t)want[i].cols * sizeof(float)));
        }
    }
    pith__weigh_free(g), pith_close(m);
}

/* ---- what is wrong -------------------------------------------------------------------------------------------- */

static void refused(const char *what, long long is, int one_kv_b, const char *why) {
    pith_error e = { 0, "" };
    pith_model *m = make((made){ .wrong = what, .is = is, .one_kv_b = one_kv_b }, &e);
    if (m) FAIL("%s %lld: opened", what, is);
    else if (!strstr(e.text, why)) FAIL("%s %lld: %s", what, is, e.text);
    pith_close(m);
}

TEST(files_that_are_wrong_are_refused_by_name) {
    refused("attention.kv_lora_rank", -1, 0, "no key 'deepseek2.attention.kv_lora_rank'");
    refused("attention.kv_lora_rank", 0, 0, "deepseek2.attention.kv_lora_rank");
    refused("attention.kv_lora_rank", INT32_MAX, 0, "attention.kv_lora_rank is 2147483647, need less");
    refused("attention.kv_lora_rank", RANK + 2, 0, "attention.key_length is 96");
    refused("attention.kv_lora_rank", RANK + 2, 1, "attn_kv_b.weight' is 264 x 64, need 264 x 66");
    refused("rope.dimension_count", ROT - 1, 0, "rope.dimension_count is 31");
    refused("rope.dimension_count", NOPE + ROT, 0, "rope.dimension_count is 64");
    refused("attention.key_length_mla", NOPE + ROT + 2, 0, "attn_q_b.weight");
    refused("attention.value_length_mla", VALUE + 1, 0, "attn_output.weight");
    refused("attention.value_length_mla", INT32_MAX, 0, "attn_output.weight");
    refused("attention.q_lora_rank", 0, 0, "no tensor 'blk.0.attn_q.weight'");
    refused("attention.q_lora_rank", Q_RANK + 1, 0, "attn_q_a.weight");
    refused("attention.sliding_window", 8, 0, "attention.sliding_window is 8, need 0");
    refused("attention.head_count", 1 << 28, 0, "attention.head_count is 268435456");
    refused("attn_kv_a_mqa.weight", RANK, 0, "attn_kv_a_mqa.weight' is 64 x 24, need 96 x 24");
    refused("attn_kv_a_norm.weight", -1, 0, "no tensor 'blk.0.attn_kv_a_norm.weight'");
    refused("attn_k_b.weight", HEADS * RANK - 1, 0, "attn_k_b.weight' is 383 x 32, need 384 x 32");
    refused("attn_v_b.weight", -1, 0, "no tensor 'blk.0.attn_v_b.weight'");
    refused("attn_kv_b.weight", HEADS * NOPE, 1, "attn_kv_b.weight' is 192 x 64, need 264 x 64");
    refused("attn_kv_b.weight", -1, 1, "no tensor 'blk.0.attn_k_b.weight'");
}

TEST(training_is_refused) {
    pith_model *m = made_model((made){ 0 });
    REQUIRE(m);
    pith_error e = { 0, "" };
    pith__params p;
    CHECK(!pith__params_new(&p, m, &e));
    CHECK(!pith__tape_new(m, p.g, 16, PITH__KEEP_ALL, &e));
    CHECK(strstr(e.text, "training a model of latent attention (deepseek2) is not built"));
    pith__params_free(&p), pith_close(m);
}

int main(void) {
    for (int i = 0; i < N; i++) text[i] = (i * i * 7 + 3 * i + 5) % VOCAB;
    RUN(the_cache_holds_a_latent_and_what_is_rotated);
    RUN(cache_types_are_one);
    RUN(one_matrix_or_two_give_the_same_bits);
    RUN(a_quantised_kv_b_is_split);
    RUN(any_number_of_tokens_at_once_gives_the_same_bits);
    RUN(texts_side_by_side_are_as_alone);
    RUN(a_text_is_copied_saved_and_rewound);
    RUN(what_heads_read_is_weighed_head_by_head);
    RUN(files_that_are_wrong_are_refused_by_name);
    RUN(training_is_refused);
    return DONE();
}
