/* t_importance.c - what comes into each matrix: against the inputs that transformers' modules get (torch, float64, of
 * experts float32); the same bits for any number of threads, and for who stops and goes on. */
#define _XOPEN_SOURCE 700
#include "../train/train.h"
#include "fixture.h"
#include "golden_families.h"
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

enum { N = 40, CHUNK = 20 };

static pith_error e;
static char path[] = "/tmp/pith-importance-XXXXXX";

static pith__weighing *weigh_of(const pith_model *m, int head) {
    const pith_context c = { .n_ctx = CHUNK, .n_batch = CHUNK, .cache_k = "f32", .cache_v = "f32" };
    pith__weighing *g = pith__weigh_new(m, &c, head, &e);
    if (!g) FAIL("%s", e.text);
    return g;
}

static const pith__inputs *inputs_named(pith__weighing *g, const char *name) {
    return pith__imatrix_of(pith__weigh_sums(g), pith__str_of(name));
}

/* ---- what torch computes ----------------------------------------------------------------------------- */

static void read_shared_ids(const char *family, pith_token *t) {
    char name[64];
    snprintf(name, sizeof name, "fixtures/%s.ids", family);
    FILE *f = fopen(fixture_shared(name), "r");
    for (int i = 0; i < N; i++)
        if (!f || fscanf(f, i ? ",%d" : "%d", &t[i]) != 1) FAIL("%s", name);
    if (f) fclose(f);
}

TEST(same_as_from_torch) {
    static const struct { const char *family, *name; int expert, count; double sum, first; } want[] = {
        { "llama", "blk.0.attn_q.weight", 0, 40, 2580.578, 20.77403 },
        { "llama", "blk.0.attn_v.weight", 0, 40, 2580.578, 20.77403 },
        { "llama", "blk.0.attn_output.weight", 0, 40, 645.3725, 9.397553 },
        { "llama", "blk.0.ffn_up.weight", 0, 40, 2559.016, 57.7584 },
        { "llama", "blk.0.ffn_down.weight", 0, 40, 2612.472, 22.07686 },
        { "llama", "output.weight", 0, 40, 2760.816, 60.37857 },
        { "phi3", "blk.0.attn_qkv.weight", 0, 40, 2799.961, 33.65876 }, /* three matrices, gate and up: once */
        { "phi3", "blk.0.ffn_up.weight", 0, 40, 2677.938, 45.58994 },
        { "gemma3", "blk.0.ffn_down.weight", 0, 40, 2780.618, 3.506119 },
        { "gemma3", "token_embd.weight", 0, 40, 2766.626, 93.7108 }, /* is the output matrix too */
        { "qwen3moe", "blk.0.attn_k.weight", 0, 40, 2492.453, 23.61806 },
        { "qwen3moe", "blk.0.ffn_gate_inp.weight", 0, 40, 2698.452, 25.85579 },
        { "qwen3moe", "blk.1.ffn_up_exps.weight", 1, 13, 810.2622, 6.25208 },
        { "qwen3moe", "blk.1.ffn_gate_exps.weight", 1, 13, 810.2622, 6.25208 },
        { "qwen3moe", "blk.1.ffn_down_exps.weight", 1, 13, 272.9414, 1.821686 },
        { "qwen3moe", "blk.1.ffn_up_exps.weight", 3, 12, 766.7126, 5.790748 },
        { "qwen3moe", "blk.1.ffn_down_exps.weight", 3, 12, 241.9599, 1.963512 },
    };
    if (!fixture_shared("fixtures/README.md")) SKIP("no ../shared/fixtures");
    for (int folder = 0; folder < 2; folder++) {
        pith_model *m = NULL;
        pith__weighing *g = NULL;
        for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
            if (!i || strcmp(want[i].family, want[i - 1].family)) {
                char name[64];
                pith_token t[N];
                pith__weigh_free(g), pith_close(m);
                snprintf(name, sizeof name, "fixtures/%s%s", want[i].family, folder ? "-hf" : ".gguf");
                m = pith_open(fixture_shared(name), NULL, &e);
                REQUIRE(m && (g = weigh_of(m, 1)) != NULL);
                read_shared_ids(want[i].family, t);
                for (int k = 0; k < N; k += CHUNK) EQ(pith__weigh_chunk(g, t + k, CHUNK, &e), PITH_OK);
            }
            const pith__inputs *in = inputs_named(g, want[i].name);
            REQUIRE(in && (size_t)want[i].expert < in->n_mat);
            const float *x = in->sum2 + (size_t)want[i].expert * in->cols;
            double sum = 0;
            for (size_t k = 0; k < in->cols; k++) sum += (double)x[k];
            EQ((long long)in->count[want[i].expert], want[i].count);
            NEAR(sum, want[i].sum, 2e-6 * want[i].sum);
            NEAR((double)x[0], want[i].first, 4e-6 * want[i].first);
        }
        pith__weigh_free(g), pith_close(m);
    }
}

