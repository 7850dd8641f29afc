/* t_rollouts.c - completions that a policy is taught with: what each token was drawn with is to the bit what training finds. */
#define _POSIX_C_SOURCE 200809L
#include "../tools/rollouts.h"
#include "../train/train.h"
#include "grpo_rollouts.h"
#include "pupil.h"

#include <math.h>

enum { PROMPTS = 3 };

typedef struct {
    pith_model *m;
    pith_adapter *a;
    pith__params p;
    table_rollout table[ROLLOUTS];
    request_prompt prompt[PROMPTS];
} policy;

/* base: a folder or a file of the family's. */
static int policy_open(policy *u, const char *of, const char *base, int n_threads) {
    pith_error e = { 0, "" };
    memset(u, 0, sizeof *u);
    u->m = pith_open(base, &(pith_options){ .n_threads = n_threads }, &e);
    if (!u->m || pith__gather(u->m, &e)) return printf("# %s\n", e.text), 1;
    u->a = pith_adapter_open(u->m, fixture_tuning(of, "lora/a1"), &e);
    if (!u->a || pith__adapter_params(&u->p, u->a, u->m, &e)) return printf("# %s\n", e.text), 1;
    if (read_rollouts(of, u->table) != ROLLOUTS) return 1;
    for (int i = 0; i < PROMPTS; i++) u->prompt[i] = (request_prompt){ u->table[i * GENERATIONS].prompt, u->table[i * GENERATIONS].n_prompt };
    return 0;
}

static void policy_close(policy *u) { pith__params_free(&u->p), pith_adapter_close(u->a), pith_close(u->m); }

static rollout_plan plan_of(const policy *u) {
    return (rollout_plan){ .m = u->m, .adapter = u->a, .temperature = 1, .n_each = 5, .max_length = 20, .seed = 11 };
}

/* Everything as a number. */
static uint64_t print_of(const rollouts *r) {
    uint64_t h = 0;
    for (int i = 0; i < r->n; i++) {
        const rollout *x = &r->r[i];
        h = pith__hash(h, x->t, (size_t)(x->n_prompt + x->n) * sizeof *x->t);
        h = pith__hash(h, x->logp, (size_t)x->n * sizeof *x->logp);
        h = pith__hash(pith__hash(h, &x->group, sizeof x->group), &x->truncated, sizeof x->truncated);
    }
    return h;
}

/* How far the probabilities of r are from those of a step of training: the largest. And those of sessions are the same. */
static double off_training(policy *u, rollouts *r, float temperature) {
    pith_error e = { 0, "" };
    pith__step *step = pith__step_new(u->m, &u->p, &(pith__step_plan){ r->longest, r->n, PITH__KEEP_ALL, 1 }, &e);
    pith_token *target = calloc((size_t)r->longest, sizeof *target);
    float *logp = calloc((size_t)r->longest, sizeof *logp);
    double off = step && target && logp ? 0 : INFINITY;
    if (step) pith__step_adapter(step, u->a);
    for (int i = 0; i < r->n && step; i++) {
        const rollout *x = &r->r[i];
        pith__loss loss = { 0 };
        int n = x->n_prompt + x->n - 1;
        for (int k = 0; k < n; k++) target[k] = k < x->n_prompt - 1 ? -1 : x->t[k + 1];
        const pith__sequence s = { .t = x->t, .target = target, .n = n, .temperature = temperature, .logp = logp };
        EQ(pith__step_score(step, &s, 1, &loss, &e), PITH_OK);
        for (int k = 0; k < x->n; k++) off = fmax(off, fabs((double)logp[x->n_prompt - 1 + k] - (double)x->logp[k]));
    }
    float **again = calloc((size_t)r->n, sizeof *again);
    EQ(rollouts_score(r, u->m, u->a, temperature, again), 0);
    for (int i = 0; i < r->n; i++)
        if (memcmp(again[i], r->r[i].logp, (size_t)r->r[i].n * sizeof(float)) != 0) off = INFINITY;
    free(target), free(logp), free(again), pith__step_free(step);
    return off;
}

/* Every family: windows, experts, softcaps, norms. All weights learn. */
TEST(what_training_finds_in_every_family) {
    for (int f = 0; f < N_DECODER; f++) {
        policy u = { 0 };
        pupil x;
        rollouts r;
        REQUIRE(!pupil_new(&x, &all_families[f], 1 + f % 2, NULL, PITH__KEEP_ALL));
        u.m = x.m, u.p = x.p;
        const request_prompt prompt[] = { { x.t, 5 }, { x.t + 3, 7 }, { x.t, 17 } };
        const rollout_plan plan = { .m = x.m, .temperature = 1.25f, .n_each = 3, .max_length = 20, .parallel = 4, .seed = 5 };
        EQ(rollouts_sample(&r, &plan, prompt, 3), 0);
        if (off_training(&u, &r, 1.25f) > 0) FAIL("%s: other probabilities", all_families[f].name);
        rollouts_free(&r), pupil_free(&x);
    }
}

static const char *const families[] = { "llama", "qwen2" };

