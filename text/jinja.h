/* jinja.h - the template language of chat templates, as Jinja2 3.1 runs it for transformers.
 *
 * A template is parsed once (text/jinja_parse.c) and run over values (text/jinja_run.c). Every string carries marks, a
 * byte of flags for each of its bytes, through all filters and methods: so of each byte of the result it is known
 * whether the template wrote it or it came from the data, and whether it stands in a {% generation %} block.
 * Everything lives in an arena with a limit, and work is counted: a template can neither hang nor exhaust memory. */
#ifndef PITH_JINJA_H
#define PITH_JINJA_H

#include "text.h"

/* ---- values: text/jinja_value.c --------------------------------------------------------------------- */

enum { /* types of a value */
    PITH__T_ABSENT, /* no argument was given */
    PITH__T_UNDEFINED, PITH__T_NONE, PITH__T_BOOL, PITH__T_INT, PITH__T_BIG, PITH__T_FLOAT, PITH__T_STR,
    PITH__T_LIST, PITH__T_TUPLE, PITH__T_RANGE, PITH__T_VIEW, /* lists; a view is what dict.items() gives */
    PITH__T_ITER, /* what map and select give: has no length, and is empty when it was walked once */
    PITH__T_DICT, PITH__T_SPACE, /* a namespace */
    PITH__T_LOOP, PITH__T_MACRO, PITH__T_CALLABLE /* a function, or the method of self */
};

typedef struct pith__jrun pith__jrun;
typedef struct pith__jbuffer pith__jbuffer;
typedef struct pith__jlist pith__jlist;
typedef struct pith__jdict pith__jdict;
typedef struct pith__jnode pith__jnode;
typedef struct pith__jbuiltin pith__jbuiltin;
struct pith__jloop;
struct pith__jmacro;

typedef struct {
    const char *p;
    const uint8_t *marks; /* (n), or NULL: all have mark */
    size_t n;
    pith__jbuffer *in;    /* what p lies in and may be lengthened there, or NULL */
    uint32_t hash;        /* 0: not known */
    uint8_t mark;
    uint8_t safe;         /* 1: HTML, as the filter safe makes it: what is added to it is escaped */
    uint8_t plain;        /* 1: it is known that no value but a dictionary or a namespace has an attribute of this name */
} pith__jstr;

enum { PITH__T_NAME = 1, PITH__T_ATTRIBUTE, PITH__T_UNSAFE, PITH__T_NOTHING }; /* what is undefined */

typedef struct {
    uint8_t type, mark;
    uint16_t what; /* of an undefined value, a view */
    union {
        int64_t i;
        double f;
        const pith__jstr *s; /* a string, the digits of BIG, or the name of what is undefined */
        pith__jlist *list;   /* also of DICT_KEYS and so on */
        pith__jdict *dict;
        struct pith__jloop *loop;
        struct pith__jmacro *macro;
        const struct pith__jbound *bound;
    } as;
} pith__jvalue;

struct pith__jlist {
    pith__jvalue *v; /* (n) */
    size_t n, cap;   /* lists that share v with a longer one have cap 0 */
    size_t at;       /* of ITER: how many were walked */
    const char *why; /* of ITER: the error that walking it is, or NULL */
    int64_t from, step; /* of RANGE, which has no v: item i is from + i * step */
};

struct pith__jdict {
    pith__jvalue *pair; /* (n, 2) keys and values, in the order of their coming */
    uint32_t *slot;     /* (n_slot) 1 + the number of a pair, by hash; NULL for few */
    size_t n, cap, n_slot;
};

struct pith__jbuffer {
    char *p;
    uint8_t *marks; /* (n) */
    size_t n, cap;
};

typedef struct {
    const pith__jvalue *v; /* (n) by position */
    int n;
    const pith__jstr *const *name; /* (n_named) */
    const pith__jvalue *named;
    int n_named;
} pith__jargs;

