/* examples.c - files of rows -> examples: tokens, and which of them are to be learned.
 *
 * Of a conversation the assistant's turns count (train/answers.c), of a prompt and its completion all from the first token
 * on that differs from those of the prompt alone, of a text every token; of what is to be scored the last token. What a text
 * ends with is the token that ends a text. All examples lie in memory, one after the other; which are held out is a function of their tokens, so that equal
 * ones are on one side. */
#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct pith__example_at {
    size_t at;           /* its first token */
    int n;
    uint32_t file;
    size_t line;
    uint64_t hash;       /* of its tokens and what counts */
    double margin;
} example_at;

typedef struct { /* at work */
    const pith_model *m;
    const pith__examples_plan *plan;
    pith__examples *x;
    pith__turns turns;
    pith__arena arena;   /* of one row */
    char where[160];     /* "FILE: line 3" */
    size_t file, line, n, room, token_room; /* examples and tokens there is memory for */
    size_t n_token;      /* of all examples so far */
    pith_error *err;
} example_maker;

static int fail_row(example_maker *w, const pith_error *e) { /* with its place before it */
    int own = !strncmp(e->text, w->where, strlen(w->where));
    return pith__fail(w->err, e->code, own ? "%s%s" : "%s: %s", own ? "" : w->where, e->text);
}

static int fail_memory(example_maker *w) { return pith__fail(w->err, PITH_EMEMORY, "%s: no memory for the examples", w->where); }

static void note(pith__some *s, const example_maker *w) {
    if (!s->n++) s->file = w->file, s->line = w->line;
}

/* ---- one example ------------------------------------------------------------------------------------- */

static int make_room(example_maker *w, size_t n) {
    pith__examples *x = w->x;
    if (w->n == w->room) {
        size_t room = w->room ? 2 * w->room : 256;
        example_at *at = room > SIZE_MAX / sizeof *at ? NULL : realloc(x->at, room * sizeof *at);
        if (!at) return 0;
        x->at = at, w->room = room;
    }
    if (n > w->token_room - w->n_token) {
        size_t room = 2 * w->token_room + n + 65536;
        if (room > SIZE_MAX / sizeof *x->token) return 0;
        pith_token *token = realloc(x->token, room * sizeof *token);
        if (token) x->token = token;
        uint8_t *counts = token ? realloc(x->counts, room) : NULL;
        if (!counts) return 0;
        x->counts = counts, w->token_room = room;
    }
    return 1;
}

static int add_example(example_maker *w, const pith_token *t, const uint8_t *counts, size_t n, int endless) {
    size_t most = w->plan->max_length > 0 ? (size_t)w->plan->max_length : INT_MAX, label = 0;
    pith__examples *x = w->x;
    if (w->plan->scored && n > most) return note(&x->cut, w), PITH_OK;
    if (endless) note(&x->endless, w);
    if (n > most) {
        note(&x->cut, w);
        if (w->plan->keep_end) t += n - most, counts += n - most;
        n = most;
    }
    for (size_t i = 1; i < n; i++) label += counts[i];
    if (w->plan->scored ? !n : !label) return note(&x->skipped, w), PITH_OK;
    if (!make_room(w, n)) return fail_memory(w);
    memcpy(x->token + w->n_token, t, n * sizeof *t);
    memcpy(x->counts + w->n_token, counts, n);
    x->counts[w->n_token] = 0; /* nothing stands before it */
    if (w->plan->scored) memset(x->counts + w->n_token, 0, n), x->counts[w->n_token + n - 1] = 1;
    uint64_t hash = pith__hash(pith__hash(n, t, n * sizeof *t), x->counts + w->n_token, n);
    x->at[w->n++] = (example_at){ w->n_token, (int)n, (uint32_t)w->file, w->line, hash, 0 };
    w->n_token += n;
    if ((int)n > x->longest) x->longest = (int)n;
    return PITH_OK;
}

/* ---- texts ------------------------------------------------------------------------------------------- */

typedef struct {
    pith_token *t;       /* (n), one more than that in memory; of the arena */
    size_t n;
} encoded;

static int starts_with(pith__str s, pith__str part) { return part.n && s.n >= part.n && !memcmp(s.p, part.p, part.n); }

