/* t_quantize.c - run quantize: the formats of all tensors as llama-quantize chooses them, what is in the file, and what is
 * refused. That the encoders give llama-quantize's bytes is in t_encode.c and scripts/quantize_reference.py. */
#define _POSIX_C_SOURCE 200809L
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "golden_families.h"
#include "quantize_types.h"

static char folder[64];
static pith_error error;

static const char *in_folder(const char *name) {
    static char path[4][200];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

#define KEYS "general.architecture llama; llama.block_count 2; llama.embedding_length 256; llama.feed_forward_length 320; " \
             "llama.attention.head_count 4; llama.attention.head_count_kv 2; llama.context_length 64; " \
             "llama.attention.layer_norm_rms_epsilon 1e-5; z.last [1,2]; a.first text; m.flag true; general.file_type 0"
#define TENSORS "token_embd.weight 40 256; blk.{2}.attn_norm.weight 256; blk.{2}.attn_q.weight 256 256; " \
                "blk.{2}.attn_k.weight 128 256; blk.{2}.attn_v.weight 128 256; blk.{2}.attn_output.weight 256 256; " \
                "blk.{2}.ffn_norm.weight 256; blk.{2}.ffn_gate.weight 320 256; blk.{2}.ffn_up.weight 320 256; " \
                "blk.{2}.ffn_down.weight 256 320; output_norm.weight 256; output.weight 40 256"

static pith_model *open_bytes(const bytes *b) {
    pith_model *m = pith_open_memory(b->p, b->n, &(pith_options){ .n_threads = 1 }, &error);
    if (!m) FAIL("%s", error.text);
    return m;
}

static pith_model *made(bytes *b) {
    *b = fixture_gguf(KEYS, TENSORS, 5);
    return open_bytes(b);
}

static pith_model *open_again(const char *name) {
    pith_model *m = pith_open(in_folder(name), &(pith_options){ .n_threads = 1 }, &error);
    if (!m) FAIL("%s", error.text);
    return m;
}

static pith__requant asked(const pith_model *m, const char *mix) { return (pith__requant){ .m = m, .mix = pith__mix_named(mix) }; }

static const pith__format *format_in(const pith_model *m, const char *name) {
    const pith__tensor *t = pith__store_tensor(&m->store, name);
    return t ? t->format : NULL;
}

/* Each row of the file is the row of the model as its format encodes it. */
static void rows_are_encoded(const pith_model *m, const pith_model *small) {
    EQ(small->store.n_tensor, m->store.n_tensor);
    for (size_t i = 0; i < small->store.n_tensor; i++) {
        const pith__tensor *t = &small->store.tensor[i], *from = &m->store.tensor[i];
        uint8_t *y = malloc(t->row_bytes);
        float *x = malloc(t->cols * sizeof *x);
        int same = !pith__str_cmp(t->name, from->name) && t->cols == from->cols && t->rows == from->rows;
        for (size_t r = 0; r < t->rows && same; r++) {
            pith__row_floats(from, r, x);
            t->format->encode(y, x, t->cols, NULL);
            same = !memcmp(y, t->data + r * t->row_bytes, t->row_bytes);
        }
        if (!same) FAIL("%.*s", (int)t->name.n, t->name.p);
        free(y), free(x);
    }
}

TEST(what_is_written_is_each_row_encoded) {
    static const char *const names[] = { "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q6_K" };
    static const int file_types[] = { 0, 1, 32, 7, 2, 3, 8, 9, 18 };
    bytes b;
    pith_model *m = made(&b);
    REQUIRE(m);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        pith__requant q = asked(m, names[i]);
        EQ(pith__requant_gguf(&q, in_folder("out.gguf"), &error), PITH_OK);
        pith_model *small = open_again("out.gguf");
        REQUIRE(small);
        rows_are_encoded(m, small);
        CHECK(format_in(small, "blk.1.ffn_up.weight") == pith__format_named(names[i]));
        CHECK(format_in(small, "blk.1.ffn_norm.weight") == pith__format_of(PITH__F32));
        const pith__key *k = pith__store_key(&small->store, "a.first"), *a = pith__store_key(&small->store, "z.last");
        CHECK(k && pith__str_is(k->s, "text") && a && a->n == 2 && pith__key_item(a, 1) == 2);
        EQ(pith__store_key(&small->store, "general.file_type")->i, file_types[i]);
        pith_close(small);
    }
    pith_close(m);
    free(b.p);
}

