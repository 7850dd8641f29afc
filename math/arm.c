/* arm.c - a stub until the faster kernels are here. */
#include "../internal.h"

PITH_SHARED const pith__kernels *pith__arm(const char *name) {
    (void)name;
    return NULL;
}