static int encode_row(example_maker *w, pith__str s, encoded *to) {
    const pith__vocab *v = &w->m->store.vocab;
    unsigned flags = w->plan->parse_special ? PITH_SPECIAL : 0;
    int has_bos = flags && v->bos >= 0 && starts_with(s, pith__tokenizer_piece(w->m->tokenizer, v->bos));
    if (!has_bos) flags |= PITH_BOS;
    int n = s.n > INT_MAX / 4 ? -1 : pith__tokenizer_encode(w->m->tokenizer, s.p, s.n, flags, NULL, 0);
    if (n < 0) return pith__fail(w->err, PITH_EDATA, "%s: %zu bytes of text cannot be made tokens", w->where, s.n);
    to->t = pith__arena_new(&w->arena, (size_t)n + 1, sizeof *to->t);
    if (!to->t) return fail_memory(w);
    to->n = (size_t)pith__tokenizer_encode(w->m->tokenizer, s.p, s.n, flags, to->t, n);
    return PITH_OK;
}

/* A text that has the name of a control token, which would be that token if it were parsed. */
static void look_closer(example_maker *w, pith__str s, size_t n) {
    if (w->plan->parse_special || !s.n || !(memchr(s.p, '<', s.n) || memchr(s.p, '[', s.n))) return;
    int parsed = pith__tokenizer_encode(w->m->tokenizer, s.p, s.n, PITH_SPECIAL | PITH_BOS, NULL, 0);
    if (parsed >= 0 && (size_t)parsed != n) note(&w->x->look_alike, w);
}

/* The token that ends a text. Where BOS both begins and ends one, as in llama2.c's models and those of run pretrain, the
 * model has never seen EOS. */
static pith_token text_end(const pith_model *m) {
    const pith__vocab *v = &m->store.vocab;
    return v->add_bos && v->bos >= 0 && pith_is_end(m, v->bos) ? v->bos : v->eos;
}

/* A prompt, or none, and what follows it: with the token that ends a text, once. */
static int add_text(example_maker *w, pith__str prompt, pith__str text, int pair) {
    pith_token last = text_end(w->m);
    pith__str end = { "", 0 }, all = text;
    encoded alone = { NULL, 0 }, both;
    size_t same = 0;
    if (!w->m->tokenizer) return pith__fail(w->err, PITH_EDATA, "%s: is a text, and the model has no vocabulary", w->where);
    end = pith__tokenizer_piece(w->m->tokenizer, last);
    if (pair) {
        char *p = text.n < SIZE_MAX - prompt.n ? pith__arena_new(&w->arena, prompt.n + text.n, 1) : NULL;
        if (!p) return fail_memory(w);
        memcpy(p, prompt.p, prompt.n);
        memcpy(p + prompt.n, text.p, text.n);
        all = (pith__str){ p, prompt.n + text.n };
    }
    if (end.n && all.n >= end.n && !memcmp(all.p + all.n - end.n, end.p, end.n)) all.n -= end.n;
    int code = encode_row(w, all, &both);
    if (!code && pair) code = encode_row(w, prompt, &alone);
    if (code) return code;
    look_closer(w, all, both.n);
    if (last >= 0) both.t[both.n++] = last;
    while (same < alone.n && same < both.n && alone.t[same] == both.t[same]) same++;
    if (w->plan->prompts_too) same = 0;
    uint8_t *counts = pith__arena_new(&w->arena, both.n, 1);
    if (!counts) return fail_memory(w);
    memset(counts + same, 1, both.n - same);
    return add_example(w, both.t, counts, both.n, 0);
}

/* ---- conversations --------------------------------------------------------------------------------- */

static int render(example_maker *w, const char *messages, int ask, pith_rendering *r) {
    pith_error e = { 0, "" };
    pith_conversation c = { .messages = messages, .variables = w->plan->variables, .now = w->plan->now, .no_prompt = !ask };
    if (!w->plan->form)
        return pith__fail(w->err, PITH_EDATA, "%s: has messages, and the model no chat template; --chat-template chatml, or another", w->where);
    return pith_render(w->plan->form, &c, r, &e) ? fail_row(w, &e) : PITH_OK;
}

/* A character of private use: no text has this, no filter changes it. */
static const char stand_in[] = "\xee\x80\x80\xee\xb8\x94\xee\x80\x81";

static int is_blank(pith__json text, pith__arena *a) { /* a string of nothing but white space */
    pith__str s = { "", 0 };
    return pith__json_type(text) == '"' && !pith__json_string(text, a, &s) && pith__white_at(s.p, s.n) == s.n;
}

