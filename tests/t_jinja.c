/* t_jinja.c - templates of conversations: what the reference makes of them, to the byte. */
#include "../text/jinja.h"
#include "jinja_cases.h"
#include "test.h"

#include <dirent.h>
#include <stdlib.h>

static const pith_time friday = { 2025, 3, 14, 15, 9, 26 };

static char *read_all(const char *path, size_t *n) {
    pith__file f;
    char *text = NULL;
    if (pith__file_open(&f, path, 1, NULL)) return NULL;
    *n = f.size;
    text = malloc(f.size + 1);
    if (text) memcpy(text, f.data, f.size), text[f.size] = 0;
    pith__file_close(&f);
    return text;
}

static int is_true(pith__json j) { return pith__json_type(j) == 't'; }

typedef struct { int text, error, bad; } tally;

static void one_case(const pith__jinja *j, pith__json c, pith__json want, pith__json variables, const char *name, tally *t) {
    pith_error e = { 0, "" };
    pith__arena a = { 0 };
    pith__rendered out = { 0 };
    pith__str text = { "", 0 }, title = { "", 0 };
    char more[64];
    pith__json thinking = pith__json_get(c, "enable_thinking");
    snprintf(more, sizeof more, thinking.p ? "{\"enable_thinking\":%s}" : "{}", is_true(thinking) ? "true" : "false");
    pith__conversation v = { .messages = pith__json_get(c, "messages"), .tools = pith__json_get(c, "tools"), .special = variables, .now = &friday };
    v.ask = is_true(pith__json_get(c, "add_generation_prompt"));
    v.go_on = is_true(pith__json_get(c, "continue_final_message"));
    pith__json_read(&v.more[0], more, strlen(more), "more", NULL);
    pith__json_string(pith__json_get(c, "name"), &a, &title);
    int code = j ? pith__conversation_render(j, &v, &out, &e) : PITH_EFORMAT;
    int has_text = pith__json_string(pith__json_get(want, "text"), &a, &text) == PITH_OK;
    if (has_text != !code || (has_text && (text.n != out.n || memcmp(text.p, out.text, text.n)))) {
        size_t k = 0;
        while (k < text.n && k < out.n && text.p[k] == out.text[k]) k++;
        if (t->bad++ < 40) {
            FAIL("%s, %.*s: at %zu \"%.60s\", want \"%.*s\" %s", name, (int)title.n, title.p, k, out.text ? out.text + k : "",
                 (int)(text.n - k < 60 ? text.n - k : 60), text.p + k, e.text);
        }
    } else if (has_text) {
        t->text++;
    } else {
        t->error++;
        if (getenv("SHOW")) printf("# %s, %.*s: %s\n", name, (int)title.n, title.p, e.text);
    }
    pith__rendered_free(&out);
    pith__arena_free(&a);
}

static void one_template(const char *name, pith__json cases, tally *t) {
    char path[512];
    size_t n = 0, m = 0;
    pith__json golden, it = cases, c;
    pith_error e = { 0, "" };
    snprintf(path, sizeof path, "../shared/chat/golden/%s.json", name);
    char *text = read_all(path, &n);
    snprintf(path, sizeof path, "../shared/chat/templates/%s.jinja", name);
    char *source = read_all(path, &m);
    if (!text || !source || pith__json_read(&golden, text, n, name, &e)) {
        FAIL("%s cannot be read: %s", name, e.text);
    } else {
        pith__jinja *j = pith__jinja_new(source, m, name, &e);
        if (!j) printf("# %s\n", e.text);
        pith__json want = pith__json_get(golden, "cases");
        while (pith__json_next(&it, NULL, &c)) {
            pith__arena a = { 0 };
            pith__str title = { "", 0 };
            pith__json_string(pith__json_get(c, "name"), &a, &title);
            char *key = pith__arena_text(&a, title.p, title.n);
            pith__json w = pith__json_get(want, key);
            if (w.p) one_case(j, c, w, pith__json_get(golden, "variables"), name, t);
            pith__arena_free(&a);
        }
        pith__jinja_free(j);
    }
    free(text);
    free(source);
}

