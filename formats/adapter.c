/* adapter.c - a LoRA on disk -> a store, told by its content: a PEFT folder or a GGUF file.
 *
 * The store has it as llama.cpp does: the matrices NAME.lora_a (r, in) and NAME.lora_b (out, r) for the tensor NAME of
 * the base, and adapter.lora.alpha; NAME gets alpha / r B A more. A PEFT folder may say alpha for each module, or divide
 * it by sqrt(r): such a tensor has a key of its own, pith.lora.alpha.NAME. A reward model (task SEQ_CLS) has beside its
 * LoRA the head that gives the score, here score.weight. What else a PEFT folder has beyond LoRA changes the result, so
 * it is refused by name.
 *     Hu et al. 2021, arXiv:2106.09685; Kalajdzievski 2023, arXiv:2312.03732 (rslora). */
#include "formats.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- adapter_config.json --------------------------------------------------------------------- */

typedef struct {
    pith__hf c;
    int r, rslora;
    int scores;          /* 1: of task SEQ_CLS */
    double alpha;
    pith__json rank_pattern, alpha_pattern, targets;
} peft;

/* Fields that are off in a plain LoRA: absent, null, false, 0 or empty. */
static const struct {
    const char *name, *need;
} peft_off[] = {
    { "use_dora", "false: DoRA is not built here" },
    { "use_qalora", "false: QALoRA is not built here" },
    { "use_bdlora", "false: BD-LoRA is not built here" },
    { "lora_bias", "false: biases in an adapter are not built here" },
    { "trainable_token_indices", "null: embeddings in an adapter are not built here" },
    { "target_parameters", "null: parameters that are no linear layers are not built here" },
    { "layer_replication", "null: layers that come twice are not built here" },
    { "alora_invocation_tokens", "null: aLoRA is not built here" },
    { "arrow_config", "null: Arrow is not built here" },
};

static int peft_empty(pith__json j) {
    pith__json it = j, key, value;
    char type = pith__json_type(j);
    double x;
    if (type == '[' || type == '{') return !pith__json_next(&it, type == '{' ? &key : NULL, &value);
    if (type == '0') return pith__json_float(j, &x) && x == 0;
    return !type || type == 'n' || type == 'f' || pith__json_is(j, "");
}

/* One of these names, or absent where that is as good as the first. */
static void peft_one_of(pith__hf *c, const char *name, const char *const *names, int required, const char *need) {
    pith__json j = pith__hf_get(c->at, name);
    int known = !pith__json_type(j) && !required;
    for (; *names; names++) known |= pith__json_is(j, *names);
    if (!known) pith__hf_wrong(c, j, PITH_EARCH, name, need);
}

/* Whole modules that were trained beside the LoRA: only a score head. peft lists both names that one may have. */
static void peft_saved(pith__hf *c, int scores) {
    pith__json list = pith__hf_get(c->at, "modules_to_save"), it = list, name;
    int known = scores && pith__json_type(list) == '[';
    if (peft_empty(list)) return;
    while (known && pith__json_next(&it, NULL, &name))
        known = pith__json_is(name, "score") || pith__json_is(name, "classifier");
    if (!known)
        pith__hf_wrong(c, list, PITH_EARCH, "modules_to_save",
                       scores ? "[\"score\"]: other whole modules in an adapter are not built here"
                              : "null: whole modules in an adapter are not built here");
}

static void peft_refuse(pith__hf *c) {
    static const char *const lora[] = { "LORA", NULL }, *const none[] = { "none", NULL };
    static const char *const tasks[] = { "CAUSAL_LM", "FEATURE_EXTRACTION", "SEQ_CLS", NULL };
    static const char *const starts[] = { "gaussian", "orthogonal", "eva", NULL };
    peft_one_of(c, "peft_type", lora, 1, "\"LORA\"");
    peft_one_of(c, "task_type", tasks, 0, "\"CAUSAL_LM\", or \"SEQ_CLS\" of a reward model");
    peft_one_of(c, "bias", none, 0, "\"none\": biases in an adapter are not built here");
    if (pith__json_type(pith__hf_get(c->at, "init_lora_weights")) == '"')
        peft_one_of(c, "init_lora_weights", starts, 1, "a start that leaves the base as it is");
    for (size_t i = 0; i < sizeof peft_off / sizeof *peft_off; i++) {
        pith__json j = pith__hf_get(c->at, peft_off[i].name);
        if (!peft_empty(j)) pith__hf_wrong(c, j, PITH_EARCH, peft_off[i].name, peft_off[i].need);
    }
}

