/* t_talk.c - a conversation as a person types it: the program at a terminal of its own, with the bundled model. */
#include "test.h"
#include "tools/tools.h"
#include "terminal.h"

static char folder[64];      /* for files of this test */
static const char *more, *still_more; /* flags of the program */

static void chat(int report_to) {
    char *run = getenv("RUN"), answers[128];
    snprintf(answers, sizeof answers, "%s/answers", folder);
    dup2(report_to, 9);
    setenv("TERM", "xterm", 1);
    setenv("HOME", folder, 1);
    execl(run ? run : "./run", "run", "-m", "chat", "-t", "0", "--n-predict", "4", "--quiet", "-o", answers, more, still_more, (char *)NULL);
}

static const char *text_of(const char *name) { /* a file in the folder */
    static char text[65536];
    snprintf(text, sizeof text, "%s/%s", folder, name);
    FILE *f = fopen(text, "rb");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = 0;
    if (f) fclose(f);
    return text;
}

static int says(const char *what) {
    if (strstr(seen, what)) return 1;
    printf("# no '%s' in:\n# %s\n", what, seen);
    return 0;
}

static void talk(const char *keys) {
    if (!type_at(chat, keys, 1)) FAIL("no terminal");
}

static int lines_of(const char *text) {
    int n = 0;
    for (; *text; text++) n += *text == '\n';
    return n;
}

TEST(each_line_is_a_turn) {
    talk("hello\rwhy\r\004");
    EQ(lines_of(text_of("answers")), 2);
    CHECK(!strstr(seen, "User:"));
}

TEST(lines_are_edited) {
    char first[256];
    talk("hello\r\004");
    snprintf(first, sizeof first, "%s", text_of("answers"));
    talk("helo\033[Dl\r\004");
    CHECK(*first && !strcmp(text_of("answers"), first));
    talk("\033[200~hello\nthere\033[201~\r\004"); /* a paste is one turn */
    EQ(lines_of(text_of("answers")), 1);
    talk("\"\"\"hello\rthere\"\"\"\r\004");
    EQ(lines_of(text_of("answers")), 1);
    CHECK(says("... "));
}

TEST(commands_are_obeyed_and_not_said) {
    char command[256];
    talk("/help\r/nosuch\r/exit\r");
    EQ(lines_of(text_of("answers")), 0);
    CHECK(says("/save FILE") && says("no command /nosuch"));
    talk("/stast\r/bye\r");
    CHECK(says("is it /stats?"));
    snprintf(command, sizeof command, "/system be kind\rhello\r/save %s/talk.json\r/stats\r/exit\r", folder);
    talk(command);
    CHECK(strstr(text_of("talk.json"), "{\"role\": \"system\", \"content\": \"be kind\"},\n  {\"role\": \"user\", \"content\": \"hello\"},"));
    CHECK(says("3 messages") && says("wrote 4 tokens"));
    snprintf(command, sizeof command, "/load %s/talk.json\r/undo\r/show\r/exit\r", folder);
    talk(command);
    CHECK(says("taken back: hello") && says("1 messages") && says("system: be kind"));
    snprintf(command, sizeof command, "/load %s/answers\r/load /nosuch\r/show\r/exit\r", folder);
    talk(command);
    CHECK(says("pith: ") && says("0 messages"));
}

TEST(settings_change_and_wrong_ones_do_not) {
    talk("/set temp 0.25\r/set n-predict 2\r/show\rhello\r/stats\r/exit\r");
    CHECK(says("temp 0.25") && says("wrote 2 tokens"));
    talk("/set temp x\r/set nosuch 1\r/set\r/show\r/exit\r");
    CHECK(says("temp 0 ") && says("nosuch") && says("/set needs"));
}

static void write_file(const char *name, const char *text) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    if (f) fputs(text, f), fclose(f);
}