/* a: the arguments bound to params, ABSENT where none was given; all: as they were given. */
typedef pith__jvalue pith__jfunction(pith__jrun *r, pith__jvalue self, const pith__jvalue *a, const pith__jargs *all);

#define PITH__T_BUILTIN(name) \
    static pith__jvalue name(pith__jrun *r, pith__jvalue v, const pith__jvalue *a, const pith__jargs *all)
#define PITH__T_UNUSED (void)r, (void)v, (void)a, (void)all

struct pith__jbuiltin {
    const char *name;
    const char *params; /* names with a blank between; "*": any */
    int need;           /* how many must be given */
    pith__jfunction *call;
};

typedef struct pith__jmacro {
    const pith__jnode *parameters, *body;
    const pith__jstr *name;
    struct pith__jframe *frame; /* where it was defined */
    int uses;                   /* 1 caller, 2 varargs, 4 kwargs */
} pith__jmacro;

typedef struct pith__jbound {
    const pith__jbuiltin *builtin;
    pith__jvalue self;
} pith__jbound;

struct pith__jrun { /* parsing or running: memory, work left, the error */
    pith__arena arena;
    size_t used, most; /* bytes */
    int64_t work;      /* what may still be done */
    int64_t effects;   /* counts what may change the text or a value: see jinja_seen_of */
    int depth, line;
    int code;
    pith_error *err;
    const char *what;  /* the template's name in errors */
    const pith_time *now;
    pith__jbuffer *out;
    pith__jvalue block; /* the text that the filter of a block gets */
};

/* ABSENT, and the error is kept, if it is the first. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
PITH_SHARED pith__jvalue pith__j_fail(pith__jrun *r, const char *fmt, ...);
PITH_SHARED void *pith__j_new(pith__jrun *r, size_t n, size_t size); /* zeroed (n, size), or NULL: failed */
PITH_SHARED int pith__j_work(pith__jrun *r, size_t steps); /* 0: too much was done, failed */

PITH_SHARED pith__jvalue pith__j_none(void);
PITH_SHARED pith__jvalue pith__j_bool(int i);
PITH_SHARED pith__jvalue pith__j_int(int64_t i);
PITH_SHARED pith__jvalue pith__j_float(double f);
PITH_SHARED pith__jvalue pith__j_undefined(int what, const pith__jstr *name);
PITH_SHARED int pith__j_defined(pith__jrun *r, pith__jvalue v); /* 0: it is undefined, failed */
PITH_SHARED pith__jvalue pith__j_text(pith__jrun *r, const char *p, size_t n, uint8_t mark); /* a view */
PITH_SHARED pith__jvalue pith__j_part(pith__jrun *r, const pith__jstr *s, size_t from, size_t n);
PITH_SHARED pith__jvalue pith__j_concat(pith__jrun *r, pith__jvalue a, pith__jvalue b); /* strings */
PITH_SHARED int pith__j_is(pith__jvalue v, const char *s); /* the string s */
PITH_SHARED int pith__j_shown(const pith__jstr *s); /* how many of its bytes an error shows */
PITH_SHARED uint32_t pith__j_hash(const char *p, size_t n);
PITH_SHARED uint8_t pith__j_mark(const pith__jstr *s, size_t i); /* of byte i */

PITH_SHARED pith__jbuffer *pith__j_buffer(pith__jrun *r);
PITH_SHARED void pith__j_put(pith__jrun *r, pith__jbuffer *b, const char *p, size_t n, uint8_t mark);
PITH_SHARED void pith__j_put_part(pith__jrun *r, pith__jbuffer *b, const pith__jstr *s, size_t from, size_t n);
PITH_SHARED pith__jvalue pith__j_done(pith__jrun *r, pith__jbuffer *b); /* as a string */

