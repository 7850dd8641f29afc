/* folderweights.c - a model of a GGUF file or a llama2.c checkpoint -> a Hugging Face folder that is made.
 *
 * folderconfig.c chooses the class of transformers that computes the same. Here are its tensors, under that class's
 * names and laid out as it has them. What formats/ does when such a folder is read is undone: it gives the same model. */
#include "internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct folder_making folder_making;

enum { /* where row i of a tensor (of ITS_ROWS), or number i of each row (of ITS_COLUMNS) lies in the model's */
    AS_IT_LIES,
    PAIRS,               /* q and k: channel i of a head rotates with i + half, not with its neighbour */
    BY_HEAD,             /* q, k and v head by head */
    BY_VALUE_HEAD,         /* those of a key head one after the other (formats/hfdelta.c) */
    BEHIND, IN_TURNS     /* of two tensors: each rows of one, then as many of the other; or every other one */
};
enum { ITS_ROWS, ITS_COLUMNS, TURNED, KV_B }; /* TURNED: its rows are columns of the model's; KV_B: see formats/kvb.c */
enum { NOTHING, LESS_ONE, LOG };      /* what changes a number: norms of the Gemmas; rates at which a state fades */

typedef struct {         /* a tensor of the folder */
    folder_making *g;
    pith__tensor tensor; /* its name and shape */
    const pith__format *to;
    const pith__tensor *from[2]; /* of the model */
    size_t row0;         /* its first row in it */
    int way, order, change;
    size_t each;         /* rows of a head, or of a part */
    size_t first;        /* BY_VALUE_HEAD: rows before them; PAIRS: half the channels that rotate; KV_B: rows of a key */
    size_t n_head, n_rep; /* BY_HEAD; BY_VALUE_HEAD: key heads, and value heads for each */
} folder_tensor;

struct folder_making {
    const pith__merge *plan;
    const pith_model *m;
    const char *folder;
    pith__store style;   /* its names */
    int stacked;         /* the experts of a layer lie in stacks, gate and up in one */
    pith__arena arena;
    folder_tensor *tensor; /* (n) */
    pith__out *out;      /* (n) */
    size_t n, room, widest;
    size_t done, all;    /* bytes, for the progress */
    pith__team team;
    pith_error *err;
    int code;
};

/* ---- numbers ------------------------------------------------------------------------------------------ */

static size_t row_in_model(const folder_tensor *t, size_t i, int *which) {
    size_t each = t->each, k, j;
    *which = 0;
    switch (t->order) {
    case PAIRS:
        k = i % each;
        return k >= 2 * t->first ? i : i - k + (k < t->first ? 2 * k : 2 * (k - t->first) + 1);
    case BY_HEAD: return (i / each % 3 * t->n_head + i / each / 3) * each + i % each;
    case BY_VALUE_HEAD:
        if (i < t->first) return i;
        j = (i - t->first) / each;
        return t->first + (j % t->n_rep * t->n_head + j / t->n_rep) * each + (i - t->first) % each;
    case BEHIND: return *which = (int)(i / each % 2), i / (2 * each) * each + i % each;
    case IN_TURNS: return *which = (int)(i % 2), i / 2;
    default: return i;
    }
}

/* x as a number of format f. */
static float rounded_to(int f, float x) {
    uint8_t code[4];
    pith__format_of(f)->encode(code, &x, 1, NULL);
    pith__format_of(f)->floats(&x, code, 1);
    return x;
}

/* What pith__hf_fade_rates makes rate of: with few digits, as such a folder once had it, if there is such a number. */
static float log_of_rate(float rate) {
    static const int small[] = { PITH__F16, PITH__BF16, PITH__F32 };
    float y = logf(-rate), up = y, down = y;
    for (int i = 0; i < 3; i++) {
        float x = rounded_to(small[i], y);
        if (-expf(x) >= rate && -expf(x) <= rate) return x;
    }
    for (int i = 0; i < 8; i++) {
        up = nextafterf(up, INFINITY), down = nextafterf(down, -INFINITY);
        if (-expf(up) >= rate && -expf(up) <= rate) return up;
        if (-expf(down) >= rate && -expf(down) <= rate) return down;
    }
    return y;
}

