/* talk.c - a conversation: the user's turns are read, the model's are written.
 *
 * It is encoded whole for every answer; pith_sync then evaluates what is new. At a terminal lines are edited, those
 * that begin with / are commands, and Ctrl-C ends an answer; in a pipe each line is a turn and nothing else. */
#define _XOPEN_SOURCE 700
#include "talk.h"
#include "verbs.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- the user's turn ------------------------------------------------------------------------- */

static void prompt_with(const talk *k, const char *text) {
    if (k->o->model.quiet && !isatty(STDIN_FILENO)) return;
    fprintf(stderr, isatty(STDERR_FILENO) ? "%s" : "%s\n", text);
}

/* Is line number of standard input, n bytes, text that a message can be? */
static int check_line(const char *line, size_t n, int number) {
    for (size_t i = 0; i < n;) {
        int length = pith__utf8_length((const uint8_t *)line + i, n - i);
        if (length <= 0) return complain(BAD_DATA, "standard input: line %d, byte %zu: bytes that are not UTF-8", number, i);
        if (!line[i]) return complain(BAD_DATA, "standard input: line %d, byte %zu: a NUL", number, i);
        i += (size_t)length;
    }
    return 0;
}

/* A line from standard input without its end, NULL at the end of input; the caller frees it. */
static int ask(talk *k, const char *question, char **line) {
    size_t room = 0, n;
    *line = NULL;
    prompt_with(k, question);
    ssize_t got = stopped() ? -1 : getline(line, &room, stdin);
    int code = got < 0 ? 0 : clean_text("standard input", *line, (n = (size_t)got, &n));
    if (got >= 0) k->n_line++;
    if (got >= 0 && !code) code = check_line(*line, n, k->n_line);
    if (got >= 0 && !code) {
        if (n && (*line)[n - 1] == '\n') (*line)[n - 1] = 0;
        return 0;
    }
    if (isatty(STDERR_FILENO)) fputc('\n', stderr); /* the shell goes on below the question */
    free(*line);
    *line = NULL;
    return code;
}

/* The same at a terminal. Ctrl-C drops what was typed; only where that is nothing, the second leaves. */
static int ask_person(talk *k, const char *question, char **line) {
    int code, asked = 0;
    while ((code = edit_line(question, &k->editor, line)) == LINE_DROPPED || (code == LINE_BREAK && !asked)) {
        fprintf(stderr, "(Ctrl-C once more, Ctrl-D or /exit leaves)\n");
        asked = 1;
    }
    if (code == LINE_FAILED) return complain(FAILED, "no memory for the line");
    return code == LINE_BREAK ? 130 : 0;
}

/* After a line that begins with """: all lines up to one that ends so. Ctrl-C drops them: *text is empty. */
static int ask_for_more(talk *k, char **text) {
    static const char mark[] = "\"\"\"";
    memmove(*text, *text + 3, strlen(*text + 3) + 1);
    for (;;) {
        size_t n = strlen(*text);
        if (n >= 3 && !strcmp(*text + n - 3, mark)) {
            (*text)[n - 3 - (n > 3 && (*text)[n - 4] == '\n')] = 0;
            if (**text == '\n') memmove(*text, *text + 1, strlen(*text));
            return 0;
        }
        char *line;
        int code = edit_line("... ", &k->editor, &line);
        if (code == LINE_BREAK || code == LINE_DROPPED)
            return fprintf(stderr, "(the message is dropped)\n"), **text = 0;
        if (code == LINE_FAILED) return complain(FAILED, "no memory for the line");
        if (!line) return 0;
        size_t more = strlen(line);
        char *both = realloc(*text, n + more + 2);
        if (both) *text = both, both[n] = '\n', memcpy(both + n + 1, line, more + 1);
        free(line);
        if (!both) return complain(FAILED, "no memory for the message");
    }
}

/* What the user says next; *text NULL: nothing more. */
static int next_turn(talk *k, char **text) {
    if (!k->typed) return ask(k, "User: ", text);
    int code = ask_person(k, "> ", text);
    if (!code && *text && !strncmp(*text, "\"\"\"", 3)) code = ask_for_more(k, text);
    if (code) free(*text), *text = NULL;
    return code;
}

/* ---- what the model reads -------------------------------------------------------------------- */

