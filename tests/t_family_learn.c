/* t_family_learn.c - the open models of 2026 learn: gradients of all weights of ../shared/families against finite differences
 * of the loss, and their length against torch's; memory and threads change no bit; a LoRA over all layers learns. */
#define _XOPEN_SOURCE 700
#include "../train/train.h"
#include "fixture.h"
#include "known_adapter.h"
#include "test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { N = 48 };

/* The mean loss of the N - 1 predictions, and the length of its gradient by all weights by transformers 5.24.0; but for those
 * that pith has in another form (A_log). */
static const struct { const char *name; double loss, length; } models[] = {
    { "gemma4e", 13.6725092, 11.5433775 },
    { "gemma4", 14.4763498, 19.6594531 },
    { "granite4h", 5.87703896, 0.221576965 },
    { "granite4", 5.96798849, 0.222789057 },
    { "lfm3", 12.0167332, 37.7249775 },
    { "lfm2moe", 10.4667444, 18.8221961 },
};
enum { N_MODEL = sizeof models / sizeof *models };

typedef struct { /* a model that learns from the text */
    pith_model *m;
    pith__params p;
    pith__tape *tape;
    pith_token t[N];
} learner;

static int read_text(learner *u, const char *name) {
    char path[80];
    snprintf(path, sizeof path, "families/%s.ids", name);
    const char *at = fixture_shared(path);
    FILE *f = at ? fopen(at, "rb") : NULL;
    long id;
    int n = 0;
    while (f && n < N && fscanf(f, "%ld%*[, \n]", &id) == 1) u->t[n++] = (pith_token)id;
    if (f) fclose(f);
    return n == N;
}

static int learner_open(learner *u, const char *name, int threads) {
    pith_error e = { 0, "" };
    const pith_options opt = { .n_threads = threads };
    char path[80];
    memset(u, 0, sizeof *u);
    snprintf(path, sizeof path, "families/%s-hf", name);
    const char *at = read_text(u, name) ? fixture_shared(path) : NULL;
    u->m = at ? pith_open(at, &opt, &e) : NULL;
    if (at && !u->m) FAIL("%s", e.text);
    return u->m != NULL;
}

static int learner_tape(learner *u, int keep) {
    pith_error e = { 0, "" };
    u->tape = pith__tape_new(u->m, u->p.g, N, keep, &e);
    if (!u->tape) FAIL("%s", e.text);
    return u->tape != NULL;
}

static void learner_close(learner *u) {
    pith__tape_free(u->tape), pith__params_free(&u->p), pith_close(u->m);
}

static double learn(const learner *u) {
    pith__loss loss = { 0, 0, 0 };
    pith_error e = { 0, "" };
    if (pith__learn(u->tape, u->t, u->t + 1, N - 1, 1.0f / (N - 1), &loss, &e)) FAIL("%s", e.text);
    return loss.sum / (N - 1);
}

static double score(const learner *u) {
    pith__loss loss = { 0, 0, 0 };
    if (pith__score(u->tape, u->t, u->t + 1, N - 1, &loss, NULL)) FAIL("no loss");
    return loss.sum / (N - 1);
}

/* Which experts were chosen, as one number: where that changes the loss has a step. */
static uint64_t choices(const learner *u) {
    const pith__hyper *h = &u->m->hyper;
    uint64_t hash = 0;
    for (int l = 0; l < h->n_layer; l++) {
        const float *route = pith__acts_at(u->tape->s->pass, l).route;
        for (int i = 0; i < (N - 1) * h->n_expert && u->m->layer[l].router.tensor.data; i++) hash = hash * 0x9e3779b97f4a7c15u + (route[i] != 0);
    }
    return hash;
}

/* The loss's slope along v, from four points h apart. *same 0: on the way other experts were chosen. */
static double slope_along(const learner *u, const pith__param *q, const float *w, const double *v, double h, int *same) {
    static const double at[] = { 1, -1, 2, -2 }, by[] = { 8, -8, -1, 1 };
    double slope = 0;
    uint64_t chosen = (score(u), choices(u));
    *same = 1;
    for (int k = 0; k < 4; k++) {
        for (size_t i = 0; i < q->n; i++) q->w[i] = (float)(w[i] + at[k] * h * v[i]);
        slope += by[k] * score(u) / (12 * h);
        *same &= choices(u) == chosen;
    }
    memcpy(q->w, w, q->n * sizeof *w);
    return slope;
}