/* Row r, x (cols), but of what is turned. room: as large. */
static void floats_for_row(const folder_tensor *t, size_t r, float *x, float *room) {
    int which;
    size_t cols = t->tensor.cols, n = t->from[0]->cols;
    if (t->way == ITS_ROWS) {
        size_t at = t->row0 + row_in_model(t, r, &which);
        pith__row_floats(t->from[which], at, x);
    } else {
        for (int k = 0; k < 2 && t->from[k]; k++) pith__row_floats(t->from[k], t->row0 + r, room + (size_t)k * n);
        for (size_t c = 0; c < cols; c++) {
            size_t at = row_in_model(t, c, &which);
            x[c] = room[(size_t)which * n + at];
        }
    }
    for (size_t c = 0; c < cols && t->change; c++)
        x[c] = t->change == LOG ? log_of_rate(x[c]) : (float)((double)x[c] - 1);
}

typedef struct {         /* n rows on their way to y */
    const folder_tensor *t;
    size_t r0;
    const float *block;  /* (cols, n) numbers of those that are columns of the model's rows, else NULL */
    size_t n;
    uint8_t *y;
    int *wrong;          /* (n) 1: has what is no number, infinite, or too large for the format */
} folder_rows;

static void encode_folder_row(const void *data, size_t i, uint8_t *scratch) {
    const folder_rows *j = data;
    const folder_tensor *t = j->t;
    size_t cols = t->tensor.cols;
    float *x = (float *)(void *)scratch;
    if (j->block) for (size_t c = 0; c < cols; c++) x[c] = j->block[c * j->n + i];
    else floats_for_row(t, j->r0 + i, x, x + t->g->widest);
    j->wrong[i] = t->to->encode(j->y + i * t->tensor.row_bytes, x, cols, NULL);
}

/* Columns c0 to c0 + n of rows row0 and following of the model. */
static int load_columns(const folder_tensor *t, size_t row0, size_t c0, size_t n, float *block) {
    float *row = malloc(t->from[0]->cols * sizeof *row);
    int which;
    for (size_t c = 0; row && c < t->tensor.cols; c++) {
        size_t at = row_in_model(t, row0 + c, &which);
        pith__row_floats(t->from[which], at, row);
        memcpy(block + c * n, row + c0, n * sizeof *row);
    }
    free(row);
    return row ? PITH_OK : PITH_EMEMORY;
}

/* As many of the n rows from r on as are found in one way; how many that were. */
static size_t put_folder_rows(const folder_tensor *t, size_t r, size_t n, uint8_t *y, int *wrong, int *code) {
    size_t cols = t->tensor.cols, high = t->tensor.n_dim > 1 ? (size_t)t->tensor.shape[t->tensor.n_dim - 2] : 1;
    size_t k = r % high, left = high - k;
    folder_tensor values = *t;
    folder_rows j = { .t = t, .r0 = r, .y = y, .wrong = wrong };
    int turned = t->way == TURNED || (t->way == KV_B && r % t->each < t->first);
    if (t->way == KV_B) k = r % t->each, left = (turned ? t->first : t->each) - k;
    if (t->way != TURNED && t->way != KV_B) left = n;
    j.n = n < left ? n : left;
    if (turned) {
        float *block = malloc(cols * j.n * sizeof *block);
        size_t head = t->way == KV_B ? r / t->each : r / high;
        *code = block ? load_columns(t, head * cols, k, j.n, block) : PITH_EMEMORY;
        j.block = block;
    } else if (t->way == KV_B) {
        values.from[0] = t->from[1], values.way = ITS_ROWS;
        values.row0 = r / t->each * (t->each - t->first) + k - t->first;
        j.t = &values, j.r0 = 0;
    }
    if (!*code) pith__share(&t->g->team, j.n, pith__worth_it(j.n * cols * 16), encode_folder_row, &j);
    free((void *)(uintptr_t)j.block);
    return j.n;
}

static int fail_folder_number(const folder_tensor *t, size_t r) {
    pith__str name = t->from[0]->name;
    return pith__fail(t->g->err, PITH_EFORMAT,
                      "%s: tensor '%.*s' has a number that is NaN, infinite or too large for %s, in row %zu"
                      " of what it becomes (--allow-nan)", t->g->m->store.path, name.n < 100 ? (int)name.n : 100,
                          name.p, t->to->name, r);
}

