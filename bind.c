/* bind.c - a model's weights: tensors become hyper-parameters and pointers by name.
 *
 * The readers in formats/ give one table under GGUF's names; families.c knows the families. Here a
 * weight is one row (parts): its name, where it goes, and the shape it must have. Everything is checked
 * before the first pass; the forward pass checks nothing. */
#include "internal.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* ---- weights --------------------------------------------------------------------------------------- */

enum { ONE, EMBD, HEADS, VALUES, KV_HEADS, HEAD, HEAD_COUNT, FF, QKV, GATE_UP, EXPERT, VOCAB, PLE,
       MIX_IN, CONV, TAPS, INNER, VALUE_HEADS, VALUE_PAIRS, VALUE, NORM_GROUPS, NORM_GROUP }; /* sizes by name */

static size_t size_of(const pith__hyper *h, const pith__layer *w, int what) {
    size_t head = (size_t)w->head_dim, n = (size_t)w->n_head, kv = (size_t)w->n_kv_head;
    switch (what) {
    case EMBD: return (size_t)h->n_embd;
    case VALUES: return n * (h->latent.rank ? (size_t)h->latent.n_value : head);
    case HEADS: return n * head;
    case KV_HEADS: return kv * head;
    case HEAD: return head;
    case HEAD_COUNT: return n;
    case FF: return (size_t)w->n_ff;
    case QKV: return (n + 2 * kv) * head;
    case GATE_UP: return 2 * (size_t)w->n_ff;
    case EXPERT: return (size_t)h->n_expert;
    case VOCAB: return (size_t)h->n_vocab;
    case MIX_IN: return (size_t)w->recurrent.n_in;
    case CONV: return (size_t)w->recurrent.n_conv;
    case TAPS: return (size_t)w->recurrent.n_tap;
    case INNER: return (size_t)w->recurrent.n_inner;
    case VALUE_HEADS: return (size_t)w->recurrent.n_head;
    case VALUE_PAIRS: return 2 * (size_t)w->recurrent.n_head;
    case NORM_GROUPS: return (size_t)w->recurrent.n_k_head;
    case NORM_GROUP: return (size_t)(w->recurrent.n_inner / w->recurrent.n_k_head);
    case VALUE: return (size_t)(w->recurrent.n_inner / w->recurrent.n_head);
    case PLE: return (size_t)h->n_ple;
    default: return 1;
    }
}

#define PART(member) offsetof(pith__layer, member)

/* The parts of a layer outside its feed-forward network. A part that a family does not have is not
 * looked for; PITH__OPTIONAL ones are taken when they are there. What has ONE row is a norm or a bias. */
static const struct part {
    const char *name;
    size_t at;
    int rows, cols;
    unsigned has;
} parts[] = {
    { "attn_norm.weight", PART(attn_norm.w), ONE, EMBD, PITH__PRE_NORM },
    { "attn_norm.bias", PART(attn_norm.b), ONE, EMBD, PITH__OPTIONAL },
    { "attn_q.bias", PART(q_bias), ONE, HEADS, PITH__OPTIONAL },
    { "attn_k.bias", PART(k_bias), ONE, KV_HEADS, PITH__OPTIONAL },
    { "attn_v.bias", PART(v_bias), ONE, KV_HEADS, PITH__OPTIONAL },
    { "attn_q_norm.weight", PART(q_norm.w), ONE, HEAD, PITH__QK_NORM },
    { "attn_k_norm.weight", PART(k_norm.w), ONE, HEAD, PITH__QK_NORM },
    { "attn_sinks.weight", PART(sinks), ONE, HEAD_COUNT, PITH__OPTIONAL },
    { "attn_output.weight", PART(o), EMBD, VALUES, 0 },
    { "attn_output.bias", PART(o_bias), ONE, EMBD, PITH__OPTIONAL },
    { "post_attention_norm.weight", PART(attn_post_norm.w), ONE, EMBD, PITH__POST_NORM },
    { "attn_output_norm.weight", PART(attn_out_norm.w), ONE, EMBD, PITH__OUT_NORM },
    { "attn_output_norm.bias", PART(attn_out_norm.b), ONE, EMBD, PITH__OPTIONAL },
    { "ffn_norm.weight", PART(ffn_norm.w), ONE, EMBD, PITH__PRE_NORM },
    { "ffn_norm.bias", PART(ffn_norm.b), ONE, EMBD, PITH__OPTIONAL },
    { "post_ffw_norm.weight", PART(ffn_post_norm.w), ONE, EMBD, PITH__POST_NORM },
    { "inp_gate.weight", PART(ple_gate), PLE, EMBD, PITH__PLE },
    { "proj.weight", PART(ple_out), EMBD, PLE, PITH__PLE },
    { "post_norm.weight", PART(ple_norm.w), ONE, EMBD, PITH__PLE },
    { "layer_output_scale.weight", PART(out_scale), ONE, ONE, PITH__OPTIONAL },
    { "layer_output_norm.weight", PART(ffn_out_norm.w), ONE, EMBD, PITH__OUT_NORM },
    { "layer_output_norm.bias", PART(ffn_out_norm.b), ONE, EMBD, PITH__OPTIONAL },
};

