/* x86.c - the kernels for Intel's and AMD's processors: what a vector of sixteen numbers is with
 * AVX2 and FMA (two registers of eight, processors since 2013) and with AVX-512 and VNNI (one
 * register, since 2019), and which of them this processor has. The kernels are in lanes.inc.
 *
 * The compiler needs no flag: each function says what it is compiled for, and runs only where the
 * processor and the operating system have it. Elsewhere, and with PITH_PORTABLE, this file is empty. */
#include "../kernels.h"

#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__) && !defined(PITH_PORTABLE)

#include <immintrin.h>
#include <math.h>
#include <string.h>

/* Loops over the registers of a tile: their length is known, and each turn has registers of its
 * own. */
#ifdef __clang__
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

/* What both families have in common. */
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
#define INLINE static inline __attribute__((always_inline)) TARGET
#define KERNEL static __attribute__((noinline)) TARGET
#define V(name) name##_avx512
#define vec __m512
#define FLOAT_TOKENS 16
#define OUTER_ROWS 12
#define OUTER_WIDE 2
#define QUERIES 4
#define KEYS(n) 4
#define MOST_KEYS 4

INLINE vec V(zero)(void) { return _mm512_setzero_ps(); }
INLINE vec V(set1)(float x) { return _mm512_set1_ps(x); }
INLINE vec V(load)(const void *p) { return _mm512_loadu_ps(p); }
INLINE void V(store)(float *p, vec x) { _mm512_storeu_ps(p, x); }
INLINE __mmask16 V(first)(size_t n) { return (__mmask16)((1u << n) - 1); }
INLINE vec V(load_n)(const void *p, size_t n) { return _mm512_maskz_loadu_ps(V(first)(n), p); }
INLINE void V(store_n)(float *p, vec x, size_t n) { _mm512_mask_storeu_ps(p, V(first)(n), x); }
INLINE vec V(add)(vec a, vec b) { return _mm512_add_ps(a, b); }
INLINE vec V(sub)(vec a, vec b) { return _mm512_sub_ps(a, b); }
INLINE vec V(mul)(vec a, vec b) { return _mm512_mul_ps(a, b); }
INLINE vec V(div)(vec a, vec b) { return _mm512_div_ps(a, b); }
INLINE vec V(fma)(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vec V(fnma)(vec a, vec b, vec c) { return _mm512_fnmadd_ps(a, b, c); }
INLINE vec V(max)(vec a, vec b) { return _mm512_max_ps(a, b); }
INLINE vec V(min)(vec a, vec b) { return _mm512_min_ps(a, b); }
INLINE vec V(round)(vec x) {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
INLINE vec V(ldexp)(vec x, vec n) { return _mm512_scalef_ps(x, n); }
INLINE vec V(zero_under)(vec y, vec x, float limit) { /* NaN stays */
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, V(set1)(limit), _CMP_NLT_UQ), y);
}
INLINE vec V(load_f16)(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }
INLINE vec V(load_bf16)(const void *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16));
}
INLINE vec V(load_i8)(const void *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p)));
}

INLINE vec V(set1_f16)(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return _mm512_cvtph_ps(_mm256_set1_epi16((short)h));
}

INLINE float V(sum)(vec x) {
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(q) + _mm_cvtss_f32(_mm_movehdup_ps(q));
}

/* Quarters of four vectors come together step by step: 8 lanes each, 4 each, and then 1. */
INLINE void V(sum4)(float *y, vec a, vec b, vec c, vec d) {
    vec ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    vec cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    vec s = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    s = _mm512_add_ps(s, _mm512_permute_ps(s, 0x4e));
    s = _mm512_add_ps(s, _mm512_permute_ps(s, 0xb1));
    _mm_storeu_ps(y, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, s)));
}

INLINE float V(most)(vec x) { return _mm512_reduce_max_ps(x); }

INLINE void V(split)(const float *p, vec *even, vec *odd) {
    const __m512i e = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    vec a = V(load)(p), b = V(load)(p + 16);
    *even = _mm512_permutex2var_ps(a, e, b);
    *odd = _mm512_permutex2var_ps(a, _mm512_add_epi32(e, _mm512_set1_epi32(1)), b);
}

INLINE void V(join)(float *p, vec even, vec odd) {
    const __m512i lo = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    V(store)(p, _mm512_permutex2var_ps(even, lo, odd));
    V(store)(p + 16, _mm512_permutex2var_ps(even, _mm512_add_epi32(lo, _mm512_set1_epi32(8)), odd));
}

INLINE vec V(spread)(const float *p) {
    const __m512i i = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    double two;
    memcpy(&two, p, 8);
    return _mm512_permutexvar_ps(i, _mm512_castpd_ps(_mm512_set1_pd(two)));
}

INLINE vec V(only)(vec x, int from, int to) {
    unsigned seen = (to < 15 ? (2u << to) - 1 : 0xffff) & ~0u << (from > 0 ? from : 0);
    return _mm512_mask_mov_ps(_mm512_set1_ps(-INFINITY), (__mmask16)seen, x);
}

/* Integers. vpdpbusd wants one side unsigned: signed weights are made so by adding 128. */
#define ints __m512i
#define byte64 __m512i
#define SIGNED_SHIFT 7
#define FEW 14
#define PANEL_FROM 14
#define STREAMS(n_block) ((n_block) > 128 ? 2 : 4)
#define AHEAD(size, n_block) ((n_block) > 128 ? 4096 : 0)
#define PANEL_TOKENS 8

