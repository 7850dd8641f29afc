/* Attention of every kernel set this machine runs, against sums in double: all cache formats, windows, rings, and
 * the same bits however tokens and threads share the work. */
#include "kernel_cases.h"

static void right_attention(const case_of_attention *c, int t, int h, double *y) {
    const pith__attention *a = &c->a;
    int p = a->position + t, end = a->position + a->n, w = a->mask.window, D = a->head_dim;
    int lo = w && p >= w ? p - w + 1 : 0, hi = a->mask.causal ? p : w && p + w < end ? p + w - 1 : end - 1;
    size_t width = (size_t)a->n_kv_head * D, at = (size_t)(h / (a->n_head / a->n_kv_head)) * D;
    const float *q = a->q + ((size_t)t * a->n_head + h) * D;
    double *s = take(end * sizeof *s), most = -INFINITY, sum = 0;
    for (int u = lo; u <= hi; u++) {
        s[u] = 0;
        for (int i = 0; i < D; i++) s[u] += (double)q[i] * c->k[u * width + at + i];
        s[u] *= a->scale;
        int apart = u - p < -PITH__FAR ? -PITH__FAR : u - p > PITH__FAR ? PITH__FAR : u - p;
        if (a->bias) s[u] += a->bias[h * PITH__BIASES + apart + PITH__FAR + 16];
        if (a->softcap > 0) s[u] = a->softcap * tanh(s[u] / a->softcap);
        most = fmax(most, s[u]);
    }
    if (a->sinks) most = fmax(most, a->sinks[h]);
    for (int u = lo; u <= hi; u++) sum += s[u] = exp(s[u] - most);
    if (a->sinks) sum += exp(a->sinks[h] - most);
    for (int i = 0; i < pith__value_dim(a); i++) {
        y[i] = 0;
        for (int u = lo; u <= hi; u++) y[i] += s[u] / sum * c->v[u * width + at + i];
    }
    free(s);
}

static void check_attention(const pith__kernels *k, case_of_attention *c) {
    pith__attention *a = &c->a;
    int dim = pith__value_dim(a), row = a->n_head * dim, q_row = a->n_head * a->head_dim;
    size_t bytes = pith__attend_scratch(a->n_head / a->n_kv_head, a->head_dim);
    double want[1024];
    pith__team team = new_team(1, bytes);
    pith__attend(k, &team, a, 1, no_room);
    for (int t = 0; t < a->n; t++)
        for (int h = 0; h < a->n_head; h += BRIEF ? 3 : 1) {
            right_attention(c, t, h, want);
            for (int i = 0; i < dim; i++)
                NEAR(a->y[t * row + h * dim + i], want[i], 1e-5);
            if (t_bad) {
                FAIL("%s %s head_dim %d %d position %d token %d mask %d %d n_slot %d", k->name,
                     a->v_format->name, a->head_dim, dim, a->position, t, a->mask.causal, a->mask.window, a->n_slot);
                return;
            }
        }
    for (int part = 1; part <= a->n && a->mask.causal; part += !BRIEF && a->position < 256 ? 4 : 16) { /* parts of the tokens, one by one and together */
        pith__attention b[64];
        float *y = take((size_t)a->n * row * 4);
        int n = 0;
        for (int t = 0; t < a->n; t += part, n++) {
            b[n] = *a;
            b[n].q = a->q + t * q_row, b[n].y = y + t * row, b[n].position = a->position + t;
            b[n].n = a->n - t < part ? a->n - t : part;
            pith__attend(k, &team, b + n, 1, no_room);
        }
        CHECK(memcmp(y, a->y, (size_t)a->n * row * 4) == 0);
        memset(y, 0, (size_t)a->n * row * 4);
        pith__attend(k, &team, b, n, no_room);
        CHECK(memcmp(y, a->y, (size_t)a->n * row * 4) == 0);
        free(y);
    }
    free(team.scratch);
}

TEST(attention) {
    static const int shape[][6] = { /* n_head, n_kv_head, head_dim, n_slot, position, n */
                                    { 8, 4, 8, 256, 0, 30 },     { 8, 4, 8, 256, 200, 19 },
                                    { 3, 3, 20, 64, 40, 9 },     { 4, 1, 64, 112, 90, 18 },
                                    { 8, 2, 128, 624, 600, 10 }, { 2, 2, 72, 48, 17, 2 },
                                    { 4, 4, 32, 16, 0, 1 },      { 5, 1, 256, 320, 290, 3 },
                                    { 2, 2, 64, 384, 250, 60 },  { 6, 2, 32, 320, 240, 33 },
                                    { 2, 1, 32, 2080, 2046, 4 }, { 6, 3, 8, 1056, 1016, 17 }
    };
    static const int format[] = {PITH__F32, PITH__F16, PITH__Q8_0};
    for (int s = 0; s < n_set; s++)
        for (int f = 0; f < 3; f++)
            for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
                const int *d = shape[i];
                if ((format[f] == PITH__Q8_0 && d[2] % 32) || (BRIEF && (i + (size_t)f) % 3)) continue;
                case_of_attention c;
                make_case(&c, format[f], d[0], d[1], d[2], d[3], d[4], d[5]);
                check_attention(sets[s], &c);
                for (int causal = 0; causal < 2; causal++) {
                    c.a.mask = (pith__mask){ .causal = causal, .window = 21 };
                    check_attention(sets[s], &c);
                    c.a.mask.window = 1, c.a.softcap = 5;
                    check_attention(sets[s], &c);
                    c.a.mask.window = 0;
                    check_attention(sets[s], &c);
                    c.a.mask.window = 7, c.a.softcap = 0;
                    check_attention(sets[s], &c);
                }
                free_case(&c);
            }
}

