/* t_hfconfig.c - config.json and generation_config.json: what must not run, what must, and the keys and
 * tensors that they become. */
#define _POSIX_C_SOURCE 200809L
#include "hf_folder.h"

#include <sys/stat.h>

/* ---- config.json ----------------------------------------------------------------------------- */

TEST(config_fields_of_wrong_types) {
    static const char *const sizes[] = { "hidden_size",         "intermediate_size",
                                         "num_hidden_layers",   "num_attention_heads",
                                         "vocab_size",          "max_position_embeddings",
                                         "num_key_value_heads", "head_dim" };
    static const char *const class_size[] = { "embed_tokens", "gate_proj", "num_hidden_layers",
                                              "o_proj", "vocab_size" }; /* Llama's own do not fit */
    static const char *const wrong[] = { "0",
                                         "-1",
                                         "4294967304",
                                         "4294967297",
                                         "1.5",
                                         "8.0",
                                         "1e400",
                                         "\"8\"",
                                         "\"big\"",
                                         "[8]",
                                         "{}",
                                         "true",
                                         "18446744073709551624",
                                         "2147483648",
                                         "9999999999999999999999",
                                         "1e1" };
    write_whole();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char from[64], to[128];
        const char *at = strstr(config, sizes[i]);
        REQUIRE(at);
        sprintf(from, "%.*s", (int)strcspn(at, ",}"), at);
        for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
            sprintf(to, "%s\": %s", sizes[i], wrong[k]);
            refused_config(with(config, from, to), sizes[i]);
        }
        sprintf(to, "x\": 1");
        if (i < 5) refused_config(with(config, from, to), class_size[i]);
    }
    static const char *const cases[][3] = {
        { "\"llama\"", "\"lama\"", "model_type" },
        { "\"llama\"", "5", "model_type" },
        { "\"model_type\"", "\"x\"", "model_type" },
        { "\"llama\"", "null", "model_type" },
        { "1e-05", "\"x\"", "rms_norm_eps" },
        { "1e-05", "1e400", "rms_norm_eps" },
        { "1e-05", "1e39", "rms_norm_eps" },
        { "1e-05", "-1e-05", "rms_norm_eps" },
        { "1e-05", "NaN", "config.json" },
        { "10000.0", "0", "rope_theta" },
        { "10000.0", "-1", "rope_theta" },
        { "10000.0", "\"1e4\"", "rope_theta" },
        { "10000.0", "1e400", "rope_theta" },
        { "\"silu\"", "\"relu\"", "hidden_act" },
        { "\"silu\"", "\"gelu\"", "hidden_act" },
        { "\"silu\"", "7", "hidden_act" },
        { "true", "1", "tie_word_embeddings" },
        { "true", "false", "lm_head.weight" },
        { "true", "\"yes\"", "tie_word_embeddings" },
        { "\"rope_scaling\": null", "\"rope_scaling\": 5", "rope_scaling" },
        { "\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"alien\", \"factor\": 2}",
          "rope_scaling" },
        { "\"rope_scaling\": null", "\"rope_scaling\": {\"factor\": 2}", "rope_scaling" },
        { "\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"linear\"}", "factor" },
        { "\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 0}",
          "factor" },
        { "\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"linear\", \"factor\": \"2\"}",
          "factor" },
        { "\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8}",
          "low_freq_factor" },
        { "\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"longrope\"}",
          "short_factor" },
        { "\"rope_scaling\": null",
          "\"rope_scaling\": {\"rope_type\": \"longrope\", \"short_factor\": [1], \"long_factor\": "
          "[1, 2]}",
          "short_factor" },
        { "\"rope_scaling\": null",
          "\"rope_scaling\": {\"rope_type\": \"longrope\", \"short_factor\": [1, 1], "
          "\"long_factor\": [1, 0]}",
          "long_factor" },
        { "\"rope_scaling\": null", "\"attention_bias\": true", "bias" },
        { "\"rope_scaling\": null", "\"mlp_bias\": true", "layers.0.mlp.gate_proj.bias" },
        { "\"rope_scaling\": null", "\"use_bidirectional_attention\": true",
          "use_bidirectional_attention" },
        { "\"rope_scaling\": null", "\"attention_bias\": \"no\"", "attention_bias" },
        { "\"rope_scaling\": null", "\"quantization_config\": {\"quant_method\": \"gptq\"}",
          "quantization_config" },
        { "\"rope_scaling\": null", "\"layer_types\": [\"linear_attention\"]", "layer_types" },
        { "\"rope_scaling\": null", "\"layer_types\": [\"full_attention\", \"full_attention\"]",
          "layer_types has 2, need 1" },
        { "\"rope_scaling\": null", "\"layer_types\": []", "layer_types has 0, need 1" },
        { "\"rope_scaling\": null", "\"layer_types\": \"full_attention\"", "layer_types" },
        { "\"rope_scaling\": null", "\"layer_types\": [\"sliding_attention\"]", "layer_types" },
        { "\"rope_scaling\": null", "\"partial_rotary_factor\": 2", "partial_rotary_factor" },
        { "\"eos_token_id\": 2", "\"eos_token_id\": \"2\"", "eos_token_id" },
        { "\"eos_token_id\": 2", "\"eos_token_id\": [1.5]", "eos_token_id" },
        { "\"head_dim\": 4", "\"head_dim\": 8", "layers.0.self_attn.o_proj" },
        { "\"head_dim\": 4", "\"head_dim\": 2", "layers.0.self_attn.o_proj" },
        { "\"vocab_size\": 16", "\"vocab_size\": 17", "vocab_size" },
        { "heads\": 2", "heads\": 3", "self_attn.o_proj" },
        { "\"hidden_size\": 8", "\"hidden_size\": 16", "embed_tokens" },
        { "layers\": 1", "layers\": 2", "model.layers.1" },
        { "layers\": 1", "layers\": 2147483647", "num_hidden_layers" },
        { "value_heads\": 1", "value_heads\": 2", "self_attn.k_proj" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused_config(with(config, cases[i][0], cases[i][1]), cases[i][2]);
    static const char *const texts[] = { "[]", "5", "\"x\"", "null", "{", "{}}", "{\"a\":NaN}" };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        refused_config(texts[i], "config.json");
    write_text("config.json", "");
    refused("an empty config", "config.json");
    size_t much = 10 << 20;
    char *p = malloc(much);
    REQUIRE(p);
    memset(p, '[', much);
    write_bytes("config.json", p, much);
    refused("10 MB of [", "config.json");
    free(p);
    unlink(in_folder("config.json"));
    refused("no config", "config.json");
    REQUIRE(!symlink("config.json", in_folder("config.json")));
    refused("a link to itself", "config.json");
    unlink(in_folder("config.json"));
    REQUIRE(!mkfifo(in_folder("config.json"), 0600));
    refused("a pipe", "config.json");
    unlink(in_folder("config.json"));
    REQUIRE(!mkdir(in_folder("config.json"), 0700));
    refused("a folder", "config.json");
}

TEST(config_that_must_run) {
    static const char *const cases[][2] = {
        { "{", "\xef\xbb\xbf{" },
        { "\"head_dim\": 4,", "" },
        { "\"head_dim\": 4", "\"head_dim\": null" },
        { "\"silu\"", "\"swish\"" },
        { "\"hidden_act\"", "\"x\"" },
        { "\"rope_theta\"", "\"x\"" },
        { "\"hidden_size\": 8", "\"hidden_size\": 9, \"hidden_size\": 8" },
        { "hidden_size", "h\\u0069dden_size" },
        { "\"eos_token_id\": 2", "\"eos_token_id\": [2, 3, -1, 99999, 4]" },
        { "\"eos_token_id\": 2", "\"eos_token_id\": null" },
        { "\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"default\"}" },
        { "\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2.0}" },
        { "\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}" },
        { "\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4.0, "
                                    "\"original_max_position_embeddings\": 16}" },
        { "\"rope_scaling\": null",
          "\"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 10000.0}" },
        { "\"rope_scaling\": null", "\"attention_bias\": false, \"mlp_bias\": false" },
        { "\"rope_scaling\": null", "\"layer_types\": [\"full_attention\"]" },
        { "\"llama\"", "\"mistral\", \"sliding_window\": 4" },
    };
    write_whole();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text("config.json", with(config, cases[i][0], cases[i][1]));
        if (!opens()) FAIL("%s: %s", cases[i][1], error.text);
    }
    char *p = malloc((10 << 20) + 100); /* a field of 10 MB that nobody reads */
    REQUIRE(p);
    size_t n = (size_t)sprintf(p, "{\"x\":\"");
    memset(p + n, 'y', 10 << 20);
    n += 10 << 20;
    n += (size_t)sprintf(p + n, "\",");
    p = realloc(p, n + sizeof config);
    REQUIRE(p);
    memcpy(p + n, config + 1, sizeof config - 1);
    write_bytes("config.json", p, n + sizeof config - 2);
    OPENS();
    free(p);
}

