/* t_memory.c - every allocation fails in turn: a clean error each time, and nothing is lost.
 * Linked with --wrap=malloc,calloc,realloc,free (see the Makefile), so the engine's calls come here. */
#include "../text/jinja.h"
#include "../tools/verbs.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void  __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void  __wrap_free(void *p);

static int counting, until_failure, alive, asked; /* until_failure: calls that still succeed */
static size_t taken; /* bytes, of which nothing is given back */

static int refuse(void) { return counting && (asked++, until_failure-- <= 0); }

void *__wrap_malloc(size_t n) {
    void *p = refuse() ? NULL : __real_malloc(n);
    if (counting && p) alive++, taken += n;
    return p;
}
void *__wrap_calloc(size_t n, size_t size) {
    void *p = refuse() ? NULL : __real_calloc(n, size);
    if (counting && p) alive++, taken += n * size;
    return p;
}
void *__wrap_realloc(void *old, size_t n) {
    void *p = refuse() ? NULL : __real_realloc(old, n);
    if (counting && p && !old) alive++;
    return p;
}
void __wrap_free(void *p) {
    if (counting && p) alive--;
    __real_free(p);
}

static char kept[] = "/tmp/pith_mem_XXXXXX"; /* a text; it is not there, so that realpath allocates nothing */

/* Open, encode, evaluate, save, load and close; 1 when all of it worked. */
static int use(const char *model, const char *tokenizer, pith_error *e) {
    pith_options opt = { 0 };
    opt.tokenizer = tokenizer;
    opt.n_threads = 1;
    opt.no_mmap = 1;
    pith_model *m = pith_open(model, &opt, e);
    pith_session *s = m ? pith_session_new(m, NULL, e) : NULL;
    pith_context shared = { .pass = s ? pith_pass_new(m, NULL, e) : NULL };
    pith_session *other = shared.pass ? pith_session_new(m, &shared, e) : NULL;
    pith_token t[64];
    const char *text = "once upon \xe4\xbd\xa0 a time";
    int n = other && pith_is_end(m, 1) >= 0 ? pith_encode(m, text, strlen(text), PITH_BOS, t, 64) : -1;
    if (other && n == PITH_EARG) n = 1, t[0] = 1; /* no vocabulary */
    int ok = n > 0 && n <= 64, left = until_failure;
    const pith_work work[] = { { s, t, n, NULL }, { other, t, 1, NULL } };
    until_failure = 0; /* evaluating allocates nothing */
    ok = ok && pith_eval(s, t, n, e) == PITH_OK && pith_eval_many(work, 2, e) == PITH_OK;
    until_failure = left;
    ok = ok && pith_session_save(s, kept, e) == PITH_OK && pith_session_load(other, kept, e) == PITH_OK;
    unlink(kept);
    if (other && n == PITH_EMEMORY) e->code = PITH_EMEMORY;
    pith_session_free(s);
    pith_session_free(other);
    pith_pass_free(shared.pass);
    pith_close(m);
    return ok;
}

/* A grammar, a schema, and a text that is of them. */
static int use_grammar(const char *model, const char *tokenizer, pith_error *e) {
    (void)model, (void)tokenizer;
    static const char gbnf[] = "root ::= (\"a\" | x){2,3} [^b]*\nx ::= \"c\" x \"d\" | \"e\"\n";
    static const char schema[] = "{\"type\": \"object\", \"properties\": {\"a\": {\"pattern\": \"^x+$\", \"maxLength\": 3}}}";
    pith_grammar *g = pith_grammar_new(gbnf, sizeof gbnf - 1, e), *s = g ? pith_grammar_schema(schema, sizeof schema - 1, e) : NULL;
    int ok = s && pith_grammar_match(g, "acceddzz", 8, e) == PITH_OK && pith_grammar_match(s, "{\"a\": \"xx\"}", 11, e) == PITH_OK;
    pith_grammar_free(g);
    pith_grammar_free(s);
    return ok;
}

