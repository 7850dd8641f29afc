/* t_states.c - a text in a model some of whose layers have a state instead of keys and values: wherever it is taken back
 * to, copied, saved, shared with others in a pass or shifted, it goes on to the bits of one that was read token by token
 * and never went back. What the numbers are is for t_models.c. */
#include "../internal.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

enum { LENGTH = 400, VOCAB = 40 };

static const char *const keys[] = {
    "general.architecture lfm2; lfm2.block_count 5; lfm2.embedding_length 150; lfm2.feed_forward_length 70; "
    "lfm2.attention.head_count 3; lfm2.attention.head_count_kv [0,0,1,0,3]; lfm2.context_length 512; "
    "lfm2.attention.key_length 20; lfm2.attention.value_length 20; "
    "lfm2.attention.layer_norm_rms_epsilon 1e-05; lfm2.rope.freq_base 10000.0; lfm2.shortconv.l_cache 4",
    "general.architecture granitehybrid; granitehybrid.block_count 3; granitehybrid.embedding_length 60; "
    "granitehybrid.feed_forward_length 70; granitehybrid.attention.head_count 3; granitehybrid.attention.head_count_kv [0,1,0]; "
    "granitehybrid.context_length 512; granitehybrid.attention.layer_norm_rms_epsilon 1e-05; granitehybrid.rope.scaling.finetuned false; "
    "granitehybrid.ssm.conv_kernel 4; granitehybrid.ssm.state_size 11; granitehybrid.ssm.group_count 2; "
    "granitehybrid.ssm.time_step_rank 6; granitehybrid.ssm.inner_size 120",
};
static const char *const tensors[] = {
    "token_embd.weight 40 150; token_embd_norm.weight 150; blk.{5}.attn_norm.weight 150; blk.{5}.ffn_norm.weight 150; "
    "blk.{5}.ffn_gate.weight 70 150; blk.{5}.ffn_up.weight 70 150; blk.{5}.ffn_down.weight 150 70; "
    "blk.{2}.shortconv.in_proj.weight 450 150; blk.{2}.shortconv.conv.weight 150 4; blk.{2}.shortconv.out_proj.weight 150 150; "
    "blk.3.shortconv.in_proj.weight 450 150; blk.3.shortconv.conv.weight 150 4; blk.3.shortconv.out_proj.weight 150 150; "
    "blk.2.attn_q.weight 60 150; blk.2.attn_k.weight 20 150; blk.2.attn_v.weight 20 150; blk.2.attn_output.weight 150 60; "
    "blk.2.attn_q_norm.weight 20; blk.2.attn_k_norm.weight 20; "
    "blk.4.attn_q.weight 60 150; blk.4.attn_k.weight 60 150; blk.4.attn_v.weight 60 150; blk.4.attn_output.weight 150 60; "
    "blk.4.attn_q_norm.weight 20; blk.4.attn_k_norm.weight 20",
    "token_embd.weight 40 60; output_norm.weight 60; blk.{3}.attn_norm.weight 60; blk.{3}.ffn_norm.weight 60; "
    "blk.{3}.ffn_gate.weight 70 60; blk.{3}.ffn_up.weight 70 60; blk.{3}.ffn_down.weight 60 70; "
    "blk.1.attn_q.weight 60 60; blk.1.attn_k.weight 20 60; blk.1.attn_v.weight 20 60; blk.1.attn_output.weight 60 60; "
    "blk.0.ssm_in.weight 290 60; blk.0.ssm_conv1d.weight 164 4; blk.0.ssm_conv1d.bias 164; blk.0.ssm_dt.bias 6; blk.0.ssm_a 6 1; "
    "blk.0.ssm_d 6 1; blk.0.ssm_norm.weight 2 60; blk.0.ssm_out.weight 60 120; "
    "blk.2.ssm_in.weight 290 60; blk.2.ssm_conv1d.weight 164 4; blk.2.ssm_dt.bias 6; blk.2.ssm_a 6 1; "
    "blk.2.ssm_d 6 1; blk.2.ssm_norm.weight 2 60; blk.2.ssm_out.weight 60 120",
};
enum { N_KIND = sizeof keys / sizeof *keys };

typedef struct {
    pith_model *m;
    bytes b;
    pith_token t[LENGTH];
    float rows[LENGTH][VOCAB]; /* after each token */
} text;