/* Those of a layer with a state. */
static const struct state_part {
    const char *name;
    size_t at;
    int mixer, rows, cols, floats; /* floats 1: its numbers are copied to floats, as those of a norm are; 2: if it is there */
    int grouped;         /* 1: only of layers that are (pith__recurrent), -1: only of others */
} state_parts[] = {
    { "shortconv.in_proj.weight", PART(recurrent.in), PITH__SHORTCONV, MIX_IN, EMBD, 0, 0 },
    { "shortconv.conv.weight", PART(recurrent.conv), PITH__SHORTCONV, CONV, TAPS, 1, 0 },
    { "shortconv.out_proj.weight", PART(recurrent.out), PITH__SHORTCONV, EMBD, INNER, 0, 0 },
    { "attn_qkv.weight", PART(recurrent.in), PITH__DELTA, CONV, EMBD, 0, 0 },
    { "attn_gate.weight", PART(recurrent.z), PITH__DELTA, INNER, EMBD, 0, 0 },
    { "ssm_beta.weight", PART(recurrent.beta), PITH__DELTA, VALUE_HEADS, EMBD, 0, -1 },
    { "ssm_alpha.weight", PART(recurrent.decay), PITH__DELTA, VALUE_HEADS, EMBD, 0, -1 },
    { "ssm_ba.weight", PART(recurrent.beta), PITH__DELTA, VALUE_PAIRS, EMBD, 0, 1 },
    { "ssm_conv1d.weight", PART(recurrent.conv), PITH__DELTA, CONV, TAPS, 1, 0 },
    { "ssm_dt.bias", PART(recurrent.dt_bias), PITH__DELTA, ONE, VALUE_HEADS, 1, 0 },
    { "ssm_a", PART(recurrent.rate), PITH__DELTA, ONE, VALUE_HEADS, 1, 0 },
    { "ssm_norm.weight", PART(recurrent.norm), PITH__DELTA, ONE, VALUE, 1, 0 }, /* never stored as w for 1 + w */
    { "ssm_out.weight", PART(recurrent.out), PITH__DELTA, EMBD, INNER, 0, 0 },
    { "ssm_in.weight", PART(recurrent.in), PITH__MAMBA, MIX_IN, EMBD, 0, 0 },
    { "ssm_conv1d.weight", PART(recurrent.conv), PITH__MAMBA, CONV, TAPS, 1, 0 },
    { "ssm_conv1d.bias", PART(recurrent.conv_bias), PITH__MAMBA, ONE, CONV, 2, 0 },
    { "ssm_dt.bias", PART(recurrent.dt_bias), PITH__MAMBA, ONE, VALUE_HEADS, 1, 0 },
    { "ssm_a", PART(recurrent.rate), PITH__MAMBA, VALUE_HEADS, ONE, 1, 0 },
    { "ssm_d", PART(recurrent.skip), PITH__MAMBA, VALUE_HEADS, ONE, 1, 0 },
    { "ssm_norm.weight", PART(recurrent.norm), PITH__MAMBA, NORM_GROUPS, NORM_GROUP, 1, 0 },
    { "ssm_out.weight", PART(recurrent.out), PITH__MAMBA, EMBD, INNER, 0, 0 },
};

/* The tensor blk.LAYER.NAME of the given shape, or NULL (an error unless it is optional). */
static const pith__tensor *tensor_of(pith__opening *o, int l, const char *name, size_t rows, size_t cols,
                                     int optional) {
    if (o->code) return NULL;
    char full[96];
    if (l >= 0) snprintf(full, sizeof full, "blk.%d.%s", l, name);
    else snprintf(full, sizeof full, "%s", name);
    const pith__tensor *t = pith__store_tensor(&o->m->store, full);
    char room[PITH__HF_NAME];
    const char *path = o->m->store.path, *shown = pith__shown_name(&o->m->store, full, room);
    if (!t && !optional)
        o->code = pith__fail(o->err, PITH_EFORMAT, "%s: no tensor '%s'", path, shown);
    if (t && (t->rows != rows || t->cols != cols))
        o->code = pith__fail(o->err, PITH_EFORMAT, "%s: tensor '%s' is %zu x %zu, need %zu x %zu",
                             path, shown, t->rows, t->cols, rows, cols);
    if (t) o->m->store.tensor[t - o->m->store.tensor].used = 1;
    return o->code ? NULL : t;
}

/* All weights are bound by this function, so that all are in the model's list. */
static void bind_weight(pith__opening *o, pith__weight *w, const pith__tensor *t) {
    w->tensor = *t;
    w->at = PITH__FROZEN;
    w->index = o->m->n_weight++;
    w->next = o->m->weights;
    o->m->weights = w;
}