static const uint8_t *find(const pith__file *f, const char *text) {
    size_t n = strlen(text);
    for (size_t i = 0; i + n <= f->size; i++)
        if (!memcmp(f->data + i, text, n)) return f->data + i;
    return NULL;
}

TEST(keys_and_tensors_have_llama_cpps_order) {
    static const char *const order[] = { "llama.block_count", "z.last", "a.first", "m.flag", "general.quantization_version",
                                         "general.file_type", "output.weight", "output_norm.weight", "token_embd.weight",
                                         "blk.0.attn_k.weight", "blk.0.ffn_up.weight", "blk.1.attn_k.weight" };
    bytes b;
    pith_model *m = made(&b);
    REQUIRE(m);
    pith__requant q = asked(m, "Q8_0");
    REQUIRE(!pith__requant_gguf(&q, in_folder("out.gguf"), &error));
    pith__file f;
    REQUIRE(!pith__file_open(&f, in_folder("out.gguf"), 0, &error));
    for (size_t i = 1; i < sizeof order / sizeof *order; i++)
        if (!(find(&f, order[i - 1]) < find(&f, order[i]))) FAIL("%s comes after %s", order[i - 1], order[i]);
    pith__file_close(&f);
    pith_close(m);
    free(b.p);
}

/* ---- formats by tensor ------------------------------------------------------------------------------ */

typedef struct {         /* the formats of all tensors, as they are told */
    char name[1000][64];
    const pith__format *to[1000];
    int n;
} told;

static void keep_told(void *data, const pith__out *o, const pith__format *want) {
    told *t = data;
    (void)want;
    if (t->n == 1000) exit(99);
    snprintf(t->name[t->n], sizeof t->name[0], "%.*s", (int)o->tensor->name.n, o->tensor->name.p);
    t->to[t->n++] = o->to;
}

static const pith__format *told_format(const told *t, const char *part, int l) {
    char full[80];
    snprintf(full, sizeof full, "blk.%d.%s.weight", l, part);
    for (int outer = 0; outer < 2; outer++, snprintf(full, sizeof full, "%s.weight", part))
        for (int i = 0; i < t->n; i++)
            if (!strcmp(t->name[i], full)) return t->to[i];
    return NULL;
}

/* "attn_v Q6_K*2 Q4_K; output Q6_K": one after the other, the layers' types. */
static void types_as(const char *what, const told *t, const char *types) {
    char copy[4000], part[64];
    int l = 0, times, n = 0, used;
    snprintf(copy, sizeof copy, "%s", types);
    *part = 0;
    for (char *p = copy, *word; sscanf(p, "%*s%n", &used) == 0 && used; p += used) {
        word = p + strspn(p, " ");
        used = (int)(strcspn(word, " ") + (size_t)(word - p));
        if (!*word) break;
        char type[64];
        snprintf(type, sizeof type, "%.*s", (int)strcspn(word, " ;"), word);
        int ends = word[strcspn(word, " ;")] == ';';
        if (!*part) {
            snprintf(part, sizeof part, "%s", type), l = 0;
            continue;
        }
        char *star = strchr(type, '*');
        times = star ? atoi(star + 1) : 1;
        if (star) *star = 0;
        for (; times; times--, l++, n++) {
            const pith__format *f = told_format(t, part, l);
            if (!f || strcmp(f->name, type) != 0) FAIL("%s: %s of layer %d is %s, want %s", what, part, l, f ? f->name : "none", type);
        }
        if (ends) *part = 0;
    }
    CHECK(n > 20);
}

