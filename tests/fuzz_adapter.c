/* fuzz_adapter.c - any bytes as an adapter: a GGUF file, or one of the two files of a PEFT folder, by how they begin.
 * What is opened can be run. */
#define _XOPEN_SOURCE 700 /* mkdtemp */
#include "../internal.h"
#include "fixture.c"

#include <sys/stat.h>
#include <unistd.h>

static const char config[] = "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":2}";
static const char tensors[] =
    "model.layers.0.self_attn.q_proj.lora_A.weight 2 8;model.layers.0.self_attn.q_proj.lora_B.weight 8 2";

static pith_model *open_small(void) {
    static const pith_options one_thread = { .n_threads = 1 };
    bytes b = fixture_gguf( /* as long as the program; lora.gguf is of this shape */
        "general.architecture llama;llama.block_count 2;llama.embedding_length 8;llama.feed_forward_length 12;"
        "llama.attention.head_count 2;llama.attention.head_count_kv 1;llama.context_length 32;"
        "llama.attention.layer_norm_rms_epsilon 1e-5",
        "token_embd.weight 9 8;output_norm.weight 8;blk.{2}.attn_norm.weight 8;blk.{2}.attn_q.weight 8 8;"
        "blk.{2}.attn_k.weight 4 8;blk.{2}.attn_v.weight 4 8;blk.{2}.attn_output.weight 8 8;"
        "blk.{2}.ffn_norm.weight 8;blk.{2}.ffn_gate.weight 12 8;blk.{2}.ffn_up.weight 12 8;"
        "blk.{2}.ffn_down.weight 8 12", 1);
    return pith_open_memory(b.p, b.n, &one_thread, NULL);
}

static void write_file(const char *folder, const char *name, const void *p, size_t n) {
    char path[100];
    bytes b = { NULL, 0, 0 };
    put(&b, p, n);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (save(&b, path)) abort();
    free(b.p);
}

static void run(const pith_model *m, const char *path) {
    static const pith_token t[] = { 1, 5, 2 };
    pith_error e = { 0, "" };
    pith_adapter *a = pith__adapter_open(m, path, 1, &e); /* of a reward model too */
    if (!a && !e.text[0]) abort();
    if (!a) return;
    pith_context c = { .n_ctx = 8, .adapters = (const pith_adapter *const *)&a, .n_adapter = 1 };
    pith_session *s = pith_session_new(m, &c, NULL);
    if (!s || pith_eval(s, t, 3, NULL) != PITH_OK) abort();
    pith_session_free(s);
    pith_adapter_close(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static pith_model *m;
    static char folder[] = "/tmp/pith_fuzz_XXXXXX";
    static bytes numbers;
    char path[100];
    if (!m) {
        m = open_small();
        numbers = fixture_safetensors(tensors, 1);
        if (!m || !mkdtemp(folder)) abort();
    } else if (mkdir(folder, 0700)) {
        abort();
    }
    int gguf = size >= 4 && !memcmp(data, "GGUF", 4), json = size && *data == '{';
    if (gguf) write_file(folder, "a.gguf", data, size);
    else write_file(folder, "adapter_config.json", json ? (const void *)data : config, json ? size : sizeof config - 1);
    if (!gguf)
        write_file(folder, "adapter_model.safetensors", json ? (const void *)numbers.p : data, json ? numbers.n : size);
    snprintf(path, sizeof path, "%s/a.gguf", folder);
    run(m, gguf ? path : folder);
    unlink(path);
    static const char *const names[] = { "adapter_config.json", "adapter_model.safetensors" };
    for (int i = 0; i < 2; i++) snprintf(path, sizeof path, "%s/%s", folder, names[i]), unlink(path);
    rmdir(folder);
    return 0;
}