/* t NULL: the file does not have this weight. */
static void bind_matrix(pith__opening *o, pith__weight *w, const pith__tensor *t) {
    if (t) bind_weight(o, w, t);
}

/* Rows r0 to r0 + n of a tensor that holds several matrices. */
static void bind_rows(pith__opening *o, pith__weight *w, const pith__tensor *t, size_t r0, size_t n) {
    if (!t) return;
    bind_weight(o, w, t);
    w->from = r0 * t->cols;
    w->tensor.data += r0 * t->row_bytes;
    if (pith__is_apart(t)) w->tensor.scale += r0 * (t->row_bytes / 16);
    w->tensor.rows = n;
    w->tensor.n_dim = 2, w->tensor.shape[0] = n, w->tensor.shape[1] = t->cols;
}

/* Norms and biases are few and small: they become floats here. Norms that a file stores as w for 1 + w
 * (Gemma's own files; GGUF has added it) get their 1. */
static const float *floats_of(pith__opening *o, const pith__tensor *t, int norm) {
    if (!t) return NULL;
    float *y = pith__arena_new(&o->m->store.arena, t->rows * t->cols, sizeof *y);
    if (!y) {
        o->code = pith__fail(o->err, PITH_EMEMORY, "%s: no memory", o->m->store.path);
        return NULL;
    }
    for (size_t r = 0; r < t->rows; r++) pith__row_floats(t, r, y + r * t->cols);
    for (size_t i = 0; norm && o->m->store.norm_plus_one && i < t->cols; i++) y[i] += 1;
    return y;
}

/* Numbers from to from + n of the tensor t, whose floats are given; NULL: there is no such tensor. */
static void bind_numbers(pith__opening *o, pith__weight *w, const pith__tensor *t, const float *floats,
                         size_t from, size_t n) {
    if (!floats) return;
    bind_weight(o, w, t);
    w->floats = floats + from;
    w->from = from;
    w->tensor.rows = 1, w->tensor.cols = n;
    w->tensor.n_dim = 1, w->tensor.shape[0] = n;
}

static void bind_vector(pith__opening *o, pith__weight *w, const pith__tensor *t, int norm) {
    if (t) bind_numbers(o, w, t, floats_of(o, t, norm), 0, t->rows * t->cols);
}

/* A norm without weights: its factors are ones, which nobody trains. */
static void bind_ones(pith__opening *o, pith__weight *w, size_t n) {
    float *ones = pith__arena_new(&o->m->store.arena, n, sizeof *ones);
    if (!ones && !o->code) o->code = pith__fail(o->err, PITH_EMEMORY, "%s: no memory", o->m->store.path);
    for (size_t i = 0; ones && i < n; i++) ones[i] = 1;
    *w = (pith__weight){ .floats = ones, .at = PITH__FROZEN, .tensor = { .rows = 1, .cols = n } };
}

static int is_norm(const char *name) { return strstr(name, "norm") != NULL; }

/* Gemma 4: values may be the keys. A folder says whether those of layers without a window are; else the tensors do. */
static void bind_values(pith__opening *o, int l, pith__layer *layer, size_t n_kv, size_t n_embd) {
    const pith__key *same = pith__store_key(&o->m->store, "pith.values_are_keys");
    int may_lack = o->family->has & PITH__V_NORM && !same;
    if (same && same->i && !layer->mask.window) return;
    bind_matrix(o, &layer->v, tensor_of(o, l, "attn_v.weight", n_kv, n_embd, may_lack));
}

static void bind_qkv(pith__opening *o, int l, pith__layer *layer) {
    const pith__hyper *h = &o->m->hyper;
    size_t n_embd = (size_t)h->n_embd, n_q = size_of(h, layer, HEADS), n_kv = size_of(h, layer, KV_HEADS);
    if (layer->one_gate) bind_matrix(o, &layer->gate, tensor_of(o, l, "attn_gate.weight", (size_t)layer->n_head, n_embd, 0));
    const pith__tensor *t = tensor_of(o, l, "attn_qkv.weight", n_q + 2 * n_kv, n_embd, 1);
    if (t) {
        bind_rows(o, &layer->q, t, 0, n_q);
        bind_rows(o, &layer->k, t, n_q, n_kv);
        bind_rows(o, &layer->v, t, n_q + n_kv, n_kv);
        t = tensor_of(o, l, "attn_qkv.bias", 1, n_q + 2 * n_kv, 1);
        const float *bias = floats_of(o, t, 0);
        bind_numbers(o, &layer->q_bias, t, bias, 0, n_q);
        bind_numbers(o, &layer->k_bias, t, bias, n_q, n_kv);
        bind_numbers(o, &layer->v_bias, t, bias, n_q + n_kv, n_kv);
        return;
    }
    bind_matrix(o, &layer->q, tensor_of(o, l, "attn_q.weight", layer->head_gates ? 2 * n_q : n_q, n_embd, 0));
    if (layer->kv_from != l) return;
    bind_matrix(o, &layer->k, tensor_of(o, l, "attn_k.weight", n_kv, n_embd, 0));
    bind_values(o, l, layer, n_kv, n_embd);
}

