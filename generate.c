/* generate.c - the loop that writes texts: evaluate, sample, show, stop.
 *
 * Gets sessions, one or many, each with a text that goes on, and gives one token of each a call with the text
 * that is certain by then. What a text does not have evaluated yet (its prompt, its last token) goes through the
 * model in one pass with that of the others. Text is held back while it may be the beginning of a stop text or of
 * a character. The loop itself is the caller's: between two calls it prints, asks whether to go on, lets texts
 * join, or moves a grammar (pith_sampling.allow). Each position gives a token, as in llama2.c: the last one is
 * shown and never evaluated. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct {         /* of a text whose thoughts are given apart */
    pith__thoughts at;
    int begun, n_token;  /* tokens of thought */
    pith_token *forced;  /* (n_forced) what ends them when they are too long, drawn up to i_forced; or NULL */
    int n_forced, i_forced;
    size_t given, n;     /* as of a text */
    char text[];
} thinking;

typedef struct {
    thinking *mind;      /* or NULL */
    const pith_token *left; /* (n_left) to be evaluated before a token can be drawn: of the prompt, or */
    int n_left;
    pith_token last;     /*             the token that was drawn last */
    int n_row;           /* of n_left in this call's pass */
    int keep;            /* shift: tokens at the beginning that stay */
    pith_token *again;   /* (n_ctx) shift: what of the text is evaluated again; or NULL */
    pith_drawn drawn;    /* by the sampler before, where the caller keeps none */
    pith_drawn drawn_before; /* what it was before this call's draw */
    pith__constraint *constraint; /* of a grammar, or NULL */
    pith_token next;     /* that the sampler draws in this call; -1: none may come */
    pith_work *work;     /* (room) of a call in which this text stands first, or NULL */
    int room;
    size_t given, n;     /* bytes of text, and of text and what is held back behind it */
    char text[];         /* room for the longest stop text and the longest piece */
} writing;

static size_t longest_piece(const pith_model *m) {
    size_t most = 0, n;
    for (pith_token t = 0; t < m->hyper.n_vocab; t++) {
        pith_piece(m, t, &n);
        if (n > most) most = n;
    }
    return most;
}

static void free_writing(writing *w) {
    if (!w) return;
    if (w->mind) free(w->mind->forced);
    free(w->mind);
    free(w->again);
    free(w->work);
    pith__constraint_free(w->constraint);
    free(w);
}

static int begin(const pith_session *s, pith_generation *g, pith_error *err) {
    thinking *mind = NULL; /* what may become a tag is held back too */
    size_t size = sizeof(writing) + 4 + sizeof mind->at.held, aside = sizeof *mind + 4 + sizeof mind->at.held, longest = 0;
    size_t piece = longest_piece(s->model);
    for (int i = 0; i < g->n_stop; i++) {
        size_t n = g->stop[i] ? strlen(g->stop[i]) : 0;
        if (n > longest) longest = n;
    }
    int over = pith__add(&size, size, longest) || pith__add(&size, size, piece) ||
               pith__add(&aside, aside, piece);
    writing *w = over ? NULL : malloc(size);
    if (w) *w = (writing){ .left = g->prompt, .n_left = g->n_prompt, .keep = g->keep };
    if (w && g->shift) w->again = malloc((size_t)s->n_ctx * sizeof *w->again);
    if (w && g->thoughts) w->mind = mind = calloc(1, aside);
    if (!w || (g->shift && !w->again) || (g->thoughts && !mind)) {
        free_writing(w);
        return pith__fail(err, PITH_EMEMORY, "%s: no memory to write a text", s->model->store.path);
    }
    int code = g->grammar ? pith__constraint_new(&w->constraint, g->grammar, s->model, err) : PITH_OK;
    if (code) {
        free_writing(w);
        return code;
    }
    g->state = w;
    g->token = -1;
    return PITH_OK;
}

/* How many bytes of a stop text the text ends with. The first stop text that is there as a whole is cut off
 * with all that follows, and *found set. */