/* LayerNorm, networks without a gate, both parts side by side (GPT-NeoX), norms after a part (BERT). */
TEST(same_as_from_torch_of_elders) {
    static const struct { const char *family, *name; double sum, first; } want[] = {
        { "gpt2", "blk.0.attn_qkv.weight", 632.09179, 19.666755 },
        { "gpt2", "blk.1.attn_output.weight", 652.11876, 10.810748 },
        { "gpt2", "blk.1.ffn_up.weight", 744.22437, 9.6913469 },
        { "gpt2", "blk.0.ffn_down.weight", 2328.7207, 6.5460107 },
        { "gpt2", "token_embd.weight", 613.20807, 3.0869201 },
        { "gptneox", "blk.1.attn_qkv.weight", 666.06493, 11.335851 },
        { "gptneox", "blk.1.ffn_up.weight", 757.09238, 10.907616 },
        { "gptneox", "blk.1.ffn_down.weight", 1535.3937, 3.5293477 },
        { "gptneox", "output.weight", 745.99136, 51.557153 },
        { "bert", "blk.0.attn_q.weight", 729.1212, 23.28573 },
        { "bert", "blk.1.attn_v.weight", 689.99897, 16.180242 },
        { "bert", "blk.1.ffn_up.weight", 636.84876, 2.8828942 },
        { "bert", "blk.1.ffn_down.weight", 1507.0615, 2.8944197 },
    };
    if (!fixture_shared("encoders/README.md")) SKIP("no ../shared/encoders");
    for (int folder = 0; folder < 2; folder++) {
        pith_model *m = NULL;
        pith__weighing *g = NULL;
        for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
            if (!i || strcmp(want[i].family, want[i - 1].family)) {
                char name[64];
                pith_token t[CHUNK];
                pith__weigh_free(g), pith_close(m);
                snprintf(name, sizeof name, "encoders/%s%s", want[i].family, folder ? "-hf" : ".gguf");
                m = pith_open(fixture_shared(name), NULL, &e);
                if (!m) FAIL("%s", e.text);
                REQUIRE(m && (g = weigh_of(m, 1)) != NULL);
                for (int k = 0; k < CHUNK; k++) t[k] = (7 * k + 3) % m->hyper.n_vocab;
                EQ(pith__weigh_chunk(g, t, CHUNK, &e), PITH_OK);
            }
            const pith__inputs *in = inputs_named(g, want[i].name);
            double sum = 0;
            if (!in) in = inputs_named(g, "output.weight"); /* GGUF has GPT-2's embedding again for it */
            REQUIRE(in);
            for (size_t k = 0; k < in->cols; k++) sum += (double)in->sum2[k];
            NEAR(sum, want[i].sum, 4e-6 * want[i].sum);
            NEAR((double)in->sum2[0], want[i].first, 8e-6 * want[i].first);
        }
        CHECK(!inputs_named(g, "position_embd.weight") && !inputs_named(g, "token_types.weight"));
        pith__weigh_free(g), pith_close(m);
    }
}