/* A model writes a text that obeys. */
static int use_constraint(const char *model, const char *tokenizer, pith_error *e) {
    pith_model *m = pith_open(model, &(pith_options){ .tokenizer = tokenizer, .n_threads = 1, .no_mmap = 1 }, e);
    pith_session *s = m ? pith_session_new(m, NULL, e) : NULL;
    pith_grammar *g = s ? pith_grammar_new("root ::= \"a\" [bc]{3}", 20, e) : NULL;
    pith_generation out = { .grammar = g, .n_predict = 9 };
    int code = g ? pith_eval(s, (pith_token[]){ 1 }, 1, e) : PITH_EMEMORY;
    while (!code) code = pith_generate(s, &out, e);
    int ok = code == PITH_END && out.sentence;
    pith_generation_free(&out);
    pith_grammar_free(g);
    pith_session_free(s);
    pith_close(m);
    return ok;
}

static void torture_with(int (*work)(const char *, const char *, pith_error *), const char *model, const char *tokenizer) {
    int worked = 0, n = 0;
    for (; n < 5000 && !worked; n++) {
        pith_error e = { 0, "" };
        alive = 0, until_failure = n, counting = 1;
        worked = work(model, tokenizer, &e);
        counting = 0;
        if (alive) FAIL("allocation %d failing: %d pieces of memory lost", n, alive);
        if (!worked && e.code != PITH_EMEMORY) FAIL("allocation %d failing: code %d \"%s\"", n, e.code, e.text);
    }
    CHECK(worked);
    CHECK(n > 3);
}

static void torture(const char *model, const char *tokenizer) { torture_with(use, model, tokenizer); }
static void obey(const char *model, const char *tokenizer) { torture_with(use_constraint, model, tokenizer); }

TEST(grammars) { torture_with(use_grammar, NULL, NULL); }

static void with_file(bytes b, char *path, void (*work)(const char *, const char *), const char *other) {
    close(mkstemp(path));
    CHECK(save(&b, path) == 0);
    free(b.p);
    work(path, other);
}

TEST(llama2c_with_tokenizer) {
    char tok[] = "/tmp/pith_mem_XXXXXX", model[] = "/tmp/pith_mem_XXXXXX";
    bytes t = fixture_tokenizer();
    close(mkstemp(tok));
    CHECK(save(&t, tok) == 0);
    free(t.p);
    with_file(fixture_llama2c(&fixture_tiny, 2, 1), model, torture, tok);
    obey(model, tok);
    unlink(tok);
    unlink(model);
}

TEST(llama2c_alone) {
    char model[] = "/tmp/pith_mem_XXXXXX";
    with_file(fixture_llama2c(&fixture_tiny, 0, 1), model, torture, NULL);
    unlink(model);
}

TEST(gguf) {
    const char *path = fixture_shared("fixtures/gemma3.gguf");
    if (!path) SKIP("no ../shared");
    torture(path, NULL);
}

static void write_in(const char *folder, const char *name, bytes b) {
    char path[100];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    CHECK(save(&b, path) == 0);
    free(b.p);
}

static void torture_adapter(const pith_model *m, const char *path) {
    int worked = 0, n = 0;
    for (; n < 1000 && !worked; n++) {
        pith_error e = { 0, "" };
        alive = 0, until_failure = n, counting = 1;
        pith_adapter *a = pith_adapter_open(m, path, &e);
        worked = a != NULL;
        pith_adapter_close(a);
        counting = 0;
        if (alive) FAIL("allocation %d failing: %d pieces of memory lost", n, alive);
        if (!worked && e.code != PITH_EMEMORY) FAIL("allocation %d failing: code %d \"%s\"", n, e.code, e.text);
    }
    CHECK(worked);
    CHECK(n > 2);
}

/* Written as peft and as llama.cpp have it, and merged. */
static int write_out(const pith_model *m, const char *from, const char *to, pith_error *e) {
    pith_adapter *a = pith_adapter_open(m, from, e);
    pith__adapter_about about = { .base = "m", .chat_template = { "t", 1 } };
    pith__adapted by = { .n = 1, .of = { { a, 1 } } };
    pith__arena room = { NULL, 0 };
    char path[120], *name;
    snprintf(path, sizeof path, "%s.gguf", to);
    int code = a ? pith__adapter_write_gguf(a, &about, path, e) : PITH_EMEMORY;
    if (!code) code = pith__adapter_write_peft(a, &about, to, e);
    snprintf(path, sizeof path, "%s.merged", to);
    if (!code) code = pith__merge_name(m, &by, &name, &room, e);
    if (!code) code = pith__merge_gguf(&(pith__merge){ .m = m, .by = &by, .merged = name }, path, e);
    pith__arena_free(&room);
    pith_adapter_close(a);
    return !code;
}

