/* t_flags.c - flags of families, of their folders and of names are bits of their own: one value given twice would be two
 * properties that a family cannot have apart. The sources are read as text, so a flag that is new is seen too. */
#include "fixture.h"
#include "test.h"

#include <ctype.h>
#include <stdlib.h>

enum { TEXT = 1 << 18 };
static char text[TEXT];

static int read_source(const char *path) {
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) fclose(f);
    text[n] = 0;
    return n > 0 && n < sizeof text - 1;
}

/* 0x10, 16 or 1 << 4; 0: it is made of other flags. */
static unsigned long value_of(const char *p) {
    char *end;
    unsigned long x = strtoul(p, &end, 0);
    if (end == p) return 0;
    while (*end == ' ') end++;
    return end[0] == '<' && end[1] == '<' ? x << strtoul(end + 2, NULL, 10) : x;
}

/* NAME = VALUE of every flag with this prefix in the first enum behind the mark: n of them at least, none with the bit of
 * another. Values of several bits are masks. */
static void distinct(const char *path, const char *mark, const char *prefix, int least) {
    const char *taken[8 * sizeof(unsigned long)] = { NULL };
    int n = 0;
    if (!read_source(path)) SKIP("not run from the root of the sources");
    const char *p = strstr(text, mark), *end = p ? strstr(p, "};") : NULL;
    REQUIRE(end);
    while ((p = strstr(p, prefix)) && p < end) {
        const char *name = p;
        while (isalnum((unsigned char)*p) || *p == '_') p++;
        int size = (int)(p - name);
        unsigned long x = strncmp(p, " = ", 3) ? 0 : value_of(p + 3);
        if (!x || x & (x - 1)) continue;
        int bit = 0;
        while (x >> (bit + 1)) bit++;
        if (taken[bit]) FAIL("%s: %.*s has the bit of %.20s", path, size, name, taken[bit]);
        taken[bit] = name;
        n++;
    }
    CHECK(n >= least);
}

TEST(of_families) { distinct("internal.h", "enum { /* what a family has beyond", "PITH__", 25); }
TEST(of_experts) { distinct("internal.h", "enum { /* of experts:", "PITH__", 4); }
TEST(of_folders) { distinct("formats/hfconfig.c", "enum { /* what a family means", "HF_", 14); }
TEST(of_fields) { distinct("formats/hfconfig.c", "enum { /* config.json's fields", "READS_", 25); }
TEST(of_names) { distinct("formats/formats.h", "enum { /* how a family names its tensors", "PITH__HF_", 25); }

int main(void) {
    RUN(of_families);
    RUN(of_experts);
    RUN(of_folders);
    RUN(of_fields);
    RUN(of_names);
    return DONE();
}
