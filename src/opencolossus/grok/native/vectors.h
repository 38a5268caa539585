// Vectors as wide as the machine's, and the functions of them that the network needs.

#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16, TILE = 6;
#elif defined(__AVX2__)
constexpr int LANES = 8, TILE = 2;
#else
constexpr int LANES = 4, TILE = 6;
#endif
constexpr int PANEL = 4 * LANES;
constexpr float HIDDEN = -1e30f;

typedef float Vector __attribute__((vector_size(LANES * 4), aligned(4)));
typedef int32_t Integers __attribute__((vector_size(LANES * 4), aligned(4)));
typedef uint32_t Words __attribute__((vector_size(LANES * 4), aligned(4)));
typedef uint16_t Halves __attribute__((vector_size(LANES * 2), aligned(2)));

namespace {

int64_t rounded(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

Words widened(Halves h) {
#if defined(__AVX512F__)
    return (Words)_mm512_cvtepu16_epi32((__m256i)h);  // GCC 12 goes through memory on its own
#else
    return __builtin_convertvector(h, Words);
#endif
}

// GCC tuned for many of Intel's chips copies 64 bytes in two halves by way of the stack.
Vector load(const float *p) {
#if defined(__AVX512F__)
    return (Vector)_mm512_loadu_ps(p);
#else
    Vector v;
    std::memcpy(&v, p, sizeof v);
    return v;
#endif
}

Vector load(const uint16_t *p) {
#if defined(__AVX512F__)
    Halves h = (Halves)_mm256_loadu_si256((const __m256i *)p);
#else
    Halves h;
    std::memcpy(&h, p, sizeof h);
#endif
    return (Vector)(widened(h) << 16);
}

void store(float *p, Vector v) {
#if defined(__AVX512F__)
    _mm512_storeu_ps(p, (__m512)v);
#else
    std::memcpy(p, &v, sizeof v);
#endif
}

float widen(uint16_t h) {
    uint32_t w = uint32_t(h) << 16;
    float f;
    std::memcpy(&f, &w, sizeof f);
    return f;
}

// No number stays no number.
Vector clamped(Vector x, float low, float high) {
#if defined(__AVX512F__)
    __m512 above = _mm512_max_ps(_mm512_set1_ps(low), (__m512)x);
    return (Vector)_mm512_min_ps(_mm512_set1_ps(high), above);
#else
    x = x < low ? Vector{} + low : x;
    return x > high ? Vector{} + high : x;
#endif
}

// x 2^n for whole numbers n.
Vector scaled(Vector x, Vector n) {
#if defined(__AVX512F__)
    return (Vector)_mm512_scalef_ps((__m512)x, (__m512)n);
#else
    Integers power = (__builtin_convertvector(n, Integers) + 127) << 23;
    return x * (Vector)power;
#endif
}

// exp(x) = 2^n exp(r), |r| <= ln(2) / 2, exp(r) by its series to the seventh power: 2e-7 relative.
Vector exponential(Vector x) {
    x = clamped(x, -87.0f, 88.0f);
    Vector n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;  // rounded to whole numbers
    Vector r = x - n * 0.693145752f - n * 1.42860677e-6f;
    Vector p = r * (1.0f / 5040) + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return scaled(p, n);
}

Vector tanh_of(Vector x) { return 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f); }

Vector activated(Vector x, int64_t kind) {
    if (kind == 2) return x > 0.0f ? x : Vector{};
    Vector inner = kind == 1 ? x : 1.5957691216f * (x + 0.044715f * x * x * x);
    return x / (1.0f + exponential(-inner));  // SiLU, or GELU by tanh: both are x * sigmoid(inner)
}

void cap(float *x, int64_t n, float limit) {  // n rounded up to LANES may be written
    for (int64_t i = 0; i < n; i += LANES) store(x + i, limit * tanh_of(load(x + i) / limit));
}

float sum(Vector v) {
    float total = 0;
    for (int i = 0; i < LANES; i++) total += v[i];
    return total;
}

}  // namespace
