/* known_adapter.h - a LoRA whose numbers depend on the names that PEFT has for its tensors, as in scripts/elders_reference.py. */
#ifndef KNOWN_ADAPTER_H
#define KNOWN_ADAPTER_H

#include "../train/train.h"
#include "test.h"

#include <stdlib.h>

static inline float number(const char *name, size_t n, uint64_t i) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t k = 0; k < n; k++) h = (h ^ (uint8_t)name[k]) * 0x100000001b3u;
    return (float)((double)(((h + i) * 0x9e3779b97f4a7c15u) >> 40) / (1 << 24) * 0.2 - 0.1);
}

/* A PEFT folder of the module names and shapes that a has, which is closed, with those numbers; read again. */
static inline pith_adapter *adapter_of_numbers(const pith_model *m, pith_adapter *a, const char *folder) {
    pith_error e = { 0, "" };
    pith__adapter_about about = { .base = "base" };
    char path[96];
    if (!a || pith__adapter_write_peft(a, &about, folder, &e)) return FAIL("%s", e.text), a;
    pith_adapter_close(a);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
    FILE *f = fopen(path, "r+b");
    uint64_t head = 0;
    if (!f || fread(&head, 8, 1, f) != 1) return FAIL("%s", path), NULL;
    char *text = calloc(head + 1, 1);
    if (fread(text, 1, head, f) != head) FAIL("%s", path);
    for (char *p = text; (p = strstr(p, "\"base_model.")) != NULL; p++) {
        size_t n = strcspn(++p, "\"");
        unsigned long long from, to;
        if (sscanf(strstr(p, "data_offsets"), "data_offsets\":[%llu,%llu", &from, &to) != 2) FAIL("%.100s", p);
        fseek(f, (long)(8 + head + from), SEEK_SET);
        for (unsigned long long i = 0; i < (to - from) / 4; i++) {
            float x = number(p, n, i);
            fwrite(&x, sizeof x, 1, f);
        }
    }
    free(text), fclose(f);
    a = pith_adapter_open(m, folder, &e);
    if (!a) FAIL("%s", e.text);
    return a;
}

#endif