static size_t hold_back(const pith_generation *g, writing *w, int *found) {
    size_t most = 0, end = w->n;
    for (int i = 0; i < g->n_stop; i++) {
        size_t n = g->stop[i] ? strlen(g->stop[i]) : 0; /* 0: not looked for */
        for (size_t at = 0; n && at < end; at++) {
            size_t left = w->n - at, k = left < n ? left : n;
            if (memcmp(w->text + at, g->stop[i], k) != 0) continue;
            if (k == n) *found = 1, end = at;
            else if (left > most) most = left;
        }
    }
    if (!*found) return most;
    w->n = end;
    return 0;
}

/* What was given in the last call goes away. */
static void take_away(char *text, size_t *given, size_t *n) {
    memmove(text, text + *given, *n - *given);
    *n -= *given;
    *given = 0;
}

/* Behind what was held back in the last call: text (n bytes) of token t, or what it has as a part of a tag. */
static void add_text(const pith_session *s, writing *w, pith_token t, const char *text, size_t n) {
    take_away(w->text, &w->given, &w->n);
    thinking *m = w->mind;
    if (m) {
        take_away(m->text, &m->given, &m->n);
        pith__parts to = { w->text, m->text, w->n, m->n };
        int hidden = n == 0 && t >= 0;
        if (hidden) text = pith_piece(s->model, t, &n);
        if (t >= 0) pith__thoughts_put(&m->at, text, n, hidden, &to);
        else pith__thoughts_end(&m->at, &to); /* no more will come */
        w->n = to.n_answer, m->n = to.n_thought;
    } else if (n) {
        memcpy(w->text + w->n, text, n);
        w->n += n;
    }
}

/* Gives the text that is certain. At the end that is all of it, but for half a character. */
static int give(pith_generation *g, writing *w, int ended) {
    int found = 0;
    size_t held = hold_back(g, w, &found), tail = pith_utf8_tail(w->text, w->n);
    if (found) ended = PITH_STOP;
    w->given = w->n - (held > tail && !ended ? held : tail);
    g->text = w->text;
    g->n_text = w->given;
    if (!w->mind) return ended;
    w->mind->given = w->mind->n - pith_utf8_tail(w->mind->text, w->mind->n);
    g->thought = w->mind->text, g->n_thought = w->mind->given;
    g->thinking = w->mind->at.inside;
    return ended;
}

/* Whether the text goes on within thoughts: so where what was evaluated ends in a tag that opens them. */
static void begin_thinking(const pith_session *s, thinking *m) {
    enum { MANY = 64 };
    char end[4 * MANY];
    size_t n = sizeof end, k;
    for (int i = s->position - 1; i >= 0; i--) { /* the last bytes of the text */
        const char *piece = pith_piece(s->model, s->tokens[i], &k);
        if (k > n) break;
        memcpy(end + (n -= k), piece, k);
    }
    pith__thoughts_begin(&m->at, end + n, sizeof end - n);
    m->begun = 1;
}

/* The message and the tag that end thoughts which are too long. */
static int force_end(const pith_session *s, const pith_generation *g, thinking *m, pith_error *err) {
    const char *said = g->thought_message ? g->thought_message : "", *tag = pith__thoughts_close(&m->at);
    size_t room = strlen(said) + strlen(tag) + 2; /* a token has a byte at least; some tokenizers put a blank before */
    pith_token *t = malloc(room * sizeof *t);
    if (!t) return pith__fail(err, PITH_EMEMORY, "%s: no memory to end the thoughts", s->model->store.path);
    int n = *said ? pith_encode(s->model, said, strlen(said), 0, t, (int)room) : 0, k = 0;
    if (n >= 0 && (size_t)n <= room)
        k = pith_encode(s->model, tag, strlen(tag), PITH_SPECIAL, t + n, (int)room - n);
    if (n < 0 || k < 0 || (size_t)(n + k) > room) {
        free(t);
        return pith__fail(err, PITH_EARG, "the thoughts cannot be ended by '%s%s'", said, tag);
    }
    m->forced = t, m->n_forced = n + k;
    return PITH_OK;
}

/* Before a token is drawn: where the text is, and whether its thoughts are to end. */
static int ponder(const pith_session *s, pith_generation *g, pith_error *err) {
    thinking *m = ((writing *)g->state)->mind;
    if (!m) return PITH_OK;
    if (!m->begun) begin_thinking(s, m);
    int due = m->at.inside && !m->forced && g->thought_budget && m->n_token >= g->thought_budget;
    if (m->at.inside) m->n_token++;
    return due ? force_end(s, g, m, err) : PITH_OK;
}