PITH_SHARED size_t pith__j_length(const pith__jstr *s); /* characters */
PITH_SHARED size_t pith__j_offset(const pith__jstr *s, size_t i); /* bytes before character i, or all */
/* or SIZE_MAX */
PITH_SHARED size_t pith__j_find(pith__jrun *r, const pith__jstr *s, size_t from, const pith__jstr *part);
PITH_SHARED int pith__j_space(uint32_t c); /* white space, as Python has it */

PITH_SHARED pith__jvalue pith__j_list(pith__jrun *r, int type, size_t room);
PITH_SHARED void pith__j_append(pith__jrun *r, pith__jlist *l, pith__jvalue v);
PITH_SHARED pith__jvalue pith__j_nth(pith__jvalue list, size_t i); /* i < n: also of a range */
PITH_SHARED pith__jvalue pith__j_pair(pith__jrun *r, pith__jvalue a, pith__jvalue b); /* a tuple */
/* What makes a generator of v, even if it failed: then walking it fails. */
PITH_SHARED pith__jvalue pith__j_later(pith__jrun *r, pith__jvalue v);
PITH_SHARED pith__jvalue pith__j_dict(pith__jrun *r, int type);
PITH_SHARED const pith__jvalue *pith__j_get(const pith__jdict *d, pith__jvalue key); /* or NULL */
PITH_SHARED const pith__jvalue *pith__j_get_named(const pith__jdict *d, const pith__jstr *key);
PITH_SHARED void pith__j_set(pith__jrun *r, pith__jdict *d, pith__jvalue key, pith__jvalue v);
PITH_SHARED void pith__j_set_named(pith__jrun *r, pith__jdict *d, const pith__jstr *key, pith__jvalue v);
PITH_SHARED pith__jvalue pith__j_of_json(pith__jrun *r, pith__json j, uint8_t mark);

PITH_SHARED const char *pith__j_type(pith__jvalue v); /* as Python calls it */
PITH_SHARED int pith__j_true(pith__jvalue v);
PITH_SHARED int pith__j_number(pith__jvalue v, double *f); /* 1: it is one */
PITH_SHARED int pith__j_equal(pith__jrun *r, pith__jvalue a, pith__jvalue b);
PITH_SHARED int pith__j_compare(pith__jrun *r, pith__jvalue a, pith__jvalue b); /* < 0, 0, > 0; 2: NaN; may fail */
PITH_SHARED int pith__j_contains(pith__jrun *r, pith__jvalue in, pith__jvalue v);
PITH_SHARED int pith__j_can_iterate(pith__jvalue v);
/* All that is (still) in v, as a list of the same items; fails if v cannot be walked. */
PITH_SHARED pith__jlist *pith__j_items(pith__jrun *r, pith__jvalue v);
PITH_SHARED int64_t pith__j_count(pith__jrun *r, pith__jvalue v); /* len(v); may fail */
PITH_SHARED pith__jvalue pith__j_slice(pith__jrun *r, pith__jvalue v, const pith__jvalue part[3]); /* [from:to:step] */

/* ---- writing: text/jinja_write.c -------------------------------------------------------------------- */

PITH_SHARED void pith__j_put_value(pith__jrun *r, pith__jbuffer *b, pith__jvalue v); /* str(v) */
PITH_SHARED void pith__j_put_repr(pith__jrun *r, pith__jbuffer *b, pith__jvalue v);
PITH_SHARED pith__jvalue pith__j_string(pith__jrun *r, pith__jvalue v); /* str(v); a string stays as it is */
PITH_SHARED pith__jvalue pith__j_escape(pith__jrun *r, pith__jvalue v); /* & < > " ' as HTML, safe */
PITH_SHARED pith__jvalue pith__j_safe(pith__jrun *r, pith__jvalue v); /* the string v as HTML */
PITH_SHARED pith__jvalue pith__j_tojson(pith__jrun *r, pith__jvalue v, const pith__jvalue *a, const pith__jargs *all);
PITH_SHARED pith__jvalue pith__j_percent(pith__jrun *r, pith__jvalue format, pith__jvalue args); /* "%s" % x */
PITH_SHARED pith__jvalue pith__j_format(pith__jrun *r, pith__jvalue self, const pith__jvalue *a,
                                        const pith__jargs *all);
