/* t_safetensors.c - Hugging Face folders: safetensors files made here, whole and wrong in every way, and the
 * fixtures. */
#define _POSIX_C_SOURCE 200809L
#include "hf_folder.h"

#include <time.h>

/* ---- what must run --------------------------------------------------------------------------- */

TEST(a_folder_runs) {
    write_whole();
    OPENS();
    CHECK(opens_at(in_folder("")));
    CHECK(opens_at(in_folder("model.safetensors")));
    char old[200];
    REQUIRE(getcwd(old, sizeof old));
    REQUIRE(!chdir(folder));
    CHECK(opens_at("."));
    CHECK(opens_at("model.safetensors"));
    REQUIRE(!chdir(old));
    pith_options opt = { .no_mmap = 1 };
    pith_model *m = pith_open(folder, &opt, &error);
    CHECK(m);
    pith_close(m);
}

TEST(headers_of_any_looks) {
    write_whole();
    how h = plain;
    h.between = " \n\t ";
    write_model("model.safetensors", &h);
    OPENS();
    h = plain;
    h.backwards = 1;
    write_model("model.safetensors", &h);
    OPENS();
    char text[20000];
    size_t n = header_text(&plain, text);
    for (int pad = 0; pad < 9; pad++) { /* the numbers then begin at any address */
        memset(text + strlen(text), 0, 2);
        text[strlen(text)] = ' ';
        write_tensors("model.safetensors", text, n);
        OPENS();
    }
    header_text(&plain, text);
    size_t len = strlen(text);
    memset(text + len, ' ', 9000);
    text[len + 9000] = 0;
    write_tensors("model.safetensors", text, n);
    OPENS();
    header_text(&plain, text);
    write_tensors("model.safetensors", with(text, "model.norm", "mod\\u0065l\\u002enorm"), n);
    OPENS();
    write_tensors("model.safetensors",
                  with(text, "\"shape\":[8],", "\"sh\\u0061pe\":[8],\"more\":[1],"), n);
    OPENS();
    header_text(&plain, text);
    write_tensors("model.safetensors",
                  with(text, "{\"__meta",
                       "{\"empty\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},"
                       "\"rank5\":{\"dtype\":\"F16\",\"shape\":[1,1,1,1,0],\"data_offsets\":[0,0]},"
                       "\"__meta"),
                  n);
    OPENS();
}

TEST(names_without_a_model_and_behind_a_language_model) {
    char text[20000];
    write_whole();
    size_t n = header_text(&plain, text);
    for (char *p; (p = strstr(text, "\"model.")) != NULL;) memmove(p + 1, p + 7, strlen(p + 7) + 1);
    write_tensors("model.safetensors", text, n);
    OPENS();
}

TEST(half_floats) {
    write_whole();
    how h = plain;
    h.size = 2;
    h.dtype = "BF16";
    write_model("model.safetensors", &h);
    OPENS();
    h.dtype = "F16";
    write_model("model.safetensors", &h);
    OPENS();
}

static void write_shards(const char *first, const char *second) {
    how h = plain;
    h.last = 5;
    write_model("model-00001-of-00002.safetensors", &h);
    h.first = 5;
    h.last = WEIGHTS;
    write_model("model-00002-of-00002.safetensors", &h);
    bytes b = { 0 };
    char line[300];
    put(&b, "{\"metadata\":{\"total_size\":1},\"weight_map\":{", 43);
    for (size_t i = 0; i < WEIGHTS; i++) {
        sprintf(line, "%s\"%s\":\"%s\"", i ? "," : "", weights[i].name, i < 5 ? first : second);
        put(&b, line, strlen(line));
    }
    put(&b, "}}", 2);
    write_bytes("model.safetensors.index.json", b.p, b.n);
    free(b.p);
}