TEST(types_are_those_of_llama_quantize) {
    for (size_t i = 0; i < sizeof made_small / sizeof *made_small; i++) {
        bytes b = fixture_gguf(made_small[i].keys, made_small[i].tensors, 1);
        pith_model *m = open_bytes(&b);
        REQUIRE(m);
        for (size_t k = 0; k < sizeof made_small->of / sizeof *made_small->of; k++) {
            told *t = calloc(1, sizeof *t);
            char what[100];
            snprintf(what, sizeof what, "%s, %s", made_small[i].name, made_small[i].of[k].mix);
            pith__requant q = asked(m, made_small[i].of[k].mix);
            q.plan_only = 1, q.tell = keep_told, q.data = t;
            if (pith__requant_gguf(&q, NULL, &error)) FAIL("%s", error.text);
            types_as(what, t, made_small[i].of[k].types);
            free(t);
        }
        pith_close(m);
        free(b.p);
    }
}

TEST(rows_that_are_no_whole_blocks) {
    static const struct { const char *mix, *name; int format; } wants[] = {
        { "Q6_K", "blk.0.ffn_down.weight", PITH__Q8_0 }, { "Q4_0", "blk.0.ffn_down.weight", PITH__Q4_0 },
        { "Q6_K", "blk.0.ffn_up.weight", PITH__Q6_K },
    };
    bytes b;
    pith_model *m = made(&b);
    REQUIRE(m);
    for (size_t i = 0; i < sizeof wants / sizeof *wants; i++) {
        pith__requant q = asked(m, wants[i].mix);
        REQUIRE(!pith__requant_gguf(&q, in_folder("out.gguf"), &error));
        pith_model *small = open_again("out.gguf");
        REQUIRE(small);
        CHECK(format_in(small, wants[i].name) == pith__format_of(wants[i].format));
        pith_close(small);
    }
    pith_close(m);
    free(b.p);
}

TEST(what_the_user_wants_comes_before_the_mix) {
    bytes b;
    pith_model *m = made(&b);
    pith__arena a = { NULL, 0 };
    REQUIRE(m);
    const struct pith__typed typed[] = {
        { pith__pattern(pith__str_of("blk\\.0\\.ffn_(up|gate)"), &a, &error), pith__format_of(PITH__Q8_0) },
        { pith__pattern(pith__str_of("ffn_up"), &a, &error), pith__format_of(PITH__F16) },
    };
    pith__requant q = asked(m, "Q4_0");
    q.typed = typed, q.n_typed = 2, q.output = pith__format_of(PITH__F16), q.embedding = pith__format_of(PITH__BF16);
    REQUIRE(!pith__requant_gguf(&q, in_folder("out.gguf"), &error));
    pith_model *small = open_again("out.gguf");
    REQUIRE(small);
    EQ(format_in(small, "blk.0.ffn_up.weight")->id, PITH__Q8_0);
    EQ(format_in(small, "blk.0.ffn_gate.weight")->id, PITH__Q8_0);
    EQ(format_in(small, "blk.1.ffn_up.weight")->id, PITH__F16);
    EQ(format_in(small, "blk.1.ffn_gate.weight")->id, PITH__Q4_0);
    EQ(format_in(small, "output.weight")->id, PITH__F16);
    EQ(format_in(small, "token_embd.weight")->id, PITH__BF16);
    pith_close(small);
    q = asked(m, "Q4_0"), q.pure = 1;
    REQUIRE(!pith__requant_gguf(&q, in_folder("out.gguf"), &error));
    small = open_again("out.gguf");
    REQUIRE(small);
    EQ(format_in(small, "output.weight")->id, PITH__Q4_0);
    pith_close(small), pith_close(m);
    pith__arena_free(&a);
    free(b.p);
}

/* ---- importance --------------------------------------------------------------------------------------- */

/* llama.cpp's older file: how many matrices; of each its name, calls, and a number a column. */
static void save_imatrix(const char *name, int cols) {
    bytes b = { NULL, 0, 0 };
    put_u32(&b, 1), put_u32(&b, (uint32_t)strlen(name)), put(&b, name, strlen(name));
    put_u32(&b, 1), put_u32(&b, (uint32_t)cols);
    for (int c = 0; c < cols; c++) put_f32(&b, c % 32 == 5 ? 1000 : 0.01f * (float)(c % 7 + 1));
    if (save(&b, in_folder("i.dat"))) exit(99);
    free(b.p);
}