INLINE ints V(zero_int)(void) { return _mm512_setzero_si512(); }
INLINE ints V(set1_int)(int x) { return _mm512_set1_epi32(x); }
INLINE ints V(load_int)(const void *p) { return _mm512_loadu_si512(p); }
INLINE void V(store_int)(void *p, ints x) { _mm512_storeu_si512(p, x); }
INLINE ints V(add_int)(ints a, ints b) { return _mm512_add_epi32(a, b); }
INLINE ints V(sub_int)(ints a, ints b) { return _mm512_sub_epi32(a, b); }
INLINE ints V(shift_left)(ints x, int n) { return _mm512_slli_epi32(x, (unsigned)n); }
INLINE ints V(shift_right)(ints x, int n) { return _mm512_srai_epi32(x, (unsigned)n); }
INLINE vec V(to_float)(ints x) { return _mm512_cvtepi32_ps(x); }
INLINE ints V(truncate)(vec x) { return _mm512_cvttps_epi32(x); }
INLINE vec V(with_sign)(vec x, vec s) { return _mm512_or_ps(x, _mm512_and_ps(s, V(set1)(-0.0f))); }
INLINE int V(sum_int)(ints x) { return _mm512_reduce_add_epi32(x); }
INLINE void V(store_i8)(int8_t *p, ints x) { _mm_storeu_si128((void *)p, _mm512_cvtepi32_epi8(x)); }
INLINE ints V(as_int)(vec x) { return _mm512_castps_si512(x); }
INLINE vec V(as_float)(ints x) { return _mm512_castsi512_ps(x); }
INLINE ints V(words_of)(byte64 x) { return x; }
INLINE byte64 V(load_bytes)(const void *p) { return _mm512_loadu_si512(p); }
INLINE byte64 V(or)(byte64 a, byte64 b) { return _mm512_or_si512(a, b); }
INLINE byte64 V(from_signed)(byte64 x) { return _mm512_xor_si512(x, _mm512_set1_epi8(-128)); }
INLINE byte64 V(shl)(byte64 x, int n) { return _mm512_slli_epi16(x, (unsigned)n); }
INLINE byte64 V(shr_and)(byte64 x, int n, int mask) {
    return _mm512_and_si512(_mm512_srli_epi16(x, (unsigned)n), _mm512_set1_epi8((char)mask));
}
INLINE byte64 V(look_up)(byte64 x, const int8_t table[16]) {
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const void *)table)), x);
}
INLINE __m512i V(both)(__m256i a, __m256i b) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
}
INLINE byte64 V(pair)(const void *a, const void *b) {
    return V(both)(_mm256_loadu_si256(a), _mm256_loadu_si256(b));
}

INLINE byte64 V(quad)(const void *a, const void *b, const void *c, const void *d) {
    return V(both)(_mm256_loadu2_m128i(b, a), _mm256_loadu2_m128i(d, c));
}

/* Lower, then upper halves of 16 bytes at a, and of 16 at b. */
INLINE byte64 V(nibbles)(const void *a, const void *b) {
    __m512i x = V(both)(_mm256_broadcastsi128_si256(_mm_loadu_si128(a)),
                        _mm256_broadcastsi128_si256(_mm_loadu_si128(b)));
    const __m512i shift = _mm512_set_epi64(0x0004000400040004, 0x0004000400040004, 0, 0,
                                           0x0004000400040004, 0x0004000400040004, 0, 0);
    return _mm512_and_si512(_mm512_srlv_epi16(x, shift), _mm512_set1_epi8(15));
}

/* 32 byte64 twice, shifted right by s0 and by s1. */
INLINE byte64 V(planes)(const void *p, int s0, int s1, int mask) {
    __m512i shift = V(both)(_mm256_set1_epi16((short)s0), _mm256_set1_epi16((short)s1));
    __m512i x = _mm512_broadcast_i64x4(_mm256_loadu_si256(p));
    return _mm512_and_si512(_mm512_srlv_epi16(x, shift), _mm512_set1_epi8((char)mask));
}

INLINE byte64 V(fifth_bits)(uint64_t bits) { return _mm512_maskz_set1_epi8((__mmask64)bits, 16); }
INLINE byte64 V(set4)(const int8_t *p) {
    int32_t x;
    memcpy(&x, p, 4);
    return _mm512_set1_epi32(x);
}
INLINE ints V(dot4)(ints sum, byte64 w, byte64 x) { return _mm512_dpbusd_epi32(sum, w, x); }

/* Eight pairs of blocks, 4 partial sums a half block: to 16 sums of first halves, 16 of second. */
INLINE ints V(fold32)(ints a, ints b) {
    return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
}
INLINE ints V(fold64)(ints a, ints b) {
    return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}
INLINE ints V(products)(int bits, byte64 w, byte64 x) {
    (void)bits;
    return V(dot4)(V(zero_int)(), w, x);
}
INLINE ints V(products_of_two)(int bits, byte64 w0, byte64 x0, byte64 w1, byte64 x1) {
    return V(dot4)(V(products)(bits, w0, x0), w1, x1);
}
INLINE ints V(fold_two)(int bits, ints a, ints b) {
    (void)bits;
    return V(fold32)(a, b);
}
INLINE void V(fold)(int halves, const ints p[4], ints *first, ints *second) {
    const __m512i at = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 16, 24, 17, 25, 18, 26, 19, 27);
    /* blocks 0 2 4 6 and 1 3 5 7, and eight further */
    ints a = V(fold64)(p[0], p[1]), b = V(fold64)(p[2], p[3]);
    *first = _mm512_permutex2var_epi32(a, at, b);
    *second = _mm512_permutex2var_epi32(a, _mm512_add_epi32(at, _mm512_set1_epi32(4)), b);
    if (!halves) *first = _mm512_add_epi32(*first, *second);
}

INLINE ints V(fold_quads)(int bits, const ints p[4]) {
    (void)bits;
    return V(fold64)(V(fold32)(p[0], p[1]), V(fold32)(p[2], p[3]));
}

