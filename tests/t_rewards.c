/* t_rewards.c - what completions are worth: by their answers, form and length, and to programs that answer well,
 * slowly, wrongly or not at all. */
#define _XOPEN_SOURCE 700
#include "../tools/rewards.h"
#include "pretrain_run.h"

#include <signal.h>
#include <sys/wait.h>

static int have_python;
static const char *myself;

static pith__json row_of(const char *text) {
    pith__json j;
    pith_error e;
    if (pith__json_read(&j, text, strlen(text), "row", &e)) FAIL("%s", e.text);
    return j;
}

static rewarded made(const char *completion, const char *row) {
    return (rewarded){ .completion = completion, .n_completion = strlen(completion), .n_token = 1, .row = row_of(row) };
}

static rewards opened(reward_options o, int want) {
    rewards r;
    int keep;
    begin_quiet(&keep);
    int code = rewards_open(&r, &o, NULL, 0);
    end_quiet(keep);
    if (code != want) FAIL("code %d, want %d: %s", code, want, said);
    return r;
}

static rewards of_rule(const char *rule) { return opened((reward_options){ .rules = { { rule }, 1 } }, 0); }

static rewards of_command(const char *command, float timeout) {
    return opened((reward_options){ .commands = { { command }, 1 }, .timeout = timeout }, 0);
}

/* What one completion gets by one rule. */
static double by(const char *rule, const char *completion, const char *row) {
    rewards r = of_rule(rule);
    rewarded c = made(completion, row);
    double each, total = NAN;
    EQ(rewards_score(&r, &c, 1, &each, &total), 0);
    rewards_close(&r);
    return total;
}

static double exact(const char *completion, const char *answer) {
    char row[512];
    snprintf(row, sizeof row, "{\"prompt\": \"5+67? Give \\\\boxed{}.\", \"answer\": %s}", answer);
    return by("exact", completion, row);
}

#define RIGHT(completion, answer) NEAR(exact(completion, answer), 1, 0)
#define WRONG(completion, answer) NEAR(exact(completion, answer), 0, 0)

TEST(answers) {
    RIGHT("So it is \\boxed{72}.", "\"72\"");
    RIGHT("so\n#### 72\n", "\"72\"");
    RIGHT("####\n 72 \nQ: what", "72");
    RIGHT("<think>72</think><answer> 72\n</answer>", "72");
    RIGHT("\\boxed{71} or \\boxed{72}", "72");          /* the last of each kind */
    RIGHT("#### 71\n#### 72", "72");
    RIGHT("<answer>71</answer><answer>72</answer>", "72");
    RIGHT("<answer>71</answer> #### 70 \\boxed{72}", "72"); /* the first kind that is there */
    WRONG("<answer>72</answer> #### 70", "72");
    RIGHT("\\boxed{\\boxed{72}}", "72");
    RIGHT("\\boxed{\\frac{1}{2}}", "\"\\\\frac{1}{2}\"");
    RIGHT("\\boxed{\\{1,2\\}}", "\"\\\\{1,2\\\\}\"");
    RIGHT("\\boxed{\\}5}", "\"\\\\}5\"");
    RIGHT("\\boxed{72} and \\boxed{7", "72");               /* cut off: begun does not count */
    RIGHT("<answer>72</answer> <answer>7", "72");
    WRONG("\\boxed{72", "72");
    WRONG("<answer>72", "72");
    RIGHT("\\boxed{ Paris }", "\" Paris\"");
    WRONG("\\boxed{paris}", "\"Paris\"");
}

TEST(answers_as_data_sets_have_them) {
    RIGHT("#### 1000", "\"He sells 5 * 200 = <<5*200=1000>>1000.\\n#### 1,000\"");
    RIGHT("\\boxed{1/2}", "\"Thus $\\\\boxed{1/2}$.\"");
    RIGHT("\\boxed{x^2}", "\"<answer>x^2</answer>\"");
    NEAR(by("exact", "\\boxed{7}", "{\"solution\": \"\\\\boxed{7}\"}"), 1, 0); /* TRL's name */
    NEAR(by("exact", "\\boxed{7}", "{\"solution\": \"8\", \"answer\": \"7\"}"), 1, 0);
}