static int write_folder_rows(void *data, size_t r0, size_t n, uint8_t *y) {
    folder_tensor *t = data;
    folder_making *g = t->g;
    int *wrong = calloc(n, sizeof *wrong), code = wrong ? PITH_OK : PITH_EMEMORY;
    for (size_t i = 0; i < n && !code;)
        i += put_folder_rows(t, r0 + i, n - i, y + i * t->tensor.row_bytes, wrong + i, &code);
    for (size_t i = 0; i < n && !code; i++)
        if (wrong[i] && g->plan->finite) code = fail_folder_number(t, r0 + i);
    free(wrong);
    g->done += n * t->tensor.row_bytes;
    if (code || !g->plan->progress) return code;
    return pith__tell(g->plan->progress, g->plan->what ? g->plan->what : "writing", g->done, g->all, g->err);
}

/* ---- which tensors ------------------------------------------------------------------------------------- */

static void make_no_memory(folder_making *g) {
    if (!g->code) g->code = pith__fail(g->err, PITH_EMEMORY, "%s: no memory to write it", g->folder);
}

/* What GGUF has in F32 whatever its matrices are: 1: each number is what it was in format f too. */
static int fits_in(const folder_making *g, const folder_tensor *t, const pith__format *f) {
    size_t cols = t->tensor.cols;
    float *x = malloc((g->widest + 2 * cols + 1) * 2 * sizeof *x), *y = x + cols;
    uint8_t *code = malloc(cols * (size_t)f->bytes + 1);
    int same = x && code;
    for (size_t r = 0; r < t->tensor.rows && same; r++) {
        floats_for_row(t, r, x, y + cols);
        f->encode(code, x, cols, NULL);
        f->floats(y, code, cols);
        same = !memcmp(x, y, cols * sizeof *x);
    }
    free(x), free(code);
    return same;
}

static int is_folder_small(pith__str name, const pith__tensor *t) {
    static const char *const ends[] = { ".ffn_gate_inp.weight", ".ffn_gate_inp_shexp.weight", "conv.weight",
                                        "conv1d.weight", "_exps.bias" };
    int small = t->n_dim < 2;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) small |= pith__name_ends(name, ends[i]);
    return small;
}

/* The tensor that GGUF would call gguf, with the shape it has in t. */
static void add_folder_tensor(folder_making *g, const char *gguf, const folder_tensor *t) {
    char room[PITH__HF_NAME];
    const char *name = pith__shown_name(&g->style, gguf, room);
    pith__str plain = pith__str_of(gguf);
    int fused = pith__name_ends(pith__str_of(name), ".qkv_proj.weight") && !(g->style.hf_style & PITH__HF_FUSED);
    if (g->code) return;
    if (!strcmp(name, gguf) || fused) {
        g->code = pith__fail(g->err, PITH_EARCH, "%s: transformers has no name for '%s' of %s", g->folder, name,
                             g->m->store.path);
        return;
    }
    if (g->n == g->room) {
        size_t more = 2 * g->room + 256;
        folder_tensor *table = pith__arena_new(&g->arena, more, sizeof *table);
        if (!table) { make_no_memory(g); return; }
        if (g->n) memcpy(table, g->tensor, g->n * sizeof *table);
        g->tensor = table, g->room = more;
    }
    folder_tensor *to = &g->tensor[g->n++];
    *to = *t;
    to->g = g;
    char *copy = pith__arena_text(&g->arena, name, strlen(name));
    to->tensor.name = pith__str_of(copy ? copy : "");
    to->tensor.format = t->from[0]->format;
    if (!copy) make_no_memory(g);
    for (int k = 0; k < 2 && t->from[k]; k++)
        g->widest = t->from[k]->cols * 2 > g->widest ? t->from[k]->cols * 2 : g->widest;
    g->widest = to->tensor.cols > g->widest ? to->tensor.cols : g->widest;
    const pith__format *want = g->plan->to;
    to->to = is_folder_small(plain, &to->tensor) && t->way < TURNED && !fits_in(g, to, want)
        ? pith__format_of(PITH__F32) : want;
    to->tensor.row_bytes = to->tensor.cols * (size_t)to->to->bytes;
    g->all += to->tensor.rows * to->tensor.row_bytes;
}