/* Gemma 4, whose layers get inputs beside the stream, share keys and values, and have experts beside a dense network: sums
 * by hooks on transformers' modules. */
TEST(same_as_from_torch_of_gemma4) {
    static const struct { const char *family, *name; double sum, first; } want[] = {
        { "gemma4e", "blk.0.attn_q.weight", 929.6962, 9.5266809 },
        { "gemma4e", "blk.0.inp_gate.weight", 14045.736, 275.03366 },
        { "gemma4e", "blk.0.proj.weight", 8219.0431, 665.3425 },
        { "gemma4e", "blk.3.attn_q.weight", 1012.0918, 27.146512 },
        { "gemma4e", "blk.5.attn_output.weight", 1947.8029, 41.961246 },
        { "gemma4e", "blk.5.ffn_down.weight", 1930.3424, 2.5738785 },
        { "gemma4e", "blk.5.proj.weight", 22105.453, 1353.2732 },
        { "gemma4moe", "blk.0.ffn_up.weight", 988.25292, 15.162798 },
        { "gemma4moe", "blk.3.ffn_down.weight", 736.71031, 56.930843 },
    };
    pith_model *m = NULL;
    pith__weighing *g = NULL;
    if (!fixture_shared("families/gemma4e.ids")) SKIP("no ../shared/families");
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        if (!i || strcmp(want[i].family, want[i - 1].family)) {
            char name[64];
            pith_token t[CHUNK];
            const pith_options o = { .kernels = "portable" };
            pith__weigh_free(g), pith_close(m);
            snprintf(name, sizeof name, "families/%s-hf", want[i].family);
            m = pith_open(fixture_shared(name), &o, &e);
            REQUIRE(m && (g = weigh_of(m, 0)) != NULL);
            for (int k = 0; k < CHUNK; k++) t[k] = (7 * k + 3) % m->hyper.n_vocab;
            EQ(pith__weigh_chunk(g, t, CHUNK, &e), PITH_OK);
            CHECK(!inputs_named(g, "per_layer_token_embd.weight") && !inputs_named(g, "blk.0.ffn_gate_inp.weight"));
        }
        const pith__inputs *in = inputs_named(g, want[i].name);
        double sum = 0;
        REQUIRE(in);
        for (size_t k = 0; k < in->cols; k++) sum += (double)in->sum2[k];
        NEAR(sum, want[i].sum, 4e-6 * want[i].sum);
        NEAR((double)in->sum2[0], want[i].first, 2e-5 * want[i].first);
    }
    pith__weigh_free(g), pith_close(m);
}

/* Where no norm stands before a block (OLMo 2), the stream itself comes in: the embedding, in the first one. */
TEST(of_a_family_without_the_norm) {
    const struct golden *made = goldens;
    while (strcmp(made->name, "olmo2") != 0) made++;
    bytes b = fixture_gguf(made->keys, made->tensors, made->seed);
    pith_model *m = pith_open_memory(b.p, b.n, NULL, &e);
    pith_token t[CHUNK];
    REQUIRE(m);
    pith__weighing *g = weigh_of(m, 0);
    size_t n = (size_t)m->hyper.n_embd;
    float *x = malloc(n * sizeof *x);
    double *sum = calloc(n, sizeof *sum);
    REQUIRE(g && x && sum);
    for (int i = 0; i < CHUNK; i++) {
        t[i] = (7 * i + 3) % m->hyper.n_vocab;
        pith__row_floats(&m->embd.tensor, (size_t)t[i], x);
        for (size_t k = 0; k < n; k++) sum[k] += (double)x[k] * (double)x[k];
    }
    EQ(pith__weigh_chunk(g, t, CHUNK, &e), PITH_OK);
    const pith__inputs *in = inputs_named(g, "blk.0.attn_k.weight"), *next = inputs_named(g, "blk.1.attn_k.weight");
    REQUIRE(in && next && !inputs_named(g, "output.weight") && !inputs_named(g, "token_embd.weight"));
    for (size_t k = 0; k < n; k++) NEAR((double)in->sum2[k], sum[k], 1e-6 * sum[k]);
    CHECK(memcmp(in->sum2, next->sum2, n * sizeof *in->sum2) != 0);
    free(x), free(sum);
    pith__weigh_free(g), pith_close(m);
    free(b.p);
}

