/* info.c - run info: what a model file holds, and the memory it takes to run it. */
#include "verbs.h"

#include <string.h>

enum { EMBEDDING, ATTENTION, FEED_FORWARD, NORMS, OUTPUT, OTHER, GROUPS };

static const char *const group_names[GROUPS] = { "embedding", "attention", "feed-forward", "norms",
                                                 "output", "other" };

static int has(pith__str name, const char *part) {
    size_t n = strlen(part);
    for (size_t i = 0; i + n <= name.n; i++)
        if (!memcmp(name.p + i, part, n)) return 1;
    return 0;
}

static int part_of(pith__str name) {
    return has(name, "norm") ? NORMS : has(name, "token_embd") ? EMBEDDING
         : has(name, "attn") ? ATTENTION : has(name, "ffn") ? FEED_FORWARD
         : pith__str_is(name, "output.weight") ? OUTPUT : OTHER;
}

/* "Q4_K x 24, Q6_K x 4": the formats of a group of tensors, in the order they come in the table. */
static void print_formats(output *out, const pith__store *s, int group) {
    const pith__format *seen[32];
    int n_seen = 0;
    for (size_t i = 0; i < s->n_tensor; i++) {
        const pith__format *f = s->tensor[i].format;
        int known = part_of(s->tensor[i].name) != group || n_seen == 32;
        for (int j = 0; j < n_seen && !known; j++) known = seen[j] == f;
        if (known) continue;
        size_t count = 0;
        for (size_t j = i; j < s->n_tensor; j++)
            count += s->tensor[j].format == f && part_of(s->tensor[j].name) == group;
        if (n_seen == 0) output_line(out, "%-15s ", group_names[group]);
        output_line(out, "%s%s x %zu", n_seen ? ", " : "", f->name, count);
        seen[n_seen++] = f;
    }
    if (n_seen) output_line(out, "\n");
    else if (group == OUTPUT) output_line(out, "%-15s the embedding again\n", group_names[group]);
}

static void print_vocab(output *out, const pith__vocab *v) {
    static const char *const kinds[] = { "none", "BPE by score (SentencePiece)", "BPE by rank", "WordPiece", "Unigram" };
    static const char *const spellings[] = { "", "", ", byte-level" };
    if (v->model == PITH__NONE) {
        output_line(out, "%-15s none\n", "tokenizer");
        return;
    }
    output_line(out, "%-15s %s%s, %d pieces, BOS %d, EOS %d\n", "tokenizer", kinds[v->model],
                spellings[v->spelling], v->n, v->bos, v->eos);
    if (v->pre.n) {
        output_line(out, "%-15s ", "pre-tokenizer");
        output_text(out, v->pre.p, v->pre.n);
        output_line(out, "\n");
    }
    output_line(out, "%-15s %s\n", "chat template", v->chat_template.n ? "yes" : "no");
}

static void print_size(output *out, const char *what, double bytes) {
    output_line(out, "%-15s %.0f bytes (%.1f MB)\n", what, bytes, bytes / 1e6);
}

static size_t cache_bytes(const pith_session *s) {
    const pith__hyper *h = &s->model->hyper;
    size_t sum = 0;
    for (int l = 0; l < h->n_layer; l++) {
        const pith__layer *w = &s->model->layer[l];
        int n_slot = w->mask.window ? s->n_slot_window : s->n_slot;
        if (w->kv_from != l) continue;
        sum += (size_t)pith__planes(w, 0) * pith__cache_plane(s->k_format, w->head_dim, n_slot) +
               (size_t)pith__planes(w, 1) * pith__cache_plane(s->v_format, w->head_dim, n_slot);
    }
    return sum;
}