/* The template of --chat-template-file, else the model's; none where --chat-template names a form, or there is none. */
static int open_form(talk *k) {
    const options *o = k->o;
    pith_error e = { 0, "" };
    char *text = NULL;
    size_t n = 0;
    int own = !o->model.options.chat_template && pith_model_shape(k->v->m)->has_chat;
    int code = o->template_file ? read_text(o->template_file, &text, &n) : 0;
    if (!code && (own || text)) {
        k->form = pith_template_new(k->v->m, text, n, o->template_file, &e);
        if (!k->form) code = complain(e.code == PITH_EMEMORY ? FAILED : BAD_DATA, "%s", e.text);
    }
    free(text);
    if (!code && !k->form && o->variables)
        return complain(USAGE, "--chat-template-kwargs is of a chat template, and the model has none");
    return code;
}

/* The variables of --chat-template-kwargs, before which stands whether to think; the caller frees them. */
static char *form_variables(const options *o) {
    const char *given = o->variables ? o->variables + strspn(o->variables, " \t\r\n") : "{}";
    int on = o->reasoning && !strcmp(o->reasoning, "on"), off = o->reasoning && !strcmp(o->reasoning, "off");
    size_t room = strlen(given) + 100;
    char *text = malloc(room);
    const char *how = on ? "true" : "false", *rest = *given == '{' ? given + 1 + strspn(given + 1, " \t\r\n") : NULL;
    if (text && (!rest || (!on && !off))) strcpy(text, given); /* what is no object is refused later */
    else if (text)
        snprintf(text, room, "{\"enable_thinking\":%s,\"thinking\":%s%s%s", how, how, *rest == '}' ? "" : ",", rest);
    return text;
}

static int encode_in_form(const talk *k, pith_token **t, int *n) {
    pith_error e = { 0, "" };
    pith_rendering r;
    time_t now = time(NULL);
    const struct tm *tm = localtime(&now);
    pith_time at = { 1970, 1, 1, 0, 0, 0 };
    if (tm) at = (pith_time){ tm->tm_year + 1900, tm->tm_mon + 1, tm->tm_mday, tm->tm_hour, tm->tm_min, tm->tm_sec };
    char *variables = form_variables(k->o), *said = messages_as_json(&k->all);
    const pith_conversation c = { .messages = said, .variables = variables, .now = &at };
    int code = variables && said ? 0 : complain(FAILED, "no memory for the conversation");
    if (!code && pith_render(k->form, &c, &r, &e)) code = report(&e);
    free(variables);
    free(said);
    if (code) return code;
    *t = r.token, *n = r.n_token;
    if (*n) r.token = NULL;
    pith_rendering_free(&r);
    return *n ? 0 : complain(BAD_DATA, "the chat template writes nothing for this conversation");
}

/* Tokens of the conversation; the caller frees *t. */
static int encode_talk(const talk *k, pith_token **t, int *n) {
    pith_error e = { 0, "" };
    const pith_model *m = k->v->m;
    if (k->form) return encode_in_form(k, t, n);
    pith_turn *turn = calloc((size_t)k->all.n + 1, sizeof *turn);
    for (int i = 0; turn && i < k->all.n; i++) {
        const message *said = k->all.m + i;
        turn[i] = (pith_turn){ said->role, said->text, said->token, said->n_token };
    }
    *n = turn ? pith_encode_chat(m, turn, k->all.n, NULL, 0, &e) : 0;
    *t = turn && *n >= 0 ? malloc((size_t)(*n + 1) * sizeof **t) : NULL;
    if (*t) *n = pith_encode_chat(m, turn, k->all.n, *t, *n, &e);
    free(turn);
    if (*n < 0) return free(*t), complain(e.code == PITH_EMEMORY ? FAILED : USAGE, "%s%s", e.text,
                                          e.code == PITH_EARCH ? " (--chat-template)" : "");
    return *t ? 0 : complain(FAILED, "no memory for the conversation");
}

static int has_system(const talk *k) { return k->all.n && !strcmp(k->all.m[0].role, "system"); }

