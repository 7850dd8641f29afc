/* sampler.c - logits -> the next token.
 *
 * Gets a session's logits and a pith_sampling, gives one token: bias, what a grammar allows, then the stages, then
 * one draw. A stage is a name and a function of the candidates, so the order of the stages is data: llama2.c's, with
 * the temperature before the filters, or llama.cpp's, or the caller's. Each filter sees what the one before it left,
 * and probabilities among those. With temperature and top-p alone this is llama2.c's sampler to the last bit: same
 * generator, same sums in the same order, so a seed tells the same story.
 *
 * A NaN among the logits counts as -INFINITY; when nothing else is left the answer is the first token that is
 * allowed. Nothing is allocated: the pass brings (n_vocab) logits, probabilities and candidates. What draws leave
 * for those after them (mirostat, adaptive-p) is in memory of the caller. */
#include "internal.h"

#include <math.h>
#include <string.h>

/* ---- what a model recommends ------------------------------------------------------------------ */

/* A setting that the model's file brings along (GGUF's name, a Hugging Face folder's), if it makes sense. */
static float model_says(const pith_model *m, const char *gguf, const char *folder, float most,
                        float otherwise) {
    const pith__key *k = pith__store_key(&m->store, gguf);
    if (!k) k = pith__store_key(&m->store, folder);
    int number = k && (k->type == PITH__FLOAT || k->type == PITH__INT);
    return number && k->f >= 0 && k->f <= (double)most ? (float)k->f : otherwise;
}

pith_sampling pith_sampling_default(const pith_model *m) {
    pith_sampling how = PITH_SAMPLING_DEFAULT;
    if (!m) return how;
    if (m->store.llama2c) how.temperature = 1, how.top_p = 0.9f, how.top_k = 0, how.min_p = 0;
#define MODEL_SAYS(field, gguf, folder, most) how.field = \
    model_says(m, "general.sampling." gguf, "pith." folder, most, how.field)
    MODEL_SAYS(temperature, "temp", "temperature", 1e6f);
    MODEL_SAYS(top_p, "top_p", "top_p", 1);
    MODEL_SAYS(min_p, "min_p", "min_p", 1);
    MODEL_SAYS(repeat_penalty, "penalty_repeat", "repeat_penalty", 100);
#undef MODEL_SAYS
    how.top_k = (int)model_says(m, "general.sampling.top_k", "pith.top_k", 1e6f, (float)how.top_k);
    return how;
}

/* ---- the generator --------------------------------------------------------------------------- */

/* xorshift64* (Vigna 2014, arXiv:1402.6246): 24 random bits as a float in [0, 1). State 0 would
 * stay 0, so it is replaced; xorshift never reaches it from another state. */
float pith_random(uint64_t *state) {
    if (!*state) *state = 0x9E3779B97F4A7C15u;
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (float)(*state * 0x2545F4914F6CDD1Du >> 40) / 16777216.0f;
}

/* ---- stages with chance or memory ------------------------------------------------------------ */

/* XTC, exclude top choices (p-e-w 2024, github.com/oobabooga/text-generation-webui/pull/6335): with this
 * probability, of the tokens that are likely enough only the least likely stays. */
static void exclude_top(pith__candidates *c) {
    float p = c->how->xtc_probability, least = c->how->xtc_threshold;
    if (!(p > 0) || !(least <= 0.5f) || pith_random(c->rng) > p) return;
    pith__list(c);
    pith__probabilities(c);
    if (!(least > 0)) least = FLT_TRUE_MIN; /* what cannot come is not likely enough */
    int32_t last = -1;
    int above = 0, n = 0;
    for (int i = 0; i < c->n; i++) {
        int32_t t = c->t[i];
        if (!(c->p[t] >= least)) continue;
        if (last < 0 || c->p[t] < c->p[last] || (c->p[t] == c->p[last] && t > last)) last = t;
        above++;
    }
    if (above < 2 || c->n - above + 1 < c->how->min_keep) return;
    for (int i = 0; i < c->n; i++)
        if (c->t[i] == last || !(c->p[c->t[i]] >= least)) c->t[n++] = c->t[i];
    c->n = n;
    c->has_p = 1;
    c->best = -1;
}

/* Mirostat (Basu et al. 2020, arXiv:2007.14966) holds the surprise of what is drawn near tau bits, by a bound mu that
 * each draw corrects. */
static double bound(const pith__candidates *c) {
    const pith_drawn *before = c->how->drawn;
    return before && before->n ? before->mu : 2 * c->how->mirostat_tau;
}

