/* keep.c - a text is kept: copied to another session, saved to a file and loaded from it.
 *
 * What a session has of its text: the tokens, the logits, and the KV cache, of which layers with a window have the
 * last positions only. It is all copied as it is, so that the text goes on to the same bits as if the session had
 * evaluated it. Rings of other lengths have a position in another slot, but always in the same place of a group
 * of 16: full groups of keys are copied at once, the others key by key. */
#include "internal.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* ---- the KV cache, position by position ------------------------------------------------------------ */

enum { GROUP = 16 }; /* positions whose keys lie side by side */

typedef struct { /* the keys or the values of one kv head */
    uint8_t *p;
    int n_slot, base; /* position u lies in slot (u - base) % n_slot; both are multiples of 16 */
} plane;

/* Of head h of layer l; values: 1, or 0 for keys. */
static plane plane_of(const pith_session *s, int l, int h, int values) {
    int n_slot = s->model->layer[l].mask.window ? s->n_slot_window : s->n_slot;
    size_t bytes = pith__cache_plane(values ? s->v_format : s->k_format, s->model->hyper.head_dim, n_slot);
    return (plane){ (values ? s->v : s->k)[l] + (size_t)h * bytes, n_slot, 0 };
}

typedef struct { /* what is copied: the positions from first to last, last not included */
    const pith__format *format;
    int head_dim, values, first, last;
} span;

static span span_of(const pith_session *s, int l, int values) {
    int first = s->model->layer[l].mask.window ? s->lost : 0;
    return (span){ values ? s->v_format : s->k_format, s->model->hyper.head_dim, values, first, s->position };
}

static void copy_plane(const span *x, plane to, plane from) {
    size_t row = pith__cache_plane(x->format, x->head_dim, 1);
    for (int u = x->first, n; u < x->last; u += n) {
        int a = (u - to.base) % to.n_slot, b = (u - from.base) % from.n_slot;
        n = u % GROUP || x->last - u < GROUP ? 1 : GROUP;
        if (x->values || n == GROUP) memcpy(to.p + (size_t)a * row, from.p + (size_t)b * row, (size_t)n * row);
        else pith__cache_copy_key(x->format, x->head_dim, to.p, a, from.p, b);
    }
}

/* ---- copying ----------------------------------------------------------------------------------------- */

/* A text of n tokens, of which rings have lost the first ones, stands in the session from now on. */
static void set_text(pith_session *s, int n, int lost, int logits_at, int long_rope) {
    s->position = n;
    s->lost = lost > n - s->n_slot_window ? lost : n - s->n_slot_window;
    s->logits_at = logits_at;
    s->long_rope = long_rope;
    s->draft.made = s->draft.accepted = 0;
}

int pith_session_copy(pith_session *to, const pith_session *from, pith_error *err) {
    const pith__hyper *h = &from->model->hyper;
    if (to == from) return PITH_OK;
    if (to->model != from->model)
        return pith__fail(err, PITH_EARG, "%s: the text to copy is in a session of another model, %s",
                          to->model->store.path, from->model->store.path);
    if (to->k_format != from->k_format || to->v_format != from->v_format)
        return pith__fail(err, PITH_EARG, "the KV cache of the text to copy is %s and %s, need %s and %s",
                          from->k_format->name, from->v_format->name, to->k_format->name, to->v_format->name);
    if (from->position > to->n_ctx)
        return pith__fail(err, PITH_EFULL, "the context of %d tokens has no room for the %d of the text to copy",
                          to->n_ctx, from->position);
    set_text(to, from->position, from->lost, from->logits_at, from->long_rope);
    memcpy(to->tokens, from->tokens, (size_t)from->position * sizeof *to->tokens);
    memcpy(to->logits, from->logits, (size_t)h->n_vocab * sizeof *to->logits);
    for (int i = 0; i < 2 * h->n_layer; i++) {
        int l = i / 2, values = i % 2;
        span x = span_of(to, l, values);
        for (int head = 0; head < h->n_kv_head; head++)
            copy_plane(&x, plane_of(to, l, head, values), plane_of(from, l, head, values));
    }
    return PITH_OK;
}
