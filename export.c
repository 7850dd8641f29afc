/* export.c - an adapter -> the files of peft and of llama.cpp.
 *
 * Here an adapter has a pair for each matrix of the model. Files have one for each module, which may be several
 * matrices: Phi 3's q, k and v are one, and llama.cpp's experts of a layer are a stack. Names and the order of rows
 * are those of the file that is written, whatever file the base is. */
#include "internal.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LORA_NAME = PITH__HF_NAME + 48 }; /* room for "base_model.model." and ".lora_A.weight" beside a name */

typedef struct {         /* a module of the file */
    char name[PITH__HF_NAME]; /* of its weight, in GGUF */
    const pith__weight *const *w; /* (n) the matrices of the base, one below the other */
    int n, stack;        /* stack: each has an A of its own, which lie in a stack as they do */
    int shared;          /* the matrices have one A together; else they have their own, one below the other */
    int r;               /* of the module */
    float scale;         /* of its delta, where that is the same for all parts: alpha / r */
} lora_module;

typedef struct {         /* an adapter on its way to a file */
    const pith_adapter *a;
    const pith__adapter_about *about;
    int gguf;            /* else PEFT */
    pith__arena arena;
    lora_module *module; /* (n) */
    size_t n, room;      /* those without a pair too: r is 0 */
    pith__tensor *tensor; /* (n_tensor) A and B of the others */
    size_t n_tensor;
} exporting;

/* ---- modules --------------------------------------------------------------------------------------- */

static const pith__pair *pair_of(const exporting *x, const pith__weight *w) { return x->a->pair + w->index; }

/* One A for all: so PEFT has it, and so an adapter of theirs is here after reading. */
static int share_a(const exporting *x, const lora_module *m) {
    const pith__pair *first = pair_of(x, m->w[0]);
    for (int i = 1; i < m->n; i++) {
        const pith__pair *p = pair_of(x, m->w[i]);
        if (p->r != first->r || p->scale < first->scale || p->scale > first->scale) return 0;
        if (p->a != first->a && memcmp(p->a, first->a, (size_t)p->r * m->w[0]->tensor.cols * sizeof *p->a)) return 0;
    }
    return first->r > 0;
}

/* The n matrices w become the module NAME. 0: no memory. */
static int add_module(exporting *x, const char *name, const pith__weight *const *w, int n, int stack) {
    if (x->n == x->room) {
        size_t room = 2 * x->room + 64;
        lora_module *more = pith__arena_new(&x->arena, room, sizeof *more);
        if (!more) return 0;
        if (x->n) memcpy(more, x->module, x->n * sizeof *more);
        x->module = more, x->room = room;
    }
    lora_module *m = &x->module[x->n++];
    *m = (lora_module){ .n = n, .stack = stack };
    snprintf(m->name, sizeof m->name, "%s", name);
    const pith__weight **own = pith__arena_new(&x->arena, (size_t)n, sizeof *own);
    if (!own) return 0;
    memcpy(own, w, (size_t)n * sizeof *own);
    m->w = own;
    m->shared = share_a(x, m);
    for (int i = 0; i < n; i++) {
        const pith__pair *p = pair_of(x, w[i]);
        if (p->r && m->scale == 0) m->scale = p->scale;
        if (stack ? p->r > m->r : p->r && (!m->shared || i == 0)) m->r = stack ? p->r : m->r + p->r;
    }
    x->n_tensor += m->r ? 2 : 0;
    return 1;
}

static int add_one(exporting *x, int l, const char *part, const pith__weight *w) {
    char name[PITH__HF_NAME];
    snprintf(name, sizeof name, "blk.%d.%s.weight", l, part);
    return !w->tensor.data || add_module(x, name, &w, 1, 0);
}

