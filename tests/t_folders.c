/* t_folders.c - Hugging Face folders made here, against what transformers computes from the same ones
 * (scripts/reference_hf.py); what config.json may leave out, and what is refused. */
#define _POSIX_C_SOURCE 200809L
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "golden_folders.h"

enum { N = GOLDEN_TOKENS };

/* ---- folders --------------------------------------------------------------------------------- */

static char folder[64];

static const char *in_folder(const char *name) {
    static char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_text(const char *name, const char *text) {
    FILE *f = fopen(in_folder(name), "wb");
    if (!f || fwrite(text, 1, strlen(text), f) != strlen(text) || fclose(f)) exit(99);
}

static const char *quoted(const char *text) { /* ' becomes " */
    static char buffer[8192];
    snprintf(buffer, sizeof buffer, "%s", text);
    for (char *p = buffer; *p; p++)
        if (*p == '\'') *p = '"';
    return buffer;
}

static void write_folder(const char *config, const char *tensors) {
    bytes b = fixture_safetensors(tensors, GOLDEN_SEED);
    if (save(&b, in_folder("model.safetensors"))) exit(99);
    free(b.p);
    write_text("config.json", quoted(config));
}

static const struct golden_folder *named(const char *name) {
    const struct golden_folder *g = goldens;
    while (strcmp(g->name, name) != 0) g++;
    return g;
}

/* text with from, which is in it, replaced by to. */
static const char *with(const char *text, const char *from, const char *to) {
    static char buffer[2][8192];
    static int turn;
    char *b = buffer[turn++ % 2];
    const char *at = strstr(text, from);
    if (!at) FAIL("no %s in %s", from, text);
    snprintf(b, sizeof buffer[0], "%.*s%s%s", at ? (int)(at - text) : 0, text, to,
             at ? at + strlen(from) : "");
    return b;
}

static const char *more(const char *config, const char *field) { /* "{'model_type': ..." with one more */
    char to[1024];
    snprintf(to, sizeof to, "{%s, ", field);
    return with(config, "{", to);
}

/* ---- what transformers computes -------------------------------------------------------------- */

static pith_error error;

static pith_model *open_folder(void) {
    pith_options opt = { .n_threads = 1 };
    memset(&error, 0, sizeof error);
    return pith_open(folder, &opt, &error);
}

/* Logits (N, n_vocab), or NULL. */
static float *logits_of(const pith_model *m) {
    pith_context c = { .n_ctx = 0, .n_batch = 0, .cache_k = "f32", .cache_v = "f32" };
    pith_session *s = m ? pith_session_new(m, &c, &error) : NULL;
    int n_vocab = s ? pith_model_shape(m)->n_vocab : 0;
    float *y = calloc((size_t)N * (size_t)n_vocab + 1, sizeof *y);
    pith_token t[N];
    for (int i = 0; i < N && n_vocab; i++) t[i] = (7 + 31 * i + 13 * i * i) % n_vocab;
    if (s && y && pith__eval_all(s, t, N, y, &error)) FAIL("%s", error.text);
    pith_session_free(s);
    if (s) return y;
    free(y);
    return NULL;
}

/* The folder as it lies there computes what the golden says. */
static void same(const struct golden_folder *g, const char *what) {
    pith_model *m = open_folder();
    float *y = logits_of(m);
    double d = 0, w = 0, all = 0, most = 1e-5; /* transformers works in float32 too */
    int n_vocab = m ? pith_model_shape(m)->n_vocab : 0;
    for (int t = 0; y && t < N; t++) {
        double x = y[t * n_vocab + (37 * t + 11) % n_vocab] - g->logits[t];
        d += x * x;
        w += g->logits[t] * g->logits[t];
    }
    for (int i = 0; y && i < N * n_vocab; i++) all += (double)y[i] * y[i];
    d = sqrt(d / w), all = sqrt(all);
    if (!y) FAIL("%s, %s: %s", g->name, what, error.text);
    else if (!(d <= most)) FAIL("%s, %s: error %.3g, want %g", g->name, what, d, most);
    else if (!(fabs(all / g->norm - 1) <= most)) FAIL("%s, %s: norm %.9g", g->name, what, all);
    if (m && pith_model_note(m, 0)) FAIL("%s, %s: a note: %s", g->name, what, pith_model_note(m, 0));
    free(y);
    pith_close(m);
}

TEST(what_transformers_computes) {
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        write_folder(goldens[i].config, goldens[i].tensors);
        same(&goldens[i], "as it is");
    }
}