TEST(cheats) {
    WRONG("", "72");
    WRONG("72", "72");                                      /* nowhere an answer is looked for */
    WRONG("5+67? Give \\boxed{}.", "72");                   /* the prompt, echoed */
    WRONG("\\boxed{}\\boxed{ }#### ", "72");
    WRONG("\\boxed{70 71 72 73}", "72");
    WRONG("\\boxed{72, 73}", "72");
    WRONG("#### 72 72 72 72", "72");
    WRONG("\\boxed{70}\\boxed{72}\\boxed{74}", "72");
    WRONG("\\boxed{72 or 73}", "72");
    WRONG("####", "72");
}

TEST(numbers) {
    static const char *const same[] = { "1000", "1,000", "1000.0", "+1000", "$1,000.00", "\\\\$1000", "$1000$", "1000.", "-$-1000" };
    for (int i = 0; i < 8; i++)
        for (int k = 0; k < 8; k++) {
            char completion[64], answer[64];
            snprintf(completion, sizeof completion, "\\boxed{%s}", i == 5 ? "\\$1000" : same[i]);
            snprintf(answer, sizeof answer, "\"%s\"", same[k]);
            RIGHT(completion, answer);
        }
    RIGHT("\\boxed{-$5}", "-5");
    RIGHT("\\boxed{$-5}", "-5");
    RIGHT("\\boxed{\xe2\x88\x92" "5}", "-5");
    RIGHT("\\boxed{.5}", "0.50");
    RIGHT("\\boxed{-0}", "0.0");
    RIGHT("\\boxed{007}", "7");
    RIGHT("\\boxed{12345678901234567890}", "\"12,345,678,901,234,567,890\"");
    WRONG("\\boxed{12345678901234567891}", "12345678901234567890"); /* the same double */
    WRONG("\\boxed{0.1}", "0.10000000000000000001");
    WRONG("\\boxed{-1000}", "1000");
    WRONG("\\boxed{1,00}", "100");
    WRONG("\\boxed{1000,000}", "1000000");
    WRONG("\\boxed{1,000,00}", "100000");
    WRONG("\\boxed{,100}", "100");
    WRONG("\\boxed{1.000,000}", "1");
    WRONG("\\boxed{1.0.0}", "1");
    WRONG("\\boxed{.}", "0");
    WRONG("\\boxed{1e3}", "1000");
    WRONG("\\boxed{0x10}", "16");
    WRONG("\\boxed{inf}", "1000");
    RIGHT("\\boxed{nan}", "\"nan\"");
    RIGHT("\\boxed{1/2}", "0.5");
    RIGHT("\\boxed{-3/6}", "\"-1/2\"");
    RIGHT("\\boxed{1,000/2}", "500");
    WRONG("\\boxed{1/3}", "0.333333");
    WRONG("\\boxed{1/2/1}", "0.5");
    WRONG("\\boxed{1/0}", "\"2/0\"");
    WRONG("\\boxed{0/5}", "12345678901");
    RIGHT("\\boxed{a/b}", "\"a/b\"");
    RIGHT("\\boxed{12345678901/2}", "\"12345678901/2\"");
    WRONG("\\boxed{4294967296/4294967296}", "\"1\"");
}

TEST(many_digits) {
    char text[2000] = "\\boxed{";
    memset(text + 7, '1', 1500);
    memcpy(text + 1507, "}", 2);
    WRONG(text, "1");
    for (int i = 0; i < 190; i++) memcpy(text + 7 * i, "\\boxed{", 8);
    WRONG(text, "1");
}