static void clear_out(const char *to) { /* realpath allocates nothing for a file that is not there */
    char path[120];
    pith__remove_named(to, "", "");
    rmdir(to);
    snprintf(path, sizeof path, "%s.gguf", to), unlink(path);
    snprintf(path, sizeof path, "%s.merged", to), unlink(path);
}

static void torture_writers(const pith_model *m, const char *from) {
    char to[100];
    int worked = 0, n = 0;
    snprintf(to, sizeof to, "%s.out", from);
    for (; n < 1000 && !worked; n++) {
        pith_error e = { 0, "" };
        alive = 0, until_failure = n, counting = 1;
        worked = write_out(m, from, to, &e);
        counting = 0;
        clear_out(to);
        if (alive) FAIL("allocation %d failing: %d pieces of memory lost", n, alive);
        if (!worked && e.code != PITH_EMEMORY) FAIL("allocation %d failing: code %d \"%s\"", n, e.code, e.text);
    }
    CHECK(worked);
    CHECK(n > 20);
}

TEST(adapters) {
    static const char config[] =
        "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":2,\"use_rslora\":true,\"alpha_pattern\":{\"q\\u005fproj\":3}}";
    bytes b = fixture_gguf(
        "general.architecture llama;llama.block_count 1;llama.embedding_length 8;llama.feed_forward_length 12;"
        "llama.attention.head_count 2;llama.context_length 32;llama.attention.layer_norm_rms_epsilon 1e-5;"
        "llama.expert_count 2;llama.expert_used_count 1",
        "token_embd.weight 9 8;output_norm.weight 8;blk.0.attn_norm.weight 8;blk.0.attn_q.weight 8 8;blk.0.attn_k.weight 8 8;"
        "blk.0.attn_v.weight 8 8;blk.0.attn_output.weight 8 8;blk.0.ffn_norm.weight 8;blk.0.ffn_gate_inp.weight 2 8;"
        "blk.0.ffn_gate_exps.weight 2 12 8;blk.0.ffn_up_exps.weight 2 12 8;blk.0.ffn_down_exps.weight 2 8 12", 1);
    pith_error e = { 0, "" };
    pith_model *m = pith_open_memory(b.p, b.n, NULL, &e);
    if (!m) FAIL("%s", e.text);
    char folder[] = "/tmp/pith_mem_XXXXXX", path[100];
    if (!m || !mkdtemp(folder)) return;
    write_in(folder, "a.gguf", fixture_gguf("general.type adapter;adapter.type lora;adapter.lora.alpha 1.0",
             "blk.0.ffn_up_exps.weight.lora_a 2 3 8;blk.0.ffn_up_exps.weight.lora_b 2 12 3", 1));
    snprintf(path, sizeof path, "%s/a.gguf", folder);
    torture_adapter(m, path);
    unlink(path);
    bytes text = { 0 };
    put(&text, config, sizeof config - 1);
    write_in(folder, "adapter_config.json", text);
    write_in(folder, "adapter_model.safetensors", fixture_safetensors(
             "model.layers.0.self_attn.q_proj.lora_A.weight 2 8;model.layers.0.self_attn.q_proj.lora_B.weight 8 2", 1));
    torture_adapter(m, folder);
    torture_writers(m, folder);
    snprintf(path, sizeof path, "%s/adapter_config.json", folder), unlink(path);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder), unlink(path);
    rmdir(folder);
    pith_close(m);
    free(b.p);
}

/* What info --parallel says. */
TEST(a_pass_and_its_sessions_take_what_was_forecast) {
    enum { N = 8 };
    bytes b = fixture_llama2c(&fixture_tiny, 0, 1);
    pith_model *m = pith_open_memory(b.p, b.n, NULL, NULL);
    for (int n_ctx = 1; n_ctx <= 4096; n_ctx *= 8) {
        pith_context c = { .n_ctx = n_ctx };
        pith_error e = { 0, "" };
        pith_session *s[N];
        size_t pass, session;
        double forecast = size_together(m, &c, N, &pass, &session);
        taken = 0, until_failure = INT_MAX, counting = 1;
        c.pass = pith_pass_new(m, &c, &e);
        for (int i = 0; i < N; i++) s[i] = pith_session_new(m, &c, &e);
        counting = 0;
        if (!(fabs((double)taken - forecast) <= 0.1 * forecast))
            FAIL("%d tokens: %zu bytes, forecast %.0f", n_ctx, taken, forecast);
        for (int i = 0; i < N; i++) pith_session_free(s[i]);
        pith_pass_free(c.pass);
    }
    pith_close(m);
    free(b.p);
}

