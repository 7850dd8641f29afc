/* fixture_main.c - fixture DIR: writes small models and vocabularies there, for cli.sh and to begin fuzzing with:
 * tiny.bin (version 0), tiny.v1.bin, tiny.v2.bin, tok.bin, spm.gguf, bpe.gguf, words.gguf, tiny.safetensors, tiny.json, tiny.text
 * (a text that tiny.bin has read, as pith_session_save writes it), chat.jinja, chat.json (its messages), rows.jsonl,
 * rank.gguf, labels.gguf, tokens.gguf, masks.gguf (encoders with heads),
 * lora.gguf, lora.json, lora.safetensors (adapters of spm.gguf), reward.json, reward.safetensors (a reward model of it), and
 * longrope.80.gguf and longrope.1.gguf: texts over 80 tokens, or all, are rotated by the long factors. */
#include "../model.h"
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int write_to(const char *dir, const char *name, bytes b) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int bad = save(&b, path);
    free(b.p);
    if (bad) perror(path);
    return bad;
}

#define SHAPE(arch) \
    "general.architecture " arch ";" arch ".block_count 2;" arch ".embedding_length 8;" \
    arch ".feed_forward_length 12;" arch ".attention.head_count 2;" arch ".attention.head_count_kv 1;" \
    arch ".context_length 32;" arch ".attention.layer_norm_rms_epsilon 1e-5;"

static const char spm[] = SHAPE("llama")
    "tokenizer.ggml.model llama;"
    "tokenizer.ggml.tokens ['<unk>','<s>','</s>','<0x61>','\xe2\x96\x81','a','b','ab','\xe2\x96\x81""a'];"
    "tokenizer.ggml.scores [0.0,0.0,0.0,0.0,-1.0,-2.0,-3.0,-4.0,-5.0];"
    "tokenizer.ggml.token_type [2,3,3,6,1,1,1,1,1]";

static const char bpe[] = SHAPE("qwen2")
    "qwen2.rope.scaling.type yarn;qwen2.rope.scaling.factor 4.0;"
    "tokenizer.ggml.model gpt2;tokenizer.ggml.pre qwen2;"
    "tokenizer.ggml.tokens ['a','b','ab','abab','\xc4\xa0','\xc4\xa0""ab','c','<|im_end|>','1'];"
    "tokenizer.ggml.token_type [1,1,1,1,1,1,1,3,1];"
    "tokenizer.ggml.merges ['a b','ab ab','\xc4\xa0 ab'];tokenizer.ggml.eos_token_id 7";

static const char word_pieces[] = SHAPE("llama") /* for its vocabulary */
    "tokenizer.ggml.model bert;"
    "tokenizer.ggml.tokens ['<unk>','<cls>','<sep>','\xe2\x96\x81play','ing','\xe2\x96\x81.','\xe2\x96\x81""a','x','y'];"
    "tokenizer.ggml.token_type [3,3,3,1,1,1,1,1,1];tokenizer.ggml.unknown_token_id 0;tokenizer.ggml.cls_token_id 1;tokenizer.ggml.seperator_token_id 2";

/* In one line, and without ';'. */
#define CHATML "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role + '\\n' + m.content }}<|im_end|>{{ '\\n' }}" \
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>{{ 'assistant\\n' }}{% endif %}"

static const char chat[] = SHAPE("llama")
    "tokenizer.ggml.model llama;tokenizer.chat_template " CHATML ";"
    "tokenizer.ggml.tokens ['<unk>','<s>','</s>','<0x61>','\xe2\x96\x81','a','<|im_start|>','<|im_end|>','\xe2\x96\x81""a'];"
    "tokenizer.ggml.scores [0.0,0.0,0.0,0.0,-1.0,-2.0,-3.0,-4.0,-5.0];"
    "tokenizer.ggml.token_type [2,3,3,6,1,1,3,3,1]";

/* Encoders: one score, three labels, labels of tokens, words behind masks. */
static const char encoder[] = "general.architecture bert;bert.context_length 16;bert.embedding_length 8;bert.block_count 1;"
    "bert.feed_forward_length 12;bert.attention.head_count 2;bert.attention.layer_norm_epsilon 1e-12;bert.attention.causal false;"
    "tokenizer.ggml.model bert;tokenizer.ggml.token_type_count 2;"
    "tokenizer.ggml.tokens ['[PAD]','[UNK]','[CLS]','[SEP]','[MASK]','\xe2\x96\x81the','\xe2\x96\x81""cat','s','\xe2\x96\x81.',"
    "'\xe2\x96\x81""a'];tokenizer.ggml.token_type [3,2,3,3,3,1,1,1,1,1];tokenizer.ggml.bos_token_id 2;"
    "tokenizer.ggml.eos_token_id 3;tokenizer.ggml.unknown_token_id 1;tokenizer.ggml.seperator_token_id 3;"
    "tokenizer.ggml.padding_token_id 0;tokenizer.ggml.mask_token_id 4;";
