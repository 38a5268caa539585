// The functions of ../kernels.py that are worth it, each in one pass; those are their definition.
// fp32 inside. Every name comes with `_32` for fp32 outside, and with `_16` for bf16.

#include "attention_gradient.h"
#include "gated.h"
#include "norms.h"
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
    }

EXPORT(float, 32)
EXPORT(uint16_t, 16)

#if defined(__AVX512BF16__)
// `steps` are from row to row of the batch, head to head and token to token, for every tensor.
static Heads heads_at(uint16_t *x, const int64_t *steps) {
    return {x, steps[0], steps[1], steps[2]};
}

extern "C" void attention(const int64_t *sizes, const int32_t *first, float *lse, uint16_t **at,
                          const int64_t (*steps)[3], int64_t threads, float scale, float cap) {
    Job job{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], first, lse, {scale, cap}};
    Heads *tensors[] = {&job.q,    &job.k,      &job.v,      &job.out,
                        &job.grad, &job.grad_q, &job.grad_k, &job.grad_v};
    for (int64_t i = 0; i < sizes[5]; i++) *tensors[i] = heads_at(at[i], steps[i]);
    bool backward = sizes[5] > 4;
    each_row(job.batch * job.kv_heads, job.tokens * job.size, threads, [&](int64_t item) {
        if (backward)
            Backward(job, item).run();
        else
            Forward(job, item).run();
    });
}
#endif