/* Numbers by module. PEFT takes the names for regular expressions; here they are names. */
static pith__json peft_pattern(pith__hf *c, const char *name) {
    pith__json j = pith__hf_get(c->at, name), it = j, key, value;
    if (pith__json_type(j) && pith__json_type(j) != '{') pith__hf_wrong(c, j, PITH_EFORMAT, name, "an object");
    while (!c->code && pith__json_type(j) && pith__json_next(&it, &key, &value)) {
        pith__str s = { "", 0 };
        double x = 0;
        int ok = !pith__json_string(key, &c->f->s->arena, &s);
        for (size_t i = 0; i < s.n; i++) ok = ok && !strchr("*+?()[]{}|\\$", s.p[i]);
        if (!ok) pith__hf_wrong(c, key, PITH_EARCH, name, "names of modules, not regular expressions");
        if (!pith__json_float(value, &x) || !(x > 0))
            pith__hf_wrong(c, value, PITH_EFORMAT, name, "numbers over 0");
    }
    return j;
}

static int peft_config(pith__folder *f, peft *p) {
    *p = (peft){ .c = { .f = f } };
    pith__hf *c = &p->c;
    int code = pith__folder_json(f, "adapter_config.json", 1, &c->at, &c->path);
    if (code) return code;
    peft_refuse(c);
    p->scores = pith__json_is(pith__hf_get(c->at, "task_type"), "SEQ_CLS");
    peft_saved(c, p->scores);
    p->r = pith__hf_int(c, c->at, "r", 1, 0);
    p->alpha = pith__hf_positive(c, c->at, "lora_alpha", NAN);
    p->rslora = pith__hf_bool(c, c->at, "use_rslora", 0);
    p->rank_pattern = peft_pattern(c, "rank_pattern");
    p->alpha_pattern = peft_pattern(c, "alpha_pattern");
    p->targets = pith__hf_get(c->at, "target_modules");
    return c->code;
}

/* ---- names of modules ------------------------------------------------------------------------ */

/* Is the module "model.layers.0.self_attn.q_proj" meant by "q_proj", or by all of it? */
static int module_is(pith__str module, pith__str name) {
    int whole = name.n > 0 && *name.p == '^';
    if (whole) name.p++, name.n--;
    if (module.n < name.n || memcmp(module.p + module.n - name.n, name.p, name.n) != 0) return 0;
    return module.n == name.n || (!whole && module.p[module.n - name.n - 1] == '.');
}

static double module_number(peft *p, pith__json pattern, pith__str module, double otherwise) {
    pith__json it = pattern, key, value;
    while (pith__json_type(pattern) && pith__json_next(&it, &key, &value)) {
        pith__str name = { "", 0 };
        double x;
        if (pith__json_string(key, &p->c.f->s->arena, &name) || !module_is(module, name)) continue;
        return pith__json_float(value, &x) ? x : otherwise;
    }
    return otherwise;
}

static int is_target(peft *p, pith__str module) {
    pith__json it = p->targets, value;
    if (pith__json_type(p->targets) != '[') return 1; /* "all-linear", or a regular expression */
    while (pith__json_next(&it, NULL, &value)) {
        pith__str name = { "", 0 };
        if (!pith__json_string(value, &p->c.f->s->arena, &name) && module_is(module, name)) return 1;
    }
    return 0;
}

static int cut_end(pith__str *s, const char *end) {
    size_t n = strlen(end);
    if (s->n < n || memcmp(s->p + s->n - n, end, n) != 0) return 0;
    s->n -= n;
    return 1;
}

static void cut_begin(pith__str *s, const char *begin) {
    size_t n = strlen(begin);
    if (s->n >= n && !memcmp(s->p, begin, n)) s->p += n, s->n -= n;
}