TEST(an_imatrix_goes_to_the_encoders) {
    bytes b;
    pith_model *m = made(&b);
    pith__imatrix im;
    REQUIRE(m);
    save_imatrix("blk.1.attn_q.weight", 256);
    REQUIRE(!pith__imatrix_read(&im, in_folder("i.dat"), &error));
    pith__requant q = asked(m, "Q4_K");
    q.pure = 1;
    REQUIRE(!pith__requant_gguf(&q, in_folder("plain.gguf"), &error));
    q.imatrix = &im, q.imatrix_path = "i.dat";
    if (pith__requant_gguf(&q, in_folder("out.gguf"), &error)) FAIL("%s", error.text);
    pith_model *plain = open_again("plain.gguf"), *small = open_again("out.gguf");
    REQUIRE(small && plain);
    int uses = 0;
    for (int l = 0; l < 2; l++) { /* of layer 0 nothing is known */
        const pith__tensor *t = &small->layer[l].q.tensor, *p = &plain->layer[l].q.tensor, *w = &m->layer[l].q.tensor;
        float x[256];
        uint8_t y[2][256];
        for (size_t r = 0; r < t->rows; r++) {
            pith__row_floats(w, r, x);
            t->format->encode(y[0], x, 256, NULL), t->format->encode(y[1], x, 256, im.of[0].mean);
            uses += memcmp(y[0], y[1], t->row_bytes) != 0;
            if (memcmp(t->data + r * t->row_bytes, y[l], t->row_bytes) || memcmp(p->data + r * t->row_bytes, y[0], t->row_bytes)) FAIL("layer %d", l);
        }
    }
    if (!uses) SKIP("no encoder takes importance yet");
    const pith__key *k = pith__store_key(&small->store, "quantize.imatrix.file");
    CHECK(k && pith__str_is(k->s, "i.dat") && pith__store_key(&small->store, "quantize.imatrix.entries_count")->i == 1);
    pith_close(small), pith_close(plain);
    pith__imatrix_free(&im);
    save_imatrix("blk.1.attn_q.weight", 128);
    REQUIRE(!pith__imatrix_read(&im, in_folder("i.dat"), &error));
    CHECK(pith__requant_gguf(&q, in_folder("other.gguf"), &error) && strstr(error.text, "blk.1.attn_q.weight"));
    CHECK(access(in_folder("other.gguf"), F_OK) != 0);
    pith__imatrix_free(&im);
    save_imatrix("blk.7.attn_q.weight", 256);
    REQUIRE(!pith__imatrix_read(&im, in_folder("i.dat"), &error));
    CHECK(pith__requant_gguf(&q, in_folder("other.gguf"), &error));
    pith__imatrix_free(&im);
    pith_close(m);
    free(b.p);
}

/* What was rounded before is found again: of Q4_K with runs that leave one of their 16 integers free, so that scale and
 * minimum could be others as well, which fit no other run. */
TEST(a_grid_is_found_again) {
    const pith__format *f = pith__format_of(PITH__Q4_K);
    uint64_t seed = 3;
    double moved = 0, all = 0;
    for (int n = 0; n < 200; n++) {
        uint8_t block[144], again[144];
        float x[256], y[256];
        for (int i = 0; i < 144; i++) block[i] = (uint8_t)(fixture_random(&seed) * 127 + 128);
        for (int i = 16; i < 144; i++) block[i] = (uint8_t)((block[i] & 15) % 15 | (block[i] >> 4) % 15 << 4);
        for (int i = 16; i < 144; i += 32) block[i] = 0, block[i + 1] = 0xee;
        for (int i = 0; i < 8; i++) block[4 + i] |= i % 4 ? 0xa0 : 0xbf; /* the largest scale and minimum are 63, the least 32 */
        uint16_t d = pith__f32_to_f16(0.001f), m = pith__f32_to_f16(0.005f);
        memcpy(block, &d, 2), memcpy(block + 2, &m, 2);
        pith__tensor t = { .format = f, .n_dim = 1, .rows = 1, .cols = 256, .data = block, .row_bytes = 144 };
        pith__row_floats(&t, 0, x);
        f->encode(again, x, 256, NULL);
        t.data = again;
        pith__row_floats(&t, 0, y);
        for (int i = 0; i < 256; i++) moved += (double)(y[i] - x[i]) * (double)(y[i] - x[i]), all += (double)x[i] * (double)x[i];
    }
    if (!(sqrt(moved / all) < 2e-3)) FAIL("%g", sqrt(moved / all));
}

