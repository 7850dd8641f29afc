/* model.c - open a model: a store of any kind, a family, its values, its weights, its vocabulary. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- opening --------------------------------------------------------------------------------------- */

static void describe(pith_model *m) {
    const pith__hyper *h = &m->hyper;
    pith_shape *s = &m->shape;
    snprintf(s->arch, sizeof s->arch, "%s", h->arch);
    s->n_layer = h->n_layer, s->n_embd = h->n_embd, s->n_head = h->n_head;
    s->n_kv_head = h->n_kv_head, s->head_dim = h->head_dim, s->n_ff = h->n_ff;
    s->n_vocab = h->n_vocab, s->n_ctx = h->n_ctx;
    s->has_vocab = m->tokenizer != NULL, s->llama2c = m->store.llama2c;
    s->has_chat = s->has_vocab && m->store.vocab.chat_template.n > 0;
    s->bos = s->has_vocab ? m->store.vocab.bos : -1, s->eos = s->has_vocab ? m->store.vocab.eos : -1;
    for (size_t i = 0; i < m->store.n_tensor; i++) {
        const pith__tensor *t = &m->store.tensor[i];
        s->n_param += t->rows * t->cols;
        s->n_byte += pith__tensor_bytes(t);
    }
}

static const pith__kernels *choose_kernels(const char *name) {
    const pith__kernels *k = pith__x86(name);
    if (!k) k = pith__arm(name);
    if (k) return k;
    return pith__portable(name);
}

static pith__str kernels_name(int i) { /* of those that this processor runs */
    static const char *const names[] = { "portable", "avx2", "avxvnni", "avx512", "avx512bf16", "amx", "neon", "dotprod", "i8mm", "bf16" };
    for (size_t at = 0; at < sizeof names / sizeof *names; at++)
        if (choose_kernels(names[at]) && i-- == 0) return pith__str_of(names[at]);
    return pith__str_of("");
}

PITH_SHARED int pith__check_options(const pith_options *opt, pith_error *err) {
    char list[512];
    if (!opt) return PITH_OK;
    if (opt->n_threads < 0)
        return pith__fail(err, PITH_EARG, "n_threads is %d, need 0 or more", opt->n_threads);
    if (opt->kernels && !choose_kernels(opt->kernels))
        return pith__fail(err, PITH_EARG, "no kernels '%.32s', need one of:%s", opt->kernels,
                          pith__names(list, sizeof list, kernels_name));
    if (opt->pretokenizer && !pith__splitter_named(pith__str_of(opt->pretokenizer)))
        return pith__fail(err, PITH_EARG, "no pre-tokenizer '%.32s', need one of:%s", opt->pretokenizer,
                          pith__names(list, sizeof list, pith__splitter_name));
    if (opt->chat_template && !pith__chat_named(opt->chat_template))
        return pith__fail(err, PITH_EARG, "no chat template '%.32s', need one of:%s", opt->chat_template,
                          pith__names(list, sizeof list, pith__chat_name));
    return PITH_OK;
}

static void bind_vocab(pith__opening *o) {
    pith_model *m = o->m;
    pith__vocab *v = &m->store.vocab;
    if (o->code || v->model == PITH__NONE) return;
    if (v->n > m->hyper.n_vocab || (v->n < m->hyper.n_vocab && !m->store.vocab_padded)) {
        o->code = pith__fail(o->err, PITH_EFORMAT, "%s: the vocabulary has %d pieces, need %d as the"
                             " embedding has rows", m->store.path, v->n, m->hyper.n_vocab);
        return;
    }
    pith_error e = { 0, "" };
    m->tokenizer = pith__tokenizer_new(v, &e);
    if (!m->tokenizer) o->code = pith__fail(o->err, e.code, "%s: %s", m->store.path, e.text);
    if (!o->code) m->trie = pith__arena_new(&m->store.arena, 1, sizeof *m->trie);
    if (!o->code && !m->trie) o->code = pith__fail(o->err, PITH_EMEMORY, "%s: no memory", m->store.path);
}