/* ---- threads, and going on ----------------------------------------------------------------------------- */

static pith_model *open_tiny(uint64_t seed, int threads) {
    static bytes b; /* of the last one */
    free(b.p);
    b = fixture_llama2c(&fixture_tiny, 1, seed);
    pith_model *m = pith_open_memory(b.p, b.n, &(pith_options){ .n_threads = threads }, &e);
    if (!m) FAIL("%s", e.text);
    return m;
}

static void made_tokens(pith_token *t, int n) {
    for (int i = 0; i < n; i++) t[i] = 3 + (31 * i + 13 * i * i) % 290;
}

static int same_sums(const pith__imatrix *a, const pith__imatrix *b) {
    int same = a->n == b->n && a->n > 0;
    for (size_t i = 0; i < a->n && same; i++) {
        const pith__inputs *x = &a->of[i], *y = &b->of[i];
        same = !pith__str_cmp(x->name, y->name) && x->n_mat == y->n_mat && x->cols == y->cols &&
               !memcmp(x->sum2, y->sum2, x->n_mat * x->cols * sizeof *x->sum2) &&
               !memcmp(x->count, y->count, x->n_mat * sizeof *x->count);
    }
    return same;
}

TEST(same_bits_for_any_threads_and_for_who_goes_on) {
    enum { CHUNKS = 5 };
    pith_token t[CHUNKS * CHUNK];
    made_tokens(t, CHUNKS * CHUNK);
    pith_model *m = open_tiny(3, 1);
    pith__weighing *whole = weigh_of(m, 1);
    REQUIRE(m && whole);
    for (int i = 0; i < CHUNKS; i++) EQ(pith__weigh_chunk(whole, t + i * CHUNK, CHUNK, &e), PITH_OK);
    for (int threads = 1; threads < 4; threads++) {
        pith_model *o = pith_open_memory(m->store.file->data, m->store.file->size, &(pith_options){ .n_threads = threads }, &e);
        pith__weighing *g = weigh_of(o, 1);
        pith__imatrix im;
        REQUIRE(o && g);
        for (int i = 0; i < CHUNKS; i++) {
            if (i == threads) { /* to a file and back */
                pith__imatrix *sums = pith__weigh_sums(g);
                sums->n_chunk = sums->done = i, sums->chunk_size = CHUNK, sums->text = 5, sums->model = 7;
                EQ(pith__imatrix_write(sums, path, &e), PITH_OK);
                pith__weigh_free(g);
                EQ(pith__imatrix_read(&im, path, &e), PITH_OK);
                EQ(im.done, i);
                EQ(im.n_chunk, i);
                CHECK(im.text == 5 && im.model == 7 && im.chunk_size == CHUNK);
                g = weigh_of(o, 1);
                REQUIRE(g);
                EQ(pith__weigh_add(g, &im, &e), PITH_OK);
                pith__imatrix_free(&im);
            }
            EQ(pith__weigh_chunk(g, t + i * CHUNK, CHUNK, &e), PITH_OK);
        }
        CHECK(same_sums(pith__weigh_sums(whole), pith__weigh_sums(g)));
        pith__weigh_free(g), pith_close(o);
    }
    pith__weigh_free(whole), pith_close(m);
}