/* ---- parts ------------------------------------------------------------------------------------------- */

TEST(a_model_in_parts) {
    bytes b;
    pith_model *m = made(&b);
    REQUIRE(m);
    pith__requant q = asked(m, "F16");
    q.split_bytes = 300000;
    REQUIRE(!pith__requant_gguf(&q, in_folder("p.gguf"), &error));
    pith_model *small = open_again("p-00001-of-00009.gguf");
    REQUIRE(small);
    EQ(small->store.n_file, 9);
    rows_are_encoded(m, small);
    for (int i = 0; i < 9; i++) CHECK(small->store.file[i].size < 310000);
    q = asked(small, "Q8_0"), q.keep_split = 1;
    REQUIRE(!pith__requant_gguf(&q, in_folder("k.gguf"), &error));
    pith_model *kept = open_again("k-00001-of-00009.gguf");
    REQUIRE(kept);
    rows_are_encoded(small, kept);
    q.keep_split = 0;
    REQUIRE(!pith__requant_gguf(&q, in_folder("one.gguf"), &error));
    pith_model *one = open_again("one.gguf");
    REQUIRE(one);
    EQ(one->store.n_file, 1);
    CHECK(!pith__store_key(&one->store, "split.count"));
    pith_close(one), pith_close(kept), pith_close(small), pith_close(m);
    free(b.p);
}

/* ---- the way back ------------------------------------------------------------------------------------- */

static void remove_folder(const char *name) {
    char path[200];
    snprintf(path, sizeof path, "%s", in_folder(name));
    pith__remove_named(path, "", "");
    rmdir(path);
}

/* The same tensors; norms of the Gemmas lose up to the last bit where 1 is taken away and added again. */
static void same_tensors(const char *what, const pith_model *a, const pith_model *b, int gemma) {
    EQ(a->store.n_tensor, b->store.n_tensor);
    for (size_t i = 0; i < a->store.n_tensor && a->store.n_tensor == b->store.n_tensor; i++) {
        const pith__tensor *t = &a->store.tensor[i], *u = &b->store.tensor[i];
        int same = !pith__str_cmp(t->name, u->name) && t->format == u->format && t->rows == u->rows && t->cols == u->cols;
        float *x = malloc(2 * t->cols * sizeof *x), *y = x + t->cols;
        for (size_t r = 0; r < t->rows && same; r++) {
            pith__row_floats(t, r, x), pith__row_floats(u, r, y);
            same = !memcmp(x, y, t->cols * sizeof *x);
            if (same || !gemma || t->rows > 1) continue;
            same = 1;
            for (size_t c = 0; c < t->cols; c++) same &= fabsf(x[c] - y[c]) < 1e-7f;
        }
        free(x);
        if (!same) FAIL("%s: %.*s", what, (int)t->name.n, t->name.p);
    }
}

