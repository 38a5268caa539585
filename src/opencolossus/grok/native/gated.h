// Gated activations: GELU by tanh, or SiLU. `stride` is from row to row of gate and up.

#pragma once

#include "rows.h"

namespace {

constexpr float GELU = 2 * 0.7978845608028654f, CUBIC = 0.044715f;

struct Gate {
    Vector share, slope;  // a * share is the activation of a, slope its derivative
};

Gate gate_of(Vector a, bool silu) {
    Vector inner = silu ? a : GELU * (a + CUBIC * a * a * a);
    Vector bend = silu ? Vector{} + 1.0f : GELU * (1.0f + 3 * CUBIC * a * a);
    Vector share = inverse(1.0f + exponential(-inner));
    return {share, share + a * share * (1.0f - share) * bend};
}

template <class T>
void gated(const T *gate, const T *up, T *out, int64_t rows, int64_t width, int64_t stride,
           bool silu, int64_t threads) {
    each_row(rows, width, threads, [=](int64_t r) {
        const T *a = gate + r * stride, *u = up + r * stride;
        along(0, width, [=](int64_t i, auto n) {
            Vector x = load(a + i, n);
            store(out + r * width + i, x * gate_of(x, silu).share * load(u + i, n), n);
        });
    });
}

// `again` is the output once more, where it is wanted. Gradients have the stride of gate and up.
template <class T>
void gated_gradient(const T *gate, const T *up, const T *grad, T *grad_gate, T *grad_up, T *again,
                    int64_t rows, int64_t width, int64_t stride, bool silu, int64_t threads) {
    each_row(rows, width, threads, [=](int64_t r) {
        along(0, width, [=](int64_t i, auto n) {
            int64_t at = r * stride + i, own = r * width + i;
            Vector a = load(gate + at, n), u = load(up + at, n), g = load(grad + own, n);
            Gate bent = gate_of(a, silu);
            store(grad_gate + at, g * u * bent.slope, n);
            store(grad_up + at, g * a * bent.share, n);
            if (again) store(again + own, a * bent.share * u, n);
        });
    });
}

}  // namespace
