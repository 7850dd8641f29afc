/* batch.c - run batch: a file of requests, a file of answers.
 *
 *     {"prompt": "Once upon a time"}                                    a line: a text to go on with,
 *     {"messages": [{"role": "user", "content": "Hello"}]}              a conversation,
 *     {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {...}}   or OpenAI's own batch line
 *
 * The texts of many requests are written together (slots.c), as many as --parallel says; where one ends, the next
 * begins. Answers stand in the order of the requests: those that are ready early wait, in memory, and no request is
 * begun too far ahead of the first that is not. Every answer is written as soon as it can be, so whatever ends the
 * job, the file has whole lines but perhaps for the last one; --resume cuts that and goes on behind the others.
 * An answer depends on its request, the model and the flags of sampling, and on nothing else. */
#define _XOPEN_SOURCE 700
#include "request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    model_choice model;
    const char *file, *output, *form, *variables, *now; /* form: of --chat-template-file */
    int parallel, n_predict, resume, parse_special;
    uint64_t seed;
    sampling_choice sampling;
} batch_options;

typedef struct entry entry;
struct entry {           /* a request, until its answer is written */
    entry *next;
    size_t line;         /* in the file of requests */
    pith__arena arena;   /* of the names */
    const char *id, *custom_id; /* as JSON; custom_id NULL: it has none */
    uint64_t hash;       /* of the line and its place */
    int is_chat, is_openai; /* is_openai: a batch line of theirs */
    int n_text;          /* it asks for */
    request r;
    request_error error; /* if its text is not empty: there is nothing to be written */
    choice *c;           /* (n_text) */
    int n_begun, n_ended;
    char *answer;        /* (n_answer) when all have ended */
    size_t n_answer;
};

typedef struct {
    const batch_options *o;
    const pith_model *m;
    request_rules rules;
    pith_template *form; /* of conversations, or NULL */
    pith_time now;
    line_reader in;
    output out;
    int lock;            /* of the output's file, or -1 */
    size_t written, n_written; /* bytes of whole answers in the output, and how many */
    slots k;
    choice **ended;      /* (k.n) */
    entry *first, **last, *begins; /* in order; begins: the first one with texts that have not begun, or NULL */
    size_t n_waiting, held; /* entries, and bytes of the answers among them */
    name_set names;
    uint64_t n_text;     /* that were asked for before */
    size_t n_request, n_done, n_kept, n_all; /* read, with an answer, of an earlier run; in the file, or 0 */
    int nan_said;
    size_t n_wrong, first_wrong; /* answers that are errors; the line of the first */
    char why[256];       /* what is wrong there */
    char fingerprint[24], name[128]; /* of the model */
    progress p;
} batch_job;

/* ---- reading a request ----------------------------------------------------------------------- */

static int wrong(entry *e, const char *param, const char *code, const char *text) {
    snprintf(e->error.param, sizeof e->error.param, "%s", param);
    e->error.code = code;
    return pith__fail(&e->error.error, PITH_EDATA, "%s", text), 1;
}

static int no_memory(entry *e) { return pith__fail(&e->error.error, PITH_EMEMORY, "no memory for the request"), 1; }

/* A string or a whole number, as JSON again. */
static int read_name(entry *e, pith__json v, const char *field, const char **name) {
    pith__str s = { NULL, 0 };
    int64_t i;
    char *p = NULL;
    size_t n;
    output o;
    int is_int = pith__json_int(v, &i);
    if (!is_int && pith__json_type(v) != '"') return request_wrong(&e->error, v, field, "a string or a whole number");
    if (!is_int && request_text(v, field, &e->arena, &s, &e->error)) return 1;
    if (output_memory(&o, &p, &n)) return no_memory(e);
    if (is_int) output_line(&o, "%lld", (long long)i);
    else output_json(&o, s.p, s.n);
    int bad = fclose(o.file) != 0 || o.code;
    *name = bad ? NULL : pith__arena_text(&e->arena, p, n);
    free(p);
    return *name ? 0 : no_memory(e);
}