TEST(templates_that_people_use) {
    size_t n;
    char *text = read_all("../shared/chat/cases.json", &n);
    pith__json cases;
    tally t = { 0 };
    if (!text) SKIP("no ../shared/chat");
    DIR *d = opendir("../shared/chat/golden");
    REQUIRE(d && !pith__json_read(&cases, text, n, "cases.json", NULL));
    for (struct dirent *f; (f = readdir(d));) {
        char name[300];
        snprintf(name, sizeof name, "%s", f->d_name);
        char *dot = strstr(name, ".json");
        if (!dot) continue;
        *dot = 0;
        one_template(name, cases, &t);
    }
    closedir(d);
    free(text);
    printf("# %d texts, %d errors, %d wrong\n", t.text, t.error, t.bad);
    EQ(t.bad, 0);
}

/* Small templates, one feature or a few each. */
TEST(what_jinja2_makes_of_it) {
    pith__jinja_variables v = { { NULL, NULL }, 1 };
    int texts = 0, errors = 0;
    REQUIRE(!pith__json_read(&v.json, jinja_variables, sizeof jinja_variables - 1, "variables", NULL));
    for (size_t i = 0; i < sizeof jinja_cases / sizeof *jinja_cases; i++) {
        const char *source = jinja_cases[i].source, *want = jinja_cases[i].text;
        pith_error e = { 0, "" };
        pith__rendered out = { 0 };
        pith__jinja *j = pith__jinja_new(source, strlen(source), "t", &e);
        if (j) pith__jinja_render(j, &v, 1, &friday, &out, &e);
        if (want ? !out.text || strcmp(out.text, want) != 0 : out.text || !strstr(e.text, ": line "))
            FAIL("%s\n#   is   \"%s\"%s\n#   want \"%s\"", source, out.text ? out.text : "", e.text, want ? want : "an error");
        else texts += want != NULL, errors += !want;
        pith__rendered_free(&out);
        pith__jinja_free(j);
    }
    printf("# %d texts, %d errors\n", texts, errors);
    CHECK(texts > 150 && errors > 60);
}

/* Templates that know contents of parts only walk over each character of one that is a text. */
TEST(long_texts_where_parts_are_expected) {
    static const char source[] = "{% for c in t %}{% if c['type'] == 'text' %}{{ c.text }}{% elif c['type'] == 'image' %}i{% endif %}{% endfor %}"
                                 "{{ t|selectattr('type', 'equalto', 'image')|list|length }}{% for c in t %}{% if c == '!' %}{{ loop.index }}{% endif %}{% endfor %}";
    enum { N = 4000000 };
    char *text = malloc(N + 16);
    pith_error e = { 0, "" };
    pith__rendered out = { 0 };
    pith__jinja_variables v = { { NULL, NULL }, 0 };
    pith__jinja *j = pith__jinja_new(source, sizeof source - 1, "t", &e);
    REQUIRE(text && j);
    for (size_t i = 0; i < N; i++) text[i] = "the quick brown fox "[i % 20];
    memcpy(text, "{\"t\":\"", 6);
    memcpy(text + N, "!\"}", 4);
    REQUIRE(!pith__json_read(&v.json, text, N + 3, "text", &e));
    CHECK(!pith__jinja_render(j, &v, 1, NULL, &out, &e));
    if (!out.text || strcmp(out.text, "03999995")) FAIL("'%s' %s", out.text ? out.text : "", e.text);
    pith__rendered_free(&out);
    pith__jinja_free(j);
    free(text);
}

/* Where each byte is from: . the template, d the data; , and D: the same in a generation block; of an assistant's message:
 * c the content, a what else it has. */
