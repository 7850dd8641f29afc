/* wide.h - loops that compilers make vectors of, compiled once more for processors with vectors of 32 bytes.
 *
 *     PITH__LOOPS sum_of(...) { ... }                             the loops
 *     PITH__WIDE static float sum_wide(...) { return sum_of(...); }
 *     static float sum(...) { return PITH__HAS_WIDE() ? sum_wide(...) : sum_of(...); }
 *
 * The numbers are the same bits: each lane does what it does otherwise, and nothing is contracted to a fused product. */
#ifndef PITH_WIDE_H
#define PITH_WIDE_H

#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__) && !defined(PITH_PORTABLE)
#define PITH__LOOPS static inline __attribute__((always_inline))
#define PITH__WIDE __attribute__((target("avx2")))
#define PITH__HAS_WIDE() __builtin_cpu_supports("avx2")
#else
#define PITH__LOOPS static inline
#define PITH__WIDE
#define PITH__HAS_WIDE() 0
#endif

#endif