INLINE vec V(halves_apart)(const uint8_t *p, int stride) {
    return _mm512_cvtph_ps(
        _mm256_set_m128i(X86_EIGHT_HALVES(p + 8 * stride, stride), X86_EIGHT_HALVES(p, stride)));
}
INLINE vec V(two_f16)(const uint8_t *p, const uint8_t *p1) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(x86_f16x8(p)), x86_f16x8(p1), 1);
}
INLINE ints V(bytes16)(uint64_t a, uint64_t b) {
    return _mm512_cvtepu8_epi32(_mm_set_epi64x((int64_t)b, (int64_t)a));
}
INLINE ints V(words16)(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return _mm512_cvtepi16_epi32(_mm256_set_epi64x((int64_t)d, (int64_t)c, (int64_t)b, (int64_t)a));
}

INLINE ints V(load_words)(const uint8_t *p, const uint8_t *p1) {
    return _mm512_cvtepi16_epi32(_mm256_loadu2_m128i((const void *)p1, (const void *)p));
}
INLINE void V(k_scales)(const uint8_t *p, const uint8_t *p1, ints *scale, ints *min) {
    __m256i x = _mm256_permute4x64_epi64(x86_k_scales(p, p1), 0xd8);
    *scale = _mm512_cvtepu8_epi32(_mm256_castsi256_si128(x));
    *min = _mm512_cvtepu8_epi32(_mm256_extracti128_si256(x, 1));
}

/* Lane i of vector j goes to lane j of vector i: by ones, twos, fours and eights. */
INLINE void V(transpose)(ints x[16]) {
    ints y[16];
    UNROLL for (int i = 0; i < 16; i += 2) {
        y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
        y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
    }
    UNROLL for (int i = 0; i < 16; i += 4) {
        x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
        x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
        x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
        x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
    }
    /* a quarter of x[i] has lane i, i + 4, i + 8 or i + 12 of four rows */
    UNROLL for (int i = 0; i < 4; i++) {
        ints a = _mm512_shuffle_i32x4(x[i], x[i + 4], 0x88);
        ints b = _mm512_shuffle_i32x4(x[i], x[i + 4], 0xdd);
        ints c = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0x88);
        ints d = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0xdd);
        y[i] = _mm512_shuffle_i32x4(a, c, 0x88);
        y[i + 4] = _mm512_shuffle_i32x4(b, d, 0x88);
        y[i + 8] = _mm512_shuffle_i32x4(a, c, 0xdd);
        y[i + 12] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
    UNROLL for (int i = 0; i < 16; i++) x[i] = y[i];
}

#define SUFFIX_NAME "avx512"
#include "lanes.inc"
#undef SUFFIX_NAME

/* ---- AVX-512 with BF16 ------------------------------------------------------------------------- */

/* BF16 weights meet inputs that are rounded to BF16 too: a lane takes two products at a time, numbers 2 l and
 * 2 l + 1 of every 32, at twice the speed of floats. A pair is a word of 32 bits here, and panels and tiles of
 * words are those of floats. Rows of an odd number of them go the way of floats altogether. */
#define BF16                                                                                       \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,avx2,fma,f16c")))

static int in_pairs(const pith__format *f, size_t cols) { return f->id == PITH__BF16 && cols % 2 == 0; }

/* cols numbers from i on as 16 pairs; what is behind the last is zero. */
static inline __attribute__((always_inline)) BF16 __m512i bf16_round(const float *x, size_t i, size_t cols) {
    size_t n = cols - i;
    if (n >= 32)
        return (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + i + 16), _mm512_loadu_ps(x + i));
    __m512 hi = n > 16 ? load_n_avx512(x + i + 16, n - 16) : _mm512_setzero_ps();
    return (__m512i)_mm512_cvtne2ps_pbh(hi, load_n_avx512(x + i, n < 16 ? n : 16));
}

static inline __attribute__((always_inline)) BF16 __m512i bf16_pairs(const uint8_t *w, size_t i, size_t cols) {
    size_t n = cols - i;
    if (n >= 32) return _mm512_loadu_si512(w + 2 * i);
    return _mm512_maskz_loadu_epi16((__mmask32)((1ull << n) - 1), w + 2 * i);
}

