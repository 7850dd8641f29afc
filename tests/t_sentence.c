/* t_sentence.c - a folder of sentence-transformers: its steps, prompts and limit; the same as a GGUF; what is refused. */
#define _XOPEN_SOURCE 700
#include "hf_folder.h"

#include <sys/stat.h>

static const char modules[] =
    "[{\"idx\": 0, \"name\": \"0\", \"path\": \"\", \"type\": \"sentence_transformers.models.Transformer\"},\n"
    " {\"idx\": 1, \"name\": \"1\", \"path\": \"1_Pooling\", \"type\": \"sentence_transformers.models.Pooling\"},\n"
    " {\"idx\": 2, \"name\": \"2\", \"path\": \"2_Dense\", \"type\": \"sentence_transformers.base.modules.dense.Dense\"},\n"
    " {\"idx\": 3, \"name\": \"3\", \"path\": \"3_Normalize\", \"type\": \"sentence_transformers.models.Normalize\"}]";
static const char pooling[] =
    "{\"word_embedding_dimension\": 8, \"pooling_mode_cls_token\": true, \"pooling_mode_mean_tokens\": true,\n"
    " \"pooling_mode_max_tokens\": false, \"include_prompt\": true}";
static const char dense[] =
    "{\"in_features\": 16, \"out_features\": 3, \"bias\": true, \"activation_function\": \"torch.nn.modules.activation.Tanh\"}";
static const char dense_tensors[] =
    "{\"linear.bias\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]},"
    "\"linear.weight\":{\"dtype\":\"F32\",\"shape\":[3,16],\"data_offsets\":[12,204]}}";
static const char bert_config[] = "{\"max_seq_length\": 20, \"do_lower_case\": false}";
static const char prompts[] =
    "{\"prompts\": {\"query\": \"ask: \", \"document\": \"\"}, \"default_prompt_name\": \"query\", \"similarity_fn_name\": \"cosine\"}";

static void write_sentence(void) {
    static const char *const files[] = { "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors" };
    for (int i = 0; i < 3; i++) unlink(in_folder(files[i]));
    write_whole();
    mkdir(in_folder("1_Pooling"), 0777), mkdir(in_folder("2_Dense"), 0777);
    write_text("modules.json", modules);
    write_text("1_Pooling/config.json", pooling);
    write_text("2_Dense/config.json", dense);
    write_tensors("2_Dense/model.safetensors", dense_tensors, 204);
    write_text("sentence_bert_config.json", bert_config);
    write_text("config_sentence_transformers.json", prompts);
}

static pith_model *open_folder(const char *path) {
    pith_model *m = pith_open(path, &(pith_options){ .n_threads = 1 }, &error);
    if (!m) FAIL("%s", error.text);
    return m;
}

static int embed(const pith_model *m, const pith_embedding *way, float *out, int cap) {
    static const pith_token t[] = { 1, 5, 9, 3 };
    pith_passage p = { .tokens = t, .n_tokens = 4 };
    pith_embedder *e = pith_embedder_new(m, NULL, way, &error);
    int n = e ? pith_embed(e, &p, 1, out, cap, &error) : -1;
    if (n < 0) FAIL("%s", error.text);
    pith_embedder_free(e);
    return n;
}

/* cls and mean, (3, 16) and tanh, length 1: by hand, from the hidden states. */
TEST(steps) {
    write_sentence();
    pith_model *m = open_folder(folder);
    REQUIRE(m);
    pith_embedding way = pith_embedding_default(m), none = { 0 };
    const char *name, *text;
    EQ(way.pooling, PITH_CLS | PITH_MEAN);
    EQ(way.normalize, 1);
    EQ(way.n_ctx, 20);
    CHECK(way.prompt && !strcmp(way.prompt, "ask: "));
    CHECK(pith_prompt(m, 0, &name, &text) && !strcmp(name, "document") && !*text);
    CHECK(pith_prompt(m, 1, &name, &text) && !strcmp(name, "query") && text == way.prompt);
    CHECK(!pith_prompt(m, 2, &name, &text));
    float x[4][8], got[3], want[3];
    double sum = 0, in[16] = { 0 };
    EQ(embed(m, &none, x[0], 4), 4);
    EQ(embed(m, NULL, got, 1), 1);
    for (int i = 0; i < 8; i++) in[i] = x[0][i], in[8 + i] = (x[0][i] + x[1][i] + x[2][i] + x[3][i]) / 4;
    for (int r = 0; r < 3; r++) {
        double y = (r - 48) / 100.0; /* as write_tensors counts */
        for (int i = 0; i < 16; i++) y += (3 + 16 * r + i - 48) / 100.0 * in[i];
        want[r] = (float)tanh(y), sum += tanh(y) * tanh(y);
    }
    for (int r = 0; r < 3; r++) want[r] = (float)(want[r] / sqrt(sum));
    NEAR_ARRAY(got, want, 3, 2e-6);
    pith_close(m);
}

