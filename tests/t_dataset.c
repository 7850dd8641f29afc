/* t_dataset.c - texts to tokens, held-out parts, and the order in which windows come. */
#define _XOPEN_SOURCE 700
#include "fixture.h"
#include "test.h"
#include "../train/train.h"

#include <stdlib.h>
#include <unistd.h>

static char folder[] = "/tmp/pith-dataset-XXXXXX";

static const char *in_folder(const char *name) {
    static char path[8][128]; /* good for the next seven calls */
    static int next;
    char *p = path[next++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static const char *text_file(const char *name, const char *text, size_t n) {
    const char *path = in_folder(name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(text, 1, n, f) != n || fclose(f) != 0) exit(99);
    return path;
}

/* Its vocabulary: all bytes and a few words, BOS 1. */
static pith_model *tiny_model(void) {
    static char bin[128], tok[128];
    bytes model = fixture_llama2c(&fixture_tiny, 0, 1), vocab = fixture_tokenizer();
    strcpy(bin, in_folder("m.bin")), strcpy(tok, in_folder("m.tok"));
    if (save(&model, bin) || save(&vocab, tok)) exit(99);
    free(model.p);
    free(vocab.p);
    pith_options opt = { .tokenizer = tok };
    pith_model *m = pith_open(bin, &opt, NULL);
    if (!m) exit(99);
    return m;
}

static uint64_t rng = 5;

/* n documents of some words; each begins with its number, so no two are the same. */
static char *documents_text(int n, const char *between) {
    static const char *const word[] = { "the ", "once ", "upon ", "a ", "time ", "mist ", "x", "12 ", ".\n" };
    char *s = calloc((size_t)n, 400), *p = s;
    if (!s) exit(99);
    for (int i = 0; i < n; i++) {
        p += sprintf(p, "%s%d ", i ? between : "", i);
        for (int k = 0; k < 30; k++) p += sprintf(p, "%s", word[(int)((fixture_random(&rng) + 1) * 4.49f)]);
    }
    return s;
}

static int open_text(pith__dataset *d, const pith_model *m, const char *path, float hold_out) {
    pith__text_choice c = { .train = { (const char *[]){ path }, 1 }, .hold_out = hold_out };
    pith_error e = { 0, "" };
    int code = pith__dataset_open(d, m, &c, in_folder("tokens"), NULL, &e);
    if (code) printf("# %s\n", e.text);
    return code;
}

static int complains(const char *path, const char *text, size_t n) { /* the error's code; it names the file */
    pith_model *m = tiny_model();
    pith__dataset d = { 0 };
    pith_error e = { 0, "" };
    pith__text_choice c = { .train = { (const char *[]){ text_file(path, text, n) }, 1 } };
    int code = pith__dataset_open(&d, m, &c, in_folder("tokens"), NULL, &e);
    if (code) CHECK(strstr(e.text, path));
    pith__dataset_close(&d);
    pith_close(m);
    return code;
}

/* ---- the tokens -------------------------------------------------------------------------------------- */

static uint16_t token_at(const pith__dataset *d, size_t i) {
    uint16_t t;
    memcpy(&t, d->file.data + 64 + 2 * i, 2);
    return t;
}

TEST(every_document_begins_with_bos) {
    pith_model *m = tiny_model();
    char *text = documents_text(7, "\n<|endoftext|>\n");
    pith__dataset d;
    REQUIRE(open_text(&d, m, text_file("t.txt", text, strlen(text)), 0) == 0);
    int n_bos = 0;
    for (size_t i = 0; i < d.n_train; i++) n_bos += token_at(&d, i) == 1;
    EQ(n_bos, 7);
    EQ(token_at(&d, 0), 1);
    EQ(d.n_eval, 0);
    char *end = strstr(text, "\n<|endoftext|>"); /* the first one's tokens are those of its text, trimmed */
    while (end[-1] == ' ' || end[-1] == '\n') end--;
    pith_token want[500];
    int n = pith_encode(m, text, (size_t)(end - text), PITH_BOS, want, 500);
    for (int i = 0; i < n; i++) EQ(token_at(&d, (size_t)i), want[i]);
    EQ(token_at(&d, (size_t)n), 1);
    pith__dataset_close(&d);
    free(text);
    pith_close(m);
}

TEST(jsonl_is_the_same_as_text) {
    pith_model *m = tiny_model();
    static const char text[] = "the \"mist\"\nonce<|endoftext|>a \xc3\xa9 time";
    static const char json[] = "{\"id\": 1, \"text\": \" the \\\"mist\\\"\\nonce\\n\"}\n\n"
                               "{\"text\": \"a \\u00e9 time\"}";
    pith__dataset d, e;
    pith__text_choice c = { .train = { (const char *[]){ text_file("t.txt", text, sizeof text - 1) }, 1 } };
    REQUIRE(pith__dataset_open(&d, m, &c, in_folder("a"), NULL, NULL) == 0);
    c.train.path = (const char *[]){ text_file("t.jsonl", json, sizeof json - 1) };
    REQUIRE(pith__dataset_open(&e, m, &c, in_folder("b"), NULL, NULL) == 0);
    EQ(e.n_train, d.n_train);
    for (size_t i = 0; i < d.n_train && i < e.n_train; i++) EQ(token_at(&e, i), token_at(&d, i));
    pith__dataset_close(&d);
    pith__dataset_close(&e);
    pith_close(m);
}

/* The same two documents, however they are spelled, are the same tokens; what only looks like JSON is prose. */
TEST(json_is_told_by_its_content) {
    static const struct { const char *name, *text; } same[] = {
        { "a.JSONL", "{\"text\": \"once upon\\nthe time\"}\r\n{\"text\": \"mist\"}\r\n" },
        { "b.txt", "\xef\xbb\xbf{\"text\": \"once upon\\nthe time\"}\n{\"text\": \"mist\"}" },
        { "c.json", "[{\"text\": \"once upon\\nthe time\", \"id\": [1]}, {\"text\": \"mist\"}]" },
        { "d.txt", " [\n\"once upon\\nthe time\",\n\"mist\"]\n" },
        { "e.txt", "\xef\xbb\xbfonce upon\r\nthe time<|endoftext|>\r\nmist\r\n" },
        { "f.txt", "{\"text\": \"once upon\\r\\nthe time\"}\n{\"text\": \"mist\"}" },
    };
    pith_model *m = tiny_model();
    pith__dataset want, d;
    const char *plain = "once upon\nthe time<|endoftext|>mist";
    pith__text_choice c = { .train = { (const char *[]){ text_file("t.txt", plain, strlen(plain)) }, 1 } };
    REQUIRE(pith__dataset_open(&want, m, &c, in_folder("want"), NULL, NULL) == 0);
    EQ(want.kinds, 1 << PITH__PROSE);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        REQUIRE(open_text(&d, m, text_file(same[i].name, same[i].text, strlen(same[i].text)), 0) == 0);
        EQ(d.n_train, want.n_train);
        for (size_t k = 0; k < d.n_train && k < want.n_train; k++) EQ(token_at(&d, k), token_at(&want, k));
        EQ(d.kinds, 1 << (i < 2 || i == 5 ? PITH__JSON_LINES : i < 4 ? PITH__JSON_ARRAY : PITH__PROSE));
        pith__dataset_close(&d);
    }
    pith__dataset_close(&want);
    static const char *const prose[] = { "[Chapter 1] It was", "{ it began", "[1, 2", "{}x" };
    for (size_t i = 0; i < sizeof prose / sizeof *prose; i++) {
        REQUIRE(open_text(&d, m, text_file("p.txt", prose[i], strlen(prose[i])), 0) == 0);
        EQ(d.kinds, 1 << PITH__PROSE);
        pith__dataset_close(&d);
    }
    pith_close(m);
}

/* The tokens of another vocabulary, or of the same with another rule, are others. */
TEST(the_key_knows_every_rule) {
    pith_model *m = tiny_model();
    pith__vocab *v = &m->store.vocab;
    int *const rule[] = { &v->add_space, &v->nfc, &v->late_spaces, &v->split_words, &v->fuse_unk, &v->ignore_merges,
                          &v->byte_fallback, &v->bos, &v->unk };
    float score[FIXTURE_VOCAB], *old = v->score;
    uint8_t type[FIXTURE_VOCAB], *old_type = v->type;
    pith__dataset d;
    char path[128];
    strcpy(path, text_file("t.txt", "the time is", 11));
    REQUIRE(open_text(&d, m, path, 0) == 0);
    uint64_t key = d.key;
    pith__dataset_close(&d);
    for (size_t i = 0; i < sizeof rule / sizeof *rule + 2; i++) {
        size_t n = sizeof rule / sizeof *rule;
        memcpy(score, old, sizeof score), memcpy(type, old_type, sizeof type);
        score[280] += 1, type[281] = PITH__USER;
        if (i < n) *rule[i] += 1;
        if (i == n) v->score = score;
        if (i == n + 1) v->type = type;
        REQUIRE(open_text(&d, m, path, 0) == 0);
        if (d.key == key) FAIL("rule %zu", i);
        pith__dataset_close(&d);
        if (i < n) *rule[i] -= 1;
        v->score = old, v->type = old_type;
    }
    char again[128];
    strcpy(again, text_file("t.jsonl", "{\"text\": \"a\"}", 13)); /* the same bytes, read otherwise */
    REQUIRE(open_text(&d, m, again, 0) == 0);
    key = d.key;
    pith__dataset_close(&d);
    REQUIRE(open_text(&d, m, text_file("t.csv", "{\"text\": \"a\"}", 13), 0) == 0);
    EQ(d.key == key, 1); /* JSON by its content */
    pith__dataset_close(&d);
    pith_close(m);
}

static int stop_after(void *data, const char *what, size_t done, size_t all) {
    int *left = data;
    CHECK(what && done <= all);
    return --*left < 0;
}

/* One document of two megabytes asks many times whether to go on, and leaves nothing behind when it is not to. */
TEST(long_work_can_be_stopped) {
    enum { LONG = 2 << 20 };
    pith_model *m = tiny_model();
    char *text = malloc(LONG);
    if (!text) exit(99);
    memset(text, 'a', LONG);
    char path[128];
    strcpy(path, text_file("long.txt", text, LONG));
    pith__text_choice c = { .train = { (const char *[]){ path }, 1 } };
    unlink(in_folder("tokens"));
    for (int calls = 0; calls < 30; calls += 13) {
        int left = calls;
        pith__progress p = { stop_after, &left };
        pith_error e = { 0, "" };
        pith__dataset d;
        EQ(pith__dataset_open(&d, m, &c, in_folder("tokens"), &p, &e), PITH_ESTOP);
        if (e.code != PITH_ESTOP) printf("# %s\n", e.text);
        CHECK(access(in_folder("tokens"), F_OK) != 0);
        left = calls;
        pith__arena a = { NULL, 0 };
        pith__vocab v;
        pith__vocab_plan plan = { .model = PITH__SPM, .size = 270 };
        if (calls < 10) EQ(pith__learn_vocab(&v, &a, &c.train, &plan, &p, &e), PITH_ESTOP);
        pith__arena_free(&a);
    }
    free(text);
    pith_close(m);
}

TEST(what_is_held_out_is_not_learned) {
    pith_model *m = tiny_model();
    char *text = documents_text(400, "<|endoftext|>");
    pith__dataset all, d, count;
    pith__text_choice c = { .train = { (const char *[]){ text_file("t.txt", text, strlen(text)) }, 1 }, .hold_out = 0.2f };
    REQUIRE(pith__dataset_open(&d, m, &c, in_folder("d"), NULL, NULL) == 0);
    EQ(pith__dataset_count(&count, m, &c, NULL, NULL), 0);
    c.hold_out = 0;
    REQUIRE(pith__dataset_open(&all, m, &c, in_folder("all"), NULL, NULL) == 0);
    EQ(d.n_train + d.n_eval, all.n_train);
    EQ(count.n_train, d.n_train);
    EQ(count.n_eval, d.n_eval);
    NEAR((double)d.n_eval / (double)all.n_train, 0.2, 0.06);
    NEAR((double)d.eval_bytes / (double)strlen(text), 0.2, 0.06);
    c.eval = c.train.path[0]; /* a text of its own: nothing is held out */
    char other[128];
    strcpy(other, c.eval);
    c.eval = other;
    c.hold_out = 0.2f;
    pith__dataset_close(&d);
    REQUIRE(pith__dataset_open(&d, m, &c, in_folder("d"), NULL, NULL) == 0);
    EQ(d.n_train, all.n_train);
    EQ(d.n_eval, all.n_train);
    pith__dataset_close(&d);
    pith__dataset_close(&all);
    free(text);
    pith_close(m);
}

TEST(one_long_text_keeps_its_end_back) {
    pith_model *m = tiny_model();
    char *text = documents_text(1, "");
    pith__dataset d;
    pith__text_choice c = { .train = { (const char *[]){ text_file("t.txt", text, strlen(text)) }, 1 }, .hold_out = 0.3f };
    REQUIRE(pith__dataset_open(&d, m, &c, in_folder("d"), NULL, NULL) == 0);
    CHECK(d.n_eval > 10 && d.n_train > d.n_eval);
    EQ(token_at(&d, d.n_train), 1);
    CHECK(d.eval_bytes <= strlen(text) * 3 / 10 + 1);
    pith__dataset_close(&d);
    free(text);
    pith_close(m);
}

/* ---- windows ----------------------------------------------------------------------------------------- */

/* Where on the ring these tokens stand; -1: nowhere. */
static long place_of(const pith__dataset *d, const pith_token *t, int n) {
    for (size_t i = 0; i < d->n_train; i++) {
        int k = 0;
        while (k < n && token_at(d, (i + (size_t)k) % d->n_train) == t[k]) k++;
        if (k == n) return (long)i;
    }
    return -1;
}

TEST(an_epoch_has_every_window_once) {
    enum { CONTEXT = 32 };
    pith_model *m = tiny_model();
    char *text = documents_text(60, "<|endoftext|>");
    pith__dataset d;
    pith_token t[CONTEXT + 1], first[CONTEXT + 1], again[CONTEXT + 1];
    REQUIRE(open_text(&d, m, text_file("t.txt", text, strlen(text)), 0) == 0);
    uint64_t n = pith__dataset_windows(&d, CONTEXT);
    EQ(n, (d.n_train + CONTEXT - 1) / CONTEXT);
    unsigned long order[4] = { 0, 0, 0, 0 };
    for (uint64_t epoch = 0; epoch < 4; epoch++) {
        char *seen = calloc(d.n_train, 1);
        int begins = 0;
        for (uint64_t i = 0; i < n; i++) {
            pith__dataset_window(&d, CONTEXT, 9, epoch * n + i, t);
            long at = place_of(&d, t, CONTEXT + 1);
            REQUIRE(at >= 0);
            for (int k = 0; k < CONTEXT; k++) seen[(size_t)(at + k) % d.n_train]++;
            begins += t[0] == 1;
            order[epoch] = order[epoch] * 31 + (unsigned long)at;
        }
        if (epoch % 2 == 0) CHECK(begins > 0);
        size_t twice = 0;
        for (size_t k = 0; k < d.n_train; k++) CHECK(seen[k] == 1 || seen[k] == 2), twice += seen[k] == 2;
        EQ(twice, n * CONTEXT - d.n_train); /* what the last window has over */
        free(seen);
    }
    CHECK(order[0] != order[1] && order[1] != order[2] && order[0] != order[2]);
    pith__dataset_window(&d, CONTEXT, 9, 5, first);
    pith__dataset_window(&d, CONTEXT, 9, 5 + n, again);
    pith__dataset_window(&d, CONTEXT, 9, 5, again);
    EQ(memcmp(first, again, sizeof first), 0);
    int same = 0;
    for (uint64_t i = 0; i < n; i++) {
        pith__dataset_window(&d, CONTEXT, 9, i, first);
        pith__dataset_window(&d, CONTEXT, 10, i, again);
        same += !memcmp(first, again, sizeof first);
    }
    CHECK(same < (int)n / 4); /* another seed, another order */
    pith__dataset_close(&d);
    free(text);
    pith_close(m);
}

/* A novel has one beginning. Every other epoch has a window that begins there, and each learns that the end
 * leads to it. */
TEST(a_text_of_one_document_is_begun_and_ended) {
    enum { CONTEXT = 8, EPOCHS = 200 };
    pith_model *m = tiny_model();
    char *text = documents_text(1, "");
    pith__dataset d;
    pith_token t[CONTEXT + 1];
    REQUIRE(open_text(&d, m, text_file("t.txt", text, strlen(text)), 0) == 0);
    uint64_t n = pith__dataset_windows(&d, CONTEXT);
    CHECK(n > 4);
    int begun = 0, ended = 0, last = token_at(&d, d.n_train - 1);
    for (uint64_t i = 0; i < n * EPOCHS; i++) {
        pith__dataset_window(&d, CONTEXT, 3, i, t);
        begun += t[0] == 1;
        for (int k = 0; k < CONTEXT; k++) ended += t[k] == last && t[k + 1] == 1;
    }
    CHECK(begun >= EPOCHS / 2);
    CHECK(ended >= EPOCHS);
    pith__dataset_close(&d);
    free(text);
    pith_close(m);
}

TEST(small_texts_have_few_windows) {
    pith_model *m = tiny_model();
    pith__dataset d;
    pith_token t[9];
    REQUIRE(open_text(&d, m, text_file("t.txt", "aaa bbb", 7), 0) == 0);
    int n = (int)d.n_train;
    EQ(pith__dataset_windows(&d, n), 0);
    EQ(pith__dataset_windows(&d, n - 1), 2);
    int begun = 0;
    for (uint64_t i = 0; i < 2; i++) { /* the first epoch begins with a document */
        pith__dataset_window(&d, n - 1, 3, i, t);
        int same = 1;
        for (int k = 0; k < n; k++) same = same && t[k] == token_at(&d, (size_t)k);
        begun += same;
    }
    EQ(begun, 1);
    EQ(pith__dataset_eval_windows(&d, 4), 0);
    pith__dataset_close(&d);
    pith_close(m);
}

TEST(scoring_windows_cover_all_that_is_held_out) {
    pith_model *m = tiny_model();
    char *text = documents_text(40, "<|endoftext|>");
    pith__dataset d;
    REQUIRE(open_text(&d, m, text_file("t.txt", text, strlen(text)), 0.25f) == 0);
    pith_token t[33];
    size_t at = 0;
    int n = pith__dataset_eval_windows(&d, 32);
    for (int i = 0; i < n; i++) {
        int k = pith__dataset_eval_window(&d, 32, i, t);
        CHECK(k >= 1 && k <= 32);
        for (int j = 0; j <= k; j++) EQ(t[j], token_at(&d, d.n_train + at + (size_t)j));
        at += (size_t)k;
    }
    EQ(at, d.n_eval - 1);
    pith__dataset_close(&d);
    free(text);
    pith_close(m);
}

/* ---- the file on disk -------------------------------------------------------------------------------- */

TEST(tokens_are_made_again_when_they_must) {
    pith_model *m = tiny_model();
    pith__dataset d;
    const char *path = text_file("t.txt", "the time is the time", 20);
    char text[128], tokens[128];
    strcpy(text, path), strcpy(tokens, in_folder("tokens"));
    REQUIRE(open_text(&d, m, text, 0) == 0);
    size_t n = d.n_train, size = d.file.size;
    uint64_t key = d.key;
    pith__dataset_close(&d);
    REQUIRE(open_text(&d, m, text, 0) == 0);
    EQ(d.key == key, 1);
    pith__dataset_close(&d);
    for (size_t cut = 0; cut < size; cut += 7) { /* cut, it is no more than not there */
        if (truncate(tokens, (off_t)cut)) exit(99);
        REQUIRE(open_text(&d, m, text, 0) == 0);
        EQ(d.n_train, n);
        EQ(d.file.size, size);
        pith__dataset_close(&d);
    }
    m->store.vocab.nfc = 1; /* the same pieces, of text that is normalised before */
    REQUIRE(open_text(&d, m, text, 0) == 0);
    CHECK(d.key != key);
    pith__dataset_close(&d);
    m->store.vocab.nfc = 0;
    text_file("t.txt", "the time is the tide", 20);
    REQUIRE(open_text(&d, m, text, 0) == 0);
    CHECK(d.key != key);
    pith__dataset_close(&d);
    FILE *f = fopen(tokens, "r+b"); /* an id that is none */
    fseek(f, 64, SEEK_SET);
    fwrite("\xff\xff", 1, 2, f);
    fclose(f);
    REQUIRE(open_text(&d, m, text, 0) == 0);
    pith_token t[4];
    pith__dataset_window(&d, 3, 1, 0, t);
    for (int i = 0; i < 4; i++) CHECK(t[i] >= 0 && t[i] < FIXTURE_VOCAB);
    pith__dataset_close(&d);
    pith_close(m);
}

TEST(texts_that_are_none) {
    EQ(complains("empty.txt", "", 0), PITH_EDATA);
    EQ(complains("blank.txt", "\n <|endoftext|>\n", 16), PITH_EDATA);
    EQ(complains("zero.txt", "ab\0c", 4), PITH_EDATA);
    EQ(complains("a.jsonl", "{\"text\": 1}", 11), PITH_EDATA);
    EQ(complains("b.jsonl", "{\"text\": \"a\"", 12), PITH_EDATA);
    EQ(complains("c.jsonl", "text", 4), PITH_EDATA);
    EQ(complains("d.txt", "{\"prompt\": \"a\"}\n", 16), PITH_EDATA);
    EQ(complains("e.json", "[1, 2]", 6), PITH_EDATA);
    EQ(complains("f.json", "{\"text\":", 8), PITH_EDATA);
    EQ(complains("g.txt", "[{\"text\": \"a\"}, 3]", 18), PITH_EDATA);
    EQ(complains("one.txt", "x", 1), 0);
    EQ(complains("noise.txt", "\xff\xfe\x80\xc3(", 5), 0); /* bytes have tokens of their own */
}

int main(void) {
    if (!mkdtemp(folder)) return 99;
    RUN(every_document_begins_with_bos);
    RUN(jsonl_is_the_same_as_text);
    RUN(json_is_told_by_its_content);
    RUN(the_key_knows_every_rule);
    RUN(long_work_can_be_stopped);
    RUN(what_is_held_out_is_not_learned);
    RUN(one_long_text_keeps_its_end_back);
    RUN(an_epoch_has_every_window_once);
    RUN(a_text_of_one_document_is_begun_and_ended);
    RUN(small_texts_have_few_windows);
    RUN(scoring_windows_cover_all_that_is_held_out);
    RUN(tokens_are_made_again_when_they_must);
    RUN(texts_that_are_none);
    char remove[160];
    snprintf(remove, sizeof remove, "rm -rf %s", folder);
    if (system(remove)) return 99;
    return DONE();
}