/* What OpenAI's batch line has around the request. */
static int read_envelope(entry *e, pith__json j, pith__json *fields) {
    static const char *const names[] = { "method", "url", "body" };
    pith__json v[3];
    pith__json_pick(j, names, v, 3);
    if (!e->custom_id) return wrong(e, "custom_id", "missing_required_parameter", "request: has no custom_id");
    if (v[0].p && !pith__json_is(v[0], "POST")) return request_wrong(&e->error, v[0], "method", "\"POST\"");
    if (pith__json_type(v[2]) != '{') return request_wrong(&e->error, v[2], "body", "an object");
    *fields = v[2];
    int is_chat = pith__json_is(v[1], "/v1/chat/completions");
    if (!is_chat && !pith__json_is(v[1], "/v1/completions"))
        return request_wrong(&e->error, v[1], "url", "\"/v1/chat/completions\" or \"/v1/completions\"");
    if (is_chat == request_is_chat(v[2])) return 0;
    return request_wrong(&e->error, v[1], "url", is_chat ? "messages in the body" : "a prompt in the body");
}

/* Who asks, how many texts, and where the fields are. 0, or e->error says what is wrong. */
static int identify(batch_job *j, entry *e, pith__json *fields) {
    static const char *const names[] = { "id", "custom_id", "body", "url" };
    pith_error err;
    pith__json whole, v[4];
    if (j->in.too_long) return wrong(e, "", NULL, "request: the line is too long");
    if (pith__json_read(&whole, j->in.p, j->in.n, "request", &err)) return wrong(e, "", "invalid_json", err.text);
    if (pith__json_type(whole) != '{') return request_wrong(&e->error, whole, "the line", "an object");
    pith__json_pick(whole, names, v, 4);
    e->is_openai = v[2].p || v[3].p;
    *fields = e->is_openai ? v[2] : whole;
    e->is_chat = request_is_chat(*fields);
    e->n_text = request_texts(*fields);
    if (v[1].p && pith__json_type(v[1]) != 'n' && read_name(e, v[1], "custom_id", &e->custom_id)) return 1;
    int own = !e->is_openai && v[0].p && pith__json_type(v[0]) != 'n';
    if (own && read_name(e, v[0], "id", &e->id)) return 1;
    const char *name = e->custom_id ? e->custom_id : e->id;
    int is_new = name ? add_name(&j->names, name) : 1;
    if (is_new < 0) return no_memory(e);
    if (!is_new)
        return wrong(e, e->custom_id ? "custom_id" : "id", "duplicate_id", "request: an earlier line has this id");
    return e->is_openai ? read_envelope(e, whole, fields) : 0;
}

/* The next line, as far as it can be read without the model. GO_ON; 0: there are no more; or an exit code. */
static int next_entry(batch_job *j, entry **to, pith__json *fields) {
    static const char *const kinds[] = { "cmpl", "chatcmpl", "batch_req" };
    char id[48];
    int code = lines_next(&j->in);
    if (code != GO_ON) return code;
    entry *e = *to = calloc(1, sizeof *e);
    if (!e) return complain(FAILED, "%s: no memory for line %zu", j->in.name, j->in.number);
    e->line = j->in.number;
    e->n_text = 1;
    e->hash = pith__hash(pith__hash(0, j->in.p, j->in.n), &j->n_request, sizeof j->n_request);
    j->n_request++;
    identify(j, e, fields);
    snprintf(id, sizeof id, "\"%s-%016llx\"", kinds[e->is_openai ? 2 : e->is_chat], (unsigned long long)e->hash);
    if (!e->id) e->id = pith__arena_text(&e->arena, id, strlen(id));
    return e->id ? GO_ON : complain(FAILED, "%s: no memory for line %zu", j->in.name, j->in.number);
}

static void free_entry(entry *e) {
    for (int i = 0; e->c && i < e->n_text; i++) choice_free(&e->c[i]);
    free(e->c);
    request_free(&e->r);
    pith__arena_free(&e->arena);
    free(e->answer);
    free(e);
}

/* ---- answers --------------------------------------------------------------------------------- */

static void write_body(const batch_job *j, const entry *e, output *o) {
    char own[48];
    answer_head head = { e->id, e->custom_id, j->name, j->fingerprint };
    snprintf(own, sizeof own, "\"%s-%016llx\"", e->is_chat ? "chatcmpl" : "cmpl", (unsigned long long)e->hash);
    if (e->is_openai) head.id = own, head.custom_id = NULL;
    answer_write(o, j->m, &head, &e->r, e->c);
}

