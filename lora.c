/* lora.c - adapters: a LoRA is read for a model, and added to its products.
 *
 * Fine-tuning that leaves the model as it is: a matrix W (rows, cols) gets s B A more, where B (rows, r) and
 * A (r, cols) have a rank r of 4 to 64, and s is alpha / r. The sum is never formed: y = W x + s B (A x), so W may have
 * any number format, and each session of a mapped model may have other adapters (session.c), or none.
 *     Hu et al. 2021, arXiv:2106.09685. */
#include "internal.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- y += s B (A x) -------------------------------------------------------------------------------- */

enum { FEW_TOKENS = 8, SOME_TOKENS = 48, SOME_COLUMNS = 512 }; /* what a task takes */

PITH_SHARED void pith__drop(const pith__low_rank *j, size_t t, float *y, const float *x) {
    uint64_t seed = pith__random_at(j->seed, t), four = 0;
    uint32_t least = (uint32_t)lrintf(j->dropout * 0x1p16f);
    float more = 1 / (1 - j->dropout);
    for (size_t i = 0; i < j->cols; i++, four >>= 16) {
        if (i % 4 == 0) four = pith__random_at(seed, i / 4);
        y[i] = (uint16_t)four < least ? 0 : x[i] * more;
    }
}

static void to_low(const void *data, size_t i, uint8_t *scratch) {
    const pith__low_rank *j = data;
    size_t t = i * FEW_TOKENS, n = j->n - t < FEW_TOKENS ? j->n - t : FEW_TOKENS;
    pith__tensor m = { .format = pith__format_of(PITH__F32), .rows = j->n_k, .cols = j->cols,
                       .data = (const uint8_t *)j->m, .row_bytes = j->cols * sizeof *j->m };
    pith__input in = { .x = j->x + t * j->cols, .n = (int)n, .cols = j->cols };
    pith__product p = { j->low + t * j->n_k, j->n_k, &m, &in };
    if (j->dropout > 0) {
        for (size_t k = t; k < t + n; k++) pith__drop(j, k, j->dropped + k * j->cols, j->x + k * j->cols);
        in.x = j->dropped + t * j->cols;
    }
    j->kernels->matmul(&p, 0, j->n_k, scratch);
    for (size_t k = t * j->n_k; k < (t + n) * j->n_k; k++) j->low[k] *= j->scale;
}

static void from_low(const void *data, size_t i, uint8_t *scratch) {
    (void)scratch;
    const pith__low_rank *j = data;
    size_t wide = (j->cols + SOME_COLUMNS - 1) / SOME_COLUMNS, t = i / wide * SOME_TOKENS, c = i % wide * SOME_COLUMNS;
    pith__outer o = { .y = j->y + t * j->cols + c, .y_row = j->cols, .a = j->low + t * j->n_k, .a_row = j->n_k, .a_col = 1,
                      .b = j->m + c, .b_row = j->cols, .n_k = j->n_k, .add = 1 };
    o.m = j->n - t < SOME_TOKENS ? j->n - t : SOME_TOKENS;
    o.n = j->cols - c < SOME_COLUMNS ? j->cols - c : SOME_COLUMNS;
    j->kernels->outer(&o);
}

PITH_SHARED void pith__to_low(const pith__low_rank *j) {
    size_t n_task = (j->n + FEW_TOKENS - 1) / FEW_TOKENS;
    pith__share(j->team, n_task, pith__worth_it(j->n * j->n_k * j->cols), to_low, j);
}

PITH_SHARED void pith__from_low(const pith__low_rank *j) {
    size_t n_task = (j->n + SOME_TOKENS - 1) / SOME_TOKENS * ((j->cols + SOME_COLUMNS - 1) / SOME_COLUMNS);
    pith__share(j->team, n_task, pith__worth_it(j->n * j->n_k * j->cols), from_low, j);
}

PITH_SHARED pith__low_rank pith__low_rank_of(const pith_pass *p, const pith__adapted *by, int i, const pith__weight *w) {
    return (pith__low_rank){ .kernels = p->kernels, .team = &p->team, .low = p->low, .dropped = p->dropped,
                             .scale = by->of[i].adapter->pair[w->index].scale * by->of[i].scale,
                             .dropout = by->dropout, .seed = pith__random_at(by->seed, (uint64_t)w->index) };
}