TEST(parts_are_joined_and_what_cannot_be_read_changes_nothing) {
    static const char *const wrong[][2] = {
        { "[{\"role\": \"user\", \"content\": \"a\"},\n {\"role\": \"assistant\", \"content\": null}]", "edited: messages[1].content is null, need a text" },
        { "[{\"role\": \"user\", \"content\": \"a\"},\n {\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{}]}]", "messages[1].tool_calls: a conversation" },
        { "[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}, {\"type\": \"image_url\"}]}]", "messages[0].content[1].type is \"image_url\", need \"text\"" },
        { "[{\"role\": \"user\", \"content\": [{\"type\": \"text\"}]}]", "edited: has no messages[0].content[0].text, need a text" },
        { "[{\"role\": \"tool\", \"content\": \"a\"}]", "messages[0].role is \"tool\", need \"system\", \"user\" or \"assistant\"" },
        { "[{\"content\": \"a\"}]", "has no messages[0].role" },
        { "[{\"role\": \"user\", \"content\": \"a\\u0000\"}]", "need a text without NUL" },
        { "[{\"role\": \"user\", \"content\": \"a\"},\n {\"role\": \"user\", \"content\": \"b\"}]", "messages[1].role is \"user\", need \"assistant\"" },
        { "[{\"role\": \"user\", \"content\": \"a\"}]", "messages[0], the last, is a question" },
        { "[{\"role\": \"user\", \"content\": \"a\"},\n {\"role\": \"assi", "edited: byte 50, line 2: the end inside a string" },
        { "{\"role\": \"user\"}", "edited: has no array of messages" },
    };
    char command[400];
    write_file("parts", "[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"one\"}, {\"text\": \"two\"}]},\n"
               "{\"role\": \"assistant\", \"content\": [], \"reasoning_content\": \"hm\"}]");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_file("edited", wrong[i][0]);
        snprintf(command, sizeof command, "/load %s/parts\r/load %s/edited\r/save %s/again\r/exit\r", folder, folder, folder);
        talk(command);
        CHECK(says(wrong[i][1]));
        CHECK(strstr(text_of("again"), "\"content\": \"one\\ntwo\"},\n  {\"role\": \"assistant\", \"content\": \"\", \"reasoning_content\": \"hm\"}"));
    }
}

TEST(show_has_what_set_can_set) {
    sampling_choice c = SAMPLING_NOT_SAID;
    const flag flags[] = { SAMPLING_FLAGS(c), { 0, NULL, 0, NULL, 0, 0, NULL, NULL } };
    talk("/set mirostat 2\r/set mirostat-ent 3.5\r/set seed 77\r/set dry-sequence-breaker ab\r/thoughts hide\r/reasoning off\r/show\r/exit\r");
    CHECK(says("  mirostat 2  ") && says("mirostat-ent 3.5") && says("seed 77") && says("n-predict 4"));
    CHECK(says("dry-sequence-breaker 'ab'"));
    CHECK(says("thoughts hide  reasoning off  reasoning-budget -1"));
    for (const flag *f = flags; f->help; f++)
        if (*f->help && strcmp(f->name, "samplers")) CHECK(says(f->name)); /* whose letters are shown: sampler-seq */
    talk("/set samplers penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature\r/show\r/exit\r");
    CHECK(says("sampler-seq edskypmxt"));
}

TEST(an_answer_can_be_had_again) {
    talk("/again\r/undo\rhello\r/again\r/clear\r/again\r/exit\r");
    EQ(lines_of(text_of("answers")), 2);
    CHECK(says("there is no answer yet") && says("forgotten"));
}

/* What is typed or pasted while an answer comes is not shown in it, and edited like any other line. */
TEST(the_next_line_may_be_typed_during_an_answer) {
    talk("/set n-predict 20\rhello\r" LATER "\033[200~first\nsecond\033[201~\r/save ~/later.json\r/exit\r");
    CHECK(says("later.json: 4 messages") && strstr(text_of("later.json"), "\"first\\nsecond\""));
    const char *shown = strstr(seen, "first");
    CHECK(shown && shown - seen > 2 && !memcmp(shown - 2, "> ", 2));
    CHECK(strstr(seen, "\033[?2004h\033[?2004l\033[?2004h")); /* a paste was one during the answer too */
}

TEST(a_full_context_leaves_a_person_what_was_said) {
    more = "--no-drop", still_more = "--ctx-size=40";
    talk("hello\rone two three four five six seven eight nine ten eleven twelve\r/save ~/full.json\r/exit\r");
    EQ(lines_of(text_of("answers")), 1);
    CHECK(says("the context 40: /undo or /clear makes room") && says("full.json: 2 messages"));
    CHECK(strstr(text_of("full.json"), "hello"));
    more = "-n", still_more = "40";
    talk("/set n-predict 100\rhello\rhello\r/save ~/full.json\r/exit\r");
    CHECK(says("the context 40: /undo or") && says("full.json: 2 messages"));
    more = still_more = NULL;
}

TEST(ctrl_c_twice_leaves) {
    more = "--no-drop";
    talk("hello\rwhy\003\003");
    CHECK(says("once more"));
    EQ(lines_of(text_of("answers")), 1); /* what was answered is kept */
    talk("hel\003hello\rwhy\r\004"); /* once does not */
    EQ(lines_of(text_of("answers")), 2);
    more = NULL;
}

int main(void) {
    char command[128];
    snprintf(folder, sizeof folder, "/tmp/pith-talk-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    RUN(each_line_is_a_turn);
    RUN(lines_are_edited);
    RUN(commands_are_obeyed_and_not_said);
    RUN(settings_change_and_wrong_ones_do_not);
    RUN(parts_are_joined_and_what_cannot_be_read_changes_nothing);
    RUN(show_has_what_set_can_set);
    RUN(an_answer_can_be_had_again);
    RUN(the_next_line_may_be_typed_during_an_answer);
    RUN(a_full_context_leaves_a_person_what_was_said);
    RUN(ctrl_c_twice_leaves);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) | DONE();
}
