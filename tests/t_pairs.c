/* t_pairs.c - rows of a chosen and a rejected answer: tokens and masks as trl has them, prompts that are implicit, and
 * what is left out. */
#define _XOPEN_SOURCE 700
#include "made_rows.h"
#include "fixture.h"

/* ---- the references of shared/tuning --------------------------------------------------------------- */

/* Every line of path, "ids ; mask", against example 0, 2, ... or 1, 3, ... */
static void same_as(const pith__examples *x, size_t side, const char *path) {
    FILE *f = fopen(path, "r");
    static char line[1 << 16];
    size_t row = side;
    REQUIRE(f);
    while (fgets(line, sizeof line, f)) {
        char *p = line;
        if (*line == '#') continue;
        REQUIRE(row < x->n_train);
        pith__example e = pith__examples_get(x, row);
        int bad = 0;
        for (int i = 0; i < e.n; i++) bad += (int)strtol(p, &p, 10) != e.t[i];
        bad += strncmp(p, " ; ", 3) != 0;
        p += 3;
        for (int i = 0; i < e.n && !bad; i++) bad += (int)strtol(p, &p, 10) != e.counts[i];
        if (bad || (*p != '\n' && *p)) FAIL("%s: row %zu", path, row / 2);
        row += 2;
    }
    EQ(row - side, x->n_train);
    fclose(f);
}

TEST(tokens_and_masks_of_trl) {
    static const char *const family[] = { "llama", "qwen2" }, *const side[] = { "chosen", "rejected" };
    char base[512], data[512], ids[512], part[96];
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int k = 0; k < 4; k++) { /* both families, for DPO and for a reward model */
        pith_error e = { 0, "" };
        const char *path = data, *kind = k < 2 ? "dpo" : "rm";
        pith__examples x;
        snprintf(part, sizeof part, "tuning/%s/base", family[k % 2]);
        strcpy(base, fixture_shared(part));
        snprintf(part, sizeof part, "tuning/%s/data/%s.jsonl", family[k % 2], kind);
        strcpy(data, fixture_shared(part));
        pith_model *m = pith_open(base, NULL, &e);
        pith_template *t = m ? pith_template_new(m, NULL, 0, NULL, &e) : NULL;
        if (!t) FAIL("%s", e.text);
        const pith__examples_plan plan = { .train = { &path, 1 }, .form = t, .pairs = 1, .scored = k > 1 };
        if (t && pith__examples_open(&x, m, &plan, NULL, &e)) FAIL("%s", e.text);
        for (size_t i = 0; i < 2; i++) {
            snprintf(part, sizeof part, "tuning/%s/data/%s.%s.ids", family[k % 2], kind, side[i]);
            strcpy(ids, fixture_shared(part));
            same_as(&x, i, ids);
        }
        pith__examples_close(&x), pith_template_free(t), pith_close(m);
    }
}

/* Letters of the prompt join those of one answer to a token: both answers begin there, and one prompt stands before them. */
TEST(one_prompt_for_both) {
    static const char rows[] = "{\"prompt\":\"What does the hap\",\"chosen\":\"py mouse do?\",\"rejected\":\"!\"}\n"
                               "{\"prompt\":\"What does the hap\",\"chosen\":\"!\",\"rejected\":\"py mouse do?\"}\n";
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    pith_error e = { 0, "" };
    const char *path = rows_file("joined.jsonl", rows);
    pith__examples x;
    pith_model *m = pith_open(fixture_shared("tuning/llama/base"), NULL, &e);
    REQUIRE(m && !pith__examples_open(&x, m, &(pith__examples_plan){ .train = { &path, 1 }, .pairs = 1 }, NULL, &e));
    EQ(x.n_train, 4);
    for (size_t i = 0; i < 4; i += 2) {
        pith__example a = pith__examples_get(&x, i), b = pith__examples_get(&x, i + 1);
        int from = 0;
        while (!a.counts[from] && !b.counts[from]) from++;
        CHECK(a.counts[from] && b.counts[from] && from > 2 && !memcmp(a.t, b.t, (size_t)from * sizeof *a.t));
        for (int k = from; k < a.n; k++) CHECK(a.counts[k]);
        for (int k = from; k < b.n; k++) CHECK(b.counts[k]);
    }
    pith__examples_close(&x), pith_close(m);
}