TEST(shards) {
    clear_folder();
    write_text("config.json", config);
    const char *one = "model-00001-of-00002.safetensors", *two = "model-00002-of-00002.safetensors";
    write_shards(one, two);
    OPENS();
    CHECK(opens_at(in_folder(two)));
    write_shards("model-00001-of-00002\\u002esafetensors", two);
    OPENS();
    static const char *const outside[] = {
        "../../etc/passwd", "/etc/passwd",        "..", ".", "", "a/../b", "x\\\\y",
        "a\\u0000b",        "no-such.safetensors"
    };
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        write_shards(one, outside[i]);
        refused(outside[i], i < 8 ? "model.safetensors.index.json: weight_map names" : "no-such");
    }
    write_shards(two, one);
    refused("shards changed about", "has no tensor");
    write_shards(one, two);
    unlink(in_folder(two));
    refused("a shard missing", two);
    static const char *const bad[] = { "[]",
                                       "{}",
                                       "{\"weight_map\":[]}",
                                       "{\"weight_map\":{\"a\":5}}",
                                       "{\"weight_map\":{}}",
                                       "{\"weight_map\":{\"a\":null}}",
                                       "{" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_text("model.safetensors.index.json", bad[i]);
        refused(bad[i], i == 4 ? "embed_tokens" : "model.safetensors.index.json");
    }
    unlink(in_folder("model.safetensors.index.json"));
    refused("neither file nor index", "no model.safetensors.index.json");
}

/* ---- headers that must not run --------------------------------------------------------------- */

TEST(header_lengths) {
    write_whole();
    char text[20000];
    size_t n = header_text(&plain, text), len = strlen(text);
    static const uint64_t bad[] = {
        0, 1, 7, 100000001, (uint64_t)1 << 62, (uint64_t)1 << 63, UINT64_MAX, UINT64_MAX - 7
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad + 4; i++) {
        uint64_t length = i < 8     ? bad[i]
                          : i == 8  ? len - 1
                          : i == 9  ? len + 1
                          : i == 10 ? len + n + 1
                                    : len + n;
        bytes b = { 0 };
        put_u64(&b, length);
        put(&b, text, len);
        for (size_t k = 0; k < n / 4; k++) put_f32(&b, 0.5f);
        write_bytes("model.safetensors", b.p, b.n);
        free(b.p);
        refused("a header length", "model.safetensors");
    }
    for (size_t i = 0; i < 16; i++) { /* shorter than the length itself, or than its header */
        write_bytes("model.safetensors", "\x08\0\0\0\0\0\0\0{       ", i);
        refused("a short file", "model.safetensors");
    }
}