/* ---- config.json -> keys --------------------------------------------------------------------- */

/* The keys of a config, with an embedding of (16, 8) for company. */
static void read_keys(const char *text) {
    char header[400];
    sprintf(header,
            "{\"model.embed_tokens.weight\":{\"dtype\":\"F32\",\"shape\":[16,8],\"data_offsets\":["
            "0,512]},"
            "\"lm_head.weight\":{\"dtype\":\"F32\",\"shape\":[16,8],\"data_offsets\":[512,1024]}}");
    clear_folder();
    write_text("config.json", text);
    write_tensors("model.safetensors", header, 1024);
    pith__store_free(&store);
    store.path = folder;
    if (pith__folder_read(&store, folder, 0, &error)) FAIL("%s: %s", text, error.text);
}

static double number(const char *name) {
    const pith__key *k = pith__store_key(&store, name);
    if (k && k->type == PITH__BOOL) return (double)k->i;
    return k && (k->type == PITH__INT || k->type == PITH__FLOAT) ? k->f : NAN;
}

static int absent(const char *name) { return !pith__store_key(&store, name); }

static int says(const char *name, const char *want) {
    const pith__key *k = pith__store_key(&store, name);
    return k && k->type == PITH__STRING && pith__str_is(k->s, want);
}

static int pattern(const char *name, const char *want) { /* "1101" */
    const pith__key *k = pith__store_key(&store, name);
    if (!k || k->type != PITH__ARRAY || k->n != strlen(want)) return 0;
    for (size_t i = 0; i < k->n; i++)
        if (pith__key_item(k, i) != want[i] - '0') return 0;
    return 1;
}

static const char *shaped(const char *type, const char *more) { /* a config of 6 layers */
    static char text[2000];
    snprintf(
        text, sizeof text,
        "{\"model_type\":\"%s\",\"hidden_size\":8,\"intermediate_size\":12,\"num_hidden_layers\":6,"
        "\"num_attention_heads\":2,\"vocab_size\":16,\"max_position_embeddings\":64,\"rms_norm_"
        "eps\":1e-5,%s}",
        type, more);
    return text;
}

