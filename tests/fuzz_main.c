/* fuzz_main.c - runs a fuzz target over the files named, for compilers without libFuzzer; then over cut and
 * changed copies of each, the same ones every time. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy that ends where its memory ends, so that a sanitizer sees every step beyond it. */
static uint8_t *copy(const uint8_t *data, size_t n) {
    uint8_t *p = malloc(n ? n : 1);
    if (!p) exit(99);
    memcpy(p, data, n);
    return p;
}

static size_t random_below(uint64_t *rng, size_t n) {
    *rng = *rng * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(*rng >> 33) % n;
}

static void run_changed(const uint8_t *data, size_t n, uint64_t *rng) {
    static const uint8_t telling[] = { 0, 1, 0x7f, 0x80, 0xff };
    size_t size = random_below(rng, 2) ? n : random_below(rng, n + 1);
    uint8_t *p = copy(data, size);
    for (int i = 0; i < 4 && size; i++) {
        size_t at = random_below(rng, i < 2 && size > 256 ? 256 : size); /* headers are where it hurts */
        p[at] = random_below(rng, 2) ? telling[random_below(rng, 5)] : (uint8_t)random_below(rng, 256);
    }
    LLVMFuzzerTestOneInput(p, size);
    free(p);
}

int main(int argc, char **argv) {
    enum { MOST = 1 << 22, CHANGES = 2000 };
    uint8_t *data = malloc(MOST);
    for (int i = 1; data && i < argc; i++) {
        FILE *f = fopen(argv[i], "rb");
        if (!f) return perror(argv[i]), 1;
        size_t n = fread(data, 1, MOST, f);
        fclose(f);
        uint64_t rng = 1;
        uint8_t *p = copy(data, n);
        LLVMFuzzerTestOneInput(p, n);
        free(p);
        for (int k = 0; k < CHANGES; k++) run_changed(data, n, &rng);
    }
    free(data);
    printf("ok - %s: %d files and %d changes of each\n", argv[0], argc - 1, CHANGES);
    return 0;
}
