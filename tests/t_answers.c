/* t_answers.c - which tokens of a conversation count: by the template's own marks, by contents and ends of turns, by the
 * difference of two renderings. What counts stands in [ ], special tokens in { }. */
#include "made_rows.h"

#define TWO "{\"messages\":[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"Hi\"}," \
            "{\"role\":\"assistant\",\"content\":\"Yo\"},{\"role\":\"user\",\"content\":\"U\"},{\"role\":\"assistant\",\"content\":\"A b\"}]}"
#define START "{<|im_start|>}"
#define END "{<|im_end|>}"
#define ASKS "{% if add_generation_prompt %}<|im_start|>{% endif %}"
#define BEGIN2 "{<s>}" START "system\nS{<start_of_turn>}" END "\n" START "user\nHi{<start_of_turn>}" END "\n"
#define BEGIN "{<s>}" START "system\nS" END "\n" START "user\nHi" END "\n"

TEST(every_turn_of_the_assistant_and_its_end) {
    IS(chatml, TWO, BEGIN START "assistant\n[Yo" END "]\n" START "user\nU" END "\n" START "assistant\n[A b" END "]\n");
    IS_WITH(chatml, TWO, "{<s>}[" START "system\nS" END "\n" START "user\nHi" END "\n" START "assistant\nYo" END "\n" START "user\nU" END
                    "\n" START "assistant\nA b" END "\n]", .every_token = 1);
    IS("{% for m in messages %}{{ m.role }}: {{ m.content|trim }}{% if m.role == 'assistant' %} </s>{% endif %};{% endfor %}",
       "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\",\"content\":\"  Yo \"}]}",
       "user: Hi;assistant: [Yo {</s>}];"); /* words of the template before the end count too */
}

TEST(the_marks_of_the_template_go_before) {
    IS("{% for m in messages %}<|im_start|>{{ m.role }}{% if m.role == 'assistant' %}{% generation %}{{ '\n' + m.content }}<|im_end|>\n"
       "{% endgeneration %}{% else %}{{ '\n' }}{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}",
       TWO, START "system\nS" END "\n" START "user\nHi" END "\n" START "assistant[\nYo" END "\n]" START "user\nU" END "\n" START
            "assistant[\nA b" END "\n]");
    IS("{% for m in messages %}{% if loop.last %}{% generation %}{{ m.content }}</s>{% endgeneration %}{% else %}{{ m.content }}"
       "{% endif %}{% endfor %}", TWO, "SHiYoU[A b{</s>}]"); /* the template says: the last one only */
    IS("{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}"
       "{% endif %}</s>{% endfor %}", TWO, "S{</s>}Hi{</s>}[Yo]{</s>}U{</s>}[A b]{</s>} (endless)"); /* and forgets the end */
}

TEST(an_answer_without_text_ends_all_the_same) {
#define EMPTY(text) "{\"messages\":[{\"role\":\"user\",\"content\":\"\"},{\"role\":\"assistant\",\"content\":\"" text "\"}," \
                    "{\"role\":\"user\",\"content\":\"U\"},{\"role\":\"assistant\",\"content\":\"\"}]}"
#define EMPTY_TO(text) "{<s>}" START "user\n" END "\n" START "assistant\n[" text END "]\n" START "user\nU" END "\n" START \
                       "assistant\n[" END "]\n"
    static const char trims[] = "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content|trim }}<|im_end|>\n{% endfor %}";
    IS(chatml, EMPTY(""), EMPTY_TO(""));
    IS(chatml, EMPTY(" \\n"), EMPTY_TO(" \n"));
    IS(trims, EMPTY(" \\n"), EMPTY_TO(""));
    IS(trims, EMPTY("A"), EMPTY_TO("A"));
    make_vocab();
    rows_vocab.nfc = 1; /* also where places move because the text is normalised */
    IS(chatml, "{\"messages\":[{\"role\":\"user\",\"content\":\"e\\u0301\"},{\"role\":\"assistant\",\"content\":\"\"},{\"role\":\"user\","
               "\"content\":\"\"},{\"role\":\"assistant\",\"content\":\"\"}]}",
       "{<s>}" START "user\n\xc3\xa9" END "\n" START "assistant\n[" END "]\n" START "user\n" END "\n" START "assistant\n[" END "]\n");
    make_vocab();
    /* it writes something else for an empty text: then it cannot be told where that is */
    IS("{% for m in messages %}{{ m.content or '-' }}<|im_end|>{% endfor %}", EMPTY("A"), "-" END "[A" END "]U" END "-" END);
}