TEST(forms) {
    const char *trl = "format:^<think>.*?</think><answer>.*?</answer>$";
    NEAR(by(trl, "<think>a\nb</think><answer>72</answer>", "{}"), 1, 0);
    NEAR(by(trl, "<think>a</think> <answer>72</answer>", "{}"), 0, 0);
    NEAR(by(trl, "<think>a</think><answer>72</answer>.", "{}"), 0, 0);
    NEAR(by(trl, "", "{}"), 0, 0);
    NEAR(by("format:[0-9]+", "42", "{}"), 1, 0);
    NEAR(by("format:[0-9]+", "is 42", "{}"), 0, 0); /* all of it, with ^ and $ or without */
    NEAR(by("format:[0-9]+", "42\n", "{}"), 0, 0);
    NEAR(by("format:[0-9]+\\s*", "42 \n", "{}"), 1, 0);
    NEAR(by("format:a|b", "ab", "{}"), 0, 0);
    NEAR(by("format:a:.", "a:\xea\xb0\x80", "{}"), 1, 0);
    NEAR(by("format:.*", "", "{}"), 1, 0);
    NEAR(by("format:[^a-z]*", "\n\xff", "{}"), 1, 0);
}

TEST(lengths) {
    rewards r = of_rule("length:20");
    static const struct { int n; double want; } cases[] = { { 20, 1 }, { 0, 0 }, { 10, 0.5 }, { 25, 0.75 }, { 60, -1 } };
    for (int i = 0; i < 5; i++) {
        rewarded c = { .completion = "", .n_token = cases[i].n };
        double each, total;
        EQ(rewards_score(&r, &c, 1, &each, &total), 0);
        NEAR(total, cases[i].want, 1e-15);
    }
    rewards_close(&r);
}

static void refused(reward_options o, const char *why) {
    rewards r = opened(o, USAGE);
    if (!strstr(said, why) || strchr(said, '\n') != said + strlen(said) - 1) FAIL("\"%s\", want \"%s\"", said, why);
    rewards_close(&r);
}

TEST(flags) {
    refused((reward_options){ .timeout = 1 }, "no reward");
    refused((reward_options){ .rules = { { "exakt" }, 1 } }, "--reward exakt: need exact, format:PATTERN or length:N");
    refused((reward_options){ .rules = { { "exact:" }, 1 } }, "need exact");
    refused((reward_options){ .rules = { { "format:" }, 1 } }, "need exact");
    refused((reward_options){ .rules = { { "format:(" }, 1 } }, "--reward format:(: a ( without its )");
    refused((reward_options){ .rules = { { "format:a)" }, 1 } }, "a ) without its (");
    refused((reward_options){ .rules = { { "format:(?!a)b" }, 1 } }, "looking ahead");
    refused((reward_options){ .rules = { { "length:0" }, 1 } }, "--reward length:0: need a number of tokens");
    refused((reward_options){ .rules = { { "length:ten" }, 1 } }, "need a number of tokens");
    refused((reward_options){ .commands = { { " " }, 1 } }, "is empty");
    refused((reward_options){ .rules = { { "exact", "length:3" }, 2 }, .weights = "1" }, "1 numbers for 2 rewards");
    refused((reward_options){ .rules = { { "exact" }, 1 }, .weights = "1,2" }, "2 numbers for 1 rewards");
    refused((reward_options){ .rules = { { "exact" }, 1 }, .weights = "nan" }, "need a number for each");
    refused((reward_options){ .rules = { { "exact" }, 1 }, .weights = "" }, "need a number for each");
}