/* The messages with a stand-in as the content of each of the assistant's that has none, or NULL: all have some. */
static char *fill_blanks(example_maker *w, const char *messages) {
    pith__json all, list, m;
    size_t n = strlen(messages), blank = 0, from = 0;
    if (pith__json_read(&all, messages, n, "", NULL)) return NULL;
    for (list = pith__json_get(all, "messages"); pith__json_next(&list, NULL, &m);)
        blank += pith__json_is(pith__json_get(m, "role"), "assistant") && is_blank(pith__json_get(m, "content"), &w->arena);
    char *text = blank ? pith__arena_new(&w->arena, n + blank * sizeof stand_in + 1, 1) : NULL, *to = text;
    if (!text) return NULL;
    for (list = pith__json_get(all, "messages"); pith__json_next(&list, NULL, &m);) {
        pith__json content = pith__json_get(m, "content");
        if (!pith__json_is(pith__json_get(m, "role"), "assistant") || !is_blank(content, &w->arena)) continue;
        pith__str raw = pith__json_raw(content);
        size_t at = (size_t)(raw.p - messages) + 1;
        memcpy(to, messages + from, at - from), to += at - from;
        memcpy(to, stand_in, sizeof stand_in - 1), to += sizeof stand_in - 1;
        from = (size_t)(raw.p - messages) + raw.n - 1;
    }
    memcpy(to, messages + from, n - from);
    return text;
}

/* An answer without text has no bytes that would say where it is. A second rendering, in which it has some, does, if the
 * two are the same otherwise. */
static void mark_empty(example_maker *w, const char *messages, pith_rendering *r) {
    char *filled = fill_blanks(w, messages);
    pith_rendering other;
    size_t n = sizeof stand_in - 1, i = 0, k = 0;
    pith_error *err = w->err;
    w->err = NULL;
    int code = filled ? render(w, filled, 0, &other) : PITH_EDATA;
    w->err = err;
    if (code) return;
    for (int same = 0; same < 2; same++) /* first compare, then mark */
        for (i = k = 0; k < other.n; k++) {
            if (other.from[k] & PITH_OF_CONTENT && other.n - k >= n && !memcmp(other.text + k, stand_in, n)) {
                if (same && i < r->n) r->from[i] |= PITH__EMPTY_ANSWER;
                while (i < r->n && r->from[i] & PITH_OF_CONTENT) i++; /* blanks that the template left */
                k += n - 1;
            } else if (i >= r->n || r->text[i++] != other.text[k]) {
                same = 2;
                break;
            }
        }
    pith_rendering_free(&other);
}

static int add_messages(example_maker *w, const pith__row *row) {
    pith_rendering r;
    pith_error e = { 0, "" };
    int endless = 0, code = render(w, row->messages, 0, &r);
    if (code) return code;
    int all = w->plan->every_token || w->plan->scored;
    if (!all) mark_empty(w, row->messages, &r);
    uint8_t *counts = pith__arena_new(&w->arena, (size_t)r.n_token + 1, 1);
    if (!counts) code = fail_memory(w);
    else if (pith__turns_count(&w->turns, &r, all, counts, &endless, &e)) code = fail_row(w, &e);
    if (!code) code = add_example(w, r.token, counts, (size_t)r.n_token, endless);
    pith_rendering_free(&r);
    return code;
}

/* The completion begins where the tokens of both are no longer those of the prompt alone. What the prompt has behind that
 * may only be the template's opening of an answer. */
static int add_turns(example_maker *w, const pith__row *row) {
    pith_rendering alone = { 0 }, both = { 0 };
    pith_error e = { 0, "" };
    int same = 0, endless = 0, differs = 0, code = render(w, row->messages, 0, &both);
    uint8_t *counts = code ? NULL : pith__arena_new(&w->arena, (size_t)both.n_token + 1, 1);
    if (!code && !counts) code = fail_memory(w);
    if (!code) code = render(w, row->prompt_messages, 1, &alone);
    while (!code && same < alone.n_token && same < both.n_token && alone.token[same] == both.token[same]) same++;
    if (!code && same + 1 < alone.n_token && pith__turns_data_from(&w->turns, &alone, same + 1, &differs, &e))
        code = fail_row(w, &e);
    if (!code && differs)
        code = pith__fail(w->err, PITH_EDATA, "%s: the template writes the prompt in another way when the completion follows, "
                          "so it cannot be told where that begins: give both as messages", w->where);
    if (!code && pith__turns_count(&w->turns, &both, 1, counts, &endless, &e)) code = fail_row(w, &e);
    if (!code && !w->plan->prompts_too) memset(counts, 0, (size_t)same);
    if (!code) code = add_example(w, both.token, counts, (size_t)both.n_token, endless);
    pith_rendering_free(&alone);
    pith_rendering_free(&both);
    return code;
}

