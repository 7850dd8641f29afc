/* pretrain.c - run pretrain: from a text file to a model.
 *
 *     run pretrain TEXT --output_dir OUT --dim 288 --layers 6 ...
 *
 * Learns a vocabulary from the text (or takes one), makes a Llama of the given shape with random
 * weights, and teaches it to predict the next token. In OUT then are checkpoint-N.gguf as
 * training goes on, train.log.jsonl, and at the end model.gguf, model.bin and tokenizer.bin.
 * Flags have the names that Hugging Face's trainers give them. The loop is in trainer.c. */
#define _POSIX_C_SOURCE 200809L
#include "trainer.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { /* what the user asks for */
    train_options train;
    list texts;
    const char *tokenizer, *normalizer, *out_type;
    int dim, layers, heads, kv_heads, ffn, context, vocab_size, untied; /* 0: not said */
} pretrain_options;

typedef struct { /* the objective: the next token of a text */
    trainer t;
    pretrain_options *o;
    pith__vocab vocab;
    pith__dataset data;
} pretraining;

static pretraining *pretraining_of(const trainer *t) { return t->of; }

/* ---- flags ----------------------------------------------------------------------------------- */

static const pretrain_options pretrain_defaults = {
    .train = { .hold_out = 0.05f, .schedule = "cosine", .batch = 8, .accumulate = 1, .warmup = -1, .eval_steps = -1,
               .save_steps = 500, .log_steps = 10, .max_eval = 64, .keep = 2, .epochs = 3, .lr = 1e-3f, .min_lr = -1,
               .decay = 0.1f, .max_norm = 1, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .seed = 42 },
    .out_type = "f32"
};

static const char pretrain_usage[] =
    "run pretrain TEXT --output_dir OUT [options]\n"
    "Make a model from a text: documents separated by <|endoftext|>, or a .jsonl file of\n"
    "{\"text\": ...}. --resume_from_checkpoint last goes on where a run stopped, to the same\n"
    "bits. Defaults stand in brackets.\n\n";