TEST(weights_and_names) {
    static const char *const other[] = { "judge", "judge" };
    reward_options o = { .rules = { { "exact", "format:.*", "format:a" }, 3 }, .weights = "1,-0.5,+2,10,1e2" };
    rewards r;
    REQUIRE(!rewards_open(&r, &o, other, 2) && r.n == 5 && r.n_other == 2);
    const char *want[] = { "exact", "format", "format_2", "judge", "judge_2" };
    for (int k = 0; k < 5; k++) CHECK(!strcmp(rewards_name(&r, k), want[k]));
    rewarded c[2] = { made("\\boxed{1}", "{\"answer\": 1}"), made("a", "{\"answer\": 1}") };
    double each[10] = { 9, 9, 9, 9, 9, 9, 0.25, 0.5, 0.01, 0.02 }, total[2];
    REQUIRE(!rewards_score(&r, c, 2, each, total));
    const double wanted[] = { 1, 0, 1, 1, 0, 1, 0.25, 0.5, 0.01, 0.02 };
    for (int i = 0; i < 10; i++) NEAR(each[i], wanted[i], 0);
    NEAR(total[0], 1 - 0.5 + 0 + 2.5 + 1, 1e-12);
    NEAR(total[1], 0 - 0.5 + 2 + 5 + 2, 1e-12);
    int keep;
    each[7] = NAN;
    begin_quiet(&keep);
    int code = rewards_score(&r, c, 2, each, total);
    end_quiet(keep);
    EQ(code, FAILED);
    CHECK(strstr(said, "reward judge of completion 2 is nan"));
    rewards_close(&r);
}

TEST(rows) {
    static const struct { const char *row, *want; } cases[] = {
        { "{\"prompt\": \"a\"}", "pith: x.jsonl: line 3: has no answer, need a text or a number" },
        { "{\"answer\": null}", "answer is null, need" }, { "{\"answer\": \" \"}", "answer is \" \", need" },
        { "{\"answer\": \"so ####\"}", "answer is \"so ####\", need" }, { "{\"answer\": [1]}", "answer is [1], need" },
    };
    rewards r = of_rule("exact"), form = of_rule("format:.*");
    EQ(rewards_check(&r, row_of("{\"answer\": \"1\"}"), "x"), 0);
    EQ(rewards_check(&r, row_of("{\"answer\": -1.5e3}"), "x"), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int keep;
        begin_quiet(&keep);
        int code = rewards_check(&r, row_of(cases[i].row), "x.jsonl: line 3");
        end_quiet(keep);
        EQ(code, BAD_DATA);
        if (!strstr(said, cases[i].want)) FAIL("\"%s\", want \"%s\"", said, cases[i].want);
        EQ(rewards_check(&form, row_of(cases[i].row), "x"), 0);
    }
    rewards_close(&r), rewards_close(&form);
}

/* ---- programs ---------------------------------------------------------------------------------------------- */

/* Two batches of n completions, numbered by the field i; want is what each should get: i, or times and added. */
static void batches(rewards *r, int n, double times, double add) {
    double each[200], total[200];
    rewarded c[200];
    char row[200][32];
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < n; i++) {
            snprintf(row[i], sizeof row[i], "{\"prompt\":\"p\",\"i\":%d}", 1000 * k + i);
            c[i] = made("x", row[i]);
        }
        REQUIRE(!rewards_score(r, c, n, each, total));
        for (int i = 0; i < n; i++) NEAR(each[i], times * (1000 * k + i) + add, 1e-9);
    }
}

static void good(const char *command, double times, double add) {
    rewards r = of_command(command, 20);
    batches(&r, 50, times, add);
    rewards_close(&r);
}

#define READ_I "while read -r l; do l=${l##*: }; "

TEST(shell_programs) {
    good(READ_I "echo ${l%\\}}; done", 1, 0);
    good(READ_I "echo \"  -${l%\\}}.5\t\r\"; done", -1, -0.5);
    good("sleep 1; " READ_I "echo ${l%\\}}; done", 1, 0);
    good("sed -u 's/.*://; s/}//'", 1, 0);
    good("n=0; a=; " READ_I "a=\"$a${l%\\}}\n\"; n=$((n + 1)); if [ $n = 50 ]; then printf \"$a\"; n=0; a=; fi; done", 1, 0);
    /* the last answer without a line end, by a program that is then at its end */
    rewards r = of_command("read -r l; printf 7", 20);
    rewarded c = made("x", "{}");
    double each, total;
    EQ(rewards_score(&r, &c, 1, &each, &total), 0);
    NEAR(total, 7, 0);
    rewards_close(&r);
}

