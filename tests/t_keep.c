/* t_keep.c - a text that was copied to another session, or saved and loaded, goes on to the bits of one that was
 * evaluated: whatever the context lengths, rings, types of cache. What cannot be is refused, and the session stays
 * as it was. */
#include "family_texts.h"

#include <stddef.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>

/* ---- copying ----------------------------------------------------------------------------------------- */

static const char *const caches[] = { "f16", "f32", "q8_0" };

static pith_session *session_of(const pith_model *m, int n_ctx, int n_batch, const char *cache) {
    pith_context c = { .n_ctx = n_ctx, .n_batch = n_batch, .cache_k = cache, .cache_v = cache };
    c.swa_full = n_batch == 70; /* one of the shapes below */
    return pith_session_new(m, &c, NULL);
}

/* All that a session knows of its text. */
static int same_text(const pith_session *a, const pith_session *b) {
    return a->position == b->position && a->logits_at == b->logits_at && a->long_rope == b->long_rope &&
           !memcmp(a->tokens, b->tokens, (size_t)a->position * sizeof *a->tokens) &&
           !memcmp(a->logits, b->logits, (size_t)a->model->hyper.n_vocab * sizeof *a->logits);
}

/* Back to position, and on for a while. */
static int goes_on(pith_session *s, int position, const pith_token *t, const float *rows) {
    int n = pith_rewind(s, position), end = n + 30 < s->n_ctx ? n + 30 : s->n_ctx;
    for (; n < end; n += 3) {
        int k = end - n < 3 ? end - n : 3;
        if (pith_eval(s, t + n, k, NULL) != PITH_OK || !as_row(s, rows)) return 0;
    }
    return 1;
}

/* A text of n tokens, which was longer by so many, into a session that has another text. */
static void copy_text(pith_session *from, pith_session *to, pith_token text[2][N], const float *rows, int n,
                      int longer) {
    EQ(pith_sync(to, text[1], to->n_ctx, NULL), PITH_OK);
    pith_rewind(from, 0);
    EQ(pith_eval(from, text[0], n + longer, NULL), PITH_OK);
    pith_rewind(from, n);
    EQ(pith_session_copy(to, from, NULL), PITH_OK);
    CHECK(same_text(to, from));
    int most = from->lost > from->position - to->n_slot_window ? from->lost : from->position - to->n_slot_window;
    EQ(to->lost, most);
    for (int back = 0; back < 40 && back <= n; back += 19) {
        EQ(pith_session_copy(to, from, NULL), PITH_OK);
        if (to->n_slot_window == from->n_slot_window)
            EQ(pith_known(to, text[0], n - back), pith_known(from, text[0], n - back));
        if (!goes_on(to, n - back, text[0], rows)) FAIL("%d tokens and %d, %d back: other logits", n, longer, back);
    }
    if (!goes_on(from, n, text[0], rows)) FAIL("%d tokens and %d: the text that was copied differs", n, longer);
}

typedef void bring(pith_session *from, pith_session *to, pith_token text[2][N], const float *rows, int n, int longer);

/* From sessions of a shape to those of another, every so many pairs. 0: the model cannot have such a cache. */
static int pairs_of(const struct golden *g, int window, const char *cache, int every, bring *text_to) {
    static const int shape[][2] = { { N, 1 }, { N, 16 }, { N, 70 }, { 70, 7 }, { 70, 30 } }; /* n_ctx, n_batch */
    enum { SHAPES = sizeof shape / sizeof *shape };
    bytes b;
    pith_token text[2][N];
    pith_model *m = open_family(g, window, &b);
    pith_session *probe = m ? session_of(m, N, 1, cache) : NULL;
    int can = probe != NULL, n = 0;
    pith_session_free(probe);
    if (can) make_texts(m->hyper.n_vocab, text);
    float *rows = can ? rows_of(m, text[0], cache) : NULL;
    for (int i = 0; rows && i < SHAPES * SHAPES; i += BRIEF ? 2 * every + 1 : every) {
        pith_session *from = session_of(m, shape[i / SHAPES][0], shape[i / SHAPES][1], cache);
        pith_session *to = session_of(m, shape[i % SHAPES][0], shape[i % SHAPES][1], cache);
        if (from && to) text_to(from, to, text, rows, 16 + (n = (n + 29) % 49), i % 6);
        else FAIL("%s: no session", g->name);
        pith_session_free(to);
        pith_session_free(from);
    }
    free(rows);
    pith_close(m);
    free(b.p);
    return can;
}

