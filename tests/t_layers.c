/* t_layers.c - layers of different sizes: number of heads, of heads for keys and values, width of the network. */
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>

enum { N = 40, DIM = 24, HEAD = 6, FF = 32, VOCAB = 50, MOST = 4096 };

#define COMMON "general.architecture llama; llama.block_count 3; llama.embedding_length 24; llama.context_length 64;" \
    "llama.attention.key_length 6; llama.attention.value_length 6; llama.attention.layer_norm_rms_epsilon 1e-5;"
#define ENDS "token_embd.weight 50 24; output.weight 50 24; output_norm.weight 24;" \
    "blk.{3}.attn_norm.weight 24; blk.{3}.ffn_norm.weight 24;"

static const char unlike_keys[] = COMMON "llama.attention.head_count [4,2,4]; llama.attention.head_count_kv [4,1,2];"
    "llama.feed_forward_length [32,20,8];",
    unlike_tensors[] = ENDS
    "blk.0.attn_q.weight 24 24; blk.0.attn_k.weight 24 24; blk.0.attn_v.weight 24 24; blk.0.attn_output.weight 24 24;"
    "blk.0.ffn_gate.weight 32 24; blk.0.ffn_up.weight 32 24; blk.0.ffn_down.weight 24 32;"
    "blk.1.attn_q.weight 12 24; blk.1.attn_k.weight 6 24; blk.1.attn_v.weight 6 24; blk.1.attn_output.weight 24 12;"
    "blk.1.ffn_gate.weight 20 24; blk.1.ffn_up.weight 20 24; blk.1.ffn_down.weight 24 20;"
    "blk.2.attn_q.weight 24 24; blk.2.attn_k.weight 12 24; blk.2.attn_v.weight 12 24; blk.2.attn_output.weight 24 24;"
    "blk.2.ffn_gate.weight 8 24; blk.2.ffn_up.weight 8 24; blk.2.ffn_down.weight 24 8;";
static const char alike_keys[] = COMMON "llama.attention.head_count 4; llama.attention.head_count_kv 4;"
    "llama.feed_forward_length 32;",
    alike_tensors[] = ENDS "blk.{3}.attn_q.weight 24 24; blk.{3}.attn_k.weight 24 24; blk.{3}.attn_v.weight 24 24;"
    "blk.{3}.attn_output.weight 24 24; blk.{3}.ffn_gate.weight 32 24; blk.{3}.ffn_up.weight 32 24; blk.{3}.ffn_down.weight 24 32;";

/* Gemma 4: layers with a window have small heads, the last two see keys and values of layers before them, values are normed
 * keys where there is no attn_v, and each layer gets 4 numbers of a token beside the stream. */
static const char gemma_keys[] = "general.architecture gemma4; gemma4.block_count 5; gemma4.embedding_length 24;"
    "gemma4.context_length 64; gemma4.attention.layer_norm_rms_epsilon 1e-6; gemma4.attention.key_length 12;"
    "gemma4.attention.value_length 12; gemma4.attention.key_length_swa 6; gemma4.attention.value_length_swa 6;"
    "gemma4.rope.dimension_count 12; gemma4.rope.dimension_count_swa 6; gemma4.rope.freq_base 1000000.0;"
    "gemma4.rope.freq_base_swa 10000.0; gemma4.attention.sliding_window 7;"
    "gemma4.attention.sliding_window_pattern [true,true,false,true,false]; gemma4.feed_forward_length [16,16,16,32,32];"
    "gemma4.attention.head_count 4; gemma4.attention.head_count_kv [2,2,1,2,1];"
    "gemma4.embedding_length_per_layer_input 4; gemma4.final_logit_softcapping 30.0;",
    shares[] = "gemma4.attention.shared_kv_layers 2;",
    gemma_tensors[] = "token_embd.weight 50 24; output_norm.weight 24; blk.{5}.attn_norm.weight 24; blk.{5}.ffn_norm.weight 24;"
    "blk.{5}.post_attention_norm.weight 24; blk.{5}.post_ffw_norm.weight 24; blk.{5}.post_norm.weight 24;"
    "blk.{5}.inp_gate.weight 4 24; blk.{5}.proj.weight 24 4; blk.{5}.layer_output_scale.weight 1;"
    "per_layer_token_embd.weight 50 20; per_layer_model_proj.weight 20 24; per_layer_proj_norm.weight 4;"
    "blk.{2}.attn_k.weight 12 24; blk.{2}.attn_v.weight 12 24; blk.{2}.attn_k_norm.weight 6;"
    "blk.{2}.attn_q.weight 24 24; blk.{2}.attn_output.weight 24 24; blk.{2}.attn_q_norm.weight 6;"
    "blk.2.attn_k.weight 12 24; blk.2.attn_k_norm.weight 12;"
    "blk.2.attn_q.weight 48 24; blk.2.attn_output.weight 24 48; blk.2.attn_q_norm.weight 12;"
    "blk.3.attn_q.weight 24 24; blk.3.attn_output.weight 24 24; blk.3.attn_q_norm.weight 6;"
    "blk.4.attn_q.weight 48 24; blk.4.attn_output.weight 24 48; blk.4.attn_q_norm.weight 12;"
    "blk.{3}.ffn_gate.weight 16 24; blk.{3}.ffn_up.weight 16 24; blk.{3}.ffn_down.weight 24 16;"
    "blk.3.ffn_gate.weight 32 24; blk.3.ffn_up.weight 32 24; blk.3.ffn_down.weight 24 32;"
    "blk.4.ffn_gate.weight 32 24; blk.4.ffn_up.weight 32 24; blk.4.ffn_down.weight 24 32;",
    own_tensors[] = "blk.3.attn_k.weight 12 24; blk.3.attn_v.weight 12 24; blk.3.attn_k_norm.weight 6;"
    "blk.4.attn_k.weight 12 24; blk.4.attn_k_norm.weight 12;";