/* Queries, and what makes latents and reads them. */
static void bind_latent(pith__opening *o, int l, pith__layer *layer) {
    const pith__hyper *h = &o->m->hyper;
    pith__latent *w = &layer->latent;
    size_t n_embd = (size_t)h->n_embd, n = (size_t)layer->n_head, rank = (size_t)h->latent.rank, q_rank = (size_t)h->latent.q_rank;
    size_t n_nope = (size_t)h->latent.n_nope, n_rot = (size_t)layer->n_rot, n_value = (size_t)h->latent.n_value;
    if (q_rank) {
        bind_matrix(o, &w->q_a, tensor_of(o, l, "attn_q_a.weight", q_rank, n_embd, 0));
        bind_vector(o, &w->q_a_norm.w, tensor_of(o, l, "attn_q_a_norm.weight", 1, q_rank, 0), 1);
    }
    const char *q = q_rank ? "attn_q_b.weight" : "attn_q.weight";
    bind_matrix(o, &layer->q, tensor_of(o, l, q, n * (n_nope + n_rot), q_rank ? q_rank : n_embd, 0));
    bind_matrix(o, &w->kv_a, tensor_of(o, l, "attn_kv_a_mqa.weight", rank + n_rot, n_embd, 0));
    bind_vector(o, &w->kv_a_norm.w, tensor_of(o, l, "attn_kv_a_norm.weight", 1, rank, 0), 1);
    bind_matrix(o, &w->k_b, tensor_of(o, l, "attn_k_b.weight", n * rank, n_nope, 0));
    bind_matrix(o, &w->v_b, tensor_of(o, l, "attn_v_b.weight", n * n_value, rank, 0));
}

static void bind_norm(pith__opening *o, pith__norm *norm, const char *name, int optional) {
    char full[48];
    size_t n = (size_t)o->m->hyper.n_embd;
    if (o->family->has & PITH__BARE_NORMS) {
        bind_ones(o, &norm->w, n);
        return;
    }
    snprintf(full, sizeof full, "%s.weight", name);
    bind_vector(o, &norm->w, tensor_of(o, -1, full, 1, n, optional), 1);
    snprintf(full, sizeof full, "%s.bias", name);
    if (norm->w.floats) bind_vector(o, &norm->b, tensor_of(o, -1, full, 1, n, 1), 0);
}

/* A row for each position, or for each type of token. n: how many are needed, 0: as many as there are. Returns how many. */
static int bind_table(pith__opening *o, pith__weight *w, const char *name, int n, int optional) {
    const pith__tensor *t = pith__store_tensor(&o->m->store, name);
    size_t rows = n || !t || t->rows > INT32_MAX ? (size_t)n : t->rows;
    t = tensor_of(o, -1, name, rows, (size_t)o->m->hyper.n_embd, optional);
    bind_matrix(o, w, t);
    return t ? (int)rows : 0;
}

/* Numbers from to from + n of row r of a tensor that has a row for each expert. */
static void bind_row(pith__opening *o, pith__weight *w, const pith__tensor *t, size_t r, size_t from, size_t n) {
    if (!t) return;
    pith__tensor row = *t;
    row.data += r * t->row_bytes, row.rows = 1;
    bind_numbers(o, w, t, floats_of(o, &row, 0), from, n);
    w->from += r * t->cols;
}

/* Expert e of a stack "ffn_gate_exps.weight" (n_expert, rows, cols), or half of one of "ffn_gate_up_exps.weight" (n_expert,
 * 2 rows, cols), the gate's rows first; or the tensor "ffn_gate.3.weight" that older GGUF and Hugging Face have for it. */
static void bind_expert(pith__opening *o, int l, const char *which, int e, pith__weight *w, pith__weight *bias) {
    char name[48];
    const pith__hyper *h = &o->m->hyper;
    int down = !strcmp(which, "down"), up = !strcmp(which, "up"), folder = o->m->store.is_folder;
    size_t n = (size_t)h->n_expert, i = (size_t)e, rows = (size_t)(down ? h->n_embd : h->n_ff_expert);
    size_t cols = (size_t)(down ? h->n_ff_expert : h->n_embd), half = 2 * i + (size_t)up;
    const pith__tensor *t = down ? NULL : tensor_of(o, l, "ffn_gate_up_exps.weight", n * 2 * rows, cols, 1);
    if (t) {
        bind_rows(o, w, t, half * rows, rows);
        bind_row(o, bias, tensor_of(o, l, "ffn_gate_up_exps.bias", n, 2 * rows, 1), i, up ? rows : 0, rows);
        return;
    }
    snprintf(name, sizeof name, "ffn_%s_exps.weight", which);
    t = tensor_of(o, l, name, n * rows, cols, 1);
    if (t) {
        bind_rows(o, w, t, i * rows, rows);
        snprintf(name, sizeof name, "ffn_%s_exps.bias", which);
        bind_row(o, bias, tensor_of(o, l, name, n, rows, 1), i, 0, rows);
        return;
    }
    char single[48];
    snprintf(single, sizeof single, "ffn_%s.%d.weight", which, e);
    t = tensor_of(o, l, single, rows, cols, !folder);
    if (!t) tensor_of(o, l, name, n * rows, cols, 0); /* which is the name to tell */
    bind_matrix(o, w, t);
}