static void write_answer(const batch_job *j, const entry *e, output *o) {
    int is_wrong = e->error.error.code != 0;
    if (!e->is_openai && !is_wrong) {
        write_body(j, e, o);
        return;
    }
    output_line(o, "{\"id\":%s", e->id);
    if (e->custom_id) output_line(o, ",\"custom_id\":%s", e->custom_id);
    if (is_wrong) output_line(o, ",\"line\":%zu", e->line);
    if (e->is_openai) {
        int status = !is_wrong ? 200 : e->error.error.code == PITH_EDATA ? 400 : 500;
        output_line(o, ",\"response\":{\"status_code\":%d,\"request_id\":\"req_%016llx\",\"body\":", status,
                    (unsigned long long)e->hash);
        if (!is_wrong) write_body(j, e, o);
        else output_line(o, "{\"error\":"), answer_error(o, &e->error), output_line(o, "}");
        output_line(o, "}");
    }
    output_line(o, ",\"error\":");
    if (is_wrong) answer_error(o, &e->error);
    else output_line(o, "null");
    output_line(o, "}");
}

/* All of its texts have ended: what they need no more is freed. */
static int finish(batch_job *j, entry *e) {
    output o;
    for (int i = 0; e->c && i < e->n_text; i++) {
        if (e->c[i].g.ended < 0 && !e->error.error.code) e->error.error = e->c[i].error;
        if (e->c[i].is_nan) warn_once(&j->nan_said, "the model computes NaN");
    }
    if (output_memory(&o, &e->answer, &e->n_answer)) return complain(FAILED, "no memory for an answer");
    write_answer(j, e, &o);
    output_line(&o, "\n");
    int bad = fclose(o.file) != 0 || o.code;
    for (int i = 0; e->c && i < e->n_text; i++) choice_free(&e->c[i]);
    free(e->c);
    e->c = NULL;
    request_free(&e->r);
    j->held += e->n_answer;
    j->n_done++;
    if (e->error.error.code && !j->n_wrong++) {
        j->first_wrong = e->line;
        snprintf(j->why, sizeof j->why, "%s", e->error.error.text);
    }
    return bad ? complain(FAILED, "no memory for an answer") : 0;
}

/* Writes those that are ready, to the first that is not. An exit code; GO_ON: nobody reads any more. */
static int write_ready(batch_job *j) {
    while (j->first && j->first->answer && !j->out.code) {
        entry *e = j->first;
        output_bytes(&j->out, e->answer, e->n_answer);
        output_flush(&j->out);
        if (j->out.code) break;
        j->written += e->n_answer;
        j->n_written++;
        j->held -= e->n_answer;
        j->n_waiting--;
        j->first = e->next;
        if (!j->first) j->last = &j->first;
        free_entry(e);
    }
    if (j->out.code > 0 && j->out.path && ftruncate(fileno(j->out.file), (off_t)j->written)) return j->out.code;
    return j->out.code;
}

/* ---- many requests --------------------------------------------------------------------------- */

enum { AHEAD = 1024 };                     /* requests that wait for an earlier one at most, */
static const size_t held_most = 64u << 20; /* and bytes of their answers */

/* Reads the next request. GO_ON; 0: there are no more, or too many wait; or an exit code. */
static int read_entry(batch_job *j) {
    entry *e = NULL;
    pith__json fields = { NULL, NULL };
    if (j->n_waiting >= AHEAD || j->held > held_most) return 0;
    int code = next_entry(j, &e, &fields);
    if (code != GO_ON) return e ? free_entry(e), code : code;
    *j->last = e;
    j->last = &e->next;
    j->n_waiting++;
    uint64_t seed = j->o->seed + j->n_text;
    j->n_text += (uint64_t)e->n_text;
    if (e->error.error.code || request_read(&e->r, &j->rules, fields, &e->error)) return finish(j, e) ? FAILED : GO_ON;
    e->n_text = e->r.n * e->r.n_prompt;
    if (!e->r.has_seed && seed > (uint64_t)INT64_MAX - (uint64_t)(e->n_text - 1)) {
        wrong(e, "seed", NULL, "request: has no seed, and those from -s on end at 9223372036854775807");
        return finish(j, e) ? FAILED : GO_ON;
    }
    e->c = calloc((size_t)e->n_text, sizeof *e->c);
    if (!e->c) return complain(FAILED, "%s: no memory for line %zu", j->in.name, e->line);
    for (int i = 0; i < e->n_text; i++) {
        uint64_t first = e->r.has_seed ? e->r.seed : seed;
        if (choice_begin(&e->c[i], j->m, &e->r, i, first + (uint64_t)i))
            return complain(FAILED, "%s: no memory for line %zu", j->in.name, e->line);
        e->c[i].owner = e;
    }
    j->begins = e;
    return GO_ON;
}