TEST(sizes_become_keys) {
    read_keys(shaped("qwen3", "\"num_key_value_heads\":1,\"tie_word_embeddings\":true"));
    CHECK(says("general.architecture", "qwen3"));
    EQ(number("qwen3.embedding_length"), 8);
    EQ(number("qwen3.block_count"), 6);
    EQ(number("qwen3.feed_forward_length"), 12);
    EQ(number("qwen3.attention.head_count"), 2);
    EQ(number("qwen3.attention.head_count_kv"), 1);
    EQ(number("qwen3.attention.key_length"), 128); /* what the family has when nothing is said */
    EQ(number("qwen3.context_length"), 64);
    NEAR(number("qwen3.attention.layer_norm_rms_epsilon"), 1e-5, 0);
    NEAR(number("qwen3.rope.freq_base"), 10000, 0);
    CHECK(store.qk_halves && !store.norm_plus_one);
    CHECK(pattern("qwen3.attention.sliding_window_pattern", "000000"));
    read_keys(shaped("llama", "\"head_dim\":null"));
    EQ(number("llama.attention.key_length"), 4);
    EQ(number("llama.attention.head_count_kv"), 2);
    CHECK(pith__store_tensor(&store, "output.weight"));
    EQ(store.vocab.model, PITH__NONE);
    EQ(store.vocab.bos, -1);
}

TEST(windows_become_keys) {
    read_keys(shaped("mistral", "\"sliding_window\":4"));
    EQ(number("llama.attention.sliding_window"), 4);
    CHECK(pattern("llama.attention.sliding_window_pattern", "111111"));
    read_keys(shaped("mistral", "\"sliding_window\":null"));
    EQ(number("llama.attention.sliding_window"), 0);
    CHECK(pattern("llama.attention.sliding_window_pattern", "000000"));
    read_keys(shaped("phi3", "\"sliding_window\":7"));
    CHECK(pattern("phi3.attention.sliding_window_pattern", "111111"));
    read_keys(shaped("llama", "\"sliding_window\":4,\"use_sliding_window\":false"));
    CHECK(absent("llama.attention.sliding_window"));
    read_keys(shaped("mistral", "\"max_position_embeddings\":9000"));
    EQ(number("llama.attention.sliding_window"), 4096);
    static const char window[] =
        "\"sliding_window\":4,\"max_window_layers\":4,\"use_sliding_window\":%s";
    char more[200];
    sprintf(more, window, "false");
    read_keys(shaped("qwen3", more));
    EQ(number("qwen3.attention.sliding_window"), 0);
    sprintf(more, window, "true");
    read_keys(shaped("qwen3", more));
    EQ(number("qwen3.attention.sliding_window"), 4);
    CHECK(pattern("qwen3.attention.sliding_window_pattern", "000011"));
    read_keys(shaped(
        "qwen3",
        "\"sliding_window\":4,\"use_sliding_window\":true,\"layer_types\":[\"full_attention\","
        "\"sliding_attention\",\"full_attention\",\"full_attention\",\"full_attention\",\"sliding_"
        "attention\"]"));
    CHECK(pattern("qwen3.attention.sliding_window_pattern", "010001"));
    read_keys(shaped("gemma2", "\"sliding_window\":4,\"query_pre_attn_scalar\":16"));
    CHECK(pattern("gemma2.attention.sliding_window_pattern", "101010"));
    NEAR(number("gemma2.attention.scale"), 0.25, 0);
    NEAR(number("gemma2.attn_logit_softcapping"), 50, 0);
    NEAR(number("gemma2.final_logit_softcapping"), 30, 0);
    EQ(number("gemma2.attention.key_length"), 256);
    CHECK(store.norm_plus_one);
    read_keys(shaped("gemma2", "\"attn_logit_softcapping\":null,\"final_logit_softcapping\":20"));
    NEAR(number("gemma2.attn_logit_softcapping"), 0, 0);
    NEAR(number("gemma2.final_logit_softcapping"), 20, 0);
    read_keys(shaped("gemma3_text", "\"sliding_window\":4"));
    CHECK(pattern("gemma3.attention.sliding_window_pattern", "111110"));
    NEAR(number("gemma3.rope.freq_base"), 1e6, 0);
    NEAR(number("gemma3.rope.freq_base_swa"), 1e4, 0);
    NEAR(number("gemma3.final_logit_softcapping"), 0, 0);
    read_keys(shaped("gemma3_text", "\"sliding_window\":4,\"sliding_window_pattern\":3"));
    CHECK(pattern("gemma3.attention.sliding_window_pattern", "110110"));
    read_keys(shaped("smollm3", "\"x\":0"));
    CHECK(pattern("pith.no_rope_layers", "000100"));
    NEAR(number("smollm3.rope.freq_base"), 2e6, 0);
    read_keys(shaped("smollm3", "\"no_rope_layers\":[1,0,1,1,0,1,1,1]"));
    CHECK(pattern("pith.no_rope_layers", "010010"));
    read_keys(
        shaped("smollm3",
               "\"no_rope_layer_interval\":2,\"use_sliding_window\":true,\"sliding_window\":9"));
    CHECK(pattern("pith.no_rope_layers", "010101"));
    CHECK(pattern("smollm3.attention.sliding_window_pattern", "010101"));
}

