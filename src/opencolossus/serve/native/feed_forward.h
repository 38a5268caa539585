// Dense networks, and mixtures of experts: rows that chose the same expert go through it together.

#pragma once

#include "attention.h"

namespace {

void gate(float *x, int64_t inner, int64_t kind) {  // [gates, padded | ups, padded], in place
    int64_t half = rounded(inner, PANEL);
    for (int64_t i = 0; i < inner; i += LANES)
        store(x + i, activated(load(x + i), kind) * load(x + half + i));
}

struct FeedForward : Attention {
    using Attention::Attention;

    void route(const Layer &layer, float *logits, int32_t *experts, float *gates) {
        int64_t E = net.experts, J = net.chosen;
        if (net.router_softcap > 0) cap(logits, E, net.router_softcap);
        std::fill(logits + E, logits + rounded(E, LANES), HIDDEN);
        soften(logits, E);
        std::vector<char> taken(E);
        float total = 0;
        for (int64_t j = 0; j < J; j++) {
            int64_t best = -1;
            float most = 0;
            for (int64_t e = 0; e < E; e++) {
                float worth = logits[e] + layer.router_bias[e];
                if (!taken[e] && (best < 0 || worth > most)) best = e, most = worth;
            }
            taken[best] = 1;
            experts[j] = best;
            total += gates[j] = logits[best];
        }
        if (net.renormalise)
            for (int64_t j = 0; j < J; j++) gates[j] /= total;
    }

    void experts(const Layer &layer, Rows &x, Rows &out) {
        int64_t J = net.chosen, inner = layer.second.inputs;
        Rows logits(rows, net.experts);
        product(layer.router, x, logits, rows, net.threads);
        std::vector<int32_t> chosen(rows * J);
        std::vector<float> gates(rows * J);
        for (int64_t r = 0; r < rows; r++) route(layer, logits[r], &chosen[r * J], &gates[r * J]);
        Rows hidden(rows * J, 2 * rounded(inner, PANEL)), found(rows * J, net.width);
        std::vector<Group> groups;
        std::vector<const float *> from, between;
        std::vector<float *> within, to;
        for (int64_t e = 0; e < net.experts; e++) {
            int64_t first = from.size();
            for (int64_t m = 0; m < rows * J; m++)
                if (chosen[m] == e) {
                    from.push_back(x[m / J]), within.push_back(hidden[m]);
                    between.push_back(hidden[m]), to.push_back(found[m]);
                }
            if (int64_t(from.size()) > first) groups.push_back({e, first, int64_t(from.size()) - first});
        }
        product(layer.first, groups, from, within, net.threads);
        each_row([&](int64_t r) {
            for (int64_t j = 0; j < J; j++) gate(hidden[r * J + j], inner, net.activation);
        });
        product(layer.second, groups, between, to, net.threads);
        each_row([&](int64_t r) {
            for (int64_t i = 0; i < net.width; i++) {
                float total = 0;
                for (int64_t j = 0; j < J; j++) total = __builtin_fmaf(gates[r * J + j], found[r * J + j][i], total);
                out[r][i] = total;
            }
        });
    }

    void feed_forward(const Matrix &first, const Matrix &second, Rows &x, Rows &out) {
        Rows hidden(rows, 2 * rounded(second.inputs, PANEL));
        product(first, x, hidden, rows, net.threads);
        each_row([&](int64_t r) { gate(hidden[r], second.inputs, net.activation); });
        product(second, hidden, out, rows, net.threads);
    }

    void second_half(const Layer &layer, Rows &x, Rows &out) {
        if (!layer.router.weights) return feed_forward(layer.dense_first, layer.dense_second, x, out);
        experts(layer, x, out);
        Rows more(rows, net.width);
        if (layer.shared_first.weights) {
            feed_forward(layer.shared_first, layer.shared_second, x, more);
            add(out, more, 1.0f);
        }
        if (layer.dense_first.weights) {
            feed_forward(layer.dense_first, layer.dense_second, x, more);
            add(out, more, float(std::sqrt(0.5)));
        }
    }
};

}  // namespace