/* Version 1: from how fast the largest probabilities fall (Zipf's exponent s) it follows how many tokens to keep. */
static void mirostat_1(pith__candidates *c) {
    enum { TOP = 100 };
    pith__list(c);
    pith__probabilities(c);
    int whole = c->n, n = whole < TOP ? whole : TOP;
    pith__candidates top = *c;
    pith__keep(&top, n);
    double sum = 0, squares = 0;
    for (int i = 0; i + 1 < n && c->p[top.t[i + 1]] > 0; i++) {
        double t = log((i + 2.0) / (i + 1.0));
        sum += t * log(c->p[top.t[i]] / c->p[top.t[i + 1]]);
        squares += t * t;
    }
    double s = squares > 0 ? sum / squares : 0, e = s - 1;
    double k = pow(e * exp2(bound(c)) / (1 - pow(c->s->model->hyper.n_vocab, -e)), 1 / s);
    if (k <= n) { /* NaN goes on */
        *c = top;
        c->n = k < 1 ? 1 : (int)k;
    } else if (k < whole) {
        pith__keep(c, (int)k);
    }
    c->has_p = 1;
}

/* Version 2: the tokens whose surprise is no more than mu bits. */
static void mirostat_2(pith__candidates *c) {
    pith__list(c);
    pith__probabilities(c);
    pith__keep_from(c, exp2(-bound(c)));
}

static void recall_surprise(pith__candidates *c, pith_token t) {
    pith_drawn *d = c->how->drawn;
    double p = c->p[t] / pith__sum(c);
    if (!d || !(p > 0)) return;
    d->mu = (float)(bound(c) - c->how->mirostat_eta * (-log2(p) - c->how->mirostat_tau));
    d->n++;
}

/* Adaptive-p (MrJackSpade 2025, github.com/ggml-org/llama.cpp/pull/17927) prefers tokens of about one probability,
 * which moves so that those drawn have it in the mean. Afterwards x holds the probabilities and p the weights. */
static void prefer(pith__candidates *c) {
    const pith_drawn *d = c->how->drawn;
    double aim = c->how->adaptive_target;
    if (d && d->n && d->weight > 0) aim = 2 * aim - d->sum / d->weight;
    aim = !(aim > 0) ? 0 : aim > 1 ? 1 : aim;
    pith__list(c);
    pith__probabilities(c);
    for (int i = 0; i < c->n; i++) {
        double far = fabs(c->p[c->t[i]] - aim) / 0.3;
        c->x[c->t[i]] = (float)exp(-10 * far * far / (1 + far));
    }
    float *weight = c->x;
    c->x = c->p;
    c->p = weight;
    c->sorted = 0;
    c->has_p = 1;
}

static void recall_probability(pith__candidates *c, pith_token t) {
    pith_drawn *d = c->how->drawn;
    float decay = c->how->adaptive_decay;
    if (!d) return;
    d->sum = c->x[t] + decay * d->sum;
    d->weight = 1 + decay * d->weight;
    d->n++;
}

/* ---- the stages in their order ---------------------------------------------------------------- */

static const struct stage {
    char letter;
    const char *name;
    void (*work)(pith__candidates *c); /* NULL: comes last, whatever the order */
} stages[] = {
    { 'e', "penalties", pith__penalise },   { 'd', "dry", pith__dry },
    { 's', "top_n_sigma", pith__top_n_sigma }, { 'k', "top_k", pith__top_k },
    { 'y', "typ_p", pith__typical },        { 'p', "top_p", pith__top_p },
    { 'm', "min_p", pith__min_p },          { 'x', "xtc", exclude_top },
    { 't', "temperature", pith__temperature }, { 'a', "adaptive_p", NULL },
    { 'y', "typical_p", pith__typical },    { 'y', "typical", pith__typical },
    { 'y', "typ", pith__typical },          { 'p', "nucleus", pith__top_p },
    { 't', "temp", pith__temperature },
};

static const struct stage *stage_of(char letter) {
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++)
        if (stages[i].letter == letter) return &stages[i];
    return NULL;
}

/* "top_k", "top-k" and "topk" are one name. */
static int is_named(const char *name, const char *s, size_t n) {
    const char *end = s + n;
    for (; s < end && *name; s++) {
        if (*s == '-' || *s == '_') continue;
        if (*name == '_') name++;
        if (*s != *name++) return 0;
    }
    return s == end && !*name;
}

int pith_samplers(const char *names, char *order, int cap, pith_error *err) {
    enum { STAGES = sizeof stages / sizeof *stages };
    int n = 0;
    for (const char *p = names; *p; p += *p == ';') {
        size_t len = strcspn(p, ";"), i = 0;
        while (i < STAGES && !is_named(stages[i].name, p, len)) i++;
        if (i == STAGES)
            return pith__fail(err, PITH_EARG, "sampler '%.*s', need some of: penalties dry top_n_sigma top_k typ_p "
                              "top_p min_p xtc temperature adaptive_p", len < 40 ? (int)len : 40, p);
        if (n + 1 >= cap) return pith__fail(err, PITH_EARG, "more than %d samplers", cap - 1);
        order[n++] = stages[i].letter;
        p += len;
    }
    order[n] = 0;
    return PITH_OK;
}