/* ---- tokens that are there already --------------------------------------------------------------------- */

/* counts[i] &= what a list of 0 and 1, or of labels, says of it. */
static int read_mask(example_maker *w, pith__json list, const char *name, int labels, const encoded *t, uint8_t *counts) {
    pith__json value;
    size_t i = 0;
    if (!list.p || pith__json_type(list) == 'n') return PITH_OK;
    if (pith__json_type(list) != '[') return pith__json_fail(list, PITH_EDATA, w->where, name, "an array", w->err);
    for (; pith__json_next(&list, NULL, &value); i++) {
        char part[48], type = pith__json_type(value);
        int64_t k = type == 't';
        int known = type == 't' || type == 'f' || pith__json_int(value, &k);
        if (labels) known = known && (k == -100 || (i < t->n && k == t->t[i])), k = k != -100;
        snprintf(part, sizeof part, "%s[%zu]", name, i);
        if (!known || k < 0 || k > 1)
            return pith__json_fail(value, PITH_EDATA, w->where, part, labels ? "the token of input_ids or -100" : "0 or 1", w->err);
        if (i < t->n) counts[i] &= (uint8_t)k;
    }
    if (i == t->n) return PITH_OK;
    return pith__fail(w->err, PITH_EDATA, "%s: %s has %zu values, input_ids %zu", w->where, name, i, t->n);
}

/* Tokens of an array behind those of to, which has room. */
static int read_ids(example_maker *w, pith__json list, const char *name, encoded *to) {
    pith__json value;
    size_t first = to->n;
    for (int64_t id = 0; pith__json_next(&list, NULL, &value); to->t[to->n++] = (pith_token)id) {
        char part[48], need[32];
        snprintf(part, sizeof part, "%s[%zu]", name, to->n - first);
        snprintf(need, sizeof need, "0 to %d", w->m->hyper.n_vocab - 1);
        if (!pith__json_int(value, &id) || id < 0 || id >= w->m->hyper.n_vocab)
            return pith__json_fail(value, PITH_EDATA, w->where, part, need, w->err);
    }
    return PITH_OK;
}

static int add_tokens(example_maker *w, const pith__row *row) {
    const char *name = row->prompt_ids.p ? "completion" : "input_ids";
    encoded all = { NULL, 0 };
    if (pith__json_type(row->ids) != '[') return pith__json_fail(row->ids, PITH_EDATA, w->where, name, "an array", w->err);
    if (row->prompt_ids.p && pith__json_type(row->prompt_ids) != '[')
        return pith__json_fail(row->prompt_ids, PITH_EDATA, w->where, "prompt_ids", "an array", w->err);
    size_t n_prompt = row->prompt_ids.p ? pith__json_count(row->prompt_ids) : 0, n = n_prompt + pith__json_count(row->ids);
    all.t = pith__arena_new(&w->arena, n + 1, sizeof *all.t);
    uint8_t *counts = pith__arena_new(&w->arena, n + 1, 1);
    if (!all.t || !counts) return fail_memory(w);
    int code = n_prompt ? read_ids(w, row->prompt_ids, "prompt_ids", &all) : PITH_OK;
    if (!code) code = read_ids(w, row->ids, name, &all);
    memset(counts + n_prompt, 1, n - n_prompt);
    pith__json none = { NULL, NULL };
    if (!code) code = read_mask(w, row->labels, "labels", 1, &all, counts);
    if (!code) code = read_mask(w, w->plan->prompts_too ? none : row->completion_mask, "completion_mask", 0, &all, counts);
    if (!code) code = read_mask(w, row->assistant_masks, "assistant_masks", 0, &all, counts);
    return code ? code : add_example(w, all.t, counts, n, 0);
}

/* ---- files ------------------------------------------------------------------------------------------- */