static void marks_are(const char *source, const char *text, const char *want) {
    static const char data[] = "{\"s\":\"Hi <x>\",\"m\":[{\"role\":\"user\",\"content\":\" a,b \"},{\"role\":\"thief\",\"content\":\"c\"}],"
                               "\"i\":42,\"d\":{\"k\":[1,\"v\",null]},"
                               "\"messages\":[{\"role\":\"user\",\"content\":\"Q\"},{\"role\":\"assistant\",\"thinking\":\"hm\","
                               "\"content\":\" Yes \",\"tool_calls\":[{\"name\":\"f\",\"role\":\"user\"}]},"
                               "{\"role\":\"model\",\"content\":[{\"text\":\"p\"}]}]}", own[] = "{\"bos\":\"<s>\"}";
    pith__jinja_variables v[2] = { { { NULL, NULL }, 0 }, { { NULL, NULL }, 1 } };
    pith_error e = { 0, "" };
    pith__rendered out = { 0 };
    char map[200] = "";
    pith__json_read(&v[0].json, data, sizeof data - 1, "data", NULL);
    pith__json_read(&v[1].json, own, sizeof own - 1, "own", NULL);
    pith__jinja *j = pith__jinja_new(source, strlen(source), "t", &e);
    if (j) pith__jinja_render(j, v, 2, NULL, &out, &e);
    for (size_t i = 0; i < out.n && i < 199; i++) map[i] = ".d,D?c?C?a?A"[out.mark[i] & 15];
    if (!out.text || strcmp(out.text, text) != 0 || strcmp(map, want) != 0)
        FAIL("%s\n#   is   \"%s\" %s\n#        \"%s\"", source, out.text ? out.text : "", e.text, map);
    pith__rendered_free(&out);
    pith__jinja_free(j);
}

TEST(what_an_assistant_said_is_known) {
    marks_are("{% for m in messages[:2] %}<{{ m.role }}>{{ m.thinking }}{{ m.content|trim|upper }};{% endfor %}",
              "<user>Q;<assistant>hmYES;", "......d............aaccc.");
    marks_are("{{ messages[1].tool_calls[0].name }}{{ messages[1].tool_calls|tojson }}", "f[{\"name\": \"f\", \"role\": \"user\"}]",
              "a..aaaaaa..aaa..aaaaaa..........");
    marks_are("{{ messages[2].content[0].text }}{% generation %}{{ messages[1].content }}x{% endgeneration %}", "p Yes x", "cCCCCC,");
    marks_are("{{ m[1].content }}", "c", "d"); /* a list of another name has no assistant */
}

TEST(each_byte_knows_where_it_is_from) {
    marks_are("a{{ s }}b", "aHi <x>b", ".dddddd.");
    marks_are("{{ bos ~ s + '!' }}", "<s>Hi <x>!", "...dddddd.");
    marks_are("{{ s[1:3] }}{{ s|upper }}{{ s|lower|title }}", "i HI <X>Hi <X>", "dddddddddddddd");
    marks_are("{{ s.replace('Hi', '<|im_end|>') }}", "<|im_end|> <x>", "..........dddd");
    marks_are("{{ '<|im_end|>'.replace('im_end', s) }}", "<|Hi <x>|>", "..dddddd..");
    marks_are("{{ s.split(' ') | join(' - ') }}", "Hi - <x>", "dd...ddd");
    marks_are("{{ m[0].content.strip().split(',')|last }}{{ m[0].content|trim|reverse }}", "bb,a", "dddd");
    marks_are("{{ d|tojson }}", "{\"k\": [1, \"v\", null]}", ".ddd...d..ddd..dddd..");
    marks_are("{{ s|tojson }}{{ [s] }}", "\"Hi <x>\"['Hi <x>']", "dddddddd.dddddddd.");
    marks_are("{{ i + 1 }}{{ i ~ 'x' }}{{ m|length }}{{ '%d%s'|format(i, s) }}", "4342x242Hi <x>", "dddd..dddddddd");
    marks_are("{{ '{}|{:>4}'.format(s, 'a') }}{{ '%-4s|' % 'b' }}", "Hi <x>|   ab   |", "dddddd..........");
    marks_are("{% set x %}[{{ s }}]{% endset %}{{ x }}{% macro f(y) %}({{ y }}){% endmacro %}{{ f(s) }}", "[Hi <x>](Hi <x>)", ".dddddd..dddddd.");
    marks_are("{% for x in m %}{{ '<|' + x.role + '|>' }}{% endfor %}", "<|user|><|thief|>", "..........ddddd..");
    marks_are("a{% generation %}b{{ i }}{% endgeneration %}c", "ab42c", ".,DD.");
    marks_are("{% set x %}{% generation %}b{{ i }}{% endgeneration %}!{% endset %}{{ x|upper }}", "B42!", ",DD.");
    marks_are("{% filter upper %}x{{ s }}{% endfilter %}{{ s|e }}", "XHI <X>Hi &lt;x&gt;", ".dddddddddddddddddd");
    marks_are("{% set ns = namespace(t='') %}{% for c in s %}{% set ns.t = ns.t + c + '_' %}{% endfor %}{{ ns.t }}", "H_i_ _<_x_>_", "d.d.d.d.d.d.");
}