/* Keys as llama.cpp has them: with a log multiplier, and the length of the temperature is the original context. */
/* Keys as llama.cpp has them, and one of ours: the norms of latents have their own eps in transformers. */
TEST(latents_become_keys) {
    read_keys("{\"model_type\":\"deepseek_v3\",\"vocab_size\":16}");
    CHECK(says("general.architecture", "deepseek2"));
    EQ(number("deepseek2.attention.kv_lora_rank"), 512);
    EQ(number("deepseek2.attention.q_lora_rank"), 1536);
    EQ(number("deepseek2.attention.key_length"), 576);
    EQ(number("deepseek2.attention.value_length"), 512);
    EQ(number("deepseek2.attention.key_length_mla"), 192);
    EQ(number("deepseek2.attention.value_length_mla"), 128);
    EQ(number("deepseek2.attention.head_count"), 128);
    EQ(number("deepseek2.attention.head_count_kv"), 1);
    EQ(number("deepseek2.rope.dimension_count"), 64);
    EQ(number("deepseek2.expert_count"), 256);
    EQ(number("deepseek2.expert_gating_func"), 2);
    EQ(number("deepseek2.expert_group_count"), 8);
    EQ(number("deepseek2.expert_group_used_count"), 4);
    EQ(number("deepseek2.leading_dense_block_count"), 3);
    NEAR(number("deepseek2.expert_weights_scale"), 2.5, 0);
    CHECK(!pith__store_key(&store, "pith.latent_norm_epsilon"));
    read_keys("{\"model_type\":\"deepseek_v2\",\"vocab_size\":16,\"q_lora_rank\":null,\"num_experts_per_tok\":6,\"norm_topk_prob\":true,"
              "\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":40,\"mscale\":0.707,\"mscale_all_dim\":0.707}}");
    CHECK(!pith__store_key(&store, "deepseek2.attention.q_lora_rank"));
    EQ(pith__store_key(&store, "deepseek2.expert_weights_norm")->type, PITH__BOOL); /* llama.cpp wants no number */
    EQ(number("deepseek2.expert_weights_norm"), 0); /* whatever it says: its class does not read it */
    NEAR(number("deepseek2.rope.scaling.yarn_log_multiplier"), 0.0707, 1e-12);
    CHECK(!pith__store_key(&store, "deepseek2.rope.scaling.attn_factor"));
    read_keys("{\"model_type\":\"glm4_moe_lite\",\"vocab_size\":16}");
    NEAR(number("pith.latent_norm_epsilon"), 1e-6, 0);
    EQ(number("deepseek2.attention.value_length_mla"), 256);
    read_keys("{\"model_type\":\"mistral3\",\"text_config\":{\"model_type\":\"mistral4\",\"vocab_size\":16,\"rope_parameters\":"
              "{\"rope_type\":\"yarn\",\"factor\":128,\"original_max_position_embeddings\":8192,\"llama_4_scaling_beta\":0.1,"
              "\"mscale\":1,\"mscale_all_dim\":1,\"partial_rotary_factor\":0.5}}}");
    EQ(number("mistral4.attention.kv_lora_rank"), 256);
    EQ(number("mistral4.attention.temperature_length"), 8192);
    NEAR(number("mistral4.rope.scaling.yarn_log_multiplier"), 0.1, 1e-12);
    write_whole();
    refused_config("{\"model_type\":\"deepseek_v3\",\"rope_interleave\":false}", "rope_interleave is false, need true");
    refused_config("{\"model_type\":\"deepseek_v3\",\"head_dim\":128}", "head_dim is 128");
    refused_config("{\"model_type\":\"deepseek_v3\",\"qk_rope_head_dim\":63}", "qk_rope_head_dim is 63, need an even number");
    refused_config("{\"model_type\":\"deepseek_v3\",\"attention_bias\":true}", "attention_bias is true");
    refused_config("{\"model_type\":\"deepseek_v3\",\"kv_lora_rank\":2147483647}", "kv_lora_rank is 2147483647, need less");
    refused_config("{\"model_type\":\"deepseek_v3\",\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2,\"mscale_all_dim\":1}}",
                   "mscale_all_dim is 1, need null or 0 without YaRN");
    refused_config("{\"model_type\":\"deepseek_v3\",\"rope_parameters\":{\"rope_type\":\"proportional\"}}", "rope_type is \"proportional\"");
    refused_config("{\"model_type\":\"deepseek_v2\",\"num_experts_per_tok\":6,\"topk_method\":\"noaux_tc\"}",
                   "topk_method is \"noaux_tc\", need greedy or group_limited_greedy");
    refused_config("{\"model_type\":\"deepseek_v3\",\"scoring_func\":\"softmax\"}", "scoring_func is \"softmax\"");
    refused_config("{\"model_type\":\"mistral4\"}", "llama_4_scaling_beta");
    refused_config("{\"model_type\":\"deepseek_v3\",\"quantization_config\":{\"quant_method\":\"fp8\"}}", "quant_method is \"fp8\"");
}

TEST(mistral3_with_a_nested_text_config) {
    static const char rope[] = "\"rope_type\":\"yarn\",\"rope_theta\":1e6,\"factor\":16.0,\"mscale\":1.0,"
                               "\"mscale_all_dim\":1.0,\"original_max_position_embeddings\":128";
    char text[700];
    snprintf(text, sizeof text, "{\"model_type\":\"mistral3\",\"spatial_merge_size\":2,\"vision_config\":{\"rope_parameters\":5},"
             "\"text_config\":{\"model_type\":\"ministral3\",\"vocab_size\":16,\"rope_parameters\":{%s,\"llama_4_scaling_beta\":0.1}}}", rope);
    read_keys(text);
    CHECK(says("general.architecture", "mistral3"));
    EQ(number("mistral3.block_count"), 34);
    NEAR(number("mistral3.attention.temperature_scale"), 0.1, 0);
    NEAR(number("mistral3.rope.scaling.yarn_log_multiplier"), 1, 0);
    EQ(number("mistral3.rope.scaling.original_context_length"), 128);
    CHECK(!pith__store_key(&store, "mistral3.rope.scaling.attn_factor"));
    read_keys("{\"model_type\":\"mistral3\",\"text_config\":{\"model_type\":\"mistral\",\"vocab_size\":16,\"sliding_window\":null}}");
    CHECK(says("general.architecture", "llama"));
    EQ(number("llama.attention.head_count_kv"), 8);
    write_whole();
    snprintf(text, sizeof text, "\"rope_parameters\": {%s, \"llama_4_scaling_beta\": 0.1}", rope);
    refused_config(with(config, "\"rope_scaling\": null", text), "llama_4_scaling_beta is 0.1, need null in this family");
    refused_config(with(config, "\"llama\"", "\"ministral3\""), "llama_4_scaling_beta");
    refused_config("{\"model_type\":\"pictures\",\"text_config\":{\"model_type\":\"llama\"}}", "model_type is \"pictures\"");
}