static const char encoder_tensors[] = "token_embd.weight 10 8;position_embd.weight 16 8;token_types.weight 2 8;"
    "token_embd_norm.weight 8;token_embd_norm.bias 8;blk.0.attn_q.weight 8 8;blk.0.attn_k.weight 8 8;blk.0.attn_v.weight 8 8;"
    "blk.0.attn_output.weight 8 8;blk.0.attn_output_norm.weight 8;blk.0.ffn_up.weight 12 8;blk.0.ffn_down.weight 8 12;"
    "blk.0.layer_output_norm.weight 8;";

static bytes with_head(const char *keys, const char *head) {
    char all[2000], tensors[1000];
    snprintf(all, sizeof all, "%s%s", encoder, keys);
    snprintf(tensors, sizeof tensors, "%s%s", encoder_tensors, head);
    return fixture_gguf(all, tensors, 1);
}

static const char adapter[] =
    "general.architecture llama;general.type adapter;adapter.type lora;adapter.lora.alpha 3.0;"
    "tokenizer.chat_template <|im_start|>x";
static const char adapter_tensors[] =
    "blk.{2}.attn_q.weight.lora_a 2 8;blk.{2}.attn_q.weight.lora_b 8 2;blk.{2}.ffn_down.weight.lora_a 2 12;"
    "blk.{2}.ffn_down.weight.lora_b 8 2";
static const char tensors[] =
    "token_embd.weight 9 8;output_norm.weight 8;blk.{2}.attn_norm.weight 8;blk.{2}.attn_q.weight 8 8;"
    "blk.{2}.attn_k.weight 4 8;blk.{2}.attn_v.weight 4 8;blk.{2}.attn_output.weight 8 8;"
    "blk.{2}.ffn_norm.weight 8;blk.{2}.ffn_gate.weight 12 8;blk.{2}.ffn_up.weight 12 8;"
    "blk.{2}.ffn_down.weight 8 12";

#define SCORES "0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,"
#define TYPES ",1,1,1,1,1,1,1,1,1"
#define LONGROPE(limit) \
    "general.architecture phi3;phi3.block_count 2;phi3.embedding_length 32;phi3.feed_forward_length 12;" \
    "phi3.attention.head_count 2;phi3.attention.head_count_kv 1;phi3.context_length 128;" \
    "phi3.attention.layer_norm_rms_epsilon 1e-5;phi3.rope.scaling.attn_factor 1.19;" \
    "phi3.rope.scaling.original_context_length " limit ";" \
    "tokenizer.ggml.model llama;tokenizer.ggml.tokens ['<unk>','<s>','</s>','\xe2\x96\x81'," \
    "'a','b','c','d','e','f','g','h','i','j','k','l','m','n','o','p','q','r'," \
    "'s','t','u','v','w','x','y','z','0','1','2','3','4','5','6','7','8','9','A','B','C','D','E','F','G','H','I','J'];" \
    "tokenizer.ggml.scores [" SCORES SCORES SCORES SCORES SCORES "0.0,0.0,0.0,0.0,0.0];" \
    "tokenizer.ggml.token_type [2,3,3,1,1" TYPES TYPES TYPES TYPES TYPES "]"

static const char longrope[] =
    "token_embd.weight 50 32;output_norm.weight 32;rope_factors_short.weight 8;rope_factors_long.weight 8;"
    "blk.{2}.attn_norm.weight 32;blk.{2}.attn_qkv.weight 64 32;blk.{2}.attn_output.weight 32 32;"
    "blk.{2}.ffn_norm.weight 32;blk.{2}.ffn_up.weight 24 32;blk.{2}.ffn_down.weight 32 12";

static const char peft_tensors[] =
    "base_model.model.model.layers.{2}.self_attn.q_proj.lora_A.weight 2 8;"
    "base_model.model.model.layers.{2}.self_attn.q_proj.lora_B.default.weight 8 2";

static const char reward_tensors[] =
    "base_model.model.model.layers.{2}.self_attn.q_proj.lora_A.weight 2 8;"
    "base_model.model.model.layers.{2}.self_attn.q_proj.lora_B.weight 8 2;base_model.model.score.weight 1 8";

