/* t_generate_many.c - texts that are written together: each gets the tokens, the text, the random numbers and the
 * logits, bit for bit, that it gets alone, whatever stands beside it and whoever joins when. */
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

#include "golden_families.h"

enum { TEXTS = 6, CONTEXT = 96, MOST = CONTEXT + 1, ROOM = 4096, BYTE = 3 }; /* token BYTE + b is byte b */

typedef struct { /* how a text is to be written */
    int n_prompt, n_ctx, n_predict, n_draft;
    const char *cache;
    float temperature, penalty;
} plan;

static const plan plans[TEXTS] = {
    { 1, CONTEXT, 40, 0, "f16", 0.8f, 1 }, { 60, CONTEXT, 0, 0, "f32", 1.2f, 1.3f },
    { 7, 32, 0, 3, "f16", 0.3f, 1 },       { 23, CONTEXT, 50, 4, "f32", 0, 1 },
    { 12, 64, 9, 0, "f32", 0, 1.1f },      { 30, CONTEXT, 1, 0, "f16", 2, 1 },
};

typedef struct { /* what came of it */
    pith_token token[MOST];
    uint64_t logits[MOST], rng; /* a hash of what each token was drawn from */
    int n, ended;
    char text[ROOM];
    size_t n_text;
} record;

typedef struct { /* a text in progress */
    pith_session *s;
    pith_generation g;
    float *drafts;
    pith_token prompt[CONTEXT];
    record got;
} writer;

static const char *const stops[] = { "ab", "the" };

static void begin_writer(writer *w, const pith_model *m, int k, const pith_context *base) {
    const plan *p = &plans[k];
    int n_vocab = pith_model_shape(m)->n_vocab;
    pith_context c = { .n_ctx = p->n_ctx, .n_batch = base->n_batch, .cache_k = p->cache, .cache_v = p->cache,
                       .pass = base->pass };
    memset(w, 0, sizeof *w);
    w->s = pith_session_new(m, &c, NULL);
    for (int i = 0; i < p->n_prompt; i++) w->prompt[i] = (7 * (k + 1) + 31 * (i % (5 + k)) + i / 11) % n_vocab;
    w->g = (pith_generation){ .how = PITH_SAMPLING_DEFAULT, .rng = 11 + (uint64_t)k, .n_predict = p->n_predict,
                              .stop = stops, .n_stop = 2, .prompt = w->prompt, .n_prompt = p->n_prompt };
    w->g.how.temperature = p->temperature;
    w->g.how.repeat_penalty = p->penalty;
    if (!p->n_draft) return;
    w->drafts = calloc((size_t)p->n_draft + 1, (size_t)n_vocab * sizeof *w->drafts);
    pith_draft(w->s, p->n_draft, w->drafts);
}

static void end_writer(writer *w) {
    pith_generation_free(&w->g);
    pith_session_free(w->s);
    free(w->drafts);
}

static uint64_t hash(const float *x, int n) { /* FNV-1a */
    const unsigned char *p = (const unsigned char *)x;
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < (size_t)n * sizeof *x; i++) h = (h ^ p[i]) * 1099511628211u;
    return h;
}

/* What the last call gave. */
static void record_call(writer *w, int n_vocab) {
    record *r = &w->got;
    if (w->g.n_token > r->n && r->n < MOST) {
        r->token[r->n] = w->g.token;
        r->logits[r->n++] = hash(pith_logits(w->s), n_vocab);
        EQ(w->g.n_token, r->n);
    }
    if (r->n_text + w->g.n_text > ROOM) FAIL("too long");
    else if (w->g.n_text) memcpy(r->text + r->n_text, w->g.text, w->g.n_text), r->n_text += w->g.n_text;
    r->rng = w->g.rng;
    r->ended = w->g.ended;
}

/* Each by itself, the prompt evaluated before. */
static void write_alone(const pith_model *m, int k, record *r) {
    static writer w;
    begin_writer(&w, m, k, &(pith_context){ .n_batch = 0 });
    w.g.n_prompt = 0;
    EQ(pith_eval(w.s, w.prompt, plans[k].n_prompt, NULL), PITH_OK);
    for (int code = 0; !code;) {
        code = pith_generate(w.s, &w.g, NULL);
        CHECK(code == w.g.ended && code >= 0 && w.g.token >= 0);
        record_call(&w, pith_model_shape(m)->n_vocab);
    }
    *r = w.got;
    end_writer(&w);
}