TEST(header_entries) {
    static const struct {
        const char *from, *to, *naming;
    } cases[] = {
        { "\"F32\"", "\"I32\"", "dtype" },
        { "\"F32\"", "\"F64\"", "data_offsets" },
        { "\"F32\"", "\"F16\"", "data_offsets" },
        { "\"F32\"", "32", "dtype" },
        { "\"F32\"", "null", "dtype" },
        { "\"F32\"", "\"\"", "dtype" },
        { "\"F32\"", "\"F32x\"", "dtype" },
        { "\"dtype\":\"F32\",", "", "dtype" },
        { "\"dtype\":", "\"dtype\":\"F32\",\"dtype\":", "dtype" },
        { "[16, 8]", "[16, -8]", "shape" },
        { "[16, 8]", "[16, 8.0]", "shape" },
        { "[16, 8]", "[16, 1.5]", "shape" },
        { "[16, 8]", "[16, 18446744073709551616]", "shape" },
        { "[16, 8]", "[16, 18446744073709551624]", "shape" },
        { "[16, 8]", "[16, 4294967304]", "data_offsets" },
        { "[16, 8]", "[16, 1e400]", "shape" },
        { "[16, 8]", "[16, null]", "shape" },
        { "[16, 8]", "[[16], 8]", "shape" },
        { "[16, 8]", "[16, \"8\"]", "shape" },
        { "[16, 8]", "null", "shape" },
        { "[16, 8]", "128", "shape" },
        { "[16, 8]", "{}", "shape" },
        { "[16, 8]", "[4611686018427387904, 4, 32]", "shape" },
        { "[16, 8]", "[4294967296, 4294967296, 128]", "shape" },
        { "[16, 8]", "[9223372036854775807, 9223372036854775807]", "shape" },
        { "[16, 8]", "[]", "data_offsets" },
        { "[16, 8]", "[128]", "embedding" },
        { "[16, 8]", "[8, 16]", "vocab_size" },
        { "[16, 8]", "[1,1,1,1,128]", "embed_tokens" },
        { "[16, 8]", "[2, 64]", "vocab_size" },
        { "\"shape\":[16, 8],", "", "shape" },
        { "[16, 8],", "[16, 8],\"shape\":[16, 8],", "shape" },
        { "[0,512]", "[512,0]", "data_offsets" },
        { "[0,512]", "[-4,508]", "data_offsets" },
        { "[0,512]", "[0]", "data_offsets" },
        { "[0,512]", "[]", "data_offsets" },
        { "[0,512]", "[0,512,1024]", "data_offsets" },
        { "[0,512]", "[1,513]", "begins at" },
        { "[0,512]", "[0,18446744073709551616]", "data_offsets" },
        { "[0,512]", "[0,512.0]", "data_offsets" },
        { "[0,512]", "[9223372036854775300,9223372036854775807]", "data_offsets" },
        { "[0,512]", "[4,516]", "begins at" },
        { "[0,512]", "[0,511]", "data_offsets" },
        { "[0,512]", "\"0,512\"", "data_offsets" },
        { "[0,512]", "[544,1056]", "begins at" },
        { ",\"data_offsets\":[0,512]", "", "data_offsets" },
        { "{\"format\":\"pt\"}", "{\"format\":5}", "__metadata__" },
        { "{\"format\":\"pt\"}", "\"pt\"", "__metadata__" },
        { "{\"format\":\"pt\"}", "{},\"__metadata__\":{}", "__metadata__" },
        { "\"model.norm.weight\"", "\"model.layers.0.input_layernorm.weight\"", "comes twice" },
        { "\"model.norm.weight\"", "\"norm.weight\":5,\"model.norm.weight\"", "norm.weight" },
        { "}}", "}},", "byte" },
        { "}}", "},}", "byte" },
        { "}}", "}", "byte" },
        { "}}", "}}x", "byte" },
        { "{\"", "[\"", "header" },
        { "{\"", " {\"", "header" },
        { "{\"", "//\n{\"", "header" },
        { "[0,512]", "[NaN,512]", "byte" },
        { "model.norm", "model\\q", "byte" },
        { "model.norm", "model\x01", "byte" },
        { "model.norm", "model\xff", "byte" },
        { "model.norm", "model\xc3\xa9", "model.norm.weight" },
    };
    write_whole();
    char text[20000];
    size_t n = header_text(&plain, text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_tensors("model.safetensors", with(text, cases[i].from, cases[i].to), n);
        refused(cases[i].to, cases[i].naming);
    }
    write_tensors("model.safetensors", text, n + 4);
    refused("bytes behind the last tensor", "last tensor ends");
    write_tensors("model.safetensors", text, n - 4);
    refused("cut by a number", "data_offsets");
    char digits[5100] = "[16, 8";
    memset(digits + 6, '0', 5000);
    strcpy(digits + 5006, "]");
    write_tensors("model.safetensors", with(text, "[16, 8]", digits), n);
    refused("5000 digits", "shape");
}