/* (rows, cols), or (n, rows, cols) */
static void set_shape(folder_tensor *t, size_t n, size_t rows, size_t cols) {
    t->tensor.n_dim = n ? 3 : 2;
    t->tensor.shape[0] = n ? n : rows, t->tensor.shape[1] = n ? rows : cols, t->tensor.shape[2] = n ? cols : 0;
    t->tensor.rows = n ? n * rows : rows, t->tensor.cols = cols;
}

static folder_tensor folder_tensor_of(const pith__tensor *own) {
    folder_tensor t = { .tensor = *own, .from = { own, NULL } };
    t.tensor.scale = NULL, t.tensor.data = NULL;
    return t;
}

static const pith__tensor *beside(const folder_making *g, int l, const char *name) {
    char full[PITH__HF_NAME];
    snprintf(full, sizeof full, "blk.%d.%s", l, name);
    return pith__store_tensor(&g->m->store, full);
}

/* ---- experts ------------------------------------------------------------------------------------------- */

/* Each expert as a tensor, of rows row0 to row0 + rows of its part of the stack. */
static void unstack(folder_making *g, int l, const char *part, const pith__tensor *stack, size_t row0, size_t rows) {
    size_t n = (size_t)g->m->hyper.n_expert;
    char name[PITH__HF_NAME];
    for (size_t e = 0; e < n && !g->code; e++) {
        folder_tensor t = folder_tensor_of(stack);
        set_shape(&t, 0, rows, stack->cols);
        t.row0 = e * (stack->rows / n) + row0;
        snprintf(name, sizeof name, "blk.%d.ffn_%s.%zu.weight", l, part, e);
        add_folder_tensor(g, name, &t);
    }
}

/* gate and up as one tensor: one behind the other, or in turns (gpt-oss). turned: inputs are rows. */
static void join_gate_up(folder_making *g, int l, const pith__tensor *gate, const pith__tensor *up, const char *name) {
    size_t n = (size_t)g->m->hyper.n_expert, rows = gate->rows / n;
    int oss = (g->style.hf_style & PITH__HF_GPTOSS) != 0, turned = oss || g->style.hf_style & PITH__HF_LLAMA4;
    char full[PITH__HF_NAME];
    folder_tensor t = folder_tensor_of(gate);
    t.order = oss ? IN_TURNS : BEHIND, t.each = rows, t.from[1] = up;
    if (turned) t.way = TURNED, set_shape(&t, n, gate->cols, 2 * rows);
    else set_shape(&t, n, 2 * rows, gate->cols);
    snprintf(full, sizeof full, "blk.%d.%s", l, name);
    add_folder_tensor(g, full, &t);
}

/* A stack as it is, or with inputs as rows. */
static void keep_stack(folder_making *g, int l, const char *part, const pith__tensor *stack) {
    size_t n = (size_t)g->m->hyper.n_expert, rows = stack->rows / n;
    char full[PITH__HF_NAME];
    folder_tensor t = folder_tensor_of(stack);
    if (g->style.hf_style & (PITH__HF_GPTOSS | PITH__HF_LLAMA4)) t.way = TURNED, set_shape(&t, n, stack->cols, rows);
    snprintf(full, sizeof full, "blk.%d.%s", l, part);
    add_folder_tensor(g, full, &t);
}

/* Biases of gate and up, (n_expert, rows) each, in turns. */
static void join_biases(folder_making *g, int l, const pith__tensor *gate, const pith__tensor *up) {
    char full[PITH__HF_NAME];
    folder_tensor t = folder_tensor_of(gate);
    t.way = ITS_COLUMNS, t.order = IN_TURNS, t.from[1] = up;
    set_shape(&t, 0, gate->rows, 2 * gate->cols);
    snprintf(full, sizeof full, "blk.%d.ffn_gate_up_exps.bias", l);
    add_folder_tensor(g, full, &t);
}

