/* loss.c - the cross-entropy of a text, which training makes small.
 *
 * It runs a sequence and gives the sum of -log p(what came next) over the tokens that count. When it is
 * to learn, it also gives the gradient of that sum by every weight. The logits of a long sequence would
 * be the largest array there is, larger than the model. So the output matrix belongs to this file: some
 * tokens at a time go forward and backward through it, and only those that count. */
#include "train.h"

#include <math.h>
#include <string.h>

static float largest(const float *x, size_t n) {
    float most[16], all = -INFINITY;
    for (size_t k = 0; k < 16; k++) most[k] = -INFINITY;
    for (; n >= 16; x += 16, n -= 16)
        for (size_t k = 0; k < 16; k++) most[k] = x[k] > most[k] ? x[k] : most[k];
    for (size_t k = 0; k < n; k++) most[k] = x[k] > most[k] ? x[k] : most[k];
    for (size_t k = 0; k < 16; k++) all = most[k] > all ? most[k] : all;
    return all;
}

/* The largest softmax value is 1 / sum(exp(x - max)); its log replaces a second pass. */
PITH_SHARED double pith__cross_entropy(const pith__kernels *k, float *x, size_t n, float temperature, pith_token target,
                                       uint8_t *right) {
    for (size_t i = 0; temperature > 0 && i < n; i++) x[i] /= temperature;
    double below = (double)largest(x, n) - x[target];
    *right = below <= 0;
    k->softmax(x, n);
    return below - log(largest(x, n));
}

/* Of the distribution p, natural logarithm. */
static double entropy_of(const float *p, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        if (p[i] > 0) sum -= (double)(p[i] * logf(p[i]));
    return sum;
}

static double mean_of(const float *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i];
    return sum / (double)n;
}

/* Forward: loss = cross_entropy(softcap(logit_scale * product)). p, the softmax, becomes the gradient of
 * the product. slope: the softcap's derivative at each logit, or NULL. */
static void d_cross_entropy(const pith__hyper *h, float *p, const float *slope, size_t n,
                            pith_token target, float scale) {
    p[target] -= 1;
    for (size_t i = 0; i < n; i++) p[i] *= scale * h->logit_scale;
    for (size_t i = 0; slope && i < n; i++) p[i] *= slope[i];
}

typedef struct { /* a sequence on its way */
    const pith__tape *tape;
    const pith__sequence *s;
    float scale; /* 0: nothing is learned */
    const float *slope; /* (n) of each token; NULL: 1 */
    pith__loss *loss;
    pith_error *err;
    int code;
    int at[PITH__LOSS_ROWS]; /* tokens that are at the logits */
    double each[PITH__LOSS_ROWS];
    uint8_t right[PITH__LOSS_ROWS];
} sequence_job;

/* Token at[i]: its logits become their gradient. */
static void token_loss(const void *data, size_t i, uint8_t *scratch) {
    sequence_job *j = (sequence_job *)(uintptr_t)data; /* to write each[i] */
    const pith__tape *tape = j->tape;
    const pith__hyper *h = &tape->s->model->hyper;
    size_t n = (size_t)h->n_vocab;
    int at = j->at[i];
    pith_token target = j->s->target[at];
    float *x = tape->logits + i * n, *slope = NULL, c = h->logit_softcap, scale = j->slope ? j->scale * j->slope[at] : j->scale;
    float temperature = j->s->temperature;
    (void)scratch;
    if (j->s->mean_logit) j->s->mean_logit[at] = (float)mean_of(x, n);
    if (c > 0) {
        slope = tape->slope + i * n;
        for (size_t k = 0; k < n; k++) slope[k] = 1 - x[k] / c * (x[k] / c);
    }
    j->each[i] = pith__cross_entropy(tape->s->pass->kernels, x, n, temperature, target, &j->right[i]);
    if (j->s->logp) j->s->logp[at] = (float)-j->each[i];
    if (j->s->entropy) j->s->entropy[at] = (float)entropy_of(x, n);
    if (j->scale != 0) d_cross_entropy(h, x, slope, n, target, temperature > 0 ? scale / temperature : scale);
}