TEST(what_training_finds) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int f = 0; f < 2; f++)
        for (int k = 0; k < 4; k++) {
            policy u;
            rollouts r;
            REQUIRE(!policy_open(&u, families[f], fixture_tuning(families[f], k & 1 ? "base.gguf" : "base"), 1 + k / 2));
            rollout_plan plan = plan_of(&u);
            plan.temperature = k & 2 ? 0.7f : 1;
            EQ(rollouts_sample(&r, &plan, u.prompt, PROMPTS), 0);
            EQ(r.n, PROMPTS * 5);
            NEAR(off_training(&u, &r, plan.temperature), 0, 0);
            rollouts_free(&r), policy_close(&u);
        }
}

/* A prompt, behind it at most so many tokens, of which only the last may end the text; the flag says whether it does. */
TEST(shape_of_completions) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    policy u;
    rollouts r;
    int ended = 0, longest = 0;
    REQUIRE(!policy_open(&u, "llama", fixture_tuning("llama", "base"), 2));
    rollout_plan plan = plan_of(&u);
    plan.first_group = 40, plan.max_length = 12;
    EQ(rollouts_sample(&r, &plan, u.prompt, PROMPTS), 0);
    for (int i = 0; i < r.n; i++) {
        const rollout *x = &r.r[i];
        EQ(x->group, 40 + i / 5);
        EQ(x->n_prompt, u.prompt[i / 5].n);
        CHECK(x->n >= 1 && x->n <= 12 && !memcmp(x->t, u.prompt[i / 5].t, (size_t)x->n_prompt * sizeof *x->t));
        for (int k = 0; k < x->n; k++) {
            int end = pith_is_end(u.m, x->t[x->n_prompt + k]);
            CHECK(x->logp[k] <= 0 && (!end || k == x->n - 1));
            if (k == x->n - 1) EQ(x->truncated, !end);
        }
        CHECK(!x->truncated || x->n == 12);
        ended += !x->truncated;
        if (x->n_prompt + x->n > longest) longest = x->n_prompt + x->n;
    }
    if (!(ended > 0 && ended < r.n)) FAIL("%d of %d ended", ended, r.n);
    EQ(r.longest, longest);
    rollouts_free(&r), policy_close(&u);
}

/* However many texts are written at once, by however many threads. Another seed, prompt or number: another text. */
TEST(functions_of_the_seed) {
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    uint64_t want = 0;
    for (int k = 0; k < 5; k += 2) {
        policy u;
        rollouts r, other;
        REQUIRE(!policy_open(&u, "qwen2", fixture_tuning("qwen2", "base"), 1 + k / 2 % 2));
        rollout_plan plan = plan_of(&u);
        plan.parallel = k;
        EQ(rollouts_sample(&r, &plan, u.prompt, PROMPTS), 0);
        if (!k) want = print_of(&r);
        CHECK(print_of(&r) == want);
        EQ(rollouts_sample(&other, &plan, u.prompt, 2), 0); /* the last prompt does not matter to the others */
        r.n = 2 * 5;
        CHECK(print_of(&r) == print_of(&other));
        int same = 0;
        for (int i = 1; i < 5; i++) same += r.r[i].n == r.r[0].n && !memcmp(r.r[i].t, r.r[0].t, (size_t)(r.r[0].n_prompt + r.r[0].n) * sizeof(pith_token));
        CHECK(same < 3);
        rollouts_free(&other), plan.seed++;
        EQ(rollouts_sample(&other, &plan, u.prompt, 2), 0);
        CHECK(print_of(&r) != print_of(&other));
        rollouts_free(&other), rollouts_free(&r), policy_close(&u);
    }
}

/* Tokens come as often as their probability says. */
TEST(drawn_as_likely_as_said) {
    enum { DRAWS = 2000 };
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    policy u;
    rollouts r;
    REQUIRE(!policy_open(&u, "llama", fixture_tuning("llama", "base"), 2));
    rollout_plan plan = plan_of(&u);
    plan.n_each = DRAWS, plan.max_length = 1, plan.temperature = 1.5f, plan.parallel = 64;
    EQ(rollouts_sample(&r, &plan, u.prompt, 1), 0);
    int n_vocab = u.m->hyper.n_vocab, seen = 0, *count = calloc((size_t)n_vocab, sizeof *count);
    double *p = calloc((size_t)n_vocab, sizeof *p), total = 0;
    for (int i = 0; i < r.n; i++) {
        pith_token t = r.r[i].t[r.r[i].n_prompt];
        count[t]++, p[t] = exp((double)r.r[i].logp[0]);
    }
    for (int t = 0; t < n_vocab; t++) {
        total += p[t], seen += count[t] > 0;
        NEAR(count[t] / (double)DRAWS, p[t], 5 * sqrt(p[t] * (1 - p[t]) / DRAWS) + 1e-3);
    }
    CHECK(total > 0.95 && total < 1 + 1e-6 && seen > 5);
    free(count), free(p), rollouts_free(&r), policy_close(&u);
}

int main(void) {
    RUN(what_training_finds);
    RUN(what_training_finds_in_every_family);
    RUN(shape_of_completions);
    RUN(functions_of_the_seed);
    RUN(drawn_as_likely_as_said);
    return DONE();
}
