/* forgetting.c - what a training that begins with a model may lose, and what it learns by heart, while it goes on.
 *
 * At each evaluation the model of now and the one of before the training read a general text: the loss on it shows
 * forgetting, the KL divergence from one to the other how far the model has moved. And it is asked for the second
 * halves of some examples that it learns from. */
#include "trainer.h"

#include <math.h>
#include <stdlib.h>

enum { GENERAL = 1024, WINDOW = 512, ROWS = 64 }; /* tokens of the general text, of a context, and at once */
enum { EXAMPLES = 16 };                           /* that are asked for */

static pith_session *open_watcher(const pith_model *m, const pith_adapter *a, int n_ctx) {
    pith_error e = { 0, "" };
    pith_context c = { .n_ctx = n_ctx, .n_batch = ROWS, .cache_k = "f32", .cache_v = "f32", .adapters = &a,
                       .n_adapter = a != NULL };
    pith_session *s = pith_session_new(m, &c, &e);
    if (!s) complain(FAILED, "%s", e.text);
    return s;
}

int forgetting_open(forgetting *f, trainer *t, const pith_adapter *a, const model_choice *c, const char *file) {
    int window = pith_model_shape(t->m)->n_ctx, code = 0;
    if (window > WINDOW) window = WINDOW;
    int n_ctx = t->n_ctx > window ? t->n_ctx : window; /* no more: a model may have positions for just so many */
    f->window = window;
    if (!a) code = open_model(c, 0, &f->base); /* its file still has the weights as they were */
    if (!code && (file || t->m->tokenizer)) code = general_tokens(t->m, file, GENERAL, &f->text, &f->n_text);
    if (!code && !(f->now = open_watcher(t->m, a, n_ctx))) code = FAILED;
    if (!code && !(f->before = open_watcher(a ? t->m : f->base, NULL, n_ctx))) code = FAILED;
    return code;
}

void forgetting_close(forgetting *f) {
    pith_session_free(f->now), pith_session_free(f->before);
    pith_close(f->base);
    free(f->text);
}

/* Loss on general text when training began, as far as the log knows. */
static double loss_at_start(const trainer *t, double otherwise) {
    for (int i = 0; i < t->n_history; i++)
        if (!isnan(t->history[i].forget_loss)) return t->history[i].forget_loss;
    return otherwise;
}

int forgetting_measure(forgetting *f, trainer *t, const pith__sequence *example, int n_example) {
    pith_error e = { 0, "" };
    pith__progress watch = progress_of(&t->shown);
    pith__drift_plan plan = { .a = f->now, .b = f->before, 
                              .begin = -1, .window = f->window, .progress = &watch };
    pith__drift_sums d = { .n = 0 };
    pith__recall_sums r = { .n = 0 };
    int none = !f->n_text; /* a model without a vocabulary reads no text */
    if ((!none && pith__drift(&plan, f->text, f->n_text, NULL, &d, &e)) || pith__recall(f->now, example, n_example, &watch, &r, &e))
        return report(&e);
    double loss = d.n ? d.nll_a / (double)d.n : (double)NAN, kl = d.n ? d.kl / (double)d.n : (double)NAN;
    if (!none) fprintf(stderr, "  general %.4f (%+.0f %%)  KL %.4f", loss, 100 * (loss / loss_at_start(t, loss) - 1), kl);
    log_number(t, "forget_loss", loss);
    log_number(t, "kl", kl);
    if (r.n) {
        fprintf(stderr, "  by heart %.0f %%", 100 * (double)r.n_repeated / (double)r.n);
        log_number(t, "memorised", (double)r.n_repeated / (double)r.n);
    }
    t->forget_loss = loss;
    return 0;
}