TEST(gemma3_with_a_nested_text_config) {
    read_keys("{\"architectures\":[\"Gemma3ForConditionalGeneration\"],\"model_type\":\"gemma3\","
              "\"eos_token_id\":[1,7],"
              "\"text_config\":{\"hidden_size\":8,\"intermediate_size\":12,\"model_type\":\"gemma3_"
              "text\",\"num_hidden_layers\":2,"
              "\"rope_scaling\":{\"factor\":8.0,\"rope_type\":\"linear\"},\"sliding_window\":1024,"
              "\"vocab_size\":16},"
              "\"vision_config\":{\"hidden_size\":1152}}");
    CHECK(says("general.architecture", "gemma3"));
    EQ(number("gemma3.attention.head_count"), 8);
    EQ(number("gemma3.attention.head_count_kv"), 4);
    EQ(number("gemma3.attention.key_length"), 256);
    EQ(number("gemma3.context_length"), 131072);
    CHECK(says("gemma3.rope.scaling.type", "linear"));
    NEAR(number("gemma3.rope.scaling.factor"), 8, 0);
    NEAR(number("gemma3.attention.scale"), 1 / 16.0, 0);
    EQ(store.vocab.n_end, 2);
    EQ(store.vocab.end[1], 7);
    read_keys(shaped(
        "gemma3_text",
        "\"rope_parameters\":{\"sliding_attention\":{\"rope_type\":\"default\",\"rope_theta\":5000}"
        ","
        "\"full_attention\":{\"rope_type\":\"linear\",\"factor\":2.0,\"rope_theta\":70000}}"));
    NEAR(number("gemma3.rope.freq_base"), 70000, 0);
    NEAR(number("gemma3.rope.freq_base_swa"), 5000, 0);
    NEAR(number("gemma3.rope.scaling.factor"), 2, 0);
}

#define GEMMA4_ROPE "\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"proportional\",\"partial_rotary_factor\":" \
    "0.25,\"rope_theta\":1e6},\"sliding_attention\":{\"rope_type\":\"default\",\"rope_theta\":10000}}"

static const char *gemma4(const char *more) {
    static char fields[1000];
    snprintf(fields, sizeof fields, "%s,\"head_dim\":4,\"global_head_dim\":8%s", GEMMA4_ROPE, more);
    return shaped("gemma4_text", fields);
}

TEST(gemma4_layers_have_sizes) {
    read_keys(gemma4(",\"num_kv_shared_layers\":2,\"use_double_wide_mlp\":true,\"num_key_value_heads\":2,"
                     "\"attention_k_eq_v\":true,\"num_global_key_value_heads\":1,\"hidden_size_per_layer_input\":3"));
    const pith__key *ff = pith__store_key(&store, "gemma4.feed_forward_length");
    CHECK(pattern("gemma4.attention.sliding_window_pattern", "111110"));
    CHECK(pattern("gemma4.attention.head_count_kv", "222221"));
    REQUIRE(ff && ff->n == 6);
    EQ(pith__key_item(ff, 3), 12);
    EQ(pith__key_item(ff, 4), 24);
    EQ(number("gemma4.attention.key_length"), 8);
    EQ(number("gemma4.attention.key_length_swa"), 4);
    EQ(number("gemma4.rope.dimension_count"), 8);
    EQ(number("gemma4.rope.dimension_count_swa"), 4);
    EQ(number("gemma4.attention.shared_kv_layers"), 2);
    EQ(number("gemma4.embedding_length_per_layer_input"), 3);
    EQ(number("gemma4.attention.sliding_window"), 512);
    CHECK(absent("gemma4.expert_count"));
    read_keys(gemma4(",\"per_layer_config\":{\"5\":{\"head_dim\":16,\"num_key_value_heads\":1}},\"num_key_value_heads\":2"));
    EQ(number("gemma4.attention.key_length"), 16);
    CHECK(pattern("gemma4.attention.head_count_kv", "222221"));
}

static void refuses_gemma4(const char *more, const char *need) {
    write_text("config.json", more);
    pith__store_free(&store);
    store.path = folder;
    int code = pith__folder_read(&store, folder, 0, &error);
    if (!code || !strstr(error.text, need)) FAIL("%s: %s", more, code ? error.text : "is read");
}

TEST(gemma4_that_cannot_run) {
    refuses_gemma4(gemma4(",\"use_bidirectional_attention\":\"all\""), "use_bidirectional_attention");
    refuses_gemma4(gemma4(",\"num_kv_shared_layers\":6"), "num_kv_shared_layers");
    refuses_gemma4(gemma4(",\"attention_k_eq_v\":true,\"attention_bias\":true"), "attention_bias is true, need false where");
    refuses_gemma4(gemma4(",\"enable_moe_block\":true"), "num_experts");
    refuses_gemma4(gemma4(",\"final_logit_softcapping\":0.0"), "final_logit_softcapping is 0.0, need a number over 0");
    refuses_gemma4(gemma4(",\"per_layer_config\":{\"6\":{\"head_dim\":16}}"), "per_layer_config");
    refuses_gemma4(gemma4(",\"per_layer_config\":{\"1\":{\"head_dim\":16}}"), "per_layer_config");
    refuses_gemma4(gemma4(",\"per_layer_config\":{\"5\":{\"sliding_window\":16}}"), "per_layer_config");
    refuses_gemma4(shaped("gemma4_text", "\"head_dim\":4"), "rope_parameters");
    refuses_gemma4(gemma4(",\"layer_types\":[\"full_attention\",\"full_attention\",\"full_attention\",\"full_attention\","
                          "\"full_attention\",\"sliding_attention\"]"), "layer_types");
    refuses_gemma4(shaped("llama", "\"num_kv_shared_layers\":2"), "num_kv_shared_layers");
}

