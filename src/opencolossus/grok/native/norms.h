// RMS norm and its gradient.

#pragma once

#include "rows.h"

namespace {

template <class T> float inverse_rms(const T *x, int64_t width, float epsilon) {
    Vector squares{};
    along(0, width, [&](int64_t i, auto n) {
        Vector v = load(x + i, n);
        squares += v * v;
    });
    return 1.0f / std::sqrt(total_of(squares) / width + epsilon);
}

template <class T>
void rms_norm(const T *x, const float *weight, T *out, int64_t rows, int64_t width, float epsilon,
              int64_t threads) {
    each_row(rows, width, threads, [=](int64_t r) {
        const T *row = x + r * width;
        float inverse = inverse_rms(row, width, epsilon);
        along(0, width, [=](int64_t i, auto n) {
            store(out + r * width + i, load(row + i, n) * inverse * load(weight + i, n), n);
        });
    });
}

// `shares` [count, width] are the weight's gradients from equal shares of the rows: how a sum is
// formed does not depend on the number of threads.
template <class T>
void rms_norm_gradient(const T *x, const float *weight, const T *grad, T *grad_x, float *shares,
                       int64_t count, int64_t rows, int64_t width, float epsilon,
                       int64_t threads) {
    each_row(count, rows * width / count, threads, [=](int64_t s) {
        float *sums = shares + s * width;
        std::fill(sums, sums + width, 0.0f);
        for (int64_t r = rows * s / count; r < rows * (s + 1) / count; r++) {
            const T *row = x + r * width, *g = grad + r * width;
            float inverse = inverse_rms(row, width, epsilon);
            Vector dots{};
            along(0, width, [&](int64_t i, auto n) {
                dots += load(row + i, n) * load(g + i, n) * load(weight + i, n);
            });
            float dot = total_of(dots) * inverse / width;
            along(0, width, [=](int64_t i, auto n) {
                Vector unit = load(row + i, n) * inverse, own = load(g + i, n);
                Vector out = inverse * (own * load(weight + i, n) - unit * dot);
                store(grad_x + r * width + i, out, n);
                store(sums + i, load(sums + i, n) + own * unit, n);
            });
        }
    });
}

}  // namespace