/* The token that was drawn, or another one if the grammar refuses it. Thoughts are free, but for a grammar that names
 * tokens: such are written for all of a text. */
static pith_token obey(pith_session *s, pith_generation *g, pith_token t, pith_error *err) {
    writing *w = g->state;
    pith_sampling how = g->how;
    int is_free = w->mind && w->mind->at.inside && w->constraint && !pith__constraint_names(w->constraint);
    if (w->constraint && !is_free) {
        if (!how.drawn) how.drawn = &w->drawn;
        return pith__constrained(w->constraint, s, g, &(pith__draw_again){ t, &how, w->drawn_before }, err);
    }
    return t < 0 ? pith__fail(err, PITH_EARG, "no token is allowed to come next") : t;
}

/* The token after the session's logits: it was drawn, or ends the thoughts. */
static int next_token(pith_session *s, pith_generation *g, pith_error *err) {
    writing *w = g->state;
    size_t n;
    pith_token before = s->tokens[s->position - 1], t = obey(s, g, w->next, err);
    if (t < 0) return t;
    g->token = t;
    g->n_token++;
    int end = pith__ends(s->model, g, t), all = g->n_predict > 0 && g->n_token >= g->n_predict;
    int ended = end ? PITH_END : all ? PITH_LIMIT : s->position == s->n_ctx && !w->again ? PITH_FULL : 0;
    const char *text = pith_text(s->model, before, t, &n);
    g->sentence = w->constraint && pith__constraint_whole(w->constraint);
    if (!end && g->sentence && pith__constraint_over(w->constraint)) ended = PITH_END;
    if (!end || !w->mind) add_text(s, w, t, text, end ? 0 : n);
    if (ended && w->mind) add_text(s, w, -1, NULL, 0);
    return give(g, w, ended);
}

/* ---- what is evaluated before a token is drawn ----------------------------------------------------- */

static int check(const pith_session *s, const pith_generation *g, pith_error *err) {
    const writing *w = g->state;
    if (g->n_predict < 0) return pith__fail(err, PITH_EARG, "n_predict is %d, need 0 or more", g->n_predict);
    if (g->n_stop < 0) return pith__fail(err, PITH_EARG, "n_stop is %d, need 0 or more", g->n_stop);
    if (g->n_end < 0) return pith__fail(err, PITH_EARG, "n_end is %d, need 0 or more", g->n_end);
    if (g->n_prompt < 0) return pith__fail(err, PITH_EARG, "n_prompt is %d, need 0 or more", g->n_prompt);
    if (g->n_stop > 0 && !g->stop) return pith__fail(err, PITH_EARG, "stop is NULL, need %d texts", g->n_stop);
    if (g->n_end > 0 && !g->end) return pith__fail(err, PITH_EARG, "end is NULL, need %d tokens", g->n_end);
    if (g->n_prompt > 0 && !g->prompt)
        return pith__fail(err, PITH_EARG, "prompt is NULL, need %d tokens", g->n_prompt);
    if (!w && g->shift && (g->keep < 0 || g->keep > s->n_ctx - 2))
        return pith__fail(err, PITH_EARG, "keep is %d, need 0 or more, and 2 less than the context of %d tokens",
                          g->keep, s->n_ctx);
    if (s->position == 0 && (w ? w->n_left : g->n_prompt) == 0)
        return pith__fail(err, PITH_EARG, "no token was evaluated that a text could go on from");
    if (!w && g->n_prompt > s->n_ctx - s->position)
        return pith__fail(err, PITH_EFULL, "the prompt has %d tokens, the context of %d has room for %d", g->n_prompt,
                          s->n_ctx, s->n_ctx - s->position);
    return PITH_OK;
}

/* The context is full: of what stands behind the tokens to keep the oldest half is dropped. The rest moves to other
 * positions, which its keys and values depend on, so it is evaluated again; the last token, which has no place yet,
 * behind it. */