TEST(a_copied_text_goes_on_to_the_same_bits) {
    int n_q8 = 0;
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        pairs_of(&goldens[i], 0, caches[i % 2], 11, copy_text);
        n_q8 += pairs_of(&goldens[i], 0, "q8_0", 11, copy_text);
    }
    CHECK(n_q8 >= 3);
    for (int window = 2; window < 40; window = 3 * window + 1)
        for (int i = 0; i < 3; i++) pairs_of(golden_named("gemma3"), window, caches[i], 3, copy_text);
}

/* What is drafted stands behind the text, and is not copied; what the other session has drafted is forgotten. */
TEST(drafts_are_not_copied) {
    bytes b;
    pith_token text[2][N];
    pith_model *m = open_family(golden_named("gemma3"), 5, &b);
    REQUIRE(m);
    size_t n_vocab = (size_t)m->hyper.n_vocab;
    pith_session *from = session_of(m, N, 9, NULL), *to = session_of(m, N, 9, NULL);
    float *room = malloc(12 * n_vocab * sizeof *room), *rows;
    REQUIRE(from && to && room);
    make_texts((int)n_vocab, text);
    rows = rows_of(m, text[0], NULL);
    pith_draft(from, 5, room);
    pith_draft(to, 5, room + 6 * n_vocab);
    int ahead = 0;
    for (int i = 0; i < N - 4; i++) {
        EQ(pith_eval(from, text[0] + i, 1, NULL), PITH_OK);
        ahead += from->draft.made > from->draft.accepted;
        EQ(pith_session_copy(to, from, NULL), PITH_OK);
        for (int k = 1; k < 4; k++) {
            EQ(pith_eval(to, text[0] + i + k, 1, NULL), PITH_OK);
            CHECK(as_row(to, rows));
        }
    }
    CHECK(ahead > 10);
    free(rows), free(room);
    pith_session_free(from), pith_session_free(to);
    pith_close(m);
    free(b.p);
}

/* A session that holds 20 tokens of the first text, and has room for 40. */
static pith_session *with_text(const pith_model *m, const char *k, const char *v, pith_token text[2][N]) {
    pith_context c = { .n_ctx = 40, .n_batch = 8, .cache_k = k, .cache_v = v };
    pith_session *s = pith_session_new(m, &c, NULL);
    if (!s || pith_eval(s, text[0], 20, NULL)) FAIL("no session");
    return s;
}

static void refused(pith_session *to, const pith_session *from, int code, const char *word, const pith_token *t,
                    const float *rows) {
    pith_error e = { 0, "" };
    EQ(pith_session_copy(to, from, &e), code);
    EQ(e.code, code);
    if (!strstr(e.text, word)) FAIL("no '%s' in: %s", word, e.text);
    CHECK(to->position == 20 && as_row(to, rows) && goes_on(to, 20, t, rows));
    pith_rewind(to, 20);
    pith_sync(to, t, 20, NULL);
}

TEST(what_cannot_be_copied_is_refused) {
    bytes b, b2;
    pith_token text[2][N];
    pith_model *m = open_family(golden_named("qwen3"), 0, &b), *other = open_family(golden_named("llama"), 0, &b2);
    REQUIRE(m && other);
    make_texts(m->hyper.n_vocab, text);
    float *rows = rows_of(m, text[0], NULL);
    pith_session *s = with_text(m, NULL, NULL, text), *k = with_text(m, "f32", NULL, text);
    pith_session *v = with_text(m, NULL, "f32", text), *o = with_text(other, NULL, NULL, text);
    pith_session *longer = session_of(m, N, 0, NULL);
    REQUIRE(s && k && v && o && longer && rows);
    EQ(pith_eval(longer, text[0], 41, NULL), PITH_OK);
    refused(s, o, PITH_EARG, "another model", text[0], rows);
    refused(s, k, PITH_EARG, "F32 and F16, need F16 and F16", text[0], rows);
    refused(s, v, PITH_EARG, "F16 and F32, need F16 and F16", text[0], rows);
    refused(s, longer, PITH_EFULL, "context of 40 tokens has no room for the 41", text[0], rows);
    EQ(pith_session_copy(s, s, NULL), PITH_OK);
    CHECK(s->position == 20 && as_row(s, rows) && goes_on(s, 20, text[0], rows));
    pith_rewind(longer, 40);
    EQ(pith_session_copy(s, longer, NULL), PITH_OK);
    EQ(s->position, 40);
    pith_rewind(longer, 0);
    EQ(pith_session_copy(s, longer, NULL), PITH_OK); /* no text */
    CHECK(s->position == 0 && goes_on(s, 0, text[0], rows));
    free(rows);
    pith_session_free(s), pith_session_free(k), pith_session_free(v), pith_session_free(o);
    pith_session_free(longer);
    pith_close(m), pith_close(other);
    free(b.p), free(b2.p);
}

