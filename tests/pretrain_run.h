/* pretrain_run.h - what the tests of trainings share: a folder, a text of a small grammar, a run and its log. */
#ifndef PRETRAIN_RUN_H
#define PRETRAIN_RUN_H
#include "fixture.h"
#include "test.h"
#include "../tools/verbs.h"
#include "../train/train.h"

#include <stdlib.h>
#include <unistd.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1 /* as gcc says it */
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static char folder[] = "/tmp/pith-pretrain-XXXXXX";
static char said[1 << 16]; /* what the last pretrain() wrote on stderr */

static inline const char *in_folder(const char *name) {
    static char path[16][160]; /* good for the next fifteen calls */
    static int next;
    char *p = path[next++ % 16];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static inline void text_file(const char *name, const void *text, size_t n) {
    FILE *f = fopen(in_folder(name), "wb");
    if (!f || fwrite(text, 1, n, f) != n || fclose(f) != 0) exit(99);
}

static inline int there(const char *name) { return access(in_folder(name), F_OK) == 0; }

static inline void begin_quiet(int *keep) {
    fflush(stderr);
    *keep = dup(2);
    if (!freopen(in_folder("stderr"), "wb", stderr)) exit(99);
    setvbuf(stderr, NULL, _IONBF, 0);
}

static inline void end_quiet(int keep) {
    fflush(stderr);
    dup2(keep, 2);
    close(keep);
    FILE *f = fopen(in_folder("stderr"), "rb");
    said[f ? fread(said, 1, sizeof said - 1, f) : 0] = 0;
    if (f) fclose(f);
}

/* A verb with flags, separated by spaces; {} stands for the tests' folder. Later flags win. */
static inline int run_verb(int (*verb)(int argc, char **argv), char *name, const char *flags) {
    char text[4096], *argv[80] = { name }, *p = text;
    int argc = 1, keep;
    for (const char *f = flags; *f && p < text + 3900; f++) {
        if (*f == '{') p += sprintf(p, "%s", folder), f++;
        else *p++ = *f;
    }
    *p = 0;
    for (char *word = strtok(text, " "); word && argc < 79; word = strtok(NULL, " ")) argv[argc++] = word;
    begin_quiet(&keep);
    int code = verb(argc, argv);
    end_quiet(keep);
    return code;
}

static inline int pretrain(const char *flags) { return run_verb(verb_pretrain, "pretrain", flags); }

#define TINY "{}/grammar.txt --vocab_size 300 --dim 16 --layers 2 --heads 4 --kv-heads 2 --ffn 32 --context 24 " \
             "--per_device_train_batch_size 2 --learning_rate 0.01 --warmup_steps 2 --eval_steps 0 " \
             "--save_steps 5 --logging_steps 1 --threads 1 "

static inline int same_files(const char *a, const char *b) {
    char p[160], q[160];
    strcpy(p, in_folder(a)), strcpy(q, in_folder(b));
    FILE *f = fopen(p, "rb"), *g = fopen(q, "rb");
    int same = f && g, c, d;
    long n = 0;
    while (same && (c = getc(f), d = getc(g), same = c == d, c != EOF)) n++;
    if (f) fclose(f);
    if (g) fclose(g);
    if (!same) printf("# %s and %s differ at byte %ld\n", a, b, n);
    return same && n > 1000;
}

/* Who did what with what: sentences of a small grammar, always the same. */
static inline void make_grammar(void) {
    static const char *const who[] = { "Tom", "Lily", "the cat", "the dog", "a bird", "Mia", "the old man",
                                       "Ben and Anna", "the little frog", "his mother", "Grandpa", "a queen",
                                       "the farmer", "Sam", "her teacher", "a mouse" };
    static const char *const did[] = { "found", "liked", "lost", "saw", "wanted", "shared", "painted", "hid",
                                       "carried", "asked for", "dreamed of", "cleaned", "opened", "borrowed",
                                       "looked at", "bought" };
    static const char *const what[] = { "a red ball", "the big box", "a small key", "the hat", "some cake",
                                        "a yellow kite", "the wooden boat", "an apple", "his drum",
                                        "a warm blanket", "the picture book", "three stones", "a magic flower",
                                        "the broken clock", "a jar of honey", "the lamp" };
    static const char *const where[] = { "in the park", "at home", "near the tree", "by the river",
                                         "under the bridge", "on the hill", "behind the house", "in town" };
    static const char *const was[] = { "happy", "sad", "proud", "very tired", "surprised", "hungry", "kind",
                                       "afraid" };
    char *text = malloc(200000), *p = text;
    if (!text) exit(99);
    for (uint64_t i = 0; p < text + 60000; i++) {
        uint64_t r = pith__random_at(77, i);
        const char *w = who[r & 15];
        p += sprintf(p, "One day, %s %s %s %s. ", w, did[r >> 4 & 15], what[r >> 8 & 15], where[r >> 12 & 7]);
        p += sprintf(p, "Then %s was %s.%s", w, was[r >> 15 & 7], r >> 20 & 3 ? "\n" : "\n<|endoftext|>\n");
    }
    text_file("grammar.txt", text, (size_t)(p - text));
    for (char *q = text; q < p; q++) /* the same in other letters: another vocabulary */
        if (*q >= 'a' && *q <= 'z') *q = (char)('a' + (*q - 'a' + 13) % 26);
    text_file("rhymes.txt", text, (size_t)(p - text));
    free(text);
}

/* The numbers called name in a log, by lines. */
static inline int log_numbers(const char *log, const char *name, double *x, int cap) {
    char line[8192], key[64];
    int n = 0;
    FILE *f = fopen(in_folder(log), "rb");
    snprintf(key, sizeof key, "\"%s\": ", name);
    while (f && n < cap && fgets(line, sizeof line, f)) {
        const char *at = strstr(line, key);
        if (at) x[n++] = atof(at + strlen(key));
    }
    if (f) fclose(f);
    return n;
}

#endif