/* Heads of one size, so that layer 1 could have the memory that layer 2 still has to see. */
static const char even_keys[] = "general.architecture gemma4; gemma4.block_count 3; gemma4.embedding_length 24;"
    "gemma4.context_length 64; gemma4.attention.layer_norm_rms_epsilon 1e-6; gemma4.attention.key_length 6;"
    "gemma4.attention.value_length 6; gemma4.attention.sliding_window 7; gemma4.attention.sliding_window_pattern [true,false,true];"
    "gemma4.feed_forward_length 16; gemma4.attention.head_count 4; gemma4.attention.head_count_kv 2; gemma4.attention.shared_kv_layers 1;",
    even_tensors[] = "token_embd.weight 50 24; output_norm.weight 24; blk.{3}.attn_norm.weight 24; blk.{3}.ffn_norm.weight 24;"
    "blk.{3}.post_attention_norm.weight 24; blk.{3}.post_ffw_norm.weight 24; blk.{3}.attn_q.weight 24 24;"
    "blk.{3}.attn_output.weight 24 24; blk.{3}.attn_q_norm.weight 6; blk.{2}.attn_k.weight 12 24; blk.{2}.attn_v.weight 12 24;"
    "blk.{2}.attn_k_norm.weight 6; blk.{3}.ffn_gate.weight 16 24; blk.{3}.ffn_up.weight 16 24; blk.{3}.ffn_down.weight 24 16;";

/* One of the models above. */
static bytes make(int gemma, int own) {
    if (gemma == 2) return fixture_gguf(even_keys, even_tensors, 1);
    char keys[2048], tensors[4096];
    snprintf(keys, sizeof keys, "%s%s", gemma ? gemma_keys : unlike_keys, gemma && !own ? shares : "");
    snprintf(tensors, sizeof tensors, "%s%s", gemma ? gemma_tensors : unlike_tensors, gemma && own ? own_tensors : "");
    return fixture_gguf(keys, tensors, 1);
}

/* Rows of a wide matrix are those of a narrow one, head by head: head h is the narrow one's h / each; those it has none
 * for are zeros, and so are columns. */
static void widen(pith__weight *wide, const pith__weight *narrow, size_t rows, size_t each) {
    float *y = (float *)(uintptr_t)wide->tensor.data;
    const float *x = (const float *)(const void *)narrow->tensor.data;
    size_t cols = narrow->tensor.cols;
    memset(y, 0, wide->tensor.rows * wide->tensor.cols * sizeof *y);
    for (size_t r = 0; r < wide->tensor.rows; r++) {
        size_t from = r / rows / each * rows + r % rows;
        if (from < narrow->tensor.rows) memcpy(y + r * wide->tensor.cols, x + from * cols, cols * sizeof *x);
    }
}