static void there_and_back(const char *what, const pith_model *m, const char *type) {
    const pith__format *to = pith__format_named(type);
    pith__requant q = asked(m, type);
    remove_folder("back");
    REQUIRE(!pith__requant_gguf(&q, in_folder("there.gguf"), &error));
    pith_model *there = open_again("there.gguf");
    REQUIRE(there);
    q = asked(there, type);
    if (pith__requant_folder(&q, to, in_folder("back"), &error)) FAIL("%s: %s", what, error.text);
    pith_model *back = open_again("back");
    REQUIRE(back);
    CHECK(back->store.is_folder && !strcmp(back->hyper.arch, m->hyper.arch));
    const pith__hyper *a = &back->hyper, *b = &m->hyper;
    CHECK(a->eps == b->eps && a->n_ff == b->n_ff && a->n_rot == b->n_rot && a->embd_scale == b->embd_scale);
    CHECK(a->logit_scale == b->logit_scale && a->attn_softcap == b->attn_softcap && a->n_expert_used == b->n_expert_used);
    NEAR(a->attn_scale, b->attn_scale, 1e-7 * b->attn_scale);
    for (int l = 0; l < a->n_layer; l++)
        if (back->layer[l].mask.window != m->layer[l].mask.window || back->layer[l].rope != m->layer[l].rope) FAIL("%s: layer %d", what, l);
    for (int i = 0; i < a->n_rot / 2; i++) NEAR(back->rope[0].freq[i], m->rope[0].freq[i], 1e-6 * (double)m->rope[0].freq[i]);
    q = asked(back, type);
    REQUIRE(!pith__requant_gguf(&q, in_folder("again.gguf"), &error));
    pith_model *again = open_again("again.gguf");
    REQUIRE(again);
    if (!strstr(what, "apart")) same_tensors(what, there, again, !strncmp(a->arch, "gemma", 5)); /* experts are a stack now */
    pith_close(again), pith_close(back), pith_close(there);
}

TEST(a_folder_of_every_family) {
    static const char *const refused[][2] = { /* what transformers' classes have no place for */
        { "llama_factors", "no field for rope_freqs.weight" }, { "qwen2_fused", "no name for 'model.layers.0.self_attn.qkv_proj" },
    };
    int n = 0;
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        bytes b = fixture_gguf(goldens[i].keys, goldens[i].tensors, goldens[i].seed);
        pith_model *m = open_bytes(&b);
        REQUIRE(m);
        pith__requant q = asked(m, "F32");
        remove_folder("back");
        int code = pith__requant_folder(&q, pith__format_of(PITH__F32), in_folder("back"), &error);
        const char *want = NULL;
        for (size_t k = 0; k < sizeof refused / sizeof *refused; k++)
            if (!strcmp(refused[k][0], goldens[i].name)) want = refused[k][1];
        if (code ? !want || !strstr(error.text, want) : want != NULL) FAIL("%s: %s", goldens[i].name, error.text);
        for (int k = 0; k < 3 && !code; k++) there_and_back(goldens[i].name, m, (const char *[]){ "F32", "F16", "BF16" }[k]);
        n += !code;
        pith_close(m);
        free(b.p);
    }
    CHECK(n >= 11);
    remove_folder("back");
}

/* Keys that no class of transformers has a field for: config.json keeps them, and the GGUF file has them again. */
TEST(what_a_model_is_called_goes_there_and_back) {
    static const char *const names[] = { "general.name", "general.tags", "general.finetuned", "general.rating", "general.count",
                                         "general.base_model.0.name", "tokenizer.ggml.padding_token_id", "llama.pooling_type" };
    bytes b = fixture_gguf(KEYS "; general.name A \"Model\" \xc3\xa4; general.tags ['a b','c']; general.finetuned true;"
                           "general.rating 0.25; llama.pooling_type 3; general.count -7; general.base_model.0.name its base;"
                           "tokenizer.ggml.padding_token_id 3; general.license \xff", TENSORS, 5);
    pith_model *m = open_bytes(&b);
    REQUIRE(m);
    pith__requant q = asked(m, "F32");
    remove_folder("back");
    REQUIRE(!pith__requant_folder(&q, pith__format_of(PITH__F32), in_folder("back"), &error));
    pith_model *back = open_again("back");
    REQUIRE(back);
    q = asked(back, "F32");
    REQUIRE(!pith__requant_gguf(&q, in_folder("again.gguf"), &error));
    pith_model *again = open_again("again.gguf");
    REQUIRE(again);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const pith__key *k = pith__store_key(&m->store, names[i]), *other = pith__store_key(&again->store, names[i]);
        REQUIRE(k && other);
        CHECK(k->type == other->type && k->i == other->i && k->f >= other->f && k->f <= other->f && !pith__str_cmp(k->s, other->s));
        CHECK(k->n == other->n && k->at.left == other->at.left && (!k->at.left || !memcmp(k->at.p, other->at.p, k->at.left)));
    }
    CHECK(!pith__store_key(&again->store, "general.license")); /* JSON has no place for it */
    EQ(pith__store_key(&again->store, "general.file_type")->i, 0);
    pith_close(again), pith_close(back), pith_close(m);
    free(b.p);
    remove_folder("back");
}

