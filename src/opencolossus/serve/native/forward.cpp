// One pass of a Grok over any mixture of tokens: prompts, answers, of any sequences.
//
// Every number of a row is computed from that row (and the keys and values of its own sequence) in
// one fixed order, whatever else is in the pass. So a sequence gets the same bits alone, in company,
// read in one piece or in several, with one thread or with many.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

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

void gate(float *x, int64_t inner, int64_t kind) {  // [gates, padded | ups, padded], in place
    int64_t half = rounded(inner, PANEL);
    for (int64_t i = 0; i < inner; i += LANES)
        store(x + i, activated(load(x + i), kind) * load(x + half + i));
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

    void turn(float *head, int64_t position, float factor) {
        int64_t half = net.head_size / 2;
        const float *c = net.cosines + position * half, *s = net.sines + position * half;
        for (int64_t i = 0; i < half; i++) {
            float a = head[i], b = head[i + half];
            // Written out, so that no compiler chooses anew, here or there, what to round.
            head[i] = __builtin_fmaf(a, c[i], -(b * s[i])) * factor;
            head[i + half] = __builtin_fmaf(b, c[i], a * s[i]) * factor;
        }
    }

    void keep(const Layer &layer, float *qkv, int64_t r) {
        int64_t size = net.head_size, position = positions[r];
        for (int64_t h = 0; h < net.heads; h++) turn(qkv + h * size, position, net.scale);
        for (int64_t n = 0; n < net.kv_heads; n++) {
            float *key = qkv + (net.heads + n) * size;
            turn(key, position, 1.0f);
            int64_t place = slots[r] * net.kv_heads + n;
            float *keys = layer.keys + place * size * span + position;
            for (int64_t i = 0; i < size; i++) keys[i * span] = key[i];
            std::memcpy(layer.values + (place * net.capacity + position) * head_stride,
                        qkv + (net.heads + net.kv_heads + n) * size, size * sizeof(float));
        }
    }

    void attend(const Layer &layer, float *qkv, float *out, int64_t r) {
        int64_t size = net.head_size, seen = positions[r] + 1, group = net.heads / net.kv_heads;
        Rows scores(group, seen), mixed(group, size);
        std::vector<const float *> queries(group), shares(group);
        std::vector<float *> score(group), mix(group);
        for (int64_t n = 0; n < net.kv_heads; n++) {
            int64_t place = slots[r] * net.kv_heads + n;
            for (int64_t g = 0; g < group; g++) {
                queries[g] = qkv + (n * group + g) * size;
                shares[g] = score[g] = scores[g], mix[g] = mixed[g];
            }
            const float *keys = layer.keys + place * size * span;
            for (int64_t s = 0; s < seen; s += PANEL)
                tiles(queries.data(), score.data(), group, keys + s, span, size, s);
            for (int64_t g = 0; g < group; g++) weigh(score[g], seen, positions[r]);
            const float *values = layer.values + place * net.capacity * head_stride;
            for (int64_t i = 0; i < size; i += PANEL)
                tiles(shares.data(), mix.data(), group, values + i, head_stride, seen, i);
            for (int64_t g = 0; g < group; g++)
                std::memcpy(out + (n * group + g) * size, mixed[g], size * sizeof(float));
        }
    }

    void weigh(float *score, int64_t seen, int64_t position) {
        if (net.softcap > 0) cap(score, seen, net.softcap);
        if (net.temperatures)
            for (int64_t s = 0; s < seen; s++) score[s] *= net.temperatures[position];
        std::fill(score + seen, score + rounded(seen, LANES), HIDDEN);
        soften(score, seen);
    }

    static void soften(float *x, int64_t n) {  // softmax; padded to LANES with HIDDEN
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

    void block(const Layer &layer, Rows &x) {
        Rows inner(rows, net.width), out(rows, net.width);
        Rows qkv(rows, (net.heads + 2 * net.kv_heads) * net.head_size);
        Rows mixed(rows, net.heads * net.head_size);
        normed(x, inner, layer.norms[0]);
        product(layer.qkv, inner, qkv, rows, net.threads);
        each_row([&](int64_t r) { keep(layer, qkv[r], r); });
        each_row([&](int64_t r) { attend(layer, qkv[r], mixed[r], r); });
        product(layer.output, mixed, out, rows, net.threads);
        normed(out, out, layer.norms[1]);
        add(x, out, 1.0f);
        normed(x, inner, layer.norms[2]);
        second_half(layer, inner, out);
        normed(out, out, layer.norms[3]);
        add(x, out, 1.0f);
    }

    void embed(const int32_t *tokens, Rows &x) {
        for (int64_t r = 0; r < rows; r++) {
            int64_t start = tokens[r] * net.width;
            for (int64_t i = 0; i < net.width; i++) {
                float value = net.embedding_bf16 ? widen(((const uint16_t *)net.embedding)[start + i])
                                                 : ((const float *)net.embedding)[start + i];
                x[r][i] = value * net.embedding_multiplier;
            }
        }
    }
};

}  // namespace

// Logits [wanted][panels of the head * PANEL] of some of the rows, in their order.
extern "C" void forward(const Network *net, int64_t rows, const int32_t *tokens,
                        const int32_t *positions, const int32_t *slots, int64_t wanted,
                        const int32_t *want, float *logits) {
    Pass pass(*net, rows, positions, slots);
    Rows x(rows, net->width);
    pass.embed(tokens, x);
    for (int64_t i = 0; i < net->layers; i++) pass.block(net->layer[i], x);
    Rows last(wanted, net->width);
    std::vector<const float *> from(wanted);
    std::vector<float *> to(wanted);
    int64_t stride = net->head.panels * PANEL;
    for (int64_t w = 0; w < wanted; w++) {
        rms(x[want[w]], last[w], net->norm, net->width, net->epsilon);
        from[w] = last[w], to[w] = logits + w * stride;
    }
    product(net->head, {{0, 0, wanted}}, from, to, net->threads);
    for (int64_t w = 0; w < wanted; w++) {
        for (int64_t i = 0; i < stride; i++) to[w][i] *= net->output_multiplier;
        if (net->logit_softcap > 0) cap(to[w], stride, net->logit_softcap);
    }
}