PITH_SHARED pith__jvalue pith__j_strftime(pith__jrun *r, pith__jvalue self, const pith__jvalue *a,
                                          const pith__jargs *all);
PITH_SHARED size_t pith__j_fixed(double f, int digits, char to[400]); /* "%.*f", in any locale */
PITH_SHARED int pith__j_read_float(const char *p, size_t n, double *f); /* as float() of Python; 0: none */
PITH_SHARED int pith__j_read_int(const char *p, size_t n, int base, int64_t *i); /* as int(); 0: none */

/* ---- operators: text/jinja_math.c ------------------------------------------------------------------ */

/* + - * / f(//) % p(**) */
PITH_SHARED pith__jvalue pith__j_arithmetic(pith__jrun *r, char op, pith__jvalue a, pith__jvalue b);
PITH_SHARED pith__jvalue pith__j_sign(pith__jrun *r, pith__jvalue v, int minus);
PITH_SHARED pith__jvalue pith__j_round(pith__jrun *r, pith__jvalue v, const pith__jvalue *a, const pith__jargs *all);

/* ---- methods: text/jinja_methods.c -------------------------------------------------------------------- */

PITH_SHARED pith__jvalue pith__j_attribute(pith__jrun *r, pith__jvalue v, const pith__jstr *name); /* v.name */
PITH_SHARED pith__jvalue pith__j_item(pith__jrun *r, pith__jvalue v, pith__jvalue key);            /* v[key] */
PITH_SHARED pith__jvalue pith__j_apply(pith__jrun *r, const pith__jbuiltin *f, pith__jvalue self,
                                       const pith__jargs *args);
/* or NULL */
PITH_SHARED const pith__jbuiltin *pith__j_named(const pith__jbuiltin *table, size_t n, const pith__jstr *name);
PITH_SHARED const pith__jbuiltin *pith__j_method(pith__jvalue v, const pith__jstr *name);
PITH_SHARED int pith__j_is_plain(const pith__jstr *name); /* for pith__jstr.plain */
/* u l c(apitalize) t(itle) s(wap); f: |title */
PITH_SHARED pith__jvalue pith__j_case(pith__jrun *r, pith__jvalue v, char how);
PITH_SHARED pith__jvalue pith__j_replace(pith__jrun *r, pith__jvalue v, const pith__jvalue a[3]); /* old, new, count */
PITH_SHARED pith__jvalue pith__j_strip(pith__jrun *r, pith__jvalue v, pith__jvalue set, int left, int right);
PITH_SHARED pith__jvalue pith__j_lines(pith__jrun *r, pith__jvalue v, int keep_ends); /* a list */
PITH_SHARED pith__jvalue pith__j_pad(pith__jrun *r, pith__jvalue v, int64_t width, char side, pith__jvalue fill);

/* ---- filters and tests: text/jinja_filters.c ------------------------------------------------------- */

PITH_SHARED const pith__jbuiltin *pith__j_filter(const pith__jstr *name); /* or NULL */
PITH_SHARED const pith__jbuiltin *pith__j_test(const pith__jstr *name);

/* ---- functions: text/jinja_functions.c ------------------------------------------------------------- */

PITH_SHARED const pith__jbuiltin *pith__j_function(const pith__jstr *name); /* or NULL */
PITH_SHARED void pith__j_check_attribute(pith__jrun *r, pith__jvalue name); /* may a namespace have it? */

/* ---- tokens: text/jinja_lex.c ---------------------------------------------------------------------- */