/* ---- kinds of rows ----------------------------------------------------------------------------------- */

/* Both examples of the first pair, or the error. */
static const char *both_of(const char *form, const char *rows, int max_length, int keep_end) {
    static char text[4000];
    pith_error e = { 0, "" };
    pith__examples x;
    const char *path = rows_file("p.jsonl", rows);
    pith_model *m = rows_model(form);
    pith_template *t = form ? pith_template_new(m, NULL, 0, NULL, &e) : NULL;
    const pith__examples_plan plan = { .train = { &path, 1 }, .form = t, .pairs = 1, .max_length = max_length, .keep_end = keep_end };
    if (pith__examples_open(&x, m, &plan, NULL, &e)) {
        snprintf(text, sizeof text, "error: %s", strstr(e.text, "p.jsonl") ? strstr(e.text, "p.jsonl") : e.text);
    } else {
        pith__example a = pith__examples_get(&x, 0), b = pith__examples_get(&x, 1);
        int n = snprintf(text, sizeof text, "%s ", shown(m, &a));
        snprintf(text + n, sizeof text - (size_t)n, "%s", shown(m, &b));
        if (a.line != b.line) FAIL("%s: lines %zu and %zu", rows, a.line, b.line);
        pith__examples_close(&x);
    }
    pith_template_free(t), pith_close(m);
    return text;
}

#define BOTH(form, rows, want) BOTH_CUT(form, rows, 0, 0, want)
#define BOTH_CUT(form, rows, length, end, want) do { \
    const char *got_ = both_of(form, rows, length, end); \
    if (strcmp(got_, want) != 0) FAIL("%s\n# is   %s\n# want %s", rows, got_, want); } while (0)
#define REFUSED(form, rows, want) do { \
    const char *got_ = both_of(form, rows, 0, 0); \
    if (strncmp(got_, "error: p.jsonl", 14) != 0 || !strstr(got_, want)) FAIL("%s\n# is   %s\n# want %s", rows, got_, want); } while (0)

#define USER "{\"role\":\"user\",\"content\":\"Hi\"}"
#define SAYS(text) "{\"role\":\"assistant\",\"content\":\"" text "\"}"
#define SAID(text) "{<s>}{<|im_start|>}user\nHi{<|im_end|>}\n{<|im_start|>}assistant\n[" text "{<|im_end|>}\n]"

TEST(kinds_of_rows) {
    static const char yo_no[] = SAID("Yo") " " SAID("No");
    BOTH(NULL, "{\"prompt\":\"Hi\",\"chosen\":\" yo\",\"rejected\":\" no\"}", "{<s>}Hi[ yo{</s>}] {<s>}Hi[ no{</s>}]");
    BOTH(chatml, "{\"prompt\":[" USER "],\"chosen\":[" SAYS("Yo") "],\"rejected\":[" SAYS("No") "]}", yo_no);
    BOTH(chatml, "{\"rejected\":[" USER "," SAYS("No") "],\"chosen\":[" USER "," SAYS("Yo") "]}", yo_no);
    BOTH(chatml, "{\"prompt\":\"Hi\",\"chosen\":[" USER "," SAYS("Yo") "],\"rejected\":[" USER "," SAYS("No") "],\"score\":5}", yo_no);
    BOTH(chatml, "{\"prompt\":null,\"chosen\":[{\"content\":\"\\u0048i\", \"role\" : \"user\"}," SAYS("Yo") "],\"rejected\":[" USER "," SAYS("No") "]}",
         yo_no);
    BOTH(chatml, "{\"prompt\":[" USER "],\"chosen\":[" SAYS("Yo") "],\"rejected\":[" SAYS("No") "],\"tools\":[],\"completion\":5}", yo_no);
}