static bytes reward_config(void) {
    static const char text[] = "{\"peft_type\":\"LORA\",\"task_type\":\"SEQ_CLS\",\"r\":2,\"lora_alpha\":2,"
                               "\"modules_to_save\":[\"classifier\",\"score\"],\"target_modules\":[\"q_proj\"]}";
    bytes b = { NULL, 0, 0 };
    put(&b, text, sizeof text - 1);
    return b;
}

static bytes peft_config(void) {
    static const char text[] =
        "{\"peft_type\":\"LORA\",\"task_type\":null,\"r\":2,\"lora_alpha\":2.5,\"use_rslora\":true,\"use_dora\":false,"
        "\"bias\":\"none\",\"target_modules\":[\"q_proj\",\"v_proj\"],\"rank_pattern\":{\"v_proj\":4},"
        "\"alpha_pattern\":{\"^model.layers.0.self_attn.q_proj\":3},\"modules_to_save\":[],\"init_lora_weights\":true}";
    bytes b = { NULL, 0, 0 };
    put(&b, text, sizeof text - 1);
    return b;
}

static bytes safetensors(void) {
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},\"model.norm.weight\":{\"dtype\":\"F32\",\"shape\":[4],"
        "\"data_offsets\":[0,16]},\"x\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[16,28]}}    ";
    bytes b = { NULL, 0, 0 };
    put_u64(&b, sizeof header - 1);
    put(&b, header, sizeof header - 1);
    for (int i = 0; i < 7; i++) put_f32(&b, (float)i);
    return b;
}

static bytes json(void) { /* a tokenizer.json */
    static const char text[] =
        "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":5,\"content\":\"<s>\",\"special\":true,"
        "\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"single_word\":false}],"
        "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
        "\"trim_offsets\":true,\"use_regex\":true},\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\","
        "\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true},\"model\":{\"type\":\"BPE\","
        "\"dropout\":null,\"unk_token\":null,\"byte_fallback\":false,\"ignore_merges\":false,"
        "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"\\u0120\":3,\"\\u0120ab\":4},"
        "\"merges\":[\"a b\",[\"\\u0120\",\"ab\"]]},\"x\":[1,-2.5e3,true,false,null,{}]}";
    bytes b = { NULL, 0, 0 };
    put(&b, text, strlen(text));
    return b;
}

static bytes words_json(void) { /* WordPiece, with what goes around texts and pairs */
    static const char text[] =
        "{\"added_tokens\":[{\"id\":0,\"content\":\"[UNK]\",\"special\":true},{\"id\":1,\"content\":\"[CLS]\",\"special\":true},"
        "{\"id\":2,\"content\":\"[SEP]\",\"special\":true}],\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,"
        "\"handle_chinese_chars\":true,\"strip_accents\":null,\"lowercase\":true},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
        "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"[CLS]\",\"type_id\":0}},"
        "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":\"[SEP]\",\"type_id\":0}}],\"pair\":[{\"SpecialToken\":"
        "{\"id\":\"[CLS]\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":\"[SEP]\",\"type_id\":0}},"
        "{\"Sequence\":{\"id\":\"B\",\"type_id\":1}},{\"SpecialToken\":{\"id\":\"[SEP]\",\"type_id\":1}}],\"special_tokens\":{"
        "\"[CLS]\":{\"id\":\"[CLS]\",\"ids\":[1],\"tokens\":[\"[CLS]\"]},\"[SEP]\":{\"id\":\"[SEP]\",\"ids\":[2],\"tokens\":[\"[SEP]\"]}}},"
        "\"decoder\":{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true},\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\","
        "\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":100,\"vocab\":{\"[UNK]\":0,\"[CLS]\":1,\"[SEP]\":2,\"hello\":3,"
        "\"world\":4,\"##s\":5,\"'\":6,\"1\":7,\"##2\":8,\"##3\":9,\"cafe\":10}}}";
    bytes b = { NULL, 0, 0 };
    put(&b, text, strlen(text));
    return b;
}

