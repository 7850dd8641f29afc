/* sentence.c - a folder of sentence-transformers: how the vectors of its texts are made.
 *
 * modules.json lists steps: a Transformer, a Pooling, perhaps Dense matrices, perhaps Normalize. Each has a folder of
 * its own with a config.json. They become keys and tensors of the store; pooling.c uses them. The paths of the types
 * differ from version to version (sentence_transformers.models.Pooling), so their last word counts. */
#include "formats.h"

#include <stdio.h>
#include <string.h>

typedef pith__sentence sentence;

static void sentence_wrong(sentence *k, pith__json j, int code, const char *name, const char *need) {
    if (!k->code) k->code = pith__json_fail(j, code, k->path, name, need, k->f.err);
}

static void sentence_added(sentence *k, int code) {
    if (code && !k->code) k->code = pith__fail(k->f.err, code, "%s: no memory", k->path);
}

static void sentence_int(sentence *k, const char *name, int64_t i) {
    if (!k->code) sentence_added(k, pith__store_add_int(k->f.s, name, i));
}

static int sentence_true(sentence *k, pith__json object, const char *name, int otherwise) {
    pith__json j = pith__hf_get(object, name);
    char type = pith__json_type(j);
    if (type && type != 't' && type != 'f') sentence_wrong(k, j, PITH_EFORMAT, name, "true or false");
    return type ? type == 't' : otherwise;
}

/* The word behind the last point of a string; no bytes: it is none. */
static pith__str sentence_last_word(sentence *k, pith__json j) {
    pith__str s = { "", 0 };
    if (pith__json_type(j) != '"' || pith__json_string(j, &k->f.s->arena, &s)) return s;
    for (size_t i = s.n; i > 0; i--)
        if (s.p[i - 1] == '.') return (pith__str){ s.p + i, s.n - i };
    return s;
}

/* 1: it is the name of a folder in the folder; else that is an error. */
static int sentence_is_folder(sentence *k, pith__str folder) {
    if (k->code) return 0;
    if (folder.n > 0 && folder.n <= 100 && folder.p[0] != '.' && !memchr(folder.p, '/', folder.n) &&
        !memchr(folder.p, '\\', folder.n) && !memchr(folder.p, 0, folder.n))
        return 1;
    k->code = pith__fail(k->f.err, PITH_EFORMAT, "%s: path of step %d is '%.*s', need the name of a folder", k->path, k->number,
                         folder.n > 100 ? 100 : (int)folder.n, folder.p);
    return 0;
}

/* config.json of a step, which is in a folder of the folder. */
static pith__json sentence_config(sentence *k, pith__str folder) {
    pith__json j = { NULL, NULL };
    char name[160];
    if (!sentence_is_folder(k, folder)) return j;
    snprintf(name, sizeof name, "%.*s/config.json", (int)folder.n, folder.p);
    k->code = pith__folder_json(&k->f, name, 1, &j, &k->path);
    return j;
}

/* ---- pooling ---------------------------------------------------------------------------------------- */

static const struct {
    const char *mode, *flag, *gguf; /* today's name; of older files; the number that GGUF has for it */
} sentence_modes[] = { /* as bits 1, 2, 4, ... are in model.h */
    { "cls", "pooling_mode_cls_token", "2" },
    { "max", "pooling_mode_max_tokens", NULL },
    { "mean", "pooling_mode_mean_tokens", "1" },
    { "mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens", NULL },
    { "weightedmean", "pooling_mode_weightedmean_tokens", NULL },
    { "lasttoken", "pooling_mode_lasttoken", "3" },
};
enum { SENTENCE_MODES = sizeof sentence_modes / sizeof *sentence_modes };

/* The bit of a mode; 0: it is none, or comes before one that it should follow. */
static unsigned sentence_mode(sentence *k, pith__json mode, unsigned before) {
    for (int i = 0; i < SENTENCE_MODES; i++)
        if (pith__json_is(mode, sentence_modes[i].mode) && !(before >> i)) return 1u << i;
    sentence_wrong(k, mode, PITH_EARCH, "pooling_mode",
                   "one or several in this order of: cls max mean mean_sqrt_len_tokens weightedmean lasttoken");
    return 0;
}

static void sentence_pooling(sentence *k, pith__str folder) {
    pith__json at = sentence_config(k, folder), mode = pith__hf_get(at, "pooling_mode"), item;
    unsigned modes = 0;
    if (pith__json_type(mode) == '[')
        while (pith__json_next(&mode, NULL, &item)) modes |= sentence_mode(k, item, modes);
    else if (pith__json_type(mode)) modes = sentence_mode(k, mode, 0);
    else
        for (int i = 0; i < SENTENCE_MODES; i++)
            modes |= sentence_true(k, at, sentence_modes[i].flag, 0) ? 1u << i : 0;
    if (!modes) modes = 4; /* none is on: mean */
    sentence_int(k, "pith.pooling", modes);
    for (int i = 0; i < SENTENCE_MODES; i++) {
        char name[96];
        snprintf(name, sizeof name, "%s.pooling_type", k->arch);
        if (modes == 1u << i && sentence_modes[i].gguf) sentence_int(k, name, sentence_modes[i].gguf[0] - '0');
    }
    if (!sentence_true(k, at, "include_prompt", 1)) sentence_int(k, "pith.skip_prompt", 1);
    k->pooled++;
}