/* Merges in three orders: pairs of a piece together; apart; and one left out that the pieces would allow. */
TEST(merges_and_scores_are_the_same_vocabulary) {
    static const char *const pieces[] = { "a", "b", "c", "ab", "bc", "abc", "<s>" };
    static const char *const merges[3][4][2] = {
        { { "b", "c" }, { "ab", "c" }, { "a", "bc" }, { "a", "b" } },
        { { "ab", "c" }, { "b", "c" }, { "a", "bc" }, { "a", "b" } },
        { { "b", "c" }, { "ab", "c" }, { "a", "b" } },
    };
    static const int codes[3] = { PITH_OK, PITH_EARCH, PITH_EARCH };
    pith__str piece[7], left[4], right[4];
    uint8_t type[7] = { 1, 1, 1, 1, 1, 1, PITH__CONTROL };
    for (int i = 0; i < 7; i++) piece[i] = pith__str_of(pieces[i]);
    for (int k = 0; k < 3; k++) {
        pith__arena a = { NULL, 0 };
        pith__vocab v = { .model = PITH__BPE, .n = 7, .piece = piece, .type = type, .left = left, .right = right };
        for (; v.n_merge < 4 && merges[k][v.n_merge][0]; v.n_merge++)
            left[v.n_merge] = pith__str_of(merges[k][v.n_merge][0]), right[v.n_merge] = pith__str_of(merges[k][v.n_merge][1]);
        float *score;
        EQ(pith__scores_of(&v, &a, &score), codes[k]);
        int *pair;
        size_t n;
        v.model = PITH__SPM, v.score = score;
        if (k == 0) {
            CHECK(score[4] > score[5] && score[5] > score[3] && score[3] > score[0]);
            EQ(pith__merges_of(&v, &a, &pair, &n), PITH_OK);
            EQ(n, 4);
            for (size_t i = 0; i < n; i++)
                CHECK(!pith__str_cmp(piece[pair[2 * i]], left[i]) && !pith__str_cmp(piece[pair[2 * i + 1]], right[i]));
        }
        pith__arena_free(&a);
    }
}

/* Runs of one character share a score where their pairs stand between each other: as in Llama 2's vocabulary. */
TEST(runs_share_a_score) {
    static const char *const pieces[] = { "-", "--", "---", "----", "a", "-a" };
    static const char *const merges[][2] = { { "---", "-" }, { "--", "--" }, { "--", "-" }, { "-", "---" }, { "-", "--" },
                                             { "-", "-" }, { "-", "a" } };
    pith__str piece[6], left[7], right[7];
    uint8_t type[6] = { 1, 1, 1, 1, 1, 1 };
    pith__arena a = { NULL, 0 };
    float *score;
    int *pair;
    size_t n;
    for (int i = 0; i < 6; i++) piece[i] = pith__str_of(pieces[i]);
    for (int i = 0; i < 7; i++) left[i] = pith__str_of(merges[i][0]), right[i] = pith__str_of(merges[i][1]);
    pith__vocab v = { .model = PITH__BPE, .n = 6, .piece = piece, .type = type, .left = left, .right = right, .n_merge = 7 };
    REQUIRE(!pith__scores_of(&v, &a, &score));
    CHECK(score[3] >= score[2] && score[2] >= score[3] && score[1] < score[2] && score[5] < score[1]);
    v.model = PITH__SPM, v.score = score;
    REQUIRE(!pith__merges_of(&v, &a, &pair, &n) && n == 7);
    for (size_t i = 0; i < n; i++)
        CHECK(!pith__str_cmp(piece[pair[2 * i]], left[i]) && !pith__str_cmp(piece[pair[2 * i + 1]], right[i]));
    pith__arena_free(&a);
}