static inline __attribute__((always_inline)) BF16 __m512 bf16_dot(__m512 sum, __m512i a, __m512i b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

/* n_r rows (4 or 1) for one token: see float_tile. */
static inline __attribute__((always_inline)) BF16 void bf16_rows(float *y, const uint8_t *w, size_t bytes,
                                                                 int n_r, const float *x, size_t cols) {
    __m512 sum[4];
    UNROLL for (int r = 0; r < n_r; r++) sum[r] = _mm512_setzero_ps();
    for (size_t i = 0; i < cols; i += 32) {
        __m512i v = bf16_round(x, i, cols);
        UNROLL for (int r = 0; r < n_r; r++) sum[r] = bf16_dot(sum[r], bf16_pairs(w + r * bytes, i, cols), v);
    }
    if (n_r == 4) sum4_avx512(y, sum[0], sum[1], sum[2], sum[3]);
    else *y = sum_avx512(sum[0]);
}

/* Four rows a quarter of the matrix apart: see float_streams. */
static BF16 void bf16_few(const pith__product *p, size_t t, size_t r0, size_t r1) {
    size_t cols = p->in->cols, bytes = p->w->row_bytes, part = (r1 - r0) / 4;
    const float *x = p->in->x + t * cols;
    float y[4], *to = p->y + t * p->stride;
    for (size_t r = r0; r < r0 + part; r++) {
        bf16_rows(y, p->w->data + r * bytes, part * bytes, 4, x, cols);
        for (size_t k = 0; k < 4; k++) to[r + k * part] = y[k];
    }
    for (size_t r = r0 + 4 * part; r < r1; r++) bf16_rows(to + r, p->w->data + r * bytes, bytes, 1, x, cols);
}

static BF16 void bf16_panel(float *y, size_t stride, const uint32_t *w, const uint32_t *x, size_t n_lane,
                            size_t n_row) {
    __m512 waiting[5][FLOAT_TOKENS];
    for (size_t turn = 0; turn < 16; turn++, w += 16, x += FLOAT_TOKENS) {
        __m512 sum[FLOAT_TOKENS];
        UNROLL for (int t = 0; t < FLOAT_TOKENS; t++) sum[t] = _mm512_setzero_ps();
        for (size_t i = 0; i < n_lane; i++, w += 16, x += FLOAT_TOKENS) {
            __m512i rows = _mm512_loadu_si512(w);
            UNROLL for (int t = 0; t < FLOAT_TOKENS; t++) sum[t] =
                bf16_dot(sum[t], rows, _mm512_set1_epi32((int)x[t]));
        }
        add_lane_avx512(turn, sum, FLOAT_TOKENS, waiting);
    }
    store_sums_avx512(y, stride, waiting[4], FLOAT_TOKENS, n_row);
}

static BF16 void bf16_many(const pith__product *p, size_t n, size_t r0, size_t r1, uint32_t *panel) {
    const pith__format words = { .id = PITH__F32 };
    pith__tensor pairs = *p->w;
    pairs.format = &words, pairs.cols /= 2;
    size_t n_lane = (pairs.cols + 15) / 16;
    for (size_t r = r0; r < r1; r += 16) {
        size_t n_row = r1 - r < 16 ? r1 - r : 16;
        const uint32_t *x = p->in->tiles;
        pack_floats_avx512((float *)panel, &pairs, r, n_row, n_lane);
        for (size_t t = 0; t < n; t += FLOAT_TOKENS, x += tile_floats_avx512(n_lane))
            bf16_panel(p->y + (t + FLOAT_TOKENS <= n ? t : n - FLOAT_TOKENS) * p->stride + r, p->stride, panel, x,
                       n_lane, n_row);
    }
}

static BF16 void bf16_arrange(pith__input *in, const pith__format *f, size_t i) {
    if (!in_pairs(f, in->cols)) {
        arrange_avx512(in, f, i);
        return;
    }
    size_t cols = in->cols, n_lane = (cols + 31) / 32, last = (size_t)in->n - FLOAT_TOKENS;
    const float *x = in->x + (i * FLOAT_TOKENS < last ? i * FLOAT_TOKENS : last) * cols;
    float *tile = (float *)in->tiles + i * tile_floats_avx512(n_lane);
    for (size_t c = 0; c < cols; c += 32) {
        __m512 pairs[16];
        UNROLL for (size_t t = 0; t < FLOAT_TOKENS; t++) pairs[t] = (__m512)bf16_round(x + t * cols, c, cols);
        turn_avx512(tile, FLOAT_TOKENS, pairs, FLOAT_TOKENS, c / 2, n_lane);
    }
}

static BF16 void bf16_matmul(const pith__product *p, size_t r0, size_t r1, void *scratch) {
    if (!in_pairs(p->w->format, p->in->cols)) {
        matmul_avx512(p, r0, r1, scratch);
        return;
    }
    size_t many = in_tiles_avx512((size_t)p->in->n, FLOAT_TOKENS);
    if (many) bf16_many(p, many, r0, r1, scratch);
    for (size_t t = many; t < (size_t)p->in->n; t++) bf16_few(p, t, r0, r1);
}

static BF16 float bf16_busy(const pith__format *f, size_t *n) {
    enum { CHAINS = 12, ROUNDS = 4096 };
    __m512i a = _mm512_set1_epi32(0x3f003f00); /* one half, twice */
    __m512 x[CHAINS];
    if (f->id != PITH__BF16) return busy_avx512(f, n);
    *n = (size_t)ROUNDS * CHAINS * 32;
    UNROLL for (int k = 0; k < CHAINS; k++) x[k] = _mm512_set1_ps((float)k);
    for (int i = 0; i < ROUNDS; i++)
        UNROLL for (int k = 0; k < CHAINS; k++) x[k] = bf16_dot(x[k], a, a);
    UNROLL for (int k = 1; k < CHAINS; k++) x[0] = _mm512_add_ps(x[0], x[k]);
    return sum_avx512(x[0]);
}

static const pith__kernels kernels_bf16 = {
    "avx512bf16",  quantize_avx512, tile_size_avx512, bf16_arrange, bf16_matmul,   attend_avx512, dot_avx512,
    rmsnorm_avx512, rope_avx512,    gate_avx512,      softmax_avx512, outer_avx512, d_gate_avx512,
    bf16_busy,
};

#undef TARGET
#undef V
#undef vec
#undef ints
#undef byte64
#undef FLOAT_TOKENS
#undef OUTER_ROWS
#undef OUTER_WIDE
#undef QUERIES
#undef KEYS
#undef MOST_KEYS
#undef SIGNED_SHIFT
#undef FEW
#undef PANEL_FROM
#undef STREAMS
#undef AHEAD
#undef PANEL_TOKENS

/* ---- AVX2 ------------------------------------------------------------------------------------ */

#define TARGET __attribute__((target("avx2,fma,f16c")))
#define V(name) name##_avx2
#define vec vec_avx2
#define FLOAT_TOKENS 6
#define OUTER_ROWS 6
#define OUTER_WIDE 1
#define QUERIES 4
#define KEYS(n) (4 / (n))
#define MOST_KEYS 4

typedef struct {
    __m256 lo, hi; /* lanes 0 to 7, 8 to 15 */
} vec_avx2;

INLINE vec V(two)(__m256 lo, __m256 hi) { return (vec){lo, hi}; }
INLINE vec V(zero)(void) { return V(two)(_mm256_setzero_ps(), _mm256_setzero_ps()); }
INLINE vec V(set1)(float x) { return V(two)(_mm256_set1_ps(x), _mm256_set1_ps(x)); }
INLINE vec V(load)(const void *p) {
    return V(two)(_mm256_loadu_ps(p), _mm256_loadu_ps((const float *)p + 8));
}
INLINE void V(store)(float *p, vec x) { _mm256_storeu_ps(p, x.lo), _mm256_storeu_ps(p + 8, x.hi); }

/* All bits set in the lanes under n, of eight from lane 0 or from lane 8 on. */
INLINE __m256i V(first)(size_t n, int lane) {
    const __m256i i = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n - lane), i);
}
INLINE vec V(load_n)(const void *p, size_t n) {
    const float *x = p;
    return V(two)(_mm256_maskload_ps(x, V(first)(n, 0)), _mm256_maskload_ps(x + 8, V(first)(n, 8)));
}
INLINE void V(store_n)(float *p, vec x, size_t n) {
    _mm256_maskstore_ps(p, V(first)(n, 0), x.lo);
    _mm256_maskstore_ps(p + 8, V(first)(n, 8), x.hi);
}

