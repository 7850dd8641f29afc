/* x86.c - the kernels for Intel and AMD processors, and the choice of the fastest that this processor
 * has: AVX2 with FMA (processors since 2013), with AVX-VNNI besides (Intel's without AVX-512, since 2021),
 * AVX-512 with VNNI (since 2019), and AVX-512 with BF16 products besides. avx2.inc and avx512.inc define a
 * vector of sixteen numbers; the kernels are in lanes.inc.
 *
 * The compiler needs no flag: each function names its instruction set (target), and is called only if
 * the processor and the operating system have it. Elsewhere, and with PITH_PORTABLE, this file is empty; with
 * PITH_FEWER_TWINS it has not those that few processors have (AMX, AVX-VNNI), and is compiled sooner. */
#define _GNU_SOURCE /* syscall */
#include "../kernels.h"

#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__) && !defined(PITH_PORTABLE)

#include <cpuid.h>
#include <immintrin.h>
#include <math.h>
#include <string.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* For loops over the registers of a tile: their length is a constant. */
#ifdef X86_MODEL /* tests/x86_model.h; the time to compile is what matters */
#define UNROLL
#define ROLLED
#elif defined(__clang__)
#define UNROLL _Pragma("unroll")
#define ROLLED _Pragma("nounroll")
#else
#define UNROLL _Pragma("GCC unroll 32")
#define ROLLED _Pragma("GCC unroll 1")
#endif

/* Eight f16 that lie stride bytes apart: j is at place j of the 16 bytes at p + (stride - 2) j. */
#define X86_AT(p, stride, j) _mm_loadu_si128((const void *)((p) + ((stride) - 2) * (j)))
#define X86_TWO(p, stride, j)                                                                      \
    _mm_blend_epi16(X86_AT(p, stride, j), X86_AT(p, stride, j + 1), 2 << (j))
#define X86_FOUR(p, stride, j)                                                                     \
    _mm_blend_epi16(X86_TWO(p, stride, j), X86_TWO(p, stride, j + 2), 12 << (j))
#define X86_EIGHT_HALVES(p, stride)                                                                \
    _mm_blend_epi16(X86_FOUR(p, stride, 0), X86_FOUR(p, stride, 4), 0xf0)

/* Sixteen bytes that lie stride bytes apart: j is at place j of the 16 bytes at p + (stride - 1) j, so every second one is
 * the lower byte of a word, or the upper. */
#define X86_AT1(p, stride, j) _mm_loadu_si128((const void *)((p) + ((stride) - 1) * (j)))
#define X86_TWO1(p, stride, j)                                                                     \
    _mm_blend_epi16(X86_AT1(p, stride, j), X86_AT1(p, stride, (j) + 2), 2 << (j) / 2)
#define X86_FOUR1(p, stride, j)                                                                    \
    _mm_blend_epi16(X86_TWO1(p, stride, j), X86_TWO1(p, stride, (j) + 4), 12 << (j) / 2)
#define X86_EIGHT1(p, stride, j)                                                                   \
    _mm_blend_epi16(X86_FOUR1(p, stride, j), X86_FOUR1(p, stride, (j) + 8), 0xf0)
#define X86_SIXTEEN_BYTES(p, stride)                                                               \
    _mm_blendv_epi8(X86_EIGHT1(p, stride, 0), X86_EIGHT1(p, stride, 1), _mm_set1_epi16(-256))

/* What AVX2 and AVX-512 share. */
#define SHARED static inline __attribute__((always_inline, target("avx2,fma,f16c")))
SHARED __m256 x86_f16x8(const uint8_t *p) { /* one f16 eight times */
    uint16_t h;
    memcpy(&h, p, 2);
    return _mm256_cvtph_ps(_mm_set1_epi16((short)h));
}
/* The 6-bit scales and minima of two super-blocks, 8 bytes each: scales, minima, scales, minima. */
SHARED __m256i x86_k_scales(const uint8_t *p, const uint8_t *p1) {
    const __m256i shift = _mm256_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4);
    __m256i x = _mm256_loadu2_m128i((const void *)p1, (const void *)p);
    __m256i low = _mm256_and_si256(x, _mm256_set1_epi8(0x3f)), upper = _mm256_srli_epi16(x, 2);
    upper = _mm256_and_si256(upper, _mm256_set1_epi8(0x30));
    x = _mm256_srlv_epi32(_mm256_shuffle_epi32(x, 0xaa), shift);
    x = _mm256_and_si256(x, _mm256_set1_epi8(0x0f));
    return _mm256_unpacklo_epi32(low, _mm256_or_si256(upper, x));
}
#undef SHARED