TEST(implicit_prompts_of_texts) {
    BOTH(NULL, "{\"chosen\":\"the sky is blue\",\"rejected\":\"the sky is red\"}", "{<s>}the sky is[ blue{</s>}] {<s>}the sky is[ red{</s>}]");
    BOTH(NULL, "{\"chosen\":\"abc\",\"rejected\":\"abd\"}", "{<s>}ab[c{</s>}] {<s>}ab[d{</s>}]");
    BOTH(NULL, "{\"chosen\":\"abc\",\"rejected\":\"ab\"}", "{<s>}a[bc{</s>}] {<s>}a[b{</s>}]");
    BOTH(NULL, "{\"chosen\":\"a\\u00e9\",\"rejected\":\"a\\u00e8\"}", "{<s>}a[\xc3\xa9{</s>}] {<s>}a[\xc3\xa8{</s>}]");
    EQ(pith__shared_text(pith__str_of("a\xc3\xa9"), pith__str_of("a\xc3\xa8")), 1);
    EQ(pith__shared_text(pith__str_of("a\xc3\xa9z"), pith__str_of("a\xc3\xa9y")), 3);
    EQ(pith__shared_text(pith__str_of(""), pith__str_of("a")), 0);
}

TEST(what_is_cut) {
    static const char row[] = "{\"prompt\":\"abc\",\"chosen\":\"defg\",\"rejected\":\"h\"}";
    BOTH_CUT(NULL, row, 6, 0, "{<s>}abc[de] {<s>}abc[h{</s>}]");
    BOTH_CUT(NULL, row, 6, 1, "c[defg{</s>}] {<s>}abc[h{</s>}]");
}

TEST(what_is_wrong) {
    REFUSED(NULL, "{\"prompt\":\"a\",\"chosen\":\"b\"}", "line 1: has no rejected: a pair needs chosen and rejected");
    REFUSED(NULL, "{\"text\":\"a\"}", "has no chosen");
    REFUSED(NULL, "5", "the row is 5");
    REFUSED(NULL, "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":7}", "rejected is 7, need a text");
    REFUSED(NULL, "{\"prompt\":\"a\",\"chosen\":[],\"rejected\":7}", "chosen is empty, need messages");
    REFUSED(chatml, "{\"prompt\":[" USER "],\"chosen\":\"b\",\"rejected\":\"c\"}", "chosen is \"b\", need an array of messages");
    REFUSED(chatml, "{\"prompt\":[" USER "],\"chosen\":[" SAYS("Yo") "],\"rejected\":[]}", "rejected is empty");
    REFUSED(NULL, "{\"prompt\":\"Hi\",\"chosen\":\" yo\",\"rejected\":\" \\n\"}", "line 1: rejected is empty");
    REFUSED(NULL, "{\"chosen\":\"\",\"rejected\":\"a\"}", "chosen is empty");
    REFUSED(chatml, "{\"prompt\":[" USER "],\"chosen\":[" SAYS("Yo") "],\"rejected\":[" SAYS("") "]}", "rejected is empty");
    REFUSED(chatml, "{\"chosen\":[" USER "," SAYS("") "],\"rejected\":[" USER "," SAYS("No") "]}", "chosen is empty");
    REFUSED(chatml, "{\"chosen\":[" SAYS("Yo") "],\"rejected\":[" SAYS("No") "]}", "begin with different messages");
    REFUSED(chatml, "{\"chosen\":[" USER "],\"rejected\":[" USER "," SAYS("No") "]}", "begin with different messages");
    REFUSED(NULL, "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"b\"}", "chosen and rejected are equal in 1 pair, the first of line 1");
    REFUSED(NULL, "{\"chosen\":[" USER "," SAYS("Yo") "],\"rejected\":[" USER "," SAYS("No") "]}", "line 1: has messages, and the model no chat template");
}

/* ---- what is left out, and held out -------------------------------------------------------------------- */