static int add_kind(example_maker *w, const pith__row *row) {
    switch (row->kind) {
    case PITH__ROW_TEXT: return add_text(w, (pith__str){ "", 0 }, row->text, 0);
    case PITH__ROW_PAIR: return add_text(w, row->text, row->completion, 1);
    case PITH__ROW_MESSAGES: return add_messages(w, row);
    case PITH__ROW_TURNS: return w->plan->scored ? add_messages(w, row) : add_turns(w, row);
    default: return add_tokens(w, row);
    }
}

/* The first token of an example that counts. */
static int first_label(const pith__example *e) {
    int i = 0;
    while (i < e->n && !e->counts[i]) i++;
    return i;
}

/* The last two examples have one prompt: where letters of it joined those of one answer to a token, both answers begin
 * there. And they are held out together. */
static void join_pair(example_maker *w, double margin) {
    example_at *at = w->x->at + w->n - 2;
    at[0].margin = at[1].margin = margin;
    const pith__example a = pith__examples_get(w->x, w->n - 2), b = pith__examples_get(w->x, w->n - 1);
    int i = first_label(&a), k = first_label(&b);
    int from = i < k ? i : k;
    if (!w->plan->scored && !memcmp(a.t, b.t, (size_t)from * sizeof *a.t)) { /* else one was cut more than the other, with keep_end */
        memset(w->x->counts + at[0].at + from, 1, (size_t)(i - from));
        memset(w->x->counts + at[1].at + from, 1, (size_t)(k - from));
    }
    at[0].hash = pith__hash(at[0].hash, &at[1].hash, sizeof at[1].hash);
    if (fabs(margin) > 0) at[0].hash = pith__hash(at[0].hash, &margin, sizeof margin);
    at[1].hash = at[0].hash;
}

/* An answer without text says nothing of what is preferred. */
static int check_answer(example_maker *w, pith__json row, const char *name) {
    pith__json text = pith__json_get(row, name), it = text, m;
    if (pith__json_type(text) == '[')
        while (pith__json_next(&it, NULL, &m)) text = pith__json_get(m, pith__json_get(m, "tool_calls").p ? "tool_calls" : "content");
    return is_blank(text, &w->arena) ? pith__fail(w->err, PITH_EDATA, "%s: %s is empty", w->where, name) : PITH_OK;
}

static int read_margin(example_maker *w, pith__json row, double *margin) {
    pith__json j = pith__json_get(row, "margin");
    *margin = 0;
    if (!w->plan->scored || !j.p || pith__json_type(j) == 'n' || pith__json_float(j, margin)) return PITH_OK;
    return pith__json_fail(j, PITH_EDATA, w->where, "margin", "a number", w->err);
}

/* Two answers, if both teach something, and not the same. */
static int add_pair(example_maker *w, pith__json j) {
    pith__row row[2];
    pith_error e = { 0, "" };
    pith__some skipped = w->x->skipped, cut = w->x->cut;
    size_t n = w->n, n_token = w->n_token;
    double margin = 0;
    if (pith__row_read_pair(row, j, w->where, &w->arena, &e)) return fail_row(w, &e);
    int code = check_answer(w, j, "chosen");
    if (!code) code = check_answer(w, j, "rejected");
    if (!code) code = read_margin(w, j, &margin);
    if (!code) code = add_kind(w, &row[0]);
    if (!code) code = add_kind(w, &row[1]);
    if (code) return code;
    int both = w->n - n == 2, equal = both && w->x->at[n].hash == w->x->at[n + 1].hash;
    if (both && !equal) return join_pair(w, margin), PITH_OK;
    int too_long = w->plan->scored && w->x->cut.n > cut.n;
    w->x->skipped = skipped;
    if (too_long) w->x->cut = cut;
    note(too_long ? &w->x->cut : equal ? &w->x->equal : &w->x->skipped, w);
    w->n = n, w->n_token = n_token;
    return PITH_OK;
}

static int add_row(example_maker *w, pith__json j) {
    pith__row row;
    pith_error e = { 0, "" };
    if (w->plan->pairs) return add_pair(w, j);
    if (pith__row_read(&row, j, w->where, w->plan->form != NULL, &w->arena, &e)) return fail_row(w, &e);
    return add_kind(w, &row);
}

