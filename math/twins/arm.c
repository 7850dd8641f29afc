/* arm.c - the kernels for 64-bit ARM, and the choice of the fastest that this processor has: NEON, NEON
 * with dot products of bytes (processors since about 2018), and with products of small matrices of bytes
 * besides (since about 2021). neon.inc defines a vector of sixteen numbers; the kernels are in lanes.inc.
 * Elsewhere, and with PITH_PORTABLE, this file is empty. */
#include "../kernels.h"

#if defined(__aarch64__) && defined(__GNUC__) && !defined(PITH_PORTABLE)

#include <arm_neon.h>
#include <math.h>
#include <string.h>
#ifdef __linux__
#include <sys/auxv.h>
#endif

#ifdef __clang__
#define UNROLL _Pragma("unroll")
#define ROLLED _Pragma("nounroll")
#else
#define UNROLL _Pragma("GCC unroll 32")
#define ROLLED _Pragma("GCC unroll 1")
#endif
#define EACH(result, expression) \
    do { \
        UNROLL for (int i = 0; i < 4; i++) (result).v[i] = (expression); \
    } while (0)

#define INLINE static inline __attribute__((always_inline)) TARGET
#define KERNEL static __attribute__((noinline)) TARGET
#define vec V(floats4)
#define ints V(ints4)
#define byte64 V(bytes4)
#define SIGNED_SHIFT -1
#define FLOAT_TOKENS 6
#define FLOAT_FROM(format) 16
#define ROW_TOKENS 2
#define QUERIES 2
#define KEYS(n) 2
#define MOST_KEYS 2
#define PANEL_FROM 4
#define STREAMS(n_block) ((n_block) > 128 ? 2 : 4)
#define AHEAD(size, n_block) ((n_block) > 128 ? 4096 : 0)
#define FEW_TOKENS 4
#define FEW_KERNEL KERNEL
#define PANEL_TOKENS 4
#define OUTER_ROWS 4
#define OUTER_WIDE 1
#define EIGHT_SUMS 0

#define V(name) name##_neon
#define SUFFIX_NAME "neon"
#define TARGET
#include "neon.inc"
#undef V
#undef SUFFIX_NAME
#undef TARGET

#if defined(__ARM_FEATURE_DOTPROD) ||                                                              \
    !defined(__clang__) /* clang before 16 has it only for a whole file */
#define HAVE_DOT_PRODUCTS
#define DOT_PRODUCTS
#define V(name) name##_dotprod
#define SUFFIX_NAME "dotprod"
#ifdef __ARM_FEATURE_DOTPROD
#define TARGET
#else
#define TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#endif
#include "neon.inc"
#undef V
#undef SUFFIX_NAME
#undef TARGET
#undef DOT_PRODUCTS

static int arm_has_dot_products(void) {
#if defined(__ARM_FEATURE_DOTPROD)
    return 1;
#elif defined(__linux__) && defined(HWCAP_ASIMDDP)
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
    return 0;
#endif
}
#endif

#if (defined(__ARM_FEATURE_DOTPROD) && defined(__ARM_FEATURE_MATMUL_INT8)) ||                      \
    (!defined(__clang__) && __GNUC__ >= 10)
#define HAVE_MATRIX_PRODUCTS
#define DOT_PRODUCTS
#define MATRIX_PRODUCTS
#define V(name) name##_i8mm
#define SUFFIX_NAME "i8mm"
#if defined(__ARM_FEATURE_DOTPROD) && defined(__ARM_FEATURE_MATMUL_INT8)
#define TARGET
#else
#define TARGET __attribute__((target("arch=armv8.2-a+dotprod+i8mm")))
#endif
#include "neon.inc"
#undef V
#undef SUFFIX_NAME
#undef TARGET
#undef DOT_PRODUCTS
#undef MATRIX_PRODUCTS

static int arm_has_matrix_products(void) {
#if defined(__ARM_FEATURE_MATMUL_INT8)
    return arm_has_dot_products();
#elif defined(__linux__) && defined(HWCAP2_I8MM)
    return arm_has_dot_products() && (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
#else
    return 0;
#endif
}
#endif

PITH_SHARED const pith__kernels *pith__arm(const char *name) {
#ifdef HAVE_MATRIX_PRODUCTS
    if (arm_has_matrix_products() && (!name || !strcmp(name, kernels_i8mm.name)))
        return &kernels_i8mm;
#endif
#ifdef HAVE_DOT_PRODUCTS
    if (arm_has_dot_products() && (!name || !strcmp(name, kernels_dotprod.name)))
        return &kernels_dotprod;
#endif
    return !name || !strcmp(name, kernels_neon.name) ? &kernels_neon : NULL;
}

#undef HAVE_DOT_PRODUCTS
#undef HAVE_MATRIX_PRODUCTS
#undef INLINE
#undef KERNEL
#undef UNROLL
#undef ROLLED
#undef EACH
#undef vec
#undef ints
#undef byte64
#undef SIGNED_SHIFT
#undef FLOAT_TOKENS
#undef FLOAT_FROM
#undef ROW_TOKENS
#undef QUERIES
#undef KEYS
#undef MOST_KEYS
#undef PANEL_FROM
#undef STREAMS
#undef AHEAD
#undef PANEL_TOKENS
#undef FEW_TOKENS
#undef FEW_KERNEL
#undef OUTER_ROWS
#undef OUTER_WIDE
#undef EIGHT_SUMS

#else

PITH_SHARED const pith__kernels *pith__arm(const char *name) {
    (void)name;
    return NULL;
}

#endif