enum { PITH__T_END, PITH__T_SKIP, PITH__T_DATA, PITH__T_PRINT_BEGIN, PITH__T_PRINT_END, PITH__T_BLOCK_BEGIN,
       PITH__T_BLOCK_END, PITH__T_WORD, PITH__T_QUOTED, PITH__T_INTEGER, PITH__T_FLOATING, PITH__T_OPERATOR };

typedef struct {
    int type, line;
    char op; /* itself, or of two characters: e(==) n(!=) g(>=) l(<=) f(//) p(**) */
    const char *p;
    size_t n;
} pith__jtoken;

typedef struct {
    pith__jrun *r;
    const char *p; /* (n) line breaks are "\n" */
    size_t n, at;
    int line, line_begins; /* 1: nothing stands before at in its line */
    char mode;             /* within {{ : '{', within {% : '%', else 0 */
    int n_open;
    char open[200];        /* (n_open) brackets that wait to be closed */
} pith__jlexer;

PITH_SHARED pith__jtoken pith__j_next_token(pith__jlexer *x);
PITH_SHARED pith__jvalue pith__j_unquote(pith__jrun *r, const pith__jtoken *t); /* the string that a token stands for */

/* ---- parsing: text/jinja_expression.c -------------------------------------------------------------- */

enum { /* kinds of nodes: statements */
    PITH__T_TEXT, PITH__T_PRINT, PITH__T_IF, PITH__T_FOR, PITH__T_SETTO, PITH__T_SET_BLOCK, PITH__T_DEFINE,
    PITH__T_CALL_BLOCK, PITH__T_FILTER_BLOCK, PITH__T_WITH, PITH__T_SCOPE, PITH__T_GENERATED, PITH__T_BREAK,
    PITH__T_CONTINUE,
    /* expressions */
    PITH__T_CONST, PITH__T_VARIABLE, PITH__T_MAKE_LIST, PITH__T_MAKE_TUPLE, PITH__T_MAKE_DICT, PITH__T_DOT,
    PITH__T_INDEX, PITH__T_PART, PITH__T_CALL, PITH__T_PIPE, PITH__T_IS, PITH__T_NOT, PITH__T_SIGN, PITH__T_AND,
    PITH__T_OR, PITH__T_CHOICE, PITH__T_BINARY, PITH__T_JOIN, PITH__T_COMPARE, PITH__T_THE_BLOCK,
    /* arguments that are not by position, and what is no expression */
    PITH__T_KEYWORD, PITH__T_STAR, PITH__T_STAR_STAR, PITH__T_NS_TARGET
};

/* What a, b, c and d are is said beside the function that makes a kind. */
struct pith__jnode {
    uint8_t kind, op;
    int line;
    const pith__jstr *name;
    const pith__jbuiltin *builtin;
    pith__jvalue value;
    pith__jnode *a, *b, *c, *d;
    pith__jnode *next; /* the next of a list */
};

typedef struct pith__jparser {
    pith__jrun *r;
    pith__jlexer x;
    pith__jtoken tok;  /* the next one */
    int depth;
    int soft;          /* 1: within an if, where an unknown filter is an error only when it is used */
    pith__jnode *unknown; /* the first use of an unknown filter or test elsewhere */
    int uses;          /* of caller, varargs, kwargs (1, 2, 4) by the macro that is read */
    int loops;         /* around, within the same macro */
    const char *block; /* the innermost block, for errors */
    int block_line;
} pith__jparser;