static void read_config(const char *text) { /* alone, without tensors */
    pith__folder f = { .s = &store, .dir = folder, .err = &error };
    write_text("config.json", text);
    pith__store_free(&store);
    if (pith__hf_config(&f) || pith__store_sort(&store, &error)) FAIL("%s: %s", text, error.text);
}

TEST(fields_of_tensors_that_may_be_there) {
    pith__folder f = { .s = &store, .dir = folder, .err = &error };
    char name[PITH__HF_NAME];
    const pith__str bias = pith__str_of("model.layers.0.mamba.conv1d.bias");
    for (int without = 0; without < 2; without++) {
        pith__store_free(&store);
        write_text("config.json", shaped("granitemoehybrid", without ? "\"mamba_n_heads\":2,\"mamba_conv_bias\":false" : "\"mamba_n_heads\":2"));
        EQ(pith__hf_config(&f), PITH_OK);
        EQ(pith__hf_to_gguf(&f, bias, name), !without);
    }
    pith__store_free(&store);
    write_whole();
    refused_config("{\"model_type\":\"gpt_neox\",\"head_dim\":8}", "head_dim is 8, need the hidden size over the number of heads");
}

TEST(lfm3_has_two_names_for_eps) {
    read_config("{\"model_type\":\"lfm3\",\"num_hidden_layers\":1,\"layer_types\":[\"full_attention\"],\"rms_norm_eps\":0.5," GEMMA4_ROPE "}");
    NEAR(number("lfm3.attention.layer_norm_rms_epsilon"), 0.5, 0);
}

/* Words of a matrix of their own have its bias, as transformers takes them; else they have the head's. */
TEST(words_have_one_bias) {
    pith__folder f = { .s = &store, .dir = folder, .err = &error };
    char name[PITH__HF_NAME];
    for (int tied = 0; tied < 2; tied++) {
        pith__store_free(&store);
        write_text("config.json", shaped("roberta", tied ? "\"architectures\":[\"RobertaForMaskedLM\"]" :
                                         "\"architectures\":[\"RobertaForMaskedLM\"],\"tie_word_embeddings\":false"));
        EQ(pith__hf_config(&f), PITH_OK);
        EQ(pith__hf_to_gguf(&f, pith__str_of("lm_head.bias"), name), tied);
        EQ(pith__hf_to_gguf(&f, pith__str_of("lm_head.decoder.bias"), name), !tied);
        CHECK(tied || !strcmp(name, "mlm.bias"));
    }
    pith__store_free(&store);
}

TEST(modernbert_may_order_its_layers) {
    read_config(shaped("modernbert", "\"layer_types\":[\"full_attention\",\"sliding_attention\",\"full_attention\","
                     "\"sliding_attention\",\"full_attention\",\"sliding_attention\"]"));
    EQ(number("modern-bert.attention.sliding_window_pattern"), 2);
    read_config(shaped("modernbert", "\"layer_types\":[\"sliding_attention\",\"full_attention\",\"full_attention\","
                     "\"sliding_attention\",\"full_attention\",\"sliding_attention\"]"));
    CHECK(pattern("modern-bert.attention.sliding_window_pattern", "100101"));
    write_whole();
    refused_config("{\"model_type\":\"modernbert\",\"layer_types\":[\"full_attention\"]}", "layer_types is [\"full_attention\"], need an array, one string a layer");
}