/* All together in the order given; a text joins when the one before it in that order has so many tokens. */
static void write_together(const pith_model *m, const int *order, int apart, const pith_context *c, record *r) {
    static writer w[TEXTS];
    pith_session *s[TEXTS];
    pith_generation *g[TEXTS];
    int n = 0, n_on = 1, calls = 0;
    while ((n < TEXTS || n_on > 0) && calls++ < 2000) {
        while (n < TEXTS && (n == 0 || g[n - 1]->ended || w[order[n - 1]].got.n >= apart)) {
            writer *new = &w[order[n]];
            begin_writer(new, m, order[n], c);
            s[n] = new->s, g[n++] = &new->g;
        }
        int on = 0;
        n_on = pith_generate_many(s, g, n, NULL);
        for (int i = 0; i < n; i++) {
            record_call(&w[order[i]], pith_model_shape(m)->n_vocab);
            on += !g[i]->ended;
        }
        EQ(n_on, on);
    }
    for (int k = 0; k < TEXTS; k++) {
        r[k] = w[k].got;
        end_writer(&w[k]);
    }
}

static int same(const record *a, const record *b) {
    return a->n == b->n && a->ended == b->ended && a->rng == b->rng && a->n_text == b->n_text &&
           !memcmp(a->text, b->text, a->n_text) && !memcmp(a->token, b->token, (size_t)a->n * sizeof *a->token) &&
           !memcmp(a->logits, b->logits, (size_t)a->n * sizeof *a->logits);
}

/* In n of the six ways, from the first on. */
static void compare(const char *name, const pith_model *m, int first, int n) {
    static const int order[3][TEXTS] = { { 0, 1, 2, 3, 4, 5 }, { 5, 3, 1, 4, 2, 0 }, { 2, 0, 5, 1, 3, 4 } };
    static record alone[TEXTS], together[TEXTS];
    for (int k = 0; k < TEXTS; k++) write_alone(m, k, &alone[k]);
    CHECK(alone[0].n + alone[1].n + alone[2].n > 20); /* there is something to compare */
    for (int i = first; i < first + n; i++) {
        pith_context most = { .n_ctx = CONTEXT, .n_batch = i % 3 ? 3 * i : 0 }, c = most;
        if (i % 2) c.pass = pith_pass_new(m, &most, NULL);
        write_together(m, order[i % 3], i < 3 ? 0 : i, &c, together);
        for (int k = 0; k < TEXTS; k++)
            if (!same(&together[k], &alone[k]))
                FAIL("%s: text %d differs (order %d): %d tokens, ended %d; alone %d, %d", name, k, i, together[k].n,
                     together[k].ended, alone[k].n, alone[k].ended);
        pith_pass_free(c.pass);
    }
}

static pith_model *open_bytes(const bytes *b, const char *tokenizer, int threads) {
    pith_options opt = { .tokenizer = tokenizer, .n_threads = threads };
    pith_error e = { 0, "" };
    pith_model *m = pith_open_memory(b->p, b->n, &opt, &e);
    if (!m) printf("Bail out! %s\n", e.text), exit(1);
    return m;
}

TEST(texts_of_all_families_are_those_of_each_alone) {
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        bytes b = fixture_gguf(goldens[i].keys, goldens[i].tensors, goldens[i].seed);
        pith_model *m = open_bytes(&b, NULL, 1 + (int)i % 2);
        compare(goldens[i].name, m, (int)i % 6, 1);
        pith_close(m);
        free(b.p);
    }
}

TEST(threads_draw_from_a_large_vocabulary) {
    bytes b = fixture_gguf("general.architecture llama; llama.block_count 1; llama.embedding_length 32; "
        "llama.feed_forward_length 32; llama.attention.head_count 1; llama.context_length 96; "
        "llama.attention.layer_norm_rms_epsilon 1e-5", "token_embd.weight 20000 32; output_norm.weight 32; "
        "blk.0.attn_norm.weight 32; blk.0.attn_q.weight 32 32; blk.0.attn_k.weight 32 32; blk.0.attn_v.weight 32 32; "
        "blk.0.attn_output.weight 32 32; blk.0.ffn_norm.weight 32; blk.0.ffn_gate.weight 32 32; "
        "blk.0.ffn_up.weight 32 32; blk.0.ffn_down.weight 32 32", 2);
    pith_model *m = open_bytes(&b, NULL, 3);
    compare("large", m, 1, 1);
    pith_close(m);
    free(b.p);
}

