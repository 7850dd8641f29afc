/* sft.c - run sft: supervised fine-tuning, from rows of JSONL to an adapter.
 *
 *     run sft MODEL DATA.jsonl --output_dir OUT
 *
 * Teaches a LoRA of a model, or with --full all its weights. Flags have the names that TRL and PEFT give them. */
#include "show.h"
#include "tuning.h"

#include <limits.h>

typedef struct { /* what the user asks for */
    tuning_options tuning;
    int assistant_only, completion_only, packing;
} sft_options;

typedef struct { /* the objective: what an assistant says, after what it was told */
    tuning s;
    const sft_options *o;
    pith__packs packs; /* --packing */
} sft_run;

static const sft_run *sft_of(const trainer *t) { return t->of; }

/* ---- flags ----------------------------------------------------------------------------------- */

static const char sft_usage[] =
    "run sft MODEL DATA.jsonl... --output_dir OUT [options]\n"
    "Teach a model by examples. A row is {\"messages\": [...]}, {\"prompt\": ..., \"completion\": ...},\n"
    "{\"text\": ...}, of Alpaca or ShareGPT, or {\"input_ids\": [...], \"completion_mask\": [...]}. What is\n"
    "taught is a LoRA, for PEFT and llama.cpp. --dry-run --show 2 prints two examples as they are learned.\n"
    "Defaults stand in brackets.\n\n";

static int read_sft_options(int argc, char **argv, sft_options *o) {
    tuning_options *t = &o->tuning;
    const flag flags[] = {
        { 0, "assistant-only-loss", BOOLEAN, &o->assistant_only, 0, 0, "true|false",
          "of messages, only what the assistant says counts (true)" },
        { 0, "completion-only-loss", BOOLEAN, &o->completion_only, 0, 0, "true|false",
          "of prompts and completions, only the completions (true)" },
        { 0, "packing", BOOLEAN, &o->packing, 0, 0, "", "a sequence of a step is several short examples" },
        QAT_FLAGS(&t->train),
        TUNING_FLAGS(t, "2e-4; with --full 2e-5", "0.05 of 100 examples and more")
    };
    *o = (sft_options){ .tuning = TUNING_DEFAULTS(10), .assistant_only = 1, .completion_only = 1 };
    int code = read_flags_and_files(argc, argv, sft_usage, flags, &t->model.path, &t->files);
    if (code != GO_ON) return code;
    if (!t->model.path) return complain(USAGE, "no model given, see --help");
    code = check_tuning(t, "sft");
    if (t->train.lr < 0) t->train.lr = t->full ? 2e-5f : 2e-4f; /* TRL's, and what it advises for LoRA */
    return code ? code : GO_ON;
}

/* ---- the objective --------------------------------------------------------------------------- */

/* How many examples unit, an example or a pack, has; *example: their numbers, or *one, which then is its only one. */
static int64_t unit_examples(const sft_run *r, int64_t unit, uint32_t *one, const uint32_t **example) {
    const pith__packs *p = &r->packs;
    *one = (uint32_t)unit;
    *example = r->o->packing ? p->example + p->first[unit] : one;
    return r->o->packing ? p->first[unit + 1] - p->first[unit] : 1;
}

static void sft_size(const trainer *t, int64_t step, step_size *size) {
    const sft_run *r = sft_of(t);
    *size = (step_size){ 0, 0, 0 };
    for (int64_t k = 0, unit; k < t->batch_size && (unit = tuning_unit(&r->s, step, k)) >= 0; k++) {
        uint32_t one;
        const uint32_t *example;
        int64_t n = unit_examples(r, unit, &one, &example);
        size->n_sequence += n;
        for (int64_t i = 0; i < n; i++) {
            pith__example e = pith__examples_get(&r->s.data, example[i]);
            size->n_token += e.n;
            for (int j = 1; j < e.n; j++) size->n_count += e.counts[j];
        }
    }
}

static void sft_sequence(trainer *t, int64_t step, int64_t i, const sequence_room *room, pith__sequence *to) {
    const sft_run *r = sft_of(t);
    for (int64_t k = 0, unit, n; (unit = tuning_unit(&r->s, step, k)) >= 0; k++, i -= n) {
        uint32_t one;
        const uint32_t *example;
        n = unit_examples(r, unit, &one, &example);
        if (i >= n) continue;
        pith__example e = pith__examples_get(&r->s.data, example[i]);
        learn_example(&e, room->token, to);
        return;
    }
}

static void sft_held_out(trainer *t, int i, const sequence_room *room, pith__sequence *to) {
    const pith__examples *x = &sft_of(t)->s.data;
    pith__example e = pith__examples_get(x, x->n_train + (size_t)i);
    learn_example(&e, room->token, to);
}

static void sft_numbers(const trainer *t, double *x) {
    tuning_numbers(t, x);
    x[PITH__MARK_PACKING] = sft_of(t)->o->packing;
}

static const objective sft_objective = { .size = sft_size, .sequence = sft_sequence, .held_out = sft_held_out,
                                         .numbers = sft_numbers };

/* ---- a run ----------------------------------------------------------------------------------- */

static int sft_data(tuning *s) {
    sft_run *r = s->t.of;
    const sft_options *o = r->o;
    pith__examples_plan plan = { .every_token = !o->assistant_only, .prompts_too = !o->completion_only };
    pith_error e = { 0, "" };
    int code = tuning_examples(s, &plan);
    if (code) return code;
    if (o->packing && pith__packs_make(&r->packs, &s->data, plan.max_length, &e)) return report(&e);
    if (o->packing) tuning_units(s, r->packs.n);
    size_t n = (size_t)o->tuning.show;
    return n ? show_examples(s->t.m, &s->data, o->packing ? &r->packs : NULL, &plan, n) : 0;
}

static int sft_forecast(tuning *s) {
    const trainer *t = &s->t;
    const pith__examples *x = &s->data;
    say_learned(s);
    fprintf(stderr, "examples     %zu to learn from, %zu held out; %zu tokens, of which %zu count; the longest has %d\n",
            x->n_train, x->n_eval, x->n_token, x->n_label, x->longest);
    say_examples(s);
    return tuning_forecast(s, t->n_eval < t->o->max_eval ? t->n_eval : t->o->max_eval);
}

int verb_sft(int argc, char **argv) {
    static const lesson sft_lesson = { .data = sft_data, .forecast = sft_forecast };
    sft_options o;
    int code = read_sft_options(argc, argv, &o);
    if (code != GO_ON) return code;
    sft_run r = { .o = &o };
    code = tuning_run(&r.s, &o.tuning, &sft_objective, &sft_lesson);
    pith__packs_free(&r.packs);
    return code;
}