PITH_SHARED void pith__adapt(const pith_pass *p, const pith__adapted *by, float *y, const pith__weight *w, const float *x,
                             int n) {
    for (int i = 0; i < by->n && !by->merged; i++) {
        const pith__pair *pair = by->of[i].adapter->pair + w->index;
        pith__low_rank a = pith__low_rank_of(p, by, i, w), b = a;
        a.n = b.n = (size_t)n, a.x = x, b.y = y;
        a.cols = w->tensor.cols, b.cols = w->tensor.rows;
        for (size_t k = 0, r = (size_t)pair->r; k < r; k += a.n_k) {
            a.n_k = b.n_k = r - k < PITH__LOW ? r - k : PITH__LOW;
            a.m = pair->a + k * a.cols, b.m = pair->b + k * b.cols;
            pith__to_low(&a);
            pith__from_low(&b);
        }
    }
}

PITH_SHARED int pith__same_adapters(const pith__adapted *a, const pith__adapted *b) {
    int same = a->n == b->n;
    for (int i = 0; i < a->n && same; i++)
        same = a->of[i].adapter == b->of[i].adapter && a->of[i].scale == b->of[i].scale;
    return same;
}

PITH_SHARED uint64_t pith__hash_adapters(const pith_model *m, const pith__adapted *by) {
    uint64_t x = 0;
    for (int i = 0; i < by->n; i++) {
        x = pith__hash(x + 1, &by->of[i].scale, sizeof by->of[i].scale);
        for (const pith__weight *w = m->weights; w; w = w->next) {
            const pith__pair *p = by->of[i].adapter->pair + w->index;
            if (!p->r) continue;
            const float head[] = { (float)w->index, (float)p->r, p->scale };
            x = pith__hash(x, head, sizeof head);
            x = pith__hash(x, p->a, (size_t)p->r * w->tensor.cols * sizeof *p->a);
            x = pith__hash(x, p->b, (size_t)p->r * w->tensor.rows * sizeof *p->b);
        }
    }
    return x;
}

static const struct state_matrix {
    int mixer;
    const char *name;
    size_t at;
} state_matrices[] = {
    { PITH__DELTA, "attn_qkv", offsetof(pith__layer, recurrent.in) }, { PITH__DELTA, "attn_gate", offsetof(pith__layer, recurrent.z) },
    { PITH__DELTA, "ssm_beta", offsetof(pith__layer, recurrent.beta) }, { PITH__DELTA, "ssm_alpha", offsetof(pith__layer, recurrent.decay) },
    { PITH__DELTA, "ssm_out", offsetof(pith__layer, recurrent.out) }, { PITH__MAMBA, "ssm_in", offsetof(pith__layer, recurrent.in) },
    { PITH__MAMBA, "ssm_out", offsetof(pith__layer, recurrent.out) },
    { PITH__SHORTCONV, "shortconv.in_proj", offsetof(pith__layer, recurrent.in) },
    { PITH__SHORTCONV, "shortconv.out_proj", offsetof(pith__layer, recurrent.out) },
};

PITH_SHARED const pith__weight *pith__state_matrix(const pith__layer *l, int i, const char **name) {
    for (size_t k = 0; k < sizeof state_matrices / sizeof *state_matrices; k++) {
        if (state_matrices[k].mixer != l->mixer || i-- > 0) continue;
        *name = state_matrices[k].name;
        return (const pith__weight *)(const void *)((const char *)l + state_matrices[k].at);
    }
    return NULL;
}

/* Qwen3.5: value head g in GGUF's order, which the base has, is another one in folders: see hfdelta.c. first: where value
 * heads begin in the rows, or columns, each unit of them. */
static size_t value_where(const pith__recurrent *w, size_t first, size_t unit, size_t r) {
    size_t keys = (size_t)w->n_k_head, rep = (size_t)w->n_head / keys;
    if (r < first) return r;
    size_t g = (r - first) / unit;
    return first + (g % keys * rep + g / keys) * unit + (r - first) % unit;
}