static bytes unigram_json(void) {
    static const char text[] =
        "{\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"special\":true},{\"id\":6,\"content\":\"<mask>\",\"lstrip\":true,"
        "\"special\":true}],\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Strip\",\"strip_left\":false,"
        "\"strip_right\":true},{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\"\\u2581\"}]},"
        "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"always\",\"split\":true},"
        "\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"always\",\"split\":true},"
        "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"byte_fallback\":false,\"vocab\":[[\"<unk>\",0.0],[\"\\u2581\",-2.5],"
        "[\"\\u2581Hello\",-3.25],[\"l\",-4.0],[\"o\",-4.5],[\"wor\",-5.0],[\"<mask>\",0.0],[\"ld\",-6.125]]}}";
    bytes b = { NULL, 0, 0 };
    put(&b, text, strlen(text));
    return b;
}

static bytes sentence(void) { /* the small files of such a folder, see fuzz_sentence.c */
    static const char text[] =
        "{\"model_type\": \"bert\", \"architectures\": [\"BertModel\"], \"vocab_size\": 10, \"hidden_size\": 8, \"num_hidden_layers\": 1,"
        "\"num_attention_heads\": 2, \"intermediate_size\": 12, \"max_position_embeddings\": 16, \"type_vocab_size\": 2}"
        "\n%%\n[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ncat\n##b\na\n\xe1\x84\x92"
        "\n%%\n[{\"path\": \"\", \"type\": \"sentence_transformers.models.Transformer\"},"
        "{\"path\": \"1_Pooling\", \"type\": \"sentence_transformers.models.Pooling\"},"
        "{\"path\": \"2_Dense\", \"type\": \"sentence_transformers.models.Dense\"},"
        "{\"path\": \"\", \"type\": \"sentence_transformers.models.Normalize\"}]"
        "\n%%\n{\"pooling_mode_mean_tokens\": true, \"include_prompt\": false}"
        "\n%%\n{\"bias\": true, \"activation_function\": \"torch.nn.modules.activation.Tanh\"}"
        "\n%%\n{\"max_seq_length\": 12, \"do_lower_case\": true}"
        "\n%%\n{\"prompts\": {\"query\": \"Ask: \"}, \"default_prompt_name\": \"query\", \"similarity_fn_name\": \"dot\"}"
        "\n%%\n{\"do_lower_case\": true, \"tokenizer_class\": \"BertTokenizer\"}";
    bytes b = { NULL, 0, 0 };
    put(&b, text, strlen(text));
    return b;
}