/* ---- saving and loading ------------------------------------------------------------------------------ */

static char path[] = "/dev/shm/pith_keep_XXXXXX"; /* each save waits for the disk, if there is one */

static bytes file_of(const char *name) {
    bytes b = { NULL, 0, 0 };
    uint8_t some[4096];
    FILE *f = fopen(name, "rb");
    for (size_t n; f && (n = fread(some, 1, sizeof some, f)) > 0;) put(&b, some, n);
    if (f) fclose(f);
    return b;
}

/* A text of n tokens, which was longer by so many, through a file into a session that has another text. */
static void keep_text(pith_session *from, pith_session *to, pith_token text[2][N], const float *rows, int n,
                      int longer) {
    pith_error e = { 0, "" };
    EQ(pith_sync(to, text[1], to->n_ctx, NULL), PITH_OK);
    pith_rewind(from, 0);
    EQ(pith_eval(from, text[0], n + longer, NULL), PITH_OK);
    pith_rewind(from, n);
    EQ(pith_session_save(from, path, &e), PITH_OK);
    if (pith_session_load(to, path, &e)) FAIL("%s", e.text);
    CHECK(same_text(to, from));
    EQ(pith_saved_tokens(path, NULL), from->position);
    int most = from->lost > from->position - to->n_slot_window ? from->lost : from->position - to->n_slot_window;
    EQ(to->lost, most);
    bytes first = file_of(path);
    EQ(pith_session_save(to, path, NULL), PITH_OK);
    bytes again = file_of(path);
    if (to->lost == from->lost) CHECK(first.n == again.n && !memcmp(first.p, again.p, first.n));
    else CHECK(first.n >= again.n); /* a shorter ring */
    free(first.p), free(again.p);
    if (!goes_on(to, to->position, text[0], rows)) FAIL("%d tokens and %d: other logits", n, longer);
    EQ(pith_session_load(to, path, NULL), PITH_OK);
    if (!goes_on(to, n - 13, text[0], rows)) FAIL("%d tokens and %d, 13 back: other logits", n, longer);
}

TEST(a_saved_text_goes_on_to_the_same_bits) {
    int n_q8 = 0;
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        pairs_of(&goldens[i], 0, caches[i % 2], 17, keep_text);
        n_q8 += pairs_of(&goldens[i], 0, "q8_0", 17, keep_text);
    }
    CHECK(n_q8 >= 3);
    for (int window = 2; window < 40; window = 3 * window + 1)
        for (int i = 0; i < 3; i++) pairs_of(golden_named("gemma3"), window, caches[i], 5, keep_text);
}

TEST(a_text_of_no_tokens_is_one) {
    bytes b;
    pith_token text[2][N];
    pith_model *m = open_family(golden_named("llama"), 0, &b);
    REQUIRE(m);
    make_texts(m->hyper.n_vocab, text);
    float *rows = rows_of(m, text[0], NULL);
    pith_session *s = session_of(m, N, 0, NULL);
    EQ(pith_session_save(s, path, NULL), PITH_OK);
    EQ(pith_saved_tokens(path, NULL), 0);
    EQ(pith_eval(s, text[1], 50, NULL), PITH_OK);
    EQ(pith_session_load(s, path, NULL), PITH_OK);
    CHECK(s->position == 0 && goes_on(s, 0, text[0], rows));
    pith_session_free(s);
    pith_close(m);
    free(rows), free(b.p);
}

/* ---- files that are refused -------------------------------------------------------------------------- */

static const fixture_shape smallest = { 16, 16, 1, 2, 1, 20, 32, 1, 0 };