/* Gemma 4: the dense network stands beside the experts, and each has norms of its own. That of the router's input has no
 * weights, but a scale, and divides by sqrt(n_embd). */
static void bind_beside(pith__opening *o, int l, pith__layer *layer) {
    size_t n = (size_t)o->m->hyper.n_embd, n_ff = (size_t)layer->n_ff;
    const pith__tensor *t = tensor_of(o, l, "ffn_gate_inp.scale", 1, n, 0);
    float *y = t ? pith__arena_new(&o->m->store.arena, n, sizeof *y) : NULL;
    if (t && !y) o->code = pith__fail(o->err, PITH_EMEMORY, "%s: no memory", o->m->store.path);
    if (y) pith__row_floats(t, 0, y);
    for (size_t i = 0; y && i < n; i++) y[i] /= sqrtf((float)n);
    bind_numbers(o, &layer->router_norm.w, t, y, 0, n);
    bind_vector(o, &layer->expert_norm.w, tensor_of(o, l, "pre_ffw_norm_2.weight", 1, n, 0), 1);
    bind_vector(o, &layer->expert_post_norm.w, tensor_of(o, l, "post_ffw_norm_2.weight", 1, n, 0), 1);
    bind_vector(o, &layer->shared_post_norm.w, tensor_of(o, l, "post_ffw_norm_1.weight", 1, n, 0), 1);
    bind_matrix(o, &layer->shared.gate, tensor_of(o, l, "ffn_gate.weight", n_ff, n, 0));
    bind_matrix(o, &layer->shared.up, tensor_of(o, l, "ffn_up.weight", n_ff, n, 0));
    bind_matrix(o, &layer->shared.down, tensor_of(o, l, "ffn_down.weight", n, n_ff, 0));
}

/* 1: the rows of up stand behind those of gate in one tensor, as folders of Granite 4 have them. */
static int is_fused(pith__opening *o, int l, const char *name, size_t n_ff) {
    char full[48];
    snprintf(full, sizeof full, "blk.%d.%s", l, name);
    const pith__tensor *t = pith__store_tensor(&o->m->store, full);
    return o->family->mixer == PITH__MAMBA && t && t->rows / 2 == n_ff && t->rows % 2 == 0;
}

/* The router and its experts, and the network beside them. */
static void bind_experts(pith__opening *o, int l, pith__layer *layer) {
    const pith__hyper *h = &o->m->hyper;
    size_t n = (size_t)h->n_expert, n_embd = (size_t)h->n_embd, n_ff = (size_t)h->n_ff_shared;
    bind_vector(o, &layer->router_bias, tensor_of(o, l, "ffn_gate_inp.bias", 1, n, 1), 0);
    bind_vector(o, &layer->choice_bias, tensor_of(o, l, "exp_probs_b.bias", 1, n, 1), 0);
    bind_vector(o, &layer->expert_scale, tensor_of(o, l, "ffn_down_exps.scale", 1, n, 1), 0);
    for (int e = 0; e < h->n_expert && !o->code; e++) {
        pith__ffn *ffn = &layer->ffn[e];
        if (h->gated) bind_expert(o, l, "gate", e, &ffn->gate, &ffn->gate_bias);
        bind_expert(o, l, "up", e, &ffn->up, &ffn->up_bias);
        bind_expert(o, l, "down", e, &ffn->down, &ffn->down_bias);
    }
    if (o->family->experts & PITH__EXPERTS_BESIDE) bind_beside(o, l, layer);
    if (o->family->experts & PITH__EXPERTS_BESIDE || !h->n_ff_shared) return;
    if (is_fused(o, l, "ffn_up_shexp.weight", n_ff)) {
        const pith__tensor *t = tensor_of(o, l, "ffn_up_shexp.weight", 2 * n_ff, n_embd, 0);
        bind_rows(o, &layer->shared.gate, t, 0, n_ff);
        bind_rows(o, &layer->shared.up, t, n_ff, n_ff);
    } else {
        if (h->gated) bind_matrix(o, &layer->shared.gate, tensor_of(o, l, "ffn_gate_shexp.weight", n_ff, n_embd, 0));
        bind_matrix(o, &layer->shared.up, tensor_of(o, l, "ffn_up_shexp.weight", n_ff, n_embd, 0));
    }
    bind_matrix(o, &layer->shared.down, tensor_of(o, l, "ffn_down_shexp.weight", n_embd, n_ff, 0));
    bind_matrix(o, &layer->shared_gate, tensor_of(o, l, "ffn_gate_inp_shexp.weight", 1, n_embd, 1));
}