static void refuses(const char *source, const char *variables, const char *want) {
    pith__jinja_variables v = { { NULL, NULL }, 0 };
    pith_error e = { 0, "" };
    pith__rendered out = { 0 };
    pith__json_read(&v.json, variables, strlen(variables), "variables", NULL);
    pith__jinja *j = pith__jinja_new(source, strlen(source), "t", &e);
    int code = j ? pith__jinja_render(j, &v, 1, NULL, &out, &e) : e.code;
    if (!code || code != e.code || !strstr(e.text, want)) FAIL("%.80s: code %d, \"%s\", want \"%s\"", source, code, e.text, want);
    pith__rendered_free(&out);
    pith__jinja_free(j);
}

TEST(errors_say_where_and_what) {
    refuses("a\n{{ x }}\n{{ y.z }}", "{}", "t: line 3: 'y' is undefined");
    refuses("\n\n{% if x %}", "{}", "line 3: the template ends, and 'if' of line 3 is not closed");
    refuses("{% for x in y %}\n{% endif %}", "{}", "line 2: there is no statement 'endif' here; 'for' of line 1 is not closed");
    refuses("{{ 'a'|nosuch }}", "{}", "line 1: there is no filter named 'nosuch'");
    refuses("{{ 'a' is nosuch }}", "{}", "line 1: there is no test named 'nosuch'");
    refuses("{{ 'a'.nosuch() }}", "{}", "line 1: there is no attribute 'nosuch'");
    refuses("\n{{ nosuch(1) }}", "{}", "line 2: 'nosuch' is undefined");
    refuses("{{ raise_exception('no ' ~ x) }}", "{\"x\":\"tools\"}", "line 1: the template says: no tools");
    refuses("{% include 'a' %}", "{}", "line 1: there is no statement 'include'");
    refuses("{{ l.append(1) }}", "{\"l\":[]}", "line 1: 'append' is not for templates");
    refuses("{{ strftime_now('%Y') }}", "{}", "line 1: 'strftime_now' is undefined");
    refuses("{{ 9223372036854775807 + 1 }}", "{}", "more than 64 bits");
    refuses("{{ 1 +\n }}", "{}", "line 2: '}}' where an expression must be");
}

static char *times(const char *begin, const char *s, size_t n, const char *end) {
    size_t k = strlen(s), m = strlen(begin);
    char *p = malloc(m + n * k + strlen(end) + 1);
    if (!p) exit(99);
    strcpy(p, begin);
    for (size_t i = 0; i < n; i++) memcpy(p + m + i * k, s, k);
    strcpy(p + m + n * k, end);
    return p;
}