/* ---- Dense ------------------------------------------------------------------------------------------ */

static void sentence_rename(sentence *k, pith__tensor *t, const char *end) {
    char name[32];
    snprintf(name, sizeof name, "dense_%d.%s", k->number, end);
    char *copy = pith__arena_text(&k->f.s->arena, name, strlen(name));
    if (!copy) sentence_added(k, PITH_EMEMORY);
    t->name = (pith__str){ copy, copy ? strlen(name) : 0 };
}

/* Its matrix and its bias, as "dense_2.weight" and "dense_2.bias": GGUF's names. */
static void sentence_weights(sentence *k, pith__str folder, int bias) {
    pith__store *s = k->f.s;
    size_t first = s->n_tensor, n = bias ? 2 : 1;
    const pith__file *file;
    char name[160];
    int found = 0;
    snprintf(name, sizeof name, "%.*s/model.safetensors", (int)folder.n, folder.p);
    k->path = k->code ? NULL : pith__folder_path(&k->f, pith__str_of(name));
    if (!k->path) {
        if (!k->code) k->code = PITH_EMEMORY;
        return;
    }
    k->code = pith__folder_open(&k->f, k->path, 1, &file);
    if (!k->code) k->code = pith__safetensors_read(s, file, k->path, k->f.err);
    for (size_t i = first; i < s->n_tensor && !k->code; i++) {
        int weight = pith__str_is(s->tensor[i].name, "linear.weight"), other = pith__str_is(s->tensor[i].name, "linear.bias");
        found += weight ? 2 : other;
        if (weight || other) sentence_rename(k, &s->tensor[i], weight ? "weight" : "bias");
    }
    if (!k->code && (found != (bias ? 3 : 2) || s->n_tensor != first + n))
        k->code = pith__fail(k->f.err, PITH_EFORMAT, "%s: need linear.weight%s and nothing else, as config.json beside it"
                             " says", k->path, bias ? ", linear.bias" : "");
}

static void sentence_dense(sentence *k, pith__str folder) {
    pith__json at = sentence_config(k, folder), act = pith__json_get(at, "activation_function");
    const char *const other[] = { "module_input_name", "module_output_name" };
    pith__str word = sentence_last_word(k, act);
    int tanh = !pith__json_type(act) || pith__str_is(word, "Tanh"), bias = sentence_true(k, at, "bias", 1);
    if (!tanh && !pith__str_is(word, "Identity") && pith__json_type(act) != 'n')
        sentence_wrong(k, act, PITH_EARCH, "activation_function", "Identity or Tanh");
    if (sentence_true(k, at, "use_residual", 0))
        sentence_wrong(k, pith__hf_get(at, "use_residual"), PITH_EARCH, "use_residual", "false");
    for (int i = 0; i < 2; i++) {
        pith__json j = pith__hf_get(at, other[i]);
        if (pith__json_type(j) && !pith__json_is(j, "sentence_embedding"))
            sentence_wrong(k, j, PITH_EARCH, other[i], "sentence_embedding");
    }
    sentence_weights(k, folder, bias);
    if (k->code) return;
    char name[96];
    const pith__tensor *w = &k->f.s->tensor[k->f.s->n_tensor - 1]; /* they are sorted by name */
    snprintf(name, sizeof name, "pith.dense_%d.tanh", k->number);
    if (tanh) sentence_int(k, name, 1);
    snprintf(name, sizeof name, "%s.dense_%d_feat_in", k->arch, k->number);
    sentence_int(k, name, (int64_t)w->cols);
    snprintf(name, sizeof name, "%s.dense_%d_feat_out", k->arch, k->number);
    sentence_int(k, name, (int64_t)w->rows);
}

/* ---- all of it -------------------------------------------------------------------------------------- */

static void sentence_step(sentence *k, pith__json step) {
    static const char known[] = "one of, in this order: Transformer Pooling Dense Normalize";
    pith__json type = pith__json_get(step, "type"), path = pith__json_get(step, "path");
    pith__str word = sentence_last_word(k, type), folder = { "", 0 };
    const char *modules = k->path;
    int first = k->number == 0, transformer = pith__str_is(word, "Transformer");
    if (pith__json_type(path) == '"') sentence_added(k, pith__json_string(path, &k->f.s->arena, &folder));
    if (first != transformer) sentence_wrong(k, type, PITH_EARCH, "type", known);
    if (first && folder.n && sentence_is_folder(k, folder)) { /* as folders of 2019 have it: "0_BERT" */
        const char *model = pith__folder_path(&k->f, folder);
        k->model = model ? model : k->model;
        if (!model) k->code = PITH_EMEMORY;
    }
    if (first || pith__str_is(word, "Dropout")) return;
    if (pith__str_is(word, "Normalize")) k->normalized = 1;
    else if (pith__str_is(word, "Pooling") && k->number == 1) sentence_pooling(k, folder);
    else if (pith__str_is(word, "Dense") && k->pooled && !k->normalized) sentence_dense(k, folder);
    else sentence_wrong(k, type, PITH_EARCH, "type", known);
    k->path = modules;
}