static void drop_oldest(pith_session *s, writing *w, pith_token last) {
    int dropped = (s->n_ctx - w->keep) / 2, n = s->n_ctx - dropped;
    memcpy(w->again, s->tokens, (size_t)w->keep * sizeof *w->again);
    memcpy(w->again + w->keep, s->tokens + w->keep + dropped, (size_t)(n - w->keep) * sizeof *w->again);
    w->again[n] = last;
    int known = pith_rewind(s, w->keep);
    w->left = w->again + known, w->n_left = n + 1 - known;
}

/* Whether the text takes part in this call: 0 if it ended in an earlier one, or ends here. */
static int takes_part(pith_session *s, pith_generation *g, pith_error *err) {
    g->text = g->thought = "", g->n_text = g->n_thought = 0; /* of a text that gets no token in this call */
    if (g->ended) return 0;
    g->ended = check(s, g, err);
    if (!g->ended && !g->state) g->ended = begin(s, g, err);
    writing *w = g->state;
    if (!g->ended && g->cancel) {
        add_text(s, w, -1, NULL, 0);
        g->ended = give(g, w, PITH_CANCEL);
    }
    if (g->ended || w->n_left) return !g->ended;
    if (g->token >= 0 && w->again && s->position == s->n_ctx) {
        drop_oldest(s, w, g->token);
    } else if (g->token >= 0) {
        w->last = g->token;
        w->left = &w->last, w->n_left = 1;
    } else if (s->logits_at != s->position) { /* rewound: the text's own last token again */
        g->ended = pith_sync(s, s->tokens, s->position, err);
    }
    return !g->ended;
}

/* Rows of one pass: one for each text that has a token to be evaluated, the rest for prompts, the first first. */
static int share_rows(pith_session *const *s, pith_generation *const *g, int n, pith_work *work) {
    int rows = 0, n_work = 0;
    for (int i = 0; i < n; i++)
        if (!g[i]->ended && s[i]->n_batch > rows) rows = s[i]->n_batch;
    for (int i = 0; i < n; i++)
        if (!g[i]->ended) rows -= ((writing *)g[i]->state)->n_left == 1;
    if (rows < 1) rows = 1; /* prompts are read however many texts are written */
    for (int i = 0; i < n; i++) {
        if (g[i]->ended) continue;
        writing *w = g[i]->state;
        int most = s[i]->n_batch < rows ? s[i]->n_batch : rows;
        w->n_row = w->n_left > 1 && w->n_left > most ? most : w->n_left;
        if (w->n_left > 1) rows -= w->n_row;
        if (w->n_row) work[n_work++] = (pith_work){ s[i], w->left, w->n_row, NULL };
    }
    return n_work;
}

/* One pass. Where it cannot be, each text is evaluated by itself, and those that are to blame end. */
static void run_pass(pith_session *const *s, pith_generation *const *g, int n, pith_work *work, pith_error *err) {
    int n_work = share_rows(s, g, n, work);
    int passed = n_work && pith_eval_many(work, n_work, NULL) == PITH_OK;
    for (int i = 0; i < n && n_work; i++) {
        writing *w = g[i]->state;
        if (g[i]->ended || !w->n_row) continue;
        if (!passed) g[i]->ended = pith_eval(s[i], w->left, w->n_row, err);
        if (g[i]->ended) continue;
        w->left += w->n_row, w->n_left -= w->n_row;
        g[i]->token = -1;
    }
}

/* ---- drawing: threads share out the texts ---------------------------------------------------------- */

typedef struct {
    pith_session *const *s;
    pith_generation *const *g;
    size_t n, n_task;    /* texts; task i draws for text i, i + n_task, ... */
    pith_pass *pass;
} drawing;

/* The next token of a text that has all it needs for it. */
static void draw(const pith_session *s, pith_generation *g, float *adjusted, float *probs, int32_t *order) {
    writing *w = g->state;
    if (g->ended || w->n_left) return;
    thinking *m = w->mind;
    if (m && m->i_forced < m->n_forced) { w->next = m->forced[m->i_forced++]; return; }
    pith_sampling how = g->how;
    if (!how.drawn) how.drawn = &w->drawn;
    w->drawn_before = *how.drawn;
    w->next = pith__sample(s, &how, &g->rng, adjusted, probs, order);
}

