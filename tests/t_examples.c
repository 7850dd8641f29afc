/* t_examples.c - rows of JSON to tokens with a mask: kinds of rows, which tokens count, what is cut, left out, held out. */
#include "../train/train.h"
#include "fixture.h"
#include "test.h"

#include <stdlib.h>


/* ---- the references of shared/tuning --------------------------------------------------------------- */

static pith_template *template_of(const pith_model *m, const char *path) {
    pith__file f;
    pith_error e = { 0, "" };
    if (!path) return pith_template_new(m, NULL, 0, NULL, &e);
    if (pith__file_open(&f, path, 0, &e)) return NULL;
    pith_template *t = pith_template_new(m, (const char *)f.data, f.size, path, &e);
    if (!t) printf("# %s\n", e.text);
    pith__file_close(&f);
    return t;
}

/* Every line of name.ids, "ids ; mask", against the examples. */
static void same_as(const pith__examples *x, const char *path) {
    FILE *f = fopen(path, "r");
    static char line[1 << 16];
    size_t row = 0;
    REQUIRE(f);
    while (fgets(line, sizeof line, f)) {
        char *p = line;
        if (*line == '#') continue;
        if (row >= x->n_train) { row++; continue; }
        pith__example e = pith__examples_get(x, row++);
        int bad = 0;
        for (int i = 0; i < e.n; i++) bad += (int)strtol(p, &p, 10) != e.t[i];
        bad += strncmp(p, " ; ", 3) != 0;
        p += 3;
        for (int i = 0; i < e.n && !bad; i++) bad += (int)strtol(p, &p, 10) != e.counts[i] && i > 0;
        if (bad || (*p != '\n' && *p)) FAIL("%s: row %zu", path, row);
    }
    EQ(row, x->n_train);
    fclose(f);
}

TEST(tokens_and_masks_of_trl) {
    static const struct { const char *data, *ids; int training, every, prompts; } all[] = {
        { "sft_messages", "sft_messages.assistant", 1, 0, 0 },
        { "sft_messages", "sft_messages.full", 0, 1, 0 },
        { "sft_prompt_completion", "sft_prompt_completion.completion", 0, 0, 0 },
        { "sft_prompt_completion", "sft_prompt_completion.full", 0, 0, 1 },
        { "sft_text", "sft_text.full", 0, 0, 0 },
        { "sft_prompt_completion_text", "sft_prompt_completion_text.completion", 0, 0, 0 },
    };
    static const char *const family[] = { "llama", "qwen2" };
    char base[512], data[512], ids[512], form[512], part[96];
    if (!fixture_shared("tuning/README.md")) SKIP("no ../shared/tuning");
    for (int k = 0; k < 4; k++) {
        const char *name = family[k / 2];
        pith_error e = { 0, "" };
        snprintf(part, sizeof part, k % 2 ? "tuning/%s/base.gguf" : "tuning/%s/base", name);
        strcpy(base, fixture_shared(part));
        snprintf(part, sizeof part, "tuning/%s/data/training_chat_template.jinja", name);
        strcpy(form, fixture_shared(part));
        pith_model *m = pith_open(base, NULL, &e);
        if (!m) FAIL("%s", e.text);
        for (size_t i = 0; m && i < sizeof all / sizeof *all; i++) {
            pith_template *t = template_of(m, all[i].training ? form : NULL);
            const char *path = data;
            pith__examples x;
            snprintf(part, sizeof part, "tuning/%s/data/%s.jsonl", name, all[i].data);
            strcpy(data, fixture_shared(part));
            snprintf(part, sizeof part, "tuning/%s/data/%s.ids", name, all[i].ids);
            strcpy(ids, fixture_shared(part));
            pith__examples_plan plan = { .train = { &path, 1 }, .form = t, .every_token = all[i].every, .prompts_too = all[i].prompts };
            int code = pith__examples_open(&x, m, &plan, NULL, &e);
            if (code) FAIL("%s", e.text);
            else same_as(&x, ids), pith__examples_close(&x);
            pith_template_free(t);
        }
        pith_close(m);
    }
}

int main(void) {
    RUN(tokens_and_masks_of_trl);
    return DONE();
}
