// Softmax of raw products: of a row of logits, and of a block of attention.

#pragma once

#include "rows.h"

namespace {

// The gradient but for the target's own logit takes the place of the logits; `lse` is the log of
// the sum of exponentials.
template <class T>
void cross_entropy_rows(T *logits, const float *counts, float *lse, int64_t rows, int64_t width,
                        float multiplier, float cap, int64_t threads) {
    each_row(rows, width, threads, [=](int64_t r) {
        thread_local std::vector<float> kept;
        kept.resize(width);
        T *row = logits + r * width;
        float *weights = kept.data();
        Vector most = Vector{} - INFINITY;
        along(0, width, [&](int64_t i, auto n) {
            Vector x = load(row + i, n) * multiplier;
            if (cap > 0) x = cap * tanh_fraction(x / cap);
            most = first_lanes(larger(x, most), most, n);
            store(weights + i, x, n);
        });
        float top = largest(most);
        Vector sums{};
        along(0, width, [&](int64_t i, auto n) {
            Vector weight = exponential(load(weights + i, n) - top);
            sums += first_lanes(weight, Vector{}, n);
            store(weights + i, weight, n);
        });
        float total = total_of(sums), factor = multiplier * counts[r] / total;
        along(0, width, [&](int64_t i, auto n) {
            Vector out = load(weights + i, n) * factor;
            if (cap > 0) {
                Vector bent = tanh_fraction(load(row + i, n) * multiplier / cap);
                out *= 1.0f - bent * bent;
            }
            store(row + i, out, n);
        });
        lse[r] = top + std::log(total);
    });
}

struct Scoring {
    float scale, cap;

    // Scores of the products, and their slope by them.
    Vector score(Vector products, Vector &slope) const {
        slope = Vector{} + scale;
        if (cap <= 0) return products * scale;
        Vector bent = tanh_fraction(products * (scale / cap));
        slope = scale * (1.0f - bent * bent);
        return cap * bent;
    }
};

// Weights of the keys that a query sees before they are divided by their sum, this sum, and the
// log of the whole.
template <class From, class To>
void soften_row(const From *products, int64_t from, int64_t to, Scoring scoring, To *weights,
                float *total, float *lse) {
    Vector slope;
    // The exponential of a capped score fits as it is; the largest need not be known first.
    float top = 0;
    if (scoring.cap <= 0 || scoring.cap > 60) {
        Vector most = Vector{} - INFINITY;
        along(from, to, [&](int64_t i, auto n) {
            Vector x = scoring.score(load(products + i, n), slope);
            most = first_lanes(larger(x, most), most, n);
        });
        top = largest(most);
    }
    Vector sums{};
    along(from, to, [&](int64_t i, auto n) {
        Vector weight = exponential(scoring.score(load(products + i, n), slope) - top);
        sums += first_lanes(weight, Vector{}, n);
        store(weights + i, weight, n);
    });
    *total = total_of(sums);
    *lse = top + std::log(*total);
}

struct Block {
    int64_t heads, queries, keys;  // query r is token keys - queries + r
    const int32_t *first;          // [heads, queries]: the first key that each sees
    Scoring scoring;

    int64_t begin(int64_t row) const { return first[row]; }
    int64_t end(int64_t row) const { return keys - queries + row % queries + 1; }
};

template <class T> void zero_outside(T *row, int64_t from, int64_t to, int64_t all) {
    std::memset(row, 0, from * sizeof(T));
    std::memset(row + to, 0, (all - to) * sizeof(T));
}

template <class T>
void softmax_block(const T *products, Block block, T *weights, float *totals, float *lse,
                   int64_t threads) {
    each_row(block.heads * block.queries, block.keys, threads, [=](int64_t r) {
        T *out = weights + r * block.keys;
        int64_t from = block.begin(r), to = block.end(r);
        soften_row(products + r * block.keys, from, to, block.scoring, out, totals + r, lse + r);
        zero_outside(out, from, to, block.keys);
    });
}

// The weights once more, and the gradient by the raw products.
template <class T>
void softmax_block_gradient(const T *products, Block block, const float *lse,
                            const T *grad_weights, const float *dots, T *weights, T *grad,
                            int64_t threads) {
    each_row(block.heads * block.queries, block.keys, threads, [=](int64_t r) {
        int64_t at = r * block.keys, from = block.begin(r), to = block.end(r);
        float whole = lse[r], dot = dots[r];
        along(from, to, [=](int64_t i, auto n) {
            Vector slope;
            Vector weight = exponential(block.scoring.score(load(products + at + i, n), slope) - whole);
            store(weights + at + i, weight, n);
            store(grad + at + i, weight * (load(grad_weights + at + i, n) - dot) * slope, n);
        });
        zero_outside(weights + at, from, to, block.keys);
        zero_outside(grad + at, from, to, block.keys);
    });
}

}  // namespace