#define PAIRWISE(type, two, name, f) \
    INLINE type V(name)(type a, type b) { return V(two)(f(a.lo, b.lo), f(a.hi, b.hi)); }
PAIRWISE(vec, two, add, _mm256_add_ps)
PAIRWISE(vec, two, sub, _mm256_sub_ps)
PAIRWISE(vec, two, mul, _mm256_mul_ps)
PAIRWISE(vec, two, div, _mm256_div_ps)
PAIRWISE(vec, two, max, _mm256_max_ps)
PAIRWISE(vec, two, min, _mm256_min_ps)

INLINE vec V(fma)(vec a, vec b, vec c) {
    return V(two)(_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi));
}
INLINE vec V(fnma)(vec a, vec b, vec c) {
    return V(two)(_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi));
}
INLINE vec V(round)(vec x) {
    enum { nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    return V(two)(_mm256_round_ps(x.lo, nearest), _mm256_round_ps(x.hi, nearest));
}

/* 2^n in two factors, as n may be beyond the exponents of a float. */
INLINE __m256 V(ldexp8)(__m256 x, __m256 n) {
    const __m256i bias = _mm256_set1_epi32(127);
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    __m256i rest = _mm256_sub_epi32(whole, half);
    x = _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23)));
    return _mm256_mul_ps(x,
                         _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23)));
}
INLINE vec V(ldexp)(vec x, vec n) { return V(two)(V(ldexp8)(x.lo, n.lo), V(ldexp8)(x.hi, n.hi)); }
INLINE vec V(zero_under)(vec y, vec x, float limit) { /* NaN stays */
    __m256 l = _mm256_set1_ps(limit);
    return V(two)(_mm256_and_ps(_mm256_cmp_ps(x.lo, l, _CMP_NLT_UQ), y.lo),
                  _mm256_and_ps(_mm256_cmp_ps(x.hi, l, _CMP_NLT_UQ), y.hi));
}

INLINE vec V(load_f16)(const void *p) {
    const __m128i *q = p;
    return V(two)(_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1)));
}
INLINE __m256 V(from_bf16)(__m128i x) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}
INLINE vec V(load_bf16)(const void *p) {
    const __m128i *q = p;
    return V(two)(V(from_bf16)(_mm_loadu_si128(q)), V(from_bf16)(_mm_loadu_si128(q + 1)));
}
INLINE vec V(load_i8)(const void *p) {
    __m128i x = _mm_loadu_si128(p);
    return V(two)(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x)),
                  _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(x, 8))));
}
INLINE vec V(set1_f16)(const uint8_t *p) { return V(two)(x86_f16x8(p), x86_f16x8(p)); }

INLINE float V(sum)(vec x) {
    __m256 h = _mm256_add_ps(x.lo, x.hi);
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(q) + _mm_cvtss_f32(_mm_movehdup_ps(q));
}

INLINE void V(sum4)(float *y, vec va, vec vb, vec vc, vec vd) {
    __m256 a = _mm256_add_ps(va.lo, va.hi), b = _mm256_add_ps(vb.lo, vb.hi);
    __m256 c = _mm256_add_ps(vc.lo, vc.hi), d = _mm256_add_ps(vd.lo, vd.hi);
    __m256 ab =
        _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
    __m256 cd =
        _mm256_add_ps(_mm256_permute2f128_ps(c, d, 0x20), _mm256_permute2f128_ps(c, d, 0x31));
    __m256 s = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    s = _mm256_add_ps(s, _mm256_permute_ps(s, 0xb1)); /* a a c c, b b d d */
    s = _mm256_permutevar8x32_ps(s, _mm256_setr_epi32(0, 4, 2, 6, 0, 4, 2, 6));
    _mm_storeu_ps(y, _mm256_castps256_ps128(s));
}

INLINE float V(most)(vec x) {
    __m256 h = _mm256_max_ps(x.lo, x.hi);
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}

/* 16 floats as 8 of even and 8 of odd places. */
INLINE void V(split8)(const float *p, __m256 *even, __m256 *odd) {
    __m256 a = _mm256_loadu_ps(p), b = _mm256_loadu_ps(p + 8);
    *even = _mm256_castpd_ps(
        _mm256_permute4x64_pd(_mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88)), 0xd8));
    *odd = _mm256_castpd_ps(
        _mm256_permute4x64_pd(_mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xdd)), 0xd8));
}
INLINE void V(split)(const float *p, vec *even, vec *odd) {
    V(split8)(p, &even->lo, &odd->lo);
    V(split8)(p + 16, &even->hi, &odd->hi);
}
INLINE void V(join8)(float *p, __m256 even, __m256 odd) {
    __m256 a = _mm256_unpacklo_ps(even, odd), b = _mm256_unpackhi_ps(even, odd);
    _mm256_storeu_ps(p, _mm256_permute2f128_ps(a, b, 0x20));
    _mm256_storeu_ps(p + 8, _mm256_permute2f128_ps(a, b, 0x31));
}
INLINE void V(join)(float *p, vec even, vec odd) {
    V(join8)(p, even.lo, odd.lo);
    V(join8)(p + 16, even.hi, odd.hi);
}

