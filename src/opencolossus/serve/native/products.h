// Products of rows with packed matrices. Sums run over the inputs one after the other, and lanes of
// a vector are different outputs, so that a row's numbers do not depend on what rows are beside it.
//
// Matrices are packed into panels: [panels][inputs][PANEL outputs], fp32 or bf16; sums are fp32.

#pragma once

#include <algorithm>
#include <vector>

#include "vectors.h"

struct Matrix {
    const void *weights;  // null where the model has no such matrix
    int64_t inputs, panels;
    int64_t bf16;
};

namespace {

// Rows of activations; each row begins at a multiple of LANES and is padded with zeros.
struct Rows {
    int64_t stride;
    std::vector<float> data;
    Rows(int64_t rows, int64_t width) : stride(rounded(width, PANEL)), data(rows * stride) {}
    float *operator[](int64_t row) { return data.data() + row * stride; }
};

// y[column...] = sum over k of x[k] w[k], for R rows and PANEL outputs; `stride` from k to k + 1.
template <int R, class W>
void tile(const float *const *x, float *const *y, const W *w, int64_t stride, int64_t inputs,
          int64_t column) {
    Vector sums[R][4] = {};
    for (int64_t k = 0; k < inputs; k++, w += stride) {
        Vector w0 = load(w), w1 = load(w + LANES), w2 = load(w + 2 * LANES), w3 = load(w + 3 * LANES);
        for (int r = 0; r < R; r++) {
            float factor = x[r][k];
            sums[r][0] += w0 * factor;
            sums[r][1] += w1 * factor;
            sums[r][2] += w2 * factor;
            sums[r][3] += w3 * factor;
        }
    }
    for (int r = 0; r < R; r++)
        for (int i = 0; i < 4; i++) store(y[r] + column + i * LANES, sums[r][i]);
}

template <int R = TILE, class W>
void tiles(const float *const *x, float *const *y, int64_t rows, const W *w, int64_t stride,
           int64_t inputs, int64_t column) {
    for (; rows >= R; rows -= R, x += R, y += R) tile<R, W>(x, y, w, stride, inputs, column);
    if constexpr (R > 1) tiles<R - 1, W>(x, y, rows, w, stride, inputs, column);
}

struct Group {  // rows that go through the same matrix
    int64_t matrix, first, count;
};

// y = x W for every row, groups of rows by one of several matrices of the same shape each.
void product(const Matrix &m, const std::vector<Group> &groups, const std::vector<const float *> &x,
             const std::vector<float *> &y, int64_t threads) {
    int64_t tasks = groups.size() * m.panels, size = m.inputs * PANEL;
    int64_t work = tasks * size * int64_t(x.size()) / std::max<int64_t>(groups.size(), 1);
#pragma omp parallel for schedule(static) num_threads(threads) if (work > 200000 && threads > 1)
    for (int64_t task = 0; task < tasks; task++) {
        const Group &g = groups[task / m.panels];
        int64_t panel = task % m.panels, offset = (g.matrix * m.panels + panel) * size;
        auto run = [&](auto *w) {
            tiles(&x[g.first], &y[g.first], g.count, w + offset, PANEL, m.inputs, panel * PANEL);
        };
        if (m.bf16) run(static_cast<const uint16_t *>(m.weights));
        else run(static_cast<const float *>(m.weights));
    }
}

void product(const Matrix &m, Rows &x, Rows &y, int64_t rows, int64_t threads) {
    std::vector<const float *> from(rows);
    std::vector<float *> to(rows);
    for (int64_t r = 0; r < rows; r++) from[r] = x[r], to[r] = y[r];
    product(m, {{0, 0, rows}}, from, to, threads);
}

}  // namespace
