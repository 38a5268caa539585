// Which experts tokens go to, by ../router.py's definition; and the way of their rows there and back.

#pragma once

#include "rows.h"

namespace {

struct Router {
    int64_t experts, top_k, width;
    const float *weight, *bias;  // [E, D], and [E] for the choice alone
    float cap;                   // of the scores, 0 for none
    bool renormalise;

    template <class T> void score(const T *x, float *scores) const {
        for (int64_t e = 0; e < experts; e++) {
            Vector dots{};
            along(0, width, [&](int64_t i, auto n) {
                dots += load(x + i, n) * load(weight + e * width + i, n);
            });
            scores[e] = total_of(dots);
        }
        if (cap <= 0) return;
        along(0, experts, [=](int64_t e, auto n) {
            store(scores + e, cap * tanh_fraction(load(scores + e, n) / cap), n);
        });
    }

    // The largest of probability and bias, one after the other; of equals the first.
    void choose(const float *probs, int64_t *chosen) const {
        for (int64_t j = 0; j < top_k; j++) {
            int64_t best = -1;
            for (int64_t e = 0; e < experts; e++)
                if (std::find(chosen, chosen + j, e) == chosen + j &&
                    (best < 0 || probs[e] + bias[e] > probs[best] + bias[best]))
                    best = e;
            chosen[j] = best;
        }
    }

    float weigh(const float *probs, const int64_t *chosen, float *gates) const {
        float whole = 0;
        for (int64_t j = 0; j < top_k; j++) whole += gates[j] = probs[chosen[j]];
        if (!renormalise) whole = 1;
        for (int64_t j = 0; j < top_k; j++) gates[j] /= whole;
        return whole;
    }

    // Gradients by the raw scores; those by the probabilities come in `slopes`.
    void bend(const float *scores, const float *probs, const int64_t *chosen,
              const float *grad_gates, float grad_lse, float *slopes) const {
        std::vector<float> gates(top_k);
        float whole = weigh(probs, chosen, gates.data()), common = 0, mean = 0;
        for (int64_t j = 0; renormalise && j < top_k; j++) common += grad_gates[j] * gates[j];
        for (int64_t j = 0; j < top_k; j++) slopes[chosen[j]] += (grad_gates[j] - common) / whole;
        for (int64_t e = 0; e < experts; e++) mean += probs[e] * slopes[e];
        for (int64_t e = 0; e < experts; e++) {
            slopes[e] = probs[e] * (slopes[e] - mean + grad_lse);
            float bent = cap > 0 ? scores[e] / cap : 0;
            slopes[e] *= 1 - bent * bent;
        }
    }
};

void soften(const float *scores, int64_t n, float *probs, float *lse) {
    float top = *std::max_element(scores, scores + n), total = 0;
    for (int64_t e = 0; e < n; e++) total += probs[e] = std::exp(scores[e] - top);
    for (int64_t e = 0; e < n; e++) probs[e] /= total;
    *lse = top + std::log(total);
}

template <class T>
void route(Router router, const T *x, float *scores, float *probs, float *lse, int64_t *chosen,
           float *gates, int64_t rows, int64_t threads) {
    int64_t E = router.experts, J = router.top_k;
    each_row(rows, router.width, threads, [=](int64_t r) {
        router.score(x + r * router.width, scores + r * E);
        soften(scores + r * E, E, probs + r * E, lse + r);
        router.choose(probs + r * E, chosen + r * J);
        router.weigh(probs + r * E, chosen + r * J, gates + r * J);
    });
}

// `shares` [count, E, D] as in norms.h; `slopes` [rows, E] comes with gradients by the
// probabilities and leaves with those by the raw scores.
template <class T>
void route_gradient(Router router, const T *x, const float *scores, const float *probs,
                    const int64_t *chosen, const float *grad_gates, const float *grad_lse,
                    float *slopes, T *grad_x, float *shares, int64_t count, int64_t rows,
                    int64_t threads) {
    int64_t E = router.experts, J = router.top_k, D = router.width;
    each_row(count, rows * D / count, threads, [=](int64_t s) {
        float *sums = shares + s * E * D;
        std::fill(sums, sums + E * D, 0.0f);
        for (int64_t r = rows * s / count; r < rows * (s + 1) / count; r++) {
            float *own = slopes + r * E;
            router.bend(scores + r * E, probs + r * E, chosen + r * J, grad_gates + r * J,
                        grad_lse[r], own);
            along(0, D, [=](int64_t i, auto n) {
                Vector number = load(x + r * D + i, n), out{};
                for (int64_t e = 0; e < E; e++) {
                    out += own[e] * load(router.weight + e * D + i, n);
                    float *sum = sums + e * D + i;
                    store(sum, load(sum, n) + own[e] * number, n);
                }
                store(grad_x + r * D + i, out, n);
            });
        }
    });
}

// A stable sort of choices by expert: whose token each row is, and which row each choice became.
// Experts may have more rows (`counts`) than choices.
void sort_choices(const int64_t *expert, const int64_t *counts, int64_t *token, int64_t *place,
                  int64_t choices, int64_t top_k, int64_t experts) {
    std::vector<int64_t> next(experts);
    for (int64_t e = 1; e < experts; e++) next[e] = next[e - 1] + counts[e - 1];
    for (int64_t i = 0; i < choices; i++) {
        place[i] = next[expert[i]]++;
        token[place[i]] = i / top_k;
    }
}

// Sums of each token's rows, weighted by its gates if there are any.
template <class T>
void gather(const T *rows, const int64_t *place, const float *gates, T *out, int64_t tokens,
            int64_t top_k, int64_t width, int64_t threads) {
    each_row(tokens, width, threads, [=](int64_t t) {
        along(0, width, [=](int64_t i, auto n) {
            Vector sum{};
            for (int64_t j = t * top_k; j < (t + 1) * top_k; j++)
                sum += load(rows + place[j] * width + i, n) * (gates ? gates[j] : 1.0f);
            store(out + t * width + i, sum, n);
        });
    });
}

template <class T>
void gather_gradient(const T *rows, const int64_t *place, const float *gates, const T *grad,
                     T *grad_rows, float *grad_gates, int64_t tokens, int64_t top_k, int64_t width,
                     int64_t threads) {
    each_row(tokens, width, threads, [=](int64_t t) {
        for (int64_t j = t * top_k; j < (t + 1) * top_k; j++) {
            int64_t at = place[j] * width;
            float gate = gates[j];
            Vector dots{};
            along(0, width, [&](int64_t i, auto n) {
                Vector g = load(grad + t * width + i, n);
                dots += load(rows + at + i, n) * g;
                store(grad_rows + at + i, g * gate, n);
            });
            grad_gates[j] = total_of(dots);
        }
    });
}

}  // namespace
