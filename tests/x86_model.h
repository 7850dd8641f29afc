/* x86_model.h - the instructions of x86 processors that this one may not have, as Intel's manual (Software Developer's
 * Manual, volume 2) says what they do. scripts/emulated.sh includes it before math/twins/x86.c, whose kernel sets are
 * then chosen as if the processor had them all. So any machine with AVX2 tests what they compute; nothing here says how
 * fast they are. */
#ifndef X86_MODEL_H
#define X86_MODEL_H
#define _GNU_SOURCE
#include <assert.h>
#include <cpuid.h>
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define X86_MODEL
#define __builtin_cpu_supports(name) 1
#define __get_cpuid_count(leaf, part, a, b, c, d) (*(a) = *(b) = *(c) = *(d) = ~0u)
#define target(list) target("avx2,fma,f16c")
#define MODEL static inline __attribute__((always_inline, target("")))
#define CALLED static __attribute__((noinline, target("")))
#define EACH(n) for (int i = 0; i < (n); i++)

typedef union {
    __m512 ps;
    __m512i si;
    __m256 ps2[2];
    __m256i si2[2];
    __m128i si4[4];
    float f[16];
    double d[8];
    int64_t q[8];
    int32_t i[16];
    uint32_t u[16];
    uint16_t h[32];
    int8_t b[64];
    uint8_t ub[64];
} model;

/* ---- AVX-512: what is two instructions of AVX2 ------------------------------------------------------ */

