/* t_tokens.c - text to tokens as "tokenizers" and "sentencepiece" do it: tests/tokenizers.txt, which
 * scripts/tokenizers_reference.py wrote and describes. */
#include "../internal.h"
#include "test.h"

#include <stdlib.h>

enum { MOST_PARTS = 600, STRING_BYTES = 1 << 16, IDS = 3 * STRING_BYTES, SHOWN = 3, PAGE = 1024 };

typedef struct {
    pith__str s[MOST_PARTS];
    uint32_t n;
} parts;

typedef struct { /* one case of the file */
    pith__str kind, name, list, flags, fields;
    const pith__splitter *splitter;
    pith__tokenizer *k;
} reference;

static pith__file file;
static pith__arena arena;
static parts common;

/* ---- lines and words of the file ------------------------------------------------------------- */

static pith__str next_until(pith__str *s, char end) {
    const char *p = memchr(s->p, end, s->n);
    pith__str first = { s->p, p ? (size_t)(p - s->p) : s->n };
    size_t taken = p ? first.n + 1 : s->n;
    s->p += taken;
    s->n -= taken;
    return first;
}

static pith__str next_line(pith__str *s) { return next_until(s, '\n'); }
static pith__str next_word(pith__str *s) { return next_until(s, ' '); }

static int same(pith__str a, pith__str b) { return pith__str_cmp(a, b) == 0; }

static pith__str whole_file(void) { return (pith__str){ (const char *)file.data, file.size }; }

static void read_parts(parts *p, pith__str name) {
    pith__str rest = whole_file(), line;
    pith__json j;
    p->n = 0;
    while (rest.n) {
        line = next_line(&rest);
        if (!pith__str_is(next_word(&line), "part") || !same(next_word(&line), name)) continue;
        if (p->n == MOST_PARTS || pith__json_read(&j, line.p, line.n, "part", NULL) ||
            pith__json_string(j, &arena, &p->s[p->n++]))
            FAIL("a part of %.*s", (int)name.n, name.p);
    }
}

/* The tokenizer.json with the fields of these names. */
static char *read_fields(pith__str names) {
    char *text = malloc(file.size + 3), *end = text;
    while (text && names.n) {
        pith__str name = next_word(&names), rest = whole_file();
        *end = end == text ? '{' : ',';
        end++;
        while (rest.n) {
            pith__str line = next_line(&rest);
            if (!pith__str_is(next_word(&line), "json") || !same(next_word(&line), name)) continue;
            memcpy(end, line.p, line.n);
            end += line.n;
            break;
        }
    }
    if (text) memcpy(end, "}", 2);
    return text;
}

/* ---- strings, as the script draws them ------------------------------------------------------- */

static uint32_t fnv(uint32_t h, uint32_t byte) { return (h ^ byte) * 16777619u; }

static uint32_t draw(uint64_t *state, uint32_t n) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) % n;
}

static size_t make_string(pith__str name, unsigned number, const parts *own, char *out) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < name.n; i++) h = fnv(h, (uint8_t)name.p[i]);
    uint64_t state = (uint64_t)h << 20 | number;
    draw(&state, 2);
    size_t n = 0;
    for (uint32_t left = 1 + draw(&state, 10); left > 0; left--) {
        const parts *from = own->n && draw(&state, 2) ? own : &common;
        pith__str s = from->s[draw(&state, from->n)];
        memcpy(out + n, s.p, s.n);
        n += s.n;
    }
    return n;
}

/* Every character of a page that has a class, in the company of others. */
static size_t make_page(unsigned number, const pith__splitter *words, char *out) {
    const char *company = words ? "a?b??1? ?\n.?A" : "a?\xcc\xa3?\xe1\x86\xa8"; /* U+0323, U+11A8 */
    size_t n = 0;
    for (uint32_t c = number * PAGE; c < (number + 1) * PAGE; c++) {
        if (!pith__unicode_class(c)) continue;
        for (const char *p = company; *p; p++) {
            if (*p == '?') n += pith__utf8_write(c, out + n);
            else out[n++] = *p;
        }
    }
    return n;
}

