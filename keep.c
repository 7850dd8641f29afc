/* keep.c - a text is kept: copied to another session, saved to a file and loaded from it.
 *
 * What a session has of its text: the tokens, the logits, and the KV cache, of which layers with a window have the
 * last positions only; and the states of layers that have one, with those kept at marks. It is all copied as it is, so that the text goes on to the same bits as if the session had
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
    const pith__layer *w = &s->model->layer[l];
    int n_slot = w->mask.window ? s->n_slot_window : s->n_slot;
    size_t bytes = pith__cache_plane(values ? s->v_format : s->k_format, w->head_dim, n_slot);
    return (plane){ (values ? s->v : s->k)[l] + (size_t)h * bytes, n_slot, 0 };
}

/* Planes of layer l that are kept: a layer that sees the keys and values of another has none. */
static int kept_heads(const pith_session *s, int l, int values) {
    const pith__layer *w = &s->model->layer[l];
    return w->kv_from == l ? pith__planes(w, values) : 0;
}

typedef struct { /* what is copied: the positions from first to last, last not included */
    const pith__format *format;
    int head_dim, values, first, last;
} span;

/* Of layer l, what is there of a text of n tokens. */
static span span_of(const pith_session *s, int l, int values, int lost, int n) {
    const pith__layer *w = &s->model->layer[l];
    return (span){ values ? s->v_format : s->k_format, w->head_dim, values, w->mask.window ? lost : 0, n };
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

/* ---- states ------------------------------------------------------------------------------------------ */

/* States and marks i, from -1 on: first the states now, then those at marks. */
static float *states_of(const pith_session *s, int i) { return i < 0 ? s->states : s->mark[i].states; }

static void copy_states(pith_session *to, const pith_session *from) {
    size_t n = pith__states_floats(to->model);
    to->n_mark = from->n_mark; /* sessions of a model have room for as many */
    for (int i = -1; n && i < from->n_mark; i++) {
        memcpy(states_of(to, i), states_of(from, i), n * sizeof(float));
        if (i >= 0) to->mark[i].position = from->mark[i].position;
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
    if (!pith__same_adapters(&to->adapted, &from->adapted))
        return pith__fail(err, PITH_EARG, "the text to copy is one with other adapters");
    if (from->position > to->n_ctx)
        return pith__fail(err, PITH_EFULL, "the context of %d tokens has no room for the %d of the text to copy",
                          to->n_ctx, from->position);
    set_text(to, from->position, from->lost, from->logits_at, from->long_rope);
    memcpy(to->tokens, from->tokens, (size_t)from->position * sizeof *to->tokens);
    memcpy(to->logits, from->logits, (size_t)h->n_vocab * sizeof *to->logits);
    copy_states(to, from);
    for (int i = 0; i < 2 * h->n_layer; i++) {
        int l = i / 2, values = i % 2;
        span x = span_of(to, l, values, to->lost, to->position);
        for (int head = 0; head < kept_heads(to, l, values); head++)
            copy_plane(&x, plane_of(to, l, head, values), plane_of(from, l, head, values));
    }
    return PITH_OK;
}

/* ---- the file of a text -------------------------------------------------------------------------------- */

/* A head, the tokens, the logits, the positions of marks, the states now and at marks, then of each layer the keys and values of each kv head, as planes that begin with
 * the group of 16 of the first position that is held; slots before it and after the text are zeros. A hash of all
 * that comes before ends the file. */
typedef struct {
    char magic[8];
    uint32_t version, long_rope;
    uint64_t size;           /* bytes of the file */
    uint64_t model;          /* hash of the weights, and of what else the numbers depend on */
    char computed_by[48];    /* program and kernels: others round otherwise */
    int32_t k_format, v_format;
    int32_t n_token, lost, logits_at, n_vocab;
    uint64_t adapters;       /* hash of those that the session has; 0: none */
    int32_t n_mark, zero;
} file_head;
_Static_assert(sizeof(file_head) == 120, "as in the file");

enum { VERSION = 2, AT_ONCE = 1 << 16, LEAST = sizeof(file_head) + sizeof(uint64_t) };
static const char magic[8] = "PITHTEXT";

/* Of the numbers of a matrix. */
static uint64_t hash_rows(uint64_t x, const pith__tensor *t) {
    if (!pith__is_apart(t)) return pith__hash(x, t->data, t->rows * t->row_bytes);
    for (size_t r = 0; r < t->rows; r++) {
        x = pith__hash(x, t->data + r * t->row_bytes, pith__row_size(t));
        x = pith__hash(x, t->scale + r * (t->row_bytes / 16), pith__row_size(t) / 16);
    }
    return x;
}

/* Reads all weights, which takes about as long as one token: a session that knows the hash keeps it. */
PITH_SHARED uint64_t pith__model_hash(const pith_model *m) {
    const pith__hyper *h = &m->hyper;
    uint64_t x = pith__hash((uint64_t)m->n_ctx_original, h, offsetof(pith__hyper, logit_softcap) + sizeof(float));
    for (int l = 0; l < h->n_layer; l++) {
        const pith__layer *w = &m->layer[l];
        const int what[] = { w->mixer, w->mask.causal, w->mask.window, w->mask.chunk, w->rope,
                             w->n_head, w->n_kv_head, w->head_dim, w->n_rot, w->kv_from };
        x = pith__hash(x, what, sizeof what);
    }
    for (int set = 0; set < 2; set++) {
        const pith__rope *r = &m->rope[set];
        size_t n = (size_t)r->n_rot / 2 * sizeof *r->freq;
        x = pith__hash(x, &r->mscale, sizeof r->mscale);
        if (r->freq) x = pith__hash(x, r->freq, n);
        if (r->freq_long) x = pith__hash(x, r->freq_long, n);
    }
    for (const pith__weight *w = m->weights; w; w = w->next) {
        const pith__tensor *t = &w->tensor;
        x = pith__hash(x + (uint64_t)t->format->id, t->name.p, t->name.n);
        if (w->floats) x = pith__hash(x, w->floats, t->cols * sizeof *w->floats);
        else if (w == &m->embd || t->data != m->embd.tensor.data) x = hash_rows(x, t);
        if (t->scale && !pith__is_apart(t)) x = pith__hash(x, t->scale, t->rows * t->cols / t->group * sizeof(float));
    }
    return x;
}

/* The slots of a plane in a file that holds these positions. */
static int slots_in_file(const span *x) { return pith__slots(x->last) - x->first / GROUP * GROUP; }

/* All of it, for a text of n tokens and so many marks in such a session; 0: more than can be counted. */
static size_t size_in_file(const pith_session *s, int n, int lost, int n_mark) {
    const pith__hyper *h = &s->model->hyper;
    size_t size = LEAST, bytes = ((size_t)n + (size_t)h->n_vocab) * 4;
    int over = pith__add(&size, size, bytes);
    over |= pith__mul(&bytes, pith__states_floats(s->model) * sizeof(float), n ? (size_t)n_mark + 1 : 0);
    over |= pith__add(&size, size, bytes) || pith__add(&size, size, (size_t)n_mark * sizeof(int32_t));
    for (int i = 0; i < 2 * h->n_layer && n; i++) {
        span x = span_of(s, i / 2, i % 2, lost, n);
        bytes = pith__cache_plane(x.format, x.head_dim, slots_in_file(&x));
        over |= !bytes || pith__mul(&bytes, bytes, (size_t)kept_heads(s, i / 2, i % 2)) || pith__add(&size, size, bytes);
    }
    return over ? 0 : size;
}

static file_head head_of(const pith_session *s) {
    file_head h = {
        .version = VERSION, .long_rope = (uint32_t)s->long_rope,
        .model = s->model_hash ? s->model_hash : pith__model_hash(s->model),
        .adapters = pith__hash_adapters(s->model, &s->adapted),
        .size = size_in_file(s, s->position, s->lost, s->n_mark), .n_mark = s->n_mark,
        .k_format = s->k_format->id, .v_format = s->v_format->id, .n_token = s->position, .lost = s->lost,
        .logits_at = s->logits_at, .n_vocab = s->model->hyper.n_vocab,
    };
    memcpy(h.magic, magic, sizeof magic);
    snprintf(h.computed_by, sizeof h.computed_by, "pith %s %s", PITH_VERSION, s->model->kernels->name);
    return h;
}

/* ---- saving ------------------------------------------------------------------------------------------ */

typedef struct {
    pith__writer w;
    uint64_t hash;
    size_t n;            /* bytes that wait: the hash is of AT_ONCE together */
    uint8_t *bytes;      /* (AT_ONCE) */
    uint8_t *group;      /* room for 16 keys or values */
} text_writer;

static void put_waiting(text_writer *f) {
    f->hash = pith__hash(f->hash, f->bytes, f->n);
    pith__writer_put(&f->w, f->bytes, f->n);
    f->n = 0;
}

static void put(text_writer *f, const void *p, size_t n) {
    for (size_t k; n > 0; p = (const uint8_t *)p + k, n -= k) {
        k = n < AT_ONCE - f->n ? n : AT_ONCE - f->n;
        memcpy(f->bytes + f->n, p, k);
        if ((f->n += k) == AT_ONCE) put_waiting(f);
    }
}

static void put_plane(text_writer *f, const span *x, plane from) {
    size_t bytes = pith__cache_plane(x->format, x->head_dim, GROUP);
    for (int u = x->first / GROUP * GROUP; u < x->last; u += GROUP) {
        span part = *x;
        if (part.first < u) part.first = u;
        if (part.last - u > GROUP) part.last = u + GROUP;
        memset(f->group, 0, bytes);
        copy_plane(&part, (plane){ f->group, GROUP, u }, from);
        put(f, f->group, bytes);
    }
}

static void put_text(text_writer *f, const pith_session *s, const file_head *head) {
    const pith__hyper *h = &s->model->hyper;
    put(f, head, sizeof *head);
    put(f, s->tokens, (size_t)s->position * sizeof *s->tokens);
    put(f, s->logits, (size_t)h->n_vocab * sizeof *s->logits);
    for (int i = 0; i < s->n_mark; i++) put(f, &(int32_t){ s->mark[i].position }, sizeof(int32_t));
    for (int i = -1; s->states && s->position && i < s->n_mark; i++)
        put(f, states_of(s, i), pith__states_floats(s->model) * sizeof(float));
    for (int i = 0; i < 2 * h->n_layer; i++) {
        span x = span_of(s, i / 2, i % 2, s->lost, s->position);
        for (int kv_head = 0; kv_head < kept_heads(s, i / 2, i % 2); kv_head++)
            put_plane(f, &x, plane_of(s, i / 2, kv_head, i % 2));
    }
    put_waiting(f);
    pith__writer_put(&f->w, &f->hash, sizeof f->hash);
}

int pith_session_save(const pith_session *s, const char *path, pith_error *err) {
    size_t k = pith__cache_plane(s->k_format, s->model->hyper.head_dim, GROUP);
    size_t v = pith__cache_plane(s->v_format, s->model->hyper.head_dim, GROUP);
    text_writer f = { .bytes = malloc(AT_ONCE + (k > v ? k : v)) };
    if (!f.bytes) return pith__fail(err, PITH_EMEMORY, "%s: no memory to write it", path);
    f.group = f.bytes + AT_ONCE;
    int code = pith__writer_open(&f.w, path, err);
    if (!code) {
        file_head head = head_of(s);
        put_text(&f, s, &head);
        code = pith__writer_commit(&f.w, err);
    }
    free(f.bytes);
    return code;
}

/* ---- loading ----------------------------------------------------------------------------------------- */

/* What is the file's own: that it is one, and whole. */
static int read_head(const pith__file *f, const char *path, file_head *h, pith_error *err) {
    memset(h, 0, sizeof *h);
    memcpy(h, f->data, f->size < sizeof *h ? f->size : sizeof *h);
    if (memcmp(h->magic, magic, sizeof magic) != 0)
        return pith__fail(err, PITH_EFORMAT, "%s: is no text that pith has saved", path);
    if (f->size >= LEAST && h->version != VERSION)
        return pith__fail(err, PITH_EFORMAT, "%s: is of version %u, need %d", path, h->version, VERSION);
    if (f->size < LEAST || h->size != f->size)
        return pith__fail(err, PITH_EFORMAT, "%s: has %zu bytes, need %llu", path, f->size,
                          (unsigned long long)(f->size < LEAST ? LEAST : h->size));
    uint64_t hash = 0, saved;
    size_t n = f->size - sizeof saved;
    for (size_t at = 0; at < n; at += AT_ONCE)
        hash = pith__hash(hash, f->data + at, n - at < AT_ONCE ? n - at : AT_ONCE);
    memcpy(&saved, f->data + n, sizeof saved);
    if (hash != saved)
        return pith__fail(err, PITH_EFORMAT, "%s: was altered: its hash is %016llx, need %016llx", path,
                          (unsigned long long)hash, (unsigned long long)saved);
    if (h->n_token < 0 || (size_t)h->n_token > f->size / sizeof(pith_token))
        return pith__fail(err, PITH_EFORMAT, "%s: its text is %d tokens", path, h->n_token);
    return PITH_OK;
}

static const char *format_name(int id) {
    const pith__format *f = pith__format_of(id);
    return f ? f->name : "unknown";
}

/* What the session must be for the text to go on to the same bits. */
static int check_session(const pith_session *s, const char *path, file_head *h, pith_error *err) {
    file_head own = head_of(s);
    h->computed_by[sizeof h->computed_by - 1] = 0;
    if (h->model != own.model || h->n_vocab != own.n_vocab)
        return pith__fail(err, PITH_EARG, "%s: is a text of another model than %s", path, s->model->store.path);
    if (h->adapters != own.adapters)
        return pith__fail(err, PITH_EARG, "%s: is a text with other adapters, or other scales of them", path);
    if (strcmp(h->computed_by, own.computed_by) != 0)
        return pith__fail(err, PITH_EARG, "%s: was computed by %s, not by %s, whose numbers differ", path,
                          h->computed_by, own.computed_by);
    if (h->k_format != own.k_format || h->v_format != own.v_format)
        return pith__fail(err, PITH_EARG, "%s: its KV cache is %s and %s, need %s and %s", path,
                          format_name(h->k_format), format_name(h->v_format), s->k_format->name, s->v_format->name);
    if (h->n_token > s->n_ctx)
        return pith__fail(err, PITH_EFULL, "%s: the context of %d tokens has no room for its %d", path, s->n_ctx,
                          h->n_token);
    return PITH_OK;
}

/* What pith writes is always so; another program might not. */
static int check_content(const pith_session *s, const pith__file *f, const char *path, const file_head *h,
                         pith_error *err) {
    int windows = 0, most = h->n_token; /* positions that rings may have lost: none that the next token sees */
    for (int l = 0; l < s->model->hyper.n_layer; l++) {
        int first = pith__sees(s->model->layer[l].mask, h->n_token, h->n_token).first;
        if (s->model->layer[l].mask.window) windows++, most = first < most ? first : most;
    }
    if (!windows) most = 0;
    if (h->lost < 0 || h->lost > most)
        return pith__fail(err, PITH_EFORMAT, "%s: %d positions are lost, need 0 to %d", path, h->lost, most);
    if (h->logits_at < 0 || h->long_rope > (s->model->rope[0].freq_long != NULL))
        return pith__fail(err, PITH_EFORMAT, "%s: logits of position %d and angles %u", path, h->logits_at,
                          h->long_rope);
    if (h->n_mark < 0 || h->n_mark > s->most_mark || h->zero)
        return pith__fail(err, PITH_EFORMAT, "%s: states at %d places, need 0 to %d", path, h->n_mark, s->most_mark);
    size_t size = size_in_file(s, h->n_token, h->lost, h->n_mark);
    if (size != f->size)
        return pith__fail(err, PITH_EFORMAT, "%s: has %zu bytes, need %zu", path, f->size, size);
    for (int i = 0; i < h->n_token; i++) {
        pith_token t;
        memcpy(&t, f->data + sizeof *h + (size_t)i * sizeof t, sizeof t);
        if (t < 0 || t >= h->n_vocab)
            return pith__fail(err, PITH_EFORMAT, "%s: token %d is %d, need 0 to %d", path, i, t, h->n_vocab - 1);
    }
    const uint8_t *marks = f->data + sizeof *h + ((size_t)h->n_token + (size_t)h->n_vocab) * 4;
    for (int32_t i = 0, before = 0, u; i < h->n_mark; i++, before = u) {
        memcpy(&u, marks + (size_t)i * sizeof u, sizeof u);
        if (u <= before || u > h->n_token)
            return pith__fail(err, PITH_EFORMAT, "%s: states of position %d, need %d to %d", path, u, before + 1, h->n_token);
    }
    return PITH_OK;
}

static void take_states(pith_session *s, pith__cursor *c, int n_mark, int n_token) {
    size_t bytes = pith__states_floats(s->model) * sizeof(float);
    s->n_mark = n_mark;
    for (int i = 0; i < n_mark; i++) s->mark[i].position = (int32_t)pith__u32(c);
    for (int i = -1; bytes && n_token && i < n_mark; i++) memcpy(states_of(s, i), pith__take(c, bytes), bytes);
}

static void take_text(pith_session *s, const pith__file *f, const file_head *head) {
    const pith__hyper *h = &s->model->hyper;
    pith__cursor c = { f->data, f->size, 0 };
    size_t n_token = (size_t)head->n_token * sizeof *s->tokens, n_logit = (size_t)h->n_vocab * sizeof *s->logits;
    pith__take(&c, sizeof *head);
    memcpy(s->tokens, pith__take(&c, n_token), n_token);
    memcpy(s->logits, pith__take(&c, n_logit), n_logit);
    set_text(s, head->n_token, head->lost, head->logits_at, (int)head->long_rope);
    take_states(s, &c, head->n_mark, head->n_token);
    for (int i = 0; i < 2 * h->n_layer && n_token; i++) {
        span there = span_of(s, i / 2, i % 2, head->lost, head->n_token);
        span here = span_of(s, i / 2, i % 2, s->lost, s->position); /* perhaps less: a shorter ring */
        int n_slot = slots_in_file(&there);
        size_t bytes = pith__cache_plane(there.format, there.head_dim, n_slot);
        for (int kv_head = 0; kv_head < kept_heads(s, i / 2, i % 2); kv_head++) {
            uint8_t *p = (uint8_t *)(uintptr_t)pith__take(&c, bytes);
            copy_plane(&here, plane_of(s, i / 2, kv_head, i % 2), (plane){ p, n_slot, there.first / GROUP * GROUP });
        }
    }
}

int pith_session_load(pith_session *s, const char *path, pith_error *err) {
    pith__file f;
    file_head h;
    int no_mmap = s->model->store.n_file && s->model->store.file->mapped == 0;
    int code = pith__file_open(&f, path, no_mmap, err);
    if (code) return code;
    code = read_head(&f, path, &h, err);
    if (!code) code = check_session(s, path, &h, err);
    if (!code) code = check_content(s, &f, path, &h, err);
    if (!code) take_text(s, &f, &h);
    if (!code) s->model_hash = h.model;
    pith__file_close(&f);
    return code;
}

int pith_saved_tokens(const char *path, pith_error *err) {
    pith__file f;
    file_head h;
    int code = pith__file_open(&f, path, 0, err);
    if (code) return code;
    code = read_head(&f, path, &h, err);
    pith__file_close(&f);
    return code ? code : h.n_token;
}
