/* run.c - the command line: a model file in, text out.
 *
 *     run MODEL [options]         write a text, or with -m chat hold a conversation
 *     run VERB MODEL [options]    everything else, see verbs[]
 *
 * This is the program as its user meets it, and shows how the library is used: open a model, encode
 * a prompt, evaluate it, then sample a token, print it, evaluate it, and so on. What verbs share
 * is in tools/: flags.c, output.c, and cli.c (signals, models, texts). */
#define _XOPEN_SOURCE 700
#include "model.h"
#include "tools/tools.h"
#include "tools/voice.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- options --------------------------------------------------------------------------------- */

static const options defaults = {
    .n_total = NOT_SAID, .n_predict = NOT_SAID, .keep = NOT_SAID, .n_sample = 1, .thought_budget = -1,
    .sampling = SAMPLING_NOT_SAID
};

static const char usage[] =
    "run MODEL [options]        write a text\n"
    "run chat MODEL [options]   hold a conversation (also -m chat)\n"
    "run VERB MODEL [options]   batch, score, tokenize, info, bench, merge, quantize, imatrix, drift;\n"
    "                           run VERB --help says more\n"
    "run search MODEL -i QUESTION -f LINES   which lines of a text are nearest in meaning\n"
    "run VERB TEXT [options]    vocab, pretrain: learn a vocabulary, a model from a text file\n"
    "run sft MODEL DATA.jsonl       teach a model by examples\n"
    "run dpo MODEL PAIRS.jsonl      teach it which of two answers is better\n"
    "run reward MODEL PAIRS.jsonl   teach it to score answers\n"
    "run ppo MODEL PROMPTS.jsonl    teach it by what a reward model finds of what it writes\n"
    "run grpo MODEL PROMPTS.jsonl   teach it by rewards of what it writes\n"
    "MODEL is a llama2.c checkpoint (and -z tokenizer.bin), a .gguf or a Hugging Face folder;\n"
    "without one, the small teller of stories that is built in.\n"
    "(0.8 | 1.0) is a default: 0.8, and 1.0 for llama2.c files.\n\n";

/* What goes together, and what does not. */
static int check_options(const options *o) {
    if (o->mode && strcmp(o->mode, "generate") != 0 && strcmp(o->mode, "chat") != 0)
        return complain(USAGE, "-m is '%s', need generate or chat", o->mode);
    if (o->output && !*o->output) return complain(USAGE, "-o is empty, need the name of a file");
    if (o->keep != NOT_SAID && !o->shift) return complain(USAGE, "--keep is of a text with --context-shift");
    if (o->format && strcmp(o->format, "text") != 0 && strcmp(o->format, "jsonl") != 0)
        return complain(USAGE, "--format is '%s', need text or jsonl", o->format);
    if (o->drafter && o->n_draft) return complain(USAGE, "--draft-lookup and --model-draft are two ways to guess");
    if (o->draft_max && !o->drafter) return complain(USAGE, "--draft-max needs a --model-draft");
    if (o->n_sample > 1 && (o->n_draft || o->drafter || o->trace))
        return complain(USAGE, "%s is of one text, not of --samples",
                        o->n_draft ? "--draft-lookup" : o->drafter ? "--model-draft" : "--trace");
    if (o->parallel && o->n_sample == 1) return complain(USAGE, "--parallel is of more --samples than one");
    if (o->prompt && o->file) return complain(USAGE, "-i and -f both say how the text begins");
    for (int i = 0; i < o->stop.n; i++)
        if (!*o->stop.item[i]) return complain(USAGE, "--stop needs a text that is not empty");
    int code = kept_check(&o->kept, o->output);
    return code ? code : GO_ON;
}