/* ---- a model with a vocabulary ---------------------------------------------------------------------- */

static bytes file;
static pith_model *model;

static void set_up(void) {
    char path[] = "/tmp/t_generate_many.XXXXXX";
    bytes v = fixture_tokenizer();
    int fd = mkstemp(path);
    if (fd < 0 || save(&v, path)) printf("Bail out! no file\n"), exit(1);
    file = fixture_llama2c(&fixture_tiny, 0, 3);
    model = open_bytes(&file, path, 1);
    close(fd);
    unlink(path);
    free(v.p);
}

TEST(their_text_and_stop_texts_are_too) {
    compare("tiny", model, 0, 6);
}

/* ---- prompts ---------------------------------------------------------------------------------------- */

TEST(a_long_prompt_takes_calls_in_which_the_others_go_on) {
    pith_context c = { .n_ctx = 64, .n_batch = 8 };
    pith_token t[40] = { 1 };
    for (int i = 1; i < 40; i++) t[i] = BYTE + 'a' + i % 20;
    pith_session *s[2] = { pith_session_new(model, &c, NULL), pith_session_new(model, &c, NULL) };
    pith_generation a = { .prompt = t, .n_prompt = 2 }, b = { .prompt = t, .n_prompt = 40 }, *g[2] = { &a, &b };
    EQ(pith_generate_many(s, g, 1, NULL), 1);
    EQ(a.n_token, 1);
    static const int read[] = { 7, 14, 21, 28, 35 }; /* 8 rows, one of them for the first text */
    for (int i = 0; i < 5; i++) {
        EQ(pith_generate_many(s, g, 2, NULL), 2);
        CHECK(a.n_token == 2 + i && a.token >= 0 && a.n_text + 1 > 0);
        CHECK(b.n_token == 0 && b.token == -1 && b.n_text == 0 && b.text && !b.ended);
        EQ(pith_position(s[1]), read[i]);
    }
    EQ(pith_generate_many(s, g, 2, NULL), 2);
    CHECK(b.n_token == 1 && b.token >= 0);
    EQ(pith_position(s[1]), 40);
    EQ(pith_generate_many(s, g, 2, NULL), 2);
    EQ(pith_position(s[1]), 41);
    pith_generation_free(&a), pith_generation_free(&b);
    pith_session_free(s[0]), pith_session_free(s[1]);
}

TEST(prompts_share_the_rows_of_a_pass_in_their_order) {
    pith_context c = { .n_ctx = 64, .n_batch = 8 };
    pith_token t[12] = { 1 };
    pith_session *s[2] = { pith_session_new(model, &c, NULL), pith_session_new(model, &c, NULL) };
    pith_generation a = { .prompt = t, .n_prompt = 12 }, b = a, *g[2] = { &a, &b };
    static const int read[][2] = { { 8, 0 }, { 12, 4 }, { 13, 11 }, { 14, 12 } };
    for (int i = 0; i < 4; i++) {
        EQ(pith_generate_many(s, g, 2, NULL), 2);
        EQ(pith_position(s[0]), read[i][0]);
        EQ(pith_position(s[1]), read[i][1]);
    }
    EQ(b.n_token, 1);
    pith_generation_free(&a), pith_generation_free(&b);
    pith_session_free(s[0]), pith_session_free(s[1]);
}

TEST(prompts_are_read_however_many_texts_are_written) {
    enum { N = 5 };
    pith_context c = { .n_ctx = 64, .n_batch = 2 };
    pith_token t[6] = { 1, BYTE + 'a', BYTE + 'b', BYTE + 'c', BYTE + 'd', BYTE + 'e' };
    pith_session *s[N];
    pith_generation many[N] = { { .n_predict = 0 } }, *g[N];
    for (int i = 0; i < N; i++) {
        s[i] = pith_session_new(model, &c, NULL), g[i] = &many[i];
        many[i] = (pith_generation){ .prompt = t, .n_prompt = i == 2 ? 6 : 1 };
    }
    for (int i = 0; i < 6; i++) pith_generate_many(s, g, N, NULL);
    EQ(many[2].n_token, 1);
    for (int i = 0; i < N; i++) pith_generation_free(&many[i]), pith_session_free(s[i]);
}