/* The module of a tensor, and which of its two matrices it is: 'a' or 'b'; 0: neither. */
static char which_matrix(pith__str *s) {
    cut_begin(s, "base_model.model.");
    if (cut_end(s, ".lora_A.weight") || cut_end(s, ".lora_A.default.weight")) return 'a';
    return cut_end(s, ".lora_B.weight") || cut_end(s, ".lora_B.default.weight") ? 'b' : 0;
}

static int refuse_tensor(peft *p, const char *path, pith__str name) {
    static const char *const known[][2] = {
        { "lora_magnitude_vector", "DoRA is not built here" },
        { "lora_embedding_", "embeddings in an adapter are not built here" },
        { "embed_tokens", "embeddings in an adapter are not built here" },
        { ".bias", "biases in an adapter are not built here" },
        { "modules_to_save", "whole modules in an adapter are not built here" },
        { "lm_head", "an adapter of the output matrix is not built here" },
    };
    char text[160];
    const char *why = "is of no linear layer that is known here";
    snprintf(text, sizeof text, "%.*s", name.n < 120 ? (int)name.n : 120, name.p);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strstr(text, known[i][0])) {
            why = known[i][1];
            break;
        }
    return pith__fail(p->c.f->err, PITH_EARCH, "%s: tensor '%s': %s", path, text, why);
}

/* ---- a PEFT folder --------------------------------------------------------------------------- */

/* A name as the base's folder would have it decides which style it is of; see hfnames.c. */
static int style_of(pith__str module) {
    static const struct { const char *part; int style; } known[] = {
        { "gate_up_proj", PITH__HF_FUSED }, { "block_sparse_moe", PITH__HF_MIXTRAL }, { ".attn.c_", PITH__HF_GPT2 },
        { ".mlp.c_", PITH__HF_GPT2 }, { ".query_key_value", PITH__HF_NEOX }, { ".attention.dense", PITH__HF_NEOX },
        { ".mlp.dense_", PITH__HF_NEOX }, { "encoder.layer.", PITH__HF_BERT }, { "encoder.layers.", PITH__HF_NOMIC },
        { ".attention.attn.", PITH__HF_MPNET }, { ".attn.W", PITH__HF_MODERN }, { ".mlp.W", PITH__HF_MODERN },
        { "transformer.layer.", PITH__HF_DISTIL }, { "per_layer_", PITH__HF_GEMMA4 },
        { ".linear_attn.", PITH__HF_DELTA }, { ".mamba.", PITH__HF_GRANITE4 }, { ".shared_mlp.", PITH__HF_GRANITE4 },
        { ".conv.in_proj", PITH__HF_LFM }, { ".conv.out_proj", PITH__HF_LFM }, { ".feed_forward.w", PITH__HF_LFM },
        { ".feed_forward.experts.", PITH__HF_LFM }, { ".self_attn.gate_proj", PITH__HF_LFM }, { ".self_attn.g_proj", PITH__HF_LFM },
        { ".self_attn.out_proj", PITH__HF_LFM | PITH__HF_LFM2 }, { ".feed_forward.shared_expert.", PITH__HF_LLAMA4 },
        { ".feed_forward.router", PITH__HF_LLAMA4 }, { ".feed_forward.gate_proj", PITH__HF_LLAMA4 },
        { ".feed_forward.up_proj", PITH__HF_LLAMA4 }, { ".feed_forward.down_proj", PITH__HF_LLAMA4 },
        { ".mlp.shared_experts.", PITH__HF_SHARED }, { ".mlp.fc", PITH__HF_FC }, { ".mlp.router", PITH__HF_GPTOSS },
    };
    char text[PITH__HF_NAME];
    snprintf(text, sizeof text, "%.*s", module.n < sizeof text ? (int)module.n : 0, module.p);
    int style = 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) style |= strstr(text, known[i].part) ? known[i].style : 0;
    return style;
}

static int peft_no_memory(peft *p) { return pith__fail(p->c.f->err, PITH_EMEMORY, "%s: no memory", p->c.f->dir); }

/* The tensor of a score head: of "score", or "classifier", as it is or as peft wraps it. */
static int is_score(const peft *p, pith__str name) {
    cut_begin(&name, "base_model.model.");
    if (!p->scores || !cut_end(&name, ".weight")) return 0;
    if (!cut_end(&name, ".modules_to_save.default")) cut_end(&name, ".modules_to_save");
    return pith__str_is(name, "score") || pith__str_is(name, "classifier");
}