static double size_of_grad(const pith__param *q) {
    double size = 0;
    for (size_t i = 0; i < q->n; i++) size += (double)q->g[i] * q->g[i];
    return sqrt(size);
}

static int has(const pith__param *q, const char *part) { /* of its name, which has no 0 behind it */
    char name[128];
    snprintf(name, sizeof name, "%.*s", (int)q->tensor->name.n, q->tensor->name.p);
    return strstr(name, part) != NULL;
}

static int unsmooth; /* directions in which a token changes its experts so soon that there is no slope to see */

/* Along the gradient, where the slope is its length, and along a random direction. */
static void check_param(const learner *u, const pith__param *q) {
    double *v = malloc(q->n * sizeof *v), size = size_of_grad(q);
    float *w = malloc(q->n * sizeof *w);
    uint64_t state = 7;
    memcpy(w, q->w, q->n * sizeof *w);
    int idle = has(q, "layer_output_scale") || has(q, "exp_probs_b"); /* they do not learn, as in transformers */
    CHECK(idle ? size == 0 : size > 1e-6);
    for (int k = 0; k < 2 && !idle; k++) {
        double length = 0, want = 0, most = 0;
        for (size_t i = 0; i < q->n; i++) v[i] = k ? 2 * fixture_random(&state) : q->g[i], length += v[i] * v[i];
        for (size_t i = 0; i < q->n; i++) v[i] /= sqrt(length), want += v[i] * q->g[i], most += (double)w[i] * w[i];
        double got = 0, h = 4e-3 * (most > 1 ? sqrt(most) : 1);
        int same, good = 0, smooth = 0;
        for (int tries = 0; !good && tries < 7; h /= 2, tries++) { /* with a large h there is the curve, with a small one noise */
            got = slope_along(u, q, w, v, h, &same);
            smooth |= same;
            good = same && fabs(got - want) <= 2e-3 * size + 5e-7 / h;
        }
        if (!smooth) unsmooth++;
        else if (!good)
            FAIL("%.*s direction %d: %.7f, slope %.7f, length %.7f", (int)q->tensor->name.n, q->tensor->name.p, k, want, got, size);
    }
    free(v), free(w);
}

static void check_model(int i) {
    learner u;
    pith_error e = { 0, "" };
    if (!learner_open(&u, models[i].name, 1)) return;
    EQ(pith__params_new(&u.p, u.m, &e), PITH_OK);
    if (!learner_tape(&u, PITH__KEEP_ALL)) { learner_close(&u); return; }
    double loss = learn(&u), squares = 0;
    NEAR(loss, score(&u), 0);
    for (size_t k = 0; k < u.p.n_param; k++) {
        if (!BRIEF || k % 4 == 0) check_param(&u, &u.p.param[k]);
        if (!has(&u.p.param[k], "ssm_a")) squares += pow(size_of_grad(&u.p.param[k]), 2);
    }
    CHECK(unsmooth <= 4);
    unsmooth = 0;
    NEAR(loss, models[i].loss, 2e-6 * models[i].loss);
    NEAR(sqrt(squares), models[i].length, 2e-5 * models[i].length);
    learner_close(&u);
}

TEST(every_weight) {
    if (!fixture_shared("families/gemma4e.ids")) SKIP("no ../shared/families");
    for (int i = 0; i < N_MODEL; i++) {
        int bad = t_bad;
        check_model(i);
        if (t_bad > bad) printf("#  (%s)\n", models[i].name);
    }
}

static void check_bits(int i) {
    float *want = NULL;
    size_t n = 0;
    for (int k = 0; k < 4; k++) {
        learner u;
        pith_error e = { 0, "" };
        if (!learner_open(&u, models[i].name, 1 + k % 2 * 3)) return;
        EQ(pith__params_new(&u.p, u.m, &e), PITH_OK);
        if (learner_tape(&u, k / 2 ? PITH__KEEP_STREAM : PITH__KEEP_ALL)) learn(&u);
        if (!want) n = u.p.n, want = malloc(n * sizeof *want), memcpy(want, u.p.g, n * sizeof *want);
        CHECK(n == u.p.n && !memcmp(want, u.p.g, n * sizeof *want));
        learner_close(&u);
    }
    free(want);
}