/* The tokens at j->at, n of them, forward and backward through the output matrix. */
static void rows_loss(sequence_job *j, int n) {
    const pith__tape *tape = j->tape;
    const pith_model *m = tape->s->model;
    size_t n_embd = (size_t)m->hyper.n_embd;
    float *xn = pith__acts_at(tape->s->pass, m->hyper.n_layer).xn, *d_xn = tape->d.x; /* nothing is in it yet */
    pith__logits_at(tape->s->pass, j->at, n, tape->logits);
    pith__share(&tape->s->pass->team, (size_t)n, pith__worth_it((size_t)n * m->head.tensor.rows), token_loss, j);
    for (int i = 0; i < n; i++) j->loss->sum += j->each[i], j->loss->n_right += j->right[i];
    j->loss->n += n;
    if (j->scale == 0) return;
    pith__d_input(tape, d_xn, tape->logits, &m->head.tensor, (size_t)n, 0);
    pith__d_weight(tape, &m->head, tape->logits, xn, (size_t)n);
    for (int i = 0; i < n; i++)
        memcpy(tape->d.xn + (size_t)j->at[i] * n_embd, d_xn + (size_t)i * n_embd, n_embd * sizeof *d_xn);
}

/* Tokens that do not count have no logits, and their gradient is 0. */
static void sequence_loss(sequence_job *j) {
    const pith__tape *tape = j->tape;
    float *const facts[] = { j->s->logp, j->s->entropy, j->s->mean_logit };
    int n = 0;
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        if (facts[i]) memset(facts[i], 0, (size_t)j->s->n * sizeof(float));
    memset(tape->d.xn, 0, (size_t)j->s->n * (size_t)tape->s->model->hyper.n_embd * sizeof(float));
    for (int t = 0; t < j->s->n; t++) {
        if (j->s->target[t] >= 0) j->at[n++] = t;
        if (n == tape->rows) rows_loss(j, n), n = 0;
    }
    if (n) rows_loss(j, n);
}

static int check_targets(const pith__tape *tape, const pith_token *target, int n, pith_error *err) {
    int n_vocab = tape->s->model->hyper.n_vocab;
    if (n > tape->s->n_batch)
        return pith__fail(err, PITH_EARG, "a sequence of %d tokens, need %d at most", n,
                          tape->s->n_batch);
    for (int i = 0; i < n; i++)
        if (target[i] >= n_vocab)
            return pith__fail(err, PITH_EARG, "target %d is not in the vocabulary of %d", target[i],
                              n_vocab);
    return PITH_OK;
}

/* ---- a score head ------------------------------------------------------------------------ */

/* The last state of token t, normed: what the output matrix gets, and a score head. */
static const float *last_state(const pith__tape *tape, int t) {
    pith__out_norm(tape->s->pass, 0, t);
    return pith__acts_at(tape->s->pass, tape->s->model->hyper.n_layer).xn;
}

static void score_tokens(const sequence_job *j) {
    const pith__sequence *s = j->s;
    size_t n_embd = (size_t)j->tape->s->model->hyper.n_embd;
    for (int t = 0; s->value && t < s->n; t++)
        s->value[t] = j->tape->s->pass->kernels->dot(s->head->w, last_state(j->tape, t), n_embd);
}

/* Forward: value = head . xn. */
static void d_score_tokens(const sequence_job *j) {
    const pith__sequence *s = j->s;
    size_t n_embd = (size_t)j->tape->s->model->hyper.n_embd;
    float *d_head = j->tape->g && s->head ? j->tape->g + s->head->at : NULL;
    for (int t = 0; s->head && s->value_slope && t < s->n; t++) {
        float d = j->scale * s->value_slope[t], *d_xn = j->tape->d.xn + (size_t)t * n_embd;
        if (d == 0) continue;
        const float *xn = last_state(j->tape, t);
        for (size_t i = 0; d_head && i < n_embd; i++) d_head[i] += d * xn[i];
        for (size_t i = 0; !s->head->detached && i < n_embd; i++) d_xn[i] += d * s->head->w[i];
    }
}