TEST(the_same_as_a_gguf) {
    write_sentence();
    pith_model *m = open_folder(folder), *g = NULL;
    REQUIRE(m);
    pith__requant plain_copy = { .m = m, .mix = pith__mix_named("F32") };
    if (pith__requant_gguf(&plain_copy, in_folder("a.gguf"), &error)) FAIL("%s", error.text);
    g = open_folder(in_folder("a.gguf"));
    REQUIRE(g);
    float a[3], b[3];
    pith_embedding x = pith_embedding_default(m), y = pith_embedding_default(g);
    CHECK(x.pooling == y.pooling && x.normalize == y.normalize && x.n_ctx == y.n_ctx && !strcmp(x.prompt, y.prompt));
    EQ(embed(m, NULL, a, 1), 1);
    EQ(embed(g, NULL, b, 1), 1);
    EQ(memcmp(a, b, sizeof a), 0);
    pith_close(m), pith_close(g);
}

TEST(what_may_be_missing) {
    write_sentence();
    unlink(in_folder("sentence_bert_config.json")), unlink(in_folder("config_sentence_transformers.json"));
    write_text("tokenizer_config.json", "{\"model_max_length\": 24}");
    write_text("1_Pooling/config.json", "{\"embedding_dimension\": 8, \"pooling_mode\": [\"cls\", \"lasttoken\"], \"include_prompt\": false}");
    pith_model *m = open_folder(folder);
    REQUIRE(m);
    pith_embedding way = pith_embedding_default(m);
    EQ(way.pooling, PITH_CLS | PITH_LAST);
    EQ(way.skip_prompt, 1);
    EQ(way.n_ctx, 24);
    CHECK(!way.prompt);
    pith_close(m);
    write_text("tokenizer_config.json", "{\"model_max_length\": 1000000000000000019884624838656}");
    write_text("modules.json", "[]");
    m = open_folder(folder);
    REQUIRE(m);
    way = pith_embedding_default(m);
    EQ(way.pooling, PITH_LAST); /* a decoder */
    EQ(way.normalize, 0);
    EQ(way.n_ctx, 32);
    EQ(m->pooling.said, 0);
    pith_close(m);
}