PITH_SHARED pith__jtoken pith__j_take(pith__jparser *p); /* the next token */
PITH_SHARED int pith__j_is_word(const pith__jtoken *t, const char *s);
PITH_SHARED int pith__j_is_op(const pith__jparser *p, char op);
PITH_SHARED int pith__j_skip_op(pith__jparser *p, char op); /* 1: it was the next, and is taken */
PITH_SHARED int pith__j_skip_word(pith__jparser *p, const char *s);
PITH_SHARED void pith__j_expect_op(pith__jparser *p, char op, const char *need);
PITH_SHARED const pith__jstr *pith__j_word(pith__jparser *p, const char *need);
/* NULL: the next token is not what must be */
PITH_SHARED pith__jnode *pith__j_wrong(pith__jparser *p, const char *need);
PITH_SHARED pith__jnode *pith__j_node(pith__jparser *p, int kind, int line);
PITH_SHARED pith__jnode *pith__j_node_of(pith__jparser *p, int kind, int line, pith__jnode *a, pith__jnode *b);
PITH_SHARED int pith__j_deeper(pith__jparser *p); /* 0: too deep, failed; the caller takes one off p->depth again */
PITH_SHARED pith__jnode *pith__j_expression(pith__jparser *p); /* with "a if b else c" */
PITH_SHARED pith__jnode *pith__j_binary(pith__jparser *p, int level); /* without */
/* a, b: a tuple; one expression is that. choice 0: no "a if b". end: a word that ends it, or NULL. */
PITH_SHARED pith__jnode *pith__j_tuple(pith__jparser *p, int choice, const char *end, int parentheses);
PITH_SHARED pith__jnode *pith__j_name_node(pith__jparser *p);
PITH_SHARED pith__jnode *pith__j_pipe(pith__jparser *p, pith__jnode *n); /* n | name(...), at the name */

/* ---- statements: text/jinja_parse.c ---------------------------------------------------------------- */

PITH_SHARED pith__jnode *pith__j_parse(pith__jrun *r, const char *text, size_t n); /* a list of statements */

/* ---- running: text/jinja_run.c --------------------------------------------------------------------- */

/* The statements write into r->out, which is made. */
PITH_SHARED void pith__j_run(pith__jrun *r, const pith__jnode *first, pith__jdict *given);

/* ---- templates: text/jinja.c ----------------------------------------------------------------------- */

typedef struct pith__jinja pith__jinja; /* a template, ready to run */

/* what: its name in errors. The text is copied. */
PITH_SHARED pith__jinja *pith__jinja_new(const char *text, size_t n, const char *what, pith_error *err);
PITH_SHARED void pith__jinja_free(pith__jinja *j);

PITH_SHARED pith__str pith__jinja_text(const pith__jinja *j);
PITH_SHARED const char *pith__jinja_what(const pith__jinja *j);

typedef struct {
    pith__json json; /* an object: each of its members is a variable */
    int own;         /* 1: its bytes count as the template's own (bos_token and the like) */
} pith__jinja_variables;

typedef struct {
    char *text;
    uint8_t *mark; /* (n) PITH__DATA and so on */
    size_t n;
} pith__rendered;

/* Later variables go before earlier ones of the same name. now NULL: there is no strftime_now. */
PITH_SHARED int pith__jinja_render(const pith__jinja *j, const pith__jinja_variables *vars, int n_vars,
                                   const pith_time *now, pith__rendered *out, pith_error *err);
PITH_SHARED void pith__rendered_free(pith__rendered *out);

/* ---- conversations: text/messages.c ---------------------------------------------------------------- */

typedef struct { /* what is not there has no type (p NULL) */
    pith__json messages;         /* an array of objects */
    pith__json tools, documents; /* arrays; none: null */
    pith__json more[2];          /* objects: further variables (enable_thinking), the second before the first */
    pith__json special;          /* an object: bos_token and so on, which count as the template's own */
    int ask;                     /* 1: end with what begins an answer (add_generation_prompt) */
    int go_on;                   /* 1: end with the text of the last message, to be continued */
    const pith_time *now;     /* for strftime_now; NULL: there is none */
} pith__conversation;

/* As apply_chat_template of transformers. Of a content of parts, those that are no text are refused; for a template
 * that knows strings only, they are put together. */
PITH_SHARED int pith__conversation_render(const pith__jinja *j, const pith__conversation *c, pith__rendered *out,
                                          pith_error *err);

#endif
