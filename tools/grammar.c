/* grammar.c - run grammar: is a text a sentence of a grammar?
 *
 * Nothing is written on standard output for a yes, and the exit code is 0. For a no it is 3, and standard error
 * says at which byte, and what could have stood there. */
#include "verbs.h"

#include <stdlib.h>
#include <string.h>

int open_grammar(const grammar_choice *c, const pith_model *m, pith_grammar **g) {
    const char *path = c->file ? c->file : c->schema_file, *given = c->text ? c->text : c->schema;
    pith_error e = { 0, "" };
    char *text = NULL;
    size_t n = given ? strlen(given) : 0;
    *g = NULL;
    if (!path && !given) return 0;
    if (!c->text + !c->file + !c->schema + !c->schema_file < 3)
        return complain(USAGE, "need one of --grammar, --grammar-file, --json-schema and --json-schema-file");
    int code = path ? read_text(path, &text, &n) : 0;
    if (code) return code;
    const char *from = path ? text : given;
    *g = c->schema || c->schema_file ? pith_grammar_schema(from, n, &e) : pith_grammar_new(from, n, &e);
    free(text);
    if (*g && (!m || !pith_grammar_fits(*g, m, &e))) return 0;
    pith_grammar_free(*g);
    *g = NULL;
    if (e.code == PITH_EMEMORY) return complain(FAILED, "%s", e.text);
    return path ? complain(BAD_DATA, "%s: %s", path, e.text) : complain(USAGE, "%s", e.text);
}

/* What was given is a grammar. */
static void say_grammar(const grammar_choice *c, const pith_grammar *g) {
    const char *file = c->file ? c->file : c->schema_file;
    int n = 0;
    for (size_t i = 0; i < g->n_rule; i++) n += !g->rule[i].part;
    note(0, "%s%sa grammar of %d rule%s%s; -f TEXT asks whether a text is a sentence of it", file ? file : "", file ? ": " : "", n,
         n == 1 ? "" : "s", g->n_token ? ", with tokens that a model's vocabulary has to have" : "");
}

int verb_grammar(int argc, char **argv) {
    static const char usage[] =
        "run grammar (--grammar-file F | --json-schema-file F) [-f TEXT] [--print]\n"
        "is the text of a file a sentence of a grammar? Exit code 0: yes, 3: no, and from which byte on.\n"
        "Without -f: is it a grammar? One that names tokens, <think> or !<[7]>, is checked no further: that needs a\n"
        "model, and run MODEL --grammar-file F has one.\n\n";
    grammar_choice choice = { NULL, NULL, NULL, NULL };
    const char *file = NULL, *model = NULL;
    int print = 0;
    const flag flags[] = {
        GRAMMAR_FLAGS(choice),
        { 'f', "file", TEXT, &file, 0, 0, "FILE", "the text, every byte of it; - reads standard input" },
        { 0, "print", SWITCH, &print, 0, 0, "", "print the grammar as GBNF" },
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    int code = read_flags(argc, argv, usage, flags, &model);
    if (code != GO_ON) return code;
    if (model) return complain(USAGE, "'%s' is no flag: a grammar needs no model", model);
    pith_grammar *g;
    pith_error e = { 0, "" };
    char *text = NULL;
    size_t n = 0;
    code = open_grammar(&choice, NULL, &g);
    if (!code && !g) code = complain(USAGE, "need --grammar-file FILE or --json-schema-file FILE");
    if (!code && print) fputs(pith_grammar_text(g), stdout), code = flush_stdout();
    if (!code && file) code = read_text(file, &text, &n);
    while ((choice.schema || choice.schema_file) && n && strchr(" \t\r\n", text[n - 1])) n--; /* behind a document they mean nothing */
    if (!code && file && pith_grammar_match(g, text, n, &e))
        code = complain(e.code == PITH_EMEMORY ? FAILED : e.code == PITH_EARG ? USAGE : BAD_DATA, "%s: %s", file, e.text);
    if (!code && !file && !print) say_grammar(&choice, g);
    free(text);
    pith_grammar_free(g);
    return code;
}