/* Two texts with a token each, then a third; 1 when all of it worked. */
static int write_three(pith_session **s, pith_generation **g, int *n_asked) {
    pith_error e = { 0, "" };
    int n = pith_generate_many(s, g, 2, &e);
    if (n == 2) n = pith_generate_many(s, g, 3, &e);
    asked = 0;
    if (n == 3) n = pith_generate_many(s, g, 3, &e);
    *n_asked = asked;
    for (int i = 0; i < 3; i++) pith_generation_free(g[i]);
    if (n != 3) EQ(e.code, PITH_EMEMORY);
    return n == 3;
}

TEST(texts_take_memory_when_they_begin) {
    bytes b = fixture_llama2c(&fixture_tiny, 0, 1);
    pith_model *m = pith_open_memory(b.p, b.n, NULL, NULL);
    pith_token first = 1;
    pith_session *s[3];
    for (int i = 0; i < 3; i++) s[i] = pith_session_new(m, NULL, NULL);
    int worked = 0, n = 0, n_asked;
    for (; n < 100 && !worked; n++) {
        pith_generation text[3] = { { .n_predict = 0 } }, *g[3] = { &text[0], &text[1], &text[2] };
        for (int i = 0; i < 3; i++) text[i] = (pith_generation){ .prompt = &first, .n_prompt = 1, .shift = i == 1 };
        alive = 0, until_failure = n, counting = 1;
        worked = write_three(s, g, &n_asked);
        counting = 0;
        EQ(alive, 0);
    }
    EQ(n, 3 + 1 + 2 + 1); /* three texts, one that shifts, room for two of them and then three, and nothing more */
    EQ(n_asked, 0);
    for (int i = 0; i < 3; i++) pith_session_free(s[i]);
    pith_close(m);
    free(b.p);
}

/* Parse a template and run it; 1 when all of it worked. */
static int render(pith_error *e) {
    static const char source[] = "{% macro f(x, y=[1]) %}{{ x|upper }}{{ y|tojson }}{% endmacro %}{% set ns = namespace(s='') %}"
                                 "{% for m in messages|selectattr('role')|list %}{% set ns.s = ns.s ~ m.content * 9 %}{{ f(ns.s) }}{% endfor %}"
                                 "{% set a %}{{ {'a': (1, 2)}|dictsort }}{% endset %}{{ '%5s|{}'.format(a) % 1 }}{{ 'a,b'.split(',')[::-1] }}";
    static const char messages[] = "[{\"role\":\"user\",\"content\":\"H\\ni\"},{\"role\":\"user\",\"content\":\"Go\",\"thinking\":\"x\"}]";
    pith__rendered out = { 0 };
    pith__conversation c = { .go_on = 0 };
    pith__jinja *j = pith__jinja_new(source, sizeof source - 1, "t", e);
    int ok = j && !pith__json_read(&c.messages, messages, sizeof messages - 1, "m", e) && !pith__conversation_render(j, &c, &out, e) && out.n > 100;
    pith__rendered_free(&out);
    pith__jinja_free(j);
    return ok;
}

TEST(chat_template) {
    int worked = 0, n = 0;
    for (; n < 1000 && !worked; n++) {
        pith_error e = { 0, "" };
        alive = 0, until_failure = n, counting = 1;
        worked = render(&e);
        counting = 0;
        if (alive) FAIL("allocation %d failing: %d pieces of memory lost", n, alive);
        if (!worked && e.code != PITH_EMEMORY) FAIL("allocation %d failing: code %d \"%s\"", n, e.code, e.text);
    }
    CHECK(worked);
    CHECK(n > 3);
}

int main(void) {
    close(mkstemp(kept));
    unlink(kept);
    RUN(a_pass_and_its_sessions_take_what_was_forecast);
    RUN(texts_take_memory_when_they_begin);
    RUN(chat_template);
    RUN(llama2c_with_tokenizer);
    RUN(adapters);
    RUN(llama2c_alone);
    RUN(gguf);
    RUN(grammars);
    return DONE();
}