/* The state of which w is a matrix, where value heads have two orders; NULL: they have not. */
static const pith__recurrent *value_heads(const pith_model *m, const pith__weight *w, int halves) {
    const pith__layer *l = m->layer, *end = l + m->hyper.n_layer;
    if (!halves || strncmp(m->hyper.arch, "qwen35", 6) != 0) return NULL;
    while (l < end && !((const char *)w >= (const char *)l && (const char *)w < (const char *)(l + 1))) l++;
    return l < end && l->mixer == PITH__DELTA ? &l->recurrent : NULL;
}

PITH_SHARED size_t pith__column_where(const pith_model *m, const pith__weight *w, int halves, size_t c) {
    const pith__recurrent *of = value_heads(m, w, halves);
    return of && w == &of->out ? value_where(of, 0, (size_t)(of->n_inner / of->n_head), c) : c;
}

static size_t row_of_value(const pith__recurrent *of, const pith__weight *w, size_t r) {
    size_t dv = (size_t)(of->n_inner / of->n_head);
    if (w == &of->in) return value_where(of, (size_t)(of->n_conv - of->n_inner), dv, r);
    if (w == &of->z) return value_where(of, 0, dv, r);
    return w == &of->beta || w == &of->decay ? value_where(of, 0, 1, r) : r;
}

/* Llamas' rows of q and k lie as RoPE pairs them: in Hugging Face's folders channel i of a head with i + n_rot / 2, in
 * GGUF with its neighbour (gather_pairs in forward.c). */
PITH_SHARED size_t pith__row_where(const pith_model *m, const pith__weight *w, int halves, size_t r) {
    const pith__layer *l = m->layer;
    const pith__recurrent *of = value_heads(m, w, halves);
    if (of) return row_of_value(of, w, r);
    while (w != &l->q && w != &l->k && l + 1 < m->layer + m->hyper.n_layer) l++;
    size_t half = (size_t)l->n_rot / 2, i = r % (size_t)l->head_dim;
    if ((w != &l->q && w != &l->k) || m->hyper.rope_half || m->hyper.rope_as_is || m->hyper.latent.rank) return r;
    if (halves == m->store.qk_halves || i >= 2 * half) return r;
    if (halves) return r - i + i / 2 + i % 2 * half; /* the base has neighbours */
    return r - i + (i < half ? 2 * i : 2 * (i - half) + 1);
}

/* GPT-NeoX's folders have q, k and v of one head, and then those of the next. */
PITH_SHARED size_t pith__row_of_module(const pith_model *m, const pith__weight *w, int halves, size_t row0, size_t r) {
    size_t dim = (size_t)m->hyper.head_dim, all = (size_t)m->hyper.n_head * dim;
    const pith__layer *l = m->layer, *last = l + m->hyper.n_layer - 1;
    int by_head = halves && pith__hf_elder_of(m->hyper.arch) == PITH__HF_NEOX;
    while (by_head && w != &l->q && w != &l->k && w != &l->v && l < last) l++;
    if (!by_head || (w != &l->q && w != &l->k && w != &l->v)) return row0 + pith__row_where(m, w, halves, r);
    return (r / dim * 3 + row0 / all) * dim + r % dim;
}

/* ---- where a tensor of an adapter belongs ---------------------------------------------------------- */

typedef struct { /* an adapter while it is read */
    pith_adapter *a;
    pith_error *err;
    double alpha;        /* of tensors that have none of their own */
    const pith__tensor *low, *high; /* A and B of the tensor of the base that is at work, */
    char name[PITH__HF_NAME];       /* and its name: "blk.0.attn_q.weight" */
} reading;

/* The tensor's name as the file has it. */
static const char *tensor_name(const reading *d, const pith__tensor *t, char *room) {
    char base[PITH__HF_NAME], shown[PITH__HF_NAME];
    int n = t->name.n < sizeof base ? (int)t->name.n : (int)sizeof base - 1;
    snprintf(base, sizeof base, "%.*s", n, t->name.p);
    char *end = d->a->store.is_folder ? strstr(base, ".weight.lora_") : NULL, matrix = n ? base[n - 1] : 0;
    if (!end) return strcpy(room, base);
    end[strlen(".weight")] = 0;
    snprintf(shown, sizeof shown, "%s", pith__shown_name(&d->a->store, base, room));
    end = strstr(shown, ".weight");
    snprintf(room, PITH__HF_NAME, "%.*s.lora_%c", end ? (int)(end - shown) : (int)sizeof shown - 10, shown,
             matrix == 'a' ? 'A' : 'B');
    return room;
}

