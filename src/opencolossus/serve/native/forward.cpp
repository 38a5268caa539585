// One pass of a Grok over any mixture of tokens: prompts, answers, of any sequences.
//
// Every number of a row is computed from that row (and the keys and values of its own sequence) in
// one fixed order, whatever else is in the pass. So a sequence gets the same bits alone, in company,
// read in one piece or in several, with one thread or with many.

#include <cstdint>
#include <cstring>
#include <vector>

#include "feed_forward.h"

namespace {

struct Blocks : FeedForward {
    using FeedForward::FeedForward;

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
    Blocks pass(*net, rows, positions, slots);
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