/* Experts: a stack in GGUF, modules of their own in PEFT. */
static int add_experts(exporting *x, int l, const char *part, size_t at) {
    const pith__ffn *f = x->a->model->layer[l].ffn;
    int n = x->a->model->hyper.n_expert, good = 1;
    char name[PITH__HF_NAME], of_one[32];
    const pith__weight **w = malloc((size_t)n * sizeof *w);
    if (!w) return 0;
    for (int e = 0; e < n; e++) w[e] = (const pith__weight *)(const void *)((const char *)&f[e] + at);
    snprintf(name, sizeof name, "blk.%d.%s_exps.weight", l, part);
    if (x->gguf) good = add_module(x, name, w, n, 1);
    for (int e = 0; e < n && good && !x->gguf; e++) {
        snprintf(of_one, sizeof of_one, "%s.%d", part, e);
        good = add_one(x, l, of_one, w[e]);
    }
    free(w);
    return good;
}

static int is_phi3(const pith_model *m) { return !strcmp(m->hyper.arch, "phi3"); }
static int is_granite4(const pith_model *m) { return !strcmp(m->hyper.arch, "granitehybrid"); }

static int same_tensor(const pith__weight *a, const pith__weight *b) {
    return a->tensor.data && !pith__str_cmp(a->tensor.name, b->tensor.name);
}

/* gate and up of a network, which files may have as one matrix: Granite 4's folders do, its GGUF files do not. */
static int add_gate_up(exporting *x, int l, const char *const part[2], const pith__ffn *f) {
    const pith__weight *both[] = { &f->gate, &f->up };
    char name[PITH__HF_NAME];
    int one = is_granite4(x->a->model) ? !x->gguf && f->gate.tensor.data : same_tensor(both[0], both[1]);
    snprintf(name, sizeof name, "blk.%d.%s.weight", l, part[1]);
    return one ? add_module(x, name, both, 2, 0) : add_one(x, l, part[0], both[0]) && add_one(x, l, part[1], both[1]);
}

static int add_state(exporting *x, int l) {
    const pith__layer *y = &x->a->model->layer[l];
    const pith__weight *w;
    const char *part;
    int good = 1;
    for (int i = 0; good && (w = pith__state_matrix(y, i, &part)) != NULL; i++) good = add_one(x, l, part, w);
    return good && add_one(x, l, "attn_gate", &y->gate) && add_one(x, l, "inp_gate", &y->ple_gate) && add_one(x, l, "proj", &y->ple_out);
}

static int add_layer(exporting *x, int l) {
    static const char *const dense[] = { "ffn_gate", "ffn_up" }, *const shared[] = { "ffn_gate_shexp", "ffn_up_shexp" };
    const pith__layer *y = &x->a->model->layer[l];
    const pith__weight *qkv[] = { &y->q, &y->k, &y->v };
    char name[PITH__HF_NAME];
    snprintf(name, sizeof name, "blk.%d.attn_qkv.weight", l);
    int one = is_phi3(x->a->model) || pith__hf_elder_of(x->a->model->hyper.arch);
    int fused = same_tensor(&y->q, &y->v) && (x->gguf || one); /* GGUF files may fuse others' too */
    int good = fused ? add_module(x, name, qkv, 3, 0)
                                         : add_one(x, l, "attn_q", &y->q) && add_one(x, l, "attn_k", &y->k) &&
                                               add_one(x, l, "attn_v", &y->v);
    good = good && add_one(x, l, "attn_output", &y->o) && add_one(x, l, "ffn_gate_inp", &y->router);
    good = good && add_state(x, l) && add_gate_up(x, l, shared, &y->shared) && add_one(x, l, "ffn_down_shexp", &y->shared.down) && add_one(x, l, "ffn_gate_inp_shexp", &y->shared_gate);
    if (y->router.tensor.data)
        return good && add_experts(x, l, "ffn_gate", offsetof(pith__ffn, gate)) &&
               add_experts(x, l, "ffn_up", offsetof(pith__ffn, up)) &&
               add_experts(x, l, "ffn_down", offsetof(pith__ffn, down));
    return good && add_gate_up(x, l, dense, y->ffn) && add_one(x, l, "ffn_down", &y->ffn->down);
}

/* ---- tensors --------------------------------------------------------------------------------------- */