TEST(python_programs) {
    if (!have_python) SKIP("no python3");
    good("python3 -c 'import sys, json\nfor l in sys.stdin: print(2 * json.loads(l)[\"i\"])'", 2, 0); /* print does not flush by itself */
    good("python3 -c 'import sys, json\nall = []\nfor l in sys.stdin:\n all += [json.loads(l)]\n if all[-1][\"left\"] == 0:\n"
         "  print(*[x[\"i\"] for x in all], sep=\"\\n\")\n  all = []'", 1, 0);
}

TEST(what_a_program_reads) {
    rewards r = of_command("cat > \"$PITH_TEST_FILE\"", 1);
    setenv("PITH_TEST_FILE", in_folder("lines"), 1);
    const char *row = "{\"answer\": \"7\\u00e9\",\n \"prompt\": [{\"role\": \"user\",\r\n\t\"content\": \"a\\nb\"}], \"left\": 9, \"k\": {}}";
    rewarded c[2] = { made("\"\\\n\x01\xff\xc3\xa9", row), made("", "{}") };
    c[1].truncated = 1;
    double each[2], total[2];
    int keep;
    begin_quiet(&keep);
    EQ(rewards_score(&r, c, 2, each, total), FAILED); /* it says nothing */
    rewards_close(&r);
    end_quiet(keep);
    CHECK(strstr(said, "nothing came for 1 s, after 0 of 2 answers"));
    static char got[1000];
    FILE *f = fopen(in_folder("lines"), "rb");
    REQUIRE(f);
    got[fread(got, 1, sizeof got - 1, f)] = 0;
    fclose(f);
    const char *want = "{\"completion\": \"\\\"\\\\\\n\\u0001\xef\xbf\xbd\xc3\xa9\", \"truncated\": false, \"left\": 1, \"answer\": \"7\\u00e9\", "
                       "\"prompt\": [{\"role\": \"user\",  \t\"content\": \"a\\nb\"}], \"k\": {}}\n"
                       "{\"completion\": \"\", \"truncated\": true, \"left\": 0}\n";
    if (strcmp(got, want) != 0) FAIL("%s", got);
    pith__json j;
    CHECK(!pith__json_read(&j, got, strcspn(got, "\n"), "line", NULL));
}

/* What this program is when it is started as one that answers: 1 for each line, at once; or when the last of a batch has
 * come; or by a buffer that is written when it is full, and after the last. */
static int judge(const char *how) {
    static char line[1 << 16], buffer[1 << 16];
    setvbuf(stdout, buffer, *how == 'l' ? _IOLBF : _IOFBF, sizeof buffer);
    for (int n = 0; fgets(line, sizeof line, stdin);) {
        int last = strstr(line, "\"left\": 0,") != NULL;
        for (n++; n && (last || *how != 'b'); n--) puts("1.25000000000000000000");
        if (last) fflush(stdout);
    }
    return 0;
}

/* Completions of 4 KB to programs that read and write as they like: 10,000 are 40 MB, and the answers more than a pipe takes. */
static void many(const char *how, int n) {
    enum { SIZE = 4096 };
    static char text[SIZE + 1], command[256];
    memset(text, 'a', SIZE);
    snprintf(command, sizeof command, "exec '%s' %s", myself, how);
    rewarded *c = malloc((size_t)n * sizeof *c);
    double *each = malloc(2 * (size_t)n * sizeof *each), sum = 0;
    rewards r = of_command(command, 30);
    REQUIRE(c && each);
    for (int i = 0; i < n; i++) c[i] = made(text, "{\"prompt\": \"p\"}");
    for (int k = 0; k < 2; k++) {
        EQ(rewards_score(&r, c, n, each, each + n), 0);
        for (int i = 0; i < n; i++) sum += each[n + i];
    }
    NEAR(sum, 2 * 1.25 * n, 0);
    rewards_close(&r);
    free(c), free(each);
}