/* A model of few bytes, and a file of a text of 5 tokens. */
static pith_model *open_smallest(bytes *b, uint64_t seed) {
    static const pith_options one_thread = { .n_threads = 1 };
    *b = fixture_llama2c(&smallest, 0, seed);
    return pith_open_memory(b->p, b->n, &one_thread, NULL);
}

static const pith_token five[] = { 1, 4, 9, 16, 3 }, other[] = { 1, 5, 2 };

/* A session with another text; and that text's end after it. */
typedef struct {
    pith_session *s;
    float logits[20];
} holder;

static holder holding(const pith_model *m, int n_ctx) {
    holder x = { pith_session_new(m, &(pith_context){ .n_ctx = n_ctx }, NULL), { 0 } };
    EQ(pith_eval(x.s, other, 3, NULL), PITH_OK);
    memcpy(x.logits, pith_logits(x.s), sizeof x.logits);
    return x;
}

/* The file is refused for this reason, and the session has its text as before. */
static int refuses(holder *x, int code, const char *word) {
    pith_error e = { 0, "" };
    int got = pith_session_load(x->s, path, &e), same = x->s->position == 3 && x->s->logits_at == 3;
    same = same && !memcmp(x->s->logits, x->logits, sizeof x->logits) && !memcmp(x->s->tokens, other, sizeof other);
    if (got == code && e.code == code && same && strstr(e.text, path) && strstr(e.text, word)) return 1;
    FAIL("code %d, want %d; same %d; no '%s' in: %s", got, code, same, word, e.text);
    return 0;
}

/* So it has its KV cache. */
static int goes_on_with_other(holder *x) {
    pith_rewind(x->s, 2);
    return !pith_sync(x->s, other, 3, NULL) && !memcmp(x->s->logits, x->logits, sizeof x->logits);
}

static bytes five_saved(const pith_model *m) {
    pith_session *s = pith_session_new(m, NULL, NULL);
    EQ(pith_eval(s, five, 5, NULL), PITH_OK);
    EQ(pith_session_save(s, path, NULL), PITH_OK);
    pith_session_free(s);
    return file_of(path);
}

static void write_file(const uint8_t *p, size_t n) {
    bytes b = { (uint8_t *)(uintptr_t)p, n, n };
    CHECK(save(&b, path) == 0);
}

TEST(a_file_that_is_cut_or_altered_is_refused) {
    bytes b;
    pith_model *m = open_smallest(&b, 1);
    REQUIRE(m);
    bytes f = five_saved(m);
    holder x = holding(m, 0);
    REQUIRE(f.n > 400 && f.n < 4000);
    for (size_t n = 0; n < f.n; n++) {
        write_file(f.p, n);
        if (!refuses(&x, PITH_EFORMAT, n == 0 ? "empty" : n < 8 ? "no text" : "bytes, need")) break;
    }
    CHECK(goes_on_with_other(&x));
    for (size_t i = 0; i < f.n; i++)
        for (int k = 0; k < 3; k++) {
            uint8_t was = f.p[i];
            f.p[i] ^= (uint8_t)(k == 0 ? 1 : k == 1 ? 128 : 255);
            write_file(f.p, f.n);
            f.p[i] = was;
            if (!refuses(&x, PITH_EFORMAT, i < 8 ? "no text" : i < 12 ? "of version" : i >= 16 && i < 24
                         ? "bytes, need" : "was altered")) break;
        }
    CHECK(goes_on_with_other(&x));
    put(&f, "", 1);
    write_file(f.p, f.n);
    refuses(&x, PITH_EFORMAT, "bytes, need");
    write_file(f.p, --f.n);
    EQ(pith_session_load(x.s, path, NULL), PITH_OK);
    free(f.p);
    pith_session_free(x.s);
    pith_close(m);
    free(b.p);
}

/* The file with n bytes of it changed, and the hash that it then has. */
static void write_changed(bytes f, size_t at, const void *p, size_t n) {
    uint8_t was[16];
    memcpy(was, f.p + at, n);
    memcpy(f.p + at, p, n);
    uint64_t hash = pith__hash(0, f.p, f.n - 8);
    memcpy(f.p + f.n - 8, &hash, 8);
    write_file(f.p, f.n);
    memcpy(f.p + at, was, n);
}