/* A stack of experts. What becomes one tensor with another is added where the first one is met. 0: it is none. */
static int add_folder_experts(folder_making *g, int l, const char *part, const pith__tensor *own) {
    size_t n = (size_t)g->m->hyper.n_expert, rows = n ? own->rows / n : 0;
    const pith__tensor *up = beside(g, l, "ffn_up_exps.weight"), *bias = beside(g, l, "ffn_up_exps.bias");
    int fused = !strcmp(part, "ffn_gate_up_exps.weight");
    if (!n || !strstr(part, "_exps.")) return 0;
    if (fused && g->style.hf_style & PITH__HF_GPTOSS)
        g->code = pith__fail(g->err, PITH_EARCH,
                             "%s: has gate and up of experts as one stack, which is not written here",
                                 g->m->store.path);
    if (!strcmp(part, "ffn_up_exps.weight") && g->stacked) return 1;
    if (!strcmp(part, "ffn_up_exps.bias")) return 1;
    if (!strcmp(part, "ffn_gate_exps.bias") && bias) return join_biases(g, l, own, bias), 1;
    if (fused && !g->stacked) {
        unstack(g, l, "gate", own, 0, rows / 2);
        return unstack(g, l, "up", own, rows / 2, rows / 2), 1;
    }
    if (!strcmp(part, "ffn_gate_exps.weight") && g->stacked && up)
        return join_gate_up(g, l, own, up, "ffn_gate_up_exps.weight"), 1;
    if ((fused || !strcmp(part, "ffn_down_exps.weight")) && g->stacked) return keep_stack(g, l, part, own), 1;
    char which[16];
    int used = 0;
    if (g->stacked || sscanf(part, "ffn_%15[a-z]_exps.weight%n", which, &used) != 1 || !used) return 0;
    return unstack(g, l, which, own, 0, rows), 1;
}

/* ---- all of them ------------------------------------------------------------------------------------------ */

/* A vector of the numbers of a matrix of floats. */
static void as_vector(folder_making *g, folder_tensor *t) {
    pith__tensor *flat = pith__arena_new(&g->arena, 1, sizeof *flat);
    if (!flat || t->from[0]->format->length != 1) { make_no_memory(g); return; }
    *flat = *t->from[0];
    flat->cols *= flat->rows, flat->row_bytes = flat->cols * (size_t)flat->format->bytes, flat->rows = 1;
    flat->n_dim = 1, flat->shape[0] = flat->cols, flat->shape[1] = 0;
    *t = folder_tensor_of(flat);
}

/* Qwen3.5: value heads lie in another order. */
static void order_values(folder_tensor *t, const pith__recurrent *r, pith__str name) {
    size_t dv = (size_t)(r->n_inner / r->n_head), keys = 2 * (size_t)r->n_k_head * (size_t)r->dk;
    int at = pith__hf_delta_heads(name);
    if (!at || r->n_head == r->n_k_head) return;
    t->order = BY_VALUE_HEAD, t->n_head = (size_t)r->n_k_head, t->n_rep = (size_t)(r->n_head / r->n_k_head);
    t->each = at & PITH__HEADS_WIDE ? dv : 1, t->first = at & PITH__HEADS_BEHIND ? keys : 0;
    if (at & PITH__HEADS_COLUMNS) t->way = ITS_COLUMNS;
}

static int is_q_or_k(const char *part) {
    static const char *const names[] = { "attn_q.weight", "attn_k.weight", "attn_q.bias", "attn_k.bias" };
    int is = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) is |= !strcmp(part, names[i]);
    return is;
}

static int is_folder_norm(const folder_making *g, const char *part) { /* that the folder has as w for 1 + w */
    int gemma = !strncmp(g->m->hyper.arch, "gemma", 5) && strcmp(g->m->hyper.arch, "gemma4") != 0;
    return (gemma || g->style.hf_style & PITH__HF_DELTA) && strstr(part, "norm") &&
        strcmp(part, "ssm_norm.weight") != 0;
}