TEST(each_weight_missing_or_of_another_shape) {
    write_whole();
    char text[20000];
    for (size_t i = 0; i < WEIGHTS; i++) {
        how h = plain;
        h.skip = i;
        write_model("model.safetensors", &h);
        refused(weights[i].name, "no tensor");
        size_t n = header_text(&plain, text);
        char flat[32], name[80], head[20000];
        sprintf(flat, "[2, %zu]", weights[i].count / 2);
        sprintf(name, "\"%s\":", weights[i].name);
        const char *at = strstr(text, name);
        REQUIRE(at);
        sprintf(head, "%.*s%s", (int)(at - text), text, with(at, weights[i].shape, flat));
        write_tensors("model.safetensors", head, n);
        refused(weights[i].name, "need");
    }
    size_t n = header_text(&plain, text);
    write_tensors("model.safetensors",
                  with(text, "layers.0.input", "layers.18446744073709551616.input"), n);
    refused("a layer number that wraps", "no tensor");
    write_tensors("model.safetensors", with(text, "layers.0.input", "layers.00.input"), n);
    refused("a layer number of two digits", "no tensor");
}

/* In the order of their places or not, many tensors take no more than moments. */
TEST(hundred_thousand_tensors) {
    write_whole();
    bytes b = { 0 };
    char line[200], text[20000];
    size_t n = header_text(&plain, text);
    put(&b, "{", 1);
    for (int i = 0; i < 100000; i++)
        put(&b, line,
            (size_t)sprintf(line,
                            "\"x.%d\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},",
                            i * 7919 % 100000));
    put(&b, text + 1, strlen(text + 1));
    put(&b, "", 1);
    clock_t start = clock();
    write_tensors("model.safetensors", (const char *)b.p, n);
    OPENS();
    CHECK((double)(clock() - start) / CLOCKS_PER_SEC < 5); /* also under a sanitizer */
    free(b.p);
}

/* ---- biases ---------------------------------------------------------------------------------- */

TEST(biases) {
    write_whole();
    char text[20000], more[1000];
    size_t n = header_text(&plain, text);
    static const char *const part[] = { "q", "k", "v", "o" };
    for (int count = 0; count <= 4; count++) {
        size_t at = n;
        strcpy(more, "");
        for (int i = 0; i < count; i++) {
            size_t size = i == 1 || i == 2 ? 4 : 8;
            sprintf(more + strlen(more),
                    ",\"model.layers.0.self_attn.%s_proj.bias\":{\"dtype\":\"F32\",\"shape\":[%zu],"
                    "\"data_offsets\":[%zu,%zu]}",
                    part[i], size, at, at + 4 * size);
            at += 4 * size;
        }
        strcat(more, "}");
        char head[20000];
        sprintf(head, "%.*s%s", (int)strlen(text) - 1, text, more);
        write_tensors("model.safetensors", head, at);
        static const char *const kinds[][2] = { { "llama", "\"attention_bias\": false" },
                                                { "llama", "\"attention_bias\": true" },
                                                { "qwen2", "\"attention_bias\": false" } };
        for (int k = 0; k < 3; k++) {
            char type[20];
            sprintf(type, "\"%s\"", kinds[k][0]);
            write_text("config.json", with(with(config, "\"llama\"", type),
                                           "\"rope_scaling\": null", kinds[k][1]));
            int need = k == 0 ? 0 : k == 1 ? 4 : 3;
            if (count < need) refused("a bias missing", "bias");
            else OPENS();
        }
    }
    write_text("config.json", with(config, "\"llama\"", "\"qwen2\""));
    pith__store_free(&store);
    store.path = folder;
    EQ(pith__folder_read(&store, folder, 0, &error), PITH_OK);
    CHECK(pith__store_tensor(&store, "blk.0.attn_v.bias") &&
          !pith__store_tensor(&store, "blk.0.attn_output.bias"));
    write_text("config.json", config);
    pith__store_free(&store);
    store.path = folder;
    EQ(pith__folder_read(&store, folder, 0, &error), PITH_OK);
    CHECK(!pith__store_tensor(&store, "blk.0.attn_v.bias")); /* HF would not use it either */
}

/* ---- the fixtures: folder and GGUF file of the same weights ---------------------------------- */

/* Row r of a (heads, 2, d / 2, cols) matrix is row (heads, d / 2, 2, cols) of GGUF's: the pairs
 * that turn together stand side by side there. */