TEST(what_is_refused) {
    static const struct { const char *file, *text, *from, *to, *naming; } wrong[] = {
        { "modules.json", modules, "models.Pooling", "models.WordWeights", "type is \"sentence_transformers.models.WordWeights\"" },
        { "modules.json", modules, "models.Transformer", "models.BoW", "BoW" },
        { "modules.json", modules, "dense.Dense", "lstm.LSTM", "LSTM" },
        { "modules.json", modules, "\"path\": \"\"", "\"path\": \"0_BERT\"", "0_BERT" },
        { "modules.json", modules, "\"path\": \"\"", "\"path\": \"../x\"", "path of step 0 is '../x'" },
        { "sentence_bert_config.json", bert_config, "false", "0", "do_lower_case is 0, need true or false" },
        { "modules.json", modules, "\"path\": \"1_Pooling\"", "\"path\": \"../1_Pooling\"", "../1_Pooling" },
        { "modules.json", modules, "\"path\": \"1_Pooling\"", "\"path\": \"7_Pooling\"", "7_Pooling/config.json" },
        { "modules.json", "{}", "{}", "{}", "array" },
        { "1_Pooling/config.json", pooling, "\"include_prompt\": true", "\"pooling_mode\": \"median\"", "pooling_mode is \"median\"" },
        { "1_Pooling/config.json", pooling, "\"include_prompt\": true", "\"pooling_mode\": [\"mean\", \"cls\"]", "in this order" },
        { "1_Pooling/config.json", pooling, "pooling_mode_cls_token\": true", "pooling_mode_cls_token\": 1", "pooling_mode_cls_token is 1" },
        { "1_Pooling/config.json", pooling, "pooling_mode_cls_token\": true", "a\": 1", "3 x 16, need 8 columns" },
        { "2_Dense/config.json", dense, "activation.Tanh", "activation.ReLU", "activation_function" },
        { "2_Dense/config.json", dense, "\"bias\": true", "\"bias\": false", "2_Dense/model.safetensors" },
        { "2_Dense/config.json", dense, "\"bias\": true", "\"use_residual\": true", "use_residual" },
        { "2_Dense/config.json", dense, "\"bias\": true", "\"module_input_name\": \"token_embeddings\"", "token_embeddings" },
        { "2_Dense/model.safetensors", "", "", "", "2_Dense/model.safetensors" },
        { "sentence_bert_config.json", bert_config, "20", "0", "max_seq_length is 0" },
        { "sentence_bert_config.json", bert_config, "20", "\"20\"", "max_seq_length" },
        { "config_sentence_transformers.json", prompts, "\"ask: \"", "5", "a prompt is 5" },
        { "config_sentence_transformers.json", prompts, "\"query\",", "\"ask\",", "'ask'" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_sentence();
        OPENS();
        write_text(wrong[i].file, with(wrong[i].text, wrong[i].from, wrong[i].to));
        refused(wrong[i].to, wrong[i].naming);
    }
}

/* Folders of 2019 have the model in a folder of its own. */
TEST(a_model_in_a_folder_of_its_own) {
    static const char *const files[] = { "config.json", "model.safetensors", "sentence_bert_config.json" };
    float a[3], b[3];
    write_sentence();
    pith_model *m = open_folder(folder);
    REQUIRE(m && embed(m, NULL, a, 1) == 1);
    pith_close(m);
    mkdir(in_folder("0_BERT"), 0777);
    for (int i = 0; i < 3; i++) {
        char to[100];
        snprintf(to, sizeof to, "0_BERT/%s", files[i]);
        rename(in_folder(files[i]), in_folder(to));
    }
    write_text("config.json", "{\"__version__\": \"0.2.0\"}");
    write_text("modules.json", with(modules, "\"path\": \"\"", "\"path\": \"0_BERT\""));
    m = open_folder(folder);
    REQUIRE(m && embed(m, NULL, b, 1) == 1);
    EQ(memcmp(a, b, sizeof a), 0);
    EQ(pith_embedding_default(m).n_ctx, 20);
    pith_close(m);
    for (int i = 0; i < 3; i++) {
        char name[100];
        snprintf(name, sizeof name, "0_BERT/%s", files[i]);
        unlink(in_folder(name));
    }
    rmdir(in_folder("0_BERT"));
}

/* Python's str.lower(). */
TEST(small_letters) {
    static const char capitals[] = "HELLO \xc4\xb0 \xce\x91\xce\xa3 \xce\xa3\xce\x91\xce\xa3. \xe1\xba\x9e \xc8\xba \xc3\x84 A\xce\xa3""B";
    static const char small[] = "hello i\xcc\x87 \xce\xb1\xcf\x82 \xcf\x83\xce\xb1\xcf\x82. \xc3\x9f \xe2\xb1\xa5 \xc3\xa4 a\xcf\x83""b";
    char room[3 * sizeof capitals];
    size_t n = sizeof capitals - 1;
    memcpy(room + 2 * n, capitals, n);
    size_t used = pith__lower(room + 2 * n, n, room);
    CHECK(used == sizeof small - 1 && !memcmp(room, small, used));
    memset(room, 0xff, sizeof room);
    EQ(pith__lower(room + 2 * n, n, room), 3 * n);
}

static void not_embedded(const pith_model *m, pith_embedding way, const char *naming) {
    pith_embedder *e = pith_embedder_new(m, NULL, &way, &error);
    if (e || !strstr(error.text, naming)) FAIL("\"%s\" does not name %s", e ? "made" : error.text, naming);
    pith_embedder_free(e);
}

TEST(calls_that_are_refused) {
    write_sentence();
    pith_model *m = open_folder(folder);
    REQUIRE(m);
    const pith_embedding usual = pith_embedding_default(m);
    pith_embedding way = usual;
    way.pooling = PITH_MEAN;
    not_embedded(m, way, "8 numbers");
    way = usual, way.pooling = 128;
    not_embedded(m, way, "pooling 128");
    way = usual, way.dimensions = 4;
    not_embedded(m, way, "1 to 3");
    way = usual, way.n_ctx = 33;
    not_embedded(m, way, "context of 32");
    pith_embedder *e = pith_embedder_new(m, NULL, NULL, &error);
    REQUIRE(e);
    float out[3];
    pith_token t[40] = { 1, 16 };
    EQ(pith_embed(e, &(pith_passage){ .tokens = t, .n_tokens = 2 }, 1, out, 1, &error), PITH_EARG);
    CHECK(strstr(error.text, "text 0: token 16"));
    EQ(pith_embed(e, &(pith_passage){ .tokens = t, .n_tokens = 33 }, 1, out, 1, &error), PITH_EFULL);
    EQ(pith_embed(e, &(pith_passage){ .text = "a", .n_text = 1 }, 1, out, 1, &error), PITH_EARG);
    CHECK(strstr(error.text, "no vocabulary"));
    EQ(pith_embed(e, NULL, 0, out, 0, &error), 0);
    pith_embedder_free(e);
    pith_close(m);
}

int main(void) {
    (void)store; /* of other tests */
    make_folder();
    RUN(steps);
    RUN(the_same_as_a_gguf);
    RUN(what_may_be_missing);
    RUN(what_is_refused);
    RUN(a_model_in_a_folder_of_its_own);
    RUN(small_letters);
    RUN(calls_that_are_refused);
    write_sentence();
    unlink(in_folder("1_Pooling/config.json")), unlink(in_folder("2_Dense/config.json"));
    unlink(in_folder("2_Dense/model.safetensors"));
    drop_folder();
    return DONE();
}