INLINE vec V(spread)(const float *p) { return V(two)(_mm256_set1_ps(p[0]), _mm256_set1_ps(p[1])); }

INLINE vec V(only)(vec x, int from, int to) {
    const __m256 none = _mm256_set1_ps(-INFINITY);
    __m256i end_lo = V(first)((size_t)to + 1, 0), end_hi = V(first)((size_t)to + 1, 8);
    size_t skip = from > 0 ? (size_t)from : 0;
    __m256i seen_lo = _mm256_andnot_si256(V(first)(skip, 0), end_lo);
    __m256i seen_hi = _mm256_andnot_si256(V(first)(skip, 8), end_hi);
    return V(two)(_mm256_blendv_ps(none, x.lo, _mm256_castsi256_ps(seen_lo)),
                  _mm256_blendv_ps(none, x.hi, _mm256_castsi256_ps(seen_hi)));
}

/* Integers. vpmaddubsw adds two products in 16 bits, which is enough for weights under 64; for
 * signed ones the sign is moved to the other side. */
#define ints byte64_avx2
#define byte64 byte64_avx2
#define SIGNED_SHIFT -1
#define FEW 1
#define PANEL_FROM 4
#define STREAMS(n_block) 4
#define AHEAD(size, n_block) ((size) < 512 ? 320 : 0)
#define PANEL_TOKENS 4
#define PANEL_DOTS

typedef struct {
    __m256i lo, hi;
} byte64_avx2;

INLINE byte64 V(int2)(__m256i lo, __m256i hi) { return (byte64){lo, hi}; }
INLINE ints V(zero_int)(void) { return V(int2)(_mm256_setzero_si256(), _mm256_setzero_si256()); }
INLINE ints V(set1_int)(int x) { return V(int2)(_mm256_set1_epi32(x), _mm256_set1_epi32(x)); }
INLINE ints V(load_int)(const void *p) {
    return V(int2)(_mm256_loadu_si256(p), _mm256_loadu_si256((const __m256i *)p + 1));
}
INLINE void V(store_int)(void *p, ints x) {
    _mm256_storeu_si256(p, x.lo);
    _mm256_storeu_si256((__m256i *)p + 1, x.hi);
}
PAIRWISE(ints, int2, add_int, _mm256_add_epi32)
PAIRWISE(ints, int2, sub_int, _mm256_sub_epi32)
PAIRWISE(ints, int2, add_short, _mm256_add_epi16)
INLINE ints V(shift_left)(ints x, int n) {
    return V(int2)(_mm256_slli_epi32(x.lo, n), _mm256_slli_epi32(x.hi, n));
}
INLINE ints V(shift_right)(ints x, int n) {
    return V(int2)(_mm256_srai_epi32(x.lo, n), _mm256_srai_epi32(x.hi, n));
}
INLINE vec V(to_float)(ints x) {
    return V(two)(_mm256_cvtepi32_ps(x.lo), _mm256_cvtepi32_ps(x.hi));
}
INLINE ints V(truncate)(vec x) {
    return V(int2)(_mm256_cvttps_epi32(x.lo), _mm256_cvttps_epi32(x.hi));
}
INLINE vec V(with_sign)(vec x, vec s) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return V(two)(_mm256_or_ps(x.lo, _mm256_and_ps(s.lo, sign)),
                  _mm256_or_ps(x.hi, _mm256_and_ps(s.hi, sign)));
}
INLINE int V(sum_int)(ints x) {
    __m256i h = _mm256_add_epi32(x.lo, x.hi);
    __m128i q = _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
    q = _mm_add_epi32(q, _mm_shuffle_epi32(q, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(q, _mm_shuffle_epi32(q, 0xb1)));
}
INLINE void V(store_i8)(int8_t *p, ints x) {
    __m256i h = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.lo, x.hi), 0xd8);
    _mm_storeu_si128((void *)p,
                     _mm_packs_epi16(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1)));
}
INLINE ints V(as_int)(vec x) {
    return V(int2)(_mm256_castps_si256(x.lo), _mm256_castps_si256(x.hi));
}
INLINE vec V(as_float)(ints x) {
    return V(two)(_mm256_castsi256_ps(x.lo), _mm256_castsi256_ps(x.hi));
}
INLINE byte64 V(load_bytes)(const void *p) { return V(load_int)(p); }
PAIRWISE(byte64, int2, or, _mm256_or_si256)
#undef PAIRWISE
INLINE byte64 V(from_signed)(byte64 x) { return x; }
INLINE byte64 V(shl)(byte64 x, int n) {
    return V(int2)(_mm256_slli_epi16(x.lo, n), _mm256_slli_epi16(x.hi, n));
}
INLINE __m256i V(shr_and32)(__m256i x, int n, int mask) {
    return _mm256_and_si256(_mm256_srli_epi16(x, n), _mm256_set1_epi8((char)mask));
}
INLINE byte64 V(shr_and)(byte64 x, int n, int mask) {
    return V(int2)(V(shr_and32)(x.lo, n, mask), V(shr_and32)(x.hi, n, mask));
}
INLINE byte64 V(look_up)(byte64 x, const int8_t table[16]) {
    __m256i t = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)table));
    return V(int2)(_mm256_shuffle_epi8(t, x.lo), _mm256_shuffle_epi8(t, x.hi));
}
INLINE byte64 V(pair)(const void *a, const void *b) {
    return V(int2)(_mm256_loadu_si256(a), _mm256_loadu_si256(b));
}
INLINE byte64 V(quad)(const void *a, const void *b, const void *c, const void *d) {
    return V(int2)(_mm256_loadu2_m128i(b, a), _mm256_loadu2_m128i(d, c));
}
INLINE __m256i V(nibbles32)(__m128i x) {
    __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(x), _mm_srli_epi16(x, 4), 1);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}