/* ---- what is compared ------------------------------------------------------------------------ */

typedef struct {
    uint32_t n, id[IDS];
} list;

static int add_length(void *to, const char *p, size_t n) {
    list *l = to;
    (void)p;
    if (l->n < IDS) l->id[l->n++] = (uint32_t)n;
    return 0;
}

static void result_of(const reference *r, const char *text, size_t n, list *out) {
    out->n = 0;
    if (r->k) {
        unsigned flags = pith__str_is(r->flags, "s") ? PITH_SPECIAL : 0;
        int got = pith__tokenizer_encode(r->k, text, n, flags, (pith_token *)out->id, IDS);
        out->n = got < 0 ? 0 : (uint32_t)got;
    } else if (r->splitter) {
        pith__split(r->splitter, text, n, add_length, out);
    } else if (pith__str_is(r->kind, "hangul")) {
        out->n = 1;
        out->id[0] = (uint32_t)pith__hangul_apart(text, n);
    } else {
        static char normal[3 * STRING_BYTES];
        out->n = (uint32_t)pith__nfc(text, n, normal);
        for (uint32_t i = 0; i < out->n && i < IDS; i++) out->id[i] = (uint8_t)normal[i];
    }
}

static unsigned short_hash(const list *l) {
    uint32_t h = 2166136261u;
    for (uint32_t i = 0; i < l->n && i < IDS; i++)
        for (int shift = 0; shift < 32; shift += 8) h = fnv(h, l->id[i] >> shift & 255);
    return (h ^ h >> 16) & 0xffff;
}

static void report(const reference *r, int number, const char *text, size_t n, const list *got) {
    printf("# %.*s %d: '", (int)r->name.n, r->name.p, number);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < ' ' || c == 127) printf("\\x%02x", (unsigned)c);
        else putchar(c);
    }
    printf("' is");
    for (uint32_t i = 0; i < got->n && i < IDS; i++) printf(" %lu", (unsigned long)got->id[i]);
    printf("; want: scripts/tokenizers_reference.py --show %.*s %d\n", (int)r->name.n, r->name.p, number);
}

static void check_case(const reference *r, pith__str want) {
    static char text[STRING_BYTES];
    static list got;
    parts own;
    int pages = pith__str_is(r->kind, "pages");
    read_parts(&own, r->list);
    int bad = 0;
    for (unsigned number = 0; want.n >= 4; number++, want.p += 4, want.n -= 4) {
        size_t n = pages ? make_page(number, r->splitter, text) : make_string(r->name, number, &own, text);
        char digits[5] = { want.p[0], want.p[1], want.p[2], want.p[3], 0 };
        result_of(r, text, n, &got);
        if (short_hash(&got) == strtoul(digits, NULL, 16)) continue;
        if (bad++ < SHOWN && pages) FAIL("%.*s: page U+%04X", (int)r->name.n, r->name.p, number * PAGE);
        else if (bad <= SHOWN) report(r, (int)number, text, n, &got);
    }
    if (bad) FAIL("%.*s: %d strings differ", (int)r->name.n, r->name.p, bad);
}

/* A tokenizer of the case's fields, then its strings. */
static void check_ids(reference *r, pith__str want) {
    char *text = read_fields(r->fields);
    pith__store store = { 0 };
    pith_error err = { 0 };
    pith__folder folder = { .s = &store, .err = &err, .n_vocab = 2000 };
    pith__json j;
    store.path = "tokenizer.json";
    store.vocab.bos = store.vocab.eos = store.vocab.unk = -1;
    REQUIRE(text != NULL);
    int code = pith__json_read(&j, text, strlen(text), store.path, &err);
    if (!code) code = pith__hf_vocab(&folder, j, store.path);
    r->k = code ? NULL : pith__tokenizer_new(&store.vocab, &err);
    if (r->k) check_case(r, want);
    else FAIL("%.*s: %s", (int)r->name.n, r->name.p, err.text);
    pith__tokenizer_free(r->k);
    pith__store_free(&store);
    free(text);
}