/* The same, with room for an answer: where the context has none, the oldest turns are left out. */
static int encode_what_fits(talk *k, pith_token **t, int *n) {
    int first = has_system(k), before = k->n_dropped, code;
    int room = k->keeps_all || k->all.n - first < 3 ? 0 : k->n_ctx / 4; /* for the answer */
    while ((code = encode_talk(k, t, n)) == 0 && *n > k->n_ctx - room) {
        if (k->keeps_all || k->all.n - first < 3) break;
        free(*t);
        drop_messages(&k->all, first, 2);
        k->n_dropped += 2;
        if (k->all.n - first < 3) room = 0;
    }
    if (code) return code;
    if (k->n_dropped > before)
        note(k->o->model.quiet, "the context of %d tokens is full: the oldest %d messages are forgotten (-c)", k->n_ctx,
             k->n_dropped - before);
    if (*n <= k->n_ctx) return 0;
    free(*t);
    return complain(USAGE, "the conversation has %d tokens, the context %d%s", *n, k->n_ctx,
                    k->typed && k->keeps_all ? ": /undo or /clear makes room" : "");
}

/* ---- the model's turn ------------------------------------------------------------------------ */

static int append(char **text, size_t *n, const char *more, size_t n_more) {
    char *longer = realloc(*text, *n + n_more + 1);
    if (!longer) return FAILED;
    *text = longer;
    if (n_more) memcpy(longer + *n, more, n_more);
    longer[*n += n_more] = 0;
    return 0;
}

/* The assistant's turn, of at most room tokens. */
static int answer(talk *k, int room) {
    enum { SOME = 256 };
    voice *v = k->v;
    pith_token *t = NULL;
    char *text = calloc(1, 1), *thought = calloc(1, 1);
    size_t n_text = 0, n_thought = 0;
    int code = text && thought ? GO_ON : complain(FAILED, "no memory for the conversation"), n = 0;
    double start = seconds();
    pith_generation_free(&v->g);
    v->g.n_predict = room;
    while (code == GO_ON) {
        code = say_next(v);
        pith_token *more = n % SOME ? t : realloc(t, (size_t)(n + SOME) * sizeof *t);
        if (more) t = more;
        if (!more || append(&text, &n_text, v->g.text, v->g.n_text) ||
            append(&thought, &n_thought, v->g.thought, v->g.n_thought)) { code = complain(FAILED, "no memory for the conversation"); break; }
        if (v->g.n_token > n) t[n++] = v->g.token;
    }
    k->n_written = v->g.n_token, k->write_seconds = seconds() - start;
    if (code) free(text);
    else code = add_message(&k->all, "assistant", text);
    if (!n_thought || code) free(thought), thought = NULL;
    if (code) return free(t), code;
    message *said = k->all.m + k->all.n - 1;
    said->token = t, said->n_token = n, said->thought = thought;
    output_text(&v->out, "\n", 1);
    output_flush(&v->out);
    return 0;
}

/* At a terminal Ctrl-C ends what is at work, not the program. */
static int interrupted(const talk *k) { return k->typed && take_interrupt(); }

/* What llama2.c draws: a number at every position, of a prompt too. */
static void draw_as_llama2c(voice *v, int talked, int n) {
    int draws = pith_model_shape(v->m)->llama2c && v->g.how.temperature > 0;
    for (int i = talked + 1; draws && i < n; i++) pith_random(&v->g.rng);
}

/* Reads the conversation. GO_ON, or an exit code. */
static int read_it(talk *k, int *n) {
    pith_token *t = NULL;
    int code = encode_what_fits(k, &t, n);
    if (code) return code;
    double start = seconds();
    draw_as_llama2c(k->v, k->talked, *n);
    k->n_known = pith_known(k->v->s, t, *n), k->n_read = *n;
    if (!k->talked) kept_say(&k->o->kept, k->o->model.quiet, k->n_known, *n);
    code = sync_tokens(k->v->s, t, *n);
    k->read_seconds = seconds() - start;
    free(t);
    return code ? code : GO_ON;
}