static void bind_ffn(pith__opening *o, int l, pith__layer *layer) {
    const pith__hyper *h = &o->m->hyper;
    size_t n_embd = (size_t)h->n_embd, n_ff = (size_t)layer->n_ff;
    const pith__tensor *t = NULL;
    if (h->n_expert) t = tensor_of(o, l, "ffn_gate_inp.weight", (size_t)h->n_expert, n_embd, 1);
    bind_matrix(o, &layer->router, t);
    int routed = t != NULL;
    layer->ffn = o->code ? NULL : pith__arena_new(&o->m->store.arena, routed ? (size_t)h->n_expert : 1, sizeof *layer->ffn);
    if (!layer->ffn) {
        if (!o->code) o->code = pith__fail(o->err, PITH_EMEMORY, "%s: no memory", o->m->store.path);
        return;
    }
    pith__ffn *ffn = layer->ffn;
    if (routed) {
        bind_experts(o, l, layer);
    } else if (o->family->has & PITH__FUSED || is_fused(o, l, "ffn_up.weight", n_ff)) {
        t = tensor_of(o, l, "ffn_up.weight", 2 * n_ff, n_embd, 0);
        bind_rows(o, &ffn->gate, t, 0, n_ff);
        bind_rows(o, &ffn->up, t, n_ff, n_ff);
    } else {
        if (h->gated) bind_matrix(o, &ffn->gate, tensor_of(o, l, "ffn_gate.weight", n_ff, n_embd, 0));
        bind_matrix(o, &ffn->up, tensor_of(o, l, "ffn_up.weight", n_ff, n_embd, 0));
        if (h->gated) bind_vector(o, &ffn->gate_bias, tensor_of(o, l, "ffn_gate.bias", 1, n_ff, 1), 0);
        bind_vector(o, &ffn->up_bias, tensor_of(o, l, "ffn_up.bias", 1, n_ff, 1), 0);
        bind_vector(o, &ffn->down_bias, tensor_of(o, l, "ffn_down.bias", 1, n_embd, 1), 0);
    }
    if (!routed) bind_matrix(o, &ffn->down, tensor_of(o, l, "ffn_down.weight", n_embd, n_ff, 0));
}

static void bind_state_parts(pith__opening *o, int l, pith__layer *layer) {
    for (size_t i = 0; i < sizeof state_parts / sizeof *state_parts && !o->code; i++) {
        const struct state_part *p = &state_parts[i];
        if (p->mixer != layer->mixer || (p->grouped && (p->grouped > 0) != layer->recurrent.grouped)) continue;
        size_t rows = size_of(&o->m->hyper, layer, p->rows), cols = size_of(&o->m->hyper, layer, p->cols);
        const pith__tensor *t = tensor_of(o, l, p->name, rows, cols, p->floats == 2);
        pith__weight *w = (pith__weight *)(void *)((char *)layer + p->at);
        if (p->floats) bind_vector(o, w, t, 0);
        else bind_matrix(o, w, t);
    }
}

static void bind_layer(pith__opening *o, int l) {
    pith__layer *layer = &o->m->layer[l];
    const pith__hyper *h = &o->m->hyper;
    unsigned has = o->family->has;
    for (size_t i = 0; i < sizeof parts / sizeof *parts && !o->code; i++) {
        const struct part *p = &parts[i];
        int optional = p->has == PITH__OPTIONAL || (p->has == PITH__QK_NORM && has & PITH__MAYBE_QK_NORM);
        if (p->has && !optional && !(p->has & has)) continue;
        int of_stream = p->rows == ONE && p->cols == EMBD; /* norms, which layers of every kind have */
        if (!of_stream && !layer->n_kv_head) continue;
        if (p->has == PITH__PLE && !h->n_ple) continue;
        if (p->at == PART(k_norm.w) && layer->kv_from != l) continue;
        if (p->at == PART(ffn_norm.w) && h->parallel == 2) continue;
        int normed = has & PITH__EMBD_NORM && !(has & PITH__BARE_NORMS); /* ModernBERT's first layer: one norm is enough */
        if (p->at == PART(attn_norm.w) && l == 0 && normed) continue;
        int cols = p->cols;
        if (p->has == PITH__QK_NORM && h->qk_norm_whole)
            cols = p->at == PART(q_norm.w) ? HEADS : KV_HEADS;
        pith__weight *w = (pith__weight *)(void *)((char *)layer + p->at);
        if (has & PITH__BARE_NORMS && !optional && is_norm(p->name)) {
            bind_ones(o, w, size_of(h, layer, cols));
            continue;
        }
        const char *name = has & PITH__FFN_POST_NAME && p->at == PART(ffn_norm.w) ? "post_attention_norm.weight" : p->name;
        const pith__tensor *t = tensor_of(o, l, name, size_of(h, layer, p->rows), size_of(h, layer, cols), optional);
        if (p->rows == ONE) bind_vector(o, w, t, is_norm(p->name));
        else bind_matrix(o, w, t);
    }
    if (has & PITH__V_NORM && !o->code) bind_ones(o, &layer->v_norm.w, (size_t)layer->head_dim);
    if (h->qk_norm_bare && layer->rope >= 0) {
        bind_ones(o, &layer->q_norm.w, size_of(h, layer, HEAD));
        bind_ones(o, &layer->k_norm.w, size_of(h, layer, HEAD));
    }
    if (layer->mixer == PITH__ATTENTION) bind_qkv(o, l, layer);
    if (layer->mixer == PITH__LATENT) bind_latent(o, l, layer);
    bind_state_parts(o, l, layer);
    bind_ffn(o, l, layer);
}