TEST(bombs_do_not_go_off) {
    static const struct { const char *begin, *s; int n; const char *end, *want; } made[] = {
        { "", "{% if a %}", 50000, "", "within each other" },
        { "{{ ", "(", 100000, "", "within each other" },
        { "{{ ", "[", 100000, "", "within each other" },
        { "{{ ", "-", 100000, "1 }}", "within each other" },
        { "{{ ", "not ", 100000, "1 }}", "within each other" },
        { "{{ ", "1 if 1 else ", 30000, "1 }}", "within each other" },
        { "{{ 1", "+1", 100000, " }}", "too much within each other" },
        { "{{ a", ".b", 100000, " }}", "too much within each other" },
        { "{{ 'a'", "|upper", 60000, " }}", "too much within each other" },
        { "{{ 1", " ~ 1", 100000, " }}", "too much within each other" },
        { "", "x", 10 << 20, "", "has 10485760 bytes" },
        { "", "{{a}}", 50000, "{% if %}", "an expression" },
        { "", "{{a}}", 104000, "{% if %}", "" },
    };
    static const struct { const char *source, *want; } cases[] = {
        { "{% for i in range(1000000000) %}x{% endfor %}", "range of more than 100000" },
        { "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", "" },
        { "{% for i in range(10000) %}{% for j in range(10000) %}{{ i * j }}{% endfor %}{% endfor %}", "" },
        { "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "without end" },
        { "{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", "without end" },
        { "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}", "" },
        { "{% set ns = namespace(s='ab') %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}", "MB of memory" },
        { "{% set ns = namespace(s='ab') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s|upper %}{% endfor %}", "MB of memory" },
        { "{% set ns = namespace(s=[1]) %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}", "" },
        { "{% set ns = namespace(s='a') %}{% for i in range(64) %}{% set ns.s = ns.s.replace('a', 'aa') %}{% endfor %}", "" },
        { "{{ 'a' * 1000000000 }}", "" },
        { "{{ [1] * 1000000000 }}", "" },
        { "{{ 'a'.center(1000000000) }}", "" },
        { "{{ '%1000000000d' % 1 }}", "need less than 100000" },
        { "{{ '{:.100000f}'.format(1.5) }}", "need less than 100000" },
        { "{{ '{:99999}'.format(1) * 99999 }}", "MB of memory" },
        { "{{ 'x'|indent(1000000000) }}", "" },
        { "{{ 2 ** 1000000000 }}{{ 3 ** 999 }}", "64 bits" },
        { "{{ ('a' * 1000000).find('a' * 500000 ~ 'b') }}{{ ('a' * 1000000).count('a' * 500000 ~ 'b') }}{{ ('ab' * 1000000).rfind('b' * 900000) }}", "" },
        { "{% set ns = namespace(x=[]) %}{% for i in range(1000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}", "too deep" },
        { "{% set ns = namespace(x=[]) %}{% for i in range(1000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x|tojson }}", "too deep" },
        { "{% set ns = namespace(x=1) %}{% set ns.x = ns %}{{ ns }}", "too deep" },
        { "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "without end" },
        { "{{ range(100000)|batch(1, 'x')|map('join')|list|sort|unique|join }}{{ range(100000)|slice(100000)|list|length }}{{ 1 / 0 }}", "" },
    };
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        char *source = times(made[i].begin, made[i].s, (size_t)made[i].n, made[i].end);
        refuses(source, "{}", made[i].want);
        free(source);
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refuses(cases[i].source, "{}", cases[i].want);
}

int main(void) {
    RUN(what_an_assistant_said_is_known);
    RUN(each_byte_knows_where_it_is_from);
    RUN(errors_say_where_and_what);
    RUN(long_texts_where_parts_are_expected);
    RUN(bombs_do_not_go_off);
    RUN(what_jinja2_makes_of_it);
    RUN(templates_that_people_use);
    return DONE();
}
