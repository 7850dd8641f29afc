/* t_gptoss.c - gpt-oss: experts of its Hugging Face folders become those of GGUF, in 16 bits and in MXFP4, number by number;
 * and the clamp of its networks. */
#define _POSIX_C_SOURCE 200809L
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

enum { E = 3, F = 2, D = 64, BLOCKS = D / 32 };

static pith__store store;
static pith__folder folder;
static pith_error why;
static pith__tensor table[16];
static uint16_t gate_up[E][D][2 * F], down[E][F][D];
static float bias[E][2 * F];
static uint8_t blocks[E][2 * F][BLOCKS][16], scales[E][2 * F][BLOCKS];

static void begin(void) {
    pith__store_free(&store);
    store = (pith__store){ .path = "gptoss", .tensor = table, .is_folder = 1, .hf_style = PITH__HF_POST_NORM | PITH__HF_GPTOSS };
    folder = (pith__folder){ .s = &store, .dir = "gptoss", .err = &why };
    why = (pith_error){ 0, "" };
}

static pith__tensor *add(const char *name, int format, const void *data, size_t n0, size_t n1, size_t n2, size_t n3) {
    pith__tensor *t = &table[store.n_tensor++];
    *t = (pith__tensor){ .name = pith__str_of(name), .n_dim = n3 ? 4 : n2 ? 3 : 2, .shape = { n0, n1, n2, n3 } };
    size_t item = (size_t)pith__format_of(format)->bytes, all = n0 * n1 * (n2 ? n2 : 1) * (n3 ? n3 : 1);
    CHECK(!pith__tensor_set(t, &store, format, (pith__cursor){ data, all * item, 0 }, &why));
    return t;
}

static int layout(void) {
    pith_error e = { 0, "" };
    return pith__store_sort(&store, &e) ? -1 : pith__hf_gptoss_experts(&folder);
}

static void refuses(const char *what) {
    EQ(layout(), PITH_EFORMAT);
    if (!strstr(why.text, what) || !strstr(why.text, "gptoss: tensor 'model.layers.0.mlp.experts."))
        FAIL("'%s', need '%s'", why.text, what);
}

static float number(const char *name, size_t r, size_t c) {
    const pith__tensor *t = pith__store_tensor(&store, name);
    float y[2 * D];
    CHECK(t && r < t->rows && c < t->cols);
    if (!t) return NAN;
    pith__row_floats(t, r, y);
    return y[c];
}

static void shaped(const char *name, size_t rows, size_t cols) {
    const pith__tensor *t = pith__store_tensor(&store, name);
    REQUIRE(t);
    EQ(t->n_dim, 3);
    CHECK(t->shape[0] == E && t->shape[1] == rows && t->shape[2] == cols && t->rows == E * rows && t->cols == cols);
}

TEST(experts_in_16_bits) { /* (n_expert, in, out), gate and up in turns */
    begin();
    for (int e = 0; e < E; e++)
        for (int i = 0; i < D; i++) {
            for (int o = 0; o < 2 * F; o++) gate_up[e][i][o] = pith__f32_to_f16((float)(e * 256 + i * 4 + o));
            for (int f = 0; f < F; f++) down[e][f][i] = pith__f32_to_f16((float)(e * 200 + f * 70 + i));
        }
    for (int e = 0; e < E; e++)
        for (int o = 0; o < 2 * F; o++) bias[e][o] = (float)(10 * e + o);
    add("blk.0.ffn_gate_up_exps.weight", PITH__F16, gate_up, E, D, 2 * F, 0);
    add("blk.0.ffn_down_exps.weight", PITH__F16, down, E, F, D, 0);
    add("blk.0.ffn_gate_up_exps.bias", PITH__F32, bias, E, 2 * F, 0, 0);
    add("blk.0.ffn_down_exps.bias", PITH__F32, bias, E, 2 * F, 0, 0);
    REQUIRE(layout() == PITH_OK);
    EQ(store.n_tensor, 6);
    shaped("blk.0.ffn_gate_exps.weight", F, D);
    shaped("blk.0.ffn_up_exps.weight", F, D);
    shaped("blk.0.ffn_down_exps.weight", D, F);
    for (size_t e = 0; e < E; e++)
        for (size_t f = 0; f < F; f++) {
            for (size_t i = 0; i < D; i++) {
                NEAR(number("blk.0.ffn_gate_exps.weight", e * F + f, i), (double)(e * 256 + i * 4 + 2 * f), 0);
                NEAR(number("blk.0.ffn_up_exps.weight", e * F + f, i) - number("blk.0.ffn_gate_exps.weight", e * F + f, i), 1, 0);
                NEAR(number("blk.0.ffn_down_exps.weight", e * D + i, f), (double)(e * 200 + f * 70 + i), 0);
            }
            NEAR(number("blk.0.ffn_gate_exps.bias", e, f), (double)(10 * e + 2 * f), 0);
            NEAR(number("blk.0.ffn_up_exps.bias", e, f), (double)(10 * e + 2 * f + 1), 0);
            NEAR(number("blk.0.ffn_down_exps.bias", e, f), (double)(10 * e + f), 0);
        }
}