/* The tensor blk.l.PART, or, l -1, PART. */
static void add_as_one(folder_making *g, int l, const char *part, const char *gguf, const pith__tensor *own) {
    const pith__hyper *h = &g->m->hyper;
    const pith__layer *layer = l >= 0 ? &g->m->layer[l] : NULL;
    int style = g->style.hf_style, laid = pith__hf_laid(style, own->name);
    folder_tensor t = folder_tensor_of(own);
    if (!strcmp(part, "ssm_a") || !strcmp(part, "ssm_d") || !strcmp(part, "ssm_norm.weight")) as_vector(g, &t);
    if (g->code) return;
    if (!strcmp(part, "ssm_a")) t.change = LOG;
    if (is_folder_norm(g, part)) t.change = LESS_ONE;
    if (layer && style & PITH__HF_DELTA && layer->mixer == PITH__DELTA) order_values(&t, &layer->recurrent, own->name);
    int neighbours = !h->rope_half && !h->rope_as_is && !h->latent.rank && !(style & PITH__HF_LLAMA4);
    if (layer && is_q_or_k(part) && neighbours)
        t.order = PAIRS, t.each = (size_t)layer->head_dim, t.first = (size_t)layer->n_rot / 2;
    if (laid == PITH__BY_HEAD) t.order = BY_HEAD, t.each = (size_t)h->head_dim, t.n_head = (size_t)h->n_head;
    if (t.order && own->rows == 1) t.way = ITS_COLUMNS;
    if (laid == PITH__ACROSS) t.way = TURNED, set_shape(&t, 0, own->cols, own->rows);
    if (pith__name_ends(own->name, "conv.weight") || pith__name_ends(own->name, "conv1d.weight")) {
        t.tensor.n_dim = 3, t.tensor.shape[2] = t.tensor.shape[1], t.tensor.shape[1] = 1;
    }
    add_folder_tensor(g, gguf, &t);
}

/* Keys and values of latents as one matrix. */
static void join_kv_b(folder_making *g, int l, const pith__tensor *k_b) {
    const pith__hyper *h = &g->m->hyper;
    char full[PITH__HF_NAME];
    folder_tensor t = folder_tensor_of(k_b);
    t.way = KV_B, t.from[1] = beside(g, l, "attn_v_b.weight");
    t.first = (size_t)h->latent.n_nope, t.each = t.first + (size_t)h->latent.n_value;
    set_shape(&t, 0, (size_t)g->m->layer[l].n_head * t.each, (size_t)h->latent.rank);
    snprintf(full, sizeof full, "blk.%d.attn_kv_b.weight", l);
    add_folder_tensor(g, full, &t);
}

/* Granite 4: gate and up of its one network, or of the shared one, are one matrix. 0: this is neither. */
static int add_granite(folder_making *g, int l, const char *part, const pith__tensor *own) {
    const char *end = g->style.hf_style & PITH__HF_GRANITE4_MOE ? "_shexp.weight" : ".weight";
    char gate[32], up[32], full[PITH__HF_NAME];
    snprintf(gate, sizeof gate, "ffn_gate%s", end), snprintf(up, sizeof up, "ffn_up%s", end);
    const pith__tensor *other = beside(g, l, up);
    if (!(g->style.hf_style & PITH__HF_GRANITE4) || !beside(g, l, gate) || !other) return 0;
    if (!strcmp(part, up)) return 1;
    if (strcmp(part, gate) != 0) return 0;
    folder_tensor t = folder_tensor_of(own);
    t.order = BEHIND, t.each = own->rows, t.from[1] = other;
    set_shape(&t, 0, 2 * own->rows, own->cols);
    snprintf(full, sizeof full, "blk.%d.%s", l, up);
    return add_folder_tensor(g, full, &t), 1;
}

static void add_own_tensor(folder_making *g, const pith__tensor *own) {
    static const char *const left[] = { "rope_", "dense_", "adam_m.", "adam_v.",
                                        "pith.train." }; /* said elsewhere, or training's */
    char gguf[PITH__HF_NAME];
    snprintf(gguf, sizeof gguf, "%.*s", own->name.n < sizeof gguf ? (int)own->name.n : 0, own->name.p);
    for (size_t i = 0; i < sizeof left / sizeof *left; i++)
        if (!strncmp(gguf, left[i], strlen(left[i]))) return;
    int l = pith__layer_of(own->name);
    const char *part = l < 0 ? gguf : strchr(gguf + 4, '.') + 1;
    if (l >= g->m->hyper.n_layer) {
        g->code = pith__fail(g->err, PITH_EARCH, "%s: has layers that only guess ahead ('%s'), which %s would lack",
                             g->m->store.path, gguf,
                             g->folder);
        return;
    }
    if (l >= 0 && (add_folder_experts(g, l, part, own) || add_granite(g, l, part, own) ||
                   !strcmp(part, "attn_v_b.weight"))) return;
    if (l >= 0 && !strcmp(part, "attn_k_b.weight")) join_kv_b(g, l, own);
    else add_as_one(g, l, part, gguf, own);
}