/* t becomes NAME.lora_a or .lora_b, and NAME has its alpha if that is not everybody's; or the score head. */
static int rename_tensor(peft *p, const char *path, pith__tensor *t, int *n_target) {
    pith__store *s = p->c.f->s;
    pith__str module = t->name;
    char matrix = which_matrix(&module), weight[PITH__HF_NAME], gguf[PITH__HF_NAME], name[2 * PITH__HF_NAME];
    int n = snprintf(weight, sizeof weight, "%.*s.weight", module.n < sizeof weight ? (int)module.n : 0, module.p);
    s->hf_style |= style_of(module);
    int elder = (s->hf_style & PITH__HF_ELDERS) != 0;
    if (elder) s->hf_prefix.p = NULL; /* as the names have it */
    if (is_score(p, t->name)) return t->name = pith__str_of(PITH__SCORE_HEAD), PITH_OK;
    if (!matrix || n >= (int)sizeof weight || !pith__hf_to_gguf(p->c.f, pith__str_of(weight), gguf) ||
        (strncmp(gguf, "blk.", 4) != 0 && strcmp(gguf, "per_layer_model_proj.weight") != 0))
        return refuse_tensor(p, path, t->name);
    if (elder) s->hf_prefix.p = module.p; /* not weight's */
    *n_target += is_target(p, module);
    double r = module_number(p, p->rank_pattern, module, p->r);
    double alpha = module_number(p, p->alpha_pattern, module, p->alpha);
    size_t rank = matrix == 'a' ? t->rows : t->cols;
    if ((double)rank != r)
        return pith__fail(p->c.f->err, PITH_EFORMAT, "%s: '%.*s' is %zu x %zu, need rank %g as adapter_config.json"
                          " has it", path, t->name.n < 100 ? (int)t->name.n : 100, t->name.p, t->rows, t->cols, r);
    if (p->rslora) alpha *= sqrt(r);
    snprintf(name, sizeof name, "pith.lora.alpha.%s", gguf);
    if (matrix == 'a' && alpha != p->alpha && pith__store_add_float(s, name, alpha)) return peft_no_memory(p);
    n = snprintf(name, sizeof name, "%s.lora_%c", gguf, matrix);
    char *copy = pith__arena_text(&s->arena, name, (size_t)n);
    if (!copy) return peft_no_memory(p);
    t->name = pith__str_of(copy);
    return PITH_OK;
}

/* The template that it was taught with, where the folder says. */
static int peft_template(pith__folder *f) {
    pith__json at;
    const pith__file *jinja = NULL;
    const char *path = pith__folder_path(f, pith__str_of("chat_template.jinja"));
    pith__str *to = &f->s->vocab.chat_template;
    int code = path ? pith__folder_open(f, path, 0, &jinja) : PITH_EMEMORY;
    if (jinja) *to = (pith__str){ (const char *)jinja->data, jinja->size };
    if (code || jinja) return code;
    code = pith__folder_json(f, "tokenizer_config.json", 0, &at, &path);
    if (code || !pith__json_type(at)) return code;
    return pith__json_string(pith__json_get(at, "chat_template"), &f->s->arena, to) == PITH_EMEMORY ? PITH_EMEMORY : PITH_OK;
}

static int has_score(const pith__store *s) { /* not sorted yet */
    size_t i = 0;
    while (i < s->n_tensor && !pith__str_is(s->tensor[i].name, PITH__SCORE_HEAD)) i++;
    return i < s->n_tensor;
}