static int add_file(example_maker *w, const char *path, const pith__progress *progress) {
    static const char what[] = "rows to tokens: byte";
    pith__documents d;
    pith__json j;
    size_t n = 0;
    int code = pith__documents_open(&d, path, w->err);
    if (code) return code;
    while (!(code = pith__documents_row(&d, &j, w->err)) && j.p) {
        n++;
        w->line = d.count;
        snprintf(w->where, sizeof w->where, "%.120s: %s %zu", path, d.kind == PITH__JSON_ARRAY ? "item" : "line", d.count);
        code = add_row(w, j);
        pith__arena_free(&w->arena);
        if (!code) code = pith__tell(progress, what, (size_t)(d.p - (const char *)d.file.data), d.file.size + 1, w->err);
        if (code) break;
    }
    pith__tell(progress, what, 1, 1, NULL);
    if (!code && !n) code = pith__fail(w->err, PITH_EDATA, "%s: has no rows", path);
    pith__documents_close(&d);
    return code;
}

static int add_files(example_maker *w, const pith__texts *files, size_t first, const pith__progress *progress) {
    int code = PITH_OK;
    for (int i = 0; i < files->n && !code; i++) {
        w->file = first + (size_t)i;
        code = add_file(w, files->path[i], progress);
    }
    return code;
}

/* ---- what is held out ---------------------------------------------------------------------------------- */