static int begin_folder(folder_making *g) {
    const pith_model *m = g->m;
    for (size_t i = 0; i < m->store.n_tensor && !g->code; i++) add_own_tensor(g, &m->store.tensor[i]);
    if (g->code) return g->code;
    g->out = pith__arena_new(&g->arena, g->n + 1, sizeof *g->out);
    g->team.n_threads = m->n_threads;
    g->team.scratch_bytes = (2 * g->widest * sizeof(float) + 63) / 64 * 64;
    g->team.scratch = pith__arena_new(&g->arena, (size_t)m->n_threads, g->team.scratch_bytes);
    if (!g->out || !g->team.scratch) make_no_memory(g);
    for (size_t i = 0; i < g->n && !g->code; i++)
        g->out[i] = (pith__out){ .tensor = &g->tensor[i].tensor, .to = g->tensor[i].to, .rows = write_folder_rows,
                                 .data = &g->tensor[i] };
    if (!g->code && g->plan->choose) g->code = g->plan->choose(g->plan->chooser, g->out, g->n, g->err);
    return g->code;
}

/* ---- the folder ----------------------------------------------------------------------------------------- */

typedef struct {
    folder_making *g;
    const struct pith__small_file *made; /* (n_made) */
    size_t n_made;
} folder_job;

static void write_with_team(void *data) {
    folder_job *j = data;
    const pith__merge *p = j->g->plan;
    const pith__vocab *v = &p->m->store.vocab;
    int own = !v->tool_template.n && !p->chat_template.n;
    const pith__folder_files f = { .made = j->made, .n_made = j->n_made, .dtype = p->to,
                                   .chat_template = own ? v->chat_template : p->chat_template, .merged = p->merged };
    j->g->code = pith__folder_write(&f, j->g->out, j->g->n, j->g->folder, j->g->err);
}

static int write_weights(const pith__merge *p, const char *type, folder_job *j, const char *folder, pith_error *err) {
    folder_making g = { .plan = p, .m = p->m, .folder = folder, .err = err };
    int style = pith__hf_style_of(type), moe = p->m->hyper.n_expert > 0;
    g.style.is_folder = 1;
    g.style.hf_style = style | (style & PITH__HF_GRANITE4 && moe ? PITH__HF_GRANITE4_MOE : 0);
    g.stacked = g.style.hf_style & (PITH__HF_GEMMA4 | PITH__HF_GPTOSS | PITH__HF_LLAMA4 | PITH__HF_GRANITE4_MOE) ||
        !strcmp(type, "mistral4");
    j->g = &g;
    if (!begin_folder(&g)) pith__together(&g.team, write_with_team, j);
    pith__arena_free(&g.arena);
    return g.code;
}

PITH_SHARED int pith__folder_make(const pith__merge *p, const char *folder, pith_error *err) {
    enum { FILES = 6 };
    static const char *const names[FILES] = { "config.json", "generation_config.json", "modules.json", "1_Pooling/config.json",
                                              "tokenizer_config.json", "tokenizer.json" };
    pith__said said[FILES] = { { NULL, 0, 0, 0 } };
    struct pith__small_file made[FILES];
    int tokens = p->m->store.vocab.model != PITH__NONE, n = 0;
    const char *type = pith__folder_config(p->m, p->to, folder, &said[0], err);
    int code = type ? PITH_OK : PITH_EARCH;
    if (!code) pith__folder_generation(p->m, &said[1]);
    if (!code) pith__folder_steps(p->m, &said[2], &said[3]);
    if (!code && tokens) pith__folder_tokens(p->m, &said[4]);
    if (!code && tokens) code = pith__folder_tokenizer(p->m, folder, &said[5], err);
    for (int i = 0; i < FILES && !code; i++) {
        if (said[i].failed) code = pith__fail(err, PITH_EMEMORY, "%s: no memory to write it", folder);
        else if (said[i].n) made[n++] = (struct pith__small_file){ names[i], { said[i].p, said[i].n } };
    }
    folder_job j = { .made = made, .n_made = (size_t)n };
    if (!code) code = write_weights(p, type, &j, folder, err);
    for (int i = 0; i < FILES; i++) free(said[i].p);
    return code;
}