static pith_session *session_of(const pith_model *m, int n_ctx, int n_batch) {
    pith_context c = { .n_ctx = n_ctx, .n_batch = n_batch };
    pith_session *s = pith_session_new(m, &c, NULL);
    if (!s) printf("Bail out! no session\n"), exit(1);
    return s;
}

static int same_bits(const pith_session *s, const text *x) {
    return !memcmp(pith_logits(s), x->rows[pith_position(s) - 1], sizeof x->rows[0]);
}

static void open_text(text *x, int kind, int n_threads) {
    const pith_options o = { .n_threads = n_threads };
    pith_error e = { 0, "" };
    x->b = fixture_gguf(keys[kind], tensors[kind], 11);
    x->m = pith_open_memory(x->b.p, x->b.n, &o, &e);
    if (!x->m) printf("Bail out! %s\n", e.text), exit(1);
    for (int i = 0; i < LENGTH; i++) x->t[i] = (i * i + i / 7) % VOCAB;
    pith_session *s = session_of(x->m, LENGTH, 1);
    for (int i = 0; i < LENGTH; i++) {
        if (pith_eval(s, x->t + i, 1, NULL)) FAIL("token %d", i);
        memcpy(x->rows[i], pith_logits(s), sizeof x->rows[0]);
    }
    pith_session_free(s);
}

static void close_text(text *x) {
    pith_close(x->m);
    free(x->b.p);
}

/* On from where it is, in pieces of so many tokens. */
static int goes_on(pith_session *s, const text *x, int end, int step) {
    while (pith_position(s) < end) {
        int at = pith_position(s), n = end - at < step ? end - at : step;
        if (pith_eval(s, x->t + at, n, NULL) || !same_bits(s, x)) return 0;
    }
    return 1;
}

TEST(pieces_of_any_size_give_the_same_bits) {
    static const int steps[] = { 2, 3, 7, 63, 64, 65, 200, LENGTH };
    for (int k = 0; k < N_KIND; k++)
        for (int threads = 1; threads <= 3; threads += 1 + BRIEF) {
            text x;
            open_text(&x, k, threads);
            for (size_t i = 0; i < sizeof steps / sizeof *steps; i += 1 + BRIEF) {
                pith_session *s = session_of(x.m, LENGTH, i % 2 ? 50 : LENGTH);
                if (!goes_on(s, &x, LENGTH, steps[i])) FAIL("kind %d, %d threads, pieces of %d: other bits", k, threads, steps[i]);
                pith_session_free(s);
            }
            close_text(&x);
        }
}

/* Back to everywhere: never too far ahead, and near the end not far back. */
TEST(a_text_is_taken_back_to_a_mark) {
    for (int k = 0; k < N_KIND; k++) {
        text x;
        open_text(&x, k, 1);
        pith_session *s = session_of(x.m, LENGTH, 90);
        for (int to = LENGTH - 1; to >= 0; to -= BRIEF ? 37 : to > 300 ? 1 : 13) {
            if (!goes_on(s, &x, LENGTH, to % 5 ? 150 : 1)) FAIL("before %d: other bits", to);
            int came = pith_rewind(s, to);
            CHECK(came <= to && came == pith_position(s));
            CHECK(to < 64 || came > to - 64);
            if (!goes_on(s, &x, came + 20 < LENGTH ? came + 20 : LENGTH, 1 + to % 9)) FAIL("back to %d, %d: other bits", to, came);
        }
        pith_rewind(s, 0);
        if (!goes_on(s, &x, 30, 30)) FAIL("from the beginning: other bits");
        pith_session_free(s);
        close_text(&x);
    }
}

/* A prompt, an answer, and the same prompt once more: what is evaluated again is its last token. */
TEST(a_prompt_that_comes_again_is_known) {
    for (int k = 0; k < N_KIND; k++) {
        text x;
        open_text(&x, k, 1);
        pith_session *s = session_of(x.m, LENGTH, 64);
        EQ(pith_eval(s, x.t, 150, NULL), PITH_OK);
        for (int i = 0; i < 40; i++) EQ(pith_eval(s, &(pith_token){ i % 7 }, 1, NULL), PITH_OK);
        EQ(pith_known(s, x.t, 150), 149);
        EQ(pith_sync(s, x.t, 150, NULL), PITH_OK);
        CHECK(pith_position(s) == 150 && same_bits(s, &x));
        EQ(pith_known(s, x.t, 150), 150);
        EQ(pith_known(s, x.t, LENGTH), 150);
        EQ(pith_sync(s, x.t, LENGTH, NULL), PITH_OK);
        CHECK(same_bits(s, &x));
        pith_session_free(s);
        close_text(&x);
    }
}