/* Those who use a stage of llama.cpp expect it where llama.cpp has it. */
static const char *order_of(const pith_sampling *how) {
    int llama_cpp = (how->typical_p > 0 && how->typical_p < 1) || how->top_n_sigma > 0 || how->xtc_probability > 0 ||
                    how->dynatemp_range > 0 || how->dry_multiplier > 0;
    if (how->mirostat == 1 || how->mirostat == 2) return "t";
    return how->order ? how->order : llama_cpp ? "edskypmxt" : "etkpm";
}

static int is_allowed(const pith_sampling *how, int t) {
    return !how->allow || (how->allow[t / 32] >> (t % 32) & 1);
}

static inline void copy_numbers(float *restrict to, const float *restrict x, int n) {
    for (int i = 0; i < n; i++) to[i] = isnan(x[i]) ? -INFINITY : x[i];
}

/* All tokens are candidates: biased, and -INFINITY where they may not come. */
static pith__candidates all_tokens(const pith_session *s, const pith_sampling *how, uint64_t *rng, float *adjusted,
                                   float *probs, int32_t *order) {
    int n = s->model->hyper.n_vocab;
    pith__candidates c = { .s = s, .how = how, .rng = rng, .x = adjusted, .p = probs, .t = order, .n = n, .all = 1, .best = -1, .llama2c = !strcmp(order_of(how), "etkpm") };
    for (int i = 0; i + PITH__BLOCK <= n; i += PITH__BLOCK) copy_numbers(c.x + i, s->logits + i, PITH__BLOCK);
    copy_numbers(c.x + n / PITH__BLOCK * PITH__BLOCK, s->logits + n / PITH__BLOCK * PITH__BLOCK, n % PITH__BLOCK);
    for (int i = 0; how->bias && i < how->n_bias; i++) {
        pith_token t = how->bias[i].token;
        if (t >= 0 && t < n && isnan(c.x[t] += how->bias[i].bias)) c.x[t] = -INFINITY;
    }
    for (int i = 0; how->allow && i < n; i++)
        if (!is_allowed(how, i)) c.x[i] = -INFINITY;
    return c;
}

/* What is left to draw from, with probabilities. 0: nothing, all are -INFINITY. */
static int narrow(pith__candidates *c) {
    const pith_sampling *how = c->how;
    const char *order = order_of(how);
    if (c->x[pith__likeliest(c)] == -INFINITY) return 0;
    for (const char *p = order; *p; p++) {
        const struct stage *s = stage_of(*p);
        if (s && s->work) s->work(c);
    }
    if (c->x[pith__likeliest(c)] == -INFINITY) return 0; /* the penalties are without bounds */
    if (how->mirostat == 1) mirostat_1(c);
    else if (how->mirostat == 2) mirostat_2(c);
    else if (strchr(order, 'a') && how->adaptive_target >= 0) prefer(c);
    return 1;
}

/* Where every logit is -INFINITY: the first token that may come, or -1. */
static pith_token first_allowed(const pith_sampling *how, int n) {
    for (int t = 0; t < n; t++)
        if (is_allowed(how, t)) return t;
    return -1;
}

PITH_SHARED pith_token pith__sample(const pith_session *s, const pith_sampling *how, uint64_t *rng,
                                    float *adjusted, float *probs, int32_t *order) {
    static const pith_sampling greedy;
    if (!how) how = &greedy;
    pith__candidates c = all_tokens(s, how, rng, adjusted, probs, order);
    int sure = pith__is_greedy(how) && strchr(order_of(how), 't');
    float coin = sure ? 0 : pith_random(rng);
    if (!narrow(&c)) return first_allowed(how, s->model->hyper.n_vocab);
    pith_token t = c.n == 1 ? pith__likeliest(&c) : pith__draw(&c, coin);
    if (how->mirostat == 1 || how->mirostat == 2) recall_surprise(&c, t);
    else if (strchr(order_of(how), 'a') && how->adaptive_target >= 0) recall_probability(&c, t);
    return t;
}

pith_token pith_sample(pith_session *s, const pith_sampling *how, uint64_t *rng) {
    return pith__sample(s, how, rng, s->pass->adjusted, s->pass->probs, s->pass->order);
}

int pith_distribution(pith_session *s, const pith_sampling *how, uint64_t *rng, float *p) {
    static const pith_sampling greedy;
    if (!how) how = &greedy;
    pith__candidates c = all_tokens(s, how, rng, s->pass->adjusted, s->pass->probs, s->pass->order);
    int n = 0, n_vocab = c.n;
    for (int t = 0; t < n_vocab; t++) p[t] = 0;
    if (!narrow(&c)) {
        pith_token t = first_allowed(how, n_vocab);
        if (t >= 0) p[t] = 1;
        return t >= 0;
    }
    if (!c.has_p) pith__probabilities(&c);
    float sum = pith__sum(&c);
    for (int i = 0; i < c.n; i++) {
        pith_token t = c.all ? i : c.t[i];
        p[t] = c.p[t] / sum;
        n += p[t] > 0;
    }
    return n;
}
