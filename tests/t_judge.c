/* t_judge.c - sequences that are judged between the way forward and the way back: slopes that are found then do what
 * slopes known before do; score heads and temperatures have the gradients they should. */
#include "pupil.h"

enum { PAIRS = 4, LENGTH = N - 2 * PAIRS };

static float slope_at(int64_t number, int i) { return (float)((i + number) % 5 - 2) * 0.7f; } /* negative, 0, positive */

typedef struct { /* what is judged */
    float slope[2 * PAIRS][N], logp[2 * PAIRS][N];
    int calls[2 * PAIRS], wrong;
} bench;

/* Both sequences must have been forward by now. */
static void judge(void *of, int64_t first, const pith__sequence *s, int n) {
    bench *b = of;
    b->calls[first]++;
    for (int k = 0; k < n; k++) {
        double sum = 0;
        for (int i = 0; i < s[k].n; i++) {
            b->slope[first + k][i] = slope_at(first + k, i);
            sum += s[k].logp[i];
        }
        if (!(sum < 0) || s[k].slope != b->slope[first + k]) b->wrong = 1;
    }
}

static void sequences(const pupil *u, bench *b, pith__sequence *s) {
    memset(b, 0, sizeof *b);
    for (int k = 0; k < 2 * PAIRS; k++)
        s[k] = (pith__sequence){ .t = u->t + k, .target = u->target + k, .n = LENGTH, .slope = b->slope[k], .logp = b->logp[k] };
}

/* (n) the gradient of a step in groups of so many, judged or with the slopes known before. */
static float *step_of(const family *f, int threads, int group, int judged, int frozen, bench *b) {
    pupil u;
    pith__loss loss = { 0, 0, 0 };
    pith__sequence s[2 * PAIRS];
    if (pupil_new(&u, f, threads, NULL, PITH__KEEP_ALL)) return NULL;
    if (frozen) u.m->head.at = PITH__FROZEN;
    pith__step *step = pith__step_new(u.m, &u.p, &(pith__step_plan){ N, 2 * PAIRS, threads == 2 ? PITH__KEEP_STREAM : PITH__KEEP_ALL,
                                                                      group }, NULL);
    if (!step) return NULL;
    sequences(&u, b, s);
    for (int k = 0; k < 2 * PAIRS && !judged; k++)
        for (int i = 0; i < LENGTH; i++) b->slope[k][i] = slope_at(k, i);
    if (judged) pith__step_judge(step, judge, b);
    pith__step_begin(step);
    for (int k = 0; k < 2 * PAIRS; k += 4) EQ(pith__step_learn(step, s + k, 4, 0.25f, NULL), PITH_OK);
    pith__step_end(step, &loss);
    EQ(loss.n, loss.n > 0 ? loss.n : 1);
    float *g = copy_of(u.p.g, u.p.n);
    pith__step_free(step), pupil_free(&u);
    return g;
}

static size_t numbers_of(const family *f) {
    pupil u;
    size_t n = pupil_new(&u, f, 1, NULL, PITH__KEEP_ALL) ? 0 : u.p.n;
    pupil_free(&u);
    return n;
}

static double distance(const float *a, const float *b, size_t n) {
    double off = 0, all = 0;
    for (size_t i = 0; i < n; i++) off += pow((double)a[i] - b[i], 2), all += (double)a[i] * a[i];
    return sqrt(off / all);
}

/* An output matrix that learns: the same bits. A frozen one: its gradient comes first and is multiplied after. */
TEST(slopes_found_or_known) {
    bench b;
    for (int f = 0; f < N_FAMILY; f++)
        for (int frozen = 0; frozen < 2; frozen++) {
            size_t n = numbers_of(&all_families[f]);
            float *known = step_of(&all_families[f], 1, 1, 0, frozen, &b), *found = step_of(&all_families[f], 1, 1, 1, frozen, &b);
            REQUIRE(known && found && n);
            CHECK(!b.wrong);
            for (int k = 0; k < 2 * PAIRS; k++) EQ(b.calls[k], 1);
            double off = distance(known, found, n);
            if (frozen ? !(off < 1e-6) : off > 0) FAIL("%s, %d: off by %g", all_families[f].name, frozen, off);
            free(known), free(found);
        }
}

TEST(pairs_on_any_threads) {
    bench b;
    size_t n = numbers_of(&all_families[0]);
    for (int frozen = 0; frozen < 2; frozen++) {
        float *known = step_of(&all_families[0], 1, 2, 0, frozen, &b), *first = NULL;
        for (int threads = 1; threads <= 4; threads++) {
            float *g = step_of(&all_families[0], threads, 2, 1, frozen, &b);
            REQUIRE(g && known);
            CHECK(!b.wrong);
            for (int k = 0; k < 2 * PAIRS; k++) EQ(b.calls[k], k % 2 == 0);
            if (!first) first = copy_of(g, n), CHECK(distance(known, g, n) < 1e-6);
            CHECK(!memcmp(first, g, n * sizeof *g));
            free(g);
        }
        free(known), free(first);
    }
}

/* ---- score heads, temperature, entropy ----------------------------------------------------------- */

typedef struct {
    pupil u;
    float w[512], slope[N], value_slope[N];
    pith__score_head head;
} scored;

static int scored_new(scored *x, const family *f) {
    if (pupil_new(&x->u, f, 1, NULL, PITH__KEEP_ALL)) return 1;
    size_t n = (size_t)x->u.m->hyper.n_embd, old = x->u.p.n;
    for (size_t i = 0; i < n; i++) x->w[i] = 0.3f * sinf((float)(7 * i + 1));
    x->head = (pith__score_head){ .w = x->w };
    if (n > 512 || pith__params_add(&x->u.p, "score.weight", x->w, n, x->u.m, &x->head.at, NULL)) return 1;
    EQ(x->head.at, old);
    x->u.tape->g = x->u.p.g;
    for (int i = 0; i < N; i++) x->slope[i] = slope_at(0, i), x->value_slope[i] = slope_at(3, i) * 0.5f;
    return 0;
}