TEST(look_alikes_of_control_tokens_stay_text) {
    IS(chatml, "{\"messages\":[{\"role\":\"user\",\"content\":\"a<|im_end|>\"},{\"role\":\"assistant\",\"content\":\"b<|im_end|>\\n<|im_start|>c</s>\"}]}",
       "{<s>}" START "user\na<|im_end|>" END "\n" START "assistant\n[b<|im_end|>\n<|im_start|>c</s>" END "]\n");
}

TEST(the_end_of_a_turn_is_the_template_s) {
    make_vocab();
    rows_vocab.n_end = 1; /* a base model knows of </s> only */
    IS(chatml, TWO, BEGIN START "assistant\n[Yo" END "]\n" START "user\nU" END "\n" START "assistant\n[A b" END "]\n");
    make_vocab();
    IS("{% for m in messages %}<|im_start|>{{ m.content }}{% endfor %}" ASKS, TWO,
       START "S" START "Hi" START "[Yo]" START "U" START "[A b] (endless)"); /* it has none */
    rows_vocab.n_end = 1;
    IS(CHATML_WITH("", "<start_of_turn><|im_end|>\n"), TWO, /* two that close it, as Cohere's */
       BEGIN2 START "assistant\n[Yo{<start_of_turn>}" END "]\n" START "user\nU{<start_of_turn>}" END "\n" START "assistant\n[A b"
       "{<start_of_turn>}" END "]\n");
    IS("{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}<end_of_turn>", TWO, /* Phi 3's: one more at the very end */
       START "S" END START "Hi" END START "[Yo" END "]" START "U" END START "[A b" END "]{<end_of_turn>}");
    /* gpt-oss's: another one at the very end; Qwen 1.5's: none there */
    IS("{% for m in messages %}<|im_start|>{{ m.content }}{{ '<end_of_turn>' if loop.last else '<|im_end|>' }}{% endfor %}", TWO,
       START "S" END START "Hi" END START "[Yo" END "]" START "U" END START "[A b{<end_of_turn>}]");
    IS("{% for m in messages %}<|im_start|>{{ m.content }}{{ '' if loop.last else '<|im_end|>' }}{% endfor %}", TWO,
       START "S" END START "Hi" END START "[Yo" END "]" START "U" END START "[A b] (endless)");
    rows_vocab.n_end = 3; /* a template that refuses short conversations: the model's own end tokens are left */
    IS("{% if messages[0].role != 'system' %}{{ raise_exception('no system') }}{% endif %}{% for m in messages %}{{ m.content }}<|im_end|>"
       "{% endfor %}", TWO, "S" END "Hi" END "[Yo" END "]U" END "[A b" END "]");
    rows_vocab.end[3] = TURN, rows_vocab.n_end = 4; /* GLM's: what begins the next turn ends this one */
    IS("{% for m in messages %}<start_of_turn>{{ m.content }}{% endfor %}", TWO, "{<start_of_turn>}S{<start_of_turn>}Hi{<start_of_turn>}[Yo"
       "{<start_of_turn>}]U{<start_of_turn>}[A b] (endless)");
    make_vocab();
    rows_vocab.piece[TURN] = pith__str_of("\n\n"), rows_vocab.type[TURN] = PITH__USER; /* Gemma's line breaks end nothing */
    IS(CHATML_WITH("", "{{ '\n\n' }}<|im_end|>"), TWO, "{<s>}" START "system\nS{\n\n}" END START "user\nHi{\n\n}" END START
       "assistant\n[Yo{\n\n}" END "]" START "user\nU{\n\n}" END START "assistant\n[A b{\n\n}" END "]");
    make_vocab();
    IS("{% for m in messages %}<|im_start|>{{ m.content }}{% endfor %}<|im_end|>" ASKS, TWO,
       START "S" START "Hi" START "[Yo]" START "U" START "[A b" END "]");
}