/* ---- AVX-512 --------------------------------------------------------------------------------- */

#define TARGET                                                                                     \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")))
#define INLINE static inline __attribute__((always_inline, unused)) TARGET /* who has another's kernels uses a part */
#define KERNEL static __attribute__((noinline)) TARGET
#define V(name) name##_avx512
#define vec __m512
#define reg __m512
#define REGS 1
#define FLOAT_TOKENS 16
#define FLOAT_FROM(format, cols) ((format) == PITH__BF16 ? 16 : 128) /* bf16.inc has panels of another kind */
#define ROW_TOKENS 4
#define ROW_ROWS 4
#define OUTER_ROWS 12
#define OUTER_WIDE 2
#define EIGHT_SUMS 1
#define QUERIES 4
#define KEYS(n) 4
#define MOST_KEYS 4

/* Integers. One side of vpdpbusd is unsigned: 128 is added to signed weights. */
#define ints __m512i
#define byte64 __m512i
#define SIGNED_SHIFT 7
#define STREAMS(n_block) ((n_block) > 128 ? 2 : 4)
#define AHEAD(size, n_block) ((n_block) > 128 ? 4096 : 0)

#define FEW_TOKENS 1
#define FEW_KERNEL INLINE
#define PANEL_TOKENS 8
#define PANEL_FROM 2
#define NARROW_SUMS 0

#include "avx512.inc"
#define SUFFIX_NAME "avx512"
#include "lanes.inc"
#undef SUFFIX_NAME

#define BF16_NAME "avx512bf16"
#define BF16_FAST_PAIRS 1
#define BF16                                                                                       \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,avx2,fma,f16c")))
#define BF16_HELPER static inline __attribute__((always_inline)) BF16
BF16_HELPER ints bf16_narrow(vec low, vec high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }
BF16_HELPER ints bf16_some(const uint8_t *p, size_t n) {
    return _mm512_maskz_loadu_epi16((__mmask32)((1ull << n) - 1), p);
}
/* The second number first, each product rounded once. */
BF16_HELPER vec bf16_dot(vec sum, ints a, ints b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }
BF16_HELPER vec bf16_add(vec sum, ints a, ints b) { return bf16_dot(sum, a, b); }
BF16_HELPER void bf16_zip(ints a, ints b, ints *first, ints *second) {
    const __m512i count = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i twice = _mm512_or_si512(count, _mm512_slli_epi32(count, 16));
    const __m512i low = _mm512_add_epi32(twice, _mm512_set1_epi32(0x00200000)); /* word i: number i of a, i of b */
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(0x00100010));
    *first = _mm512_permutex2var_epi16(a, low, b);
    *second = _mm512_permutex2var_epi16(a, high, b);
}
#define REST V
#include "bf16.inc"
#undef REST
#undef BF16
#undef BF16_HELPER
#undef BF16_NAME
#undef BF16_FAST_PAIRS

#undef TARGET
#undef V
#undef PANEL_TOKENS
#undef FEW_KERNEL

#if defined(__x86_64__) && defined(__linux__) && (__GNUC__ >= 11 || __clang_major__ >= 13) && !defined(PITH_FEWER_TWINS)
#define HAVE_TILES
#define TILES
#define V(name) name##_amx
#define REST(name) name##_avx512
#define PACKED_BY REST
#define TARGET                                                                                     \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c,amx-tile,amx-int8")))
#define PANEL_TOKENS 16
#define FEW_KERNEL KERNEL
#include "avx512.inc"
#include "amx.inc"
#undef TILES
#undef V
#undef REST
#undef PACKED_BY
#undef TARGET
#undef PANEL_TOKENS
#undef FEW_KERNEL
#undef MAX_RUN
#undef KNOWN_INTEGERS
#undef KNOWN_FLOATS
#endif

#undef vec
#undef reg
#undef REGS
#undef ints
#undef byte64
#undef FLOAT_TOKENS
#undef FLOAT_FROM
#undef ROW_TOKENS
#undef ROW_ROWS
#undef OUTER_ROWS
#undef OUTER_WIDE
#undef EIGHT_SUMS
#undef QUERIES
#undef KEYS
#undef MOST_KEYS
#undef SIGNED_SHIFT
#undef STREAMS
#undef AHEAD
#undef PANEL_FROM
#undef FEW_TOKENS
#undef NARROW_SUMS

/* ---- AVX2, and AVX-VNNI ------------------------------------------------------------------------ */