/* The assistant's answer to what was said last. An exit code, or GO_ON for the next. */
static int exchange(talk *k) {
    voice *v = k->v;
    const options *o = k->o;
    int n = 0, code = read_it(k, &n);
    int broken = interrupted(k);
    if (k->typed && (broken || (code > 0 && code != FAILED))) {
        if (broken) note(o->model.quiet, "the question was not read to its end and is dropped (Ctrl-C)");
        drop_messages(&k->all, k->all.n - 1, 1); /* a question that cannot be read is not asked */
        return GO_ON;
    }
    if (code != GO_ON || stopped()) return code == GO_ON ? 0 : code;
    if (!k->typed) prompt_with(k, "Assistant: ");
    int room = k->n_ctx - n + 1, most = o->n_predict > 0 ? o->n_predict : k->typed && o->n_predict < -1 ? ANSWER_TOKENS : 0;
    int few = most > 0 && most < room;
    code = answer(k, few ? most : room);
    int cut = interrupted(k);
    k->talked = pith_position(v->s);
    if (code || v->out.code || stopped()) return code;
    if (cut) note(o->model.quiet, "the answer was stopped (Ctrl-C)");
    else if (few && v->ended == PITH_LIMIT)
        note(o->model.quiet, "the answer ends here, after %d tokens (--n-predict)", most);
    else if (v->ended == PITH_FULL || v->ended == PITH_LIMIT)
        note(o->model.quiet, "the conversation has its %d tokens (-n, -c)", k->n_ctx);
    /* --no-drop: a question more is an error. -n: it ends here, unless a person wants to save it. */
    return pith_position(v->s) < k->n_ctx || !k->keeps_all || k->typed || o->no_drop ? GO_ON : 0;
}

/* ---- the whole --------------------------------------------------------------------------------- */

/* What a conversation begins with, and whether it can be. */
static int begin_talk(talk *k) {
    const options *o = k->o;
    pith_token *t;
    int n, code = o->system && *o->system ? add_message(&k->all, "system", strdup(o->system)) : 0;
    if (!code && !k->form) code = encode_talk(k, &t, &n); /* many templates want a question first */
    if (code) return code;
    if (!k->form) free(t);
    if (!pith_model_shape(k->v->m)->has_chat && !o->model.options.chat_template && !k->form)
        note(o->model.quiet, "the model's file has no chat template: it was perhaps not made for conversations");
    note_templates(&o->model, k->v->m);
    if (k->typed) fprintf(stderr, "/help lists the commands, Ctrl-C ends an answer, Ctrl-D leaves\n");
    return 0;
}

/* Turn after turn. text: the first, or NULL; only: there is no other. */
static int take_turns(talk *k, char *text, int only) {
    int code = GO_ON;
    while (code == GO_ON && !stopped()) {
        if (!text && (code = next_turn(k, &text)) != 0) break;
        if (!text) break;
        code = GO_ON;
        if (k->typed && *text == '/') {
            code = command(k, text);
            free(text);
        } else if (k->typed && !*text) {
            free(text);
        } else {
            code = add_message(&k->all, "user", text);
            k->again = !code;
        }
        text = NULL;
        if (k->typed && k->again) line_waits(&k->editor);
        if (k->again) code = exchange(k);
        line_goes_on(&k->editor);
        k->again = 0;
        if (only) break;
    }
    free(text);
    return code == GO_ON ? 0 : code;
}

int converse(voice *v, options *o) {
    const pith_shape *shape = pith_model_shape(v->m);
    int whole = o->model.context.n_ctx ? o->model.context.n_ctx : shape->n_ctx;
    int n_ctx = o->n_total == NOT_SAID ? (shape->llama2c ? 256 : 0) : o->n_total;
    if (n_ctx == 0 || n_ctx > whole) n_ctx = whole;
    int code = set_thoughts(v, o), given = o->prompt || o->file;
    if (!code) code = set_reasoning(v, o);
    int room = n_ctx;
    if (!code) code = find_kept(v, o, &room);
    if (!code) code = start_session(v, o, room);
    if (code) return code;
    if (n_ctx > o->model.context.n_ctx) n_ctx = o->model.context.n_ctx;

    talk k = { .v = v, .o = o, .n_ctx = n_ctx, .typed = can_edit() };
    k.keeps_all = o->no_drop || shape->llama2c || o->n_total != NOT_SAID; /* -n counts the whole conversation */
    char *text = NULL;
    size_t n;
    v->eos = shape->eos;
    v->g.end = &v->eos, v->g.n_end = 1;
    interrupts_end_answers(k.typed);
    code = open_form(&k);
    if (!code) code = begin_talk(&k);
    if (!code && given) code = get_prompt(o, &text, &n);
    if (!code) code = take_turns(&k, text, given && !isatty(STDIN_FILENO));
    free_messages(&k.all);
    pith_template_free(k.form);
    free_editor(&k.editor);
    say_drafts(v, o);
    if ((code == 0 || code == 130) && kept_save(&o->kept, v->s)) code = FAILED;
    if (code) return code;
    return given || k.typed || feof(stdin) || stopped() || v->out.code ? 0 : complain(FAILED, "standard input cannot be read");
}