static int read_options(int argc, char **argv, options *o) {
    const flag flags[] = {
        { 'i', "prompt", TEXT, &o->prompt, 0, 0, "TEXT",
          "how the text begins; - reads it from standard input" },
        { 'f', "file", TEXT, &o->file, 0, 0, "FILE", "a file with how the text begins" },
        { 'o', "output", TEXT, &o->output, 0, 0, "FILE", "write the text there" },
        { 'n', NULL, INTEGER, &o->n_total, 0, INT32_MAX, "N",
          "tokens in all, prompt and text; 0: what the context holds (--n-predict | 256)" },
        { 0, "n-predict", INTEGER, &o->n_predict, -1, INT32_MAX, "N",
          "new tokens; -1: no limit (256 | -n)" },
        { 0, "context-shift", SWITCH, &o->shift, 0, 0, "",
          "when the context is full drop its oldest half and read the rest again, as long as a prompt takes" },
        { 0, "keep", INTEGER, &o->keep, -1, INT32_MAX, "N",
          "of a full context the first N tokens stay, and BOS in any case; -1: the prompt (0)" },
        SAMPLING_FLAGS(o->sampling),
        { 's', "seed", SEED, &o->seed, 0, 0, "N", "start of the random numbers; 0: the time (0)" },
        { 0, "samples", INTEGER, &o->n_sample, 1, 1000000, "N",
          "N texts at once, of seed -s, -s + 1, ...; between them a line <|endoftext|> (1)" },
        { 0, "parallel", INTEGER, &o->parallel, 1, 1024, "N",
          "of --samples, so many at a time; the texts do not depend on it (16)" },
        { 0, "format", TEXT, &o->format, 0, 0, "FORMAT",
          "text, or jsonl: an object a line with index, seed, text (prompt and all), tokens (the new ones), finish_reason (text)" },
        { 0, "logit-bias", LIST, &o->bias, 0, 0, "ID+X", "add X to a token's logit; also ID-X" },
        { 0, "ignore-eos", SWITCH, &o->ignore_eos, 0, 0, "", "never end before -n" },
        { 0, "stop", LIST, &o->stop, 0, 0, "TEXT", "end before this text; may be given often" },
        { 0, "parse-special", SWITCH, &o->parse_special, 0, 0, "",
          "read <|names|> in the prompt as special tokens" },
        { 0, "prompt-cache", TEXT, &o->kept.path, 0, 0, "FILE",
          "keep the text there, and what was computed of it: the next run need not read the same beginning" },
        { 0, "prompt-cache-ro", SWITCH, &o->kept.read_only, 0, 0, "", "use that file, but leave it as it is" },
        { 'm', "mode", TEXT, &o->mode, 0, 0, "MODE", "generate or chat (generate)" },
        { 'y', "system-prompt", TEXT, &o->system, 0, 0, "TEXT", "what a chat begins with (nothing)" },
        { 0, "chat-template", TEXT, &o->model.options.chat_template, 0, 0, "NAME",
          "a chat in one of the forms llama2, chatml, ... (the model's chat template)" },
        { 0, "chat-template-file", TEXT, &o->template_file, 0, 0, "FILE", "a chat template instead of the model's" },
        { 0, "chat-template-kwargs", TEXT, &o->variables, 0, 0, "JSON",
          "variables for the chat template: {\"reasoning_effort\": \"low\"}" },
        { 0, "thoughts", TEXT, &o->thoughts, 0, 0, "HOW",
          "what a reasoning model thinks in a chat: show, dim or hide (dim on a terminal, else show)" },
        { 0, "reasoning", TEXT, &o->reasoning, 0, 0, "HOW", "whether it thinks: on, off or auto, as its template does (auto)" },
        { 0, "reasoning-budget", INTEGER, &o->thought_budget, -1, INT32_MAX, "N",
          "end its thoughts after N tokens; -1: no limit (-1)" },
        { 0, "reasoning-budget-message", TEXT, &o->budget_message, 0, 0, "TEXT", "with these words (none)" },
        { 0, "no-drop", SWITCH, &o->no_drop, 0, 0, "",
          "a chat that fills the context ends with an error, instead of forgetting its oldest turns" },
        { 0, "quiet", SWITCH, &o->model.quiet, 0, 0, "", "on standard error only what is wrong" },
        { 0, "draft-lookup", INTEGER, &o->n_draft, 0, 255, "N",
          "guess up to N tokens ahead where the text repeats itself; the same text, sooner (0)" },
        { 0, "model-draft", TEXT, &o->drafter, 0, 0, "MODEL",
          "a smaller model with the same vocabulary guesses ahead; the same text, sooner" },
        { 0, "draft-max", INTEGER, &o->draft_max, 1, 255, "N", "up to N tokens (16)" },
        { 0, "trace", SWITCH, &o->trace, 0, 0, "",
          "show every activation of every layer on standard error" },
        LORA_FLAGS(o->model),
        GRAMMAR_FLAGS(o->grammar),
        MODEL_FLAGS(o->model),
        { 0, "version", SWITCH, &o->version, 0, 0, "", "print the version" },
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    *o = defaults;
    int code = read_flags(argc, argv, usage, flags, &o->model.path);
    if (code != GO_ON) return code;
    if (o->version) return printf("pith %s\n", PITH_VERSION), flush_stdout();
    code = finish_sampling(&o->sampling);
    return code ? code : check_options(o);
}

/* ---- generate -------------------------------------------------------------------------------- */

typedef struct {
    pith_token *t;       /* (n), to be freed */
    int n;
    int ends_in_blank;
} prompt;

/* The prompt's tokens, at least one. */
static int prompt_tokens(const voice *v, const options *o, prompt *p) {
    const pith_shape *shape = pith_model_shape(v->m);
    char *text;
    size_t len;
    int code = get_prompt(o, &text, &len);
    if (code) return code;
    code = encode_text(v->m, text, len, PITH_BOS | (o->parse_special ? PITH_SPECIAL : 0), &p->t, &p->n);
    p->ends_in_blank = len && text[len - 1] == ' ';
    free(text);
    if (code || p->n) return code;
    p->t[0] = shape->bos >= 0 ? shape->bos : shape->eos; /* some families begin with nothing */
    if (p->t[0] >= 0) return p->n = 1, 0;
    return complain(USAGE, "this model needs a prompt (-i TEXT)");
}

static void note_stdin(voice *v, const options *o) {
    if (o->prompt || o->file || v->stdin_said || !stdin_waits()) return;
    note(o->model.quiet, "standard input is not read (-i - takes it for the prompt)");
    v->stdin_said = 1;
}

/* What a user may not have meant. */
static void note_prompt(voice *v, const options *o, const prompt *p) {
    const pith_shape *shape = pith_model_shape(v->m);
    int quiet = o->model.quiet, said = o->prompt || o->file;
    if (p->ends_in_blank)
        note(quiet, "the prompt ends in a blank; most models go on better without it, since their words begin with one");
    if (p->n > 1 && shape->bos >= 0 && p->t[0] == shape->bos && p->t[1] == shape->bos)
        note(quiet, "the text begins with BOS twice: the prompt need not bring its own");
    if (said && shape->has_chat && !o->mode && !o->parse_special && isatty(STDERR_FILENO))
        note(quiet, "this model was made for conversations: -m chat");
    note_stdin(v, o);
}

enum { NEW_TOKENS = 256 }; /* where the user does not say */

/* The positions to take, prompt included, with room for n_ctx. *why: the flag that limits them. llama2.c's files count
 * prompt and text by default, as llama2.c does. */
static int total_tokens(const options *o, int llama2c, int n_prompt, int n_ctx, const char **why) {
    int n = o->n_total, new = o->n_predict;
    if (n == NOT_SAID && new == NOT_SAID && llama2c) n = NEW_TOKENS;
    if (n == NOT_SAID && new == NOT_SAID) new = NEW_TOKENS;
    *why = new == NOT_SAID ? "-n" : "--n-predict";
    if (new != NOT_SAID) n = new < 0 || new > n_ctx - n_prompt ? n_ctx : n_prompt - 1 + new;
    if ((n > 0 || new == 0) && n < n_ctx) return n;
    *why = "-c";
    return n_ctx;
}

/* Whatever cut the prompt or ended the text before the model did. */
static void note_limit(const voice *v, const options *o, int n_prompt, int total, const char *why) {
    int quiet = o->model.quiet || stopped() || v->out.code;
    if (total < n_prompt - 1) note(quiet, "-n %d cuts the prompt, which has %d tokens", total, n_prompt);
    else if (total < n_prompt && !strcmp(why, "-n"))
        note(quiet, "the prompt has all the %d tokens of -n %d", n_prompt, total);
    else if (!v->n_cut) return;
    else if (o->n_sample > 1)
        note(quiet, "%d of %d texts end where they have all the tokens of %s", v->n_cut, o->n_sample, why);
    else if (!strcmp(why, "-c")) note(quiet, "the context of %d tokens is full (-c)", total);
    else if (!strcmp(why, "-n")) note(quiet, "the text ends here, at %d tokens in all (-n)", total);
    else note(quiet, "the text ends here, after %lld new tokens (--n-predict)", v->n_new);
}

static int too_long(int n_prompt, int n_ctx) {
    return complain(USAGE, "the prompt has %d tokens, the context %d", n_prompt, n_ctx);
}

/* The prompt is evaluated before it is shown: meanwhile a terminal shows how far that is. total: positions. */
static int read_prompt(voice *v, const options *o, const prompt *p, int total) {
    int n = p->n < total ? p->n : total, known = pith_known(v->s, p->t, n);
    kept_say(&o->kept, o->model.quiet, known, n);
    v->start = seconds();
    v->untimed = known;
    int code = sync_tokens(v->s, p->t, n);
    if (total > p->n) v->start = seconds(), v->untimed = n;
    if (!code && o->n_sample > 1) code = kept_save(&o->kept, v->s); /* all go on from here */
    v->g.n_predict = total - p->n + 1; /* each position gives a token, that of the prompt's end too */
    return code;
}

static int tokens_shown(const prompt *p, int total) { return p->n <= total ? p->n : total + 1; }

static int write_text(voice *v, const prompt *p, int total) {
    char *text;
    size_t n;
    int code = shown_text(v->m, p->t, tokens_shown(p, total), &text, &n);
    if (code) return code;
    output_text(&v->out, text, n);
    output_flush(&v->out);
    free(text);
    if (p->n <= total && !stopped())
        while ((code = say_next(v)) == GO_ON) continue;
    v->n_cut = v->ended == PITH_LIMIT || v->ended == PITH_FULL;
    v->n_new = v->g.n_token;
    if (code) return code;
    output_text(&v->out, "\n", 1);
    output_flush(&v->out);
    return 0;
}

/* ---- many texts, or one as JSON */

static int wants_samples(const options *o) { return o->n_sample > 1 || (o->format && !strcmp(o->format, "jsonl")); }

/* What the sessions of many texts are evaluated in. */
static int open_pass(voice *v, options *o, int n_ctx) {
    pith_error e = { 0, "" };
    pith_context most = o->model.context;
    if (!most.n_ctx) most.n_ctx = n_ctx;
    v->pass = o->model.context.pass = pith_pass_new(v->m, &most, &e);
    return v->pass ? 0 : complain(FAILED, "%s", e.text);
}

static int write_many(voice *v, const options *o, const prompt *p, int total) {
    samples w = { .m = v->m, .first = v->s, .context = &o->model.context, .prompt = p->t, .n_prompt = p->n,
                  .n_shown = tokens_shown(p, total), .g = v->g, .n = o->n_sample, .parallel = o->parallel,
                  .jsonl = o->format && !strcmp(o->format, "jsonl"), .out = &v->out };
    int code = write_samples(&w);
    if (w.n_half && o->n_sample == 1) complain(0, "the text ends in the middle of what the grammar asks for");
    else if (w.n_half) complain(0, "%d of %d texts end in the middle of what the grammar asks for", w.n_half, w.n);
    v->n_cut = w.n_cut;
    v->n_new = w.n_token;
    return code;
}

/* --context-shift, of a text longer than the context. A model reads badly without the BOS that it was trained with. */
static int set_shift(voice *v, const options *o, const prompt *p, int n_ctx) {
    int bos = p->t[0] == pith_model_shape(v->m)->bos;
    v->g.shift = 1;
    v->g.keep = o->keep == -1 ? p->n : o->keep > bos ? o->keep : bos;
    return v->g.keep <= n_ctx - 2 ? 0 : complain(USAGE, "--context-shift has no room to keep %d tokens of %d (-c)",
                                                 v->g.keep, n_ctx);
}

/* The prompt, then what the model makes of it. */
static int continue_text(voice *v, options *o, const prompt *p) {
    const pith_shape *shape = pith_model_shape(v->m);
    const char *why;
    int n_ctx = o->model.context.n_ctx ? o->model.context.n_ctx : shape->n_ctx;
    if (p->n > n_ctx) return too_long(p->n, n_ctx);
    int total = total_tokens(o, shape->llama2c, p->n, o->shift ? INT32_MAX : n_ctx, &why);
    int code = o->shift && total > n_ctx ? set_shift(v, o, p, n_ctx) : 0;
    int room = total > n_ctx ? n_ctx : total > 1 ? total : 1;
    if (!code) code = find_kept(v, o, &room);
    if (!code && o->n_sample > 1) code = open_pass(v, o, room);
    if (!code) code = start_session(v, o, room);
    if (code) return code;
    n_ctx = o->model.context.n_ctx;
    if (total > n_ctx && p->n > n_ctx) return too_long(p->n, n_ctx); /* memory has no room for more */
    if (total > n_ctx && !o->shift) total = n_ctx, why = "-c";
    if (total > n_ctx && (code = set_shift(v, o, p, n_ctx)) != 0) return code;
    note_prompt(v, o, p);
    code = read_prompt(v, o, p, total);
    if (!code) code = wants_samples(o) ? write_many(v, o, p, total) : write_text(v, p, total);
    if (!code && o->n_sample == 1) code = kept_save(&o->kept, v->s);
    if (code) return code;
    double took = seconds() - v->start;
    note_stdin(v, o); /* a pipe's other end may have been slow */
    note_limit(v, o, p->n, total, why);
    say_drafts(v, o);
    double timed = (double)((p->n < total ? p->n : total) - v->untimed + v->n_new - (v->n_new > 0));
    if (timed > 0 && !o->model.quiet) fprintf(stderr, "achieved tok/s: %f\n", timed / (took + 1e-9));
    return 0;
}

static int generate(voice *v, options *o) {
    prompt p = { NULL, 0, 0 };
    int code = prompt_tokens(v, o, &p);
    if (!code) code = continue_text(v, o, &p);
    free(p.t);
    return code;
}

/* ---- the program ----------------------------------------------------------------------------- */

/* A text has no use for them. */
static int only_in_chat(const options *o) {
    const char *name = o->system ? "-y" : o->model.options.chat_template ? "--chat-template"
                     : o->template_file ? "--chat-template-file" : o->variables ? "--chat-template-kwargs"
                     : o->no_drop ? "--no-drop" : o->thoughts ? "--thoughts" : o->reasoning ? "--reasoning"
                     : o->thought_budget != -1 || o->budget_message ? "--reasoning-budget" : NULL;
    return name ? complain(USAGE, "%s is of a conversation: -m chat", name) : 0;
}

/* And a conversation has none for these. */
static int only_in_text(const options *o) {
    if (o->n_predict == 0) return complain(USAGE, "--n-predict 0 leaves a conversation without answers");
    if (o->model.options.chat_template && (o->template_file || o->variables))
        return complain(USAGE, "--chat-template names a form, which takes no %s",
                        o->template_file ? "--chat-template-file" : "--chat-template-kwargs");
    const char *name = o->shift ? "--context-shift" : o->n_sample > 1 ? "--samples" : o->format ? "--format" : NULL;
    return name ? complain(USAGE, "%s is of a text, not of a conversation", name) : 0;
}

/* Asked for, or at a terminal where nothing else was asked for and the model was made for it. */
static int wants_chat(const options *o, const pith_model *m) {
    if (o->mode) return !strcmp(o->mode, "chat");
    int terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && !o->output;
    return terminal && !o->prompt && !o->file && !wants_samples(o) && pith_model_shape(m)->has_chat;
}

static int run_voice(options *o, pith_model *m) {
    voice v = { .m = m };
    pith_bias *bias = NULL;
    pith_grammar *grammar;
    int code = open_grammar(&o->grammar, m, &grammar);
    if (code) return code;
    v.g = (pith_generation){ .how = o->sampling.how, .rng = o->seed, .stop = o->stop.item, .n_stop = o->stop.n };
    v.g.grammar = grammar;
    fill_sampling(m, &v.g.how);
    code = make_bias(m, o, &bias, &v.g.how);
    if (!code) code = output_open(&v.out, o->output, &o->model);
    if (!code) {
        if (wants_chat(o, m)) code = only_in_text(o) ? USAGE : converse(&v, o);
        else code = only_in_chat(o) ? USAGE : generate(&v, o);
        int written = output_close(&v.out, code == 0 || code == 130);
        if (!code) code = stopped() ? stopped() : written;
    }
    pith_generation_free(&v.g);
    pith_grammar_free(grammar);
    free(bias);
    pith_session_free(v.s);
    end_drafts(&v);
    pith_pass_free(v.pass);
    return code;
}

/* mode: NULL, or what -m would say. */
static int write_or_chat(int argc, char **argv, const char *mode) {
    options o;
    pith_model *m;
    int code = read_options(argc, argv, &o);
    if (code != GO_ON) return code;
    if (mode && o.mode && strcmp(mode, o.mode)) return complain(USAGE, "run %s and -m %s are two things", mode, o.mode);
    if (mode) o.mode = mode;
    if (o.seed == 0) { /* one that is easy to type again */
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        o.seed = ((uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000) % 1000000000 + 1;
    }
    if (o.seed > INT64_MAX - (uint64_t)(o.n_sample - 1))
        return complain(USAGE, "--samples %d from -s %llu on: seeds end at %lld", o.n_sample,
                        (unsigned long long)o.seed, (long long)INT64_MAX);
    code = open_adapted(&o.model, 1, &m);
    if (code) return code;
    if ((code = need_decoder(m)) == 0) code = run_voice(&o, m);
    close_model(&o.model, m);
    if (argc == 1 && code == 0) { /* nothing was asked for, so nobody asked for quiet */
        size_t size;
        bundled_model(&size);
        fprintf(stderr, "\n(by the %.1f MB model that is built in. run -i \"The dog\" begins the story your way, "
                "run MODEL reads another model, run --help says more.)\n", (double)size / 1e6);
    }
    return code;
}

static int verb_chat(int argc, char **argv) { return write_or_chat(argc, argv, "chat"); }

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} verbs[] = {
    { "score", verb_score }, { "embed", verb_embed }, { "tokenize", verb_tokenize }, { "info", verb_info },
    { "rank", verb_rank }, { "fill", verb_fill }, { "classify", verb_classify },
    { "bench", verb_bench }, { "quantize", verb_quantize },
    { "chat", verb_chat },
    { "grammar", verb_grammar },
    { "template", verb_template },
    { "batch", verb_batch },
    { "vocab", verb_vocab },
    { "pretrain", verb_pretrain },
    { "sft", verb_sft },
    { "dpo", verb_dpo },
    { "reward", verb_reward },
    { "ppo", verb_ppo },
    { "grpo", verb_grpo },
    { "merge", verb_merge },
    { "drift", verb_drift },
    { "imatrix", verb_imatrix },
    { "search", verb_search },
};

enum { N_VERB = sizeof verbs / sizeof *verbs };

/* A first word that is no file may be meant as a verb: then say which there are. */
static int meant_as_verb(int argc, char **argv) {
    const char *word = argv[1], *second = argc > 2 && argv[2][0] != '-' ? argv[2] : NULL;
    char names[256] = "";
    for (int i = 0; i < N_VERB; i++) {
        if (second && word[0] != '-' && !strcmp(second, verbs[i].name) && access(second, F_OK) != 0)
            return complain(USAGE, "the verb comes first: run %s %s", second, word);
        size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, " %s", verbs[i].name);
    }
    if (word[0] == '-' || strpbrk(word, "/.") || access(word, F_OK) == 0) return GO_ON;
    for (int i = 0; i < N_VERB; i++)
        if (is_near(word, verbs[i].name))
            return complain(USAGE, "no verb '%s', is it '%s'?", word, verbs[i].name);
    return second ? complain(USAGE, "no verb '%s', need one of:%s", word, names) : GO_ON;
}

int main(int argc, char **argv) {
    static char help[] = "--help";
    prepare_process();
    if (argc == 2 && !strcmp(argv[1], "help") && access(argv[1], F_OK) != 0) argv[1] = help;
    for (int i = 0; i < N_VERB && argc > 1; i++)
        if (!strcmp(argv[1], verbs[i].name) && access(argv[1], F_OK) != 0)
            return verbs[i].run(argc - 1, argv + 1);
    int code = argc > 1 ? meant_as_verb(argc, argv) : GO_ON;
    return code == GO_ON ? write_or_chat(argc, argv, NULL) : code;
}