/* Every slot gets a text, while there are some. An exit code, or GO_ON: nobody reads any more. */
static int fill_slots(batch_job *j) {
    int code = 0;
    while (j->k.n_busy < j->k.n && !code && !stopped()) {
        entry *e = j->begins;
        if (e) {
            slots_start(&j->k, &e->c[e->n_begun++]);
            if (e->n_begun == e->n_text) j->begins = NULL;
            continue;
        }
        int got = read_entry(j);
        if (got == 0) break;
        code = got == GO_ON ? write_ready(j) : got;
    }
    return code;
}

static int run_texts(batch_job *j) {
    pith_error e = { 0, "" };
    for (;;) {
        int code = fill_slots(j);
        if (code || stopped() || !j->k.n_busy) return code;
        int n = slots_step(&j->k, j->ended, &e);
        if (n < 0) return complain(FAILED, "%s", e.text);
        for (int i = 0; i < n && !code; i++) {
            entry *of = j->ended[i]->owner;
            if (++of->n_ended == of->n_text) code = finish(j, of);
        }
        if (!code) code = write_ready(j);
        if (code) return code;
        if (j->n_all > j->n_done && !j->o->model.quiet)
            show_progress(&j->p, j->n_done - j->n_kept, j->n_all - j->n_kept);
    }
}

/* ---- the output ------------------------------------------------------------------------------ */

static int open_output(batch_job *j) {
    const batch_options *o = j->o;
    const char *path = o->output && strcmp(o->output, "-") != 0 ? o->output : NULL;
    struct stat st;
    pith_error e = { 0, "" };
    if (!path && o->resume) return complain(USAGE, "--resume needs a file to go on with: -o FILE");
    if (!path) return output_open(&j->out, NULL, NULL);
    int there = !stat(path, &st), is_file = !there || S_ISREG(st.st_mode);
    if ((o->model.path && same_file(path, o->model.path)) || same_file(path, o->file) ||
        (o->model.options.tokenizer && same_file(path, o->model.options.tokenizer)))
        return complain(USAGE, "%s: is what is read, need another file to write to", path);
    if (is_file && there && st.st_size && !o->resume)
        return complain(USAGE, "%s: has something in it; --resume goes on with it, -o names another", path);
    if (is_file && (j->lock = pith__lock(path, &e)) < 0)
        return complain(FAILED, "%s", e.code == PITH_EFULL ? "another process writes the answers" : e.text);
    j->out.path = path;
    j->out.file = fopen(path, is_file ? "r+b" : "wb");
    if (!j->out.file) return complain(FAILED, "%s: %s", path, strerror(errno));
    setvbuf(j->out.file, NULL, _IONBF, 0); /* after a failure nothing of an answer is left to be written */
    return 0;
}

/* An exit code; the file ends in a whole line. */
static int close_output(batch_job *j) {
    if (!j->out.path) return j->out.file ? output_close(&j->out, 1) : 0;
    if (j->out.file && fclose(j->out.file) != 0 && !j->out.code)
        j->out.code = complain(FAILED, "%s: %s", j->out.path, strerror(errno));
    pith__unlock(j->lock);
    return j->out.code > 0 ? j->out.code : 0;
}

/* ---- going on -------------------------------------------------------------------------------- */