/* SentencePiece's pieces and scores, as a GGUF file has them. */
static void check_spm(reference *r, pith__str want) {
    enum { MOST = 1000 };
    static pith__str piece[MOST];
    static float score[MOST];
    static uint8_t type[MOST];
    pith__vocab v = { .model = PITH__SPM, .spelling = PITH__METASPACE, .piece = piece, .score = score,
                      .type = type, .bos = 1, .eos = 2, .byte_fallback = 1 };
    char *text = read_fields(r->fields);
    pith__json j, item, pieces, scores;
    pith_error err = { 0 };
    REQUIRE(text && !pith__json_read(&j, text, strlen(text), "spm", &err));
    pieces = pith__json_get(j, "pieces"), scores = pith__json_get(j, "scores");
    for (int64_t x; pith__json_next(&pieces, NULL, &item) && v.n < MOST; v.n++) {
        CHECK(!pith__json_string(item, &arena, &piece[v.n]));
        CHECK(pith__json_next(&scores, NULL, &item) && pith__json_int(item, &x));
        score[v.n] = (float)x;
        int byte = piece[v.n].n == 6 && !memcmp(piece[v.n].p, "<0x", 3);
        type[v.n] = v.n == 0 ? PITH__UNKNOWN : v.n < 3 ? PITH__CONTROL : byte ? PITH__BYTE : PITH__NORMAL;
    }
    v.add_space = pith__str_is(r->flags, "p") ? PITH__SPACE_ALWAYS : 0;
    r->k = pith__tokenizer_new(&v, &err);
    if (r->k) check_case(r, want);
    else FAIL("%.*s: %s", (int)r->name.n, r->name.p, err.text);
    pith__tokenizer_free(r->k);
    free(text);
}

/* All cases of one kind. */
static void check_kind(const char *kind, int least) {
    pith__str rest = whole_file();
    int n = 0;
    if (!file.data) REQUIRE(!"tests/tokenizers.txt");
    while (rest.n) {
        pith__str line = next_line(&rest);
        reference r = { .kind = next_word(&line), .name = next_word(&line), .list = next_word(&line),
                        .flags = next_word(&line), .fields = line };
        if (!pith__str_is(r.kind, kind)) continue;
        line = next_line(&rest);
        CHECK(pith__str_is(next_word(&line), "want"));
        int named = !strcmp(kind, "words") || (!strcmp(kind, "pages") && !pith__str_is(r.fields, "-"));
        if (named) r.splitter = pith__splitter_named(r.fields);
        if (named && !r.splitter) FAIL("no pre-tokenizer %.*s", (int)r.fields.n, r.fields.p);
        if (!strcmp(kind, "ids")) check_ids(&r, line);
        else if (!strcmp(kind, "spm")) check_spm(&r, line);
        else check_case(&r, line);
        n++;
    }
    if (n < least) FAIL("%d cases of kind %s", n, kind);
}

TEST(ids_of_tokenizers) { check_kind("ids", 100); }
TEST(ids_of_sentencepiece) { check_kind("spm", 2); }
TEST(words_of_pretokenizers) { check_kind("words", 15); }
TEST(every_character) { check_kind("pages", 16); }
TEST(normal_form_c) { check_kind("nfc", 1); }
TEST(hangul_written_apart) { check_kind("hangul", 1); }

int main(void) {
    pith__file_open(&file, "tests/tokenizers.txt", 0, NULL);
    read_parts(&common, pith__str_of("common"));
    RUN(ids_of_tokenizers);
    RUN(ids_of_sentencepiece);
    RUN(words_of_pretokenizers);
    RUN(every_character);
    RUN(normal_form_c);
    RUN(hangul_written_apart);
    pith__arena_free(&arena);
    pith__file_close(&file);
    return DONE();
}