/* ---- a sequence -------------------------------------------------------------------------- */

/* The forward pass and the loss. */
static void forward(sequence_job *j) {
    const pith__sequence *s = j->s;
    j->code = check_targets(j->tape, s->target, s->n, j->err);
    pith_rewind(j->tape->s, 0);
    if (!j->code) j->code = pith__eval_all(j->tape->s, s->t, s->n, NULL, j->err);
    if (j->code) return;
    score_tokens(j);
    sequence_loss(j);
}

/* The backward pass: of what d.xn is the gradient of. */
static void backward(const sequence_job *j) {
    const pith__tape *tape = j->tape;
    const pith_model *m = tape->s->model;
    d_score_tokens(j);
    pith__d_norm(tape, tape->d.x, tape->d.xn, pith__acts_at(tape->s->pass, m->hyper.n_layer).x, &m->out_norm,
                 (size_t)j->s->n, 0);
    pith__backward(tape, j->s->t, j->s->n);
}

static void run_sequence(void *data) {
    sequence_job *j = data;
    forward(j);
    if (!j->code && j->scale != 0) backward(j);
}

PITH_SHARED int pith__run_sequence(const pith__tape *tape, const pith__sequence *s, float scale, pith__loss *loss,
                                   pith_error *err) {
    sequence_job job = { .tape = tape, .s = s, .scale = scale, .slope = s->slope, .loss = loss, .err = err };
    pith__together(&tape->s->pass->team, run_sequence, &job);
    return job.code;
}

/* An output matrix that learns needs the slopes while the logits exist. */
static int needs_slopes(const pith__tape *tape) { return pith__grad(tape->g, &tape->s->model->head) != NULL; }

static void run_forward(void *data) { forward(data); }

PITH_SHARED int pith__forward_sequence(const pith__tape *tape, const pith__sequence *s, float scale, pith__loss *loss,
                                       pith_error *err) {
    sequence_job job = { .tape = tape, .s = s, .scale = needs_slopes(tape) ? 0 : scale, .loss = loss, .err = err };
    pith__together(&tape->s->pass->team, run_forward, &job);
    return job.code;
}

static void run_backward(void *data) {
    sequence_job *j = data;
    const pith__sequence *s = j->s;
    size_t n_embd = (size_t)j->tape->s->model->hyper.n_embd;
    if (needs_slopes(j->tape)) sequence_loss(j);
    else
        for (int t = 0; s->slope && t < s->n; t++)
            for (size_t i = 0; i < n_embd; i++) j->tape->d.xn[(size_t)t * n_embd + i] *= s->slope[t];
    backward(j);
}

PITH_SHARED void pith__backward_sequence(const pith__tape *tape, const pith__sequence *s, float scale) {
    pith__loss counted = { 0, 0, 0 }; /* on the way forward */
    sequence_job job = { .tape = tape, .s = s, .scale = scale, .slope = s->slope, .loss = &counted };
    pith__together(&tape->s->pass->team, run_backward, &job);
}

PITH_SHARED int pith__score(const pith__tape *tape, const pith_token *t, const pith_token *target,
                            int n, pith__loss *loss, pith_error *err) {
    const pith__sequence s = { .t = t, .target = target, .n = n };
    return pith__run_sequence(tape, &s, 0, loss, err);
}

PITH_SHARED int pith__learn(const pith__tape *tape, const pith_token *t, const pith_token *target,
                            int n, float scale, pith__loss *loss, pith_error *err) {
    const pith__sequence s = { .t = t, .target = target, .n = n };
    if (scale == 0) return pith__fail(err, PITH_EARG, "a gradient taken 0 times");
    return pith__run_sequence(tape, &s, scale, loss, err);
}