static int read_pretrain_options(int argc, char **argv, pretrain_options *o) {
    const flag flags[] = {
        { 0, "train-file", LIST, &o->texts, 0, 0, "FILE",
          "one more text; may be given often" },
        { 'z', "tokenizer", TEXT, &o->tokenizer, 0, 0, "FILE", "a .gguf or tokenizer.bin" },
        { 0, "vocab-size", INTEGER, &o->vocab_size, 1, 1 << 24, "N",
          "else learn so many pieces (4096)" },
        { 0, "normalizer", TEXT, &o->normalizer, 0, 0, "NAME",
          "from text in Unicode's normal form C: nfc, or none (nfc)" },
        { 0, "dim", INTEGER, &o->dim, 1, 1 << 16, "N", "channels of the stream (288)" },
        { 0, "layers", INTEGER, &o->layers, 1, 1 << 10, "N", "blocks (6)" },
        { 0, "heads", INTEGER, &o->heads, 1, 1 << 12, "N", "heads of attention (6)" },
        { 0, "kv-heads", INTEGER, &o->kv_heads, 1, 1 << 12, "N", "key and value heads (as heads)" },
        { 0, "ffn", INTEGER, &o->ffn, 1, 1 << 20, "N",
          "width of the feed-forward network (8/3 dim)" },
        { 0, "context", INTEGER, &o->context, 1, 1 << 20, "N", "tokens of a sequence (256)" },
        { 0, "untied", SWITCH, &o->untied, 0, 0, "", "an output matrix apart from the embedding" },
        { 0, "outtype", TEXT, &o->out_type, 0, 0, "TYPE", "of model.gguf: f32, f16, q8_0 (%)" },
        QAT_FLAGS(&o->train),
        TRAINING_FLAGS(&o->train, "1e-3", "0.05"),
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    const char *text = NULL;
    *o = pretrain_defaults;
    int code = read_flags(argc, argv, pretrain_usage, flags, &text);
    if (code != GO_ON) return code;
    if ((code = add_text(&o->texts, text))) return code;
    if ((code = check_training(&o->train))) return code;
    if (o->normalizer && wants_nfc(o->normalizer) < 0) return USAGE;
    if (o->train.qat && o->out_type != pretrain_defaults.out_type)
        return complain(USAGE, "--outtype and --qat both say what is written: need one of them");
    const pith__format *f = pith__format_named(o->out_type);
    if (!f || (f->id != PITH__F32 && f->id != PITH__F16 && f->id != PITH__Q8_0))
        return complain(USAGE, "--outtype is '%s', need f32, f16 or q8_0", o->out_type);
    return GO_ON;
}

/* ---- the shape ------------------------------------------------------------------------------- */

/* A size is what the flag says (0: nothing), else what the checkpoint has, else otherwise. Only the context
 * may be another than the checkpoint's: no weight has its size. */
static int size_said(pretraining *p, const char *shown, int *said, const char *name, int otherwise) {
    const trainer *t = &p->t;
    const pith__key *k = t->o->resume ? pith__store_key(&t->from, name) : NULL;
    if (t->o->resume && (!k || k->type != PITH__INT || k->i < 1 || k->i > 1 << 24))
        return complain(BAD_DATA, "%s: is no checkpoint of this program: %s", t->from.path, name);
    if (k && *said && *said != k->i && said != &p->o->context)
        return complain(BAD_DATA, "%s: has another shape: %s is %d there, not %d", t->from.path,
                        shown, (int)k->i, *said);
    if (!*said) *said = k ? (int)k->i : otherwise;
    return 0;
}

static int check_shape(const pretrain_options *o) {
    if (o->dim % o->heads)
        return complain(USAGE, "--heads is %d, need a divisor of --dim %d", o->heads, o->dim);
    if (o->dim / o->heads % 2)
        return complain(USAGE, "--heads %d of --dim %d have %d channels each, need an even number",
                        o->heads, o->dim, o->dim / o->heads);
    if (o->heads % o->kv_heads)
        return complain(USAGE, "--kv-heads is %d, need a divisor of --heads %d", o->kv_heads,
                        o->heads);
    return 0;
}

static int choose_sizes(pretraining *p) {
    pretrain_options *o = p->o;
    const char *const names[] = { "embedding_length", "block_count", "attention.head_count",
                                  "attention.head_count_kv", "feed_forward_length",
                                  "context_length" };
    const char *const flags[] = { "--dim", "--layers", "--heads", "--kv-heads", "--ffn",
                                  "--context" };
    int *const said[] = { &o->dim, &o->layers, &o->heads, &o->kv_heads, &o->ffn, &o->context };
    for (int i = 0; i < 6; i++) {
        const int otherwise[] = { 288, 6, 6, o->heads, (o->dim * 8 / 3 + 31) / 32 * 32, 256 };
        char name[64];
        snprintf(name, sizeof name, "llama.%s", names[i]);
        int code = size_said(p, flags[i], said[i], name, otherwise[i]);
        if (code) return code;
    }
    return check_shape(o);
}

/* A document ends with the token that begins the next one, so that token becomes the model's end token. */
static int end_documents(pretraining *p) {
    pith_token end = pith__document_token(&p->vocab);
    if (end < 0)
        return complain(BAD_DATA, "%s: its vocabulary has neither BOS nor EOS, so no document could begin or end",
                        p->t.from.path);
    p->vocab.end[0] = end, p->vocab.n_end = 1;
    return 0;
}

static int choose_shape(pretraining *p) {
    const trainer *t = &p->t;
    pretrain_options *o = p->o;
    int code = end_documents(p);
    if (!code) code = choose_sizes(p);
    if (code) return code;
    int apart = t->o->resume && pith__store_tensor(&t->from, "output.weight");
    if (t->o->resume && o->untied && !apart)
        return complain(BAD_DATA, "%s: has another shape: it is not --untied", t->from.path);
    if (t->o->resume) o->untied = apart;
    if (o->vocab_size && o->vocab_size != p->vocab.n)
        return complain(BAD_DATA, "%s: --vocab_size is %d, its vocabulary has %d pieces",
                        t->from.path ? t->from.path : "the text", o->vocab_size, p->vocab.n);
    if (o->normalizer && wants_nfc(o->normalizer) != p->vocab.nfc)
        return complain(BAD_DATA, "%s: --normalizer is %s, its vocabulary has %s", t->from.path, o->normalizer,
                        p->vocab.nfc ? "nfc" : "none");
    return 0;
}

/* ---- the vocabulary -------------------------------------------------------------------------- */

/* --tokenizer beside a checkpoint, which has one itself: its pieces must stand for the same bytes. */
static int same_vocab(const pretraining *p, const char *path) {
    pith__store s;
    pith_error e = { 0, "" };
    int code = open_vocab_file(&s, path);
    if (code) return code;
    pith__tokenizer *a = pith__tokenizer_new(&p->vocab, &e), *b = pith__tokenizer_new(&s.vocab, &e);
    int same = a && b && p->vocab.n == s.vocab.n;
    for (int i = 3; i < s.vocab.n && same; i++) /* the first three are spelled in many ways */
        same = !pith__str_cmp(pith__tokenizer_piece(a, i), pith__tokenizer_piece(b, i));
    if (!a || !b) code = complain(FAILED, "%s: %s", path, e.text);
    else if (!same)
        code = complain(BAD_DATA, "%s: has another vocabulary than --tokenizer %s", p->t.from.path, path);
    pith__tokenizer_free(a);
    pith__tokenizer_free(b);
    pith__store_free(&s);
    return code;
}

static int get_vocab(pretraining *p) {
    trainer *t = &p->t;
    pretrain_options *o = p->o;
    int code = 0;
    if (t->o->resume) code = trainer_find_checkpoint(t);
    const char *path = t->o->resume ? t->o->resume : o->tokenizer;
    pith_error e = { 0, "" };
    if (code) return code;
    if (path) {
        if (t->o->last && pith__open(&t->from, path, NULL, &e)) return trainer_bad_checkpoint(t, &e, NOT_LOADED);
        if (!t->o->last) code = open_vocab_file(&t->from, path);
        p->vocab = t->from.vocab;
        return code || !t->o->resume || !o->tokenizer ? code : same_vocab(p, o->tokenizer);
    }
    if (!o->vocab_size) o->vocab_size = 4096;
    double start = seconds();
    pith__texts texts = { o->texts.item, o->texts.n };
    pith__progress watch = progress_of(&t->shown);
    pith__vocab_plan plan = { .model = PITH__SPM, .size = o->vocab_size,
                              .nfc = !o->normalizer || wants_nfc(o->normalizer) };
    if (pith__learn_vocab(&p->vocab, &t->arena, &texts, &plan, &watch, &e)) return report(&e);
    fprintf(stderr, "vocabulary   %d pieces, learned in %.1f s\n", p->vocab.n, seconds() - start);
    return 0;
}

static int new_model(pretraining *p) {
    trainer *t = &p->t;
    const pretrain_options *o = p->o;
    pith__llama shape = { o->dim, o->layers, o->heads, o->kv_heads, o->ffn, o->context, o->untied };
    pith_options opt = { .n_threads = threads_wanted(t->o->threads) };
    pith_error e = { 0, "" };
    if (!opt.n_threads) opt.n_threads = pith__may_use("").cores;
    t->m = pith__new_llama(&shape, &p->vocab, t->o->seed, &opt, &e);
    if (!t->m) return complain(FAILED, "%s", e.text);
    t->base = &t->m->store;
    t->n_ctx = o->context;
    return 0;
}

/* ---- the objective --------------------------------------------------------------------------- */

static void pretrain_size(const trainer *t, int64_t step, step_size *s) {
    (void)step;
    s->n_sequence = t->batch_size;
    s->n_count = s->n_token = t->batch_size * t->n_ctx;
}

static void pretrain_sequence(trainer *t, int64_t step, int64_t i, const sequence_room *room, pith__sequence *s) {
    pretraining *p = pretraining_of(t);
    uint64_t window = (uint64_t)(step * t->batch_size + i);
    if (p->data.file.data) pith__dataset_window(&p->data, t->n_ctx, t->o->seed, window, room->token);
    for (int k = 0; k <= t->n_ctx && !p->data.file.data; k++) /* a forecast: any will do */
        room->token[k] = (pith_token)(pith__random_at(1, (uint64_t)k) % (uint64_t)p->vocab.n);
    *s = (pith__sequence){ .t = room->token, .target = room->token + 1, .n = t->n_ctx };
}

static void pretrain_held_out(trainer *t, int i, const sequence_room *room, pith__sequence *s) {
    int n = pith__dataset_eval_window(&pretraining_of(t)->data, t->n_ctx, i, room->token);
    *s = (pith__sequence){ .t = room->token, .target = room->token + 1, .n = n };
}

static int pretrain_measure(trainer *t, const pith__loss *loss) {
    const pith__dataset *d = &pretraining_of(t)->data;
    if (!loss->n) return 0;
    double bits = loss->sum / (double)loss->n / log(2) * (double)d->n_eval / (double)d->eval_bytes;
    fprintf(stderr, "  bits/byte %.4f", bits);
    log_number(t, "eval_bits_per_byte", bits);
    return 0;
}

enum { SAMPLE = 100 }; /* tokens */

/* A text as the model writes it now, to the terminal and the log. */
static int write_sample(trainer *t) {
    const pith_shape *shape = pith_model_shape(t->m);
    pith_session *s = t->step->tape[0][0]->s;
    pith_token first = shape->bos >= 0 ? shape->bos : shape->eos;
    pith_generation g = { .how = PITH_SAMPLING_DEFAULT, .rng = t->o->seed * 2 + 1, .n_predict = SAMPLE };
    pith_error e = { 0, "" };
    char text[SAMPLE * 64];
    size_t n = 0;
    if (first < 0) return 0;
    pith_rewind(s, 0);
    int code = pith_eval(s, &first, 1, &e);
    while (!code && !stopped()) {
        code = pith_generate(s, &g, &e);
        if (code < 0 || n + g.n_text > sizeof text) break;
        memcpy(text + n, g.text, g.n_text);
        n += g.n_text;
    }
    pith_generation_free(&g);
    if (code < 0) return complain(FAILED, "%s", e.text);
    for (size_t i = 0; i < n; i++) /* nothing that a terminal might obey */
        if (((unsigned char)text[i] < ' ' && text[i] != '\n') || text[i] == 127) text[i] = ' ';
    output say = { .file = stderr };
    output_text(&say, text, n);
    output_text(&say, "\n", 1);
    output_line(&t->log, ", \"sample\": ");
    output_json(&t->log, text, n);
    return 0;
}


/* ---- what it writes -------------------------------------------------------------------------- */

static int pretrain_finish(trainer *t) {
    const pretraining *p = pretraining_of(t);
    const char *gguf = trainer_path(t, "model.gguf"), *bin = trainer_path(t, "model.bin");
    const char *tokenizer = trainer_path(t, "tokenizer.bin");
    if (!gguf || !bin || !tokenizer) return FAILED;
    if (t->o->qat) {
        int failed = trainer_write_rounded(t, NULL, (pith__str){ NULL, 0 }, gguf);
        if (!failed) fprintf(stderr, "%s written, as it was learned; to try it: run %s\n", gguf, gguf);
        return failed;
    }
    pith__tensor *tensor = pith__learned_tensors(&t->params, &t->arena);
    size_t n = t->params.n_param;
    if (!tensor) return complain(FAILED, "%s: no memory to write it", gguf);
    pith_error e = { 0, "" };
    int code = pith__gguf_write(t->base, tensor, n, pith__format_named(p->o->out_type), gguf, &e);
    int spm = p->vocab.model == PITH__SPM; /* llama2.c knows no other */
    if (!code && spm) code = pith__llama2c_write(t->base, tensor, n, bin, &e);
    if (!code && spm) code = pith__tokenizer_write(&p->vocab, tokenizer, &e);
    if (code) return report(&e);
    fprintf(stderr, "%s%s written; to try it: run %s\n", gguf, spm ? ", model.bin, tokenizer.bin" : "", gguf);
    return 0;
}

static const char *const pretrain_outputs[] = { "model.gguf", "model.bin", "tokenizer.bin", "best.gguf",
                                                "train.tokens", "train.log.jsonl", "train.svg", NULL };
static const objective pretraining_objective = {
    .form = { ".gguf", NULL }, .outputs = pretrain_outputs, .n_model = 3, .size = pretrain_size,
    .sequence = pretrain_sequence, .held_out = pretrain_held_out, .measure = pretrain_measure, .show = write_sample,
    .keep_best = trainer_keep_weights, .load_best = trainer_load_weights, .finish = pretrain_finish
};

/* ---- everything a run needs ------------------------------------------------------------------ */

/* Before any of it is there: weights, gradients, and the optimizer's two means. */
static int check_weights_fit(const pretraining *p) {
    const pretrain_options *o = p->o;
    double dim = o->dim, kv = dim / o->heads * o->kv_heads;
    double layer = 2 * dim + 2 * dim * dim + 2 * dim * kv + 3 * dim * o->ffn;
    double n = (double)p->vocab.n * dim * (o->untied ? 2 : 1) + dim + o->layers * layer;
    return check_memory(4 * 4 * n, "training this shape");
}

/* Beside a checkpoint --tokenizer is only compared, and written again as it was. */
static int check_inputs(pretraining *p) {
    trainer *t = &p->t;
    int code = trainer_check_input(t, t->o->eval);
    if (!code && !t->o->resume) code = trainer_check_input(t, p->o->tokenizer);
    for (int i = 0; i < p->o->texts.n && !code; i++) code = trainer_check_input(t, p->o->texts.item[i]);
    return code;
}

static int open_data(pretraining *p) {
    trainer *t = &p->t;
    const train_options *o = t->o;
    const list *from = &p->o->texts;
    const char *path = o->dry_run ? NULL : trainer_path(t, "train.tokens");
    if (!o->dry_run && !path) return FAILED;
    pith__text_choice texts = { { from->item, from->n }, o->eval, o->hold_out };
    pith__progress watch = progress_of(&t->shown);
    pith_error e = { 0, "" };
    int code = o->dry_run ? pith__dataset_count(&p->data, t->m, &texts, &watch, &e)
                          : pith__dataset_open(&p->data, t->m, &texts, path, &watch, &e);
    if (code) return report(&e);
    say_hangul_apart(from->item[0], (size_t)p->data.hangul_apart, p->vocab.nfc);
    if (!pith__dataset_windows(&p->data, t->n_ctx))
        return complain(BAD_DATA, "%s: has %zu tokens to learn from, need %d: more than --context",
                        from->item[0], p->data.n_train, t->n_ctx + 1);
    t->key = p->data.key;
    t->n_eval = pith__dataset_eval_windows(&p->data, t->n_ctx);
    t->per_epoch = (double)p->data.n_train / ((double)o->batch * o->accumulate * t->n_ctx);
    return trainer_plan(t);
}

static int forecast(pretraining *p) {
    trainer *t = &p->t;
    const pith__hyper *h = &t->m->hyper;
    double n = (double)t->params.n, making = 12 * (double)p->data.longest; /* as the tokenizer takes */
    double width = p->vocab.n > 65536 ? 4 : 2; /* bytes of a token in the file that is mapped */
    double windows = t->n_eval < t->o->max_eval ? t->n_eval : t->o->max_eval;
    int json = p->data.kinds & ~(1 << PITH__PROSE);
    fprintf(stderr,
            "shape        dim %d, %d layers, %d heads, %d kv heads, ffn %d, context %d, vocabulary "
            "%d\n",
            h->n_embd, h->n_layer, h->n_head, h->n_kv_head, h->n_ff, t->n_ctx, h->n_vocab);
    fprintf(stderr, "parameters   %.0f\n", n);
    fprintf(stderr, "text         %zu tokens to learn from, %zu held out%s\n", p->data.n_train, p->data.n_eval,
            !json ? "" : json & 1 << PITH__JSON_ARRAY ? ", read as a JSON array" : ", read as JSON, a document a line");
    if (making > 16 * n) fprintf(stderr, "             %.0f MB while the longest document becomes tokens\n", 1e-6 * making);
    return trainer_forecast(t, "weights", 4 * n, width * (double)(p->data.n_train + p->data.n_eval), windows * t->n_ctx);
}

static int pretrain(pretraining *p) {
    trainer *t = &p->t;
    pith_error e = { 0, "" };
    int code = t->o->resume ? 0 : choose_sizes(p); /* before anything is made or learned */
    if (!code && !t->o->resume) code = check_weights_fit(p);
    if (!code) code = check_inputs(p);
    if (!code && !t->o->dry_run) code = trainer_open_folder(t);
    if (!code) code = get_vocab(p);
    if (!code) code = choose_shape(p);
    if (!code) code = check_weights_fit(p);
    if (!code) code = new_model(p);
    if (!code && pith__params_new(&t->params, t->m, &e)) code = complain(FAILED, "%s", e.text);
    if (!code) code = trainer_qat(t, NULL);
    if (!code) code = trainer_memory(t, 4 * t->params.n);
    if (!code) code = open_data(p);
    t->untrained = log((double)p->vocab.n);
    if (!code && t->o->resume) code = trainer_resume(t);
    if (!code) code = forecast(p);
    if (code || t->o->dry_run) return code;
    code = trainer_open_log(t);
    return code ? code : trainer_run(t);
}

int verb_pretrain(int argc, char **argv) {
    pretrain_options o;
    int code = read_pretrain_options(argc, argv, &o);
    if (code != GO_ON) return code;
    pretraining p = { .o = &o };
    trainer_begin(&p.t, &o.train, &pretraining_objective, &p);
    code = pretrain(&p);
    if (code && code == stopped() && !p.t.log.file)
        fprintf(stderr, "stopped before the first step; to begin again, give the same command\n");
    trainer_free(&p.t);
    pith__dataset_close(&p.data);
    return code;
}