MODEL __m512 model_ps(__m256 low, __m256 high) { return (model){ .ps2 = { low, high } }.ps; }
MODEL __m512i model_si(__m256i low, __m256i high) { return (model){ .si2 = { low, high } }.si; }
#define PS(x, k) (((model){ .ps = (x) }).ps2[k])
#define SI(x, k) (((model){ .si = (x) }).si2[k])
#define TWO_PS(f, a, b) \
    ({ model a_ = { .ps = (a) }, b_ = { .ps = (b) }; model_ps(_mm256_##f(a_.ps2[0], b_.ps2[0]), _mm256_##f(a_.ps2[1], b_.ps2[1])); })
#define TWO_SI(f, a, b) \
    ({ model a_ = { .si = (a) }, b_ = { .si = (b) }; model_si(_mm256_##f(a_.si2[0], b_.si2[0]), _mm256_##f(a_.si2[1], b_.si2[1])); })
#define ONE_PS(f, a, ...) \
    ({ model a_ = { .ps = (a) }; model_ps(_mm256_##f(a_.ps2[0], ##__VA_ARGS__), _mm256_##f(a_.ps2[1], ##__VA_ARGS__)); })
#define BY_N(f, a, n) \
    ({ model a_ = { .si = (a) }; model_si(_mm256_##f(a_.si2[0], (int)(n)), _mm256_##f(a_.si2[1], (int)(n))); })

#define _mm512_setzero_ps() _mm512_set1_ps(0)
MODEL __m512 model_set1(float x) { return model_ps(_mm256_set1_ps(x), _mm256_set1_ps(x)); }
#define _mm512_set1_ps model_set1
#define _mm512_castps_si512(x) ((__m512i)(x))
#define _mm512_castsi512_ps(x) ((__m512)(x))
#define _mm512_castpd_ps(x) ((__m512)(x))
#define _mm512_castps512_ps256(x) PS(x, 0)
#define _mm512_castps512_ps128(x) _mm256_castps256_ps128(PS(x, 0))
#define _mm512_castps256_ps512(x) model_ps(x, x)
#define _mm512_extractf32x8_ps(x, k) PS(x, k)
#define _mm512_insertf32x8(x, y, k) model_ps((k) ? PS(x, 0) : (y), (k) ? (y) : PS(x, 1))
#define _mm512_add_ps(a, b) TWO_PS(add_ps, a, b)
#define _mm512_sub_ps(a, b) TWO_PS(sub_ps, a, b)
#define _mm512_mul_ps(a, b) TWO_PS(mul_ps, a, b)
#define _mm512_div_ps(a, b) TWO_PS(div_ps, a, b)
#define _mm512_max_ps(a, b) TWO_PS(max_ps, a, b)
#define _mm512_min_ps(a, b) TWO_PS(min_ps, a, b)
#define _mm512_and_ps(a, b) TWO_PS(and_ps, a, b)
#define _mm512_or_ps(a, b) TWO_PS(or_ps, a, b)
#define _mm512_permute_ps(x, n) ONE_PS(permute_ps, x, n)
#define _mm512_roundscale_ps(x, n) ONE_PS(round_ps, x, n) /* n under 16 */
MODEL __m512 model_fma(__m512 a, __m512 b, __m512 c) {
    return model_ps(_mm256_fmadd_ps(PS(a, 0), PS(b, 0), PS(c, 0)), _mm256_fmadd_ps(PS(a, 1), PS(b, 1), PS(c, 1)));
}
#define _mm512_fmadd_ps(a, b, c) model_fma(a, b, c)
#define _mm512_fnmadd_ps(a, b, c) model_fma(-(a), b, c)

#define _mm512_setzero_si512() _mm512_set1_epi32(0)
MODEL __m512i model_twice(__m256i x) { return model_si(x, x); }
#define _mm512_set1_epi32(x) model_twice(_mm256_set1_epi32(x))
#define _mm512_set1_epi8(x) model_twice(_mm256_set1_epi8(x))
#define _mm512_castsi512_si256(x) SI(x, 0)
#define _mm512_castsi256_si512 model_twice
#define _mm512_extracti64x4_epi64(x, k) SI(x, k)
#define _mm512_inserti64x4(x, y, k) model_si((k) ? SI(x, 0) : (y), (k) ? (y) : SI(x, 1))
#define _mm512_broadcast_i64x4 model_twice
#define _mm512_broadcast_i32x4(x) model_twice(_mm256_broadcastsi128_si256(x))
#define _mm512_add_epi32(a, b) TWO_SI(add_epi32, a, b)
#define _mm512_sub_epi32(a, b) TWO_SI(sub_epi32, a, b)
#define _mm512_and_si512(a, b) TWO_SI(and_si256, a, b)
#define _mm512_or_si512(a, b) TWO_SI(or_si256, a, b)
#define _mm512_xor_si512(a, b) TWO_SI(xor_si256, a, b)
#define _mm512_shuffle_epi8(a, b) TWO_SI(shuffle_epi8, a, b)
#define _mm512_unpacklo_epi32(a, b) TWO_SI(unpacklo_epi32, a, b)
#define _mm512_unpackhi_epi32(a, b) TWO_SI(unpackhi_epi32, a, b)
#define _mm512_unpacklo_epi64(a, b) TWO_SI(unpacklo_epi64, a, b)
#define _mm512_unpackhi_epi64(a, b) TWO_SI(unpackhi_epi64, a, b)
#define _mm512_slli_epi16(x, n) BY_N(slli_epi16, x, n)
#define _mm512_srli_epi16(x, n) BY_N(srli_epi16, x, n)
#define _mm512_slli_epi32(x, n) BY_N(slli_epi32, x, n)
#define _mm512_srli_epi32(x, n) BY_N(srli_epi32, x, n)
#define _mm512_srai_epi32(x, n) BY_N(srai_epi32, x, n)

/* Conversions: 16 numbers from two times 8. */
#define UPPER(x) _mm256_extracti128_si256(x, 1)
#define LOWER(x) _mm256_castsi256_si128(x)
#define _mm512_cvtepi32_ps(x) ({ model x_ = { .si = (x) }; model_ps(_mm256_cvtepi32_ps(x_.si2[0]), _mm256_cvtepi32_ps(x_.si2[1])); })
#define _mm512_cvttps_epi32(x) ({ model x_ = { .ps = (x) }; model_si(_mm256_cvttps_epi32(x_.ps2[0]), _mm256_cvttps_epi32(x_.ps2[1])); })
#define _mm512_cvtph_ps(x) ({ __m256i x_ = (x); model_ps(_mm256_cvtph_ps(LOWER(x_)), _mm256_cvtph_ps(UPPER(x_))); })
#define OF_16(f, x) ({ __m256i x_ = (x); model_si(_mm256_##f(LOWER(x_)), _mm256_##f(UPPER(x_))); })
#define _mm512_cvtepi16_epi32(x) OF_16(cvtepi16_epi32, x)
#define _mm512_cvtepu16_epi32(x) OF_16(cvtepu16_epi32, x)
#define OF_8(f, x) ({ __m128i x_ = (x); model_si(_mm256_##f(x_), _mm256_##f(_mm_srli_si128(x_, 8))); })
#define _mm512_cvtepi8_epi32(x) OF_8(cvtepi8_epi32, x)
#define _mm512_cvtepu8_epi32(x) OF_8(cvtepu8_epi32, x)

/* ---- AVX-512: number by number ----------------------------------------------------------------------- */

#define AS(x) ((model){ .si = (__m512i)(x) })
#define LOOP(name, given, n, part, result) \
    CALLED __m512i model_##name given { \
        model y; \
        EACH(n) y.part[i] = (result); \
        return y.si; \
    }

#define _mm512_setr_epi32(...) ((model){ .i = { __VA_ARGS__ } }.si)
#define _mm512_set_epi64(h, g, f, e, d, c, b, a) ((model){ .q = { a, b, c, d, e, f, g, h } }.si)
#define _mm512_set1_pd(x) ((__m512d)(model){ .d = { x, x, x, x, x, x, x, x } }.si)
LOOP(srlv16, (__m512i a, __m512i n), 32, h, AS(n).h[i] > 15 ? 0 : AS(a).h[i] >> AS(n).h[i])
#define _mm512_srlv_epi16 model_srlv16
LOOP(permute, (__m512i a, __m512i at, __m512i b), 16, u, AS(at).u[i] & 16 ? AS(b).u[AS(at).u[i] & 15] : AS(a).u[AS(at).u[i] & 15])
#define _mm512_permutex2var_epi32 model_permute
#define _mm512_permutex2var_ps(a, at, b) ((__m512)model_permute((__m512i)(a), at, (__m512i)(b)))
#define _mm512_permutexvar_ps(at, a) ((__m512)model_permute((__m512i)(a), at, (__m512i)(a)))
LOOP(permute16, (__m512i a, __m512i at, __m512i b), 32, h, AS(at).h[i] & 32 ? AS(b).h[AS(at).h[i] & 31] : AS(a).h[AS(at).h[i] & 31])
#define _mm512_permutex2var_epi16 model_permute16
/* Fours of words: two of a and two of b. */
LOOP(shuffle, (__m512i a, __m512i b, unsigned n), 16, u, AS(i < 8 ? a : b).u[(n >> i / 4 * 2 & 3) * 4 + (unsigned)i % 4])
#define _mm512_shuffle_i32x4 model_shuffle
#define _mm512_shuffle_f32x4(a, b, n) ((__m512)model_shuffle((__m512i)(a), (__m512i)(b), n))

/* Where a bit of the mask is 0, nothing is read or written. */
#define BIT(m, i) ((m) >> (i) & 1)
LOOP(load32, (uint64_t m, const void *p), 16, u, BIT(m, i) ? ((const uint32_t *)p)[i] : 0)
LOOP(load16, (uint64_t m, const void *p), 32, h, BIT(m, i) ? ((const uint16_t *)p)[i] : 0)
LOOP(choose, (__m512i no, uint64_t m, __m512i yes), 16, u, AS(BIT(m, i) ? yes : no).u[i])
LOOP(set8, (uint64_t m, int x), 64, b, (int8_t)(BIT(m, i) ? x : 0))
CALLED void model_store32(void *p, uint64_t m, __m512i x) {
    EACH(16) if (BIT(m, i)) memcpy((char *)p + 4 * i, &AS(x).u[i], 4);
}
#define _mm512_maskz_loadu_ps(m, p) ((__m512)model_load32(m, p))
#define _mm512_maskz_loadu_epi32 model_load32
#define _mm512_maskz_loadu_epi16 model_load16
#define _mm512_mask_storeu_epi32 model_store32
#define _mm512_mask_storeu_ps(p, m, x) model_store32(p, m, (__m512i)(x))
#define _mm512_mask_mov_ps(no, m, yes) ((__m512)model_choose((__m512i)(no), m, (__m512i)(yes)))
#define _mm512_maskz_mov_ps(m, x) _mm512_mask_mov_ps(_mm512_setzero_ps(), m, x)
#define _mm512_maskz_set1_epi8 model_set8
CALLED __mmask16 model_not_less(__m512 a, __m512 b) {
    unsigned m = 0;
    EACH(16) m |= (unsigned)!(AS(a).f[i] < AS(b).f[i]) << i;
    return (__mmask16)m;
}
#define _mm512_cmp_ps_mask(a, b, n) (assert((n) == _CMP_NLT_UQ), model_not_less(a, b))
CALLED __m512i model_compress(uint64_t m, __m512i x) {
    model y = { .u = { 0 } };
    int n = 0;
    EACH(16) if (BIT(m, i)) y.u[n++] = AS(x).u[i];
    return y.si;
}
#define _mm512_maskz_compress_ps(m, x) ((__m512)model_compress(m, (__m512i)(x)))

MODEL __m512i model_load(const void *p) {
    __m512i x;
    memcpy(&x, p, 64);
    return x;
}
MODEL void model_keep(void *p, __m512i x) { memcpy(p, &x, 64); }
#define _mm512_loadu_si512 model_load
#define _mm512_storeu_si512 model_keep
#define _mm512_loadu_ps(p) ((__m512)model_load(p))
#define _mm512_storeu_ps(p, x) model_keep(p, (__m512i)(x))

LOOP(narrow16, (__m512i x), 16, h, (uint16_t)AS(x).u[i])
LOOP(narrow8, (__m512i x), 16, b, (int8_t)AS(x).u[i])
#define _mm512_cvtepi32_epi16(x) SI(model_narrow16(x), 0)
#define _mm512_cvtepi32_epi8(x) LOWER(SI(model_narrow8(x), 0))
LOOP(scalef, (__m512 x, __m512 n), 16, f, isnan(AS(n).f[i]) ? NAN : scalbnf(AS(x).f[i], (int)floorf(AS(n).f[i])))
#define _mm512_scalef_ps(x, n) ((__m512)model_scalef(x, n))
CALLED float model_most(__m512 x) {
    model y = { .ps = x };
    for (int n = 8; n; n /= 2) EACH(n) y.f[i] = y.f[i + n] > y.f[i] ? y.f[i + n] : y.f[i];
    return y.f[0];
}
#define _mm512_reduce_max_ps model_most

/* ---- VNNI and AVX-VNNI: four products of unsigned and signed bytes --------------------------------------- */

MODEL int model_four(const uint8_t *a, const int8_t *b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3]; }
LOOP(dpbusd, (__m512i s, __m512i a, __m512i b), 16, u, AS(s).u[i] + (unsigned)model_four(AS(a).ub + 4 * i, AS(b).b + 4 * i))
#define _mm512_dpbusd_epi32 model_dpbusd
#define _mm256_dpbusd_avx_epi32(s, a, b) SI(model_dpbusd(model_twice(s), model_twice(a), model_twice(b)), 0)

/* ---- BF16: two products, the second first; numbers under 2^-126 are zeros before and after each ---------------- */

MODEL float model_flush(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x; }
MODEL float model_bf16(uint16_t x) {
    float y;
    memcpy(&y, &(uint32_t){ (uint32_t)x << 16 }, 4);
    return model_flush(y);
}
MODEL float model_add(float s, uint16_t a, uint16_t b) {
    return model_flush(fmaf(model_bf16(a), model_bf16(b), model_flush(s)));
}
LOOP(dpbf16, (__m512 s, __m512i a, __m512i b), 16, f,
     model_add(model_add(AS(s).f[i], AS(a).h[2 * i + 1], AS(b).h[2 * i + 1]), AS(a).h[2 * i], AS(b).h[2 * i]))
#define _mm512_dpbf16_ps(s, a, b) ((__m512)model_dpbf16(s, (__m512i)(a), (__m512i)(b)))
MODEL uint16_t model_to_bf16(uint32_t x) {
    if ((x & 0x7fffffff) > 0x7f800000) return (uint16_t)(x >> 16 | 64);
    if ((x & 0x7fffffff) < 0x00800000) return x >> 16 & 0x8000;
    return (uint16_t)((x + 0x7fff + (x >> 16 & 1)) >> 16);
}
LOOP(to_bf16_pairs, (__m512i high, __m512i low), 32, h, model_to_bf16(AS(i < 16 ? low : high).u[i % 16]))
#define _mm512_cvtne2ps_pbh(high, low) model_to_bf16_pairs((__m512i)(high), (__m512i)(low))

/* ---- AMX: tiles of the shapes that were loaded; outside them nothing is read or written, and registers are zeros -------- */

typedef struct {
    uint16_t bytes;
    uint8_t rows;
    union {
        uint8_t u[64];
        int8_t b[64];
        uint32_t word[16];
    } row[16];
} model_tile;
static __thread model_tile model_tiles[8];

CALLED void model_loadconfig(const void *shapes) {
    const uint8_t *p = shapes;
    memset(model_tiles, 0, sizeof model_tiles);
    EACH(8) memcpy(&model_tiles[i].bytes, p + 16 + 2 * i, 2), model_tiles[i].rows = p[48 + i];
}
CALLED void model_loadd(int t, const void *p, long apart) {
    memset(model_tiles[t].row, 0, sizeof model_tiles[t].row);
    EACH(model_tiles[t].rows) memcpy(model_tiles[t].row[i].u, (const char *)p + i * apart, model_tiles[t].bytes);
}
CALLED void model_stored(int t, void *p, long apart) {
    EACH(model_tiles[t].rows) memcpy((char *)p + i * apart, model_tiles[t].row[i].u, model_tiles[t].bytes);
}
CALLED void model_dpbsud(int sum, int a, int b) { /* signed bytes of a by unsigned ones of b */
    model_tile *s = &model_tiles[sum], *x = &model_tiles[a], *y = &model_tiles[b];
    assert(x->rows == s->rows && y->bytes == s->bytes && x->bytes == 4 * y->rows);
    for (int m = 0; m < x->rows; m++)
        for (int k = 0; k < x->bytes / 4; k++)
            EACH(s->bytes / 4) s->row[m].word[i] += (unsigned)model_four(y->row[k].u + 4 * i, x->row[m].b + 4 * k);
}
#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbsud
#define _tile_loadconfig model_loadconfig
#define _tile_release() model_loadconfig((const uint8_t[64]){ 0 })
#define _tile_zero(t) memset(model_tiles[t].row, 0, sizeof model_tiles[t].row)
#define _tile_loadd model_loadd
#define _tile_stored model_stored
#define _tile_dpbsud model_dpbsud
#define syscall(...) 0 /* Linux has room for tiles */

#endif