/* The same model twice: as its layers are, and as one whose layers are all as the largest. */
static void make_alike(const pith_model *from, pith_model *to) {
    for (int l = 0; l < 3; l++) {
        pith__layer *x = &from->layer[l], *y = &to->layer[l];
        size_t each = (size_t)(x->n_head / x->n_kv_head);
        widen(&y->q, &x->q, HEAD, 1), widen(&y->o, &x->o, HEAD, 1);
        widen(&y->k, &x->k, HEAD, each), widen(&y->v, &x->v, HEAD, each);
        widen(&y->ffn->gate, &x->ffn->gate, HEAD, 1), widen(&y->ffn->up, &x->ffn->up, HEAD, 1);
        widen(&y->ffn->down, &x->ffn->down, HEAD, 1);
    }
}

static pith_model *open_bytes(const bytes *b) {
    pith_error e = { 0, "" };
    pith_options opt = { .n_threads = 1 };
    pith_model *m = pith_open_memory(b->p, b->n, &opt, &e);
    if (!m) FAIL("%s", e.text);
    return m;
}

static void logits_of(const pith_model *m, int n_batch, float *y) {
    pith_error e = { 0, "" };
    pith_context c = { .n_ctx = N, .n_batch = n_batch, .cache_k = "f32", .cache_v = "f32" };
    pith_session *s = pith_session_new(m, &c, &e);
    pith_token t[N];
    for (int i = 0; i < N; i++) t[i] = (7 + 31 * i + 13 * i * i) % VOCAB;
    if (!s || pith__eval_all(s, t, N, y, &e)) FAIL("%s", e.text);
    pith_session_free(s);
}

TEST(sizes_of_a_layer_are_its_own) {
    bytes a = fixture_gguf(unlike_keys, unlike_tensors, 1), b = fixture_gguf(alike_keys, alike_tensors, 1);
    pith_model *unlike = open_bytes(&a), *alike = open_bytes(&b);
    static float x[N * VOCAB], y[N * VOCAB], one[N * VOCAB];
    REQUIRE(unlike && alike);
    make_alike(unlike, alike);
    logits_of(unlike, 0, x), logits_of(unlike, 1, one), logits_of(alike, 0, y);
    NEAR_ARRAY(x, y, N * VOCAB, 1e-5);
    CHECK(!memcmp(x, one, sizeof x));
    CHECK(unlike->hyper.n_q == 24 && unlike->hyper.n_kv == 24 && unlike->hyper.n_ff == 32);
    CHECK(pith_session_size(unlike, NULL) < pith_session_size(alike, NULL)); /* its cache is smaller */
    pith_close(unlike), pith_close(alike);
    free(a.p), free(b.p);
}

/* A text goes on to the same logits in another session, and from a file. */
static void keep_text(int gemma) {
    bytes a = make(gemma, 0);
    pith_model *m = open_bytes(&a);
    pith_error e = { 0, "" };
    const char *path = "build/layers.text";
    REQUIRE(m);
    pith_session *s[3];
    for (int i = 0; i < 3; i++) s[i] = pith_session_new(m, NULL, &e);
    pith_token t[N];
    for (int i = 0; i < N; i++) t[i] = (7 + 5 * i) % VOCAB;
    EQ(pith_eval(s[0], t, N - 1, &e), PITH_OK);
    EQ(pith_session_copy(s[1], s[0], &e), PITH_OK);
    EQ(pith_session_save(s[0], path, &e), PITH_OK);
    EQ(pith_session_load(s[2], path, &e), PITH_OK);
    for (int i = 0; i < 3; i++) EQ(pith_eval(s[i], t + N - 1, 1, &e), PITH_OK);
    for (int i = 1; i < 3; i++) CHECK(!memcmp(s[0]->logits, s[i]->logits, VOCAB * sizeof(float)));
    for (int i = 0; i < 3; i++) pith_session_free(s[i]);
    remove(path);
    pith_close(m);
    free(a.p);
}

TEST(a_text_is_kept) { keep_text(0), keep_text(1); }

