/* arm.c - the kernels for 64-bit ARM, and the choice of the fastest that this processor has: NEON, NEON
 * with dot products of bytes (processors since about 2018), with products of small matrices of bytes
 * besides (since about 2021), and with BF16 products too. neon.inc defines a vector of sixteen numbers; the
 * kernels are in lanes.inc.
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

#define INLINE static inline __attribute__((always_inline, unused)) TARGET /* who has another's kernels uses a part */
#define KERNEL static __attribute__((noinline)) TARGET
#define vec floats4_neon
#define reg float32x4_t
#define REGS 4
#define ints ints4_neon
#define byte64 bytes4_neon
#define SIGNED_SHIFT -1
#define NARROW_SUMS 0
#define FLOAT_TOKENS 6
#define FLOAT_FROM(format, cols) 16
#define ROW_TOKENS 3
#define ROW_ROWS 2
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

/* From here on only products of integers are others. */
#define REST(name) name##_neon

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
#undef SUFFIX_NAME
#undef TARGET
#undef DOT_PRODUCTS
#undef MATRIX_PRODUCTS

#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC) || !defined(__clang__)
#define HAVE_BF16
#define BF16_NAME "bf16"
#define BF16_FAST_PAIRS 0 /* bf16_add is two steps, of four products each, as long as one of floats */
#ifdef __ARM_FEATURE_BF16_VECTOR_ARITHMETIC
#define BF16
#else
#define BF16 __attribute__((target("arch=armv8.2-a+dotprod+i8mm+bf16")))
#endif
#define BF16_HELPER static inline __attribute__((always_inline)) BF16
BF16_HELPER bfloat16x8_t bf16_as(int32x4_t x) { return vreinterpretq_bf16_s32(x); }
BF16_HELPER float32x4_t bf16_flush(float32x4_t x) { /* the sign stays */
    uint32x4_t small = vcaltq_f32(x, vdupq_n_f32(0x1p-126f)), bits = vreinterpretq_u32_f32(x);
    return vreinterpretq_f32_u32(vbicq_u32(bits, vandq_u32(small, vdupq_n_u32(0x7fffffff))));
}
BF16_HELPER int32x4_t bf16_eight(float32x4_t low, float32x4_t high) {
    bfloat16x8_t y = vcvtq_low_bf16_f32(bf16_flush(low));
    return vreinterpretq_s32_bf16(vcvtq_high_bf16_f32(y, bf16_flush(high)));
}
BF16_HELPER ints bf16_narrow(vec low, vec high) {
    return (ints){ { bf16_eight(low.v[0], low.v[1]), bf16_eight(low.v[2], low.v[3]), bf16_eight(high.v[0], high.v[1]),
                     bf16_eight(high.v[2], high.v[3]) } };
}
BF16_HELPER ints bf16_some(const uint8_t *p, size_t n) {
    uint16_t x[32] = { 0 };
    memcpy(x, p, n * sizeof *x);
    return V(load_int)(x);
}
/* The sum of the two products, and what it is added to, are rounded to odd: one of two neighbours that is odd. */
BF16_HELPER vec bf16_dot(vec sum, ints a, ints b) {
    EACH(sum, vbfdotq_f32(sum.v[i], bf16_as(a.v[i]), bf16_as(b.v[i])));
    return sum;
}
BF16_HELPER vec bf16_add(vec sum, ints a, ints b) {
    EACH(sum, vbfmlaltq_f32(sum.v[i], bf16_as(a.v[i]), bf16_as(b.v[i])));
    EACH(sum, vbfmlalbq_f32(sum.v[i], bf16_as(a.v[i]), bf16_as(b.v[i])));
    return sum;
}
BF16_HELPER void bf16_zip(ints a, ints b, ints *first, ints *second) {
    UNROLL for (int i = 0; i < 4; i++) {
        ints *to = i < 2 ? first : second;
        int16x8_t x = vreinterpretq_s16_s32(a.v[i]), y = vreinterpretq_s16_s32(b.v[i]);
        to->v[i % 2 * 2] = vreinterpretq_s32_s16(vzip1q_s16(x, y));
        to->v[i % 2 * 2 + 1] = vreinterpretq_s32_s16(vzip2q_s16(x, y));
    }
}
#include "bf16.inc"
#undef BF16
#undef BF16_HELPER
#undef BF16_NAME
#undef BF16_FAST_PAIRS

static int arm_has_bf16(void) {
#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
    return 1;
#elif defined(__linux__) && defined(HWCAP2_BF16)
    return (getauxval(AT_HWCAP2) & HWCAP2_BF16) != 0;
#else
    return 0;
#endif
}
#endif
#undef V

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
#ifdef HAVE_BF16
    if (arm_has_matrix_products() && arm_has_bf16() && (!name || !strcmp(name, kernels_bf16.name))) return &kernels_bf16;
#endif
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

#undef REST
#undef HAVE_DOT_PRODUCTS
#undef HAVE_MATRIX_PRODUCTS
#undef HAVE_BF16
#undef INLINE
#undef KERNEL
#undef UNROLL
#undef ROLLED
#undef EACH
#undef vec
#undef reg
#undef REGS
#undef ints
#undef byte64
#undef SIGNED_SHIFT
#undef NARROW_SUMS
#undef FLOAT_TOKENS
#undef FLOAT_FROM
#undef ROW_TOKENS
#undef ROW_ROWS
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