static int open_pairs(pith__examples *x, const char *text, pith__examples_plan plan) {
    pith_error e = { 0, "" };
    const char *path = rows_file("q.jsonl", text);
    pith_model *m = rows_model(NULL);
    plan.train = (pith__texts){ &path, 1 }, plan.pairs = 1;
    int code = pith__examples_open(x, m, &plan, NULL, &e);
    if (code) printf("# %s\n", e.text);
    pith_close(m);
    return code;
}

TEST(pairs_are_left_out_whole) {
    pith__examples x;
    REQUIRE(!open_pairs(&x, "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"b\"}\n"
                            "{\"prompt\":\"abcdefgh\",\"chosen\":\"b\",\"rejected\":\"c\"}\n{\"chosen\":\"bcdefghi\",\"rejected\":\"bcdefghij\"}\n"
                            "{\"prompt\":\"a\",\"chosen\":\"c\",\"rejected\":\"b\"}\n", (pith__examples_plan){ .max_length = 8 }));
    EQ(x.n_train, 4);
    EQ(x.equal.n, 1);
    EQ(x.equal.line, 2);
    EQ(x.skipped.n, 2); /* of lines 3 and 4 the prompt alone is too long */
    EQ(x.skipped.line, 3);
    EQ(pith__examples_get(&x, 2).line, 5);
    EQ(x.n_token, 16);
    pith__examples_close(&x);
}

/* For a reward model both answers as whole texts, and only their last token counts. */
TEST(pairs_that_are_scored) {
    static const char rows[] =
        "{\"prompt\":\"ab\",\"chosen\":\"c\",\"rejected\":\"d\",\"margin\":0.5}\n"
        "{\"prompt\":\"a\",\"chosen\":\"bcdefgh\",\"rejected\":\"c\"}\n{\"prompt\":\"abcdef\",\"chosen\":\"x\",\"rejected\":\"yz\"}\n"
        "{\"prompt\":\"ab\",\"chosen\":\"c\",\"rejected\":\"c\"}\n{\"prompt\":\"ab\",\"chosen\":\"c\",\"rejected\":\"d\",\"margin\":null}\n";
    pith__examples x, y;
    pith_model *m = rows_model(NULL);
    REQUIRE(!open_pairs(&x, rows, (pith__examples_plan){ .scored = 1, .max_length = 9 }));
    EQ(x.n_train, 4);
    EQ(x.cut.n, 2); /* not cut but left out, each pair once */
    EQ(x.cut.line, 2);
    EQ(x.equal.n, 1);
    EQ(x.skipped.n, 0);
    EQ(x.n_label, 4);
    for (size_t i = 0; i < 4; i++) {
        const pith__example e = pith__examples_get(&x, i);
        if (strcmp(shown(m, &e), i % 2 ? "{<s>}abd[{</s>}]" : "{<s>}abc[{</s>}]")) FAIL("%s", shown(m, &e));
        NEAR(e.margin, i < 2 ? 0.5 : 0, 0);
    }
    REQUIRE(!open_pairs(&y, strstr(rows, "{\"prompt\":\"ab\",\"chosen\":\"c\",\"rejected\":\"d\",\"margin\":null"), (pith__examples_plan){ .scored = 1 }));
    CHECK(x.key != y.key); /* a margin is part of what is learned */
    pith__examples_close(&x), pith__examples_close(&y), pith_close(m);
    EQ(open_pairs(&x, "{\"prompt\":\"ab\",\"chosen\":\"c\",\"rejected\":\"d\",\"margin\":\"1\"}", (pith__examples_plan){ .scored = 1 }), PITH_EDATA);
    EQ(open_pairs(&x, "{\"prompt\":\"ab\",\"chosen\":\"c\",\"rejected\":\"d\",\"margin\":1e999}", (pith__examples_plan){ .scored = 1 }), PITH_EDATA);
    EQ(open_pairs(&x, "{\"prompt\":\"abc\",\"chosen\":\"c\",\"rejected\":\"d\"}", (pith__examples_plan){ .scored = 1, .max_length = 5 }), PITH_EDATA);
}