/* Bytes of the file to the end of its last whole line. */
static size_t whole_lines(FILE *f) {
    char some[4096];
    size_t at = 0, end = 0, n;
    while ((n = fread(some, 1, sizeof some, f)) > 0) {
        for (size_t i = 0; i < n; i++)
            if (some[i] == '\n') end = at + i + 1;
        at += n;
    }
    return end;
}

static int same_name(const pith__json *j, const char *name) { /* as JSON */
    pith__json want;
    int64_t a, b;
    if (!name) return pith__json_type(*j) == 0;
    if (pith__json_read(&want, name, strlen(name), "", NULL)) return 0;
    if (pith__json_int(want, &a)) return pith__json_int(*j, &b) && a == b;
    pith__arena arena = { NULL, 0 };
    pith__str x, y;
    int same = !pith__json_string(want, &arena, &x) && !pith__json_string(*j, &arena, &y) && !pith__str_cmp(x, y);
    pith__arena_free(&arena);
    return same;
}

/* Does the line answer the request? An answer of another model or other flags is none. */
static int check_answer(batch_job *j, const entry *e, const line_reader *answers) {
    static const char *const names[] = { "id", "custom_id", "error", "system_fingerprint", "response" };
    pith_error err;
    pith__json whole, v[5];
    if (answers->too_long || pith__json_read(&whole, answers->p, answers->n, answers->name, &err))
        return complain(BAD_DATA, "%s: line %zu is no answer: %s", answers->name, answers->number,
                        answers->too_long ? "it is too long" : err.text);
    pith__json_pick(whole, names, v, 5);
    if (!same_name(&v[0], e->id) || !same_name(&v[1], e->custom_id))
        return complain(BAD_DATA, "%s: line %zu does not answer line %zu of %s", answers->name, answers->number,
                        e->line, j->in.name);
    pith__json print = v[3].p ? v[3] : pith__json_get(pith__json_get(v[4], "body"), "system_fingerprint");
    if (print.p && !pith__json_is(print, j->fingerprint))
        return complain(BAD_DATA, "%s: line %zu is of another model, or was asked for with other flags", answers->name,
                        answers->number);
    if (v[2].p && pith__json_type(v[2]) != 'n' && !j->n_wrong++) j->first_wrong = e->line;
    return 0;
}

/* Passes over the requests that have an answer. Half an answer at the end is cut off. */
static int keep_answers(batch_job *j) {
    line_reader answers;
    pith__json fields;
    size_t end = whole_lines(j->out.file);
    int code = lines_open(&answers, j->out.path), got = 0;
    while (!code && (got = lines_next(&answers)) == GO_ON) {
        entry *e = NULL;
        if (answers.done > end) { /* half a line: of ours? */
            size_t n = answers.n < 6 ? answers.n : 6;
            if (memcmp(answers.p, "{\"id\":", n) != 0)
                code = complain(BAD_DATA, "%s: does not end in an answer", answers.name);
            break;
        }
        int next = next_entry(j, &e, &fields);
        if (next == 0) code = complain(BAD_DATA, "%s: has more answers than %s has requests", answers.name, j->in.name);
        else if (next != GO_ON) code = next;
        else code = check_answer(j, e, &answers);
        if (!code) j->n_text += (uint64_t)e->n_text, j->n_done++, j->n_kept++, j->n_written++;
        if (e) free_entry(e);
    }
    lines_close(&answers);
    if (!code && got != GO_ON) code = got;
    if (code) return code;
    if (ftruncate(fileno(j->out.file), (off_t)end) || fseek(j->out.file, 0, SEEK_END))
        return complain(FAILED, "%s: %s", j->out.path, strerror(errno));
    j->written = end;
    note(j->o->model.quiet || !j->n_kept, "%s has %zu answers already", j->out.path, j->n_kept);
    return 0;
}

/* ---- the job --------------------------------------------------------------------------------- */

/* Lines that are not blank, where the file can be read twice; for the progress. */
static size_t count_requests(const char *path) {
    struct stat st;
    int is_file = !stat(path, &st) && S_ISREG(st.st_mode), blank = 1;
    FILE *f = is_file ? fopen(path, "rb") : NULL;
    char some[1 << 14];
    size_t n = 0, got;
    while (f && (got = fread(some, 1, sizeof some, f)) > 0)
        for (size_t i = 0; i < got; i++) {
            n += blank && !strchr(" \t\r\n\v\f", some[i]);
            blank = some[i] == '\n' || (blank && strchr(" \t\r\v\f", some[i]));
        }
    if (f) fclose(f);
    return n;
}