/* A GGUF file of the same numbers, of which some tensors have another order or other shapes. */
TEST(as_gguf_the_same_bits) {
    write_folder(named("gemma2")->config, named("gemma2")->tensors);
    pith_model *scaled = open_folder(); /* by 1 / sqrt(20), which GGUF holds as a float */
    REQUIRE(scaled);
    CHECK(scaled->hyper.attn_scale == (double)(float)scaled->hyper.attn_scale);
    pith_close(scaled);
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        write_folder(goldens[i].config, goldens[i].tensors);
        pith_model *m = open_folder(), *again = NULL;
        const pith__requant q = { .m = m, .mix = pith__mix_named("F32") };
        if (m && !pith__requant_gguf(&q, in_folder("all.gguf"), &error)) again = pith_open(in_folder("all.gguf"), NULL, &error);
        float *x = logits_of(m), *y = again ? logits_of(again) : NULL;
        if (!x || !y) FAIL("%s: %s", goldens[i].name, error.text);
        else if (memcmp(x, y, (size_t)N * (size_t)pith_model_shape(m)->n_vocab * sizeof *x))
            FAIL("%s: other bits", goldens[i].name);
        free(x), free(y);
        pith_close(again), pith_close(m);
    }
    remove(in_folder("all.gguf"));
}

/* ---- what config.json may leave out ---------------------------------------------------------- */

static pith__store store;

static double key(const char *arch, const char *name) {
    char full[100];
    snprintf(full, sizeof full, "%s.%s", arch, name);
    const pith__key *k = pith__store_key(&store, full);
    return k ? k->f : 0;
}

/* A folder with experts and the GGUF file that quantize makes of it are one model. */
TEST(experts_of_a_folder_and_of_gguf) {
    static const char *const names[] = { "qwen2_moe", "qwen2_moe_normed", "olmoe", "glm4_moe", "glm4_moe_plain", "llama4_text", "llama4_bare" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct golden_folder *g = named(names[i]);
        write_folder(g->config, g->tensors);
        pith_model *m = open_folder();
        REQUIRE(m);
        const pith__requant q = { .m = m, .mix = pith__mix_named("F32") };
        char path[200];
        snprintf(path, sizeof path, "%s", in_folder("a.gguf"));
        CHECK(!pith__requant_gguf(&q, path, &error));
        pith_model *other = pith_open(path, NULL, &error);
        float *x = logits_of(m), *y = logits_of(other);
        if (!x || !y) FAIL("%s: %s", names[i], error.text);
        else CHECK(!memcmp(x, y, (size_t)N * (size_t)m->hyper.n_vocab * sizeof *x));
        if (other && pith_model_note(other, 0)) FAIL("%s: a note: %s", names[i], pith_model_note(other, 0));
        free(x), free(y);
        pith_close(m), pith_close(other);
        unlink(path);
    }
}

TEST(class_defaults_of_transformers) {
    for (size_t i = 0; i < sizeof class_defaults / sizeof *class_defaults; i++) {
        const struct class_defaults *d = &class_defaults[i];
        char text[100];
        snprintf(text, sizeof text, "{\"model_type\": \"%s\"}", d->type);
        write_text("config.json", text);
        pith__folder f = { .s = &store, .dir = folder, .err = &error };
        EQ(pith__hf_config(&f), PITH_OK);
        EQ(pith__store_sort(&store, &error), PITH_OK);
        const char *a = pith__store_key(&store, "general.architecture")->s.p;
        if (f.n_vocab != d->n_vocab || f.n_layer != d->n_layer || f.tied != d->tied ||
            key(a, "embedding_length") != d->n_embd || key(a, "feed_forward_length") != d->n_ff ||
            key(a, "attention.head_count") != d->n_head || key(a, "context_length") != d->n_ctx ||
            key(a, "attention.head_count_kv") != d->n_kv_head ||
            key(a, "attention.key_length") != d->head_dim ||
            key(a, "attention.sliding_window") != d->window ||
            key(a, "attention.layer_norm_rms_epsilon") + key(a, "attention.layer_norm_epsilon") != d->eps || key(a, "rope.freq_base") != d->theta)
            FAIL("%s: not what the class has", d->type);
        pith__store_free(&store);
    }
}