#define vec vec_avx2
#define reg __m256
#define REGS 2
#define ints byte64_avx2
#define byte64 byte64_avx2
#define FLOAT_TOKENS 6
#define FLOAT_FROM(format, cols) ((cols) > 1024 ? 36 : 128)
#define ROW_TOKENS 3
#define ROW_ROWS 2
#define OUTER_ROWS 6
#define OUTER_WIDE 1
#define EIGHT_SUMS 0
#define QUERIES 6
#define KEYS(n) ((n) >= 3 ? 1 : (n) == 2 ? 2 : 4)
#define MOST_KEYS 4
#define STREAMS(n_block) 4
#define AHEAD(size, n_block) ((size) < 512 ? 320 : 0)
#define FEW_TOKENS 4
#define FEW_KERNEL KERNEL
#define PANEL_TOKENS 4
#define PANEL_FROM 3

/* Integers. vpmaddubsw adds two products in 16 bits, which is enough for weights under 64. Its one side
 * is unsigned: the sign of a signed weight moves to the input. */
#define TARGET __attribute__((target("avx2,fma,f16c")))
#define V(name) name##_avx2
#define SUFFIX_NAME "avx2"
#define SIGNED_SHIFT -1
#define NARROW_SUMS 1
#include "avx2.inc"
#include "lanes.inc"
#undef TARGET
#undef V
#undef SUFFIX_NAME
#undef SIGNED_SHIFT
#undef NARROW_SUMS

/* Products of integers with vpdpbusd in 256 bits, see AVX-512; the other kernels are AVX2's. Never timed: only what it
 * computes is tested where no processor has it (make EMULATED=1). */
#if (__GNUC__ >= 11 || __clang_major__ >= 13) && !defined(PITH_FEWER_TWINS)
#define HAVE_AVX_VNNI
#define FOUR_PRODUCTS
#define REST(name) name##_avx2
#define TARGET __attribute__((target("avx2,fma,f16c,avxvnni")))
#define V(name) name##_avxvnni
#define SUFFIX_NAME "avxvnni"
#define SIGNED_SHIFT 7
#define NARROW_SUMS 0
#include "avx2.inc"
#include "lanes.inc"
#undef FOUR_PRODUCTS
#undef REST
#undef TARGET
#undef V
#undef SUFFIX_NAME
#undef SIGNED_SHIFT
#undef NARROW_SUMS

static int x86_has_avx_vnni(void) { /* clang 14 does not know its name */
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && a >> 4 & 1;
}
#endif

#undef INLINE
#undef UNROLL
#undef ROLLED
#undef KERNEL
#undef vec
#undef reg
#undef REGS
#undef ints
#undef byte64
#undef FLOAT_TOKENS
#undef FLOAT_FROM
#undef ROW_TOKENS
#undef ROW_ROWS
#undef OUTER_ROWS
#undef OUTER_WIDE
#undef EIGHT_SUMS
#undef QUERIES
#undef KEYS
#undef MOST_KEYS
#undef STREAMS
#undef AHEAD
#undef PANEL_FROM
#undef PANEL_TOKENS
#undef FEW_TOKENS
#undef FEW_KERNEL

#undef X86_AT
#undef X86_TWO
#undef X86_FOUR
#undef X86_EIGHT_HALVES
#undef X86_AT1
#undef X86_TWO1
#undef X86_FOUR1
#undef X86_EIGHT1
#undef X86_SIXTEEN_BYTES

/* ---- which of them --------------------------------------------------------------------------- */

PITH_SHARED const pith__kernels *pith__x86(const char *name) {
    __builtin_cpu_init(); /* asks the operating system too; F16C is older than AVX2 */
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    int avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                 __builtin_cpu_supports("avx512vnni");
    int bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
#ifdef HAVE_TILES
    if (bf16 && name && !strcmp(name, kernels_amx.name) && x86_has_tiles()) return &kernels_amx;
#endif
    if (bf16 && (!name || !strcmp(name, kernels_bf16.name))) return &kernels_bf16;
    if (avx512 && (!name || !strcmp(name, kernels_avx512.name))) return &kernels_avx512;
#ifdef HAVE_AVX_VNNI
    if (avx2 && x86_has_avx_vnni() && (!name || !strcmp(name, kernels_avxvnni.name))) return &kernels_avxvnni;
#endif
    if (avx2 && (!name || !strcmp(name, kernels_avx2.name))) return &kernels_avx2;
    return NULL;
}

#undef HAVE_AVX_VNNI
#undef HAVE_TILES

#else

PITH_SHARED const pith__kernels *pith__x86(const char *name) {
    (void)name;
    return NULL;
}

#endif