/* Sessions keep a limited number of states; over a long text those are rarer towards its beginning. */
TEST(marks_become_rarer) {
    text x;
    open_text(&x, 0, 1);
    const pith_context c = { .n_ctx = 512 * 64, .n_batch = 1 };
    pith_session *s = pith_session_new(x.m, &c, NULL);
    REQUIRE(s);
    EQ(s->most_mark, 32);
    for (int u = 0; u < 400 * 64; u += 64) {
        s->position = u;
        pith__plan_marks(s, u + 64, u + 64);
    }
    EQ(s->n_mark, 32);
    for (int i = 1; i < 32; i++) {
        int gap = s->mark[i].position - s->mark[i - 1].position, back = 400 * 64 - s->mark[i].position;
        CHECK(gap > 0 && gap <= 128 + back);
    }
    EQ(s->mark[31].position, 400 * 64);
    pith_session_free(s);
    close_text(&x);
}

TEST(a_copied_or_saved_text_goes_on) {
    static char path[] = "/tmp/pith_states_XXXXXX";
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    close(fd);
    for (int k = 0; k < N_KIND; k++) {
        text x;
        open_text(&x, k, 1);
        pith_session *s = session_of(x.m, LENGTH, 70), *to = session_of(x.m, LENGTH, 33);
        for (int n = 1; n < LENGTH - 30; n += 61)
            for (int saved = 0; saved < 2; saved++) {
                pith_error e = { 0, "" };
                pith_rewind(s, 0);
                EQ(pith_eval(s, x.t, n, NULL), PITH_OK);
                EQ(pith_sync(to, x.t + 3, 200, NULL), PITH_OK);
                if (!saved) EQ(pith_session_copy(to, s, &e), PITH_OK);
                else EQ(pith_session_save(s, path, &e), PITH_OK);
                if (saved) EQ(pith_session_load(to, path, &e), PITH_OK);
                if (e.code) FAIL("%s", e.text);
                CHECK(pith_position(to) == n && same_bits(to, &x));
                for (int back = 1; back < n; back += 37) EQ(pith_known(to, x.t, n - back), pith_known(s, x.t, n - back));
                if (!goes_on(to, &x, n + 30, 4)) FAIL("kind %d, %d tokens, saved %d: other bits", k, n, saved);
                int came = pith_rewind(to, n - n / 3);
                if (!goes_on(to, &x, came + 20, 4)) FAIL("kind %d, %d tokens, saved %d, back: other bits", k, n, saved);
            }
        pith_session_free(s), pith_session_free(to);
        close_text(&x);
    }
    unlink(path);
}

/* Texts of other lengths, which begin and go back while the others go on. */
TEST(many_texts_in_one_pass) {
    enum { TEXTS = 5 };
    for (int k = 0; k < N_KIND; k++) {
        text x;
        open_text(&x, k, 2);
        const pith_context most = { .n_ctx = LENGTH, .n_batch = 40 };
        pith_pass *p = pith_pass_new(x.m, &most, NULL);
        pith_session *s[TEXTS];
        pith_work work[TEXTS];
        for (int i = 0; i < TEXTS; i++) s[i] = pith_session_new(x.m, &(pith_context){ .n_ctx = LENGTH, .n_batch = 40, .pass = p }, NULL);
        for (int round = 0; round < 60; round++) {
            for (int i = 0; i < TEXTS; i++) {
                if (pith_position(s[i]) > 200) pith_rewind(s[i], 30 * i);
                work[i] = (pith_work){ s[i], x.t + pith_position(s[i]), 1 + (round * (i + 1) + i) % 19, NULL };
            }
            EQ(pith_eval_many(work, TEXTS, NULL), PITH_OK);
            for (int i = 0; i < TEXTS; i++)
                if (!same_bits(s[i], &x)) FAIL("kind %d, round %d, text %d: other bits", k, round, i);
        }
        for (int i = 0; i < TEXTS; i++) pith_session_free(s[i]);
        pith_pass_free(p);
        close_text(&x);
    }
}