/* ---- strict where the result depends on it --------------------------------------------------- */

static void refused(const char *config, const char *naming) {
    write_text("config.json", quoted(config));
    pith_model *m = open_folder();
    if (m) FAIL("taken: %s", config);
    else if (!strstr(error.text, naming)) FAIL("\"%s\" does not name %s", error.text, naming);
    pith_close(m);
}

TEST(fields_that_a_family_does_not_read) {
    static const char *const cases[][3] = {
        { "llama", "'sliding_window': 8", "sliding_window is 8" },
        { "llama", "'layer_types': ['sliding_attention', 'full_attention']", "layer_types" },
        { "llama", "'query_pre_attn_scalar': 4", "query_pre_attn_scalar" },
        { "llama", "'attn_logit_softcapping': 50.0", "attn_logit_softcapping" },
        { "llama", "'attention_multiplier': 0.5", "attention_multiplier" },
        { "llama", "'embedding_multiplier': 2.0", "embedding_multiplier" },
        { "llama", "'num_experts': 4", "num_experts" },
        { "llama", "'num_local_experts': 4", "num_local_experts" },
        { "llama", "'no_rope_layers': [0, 1]", "no_rope_layers" },
        { "llama", "'clip_qkv': 8", "clip_qkv" },
        { "llama", "'clip_qkv': [1]", "clip_qkv" },
        { "llama", "'is_encoder_decoder': true", "is_encoder_decoder" },
        { "llama", "'use_bidirectional_attention': true", "use_bidirectional_attention" },
        { "llama", "'per_layer_config': {'0': {'hidden_size': 8}}", "per_layer_config" },
        { "llama", "'partial_rotary_factor': 0.5", "partial_rotary_factor" },
        { "llama", "'hidden_activation': 'relu'", "hidden_activation" },
        { "llama", "'quantization_config': {'quant_method': 'fp8'}", "fp8" },
        { "mistral", "'attention_bias': true", "attention_bias" },
        { "mistral", "'mlp_bias': true", "mlp_bias" },
        { "mistral", "'sliding_window_pattern': 2", "sliding_window_pattern" },
        { "mistral", "'layer_types': ['sliding_attention', 'full_attention']", "layer_types" },
        { "mixtral", "'n_shared_experts': 1", "n_shared_experts" },
        { "qwen2", "'mlp_bias': true", "mlp_bias" },
        { "gemma", "'final_logit_softcapping': 30.0", "final_logit_softcapping" },
        { "gemma2", "'hidden_act': 'gelu'", "hidden_act" },
        { "phi3", "'use_sliding_window': false", "use_sliding_window" },
        { "phi3_longrope", "'partial_rotary_factor': 0.625", "partial_rotary_factor" },
        { "olmo2", "'residual_multiplier': 0.5", "residual_multiplier" },
        { "llama", "'use_bias': true", "use_bias" },
        { "llama", "'attention_out_bias': true", "attention_out_bias" },
        { "llama", "'use_qk_norm': true", "use_qk_norm" },
        { "seed_oss_bare", "'attention_bias': false, 'attention_out_bias': true", "attention_out_bias" },
        { "nanochat", "'hidden_activation': 'silu'", "hidden_activation" },
        { "exaone4", "'attention_bias': true", "attention_bias" },
        { "glm4", "'use_qk_norm': true", "use_qk_norm" },
        { "llama", "'logit_scale': 0.5", "logit_scale" },
        { "cohere2", "'mlp_bias': true", "mlp_bias" },
        { "hunyuan", "'mlp_bias': true", "mlp_bias" },
        { "apertus", "'hidden_activation': 'silu'", "hidden_activation is \"silu\", need xielu" },
        { "starcoder2", "'hidden_activation': 'gelu'", "hidden_activation" },
        { "llama", "'use_qkv_bias': true", "use_qkv_bias" },
        { "llama", "'use_parallel_residual': true", "use_parallel_residual" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct golden_folder *g = named(cases[i][0]);
        write_folder(g->config, g->tensors);
        refused(more(g->config, cases[i][1]), cases[i][2]);
    }
    const struct golden_folder *g = named("smollm3");
    refused(with(g->config, "'use_sliding_window': true", "'use_sliding_window': false"),
            "layer_types is \"sliding_attention\"");
    refused(with(named("stablelm")->config, "'qk_layernorm': false", "'qk_layernorm': true"), "qk_layernorm is true");
    refused(with(named("phi")->config, "'qk_layernorm': false", "'qk_layernorm': true"), "qk_layernorm is true");
    g = named("llama");
    refused(with(g->config, "'rope_theta': ", "'partial_rotary_factor': 0.5, 'rope_theta': "),
            "partial_rotary_factor is 0.5");
    static char nested[4096];
    snprintf(nested, sizeof nested, "{'model_type': 'gemma3', 'quantization_config': {'quant_method': 'awq'}, "
             "'text_config': %s}", named("gemma3_text")->config);
    refused(nested, "awq");
    g = named("gemma2");
    refused(with(with(g->config, "'sliding_window': 6", "'sliding_window': null"), "'layer_types'", "'x'"),
            "sliding_window is null, need a length");
    g = named("gemma3_text");
    write_folder(g->config, g->tensors);
    refused(more(g->config, "'rope_scaling': {'rope_type': 'alien', 'factor': 2}"), "rope_scaling");
    refused(with(g->config, "'rope_parameters': {", "'rope_parameters': {'rope_theta': 10.0}, 'x': {"), "rope_parameters");
}

/* The same fields with values that change nothing, and others that only advise. */
TEST(fields_that_change_nothing) {
    const struct golden_folder *g = named("llama");
    write_folder(g->config, g->tensors);
    write_text("config.json", quoted(more(g->config,
        "'sliding_window': 8, 'use_sliding_window': false, 'max_window_layers': 1, 'clip_qkv': null, "
        "'query_pre_attn_scalar': 8, 'embedding_multiplier': 1.0, 'num_experts': 0, 'torch_dtype': "
        "'float16', 'attn_logit_softcapping': null, 'partial_rotary_factor': 1.0, 'no_rope_layers': [1, 1], "
        "'layer_types': ['full_attention', 'full_attention'], 'quantization_config': null, "
        "'attention_dropout': 0.5, 'rope_scaling': null, 'pretraining_tp': 2, 'bos_token_id': null, "
        "'num_nextn_predict_layers': 0, 'some_new_field': {'a': [1]}")));
    same(g, "neutral fields");
    write_text("config.json", quoted(more(g->config, "'sliding_window': 64"))); /* no text is longer */
    same(g, "a window over all");
    write_text("config.json", quoted(with(g->config, "'tie_word_embeddings': false",
                                          "'tie_word_embeddings': true")));
    same(g, "tied, and yet a head of its own");
    g = named("mistral");
    write_folder(more(g->config, "'layer_types': ['sliding_attention', 'sliding_attention']"), g->tensors);
    same(g, "layer_types as sliding_window");
    write_folder(more(with(g->config, "'sliding_window': 7", "'sliding_window': 64"),
                      "'use_sliding_window': false"), g->tensors);
    pith_model *m = open_folder(); /* no text is longer than this window */
    CHECK(m);
    pith_close(m);
    g = named("gemma3_text"); /* the text model of one that sees */
    static char nested[4096];
    snprintf(nested, sizeof nested, "{'model_type': 'gemma3', 'vision_config': {'num_experts': 3}, 'text_config': %s}",
             g->config);
    write_folder(nested, g->tensors);
    same(g, "nested");
}

TEST(dynamic_as_long_as_it_changes_nothing) {
    const struct golden_folder *g = named("llama");
    write_folder(more(g->config, "'rope_scaling': {'type': 'dynamic', 'factor': 2.0}"), g->tensors);
    same(g, "dynamic");
    pith_model *m = open_folder();
    REQUIRE(m);
    pith_context c = { .n_ctx = 65 };
    CHECK(!pith_session_new(m, &c, &error) && error.code == PITH_EARG);
    c.n_ctx = 64;
    pith_session *s = pith_session_new(m, &c, &error);
    CHECK(s);
    pith_session_free(s);
    pith_close(m);
}

/* ---- lenient where nothing depends on it ----------------------------------------------------- */

static void noted(const char *tensors, const char *note) {
    const struct golden_folder *g = named("llama");
    write_folder(g->config, tensors);
    pith_model *m = open_folder();
    const char *text = m ? pith_model_note(m, 0) : error.text;
    if (!text) FAIL("no note of %s", note);
    else if (!strstr(text, note) || strchr(text, '\n')) FAIL("\"%s\", not %s", text, note);
    if (m) EQ(pith_model_note(m, 1) == NULL, 1);
    pith_close(m);
}

TEST(tensors_that_nobody_uses) {
    const struct golden_folder *g = named("llama");
    write_folder(g->config, with(g->tensors, "lm_head", "model.layers.0.self_attn.rotary_emb.inv_freq 4; "
                                                        "lm_head"));
    same(g, "old files have the frequencies");
    noted(with(g->tensors, "lm_head", "model.x 3; lm_head"), "1 tensor is not used: 'model.x'");
    noted(with(g->tensors, "lm_head", "model.layers.0.self_attn.q_norm.weight 8; lm_head"),
          "1 tensor is not used: 'model.layers.0.self_attn.q_norm.weight'");
    noted(with(g->tensors, "lm_head", "model.layers.2.input_layernorm.weight 16; vision.{3}.y 2 2; lm_head"),
          "4 tensors are not used: 'vision.0.y' and so on");
    noted(with(with(g->tensors, "mlp.down_proj.bias 16; ", "mlp.down_proj.bias 16; extra 1; "), "extra",
               "model.layers.1.mlp.gate_proj.scales"), "mlp.gate_proj.scales");

    bytes b = fixture_safetensors(with(g->tensors, "lm_head", "model.x 3; lm_head"), GOLDEN_SEED);
    uint8_t *at = NULL; /* of the number format of model.x: one that no weight may have */
    for (size_t i = 0; i + 30 < b.n && !at; i++)
        if (!memcmp(b.p + i, "model.x", 7)) at = (uint8_t *)strstr((char *)b.p + i, "F32");
    REQUIRE(at);
    memcpy(at, "I32", 3);
    CHECK(!save(&b, in_folder("model.safetensors")));
    pith_model *m = open_folder();
    CHECK(m);
    pith_close(m);
    memcpy(at, "F32", 3);
    at = (uint8_t *)strstr(strstr((char *)b.p + 8, "lm_head"), "F32");
    memcpy(at, "I32", 3);
    CHECK(!save(&b, in_folder("model.safetensors")));
    CHECK(!open_folder() && strstr(error.text, "dtype of 'lm_head.weight' is \"I32\""));
    free(b.p);
}

/* Messages name what the user's files have. */
TEST(names_are_those_of_the_folder) {
    static const char *const cases[][4] = { /* folder, in its tensors or config, what is put there, named */
        { "mixtral", "experts.{5}.w2", "experts.{4}.w2",
          "no tensor 'model.layers.0.block_sparse_moe.experts.4.w2.weight'" },
        { "qwen3_moe_bare", "experts.{9}.up_proj", "experts.{8}.up_proj", "0.mlp.experts.8.up_proj.weight'" },
        { "phi3", "gate_up_proj.weight 48 16", "gate_up_proj.weight 24 16", "0.mlp.gate_up_proj.weight' is" },
        { "gemma2", "pre_feedforward", "x", "'model.layers.0.pre_feedforward_layernorm.weight'" },
        { "gemma2", "post_attention", "x", "'model.layers.0.post_attention_layernorm.weight'" },
        { "llama", "post_attention", "x", "'model.layers.0.post_attention_layernorm.weight'" },
        { "llama", "lm_head", "x", "no tensor 'lm_head.weight'" },
        { "llama", "model.norm", "x", "no tensor 'model.norm.weight'" },
        { "llama", "'num_key_value_heads': 2", "'num_key_value_heads': 3", "num_key_value_heads is 3" },
        { "mistral", "'num_hidden_layers': 2", "'num_hidden_layers': 99", "num_hidden_layers is 99" },
        { "mixtral", "'num_experts_per_tok': 2", "'num_experts_per_tok': 6", "num_experts_per_tok is 6" },
        { "llama", "'head_dim': 8", "'head_dim': 7", "head size is 7" },
        { "glm4_moe", "'topk_group': 2", "'topk_group': 5", "topk_group is 5, need groups" },
        { "glm4_moe", "'n_group': 4", "'n_group': 5", "n_group is 5, need a divisor" },
        { "mistral4_groups", "'n_group': 3", "'n_group': 9", "n_group is 9, need groups of two experts or more" },
        { "glm4_moe", "'num_experts_per_tok': 3", "'num_experts_per_tok': 7", "topk_group is 2, need groups that have" },
        { "glm4_moe", "'first_k_dense_replace': 1", "'first_k_dense_replace': 0", "first_k_dense_replace is 0, need what the tensors say" },
        { "glm4_moe", "'first_k_dense_replace': 1", "'first_k_dense_replace': 2", "no tensor 'model.layers.1.mlp.gate_proj.weight'" },
        { "qwen3_5_first", "'attention_bias': false", "'attention_bias': true", "attention_bias is true, need null or 0" },
        { "glm4_moe", "e_score_correction_bias 12", "e_score_correction_bias 11", "1.mlp.gate.e_score_correction_bias' is 1 x 11" },
        { "glm4_moe", "mlp.shared_experts.up", "mlp.x.up", "no tensor 'model.layers.1.mlp.shared_experts.up_proj.weight'" },
        { "glm4_moe", "'n_shared_experts': 2", "'n_shared_experts': 1", "shared_experts.gate_proj.weight' is 24 x 16, need 12 x 16" },
        { "stablelm", "{2}.post_attention_layernorm.bias", "{2}.x.bias", "no tensor 'model.layers.0.post_attention_layernorm.bias'" },
        { "phi", "final_layernorm", "x", "no tensor 'model.final_layernorm.bias'" },
        { "qwen3_next", "in_proj_qkvz.weight 144", "in_proj_qkvz.weight 143", "linear_attn.in_proj_qkvz.weight' is 143 x 16, need 144 x 16" },
        { "qwen3_next", "in_proj_qkvz", "x", "no tensor 'model.layers.0.linear_attn.in_proj_qkvz.weight'" },
        { "qwen3_next", "in_proj_ba.weight 12", "in_proj_ba.weight 6", "linear_attn.in_proj_ba.weight' is 6 x 16, need 12 x 16" },
        { "deepseek_v2", "'group_limited_greedy'", "'noaux_tc'", "topk_method is \"noaux_tc\", need greedy or group_limited_greedy" },
        { "deepseek_v2", "'topk_group': 2", "'topk_group': null", "has no topk_group, need an integer" },
        { "apertus", "act_fn.alpha_n", "x", "no tensor 'model.layers.0.mlp.act_fn.alpha_n' of one number" },
        { "apertus", "'rope_scaling'", "'x'", "config.json: has no rope_parameters, need an object" },
        { "phi", "lm_head.bias", "x", "no tensor 'lm_head.bias'" },
        { "qwen2_moe", "mlp.shared_expert.down", "mlp.x.down", "no tensor 'model.layers.0.mlp.shared_expert.down_proj.weight'" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct golden_folder *g = named(cases[i][0]);
        int in_config = cases[i][1][0] == '\'';
        const char *config = in_config ? with(g->config, cases[i][1], cases[i][2]) : g->config;
        write_folder(config, in_config ? g->tensors : with(g->tensors, cases[i][1], cases[i][2]));
        refused(config, cases[i][3]);
    }
}

/* Saved as a base class: names without prefix, and no matrix for logits. A class with that matrix must have it. */
TEST(base_models_make_vectors) {
    const struct golden_folder *g = named("qwen3");
    const char *tensors = with(g->tensors, "lm_head.weight 96 16; ", "");
    static char bare[8192];
    size_t n = 0;
    write_folder(g->config, tensors);
    refused(g->config, "no tensor 'lm_head.weight', need it as tie_word_embeddings is not true");
    for (const char *p = tensors; *p; p += strncmp(p, "model.", 6) ? 1 : 6)
        if (strncmp(p, "model.", 6)) bare[n++] = *p;
    write_folder(g->config, bare);
    pith_model *m = open_folder(), *again = NULL;
    if (!m) FAIL("%s", error.text);
    const pith__requant q = { .m = m, .mix = pith__mix_named("F32") };
    if (m && !pith__requant_gguf(&q, in_folder("all.gguf"), &error)) again = pith_open(in_folder("all.gguf"), NULL, &error);
    CHECK(m && m->has_no_output && again && again->has_no_output);
    pith_close(again), pith_close(m);
    remove(in_folder("all.gguf"));
}

/* ---- folders that cannot be run -------------------------------------------------------------- */

static void explained(const char *naming) {
    pith_model *m = open_folder();
    if (m || !strstr(error.text, naming) || strchr(error.text, '\n'))
        FAIL("\"%s\" does not say %s", error.text, naming);
    pith_close(m);
}

TEST(what_was_found_instead) {
    static const struct {
        const char *file, *text, *naming;
        int config; /* 1: beside a config.json */
    } cases[] = {
        { "pytorch_model.bin", "x", "the weights are in pytorch_model.bin, a pickle", 1 },
        { "pytorch_model-00001-of-00002.bin", "x", "in pytorch_model-00001-of-00002.bin, a pickle", 1 },
        { "consolidated.00.pth", "x", "the weights are in consolidated.00.pth, a pickle", 0 },
        { "a.gguf", "x", "holds 1 .gguf file: give one of them, as a.gguf", 0 },
        { "a.gguf", "x", "holds 1 .gguf file: give one of them, as a.gguf", 1 },
        { "w.safetensors", "x", "it holds w.safetensors: give that file", 1 },
        { "w.safetensors", "x", "holds w.safetensors, but no config.json", 0 },
        { "adapter_config.json", "{}", "is an adapter (adapter_config.json)", 0 },
        { "adapter_config.json", "{\"base_model_name_or_path\": \"a/b\"}", "made for, a/b", 0 },
        { "model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
          "model.safetensors: is a pointer of Git LFS", 1 },
        { "some.txt", "x", "config.json: cannot be opened", 0 },
        { "some.txt", "x", "model.safetensors: cannot be opened", 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unlink(in_folder("model.safetensors"));
        unlink(in_folder("config.json"));
        if (cases[i].config) write_text("config.json", quoted(named("llama")->config));
        write_text(cases[i].file, cases[i].text);
        explained(cases[i].naming);
        unlink(in_folder(cases[i].file));
    }
    unlink(in_folder("config.json"));
    write_text("a-00001-of-00002.safetensors", "x");
    write_text("a-00002-of-00002.safetensors", "x");
    explained("holds 2 of several .safetensors files (a-00001-of-00002.safetensors)");
    unlink(in_folder("a-00001-of-00002.safetensors"));
    unlink(in_folder("a-00002-of-00002.safetensors"));

    static const char *const made[] = { "snapshots", "snapshots/b", "snapshots/a", "refs" };
    for (int i = 0; i < 4; i++) REQUIRE(!mkdir(in_folder(made[i]), 0700));
    explained("snapshots/a: give that folder");
    write_text("refs/main", "b\n");
    explained("snapshots/b: give that folder");
    unlink(in_folder("refs/main"));
    for (int i = 4; i-- > 0;) rmdir(in_folder(made[i]));
}

TEST(a_vocabulary_that_is_not_read) {
    const struct golden_folder *g = named("llama");
    write_folder(g->config, g->tensors);
    write_text("tokenizer.model", "x");
    pith_model *m = open_folder();
    CHECK(m && pith_model_note(m, 0) && strstr(pith_model_note(m, 0), "tokenizer.model is not read"));
    pith_close(m);
    unlink(in_folder("tokenizer.model"));
}

int main(void) {
    strcpy(folder, "/tmp/pith-folders-XXXXXX");
    if (!mkdtemp(folder)) return 99;
    RUN(what_transformers_computes);
    RUN(experts_of_a_folder_and_of_gguf);
    RUN(as_gguf_the_same_bits);
    RUN(class_defaults_of_transformers);
    RUN(fields_that_a_family_does_not_read);
    RUN(fields_that_change_nothing);
    RUN(dynamic_as_long_as_it_changes_nothing);
    RUN(tensors_that_nobody_uses);
    RUN(names_are_those_of_the_folder);
    RUN(base_models_make_vectors);
    RUN(what_was_found_instead);
    RUN(a_vocabulary_that_is_not_read);
    unlink(in_folder("config.json"));
    unlink(in_folder("model.safetensors"));
    rmdir(folder);
    return DONE();
}