/* Scratch memory are the pass's rows of logits, which are of no use between two evaluations: five a task. */
static void draw_task(const void *data, size_t i, uint8_t *scratch) {
    const drawing *d = data;
    size_t n_vocab = (size_t)d->pass->model->hyper.n_vocab;
    float *adjusted = d->pass->product + 5 * i * n_vocab, *probs = adjusted + n_vocab;
    int32_t *order = (int32_t *)(void *)(probs + n_vocab);
    for (; i < d->n; i += d->n_task) draw(d->s[i], d->g[i], adjusted, probs, order);
    (void)scratch;
}

static void share_drawing(void *data) {
    const drawing *d = data;
    pith__share(&d->pass->team, d->n_task, 1, draw_task, d);
}

static void draw_all(pith_session *const *s, pith_generation *const *g, int n, pith_pass *pass) {
    size_t most = pass->keep == PITH__KEEP_MANY ? (size_t)pass->n_product / 5 : 0, n_text = (size_t)n;
    drawing d = { s, g, n_text, most < n_text ? most : n_text, pass };
    if (d.n_task > 1 && pith__worth_it(n_text * (size_t)pass->model->hyper.n_vocab))
        pith__together(&pass->team, share_drawing, &d);
    else
        for (int i = 0; i < n; i++) draw(s[i], g[i], pass->adjusted, pass->probs, pass->order);
}

/* ---- from outside ---------------------------------------------------------------------------------- */

static int check_texts(pith_session *const *s, pith_generation *const *g, int n, pith_error *err) {
    if (n < 0 || (n > 0 && (!s || !g))) return pith__fail(err, PITH_EARG, "%d texts to write", n);
    for (int i = 0; i < n; i++) {
        if (!s[i] || !g[i])
            return pith__fail(err, PITH_EARG, "text %d: the %s is NULL", i, g[i] ? "session" : "pith_generation");
        if (s[i]->model != s[0]->model)
            return pith__fail(err, PITH_EARG, "text %d: the session is of another model than the first", i);
        for (int j = 0; j < i; j++)
            if (s[j] == s[i] || g[j] == g[i])
                return pith__fail(err, PITH_EARG, "text %d: the %s is that of text %d", i,
                                  s[j] == s[i] ? "session" : "pith_generation", j);
    }
    return PITH_OK;
}

/* Room for n pieces of work, which one of the texts keeps for the next call; NULL: no memory. */
static pith_work *room_for(writing *w, int n) {
    if (n <= w->room) return w->work;
    size_t size;
    pith_work *more = pith__mul(&size, (size_t)n, sizeof *more) ? NULL : realloc(w->work, size);
    if (more) w->work = more, w->room = n;
    return more;
}

int pith_generate_many(pith_session *const *s, pith_generation *const *g, int n, pith_error *err) {
    int code = check_texts(s, g, n, err), first = -1, n_on = 0;
    if (code) return code;
    for (int i = 0; i < n; i++)
        if (takes_part(s[i], g[i], err) && first < 0) first = i;
    if (first < 0) return 0;
    pith_work *work = room_for(g[first]->state, n);
    if (!work) return pith__fail(err, PITH_EMEMORY, "%s: no memory to write %d texts", s[0]->model->store.path, n);
    run_pass(s, g, n, work, err);
    for (int i = 0; i < n; i++)
        if (!g[i]->ended && !((writing *)g[i]->state)->n_left) g[i]->ended = ponder(s[i], g[i], err);
    draw_all(s, g, n, s[first]->pass);
    for (int i = 0; i < n; i++) {
        if (g[i]->ended) continue;
        if (!((writing *)g[i]->state)->n_left) g[i]->ended = next_token(s[i], g[i], err);
        n_on += !g[i]->ended;
    }
    return n_on;
}

int pith_generate(pith_session *s, pith_generation *g, pith_error *err) {
    if (!g) return pith__fail(err, PITH_EARG, "the pith_generation is NULL");
    if (g->ended < 0) g->ended = 0;
    int code = pith_generate_many(&s, &g, 1, err);
    return code < 0 ? code : g->ended;
}

void pith_generation_free(pith_generation *g) {
    if (!g) return;
    free_writing(g->state);
    g->state = NULL;
    g->ended = 0;
    g->token = -1;
    g->n_token = 0;
    g->sentence = 0;
    g->text = g->thought = "", g->n_text = g->n_thought = 0;
}