INLINE byte64 V(nibbles)(const void *a, const void *b) {
    return V(int2)(V(nibbles32)(_mm_loadu_si128(a)), V(nibbles32)(_mm_loadu_si128(b)));
}
INLINE byte64 V(planes)(const void *p, int s0, int s1, int mask) {
    __m256i x = _mm256_loadu_si256(p);
    return V(int2)(V(shr_and32)(x, s0, mask), V(shr_and32)(x, s1, mask));
}
/* Each byte picks its bit out of a copy of its eight. */
INLINE __m256i V(fifth_bits32)(uint32_t bits) {
    const __m256i eight =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((int64_t)0x8040201008040201u);
    __m256i x = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), eight), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(x, bit), _mm256_set1_epi8(16));
}
INLINE byte64 V(fifth_bits)(uint64_t bits) {
    return V(int2)(V(fifth_bits32)((uint32_t)bits), V(fifth_bits32)((uint32_t)(bits >> 32)));
}
/* Sums of two products in 16 bits, and of two of those in 32. */
INLINE __m256i V(pairs)(__m256i w, __m256i x, int is_signed) {
    return is_signed ? _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w))
                     : _mm256_maddubs_epi16(w, x);
}
INLINE __m256i V(widen)(__m256i x) { return _mm256_madd_epi16(x, _mm256_set1_epi16(1)); }
INLINE ints V(widen2)(ints x) { return V(int2)(V(widen)(x.lo), V(widen)(x.hi)); }
INLINE ints V(dot4)(ints sum, byte64 w, byte64 x) {
    ints two = V(int2)(V(pairs)(w.lo, x.lo, 0), V(pairs)(w.hi, x.hi, 0));
    return V(add_int)(sum, V(widen2)(two));
}
INLINE ints V(products)(int bits, byte64 w, byte64 x) { /* in 16 bits, or 32 if they are signed */
    ints two = V(int2)(V(pairs)(w.lo, x.lo, bits == 8), V(pairs)(w.hi, x.hi, bits == 8));
    return bits == 8 ? V(widen2)(two) : two;
}
INLINE ints V(products_of_two)(int bits, byte64 w0, byte64 x0, byte64 w1, byte64 x1) {
    ints a = V(products)(bits, w0, x0), b = V(products)(bits, w1, x1);
    return bits == 8 ? V(add_int)(a, b) : V(add_short)(a, b);
}

/* Sums of a, b, c and d, in 32 bits, for each half: pairs meet step by step, and are widened as late
 * as there is room for them: 16 bits hold four of pairs of 5 bits, or two of 6. */
