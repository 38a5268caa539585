// The functions of ../kernels.py that are worth it, each in one pass; those are their definition.
// fp32 inside. Every name comes with `_32` for fp32 outside, and with `_16` for bf16.

#include "attention_gradient.h"
#include "gated.h"
#include "norms.h"
#include "routing.h"
#include "softmax.h"

#define EXPORT(T, BITS)                                                                            \
    extern "C" void gated_##BITS(const T *gate, const T *up, T *out, int64_t rows, int64_t width,  \
                                 int64_t stride, int64_t silu, int64_t threads) {                  \
        gated(gate, up, out, rows, width, stride, silu, threads);                                  \
    }                                                                                              \
    extern "C" void gated_gradient_##BITS(const T *gate, const T *up, const T *grad, T *grad_gate, \
                                          T *grad_up, T *again, int64_t rows, int64_t width,       \
                                          int64_t stride, int64_t silu, int64_t threads) {         \
        gated_gradient(gate, up, grad, grad_gate, grad_up, again, rows, width, stride, silu,       \
                       threads);                                                                   \
    }                                                                                              \
    extern "C" void rms_norm_##BITS(const T *x, const float *weight, T *out, int64_t rows,         \
                                    int64_t width, int64_t threads, float epsilon) {               \
        rms_norm(x, weight, out, rows, width, epsilon, threads);                                   \
    }                                                                                              \
    extern "C" void rms_norm_gradient_##BITS(const T *x, const float *weight, const T *grad,       \
                                             T *grad_x, float *shares, int64_t count,              \
                                             int64_t rows, int64_t width, int64_t threads,         \
                                             float epsilon) {                                      \
        rms_norm_gradient(x, weight, grad, grad_x, shares, count, rows, width, epsilon, threads);  \
    }                                                                                              \
    extern "C" void cross_entropy_rows_##BITS(T *logits, const float *counts, float *lse,          \
                                              int64_t rows, int64_t width, int64_t threads,        \
                                              float multiplier, float cap) {                       \
        cross_entropy_rows(logits, counts, lse, rows, width, multiplier, cap, threads);            \
    }                                                                                              \
    extern "C" void softmax_block_##BITS(const T *products, const int32_t *first, T *weights,      \
                                         float *totals, float *lse, int64_t heads,                 \
                                         int64_t queries, int64_t keys, int64_t threads,           \
                                         float scale, float cap) {                                 \
        Block block{heads, queries, keys, first, {scale, cap}};                                      \
        softmax_block(products, block, weights, totals, lse, threads);                             \
    }                                                                                              \
    extern "C" void softmax_block_gradient_##BITS(                                                 \
        const T *products, const int32_t *first, const float *lse, const T *grad_weights,          \
        const float *dots, T *weights, T *grad, int64_t heads, int64_t queries, int64_t keys,      \
        int64_t threads, float scale, float cap) {                                                 \
        Block block{heads, queries, keys, first, {scale, cap}};                                      \
        softmax_block_gradient(products, block, lse, grad_weights, dots, weights, grad, threads);  \
    }                                                                                              \
    extern "C" void add_into_##BITS(const T *part, float *sums, int64_t rows, int64_t width,       \
                                    int64_t threads) {                                             \
        add_into(part, sums, rows, width, threads);                                                \
    }                                                                                              \
    extern "C" void gather_##BITS(const T *rows, const int64_t *place, const float *gates, T *out, \
                                  int64_t tokens, int64_t top_k, int64_t width,                    \
                                  int64_t threads) {                                               \
        gather(rows, place, gates, out, tokens, top_k, width, threads);                            \
    }                                                                                              \
    extern "C" void gather_gradient_##BITS(                                                        \
        const T *rows, const int64_t *place, const float *gates, const T *grad, T *grad_rows,      \
        float *grad_gates, int64_t tokens, int64_t top_k, int64_t width, int64_t threads) {        \
        gather_gradient(rows, place, gates, grad, grad_rows, grad_gates, tokens, top_k, width,     \
                        threads);                                                                  \
    }                                                                                              \
    extern "C" void route_##BITS(const T *x, const float *weight, const float *bias,               \
                                 float *scores, float *probs, float *lse, int64_t *chosen,         \
                                 float *gates, int64_t rows, int64_t width, int64_t experts,       \
                                 int64_t top_k, int64_t renormalise, int64_t threads, float cap) { \
        Router router{experts, top_k, width, weight, bias, cap, renormalise != 0};                 \
        route(router, x, scores, probs, lse, chosen, gates, rows, threads);                        \
    }                                                                                              \
    extern "C" void route_gradient_##BITS(                                                         \
        const T *x, const float *weight, const float *scores, const float *probs,                  \
        const int64_t *chosen, const float *grad_gates, const float *grad_lse, float *slopes,      \
        T *grad_x, float *shares, int64_t count, int64_t rows, int64_t width, int64_t experts,     \
        int64_t top_k, int64_t renormalise, int64_t threads, float cap) {                          \
        Router router{experts, top_k, width, weight, nullptr, cap, renormalise != 0};              \
        route_gradient(router, x, scores, probs, chosen, grad_gates, grad_lse, slopes, grad_x,     \
                       shares, count, rows, threads);                                              \
    }

EXPORT(float, 32)
EXPORT(uint16_t, 16)

extern "C" void sort_choices_64(const int64_t *expert, const int64_t *counts, int64_t *token,
                                int64_t *place, int64_t choices, int64_t top_k, int64_t experts,
                                int64_t) {
    sort_choices(expert, counts, token, place, choices, top_k, experts);
}

extern "C" void side_by_side(void (*work)(int64_t), int64_t count, int64_t threads) {
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t i = 0; i < count; i++) work(i);
}

#if defined(__AVX512BF16__)
// `x` [B, T, H + 2 N, K] holds the heads of queries, of keys and of values side by side, and so does
// `grad_x`; `y` and `grad_y` [B, T, H, K] are what comes out. Without gradients it goes forward.
extern "C" void attention(const int64_t *sizes, uint16_t *x, uint16_t *y, uint16_t *grad_y,
                          uint16_t *grad_x, const int32_t *first, float *lse, const float *cos,
                          const float *sin, int64_t turns, int64_t threads, float scale,
                          float cap) {
    int64_t batch = sizes[0], heads = sizes[1], kv = sizes[2], tokens = sizes[3], size = sizes[4];
    int64_t wide = (heads + 2 * kv) * size, narrow = heads * size;
    auto at = [=](uint16_t *p, int64_t head, int64_t token) {
        return Heads{p ? p + head * size : p, tokens * token, size, token};
    };
    bool on_tiles = size % (2 * SIDE) == 0 && matrix_units();
    Job job{batch, heads, kv, tokens, size, first, lse, {scale, cap}, {cos, sin, turns}, on_tiles};
    job.q = at(x, 0, wide), job.k = at(x, heads, wide), job.v = at(x, heads + kv, wide);
    job.grad_q = at(grad_x, 0, wide), job.grad_k = at(grad_x, heads, wide);
    job.grad_v = at(grad_x, heads + kv, wide);
    job.out = at(y, 0, narrow), job.grad = at(grad_y, 0, narrow);
    each_row(batch * kv, tokens * size, threads, [&](int64_t item) {
        Tiles tiles(job.wide);
        if (grad_y)
            Backward(job, item).run();
        else
            Forward(job, item).run();
    });
}
#endif
