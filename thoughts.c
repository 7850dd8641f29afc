/* thoughts.c - what a reasoning model thinks -> apart from what it answers.
 *
 * Such a model writes its thoughts before its answer, between two tags of its family; many templates open the tag
 * already where the model is to speak. A text comes in pieces, and a tag may be cut anywhere, so what may become one
 * is held back. Only a tag before the answer opens thoughts: "<think>" within an answer is text.
 * Tags from the chat templates that the models are published with. */
#include "internal.h"

#include <string.h>

/* At least one of the tags of some families is a control token, whose text is not shown otherwise. */
static const struct {
    const char *opens, *closes;
} thought_tags[] = {
    { "<think>", "</think>" }, /* DeepSeek R1, Qwen 3, SmolLM 3, GLM 4, Nemotron, ... */
    { "<thinking>", "</thinking>" },
    { "[THINK]", "[/THINK]" }, /* Mistral */
    { "<|channel|>analysis<|message|>", "<|end|>" }, /* gpt-oss; what it says of tools that it is about to use is in between */
    { "<|channel|>commentary<|message|>", "<|end|>" },
    { "<|channel>thought", "<channel|>" }, /* Gemma 4 */
    { "<|START_THINKING|>", "<|END_THINKING|>" }, /* Command */
    { "<|inner_prefix|>", "<|inner_suffix|>" }, /* Apertus */
    { "<seed:think>", "</seed:think>" },
    { "<mm:think>", "</mm:think>" }, /* MiniMax M3 */
    { "<think:opensource>", "</think:opensource>" }, /* Hunyuan */
    { "<|open|>think<|sep|>", "<|close|>think<|sep|>" }, /* Kimi K3 */
    { "Here are my reasoning steps:\n", "[BEGIN FINAL RESPONSE]" }, /* Apriel */
};

/* What stands around an answer and is no text of it. */
static const char *const answer_tags[] = { "<|start|>assistant", "<|channel|>final<|message|>", "<|START_RESPONSE|>",
                                           "<|END_RESPONSE|>" };

enum { N_TAGS = sizeof thought_tags / sizeof *thought_tags, N_ANSWER = sizeof answer_tags / sizeof *answer_tags };

static int thoughts_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

PITH_SHARED const char *pith__thoughts_close(const pith__thoughts *t) {
    return t->inside ? thought_tags[t->row].closes : NULL;
}

PITH_SHARED void pith__thoughts_begin(pith__thoughts *t, const char *before, size_t n) {
    memset(t, 0, sizeof *t);
    for (int row = 0; row < N_TAGS; row++) {
        const char *tag = thought_tags[row].opens;
        size_t k = strlen(tag), end = n;
        if (k && tag[k - 1] != '\n')
            while (end && thoughts_blank(before[end - 1])) end--;
        if (end >= k && !memcmp(before + end - k, tag, k)) t->row = row, t->inside = 1;
    }
}

/* One byte that is no part of a tag. Blanks before the first of a part are left out, but for an answer that nothing
 * was thought before. */
static void thoughts_say(pith__thoughts *t, char c, int hidden, pith__parts *to) {
    if (hidden || (!t->begun && (t->inside || t->thought) && thoughts_blank(c))) return;
    if (!thoughts_blank(c)) t->begun = 1;
    if (t->inside) to->thought[to->n_thought++] = c;
    else to->answer[to->n_answer++] = c;
}

/* What the bytes that are held back are: 1: a tag; 0: they may become one; -1: they cannot. */
static int find_thought_tag(pith__thoughts *t) {
    const char *tag;
    int may = -1;
    for (int i = 0; i < N_TAGS + N_ANSWER; i++) {
        if (t->inside && i != t->row) continue;
        if (!t->inside && t->begun) break;
        tag = i >= N_TAGS ? answer_tags[i - N_TAGS] : t->inside ? thought_tags[i].closes : thought_tags[i].opens;
        if (strncmp(tag, t->held, t->n_held) != 0) continue;
        if (tag[t->n_held]) { may = 0; continue; }
        if (i >= N_TAGS) return 1; /* nothing but this tag is left out */
        t->inside = !t->inside, t->row = i, t->thought = 1, t->begun = 0;
        return 1;
    }
    return may;
}

PITH_SHARED void pith__thoughts_put(pith__thoughts *t, const char *p, size_t n, int hidden, pith__parts *to) {
    for (size_t i = 0; i < n; i++) {
        t->hidden[t->n_held] = (uint8_t)hidden;
        t->held[t->n_held++] = p[i];
        int tag = find_thought_tag(t);
        if (tag > 0) t->n_held = 0;
        while (tag < 0) {
            thoughts_say(t, t->held[0], t->hidden[0], to);
            t->n_held--;
            memmove(t->held, t->held + 1, t->n_held);
            memmove(t->hidden, t->hidden + 1, t->n_held);
            tag = t->n_held ? find_thought_tag(t) : 0;
        }
    }
}

PITH_SHARED void pith__thoughts_end(pith__thoughts *t, pith__parts *to) {
    for (size_t i = 0; i < t->n_held; i++) thoughts_say(t, t->held[i], t->hidden[i], to);
    t->n_held = 0;
}
