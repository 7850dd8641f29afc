/* bundle.c - the model that is part of the program: models/stories.gguf as it lies on disk, which the
 * program trained itself (docs/TRAINING.md). make BUNDLE=0 leaves it out.
 *
 * C11 cannot include a binary file in an array, so the assembler does it. */
#include "tools.h"

#ifdef BUNDLE /* the file's name, with quotes */

#ifdef __APPLE__
#define SECTION ".section __TEXT,__const\n"
#define NAME(name) "_" name
#else
#define SECTION ".section .rodata\n"
#define NAME(name) name
#endif

__asm__(SECTION
        ".globl " NAME("bundle_begin") "\n.globl " NAME("bundle_end") "\n"
        ".balign 64\n" NAME("bundle_begin") ":\n.incbin \"" BUNDLE "\"\n" NAME("bundle_end") ":\n"
        ".byte 0\n.text\n");

extern const unsigned char bundle_begin[], bundle_end[];

const void *bundled_model(size_t *size) {
    *size = (size_t)(bundle_end - bundle_begin);
    return bundle_begin;
}

#else

const void *bundled_model(size_t *size) {
    *size = 0;
    return NULL;
}

#endif