/* One plane for keys and values, which all heads read. As groups of heads with the same plane it gives the same bits: so
 * heads may be shared out over threads. */
TEST(attention_over_latents) {
    static const int shape[][6] = { /* n_head, head_dim, latent, n_slot, position, n */
                                    { 4, 40, 32, 256, 0, 30 },   { 16, 576, 512, 624, 600, 10 }, { 1, 20, 8, 48, 17, 2 },
                                    { 6, 96, 64, 304, 290, 9 },  { 5, 72, 36, 16, 0, 1 },        { 8, 64, 32, 320, 300, 18 },
    };
    static const int format[] = {PITH__F32, PITH__F16, PITH__Q8_0};
    for (int s = 0; s < n_set; s++)
        for (int f = 0; f < 3; f++)
            for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
                const int *d = shape[i];
                if ((format[f] == PITH__Q8_0 && d[1] % 32) || (BRIEF && (i + (size_t)f) % 3)) continue;
                case_of_attention c;
                make_latent(&c, format[f], d[0], d[1], d[2], d[3], d[4], d[5]);
                check_attention(sets[s], &c);
                size_t n = (size_t)d[5] * d[0] * d[2];
                float *together = take(n * 4);
                memcpy(together, c.a.y, n * 4);
                if (d[0] % 2 == 0) c.a.n_kv_head = 2, c.a.v_plane = 0;
                pith__team team = new_team(1, pith__attend_scratch(d[0], d[1]));
                memset(c.a.y, 0, n * 4);
                pith__attend(sets[s], &team, &c.a, 1, no_room);
                CHECK(memcmp(together, c.a.y, n * 4) == 0);
                free(together), free(team.scratch), free_case(&c);
            }
}

/* MPNet: by the offset of a key, and far ones alike. */
TEST(attention_with_biases) {
    static float bias[4 * PITH__BIASES];
    static const int shape[][4] = { { 32, 304, 0, 290 }, { 8, 320, 290, 25 }, { 20, 16, 0, 5 } }; /* head_dim, n_slot, ... */
    for (int h = 0; h < 4; h++)
        for (int i = 0; i < PITH__BIASES; i++) {
            int apart = i - PITH__FAR - 16; /* those that are too far have what others of their side have */
            float *to = bias + h * PITH__BIASES + i;
            *to = apart > -PITH__FAR && apart <= PITH__FAR ? 3 * uniform() : apart < 0 ? 1.5f : to[-1];
        }
    for (int s = 0; s < n_set; s++)
        for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
            const int *d = shape[i];
            case_of_attention c;
            make_case(&c, PITH__F32, 4, 4, d[0], d[1], d[2], d[3]);
            c.a.bias = bias;
            for (int causal = 0; causal < (d[3] < 64 ? 2 : 1); causal++) {
                c.a.mask = (pith__mask){ .causal = causal };
                check_attention(sets[s], &c);
                c.a.mask.window = 21;
                check_attention(sets[s], &c);
            }
            free_case(&c);
        }
}

/* gpt-oss: sinks under, among and far over the scores; one that is -infinity is none. */
TEST(attention_with_sinks) {
    static const float sinks[8] = { 0.5f, -3, 2, 30, -INFINITY, -200, 1, 0 };
    static const int shape[][6] = { /* n_head, n_kv_head, head_dim, n_slot, position, n */
                                    { 8, 4, 8, 256, 0, 30 },      { 8, 1, 64, 1040, 1015, 17 },
                                    { 8, 2, 20, 64, 40, 9 },      { 8, 4, 32, 640, 500, 25 },
                                    { 8, 8, 64, 16, 0, 1 } };
    static const int format[] = { PITH__F32, PITH__F16, PITH__Q8_0, PITH__BF16 };
    for (int s = 0; s < n_set; s++)
        for (int f = 0; f < 4; f++)
            for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
                const int *d = shape[i];
                if ((format[f] == PITH__Q8_0 && d[2] % 32) || (BRIEF && (i + (size_t)f) % 3)) continue;
                case_of_attention c;
                make_case(&c, format[f], d[0], d[1], d[2], d[3], d[4], d[5]);
                c.a.sinks = sinks;
                for (int causal = 0; causal < 2; causal++)
                    for (int window = 0; window < 300; window = 4 * window + 9) {
                        c.a.mask = (pith__mask){ .causal = causal, .window = window };
                        check_attention(sets[s], &c);
                    }
                free_case(&c);
            }
}