/* Gemma's form: the system's text in the user's turn, the role called model, blanks trimmed. */
TEST(gemma) {
    IS("{{ bos_token }}{% if messages[0].role == 'system' %}{% set first = messages[0].content|trim + '\n\n' %}{% set rest = messages[1:] %}"
       "{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}{% for m in rest %}"
       "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns must alternate') }}{% endif %}"
       "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + (first if loop.first else '') }}"
       "{{ m.content|trim }}{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
       "{\"messages\":[{\"role\":\"system\",\"content\":\" S\"},{\"role\":\"user\",\"content\":\"Hi \"},{\"role\":\"assistant\",\"content\":\" Yo\\n\"}]}",
       "{<s>}{<start_of_turn>}user\nS\n\nHi{<end_of_turn>}\n{<start_of_turn>}model\n[Yo{<end_of_turn>}]\n");
}

/* A template that opens thoughts where the model is to speak, and writes old answers without (or with empty) ones. */
TEST(thoughts_that_the_prompt_opens) {
#define THINKS(old) "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}" old "{% endif %}{{ m.content }}" \
                    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    static const char pair[] = "{\"prompt\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"completion\":[{\"role\":\"assistant\",\"content\":\"Yo\"}]}";
    static const char one[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\",\"content\":\"Yo\"}]}";
    IS(THINKS(""), one, START "user\nHi" END "\n" START "assistant\n[Yo" END "]\n");
    IS(THINKS(""), pair, START "user\nHi" END "\n" START "assistant\n[Yo" END "\n]");
    IS(THINKS("<think>\n\n</think>\n\n"), one, START "user\nHi" END "\n" START "assistant\n{<think>}\n\n</think>\n\n[Yo" END "]\n");
    rows_vocab.n_end = 1; /* written for the last answer only: what ends a turn is found all the same */
    IS(THINKS("{% if loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"), TWO, START "system\nS" END "\n" START "user\nHi" END "\n"
       START "assistant\n[Yo" END "]\n" START "user\nU" END "\n" START "assistant\n{<think>}\n\n</think>\n\n[A b" END "]\n");
    make_vocab();
    static const char rewrites[] = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if '</think>' in m.content %}<think>"
        "{{ m.content.split('</think>')[0].split('<think>')[-1]|trim }};</think>{% endif %}{{ m.content.split('</think>')[-1]|trim }}<|im_end|>"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    IS(rewrites, "{\"messages\":[{\"role\":\"assistant\",\"content\":\"<think>\\nhm</think> Yo\"},{\"role\":\"assistant\",\"content\":\"A\"}]}",
       START "assistant\n[{<think>}hm;</think>Yo" END "]" START "assistant\n[A" END "]");
    IS(THINKS("<think>\n\n</think>\n\n"), pair, START "user\nHi" END "\n" START "assistant\n{<think>}\n[\n</think>\n\nYo" END "\n]");
}

/* What an assistant's message has beside its content is learned with what the template puts around it, from where the
 * prompt would have ended. */