TEST(many_long_completions) {
    many("lines", 10000);
    many("batch", 1000);
    many("full", 1000);
}

/* Three completions; one line is said, and the code is FAILED. */
static void bad(const char *command, float timeout, const char *want) {
    rewards r = of_command(command, timeout);
    rewarded c[3] = { made("x", "{}"), made("y", "{}"), made("z", "{}") };
    double each[3], total[3], start = seconds();
    int keep, code = 0;
    begin_quiet(&keep);
    for (int k = 0; k < 2 && !code; k++) code = rewards_score(&r, c, 3, each, total);
    rewards_close(&r);
    end_quiet(keep);
    if (code != FAILED || !strstr(said, want)) FAIL("%s: %d, \"%s\", want \"%s\"", command, code, said, want);
    if (strncmp(said, "pith: ", 6) || strchr(said, '\n') != said + strlen(said) - 1) FAIL("not one line: \"%s\"", said);
    if (seconds() - start > 8) FAIL("%s took %g s", command, seconds() - start);
    int status;
    EQ(waitpid(-1, &status, WNOHANG), -1); /* no child is left, ended or not */
}

TEST(programs_that_die) {
    bad("exit 3", 9, "exit 3: ended with status 3 after 0 of 3 answers");
    bad("read l; echo 1; exit 0", 9, "ended with status 0 after 1 of 3 answers");
    bad("read l; echo 1; kill -9 $$", 9, "was ended by signal 9 after 1 of 3 answers");
    bad("read l; read l; read l; echo 1; echo 2; echo 3", 9, "ended with status 0 after 0 of 3 answers"); /* of the second batch */
    bad("exec 1>&-; exec sleep 20", 9, "closed its output after 0 of 3 answers");
    bad("exec cat /nowhere/at/all 2>/dev/null", 9, "ended with status 1 after 0");
    bad("no_such_program_at_all 2>/dev/null", 9, "ended with status 127 after 0");
    bad("read l; echo 1; echo Error: no model; exit 1", 9, "answers 'Error: no model' to completion 2, need a number");
    bad("read l; printf 'half a line'; exit 1", 9, "answers 'half a line' to completion 1");
}

TEST(programs_that_hang) {
    bad("sleep 30", 0.3f, "sleep 30: nothing came for 0.3 s, after 0 of 3 answers");
    bad("exec 0<&-; sleep 30", 0.3f, "nothing came for 0.3 s, after 0 of 3 answers");
    bad("read l; echo 1; sleep 30", 0.3f, "after 1 of 3 answers");
    bad("trap '' TERM; while :; do sleep 1; done", 0.3f, "nothing came");
    bad("read l; echo 1; echo 2; printf 3; sleep 30", 0.3f, "after 2 of 3 answers");
    bad("(trap '' TERM HUP; sleep 30) & exec sleep 30", 0.3f, "nothing came");
}

/* What a program started goes with it. */
TEST(nothing_is_left_behind) {
    setenv("PITH_TEST_FILE", in_folder("alive"), 1);
    bad("(trap '' TERM; sleep 1; : > \"$PITH_TEST_FILE\") & exec sleep 30", 0.2f, "nothing came");
    sleep(2);
    CHECK(!there("alive"));
}

