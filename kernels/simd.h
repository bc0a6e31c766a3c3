// Sixteen float lanes in the compiler's vector extension: one source for AVX-512, AVX2, SSE and NEON.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#define INLINE inline __attribute__((always_inline))

constexpr int LANES = 16;
typedef float Floats __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t Ints __attribute__((vector_size(LANES * sizeof(int32_t))));

INLINE Floats splat(float x) { return Floats{} + x; }
INLINE Floats lane_numbers() { return Floats{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; }
INLINE Floats load(const float* p) { Floats v; std::memcpy(&v, p, sizeof v); return v; }
INLINE void store(float* p, Floats v) { std::memcpy(p, &v, sizeof v); }
// The first `count` lanes of a vector, all of them where there are more; the others load as 0 and are not stored.
INLINE Floats load_some(const float* p, int64_t count) {
    if (count >= LANES) return load(p);
    float lanes[LANES] = {};
    std::memcpy(lanes, p, count * sizeof(float));
    return load(lanes);
}
INLINE void store_some(float* p, Floats v, int64_t count) {
    if (count >= LANES) return store(p, v);
    float lanes[LANES];
    store(lanes, v);
    std::memcpy(p, lanes, count * sizeof(float));
}
// Comparisons of vectors give -1 or 0 a lane; select takes such a mask.
INLINE Floats select(Ints mask, Floats yes, Floats no) { return mask ? yes : no; }
INLINE Floats absolute(Floats a) { return a < 0.0f ? -a : a; }

INLINE Ints bits(Floats v) { Ints i; std::memcpy(&i, &v, sizeof i); return i; }
INLINE Floats from_bits(Ints i) { Floats v; std::memcpy(&v, &i, sizeof v); return v; }

// Mask: one bit a lane where the hardware has mask registers, which compilers do not reach from vector comparisons.
#if defined(__AVX512F__)
typedef __mmask16 Mask;
INLINE Mask at_least(Floats a, Floats b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GE_OQ); }
INLINE Mask below(Floats a, Floats b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ); }
INLINE Floats choose(Mask mask, Floats yes, Floats no) { return (Floats)_mm512_mask_blend_ps(mask, (__m512)no, (__m512)yes); }
INLINE Floats where(Mask mask, Floats yes) { return (Floats)_mm512_maskz_mov_ps(mask, (__m512)yes); }
INLINE Floats minimum(Floats a, Floats b) { return (Floats)_mm512_min_ps((__m512)a, (__m512)b); }
INLINE Floats maximum(Floats a, Floats b) { return (Floats)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE bool any_lane(Mask mask) { return mask != 0; }
INLINE bool any(Ints mask) { return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0; }
#else
typedef Ints Mask;
INLINE Mask at_least(Floats a, Floats b) { return a >= b; }
INLINE Mask below(Floats a, Floats b) { return a < b; }
INLINE Floats choose(Mask mask, Floats yes, Floats no) { return mask ? yes : no; }
INLINE Floats where(Mask mask, Floats yes) { return from_bits(mask & bits(yes)); }
INLINE Floats minimum(Floats a, Floats b) { return a < b ? a : b; }
INLINE Floats maximum(Floats a, Floats b) { return a > b ? a : b; }
INLINE bool any(Ints mask) {
    typedef int64_t Longs __attribute__((vector_size(64)));
    Longs m;
    std::memcpy(&m, &mask, sizeof m);
    return ((m[0] | m[1]) | (m[2] | m[3]) | (m[4] | m[5]) | (m[6] | m[7])) != 0;
}
INLINE bool any_lane(Mask mask) { return any(mask); }
#endif

// One bit a lane.
INLINE uint32_t lanes(Mask mask) {
#if defined(__AVX512F__)
    return mask;
#else
    mask &= Ints{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
    typedef int32_t Half __attribute__((vector_size(32)));
    typedef int32_t Quarter __attribute__((vector_size(16)));
    Half low, high;
    std::memcpy(&low, &mask, 32);
    std::memcpy(&high, reinterpret_cast<const char*>(&mask) + 32, 32);
    low |= high;
    Quarter a, b;
    std::memcpy(&a, &low, 16);
    std::memcpy(&b, reinterpret_cast<const char*>(&low) + 16, 16);
    a |= b;
    return (a[0] | a[1]) | (a[2] | a[3]);
#endif
}

INLINE float least(Floats v) {
    typedef float Half __attribute__((vector_size(32)));
    typedef float Quarter __attribute__((vector_size(16)));
    Half low, high;
    std::memcpy(&low, &v, 32);
    std::memcpy(&high, reinterpret_cast<const char*>(&v) + 32, 32);
    low = low < high ? low : high;
    Quarter a, b;
    std::memcpy(&a, &low, 16);
    std::memcpy(&b, reinterpret_cast<const char*>(&low) + 16, 16);
    a = a < b ? a : b;
    const float one = a[0] < a[2] ? a[0] : a[2], two = a[1] < a[3] ? a[1] : a[3];
    return one < two ? one : two;
}

INLINE float sum(Floats v) {
    typedef float Half __attribute__((vector_size(32)));
    typedef float Quarter __attribute__((vector_size(16)));
    Half low, high;
    std::memcpy(&low, &v, 32);
    std::memcpy(&high, reinterpret_cast<const char*>(&v) + 32, 32);
    low += high;
    Quarter a, b;
    std::memcpy(&a, &low, 16);
    std::memcpy(&b, reinterpret_cast<const char*>(&low) + 16, 16);
    a += b;
    return (a[0] + a[2]) + (a[1] + a[3]);
}

// 2^x for x in [-125, 127], any value outside: the integer part goes straight into the exponent of a degree-6 minimax
// polynomial on [-1/2, 1/2] (relative error 2e-9 before rounding).
INLINE Floats exp2_poly(Floats x) {
    const Floats magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to the nearest integer
    const Floats shifted = x + magic;
    const Floats f = x - (shifted - magic);
    Floats p = splat(1.53458121e-4f);
    p = p * f + 1.339993127e-3f;
    p = p * f + 9.618488957e-3f;
    p = p * f + 5.550328777e-2f;
    p = p * f + 2.402264689e-1f;
    p = p * f + 6.931472057e-1f;
    p = p * f + 1.0f;
    return from_bits(bits(p) + (bits(shifted) << 23));
}

INLINE Floats square_root(Floats v) {
    float lanes[LANES];
    store(lanes, v);
    for (int i = 0; i < LANES; ++i) lanes[i] = std::sqrt(lanes[i]);
    return load(lanes);
}

// e^x to about 2 units of rounding on the whole float range: the multiple of ln 2 is taken off in two parts, so large
// |x| lose nothing; below -87 the result is flushed towards 0, above 88.7 it is infinite.
INLINE Floats exponential(Floats x) {
    Floats clamped = minimum(maximum(x, splat(-87.0f)), splat(88.7f));
    const Floats magic = splat(12582912.0f);
    Floats n = (clamped * 1.44269504f + magic) - magic;
    Floats r = clamped - n * 0.693145751953125f;
    r = r - n * 1.42860682030941723212e-6f;
    Floats p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    // Two multiplications, since 2^128 itself is not a float.
    Ints half = __builtin_convertvector(n, Ints) >> 1, rest = __builtin_convertvector(n, Ints) - half;
    Ints low = (half << 23) + (127 << 23), high = (rest << 23) + (127 << 23);
    Floats a, b;
    std::memcpy(&a, &low, sizeof a);
    std::memcpy(&b, &high, sizeof b);
    Floats result = p * a * b;
    result = select(x > 88.72f, splat(INFINITY), result);
    return select(x < -87.0f, splat(0), select(x == x, result, x));
}

// Natural logarithm of normal positive floats (no zero, infinity or denormals) to about 2 units of rounding: x is
// m 2^e with m in [1/sqrt 2, sqrt 2), and log m a polynomial in m - 1.
INLINE Floats logarithm(Floats x) {
    const Ints shifted = bits(x) - 0x3f3504f3;  // the bits of 1/sqrt 2
    const Floats e = __builtin_convertvector(shifted >> 23, Floats);
    const Floats f = from_bits((shifted & 0x007fffff) + 0x3f3504f3) - 1.0f, f2 = f * f;
    Floats p = splat(7.0376836292e-2f);
    p = p * f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    p = p * f * f2 - 2.12194440e-4f * e - 0.5f * f2;
    return (f + p) + 0.693359375f * e;
}