/* A float tensor (rows, cols), or a stack of n of them, of zeros. NULL: no memory. */
static float *new_tensor(exporting *x, const char *name, size_t n, size_t rows, size_t cols) {
    pith__tensor *t = &x->tensor[x->n_tensor++];
    float *p = pith__arena_new(&x->arena, n * rows, cols * sizeof *p);
    char *copy = pith__arena_text(&x->arena, name, strlen(name));
    if (!p || !copy) return NULL;
    *t = (pith__tensor){ .name = pith__str_of(copy), .format = pith__format_of(PITH__F32), .n_dim = 2,
                         .shape = { rows, cols }, .rows = n * rows, .cols = cols, .data = (const uint8_t *)p,
                         .row_bytes = cols * sizeof *p };
    if (n == 1) return p;
    t->n_dim = 3, t->shape[0] = n, t->shape[1] = rows, t->shape[2] = cols;
    return p;
}

/* Whether transformers' class for the base has a tower beside the text model, which is then behind language_model. A GGUF file
 * does not say: these families come with one. Qwen3.5's class for text alone takes folders with a tower too. */
static int has_tower(const pith_model *base) {
    static const char *const with[] = { "gemma4", "mistral3", "llama4" };
    pith__str prefix = base->store.hf_prefix;
    int behind = 0;
    for (size_t i = 0; i < sizeof with / sizeof *with; i++) behind |= !base->store.is_folder && !strcmp(base->hyper.arch, with[i]);
    for (size_t i = 0; i + 15 <= prefix.n && base->store.is_folder; i++) behind |= !memcmp(prefix.p + i, "language_model.", 15);
    return behind && strncmp(base->hyper.arch, "qwen35", 6) != 0;
}

/* GGUF's tensor, or "model.layers.0.self_attn.q_proj", as Hugging Face's files have it, whatever the base is. */
static void module_name(const exporting *x, const lora_module *m, char *name) {
    const pith_model *base = x->a->model;
    pith__store s = { .is_folder = 1, .hf_style = pith__hf_arch_style(base->hyper.arch, base->hyper.n_expert > 0) };
    char room[PITH__HF_NAME];
    snprintf(name, PITH__HF_NAME, "%s", m->name);
    if (x->gguf) return;
    if (has_tower(base)) s.hf_prefix = pith__str_of("model.language_model.");
    snprintf(name, PITH__HF_NAME, "%s", pith__shown_name(&s, m->name, room));
    char *end = strstr(name, ".weight"), *gate = strstr(name, "self_attn.gate_proj");
    if (end) *end = 0;
    if (gate) strcpy(gate, "self_attn.g_proj"); /* LFM3's files have another name for it than transformers' module */
}

/* A and B of the module, whose delta is then scale B A. 0: no memory. */
static int fill_tensors(exporting *x, const lora_module *m, float scale) {
    if (!m->r) return 1;
    char module[PITH__HF_NAME], a_name[LORA_NAME], b_name[LORA_NAME];
    size_t cols = m->w[0]->tensor.cols, r = (size_t)m->r, n = m->stack ? (size_t)m->n : 1, rows = 0, k0 = 0, row0 = 0;
    for (int p = 0; p < m->n; p++) rows += m->w[p]->tensor.rows;
    module_name(x, m, module);
    const char *begin = x->gguf ? "" : "base_model.model.";
    snprintf(a_name, sizeof a_name, "%s%s.%s", begin, module, x->gguf ? "lora_a" : "lora_A.weight");
    snprintf(b_name, sizeof b_name, "%s%s.%s", begin, module, x->gguf ? "lora_b" : "lora_B.weight");
    float *a = new_tensor(x, a_name, n, r, cols), *b = new_tensor(x, b_name, n, rows / n, r);
    for (int p = 0; a && b && p < m->n; p++) {
        const pith__weight *w = m->w[p];
        const pith__pair *pair = pair_of(x, w);
        size_t n_k = (size_t)pair->r;
        float more = pair->scale / scale;
        if (m->stack) k0 = 0;
        float *to_a = a + (m->stack ? (size_t)p * r : k0) * cols;
        for (size_t i = 0; i < n_k * cols; i++)
            to_a[i / cols * cols + pith__column_where(x->a->model, w, !x->gguf, i % cols)] = pair->a[i];
        for (size_t q = 0; q < w->tensor.rows; q++) {
            float *to = b + pith__row_of_module(x->a->model, w, !x->gguf, row0, q) * r + k0;
            for (size_t k = 0; k < n_k; k++) to[k] = pair->b[k * w->tensor.rows + q] * more;
        }
        row0 += w->tensor.rows;
        if (!m->shared) k0 += n_k;
    }
    return a && b;
}