TEST(threads_and_memory_change_no_bit) {
    for (int i = 0; i < N_MODEL; i++) check_bits(i);
}

static void check_lora(int i) {
    learner u;
    pith_error e = { 0, "" };
    pith__lora_plan plan = { .r = 2, .alpha = 4, .seed = 1 };
    if (!learner_open(&u, models[i].name, 1)) return;
    pith_adapter *a = pith__adapter_new(u.m, &plan, &e);
    REQUIRE(a);
    EQ(pith__adapter_params(&u.p, a, u.m, &e), PITH_OK);
    if (learner_tape(&u, PITH__KEEP_ALL)) {
        u.tape->s->adapted = (pith__adapted){ .n = 1, .of = { { a, 1 } } };
        double before = learn(&u);
        for (size_t k = 0; k < u.p.n; k++) CHECK(isfinite(u.p.g[k]));
        double length = 0;
        for (size_t k = 0; k < u.p.n; k++) length += (double)u.p.g[k] * u.p.g[k];
        for (size_t k = 0; k < u.p.n_param; k++)
            for (size_t j = 0; j < u.p.param[k].n; j++) u.p.param[k].w[j] -= 0.05f / (float)sqrt(length) * u.p.param[k].g[j];
        CHECK(score(&u) < before - 0.5 * 0.05 * sqrt(length));
    }
    pith__tape_free(u.tape), pith__params_free(&u.p), pith_adapter_close(a), pith_close(u.m);
}

TEST(a_lora_learns) {
    for (int i = 0; i < N_MODEL; i++) check_lora(i);
}

/* The mean loss with a PEFT adapter of these modules whose numbers come from their names, by peft 0.21: so they have the
 * names, and value heads and parts the order, that transformers' classes have. */
static const struct { const char *name; double loss; const char *target[6]; } adapted[] = {
    { "qwen35", 11.2269252, { "in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj", "q_proj" } },
};

static void check_adapted(size_t i, const char *form) {
    learner u;
    pith_error e = { 0, "" };
    char path[80], folder[] = "/tmp/pith-family-XXXXXX";
    pith__lora_plan plan = { .r = 3, .alpha = 6, .target = adapted[i].target, .seed = 1 };
    memset(&u, 0, sizeof u);
    snprintf(path, sizeof path, "families/%s%s", adapted[i].name, form);
    const char *at = read_text(&u, adapted[i].name) ? fixture_shared(path) : NULL;
    if (!at) return;
    u.m = pith_open(at, NULL, &e);
    if (!u.m) FAIL("%s", e.text);
    REQUIRE(u.m && mkdtemp(folder));
    while (plan.n_target < 6 && plan.target[plan.n_target]) plan.n_target++;
    pith_adapter *a = pith__adapter_new(u.m, &plan, &e);
    if (!a) FAIL("%s", e.text);
    a = a ? adapter_of_numbers(u.m, a, folder) : NULL;
    if (a && learner_tape(&u, PITH__KEEP_ALL)) {
        u.tape->s->adapted = (pith__adapted){ .n = 1, .of = { { a, 1 } } };
        NEAR(score(&u), adapted[i].loss, 2e-6 * adapted[i].loss);
    }
    for (int k = 0; k < 2; k++) {
        snprintf(path, sizeof path, "%s/%s", folder, k ? "adapter_config.json" : "adapter_model.safetensors");
        remove(path);
    }
    rmdir(folder);
    pith_adapter_close(a), learner_close(&u);
}

TEST(adapters_of_peft) {
    for (size_t i = 0; i < sizeof adapted / sizeof *adapted; i++) {
        int bad = t_bad;
        check_adapted(i, "-hf"), check_adapted(i, ".gguf");
        if (t_bad > bad) printf("#  (%s)\n", adapted[i].name);
    }
}

int main(void) {
    RUN(every_weight);
    RUN(threads_and_memory_change_no_bit);
    RUN(a_lora_learns);
    RUN(adapters_of_peft);
    return DONE();
}
