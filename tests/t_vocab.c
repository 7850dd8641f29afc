/* t_vocab.c - learning a vocabulary: against a slow learner that counts everything anew at each step, and
 * through the tokenizer that has to encode with what was learned. */
#define _XOPEN_SOURCE 700
#include "fixture.h"
#include "test.h"
#include "../tools/verbs.h"
#include "../train/train.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* ---- help ------------------------------------------------------------------------------------------ */

static char folder[] = "/tmp/pith-vocab-XXXXXX";
static char said[2000]; /* what the last learn() had for an error */

static const char *in_folder(const char *name) {
    static char path[8][128]; /* good for the next seven calls */
    static int next;
    char *p = path[next++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static const char *text_file(const char *name, const void *text, size_t n) {
    const char *path = in_folder(name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(text, 1, n, f) != n || fclose(f) != 0) exit(99);
    return path;
}

static int learn(pith__vocab *v, pith__arena *a, const char *path, int model, int size) {
    pith__texts texts = { &path, 1 };
    pith_error e = { 0, "" };
    pith__vocab_plan plan = { .model = model, .size = size };
    int code = pith__learn_vocab(v, a, &texts, &plan, NULL, &e);
    strcpy(said, e.text);
    return code;
}

static uint64_t rng = 7;
static unsigned below(unsigned n) { return (unsigned)((fixture_random(&rng) + 1) / 2 * (float)n) % n; }

/* Words of a few syllables, the early ones more often; signs, digits, lines, a second script. */
static char *some_text(size_t n) {
    static const char *const syllable[] = { "ka", "to", "ri", "men", "s", "el", "an", "do", "u", "wis",
                                            "'t", "\xc3\xa9", "\xd0\xb4\xd0\xb0", "ing", "th", "er" };
    char *s = malloc(n + 64), *p = s;
    if (!s) exit(99);
    while (p < s + n) {
        unsigned word = below(60) * below(60) % 997;
        for (unsigned k = 0, w = word + 3; k < 1 + word % 4; k++, w = w * 11 / 7 + word)
            p += sprintf(p, "%s", syllable[w % 16]);
        unsigned end = below(20);
        p += sprintf(p, "%s", end == 0 ? ". " : end == 1 ? ",  " : end == 2 ? ".\n" : end == 3 ? " 42 "
                              : end == 4 ? "\n<|endoftext|>\n" : end == 5 ? "?!\n\n" : " ");
    }
    *p = 0;
    return s;
}

/* ---- the slow learner -------------------------------------------------------------------------------- */

enum { SLOW_WORDS = 4000, SLOW_SYMBOLS = 64 };

typedef struct {
    char text[64];
    int count, n, at[SLOW_SYMBOLS + 1]; /* symbol k is text[at[k]..at[k + 1]) */
} slow_word;

typedef struct {
    char text[64];
    int split, count, rank;
} slow_pair;

static slow_word slow[SLOW_WORDS];
static slow_pair pairs[SLOW_WORDS * 4], joins[1000];
static int n_slow, n_pairs, n_joins, slow_spm;

static int slow_add(void *to, const char *p, size_t n) {
    (void)to;
    int i = 0;
    while (i < n_slow && (strlen(slow[i].text) != n || memcmp(slow[i].text, p, n) != 0)) i++;
    if (i == SLOW_WORDS || n > 63) exit(98);
    if (i == n_slow) n_slow++, memcpy(slow[i].text, p, n);
    slow[i].count++;
    return 0;
}

static int slow_kind(const char *p, size_t *n) { /* as some_text has them */
    unsigned char c = (unsigned char)*p;
    *n = c >= 0xc0 ? 2 : 1;
    return c == ' ' ? 0 : c == '\n' ? 1 : c >= '0' && c <= '9' ? 2 : strchr(".,?!", c) ? 3 : 4;
}

static void slow_split(const char *p, size_t n) {
    if (!slow_spm) {
        pith__split(pith__splitter_named(pith__str_of("gpt-2")), p, n, slow_add, NULL);
        return;
    }
    char *copy = malloc(n + 2), *q = copy;
    if (!copy) exit(99);
    sprintf(copy, " %.*s", (int)n, p);
    while (*q) {
        char *r = q;
        size_t k;
        while (*r == ' ') r++;
        int kind = *r ? slow_kind(r, &k) : 0;
        if (*r) do r += k; while (*r && kind != 2 && slow_kind(r, &k) == kind);
        slow_add(NULL, q, (size_t)(r - q));
        q = r;
    }
    free(copy);
}

static int slow_rank(const char *p, int n, int split) {
    for (int i = 0; i < n_joins; i++)
        if (joins[i].split == split && (int)strlen(joins[i].text) == n && !memcmp(joins[i].text, p, (size_t)n))
            return i;
    return 1 << 30;
}

/* The word from its characters, joined by rank and from the left. */
static void slow_encode(slow_word *w) {
    w->n = 0;
    for (int i = 0; w->text[i]; i++)
        if (!slow_spm || (w->text[i] & 0xc0) != 0x80) w->at[w->n++] = i;
    w->at[w->n] = (int)strlen(w->text);
    for (;;) {
        int best = 1 << 30, at = 0;
        for (int k = 0; k + 1 < w->n; k++) {
            int split = slow_spm ? 0 : w->at[k + 1] - w->at[k];
            int r = slow_rank(w->text + w->at[k], w->at[k + 2] - w->at[k], split);
            if (r < best) best = r, at = k;
        }
        if (best == 1 << 30) return;
        memmove(&w->at[at + 1], &w->at[at + 2], (size_t)(w->n - at - 1) * sizeof *w->at);
        w->n--;
    }
}

static int slow_order(const void *a, const void *b) {
    const slow_pair *x = a, *y = b;
    int n = (int)strlen(x->text), m = (int)strlen(y->text), c = strcmp(x->text, y->text);
    if (x->count != y->count) return y->count - x->count;
    return n != m ? n - m : c ? c : x->split - y->split;
}

static void slow_learn(const char *text, int n_joins_wanted) {
    memset(slow, 0, sizeof slow);
    n_slow = n_joins = 0;
    pith__documents d;
    pith__str doc;
    if (pith__documents_open(&d, text_file("slow.txt", text, strlen(text)), NULL)) exit(97);
    while (!pith__documents_next(&d, &doc, NULL) && doc.n) slow_split(doc.p, doc.n);
    pith__documents_close(&d);
    while (n_joins < n_joins_wanted) {
        n_pairs = 0;
        for (int i = 0; i < n_slow; i++) {
            slow_word *w = &slow[i];
            slow_encode(w);
            for (int k = 0; k + 1 < w->n; k++) {
                slow_pair x = { "", slow_spm ? 0 : w->at[k + 1] - w->at[k], 0, 0 };
                memcpy(x.text, w->text + w->at[k], (size_t)(w->at[k + 2] - w->at[k]));
                int j = 0;
                while (j < n_pairs && (pairs[j].split != x.split || strcmp(pairs[j].text, x.text))) j++;
                if (j == n_pairs) pairs[n_pairs++] = x;
                pairs[j].count += w->count;
            }
        }
        qsort(pairs, (size_t)n_pairs, sizeof *pairs, slow_order);
        if (!n_pairs || pairs[0].count < 2) break;
        joins[n_joins++] = pairs[0];
    }
}

/* ---- the same pieces in the same order ----------------------------------------------------------------- */

TEST(korean_as_jamo_teaches_the_same_vocabulary) {
    char *whole = fixture_korean(600, 0), *apart = fixture_korean(600, 1);
    const char *from[] = { text_file("whole.txt", whole, strlen(whole)), text_file("apart.txt", apart, strlen(apart)) };
    for (int model = PITH__SPM; model <= PITH__BPE; model++) {
        pith__vocab v[2];
        pith__arena a = { NULL, 0 };
        size_t count[2];
        for (int i = 0; i < 2; i++) {
            pith__texts texts = { &from[i], 1 };
            pith__vocab_plan plan = { .model = model, .size = 300, .nfc = 1, .hangul_apart = 9 };
            REQUIRE(pith__learn_vocab(&v[i], &a, &texts, &plan, NULL, NULL) == 0);
            count[i] = plan.hangul_apart;
            CHECK(v[i].nfc);
        }
        EQ(count[0], 0);
        EQ(count[1], 600 * 3);
        for (int i = 0; i < 300; i++) CHECK(!pith__str_cmp(v[0].piece[i], v[1].piece[i]));
        REQUIRE(learn(&v[0], &a, from[1], model, 300) == 0); /* not asked to compose them */
        int same = 0;
        for (int i = 0; i < 300; i++) same += !pith__str_cmp(v[0].piece[i], v[1].piece[i]);
        CHECK(!v[0].nfc && same < 300);
        pith__arena_free(&a);
    }
    free(whole), free(apart);
}

TEST(spm_is_what_the_slow_learner_finds) {
    char *text = some_text(7000);
    pith__arena a = { NULL, 0 };
    pith__vocab v;
    slow_spm = 1;
    slow_learn(text, 120);
    EQ(n_joins, 120);
    const char *path = text_file("a.txt", text, strlen(text));
    REQUIRE(learn(&v, &a, path, PITH__SPM, 3 + 256 + 30 + 120) == 0);
    int letters = 0, wrong = 0;
    for (int i = 259; i < v.n; i++) {
        int one = v.piece[i].n == 1 || (v.piece[i].n == 2 && (v.piece[i].p[0] & 0x80));
        letters += one;
        if (one || i - 259 >= n_joins) continue;
        if (!pith__str_is(v.piece[i], joins[i - 259].text)) wrong++;
        EQ((int)v.score[i], 259 - i);
    }
    EQ(wrong, 0);
    CHECK(letters > 20);
    EQ(v.n, 409);
    pith__arena_free(&a);
    free(text);
}

TEST(bpe_is_what_the_slow_learner_finds) {
    char *text = some_text(7000);
    pith__arena a = { NULL, 0 };
    pith__vocab v;
    slow_spm = 0;
    slow_learn(text, 140);
    EQ(n_joins, 140);
    EQ(learn(&v, &a, text_file("a.txt", text, strlen(text)), PITH__BPE, 257 + 120), 0);
    EQ(v.n, 377);
    CHECK(v.n_merge >= 120);
    int wrong = 0;
    for (int i = 0; i < v.n_merge && i < n_joins; i++) { /* spelled in letters: compare what is ASCII */
        const char *want = joins[i].text;
        char left[64] = "", right[64] = "";
        memcpy(left, want, (size_t)joins[i].split);
        strcpy(right, want + joins[i].split);
        int plain = 1;
        for (const char *p = want; *p; p++) plain = plain && *p > ' ' && *p < 127;
        if (plain) wrong += !pith__str_is(v.left[i], left) || !pith__str_is(v.right[i], right);
    }
    EQ(wrong, 0);
    pith__arena_free(&a);
    free(text);
}

/* The tokenizer splits each document into what the learner's words were split into. */
static void same_as_slow(int model, int size) {
    char *text = some_text(5000);
    pith__arena a = { NULL, 0 };
    pith__vocab v;
    pith_error e;
    slow_spm = model == PITH__SPM;
    REQUIRE(learn(&v, &a, text_file("a.txt", text, strlen(text)), model, size) == 0);
    pith__tokenizer *k = pith__tokenizer_new(&v, &e);
    REQUIRE(k != NULL);
    slow_learn(text, slow_spm ? size : v.n_merge); /* all joins it can, then only those learned */
    int n_letters = 0;
    for (int i = 259; slow_spm && i < v.n; i++) n_letters += v.piece[i].n < 2 + ((v.piece[i].p[0] & 0x80) != 0);
    if (slow_spm) n_joins = size - 259 - n_letters;
    pith__documents d;
    pith__str doc;
    pith__documents_open(&d, in_folder("slow.txt"), NULL);
    long got = 0, want = 0;
    static pith_token ids[20000];
    while (!pith__documents_next(&d, &doc, NULL) && doc.n) {
        int n = pith__tokenizer_encode(k, doc.p, doc.n, 0, ids, 20000);
        REQUIRE(n > 0 && n <= 20000);
        got += n;
        for (int i = 0; i < n; i++) CHECK(slow_spm ? ids[i] >= 259 || pith__tokenizer_piece(k, ids[i]).n : 1);
    }
    pith__documents_close(&d);
    for (int i = 0; i < n_slow; i++) {
        slow_encode(&slow[i]);
        want += (long)slow[i].n * slow[i].count;
    }
    EQ(got, want);
    pith__tokenizer_free(k);
    pith__arena_free(&a);
    free(text);
}

TEST(spm_text_is_encoded_as_it_was_learned) { same_as_slow(PITH__SPM, 400); }
TEST(bpe_text_is_encoded_as_it_was_learned) { same_as_slow(PITH__BPE, 370); }

/* ---- files ------------------------------------------------------------------------------------------- */

static int encode_by(const char *path, const char *text, pith_token *ids, int cap) {
    pith__store s;
    pith_error e;
    if (pith__open(&s, path, NULL, NULL)) return -1;
    pith__tokenizer *k = pith__tokenizer_new(&s.vocab, &e);
    int n = k ? pith__tokenizer_encode(k, text, strlen(text), PITH_BOS, ids, cap) : -2;
    char *back = malloc(strlen(text) + 8), *p = back;
    for (int i = 1; k && back && i < n; i++) {
        pith__str piece = pith__tokenizer_piece(k, ids[i]);
        if (p + piece.n <= back + strlen(text) + 8) memcpy(p, piece.p, piece.n), p += piece.n;
    }
    const char *begin = back && *back == ' ' ? back + 1 : back;
    if (!back || (size_t)(p - begin) != strlen(text) || memcmp(begin, text, strlen(text)) != 0) n = -3;
    free(back);
    pith__tokenizer_free(k);
    pith__store_free(&s);
    return n;
}

static int vocab_verb(const char *text, const char *out, const char *type, const char *size) {
    char *argv[] = { "vocab", (char *)(uintptr_t)text, "-o", (char *)(uintptr_t)out, "--type",
                     (char *)(uintptr_t)type, "--vocab_size", (char *)(uintptr_t)size, NULL };
    fflush(stderr);
    int keep = dup(2);
    if (!freopen(in_folder("stderr"), "wb", stderr)) exit(99);
    int code = verb_vocab(8, argv);
    fflush(stderr);
    dup2(keep, 2);
    close(keep);
    return code;
}

TEST(gguf_and_tokenizer_bin_are_the_same) {
    char *text = some_text(8000);
    static const char odd[] = "katori  el\xc3\xa9men 't\n\n42 \xe4\xbd\xa0 \xf0\x9f\x98\x80 \x80\xff.";
    char gguf[128], bin[128], bpe[128];
    strcpy(gguf, in_folder("v.gguf")), strcpy(bin, in_folder("v.bin")), strcpy(bpe, in_folder("b.gguf"));
    char path[128];
    strcpy(path, text_file("a.txt", text, strlen(text)));
    EQ(vocab_verb(path, gguf, "spm", "400"), 0);
    EQ(vocab_verb(path, bin, "spm", "400"), 0);
    EQ(vocab_verb(path, bpe, "bpe", "400"), 0);
    pith_token x[200], y[200];
    int n = encode_by(gguf, odd, x, 200);
    CHECK(n > 10);
    EQ(encode_by(bin, odd, y, 200), n);
    EQ(memcmp(x, y, (size_t)(n > 0 ? n : 0) * sizeof *x), 0);
    EQ(x[0], 1);
    CHECK(encode_by(bpe, odd, y, 200) > 10);
    EQ(y[0], 399);
    EQ(vocab_verb(path, in_folder("b.bin"), "bpe", "400"), BAD_DATA); /* has no place for merges */
    free(text);
}

TEST(the_end_of_a_text_is_never_in_a_piece) {
    static const char text[] = "one two one two<|endoftext|>one two\n<|endoftext|>\n<|endoftext|>one two";
    pith__arena a = { NULL, 0 };
    pith__vocab v;
    REQUIRE(learn(&v, &a, text_file("a.txt", text, sizeof text - 1), PITH__SPM, 259 + 6 + 5) == 0);
    for (int i = 259; i < v.n; i++)
        for (size_t j = 0; j < v.piece[i].n; j++) CHECK(!memchr("<|>\n", v.piece[i].p[j], 4));
    pith__arena_free(&a);
}

TEST(jsonl_gives_the_same_pieces_as_text) {
    static const char text[] = "a \"tail\" tale\n<|endoftext|>\nthe tale\tof tails\n";
    static const char json[] = "{\"text\": \"a \\\"tail\\\" tale\"}\n\n"
                               "{\"id\": 2, \"text\": \"the tale\\tof t\\u0061ils\"}\n";
    pith__arena a = { NULL, 0 };
    pith__vocab v, w;
    REQUIRE(learn(&v, &a, text_file("a.txt", text, sizeof text - 1), PITH__SPM, 275) == 0);
    REQUIRE(learn(&w, &a, text_file("a.jsonl", json, sizeof json - 1), PITH__SPM, 275) == 0);
    for (int i = 0; i < v.n; i++) CHECK(pith__str_cmp(v.piece[i], w.piece[i]) == 0);
    static const char *const bad[] = { "{\"text\": \"a\"", "[1]", "{\"txt\": \"a\"}", "{\"text\": 3}" };
    for (size_t i = 0; i < 4; i++) {
        EQ(learn(&v, &a, text_file("b.jsonl", bad[i], strlen(bad[i])), PITH__SPM, 275), PITH_EDATA);
        CHECK(strstr(said, "line 1") && strstr(said, "b.jsonl"));
    }
    pith__arena_free(&a);
}

/* ---- input that is of no use --------------------------------------------------------------------------- */

TEST(a_vocabulary_too_large_says_how_large_it_can_be) {
    static const char text[] = "the cat and the hat and the cat";
    char path[128];
    strcpy(path, text_file("a.txt", text, sizeof text - 1));
    pith__arena a = { NULL, 0 };
    pith__vocab v;
    for (int model = PITH__SPM; model <= PITH__BPE; model++) {
        EQ(learn(&v, &a, path, model, 1000), PITH_EDATA);
        const char *number = strstr(said, "vocabulary of ");
        REQUIRE(number && strstr(said, "a.txt"));
        int most = atoi(number + 14);
        CHECK(most > 259 && most < 300);
        EQ(learn(&v, &a, path, model, most), 0);
        EQ(v.n, most);
        EQ(learn(&v, &a, path, model, most + 1), PITH_EDATA);
        EQ(learn(&v, &a, path, model, 100), PITH_EARG);
    }
    pith__arena_free(&a);
}

TEST(texts_that_are_none) {
    pith__arena a = { NULL, 0 };
    pith__vocab v;
    EQ(learn(&v, &a, text_file("empty.txt", "", 0), PITH__SPM, 300), PITH_EDATA);
    CHECK(strstr(said, "empty.txt"));
    EQ(learn(&v, &a, text_file("blank.txt", " \n\n<|endoftext|>\n ", 18), PITH__SPM, 300), PITH_EDATA);
    EQ(learn(&v, &a, text_file("zero.txt", "ab\0cd", 5), PITH__SPM, 300), PITH_EDATA);
    CHECK(strstr(said, "byte 2"));
    EQ(learn(&v, &a, in_folder("missing.txt"), PITH__SPM, 300), PITH_EDATA);
    EQ(learn(&v, &a, folder, PITH__SPM, 300), PITH_EDATA);
    EQ(learn(&v, &a, text_file("one.txt", "a", 1), PITH__SPM, 300), PITH_EDATA);
    EQ(learn(&v, &a, text_file("one.txt", "a", 1), PITH__SPM, 261), 0); /* the bytes, the space, a */
    pith__arena_free(&a);
}

TEST(bytes_that_are_no_characters) {
    char text[4096];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)(1 + below(255));
    pith__arena a = { NULL, 0 };
    pith__vocab v;
    for (int model = PITH__SPM; model <= PITH__BPE; model++) {
        int code = learn(&v, &a, text_file("noise.txt", text, sizeof text), model, 300);
        CHECK(code == 0 || code == PITH_EDATA);
        if (code) continue;
        for (int i = 259; model == PITH__SPM && i < v.n; i++) {
            uint32_t c;
            for (size_t j = 0, n; j < v.piece[i].n; j += n) {
                n = pith__utf8_read((const uint8_t *)v.piece[i].p + j, v.piece[i].n - j, &c);
                CHECK(n > 1 || c < 128); /* only whole characters in pieces */
            }
        }
    }
    pith__arena_free(&a);
}

/* Quadratic counting takes minutes on this. */
TEST(long_texts_take_no_longer_than_their_length) {
    char *text = some_text(1500000);
    pith__arena a = { NULL, 0 };
    pith__vocab v;
    clock_t start = clock(); /* of this process: others may be at work */
    EQ(learn(&v, &a, text_file("long.txt", text, strlen(text)), PITH__SPM, 400), 0);
    for (size_t i = 0; text[i]; i++) text[i] = (char)('a' + below(20)); /* one word, and all of it new */
    EQ(learn(&v, &a, text_file("long.txt", text, strlen(text)), PITH__BPE, 2000), 0);
    CHECK((double)(clock() - start) / CLOCKS_PER_SEC < 20);
    pith__arena_free(&a);
    free(text);
}

int main(void) {
    if (!mkdtemp(folder)) return 99;
    RUN(korean_as_jamo_teaches_the_same_vocabulary);
    RUN(spm_is_what_the_slow_learner_finds);
    RUN(bpe_is_what_the_slow_learner_finds);
    RUN(spm_text_is_encoded_as_it_was_learned);
    RUN(bpe_text_is_encoded_as_it_was_learned);
    RUN(gguf_and_tokenizer_bin_are_the_same);
    RUN(the_end_of_a_text_is_never_in_a_piece);
    RUN(jsonl_gives_the_same_pieces_as_text);
    RUN(a_vocabulary_too_large_says_how_large_it_can_be);
    RUN(texts_that_are_none);
    RUN(bytes_that_are_no_characters);
    RUN(long_texts_take_no_longer_than_their_length);
    char remove[160];
    snprintf(remove, sizeof remove, "rm -rf %s", folder);
    if (system(remove)) return 99;
    return DONE();
}