/* How many tokens a text has at most, where that is less than the model has positions. tokenizer_config.json often says
 * a number that stands for none. And whether capitals become small letters first, whatever the vocabulary does. */
static void sentence_limit(sentence *k) {
    static const char *const files[][2] = { { "sentence_bert_config.json", "max_seq_length" },
                                            { "tokenizer_config.json", "model_max_length" } };
    for (int i = 0; i < 2 && !k->code; i++) {
        pith__json at;
        double limit = 0;
        k->code = pith__folder_json(&k->f, files[i][0], 0, &at, &k->path);
        pith__json said = pith__hf_get(at, files[i][1]);
        if (!k->code && i == 0 && sentence_true(k, at, "do_lower_case", 0)) sentence_int(k, "pith.lower_text", 1);
        if (k->code || !pith__json_type(said)) continue;
        int is = pith__json_float(said, &limit) && limit >= 1;
        if (!is && i == 0) sentence_wrong(k, said, PITH_EFORMAT, files[i][1], "a number over 0");
        if (is && limit < INT32_MAX) sentence_int(k, "pith.text_limit", (int64_t)limit);
        return;
    }
}

/* How two vectors are compared: the cosine, unless it says another way. */
static void sentence_similarity(sentence *k, pith__json at) {
    pith__json name = pith__hf_get(at, "similarity_fn_name");
    pith__str s;
    if (!pith__json_type(name)) return;
    if (pith__json_string(name, &k->f.s->arena, &s) || s.n > 20) {
        sentence_wrong(k, name, PITH_EFORMAT, "similarity_fn_name", "cosine, dot, euclidean or manhattan");
        return;
    }
    char *copy = pith__arena_text(&k->f.s->arena, s.p, s.n);
    sentence_added(k, copy ? pith__store_add_string(k->f.s, "pith.similarity", copy) : PITH_EMEMORY);
}

static void sentence_prompts(sentence *k) {
    pith__json at, name, text;
    if (!k->code) k->code = pith__folder_json(&k->f, "config_sentence_transformers.json", 0, &at, &k->path);
    if (k->code || !pith__json_type(at)) return;
    sentence_similarity(k, at);
    pith__json it = pith__hf_get(at, "prompts"), usual = pith__hf_get(at, "default_prompt_name");
    pith__str s, key;
    char full[160];
    while (pith__json_next(&it, &name, &text) && !k->code) {
        if (pith__json_string(name, &k->f.s->arena, &key) || pith__json_string(text, &k->f.s->arena, &s) || key.n > 100) {
            sentence_wrong(k, text, PITH_EFORMAT, "a prompt", "a short name and a text");
            return;
        }
        char *copy = pith__arena_text(&k->f.s->arena, s.p, s.n);
        snprintf(full, sizeof full, "pith.prompt.%.*s", (int)key.n, key.p);
        sentence_added(k, copy ? pith__store_add_string(k->f.s, full, copy) : PITH_EMEMORY);
    }
    if (!pith__json_type(usual) || k->code) return;
    if (pith__json_string(usual, &k->f.s->arena, &s) || s.n > 100) {
        sentence_wrong(k, usual, PITH_EFORMAT, "default_prompt_name", "the name of a prompt");
        return;
    }
    snprintf(full, sizeof full, "%.*s", (int)s.n, s.p);
    sentence_added(k, pith__store_add_string(k->f.s, "pith.default_prompt", full));
}

PITH_SHARED int pith__sentence_open(pith__sentence *k, pith__store *s, int no_mmap, pith_error *err) {
    pith__json step;
    pith__str name;
    *k = (sentence){ .f = { .s = s, .dir = s->path, .no_mmap = no_mmap, .err = err }, .model = s->path };
    k->code = pith__path_kind(s->path) == 'd' ? PITH_OK : pith__folder_split(&k->f, s->path, &name);
    if (!k->code) k->code = pith__folder_array(&k->f, "modules.json", &k->steps, &k->path);
    if (!k->code && pith__json_next(&k->steps, NULL, &step)) {
        sentence_step(k, step);
        k->number++;
    }
    return k->code;
}

PITH_SHARED int pith__sentence_read(pith__sentence *k) {
    enum { STEPS = 16 };
    pith__store *s = k->f.s;
    pith__json step;
    for (size_t i = 0; i < s->n_key; i++)
        if (pith__str_is(s->key[i].name, "general.architecture")) k->arch = s->key[i].s.p;
    for (; pith__json_next(&k->steps, NULL, &step) && !k->code; k->number++) {
        if (k->number == STEPS) sentence_wrong(k, step, PITH_EARCH, "step 16", "no more than 16");
        sentence_step(k, step);
    }
    if (k->pooled) sentence_int(k, "pith.normalize", k->normalized);
    sentence_prompts(k);
    if (strcmp(k->model, s->path) != 0) k->f.dir = k->model; /* these are of the Transformer */
    sentence_limit(k);
    return k->code;
}
