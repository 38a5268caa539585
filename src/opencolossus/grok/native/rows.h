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

// The first n lanes; the others are 0.
template <class T> Vector load(const T *p, int64_t n) {
    if (n == LANES) return load(p);
    T all[LANES] = {};
    std::memcpy(all, p, n * sizeof(T));
    return load(all);
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
    std::memcpy(p, &h, sizeof h);
}

template <class T> void store(T *p, Vector v, int64_t n) {
    if (n == LANES) return store(p, v);
    T all[LANES];
    store(all, v);
    std::memcpy(p, all, n * sizeof(T));
}

// x in the first n lanes, the rest beyond.
Vector first_lanes(Vector x, Vector rest, int64_t n) {
    if (n == LANES) return x;
    for (int64_t i = n; i < LANES; i++) x[i] = rest[i];
    return x;
}

// In the order that is the fastest; `sum` has one order on every machine.
float total_of(Vector v) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)v);
#else
    return sum(v);
#endif
}

float largest(Vector v) {
    float top = v[0];
    for (int i = 1; i < LANES; i++) top = v[i] > top || v[i] != v[i] ? v[i] : top;
    return top;
}

// As `tanh` of ../kernels.py: Lambert's fraction, clamped to 1.
Vector tanh_fraction(Vector x) {
    Vector y = x * x;
    Vector top =
        x * (34459425.0f + y * (4729725.0f + y * (135135.0f + y * (990.0f + y))));
    Vector bottom =
        34459425.0f + y * (16216200.0f + y * (945945.0f + y * (13860.0f + y * 45.0f)));
    Vector z = top / bottom;
    z = z > 1.0f ? Vector{} + 1.0f : z;
    return z < -1.0f ? Vector{} - 1.0f : z;
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