static size_t paired(size_t r, size_t d) {
    size_t h = r / d, i = r % d;
    return h * d + (i < d / 2 ? 2 * i : 2 * (i - d / 2) + 1);
}

static int same_rows(const pith__tensor *a, const pith__tensor *b, size_t head, int plus_one) {
    if (a->rows != b->rows || a->cols != b->cols) return 0;
    float *x = malloc(2 * a->cols * sizeof *x), *y = x + a->cols;
    int same = x != NULL;
    for (size_t r = 0; same && r < a->rows; r++) {
        pith__row_floats(a, r, x);
        pith__row_floats(b, head ? paired(r, head) : r, y);
        for (size_t i = 0; i < a->cols; i++) same &= x[i] + (plus_one ? 1.0f : 0.0f) == y[i];
    }
    free(x);
    return same;
}

/* The tensor of the GGUF file that has t's numbers; an expert is a plane of a stack there. */
static int counterpart(const pith__store *gguf, const pith__tensor *t, pith__tensor *out) {
    char name[100], kind[20];
    int l, e;
    snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.p);
    const pith__tensor *found = pith__store_tensor(gguf, name);
    if (!found && sscanf(name, "blk.%d.ffn_%19[a-z].%d.weight", &l, kind, &e) == 3) {
        sprintf(name, "blk.%d.ffn_%s_exps.weight", l, kind);
        found = pith__store_tensor(gguf, name);
        if (!found || (size_t)e * t->rows + t->rows > found->rows) return 0;
        *out = *found;
        out->data += (size_t)e * t->rows * t->row_bytes;
        out->rows = t->rows;
        return 1;
    }
    if (found) *out = *found;
    return found != NULL;
}

static void compare(const char *name) {
    char path[200];
    const char *found;
    pith__store hf = { 0 }, gguf = { 0 };
    pith__file file[2] = { { 0 } };
    sprintf(path, "fixtures/%s-hf", name);
    if (!(found = fixture_shared(path))) return;
    hf.path = found;
    if (pith__folder_read(&hf, found, 0, &error)) FAIL("%s", error.text);
    char kept[400];
    sprintf(path, "fixtures/%s.gguf", name);
    snprintf(kept, sizeof kept, "%s", (found = fixture_shared(path)) ? found : "");
    gguf.path = kept;
    gguf.file = file;
    gguf.n_file = 1;
    if (pith__file_open(file, kept, 0, &error) || pith__gguf_read(&gguf, 0, &error))
        FAIL("%s", error.text);
    for (size_t i = 0; i < gguf.n_key; i++) { /* every number that GGUF says, the folder says too */
        const pith__key *k = &gguf.key[i];
        char key[100];
        snprintf(key, sizeof key, "%.*s", (int)k->name.n, k->name.p);
        if (strncmp(key, "tokenizer.", 10) == 0 || strncmp(key, "general.", 8) == 0) continue;
        if (strstr(key, "context_length")) continue; /* the fixtures' folders say 256 */
        const pith__key *h = pith__store_key(&hf, key);
        if (!h || h->type != k->type || (float)h->f != (float)k->f) FAIL("%s: key %s", name, key);
    }
    const pith__key *dim = NULL;
    for (size_t i = 0; i < hf.n_key; i++)
        if (strstr(hf.key[i].name.p, "attention.key_length")) dim = &hf.key[i];
    int permuted = pith__store_key(&hf, "llama.block_count") != NULL;
    size_t used = 0;
    for (size_t i = 0; i < hf.n_tensor && dim; i++) {
        const pith__tensor *t = &hf.tensor[i];
        pith__tensor g;
        int qk = permuted && (strstr(t->name.p, "attn_q.") || strstr(t->name.p, "attn_k."));
        int norm = hf.norm_plus_one && strstr(t->name.p, "norm") != NULL;
        if (!counterpart(&gguf, t, &g) || !same_rows(t, &g, qk ? (size_t)dim->i : 0, norm))
            FAIL("%s: tensor %s", name, t->name.p);
        used += t->rows * t->row_bytes;
    }
    for (size_t i = 0; i < gguf.n_tensor; i++)
        used -= gguf.tensor[i].rows * gguf.tensor[i].row_bytes;
    EQ((long long)used, 0); /* and nothing is left over on either side */
    pith__store_free(&hf);
    pith__store_free(&gguf);
}