/* How run embed makes a vector of a text. */
static void print_pooling(output *out, const pith_model *m) {
    static const char *const kinds[] = { "cls", "max", "mean", "mean_sqrt_len", "weightedmean", "last" };
    const pith__pooling *p = &m->pooling;
    const char *name, *text;
    if (!p->said && pith__is_causal(m)) return; /* a model that writes */
    output_line(out, "%-15s ", "pooling");
    for (unsigned i = 0, n = 0; i < 6; i++)
        if (p->how.pooling >> i & 1) output_line(out, "%s%s", n++ ? " + " : "", kinds[i]);
    for (int i = 0; i < p->n_dense; i++)
        output_line(out, ", Dense %zu -> %zu%s", p->dense[i].w->cols, p->dense[i].w->rows, p->dense[i].tanh ? " (tanh)" : "");
    output_line(out, "%s%s\n", p->how.normalize ? ", normalised" : ", not normalised", p->said ? "" : " (not said in the files)");
    output_line(out, "%-15s %d numbers of a text of up to %d tokens\n", "embedding", pith__embedding_size(m, &p->how),
                p->how.n_ctx);
    for (int i = 0; pith_prompt(m, i, &name, &text); i++) {
        output_line(out, "%-15s ", i ? "" : "prompts");
        output_text(out, name, strlen(name));
        output_line(out, ": ");
        output_json(out, text, strlen(text));
        output_line(out, "%s\n", text == p->how.prompt ? " (the default)" : "");
    }
}

/* What stands on the hidden states, and the first labels by their names. */
static void print_task(output *out, const pith_model *m) {
    static const char *const of[] = { "", "of a text: run ", "of each token: run ", "of each word for a mask: run " };
    int n, kind = pith_task(m, &n);
    if (!kind) return;
    output_line(out, "%-15s %d number%s %s%s\n", "head", n, n == 1 ? "" : "s", of[kind],
                kind == PITH_TASK_WORD ? "fill" : kind == PITH_TASK_TEXT && n == 1 ? "rank" : "classify");
    for (int i = 0; i < n && i < 16; i++) {
        size_t len;
        const char *label = pith_label(m, i, &len);
        if (!label) return;
        output_line(out, "%-15s %d ", i ? "" : "labels", i);
        output_text(out, label, len);
        output_line(out, "\n");
    }
}

/* What stands around the text model of one that sees or hears. */
static void print_towers(output *out, const pith__store *s) {
    const char *name;
    if (!s->n_tower) return;
    output_line(out, "%-15s", "left out");
    for (int i = 0; (name = pith__hf_tower_name(i)) != NULL; i++)
        if (s->tower >> i & 1) output_line(out, " %s", name);
    output_line(out, ": %zu tensors that no text needs\n", s->n_tower);
}

static void print_model(output *out, const pith_model *m) {
    const pith_shape *h = pith_model_shape(m);
    output_line(out, "%-15s %s\n%-15s %s\n", "kind", m->store.kind, "family", h->arch);
    output_line(out, "%-15s %d layers, %d wide, %d heads of %d, %d for keys and values, "
                "feed-forward %d\n", "shape", h->n_layer, h->n_embd, h->n_head, h->head_dim,
                h->n_kv_head, h->n_ff);
    if (m->hyper.latent.rank)
        output_line(out, "%-15s %d numbers and %d rotated ones for a token and layer, instead of %d for keys and values\n", "latents",
                    m->hyper.latent.rank, m->hyper.n_rot,
                    h->n_head * (m->hyper.latent.n_nope + m->hyper.n_rot + m->hyper.latent.n_value));
    if (m->hyper.n_expert)
        output_line(out, "%-15s %d, %d used for a token\n", "experts", m->hyper.n_expert,
                    m->hyper.n_expert_used);
    output_line(out, "%-15s %zu\n", "parameters", h->n_param);
    for (int g = 0; g < GROUPS; g++) print_formats(out, &m->store, g);
    print_task(out, m);
    print_towers(out, &m->store);
    output_line(out, "%-15s %d tokens\n", "vocabulary", h->n_vocab);
    print_vocab(out, &m->store.vocab);
    output_line(out, "%-15s %d tokens\n", "context", h->n_ctx);
    print_pooling(out, m);
    int n_threads = pith__threads(m->n_threads);
    output_line(out, "%-15s %s, %d thread%s\n", "kernels", m->kernels->name, n_threads, n_threads == 1 ? "" : "s");
}