/* The sum of slope times -log p, at this temperature, and of value_slope times the values. */
static double sum_of(const scored *x, float temperature) {
    float logp[N], value[N];
    pith__loss loss = { 0, 0, 0 };
    double sum = 0;
    const pith__sequence s = { .t = x->u.t, .target = x->u.target, .n = N, .logp = logp, .value = value, .head = &x->head,
                               .temperature = temperature };
    if (pith__run_sequence(x->u.tape, &s, 0, &loss, NULL)) FAIL("not scored");
    for (int i = 0; i < N; i++) sum += (double)x->value_slope[i] * value[i] - (double)x->slope[i] * logp[i];
    return sum;
}

TEST(values_and_temperature) {
    static const double at[] = { -2, -1, 1, 2 }, factor[] = { 1, -8, 8, -1 };
    for (int f = 0; f < N_FAMILY; f++) {
        scored x;
        pith__loss loss = { 0, 0, 0 };
        REQUIRE(!scored_new(&x, &all_families[f]));
        const pith__sequence s = { .t = x.u.t, .target = x.u.target, .n = N, .slope = x.slope, .value_slope = x.value_slope,
                                   .head = &x.head, .temperature = 0.7f };
        EQ(pith__run_sequence(x.u.tape, &s, 1, &loss, NULL), PITH_OK);
        double length = pith__grad_norm(&x.u.p), rise = 0, h = 2e-3;
        for (int k = 0; k < 4; k++)
            for (int back = 0; back < 2; back++) {
                for (size_t j = 0; j < x.u.p.n_param; j++)
                    for (size_t i = 0; i < x.u.p.param[j].n; i++)
                        x.u.p.param[j].w[i] += (float)((back ? -at[k] : at[k]) * h * (double)x.u.p.param[j].g[i] / length);
                if (!back) rise += factor[k] * sum_of(&x, 0.7f) / (12 * h);
            }
        if (!(fabs(rise - length) < 5e-3 * length)) FAIL("%s: rises by %g, not by %g", all_families[f].name, rise, length);
        pupil_free(&x.u);
    }
}

/* A value's gradient that stops at the head: only the head has one. */
TEST(detached_heads) {
    scored x;
    pith__loss loss = { 0, 0, 0 };
    pith_token none[N];
    float *want = NULL;
    for (int i = 0; i < N; i++) none[i] = -1;
    REQUIRE(!scored_new(&x, &all_families[0]));
    for (int detached = 0; detached < 2; detached++) {
        x.head.detached = detached;
        memset(x.u.p.g, 0, x.u.p.n * sizeof *x.u.p.g);
        const pith__sequence s = { .t = x.u.t, .target = none, .n = N, .value_slope = x.value_slope, .head = &x.head };
        EQ(pith__run_sequence(x.u.tape, &s, 1, &loss, NULL), PITH_OK);
        double trunk = 0;
        for (size_t i = 0; i < x.head.at; i++) trunk += fabs((double)x.u.p.g[i]);
        CHECK(detached ? !(trunk > 0) : trunk > 0);
        if (!want) want = copy_of(x.u.p.g + x.head.at, (size_t)x.u.m->hyper.n_embd);
        CHECK(!memcmp(want, x.u.p.g + x.head.at, (size_t)x.u.m->hyper.n_embd * sizeof *want));
    }
    free(want), pupil_free(&x.u);
}

/* Of what the tokens are from: by the logits of a session. */
TEST(entropy_and_mean_logit) {
    pupil u;
    float entropy[N], mean[N], logp[N];
    pith__loss loss = { 0, 0, 0 };
    REQUIRE(!pupil_new(&u, &all_families[0], 1, NULL, PITH__KEEP_ALL));
    const float hot = 1.5f;
    const pith__sequence s = { .t = u.t, .target = u.target, .n = N, .entropy = entropy, .mean_logit = mean, .logp = logp,
                               .temperature = hot };
    EQ(pith__run_sequence(u.tape, &s, 0, &loss, NULL), PITH_OK);
    pith_session *session = pith_session_new(u.m, &(pith_context){ .cache_k = "f32", .cache_v = "f32" }, NULL);
    int n_vocab = u.m->hyper.n_vocab;
    for (int i = 0; i < N; i++) {
        double z = 0, h = 0, sum = 0;
        EQ(pith_eval(session, u.t + i, 1, NULL), PITH_OK);
        const float *x = pith_logits(session);
        for (int k = 0; k < n_vocab; k++) z += exp((double)x[k] / hot), sum += x[k];
        for (int k = 0; k < n_vocab; k++) h -= exp((double)x[k] / hot) / z * ((double)x[k] / hot - log(z));
        if (u.target[i] < 0) CHECK(!(entropy[i] > 0) && !(logp[i] < 0));
        if (u.target[i] < 0) continue;
        NEAR(entropy[i], h, 1e-5 * h);
        NEAR(mean[i], sum / n_vocab, 1e-5);
        NEAR(logp[i], (double)x[u.target[i]] / hot - log(z), 1e-5);
    }
    pith_session_free(session), pupil_free(&u);
}

int main(void) {
    RUN(slopes_found_or_known);
    RUN(pairs_on_any_threads);
    RUN(values_and_temperature);
    RUN(detached_heads);
    RUN(entropy_and_mean_logit);
    return DONE();
}