static bytes rows(void) { /* of a data set, of every kind */
    static const char text[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"H\\u00ef <s>\"},{\"role\":\"assistant\",\"content\":\"\"},"
        "{\"role\":\"user\",\"content\":[{\"text\":\"e\\u0301\"}]},{\"role\":\"assistant\",\"content\":\" Yo\",\"tool_calls\":[1]}]}\n"
        "{\"prompt\":[{\"role\":\"user\",\"content\":\"a\"}],\"completion\":[{\"role\":\"assistant\",\"content\":\"b\"}],\"tools\":[]}\n"
        "{\"prompt\":\"a<|im_end|>\",\"completion\":\" b\"}\r\n{\"text\":\"\\u2581 x</s>\"}\n"
        "{\"instruction\":\"i\",\"input\":\"n\",\"output\":\"o\"}\n"
        "{\"conversations\":[{\"from\":\"human\",\"value\":\"q\"},{\"from\":\"gpt\",\"value\":\"a\"}],\"system\":\"s\"}\n"
        "{\"input_ids\":[1,70,71,2],\"completion_mask\":[0,1,1,1],\"labels\":[-100,-100,71,2]}\n";
    bytes b = { NULL, 0, 0 };
    put(&b, text, strlen(text));
    return b;
}

static int save_text(const char *dir, const char *name) {
    char path[1024];
    pith_error e = { 0, "" };
    bytes b = fixture_llama2c(&fixture_tiny, 0, 1);
    pith_token t[20] = { 1, 270, 280 };
    snprintf(path, sizeof path, "%s/%s", dir, name);
    pith_model *m = pith_open_memory(b.p, b.n, NULL, &e);
    pith_session *s = m ? pith_session_new(m, NULL, &e) : NULL;
    int bad = !s || pith_eval(s, t, 20, &e) != PITH_OK || pith_session_save(s, path, &e) != PITH_OK;
    if (bad) fprintf(stderr, "%s\n", e.text);
    pith_session_free(s);
    pith_close(m);
    free(b.p);
    return bad;
}

static bytes template(void) { /* of a conversation */
    static const char text[] =
        "{%- macro part(p, sep=', ') -%}{{ p|tojson(indent=2) if p is mapping else p|string|trim }}{{ sep }}{%- endmacro %}\n"
        "{% set ns = namespace(n=0, last='') %}{% for m in messages if m.role != 'tool' %}\n"
        "  {%- set ns.n = ns.n + loop.index0 * 2 // 3 %}<|{{ m['role'] ~ \"\\n\" }}|>{% generation %}{{ m.content[:5].split('b')|join('-')|upper }}"
        "{% endgeneration %}{% if loop.last and not m.tools is defined %}{% break %}{% endif %}{% else %}none{% endfor %}"
        "{% for k, v in (tools or [{}])[0].items()|sort %}{{ part(v, sep=k) }}{% endfor %}{# end #}{{ '%s' % ns.n }}";
    bytes b = { NULL, 0, 0 };
    put(&b, text, sizeof text - 1);
    return b;
}

static bytes messages(void) { /* and variables behind a NUL */
    static const char text[] =
        "{\"messages\": [{\"role\": \"system\", \"content\": \"Be \\u00fc <b>kind</b>. \"}, {\"role\": \"user\", \"content\": [{\"type\": \"text\",\n"
        " \"text\": \"a\"}, {\"text\": \"\xed\x95\x9c\"}]}, {\"role\": \"assistant\", \"content\": null, \"reasoning\": \"hm\", \"tool_calls\": [{\"type\": "
        "\"function\", \"function\": {\"name\": \"f\", \"arguments\": {\"x\": [1, -2.5e3, true]}}}]}, {\"role\": \"tool\", \"content\": \"3\"}],\n"
        " \"tools\": [{\"function\": {\"name\": \"f\"}}], \"documents\": [], \"add_generation_prompt\": false}\0{\"enable_thinking\": false}";
    bytes b = { NULL, 0, 0 };
    put(&b, text, sizeof text - 1);
    return b;
}

int main(int argc, char **argv) {
    if (argc != 2) return fprintf(stderr, "usage: fixture DIR\n"), 1;
    return write_to(argv[1], "tiny.bin", fixture_llama2c(&fixture_tiny, 0, 1)) ||
           write_to(argv[1], "tiny.v1.bin", fixture_llama2c(&fixture_tiny, 1, 1)) ||
           write_to(argv[1], "tiny.v2.bin", fixture_llama2c(&fixture_tiny, 2, 1)) ||
           write_to(argv[1], "tok.bin", fixture_tokenizer()) ||
           write_to(argv[1], "spm.gguf", fixture_gguf(spm, tensors, 1)) ||
           write_to(argv[1], "rank.gguf", with_head("", "cls.weight 8 8;cls.bias 8;cls.output.weight 1 8")) ||
           write_to(argv[1], "labels.gguf", with_head("bert.classifier.output_labels ['no','perhaps','yes']",
                                                      "cls.weight 8 8;cls.output.weight 3 8;cls.output.bias 3")) ||
           write_to(argv[1], "tokens.gguf", with_head("pith.task.tokens 1", "cls.output.weight 4 8;cls.output.bias 4")) ||
           write_to(argv[1], "masks.gguf", with_head("", "mlm.dense.weight 8 8;mlm.norm.weight 8;mlm.bias 10")) ||
           write_to(argv[1], "lora.gguf", fixture_gguf(adapter, adapter_tensors, 1)) ||
           write_to(argv[1], "reward.json", reward_config()) ||
           write_to(argv[1], "reward.safetensors", fixture_safetensors(reward_tensors, 1)) ||
           write_to(argv[1], "lora.json", peft_config()) ||
           write_to(argv[1], "lora.safetensors", fixture_safetensors(peft_tensors, 1)) ||
           write_to(argv[1], "bpe.gguf", fixture_gguf(bpe, tensors, 1)) ||
           write_to(argv[1], "words.gguf", fixture_gguf(word_pieces, tensors, 1)) ||
           write_to(argv[1], "chat.gguf", fixture_gguf(chat, tensors, 1)) ||
           write_to(argv[1], "longrope.80.gguf", fixture_gguf(LONGROPE("80"), longrope, 1)) ||
           write_to(argv[1], "longrope.1.gguf", fixture_gguf(LONGROPE("1"), longrope, 1)) ||
           write_to(argv[1], "tiny.safetensors", safetensors()) || write_to(argv[1], "tiny.json", json()) ||
           write_to(argv[1], "words.json", words_json()) || write_to(argv[1], "unigram.json", unigram_json()) ||
           write_to(argv[1], "sentence.txt", sentence()) ||
           write_to(argv[1], "chat.jinja", template()) || write_to(argv[1], "chat.json", messages()) ||
           write_to(argv[1], "rows.jsonl", rows()) || save_text(argv[1], "tiny.text");
}
