/* fixture_main.c - fixture DIR: writes tiny.bin (version 0), tiny.v1.bin, tiny.v2.bin and tok.bin there. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>

static int write_to(const char *dir, const char *name, bytes b) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int bad = save(&b, path);
    free(b.p);
    if (bad) perror(path);
    return bad;
}

int main(int argc, char **argv) {
    if (argc != 2) return fprintf(stderr, "usage: fixture DIR\n"), 1;
    return write_to(argv[1], "tiny.bin", fixture_llama2c(&fixture_tiny, 0, 1)) ||
           write_to(argv[1], "tiny.v1.bin", fixture_llama2c(&fixture_tiny, 1, 1)) ||
           write_to(argv[1], "tiny.v2.bin", fixture_llama2c(&fixture_tiny, 2, 1)) ||
           write_to(argv[1], "tok.bin", fixture_tokenizer());
}
