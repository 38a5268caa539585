// Causal attention in bf16, a block of queries after the other, in the caches of one core: as
// FlashAttention (Dao et al. 2022), with a soft cap, documents and shared keys.

#pragma once

#include "amx.h"
#include "rotary.h"
#include "softmax.h"

#if defined(__AVX512BF16__)

namespace {

constexpr int64_t EDGE = 64;  // queries and keys of a block

// [B, heads, T, size], the numbers of a head side by side.
struct Heads {
    uint16_t *at;
    int64_t batch, head, token;

    uint16_t *row(int64_t b, int64_t h, int64_t t) const {
        return at + b * batch + h * head + t * token;
    }
};

struct Job {
    int64_t batch, heads, kv_heads, tokens, size;
    const int32_t *first;  // [B, T]: the first key that each query sees
    float *lse;            // [B, H, T]
    Scoring scoring;
    Rotary rotary;  // of queries and keys
    bool wide;      // on matrix units
    Heads q, k, v, out, grad, grad_q, grad_k, grad_v;

    int64_t padded() const { return rounded(tokens, EDGE); }
};

// `rows` rows of a head, then rows of 0 up to the block's end.
void copy_rows(const uint16_t *from, int64_t step, int64_t rows, int64_t size, uint16_t *out) {
    for (int64_t r = 0; r < rows; r++)
        std::memcpy(out + r * size, from + r * step, size * sizeof(uint16_t));
    std::memset(out + rows * size, 0, (EDGE - rows) * size * sizeof(uint16_t));
}

void weave_rows(const uint16_t *rows, int64_t size, Pair *out) {
    for (int64_t r = 0; r < EDGE; r += 2)
        weave(rows + r * size, rows + (r + 1) * size, out + r / 2 * size, size);
}

const Pair *pairs(const uint16_t *p) { return reinterpret_cast<const Pair *>(p); }

// What one thread works with, for the queries and keys of one head of keys.
struct Work {
    const Job &job;
    int64_t b, n, size, all;
    std::vector<uint16_t> rows;

    Work(const Job &job, int64_t item)
        : job(job), b(item / job.kv_heads), n(item % job.kv_heads), size(job.size),
          all(job.padded()), rows(EDGE * job.size) {}

    int64_t group() const { return job.heads / job.kv_heads; }
    int64_t length(int64_t start) const { return std::min(EDGE, job.tokens - start); }
    int64_t first(int64_t query) const { return job.first[b * job.tokens + query]; }

    // The first block of keys that a query of this block sees.
    int64_t lowest(int64_t start) const {
        int64_t found = start;
        for (int64_t r = 0; r < length(start); r++) found = std::min(found, first(start + r));
        return found / EDGE * EDGE;
    }

    // A block of a head, as it lies in memory, or turned to the positions of its tokens.
    void copy_block(const Heads &x, int64_t h, int64_t start, uint16_t *out) const {
        copy_rows(x.row(b, h, start), x.token, length(start), size, out);
    }

    void copy_turned(const Heads &x, int64_t h, int64_t start, uint16_t *out) const {
        copy_block(x, h, start, out);
        for (int64_t r = 0; r < length(start); r++)
            job.rotary.turn(out + r * size, size, b, start + r, 1);
    }

    // What `copy(start)` puts into `rows`, of every block.
    template <class Copy> std::vector<Pair> transposed(Copy copy) {
        std::vector<Pair> out(all * size / 2);
        for (int64_t s = 0; s < job.tokens; s += EDGE) {
            copy(s);
            transpose(rows.data(), size, EDGE, size, out.data() + s * size / 2, EDGE);
        }
        return out;
    }

    template <class Copy> std::vector<Pair> woven(Copy copy) {
        std::vector<Pair> out(all * size / 2);
        for (int64_t s = 0; s < job.tokens; s += EDGE) {
            copy(s);
            weave_rows(rows.data(), size, out.data() + s * size / 2);
        }
        return out;
    }

    auto keys() {
        return [this](int64_t start) { copy_turned(job.k, n, start, rows.data()); };
    }

    auto values() {
        return [this](int64_t start) { copy_block(job.v, n, start, rows.data()); };
    }

    int64_t band() const { return job.wide ? SIDE : ROWS; }

    // A band of rows, over the pairs from `from` to `to`; beyond these the rows may hold zeros only.
    void multiply(Left a, Right b, int64_t from, int64_t to, float *out, int64_t step,
                  int64_t columns, bool add) const {
        if (job.wide)
            wide_product(a, b, from / SIDE * SIDE, rounded(to, SIDE), out, step, columns, add);
        else
            product(a, b, from, to, out, step, columns, add);
    }

    // Rows times the transposed keys (or values) from `key` on: [EDGE, EDGE], as far as is seen.
    void meet(const uint16_t *left, const Pair *right, bool diagonal, float *out, int64_t step) {
        for (int64_t r = 0; r < EDGE; r += band()) {
            int64_t columns = diagonal ? rounded(r + band(), 16) : EDGE;
            Left a{pairs(left + r * size), size / 2, 1};
            multiply(a, {right, EDGE}, 0, size / 2, out + r * step, step, columns, false);
        }
    }
};

void put(const float *from, float factor, uint16_t *out, int64_t size) {
    along(0, size, [=](int64_t i, auto n) { store(out + i, load(from + i, n) * factor, n); });
}

struct Forward : Work {
    std::vector<float> scores, mixed;
    std::vector<uint16_t> weights;

    Forward(const Job &job, int64_t item)
        : Work(job, item), scores(EDGE * all), mixed(band() * size), weights(EDGE * all) {}

    void run() {
        std::vector<Pair> turned = transposed(keys()), mixture = woven(values());
        for (int64_t h = n * group(); h < (n + 1) * group(); h++)
            for (int64_t start = 0; start < job.tokens; start += EDGE)
                block(h, start, turned.data(), mixture.data());
    }

    void block(int64_t h, int64_t start, const Pair *keys, const Pair *values) {
        int64_t count = length(start), low = lowest(start);
        copy_turned(job.q, h, start, rows.data());
        for (int64_t key = low; key <= start; key += EDGE)
            meet(rows.data(), keys + key * size / 2, key == start, scores.data() + key, all);
        float totals[EDGE];
        for (int64_t r = 0; r < count; r++) totals[r] = soften(h, start, r, low);
        for (int64_t r = 0; r < count; r += band()) {
            Left a{pairs(weights.data() + r * all), all / 2, 1};
            multiply(a, {values, size}, low / 2, (start + r + band()) / 2, mixed.data(), size, size,
                     false);
            for (int64_t i = r; i < std::min(r + band(), count); i++)
                put(mixed.data() + (i - r) * size, 1 / totals[i], job.out.row(b, h, start + i),
                    size);
        }
    }

    float soften(int64_t h, int64_t start, int64_t r, int64_t low) {
        uint16_t *out = weights.data() + r * all;
        int64_t from = first(start + r), to = start + r + 1;
        float total, *lse = job.lse + (b * job.heads + h) * job.tokens + start + r;
        soften_row(scores.data() + r * all, from, to, job.scoring, out, &total, lse);
        std::memset(out + low, 0, (from - low) * sizeof(*out));
        std::memset(out + to, 0, (start + EDGE - to) * sizeof(*out));
        return total;
    }
};

}  // namespace

#endif