static int refuse(const reading *d, const pith__tensor *t, const char *why) {
    char room[PITH__HF_NAME];
    return pith__fail(d->err, PITH_EFORMAT, "%s: '%s' %s", d->a->store.path, tensor_name(d, t, room), why);
}

static int no_memory_for(const reading *d) { return pith__fail(d->err, PITH_EMEMORY, "%s: no memory", d->a->store.path); }

/* Row r of t to y; a number that is none is an error. */
static int read_row(const reading *d, const pith__tensor *t, size_t r, float *y) {
    pith__row_floats(t, r, y);
    for (size_t i = 0; i < t->cols; i++)
        if (!isfinite(y[i])) return refuse(d, t, "has a number that is infinite or NaN");
    return PITH_OK;
}

static double alpha_of(const reading *d) {
    char name[2 * PITH__HF_NAME];
    snprintf(name, sizeof name, "pith.lora.alpha.%s", d->name);
    const pith__key *k = pith__store_key(&d->a->store, name);
    return k ? k->f : d->alpha;
}

/* The matrix w gets r rows of A from a0 on, or those of shared, and its rows of B from b0 on. */
static int bind_pair(const reading *d, const pith__weight *w, size_t a0, size_t r, size_t b0, float *shared) {
    pith__arena *arena = &d->a->store.arena;
    pith__pair *p = d->a->pair + w->index;
    size_t cols = w->tensor.cols, rows = w->tensor.rows;
    if (p->r) return refuse(d, d->low, "is for a matrix that has another here");
    p->a = shared ? shared : pith__arena_new(arena, r, cols * sizeof *p->a);
    p->b = pith__arena_new(arena, r, rows * sizeof *p->b);
    float *row = pith__arena_new(arena, r > cols ? r : cols, sizeof *row);
    if (!p->a || !p->b || !row) return no_memory_for(d);
    int code = PITH_OK, halves = d->a->store.qk_halves;
    for (size_t k = 0; k < r && !code && !shared; k++) {
        code = read_row(d, d->low, a0 + k, row);
        for (size_t i = 0; i < cols; i++) p->a[k * cols + i] = row[pith__column_where(d->a->model, w, halves, i)];
    }
    for (size_t i = 0; i < rows && !code; i++) {
        code = read_row(d, d->high, pith__row_of_module(d->a->model, w, halves, b0, i), row);
        for (size_t k = 0; k < r; k++) p->b[k * rows + i] = row[k];
    }
    p->r = (int)r;
    p->at_a = p->at_b = PITH__FROZEN;
    p->scale = (float)(alpha_of(d) / (double)r);
    return code;
}

/* n matrices that lie one below the other in the base; stack: each has an A of its own, else they share one. */
static int bind_pairs(const reading *d, const pith__weight *const *w, size_t n, int stack) {
    char need[80];
    size_t rows = 0, a0 = 0, b0 = 0, n_a = stack ? n : 1, cols = w[0]->tensor.cols;
    for (size_t i = 0; i < n; i++) rows += w[i]->tensor.rows;
    size_t r = d->low->rows / n_a;
    if (r < 1 || r > INT32_MAX || r * n_a != d->low->rows || d->low->cols != cols) {
        snprintf(need, sizeof need, "is %zu x %zu, need r x %zu as the base's", d->low->rows, d->low->cols, cols);
        return refuse(d, d->low, need);
    }
    if (d->high->rows != rows || d->high->cols != r) {
        snprintf(need, sizeof need, "is %zu x %zu, need %zu x %zu as the base's", d->high->rows, d->high->cols, rows, r);
        return refuse(d, d->high, need);
    }
    int code = PITH_OK;
    for (size_t i = 0; i < n && !code; i++) {
        code = bind_pair(d, w[i], a0, r, b0, i && !stack ? d->a->pair[w[0]->index].a : NULL);
        b0 += w[i]->tensor.rows;
        if (stack) a0 += r;
    }
    return code;
}