static int begin_export(exporting *x, pith_error *err) {
    const pith_model *m = x->a->model;
    int good = 1;
    const pith__weight *ple = &m->ple_proj;
    if (ple->tensor.data) good = add_module(x, "per_layer_model_proj.weight", &ple, 1, 0);
    for (int l = 0; l < m->hyper.n_layer && good; l++) good = add_layer(x, l);
    size_t n = x->n_tensor;
    x->n_tensor = 0;
    if (good) x->tensor = pith__arena_new(&x->arena, n + 1, sizeof *x->tensor); /* and a score head */
    if (!good || !x->tensor) return pith__fail(err, PITH_EMEMORY, "%s: no memory to write its adapter", m->store.path);
    return n ? PITH_OK : pith__fail(err, PITH_EARG, "%s: its adapter is empty", m->store.path);
}

/* The floats of the tensors, as they are. */
static pith__out *tensors_out(exporting *x) {
    pith__out *out = pith__arena_new(&x->arena, x->n_tensor, sizeof *out);
    for (size_t i = 0; out && i < x->n_tensor; i++)
        out[i] = (pith__out){ .tensor = &x->tensor[i], .to = x->tensor[i].format };
    return out;
}

static int no_memory_for_export(exporting *x, const char *path, pith_error *err) {
    pith__arena_free(&x->arena);
    return pith__fail(err, PITH_EMEMORY, "%s: no memory to write it", path);
}

/* ---- GGUF ------------------------------------------------------------------------------------------ */

static int add_adapter_keys(const exporting *x, pith__store *s, double alpha) {
    pith__str t = x->about->chat_template;
    char *template = pith__arena_text(&s->arena, t.p, t.n);
    return template && !pith__store_add_string(s, "general.architecture", x->a->model->hyper.arch) &&
           !pith__store_add_string(s, "general.type", "adapter") &&
           !pith__store_add_string(s, "adapter.type", "lora") &&
           !pith__store_add_float(s, "adapter.lora.alpha", alpha) &&
           (!t.n || !pith__store_add_string(s, "tokenizer.chat_template", template));
}

/* All modules have one alpha there, that of the first; where others had another one, B has the difference. */
PITH_SHARED int pith__adapter_write_gguf(const pith_adapter *a, const pith__adapter_about *about, const char *path,
                                         pith_error *err) {
    exporting x = { .a = a, .about = about, .gguf = 1 };
    pith__store s = { .path = path };
    if (a->score) return pith__fail(err, PITH_EARG, "%s: a GGUF adapter has no place for a score head", path);
    int code = begin_export(&x, err);
    if (code) return pith__arena_free(&x.arena), code;
    const lora_module *first = x.module;
    while (!first->r) first++;
    float alpha = (float)((double)first->scale * first->r);
    int good = add_adapter_keys(&x, &s, (double)alpha);
    for (lora_module *m = x.module; m < x.module + x.n && good; m++)
        good = fill_tensors(&x, m, (float)((double)alpha / m->r));
    pith__out *out = tensors_out(&x);
    code = good && out ? pith__store_sort(&s, err) : PITH_EMEMORY;
    if (!code) code = pith__gguf_put(&s, out, x.n_tensor, path, err);
    pith__arena_free(&s.arena);
    if (!good || !out) return no_memory_for_export(&x, path, err);
    pith__arena_free(&x.arena);
    return code;
}

/* ---- PEFT ------------------------------------------------------------------------------------------ */

/* peft makes gate_proj and up_proj of experts one module, of rank 2 r and 2 alpha; alpha / sqrt(r) would no longer be
 * the scale. So of a model that has experts alpha is said such that alpha / r is. */
static int says_rslora(const exporting *x) { return x->about->rslora && !x->a->model->hyper.n_expert; }