TEST(sinks_of_nan) { /* a wrong result must not look right */
    static const float sinks[2] = { NAN, NAN };
    for (int s = 0; s < n_set; s++)
        for (int position = 5; position < 600; position += 530) {
            case_of_attention c;
            make_case(&c, PITH__F32, 2, 2, 16, 640, position, 3);
            pith__team team = new_team(1, pith__attend_scratch(1, 16));
            c.a.sinks = sinks;
            pith__attend(sets[s], &team, &c.a, 1, no_room);
            for (int i = 0; i < 3 * 2 * 16; i++) CHECK(isnan(c.a.y[i]));
            free(team.scratch);
            free_case(&c);
        }
}

/* Whole heads, or where there is room for them the parts of what they see: the bits are the same. */
TEST(threads_share_attention) {
    static const int shape[][6] = { /* n_head, n_kv_head, head_dim, n_slot, position, n */
                                    { 8, 4, 64, 320, 290, 25 }, { 4, 1, 64, 3104, 3071, 1 }, { 3, 1, 64, 2112, 2040, 10 } };
    for (int s = 0; s < n_set; s++)
        for (size_t i = 0; i < 2 * sizeof shape / sizeof *shape; i++) {
            const int *d = shape[i / 2];
            case_of_attention c;
            make_case(&c, PITH__F16, d[0], d[1], d[2], d[3], d[4], d[5]);
            if (i % 2) c.a.mask.window = 1100;
            size_t size = (size_t)d[5] * d[0] * d[2] * 4, bytes = pith__attend_scratch(d[0] / d[1], d[2]);
            pith__parts_room room = { NULL, (size_t)1 << 20 };
            float *one = take(size);
            room.x = take(room.n * sizeof *room.x);
            for (int n = 1; n <= 2 * MAX_THREADS; n++) {
                pith__team team = new_team((n + 1) / 2, bytes);
                memset(c.a.y, 0, size);
                attend_together(sets[s], &team, &c.a, n % 2 ? no_room : room);
                if (n == 1) memcpy(one, c.a.y, size);
                CHECK(memcmp(one, c.a.y, size) == 0);
                free(team.scratch);
            }
            free(one), free(room.x);
            free_case(&c);
        }
}

TEST(attention_in_a_ring) { /* the cache went round several times */
    static const int format[] = {PITH__F32, PITH__F16, PITH__Q8_0};
    for (int s = 0; s < n_set; s++)
        for (int f = 0; f < 3; f++)
            for (int position = 60; position < 700; position += 91) {
                case_of_attention c;
                make_case(&c, format[f], 4, 2, 64, 48, position, 9);
                c.a.mask.window = 40;
                check_attention(sets[s], &c);
                free_case(&c);
            }
}

TEST(attention_skips_what_it_must_not_see) { /* later positions may hold anything */
    for (int s = 0; s < n_set; s++) {
        case_of_attention c;
        make_case(&c, PITH__F32, 4, 2, 16, 64, 0, 41);
        float bad[16];
        for (int i = 0; i < 16; i++) bad[i] = NAN;
        for (int u = 41; u < 64; u++)
            for (int h = 0; h < 2; h++) {
                pith__cache_key(c.a.k_format, (uint8_t *)c.a.k + h * c.a.k_plane, 16, u, bad);
                pith__cache_value(c.a.k_format, (uint8_t *)c.a.v + h * c.a.v_plane, 16, u, bad);
            }
        check_attention(sets[s], &c);
        free_case(&c);
    }
}

TEST(caches_of_other_formats) { /* BF16: what the other kernels do not know has the bits of portable */
    float *want = NULL;
    case_of_attention c;
    for (int s = 0; s < n_set; s++) {
        seed = 5;
        make_case(&c, PITH__BF16, 4, 2, 64, 320, 290, 5);
        check_attention(sets[s], &c);
        size_t size = (size_t)5 * 4 * 64 * 4;
        if (s == 0) want = memcpy(take(size), c.a.y, size);
        CHECK(memcmp(want, c.a.y, size) == 0);
        free_case(&c);
    }
    free(want);
}

TEST(cache_planes) {
    EQ(pith__cache_plane(pith__format_of(PITH__F32), 20, 32), 20 * 32 * 4);
    EQ(pith__cache_plane(pith__format_of(PITH__F16), 64, 16), 64 * 16 * 2);
    EQ(pith__cache_plane(pith__format_of(PITH__Q8_0), 64, 16), 2 * 16 * 34);
    EQ(pith__cache_plane(pith__format_of(PITH__Q8_0), 80, 16), 0);
}

int main(void) {
    find_kernels_and_formats();
    keep_other_attention();
    RUN(attention);
    RUN(attention_over_latents);
    RUN(attention_with_biases);
    RUN(attention_with_sinks);
    RUN(sinks_of_nan);
    RUN(threads_share_attention);
    RUN(attention_in_a_ring);
    RUN(attention_skips_what_it_must_not_see);
    RUN(caches_of_other_formats);
    RUN(cache_planes);
    return DONE();
}
