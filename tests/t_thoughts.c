/* t_thoughts.c - thoughts and answers told apart, however the text is cut into pieces. Tags as in the published chat
 * templates (names beside the cases). */
#include "internal.h"
#include "test.h"

static char answer[1024], thought[1024];

/* text in pieces of so many bytes; what stands between { and } are control tokens. */
static void split(const char *before, const char *text, size_t piece) {
    pith__thoughts t;
    pith__parts to = { answer, thought, 0, 0 };
    pith__thoughts_begin(&t, before, strlen(before));
    for (int hidden = 0; *text;) {
        if (*text == '{' || *text == '}') { hidden = *text++ == '{'; continue; }
        size_t n = strcspn(text, "{}");
        if (n > piece) n = piece;
        pith__thoughts_put(&t, text, n, hidden, &to);
        text += n;
    }
    pith__thoughts_end(&t, &to);
    answer[to.n_answer] = thought[to.n_thought] = 0;
}

static void parts(const char *before, const char *text, const char *want_thought, const char *want_answer) {
    for (size_t piece = 1; piece < 20; piece++) {
        split(before, text, piece);
        if (strcmp(thought, want_thought) || strcmp(answer, want_answer))
            FAIL("'%s' in pieces of %zu: thought '%s', answer '%s'", text, piece, thought, answer);
    }
}

TEST(tags_in_the_text_open_thoughts) {
    parts("<|im_start|>assistant\n", "<think>\nHm.\n</think>\n\nParis.", "Hm.\n", "Paris."); /* Qwen 3 */
    parts("", "\n<think>Hm.</think>Paris.\n", "Hm.", "\nParis.\n"); /* what was said is said */
    parts("", "{[THINK]}Hm.{[/THINK]}Paris.", "Hm.", "Paris."); /* Ministral 3 Reasoning */
    parts("", "{<|channel>}thought\nHm.\n{<channel|>}Paris.", "Hm.\n", "Paris."); /* Gemma 4 */
    parts("<|start|>assistant", "{<|channel|>}analysis{<|message|>}Hm.{<|end|><|start|>}assistant{<|channel|>}final{<|message|>}Paris.",
          "Hm.", "Paris."); /* gpt-oss */
    parts("<|start|>assistant", "{<|channel|>}analysis{<|message|>}Hm.{<|end|><|start|>}assistant{<|channel|>}commentary{<|message|>}"
          "Let me see.{<|end|><|start|>}assistant{<|channel|>}final{<|message|>}Paris.{<|return|>}", "Hm.Let me see.", "Paris.");
    parts("<|start|>assistant", "{<|channel|>}final{<|message|>}Paris.", "", "Paris.");
    parts("", "<seed:think>Hm.</seed:think>Paris.", "Hm.", "Paris."); /* Seed-OSS */
    parts("", "<think></think>Paris.", "", "Paris.");
}

TEST(a_prompt_may_open_them) {
    parts("<|im_start|>assistant\n<think>\n", "Hm.</think>\n\nParis.", "Hm.", "Paris."); /* DeepSeek R1 Distill */
    parts("\n\nAssistant: <think>", "\nHm.\n</think>Paris.", "Hm.\n", "Paris."); /* RWKV */
    parts("{<|begin_assistant|>}\nHere are my reasoning steps:\n", "Hm.\n[BEGIN FINAL RESPONSE]\nParis.", "Hm.\n", "Paris.");
    parts("<think>\n\n</think>\n\n", "Paris.", "", "Paris."); /* Qwen 3 without thinking */
    parts("<think>\nThe user", "Paris.", "", "Paris."); /* not where the model speaks */
}

TEST(what_only_looks_like_a_tag_is_text) {
    parts("", "Write <think> to think.</think>", "", "Write <think> to think.</think>");
    parts("", "<thin", "", "<thin");
    parts("", "<<think>x", "", "<<think>x");
    parts("", " a<b", "", " a<b"); /* blanks stay where nothing was thought */
    parts("<think>", "1 < 2 </thin </think>4", "1 < 2 </thin ", "4");
    parts("<think>", "<think> [/THINK]", "<think> [/THINK]", ""); /* another family's */
    parts("", "{<|x|>}Paris.{<|y|>}", "", "Paris.");
    parts("<think>", "Hm.</think>So </think> it is", "Hm.", "So </think> it is");
    parts("<think>", "never ends", "never ends", "");
}

TEST(the_tag_that_would_end_them_is_known) {
    pith__thoughts t;
    pith__thoughts_begin(&t, "<|START_THINKING|>", 18);
    CHECK(pith__thoughts_close(&t) && !strcmp(pith__thoughts_close(&t), "<|END_THINKING|>"));
    pith__thoughts_begin(&t, "", 0);
    CHECK(!pith__thoughts_close(&t));
}

int main(void) {
    RUN(tags_in_the_text_open_thoughts);
    RUN(a_prompt_may_open_them);
    RUN(what_only_looks_like_a_tag_is_text);
    RUN(the_tag_that_would_end_them_is_known);
    return DONE();
}