TEST(the_older_file) {
    pith_token t[2 * CHUNK];
    made_tokens(t, 2 * CHUNK);
    pith_model *m = open_tiny(3, 1);
    pith__weighing *g = weigh_of(m, 0), *again = weigh_of(m, 0);
    pith__str text = pith__str_of("a.txt");
    pith__imatrix im;
    REQUIRE(m && g && again);
    for (int i = 0; i < 2; i++) EQ(pith__weigh_chunk(g, t + i * CHUNK, CHUNK, &e), PITH_OK);
    pith__imatrix *sums = pith__weigh_sums(g), *back = pith__weigh_sums(again);
    sums->n_chunk = 2, sums->chunk_size = back->chunk_size = CHUNK, sums->dataset = &text, sums->n_dataset = 1;
    EQ(pith__imatrix_write_dat(sums, path, &e), PITH_OK);
    EQ(pith__imatrix_read(&im, path, &e), PITH_OK);
    CHECK(im.is_dat && im.n == sums->n && im.n_chunk == 2 && im.n_dataset == 1 && pith__str_is(im.dataset[0], "a.txt"));
    EQ(pith__weigh_add(again, &im, &e), PITH_OK);
    for (size_t i = 0; i < sums->n; i++) {
        const pith__inputs *a = &sums->of[i], *b = &back->of[i];
        CHECK(a->count[0] == 2 * CHUNK && b->count[0] == 2 * CHUNK);
        for (size_t k = 0; k < a->cols; k++) NEAR((double)b->sum2[k], (double)a->sum2[k], 1e-6 * (double)a->sum2[k]);
    }
    pith__imatrix_free(&im);
    pith__weigh_free(g), pith__weigh_free(again), pith_close(m);
}

/* ---- what is refused --------------------------------------------------------------------------------- */

TEST(of_another_model) {
    fixture_shape other = fixture_tiny;
    pith_token t[CHUNK];
    pith__imatrix im;
    made_tokens(t, CHUNK);
    pith_model *m = open_tiny(3, 1);
    pith__weighing *g = weigh_of(m, 0);
    REQUIRE(m && g);
    EQ(pith__weigh_chunk(g, t, CHUNK, &e), PITH_OK);
    EQ(pith__imatrix_write(pith__weigh_sums(g), path, &e), PITH_OK);
    pith__weigh_free(g), pith_close(m);
    other.hidden += 8;
    for (int fewer = 0; fewer < 2; fewer++) {
        if (fewer) other = fixture_tiny, other.layers = 1;
        bytes b = fixture_llama2c(&other, 1, 3);
        m = pith_open_memory(b.p, b.n, NULL, &e);
        REQUIRE(m && (g = weigh_of(m, 0)) != NULL);
        EQ(pith__imatrix_read(&im, path, &e), PITH_OK);
        EQ(pith__weigh_add(g, &im, &e), PITH_EDATA);
        CHECK(strstr(e.text, path) && strstr(e.text, "of another model") && strstr(e.text, fewer ? "blk.1." : "ffn_down"));
        pith__imatrix_free(&im);
        pith__weigh_free(g), pith_close(m);
        free(b.p);
    }
}

TEST(what_is_no_number) {
    const float nan = NAN;
    pith_token t[CHUNK];
    made_tokens(t, CHUNK);
    bytes b = fixture_llama2c(&fixture_tiny, 1, 3);
    for (int i = 0; i < 32; i++) memcpy(b.p + 256 + 4 * (2 * 32 + 32 * i), &nan, sizeof nan);
    pith_model *m = pith_open_memory(b.p, b.n, NULL, &e);
    pith__weighing *g = weigh_of(m, 0);
    REQUIRE(m && g);
    EQ(pith__weigh_chunk(g, t, CHUNK, &e), PITH_EDATA);
    CHECK(strstr(e.text, "'blk.") && strstr(e.text, "is not finite"));
    pith__weigh_free(g), pith_close(m);
    free(b.p);
}

int main(void) {
    int fd = mkstemp(path);
    if (fd < 0) return 99;
    close(fd);
    RUN(same_as_from_torch);
    RUN(same_as_from_torch_of_elders);
    RUN(same_as_from_torch_of_gemma4);
    RUN(of_a_family_without_the_norm);
    RUN(same_bits_for_any_threads_and_for_who_goes_on);
    RUN(the_older_file);
    RUN(of_another_model);
    RUN(what_is_no_number);
    remove(path);
    return DONE();
}
