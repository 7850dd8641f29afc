/* penalties.c - what the text has said lately becomes less likely.
 *
 * Repeat, frequency and presence penalties look at single tokens. DRY ("don't repeat yourself", p-e-w 2024,
 * github.com/oobabooga/text-generation-webui/pull/5677) looks at the token that would go on with a repetition: the
 * longer what the text ends with stood there before, the less likely the token that followed it there. */
#include "internal.h"

#include <math.h>
#include <string.h>

enum { LONGEST_REPEAT = 4096 }; /* tokens of a repetition that are compared */

static int last_tokens(const pith_session *s, int n, const pith_token **t) {
    if (n < 0 || n > s->position) n = s->position;
    *t = s->tokens + (s->position - n);
    return n;
}

static void lower(pith__candidates *c, pith_token t, float x) {
    c->x[t] = isnan(x) ? -INFINITY : x;
    c->sorted = 0;
    c->best = -1;
}

/* Keskar et al. 2019, arXiv:1909.05858; but dividing a negative logit would make it likelier, so those are
 * multiplied. */
PITH_SHARED void pith__penalise(pith__candidates *c) {
    const pith_sampling *how = c->how;
    const pith_token *last;
    float repeat = how->repeat_penalty > 0 ? how->repeat_penalty : 1, *uses = c->p;
    if (repeat == 1 && how->frequency_penalty == 0 && how->presence_penalty == 0) return;
    int n = last_tokens(c->s, how->repeat_last_n, &last);
    c->has_p = 0;
    for (int u = 0; u < n; u++) uses[last[u]] = 0; /* counted only where a token was used */
    for (int u = 0; u < n; u++) uses[last[u]]++;
    for (int u = 0; u < n; u++) {
        pith_token t = last[u];
        if (!(uses[t] > 0)) continue;
        float x = c->x[t] > 0 ? c->x[t] / repeat : c->x[t] * repeat;
        lower(c, t, x - (uses[t] * how->frequency_penalty + how->presence_penalty));
        uses[t] = 0; /* once a token, however often it comes */
    }
}

/* ---- DRY ------------------------------------------------------------------------------------- */

/* Does the breaker end with byte `at` of token h[e]? It may have begun in the tokens before. */
static int ends_here(const pith_model *m, const pith_token *h, int e, size_t at, const char *breaker) {
    size_t left = strlen(breaker), n;
    const char *piece = pith_piece(m, h[e], &n);
    for (n = at + 1; left > 0; left--) {
        while (n == 0) {
            if (--e < 0 || !(piece = pith_piece(m, h[e], &n))) return 0;
        }
        if (piece[--n] != breaker[left - 1]) return 0;
    }
    return 1;
}

static int has_breaker(const pith_sampling *how, const pith_model *m, const pith_token *h, int e) {
    size_t n = 0;
    const char *piece = pith_piece(m, h[e], &n);
    for (size_t at = 0; piece && at < n; at++)
        for (int i = 0; i < how->n_dry_breaker; i++)
            if (how->dry_breaker[i] && *how->dry_breaker[i] && ends_here(m, h, e, at, how->dry_breaker[i])) return 1;
    return 0;
}

/* How many of the last n tokens stand behind the last breaker. */
static int behind_breaker(const pith__candidates *c, const pith_token *h, int n) {
    int behind = 0;
    while (behind < n && !has_breaker(c->how, c->s->model, h, n - 1 - behind)) behind++;
    return behind;
}

/* Each place in the text that reads as its end does, and the token behind it. Of the places of one token the longest
 * repetition counts. */
PITH_SHARED void pith__dry(pith__candidates *c) {
    const pith_sampling *how = c->how;
    const pith_token *h;
    float base = how->dry_base, *longest = c->p;
    if (!(how->dry_multiplier > 0) || !(base >= 1)) return;
    int n = last_tokens(c->s, how->dry_last_n, &h), allowed = how->dry_allowed_length > 0 ? how->dry_allowed_length : 0;
    int most = behind_breaker(c, h, n);
    if (most < allowed) return;
    if (most > LONGEST_REPEAT) most = LONGEST_REPEAT;
    c->has_p = 0;
    float most_power = base > 1 ? logf(FLT_MAX) / logf(base) : 0;
    for (int e = 1; e < n; e++) longest[h[e]] = 0;
    for (int e = 1; e < n; e++) {
        int same = 0;
        while (same < e && same < most && h[e - 1 - same] == h[n - 1 - same]) same++;
        if ((float)same > longest[h[e]]) longest[h[e]] = (float)same;
    }
    for (int e = 1; e < n; e++) {
        float same = longest[h[e]], power = same - (float)allowed;
        longest[h[e]] = 0; /* once a token */
        if (!(same > 0) || power < 0 || has_breaker(how, c->s->model, &h[e], 0)) continue;
        lower(c, h[e], c->x[h[e]] - how->dry_multiplier * powf(base, power < most_power ? power : most_power));
    }
}