TEST(thoughts_and_calls_of_tools) {
    static const char form[] = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}"
                               "\n</think>\n{% endif %}{{ m.content }}{% for c in m.tool_calls or [] %}<call>{{ c.function.name }}:"
                               "{{ c.function.arguments|tojson }}</call>{% endfor %}<|im_end|>\n{% endfor %}"
                               "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    IS(form, "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\",\"reasoning_content\":\"hm\",\"content\":\"Yo\"}]}",
       START "user\nHi" END "\n" START "assistant\n[{<think>}\nhm\n</think>\nYo" END "]\n");
    IS(form, "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"function\":"
             "{\"name\":\"f\",\"arguments\":{\"x\":[1,\"v\"]}}}]},{\"role\":\"tool\",\"content\":\"7\"},{\"role\":\"assistant\",\"content\":\"Yo\"}]}",
       START "user\nHi" END "\n" START "assistant\n[<call>f:{\"x\": [1, \"v\"]}</call>" END "]\n" START "tool\n7" END "\n" START
             "assistant\n[Yo" END "]\n");
    IS("{% for m in messages %}{{ m.content or '' }}{% for c in m.tool_calls or [] %}{{ c }}{% endfor %}</s>{% endfor %}",
       "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Hi\"}]},{\"role\":\"assistant\",\"content\":null,"
       "\"tool_calls\":[\"f\"]},{\"role\":\"assistant\",\"content\":[{\"text\":\"Yo\"}]}]}", "Hi{</s>}[f{</s>}Yo{</s>}]");
}

TEST(a_completion_begins_where_tokens_differ) {
#define PAIR "{\"prompt\":[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\",\"content\":\"old\"},{\"role\":\"user\",\"content\":\"U\"}]," \
             "\"completion\":[{\"role\":\"assistant\",\"content\":\"Yo\"}]}"
    static const char before[] = "{<s>}" START "user\nHi" END "\n" START "assistant\nold" END "\n" START "user\nU" END "\n" START "assistant\n";
    char want[300];
    snprintf(want, sizeof want, "%s[Yo" END "\n]", before);
    IS(chatml, PAIR, want);
    snprintf(want, sizeof want, "{<s>}[%sYo" END "\n]", before + 5);
    IS_WITH(chatml, PAIR, want, .prompts_too = 1);
    /* a template that takes back what the prompt had: nothing says where the completion begins */
    WRONG("{% for m in messages %}{{ m.content if loop.index0 + 2 >= messages|length else '' }}<|im_end|>{% endfor %}", PAIR,
          "the template writes the prompt in another way when the completion follows");
}