/* What gives the scale again when it is read: a number of few digits, as it was once asked for, if that does. */
static double peft_alpha(const exporting *x, const lora_module *m) {
    double r = (double)m->r, by = says_rslora(x) ? sqrt(r) / r : 1 / r, exact = (double)m->scale / by;
    float near = (float)exact, again = (float)((double)near * by);
    return memcmp(&again, &m->scale, sizeof again) ? exact : (double)near;
}

/* "q_proj" and so on, where all modules of that name have a pair; peft would make one for each of them, in a tower too, so else
 * come the whole names. */
static void name_targets(exporting *x, const char *const *module, pith__peft *p, const char **target) {
    enum { ENDS = 32 };
    struct { const char *name; int whole; } ends[ENDS];
    size_t n_end = 0;
    for (size_t i = 0; i < x->n; i++) {
        const char *end = strrchr(module[i], '.') + 1;
        size_t k = 0;
        while (k < n_end && strcmp(ends[k].name, end) != 0) k++;
        if (k == n_end && n_end < ENDS) ends[n_end].name = end, ends[n_end++].whole = 1;
        if (k < n_end && (!x->module[i].r || has_tower(x->a->model))) ends[k].whole = 0;
    }
    for (size_t k = 0; k < n_end; k++)
        if (ends[k].whole) target[p->n_target++] = ends[k].name;
    for (size_t i = 0; i < x->n; i++) {
        int named = !x->module[i].r;
        for (size_t k = 0; k < n_end && !named; k++)
            named = ends[k].whole && !strcmp(ends[k].name, strrchr(module[i], '.') + 1);
        if (!named) target[p->n_target++] = module[i];
    }
    p->target = target;
}

/* r and alpha are those of the module with the smallest r; others have patterns. */
static int describe_peft(exporting *x, pith__peft *p, char print[17]) {
    const char **module = pith__arena_new(&x->arena, x->n, sizeof *module);
    const char **target = pith__arena_new(&x->arena, x->n, sizeof *target);
    struct pith__peft_pattern *pattern = pith__arena_new(&x->arena, x->n, sizeof *pattern);
    if (!module || !target || !pattern) return 0;
    if (x->a->score) pith__base_print(x->a->model, print);
    *p = (pith__peft){ .transposed = pith__hf_elder_of(x->a->model->hyper.arch) == PITH__HF_GPT2, .print = x->a->score ? print : NULL, .base = x->about->base, .scores = x->a->score != NULL, .rslora = says_rslora(x), .dropout = x->about->dropout,
                       .chat_template = x->about->chat_template, .pattern = pattern };
    for (size_t i = 0; i < x->n; i++) {
        const lora_module *m = &x->module[i];
        char name[PITH__HF_NAME];
        module_name(x, m, name);
        if (!(module[i] = pith__arena_text(&x->arena, name, strlen(name)))) return 0;
        if (m->r && (!p->r || m->r < p->r)) p->r = m->r, p->alpha = peft_alpha(x, m);
        if (m->r) pattern[p->n_pattern++] = (struct pith__peft_pattern){ module[i], m->r, peft_alpha(x, m) };
    }
    name_targets(x, module, p, target);
    return 1;
}

static int fill_score(exporting *x) {
    size_t n = (size_t)x->a->model->hyper.n_embd;
    float *w = x->a->score ? new_tensor(x, "base_model.model." PITH__SCORE_HEAD, 1, 1, n) : NULL;
    if (w) memcpy(w, x->a->score, n * sizeof *w);
    return w || !x->a->score;
}

PITH_SHARED int pith__adapter_write_peft(const pith_adapter *a, const pith__adapter_about *about, const char *folder,
                                         pith_error *err) {
    exporting x = { .a = a, .about = about };
    pith__peft p;
    char print[17];
    int code = begin_export(&x, err);
    if (code) return pith__arena_free(&x.arena), code;
    int good = describe_peft(&x, &p, print);
    for (size_t i = 0; i < x.n && good; i++) good = fill_tensors(&x, &x.module[i], x.module[i].scale);
    good = good && fill_score(&x);
    pith__out *out = tensors_out(&x);
    if (!good || !out) return no_memory_for_export(&x, folder, err);
    code = pith__peft_write(&p, out, x.n_tensor, folder, err);
    pith__arena_free(&x.arena);
    return code;
}