/* The first numbers of every weight: enough to tell one training from another. */
static uint64_t hash_weights(const pith_model *m, uint64_t h) {
    enum { SOME = 256 };
    for (const pith__weight *w = m->weights; w; w = w->next) {
        const pith__tensor *t = &w->tensor;
        size_t n = !t->data ? 0 : pith__is_apart(t) ? pith__row_size(t) : t->rows * t->row_bytes;
        h = pith__hash(h, t->data, n < SOME ? n : SOME);
        if (w->floats) h = pith__hash(h, w->floats, t->cols * sizeof *w->floats);
    }
    return h;
}

/* Of all that answers depend on but for the requests. */
static void make_fingerprint(batch_job *j) {
    const batch_options *o = j->o;
    const pith_shape *s = pith_model_shape(j->m);
    const pith_sampling *how = &j->rules.how;
    const char *const texts[] = { PITH_VERSION, s->arch, o->model.options.chat_template, o->model.options.pretokenizer,
                                  o->model.context.cache_k, o->model.context.cache_v, how->order, o->variables, o->now };
    const pith__str form = j->form ? pith__template_text(j->form) : pith__str_of("");
    const int numbers[] = { s->n_layer, s->n_embd, s->n_head, s->n_kv_head, s->head_dim, s->n_ff, s->n_vocab,
                            j->rules.n_ctx, j->rules.n_predict, j->rules.parse_special, how->top_k,
                            how->repeat_last_n, how->dry_allowed_length, how->dry_last_n, how->n_dry_breaker,
                            how->mirostat };
    const float floats[] = { how->temperature, how->top_p, how->min_p, how->repeat_penalty, how->frequency_penalty,
                             how->presence_penalty, how->typical_p, how->top_n_sigma, how->xtc_probability,
                             how->xtc_threshold, how->dynatemp_range, how->dynatemp_exponent, how->dry_multiplier,
                             how->dry_base, how->mirostat_tau, how->mirostat_eta, how->adaptive_target,
                             how->adaptive_decay };
    const uint64_t big[] = { s->n_param, s->n_byte, o->seed };
    uint64_t h = 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        h = pith__hash(h, texts[i] ? texts[i] : "", texts[i] ? strlen(texts[i]) + 1 : 1);
    for (int i = 0; i < how->n_dry_breaker; i++) h = pith__hash(h, how->dry_breaker[i], strlen(how->dry_breaker[i]) + 1);
    h = pith__hash(pith__hash(h, form.p, form.n), numbers, sizeof numbers);
    h = pith__hash(h, floats, sizeof floats);
    h = hash_weights(j->m, pith__hash(h, big, sizeof big));
    h ^= adapters_hash(j->m, &o->model);
    snprintf(j->fingerprint, sizeof j->fingerprint, "fp_%016llx", (unsigned long long)h);
}

/* The last part of its path. */
static void make_name(batch_job *j) {
    const char *path = j->o->model.path ? j->o->model.path : "pith";
    size_t n = strlen(path), from;
    while (n > 1 && path[n - 1] == '/') n--;
    for (from = n; from > 0 && path[from - 1] != '/';) from--;
    snprintf(j->name, sizeof j->name, "%.*s", n - from < sizeof j->name ? (int)(n - from) : 0, path + from);
}

static int open_slots(batch_job *j) {
    pith_context c = j->o->model.context;
    pith_error e = { 0, "" };
    c.n_ctx = j->rules.n_ctx;
    c.n_batch = j->o->parallel > 256 ? j->o->parallel : 256; /* a row of the pass for each text */
    if (c.n_batch > c.n_ctx) c.n_batch = c.n_ctx;
    double room = 0.75 * pith__may_use("").memory - (double)pith_pass_size(j->m, &c);
    int code = slots_open(&j->k, j->m, &c, j->o->parallel, room > 0 ? (size_t)room : 0, &e);
    if (code) return complain(e.code == PITH_EARG ? USAGE : FAILED, "%s", e.text);
    j->ended = calloc((size_t)j->o->parallel, sizeof *j->ended);
    return j->ended ? 0 : complain(FAILED, "no memory for %d texts at once", j->o->parallel);
}

