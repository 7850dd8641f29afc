/* hfhead.c - what config.json says of the head on a model's hidden states.
 *
 * The class that a model was saved as (architectures) says what its head is of, and so which tensors are the head's and what
 * they are called (hfnames.c). Labels have names, and problem_type says how their numbers become probabilities. */
#include "formats.h"

#include <stdio.h>
#include <string.h>

static int class_ends(pith__str name, const char *with) {
    size_t n = strlen(with);
    return name.n >= n && !memcmp(name.p + name.n - n, with, n);
}

/* The name's end of the first class; 0: one without a head that is known. */
static int head_of_class(pith__hf *c) {
    static const struct { const char *class; int style; } known[] = {
        { "ForSequenceClassification", PITH__HF_TEXT_HEAD }, { "ForTokenClassification", PITH__HF_TOKEN_HEAD },
        { "ForMaskedLM", PITH__HF_WORD_HEAD }, { "ForPreTraining", PITH__HF_WORD_HEAD },
    };
    pith__json classes = pith__hf_get(c->at, "architectures"), class;
    pith__str name;
    if (!pith__json_next(&classes, NULL, &class) || pith__json_type(class) != '"') return 0;
    if (pith__json_string(class, &c->f->s->arena, &name)) {
        pith__hf_added(c, PITH_EMEMORY);
        return 0;
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (class_ends(name, known[i].class)) return known[i].style;
    return 0;
}

/* {"0": "NEGATIVE", "1": "POSITIVE"}, in any order. What is no such list names nothing. */
static int labels_in_order(pith__hf *c, pith__json names, pith__str *label, size_t n) {
    pith__json key, name;
    while (pith__json_next(&names, &key, &name)) {
        pith__str number;
        size_t i = 0, at = 0;
        if (pith__json_string(key, &c->f->s->arena, &number)) return PITH_EMEMORY;
        for (; at < number.n && at < 9 && number.p[at] >= '0' && number.p[at] <= '9'; at++) i = 10 * i + (size_t)(number.p[at] - '0');
        if (!number.n || at < number.n || i >= n || label[i].p || pith__json_type(name) != '"') return PITH_EFORMAT;
        if (pith__json_string(name, &c->f->s->arena, &label[i])) return PITH_EMEMORY;
    }
    return PITH_OK;
}

static void head_labels(pith__hf *c) {
    pith__json names = pith__hf_get(c->at, "id2label"), it = names, key, name;
    char full[64];
    size_t n = 0;
    while (pith__json_type(names) == '{' && pith__json_next(&it, &key, &name)) n++;
    if (!n) return;
    pith__str *label = pith__arena_new(&c->f->s->arena, n, sizeof *label);
    int code = label ? labels_in_order(c, names, label, n) : PITH_EMEMORY;
    snprintf(full, sizeof full, "%s.classifier.output_labels", c->arch);
    if (code == PITH_EFORMAT) pith__note(c->f->s, "%s: its id2label is no list of labels from 0 on, and is not used", c->path);
    else pith__hf_added(c, code ? code : pith__store_add_strings(c->f->s, full, label, n));
}

static void head_problem(pith__hf *c) {
    static const char *const known[] = { "multi_label_classification", "regression", "single_label_classification" };
    pith__json problem = pith__hf_get(c->at, "problem_type");
    if (!pith__json_type(problem)) return;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!pith__json_is(problem, known[i])) continue;
        pith__hf_added(c, pith__store_add_string(c->f->s, "pith.task.problem", known[i]));
        return;
    }
    pith__hf_wrong(c, problem, PITH_EARCH, "problem_type", "one of multi_label_classification regression single_label_classification");
}

/* ModernBERT names the activation of its head. */
static void head_activation(pith__hf *c) {
    static const char *const known[][2] = { { "gelu", "gelu" }, { "gelu_new", "gelu_new" }, { "gelu_pytorch_tanh", "gelu_new" },
                                            { "relu", "relu" }, { "tanh", "tanh" } };
    pith__json act = pith__hf_get(c->at, "classifier_activation");
    const char *is = pith__json_type(act) ? NULL : "gelu";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (pith__json_is(act, known[i][0])) is = known[i][1];
    if (is) pith__hf_added(c, pith__store_add_string(c->f->s, "pith.task.activation", is));
    else pith__hf_wrong(c, act, PITH_EARCH, "classifier_activation", "one of gelu gelu_new relu tanh");
}

/* Which token's vector is the text's, where it is not the first one: ModernBERT may take the mean of all, and in a decoder only
 * the last one has seen the text. */
static void head_pooling(pith__hf *c, int style) {
    pith__json pooling = pith__hf_get(c->at, "classifier_pooling");
    const char *is = NULL;
    if (!(style & PITH__HF_ELDERS) || style & (PITH__HF_GPT2 | PITH__HF_NEOX)) is = "last";
    else if (style & PITH__HF_MODERN && pith__json_is(pooling, "mean")) is = "mean";
    else if (style & PITH__HF_MODERN && pith__json_type(pooling) && !pith__json_is(pooling, "cls"))
        pith__hf_wrong(c, pooling, PITH_EARCH, "classifier_pooling", "cls or mean");
    else if (style & PITH__HF_MODERN) is = "cls";
    if (is) pith__hf_added(c, pith__store_add_string(c->f->s, "pith.task.pooling", is));
}

PITH_SHARED int pith__hf_head(pith__hf *c, int style) {
    int head = head_of_class(c), labels = head & (PITH__HF_TEXT_HEAD | PITH__HF_TOKEN_HEAD);
    if (!(style & PITH__HF_ELDERS)) head = labels; /* of words: what a decoder has is its output matrix */
    if (labels) head_labels(c);
    if (labels) head_problem(c);
    if (head == PITH__HF_TOKEN_HEAD) pith__hf_added(c, pith__store_add_int(c->f->s, "pith.task.tokens", 1));
    if (head == PITH__HF_TEXT_HEAD) head_pooling(c, style);
    if (head == PITH__HF_TEXT_HEAD && style & PITH__HF_DISTIL)
        pith__hf_added(c, pith__store_add_string(c->f->s, "pith.task.activation", "relu"));
    if (head && style & PITH__HF_MODERN) head_activation(c);
    if (head == PITH__HF_WORD_HEAD && style & (PITH__HF_ROBERTA | PITH__HF_MPNET)) /* whatever hidden_act says */
        pith__hf_added(c, pith__store_add_string(c->f->s, "pith.task.activation", "gelu"));
    if (head == PITH__HF_WORD_HEAD) c->f->tied = pith__hf_bool(c, c->at, "tie_word_embeddings", 1);
    return head;
}
