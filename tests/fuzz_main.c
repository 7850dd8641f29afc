/* fuzz_main.c - runs a fuzz target over the files named, for compilers without libFuzzer; then over cut and
 * changed copies of each, the same ones every time. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void changed(const uint8_t *data, size_t n, uint64_t *rng) {
    uint8_t *p = malloc(n ? n : 1);
    if (!p) exit(99);
    memcpy(p, data, n);
    for (int i = 0; i < 4 && n; i++) {
        *rng = *rng * 6364136223846793005u + 1442695040888963407u;
        size_t at = (*rng >> 33) % (i < 2 && n > 256 ? 256 : n); /* headers are where it hurts */
        static const uint8_t telling[] = { 0, 1, 0x7f, 0x80, 0xff };
        p[at] = *rng >> 20 & 1 ? telling[(*rng >> 24) % 5] : (uint8_t)(*rng >> 24);
    }
    *rng = *rng * 6364136223846793005u + 1442695040888963407u;
    LLVMFuzzerTestOneInput(p, *rng >> 40 & 1 ? n : (*rng >> 33) % (n + 1));
    free(p);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        static uint8_t data[1 << 22];
        FILE *f = fopen(argv[i], "rb");
        if (!f) return perror(argv[i]), 1;
        size_t n = fread(data, 1, sizeof data, f);
        fclose(f);
        uint64_t rng = 1;
        LLVMFuzzerTestOneInput(data, n);
        for (int k = 0; k < 300; k++) changed(data, n, &rng);
    }
    printf("ok - %s: %d files and 300 changes of each\n", argv[0], argc - 1);
    return 0;
}