static void summary(const batch_job *j, double seconds_taken) {
    const slots *k = &j->k;
    fprintf(stderr, "requests %zu  prompt tokens %zu, %zu of them shared  new tokens %zu  tok/s %.1f\n",
            j->n_done - j->n_kept, k->n_read + k->n_shared, k->n_shared, k->n_written,
            (double)(k->n_read + k->n_written) / (seconds_taken + 1e-9));
}

/* The exit code of a job that was not stopped. */
static int verdict(const batch_job *j) {
    if (!j->n_request) return complain(BAD_DATA, "%s: has no requests", j->in.name);
    if (!j->n_wrong) return 0;
    return complain(BAD_DATA, "%s: %zu of %zu requests are answered by an error, the first in line %zu%s%s", j->in.name,
                    j->n_wrong, j->n_request, j->first_wrong, *j->why ? ": " : "", j->why);
}

static int run_job(batch_job *j) {
    double start = seconds();
    make_fingerprint(j);
    make_name(j);
    int code = lines_open(&j->in, j->o->file);
    if (!code) code = open_output(j);
    if (!code && j->o->resume && j->out.path) code = keep_answers(j);
    if (!code) code = open_slots(j);
    if (!code && !j->o->model.quiet) fprintf(stderr, "seed: %llu\n", (unsigned long long)j->o->seed);
    j->n_all = code ? 0 : count_requests(j->o->file);
    if (!code) code = run_texts(j);
    show_progress(&j->p, 1, 1);
    int written = close_output(j);
    if (stopped()) note(j->o->model.quiet || !j->out.path, "%s has %zu answers, --resume goes on", j->out.path,
                        j->n_written);
    if (stopped()) return stopped();
    if (code > 0 || written) return code > 0 ? code : written;
    if (!j->o->model.quiet) summary(j, seconds() - start);
    return code == GO_ON ? 0 : verdict(j);
}

/* How conversations become prompts. An exit code. */
static int open_conversations(batch_job *j) {
    const batch_options *o = j->o;
    pith_error e = { 0, "" };
    pith__json v;
    int code = open_chat_form(j->m, &o->model, o->form, &j->form);
    if (!code) code = read_time(o->now, &j->now);
    if (code || !o->variables) return code;
    if (!j->form) return complain(USAGE, "--chat-template-kwargs is of a chat template, and the model has none");
    if (pith__json_read(&v, o->variables, strlen(o->variables), "--chat-template-kwargs", &e)) return complain(USAGE, "%s", e.text);
    return pith__json_type(v) == '{' ? 0 : complain(USAGE, "--chat-template-kwargs is no object, need {...}");
}

static void close_job(batch_job *j) {
    slots_close(&j->k);
    for (entry *e = j->first; e; e = j->first) {
        j->first = e->next;
        free_entry(e);
    }
    lines_close(&j->in);
    pith_template_free(j->form);
    free(j->ended);
    free(j->names.at);
}

static int check_options(batch_options *o) {
    if (!o->file) return complain(USAGE, "batch needs requests: -f FILE, - reads standard input");
    if (o->n_predict == 0) return complain(USAGE, "--n-predict is 0, need 1 or more, or -1 for no limit");
    if (o->output && !*o->output) return complain(USAGE, "-o is empty, need the name of a file");
    if (o->seed == 0) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        o->seed = ((uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000) % 1000000000 + 1;
    }
    return 0;
}

