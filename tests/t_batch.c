/* t_batch.c - run batch: every answer is the text that its request alone would have, whatever is written beside it;
 * order, logprobs, what is shared, bad lines, and going on after a stop anywhere. The model is the one that is
 * built in. */
#define _XOPEN_SOURCE 700
#include "../tools/request.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

static char folder[] = "/tmp/pith-batch-XXXXXX";
static char said[1 << 14]; /* what the last run wrote on stderr */
static pith_model *model;

static const char *in_folder(const char *name) {
    static char path[8][64]; /* good for the next seven calls */
    static int next;
    char *p = path[next++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static void put_file(const char *name, const char *text, size_t n) {
    FILE *f = fopen(in_folder(name), "wb");
    if (!f || fwrite(text, 1, n, f) != n || fclose(f) != 0) exit(99);
}

static char *get_file(const char *name, size_t *n) { /* to be freed */
    char *p = NULL;
    if (read_text(in_folder(name), &p, n)) exit(99);
    return p;
}

/* run batch on the file in, to the file out, with flags that are separated by blanks. */
static int batch(const char *in, const char *out, const char *flags) {
    char text[512], file[64], *argv[40] = { "batch", "-f", file, "-o" };
    int argc = 5, keep;
    strcpy(file, in_folder(in));
    argv[4] = strdup(in_folder(out));
    snprintf(text, sizeof text, "%s", flags);
    for (char *word = strtok(text, " "); word && argc < 39; word = strtok(NULL, " ")) argv[argc++] = word;
    fflush(stderr);
    keep = dup(2);
    if (!freopen(in_folder("stderr"), "wb", stderr)) exit(99);
    int code = verb_batch(argc, argv);
    fflush(stderr);
    dup2(keep, 2);
    close(keep);
    free(argv[4]);
    size_t n;
    char *p = get_file("stderr", &n);
    snprintf(said, sizeof said, "%s", p);
    free(p);
    return code;
}

static int fresh(const char *in, const char *out, const char *flags) {
    unlink(in_folder(out));
    return batch(in, out, flags);
}

static int same_files(const char *a, const char *b) {
    size_t n, m;
    char *p = get_file(a, &n), *q = get_file(b, &m);
    int same = n == m && !memcmp(p, q, n);
    free(p), free(q);
    return same;
}

/* ---- answers ----------------------------------------------------------------------------------- */

static char *answers;
static pith__json line[1200];
static int n_line;

/* The lines of a file of answers. */
static void read_answers(const char *name) {
    size_t n;
    free(answers);
    answers = get_file(name, &n);
    n_line = 0;
    for (char *p = answers, *end; (end = strchr(p, '\n')) && n_line < 1200; p = end + 1) {
        pith_error e = { 0, "" };
        if (pith__json_read(&line[n_line], p, (size_t)(end - p), name, &e)) FAIL("line %d: %s", n_line + 1, e.text);
        n_line++;
    }
}

static pith__json at(pith__json j, const char *path) { /* "choices.0.text" */
    char part[64];
    for (; *path; path += *path == '.') {
        size_t n = strcspn(path, ".");
        snprintf(part, sizeof part, "%.*s", (int)n, path);
        path += n;
        pith__json item = { NULL, NULL };
        if (pith__json_type(j) == '[')
            for (int i = atoi(part); i >= 0 && pith__json_next(&j, NULL, &item); i--) continue;
        j = pith__json_type(j) == '[' || item.p ? item : pith__json_get(j, part);
    }
    return j;
}

static long long number(pith__json j, const char *path) {
    int64_t i = -1;
    return pith__json_int(at(j, path), &i) ? i : -1;
}

static void is_text(pith__json j, const char *path, const char *want) {
    pith__arena a = { NULL, 0 };
    pith__str s = { "nothing", 7 };
    pith__json_string(at(j, path), &a, &s);
    if (!pith__str_is(s, want)) FAIL("%s is \"%.*s\", want \"%s\"", path, (int)s.n, s.p, want);
    pith__arena_free(&a);
}

/* What the prompt alone becomes, in a session of its own; the tokens are in t (n). */
typedef struct {
    char text[4096];
    pith_token t[600];
    int n_prompt, n, ended;
} alone;

static void write_alone(alone *w, const pith_token *t, int n, pith_generation g) {
    pith_session *s = pith_session_new(model, NULL, NULL);
    size_t len = 0;
    memcpy(w->t, t, (size_t)n * sizeof *t);
    w->n_prompt = w->n = n;
    EQ(pith_eval(s, t, n, NULL), PITH_OK);
    while ((w->ended = pith_generate(s, &g, NULL)) >= 0) {
        memcpy(w->text + len, g.text, g.n_text);
        len += g.n_text;
        w->t[w->n++] = g.token;
        if (w->ended) break;
    }
    w->text[len] = 0;
    pith_generation_free(&g);
    pith_session_free(s);
}

static void text_alone(alone *w, const char *prompt, pith_generation g) {
    pith_token t[600];
    int n = pith_encode(model, prompt, strlen(prompt), PITH_BOS, t, 600);
    write_alone(w, t, n, g);
}

#define WITH(...) ((pith_generation){ .how = pith_sampling_default(model), __VA_ARGS__ })

/* ---- the texts --------------------------------------------------------------------------------- */

TEST(an_answer_is_the_text_that_its_prompt_has_alone) {
    static const char requests[] =
        "{\"prompt\": \"Once upon a time\", \"max_tokens\": 40}\n"
        "\n" /* no request */
        "{\"prompt\": \"The dog\", \"max_tokens\": 30, \"temperature\": 0}\r\n"
        "{\"prompt\": \"The cat\", \"max_tokens\": 20, \"seed\": 77, \"n\": 3}\n"
        "{\"prompt\": \"A bird\", \"max_tokens\": 25}\n"
        "{\"prompt\": \"Lily went\", \"max_tokens\": 60, \"stop\": [\"xyz\", \".\"]}\n"
        "{\"prompt\": \"Tom\", \"max_tokens\": 20, \"temperature\": 0, \"repeat_penalty\": 1.5, \"frequency_penalty\": 0.5}\n"
        "{\"prompt\": \"Tom\", \"max_tokens\": 9, \"temperature\": 0, \"logit_bias\": {\"300\": 100}}"; /* without a line's end */
    alone w;
    put_file("in", requests, sizeof requests - 1);
    EQ(fresh("in", "out", "--parallel 3 -s 5"), 0);
    read_answers("out");
    REQUIRE(n_line == 7);
    text_alone(&w, "Once upon a time", WITH(.rng = 5, .n_predict = 40));
    is_text(line[0], "choices.0.text", w.text);
    EQ(number(line[0], "choices.0.seed"), 5);
    EQ(number(line[0], "usage.prompt_tokens"), w.n_prompt);
    EQ(number(line[0], "usage.completion_tokens"), 40);
    EQ(number(line[0], "usage.total_tokens"), w.n);
    is_text(line[0], "choices.0.finish_reason", "length");
    text_alone(&w, "The dog", (pith_generation){ .n_predict = 30 });
    is_text(line[1], "choices.0.text", w.text);
    for (int i = 0; i < 3; i++) {
        char path[] = "choices.0.text";
        path[8] = (char)('0' + i);
        text_alone(&w, "The cat", WITH(.rng = 77 + (uint64_t)i, .n_predict = 20));
        is_text(line[2], path, w.text);
    }
    text_alone(&w, "A bird", WITH(.rng = 5 + 5, .n_predict = 25)); /* the sixth text of the file */
    is_text(line[3], "choices.0.text", w.text);
    static const char *const stop[] = { "xyz", "." };
    text_alone(&w, "Lily went", WITH(.rng = 5 + 6, .n_predict = 60, .stop = stop, .n_stop = 2));
    REQUIRE(w.ended == PITH_STOP && strlen(w.text) > 3);
    is_text(line[4], "choices.0.text", w.text);
    is_text(line[4], "choices.0.finish_reason", "stop");
    pith_generation g = { .n_predict = 20, .how = { .repeat_penalty = 1.5f, .frequency_penalty = 0.5f, .repeat_last_n = 64 } };
    text_alone(&w, "Tom", g);
    is_text(line[5], "choices.0.text", w.text);
    pith_bias bias = { 300, 100 };
    text_alone(&w, "Tom", (pith_generation){ .n_predict = 9, .how = { .bias = &bias, .n_bias = 1 } });
    CHECK(w.t[w.n - 1] == 300);
    is_text(line[6], "choices.0.text", w.text);
}

TEST(flags_are_for_requests_that_do_not_say) {
    static const char requests[] = "{\"prompt\": \"The dog\"}\n{\"prompt\": \"The dog\", \"temperature\": 1, \"max_tokens\": 12}\n"
                                   "{\"prompt\": [20, 30, 40, 50]}\n";
    static const pith_token t[] = { 20, 30, 40, 50 };
    alone w;
    put_file("in", requests, sizeof requests - 1);
    EQ(fresh("in", "out", "-t 0 --n-predict 17 --top-k 3"), 0);
    read_answers("out");
    text_alone(&w, "The dog", (pith_generation){ .n_predict = 17 });
    is_text(line[0], "choices.0.text", w.text);
    pith_generation g = WITH(.rng = 2, .n_predict = 12); /* the default of -s is 1 */
    g.how.temperature = 1, g.how.top_k = 3;
    text_alone(&w, "The dog", g);
    is_text(line[1], "choices.0.text", w.text);
    write_alone(&w, t, 4, (pith_generation){ .n_predict = 17 });
    is_text(line[2], "choices.0.text", w.text);
    EQ(number(line[2], "usage.prompt_tokens"), 4);
    EQ(fresh("in", "out", "-t 0 -c 40 --n-predict -1"), 0);
    read_answers("out");
    is_text(line[0], "choices.0.finish_reason", "length"); /* the context is full, */
    EQ(number(line[0], "usage.total_tokens"), 41);         /* and its last position gives a token */
}

TEST(conversations) {
    static const char requests[] =
        "{\"custom_id\": \"a\", \"method\": \"POST\", \"url\": \"/v1/chat/completions\", \"body\": {\"model\": \"m\", \"max_tokens\": 11,"
        "\"messages\": [{\"role\": \"system\", \"content\": \"Be kind\"}, {\"role\": \"user\", \"content\": \"Hi\"}]}}\n"
        "{\"id\": 17, \"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"max_completion_tokens\": 5}\n"
        "{\"custom_id\": \"b\", \"url\": \"/v1/completions\", \"body\": {\"prompt\": \"The dog\", \"max_tokens\": 5, \"seed\": 3}}\n";
    static const pith_turn turns[] = { { .role = "system", .text = "Be kind" }, { .role = "user", .text = "Hi" } };
    pith_token t[600], eos = pith_model_shape(model)->eos;
    alone w;
    put_file("in", requests, sizeof requests - 1);
    EQ(fresh("in", "out", "--chat-template chatml -s 9"), 0);
    read_answers("out");
    REQUIRE(n_line == 3);
    int n = pith_encode_chat(model, turns, 2, t, 600, NULL);
    write_alone(&w, t, n, WITH(.rng = 9, .n_predict = 11, .end = &eos, .n_end = 1));
    is_text(line[0], "custom_id", "a");
    EQ(number(line[0], "response.status_code"), 200);
    is_text(line[0], "response.body.object", "chat.completion");
    is_text(line[0], "response.body.model", "m");
    is_text(line[0], "response.body.choices.0.message.role", "assistant");
    is_text(line[0], "response.body.choices.0.message.content", w.text);
    EQ(pith__json_type(at(line[0], "error")), 'n');
    n = pith_encode_chat(model, turns + 1, 1, t, 600, NULL);
    write_alone(&w, t, n, WITH(.rng = 10, .n_predict = 5, .end = &eos, .n_end = 1));
    is_text(line[1], "choices.0.message.content", w.text);
    EQ(number(line[1], "id"), 17);
    text_alone(&w, "The dog", WITH(.rng = 3, .n_predict = 5));
    is_text(line[2], "response.body.choices.0.text", w.text);
}

/* ---- logprobs ---------------------------------------------------------------------------------- */

/* log softmax at every token of the text, in the sums of run score. */
static double logprob_at(const alone *w, int i, pith_token t) {
    static float *x;
    static const alone *of;
    int n_vocab = pith_model_shape(model)->n_vocab;
    if (of != w) {
        pith_session *s = pith_session_new(model, NULL, NULL);
        x = realloc(x, sizeof *x * (size_t)n_vocab * 600);
        if (!x || pith__eval_all(s, w->t, w->n, x, NULL)) exit(99);
        pith_session_free(s);
        of = w;
    }
    const float *row = x + (size_t)(i - 1) * (size_t)n_vocab;
    double most = -INFINITY, sum = 0;
    for (int k = 0; k < n_vocab; k++) most = row[k] > most ? row[k] : most;
    for (int k = 0; k < n_vocab; k++) sum += exp(row[k] - most);
    return row[t] - most - log(sum);
}

static double real(pith__json j, const char *path) {
    double x = NAN;
    return pith__json_float(at(j, path), &x) ? x : NAN;
}

TEST(logprobs_are_those_that_score_has) {
    static const char requests[] =
        "{\"prompt\": \"Once upon a time\", \"max_tokens\": 12, \"logprobs\": true, \"top_logprobs\": 3, \"seed\": 4}\n"
        "{\"prompt\": \"Once upon a time\", \"max_tokens\": 12, \"logprobs\": 2, \"seed\": 4}\n"
        "{\"prompt\": \"Once upon a time\", \"max_tokens\": 12, \"logprobs\": true, \"seed\": 4}\n"
        "{\"prompt\": \"Once upon a time\", \"max_tokens\": 60, \"logprobs\": 0, \"seed\": 4, \"stop\": \".\"}\n";
    static alone w;
    char path[64];
    put_file("in", requests, sizeof requests - 1);
    EQ(fresh("in", "out", ""), 0);
    read_answers("out");
    text_alone(&w, "Once upon a time", WITH(.rng = 4, .n_predict = 12));
    EQ(pith__json_count(at(line[0], "choices.0.logprobs.content")), 12);
    size_t offset = 0;
    for (int i = 0; i < 12; i++) {
        size_t n;
        const char *text = pith_text(model, w.t[w.n_prompt + i - 1], w.t[w.n_prompt + i], &n);
        char shown[64];
        snprintf(shown, sizeof shown, "%.*s", (int)n, text);
        double want = logprob_at(&w, w.n_prompt + i, w.t[w.n_prompt + i]);
        snprintf(path, sizeof path, "choices.0.logprobs.content.%d.logprob", i);
        NEAR(real(line[0], path), want, 6e-7);
        NEAR(real(line[2], path), want, 6e-7);
        snprintf(path, sizeof path, "choices.0.logprobs.content.%d.token", i);
        is_text(line[0], path, shown);
        snprintf(path, sizeof path, "choices.0.logprobs.content.%d.bytes.0", i);
        EQ(number(line[0], path), (unsigned char)text[0]);
        double before = 1;
        for (int k = 0; k < 3; k++) { /* the likeliest first; the first of all is the maximum */
            snprintf(path, sizeof path, "choices.0.logprobs.content.%d.top_logprobs.%d.logprob", i, k);
            double x = real(line[0], path);
            CHECK(x < before);
            before = x;
            if (k) continue;
            for (pith_token t = 0; t < pith_model_shape(model)->n_vocab; t++)
                if (!(logprob_at(&w, w.n_prompt + i, t) <= x + 6e-7)) FAIL("token %d is likelier", t);
        }
        snprintf(path, sizeof path, "choices.0.logprobs.token_logprobs.%d", i);
        NEAR(real(line[1], path), want, 6e-7);
        snprintf(path, sizeof path, "choices.0.logprobs.tokens.%d", i);
        is_text(line[1], path, shown);
        snprintf(path, sizeof path, "choices.0.logprobs.top_logprobs.%d", i);
        double among = NAN; /* it is always among them */
        CHECK(pith__json_float(pith__json_get(at(line[1], path), shown), &among));
        NEAR(among, want, 6e-7);
        snprintf(path, sizeof path, "choices.0.logprobs.text_offset.%d", i);
        EQ(number(line[1], path), (long long)offset);
        offset += n;
    }
    EQ(pith__json_count(at(line[2], "choices.0.logprobs.content.0.top_logprobs")), 0);
    pith__json all = at(line[3], "choices.0.logprobs.tokens"), item, last = { NULL, NULL };
    for (int i = 0; pith__json_next(&all, NULL, &item); i++) last = item;
    CHECK(!pith__json_is(last, ".")); /* the stop text is not in the text */
    CHECK(pith__json_count(at(line[3], "choices.0.logprobs.tokens")) > 3);
    EQ(pith__json_type(at(line[3], "choices.0.logprobs.top_logprobs")), 'n');
}

/* ---- beside each other ------------------------------------------------------------------------- */

static const char preamble[] = "Once upon a time there was a little girl named Lily who loved to play in the park with her "
                               "friends and her dog. One day she";

/* Some n requests of all kinds and lengths, wrong ones among them; two of three begin with the same words. */
static void put_mix(const char *name, int n) {
    static const char *const ends[] = { " saw a", " ran to the", " and Ben", " was not" };
    char *text = malloc((size_t)n * 500), *p = text;
    uint64_t seed = 3;
    for (int i = 0; i < n; i++) {
        int r = (int)(1000 * (1 + fixture_random(&seed)));
        if (i % 17 == 11) {
            p += sprintf(p, r & 1 ? "{\"prompt\": \n" : "{\"prompt\": \"a\", \"n\": 0}\n");
            continue;
        }
        p += sprintf(p, "{\"prompt\": \"%s%s\", \"max_tokens\": %d", i % 3 ? preamble : "The dog", ends[r & 3], 1 + r % 40);
        if (i % 5 == 0) p += sprintf(p, ", \"n\": %d", 2 + r % 3);
        if (i % 7 == 0) p += sprintf(p, ", \"logprobs\": %d", r % 4);
        if (i % 4 == 0) p += sprintf(p, ", \"seed\": %d", r);
        p += sprintf(p, i % 8 == 3 ? ", \"stop\": \".\"}\n\n" : "}\n");
    }
    put_file(name, text, (size_t)(p - text));
    free(text);
}

static int shared_tokens(void) {
    const char *p = strstr(said, " of them shared"), *q = p;
    while (q && q > said && q[-1] != ' ') q--;
    return q ? atoi(q) : -1;
}

TEST(the_bytes_are_the_same_however_many_are_written_at_once) {
    enum { LINES = BRIEF ? 20 : 60 };
    put_mix("mix", LINES);
    EQ(fresh("mix", "mix1", "--parallel 1"), BAD_DATA);
    EQ(fresh("mix", "mix2", "--parallel 2"), BAD_DATA);
    EQ(fresh("mix", "mix7", "--parallel 7"), BAD_DATA);
    EQ(fresh("mix", "mix100", "--parallel 100 --threads 3"), BAD_DATA);
    CHECK(same_files("mix1", "mix2") && same_files("mix1", "mix7") && same_files("mix1", "mix100"));
    read_answers("mix1");
    EQ(n_line, LINES);
}

TEST(what_prompts_begin_with_is_read_once) {
    char text[3000], *p = text;
    pith_token t[600];
    int n = pith_encode(model, preamble, strlen(preamble), PITH_BOS, t, 600);
    for (int i = 0; i < 12; i++) {
        char prompt[256];
        snprintf(prompt, sizeof prompt, "%s %c%c", i % 3 ? preamble : "The dog", 'a' + i, 'k' + i);
        p += sprintf(p, "{\"prompt\": \"%s\", \"max_tokens\": 8}\n", prompt);
    }
    put_file("in", text, (size_t)(p - text));
    EQ(fresh("in", "out1", "--parallel 1"), 0);
    CHECK(shared_tokens() >= 7 * (n - 1)); /* of eight such prompts, seven have it from the first */
    EQ(fresh("in", "out5", "--parallel 5"), 0);
    CHECK(shared_tokens() >= 7 * (n - 1));
    CHECK(same_files("out1", "out5"));
    p = text + sprintf(text, "{\"prompt\": \"%s\", \"max_tokens\": 8, \"n\": 6}\n", preamble);
    put_file("in", text, (size_t)(p - text));
    EQ(fresh("in", "out", "--parallel 4"), 0);
    CHECK(shared_tokens() >= 5 * (n - 1));
}

/* ---- going on ---------------------------------------------------------------------------------- */

TEST(a_job_that_was_cut_anywhere_goes_on_to_the_same_bytes) {
    size_t n;
    put_mix("mix", 25);
    EQ(fresh("mix", "whole", "--parallel 4"), BAD_DATA);
    char *whole = get_file("whole", &n);
    for (size_t cut = 0; cut < n; cut += 1 + cut / 3 + n / (BRIEF ? 5 : 40)) {
        put_file("part", whole, cut);
        EQ(batch("mix", "part", "--resume --parallel 3"), BAD_DATA);
        if (!same_files("whole", "part")) FAIL("cut to %zu of %zu bytes", cut, n);
    }
    char *second = strchr(whole, '\n') + 1; /* just before, at and behind the end of a line */
    for (int k = -1; k <= 1; k++) {
        put_file("part", whole, (size_t)(second - whole + k));
        EQ(batch("mix", "part", "--resume"), BAD_DATA);
        CHECK(same_files("whole", "part"));
    }
    EQ(batch("mix", "part", "--resume"), BAD_DATA); /* all is there */
    CHECK(same_files("whole", "part") && strstr(said, "25 answers already"));
    EQ(fresh("mix", "part", "--resume"), BAD_DATA); /* nothing is there */
    CHECK(same_files("whole", "part"));
    free(whole);
}

TEST(answers_of_others_are_not_gone_on_with) {
    static const char one[] = "{\"prompt\": \"a\", \"id\": \"x\", \"max_tokens\": 3}\n{\"prompt\": \"b\", \"max_tokens\": 3}\n";
    static const char other[] = "{\"prompt\": \"a\", \"id\": \"x\", \"max_tokens\": 3}\n{\"prompt\": \"c\", \"max_tokens\": 3}\n";
    static const char named[] = "{\"prompt\": \"a\", \"id\": \"y\", \"max_tokens\": 3}\n{\"prompt\": \"b\", \"max_tokens\": 3}\n";
    size_t n;
    put_file("in", one, sizeof one - 1);
    EQ(fresh("in", "out", ""), 0);
    char *before = get_file("out", &n);
    EQ(batch("in", "out", ""), USAGE); /* without --resume */
    CHECK(strstr(said, "--resume goes on with it"));
    EQ(batch("in", "out", "--resume -s 2"), BAD_DATA);
    CHECK(strstr(said, "other flags"));
    EQ(batch("in", "out", "--resume -t 0.5"), BAD_DATA);
    size_t size; /* the same model, but for one number */
    const char *data = bundled_model(&size);
    char *changed = malloc(size), flags[100];
    memcpy(changed, data, size);
    changed[(const char *)model->embd.tensor.data + 9 - data] ^= 1;
    put_file("model", changed, size);
    free(changed);
    snprintf(flags, sizeof flags, "--resume %s", in_folder("model"));
    EQ(batch("in", "out", flags), BAD_DATA);
    CHECK(strstr(said, "of another model"));
    put_file("in", other, sizeof other - 1);
    EQ(batch("in", "out", "--resume"), BAD_DATA);
    CHECK(strstr(said, "line 2 does not answer line 2"));
    put_file("in", named, sizeof named - 1);
    EQ(batch("in", "out", "--resume"), BAD_DATA);
    CHECK(strstr(said, "line 1 does not answer line 1"));
    put_file("in", one, (size_t)(strchr(one, '\n') + 1 - one));
    EQ(batch("in", "out", "--resume"), BAD_DATA);
    CHECK(strstr(said, "more answers than"));
    put_file("before", before, n);
    CHECK(same_files("out", "before")); /* it is as it was */
    put_file("in", one, sizeof one - 1);
    put_file("out", "my letter\n", 10);
    EQ(batch("in", "out", "--resume"), BAD_DATA);
    CHECK(strstr(said, "line 1 is no answer"));
    put_file("out", "my letter", 9);
    EQ(batch("in", "out", "--resume"), BAD_DATA);
    CHECK(strstr(said, "does not end in an answer"));
    put_file("before", "my letter", 9);
    CHECK(same_files("out", "before"));
    EQ(batch("in", "in", "--resume"), USAGE);
    CHECK(strstr(said, "is what is read"));
    free(before);
}

/* ---- bad lines --------------------------------------------------------------------------------- */

TEST(a_bad_line_has_an_error_and_the_others_their_answers) {
    static const struct { const char *line, *words; } bad[] = {
        { "{\"prompt\": ", "byte 11" }, { "[1, 2]", "need an object" }, { "\"a\"", "need an object" },
        { "{\"prompt\": \"\xff\"}", "UTF-8" }, { "{\"prompt\": \"a\", \"seed\": -1}", "seed is -1" },
        { "{\"prompt\": \"a\", \"n\": 0}", "n is 0" }, { "{\"prompt\": \"a\", \"temperature\": \"hot\"}", "\"hot\"" },
        { "{\"prompt\": \"a\", \"id\": 1.5}", "id is 1.5" }, { "{\"prompt\": \"a\", \"id\": 7}", "an earlier line" },
        { "{\"prompt\": \"a\", \"id\": []}", "id is []" },
        { "{\"custom_id\": \"c\", \"url\": \"/v1/embeddings\", \"body\": {}}", "url is \"/v1/embeddings\"" },
        { "{\"custom_id\": \"d\", \"url\": \"/v1/completions\", \"body\": 5}", "body is 5" },
        { "{\"custom_id\": \"e\", \"url\": \"/v1/completions\"}", "has no body" },
        { "{\"custom_id\": \"f\", \"method\": \"GET\", \"url\": \"/v1/completions\", \"body\": {}}", "method is \"GET\"" },
        { "{\"url\": \"/v1/completions\", \"body\": {\"prompt\": \"a\"}}", "no custom_id" },
        { "{\"custom_id\": \"g\", \"url\": \"/v1/chat/completions\", \"body\": {\"prompt\": \"a\"}}", "messages in the body" },
        { "{\"custom_id\": \"h\", \"url\": \"/v1/completions\", \"body\": {\"prompt\": \"a\", \"n\": 0}}", "n is 0" },
        { "{\"prompt\": \"a\"} x", "byte" },
    };
    enum { N_BAD = sizeof bad / sizeof *bad };
    char text[8000], *p = text + sprintf(text, "{\"prompt\": \"a\", \"max_tokens\": 2, \"id\": 7}\n");
    for (int i = 0; i < N_BAD; i++) p += sprintf(p, "%s\n", bad[i].line);
    p += sprintf(p, "{\"prompt\": \"b\", \"max_tokens\": 2}\n");
    put_file("in", text, (size_t)(p - text));
    EQ(fresh("in", "out", ""), BAD_DATA);
    CHECK(strstr(said, "18 of 20 requests are answered by an error, the first in line 2: "));
    read_answers("out");
    EQ(n_line, N_BAD + 2);
    EQ(number(line[0], "usage.completion_tokens"), 2);
    for (int i = 0; i < N_BAD && i + 1 < n_line; i++) {
        pith__arena a = { NULL, 0 };
        pith__str s = { "", 0 };
        char shown[300];
        pith__json_string(at(line[i + 1], "error.message"), &a, &s);
        snprintf(shown, sizeof shown, "%.*s", (int)s.n, s.p);
        if (!strstr(shown, bad[i].words)) FAIL("%s: %s", bad[i].line, shown);
        EQ(number(line[i + 1], "line"), i + 2);
        is_text(line[i + 1], "error.type", "invalid_request_error");
        if (strstr(bad[i].line, "body")) EQ(number(line[i + 1], "response.status_code"), 400);
        pith__arena_free(&a);
    }
    EQ(number(line[N_BAD + 1], "usage.completion_tokens"), 2);
}

TEST(large_and_empty_files) {
    enum { LONG = 10 << 20 };
    char *text = malloc(LONG + 200), *p = text + sprintf(text, "{\"prompt\": \"");
    for (int i = 0; i < LONG / 8; i++) p += sprintf(p, "%07d ", i % 9999999);
    p += sprintf(p, "\"}\n{\"prompt\": \"a\", \"max_tokens\": 2}\n");
    put_file("in", text, (size_t)(p - text));
    free(text);
    EQ(fresh("in", "out", ""), BAD_DATA);
    read_answers("out");
    is_text(line[0], "error.code", "context_length_exceeded");
    EQ(number(line[1], "usage.completion_tokens"), 2);
    put_file("in", "", 0);
    EQ(fresh("in", "out", ""), BAD_DATA);
    CHECK(strstr(said, "has no requests"));
    put_file("in", "\n \r\n", 4);
    EQ(fresh("in", "out", ""), BAD_DATA);
    CHECK(strstr(said, "has no requests"));
}

/* Many lines: those that are ready wait for the first, but no more than so many. */
TEST(answers_stand_in_order) {
    char *text = malloc(300000), *p = text + sprintf(text, "{\"prompt\": \"Once\", \"max_tokens\": 400, \"id\": 0}\n");
    for (int i = 1; i < 1150; i++)
        p += sprintf(p, i % 40 ? "{\"prompt\": \"a\", \"n\": 0, \"id\": %d}\n" : "{\"prompt\": \"a\", \"max_tokens\": 1, \"id\": %d}\n", i);
    put_file("in", text, (size_t)(p - text));
    free(text);
    EQ(fresh("in", "out", "--parallel 4"), BAD_DATA);
    read_answers("out");
    EQ(n_line, 1150);
    for (int i = 0; i < n_line; i++) EQ(number(line[i], "id"), i);
}

int main(void) {
    size_t size;
    const void *p = bundled_model(&size);
    if (!mkdtemp(folder)) return 99;
    model = pith_open_memory(p, size, &(pith_options){ .chat_template = "chatml" }, NULL);
    if (!model) return puts("Bail out! no model"), 99;
    RUN(an_answer_is_the_text_that_its_prompt_has_alone);
    RUN(flags_are_for_requests_that_do_not_say);
    RUN(conversations);
    RUN(logprobs_are_those_that_score_has);
    RUN(the_bytes_are_the_same_however_many_are_written_at_once);
    RUN(what_prompts_begin_with_is_read_once);
    RUN(a_job_that_was_cut_anywhere_goes_on_to_the_same_bytes);
    RUN(answers_of_others_are_not_gone_on_with);
    RUN(a_bad_line_has_an_error_and_the_others_their_answers);
    RUN(large_and_empty_files);
    RUN(answers_stand_in_order);
    free(answers);
    pith_close(model);
    static const char *const left[] = { "in", "out", "out1", "out5", "mix", "mix1", "mix2", "mix7", "mix100", "whole",
                                        "part", "before", "model", "stderr" };
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) unlink(in_folder(left[i]));
    rmdir(folder);
    return DONE();
}