/* Texts side by side, whose layers share the memory of a lane, are as each by itself. */
static void side_by_side(int gemma) {
    bytes a = make(gemma, 0);
    pith_model *m = open_bytes(&a);
    pith_error e = { 0, "" };
    pith_embedding how = { .pooling = PITH_MEAN };
    REQUIRE(m);
    pith_token t[N];
    pith_passage p[3];
    float one[3][DIM], all[3][DIM];
    memset(p, 0, sizeof p);
    for (int i = 0; i < N; i++) t[i] = (3 + 11 * i) % VOCAB;
    for (int i = 0; i < 3; i++) p[i].tokens = t + i, p[i].n_tokens = 5 + 9 * i;
    pith_embedder *x = pith_embedder_new(m, NULL, &how, &e);
    REQUIRE(x);
    EQ(pith_embed(x, p, 3, all[0], 3, &e), 3);
    for (int i = 0; i < 3; i++) EQ(pith_embed(x, p + i, 1, one[i], 1, &e), 1);
    CHECK(!memcmp(one, all, sizeof one));
    pith_context c = { .cache_k = "f32", .cache_v = "f32" };
    pith_session *s = pith_session_new(m, &c, &e);
    REQUIRE(s);
    how.pooling = PITH_LAST;
    pith_embedder_free(x);
    x = pith_embedder_new(m, NULL, &how, &e);
    EQ(pith_embed(x, p, 3, all[0], 3, &e), 3);
    EQ(pith_eval(s, p[2].tokens, p[2].n_tokens, &e), PITH_OK);
    const float *state = pith__acts_at(s->pass, m->hyper.n_layer).xn;
    NEAR_ARRAY(all[2], state, DIM, 1e-5);
    pith_session_free(s);
    pith_embedder_free(x);
    pith_close(m);
    free(a.p);
}

TEST(texts_side_by_side) { side_by_side(0), side_by_side(1), side_by_side(2); }

/* They have no cache of their own, and are no layers that compute keys and values from the stream as they get it. */
TEST(layers_share_keys_and_values) {
    bytes a = make(1, 0), b = make(1, 1);
    pith_model *m = open_bytes(&a), *own = open_bytes(&b);
    REQUIRE(m && own);
    EQ(m->layer[3].kv_from, 1);
    EQ(m->layer[4].kv_from, 2);
    EQ(own->layer[4].kv_from, 4);
    pith_context c = { .n_ctx = 64, .swa_full = 1 };
    size_t less = pith_session_size(own, &c) - pith_session_size(m, &c);
    EQ(less, 64 * 2 * 2 * (12 + 12)); /* keys and values of two layers in F16 */
    static float x[N * VOCAB], y[N * VOCAB];
    logits_of(m, 0, x), logits_of(m, 1, y);
    CHECK(!memcmp(x, y, sizeof x));
    logits_of(own, 0, y);
    CHECK(memcmp(x, y, sizeof x) != 0);
    pith_close(m), pith_close(own);
    free(a.p), free(b.p);
}

/* W + scale B A, by hand. */
static void add_adapter(pith_model *m, const pith_adapter *a) {
    for (pith__weight *w = m->weights; w; w = w->next) {
        const pith__pair *p = &a->pair[w->index];
        float *y = (float *)(uintptr_t)w->tensor.data;
        for (size_t r = 0; p->r && r < w->tensor.rows; r++)
            for (size_t c = 0; c < w->tensor.cols; c++)
                for (size_t k = 0; k < (size_t)p->r; k++)
                    y[r * w->tensor.cols + c] += p->scale * p->b[k * w->tensor.rows + r] * p->a[k * w->tensor.cols + c];
    }
}