TEST(rubbish) {
    bad("read l; echo nan", 9, "answers 'nan' to completion 1, need a number");
    bad("read l; echo 1; echo -inf", 9, "answers '-inf' to completion 2");
    bad("read l; echo 1e999", 9, "answers '1e999'");
    bad("read l; echo 1e39", 9, "answers '1e39'");
    bad("read l; echo", 9, "answers '' to completion 1");
    bad("read l; echo 1 2", 9, "answers '1 2'");
    bad("read l; echo 0x1", 9, "answers '0x1'");
    bad("read l; echo True", 9, "answers 'True'");
    bad("read l; printf '1\\0\\n'", 9, "answers '1' to completion 1");
    bad("read l; printf '\\033[2J\\n'", 9, "answers '?[2J'");
    bad("read l; head -c 9000 /dev/zero | tr '\\0' 1", 9, "answers '1111");
    bad("read l; cat /dev/zero", 9, "answers '' to completion 1");
    bad("read l; yes 1", 9, "says '1' where it was asked nothing");
    bad("read l; printf '1\\n2\\n3\\n4\\n'; sleep 5", 9, "says '4' where it was asked nothing");
    bad("while read l; do printf '1\\n2\\n'; done", 9, "where it was asked nothing");
    bad("read l; read l; read l; printf '1\\n2\\n3\\nfour'; sleep 5", 9, "says 'four' where it was asked nothing");
}

/* What it says on standard error is shown, and SIGPIPE is as programs expect it. */
TEST(streams_and_signals) {
    rewards r = of_command("read l; echo 'loading the judge' >&2; yes 2 | head -n 1", 9);
    rewarded c = made("x", "{}");
    double each, total;
    int keep;
    begin_quiet(&keep);
    EQ(rewards_score(&r, &c, 1, &each, &total), 0);
    rewards_close(&r);
    end_quiet(keep);
    CHECK(!strcmp(said, "loading the judge\n")); /* without yes, which would say so if SIGPIPE were ignored */
}


TEST(two_programs) {
    reward_options o = { .rules = { { "exact" }, 1 }, .commands = { { READ_I "echo 1; done", READ_I "echo 2; done" }, 2 }, .timeout = 9 };
    rewards r = opened(o, 0);
    rewarded c = made("#### 5", "{\"answer\": 5}");
    double each[3], total;
    EQ(rewards_start(&r), 0);
    for (int k = 0; k < 3; k++) {
        EQ(rewards_score(&r, &c, 1, each, &total), 0);
        NEAR(total, 4, 0);
    }
    CHECK(!strcmp(rewards_name(&r, 2), "command_2"));
    double start = seconds();
    rewards_close(&r);
    CHECK(seconds() - start < 1.5); /* each sees the end of its input: no other holds it */
}

/* In a process of its own: asked to stop while a program thinks. The program is in another group, so Ctrl-C is not for it. */
TEST(asked_to_stop) {
    fflush(stdout);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (!child) {
        prepare_process();
        rewards r = of_command("trap 'echo 9' INT; read l; kill -INT $PPID; sleep 20", 60);
        rewarded c = made("x", "{}");
        double each, total, start = seconds();
        int code = rewards_score(&r, &c, 1, &each, &total);
        rewards_close(&r);
        _exit(code == 130 && seconds() - start < 8 ? 0 : 1);
    }
    int status;
    while (waitpid(child, &status, 0) < 0) continue;
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv) {
    if (argc > 1) return judge(argv[1]);
    myself = argv[0];
    if (!mkdtemp(folder)) return 99;
    have_python = !system("python3 -c 1 2>/dev/null");
    signal(SIGPIPE, SIG_IGN), unsetenv("PYTHONUNBUFFERED");
    RUN(answers);
    RUN(answers_as_data_sets_have_them);
    RUN(cheats);
    RUN(numbers);
    RUN(many_digits);
    RUN(forms);
    RUN(lengths);
    RUN(flags);
    RUN(weights_and_names);
    RUN(rows);
    RUN(shell_programs);
    RUN(python_programs);
    RUN(what_a_program_reads);
    RUN(many_long_completions);
    RUN(programs_that_die);
    RUN(programs_that_hang);
    RUN(nothing_is_left_behind);
    RUN(rubbish);
    RUN(streams_and_signals);
    RUN(two_programs);
    RUN(asked_to_stop);
    unlink(in_folder("stderr")), unlink(in_folder("lines")), rmdir(folder);
    return DONE();
}