/* As another program might write them. The offsets are those of keep.c's head. */
TEST(numbers_that_cannot_be_are_refused) {
    enum { LONG_ROPE = 12, N_TOKEN = 88, LOST = 92, LOGITS_AT = 96, N_MARK = 112, TOKENS = 120 };
    static const int wrong[] = { -1, 6, 20, 33, INT32_MAX, INT32_MIN };
    bytes b;
    pith_model *m = open_smallest(&b, 1);
    REQUIRE(m);
    bytes f = five_saved(m);
    holder x = holding(m, 0);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int w = wrong[i];
        write_changed(f, N_TOKEN, &w, 4);
        int many = w < 0 || w > (int)(f.n / 4);
        refuses(&x, w > 32 && !many ? PITH_EFULL : PITH_EFORMAT,
                many ? "its text is" : w > 32 ? "no room" : "bytes, need");
        write_changed(f, LOST, &w, 4);
        refuses(&x, PITH_EFORMAT, "are lost");
        write_changed(f, LONG_ROPE, &w, 4);
        refuses(&x, PITH_EFORMAT, "angles");
        write_changed(f, TOKENS + 8, &w, 4);
        if (w < 0 || w > 19) refuses(&x, PITH_EFORMAT, "token 2 is");
        write_changed(f, LOGITS_AT, &w, 4);
        if (w < 0) refuses(&x, PITH_EFORMAT, "logits of position");
        write_changed(f, N_MARK, &w, 4);
        refuses(&x, PITH_EFORMAT, "places, need 0 to 0");
    }
    CHECK(goes_on_with_other(&x));
    write_changed(f, N_TOKEN, &(int){ 5 }, 4);
    EQ(pith_session_load(x.s, path, NULL), PITH_OK);
    free(f.p);
    pith_session_free(x.s);
    pith_close(m);
    free(b.p);
}

/* Positions that a window needs are not lost. */
TEST(a_ring_that_lost_too_much_is_refused) {
    bytes b;
    pith_token text[2][N];
    pith_error e = { 0, "" };
    pith_model *m = open_family(golden_named("gemma3"), 5, &b);
    REQUIRE(m);
    make_texts(m->hyper.n_vocab, text);
    pith_session *s = session_of(m, N, 8, NULL);
    EQ(pith_eval(s, text[0], 60, NULL), PITH_OK);
    for (int lost = 55; lost < 58; lost++) {
        s->lost = lost;
        EQ(pith_session_save(s, path, NULL), PITH_OK);
        EQ(pith_session_load(s, path, &e), lost <= 56 ? PITH_OK : PITH_EFORMAT);
    }
    CHECK(strstr(e.text, "57 positions are lost, need 0 to 56"));
    pith_session_free(s);
    pith_close(m);
    free(b.p);
}

/* ---- another model, another session ------------------------------------------------------------------ */

TEST(another_model_is_noticed_by_any_number) {
    bytes b, b2;
    pith_model *m = open_smallest(&b, 1);
    REQUIRE(m);
    bytes f = five_saved(m);
    int n_same = 0;
    pith_close(m);
    for (size_t i = 28; i < b.n; i += 4) { /* each float; those after the weights are angles, which nobody reads */
        b.p[i] ^= 1;
        m = pith_open_memory(b.p, b.n, &(pith_options){ .n_threads = 1 }, NULL);
        holder x = holding(m, 0);
        pith_error e = { 0, "" };
        int code = pith_session_load(x.s, path, &e);
        n_same += code == PITH_OK;
        if (code) CHECK(code == PITH_EARG && strstr(e.text, "another model"));
        pith_session_free(x.s);
        pith_close(m);
        b.p[i] ^= 1;
    }
    EQ(n_same, 32 * 8); /* context times head_dim */
    m = open_smallest(&b2, 2);
    holder x = holding(m, 0);
    refuses(&x, PITH_EARG, "another model");
    pith_session_free(x.s);
    pith_close(m);
    free(f.p), free(b.p), free(b2.p);
}

