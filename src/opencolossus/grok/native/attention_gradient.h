// The gradient of `attention.h`: scores are formed again, and keys collect what queries give them.

#pragma once

#include "attention.h"

#if defined(__AVX512BF16__)

namespace {

struct Backward : Work {
    std::vector<float> dk, dv, dq, scores, reach;
    std::vector<uint16_t> grads, slopes;  // of the outputs, and by the products
    std::vector<Pair> q_woven, grads_woven, weights_woven, slopes_woven;
    std::vector<Pair> weights_by_key, slopes_by_key;  // [keys, pairs of queries]
    float dots[EDGE];

    Backward(const Job &job, int64_t item)
        : Work(job, item), dk(all * size), dv(all * size), dq(EDGE * size), scores(EDGE * EDGE),
          reach(EDGE * EDGE), grads(EDGE * size), slopes(EDGE * EDGE), q_woven(EDGE / 2 * size),
          grads_woven(EDGE / 2 * size), weights_woven(EDGE / 2 * EDGE),
          slopes_woven(EDGE / 2 * EDGE), weights_by_key(EDGE * EDGE / 2),
          slopes_by_key(EDGE * EDGE / 2) {}

    void run() {
        std::vector<Pair> k = transposed(keys()), v = transposed(values()), k_woven = woven(keys());
        for (int64_t h = n * group(); h < (n + 1) * group(); h++)
            for (int64_t start = 0; start < job.tokens; start += EDGE) {
                open(h, start);
                for (int64_t key = lowest(start); key <= start; key += EDGE) {
                    int64_t at = key * size / 2;
                    meet(rows.data(), k.data() + at, key == start, scores.data(), EDGE);
                    meet(grads.data(), v.data() + at, key == start, reach.data(), EDGE);
                    bend(h, start, key);
                    gather(key, key == start, k_woven.data() + at);
                }
                for (int64_t r = 0; r < length(start); r++)
                    turn_back(dq.data() + r * size, start + r, job.grad_q.row(b, h, start + r));
            }
        for (int64_t t = 0; t < job.tokens; t++) {
            turn_back(dk.data() + t * size, t, job.grad_k.row(b, n, t));
            put(dv.data() + t * size, 1, job.grad_v.row(b, n, t), size);
        }
    }

    void turn_back(float *head, int64_t token, uint16_t *out) {
        job.rotary.turn(head, size, b, token, -1);
        put(head, 1, out, size);
    }

    void open(int64_t h, int64_t start) {
        int64_t count = length(start);
        copy_turned(job.q, h, start, rows.data());
        copy_block(job.grad, h, start, grads.data());
        weave_rows(rows.data(), size, q_woven.data());
        weave_rows(grads.data(), size, grads_woven.data());
        std::fill(dq.begin(), dq.end(), 0.0f);
        for (int64_t r = 0; r < count; r++) {
            const uint16_t *y = job.out.row(b, h, start + r), *g = grads.data() + r * size;
            Vector products{};
            along(0, size, [&](int64_t i, auto n) { products += load(y + i, n) * load(g + i, n); });
            dots[r] = total_of(products);
        }
    }

    // Weights and gradients by the products of two queries at a time.
    void bend(int64_t h, int64_t start, int64_t key) {
        const float *lse = job.lse + (b * job.heads + h) * job.tokens + start;
        for (int64_t r = 0; r < EDGE; r += 2)
            for (int64_t c = 0; c < EDGE; c += LANES) {
                Vector weight[2], slope[2];
                for (int64_t i = 0; i < 2; i++) {
                    bend_one(start, r + i, key, c, lse, weight[i], slope[i]);
                    store(slopes.data() + (r + i) * EDGE + c, slope[i]);
                }
                Words both = weave(weight[0], weight[1]), bent = weave(slope[0], slope[1]);
                _mm512_storeu_si512(weights_woven.data() + r / 2 * EDGE + c, (__m512i)both);
                _mm512_storeu_si512(slopes_woven.data() + r / 2 * EDGE + c, (__m512i)bent);
            }
    }

    void bend_one(int64_t start, int64_t r, int64_t key, int64_t c, const float *lse,
                  Vector &weight, Vector &slope) {
        weight = slope = Vector{};
        // Keys of this block that the query sees, counted from the vector's first.
        int64_t query = start + r, at = r * EDGE + c, end = query + 1 - key - c;
        if (query >= job.tokens || end <= 0) return;
        int64_t begin = first(query) - key - c;
        Vector found = exponential(job.scoring.score(load(&scores[at]), slope) - lse[r]);
        Vector bent = found * (load(&reach[at]) - dots[r]) * slope;
        const Integers place = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
        Integers seen = (place >= int32_t(std::max<int64_t>(begin, 0)) + Integers{}) &
                        (place < int32_t(std::min<int64_t>(end, LANES)) + Integers{});
        if (begin >= LANES) seen = Integers{};
        weight = seen ? found : Vector{};
        slope = seen ? bent : Vector{};
    }

    void gather(int64_t key, bool diagonal, const Pair *keys) {
        Left slope = by_key(slopes_woven, slopes_by_key);
        Left weight = by_key(weights_woven, weights_by_key);
        for (int64_t r = 0; r < EDGE; r += band()) {
            Left own{pairs(slopes.data() + r * EDGE), EDGE / 2, 1};
            int64_t to = diagonal ? (r + band()) / 2 : EDGE / 2, from = diagonal ? r / 2 : 0;
            multiply(own, {keys, size}, 0, to, dq.data() + r * size, size, size, true);
            float *k = dk.data() + (key + r) * size, *v = dv.data() + (key + r) * size;
            multiply(slope.below(r), {q_woven.data(), size}, from, EDGE / 2, k, size, size, true);
            multiply(weight.below(r), {grads_woven.data(), size}, from, EDGE / 2, v, size, size,
                     true);
        }
    }

    // What is woven, as rows of keys; matrix units want the pairs of a row side by side.
    Left by_key(const std::vector<Pair> &woven, std::vector<Pair> &turned) const {
        if (!job.wide) return {woven.data(), 1, EDGE};
        for (int64_t i = 0; i < EDGE / 2; i += SIDE)
            for (int64_t c = 0; c < EDGE; c += SIDE)
                transpose_square(woven.data() + i * EDGE + c, EDGE,
                                 turned.data() + c * EDGE / 2 + i, EDGE / 2);
        return {turned.data(), EDGE / 2, 1};
    }
};

}  // namespace

#endif