static int by_hash(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Of how many examples from from on the hash is among those before. */
static int count_same(example_maker *w, size_t from) {
    uint64_t *hash = malloc((from + 1) * sizeof *hash);
    if (!hash) return fail_memory(w);
    for (size_t i = 0; i < from; i++) hash[i] = w->x->at[i].hash;
    qsort(hash, from, sizeof *hash, by_hash);
    for (size_t i = from; i < w->n; i++)
        w->x->n_same += bsearch(&w->x->at[i].hash, hash, from, sizeof *hash, by_hash) != NULL;
    free(hash);
    return PITH_OK;
}

static int is_held_out(uint64_t hash, double part) { return pith__random_at(2, hash) < part * 0x1p64; }

/* Examples whose hash says so go to the end; if it is none, those with the lowest do, as long as others stay. Which ones
 * does not change when further rows are added. */
static int hold_out(example_maker *w, size_t *n_train) {
    double part = w->plan->hold_out;
    example_at *at = w->x->at, *sorted = malloc((w->n + 1) * sizeof *sorted);
    size_t out = 0, k = 0;
    uint64_t only = UINT64_MAX;
    if (!sorted) return fail_memory(w);
    for (size_t i = 0; i < w->n; i++) out += (size_t)is_held_out(at[i].hash, part);
    int as_said = part <= 0 || (out > 0 && out < w->n);
    for (size_t i = 0; i < w->n && !as_said; i++)
        if (pith__random_at(2, at[i].hash) < pith__random_at(2, only)) only = at[i].hash;
    for (int held = 0; held < 2; held++) {
        for (size_t i = 0; i < w->n; i++)
            if ((as_said ? is_held_out(at[i].hash, part) : at[i].hash == only) == held) sorted[k++] = at[i];
        if (!held) *n_train = k;
    }
    if (!*n_train) *n_train = w->n; /* they are all the same */
    free(at);
    w->x->at = sorted;
    return PITH_OK;
}

static int fail_empty(example_maker *w, const pith__texts *files) {
    const pith__examples *x = w->x;
    char cut[64] = "";
    if (x->cut.n)
        snprintf(cut, sizeof cut, "; %zu %s cut to %d tokens", x->cut.n, x->cut.n > 1 ? "were" : "was", w->plan->max_length);
    if (w->plan->scored && x->cut.n)
        return pith__fail(w->err, PITH_EDATA, "%s: longer than %d tokens in %zu row%s, the first of line %zu, and nothing else",
                          files->path[0], w->plan->max_length, x->cut.n, x->cut.n > 1 ? "s" : "", x->cut.line);
    if (!x->skipped.n && x->equal.n)
        return pith__fail(w->err, PITH_EDATA, "%s: chosen and rejected are equal in %zu pair%s, the first of line %zu",
                          files->path[0], x->equal.n, x->equal.n > 1 ? "s" : "", x->equal.line);
    return pith__fail(w->err, PITH_EDATA, "%s: nothing to learn in %zu example%s, the first of line %zu%s", files->path[0],
                      x->skipped.n, x->skipped.n > 1 ? "s" : "", x->skipped.line, cut);
}

static int finish(example_maker *w, size_t n_first) {
    pith__examples *x = w->x;
    size_t n_train = n_first;
    int code = w->plan->eval.n ? count_same(w, n_first) : hold_out(w, &n_train);
    if (code) return code;
    if (w->plan->pairs) x->n_same /= 2;
    x->n_train = n_train, x->n_eval = w->n - n_train;
    x->key = pith__hash(x->n_train, &x->n_eval, sizeof x->n_eval);
    for (size_t i = 0; i < w->n; i++) {
        const pith__example e = pith__examples_get(x, i);
        x->key = pith__hash(x->key, &x->at[i].hash, sizeof x->at[i].hash);
        for (int k = 0; i < n_train && k < e.n; k++) x->n_label += e.counts[k];
        if (i < n_train) x->n_token += (size_t)e.n;
    }
    return PITH_OK;
}

/* ---- public ------------------------------------------------------------------------------------------ */

PITH_SHARED int pith__examples_open(pith__examples *x, const pith_model *m, const pith__examples_plan *plan,
                                    const pith__progress *progress, pith_error *err) {
    example_maker w = { .m = m, .plan = plan, .x = x, .err = err };
    const pith_conversation like = { .variables = plan->variables, .now = plan->now };
    memset(x, 0, sizeof *x);
    pith__turns_open(&w.turns, m, plan->form, &like);
    int code = add_files(&w, &plan->train, 0, progress);
    size_t n_first = w.n;
    if (!code && !n_first) code = fail_empty(&w, &plan->train);
    if (!code) code = add_files(&w, &plan->eval, (size_t)plan->train.n, progress);
    if (!code && plan->eval.n && w.n == n_first) code = fail_empty(&w, &plan->eval);
    if (!code) code = finish(&w, n_first);
    pith__turns_close(&w.turns);
    pith__arena_free(&w.arena);
    if (code) pith__examples_close(x);
    return code;
}

PITH_SHARED void pith__examples_close(pith__examples *x) {
    free(x->at);
    free(x->token);
    free(x->counts);
    memset(x, 0, sizeof *x);
}

PITH_SHARED pith__example pith__examples_get(const pith__examples *x, size_t i) {
    const example_at *e = &x->at[i];
    return (pith__example){ x->token + e->at, x->counts + e->at, e->n, e->file, e->line, e->margin };
}

PITH_SHARED void pith__example_targets(const pith__example *e, pith_token *target) {
    for (int i = 0; i + 1 < e->n; i++) target[i] = e->counts[i + 1] ? e->t[i + 1] : -1;
}

struct pith__row_reader {
    example_maker w;
    pith__examples_plan plan;
    pith__examples x;
};

PITH_SHARED pith__row_reader *pith__row_reader_new(const pith_model *m, const pith__examples_plan *plan, pith_error *err) {
    pith__row_reader *r = calloc(1, sizeof *r);
    const pith_conversation like = { .variables = plan->variables, .now = plan->now };
    if (!r) return pith__fail(err, PITH_EMEMORY, "no memory to read rows"), NULL;
    r->plan = *plan;
    r->w = (example_maker){ .m = m, .plan = &r->plan, .x = &r->x };
    pith__turns_open(&r->w.turns, m, plan->form, &like);
    return r;
}

PITH_SHARED void pith__row_reader_free(pith__row_reader *r) {
    if (!r) return;
    pith__turns_close(&r->w.turns);
    pith__examples_close(&r->x);
    free(r);
}

static int has_both(pith__json row, const char *a, const char *b) {
    return pith__json_type(row) == '{' && pith__json_get(row, a).p && pith__json_get(row, b).p;
}

PITH_SHARED int pith__row_reader_read(pith__row_reader *r, pith__json j, const char *where, const pith__examples **x,
                                      pith_error *err) {
    example_maker *w = &r->w;
    pith__row row[2];
    pith_error e = { 0, "" };
    int pair = has_both(j, "chosen", "rejected") || has_both(j, "chosen_ids", "rejected_ids"), code;
    r->x = (pith__examples){ .at = r->x.at, .token = r->x.token, .counts = r->x.counts };
    w->n = w->n_token = 0;
    w->err = err;
    snprintf(w->where, sizeof w->where, "%s", where);
    if (pair) code = pith__row_read_pair(row, j, w->where, &w->arena, &e);
    else code = pith__row_read(row, j, w->where, w->plan->form != NULL, &w->arena, &e);
    if (code) code = fail_row(w, &e);
    for (int i = 0; i <= pair && !code; i++) code = add_kind(w, &row[i]);
    pith__arena_free(&w->arena);
    r->x.n_train = w->n;
    *x = &r->x;
    return code;
}
