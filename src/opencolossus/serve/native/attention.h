// Attention of each row to the keys and values of its own sequence.

#pragma once

#include "pass.h"

namespace {

struct Attention : Pass {
    using Pass::Pass;

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
};

}  // namespace