static int print_all(const pith_model *m, model_choice *c) {
    pith_session *s = NULL;
    output out;
    int code = open_session(m, c, pith_model_shape(m)->n_ctx, &s);
    if (!code) code = output_open(&out, NULL, NULL);
    if (!code) {
        size_t all = pith_session_size(m, &c->context), cache = cache_bytes(s);
        size_t states = pith__states_floats(m) * sizeof(float) * (size_t)(s->most_mark + 1);
        print_model(&out, m);
        output_line(&out, "memory with a context of %d tokens\n", s->n_ctx);
        print_size(&out, "  weights", (double)pith_model_shape(m)->n_byte);
        print_size(&out, "  KV cache", (double)cache);
        if (states) print_size(&out, "  states", (double)states);
        print_size(&out, "  scratch", (double)(all - cache - states));
        code = output_close(&out, 1);
    }
    pith_session_free(s);
    return code;
}

static int print_together(const pith_model *m, const model_choice *c, int n) {
    pith_context context = c->context;
    pith_error e = { 0, "" };
    size_t pass, text;
    output out;
    fit_context(m, &context, n);
    double all = size_together(m, &context, n, &pass, &text);
    if (!(all > 0)) return pith_session_place(m, &context, NULL, 0, &e), report(&e); /* which says why */
    int code = output_open(&out, NULL, NULL);
    if (code) return code;
    output_line(&out, "memory of %d texts of %d tokens that go through the model together\n", n, context.n_ctx);
    print_size(&out, "  weights", (double)pith_model_shape(m)->n_byte);
    print_size(&out, "  one pass", (double)pass);
    print_size(&out, "  each text", (double)text);
    print_size(&out, "  pass and texts", all);
    return output_close(&out, 1);
}

static int print_vocabulary(const pith__store *s) {
    output out;
    int code = output_open(&out, NULL, NULL);
    if (code) return code;
    output_line(&out, "%-15s %s, a vocabulary without weights\n", "kind", s->kind);
    print_vocab(&out, &s->vocab);
    return output_close(&out, 1);
}

/* A line for each tensor: name, format, shape with the slowest dimension first, bytes. */
static int print_tensors(const pith__store *s) {
    output out;
    int code = output_open(&out, NULL, NULL);
    if (code) return code;
    output_line(&out, "tensor\ttype\tshape\tbytes\n");
    for (size_t i = 0; i < s->n_tensor; i++) {
        const pith__tensor *t = &s->tensor[i];
        output_text(&out, t->name.p, t->name.n);
        output_line(&out, "\t%s\t", t->format->name);
        for (int d = 0; d < t->n_dim; d++)
            output_line(&out, d ? " x %llu" : "%llu", (unsigned long long)t->shape[d]);
        output_line(&out, "\t%zu\n", pith__tensor_bytes(t));
    }
    return output_close(&out, 1);
}

int verb_info(int argc, char **argv) {
    static const char usage[] = "run info MODEL [options]\n"
                                "what the file holds, and the memory it takes (-c)\n\n";
    model_choice c = { 0 };
    int tensors = 0, parallel = 0;
    const flag flags[] = {
        { 0, "tensors", SWITCH, &tensors, 0, 0, "",
          "a line for each tensor instead: name, type, shape, bytes" },
        { 0, "parallel", INTEGER, &parallel, 1, INT32_MAX, "N",
          "instead, the memory of N texts of -c tokens that go through the model together" },
        MODEL_FLAGS(c),
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    int code = read_flags(argc, argv, usage, flags, &c.path);
    if (code != GO_ON) return code;
    pith_model *m = NULL;
    pith__store vocabulary;
    code = open_model_or_vocab(&c, &m, &vocabulary);
    if (code) return code;
    if (m) {
        code = tensors ? print_tensors(&m->store) : parallel ? print_together(m, &c, parallel) : print_all(m, &c);
        pith_close(m);
    } else {
        code = print_vocabulary(&vocabulary);
        pith__store_free(&vocabulary);
    }
    return code;
}