/* "ffn_gate" of one expert, or of all of them, or of a network that is dense. NULL: none. */
static const pith__weight *ffn_weight(const pith__ffn *f, const char *part) {
    if (!strcmp(part, "ffn_gate")) return &f->gate;
    if (!strcmp(part, "ffn_up")) return &f->up;
    return strcmp(part, "ffn_down") ? NULL : &f->down;
}

static const pith__weight *attn_weight(const pith__layer *l, const char *part) {
    static const struct { const char *name; size_t at; } known[] = {
        { "attn_q", offsetof(pith__layer, q) }, { "attn_k", offsetof(pith__layer, k) },
        { "attn_v", offsetof(pith__layer, v) }, { "attn_output", offsetof(pith__layer, o) },
        { "ffn_gate_inp", offsetof(pith__layer, router) }, { "ffn_gate_inp_shexp", offsetof(pith__layer, shared_gate) },
        { "ffn_gate_shexp", offsetof(pith__layer, shared.gate) }, { "ffn_up_shexp", offsetof(pith__layer, shared.up) },
        { "ffn_down_shexp", offsetof(pith__layer, shared.down) }, { "inp_gate", offsetof(pith__layer, ple_gate) },
        { "proj", offsetof(pith__layer, ple_out) }, { "attn_q_b", offsetof(pith__layer, q) },
        { "attn_q_a", offsetof(pith__layer, latent.q_a) }, { "attn_kv_a_mqa", offsetof(pith__layer, latent.kv_a) },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(part, known[i].name)) return (const pith__weight *)(const void *)((const char *)l + known[i].at);
    return NULL;
}

/* "ssm_out.weight" of a layer with a state. */
static const pith__weight *state_weight(const pith__layer *l, const char *name) {
    const char *part;
    const pith__weight *w;
    for (int i = 0; (w = pith__state_matrix(l, i, &part)) != NULL; i++)
        if (!strncmp(name, part, strlen(part)) && !strcmp(name + strlen(part), ".weight")) return w;
    return l->one_gate && !strcmp(name, "attn_gate.weight") ? &l->gate : NULL;
}

static int no_place(const reading *d) {
    char why[PITH__HF_NAME + 80];
    snprintf(why, sizeof why, "is of no matrix that %.80s has", d->a->model->store.path);
    return refuse(d, d->low, why);
}

static int bind_stack(const reading *d, const pith__layer *l, const char *part) {
    int n = l->router.tensor.data ? d->a->model->hyper.n_expert : 0;
    const pith__weight **w = n ? malloc((size_t)n * sizeof *w) : NULL;
    if (!n) return no_place(d);
    if (!w) return no_memory_for(d);
    for (int e = 0; e < n; e++) w[e] = ffn_weight(&l->ffn[e], part);
    int code = w[0] ? bind_pairs(d, w, (size_t)n, 1) : no_place(d);
    free(w);
    return code;
}

/* The tensor "blk.LAYER.PART.weight" or "blk.LAYER.PART.EXPERT.weight" of the base gets A and B. The base may have it
 * as a part of a larger one, or in parts. */
