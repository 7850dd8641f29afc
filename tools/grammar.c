/* grammar.c - run grammar: is a text a sentence of a grammar?
 *
 * Nothing is written on standard output for a yes, and the exit code is 0. For a no it is 3, and standard error
 * says at which byte, and what could have stood there. */
#include "tools.h"

#include <stdlib.h>
#include <string.h>

/* A grammar from a file. The caller frees it. */
static int open_grammar(const char *path, int schema, pith_grammar **g) {
    pith_error e = { 0, "" };
    char *text;
    size_t n;
    int code = read_text(path, &text, &n);
    if (code) return code;
    *g = schema ? pith_grammar_schema(text, n, &e) : pith_grammar_new(text, n, &e);
    free(text);
    return *g ? 0 : complain(e.code == PITH_EMEMORY ? FAILED : BAD_DATA, "%s: %s", path, e.text);
}

int verb_grammar(int argc, char **argv) {
    static const char usage[] =
        "run grammar (--grammar-file F | --json-schema-file F) [-f TEXT] [--print]\n"
        "is the text of a file a sentence of a grammar? Exit code 0: yes, 3: no, and from which byte on\n\n";
    const char *path = NULL, *schema = NULL, *file = NULL, *model = NULL;
    int print = 0;
    const flag flags[] = {
        { 0, "grammar-file", TEXT, &path, 0, 0, "FILE", "the grammar, as GBNF; - reads standard input" },
        { 0, "json-schema-file", TEXT, &schema, 0, 0, "FILE",
          "a JSON Schema instead; blanks at the text's end are no part of it" },
        { 'f', "file", TEXT, &file, 0, 0, "FILE", "the text, every byte of it; - reads standard input" },
        { 0, "print", SWITCH, &print, 0, 0, "", "print the grammar as GBNF" },
        { 'h', "help", SWITCH, NULL, 0, 0, "", "print this" },
        { 0, NULL, 0, NULL, 0, 0, NULL, NULL }
    };
    int code = read_flags(argc, argv, usage, flags, &model);
    if (code != GO_ON) return code;
    if (model) return complain(USAGE, "'%s' is no flag: a grammar needs no model", model);
    if (!path == !schema) return complain(USAGE, "need one of --grammar-file FILE and --json-schema-file FILE");
    pith_grammar *g = NULL;
    pith_error e = { 0, "" };
    char *text = NULL;
    size_t n = 0;
    code = open_grammar(path ? path : schema, schema != NULL, &g);
    if (!code && print) fputs(pith_grammar_text(g), stdout), code = flush_stdout();
    if (!code && file) code = read_text(file, &text, &n);
    while (schema && n && strchr(" \t\r\n", text[n - 1])) n--; /* behind a document they mean nothing */
    if (!code && file && pith_grammar_match(g, text, n, &e))
        code = complain(e.code == PITH_EMEMORY ? FAILED : BAD_DATA, "%s: %s", file, e.text);
    if (!code && !file && !print) note(0, "the grammar is one; -f FILE asks whether a text is of it");
    free(text);
    pith_grammar_free(g);
    return code;
}