/* Rows one at a time, of any kind. */
TEST(row_by_row) {
    static const char *const cases[][2] = {
        { "{\"text\":\"ab\"}", "{<s>}ab[{</s>}]" }, { "{\"prompt\":\"a\",\"completion\":\"b\"}", "{<s>}ab[{</s>}]" },
        { "{\"messages\":[" USER "," SAYS("Yo") "]}", "{<s>}{<|im_start|>}user\nHi{<|im_end|>}\n{<|im_start|>}assistant\nYo{<|im_end|>}[\n]" },
        { "{\"prompt\":[" USER "],\"completion\":[" SAYS("Yo") "]}",
          "{<s>}{<|im_start|>}user\nHi{<|im_end|>}\n{<|im_start|>}assistant\nYo{<|im_end|>}[\n]" },
        { "{\"input_ids\":[100]}", "[a]" }, { "{\"text\":\"0123456789012345678901234567890123456789012345678901234567890123456789\"}", NULL },
        { "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"b\"}", "{<s>}ab[{</s>}]" }, { "{\"prompt\":\"a\"}", "line 7: has prompt without" },
        { "{\"prompt_ids\":[100,101],\"chosen_ids\":[102],\"rejected_ids\":[102]}", "ab[c]" }, { "{\"text\":\"ab\"}", "{<s>}ab[{</s>}]" },
    };
    pith_error e = { 0, "" };
    pith_model *m = rows_model(chatml);
    pith_template *t = pith_template_new(m, NULL, 0, NULL, &e);
    const pith__examples_plan plan = { .form = t, .scored = 1, .max_length = 60 };
    pith__row_reader *r = pith__row_reader_new(m, &plan, &e);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const pith__examples *x = NULL;
        pith__json row;
        char where[20];
        snprintf(where, sizeof where, "line %zu", i);
        REQUIRE(!pith__json_read(&row, cases[i][0], strlen(cases[i][0]), "", &e));
        int code = pith__row_reader_read(r, row, where, &x, &e);
        if (i == 7) EQ(code, PITH_EDATA);
        if (i == 7 && !strstr(e.text, cases[i][1])) FAIL("%s", e.text);
        if (i == 7) continue;
        EQ(code, PITH_OK);
        EQ(x->n_train, i == 5 ? 0 : i == 6 || i == 8 ? 2 : 1);
        EQ(x->cut.n, i == 5);
        for (size_t k = 0; k < x->n_train; k++) {
            const pith__example one = pith__examples_get(x, k);
            if (strcmp(shown(m, &one), cases[i][1])) FAIL("%s", shown(m, &one));
        }
    }
    pith__row_reader_free(r), pith_template_free(t), pith_close(m);
}

TEST(pairs_are_held_out_whole) {
    char text[4000], *p = text;
    pith__examples x;
    for (int i = 0; i < 40; i++) p += sprintf(p, "{\"prompt\":\"%d\",\"chosen\":\"b\",\"rejected\":\"c\"}\n", i % 39);
    for (int k = 0; k < 2; k++) {
        REQUIRE(!open_pairs(&x, text, (pith__examples_plan){ .hold_out = k ? 0.3 : 0.001 }));
        CHECK(x.n_eval > 0 && x.n_eval % 2 == 0 && x.n_train % 2 == 0);
        EQ(x.n_train + x.n_eval, 80);
        for (size_t i = 0; i < 80; i += 2) {
            pith__example a = pith__examples_get(&x, i), b = pith__examples_get(&x, i + 1);
            CHECK(a.line == b.line && a.t[a.n - 2] == BYTES + 'b' && b.t[b.n - 2] == BYTES + 'c');
        }
        pith__examples_close(&x);
    }
}

int main(void) {
    if (!mkdtemp(folder)) return 99;
    make_vocab();
    RUN(tokens_and_masks_of_trl);
    RUN(one_prompt_for_both);
    RUN(kinds_of_rows);
    RUN(implicit_prompts_of_texts);
    RUN(what_is_cut);
    RUN(what_is_wrong);
    RUN(pairs_that_are_scored);
    RUN(row_by_row);
    RUN(pairs_are_left_out_whole);
    RUN(pairs_are_held_out_whole);
    remove_folder();
    return DONE();
}