static int bind_tensor(const reading *d) {
    const pith_model *m = d->a->model;
    char part[32], tail[16];
    int layer, e = 0, used = 0;
    const pith__weight *w[3] = { &m->ple_proj };
    if (!strcmp(d->name, "per_layer_model_proj.weight") && w[0]->tensor.data) return bind_pairs(d, w, 1, 0);
    if (sscanf(d->name, "blk.%9d.%31[a-z_].%n", &layer, part, &used) != 2 || !used) return no_place(d);
    int is_expert = sscanf(d->name + used, "%9d.%15s", &e, tail) == 2, known = !strcmp(is_expert ? tail : d->name + used, "weight");
    if (layer < 0 || layer >= m->hyper.n_layer) return no_place(d);
    const pith__layer *l = m->layer + layer;
    size_t n = strlen(part);
    w[0] = state_weight(l, strchr(d->name + 4, '.') + 1);
    if (w[0]) return bind_pairs(d, w, 1, 0);
    if (!known) return no_place(d);
    w[0] = &l->shared.gate, w[1] = &l->shared.up;
    if (!strcmp(part, "ffn_up_shexp") && w[0]->tensor.data && d->high->rows == w[0]->tensor.rows + w[1]->tensor.rows)
        return bind_pairs(d, w, 2, 0);
    if (n > 5 && !strcmp(part + n - 5, "_exps")) return part[n - 5] = 0, is_expert ? no_place(d) : bind_stack(d, l, part);
    int routed = l->router.tensor.data != NULL;
    w[0] = !is_expert && l->router_norm.w.floats ? ffn_weight(&l->shared, part) : NULL; /* Gemma 4: beside the experts */
    if (w[0]) return bind_pairs(d, w, 1, 0);
    if (routed && !is_expert && !strcmp(m->hyper.arch, "granitehybrid")) { /* shared_mlp, which has these names without experts */
        if (!strcmp(part, "ffn_up") && d->high->rows == 2 * l->shared.up.tensor.rows) return bind_pairs(d, (const pith__weight *[]){ &l->shared.gate, &l->shared.up }, 2, 0);
        if (!strcmp(part, "ffn_down")) return bind_pairs(d, (const pith__weight *[]){ &l->shared.down }, 1, 0);
    }
    if (is_expert != routed && ffn_weight(l->ffn, part)) return no_place(d);
    if (e < 0 || (is_expert && e >= m->hyper.n_expert)) return no_place(d);
    w[0] = &l->q, w[1] = &l->k, w[2] = &l->v;
    if (!strcmp(part, "attn_qkv") && !is_expert) return bind_pairs(d, w, 3, 0);
    w[0] = &l->ffn->gate, w[1] = &l->ffn->up;
    if (!strcmp(part, "ffn_up") && !routed && w[0]->tensor.data && d->high->rows == w[0]->tensor.rows + w[1]->tensor.rows)
        return bind_pairs(d, w, 2, 0);
    w[0] = is_expert || !attn_weight(l, part) ? ffn_weight(&l->ffn[e], part) : attn_weight(l, part);
    return w[0] && w[0]->tensor.data ? bind_pairs(d, w, 1, 0) : no_place(d);
}

/* ---- opening --------------------------------------------------------------------------------------- */

static int check_keys(reading *d) {
    const pith__store *s = &d->a->store;
    const pith__key *alpha = pith__store_key(s, "adapter.lora.alpha"), *arch = pith__store_key(s, "general.architecture");
    const pith_model *m = d->a->model;
    if (!alpha || (alpha->type != PITH__FLOAT && alpha->type != PITH__INT) || !(alpha->f > 0) || !isfinite(alpha->f))
        return pith__fail(d->err, PITH_EFORMAT, "%s: key 'adapter.lora.alpha' is %s, need a number over 0", s->path,
                          alpha ? "something else" : "not there");
    if (arch && !pith__str_is(arch->s, m->hyper.arch))
        return pith__fail(d->err, PITH_EFORMAT, "%s: is an adapter of a %.*s, but %s is a %s", s->path,
                          arch->s.n < 40 ? (int)arch->s.n : 40, arch->s.p, m->store.path, m->hyper.arch);
    d->alpha = alpha->f;
    return PITH_OK;
}

PITH_SHARED void pith__base_print(const pith_model *m, char text[17]) {
    uint64_t h = 0;
    for (int l = 0; l <= m->hyper.n_layer; l++) {
        const pith__layer *x = &m->layer[l < m->hyper.n_layer ? l : 0];
        const pith__weight *norm[] = { &x->attn_norm.w, &x->attn_post_norm.w, &x->ffn_norm.w, &x->ffn_post_norm.w,
                                       &x->attn_out_norm.w, &x->ffn_out_norm.w };
        int n = l < m->hyper.n_layer ? 6 : 4;
        if (n == 4) norm[0] = norm[1] = norm[2] = norm[3] = &m->out_norm.w;
        for (int i = 0; i < n; i++)
            if (norm[i]->floats) h = pith__hash(h, norm[i]->floats, norm[i]->tensor.cols * sizeof *norm[i]->floats);
    }
    snprintf(text, 17, "%016llx", (unsigned long long)h);
}