INLINE __m256i V(add_as)(int wide, __m256i a, __m256i b) {
    return wide ? _mm256_add_epi32(a, b) : _mm256_add_epi16(a, b);
}
INLINE __m256i V(fold4)(int bits, __m256i a, __m256i b, __m256i c, __m256i d) {
    int wide = bits == 8;
    __m256i ab = V(add_as)(wide, _mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    __m256i cd = V(add_as)(wide, _mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    if (bits == 6) ab = V(widen)(ab), cd = V(widen)(cd), wide = 1;
    a = V(add_as)(wide, _mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
    return wide ? a : V(widen)(a);
}
INLINE ints V(fold_two)(int bits, ints a, ints b) { /* a block in each register; only lo is used */
    return V(int2)(V(fold4)(bits, a.lo, a.hi, b.lo, b.hi), _mm256_setzero_si256());
}
INLINE void V(fold)(int halves, const ints p[4], ints *first, ints *second) {
    *first = V(int2)(_mm256_permute2x128_si256(p[0].lo, p[1].lo, 0x20),
                     _mm256_permute2x128_si256(p[2].lo, p[3].lo, 0x20));
    *second = V(int2)(_mm256_permute2x128_si256(p[0].lo, p[1].lo, 0x31),
                      _mm256_permute2x128_si256(p[2].lo, p[3].lo, 0x31));
    if (!halves) *first = V(add_int)(*first, *second);
}
INLINE ints V(fold_quads)(int bits, const ints p[4]) {
    return V(int2)(V(fold4)(bits, p[0].lo, p[1].lo, p[2].lo, p[3].lo),
                   V(fold4)(bits, p[0].hi, p[1].hi, p[2].hi, p[3].hi));
}
INLINE __m128i V(u64x2)(uint64_t a, uint64_t b) { return _mm_set_epi64x((int64_t)b, (int64_t)a); }
INLINE vec V(halves_apart)(const uint8_t *p, int stride) {
    return V(two)(_mm256_cvtph_ps(X86_EIGHT_HALVES(p, stride)),
                  _mm256_cvtph_ps(X86_EIGHT_HALVES(p + 8 * stride, stride)));
}
INLINE vec V(two_f16)(const uint8_t *p, const uint8_t *p1) {
    return V(two)(x86_f16x8(p), x86_f16x8(p1));
}
INLINE ints V(load_words)(const uint8_t *p, const uint8_t *p1) {
    return V(int2)(_mm256_cvtepi16_epi32(_mm_loadu_si128((const void *)p)),
                   _mm256_cvtepi16_epi32(_mm_loadu_si128((const void *)p1)));
}
INLINE void V(k_scales)(const uint8_t *p, const uint8_t *p1, ints *scale, ints *min) {
    __m256i x = x86_k_scales(p, p1);
    __m128i a = _mm256_castsi256_si128(x), b = _mm256_extracti128_si256(x, 1);
    *scale = V(int2)(_mm256_cvtepu8_epi32(a), _mm256_cvtepu8_epi32(b));
    *min = V(int2)(_mm256_cvtepu8_epi32(_mm_srli_si128(a, 8)),
                   _mm256_cvtepu8_epi32(_mm_srli_si128(b, 8)));
}
INLINE ints V(bytes16)(uint64_t a, uint64_t b) {
    return V(int2)(_mm256_cvtepu8_epi32(V(u64x2)(a, 0)), _mm256_cvtepu8_epi32(V(u64x2)(b, 0)));
}
INLINE ints V(words16)(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return V(int2)(_mm256_cvtepi16_epi32(V(u64x2)(a, b)), _mm256_cvtepi16_epi32(V(u64x2)(c, d)));
}
INLINE void V(transpose8)(__m256i x[8]) {
    __m256i y[8];
    UNROLL for (int i = 0; i < 8; i += 2) {
        y[i] = _mm256_unpacklo_epi32(x[i], x[i + 1]);
        y[i + 1] = _mm256_unpackhi_epi32(x[i], x[i + 1]);
    }
    UNROLL for (int i = 0; i < 8; i += 4) {
        x[i] = _mm256_unpacklo_epi64(y[i], y[i + 2]);
        x[i + 1] = _mm256_unpackhi_epi64(y[i], y[i + 2]);
        x[i + 2] = _mm256_unpacklo_epi64(y[i + 1], y[i + 3]);
        x[i + 3] = _mm256_unpackhi_epi64(y[i + 1], y[i + 3]);
    }
    UNROLL for (int i = 0; i < 4; i++) {
        y[i] = _mm256_permute2x128_si256(x[i], x[i + 4], 0x20);
        y[i + 4] = _mm256_permute2x128_si256(x[i], x[i + 4], 0x31);
    }
    UNROLL for (int i = 0; i < 8; i++) x[i] = y[i];
}
KERNEL void V(transpose)(ints x[16]) { /* four squares of eight */
    __m256i a[8], b[8], c[8], d[8];
    UNROLL for (int k = 0; k < 8; k++) {
        a[k] = x[k].lo, b[k] = x[k].hi;
        c[k] = x[k + 8].lo, d[k] = x[k + 8].hi;
    }
    V(transpose8)(a), V(transpose8)(b), V(transpose8)(c), V(transpose8)(d);
    UNROLL for (int k = 0; k < 8; k++) x[k] = V(int2)(a[k], c[k]), x[k + 8] = V(int2)(b[k], d[k]);
}

/* ---- panels, see lanes.inc ------------------------------------------------------------------- */

INLINE ints V(words_of)(byte64 x) { return x; }
INLINE void V(panel_weights)(ints x[16]) { V(transpose)(x); }
INLINE void V(panel_input)(int8_t *to, size_t t, const int8_t *q) { memcpy(to + 32 * t, q, 32); }

/* One sum after the other: a compiler that makes a tree of them has not enough registers. */
INLINE ints V(in_turn)(ints x) {
    __asm__("" : "+x"(x.lo), "+x"(x.hi));
    return x;
}

/* Products of small weights have room in 16 bits for 8 of these sums, of 5 bits for 4, of 6 for 2. */
INLINE void V(panel_dots)(int bits, ints *part, const int32_t *start, const uint8_t *w,
                          const int8_t *q, int from, int to) {
    int most = bits <= 4 ? 8 : bits == 5 ? 4 : bits == 6 ? 2 : 1;
    ints sum[PANEL_TOKENS];
    UNROLL for (int t = 0; t < PANEL_TOKENS; t++) {
        part[t] = V(set1_int)(start[t]);
        sum[t] = V(zero_int)();
    }
    UNROLL for (int i = from; i < to; i++) {
        byte64 four = V(load_bytes)(w + 64 * i);
        int begins = (i - from) % most == 0, ends = (i - from) % most == most - 1 || i + 1 == to;
        UNROLL for (int t = 0; t < PANEL_TOKENS; t++) {
            int32_t four_q;
            memcpy(&four_q, q + 32 * t + 4 * i, 4);
            __m256i x = _mm256_set1_epi32(four_q);
            ints two = V(int2)(V(pairs)(four.lo, x, bits == 8), V(pairs)(four.hi, x, bits == 8));
            sum[t] = begins ? two : V(in_turn)(V(add_short)(sum[t], two));
            if (!ends) continue;
            part[t] = V(in_turn)(V(add_int)(part[t], V(widen2)(sum[t])));
        }
    }
}

#define SUFFIX_NAME "avx2"
#include "lanes.inc"
#undef SUFFIX_NAME
#undef TARGET
#undef INLINE
#undef UNROLL
#undef ROLLED
#undef KERNEL
#undef V
#undef vec
#undef ints
#undef byte64
#undef FLOAT_TOKENS
#undef OUTER_ROWS
#undef OUTER_WIDE
#undef QUERIES
#undef KEYS
#undef MOST_KEYS
#undef SIGNED_SHIFT
#undef FEW
#undef PANEL_FROM
#undef STREAMS
#undef AHEAD
#undef PANEL_TOKENS
#undef PANEL_DOTS

#undef X86_AT
#undef X86_TWO
#undef X86_FOUR
#undef X86_EIGHT_HALVES

/* ---- which of them --------------------------------------------------------------------------- */

PITH_SHARED const pith__kernels *pith__x86(const char *name) {
    __builtin_cpu_init(); /* it asks the operating system too; F16C came before AVX2, always */
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    int avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                 __builtin_cpu_supports("avx512vnni");
    if (avx512 && __builtin_cpu_supports("avx512bf16") && (!name || !strcmp(name, kernels_bf16.name)))
        return &kernels_bf16;
    if (avx512 && (!name || !strcmp(name, kernels_avx512.name))) return &kernels_avx512;
    if (avx2 && (!name || !strcmp(name, kernels_avx2.name))) return &kernels_avx2;
    return NULL;
}

#else

PITH_SHARED const pith__kernels *pith__x86(const char *name) {
    (void)name;
    return NULL;
}

#endif