/* The activation of a task head behind its first step: a file may name it, else BERT's is tanh, and GELU comes before a norm
 * (ModernBERT, and all heads of words). */
static int task_activation(pith__opening *o) {
    static const struct { const char *name; int act; } known[] = { { "tanh", PITH__TANH }, { "relu", PITH__RELU },
                                                                   { "gelu", PITH__GELU_ERF }, { "gelu_new", PITH__GELU } };
    const pith__task_head *k = &o->m->task;
    const pith__key *key = pith__store_key(&o->m->store, "pith.task.activation");
    if (!key) return k->kind == PITH_TASK_WORD ? o->m->hyper.act : k->norm.w.floats ? PITH__GELU_ERF : PITH__TANH;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (key->type == PITH__STRING && pith__str_is(key->s, known[i].name)) return known[i].act;
    if (!o->code)
        o->code = pith__fail(o->err, PITH_EARCH, "%s: key 'pith.task.activation' is not one of: tanh relu gelu gelu_new",
                             o->m->store.path);
    return 0;
}

/* The vector of a text that a head reads: a file may say it, else the first token's, or the last one's, where that alone has
 * seen the text. */
static unsigned task_pooling(pith__opening *o) {
    static const struct { const char *name; unsigned is; } known[] = { { "cls", PITH_CLS }, { "mean", PITH_MEAN }, { "last", PITH_LAST } };
    const pith__key *key = pith__store_key(&o->m->store, "pith.task.pooling");
    if (!key) return o->family->has & PITH__BOTH_WAYS ? PITH_CLS : PITH_LAST;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (key->type == PITH__STRING && pith__str_is(key->s, known[i].name)) return known[i].is;
    if (!o->code)
        o->code = pith__fail(o->err, PITH_EARCH, "%s: key 'pith.task.pooling' is not one of: cls mean last", o->m->store.path);
    return 0;
}

/* What stands on the hidden states, if anything does: "cls." is of labels, as GGUF has it; GGUF has nothing for the words
 * behind masks, here "mlm.". */
static void bind_task(pith__opening *o) {
    pith_model *m = o->m;
    pith__task_head *k = &m->task;
    const pith__tensor *out = pith__store_tensor(&m->store, "cls.output.weight");
    const pith__key *tokens = pith__store_key(&m->store, "pith.task.tokens");
    size_t n_embd = (size_t)m->hyper.n_embd, n = out && out->rows <= INT32_MAX ? out->rows : 0;
    int words = !out && pith__store_tensor(&m->store, "mlm.dense.weight");
    const char *name = words ? "mlm.dense" : "cls", *bias = words ? "mlm.bias" : "cls.output.bias";
    char full[32];
    if (!out && !words) return;
    snprintf(full, sizeof full, "%s.weight", name);
    bind_matrix(o, &k->dense, tensor_of(o, -1, full, n_embd, n_embd, !words));
    snprintf(full, sizeof full, "%s.bias", name);
    if (k->dense.tensor.data) bind_vector(o, &k->dense_bias, tensor_of(o, -1, full, 1, n_embd, 1), 0);
    bind_norm(o, &k->norm, words ? "mlm.norm" : "cls.norm", !words);
    if (words) n = m->head.tensor.rows;
    else bind_matrix(o, &k->out, tensor_of(o, -1, "cls.output.weight", n, n_embd, 0));
    bind_vector(o, &k->out_bias, tensor_of(o, -1, bias, 1, n, 1), 0);
    k->n = (int)n;
    k->kind = words ? PITH_TASK_WORD : tokens && tokens->i ? PITH_TASK_TOKEN : PITH_TASK_TEXT;
    k->act = task_activation(o);
    k->pooling = task_pooling(o);
    if (k->kind == PITH_TASK_TEXT && !k->dense.tensor.data && o->family->has & PITH__BOTH_WAYS)
        pith__note(&m->store, "%s: has no tensor 'cls.weight', which some converters leave out: its scores are not those that the "
                   "model was taught to give", m->store.path);
}