/* A second thread has to be woken for every matrix, and is late when another process has its core: a
 * model of a few million weights, whose matrices take microseconds, is better off with one. */
static int threads_for_model(const pith_model *m) {
    return m->shape.n_param < 4000000 ? 1 : pith__may_use("").cores;
}

/* A small model lives in the processor's cache, where what counts is that a vector of 64 bytes lies in one
 * line. The matrices of its layers are copied to such places (llama2.c's version 0 has them at 28 bytes and
 * on): a tenth of the time of a 260K model. The embedding stays: a file that shrinks is still noticed. */
static void align_small(pith__opening *o) {
    pith__store *s = &o->m->store;
    enum { SMALL = 16 << 20, LINE = 64 };
    size_t bytes = 0;
    for (size_t i = 0; i < s->n_tensor; i++) bytes += s->tensor[i].rows * s->tensor[i].row_bytes;
    for (size_t i = 0; i < s->n_tensor && bytes < SMALL; i++) {
        pith__tensor *t = &s->tensor[i];
        size_t size = t->rows * t->row_bytes;
        int matrix = t->format->id == PITH__F32 && t->rows > 1;
        matrix = matrix && t->name.n > 4 && !memcmp(t->name.p, "blk.", 4);
        if (!matrix || (uintptr_t)t->data % LINE == 0) continue;
        uint8_t *to = pith__arena_new(&s->arena, size + LINE, 1);
        if (!to) {
            o->code = pith__fail(o->err, PITH_EMEMORY, "%s: no memory", s->path);
            return;
        }
        to += (LINE - (uintptr_t)to % LINE) % LINE;
        memcpy(to, t->data, size);
        t->data = to;
    }
}

/* llama2.c's int8 files: plain C works in the order of its runq.c, and the twins have the bits of plain C for
 * their matrices, which nearly all the time goes to (matmul_groups in kernels.c and groups.inc). */
static void like_runq(pith_model *m) {
    m->groups = *pith__portable(NULL);
    m->groups.name = m->kernels->name;
    m->groups.quantize = m->kernels->quantize;
    m->groups.tile_size = m->kernels->tile_size;
    m->groups.arrange = m->kernels->arrange;
    m->groups.matmul = m->kernels->matmul; /* expects its inputs as the three above leave them */
    m->groups.peak_flops = m->kernels->peak_flops;
    m->kernels = &m->groups;
}

static void open_all(pith__opening *o, const pith_options *opt) {
    pith_model *m = o->m;
    m->kernels = choose_kernels(opt->kernels);
    m->chat_template = opt->chat_template ? pith__chat_named(opt->chat_template) : NULL;
    o->code = pith__store_sort(&m->store, o->err);
    if (!o->code && m->store.n_file > 0) align_small(o); /* not what is being trained */
    if (!o->code) pith__find_family(o);
    if (!o->code) pith__read_hyper(o);
    const pith__kv_b kv_b = { m->hyper.n_head, m->hyper.latent.n_nope, m->hyper.latent.n_value, m->hyper.latent.rank };
    if (!o->code && kv_b.rank) o->code = pith__split_kv_b(&m->store, &kv_b, o->err);
    const pith__qkvz qkvz = o->code ? (pith__qkvz){ 0 } : pith__qkvz_of(o);
    if (!o->code && qkvz.dv) o->code = pith__split_qkvz(&m->store, &qkvz, o->err);
    if (!o->code) pith__bind(o);
    if (!o->code) pith__make_ropes(o); /* as long as the heads, which by now are those of the tensors */
    if (!o->code) pith__make_biases(o);
    if (!o->code) m->cache_format = m->store.llama2c || !m->layer->mask.causal ? PITH__F32 : PITH__F16; /* read only once */
    if (!o->code) pith__read_pooling(o);
    if (m->embd.tensor.group && !opt->kernels) like_runq(m);
    if (!o->code) bind_vocab(o);
    if (!o->code) describe(m);
    if (!o->code) pith__note_unused(m);
    m->n_threads = opt->n_threads > 0 ? opt->n_threads : threads_for_model(m);
}

static const pith_options no_options;

