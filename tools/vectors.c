/* vectors.c - what flags say of vectors, for embed and search: words, pooling, prompts. */
#include "verbs.h"

#include <string.h>
#include <strings.h>

int find_word(const char *asked, const char *word, const char *const *known, int n, int *is) {
    char all[200] = "";
    for (int i = 0; i < n; i++) {
        if (!strcasecmp(word, known[i])) return *is = i, 0;
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, " %s", known[i]);
    }
    return complain(USAGE, "%s is '%s', need one of:%s", asked, word, all);
}

int choose_pooling(const char *name, unsigned *pooling) {
    static const char *const known[] = { "cls", "max", "mean", "mean_sqrt_len", "weightedmean", "last", "none" };
    int is = 0, code = find_word("--pooling", name, known, 7, &is);
    if (!code) *pooling = is < 6 ? 1u << is : 0;
    return code;
}

int choose_prompt(const pith_model *m, const char *by, const char *asked, const char **prompt) {
    const char *name, *text;
    char all[400] = "";
    *prompt = NULL;
    if (!*asked) return 0;
    for (int i = 0; pith_prompt(m, i, &name, &text); i++) {
        if (!strcmp(name, asked)) return *prompt = text, 0;
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, " %s", name);
    }
    if (strchr(asked, ' ')) return *prompt = asked, 0;
    if (!*all) return complain(USAGE, "%s is '%s', but the model has no prompts; a text of yours needs a blank in it", by, asked);
    return complain(USAGE, "%s is '%s', need one of the model's prompts:%s", by, asked, all);
}