static void bind_ple(pith__opening *o) {
    pith_model *m = o->m;
    size_t n = (size_t)m->hyper.n_ple, all = n * (size_t)m->hyper.n_layer;
    bind_matrix(o, &m->ple_embd, tensor_of(o, -1, "per_layer_token_embd.weight", (size_t)m->hyper.n_vocab, all, 0));
    bind_matrix(o, &m->ple_proj, tensor_of(o, -1, "per_layer_model_proj.weight", all, (size_t)m->hyper.n_embd, 0));
    bind_vector(o, &m->ple_norm.w, tensor_of(o, -1, "per_layer_proj_norm.weight", 1, n, 0), 1);
}

PITH_SHARED void pith__bind(pith__opening *o) {
    pith_model *m = o->m;
    pith__hyper *h = &m->hyper;
    const pith__tensor *t = pith__store_tensor(&m->store, "token_embd.weight");
    if (t && t->rows <= INT32_MAX) h->n_vocab = (int)t->rows;
    t = tensor_of(o, -1, "token_embd.weight", (size_t)h->n_vocab, (size_t)h->n_embd, 0);
    bind_matrix(o, &m->embd, t);
    const pith__tensor *head = tensor_of(o, -1, "output.weight", (size_t)h->n_vocab, (size_t)h->n_embd, 1);
    const pith__key *none = pith__store_key(&m->store, "pith.no_output");
    m->has_no_output = !head && none && none->i;
    bind_matrix(o, &m->head, head ? head : t); /* none: tied embeddings */
    bind_vector(o, &m->head_bias, tensor_of(o, -1, "output.bias", 1, (size_t)h->n_vocab, 1), 0);
    unsigned has = o->family->has;
    if (has & PITH__POSITIONS) h->n_ctx = h->n_ctx_most = bind_table(o, &m->positions, "position_embd.weight", 0, 0);
    if (has & PITH__TYPES) bind_table(o, &m->types, "token_types.weight", 0, 1);
    if (has & PITH__RELATIVE)
        bind_matrix(o, &m->far, tensor_of(o, -1, "attn_rel_b.weight", 32, (size_t)h->n_head, 0));
    if (h->n_ple) bind_ple(o);
    if (has & PITH__EMBD_NORM) bind_norm(o, &m->embd_norm, "token_embd_norm", 0);
    if (!(has & PITH__OUT_NORM)) bind_norm(o, &m->out_norm, o->family->out_norm ? o->family->out_norm : "output_norm", 0);
    if (o->code) return;
    m->layer = pith__arena_new(&m->store.arena, (size_t)h->n_layer, sizeof *m->layer);
    if (!m->layer) {
        o->code = pith__fail(o->err, PITH_EMEMORY, "%s: no memory", m->store.path);
        return;
    }
    int routed = 0;
    pith__set_layers(o);
    for (int l = 0; l < h->n_layer && !o->code; l++) {
        bind_layer(o, l);
        int here = m->layer[l].router.tensor.data != NULL;
        routed += here;
        if (h->n_expert && h->n_dense >= 0 && here != (l >= h->n_dense))
            pith__fail_hyper(o, "leading_dense_block_count", h->n_dense, "what the tensors say: which layers have a router");
    }
    if (h->n_expert && !routed) pith__fail_hyper(o, "expert_count", h->n_expert, "a router in some layer");
    if (routed == h->n_layer && !(o->family->experts & PITH__EXPERTS_BESIDE)) h->n_ff = h->n_ff_expert; /* of no tensor, so it may be anything */
    if (!o->code) bind_task(o);
}

/* Tensors that nobody asked for do not stop a model, but its user should know. */
PITH_SHARED void pith__note_unused(pith_model *m) {
    pith__store *s = &m->store;
    char room[PITH__HF_NAME], name[PITH__HF_NAME];
    size_t n = s->n_dropped;
    snprintf(name, sizeof name, "%.*s", s->dropped.n < sizeof name ? (int)s->dropped.n : 0, s->dropped.p);
    for (size_t i = 0; i < s->n_tensor; i++) {
        const pith__tensor *t = &s->tensor[i];
        if (t->used || (t->name.n > 5 && !memcmp(t->name.p, "rope_", 5))) continue; /* make_ropes */
        char gguf[PITH__HF_NAME];
        snprintf(gguf, sizeof gguf, "%.*s", t->name.n < sizeof gguf ? (int)t->name.n : 0, t->name.p);
        if (n++ == 0) snprintf(name, sizeof name, "%s", pith__shown_name(s, gguf, room));
    }
    if (n)
        pith__note(s, "%s: %zu tensor%s not used: '%s'%s", s->path, n, n > 1 ? "s are" : " is", name,
                   n > 1 ? " and so on" : "");
}
