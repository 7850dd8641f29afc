/* trace.c - --trace, of run and of the verbs for encoders: every activation of every layer, for those who want to see a model think.
 *
 * One line an activation on stderr: layer, name (as in pith__acts), shape, mean magnitude over all its
 * numbers, and the first four of the last token. */
#include "verbs.h"

#include <math.h>

typedef struct {
    const char *name;
    const float *x;
    int heads, width; /* of a token: (heads, width), or (width) when heads is 0 */
} activation;

static void print_one(int l, int n, const activation *a) {
    int size = (a->heads ? a->heads : 1) * a->width;
    double sum = 0;
    for (size_t i = 0; i < (size_t)n * (size_t)size; i++) sum += fabs((double)a->x[i]);
    const float *last = a->x + (size_t)(n - 1) * (size_t)size;
    char shape[48];
    if (a->heads) snprintf(shape, sizeof shape, "(%d, %d, %d)", n, a->heads, a->width);
    else snprintf(shape, sizeof shape, "(%d, %d)", n, a->width);
    fprintf(stderr, "%3d  %-8s %-18s mean|x| %10.4g  ", l, a->name, shape, sum / n / size);
    for (int i = 0; i < 4 && i < size; i++) fprintf(stderr, " %10.4g", (double)last[i]);
    fputc('\n', stderr);
}

static void trace_layer(void *model, int l, const pith__acts *a, int n) {
    const pith_model *m = model;
    const pith__hyper *h = &m->hyper;
    const pith__layer *w = &m->layer[l];
    int dense = !w->router.tensor.data, latents = w->mixer == PITH__LATENT;
    const activation all[] = {
        { "attn_norm", w->attn_norm.w.floats ? a->xn : NULL, 0, h->n_embd },
        { "q", a->q, w->n_head, w->head_dim },
        { "k", w->kv_from == l ? a->k : NULL, w->n_kv_head, w->head_dim },
        { "v", w->kv_from == l && !latents ? a->v : NULL, w->n_kv_head, w->head_dim },
        { "attn", a->attn, w->n_head, latents ? h->latent.rank : w->head_dim },
        { "attn_out", a->o, 0, h->n_embd },
        { "sum", w->attn_out_norm.w.floats ? a->y0 : NULL, 0, h->n_embd }, /* which an encoder's norm makes the stream of */
        { "stream", a->y, 0, h->n_embd },
        { "ffn_norm", w->ffn_norm.w.floats ? a->yn : NULL, 0, h->n_embd },
        { "gate", dense && h->gated ? a->gate : NULL, 0, w->n_ff },
        { "up", dense ? a->up : NULL, 0, w->n_ff },
        { "act", dense ? a->act : NULL, 0, w->n_ff },
        { "route", dense ? NULL : a->route, 0, h->n_expert },
        { "ffn_out", a->f, 0, h->n_embd },
        { "sum", w->ffn_out_norm.w.floats ? a->z0 : NULL, 0, h->n_embd },
        { "stream", a->x, 0, h->n_embd }, /* stride 0: what the next block gets */
    };
    if (l == 0) fprintf(stderr, "  l  name     shape\n");
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].x) print_one(l, n, &all[i]);
}

void trace_session(pith_session *s) {
    s->watch = trace_layer;
    s->watch_data = (void *)(uintptr_t)s->model; /* nobody writes to it */
}

void trace_embedder(pith_embedder *e, const pith_model *m) { pith__embedder_watch(e, trace_layer, (void *)(uintptr_t)m); }