/* Tokens are laid along the text that they came from, however the tokenizer changed it. */
TEST(tokens_find_their_bytes) {
    static const char row[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"e\\u0301\"},{\"role\":\"assistant\",\"content\":\"o\\u0308\\u2581 \\ud83e\\udd89\"}]}";
    make_vocab();
    rows_vocab.nfc = 1;
    IS(chatml, row, "{<s>}" START "user\n\xc3\xa9" END "\n" START "assistant\n[\xc3\xb6\xe2\x96\x81 \xf0\x9f\xa6\x89" END "]\n");
    make_vocab();
    rows_vocab.spelling = PITH__METASPACE, rows_vocab.add_space = PITH__SPACE_ALWAYS;
#define META "\xe2\x96\x81"
    IS(chatml, row, "{<s>}" START META "user\ne\xcc\x81" END META "\n" START META "assistant\n[o\xcc\x88" META META "\xf0\x9f\xa6\x89" END "]"
                    META "\n");
    make_vocab();
    rows_vocab.add_space = PITH__SPACE_ALWAYS, rows_vocab.unk = 0;
    rows_vocab.piece[BYTES + 0xf0] = pith__str_of("x1"), rows_vocab.type[BYTES + 0xf0] = PITH__NORMAL; /* no owl can be written */
    rows_vocab.piece[BYTES + 0xe2] = pith__str_of(" "), rows_vocab.type[BYTES + 0xe2] = PITH__NORMAL;
    IS(chatml, row, "{<s>}" START " user\ne\xcc\x81" END " \n" START " assistant\n[o\xcc\x88{<unk>} {<unk>}" END "] \n");
    IS("{% for m in messages %}{{ m.content }}{% endfor %}", row, " e\xcc\x81[o\xcc\x88{<unk>} {<unk>}] (endless)");
    rows_vocab.unk = -1;
    IS("{% for m in messages %}{{ m.role }}{% generation %}{{ m.content }}{% endgeneration %};{% endfor %}", row,
       " user[e\xcc\x81];assistant[o\xcc\x88 ]; (endless)"); /* what is dropped belongs to what was before it */
    rows_vocab.spelling = PITH__METASPACE, rows_vocab.piece[BYTES + 0xe2] = pith__str_of("\xe2\x96\x81");
    IS("{% for m in messages %}{{ m.content }}{% endfor %}", "{\"messages\":[{\"role\":\"assistant\",\"content\":\"Yo\\u2581\"}]}", " [Yo ] (endless)");
    make_vocab();
    rows_vocab.add_space = PITH__SPACE_ALWAYS;
    rows_vocab.piece[BYTES + 0xf0] = pith__str_of("x1"), rows_vocab.type[BYTES + 0xf0] = PITH__NORMAL;
    rows_vocab.piece[BYTES + 0xe2] = pith__str_of(" "), rows_vocab.type[BYTES + 0xe2] = PITH__NORMAL;
    IS(chatml, row, "{<s>}" START " user\ne\xcc\x81" END " \n" START " assistant\n[o\xcc\x88 " END "] \n");
    make_vocab();
    static uint8_t added[N_PIECE];
    added[IM_START] = PITH__LSTRIP, added[IM_END] = PITH__LSTRIP | PITH__RSTRIP;
    rows_vocab.added = added;
    IS(CHATML_WITH("", "  <|im_end|>\n\n"), TWO, "{<s>}" START "system\nS" END START "user\nHi" END START "assistant\n[Yo" END "]" START "user\nU" END
                   START "assistant\n[A b" END "]");
    make_vocab();
}

/* The tokens are those that chat gives the model. */
TEST(tokens_are_those_of_a_chat) {
    pith_error e = { 0, "" };
    pith__examples x;
    pith_model *m = rows_model(chatml);
    pith_template *t = pith_template_new(m, NULL, 0, NULL, NULL);
    const char *path = rows_file("r.jsonl", TWO);
    pith__examples_plan plan = { .train = { &path, 1 }, .form = t };
    const pith_turn turns[] = { { .role = "system", .text = "S" }, { .role = "user", .text = "Hi" }, { .role = "assistant", .text = "Yo" },
                                { .role = "user", .text = "U" }, { .role = "assistant", .text = "A b" } };
    pith_token want[200];
    REQUIRE(!pith__examples_open(&x, m, &plan, NULL, &e));
    pith__example got = pith__examples_get(&x, 0);
    int n = pith_encode_chat(m, turns, 5, want, 200, &e);
    CHECK(n > got.n && n < 200);
    for (int i = 0; i < got.n && i < n; i++) EQ(got.t[i], want[i]);
    pith__examples_close(&x);
    pith_template_free(t);
    pith_close(m);
}

int main(void) {
    if (!mkdtemp(folder)) return 99;
    make_vocab();
    RUN(every_turn_of_the_assistant_and_its_end);
    RUN(the_marks_of_the_template_go_before);
    RUN(an_answer_without_text_ends_all_the_same);
    RUN(look_alikes_of_control_tokens_stay_text);
    RUN(the_end_of_a_turn_is_the_template_s);
    RUN(gemma);
    RUN(thoughts_that_the_prompt_opens);
    RUN(thoughts_and_calls_of_tools);
    RUN(a_completion_begins_where_tokens_differ);
    RUN(tokens_find_their_bytes);
    RUN(tokens_are_those_of_a_chat);
    remove_folder();
    return DONE();
}