TEST(a_prompt_goes_behind_what_the_session_has) {
    pith_token t[6] = { 1, BYTE + 'a', BYTE + 'b', BYTE + 'c', BYTE + 'd', BYTE + 'e' };
    pith_session *one = pith_session_new(model, NULL, NULL), *two = pith_session_new(model, NULL, NULL);
    pith_generation a = { .prompt = t, .n_prompt = 6 }, b = { .prompt = t + 4, .n_prompt = 2 };
    EQ(pith_eval(two, t, 4, NULL), PITH_OK);
    EQ(pith_generate(one, &a, NULL), 0);
    EQ(pith_generate(two, &b, NULL), 0);
    EQ(a.token, b.token);
    EQ(pith_position(two), 6);
    pith_generation_free(&b);
    CHECK(b.n_prompt == 2 && b.ended == 0);
    pith_generation_free(&a), pith_session_free(one), pith_session_free(two);
}

TEST(a_text_may_be_cancelled_while_its_prompt_is_read) {
    pith_context c = { .n_ctx = 64, .n_batch = 2 };
    pith_token t[6] = { 1, BYTE + 'a', BYTE + 'b', BYTE + 'c', BYTE + 'd', BYTE + 'e' };
    pith_session *s = pith_session_new(model, &c, NULL);
    pith_generation a = { .prompt = t, .n_prompt = 6 };
    EQ(pith_generate(s, &a, NULL), 0);
    CHECK(a.token == -1 && pith_position(s) == 2);
    a.cancel = 1;
    EQ(pith_generate(s, &a, NULL), PITH_CANCEL);
    CHECK(a.n_token == 0 && a.n_text == 0 && pith_position(s) == 2);
    pith_generation_free(&a), pith_session_free(s);
}

/* ---- what is wrong with one text --------------------------------------------------------------------- */

typedef struct { /* two texts, of which the first is sound */
    pith_session *s[2];
    pith_generation a, b, *g[2];
    pith_token t[40];
} pair;

static void begin_pair(pair *p) {
    memset(p, 0, sizeof *p);
    p->t[0] = 1;
    for (int i = 1; i < 40; i++) p->t[i] = BYTE + 'a' + i % 20;
    for (int i = 0; i < 2; i++) p->s[i] = pith_session_new(model, &(pith_context){ .n_ctx = 32 }, NULL);
    p->a = p->b = (pith_generation){ .prompt = p->t, .n_prompt = 3 };
    p->g[0] = &p->b, p->g[1] = &p->a;
}

static void end_pair(pair *p) {
    for (int i = 0; i < 2; i++) pith_generation_free(p->g[i]), pith_session_free(p->s[i]);
}

/* The second ends with this error, and the first goes on, then and after. */
static void only_one_ends(pair *p, int code, const char *says) {
    pith_error e = { 0, "" };
    int n = p->a.n_token, n_b = p->b.n_token;
    EQ(pith_generate_many(p->s, p->g, 2, &e), 1);
    EQ(p->b.ended, code);
    EQ(e.code, code);
    if (!strstr(e.text, says)) FAIL("'%s' does not say '%s'", e.text, says);
    EQ(p->a.n_token, n + 1);
    EQ(pith_generate_many(p->s, p->g, 2, NULL), 1);
    EQ(p->a.n_token, n + 2);
    CHECK(p->b.ended == code && p->b.n_token == n_b && p->b.n_text == 0 && p->b.text);
}