static void fill_blocks(void) {
    uint32_t x = 7;
    for (size_t i = 0; i < sizeof blocks; i++) ((uint8_t *)blocks)[i] = (uint8_t)((x = x * 1664525u + 1013904223u) >> 24);
    for (size_t i = 0; i < sizeof scales; i++) ((uint8_t *)scales)[i] = (uint8_t)(120 + i % 11);
}

TEST(experts_in_4_bits) { /* (n_expert, out, in / 32, 16): the lower half of a byte is the even number */
    static const float code[16] = { 0, .5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -.5f, -1, -1.5f, -2, -3, -4, -6 };
    begin();
    fill_blocks();
    add("blk.0.ffn_gate_up_exps.blocks", PITH__I8, blocks, E, 2 * F, BLOCKS, 16);
    add("blk.0.ffn_gate_up_exps.scales", PITH__I8, scales, E, 2 * F, BLOCKS, 0);
    add("blk.0.ffn_down_exps.blocks", PITH__I8, blocks, E, 2 * F, BLOCKS, 16);
    add("blk.0.ffn_down_exps.scales", PITH__I8, scales, E, 2 * F, BLOCKS, 0);
    REQUIRE(layout() == PITH_OK);
    EQ(store.n_tensor, 3);
    shaped("blk.0.ffn_gate_exps.weight", F, D);
    shaped("blk.0.ffn_up_exps.weight", F, D);
    shaped("blk.0.ffn_down_exps.weight", 2 * F, D);
    for (size_t e = 0; e < E; e++)
        for (size_t o = 0; o < 2 * F; o++)
            for (size_t i = 0; i < D; i++) {
                uint8_t byte = blocks[e][o][i / 32][i % 32 / 2];
                double want = ldexp(code[i % 2 ? byte >> 4 : byte & 15], scales[e][o][i / 32] - 127);
                NEAR(number(o % 2 ? "blk.0.ffn_up_exps.weight" : "blk.0.ffn_gate_exps.weight", e * F + o / 2, i), want, 0);
                NEAR(number("blk.0.ffn_down_exps.weight", e * 2 * F + o, i), want, 0);
            }
    const pith__tensor *t = pith__store_tensor(&store, "blk.0.ffn_up_exps.weight");
    CHECK(t->data == blocks[0][1][0] && t->scale == scales[0][1]); /* nothing is copied */
}

TEST(experts_that_are_wrong) {
    begin();
    add("blk.0.ffn_gate_up_exps.weight", PITH__F16, gate_up, E, D, 3, 0);
    refuses("gate_up_proj' has 3 dimensions and rows of 3, need 3 and an even number");
    begin();
    add("blk.0.ffn_gate_up_exps.weight", PITH__F16, gate_up, E * D, 2 * F, 0, 0);
    refuses("gate_up_proj' has 2 dimensions");
    begin();
    add("blk.0.ffn_gate_up_exps.bias", PITH__F32, bias, 2, 3, 0, 0);
    refuses("gate_up_proj_bias' has 2 dimensions and rows of 3");
    begin();
    add("blk.0.ffn_gate_up_exps.blocks", PITH__I8, blocks, E, 2 * F, BLOCKS, 16);
    refuses("gate_up_proj_blocks' has 4 dimensions and rows of 16, need scales, one for each row");
    begin();
    add("blk.0.ffn_down_exps.blocks", PITH__I8, blocks, E, 2 * F, BLOCKS, 16);
    add("blk.0.ffn_down_exps.scales", PITH__I8, scales, E, 2 * F - 1, BLOCKS, 0);
    refuses("need scales, one for each row");
    begin();
    add("blk.0.ffn_down_exps.blocks", PITH__I8, blocks, E, 2 * F, BLOCKS * 2, 8);
    refuses("need 4 and rows of 16");
    begin();
    add("blk.0.ffn_gate_up_exps.blocks", PITH__I8, blocks, E, 3, BLOCKS, 16);
    refuses("an even number of outputs");
    begin();
    add("blk.0.ffn_down_exps.scales", PITH__I8, scales, E, 2 * F, BLOCKS, 0);
    refuses("down_proj_scales' has 3 dimensions and rows of 2, need blocks beside them");
    begin();
    add("blk.0.ffn_down_exps.weight", PITH__F16, down, E, F, D, 0);
    add("blk.0.ffn_down_exps.blocks", PITH__I8, blocks, E, 2 * F, BLOCKS, 16);
    add("blk.0.ffn_down_exps.scales", PITH__I8, scales, E, 2 * F, BLOCKS, 0);
    EQ(layout(), PITH_EFORMAT);
    CHECK(strstr(why.text, "blk.0.ffn_down_exps.weight' comes twice"));
}