static const char *const families[] = { "llama",    "llama3", "mistral", "qwen2",  "qwen3",
                                        "qwen3moe", "gemma",  "gemma2",  "gemma3", "phi3" };

TEST(fixtures_have_the_numbers_of_their_gguf) {
    if (!fixture_shared("fixtures/llama-hf")) SKIP("no ../shared/fixtures");
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) compare(families[i]);
}

/* ids: room for 64; the logits of each, (64, 512). */
static int logits_of(const char *path, const pith_token *ids, int n, float *out) {
    pith_options opt = { .n_threads = 1 };
    pith_context c = { .cache_k = "f32", .cache_v = "f32" };
    pith_model *m = pith_open(path, &opt, &error);
    pith_session *s = m ? pith_session_new(m, &c, &error) : NULL;
    int ok = s != NULL;
    for (int i = 0; i < n && ok; i++) {
        ok = pith_eval(s, ids + i, 1, &error) == PITH_OK;
        if (ok) memcpy(out + 512 * i, pith_logits(s), 512 * sizeof *out);
    }
    pith_session_free(s);
    pith_close(m);
    return ok;
}

TEST(fixtures_give_the_logits) {
    if (!fixture_shared("fixtures/llama-hf")) SKIP("no ../shared/fixtures");
    static float want[64 * 512], hf[64 * 512], gguf[64 * 512];
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        char path[200];
        pith_token ids[64];
        int n = 0;
        sprintf(path, "fixtures/%s.ids", families[i]);
        FILE *f = fopen(fixture_shared(path), "r");
        REQUIRE(f);
        while (n < 64 && fscanf(f, "%d%*[, \n]", &ids[n]) >= 1) n++;
        fclose(f);
        sprintf(path, "fixtures/%s.logits", families[i]);
        f = fopen(fixture_shared(path), "rb");
        REQUIRE(f);
        EQ(fread(want, 512 * sizeof *want, 64, f), n);
        fclose(f);
        sprintf(path, "fixtures/%s-hf", families[i]);
        if (!logits_of(fixture_shared(path), ids, n, hf)) FAIL("%s", error.text);
        sprintf(path, "fixtures/%s.gguf", families[i]);
        if (!logits_of(fixture_shared(path), ids, n, gguf)) FAIL("%s", error.text);
        double off = 0, all = 0;
        for (int k = 0; k < 512 * n; k++) {
            off += (hf[k] - (double)want[k]) * (hf[k] - (double)want[k]);
            all += (double)want[k] * want[k];
        }
        if (!(sqrt(off / all) < 1e-5)) FAIL("%s: relative error %g", families[i], sqrt(off / all));
        /* The llamas too, whose q and k are stored in another order here (rope_gather). */
        if (memcmp(hf, gguf, 512 * sizeof *hf * (size_t)n))
            FAIL("%s: not the bits of the GGUF file", families[i]);
    }
}

int main(void) {
    make_folder();
    RUN(a_folder_runs);
    RUN(headers_of_any_looks);
    RUN(names_without_a_model_and_behind_a_language_model);
    RUN(half_floats);
    RUN(shards);
    RUN(header_lengths);
    RUN(header_entries);
    RUN(each_weight_missing_or_of_another_shape);
    RUN(hundred_thousand_tensors);
    RUN(biases);
    RUN(fixtures_have_the_numbers_of_their_gguf);
    RUN(fixtures_give_the_logits);
    pith__store_free(&store);
    drop_folder();
    return DONE();
}