/* A reward model that was written here says of which base it is. */
static int check_base(const reading *d) {
    const pith__key *k = pith__store_key(&d->a->store, "pith.base");
    char print[17];
    pith__base_print(d->a->model, print);
    if (!k || k->type != PITH__STRING || pith__str_is(k->s, print)) return PITH_OK;
    return pith__fail(d->err, PITH_EARCH, "%s: is a reward model of another base than %s", d->a->store.path,
                      d->a->model->store.path);
}

static int bind_score(const reading *d, const pith__tensor *t) {
    pith_adapter *a = d->a;
    char need[80];
    size_t n = (size_t)a->model->hyper.n_embd;
    snprintf(need, sizeof need, "is %zu x %zu, need 1 x %zu: one score, of the base's states", t->rows, t->cols, n);
    if (t->rows != 1 || t->cols != n) return refuse(d, t, need);
    int code = check_base(d);
    if (code) return code;
    a->score = pith__arena_new(&a->store.arena, n, sizeof *a->score);
    return a->score ? read_row(d, t, 0, a->score) : no_memory_for(d);
}

/* The tensors are sorted, so NAME.lora_b follows NAME.lora_a, and a score head comes last: others are of "blk." */
static int bind_tensors(reading *d) {
    const pith__store *s = &d->a->store;
    if (!s->n_tensor) return pith__fail(d->err, PITH_EFORMAT, "%s: has no tensors", s->path);
    const pith__tensor *score = s->is_folder ? pith__store_tensor(s, PITH__SCORE_HEAD) : NULL;
    int code = score ? bind_score(d, score) : PITH_OK;
    for (size_t i = 0; i < s->n_tensor - (score != NULL) && !code; i += 2) {
        const size_t tail = strlen(".lora_a");
        d->low = s->tensor + i, d->high = i + 1 < s->n_tensor ? d->low + 1 : NULL;
        pith__str name = d->low->name;
        size_t n = name.n > tail ? name.n - tail : 0;
        if (!n || n >= sizeof d->name || memcmp(name.p + n, ".lora_", tail - 1) != 0)
            return refuse(d, d->low, "is no part of a LoRA: need .lora_a or .lora_b");
        snprintf(d->name, sizeof d->name, "%.*s", (int)n, name.p);
        char pair[PITH__HF_NAME + 16];
        snprintf(pair, sizeof pair, "%s.lora_b", d->name);
        if (name.p[name.n - 1] != 'a' || !d->high || !pith__str_is(d->high->name, pair))
            return refuse(d, d->low, name.p[name.n - 1] == 'a' ? "has no lora_b beside it" : "has no lora_a beside it");
        code = bind_tensor(d);
    }
    return code;
}

PITH_SHARED pith_adapter *pith__adapter_open(const pith_model *m, const char *path, int scores, pith_error *err) {
    if (!path) return pith__fail(err, PITH_EARG, "the path of the adapter is NULL"), NULL;
    pith_adapter *a = calloc(1, sizeof *a);
    reading d = { .a = a, .err = err };
    if (!a) return pith__fail(err, PITH_EMEMORY, "%s: no memory", path), NULL;
    a->model = m;
    int code = pith__adapter_read(&a->store, path, m->store.n_file && m->store.file->mapped == 0, err);
    if (!code) code = check_keys(&d);
    if (!code && !(a->pair = pith__arena_new(&a->store.arena, (size_t)m->n_weight, sizeof *a->pair)))
        code = no_memory_for(&d);
    if (!code) code = bind_tensors(&d);
    if (!code && a->score && !scores)
        code = pith__fail(err, PITH_EARCH, "%s: is a reward model (task_type SEQ_CLS), which gives scores and no text", path);
    pith__str *template = &a->store.vocab.chat_template; /* it is in the file */
    if (!code && template->n && !(template->p = pith__arena_text(&a->store.arena, template->p, template->n)))
        code = no_memory_for(&d);
    if (code) return pith_adapter_close(a), NULL;
    for (; a->store.n_file > 0; a->store.n_file--) pith__file_close(&a->store.file[a->store.n_file - 1]);
    a->store.n_key = a->store.n_tensor = 0; /* they were in the file */
    return a;
}

pith_adapter *pith_adapter_open(const pith_model *m, const char *path, pith_error *err) {
    return pith__adapter_open(m, path, 0, err);
}

void pith_adapter_close(pith_adapter *a) {
    if (a) pith__store_free(&a->store);
    free(a);
}