TEST(networks_are_clamped) {
    static const float limits[] = { 7, 1.5f }, alphas[] = { 1.702f, 0.5f };
    enum { N = 83 };
    float gate[N + 1], up[N + 1], y[N + 1];
    double want[N];
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < N; i++) {
            gate[i] = (float)((i * 37) % N - N / 2) * 0.4f, up[i] = (float)((i * 29) % N - N / 2) * 0.3f;
            double g = fmin((double)gate[i], (double)limits[k]), u = fmax(fmin((double)up[i], (double)limits[k]), -(double)limits[k]);
            want[i] = (u + 1) * g / (1 + exp(-(double)alphas[k] * g));
        }
        gate[N] = 1, up[N] = NAN;
        pith__clamp_row(gate, up, N + 1, limits[k], alphas[k]);
        pith__portable(NULL)->gate(y, gate, up, N + 1, PITH__SILU);
        for (int i = 0; i < N; i++) NEAR(y[i], want[i], 1e-5 * (1 + fabs(want[i])));
        CHECK(isnan(y[N])); /* a wrong result must not look right */
    }
}

/* The GGUF file that run quantize makes of m, or NULL. */
static pith_model *quantized(const pith_model *m, const char *mix, int requantize) {
    char path[] = "/tmp/pith-gptoss-XXXXXX";
    int f = mkstemp(path);
    const pith__requant q = { .m = m, .mix = pith__mix_named(mix), .requantize = requantize };
    if (f >= 0) close(f);
    pith_model *y = pith__requant_gguf(&q, path, &why) ? NULL : pith_open(path, &(pith_options){ .n_threads = 1, .no_mmap = 1 }, &why);
    if (!y) FAIL("%s", why.text);
    unlink(path);
    return y;
}

enum { TOKENS = 40, VOCAB = 320 };

static void evaluate(const pith_model *m, float *logits) {
    pith_context c = { .n_ctx = TOKENS, .n_batch = TOKENS };
    pith_session *s = pith_session_new(m, &c, &why);
    pith_token t[TOKENS];
    for (int i = 0; i < TOKENS; i++) t[i] = 3 + i * 7 % 300;
    const pith_work part = { s, t, TOKENS, logits };
    CHECK(s && pith_model_shape(m)->n_vocab == VOCAB && !pith_eval_many(&part, 1, &why));
    pith_session_free(s);
}

/* Experts that are published in 4 bits stay as they are, in GGUF's order, unless the user says otherwise. */
TEST(quantize_leaves_4_bits) {
    static float want[TOKENS * VOCAB], got[TOKENS * VOCAB];
    const char *path = fixture_shared("families/gptossmx-hf"), name[] = "blk.1.ffn_up_exps.weight";
    if (!path) SKIP("no ../shared/families");
    pith_model *m = pith_open(path, &(pith_options){ .n_threads = 1 }, &why), *y;
    REQUIRE(m);
    REQUIRE((y = quantized(m, "F16", 0)));
    const pith__tensor *from = pith__store_tensor(&m->store, name), *t = pith__store_tensor(&y->store, name);
    REQUIRE(from && t && t->rows == from->rows && !t->scale);
    EQ(t->format->id, PITH__MXFP4);
    evaluate(m, want), evaluate(y, got);
    CHECK(!memcmp(want, got, sizeof want));
    CHECK(pith__model_hash(m) != 0); /* reads all that there is, and nothing behind it */
    pith_close(y);
    REQUIRE((y = quantized(m, "Q8_0", 0)));
    EQ(pith__store_tensor(&y->store, name)->format->id, PITH__MXFP4);
    EQ(pith__store_tensor(&y->store, "blk.1.attn_q.weight")->format->id, PITH__Q8_0);
    pith_close(y);
    REQUIRE((y = quantized(m, "Q8_0", 1)));
    EQ(pith__store_tensor(&y->store, name)->format->id, PITH__Q8_0);
    pith_close(y);
    pith_close(m);
}

int main(void) {
    RUN(experts_in_16_bits);
    RUN(experts_in_4_bits);
    RUN(experts_that_are_wrong);
    RUN(networks_are_clamped);
    RUN(quantize_leaves_4_bits);
    pith__store_free(&store);
    return DONE();
}