TEST(experts_of_no_layer) {
    static const char *const cases[][2] = { /* shaped has 6 layers */
        { "llama4_text", "\"moe_layers\":[]" }, { "llama4_text", "\"interleave_moe_layer_step\":7" },
        { "qwen3_moe", "\"decoder_sparse_step\":7" }, { "qwen2_moe", "\"decoder_sparse_step\":3,\"mlp_only_layers\":[5,2]" },
        { "glm4_moe", "\"first_k_dense_replace\":6" }, { "lfm2_moe", "\"num_dense_layers\":7" },
        { "glm4_moe_lite", "\"mlp_layer_types\":[\"dense\",\"dense\",\"dense\",\"dense\",\"dense\",\"dense\"]" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        read_keys(shaped(cases[i][0], cases[i][1]));
        for (size_t k = 0; k < store.n_key; k++)
            if (pith__name_ends(store.key[k].name, ".expert_count")) FAIL("%s: %s", cases[i][0], cases[i][1]);
    }
    read_keys(shaped("qwen2_moe", "\"decoder_sparse_step\":3,\"mlp_only_layers\":[2]"));
    EQ(number("qwen2moe.expert_count"), 60);
}

TEST(multipliers_and_experts_become_keys) {
    read_keys(shaped("granite", "\"attention_multiplier\":0.5,\"embedding_multiplier\":12,"
                                "\"residual_multiplier\":0.22,\"logits_scaling\":8"));
    NEAR(number("granite.attention.scale"), 0.5, 0);
    NEAR(number("granite.embedding_scale"), 12, 0);
    NEAR(number("granite.residual_scale"), 0.22, 0);
    NEAR(number("granite.logit_scale"), 8, 0);
    read_keys(shaped("qwen3_moe", "\"num_experts\":4,\"num_experts_per_tok\":2,\"moe_intermediate_"
                                  "size\":6,\"norm_topk_prob\":true"));
    CHECK(says("general.architecture", "qwen3moe"));
    EQ(number("qwen3moe.expert_count"), 4);
    EQ(number("qwen3moe.expert_used_count"), 2);
    EQ(number("qwen3moe.expert_feed_forward_length"), 6);
    EQ(number("qwen3moe.expert_weights_norm"), 1);
    EQ(number("qwen3moe.attention.key_length"), 4);
    read_keys(
        shaped("qwen3_moe",
               "\"num_local_experts\":3,\"num_experts_per_tok\":2,\"moe_intermediate_size\":6"));
    EQ(number("qwen3moe.expert_count"), 3);
    EQ(number("qwen3moe.expert_weights_norm"), 0);
}

/* gpt-oss: YaRN whose range is not rounded unless the file says so, and a clamp that GGUF has no keys for. */
TEST(gptoss_becomes_keys) {
#define YARN "\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":32.0,\"original_max_position_embeddings\":16"
    static const char *const bad[][2] = {
        { YARN "},\"quantization_config\":{\"quant_method\":\"gptq\"}", "quant_method" },
        { YARN "},\"quantization_config\":{}", "quant_method" },
        { YARN "},\"hidden_act\":\"gelu\"", "hidden_act" },
        { YARN "},\"swiglu_limit\":0", "swiglu_limit" },
        { YARN "},\"swiglu_alpha\":\"1\"", "swiglu_alpha" },
        { YARN "},\"num_experts_per_tok\":0", "num_experts_per_tok" },
        { YARN "},\"n_shared_experts\":1", "n_shared_experts" },
        { YARN ",\"truncate\":1}", "truncate" },
        { "\"rope_theta\":150000", "rope_scaling" },
    };
    read_keys(shaped("gpt_oss", YARN ",\"truncate\":false},\"quantization_config\":{\"quant_method\":\"mxfp4\"},"
                                "\"num_local_experts\":4,\"num_experts_per_tok\":2,\"swiglu_limit\":7.0"));
    CHECK(says("general.architecture", "gpt-oss"));
    EQ(number("gpt-oss.expert_count"), 4);
    EQ(number("gpt-oss.expert_used_count"), 2);
    EQ(number("gpt-oss.feed_forward_length"), 12);
    EQ(number("gpt-oss.rope.scaling.yarn_truncate"), 0);
    EQ(number("gpt-oss.attention.sliding_window"), 128);
    CHECK(pattern("gpt-oss.attention.sliding_window_pattern", "101010"));
    CHECK(absent("gpt-oss.pith.swiglu_limit") && absent("gpt-oss.pith.swiglu_alpha"));
    read_keys(shaped("gpt_oss", YARN "},\"swiglu_limit\":2.5,\"swiglu_alpha\":1"));
    EQ(number("gpt-oss.rope.scaling.yarn_truncate"), 1);
    NEAR(number("gpt-oss.pith.swiglu_limit"), 2.5, 0);
    NEAR(number("gpt-oss.pith.swiglu_alpha"), 1, 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) refused_config(shaped("gpt_oss", bad[i][0]), bad[i][1]);
#undef YARN
}

TEST(rotations_become_keys) {
    static const char *const old[] = { "rope_scaling", "type" }, *const new[] = { "rope_parameters",
                                                                                  "rope_type" };
    for (int spelling = 0; spelling < 2; spelling++) {
        const char *const *s = spelling ? new : old;
        char more[300];
        sprintf(more, "\"rope_theta\":5000,\"%s\":{\"%s\":\"linear\",\"factor\":2.5}", s[0], s[1]);
        read_keys(shaped("llama", more));
        CHECK(says("llama.rope.scaling.type", "linear"));
        NEAR(number("llama.rope.scaling.factor"), 2.5, 0);
        NEAR(number("llama.rope.freq_base"), 5000, 0);
        sprintf(more,
                "\"%s\":{\"%s\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":32,"
                "\"rope_theta\":70000}",
                s[0], s[1]);
        read_keys(shaped("qwen3", more));
        CHECK(says("qwen3.rope.scaling.type", "yarn"));
        NEAR(number("qwen3.rope.scaling.factor"), 4, 0);
        EQ(number("qwen3.rope.scaling.original_context_length"), 32);
        NEAR(number("qwen3.rope.freq_base"), 70000, 0);
        CHECK(absent("qwen3.rope.scaling.attn_factor"));
        sprintf(more, "\"%s\":{\"%s\":\"dynamic\",\"factor\":4.0}", s[0], s[1]);
        read_keys(shaped("llama", more));
        CHECK(absent("llama.rope.scaling.type"));
    }
    read_keys(shaped("qwen3", "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4.0,\"attention_"
                              "factor\":1.0,\"beta_fast\":16}"));
    NEAR(number("qwen3.rope.scaling.attn_factor"), 1 / (0.1 * log(4) + 1), 1e-15);
    NEAR(number("qwen3.rope.scaling.yarn_beta_fast"), 16, 0);
    EQ(number("qwen3.rope.scaling.original_context_length"), 64);
    read_keys(shaped("phi3", "\"partial_rotary_factor\":0.5"));
    EQ(number("phi3.rope.dimension_count"), 2);
}

static const float *factors(const char *name, size_t n) {
    const pith__tensor *t = pith__store_tensor(&store, name);
    static float y[64];
    if (!t || t->rows != 1 || t->cols != n || t->format->id != PITH__F32) {
        FAIL("no tensor %s of %zu", name, n);
        return y;
    }
    memcpy(y, t->data, n * sizeof *y);
    return y;
}

TEST(rotations_become_tensors) {
    read_keys(shaped("llama", "\"head_dim\":16,\"rope_theta\":500000,\"rope_scaling\":{\"rope_"
                              "type\":\"llama3\",\"factor\":32.0,"
                              "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,\"original_max_"
                              "position_embeddings\":64}"));
    const float *y = factors("rope_freqs.weight", 8);
    NEAR(y[0], 1, 0);  /* turns 64 / 2 pi times: fast, stays */
    NEAR(y[7], 32, 0); /* slow */
    double turns = 64 * pow(500000, -2.0 / 16) / (2 * 3.14159265358979323846),
           blend = (turns - 1) / 3;
    CHECK(blend > 0 && blend < 1);
    NEAR(y[1], 1 / ((1 - blend) / 32 + blend), 1e-6);
    CHECK(absent("llama.rope.scaling.type"));
    static const char *const names[] = { "su", "longrope", "yarn" }; /* the first files said yarn */
    for (int i = 0; i < 3; i++) {
        char more[300];
        sprintf(more,
                "\"original_max_position_embeddings\":16,\"rope_scaling\":{\"type\":\"%s\",\"short_"
                "factor\":[1.0,1.25],"
                "\"long_factor\":[2,40.5]}",
                names[i]);
        read_keys(shaped("phi3", more));
        CHECK(says("phi3.rope.scaling.type", "longrope"));
        EQ(number("phi3.rope.scaling.original_context_length"), 16);
        NEAR(number("phi3.rope.scaling.attn_factor"), sqrt(1 + log(4) / log(16)), 1e-15);
        NEAR(factors("rope_factors_short.weight", 2)[1], 1.25, 0);
        NEAR(factors("rope_factors_long.weight", 2)[1], 40.5, 0);
    }
}

TEST(generation_config) {
    clear_folder();
    read_keys(shaped("llama", "\"eos_token_id\":3"));
    EQ(store.vocab.n_end, 1);
    EQ(store.vocab.end[0], 3);
    CHECK(absent("pith.temperature"));
    size_t n_plain = store.n_key;
    static const struct {
        const char *text, *naming; /* NULL: runs */
        double temperature;
    } cases[] = {
        { "{\"eos_token_id\":[5,6],\"temperature\":0.6,\"top_k\":20,\"top_p\":0.95,\"min_p\":0,"
          "\"repetition_penalty\":1.1,\"do_sample\":true}",
          NULL, 0.6 },
        { "{\"eos_token_id\":[5,6],\"temperature\":1}", NULL, 1 },
        { "{\"eos_token_id\":[5,6],\"do_sample\":false}", NULL, 0 },
        { "{\"eos_token_id\":\"5\"}", "eos_token_id", 0 },
        { "[]", "object", 0 },
        { "{", "byte", 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text("generation_config.json", cases[i].text);
        pith__store_free(&store);
        store.path = folder;
        int code = pith__folder_read(&store, folder, 0, &error);
        if (!cases[i].naming && code) FAIL("%s: %s", cases[i].text, error.text);
        if (cases[i].naming && (!code || !strstr(error.text, cases[i].naming) ||
                                !strstr(error.text, "generation_config.json")))
            FAIL("%s: %d %s", cases[i].text, code, error.text);
        if (code) continue;
        EQ(store.vocab.n_end, 2);
        EQ(store.vocab.end[0], 5);
        NEAR(number("pith.temperature"), cases[i].temperature, 0);
        if (i == 0) {
            NEAR(number("pith.top_k"), 20, 0);
            NEAR(number("pith.top_p"), 0.95, 0);
            NEAR(number("pith.min_p"), 0, 0);
            NEAR(number("pith.repeat_penalty"), 1.1, 0);
        }
    }
    static const char *const senseless[][2] = { /* advice does not stop a model */
        { "\"temperature\":\"hot\"", "temperature" }, { "\"temperature\":-1", "temperature" },
        { "\"top_p\":1e400", "top_p" }, { "\"top_p\":0", "top_p" }, { "\"top_p\":2", "top_p" },
        { "\"top_k\":[]", "top_k" }, { "\"top_k\":-2", "top_k" }, { "\"min_p\":-0.5", "min_p" },
        { "\"repetition_penalty\":0", "repetition_penalty" },
    };
    for (size_t i = 0; i < sizeof senseless / sizeof *senseless; i++) {
        char text[100];
        sprintf(text, "{\"do_sample\":1,\"eos_token_id\":5,%s}", senseless[i][0]);
        write_text("generation_config.json", text);
        pith__store_free(&store);
        store.path = folder;
        EQ(pith__folder_read(&store, folder, 0, &error), PITH_OK);
        if (!store.note || !strstr(store.note->text, senseless[i][1]) ||
            !strstr(store.note->text, "generation_config.json"))
            FAIL("%s: no note", text);
        EQ(store.n_key, n_plain);
    }
    write_text("generation_config.json", "{\"top_k\":-1,\"eos_token_id\":null}");
    pith__store_free(&store);
    store.path = folder;
    EQ(pith__folder_read(&store, folder, 0, &error), PITH_OK);
    CHECK(!store.note && !absent("pith.top_k"));
    NEAR(number("pith.top_k"), 0, 0);
}

int main(void) {
    make_folder();
    RUN(config_fields_of_wrong_types);
    RUN(config_that_must_run);
    RUN(sizes_become_keys);
    RUN(windows_become_keys);
    RUN(latents_become_keys);
    RUN(mistral3_with_a_nested_text_config);
    RUN(gemma3_with_a_nested_text_config);
    RUN(gemma4_layers_have_sizes);
    RUN(gemma4_that_cannot_run);
    RUN(fields_of_tensors_that_may_be_there);
    RUN(lfm3_has_two_names_for_eps);
    RUN(words_have_one_bias);
    RUN(modernbert_may_order_its_layers);
    RUN(experts_of_no_layer);
    RUN(multipliers_and_experts_become_keys);
    RUN(gptoss_becomes_keys);
    RUN(rotations_become_keys);
    RUN(rotations_become_tensors);
    RUN(generation_config);
    pith__store_free(&store);
    drop_folder();
    return DONE();
}