/* The same weights, of which others make other numbers. */
TEST(other_arithmetic_is_refused) {
    bytes b;
    pith_model *m = open_smallest(&b, 1);
    REQUIRE(m);
    bytes f = five_saved(m);
    holder x = holding(m, 0), small = holding(m, 4);
    float *freq = m->rope[0].freq, was = *freq;
    *freq = 2;
    refuses(&x, PITH_EARG, "another model");
    *freq = was;
    m->hyper.eps *= 2;
    refuses(&x, PITH_EARG, "another model");
    m->hyper.eps /= 2;
    m->hyper.n_rot -= 2;
    refuses(&x, PITH_EARG, "another model");
    m->hyper.n_rot += 2;
    m->layer[0].mask.window = 32;
    refuses(&x, PITH_EARG, "another model");
    m->layer[0].mask.window = 0;
    refuses(&small, PITH_EFULL, "context of 4 tokens has no room for its 5");
    pith_session_free(x.s), pith_session_free(small.s);
    pith_close(m);
    const char *kernels[] = { "portable", "avx2", "avx512", "neon" };
    for (int i = 0; i < 4; i++) {
        m = pith_open_memory(b.p, b.n, &(pith_options){ .n_threads = 1, .kernels = kernels[i] }, NULL);
        if (!m) continue;
        bytes now = five_saved(m);
        m->kernels = pith__portable(NULL);
        x = holding(m, 0);
        if (i) refuses(&x, PITH_EARG, "was computed by pith " PITH_VERSION " ");
        else EQ(pith_session_load(x.s, path, NULL), PITH_OK);
        pith_session_free(x.s);
        pith_close(m);
        free(now.p);
    }
    m = pith_open_memory(b.p, b.n, &(pith_options){ .n_threads = 1 }, NULL);
    free(f.p), f = five_saved(m);
    pith_context c = { .cache_k = "f16" };
    x = (holder){ pith_session_new(m, &c, NULL), { 0 } };
    EQ(pith_eval(x.s, other, 3, NULL), PITH_OK);
    memcpy(x.logits, pith_logits(x.s), sizeof x.logits);
    refuses(&x, PITH_EARG, "its KV cache is F32 and F32, need F16 and F32");
    CHECK(goes_on_with_other(&x));
    pith_session_free(x.s);
    pith_close(m);
    free(f.p), free(b.p);
}

/* ---- files that cannot be written or read ------------------------------------------------------------ */

static void cannot(const pith_session *s, const char *name, const char *word) {
    pith_error e = { 0, "" };
    EQ(pith_session_save(s, name, &e), PITH_EIO);
    if (!strstr(e.text, name) || !strstr(e.text, word)) FAIL("no '%s' in: %s", word, e.text);
}

TEST(what_cannot_be_written_leaves_the_old_file) {
    bytes b;
    pith_error e = { 0, "" };
    pith_model *m = open_smallest(&b, 1);
    REQUIRE(m);
    bytes f = five_saved(m);
    holder x = holding(m, 0);
    cannot(x.s, "/tmp/pith/no/such", "cannot be written");
    cannot(x.s, "/tmp", "cannot be written");
    EQ(pith_session_load(x.s, "/tmp/pith/no/such", &e), PITH_EIO);
    EQ(pith_saved_tokens("/tmp", &e), PITH_EIO);
    EQ(pith_session_load(x.s, "/dev/zero", &e), PITH_EIO);
    if (access("/dev/full", W_OK) == 0) cannot(x.s, "/dev/full", "No space");
    struct rlimit was, some = { 300, 300 }; /* as on a full disk: no file is longer than this */
    getrlimit(RLIMIT_FSIZE, &was);
    some.rlim_max = was.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &some);
    cannot(x.s, path, "too large");
    setrlimit(RLIMIT_FSIZE, &was);
    bytes now = file_of(path);
    CHECK(now.n == f.n && !memcmp(now.p, f.p, f.n));
    EQ(pith_session_load(x.s, path, NULL), PITH_OK);
    EQ(x.s->position, 5);
    pith_session_free(x.s);
    pith_close(m);
    free(now.p), free(f.p), free(b.p);
}

int main(void) {
    int fd = mkstemp(path);
    if (fd < 0) fd = mkstemp(strcpy(path, "/tmp/pith_keep_XXXXXX"));
    close(fd);
    RUN(a_copied_text_goes_on_to_the_same_bits);
    RUN(drafts_are_not_copied);
    RUN(what_cannot_be_copied_is_refused);
    RUN(a_saved_text_goes_on_to_the_same_bits);
    RUN(a_text_of_no_tokens_is_one);
    RUN(a_file_that_is_cut_or_altered_is_refused);
    RUN(numbers_that_cannot_be_are_refused);
    RUN(a_ring_that_lost_too_much_is_refused);
    RUN(another_model_is_noticed_by_any_number);
    RUN(other_arithmetic_is_refused);
    RUN(what_cannot_be_written_leaves_the_old_file);
    unlink(path);
    return DONE();
}