PITH_SHARED pith_model *pith__model_of(pith__store *s, const pith_options *opt, pith_error *err) {
    static const char *const what[] = { "", "a vocabulary without weights", "an adapter of another model" };
    pith_model *m = s->holds == PITH__MODEL ? calloc(1, sizeof *m) : NULL;
    pith__opening o = { m, NULL, err, PITH_OK };
    if (!m) {
        pith__folder f = { .s = s, .dir = s->path, .err = err };
        if (s->holds == PITH__MODEL) pith__fail(err, PITH_EMEMORY, "%s: no memory", s->path);
        else if (!pith__folder_is(s->path) || !pith__folder_explain(&f))
            pith__fail(err, PITH_EFORMAT, "%s: is %s, need a model", s->path, what[s->holds]);
        pith__store_free(s);
        return NULL;
    }
    m->store = *s;
    memset(s, 0, sizeof *s);
    open_all(&o, opt ? opt : &no_options);
    if (!o.code) return m;
    pith_close(m);
    return NULL;
}

pith_model *pith_open(const char *path, const pith_options *opt, pith_error *err) {
    pith__store s;
    if (!path) return pith__fail(err, PITH_EARG, "the path of the model is NULL"), NULL;
    if (pith__check_options(opt, err)) return NULL;
    return pith__open(&s, path, opt, err) ? NULL : pith__model_of(&s, opt, err);
}

pith_model *pith_open_memory(const void *data, size_t size, const pith_options *opt,
                             pith_error *err) {
    pith__store s;
    if (!data && size > 0) return pith__fail(err, PITH_EARG, "the data of the model is NULL, need %zu bytes", size), NULL;
    if (pith__check_options(opt, err)) return NULL;
    return pith__open_memory(&s, data, size, opt, err) ? NULL : pith__model_of(&s, opt, err);
}

void pith_close(pith_model *m) {
    if (!m) return;
    pith__tokenizer_free(m->tokenizer);
    if (m->trie) pith__trie_free(atomic_load(m->trie));
    pith__store_free(&m->store);
    free(m);
}

const pith_shape *pith_model_shape(const pith_model *m) { return &m->shape; }

const char *pith_model_note(const pith_model *m, int i) {
    const pith__note_line *note = m->store.note;
    while (note && i-- > 0) note = note->next;
    return note ? note->text : NULL;
}

const char *pith_version(void) { return PITH_VERSION; }

/* ---- text ------------------------------------------------------------------------------------------ */

int pith_encode(const pith_model *m, const char *text, size_t len, unsigned flags, pith_token *out,
                int cap) {
    if (!text && len > 0) return PITH_EARG;
    return m->tokenizer ? pith__tokenizer_encode(m->tokenizer, text, len, flags, out, cap) : PITH_EARG;
}

int pith_is_end(const pith_model *m, pith_token t) {
    const pith__vocab *v = &m->store.vocab;
    for (int i = 0; i < v->n_end; i++)
        if (v->end[i] == t) return 1;
    return 0;
}

const char *pith_piece(const pith_model *m, pith_token t, size_t *len) {
    size_t unused;
    if (!len) len = &unused;
    *len = 0;
    if (!m->tokenizer || t < 0 || t >= m->store.vocab.n) return NULL;
    pith__str p = pith__tokenizer_piece(m->tokenizer, t);
    *len = p.n;
    return p.p;
}

/* Detokenize: the text of one token, as it is shown (model.h). */
const char *pith_text(const pith_model *m, pith_token before, pith_token t, size_t *len) {
    const pith__vocab *v = &m->store.vocab;
    size_t unused;
    if (!len) len = &unused;
    const char *p = pith_piece(m, t, len);
    if (!p) return NULL;
    if (v->add_space && (before < 0 || before == v->bos) && *len && *p == ' ') p++, --*len;
    int blank = *len == 1 && *p >= '\t' && *p <= '\r';
    int control = *len == 1 && !blank && ((unsigned char)*p < ' ' || *p == 0x7f);
    if (control || v->type[t] == PITH__CONTROL) *len = 0;
    return p;
}