/* ---- what is refused ----------------------------------------------------------------------------------- */

TEST(what_is_no_number_is_named) {
    static const uint32_t wrong[] = { 0x7fc00000, 0xff800000, 0x7f800001, 0x477ff000 }; /* NaN, -infinity, NaN, 65520 */
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        bytes b = fixture_gguf(KEYS, TENSORS, 5);
        pith_model *m = open_bytes(&b);
        REQUIRE(m);
        const pith__tensor *t = pith__store_tensor(&m->store, "blk.1.attn_v.weight");
        memcpy(b.p + (t->data + 3 * t->row_bytes + 8 - b.p), &wrong[i], 4);
        pith__requant q = asked(m, "F16");
        EQ(pith__requant_gguf(&q, in_folder("nan.gguf"), &error), PITH_EFORMAT);
        if (!strstr(error.text, "'blk.1.attn_v.weight' has a number in row 3")) FAIL("%s", error.text);
        CHECK(access(in_folder("nan.gguf"), F_OK) != 0);
        q.allow_nan = 1;
        EQ(pith__requant_gguf(&q, in_folder("nan.gguf"), &error), PITH_OK);
        unlink(in_folder("nan.gguf"));
        q.allow_nan = 0, q.mix = pith__mix_named("F32");
        EQ(pith__requant_gguf(&q, in_folder("nan.gguf"), &error), i < 3 ? PITH_EFORMAT : PITH_OK);
        unlink(in_folder("nan.gguf"));
        pith_close(m);
        free(b.p);
    }
}

TEST(few_bits_are_not_rounded_again_unless_told) {
    bytes b;
    pith_model *m = made(&b);
    REQUIRE(m);
    pith__requant q = asked(m, "Q4_0");
    REQUIRE(!pith__requant_gguf(&q, in_folder("four.gguf"), &error));
    pith_model *four = open_again("four.gguf");
    REQUIRE(four);
    q = asked(four, "Q8_0");
    EQ(pith__requant_gguf(&q, in_folder("out.gguf"), &error), PITH_EARG);
    CHECK(strstr(error.text, "is Q6_K, and as Q8_0") && strstr(error.text, "--allow-requantize"));
    q.requantize = 1;
    EQ(pith__requant_gguf(&q, in_folder("out.gguf"), &error), PITH_OK);
    q = asked(four, "F16"); /* nothing more is lost */
    EQ(pith__requant_gguf(&q, in_folder("out.gguf"), &error), PITH_OK);
    q = asked(four, "Q4_0");
    EQ(pith__requant_gguf(&q, in_folder("out.gguf"), &error), PITH_OK); /* copied */
    pith_close(four), pith_close(m);
    free(b.p);
}

int main(void) {
    snprintf(folder, sizeof folder, "/tmp/pith-quantize-XXXXXX");
    if (!mkdtemp(folder)) return 99;
    RUN(what_is_written_is_each_row_encoded);
    RUN(keys_and_tensors_have_llama_cpps_order);
    RUN(types_are_those_of_llama_quantize);
    RUN(rows_that_are_no_whole_blocks);
    RUN(what_the_user_wants_comes_before_the_mix);
    RUN(an_imatrix_goes_to_the_encoders);
    RUN(a_grid_is_found_again);
    RUN(a_model_in_parts);
    RUN(a_folder_of_every_family);
    RUN(what_a_model_is_called_goes_there_and_back);
    RUN(merges_and_scores_are_the_same_vocabulary);
    RUN(runs_share_a_score);
    RUN(what_is_no_number_is_named);
    RUN(few_bits_are_not_rounded_again_unless_told);
    pith__remove_named(folder, "", "");
    rmdir(folder);
    return DONE();
}
