// Rows of numbers of either type, shared out among threads and read vector by vector.

#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "vectors.h"

namespace {

// Work on fewer numbers is done before a second thread has woken up.
constexpr int64_t SMALL = 1 << 14;

template <class Work> void each_row(int64_t rows, int64_t width, int64_t threads, Work work) {
#pragma omp parallel for schedule(static) num_threads(threads) if (rows * width > SMALL)
    for (int64_t r = 0; r < rows; r++) work(r);
}

// work(i, n): the n numbers from the i-th on, of which only the last call has fewer than LANES.
template <class Work> void along(int64_t from, int64_t to, Work work) {
    int64_t i = from;
    for (; i + LANES <= to; i += LANES) work(i, std::integral_constant<int64_t, LANES>{});
    if (i < to) work(i, to - i);
}

// To the nearest, ties to even; what is no number stays none.
Halves halves(Vector v) {
#if defined(__AVX512BF16__)
    return (Halves)_mm512_cvtneps_pbh((__m512)v);
#else
    Words w = (Words)v;
    w = (w + 0x7fff + ((w >> 16) & 1)) >> 16;
    w = v == v ? w : Words{} + 0x7fc0;
    return __builtin_convertvector(w, Halves);
#endif
}

void store(uint16_t *p, Vector v) {
    Halves h = halves(v);
#if defined(__AVX512F__)
    _mm256_storeu_si256((__m256i *)p, (__m256i)h);
#else
    std::memcpy(p, &h, sizeof h);
#endif
}

#if defined(__AVX512BW__) && defined(__AVX512VL__)
__mmask16 lanes(int64_t n) { return __mmask16((1u << n) - 1); }

Vector load_some(const float *p, int64_t n) {
    return (Vector)_mm512_maskz_loadu_ps(lanes(n), p);
}

Vector load_some(const uint16_t *p, int64_t n) {
    return (Vector)(widened((Halves)_mm256_maskz_loadu_epi16(lanes(n), p)) << 16);
}

void store_some(float *p, Vector v, int64_t n) { _mm512_mask_storeu_ps(p, lanes(n), (__m512)v); }

void store_some(uint16_t *p, Vector v, int64_t n) {
    _mm256_mask_storeu_epi16(p, lanes(n), (__m256i)halves(v));
}

Vector blend(Vector x, Vector rest, int64_t n) {
    return (Vector)_mm512_mask_mov_ps((__m512)rest, lanes(n), (__m512)x);
}
#else
template <class T> Vector load_some(const T *p, int64_t n) {
    T all[LANES] = {};
    std::memcpy(all, p, n * sizeof(T));
    return load(all);
}

template <class T> void store_some(T *p, Vector v, int64_t n) {
    T all[LANES];
    store(all, v);
    std::memcpy(p, all, n * sizeof(T));
}

Vector blend(Vector x, Vector rest, int64_t n) {
    for (int64_t i = n; i < LANES; i++) x[i] = rest[i];
    return x;
}
#endif

// The first n lanes; the others are 0.
template <class T> Vector load(const T *p, int64_t n) {
    return n == LANES ? load(p) : load_some(p, n);
}

template <class T> void store(T *p, Vector v, int64_t n) {
    n == LANES ? store(p, v) : store_some(p, v, n);
}

// x in the first n lanes, the rest beyond.
Vector first_lanes(Vector x, Vector rest, int64_t n) { return n == LANES ? x : blend(x, rest, n); }

// In the order that is the fastest; `sum` has one order on every machine.
float total_of(Vector v) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)v);
#else
    return sum(v);
#endif
}

// What is no number comes through.
float largest(Vector v) {
#if defined(__AVX512F__)
    __mmask16 none = _mm512_cmp_ps_mask((__m512)v, (__m512)v, _CMP_UNORD_Q);
    return none ? NAN : _mm512_reduce_max_ps((__m512)v);
#else
    float top = v[0];
    for (int i = 1; i < LANES; i++) top = v[i] > top || v[i] != v[i] ? v[i] : top;
    return top;
#endif
}

// The larger of each; an x that is no number comes through.
Vector larger(Vector x, Vector most) {
#if defined(__AVX512F__)
    return (Vector)_mm512_max_ps((__m512)most, (__m512)x);  // gives x where either is none
#else
    return x < most ? most : x;
#endif
}

// 1 / x: an estimate to 14 bits and a step of Newton's method take a third of a division.
Vector inverse(Vector x) {
#if defined(__AVX512F__)
    Vector found = (Vector)_mm512_rcp14_ps((__m512)x);
    return found * (2.0f - x * found);
#else
    return 1.0f / x;
#endif
}

// As `tanh` of ../kernels.py: Lambert's fraction, clamped to 1. What is infinite becomes no number,
// which a guard outside looks for.
Vector tanh_fraction(Vector x) {
    Vector y = x * x;
    Vector top =
        x * (34459425.0f + y * (4729725.0f + y * (135135.0f + y * (990.0f + y))));
    Vector bottom =
        34459425.0f + y * (16216200.0f + y * (945945.0f + y * (13860.0f + y * 45.0f)));
    return clamped(top * inverse(bottom), -1.0f, 1.0f);
}

template <class T>
void add_into(const T *part, float *sums, int64_t rows, int64_t width, int64_t threads) {
    each_row(rows, width, threads, [=](int64_t r) {
        along(r * width, (r + 1) * width, [=](int64_t i, auto n) {
            store(sums + i, load(sums + i, n) + load(part + i, n), n);
        });
    });
}

}  // namespace