/* What layers get beside the stream has matrices, too. */
TEST(adapters_of_per_layer_embeddings) {
    bytes a = make(1, 0), b = make(1, 0), c = fixture_gguf("general.type adapter; adapter.type lora; adapter.lora.alpha 4.0;"
        "general.architecture gemma4;", "blk.1.inp_gate.weight.lora_a 2 24; blk.1.inp_gate.weight.lora_b 4 2;"
        "blk.2.proj.weight.lora_a 2 4; blk.2.proj.weight.lora_b 24 2; blk.3.attn_q.weight.lora_a 2 24;"
        "blk.3.attn_q.weight.lora_b 24 2; per_layer_model_proj.weight.lora_a 2 24; per_layer_model_proj.weight.lora_b 20 2;", 5);
    pith_model *m = open_bytes(&a), *sum = open_bytes(&b);
    pith_error e = { 0, "" };
    const char *path = "build/layers.lora.gguf";
    REQUIRE(m && sum && !save(&c, path));
    pith_adapter *by = pith_adapter_open(m, path, &e), *of_sum = pith_adapter_open(sum, path, &e);
    if (!by || !of_sum) FAIL("%s", e.text);
    REQUIRE(by && of_sum);
    static float x[N * VOCAB], y[N * VOCAB], base[N * VOCAB];
    pith_context with = { .n_ctx = N, .cache_k = "f32", .cache_v = "f32", .adapters = (const pith_adapter *const[]){ by }, .n_adapter = 1 };
    pith_session *s = pith_session_new(m, &with, &e);
    pith_token t[N];
    for (int i = 0; i < N; i++) t[i] = (7 + 31 * i + 13 * i * i) % VOCAB;
    REQUIRE(s && !pith__eval_all(s, t, N, x, &e));
    logits_of(m, 0, base);
    add_adapter(sum, of_sum);
    logits_of(sum, 0, y);
    NEAR_ARRAY(x, y, N * VOCAB, 2e-4);
    double moved = 0;
    for (int i = 0; i < N * VOCAB; i++) moved += fabs((double)x[i] - (double)base[i]);
    CHECK(moved > N * VOCAB * 0.1);
    pith_session_free(s);
    pith_adapter_close(by), pith_adapter_close(of_sum);
    pith_close(m), pith_close(sum);
    remove(path);
    free(a.p), free(b.p), free(c.p);
}

static void refused_by(const char *common, const char *key, const char *need) {
    char keys[2048];
    pith_error e = { 0, "" };
    snprintf(keys, sizeof keys, "%s%s", common, key);
    bytes a = fixture_gguf(keys, common == gemma_keys ? gemma_tensors : unlike_tensors, 1);
    pith_model *m = pith_open_memory(a.p, a.n, NULL, &e);
    if (m || !strstr(e.text, need)) FAIL("%s: %s", key, e.text);
    pith_close(m);
    free(a.p);
}

static void refused(const char *key, const char *need) { refused_by(COMMON, key, need); }

TEST(what_does_not_fit_is_refused) {
    refused("llama.attention.head_count 4; llama.attention.head_count_kv [4,3,2]; llama.feed_forward_length 8", "of layer 1 is 3, need a divisor");
    refused("llama.attention.head_count 4; llama.attention.head_count_kv [4,0,2]; llama.feed_forward_length 8", "of layer 1 is 0, need a divisor");
    refused("llama.attention.head_count 4; llama.attention.head_count_kv [0,0,0]; llama.feed_forward_length 8", "head_count_kv");
    refused("llama.attention.head_count [0,0,0]; llama.feed_forward_length 8", "head_count is 0, need heads in some layer");
    refused("llama.attention.head_count [4,2,4]; llama.attention.head_count_kv [4,1,2]; llama.feed_forward_length [8,0,8]", "feed_forward_length of layer 1 is 0");
    refused("llama.attention.head_count [4,2]; llama.feed_forward_length 8", "head_count' is not");
    refused("llama.attention.head_count [4,-2,4]; llama.feed_forward_length 8", "head_count' is -2");
    refused_by(gemma_keys, "", "no tensor 'blk.3.attn_k_norm.weight'");
    refused_by(gemma_keys, "gemma4.attention.shared_kv_layers 3", "shared_kv_layers is 3, need fewer");
    refused_by(gemma_keys, "gemma4.attention.shared_kv_layers 5", "shared_kv_layers is 5, need fewer");
    refused_by(gemma_keys, "gemma4.attention.shared_kv_layers 9", "shared_kv_layers is 9, need fewer");
    refused_by("general.architecture llama; llama.block_count 2000000000; llama.embedding_length 24; llama.context_length 64;",
               "llama.attention.head_count 4; llama.feed_forward_length 8", "block_count is 2000000000, need no more than there are tensors");
    refused("llama.attention.head_count [4,2147483646,4]; llama.attention.head_count_kv 1; llama.feed_forward_length 8", "channels");
}

int main(void) {
    RUN(sizes_of_a_layer_are_its_own);
    RUN(a_text_is_kept);
    RUN(texts_side_by_side);
    RUN(layers_share_keys_and_values);
    RUN(adapters_of_per_layer_embeddings);
    RUN(what_does_not_fit_is_refused);
    return DONE();
}