static int read_peft(pith__store *s, int no_mmap, pith_error *err) {
    pith__folder f = { .s = s, .dir = s->path, .no_mmap = no_mmap, .err = err };
    peft p;
    const pith__file *file;
    int n_target = 0, code = peft_config(&f, &p);
    const char *path = code ? NULL : pith__folder_path(&f, pith__str_of("adapter_model.safetensors"));
    if (code || !path) return code ? code : PITH_EMEMORY;
    if (!pith__path_kind(path) && pith__folder_has(f.dir, "adapter_model.bin"))
        return pith__fail(err, PITH_EARCH, "%s: the weights are in adapter_model.bin, a pickle, which can run code and"
                          " is not read here: need adapter_model.safetensors", f.dir);
    code = pith__folder_open(&f, path, 1, &file);
    if (!code) code = pith__safetensors_read(s, file, path, err);
    s->qk_halves = s->is_folder = 1;
    s->hf_prefix = pith__str_of("model.");
    for (size_t i = 0; i < s->n_tensor && !code; i++) code = rename_tensor(&p, path, &s->tensor[i], &n_target);
    pith__json transposed = pith__hf_get(p.c.at, "fan_in_fan_out");
    if (!code && !peft_empty(transposed) && !(s->hf_style & PITH__HF_GPT2)) /* A and B are the same with or without */
        code = pith__json_fail(transposed, PITH_EARCH, p.c.path, "fan_in_fan_out",
                               "false: of these, only GPT-2's weights lie transposed", err);
    if (!code && p.scores && !has_score(s))
        code = pith__fail(err, PITH_EFORMAT, "%s: no tensor 'base_model.model.score.weight', which task_type SEQ_CLS needs",
                          path);
    if (!code && !n_target)
        code = pith__json_fail(p.targets, PITH_EFORMAT, p.c.path, "target_modules", "modules that have tensors", err);
    if (!code && (code = peft_template(&f)) == PITH_EMEMORY) peft_no_memory(&p);
    if (!code && pith__store_add_float(s, "adapter.lora.alpha", p.alpha)) code = peft_no_memory(&p);
    return code ? code : pith__store_sort(s, err);
}

/* ---- a GGUF file ----------------------------------------------------------------------------- */

static int adapter_key(const pith__store *s, const char *name, const char *need, pith_error *err) {
    const pith__key *k = pith__store_key(s, name);
    if (k && k->type == PITH__STRING && pith__str_is(k->s, need)) return PITH_OK;
    int text = k && k->type == PITH__STRING && k->s.n < 40;
    return pith__fail(err, PITH_EARCH, "%s: key '%s' is %.*s, need %s", s->path, name, text ? (int)k->s.n : 4,
                      text ? k->s.p : k ? "else" : "none", need);
}

static int read_gguf_adapter(pith__store *s, int no_mmap, pith_error *err) {
    s->file = pith__arena_new(&s->arena, 2, sizeof *s->file);
    if (!s->file) return pith__fail(err, PITH_EMEMORY, "%s: no memory", s->path);
    int code = pith__file_open(s->file, s->path, no_mmap, err);
    if (code) return code;
    s->n_file = 1;
    code = pith__check_content(s->file, s->path, err);
    if (!code && !pith__gguf_is(s->file))
        code = pith__fail(err, PITH_EFORMAT, "%s: is no adapter: need a GGUF file or a PEFT folder, with"
                          " adapter_config.json", s->path);
    if (!code) code = pith__gguf_read(s, no_mmap, err);
    if (!code) code = adapter_key(s, "general.type", "adapter", err);
    if (!code) code = adapter_key(s, "adapter.type", "lora", err);
    if (!code && pith__store_key(s, "adapter.alora.invocation_tokens"))
        code = pith__fail(err, PITH_EARCH, "%s: key 'adapter.alora.invocation_tokens': aLoRA is not built here", s->path);
    const pith__key *template = code ? NULL : pith__store_key(s, "tokenizer.chat_template");
    if (template && template->type == PITH__STRING) s->vocab.chat_template = template->s;
    return code;
}

/* ---- both ------------------------------------------------------------------------------------ */

PITH_SHARED int pith__adapter_read(pith__store *s, const char *path, int no_mmap, pith_error *err) {
    memset(s, 0, sizeof *s);
    s->holds = PITH__ADAPTER;
    s->path = pith__arena_text(&s->arena, path, strlen(path));
    if (!s->path) return pith__fail(err, PITH_EMEMORY, "%s: no memory", path);
    int folder = pith__path_kind(path) == 'd', code;
    if (folder) code = read_peft(s, no_mmap, err);
    else code = read_gguf_adapter(s, no_mmap, err);
    if (code) pith__store_free(s);
    return code;
}