/* Nothing is drafted: a state has no way back from a token that was wrong. */
TEST(drafts_change_nothing) {
    text x;
    open_text(&x, 0, 1);
    pith_session *s = session_of(x.m, LENGTH, 16);
    float *room = malloc((size_t)9 * VOCAB * sizeof *room);
    REQUIRE(room);
    pith_draft(s, 8, room);
    for (int i = 0; i < 100; i++) EQ(pith_eval(s, &(pith_token){ 3 + i % 2 }, 1, NULL), PITH_OK);
    CHECK(s->draft.n_accepted == 0);
    pith_rewind(s, 0);
    if (!goes_on(s, &x, 50, 1)) FAIL("other bits");
    free(room);
    pith_session_free(s);
    close_text(&x);
}

/* The context is full: the text goes on as one that had begun with what is left of it. */
TEST(a_text_is_shifted) {
    enum { CONTEXT = 90, KEEP = 70 };
    text x;
    open_text(&x, 0, 1);
    pith_session *s = session_of(x.m, CONTEXT, 16), *fresh = session_of(x.m, CONTEXT, 16);
    pith_generation g = { .rng = 1, .shift = 1, .keep = KEEP, .prompt = x.t, .n_prompt = 80, .n_predict = 60 };
    for (int n = 0, code = 0; n < 40 && !code;) {
        code = pith_generate(s, &g, NULL);
        if (g.token < 0) continue;
        n++;
        pith_rewind(fresh, 0);
        EQ(pith_eval(fresh, s->tokens, pith_position(s), NULL), PITH_OK);
        CHECK(!memcmp(pith_logits(s), pith_logits(fresh), VOCAB * sizeof(float)));
    }
    pith_generation_free(&g);
    pith_session_free(s), pith_session_free(fresh);
    close_text(&x);
}

/* A layer's kind and its tensors must agree. */
TEST(patterns_that_contradict_the_tensors_are_refused) {
    static const struct { const char *was, *is, *says; int kind; } wrong[] = {
        { "group_count 2", "group_count 4", "ssm.group_count is 4, need a divisor", 1 },
        { "inner_size 120", "inner_size 121", "ssm.inner_size is 121", 1 },
        { "state_size 11", "state_size 12", "'blk.0.ssm_in.weight' is 290 x 60, need 294 x 60", 1 },
        { "rank 6", "rank 3000000", "ssm.time_step_rank is 3000000", 1 },
        { "[0,0,1,0,3]", "[0,0,0,0,3]", "no tensor 'blk.2.shortconv.in_proj.weight'", 0 },
        { "[0,0,1,0,3]", "[0,1,1,0,3]", "no tensor 'blk.1.attn_q", 0 },
        { "[0,0,1,0,3]", "[0,0,1,0,-3]", "attention.head_count_kv' is -3", 0 },
        { "l_cache 4", "l_cache 5", "'blk.0.shortconv.conv.weight' is 150 x 4, need 150 x 5", 0 },
        { "l_cache 4", "l_cache 1", "shortconv.l_cache' is 1", 0 },
        { "lfm2.shortconv.l_cache 4", "lfm2.x 4", "no key 'lfm2.shortconv.l_cache'", 0 },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char changed[1024];
        pith_error e = { 0, "" };
        const char *from = keys[wrong[i].kind], *at = strstr(from, wrong[i].was);
        REQUIRE(at);
        snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - from), from, wrong[i].is, at + strlen(wrong[i].was));
        bytes b = fixture_gguf(changed, tensors[wrong[i].kind], 11);
        pith_model *m = pith_open_memory(b.p, b.n, NULL, &e);
        CHECK(!m && e.code == PITH_EFORMAT);
        if (!strstr(e.text, wrong[i].says)) FAIL("no '%s' in: %s", wrong[i].says, e.text);
        pith_close(m);
        free(b.p);
    }
}

int main(void) {
    RUN(pieces_of_any_size_give_the_same_bits);
    RUN(a_text_is_taken_back_to_a_mark);
    RUN(a_prompt_that_comes_again_is_known);
    RUN(marks_become_rarer);
    RUN(a_copied_or_saved_text_goes_on);
    RUN(many_texts_in_one_pass);
    RUN(drafts_change_nothing);
    RUN(a_text_is_shifted);
    RUN(patterns_that_contradict_the_tensors_are_refused);
    return DONE();
}