static const char batch_usage[] =
    "run batch MODEL -f REQUESTS.jsonl -o ANSWERS.jsonl [options]\n"
    "a line of JSON for each text that is wanted; a line for each answer, in the same order\n\n"
    "A request is {\"prompt\": TEXT}, {\"messages\": [{\"role\": \"user\", \"content\": TEXT}]}, or a line of\n"
    "OpenAI's batches (custom_id, method, url, body). Fields beside it, as OpenAI has them: max_tokens\n"
    "temperature top_p top_k min_p seed stop n logprobs top_logprobs logit_bias frequency_penalty\n"
    "presence_penalty repeat_penalty repeat_last_n; the options below are for requests that do not say.\n"
    "Messages go through the model's chat template, with tools, tool_choice (auto, none), reasoning_effort and\n"
    "chat_template_kwargs; what a model writes to call a tool is in its text. What a reasoning model thinks before\n"
    "its answer is given apart, as reasoning_content.\n"
    "What is written obeys response_format (json_object, json_schema), json_schema or grammar (GBNF).\n"
    "Without a seed, the texts of the file have -s, -s plus 1, ... in their order; with one, those of n\n"
    "have seed, seed plus 1, ...: each is the text that run MODEL -i TEXT -s SEED writes. (\"seed\": 0 is one of\n"
    "them, though -s 0 is the time.)\n"
    "A request that cannot be answered has an answer with \"error\"; then the exit code is 3.\n"
    "What is in ANSWERS.jsonl stays: --resume keeps its whole lines and goes on behind them.\n\n";

int verb_batch(int argc, char **argv) {
    batch_options o = { .parallel = 16, .n_predict = 256, .seed = 1, .sampling = SAMPLING_NOT_SAID };
    const flag flags[] = {
        { 'f', "file", TEXT, &o.file, 0, 0, "FILE", "the requests; - reads standard input" },
        { 'o', "output", TEXT, &o.output, 0, 0, "FILE", "the answers (standard output)" },
        { 0, "parallel", INTEGER, &o.parallel, 1, 4096, "N",
          "texts to write at once, as far as memory goes; the answers are the same (16)" },
        { 0, "resume", SWITCH, &o.resume, 0, 0, "", "go on with the answers that are there" },
        { 0, "n-predict", INTEGER, &o.n_predict, -1, INT32_MAX, "N",
          "new tokens of a text without max_tokens; -1: no limit (256)" },
        SAMPLING_FLAGS(o.sampling),
        { 's', "seed", SEED, &o.seed, 0, 0, "N", "seed of the first text without one; 0: the time (1)" },
        { 0, "parse-special", SWITCH, &o.parse_special, 0, 0, "",
          "read <|names|> in prompts as special tokens" },
        { 0, "chat-template", TEXT, &o.model.options.chat_template, 0, 0, "NAME",
          "form of messages instead of the model's template: llama2, chatml, ..." },
        { 0, "chat-template-file", TEXT, &o.form, 0, 0, "FILE", "a template instead of the model's" },
        { 0, "chat-template-kwargs", TEXT, &o.variables, 0, 0, "JSON",
          "variables for it, before chat_template_kwargs of a request: {\"enable_thinking\": false}" },
        { 0, "now", TEXT, &o.now, 0, 0, "TIME",
          "for templates that write the date: 2025-03-14T15:09:26 (the time it is)" },
        { 0, "quiet", SWITCH, &o.model.quiet, 0, 0, "", "on standard error only what is wrong" },
        LORA_FLAGS(o.model),
        MODEL_FLAGS(o.model),
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    pith_model *m = NULL;
    int code = read_flags(argc, argv, batch_usage, flags, &o.model.path);
    if (code != GO_ON) return code;
    if (!(code = check_options(&o))) code = finish_sampling(&o.sampling);
    if (!code) code = open_adapted(&o.model, 1, &m);
    if (!code) code = need_decoder(m);
    if (code) {
        close_model(&o.model, m);
        return code;
    }
    batch_job j = { .o = &o, .m = m, .lock = -1, .last = &j.first, .p = { "request", 0, 0 } };
    int whole = pith_model_shape(m)->n_ctx, n_ctx = o.model.context.n_ctx ? o.model.context.n_ctx : whole;
    code = open_conversations(&j);
    j.rules = (request_rules){ m, o.sampling.how, o.n_predict < 0 ? 0 : o.n_predict, n_ctx, o.parse_special, j.form,
                               o.variables, &j.now };
    fill_sampling(m, &j.rules.how);
    if (n_ctx > whole)
        note(o.model.quiet, "a context of %d tokens, while the model was made for %d (-c)", n_ctx, whole);
    if (!code) code = run_job(&j);
    close_job(&j);
    close_model(&o.model, m);
    return code;
}
