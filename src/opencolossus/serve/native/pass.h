// What one pass is given, and what all of its parts need.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "products.h"

extern "C" {

struct Layer {
    const float *norms[4];  // before and after attention, before and after the feed-forward
    Matrix qkv, output, router, first, second, dense_first, dense_second, shared_first, shared_second;
    const float *router_bias;
    float *keys;    // [slots][kv_heads][head_size][capacity, rounded up to PANEL]
    float *values;  // [slots][kv_heads][capacity][head_size, rounded up to PANEL]
};

struct Network {
    int64_t layers, width, heads, kv_heads, head_size, capacity, experts, chosen, activation;
    int64_t renormalise, threads;
    float epsilon, scale, softcap, router_softcap, embedding_multiplier, output_multiplier,
        logit_softcap;
    const float *cosines, *sines;  // [capacity][head_size / 2]
    const float *temperatures;     // [capacity] or null
    const void *embedding;         // [vocabulary][width]
    int64_t embedding_bf16;
    const float *norm;
    Matrix head;
    const Layer *layer;
};

int64_t panel_width() { return PANEL; }
}

namespace {

void rms(const float *x, float *y, const float *weight, int64_t width, float epsilon) {
    Vector squares{};
    for (int64_t i = 0; i < width; i += LANES) squares += load(x + i) * load(x + i);
    float factor = 1.0f / std::sqrt(sum(squares) / width + epsilon);
    for (int64_t i = 0; i < width; i++) y[i] = x[i] * factor * weight[i];
}

// Softmax of n numbers, in place; they are padded to LANES with HIDDEN.
void soften(float *x, int64_t n) {
    float most = x[0];
    for (int64_t i = 1; i < n; i++) most = std::max(most, x[i]);
    Vector total{};
    for (int64_t i = 0; i < n; i += LANES) {
        Vector e = exponential(load(x + i) - most);
        store(x + i, e);
        total += e;
    }
    float factor = 1.0f / sum(total);
    for (int64_t i = 0; i < n; i++) x[i] *= factor;
}

struct Pass {
    const Network &net;
    int64_t rows;
    const int32_t *positions, *slots;
    int64_t span, head_stride;

    Pass(const Network &n, int64_t rows, const int32_t *positions, const int32_t *slots)
        : net(n), rows(rows), positions(positions), slots(slots),
          span(rounded(n.capacity, PANEL)), head_stride(rounded(n.head_size, PANEL)) {}

    template <class F> void each_row(F work) {
#pragma omp parallel for schedule(static) num_threads(net.threads) if (rows > 3 && net.threads > 1)
        for (int64_t r = 0; r < rows; r++) work(r);
    }

    void add(Rows &x, Rows &more, float factor) {
        each_row([&](int64_t r) {
            for (int64_t i = 0; i < net.width; i++) x[r][i] = (x[r][i] + more[r][i]) * factor;
        });
    }

    void normed(Rows &x, Rows &y, const float *weight) {
        each_row([&](int64_t r) {
            if (weight) rms(x[r], y[r], weight, net.width, net.epsilon);
            else std::memcpy(y[r], x[r], net.width * sizeof(float));
        });
    }
};

}  // namespace