TEST(an_error_ends_the_one_text_that_has_it) {
    pair p;
    uint32_t none[(FIXTURE_VOCAB + 31) / 32] = { 0 };
    begin_pair(&p);
    EQ(pith_generate_many(p.s, p.g, 2, NULL), 2);
    p.b.how.allow = none;
    only_one_ends(&p, PITH_EARG, "no token is allowed");
    p.b.how.allow = NULL, p.b.ended = 0; /* it goes on where it was */
    EQ(pith_generate_many(p.s, p.g, 2, NULL), 2);
    EQ(p.b.n_token, 2);
    end_pair(&p);

    begin_pair(&p);
    p.b.n_prompt = 33;
    only_one_ends(&p, PITH_EFULL, "the prompt has 33 tokens, the context of 32");
    EQ(pith_position(p.s[0]), 0);
    end_pair(&p);

    begin_pair(&p);
    p.b.n_prompt = 0;
    only_one_ends(&p, PITH_EARG, "no token was evaluated");
    end_pair(&p);

    begin_pair(&p);
    pith_token wrong[2] = { 1, FIXTURE_VOCAB };
    p.b.prompt = wrong, p.b.n_prompt = 2;
    only_one_ends(&p, PITH_EARG, "token 300 is not in the vocabulary");
    end_pair(&p);

    begin_pair(&p);
    p.b.prompt = NULL;
    only_one_ends(&p, PITH_EARG, "prompt is NULL");
    p.b.prompt = p.t, p.b.n_prompt = -1, p.b.ended = 0;
    only_one_ends(&p, PITH_EARG, "n_prompt is -1");
    end_pair(&p);

    begin_pair(&p);
    EQ(pith_generate_many(p.s, p.g, 2, NULL), 2);
    EQ(pith_eval(p.s[0], p.t, 29, NULL), PITH_OK); /* somebody else fills the context */
    only_one_ends(&p, PITH_EFULL, "the context of 32 tokens is full");
    end_pair(&p);
}

TEST(a_call_that_cannot_be_moves_no_text) {
    pith_error e = { 0, "" };
    pair p;
    bytes b = fixture_llama2c(&fixture_tiny, 0, 4);
    pith_model *other = open_bytes(&b, NULL, 1);
    begin_pair(&p);
    EQ(pith_generate_many(p.s, p.g, 2, NULL), 2);
    pith_session *same_s[2] = { p.s[1], p.s[1] }, *null_s[2] = { p.s[0], NULL };
    pith_session *stranger[2] = { p.s[0], pith_session_new(other, NULL, NULL) };
    pith_generation *same_g[2] = { &p.a, &p.a }, *null_g[2] = { &p.b, NULL };
    const struct { pith_session *const *s; pith_generation *const *g; int n; const char *says; } bad[] = {
        { same_s, p.g, 2, "text 1: the session is that of text 0" },
        { p.s, same_g, 2, "text 1: the pith_generation is that of text 0" },
        { null_s, p.g, 2, "text 1: the session is NULL" }, { p.s, null_g, 2, "text 1: the pith_generation is NULL" },
        { stranger, p.g, 2, "text 1: the session is of another model" },
        { NULL, p.g, 2, "2 texts" }, { p.s, NULL, 2, "2 texts" }, { p.s, p.g, -1, "-1 texts" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        EQ(pith_generate_many(bad[i].s, bad[i].g, bad[i].n, &e), PITH_EARG);
        if (!strstr(e.text, bad[i].says)) FAIL("'%s' does not say '%s'", e.text, bad[i].says);
        CHECK(p.a.n_token == 1 && p.b.n_token == 1 && !p.a.ended && !p.b.ended && pith_position(p.s[0]) == 3);
    }
    EQ(pith_generate_many(NULL, NULL, 0, NULL), 0);
    p.a.cancel = p.b.cancel = 1;
    EQ(pith_generate_many(p.s, p.g, 2, NULL), 0);
    EQ(pith_generate_many(p.s, p.g, 2, NULL), 0);
    CHECK(p.a.ended == PITH_CANCEL && p.b.ended == PITH_CANCEL);
    end_pair(&p);
    pith_session_free(stranger[1]);
    pith_close(other);
    free(b.p);
}

int main(void) {
    set_up();
    RUN(texts_of_all_families_are_those_of_each_alone);
    RUN(threads_draw_from_a_large_vocabulary);
    RUN(their_text_and_stop_texts_are_too);
    RUN(a_long_prompt_takes_calls_in_which_the_others_go_on);
    RUN(prompts_share_the_rows_of_a_pass_in_their_order);
    RUN(prompts_are_read_however_many_texts_are_written);
    RUN(a_prompt_goes_behind_what_the_session_has);
    RUN(a_text_may_be_cancelled_while_its_prompt_is_read);
    RUN(an_error_ends_the_one_text_that_has_it);
    RUN(a_call_that_cannot_be_moves_no_text);
    pith_close(model);
    free(file.p);
    return DONE();
}
